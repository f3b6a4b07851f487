"""One track of Slakh: the contents of its folder, and its rows of the two tables. Used by notebook 01.

`scan` reads the disk, or the cache where a file has not changed; `rows` makes the tables' rows from the scan without
reading the disk again.
"""

import logging
import math
import stat
from dataclasses import dataclass
from pathlib import Path

from muscomp_lib import audio
from muscomp_lib.audio.formats import DATASET_SUFFIXES
from muscomp_lib.core import instruments, remote_io, yaml_file
from muscomp_lib.core.errors import SettingError
from muscomp_lib.core.file_cache import FileCache
from muscomp_lib.slakh import verify
from muscomp_lib.slakh.verify import HEADER, METADATA, SOUND

METADATA_FILE = "metadata.yaml"
METADATA_SUFFIXES, MIDI_SUFFIXES = (".yaml", ".yml"), (".mid", ".midi")
MAX_TEXT = 200  # characters that are kept of a text of the metadata
TRUE = ("true", "yes", "on", "y", "t", "1", "1.0")  # YAML 1.1's
DRUM_CLASS = "drums"  # in small letters
MOST_NAMED = 3  # files in a note
STEM_TEXTS = ("midi_program_name", "inst_class", "plugin_name")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """What all tracks share: the data set's folder, the taxonomy, the cache, Slakh's known defects.

    Both kinds of defects are {(track, uuid, stem): reason}, as in known_bad.yaml.
    """

    slakh: Path
    taxonomy: str
    cache: FileCache
    known_bad: dict
    absent: dict


@dataclass(frozen=True)
class TrackScan:
    """The contents of a track's folder.

    Attributes
    ----------
    place : index.Place
    metadata : dict
        `uuid`, `level` (LUFS of every stem, None where unknown), `stems`, `note`; or `problem` and `status`.
    sounds : dict of str to os.stat_result
        The sound files, by their path relative to the data set.
    midi : dict of str to os.stat_result
        The MIDI files, likewise.
    """

    place: object
    metadata: dict
    sounds: dict
    midi: dict


# ---- reading the disk ----


def scan(place, source):
    """Read a track's folder, its metadata and the header of each sound file.

    Returns
    -------
    TrackScan
    """
    top = _listing(place.folder, source.slakh)
    if not top:  # it existed a moment ago
        remote_io.check_mounted(source.slakh)
    folders = [_file_of(part, top, ("",)) or part for part in ("stems", "MIDI")]
    stems, midi = (_listing(place.folder / folder, source.slakh) for folder in folders)
    files = {file: top[file] for file in [_file_of("mix", top)] if file}
    files |= {f"{folders[0]}/{name}": status for name, status in stems.items() if _is_sound(name)}
    where = place.folder.relative_to(source.slakh).as_posix()
    sounds = {f"{where}/{name}": status for name, status in sorted(files.items()) if stat.S_ISREG(status.st_mode)}
    for path, status in sounds.items():
        verify.cached(source.cache, source.slakh, path, status, HEADER, verify.read_header)
    file = _file_of("metadata", top, METADATA_SUFFIXES) or METADATA_FILE
    metadata = read_metadata(f"{where}/{file}", top.get(file), source.slakh, source.cache)
    return TrackScan(place, metadata, sounds, {f"{where}/{folders[1]}/{name}": status for name, status in midi.items()})


def _is_sound(name):
    """Whether a file's name is that of a sound; hidden ones are macOS's, with attributes of the others."""
    return name.lower().endswith(DATASET_SUFFIXES) and not name.startswith(".")


def _listing(folder, slakh):
    """The entries of a folder with their `os.stat_result`; none when it does not exist or cannot be listed."""
    try:
        return remote_io.listing(folder)
    except OSError as error:
        remote_io.check_mounted(slakh)
        log.warning("%s cannot be listed (%s): treated as empty", folder, error.strerror)
        return {}


def read_metadata(path, status, slakh, cache):
    """The part of a track's `metadata.yaml` that is used, as plain text and numbers.

    Parameters
    ----------
    path : str
        Relative to `slakh`.
    status : os.stat_result or None
        None where the file is not there.
    slakh : Path
    cache : FileCache

    Returns
    -------
    dict
        As `TrackScan.metadata`.
    """
    if status is None:
        return {"problem": f"{METADATA_FILE} is not there", "status": "missing"}
    if not stat.S_ISREG(status.st_mode) or status.st_size > yaml_file.MAX_BYTES:
        what = "larger than 1 MB" if stat.S_ISREG(status.st_mode) else "not a file"
        return {"problem": f"{METADATA_FILE} is {what}", "status": "unreadable"}
    return verify.cached(cache, slakh, path, status, METADATA, _parsed)


