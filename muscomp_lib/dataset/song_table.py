"""The songs of a table, such as `train.csv`: read and checked before an engine starts. Used by notebooks 03 and 04.

Tables are Spleeter's: UTF-8, cells separated by commas, paths relative to the root, durations in seconds. Notebook 03
writes them, and people do, with spreadsheets. What passes here suits both engines; Spleeter itself silently drops a
song that it cannot use, and waits for ever when none is left.
"""

import contextlib
import csv
import io
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from muscomp_lib import audio
from muscomp_lib.core import remote_io
from muscomp_lib.core.errors import AudioError, MissingError, SettingError
from muscomp_lib.core.files import expanded, spelled_as_on_disk
from muscomp_lib.core.parallel import evenly_spaced
from muscomp_lib.core.progress import bar
from muscomp_lib.core.settings import suggestion
from muscomp_lib.dataset import library
from muscomp_lib.models.config import covers_mix, targets

READERS = 8  # threads that read files: decoding happens outside Python's lock
DURATION = re.compile(r"\d+(\.\d*)?(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
DURATION_TOLERANCE = 0.1  # seconds that the table and the file may differ by
SUM_CHECKS, SUM_SECONDS = 20, 5.0  # songs of a table whose middle is compared with the sum of their files
UTF8 = "Save it as UTF-8; in a spreadsheet, as 'CSV UTF-8 (comma delimited)'."

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Song:
    """One row of a table: its track, its files by instrument, its length in samples, and its line.

    A file is a path, a VirtualFile or a FileSum; `library.read` reads all of them.
    """

    track: str
    mix: Path | library.VirtualFile
    files: dict
    n_samples: int
    line: int = 0


def read_songs(root, table, config, for_spleeter=False):
    """Read a table, and make sure that its songs can be used.

    Parameters
    ----------
    root : Root
    table : str or Path
    config : dict
        `mix_name`, `instrument_list` and `sample_rate` (Hz) are used; for Spleeter, `n_channels` too.
    for_spleeter : bool
        Whether the real Spleeter has to read it, which drops files with another number of channels, and puts the root
        in front of absolute paths.

    Returns
    -------
    list of Song

    Raises
    ------
    MissingError, SettingError, AudioError
        Of the first mistake: the table, the line, the column and the cell are named, and what to write instead.
    """
    columns = {name: f"{name}_path" for name in (config["mix_name"], *config["instrument_list"])}
    members = targets(config) or {}
    rows = _rows(table, [*columns.values(), "duration"], for_spleeter)
    available, form = library.Library(root), (config["sample_rate"], config["n_channels"] if for_spleeter else None)
    with ThreadPoolExecutor(READERS) as pool:
        songs = pool.map(lambda row: _song(root, available, table, *row, columns, members, form), rows)
        songs = list(bar(songs, total=len(rows), desc=f"checking {Path(table).name}", unit="song"))
    _warn_of_repeated_files(table, list(columns.values()), rows)
    _warn_of_repeated_songs(table, columns[config["mix_name"]], rows)
    if covers_mix(config) and not available.virtual:
        _warn_of_other_sums(table, columns[config["mix_name"]], songs, config["sample_rate"])
    return songs


def has_songs(table):
    """Whether a table is there and has rows: there may be no songs to test with."""
    return Path(table).is_file() and len(_cells(table)) > 1


# ---- cells ----


def _rows(table, columns, for_spleeter):
    """The rows of a table with their line numbers: (line, {column: cell}). None of the cells is blank."""
    lines = [
        (line, cells)
        for line, cells in _cells(table)
        if for_spleeter or any(map(str.strip, cells))  # spreadsheets leave commas where rows were; Spleeter fails there
    ]
    if any("\0" in cell for _, cells in lines[:1] for cell in cells):
        raise SettingError(f"{table}, line 1: there are bytes of 0. It is in UTF-16, or damaged. {UTF8}")
    if len(lines) < 2:
        raise SettingError(f"{table} has no rows, so there is nothing to train on. Notebook 03 says why.")
    (first, header), *_ = lines
    _check_header(f"{table}, line {first}", header, columns)
    for line, cells in lines[1:]:
        _check_cells(f"{table}, line {line}", header, cells, columns, for_spleeter)
    return [(line, dict(zip(header, cells, strict=True))) for line, cells in lines[1:]]


def _cells(table):
    """The lines of a table that are not empty: (number, list of cells)."""
    reader = csv.reader(io.StringIO(_text(table), newline=""), strict=True)
    lines, first = [], 1  # a cell in quotation marks may hold line breaks
    try:
        for cells in reader:
            lines += [(first, cells)] if cells else []
            first = reader.line_num + 1
    except csv.Error as error:
        raise SettingError(f"{table}, line {first}: {error}. Look for a quotation mark without its pair.") from error
    return lines


def _text(table):
    if not Path(table).is_file():
        where = "" if Path(table).is_absolute() else f", neither in the root nor in {Path.cwd()}"
        advice = "Write its whole path into the configuration" if where else "Notebook 03 writes it: run that first"
        raise MissingError(f"{table} is not there{where}. {advice}.")
    content = remote_io.retried(Path(table).read_bytes)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, wrong = content.count(b"\n", 0, error.start) + 1, content[error.start : error.end]
        raise SettingError(f"{table}, line {line}: {wrong} is not UTF-8. {UTF8}") from error


def _check_header(where, header, columns):
    joined = "".join(header)
    if joined.lower().startswith("sep="):
        raise SettingError(f"{where}: {','.join(header)} is a note for a spreadsheet. Remove this line.")
    for separator in ";\t|":
        if separator in joined and not set(columns) & set(header):
            raise SettingError(
                f"{where}: cells are separated by {separator!r}, not by commas. {UTF8} Write 3.0, not 3,0."
            )
    for column in columns:
        if column not in header:
            raise SettingError(f"{where}: there is no column {column!r}. {suggestion(column, header)}")
        if header.count(column) > 1:
            raise SettingError(f"{where}: there are {header.count(column)} columns {column!r}. Leave one of them.")


def _check_cells(where, header, cells, columns, for_spleeter):
    if len(cells) != len(header):
        raise SettingError(
            f"{where}: {len(cells)} cells for {len(header)} columns. Write 3.0, not 3,0, and quotation marks around a "
            "name with a comma."
        )
    for column in columns:
        cell = cells[header.index(column)]
        if not cell.strip():
            raise SettingError(f"{where}: no value for {column!r}. Fill it in, remove the line, or run notebook 03.")
        if column != "duration" and cell != cell.strip():
            raise SettingError(f"{where}, {column}: {cell!r} begins or ends with a space. Remove it.")
        expanded(cell, f"{where}, {column}: ")  # refuses what no path here can be
        if cell[0] in "~$":
            raise SettingError(
                f"{where}, {column}: ~ and variables are not expanded ({cell!r}). Write the path from the root "
                "on, such as own/song/mix.wav."
            )
        if wrong := next((character for character in "\\\0" if character in cell), None):
            raise SettingError(f"{where}, {column}: {cell!r} contains {wrong!r}. Separate folders by '/'.")
        if for_spleeter and cell.startswith("/"):
            raise SettingError(f"{where}, {column}: {cell} must be relative to the root. Run notebook 03.")
        if column == "duration" and not DURATION.fullmatch(cell.strip()):
            raise SettingError(f"{where}, {column}: {cell!r} is not a number of seconds. Write it with a point: 83.5")


# ---- files ----


def _song(root, available, table, line, row, columns, members, form):
    """A row as a Song whose files can be opened, and fit together."""
    where, files, infos = f"{table}, line {line}", {}, {}
    for name, column in columns.items():
        opened = _opened(root, available, row[column], members.get(name), f"{where}, {column}")
        files[name], infos[row[column]] = opened
    try:
        check_files(infos, *form)
    except AudioError as error:
        raise AudioError(f"{where}: {error}") from error
    path, mix = next(iter(infos.items()))
    if abs(float(row["duration"]) - mix.duration) > DURATION_TOLERANCE:
        raise AudioError(
            f"{where}, duration: {path} lasts {mix.duration:.2f} s, not {row['duration']}. Write {mix.duration:.3f}"
        )
    return Song(PurePosixPath(path).parent.name, files.pop(next(iter(columns))), files, mix.frames, line)


def _opened(root, available, path, members, where):
    """The file at a path of a table, or the sum of its members, and its header."""
    try:
        file = available.file(path, members)
        return file, audio.info(file) if isinstance(file, Path) else file.info()
    except MissingError as error:
        raise MissingError(f"{where}: {error} Paths are relative to the root. {_nearby(root.path / path)}") from error
    except AudioError as error:
        raise type(error)(f"{where}: {error}") from error


def _nearby(path):
    """What there is instead of a missing file: a sentence."""
    if spelled_as_on_disk(path) != path:
        return (
            "It is there with its accents stored in another form, as on a Mac: rename the folder and file without them."
        )
    with contextlib.suppress(OSError):
        if names := remote_io.listing(path.parent):
            return suggestion(path.name, names)
    return ""


def check_files(infos, sample_rate, n_channels=None):
    """Make sure that the files of a song fit together.

    Parameters
    ----------
    infos : dict of str to AudioInfo
        By what messages call each file; the mix is the first.
    sample_rate : int
        Hz, that all must have: nothing resamples them.
    n_channels : int, optional
        That all must have; None: any.

    Raises
    ------
    AudioError
    """
    mix = next(iter(infos.values()))
    for name, found in infos.items():
        form = {"sample_rate": (found.sample_rate, sample_rate), "n_channels": (found.channels, n_channels)}
        wrong = [f"{key} = {value}" for key, (value, wanted) in form.items() if wanted not in (None, value)]
        if wrong:
            wanted = f"{sample_rate} Hz" + (f" and {n_channels}" if n_channels else "")
            raise AudioError(
                f"{name} has {found.sample_rate} Hz and {found.channels} channel(s), not {wanted}. Convert it; or, if "
                f"all songs are like this, in notebook 03 set {' and '.join(wrong)}"
            )
        if found.frames != mix.frames:
            raise AudioError(f"{name} has {found.frames} samples, its mix {mix.frames}")


def check_sum(mix, files, start=0, frames=None):
    """Make sure that files sum to their mix, but for the rounding of each to 16 bits.

    Parameters
    ----------
    mix : Path or VirtualFile
    files : dict of str to Path or VirtualFile
    start, frames : int
        The part to compare; None: to the end.

    Raises
    ------
    AudioError
    """
    expected, _ = library.read(mix, start, frames)
    total = np.zeros_like(expected)
    for name, file in files.items():
        waveform, _ = library.read(file, start, frames)
        if len(waveform) != len(expected):
            raise AudioError(f"{name} has {len(waveform)} samples, its mix {len(expected)}")
        total += audio.fit_channels(waveform, expected.shape[1])
    rounding = 0.51 * (len(files) + 1) / audio.INT16_SCALE  # half a step each, and a little for float32
    if wrong := int(np.count_nonzero(np.any(np.abs(total - expected) > rounding, axis=1))):
        raise AudioError(f"its instruments do not sum to its mix: {wrong} of {len(expected)} samples differ")


def _warn_of_repeated_files(table, columns, rows):
    """Warn of rows that name one file in two columns: of copied cells, an instrument would be the mix or another."""
    found = []
    for line, row in rows:
        by_file = {}
        for column in columns:
            by_file.setdefault(row[column], []).append(column)
        found += [(line, *same[:2]) for same in by_file.values() if len(same) > 1]
    if found:
        lines = len({line for line, *_ in found})
        more = f", and likewise in {lines - 1} more lines" if lines > 1 else ""
        log.warning("%s, line %d: %s and %s are the same file%s. Is it the right one in both?", table, *found[0], more)


def _warn_of_repeated_songs(table, column, rows):
    """Warn of lines with the same mix: that song counts twice."""
    first = {}
    found = [(line, row[column], first[row[column]]) for line, row in rows
             if first.setdefault(row[column], line) != line]  # fmt: skip
    if found:
        more = f", and likewise in {len(found) - 1} more lines" if len(found) > 1 else ""
        log.warning("%s, line %d: the mix %s is in line %d, too%s. Leave one of them.", table, *found[0], more)


def warn_of_shared_songs(training, validation):
    """Warn of songs that are trained on and validated with.

    Parameters
    ----------
    training, validation : list of Song
    """
    shared = {song.mix for song in training} & {song.mix for song in validation}
    if shared:
        log.warning(
            "%d of %d validation songs are trained on too: the validation loss does not show whether the network "
            "generalises. Leave each song in one of the two tables.", len(shared), len(validation)
        )  # fmt: skip


def _warn_of_other_sums(table, column, songs, sample_rate):
    """Warn of mixes that are not the sum, in the middle of some songs: they may be mastered, or be wrong files."""
    for song in evenly_spaced(songs, SUM_CHECKS):
        frames = min(song.n_samples, round(SUM_SECONDS * sample_rate))
        try:
            check_sum(song.mix, song.files, (song.n_samples - frames) // 2, frames)
        except AudioError as error:
            log.warning(
                "%s, line %d, %s: %s: %s. The network is trained on that mix; is it the right file?",
                table, song.line, column, song.mix, error,
            )  # fmt: skip
