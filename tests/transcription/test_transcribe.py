import importlib
import io
import logging

import mido
import numpy as np
import pretty_midi
import pytest
from fixtures.rendered import RATE, rendered

from muscomp_lib import audio, transcription
from muscomp_lib.core import instruments
from muscomp_lib.core.errors import AudioError, MidiError, MissingError, SettingError
from muscomp_lib.core.progress import bar
from muscomp_lib.notation import bars, beats
from muscomp_lib.transcription.note_decoder import NOTE_THRESHOLD, Note
from muscomp_lib.transcription.transcribe import Settings, _levels, _track, transcribe

FAMILIES = Settings(taxonomy="families")
CHORDS = [(p + shift, start, 0.9) for start, shift in ((0.5, 0), (1.5, 5), (2.5, 7)) for p in (60, 64, 67)]
LINE = [(57, 0.25, 0.4), (60, 0.75, 0.4), (64, 1.25, 0.4), (64, 1.75, 0.4), (69, 2.25, 0.9)]
BASS = [(40, 0.5, 1.0), (45, 2.0, 1.0)]


def groove(bpm, seconds=12.0, start=0.3, swing=0.5):
    """Kick and snare on the beats, hi-hats on the eighths."""
    beat = 60 / bpm
    count = int((seconds - start) / beat)
    drums = [(36 if k % 4 in (0, 2) else 38, start + k * beat, 0.1) for k in range(count)]
    hats = [(42, start + (k + part) * beat, 0.1) for k in range(count) for part in (0, swing)]
    return drums + hats


@pytest.fixture(scope="module")
def song():
    """Separated stems of twelve seconds at 100 bpm."""
    chords = [(p + (0, 5, 7, 0, 5)[bar], 0.3 + 2.4 * bar, 2.3) for bar in range(5) for p in (60, 64, 67)]
    bass = [(36 + (0, 5, 7, 0, 5)[bar], 0.3 + 2.4 * bar + beat, 0.5) for bar in range(5) for beat in (0, 1.2)]
    return {
        "Drums": rendered("Drums", groove(100), 12.0),
        "Electric_Bass_pick": rendered("Electric_Bass_pick", bass, 12.0),
        "Bright_Acoustic_Piano": 0.5 * rendered("Bright_Acoustic_Piano", chords, 12.0),
    }


def test_tracks_have_names_and_programs_in_the_taxonomys_order():
    stems = {"Violin": rendered("Violin", LINE), "Drums": rendered("Drums", groove(120, 4.0), 4.0)}
    midi = transcribe(stems | {"Electric_Bass_pick": rendered("Electric_Bass_pick", BASS)}, RATE)
    assert [(t.name, t.program, t.is_drum) for t in midi.instruments] == [
        ("Electric_Bass_pick", 34, False),
        ("Violin", 40, False),
        ("Drums", 0, True),
    ]


@pytest.mark.parametrize("bpm", [84, 120, 150])
def test_the_tempo_is_that_of_the_drums(bpm):
    midi = transcribe({"Drums": rendered("Drums", groove(bpm, 12.0), 12.0)}, RATE)
    beat = np.median(np.diff(midi.get_beats()))
    assert 60 / beat == pytest.approx(bpm, rel=0.01)


def test_the_song_has_its_tempo_bars_and_key(song):
    midi = transcribe(song, RATE, FAMILIES)
    assert 60 / np.median(np.diff(midi.get_beats())) == pytest.approx(100, rel=0.005)
    assert midi.time_signature_changes[-1].numerator == 4
    assert midi.key_signature_changes[0].key_number in (0, 5)  # C and F have all but one note in common
    downbeats = midi.get_downbeats()
    bass = next(track for track in midi.instruments if track.name == "Electric_Bass_pick")
    firsts = [0.3 + 2.4 * bar for bar in range(5)]
    assert np.median([np.abs(downbeats - first).min() for first in firsts]) < 0.05
    assert len(bass.notes) == pytest.approx(10, abs=2)


