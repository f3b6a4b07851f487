"""Training examples for the transcriber: a few seconds of one instrument, and its notes. Used by 04.

Sound and notes both come from Slakh: each stem has the MIDI file that it was played from. What is to be transcribed
later is not such stems but separated ones, which have holes where other instruments were louder, and remains of those.
So some examples are parts of separated songs, and the others are damaged on purpose: another stem leaks in, patches
fade, noise is added. Other players have other instruments, so an equaliser colours them, some get an octave laid over
them, as an organ's drawbar does, and drums are tuned up or down; pitched ones are moved by some semitones, notes and
all. As in `dataset.py`, every batch is a function of the seed and its number alone.
"""

import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from muscomp_lib import audio
from muscomp_lib.core.errors import MidiError, MissingError
from muscomp_lib.dataset.waveform_cache import WaveformCache
from muscomp_lib.slakh import index_tables
from muscomp_lib.training import batches
from muscomp_lib.transcription import cqt, midi_file, network
from muscomp_lib.transcription.cqt import BINS_PER_NOTE, FRAME, HOP, N_BINS, N_NOTES, SAMPLE_RATE
from muscomp_lib.transcription.network import ONSET, SOUNDING, VELOCITY

SEPARATED = 0.4  # share of examples that come from separated songs, where there are any
DRUMS = 0.2  # share of examples that are drums, which have most to tell apart
UNNAMED = 0.1  # chance that the network is not told what it hears
LEAK, LEAK_DB = 0.4, (-35.0, -10.0)  # chance that another stem is heard; its level relative to the instrument's
NOISE, NOISE_DB = 0.3, (-60.0, -30.0)
HOLES, HOLES_DB = 0.3, (5.0, 25.0)  # how deep they can be
HOLE_FRAMES, HOLE_BINS = 4, 6  # the size of a patch that fades
EQ_DB, EQ_POINTS = 8.0, 9
OCTAVE, OCTAVE_DB = 0.2, (-25.0, 3.0)  # chance that overtones are as strong as an octave; its level
LEVEL_DB = 6.0  # standard deviation of how loud an excerpt is beside the whole stem
VELOCITY_DB = 40.0  # by which a note is softer at a tenth of the velocity, as General MIDI has it
MOVE = 4  # semitones, at most
PATIENCE = 50  # parts that cannot be read, before giving up

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """What one instrument plays in a song: `audio`, a file, and `midi`, the files with its notes."""

    instrument: str
    audio: Path
    midi: tuple

    @cached_property
    def notes(self):
        """Shape (n_notes, 4): start and end in seconds, pitch, velocity from 0 to 1; in order of start.

        Raises
        ------
        MidiError
        """
        played = (note for path in self.midi for part in midi_file.read(path).instruments for note in part.notes)
        rows = sorted((note.start, note.end, note.pitch, note.velocity / 127) for note in played)
        return np.array(rows, np.float64).reshape(-1, 4)


def stems(root, partitions):
    """The stems of songs in `partitions` that an instrument of the taxonomy plays, and that are in order.

    Returns
    -------
    list of Part

    Raises
    ------
    MissingError
        Notebook 01 or 02 has not run, or there is no such stem.
    """
    rows = _usable(root, partitions)
    if rows.empty:
        raise MissingError(
            f"No stem in {root.tables} is in order, played by an instrument, has a MIDI file, and belongs to "
            f"{' or '.join(partitions)}. Notebook 01 lists stems and what is wrong with them; 02 draws the partitions."
        )
    return [Part(row.instrument, root.slakh / row.audio, (root.slakh / row.midi,)) for row in rows.itertuples()]


def separated(root, partitions, files):
    """What a separator made of songs, with the notes that each instrument really played there: none, for some.

    Parameters
    ----------
    root : drive.Root
    partitions : sequence of str
    files : dict of str to dict of str to Path
        By track and instrument.

    Returns
    -------
    list of Part
    """
    rows = _usable(root, partitions)
    midi = rows.groupby(["track", "instrument"])["midi"].agg(list).to_dict()
    return [
        Part(name, file, tuple(root.slakh / path for path in midi.get((track, name), [])))
        for track, its in files.items()
        for name, file in its.items()
    ]


