import numpy as np
import pytest

from muscomp_lib.transcription import cqt
from muscomp_lib.transcription.cqt import BINS_PER_SEMITONE, HOP, LOWEST_PITCH, N_BINS, SAMPLE_RATE


def sine(pitch, seconds=1.0, amplitude=1.0):
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (amplitude * np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * time)).astype(np.float32)


@pytest.mark.parametrize(("pitch", "off"), [(28, 2), (45, 1), (60, 0), (69, 0), (96, 0), (108, 0)])
def test_a_sine_peaks_within_a_semitone_of_its_note(pitch, off):
    magnitudes = cqt.magnitudes(sine(pitch))
    middle = magnitudes[len(magnitudes) // 2]
    assert abs(middle[:, 0].argmax() - ((pitch - LOWEST_PITCH) * BINS_PER_SEMITONE + 1)) <= off
    assert 0.8 < middle[:, 0].max() < 2.1
    assert cqt.magnitudes(sine(pitch, amplitude=0.1)).max() == pytest.approx(0.1 * magnitudes.max(), rel=1e-3)


def test_an_octave_higher_is_the_same_spectrogram_shifted():
    low, high = (cqt.spectrogram(sine(pitch))[20, :, 0] for pitch in (84, 96))
    octave = 12 * BINS_PER_SEMITONE
    np.testing.assert_allclose(low[180:210], high[180 + octave : 210 + octave], atol=0.3)
    assert np.abs(low[180:210] - high[180:210]).max() > 1.5


@pytest.mark.parametrize("n_samples", [0, 1, HOP - 1, HOP, 10 * HOP + 3])
def test_there_is_one_frame_per_hop_and_one_more(n_samples):
    magnitudes = cqt.magnitudes(np.ones(n_samples, np.float32))
    assert magnitudes.shape == (n_samples // HOP + 1, N_BINS, 2) == (cqt.n_frames(n_samples), N_BINS, 2)
    assert np.isfinite(magnitudes).all() and magnitudes.dtype == np.float32


def test_frames_do_not_depend_on_the_block_size(monkeypatch):
    sound = np.random.default_rng(0).normal(size=20 * HOP).astype(np.float32)
    at_once = cqt.magnitudes(sound)
    monkeypatch.setattr(cqt, "BLOCK", 7)
    np.testing.assert_allclose(cqt.magnitudes(sound), at_once, atol=1e-6)


def test_the_short_window_resolves_onsets_better():
    sound = sine(69)
    sound[: SAMPLE_RATE // 2] = 0.0
    begins = (SAMPLE_RATE // 2) / HOP
    row = (69 - LOWEST_PITCH) * BINS_PER_SEMITONE + 1
    long, short = (cqt.magnitudes(sound)[..., window][:, row] for window in (0, 1))
    early = int(begins) - 2
    assert short[early] < 1e-4 * short.max() < long[early]


@pytest.mark.parametrize(("off", "found"), [(0.0, 0.0), (0.1, 0.0), (-0.32, -0.32), (0.46, 0.46), (1.02, 0.0)])
def test_the_tuning_is_how_far_notes_are_off(off, found):
    melody = np.concatenate([sine(pitch + off, 0.5) + sine(pitch + off - 12, 0.5) for pitch in (60, 64, 67, 71, 62)])
    assert cqt.tuning(melody) == pytest.approx(found, abs=0.03)


def test_what_has_no_tuning_is_left_as_it_is():
    time = np.arange(4 * SAMPLE_RATE) / SAMPLE_RATE
    glide = np.sin(2 * np.pi * np.cumsum(220 * 2**time) / SAMPLE_RATE)
    noise = np.random.default_rng(0).normal(size=len(time))
    for sound in (glide, noise, 0 * noise, noise[:0]):
        assert cqt.tuning(sound.astype(np.float32)) == 0.0


def test_loudness_ignores_rests_and_levels_are_relative_to_it():
    sound = np.r_[sine(69, 2.0), np.zeros(10 * SAMPLE_RATE, np.float32)]
    magnitudes = cqt.magnitudes(sound)
    assert cqt.loudness(magnitudes) == pytest.approx(magnitudes[20, :, 0].max(), rel=0.1)
    np.testing.assert_allclose(cqt.spectrogram(sound), cqt.spectrogram(0.01 * sound), atol=1e-3)
    assert -1.01 <= cqt.spectrogram(sound).min() < cqt.spectrogram(sound).max() < 1.2


def test_silence_has_no_magnitude_and_the_lowest_level():
    assert cqt.loudness(cqt.magnitudes(np.zeros(SAMPLE_RATE, np.float32))) == 0.0
    assert np.unique(cqt.spectrogram(np.zeros(SAMPLE_RATE, np.float32))).size == 1
