"""MIDI files: odd ones are read, broken ones are refused with the reason."""

import struct
from functools import cache
from pathlib import Path

import mido
import pytest

from muscomp_lib.core.errors import MidiError, MissingError
from muscomp_lib.music_files import midi_file

ODD_MIDI = Path(__file__).parents[3] / "shared" / "data" / "odd_midi"


def written(path, tracks, kind=1):
    """A MIDI file of the given tracks (lists of messages)."""
    file = mido.MidiFile(type=kind)
    file.tracks += [mido.MidiTrack(messages) for messages in tracks]
    file.save(path)
    return path


def note(pitch, channel=0, program=None, length=480):
    begin = [] if program is None else [mido.Message("program_change", channel=channel, program=program)]
    return [
        *begin,
        mido.Message("note_on", channel=channel, note=pitch, velocity=90),
        mido.Message("note_off", channel=channel, note=pitch, time=length),
    ]


def programs(midi):
    return [128 if part.is_drum else part.program for part in midi.instruments]


def test_parts_with_one_program_stay_apart_and_drums_are_drums(tmp_path):
    tracks = [note(60, 0, 27), note(64, 0, 27), note(67, 1, 27), note(38, 9)]
    assert programs(midi_file.read(written(tmp_path / "a.mid", tracks))) == [27, 27, 27, 128]


def test_many_programs_on_one_channel_are_parts_of_their_own(tmp_path):
    many = written(tmp_path / "many.mid", [note(60, 0, program) for program in range(17)])
    assert programs(midi_file.read(many)) == list(range(17))
    changing = written(tmp_path / "changing.mid", [[*note(60, 0, 1), *note(60, 0, 9), *note(60, 0, 40)]], kind=0)
    assert programs(midi_file.read(changing)) == [1, 9, 40]


def test_a_note_that_never_ends_lasts_to_its_tracks_end(tmp_path):
    stuck = [mido.Message("note_on", note=60, velocity=90), mido.MetaMessage("end_of_track", time=3 * 960)]
    (part,) = midi_file.read(written(tmp_path / "a.mid", [stuck])).instruments
    assert [(n.start, n.end) for n in part.notes] == [(0.0, pytest.approx(3.0, abs=0.01))]


def header(kind=1, tracks=1, division=480):
    return struct.pack(">4sIHHh", b"MThd", 6, kind, tracks, division)


@cache
def track_chunk():
    body = bytes([0, 0x90, 60, 90, 0x83, 0x60, 0x80, 60, 0, 0, 0xFF, 0x2F, 0])
    return struct.pack(">4sI", b"MTrk", len(body)) + body


SILENT = struct.pack(">4sI", b"MTrk", 4) + bytes([0, 0xFF, 0x2F, 0])
ENDLESS = b"MTrk\x00\x00\x00\x0e" + bytes([0, 0x90, 60, 90, 0xFF, 0xFF, 0x7F, 0x80, 60, 0, 0, 0xFF, 0x2F, 0])
BAD_FILES = {
    "empty": (b"", "it is empty"),
    "text": (b"la la la la la la", "not a MIDI file"),
    "header only in part": (header()[:9], "cut short"),
    "no MTrk": (header(), "no MTrk"),
    "zero tracks": (header(tracks=0) + track_chunk(), "zero tracks"),
    "negative division": (header(division=-480) + track_chunk(), "time division is 0xfe20"),
    "division zero": (header(division=0) + track_chunk(), "time division is 0x0000"),
    "format 2": (header(kind=2, tracks=2) + 2 * track_chunk(), "format 2, with 2 tracks"),
    "format 3": (header(kind=3) + track_chunk(), "format 3"),
    "no parts of a frame": (header(division=-25 * 256) + track_chunk(), "time division is 0xe700"),
    "truncated": (header() + track_chunk()[:-6], "cut short"),
    "fewer tracks than declared": (header(tracks=9) + track_chunk(), "declares 9 tracks and 1 MTrk"),
    "no notes": (header() + SILENT, "no notes"),
    "notes without length": (header() + track_chunk().replace(b"\x83\x60\x80", b"\x80\x00\x80"), "no length"),
    "nonsense in the track": (header() + b"MTrk\x00\x00\x00\x04" + b"\x00\x10\x10\x10", "damaged"),
    "too long": (header(division=1) + ENDLESS, "minutes"),
}


