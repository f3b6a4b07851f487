"""Opening sound files of any format, to be read from some place onwards. `audio` and `streams` read through it.

libsndfile decodes WAV, FLAC, OGG, MP3 and more; what it does not know (m4a, video files, ...) goes through ffmpeg when
that is installed. Three habits of these tools would spoil the sound without a word, and are dealt with here:

- python-soundfile sets the position anew after every block. In an MP3 of variable bit rate that makes clicks. So here
  nothing is repositioned, and in an MP3 a later start is reached by decoding up to it: both give the same samples,
  bit by bit, as one reading of the whole file.
- An MP3 without a "Xing" frame does not say how long it is. libsndfile guesses from the first frames and stops there:
  where later ones are smaller, the end is lost (of a song of one minute, 39 s). See `_EndsFarAway`.
- Exceptions in a Python file that libsndfile reads or writes are swallowed. See `GuardedFile`.
"""

import contextlib
import errno
import io
import logging
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from muscomp_lib.errors import AudioError, DiskFullError, MissingError

MPEG = "MPEG"  # begins the name of each coding whose length is an estimate
STEP = 1 << 18  # samples per channel that are decoded at once where the length is an estimate
STRETCH = 64  # how much longer an MP3 without a length is made to look: bit rates differ by at most 8 to 160 kbit/s
PADDING = 1 << 16  # bytes, at most, in which the first frame of an MP3 is looked for
ID3V1 = 128  # bytes: a tag that decoders look for at a file's end
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


class _EndsFarAway(io.FileIO):
    """A file from `start` on that looks STRETCH times as long as it is, so that no guess at its length is too short.

    libsndfile stops at the length it guesses; with this it goes on to where the file really ends.
    """

    def __init__(self, path, start):
        super().__init__(path)
        self._start, self._end = start, STRETCH * os.fstat(self.fileno()).st_size
        super().seek(start)

    def seek(self, offset, whence=os.SEEK_SET):
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self.tell(), os.SEEK_END: self._end}[whence]
        return super().seek(self._start + origin + offset) - self._start

    def tell(self):
        return super().tell() - self._start

    def readinto(self, buffer):
        """Zeros where a tag could be at the end; without them the file would be taken for one that cannot be sought."""
        if self.tell() < self._end - ID3V1:
            return super().readinto(buffer)
        n_bytes = min(len(buffer), self._end - self.tell())
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
    vorbis_order : bool
        Whether channels come in the order of OGG files instead of that of WAV.
    """

    def __init__(self, path, file, guarded=None):
        self.path, self._file, self._guarded = path, file, guarded
        self.sample_rate, self.channels = file.samplerate, file.channels
        self.frames = file.frames if guarded is None else file.frames // STRETCH
        self.exact = not file.subtype.startswith(MPEG)
        self.vorbis_order = file.format == "OGG"
        self._position = 0

    def skip(self, frames):
        """Go on to `frames` samples later.

        Raises
        ------
        AudioError
            When the file ends before.
        """
        if self.exact:
            if self._position + frames > self.frames:
                raise self.cut_short()
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
        """
        try:
            block = self._file.read(frames, dtype=dtype, always_2d=True)
            if self._guarded:
                self._guarded.check()
        except (soundfile.LibsndfileError, OSError, MemoryError) as error:
            raise self.cut_short() from error
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
            When there are no samples, or the last is not there.
        """
        if self.frames == 0:
            raise AudioError(f"{self.path} holds no samples. Replace it by a whole copy.")
        if not self.exact or not soundfile.SoundFile.seekable(self._file):
            return
        try:
            self._file.seek(self.frames - 1)
            complete = len(self._file.read(1)) == 1
            self._file.seek(self._position)
        except soundfile.LibsndfileError:
            complete = False
        if not complete:
            raise self.cut_short()

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
    DiskFullError
        ffmpeg is needed, and the disk for temporary files is full.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingError(f"{path} is not there. Check the name and the folder.")
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(Onwards(os.fsencode(path)))
        except soundfile.LibsndfileError as error:
            decoded = stack.enter_context(_through_ffmpeg(path, error))
            file = stack.enter_context(Onwards(decoded.fileno(), closefd=False))
        guarded = None
        if file.format == "MP3":
            start, tells_its_length = _first_frame(path)
            if not tells_its_length:
                longer = GuardedFile(stack.enter_context(_EndsFarAway(path, start)))
                with contextlib.suppress(soundfile.LibsndfileError):  # then its guess has to do
                    file, guarded = stack.enter_context(Onwards(longer)), longer
        yield Source(path, file, guarded)


def _first_frame(path):
    """Where an MP3's first frame begins (in bytes), and whether it is a "Xing" or "Info" frame with the file's length.

    Before it come tags, and often some padding.
    """
    with path.open("rb") as file:
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
    command = ["ffmpeg", "-v", "error", "-i", f"file:{path.resolve()}", "-vn", "-c:a", "pcm_f32be", "-f", "au", "-"]
    decoded = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=decoded, stderr=subprocess.PIPE, text=True, errors="replace"
        )
        _check_ffmpeg(path, done, os.fstat(decoded.fileno()).st_size, error)
        decoded.seek(0)
    except BaseException:
        decoded.close()
        raise
    return decoded


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
