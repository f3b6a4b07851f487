"""Figures of a network: its architecture, its masks during training, and its exported files. Used by 04 and 07."""

import numpy as np

from muscomp_lib.plots.style import own_colours, subplots

EXPORTED = {  # columns of `export.write`'s table: a title, and how much is worth a long bar
    "megabytes": ("MB", 0),
    "run_seconds": ("s a window", 0),
    "cold_start_seconds": ("s to start", 0),
    "memory_mb": ("MB of memory", 0),
    "largest_difference": ("difference", 0.1),
    "si_sdr_cost_db": ("cost, dB", 0.1),
    "f1_cost": ("cost in F1", 0.01),
}


@own_colours
def mask_snapshots(names, masks, seconds):
    """The masks of one example during training, a row per instrument; the last column is the ideal mask.

    Parameters
    ----------
    names, masks
        As from `mask_snapshots.read`; four snapshots are shown, and the ideal mask.
    seconds : float
        Length of the example.
    """
    titles = list(masks)
    chosen = np.unique(np.linspace(0, len(titles) - 2, min(4, len(titles) - 1)).round().astype(int))
    titles = [*(titles[index] for index in chosen), titles[-1]]
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
    figure.colorbar(image, ax=axes, label="mask", pad=0.01)
    return figure


@own_colours
def network(model, n_frames):
    """The architecture of a U-Net: the shape of each convolution's output.

    Spleeter's networks have a U-Net per instrument; the first is drawn.

    Parameters
    ----------
    model : keras.Model
        As from `unet.build`.
    n_frames : int
        Of an example.
    """
    down, up = _convolutions(model)
    figure, axes = subplots(3.6)
    deepest, centres = len(down), {}
    sizes = [(n_frames, *model.input.shape[2:])]
    sizes += [(n_frames >> (depth + 1), *layer.output.shape[2:]) for depth, layer in enumerate(down)]
    sizes += [(n_frames >> (deepest - 1 - depth), *layer.output.shape[2:]) for depth, layer in enumerate(up)]
    for place, (frames, bands, channels) in enumerate(sizes):
        depth = min(place, 2 * deepest - place)
        centres[place] = (place, -depth)
        colour = "lightgrey" if place in (0, len(sizes) - 1) else "tab:blue" if place <= deepest else "tab:orange"
        text = f"{frames} x {bands}\n{channels} channels"
        box = {"boxstyle": "round,pad=0.4", "facecolor": colour, "alpha": 0.35, "edgecolor": "none"}
        axes.text(place, -depth, text, ha="center", va="center", fontsize=8, bbox=box)
    for place in range(len(sizes) - 1):
        _arrow(axes, centres[place], centres[place + 1])
    for place in range(1, deepest):
        _arrow(axes, centres[place], centres[2 * deepest - place], linestyle=":")
    axes.set(xlim=(-0.6, 2 * deepest + 0.6), ylim=(-deepest - 0.5, 0.6), title="frames x bands, and channels")
    axes.axis("off")
    return figure


@own_colours
def exported(table):
    """Size, speed, start, memory and cost of exported formats, side by side (notebook 07).

    Parameters
    ----------
    table : pandas.DataFrame
        As from `export.write`; a row per format.
    """
    shown = [name for name in EXPORTED if name in table and table[name].notna().any()]
    figure, axes = subplots(0.9 + 0.35 * len(table), ncols=max(1, len(shown)), sharey=True, squeeze=False)
    for ax, name in zip(axes[0], shown, strict=False):
        title, least = EXPORTED[name]
        values = table[name].fillna(0)
        bars = ax.barh(table["format"], values, color="tab:orange" if least else "tab:blue")
        ax.bar_label(bars, ["" if np.isnan(value) else f"{value:.3g}" for value in table[name]], padding=3, fontsize=8)
        widest = 1.7 * max(values.abs().max(), least)
        ax.set(xlim=(-widest if values.min() < -widest / 20 else 0, widest), xticks=[])
        ax.set_title(title, fontsize=10)
        ax.spines[["top", "right", "bottom"]].set_visible(False)
    axes[0, 0].invert_yaxis()
    return figure


def _convolutions(model):
    """The convolutions of the encoder, and those of the decoder with the last, which outputs the masks."""
    first = next(layer.name for layer in model.layers if layer.name.endswith("down0")).removesuffix("down0")
    named = {layer.name: layer for layer in model.layers}
    numbers = range(len(named))
    down = [named[f"{first}down{i}"] for i in numbers if f"{first}down{i}" in named]
    up = [named[f"{first}up{i}"] for i in numbers if f"{first}up{i}" in named]
    return down, [*up, named["masks"]] if "masks" in named else up


def _arrow(axes, start, end, linestyle="-"):
    style = {"arrowstyle": "->", "color": "grey", "shrinkA": 22, "shrinkB": 22, "linestyle": linestyle}
    axes.annotate("", end, start, arrowprops=style)
