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

The work can be divided: `shard="2/8"` makes the second of eight parts, on any machine that sees the root, at any time
and as often as one likes. A shard writes songs only, no table. A run without `shard` then finds them made, makes what
is missing, and writes the tables: the same, byte by byte, as if it had done all.
"""

import json
import logging
import re
import zlib
from dataclasses import dataclass

import pandas as pd

from muscomp_lib import audio
from muscomp_lib.core import parallel, remote_io
from muscomp_lib.core.errors import AudioError, DiskFullError, SettingError
from muscomp_lib.core.file_cache import FileCache
from muscomp_lib.core.files import PART, clean_parts, remove
from muscomp_lib.core.instruments import OTHER, RESIDUALS
from muscomp_lib.dataset import library, mixing
from muscomp_lib.reserve import fill_plan, split
from muscomp_lib.reserve.split import MOST_RESERVED, PREPARED, instrument_columns
from muscomp_lib.slakh import index_tables, verify

GAIN = "gain"  # what a journal remembers of a virtual song
SAMPLE_RATES = (8000, 48000)  # Hz: lowest and highest
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
    reserve_stems : int
        Stems of each instrument that the reserve shall hold, as long as train keeps two thirds of them.
    fill : bool
        False: songs keep their holes, as silence, and nothing is reserved.
    residual : {"target", "drop"}
        What becomes of the stems outside the taxonomy: a thirteenth file, `other`, or nothing.
    virtual : bool
        True: no song is made, but a table that says how to mix each; training then mixes as it reads.
    sample_rate : int
        Of the songs, in Hz.
    channels : int
        Of the songs: 1 or 2.
    file_format : {"flac", "wav"}
        Of the songs.
    limit : int, optional
        At most so many songs per partition.
    shard : str, optional
        "2/8": make only the second of eight parts of the songs.
    workers : int, optional
        Processes; None: one per processor core.
    """

    seed: int = 0
    reserve_share: float = 0.2
    validation_share: float = 0.15
    test_share: float = 0.15
    reserve_stems: int = 8
    fill: bool = True
    residual: str = "target"
    virtual: bool = False
    sample_rate: int = audio.SAMPLE_RATE
    channels: int = 2
    file_format: str = "flac"
    limit: int | None = None
    shard: str | None = None
    workers: int | None = None

    def __post_init__(self):
        share = f"a share from 0 to {MOST_RESERVED}"
        lowest, highest = SAMPLE_RATES
        checks = {
            "reserve_share": (_is_share, share),
            "validation_share": (_is_share, share),
            "test_share": (_is_share, share),
            "limit": (lambda value: value is None or _is_whole(value, 1), "a whole number from 1, or None"),
            "workers": (lambda value: value is None or _is_whole(value, 1), "a whole number from 1, or None"),
            "seed": (lambda value: _is_whole(value, 0), "a whole number from 0"),
            "reserve_stems": (lambda value: _is_whole(value, 0), "a whole number from 0"),
            "fill": (lambda value: type(value) is bool, "True or False"),
            "virtual": (lambda value: type(value) is bool, "True or False"),
            "residual": (lambda value: value in RESIDUALS, f"one of {', '.join(RESIDUALS)}"),
            "file_format": (lambda value: value in mixing.FORMATS, f"one of {', '.join(mixing.FORMATS)}"),
            "channels": (lambda value: type(value) is int and value in (1, 2), "1 or 2"),
            "sample_rate": (lambda value: _is_whole(value, lowest, highest), f"Hz from {lowest} to {highest}"),
            "shard": (
                lambda value: value is None or _part(value) is not None,
                "'2/8' for the second of eight, or None",
            ),
        }
        for name, (possible, expected) in checks.items():
            if not possible(getattr(self, name)):
                raise SettingError(f"{name} = {getattr(self, name)!r} is not possible: give {expected}.")

    def of_this_shard(self, items):
        """Those of a list that this run has to make: every n-th, so that all shards have about as much to do."""
        number, of = _part(self.shard) if self.shard else (1, 1)
        return items[number - 1 :: of]


def _is_share(value):
    return type(value) in (int, float) and 0 <= value <= MOST_RESERVED


def _is_whole(value, lowest, highest=float("inf")):
    return type(value) is int and lowest <= value <= highest


