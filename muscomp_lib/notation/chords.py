"""The chords of a song, bar by bar, from its notes. The mixer of notebook 05 shows them above the waveforms.

A bar's notes, each as long as it sounds in the bar, are compared with the three notes of each major and minor chord. A
chord is named only where it is clear: its notes are most of what sounds, its third is among them, and no other chord
fits nearly as well. Other bars stay blank: those with two chords, chords without a third, many inversions, and melodies
alone. Sevenths and other added notes are not named. docs/demo.md has how many are right.
"""

import numpy as np

TRIADS = {"": (0, 4, 7), "m": (0, 3, 7)}
ROOTS = {  # as they are mostly spelled
    "": ["C", "D♭", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B"],
    "m": ["C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "G♯", "A", "B♭", "B"],
}
BASS_WEIGHT = 0.5  # of the lowest notes, which are mostly roots, beside all notes
MIN_SHARE = 0.75  # of what sounds, that a chord's notes must be ...
MIN_THIRD = 0.08  # ... and its third
MARGIN = 0.08  # by how much it has to fit better than any other


def of_bars(midi, bars, end):
    """Name the chord of each bar.

    Parameters
    ----------
    midi : pretty_midi.PrettyMIDI
        Its drums do not count.
    bars : list of float
        Where bars begin, in seconds, ascending.
    end : float
        Of the last bar, in seconds.

    Returns
    -------
    list of str
        A name for each bar, such as "A♭" or "Cm"; "" where no chord is clear.
    """
    notes = [note for track in midi.instruments if not track.is_drum for note in track.notes]
    rows = np.array([(note.start, note.end, note.pitch) for note in notes]).reshape(-1, 3)
    return [_name(*_shares(rows, *bar)) for bar in zip(bars, [*bars[1:], end], strict=True)]


def _shares(rows, start, end):
    """The share of each pitch class in what sounds between two times, and in what is lowest there: (12,) each."""
    lasts = np.minimum(rows[:, 1], end) - np.maximum(rows[:, 0], start)
    sounding = rows[lasts > 0]
    lasts, pitches = lasts[lasts > 0], sounding[:, 2].astype(int)
    lowest = pitches <= min(pitches, default=0) + 7
    return [np.bincount(pitches[some] % 12, lasts[some], 12) / max(lasts[some].sum(), 1e-9) for some in (..., lowest)]


def _name(shares, bass):
    found = []
    for kind, steps in TRIADS.items():
        for root, name in enumerate(ROOTS[kind]):
            share, third = shares[[(root + step) % 12 for step in steps]].sum(), shares[(root + steps[1]) % 12]
            found.append((share + BASS_WEIGHT * bass[root], share >= MIN_SHARE and third >= MIN_THIRD, name + kind))
    (best, is_clear, name), (second, *_) = sorted(found, reverse=True)[:2]
    return name if is_clear and best - second >= MARGIN else ""
