"""Training examples from the tables of notebook 03. Used by 04.

One example is a short excerpt: the magnitudes of a mix and of each instrument in it. A batch is made of parts, of four
examples each, and every part is a function of the seed, the batch's number and its own, nothing else: training that was
killed goes on with exactly the examples it would have seen, and where several machines train together, each makes only
its own parts, and they learn from the same batch as one machine would. With `remix`, most parts are new music: each
instrument of an example is drawn from another song and place, tuned a little higher or lower, coloured by a random
equaliser, and played at another level, so that a few songs make an endless number of mixes and a few timbres stand for
many. The other parts, and without `remix` all, are excerpts of the songs as they are.
"""

import copy
import csv
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import psutil
import scipy.fft

from muscomp_lib import audio
from muscomp_lib.audio import stft
from muscomp_lib.core.errors import MissingError, SettingError
from muscomp_lib.dataset import library as prepared

CACHE_SHARE = 0.4  # of the memory that is free when training begins, for decoded audio ...
LEFT_FREE = 0.2  # ... until no more than this share of it is left: others on the machine take memory, too
WORKERS = min(4, os.cpu_count() or 1)  # threads that make batches while the network is busy
AHEAD = WORKERS + 2  # batches made or being made meanwhile
PART = 4  # examples that share their draws, and lie on one machine: as many as are a batch unless one asks for more
GAIN_DB = 5.0  # standard deviation of an instrument's change of level in a remix
TOGETHER = 0.3  # share of parts that are not remixed: in songs, instruments play what belongs together
ABSENT = 0.4  # chance that an instrument is left out of a remix: most songs lack many
TUNING = 1.5  # semitones, at most, that an instrument is tuned up or down
AUDIBLE = 1e-3  # full scale: an excerpt that stays below is silent
DRAWS = 4  # places looked at, at most, for one where the instrument sounds: most parts rest for much of a song
EQ_DB = 4.0  # standard deviation of the equaliser
EQ_POINTS = 8  # places where it is drawn, evenly spread over the logarithm of frequency
USES = 2  # of each excerpt in a part, in different mixes: transforming sound costs more than mixing it


@dataclass(frozen=True)
class Song:
    """One row of a table: its track, its files by instrument, and its length in samples.

    A file is a path, or virtual; `prepared.read` reads both.
    """

    track: str
    mix: Path | prepared.VirtualFile
    files: dict
    n_samples: int