@pytest.mark.parametrize("waveform", [np.zeros((RATE, 2)), np.zeros((0, 2)), np.full((RATE, 2), np.nan)])
def test_a_stem_without_music_gets_no_track(waveform):
    assert transcribe({"Rock_Organ": waveform, "Drums": waveform}, RATE).instruments == []


def test_soft_bleed_and_the_residual_get_no_track():
    song = rendered("Bright_Acoustic_Piano", CHORDS)
    midi = transcribe({"Rock_Organ": 0.01 * song, "Bright_Acoustic_Piano": song, "other": song}, RATE)
    assert [track.name for track in midi.instruments] == ["Bright_Acoustic_Piano"]
    lower = transcribe({"Rock_Organ": 0.01 * song, "Bright_Acoustic_Piano": song}, RATE, Settings(floor_db=-50))
    assert len(lower.instruments) == 2


def test_silence_around_a_song_changes_no_level(song):
    late = {name: np.pad(stem, ((10 * RATE, 20 * RATE), (0, 0))) for name, stem in song.items()}
    levels, of_late = (_levels(stems, RATE, bar)[0] for stems in (song, late))
    assert of_late == {name: pytest.approx(level, abs=0.5) for name, level in levels.items()}


@pytest.mark.parametrize("cents", [-40, 45])
def test_a_detuned_recording_keeps_its_notes(cents):
    rate = round(RATE * 2 ** (cents / 1200))  # what it is played at, as a tape that runs too fast
    (part,) = transcribe({"Bright_Acoustic_Piano": rendered("Bright_Acoustic_Piano", CHORDS)}, rate).instruments
    assert sorted(note.pitch for note in part.notes) == sorted(pitch for pitch, *_ in CHORDS)


def test_the_midi_file_is_valid_and_reproducible(song, tmp_path):
    for name in ("a.mid", "b.mid"):
        transcription.write(transcribe(song, RATE, FAMILIES), tmp_path / name)
    assert (tmp_path / "a.mid").read_bytes() == (tmp_path / "b.mid").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mid", "b.mid"]
    opened = pretty_midi.PrettyMIDI(str(tmp_path / "a.mid"))
    assert [track.name for track in opened.instruments] == [*list(song)[1:], "Drums"]
    file = mido.MidiFile(tmp_path / "a.mid")
    assert file.type == 1 and len(file.tracks) == 1 + len(song)
    drums = next(track for track in file.tracks if track.name == "Drums")
    assert {message.channel for message in drums if message.type == "note_on"} == {9}
    kinds = {message.type for message in file.tracks[0]}
    assert {"set_tempo", "time_signature", "key_signature"} <= kinds


def test_the_score_is_valid_and_reproducible(song, tmp_path):
    import music21

    midi = transcribe(song, RATE, FAMILIES)
    for name in ("a.musicxml", "b.musicxml"):
        transcription.write_score(midi, tmp_path / name, "R&B <song>")
    assert (tmp_path / "a.musicxml").read_bytes() == (tmp_path / "b.musicxml").read_bytes()
    score = music21.converter.parse(tmp_path / "a.musicxml")
    assert score.metadata.bestTitle == "R&B <song>"
    assert [part.partName for part in score.parts] == [track.name for track in midi.instruments]
    bass = next(part for part in score.parts if part.partName == "Electric_Bass_pick")
    written = [note.pitch.midi for note in bass.flatten().notes if not note.tie or note.tie.type == "start"]
    assert written == [note.pitch for note in midi.instruments[0].notes]


def test_beats_are_found_by_likely_notes(song, monkeypatch):
    given = []
    monkeypatch.setattr(importlib.import_module("muscomp_lib.transcription.transcribe"), "LIKELY", 0.7)
    monkeypatch.setattr(beats, "grid", lambda song, pitched, drums: given.extend([*pitched, *drums]))
    midi = transcribe(song, RATE, FAMILIES)
    written = [note.likelihood for track in midi.instruments for note in track.notes]
    assert min(written) < 0.7 < min(note.likelihood for note in given)