def _parsed(path):
    problem = {"status": "unreadable"}
    try:
        metadata = yaml_file.parse(remote_io.read_text(path), METADATA_FILE, as_text=True)
    except UnicodeDecodeError:
        return {**problem, "problem": f"{METADATA_FILE} is not UTF-8. Save it as UTF-8, or copy it again"}
    except SettingError as error:
        return {**problem, "problem": one_line(error)}
    except OSError as error:
        return {**problem, "problem": f"{METADATA_FILE} cannot be read ({error.strerror})", "passing": True}
    metadata = _by_key(metadata)
    if not isinstance(metadata.get("stems"), dict):
        return {**problem, "problem": f"{METADATA_FILE} does not list the stems by name"}
    stems = {_text(name): _entry(_by_key(entry)) for name, entry in metadata["stems"].items()}
    level, note = _level(metadata)
    uuid = _text(metadata.get("uuid"))
    return {"uuid": "" if uuid == "None" else uuid, "level": level, "stems": stems, "note": note}


def _by_key(value):
    """A mapping by its keys in small letters, which are not the same in all programs; {} for anything else."""
    return {str(key).lower(): each for key, each in value.items()} if isinstance(value, dict) else {}


def _text(value):
    """A value of the metadata as one line; "" for a list or a mapping."""
    return one_line(value)[:MAX_TEXT] if isinstance(value, str) else ""


def _level(metadata):
    """The loudness in LUFS to which Slakh brought every stem of a track, or None; and a note where it is wrong."""
    given = [metadata.get(key) for key in ("normalization_factor", "overall_gain")]
    loudness, gain = map(_number, given)
    if loudness is None or gain is None or gain <= 0:
        note = f"no loudness from normalization_factor {_shown(given[0])} and overall_gain {_shown(given[1])}"
        return None, note if None not in given else ""
    return float(loudness + audio.to_db(gain)), ""


def _number(value):
    """A finite number from its text; None for anything else."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _shown(value):
    text = _text(value)
    return f"{text[:20]}..." if len(text) > 20 else text or "[...]"


def _entry(entry):
    """The part of a stem's metadata that is used."""
    return {
        **{key: _text(entry.get(key)) for key in STEM_TEXTS},
        "program": _text(entry.get("program_num")),
        "is_drum": _is_drum(entry),
        "has_loudness": "integrated_loudness" in entry,
    }


def _is_drum(entry):
    """Whether a stem's metadata say that it is drums, as such or by its class; its program may be that of a piano."""
    classes = [_text(entry.get(key)).lower() for key in ("inst_class", "midi_program_name")]
    return _text(entry.get("is_drum")).lower() in TRUE or DRUM_CLASS in classes


# ---- the rows ----


def rows(scan, source):
    """One track's row and its stems' rows, as in index_tables.py.

    Returns
    -------
    row : dict
    stems : list of dict
    """
    place, metadata = scan.place, scan.metadata
    where = place.folder.relative_to(source.slakh).as_posix()
    if not where.isprintable():  # not UTF-8, or with a line break
        return _unnameable(place), []
    mix = _file_of(f"{where}/mix", scan.sounds)
    header, mix_status, mix_note = _file_status(mix, scan, source)
    stems = [_stem_row(name, entry, scan, header, source) for name, entry in metadata.get("stems", {}).items()]
    _mark_repeated(stems)
    status, note = metadata.get("status", "ok"), metadata.get("problem", "")
    if status == "ok" and not any(stem["status"] == "ok" for stem in stems):
        status, note = "missing", "none of its stems can be used"
    no_uuid = "" if metadata.get("uuid", "-") else "metadata.yaml has no UUID: counts as a song of its own"
    unlisted = _unlisted(scan, mix, stems) if stems else ""
    notes = (note, mix_note and f"mix: {mix_note}", metadata.get("note"), no_uuid, unlisted, one_line(place.note))
    row = {
        "track": place.folder.name,
        "split": place.split,
        "uuid": metadata.get("uuid") or place.folder.name,
        "partition": "",
        "mix": mix,
        "frames": header.get("frames"),
        "duration": round(header["frames"] / header["sample_rate"], 3) if header else None,
        "status": status if status != "ok" else mix_status,
        "note": "; ".join(filter(None, notes)),
    }
    return row, stems


def _mark_repeated(stems):
    """Leave out, in place, a stem whose file another one has: S00 and s00 are one file on many disks."""
    owner = {}
    for stem in stems:
        first = owner.setdefault(stem["audio"], stem) if stem["audio"] else stem
        if first is not stem:
            note = f"{METADATA_FILE} gives its file to {first['stem']} too, which is used"
            stem |= {"status": "unreadable", "note": one_line(note)}


