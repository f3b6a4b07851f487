"""Spleeter's own formats for training: a table per partition and a configuration. Used by notebook 03.

`write` makes `train.csv`, `validation.csv` and `test.csv` from the prepared songs that pass the checks (check.py).
`config` writes the JSON file that says how to train; models/config.py declares its keys.

For one of Spleeter's own networks, songs that Spleeter cannot use are left out as well: both engines then train from
the files.
"""

from collections import Counter

import pandas as pd

from muscomp_lib.core import instruments
from muscomp_lib.core.errors import MissingError
from muscomp_lib.core.files import clean_parts, write_csv
from muscomp_lib.dataset import own_stems
from muscomp_lib.dataset.library import PARTITIONS, Library
from muscomp_lib.models.config import write_config
from muscomp_lib.tables.check import check_songs
from muscomp_lib.tables.settings import Settings

TRAINED = ("train", "validation")  # partitions that are cut into training examples


def config(root, settings=None):
    """Write the configuration `configs/<name>.json`.

    Its paths are absolute: Spleeter looks for a relative `model_dir` elsewhere, and separates with random weights when
    it finds none there.

    Returns
    -------
    Path
    """
    settings = settings or Settings()
    clean_parts(root.configs)
    path = root.configs / f"{settings.name}.json"
    write_config(path, settings.configuration(root.tables, root.models / settings.name))
    return path


def write(root, settings=None):
    """Write `train.csv`, `validation.csv` and `test.csv` from the prepared songs that are in order.

    Parameters
    ----------
    root : Root
    settings : Settings, optional

    Returns
    -------
    tables : dict of str to pd.DataFrame
        By partition. Columns `mix_path`, `<Instrument>_path` ..., `duration` (seconds); paths relative to the root.
    problems : pd.DataFrame
        The songs left out: `partition`, `track`, `reason`.

    Raises
    ------
    MissingError
        There is nothing to train on, or to validate with: no engine starts then. Nothing is written.
    """
    settings = settings or Settings()
    clean_parts(root.tables)
    tables, problems = {}, []
    library = Library(root)
    songs = {partition: library.songs(partition) for partition in PARTITIONS}
    held_out = {track for partition in PARTITIONS if partition != "train" for track in songs[partition]}
    for partition in PARTITIONS:
        excluded = held_out if partition == "train" else ()
        rows = check_songs(library, partition, songs[partition], settings, excluded, partition in TRAINED)
        tables[partition] = pd.DataFrame([row for _, row, reason in rows if not reason], columns=_columns(settings))
        problems += [(partition, track, reason.replace(f"{root.path}/", "")) for track, _, reason in rows if reason]
    problems = pd.DataFrame(problems, columns=["partition", "track", "reason"])
    for partition in TRAINED:
        _require_songs(root, partition, tables[partition], problems[problems["partition"] == partition])
    for partition, table in tables.items():
        write_csv(root.tables / f"{partition}.csv", table)
    return tables, problems


def _columns(settings):
    return [f"{name}_path" for name in (instruments.MIX, *settings.instrument_list)] + ["duration"]


def _require_songs(root, partition, table, problems):
    if len(table):
        return
    if problems.empty and own_stems.table_path(root).exists():
        raise MissingError(
            f"Of your songs, none is left for {partition}: folders around them name other partitions, or they share a "
            "stem's samples, or title and length, as versions of one song do. Add songs, rename such a folder, or take "
            f"out the stem that all of them have: {root.relative(own_stems.table_path(root))} lists them."
        )
    if problems.empty:
        raise MissingError(
            f"There is no song in {root.prepared / partition}. Run notebook 02 first, which prepares them; or, for "
            "songs of your own, give their folder as `stems` in notebook 03."
        )
    (reason, count), *_ = Counter(problems["reason"]).most_common(1)
    raise MissingError(
        f"None of the songs in {root.prepared / partition} can be used. The reason for {count} of {len(problems)}: "
        f"{reason}. If the parameters are as intended, remove these songs and prepare them again."
    )
