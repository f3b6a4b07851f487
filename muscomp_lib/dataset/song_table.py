"""The songs of a training table, `train.csv` or `validation.csv`. Used by 04."""

import csv
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from muscomp_lib.core.errors import MissingError, SettingError
from muscomp_lib.dataset import library


@dataclass(frozen=True)
class Song:
    """One row of a table: its track, its files by instrument, and its length in samples.

    A file is a path or a VirtualFile; `library.read` reads both.
    """

    track: str
    mix: Path | library.VirtualFile
    files: dict
    n_samples: int


def read_songs(root, table, config):
    """Read `train.csv` or `validation.csv`.

    Parameters
    ----------
    root : Root
    table : str or Path
    config : dict
        `mix_name`, `instrument_list` and `sample_rate` (Hz) are used.

    Returns
    -------
    list of Song

    Raises
    ------
    MissingError, SettingError
        No such table; a column is missing or a cell is blank (row and column are named); no rows.
    """
    if not Path(table).is_file():
        raise MissingError(f"{table} is not there. Notebook 03 writes it: run that first.")
    with Path(table).open(newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise SettingError(f"{table} has no rows, so there is nothing to train on. Notebook 03 says why.")
    available = library.Library(root)
    return [_song(available, table, line, row, config) for line, row in enumerate(rows, start=2)]


def _song(available, table, line, row, config):
    columns = {name: f"{name}_path" for name in [config["mix_name"], *config["instrument_list"]]}
    for column in [*columns.values(), "duration"]:
        if not row.get(column):
            raise SettingError(f"{table}, line {line}: no value for {column!r}. Run notebook 03 again.")
    files = {name: available.file(row[column]) for name, column in columns.items()}
    n_samples = round(float(row["duration"]) * config["sample_rate"])
    track = PurePosixPath(row[columns[config["mix_name"]]]).parent.name
    return Song(track, files.pop(config["mix_name"]), files, n_samples)