@pytest.mark.parametrize("defect", BAD_FILES)
def test_a_bad_midi_file_is_refused_with_the_reason(defect, tmp_path):
    content, reason = BAD_FILES[defect]
    (tmp_path / "bad.mid").write_bytes(content)
    with pytest.raises(MidiError, match=reason):
        midi_file.read(tmp_path / "bad.mid")


def test_a_missing_midi_file_is_named(tmp_path):
    with pytest.raises(MissingError, match=r"none\.mid"):
        midi_file.read(tmp_path / "none.mid")


@pytest.mark.parametrize("wrapping", [b"RIFF\x31\0\0\0RMIDdata\x25\0\0\0", b"\0\x04song" + bytes(122)])
def test_what_riff_or_macbinary_wrap_is_read(wrapping, tmp_path):
    (tmp_path / "a.mid").write_bytes(wrapping + header() + track_chunk())
    assert programs(midi_file.read(tmp_path / "a.mid")) == [0]


@pytest.mark.parametrize(("rate", "seconds"), [(24, 0.5), (25, 0.48), (29, 0.4004), (30, 0.4)])
def test_frames_of_a_film_are_time_whatever_the_tempo(rate, seconds, tmp_path):
    tempo = bytes([0, 0xFF, 0x51, 3, 1, 0, 0])
    body = tempo + track_chunk()[8:]  # a note of 480 ticks
    chunk = struct.pack(">4sI", b"MTrk", len(body)) + body
    (tmp_path / "a.mid").write_bytes(header(division=-rate * 256 + 40) + chunk)
    [note] = midi_file.read(tmp_path / "a.mid").instruments[0].notes
    assert (note.start, note.end) == (0, pytest.approx(seconds))


def test_format_2_with_one_track_is_read(tmp_path):
    (tmp_path / "a.mid").write_bytes(header(kind=2) + track_chunk())
    assert parts_of(midi_file.read(tmp_path / "a.mid")) == [(0, [(0, 0.5)])]


@pytest.mark.parametrize("division", [10080, 32767])
def test_a_long_file_in_short_ticks_is_read(division, tmp_path):
    late = [mido.MetaMessage("set_tempo", tempo=1_000_000, time=1000 * division), *note(60, length=division)]
    file = mido.MidiFile(ticks_per_beat=division, tracks=[mido.MidiTrack(late)])
    file.save(tmp_path / "a.mid")
    assert parts_of(midi_file.read(tmp_path / "a.mid")) == [(0, [(500, 501)])]


def test_hours_behind_the_last_note_do_not_count(tmp_path):
    late = [mido.Message("control_change", control=7, time=9600), mido.MetaMessage("end_of_track", time=10**7)]
    path = written(tmp_path / "a.mid", [[*note(60), *late], [mido.Message("note_on", note=64, velocity=90, time=240)]])
    assert parts_of(midi_file.read(path)) == [(0, [(0, 0.5)]), (0, [(0.25, 0.75)])]


def test_tracks_that_the_header_forgot_are_read(tmp_path):
    (tmp_path / "a.mid").write_bytes(header() + track_chunk() + track_chunk() + track_chunk()[:-1])
    assert programs(midi_file.read(tmp_path / "a.mid")) == [0, 0]


def test_chunks_that_are_not_tracks_are_skipped(tmp_path):
    (tmp_path / "a.mid").write_bytes(header() + b"Junk\x00\x00\x00\x03abc" + track_chunk())
    assert programs(midi_file.read(tmp_path / "a.mid")) == [0]


@pytest.mark.parametrize(
    ("name", "parts"), [("own-17-instruments", 17), ("own-program-changes", 6), ("test-non-midi-track", 1)]
)
def test_odd_files_from_the_world_are_read(name, parts):
    if not ODD_MIDI.is_dir():
        pytest.skip(f"{ODD_MIDI.name} is not beside the project; the tests above have files of their own")
    assert len(midi_file.read(ODD_MIDI / f"{name}.mid").instruments) == parts


def parts_of(midi):
    """[(program or 128, [(start, end) of each note in seconds])]."""
    return [
        (128 if part.is_drum else part.program, [(round(n.start, 3), round(n.end, 3)) for n in part.notes])
        for part in midi.instruments
    ]


