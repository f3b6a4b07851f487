"""What a timbre is in numbers: harmonics, envelope, and frames for a learned encoder. Used by notebook 06.

A **harmonic distribution** is how strong each overtone of a note is, as in DDSP (Engel et al. 2020). Its authors'
package gets it from an autoencoder and needs TensorFlow 2.11, which cannot live beside ours; one note's needs no
network: f0, then the spectrum's peaks at its multiples. It does not exist for what has no f0 (drums, noise) or several
(chords), and says little of high notes: below 11 kHz, C4 has 42 harmonics and A5 has 12. An **envelope**, the level in
40 bands spaced as hearing is, exists for all sounds, and is less exact for low notes, whose harmonics share bands.

Everything is computed at 22.05 kHz. Waveforms are mono, shape (n_samples,), float32; levels do not matter.
"""

from functools import cache

import numpy as np

from muscomp_lib import audio
from muscomp_lib.audio import stft
from muscomp_lib.core import instruments

RATE = 22050  # Hz
FRAME, STEP = 2048, 512  # samples
N_HARMONICS, N_BANDS, N_FRAME_BANDS = 40, 40, 64
NEAR = 0.03  # how far from its place, relative to f0, a harmonic is looked for: strings are stiff, tuning is not exact
LOBE = 2  # bins on either side of a peak that the window spreads it over
LOWEST, HIGHEST = 40.0, 2200.0  # Hz: where f0 is looked for
APERIODIC = 0.2  # YIN's threshold, of the difference function
FLOOR_DB = -60.0  # relative to the strongest
SCALE_DB = 20.0  # so that a query's numbers are about -2 to 1
QUIET_DB = -40.0  # frames this far below the loudest are left out
FRAMES = 64  # of a learned descriptor's query in training


def harmonics(sound, sample_rate, f0=None):
    """The harmonic distribution of one note.

    Parameters
    ----------
    sound : np.ndarray, shape=(n_samples,) or (n_samples, n_channels), float32
        At least 0.1 s of one note.
    sample_rate : int
        Hz.
    f0 : float, optional
        Its pitch in Hz; without it, `pitch` finds it.

    Returns
    -------
    np.ndarray, shape=(N_HARMONICS,), float32
        Amplitudes that sum to one, the fundamental first; zero above 11 kHz. All zero where there is no pitch.
    """
    sound = mono(sound, sample_rate)
    f0 = f0 or pitch(sound, RATE)
    if not f0:
        return np.zeros(N_HARMONICS, np.float32)
    length = max(FRAME, 1 << int(np.ceil(np.log2(8 * RATE / f0))))  # of eight periods, so that lobes are apart
    power = _loud_mean(sound, length)
    per_bin, places = RATE / length, f0 * np.arange(1, N_HARMONICS + 1)
    found = np.zeros(N_HARMONICS, np.float32)
    for number, place in enumerate(places[places * (1 + NEAR) < RATE / 2]):
        reach = max(per_bin, min(NEAR * place, f0 / 3))
        first = int((place - reach) / per_bin)
        peak = first + int(power[first : int((place + reach) / per_bin) + 2].argmax())
        found[number] = np.sqrt(power[max(0, peak - LOBE) : peak + LOBE + 1].sum())
    return found / max(found.sum(), 1e-12)


def envelope(sound, sample_rate):
    """The spectral envelope of a sound.

    Parameters
    ----------
    sound, sample_rate
        As for `harmonics`: of a note, a chord, a phrase or a drum.

    Returns
    -------
    np.ndarray, shape=(N_BANDS,), float32
        The level in bands of equal width in mel from 0 to 11 kHz, in dB relative to the strongest, FLOOR_DB at least.
    """
    return _in_db(mel_bands(FRAME, N_BANDS) @ _loud_mean(mono(sound, sample_rate), FRAME))


def frames(sound, sample_rate):
    """What the learned encoder gets: the sound's spectrogram, and how it changes.

    Returns
    -------
    np.ndarray, shape=(n_frames, 2 * N_FRAME_BANDS), float32
        Levels in bands, 23 ms apart, relative to the strongest of all, and their differences to the frame before, both
        scaled to a few units.
    """
    power = _power(mono(sound, sample_rate), FRAME)
    level = _in_db(power @ mel_bands(FRAME, N_FRAME_BANDS).T) / SCALE_DB + 1.0
    change = np.diff(level, axis=0, prepend=level[:1])
    return np.concatenate([level, change], axis=1).astype(np.float32)


