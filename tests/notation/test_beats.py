import music21
import numpy as np
import pytest

from muscomp_lib.notation import beats, ending
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


@pytest.mark.parametrize("metre", [4, 3, 5])
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
    assert beats._bars(times, bass, []) == (4, 0, ())
    assert beats._bars(times, bass, kicks) == (4, 2, ()), "what is clear counts more"


@pytest.mark.parametrize(("bars", "found"), [([4] * 8 + [3] * 12, (4, 0, ((32, 3),))), ([4] * 24, (4, 0, ()))])
def test_the_metre_changes_within_a_song(bars, found):
    starts = np.cumsum([0, *bars])
    times = 0.5 * np.arange(starts[-1])
    roots = [(0, 5, 7, 9)[number % 4] for number in range(len(bars))]
    notes = [
        Note(0.5 * start, 0.5 * (start + length), 36 + root + above, 0.9)
        for start, length, root in zip(starts, bars, roots, strict=False)
        for above in (0, 28)
    ]
    assert beats._bars(times, notes, []) == found


def test_bars_of_a_melody_begin_with_long_notes():
    times = 0.5 * np.arange(64)
    long = [Note(time, time + 1.0, 67, 0.5) for time in times[1::3]]
    short = [Note(time, time + 0.5, 67, 0.5) for time in times[::3]]
    assert beats._bars(times, sorted([*long, *short]), []) == (3, 1, ())


@pytest.mark.parametrize(("accent", "metre"), [(1.3, 4), (2.0, 5)])
def test_bars_of_five_must_fit_clearly_better(accent, metre):
    accents = np.ones(60)
    accents[::5] = accent
    assert beats._one_metre(accents, beats.NONE)[0] == metre


def test_kicks_with_a_snare_begin_no_bar():
    times = 0.5 * np.arange(64)
    bass = [Note(time, time + 0.5, 45, 0.9) for time in times[::2]]
    dropped = [Note(time, time + 0.1, drum, 0.9) for time in times[2::4] for drum in (KICK, 37)]
    assert beats._bars(times, bass, dropped) == (4, 0, ())


