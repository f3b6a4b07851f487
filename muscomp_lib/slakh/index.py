"""What a Slakh data set holds, and what is broken in it. Used by notebook 01.

`index` looks at every track's `metadata.yaml` and at the header of every audio file, and writes two tables (their
columns: catalogue.py). The metadata are not taken at their word: paths follow from where a track lies, because
`audio_dir` is wrong in places, and a stem counts as rendered when its file is there, because BabySlakh says
`audio_rendered: false` everywhere. Nothing that is wrong with one track or stem stops the run: it gets a `status` and a
`note` (slakh_rows.py). What is found out about a file goes into the journal, so that the next run looks only at what
has changed.

Data set: Manilow, Wichern, Seetharaman and Le Roux, "Cutting Music Source Separation Some Slakh", WASPAA 2019; the
release `slakh2100_flac_redux` is Zenodo record 4599666.
"""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from muscomp_lib.core import instruments, remote_io
from muscomp_lib.core.errors import MissingError, SettingError
from muscomp_lib.core.file_cache import Journal
from muscomp_lib.core.files import clean_parts
from muscomp_lib.core.progress import bar
from muscomp_lib.minislakh.generate import MARKER as RENDERED_HERE  # such a data set has none of Slakh's known faults
from muscomp_lib.slakh import index_tables
from muscomp_lib.slakh import track as slakh_rows
from muscomp_lib.slakh import verify as examination
from muscomp_lib.slakh.verify import HEADER

SPLITS = ("train", "validation", "test", "omitted")
TRACK_NAME = re.compile(r"Track[\w-]*")
DEEPEST = 2  # folders between slakh/ and a track: the unpacked archive's, and the split's
READERS = 32  # tracks looked at at once: on Google Drive a read is mostly waiting
KNOWN_BAD_FILE = Path(__file__).with_name("known_bad.yaml")
VERIFY = ("headers", "full")  # how closely sound files are looked at


@dataclass(frozen=True)
class Settings:
    """The parameters of notebook 01.

    Attributes
    ----------
    taxonomy : str
        Which programs make up an instrument (instruments.yaml).
    limit : int, optional
        Look at this many tracks only, spread evenly over the data set.
    verify : {"headers", "full"}
        Whether to read each sound file's header, or to decode the file to its end as well.
    workers : int, optional
        Processes that decode; None: one per processor core.
    """

    taxonomy: str = instruments.DEFAULT_TAXONOMY
    limit: int | None = None
    verify: str = "headers"
    workers: int | None = None

    def __post_init__(self):
        instruments.load(self.taxonomy)
        for name in ("limit", "workers"):
            value = getattr(self, name)
            if value is not None and not (type(value) is int and value >= 1):
                raise SettingError(f"{name} = {value!r} is not possible: give a whole number from 1, or None for all.")
        if self.verify not in VERIFY:
            raise SettingError(f"verify = {self.verify!r} is not possible: choose {' or '.join(VERIFY)}.")


def index(root, settings=None):
    """Make the tables of all stems and all tracks, and write them to `tables/`.

    Parameters
    ----------
    root : drive.Root
    settings : Settings, optional

    Returns
    -------
    stems, tracks : pd.DataFrame
        One row per stem and per track; columns as in catalogue.py.

    Raises
    ------
    MissingError
        When there is no track at all.
    """
    settings = settings or Settings()
    clean_parts(root.tables)
    places = _spread(find_tracks(root.slakh), settings.limit)
    known_bad = {} if remote_io.retried((root.slakh / RENDERED_HERE).exists) else _known_bad()
    source = slakh_rows.Source(root.slakh, settings.taxonomy, known_bad, Journal(root))
    with ThreadPoolExecutor(READERS) as pool:
        looking = pool.map(lambda place: slakh_rows.look(place, source), places)
        looked = list(bar(looking, total=len(places), desc="tracks"))
    if settings.verify == "full":
        _decode(looked, source, settings.workers)
    rows = [slakh_rows.rows(track, source) for track in looked]
    source.journal.compact()
    stem_columns, track_columns = list(index_tables.STEM_COLUMNS), list(index_tables.TRACK_COLUMNS)
    stems = pd.DataFrame([stem for _, its_stems in rows for stem in its_stems], columns=stem_columns)
    tracks = pd.DataFrame([track for track, _ in rows], columns=track_columns)
    index_tables.write(root, stems, _with_counts(tracks, stems, settings.taxonomy))
    return index_tables.read(root)


