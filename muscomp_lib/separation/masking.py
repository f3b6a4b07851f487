"""Masks, applied by hand. Used by the experiments of notebook 05; `Separator` does the same for songs of any length."""

import numpy as np

from muscomp_lib import audio
from muscomp_lib.audio import stft


def apply(masks, waveform, config, sample_rate):
    """Divide a sound by masks.

    Parameters
    ----------
    masks : dict of str to np.ndarray, shape=(n_frames, n_bins)
        As from `Separator.masks` for this waveform.
    waveform : np.ndarray, shape=(n_samples, n_channels), float32
    config : dict
        Of the model.
    sample_rate : int
        Of the waveform, in Hz.

    Returns
    -------
    dict of str to np.ndarray, shape=(n_samples, n_channels), float32
        At the waveform's rate and length.
    """
    frame = config["frame_length"], config["frame_step"]
    at_models_rate = audio.resample(waveform, sample_rate, config["sample_rate"])
    spectrogram = stft.stft(at_models_rate, *frame)
    return {
        name: _back(spectrogram * mask[..., None], len(waveform), config, sample_rate) for name, mask in masks.items()
    }


def _back(spectrogram, n_samples, config, sample_rate):
    n_there = -(-n_samples * config["sample_rate"] // sample_rate)
    sound = stft.istft(spectrogram, n_there, config["frame_length"], config["frame_step"])
    return audio.resample(sound, config["sample_rate"], sample_rate)[:n_samples]


def with_phase_of(other, waveform, frame_length, frame_step):
    """A sound with its own magnitudes and another sound's phases.

    Parameters
    ----------
    other, waveform : np.ndarray, shape=(n_samples, n_channels), float32
        Of equal shape.
    frame_length, frame_step : int
        Samples.

    Returns
    -------
    np.ndarray, shape=(n_samples, n_channels), float32
    """
    magnitude = np.abs(stft.stft(waveform, frame_length, frame_step))
    phase = np.exp(1j * np.angle(stft.stft(other, frame_length, frame_step)))
    return stft.istft((magnitude * phase).astype(np.complex64), len(waveform), frame_length, frame_step)
