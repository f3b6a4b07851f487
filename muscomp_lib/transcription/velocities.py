"""How hard notes were played, from how loud they are in the sound. Used by note_decoder.py.

The network tells a loud part from a soft one; but of the notes of one part, or the strokes of one drum, its velocities
say next to nothing, while their levels do. So the network gives the middle velocity, and levels those of the others.
"""

import numpy as np
import scipy.fft

from muscomp_lib.transcription import cqt
from muscomp_lib.transcription.cqt import SAMPLE_RATE
from muscomp_lib.transcription.network import DRUM_PITCHES

BANDS = {  # Hz: where a drum is heard beside others that are hit with it
    "kick": (30, 150),
    "snare": (150, 6000),
    "closed hi-hat": (5000, 11000),
    "open hi-hat": (5000, 11000),
    "low tom": (60, 400),
    "middle tom": (60, 500),
    "high tom": (80, 600),
    "crash": (3000, 11000),
    "ride": (3000, 11000),
}
WINDOW, HOP = 512, 128  # samples: 23 ms and 6 ms
BEFORE, EARLY, AFTER = 8, 3, 11  # frames: of what sounded before, by how many a stroke may be early, of the stroke
AT_ONCE = 256  # strokes, which take 40 MB
LEAST_RISE = 0.05  # of a stroke's power is its own, whatever sounded before
SOFTER, LOUDER = 24.0, 12.0  # dB: the most that a note is taken to be below and above the middle one
# dB in which velocity grows tenfold. General MIDI's instruments have 40, but levels also vary by themselves, most in
# separated stems. With these, velocities are nearer to the true ones than the network's in all stems.
DECIBELS_OF_DRUMS, DECIBELS_OF_NOTES = 120.0, 80.0
HARMONICS = np.rint(12 * np.log2(np.arange(1, 9)) * cqt.BINS_PER_SEMITONE).astype(int)  # bins above a note's
ATTACK = 4  # frames of the constant-Q spectrogram in which a note is loudest
PITCH_CURVE = 2  # degree of the polynomial by which a part's levels depend on pitch, whatever was played


def of_notes(notes, magnitudes):
    """Notes of a pitched part with velocities by their levels.

    How loud an instrument is differs by pitch, so levels are compared with those of notes around the same pitch.

    Parameters
    ----------
    notes : list of note_decoder.Note
        Their velocities are the network's.
    magnitudes : np.ndarray, shape=(n_frames, cqt.N_BINS, 2), float32
        Of the part, as from `cqt.magnitudes`.

    Returns
    -------
    list of note_decoder.Note
        In the same order.
    """
    if len(notes) < 2:
        return notes
    pitches = np.array([note.pitch for note in notes])
    frames = np.rint([note.start / cqt.FRAME_SECONDS for note in notes]).astype(int)[:, None] + np.arange(ATTACK)
    lowest = (pitches - cqt.LOWEST_PITCH) * cqt.BINS_PER_SEMITONE  # of each note's own bins
    bins = (lowest[:, None] + HARMONICS)[..., None] + np.arange(cqt.BINS_PER_SEMITONE)
    inside = bins[..., 0] < cqt.N_BINS
    its = magnitudes[
        frames.clip(max=len(magnitudes) - 1)[:, None, None], bins.clip(max=cqt.N_BINS - 1)[..., None], 0
    ].max(axis=(2, 3))  # shape (n_notes, n_harmonics)
    levels = cqt.DECIBELS * cqt.levels(its, cqt.loudness(magnitudes) or 1.0)
    levels = (levels * inside).sum(axis=1) / inside.sum(axis=1)
    degree = min(PITCH_CURVE, len(set(pitches)) - 1)
    levels -= np.polynomial.Polynomial.fit(pitches, levels, degree)(pitches)
    found = _around_the_middle(np.array([note.velocity for note in notes]), levels, DECIBELS_OF_NOTES)
    return _with_velocities(notes, found)


def of_drums(hits, waveform):
    """Drum hits with velocities by their levels.

    Parameters
    ----------
    hits : list of note_decoder.Note
        Their velocities are the network's.
    waveform : np.ndarray, shape=(n_samples,), float32
        At `cqt.SAMPLE_RATE`.

    Returns
    -------
    list of note_decoder.Note
        In the same order.
    """
    pitches, velocities = np.array([hit.pitch for hit in hits]), np.array([hit.velocity for hit in hits])
    for drum, (pitch, *_) in DRUM_PITCHES.items():
        its = np.flatnonzero(pitches == pitch)
        if len(its) > 1:
            starts = np.array([hits[number].start for number in its])
            levels = np.concatenate(
                [_levels(waveform, starts[i : i + AT_ONCE], BANDS[drum]) for i in range(0, len(starts), AT_ONCE)]
            )
            velocities[its] = _around_the_middle(velocities[its], levels, DECIBELS_OF_DRUMS)
    return _with_velocities(hits, velocities)


def _around_the_middle(velocities, levels, decibels):
    """The middle velocity, higher or lower as each level (dB) is above or below the middle one."""
    apart = np.clip(levels - np.median(levels), -SOFTER, LOUDER)
    return np.median(velocities) * 10 ** (apart / decibels)


def _with_velocities(notes, velocities):
    return [note._replace(velocity=float(v)) for note, v in zip(notes, velocities.clip(0, 1), strict=True)]


def _levels(waveform, starts, band):
    """The level that each stroke adds in a band, dB; `starts` are in seconds."""
    n_frames = BEFORE + EARLY + AFTER
    first = (starts * SAMPLE_RATE).astype(int) - (BEFORE + EARLY) * HOP - WINDOW // 2
    reach = np.arange(n_frames)[:, None] * HOP + np.arange(WINDOW)
    at = first[:, None, None] + reach
    inside = (at >= 0) & (at < len(waveform))
    frames = np.where(inside, waveform[at.clip(0, len(waveform) - 1)], np.float32(0))
    window = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
    low, high = (round(edge * WINDOW / SAMPLE_RATE) for edge in band)
    power = (np.abs(scipy.fft.rfft(frames * window, axis=-1)[..., low : high + 1]) ** 2).sum(axis=-1)
    earlier, stroke = power[:, :BEFORE].mean(axis=1), power[:, BEFORE:].max(axis=1)
    return 10 * np.log10(np.maximum(stroke - earlier, LEAST_RISE * stroke) + 1e-12)
