"""A second training beside the first, with one thing changed, to see what that thing does. Used by notebook 04."""

from pathlib import Path

import pandas as pd

from muscomp_lib.core.errors import SettingError
from muscomp_lib.core.files import write_csv
from muscomp_lib.dataset.song_table import has_songs
from muscomp_lib.models.config import write_config

EXPERIMENTS = ("without_remix", "with_a_leak")
OWN_FOLDERS = ("model_dir", "training_cache", "validation_cache")  # keys of the configuration


def write(settings, root, experiment):
    """Write the configuration of an experiment, `configs/<model>_<experiment>.json`.

    Parameters
    ----------
    settings : dict
        The configuration to compare with.
    root : Root
    experiment : {"without_remix", "with_a_leak"}
        Train on the songs as they are; or on the test songs, too.

    Returns
    -------
    Path
        Of the configuration, for `train`.

    Raises
    ------
    SettingError
        There are no test songs to leak.
    """
    paths = {key: f"{settings[key]}_{experiment}" for key in OWN_FOLDERS if settings.get(key)}
    changed, name = {**settings, **paths}, Path(paths["model_dir"]).name
    if experiment == "without_remix":
        changed["muscomp"] = {**settings["muscomp"], "remix": False}
    else:
        changed["train_csv"] = _with_test_songs(settings, root, name)
    path = root.configs / f"{name}.json"
    write_config(path, changed)
    return path


def _with_test_songs(settings, root, name):
    """The training table with the test songs added, as a path."""
    if not has_songs(root.tables / "test.csv"):
        raise SettingError(
            "experiment = 'with_a_leak' trains on the songs to test with, and there are none. Add songs."
        )
    tables = [pd.read_csv(root.path / table) for table in (settings["train_csv"], root.tables / "test.csv")]
    path = root.tables / f"{name}.csv"
    write_csv(path, pd.concat(tables, ignore_index=True))
    return str(path)
