import numpy as np
import pytest

from muscomp_lib import audio
from muscomp_lib.audio import stream, waveform_file
from muscomp_lib.audio.waveform_file import WaveformFile
from muscomp_lib.core.errors import MissingError

N_SAMPLES = 150_000


@pytest.fixture(params=["flac", "wav", "mp3"])
def path(request, tmp_path):
    path = tmp_path / f"song.{request.param}"
    waveform = np.random.default_rng(0).uniform(-0.5, 0.5, (N_SAMPLES, 2)).astype(np.float32)
    with stream.Writer(path, request.param, 44100, 2) as file:
        file.write(waveform)
    return path


def test_a_slice_is_that_of_the_whole_file(path):
    whole, file = audio.read(path)[0], WaveformFile(path)
    assert file.shape == whole.shape and len(file) == len(whole) and file.sample_rate == 44100
    for begin, end in ((0, 70_000), (60_000, 140_000), (140_000, N_SAMPLES), (5, 9), (100_000, None), (9, 9)):
        np.testing.assert_array_equal(file[begin:end], whole[begin:end])
    np.testing.assert_array_equal(file[:], whole)


def test_at_another_rate_pieces_join_to_the_resampled_whole(path):
    file = WaveformFile(path).at(22050)
    joined = np.concatenate([file[begin : begin + 30_000] for begin in range(0, len(file), 30_000)])
    np.testing.assert_allclose(joined, audio.resample(audio.read(path)[0], 44100, 22050), atol=1e-6)


def test_a_part_begins_at_its_start_and_ends_in_silence(path):
    whole, part = audio.read(path)[0], WaveformFile(path, start=1.0, frames=N_SAMPLES)
    assert len(part) == N_SAMPLES
    np.testing.assert_array_equal(part[: N_SAMPLES - 44100], whole[44100:])
    assert not part[N_SAMPLES - 44100 :].any()


def test_slices_in_order_open_the_file_once(path, monkeypatch):
    file, opened = WaveformFile(path), []
    monkeypatch.setattr(waveform_file.stream, "opened", lambda *a, _open=stream.opened: opened.append(a) or _open(*a))
    for begin in range(0, N_SAMPLES, 20_000):
        file[max(0, begin - 4096) : begin + 24_096]
    assert len(opened) == 1


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MissingError, match=r"none\.flac"):
        WaveformFile(tmp_path / "none.flac")
