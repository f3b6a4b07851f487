"""Figures that explain an idea with the data at hand. Used by notebook 04."""

import numpy as np
import scipy.signal

from muscomp_lib.plots.style import literal, own_colours, subplots

PATTERNS = {  # 5 frames x 5 bins: what a convolution looks for
    "a steady tone": np.outer(np.ones(5), [-1, -1, 4, -1, -1]) / 20,
    "a hit": np.outer([-1, -1, 4, -1, -1], np.ones(5)) / 20,
}
N_STEPS = 6  # of the gradient


@own_colours
def convolution(magnitude, seconds, top_khz):
    """What two patterns find in a spectrogram: each is laid on every place, and its match drawn there.

    Parameters
    ----------
    magnitude : np.ndarray, shape=(n_frames, n_bins)
    seconds, top_khz : float
        Of the right and upper edge.
    """
    level = np.log10(magnitude + 1e-3 * magnitude.max())
    found = {
        name: scipy.signal.correlate2d(level, pattern, mode="same", boundary="symm")
        for name, pattern in PATTERNS.items()
    }
    figure, axes = subplots(3.0, ncols=1 + len(found), sharey=True)
    pictures = {"the spectrogram": level} | {
        f"match with {name}": np.maximum(match, 0) for name, match in found.items()
    }
    for ax, (title, values) in zip(axes, pictures.items(), strict=True):
        top = np.percentile(values, 99.5)
        bottom = values.min()
        ax.imshow(values.T, origin="lower", aspect="auto", extent=(0, seconds, 0, top_khz), vmin=bottom, vmax=top)
        ax.set(title=title, xlabel="seconds")
    axes[0].set_ylabel("kHz")
    return figure


@own_colours
def gradient_steps(mix, part, name, step):
    """The loss of one weight, and steps down its slope: the simplest network has one mask value for everything.

    Parameters
    ----------
    mix, part : np.ndarray, shape=(n_frames, n_bins)
        Magnitudes of an example, and of one instrument in it.
    name : str
        Of the instrument.
    step : float
        How far a step goes: 0.5 is straight to the lowest loss.
    """
    masks = np.linspace(0, 1, 101)
    curvature, linear, constant = (float((a * b).mean()) for a, b in ((mix, mix), (mix, part), (part, part)))

    def loss(mask):
        return curvature * mask**2 - 2 * linear * mask + constant

    weights = [0.0]
    for _ in range(N_STEPS):
        gradient = 2 * (curvature * weights[-1] - linear)
        weights.append(weights[-1] - step / curvature * gradient)
    figure, ax = subplots(3.0)
    ax.plot(masks, loss(masks), color="tab:gray", label="loss")
    ax.plot(weights, loss(np.array(weights)), "o--", color="tab:orange", label="steps against the gradient")
    ax.axvline(linear / curvature, color="tab:green", linestyle=":", label="lowest loss")
    ax.set(xlabel=f"the one weight: {literal(name).replace('_', ' ')}'s share of the mix", ylabel="squared error")
    ax.legend()
    return figure
