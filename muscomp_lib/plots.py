"""The pictures in the notebooks. Each function draws one figure and returns it; the notebook shows it.

Colours are the same for an instrument everywhere; figures are made with matplotlib's object interface, so that nothing
is shown twice and nothing stays open.
"""

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

WIDTH = 10  # inches: a notebook cell's width


def colours(names):
    """One colour per instrument, the same at every call with the same list: {name: RGBA}."""
    return dict(zip(names, mpl.colormaps["tab20"](np.arange(len(names)) % 20), strict=True))


def _axes(height, **kwargs):
    """A figure of our width and `height` inches, with axes."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots(**kwargs)


def training_example(mix, parts, names, seconds, top_khz):
    """One training example: the mix's spectrogram, and those of its loudest instruments (notebook 04).

    Parameters
    ----------
    mix : np.ndarray, shape=(n_frames, n_bins)
        Magnitudes.
    parts : np.ndarray, shape=(n_frames, n_bins, n_instruments)
        Magnitudes of each instrument, in the order of `names`.
    names : list of str
    seconds, top_khz : float
        Length of the example; frequency of its highest bin.
    """
    loudest = np.argsort(parts.sum(axis=(0, 1)))[::-1][:3]
    pictures = {"mix": mix} | {names[i]: parts[..., i] for i in loudest}
    figure, axes = _axes(3.0, ncols=len(pictures), sharey=True)
    for ax, (title, magnitude) in zip(axes, pictures.items(), strict=True):
        level = 20 * np.log10(magnitude.T + 1e-6) - 20 * np.log10(mix.max() + 1e-6)
        ax.imshow(level, origin="lower", aspect="auto", extent=(0, seconds, 0, top_khz), vmin=-80, vmax=0)
        ax.set(title=title, xlabel="seconds")
    axes[0].set_ylabel("kHz")
    return figure


def learning_curve(history):
    """Loss against steps, in training and on validation songs (notebook 04).

    Parameters
    ----------
    history : list of [int, float, float]
        Step, loss, validation loss.
    """
    steps, loss, validation = np.array(history).T
    figure, ax = _axes(3.0)
    ax.plot(steps, loss, marker="o", label="songs it learns from, remixed")
    ax.plot(steps, validation, marker="o", label="validation songs, as they are")
    ax.set(xlabel="step", ylabel="loss")
    ax.legend()
    return figure
