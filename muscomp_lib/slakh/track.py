"""One track of Slakh: what its folder holds, and its rows of the two tables. Used by notebook 01, through slakh.py.

`look` asks the disk, and is told by the journal what is known already; `rows` makes the tables' rows of what was found,
without touching the disk again.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import yaml

from muscomp_lib import audio
from muscomp_lib.core import instruments, remote_io
from muscomp_lib.core.file_cache import Journal
from muscomp_lib.slakh import verify
from muscomp_lib.slakh.verify import HEADER, METADATA, SOUND

SUFFIXES = (".flac", ".wav")  # Slakh2100; BabySlakh
METADATA_FILE = "metadata.yaml"
YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the compiled one is ten times as fast, where it exists
STEM_TEXTS = ("midi_program_name", "inst_class", "plugin_name")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """What holds for all tracks: the data set's folder, the taxonomy, the known bad stems, what is known of files."""

    slakh: Path
    taxonomy: str
    known_bad: dict  # (track, stem): reason
    journal: Journal


@dataclass(frozen=True)
class Looked:
    """What a track's folder holds.

    Attributes
    ----------
    place : slakh.Place
    metadata : dict
        `uuid`, `level` (LUFS of every stem, None where it is not told), `stems`; or `problem` and `status`.
    sounds : dict of str to os.stat_result
        The sound files, by their path relative to the data set.
    midi : set of str
        The names of the MIDI files.
    """

    place: object
    metadata: dict
    sounds: dict
    midi: set


# ---- asking the disk ----


def look(place, source):
    """Look at a track's folder, its metadata and the header of each sound file.

    Returns
    -------
    Looked
    """
    top, stems, midi = (_listing(place.folder / part, source.slakh) for part in ("", "stems", "MIDI"))
    if not top:  # it was there a moment ago
        remote_io.check_mounted(source.slakh)
    files = {file: top[file] for file in [_file_of("mix", top)] if file}
    files |= {f"stems/{name}": stat for name, stat in stems.items() if Path(name).suffix in SUFFIXES}
    where = place.folder.relative_to(source.slakh).as_posix()
    sounds = {f"{where}/{name}": stat for name, stat in sorted(files.items())}
    for path, stat in sounds.items():
        verify.remembered(source.journal, source.slakh, path, stat, HEADER, verify.header)
    return Looked(place, _metadata(f"{where}/{METADATA_FILE}", top.get(METADATA_FILE), source), sounds, set(midi))


def _listing(folder, slakh):
    """The entries of a folder with their `os.stat_result`; none when it is not there or cannot be looked into."""
    try:
        return remote_io.listing(folder)
    except OSError as error:
        remote_io.check_mounted(slakh)
        log.warning("%s cannot be looked into (%s): taken for empty", folder, error.strerror)
        return {}


def _metadata(path, stat, source):
    if stat is None:
        return {"problem": f"{METADATA_FILE} is not there", "status": "missing"}
    return verify.remembered(source.journal, source.slakh, path, stat, METADATA, read_metadata)


def read_metadata(path):
    """What is used of a track's `metadata.yaml`, as plain text and numbers: see `Looked.metadata`."""
    problem = {"status": "unreadable"}
    try:
        metadata = yaml.load(remote_io.read_text(path), Loader=YAML_LOADER)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return {**problem, "problem": f"{METADATA_FILE} cannot be read ({_where(error)})"}
    except OSError as error:
        return {**problem, "problem": f"{METADATA_FILE} cannot be read ({error.strerror})", "passing": True}
    if not isinstance(metadata, dict) or not isinstance(metadata.get("stems"), dict):
        return {**problem, "problem": f"{METADATA_FILE} does not list the stems by name"}
    stems = {text(name): _entry(entry if isinstance(entry, dict) else {}) for name, entry in metadata["stems"].items()}
    return {"uuid": text(metadata.get("UUID")), "level": _level(metadata), "stems": stems}


def _where(error):
    mark = getattr(error, "problem_mark", None)
    return f"line {mark.line + 1}" if mark else type(error).__name__


def _level(metadata):
    """The loudness in LUFS that Slakh brought every stem of a track to; None when the metadata do not say."""
    loudness, gain = metadata.get("normalization_factor"), metadata.get("overall_gain")
    if not all(isinstance(value, (int, float)) for value in (loudness, gain)) or not gain > 0:
        return None
    return float(loudness + audio.to_db(gain))


def _entry(entry):
    """What is used of a stem's metadata."""
    return {
        **{key: text(entry.get(key)) for key in STEM_TEXTS},
        "program": text(entry.get("program_num")),
        "is_drum": entry.get("is_drum") is True,
        "has_loudness": "integrated_loudness" in entry,
    }