def test_a_tempo_on_any_track_is_that_of_all(tmp_path):
    slow = [mido.MetaMessage("set_tempo", tempo=1_000_000), *note(60), *note(62)]
    midi = midi_file.read(written(tmp_path / "a.mid", [[mido.MetaMessage("track_name", name="conductor")], slow]))
    assert parts_of(midi) == [(0, [(0, 1), (1, 2)])]
    assert midi.get_tempo_changes()[1].tolist() == [60]


def test_programs_without_notes_are_those_of_their_channels(tmp_path):
    setup = [
        mido.Message("program_change", channel=0, program=40),
        mido.Message("program_change", channel=1, program=34),
    ]
    midi = midi_file.read(written(tmp_path / "a.mid", [setup, note(60, 0), note(36, 1)]))
    assert programs(midi) == [40, 34]


def test_a_note_may_end_on_another_track(tmp_path):
    begins = [mido.Message("note_on", note=60, velocity=90, time=time) for time in (0, 480, 480)]
    ends = [mido.Message("note_off", note=60, time=480) for _ in range(3)]
    midi = midi_file.read(written(tmp_path / "a.mid", [begins, ends]))
    assert parts_of(midi) == [(0, [(0, 0.5), (0.5, 1), (1, 1.5)])]


def test_tracks_with_one_channel_end_their_own_notes(tmp_path):
    midi = midi_file.read(written(tmp_path / "a.mid", [note(60, length=480), note(60, length=960)]))
    assert parts_of(midi) == [(0, [(0, 0.5)]), (0, [(0, 1)])]


GS_RESET = mido.Message("sysex", data=[0x41, 0x10, 0x42, 0x12, 0x40, 0x00, 0x7F, 0x00, 0x41])
GM_RESET = mido.Message("sysex", data=[0x7E, 0x7F, 0x09, 0x01])
XG_RESET = mido.Message("sysex", data=[0x43, 0x10, 0x4C, 0x00, 0x00, 0x7E, 0x00])
SC88_RESET = mido.Message("sysex", data=[0x41, 0x10, 0x42, 0x12, 0x00, 0x00, 0x7F, 0x00, 0x01])
GS_DRUMS_ON_11 = mido.Message("sysex", data=[0x41, 0x10, 0x42, 0x12, 0x40, 0x1A, 0x15, 0x01, 0x10])
XG_DRUMS_ON_11 = mido.Message("sysex", data=[0x43, 0x10, 0x4C, 0x08, 10, 0x07, 0x02])
XG_NOTES_ON_10 = mido.Message("sysex", data=[0x43, 0x10, 0x4C, 0x08, 9, 0x07, 0x00])


@pytest.mark.parametrize(
    ("setup", "kind"),
    [
        ([mido.Message("control_change", channel=10, control=0, value=127)], 128),
        ([mido.Message("control_change", channel=10, control=0, value=120)], 128),
        ([mido.Message("control_change", channel=10, control=0, value=1)], 5),
        ([GS_RESET, mido.Message("control_change", channel=10, control=0, value=127)], 5),
        ([GS_RESET, GS_DRUMS_ON_11], 128),
        ([GS_RESET, XG_RESET, mido.Message("control_change", channel=10, control=0, value=127)], 128),
        ([XG_RESET, SC88_RESET, mido.Message("control_change", channel=10, control=0, value=127)], 5),
        ([XG_DRUMS_ON_11, mido.Message("control_change", channel=10, control=0, value=0)], 128),
    ],
    ids=["XG", "GM2", "another bank", "GS bank", "GS drums", "XG after GS", "GS after XG", "XG part"],
)
def test_drums_are_found_on_other_channels(setup, kind, tmp_path):
    assert programs(midi_file.read(written(tmp_path / "a.mid", [[*setup, *note(36, 10, 5)]]))) == [kind]


@pytest.mark.parametrize(("setup", "program"), [([XG_RESET], 120), ([GS_RESET], 5), ([], 5), ([XG_RESET, GM_RESET], 5)])
def test_sounds_of_xgs_effects_are_no_instruments(setup, program, tmp_path):
    bank = mido.Message("control_change", control=0, value=64)
    assert programs(midi_file.read(written(tmp_path / "a.mid", [[*setup, bank, *note(60, 0, 5)]]))) == [program]


