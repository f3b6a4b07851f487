"""The transcriber's network: constant-Q levels and an instrument in, onsets, active notes and velocities out.

Used by notebooks 04 and 05. For each pitch and frame, the input's levels at the harmonics of that pitch are stacked as
channels (**harmonic stacking**, Bittner et al. 2017), so that small convolutions over time suffice. Dense layers over
all pitches of a frame tell a note from another's overtone. Each layer is conditioned on the instrument (**FiLM**,
Perez et al. 2018: its features are scaled and shifted), because an organ's octave may be a drawbar and a bass plays no
chords.

There are two kinds: the full network, which is described here, and a compact one of a tenth of the work
(compact_network.py).

Drums have a pitch each as well, General MIDI's. Only `keras.ops` and Keras layers are used, so the network trains on
TensorFlow and on JAX. Layers keep their names: saved weights are found by them.
"""

import numpy as np

from muscomp_lib.models.runtime import Computation
from muscomp_lib.transcription import compact_network
from muscomp_lib.transcription.cqt import BINS_PER_SEMITONE, LOWEST_PITCH, N_BINS, N_PITCHES, WINDOWS

FULL, COMPACT = KINDS = "full", "compact"
HARMONICS = (-12, 0, 12, 19, 24, 28, 31, 34, 36)  # semitones from a note: the octave below, and harmonics 1 to 8
STACKED_FILTERS, FILTERS = 24, 32
DILATIONS = (1, 2, 4, 8)  # frames: a receptive field of half a second to either side
PITCH_BOTTLENECK = 32  # units between the two dense layers over all pitches
EMBEDDING = 16  # units that describe an instrument
ONSET, ACTIVE, VELOCITY = range(3)  # channels of the output
CONTEXT = 24  # frames before and after one that its output depends on
INITIAL_LOG_ODDS = -3.0  # few points are notes
DRUM_PITCHES = {  # drum: General MIDI's notes for it and for similar ones; the first is the one that is written
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
WRITTEN_PITCH = {pitch: pitches[0] for pitches in DRUM_PITCHES.values() for pitch in pitches}


def build(n_instruments, kind=FULL):
    """The network, with fresh weights.

    Parameters
    ----------
    n_instruments : int
    kind : str
        One of `KINDS`.

    Returns
    -------
    keras.Model
        Inputs: levels (batch, n_frames, N_BINS, len(WINDOWS)) and the instrument, one-hot (batch, n_instruments), all
        zeros for an unknown one. Output: (batch, n_frames, N_PITCHES, 3), float32 log odds of an onset, of an active
        note, and of its velocity over 127.
    """
    if kind == COMPACT:
        return compact_network.build(n_instruments, HARMONICS, EMBEDDING, INITIAL_LOG_ODDS)
    return _full(n_instruments)


def _full(n_instruments):
    import keras
    from keras import layers

    levels = keras.Input((None, N_BINS, len(WINDOWS)), name="levels")
    instrument = keras.Input((n_instruments,), name="instrument")
    embedding = layers.Dense(EMBEDDING, activation="relu", name="character")(instrument)
    x = _convolution(STACKED_FILTERS, (3, 2 * BINS_PER_SEMITONE - 1), "stacked", "relu")(_stack_harmonics(levels))
    x = layers.ZeroPadding2D(((1, 1), (0, 0)))(x)
    to_pitches = layers.Conv2D(FILTERS, 3, (1, BINS_PER_SEMITONE), kernel_initializer="he_normal", name="to_notes")
    x = layers.ReLU()(_film(to_pitches(x), embedding, "to_notes"))
    for depth, dilation in enumerate(DILATIONS):
        x = _over_time(x, embedding, dilation, f"block{depth}")
        x = _over_pitches(x, embedding, f"block{depth}")
    x = _film(x, embedding, "said")
    bias = keras.initializers.Constant(INITIAL_LOG_ODDS)
    log_odds = layers.Conv2D(3, 1, bias_initializer=bias, dtype="float32", name="said")(x)
    return keras.Model([levels, instrument], log_odds)


def computation(n_instruments, n_frames, kind=FULL):
    """The network in use, on blocks of so many frames: a `models.runtime.Computation`."""

    def call(model, levels, instrument):
        return model([levels, instrument], training=False)

    shapes = ((n_frames, N_BINS, len(WINDOWS)), (n_instruments,))
    if kind == COMPACT:
        modules = (__name__, compact_network.__name__)
        return Computation("transcriber", (kind, *shapes), modules, shapes, lambda: build(n_instruments, kind), call)
    return Computation("transcriber", shapes, (__name__,), shapes, lambda: build(n_instruments), call, _scales_at_one)


def _scales_at_one(values):
    """The weights, and as `_film` uses them the biases of its scales: one is the identity."""
    biases = {name: value for name, value in values.items() if name.endswith("_scale/bias")}
    return {**values, **{f"{name}, from one": value + np.float32(1) for name, value in biases.items()}}


def _stack_harmonics(levels):
    """Stack the levels at each bin's harmonics: (.., N_BINS, n) to (.., N_PITCHES * BINS_PER_SEMITONE, 9 n)."""
    from keras import ops

    below, above = -min(HARMONICS) * BINS_PER_SEMITONE, max(HARMONICS) * BINS_PER_SEMITONE
    n_bins = N_PITCHES * BINS_PER_SEMITONE
    padded = ops.pad(levels, ((0, 0), (0, 0), (below, above + n_bins - N_BINS), (0, 0)))
    starts = [below + harmonic * BINS_PER_SEMITONE for harmonic in HARMONICS]
    return ops.concatenate([padded[:, :, start : start + n_bins] for start in starts], axis=-1)


def _over_time(x, embedding, dilation, name):
    """A residual block of convolutions over time."""
    from keras import layers

    y = _convolution(FILTERS, 3, f"{name}_around", "relu", (dilation, 1))(x)
    y = _film(y, embedding, f"{name}_around")
    return layers.Add()([x, layers.Conv2D(FILTERS, (3, 1), padding="same", kernel_initializer="zeros", name=name)(y)])


def _over_pitches(x, embedding, name):
    """A residual block of dense layers over all pitches of a frame; the identity at first."""
    from keras import layers

    y = layers.Permute((1, 3, 2))(x)
    y = layers.Dense(PITCH_BOTTLENECK, kernel_initializer="he_normal", name=f"{name}_notes_in")(y)
    y = layers.ReLU()(_film(y, embedding, f"{name}_notes"))
    y = layers.Dense(N_PITCHES, kernel_initializer="zeros", name=f"{name}_notes_out")(y)
    return layers.Add()([x, layers.Permute((1, 3, 2))(y)])


def _film(x, embedding, name):
    """Scale and shift each feature by what the instrument's embedding gives; the identity at first."""
    from keras import layers, ops

    n_filters = x.shape[-1]
    scale = layers.Dense(n_filters, kernel_initializer="zeros", name=f"{name}_scale")(embedding)
    shift = layers.Dense(n_filters, kernel_initializer="zeros", name=f"{name}_shift")(embedding)
    return x * (1.0 + ops.expand_dims(scale, (1, 2))) + ops.expand_dims(shift, (1, 2))


def _convolution(n_filters, size, name, activation, dilation=1):
    from keras import layers

    options = {"padding": "same", "activation": activation, "dilation_rate": dilation}
    return layers.Conv2D(n_filters, size, name=name, kernel_initializer="he_normal", **options)


def one_hot(index, n_instruments):
    """The network's second input: shape (n_instruments,), float32. An index of None: an unknown instrument."""
    vector = np.zeros(n_instruments, np.float32)
    if index is not None:
        vector[index] = 1.0
    return vector


def pitch_row(pitch, is_drum):
    """The output's row for a MIDI note number, or None: a drum outside `DRUM_PITCHES`, a note beyond the piano's."""
    if is_drum:
        pitch = WRITTEN_PITCH.get(pitch, -1)
    return pitch - LOWEST_PITCH if LOWEST_PITCH <= pitch < LOWEST_PITCH + N_PITCHES else None
