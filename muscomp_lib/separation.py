"""Notebook 05, first part: a song in, one waveform per instrument out.

The signal path is Spleeter's: the mix's spectrogram goes through the network in segments of T frames; the network's
amounts become masks that share out each point of the spectrogram; each mask times the mix's spectrogram, transformed
back, is one instrument. Phases are the mix's.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from muscomp_lib import audio, evaluation, stft, unet
from muscomp_lib import config as configs
from muscomp_lib.errors import MissingError
from muscomp_lib.unet import CONFIG, WEIGHTS

EPSILON = 1e-10  # Spleeter's: keeps 0 / 0 out of the masks


class Separator:
    """A trained model, ready to separate songs.

    Parameters
    ----------
    model : str or Path
        A model folder written by `training.train`.

    Attributes
    ----------
    instruments : list of str
        In the order of the configuration; with `other` when the model has a residual.

    Raises
    ------
    MissingError, SettingError
        The folder holds no finished model; its weights do not fit its configuration.
    """

    def __init__(self, model):
        folder = Path(model)
        for name in (CONFIG, WEIGHTS):
            if not (folder / name).is_file():
                raise MissingError(f"{folder} holds no finished model ({name} is missing). Train it with notebook 04.")
        self.config = configs.read(folder / CONFIG)
        self.instruments = list(self.config["instrument_list"])
        self._network = unet.build(self.config)
        unet.set_weights(self._network, unet.read_arrays(folder / WEIGHTS), folder / WEIGHTS)

    def separate(self, waveform, sample_rate):
        """Separate a song held in memory.

        Parameters
        ----------
        waveform : np.ndarray, shape=(n_samples, n_channels), float32 in [-1, 1]
            One channel or more; the first two are used.
        sample_rate : int
            Hz.

        Returns
        -------
        dict of str to np.ndarray, shape=(n_samples, 2), float32
            By instrument, at the song's own rate and length.
        """
        mix = self._mix_spectrogram(waveform, sample_rate)
        masks = self._masks(mix)
        n_samples = self._model_length(len(waveform), sample_rate)
        separated = {}
        for index, name in enumerate(tqdm(self.instruments, desc="writing sound", unit="instrument", disable=None)):
            part = stft.istft(self._extended(masks[..., index], mix) * mix, n_samples, **self._frames)
            part = audio.resample(part, self.config["sample_rate"], sample_rate)
            separated[name] = audio.fit_channels(audio.fit_length(part, len(waveform)), 2)
        return separated

    def masks(self, waveform, sample_rate):
        """The mask of each instrument, averaged over channels: {name: (n_frames, n_bins) float32 in [0, 1]}."""
        mix = self._mix_spectrogram(waveform, sample_rate)
        masks = self._masks(mix)
        return {
            name: self._extended(masks[..., index], mix).mean(axis=2) for index, name in enumerate(self.instruments)
        }

    def separate_file(self, path, out_dir):
        """Separate an audio file into `out_dir/<Instrument>.flac`, 16 bit, at the file's own rate and length.

        Returns
        -------
        dict of str to Path

        Raises
        ------
        MissingError, AudioError, DiskFullError
        """
        waveform, sample_rate = audio.read(path)
        return write(self.separate(waveform, sample_rate), sample_rate, out_dir)

    @property
    def _frames(self):
        return {key: self.config[key] for key in ("frame_length", "frame_step")}

    def _model_length(self, n_samples, sample_rate):
        return round(n_samples * self.config["sample_rate"] / sample_rate)

    def _mix_spectrogram(self, waveform, sample_rate):
        """(n_frames, n_bins, n_channels) at the model's rate and number of channels."""
        waveform = np.nan_to_num(audio.to_float(waveform), posinf=0.0, neginf=0.0)
        waveform = audio.fit_channels(waveform, self.config["n_channels"])
        waveform = audio.resample(waveform, sample_rate, self.config["sample_rate"])
        return stft.stft(audio.fit_length(waveform, len(waveform)), **self._frames)

    def _masks(self, mix):
        """Masks for a spectrogram, up to F: (n_frames, F, n_channels or 1, n_instruments); they sum to one."""
        magnitude = np.abs(mix[:, : self.config["F"]])
        segments = tqdm(list(self._segments(magnitude)), desc="separating", unit="segment", disable=None)
        amounts = np.concatenate([self._amounts(segment) for segment in segments])
        return self._shared_out(amounts[: len(mix)])

    def _segments(self, magnitude):
        T = self.config["T"]
        for start in range(0, len(magnitude), T):
            segment = magnitude[start : start + T]
            yield np.pad(segment, ((0, T - len(segment)), (0, 0), (0, 0)))

    def _amounts(self, segment):
        return np.asarray(self._network(segment[None], training=False))[0]

    def _shared_out(self, amounts):
        """Amounts to masks: each instrument's part of the sum of all, raised to `separation_exponent` first."""
        powers = amounts ** self.config["separation_exponent"]
        return (powers + EPSILON / len(self.instruments)) / (powers.sum(axis=-1, keepdims=True) + EPSILON)

    def _extended(self, mask, mix):
        """One mask up to the highest bin: above F it is zero, or the frame's mean, as `mask_extension` says.

        One at a time, because all of them at full height would take gigabytes for a song of a few minutes.
        """
        above = (mask.shape[0], mix.shape[1] - mask.shape[1], mask.shape[2])
        if self.config["mask_extension"] == "average":
            extension = np.broadcast_to(mask.mean(axis=1, keepdims=True), above)
        else:
            extension = np.zeros(above, mask.dtype)
        return np.concatenate([mask, extension], axis=1)


def write(separated, sample_rate, out_dir):
    """Write separated instruments as `out_dir/<Instrument>.flac`: {name: waveform (n_samples, 2)} to {name: Path}."""
    written = {}
    for name, waveform in tqdm(separated.items(), desc="writing files", unit="file", disable=None):
        written[name] = Path(out_dir) / f"{name}.flac"
        audio.write(written[name], waveform, sample_rate)
    return written


def score_songs(separator, songs):
    """Separate prepared songs and compare with their true instruments.

    Parameters
    ----------
    separator : Separator
    songs : list of dataset.Song

    Returns
    -------
    pandas.DataFrame
        `song` (the track's name), then the columns of `evaluation.score`; one row per song and instrument.
    """
    tables = []
    for song in songs:
        mix, sample_rate = audio.read(song.mix)
        references = {name: audio.read(song.files[name])[0] for name in separator.instruments}
        table = evaluation.score(references, separator.separate(mix, sample_rate), mix)
        table.insert(0, "song", song.mix.parent.name)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)
