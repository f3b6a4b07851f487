"""Separates a folder of songs, one after the other, with one model, and writes their notes. Used by notebooks 04 and 05
and the command.

Each song gets a folder of its own, whatever other songs are called, and keeps it. `separation.json` in the folder says
whose it is, from the moment it is made; once all files are written, it also records what they were made from: the song,
the model and the settings. A song whose record still matches is skipped, so an interrupted run resumes where it
stopped, and a song is separated again when it, the model or a setting has changed. A folder that belongs to another
song, or bears no mark of ours, is left alone. A song that fails does not stop the others; it is reported at the end.
The notes of a song are recorded likewise; where somebody changed them, they stay, or keep another name.
"""

import contextlib
import hashlib
import itertools
import json
import logging
import os
import time
from dataclasses import asdict
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

from muscomp_lib import transcription
from muscomp_lib.audio.formats import FORMATS
from muscomp_lib.core import names, provenance
from muscomp_lib.core.errors import DiskFullError, MissingError, MusCompError
from muscomp_lib.core.files import PART, clean_parts, first_free, locked, make_folder, write_text
from muscomp_lib.core.progress import bar
from muscomp_lib.separation.songs import title

RECORD = provenance.SEPARATION
MIDI, SCORE = ".mid", ".musicxml"
WRITTEN = {*(chosen.suffix for chosen in FORMATS.values()), MIDI, SCORE}
LONGEST = SCORE  # the longest suffix of a file in a song's folder that is called like the folder
HASH_DIGITS = (8, 32)  # of a song's path, behind its title, where another song has the folder

log = logging.getLogger(__name__)


class Outcome(NamedTuple):
    """What became of a song."""

    song: str  # its folder's name
    status: str  # "ok", "up to date", "failed"
    seconds: float  # it took
    note: str  # why it failed


def separate_all(
    separator, paths, out_dir, wanted=None, file_format="flac", exact=False, seconds=None, progress=bar, then=None
):
    """Separate songs, each into a folder of its own in `out_dir`.

    Parameters
    ----------
    separator : Separator
    paths : list of Path
    out_dir : str or Path
    wanted, file_format, exact, seconds, progress
        As for `Separator.separate_file`.
    then : callable, optional
        Called with each song's folder once its files are there; what it raises makes the song fail, and they stay.

    Returns
    -------
    list of Outcome
        One per song; a row each where they are made a table.

    Raises
    ------
    DiskFullError
        No other song would fit either.
    MusCompError
        `out_dir` cannot be a folder; or there is only one song, and it failed.
    """
    out_dir, outcomes = make_folder(out_dir), []
    options = {"wanted": wanted, "file_format": file_format, "exact": exact, "seconds": seconds}
    with bar(paths, unit="song", desc="songs", disable=len(paths) == 1) as counted:
        for path in counted:
            began, name, note = time.monotonic(), title(path), ""
            try:
                with _own_folder(path, out_dir, seconds, separator) as folder:
                    name = folder.name
                    status = _separate(separator, path, folder, options, progress)
                if then:
                    then(folder)
            except (MusCompError, OSError) as error:
                if len(paths) == 1 and not isinstance(error, MusCompError):
                    raise MusCompError(f"{path} cannot be separated into {out_dir}: {error}") from error
                if len(paths) == 1 or isinstance(error, DiskFullError):
                    raise
                status, note = "failed", names.as_text(str(error))
                log.warning("%s failed: %s", name, note)  # notebooks shorten long cells of a table
            outcomes.append(Outcome(name, status, round(time.monotonic() - began, 1), note))
    return outcomes


def write_all_notes(made, out_dir, settings, transcriber, score=False):
    """Write the notes of all songs that are separated; where that fails, the song's outcome says why.

    Parameters
    ----------
    made : list of Outcome
        What `separate_all` returned; songs without notes are replaced.
    out_dir, settings, transcriber, score
        As for `write_notes`.

    Returns
    -------
    dict of str to list of Path
        The files of each song, by the name of its folder.

    Raises
    ------
    DiskFullError, MusCompError
        No other song's would fit either; there is only one song, and it failed.
    """
    written = {}
    for place, (song, status, seconds, _) in enumerate(made):
        try:
            if status != "failed":
                written[song] = write_notes(Path(out_dir) / song, settings, transcriber, score)
        except MusCompError as error:
            if len(made) == 1 or isinstance(error, DiskFullError):
                raise
            made[place] = Outcome(song, "failed", seconds, names.as_text(f"no notes: {error}"))
            log.warning("%s has no notes: %s", song, error)
    return written


