"""Tempo, beats, bars and key of a song. Used by notebook 05, through `transcribe.py`.

**Tempo** is a peak in the spectrum of the song's onset strength (onset_strength.py). If one tempo fits the whole song,
its beats are evenly spaced, but for a ritardando at its end (ending.py); otherwise they follow the onsets
(tracking.py). Onsets alone hardly distinguish a beat from the half-beat between two: bass notes, kick and crash fall on
beats, and where nothing is played between two beats, they were half-beats. Kick and snare take turns on beats: where
they clearly do so on others than were found, between them or at half, twice, or two thirds of the tempo, those are the
beats. A **bar** begins where bass, kick and crash coincide with a change of harmony; one of three beats whose second
long notes begin half-way is in 6/8, and one whose beats are all divided in three in 12/8: a shuffle leaves out the
middle one. Where bars of seven half-beats fit far better than any others, these are the beats, of 7/8. The best way
through the song from bar to bar shows where the metre changes. The **key** is the one whose profile correlates best
with the pitches (Albrecht and Shanahan 2013).
"""

from typing import NamedTuple

import numpy as np

from muscomp_lib.notation import ending, onset_strength, tracking
from muscomp_lib.transcription.cqt import SAMPLE_RATE

FEW_ONSETS = 5  # with fewer notes, and fewer clear onsets, there is no beat
TEMPO_RANGE = (40.0, 240.0)  # bpm
TYPICAL_TEMPO, TEMPO_SPREAD = 115.0, 0.9  # bpm and octaves: the prior over tempi
OVERSAMPLING = 8  # of the spectrum in which the tempo is searched
MIN_SECONDS = 2.0  # anything shorter has no beat
TOLERANCE = 0.06  # seconds: a note this close to a beat is on it
SPARSE = 0.15  # share of beats with a note before the next: with less, the beats themselves are half-beats ...
FAST = 120.0  # bpm: ... if the tempo is at least this
BASS_BELOW = 48  # MIDI pitch
KICK_AND_CRASH = (36, 49)  # drum hits that mark beats
KICKS, SNARES = (35, 36), (37, 38, 39, 40)
FEW_HITS = 4  # of snares: too few to be a backbeat
SHIFTS = (1 / 6, 1 / 3, 1 / 2, 2 / 3, 5 / 6)  # of a beat: what was found may be a swung eighth, or half-way to it
SHIFT_MARGIN = 0.25  # how much better a backbeat has to fit after a shift ...
LEVELS, LEVEL_MARGIN = (
    (1 / 2, 2 / 3, 3 / 2, 2),
    0.6,
)  # ... or with beats so many times as long, at most that fast and slow:
BACKBEAT_RANGE = (50.0, 200.0)  # bpm
METRES = {4: 1.0, 3: 1.15, 5: 1.5}  # beats per bar, and how many times better rarer ones have to fit than the usual
LONG_WEIGHT = 0.5  # of long notes in what points to a bar, beside low notes and changes of harmony
MOST_ACCENT = 4.0  # times the mean: louder accents count as that much
CHANGE_COST = 16.0  # of another metre from a bar on, or of another first bar, in beats with twice the mean accent
FEW_BEATS = 12  # fewer do not show how they are divided
MIDDLE, STRAIGHT = 0.6, 0.25  # shares of beats in 12/8: at least, with a note on the second third; at most, on quarters
SEVEN, OTHERS = 7, (3, 4, 5, 6, 8, 10, 12, 16)  # half-beats in a bar, and those that it must fit better than, by:
SEVEN_MARGIN = 1.5
LONG_NOTES = (
    1.5  # times as long as those on other beats: notes that lie between them, or half-way through a bar of three
)
FEW_BARS = 4  # fewer do not show that they are of seven
NONE = np.zeros(0, int)
FIRST_NOTE = 0.2  # of the mean accent, for a beat that the song begins with: two of a bar may have bass and kick
# Key profiles, from the tonic up: how often each pitch class is in music of a key.
MAJOR = (0.238, 0.006, 0.111, 0.006, 0.137, 0.094, 0.016, 0.214, 0.009, 0.080, 0.008, 0.081)
MINOR = (0.220, 0.006, 0.104, 0.123, 0.019, 0.103, 0.012, 0.214, 0.062, 0.022, 0.061, 0.052)


