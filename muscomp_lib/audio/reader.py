"""Opening sound files of any format, to be read from some position on. `audio` and `stream` read through it.

libsndfile decodes what holds samples as they are, or in FLAC; PyAV, which is slower there, the rest (`libav`). What
decodes is the truth, and headers are promises (`lengths`): a file that breaks off is refused or logged, one that goes
on after the end its header names is read on or logged.

Two quirks of python-soundfile are worked around here: it seeks after every block, see `NonSeekableSoundFile`, and
swallows the exceptions of Python files, see `GuardedFile`.

Files are read through `remote_io.RetryingFile`, which survives a disk that fails now and then. When it keeps failing,
the error is about the disk: never that the file is truncated, or no audio. No other error is the disk's, whatever the
decoder calls it.
"""

import contextlib
import errno
import functools
import logging
import math
import os
import re
import stat
from pathlib import Path

import numpy as np
import soundfile

from muscomp_lib.audio import lengths, libav
from muscomp_lib.audio.libav import LibavError, LibavFile
from muscomp_lib.audio.quantise import finite, to_int16
from muscomp_lib.core import remote_io
from muscomp_lib.core.errors import AudioError, MissingError, UnreachableError

SOUNDFILE_STARTS = (b"RIFF", b"RIFX", b"RF64", b"riff", b"FORM", b"caff", b".snd", b"fLaC")
START = 256  # bytes of a file that show what it is
SOUNDFILE_FORMATS = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "CAF", "AU", "FLAC")
MPEG = "MPEG"  # begins the name of each coding in a WAV file whose length is an estimate
NO_SOUND = {  # what downloads often are under a song's name, by their first bytes
    rb"PK\x03\x04": "a zip archive, not sound. Unpack it, and use the files inside",
    rb"Rar!|7z\xbc\xaf|\x1f\x8b": "an archive (rar, 7z or gzip), not sound. Unpack it, and use the files inside",
    rb"version https://git-lfs": "a pointer of Git LFS, not sound. Fetch the sound itself: git lfs pull",
    rb"MThd|RIFF[\s\S]{4}RMID": "a MIDI file: notes, not sound. Export the song as sound",
    rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*)?<(!doctype html|html)": "a web page, not sound: the link led to a page that "
    "offers the song. Download the song itself there",
}
UNKNOWN = 1 << 62  # samples, or more: libsndfile's length of a FLAC file that was written to a pipe
COUNTING_FORMATS = ("flac", "tta", "wv")  # their headers give the number of samples
ROUNDING_FORMATS = ("asf", "caf")  # their headers give a length by the bit rate, or one of whole packets
HEADER = 128  # bytes: a file without samples is not longer
LOWEST_RATE, HIGHEST_RATE = 1000, 768_000  # Hz
MAX_CHANNELS = 8
MAX_HOURS = 24
MAX_BYTES = 1 << 31  # that are read into memory at once
BLOCK = 1 << 18  # samples per channel that are decoded at once
TOLERANCE = 0.1  # seconds by which a length may be wrong where it is not exact

log = logging.getLogger(__name__)


class GuardedFile:
    """A Python file for a decoder, whose callbacks swallow exceptions: `check` raises the first one afterwards."""

    def __init__(self, file):
        self._file, self._error = file, None

    def check(self):
        """Raise the first error, if there was one: OSError."""
        if self._error is not None:
            raise self._error

    def _guarded(self, method, *arguments, failed=0):
        if self._error is None:
            try:
                return method(*arguments)
            except OSError as error:
                self._error = error
        return failed

    def seek(self, offset, whence=os.SEEK_SET):  # noqa: D102 - these five are a file's methods
        return self._guarded(self._file.seek, offset, whence)

    def tell(self):  # noqa: D102
        return self._guarded(self._file.tell)

    def readinto(self, buffer):  # noqa: D102
        return self._guarded(self._file.readinto, buffer)

    def read(self, n_bytes):  # noqa: D102
        return self._guarded(self._file.read, n_bytes, failed=b"")

    def write(self, data):  # noqa: D102
        return self._guarded(self._file.write, data)


class NonSeekableSoundFile(soundfile.SoundFile):
    """A Python file opened by libsndfile. python-soundfile takes it for a pipe, and so does not seek after every block.

    Raises
    ------
    soundfile.LibsndfileError
        To read: libsndfile does not support its format.
    OSError
        The Python file failed.
    """

    def __init__(self, file, mode="r", **options):
        self._guard = GuardedFile(file)
        try:
            super().__init__(self._guard, mode, **options)
        finally:
            self.check()

    def check(self):
        """Raise the OSError of the Python file, if it failed."""
        self._guard.check()

    def seekable(self):  # noqa: D102
        return False


