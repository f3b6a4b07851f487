import numpy as np
import pytest
import soundfile
from fixtures.tiny_slakh import truncate

from muscomp_lib.core.errors import MountLostError
from muscomp_lib.core.file_cache import FileCache
from muscomp_lib.core.root import open_root
from muscomp_lib.slakh import verify

RATE = 8000


def written(path, seconds, subtype="PCM_16"):
    """A file with one second per entry of `seconds`: the level of a tone."""
    tone = np.sin(np.arange(RATE) / 5)
    soundfile.write(path, np.concatenate([level * tone for level in seconds]), RATE, subtype=subtype)
    return path


def test_activity_is_found_second_by_second(tmp_path):
    assert verify.decode(written(tmp_path / "a.wav", [0, 0.5, 0.001, 0.1, 0])) == {"heard": "01010"}


@pytest.mark.parametrize("level", [0, 1e-5])
def test_a_file_without_sound_is_silent(tmp_path, level):
    found = verify.decode(written(tmp_path / "a.wav", [level] * 3, "FLOAT"))
    assert found == {"heard": "000"} and verify.is_silent(found)


def test_nan_and_infinite_samples_are_reported_with_their_second(tmp_path):
    for number, wrong in enumerate((np.nan, np.inf)):
        waveform = np.zeros(3 * RATE, np.float32)
        waveform[2 * RATE + 5] = wrong
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, waveform, RATE, subtype="FLOAT")
        assert "frames" in verify.read_header(path), "the header is valid"
        assert verify.decode(path)["problem"].endswith("NaN or infinite samples, first in second 2. Use another copy.")


def test_damage_in_the_middle_is_found_by_decoding(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 20 * RATE), RATE, subtype="PCM_16")
    held = bytearray(path.read_bytes())
    held[len(held) // 3 : len(held) // 2] = bytes(len(held) // 2 - len(held) // 3)
    path.write_bytes(held)
    assert verify.read_header(path)["frames"] == 20 * RATE
    assert "problem" in verify.decode(path)


def test_a_truncated_file_is_detected_by_its_header(tmp_path):
    path = written(tmp_path / "a.flac", [0.5] * 20)
    truncate(path)
    assert "cut short" in verify.read_header(path)["problem"]


def test_decoding_resumes_and_skips_cached_files(tmp_path, monkeypatch):
    root = open_root(tmp_path)
    for name in ("a.wav", "b.wav"):
        written(root.slakh / name, [0.5, 0])
    files = {name: ((root.slakh / name).stat(), 2 * RATE) for name in ("a.wav", "b.wav")}
    verify.decode_all(FileCache(root), root.slakh, {"a.wav": files["a.wav"]}, workers=1)
    decoded = []
    monkeypatch.setattr(verify, "_sound", lambda path: decoded.append(path.name) or {"heard": "1"})
    journal = FileCache(root)
    verify.decode_all(journal, root.slakh, files, workers=1)
    assert decoded == ["b.wav"]
    assert journal.get("a.wav", verify.file_state(files["a.wav"][0]), verify.SOUND) == {"heard": "10"}


def test_a_lost_disk_is_not_a_missing_file(tmp_path):
    root = open_root(tmp_path)
    path = written(root.slakh / "a.wav", [0.5])
    files = {"a.wav": (path.stat(), RATE)}
    path.unlink()  # the only thing in the folder: as when the disk was unmounted
    with pytest.raises(MountLostError, match="run the same again"):
        verify.decode_all(FileCache(root), root.slakh, files, workers=1)
    assert FileCache(root).get("a.wav", verify.file_state(files["a.wav"][0]), verify.SOUND) is None
