"""From the audio of one instrument to its notes, with a trained network. Used by notebook 05.

The network estimates, for each pitch and frame, the likelihoods of an onset and of an active note. A note starts at a
peak of the first, and ends where the second falls below a share of what it was, or the same pitch has its next onset.
"""

from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.ndimage import maximum_filter1d
from scipy.special import expit

from muscomp_lib import audio
from muscomp_lib.audio import stream
from muscomp_lib.core import provenance
from muscomp_lib.core.errors import MissingError, SettingError
from muscomp_lib.core.settings import check_value, one_of
from muscomp_lib.models import pretrained
from muscomp_lib.models.config import read_json
from muscomp_lib.models.runtime import load
from muscomp_lib.models.weights import CONFIG, WEIGHTS, read_weights
from muscomp_lib.transcription import cqt, network, velocities
from muscomp_lib.transcription.cqt import FRAME_SECONDS, LOWEST_PITCH, SAMPLE_RATE
from muscomp_lib.transcription.network import ACTIVE, CONTEXT, ONSET, VELOCITY

BLOCK = 512  # frames per call of the network
FILE_BLOCK = 1 << 18  # samples of a file read at once
SILENCE = 1e-3  # relative to the loudness: blocks in which no magnitude is higher are skipped
# Likelihood of a note's onset, chosen by F1 in validation songs (the model card): in separated stems many notes that
# are right are unlikely.
NOTE_THRESHOLD = 0.12
# Likelihoods of drum hits, chosen by F1 in a kit that was not learned from (the model card): under a kick or a snare, a
# cymbal is unlikely; and much is a little like a snare.
HIT_THRESHOLDS = {
    "kick": 0.2, "snare": 0.2, "closed hi-hat": 0.2, "open hi-hat": 0.05, "low tom": 0.4, "middle tom": 0.4,
    "high tom": 0.4, "crash": 0.12, "ride": 0.12,
}  # fmt: skip
SNARE_SHARE = 0.4  # of the likelihood of a song's likeliest snare, which a snare is to have as well
# A note ends where it is less likely to be active than this, or than a share of how likely it was in its first frames,
# whichever is less: in separated stems the network is rarely sure, and most notes would end as soon as they begin.
ACTIVE_THRESHOLD, ACTIVE_SHARE, FIRST_FRAMES = 0.3, 0.4, 8
ALIKE = ("closed hi-hat", "open hi-hat", "ride", "crash"), ("low tom", "middle tom", "high tom")
ALIKE_SHARE = 0.5  # of drums that sound alike, those this much less likely at the same moment are no hits of their own
MIN_FRAMES = 2  # of a note, and of a waveform that can have notes
DRUMS = "drums"  # the folder in a transcriber's that may hold another one, which then transcribes the drums
DRUM_HIT = 0.1  # seconds: the length written for a drum hit, whose decay is the instrument's own


class Note(NamedTuple):
    """One note: `start` and `end` in seconds, MIDI `pitch`; `velocity` and the onset's `likelihood` from 0 to 1."""

    start: float
    end: float
    pitch: int
    velocity: float
    likelihood: float = 1.0