def shown(made, paths, song):
    """The song that notebook 05 shows: the one that was asked for, or, if it failed, the first that did not.

    Parameters
    ----------
    made : list of Outcome
        What `separate_all` returned for `paths`.
    paths : list of Path
    song : Path
        One of them.

    Returns
    -------
    song : Path
    name : str
        Of its folder.

    Raises
    ------
    MusCompError
        All of them failed.
    """
    done = {path: outcome.song for path, outcome in zip(paths, made, strict=True) if outcome.status != "failed"}
    if not done:
        raise MusCompError(f"All {len(made)} songs failed, the first because: {made[0].note}")
    song = song if song in done else next(iter(done))
    return song, done[song]


def counts(made):
    """What `separate_all` returned, for `metrics.json`: {"listed": number, "failed": {name: reason}}."""
    return {"listed": len(made), "failed": {row.song: row.note for row in made if row.status == "failed"}}


def files_of(folder):
    """The files of a separated song: {target: Path}.

    Raises
    ------
    MissingError
        The song is not separated, or not completely.
    """
    record = _read_record(folder)
    if "files" not in record:
        raise MissingError(f"{folder} holds no separated song. Separate it first.")
    return {name: Path(folder) / file for name, file in record["files"].items()}


def write_notes(folder, settings, transcriber, score=False, progress=bar):
    """Transcribe a separated song into its folder, unless what is there is up to date, or was corrected since.

    Parameters
    ----------
    folder : Path
    settings : transcription.Settings
    transcriber : transcription.note_decoder.Transcriber
    score : bool
        Write MusicXML as well.
    progress : callable
        As for `transcription.transcribe`.

    Returns
    -------
    list of Path
        `Song/Song.mid` and, with `score`, `Song/Song.musicxml`; none where none of its files can be transcribed.

    Raises
    ------
    MissingError, AudioError, SettingError, DiskFullError
    """
    files, record = files_of(folder), _read_record(folder)
    known, _ = settings.choose(files)
    made = [named_file(folder, suffix) for suffix in ((MIDI, SCORE) if score else (MIDI,)) if known]
    made_from = _made_from(settings, transcriber, known)
    before = record.get("notes", {})
    if before.get("made_from") == made_from and all(file.name in before["bytes"] and _size(file) for file in made):
        return made
    _keep_changed(folder, record)
    if known:
        midi = transcription.transcribe(files, None, settings, transcriber, progress)
        transcription.write(midi, made[0])
        for file in made[1:]:
            transcription.write_score(midi, file, names.as_text(folder.name))
    for file in {named_file(folder, suffix) for suffix in (MIDI, SCORE)}.difference(made):
        file.unlink(missing_ok=True)  # of other files, or of another transcription
    notes = {"made_from": made_from, "bytes": {file.name: _size(file) for file in made}}
    _write_record(folder, record | {"notes": notes})
    return made


def _made_from(settings, transcriber, known):
    """What notes are made from, beside the files, as it reads back from JSON."""
    as_instruments = {name: asdict(instrument) for name, instrument in known.items()}
    made_from = {"model": transcriber.identity, "settings": settings.model_dump(), "instruments": as_instruments}
    return json.loads(json.dumps(made_from))


def midi_of(folder):
    """The transcription in a song's folder: pretty_midi.PrettyMIDI, or None where there is none."""
    file = named_file(folder, MIDI)
    return transcription.read(file) if file.is_file() else None


def separated(out_dir):
    """The folders in `out_dir` with a song that is completely separated, the latest first."""
    records = sorted(out_dir.glob(f"*/{RECORD}"), key=lambda record: -record.stat().st_mtime)
    return (record.parent for record in records if "files" in _read_record(record.parent))


