import numpy as np
import pytest

from muscomp_lib.timbre import descriptors, envelope, harmonics

RATE = 44100


def note(f0, amplitudes, seconds=0.5, rate=RATE):
    """A sum of sines at multiples of f0, float32."""
    time = np.arange(round(seconds * rate)) / rate
    waves = (a * np.sin(2 * np.pi * f0 * (k + 1) * time) for k, a in enumerate(amplitudes))
    return np.float32(0.3 * sum(waves))


@pytest.mark.parametrize("f0", [55.0, 220.0, 523.25])
def test_harmonics_are_the_amplitudes_of_the_overtones(f0):
    amplitudes = np.array([1.0, 0.5, 0.0, 0.25, 0.125])
    found = harmonics(note(f0, amplitudes), RATE, f0)
    assert found.sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(found[:5], amplitudes / amplitudes.sum(), atol=0.03)


@pytest.mark.parametrize("f0", [55.0, 220.0, 523.25, 1046.5])
def test_the_pitch_of_a_note_is_found(f0):
    sound = note(f0, [1.0, 0.5, 0.3, 0.2], rate=RATE)
    assert descriptors.pitch(sound, RATE) == pytest.approx(f0, rel=0.01)
    np.testing.assert_allclose(harmonics(sound, RATE), harmonics(sound, RATE, f0), atol=0.02)


def test_noise_has_neither_pitch_nor_harmonics():
    noise = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    assert descriptors.pitch(noise, RATE) is None
    assert not harmonics(noise, RATE).any()


def test_high_notes_have_few_harmonics():
    assert np.count_nonzero(harmonics(note(880.0, [1.0] * 12), RATE, 880.0)) == 12


def test_an_envelope_is_relative_and_ignores_the_level():
    sound = note(220.0, [1.0, 0.5, 0.3])
    found = envelope(sound, RATE)
    assert found.shape == (descriptors.N_BANDS,) and found.max() == 0 and found.min() == descriptors.FLOOR_DB
    np.testing.assert_allclose(found, envelope(0.01 * sound, RATE), atol=0.1)
    bright = envelope(note(220.0, [0.1, 0.1, 0.1] + [0.5] * 20), RATE)
    assert bright[30] > found[30] + 20


@pytest.mark.parametrize("descriptor", ["harmonics", "envelope", "both", "learned", "none"])
def test_a_query_has_the_size_that_is_declared(descriptor):
    stereo = np.stack([note(220.0, [1.0, 0.5])] * 2, axis=1)
    found = descriptors.vector(descriptor, stereo, RATE)
    assert found.shape[-1] == descriptors.size(descriptor) and found.dtype == np.float32
    assert np.abs(found).max() <= 4
