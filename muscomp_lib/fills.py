"""Which stem fills which hole, from where on, and how loud. Used by notebook 02.

What is drawn here becomes `tables/synthesis.csv`; no sound is made.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from muscomp_lib import audio, drive, mixdown, parallel
from muscomp_lib.errors import AudioError, MissingError
from muscomp_lib.partitions import PREPARED, instrument_columns

SYNTHESIS_COLUMNS = {
    "track": "str",
    "instrument": "str",
    "reserve_track": "str",
    "reserve_stems": "str",  # joined by ";": they are summed
    "offset": "int64",  # samples at 44.1 kHz into the stems, where the song's first sample is taken
    "gain_db": "float64",
}
GAIN_BOUND_DB = 12.0  # a fill is never moved by more: a stem's level is then not what the metadata say


def synthesis_path(root):
    """Where the table of fills lies."""
    return root.tables / "synthesis.csv"


def read_synthesis(root):
    """Read `synthesis.csv`; MissingError when this notebook has not run."""
    path = drive.required(synthesis_path(root), made_by="Notebook 02")
    return pd.read_csv(path, dtype=SYNTHESIS_COLUMNS, keep_default_na=False, encoding="utf-8")


def holes(tracks):
    """The instruments that prepared songs lack: a list of (track, instrument) in the order of the tables."""
    names = instrument_columns(tracks)
    made = tracks[tracks["partition"].isin(PREPARED)].set_index("track")
    return [(track, name) for track, counts in made[names].iterrows() for name in names if not counts[name]]


def unfilled(tracks, synthesis):
    """The holes that no reserve song could fill: they are silence.

    Returns
    -------
    pd.DataFrame
        `track`, `partition`, `instrument`.
    """
    filled = set(zip(synthesis["track"], synthesis["instrument"], strict=True))
    left = pd.DataFrame([hole for hole in holes(tracks) if hole not in filled], columns=["track", "instrument"])
    left.insert(1, "partition", left["track"].map(tracks.set_index("track")["partition"]))
    return left


def draw(root, stems, tracks, fills, settings):
    """Draw for every hole which reserve stems fill it, from where on and how loud. No sound is made.

    Of the songs that have the instrument, the one used least for it is taken; the offset lies where it plays. Slakh
    brings all stems of a song to one loudness, and a fill gets that of the song it goes to.

    Parameters
    ----------
    root : drive.Root
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
        {reserve track: what is wrong with stems of it}.
    """
    sources, notes = _sources(root.slakh, stems, fills, settings.workers)
    table = tracks.set_index("track")
    number = {track: position for position, track in enumerate(table.index)}
    rates = stems[stems["status"] == "ok"].groupby("track")["sample_rate"].first()
    level, used, rows = _Levels(root.slakh, stems), Counter(), []
    for track, instrument in holes(tracks):
        able = [s for s in sources.get(instrument, ()) if fills[s.track] == table.loc[track, "partition"]]
        if able:
            # Each hole draws from its own generator, so that a limit changes which songs are made and nothing else.
            rng = np.random.default_rng([settings.seed, 2, number[track], table.columns.get_loc(instrument)])
            source = _least_used(able, instrument, used, rng)
            frames = mixdown.frames_at_our_rate(table.loc[track, "frames"], rates[track])
            gain_db = level.difference(track, source.track)
            rows.append((track, instrument, source.track, source.stems, source.draw_offset(frames, rng), gain_db))
    return pd.DataFrame(rows, columns=list(SYNTHESIS_COLUMNS)).astype(SYNTHESIS_COLUMNS), notes


def _least_used(sources, instrument, used, rng):
    """Of several sources, the one used least for this instrument, then least for any; counts it in `used`."""
    source = min(sources, key=lambda s: (used[s.track, instrument], used[s.track], rng.random()))
    used.update([(source.track, instrument), source.track])
    return source


@dataclass(frozen=True)
class _Source:
    """The stems of one instrument in one reserve track, and in which of its seconds they are heard."""

    track: str
    stems: str
    frames: int
    heard: np.ndarray

    def draw_offset(self, frames, rng):
        """A whole second from which `frames` samples hold at least half as much playing as the best place."""
        last = max(self.frames - frames, 0) // audio.SAMPLE_RATE if self.frames > frames else len(self.heard) - 1
        window = -(-frames // audio.SAMPLE_RATE)
        playing = np.cumsum([0, *np.resize(self.heard, last + 1 + window)])
        playing = playing[window : window + last + 1] - playing[: last + 1]
        return int(rng.choice(np.flatnonzero(playing * 2 >= playing.max()))) * audio.SAMPLE_RATE


def _sources(slakh, stems, fills, workers):
    """Listen to every reserve stem to its end: {instrument: [source, ...]}, and notes of those that cannot be used."""
    ok = stems[(stems["status"] == "ok") & (stems["instrument"] != "") & stems["track"].isin(fills.index)]
    groups = [(key, list(group["stem"]), list(group["audio"])) for key, group in ok.groupby(["track", "instrument"])]
    jobs = [(slakh, paths) for _, _, paths in groups]
    sources, notes = {}, {}
    for ((track, instrument), names, _), result in zip(
        groups, parallel.each(_listen, jobs, workers, desc="listening to the reserve"), strict=True
    ):
        frames, heard, note = result
        if heard is not None and heard.any():
            sources.setdefault(instrument, []).append(_Source(track, ";".join(names), frames, heard))
        else:
            note = note or f"{instrument} is silent"
            notes[track] = "; ".join(filter(None, (notes.get(track), f"not used as reserve: {note}")))
    return sources, notes


def _listen(job):
    slakh, paths = job
    try:
        return *mixdown.heard_seconds(slakh, paths), ""
    except (AudioError, MissingError) as error:
        return 0, None, mixdown.local_message(error, slakh)


class _Levels:
    """The loudness (LUFS) that all stems of a track have in Slakh, from its metadata; NaN when they do not say."""

    def __init__(self, slakh, stems):
        there = stems[stems["audio"] != ""]
        self.folders = {row.track: slakh / Path(row.audio).parents[1] for row in there.itertuples()}
        self.found = {}

    def difference(self, track, other):
        """By how many dB `track` is louder than `other`, within bounds; 0 when one of them is not known."""
        db = np.clip(self._of(track) - self._of(other), -GAIN_BOUND_DB, GAIN_BOUND_DB)
        return round(float(np.nan_to_num(db)), 2)

    def _of(self, track):
        if track not in self.found:
            self.found[track] = self._read(self.folders[track] / "metadata.yaml")
        return self.found[track]

    @staticmethod
    def _read(path):
        try:
            metadata = yaml.safe_load(path.read_text(encoding="utf-8"))
            return float(metadata["normalization_factor"] + audio.to_db(metadata["overall_gain"]))
        except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
            return np.nan