def of_song(root, track):
    """What each instrument plays in a track: {instrument: Part}, the sound being that of its first stem."""
    stems, _ = index_tables.read(root)
    rows = stems[_in_order(stems) & (stems["track"] == track)]
    return {
        name: Part(name, root.slakh / its["audio"].iloc[0], tuple(root.slakh / path for path in its["midi"]))
        for name, its in rows.groupby("instrument", sort=False)
    }


def _usable(root, partitions):
    stems, tracks = index_tables.read(root)
    partition = stems["track"].map(tracks.set_index("track")["partition"])
    return stems[_in_order(stems) & partition.isin(partitions)]


def _in_order(stems):
    return (stems["status"] == "ok") & (stems["instrument"] != "") & (stems["midi"] != "")


class Examples:
    """Batches of training examples by number.

    Parameters
    ----------
    pools : sequence of list of Part
        Stems, and what was separated, which may be empty.
    config : dict
        `instrument_list`, `batch_size`, `n_frames` (of an example) and `random_seed` are used.
    damage : bool
        Whether to damage and move them; otherwise they are as they are, to validate with.
    """

    def __init__(self, pools, config, damage=True):
        self.config, self.damage = config, damage
        self.names = config["instrument_list"]
        self._pools = [{name: [p for p in parts if p.instrument == name] for name in self.names} for parts in pools]
        self._pools = [{name: parts for name, parts in pool.items() if parts} for pool in self._pools]
        self._pools = [pool for pool in self._pools if pool]
        self._sound = WaveformCache(SAMPLE_RATE)
        self._bad = set()

    def batch(self, number):
        """Batch `number`.

        Returns
        -------
        inputs : list of np.ndarray
            What `note_network.build` takes: levels and instruments.
        said : np.ndarray, shape=(batch, n_frames, N_NOTES, 3), float32
            Onsets (1 where a note begins, less in the frames beside it), sounding notes, velocities at onsets.
        """
        rng = np.random.default_rng([self.config["random_seed"], number])
        examples = [self._example(rng) for _ in range(self.config["batch_size"])]
        levels, instruments, said = (np.stack(parts) for parts in zip(*examples, strict=True))
        return [levels, instruments], said

    def _example(self, rng):
        part, start, waveform = self._audible(rng)
        is_drum = part.instrument == "Drums"
        if self.damage:
            waveform = self._leaked(waveform, part.instrument, rng)
        seen = cqt.magnitudes(waveform)[: self.config["n_frames"]]
        loudness = cqt.loudness(seen) or 1.0
        level, moved = 0.0, 0  # dB and semitones
        if self.damage:
            seen = _coloured(_holed(seen, rng), rng)
            if not is_drum and rng.random() < OCTAVE:
                seen = seen + _moved(seen, 12 * BINS_PER_NOTE) * np.float32(_gain(rng, OCTAVE_DB))
            level, moved = rng.normal(0.0, LEVEL_DB), int(rng.integers(-MOVE, MOVE + 1))
        named = self.names.index(part.instrument) if not self.damage or rng.random() >= UNNAMED else None
        levels = _moved(cqt.levels(seen, loudness / audio.to_gain(level)), moved * BINS_PER_NOTE)
        said = _said(part.notes, start / SAMPLE_RATE, len(levels), 0 if is_drum else moved, is_drum)
        said[..., VELOCITY] = (said[..., VELOCITY] * 10 ** (level / VELOCITY_DB)).clip(0.0, 1.0)
        return levels, network.chosen(named, len(self.names)), said

    def _audible(self, rng):
        """A part, a place in it where something sounds, if there is one nearby, and the sound there."""
        part = self._readable(rng)
        for _ in range(batches.DRAWS):
            start, waveform = self._excerpt(part, rng)
            if np.abs(waveform).max(initial=0.0) > batches.AUDIBLE:
                break
        return part, start, waveform

    def _readable(self, rng):
        """A part whose MIDI files are in order."""
        for _ in range(PATIENCE):
            part = self._drawn(rng)
            try:
                part.notes  # noqa: B018 (read once, and kept)
                return part
            except (MidiError, MissingError) as error:
                problem = error
                if part not in self._bad:
                    self._bad.add(part)
                    log.warning("Not learnt from: %s", error)
        raise MidiError(f"{PATIENCE} parts in a row have no MIDI file that can be read. The last: {problem}")

    def _drawn(self, rng, without=None):
        """A part of any instrument, or of any other than `without`."""
        pool = self._pools[int(len(self._pools) > 1 and rng.random() < SEPARATED)]
        names = [name for name in pool if name not in (without, "Drums")]
        if "Drums" in pool and without != "Drums" and (not names or rng.random() < DRUMS):
            names = ["Drums"]
        parts = pool[names[rng.integers(len(names))]] if names else []
        return parts[rng.integers(len(parts))] if parts else None

    def _excerpt(self, part, rng):
        n_samples = self.config["n_frames"] * HOP
        start = int(rng.integers(max(1, self._sound.n_samples(part.audio) - n_samples + 1)))
        return start, self._sound.excerpt(part.audio, start, n_samples, 1)[:, 0]

    def _leaked(self, waveform, instrument, rng):
        """With some of another stem, and some noise, as they remain in separated ones."""
        level = np.sqrt(np.mean(waveform**2)) + 1e-4
        other = self._drawn(rng, without=instrument)
        if other and rng.random() < LEAK:
            _, leak = self._excerpt(other, rng)
            waveform = waveform + leak * (level / (np.sqrt(np.mean(leak**2)) + 1e-4)) * _gain(rng, LEAK_DB)
        if rng.random() < NOISE:
            waveform = waveform + rng.normal(0.0, level, len(waveform)) * _gain(rng, NOISE_DB)
        return waveform.astype(np.float32)


