import numpy as np
import pretty_midi
import pytest

from muscomp_lib import transcription
from muscomp_lib.notation import bars, beats


def midi_of(times, metre=4, downbeat=0, key=None):
    return bars.empty(beats.Grid(np.asarray(times, float), metre, downbeat), key)


def test_beats_of_the_file_are_those_of_the_song():
    times = 0.7 + 0.5 * np.arange(40)
    midi = midi_of(times)
    midi.instruments.append(pretty_midi.Instrument(0))
    midi.instruments[0].notes.append(pretty_midi.Note(100, 60, 0.7, 20.0))
    found = midi.get_beats()
    assert max(np.abs(found - time).min() for time in times[:-1]) < 1e-3
    assert np.abs(midi.get_downbeats() - 0.7).min() < 1e-3


def test_one_tempo_is_written_once():
    tempi = midi_of(0.7 + 0.5 * np.arange(40)).get_tempo_changes()[1]
    assert tempi == pytest.approx([120])
    assert len(midi_of(0.5 * np.arange(40)).get_tempo_changes()[1]) == 1


def test_a_drifting_tempo_is_written_beat_by_beat():
    times = 1.0 + np.cumsum(0.5 + 0.05 * np.sin(np.arange(40) / 5))
    midi = midi_of(times)
    ticks = [(midi.time_to_tick(time) - bars.lead_in(midi)) / transcription.TICKS_PER_BEAT for time in times]
    assert np.abs(np.array(ticks) - np.rint(ticks)).max() < 0.01 and np.allclose(np.diff(np.rint(ticks)), 1)


def test_the_tempo_is_that_of_most_of_the_song():
    midi = midi_of([0.0, 0.4, *(1.0 + 0.5 * np.arange(20)), 11.2])
    assert midi.get_tempo_changes()[1][0] == pytest.approx(150)
    midi.instruments.append(pretty_midi.Instrument(0))
    midi.instruments[0].notes.append(pretty_midi.Note(100, 60, 0.0, 11.0))
    assert transcription.tempo(midi) == pytest.approx(120)


@pytest.mark.parametrize("start", [0.0, 0.026, 0.1, 0.3, 0.55, 0.59, 1.3])  # 0.3: an eighth
def test_what_is_before_the_music_has_its_tempo(start, tmp_path):
    midi = midi_of(start + 0.6 * np.arange(40))
    midi.instruments.append(pretty_midi.Instrument(0))
    midi.instruments[0].notes += [pretty_midi.Note(100, 60, start + 2.4 * n, start + 2.4 * n + 1) for n in range(8)]
    transcription.write(midi, tmp_path / "a.mid")
    read = transcription.read(tmp_path / "a.mid")
    assert read.get_tempo_changes()[1] == pytest.approx(100, abs=3)
    assert transcription.tempo(read) == pytest.approx(100, abs=3)
    downbeats = read.get_downbeats()
    assert all(np.abs(downbeats - note.start).min() < 0.003 for note in read.instruments[0].notes)
    bars.quantise(midi, 4)
    assert [note.start for note in midi.instruments[0].notes] == pytest.approx(start + 2.4 * np.arange(8), abs=0.02)


@pytest.mark.parametrize(
    ("start", "downbeat", "pickup"), [(0.0, 1, 1), (0.0, 3, 3), (1.0, 2, 0), (0.005, 0, 0), (-0.03, 0, 0)]
)
def test_beats_before_the_first_bar_form_a_pickup(start, downbeat, pickup):
    midi = midi_of(start + 0.5 * np.arange(40), downbeat=downbeat)
    signatures = [(s.numerator, round(s.time, 3)) for s in midi.time_signature_changes]
    first = round(start + 0.5 * downbeat, 3)
    assert signatures == ([(pickup, 0.0), (4, first)] if pickup else [(4, 0.0)])


def test_a_change_of_metre_is_written_where_it_is():
    midi = bars.empty(beats.Grid(0.3 + 0.5 * np.arange(60), 4, 1, changes=((33, 3),)), None)
    signatures = [(s.numerator, s.denominator, round(s.time, 2)) for s in midi.time_signature_changes]
    assert signatures[1:] == [(1, 4, 0.3), (4, 4, 0.8), (3, 4, 16.8)]