@pytest.mark.parametrize("bank", [[], [mido.Message("control_change", channel=9, control=0, value=0)]])
def test_an_xg_part_makes_channel_10_melodic(bank, tmp_path):
    setup = [XG_NOTES_ON_10, *bank]
    assert programs(midi_file.read(written(tmp_path / "a.mid", [[*setup, *note(60, 9, 5)]]))) == [5]


@pytest.mark.parametrize(("bank", "kind"), [(121, 5), (0, 128), (120, 128)])
def test_general_midi_2_makes_channel_10_melodic(bank, kind, tmp_path):
    setup = mido.Message("control_change", channel=9, control=0, value=bank)
    assert programs(midi_file.read(written(tmp_path / "a.mid", [[setup, *note(60, 9, 5)]]))) == [kind]


@pytest.mark.parametrize(
    "event",
    [
        b"\xff\x59\x02\x08\x00",
        b"\xff\x54\x05\xe0\0\0\0\0",
        b"\xff\x58\x04\0\0\x18\x08",
        b"\xff\x51\x01\x07",
        b"\xff\x60\x01\x07",
    ],
    ids=["key of 8 sharps", "SMPTE rate", "metre 0/1", "short tempo", "unknown"],
)
def test_meta_events_out_of_range_are_ignored_not_their_time(event, tmp_path):
    body = b"\x83\x60" + event + bytes([0, 0x90, 60, 90, 0x83, 0x60, 60, 0, 0, 0xFF, 0x2F, 0])  # running status
    (tmp_path / "a.mid").write_bytes(header() + struct.pack(">4sI", b"MTrk", len(body)) + body)
    assert parts_of(midi_file.read(tmp_path / "a.mid")) == [(0, [(0.5, 1)])]


def test_an_end_ends_all_earlier_notes_of_its_pitch(tmp_path):
    begin = mido.Message("note_on", note=60, velocity=90)
    end = mido.Message("note_off", note=60, time=240)
    track = [begin, begin.copy(time=240), end, end.copy(time=0), begin, end.copy(time=0), *note(60)]
    midi = midi_file.read(written(tmp_path / "a.mid", [track]))
    assert parts_of(midi) == [(0, [(0, 0.5), (0.25, 0.5), (0.5, 1)])]


NOTE_ON, NOTE_OFF = bytes([0, 0x90, 60, 90]), bytes([0x83, 0x60, 0x80, 60, 0])
END = bytes([0, 0xFF, 0x2F, 0])


def chunk(body, length=None):
    return struct.pack(">4sI", b"MTrk", len(body) if length is None else length) + body


@pytest.mark.parametrize(
    "content",
    [
        header() + chunk(NOTE_ON + bytes([0, 0xF0, 2, 0x7E, 0xF7, 0x83, 0x60, 60, 0]) + END),
        header() + chunk(NOTE_ON + NOTE_OFF + END + bytes(9)),
        header() + chunk(NOTE_ON + NOTE_OFF + END, 0xFFFFFFFF),
        header() + chunk(NOTE_ON + NOTE_OFF + END) + b"MTrk\xff\xff\xff\xff",
        header() + chunk(bytes([0, 0xFF, 0x51, 3, 0, 0, 1]) + NOTE_ON + NOTE_OFF + END),
        header() + chunk(NOTE_ON + bytes([0x83, 0x60, 0xF8, 0, 0x80, 60, 0]) + END),
        b"RIFF\0\2\0\0RMIDLIST\0\1\0\0" + bytes(256) + b"data\0\0\0\0" + header() + track_chunk(),
        header() + chunk(NOTE_ON + bytes([0x83, 0x60, 0xB0, 123, 0, 0x8F, 0, 0xFF, 1, 0]) + END),
    ],
    ids=[
        "status kept over sysex", "padded", "length not filled in", "another track begun", "60 million bpm",
        "clock", "RIFF with a list first", "all notes off",
    ],
)  # fmt: skip
def test_files_as_programs_write_them_are_read(content, tmp_path):
    (tmp_path / "a.mid").write_bytes(content)
    assert parts_of(midi_file.read(tmp_path / "a.mid")) == [(0, [(0, 0.5)])]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\x1f\x8b\x08", "gzip"), (b"SMF2CLIP", "MIDI 2.0"), (b"<!DOCTYPE html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of Git LFS: run git lfs pull"),
    ],
)  # fmt: skip
def test_other_files_are_refused_by_what_they_are(content, what, tmp_path):
    (tmp_path / "a.mid").write_bytes(content)
    with pytest.raises(MidiError, match=f"but is .*{what}"):
        midi_file.read(tmp_path / "a.mid")


