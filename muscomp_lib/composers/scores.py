"""MIDI files and scores as notes, with a status and a note for each file. Used by notebook 08.

Reading a score takes music21 a second or more, so its notes are kept, under the checksum of the file's bytes: a copy of
the file elsewhere, or another selection of composers, is not read again. Where they cannot be kept, or what was kept is
damaged, they are read from the score.
"""

import contextlib
from pathlib import Path

import numpy as np

from muscomp_lib import music_files
from muscomp_lib.core import provenance
from muscomp_lib.core.errors import MidiError, MissingError, MusCompError
from muscomp_lib.core.files import cache_folder, written_whole

READER = "8"  # to be raised when notes are read differently, so that cached ones are read again
START, END, PITCH, VELOCITY = range(4)  # columns of notes
LOWEST_COUNT = 20  # notes: fewer do not characterise a composer


def read(path):
    """The notes of a MIDI file or a score: those of all parts but drums, by their starts.

    Parameters
    ----------
    path : str or Path
        `.mid`, or what music21 reads: `.mxl`, `.musicxml`, `.xml`, `.krn`.

    Returns
    -------
    np.ndarray, shape=(n_notes, 4), dtype=float32
        Start and end in seconds, MIDI pitch, velocity. The first note starts at 0.

    Raises
    ------
    MissingError
        The file is not there.
    MidiError
        It cannot be read, or has no notes; with the reason.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingError(f"{path} is not there. Check the name and the folder.")
    try:
        checksum = provenance.checksum(path)
    except OSError as error:
        raise MidiError(f"{path} cannot be read ({error.strerror}). Check its permissions.") from error
    kept = cache_folder() / "composers" / f"{checksum}-{READER}.npy"
    with contextlib.suppress(OSError, EOFError, ValueError):
        return np.load(kept)
    notes = _read(path)
    with contextlib.suppress(OSError, MusCompError), written_whole(kept) as part:
        np.save(part, notes)
    return notes


def _read(path):
    parts = [part for part in music_files.read(path).instruments if not part.is_drum]
    found = [(note.start, note.end, note.pitch, note.velocity) for part in parts for note in part.notes]
    notes = np.array(sorted(found), np.float32).reshape(-1, 4)
    notes[:, :PITCH] -= notes[:1, START]
    return notes


def examine(path):
    """The notes of a file, its status ("ok", "unreadable" or "too_short"), and a sentence for one that is not ok."""
    try:
        notes = read(path)
    except MusCompError as error:
        return np.zeros((0, 4), np.float32), "unreadable", str(error)
    if len(notes) < LOWEST_COUNT:
        count = f"{len(notes)} note{'s' if len(notes) != 1 else ''}" if len(notes) else "no notes but drums"
        return notes, "too_short", f"It has {count}; {LOWEST_COUNT} are the least that are compared."
    return notes, "ok", ""
