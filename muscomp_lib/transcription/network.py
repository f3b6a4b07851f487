"""The transcriber's network: constant-Q levels and an instrument's name in, notes out. Used by 04 and 05.

It asks the same question at every pitch and moment: does a note begin here, does one sound, how hard was it played?
What it sees there are the overtones a note at this pitch would have, laid over each other (**harmonic stacking**,
Bittner et al. 2017), so that small convolutions can judge it. Dense layers over all notes weigh them against each
other: one note's overtone is not another note. And everywhere the instrument has its say (**FiLM**, Perez et al. 2018:
it scales and shifts what the layers find), because an organ's octave is a drawbar and a bass plays no chords.

Drums are written in the same way: General MIDI gives each of them a note, and the layers over all notes learn that what
sounds everywhere at once is note 38, a snare. Only `keras.ops` and Keras layers, so it trains on TensorFlow and on JAX.
"""

import numpy as np

from muscomp_lib.transcription.cqt import BINS_PER_NOTE, LOWEST, N_BINS, N_NOTES, WINDOWS

PARTIALS = (-12, 0, 12, 19, 24, 28, 31, 34, 36)  # semitones from a note: the octave below, and the partials 1 to 8
STACKED_FILTERS, FILTERS = 24, 32
DILATIONS = (1, 2, 4, 8)  # frames between the points of a block's convolution: half a second to either side in all
NOTES_BOTTLENECK = 32  # numbers that a dense layer over all notes leaves of them
CHARACTER = 16  # numbers that describe an instrument
ONSET, SOUNDING, VELOCITY = range(3)  # what is said of each note and frame
CONTEXT = 24  # frames that are looked at before and after one
RARE = -3.0  # as log odds: of all points, few are notes
DRUMS = {  # General MIDI's drum notes, and those nearly the same: (name, notes). The first is the one that is written.
    "kick": (36, 35),
    "snare": (38, 40, 37, 39),
    "closed hi-hat": (42, 44),
    "open hi-hat": (46,),
    "low tom": (45, 41, 43),
    "middle tom": (47, 48),
    "high tom": (50,),
    "crash": (49, 52, 55, 57),
    "ride": (51, 53, 59),
}
WRITTEN = {note: notes[0] for notes in DRUMS.values() for note in notes}


def build(n_instruments):
    """The network, with fresh weights.

    Returns
    -------
    keras.Model
        Inputs: levels (batch, n_frames, N_BINS, len(WINDOWS)), the instrument (batch, n_instruments), a 1 among zeros;
        nothing but zeros is an unknown instrument. Output: (batch, n_frames, N_NOTES, 3), log odds of an onset
        and of a sounding note, and of its velocity over 127.
    """
    import keras
    from keras import layers

    levels = keras.Input((None, N_BINS, len(WINDOWS)), name="levels")
    instrument = keras.Input((n_instruments,), name="instrument")
    character = layers.Dense(CHARACTER, activation="relu", name="character")(instrument)
    x = _convolution(STACKED_FILTERS, (3, 2 * BINS_PER_NOTE - 1), "stacked", "relu")(_stacked(levels))
    x = layers.ZeroPadding2D(((1, 1), (0, 0)))(x)
    to_notes = layers.Conv2D(FILTERS, 3, (1, BINS_PER_NOTE), kernel_initializer="he_normal", name="to_notes")
    x = layers.ReLU()(_film(to_notes(x), character, "to_notes"))
    for depth, dilation in enumerate(DILATIONS):
        x = _over_time(x, character, dilation, f"block{depth}")
        x = _over_notes(x, character, f"block{depth}")
    x = _film(x, character, "said")
    said = layers.Conv2D(3, 1, bias_initializer=keras.initializers.Constant(RARE), dtype="float32", name="said")(x)
    return keras.Model([levels, instrument], said)


def _stacked(levels):
    """At each pitch, the levels at its partials: (batch, n_frames, N_BINS, n) to (.., N_NOTES * BINS_PER_NOTE, m)."""
    from keras import ops

    below, above = -min(PARTIALS) * BINS_PER_NOTE, max(PARTIALS) * BINS_PER_NOTE
    n_bins = N_NOTES * BINS_PER_NOTE
    padded = ops.pad(levels, ((0, 0), (0, 0), (below, above + n_bins - N_BINS), (0, 0)))
    starts = [below + partial * BINS_PER_NOTE for partial in PARTIALS]
    return ops.concatenate([padded[:, :, start : start + n_bins] for start in starts], axis=-1)


def _over_time(x, character, dilation, name):
    """Add what a moment's surroundings say."""
    from keras import layers

    y = _convolution(FILTERS, 3, f"{name}_around", "relu", (dilation, 1))(x)
    y = _film(y, character, f"{name}_around")
    return layers.Add()([x, layers.Conv2D(FILTERS, (3, 1), padding="same", kernel_initializer="zeros", name=name)(y)])


def _over_notes(x, character, name):
    """Add what all notes of a frame say together."""
    from keras import layers

    y = layers.Permute((1, 3, 2))(x)
    y = layers.Dense(NOTES_BOTTLENECK, kernel_initializer="he_normal", name=f"{name}_notes_in")(y)
    y = layers.ReLU()(_film(y, character, f"{name}_notes"))
    y = layers.Dense(N_NOTES, kernel_initializer="zeros", name=f"{name}_notes_out")(y)  # nothing, to begin with
    return layers.Add()([x, layers.Permute((1, 3, 2))(y)])


def _film(x, character, name):
    """Scale and shift each pattern as the instrument has it; not at all, to begin with."""
    from keras import layers, ops

    n_filters = x.shape[-1]
    scale = layers.Dense(n_filters, kernel_initializer="zeros", name=f"{name}_scale")(character)
    shift = layers.Dense(n_filters, kernel_initializer="zeros", name=f"{name}_shift")(character)
    return x * (1.0 + ops.expand_dims(scale, (1, 2))) + ops.expand_dims(shift, (1, 2))


def _convolution(n_filters, size, name, activation, dilation=1):
    from keras import layers

    kind = {"padding": "same", "activation": activation, "dilation_rate": dilation, "kernel_initializer": "he_normal"}
    return layers.Conv2D(n_filters, size, name=name, **kind)


def chosen(index, n_instruments):
    """The network's second input for one instrument, by its place in the list; None: an unknown one."""
    one_hot = np.zeros(n_instruments, np.float32)
    if index is not None:
        one_hot[index] = 1.0
    return one_hot


def row(pitch, is_drum):
    """The row of the output that a MIDI note belongs to, or None: a drum we do not write, a note too low or high."""
    if is_drum:
        pitch = WRITTEN.get(pitch, -1)
    return pitch - LOWEST if LOWEST <= pitch < LOWEST + N_NOTES else None