class Transcriber:
    """A trained transcriber.

    Parameters
    ----------
    model : str or Path, optional
        A folder that `train.train` wrote; the pretrained one by default.

    Attributes
    ----------
    config : dict
    folder : Path
    instruments : list of str
        Those it was trained on. It transcribes others too, by a program they share with one of these, or else
        without conditioning on an instrument.

    Raises
    ------
    MissingError, SettingError
        There is no trained transcriber; its files are damaged.
    """

    def __init__(self, model=pretrained.TRANSCRIBER):
        self.folder = Path(model)
        if not (self.folder / WEIGHTS).is_file():
            raise MissingError(f"{self.folder} holds no trained transcriber. Notebook 04 trains one: set notes_model.")
        self.config = read_json(self.folder / CONFIG)
        where = f"{self.folder / CONFIG}: "
        if "model" in self.config:
            raise SettingError(f"{where}this model separates. Choose it as model, not as notes_model.")
        check_value("programs", dict[str, list[int]], self.config.get("programs", {}), where)
        self.kind = self.config.get("network", network.FULL)  # models of earlier versions do not say
        check_value("network", one_of(*network.KINDS), self.kind, where)
        self.instruments = self.config["instrument_list"]

    @cached_property
    def identity(self):
        """What distinguishes this model from another, and from itself after more training."""
        identity = {"folder": self.folder.name, "checksum": provenance.checksum(self.folder / WEIGHTS)}
        return identity | ({DRUMS: self._for_drums.identity["checksum"]} if self._for_drums else {})

    @cached_property
    def _for_drums(self):
        """The transcriber of drums, where they have one of their own; else None."""
        folder = self.folder / DRUMS
        return Transcriber(folder) if folder.is_dir() else None

    @cached_property
    def _network(self):
        path = self.folder / WEIGHTS
        return load(self.computation(), read_weights(path, self.instruments), path)

    def computation(self, kind=None):
        """What is computed for each block of frames, with this kind of network: a `models.runtime.Computation`."""
        return network.computation(len(self.instruments), BLOCK + 2 * CONTEXT, kind or self.kind)

    def likelihoods(self, waveform, instrument):
        """Estimate the likelihoods of notes.

        Parameters
        ----------
        waveform : np.ndarray, shape=(n_samples,), float32
            At `cqt.SAMPLE_RATE`, as from `to_mono`.
        instrument : instruments.Instrument

        Returns
        -------
        np.ndarray, shape=(n_frames, N_PITCHES, 3), float32
            From 0 to 1: of an onset, of an active note; and its velocity.
        """
        if instrument.is_drums and self._for_drums:
            return self._for_drums.likelihoods(waveform, instrument)
        return self._likelihoods(cqt.magnitudes(waveform), instrument)

    def _likelihoods(self, magnitudes, instrument):
        """As `likelihoods`, by this network, of what `cqt.magnitudes` computes."""
        likelihoods = np.zeros((len(magnitudes), cqt.N_PITCHES, 3), np.float32)
        loudness = cqt.loudness(magnitudes)
        if not loudness or len(magnitudes) <= MIN_FRAMES:
            return likelihoods
        audible = maximum_filter1d(magnitudes.max(axis=(1, 2)), 2 * CONTEXT + 1) > SILENCE * loudness
        one_hot = network.one_hot(self._index(instrument), len(self.instruments))
        for start in _starts(audible):
            likelihoods[start : start + BLOCK] = self._block(magnitudes, loudness, one_hot, start)
        return likelihoods

    def _index(self, instrument):
        """The position in `instruments` of this instrument, or of one that shares a program with it; else None."""
        if instrument.name in self.instruments:
            return self.instruments.index(instrument.name)
        programs = self.config.get("programs", {})  # models of earlier versions have none
        same = (
            number
            for program in instrument.programs
            for number, name in enumerate(self.instruments)
            if program in programs.get(name, ())
        )
        return next(same, None)

    def _block(self, magnitudes, loudness, one_hot, start):
        """The likelihoods of a block. All blocks have one length, so that the network is compiled once."""
        rows = np.arange(start - CONTEXT, start + BLOCK + CONTEXT)
        inside = ((rows >= 0) & (rows < len(magnitudes)))[:, None, None]
        block = np.where(inside, magnitudes[rows.clip(0, len(magnitudes) - 1)], 0.0)
        inputs = [cqt.levels(block, loudness)[None], one_hot[None]]
        log_odds = self._network(*inputs)[0, CONTEXT:-CONTEXT]
        return expit(log_odds[: len(magnitudes) - start])

    def notes(self, waveform, instrument, tuning=0.0):
        """Transcribe a waveform.

        Parameters
        ----------
        waveform : np.ndarray, shape=(n_samples,), float32
            At `cqt.SAMPLE_RATE`, as from `to_mono`.
        instrument : instruments.Instrument
            Drums give hits, as General MIDI's drum notes. Notes outside an instrument's range are dropped; those of a
            monophonic one end where the next begins.
        tuning : float
            How far they lie above those of A = 440 Hz, in semitones, as from `cqt.tuning`.

        Returns
        -------
        list of Note
            In order of start.
        """
        if instrument.is_drums:
            return velocities.of_drums(decode_drum_hits(self.likelihoods(waveform, instrument)), waveform)
        magnitudes = cqt.magnitudes(waveform, tuning)
        decoded = decode_notes(self._likelihoods(magnitudes, instrument))
        notes = [note for note in decoded if instrument.lowest <= note.pitch <= instrument.highest]
        return velocities.of_notes(_monophonic(notes) if instrument.one_voice else notes, magnitudes)


def _starts(audible):
    """Where blocks begin that hold all audible frames (shape (n_frames,), bool) and as few others as possible."""
    start = 0
    while audible[start:].any():
        start += int(np.argmax(audible[start:]))
        yield start
        start += BLOCK


def to_mono(waveform, sample_rate=None):
    """Convert a waveform, or a sound file, to the transcriber's input: one channel at `cqt.SAMPLE_RATE`.

    Parameters
    ----------
    waveform : np.ndarray, shape=(n_samples, n_channels) or (n_samples,), or Path
        NaN and infinite samples become 0. A file is read in blocks: an hour takes 320 MB, its result.
    sample_rate : int, optional
        Hz; a file has its own.

    Returns
    -------
    np.ndarray, shape=(n_samples,), float32
    """
    if isinstance(waveform, (str, Path)):
        return _file_to_mono(waveform)
    waveform = audio.to_float(np.asarray(waveform))
    if not waveform.size:
        return np.zeros(0, np.float32)
    waveform = waveform.reshape(len(waveform), -1)
    if not np.isfinite(waveform.sum()):  # a tenth of the time that replacing takes
        waveform = np.nan_to_num(waveform, posinf=0.0, neginf=0.0)
    return audio.resample(audio.mono(waveform), sample_rate, SAMPLE_RATE)[:, 0]


