import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fixtures import tiny_prepared, tiny_spleeter
from fixtures.needs import require

from muscomp_lib import audio, separation
from muscomp_lib.audio import stft, stream
from muscomp_lib.core.errors import AudioError, MissingError, SettingError
from muscomp_lib.models import checkpoint
from muscomp_lib.models.config import read_config, write_config
from muscomp_lib.models.registry import network
from muscomp_lib.models.weights import get_weights
from muscomp_lib.separation import folder, inference, panning

PROJECT = Path(__file__).parents[2]
KINDS = ["muscomp.shared_unet", "unet.unet", "unet.softmax_unet"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Model folders with fresh weights by network: enough for everything but quality."""
    folders = {}
    for kind in KINDS:
        filters = [8, 8] if kind.startswith("muscomp") else [4] * 6
        root = tiny_prepared.write(
            tmp_path_factory.mktemp(kind),
            seconds=0.1,
            F=256,
            model={"type": kind, "params": {"conv_n_filters": filters}},
        )
        folders[kind] = root.models / "tiny"
        settings = read_config(root.configs / "tiny.json")
        folders[kind].mkdir()
        write_config(folders[kind] / "config.json", settings)
        weights = get_weights(network(settings).build())
        if kind.startswith("muscomp"):
            np.savez(folders[kind] / "weights.npz", **weights)
        else:
            checkpoint.write(folders[kind], settings, weights, step=1)
    return folders


@pytest.fixture(scope="module")
def separator(models):
    return separation.Separator(models["muscomp.shared_unet"])


def song(n_samples=44100, n_channels=2, seed=0):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (n_samples, n_channels)).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_masks_share_out_each_point_up_to_the_highest_bin(models, kind):
    masks = separation.Separator(models[kind]).masks(song(), 44100)
    together = sum(masks.values())
    assert together.shape == (stft.n_frames(44100, 4096, 1024), 2049)
    np.testing.assert_allclose(together[:, :256], 1, atol=1e-3)
    assert not together[:, 256:].any()


def test_the_average_extension_shares_out_the_highest_frequencies_too(separator):
    averaged = separation.Separator.__new__(separation.Separator)
    averaged.__dict__ = separator.__dict__ | {"config": separator.config | {"mask_extension": "average"}}
    waveform = song()
    np.testing.assert_allclose(sum(averaged.separate(waveform, 44100).values()), waveform, atol=1e-4)


@pytest.mark.parametrize("sample_rate", [8000, 22050, 44100, 48000])
@pytest.mark.parametrize("n_channels", [1, 2, 6])
def test_instruments_come_at_the_songs_own_rate_and_length(separator, sample_rate, n_channels):
    separated = separator.separate(song(sample_rate // 2, n_channels), sample_rate)
    assert list(separated) == tiny_prepared.INSTRUMENTS
    for waveform in separated.values():
        assert waveform.shape == (sample_rate // 2, 2)
        assert waveform.dtype == np.float32
        assert np.isfinite(waveform).all()


@pytest.mark.parametrize("waveform", [np.zeros((1, 1)), np.zeros((5000, 2)), np.full((5000, 2), np.nan)])
def test_silence_and_samples_that_are_no_numbers_give_silence(separator, waveform):
    for part in separator.separate(waveform.astype(np.float32), 44100).values():
        assert part.shape == (len(waveform), 2)
        assert not part.any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_channels", [1, 2])
def test_a_song_in_blocks_equals_the_whole_song(models, kind, n_channels, monkeypatch):
    """Each block against the whole song at once, computed the plain way: transform, network, place, mask, inverse."""
    monkeypatch.setattr(inference, "FRAMES", 64)  # a segment, 1.5 s
    separator = separation.Separator(models[kind])
    waveform = song(4 * 64 * 1024 + 77, n_channels)
    found = separator.separate(waveform, 44100)
    mix = stft.stft(waveform, 4096, 1024)
    count = -(-len(mix) // 64)
    context = separator._network.context
    padded = np.pad(np.abs(mix[:, :256]), ((context, context + count * 64 - len(mix)), (0, 0), (0, 0)))
    padded = np.repeat(padded, 2 // n_channels, axis=2)
    masks = separator._network(np.stack([padded[at * 64 : (at + 1) * 64 + 2 * context] for at in range(count)]))
    if separator._network.mono and n_channels == 2:
        segments = np.pad(mix[:, :256], ((0, count * 64 - len(mix)), (0, 0), (0, 0))).reshape(count, 64, 256, 2)
        masks = inference.Masks(panning.Panning(separator.config, len(masks.powers))(segments, masks.powers))
    for number, name in enumerate(separator.instruments):
        mask = np.pad(masks.of([number])[: len(mix)], ((0, 0), (0, 2049 - 256), (0, 0)))
        whole = audio.fit_channels(stft.istft(mask * mix, len(waveform), 4096, 1024), 2)
        np.testing.assert_allclose(found[name], whole, atol=2e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_says_whether_places_count(models, kind):
    identity = separation.Separator(models[kind]).identity
    assert identity.get("panning", False) == (kind == "muscomp.shared_unet")  # else older files would pass for new


def test_more_segments_at_once_change_no_sample(models, monkeypatch):
    separator = separation.Separator(models["muscomp.shared_unet"])
    waveform = song(5 * 64 * 1024 + 3)
    found = []
    for frames in (64, 192, 1024):
        monkeypatch.setattr(inference, "FRAMES", frames)
        found.append(separator.separate(waveform, 48000))
    for name in found[0]:
        for other in found[1:]:
            np.testing.assert_allclose(found[0][name], other[name], atol=1e-6)


def test_a_mono_network_separates_each_channel_of_a_stereo_song(tmp_path):
    separator = separation.Separator(tiny_spleeter.model(tmp_path / "m", n_channels=1))
    stereo = song(100000)
    left, right = (separator.separate(stereo[:, side : side + 1], 44100) for side in (0, 1))
    for name, both in separator.separate(stereo, 44100).items():
        np.testing.assert_allclose(both[:, 0], left[name][:, 0], atol=1e-6)
        np.testing.assert_allclose(both[:, 1], right[name][:, 1], atol=1e-6)


def test_a_song_over_one_segment_is_separated_to_its_end(separator):
    long = song(3 * 64 * 1024 + 77)
    separated = sum(separator.separate(long, 44100).values())
    below = stft.stft(separated, 4096, 1024)[:, :200]
    np.testing.assert_allclose(below, stft.stft(long, 4096, 1024)[:, :200], atol=0.5)


def test_a_file_becomes_one_file_per_instrument(separator, tmp_path):
    audio.write(tmp_path / "sóng -1.wav", song(30000), 48000)
    written = separator.separate_file(tmp_path / "sóng -1.wav", tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"{name}.flac" for name in written}
    for path in written.values():
        assert audio.info(path) == audio.AudioInfo(30000, 48000, 2)


@pytest.mark.parametrize("file_format", list(stream.FORMATS))
def test_every_format_holds_what_was_separated(separator, tmp_path, file_format):
    audio.write(tmp_path / "song.wav", song(70000), 44100)
    expected = separator.separate(audio.read(tmp_path / "song.wav")[0], 44100)
    written = separator.separate_file(tmp_path / "song.wav", tmp_path / "out", file_format=file_format)
    exactness = {"flac24": 1e-7, "wav24": 1e-7, "wav_float": 0, "mp3": 0.2}.get(file_format, 2e-5)
    for name, path in written.items():
        found, rate = audio.read(path)
        assert path == tmp_path / "out" / f"{name}{stream.FORMATS[file_format].suffix}"
        assert (found.shape, rate) == ((70000, 2), 44100)
        np.testing.assert_allclose(found, expected[name], atol=exactness)


def test_combinations_are_the_sums_of_their_instruments(separator, tmp_path):
    audio.write(tmp_path / "song.wav", song(70000), 44100)
    alone = {n: audio.read(p)[0] for n, p in separator.separate_file(tmp_path / "song.wav", tmp_path / "a").items()}
    wanted = ["drums+violin", "accompaniment"]
    written = separator.separate_file(tmp_path / "song.wav", tmp_path / "b", wanted=wanted)
    assert {path.name for path in (tmp_path / "b").iterdir()} == {"Drums+Violin.flac", "accompaniment.flac"}
    np.testing.assert_allclose(audio.read(written["Drums+Violin"])[0], alone["Drums"] + alone["Violin"], atol=1e-4)
    np.testing.assert_allclose(audio.read(written["accompaniment"])[0], alone["Electric_Bass_pick"], atol=5e-5)


@pytest.mark.parametrize("file_format", ["flac", "flac24", "wav"])
@pytest.mark.parametrize(("rate", "n_channels"), [(44100, 2), (22050, 1), (96000, 2)])
def test_when_asked_the_files_sum_to_the_song_exactly(separator, tmp_path, file_format, rate, n_channels):
    waveform = audio.to_int16(song(90001, n_channels))
    audio.write(tmp_path / "song.wav", waveform, rate)
    written = separator.separate_file(tmp_path / "song.wav", tmp_path / "out", file_format=file_format, exact=True)
    assert "other" in written
    total = sum(audio.read(path)[0].astype(np.float64) for path in written.values()) * audio.INT16_SCALE
    np.testing.assert_array_equal(total, np.repeat(waveform, 2 // n_channels, axis=1))


@pytest.mark.parametrize("n_channels", range(1, 9))
@pytest.mark.parametrize("rate", [8000, 44100, 192000])
def test_any_rate_and_channels_give_stereo_of_the_songs_length(separator, tmp_path, rate, n_channels):
    soundfile.write(tmp_path / "song.wav", song(rate // 4, n_channels), rate)
    written = separator.separate_file(tmp_path / "song.wav", tmp_path / "out", wanted=["Violin"])
    assert audio.info(written["Violin"]) == audio.AudioInfo(rate // 4, rate, 2)


@pytest.mark.parametrize("rate", [8000, 44100, 192000])
def test_a_single_sample_is_a_song(separator, tmp_path, rate):
    audio.write(tmp_path / "song.wav", np.full((1, 2), 0.5, np.float32), rate)
    written = separator.separate_file(tmp_path / "song.wav", tmp_path / "out", exact=True)
    assert {audio.info(path).frames for path in written.values()} == {1}


def test_samples_beyond_full_scale_are_limited_or_kept_as_floats(separator, tmp_path, caplog):
    soundfile.write(tmp_path / "hot.wav", 8 * song(70000), 44100, subtype="FLOAT")
    written = separator.separate_file(tmp_path / "hot.wav", tmp_path / "out", wanted=["Drums"])
    assert re.search(r"Drums: \d+ samples beyond full scale were limited; wav_float keeps them", caplog.text)
    assert np.abs(audio.read(written["Drums"])[0]).max() <= 1
    kept = separator.separate_file(tmp_path / "hot.wav", tmp_path / "kept", wanted=["Drums"], file_format="wav_float")
    assert np.abs(audio.read(kept["Drums"])[0]).max() > 1


@pytest.mark.parametrize("name", ["-rf.wav", "a\nb.wav", "{x}'\"$(id).wav", "🎸 naïve.wav", "x" * 245 + ".wav"])
def test_hostile_names_are_only_names(separator, tmp_path, name):
    audio.write(tmp_path / name, song(5000), 44100)
    made = folder.separate_all(separator, [tmp_path / name], tmp_path / "out", wanted=["Drums"])
    assert [song.status for song in made] == ["ok"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name.removesuffix(".wav")]


def test_a_long_song_takes_no_more_memory_than_short_ones(models, tmp_path):
    require(Path("/proc/self/status").exists(), "the most memory a process had is reported by Linux only")
    rng = np.random.default_rng(0)
    for name, seconds in (("short", 60), ("long", 240)):
        with soundfile.SoundFile(tmp_path / f"{name}.wav", "w", 44100, 2, "PCM_16") as file:
            for _ in range(seconds):
                file.write(rng.uniform(-0.5, 0.5, (44100, 2)))
    code = (
        "import sys\nfrom muscomp_lib.separation import Separator\n"
        "separator = Separator(sys.argv[1])\n"
        "for name in ('short', 'long'):\n"
        "    separator.separate_file(f'{sys.argv[2]}/{name}.wav', sys.argv[2] + '/out', exact=True)\n"
        "    print(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0])\n"
    )
    # Arrays get pages of their own: what glibc's heaps keep of freed ones varies by more than a song takes.
    done = subprocess.run(
        [sys.executable, "-c", code, models["muscomp.shared_unet"], tmp_path],
        cwd=PROJECT, env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "1000000"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    short, long = map(int, done.stdout.split())  # kB
    assert long - short < 25_000  # as 16-bit integers the song alone would be 32 MB more


def test_an_excerpt_is_taken_from_the_middle(separator, tmp_path):
    audio.write(tmp_path / "song.wav", song(100000), 44100)
    written = separator.separate_file(tmp_path / "song.wav", tmp_path / "out", wanted=["Drums"], seconds=0.5)
    assert audio.info(written["Drums"]).frames == 22050


def test_a_setting_that_cannot_be_leaves_nothing_behind(separator, tmp_path):
    audio.write(tmp_path / "song.wav", song(5000), 192000)
    for wrong in ({"file_format": "aiff"}, {"file_format": "mp3"}, {"wanted": ["Tuba"]}, {"seconds": -1}):
        with pytest.raises(SettingError):
            separator.separate_file(tmp_path / "song.wav", tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()


def test_a_song_that_breaks_off_leaves_no_files(separator, tmp_path):
    audio.write(tmp_path / "song.flac", song(400000), 44100)
    whole = (tmp_path / "song.flac").read_bytes()
    (tmp_path / "song.flac").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AudioError, match="cut short"):
        separator.separate_file(tmp_path / "song.flac", tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))


def test_an_unknown_engine_or_one_without_this_network_is_refused(models):
    with pytest.raises(SettingError, match=r"engine = 'demucs'.*'muscomp' or 'spleeter'"):
        separation.Separator(models["unet.unet"], engine="demucs")
    with pytest.raises(SettingError, match="a network of our own"):
        separation.Separator(models["muscomp.shared_unet"], engine="spleeter")


@pytest.mark.slow
def test_the_real_spleeter_as_engine_writes_the_same_files(spleeter_python, tmp_path):
    model = tiny_spleeter.model(tmp_path / "m")
    audio.write(tmp_path / "song.wav", song(48000), 48000)
    found = []
    for engine in ("muscomp", "spleeter"):
        separator = separation.Separator(model, engine)
        options = {"wanted": ["vocals", "rest"], "file_format": "wav24", "exact": True}
        written = separator.separate_file(tmp_path / "song.wav", tmp_path / engine, **options)
        assert {audio.info(path) for path in written.values()} == {audio.AudioInfo(48000, 48000, 2)}
        found.append({name: audio.read(path)[0] for name, path in written.items()})
    for name, waveform in found[0].items():
        difference = (waveform - found[1][name])[2000:-2000]  # Spleeter resamples with ffmpeg, which ends otherwise
        assert np.sqrt(np.mean(difference**2)) < 0.02 * np.sqrt(np.mean(waveform**2))


def test_a_file_that_is_no_song_is_refused(separator, tmp_path):
    (tmp_path / "song.mp3").write_text("not music")
    with pytest.raises(AudioError, match=r"song\.mp3"):
        separator.separate_file(tmp_path / "song.mp3", tmp_path / "out")
    with pytest.raises(MissingError, match=r"none\.wav"):
        separator.separate_file(tmp_path / "none.wav", tmp_path / "out")


def test_a_folder_without_a_finished_model_is_refused(tmp_path):
    with pytest.raises(MissingError, match=r"no finished model \(config\.json is missing\).*notebook 04"):
        separation.Separator(tmp_path)


def test_weights_that_are_cut_or_of_another_network_are_refused(models, tmp_path):
    config, weights = (models["muscomp.shared_unet"] / name for name in ("config.json", "weights.npz"))
    (tmp_path / "config.json").write_bytes(config.read_bytes())
    (tmp_path / "weights.npz").write_bytes(weights.read_bytes()[:-500])
    with pytest.raises(SettingError, match=r"weights\.npz cannot be read"):
        separation.Separator(tmp_path)
    np.savez(tmp_path / "weights.npz", **{"another/kernel": np.zeros(3)})
    with pytest.raises(SettingError, match="weights of another network"):
        separation.Separator(tmp_path)
