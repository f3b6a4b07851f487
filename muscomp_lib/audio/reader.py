"""Opening sound files of any format, to be read from some position on. `audio` and `stream` read through it.

libsndfile decodes WAV, FLAC, OGG, MP3 and more; what it does not know (m4a, video files, ...) goes through ffmpeg when
that is installed. Three quirks of these tools would damage the sound silently, and are worked around here:

- python-soundfile seeks after every block. In an MP3 of variable bit rate that makes clicks. So here nothing is
  repositioned, and in an MP3 a later start is reached by decoding up to it: both give the same samples, bit by bit, as
  reading the whole file at once. See `NonSeekableSoundFile`.
- An MP3 without a "Xing" frame does not hold its length. libsndfile estimates it from the first frames and stops there:
  where later ones are smaller, the end is lost (of a song of one minute, 39 s). See `OverstatedLength`.
- Exceptions in a Python file that libsndfile reads or writes are swallowed. See `GuardedFile`.

Files are read through `remote_io.RetryingFile`, which survives a disk that fails now and then. When it keeps failing,
the error is about the disk: never that the file is truncated, or no audio.
"""

import contextlib
import errno
import logging
import os
import re
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from muscomp_lib.core import remote_io
from muscomp_lib.core.errors import AudioError, DiskFullError, MissingError, UnreachableError

MPEG = "MPEG"  # begins the name of each coding whose length is an estimate
BLOCK = 1 << 18  # samples per channel that are decoded at once where the length is an estimate
STRETCH = 64  # factor by which an MP3's length is overstated: bit rates differ by at most 8 to 160 kbit/s
PADDING = 1 << 16  # bytes, at most, that are searched for the first frame of an MP3
ID3V1 = 128  # bytes: a tag that decoders expect at a file's end
DISK_ERRORS = (errno.EIO, errno.ENOTCONN, errno.ESTALE)  # that ffmpeg reports
FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))

log = logging.getLogger(__name__)


class GuardedFile:
    """A Python file for libsndfile, whose callbacks swallow exceptions: `check` raises the first one afterwards."""

    def __init__(self, file):
        self._file, self._error = file, None

    def check(self):
        """Raise the first error, if there was one: OSError."""
        if self._error is not None:
            raise self._error

    def _guarded(self, method, *arguments):
        if self._error is None:
            try:
                return method(*arguments)
            except OSError as error:
                self._error = error
        return 0

    def seek(self, offset, whence=os.SEEK_SET):  # noqa: D102 - these four are a file's methods
        return self._guarded(self._file.seek, offset, whence)

    def tell(self):  # noqa: D102
        return self._guarded(self._file.tell)

    def readinto(self, buffer):  # noqa: D102
        return self._guarded(self._file.readinto, buffer)

    def write(self, data):  # noqa: D102
        return self._guarded(self._file.write, data)


