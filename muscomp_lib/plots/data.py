"""Figures of the data, the training and the scores. Used by notebooks 01 to 05.

Each function draws one figure and returns it; the notebook shows it. An instrument has the same colour everywhere.
"""

import matplotlib as mpl
import numpy as np

from muscomp_lib.core import instruments, progress
from muscomp_lib.plots.style import literal, own_colours, subplots
from muscomp_lib.slakh.index_tables import STATUSES

TOP_KHZ = 8.0  # the highest frequency shown of spectrograms and masks
MASKS_SHOWN = 6
PARTITION_COLOURS = {"train": "tab:blue", "validation": "tab:cyan", "test": "tab:green", "reserve": "tab:orange"}


@own_colours
def training_example(mix, parts, names, seconds, top_khz):
    """One training example: spectrograms of the mix and of its three loudest instruments (notebook 04).

    Parameters
    ----------
    mix : np.ndarray, shape=(n_frames, n_bins)
        Magnitudes.
    parts : np.ndarray, shape=(n_frames, n_bins, n_instruments)
        Magnitudes of each instrument, in the order of `names`.
    names : list of str
    seconds, top_khz : float
        Length of the example; frequency of its highest bin, in kHz.
    """
    loudest = np.argsort(parts.sum(axis=(0, 1)))[::-1][:3]
    shown = {"mix": mix} | {names[i]: parts[..., i] for i in loudest}
    figure, axes = subplots(3.0, ncols=len(shown), sharey=True)
    for ax, (title, magnitude) in zip(axes, shown.items(), strict=True):
        level = 20 * np.log10(magnitude.T + 1e-6) - 20 * np.log10(mix.max() + 1e-6)
        ax.imshow(level, origin="lower", aspect="auto", extent=(0, seconds, 0, top_khz), vmin=-80, vmax=0)
        ax.set(title=title, xlabel="seconds")
    axes[0].set_ylabel("kHz")
    return figure


@own_colours
def learning_curve(history, others=None):
    """Training and validation loss against steps (notebooks 04, 06 and 08).

    Parameters
    ----------
    history : list of [int, float, float]
        Step, loss, validation loss.
    others : dict of str to list, optional
        The histories of other trainings, to compare with, by name.
    """
    figure, ax = subplots(3.0)
    for name, each in ({"": history} | (others or {})).items():
        steps, loss, validation = np.array(each).T
        (line,) = ax.plot(steps, loss, marker="o", label=f"training {name}".strip())
        colour = line.get_color() if others else None
        ax.plot(
            steps, validation, "--" if others else "-", color=colour, marker="o", label=f"validation {name}".strip()
        )
    ax.set(xlabel="step", ylabel="loss")
    ax.legend()
    return figure


@own_colours
def instrument_counts(coverage):
    """How many tracks have each instrument, with stems and hours (notebook 01).

    Parameters
    ----------
    coverage : pandas.DataFrame
        As from `index_tables.coverage`.
    """
    figure, axes = subplots(4.2)
    bars = axes.barh(coverage["instrument"], coverage["tracks"], color="tab:blue")
    for bar, name in zip(bars, coverage["instrument"], strict=True):
        bar.set_color("lightgrey" if name == instruments.OTHER else "tab:blue")
    axes.bar_label(bars, _amounts(coverage), padding=4, fontsize=8)
    axes.set(xlabel="tracks", title="Tracks with each instrument")
    axes.set_xlim(0, max(1, coverage["tracks"].max()) * 1.25)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    return figure


@own_colours
def taxonomies(covered):
    """How many tracks have each instrument in each taxonomy (notebook 01).

    Parameters
    ----------
    covered : pandas.DataFrame
        As from `index_tables.taxonomies`.
    """
    names, groups = (covered[column].drop_duplicates() for column in ("instrument", "taxonomy"))
    thick = 0.8 / len(groups)
    figure, axes = subplots(1.2 + 0.26 * len(names) * max(2, len(groups)))
    for nth, (taxonomy, its) in enumerate(covered.groupby("taxonomy", sort=False)):
        places = [list(names).index(name) + (nth - (len(groups) - 1) / 2) * thick for name in its["instrument"]]
        bars = axes.barh(places, its["tracks"], 0.92 * thick, color=_distinct(nth, len(groups)), label=taxonomy)
        axes.bar_label(bars, _amounts(its), padding=4, fontsize=8)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="tracks", title="Tracks with each instrument, by taxonomy", ylim=(len(names) - 0.4, -0.6))
    axes.set_xlim(0, max(1, covered["tracks"].max()) * 1.25)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _amounts(table):
    return [f"{n} stems, {progress.duration(h * 3600)}" for n, h in zip(table["stems"], table["hours"], strict=True)]


