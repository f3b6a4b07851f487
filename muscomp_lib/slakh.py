"""What a Slakh data set holds, and what is broken in it. Used by notebook 01.

`index` looks at every track's `metadata.yaml` and at the header of every audio file, and writes two tables (their
columns: catalogue.py). The metadata are not taken at their word: paths follow from where a track lies, because
`audio_dir` is wrong in places, and a stem counts as rendered when its file is there, because BabySlakh says
`audio_rendered: false` everywhere. Nothing that is wrong with one track or stem stops the run: it gets a `status` and a
`note`.

Data set: Manilow, Wichern, Seetharaman and Le Roux, "Cutting Music Source Separation Some Slakh", WASPAA 2019; the
release `slakh2100_flac_redux` is Zenodo record 4599666.
"""

import logging
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from tqdm.auto import tqdm

from muscomp_lib import audio, catalogue, drive, instruments
from muscomp_lib.errors import AudioError, MissingError, SettingError
from muscomp_lib.minislakh import MARKER as RENDERED_HERE  # such a data set has none of Slakh's known faults

SPLITS = ("train", "validation", "test", "omitted")
TRACK_NAME = re.compile(r"Track[\w-]*")
SUFFIXES = (".flac", ".wav")  # Slakh2100; BabySlakh
DEEPEST = 2  # folders between slakh/ and a track: the unpacked archive's, and the split's
READERS = 16  # files open at once: on Google Drive a read is mostly waiting
KNOWN_BAD_FILE = Path(__file__).with_name("slakh_known_bad.yaml")
YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the compiled one is ten times as fast, where it exists

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """The parameters of notebook 01.

    Attributes
    ----------
    taxonomy : str
        Which programs make up an instrument (instruments.yaml).
    limit : int, optional
        Look at this many tracks only, spread evenly over the data set.
    """

    taxonomy: str = instruments.DEFAULT_TAXONOMY
    limit: int | None = None

    def __post_init__(self):
        instruments.load(self.taxonomy)
        if self.limit is not None and not (type(self.limit) is int and self.limit >= 1):
            raise SettingError(f"limit = {self.limit!r} is not possible: give a whole number from 1, or None for all.")


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
    drive.clean_parts(root.tables)
    places = _spread(find_tracks(root.slakh), settings.limit)
    known_bad = {} if (root.slakh / RENDERED_HERE).exists() else _known_bad()
    source = Source(root.slakh, settings.taxonomy, known_bad)
    with ThreadPoolExecutor(READERS) as pool:
        looked_at = pool.map(lambda place: _look_at(place, source), places)
        rows = list(tqdm(looked_at, total=len(places), desc="tracks", disable=None))
    stem_columns, track_columns = list(catalogue.STEM_COLUMNS), list(catalogue.TRACK_COLUMNS)
    stems = pd.DataFrame([stem for _, its_stems in rows for stem in its_stems], columns=stem_columns)
    tracks = pd.DataFrame([track for track, _ in rows], columns=track_columns)
    catalogue.write(root, stems, _with_counts(tracks, stems, settings.taxonomy))
    return catalogue.read(root)


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
    begun = marker.exists() and marker.read_text().strip() != "null"  # null: tracks from the user's own MIDI files
    return begun or not any(_walk(slakh, DEEPEST))


def _walk(folder, deeper):
    with os.scandir(folder) as scanned:
        entries = list(scanned)
    for entry in entries:
        if not entry.is_dir() or entry.name.startswith("."):
            continue
        if TRACK_NAME.fullmatch(entry.name):
            yield Place(Path(entry.path), folder.name if folder.name in SPLITS else "")
        elif deeper:
            yield from _walk(Path(entry.path), deeper - 1)


def _order(place):
    return (*SPLITS, "").index(place.split), place.folder.name, place.folder.as_posix()


# ---- one track ----


@dataclass(frozen=True)
class Source:
    """What holds for all tracks: the data set's folder, the taxonomy, and the known bad stems."""

    slakh: Path
    taxonomy: str
    known_bad: dict  # (track, stem): reason

    def relative(self, path):
        """`path` as written into the tables."""
        return path.relative_to(self.slakh).as_posix()


def _look_at(place, source):
    """One track's row and its stems' rows."""
    folder = place.folder
    metadata, status, note = _read_metadata(folder / "metadata.yaml")
    mix = _file_of("mix", _listing(folder))
    mix_info, mix_status, mix_note = _header(folder, mix, source)
    files = {part: _listing(folder / part) for part in ("stems", "MIDI")}
    stems = [
        _stem_row(place, name, entry, files, mix_info, source) for name, entry in metadata.get("stems", {}).items()
    ]
    if status == "ok" and not any(stem["status"] == "ok" for stem in stems):
        status, note = "missing", "none of its stems can be used"
    row = {
        "track": folder.name,
        "split": place.split,
        "uuid": _text(metadata.get("UUID")) or folder.name,
        "partition": "",
        "mix": source.relative(folder / mix) if mix else "",
        "frames": mix_info.frames if mix_info else None,
        "duration": round(mix_info.duration, 3) if mix_info else None,
        "status": status if status != "ok" else mix_status,
        "note": "; ".join(filter(None, (note, mix_note and f"mix: {mix_note}", _uuid_note(metadata), place.note))),
    }
    return row, stems


