"""Note metrics: how well a transcription agrees with the true notes. Used by notebooks 04, 05 and the benchmarks.

Conventions (Bay, Ehmann and Downie 2009; MIREX; computed with mir_eval): an estimated note is a **hit** if a true note
of the same pitch begins within 50 ms of it, and each true note counts once. **F1** is twice the hits over all true and
all estimated notes: 1 when all are hits, 0 when none is. The stricter variant also requires the offset to be right, to
a fifth of the note's length or 50 ms.

Known divergence: drums are compared by onset and class (`network.DRUM_PITCHES`); other percussion does not count.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from muscomp_lib import audio
from muscomp_lib.core import instruments
from muscomp_lib.core.errors import MidiError, MissingError
from muscomp_lib.core.progress import bar
from muscomp_lib.transcription import batches, network
from muscomp_lib.transcription.note_decoder import Note, to_mono

ONSET_TOLERANCE = 0.05  # seconds
PITCH_TOLERANCE = 50.0  # cents
OFFSET_RATIO = 0.2  # of a note's length
MIN_SECONDS = 0.01  # mir_eval refuses notes without length


class Matching(NamedTuple):
    """`hits`: pairs of indices (true, estimated); `misses`: indices of true notes; `extras`: of estimated ones."""

    hits: list
    misses: list
    extras: list

    @property
    def f1(self):
        """From 0 to 1; NaN where there are neither true nor estimated notes."""
        n_notes = 2 * len(self.hits) + len(self.misses) + len(self.extras)
        return 2 * len(self.hits) / n_notes if n_notes else np.nan


def match(true, estimated, offsets=False):
    """Match the notes of a pitched instrument.

    Parameters
    ----------
    true, estimated : list of Note
    offsets : bool
        Whether a hit's offset has to be right as well.

    Returns
    -------
    Matching
    """
    import mir_eval

    pairs = []
    if true and estimated:
        pairs = mir_eval.transcription.match_notes(
            *(_intervals(true), _hertz(true), _intervals(estimated), _hertz(estimated)),
            onset_tolerance=ONSET_TOLERANCE,
            pitch_tolerance=PITCH_TOLERANCE,
            offset_ratio=OFFSET_RATIO if offsets else None,
        )
    matched, used = ({pair[side] for pair in pairs} for side in (0, 1))
    misses, extras = (sorted(set(range(len(n))) - those) for n, those in ((true, matched), (estimated, used)))
    return Matching(sorted(pairs), misses, extras)


def match_instrument(true, estimated, is_drums):
    """Match the notes of any instrument; of drums, similar ones count as the same and others are left out."""
    if is_drums:
        true, estimated = _written(true), _written(estimated)
    return match(true, estimated)


def by_drum(hits):
    """Drum hits by drum: {name: list of Note}, in the order of `network.DRUM_PITCHES`; others are left out."""
    hits = _written(hits)
    return {drum: [hit for hit in hits if hit.pitch in pitches] for drum, pitches in network.DRUM_PITCHES.items()}


def true_notes(root, track, start=0.0, seconds=None, correct_octaves=True):
    """The true notes of a track of the data set, or of an excerpt of it.

    Parameters
    ----------
    root : Root
    track : str
    start, seconds : float
        Start and length of the excerpt, from which the notes' times count; without a length, to the end.
    correct_octaves : bool
        As for `batches.stems`.

    Returns
    -------
    dict of str to list of Note
        By instrument; empty where they are not known: no such track, or no MIDI files.
    """
    try:
        parts = batches.of_song(root, track, correct_octaves)
        return {name: _excerpt(part.notes, start, seconds) for name, part in parts.items()}
    except (MissingError, MidiError):
        return {}


def notes_of(midi, name):
    """The notes of a named track of a pretty_midi.PrettyMIDI: list of Note, in order of start."""
    tracks = (track for track in midi.instruments if track.name == name)
    return sorted(Note(n.start, n.end, n.pitch, n.velocity / 127) for track in tracks for n in track.notes)


def score(transcriber, parts, taxonomy):
    """Transcribe parts whose notes are known, and score them.

    Parameters
    ----------
    transcriber : note_decoder.Transcriber
    parts : list of batches.Part
    taxonomy : str

    Returns
    -------
    pd.DataFrame
        One row per part: `instrument`, `notes` (how many true ones), `f1`.
    """
    rows, known = [], instruments.load(taxonomy)
    for part in bar(parts, desc="scoring notes"):
        instrument = known[part.instrument]
        estimated = transcriber.notes(to_mono(*audio.read(part.audio)), instrument)
        true = _excerpt(part.notes, 0.0, None)
        rows.append((part.instrument, len(true), match_instrument(true, estimated, instrument.is_drums).f1))
    return pd.DataFrame(rows, columns=["instrument", "notes", "f1"])


def _written(hits):
    """Drum hits with the pitch that is written for their class; others are left out."""
    classes = network.WRITTEN_PITCH
    return [hit._replace(pitch=classes[hit.pitch]) for hit in hits if hit.pitch in classes]


def _excerpt(notes, start, seconds):
    """Rows of start, end, pitch and velocity as notes, those that begin in an excerpt."""
    inside = (notes[:, 0] >= start) & (notes[:, 0] < start + (np.inf if seconds is None else seconds))
    return [Note(begin - start, end - start, int(pitch), velocity) for begin, end, pitch, velocity in notes[inside]]


def _intervals(notes):
    """Start and end in seconds, as mir_eval takes them: shape (n_notes, 2)."""
    return np.array([(max(0.0, n.start), max(n.end, n.start + MIN_SECONDS, MIN_SECONDS)) for n in notes])


def _hertz(notes):
    return audio.to_hertz(np.array([note.pitch for note in notes]))
