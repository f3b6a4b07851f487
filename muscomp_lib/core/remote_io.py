"""Reading from a slow mount that fails now and then: Google Drive in Colab, a cluster's disks. Used by notebooks 01-05.

There every open takes tenths of a second, one call in a hundred gives "Input/output error", and the whole mount can
vanish in the middle of a run. So what fails in passing is asked again (`retried`), a folder is asked once for all that
is in it (`listing`), a file that breaks off is opened anew at the same place (`SteadyFile`), a lost mount is told from
a missing file (`check_mounted`), and what is read often is copied to a fast disk first (`near`).
"""

import contextlib
import errno
import hashlib
import io
import logging
import os
import shutil
import sys
import threading
import time
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

from muscomp_lib.core.errors import MountLostError
from muscomp_lib.core.files import written_whole
from muscomp_lib.core.root import COLAB_MOUNT

# Errors that pass: of overloaded servers, and of clients that lost their server and look for it again (Lustre gives
# ENOTCONN and ESHUTDOWN then). "No such file" and "not allowed" are answers: asking again does not change them.
PASSING = {
    errno.EIO,
    errno.EAGAIN,
    errno.EBUSY,
    errno.EINTR,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.ECONNRESET,
    errno.ECONNABORTED,
    errno.ENOTCONN,
    errno.ESHUTDOWN,
}
PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)  # seconds before each further try
CACHE = "MUSCOMP_CACHE"  # environment variable: a folder on a fast disk
COLAB_CACHE = Path("/content/muscomp_cache")
KEPT_FREE = 5 * 10**9  # bytes of the cache's disk that copies never take
PIECE = 1 << 20  # bytes read at once when a file is copied

_locks = [threading.Lock() for _ in range(256)]  # one per folder of the cache: threads must not write one copy together

log = logging.getLogger(__name__)


def retried(call, *arguments, between=None):
    """What `call(*arguments)` returns; called again, after growing pauses, when it fails with an error that passes.

    Parameters
    ----------
    call : callable
    between : callable, optional
        Called before each further try; what it raises is final.

    Raises
    ------
    OSError
        The last one, when every try failed; any other error at once.
    """
    for pause in PAUSES:
        try:
            return call(*arguments)
        except OSError as error:
            if error.errno not in PASSING:
                raise
        time.sleep(pause)
        if between:
            between()
    return call(*arguments)


def read_text(path):
    """All of a small text file (UTF-8).

    Raises
    ------
    OSError, UnicodeDecodeError
    """
    return retried(lambda: Path(path).read_text(encoding="utf-8"))


def listing(folder):
    """What lies directly in a folder: {name: os.stat_result}; nothing when the folder is not there.

    Raises
    ------
    OSError
    """
    found = {}
    try:
        entries = retried(_entries, folder)
    except FileNotFoundError:
        return found
    for entry in entries:
        with contextlib.suppress(FileNotFoundError):  # gone in between, or a link to nowhere
            found[entry.name] = retried(entry.stat)
    return found


def _entries(folder):
    with os.scandir(folder) as entries:
        return list(entries)


def check_mounted(folder):
    """Make sure that a folder that held something before can still be looked into.

    To be called when a file in it is found missing or unreadable: a lost mount would make all of them look so. A disk
    that was unmounted leaves an empty folder behind, so an empty one is taken for lost.

    Raises
    ------
    MountLostError
    """
    try:
        reason = "" if retried(_entries, folder) else "it is empty now"
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        raise MountLostError(
            f"{folder} can no longer be read ({reason}): its disk is gone. Mount Google Drive again (or bring the disk "
            "back) and run the same again: what is done is kept."
        )


