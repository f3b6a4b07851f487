import pretty_midi
import pytest

from muscomp_lib.notation import chords

TRIADS = {"C": (48, 52, 55), "Am": (45, 48, 52), "F": (41, 45, 48), "E♭": (51, 55, 58), "F♯m": (54, 57, 61)}


def song(*bars):
    """A song whose bars of 2 s hold these notes: [(pitch, start, end)] with times in the bar."""
    midi = pretty_midi.PrettyMIDI()
    midi.instruments += [pretty_midi.Instrument(0), pretty_midi.Instrument(0, is_drum=True)]
    for number, notes in enumerate(bars):
        shift = 2.0 * number
        midi.instruments[0].notes += [pretty_midi.Note(90, p, shift + begin, shift + end) for p, begin, end in notes]
        midi.instruments[1].notes.append(pretty_midi.Note(90, 38, shift, shift + 2.0))  # on a D, were it a pitch
    return midi


def named(*bars):
    return chords.of_bars(song(*bars), [2.0 * number for number in range(len(bars))], 2.0 * len(bars))


def held(name, *more):
    return [(pitch, 0.0, 2.0) for pitch in (*TRIADS[name], *more)]


def test_a_progression_is_named_bar_by_bar():
    assert named(*map(held, TRIADS)) == list(TRIADS)


def test_a_broken_chord_has_the_same_name():
    broken = [(pitch, 0.5 * beat, 0.5 * beat + 0.5) for beat, pitch in enumerate((48, 55, 60, 64))]
    assert named(broken, held("C", 60, 64)) == ["C", "C"]


@pytest.mark.parametrize(
    "notes",
    [
        [],
        [(60, 0, 2), (67, 0, 2)],  # no third
        [(60 + step, 0.25 * step, 0.25 * step + 0.25) for step in range(8)],  # a chromatic scale
        [(pitch, 0, 1) for pitch in TRIADS["C"]] + [(pitch, 1, 2) for pitch in TRIADS["E♭"]],
    ],
    ids=["silence", "fifth", "scale", "two chords"],
)
def test_a_bar_without_a_clear_chord_stays_blank(notes):
    assert named(notes) == [""]


def test_a_note_counts_where_it_sounds():
    tied = [(pitch, 0.0, 4.0) for pitch in TRIADS["Am"]]
    assert named(tied, []) == ["Am", "Am"]


def test_a_song_without_notes_has_no_chords():
    assert chords.of_bars(pretty_midi.PrettyMIDI(), [0.0, 2.0], 4.0) == ["", ""]