class Source:
    """An open sound file, to be read forwards. Its two kinds, below, decode.

    Attributes
    ----------
    path : Path
    sample_rate : int
        Hz.
    channels : int
    frames : int
        Samples per channel.
    exact : bool
        Whether `frames` is certain. It is an estimate where only decoding finds the end.
    sixteen_bit : bool
        Whether every sample is a 16-bit integer, so that nothing is lost by reading it as one.
    non_finite : int
        How many samples so far were NaN or infinite; they are replaced by 0.
    damaged : int
        How many packets so far could not be decoded; they are left out.
    converted : bool
        Whether the sample rate or the number of channels has changed so far; what follows is converted.

    Raises
    ------
    AudioError
        The sample rate, the number of channels or the length is none that a song has.
    """

    exact, damaged, converted = True, 0, False

    def __init__(self, path, file, frames, sixteen_bit):
        self.path, self._file, self.frames, self.sixteen_bit = path, file, frames, sixteen_bit
        self.sample_rate, self.channels = file.samplerate, file.channels
        self.non_finite, self._position, self._ended, self._reported = 0, 0, False, (0, 0, False)
        if not LOWEST_RATE <= self.sample_rate <= HIGHEST_RATE:
            raise AudioError(
                f"{path} has a sample rate of {self.sample_rate} Hz; {LOWEST_RATE} to {HIGHEST_RATE} are supported. "
                "Its header is wrong: use another copy."
            )
        if not 1 <= self.channels <= MAX_CHANNELS:
            raise AudioError(
                f"{path} has {self.channels} channels; 1 to {MAX_CHANNELS} are supported. Mix it down to stereo first."
            )
        self._check_length(frames)

    def _check_length(self, frames):
        if frames > MAX_HOURS * 3600 * self.sample_rate:
            raise AudioError(f"{self.path} is longer than {MAX_HOURS} hours. Split it into songs.")

    def read(self, frames, dtype="float32"):
        """The next `frames` samples, fewer at the end: shape (n_samples, n_channels), finite.

        Parameters
        ----------
        frames : int
        dtype : {"float32", "int16"}
            Integers of what is not 16-bit are rounded and limited to full scale.

        Raises
        ------
        AudioError
            When they cannot be decoded, or the file is shorter than its header promises.
        UnreachableError
            When its disk keeps failing.
        """
        with self._errors_named():
            block = self._decode(frames, "int16" if dtype == "int16" and self.sixteen_bit else "float32")
        self._position += len(block)
        if not self._ended and (len(block) < frames or self._position == self.frames):
            self._ended = True
            self._check_all_there()
        if block.dtype == np.int16:
            return block
        block, n_replaced = finite(block)
        self.non_finite += n_replaced
        return to_int16(block) if dtype == "int16" else block

    def read_all(self, frames=None, dtype="float32"):
        """The next `frames` samples, or all that are left, at once: shape (n_samples, n_channels).

        Raises
        ------
        AudioError
            As `read`; they do not fit into memory.
        """
        if self.exact:
            frames = self.frames - self._position if frames is None else frames
            self._check_size(frames, dtype)
            return self.read(frames, dtype)
        parts, n_read, wanted = [self.read(0, dtype)], 0, math.inf if frames is None else frames
        while n_read < wanted and len(block := self.read(min(BLOCK, wanted - n_read), dtype)):
            parts.append(block)
            n_read += len(block)
            self._check_size(2 * n_read, dtype)  # once in parts, once in one piece
        return np.concatenate(parts)

    def _check_size(self, frames, dtype):
        if frames * self.channels * np.dtype(dtype).itemsize > MAX_BYTES:
            raise AudioError(
                f"{self.path} is too long to be read at once ({self.frames / self.sample_rate / 3600:.1f} h). Read it "
                "in parts, or cut it into songs."
            )

    def report(self):
        """Log what was wrong with the samples that were read; each thing once."""
        if self.non_finite > self._reported[0]:
            log.warning("%s: %d samples are NaN or infinite; 0 replaces them.", self.path, self.non_finite)
        if self.damaged > self._reported[1]:
            rest = (
                ", and what follows them. If songs were joined in it, convert each alone" if self._file.stopped else ""
            )
            log.warning("%s is damaged: %d of its packets were left out%s.", self.path, self.damaged, rest)
        if self.converted > self._reported[2]:
            log.warning(
                "%s changes its sample rate or its channels, as joined songs do; all of it is read as it begins: "
                "%d Hz, %d channel(s).", self.path, self.sample_rate, self.channels,
            )  # fmt: skip
        self._reported = self.non_finite, self.damaged, self.converted

    @contextlib.contextmanager
    def _errors_named(self):
        """Raise a decoder's errors as UnreachableError when the disk failed, else as a damaged file."""
        try:
            yield
        except (soundfile.LibsndfileError, LibavError, OSError, MemoryError) as error:
            self._check_disk()
            raise self._damaged(error) from error
        self._check_disk()

    def _check_disk(self):
        with _disk_errors_named(self.path):
            self._file.check()