class SteadyFile(io.RawIOBase):
    """A file for reading that outlives errors that pass: it is opened anew and read on at the same place.

    Attributes
    ----------
    size : int
        Bytes, when it was opened, without those left out.

    Parameters
    ----------
    path : str or Path
    start : int
        How many bytes at the beginning are left out.

    Raises
    ------
    OSError
        What stays wrong; also when another file has taken this one's place meanwhile.
    """

    def __init__(self, path, start=0):
        self._path, self._start, self._position, self._file = path, start, 0, None
        self._file, self._facts = retried(self._opened)
        self.size = self._facts[0] - start

    def _opened(self):
        file = io.FileIO(self._path)
        try:
            status = os.fstat(file.fileno())
        except BaseException:
            _close(file)
            raise
        return file, (status.st_size, status.st_mtime_ns)

    def _open_anew(self):
        file, facts = retried(self._opened)
        _close(self._file)
        self._file = file
        if facts != self._facts:
            raise OSError(errno.ESTALE, "the file was changed while it was read", str(self._path))

    def _filled(self, view):
        """Read until `view` is full or the file ends: libsndfile takes a short answer for the end."""
        self._file.seek(self._start + self._position)
        n_bytes = 0
        while n_bytes < len(view) and (more := self._file.readinto(view[n_bytes:])):
            n_bytes += more
        return n_bytes

    def readinto(self, buffer):
        """Fill `buffer`, less at the end; how many bytes it got."""
        n_bytes = retried(self._filled, memoryview(buffer).cast("B"), between=self._open_anew)
        self._position += n_bytes
        return n_bytes

    def seek(self, offset, whence=os.SEEK_SET):
        """Go to a place, which the file system is not asked about until something is read there."""
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        return self._position

    def tell(self):  # noqa: D102 - these four are a file's
        return self._position

    def readable(self):  # noqa: D102
        return True

    def seekable(self):  # noqa: D102
        return True

    def close(self):  # noqa: D102
        if self._file is not None:
            _close(self._file)
        super().close()


def _close(file):
    with contextlib.suppress(OSError):  # on a lost mount even this fails; what was read is read
        file.close()


def near(path):
    """The path of a copy of `path` on a fast disk, for a file that is read often.

    The copy is made at the first call, in one reading from start to end, and again when the file has changed. Copies
    lie in `$MUSCOMP_CACHE`, on Colab, for files on Drive, in `/content/muscomp_cache`; nothing there is needed later.

    Returns
    -------
    path : str or Path
        The given path itself where there is no such folder, its disk is nearly full, or copying fails.
    """
    cache = os.environ.get(CACHE) or _colab_cache(path)
    if not cache:
        return path
    try:
        return _copy_in(Path(cache), Path(path).absolute()) or path
    except OSError as error:
        log.warning("%s could not be copied to %s (%s); it is read where it lies.", path, cache, error)
        return path


def _colab_cache(path):
    on_drive = "google.colab" in sys.modules and Path(path).absolute().is_relative_to(COLAB_MOUNT)
    return COLAB_CACHE if on_drive else None


def _copy_in(cache, path):
    """The copy of `path` in `cache`, made if it is not there; None when there is no room for it."""
    status = retried(os.stat, path)
    key = hashlib.sha256(os.fsencode(f"{path}\n{status.st_size}\n{status.st_mtime_ns}")).hexdigest()[:32]
    copy = cache / key[:2] / f"{key}{path.suffix}"
    with _locks[int(key[:2], 16)]:
        if copy.exists():
            return copy
        copy.parent.mkdir(parents=True, exist_ok=True)
        with _alone(copy.parent):
            return copy if copy.exists() else _copied(path, copy, status.st_size)


@contextlib.contextmanager
def _alone(folder):
    """Let other processes of this machine wait that would copy into the same folder, so that none copies a file again.

    A process that is killed holds nobody up. Where folders cannot be locked, a file may be copied twice at once, which
    only costs time: copies appear whole.
    """
    descriptor = os.open(folder, os.O_RDONLY) if fcntl else None
    try:
        if fcntl:
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _copied(path, copy, size):
    """`copy`, made from `path`; None when there is no room for it."""
    if shutil.disk_usage(copy.parent).free - size < KEPT_FREE:
        return None
    with written_whole(copy) as part, SteadyFile(path) as source, part.open("wb") as target:
        shutil.copyfileobj(source, target, PIECE)
        if target.tell() != size:
            raise OSError(errno.ESTALE, "the file was changed while it was copied", str(path))
    return copy
