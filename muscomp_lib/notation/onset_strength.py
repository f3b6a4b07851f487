"""Onset strength: how much begins at each moment of a song. Used by beats.py and tracking.py.

From the sound, it is how much louder the bands of its spectrum get. Bows and voices rise slowly; where their notes are
known, so are their onsets. A long note is likelier to begin on a beat than a short one.
"""

from functools import cache

import numpy as np
import scipy.fft
import scipy.sparse

from muscomp_lib.transcription.cqt import SAMPLE_RATE

HOP = 256  # samples
RATE = SAMPLE_RATE / HOP  # Hz
FRAME = 2048  # samples of a spectrum
BLOCK = 128  # spectra at a time, which stay in the processor's cache
N_BANDS = 128  # of the spectrum
MEL_CORNER, MEL_CORNER_HZ = 15.0, 1000.0  # Slaney's mel scale is linear below, logarithmic above
MEL_STEP = np.log(6.4) / 27  # of the logarithm of frequency, for one mel
SOFTEST, DYNAMIC_RANGE = 1e-10, 80.0  # the power of silence; dB below the loudest that count
CLEAR = 0.2  # share of the strongest: what is stronger is a clear onset
LONG = 1.0  # seconds: longer notes count no more
SPREAD = 0.017  # seconds: the standard deviation of a note's onset
DELAY = 0.035  # seconds from a note's beginning to the strongest onset of its sound


def of_song(song, notes):
    """The onset strength of a song's sound and of its notes, both with the standard deviation 1; zero without any.

    Parameters
    ----------
    song : np.ndarray, shape=(n_samples,), float32
        At `cqt.SAMPLE_RATE`.
    notes : list of note_decoder.Note

    Returns
    -------
    np.ndarray, shape=(n_hops,)
    """
    n_hops = len(song) // HOP + 1
    both = of_sound(song), of_notes(notes, n_hops)
    return sum((strength / strength.std() for strength in both if strength.any()), np.zeros(n_hops))


def of_notes(notes, n_hops):
    """The onset strength of notes at each hop, delayed as that of their sound is; shape (n_hops,)."""
    strength = np.zeros(n_hops)
    hops = np.rint([(note.start + DELAY) * RATE for note in notes]).astype(int).clip(0, n_hops - 1)
    np.add.at(strength, hops, [note.likelihood * min(note.end - note.start, LONG) ** 0.5 for note in notes])
    around = np.exp(-0.5 * (np.arange(-4, 5) / (SPREAD * RATE)) ** 2)
    return np.sqrt(np.convolve(strength, around, "same"))


def of_sound(song):
    """The onset strength at each hop: how much louder bands of the spectrum get, in dB; shape (n_hops,), float32."""
    padded, n_hops = np.pad(song, FRAME // 2), len(song) // HOP + 1
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[::HOP]
    window, bands = np.hanning(FRAME + 1)[:-1].astype(np.float32), np.empty((N_BANDS, n_hops), np.float32)
    for start in range(0, n_hops, BLOCK):  # an hour's whole spectrogram would take 3 GB
        spectra = scipy.fft.rfft(frames[start : start + BLOCK] * window, axis=1)
        bands[:, start : start + BLOCK] = _mel_filters() @ (spectra.real**2 + spectra.imag**2).T
    levels = 10 * np.log10(np.maximum(bands, SOFTEST))
    levels = np.maximum(levels, levels.max() - DYNAMIC_RANGE)
    flux = np.maximum(np.diff(levels, axis=1), 0).mean(axis=0)
    return np.pad(flux, (1 + FRAME // (2 * HOP), 0))[:n_hops]


@cache
def _mel_filters():
    """Triangular filters of equal area, evenly spaced on Slaney's mel scale: sparse, (N_BANDS, FRAME // 2 + 1)."""
    mels = np.linspace(0, MEL_CORNER + np.log(SAMPLE_RATE / 2 / MEL_CORNER_HZ) / MEL_STEP, N_BANDS + 2)
    logarithmic = MEL_CORNER_HZ * np.exp(MEL_STEP * (mels - MEL_CORNER))
    hertz = np.where(mels < MEL_CORNER, mels * MEL_CORNER_HZ / MEL_CORNER, logarithmic)
    below, centre, above = (edges[:, None] for edges in (hertz[:-2], hertz[1:-1], hertz[2:]))
    fourier = np.arange(FRAME // 2 + 1) * SAMPLE_RATE / FRAME
    slopes = np.minimum((fourier - below) / (centre - below), (above - fourier) / (above - centre))
    return scipy.sparse.csr_matrix((slopes.clip(0) * 2 / (above - below)).astype(np.float32))


def count(strength):
    """The number of clear onsets: a single note has two, its beginning and its end."""
    before, peaks, after = strength[:-2], strength[1:-1], strength[2:]
    return np.count_nonzero((peaks > before) & (peaks >= after) & (peaks >= CLEAR * strength.max()))