def _listing(folder):
    """The names in a folder; none when it is not there. Asked for once: on Google Drive every question takes time."""
    try:
        return {path.name for path in folder.iterdir()}
    except FileNotFoundError:
        return set()
    except OSError as error:
        log.warning("%s cannot be looked into (%s): taken for empty", folder, error.strerror)
        return set()


def _file_of(name, listing):
    return next((f"{name}{suffix}" for suffix in SUFFIXES if f"{name}{suffix}" in listing), "")


def _read_metadata(path):
    """A track's metadata, and a status and note about them; `stems` is a dict when it is there at all."""
    if not path.is_file():
        return {}, "missing", "metadata.yaml is not there"
    try:
        metadata = yaml.load(path.read_text(encoding="utf-8"), Loader=YAML_LOADER)
    except (yaml.YAMLError, ValueError, RecursionError, OSError) as error:
        return {}, "unreadable", f"metadata.yaml cannot be read ({_where(error)})"
    if not isinstance(metadata, dict) or not isinstance(metadata.get("stems"), dict):
        return {}, "unreadable", "metadata.yaml does not list the stems by name"
    return metadata, "ok", ""


def _where(error):
    mark = getattr(error, "problem_mark", None)
    return f"line {mark.line + 1}" if mark else type(error).__name__


def _uuid_note(metadata):
    if metadata and not _text(metadata.get("UUID")):
        return "metadata.yaml has no UUID: taken for a song of its own"
    return ""


def _header(folder, name, source):
    """Length, rate and channels of an audio file, or why they cannot be known: (AudioInfo or None, status, note)."""
    if not name:
        return None, "missing", "the file is not there"
    try:
        return audio.info(folder / name), "ok", ""
    except (AudioError, OSError) as error:
        # The table must not depend on where the root lies.
        return None, "unreadable", _text(str(error).replace(f"{source.slakh}{os.sep}", ""))


# ---- one stem ----


def _stem_row(place, name, entry, files, mix_info, source):
    entry = entry if isinstance(entry, dict) else {}
    folder = place.folder
    program = _program(entry.get("program_num"))
    file, midi = _file_of(name, files["stems"]), f"{name}.mid"
    info, status, note = _stem_status(folder, file, entry, mix_info, source)
    if program is None:
        status, note = "unreadable", f"metadata.yaml gives no program from 0 to 128 ({entry.get('program_num')!r})"
    elif (folder.name, name) in source.known_bad:
        status, note = _doomed(status, note, source.known_bad[folder.name, name])
    return {
        "track": folder.name,
        "split": place.split,
        "stem": _text(name),
        "instrument": "" if program is None else instruments.of_program(program, source.taxonomy),
        "program_num": program,
        **{key: _text(entry.get(key)) for key in ("midi_program_name", "inst_class", "plugin_name")},
        "is_drum": entry.get("is_drum") is True,
        "audio": source.relative(folder / "stems" / file) if file else "",
        "midi": source.relative(folder / "MIDI" / midi) if midi in files["MIDI"] else "",
        "sample_rate": info.sample_rate if info else None,
        "channels": info.channels if info else None,
        "frames": info.frames if info else None,
        "status": status,
        "note": _text(note),
    }


def _stem_status(folder, file, entry, mix_info, source):
    """What can be said of a stem's file: (AudioInfo or None, status, note)."""
    if not file and (_text(entry.get("plugin_name")) in ("", "None") or "integrated_loudness" not in entry):
        return None, "unrendered", "Slakh has no sound for this stem"
    info, status, note = _header(folder / "stems", file, source)
    if info and mix_info and (info.frames, info.sample_rate) != (mix_info.frames, mix_info.sample_rate):
        status = "unreadable"
        note = (
            f"does not fit its mix: {info.frames} samples at {info.sample_rate} Hz, "
            f"the mix has {mix_info.frames} at {mix_info.sample_rate} Hz"
        )
    return info, status, note


def _doomed(status, note, reason):
    """Status and note of a stem that is on the list of known bad ones."""
    return ("known_bad", reason) if status == "ok" else (status, f"{note}; known: {reason}")


def _program(value):
    """A General MIDI program from metadata, a number or a number's text; None when it is neither."""
    try:
        program = int(str(value))
    except ValueError:
        return None
    return program if 0 <= program <= instruments.DRUMS else None


def _text(value):
    """A value as one line of text that every CSV reader takes; "" for None."""
    line = "" if value is None else " ".join(str(value).split())
    return "".join(sign for sign in line if sign.isprintable())


def _known_bad():
    """Stems of Slakh2100 that users found to be wrong: {(track, stem): reason}."""
    reasons = yaml.safe_load(KNOWN_BAD_FILE.read_text(encoding="utf-8"))
    return {
        (track, stem): reason for reason, tracks in reasons.items() for track, stems in tracks.items() for stem in stems
    }
