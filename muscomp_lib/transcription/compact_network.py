"""The transcriber's network with a tenth of the work. Used by notebooks 04 and 05, through `network.build`.

Inputs and output are those of the full network (network.py), and so are its ideas: harmonics stacked as channels, dense
layers over all pitches, and layers that are scaled and shifted by what is known of the instrument (FiLM). It is cheaper
in three ways:

- It computes two frames at a time, at half of the frame rate, and its last layer gives the output of both.
- The harmonics are stacked by pitch, not by bin, after a convolution to a few patterns of one partial each.
- Convolutions are over time or over neighbouring pitches, not over both. What pitches far apart have to do with each
  other is left to dense layers over all pitches and filters of a frame: plain products of matrices.
"""

from muscomp_lib.transcription.cqt import BINS_PER_SEMITONE, N_BINS, N_PITCHES, WINDOWS

PARTIAL_FILTERS, FILTERS = 8, 24  # of each partial of a pitch, and of each pitch
FRAME_UNITS = 32  # that the pitches of a frame are summed up in
DILATIONS = (1, 3, 7)  # double frames: a receptive field of half a second to either side
TOGETHER = 2  # frames that are computed at a time


def build(n_instruments, harmonics, embedding_units, initial_log_odds):
    """The network, with fresh weights: a keras.Model as `network.build` describes it.

    Parameters
    ----------
    n_instruments : int
    harmonics : sequence of int
        Semitones from a pitch, which are stacked.
    embedding_units : int
        Units that describe an instrument.
    initial_log_odds : float
        Of the output.
    """
    import keras
    from keras import layers

    levels = keras.Input((None, N_BINS, len(WINDOWS)), name="levels")
    instrument = keras.Input((n_instruments,), name="instrument")
    embedding = layers.Dense(embedding_units, activation="relu", name="character")(instrument)
    x = layers.Reshape((-1, N_BINS // BINS_PER_SEMITONE, BINS_PER_SEMITONE * len(WINDOWS)))(levels)
    x = _convolution(PARTIAL_FILTERS, (2 * TOGETHER, 3), "partials", activation="relu", strides=(TOGETHER, 1))(x)
    x = _convolution(FILTERS, 1, "to_notes")(_stack_harmonics(x, harmonics))
    x = layers.ReLU()(_film(x, embedding, "to_notes"))
    for depth, dilation in enumerate(DILATIONS):
        x = _over_time(x, embedding, dilation, 3 if depth == 0 else 1, f"block{depth}")
        x = _over_pitches(x, embedding, f"block{depth}")
    x = layers.ReLU()(_film(x, embedding, "log_odds"))
    bias = keras.initializers.Constant(initial_log_odds)
    x = layers.Conv2D(3 * TOGETHER, 1, bias_initializer=bias, dtype="float32", name="log_odds")(x)
    return keras.Model([levels, instrument], _apart(x, levels))


def _convolution(n_filters, size, name, **options):
    from keras import layers

    return layers.Conv2D(n_filters, size, padding="same", kernel_initializer="he_normal", name=name, **options)


def _stack_harmonics(x, harmonics):
    """Stack the patterns at each pitch's harmonics: (.., N_BINS / 3, n) to (.., N_PITCHES, len(harmonics) n)."""
    from keras import ops

    below, above = -min(harmonics), N_PITCHES + max(harmonics) - x.shape[2]
    padded = ops.pad(x, ((0, 0), (0, 0), (below, above), (0, 0)))
    starts = [below + harmonic for harmonic in harmonics]
    return ops.concatenate([padded[:, :, start : start + N_PITCHES] for start in starts], axis=-1)


def _over_time(x, embedding, dilation, n_pitches, name):
    """A residual block of a convolution over time, and one over so many pitches; the identity at first."""
    from keras import layers

    y = _convolution(FILTERS, (3, 1), f"{name}_around", dilation_rate=(dilation, 1))(x)
    y = layers.ReLU()(_film(y, embedding, f"{name}_around"))
    last = {"padding": "same", "kernel_initializer": "zeros", "name": name}
    return layers.Add()([x, layers.Conv2D(FILTERS, (1, n_pitches), **last)(y)])


def _over_pitches(x, embedding, name):
    """A residual block of dense layers over all pitches and filters of a frame; the identity at first."""
    from keras import layers

    y = layers.Reshape((-1, 1, N_PITCHES * FILTERS))(x)
    y = layers.Dense(FRAME_UNITS, kernel_initializer="he_normal", name=f"{name}_notes_in")(y)
    y = layers.ReLU()(_film(y, embedding, f"{name}_notes"))
    y = layers.Dense(N_PITCHES * FILTERS, kernel_initializer="zeros", name=f"{name}_notes_out")(y)
    return layers.Add()([x, layers.Reshape((-1, N_PITCHES, FILTERS))(y)])


def _film(x, embedding, name):
    """Scale and shift each feature by what the instrument's embedding gives; the identity at first."""
    from keras import layers, ops

    n_filters = x.shape[-1]
    identity = {"kernel_initializer": "zeros", "bias_initializer": "ones"}
    scale = layers.Dense(n_filters, name=f"{name}_scale", **identity)(embedding)
    shift = layers.Dense(n_filters, kernel_initializer="zeros", name=f"{name}_shift")(embedding)
    return x * ops.expand_dims(scale, (1, 2)) + ops.expand_dims(shift, (1, 2))


def _apart(x, levels):
    """The frames that were computed at a time, one after the other: (.., n, 6) to (.., n_frames, N_PITCHES, 3)."""
    from keras import layers, ops

    x = layers.Reshape((-1, N_PITCHES, TOGETHER, 3))(x)
    x = layers.Reshape((-1, N_PITCHES, 3))(layers.Permute((1, 3, 2, 4))(x))
    return layers.Lambda(lambda pair: pair[0][:, : ops.shape(pair[1])[1]])([x, levels])  # of an odd number, one goes
