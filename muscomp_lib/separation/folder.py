"""A folder of songs, separated one after the other with one model. Used by 05.

Each song gets a folder of its own, and in it, when all its files are there, `separation.json`: which song, which model
and which settings made them. A song for which that note is true already is passed over, so a run that was stopped goes
on where it was, and a song, a model or a setting that has changed is separated anew. A song that fails does not stop
the others; it is named at the end.
"""

import json
import logging
import time
from pathlib import Path

import pandas as pd

from muscomp_lib.core.errors import DiskFullError, MissingError, MusCompError
from muscomp_lib.core.files import written_whole
from muscomp_lib.core.progress import bar
from muscomp_lib.separation.songs import title

NOTE = "separation.json"
COLUMNS = ["song", "status", "seconds", "note"]

log = logging.getLogger(__name__)


def folder_names(paths, seconds=None):
    """A folder name for each song: its title, or its file name where two titles would be the same.

    An excerpt of `seconds` has a folder of its own beside the whole song's: `Song_30s`.
    """
    found = [title(path) for path in paths]
    folded = [name.lower() for name in found]  # many disks do not tell large and small letters apart
    names = [path.name if folded.count(name.lower()) > 1 else name for path, name in zip(paths, found, strict=True)]
    return names if seconds is None else [f"{name}_{seconds:g}s" for name in names]


def separate_all(separator, paths, out_dir, wanted=None, file_format="flac", exact=False, seconds=None, progress=bar):
    """Separate songs into `out_dir/<title>/`.

    Parameters
    ----------
    separator : Separator
    paths : list of Path
    out_dir : str or Path
    wanted, file_format, exact, seconds, progress
        As `Separator.separate_file` takes them.

    Returns
    -------
    pd.DataFrame
        One row per song: `song`, `status` ("ok", "there already", "failed"), `seconds` it took, `note` (why it failed).

    Raises
    ------
    DiskFullError
        No further song would fit either.
    MusCompError
        There is but one song, and it failed.
    """
    rows = []
    options = {"wanted": wanted, "file_format": file_format, "exact": exact, "seconds": seconds}
    named = list(zip(paths, folder_names(paths, seconds), strict=True))
    with bar(named, unit="song", desc="songs", disable=len(named) == 1) as counted:
        for path, name in counted:
            began = time.monotonic()
            try:
                status, note = _separate(separator, path, Path(out_dir) / name, options, progress), ""
            except (MusCompError, OSError) as error:
                if len(paths) == 1 or isinstance(error, DiskFullError):
                    raise
                status, note = "failed", str(error)
                log.warning("%s failed: %s", name, note)  # a table in a notebook shortens long notes
            rows.append((name, status, round(time.monotonic() - began, 1), note))
    return pd.DataFrame(rows, columns=COLUMNS)


def files_of(folder):
    """The files of a separated song, by output.

    Raises
    ------
    MissingError
        The song is not separated, or not to its end.
    """
    try:
        noted = json.loads((Path(folder) / NOTE).read_text(encoding="utf-8"))
        return {name: Path(folder) / file for name, file in noted["files"].items()}
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise MissingError(f"{folder} holds no separated song. Separate it first.") from error


def _separate(separator, path, folder, options, progress):
    """Separate one song unless it is there already: its status."""
    told = _told(separator, path, options)
    if _is_done(folder, told):
        return "there already"
    (folder / NOTE).unlink(missing_ok=True)  # it is not true of what comes now
    files = separator.separate_file(path, folder, progress=progress, **options)
    with written_whole(folder / NOTE) as part:
        part.write_text(
            json.dumps(told | {"files": {name: file.name for name, file in files.items()}}, indent=2) + "\n"
        )
    return "ok"


def _told(separator, path, options):
    """What the files of a song depend on, as JSON can hold it."""
    file = path.stat()
    song = {"name": path.name, "bytes": file.st_size, "modified": file.st_mtime_ns}
    return json.loads(json.dumps({"song": song, "model": separator.identity, "options": options}))


def _is_done(folder, told):
    try:
        noted = json.loads((folder / NOTE).read_text(encoding="utf-8"))
        files = noted.pop("files").values()
    except (OSError, ValueError, KeyError, AttributeError):
        return False
    return noted == told and all((folder / name).is_file() for name in files)
