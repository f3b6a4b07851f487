"""Notebook 05: songs of any length, read and written in blocks, so that an hour takes no more memory than a minute.

    with streams.opened("song.mp3") as song:
        with streams.Writer("copy.flac", "flac24", song.sample_rate, song.channels) as copy:
            for block in song.blocks(65536):
                copy.write(block)

Blocks are float32, shape (n_samples, n_channels), 1.0 being full scale; joined, they are the whole song, sample by
sample, whatever their size. `decoding` reads the files; `encoding` holds the formats and the Writer.
"""

import contextlib
import logging
import math
from numbers import Real

import numpy as np
import soxr

from muscomp_lib.audio import reader
from muscomp_lib.audio.io import fit_length, to_float
from muscomp_lib.audio.writer import FORMATS, Writer, check_format, quantised
from muscomp_lib.core.errors import AudioError, SettingError

__all__ = ["FORMATS", "Held", "Resampler", "Song", "Writer", "check_format", "opened", "quantised"]

STEREO = 2  # channels: what more are mixed down to
SIDE = 1 / math.sqrt(2)  # ITU-R BS.775: the centre and the surrounds in a stereo mix
MIXED_DOWN = {"L": (1, 0), "R": (0, 1), "C": (SIDE, SIDE), "Cs": (SIDE, SIDE), "LFE": (0, 0)}
MIXED_DOWN |= {"Ls": (SIDE, 0), "Rs": (0, SIDE), "Lrs": (SIDE, 0), "Rrs": (0, SIDE)}
ORDERS = {
    3: "L R C",
    4: "L R Ls Rs",
    5: "L R C Ls Rs",
    6: "L R C LFE Ls Rs",
    7: "L R C LFE Cs Ls Rs",
    8: "L R C LFE Lrs Rrs Ls Rs",
}
VORBIS_ORDERS = ORDERS | {
    3: "L C R",
    5: "L C R Ls Rs",
    6: "L C R Ls Rs LFE",
    7: "L C R Ls Rs Cs LFE",
    8: "L C R Ls Rs Lrs Rrs LFE",
}

log = logging.getLogger(__name__)


@contextlib.contextmanager
def opened(path, start=0.0, seconds=None):
    """Open a song, or an excerpt of it, of any format that `decoding` opens.

    Parameters
    ----------
    path : str or Path
    start, seconds : float, optional
        Seconds: where the excerpt begins, and its length, which the song's end may shorten; None goes to the end.

    Yields
    ------
    Song

    Raises
    ------
    SettingError
        `start` is no number, or below zero; `seconds` is no number, or not above zero.
    MissingError, AudioError, DiskFullError
        As `decoding.opened`; it is cut short, has no samples or more than eight channels, or ends before `start`.
    """
    _check_excerpt(start, seconds)
    with reader.opened(path) as source:
        source.check_end()
        first = round(start * source.sample_rate)
        if source.exact and first >= source.frames:
            raise AudioError(
                f"{path} is {source.frames / source.sample_rate:.2f} s long: nothing comes after {start} s. "
                "Choose an earlier start."
            )
        song = Song(source, None if seconds is None else max(1, round(seconds * source.sample_rate)))
        source.skip(first)
        song.frames = max(0, min(song.frames, source.frames - first))
        yield song


def _check_excerpt(start, seconds):
    if not (isinstance(start, Real) and math.isfinite(start) and start >= 0):
        raise SettingError(f"start is {start!r}; give the second where the excerpt begins, 0 or more.")
    if seconds is not None and not (isinstance(seconds, Real) and math.isfinite(seconds) and seconds > 0):
        raise SettingError(f"seconds is {seconds!r}; give the excerpt's length, more than 0, or None for all.")