def _part(shard):
    """(2, 8) of "2/8"; None when it is no such thing."""
    match = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", shard) if isinstance(shard, str) else None
    number, of = map(int, match.groups()) if match else (1, 0)
    return (number, of) if number <= of else None


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
    drawn = split.draw(tracks, settings)
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
    drawn = split.draw(tracks, settings or Settings())
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
    stems, tracks = index_tables.read(root)
    tracks = partition(_without_our_notes(tracks), settings)
    synthesis, notes = fill_plan.draw(root, stems, tracks, reserve_for(tracks, settings), settings)
    tracks = _with_notes(tracks, notes)
    if not settings.shard:
        clean_parts(root.tables)
        _write(root, tracks, synthesis)
    return _realise(root, stems, tracks, synthesis, settings)


def realise(root, settings=None):
    """Make all songs as `tables/tracks.csv` and `tables/synthesis.csv` say; nothing is drawn.

    Songs that are there already, made from the same recipe, are kept; songs that no table names are removed. A song
    with a stem that cannot be read to its end is taken out of both tables, with a note.

    Returns
    -------
    pd.DataFrame
        The synthesis table without the songs that were left out.
    """
    return _realise(root, *index_tables.read(root), fill_plan.read_synthesis(root), settings or Settings())


def _realise(root, stems, tracks, synthesis, settings):
    recipes = _recipes(stems, tracks, synthesis, settings)
    left_out = (_level if settings.virtual else _make_all)(root, recipes, settings)
    if left_out:
        log.warning("%d of %d songs were left out; their note in tracks.csv says why", len(left_out), len(recipes))
        synthesis = synthesis[~synthesis["track"].isin(list(left_out))].reset_index(drop=True)
        tracks.loc[tracks["track"].isin(list(left_out)), "partition"] = ""
        if not settings.shard:
            _write(
                root, _with_notes(tracks, {track: f"left out: {note}" for track, note in left_out.items()}), synthesis
            )
    return synthesis


def _make_all(root, recipes, settings):
    """Make the songs of this shard that are not made yet; {track: reason} of those that cannot be."""
    folders = {key: root.prepared.joinpath(*key) for key in recipes}
    mine = settings.of_this_shard(list(recipes))
    _remove_stale(root, set(folders.values()), [folders[key] for key in mine] if settings.shard else None)
    jobs = [(root.slakh, folders[key], recipes[key]) for key in mine]
    jobs = [job for job in jobs if not mixing.is_made(*job[1:])]
    sizes = [_decoded_bytes(recipe) for _, _, recipe in jobs]
    results = parallel.each(_make, jobs, settings.workers, desc="songs", sizes=sizes, done=_stop_when_lost(root))
    if not settings.shard:
        remove(library.recipes_path(root))  # songs are not virtual any more
    return {job[1].name: note for job, note in zip(jobs, results, strict=True) if note}


def _level(root, recipes, settings):
    """Find the gain of each virtual song, and write the table; {track: reason} of those that cannot be read."""
    journal = FileCache(root)
    seen = {key: (zlib.crc32(json.dumps(recipe).encode()), 0) for key, recipe in recipes.items()}
    left = [key for key in settings.of_this_shard(list(recipes)) if journal.get("/".join(key), seen[key], GAIN) is None]
    stop = _stop_when_lost(root)

    def note(number, found):
        stop(number, found.get("problem"))
        journal.put("/".join(left[number]), seen[left[number]], GAIN, found)

    jobs = [(root.slakh, recipes[key]) for key in left]
    sizes = [_decoded_bytes(recipe) for _, recipe in jobs]
    parallel.each(_gain, jobs, settings.workers, desc="songs", sizes=sizes, done=note)
    found = {key: journal.get("/".join(key), seen[key], GAIN) or {} for key in recipes}
    if not settings.shard:
        library.write_recipes(root, {key: {**recipes[key], **found[key]} for key in recipes if GAIN in found[key]})
    return {track: its["problem"] for (_, track), its in found.items() if "problem" in its}


def _stop_when_lost(root):
    """What to call with each result, so that a lost disk is not taken for songs that cannot be read."""
    return lambda number, problem: remote_io.check_mounted(root.slakh) if problem else None


def _decoded_bytes(recipe):
    """Bytes of sound that a song is mixed from, for the progress bar."""
    return recipe["frames"] * 2 * sum(len(part["stems"]) for part in recipe["files"].values())


def _write(root, tracks, synthesis):
    index_tables.write_csv(index_tables.paths(root)[1], tracks)
    index_tables.write_csv(fill_plan.synthesis_path(root), synthesis)