def song_of(folder):
    """The song that a folder's files were separated from, and the seconds of its excerpt.

    Returns
    -------
    (Path or None, float or None)
        None: it is not there any more; the whole song.
    """
    record = _read_record(folder)
    path = Path(os.path.realpath(folder.parent)).parent / record.get("song", {}).get("path", "")
    return path if path.is_file() else None, record.get("options", {}).get("seconds")


def config_of(folder):
    """The configuration of the model that a song was separated with; if it is unknown, one without a taxonomy."""
    config = _read_record(folder).get("model", {}).get("config", {})
    return config if "taxonomy" in config.get("muscomp", {}) else {"muscomp": {"taxonomy": None}}


def named_file(folder, suffix):
    """The path of the file in a song's folder that is called like it: `Song/Song.mid`."""
    return folder / f"{folder.name}{suffix}"


# ---- whose folder ----


@contextlib.contextmanager
def _own_folder(path, out_dir, seconds, separator):
    """The folder of a song, made if there is none, and locked against other runs; removed again if the song fails.

    What killed runs left half-written there is removed.
    """
    mark = _mark(path, out_dir, seconds, separator)
    with contextlib.ExitStack() as stack:
        folder, is_new = _claim(path, out_dir, mark)
        held = _hold(folder, stack)
        while not _belongs(_read_record(folder), mark, path):  # the run that made it has failed meanwhile
            stack.close()
            folder, is_new = _claim(path, out_dir, mark)
            held = _hold(folder, stack)
        clean_parts(folder, alone=held)
        try:
            yield folder
        except BaseException:
            with contextlib.suppress(OSError):
                if is_new and [entry.name for entry in folder.iterdir()] == [RECORD]:  # else it stays the song's
                    (folder / RECORD).unlink()
                    folder.rmdir()
            raise


def _hold(folder, stack):
    try:
        return stack.enter_context(locked(folder, wait=False))
    except BlockingIOError:
        log.warning("Another run is separating into %s; waiting until it has ended.", folder)
        return stack.enter_context(locked(folder))


def _claim(path, out_dir, mark):
    """The folder that a song has, else one that it gets now; and whether it is new."""
    with locked(out_dir):
        taken = {names.folded(place.name): place for place in out_dir.iterdir()}
        taken |= {place.name: place for place in out_dir.iterdir()}
        folders = [taken.get(name) or taken.get(names.folded(name), out_dir / name) for name in _names(path, mark)]
        for folder in folders:
            if _belongs(_read_record(folder), mark, path):
                return folder, False
        for folder in folders:
            if _is_free(folder):
                if folder != folders[0]:
                    log.warning("%s is in %s: %s belongs to another song.", path, folder.name, folders[0].name)
                folder.mkdir(exist_ok=True)
                _write_record(folder, mark)
                return folder, True
    raise MusCompError(f"{path} has no folder: {', '.join(map(str, folders))} hold other things. Move them away.")


def _mark(path, out_dir, seconds, separator):
    """What makes a folder a song's own: its path, in a root relative to it, which excerpt, and what was asked for."""
    path, base = Path(os.path.realpath(path)), Path(os.path.realpath(out_dir)).parent
    where = path.relative_to(base) if path.is_relative_to(base) else path
    asked = {} if separator.asked_by is None else {"query": separator.query_digest}
    found = {"song": {"name": path.name, "path": where.as_posix()}, "options": {"seconds": seconds} | asked}
    return found | ({"asked_by": separator.asked_by} if asked else {})


def _names(path, mark):
    """The names that a song's folder may have: its title, and, where another song has that, its title with a hash."""
    seconds = mark["options"]["seconds"]
    digest = hashlib.sha256(os.fsencode(mark["song"]["path"])).hexdigest()
    excerpt = "" if seconds is None else f"_{seconds:g}s"
    excerpt += f" (like {mark['asked_by']})" if "asked_by" in mark else ""
    suffixes = [excerpt, *(f" ({digest[:digits]}){excerpt}" for digits in HASH_DIGITS)]
    return [names.as_folder(title(path), suffix + LONGEST).removesuffix(LONGEST) for suffix in suffixes]


