"""Scores as notes: what is read, what is refused and why, and that nothing is read twice."""

import zipfile

import numpy as np
import pytest
from fixtures import tiny_composers

from muscomp_lib.composers import scores
from muscomp_lib.core.errors import MidiError
from muscomp_lib.minislakh import midi_songs


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MUSCOMP_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        ("broken.mid", "unreadable", "it is cut short"),
        ("broken.mxl", "unreadable", "cannot be read as music"),
        ("empty.mid", "unreadable", "it is empty"),
        ("silent.mid", "unreadable", "it has no notes"),
        ("one note.mid", "too_short", "It has 1 note; 20 are the least"),
        ("absent.mid", "unreadable", "is not there"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path, name, status, reason):
    folder = tiny_composers.write_unusable(tmp_path / "scores")
    _, found, note = scores.examine(folder / name)
    assert found == status and reason in note


def test_notes_begin_at_zero_and_are_kept_by_content(tmp_path, monkeypatch):
    path = tiny_composers.write_piece(tmp_path / "one.mid", "Scale")
    notes = scores.read(path)
    assert notes[0, scores.START] == 0 and (np.diff(notes[:, scores.START]) >= 0).all()
    monkeypatch.setattr(midi_songs, "read", None)  # a second reading would fail
    assert np.array_equal(scores.read(path.rename(tmp_path / "renamed.mid")), notes)


def test_ties_that_are_marked_on_one_side_only_are_joined():
    import music21

    for marks in (("start", None), (None, "stop"), ("start", "stop")):
        part = music21.stream.Part()
        for pitch, mark in zip(("C4", "C4", "C4", "D4"), (*marks, None, None), strict=True):
            note = music21.note.Note(pitch, quarterLength=1)
            note.tie = mark and music21.tie.Tie(mark)
            part.append(note)
        assert midi_songs._notes(part) == [[60, 0.0, 2.0], [60, 2.0, 3.0], [62, 3.0, 4.0]]


def test_a_zipped_score_that_would_fill_the_memory_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.mxl", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("score.xml", bytes(int(midi_songs.LARGEST_SCORE) + 1))
    with pytest.raises(MidiError, match="32 MB are the most"):
        scores.read(tmp_path / "bomb.mxl")


def test_a_tied_note_of_a_score_is_one_note(tmp_path):
    import music21

    part = music21.stream.Part()
    for number in range(24):
        tied = music21.note.Note("C4", quarterLength=4)
        tied.tie = music21.tie.Tie(("start", "continue", "stop")[number % 3])
        part.append(tied)
    chord = music21.chord.Chord(["E4", "G4"], quarterLength=2)
    part.append(chord)
    part.makeMeasures(inPlace=True)
    part.write("musicxml", tmp_path / "tied.musicxml")
    notes = scores.read(tmp_path / "tied.musicxml")
    lengths = notes[:, scores.END] - notes[:, scores.START]
    assert len(notes) == 8 + 2
    np.testing.assert_allclose(lengths, [12 * 60 / midi_songs.SCORE_TEMPO] * 8 + [2 * 60 / midi_songs.SCORE_TEMPO] * 2)


def test_notes_of_transposing_instruments_are_those_that_sound(tmp_path):
    import music21

    part = music21.stream.Part([music21.instrument.Clarinet(), music21.note.Note("C4"), music21.note.Note("D4")])
    part.partName = "Кларнет"  # MIDI files take Latin-1 only
    part.atSoundingPitch = False
    music21.stream.Score([part]).write("musicxml", tmp_path / "a.musicxml")
    midi = midi_songs.read(tmp_path / "a.musicxml")
    assert [note.pitch for note in midi.instruments[0].notes] == [58, 60]
    midi.write(str(tmp_path / "a.mid"))


def test_a_metronome_mark_counts_its_own_beats(tmp_path):
    import music21

    for number, (beat, seconds) in enumerate([("half", 0.5), ("quarter", 1.0), ("dotted quarter", 2 / 3)]):
        mark = music21.tempo.MetronomeMark(number=60, referent=music21.note.Note(type=beat.split()[-1]))
        mark.referent.dots = int(beat.startswith("dotted"))
        path = tmp_path / f"{number}.musicxml"
        music21.stream.Part([mark, music21.note.Note(), music21.note.Note()]).write("musicxml", path)
        assert scores.read(path)[1, scores.START] == pytest.approx(seconds)


