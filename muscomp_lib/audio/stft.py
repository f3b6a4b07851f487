"""The short-time Fourier transform, exactly as Spleeter takes it. Used by 04 and 05.

One frame of silence is put in front of the waveform and the end is padded, so that every sample is covered by the same
number of frames; the window is a periodic Hann, used for analysis and synthesis. With a hop of a quarter of the frame
the squared windows of overlapping frames sum to 3/2 everywhere, so the inverse divides by that and reconstruction is
perfect. (Spleeter divides by 3/2 whatever the hop.) A spectrogram has the shape (n_frames, n_bins, n_channels),
n_bins = frame_length / 2 + 1; bin k is at k * sample_rate / frame_length Hz, frame m is centred on sample
m * frame_step - frame_length / 2.

`stft` and `istft` take a song whole; `Analyser` and `Synthesiser` do the same for a song that comes in blocks.
"""

import numpy as np
import scipy.fft

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
    return _overlap_added(spectrogram, frame_length, frame_step)[frame_length : frame_length + n_samples]


class Analyser:
    """Computes the spectrogram of a song in blocks.

    Parameters
    ----------
    n_channels : int
    frame_length, frame_step : int
        Samples.
    """

    def __init__(self, n_channels, frame_length, frame_step):
        self._frame_length, self._frame_step = frame_length, frame_step
        self._tail = np.zeros((frame_length, n_channels), np.float32)  # the frame of silence before the song

    def feed(self, block):
        """The next `n` frames, (n, n_bins, n_channels), for a block of n * frame_step samples."""
        waveform = np.concatenate([self._tail, block])
        self._tail = waveform[-self._frame_length :]
        end = len(waveform) - self._frame_step  # the frame after it is the next block's
        return frames_to_spectrogram(waveform[:end], self._frame_length, self._frame_step)


class Synthesiser:
    """Computes the waveform of a spectrogram in blocks; it starts with the frame of silence before the song.

    The additions are those of `istft`, block by block, so there are no seams.
    """

    def __init__(self, n_channels, frame_length, frame_step):
        self._frame_length, self._frame_step = frame_length, frame_step
        self._overlap = np.zeros((frame_length - frame_step, n_channels), np.float32)  # later frames add to these

    def feed(self, spectrogram):
        """The next n * frame_step samples, (n_samples, n_channels), for `n` frames (n, n_bins, n_channels)."""
        waveform = _overlap_added(spectrogram, self._frame_length, self._frame_step)
        waveform[: len(self._overlap)] += self._overlap
        done = len(spectrogram) * self._frame_step
        self._overlap = waveform[done:].copy()
        return waveform[:done]


def _overlap_added(spectrogram, frame_length, frame_step):
    """Each frame transformed back and added in its place: ((n_frames - 1) * frame_step + frame_length, n_channels)."""
    frames = scipy.fft.irfft(np.swapaxes(spectrogram, 1, 2), frame_length, axis=-1)
    frames *= _window(frame_length) / WINDOW_SUM
    overlap = -(-frame_length // frame_step)
    room = (len(frames) + overlap) * frame_step
    waveform = np.zeros((spectrogram.shape[2], room), np.float32)
    for offset in range(overlap):  # every `overlap`-th frame: these do not overlap, so all are added at once
        chosen = np.swapaxes(frames[offset::overlap], 0, 1)  # (n_channels, n_chosen, frame_length)
        start, stride = offset * frame_step, overlap * frame_step
        place = waveform[:, start : start + chosen.shape[1] * stride].reshape(len(waveform), -1, stride)
        place[:, :, :frame_length] += chosen
    return waveform[:, : (len(frames) - 1) * frame_step + frame_length].T


def _window(frame_length):
    return np.hanning(frame_length + 1)[:-1].astype(np.float32)  # SciPy's periodic Hann, without its second of import
