"""Layers that several networks use."""

from functools import cache

import numpy as np

from muscomp_lib.core.errors import SettingError
from muscomp_lib.core.settings import Field, Section, one_of, that
from muscomp_lib.models.runtime import n_replicas

ACTIVATIONS = ("ELU", "ReLU", "LeakyReLU")
MOST_FILTERS = 4096  # of a layer: its kernel then takes 1.7 GB
LEAK = 0.2  # slope of LeakyReLU below zero
MOMENTUM = 0.95  # statistics follow the weights within some 20 steps: a short training has only hundreds

_ACTIVATION = "The activation after each {}: without one, any number of layers could do no more than a single one."


def _filters(value):
    is_list = isinstance(value, list | tuple) and 2 <= len(value) <= 6
    return is_list and all(type(number) is int and 1 <= number <= MOST_FILTERS for number in value)


class UnetParams(Section):
    """The keys of `model.params` of a U-Net, spelled as Spleeter does."""

    conv_activation: one_of(*ACTIVATIONS) = Field(None, description=_ACTIVATION.format("convolution"))
    deconv_activation: one_of(*ACTIVATIONS) = Field(None, description=_ACTIVATION.format("transposed convolution"))
    conv_n_filters: that(_filters, f"a list of 2 to 6 whole numbers from 1 to {MOST_FILTERS}") = Field(
        None,
        description="Filters of each convolution: the patterns it detects. Twice as many tell more apart, and take "
        "about four times the work.",
    )


def activation(name):
    """A function that applies the activation layer of this name; SettingError for an unknown one."""
    from keras import layers

    known = {"ELU": layers.ELU, "ReLU": layers.ReLU, "LeakyReLU": lambda: layers.LeakyReLU(negative_slope=LEAK)}
    if name not in known:
        raise SettingError(f"activation {name!r} is not known. Choose one of: {', '.join(known)}.")
    return lambda x: known[name]()(x)


def batch_normalization(x, name):
    """Normalise `x` over the batch, on all replicas together."""
    from keras import layers

    synchronized = {"synchronized": True} if n_replicas() > 1 else {}
    return layers.BatchNormalization(momentum=MOMENTUM, epsilon=1e-3, name=name, **synchronized)(x)


def dropout_layer():
    """Keras' Dropout class; for several replicas one that draws for the whole batch, as a single device would."""
    import keras

    replicas = n_replicas()
    if replicas == 1:
        return keras.layers.Dropout

    class SharedDropout(keras.layers.Dropout):
        def call(self, x, training=False):
            if not training:
                return x
            import tensorflow as tf

            size, (_, *shape) = keras.ops.shape(x)[0], x.shape
            kept = keras.random.dropout(keras.ops.ones((replicas * size, *shape)), self.rate, seed=self.seed_generator)
            first = tf.distribute.get_replica_context().replica_id_in_sync_group * size
            return x * kept[first : first + size]

    return SharedDropout


@cache
def one_filter_transpose():
    """A layer class: Conv2DTranspose to a single filter, computed twice as fast.

    Libraries are optimised for many filters. Each input pixel becomes 2 x 2 output pixels, and each of those is a 3 x 3
    convolution with some of the 5 x 5 weights: so this is an ordinary convolution to four filters, whose outputs are
    then interleaved.
    """
    import keras
    from keras import ops

    class OneFilterTranspose(keras.layers.Conv2DTranspose):
        def call(self, x):
            kernel = ops.pad(self.kernel, ((0, 1), (0, 1), (0, 0), (0, 0)))  # row and column 5 hold zeros
            taps = np.array([[3, 1, 5], [4, 2, 0]])  # for even and odd outputs: weights of the input before, at, after
            kernel = ops.take(ops.take(kernel, taps, axis=0), taps, axis=2)  # (2, 3, 2, 3, 1, n_inputs)
            kernel = ops.reshape(ops.transpose(kernel, (1, 3, 5, 0, 2, 4)), (3, 3, -1, 4))
            height, width = ops.shape(x)[1], ops.shape(x)[2]
            pixels = ops.reshape(ops.conv(x, kernel, padding="same"), (-1, height, width, 2, 2))
            return ops.reshape(ops.transpose(pixels, (0, 1, 3, 2, 4)), (-1, 2 * height, 2 * width, 1)) + self.bias

    return OneFilterTranspose