def vector(descriptor, sound, sample_rate, f0=None):
    """A sound as the query of a network (models/query_unet.py): harmonics, envelope, both, learned or none.

    Returns
    -------
    np.ndarray, shape=(n_inputs,); of a learned descriptor (n_frames, n_inputs); float32
        `size` numbers, of the order of one.
    """
    if descriptor == "learned":
        return frames(sound, sample_rate)
    parts = [np.zeros(1 if descriptor == "none" else 0, np.float32)]
    if descriptor in ("harmonics", "both"):
        parts.append(_in_db(harmonics(sound, sample_rate, f0) ** 2) / SCALE_DB + 1.0)
    if descriptor in ("envelope", "both"):
        parts.append(envelope(sound, sample_rate) / SCALE_DB + 1.0)
    return np.concatenate(parts).astype(np.float32)


def size(descriptor):
    """How many numbers `vector` gives; of a learned descriptor, per frame. `one_hot` has one per program."""
    return {
        "harmonics": N_HARMONICS,
        "envelope": N_BANDS,
        "both": N_HARMONICS + N_BANDS,
        "learned": 2 * N_FRAME_BANDS,
        "one_hot": instruments.DRUMS + 1,
        "none": 1,
    }[descriptor]


def pitch(sound, sample_rate):
    """The pitch of one note, by YIN (de Cheveigne and Kawahara 2002): Hz, or None where nothing repeats.

    The difference function is taken of the loudest 0.1 s.
    """
    sound = mono(sound, sample_rate)
    longest = int(RATE / LOWEST)
    if len(sound) < 2 * longest:
        return None
    loudest = int(np.argmax(np.convolve(sound**2, np.ones(longest), "valid")[: len(sound) - 2 * longest + 1]))
    part = sound[loudest : loudest + 2 * longest].astype(np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(part, longest)[: longest + 1]
    difference = ((windows - windows[0]) ** 2).sum(axis=1)
    normalised = np.ones_like(difference)
    normalised[1:] = difference[1:] * np.arange(1, longest + 1) / np.maximum(np.cumsum(difference[1:]), 1e-12)
    dips = np.flatnonzero(normalised[int(RATE / HIGHEST) : -1] < APERIODIC)
    if not len(dips):
        return None
    at = int(dips[0]) + int(RATE / HIGHEST)
    while at + 1 < longest and normalised[at + 1] < normalised[at]:
        at += 1
    return RATE / (at + _vertex(*normalised[at - 1 : at + 2]))


def mono(sound, sample_rate):
    """A sound as (n_samples,) at RATE."""
    sound = np.asarray(sound, np.float32)
    sound = sound if sound.ndim == 1 else audio.mono(sound)[:, 0]
    return sound if sample_rate == RATE else audio.resample(sound[:, None], sample_rate, RATE)[:, 0]


@cache
def mel_bands(length, n_bands):
    """Triangles of equal width in mel: shape (n_bands, length / 2 + 1), each summing to one."""
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, n_bands + 2) / 2595) - 1)
    frequency = np.fft.rfftfreq(length, 1 / RATE)
    rise = (frequency - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - frequency) / (edges[2:] - edges[1:-1])[:, None]
    bands = np.maximum(np.minimum(rise, fall), 0.0)
    nearest = np.abs(frequency - edges[1:-1, None]).argmin(axis=1)
    bands[np.arange(n_bands), nearest] += bands.sum(axis=1) == 0  # a band narrower than a bin has its nearest
    return (bands / bands.sum(axis=1, keepdims=True)).astype(np.float32)


def _power(sound, length):
    """Powers by frame: (n_frames, n_bins)."""
    spectrogram = stft.stft(sound[:, None], length, length // 4)[..., 0]
    return spectrogram.real**2 + spectrogram.imag**2


def _loud_mean(sound, length):
    """The mean power spectrum of the frames that are loud, each relative to its own sum: (n_bins,)."""
    power = _power(sound, length)
    total = power.sum(axis=1)
    loud = total > total.max() * 10 ** (QUIET_DB / 10)
    return (power[loud] / total[loud, None]).mean(axis=0) if loud.any() else power.mean(axis=0)


def _in_db(power):
    relative = power / max(power.max(), 1e-20)
    return np.maximum(10 * np.log10(np.maximum(relative, 1e-12)), FLOOR_DB).astype(np.float32)


def _vertex(before, at, after):
    """Where the parabola through three points has its lowest, relative to the middle one."""
    curvature = before - 2 * at + after
    return 0.5 * (before - after) / curvature if curvature > 0 else 0.0
