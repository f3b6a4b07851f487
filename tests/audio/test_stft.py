import numpy as np
import pytest

from muscomp_lib.audio import stft

FRAME, STEP = 4096, 1024


@pytest.mark.parametrize("n_samples", [1, 1023, 1024, 4096, 5000, 44100])
@pytest.mark.parametrize("n_channels", [1, 2])
def test_the_inverse_gives_back_every_sample(n_samples, n_channels):
    waveform = np.random.default_rng(0).uniform(-1, 1, (n_samples, n_channels)).astype(np.float32)
    spectrogram = stft.stft(waveform, FRAME, STEP)
    assert spectrogram.shape == (stft.n_frames(n_samples, FRAME, STEP), FRAME // 2 + 1, n_channels)
    assert spectrogram.dtype == np.complex64
    back = stft.istft(spectrogram, n_samples, FRAME, STEP)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, waveform, atol=2e-6)


def test_a_tone_lies_in_the_bin_of_its_frequency():
    frequency = 100 * 44100 / FRAME  # Hz: the middle of bin 100
    tone = np.sin(2 * np.pi * frequency * np.arange(44100) / 44100).astype(np.float32)[:, None]
    loudest = np.abs(stft.stft(tone, FRAME, STEP))[8:-8, :, 0].argmax(axis=1)
    assert set(loudest) == {100}


def test_the_spectrogram_of_a_sum_is_the_sum_of_spectrograms():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 9000, 1)).astype(np.float32)
    together = stft.stft(a + b, FRAME, STEP)
    np.testing.assert_allclose(stft.stft(a, FRAME, STEP) + stft.stft(b, FRAME, STEP), together, atol=1e-3)
