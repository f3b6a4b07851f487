"""Scores in MusicXML and Humdrum, as programs and people write them: which notes they sound, and what is refused."""

import re
import zipfile

import numpy as np
import pytest

from muscomp_lib.composers import scores
from muscomp_lib.core.errors import MidiError
from muscomp_lib.music_files import score_file


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MUSCOMP_CACHE", str(tmp_path / "cache"))


def test_ties_that_are_marked_on_one_side_only_are_joined():
    import music21

    for marks in (("start", None), (None, "stop"), ("start", "stop")):
        part = music21.stream.Part()
        for pitch, mark in zip(("C4", "C4", "C4", "D4"), (*marks, None, None), strict=True):
            note = music21.note.Note(pitch, quarterLength=1)
            note.tie = mark and music21.tie.Tie(mark)
            part.append(note)
        assert score_file._notes(*score_file._played([part], False)) == [[60, 0.0, 2.0], [60, 2.0, 3.0], [62, 3.0, 4.0]]


@pytest.mark.parametrize("name", ["song.gp5", "song.mscz", "song.abc", "song"])
def test_files_of_other_programs_are_to_be_exported(tmp_path, name):
    (tmp_path / name).write_bytes(b"PK\3\4")
    with pytest.raises(MidiError, match=rf"{name} cannot be used: MIDI files and .* export it as MIDI or MusicXML"):
        scores.read(tmp_path / name)


def test_a_zipped_score_that_would_fill_the_memory_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.mxl", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("score.xml", bytes(int(score_file.LARGEST_SCORE) + 1))
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
    np.testing.assert_allclose(lengths, [12 * 60 / score_file.SCORE_TEMPO] * 8 + [2 * 60 / score_file.SCORE_TEMPO] * 2)


def test_notes_of_transposing_instruments_are_those_that_sound(tmp_path):
    import music21

    part = music21.stream.Part([music21.instrument.Clarinet(), music21.note.Note("C4"), music21.note.Note("D4")])
    part.partName = "Кларнет"  # MIDI files take Latin-1 only
    part.atSoundingPitch = False
    music21.stream.Score([part]).write("musicxml", tmp_path / "a.musicxml")
    midi = score_file.read(tmp_path / "a.musicxml")
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
        score_file.read(tmp_path / "a.mxl")


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


CONTAINER = '<container><rootfiles><rootfile full-path="{}"/></rootfiles></container>'


@pytest.mark.parametrize(
    ("name", "container", "score"),
    [
        ("a.mxl", CONTAINER.format("score.xml"), "score.xml"),
        ("a.MXL", CONTAINER.format("score.musicxml"), "score.musicxml"),
        ("a.mxl", CONTAINER.format("sub/score &amp; parts"), "sub/score & parts"),
        ("a.mxl", CONTAINER.format(r"sub\score.xml"), "sub/score.xml"),
        ("a.mxl", CONTAINER.format("gone.xml"), "score.xml"),
        ("a.mxl", None, "score.musicxml"),
        ("a.musicxml", None, "score.xml"),
    ],
    ids=["usual", "capitals", "no suffix", "backslash", "wrong container", "no container", "not named as zipped"],
)
def test_the_score_of_an_archive_is_read(tmp_path, name, container, score):
    written_score(tmp_path / "score.musicxml")
    with zipfile.ZipFile(tmp_path / name, "w") as archive:
        archive.writestr("__MACOSX/._score.xml", b"\0\5\x16\7")
        archive.writestr("layout.xml" if container == CONTAINER.format(score) else "layout.txt", "<layout/>")
        if container:
            archive.writestr("META-INF/container.xml", container)
        archive.write(tmp_path / "score.musicxml", score)
    assert len(scores.read(tmp_path / name)) == 24


def test_an_archive_without_a_score_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.mxl", "w") as archive:
        archive.writestr("readme.txt", "")
    with pytest.raises(MidiError, match=r"a\.mxl is an archive without a score"):
        scores.read(tmp_path / "a.mxl")