class NonSeekableSoundFile(soundfile.SoundFile):
    """A Python file opened by libsndfile. python-soundfile takes it for a pipe, and so does not seek after every block.

    Raises
    ------
    soundfile.LibsndfileError
        To read: it is not in a format that libsndfile knows.
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


class OverstatedLength(remote_io.RetryingFile):
    """A file from `start` on that claims to be STRETCH times as long, so that no estimate of its length is too short.

    libsndfile stops at the length it estimates; with this it reads to where the file really ends.
    """

    def __init__(self, path, start):
        super().__init__(path, start)
        self.size *= STRETCH

    def readinto(self, buffer):
        """Zeros where a tag could be at the end; without them the file would be taken for one that cannot be sought."""
        if self.tell() < self.size - ID3V1:
            return super().readinto(buffer)
        n_bytes = min(len(buffer), self.size - self.tell())
        buffer[:n_bytes] = bytes(n_bytes)
        self.seek(n_bytes, os.SEEK_CUR)
        return n_bytes


class Source:
    """An open sound file, to be read forwards.

    Attributes
    ----------
    path : Path
    sample_rate : int
        Hz.
    channels : int
    frames : int
        Samples per channel, from the header.
    exact : bool
        Whether `frames` is certain. In MP3 it is an estimate: only decoding finds the end.
    sixteen_bit : bool
        Whether every sample is a 16-bit integer, so that nothing is lost by reading it as one.
    vorbis_order : bool
        Whether channels are in the order of OGG files instead of that of WAV.
    """

    def __init__(self, path, file, overstated=False):
        self.path, self._file = path, file
        self.sample_rate, self.channels = file.samplerate, file.channels
        self.frames = file.frames // STRETCH if overstated else file.frames
        self.exact = not file.subtype.startswith(MPEG)
        self.sixteen_bit = file.subtype == "PCM_16"
        self.vorbis_order = file.format == "OGG"
        self._position = 0

    def skip(self, frames):
        """Skip `frames` samples.

        Raises
        ------
        AudioError
            When the file ends before, or its disk fails.
        """
        if self.exact:
            if self._position + frames > self.frames:
                raise self.cut_short()
            with self._errors_named():
                self._position = self._file.seek(self._position + frames)
            return
        target = self._position + frames
        while self._position < target:
            if not len(self.read(min(BLOCK, target - self._position))):
                raise AudioError(
                    f"{self.path} is {self._position / self.sample_rate:.2f} s long and has no sample at "
                    f"{target / self.sample_rate:.2f} s. Choose an earlier start."
                )

    def read(self, frames, dtype="float32"):
        """The next `frames` samples, fewer at the end: shape (n_samples, n_channels).

        Raises
        ------
        AudioError
            When they cannot be decoded, or the file is shorter than its header promises.
        UnreachableError
            When its disk keeps failing.
        """
        with self._errors_named():
            block = self._file.read(frames, dtype=dtype, always_2d=True)
        due = min(frames, self.frames - self._position)
        self._position += len(block)
        if self.exact and len(block) < due:
            raise self.cut_short()
        return block

    def read_rest(self, dtype="float32"):
        """All samples that are left: shape (n_samples, n_channels)."""
        if self.exact:
            return self.read(self.frames - self._position, dtype)
        parts = [self.read(BLOCK, dtype)]
        while len(parts[-1]):
            parts.append(self.read(BLOCK, dtype))
        return np.concatenate(parts)

    def check_end(self):
        """Make sure, where the length is certain, that the last sample can be read; the position stays.

        A truncated FLAC still reports its full length and decodes well at the start; only its end shows the truncation.

        Raises
        ------
        AudioError
            When there are no samples, the last is not there, or the disk fails.
        """
        if self.frames == 0:
            raise AudioError(f"{self.path} has no samples. Replace it by a whole copy.")
        if not self.exact or not soundfile.SoundFile.seekable(self._file):
            return
        with self._errors_named():
            self._file.seek(self.frames - 1)
            complete = len(self._file.read(1)) == 1
            self._file.seek(self._position)
        if not complete:
            raise self.cut_short()

    @contextlib.contextmanager
    def _errors_named(self):
        """Raise libsndfile's errors as UnreachableError when the disk failed, else as a truncated file."""
        try:
            yield
        except (soundfile.LibsndfileError, OSError, MemoryError) as error:
            self._check_disk()
            raise self.cut_short() from error
        self._check_disk()

    def _check_disk(self):
        with _disk_errors_named(self.path):
            self._file.check()

    def cut_short(self):
        """The AudioError for a truncated file."""
        if not self.exact:
            return AudioError(f"{self.path} cannot be decoded after {self._position} samples. Use another copy of it.")
        return AudioError(
            f"{self.path} is cut short: it lacks some of the {self.frames} samples its header promises. Copy it again."
        )


@contextlib.contextmanager
def opened(path):
    """Open a sound file of any format.

    Yields
    ------
    Source

    Raises
    ------
    MissingError, AudioError
        No such file; it cannot be read as audio.
    UnreachableError
        Its disk keeps failing.
    DiskFullError
        ffmpeg is needed, and the disk for temporary files is full.
    """
    path = Path(path)
    with _disk_errors_named(path):
        if not stat.S_ISREG(remote_io.retried(os.stat, path).st_mode):
            raise FileNotFoundError(path)
    with contextlib.ExitStack() as stack:
        file, overstated = _decoder(path, stack), False
        if file.format == "MP3":
            start, has_length = _first_frame(path)
            if not has_length:
                with contextlib.suppress(soundfile.LibsndfileError):  # then libsndfile's estimate has to do
                    file, overstated = _open(path, stack, OverstatedLength, start), True
        yield Source(path, file, overstated)