def _gain(rng, between):
    return audio.to_gain(rng.uniform(*between))


def _holed(seen, rng):
    """With patches that fade away, as a mask leaves them."""
    if rng.random() >= HOLES:
        return seen
    n_frames, n_bins = seen.shape[:2]
    patches = rng.uniform(-1, 1, (n_frames // HOLE_FRAMES + 1, n_bins // HOLE_BINS + 1))
    depth = np.kron(np.minimum(patches, 0), np.ones((HOLE_FRAMES, HOLE_BINS)))[:n_frames, :n_bins]
    return seen * audio.to_gain(depth * rng.uniform(*HOLES_DB))[..., None].astype(np.float32)


def _coloured(seen, rng):
    points = np.linspace(0, 1, EQ_POINTS), rng.normal(0.0, EQ_DB, EQ_POINTS)
    return seen * audio.to_gain(np.interp(np.linspace(0, 1, N_BINS), *points))[:, None].astype(np.float32)


def _moved(levels, bins):
    """The picture some bins higher or lower; what comes in from beyond is silence."""
    padded = np.pad(levels, ((0, 0), (max(bins, 0), max(-bins, 0)), (0, 0)), constant_values=levels.min())
    return padded[:, max(-bins, 0) :][:, :N_BINS]


def _said(notes, begin, n_frames, moved, is_drum):
    """What the network is to say of notes in seconds, for frames from `begin` seconds on."""
    said = np.zeros((n_frames, N_NOTES, 3), np.float32)
    near = notes[(notes[:, 1] > begin) & (notes[:, 0] < begin + n_frames * FRAME)]
    for start, end, pitch, velocity in near:
        row = network.row(int(pitch) + moved, is_drum)
        if row is None:
            continue
        first, last = (start - begin) / FRAME, (end - begin) / FRAME
        if not is_drum:  # a stroke has no end
            said[max(0, round(first)) : max(0, round(last)), row, SOUNDING] = 1.0
        for frame in range(max(0, int(np.ceil(first - 1))), min(n_frames, int(np.floor(first + 1)) + 1)):
            said[frame, row, ONSET] = max(said[frame, row, ONSET], 1 - abs(frame - first))
            said[frame, row, VELOCITY] = velocity
    return said