@pytest.mark.parametrize(("start", "pickup"), [(0.0, 0), (0.833, 0), (1.0, 1)])
def test_dotted_quarters_are_written_as_six_eight(start, pickup):
    midi = bars.empty(beats.Grid(start + np.arange(30.0), 2, 0, compound=True), None)
    signatures = [(s.numerator, s.denominator) for s in midi.time_signature_changes]
    assert signatures[-1] == (6, 8) and signatures.count((3, 8)) == pickup
    assert midi.get_tempo_changes()[1] == pytest.approx([90]), "in quarters"
    assert transcription.tempo(midi) == pytest.approx(60)
    midi.instruments.append(pretty_midi.Instrument(0))
    midi.instruments[0].notes.append(pretty_midi.Note(100, 60, start, start + 9))
    assert np.abs(midi.get_downbeats() - start).min() < 0.003
    assert bars.lead_in(midi) == (round(0.833 * 720) if start == 0.833 else 0)


@pytest.mark.parametrize("start", [0.0, 0.1, 1.0])
def test_eighths_are_written_as_seven_eight(start):
    grid = beats.Grid(start + 0.25 * np.arange(60), 7, 2, eighths=True)
    midi = bars.empty(grid, None)
    signatures = [(s.numerator, s.denominator) for s in midi.time_signature_changes]
    assert signatures[-1] == (7, 8)
    assert midi.get_tempo_changes()[1] == pytest.approx([120]), "in quarters"
    assert transcription.tempo(midi) == pytest.approx(240)
    midi.instruments.append(pretty_midi.Instrument(0))
    midi.instruments[0].notes.append(pretty_midi.Note(100, 60, start, start + 14))
    for found, true in ((midi.get_beats(), grid.times[2:50]), (midi.get_downbeats(), grid.times[2:50:7])):
        assert max(np.abs(found - time).min() for time in true) < 0.003
    assert bars.lead_in(midi) == (96 if start == 0.1 else 0)


def test_a_song_of_three_hours_is_written_and_read(tmp_path):
    times = np.cumsum(0.46 + 0.01 * np.sin(np.arange(24000) / 7))
    midi = midi_of(times)
    midi.instruments.append(pretty_midi.Instrument(0))
    midi.instruments[0].notes.append(pretty_midi.Note(100, 60, times[-2], times[-1]))
    transcription.write(midi, tmp_path / "a.mid")
    [note] = transcription.read(tmp_path / "a.mid").instruments[0].notes
    assert (note.start, note.end) == pytest.approx(times[-2:], abs=0.05)


@pytest.mark.parametrize("start", [0.1171875, 0.3515625])  # half-way between two ticks
def test_notes_of_no_length_are_written(start, tmp_path):
    midi = bars.empty(None, None)
    midi.instruments.append(pretty_midi.Instrument(0))
    midi.instruments[0].notes = bars.apart([pretty_midi.Note(100, 60, start, start)], midi)
    midi.tick_to_time(1000)  # as reading or writing may
    transcription.write(midi, tmp_path / "a.mid")
    assert len(transcription.read(tmp_path / "a.mid").instruments[0].notes) == 1


# ---- the grid ----


def quantised(notes, steps, times=None):
    midi = midi_of(0.5 * np.arange(40) if times is None else times)
    midi.instruments.append(pretty_midi.Instrument(0))
    midi.instruments[0].notes = [pretty_midi.Note(100, 60, start, end) for start, end in notes]
    bars.quantise(midi, steps)
    return [(round(note.start, 3), round(note.end, 3)) for note in midi.instruments[0].notes]


def test_notes_move_to_the_nearest_step_and_keep_a_length():
    assert quantised([(0.01, 0.24), (0.49, 0.51), (1.13, 1.4)], 4) == [(0.0, 0.25), (0.5, 0.625), (1.125, 1.375)]


def test_triplets_have_a_grid_of_their_own():
    assert quantised([(0.17, 0.34), (0.34, 0.5)], transcription.GRIDS["1/8T"]) == [(0.167, 0.333), (0.333, 0.5)]


def test_swung_eighths_stay_swung():
    rng = np.random.default_rng(0)
    played = [(k * 0.5 + part + rng.normal(0, 0.005), 0) for k in range(1, 30) for part in (0, 0.32)]
    found = quantised([(start, start + 0.1) for start, _ in played], 2)
    off_beats = np.array([start for start, _ in found[1::2]]) % 0.5
    assert off_beats.min() == pytest.approx(off_beats.max(), abs=2e-3) and off_beats[0] == pytest.approx(0.32, abs=0.01)
