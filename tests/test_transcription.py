import numpy as np
import pretty_midi
import pytest

from muscomp_lib import transcription
from muscomp_lib.errors import AudioError, SettingError
from muscomp_lib.transcription import Settings, transcribe

RATE = 22050  # Hz
TOLERANCE = 0.05  # seconds: the usual one for onsets


def tone(pitch, start, length, n_seconds, partials=6):
    """A decaying harmonic note in silence: shape (n_samples,)."""
    time = np.arange(int(n_seconds * RATE)) / RATE - start
    frequency = 440 * 2 ** ((pitch - 69) / 12)
    sound = sum(0.7**k * np.sin(2 * np.pi * k * frequency * time) for k in range(1, partials + 1))
    release = np.clip((length - time) / 0.05, 0, 1)
    return 0.1 * sound * np.exp(-1.5 * np.clip(time, 0, None)) * (time >= 0) * release


def played(notes, n_seconds=4):
    """Notes [(pitch, start, length)] as a stereo waveform."""
    mono = sum(tone(pitch, start, length, n_seconds) for pitch, start, length in notes)
    return np.repeat(mono[:, None], 2, axis=1).astype(np.float32)


def kit(strokes, n_seconds=4):
    """Strokes [(kind, start)] of a made-up drum kit as a mono waveform, shape (n_samples, 1)."""
    rng = np.random.default_rng(0)
    out = np.zeros(int(n_seconds * RATE))
    time = np.arange(RATE // 2) / RATE
    noise = rng.normal(size=len(time))
    hiss = np.diff(np.diff(noise, prepend=0), prepend=0)
    sounds = {
        "kick": np.sin(2 * np.pi * 60 * time) * np.exp(-15 * time),
        "snare": (0.6 * np.sin(2 * np.pi * 200 * time) + np.convolve(noise, np.ones(5) / 5, "same"))
        * np.exp(-20 * time),
        "hat": 0.1 * hiss * np.exp(-60 * time),
    }
    for kind, start in strokes:
        begin = int(start * RATE)
        sound = sounds[kind][: len(out) - begin]
        out[begin : begin + len(sound)] += 0.5 * sound
    return out[:, None].astype(np.float32)


def onset_f1(track, notes):
    """F-measure of pitch and onset within 50 ms, every note matched once; notes: [(pitch, start, ...)]."""
    left = [(note.pitch, note.start) for note in track.notes]
    hits = 0
    for pitch, start, *_ in notes:
        match = next((n for n in left if n[0] == pitch and abs(n[1] - start) <= TOLERANCE), None)
        if match:
            left.remove(match)
            hits += 1
    return 2 * hits / (len(track.notes) + len(notes))


CHORDS = [(p + shift, start, 0.9) for start, shift in ((0.5, 0), (1.5, 5), (2.5, 7)) for p in (60, 64, 67)]
LINE = [(57, 0.25, 0.4), (60, 0.75, 0.4), (64, 1.25, 0.4), (64, 1.75, 0.4), (69, 2.25, 0.9)]
BEAT = [("kick", 0.5), ("hat", 0.75), ("snare", 1.0), ("hat", 1.25), ("kick", 1.5), ("hat", 1.75), ("snare", 2.0)]


def test_chords_come_out_as_their_notes_without_overtones():
    midi = transcribe({"Bright_Acoustic_Piano": played(CHORDS)}, RATE)
    assert onset_f1(midi.instruments[0], CHORDS) > 0.8


def test_a_line_of_one_voice_comes_out_with_its_repeated_note():
    midi = transcribe({"Violin": played(LINE)}, RATE)
    assert onset_f1(midi.instruments[0], LINE) > 0.9


def test_notes_end_when_their_sound_does():
    track = transcribe({"String_Ensemble_1": played([(60, 0.5, 0.5), (64, 2.0, 1.5)])}, RATE).instruments[0]
    ends = {note.pitch: note.end for note in track.notes}
    assert ends[60] == pytest.approx(1.0, abs=0.2)
    assert ends[64] == pytest.approx(3.5, abs=0.4)


def test_drum_strokes_are_told_apart_and_go_to_channel_ten():
    track = transcribe({"Drums": kit(BEAT)}, RATE).instruments[0]
    assert track.is_drum
    names = {36: "kick", 38: "snare", 42: "hat"}
    found = [(names.get(note.pitch), round(note.start, 1)) for note in sorted(track.notes, key=lambda n: n.start)]
    assert found == [(kind, pytest.approx(start, abs=0.06)) for kind, start in BEAT]


def test_tracks_carry_name_and_program_in_the_taxonomys_order():
    stems = {"Violin": played(LINE), "Drums": kit(BEAT), "Electric_Bass_pick": played([(40, 0.5, 1.0), (45, 2.0, 1.0)])}
    midi = transcribe(stems, RATE)
    assert [(t.name, t.program, t.is_drum) for t in midi.instruments] == [
        ("Electric_Bass_pick", 34, False),
        ("Violin", 40, False),
        ("Drums", 0, True),
    ]


def test_louder_notes_get_a_higher_velocity():
    loud, soft = played([(60, 0.5, 1.0)]), 0.25 * played([(64, 2.0, 1.0)])
    notes = transcribe({"Acoustic_Guitar_nylon": loud + soft}, RATE).instruments[0].notes
    velocity = {note.pitch: note.velocity for note in notes}
    assert velocity[60] - velocity[64] == pytest.approx(24, abs=8)  # 12 dB


def test_notes_outside_an_instruments_range_are_not_written():
    midi = transcribe({"Glockenspiel": played([(45, 0.5, 1.0)])}, RATE)
    assert all(note.pitch >= 72 for track in midi.instruments for note in track.notes)


@pytest.mark.parametrize("bpm", [84, 120, 150])
def test_the_tempo_is_that_of_the_drums(bpm):
    beat = 60 / bpm
    strokes = [("kick" if k % 2 == 0 else "snare", k * beat) for k in range(int(9 / beat))]
    midi = transcribe({"Drums": kit(strokes, 9)}, RATE)
    assert midi.get_tempo_changes()[1][0] == pytest.approx(bpm, rel=0.01)


@pytest.mark.parametrize("name", ["Rock_Organ", "Electric_Bass_pick", "Drums"])
@pytest.mark.parametrize(
    "waveform",
    [
        np.zeros((RATE, 2), np.float32),
        np.zeros((0, 2), np.float32),
        np.ones((1, 1), np.float32),
        np.full((RATE, 2), np.nan, np.float32),
        np.full(RATE, np.inf, np.float32),
    ],
    ids=["silence", "empty", "one sample", "nan", "inf"],
)
def test_a_stem_without_music_gets_no_track(name, waveform):
    assert transcribe({name: waveform}, RATE).instruments == []


@pytest.mark.parametrize("name", ["Rock_Organ", "Electric_Bass_pick"])
def test_white_noise_has_no_notes(name):
    noise = np.random.default_rng(1).normal(scale=0.1, size=(3 * RATE, 1)).astype(np.float32)
    assert sum(len(track.notes) for track in transcribe({name: noise}, RATE).instruments) < 5


def test_leakage_far_below_the_song_gets_no_track_and_the_residual_never_does():
    song = played(CHORDS)
    midi = transcribe({"Rock_Organ": 0.01 * song, "Bright_Acoustic_Piano": song, "other": song}, RATE)
    assert [track.name for track in midi.instruments] == ["Bright_Acoustic_Piano"]
    lower = transcribe({"Rock_Organ": 0.01 * song, "Bright_Acoustic_Piano": song}, RATE, Settings(floor_db=-50))
    assert len(lower.instruments) == 2


def test_a_hole_of_bad_samples_leaves_the_other_notes():
    song = played(LINE)
    song[:50] = np.nan
    assert onset_f1(transcribe({"Violin": song}, RATE).instruments[0], LINE) > 0.8


def test_the_file_opens_elsewhere_holds_the_tempo_and_is_the_same_every_time(tmp_path):
    stems = {"Bright_Acoustic_Piano": played(CHORDS), "Drums": kit(BEAT)}
    for name in ("a.mid", "b.mid"):
        transcription.write(transcribe(stems, RATE), tmp_path / name)
    assert (tmp_path / "a.mid").read_bytes() == (tmp_path / "b.mid").read_bytes()
    opened = pretty_midi.PrettyMIDI(str(tmp_path / "a.mid"))
    assert [track.name for track in opened.instruments] == ["Bright_Acoustic_Piano", "Drums"]
    assert opened.get_tempo_changes()[1][0] == pytest.approx(
        transcribe(stems, RATE).get_tempo_changes()[1][0], rel=1e-4
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mid", "b.mid"]


def test_wrong_settings_are_refused_with_the_value_and_the_valid_ones():
    with pytest.raises(SettingError, match=r"'orchestra'.*slakh12"):
        Settings(taxonomy="orchestra")
    with pytest.raises(SettingError, match="floor_db is 3"):
        Settings(floor_db=3)
    with pytest.raises(SettingError, match=r"'Kazoo' is no instrument.*Electric_Bass_pick"):
        transcribe({"Kazoo": played(LINE)}, RATE)
    with pytest.raises(SettingError, match="sample rate is 0"):
        transcribe({"Violin": played(LINE)}, 0)
    with pytest.raises(AudioError, match=r"Violin has shape \(2, 2, 2\)"):
        transcribe({"Violin": np.zeros((2, 2, 2))}, RATE)
