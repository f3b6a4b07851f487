import numpy as np
import pytest

from muscomp_lib.separation.panning import Panning, edges

CONFIG = {"sample_rate": 44100, "frame_length": 4096, "frame_step": 1024, "T": 64, "F": 512}
SHAPE = (3, 64, 512)  # segments, frames, bins


def noise(seed, gains):
    """The spectrogram of an instrument that stands where `gains` put it: (n_segments, T, F, 2), complex64."""
    rng = np.random.default_rng(seed)
    loud = rng.random(SHAPE) ** 4  # most points are quiet, as in music
    return ((loud * np.exp(2j * np.pi * rng.random(SHAPE)))[..., None] * gains).astype(np.complex64)


def unsure(sounds):
    """The amounts of a network that knows little: half of each instrument's own, and half of the mean."""
    magnitudes = [np.abs(sound).sum(axis=3, keepdims=True) for sound in sounds]
    return [0.3 * own + 0.7 * sum(magnitudes) / len(magnitudes) for own in magnitudes]


def shares(powers):
    return np.stack(powers)[..., 0] / sum(powers)[..., 0]


@pytest.mark.parametrize("places", [[(1, 0.2), (0.2, 1)], [(1, 1), (1, 0)], [(1, 0.4), (0.8, 0.8), (0, 1)]], ids=str)
def test_what_stands_apart_is_divided_better(places):
    sounds = [noise(seed, gains) for seed, gains in enumerate(places)]
    mix, before = sum(sounds), unsure(sounds)
    after = Panning(CONFIG, len(sounds))(mix, before)
    for number, sound in enumerate(sounds):
        error, better = (
            np.square(np.abs(mix * shares(each)[number][..., None] - sound)).sum() for each in (before, after)
        )
        assert better < 0.8 * error


@pytest.mark.parametrize("gains", [(1, 1), (0.3, 1), (1, 0), (1j, 1)], ids=str)
def test_nothing_changes_where_all_stand_in_one_place(gains):
    sounds = [noise(seed, gains) for seed in range(3)]
    before = unsure(sounds)
    np.testing.assert_allclose(shares(Panning(CONFIG, 3)(sum(sounds), before)), shares(before), rtol=1e-4, atol=1e-6)


def test_silence_stays_as_it_is_divided():
    mix = noise(0, (1, 0.5))
    mix[0] = mix[1, 5:] = mix[:, :, 200:300] = 0
    before = unsure([mix, noise(1, (0, 1))])
    after = Panning(CONFIG, 2)(mix, [np.where(np.abs(mix).sum(axis=3, keepdims=True) > 0, each, 0) for each in before])
    assert all(np.isfinite(each).all() for each in after)
    only_silence = Panning(CONFIG, 2)(np.zeros_like(mix), before)
    np.testing.assert_allclose(shares(only_silence), shares(before), rtol=1e-4)


def test_what_is_known_of_directions_outlasts_a_segment():
    sounds = [noise(seed, gains) for seed, gains in enumerate([(1, 0.2), (0.2, 1)])]
    mix, before = sum(sounds), unsure(sounds)
    whole, parts = Panning(CONFIG, 2), Panning(CONFIG, 2)
    pieces = [parts(mix[n : n + 1], [each[n : n + 1] for each in before]) for n in range(3)]
    for at_once, piecewise in zip(whole(mix, before), zip(*pieces, strict=True), strict=True):
        np.testing.assert_array_equal(at_once, np.concatenate(piecewise))
    alike = [np.ones_like(each) for each in before]  # a segment of which the network knows nothing
    after = shares(parts(mix[:1], [each[:1] for each in alike]))
    assert np.square(after - shares(alike)[:, :1]).mean() > 0.01


@pytest.mark.parametrize("frame_length, F", [(128, 32), (4096, 1024), (65536, 4096)])
def test_bands_cover_all_bins_of_any_model(frame_length, F):
    at = edges({"sample_rate": 44100, "frame_length": frame_length, "F": F})
    assert at[0] == 0 and at[-1] == F and sorted(set(at)) == at
