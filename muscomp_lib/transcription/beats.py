"""Tempo, beats, bars and key of a song. Used by notebook 05, through `transcribe.py`.

**Tempo** is a peak in the spectrum of the song's onset strength. If one tempo fits the whole song, its beats are evenly
spaced; otherwise they are tracked one by one with dynamic programming (Ellis 2007, in librosa), since people do not
play like clockwork. Onsets alone hardly distinguish a beat from the half-beat between two: bass notes, kick and crash
fall on beats, and where nothing is played between two beats, they were half-beats. A **bar** begins where these
coincide with a change of harmony. The **key** is the one whose profile correlates best with the pitches (Krumhansl
1990).
"""

from typing import NamedTuple

import numpy as np

from muscomp_lib.transcription.cqt import SAMPLE_RATE

HOP = 256  # samples
RATE = SAMPLE_RATE / HOP  # Hz, of the onset strength
FRAME = 2048  # samples of a spectrum
BLOCK = 4096  # spectra in memory at a time
TEMPO_RANGE = (40.0, 240.0)  # bpm
TYPICAL_TEMPO, TEMPO_SPREAD = 115.0, 0.9  # bpm and octaves: the prior over tempi
OVERSAMPLING = 8  # of the spectrum in which the tempo is searched
MIN_SECONDS = 2.0  # anything shorter has no beat
METRE_MARGIN = 1.15  # how many times better another metre has to fit than the usual one
TRACKING_MARGIN = 2.0  # how many times better tracked beats have to fit than evenly spaced ones
TOLERANCE = 0.06  # seconds: a note this close to a beat is on it
SPARSE = 0.15  # share of half-beats with a note: with less, the beats themselves are half-beats ...
FAST = 120.0  # bpm: ... if the tempo is at least this
BASS_BELOW = 48  # MIDI pitch
KICK_AND_CRASH = (36, 49)  # drum hits that mark beats
METRES = (4, 3)  # beats per bar; the first is the usual one
MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)  # key profiles
MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)


class Grid(NamedTuple):
    """A song's beats.

    `times` in seconds, ascending; `metre` in beats per bar; `downbeat`: index of the first beat that begins a bar.
    """

    times: np.ndarray
    metre: int
    downbeat: int

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
    strength = _onset_strength(song)
    tempo = _tempo(strength)
    half_beats = _half_beats(strength, tempo) if tempo else []
    if len(half_beats) < 4:
        return None
    onsets = np.sort([note.start for note in [*pitched, *drums]])
    half_beats = half_beats + _lag(half_beats, onsets)
    times = _every_other(half_beats, pitched, drums)
    between = (times[1:] + times[:-1]) / 2
    if tempo > FAST and len(onsets) > len(times) and np.mean(_count(onsets, between) > 0) < SPARSE:
        times = _every_other(times, pitched, drums)
    return Grid(times, *_bars(times, pitched, drums)) if len(times) > 1 else None


def key(pitched):
    """Find the key of notes (list of note_decoder.Note).

    Returns
    -------
    int or None
        In pretty_midi's numbering: 0 to 11 for C to B major, 12 to 23 for C to B minor; None without notes.
    """
    chroma = _chroma(pitched)
    if not chroma.any():
        return None
    fits = [np.corrcoef(chroma, np.roll(profile, root))[0, 1] for profile in (MAJOR, MINOR) for root in range(12)]
    return int(np.argmax(fits))


