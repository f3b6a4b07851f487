"""Notebook 05: songs of any length, read and written in blocks, so that an hour takes no more memory than a minute.

    with stream.opened("song.mp3") as song:
        with stream.Writer("copy.flac", "flac24", song.sample_rate, song.channels) as copy:
            for block in song.blocks(65536):
                copy.write(block)

Blocks are float32, shape (n_samples, n_channels), 1.0 being full scale; joined, they are the whole song, sample by
sample, whatever their size.
"""

import contextlib
import logging
import math

import numpy as np

from muscomp_lib.audio import reader
from muscomp_lib.audio.formats import FORMATS, check_format
from muscomp_lib.audio.io import checked
from muscomp_lib.audio.quantise import finite, to_float
from muscomp_lib.audio.resampler import Resampler
from muscomp_lib.audio.writer import Writer
from muscomp_lib.core.errors import AudioError
from muscomp_lib.core.settings import check_value, number, optional

__all__ = ["FORMATS", "InMemoryAudio", "Resampler", "Song", "Writer", "check_format", "opened"]

STEREO = 2  # channels: more are mixed down to these
SIDE = 1 / math.sqrt(2)  # ITU-R BS.775: the centre and the surrounds in a stereo mix
DOWNMIX = {"L": (1, 0), "R": (0, 1), "C": (SIDE, SIDE), "Cs": (SIDE, SIDE), "LFE": (0, 0)}
DOWNMIX |= {"Ls": (SIDE, 0), "Rs": (0, SIDE), "Lrs": (SIDE, 0), "Rrs": (0, SIDE)}
CHANNEL_ORDERS = {
    3: "L R C",
    4: "L R Ls Rs",
    5: "L R C Ls Rs",
    6: "L R C LFE Ls Rs",
    7: "L R C LFE Cs Ls Rs",
    8: "L R C LFE Lrs Rrs Ls Rs",
}
log = logging.getLogger(__name__)


@contextlib.contextmanager
def opened(path, start=0.0, seconds=None):
    """Open a song, or an excerpt of it, of any format that `reader` opens.

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
        `start` is not a number from 0, or `seconds` not a number above 0.
    MissingError, AudioError
        As `reader.opened`; it is truncated, has no samples, or ends before `start`.
    """
    check_value("start", number(0, unit="seconds"), start)
    check_value("seconds", optional(number(above=0), "all"), seconds)
    with reader.opened(path, whole=True) as source:
        first = round(start * source.sample_rate)
        if source.exact and first >= source.frames:
            raise AudioError(
                f"{path} is {source.frames / source.sample_rate:.2f} s long and has no sample at {start} s. "
                "Choose an earlier start."
            )
        song = Song(source, None if seconds is None else max(1, round(seconds * source.sample_rate)))
        source.skip(first)
        song.frames = max(0, min(song.frames, source.frames - first))
        yield song


class Song:
    """A song to be read in blocks: from `opened`, or `Song(InMemoryAudio(waveform, sample_rate))`.

    One and two channels stay as they are. Three to eight are mixed down to stereo after ITU-R BS.775, centre and
    surrounds at 1 / sqrt(2), without the low-frequency channel; then the level is lowered by one factor for each
    number of channels (5.1: 7.7 dB), so that the mix stays within full scale where the song does. The channels are
    expected in the usual order of WAV and FLAC.

    Attributes
    ----------
    sample_rate : int
        Hz.
    channels : int
        1 or 2, of the blocks.
    frames : int
        Samples per channel; an estimate where the format has no exact length (MP3).
    non_finite : int
        How many samples so far were NaN or infinite; they are replaced by 0.
    """

    def __init__(self, source, wanted=None):
        self._source, self._wanted = source, wanted
        self.sample_rate, self.channels = source.sample_rate, min(source.channels, STEREO)
        self.frames = source.frames if wanted is None else min(wanted, source.frames)
        self._weights = None
        if source.channels > STEREO:
            self._weights = _weights(CHANNEL_ORDERS[source.channels])
            log.warning("%s has %d channels; they are mixed down to stereo.", source.path, source.channels)

    @property
    def non_finite(self):
        """How many samples so far were NaN or infinite."""
        return self._source.non_finite

    def blocks(self, size):
        """The song, once, in blocks of `size` samples; the last may be shorter.

        Yields
        ------
        np.ndarray, shape=(n_samples, channels), float32
            Finite; beyond 1.0 where the song is.

        Raises
        ------
        AudioError
            The file is truncated, or has no samples.
        """
        n_read, wanted = 0, math.inf if self._wanted is None else self._wanted
        try:
            while n_read < wanted and len(block := self._source.read(min(size, wanted - n_read))):
                n_read += len(block)
                yield self._downmix(block)
        finally:
            self._source.report()
        if not n_read:
            raise AudioError(f"{self._source.path} has no samples. Use an intact copy.")

    def _downmix(self, block):
        if self._weights is None:
            return block
        mixed = np.zeros((len(block), STEREO), np.float32)
        for channel, weights in zip(block.T, self._weights, strict=True):
            mixed += channel[:, None] * weights
        return mixed


def _weights(order):
    """The gains from each channel to left and right: shape (n_channels, 2), float32; each side sums to one."""
    weights = np.array([DOWNMIX[name] for name in order.split()])
    return (weights / weights.sum(axis=0)).astype(np.float32)


class InMemoryAudio:
    """A waveform as a source for a Song.

    Parameters
    ----------
    waveform : np.ndarray, shape=(n_samples, n_channels), float or integer
    sample_rate : int
        Hz.

    Raises
    ------
    AudioError
        It has no samples, or another shape; or it is no waveform, as for `audio.checked`.
    SettingError
        The sample rate is none that a song has.
    """

    path, exact = "The waveform", True

    def __init__(self, waveform, sample_rate):
        waveform, sample_rate = checked(waveform, sample_rate, self.path)
        if waveform.ndim != 2 or not len(waveform) or not 1 <= waveform.shape[1] <= reader.MAX_CHANNELS:
            raise AudioError(
                f"A waveform of shape {waveform.shape} is not possible. It must be (n_samples, n_channels), with at "
                f"least one sample and one to {reader.MAX_CHANNELS} channels."
            )
        self._waveform, self._position, self.sample_rate, self.non_finite = waveform, 0, sample_rate, 0
        self.frames, self.channels = waveform.shape

    def read(self, frames):
        """The next samples, fewer at the end."""
        part = self._waveform[self._position : self._position + frames]
        self._position += len(part)
        block, n_replaced = finite(to_float(part))
        self.non_finite += n_replaced
        return block

    def report(self):
        """Log how many samples were NaN or infinite."""
        if self.non_finite:
            log.warning("%s: %d samples are NaN or infinite; 0 replaces them.", self.path, self.non_finite)
