"""The pictures of notes in the notebooks: over what the transcriber sees, and as a piano roll. Used by 04 and 05.

As in `plots.py`, each function draws one figure and returns it. Time runs to the right in all, and pitch upwards.
"""

import numpy as np
from matplotlib.patches import Patch

from muscomp_lib.plots.data import colours, subplots
from muscomp_lib.transcription import network
from muscomp_lib.transcription.cqt import BINS_PER_NOTE, FRAME, LOWEST, N_NOTES
from muscomp_lib.transcription.network import ONSET, SOUNDING

HIT, MISS, EXTRA = "tab:green", "tab:orange", "tab:red"
PITCH = "MIDI note (60: middle C)"
SHOWN = 6.0  # seconds
MARGIN = 6  # semitones above and below what is shown


def note_training_example(levels, said, name):
    """What the transcriber gets for one training example, and what it is to say (notebook 04).

    Parameters
    ----------
    levels : np.ndarray, shape=(n_frames, N_BINS, n_windows)
    said : np.ndarray, shape=(n_frames, N_NOTES, 3)
    name : str
    """
    figure, axes = subplots(3.0, ncols=3, sharey=True)
    _picture(axes[0], levels[:, : N_NOTES * BINS_PER_NOTE, 0], f"{name}: the sound at each pitch")
    _picture(axes[1], said[..., ONSET], "where notes begin")
    _picture(axes[2], said[..., SOUNDING], "where they sound")
    _shown(axes[0], _pitches(said[..., SOUNDING] + said[..., ONSET]))
    axes[0].set_ylabel(PITCH)
    return figure


def likelihoods(levels, said, notes, name):
    """From sound to notes in three steps (notebook 05): the sound at each pitch, how likely notes begin, the notes.

    Shown are `SHOWN` seconds in which most notes begin.

    Parameters
    ----------
    levels, said
        As for `training_example`; `said` as `Transcriber.likelihoods` gives it.
    notes : list of transcriber.Note
    name : str
    """
    figure, axes = subplots(3.0, ncols=3, sharex=True, sharey=True)
    _picture(axes[0], levels[:, : N_NOTES * BINS_PER_NOTE, 0], f"1. {name}: the sound at each pitch")
    _picture(axes[1], said[..., ONSET], "2. how likely a note begins")
    _picture(axes[2], said[..., SOUNDING], "3. how likely one sounds; the notes")
    _bars(axes[2], notes, facecolor="none", edgecolor="white")
    starts = np.array([note.start for note in notes] or [0.0])
    begin = max(starts, key=lambda start: np.count_nonzero((starts >= start) & (starts < start + SHOWN)))
    axes[0].set(ylabel=PITCH, xlim=(begin, begin + SHOWN))
    _shown(axes[0], [note.pitch for note in notes if begin <= note.start < begin + SHOWN])
    return figure


def compared(levels, true, found, matched, name):
    """What was found beside what was played, over the sound (notebook 05): hits, misses and extras.

    Parameters
    ----------
    levels : np.ndarray, shape=(n_frames, N_BINS, n_windows)
    true, found : list of transcriber.Note
    matched : note_evaluation.Matched
    name : str
    """
    figure, ax = subplots(4.0)
    _picture(ax, levels[:, : N_NOTES * BINS_PER_NOTE, 0], f"{name}: F1 {matched.f1:.2f}", colours="Greys")
    kinds = (
        (HIT, "hit", [found[index] for _, index in matched.hits]),
        (MISS, "missed", [true[index] for index in matched.misses]),
        (EXTRA, "extra", [found[index] for index in matched.extras]),
    )
    keys = []
    for colour, label, notes in kinds:
        _bars(ax, notes, color=colour, alpha=0.7)
        keys.append(Patch(color=colour, alpha=0.7, label=f"{len(notes)} {label}"))
    _shown(ax, [note.pitch for note in [*true, *found]])
    ax.set_ylabel(PITCH)
    ax.legend(handles=keys, ncols=3, loc="upper right", fontsize=8)
    return figure


def piano_roll(midi, names):
    """The notes of a transcription: time to the right, pitch upwards, a colour per instrument (notebook 05).

    Parameters
    ----------
    midi : pretty_midi.PrettyMIDI
    names : list of str
        All instruments in order, for the colours; drums are drawn in a strip below the others.
    """
    figure, (pitched, drums) = subplots(5.5, nrows=2, sharex=True, height_ratios=(3, 1))
    colour = colours(names)
    rows = {pitch: row for row, notes in enumerate(network.DRUMS.values()) for pitch in notes}
    for track in midi.instruments:
        axes = drums if track.is_drum else pitched
        spans = [(note.start, note.end - note.start) for note in track.notes]
        pitches = [(rows[note.pitch] if track.is_drum else note.pitch) - 0.4 for note in track.notes]
        axes.barh(pitches, [length for _, length in spans], 0.8, [start for start, _ in spans], align="edge",
                  color=colour[track.name], label=track.name)  # fmt: skip
    pitched.set(ylabel=PITCH, xlim=(0, max(midi.get_end_time(), 1)))
    drums.set(ylabel="drum", xlabel="seconds", ylim=(-0.7, len(network.DRUMS) - 0.3))
    drums.set_yticks(range(len(network.DRUMS)), network.DRUMS, fontsize=6)
    if midi.instruments:
        figure.legend(loc="outside upper center", ncols=4, frameon=False, fontsize=8)
    for axes in (pitched, drums):
        axes.grid(axis="x", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _picture(ax, values, title, colours="viridis"):
    """Values by frame and pitch, as a picture in seconds and MIDI notes."""
    extent = (0, len(values) * FRAME, LOWEST - 0.5, LOWEST + N_NOTES - 0.5)
    ax.imshow(values.T, origin="lower", aspect="auto", extent=extent, cmap=colours, interpolation="nearest")
    ax.set_title(title, fontsize=9)
    ax.set_xlabel("seconds")


def _bars(ax, notes, **look):
    lengths, starts = [note.end - note.start for note in notes], [note.start for note in notes]
    ax.barh([note.pitch - 0.4 for note in notes], lengths, 0.8, starts, align="edge", **look)


def _pitches(values):
    return LOWEST + np.flatnonzero(values.any(axis=0))


def _shown(ax, pitches):
    """Show the pitches that are played, and some more."""
    if len(pitches):
        ax.set_ylim(min(pitches) - MARGIN, max(pitches) + MARGIN)