def _file_to_mono(path):
    mono = bytearray()
    with stream.opened(path) as song:
        resampler = stream.Resampler(song.sample_rate, SAMPLE_RATE, 1)
        for block in song.blocks(FILE_BLOCK):
            mono += resampler.feed(audio.mono(block)).tobytes()
        mono += resampler.feed(np.zeros((0, 1), np.float32), last=True).tobytes()
    return np.frombuffer(mono, np.float32)


def decode_notes(likelihoods):
    """Notes from likelihoods, shape (n_frames, N_PITCHES, 3): list of Note, in order of start."""
    active, notes = likelihoods[..., ACTIVE], []
    for row, times, frames in _onsets(likelihoods[..., ONSET], NOTE_THRESHOLD):
        following = [*frames[1:], len(likelihoods)]
        for time, frame, limit in zip(times, frames, following, strict=True):
            first = frame + MIN_FRAMES
            at_first = active[frame : min(frame + FIRST_FRAMES, limit), row].max()
            inactive = np.flatnonzero(active[first:limit, row] <= min(ACTIVE_SHARE * at_first, ACTIVE_THRESHOLD))
            end = first + inactive[0] if len(inactive) else max(limit, first)
            notes.append(_note(likelihoods, time, end, row, frame))
    return sorted(notes)


def decode_drum_hits(likelihoods):
    """Drum hits from likelihoods, shape (n_frames, N_PITCHES, 3), with the pitches of `network.DRUM_PITCHES`.

    Returns
    -------
    list of Note
        In order of start, `DRUM_HIT` long.
    """
    onsets = likelihoods[..., ONSET]
    least = _least_likely_hits(onsets)
    hits = [
        _note(likelihoods, time, time + DRUM_HIT / FRAME_SECONDS, row, frame)
        for row, times, frames in _onsets(onsets, min(HIT_THRESHOLDS.values()))
        for time, frame in zip(times, frames, strict=True)
        if onsets[frame, row] >= least[frame, row]
    ]
    return sorted(hits)


def _least_likely_hits(onsets):
    """How likely an onset must be to be a hit, of the same shape; infinitely for pitches of no drum.

    One cymbal, or one tom, often is a little likely to be another as well, which is left out (`ALIKE`).
    """
    rows = {drum: network.pitch_row(pitches[0], is_drum=True) for drum, pitches in network.DRUM_PITCHES.items()}
    least = np.full_like(onsets, np.inf)
    for drum, row in rows.items():
        least[:, row] = HIT_THRESHOLDS[drum]
    least[:, rows["snare"]] = least[:, rows["snare"]].clip(SNARE_SHARE * onsets[:, rows["snare"]].max(initial=0.0))
    for drums in ALIKE:
        its = [rows[drum] for drum in drums]
        likeliest = maximum_filter1d(onsets[:, its].max(axis=1, keepdims=True), 3, axis=0)
        least[:, its] = np.maximum(least[:, its], ALIKE_SHARE * likeliest)
    return least


def _onsets(likelihoods, threshold):
    """For each pitch with onsets: its row, their times in fractional frames, and the frames of the peaks."""
    peaks = (likelihoods >= maximum_filter1d(likelihoods, 3, axis=0)) & (likelihoods > threshold)
    peaks[1:] &= ~(peaks[:-1] & (likelihoods[1:] == likelihoods[:-1]))  # of two equal ones, the first
    for row in np.flatnonzero(peaks.any(axis=0)):
        frames = np.flatnonzero(peaks[:, row])
        before, at, after = (likelihoods[(frames + s).clip(0, len(likelihoods) - 1), row] for s in (-1, 0, 1))
        offset = 0.5 * (after - before) / np.maximum(2 * at - before - after, 1e-3)  # of the parabola's vertex
        yield int(row), frames + offset.clip(-0.5, 0.5), frames


def _note(likelihoods, start, end, row, frame):
    """A note from frames to seconds, with the velocity and the likelihood at its onset."""
    onset, velocity = (float(likelihoods[frame, row, output]) for output in (ONSET, VELOCITY))
    begin = max(0.0, float(start)) * FRAME_SECONDS
    return Note(begin, float(end) * FRAME_SECONDS, LOWEST_PITCH + row, velocity, onset)


def _monophonic(notes):
    """Notes without overlap: of those that start together the loudest, and each ends where the next starts."""
    line = []
    for note in notes:
        if line and note.start - line[-1].start < MIN_FRAMES * FRAME_SECONDS:
            line[-1] = max(line[-1], note, key=lambda n: n.velocity)
            continue
        if line:
            line[-1] = line[-1]._replace(end=min(line[-1].end, note.start))
        line.append(note)
    return line
