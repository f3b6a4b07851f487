"""A sound file as a waveform that is read when it is sliced, so that an hour takes no memory. Used by the mixer."""

import numpy as np

from muscomp_lib import audio
from muscomp_lib.audio import stream
from muscomp_lib.audio.resampler import n_samples_at

BLOCK = 1 << 16  # samples read at a time


class WaveformFile:
    """A sound file, or a part of it, as an array of samples. Slices in their order are read once, without gaps.

    Parameters
    ----------
    path : str or Path
    sample_rate : int, optional
        Hz, to which it is resampled; None: its own.
    start : float
        Seconds: where the waveform begins in the file.
    frames : int, optional
        Its length in samples at `sample_rate`; silence follows the file's end. None: to the end.

    Attributes
    ----------
    shape : (int, int)
        Samples, channels.

    Raises
    ------
    MissingError, AudioError
        There is no such file; it cannot be read.
    """

    def __init__(self, path, sample_rate=None, start=0.0, frames=None):
        self._path, self._start, self._blocks = path, start, None
        with stream.opened(path, start) as song:
            self.sample_rate = sample_rate or song.sample_rate
            whole = n_samples_at(self.sample_rate, song.frames, song.sample_rate)
            self.shape = (whole if frames is None else frames, song.channels)

    def at(self, sample_rate):
        """The same at another sample rate (Hz)."""
        frames = n_samples_at(sample_rate, len(self), self.sample_rate)
        return WaveformFile(self._path, sample_rate, self._start, frames)

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, part):
        """The samples of a slice without step: shape (n_samples, n_channels), float32."""
        begin, end, _ = part.indices(len(self))
        if self._blocks is None or begin < self._position:
            self._blocks, self._position = self._resampled(), 0
            self._read = np.zeros((0, self.shape[1]), np.float32)
        self._skip_to(begin)
        parts = [self._read]
        while sum(map(len, parts)) < end - begin and (block := next(self._blocks, None)) is not None:
            parts.append(block)
        self._read = np.concatenate(parts)
        return audio.fit_length(self._read[: end - begin], end - begin)

    def _skip_to(self, begin):
        """Drop what lies before `begin`."""
        while len(self._read) < begin - self._position and (block := next(self._blocks, None)) is not None:
            self._position += len(self._read)
            self._read = block
        self._read, self._position = self._read[begin - self._position :], begin

    def _resampled(self):
        with stream.opened(self._path, self._start) as song:
            resampler = stream.Resampler(song.sample_rate, self.sample_rate, song.channels)
            for block in song.blocks(BLOCK):
                yield resampler.feed(block)
            yield resampler.feed(block[:0], last=True)