def test_notes_that_never_end_last_until_the_next(tmp_path):
    strokes = [mido.Message("note_on", channel=9, note=36, velocity=90, time=time) for time in (0, 480, 480)]
    midi = midi_file.read(written(tmp_path / "a.mid", [[*strokes, mido.MetaMessage("end_of_track", time=480)]]))
    assert parts_of(midi) == [(128, [(0, 0.5), (0.5, 1), (1, 1.5)])]


@pytest.mark.parametrize(("channel", "parts"), [(9, [(128, [(0.5, 0.562), (1, 1.062)])]), (0, [])])
def test_drum_strokes_without_length_are_kept(channel, parts, tmp_path):
    on, off = (mido.Message(kind, channel=channel, note=36, velocity=90) for kind in ("note_on", "note_off"))
    track = [on.copy(time=480), off, on.copy(time=480), off]
    midi = midi_file.read(written(tmp_path / "a.mid", [track, note(60, 5)]))
    assert parts_of(midi) == [*parts, (0, [(0, 0.5)])]


def test_ports_have_channels_of_their_own(tmp_path):
    setup = [mido.Message("program_change", channel=2, program=56)]
    first = [control(0, 127, channel=1), *note(36, 1, 0), control(64, 127), *note(60, 0, 40)]
    second = [mido.MetaMessage("midi_port", port=1), *note(64, 0), *note(65, 1, 24), *note(67, 2)]
    midi = midi_file.read(written(tmp_path / "a.mid", [setup, first, second]), sounding=True)
    first_port, second_port = [(40, [(0.5, 1.5)]), (128, [(0, 0.5)])], [(0, [(0, 0.5)]), (24, [(0.5, 1)])]
    assert parts_of(midi) == [*first_port, *second_port, (56, [(1, 1.5)])]


def control(number, value, time=0, channel=0):
    return mido.Message("control_change", channel=channel, control=number, value=value, time=time)


def test_notes_sound_while_the_pedal_holds_them(tmp_path):
    up = control(64, 0, time=480)
    track = [control(64, 127), *note(60, length=240), *note(62, length=240), *note(60, length=240), up, *note(64)]
    file = written(tmp_path / "a.mid", [track])
    assert parts_of(midi_file.read(file)) == [(0, [(0, 0.25), (0.25, 0.5), (0.5, 0.75), (1.25, 1.75)])]
    sounding = midi_file.read(file, sounding=True)
    assert sorted(parts_of(sounding)[0][1]) == [(0, 0.5), (0.25, 1.25), (0.5, 1.25), (1.25, 1.75)]


def test_the_pedal_holds_no_drums(tmp_path):
    track = [control(64, 127, channel=9), *note(36, 9, length=240), control(64, 0, time=960, channel=9)]
    midi = midi_file.read(written(tmp_path / "a.mid", [track]), sounding=True)
    assert parts_of(midi) == [(128, [(0, 0.25)])]


@pytest.mark.parametrize(
    ("setup", "pitch"),
    [
        ([mido.Message("pitchwheel", pitch=8191)], 62),
        ([control(101, 0), control(100, 0), control(6, 12), mido.Message("pitchwheel", pitch=-8192)], 48),
        ([control(101, 0), control(100, 2), control(6, 76)], 72),
        ([control(101, 0), control(100, 1), control(6, 0)], 59),
        ([control(101, 0), control(100, 1), control(6, 96), mido.Message("pitchwheel", pitch=1200)], 61),
        ([mido.Message("pitchwheel", pitch=8191), control(121, 0)], 60),
        ([mido.Message("pitchwheel", pitch=700)], 60),
        (
            [control(101, 0), control(100, 0), control(99, 1), control(6, 12), mido.Message("pitchwheel", pitch=8191)],
            62,
        ),
    ],
    ids=[
        "two semitones",
        "range of an octave",
        "transposed",
        "tuned",
        "tuned and bent",
        "reset",
        "vibrato",
        "vibrato's own setting",
    ],
)
def test_bent_notes_have_the_pitch_they_sound_at(setup, pitch, tmp_path):
    file = written(tmp_path / "a.mid", [[*setup, *note(60)]])
    assert [n.pitch for part in midi_file.read(file, sounding=True).instruments for n in part.notes] == [pitch]
    assert [n.pitch for part in midi_file.read(file).instruments for n in part.notes] == [60]


