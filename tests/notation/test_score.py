import re

import numpy as np
import pretty_midi
import pytest

from muscomp_lib import transcription
from muscomp_lib.notation import bars, beats


@pytest.mark.parametrize("start", [0.0, 0.2])
def test_drums_are_written_as_drummers_read_them(start, tmp_path):
    import music21

    midi = bars.empty(beats.Grid(start + 0.5 * np.arange(20), 4, 0), None)
    drums = pretty_midi.Instrument(0, is_drum=True, name="Drums")
    for n in range(16):
        strokes = [42] + [36] * (n % 4 == 0) + [38] * (n % 4 == 2)
        drums.notes += [pretty_midi.Note(90, drum, start + n / 4, start + n / 4 + 0.05) for drum in strokes]
    midi.instruments.append(drums)
    transcription.write_score(midi, tmp_path / "a.musicxml", "a")
    (part,) = music21.converter.parse(tmp_path / "a.musicxml").parts
    assert isinstance(part.flatten().getElementsByClass("Clef").first(), music21.clef.PercussionClef)
    found = list(part.flatten().notes)
    assert [note.offset for note in found] == [n / 2 for n in range(16)] and not part.flatten().getElementsByClass(
        "Rest"
    )
    kick_and_hat = sorted((note.displayStep, note.displayOctave, note.notehead) for note in found[0].notes)
    assert kick_and_hat == [("F", 4, "normal"), ("G", 5, "x")]
    text = (tmp_path / "a.musicxml").read_text()
    sounds = dict(
        re.findall(r'<midi-instrument id="(\w+)">\s*<midi-channel>10</midi-channel>\s*<midi-unpitched>(\d+)', text)
    )
    assert sorted(sounds.values()) == ["37", "39", "43"]  # from 1
    heard = re.findall(r'<display-step>(.)<(?:(?!</note>).)*?<instrument id="(\w+)"', text, re.DOTALL)
    assert {(step, sounds[which]) for step, which in heard} == {("F", "37"), ("C", "39"), ("G", "43")}


def test_a_score_begins_with_the_first_beat(tmp_path):
    import music21

    midi = bars.empty(beats.Grid(0.3 + 0.6 * np.arange(40), 4, 0), None)
    midi.instruments.append(pretty_midi.Instrument(0))
    midi.instruments[0].notes += [pretty_midi.Note(100, 60, 0.3 + 0.6 * n, 0.85 + 0.6 * n) for n in range(8)]
    transcription.write_score(midi, tmp_path / "a.musicxml", "a")
    (part,) = music21.converter.parse(tmp_path / "a.musicxml").parts
    assert [note.offset for note in part.flatten().notes] == list(range(8))
    assert [sign.ratioString for sign in part.flatten().getElementsByClass("TimeSignature")] == ["4/4"]


def test_six_eight_is_beamed_in_threes(tmp_path):
    import music21

    midi = bars.empty(beats.Grid(0.3 + np.arange(20.0), 2, 0, compound=True), None)
    midi.instruments.append(pretty_midi.Instrument(0))
    midi.instruments[0].notes += [pretty_midi.Note(90, 60, 0.3 + n / 3, 0.6 + n / 3) for n in range(12)]
    transcription.write_score(midi, tmp_path / "a.musicxml", "a")
    (part,) = music21.converter.parse(tmp_path / "a.musicxml").parts
    assert part.flatten().getElementsByClass("TimeSignature").first().ratioString == "6/8"
    beams = [[beam.type for beam in note.beams] for note in part.flatten().notes]
    assert beams[:6] == 2 * [["start"], ["continue"], ["stop"]]
