"""From the sound of one pitched instrument to its notes. Used by notebook 05, through `transcription.py`.

Instruments that play one note at a time go through **pYIN** (Mauch and Dixon 2014), which follows one pitch over time.
For the others a spectrogram with constant-Q resolution (as fine as the Fourier transform allows in the bass) is
explained, frame by frame, as a sum of notes: each note is a fixed comb of partials, and non-negative factorisation
(Lee and Seung 2001, Kullback-Leibler divergence) finds how much of each comb there is. A partial that a stronger, lower
note explains is thereby not heard as a note of its own. Both leave *when* a note starts to the **onsets**: sudden rises
over the whole spectrum, found with a much shorter window.
"""

import itertools
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy.ndimage import maximum_filter1d, median_filter, uniform_filter1d

SAMPLE_RATE = 22050  # Hz: the highest partials that tell notes apart lie below 8 kHz
HOP = 512  # samples: 23 ms
WINDOW = 4096  # samples: 186 ms, fine enough in frequency to part the partials of bass notes
FRAME = HOP / SAMPLE_RATE  # seconds
LOWEST_HZ, HIGHEST_HZ, BINS_PER_OCTAVE = 25.0, 8000.0, 36
BLOCK = 4096  # frames worked on at a time: memory stays bounded however long the song is

NOISE_TEMPLATES = 6  # broad humps that take up attacks, breath and leakage
ITERATIONS = 30

AGAINST_SONG = 0.24  # a note is at least this part of the stem's loud notes ...
AGAINST_FRAME = 0.6  # ... and of the loudest note sounding with it
REATTACK_LEVEL = 1.1  # the same for the level of a one-voice instrument, which rings on under the new attack
RELEASE = 0.4  # it ends below this part of what it needed to begin
REATTACK = 1.5  # a sounding note is struck again when it grows by this factor at an onset; tremolo grows less
NOISE_FLATNESS = 0.2  # spectral flatness above which a frame holds no pitch: white noise 0.8, pink 0.3, notes below 0.1

ONSET_HOP, ONSET_WINDOW = 256, 1024
ONSET_RISE = 0.06  # of the strongest onset in the stem
ONSET_LEAD = 0.006  # seconds: the window sees an onset a little late
SNAP = 3  # frames within which a note's start moves to an onset
SHORTEST = 0.08  # seconds
PYIN_WINDOW = 2048
PYIN_RESOLUTION = 0.25  # semitones


class Note(NamedTuple):
    """One note: `start` and `end` in seconds, MIDI `pitch`, `strength` (linear, comparable within one stem)."""

    start: float
    end: float
    pitch: int
    strength: float


class Timbre(NamedTuple):
    """What a note of an instrument consists of.

    `partials`: frequencies relative to the note's; `decay`: amplitude of each partial relative to the one before;
    `overtones`: semitones above a note where one of its partials may be mistaken for a note, which it is held for only
    when stronger than `overtone_ratio` times the note.
    """

    partials: tuple
    decay: float
    overtones: tuple
    overtone_ratio: float


OCTAVES_AND_FIFTHS = (12, 19, 24, 28, 31, 34, 36)  # the harmonics 2 to 8
HARMONIC = Timbre(tuple(range(1, 25)), 0.8, OCTAVES_AND_FIFTHS, 0.5)
GUITAR = HARMONIC._replace(decay=0.9)  # plucked near the bridge: bright
ORGAN = HARMONIC._replace(partials=(0.5, 1, 1.5, 2, 3, 4, 5, 6, 8))  # drawbars from 16' to 1': one an octave below
BAR = Timbre((1, 2.75, 5.3, 6.9, 8.6), 1.0, (8, 11, 17, 18, 29, 33, 38), 10.0)  # the bending modes of a metal bar
TIMBRES = {
    **dict.fromkeys(range(8, 12), BAR),
    **dict.fromkeys(range(16, 19), ORGAN),
    **dict.fromkeys(range(24, 32), GUITAR),
}


def one_voice(waveform, lowest, highest):
    """The notes of an instrument that plays one at a time.

    Parameters
    ----------
    waveform : np.ndarray, shape=(n_samples,), float32
        At `SAMPLE_RATE`.
    lowest, highest : int
        MIDI notes between which to listen.

    Returns
    -------
    list of Note
    """
    import librosa

    f0, voiced, _ = librosa.pyin(
        waveform,
        fmin=_hz(lowest - 0.5),
        fmax=_hz(highest + 0.5),
        sr=SAMPLE_RATE,
        frame_length=PYIN_WINDOW,
        hop_length=HOP,
        resolution=PYIN_RESOLUTION,
        fill_na=None,
    )
    pitch = median_filter(np.rint(librosa.hz_to_midi(f0)).astype(int), 5)
    level = librosa.feature.rms(y=waveform, frame_length=PYIN_WINDOW, hop_length=HOP)[0][: len(pitch)]
    sounding = voiced & (level > AGAINST_SONG * np.percentile(level, 95))
    attacks = onsets(waveform)
    edges = np.flatnonzero(np.diff(np.where(sounding, pitch, 0), prepend=0, append=0))
    notes = []
    for begin, end in itertools.pairwise(edges):
        if sounding[begin]:
            notes += _split(level, begin, end, int(pitch[begin]), attacks, REATTACK_LEVEL)
    return sorted(notes)


