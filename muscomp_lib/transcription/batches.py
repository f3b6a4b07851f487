"""Training examples of the transcriber: a few seconds of one instrument, and its notes. Used by notebook 04.

Audio and notes both come from Slakh: each stem has the MIDI file it was rendered from. At inference the transcriber
gets separated stems, with gaps where other instruments were louder and bleed from them. So some examples are excerpts
of separated songs, and the others are augmented: bleed from another stem, noise, masked bands, a random equaliser, an
octave above as from an organ's drawbar, and a transposition by some semitones, of the labels too (drums: of the audio
alone). As in `training.batches`, every batch is a function of the seed and its number alone.

Where notebook 01 has found that a stem sounds octaves away from its notes (slakh/octaves.py), these are moved to what
sounds, unless `correct_octaves` is False.
"""

import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from muscomp_lib import audio
from muscomp_lib.core import instruments
from muscomp_lib.core.errors import MidiError, MissingError
from muscomp_lib.dataset.waveform_cache import WaveformCache
from muscomp_lib.music_files import midi_file
from muscomp_lib.slakh import index_tables
from muscomp_lib.training.batches import AUDIBLE, DRAWS
from muscomp_lib.transcription import cqt, network
from muscomp_lib.transcription.cqt import BINS_PER_SEMITONE, FRAME_SECONDS, HOP, N_BINS, N_PITCHES, SAMPLE_RATE
from muscomp_lib.transcription.network import ACTIVE, ONSET, VELOCITY

SEPARATED_SHARE = 0.5  # of the examples, where there are separated songs
DRUM_SHARE = 0.2  # of the examples: drums have most classes to tell apart
UNNAMED = 0.1  # probability that the network is not given the instrument
BLEED, BLEED_DB = 0.4, (-35.0, -10.0)  # probability of another stem; its level relative to the instrument's
NOISE, NOISE_DB = 0.3, (-60.0, -30.0)
MASK, MASK_DB = 0.3, (5.0, 25.0)  # probability of masked bands; their depth
MASK_FRAMES, MASK_BINS = 4, 6  # the size of a masked patch
EQ_DB, EQ_POINTS = 8.0, 9  # standard deviation at so many points from the lowest to the highest bin
OCTAVE, OCTAVE_DB = 0.2, (-25.0, 3.0)  # probability of the octave above; its level
LEVEL_DB = 6.0  # standard deviation of an excerpt's level relative to the whole stem's
VELOCITY_DB = 40.0  # a tenth of the velocity is so much softer, as General MIDI has it
TRANSPOSE = 4  # semitones, at most
MAX_RETRIES = 50  # parts with unreadable MIDI files, before giving up

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """What one instrument plays in a song.

    `audio`: a file. `midi`: the files with its notes, each with the octaves that these are to be moved up by.
    """

    instrument: str
    audio: Path
    midi: tuple
    is_drums: bool = False

    @cached_property
    def notes(self):
        """np.ndarray, shape=(n_notes, 4): start and end in seconds, MIDI pitch, velocity from 0 to 1; by start.

        Raises
        ------
        MissingError, MidiError
        """
        rows = [
            (note.start, note.end, note.pitch + 12 * octaves, note.velocity / 127)
            for path, octaves in self.midi
            for track in midi_file.read(path).instruments
            for note in track.notes
        ]
        return np.array(sorted(rows), np.float64).reshape(-1, 4)


def stems(root, partitions, correct_octaves=True):
    """The usable stems of an instrument in songs of `partitions`.

    Parameters
    ----------
    root : Root
    partitions : sequence of str
    correct_octaves : bool
        Move notes to the octave that sounds.

    Returns
    -------
    list of Part

    Raises
    ------
    MissingError
        Notebook 01 or 02 has not run, or there is no such stem.
    """
    rows, drums = _usable(root, partitions, correct_octaves)
    if rows.empty:
        raise MissingError(
            f"No stem in {root.tables} has status ok, an instrument, a MIDI file, and one of the partitions "
            f"{' or '.join(partitions)}. Notebook 01 lists the stems and their status; 02 draws the partitions."
        )
    return [_part(root, row.instrument, root.slakh / row.audio, [row.notes], drums) for row in rows.itertuples()]


def separated(root, partitions, files, correct_octaves=True):
    """Separated instruments with their true notes; an instrument that does not play in a song has none.

    Parameters
    ----------
    root : Root
    partitions : sequence of str
    files : dict of str to dict of str to Path
        By track and instrument.
    correct_octaves : bool
        As for `stems`.

    Returns
    -------
    list of Part
    """
    rows, drums = _usable(root, partitions, correct_octaves)
    midi = rows.groupby(["track", "instrument"])["notes"].agg(list).to_dict()
    return [
        _part(root, name, file, midi.get((track, name), []), drums)
        for track, its in files.items()
        for name, file in its.items()
    ]


