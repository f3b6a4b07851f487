"""Which stem fills which gap, from which offset, at which gain. Used by notebook 02.

The draws become `tables/synthesis.csv`; no audio is made here.
"""

import os
from collections import Counter
from functools import partial
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from muscomp_lib.audio.resampler import n_samples_at
from muscomp_lib.core import remote_io
from muscomp_lib.core.file_cache import FileCache
from muscomp_lib.core.root import required
from muscomp_lib.dataset.lending import Lender, least_used
from muscomp_lib.reserve.split import PREPARED, instrument_columns
from muscomp_lib.slakh import index_tables, verify
from muscomp_lib.slakh.track import METADATA_FILE, read_metadata
from muscomp_lib.slakh.verify import SOUND

SYNTHESIS_COLUMNS = {
    "track": "str",
    "instrument": "str",
    "reserve_track": "str",
    "reserve_stems": "str",  # joined by ";": they are summed
    "offset": "int64",  # samples, at the songs' rate, from the stems' start to the song's first sample
    "gain_db": "float64",
}
JOINT = ";"
GAIN_BOUND_DB = 12.0  # a larger gain means that the metadata's level is wrong


def synthesis_path(root):
    """The path of the table of fills."""
    return root.tables / "synthesis.csv"


def read_synthesis(root):
    """Read `synthesis.csv`; MissingError when this notebook has not run, SettingError for a cell that cannot be."""
    path = required(synthesis_path(root), made_by="Notebook 02")
    return index_tables.read_csv(path, SYNTHESIS_COLUMNS, names_in=("track", "instrument", "reserve_track"))


def gaps(tracks):
    """The instruments that prepared songs lack: list of (track, instrument) in the order of the tables."""
    names = instrument_columns(tracks)
    made = tracks[tracks["partition"].isin(PREPARED)].set_index("track")
    return [(track, name) for track, counts in made[names].iterrows() for name in names if not counts[name]]


def unfilled(tracks, synthesis):
    """The gaps that no reserve song could fill: they are silent.

    Returns
    -------
    pd.DataFrame
        `track`, `partition`, `instrument`.
    """
    filled = set(zip(synthesis["track"], synthesis["instrument"], strict=True))
    left = pd.DataFrame([gap for gap in gaps(tracks) if gap not in filled], columns=["track", "instrument"])
    left.insert(1, "partition", left["track"].map(tracks.set_index("track")["partition"]))
    return left


def draw(root, stems, tracks, fills, settings):
    """Draw for every gap which reserve stems fill it, from which offset, at which gain.

    Of the songs that have the instrument, the least used one is chosen; the offset is where it plays. Slakh brings all
    stems of a song to one loudness, and a fill gets the loudness of the song it goes to.

    Parameters
    ----------
    root : Root
    stems, tracks : pd.DataFrame
        As in the index, with partitions.
    fills : pd.Series
        From `reserve_for`.
    settings : Settings

    Returns
    -------
    synthesis : pd.DataFrame
        Columns `SYNTHESIS_COLUMNS`.
    notes : dict of str to str
        {reserve track: which of its stems cannot be used, and why}.
    """
    cache = FileCache(root)
    sources, notes = _sources(root.slakh, stems, fills, settings, cache)
    table = tracks.set_index("track")
    number = {track: position for position, track in enumerate(table.index)}
    rates = stems[stems["status"] == "ok"].groupby("track")["sample_rate"].first()
    level, used, rows = _Levels(root.slakh, stems, cache), Counter(), []
    for track, instrument in gaps(tracks):
        able = [s for s in sources.get(instrument, ()) if fills[s.track] == table.loc[track, "partition"]]
        if able:
            # Each gap has its own generator, so that a limit changes which songs are made and nothing else.
            rng = np.random.default_rng([settings.seed, 2, number[track], table.columns.get_loc(instrument)])
            source = least_used(able, instrument, used, rng)
            frames = n_samples_at(settings.sample_rate, table.loc[track, "frames"], rates[track])
            gain_db = level.difference(track, source.track)
            offset = source.draw_offset(frames, settings.sample_rate, rng)
            rows.append((track, instrument, source.track, source.stems, offset, gain_db))
    return pd.DataFrame(rows, columns=list(SYNTHESIS_COLUMNS)).astype(SYNTHESIS_COLUMNS), notes


def _sources(slakh, stems, fills, settings, cache):
    """Decode every reserve stem: {instrument: [source, ...]}, and notes on those that cannot be used."""
    ok = stems[(stems["status"] == "ok") & (stems["instrument"] != "") & stems["track"].isin(fills.index)]
    results = _decoded(slakh, ok, settings.workers, cache)
    sources, notes = {}, {}
    for (track, instrument), group in ok.groupby(["track", "instrument"]):
        sounds = [results[path] for path in group["audio"]]
        problems = [sound["problem"] for sound in sounds if "problem" in sound]
        active = np.zeros(0, bool) if problems else _any_active([sound[verify.ACTIVITY] for sound in sounds])
        if active.any():
            frames = max(map(partial(n_samples_at, settings.sample_rate), group["frames"], group["sample_rate"]))
            sources.setdefault(instrument, []).append(Lender(track, JOINT.join(group["stem"]), frames, active))
        else:
            note = problems[0] if problems else f"{instrument} is silent"
            notes[track] = "; ".join(filter(None, (notes.get(track), f"not used as reserve: {note}")))
    return sources, notes


def _decoded(slakh, stems, workers, cache):
    """The result of decoding each stem, by its path; cached stems are not decoded again."""
    files, results = {}, {}
    for row in stems.itertuples():
        try:
            files[row.audio] = remote_io.retried(os.stat, slakh / row.audio), row.frames * row.channels
        except OSError as error:
            remote_io.check_mounted(slakh)
            results[row.audio] = {"problem": f"{row.audio}: {error.strerror}"}
    verify.decode_all(cache, slakh, files, workers, desc="decoding the reserve")
    return results | {path: cache.get(path, verify.file_state(stat), SOUND) for path, (stat, _) in files.items()}


def _any_active(activities):
    """In which seconds any of several stems plays, from their activity in "0" and "1"."""
    seconds = max(map(len, activities))
    return np.any([[second == "1" for second in activity.ljust(seconds, "0")] for activity in activities], axis=0)


class _Levels:
    """The loudness (LUFS) of all stems of a track in Slakh, from its metadata; NaN where unknown."""

    def __init__(self, slakh, stems, cache):
        with_audio = stems[stems["audio"] != ""]
        self.folders = {row.track: PurePosixPath(row.audio).parents[1] for row in with_audio.itertuples()}
        self.slakh, self.cache, self.levels = slakh, cache, {}

    def difference(self, track, other):
        """By how many dB `track` is louder than `other`, within bounds; 0 when either is unknown."""
        db = np.clip(self.of(track) - self.of(other), -GAIN_BOUND_DB, GAIN_BOUND_DB)
        return round(float(np.nan_to_num(db)), 2)

    def of(self, track):
        """The loudness of one track's stems."""
        if track not in self.levels:
            level = self._metadata(str(self.folders[track] / METADATA_FILE)).get("level")
            self.levels[track] = np.nan if level is None else level
        return self.levels[track]

    def _metadata(self, path):
        try:
            stat = remote_io.retried(os.stat, self.slakh / path)
        except OSError:
            return {}
        return read_metadata(path, stat, self.slakh, self.cache)
