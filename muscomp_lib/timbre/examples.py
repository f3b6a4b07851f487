"""Training examples for a network that takes a query: a mix, a query, what it asks for and the rest. Used by 06.

A mix is a few stems, drawn from one song or from several. The query is notes of one of their programs, from either bank
and never from the stem; in some examples it is of a program that the mix does not have, and what it asks for is
silence. As in training/batches.py, a batch is a function of the seed and its number.
"""

import numpy as np

from muscomp_lib import audio
from muscomp_lib.audio import stft
from muscomp_lib.core import instruments
from muscomp_lib.timbre import descriptors
from muscomp_lib.timbre.descriptors import FRAME, FRAMES, RATE, STEP
from muscomp_lib.training.batches import octaves

N_BINS = 1024
N_STEMS, SHARES = (2, 3, 4), (0.2, 0.6, 0.2)  # stems of a mix, and how frequent each number is
TOGETHER = 0.5  # share of the mixes whose stems are of one song
ABSENT = 0.15  # share of the queries that ask for what is not there
GAIN_DB = 4.0  # standard deviation of a stem's level
EQ_DB, EQ_POINTS = 3.0, 8  # of a random equaliser: a bank's own colour must not count
DRAWS = 4  # places tried, at most, to find one where a stem plays
SILENT = 1e-3
A4, A4_HZ = 69, 440.0


