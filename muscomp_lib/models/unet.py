"""The networks: U-Nets that look at a magnitude spectrogram and say how much of each instrument is in it. Used by 04.

Every network here is a Keras model with the same door. It takes magnitudes of shape (batch, T, F, n_channels) and
returns an amount per instrument of shape (batch, T, F, n_channels or 1, n_instruments), not negative. T is the number
of STFT frames, a multiple of 64; F the number of bins from 0 Hz up. How amounts become masks is
`separation`'s affair.

`unet.unet` and `unet.softmax_unet` are Spleeter's networks (Jansson et al. 2017; Hennequin et al. 2020): one U-Net per
instrument, layer for layer, created in Spleeter's order, so that weights carry over in both directions.
`muscomp.shared_unet` is ours (shared_unet.py): one U-Net for all instruments, at a fraction of the work.

Keras is imported when a network is built, because it takes seconds.
"""

import contextlib
import os
import zipfile
from functools import cache

import numpy as np

from muscomp_lib.core.errors import SettingError
from muscomp_lib.core.files import written_whole
from muscomp_lib.models.config import SPLEETER_FILTERS

CONFIG, WEIGHTS, HISTORY = "config.json", "weights.npz", "history.csv"  # the files of a model folder
DROPOUT = 0.5  # Spleeter's, in the three innermost decoder layers
MOMENTUM = 0.95  # statistics follow the weights within some 20 steps: a short training has only hundreds
LEAK = 0.2  # slope of LeakyReLU below zero
MASK_CHANNELS = 2  # Spleeter's masks are for left and right, also where the network hears one channel
ONE = "one"  # what the instrument is called in the network of `build_one`


def build(config, precision="float32"):
    """Build the network that a training configuration describes, with fresh weights.

    Parameters
    ----------
    config : dict
        As `config.read` returns it. Weights depend on `random_seed` alone.
    precision : str
        One of `config.PRECISIONS`, Keras' dtype policies: what it computes in. The weights are float32 with any.

    Returns
    -------
    keras.Model
        (batch, T, F, n_channels) -> (batch, T, F, n_channels or 1, n_instruments), float32.

    Raises
    ------
    SettingError
        For a `model.type` or an activation that does not exist.
    """
    start_tensorflow()
    import keras

    builders = {
        "unet.unet": _spleeter_unet,
        "unet.softmax_unet": _spleeter_softmax_unet,
        "muscomp.shared_unet": _shared_unet,
    }
    kind = config["model"]["type"]
    if kind not in builders:
        raise SettingError(f"model.type {kind!r} is not a network. Choose one of: {', '.join(builders)}.")
    keras.utils.set_random_seed(config["random_seed"])
    magnitude = _input(config)
    with precision_of(precision):
        amounts = builders[kind](magnitude, config["instrument_list"], config["model"].get("params", {}))
    return keras.Model(magnitude, amounts, name=kind.replace(".", "_"))


def build_one(config):
    """The U-Net of a single instrument of a Spleeter network, up to the last convolution, without its activation.

    All instruments' U-Nets are alike: whoever separates needs this one only, with one set of weights after the other.

    Returns
    -------
    keras.Model
        (batch, T, F, n_channels) -> logits (batch, T, F, 2), float32. Its layers are called `one_...`.
    """
    start_tensorflow()
    import keras

    magnitude = _input(config)
    return keras.Model(magnitude, _one_unet(magnitude, ONE, config["model"].get("params", {}), None))


@contextlib.contextmanager
def precision_of(name):
    """Layers made meanwhile compute with this dtype policy."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _input(config):
    import keras

    return keras.Input((None, config["F"], config["n_channels"]), name="magnitude")


@cache
def start_tensorflow():
    """Load TensorFlow without the notes it prints at its start."""
    with without_notes():
        import tensorflow as tf

        tf.constant(0.0)  # the first tensor brings the last of the notes


@contextlib.contextmanager
def without_notes():
    """Turn away what TensorFlow prints while it starts, even before it looks at any setting of what to print.

    It comes from C++ code that writes to the process's error output itself, so that is what has to be turned away.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # later ones: of graphs that it could not make faster still
    errors, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(errors, 2)
        os.close(errors)
        os.close(nowhere)


