"""Which song goes into which partition, and how every song gets every instrument. Used by notebook 02.

A song with five instruments gives no examples of the other seven. So some songs are set aside, the *reserve*, and the
instruments a song lacks are taken from there and mixed in. Two rules keep the figures honest:

- A song belongs to one partition. Slakh holds renderings of the same MIDI file (equal `uuid`): they are one song.
- A reserve song fills songs of one partition only, so that no sound of a test song occurs in training.

Slakh's own split is kept: its test songs stay test, its validation songs validation; `omitted`, which are copies of
songs in the other splits, are not used. A song of which any copy is test is test. A partition that the data set does
not supply (BabySlakh has no splits) is drawn. The reserve is taken from the train songs.

`tables/synthesis.csv` lists which stems go where before any audio is made, and all files follow from it. Songs are
mixed from their usable stems, so a broken stem is in none of a song's files.

The work can be divided: `shard="2/8"` makes the second of eight parts, on any machine that can reach the root, in any
order, any number of times. A shard writes songs only, no table. A final run without `shard` keeps them, makes what is
missing, and writes the tables: byte for byte as if it had done everything.
"""

import json
import logging
import re
import zlib

import pandas as pd

from muscomp_lib import audio
from muscomp_lib.audio.resampler import n_samples_at
from muscomp_lib.core import parallel, provenance, remote_io, settings
from muscomp_lib.core.errors import AudioError, DiskFullError
from muscomp_lib.core.file_cache import FileCache
from muscomp_lib.core.files import clean_parts, remove, write_csv
from muscomp_lib.core.instruments import OTHER, RESIDUALS
from muscomp_lib.core.settings import Field, flag, number, one_of, optional, that, whole
from muscomp_lib.dataset import library, making, mixing, own_stems
from muscomp_lib.reserve import fill_plan, split
from muscomp_lib.reserve.split import MAX_RESERVED, PREPARED, instrument_columns
from muscomp_lib.slakh import index_tables, verify

GAIN = "gain"  # what the cache holds of a virtual song
SAMPLE_RATES = (8000, 48000)  # Hz: lowest and highest
OUR_NOTE = "notebook 02: "  # what follows it in a track's note is ours, and replaced by each run

log = logging.getLogger(__name__)


def _part(shard):
    """(2, 8) of "2/8"; None for anything else."""
    match = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", shard) if isinstance(shard, str) else None
    number, of = map(int, match.groups()) if match else (1, 0)
    return (number, of) if number <= of else None


class Settings(settings.Settings):
    """The settings of notebook 02."""

    seed: whole() = Field(0, description="Random seed: another seed, other draws.")
    reserve_share: number(0, MAX_RESERVED) = Field(
        0.2, description="Share of the train songs set aside as reserve; more if an instrument would have none."
    )
    reserve_stems: whole() = Field(
        8, description="Stems of each instrument the reserve should hold, if train keeps two thirds of them."
    )
    validation_share: number(0, MAX_RESERVED) = Field(
        0.15, description="Share of all songs for validation, if the data set has no such split."
    )
    test_share: number(0, MAX_RESERVED) = Field(
        0.15, description="Share of all songs for test, if the data set has no such split."
    )
    fill: flag() = Field(True, description="False: songs keep their gaps, as silence, and nothing is reserved.")
    residual: one_of(*RESIDUALS) = Field(
        "target", description='All other instruments: "target": one more file, other; "drop": left out.'
    )
    virtual: flag() = Field(
        False, description="True: write no songs, only a table of how to mix them; training mixes while it reads."
    )
    sample_rate: whole(*SAMPLE_RATES, unit="Hz") = Field(audio.SAMPLE_RATE, description="Of the songs, in Hz.")
    channels: whole(1, 2) = Field(2, description="Of the songs: 2, or 1 for half the work.")
    file_format: one_of(*mixing.FORMATS) = Field(
        "flac", description='Of the songs: "flac", or "wav", which is five to seven times as large.'
    )
    limit: optional(whole(1), "all") = Field(None, description="At most so many songs per partition.")
    shard: optional(that(lambda value: _part(value) is not None, "'2/8' for the second of eight parts"), "all") = Field(
        None, description='"2/8": make only the second of eight parts, while other machines make the others.'
    )
    workers: optional(whole(1), "one per core") = Field(None, description="Parallel processes.")

    def of_this_shard(self, items):
        """The items of a list that this run has to make: every n-th, so that shards have about equal work."""
        number, of = _part(self.shard) if self.shard else (1, 1)
        return items[number - 1 :: of]


# ---- which song goes where ----


def partition(tracks, settings=None):
    """Assign every usable track a partition.

    Parameters
    ----------
    tracks : pd.DataFrame
        As in `tracks.csv`.
    settings : Settings, optional

    Returns
    -------
    pd.DataFrame
        `tracks` with `partition` filled: train, validation, test or reserve; "" for unused tracks.
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
    root : Root
    settings : Settings, optional

    Returns
    -------
    pd.DataFrame
        The fills: columns `fill_plan.SYNTHESIS_COLUMNS`. `fill_plan.unfilled` gives the remaining gaps.

    Raises
    ------
    MissingError
        When notebook 01 has not run, or found no track that can be used.
    DiskFullError
        Songs that are complete are kept.
    MusCompError
        Another run is writing the songs.
    """
    settings = settings or Settings()
    own_stems.refuse_own_stems(root)
    stems, tracks = index_tables.read(root)
    index_tables.require_usable(root, tracks)
    with library.writing(root, shared=bool(settings.shard)):
        tracks = partition(_without_our_notes(tracks), settings)
        synthesis, notes = fill_plan.draw(root, stems, tracks, reserve_for(tracks, settings), settings)
        tracks = _with_notes(tracks, notes)
        if not settings.shard:
            clean_parts(root.tables)
            _write(root, tracks, synthesis)
        return _make_songs(root, stems, tracks, synthesis, settings)


