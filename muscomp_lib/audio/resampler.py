"""Changing the sample rate, at once or in blocks, with the same samples and the same lengths. Used by every stage."""

from fractions import Fraction

import numpy as np
import soxr


def n_samples_at(to_rate, n_samples, from_rate):
    """How many samples at `to_rate` (Hz) last as long as `n_samples` at `from_rate`."""
    return round(Fraction(int(n_samples) * int(to_rate), int(from_rate)))


def resample(waveform, from_rate, to_rate):
    """Change the sample rate (Hz) of a float waveform, shape (n_samples, n_channels)."""
    return waveform if from_rate == to_rate else soxr.resample(waveform, from_rate, to_rate)


def fit_length(waveform, n_samples):
    """Cut at the end, or pad with silence, to `n_samples`."""
    missing = n_samples - len(waveform)
    if missing <= 0:
        return waveform[:n_samples]
    return np.pad(waveform, ((0, missing), *[(0, 0)] * (waveform.ndim - 1)))


class Resampler:
    """Changes the sample rate of a song in blocks, with the same result as `resample` of the whole song.

    Parameters
    ----------
    from_rate, to_rate : int
        Hz.
    n_channels : int
    """

    def __init__(self, from_rate, to_rate, n_channels):
        self._rates = from_rate, to_rate
        self._n_in = self._n_out = 0  # samples so far, at either rate
        self._stream = None
        if from_rate != to_rate:
            self._stream = soxr.ResampleStream(from_rate, to_rate, n_channels, dtype="float32")

    def feed(self, block, last=False, n_samples=None):
        """Resample the next samples.

        Parameters
        ----------
        block : np.ndarray, shape=(n_samples, n_channels), float32
        last : bool
            These are the last: nothing more can be fed. The result lasts as long as what was fed.
        n_samples : int, optional
            These are the last, and the result has this length in all; what was fed is cut or padded to match.

        Returns
        -------
        np.ndarray, shape=(n_samples, n_channels), float32
            The samples that are ready; none, some, and with the last all that are left.
        """
        from_rate, to_rate = self._rates
        if n_samples is not None:
            last = True
            block = fit_length(block, n_samples_at(from_rate, n_samples, to_rate) - self._n_in)
        self._n_in += len(block)
        if self._stream is None:
            return block
        resampled = self._stream.resample_chunk(np.ascontiguousarray(block), last)
        if last:
            total = n_samples_at(to_rate, self._n_in, from_rate) if n_samples is None else n_samples
            resampled = fit_length(resampled, total - self._n_out)
        self._n_out += len(resampled)
        return resampled
