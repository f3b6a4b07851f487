import re

import numpy as np
import pretty_midi
import pytest

from muscomp_lib import transcription
from muscomp_lib.notation import bars, beats


def drummed(strokes, start=0.0, beat=0.5, name="Drums"):
    """A transcription of strokes, {drum: beats}, over twenty beats."""
    midi = bars.empty(beats.Grid(start + beat * np.arange(20), 4, 0), None)
    drums = pretty_midi.Instrument(0, is_drum=True, name=name)
    times = [(drum, start + beat * place) for drum, places in strokes.items() for place in places]
    drums.notes = [pretty_midi.Note(90, drum, time, time + 0.05) for drum, time in times]
    midi.instruments.append(drums)
    return midi


def voices(part):
    """{number of the voice: its [bar]} of a part that music21 has read; of bars without voices, number "1"."""
    bars_of = part.getElementsByClass("Measure")
    numbers = sorted({voice.id for bar in bars_of for voice in bar.voices}) or ["1"]
    return {
        number: [{voice.id: voice for voice in bar.voices}.get(number, bar) for bar in bars_of] for number in numbers
    }


@pytest.fixture
def written(tmp_path):
    """Write a score; music21's reading of it, and its text."""

    def write(midi):
        import music21

        transcription.write_score(midi, tmp_path / "a.musicxml", "a")
        return music21.converter.parse(tmp_path / "a.musicxml").parts, (tmp_path / "a.musicxml").read_text()

    return write


@pytest.mark.parametrize("start", [0.0, 0.2])
def test_drums_are_written_as_drummers_read_them(start, written):
    import music21

    hats, snares, kicks = (list(np.arange(first, 8, step)) for first, step in ((0, 0.5), (1, 2), (0, 2)))
    (part,), text = written(drummed({42: hats, 38: snares, 36: kicks}, start))
    assert isinstance(part.flatten().getElementsByClass("Clef").first(), music21.clef.PercussionClef)
    hands, feet = ([note for bar in its for note in bar.notes] for its in voices(part).values())
    assert [note.getOffsetInHierarchy(part) for note in hands] == hats
    assert [note.getOffsetInHierarchy(part) for note in feet] == kicks
    snare_and_hat = sorted((note.displayStep, note.displayOctave, note.notehead) for note in hands[2].notes)
    assert snare_and_hat == [("C", 5, "normal"), ("G", 5, "x")]
    sounds = dict(
        re.findall(r'<midi-instrument id="(\w+)">\s*<midi-channel>10</midi-channel>\s*<midi-unpitched>(\d+)', text)
    )
    assert sorted(sounds.values()) == ["37", "39", "43"]  # from 1
    heard = re.findall(r'<display-step>(.)<(?:(?!</note>).)*?<instrument id="(\w+)"', text, re.DOTALL)
    assert {(step, sounds[which]) for step, which in heard} == {("F", "37"), ("C", "39"), ("G", "43")}


def test_hands_and_feet_are_voices_that_fill_each_bar(written):
    strokes = {
        42: [*range(4), 8, 8.5],
        47: [14, 14 + 1 / 3, 14 + 2 / 3],
        36: [0, 1.5, 2, 8, *np.arange(16, 20)],
        44: [9],
    }
    (part,), text = written(drummed(strokes))
    read = voices(part)
    for number, stem in (("1", "up"), ("2", "down")):
        assert len(read[number]) == 5
        assert all(sum(each.quarterLength for each in bar.notesAndRests) == 4 for bar in read[number])
        assert {note.stemDirection for bar in read[number] for note in bar.notes} == {stem}
    places = {n: [s.getOffsetInHierarchy(part) for bar in its for s in bar.notes] for n, its in read.items()}
    assert places["1"] == pytest.approx(strokes[42] + strokes[47])
    assert places["2"] == sorted(strokes[36] + strokes[44])
    assert text.count('print-object="no"') == 3, "feet in the second and fourth bar, hands in the last"


def test_strokes_a_little_apart_are_one_chord(written):
    strokes = {42: np.arange(8.0), 38: [0.98, 3.02, 5.015, 6.99], 36: [0.01, 2.02, 4.0, 6.0]}
    (part,), _ = written(drummed(strokes))
    hands, feet = ([note for bar in its for note in bar.notesAndRests] for its in voices(part).values())
    assert [note.quarterLength for note in hands] == 8 * [1]
    assert [note.isRest for note in feet] == 4 * [False, True]


def test_control_characters_in_a_name_become_spaces(written):
    (part,), _ = written(drummed({38: range(4)}, name="Dr\x07ums\n"))
    assert part.partName.split() == ["Dr", "ums"]