class ExactSource(Source):
    """A file that libsndfile decodes: its length is certain, and any sample is reached at once in most."""

    def __init__(self, path, raw, file):
        super().__init__(path, file, file.frames, file.subtype == "PCM_16")
        self._raw = raw

    def _decode(self, frames, dtype):
        frames = min(frames, self.frames - self._position)  # beyond them libsndfile stumbles over what follows in FLAC
        return self._file.read(frames, dtype=dtype, always_2d=True)

    def _check_all_there(self):
        if self._position < self.frames:
            raise self.cut_short()
        if self._file.format == "FLAC":
            lengths.log_rest(self.path, self._raw.size - self._raw.tell())

    def skip(self, frames):
        """Skip `frames` samples.

        Raises
        ------
        AudioError
            When the file ends before, or its disk fails.
        """
        if self._position + frames > self.frames:
            raise self.cut_short()
        if not self._is_seekable():
            for start in range(0, frames, BLOCK):
                self.read(min(BLOCK, frames - start))
            return
        with self._errors_named():
            self._position = self._file.seek(self._position + frames)

    def _is_seekable(self):
        """Whether any sample can be reached; in GSM and some ADPCM, only the next can be."""
        return soundfile.SoundFile.seekable(self._file)

    def check_end(self):
        """Make sure that the last sample can be read, and go back to the first.

        A truncated FLAC still reports its full length and decodes well at the start; only its end shows the truncation.

        Raises
        ------
        AudioError
            When there are no samples, the last is not there, or the disk fails.
        """
        if self.frames == 0:
            raise AudioError(f"{self.path} has no samples. Use an intact copy.")
        if not self._is_seekable():
            return
        with self._errors_named():
            self._file.seek(self.frames - 1)
            complete = len(self._file.read(1)) == 1
            self._file.seek(0)
        if not complete:
            raise self.cut_short()

    def cut_short(self):
        """The AudioError for a truncated file."""
        return AudioError(
            f"{self.path} is cut short: it lacks some of the {self.frames} samples its header promises. Copy it again."
        )

    def _damaged(self, error):
        return self.cut_short()


class LibavSource(Source):
    """A file that PyAV decodes: its end is found by decoding, and what is before a later start is decoded or passed."""

    exact = False

    def __init__(self, path, file, guard, frames, promised):
        super().__init__(path, file, frames, file.sixteen_bit)
        self._guard, self._promised = guard, promised

    def _check_disk(self):
        with _disk_errors_named(self.path):
            self._guard.check()

    def _decode(self, frames, dtype):
        self._check_length(self._position)
        return self._file.read(frames, dtype)

    def _check_all_there(self):
        if self.damaged > self._file.decoded:
            raise AudioError(
                f"{self.path} cannot be decoded: {self.damaged} of its packets are damaged, and {self._file.decoded} "
                "are not. Use another copy, or convert it."
            )
        if self._promised - self._position > TOLERANCE * self.sample_rate:
            lengths_in_seconds = self._position / self.sample_rate, self._promised / self.sample_rate
            log.warning("%s is damaged or cut short: %.2f s of %.2f s are there.", self.path, *lengths_in_seconds)

    def skip(self, frames):
        """Skip `frames` samples.

        Raises
        ------
        AudioError
            When the file ends before, or its disk fails.
        """
        with self._errors_named():
            skipped = self._file.skip(frames)
        self._position += skipped
        if skipped < frames:
            raise AudioError(
                f"{self.path} is {self._position / self.sample_rate:.2f} s long and has no sample at "
                f"{(self._position + frames - skipped) / self.sample_rate:.2f} s. Choose an earlier start."
            )

    @property
    def damaged(self):
        """How many packets so far could not be decoded."""
        return self._file.damaged

    @property
    def converted(self):
        """Whether the sample rate or the number of channels has changed so far."""
        return self._file.converted

    def _damaged(self, error):
        reason = error if isinstance(error, LibavError) else "it is damaged"
        return AudioError(f"{self.path} cannot be decoded after {self._position} samples: {reason}. Use another copy.")