def test_a_slide_into_a_note_leaves_its_pitch(tmp_path):
    on, off = note(60)
    slide = [mido.Message("pitchwheel", pitch=-8192), on, mido.Message("pitchwheel", pitch=0, time=100), off]
    sounding = midi_file.read(written(tmp_path / "a.mid", [slide]), sounding=True)
    assert [n.pitch for part in sounding.instruments for n in part.notes] == [60]


@pytest.mark.parametrize("reset", [GM_RESET, GS_RESET, XG_RESET, SC88_RESET], ids=["GM", "GS", "XG", "SC-88"])
def test_a_system_reset_sets_all_channels_back(reset, tmp_path):
    held = mido.Message("note_on", note=48, velocity=90)
    setup = [control(64, 127), mido.Message("pitchwheel", pitch=8191), mido.Message("program_change", program=40)]
    tracks = [[*setup, held, *note(60), reset, *note(60)], [XG_DRUMS_ON_11, *note(36, 10, 5), *note(36, 10, 5)]]
    sounding = midi_file.read(written(tmp_path / "a.mid", tracks), sounding=True)
    notes = [(part.program, part.is_drum, n.pitch, n.start, n.end) for part in sounding.instruments for n in part.notes]
    first = [(40, False, 50, 0, 0.5), (40, False, 62, 0, 0.5), (5, True, 36, 0, 0.5)]
    assert sorted(notes) == sorted([*first, (0, False, 60, 0.5, 1), (5, False, 36, 0.5, 1)])


def test_a_reset_comes_before_the_setup_of_other_tracks(tmp_path):
    tracks = [note(60, 0, 40), [GM_RESET]]
    assert programs(midi_file.read(written(tmp_path / "a.mid", tracks))) == [40]


def test_sostenuto_holds_the_keys_that_are_down(tmp_path):
    on, off = note(60)
    track = [on, control(66, 127, time=240), off.copy(time=240), *note(62), control(66, 0, time=480)]
    sounding = midi_file.read(written(tmp_path / "a.mid", [track]), sounding=True)
    assert sorted(parts_of(sounding)[0][1]) == [(0, 1.5), (0.5, 1)]


def test_sound_off_ends_notes_that_the_pedal_holds(tmp_path):
    track = [control(64, 127), *note(60, length=240), control(120, 0, time=240), *note(62), control(64, 0, time=480)]
    sounding = midi_file.read(written(tmp_path / "a.mid", [track]), sounding=True)
    assert sorted(parts_of(sounding)[0][1]) == [(0, 0.5), (0.5, 1.5)]


@pytest.mark.parametrize(
    ("name", "charset", "kind"),
    [
        ("Drums", "ascii", 128), ("2-Schlagzeug", "ascii", 128), ("E-Bass", "ascii", 33), ("Drums of War", "ascii", 0),
        ("Órgano", "latin-1", 16), ("Órgano", "utf-8", 16), ("ギター", "utf-8", 27), ("ドラム", "shift_jis", 128),
    ],
)  # fmt: skip
def test_tracks_without_a_program_play_what_they_are_called(name, charset, kind, tmp_path):
    named = [mido.MetaMessage("track_name", name=name.encode(charset).decode("latin-1"))]
    midi = midi_file.read(written(tmp_path / "a.mid", [[*named, *note(60)], [*named, *note(60, 1, 40)]]))
    assert programs(midi) == [kind, 40]


@pytest.mark.parametrize("declared", [0, 5, 12, 15, 40])  # of 13 bytes
@pytest.mark.parametrize("padding", [b"", b"\0"])
def test_a_track_of_wrong_length_ends_with_its_last_event(declared, padding, tmp_path):
    body, last = NOTE_ON + NOTE_OFF + END, chunk(bytes([0, 0x91, 64, 90, 0x83, 0x60, 0x81, 64, 0]) + END)
    (tmp_path / "a.mid").write_bytes(header(tracks=3) + 2 * (chunk(body, declared) + padding) + last)
    assert parts_of(midi_file.read(tmp_path / "a.mid")) == 3 * [(0, [(0, 0.5)])]
