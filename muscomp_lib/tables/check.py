"""Which prepared songs can be trained on, and how much of the time each instrument plays. Used by notebook 03.

Every song is checked first, because Spleeter silently drops a song it cannot use, and waits for ever when none is left.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from muscomp_lib import audio
from muscomp_lib.core import instruments
from muscomp_lib.core.errors import AudioError
from muscomp_lib.core.parallel import evenly_spaced
from muscomp_lib.core.progress import bar
from muscomp_lib.dataset.library import Library, beside, info, read
from muscomp_lib.dataset.song_table import READERS, check_files, check_sum

AUDIBLE_DB = -60.0  # a second of sound quieter than this counts as silence
MEASURED = 20  # songs at most whose activity is measured


def check_songs(library, partition, songs, settings, held_out, trained):
    """Check all songs of a partition.

    Parameters
    ----------
    library : Library
    partition : str
    songs : dict of str to dict
        The files of each track by name, as `Library.songs` returns them.
    settings : tables.Settings
    held_out : collection of str
        Tracks that may not be used, because they are in another partition too.
    trained : bool
        Whether the partition is cut into training examples, so that songs have a least length.

    Returns
    -------
    list of (str, dict or None, str)
        The track, its row of the table, and the reason to leave it out, or "".
    """
    summed = set(evenly_spaced(list(songs), settings.sum_checks))

    def check(track):
        if track in held_out:
            return track, None, "it is in validation or test too: run notebook 02 again"
        try:
            row = _row(library, songs[track], settings, trained)
            if track in summed:  # all files but the mix, targets or not
                files = {name: library.file(path) for name, path in songs[track].items()}
                check_sum(files.pop(instruments.MIX), files)
            return track, row, ""
        except (AudioError, OSError) as error:
            return track, None, str(error).rstrip(".")

    with ThreadPoolExecutor(READERS) as pool:
        return list(bar(pool.map(check, songs), total=len(songs), desc=partition))


def _row(library, files, settings, trained):
    """A song's row of the table, from the headers of its files (their paths by name).

    Raises
    ------
    AudioError
        The song cannot be trained on.
    """
    targets = settings.target_instruments or {name: [name] for name in settings.instrument_list}
    names = (instruments.MIX, *(name for members in targets.values() for name in members))
    if absent := [name for name in names if name not in files]:
        raise AudioError(f"{', '.join(absent)}: no such file. Prepare the song again")
    infos = {name: info(library.file(files[name])) for name in names}
    mix, mix_path = infos[instruments.MIX], files[instruments.MIX]
    check_files(infos, settings.sample_rate, settings.n_channels)
    if trained:
        _check_length(mix, settings)
    paths = {target: files[members[0]] if len(members) == 1 else str(beside(PurePosixPath(mix_path), target))
             for target, members in targets.items()}  # fmt: skip
    return {f"{name}_path": path for name, path in [(instruments.MIX, mix_path), *paths.items()]} | {
        "duration": round(mix.duration, 3)
    }


def _check_length(mix, settings):
    if mix.frames < settings.shortest:
        needed = settings.shortest / settings.sample_rate
        raise AudioError(f"it lasts {mix.duration:.1f} s, and a training example takes {needed:.1f} s (crop_frames)")
    if settings.for_spleeter and mix.frames < settings.shortest_for_spleeter:
        needed = settings.shortest_for_spleeter / settings.sample_rate
        raise AudioError(
            f"it lasts {mix.duration:.1f} s, and Spleeter silently skips what is shorter than {needed:.2f} s (T)"
        )


def activity(root, table, targets=None):
    """The share of time in which each instrument plays.

    Parameters
    ----------
    root : Root
    table : pd.DataFrame
        Of one partition.
    targets : dict of str to list of str, optional
        The instruments of each target, where these are not one each.

    Returns
    -------
    pd.Series
        By instrument, 0 to 1: the share of seconds that are louder than `AUDIBLE_DB`, in `MEASURED` songs spread evenly
        over the table. NaN for a table without songs.
    """
    columns = [column for column in table if column.endswith("_path") and column != "mix_path"]
    rows, library = evenly_spaced(list(table.index), MEASURED), Library(root)
    with ThreadPoolExecutor(READERS) as pool:
        members = {column: (targets or {}).get(column.removesuffix("_path")) for column in columns}
        files = [library.file(table.at[row, column], members[column]) for column in columns for row in rows]
        shares = np.reshape(list(pool.map(_active_share, files)), (len(columns), len(rows)))
    names = [column.removesuffix("_path") for column in columns]
    return pd.Series(shares.mean(axis=1) if rows else np.nan, index=names)


def _active_share(file):
    """Share of a file's whole seconds that are louder than `AUDIBLE_DB`."""
    waveform, rate = read(file)
    seconds = waveform[: max(len(waveform) // rate, 1) * rate]
    blocks = np.array_split(seconds, max(len(waveform) // rate, 1))
    return np.mean([np.sqrt(np.mean(np.square(block))) > audio.to_gain(AUDIBLE_DB) for block in blocks])