@contextlib.contextmanager
def opened(path, whole=False, track=0):
    """Open a sound file of any format.

    Parameters
    ----------
    path : str or Path
    whole : bool
        Make sure that its end can be read, where that is possible without decoding it.
    track : int
        Which sound track of a film, from 0.

    Yields
    ------
    Source

    Raises
    ------
    MissingError, AudioError
        No such file; it cannot be read as audio, or is cut short.
    UnreachableError
        Its disk keeps failing.
    """
    path = Path(path)
    with _disk_errors_named(path):
        mode = remote_io.retried(os.stat, path).st_mode
        if not stat.S_ISREG(mode):
            raise IsADirectoryError(path) if stat.S_ISDIR(mode) else FileNotFoundError(path)
        file = remote_io.RetryingFile(path)
    with file, contextlib.ExitStack() as stack:
        if file.size == 0:
            raise AudioError(f"{path} is empty: it holds no byte. Copy it again.")
        with _disk_errors_named(path):
            believed = lengths.check(path, file)
            start = lengths.at(file, 0, START)
        _check_kind(path, start)
        source = _exact_source(path, file, stack, believed, whole) if start[:4] in SOUNDFILE_STARTS else None
        source = source or _libav_source(path, file, stack, believed, track)
        try:
            yield source
        finally:
            source.report()


def _check_kind(path, start):
    for pattern, what in NO_SOUND.items():
        if re.match(pattern, start, re.IGNORECASE):
            raise AudioError(f"{path} is {what}.")


def _exact_source(path, file, stack, believed, whole):
    """The file as libsndfile reads it; None where it does not, or would not read all of it."""
    file.seek(0)
    try:
        with _disk_errors_named(path):
            sound = stack.enter_context(NonSeekableSoundFile(file))
    except soundfile.LibsndfileError:
        return None
    if sound.format not in SOUNDFILE_FORMATS or sound.subtype.startswith(MPEG) or sound.frames >= UNKNOWN:
        return None
    if sound.frames == 0 and not believed and file.size > HEADER:  # its length was never entered
        return None
    source = ExactSource(path, file, sound)
    if whole:
        source.check_end()
    return source


def _libav_source(path, file, stack, believed, track):
    guard = GuardedFile(file)
    guard.seek(0)
    try:
        decoder = LibavFile(guard, track)
        stack.callback(decoder.close)
        exact_header = decoder.format in COUNTING_FORMATS or (believed and decoder.format not in ROUNDING_FORMATS)
        promised = decoder.frames if exact_header else None
        frames = promised or (believed and decoder.estimate)
        if not frames:
            frames = round(_seconds(path, file.state, track) * decoder.samplerate)
    except (LibavError, OSError, MemoryError) as error:
        with _disk_errors_named(path):
            guard.check()
        raise AudioError(f"{path} cannot be read as audio ({error}). Use another copy, or convert it.") from error
    return LibavSource(path, decoder, guard, frames, promised or 0)


@functools.lru_cache(maxsize=1024)
def _seconds(path, state, track):
    """As `libav.seconds`, once for each file as long as it does not change."""
    with _disk_errors_named(path), remote_io.RetryingFile(path) as file:
        guard = GuardedFile(file)
        try:
            return libav.seconds(guard, track)
        finally:
            guard.check()


@contextlib.contextmanager
def _disk_errors_named(path):
    """Raise the errors of a disk with the file's name: MissingError, UnreachableError."""
    try:
        yield
    except IsADirectoryError as error:
        raise MissingError(f"{path} is a folder, not a sound. Give a file in it.") from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingError(f"{path} is not there. Check the name and the folder.") from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise MissingError(f"There is no file {str(path)[:60]}...: its name is too long. Check it.") from error
        raise UnreachableError(
            f"{path} cannot be read from its disk ({error.strerror or error}); the file itself may be intact. Check "
            "the disk and your rights to the file, or mount Google Drive again; then run this again."
        ) from error
