"""The short-time Fourier transform, exactly as Spleeter takes it. Used by 04 and 05.

One frame of silence is put in front of the waveform and the end is padded, so that every sample is covered by the same
number of frames; the window is a periodic Hann, used for analysis and synthesis. With a hop of a quarter of the frame
the squared windows of overlapping frames sum to 3/2 everywhere, so the inverse divides by that and reconstruction is
perfect. A spectrogram has the shape (n_frames, n_bins, n_channels), n_bins = frame_length / 2 + 1; bin k lies at
k * sample_rate / frame_length Hz, frame m is centred on sample m * frame_step - frame_length / 2.
"""

import numpy as np
import scipy.fft
import scipy.signal

WINDOW_SUM = 1.5  # of squared Hann windows a quarter frame apart


def n_frames(n_samples, frame_length, frame_step):
    """How many frames the spectrogram of `n_samples` has."""
    return -(-(n_samples + frame_length) // frame_step)


def stft(waveform, frame_length, frame_step):
    """Spectrogram of a waveform.

    Parameters
    ----------
    waveform : np.ndarray, shape=(n_samples, n_channels), float32
    frame_length, frame_step : int
        Samples. `frame_step` is a quarter of `frame_length` for the inverse to be exact.

    Returns
    -------
    np.ndarray, shape=(n_frames, n_bins, n_channels), complex64
    """
    count = n_frames(len(waveform), frame_length, frame_step)
    behind = (count - 1) * frame_step - len(waveform)
    padded = np.pad(waveform.astype(np.float32, copy=False), ((frame_length, max(behind, 0)), (0, 0)))
    return frames_to_spectrogram(padded, frame_length, frame_step)[:count]


def frames_to_spectrogram(waveform, frame_length, frame_step):
    """Spectrogram of the whole frames of a waveform, without padding; same shapes as `stft`."""
    frames = np.lib.stride_tricks.sliding_window_view(waveform, frame_length, axis=0)[::frame_step]
    spectra = scipy.fft.rfft(frames * _window(frame_length), axis=-1)  # (n_frames, n_channels, n_bins)
    return np.swapaxes(spectra, 1, 2)


def istft(spectrogram, n_samples, frame_length, frame_step):
    """Waveform of a spectrogram.

    Parameters
    ----------
    spectrogram : np.ndarray, shape=(n_frames, n_bins, n_channels), complex64
    n_samples : int
        Length of the waveform that the spectrogram was taken of.
    frame_length, frame_step : int
        Samples.

    Returns
    -------
    np.ndarray, shape=(n_samples, n_channels), float32
    """
    frames = scipy.fft.irfft(np.swapaxes(spectrogram, 1, 2), frame_length, axis=-1)
    frames *= _window(frame_length) / WINDOW_SUM
    waveform = np.zeros(((len(frames) - 1) * frame_step + frame_length, spectrogram.shape[2]), np.float32)
    overlap = frame_length // frame_step
    for offset in range(overlap):  # every `overlap`-th frame: these touch but do not overlap, so one addition each
        chosen = np.swapaxes(frames[offset::overlap], 1, 2).reshape(-1, spectrogram.shape[2])
        start = offset * frame_step
        waveform[start : start + len(chosen)] += chosen
    return waveform[frame_length : frame_length + n_samples]


def _window(frame_length):
    return scipy.signal.get_window("hann", frame_length, fftbins=True).astype(np.float32)