def test_parts_keep_names_that_music21_knows(written):
    names = {"Glockenspiel": 8, "bass": 33, "Lead Guitar": 29, "Rhythm Guitar": 29, "piano": 4}
    midi = bars.empty(beats.Grid(0.5 * np.arange(20), 4, 0), None)
    for name, program in names.items():
        midi.instruments.append(pretty_midi.Instrument(program, name=name))
        midi.instruments[-1].notes = [pretty_midi.Note(90, 60, time, time + 0.5) for time in range(4)]
    parts, _ = written(midi)
    assert [part.partName for part in parts] == list(names)


@pytest.mark.parametrize(("drum", "n_strokes"), [(38, 4), (36, 4)])
def test_hands_or_feet_alone_are_one_voice(written, drum, n_strokes):
    (part,), text = written(drummed({drum: range(n_strokes)}))
    assert part.partName == "Drums" and "<voice>2" not in text
    assert len(part.flatten().notes) == n_strokes


def test_a_score_begins_with_the_first_beat(tmp_path):
    import music21

    midi = bars.empty(beats.Grid(0.3 + 0.6 * np.arange(40), 4, 0), None)
    midi.instruments.append(pretty_midi.Instrument(0))
    midi.instruments[0].notes += [pretty_midi.Note(100, 60, 0.3 + 0.6 * n, 0.85 + 0.6 * n) for n in range(8)]
    transcription.write_score(midi, tmp_path / "a.musicxml", "a")
    (part,) = music21.converter.parse(tmp_path / "a.musicxml").parts
    assert [note.offset for note in part.flatten().notes] == list(range(8))
    assert [sign.ratioString for sign in part.flatten().getElementsByClass("TimeSignature")] == ["4/4"]


@pytest.mark.parametrize(
    ("grid", "first_bars"),
    [
        (beats.Grid(0.4 + 0.5 * np.arange(20), 4, 0), [(0, 0), (1, 1), (2, 5)]),
        (beats.Grid(0.4 + 0.5 * np.arange(20), 4, 1), [(0, 0), (1, 2), (2, 6)]),
        (beats.Grid(0.4 + 0.5 * np.arange(20), 4, 3), [(1, 0), (2, 4), (3, 8)]),
    ],
    ids=["no pickup", "a pickup", "a whole bar"],
)
def test_notes_before_the_first_beat_are_its_pickup(written, grid, first_bars):
    midi = bars.empty(grid, None)
    midi.instruments = [melody(40, range(9), grid), melody(0, range(4), grid)]
    starts = {60: 0.03, 62: 0.14, 64: 0.28}
    midi.instruments[0].notes += [pretty_midi.Note(90, pitch, at, at + 0.1) for pitch, at in starts.items()]
    (violin, piano), _ = written(midi)
    places = [(n.getOffsetInHierarchy(violin), [p.midi for p in n.pitches]) for n in violin.recurse().notes]
    assert places == [(0.25, [60]), (0.5, [62]), (0.75, [64]), *((float(n), [60]) for n in range(1, 10))]
    assert [note.getOffsetInHierarchy(piano) for note in piano.recurse().notes] == [1, 2, 3, 4]
    for part in (violin, piano):
        assert [sign.ratioString for sign in part.recurse().getElementsByClass("TimeSignature")] == ["4/4"]
        assert [bar[:2] for bar in bars_of(part)][:3] == first_bars


def test_a_note_a_little_early_is_on_the_first_beat(written):
    midi = drummed({38: range(8)}, start=0.2)
    midi.instruments[0].notes[0].start -= 0.05
    (part,), _ = written(midi)
    assert [note.getOffsetInHierarchy(part) for note in part.recurse().notes] == list(range(8))


def test_triplets_of_quarters_are_no_place_in_six_eight(written):
    midi = drummed({38: [0, 1 / 3, 2 / 3, 4 / 3]})
    midi.time_signature_changes[:] = [pretty_midi.TimeSignature(6, 8, 0.0)]
    (part,), _ = written(midi)
    assert [note.offset for note in part.flatten().notes] == [0, 0.25, 0.75, 1.25]


@pytest.mark.parametrize(("n_beats", "signature"), [(2, "6/8"), (4, "12/8")])
def test_compound_metres_are_beamed_in_threes(n_beats, signature, written):
    midi = bars.empty(beats.Grid(0.3 + np.arange(20.0), n_beats, 0, compound=True), None)
    midi.instruments.append(pretty_midi.Instrument(0))
    midi.instruments[0].notes += [pretty_midi.Note(90, 60, 0.3 + n / 3, 0.6 + n / 3) for n in range(12)]
    (part,), _ = written(midi)
    assert part.flatten().getElementsByClass("TimeSignature").first().ratioString == signature
    beams = [[beam.type for beam in note.beams] for note in part.flatten().notes]
    assert beams[:6] == 2 * [["start"], ["continue"], ["stop"]]


