"""Excerpts of audio files at random places, with decoded files cached in memory. Used by 04."""

import psutil

from muscomp_lib import audio
from muscomp_lib.dataset import library

CACHE_SHARE = 0.4  # of the memory that is free at the start, for decoded audio ...
MIN_FREE_SHARE = 0.2  # ... until no more than this share of it is free: others on the machine take memory, too


class WaveformCache:
    """Excerpts of audio files; decoded files stay in memory, up to `CACHE_SHARE` of it.

    Parameters
    ----------
    sample_rate : int, optional
        Hz, to which everything is resampled; None: each file's own.
    """

    def __init__(self, sample_rate=None):
        self._sample_rate = sample_rate
        self._cached = {}
        free = psutil.virtual_memory().available
        self._budget, self._min_free = CACHE_SHARE * free, MIN_FREE_SHARE * free  # bytes

    def n_samples(self, file):
        """The length of a file."""
        found = library.info(file)
        return found.frames * (self._sample_rate or found.sample_rate) // found.sample_rate

    def excerpt(self, file, start, n_samples, n_channels):
        """`n_samples` of a file from sample `start`, float32, shape (n_samples, n_channels); silence past the end."""
        whole = self._cached.get(file)
        if whole is None and self._budget > 0 and psutil.virtual_memory().available > self._min_free:
            whole = self._cache(file, n_channels)
        if whole is None:
            length = max(0, min(n_samples, self.n_samples(file) - start))
            whole, start = self._decoded(file, n_channels, start, length), 0
        return audio.fit_length(audio.to_float(whole[start : start + n_samples]), n_samples)

    def _cache(self, file, n_channels):
        whole = self._decoded(file, n_channels)
        self._budget -= whole.nbytes
        self._cached[file] = whole
        return whole

    def _decoded(self, file, n_channels, start=0, frames=None):
        found = library.info(file)
        rate = found.sample_rate
        wanted = self._sample_rate or rate
        first, length = start * rate // wanted, None if frames is None else -(-frames * rate // wanted)
        # Integers where the file holds them take half the memory; others would be rounded, or limited to full scale.
        waveform, _ = library.read(file, first, length, dtype="int16" if found.sixteen_bit else "float32")
        waveform = audio.fit_channels(waveform, n_channels)
        return waveform if rate == wanted else audio.to_int16(audio.resample(audio.to_float(waveform), rate, wanted))