def _distinct(number, count):
    """A colour that differs from its neighbours in lightness too, for the colour-blind."""
    return mpl.colormaps["cividis"](number / max(count - 1, 1) * 0.85)


@own_colours
def stem_counts(tracks, stems, names):
    """Usable stems of each instrument in each track; broken stems and tracks are marked red (notebook 01)."""
    figure, axes = subplots(min(2.5 + 0.16 * len(tracks), 9))
    counts = tracks[names].to_numpy(dtype=float)
    image = axes.imshow(counts, aspect="auto", cmap="Blues", vmin=0, vmax=max(2, counts.max()), interpolation="nearest")
    broken = stems[~stems["status"].isin(("ok", "unrendered")) & stems["instrument"].isin(names)]
    rows = tracks.reset_index(drop=True).reset_index().set_index("track")["index"]
    axes.plot([names.index(name) for name in broken["instrument"]], rows[broken["track"]], "x", color="tab:red", ms=6)
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right", fontsize=8)
    _label_tracks(axes, tracks)
    bar = figure.colorbar(image, label="usable stems", pad=0.01)
    bar.locator = mpl.ticker.MaxNLocator(integer=True)
    axes.set(title="Stems of each instrument in each track (red: broken)")
    return figure


def _label_tracks(axes, tracks):
    """Label as many rows as are legible; broken tracks in red."""
    step = max(1, round(len(tracks) / 45))
    shown = range(0, len(tracks), step)
    axes.set_yticks(shown, tracks["track"].iloc[::step], fontsize=7)
    for label, status in zip(axes.get_yticklabels(), tracks["status"].iloc[::step], strict=True):
        label.set_color("black" if status == "ok" else "tab:red")


@own_colours
def statuses(stems, names):
    """How many stems have each status, within the taxonomy and outside of it (notebook 01)."""
    figure, axes = subplots(2.6)
    inside = stems["instrument"].isin(names)
    counts = [stems[mask]["status"].value_counts().reindex(STATUSES, fill_value=0) for mask in (inside, ~inside)]
    axes.barh(STATUSES, counts[0], label="in the taxonomy", color="tab:blue")
    bars = axes.barh(STATUSES, counts[1], left=counts[0], label="other", color="lightgrey")
    axes.bar_label(bars, [str(a + b) for a, b in zip(*counts, strict=True)], padding=4, fontsize=9)
    axes.set(xlabel="stems", title="Status of the stems")
    axes.invert_yaxis()
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


@own_colours
def activity(shares):
    """The share of the time in which each instrument plays, by partition (notebook 03).

    Parameters
    ----------
    shares : pandas.DataFrame
        As from `tables.activity`: a row per instrument, a column per partition, 0 to 1.
    """
    figure, axes = subplots(3.6)
    width = 0.8 / len(shares.columns)
    for i, partition in enumerate(shares.columns):
        axes.bar(np.arange(len(shares)) + (i - (len(shares.columns) - 1) / 2) * width, shares[partition], width,
                 label=partition)  # fmt: skip
    axes.set_xticks(range(len(shares)), shares.index, rotation=40, ha="right", fontsize=8)
    axes.yaxis.set_major_formatter(mpl.ticker.PercentFormatter(1.0))
    axes.set(ylabel="share of the time", ylim=(0, 1))
    axes.set_title("Activity of each instrument", loc="left")
    axes.legend(frameon=False, ncols=len(shares.columns), loc="upper right", bbox_to_anchor=(1, 1.14))
    axes.spines[["top", "right"]].set_visible(False)
    return figure