def test_seven_eight_has_seven_eighths_to_a_bar(written):
    midi = bars.empty(beats.Grid(0.1 + 0.25 * np.arange(43), 7, 0, eighths=True), None)
    midi.instruments.append(pretty_midi.Instrument(0))
    midi.instruments[0].notes += [pretty_midi.Note(90, 60, 0.1 + n / 4, 0.32 + n / 4) for n in range(42)]
    (part,), _ = written(midi)
    assert part.flatten().getElementsByClass("TimeSignature").first().ratioString == "7/8"
    assert [len(bar.notes) for bar in part.getElementsByClass("Measure")] == 6 * [7]


def overfull(text):
    """The numbers of bars in which a voice of a MusicXML file outlasts 4/4; music21 divides a quarter by 10080."""
    from xml.etree import ElementTree

    found = []
    for bar in ElementTree.fromstring(text).iter("measure"):
        place = 0
        for each in bar.iterfind("*"):
            lasts = 0 if each.find("chord") is not None else int(each.findtext("duration") or 0)
            place += -lasts if each.tag == "backup" else lasts
            found += [bar.get("number")] if place > 4 * 10080 else []
    return found


def test_overlapping_notes_lie_in_voices_of_full_bars(written):
    midi = bars.empty(beats.Grid(0.5 * np.arange(40), 4, 0), None)
    played = [(48, 0, 19), (52, 1, 3), (55, 2, 6), (60, 4, 5), (64, 4, 12), (67, 7, 9)]  # pitch, beats
    midi.instruments.append(pretty_midi.Instrument(0))
    midi.instruments[0].notes = [pretty_midi.Note(90, pitch, 0.5 * start, 0.5 * end) for pitch, start, end in played]
    (part,), text = written(midi)
    assert overfull(text) == []
    pieces = [(n.pitch.midi, n.getOffsetInHierarchy(part), n) for n in part.recurse().notes]
    begun = [(pitch, start) for pitch, start, n in pieces if not n.tie or n.tie.type == "start"]
    assert sorted(begun) == [(pitch, start) for pitch, start, _ in played]
    lengths = {pitch: sum(n.quarterLength for its, _, n in pieces if its == pitch) for pitch, *_ in played}
    assert lengths == {pitch: end - start for pitch, start, end in played}


def test_a_chord_has_a_pitch_once(written):
    midi = bars.empty(beats.Grid(0.3 + 0.5 * np.arange(20), 4, 0), None)
    played = [(60, 0.27, 0.3), (60, 0.31, 0.34), (60, 0.34, 0.8), (64, 0.3, 0.8), (60, 0.8, 0.83), (60, 0.84, 0.9)]
    midi.instruments.append(pretty_midi.Instrument(0))
    midi.instruments[0].notes = [pretty_midi.Note(90, pitch, start, end) for pitch, start, end in played]
    (part,), _ = written(midi)
    sounds = [(n.offset, n.quarterLength, sorted(p.midi for p in n.pitches)) for n in part.flatten().notes]
    assert sounds == [(0, 1, [60, 64]), (1, 0.25, [60])]


def test_the_notes_of_a_played_run_are_no_chords(written):
    rng = np.random.default_rng(0)
    midi = bars.empty(beats.Grid(0.5 * np.arange(20), 4, 0), None)
    midi.instruments.append(pretty_midi.Instrument(0))
    starts = (0.125 * np.arange(32) + rng.normal(0, 0.01, 32)).clip(0)
    notes = [pretty_midi.Note(90, 60 + n % 8, start, start + 0.12) for n, start in enumerate(starts)]
    midi.instruments[0].notes = notes
    (part,), _ = written(midi)
    found = [(n.getOffsetInHierarchy(part), [p.midi for p in n.pitches]) for n in part.recurse().notes]
    assert found == [(n / 4, [60 + n % 8]) for n in range(32)]


def melody(program, places, grid, beat=0.5, name="", pitch=60):
    """A track of notes that last from each place to the next, in beats of a grid from its first one on."""
    track = pretty_midi.Instrument(program, name=name)
    times = [grid.times[0] + beat * place for place in places]
    track.notes = [pretty_midi.Note(90, pitch, time, time + 0.9 * beat) for time in times]
    return track