def realise(root, settings=None):
    """Make all songs from `tables/tracks.csv` and `tables/synthesis.csv`; nothing is drawn.

    Existing songs with the same recipe are kept; songs that no table lists are removed. A song with a stem that cannot
    be decoded is removed from both tables, with a note.

    Returns
    -------
    pd.DataFrame
        The synthesis table without the songs that were left out.
    """
    settings = settings or Settings()
    with library.writing(root, shared=bool(settings.shard)):
        return _make_songs(root, *index_tables.read(root), fill_plan.read_synthesis(root), settings)


def _make_songs(root, stems, tracks, synthesis, settings):
    recipes = _recipes(stems, tracks, synthesis, settings)
    left_out = (_find_gains if settings.virtual else _make_all)(root, recipes, settings)
    if left_out:
        log.warning("%d of %d songs were left out; their note in tracks.csv says why", len(left_out), len(recipes))
        synthesis = synthesis[~synthesis["track"].isin(list(left_out))].reset_index(drop=True)
        tracks.loc[tracks["track"].isin(list(left_out)), "partition"] = ""
        if not settings.shard:
            notes = {track: f"left out: {note}" for track, note in left_out.items()}
            _write(root, _with_notes(tracks, notes), synthesis)
    return synthesis


def _make_all(root, recipes, settings):
    """Make the missing songs of this shard; returns {track: reason} for those that cannot be made."""
    mine = settings.of_this_shard(list(recipes)) if settings.shard else None
    left_out = making.make_all(root, root.slakh, recipes, settings.workers, mine)
    if not settings.shard:
        remove(library.recipes_path(root))  # songs are not virtual any more
    return left_out


def _find_gains(root, recipes, settings):
    """Find the gain of each virtual song, and write the table; returns {track: reason} for unreadable songs."""
    cache, checksums, stop = FileCache(root), provenance.Checksums(root), _stop_when_lost(root)
    states = {key: (zlib.crc32(json.dumps(recipe).encode()), 0) for key, recipe in recipes.items()}
    results = {key: cache.get("/".join(key), states[key], GAIN) or {} for key in recipes}
    left = [key for key in settings.of_this_shard(list(recipes)) if _is_outdated(results[key], root.slakh, checksums)]

    def store(number, result):
        stop(number, result[0].get("problem"))
        checksums.add(result[1])
        results[left[number]] = result[0]
        cache.put("/".join(left[number]), states[left[number]], GAIN, result[0])

    jobs = [(root.slakh, recipes[key]) for key in left]
    sizes = [making.decoded_bytes(recipe) for _, recipe in jobs]
    parallel.each(_gain, jobs, settings.workers, desc="songs", sizes=sizes, done=store)
    gains = {key: result[GAIN] for key, result in results.items() if GAIN in result}
    if not settings.shard:
        library.write_recipes(root, {key: recipes[key] | {GAIN: gain} for key, gain in gains.items()})
    return {track: result["problem"] for (_, track), result in results.items() if "problem" in result}


def _is_outdated(result, slakh, checksums):
    """Whether the gain of a virtual song is unknown, or one of its stems has changed since."""
    made_from = result.get(mixing.MADE_FROM)  # journals of earlier versions have none
    return not made_from or any(checksums.of(slakh / path) != known for path, known in made_from.items())


def _stop_when_lost(root):
    """A callback for each result: it stops the run if a song is unreadable because its disk is lost."""
    return lambda number, problem: remote_io.check_mounted(root.slakh) if problem else None


def _write(root, tracks, synthesis):
    write_csv(index_tables.paths(root)[1], tracks)
    write_csv(fill_plan.synthesis_path(root), synthesis)


def _with_notes(tracks, notes):
    ours = [f"{OUR_NOTE}{notes[track]}" if track in notes else "" for track in tracks["track"]]
    both = zip(tracks["note"], ours, strict=True)
    return tracks.assign(note=["; ".join(filter(None, pair)) for pair in both])


def _without_our_notes(tracks):
    return tracks.assign(note=[note.split(OUR_NOTE)[0].removesuffix("; ") for note in tracks["note"]])


def _recipes(stems, tracks, synthesis, settings):
    """How each song's files are mixed: {(partition, track): recipe}, as described in mixing.py."""
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
        frames = n_samples_at(settings.sample_rate, row.frames, rates[row.track])
        recipes[row.partition, row.track] = {"frames": frames, **form, "files": files}
    return recipes


def _gain(job):
    """The gain of one virtual song with the checksums it depends on, or the problem; and what `_make` returns."""
    slakh, recipe = job
    checksums = provenance.Checksums()
    try:
        made_from = mixing.stem_checksums(slakh, recipe, checksums)
        gain = float(mixing.Song(slakh, recipe, keep=True).gain)
        return {GAIN: gain, mixing.MADE_FROM: made_from}, checksums.new
    except DiskFullError:
        raise
    except (AudioError, OSError) as error:
        return {"problem": verify.relative_message(error, slakh), "passing": True}, {}


# ---- checking the songs ----


def check(root, workers=None, shard=None):
    """Verify every prepared song: its format, length and peak, and that the mix is the exact sum.

    Returns
    -------
    pd.DataFrame
        `track`, `partition`, `seconds`, `peak_db`, `note`; the note is empty where no error was found. No rows when
        songs are virtual, or when only a shard of them was made.
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