def of_song(root, track, correct_octaves=True):
    """What each instrument plays in a track: {instrument: Part}, with the audio of its first stem."""
    stems, _ = index_tables.read(root)
    rows = _with_notes(stems[stems["track"] == track], correct_octaves)
    drums = _drums(stems)
    return {
        name: _part(root, name, root.slakh / its["audio"].iloc[0], its["notes"], drums)
        for name, its in rows.groupby("instrument", sort=False)
    }


def _part(root, instrument, file, midi, drums):
    midi = tuple((root.slakh / path, octaves) for path, octaves in midi)
    return Part(instrument, file, midi, instrument in drums)


def _usable(root, partitions, correct_octaves):
    """The stems to use of some partitions, and the names of the drum kits."""
    stems, tracks = index_tables.read(root)
    partition = stems["track"].map(tracks.set_index("track")["partition"])
    return _with_notes(stems[partition.isin(partitions)], correct_octaves), _drums(stems)


def _with_notes(stems, correct_octaves):
    """The stems that have notes, and these as a column: (MIDI file, octaves to move them up by)."""
    usable = stems[(stems["status"] == "ok") & (stems["instrument"] != "") & (stems["midi"] != "")]
    octaves = usable["octave"].fillna(0) * correct_octaves
    return usable.assign(notes=list(zip(usable["midi"], octaves.astype(int), strict=True)))


def _drums(stems):
    """The names of the drum kits in the taxonomy that the table was made with."""
    return set(stems.loc[stems["program_num"] == instruments.DRUMS, "instrument"])


class Examples:
    """Batches of training examples by number.

    Parameters
    ----------
    pools : sequence of list of Part
        Stems, and separated instruments, which may be empty.
    config : dict
        `instrument_list`, `batch_size`, `n_frames` (of an example), `drum_share` and `random_seed` are used.
    augment : bool
        Without, examples are as recorded, for validation.
    """

    def __init__(self, pools, config, augment=True):
        self.config, self.augment = config, augment
        self.names = config["instrument_list"]
        self._drum_share = config.get("drum_share", DRUM_SHARE)
        self._pools = [{name: [p for p in parts if p.instrument == name] for name in self.names} for parts in pools]
        self._pools = [{name: parts for name, parts in pool.items() if parts} for pool in self._pools]
        self._pools = [pool for pool in self._pools if pool]
        self._drums = {part.instrument for parts in pools for part in parts if part.is_drums}
        self._waveforms = WaveformCache(SAMPLE_RATE)
        self._loudnesses, self._unreadable = {}, set()

    def batch(self, number):
        """Batch `number`.

        Returns
        -------
        inputs : list of np.ndarray
            Levels (batch, n_frames, N_BINS, len(WINDOWS)) and instruments (batch, n_instruments), as for
            `network.build`.
        labels : np.ndarray, shape=(batch, n_frames, N_PITCHES, 3), float32
            Onsets (1 at an onset, less in the frames beside it), active notes, velocities at onsets.
        """
        rng = np.random.default_rng([self.config["random_seed"], number])
        examples = [self._example(rng) for _ in range(self.config["batch_size"])]
        levels, named, labels = (np.stack(parts) for parts in zip(*examples, strict=True))
        return [levels, named], labels

    def _example(self, rng):
        part, start, waveform = self._draw_audible(rng)
        if self.augment:
            waveform = self._add_bleed(waveform, part.instrument, rng)
        magnitudes = cqt.magnitudes(waveform)[: self.config["n_frames"]]
        loudness = self._loudness(part)
        level, semitones = 0.0, 0
        if self.augment:
            magnitudes = _random_eq(_mask_bands(magnitudes, rng), rng)
            if not part.is_drums and rng.random() < OCTAVE:
                octave = _transpose(magnitudes, 12 * BINS_PER_SEMITONE)
                magnitudes = magnitudes + octave * np.float32(_random_gain(rng, OCTAVE_DB))
            level, semitones = rng.normal(0.0, LEVEL_DB), int(rng.integers(-TRANSPOSE, TRANSPOSE + 1))
        named = self.names.index(part.instrument) if not self.augment or rng.random() >= UNNAMED else None
        levels = _transpose(cqt.levels(magnitudes, loudness / audio.to_gain(level)), semitones * BINS_PER_SEMITONE)
        shift = 0 if part.is_drums else semitones
        labels = _labels(part.notes, start / SAMPLE_RATE, len(levels), shift, part.is_drums)
        labels[..., VELOCITY] = (labels[..., VELOCITY] * 10 ** (level / VELOCITY_DB)).clip(0.0, 1.0)
        return levels, network.one_hot(named, len(self.names)), labels

    def _draw_audible(self, rng):
        """A part, a start in samples, and the waveform from there: not silent, unless several draws were."""
        part = self._draw_readable(rng)
        for _ in range(DRAWS):
            start, waveform = self._draw_excerpt(part, rng)
            if np.abs(waveform).max(initial=0.0) > AUDIBLE:
                break
        return part, start, waveform

    def _draw_readable(self, rng):
        """A part whose MIDI files can be read."""
        for _ in range(MAX_RETRIES):
            part = self._draw(rng)
            try:
                part.notes  # noqa: B018 (read once, and cached)
                return part
            except (MidiError, MissingError) as error:
                problem = error
                if part not in self._unreadable:
                    self._unreadable.add(part)
                    log.warning("Left out of the training: %s", error)
        raise MidiError(f"{MAX_RETRIES} parts in a row have no readable MIDI file. The last: {problem}")

    def _draw(self, rng, without=None):
        """A part of any instrument but `without`; None if there is none."""
        pool = self._pools[int(len(self._pools) > 1 and rng.random() < SEPARATED_SHARE)]
        names = [name for name in pool if name != without and name not in self._drums]
        drums = [name for name in pool if name != without and name in self._drums]
        if drums and (not names or rng.random() < self._drum_share):
            names = drums
        parts = pool[names[rng.integers(len(names))]] if names else []
        return parts[rng.integers(len(parts))] if parts else None

    def _draw_excerpt(self, part, rng):
        """A start in samples, and the waveform from there: shape (n_frames * HOP,), float32."""
        n_samples = self.config["n_frames"] * HOP
        start = int(rng.integers(max(1, self._waveforms.n_samples(part.audio) - n_samples + 1)))
        return start, self._waveforms.excerpt(part.audio, start, n_samples, 1)[:, 0]

    def _loudness(self, part):
        """The loudness of the whole part, which levels are relative to, as they are when a song is transcribed."""
        if part.audio not in self._loudnesses:
            whole = self._waveforms.excerpt(part.audio, 0, self._waveforms.n_samples(part.audio), 1)[:, 0]
            self._loudnesses[part.audio] = cqt.loudness(cqt.magnitudes(whole)) or 1.0
        return self._loudnesses[part.audio]

    def _add_bleed(self, waveform, instrument, rng):
        """Add another stem and noise at random, as they remain in separated stems."""
        level = np.sqrt(np.mean(waveform**2)) + 1e-4
        other = self._draw(rng, without=instrument)
        if other and rng.random() < BLEED:
            _, bleed = self._draw_excerpt(other, rng)
            waveform = waveform + bleed * (level / (np.sqrt(np.mean(bleed**2)) + 1e-4)) * _random_gain(rng, BLEED_DB)
        if rng.random() < NOISE:
            waveform = waveform + rng.normal(0.0, level, len(waveform)) * _random_gain(rng, NOISE_DB)
        return waveform.astype(np.float32)