def _decode(looked, source, workers):
    """Decode every sound file whose header is in order, and tell the journal what was found."""
    files = {}
    for track in looked:
        for path, stat in track.sounds.items():
            header = source.journal.recall(path, examination.seen(stat), HEADER)
            if "problem" not in header:
                files[path] = stat, header["frames"] * header["channels"]
    examination.listen(source.journal, source.slakh, files, workers, desc="decoding")


def _spread(places, limit):
    if limit is None or limit >= len(places):
        return places
    return [places[i] for i in np.linspace(0, len(places) - 1, limit).astype(int)]


def _with_counts(tracks, stems, taxonomy):
    """`tracks` with one more column per instrument: its number of ok stems."""
    ok = stems[stems["status"] == "ok"]
    counts = pd.crosstab(ok["track"], ok["instrument"])
    counts = counts.reindex(index=tracks["track"], columns=instruments.names(taxonomy), fill_value=0)
    return tracks.join(counts, on="track")


# ---- where the tracks are ----


@dataclass(frozen=True)
class Place:
    """Where a track lies: its folder, the split it belongs to ("" when there are no splits), and what to note."""

    folder: Path
    split: str
    note: str = ""


def find_tracks(slakh):
    """Find the track folders, in whichever way the data set was unpacked.

    `slakh/<split>/Track00001`, `slakh/slakh2100_flac_redux/<split>/Track00001` and, as in BabySlakh, no split folders.
    Of two folders with the same name, one is used and told about the other.

    Returns
    -------
    list of Place
        By split and name.

    Raises
    ------
    MissingError
        When there is none.
    """
    found = {}
    for place in sorted(_walk(slakh, DEEPEST), key=_order):
        name = place.folder.name
        if name in found:
            first = found[name]
            other = f"a second {name} in {place.folder.relative_to(slakh).as_posix()} is not used"
            found[name] = Place(first.folder, first.split, f"{first.note}; {other}".strip("; "))
        else:
            found[name] = place
    if not found:
        raise MissingError(
            f"There is no track in {slakh}. Unpack slakh2100_flac_redux.tar.gz (Zenodo record 4599666, about 105 GB) "
            "or BabySlakh (Zenodo record 4603870) there. Or empty the folder and run notebook 01: it then renders a "
            "small data set of its own."
        )
    return list(found.values())


def is_free(slakh):
    """Whether our small data set may be rendered into `slakh`: there is no track, or it is the one begun there."""
    marker = slakh / RENDERED_HERE
    begun = (
        remote_io.retried(marker.exists) and remote_io.read_text(marker).strip() != "null"
    )  # null: tracks from the user's own MIDI files
    return begun or not any(_walk(slakh, DEEPEST))


def _walk(folder, deeper):
    for entry in remote_io.retried(_entries, folder):
        if not remote_io.retried(entry.is_dir) or entry.name.startswith("."):
            continue
        if TRACK_NAME.fullmatch(entry.name):
            yield Place(Path(entry.path), folder.name if folder.name in SPLITS else "")
        elif deeper:
            yield from _walk(Path(entry.path), deeper - 1)


def _entries(folder):
    with os.scandir(folder) as scanned:
        return list(scanned)


def _order(place):
    return (*SPLITS, "").index(place.split), place.folder.name, place.folder.as_posix()


def _known_bad():
    """Stems of Slakh2100 that users found to be wrong: {(track, stem): reason}."""
    reasons = yaml.safe_load(KNOWN_BAD_FILE.read_text(encoding="utf-8"))
    return {
        (track, stem): reason for reason, tracks in reasons.items() for track, stems in tracks.items() for stem in stems
    }