class Song:
    """Sound that comes in blocks. Get one from `opened`, or for an array from `Held`.

    One and two channels stay as they are. Three to eight are mixed down to stereo as ITU-R BS.775 says, centre and
    surrounds at 1 / sqrt(2), without the low-frequency channel; then all is made quieter by one factor for each number
    of channels (5.1: 7.7 dB), so that the mix stays within full scale where the song does. The channels are taken to
    be in the usual order of WAV and FLAC, or, in an OGG file, of Vorbis.

    Attributes
    ----------
    sample_rate : int
        Hz.
    channels : int
        1 or 2, of the blocks.
    frames : int
        Samples per channel that will come; where a format only estimates its length (MP3), about as many.
    not_numbers : int
        How many samples so far were infinite or not a number; they became 0.
    """

    def __init__(self, source, wanted=None):
        if source.channels not in (1, STEREO, *ORDERS):
            raise AudioError(f"{source.path} has {source.channels} channels; at most {max(ORDERS)} can be mixed down.")
        self._source, self._wanted = source, wanted
        self.sample_rate, self.channels = source.sample_rate, min(source.channels, STEREO)
        self.frames = source.frames if wanted is None else min(wanted, source.frames)
        self.not_numbers = 0
        self._weights = None
        if source.channels > STEREO:
            self._weights = _weights((VORBIS_ORDERS if source.vorbis_order else ORDERS)[source.channels])
            log.warning("%s has %d channels; they are mixed down to stereo.", source.path, source.channels)

    def blocks(self, size):
        """The song, once, in blocks of `size` samples; the last may be shorter.

        Yields
        ------
        np.ndarray, shape=(n_samples, channels), float32
            Finite; beyond 1.0 where the song is.

        Raises
        ------
        AudioError
            The song breaks off, or nothing comes.
        """
        came, wanted = 0, math.inf if self._wanted is None else self._wanted
        try:
            while came < wanted and len(block := self._source.read(min(size, wanted - came))):
                came += len(block)
                yield self._mixed_down(self._finite(block))
        finally:
            if self.not_numbers:
                log.warning("%s: %d samples are no numbers; they became 0.", self._source.path, self.not_numbers)
        if not came:
            raise AudioError(f"{self._source.path} holds no samples. Replace it by a whole copy.")

    def _finite(self, block):
        with np.errstate(all="ignore"):
            if np.isfinite(block.sum()):  # one number to look at; a false alarm does no harm
                return block
        finite = np.isfinite(block)
        self.not_numbers += int(block.size - np.count_nonzero(finite))
        return np.where(finite, block, np.float32(0))

    def _mixed_down(self, block):
        if self._weights is None:
            return block
        mixed = np.zeros((len(block), STEREO), np.float32)
        for channel, weights in zip(block.T, self._weights, strict=True):
            mixed += channel[:, None] * weights
        return mixed


def _weights(order):
    """How much of each channel goes to left and right: shape (n_channels, 2), float32; each side sums to one."""
    weights = np.array([MIXED_DOWN[name] for name in order.split()])
    return (weights / weights.sum(axis=0)).astype(np.float32)


class Held(Song):
    """A song held in memory.

    Parameters
    ----------
    waveform : np.ndarray, shape=(n_samples, n_channels), float32 or int16
    sample_rate : int
        Hz.

    Raises
    ------
    AudioError
        It has no samples, no or more than eight channels, or another shape.
    """

    def __init__(self, waveform, sample_rate):
        if waveform.ndim != 2 or not len(waveform):
            raise AudioError(
                f"A song has the shape (n_samples, n_channels) and a sample at least, not {waveform.shape}."
            )
        super().__init__(_Array(waveform, sample_rate))


class _Array:
    """An array in the part of a `decoding.Source`."""

    path, exact, vorbis_order = "The waveform", True, False

    def __init__(self, waveform, sample_rate):
        self._waveform, self._position, self.sample_rate = waveform, 0, sample_rate
        self.frames, self.channels = waveform.shape

    def read(self, frames):
        part = self._waveform[self._position : self._position + frames]
        self._position += len(part)
        return to_float(part)


class Resampler:
    """Changes the sample rate of a song in blocks, with the same result as `audio.resample` of the whole song.

    Of n samples come exactly round(n * to_rate / from_rate); the last ones with the last feed.

    Parameters
    ----------
    from_rate, to_rate : int
        Hz.
    n_channels : int
    """

    def __init__(self, from_rate, to_rate, n_channels):
        self._rates = from_rate, to_rate
        self._taken = self._given = 0  # samples
        self._stream = None
        if from_rate != to_rate:
            self._stream = soxr.ResampleStream(from_rate, to_rate, n_channels, dtype="float32")

    def feed(self, block, last=False):
        """Take the next samples and give those that are ready: (n_samples, n_channels) float32, both may be none.

        `last` says that these are the last; then nothing more can be fed.
        """
        if self._stream is None:
            return block
        self._taken += len(block)
        resampled = self._stream.resample_chunk(np.ascontiguousarray(block), last)
        if last:
            from_rate, to_rate = self._rates
            resampled = fit_length(resampled, round(self._taken * to_rate / from_rate) - self._given)
        self._given += len(resampled)
        return resampled