def test_the_notes_likelihoods_are_kept_in_the_file(song, tmp_path):
    midi = transcribe(song, RATE, Settings(taxonomy="families", quantise="1/8"))
    transcription.write(midi, tmp_path / "a.mid")
    for before, after in zip(midi.instruments, transcription.read(tmp_path / "a.mid").instruments, strict=True):
        expected = {(note.pitch, round(note.start, 3)): note.likelihood for note in before.notes}
        found = {(note.pitch, round(note.start, 3)): note.likelihood for note in after.notes}
        assert found == pytest.approx(expected, abs=0.005) and min(found.values()) > NOTE_THRESHOLD - 0.005
    edited = mido.MidiFile(tmp_path / "a.mid")
    del edited.tracks[1][3:5]
    edited.save(tmp_path / "b.mid")
    first, *others = transcription.read(tmp_path / "b.mid").instruments
    assert not hasattr(first.notes[0], "likelihood") and all(hasattr(n, "likelihood") for t in others for n in t.notes)


def test_more_tracks_than_channels_keep_their_programs(tmp_path):
    midi = pretty_midi.PrettyMIDI()
    midi.instruments = [pretty_midi.Instrument(program, name=f"track {program}") for program in range(20)]
    for track in midi.instruments:
        track.notes = [pretty_midi.Note(90, 60, 0.0, 1.0)]
    transcription.write(midi, tmp_path / "a.mid")
    ports = {}
    for track in mido.MidiFile(tmp_path / "a.mid").tracks[1:]:
        port = next((message.port for message in track if message.type == "midi_port"), 0)
        program = next(message for message in track if message.type == "program_change")
        ports[port, program.channel] = program.program
    assert len(ports) == 20 and sorted(ports.values()) == list(range(20))
    assert [track.program for track in transcription.read(tmp_path / "a.mid").instruments] == list(range(20))


def test_songs_without_beats_have_midis_default_tempo():
    midi = transcribe({"Rock_Organ": rendered("Rock_Organ", [(60, 0.1, 0.5)], 1.0)}, RATE)
    assert midi.get_tempo_changes()[1] == pytest.approx([120])


def test_repeated_notes_stay_whole_in_the_file(tmp_path):
    starts = 0.25 * np.arange(64)
    ends = starts + 0.25 + np.random.default_rng(0).uniform(0, 0.02, 64)
    notes = [Note(start, end, 60, 0.5) for start, end in zip(starts, ends, strict=True)]
    midi = written([*notes, Note(0.25, 0.3, 60, 0.9), Note(4.0, 4.0001, 72, 0.5)])
    transcription.write(midi, tmp_path / "song.mid")
    [track] = transcription.read(tmp_path / "song.mid").instruments
    found = [note for note in track.notes if note.pitch == 60]
    assert [note.start for note in found] == pytest.approx(starts, abs=2e-3)
    assert [note.end - note.start for note in found[:-1]] == pytest.approx([0.25] * 63, abs=3e-3)
    assert [note.velocity for note in found][:3] == [64, 114, 64]  # of two that begin together the louder one counts
    assert [note.pitch for note in track.notes if note.pitch != 60] == [72]


def written(notes):
    """What `transcribe` makes of notes at 120 bpm."""
    midi = bars.empty(None, None)
    midi.instruments.append(_track("Piano", instruments.load()["Bright_Acoustic_Piano"], notes))
    midi.instruments[0].notes = bars.apart(midi.instruments[0].notes, midi)
    return midi


def test_a_transcription_can_be_quantised(song):
    midi = transcribe(song, RATE, Settings(taxonomy="families", quantise="1/16"))
    ticks = [midi.time_to_tick(note.start) - bars.lead_in(midi) for track in midi.instruments for note in track.notes]
    assert np.mean(np.array(ticks) % 120 == 0) > 0.99