def hears_one_channel(config):
    """Whether the network uses one mask for all channels, so that training on mono loses nothing."""
    return config["model"]["type"] == "muscomp.shared_unet"


def weights(network):
    """The weights of a network by name, `layer/variable`: {str: np.ndarray, float32}."""
    return {weight.path: np.asarray(weight) for weight in network.weights}


def set_weights(network, values, where):
    """Put weights into a network.

    Parameters
    ----------
    network : keras.Model
    values : mapping of str to np.ndarray
        As `weights` gives them; in half precision they will do, too.
    where : str or Path
        Where they come from, for the message.

    Raises
    ------
    SettingError
        When they are those of another network, naming the first that does not fit.
    """
    for weight in network.weights:
        shape = values[weight.path].shape if weight.path in values else None
        if shape != tuple(weight.shape):
            found = "is missing" if shape is None else f"has the shape {shape}"
            raise SettingError(
                f"{where} holds the weights of another network: {weight.path} {found}, and {tuple(weight.shape)} is "
                "needed. Use the config.json that it was trained with, or train anew."
            )
        weight.assign(values[weight.path].astype(np.float32))


def save_arrays(path, arrays):
    """Write named arrays to a `.npz` file; it appears whole or not at all, and the same arrays give the same bytes."""
    with written_whole(path) as part, part.open("wb") as file:
        np.savez(file, **arrays)


def read_arrays(path):
    """Named arrays from a `.npz` file: {str: np.ndarray}.

    Raises
    ------
    SettingError
        When the file is damaged.
    """
    try:
        with np.load(path) as file:
            return dict(file)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise SettingError(
            f"{path} cannot be read ({error}). Train the model anew: fresh=True in notebook 04."
        ) from error


def _spleeter_unet(magnitude, instruments, params):
    """A sigmoid mask per instrument, each from its own U-Net, times the input."""
    from keras import layers, ops

    masks = [_one_unet(magnitude, name, params, "sigmoid") for name in instruments]
    return ops.stack([layers.Multiply()([mask, magnitude]) for mask in masks], axis=-1)


def _spleeter_softmax_unet(magnitude, instruments, params):
    """As `unet.unet`, but the masks of all instruments sum to one at every point."""
    from keras import ops

    logits = ops.stack([_one_unet(magnitude, name, params, None) for name in instruments], axis=-1)
    return ops.softmax(logits, axis=-1) * ops.expand_dims(magnitude, -1)


def _one_unet(magnitude, name, params, last_activation):
    """One Spleeter U-Net. Its skips take the convolutions before normalisation, and the innermost one is used raw."""
    from keras import layers

    filters = params.get("conv_n_filters", SPLEETER_FILTERS)
    down = activation(params.get("conv_activation", "LeakyReLU"))
    up = activation(params.get("deconv_activation", "ReLU"))
    skips, x = [], magnitude
    for depth, n_filters in enumerate(filters):
        x = layers.Conv2D(n_filters, 5, 2, "same", kernel_initializer="he_uniform", name=f"{name}_down{depth}")(x)
        skips.append(x)
        x = down(_normalised(x, f"{name}_down{depth}"))
    x = skips.pop()
    for depth, n_filters in enumerate((*reversed(filters[:-1]), 1)):
        layer = layers.Conv2DTranspose if n_filters > 1 else _to_one_filter()
        x = layer(n_filters, 5, 2, "same", kernel_initializer="he_uniform", name=f"{name}_up{depth}")(x)
        x = _normalised(up(x), f"{name}_up{depth}")
        x = _dropout()(DROPOUT)(x) if depth < 3 else x
        x = layers.Concatenate()([skips.pop(), x]) if skips else x
    return layers.Conv2D(
        MASK_CHANNELS,
        4,
        padding="same",
        dilation_rate=2,
        activation=last_activation,
        kernel_initializer="he_uniform",
        name=f"{name}_mask",
    )(x)


