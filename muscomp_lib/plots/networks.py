"""Pictures of a network for notebook 04: how it is built, and how what it sees got better. As in `plots`."""

import numpy as np

from muscomp_lib.plots.data import subplots


def masks_on_the_way(names, masks, seconds):
    """How the masks of one example got better while a network learned: a row per instrument (notebook 04).

    Parameters
    ----------
    names, masks
        As from `watching.read`; of many, four are shown, and the ideal.
    seconds : float
        Length of the example.
    """
    titles = list(masks)
    places = np.unique(np.linspace(0, len(titles) - 2, min(4, len(titles) - 1)).round().astype(int))
    titles = [*(titles[place] for place in places), titles[-1]]
    figure, axes = subplots(1.7 * len(names) + 0.3, nrows=len(names), ncols=len(titles), sharex=True, squeeze=False)
    for row, name in zip(range(len(names)), names, strict=True):
        for ax, title in zip(axes[row], titles, strict=True):
            mask = masks[title][..., row].T
            image = ax.imshow(
                mask, origin="lower", aspect="auto", extent=(0, seconds, 0, 1), vmin=0, vmax=1, cmap="magma"
            )
            ax.set_yticks([])
            ax.set_title(title if row == 0 else "", fontsize=10)
        axes[row, 0].set_ylabel(name.replace("_", " "), fontsize=8)
    figure.supxlabel("seconds", fontsize=10)
    figure.colorbar(image, ax=axes, label="share of the sound", pad=0.01)
    return figure


def network(model, n_frames):
    """A U-Net as it is built, layer by layer: what each convolution makes of the picture (notebook 04).

    Of Spleeter's networks, which have a U-Net for each instrument, the first is drawn.

    Parameters
    ----------
    model : keras.Model
        As `unet.build` makes it.
    n_frames : int
        Length of an example.
    """
    down, up = _convolutions(model)
    figure, axes = subplots(3.6)
    deepest, spots = len(down), {}
    sizes = [(n_frames, *model.input.shape[2:])]
    sizes += [(n_frames >> (depth + 1), *layer.output.shape[2:]) for depth, layer in enumerate(down)]
    sizes += [(n_frames >> (deepest - 1 - depth), *layer.output.shape[2:]) for depth, layer in enumerate(up)]
    for place, (frames, bands, patterns) in enumerate(sizes):
        depth = min(place, 2 * deepest - place)
        spots[place] = (place, -depth)
        colour = "lightgrey" if place in (0, len(sizes) - 1) else "tab:blue" if place <= deepest else "tab:orange"
        text = f"{frames} x {bands}\n{patterns} deep"
        box = {"boxstyle": "round,pad=0.4", "facecolor": colour, "alpha": 0.35, "edgecolor": "none"}
        axes.text(place, -depth, text, ha="center", va="center", fontsize=8, bbox=box)
    for place in range(len(sizes) - 1):
        _arrow(axes, spots[place], spots[place + 1])
    for place in range(1, deepest):
        _arrow(axes, spots[place], spots[2 * deepest - place], linestyle=":")
    axes.set(
        xlim=(-0.6, 2 * deepest + 0.6), ylim=(-deepest - 0.5, 0.6), title="frames x bands, and how many patterns deep"
    )
    axes.axis("off")
    return figure


def _convolutions(model):
    """The convolutions on the way down, and those on the way up with the last, which makes masks."""
    first = next(layer.name for layer in model.layers if layer.name.endswith("down0")).removesuffix("down0")
    named = {layer.name: layer for layer in model.layers}
    numbers = range(len(named))
    down = [named[f"{first}down{i}"] for i in numbers if f"{first}down{i}" in named]
    up = [named[f"{first}up{i}"] for i in numbers if f"{first}up{i}" in named]
    return down, [*up, named["masks"]] if "masks" in named else up


def _arrow(axes, start, end, linestyle="-"):
    style = {"arrowstyle": "->", "color": "grey", "shrinkA": 22, "shrinkB": 22, "linestyle": linestyle}
    axes.annotate("", end, start, arrowprops=style)