class Queries:
    """Queries for programs, from the single notes of several banks.

    Parameters
    ----------
    banks : list of material.Bank
    descriptor : str
        One of `query_unet.DESCRIPTORS`.
    """

    def __init__(self, banks, descriptor):
        self.descriptor = descriptor
        self._notes = {
            bank.name: {program: self._described(notes, bank.pitches[program]) for program, notes in bank.notes.items()}
            for bank in banks
        }

    def programs(self):
        """Those that every bank has notes of: list of int."""
        return sorted(set.intersection(*(set(programs) for programs in self._notes.values())))

    def draw(self, program, rng, bank=None, most=4):
        """A query for a program: of one to `most` notes of one bank, any without `bank`."""
        if self.descriptor == "one_hot":
            return one_hot(program)
        bank = bank or list(self._notes)[rng.integers(len(self._notes))]
        notes = self._notes[bank][program]
        chosen = rng.choice(len(notes), min(len(notes), int(rng.integers(1, most + 1))), replace=False)
        if self.descriptor == "learned":
            each = -(-FRAMES // len(chosen))
            return np.concatenate([notes[number][:each] for number in chosen])[:FRAMES]
        return notes[chosen].mean(axis=0)

    def _described(self, notes, pitches):
        if self.descriptor == "one_hot":
            return None
        f0 = [A4_HZ * 2 ** ((pitch - A4) / 12) if pitch else None for pitch in pitches]
        made = [
            descriptors.vector(self.descriptor, audio.to_float(note), RATE, f)
            for note, f in zip(notes, f0, strict=True)
        ]
        return np.stack(made)


def one_hot(program):
    """A program as numbers: shape (129,), float32."""
    return np.eye(instruments.DRUMS + 1, dtype=np.float32)[program]


class Examples:
    """Batches of training examples by number.

    Parameters
    ----------
    banks : list of material.Bank
    queries : Queries
        Of the same banks, or others.
    batch_size, n_frames : int
    seed : int
    held_out : set of int
        Programs that are in no example.
    targets : list of set of int, optional
        Programs of each of a fixed list of parts; the last part is the rest. Without it, there are two: what the query
        asks for, and the rest.
    """

    def __init__(self, banks, queries, batch_size, n_frames, seed, held_out=frozenset(), targets=None):
        self._queries, self._size, self._n_frames, self._seed = queries, batch_size, n_frames, seed
        self._targets = targets
        self._songs = [_usable(song, held_out) for bank in banks for song in bank.songs]
        self._songs = [song for song in self._songs if song]
        self._programs = sorted({program for song in self._songs for program, _ in song})

    def batch(self, number):
        """Batch `number`.

        Returns
        -------
        inputs : list of np.ndarray
            The mixes' magnitudes, (batch, n_frames, N_BINS, 1), and queries, (batch, ...); float32.
        parts : np.ndarray, shape=(batch, n_frames, N_BINS, 1, n_parts), float32
            The magnitudes of what is asked for, and of the rest.
        """
        rng = np.random.default_rng([self._seed, number])
        mixes, queries, parts = zip(*(self._example(rng) for _ in range(self._size)), strict=True)
        return [np.stack(mixes)[..., None], np.stack(queries)], np.stack(parts)[:, :, :, None]

    def _example(self, rng):
        spectrograms = {}
        for program, stem in self._stems(rng):
            spectrograms[program] = self._spectrogram(stem, rng)
        present = list(spectrograms)
        asked = present[rng.integers(len(present))]
        others = [program for program in self._programs if program not in present]
        if rng.random() < ABSENT and others:
            asked = int(rng.choice(others))
        parts, total = self._parts(spectrograms, asked)
        return np.abs(total), self._queries.draw(asked, rng), parts

    def _parts(self, spectrograms, asked):
        """The magnitudes of the parts, (n_frames, N_BINS, n_parts), and the spectrogram of the mix."""
        targets = [{asked}] if self._targets is None else self._targets
        sums = [np.zeros((self._n_frames, N_BINS), np.complex64) for _ in range(len(targets) + 1)]
        for program, sound in spectrograms.items():
            sums[next((n for n, listed in enumerate(targets) if program in listed), -1)] += sound
        return np.abs(np.stack(sums, axis=-1)), sum(sums)

    def _stems(self, rng):
        """The stems of a mix: [(program, waveform int16)], of different programs."""
        count, song = rng.choice(N_STEMS, p=SHARES), self._songs[rng.integers(len(self._songs))]
        if rng.random() < TOGETHER and len(song) >= count:
            chosen = [song[number] for number in rng.choice(len(song), count, replace=False)]
            start = int(rng.integers(max(1, len(song[0][1]) - self._n_samples)))
            return [(program, stem[start:]) for program, stem in chosen]
        found = {}
        while len(found) < min(count, len(self._programs)):
            song = self._songs[rng.integers(len(self._songs))]
            program, stem = song[rng.integers(len(song))]
            found[program] = self._sounding(stem, rng)
        return list(found.items())

    @property
    def _n_samples(self):
        return (self._n_frames - 1) * STEP + FRAME

    def _sounding(self, stem, rng):
        for _ in range(DRAWS):
            start = int(rng.integers(max(1, len(stem) - self._n_samples)))
            if np.abs(stem[start : start + self._n_samples]).max() > SILENT * audio.INT16_SCALE:
                break
        return stem[start:]

    def _spectrogram(self, stem, rng):
        """At a random level, through a random equaliser: (n_frames, N_BINS), complex64."""
        sound = audio.fit_length(audio.to_float(stem[: self._n_samples])[:, None], self._n_samples)
        whole = stft.frames_to_spectrogram(sound, FRAME, STEP)[:, :N_BINS, 0]
        points = rng.normal(0.0, EQ_DB, EQ_POINTS)
        curve = np.interp(octaves(N_BINS), np.linspace(0, 1, EQ_POINTS), points) + rng.normal(0.0, GAIN_DB)
        level = np.sqrt(np.mean(np.square(sound))) + SILENT
        return whole * (audio.to_gain(curve) / level).astype(np.float32)


def _usable(song, held_out):
    """The stems of a song that sound, without held-out programs: [(program, waveform int16)]."""
    programs, stems = song
    return [
        (int(program), stem)
        for program, stem in zip(programs, stems, strict=True)
        if int(program) not in held_out and stem.any()
    ]
