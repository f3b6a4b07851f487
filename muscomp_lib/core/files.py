"""Files that appear whole or not at all. Used wherever something is written.

They are written under a name beside their own (`.part-...`) and renamed when complete, so that a run killed at any
moment leaves nothing that could be taken for a finished file.
"""

import contextlib
import errno
import logging
import os
import platform
import re
import shutil
import time
import unicodedata
import zlib
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

import psutil

from muscomp_lib.core.errors import DiskFullError, MusCompError, SettingError

PART = ".part-"
NOT_WRITABLE = (  # no permission; a folder's name, or no possible one; a place without files, such as /proc
    errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR, errno.EINVAL, errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR,
)  # fmt: skip
MAX_NODE_CHARS = 32  # of the machine's name within a part's
MAX_NAME_BYTES = 255  # of a file name, for file systems
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # of the web, or of a cloud's disk; C:/ is none
DRIVE = re.compile(r"[A-Za-z]:[/\\]")  # of Windows
PRINTED_QUOTES = "\u201c\u201d\u201e\u2018\u2019\u201a\u00ab\u00bb"  # of word processors and web pages
QUOTES = "\"'" + PRINTED_QUOTES
FORGOTTEN = 86400  # seconds: what another machine began to write and has not touched for so long was killed
_WITHOUT_LOCKS = set()  # disks that were warned of, by number

log = logging.getLogger(__name__)


@contextlib.contextmanager
def written_whole(path, mark=None):
    """Write a file or a folder so that it appears complete or not at all.

    Yields a path beside `path` to write to (same suffix; for a folder, make it yourself). When the block ends well it
    is renamed to `path`, replacing what was there; when it fails, it is removed.

    Parameters
    ----------
    path : str or Path
    mark : str, optional
        Of a folder: a file in it that only we write. One without it is never replaced, unless it is empty.

    Raises
    ------
    DiskFullError
        When the disk is full.
    SettingError
        There is a folder with files of others.
    MusCompError
        The folder that it goes into cannot be made or written to, or a folder has the file's name.
    """
    path = Path(path)
    make_folder(path.parent)
    if mark:
        _check_ours(path, mark)
    part = path.with_name(_part_name(path.name))
    try:
        with full_disk_reported(path):
            remove(part)
            yield part
            if part.is_dir():
                remove_ours(path, mark)
            part.replace(path)
    except OSError as error:
        if error.errno not in NOT_WRITABLE or error.filename != str(part):
            raise
        raise MusCompError(f"{path} cannot be written ({error.strerror}). Give another name or folder.") from error
    finally:
        remove(part)


def write_text(path, text):
    """Write a text file in UTF-8 that appears whole or not at all: as `written_whole`, with its errors."""
    with written_whole(path) as part:
        part.write_text(text, encoding="utf-8")


def write_csv(path, table):
    """Write a table (pd.DataFrame) as CSV, without its index, that appears whole or not at all: as `written_whole`."""
    with written_whole(path) as part:
        table.to_csv(part, index=False, lineterminator="\n", encoding="utf-8")


@contextlib.contextmanager
def full_disk_reported(path):
    """Turn the operating system's error for a full disk into a DiskFullError about `path`."""
    try:
        yield
    except OSError as error:
        if not _disk_is_full(error):
            raise
        raise DiskFullError(
            f"No room left to write {path}. Free some space on that disk and run this again: "
            "what is already done is kept."
        ) from error


def make_folder(path):
    """Make a folder, and those above it that are missing.

    Returns
    -------
    Path

    Raises
    ------
    MusCompError
        A file has its name, or it may not be made.
    DiskFullError
    """
    try:
        with full_disk_reported(path):
            Path(path).mkdir(parents=True, exist_ok=True)
    except DiskFullError:
        raise
    except OSError as error:
        place = error.filename or path
        raise MusCompError(
            f"The folder {path} cannot be used ({place}: {error.strerror}). Give a folder that you may write to, or "
            "rename the file in its place."
        ) from error
    return Path(path)


def expanded(path, where=""):
    """A path as a person wrote it, `~` expanded, spelled as on disk: Path. `where` begins the message.

    Raises
    ------
    SettingError
        No disk here can have it: it is blank, an address, a path of Windows elsewhere, has a name that is too long, or
        `~` of an unknown person; or it is in quotation marks, and there is no such file.
    """
    text = str(path)
    if not text.strip():
        raise SettingError(f"{where}the path is blank, as of a variable that is not set. Give a file or a folder.")
    if ADDRESS.match(text):
        raise SettingError(f"{where}{text} is an address, not a path. Download or mount it, and give its path here.")
    if DRIVE.match(text) and os.name != "nt":
        raise SettingError(
            f"{where}{text} is a Windows path, and this is {platform.system()}. In WSL, C:\\ is /mnt/c/."
        )
    if len(text) > 1 and text[0] in QUOTES and text[-1] in QUOTES and not os.path.lexists(text):
        raise SettingError(f"{where}{text} is not there. Remove the quotation marks around it.")
    try:
        found = Path(path).expanduser()
    except RuntimeError as error:
        raise SettingError(f"{where}{str(path)!r} is not a possible path ({error}).") from error
    if name := next((name for name in found.parts if len(os.fsencode(name)) > MAX_NAME_BYTES), None):
        raise SettingError(f"{where}the name {name[:30]}... is longer than {MAX_NAME_BYTES} bytes. Check the path.")
    return spelled_as_on_disk(found)


def spelled_as_on_disk(path):
    """A path whose accented letters are in the form in which the disk has them: macOS takes both, other systems do not.

    Zip archives and disks from a Mac often hold "u" and the two dots where keyboards write "ü". What is there in
    neither form stays as it is.
    """
    if str(path).isascii() or os.path.lexists(path):
        return path
    found = Path(path.anchor)
    for name in path.parts[bool(path.anchor) :]:
        forms = (
            found / form for form in (name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name))
        )
        found = next(filter(os.path.lexists, forms), found / name)
    return found