def _decoder(path, stack):
    """The file opened by libsndfile, or what ffmpeg made of it."""
    try:
        return _open(path, stack)
    except soundfile.LibsndfileError as error:
        refusal = error
    if path.suffix.lower() == ".mp3":  # with so much before its first frame that it is not recognised
        with contextlib.suppress(soundfile.LibsndfileError):
            return _open(path, stack, start=_first_frame(path)[0])
    decoded = stack.enter_context(_through_ffmpeg(path, refusal))
    return stack.enter_context(NonSeekableSoundFile(decoded))


def _open(path, stack, kind=remote_io.RetryingFile, start=0):
    with _disk_errors_named(path):
        return stack.enter_context(NonSeekableSoundFile(stack.enter_context(kind(path, start))))


@contextlib.contextmanager
def _disk_errors_named(path):
    """Raise the errors of a disk with the file's name: MissingError, UnreachableError."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise MissingError(f"{path} is not there. Check the name and the folder.") from error
    except OSError as error:
        raise UnreachableError(
            f"{path} cannot be read from its disk ({error.strerror or error}); the file itself may be intact. Check "
            "the disk and your rights to the file, or mount Google Drive again; then run this again."
        ) from error


def _first_frame(path):
    """Where an MP3's first frame begins (in bytes), and whether it is a "Xing" or "Info" frame with the file's length.

    Tags precede it, and often some padding.
    """
    with _disk_errors_named(path), remote_io.RetryingFile(path) as file:
        head = file.read(10)
        while head[:3] == b"ID3":  # a tag's size is written in groups of seven bits
            file.seek(sum(byte << 7 * place for place, byte in enumerate(reversed(head[6:]))), os.SEEK_CUR)
            head = file.read(10)
        tags_end = file.tell() - len(head)
        head += file.read(PADDING)
    sync = re.search(rb"\xff[\xe0-\xff]", head)
    start = sync.start() if sync else 0
    mark = re.search(rb"(?:Xing|Info)...(.)", head[start : start + 64], re.DOTALL)  # and its flags
    return tags_end + start, bool(mark and mark[1][0] & 1)


def _through_ffmpeg(path, error):
    """Decode `path` into a file without a name, which is gone once closed, however this process ends.

    It is an AU file: of the simple formats that libsndfile reads, the one that can be written to a pipe, without a
    length in its header, and so has no limit of 4 GB.
    """
    if shutil.which("ffmpeg") is None:
        raise AudioError(
            f"{path} cannot be read as audio ({_reason(error)}). WAV, FLAC, OGG and MP3 are read directly; "
            "for other formats install ffmpeg, or convert the file first."
        ) from error
    decoded = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    try:
        with _disk_errors_named(path):
            done = remote_io.retried(_run_ffmpeg, remote_io.local_copy(path), decoded)
        _check_ffmpeg(path, done, os.fstat(decoded.fileno()).st_size, error)
        decoded.seek(0)
    except BaseException:
        decoded.close()
        raise
    return decoded


def _run_ffmpeg(path, decoded):
    """Run ffmpeg and return its result. When the disk fails it reports success, with what it decoded until then."""
    decoded.seek(0)
    decoded.truncate()
    source = f"file:{Path(path).resolve()}"
    command = ["ffmpeg", "-v", "error", "-i", source, "-vn", "-c:a", "pcm_f32be", "-f", "au", "-"]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=decoded, stderr=subprocess.PIPE, text=True, errors="replace"
    )
    for number in DISK_ERRORS:
        if os.strerror(number) in done.stderr:
            raise OSError(number, os.strerror(number), str(path))
    return done


def _check_ffmpeg(path, done, n_bytes, error):
    """Raise the error that ffmpeg's last message and result mean; warnings about a file it could read are logged."""
    message = (done.stderr.strip().splitlines() or [f"no audio in it, result {done.returncode}"])[-1]
    if any(reason in done.stderr for reason in FULL):
        raise DiskFullError(
            f"No room left in {tempfile.gettempdir()} to decode {path}. Free some space there, or name a folder with "
            "more room in the environment variable TMPDIR."
        ) from error
    if done.returncode or not n_bytes:
        raise AudioError(f"{path} cannot be read as audio (ffmpeg: {message}). Use another copy of it.") from error
    if done.stderr.strip():
        log.warning("%s may be damaged; ffmpeg: %s", path, message)


def _reason(error):
    return getattr(error, "error_string", str(error)).rstrip(".")
