"""The transcriber's input: a constant-Q spectrogram, the magnitude at each pitch. Used by notebooks 04 and 05.

Notes an octave apart lie twice as far apart in Hz, but always twelve semitones. So the bins of a Fourier transform are
pooled into bins of a third of a semitone, **constant-Q** because a bin's width is a constant part of its frequency. A
melody played a tone higher is then the same image, shifted. Each frame is analysed with two windows: the long one
resolves notes close in pitch, the short one resolves onsets in time.
"""

from functools import cache

import numpy as np
import scipy.fft
import scipy.sparse

from muscomp_lib import audio

SAMPLE_RATE = 22050  # Hz: the highest partials that tell notes apart lie below 10 kHz
HOP = 512  # samples between frames
FRAME_SECONDS = HOP / SAMPLE_RATE  # 23 ms
WINDOWS = (4096, 1024)  # samples: 186 ms and 46 ms
LOWEST_PITCH, N_PITCHES = 21, 88  # the notes of a piano; MIDI note number of A0
BINS_PER_SEMITONE = 3  # the middle one lies on the note
OVERTONES = 24  # semitones of the spectrogram above the highest note
N_BINS = BINS_PER_SEMITONE * (N_PITCHES + OVERTONES)
BLOCK = 128  # frames transformed at a time, which stay in the processor's cache
AUDIBLE = 1e-5  # magnitude below which a frame is silent
INAUDIBLE = AUDIBLE / 10  # samples below which no magnitude is audible
LOUDNESS_PERCENTILE = 95  # of the frames that are not silent: rests do not count
DECIBELS = 30  # for one unit of a level
TUNED_HERTZ = (150.0, 2000.0)  # where a song's tuning is measured: lower peaks are wide, higher ones overtones
TUNED_PEAK = 0.1  # relative to the highest peak of a frame: lower ones are not measured
IN_TUNE, TUNED = 0.2, 0.3  # semitones that are no other tuning; how far peaks must agree on one, from 0 to 1
FLOOR = 1e-3  # relative to the loudness: levels are limited to 60 dB below it


def n_frames(n_samples):
    """Number of frames of a waveform; the first is centred on the first sample."""
    return n_samples // HOP + 1


def tuning(waveform):
    """How far a song's notes lie above those of A = 440 Hz, as at A = 432 Hz, or from a tape at another speed.

    Parameters
    ----------
    waveform : np.ndarray, shape=(n_samples,), float32
        At `SAMPLE_RATE`.

    Returns
    -------
    float
        Semitones, from -0.5 to 0.5, in hundredths; 0 where it is little, or notes do not agree on one, as a singer's.
    """
    # Not librosa.estimate_tuning, which does not say how far notes agree: a song in tune is not to be moved by chance.
    length = WINDOWS[0]
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(waveform, (0, length)), length)[::length]
    lowest, highest = (round(hertz * length / SAMPLE_RATE) for hertz in TUNED_HERTZ)
    total, weight = 0.0, 0.0
    for start in range(0, len(frames), BLOCK):
        spectra = np.abs(scipy.fft.rfft(frames[start : start + BLOCK] * np.hanning(length), axis=1)) * 4 / length
        spectra = spectra[:, lowest - 1 : highest + 2]
        before, at, after = spectra[:, :-2], spectra[:, 1:-1], spectra[:, 2:]
        is_peak = (at > before) & (at >= after) & (at > TUNED_PEAK * at.max(axis=1, keepdims=True)) & (at > AUDIBLE)
        left, middle, right = (np.log(each[is_peak] + AUDIBLE) for each in (before, at, after))
        vertices = 0.5 * (left - right) / (left - 2 * middle + right)  # of parabolas
        bins = np.nonzero(is_peak)[1] + lowest + vertices
        pitches = 12 * np.log2(bins * SAMPLE_RATE / length / audio.to_hertz(0))
        total += np.sum(at[is_peak] * np.exp(2j * np.pi * pitches))
        weight += at[is_peak].sum()
    found = round(float(np.angle(total)) / (2 * np.pi), 2)
    return found if np.abs(total) > TUNED * weight and abs(found) >= IN_TUNE else 0.0