# ---- the rows ----


def rows(looked, source):
    """One track's row and its stems' rows, as in catalogue.py.

    Returns
    -------
    row : dict
    stems : list of dict
    """
    place, metadata = looked.place, looked.metadata
    where = place.folder.relative_to(source.slakh).as_posix()
    mix = _file_of(f"{where}/mix", looked.sounds)
    header, mix_status, mix_note = _file_status(mix, looked, source)
    stems = [_stem_row(name, entry, looked, header, source) for name, entry in metadata.get("stems", {}).items()]
    status, note = metadata.get("status", "ok"), metadata.get("problem", "")
    if status == "ok" and not any(stem["status"] == "ok" for stem in stems):
        status, note = "missing", "none of its stems can be used"
    no_uuid = "" if metadata.get("uuid", "-") else "metadata.yaml has no UUID: taken for a song of its own"
    row = {
        "track": place.folder.name,
        "split": place.split,
        "uuid": metadata.get("uuid") or place.folder.name,
        "partition": "",
        "mix": mix,
        "frames": header.get("frames"),
        "duration": round(header["frames"] / header["sample_rate"], 3) if header else None,
        "status": status if status != "ok" else mix_status,
        "note": "; ".join(filter(None, (note, mix_note and f"mix: {mix_note}", no_uuid, place.note))),
    }
    return row, stems


def _file_of(name, listing):
    return next((f"{name}{suffix}" for suffix in SUFFIXES if f"{name}{suffix}" in listing), "")


def _file_status(path, looked, source):
    """What can be said of a sound file: its header ({} when it has none), a status and a note."""
    if not path:
        return {}, "missing", "the file is not there"
    seen = verify.seen(looked.sounds[path])
    header, sound = (source.journal.recall(path, seen, kind) for kind in (HEADER, SOUND))
    if "problem" in header:
        return {}, "unreadable", text(header["problem"])
    if sound and "problem" in sound:
        return header, "unreadable", text(sound["problem"])
    if sound and verify.is_silent(sound):
        return header, "silent", "nothing in it sounds"
    return header, "ok", ""


def _stem_row(name, entry, looked, mix_header, source):
    folder = looked.place.folder
    where = folder.relative_to(source.slakh).as_posix()
    program = _program(entry["program"])
    path, midi = _file_of(f"{where}/stems/{name}", looked.sounds), f"{name}.mid"
    header, status, note = _stem_status(path, entry, looked, mix_header, source)
    if ";" in path:
        status, note = "unreadable", "';' in its name or folder: our tables join paths with it. Rename the file"
    elif program is None:
        status, note = "unreadable", f"metadata.yaml gives no program from 0 to 128 ({entry['program']!r})"
    elif (folder.name, name) in source.known_bad:
        status, note = _doomed(status, note, source.known_bad[folder.name, name])
    return {
        "track": folder.name,
        "split": looked.place.split,
        "stem": name,
        "instrument": "" if program is None else instruments.of_program(program, source.taxonomy),
        "program_num": program,
        **{key: entry[key] for key in STEM_TEXTS},
        "is_drum": entry["is_drum"],
        "audio": path,
        "midi": f"{where}/MIDI/{midi}" if midi in looked.midi else "",
        **{key: header.get(key) for key in ("sample_rate", "channels", "frames")},
        "status": status,
        "note": text(note),
    }


def _stem_status(path, entry, looked, mix_header, source):
    """What can be said of a stem's file: its header, a status and a note."""
    if not path and (entry["plugin_name"] in ("", "None") or not entry["has_loudness"]):
        return {}, "unrendered", "Slakh has no sound for this stem"
    header, status, note = _file_status(path, looked, source)
    form, mix_form = ((of["frames"], of["sample_rate"]) if of else None for of in (header, mix_header))
    if form and mix_form and form != mix_form:
        status = "unreadable"
        note = f"does not fit its mix: {form[0]} samples at {form[1]} Hz, the mix has {mix_form[0]} at {mix_form[1]} Hz"
    return header, status, note


def _doomed(status, note, reason):
    """Status and note of a stem that is on the list of known bad ones."""
    return ("known_bad", reason) if status == "ok" else (status, f"{note}; known: {reason}")


def _program(value):
    """A General MIDI program from a number's text; None when it is none."""
    try:
        program = int(value)
    except ValueError:
        return None
    return program if 0 <= program <= instruments.DRUMS else None


def text(value):
    """A value as one line of text that every CSV reader takes; "" for None."""
    line = "" if value is None else " ".join(str(value).split())
    return "".join(sign for sign in line if sign.isprintable())