def test_without_a_beat_quantising_is_left_out_with_a_warning(caplog):
    short = rendered("Bright_Acoustic_Piano", CHORDS)[: int(1.5 * RATE)]
    assert transcribe({"Bright_Acoustic_Piano": short}, RATE, Settings(quantise="1/16")).instruments
    assert "No beat was found: notes stay as played, not moved to 1/16." in caplog.messages


def test_wrong_settings_are_refused_with_the_valid_ones():
    with pytest.raises(SettingError, match=r"'orchestra'.*slakh12"):
        Settings(taxonomy="orchestra")
    with pytest.raises(SettingError, match=r"floor_db = 3 is not possible. It must be a number of dB below 0"):
        Settings(floor_db=3)
    with pytest.raises(SettingError, match=r"quantise = '1/7' is not possible.*1/16.*None for notes as played"):
        Settings(quantise="1/7")
    sound = rendered("Violin", LINE)
    with pytest.raises(SettingError, match="sample_rate = 0 is not possible"):
        transcribe({"Violin": sound}, 0)
    with pytest.raises(AudioError, match=r"Violin has shape \(2, 2, 2\)"):
        transcribe({"Violin": np.zeros((2, 2, 2))}, RATE)


def test_velocity_is_scaled_to_midis_range():
    note = Note(1.0, 1.0, 60, 0.5)
    track = _track("Violin", instruments.load()["Violin"], [note])
    assert track.notes[0].velocity == 64


def test_another_models_names_become_tracks_of_the_same_notes(song):
    names = dict(zip(song, ("drums", "BASS", "ピアノ"), strict=True))
    theirs = {names[name]: waveform for name, waveform in song.items()}
    midi = transcribe(theirs, RATE, Settings(made_of={"ピアノ": ["Bright_Acoustic_Piano"]}))
    assert {track.name: track.program for track in midi.instruments} == {"ピアノ": 1, "drums": 0, "BASS": 33}
    ours = {track.name: track.notes for track in transcribe(song, RATE).instruments}
    for track in midi.instruments:
        (same,) = [ours[name] for name in song if names[name] == track.name]
        assert [(n.start, n.pitch) for n in track.notes] == [(n.start, n.pitch) for n in same]


def test_the_tracks_names_may_be_in_any_script(tmp_path):
    sound = rendered("Bright_Acoustic_Piano", CHORDS)
    midi = transcribe({"ピアノ": sound}, RATE, Settings(made_of={"ピアノ": ["piano"]}))
    transcription.write(midi, tmp_path / "a.mid")
    transcription.write_score(midi, tmp_path / "a.musicxml", "a")
    assert [track.name for track in transcription.read(tmp_path / "a.mid").instruments] == ["ピアノ"]
    assert "ピアノ" in (tmp_path / "a.musicxml").read_text(encoding="utf-8")


def test_names_that_another_program_wrote_are_read(tmp_path):
    track = mido.MidiTrack([mido.MetaMessage("track_name", name="Flöte")])
    track += [mido.Message("note_on", note=60, velocity=90), mido.Message("note_off", note=60, time=480)]
    mido.MidiFile(tracks=[mido.MidiTrack(), track], charset="latin-1").save(tmp_path / "a.mid")
    assert [track.name for track in transcription.read(tmp_path / "a.mid").instruments] == ["Flöte"]


def test_drums_that_another_program_moved_stay_drums(tmp_path):
    track = mido.MidiTrack([mido.MetaMessage("track_name", name="Drums")])
    track += [mido.Message("note_on", note=38, velocity=90), mido.Message("note_off", note=38, time=480)]
    mido.MidiFile(tracks=[mido.MidiTrack(), track]).save(tmp_path / "a.mid")
    assert [track.is_drum for track in transcription.read(tmp_path / "a.mid").instruments] == [True]


