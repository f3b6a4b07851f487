"""Reading, writing and measuring sound. Used by every notebook.

Conventions: a waveform is an array of shape (n_samples, n_channels), float32 in [-1, 1] or, where sums must be exact,
int16. A mono file has one channel. Levels are in dB relative to full scale, loudness in LUFS (ITU-R BS.1770, as in
Slakh's metadata).
"""

import numbers
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from muscomp_lib.audio import reader
from muscomp_lib.audio.quantise import to_float
from muscomp_lib.audio.writer import Writer
from muscomp_lib.core.errors import AudioError
from muscomp_lib.core.settings import check_value, that

SAMPLE_RATE = 44100  # Hz: Slakh's, and Spleeter's
CANCELLED = 10.0  # times more power in the difference of two channels than in their mean
MAX_INTEGER = 4  # bytes of an integer sample: wider ones are numbers of another kind, whose full scale is unknown
LOUDNESS_BLOCK = 0.4  # seconds: BS.1770 measures in blocks of this length, so nothing shorter has a loudness


@dataclass(frozen=True)
class AudioInfo:
    """From a file's header: `frames` (samples per channel), `sample_rate` (Hz), `channels`.

    `sixteen_bit`: every sample is a 16-bit integer, so that nothing is lost by reading it as one.
    """

    frames: int
    sample_rate: int
    channels: int
    sixteen_bit: bool = field(default=False, compare=False)

    @property
    def duration(self):
        """Length in seconds."""
        return self.frames / self.sample_rate


def info(path, track=0):
    """Read a file's header and make sure that its end can be read too.

    Parameters
    ----------
    path : str or Path
    track : int
        Which of the file's sound tracks, as films have several.

    Returns
    -------
    AudioInfo

    Raises
    ------
    MissingError, AudioError
    """
    with reader.opened(path, whole=True, track=track) as source:
        return AudioInfo(source.frames, source.sample_rate, source.channels, source.sixteen_bit)


def read(path, start=0, frames=None, dtype="float32", track=0):
    """Read a file, or a part of it, of any format that `reader` opens.

    Parameters
    ----------
    path : str or Path
    start, frames : int
        First sample and number of samples per channel; None reads to the end.
    dtype : {"float32", "int16"}
    track : int
        Which of the file's sound tracks.

    Returns
    -------
    waveform : np.ndarray, shape=(n_samples, n_channels)
        Finite. Integers of a file that is not 16-bit are rounded, and limited to full scale.
    sample_rate : int
        Hz.

    Raises
    ------
    MissingError, AudioError
        No such file; not readable, shorter than its header says, or too long to be read at once.
    """
    with reader.opened(path, whole=frames is None, track=track) as source:
        source.skip(start)
        if source.exact and frames is not None and start + frames > source.frames:
            raise source.cut_short()
        return source.read_all(frames, dtype), source.sample_rate


def write(path, waveform, sample_rate):
    """Write a 16-bit file; the format is that of the suffix (.flac, .wav). It appears whole or not at all.

    Parameters
    ----------
    path : str or Path
    waveform : np.ndarray, shape=(n_samples, n_channels) or (n_samples,)
        int16 is written as it is; floats are rounded, and limited to full scale.
    sample_rate : int
        Hz.

    Raises
    ------
    AudioError
        There are no samples.
    DiskFullError
    """
    waveform = waveform.reshape(len(waveform), -1)
    kind = Path(path).suffix.lstrip(".").lower()
    with Writer(path, kind, sample_rate, waveform.shape[1], len(waveform)) as file:
        file.write(waveform)


def _is_rate(value):
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return is_number and reader.LOWEST_RATE <= value <= reader.HIGHEST_RATE and value == int(value)


RATE = that(_is_rate, f"a whole number of Hz from {reader.LOWEST_RATE} to {reader.HIGHEST_RATE}, such as {SAMPLE_RATE}")


def checked(waveform, sample_rate, what):
    """A waveform that a caller gives, and its sample rate.

    Parameters
    ----------
    waveform : array_like
        Floats in [-1, 1], or integers of up to 32 bits: `to_float` scales these.
    sample_rate : int
        Hz.
    what : str
        What it is, to begin a message.

    Returns
    -------
    waveform : np.ndarray
    sample_rate : int

    Raises
    ------
    AudioError
        Its values are no samples.
    SettingError
        The rate is none that a song has.
    """
    try:
        waveform = np.asarray(waveform)
    except ValueError as error:
        raise AudioError(f"{what} is no array: {error}. Give (n_samples, n_channels).") from error
    is_wide = waveform.dtype.kind in "iu" and waveform.dtype.itemsize > MAX_INTEGER
    if waveform.dtype.kind not in "fiu" or is_wide:
        raise AudioError(
            f"{what} holds {waveform.dtype}. Samples must be floats in [-1, 1], or integers of at most 32 bits, as "
            "sound files have them."
        )
    check_value("sample_rate", RATE, sample_rate)
    return waveform, int(sample_rate)


def fit_channels(waveform, n_channels):
    """One channel is copied to all; more than one are averaged to one; the first `n_channels` are kept otherwise."""
    if waveform.shape[1] == n_channels:
        return waveform
    if waveform.shape[1] == 1:
        return np.repeat(waveform, n_channels, axis=1)
    if n_channels == 1:
        total = sum(waveform.T[1:], waveform[:, 0].astype(np.float32))  # `mean` takes five times as long
        return (total / waveform.shape[1]).astype(waveform.dtype)[:, None]
    return fit_channels(waveform[:, :1], n_channels) if waveform.shape[1] < n_channels else waveform[:, :n_channels]


def mono(waveform):
    """One channel to analyse: shape (n_samples, n_channels), floats, to (n_samples, 1).

    It is the mean, but for two channels that cancel each other, as a balanced cable on a stereo input gives them.
    """
    mean = fit_channels(waveform, 1)
    if waveform.shape[1] == 2:
        half = (waveform[:, :1] - waveform[:, 1:]) / 2
        if np.vdot(half, half) > CANCELLED * np.vdot(mean, mean):
            return half
    return mean


def to_gain(db):
    """The factor that stands for a change by `db` decibels."""
    return 10.0 ** (db / 20.0)


def to_db(gain):
    """Decibels of a factor; -inf for 0."""
    with np.errstate(divide="ignore"):
        return 20.0 * np.log10(gain)


def to_hertz(pitch):
    """The frequency of a MIDI pitch, or of an array of them: 440 Hz for 69."""
    return 440.0 * 2 ** ((pitch - 69) / 12)


def loudness(waveform, sample_rate):
    """Integrated loudness in LUFS; -inf for silence and for anything shorter than one block of 0.4 s."""
    import pyloudnorm  # slow to import, and used in two stages only

    if len(waveform) < LOUDNESS_BLOCK * sample_rate or not np.any(waveform):
        return -np.inf
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore")
        measured = pyloudnorm.Meter(sample_rate).integrated_loudness(to_float(waveform).astype(np.float64))
    return float(measured) if np.isfinite(measured) else -np.inf
