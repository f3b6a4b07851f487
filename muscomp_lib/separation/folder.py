"""Separates a folder of songs, one after the other, with one model. Used by notebooks 04 and 05.

Each song gets a folder of its own. Once all its files are written, `separation.json` beside them records the song, the
model and the settings they were made from. A song whose record still matches is skipped, so an interrupted run
resumes where it stopped, and a song is separated again when it, the model or a setting has changed. A song that fails
does not stop the others; it is reported at the end.
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

RECORD = "separation.json"
COLUMNS = ["song", "status", "seconds", "note"]

log = logging.getLogger(__name__)


def folder_names(paths, seconds=None):
    """A folder name for each song: its title, or its file name where two titles are the same.

    An excerpt of `seconds` gets a folder beside that of the whole song: `Song_30s`.
    """
    titles = [title(path) for path in paths]
    folded = [name.lower() for name in titles]  # many disks ignore case
    names = [path.name if folded.count(name.lower()) > 1 else name for path, name in zip(paths, titles, strict=True)]
    return names if seconds is None else [f"{name}_{seconds:g}s" for name in names]


def separate_all(separator, paths, out_dir, wanted=None, file_format="flac", exact=False, seconds=None, progress=bar):
    """Separate songs into `out_dir/<title>/`.

    Parameters
    ----------
    separator : Separator
    paths : list of Path
    out_dir : str or Path
    wanted, file_format, exact, seconds, progress
        As for `Separator.separate_file`.

    Returns
    -------
    pd.DataFrame
        One row per song: `song`, `status` ("ok", "up to date", "failed"), `seconds` it took, `note` (why it failed).

    Raises
    ------
    DiskFullError
        No other song would fit either.
    MusCompError
        There is only one song, and it failed.
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
                log.warning("%s failed: %s", name, note)  # notebooks shorten long cells of a table
            rows.append((name, status, round(time.monotonic() - began, 1), note))
    return pd.DataFrame(rows, columns=COLUMNS)


def files_of(folder):
    """The files of a separated song: {target: Path}.

    Raises
    ------
    MissingError
        The song is not separated, or not completely.
    """
    record = _read_record(folder)
    if record is None:
        raise MissingError(f"{folder} holds no separated song. Separate it first.")
    return {name: Path(folder) / file for name, file in record["files"].items()}


def _separate(separator, path, folder, options, progress):
    """Separate one song unless its files are up to date; returns its status."""
    inputs = _inputs(separator, path, options)
    if _is_up_to_date(folder, inputs):
        return "up to date"
    (folder / RECORD).unlink(missing_ok=True)  # it describes the old files
    files = separator.separate_file(path, folder, progress=progress, **options)
    record = inputs | {"files": {name: file.name for name, file in files.items()}}
    with written_whole(folder / RECORD) as part:
        part.write_text(json.dumps(record, indent=2) + "\n")
    return "ok"


def _inputs(separator, path, options):
    """What the files of a song are made from, as it reads back from JSON."""
    file = path.stat()
    song = {"name": path.name, "bytes": file.st_size, "modified": file.st_mtime_ns}
    return json.loads(json.dumps({"song": song, "model": separator.identity, "options": options}))


def _is_up_to_date(folder, inputs):
    record = _read_record(folder)
    if record is None:
        return False
    files = record.pop("files").values()
    return record == inputs and all((folder / name).is_file() for name in files)


def _read_record(folder):
    """The content of `separation.json` as a dict with `files`, or None where there is none that can be read."""
    try:
        record = json.loads((Path(folder) / RECORD).read_text(encoding="utf-8"))
        return record if isinstance(record["files"], dict) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