@own_colours
def partitions(tracks, names):
    """How many tracks of each partition have each instrument, before filling (notebook 02)."""
    figure, axes = subplots(4.2)
    has = {name: (tracks.loc[tracks["partition"] == name, names] > 0).sum() for name in PARTITION_COLOURS}
    too_narrow = sum(has.values()).max() / 40  # for a label
    left = np.zeros(len(names))
    for partition, colour in PARTITION_COLOURS.items():
        counts = has[partition].to_numpy(dtype=float)
        bars = axes.barh(names, counts, left=left, color=colour, label=partition)
        labels = [f"{count:.0f}" if count > too_narrow else "" for count in counts]
        axes.bar_label(bars, labels, label_type="center", fontsize=8)
        left += counts
    axes.set(xlabel="tracks", title="Tracks with each instrument, by partition, before filling")
    axes.invert_yaxis()
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    axes.spines[["top", "right"]].set_visible(False)
    return figure


@own_colours
def filling(tracks, synthesis, names):
    """Which instruments each song has, before and after filling from the reserve (notebook 02)."""
    order = {partition: rank for rank, partition in enumerate(PARTITION_COLOURS)}
    songs = tracks[tracks["partition"].isin(("train", "validation", "test"))]
    songs = songs.sort_values("partition", key=lambda column: column.map(order), kind="stable").set_index("track")
    before = (songs[names] > 0).to_numpy(dtype=int) * 2
    filled = set(zip(synthesis["track"], synthesis["instrument"], strict=True))
    after = np.maximum(before, [[(track, name) in filled for name in names] for track in songs.index])
    figure, pair = subplots(min(2.5 + 0.16 * len(songs), 9), ncols=2, sharey=True)
    meaning = mpl.colors.ListedColormap(["white", "tab:orange", "tab:blue"])
    for axes, state, title in zip(pair, (before, after), ("before filling", "after filling"), strict=True):
        axes.imshow(state, aspect="auto", cmap=meaning, vmin=0, vmax=2, interpolation="nearest")
        axes.set_xticks(range(len(names)), names, rotation=50, ha="right", fontsize=7)
        for end in songs["partition"].value_counts().reindex(order).fillna(0).cumsum()[:2]:
            axes.axhline(end - 0.5, color="black", linewidth=0.8)
        axes.set_title(title)
    step = max(1, round(len(songs) / 45))
    labels = [f"{partition}  {track}" for track, partition in songs["partition"].items()]
    pair[0].set_yticks(range(0, len(songs), step), labels[::step], fontsize=7)
    keys = [mpl.patches.Patch(facecolor=meaning(i), edgecolor="grey", label=label)
            for i, label in enumerate(("silent", "from the reserve", "the song's own"))]  # fmt: skip
    figure.legend(handles=keys, loc="outside lower center", ncols=3, frameon=False)
    return figure


@own_colours
def spectrograms(waveforms, sample_rate):
    """Spectrograms below each other, with a common time axis and colour scale (notebooks 02 and 05 to 07).

    Parameters
    ----------
    waveforms : dict of str to np.ndarray, shape=(n_samples, n_channels), float
        By title; the first channel is shown.
    sample_rate : int
        Hz.
    """
    figure, rows = subplots(2.2 * len(waveforms) + 0.6, nrows=len(waveforms), sharex=True, squeeze=False)
    for axes, (title, waveform) in zip(rows[:, 0], waveforms.items(), strict=True):
        # Noise far below any sound keeps the logarithm of digital silence finite.
        signal = waveform[:, 0] + 1e-7 * np.random.default_rng(0).standard_normal(len(waveform))
        *_, image = axes.specgram(signal, NFFT=2048, Fs=sample_rate / 1000, noverlap=1024, vmin=-90, vmax=-10)
        axes.set(title=literal(title), ylabel="kHz", ylim=(0, TOP_KHZ))
    seconds = mpl.ticker.FuncFormatter(lambda milliseconds, _: f"{milliseconds / 1000:g}")
    rows[-1, 0].xaxis.set_major_formatter(seconds)
    rows[-1, 0].set_xlabel("seconds")
    figure.colorbar(image, ax=list(rows[:, 0]), label="level (dB)", pad=0.01)
    return figure


