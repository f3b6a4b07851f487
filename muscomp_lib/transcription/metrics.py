"""How right a transcription is, where the true notes are known. Used by 04, 05 and the benchmarks.

As the field counts (Bay, Ehmann and Downie 2009; MIREX), with mir_eval: a note is a **hit** if one of the same pitch
truly begins within 50 ms of it, each true note counting once. **F1** weighs hits against misses and extras: 1 when all
are hits, 0 when none is. The stricter figure wants the note's end right as well, to a fifth of its length.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from muscomp_lib import audio
from muscomp_lib.core import instruments
from muscomp_lib.core.errors import MidiError, MissingError
from muscomp_lib.core.progress import bar
from muscomp_lib.transcription import batches, network
from muscomp_lib.transcription.note_decoder import Note, heard

NEAR = 0.05  # seconds between onsets
SAME_PITCH = 50.0  # cents
LENGTH_SHARE = 0.2  # of a note's length that its end may be off
SHORTEST = 0.01  # seconds: mir_eval takes no notes without length


class Matched(NamedTuple):
    """`hits`: pairs of indices (true, found); `misses`: indices of true notes; `extras`: of those found."""

    hits: list
    misses: list
    extras: list

    @property
    def f1(self):
        """2 hits over 2 hits, misses and extras; nan where there was nothing to find and nothing was found."""
        weight = 2 * len(self.hits) + len(self.misses) + len(self.extras)
        return 2 * len(self.hits) / weight if weight else np.nan


def match(true, found, ends=False):
    """Compare notes of a pitched instrument.

    Parameters
    ----------
    true, found : list of transcriber.Note
    ends : bool
        Whether a hit has to end right as well.

    Returns
    -------
    Matched
    """
    import mir_eval

    pairs = []
    if true and found:
        notes = [arg for those in (true, found) for arg in (_intervals(those), _hertz(those))]
        options = {
            "onset_tolerance": NEAR,
            "pitch_tolerance": SAME_PITCH,
            "offset_ratio": LENGTH_SHARE if ends else None,
        }
        pairs = mir_eval.transcription.match_notes(*notes, **options)
    return _matched(pairs, len(true), len(found))


def match_strokes(true, found):
    """Compare the strokes of one drum: as `match`, whatever their pitch."""
    import mir_eval

    pairs = []
    if true and found:
        times = (np.array([note.start for note in those]) for those in (true, found))
        pairs = mir_eval.util.match_events(*times, NEAR)
    return _matched(pairs, len(true), len(found))


def by_drum(notes):
    """Strokes by drum: {name: list of Note}, in the order of `note_network.DRUMS`. Others are left out."""
    return {drum: [note for note in notes if note.pitch in pitches] for drum, pitches in network.DRUMS.items()}


def true_notes(root, track, start=0.0, seconds=None):
    """What is truly played in a track of the data set, or in an excerpt of it.

    Parameters
    ----------
    root : drive.Root
    track : str
    start, seconds : float
        Where an excerpt begins and how long it is; times of notes count from there. None: to the end.

    Returns
    -------
    dict of str to list of Note
        By instrument; empty where it is not known: no such track, or its MIDI files are gone.
    """
    try:
        parts = batches.of_song(root, track)
        return {name: _within(part.notes, start, seconds) for name, part in parts.items()}
    except (MissingError, MidiError):
        return {}


def notes_of(midi, name):
    """The notes of a named track of a pretty_midi.PrettyMIDI: list of Note, in order of start."""
    tracks = (track for track in midi.instruments if track.name == name)
    return sorted(Note(n.start, n.end, n.pitch, n.velocity / 127) for track in tracks for n in track.notes)


def score(transcriber, parts, taxonomy):
    """F1 of parts whose notes are known.

    Parameters
    ----------
    transcriber : transcriber.Transcriber
    parts : list of note_examples.Part
    taxonomy : str

    Returns
    -------
    pd.DataFrame
        `instrument`, `notes` (how many truly), `f1`; drums by stroke, all others by note.
    """
    rows, known = [], instruments.load(taxonomy)
    for part in bar(parts, desc="scoring notes"):
        instrument = known[part.instrument]
        found = transcriber.notes(heard(*audio.read(part.audio)), instrument)
        true = _within(part.notes, 0.0, None)
        rows.append((part.instrument, len(true), match_either(true, found, instrument.is_drums).f1))
    return pd.DataFrame(rows, columns=["instrument", "notes", "f1"])


def match_either(true, found, is_drums):
    """`match`, with drums that are nearly the same taken for the same, and none that nobody writes."""
    if is_drums:
        pairs = zip(by_drum(true).values(), by_drum(found).values(), network.DRUMS.values(), strict=True)
        true, found = [], []
        for truly, those, pitches in pairs:
            true += [note._replace(pitch=pitches[0]) for note in truly]
            found += [note._replace(pitch=pitches[0]) for note in those]
    return match(true, found)


def _within(notes, start, seconds):
    """Rows of start, end, pitch and velocity as notes, those that begin in an excerpt."""
    inside = (notes[:, 0] >= start) & (notes[:, 0] < start + (np.inf if seconds is None else seconds))
    return [Note(begin - start, end - start, int(pitch), velocity) for begin, end, pitch, velocity in notes[inside]]


def _matched(pairs, n_true, n_found):
    met, used = ({pair[side] for pair in pairs} for side in (0, 1))
    misses, extras = (sorted(set(range(n)) - those) for n, those in ((n_true, met), (n_found, used)))
    return Matched(sorted(pairs), misses, extras)


def _intervals(notes):
    return np.array([(max(0.0, note.start), max(note.end, note.start + SHORTEST, SHORTEST)) for note in notes])


def _hertz(notes):
    return 440.0 * 2 ** ((np.array([note.pitch for note in notes]) - 69) / 12)
