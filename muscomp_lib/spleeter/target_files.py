"""Files of the targets that are sums of instruments, for the real Spleeter, which reads one file each. Used by 04.

They lie in the model's folder, under `targets/`, with tables that name them instead.
"""

import csv
import io
import json
import logging
import os
from pathlib import Path

from muscomp_lib import audio
from muscomp_lib.audio.quantise import peak
from muscomp_lib.core import provenance
from muscomp_lib.core.files import write_text
from muscomp_lib.core.progress import bar
from muscomp_lib.dataset import library
from muscomp_lib.dataset.song_table import read_songs

FOLDER = "targets"

log = logging.getLogger(__name__)


def write(root, table, config, folder):
    """Write the files that a table's sums need, and a table with their paths. Files that are up to date are kept.

    Parameters
    ----------
    root : Root
    table : Path
    config : dict
        As `config.read_config` returns it.
    folder : Path
        The model's.

    Returns
    -------
    Path
        Of the new table: columns as in Spleeter's, paths relative to the root.

    Raises
    ------
    MissingError, SettingError, AudioError
        As `read_songs`.
    DiskFullError
    """
    songs = read_songs(root, table, config, for_spleeter=True)
    rows, checksums = [], provenance.Checksums(root)
    for number, song in enumerate(bar(songs, desc=f"targets of {Path(table).name}", unit="song")):
        place = folder / FOLDER / Path(table).stem / f"{number:05d} {song.track}"
        files = {name: _on_disk(file, place / f"{name}.flac", checksums) for name, file in song.files.items()}
        paths = [_relative(file, root) for file in (song.mix, *files.values())]
        rows.append([*paths, round(song.n_samples / config["sample_rate"], 3)])
    columns = [f"{name}_path" for name in (config["mix_name"], *config["instrument_list"])]
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([[*columns, "duration"], *rows])
    made = folder / FOLDER / Path(table).name
    write_text(made, text.getvalue())
    return made


def _on_disk(file, path, checksums):
    """The file itself, or the one that holds a sum's samples."""
    if not isinstance(file, library.FileSum):
        return file
    made_from = json.dumps({str(member): checksums.of(member) for member in file.files})
    record = path.with_suffix(".json")
    if not (path.is_file() and provenance.matches(record, made_from)):
        waveform, sample_rate = library.read(file)
        if peak(waveform) > 1:
            log.warning("%s: the sum is beyond full scale, and limited there.", path)
        audio.write(path, waveform, sample_rate)
        provenance.write(record, made_from)
    return path


def _relative(file, root):
    return Path(os.path.relpath(file, root.path)).as_posix()
