"""Who learns from which song, and how every song gets every instrument. Used by notebook 02.

A song with five instruments says nothing about the other seven. So some songs are set aside, the *reserve*, and the
instruments a song lacks are taken from there and mixed in. Two rules keep the figures honest:

- A song belongs to one partition. Slakh holds renderings of the same MIDI file (equal `uuid`): they are one song.
- A reserve song fills songs of one partition only, so that no sound of a test song was heard in training.

Slakh's own split is kept: its test songs stay test, its validation songs validation; `omitted`, which are copies of
songs in the other splits, are not used. A song of which any copy is test is test. A partition that the data set does
not supply (BabySlakh has no splits) is drawn. The reserve comes out of what would be train.

`tables/synthesis.csv` says which stems go where, before any sound is made, and all files follow from it. Songs are
made anew from their stems in order, so what a broken stem would have added is in none of a song's files.
"""

import logging
from dataclasses import dataclass

import pandas as pd

from muscomp_lib import audio, catalogue, drive, fills, mixdown, parallel, partitions
from muscomp_lib.errors import AudioError, MissingError, SettingError
from muscomp_lib.instruments import OTHER, RESIDUALS
from muscomp_lib.partitions import MOST_RESERVED, PREPARED, instrument_columns

BYTES_PER_SAMPLE = 0.8  # of a FLAC whose two channels are the same; 0.6 was measured on a mini-Slakh
OUR_NOTE = "notebook 02: "  # what follows it in a track's note is ours, and written anew at each run

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """The parameters of notebook 02.

    Attributes
    ----------
    seed : int
        Another seed, other draws.
    reserve_share : float
        Share of the train songs set aside as reserve, 0 to 0.5; more are taken, up to half, where an instrument would
        have no reserve song otherwise.
    validation_share, test_share : float
        Share of all songs, for a data set that does not come with such a split.
    fill : bool
        False: songs keep their holes, as silence, and nothing is reserved.
    residual : {"target", "drop"}
        What becomes of the stems outside the taxonomy: a thirteenth file, `other`, or nothing.
    limit : int, optional
        At most so many songs per partition.
    workers : int, optional
        Processes; None: one per processor core.
    """

    seed: int = 0
    reserve_share: float = 0.2
    validation_share: float = 0.15
    test_share: float = 0.15
    fill: bool = True
    residual: str = "target"
    limit: int | None = None
    workers: int | None = None

    def __post_init__(self):
        for name in ("reserve_share", "validation_share", "test_share"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= MOST_RESERVED:
                raise SettingError(f"{name} = {value!r} is not possible: give a share from 0 to {MOST_RESERVED}.")
        for name in ("limit", "workers"):
            value = getattr(self, name)
            if value is not None and not (type(value) is int and value >= 1):
                raise SettingError(f"{name} = {value!r} is not possible: give a whole number from 1, or None.")
        if type(self.seed) is not int or self.seed < 0:
            raise SettingError(f"seed = {self.seed!r} is not possible: give a whole number from 0.")
        if type(self.fill) is not bool:
            raise SettingError(f"fill = {self.fill!r} is not possible: give True or False.")
        if self.residual not in RESIDUALS:
            raise SettingError(f"residual = {self.residual!r} is not possible: give one of {', '.join(RESIDUALS)}.")


# ---- which song belongs where ----


def partition(tracks, settings=None):
    """Give every usable track its partition.

    Parameters
    ----------
    tracks : pd.DataFrame
        As in `tracks.csv`.
    settings : Settings, optional

    Returns
    -------
    pd.DataFrame
        `tracks` with `partition` filled: train, validation, test or reserve, "" for what is not used.
    """
    settings = settings or Settings()
    drawn = partitions.draw(tracks, settings)
    tracks = tracks.assign(partition=drawn["partition"])
    if settings.limit is not None:
        rank = tracks.groupby("partition").cumcount()
        tracks.loc[(rank >= settings.limit) & tracks["partition"].isin(PREPARED), "partition"] = ""
    return tracks


def reserve_for(tracks, settings=None):
    """Which partition each reserve track fills.

    Returns
    -------
    pd.Series
        Indexed by track: train, validation or test; reserve tracks only.
    """
    drawn = partitions.draw(tracks, settings or Settings())
    return drawn.set_index(tracks["track"]).loc[lambda drawn: drawn["fills"] != "", "fills"]


# ---- making the songs ----


def fill(root, settings=None):
    """Draw the partitions and the fills, write them to `tables/`, and make every song in `prepared/`.

    Parameters
    ----------
    root : drive.Root
    settings : Settings, optional

    Returns
    -------
    pd.DataFrame
        What was filled with what: columns `fills.SYNTHESIS_COLUMNS`. `fills.unfilled` gives the holes that stay.

    Raises
    ------
    MissingError
        When notebook 01 has not run.
    DiskFullError
        What is already made is kept.
    """
    settings = settings or Settings()
    drive.clean_parts(root.tables)
    stems, tracks = catalogue.read(root)
    tracks = partition(_without_our_notes(tracks), settings)
    synthesis, notes = fills.draw(root, stems, tracks, reserve_for(tracks, settings), settings)
    _write(root, _with_notes(tracks, notes), synthesis)
    return realise(root, settings)


def realise(root, settings=None):
    """Make all songs as `tables/tracks.csv` and `tables/synthesis.csv` say; only `residual` and `workers` matter here.

    Songs that are there already, made from the same recipe, are kept; songs that no table names are removed. A song
    with a stem that cannot be read to its end is taken out of both tables, with a note.

    Returns
    -------
    pd.DataFrame
        The synthesis table without the songs that were left out.
    """
    settings = settings or Settings()
    stems, tracks = catalogue.read(root)
    synthesis = fills.read_synthesis(root)
    recipes = _recipes(stems, tracks, synthesis, settings.residual)
    folders = {row.track: root.prepared / row.partition / row.track for row in tracks.itertuples()}
    _remove_stale(root, {folders[track] for track in recipes})
    jobs = [(root.slakh, folders[track], recipe) for track, recipe in recipes.items()]
    jobs = [job for job in jobs if not mixdown.is_made(*job[1:])]
    results = parallel.each(_make, jobs, settings.workers, desc="songs")
    notes = {job[1].name: f"left out: {note}" for job, note in zip(jobs, results, strict=True) if note}
    if notes:
        log.warning("%d of %d songs were left out; their note in tracks.csv says why", len(notes), len(recipes))
        tracks.loc[tracks["track"].isin(list(notes)), "partition"] = ""
        synthesis = synthesis[~synthesis["track"].isin(list(notes))].reset_index(drop=True)
        _write(root, _with_notes(tracks, notes), synthesis)
    return synthesis


def _write(root, tracks, synthesis):
    catalogue.write_csv(catalogue.paths(root)[1], tracks)
    catalogue.write_csv(fills.synthesis_path(root), synthesis)


def _with_notes(tracks, notes):
    ours = [f"{OUR_NOTE}{notes[track]}" if track in notes else "" for track in tracks["track"]]
    both = zip(tracks["note"], ours, strict=True)
    return tracks.assign(note=["; ".join(filter(None, pair)) for pair in both])


def _without_our_notes(tracks):
    return tracks.assign(note=[note.split(OUR_NOTE)[0].removesuffix("; ") for note in tracks["note"]])


def _recipes(stems, tracks, synthesis, residual):
    """What each song's files are made of: {track: recipe}, as described in mixdown.py."""
    ok = stems[stems["status"] == "ok"]
    own = ok.groupby(["track", "instrument"])["audio"].agg(list)
    path = ok.set_index(["track", "stem"])["audio"]
    rates = ok.groupby("track")["sample_rate"].first()
    filled = {}
    for row in synthesis.itertuples():
        paths = [path[row.reserve_track, stem] for stem in row.reserve_stems.split(";")]
        filled[row.track, row.instrument] = {"stems": paths, "offset": row.offset, "gain_db": row.gain_db}
    recipes = {}
    for track, frames in tracks.loc[tracks["partition"].isin(PREPARED), ["track", "frames"]].itertuples(index=False):
        files = {
            name: filled.get((track, name), {"stems": own.get((track, name), [])})
            for name in instrument_columns(tracks)
        }
        if residual == "target":
            files[OTHER] = {"stems": own.get((track, ""), [])}
        recipes[track] = {"frames": mixdown.frames_at_our_rate(frames, rates[track]), "files": files}
    return recipes


def _remove_stale(root, wanted):
    """Remove what killed runs left, and songs that are no longer in the tables; nothing that is not ours."""
    for name in PREPARED:
        for recipe in (root.prepared / name).glob(f"*/{mixdown.RECIPE}"):
            if recipe.parent not in wanted:
                # Out of sight in one step: half a song must not be taken for a whole one.
                recipe.parent.rename(recipe.parent.with_name(f"{drive.PART}{recipe.parent.name}"))
        drive.clean_parts(root.prepared / name)


def _make(job):
    """Make one song; returns why it cannot be made, or ""."""
    slakh, folder, recipe = job
    try:
        mixdown.make(slakh, folder, recipe)
    except (AudioError, MissingError) as error:
        drive.remove(folder)  # an older one was made from another recipe
        return mixdown.local_message(error, slakh)
    return ""


# ---- what was made ----


def expected_bytes(tracks):
    """About how much room the prepared songs take, in bytes."""
    made = tracks[tracks["partition"].isin(PREPARED)]
    n_files = len(instrument_columns(tracks)) + 2  # with the mix and the residual
    return int(made["duration"].sum() * audio.SAMPLE_RATE * n_files * BYTES_PER_SAMPLE)


def check(root, workers=None):
    """Verify every prepared song: its form, its length, its peak, and that the mix is the exact sum.

    Returns
    -------
    pd.DataFrame
        `track`, `partition`, `seconds`, `peak_db`, `note`; an empty note: all is well.
    """
    _, tracks = catalogue.read(root)
    made = tracks.loc[tracks["partition"].isin(PREPARED), ["track", "partition"]]
    names = instrument_columns(tracks)
    jobs = [(root.prepared / partition / track, names) for track, partition in made.itertuples(index=False)]
    found = pd.DataFrame(parallel.each(_check, jobs, workers, desc="checking"), columns=["seconds", "peak_db", "note"])
    return pd.concat([made.reset_index(drop=True), found], axis=1)


def _check(job):
    folder, names = job
    has_residual = (folder / f"{OTHER}{mixdown.SUFFIX}").exists()
    return mixdown.check(folder, [*names, OTHER] if has_residual else names)
