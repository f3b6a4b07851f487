"""Figures of clips, of an embedding, and of known against unknown composers. Used by notebook 08."""

import numpy as np

from muscomp_lib.composers import clips
from muscomp_lib.plots.style import colours, own_colours, subplots


@own_colours
def composer_clips(examples, titles):
    """Clips as the network is given them: mel spectrograms above, piano rolls below (notebook 08).

    Parameters
    ----------
    examples : list of np.ndarray, shape=(n_frames, n_bins)
    titles : list of str
    """
    figure, axes = subplots(4.5, nrows=2, ncols=len(examples), sharex=True, squeeze=False)
    for column, example, title in zip(axes.T, examples, titles, strict=True):
        seconds = len(example) / clips.FRAMES_PER_SECOND
        mel, roll = np.split(example.astype(np.float32).T[: clips.N_MELS + clips.N_PITCHES], [clips.N_MELS])
        highest = clips.LOWEST_PITCH + clips.N_PITCHES
        column[0].imshow(mel, origin="lower", aspect="auto", extent=(0, seconds, 0, clips.N_MELS))
        column[1].imshow(
            roll, origin="lower", aspect="auto", extent=(0, seconds, clips.LOWEST_PITCH, highest), cmap="Greys"
        )
        column[0].set_title(title, fontsize=9)
        column[1].set_xlabel("seconds")
    axes[0, 0].set_ylabel("mel band")
    axes[1, 0].set_ylabel("MIDI note")
    return figure


@own_colours
def embeddings(panels, labels, names):
    """Embeddings in two dimensions, those of known composers in colour (notebook 08).

    Parameters
    ----------
    panels : dict of str to np.ndarray, shape=(n_clips, 2)
        By title.
    labels : np.ndarray of int, shape=(n_clips,)
        -1 for unknown composers.
    names : list of str
    """
    figure, axes = subplots(4.2, ncols=len(panels), squeeze=False)
    colour = colours(names)
    for ax, (title, places) in zip(axes[0], panels.items(), strict=True):
        ax.scatter(*places[labels < 0].T, s=9, color="lightgrey", marker="x", label="unknown")
        for label, name in enumerate(names):
            ax.scatter(*places[labels == label].T, s=9, color=colour[name], label=name)
        ax.set_title(title, fontsize=9)
    axes[0, -1].legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)
    return figure


@own_colours
def open_set(found, known, unknown):
    """Distances of pieces by known and by unknown composers, and the ROC curve (notebook 08).

    Parameters
    ----------
    found : composers.recognition.OpenSet
    known, unknown : np.ndarray
        Distance of each piece from its nearest composer.
    """
    figure, (left, right) = subplots(3.2, ncols=2)
    bins = np.linspace(0, max(*known, *unknown, found.threshold), 25)
    for distances, name in ((known, "known"), (unknown, "unknown")):
        left.hist(distances, bins, density=True, alpha=0.6, label=f"by {name} composers")
    left.axvline(found.threshold, color="black", linestyle=":", label="threshold")
    left.set(xlabel="distance from the nearest composer", ylabel="pieces")
    left.legend(fontsize=8)
    right.plot(found.false_alarms, found.accepted, label=f"area {found.auc:.2f}")
    right.plot([0, 1], [0, 1], color="grey", linestyle=":", label="by chance")
    right.plot(found.false_alarms_at, found.accepted_at, "ko")
    right.set(xlabel="unknown pieces that get a name (false alarms)", ylabel="known pieces that get a name")
    right.legend(fontsize=8)
    return figure
