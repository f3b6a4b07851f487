"""Floats to integers and back. Used wherever sound is written, and in notebook 02.

Integers are made here and not by libsndfile, which rounds to the nearest in FLAC but downwards in WAV: so a sound has
the same samples in both, and what is read from a file and written again does not change. There is no dither: the files
of a song must sum exactly to its mix, which is why the mix is the sum of the rounded files.
"""

import math

import numpy as np

INT16_SCALE = 1 << 15  # the integer that 1.0 stands for
PEAK_DB = -1.0  # Slakh's `target_peak`: no prepared file exceeds it


def quantise(waveform, bits):
    """Floats as the integers that a file of so many bits holds; the inverse of reading such a file as float32.

    Parameters
    ----------
    waveform : np.ndarray, float
        In [-1, 1]; rounded to the nearest, and limited to full scale beyond. Without NaN.
    bits : int
        16 or 24: up to 24 bits fit a float32.

    Returns
    -------
    np.ndarray of the same shape, int32, in [-2 ** (bits - 1), 2 ** (bits - 1) - 1]
    """
    return _scaled(waveform, bits).astype(np.int32)


def to_int16(waveform):
    """Floats in [-1, 1] as int16, rounded and limited to full scale; int16 stays as it is."""
    return waveform if waveform.dtype == np.int16 else _scaled(waveform, 16).astype(np.int16)


def to_float(waveform):
    """Integers as float32 in [-1, 1], by the range of their type; floats become float32."""
    if waveform.dtype.kind not in "iu":
        return waveform.astype(np.float32, copy=False)
    full_scale = np.float32(2.0 ** (8 * waveform.dtype.itemsize - 1))
    scaled = waveform.astype(np.float32) / full_scale
    return scaled - 1 if waveform.dtype.kind == "u" else scaled


def finite(waveform):
    """A float waveform with 0 in place of NaN and infinite samples, and how many there were."""
    with np.errstate(all="ignore"):
        if np.isfinite(waveform.sum()):  # faster than testing each; a false alarm does no harm
            return waveform, 0
    good = np.isfinite(waveform)
    return np.where(good, waveform, waveform.dtype.type(0)), int(waveform.size - np.count_nonzero(good))


def _scaled(waveform, bits):
    full_scale = 1 << (bits - 1)
    with np.errstate(over="ignore"):  # limited below
        scaled = waveform * np.float32(full_scale)
    np.rint(scaled, out=scaled)
    return np.clip(scaled, -full_scale, full_scale - 1, out=scaled)


def peak(waveform):
    """The largest absolute sample; 0 of none."""
    return float(max(waveform.max(initial=0), -waveform.min(initial=0)))


def song_gain(loudest, n_files):
    """The gain, at most 1, that keeps a song's rounded files and their sum at or below -1 dBFS: np.float32.

    Parameters
    ----------
    loudest : float
        The peak of all files and their sum before the gain.
    n_files : int
    """
    # Rounding moves each file by half a step at most, so their sum by less than their number of steps.
    limit = (math.floor(10 ** (PEAK_DB / 20) * INT16_SCALE) - n_files) / INT16_SCALE
    return np.float32(min(1.0, limit / loudest) if loudest else 1.0)