@pytest.mark.parametrize("content", [b"", b"MThd", b"MThd\0\0\0\6\0\1\0\1\1\xe0MTrk\0\0\0\x09"])
def test_a_damaged_transcription_is_named(content, tmp_path):
    (tmp_path / "a.mid").write_bytes(content)
    with pytest.raises(MidiError, match=r"a\.mid cannot be read as MIDI .* transcribe again"):
        transcription.read(tmp_path / "a.mid")


# ---- instruments are data ----


@pytest.fixture
def drum_kit(tmp_path, monkeypatch):
    """Taxonomies whose drums have another name, or that have nothing else."""
    monkeypatch.setattr(instruments, "TAXONOMY_FILE", tmp_path / "instruments.yaml")
    kit, bass = "Drum_Kit: {programs: [128]}", "Electric_Bass_pick: {programs: [34, 32], range: [28, 67], voices: one}"
    piano = "Bright_Acoustic_Piano: {programs: [1, 0, 3], range: [21, 108]}"
    text = f"slakh12:\n  {bass}\n  {piano}\n  {kit}\nkit:\n  {kit}\n"
    instruments.TAXONOMY_FILE.write_text(text, encoding="utf-8")
    return "kit"


def test_a_file_that_is_not_there_is_no_damaged_one(tmp_path):
    with pytest.raises(MissingError, match=r"a\.mid is not there"):
        transcription.read(tmp_path / "a.mid")


@pytest.mark.parametrize("stems", ["song.wav", ["song.wav"], np.zeros(9)])
def test_recordings_without_names_are_refused_with_an_example(stems):
    with pytest.raises(SettingError, match=r'give \{"piano": "take3.wav"\}, not .* Separate a whole song first'):
        transcribe(stems)


def test_files_give_the_same_notes_as_the_waveforms_in_them(song, tmp_path):
    files = {name: tmp_path / f"{name}.wav" for name in song}
    for name, file in files.items():
        audio.write(file, np.stack([song[name]] * 2, axis=1) if song[name].ndim == 1 else song[name], RATE)
    from_files, from_waveforms = transcribe(files), transcribe({n: audio.read(f)[0] for n, f in files.items()}, RATE)
    assert events(from_files) == events(from_waveforms)


def events(midi):
    """The bytes of a MIDI file without its tracks' names."""
    file = io.BytesIO()
    midi.write(file)
    file.seek(0)
    tracks = mido.MidiFile(file=file).tracks
    return [[message for message in track if message.type != "track_name"] for track in tracks]


def test_the_midi_does_not_depend_on_the_drum_kits_name(song, request):
    midi = transcribe(song, RATE, FAMILIES)
    request.getfixturevalue("drum_kit")
    renamed = transcribe({name.replace("Drums", "Drum_Kit"): waveform for name, waveform in song.items()}, RATE)
    assert [track.name for track in renamed.instruments] == [*[t.name for t in midi.instruments][:-1], "Drum_Kit"]
    assert events(renamed) == events(midi)


def test_a_taxonomy_of_drums_alone_is_transcribed(song, drum_kit):
    midi = transcribe(
        {"Drum_Kit": song["Drums"], "other": song["Electric_Bass_pick"]}, RATE, Settings(taxonomy=drum_kit)
    )
    (track,) = midi.instruments
    assert track.is_drum and len(track.notes) > 30
    assert 60 / np.median(np.diff(midi.get_beats())) == pytest.approx(100, rel=0.01)


def test_what_is_not_transcribable_gets_no_notes_and_a_message(song, caplog, tmp_path):
    stems = {"vocals": song["Bright_Acoustic_Piano"], "accompaniment": song["Drums"]}
    with caplog.at_level(logging.INFO):
        midi = transcribe(stems, RATE)
    assert midi.instruments == []
    found = [(record.levelname, record.getMessage().split(":")[0]) for record in caplog.records]
    assert found == [("WARNING", "No notes of vocals"), ("WARNING", "No notes of accompaniment")]
    transcription.write(midi, tmp_path / "empty.mid")
    assert pretty_midi.PrettyMIDI(str(tmp_path / "empty.mid")).instruments == []
