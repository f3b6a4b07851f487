"""Figures of timbres, and of what a query does to a network. Used by 06."""

import numpy as np

from muscomp_lib.plots.style import own_colours, subplots

PERIODS = 4  # of the waveforms shown


@own_colours
def timbres(sounds, sample_rate, f0, harmonics, envelopes):
    """The same note on several instruments: a few periods, the harmonics, and the envelope; a row each.

    Parameters
    ----------
    sounds : dict of str to np.ndarray, shape=(n_samples,)
        By instrument.
    sample_rate : int
        Hz.
    f0 : float
        Hz.
    harmonics, envelopes : dict of str to np.ndarray
        As from `timbre.harmonics` and `timbre.envelope`.
    """
    figure, axes = subplots(0.6 + 1.3 * len(sounds), nrows=len(sounds), ncols=3, sharex="col", squeeze=False)
    n_samples = round(PERIODS * sample_rate / f0)
    for (name, sound), row in zip(sounds.items(), axes, strict=True):
        loudest = min(int(np.abs(sound).argmax()), max(0, len(sound) - n_samples))
        part = sound[loudest : loudest + n_samples]
        row[0].plot(1000 * np.arange(len(part)) / sample_rate, part)
        row[0].set(yticks=[], ylabel=name)
        row[1].bar(np.arange(1, 21), harmonics[name][:20])
        row[2].plot(envelopes[name])
    for ax, title, words in zip(
        axes[0], ("waveform", "harmonic distribution", "envelope, dB"), ("ms", "harmonic", "band"), strict=True
    ):
        ax.set_title(title, fontsize=10)
        axes[-1, list(axes[0]).index(ax)].set_xlabel(words)
    return figure


@own_colours
def film(x, gamma, beta):
    """What FiLM does to the outputs of two filters: before, scaled, and scaled and shifted.

    Parameters
    ----------
    x : np.ndarray, shape=(n,)
        A filter's output over frequency.
    gamma, beta : np.ndarray, shape=(n_queries,)
        Of that filter, for each query.
    """
    figure, axes = subplots(2.6, ncols=len(gamma), sharey=True, squeeze=False)
    for number, ax in enumerate(axes[0]):
        scale, shift = 1 + float(gamma[number]), float(beta[number])
        ax.plot(x, color="lightgrey", label="x")
        ax.plot(scale * x, linestyle=":", label="(1 + gamma) x")
        ax.plot(scale * x + shift, label="(1 + gamma) x + beta")
        ax.set_title(f"1 + gamma = {scale:.2f}, beta = {shift:.2f}", fontsize=10)
    axes[0, 0].legend(fontsize=8)
    return figure


@own_colours
def film_of_queries(values):
    """Gamma and beta of every filter for several queries.

    Parameters
    ----------
    values : dict of str to (np.ndarray, np.ndarray)
        By query: gammas and betas, shape (n_filters,) each.
    """
    figure, axes = subplots(1.2 + 0.35 * len(values), ncols=2, sharey=True)
    for ax, title, number in zip(axes, ("gamma", "beta"), (0, 1), strict=True):
        shown = np.stack([both[number] for both in values.values()])
        limit = max(np.abs(shown).max(), 1e-6)
        image = ax.imshow(shown, aspect="auto", cmap="coolwarm", vmin=-limit, vmax=limit)
        ax.set(xlabel="filter", title=title, yticks=range(len(values)), yticklabels=list(values))
        figure.colorbar(image, ax=ax, pad=0.02)
    return figure
