"""The index of a Slakh data set: what it holds, and what is broken in it. Used by notebook 01.

`index` reads every track's `metadata.yaml` and the header of every audio file, and writes two tables (columns:
index_tables.py). The metadata are not trusted: paths follow from the track's folder, because `audio_dir` is wrong in
places, and a stem counts as rendered when its file exists, because BabySlakh says `audio_rendered: false` everywhere. A
defect of one track or stem does not stop the run: it gets a `status` and a `note` (track.py). Results are cached, so
that the next run opens only the files that have changed.

Data set: Manilow, Wichern, Seetharaman and Le Roux, "Cutting Music Source Separation Some Slakh", WASPAA 2019; the
release `slakh2100_flac_redux` is Zenodo record 4599666.
"""

import errno
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from muscomp_lib.core import instruments, names, parallel, remote_io, settings, yaml_file
from muscomp_lib.core.errors import MissingError
from muscomp_lib.core.file_cache import FileCache
from muscomp_lib.core.files import clean_parts
from muscomp_lib.core.progress import bar
from muscomp_lib.core.settings import Field, one_of, optional, whole
from muscomp_lib.minislakh.generate import MARKER as RENDERED_HERE
from muscomp_lib.slakh import index_tables, octaves, track, verify
from muscomp_lib.slakh.index_tables import OMITTED

SPLITS = (*names.PARTITIONS, OMITTED)
HIDDEN = (".", "__MACOSX")  # the latter has files' attributes, under the names of the files
TRACK_NAME = re.compile(r"Track(?!s\b|s_)[\w-]*|(?i:track)\d+")  # a folder called Tracks holds them
COPY_NAME = re.compile(r"(?i)(copy of )?track\d+\W.*|copy of track\d+")  # as Google Drive and desktops name copies
SPLIT_NAME = re.compile(  # "test (1)", "Copy of test", "test-20240131T120000Z-001": as Google Drive names folders
    r"(?i)(?:copy of )?(\w+?)(?:-\d{8}T\d{6}Z)?(?:-\d+)*(?: ?\(\d+\))?"
)
MAX_DEPTH = 4  # folders between slakh/ and a track: programs that unpack make one of the archive's name, each
READERS = 32  # threads: on Google Drive a read is mostly waiting
LARGE = 1_000_000  # bytes of a file that may be a data set: an archive, or a part of one
KNOWN_BAD_FILE = Path(__file__).with_name("known_bad.yaml")

log = logging.getLogger(__name__)


class Settings(settings.Settings):
    """The settings of notebook 01."""

    taxonomy: instruments.Taxonomy = Field(
        instruments.DEFAULT_TAXONOMY, description="Which programs make up an instrument (core/instruments.yaml)."
    )
    limit: optional(whole(1), "all") = Field(
        None, description="Index only so many tracks, spread evenly over the data set."
    )
    verify: one_of("headers", "full") = Field(
        "headers",
        description='"full": decode every file to its end, to find truncated and silent ones, and compare with notes.',
    )
    workers: optional(whole(1), "one per core") = Field(None, description="Processes that decode.")


def index(root, settings=None):
    """Make the tables of all stems and all tracks, and write them to `tables/`.

    Parameters
    ----------
    root : Root
    settings : Settings, optional

    Returns
    -------
    stems, tracks : pd.DataFrame
        One row per stem and per track; columns as in index_tables.py.

    Raises
    ------
    MissingError
        When there is no track at all.
    """
    settings = settings or Settings()
    clean_parts(root.tables)
    places = parallel.evenly_spaced(find_tracks(root.slakh), settings.limit)
    source = track.Source(root.slakh, settings.taxonomy, FileCache(root), **_known_defects())
    with ThreadPoolExecutor(READERS) as pool:
        scanning = pool.map(lambda place: track.scan(place, source), places)
        scans = list(bar(scanning, total=len(places), desc="tracks"))
    if settings.verify == "full":
        _decode(scans, source, settings.workers)
    rows = [track.rows(scan, source) for scan in scans]
    stems = [stem for _, its_stems in rows for stem in its_stems]
    files = {path: status for scan in scans for path, status in (scan.sounds | scan.midi).items()}
    octaves.add(stems, files, source, settings.verify == "full", settings.workers)
    source.cache.compact()
    stems = pd.DataFrame(stems, columns=list(index_tables.STEM_COLUMNS)).astype({octaves.OCTAVE: index_tables.WHOLE})
    tracks = pd.DataFrame([row for row, _ in rows], columns=list(index_tables.TRACK_COLUMNS))
    index_tables.write(root, stems, _with_counts(tracks, stems, settings.taxonomy))
    return index_tables.read(root)