def _belongs(record, mark, path):
    """Whether a record is of this song and excerpt. Earlier versions recorded no path, but the song's size and date."""
    if not record or any(record["options"].get(key) != mark["options"].get(key) for key in ("seconds", "query")):
        return False
    song = record["song"]
    if "path" in song or not path.is_file():
        return song.get("path") == mark["song"]["path"]
    file = path.stat()
    return song == {"name": path.name, "bytes": file.st_size, "modified": file.st_mtime_ns}


def _is_free(folder):
    """Whether there is nothing, or nothing but what killed runs left half-written."""
    if not os.path.lexists(folder):
        return True
    return folder.is_dir() and all(entry.name.startswith(PART) for entry in folder.iterdir())


# ---- one song ----


def _separate(separator, path, folder, options, progress):
    """Separate one song unless its files are up to date; returns its status."""
    before = _read_record(folder)
    inputs = _inputs(separator, path, folder, options, before)
    if _is_up_to_date(folder, inputs, before):
        return "up to date"
    _keep_changed(folder, before)
    _write_record(folder, {key: before[key] for key in ("song", "options")} | {"old": _recorded_files(before)})
    try:
        files = separator.separate_file(path, folder, progress=progress, **options)
    except BaseException:
        _write_record(folder, before)  # its files are still there
        raise
    sizes = {file.name: file.stat().st_size for file in files.values()}
    _write_record(folder, inputs | {"files": {name: file.name for name, file in files.items()}, "bytes": sizes})
    for name in set(_recorded_files(before)) - set(sizes):
        (folder / name).unlink(missing_ok=True)
    return "ok"


def _keep_changed(folder, record):
    """Give notes that somebody corrected in another program a name under which they are not replaced."""
    for name, written in record.get("notes", {}).get("bytes", {}).items():
        file = folder / name
        if _size(file) not in (None, 0, written):
            kept = first_free(
                file.with_name(f"{file.stem} (changed {number}){file.suffix}") for number in itertools.count(1)
            )
            file.rename(kept)
            log.warning("%s was changed since it was written. It is kept as %s.", file, kept.name)


def _inputs(separator, path, folder, options, before):
    """What the files of a song are made from, as it reads back from JSON."""
    try:
        identity = provenance.identity(path, before["song"])
    except FileNotFoundError as error:
        raise MissingError(f"{path} is not there. Check the name and the folder.") from error
    mark = _mark(path, folder.parent, options["seconds"], separator)
    made_from = {"song": mark["song"] | identity, "model": separator.identity, "options": options | mark["options"]}
    return json.loads(json.dumps(made_from))


def _is_up_to_date(folder, inputs, before):
    same = "files" in before and _without_date(before) == _without_date(inputs)
    return same and all(_size(folder / name) == before["bytes"].get(name) for name in before["files"].values())


def _without_date(record):
    """What of a record has to be the same: the song's date is not, in a copy."""
    song = {key: value for key, value in record["song"].items() if key != "modified"}
    return [song, record.get("model"), record["options"]]


def _size(path):
    return path.stat().st_size if path.is_file() else None


def _recorded_files(record):
    """The names of all files of ours that a record lists."""
    return [*record.get("files", {}).values(), *record.get("old", []), *record.get("notes", {}).get("bytes", {})]


def _write_record(folder, record):
    write_text(folder / RECORD, json.dumps(record, indent=2) + "\n")


def _read_record(folder):
    """The content of `separation.json`, with `song` and `options`; empty where there is none that can be read."""
    try:
        record = json.loads((Path(folder) / RECORD).read_text(encoding="utf-8"))
        parts = [record.get(key, {}) for key in ("song", "options", "files", "bytes", "notes")]
        parts.append(record.get("notes", {"bytes": {}})["bytes"])
        is_whole = all(isinstance(part, dict) for part in parts)
        return record if is_whole and all(map(_is_ours, _recorded_files(record))) else {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def _is_ours(name):
    """Whether it is a name, not a path, of what a separation writes: files are read and deleted by these names."""
    return PureWindowsPath(name).name == name and PureWindowsPath(name).suffix in WRITTEN