def magnitudes(waveform, tuning=0.0):
    """Compute the constant-Q magnitudes.

    Parameters
    ----------
    waveform : np.ndarray, shape=(n_samples,), float32
        At `SAMPLE_RATE`.
    tuning : float
        How far notes lie above those of A = 440 Hz, in semitones.

    Returns
    -------
    np.ndarray, shape=(n_frames, N_BINS, len(WINDOWS)), float32
        A sine wave of amplitude 1 on a note has a magnitude near 1 there.
    """
    magnitudes = np.empty((n_frames(len(waveform)), N_BINS, len(WINDOWS)), np.float32)
    for index, length in enumerate(WINDOWS):
        padded = np.pad(waveform.astype(np.float32, copy=False), (length // 2, length // 2 + HOP))
        frames = np.lib.stride_tricks.sliding_window_view(padded, length)[::HOP]
        window = (np.hanning(length + 1)[:-1] * 4 / length).astype(np.float32)
        for start in range(0, len(magnitudes), BLOCK):
            block = magnitudes[start : start + BLOCK, :, index]
            its = frames[start : start + len(block)]
            if np.abs(its[:: length // HOP]).max() < INAUDIBLE and np.abs(its[-1]).max() < INAUDIBLE:
                block[:] = 0.0
                continue
            spectra = scipy.fft.rfft(its * window, axis=1)
            spectra = np.sqrt(spectra.real**2 + spectra.imag**2)  # faster than np.abs
            block[:] = (filters(length, tuning) @ spectra.T).T
    return magnitudes


def loudness(magnitudes):
    """The magnitude of loud frames, shape (n_frames, N_BINS, len(WINDOWS)) to float; 0 for silence."""
    peaks = magnitudes[..., 0].max(axis=1, initial=0.0)
    peaks = peaks[peaks > AUDIBLE]
    return float(np.percentile(peaks, LOUDNESS_PERCENTILE)) if len(peaks) else 0.0


def levels(magnitudes, loudness):
    """Log magnitudes relative to a loudness, scaled for the network to about -1 to 1 (`DECIBELS` each); same shape."""
    relative = np.asarray(magnitudes, np.float32) * np.float32(1 / loudness) + np.float32(FLOOR)
    # NumPy's log10 takes twice as long
    return np.log(relative) * np.float32(20 / DECIBELS / np.log(10)) + np.float32(1)


def spectrogram(waveform):
    """The levels of a waveform relative to its own loudness: shape (n_frames, N_BINS, len(WINDOWS)), float32."""
    raw = magnitudes(waveform)
    return levels(raw, loudness(raw) or 1.0)


@cache
def filters(length, tuning=0.0):
    """Triangular filters, none narrower than the window resolves: sparse, shape (N_BINS, length // 2 + 1), float32.

    `length` is in samples, `tuning` in semitones, as for `magnitudes`.
    """
    pitches = (np.arange(-1, N_BINS + 1) - BINS_PER_SEMITONE // 2) / BINS_PER_SEMITONE + LOWEST_PITCH + tuning
    hertz = audio.to_hertz(pitches)
    below, centre, above = hertz[:-2], hertz[1:-1], hertz[2:]
    width = SAMPLE_RATE / length
    below, above = np.minimum(below, centre - width), np.maximum(above, centre + width)
    fourier = np.arange(length // 2 + 1)[:, None] * width
    filters = np.clip(np.minimum((fourier - below) / (centre - below), (above - fourier) / (above - centre)), 0, None)
    filters[:, centre > SAMPLE_RATE / 2 - width] = 0.0
    return scipy.sparse.csr_matrix(filters.T.astype(np.float32))
