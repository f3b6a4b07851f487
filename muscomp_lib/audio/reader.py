"""Opening sound files of any format, to be read from some place onwards. `audio` and `streams` read through it.

libsndfile decodes WAV, FLAC, OGG, MP3 and more; what it does not know (m4a, video files, ...) goes through ffmpeg when
that is installed. Three habits of these tools would spoil the sound without a word, and are dealt with here:

- python-soundfile sets the position anew after every block. In an MP3 of variable bit rate that makes clicks. So here
  nothing is repositioned, and in an MP3 a later start is reached by decoding up to it: both give the same samples,
  bit by bit, as one reading of the whole file.
- An MP3 without a "Xing" frame does not say how long it is. libsndfile guesses from the first frames and stops there:
  where later ones are smaller, the end is lost (of a song of one minute, 39 s). See `_EndsFarAway`.
- Exceptions in a Python file that libsndfile reads or writes are swallowed. See `GuardedFile`.

Files are read through `mount.SteadyFile`, which bears a disk that fails now and then. When it keeps failing, that is
what is said: never that the file is cut short, or no audio.
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
STEP = 1 << 18  # samples per channel that are decoded at once where the length is an estimate
STRETCH = 64  # how much longer an MP3 without a length is made to look: bit rates differ by at most 8 to 160 kbit/s
PADDING = 1 << 16  # bytes, at most, in which the first frame of an MP3 is looked for
ID3V1 = 128  # bytes: a tag that decoders look for at a file's end
DISK_FAILS = (errno.EIO, errno.ENOTCONN, errno.ESTALE)  # as ffmpeg tells them
FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))

log = logging.getLogger(__name__)


class GuardedFile:
    """A Python file for libsndfile, whose callbacks swallow exceptions: `check` raises the first one afterwards."""

    def __init__(self, file):
        self._file, self._error = file, None

    def check(self):
        """Raise what went wrong, if anything did.

        Raises
        ------
        OSError
        """
        if self._error is not None:
            raise self._error

    def _guarded(self, method, *arguments):
        if self._error is None:
            try:
                return method(*arguments)
            except OSError as error:
                self._error = error
        return 0

    def seek(self, offset, whence=os.SEEK_SET):  # noqa: D102 - these four are a file's
        return self._guarded(self._file.seek, offset, whence)

    def tell(self):  # noqa: D102
        return self._guarded(self._file.tell)

    def readinto(self, buffer):  # noqa: D102
        return self._guarded(self._file.readinto, buffer)

    def write(self, data):  # noqa: D102
        return self._guarded(self._file.write, data)


class _EndsFarAway(remote_io.SteadyFile):
    """A file from `start` on that looks STRETCH times as long as it is, so that no guess at its length is too short.

    libsndfile stops at the length it guesses; with this it goes on to where the file really ends.
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


class Onwards(soundfile.SoundFile):
    """A file that python-soundfile does not reposition after every block, because it holds it for a pipe."""

    def seekable(self):  # noqa: D102
        return False