class Grid(NamedTuple):
    """A song's beats.

    `times` in seconds, ascending; `metre` in beats per bar; `downbeat`: index of the first beat that begins a bar;
    `compound`: whether beats are of three eighths, as in 6/8; `changes`: (index of a beat, metre from there on);
    `eighths`: whether beats are eighths, as in 7/8.
    """

    times: np.ndarray
    metre: int
    downbeat: int
    compound: bool = False
    changes: tuple = ()
    eighths: bool = False

    @property
    def quarters(self):
        """How many quarter notes a beat lasts."""
        return 1.5 if self.compound else 0.5 if self.eighths else 1.0

    @property
    def tempo(self):
        """The median tempo in beats per minute."""
        return float(60.0 / np.median(np.diff(self.times)))


def grid(song, pitched, drums):
    """Find a song's beats and bars.

    Parameters
    ----------
    song : np.ndarray, shape=(n_samples,), float32
        At `cqt.SAMPLE_RATE`.
    pitched, drums : list of note_decoder.Note
        The notes of all pitched instruments, and the hits of all drum kits.

    Returns
    -------
    Grid or None
        None without a beat.
    """
    if len(song) < MIN_SECONDS * SAMPLE_RATE or not song.any():
        return None
    strength = onset_strength.of_song(song, [*pitched, *drums])
    onsets = np.sort([note.start for note in [*pitched, *drums]])
    tempo = _tempo(strength) if max(onset_strength.count(strength), len(onsets)) >= FEW_ONSETS else 0.0
    times = tracking.beats(strength, tempo) if tempo else []
    if len(times) < 2:
        return None
    half_beats = _taken(times, 0, 0.5)
    half_beats = half_beats + _lag(half_beats, onsets)
    if in_sevens := _in_sevens(half_beats, pitched, drums):
        return in_sevens
    times = _every_other(half_beats, pitched, drums)
    if tempo > FAST and len(onsets) > len(times) and _share_divided(times, onsets) < SPARSE:
        times = _every_other(times, pitched, drums)
    times = _on_backbeat(_on_long_notes(times, pitched), drums)
    if len(times) < 2:
        return None
    times = times + _lag(times, onsets)  # again: it was that of swung eighths where these lay on half-beats
    times = ending.slowed(times, onsets, TOLERANCE)
    metre, downbeat, changes = _bars(times, pitched, drums)
    found = Grid(times, metre, downbeat, changes=changes)
    return found if changes else _compound(found, pitched, drums)


def key(pitched):
    """Find the key of notes (list of note_decoder.Note).

    Returns
    -------
    int or None
        In pretty_midi's numbering: 0 to 11 for C to B major, 12 to 23 for C to B minor; None without notes.
    """
    if not pitched:
        return None
    (chroma,) = _chroma(pitched, [0.0, max(note.end for note in pitched)])
    if not chroma.any():
        return None
    fits = [np.corrcoef(chroma, np.roll(profile, root))[0, 1] for profile in (MAJOR, MINOR) for root in range(12)]
    return int(np.argmax(fits))