def bars_of(part):
    """[(number, the quarters that it begins at, whether it has notes)] for each bar of a part."""
    return [(bar.number, bar.offset, bool(bar.recurse().notes)) for bar in part.getElementsByClass("Measure")]


def test_parts_end_together_whatever_their_last_notes(written):
    midi = drummed({36: range(16), 42: range(20)})
    midi.instruments.append(melody(40, range(2), beats.Grid(0.5 * np.arange(20), 4, 0)))
    (drums, violin), text = written(midi)
    assert bars_of(drums) == [(number, 4 * number - 4, True) for number in range(1, 6)]
    assert bars_of(violin) == [(number, 4 * number - 4, number == 1) for number in range(1, 6)]
    assert text.count("light-heavy") == 2 and text.rindex("<measure") < text.rindex("light-heavy")


def test_a_part_that_ends_early_changes_metre_with_the_others(written):
    grid = beats.Grid(0.5 * np.arange(24), 5, 3, changes=((13, 3),))
    midi = bars.empty(grid, None)
    midi.instruments = [melody(40, range(3), grid), melody(0, range(23), grid)]
    parts, _ = written(midi)
    for part in parts:
        lengths = [bar.barDuration.quarterLength for bar in part.getElementsByClass("Measure")]
        assert [bar[1] for bar in bars_of(part)] == [0, 3, 8, 13, 16, 19, 22]
        assert lengths[1:] == [5, 5, 3, 3, 3, 3]


@pytest.mark.parametrize(("compound", "signature"), [(False, "4/4"), (True, "12/8")])
def test_a_pickup_is_an_incomplete_bar_without_number(written, compound, signature):
    grid = beats.Grid(0.3 + 0.5 * np.arange(20), 4, 1, compound=compound)
    midi = bars.empty(grid, None)
    midi.instruments = [melody(40, range(9), grid), melody(0, range(4), grid)]
    parts, text = written(midi)
    for part in parts:
        assert [sign.ratioString for sign in part.recurse().getElementsByClass("TimeSignature")] == [signature]
        assert [bar[:2] for bar in bars_of(part)] == [(0, 0), *((n, grid.quarters * (4 * n - 3)) for n in (1, 2))]
    assert re.findall(r'<measure implicit="(\w+)" number="(\d)"', text)[:2] == [("yes", "0"), ("no", "1")]


@pytest.mark.parametrize(
    ("program", "name", "written_pitch", "sharps"),
    [
        (56, "Sax", 62, 4), (65, "Alto", 69, 5), (71, "", 62, 4), (72, "Piccolo", 48, 2), (43, "Basso", 72, 2),
        (34, "Electric_Bass_pick", 60, 2), (40, "Clarinet", 60, 2),
    ],
)  # fmt: skip
def test_transposing_instruments_are_written_as_they_are_read(written, program, name, written_pitch, sharps):
    midi = bars.empty(beats.Grid(0.5 * np.arange(20), 4, 0), 2)
    midi.instruments = [melody(program, range(4), beats.Grid(0.5 * np.arange(20), 4, 0), name=name)]
    (part,), text = written(midi)
    assert [note.pitch.midi for note in part.flatten().notes] == 4 * [written_pitch]
    assert part.flatten().getElementsByClass("KeySignature").first().sharps == sharps
    assert ("<transpose>" in text) == (written_pitch != 60)
    sounding = part.toSoundingPitch().flatten()
    assert [note.pitch.midi for note in sounding.notes] == 4 * [60]
    assert sounding.getElementsByClass("KeySignature").first().sharps == 2


@pytest.mark.parametrize(("compound", "units"), [(False, 1), (True, 1.5)])
def test_the_tempo_is_shown_once_in_beats(written, compound, units):
    times = np.cumsum(0.6 + 0.01 * np.cos(np.arange(20)))
    midi = bars.empty(beats.Grid(times, 4, 0, compound=compound), None)
    midi.instruments = [melody(40, range(16), beats.Grid(times, 4, 0), beat=0.6)]
    (part,), text = written(midi)
    mark = part.flatten().getElementsByClass("MetronomeMark").first()
    assert (mark.number, mark.referent.quarterLength) == (100, units)
    played = [float(tempo) for tempo in re.findall(r'<sound tempo="([\d.]+)"', text)]
    assert text.count("<metronome") == 1 and len(played) > 10
    assert played == pytest.approx(len(played) * [100 * units], rel=0.03)


def test_a_song_without_notes_is_written_without_a_warning(written, recwarn):
    parts, _ = written(bars.empty(None, None))
    assert not list(recwarn) and not [note for part in parts for note in part.recurse().notes]
