"""Clips of a piece: what the network is given, as sound and as notes. Used by notebook 08.

All clips are played by one piano, whatever they were written for: otherwise a network learns to tell an organ from a
string quartet, and is praised for knowing Bach from Mozart.
"""

import numpy as np

from muscomp_lib.composers.scores import END, PITCH, START, VELOCITY
from muscomp_lib.minislakh import synthesizer

SAMPLE_RATE = 16000  # Hz; a piano's overtones above 8 kHz are faint
HOP = 2000  # samples: an eighth of a second
FRAMES_PER_SECOND = SAMPLE_RATE // HOP
WINDOW = 2048  # samples
N_MELS = 64
FLOOR = 60.0  # dB below a clip's loudest point: what is softer counts as silence
LOWEST_PITCH, N_PITCHES = 21, 88  # of a piano
WIDEST = 24  # semitones between notes that sound together
LARGEST_STEP = 12  # semitones from a sounding note up or down to the next onset
STEP_FRAMES = 2  # from the one to the other: a quarter of a second
BAND = 8  # semitones of a band of the register
N_INTERVALS = WIDEST + 2 * LARGEST_STEP + 1 + N_PITCHES // BAND + 2
SOUNDING = 0.5  # in a piano roll, where an onset is 1
PIANO = 0  # its General MIDI program
PROGRAMS = (PIANO, 6, 19, 24, 48)  # of moved clips: piano, harpsichord, organ, guitar, strings
LOWEST_COUNT = 8  # notes of a clip


def cut(notes, seconds, count):
    """Clips of equal length, spread over a piece.

    Parameters
    ----------
    notes : np.ndarray, shape=(n_notes, 4)
        As `scores.read` gives them.
    seconds : float
        Length of a clip. A shorter piece is one clip, with silence after it.
    count : int
        How many at most; they overlap in a short piece, and those with fewer than `LOWEST_COUNT` notes are left out.

    Returns
    -------
    list of np.ndarray, shape=(n_notes, 4), float32
        Notes that start in each clip, ending with it at the latest.
    """
    last = max(0.0, notes[:, END].max() - seconds)
    found = []
    for begin in np.unique(np.round(np.linspace(0.0, last, count), 2)):
        clip = notes[(notes[:, START] >= begin) & (notes[:, START] < begin + seconds)].copy()
        clip[:, :PITCH] = np.minimum(clip[:, :PITCH] - np.float32(begin), seconds)
        found += [clip] if len(clip) >= LOWEST_COUNT else []
    return found


def transpose(notes, semitones):
    """Notes moved up by so many semitones; those that leave the piano stay where they were."""
    moved = notes.copy()
    pitch = moved[:, PITCH] + semitones
    fits = (pitch >= LOWEST_PITCH) & (pitch < LOWEST_PITCH + N_PITCHES)
    moved[fits, PITCH] = pitch[fits]
    return moved


def sound(notes, seconds, program=PIANO):
    """The sound of a clip: shape (n_samples, 1), float32, at SAMPLE_RATE; its peak is 1, or it is silent."""
    import pretty_midi

    part = pretty_midi.Instrument(program)
    part.notes = [
        pretty_midi.Note(int(note[VELOCITY]), int(note[PITCH]), float(note[START]), float(note[END])) for note in notes
    ]
    waveform = synthesizer.render(part, seconds, SAMPLE_RATE)
    return waveform / max(np.abs(waveform).max(), 1e-6)


def mel(waveform):
    """The mel spectrogram of a clip's sound: shape (n_frames, N_MELS), float32, from 0 (`FLOOR`, silence) to 1."""
    import librosa

    power = librosa.feature.melspectrogram(
        y=waveform[:, 0], sr=SAMPLE_RATE, n_fft=WINDOW, hop_length=HOP, n_mels=N_MELS
    )
    level = librosa.power_to_db(power, ref=max(float(power.max()), 1e-9), top_db=FLOOR)
    n_frames = len(waveform) // HOP
    return (np.clip(level / FLOOR + 1.0, 0.0, 1.0) * (power.max() > 0)).T[:n_frames].astype(np.float32)


def roll(notes, seconds):
    """The piano roll of a clip: shape (n_frames, N_PITCHES), float32; 1 at an onset, `SOUNDING` after it, else 0."""
    values = np.zeros((int(seconds * FRAMES_PER_SECOND), N_PITCHES), np.float32)
    on = np.minimum(notes[:, START] * FRAMES_PER_SECOND, len(values) - 1).astype(int)
    off = np.ceil(notes[:, END] * FRAMES_PER_SECOND).astype(int)
    row = np.clip(notes[:, PITCH].astype(int) - LOWEST_PITCH, 0, N_PITCHES - 1)
    for first, last, pitch in zip(on, off, row, strict=True):
        values[first:last, pitch] = np.maximum(values[first:last, pitch], SOUNDING)
    values[on, row] = 1.0
    return values


def intervals(roll):
    """What a piano roll's frames hold, in whatever key: intervals instead of notes.

    Parameters
    ----------
    roll : np.ndarray, shape=(n_frames, N_PITCHES)

    Returns
    -------
    np.ndarray, shape=(n_frames, N_INTERVALS), float32
        Logarithms of counts: pairs of notes that sound together, by their interval; steps from notes to the onsets that
        follow; notes in each band of the register; notes, and onsets.
    """
    sounding, onsets = (roll > 0).astype(np.float32), (roll == 1).astype(np.float32)
    together = [(sounding[:, :-wide] * sounding[:, wide:]).sum(axis=1) for wide in range(1, WIDEST + 1)]
    later = np.pad(onsets[STEP_FRAMES:], ((0, STEP_FRAMES), (LARGEST_STEP, LARGEST_STEP)))
    steps = [(sounding * later[:, step : step + N_PITCHES]).sum(axis=1) for step in range(2 * LARGEST_STEP + 1)]
    register = sounding.reshape(len(roll), -1, BAND).sum(axis=2)
    counts = [sounding.sum(axis=1), onsets.sum(axis=1)]
    return np.log1p(np.concatenate([np.stack([*together, *steps, *counts], axis=1), register], axis=1))


def examples(notes, seconds, program=PIANO):
    """What the network is given of a clip: mel spectrogram, piano roll and its intervals, side by side.

    Returns
    -------
    np.ndarray, shape=(n_frames, N_MELS + N_PITCHES + N_INTERVALS), float16
    """
    rows = roll(notes, seconds)
    return np.concatenate([mel(sound(notes, seconds, program)), rows, intervals(rows)], axis=1).astype(np.float16)
