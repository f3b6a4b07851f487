import numpy as np
import pytest

from muscomp_lib import audio
from muscomp_lib.transcription import cqt, velocities
from muscomp_lib.transcription.cqt import SAMPLE_RATE
from muscomp_lib.transcription.note_decoder import Note

KICK, HAT = 36, 42
THREEFOLD = 3 ** (20 / velocities.DECIBELS_OF_DRUMS)  # of a velocity, for a threefold amplitude


def hit(start, pitch=KICK, velocity=0.5):
    return Note(start, start + 0.1, pitch, velocity)


def sound(strokes, seconds=6.0):
    """Strokes (start in seconds, amplitude, frequency in Hz): sines that fade within 50 ms."""
    waveform = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
    times = np.arange(SAMPLE_RATE // 4) / SAMPLE_RATE
    for start, amplitude, frequency in strokes:
        at = round(start * SAMPLE_RATE)
        stroke = amplitude * np.exp(-times / 0.05) * np.sin(2 * np.pi * frequency * times)
        waveform[at : at + len(times)] += stroke[: len(waveform) - at]
    return waveform


def test_a_louder_stroke_of_a_drum_has_a_higher_velocity():
    waveform = sound([(1.0, 0.05, 80), (2.0, 0.05, 80), (3.0, 0.15, 80)])
    found = velocities.of_drums([hit(1.0), hit(2.0, velocity=0.4), hit(3.0, velocity=0.45)], waveform)
    assert [note.velocity for note in found] == pytest.approx([0.45, 0.45, 0.45 * THREEFOLD], rel=0.02)
    assert [note.start for note in found] == [1.0, 2.0, 3.0]


def test_each_drum_is_measured_in_its_own_band():
    waveform = sound([(1.0, 0.15, 80), (1.0, 0.1, 8000), (2.0, 0.05, 80), (2.0, 0.3, 8000), (3.0, 0.05, 80)])
    hits = [hit(1.0), hit(1.0, HAT), hit(2.0), hit(2.0, HAT), hit(3.0)]
    found = [note.velocity for note in velocities.of_drums(hits, waveform)]
    assert found[::2] == pytest.approx([0.5 * THREEFOLD, 0.5, 0.5], rel=0.02)
    assert found[3] / found[1] == pytest.approx(THREEFOLD, rel=0.05)


def test_what_rings_from_before_is_no_part_of_a_stroke():
    ringing = 0.2 * np.sin(2 * np.pi * 8000 * np.arange(6 * SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
    ringing[: round(1.5 * SAMPLE_RATE)] = 0
    waveform = sound([(start, 0.4, 8000) for start in (0.5, 1.0, 2.0, 3.0)]) + ringing
    found = [note.velocity for note in velocities.of_drums([hit(t, HAT) for t in (0.5, 1.0, 2.0, 3.0)], waveform)]
    assert max(found) / min(found) < 10 ** (4 / velocities.DECIBELS_OF_DRUMS)


def test_strokes_at_both_ends_of_a_song_are_measured():
    starts = [0.0, 3.0, 5.95]
    found = velocities.of_drums([hit(start) for start in starts], sound([(start, 0.3, 80) for start in starts]))
    assert all(0 < note.velocity <= 1 for note in found)
    assert [note.velocity for note in found] == pytest.approx([0.5, 0.5, 0.5], rel=0.05)


def test_one_stroke_silence_and_none_keep_their_velocities():
    silence = np.zeros(SAMPLE_RATE, np.float32)
    assert velocities.of_drums([], silence) == []
    assert velocities.of_drums([hit(0.5)], silence) == [hit(0.5)]
    assert velocities.of_drums([hit(0.2), hit(0.5)], silence) == [hit(0.2), hit(0.5)]


def test_more_strokes_than_are_measured_at_once(monkeypatch):
    starts = np.arange(0.1, 5.9, 0.2)
    waveform = sound([(start, 0.02 + 0.01 * number, 80) for number, start in enumerate(starts)])
    hits = [hit(float(start)) for start in starts]
    at_once = velocities.of_drums(hits, waveform)
    monkeypatch.setattr(velocities, "AT_ONCE", 7)
    assert velocities.of_drums(hits, waveform) == at_once
    assert np.all(np.diff([note.velocity for note in at_once]) > 0)


# ---- notes with a pitch ----


def note(start, pitch=60, velocity=0.5):
    return Note(start, start + 0.4, pitch, velocity)


def tones(amplitudes, seconds=0.5):
    """Tones of eight harmonics, one after the other: pairs of a pitch and an amplitude."""
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    fade = np.exp(-times / 0.2)
    waves = [
        amplitude * fade * sum(np.sin(2 * np.pi * h * audio.to_hertz(pitch) * times) / h for h in range(1, 9))
        for pitch, amplitude in amplitudes
    ]
    return cqt.magnitudes(np.concatenate(waves).astype(np.float32))


def test_a_louder_note_of_a_part_has_a_higher_velocity():
    heard = tones([(60, 0.02), (60, 0.02), (60, 0.06), (60, 0.02)])
    found = [each.velocity for each in velocities.of_notes([note(0.5 * number) for number in range(4)], heard)]
    assert found == pytest.approx([0.5, 0.5, 0.5 * 3 ** (20 / velocities.DECIBELS_OF_NOTES), 0.5], rel=0.03)


def test_what_gets_softer_with_pitch_alone_was_played_alike():
    pitches = [*range(48, 72, 2)] * 2
    heard = tones([(pitch, 0.1 * 10 ** (-(pitch - 48) / 40)) for pitch in pitches])  # half a dB per semitone
    found = [each.velocity for each in velocities.of_notes(
        [note(0.5 * number, pitch) for number, pitch in enumerate(pitches)], heard)]  # fmt: skip
    assert found == pytest.approx([0.5] * len(pitches), rel=0.05)


def test_a_lone_note_silence_and_the_highest_keep_their_velocities():
    silence = np.zeros((50, cqt.N_BINS, 2), np.float32)
    assert velocities.of_notes([], silence) == []
    assert velocities.of_notes([note(0.5)], tones([(60, 0.1)] * 2)) == [note(0.5)]
    ends = [note(0.0, 21), note(1.1, 108)]
    assert [each.velocity for each in velocities.of_notes(ends, silence)] == pytest.approx([0.5, 0.5])
