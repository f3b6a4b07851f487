"""Where the beats of a song are, how many make a bar, and its key. Used by 05, through `transcription.py`.

The tempo is the one that the onsets of the whole song follow best: a peak of their spectrum. If one tempo fits all of
the song, its beats are evenly spread; else they are found one by one, as dynamic programming finds them (Ellis 2007, in
librosa), since people do not play like clockwork. The sound alone hardly tells a beat from the half-beat between two:
low notes and the kick drum fall on beats, and where nothing at all is played between two, they were half-beats. A bar
begins where these meet with a change of harmony; a key is the one whose notes are heard most (Krumhansl 1990).
"""

from typing import NamedTuple

import numpy as np

from muscomp_lib.transcription.cqt import SAMPLE_RATE

HOP = 256  # samples
RATE = SAMPLE_RATE / HOP  # Hz
TEMPI = (40.0, 240.0)  # bpm
TYPICAL_TEMPO, TEMPO_SPREAD = 115.0, 0.9  # bpm and octaves: where people tap, all else being equal
FINENESS = 8  # how much finer than its length allows a spectrum is looked at
SHORTEST = 2.0  # seconds: in less there is no beat to be found
CLEARLY = 1.15  # how much better another metre has to be
UNSTEADY = 2.0  # how much better beats found one by one have to be than evenly spread ones
NEAR = 0.06  # seconds: what is as near to a beat is on it
ALONE = 0.15  # share of half-beats on which something is played: with less, the beats themselves are half-beats ...
QUICK = 120.0  # bpm: ... if there are at least so many
LOW = 48  # MIDI note: the bass plays below
METRES = (4, 3)  # beats in a bar; the first unless the other is clearly better
MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)  # how well each note fits a key
MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)


class Grid(NamedTuple):
    """A song's beats.

    `times` in seconds, ascending; `metre` in beats per bar; `downbeat`: which of the first beats begins a bar.
    """

    times: np.ndarray
    metre: int
    downbeat: int

    @property
    def tempo(self):
        """Beats per minute, most of the time."""
        return float(60.0 / np.median(np.diff(self.times)))


def grid(song, notes):
    """A song's beats and bars.

    Parameters
    ----------
    song : np.ndarray, shape=(n_samples,), float32
        At `constant_q.SAMPLE_RATE`.
    notes : dict of str to list of transcriber.Note
        By instrument.

    Returns
    -------
    Grid or None
        None where nothing can be counted along.
    """
    if len(song) < SHORTEST * SAMPLE_RATE or not song.any():
        return None
    rise = _rise(song)
    tempo = _tempo(rise)
    halves = _half_beats(rise, tempo) if tempo else []
    if len(halves) < 4:
        return None
    starts = np.sort([note.start for those in notes.values() for note in those])
    halves = halves + _late(halves, starts)
    times = _every_other(halves, notes)
    between = (times[1:] + times[:-1]) / 2
    if tempo > QUICK and len(starts) > len(times) and np.mean(_count(starts, between) > 0) < ALONE:
        times = _every_other(times, notes)
    return Grid(times, *_bars(times, notes)) if len(times) > 1 else None


def _rise(song):
    """How much is added to the sound at each hop."""
    import librosa

    return librosa.onset.onset_strength(y=song, sr=SAMPLE_RATE, hop_length=HOP)