def _with_notes(tracks, notes):
    ours = [f"{OUR_NOTE}{notes[track]}" if track in notes else "" for track in tracks["track"]]
    both = zip(tracks["note"], ours, strict=True)
    return tracks.assign(note=["; ".join(filter(None, pair)) for pair in both])


def _without_our_notes(tracks):
    return tracks.assign(note=[note.split(OUR_NOTE)[0].removesuffix("; ") for note in tracks["note"]])


def _recipes(stems, tracks, synthesis, settings):
    """What each song's files are made of: {(partition, track): recipe}, as described in mixdown.py."""
    ok = stems[stems["status"] == "ok"]
    own = ok.groupby(["track", "instrument"])["audio"].agg(list)
    path = ok.set_index(["track", "stem"])["audio"]
    rates = ok.groupby("track")["sample_rate"].first()
    filled = {}
    for row in synthesis.itertuples():
        paths = [path[row.reserve_track, stem] for stem in row.reserve_stems.split(fill_plan.JOINT)]
        filled[row.track, row.instrument] = {"stems": paths, "offset": row.offset, "gain_db": row.gain_db}
    form = {"sample_rate": settings.sample_rate, "channels": settings.channels, "format": settings.file_format}
    if settings.virtual:
        del form["format"]
    recipes = {}
    for row in tracks[tracks["partition"].isin(PREPARED)].itertuples():
        files = {
            name: filled.get((row.track, name), {"stems": own.get((row.track, name), [])})
            for name in instrument_columns(tracks)
        }
        if settings.residual == "target":
            files[OTHER] = {"stems": own.get((row.track, ""), [])}
        frames = mixing.frames_at(settings.sample_rate, row.frames, rates[row.track])
        recipes[row.partition, row.track] = {"frames": frames, **form, "files": files}
    return recipes


def _remove_stale(root, wanted, mine):
    """Remove what killed runs left, and songs that are no longer in the tables; nothing that is not ours.

    A shard removes neither what another shard may be writing at this moment nor songs: `mine` are the folders it makes.
    """
    if mine is not None:
        for folder in mine:
            clean_parts(folder.parent, folder.name)
        return
    for name in PREPARED:
        for folder in (root.prepared / name).glob("[!.]*"):
            if folder not in wanted and (folder / mixing.RECIPE).exists():
                # Out of sight in one step: half a song must not be taken for a whole one.
                folder.rename(folder.with_name(f"{PART}{folder.name}"))
        clean_parts(root.prepared / name)


def _make(job):
    """Make one song; returns why it cannot be made, or ""."""
    slakh, folder, recipe = job
    try:
        mixing.make(slakh, folder, recipe)
    except DiskFullError:
        raise
    except (AudioError, OSError) as error:
        remove(folder)  # an older one was made from another recipe
        return verify.relative_message(error, slakh)
    return ""


def _gain(job):
    """The gain of one virtual song, or the problem with it."""
    slakh, recipe = job
    try:
        return {GAIN: float(mixing.Song(slakh, recipe, keep=True).gain)}
    except DiskFullError:
        raise
    except (AudioError, OSError) as error:
        # Passing: the recipe, which a journal knows a song by, does not tell when its stems have been replaced.
        return {"problem": verify.relative_message(error, slakh), "passing": True}


# ---- what was made ----


def check(root, workers=None, shard=None):
    """Verify every prepared song: its form, its length, its peak, and that the mix is the exact sum.

    Returns
    -------
    pd.DataFrame
        `track`, `partition`, `seconds`, `peak_db`, `note`; an empty note: all is well. No rows when songs are virtual,
        or when only a shard of them was made.
    """
    _, tracks = index_tables.read(root)
    made = tracks.loc[tracks["partition"].isin(PREPARED), ["track", "partition"]]
    if shard or library.Library(root).virtual:
        made = made.iloc[:0]
    jobs = [root.prepared / partition / track for track, partition in made.itertuples(index=False)]
    found = pd.DataFrame(parallel.each(_check, jobs, workers, desc="checking"), columns=["seconds", "peak_db", "note"])
    return pd.concat([made.reset_index(drop=True), found], axis=1)


def _check(folder):
    try:
        return mixing.check(folder, mixing.read_recipe(folder))
    except (OSError, ValueError) as error:
        return {"seconds": 0, "peak_db": 0, "note": f"{mixing.RECIPE} cannot be read ({error}). Run notebook 02 again"}
