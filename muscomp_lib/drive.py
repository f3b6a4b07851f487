"""Where everything lies: one root folder, on Google Drive or on any disk. Used by every notebook.

The folders are declared in `drive_layout/layout.yaml`; no other module spells a folder name. Files appear whole or not
at all: they are written under a name beside their own (`.part-...`) and renamed when complete, so that a run killed at
any moment leaves nothing that could be taken for a finished file.
"""

import contextlib
import errno
import os
import platform
import shutil
import sys
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil
import yaml

from muscomp_lib.errors import DiskFullError, MissingError, MusCompError

LAYOUT_FILE = Path(__file__).parents[1] / "drive_layout" / "layout.yaml"
COLAB_MOUNT = Path("/content/drive")
COLAB_ROOT = COLAB_MOUNT / "MyDrive" / "muscomp_root"
GB = 1e9  # bytes
SLAKH_GB = 105  # the whole of Slakh2100, unpacked; its archive, of compressed audio, is no smaller
PART = ".part-"
LONGEST_NODE = 32  # characters of the machine's name within a part's
LONGEST_NAME = 255  # bytes of a file name that file systems take


@cache
def layout():
    """The declared folders: {name in code: {"folder": name on disk, "holds": what it is for}}."""
    return yaml.safe_load(LAYOUT_FILE.read_text())


@dataclass(frozen=True)
class Root:
    """A Mus-Comp root. `root.tables`, `root.models`, ... are the declared folders as `pathlib.Path`."""

    path: Path

    def __getattr__(self, name):
        if name not in layout():
            raise AttributeError(f"a root has no folder {name!r}; it has {', '.join(layout())}")
        return self.path / layout()[name]["folder"]

    def relative(self, path):
        """`path` as written into tables: relative to the root, with forward slashes."""
        return Path(path).relative_to(self.path).as_posix()


def open_root(root=None):
    """Open the root folder and make the folders it lacks.

    Parameters
    ----------
    root : str or Path, optional
        The folder. Without it: `$MUSCOMP_ROOT`, else on Colab `MyDrive/muscomp_root` (mounting Drive first), else
        `./muscomp_root`.

    Returns
    -------
    Root

    Raises
    ------
    MusCompError
        When the folder cannot be made or written to.
    """
    path = Path(root or os.environ.get("MUSCOMP_ROOT") or _default_root()).expanduser().resolve()
    try:
        for entry in layout().values():
            (path / entry["folder"]).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MusCompError(
            f"The root folder {path} cannot be used ({error.strerror}). Give open_root() a folder you may write to."
        ) from error
    return Root(path)


def _default_root():
    if "google.colab" not in sys.modules:
        return Path("muscomp_root")
    from google.colab import drive

    drive.mount(str(COLAB_MOUNT))
    return COLAB_ROOT


def overview(root):
    """What will be stored where: shown in notebook 01 before anything is.

    Returns
    -------
    pd.DataFrame
        One row per folder: `folder`, `holds`, `takes` (how much room, about), `deleting` (what may be deleted again).
    """
    import pandas as pd  # here, because every worker process imports this module, and none needs a table

    rows = [{**entry, "folder": f"{entry['folder']}/"} for entry in layout().values()]
    return pd.DataFrame(rows, columns=["folder", "holds", "takes", "deleting"])


def room(root):
    """How much room the root's disk has, and whether the whole of Slakh2100 fits: sentences for a person.

    On Google Drive it is the quota as the mount reports it.
    """
    try:
        total, _, free = shutil.disk_usage(root.path)
    except OSError:
        total = 0  # as some mounts report of themselves
    if not total:
        return f"The disk of {root.path} does not tell how much room it has. Slakh2100 takes {SLAKH_GB} GB there."
    on_drive = "as Google Drive reports it" if root.path.is_relative_to(COLAB_MOUNT) else "on this disk"
    return f"Free: {free / GB:.1f} of {total / GB:.1f} GB, {on_drive}. {_whether_slakh_fits(free / GB)}"


def _whether_slakh_fits(free):
    whole = f"the whole of Slakh2100 ({SLAKH_GB} GB)"
    if free >= 2 * SLAKH_GB:
        return f"There is room for {whole} and, until it is unpacked, its archive of the same size."
    if free >= SLAKH_GB:
        return f"There is room for {whole}, but not for its archive beside it: keep that on another disk."
    return (
        f"There is not enough room for {whole}, unless it lies here already. Choose a larger disk as root, or take "
        "BabySlakh (2 GB), or leave the folder slakh/ empty and use the small data set."
    )


def required(path, made_by):
    """`path` if it exists.

    Parameters
    ----------
    path : Path
    made_by : str
        What makes it, for the message: "notebook 01".

    Raises
    ------
    MissingError
    """
    if not Path(path).exists():
        raise MissingError(f"{path} is not there. {made_by} makes it: run that first.")
    return Path(path)


@contextlib.contextmanager
def written_whole(path):
    """Write a file or a folder so that it appears complete or not at all.

    Yields a path beside `path` to write to (same suffix; for a folder, make it yourself). When the block ends well it
    is renamed to `path`, replacing what was there; when it fails, it is removed.

    Raises
    ------
    DiskFullError
        When the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(_part_name(path.name))
    try:
        remove(part)
        yield part
        if part.is_dir():
            remove(path)
        part.replace(path)
    except OSError as error:
        if _disk_is_full(error):
            raise DiskFullError(
                f"No room left to write {path}. Free some space on that disk and run this again: "
                "what is already done is kept."
            ) from error
        raise
    finally:
        remove(part)


def _part_name(name):
    """The name to write under; of a name that has no room for more, only a checksum and the suffix are kept."""
    writer = f"{platform.node()[:LONGEST_NODE]}-{os.getpid()}"  # several machines may write to one disk
    part = f"{PART}{writer}-{name}"
    if len(os.fsencode(part)) <= LONGEST_NAME:
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


def clean_parts(folder, name="*"):
    """Remove what killed runs left half-written directly in `folder`.

    Of everything; or of the file `name`, but not what another process of this machine is writing just now.
    """
    for part in folder.glob(f"{PART}*"):
        if name == "*" or (part.name.endswith(f"-{name}") and not _is_being_written(part)):
            remove(part)


def _is_being_written(part):
    here = f"{PART}{platform.node()[:LONGEST_NODE]}-"
    pid = part.name.removeprefix(here).partition("-")[0]
    return part.name.startswith(here) and pid.isdigit() and int(pid) != os.getpid() and psutil.pid_exists(int(pid))