def _unlisted(scan, mix, stems):
    """A note on the sound files that no stem of the metadata has; "" for none."""
    others = sorted(scan.sounds.keys() - {mix, *(stem["audio"] for stem in stems)})
    if not others:
        return ""
    named = ", ".join(Path(path).name for path in others[:MOST_NAMED])
    more = f" and {len(others) - MOST_NAMED} more" if len(others) > MOST_NAMED else ""
    return f"{METADATA_FILE} lists no stem for {one_line(named)}{more}: not used"


def _unnameable(place):
    """The row of a track that is in a folder whose name no table can hold."""
    blank = {"partition": "", "mix": "", "frames": None, "duration": None}
    note = f"the path of its folder, {str(place.folder)!a}, is not a text on one line: rename that folder"
    track = place.folder.name
    return {"track": track, "split": place.split, "uuid": track, **blank, "status": "unreadable", "note": note}


def _file_of(name, listing, suffixes=DATASET_SUFFIXES):
    """The file of this name, or else of this name in another case, as in S00.WAV; "" for none."""
    spelled = {file.lower(): file for file in listing} | {file: file for file in listing}
    exact = [f"{name}{suffix}" for suffix in suffixes]
    return next((spelled[file] for file in (*exact, *map(str.lower, exact)) if file in spelled), "")


def _file_status(path, scan, source):
    """A sound file's header ({} when it has none), its status and a note."""
    if not path:
        return {}, "missing", f"the file is not there ({' or '.join(DATASET_SUFFIXES)})"
    state = verify.file_state(scan.sounds[path])
    header, sound = (source.cache.get(path, state, kind) for kind in (HEADER, SOUND))
    if "problem" in header:
        return {}, "unreadable", one_line(header["problem"])
    if sound and "problem" in sound:
        return header, "unreadable", one_line(sound["problem"])
    if sound and verify.is_silent(sound):
        return header, "silent", "silent throughout"
    return header, "ok", ""


def _stem_row(name, entry, scan, mix_header, source):
    folder = scan.place.folder
    where = folder.relative_to(source.slakh).as_posix()
    program = _program(entry["program"], entry["is_drum"])
    path = _file_of(f"{where}/stems/{name}", scan.sounds)
    header, status, note = _stem_status(path, entry, scan, mix_header, source)
    if ";" in path:
        status, note = "unreadable", "';' in its name or folder: our tables join paths with it. Rename the file"
    elif program is None:
        status, note = "unreadable", f"metadata.yaml gives no program from 0 to 128 ({entry['program']!r})"
    else:
        key = folder.name.capitalize(), scan.metadata["uuid"], name.upper()  # as Slakh spells them: Track00001, S00
        status, note = _with_known_defect(status, note, path, key, source)
    return {
        "track": folder.name,
        "split": scan.place.split,
        "stem": name,
        "instrument": "" if program is None else instruments.of_program(program, source.taxonomy),
        "program_num": program,
        **{key: entry[key] for key in STEM_TEXTS},
        "is_drum": entry["is_drum"] or program == instruments.DRUMS,
        "audio": path,
        "midi": _file_of(f"{where}/MIDI/{name}", scan.midi, MIDI_SUFFIXES),
        **{key: header.get(key) for key in ("sample_rate", "channels", "frames")},
        "status": status,
        "note": one_line(note),
    }


def _stem_status(path, entry, scan, mix_header, source):
    """A stem's header, its status and a note."""
    if not path and (entry["plugin_name"] in ("", "None") or not entry["has_loudness"]):
        return {}, "unrendered", "Slakh has no sound for this stem"
    header, status, note = _file_status(path, scan, source)
    form, mix_form = ((of["frames"], of["sample_rate"]) if of else None for of in (header, mix_header))
    if form and mix_form and form != mix_form:
        status = "unreadable"
        note = f"does not fit its mix: {form[0]} samples at {form[1]} Hz, the mix has {mix_form[0]} at {mix_form[1]} Hz"
    return header, status, note


def _with_known_defect(status, note, path, key, source):
    """Status and note of a stem, if Slakh's own is known to be bad or absent; a file that exists is never absent."""
    if status == "ok" and key in source.known_bad:
        return "known_bad", source.known_bad[key]
    reason = source.known_bad.get(key) if path else source.absent.get(key)
    return status, f"{note}; known: {reason}" if status != "ok" and reason else note


def _program(value, is_drum):
    """A General MIDI program from a number's text; None when it is none. Drums may have any in MIDI, or none."""
    program = _number(value or (instruments.DRUMS if is_drum else value))
    if program is None or not program.is_integer() or not 0 <= program <= instruments.DRUMS:
        return None
    return instruments.DRUMS if is_drum else int(program)


def one_line(value):
    """A value as one line of text that every CSV reader takes; "" for None."""
    line = "" if value is None else " ".join(str(value).split())
    return "".join(sign for sign in line if sign.isprintable())