def read_songs(root, table, config):
    """Read `train.csv` or `validation.csv`.

    Parameters
    ----------
    root : drive.Root
    table : str or Path
    config : dict
        `mix_name`, `instrument_list` and `sample_rate` (Hz) are used.

    Returns
    -------
    list of Song

    Raises
    ------
    MissingError, SettingError
        No such table; a column is missing or a cell is blank (row and column are named); no rows.
    """
    if not Path(table).is_file():
        raise MissingError(f"{table} is not there. Notebook 03 writes it: run that first.")
    with Path(table).open(newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise SettingError(f"{table} has no rows, so there is nothing to learn from. Notebook 03 says why.")
    library = prepared.Library(root)
    return [_song(library, table, line, row, config) for line, row in enumerate(rows, start=2)]


def _song(library, table, line, row, config):
    columns = {name: f"{name}_path" for name in [config["mix_name"], *config["instrument_list"]]}
    for column in [*columns.values(), "duration"]:
        if not row.get(column):
            raise SettingError(f"{table}, line {line}: no value for {column!r}. Run notebook 03 again to mend it.")
    files = {name: library.file(row[column]) for name, column in columns.items()}
    n_samples = round(float(row["duration"]) * config["sample_rate"])
    track = PurePosixPath(row[columns[config["mix_name"]]]).parent.name
    return Song(track, files.pop(config["mix_name"]), files, n_samples)


class Waveforms:
    """Excerpts of audio files, with what was decoded kept in memory as far as `CACHE_SHARE` reaches.

    Parameters
    ----------
    sample_rate : int, optional
        Hz, to which everything is resampled; without it, files are taken at their own.
    """

    def __init__(self, sample_rate=None):
        self._sample_rate = sample_rate
        self._kept = {}
        free = psutil.virtual_memory().available
        self._room, self._left_free = CACHE_SHARE * free, LEFT_FREE * free  # bytes

    def n_samples(self, file):
        """The length of a file."""
        found = prepared.info(file)
        return found.frames * (self._sample_rate or found.sample_rate) // found.sample_rate

    def excerpt(self, file, start, n_samples, n_channels):
        """`n_samples` of a file from sample `start`, float32, shape (n_samples, n_channels); silence past the end."""
        whole = self._kept.get(file)
        if whole is None and self._room > 0 and psutil.virtual_memory().available > self._left_free:
            whole = self._keep(file, n_channels)
        if whole is None:
            length = max(0, min(n_samples, self.n_samples(file) - start))
            whole, start = self._decoded(file, n_channels, start, length), 0
        return audio.fit_length(audio.to_float(whole[start : start + n_samples]), n_samples)

    def _keep(self, file, n_channels):
        whole = self._decoded(file, n_channels)
        self._room -= whole.nbytes
        self._kept[file] = whole
        return whole

    def _decoded(self, file, n_channels, start=0, frames=None):
        rate = prepared.info(file).sample_rate
        wanted = self._sample_rate or rate
        first, length = start * rate // wanted, None if frames is None else -(-frames * rate // wanted)
        waveform, _ = prepared.read(file, first, length, dtype="int16")
        waveform = audio.fit_channels(waveform, n_channels)
        return waveform if rate == wanted else audio.to_int16(audio.resample(audio.to_float(waveform), rate, wanted))


def n_parts(batch_size):
    """How many parts a batch of so many examples has."""
    return -(-batch_size // PART)


class Examples:
    """Batches of training examples by number.

    Parameters
    ----------
    songs : list of Song
    config : dict
        A training configuration.
    n_channels : int
        1 averages all channels: enough for a network with one mask for all channels.
    remix : bool
    """

    def __init__(self, songs, config, n_channels, remix):
        self.songs, self.config, self.n_channels, self.remix = songs, config, n_channels, remix
        self.n_frames = config["muscomp"]["crop_frames"]
        self.n_samples = (self.n_frames - 1) * config["frame_step"] + config["frame_length"]
        self._parts = range(n_parts(config["batch_size"]))
        self._waveforms = Waveforms()
        bins = np.arange(config["F"])
        self._octaves = np.log2(1 + bins) / np.log2(config["F"])  # of each bin, as a share of them all

    def share(self, worker, n_workers):
        """These examples, of whose batches one of several workers makes only its share: equal, and in order.

        Parameters
        ----------
        worker, n_workers : int
            Counted from 0. The number of parts in a batch must be a multiple of `n_workers`.
        """
        share, each = copy.copy(self), len(self._parts) // n_workers
        share._parts = self._parts[worker * each : (worker + 1) * each]
        return share

    def batch(self, number):
        """Batch `number`, or this worker's share of it.

        Returns
        -------
        mix : np.ndarray, shape=(batch, T, F, n_channels), float32
            Magnitudes.
        instruments : np.ndarray, shape=(batch, T, F, n_channels, n_instruments), float32
        """
        made = [self._part(number, part) for part in self._parts]
        return tuple(np.concatenate(each) for each in zip(*made, strict=True))

    def _part(self, number, part):
        """One part of a batch; of the last, as many examples as are left."""
        rng = np.random.default_rng([self.config["random_seed"], number, part])
        size = min(PART, self.config["batch_size"] - part * PART)
        shape = (size, self.n_frames, self.config["F"], self.n_channels)
        names = self.config["instrument_list"]
        mix, instruments = np.zeros(shape, np.complex64), np.zeros((*shape, len(names)), np.float32)
        remix = self.remix and rng.random() >= TOGETHER
        places = [] if remix else [self._somewhere(rng) for _ in mix]
        for which, name in enumerate(names):
            for example, sound in self._remixed(name, size, rng) if remix else self._as_recorded(name, places):
                mix[example] += sound
                instruments[example, ..., which] = np.abs(sound)
        return np.abs(mix), instruments

    def _as_recorded(self, name, places):
        """One instrument in each example: (number of the example, spectrogram)."""
        frame = self.config["frame_length"], self.config["frame_step"]
        for example, (song, start) in enumerate(places):
            yield example, self._spectrogram(self._excerpt(song, name, start, self.n_samples), *frame)

    def _remixed(self, name, size, rng):
        """One instrument in those of `size` examples that are to have it: (number of the example, spectrogram)."""
        drawn = [self._drawn(name, rng) for _ in range(-(-size // USES))]
        order = np.concatenate([rng.permutation(len(drawn)) for _ in range(USES)])[:size]
        for example, which in enumerate(order):
            equaliser = np.interp(self._octaves, np.linspace(0, 1, EQ_POINTS), rng.normal(0.0, EQ_DB, EQ_POINTS))
            gain = audio.to_gain(rng.normal(0.0, GAIN_DB) + equaliser).astype(np.float32)
            if rng.random() >= ABSENT:
                yield example, drawn[which] * gain[:, None]

    def _drawn(self, name, rng):
        """The spectrogram of an excerpt of an instrument from anywhere, played a little faster or slower, and so tuned.

        Frames of more samples than usual, read as if they were as long as all others, hold the same sound sped up.
        """
        length, step = self.config["frame_length"], self.config["frame_step"]
        tuned_length = scipy.fft.next_fast_len(round(length * 2 ** (rng.uniform(-TUNING, TUNING) / 12)))
        tuned_step = round(tuned_length * step / length)
        for _ in range(DRAWS):
            song, start = self._somewhere(rng)
            heard = self._excerpt(song, name, start, (self.n_frames - 1) * tuned_step + tuned_length)
            if np.abs(heard).max() > AUDIBLE:
                break
        return self._spectrogram(heard, tuned_length, tuned_step)

    def _somewhere(self, rng):
        song = self.songs[rng.integers(len(self.songs))]
        return song, int(rng.integers(max(1, song.n_samples - self.n_samples + 1)))

    def _excerpt(self, song, name, start, n_samples):
        return self._waveforms.excerpt(song.files[name], start, n_samples, self.n_channels)

    def _spectrogram(self, waveform, frame_length, frame_step):
        """Shape (T, F, n_channels), complex64; short frames lack the highest bins, which are silent then."""
        whole = stft.frames_to_spectrogram(waveform, frame_length, frame_step)[: self.n_frames, : self.config["F"]]
        return audio.fit_length(whole.swapaxes(0, 1), self.config["F"]).swapaxes(0, 1)


def ahead(examples, numbers):
    """Yield `examples.batch(n)` for each of `numbers`, made in the background a few steps ahead."""
    numbers = list(numbers)
    with ThreadPoolExecutor(WORKERS) as pool:
        waiting = [pool.submit(examples.batch, number) for number in numbers[:AHEAD]]
        for upcoming in [*numbers[AHEAD:], *[None] * AHEAD]:
            if not waiting:
                return
            batch = waiting.pop(0).result()
            if upcoming is not None:
                waiting.append(pool.submit(examples.batch, upcoming))
            yield batch
