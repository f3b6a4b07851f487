import numpy as np
import pytest
import tiny_prepared

from muscomp_lib import audio, separation, stft, training, unet
from muscomp_lib.errors import AudioError, MissingError, SettingError


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Model folders with fresh weights by network: enough for everything but quality."""
    folders = {}
    for kind in ("muscomp.shared_unet", "unet.unet", "unet.softmax_unet"):
        filters = [8, 8] if kind.startswith("muscomp") else [4] * 6
        root = tiny_prepared.write(
            tmp_path_factory.mktemp(kind),
            seconds=0.1,
            F=256,
            model={"type": kind, "params": {"conv_n_filters": filters}},
        )
        folders[kind] = root.models / "tiny"
        settings = training.configs.read(root.configs / "tiny.json")
        folders[kind].mkdir()
        training.configs.write(folders[kind] / "config.json", settings)
        np.savez(folders[kind] / "weights.npz", **unet.weights(unet.build(settings)))
    return folders


@pytest.fixture(scope="module")
def separator(models):
    return separation.Separator(models["muscomp.shared_unet"])


def song(n_samples=44100, n_channels=2, seed=0):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (n_samples, n_channels)).astype(np.float32)


@pytest.mark.parametrize("kind", ["muscomp.shared_unet", "unet.unet", "unet.softmax_unet"])
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


def test_a_song_longer_than_a_segment_is_separated_to_its_end(separator):
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
    (tmp_path / "weights.npz").write_bytes((models["unet.unet"] / "weights.npz").read_bytes())
    with pytest.raises(SettingError, match="weights of another network"):
        separation.Separator(tmp_path)
