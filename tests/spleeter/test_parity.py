"""Our separation beside that of the real Spleeter 2.4.2, with the same weights: whole songs, every setting."""

import numpy as np
import pytest
from fixtures import tiny_prepared, tiny_spleeter

from muscomp_lib import audio, separation, training

AGREE = 1e-5  # largest absolute difference between samples
# Random weights in full layers on LiteRT, which adds in another order and folds normalisations: 2.7e-5 and 3.4e-5 were
# measured with two sets of them.
AGREE_AT_FULL_SIZE = 2.0**-14  # two steps of 16 bits
LEVEL = np.float32(0.25)
CASES = {
    "unet.unet": {},
    "unet.softmax_unet": {"model": {"type": "unet.softmax_unet", "params": {"conv_n_filters": [4, 4, 8, 8, 8, 8]}}},
    "ELU, average, exponent 1": {
        "mask_extension": "average",
        "separation_exponent": 1,
        "model": {
            "type": "unet.unet",
            "params": {"conv_activation": "ELU", "deconv_activation": "ELU", "conv_n_filters": [2, 3, 4, 5, 6, 7]},
        },
    },
    "ReLU, LeakyReLU, exponent 1.5": {
        "separation_exponent": 1.5,
        "model": {
            "type": "unet.softmax_unet",
            "params": {"conv_activation": "ReLU", "deconv_activation": "LeakyReLU", "conv_n_filters": [4] * 6},
        },
    },
    "16 kHz, T 128": {"F": 1536, "T": 128, "mask_extension": "average"},
    "short frames": {"frame_length": 2048, "frame_step": 512, "F": 512},
    "another overlap": {"frame_length": 2048, "frame_step": 256, "F": 512},
    "full size": {"T": 512, "model": {"type": "unet.unet", "params": {}}},
    "one channel": {"n_channels": 1},
}


@pytest.fixture(scope="module")
def songs(mini_slakh):
    """Music, stereo with different sides, and mono; longer than a block of our own.

    It is softer than full scale: random weights answer loud sound with huge numbers, and float32, rounded in
    another order, makes differences of up to 1.2e-5.
    """
    mix, _ = audio.read(next(mini_slakh.glob("train/*/mix.flac")))
    mono = LEVEL * audio.fit_channels(audio.to_float(mix), 1)
    stereo = np.concatenate([mono, 0.7 * np.roll(mono, 3000, axis=0)], axis=1)
    return {"stereo": stereo, "mono": mono}


@pytest.fixture(scope="module")
def jobs(songs, tmp_path_factory):
    """(configuration, song) by case and kind of song."""
    made = {}
    for number, (case, changes) in enumerate(CASES.items()):
        config = tiny_spleeter.model(tmp_path_factory.mktemp("model") / "m", seed=number, **changes)
        kinds = ["mono"] if changes.get("n_channels") == 1 else songs if number < 2 else ["stereo"]
        made |= {(case, kind): (config, songs[kind]) for kind in kinds}
    return made | {("trained here", "stereo"): (trained_here(tmp_path_factory.mktemp("trained")), songs["stereo"])}


def trained_here(folder):
    """The configuration in the folder of a model that our own training has made."""
    network = {"type": "unet.unet", "params": {"conv_n_filters": [4] * 6}}
    root = tiny_prepared.write(folder, train_max_steps=2, model=network)
    return training.train("tiny", root) / "config.json"


@pytest.fixture(scope="module")
def theirs(jobs, spleeter_python, tmp_path_factory):
    found = tiny_spleeter.separated_by_spleeter(spleeter_python, jobs.values(), tmp_path_factory.mktemp("theirs"))
    return dict(zip(jobs, found, strict=True))


@pytest.mark.slow
def test_we_separate_as_the_real_spleeter_does(jobs, theirs):
    wrong = {}
    for case, (config, song) in jobs.items():
        bound = AGREE_AT_FULL_SIZE if case[0] == "full size" else AGREE
        ours = separation.Separator(config).separate(song, 44100)
        assert list(ours) == separation.Separator(config).instruments and set(ours) == set(theirs[case])
        for name, waveform in ours.items():
            assert waveform.shape == theirs[case][name].shape == (len(song), 2)
            difference = np.abs(waveform - theirs[case][name]).max()
            if not difference <= bound:
                wrong[(*case, name)] = difference
    assert wrong == {}


@pytest.mark.slow
def test_the_comparison_can_tell_instruments_and_models_apart(jobs, theirs):
    for found in theirs.values():
        first, second, *_ = found.values()
        assert np.abs(first - second).max() > 100 * AGREE