def _onset_strength(song):
    """The onset strength (spectral flux) at each hop: shape (n_hops,). An hour's whole spectrogram would take 3 GB."""
    import librosa

    padded = np.pad(song, FRAME // 2)
    blocks = (padded[start : start + HOP * (BLOCK - 1) + FRAME] for start in range(0, len(song) + 1, HOP * BLOCK))
    options = {"sr": SAMPLE_RATE, "n_fft": FRAME, "hop_length": HOP, "center": False}
    mel = np.concatenate([librosa.feature.melspectrogram(y=block, **options) for block in blocks], axis=1)
    return librosa.onset.onset_strength(S=librosa.power_to_db(mel), sr=SAMPLE_RATE, hop_length=HOP, n_fft=FRAME)


def _tempo(strength):
    """Beats per minute; 0 without any."""
    n = 1 << int(np.ceil(np.log2(OVERSAMPLING * len(strength))))
    spectrum = np.abs(np.fft.rfft(strength - strength.mean(), n))
    first, last = (int(bpm / 60 / RATE * n) for bpm in TEMPO_RANGE)
    bins = np.arange(first, min(last, len(spectrum) // 4))
    salience = sum(spectrum[bins * harmonic] for harmonic in (1, 2, 4))
    if not salience.any():
        return 0.0
    bpm = bins * 60 * RATE / n
    octaves = np.log2(bpm / TYPICAL_TEMPO)
    return float(bpm[np.argmax(salience * np.exp(-0.5 * (octaves / TEMPO_SPREAD) ** 2))])


def _half_beats(strength, tempo):
    """Times in seconds of beats and of the half-beats between them; evenly spaced, unless tracked ones fit better."""
    import librosa

    length = len(strength) / RATE
    period = 60 / tempo
    phases = np.arange(0, period, 1 / RATE)
    even = max((np.arange(phase, length, period) for phase in phases), key=lambda times: _fit(strength, times))
    _, tracked = librosa.beat.beat_track(
        onset_envelope=strength, sr=SAMPLE_RATE, hop_length=HOP, bpm=tempo, trim=False, units="time"
    )
    fits_better = len(tracked) > 2 and _fit(strength, tracked) > TRACKING_MARGIN * _fit(strength, even)
    times = tracked if fits_better else even
    return np.sort(np.r_[times, (times[1:] + times[:-1]) / 2])


def _fit(strength, times):
    """The mean onset strength at times in seconds, to within a hop."""
    frames = np.rint(times * RATE).astype(int).clip(1, len(strength) - 2)
    return np.mean(np.max([strength[frames + shift] for shift in (-1, 0, 1)], axis=0))


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
    """Of the odd and the even times, those with more bass notes, kicks and crashes."""
    accents = _low_notes(times, pitched, drums)
    return times[int(accents[1::2].sum() > accents[::2].sum()) :: 2]


def _low_notes(times, pitched, drums):
    """The shares of bass notes, and of kicks and crashes, that begin at each time, added up: shape (n_times,)."""
    bass = [note.start for note in pitched if note.pitch < BASS_BELOW]
    hits = [note.start for note in drums if note.pitch in KICK_AND_CRASH]
    return sum(_count(np.sort(onsets), times) / max(1, len(onsets)) for onsets in (bass, hits))


def _count(onsets, times):
    """How many onsets lie within the tolerance of each time."""
    return np.searchsorted(onsets, times + TOLERANCE) - np.searchsorted(onsets, times - TOLERANCE).astype(float)


def _bars(times, pitched, drums):
    """Beats per bar, and the index of the beat that begins the first bar."""
    harmony = np.stack([_chroma(pitched, begin, end) for begin, end in zip(times, [*times[1:], np.inf], strict=True)])
    change = np.r_[0.0, 1.0 - (harmony[1:] * harmony[:-1]).sum(axis=1)]
    accents = _low_notes(times, pitched, drums) + change / max(1e-9, change.sum())
    rated = []
    for metre in METRES:
        means = np.array([accents[beat::metre].mean() if beat < len(accents) else 0.0 for beat in range(metre)])
        first = int(np.argmax(means))
        rated.append(((means[first] + 1e-9) / (np.delete(means, first).mean() + 1e-9), metre, first))
    usual, best = rated[0], max(rated)
    return (best if best[0] > METRE_MARGIN * usual[0] else usual)[1:]


def _chroma(notes, begin=0.0, end=np.inf):
    """How long each pitch class sounds between two times in seconds, normalised to unit length: shape (12,)."""
    chroma = np.zeros(12)
    for note in notes:
        chroma[note.pitch % 12] += max(0.0, min(note.end, end) - max(note.start, begin))
    return chroma / (np.linalg.norm(chroma) or 1.0)