@pytest.mark.parametrize("suffix", ["musicxml", "XML", "krn", "KRN"])
def test_scores_are_read_whatever_case_their_suffix_has(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    if suffix.lower() == "krn":
        path.write_text("**kern\n" + 24 * "4c\n" + "*-\n")
    else:
        path.write_text("\n" + written_score(tmp_path / "b.musicxml").read_text())  # as after a page's blank line
    assert len(scores.read(path)) == 24


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
        ('<sound tempo="-3"/>', score_file.SCORE_TEMPO),
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


@pytest.mark.parametrize(
    ("name", "program", "read"), [("Piano", 1, 0), ("Piano", 3, 2), ("E.P.", 5, 4), ("Violin", 1, 40)]
)
def test_a_scores_pianos_keep_their_programs(tmp_path, name, program, read):
    sound = f"<midi-channel>1</midi-channel><midi-program>{program}</midi-program>"
    part = f'<score-instrument id="I1"><instrument-name>{name}</instrument-name></score-instrument>'
    part += f'<midi-instrument id="I1">{sound}</midi-instrument>'
    midi = score_file.read(written_score(tmp_path / "a.musicxml", part=part))
    assert [each.program for each in midi.instruments] == [read]


@pytest.mark.parametrize(
    ("name", "program"),
    [("Violino II", 40), ("Trompete in B", 56), ("Contrabass", 43), ("E-Bass", 33), ("Bass", 53), ("フルート", 73)],
)
def test_parts_without_a_program_play_what_they_are_called(tmp_path, name, program):
    path = written_score(tmp_path / "a.musicxml")
    path.write_text(path.read_text().replace("One", name), encoding="utf-8")
    assert [part.program for part in score_file.read(path).instruments] == [program]
    path.write_text(path.read_text("utf-8").replace(name, "Drumset"), encoding="utf-8")
    with pytest.raises(MidiError, match="drums alone"):
        score_file.read(path)


@pytest.mark.parametrize("name", ["Snare Drum", "Gran Cassa", "Triangle", "Cymbals"])
def test_parts_called_like_a_drum_are_no_pitches(tmp_path, name):
    path = written_score(tmp_path / "a.musicxml")
    path.write_text(path.read_text("utf-8").replace("One", name), encoding="utf-8")
    with pytest.raises(MidiError, match="holds no notes, or drums alone"):
        score_file.read(path)


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


NOTE = "<note>{}<pitch><step>{}</step><octave>4</octave></pitch><duration>1</duration>{}<type>quarter</type>{}</note>"
TREBLE = "<clef><sign>G</sign><line>2</line></clef>"


def notes(steps, before="", after="", end=""):
    """A bar's quarter notes in MusicXML."""
    return "".join(NOTE.format(before, step, after, end) for step in steps)


def document(*bars, attributes="<divisions>1</divisions>"):
    """A MusicXML document of one part, whose bars are given."""
    first, *others = bars
    bars = [f"<attributes>{attributes}</attributes>{first}", *others]
    body = "".join(f'<measure number="{number}">{bar}</measure>' for number, bar in enumerate(bars, start=1))
    listed = '<part-list><score-part id="P1"><part-name/></score-part></part-list>'
    return f'<score-partwise>{listed}<part id="P1">{body}</part></score-partwise>'


def played(path, text, repeats=False):
    """What is played of a MusicXML document: [(quarters, steps)], in the order of time."""
    path.write_text(f'<?xml version="1.0"?>{text}')
    midi, found = score_file.read(path, repeats), {}
    for note in (note for part in midi.instruments for note in part.notes):
        assert note.end > note.start
        quarters = round(note.start * score_file.SCORE_TEMPO / 60, 3)
        found[quarters] = found.get(quarters, "") + "C.D.EF.G.A.B"[note.pitch % 12]
    return sorted(found.items())


@pytest.mark.parametrize(
    "unplayed",
    [
        notes("GABG", before="<cue/>"),
        notes("G", before="<cue/>") + notes("B", before="<cue/><chord/>") + notes("ABG", before="<cue/>"),
        notes("GABG", end="<notehead>slash</notehead>"),
        f"<attributes><clef><sign>percussion</sign></clef></attributes>{notes('GABG')}"
        f"<attributes>{TREBLE}</attributes>",
    ],
    ids=["cue notes", "cue chord", "slashes", "drums late in a part"],
)
def test_what_is_not_played_of_a_score_are_rests(tmp_path, unplayed):
    found = played(tmp_path / "a.musicxml", document(notes("CDEF"), unplayed, notes("EDCC")))
    assert found == [(0, "C"), (1, "D"), (2, "E"), (3, "F"), (8, "E"), (9, "D"), (10, "C"), (11, "C")]


def test_a_part_may_begin_with_drums(tmp_path):
    attributes = "<divisions>1</divisions><clef><sign>percussion</sign></clef>"
    melody = f"<attributes>{TREBLE}</attributes>{notes('CD')}"
    assert played(tmp_path / "a.musicxml", document(notes("GGGG"), melody, attributes=attributes)) == [
        (4, "C"),
        (5, "D"),
    ]


@pytest.mark.parametrize(("clef", "lower"), [("<sign>F</sign>", "A"), ("<sign>TAB</sign>", "")])
def test_the_staves_of_a_part_hold_their_own_notes(tmp_path, clef, lower):
    attributes = f"<divisions>1</divisions><staves>2</staves>{TREBLE}<clef number='2'>{clef}</clef>"
    below = "<backup><duration>1</duration></backup>" + notes("A", end="<staff>2</staff>")
    assert played(tmp_path / "a.musicxml", document(notes("C") + below, attributes=attributes)) == [(0, "C" + lower)]


@pytest.mark.parametrize("unit", [1, 480])
def test_durations_without_a_unit_are_those_of_types(tmp_path, unit):
    bar = notes("CD").replace("<duration>1<", f"<duration>{unit}<")
    assert played(tmp_path / "a.musicxml", document(bar, attributes="")) == [(0, "C"), (1, "D")]


def test_notes_without_a_duration_last_as_they_are_printed(tmp_path):
    printed = ["half</type>", "eighth</type><dot/>", "quarter</type>"]
    bar = "".join(notes("C").replace("quarter</type>", each) for each in printed).replace("<duration>1</duration>", "")
    bar += notes("D")
    assert played(tmp_path / "a.musicxml", document(bar)) == [(0, "C"), (2, "C"), (2.75, "C"), (3.75, "D")]


def test_odd_chord_symbols_and_lyrics_reject_no_score(tmp_path):
    odd = "<harmony><root><root-step>H</root-step></root><kind>major</kind></harmony>"
    bar = odd + notes("C", end="<stem>odd</stem><lyric><syllabic>odd</syllabic><text>la</text></lyric>")
    assert played(tmp_path / "a.musicxml", document(bar)) == [(0, "C")]


def test_scores_by_bars_and_with_a_namespace_are_read(tmp_path):
    listed = "".join(f'<score-part id="P{n}"><part-name/></score-part>' for n in (1, 2))
    unit = "<attributes><divisions>1</divisions></attributes>"
    bars = [
        f'<measure number="{n}"><part id="P1">{unit}{notes(first)}</part><part id="P2">{unit}{notes(second)}</part>'
        "</measure>"
        for n, (first, second) in enumerate([("CDEF", "EFGA"), ("G", "B")], start=1)
    ]
    text = f'<score-timewise xmlns="urn:a"><part-list>{listed}</part-list>{"".join(bars)}</score-timewise>'
    found = played(tmp_path / "a.musicxml", text)
    assert found == [(0, "CE"), (1, "DF"), (2, "EG"), (3, "FA"), (4, "GB")]


@pytest.mark.parametrize("bar", [notes("C"), "<note><rest/><duration>8</duration></note>"], ids=["short", "long"])
def test_bars_of_all_parts_begin_together(tmp_path, bar):
    text = document(notes("CDEF"), notes("GABG"))
    short = document(bar, notes("E")).replace("P1", "P2")
    listed, part = (re.search(pattern, short)[0] for pattern in ("<score-part .*</score-part>", "<part id.*</part>"))
    both = text.replace("</part-list>", f"{listed}</part-list>").replace(
        "</score-partwise>", f"{part}</score-partwise>"
    )
    assert played(tmp_path / "a.musicxml", both)[3:5] == [(3, "F"), (4, "GE")]


@pytest.mark.parametrize("listed", [r"<score-part .*</score-part>", "<part-list>.*</part-list>"])
def test_parts_that_are_not_listed_are_read(tmp_path, listed):
    assert played(tmp_path / "a.musicxml", re.sub(listed, "", document(notes("CD")))) == [(0, "C"), (1, "D")]


BACK = '<barline><repeat direction="backward"{}/></barline>'
WORDS = '<direction><direction-type><words>{}</words></direction-type><sound {}="yes"/></direction>'


def ending(number, bar, repeat=""):
    left, right = (f'<ending number="{number}" type="{kind}"/>' for kind in ("start", "stop"))
    return f'<barline location="left">{left}</barline>{bar}<barline location="right">{right}{repeat}</barline>'


@pytest.mark.parametrize(
    ("bars", "order"),
    [
        ([notes("C"), notes("D") + BACK.format(""), notes("E")], "CDCDE"),
        ([notes("C"), ending(1, notes("D"), '<repeat direction="backward"/>'), ending(2, notes("E"))], "CDCE"),
        ([notes("C"), notes("D") + WORDS.format("Fine", "fine"), notes("E") + WORDS.format("D.C. al Fine", "dacapo")],
         "CDECD"),
        ([notes("C"), notes("D") + BACK.format(' times="999999"')], "CD"),
        ([notes("C") + WORDS.format("D.S. al Coda", "dalsegno"), notes("D")], "CD"),
    ],
    ids=["repeat", "endings", "da capo", "a million times", "no segno"],
)  # fmt: skip
def test_a_score_that_sounds_has_its_repeats(tmp_path, bars, order):
    text = document(*bars)
    written = "".join(dict.fromkeys(order))
    assert "".join(step for _, step in played(tmp_path / "a.musicxml", text)) == written
    assert "".join(step for _, step in played(tmp_path / "a.musicxml", text, repeats=True)) == order


def test_tied_triplets_are_joined_in_repeats_too(tmp_path):
    triplet = "<time-modification><actual-notes>3</actual-notes><normal-notes>2</normal-notes></time-modification>"
    tied = notes("CC", end='<tie type="start"/><tie type="stop"/>' + triplet) + notes("C", end='<tie type="stop"/>')
    rests = 7 * "<note><rest/><duration>1</duration></note>"
    text = document(rests + tied, rests + tied + BACK.format(""), attributes="<divisions>3</divisions>")
    assert played(tmp_path / "a.musicxml", text, repeats=True) == [(2.333, "C"), (5.667, "C"), (9, "C"), (12.333, "C")]


@pytest.mark.parametrize("tempo", ["1e9", "0.001"])
def test_a_tempo_that_nobody_plays_is_none(tmp_path, tempo):
    found = scores.read(written_score(tmp_path / "a.musicxml", before=f'<sound tempo="{tempo}"/>'))
    assert found[1, scores.START] == pytest.approx(60 / score_file.SCORE_TEMPO)