def _tempo(rise):
    """Beats per minute; 0 when there are none."""
    n = 1 << int(np.ceil(np.log2(FINENESS * len(rise))))
    spectrum = np.abs(np.fft.rfft(rise - rise.mean(), n))
    first, last = (int(bpm / 60 / RATE * n) for bpm in TEMPI)
    tempi = np.arange(first, min(last, len(spectrum) // 4))
    following = sum(spectrum[tempi * k] for k in (1, 2, 4))
    if not following.any():
        return 0.0
    bpm = tempi * 60 * RATE / n
    octaves = np.log2(bpm / TYPICAL_TEMPO)
    return float(bpm[np.argmax(following * np.exp(-0.5 * (octaves / TEMPO_SPREAD) ** 2))])


def _half_beats(rise, tempo):
    """Times of beats and of the middles between them, in seconds: evenly spread, unless others fit far better."""
    import librosa

    length = len(rise) / RATE
    period = 60 / tempo
    phases = np.arange(0, period, 1 / RATE)
    even = [np.arange(phase, length, period) for phase in phases]
    even = max(even, key=lambda times: _heard(rise, times))
    _, found = librosa.beat.beat_track(
        onset_envelope=rise, sr=SAMPLE_RATE, hop_length=HOP, bpm=tempo, trim=False, units="time"
    )
    times = found if len(found) > 2 and _heard(rise, found) > UNSTEADY * _heard(rise, even) else even
    return np.sort(np.r_[times, (times[1:] + times[:-1]) / 2])


def _heard(rise, times):
    """How much begins at these times, on average; a hop earlier or later will do."""
    frames = np.rint(times * RATE).astype(int).clip(1, len(rise) - 2)
    return np.mean(np.max([rise[frames + shift] for shift in (-1, 0, 1)], axis=0))


def _late(times, starts):
    """By how much notes begin later than these times, typically: the sound's rise is seen with a delay."""
    if not len(starts):
        return 0.0
    after = np.searchsorted(starts, times).clip(0, len(starts) - 1)
    before = (after - 1).clip(0)
    late = np.where(
        np.abs(starts[after] - times) < np.abs(starts[before] - times), starts[after] - times, starts[before] - times
    )
    near = late[np.abs(late) < NEAR]
    return float(np.median(near)) if len(near) else 0.0


def _every_other(times, notes):
    """Of the odd and the even times, those on which more of the low notes begin."""
    weight = _low_notes(times, notes)
    return times[int(weight[1::2].sum() > weight[::2].sum()) :: 2]


def _low_notes(times, notes):
    """How many notes of the bass, and strokes of the kick drum and the crash, begin at each time."""
    bass = [n.start for name, those in notes.items() if name != "Drums" for n in those if n.pitch < LOW]
    drums = [n.start for n in notes.get("Drums", []) if n.pitch in (36, 49)]
    return sum(_count(np.sort(starts), times) / max(1, len(starts)) for starts in (bass, drums))


def _count(starts, times):
    return np.searchsorted(starts, times + NEAR) - np.searchsorted(starts, times - NEAR).astype(float)


def _bars(times, notes):
    """Beats in a bar, and which beat begins the first."""
    pitched = {name: those for name, those in notes.items() if name != "Drums"}
    harmony = np.stack([_chroma(pitched, begin, end) for begin, end in zip(times, [*times[1:], np.inf], strict=True)])
    change = np.r_[0.0, 1.0 - (harmony[1:] * harmony[:-1]).sum(axis=1)]
    accents = _low_notes(times, notes) + change / max(1e-9, change.sum())
    rated = []
    for metre in METRES:
        means = np.array([accents[beat::metre].mean() if beat < len(accents) else 0.0 for beat in range(metre)])
        first = int(np.argmax(means))
        rated.append(((means[first] + 1e-9) / (np.delete(means, first).mean() + 1e-9), metre, first))
    usual, best = rated[0], max(rated)
    return (best if best[0] > CLEARLY * usual[0] else usual)[1:]


def _chroma(notes, begin=0.0, end=np.inf):
    """How long each of the twelve notes sounds between two times, of length 1: shape (12,)."""
    found = np.zeros(12)
    for note in (note for those in notes.values() for note in those):
        found[note.pitch % 12] += max(0.0, min(note.end, end) - max(note.start, begin))
    return found / (np.linalg.norm(found) or 1.0)


def key(notes):
    """The key as pretty_midi counts them: 0 to 11 for C to B major, 12 to 23 for C to B minor; None without notes.

    Parameters
    ----------
    notes : dict of str to list of transcriber.Note
    """
    heard = _chroma({name: those for name, those in notes.items() if name != "Drums"})
    if not heard.any():
        return None
    fits = [np.corrcoef(heard, np.roll(profile, root))[0, 1] for profile in (MAJOR, MINOR) for root in range(12)]
    return int(np.argmax(fits))
