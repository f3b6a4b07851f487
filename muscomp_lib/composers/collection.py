"""All clips of some composers, ready to learn from, and how they are divided. Used by notebook 08."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from muscomp_lib.composers import clips, scores, statistics
from muscomp_lib.core import parallel
from muscomp_lib.core.errors import MissingError, SettingError

WORK, CLIP = "work", "clip"  # how clips are divided
FOLDS = 4
HIGHEST, LOWEST = 6, -5  # semitones that a clip is moved by


@dataclass
class Collection:
    """Clips and the pieces they are from.

    Attributes
    ----------
    pieces : pd.DataFrame
        As from `corpora.files`, with `status`, `note`, `notes`, `seconds`; the files that cannot be used included.
    clips : pd.DataFrame
        One row per clip: `piece`, its row in `pieces`; `composer`, `known`, `work`; `label`, the composer's place in
        `names`, -1 for unknown ones.
    examples : np.ndarray, shape=(n_clips, 2, n_frames, n_bins), float16
        Each clip as written, and transposed and played by another instrument.
    statistics : np.ndarray, shape=(n_clips, n_statistics), float32
    names : list of str
        The known composers.
    """

    pieces: pd.DataFrame
    clips: pd.DataFrame
    examples: np.ndarray
    statistics: np.ndarray
    names: list


def make(table, seconds, clips_per_piece, seed=0, workers=None):
    """Read pieces, and cut and play their clips, on all processor cores.

    Parameters
    ----------
    table : pd.DataFrame
        As from `corpora.files`.
    seconds : float
        Length of a clip.
    clips_per_piece : int
    seed : int
        Of the moves of each clip's second version.
    workers : int, optional
        Processes.

    Returns
    -------
    Collection

    Raises
    ------
    MissingError
        Fewer than two of the known composers have a piece that can be used; says why not.
    """
    work = partial(_piece, seconds=seconds, count=clips_per_piece, seed=seed)
    made = parallel.each(work, list(enumerate(table["path"])), workers, desc="clips")
    pieces = table.assign(**{name: [each[name] for each in made] for name in ("status", "note", "notes", "seconds")})
    _mark_duplicates(pieces, [each["melody"] for each in made])
    usable = pieces.index[pieces["status"] == "ok"]
    names = list(dict.fromkeys(pieces.loc[usable][pieces.loc[usable, "known"]]["composer"]))
    if len(names) < 2:
        raise MissingError(_too_few(pieces, names))
    rows = [
        (number, *pieces.loc[number, ["composer", "known", "work"]]) for number in usable for _ in made[number]["x"]
    ]
    found = pd.DataFrame(rows, columns=["piece", "composer", "known", "work"])
    found["label"] = [names.index(row.composer) if row.known else -1 for row in found.itertuples()]
    examples, counted = (np.concatenate([made[number][key] for number in usable]) for key in ("x", "statistics"))
    return Collection(pieces, found, examples, counted, names)


def _piece(numbered, seconds, count, seed):
    """What is known of a piece, and its clips."""
    number, path = numbered
    rng = np.random.default_rng([seed, number])
    notes, status, note = scores.examine(path)
    cut = clips.cut(notes, seconds, count) if status == "ok" else []
    made = [_versions(clip, seconds, rng) for clip in cut]
    if status == "ok" and not made:
        status, note = "too_short", f"No {seconds:g} s of it have {clips.LOWEST_COUNT} notes."
    length = float(notes[:, scores.END].max()) if len(notes) else 0.0
    in_order = notes[np.lexsort((notes[:, scores.PITCH], notes[:, scores.START]))]  # editions differ in lengths
    melody = np.diff(in_order[:, scores.PITCH]).astype(np.int8).tobytes()
    counted = [statistics.of(clip, seconds) for clip in cut]
    found = {"status": status, "note": note, "notes": len(notes), "seconds": length, "melody": melody}
    return found | {"x": made, "statistics": counted}


def _versions(clip, seconds, rng):
    """A clip as written, and moved: shape (2, n_frames, n_bins)."""
    moved = clips.transpose(clip, int(rng.integers(LOWEST, HIGHEST + 1)))
    return np.stack([clips.examples(clip, seconds), clips.examples(moved, seconds, int(rng.choice(clips.PROGRAMS)))])


def _mark_duplicates(pieces, melodies):
    """Leave out pieces that another file has, note for note, in any key and tempo; both where composers differ."""
    first = {}
    for number in pieces.index[pieces["status"] == "ok"]:
        other = first.setdefault(melodies[number], number)
        if other != number:
            pieces.loc[number, ["status", "note"]] = "duplicate", f"It has the same notes as {pieces['piece'][other]}."
            if pieces["composer"][other] != pieces["composer"][number]:
                note = f"{pieces['piece'][number]}, of another composer, has the same notes. Remove the wrong one."
                pieces.loc[other, ["status", "note"]] = "duplicate", note


def _too_few(pieces, names):
    lost = pieces[pieces["known"] & (pieces["status"] != "ok")]
    reasons = "; ".join(f"{row.piece}: {row.note}" for row in lost.head(3).itertuples())
    have = f"only {names[0]} has" if names else "no composer has"
    return f"There is nobody to tell apart: {have} a piece that can be used. {reasons or 'The folders are empty.'}"


def divide(table, by=WORK, fold=0, seed=0):
    """Divide the known composers' clips in two, so that each composer is in both parts where that is possible.

    Parameters
    ----------
    table : pd.DataFrame
        `Collection.clips`.
    by : {"work", "clip"}
        What stays together. By clip, a piece is in both parts, and what is measured is how well it is recognized again.
    fold : int
        Which of the FOLDS parts is for validation.
    seed : int

    Returns
    -------
    training, validation : np.ndarray of bool, shape=(n_clips,)
        A composer with a single work is for training only.

    Raises
    ------
    SettingError
        No composer has two works.
    """
    rng = np.random.default_rng(seed)
    table = table.reset_index(drop=True)
    units = table["work"] if by == WORK else pd.Series(range(len(table))).astype(str)
    validation = np.zeros(len(table), bool)
    for label in sorted(set(table["label"]) - {-1}):
        of = units[table["label"] == label]
        counts = of.value_counts().sort_index()
        sizes, home = np.zeros(FOLDS), {}
        for unit in rng.permutation(counts.index.to_numpy(object)):
            home[unit] = int(sizes.argmin())
            sizes[home[unit]] += counts[unit]
        if len(home) > 1:
            validation[of.index] = of.map(home).to_numpy() == fold
    if not validation.any():
        raise SettingError(
            "No composer has two works, so none can be tested. Give more pieces: a folder within a composer's is one "
            "work, whatever it holds. Or set split = 'clip' to see what a "
            "network that has met each piece before can do."
        )
    return (table["label"] >= 0).to_numpy() & ~validation, validation
