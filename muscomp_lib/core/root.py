"""Where everything is stored: one root folder, on Google Drive or on any disk. Used by every notebook.

The folders are declared in `layout.yaml`; no other module spells a folder name.
"""

import os
import shutil
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from muscomp_lib.core import yaml_file
from muscomp_lib.core.errors import MissingError
from muscomp_lib.core.files import absolute, make_folder

LAYOUT_FILE = Path(__file__).with_name("layout.yaml")
COLAB_MOUNT = Path("/content/drive")
COLAB_ROOT = COLAB_MOUNT / "MyDrive" / "muscomp_root"
GB = 1e9  # bytes
SLAKH_TRACKS = 2100
SLAKH_GB = 105  # the whole of Slakh2100, unpacked; its archive, of compressed audio, is no smaller


@cache
def layout():
    """The declared folders: {name in code: {"folder": name on disk, "holds": what it is for}}."""
    return yaml_file.read(LAYOUT_FILE)


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
    path = absolute(root or os.environ.get("MUSCOMP_ROOT") or _default_root())
    for entry in layout().values():
        make_folder(path / entry["folder"])
    return Root(path)


def _default_root():
    if "google.colab" not in sys.modules:
        return Path("muscomp_root")
    from google.colab import drive

    drive.mount(str(COLAB_MOUNT))
    return COLAB_ROOT


def overview(root):
    """What is stored where: shown at the start of notebook 01.

    Returns
    -------
    pd.DataFrame
        One row per folder: `folder`, `holds`, `takes` (disk space, about), `deleting` (what may be deleted).
    """
    import pandas as pd  # here, because every worker process imports this module, and none needs a table

    rows = [{**entry, "folder": f"{entry['folder']}/"} for entry in layout().values()]
    return pd.DataFrame(rows, columns=["folder", "holds", "takes", "deleting"])


def room(root):
    """The free space of the root's disk, and whether all of Slakh2100 fits: sentences.

    On Google Drive it is the quota as the mount reports it.
    """
    try:
        total, _, free = shutil.disk_usage(root.path)
    except OSError:
        total = 0  # as some mounts report
    if not total:
        return f"The disk of {root.path} does not report its free space. Slakh2100 takes {SLAKH_GB} GB."
    on_drive = "as Google Drive reports it" if root.path.is_relative_to(COLAB_MOUNT) else "on this disk"
    return f"Free: {free / GB:.1f} of {total / GB:.1f} GB, {on_drive}. {_slakh_space(free / GB)}"


def _slakh_space(free):
    whole = f"the whole of Slakh2100 ({SLAKH_GB} GB)"
    if free >= 2 * SLAKH_GB:
        return f"There is room for {whole} and, until it is unpacked, its archive of the same size."
    if free >= SLAKH_GB:
        return f"There is room for {whole}, but not for its archive beside it: keep that on another disk."
    return (
        f"There is not enough room for {whole}, unless it is here already. Choose a larger disk as root, or use "
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