class Source:
    """An open sound file, to be read onwards.

    Attributes
    ----------
    path : Path
    sample_rate : int
        Hz.
    channels : int
    frames : int
        Samples per channel, as the header says.
    exact : bool
        Whether `frames` is certain. In MP3 it is an estimate: only reading on until nothing comes shows the end.
    sixteen_bit : bool
        Whether every sample is a 16-bit integer, so that nothing is lost by reading it as one.
    vorbis_order : bool
        Whether channels come in the order of OGG files instead of that of WAV.
    """

    def __init__(self, path, file, guarded=None, stretched=False):
        self.path, self._file, self._guarded = path, file, guarded
        self.sample_rate, self.channels = file.samplerate, file.channels
        self.frames = file.frames // STRETCH if stretched else file.frames
        self.exact = not file.subtype.startswith(MPEG)
        self.sixteen_bit = file.subtype == "PCM_16"
        self.vorbis_order = file.format == "OGG"
        self._position = 0

    def skip(self, frames):
        """Go on to `frames` samples later.

        Raises
        ------
        AudioError
            When the file ends before, or its disk fails.
        """
        if self.exact:
            if self._position + frames > self.frames:
                raise self.cut_short()
            with self._told():
                self._position = self._file.seek(self._position + frames)
            return
        target = self._position + frames
        while self._position < target:
            if not len(self.read(min(STEP, target - self._position))):
                raise AudioError(
                    f"{self.path} is {self._position / self.sample_rate:.2f} s long: nothing comes after "
                    f"{target / self.sample_rate:.2f} s. Choose an earlier start."
                )

    def read(self, frames, dtype="float32"):
        """The next `frames` samples, fewer at the end: shape (n_samples, n_channels).

        Raises
        ------
        AudioError
            When they cannot be decoded, or the file is shorter than its header says.
        UnreachableError
            When its disk keeps failing.
        """
        with self._told():
            block = self._file.read(frames, dtype=dtype, always_2d=True)
        due = min(frames, self.frames - self._position)
        self._position += len(block)
        if self.exact and len(block) < due:
            raise self.cut_short()
        return block

    def read_rest(self, dtype="float32"):
        """All that is left: shape (n_samples, n_channels)."""
        if self.exact:
            return self.read(self.frames - self._position, dtype)
        parts = [self.read(STEP, dtype)]
        while len(parts[-1]):
            parts.append(self.read(STEP, dtype))
        return np.concatenate(parts)

    def check_end(self):
        """Make sure, where the length is certain, that the last sample can be read; the position stays.

        A truncated FLAC still reports its full length and reads well at the start; only reaching for its end shows
        that it is cut.

        Raises
        ------
        AudioError
            When there are no samples, the last is not there, or the disk fails.
        """
        if self.frames == 0:
            raise AudioError(f"{self.path} holds no samples. Replace it by a whole copy.")
        if not self.exact or not soundfile.SoundFile.seekable(self._file):
            return
        with self._told():
            self._file.seek(self.frames - 1)
            complete = len(self._file.read(1)) == 1
            self._file.seek(self._position)
        if not complete:
            raise self.cut_short()

    @contextlib.contextmanager
    def _told(self):
        """Tell what goes wrong in libsndfile: that the disk fails, or else that the file is cut short."""
        try:
            yield
        except (soundfile.LibsndfileError, OSError, MemoryError) as error:
            self._check_disk()
            raise self.cut_short() from error
        self._check_disk()

    def _check_disk(self):
        if self._guarded:
            with _reaching(self.path):
                self._guarded.check()

    def cut_short(self):
        """The AudioError for a file that ends before it should."""
        if not self.exact:
            return AudioError(f"{self.path} cannot be read on after {self._position} samples. Use another copy of it.")
        return AudioError(
            f"{self.path} is cut short: it lacks some of the {self.frames} samples its header promises. Copy it anew."
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
    with _reaching(path):
        if not stat.S_ISREG(remote_io.retried(os.stat, path).st_mode):
            raise FileNotFoundError(path)
    with contextlib.ExitStack() as stack:
        file, guarded = _by_libsndfile(path, stack)
        stretched = False
        if file.format == "MP3":
            start, tells_its_length = _first_frame(path)
            if not tells_its_length:
                longer, its_guard = _tried(path, _EndsFarAway, start, stack)
                if longer:  # else libsndfile's guess has to do
                    file, guarded, stretched = longer, its_guard, True
        yield Source(path, file, guarded, stretched)


def _by_libsndfile(path, stack):
    """The file opened by libsndfile, and what guards it; what ffmpeg decoded needs no guard."""
    file, guarded = _tried(path, remote_io.SteadyFile, 0, stack)
    if file is None and path.suffix.lower() == ".mp3":  # with so much before its first frame that it is not recognised
        file, guarded = _tried(path, remote_io.SteadyFile, _first_frame(path)[0], stack)
    if file is None:
        decoded = stack.enter_context(_through_ffmpeg(path, guarded))
        file, guarded = stack.enter_context(Onwards(decoded.fileno(), closefd=False)), None
    return file, guarded


def _tried(path, kind, start, stack):
    """What libsndfile opens of a file of this kind, with its guard; or None and why not, when it is no such format."""
    with _reaching(path):
        guarded = GuardedFile(stack.enter_context(kind(path, start)))
    try:
        file = stack.enter_context(Onwards(guarded))
    except soundfile.LibsndfileError as error:
        file, refusal = None, error
    with _reaching(path):
        guarded.check()
    return (file, guarded) if file else (None, refusal)


@contextlib.contextmanager
def _reaching(path):
    """Tell which file the disk did not give."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise MissingError(f"{path} is not there. Check the name and the folder.") from error
    except OSError as error:
        raise UnreachableError(
            f"{path} cannot be read from its disk ({error.strerror or error}); the file itself may be sound. Check the "
            "disk and your rights to the file, or mount Google Drive again; then run this again."
        ) from error


def _first_frame(path):
    """Where an MP3's first frame begins (in bytes), and whether it is a "Xing" or "Info" frame with the file's length.

    Before it come tags, and often some padding.
    """
    with _reaching(path), remote_io.SteadyFile(path) as file:
        head = file.read(10)
        while head[:3] == b"ID3":  # a tag's size is written in groups of seven bits
            file.seek(sum(byte << 7 * place for place, byte in enumerate(reversed(head[6:]))), os.SEEK_CUR)
            head = file.read(10)
        tags_end = file.tell() - len(head)
        head += file.read(PADDING)
    begin = re.search(rb"\xff[\xe0-\xff]", head)
    start = begin.start() if begin else 0
    mark = re.search(rb"(?:Xing|Info)...(.)", head[start : start + 64], re.DOTALL)  # and its flags
    return tags_end + start, bool(mark and mark[1][0] & 1)


def _through_ffmpeg(path, error):
    """Decode `path` into a file without a name, which is gone once closed, however this process ends.

    It is an AU file: of the simple formats that libsndfile reads, the one that may be written to a pipe, without a
    length in its header, and so has no limit of 4 GB.
    """
    if shutil.which("ffmpeg") is None:
        raise AudioError(
            f"{path} cannot be read as audio ({_reason(error)}). WAV, FLAC, OGG and MP3 are read directly; "
            "for other formats install ffmpeg, or convert the file first."
        ) from error
    decoded = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    try:
        with _reaching(path):
            done = remote_io.retried(_run_ffmpeg, remote_io.near(path), decoded)
        _check_ffmpeg(path, done, os.fstat(decoded.fileno()).st_size, error)
        decoded.seek(0)
    except BaseException:
        decoded.close()
        raise
    return decoded


def _run_ffmpeg(path, decoded):
    """Run ffmpeg and give its result. It goes on after the disk failed, and ends well, with what it got until then."""
    decoded.seek(0)
    decoded.truncate()
    source = f"file:{Path(path).resolve()}"
    command = ["ffmpeg", "-v", "error", "-i", source, "-vn", "-c:a", "pcm_f32be", "-f", "au", "-"]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=decoded, stderr=subprocess.PIPE, text=True, errors="replace"
    )
    for number in DISK_FAILS:
        if os.strerror(number) in done.stderr:
            raise OSError(number, os.strerror(number), str(path))
    return done


def _check_ffmpeg(path, done, n_bytes, error):
    """Raise what ffmpeg's last words and its result mean; complaints about a file that it could read are passed on."""
    said = (done.stderr.strip().splitlines() or [f"no sound in it, result {done.returncode}"])[-1]
    if any(reason in done.stderr for reason in FULL):
        raise DiskFullError(
            f"No room left in {tempfile.gettempdir()} to decode {path}. Free some space there, or name a folder with "
            "more room in the environment variable TMPDIR."
        ) from error
    if done.returncode or not n_bytes:
        raise AudioError(f"{path} cannot be read as audio (ffmpeg: {said}). Use another copy of it.") from error
    if done.stderr.strip():
        log.warning("%s may be damaged; ffmpeg says: %s", path, said)


def _reason(error):
    return getattr(error, "error_string", str(error)).rstrip(".")