def _random_gain(rng, between):
    return audio.to_gain(rng.uniform(*between))


def _mask_bands(magnitudes, rng):
    """Attenuate patches at random, as a separation mask does."""
    if rng.random() >= MASK:
        return magnitudes
    n_frames, n_bins = magnitudes.shape[:2]
    patches = rng.uniform(-1, 1, (n_frames // MASK_FRAMES + 1, n_bins // MASK_BINS + 1))
    depth = np.kron(np.minimum(patches, 0), np.ones((MASK_FRAMES, MASK_BINS)))[:n_frames, :n_bins]
    return magnitudes * audio.to_gain(depth * rng.uniform(*MASK_DB))[..., None].astype(np.float32)


def _random_eq(magnitudes, rng):
    points = np.linspace(0, 1, EQ_POINTS), rng.normal(0.0, EQ_DB, EQ_POINTS)
    return magnitudes * audio.to_gain(np.interp(np.linspace(0, 1, N_BINS), *points))[:, None].astype(np.float32)


def _transpose(levels, bins):
    """Shift a spectrogram up by some bins, or down; the edge is filled with silence."""
    padded = np.pad(levels, ((0, 0), (max(bins, 0), max(-bins, 0)), (0, 0)), constant_values=levels.min())
    return padded[:, max(-bins, 0) :][:, :N_BINS]


def _labels(notes, begin, n_frames, semitones, is_drums):
    """The target for notes in seconds, for frames from `begin` seconds on: shape (n_frames, N_PITCHES, 3)."""
    labels = np.zeros((n_frames, N_PITCHES, 3), np.float32)
    inside = notes[(notes[:, 1] > begin) & (notes[:, 0] < begin + n_frames * FRAME_SECONDS)]
    for start, end, pitch, velocity in inside:
        row = network.pitch_row(int(pitch) + semitones, is_drums)
        if row is None:
            continue
        first, last = (start - begin) / FRAME_SECONDS, (end - begin) / FRAME_SECONDS
        if not is_drums:  # a drum hit has no end
            labels[max(0, round(first)) : max(0, round(last)), row, ACTIVE] = 1.0
        for frame in range(max(0, int(np.ceil(first - 1))), min(n_frames, int(np.floor(first + 1)) + 1)):
            labels[frame, row, ONSET] = max(labels[frame, row, ONSET], 1 - abs(frame - first))
            labels[frame, row, VELOCITY] = velocity
    return labels