def many_voices(waveform, lowest, highest, program):
    """The notes of an instrument that can play several at once.

    Parameters
    ----------
    waveform : np.ndarray, shape=(n_samples,), float32
        At `SAMPLE_RATE`.
    lowest, highest : int
        MIDI notes between which to listen.
    program : int
        General MIDI program: some instruments' partials are not the usual harmonic series.

    Returns
    -------
    list of Note
    """
    amounts = _amounts(waveform, lowest, highest, program)
    loudest = amounts.max(axis=0)
    if not loudest.any():
        return []
    song = np.percentile(loudest[loudest > 0.01 * loudest.max()], 90)
    needed = np.maximum(AGAINST_SONG * song, AGAINST_FRAME * maximum_filter1d(loudest, 5))
    attacks = onsets(waveform)
    notes = []
    for index in np.flatnonzero((amounts > needed).any(axis=1)):
        for begin, end in _stretches(amounts[index], needed):
            notes += _split(amounts[index], begin, end, lowest + int(index), attacks, REATTACK, needed)
    return _without_overtones(sorted(notes), TIMBRES.get(program, HARMONIC))


def onsets(waveform):
    """Where something begins to sound: times in seconds, ascending. `waveform` as for `one_voice`."""
    import librosa

    bands = librosa.feature.melspectrogram(
        y=waveform, sr=SAMPLE_RATE, n_fft=ONSET_WINDOW, hop_length=ONSET_HOP, n_mels=80, fmin=40, fmax=9000, power=1.0
    )
    level = np.log1p(300 * bands / (bands.max() + 1e-12))
    before = maximum_filter1d(level, 3, axis=0)[:, :-2]  # neighbouring bands too: vibrato is no onset (SuperFlux)
    return (
        peaks(np.maximum(0, level[:, 2:] - before).mean(axis=0), ONSET_RISE) + 2
    ) * ONSET_HOP / SAMPLE_RATE - ONSET_LEAD


def peaks(flux, rise, reach=3):
    """Indices of peaks that stand above their surroundings by `rise` times the highest."""
    if flux.size == 0 or flux.max() <= 0:
        return np.array([], int)
    flux = flux / flux.max()
    return np.flatnonzero(
        (flux >= maximum_filter1d(flux, 2 * reach + 1)) & (flux > uniform_filter1d(flux, 4 * reach + 5) + rise)
    )


def _stretches(amount, needed):
    """[begin, end) frames where a note sounds: from reaching what it needs until it has fallen well below."""
    edges = np.flatnonzero(np.diff(amount > RELEASE * needed, prepend=False, append=False))
    for begin, end in edges.reshape(-1, 2):
        reached = amount[begin:end] > needed[begin:end]
        if reached.any() and end - begin > 2:
            yield begin + int(np.argmax(reached)), end


def _split(amount, begin, end, pitch, attacks, reattack, needed=None):
    """A stretch of one pitch as notes: from its start, and again from every onset at which it grows."""
    frames = np.rint(attacks / FRAME).astype(int)
    starts = [_start(amount, begin, attacks, frames)]
    for time, frame in zip(attacks, frames, strict=True):
        if begin + 2 < frame < end - 2 and time - starts[-1] > SHORTEST:
            after = amount[frame + 1 : frame + 5].max()
            grown = after > reattack * amount[frame - 2 : frame + 1].min()
            if grown and (needed is None or after > needed[frame + 1]):
                starts.append(time)
    ends = [*starts[1:], end * FRAME]
    strengths = [
        amount[max(begin, int(s / FRAME)) :][: max(1, int((e - s) / FRAME))].max()
        for s, e in zip(starts, ends, strict=True)
    ]
    return [
        Note(max(0.0, float(s)), float(e), pitch, float(strength))
        for s, e, strength in zip(starts, ends, strengths, strict=True)
        if e - s > SHORTEST
    ]


def _start(amount, begin, attacks, frames):
    """When a stretch that reaches its strength at frame `begin` starts: at an onset nearby, or half way up its rise."""
    near = np.flatnonzero(np.abs(frames - begin + 1) <= SNAP + 1)
    if near.size:
        return attacks[near[np.argmin(np.abs(frames[near] - begin))]]
    rise = amount[max(begin - 3, 0) : begin + 6]
    return (max(begin - 3, 0) + int(np.argmax(rise >= 0.5 * rise.max()))) * FRAME