@cache
def _to_one_filter():
    """A layer class: Conv2DTranspose to one filter, computed the quick way.

    Libraries are made for many filters; with one they idle. Each input pixel becomes 2 x 2 output pixels, and each of
    those is a 3 x 3 convolution with some of the 5 x 5 weights: so this is an ordinary convolution to four filters,
    whose outputs are then put side by side. Twice as fast in what was the slowest layer of all.
    """
    import keras
    from keras import ops

    class ToOneFilter(keras.layers.Conv2DTranspose):
        def call(self, x):
            kernel = ops.pad(self.kernel, ((0, 1), (0, 1), (0, 0), (0, 0)))  # row and column 5 hold zeros
            taps = np.array([[3, 1, 5], [4, 2, 0]])  # for even and odd outputs: weights of the input before, at, after
            kernel = ops.take(ops.take(kernel, taps, axis=0), taps, axis=2)  # (2, 3, 2, 3, 1, n_inputs)
            kernel = ops.reshape(ops.transpose(kernel, (1, 3, 5, 0, 2, 4)), (3, 3, -1, 4))
            height, width = ops.shape(x)[1], ops.shape(x)[2]
            pixels = ops.reshape(ops.conv(x, kernel, padding="same"), (-1, height, width, 2, 2))
            return ops.reshape(ops.transpose(pixels, (0, 1, 3, 2, 4)), (-1, 2 * height, 2 * width, 1)) + self.bias

    return ToOneFilter


def activation(name):
    """The layer with the activation of this name, as a function; SettingError for one that does not exist."""
    from keras import layers

    known = {"ELU": layers.ELU, "ReLU": layers.ReLU, "LeakyReLU": lambda: layers.LeakyReLU(negative_slope=LEAK)}
    if name not in known:
        raise SettingError(f"activation {name!r} is not known. Choose one of: {', '.join(known)}.")
    return lambda x: known[name]()(x)


def _normalised(x, name):
    """Batch normalisation of `x`, as a layer called `<name>_normalisation`; over the shares of all replicas."""
    from keras import layers

    together = {"synchronized": True} if _n_replicas() > 1 else {}
    return layers.BatchNormalization(momentum=MOMENTUM, epsilon=1e-3, name=f"{name}_normalisation", **together)(x)


def _n_replicas():
    """How many copies of a network that is built now will learn together (distribution.py)."""
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def _dropout():
    """A layer class: Keras' Dropout; for several replicas one that draws for the whole batch, as one device would."""
    import keras

    n_replicas = _n_replicas()
    if n_replicas == 1:
        return keras.layers.Dropout

    class SharedDropout(keras.layers.Dropout):
        def call(self, x, training=False):
            if not training:
                return x
            import tensorflow as tf

            size, (_, *shape) = keras.ops.shape(x)[0], x.shape
            kept = keras.random.dropout(
                keras.ops.ones((n_replicas * size, *shape)), self.rate, seed=self.seed_generator
            )
            first = tf.distribute.get_replica_context().replica_id_in_sync_group * size
            return x * kept[first : first + size]

    return SharedDropout


def _shared_unet(magnitude, instruments, params):
    """Masks from one U-Net for all instruments, the same for all channels."""
    from muscomp_lib.models import shared_unet  # brings Keras

    return shared_unet.masks(
        magnitude,
        len(instruments),
        params.get("conv_n_filters", shared_unet.FILTERS),
        down=activation(params.get("conv_activation", "LeakyReLU")),
        up=activation(params.get("deconv_activation", "ReLU")),
    )
