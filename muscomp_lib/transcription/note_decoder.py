"""From the sound of one instrument to its notes, with a trained network. Used by 05, through `transcription.py`.

The network says, for each note and frame, how likely a note begins there and how likely it sounds. A note is written
where the first is highest, and lasts until the second is low, or until the same note begins again.
"""

import json
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.ndimage import maximum_filter1d
from scipy.special import expit

from muscomp_lib import audio
from muscomp_lib.core.errors import MissingError
from muscomp_lib.models import pretrained
from muscomp_lib.models.runtime import start_tensorflow
from muscomp_lib.models.weights import CONFIG, WEIGHTS, read_arrays, set_weights
from muscomp_lib.transcription import cqt
from muscomp_lib.transcription import network as note_network
from muscomp_lib.transcription.cqt import FRAME, LOWEST, SAMPLE_RATE
from muscomp_lib.transcription.network import CONTEXT, ONSET, SOUNDING, VELOCITY

BLOCK = 512  # frames that go through the network at a time
SILENCE = 1e-3  # of the loudness: a stretch in which nothing is louder is not looked at
BEGINS, SOUNDS = 0.2, 0.4  # how likely a note must begin, and sound on
SHORTEST = 2  # frames: what is no longer is no note, and a file no longer holds none
STROKE = 0.1  # seconds: a stroke's note; how long it rings is the instrument's affair


class Note(NamedTuple):
    """One note: `start` and `end` in seconds, MIDI `pitch`, `velocity` from 0 to 1."""

    start: float
    end: float
    pitch: int
    velocity: float


class Transcriber:
    """A trained transcriber.

    Parameters
    ----------
    model : str or Path, optional
        The folder that `transcriber_training.train` wrote; without it, the one that comes with the project.

    Attributes
    ----------
    config : dict
    instruments : list of str
        Those it has learnt. It listens to others as well, without knowing what to expect of them.

    Raises
    ------
    MissingError, SettingError
        There is no trained transcriber; its files are damaged.
    """

    def __init__(self, model=pretrained.TRANSCRIBER):
        self.folder = Path(model)
        if not (self.folder / WEIGHTS).is_file():
            raise MissingError(f"{self.folder} holds no trained transcriber. Notebook 04 trains one: set notes_model.")
        self.config = json.loads((self.folder / CONFIG).read_text(encoding="utf-8"))
        self.instruments = self.config["instrument_list"]

    @cached_property
    def _network(self):
        start_tensorflow()
        network = note_network.build(len(self.instruments))
        path = self.folder / WEIGHTS
        set_weights(network, read_arrays(path), path)
        return network

    def likelihoods(self, waveform, instrument):
        """What the network says of each note and frame.

        Parameters
        ----------
        waveform : np.ndarray, shape=(n_samples,), float32
            At `constant_q.SAMPLE_RATE`.
        instrument : str

        Returns
        -------
        np.ndarray, shape=(n_frames, N_NOTES, 3), float32
            From 0 to 1: a note begins; it sounds; its velocity.
        """
        seen = cqt.magnitudes(waveform)
        said = np.zeros((len(seen), cqt.N_NOTES, 3), np.float32)
        loudness = cqt.loudness(seen)
        if not loudness or len(seen) <= SHORTEST:
            return said
        sounding = maximum_filter1d(seen.max(axis=(1, 2)), 2 * CONTEXT + 1) > SILENCE * loudness
        known = self.instruments.index(instrument) if instrument in self.instruments else None
        named = note_network.chosen(known, len(self.instruments))
        for start in range(0, len(seen), BLOCK):
            if sounding[start : start + BLOCK].any():
                said[start : start + BLOCK] = self._block(seen, loudness, named, start)
        return said

    def _block(self, seen, loudness, named, start):
        """A block's likelihoods. Every block is as long as the others, so that the network is compiled once."""
        rows = np.arange(start - CONTEXT, start + BLOCK + CONTEXT)
        part = np.where(((rows >= 0) & (rows < len(seen)))[:, None, None], seen[rows.clip(0, len(seen) - 1)], 0.0)
        inputs = [cqt.levels(part, loudness)[None], named[None]]
        log_odds = self._network.predict_on_batch(inputs)[0, CONTEXT:-CONTEXT]
        return expit(log_odds[: len(seen) - start])

    def notes(self, waveform, instrument):
        """The notes in a waveform.

        Parameters
        ----------
        waveform : np.ndarray, shape=(n_samples,), float32
            At `constant_q.SAMPLE_RATE`.
        instrument : instruments.Instrument
            Drums give strokes, as General MIDI's drum notes; where an instrument has one voice, a note ends where the
            next begins; there are none out of its range.

        Returns
        -------
        list of Note
            In order of start.
        """
        said = self.likelihoods(waveform, instrument.name)
        if instrument.is_drums:
            return drum_notes(said)
        found = [note for note in pitched_notes(said) if instrument.lowest <= note.pitch <= instrument.highest]
        return _after_each_other(found) if instrument.one_voice else found


