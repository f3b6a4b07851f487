"""Figures of notes: over the transcriber's input, and as a piano roll. Used by notebooks 04 and 05.

As in `data.py`, each function draws one figure and returns it. Time runs to the right, pitch upwards.
"""

import numpy as np
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from muscomp_lib.plots.style import colours, literal, own_colours, subplots
from muscomp_lib.transcription.cqt import BINS_PER_SEMITONE, FRAME_SECONDS, LOWEST_PITCH, N_PITCHES
from muscomp_lib.transcription.network import ACTIVE, DRUM_PITCHES, ONSET

HIT, MISS, EXTRA = "tab:green", "tab:orange", "tab:red"
PITCH = "MIDI note (60: middle C)"
SHOWN_SECONDS = 6.0
MARGIN = 6  # semitones above the highest note and below the lowest


@own_colours
def note_training_example(levels, labels, name):
    """The transcriber's input and labels for one training example (notebook 04).

    Parameters
    ----------
    levels : np.ndarray, shape=(n_frames, N_BINS, n_windows)
    labels : np.ndarray, shape=(n_frames, N_PITCHES, 3)
    name : str
        Of the instrument.
    """
    figure, axes = subplots(3.0, ncols=3, sharey=True)
    _image(axes[0], _of_notes(levels), f"{name}: level at each pitch")
    _image(axes[1], labels[..., ONSET], "onsets")
    _image(axes[2], labels[..., ACTIVE], "active notes")
    _limit_pitches(axes[0], LOWEST_PITCH + np.flatnonzero(labels[..., [ONSET, ACTIVE]].any(axis=(0, 2))))
    axes[0].set_ylabel(PITCH)
    return figure


@own_colours
def likelihoods(levels, likelihoods, notes, name):
    """From audio to notes in three steps: levels, likelihoods of onsets, likelihoods of active notes (notebook 05).

    The `SHOWN_SECONDS` with most notes are shown.

    Parameters
    ----------
    levels : np.ndarray, shape=(n_frames, N_BINS, n_windows)
    likelihoods : np.ndarray, shape=(n_frames, N_PITCHES, 3)
        As from `Transcriber.likelihoods`.
    notes : list of note_decoder.Note
    name : str
        Of the instrument.
    """
    figure, axes = subplots(3.0, ncols=3, sharex=True, sharey=True)
    _image(axes[0], _of_notes(levels), f"1. {literal(name)}: level at each pitch")
    _image(axes[1], likelihoods[..., ONSET], "2. likelihood of an onset")
    _image(axes[2], likelihoods[..., ACTIVE], "3. likelihood of an active note; the notes")
    _bars(axes[2], notes, facecolor="none", edgecolor="white")
    starts = np.array([note.start for note in notes] or [0.0])
    begin = max(starts, key=lambda start: np.count_nonzero((starts >= start) & (starts < start + SHOWN_SECONDS)))
    end = min(begin + SHOWN_SECONDS, len(levels) * FRAME_SECONDS)
    axes[0].set(ylabel=PITCH, xlim=(begin, end))
    _limit_pitches(axes[0], [note.pitch for note in notes if begin <= note.start < begin + SHOWN_SECONDS])
    return figure


@own_colours
def note_matching(levels, true, estimated, matching, name):
    """Hits, misses and extras of a transcription, over the levels (notebook 05).

    Parameters
    ----------
    levels : np.ndarray, shape=(n_frames, N_BINS, n_windows)
    true, estimated : list of note_decoder.Note
    matching : metrics.Matching
    name : str
        Of the instrument.
    """
    figure, ax = subplots(4.0)
    _image(ax, _of_notes(levels), f"{literal(name)}: F1 {matching.f1:.2f}", cmap="Greys")
    kinds = (
        (HIT, "hit", [estimated[index] for _, index in matching.hits]),
        (MISS, "missed", [true[index] for index in matching.misses]),
        (EXTRA, "extra", [estimated[index] for index in matching.extras]),
    )
    keys = []
    for colour, label, notes in kinds:
        _bars(ax, notes, color=colour, alpha=0.7)
        keys.append(Patch(color=colour, alpha=0.7, label=f"{len(notes)} {label}"))
    _limit_pitches(ax, [note.pitch for note in [*true, *estimated]])
    ax.set_ylabel(PITCH)
    ax.legend(handles=keys, ncols=3, loc="upper right", fontsize=8)
    return figure


@own_colours
def piano_roll(midi, names):
    """The notes of a transcription, a colour per instrument; drums in a strip below (notebook 05).

    Parameters
    ----------
    midi : pretty_midi.PrettyMIDI
    names : list of str
        All instruments in order, for the colours; tracks of other names, as another program may have given, follow.
    """
    figure, (pitched, drums) = subplots(5.5, nrows=2, sharex=True, height_ratios=(3, 1))
    colour = colours(list(dict.fromkeys([*names, *(track.name for track in midi.instruments)])))
    rows = {pitch: row for row, pitches in enumerate(DRUM_PITCHES.values()) for pitch in pitches}
    for track in midi.instruments:
        notes = [note for note in track.notes if not track.is_drum or note.pitch in rows]
        at = [rows[note.pitch] if track.is_drum else note.pitch for note in notes]
        _bars(drums if track.is_drum else pitched, notes, at, color=colour[track.name], label=literal(track.name))
    pitched.set(ylabel=PITCH, xlim=(0, max(midi.get_end_time(), 1)))
    drums.set(ylabel="drum", xlabel="seconds", ylim=(-0.7, len(DRUM_PITCHES) - 0.3))
    drums.set_yticks(range(len(DRUM_PITCHES)), DRUM_PITCHES, fontsize=6)
    if any(track.name[:1].strip("_") for track in midi.instruments):  # matplotlib has no legend for other names
        figure.legend(loc="outside upper center", ncols=4, frameon=False, fontsize=8)
    for axes in (pitched, drums):
        axes.grid(axis="x", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _of_notes(levels):
    """The levels of the long window, without the overtones above the highest note."""
    return levels[:, : N_PITCHES * BINS_PER_SEMITONE, 0]


def _image(ax, values, title, cmap="viridis"):
    """Draw values by frame and pitch, in seconds and MIDI notes."""
    extent = (0, len(values) * FRAME_SECONDS, LOWEST_PITCH - 0.5, LOWEST_PITCH + N_PITCHES - 0.5)
    ax.imshow(values.T, origin="lower", aspect="auto", extent=extent, cmap=cmap, interpolation="nearest")
    ax.set_title(title, fontsize=9)
    ax.set_xlabel("seconds")


def _bars(ax, notes, at=None, **style):
    """Draw notes as bars, at their pitches or at other heights."""
    at = [note.pitch for note in notes] if at is None else at
    lengths, starts = [note.end - note.start for note in notes], [note.start for note in notes]
    ax.barh([height - 0.4 for height in at], lengths, 0.8, starts, align="edge", **style)


def _limit_pitches(ax, pitches):
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    if len(pitches):
        ax.set_ylim(min(pitches) - MARGIN, max(pitches) + MARGIN)