def test_a_zipped_score_without_its_list_of_files_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.mxl", "w") as archive:
        archive.writestr("score.xml", "<score-partwise/>")
    content = (tmp_path / "a.mxl").read_bytes()
    (tmp_path / "a.mxl").write_bytes(content.replace(b"PK\1\2", b"XX\1\2"))
    with pytest.raises(MidiError, match=r"a\.mxl cannot be read as music"):
        midi_songs.read(tmp_path / "a.mxl")


def written_score(path, attributes="", before="", beats="4", part=""):
    """A MusicXML score of 24 quarter notes, in bars of four, as a notation program writes it."""
    note = "<note><pitch><step>C</step><octave>4</octave></pitch><duration>1</duration></note>"
    time = f"<time><beats>{beats}</beats><beat-type>4</beat-type></time>"
    start = f"<attributes><divisions>1</divisions>{time}{attributes}</attributes>{before}"
    bars = "".join(f'<measure number="{n}">{start * (n == 1)}{4 * note}</measure>' for n in range(1, 7))
    listed = f'<score-part id="P1"><part-name>One</part-name>{part}</score-part>'
    body = f'<score-partwise><part-list>{listed}</part-list><part id="P1">{bars}</part></score-partwise>'
    path.write_text(f'<?xml version="1.0"?>{body}')
    return path


@pytest.mark.parametrize(
    ("mark", "tempo"),
    [
        ('<sound tempo="120"/>', 120),
        ('<direction><direction-type><words>Fast</words></direction-type><sound tempo="120"/></direction>', 120),
        (
            "<direction><direction-type><metronome><beat-unit>half</beat-unit><per-minute>60</per-minute></metronome>"
            '</direction-type><sound tempo="90"/></direction>',
            120,
        ),
        ('<sound tempo="-3"/>', midi_songs.SCORE_TEMPO),
        (
            "<direction><direction-type><metronome><beat-unit>half</beat-unit><per-minute>ca. 75</per-minute>"
            '</metronome></direction-type><sound tempo="148"/></direction>',
            148,
        ),
        (
            "<direction><direction-type><metronome><beat-unit>half</beat-unit><per-minute>ca. 75</per-minute>"
            "</metronome></direction-type></direction>",
            150,
        ),
    ],
    ids=["in a bar", "with words", "written", "impossible", "about, played", "about"],
)
def test_a_scores_tempo_is_the_written_or_the_played_one(tmp_path, mark, tempo):
    notes = scores.read(written_score(tmp_path / "a.musicxml", before=mark))
    assert len(notes) == 24 and notes[-1, scores.START] == pytest.approx(23 * 60 / tempo)


@pytest.mark.parametrize(
    "how",
    [
        {"attributes": "<clef><sign>percussion</sign></clef>"},
        {
            "part": '<score-instrument id="I1"><instrument-name>Kit</instrument-name></score-instrument>'
            '<midi-instrument id="I1"><midi-channel>10</midi-channel><midi-program>1</midi-program></midi-instrument>'
        },
    ],
    ids=["clef", "channel"],
)
def test_drums_of_a_score_are_no_pitches(tmp_path, how):
    with pytest.raises(MidiError, match="holds no notes, or drums alone"):
        scores.read(written_score(tmp_path / "a.musicxml", **how))


def test_a_score_without_notes_is_refused(tmp_path):
    path = written_score(tmp_path / "a.musicxml")
    path.write_text(path.read_text().replace("<pitch><step>C</step><octave>4</octave></pitch>", "<rest/>"))
    with pytest.raises(MidiError, match="holds no notes, or drums alone"):
        scores.read(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize(("beats", "sum_of_beats"), [("999999", 999999), ("+".join(["1"] * 300), 300)])
def test_a_bar_of_hundreds_of_beats_is_refused_at_once(tmp_path, encoding, beats, sum_of_beats):
    path = written_score(tmp_path / "a.musicxml", beats=beats)
    path.write_text(path.read_text(), encoding=encoding)
    with pytest.raises(MidiError, match=rf"a\.musicxml has a bar of {sum_of_beats} beats"):
        scores.read(path)