def heard(waveform, sample_rate):
    """A waveform as the transcriber takes it: one channel at its rate, all finite.

    Parameters
    ----------
    waveform : np.ndarray, shape=(n_samples, n_channels) or (n_samples,)
    sample_rate : int
        Hz.

    Returns
    -------
    np.ndarray, shape=(n_samples,), float32
    """
    waveform = audio.to_float(np.asarray(waveform))
    if not waveform.size:
        return np.zeros(0, np.float32)
    waveform = np.nan_to_num(waveform.reshape(len(waveform), -1), posinf=0.0, neginf=0.0)
    return audio.resample(audio.fit_channels(waveform, 1), sample_rate, SAMPLE_RATE)[:, 0]


def pitched_notes(said):
    """Notes from the network's likelihoods, shape (n_frames, N_NOTES, 3): list of Note, in order of start."""
    sounding, notes = said[..., SOUNDING], []
    for row, times, frames in _onsets(said[..., ONSET]):
        following = [*frames[1:], len(said)]
        for time, frame, limit in zip(times, frames, following, strict=True):
            first = frame + SHORTEST
            silent = np.flatnonzero(sounding[first:limit, row] < SOUNDS)
            end = first + silent[0] if len(silent) else max(limit, first)
            notes.append(_note(said, time, end, row, frame))
    return sorted(notes)


def drum_notes(said):
    """Strokes from the network's likelihoods, as notes of `note_network.DRUMS`: list of Note, in order of start."""
    rows = [note_network.row(notes[0], is_drum=True) for notes in note_network.DRUMS.values()]
    strokes = [
        _note(said, time, time + STROKE / FRAME, row, frame)
        for row, times, frames in _onsets(said[..., ONSET])
        if row in rows
        for time, frame in zip(times, frames, strict=True)
    ]
    return sorted(strokes)


def _onsets(begins):
    """For each row with onsets: the row, their times in frames, with fractions, and the frames they are highest in."""
    highest = (begins >= maximum_filter1d(begins, 3, axis=0)) & (begins > BEGINS)
    highest[1:] &= ~(highest[:-1] & (begins[1:] == begins[:-1]))  # of two that are level, the first
    for row in np.flatnonzero(highest.any(axis=0)):
        frames = np.flatnonzero(highest[:, row])
        before, at, after = (begins[(frames + shift).clip(0, len(begins) - 1), row] for shift in (-1, 0, 1))
        peak = 0.5 * (after - before) / np.maximum(2 * at - before - after, 1e-3)  # of the parabola through the three
        yield int(row), frames + peak.clip(-0.5, 0.5), frames


def _note(said, start, end, row, frame):
    velocity = float(said[frame, row, VELOCITY])
    return Note(max(0.0, float(start)) * FRAME, float(end) * FRAME, LOWEST + row, velocity)


def _after_each_other(notes):
    """Notes that do not overlap: of those that begin together, the loudest."""
    line = []
    for note in notes:
        if line and note.start - line[-1].start < SHORTEST * FRAME:
            line[-1] = max(line[-1], note, key=lambda n: n.velocity)
            continue
        if line:
            line[-1] = line[-1]._replace(end=min(line[-1].end, note.start))
        line.append(note)
    return line