def _decode(scans, source, workers):
    """Decode every sound file whose header is valid, and cache the results."""
    files = {}
    for scan in scans:
        for path, stat in scan.sounds.items():
            header = source.cache.get(path, verify.file_state(stat), verify.HEADER)
            if "problem" not in header:
                files[path] = stat, header["frames"] * header["channels"]
    verify.decode_all(source.cache, source.slakh, files, workers)


def _with_counts(tracks, stems, taxonomy):
    """`tracks` with one more column per instrument: its number of ok stems."""
    ok = stems[stems["status"] == "ok"]
    counts = pd.crosstab(ok["track"], ok["instrument"])
    counts = counts.reindex(index=tracks["track"], columns=instruments.names(taxonomy), fill_value=0)
    return tracks.join(counts, on="track")


# ---- where the tracks are ----


@dataclass(frozen=True)
class Place:
    """The place of a track: its folder, its split ("" when there are no splits), and a note for its row."""

    folder: Path
    split: str
    note: str = ""


def find_tracks(slakh):
    """Find the track folders, however the data set was unpacked.

    `slakh/<split>/Track00001`, `slakh/slakh2100_flac_redux/<split>/Track00001` and, as in BabySlakh, no split folders;
    with up to MAX_DEPTH folders around.
    Of two folders with the same name, in any case of letters, one is used, and its note names the other.

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
    for place in sorted(_walk(slakh, MAX_DEPTH, ""), key=_order):
        name = names.folded(place.folder.name)
        if name in found:
            first = found[name]
            other = f"a second {place.folder.name} in {place.folder.relative_to(slakh).as_posix()} is not used"
            found[name] = Place(first.folder, first.split, f"{first.note}; {other}".strip("; "))
        else:
            found[name] = place
    if not found:
        held = ", ".join(_held(slakh)[:3])
        raise MissingError(
            f"There is no track in {slakh}{f', which holds {held}' if held else ''}. A track is a folder such as "
            f"Track00001, at most {MAX_DEPTH} folders down. Unpack slakh2100_flac_redux.tar.gz (Zenodo record 4599666, "
            "about 105 GB) or BabySlakh (Zenodo record 4603870) there. Or empty the folder and run notebook 01: it "
            "then renders a small data set of its own."
        )
    return list(found.values())


def is_free(slakh):
    """Whether the mini-Slakh may be rendered into `slakh`: it has no folder or archive, or is a mini-Slakh."""
    marker = slakh / RENDERED_HERE
    started = remote_io.retried(marker.exists) and remote_io.read_text(marker).strip() != "null"
    return started or not _held(slakh)  # null: tracks of a user's MIDI files (version 0.1)


def _held(slakh):
    """The names of what may be a data set, unpacked or not: folders and large files."""
    entries = [entry for entry in _opened(remote_io.entries, slakh) or () if not entry.name.startswith(HIDDEN)]
    return sorted(entry.name for entry in entries if _opened(entry.is_dir) or _is_large(entry))


def _is_large(entry):
    return _opened(entry.is_file) and entry.stat().st_size > LARGE


def _walk(folder, depth, split):
    for entry in _opened(remote_io.entries, folder) or ():
        if entry.name.startswith(HIDDEN) or not _opened(entry.is_dir):
            continue
        if TRACK_NAME.fullmatch(entry.name) and names.is_name(entry.name):
            yield Place(Path(entry.path), split)
        elif COPY_NAME.fullmatch(entry.name):
            log.warning("%s is not indexed: its name is that of a copy. Rename it if it is another", entry.path)
        elif depth:
            yield from _walk(Path(entry.path), depth - 1, _split(entry.name) or split)


def _split(folder):
    """The split that a folder's name means; "" for none: its tracks have that of the folder around it."""
    found = SPLIT_NAME.fullmatch(folder)
    name = found[1] if found else folder
    return OMITTED if name.lower() == OMITTED else names.partition(name)


def _opened(call, *arguments):
    """The result of a call of the file system; None, with a warning, for a link to itself or what may not be opened."""
    try:
        return remote_io.retried(call, *arguments)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EACCES):
            raise
        log.warning("%s is not indexed: %s", error.filename, error.strerror)
        return None


def _order(place):
    return (*SPLITS, "").index(place.split), place.folder.name, place.folder.as_posix()


def _known_defects():
    """The defects in known_bad.yaml: {"known_bad" or "absent": {(track, uuid, stem): reason}}."""
    kinds = yaml_file.read(KNOWN_BAD_FILE)
    return {
        kind: {
            (track, entry["uuid"], stem): reason
            for reason, tracks in reasons.items()
            for track, entry in tracks.items()
            for stem in entry["stems"]
        }
        for kind, reasons in kinds.items()
    }