def _tempo(strength):
    """Beats per minute; 0 without any."""
    n = 1 << int(np.ceil(np.log2(OVERSAMPLING * len(strength))))
    spectrum = np.abs(np.fft.rfft(strength - strength.mean(), n))
    first, last = (int(bpm / 60 / onset_strength.RATE * n) for bpm in TEMPO_RANGE)
    bins = np.arange(first, min(last, len(spectrum) // 4))
    salience = sum(spectrum[bins * harmonic] for harmonic in (1, 2, 4))
    if not salience.any():
        return 0.0
    bpm = bins * 60 * onset_strength.RATE / n
    octaves = np.log2(bpm / TYPICAL_TEMPO)
    return float(bpm[np.argmax(salience * np.exp(-0.5 * (octaves / TEMPO_SPREAD) ** 2))])


def _lag(times, onsets):
    """By how many seconds notes typically begin after these times, which come from the delayed onset strength."""
    if not len(onsets):
        return 0.0
    after = np.searchsorted(onsets, times).clip(0, len(onsets) - 1)
    before = (after - 1).clip(0)
    to_next, to_last = onsets[after] - times, onsets[before] - times
    lags = np.where(np.abs(to_next) < np.abs(to_last), to_next, to_last)
    close = lags[np.abs(lags) < TOLERANCE]
    return float(np.median(close)) if len(close) else 0.0


def _every_other(times, pitched, drums):
    """Of the odd and the even times, those with more bass notes, kicks and crashes; with as many, the first note's."""
    accents = _low_notes(times, pitched, drums)
    even, odd = accents[::2].sum(), accents[1::2].sum()
    if even == odd:
        begins = min((note.start for note in [*pitched, *drums]), default=0.0)
        return times[int(np.argmin(np.abs(times - begins))) % 2 :: 2]
    return times[int(odd > even) :: 2]


def _share_divided(times, onsets):
    """The share of beats with a note between them and the next, on neither: straight eighths, swung ones, sixteenths.

    `onsets` ascending, in seconds.
    """
    after, before = (np.searchsorted(onsets, edge) for edge in (times[:-1] + TOLERANCE, times[1:] - TOLERANCE))
    return np.mean(before > after)


def _on_long_notes(times, pitched):
    """Beats moved by a part of one, where clearly longer notes begin there: swung eighths, and beats by the offbeat."""
    shifted = [_taken(times, shift, 1) for shift in SHIFTS if len(times) > 1]
    best = max(shifted, key=lambda other: _lengths(pitched, other).sum(), default=times)
    return best if _lengths(pitched, best).sum() > LONG_NOTES * _lengths(pitched, times).sum() else times


def _lengths(notes, times):
    """How long all notes last, in seconds, that begin at each time: shape (n_times,)."""
    order = sorted(notes, key=lambda note: note.start)
    length = np.cumsum([0.0, *(note.end - note.start for note in order)])
    first, last = (np.searchsorted(_starts(order), times + side * TOLERANCE) for side in (-1, 1))
    return length[last] - length[first]


def _on_backbeat(times, drums):
    """Beats moved by a part of one, or twice as fast or slow, where kick and snare then clearly take turns on them."""
    kicks, snares = (_starts(note for note in drums if note.pitch in its) for its in (KICKS, SNARES))
    kicks = kicks[_count(snares, kicks) == 0]
    if len(times) < 2 * FEW_HITS or len(kicks) < FEW_HITS or len(snares) < FEW_HITS:
        return times
    shifted = [(SHIFT_MARGIN, _taken(times, shift, 1)) for shift in SHIFTS]
    levels = [(LEVEL_MARGIN, _taken(times, first, step)) for step in LEVELS for first in np.arange(0, step, 0.5)]
    slowest, fastest = 60 / np.array(BACKBEAT_RANGE)
    found, better = _backbeat(times, kicks, snares), []
    for margin, other in [*shifted, *levels]:
        fit, period = _backbeat(other, kicks, snares), float(np.median(np.diff(other)))
        if fit >= found + margin:
            better.append((round(fit, 1), period, other))  # of two that fit alike, the slower has fewer empty beats
    _, period, best = max(better, key=lambda each: each[:2], default=(0.0, 0.0, times))
    return best if fastest <= period <= slowest else times


def _taken(times, first, step):
    """Every `step`-th beat from number `first`: of beats between two, the time in proportion."""
    early = times[0] + (first - step) * (times[1] - times[0])
    taken = np.interp(np.arange(first, len(times) - 1 + 1e-6, step), np.arange(len(times)), times)
    return np.r_[early, taken] if first > 0 and early > -TOLERANCE else taken


def _backbeat(times, kicks, snares):
    """How far kicks fall on every other beat and snares on those between: from -1 to 1 for all."""
    found = [[(_count(times[part::2], hits) > 0).mean() for part in (0, 1)] for hits in (kicks, snares)]
    (kicks_even, kicks_odd), (snares_even, snares_odd) = found
    return abs(kicks_even - kicks_odd + snares_odd - snares_even) / 2


def _in_sevens(half_beats, pitched, drums):
    """The grid in bars of seven eighths, which are half-beats or beats, where no other bar fits as well; else None."""
    for times in (half_beats, _every_other(half_beats, pitched, drums)):
        fit, first = _fit_of_sevens(times, pitched, drums)
        if fit > SEVEN_MARGIN:
            return Grid(times, SEVEN, first, eighths=True)
    return None


def _fit_of_sevens(times, pitched, drums):
    """How many times better bars of seven fit than any others, and their first beat; 0 where twice as many do."""
    accents = _accents_of_notes(times, pitched, drums)
    if len(accents) < FEW_BARS * SEVEN:
        return 0.0, 0
    (ratio, first), (longer, _) = (_stress(accents, length) for length in (SEVEN, 2 * SEVEN))
    if longer > SEVEN_MARGIN * ratio:  # these are half-bars
        return 0.0, 0
    return ratio / max(_stress(accents, other)[0] for other in OTHERS), first


def _in_thirds(times, notes):
    """Whether beats are divided in three throughout, and not in two or four."""
    place = np.interp(_starts(notes), times, np.arange(len(times)), left=-1, right=-1)
    beat, twelfth = np.divmod(np.rint(12 * place[place >= 0]).astype(int), 12)
    middle, straight = (len(np.unique(beat[np.isin(twelfth, its)])) for its in ((4,), (3, 6, 9)))
    n_beats = len(np.unique(beat))
    return middle > MIDDLE * n_beats and straight < STRAIGHT * n_beats


def _compound(grid, pitched, drums):
    """The grid in beats of three eighths, where beats are divided in three: 9/8 and 12/8.

    6/8 is where a bar of three beats has its second long notes half-way.
    """
    if len(grid.times) < FEW_BEATS:
        return grid
    if _in_thirds(grid.times, [*pitched, *drums]):
        return grid._replace(compound=True)
    if grid.metre != 3:
        return grid
    times = grid.times[grid.downbeat :]
    lengths = _lengths(pitched, _taken(times, 0, 0.5))
    means = [lengths[place::6].mean() for place in (2, 3, 4)]
    if means[1] <= LONG_NOTES * max(means[0], means[2]):
        return grid
    times = _taken(times, 0, 1.5)
    accents = _accents_of_notes(times, pitched, drums)
    (two, _), (three, first) = (_stress(accents, metre) for metre in (2, 3))
    metre, first = (3, first) if three > METRES[3] * two else (2, 0)
    return Grid(times, metre, first, compound=True)


def _low_notes(times, pitched, drums):
    """The shares of bass notes, and of kicks and crashes, that begin at each time, added up: shape (n_times,).

    A kick together with a snare is none: it is the third beat of a reggae, or a fill.
    """
    bass = _starts(note for note in pitched if note.pitch < BASS_BELOW)
    hits, snares = (_starts(note for note in drums if note.pitch in its) for its in (KICK_AND_CRASH, SNARES))
    hits = hits[_count(snares, hits) == 0]
    return sum(_count(onsets, times) / max(1, len(onsets)) for onsets in (bass, hits))


def _starts(notes):
    """When notes begin, in seconds, ascending: np.ndarray."""
    return np.sort([note.start for note in notes])


def _count(onsets, times):
    """How many onsets lie within the tolerance of each time."""
    return np.searchsorted(onsets, times + TOLERANCE) - np.searchsorted(onsets, times - TOLERANCE).astype(float)


def _bars(times, pitched, drums):
    """Beats per bar, the index of the beat that begins the first bar, and the changes of metre."""
    first_start = min((note.start for note in [*pitched, *drums]), default=times[0])
    first_note = np.flatnonzero(np.abs(times - first_start) < TOLERANCE)[:1]
    accents = _accents_of_notes(times, pitched, drums)
    metre, first = _one_metre(accents, first_note)
    (first, metre), *changes = _sections(accents, metre, first)
    return metre, first, tuple(changes)


def _accents(times, pitched, drums):
    """How much points to a bar's beginning: low notes, changes of harmony and long notes; shape (n_times,)."""
    harmony = _chroma(pitched, [*times, max((note.end for note in pitched), default=0.0)])
    change = np.r_[0.0, 1.0 - (harmony[1:] * harmony[:-1]).sum(axis=1)]
    change, lengths = (each / max(1e-9, each.sum()) for each in (change, _lengths(pitched, times)))
    return _low_notes(times, pitched, drums) + change + LONG_WEIGHT * lengths


def _accents_of_notes(times, pitched, drums):
    """`_accents` up to the last note: after it, all beats are alike."""
    last = max((note.start for note in [*pitched, *drums]), default=times[0])
    return _accents(times, pitched, drums)[: np.searchsorted(times, last + TOLERANCE)]


def _stress(accents, metre, first_note=NONE):
    """How many times more one beat of a bar is accented than the others are, and which."""
    means = np.array([accents[beat::metre].mean() if beat < len(accents) else 0.0 for beat in range(metre)])
    means[first_note % metre] += FIRST_NOTE * means.mean()
    first = int(np.argmax(means))
    return (means[first] + 1e-9) / (np.delete(means, first).mean() + 1e-9), first


def _one_metre(accents, first_note):
    """The metre of most of a song, and the index of its first bar's first beat."""
    rated = []
    for metre, margin in METRES.items():
        ratio, first = _stress(accents, metre, first_note)
        rated.append((ratio / margin, metre, first))
    return max(rated)[1:]


def _sections(accents, metre, first):
    """Where a metre begins: [(index of the beat, metre)]. It is as given from `first`, unless others fit much better.

    The best way through the song from bar to bar, in any metre: a bar is worth its first accent, as often as it has
    beats, and each change costs.
    """
    worth = np.minimum(accents / max(accents.mean(), 1e-9), MOST_ACCENT) - 1 if len(accents) else accents
    best, came_from = {}, {}
    for beat, length in ((beat, length) for beat in range(len(worth)) for length in METRES):
        before = [((beat - other, other), best.get((beat - other, other))) for other in METRES]
        ways = [(value - CHANGE_COST * (bar[1] != length), bar) for bar, value in before if value is not None]
        if beat < length:
            ways.append((0.0 if (beat, length) == (first, metre) else -CHANGE_COST, None))
        if ways:
            value, came_from[beat, length] = max(ways, key=lambda way: way[0])
            best[beat, length] = value + length * worth[beat]
    ends = [bar for bar in best if bar[0] >= len(worth) - bar[1]]
    bar, bars = max(ends, key=best.get, default=(first, metre)), []
    while bar:
        bars.append(bar)
        bar = came_from.get(bar)
    bars.reverse()
    return [bar for before, bar in zip([None, *bars], bars, strict=False) if not before or before[1] != bar[1]]


def _chroma(notes, times):
    """How long each pitch class sounds from each time in seconds to the next, normalised to unit length.

    Returns
    -------
    np.ndarray, shape=(n_times - 1, 12)
    """
    times = np.maximum.accumulate(times)
    chroma = np.zeros((len(times) - 1, 12))
    for pitch_class in range(12):
        its = [note for note in notes if note.pitch % 12 == pitch_class]
        sounded = _since([note.start for note in its], times) - _since([note.end for note in its], times)
        chroma[:, pitch_class] = np.diff(sounded).clip(0)
    norm = np.linalg.norm(chroma, axis=1, keepdims=True)
    return chroma / np.where(norm > 0, norm, 1.0)


def _since(events, times):
    """The time that has passed since each event before a time, summed over events: shape (n_times,)."""
    events = np.sort(events)
    before = np.searchsorted(events, times)
    return before * times - np.r_[0.0, np.cumsum(events)][before]