def absolute(path, where="", base="."):
    """A path as a person wrote it, relative to `base`, made absolute, `~` expanded; `where` begins the message.

    Raises
    ------
    SettingError
        It holds a NUL character, or is not `expanded`.
    """
    try:
        return spelled_as_on_disk(Path(base) / expanded(path, where)).resolve()
    except SettingError:
        raise
    except (ValueError, RuntimeError, OSError) as error:
        raise SettingError(f"{where}{str(path)!r} is not a possible path ({error}).") from error


def cache_folder():
    """Where what is fetched, or made once, is kept: `$MUSCOMP_CACHE`, else `muscomp` in the user's cache folder.

    Raises
    ------
    SettingError
        There is no home folder, as in containers that run as a number without a name.
    """
    users = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    given = os.environ.get("MUSCOMP_CACHE") or f"{users}/muscomp"
    try:
        return Path(given).expanduser().absolute()
    except RuntimeError as error:
        raise SettingError(f"{given} cannot be the cache folder ({error}) Set MUSCOMP_CACHE to a folder.") from error


def _part_name(name):
    """The temporary name; of a name that is too long to extend, only a checksum and the suffix are kept."""
    writer = f"{platform.node()[:MAX_NODE_CHARS]}-{os.getpid()}"  # several machines may write to one disk
    part = f"{PART}{writer}-{name}"
    if len(os.fsencode(part)) <= MAX_NAME_BYTES:
        return part
    return f"{PART}{writer}-{zlib.crc32(os.fsencode(name)):08x}{Path(name).suffix[:16]}"


def _disk_is_full(error):
    """Whether an error says that the disk, the quota or the largest possible file is full."""
    return isinstance(error, DiskFullError) or error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def walk(folder):
    """As os.walk, by name, without hidden folders, and through links to folders, of which people make data sets.

    No folder is entered twice, as a link may lead to what is above it.
    """
    entered = {_identity(folder)}
    for path, folders, files in os.walk(folder, followlinks=True):
        new = {_identity(Path(path, name)): name for name in sorted(folders, reverse=True) if name[0] != "."}
        folders[:] = sorted(name for identity, name in new.items() if identity not in entered)
        entered |= set(new)
        yield path, folders, sorted(files)


def _identity(folder):
    status = Path(folder).stat()
    return status.st_dev, status.st_ino


def files_below(folder, suffixes):
    """The files in a folder and below it, as `walk` finds them, with one of some suffixes: a sorted list of Path."""
    found = (Path(path, name) for path, _, names in walk(folder) for name in names if name[0] != ".")
    return sorted(path for path in found if path.suffix.lower() in suffixes and path.is_file())


def first_free(paths):
    """The first of some paths that is not taken, not even by a broken link."""
    return next(path for path in paths if not os.path.lexists(path))


def remove(path):
    """Remove a file or folder if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_ours(folder, mark):
    """Remove a folder that we made: it holds the file `mark`, or nothing.

    Raises
    ------
    SettingError
        It holds files of others; nothing is removed.
    """
    _check_ours(folder, mark)
    remove(folder)


def _check_ours(folder, mark):
    ours = mark and (folder / mark).is_file()
    if not ours and os.path.lexists(folder) and not (folder.is_dir() and not any(folder.iterdir())):
        raise SettingError(f"{folder} was not made by Mus-Comp, and would be replaced. Move or rename it first.")


def clean_parts(folder, name="*", alone=False):
    """Remove what killed runs left half-written directly in `folder`: of everything, or of the file `name`.

    What another process of this machine is writing now stays; and what another machine may be writing, unless this
    process is `alone`, because it holds the lock that all take who write there.
    """
    for part in folder.glob(f"{PART}*"):
        if (name == "*" or part.name.endswith(f"-{name}")) and not _is_being_written(part, alone):
            remove(part)


def _is_being_written(part, alone):
    here = f"{PART}{platform.node()[:MAX_NODE_CHARS]}-"
    if not part.name.startswith(here):
        return not alone and _is_recent(part)
    pid = part.name.removeprefix(here).partition("-")[0]
    return pid.isdigit() and int(pid) != os.getpid() and _runs(int(pid))


def _is_recent(part):
    try:
        latest = max(path.stat().st_mtime for path in (part, *(part.iterdir() if part.is_dir() else ())))
    except FileNotFoundError:  # it has been completed meanwhile
        return True
    return latest > time.time() - FORGOTTEN


def _runs(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE  # ended, and its parent has not asked how
    except psutil.NoSuchProcess:
        return False


@contextlib.contextmanager
def locked(path, shared=False, wait=True):
    """Hold the lock of a folder, or of a file, which is made. Other processes wait; it ends with this process.

    Where a disk has no locks (some mounts), or the system (Windows), nothing is held. Yields whether it is.

    Parameters
    ----------
    path : Path
    shared : bool
        Others that share it may hold it too.
    wait : bool

    Raises
    ------
    BlockingIOError
        Another holds it, and this one is not to wait.
    """
    if fcntl is None:
        yield False
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT)
    try:
        held = True
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise
        except OSError as error:
            held = False
            _warn_of_no_locks(path, os.fstat(descriptor).st_dev, error)
        yield held
    finally:
        os.close(descriptor)


def _warn_of_no_locks(path, disk, error):
    if disk not in _WITHOUT_LOCKS:
        _WITHOUT_LOCKS.add(disk)
        log.warning(
            "The disk of %s cannot lock files (%s), so that runs do not notice each other there: start one at a time.",
            path, error.strerror,
        )  # fmt: skip
