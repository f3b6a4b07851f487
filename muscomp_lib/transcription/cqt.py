"""What the transcriber looks at: how much sound there is at each pitch. Used by 04 and 05.

Notes an octave apart lie twice as far apart in Hz, but always twelve semitones. So the bins of a Fourier transform are
pooled into bins of a third of a semitone, each three of them a note: **constant-Q**, since a bin's width is a constant
part of its frequency. A melody a tone higher is then the same picture, moved. Every frame is seen through two windows:
a long one parts notes that lie close together, a short one says when they begin.
"""

from functools import cache

import numpy as np
import scipy.fft

from muscomp_lib import audio

SAMPLE_RATE = 22050  # Hz: the highest partials that tell notes apart lie below 10 kHz
HOP = 512  # samples from frame to frame
FRAME = HOP / SAMPLE_RATE  # seconds: 23 ms
WINDOWS = (4096, 1024)  # samples: 186 ms and 46 ms
LOWEST, N_NOTES = 21, 88  # the notes of a piano, as MIDI numbers from A0
BINS_PER_NOTE = 3  # the middle one lies on the note
OVERTONES = 24  # semitones above the highest note that are looked at
N_BINS = BINS_PER_NOTE * (N_NOTES + OVERTONES)
BLOCK = 1024  # frames transformed at a time: memory stays bounded however long the sound
AUDIBLE = 1e-5  # magnitude below which a frame is silence
LOUD = 95  # percentile of a sound's frames that is its loudness: rests do not count
FLOOR = 1e-3  # of the loudness: 60 dB below it everything looks like silence


def n_frames(n_samples):
    """Frames of so many samples: the first is centred on the first sample."""
    return n_samples // HOP + 1


def magnitudes(waveform):
    """The magnitude at each pitch.

    Parameters
    ----------
    waveform : np.ndarray, shape=(n_samples,), float32
        At `SAMPLE_RATE`. A sine wave of amplitude 1 on a note has a magnitude near 1 there.

    Returns
    -------
    np.ndarray, shape=(n_frames, N_BINS, len(WINDOWS)), float32
    """
    found = np.empty((n_frames(len(waveform)), N_BINS, len(WINDOWS)), np.float32)
    for index, length in enumerate(WINDOWS):
        padded = np.pad(waveform.astype(np.float32), (length // 2, length // 2 + HOP))
        frames = np.lib.stride_tricks.sliding_window_view(padded, length)[::HOP]
        window = (np.hanning(length + 1)[:-1] * 4 / length).astype(np.float32)
        for start in range(0, len(found), BLOCK):
            part = found[start : start + BLOCK, :, index]
            part[:] = np.abs(scipy.fft.rfft(frames[start : start + len(part)] * window, axis=1)) @ _filters(length)
    return found


def loudness(magnitudes):
    """How loud a sound is where it is loud: a magnitude; 0 for silence."""
    loudest = magnitudes[..., 0].max(axis=1, initial=0.0)
    loudest = loudest[loudest > AUDIBLE]
    return float(np.percentile(loudest, LOUD)) if len(loudest) else 0.0


def levels(magnitudes, loudness):
    """Magnitudes as the network gets them: their logarithm relative to `loudness`, from about -1 to 1."""
    return (audio.to_db(magnitudes / loudness + FLOOR) / 30 + 1).astype(np.float32)


def picture(waveform):
    """A sound's levels relative to its own loudness, as the transcriber sees it: (n_frames, N_BINS, len(WINDOWS))."""
    seen = magnitudes(waveform)
    return levels(seen, loudness(seen) or 1.0)


@cache
def _filters(length):
    """Triangles over the Fourier bins: shape (length // 2 + 1, N_BINS). No bin is narrower than the window can tell."""
    bins = (np.arange(-1, N_BINS + 1) - BINS_PER_NOTE // 2) / BINS_PER_NOTE + LOWEST  # as fractions of MIDI notes
    hertz = 440.0 * 2 ** ((bins - 69) / 12)
    below, centre, above = hertz[:-2], hertz[1:-1], hertz[2:]
    width = SAMPLE_RATE / length
    below, above = np.minimum(below, centre - width), np.maximum(above, centre + width)
    fourier = np.arange(length // 2 + 1)[:, None] * width
    filters = np.clip(np.minimum((fourier - below) / (centre - below), (above - fourier) / (above - centre)), 0, None)
    filters[:, centre > SAMPLE_RATE / 2 - width] = 0.0
    return filters.astype(np.float32)