def _without_overtones(notes, timbre):
    """Drop notes that are a partial of a stronger note sounding where they start."""
    starts = np.array([note.start for note in notes])
    kept = []
    for note in notes:
        # a note that hides this one started at most ten seconds before it, and hardly after it
        first, last = np.searchsorted(starts, [note.start - 10, note.start + 0.06])
        hidden = any(
            note.pitch - other.pitch in timbre.overtones
            and note.start < max(other.end, other.start + 0.1)
            and note.strength < timbre.overtone_ratio * other.strength
            for other in notes[first:last]
        )
        if not hidden:
            kept.append(note)
    return kept


def _amounts(waveform, lowest, highest, program):
    """How much of each note is in each frame: shape (n_notes, n_frames); zero where a frame is noise."""
    import librosa

    templates = _templates(lowest, highest, program)
    padded = np.pad(waveform, WINDOW // 2)
    n_frames = 1 + len(waveform) // HOP
    amounts = np.zeros((highest - lowest + 1, n_frames), np.float32)
    for start in range(0, n_frames, BLOCK):
        end = min(start + BLOCK, n_frames)
        piece = padded[start * HOP : (end - 1) * HOP + WINDOW]
        magnitude = np.abs(librosa.stft(piece, n_fft=WINDOW, hop_length=HOP, center=False))
        spectrum = _filters() @ magnitude
        found = _factorised(spectrum, templates)[: len(amounts)]
        amounts[:, start:end] = found * (_flatness(spectrum) < NOISE_FLATNESS)
    return amounts


def _flatness(spectrum):
    """Geometric over arithmetic mean of each frame's power per Hz: 0 for a single partial, near 1 for white noise."""
    power = (spectrum / _filters().sum(axis=1, keepdims=True)).astype(np.float64) ** 2 + 1e-20
    return np.exp(np.log(power).mean(axis=0)) / power.mean(axis=0)


def _factorised(spectrum, templates):
    """Amounts (n_templates, n_frames), none negative, with which the templates come nearest to `spectrum`."""
    amounts = np.ones((templates.shape[1], spectrum.shape[1]), np.float32) * spectrum.mean(axis=0)
    for _ in range(ITERATIONS):
        amounts *= templates.T @ (spectrum / (templates @ amounts + 1e-9))  # each template sums to one
    return amounts


@cache
def _templates(lowest, highest, program):
    """One column per note, then the noise templates: shape (n_bins, n_notes + NOISE_TEMPLATES)."""
    timbre = TIMBRES.get(program, HARMONIC)
    notes = [_comb(_hz(pitch), timbre) for pitch in range(lowest, highest + 1)]
    log_centres, edges = np.log(_centres()[1:-1]), np.log(np.geomspace(40, HIGHEST_HZ, NOISE_TEMPLATES + 2))
    humps = [np.interp(log_centres, edges[i : i + 3], [0, 1, 0]) for i in range(NOISE_TEMPLATES)]
    noise = [hump * _filters().sum(axis=1) for hump in humps]
    columns = np.array(notes + noise, np.float32).T
    return columns / columns.sum(axis=0)


def _comb(fundamental, timbre):
    """What a note looks like in our spectrogram: the window's main lobe at every partial, shape (n_bins,)."""
    bins = np.arange(WINDOW // 2 + 1) * SAMPLE_RATE / WINDOW
    spectrum = np.zeros_like(bins)
    for index, ratio in enumerate(timbre.partials):
        distance = (bins - ratio * fundamental) * WINDOW / SAMPLE_RATE
        spectrum += timbre.decay**index * np.cos(np.clip(distance, -2, 2) * np.pi / 4) ** 2 * (np.abs(distance) < 2)
    return _filters() @ spectrum


@cache
def _filters():
    """Triangular filters from Fourier bins to our spectrogram's: shape (n_bins, WINDOW // 2 + 1)."""
    below, centre, above = (_centres()[i : len(_centres()) - 2 + i, None] for i in range(3))
    bins = np.arange(WINDOW // 2 + 1) * SAMPLE_RATE / WINDOW
    rising, falling = (bins - below) / (centre - below), (above - bins) / (above - centre)
    return np.clip(np.minimum(rising, falling), 0, None).astype(np.float32)


@cache
def _centres():
    """Filter frequencies in Hz, with one more at either end: constant-Q, but no closer than the Fourier bins."""
    centres = [LOWEST_HZ]
    while centres[-1] < HIGHEST_HZ:
        centres.append(centres[-1] + max(SAMPLE_RATE / WINDOW, centres[-1] * (2 ** (1 / BINS_PER_OCTAVE) - 1)))
    return np.array(centres)


def _hz(pitch):
    return 440.0 * 2 ** ((pitch - 69) / 12)