def test_beats_after_the_last_note_count_for_no_bar():
    times, two_more = 0.5 * np.arange(64), 0.5 * np.arange(66)
    bass = [Note(time, time + 0.5, 36 + 7 * (index // 2 % 2), 0.9) for index, time in enumerate(times[::2])]
    assert beats._bars(two_more, bass, []) == beats._bars(times, bass, [])


@pytest.mark.parametrize(("bpm", "hats"), [(110, (0, 2 / 3)), (60, (0, 0.25, 0.5, 0.75)), (185, (0, 0.5))])
def test_kick_and_snare_take_turns_on_beats(bpm, hats):
    true = 0.4 + 60 / bpm * np.arange(40)
    drums = [
        Note(time, time + 0.1, SNARE if index % 2 else KICK, 0.7 if index % 2 else 0.9)
        for index, time in enumerate(true)
    ]
    swung = [time + 60 / bpm * place for time in true for place in hats]
    drums = sorted([*drums, *(Note(time, time + 0.05, HAT, 0.6) for time in swung)])
    bass = [Note(time, time + 0.1, 40, 0.9) for time in (swung if len(hats) == 2 else true)]
    played = sorted([*drums, *bass])
    sound = clicks([note.start for note in played], true[-1] + 1, [note.velocity for note in played])
    grid = beats.grid(sound, bass, drums)
    assert grid.tempo == pytest.approx(bpm, rel=0.01)
    assert np.mean([np.abs(grid.times - time).min() < 0.05 for time in true]) > 0.9


def test_long_notes_begin_on_beats():
    beat = 0.5 * np.arange(40)
    long = [Note(time, time + 0.35, 60, 0.5) for time in beat]
    short = [Note(time + 0.35, time + 0.45, 60, 0.9) for time in beat]
    assert np.allclose(beats._on_long_notes(beat + 0.35, sorted([*long, *short]))[:38], beat[:38], atol=0.05)
    assert beats._on_long_notes(beat, long) is beat


def six_eight(seconds=30.0, start=0.4):
    """A tune in 6/8, dotted quarter = 60: its sound, its notes and its bars."""
    bars = np.arange(start, seconds - 2, 2.0)
    notes = []
    for number, bar in enumerate(bars):
        root = (0, 5, 7, 9)[number % 4]
        notes += [Note(bar + beat, bar + beat + 0.9, 40 + root + 7 * beat, 0.9) for beat in (0, 1)]
        notes += [Note(bar + n / 3, bar + (n + 1) / 3, 64 + root + n, 0.5) for n in range(6)]
    notes = sorted(notes)
    return clicks([note.start for note in notes], seconds, [note.velocity for note in notes]), notes, bars


def test_bars_of_two_long_notes_are_six_eight():
    sound, notes, bars = six_eight()
    grid = beats.grid(sound, notes, [])
    assert grid.compound and grid.metre == 2 and grid.tempo == pytest.approx(60, rel=0.01)
    assert np.quantile([np.abs(grid.times[grid.downbeat :: 2] - bar).min() for bar in bars], 0.9) < 0.03


def test_bars_of_three_long_notes_are_nine_eight():
    bars, notes = 3.0 * np.arange(12), []
    for number, bar in enumerate(bars):
        root = (0, 5, 7, 9)[number % 4]
        notes += [Note(bar + beat, bar + beat + 0.9, 40 + root + 12 * (beat > 0), 0.9) for beat in range(3)]
        notes += [Note(bar + n / 3, bar + (n + 1) / 3, 64 + root, 0.5) for n in range(9)]
    quarters = beats.Grid(np.arange(0, 36, 2 / 3), 3, 0)
    grid = beats._compound(quarters, sorted(notes), [])
    assert grid.compound and grid.metre == 3
    assert np.allclose(grid.times[grid.downbeat :: 3][:11], bars[:11])


def parts_of(bars, unit, low, struck, upper):
    """A tune over chords that change with the bar: its sound, its pitched notes and its drum hits.

    `low`: the units of a bar on which the bass plays; `struck`: {drum: units}; `upper`: units of a melody.
    """
    pitched, drums = [], []
    for number, bar in enumerate(bars):
        root = (0, 5, 7, 9)[number % 4]
        for place, after in zip(low, [*low[1:], low[-1] + 2], strict=True):
            pitched.append(Note(bar + place * unit, bar + after * unit - 0.05, 36 + root, 0.9))
        pitched += [Note(bar + at * unit, bar + (at + 0.9) * unit, 64 + root + at % 3, 0.5) for at in upper]
        drums += [Note(bar + at * unit, bar + at * unit + 0.1, drum, 0.7) for drum, its in struck.items() for at in its]
    played = sorted([*pitched, *drums])
    sound = clicks([note.start for note in played], bars[-1] + 3, [note.velocity for note in played])
    return sound, sorted(pitched), sorted(drums)


def in_twelve(hats, upper, dotted_quarters=66, n_bars=10):
    """Four beats of three to a bar, kick on one and three, snare on two and four: a ballad, or a shuffle."""
    unit = 20 / dotted_quarters
    bars = 0.4 + 12 * unit * np.arange(n_bars)
    return bars, *parts_of(bars, unit, [0, 6], {KICK: [0, 6], SNARE: [3, 9], HAT: hats}, upper)


@pytest.mark.parametrize("bpm", [58, 75, 90])
def test_beats_that_are_divided_in_three_are_twelve_eight(bpm):
    bars, sound, pitched, drums = in_twelve(range(12), range(0, 12, 3), bpm)
    grid = beats.grid(sound, pitched, drums)
    assert grid.compound and grid.metre == 4 and grid.tempo == pytest.approx(bpm, rel=0.01)
    assert np.quantile([np.abs(grid.times[grid.downbeat :: 4] - bar).min() for bar in bars], 0.9) < 0.03


@pytest.mark.parametrize("bpm", [66, 90, 110])
def test_a_shuffle_is_four_four(bpm):
    swung = [0, 2, 3, 5, 6, 8, 9, 11]
    grid = beats.grid(*in_twelve(swung, swung, bpm)[1:])
    assert not grid.compound and grid.metre == 4


@pytest.mark.parametrize(("bpm", "groups"), [(180, (2, 2, 3)), (240, (2, 2, 3)), (240, (3, 2, 2)), (280, (2, 2, 3))])
def test_bars_of_seven_eighths_are_found(bpm, groups):
    first, second, third = np.cumsum([0, *groups])[:3].tolist()
    bars, struck = 0.4 + 7 * 60 / bpm * np.arange(16), {KICK: [first, second], SNARE: [third], HAT: range(7)}
    grid = beats.grid(*parts_of(bars, 60 / bpm, [first, second, third], struck, range(7)))
    assert grid.eighths and grid.metre == 7 and grid.tempo == pytest.approx(bpm, rel=0.01)
    assert np.quantile([np.abs(grid.times[grid.downbeat :: 7] - bar).min() for bar in bars], 0.9) < 0.03


def test_beats_with_nothing_between_them_are_half_beats():
    _, pitched, drums, _ = song(140)
    drums = [note for note in drums if note.pitch != HAT]
    sparse = clicks([note.start for note in drums], 30.0)
    assert beats.grid(sparse, pitched, drums).tempo == pytest.approx(70, rel=0.01)


@pytest.mark.parametrize("first", [0, 1, 2, 3])
def test_even_notes_without_a_bass_begin_on_a_beat(first):
    times = 0.3 * np.arange(64)
    notes = [Note(time, time + 0.27, 60 + index % 12, 0.5) for index, time in enumerate(times[first:])]
    assert beats._every_other(times, notes, [])[0] == pytest.approx(times[first % 2])
    bass = [Note(time, time + 0.2, 36, 0.5) for time in times[1::2]]
    assert beats._every_other(times, sorted([*notes, *bass]), [])[0] == pytest.approx(times[1])


def on_each(beat, hats):
    """Kick and snare in turns on beats, a held chord in each bar and hats at places in each beat: sound and notes."""
    drums = [Note(time, time + 0.1, SNARE if index % 2 else KICK, 0.3) for index, time in enumerate(beat)]
    drums += [Note(time + place, time + place + 0.1, HAT, 0.9) for time in beat for place in hats]
    chords = [Note(time, time + 1.0, pitch, 0.1) for time in beat[::4] for pitch in (36, 60, 64)]
    played = sorted([*drums, *chords])
    sound = clicks([note.start for note in played], beat[-1] + 1, [note.velocity for note in played])
    return sound, sorted(chords), sorted(drums)


@pytest.mark.parametrize("bpm", [140, 160, 180])
def test_quick_beats_with_swung_eighths_are_on_the_beat(bpm):
    beat = 0.4 + 60 / bpm * np.arange(96)
    grid = beats.grid(*on_each(beat, [40 / bpm]))
    assert grid.tempo == pytest.approx(bpm, rel=0.01)
    assert np.mean([np.abs(grid.times - time).min() < 0.03 for time in beat]) > 0.9


@pytest.mark.parametrize(("rate", "n_slow"), [(1.06, 8), (1.04, 12), (1.1, 6)])
def test_beats_follow_a_ritardando_at_the_end(rate, n_slow):
    periods = 0.5 * rate ** np.r_[np.zeros(64 - n_slow), np.arange(1, n_slow + 1)]
    beat = np.cumsum([0.4, *periods])[:-1]
    sound, chords, drums = on_each(beat, [])
    grid = beats.grid(sound, chords, drums)
    assert grid.metre == 4 and grid.tempo == pytest.approx(120, rel=1e-2)
    for times, true in ((grid.times, beat), (grid.times[grid.downbeat :: 4], beat[::4])):
        assert max(np.abs(times - time).min() for time in true) < 0.05


def test_steady_beats_have_no_ritardando():
    beat, rng = 0.5 * np.arange(64), np.random.default_rng(0)
    onsets = np.sort(np.r_[beat, beat + 0.25] + rng.normal(0, 0.015, 128))
    for played in (onsets, onsets[:100], np.r_[onsets[:90], onsets[-1]], onsets[:1], onsets[:0]):
        assert ending.slowed(beat, played, beats.TOLERANCE) is beat


@pytest.mark.parametrize("bpm", [40, 45])
def test_slow_backbeats_are_not_in_three(bpm):
    beat = 0.4 + 60 / bpm * np.arange(48)
    grid = beats.grid(*on_each(beat, [0.0, 30 / bpm]))
    assert grid.tempo == pytest.approx(2 * bpm, rel=0.01) and grid.metre == 4


def test_silence_after_the_music_leaves_its_tempo_steady():
    sound, pitched, drums, true = song(100)
    grid = beats.grid(np.pad(sound, (0, 60 * SAMPLE_RATE)), pitched, drums)
    assert np.ptp(np.diff(grid.times)) < 1e-6 and grid.tempo == pytest.approx(100, rel=1e-3)
    assert np.quantile([np.abs(grid.times - time).min() for time in true], 0.95) < 0.02


@pytest.mark.parametrize("times", [[0.0], [2.0], [1.0, 2.0]])
def test_one_or_two_notes_make_no_beat(times):
    notes = [Note(time, time + 0.5, 60, 0.8) for time in times]
    assert beats.grid(clicks(times, 6.0), notes, []) is None


def test_a_single_loud_click_leaves_the_beats_of_soft_notes():
    times = 0.3 + 0.5 * np.arange(24)
    song = 0.02 * clicks(times, 12.5) + clicks([1.0], 12.5)
    grid = beats.grid(song, [Note(time, time + 0.4, 60, 0.5) for time in times], [])
    assert np.mean([np.abs(grid.times - time).min() < 0.03 for time in times]) > 0.9


def test_a_drifting_tempo_is_tracked():
    true = 0.5 + np.cumsum(0.5 + 0.06 * np.sin(np.arange(60) / 9))
    drums = [Note(time, time + 0.1, KICK, 1.0) for time in true]
    grid = beats.grid(clicks(true, true[-1] + 1), [], drums)
    near = [np.abs(grid.times - time).min() < 0.05 for time in true]
    assert np.mean(near) > 0.8


@pytest.mark.parametrize(
    "sound",
    [np.zeros(0), np.zeros(SAMPLE_RATE), np.zeros(9 * SAMPLE_RATE), np.ones(100), np.full(9 * SAMPLE_RATE, 1e-12)],
    ids=["empty", "short", "silent", "too short", "nearly silent"],
)
def test_silent_and_short_songs_have_no_beats(sound):
    assert beats.grid(sound.astype(np.float32), [], []) is None


def test_notes_have_beats_where_their_sound_has_no_onsets():
    times = 0.3 + 0.5 * np.arange(40)
    held = np.sin(2 * np.pi * 220 / SAMPLE_RATE * np.arange(21 * SAMPLE_RATE)).astype(np.float32)
    grid = beats.grid(held, [Note(time, time + 0.5, 57, 0.5) for time in times], [])
    assert np.mean([np.abs(grid.times - time).min() < 0.03 for time in times]) > 0.9


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


@pytest.mark.parametrize(("number", "key"), [(2, 9), (9, 7), (25, 18), (40, 0)])
def test_the_key_of_a_chorale_is_not_its_dominants(number, key):
    (chorale,) = music21.corpus.chorales.Iterator(number, number)
    notes = [
        Note(float(note.offset), float(note.offset + note.quarterLength), note.pitch.midi, 0.5)
        for note in chorale.flatten().notes
    ]
    assert beats.key(notes) == key


def test_without_notes_there_is_no_key():
    assert beats.key([]) is None