@own_colours
def masks(masks, sample_rate, frame_length):
    """The masks of the MASKS_SHOWN instruments with the highest mean: dark 0, bright 1 (notebooks 04 and 05).

    Parameters
    ----------
    masks : dict of str to np.ndarray, shape=(n_frames, n_bins)
        As from `separation.Separator.masks`.
    sample_rate, frame_length : int
        Hz and samples, of the masked spectrogram, whose hop is a quarter of a frame.
    """
    used = round(TOP_KHZ * 1000 * frame_length / sample_rate)
    names = sorted(masks, key=lambda name: -float(masks[name].mean()))[:MASKS_SHOWN]
    n_rows = -(-len(names) // 3)
    figure, axes = subplots(2.3 * n_rows + 0.3, nrows=n_rows, ncols=3, sharex=True, sharey=True, squeeze=False)
    for ax in axes.flat[len(names) :]:
        ax.set_visible(False)
    for ax, name in zip(axes.flat, [n for n in masks if n in names], strict=False):
        mask = masks[name][:, :used]
        extent = (0, len(mask) * frame_length / 4 / sample_rate, 0, mask.shape[1] * sample_rate / frame_length / 1000)
        image = ax.imshow(mask.T, origin="lower", aspect="auto", extent=extent, vmin=0, vmax=1, cmap="magma")
        ax.set_title(literal(name), fontsize=10)
    figure.supxlabel("seconds", fontsize=10)
    figure.supylabel("kHz", fontsize=10)
    figure.colorbar(image, ax=axes, label="mask", pad=0.01)
    return figure


@own_colours
def si_sdr_bars(table):
    """SI-SDR of the mix, the estimate and the ideal mask, per instrument (notebooks 04 and 05).

    Parameters
    ----------
    table : pandas.DataFrame
        As from `separation.metrics.score`, with or without a column `si_sdr_ideal`; silent instruments have no bars.
    """
    figure, axes = subplots(3.8)
    places = np.arange(len(table))
    for shift, column, label, colour in (
        (-0.2, "si_sdr_mix", "unprocessed mix", "lightgrey"),
        (0.2, "si_sdr_estimate", "estimate", "tab:blue"),
    ):
        figures = table[column].to_numpy(dtype=float)
        axes.bar(places + shift, np.where(np.isfinite(figures), figures, 0), 0.4, label=label, color=colour)
    if "si_sdr_ideal" in table:
        axes.plot(places, table["si_sdr_ideal"], "_", color="black", markersize=18, label="ideal mask")
    for place in places[table["si_sdr_mix"].isna()]:
        inside = {"transform": axes.get_xaxis_transform(), "ha": "center", "va": "center"}  # bars may be negative alone
        axes.text(place, 0.5, "silent", rotation=90, color="grey", fontsize=8, **inside)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(places, table["instrument"].map(literal), rotation=40, ha="right", fontsize=8)
    axes.set(ylabel="SI-SDR in dB (higher is better)")
    axes.set_title("SI-SDR before and after separation", loc="left")
    axes.legend(frameon=False, ncols=3, loc="upper right", bbox_to_anchor=(1, 1.14))
    axes.spines[["top", "right"]].set_visible(False)
    return figure


@own_colours
def confusion(table, title="Share of each instrument (row) in each output (column)"):
    """A confusion matrix: the output that each instrument's energy ends up in, or composers' pieces (05 and 08).

    Parameters
    ----------
    table : pandas.DataFrame
        As from `separation.metrics.confusion` or `composers.recognition.confusion`; shares from 0 to 1.
    title : str
    """
    figure, axes = subplots(0.9 + 0.32 * len(table))
    axes.imshow(table, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), share in np.ndenumerate(table.to_numpy()):
        if share >= 0.05:
            colour = "white" if share > 0.5 else "black"
            axes.text(column, row, f"{share:.0%}", ha="center", va="center", fontsize=7, color=colour)
    axes.set_xticks(range(table.shape[1]), table.columns.map(literal), rotation=40, ha="right", fontsize=8)
    axes.set_yticks(range(len(table)), table.index.map(literal), fontsize=8)
    axes.set_title(title, loc="left")
    return figure
