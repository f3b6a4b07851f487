import librosa
import numpy as np
import pytest

from muscomp_lib.notation import beats
from muscomp_lib.transcription.cqt import SAMPLE_RATE
from muscomp_lib.transcription.note_decoder import Note

KICK, SNARE, HAT = 36, 38, 42


def clicks(times, seconds, heights=None):
    """Short bursts of noise at times, in seconds."""
    rng = np.random.default_rng(0)
    sound = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
    burst = (rng.normal(size=1000) * np.exp(-np.arange(1000) / 200)).astype(np.float32)
    for index, time in enumerate(times):
        start = round(time * SAMPLE_RATE)
        part = sound[start : start + 1000]
        part += 0.3 * burst[: len(part)] * (1.0 if heights is None else heights[index])
    return sound


def song(bpm, metre=4, seconds=30.0, start=0.4):
    """A song's sound, pitched notes, drum hits and beats: kick and bass on the bar, hats between, a chord per bar."""
    beat = 60 / bpm
    true = np.arange(start, seconds - beat, beat)
    drums, bass, chords = [], [], []
    for index, time in enumerate(true):
        first = index % metre == 0
        drums.append(Note(time, time + 0.1, KICK if first else SNARE, 1.0 if first else 0.6))
        drums.append(Note(time + beat / 2, time + beat / 2 + 0.1, HAT, 0.4))
        if first:
            root = (0, 5, 7, 9)[index // metre % 4]
            bass.append(Note(time, time + metre * beat, 36 + root, 0.9))
            chords += [Note(time, time + metre * beat, 60 + root + third, 0.6) for third in (0, 4, 7)]
    played = sorted([*drums, *bass])
    sound = clicks([note.start for note in played], seconds, [note.velocity for note in played])
    return sound, [*bass, *chords], sorted(drums), true


@pytest.mark.parametrize("bpm", [72, 96.3, 120, 143.7])
def test_beats_of_a_steady_song_are_found_within_20_ms(bpm):
    sound, pitched, drums, true = song(bpm)
    grid = beats.grid(sound, pitched, drums)
    assert grid.tempo == pytest.approx(bpm, rel=1e-3)
    nearest = [np.abs(grid.times - time).min() for time in true]
    assert np.quantile(nearest, 0.95) < 0.02


@pytest.mark.parametrize("metre", [4, 3])
def test_bars_begin_where_bass_and_harmony_change(metre):
    sound, pitched, drums, true = song(110, metre)
    grid = beats.grid(sound, pitched, drums)
    assert grid.metre == metre
    bars = grid.times[grid.downbeat :: metre]
    assert np.quantile([np.abs(bars - time).min() for time in true[::metre]], 0.9) < 0.03


def test_of_two_alike_beats_the_songs_first_begins_the_bar():
    times = 0.5 * np.arange(64)
    bass = [Note(time, time + 0.5, 36 + 7 * (index % 2), 0.9) for index, time in enumerate(times[::2])]
    kicks = [Note(time, time + 0.1, KICK, 1.0) for time in [*times[::2], *times[2::4]]]  # a few more on three
    assert beats._bars(times, bass, []) == (4, 0)
    assert beats._bars(times, bass, kicks) == (4, 2), "what is clear counts more"


def test_beats_with_nothing_between_them_are_half_beats():
    _, pitched, drums, _ = song(140)
    drums = [note for note in drums if note.pitch != HAT]
    sparse = clicks([note.start for note in drums], 30.0)
    assert beats.grid(sparse, pitched, drums).tempo == pytest.approx(70, rel=0.01)


def test_a_drifting_tempo_is_tracked():
    true = 0.5 + np.cumsum(0.5 + 0.06 * np.sin(np.arange(60) / 9))
    drums = [Note(time, time + 0.1, KICK, 1.0) for time in true]
    grid = beats.grid(clicks(true, true[-1] + 1), [], drums)
    near = [np.abs(grid.times - time).min() < 0.05 for time in true]
    assert np.mean(near) > 0.8


@pytest.mark.full  # librosa compiles for a minute
@pytest.mark.parametrize("bpm", [72, 143.7])
def test_onset_strength_and_tracked_beats_are_librosas(bpm):
    sound, *_ = song(bpm)
    strength = beats._onset_strength(sound)
    options = {"sr": SAMPLE_RATE, "hop_length": beats.HOP}
    np.testing.assert_allclose(strength, librosa.onset.onset_strength(y=sound, **options), atol=1e-4)
    _, theirs = librosa.beat.beat_track(onset_envelope=strength, bpm=bpm, trim=False, units="time", **options)
    np.testing.assert_allclose(beats._tracked(strength, bpm), theirs, atol=1e-6)


@pytest.mark.parametrize("sound", [np.zeros(0), np.zeros(SAMPLE_RATE), np.zeros(9 * SAMPLE_RATE), np.ones(100)])
def test_silent_and_short_songs_have_no_beats(sound):
    assert beats.grid(sound.astype(np.float32), [], []) is None


def test_noise_gives_ascending_beats_or_none():
    noise = np.random.default_rng(0).normal(size=10 * SAMPLE_RATE).astype(np.float32)
    grid = beats.grid(noise, [], [])
    assert grid is None or (np.diff(grid.times) > 0).all()


@pytest.mark.parametrize(("root", "minor", "key"), [(0, False, 0), (7, False, 7), (9, True, 21), (2, True, 14)])
def test_the_key_is_the_one_whose_notes_sound_longest(root, minor, key):
    scale = (0, 2, 3, 5, 7, 8, 10) if minor else (0, 2, 4, 5, 7, 9, 11)
    weight = dict.fromkeys(scale, 0.3) | {0: 1.0, 7: 0.8, (3 if minor else 4): 0.7}
    notes = [Note(0.0, length, 60 + root + step, 0.5) for step, length in weight.items()]
    assert beats.key(notes) == key


def test_without_notes_there_is_no_key():
    assert beats.key([]) is None
