"""Files that appear whole or not at all. Used wherever something is written.

They are written under a name beside their own (`.part-...`) and renamed when complete, so that a run killed at any
moment leaves nothing that could be taken for a finished file.
"""

import contextlib
import errno
import os
import platform
import re
import shutil
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
    """Where what is fetched, or made once, is kept: `$MUSCOMP_CACHE`, else `muscomp` in the user's cache folder."""
    users = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("MUSCOMP_CACHE") or f"{users}/muscomp").expanduser().absolute()


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


def clean_parts(folder, name="*"):
    """Remove what killed runs left half-written directly in `folder`.

    Of everything; or of the file `name`, but not what another process of this machine is writing now.
    """
    for part in folder.glob(f"{PART}*"):
        if name == "*" or (part.name.endswith(f"-{name}") and not _is_being_written(part)):
            remove(part)


def _is_being_written(part):
    here = f"{PART}{platform.node()[:MAX_NODE_CHARS]}-"
    pid = part.name.removeprefix(here).partition("-")[0]
    return part.name.startswith(here) and pid.isdigit() and int(pid) != os.getpid() and psutil.pid_exists(int(pid))


@contextlib.contextmanager
def locked(path, shared=False, wait=True):
    """Hold the lock of a folder, or of a file, which is made. Other processes wait; it ends with this process.

    Where a disk has no locks (some mounts), nothing is held.

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
        yield
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT)
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise
        except OSError:
            pass  # this disk has no locks
        yield
    finally:
        os.close(descriptor)
