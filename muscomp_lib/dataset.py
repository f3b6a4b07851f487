"""Training examples from the tables of notebook 03. Used by 04.

One example is a short excerpt: the magnitudes of a mix and of each instrument in it. Every example is a function of the
seed, the step and its place in the batch, nothing else: training that was killed goes on with exactly the examples it
would have seen. With `remix`, each instrument of an example is drawn from another song, place and level, so that a few
songs make an endless number of mixes; without it, the excerpts are those of the songs themselves.
"""

import csv
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from muscomp_lib import audio, prepared, stft
from muscomp_lib.errors import MissingError, SettingError

CACHE_BYTES = 2**31  # decoded audio kept in memory
AHEAD = 3  # batches made while the network is busy
GAIN_DB = 5.0  # standard deviation of an instrument's change of level in a remix
ABSENT = 0.2  # chance that an instrument is left out of a remix: most songs lack some


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
    """Excerpts of audio files, with what was decoded kept in memory up to `CACHE_BYTES`."""

    def __init__(self):
        self._kept = {}
        self._room = CACHE_BYTES

    def excerpt(self, file, start, n_samples, n_channels):
        """`n_samples` of a file from sample `start`, float32, shape (n_samples, n_channels); silence past the end."""
        whole = self._kept.get(file)
        if whole is None and self._room > 0:
            whole = self._keep(file, n_channels)
        if whole is None:
            length = max(0, min(n_samples, prepared.info(file).frames - start))
            whole, start = self._decoded(file, n_channels, start, length), 0
        return audio.fit_length(audio.to_float(whole[start : start + n_samples]), n_samples)

    def _keep(self, file, n_channels):
        whole = self._decoded(file, n_channels)
        self._room -= whole.nbytes
        self._kept[file] = whole
        return whole

    @staticmethod
    def _decoded(file, n_channels, start=0, frames=None):
        waveform, _ = prepared.read(file, start, frames, dtype="int16")
        return audio.fit_channels(waveform, n_channels)


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
        self._waveforms = Waveforms()

    def batch(self, number):
        """Batch `number`.

        Returns
        -------
        mix : np.ndarray, shape=(batch, T, F, n_channels), float32
            Magnitudes.
        instruments : np.ndarray, shape=(batch, T, F, n_channels, n_instruments), float32
        """
        seed = self.config["random_seed"]
        examples = [self._example(np.random.default_rng([seed, number, i])) for i in range(self.config["batch_size"])]
        mixes, instruments = zip(*examples, strict=True)
        return np.stack(mixes), np.stack(instruments)

    def _example(self, rng):
        waveforms = self._remixed(rng) if self.remix else self._as_recorded(rng)
        stacked = np.concatenate(waveforms, axis=1)  # (n_samples, n_instruments * n_channels)
        spectra = stft.frames_to_spectrogram(stacked, self.config["frame_length"], self.config["frame_step"])
        spectra = spectra[:, : self.config["F"]].reshape(self.n_frames, self.config["F"], -1, self.n_channels)
        return np.abs(spectra.sum(axis=2)), np.abs(np.swapaxes(spectra, 2, 3))

    def _as_recorded(self, rng):
        song, start = self._somewhere(rng)
        return [self._excerpt(song, name, start) for name in self.config["instrument_list"]]

    def _remixed(self, rng):
        waveforms = []
        for name in self.config["instrument_list"]:
            song, start = self._somewhere(rng)
            gain = audio.to_gain(rng.normal(0.0, GAIN_DB)) * (rng.random() >= ABSENT)
            waveforms.append(np.float32(gain) * self._excerpt(song, name, start))
        return waveforms

    def _somewhere(self, rng):
        song = self.songs[rng.integers(len(self.songs))]
        return song, int(rng.integers(max(1, song.n_samples - self.n_samples + 1)))

    def _excerpt(self, song, name, start):
        return self._waveforms.excerpt(song.files[name], start, self.n_samples, self.n_channels)


def ahead(examples, numbers):
    """Yield `examples.batch(n)` for each of `numbers`, made in the background a few steps ahead."""
    numbers = list(numbers)
    with ThreadPoolExecutor(1) as pool:
        waiting = [pool.submit(examples.batch, number) for number in numbers[:AHEAD]]
        for upcoming in [*numbers[AHEAD:], *[None] * AHEAD]:
            if not waiting:
                return
            batch = waiting.pop(0).result()
            if upcoming is not None:
                waiting.append(pool.submit(examples.batch, upcoming))
            yield batch
