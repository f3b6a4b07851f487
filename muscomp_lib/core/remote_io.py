"""Reading from a slow mount that fails now and then: Google Drive in Colab, a cluster's disks. Used by notebooks 01-05.

There every open takes tenths of a second, one call in a hundred gives "Input/output error", and the whole mount can
vanish in the middle of a run. So calls with transient errors are retried (`retried`), a folder is listed with one call
(`listing`), a file that fails is reopened at the same position (`RetryingFile`), a lost mount is distinguished from a
missing file (`check_mounted`), and what is read often is copied to a fast disk first (`local_copy`).
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

from muscomp_lib.core.errors import MountLostError, MusCompError
from muscomp_lib.core.files import locked, written_whole
from muscomp_lib.core.root import COLAB_MOUNT

# Errors of overloaded servers, and of clients that reconnect to a lost one (Lustre gives ENOTCONN and ESHUTDOWN then).
# "No such file" and "not allowed" are not among them: retrying does not change those.
TRANSIENT = {
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
PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)  # seconds before each retry
CACHE = "MUSCOMP_CACHE"  # environment variable: a folder on a fast disk
COLAB_CACHE = Path("/content/muscomp_cache")
MIN_FREE = 5 * 10**9  # bytes of the cache's disk that copies leave free
COPY_BLOCK = 1 << 20  # bytes read at once when a file is copied

_locks = [threading.Lock() for _ in range(256)]  # one per folder of the cache: one thread makes a copy

log = logging.getLogger(__name__)


def retried(call, *arguments, between=None):
    """The result of `call(*arguments)`, which is retried after growing pauses when it fails with a transient error.

    Parameters
    ----------
    call : callable
    between : callable, optional
        Called before each retry; what it raises is final.

    Raises
    ------
    OSError
        The last one, when every retry failed; any other error at once.
    """
    for pause in PAUSES:
        try:
            return call(*arguments)
        except OSError as error:
            if error.errno not in TRANSIENT:
                raise
        time.sleep(pause)
        if between:
            between()
    return call(*arguments)


def read_text(path):
    """The text of a small file (UTF-8).

    Raises
    ------
    OSError, UnicodeDecodeError
    """
    return retried(lambda: Path(path).read_text(encoding="utf-8"))


def listing(folder):
    """The entries of a folder: {name: os.stat_result}; empty when the folder is not there.

    Raises
    ------
    OSError
    """
    found = {}
    try:
        scanned = retried(entries, folder)
    except FileNotFoundError:
        return found
    for entry in scanned:
        with contextlib.suppress(FileNotFoundError):  # removed meanwhile, or a dangling link
            found[entry.name] = _status(entry)
    return found


def _status(entry):
    try:
        return retried(entry.stat)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return entry.stat(follow_symlinks=False)  # a link to itself


def entries(folder):
    """What a folder holds: list of os.DirEntry. To be `retried`."""
    with os.scandir(folder) as scanned:
        return list(scanned)


def check_mounted(folder):
    """Make sure that a folder that was not empty can still be listed.

    To be called when a file in it is missing or unreadable: with a lost mount, all of them are. A disk that was
    unmounted leaves an empty folder behind, so an empty one counts as lost.

    Raises
    ------
    MountLostError
    """
    try:
        reason = "" if retried(entries, folder) else "it is empty now"
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        raise MountLostError(
            f"{folder} can no longer be read ({reason}): its disk is gone. Mount Google Drive again (or reconnect the "
            "disk) and run the same again: what is done is kept."
        )


class RetryingFile(io.RawIOBase):
    """A file for reading that survives transient errors: it is reopened and read on at the same position.

    Attributes
    ----------
    size : int
        Bytes, when it was opened.
    state : tuple
        Size and time of the last change: another file, or another version, has another.

    Parameters
    ----------
    path : str or Path

    Raises
    ------
    OSError
        One that persists; also when another file has replaced this one meanwhile.
    """

    def __init__(self, path):
        self._path, self._position, self._file = path, 0, None
        self._file, self.state = retried(self._open)
        self.size = self.state[0]

    def _open(self):
        file = io.FileIO(self._path)
        try:
            status = os.fstat(file.fileno())
        except BaseException:
            _close(file)
            raise
        return file, (status.st_size, status.st_mtime_ns)

    def _reopen(self):
        file, state = retried(self._open)
        _close(self._file)
        self._file = file
        if state != self.state:
            raise OSError(errno.ESTALE, "the file was changed while it was read", str(self._path))

    def _fill(self, view):
        """Read until `view` is full or the file ends: libsndfile takes a short read for the end."""
        self._file.seek(self._position)
        n_bytes = 0
        while n_bytes < len(view) and (more := self._file.readinto(view[n_bytes:])):
            n_bytes += more
        return n_bytes

    def readinto(self, buffer):
        """Fill `buffer`, less at the end; returns the number of bytes."""
        if self._position >= self.size:
            return 0
        n_bytes = retried(self._fill, memoryview(buffer).cast("B"), between=self._reopen)
        self._position += n_bytes
        return n_bytes

    def seek(self, offset, whence=os.SEEK_SET):
        """Set the position; the file system is not involved until something is read there.

        Returns the position, or -1, as C does, where it would lie before the beginning: it stays then.
        """
        position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        if position < 0:
            return -1
        self._position = position
        return position

    def tell(self):  # noqa: D102 - these four are a file's methods
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
    with contextlib.suppress(OSError):  # on a lost mount even this fails; all was read by then
        file.close()


def local_copy(path):
    """The path of a copy of `path` on a fast disk, for a file that is read often.

    The copy is made at the first call, sequentially, and again when the file has changed. Copies are in
    `$MUSCOMP_CACHE`, or on Colab, for files on Drive, in `/content/muscomp_cache`; nothing there is needed later.

    Returns
    -------
    path : str or Path
        The given path itself where there is no such folder, its disk is nearly full, or copying fails.
    """
    cache = os.environ.get(CACHE) or _colab_cache(path)
    if not cache:
        return path
    try:
        return _cached_copy(Path(cache).expanduser(), Path(path).absolute()) or path
    except (OSError, MusCompError, RuntimeError) as error:  # the last of ~ without a home folder
        log.warning("%s could not be copied to %s (%s); it is read where it is.", path, cache, error)
        return path


def _colab_cache(path):
    on_drive = "google.colab" in sys.modules and Path(path).absolute().is_relative_to(COLAB_MOUNT)
    return COLAB_CACHE if on_drive else None


def _cached_copy(cache, path):
    """The copy of `path` in `cache`, made if it is not there; None when there is no room for it."""
    status = retried(os.stat, path)
    key = hashlib.sha256(os.fsencode(f"{path}\n{status.st_size}\n{status.st_mtime_ns}")).hexdigest()[:32]
    copy = cache / key[:2] / f"{key}{path.suffix}"
    with _locks[int(key[:2], 16)]:
        if copy.exists():
            return copy
        copy.parent.mkdir(parents=True, exist_ok=True)
        with locked(copy.parent):  # so that no other process of this machine makes the same copy
            return copy if copy.exists() else _copy(path, copy, status.st_size)


def _copy(path, copy, size):
    """`copy`, made from `path`; None when there is no room for it."""
    if shutil.disk_usage(copy.parent).free - size < MIN_FREE:
        return None
    with written_whole(copy) as part, RetryingFile(path) as source, part.open("wb") as target:
        shutil.copyfileobj(source, target, COPY_BLOCK)
        if target.tell() != size:
            raise OSError(errno.ESTALE, "the file was changed while it was copied", str(path))
    return copy
