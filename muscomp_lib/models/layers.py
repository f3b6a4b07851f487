"""Layers and losses that several networks use."""

from functools import cache

import numpy as np

from muscomp_lib.core.errors import SettingError
from muscomp_lib.core.settings import Field, Section, one_of, that
from muscomp_lib.models.runtime import n_replicas, replica_mean

ACTIVATIONS = ("ELU", "ReLU", "LeakyReLU")
MOST_FILTERS = 4096  # of a layer: its kernel then takes 1.7 GB
LEAK = 0.2  # slope of LeakyReLU below zero
NORMALISATION_EPSILON = 1e-3  # Spleeter's
LOSS_EPSILON = 1e-7  # keeps log(0) and 0 / 0 out
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
    return layers.BatchNormalization(momentum=MOMENTUM, epsilon=NORMALISATION_EPSILON, name=name, **synchronized)(x)


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
            height, width = ops.shape(x)[1], ops.shape(x)[2]
            convolved = ops.conv(x, as_convolution(self.kernel, ops), padding="same")
            pixels = ops.reshape(convolved, (-1, height, width, 2, 2))
            return ops.reshape(ops.transpose(pixels, (0, 1, 3, 2, 4)), (-1, 2 * height, 2 * width, 1)) + self.bias

    return OneFilterTranspose


def as_convolution(kernel, ops):
    """A transposed convolution's kernel, (5, 5, 1, n_inputs), as `OneFilterTranspose` needs it: (3, 3, n_inputs, 4).

    `ops` computes it: `keras.ops`, or NumPy.
    """
    kernel = ops.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0)))  # row and column 5 hold zeros
    taps = np.array([[3, 1, 5], [4, 2, 0]])  # for even and odd outputs: weights of the input before, at, after
    kernel = ops.take(ops.take(kernel, taps, axis=0), taps, axis=2)  # (2, 3, 2, 3, 1, n_inputs)
    return ops.reshape(ops.transpose(kernel, (1, 3, 5, 0, 2, 4)), (3, 3, -1, 4))


@cache
def fourfold_transpose():
    """A layer class: a Conv2DTranspose of 4 x 4 with stride 2, which LiteRT computes three times as fast.

    Each output depends on 2 x 2 inputs. So this is an ordinary convolution of 2 x 2 to four times as many filters, one
    for each of 2 x 2 neighbouring outputs, which are then interleaved. In training it is Keras' own.
    """
    import keras
    from keras import ops

    class FourfoldTranspose(keras.layers.Conv2DTranspose):
        def call(self, x, training=False):
            if training:
                return super().call(x)
            height, width = ops.shape(x)[1], ops.shape(x)[2]
            x = ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
            y = ops.conv(x, by_neighbour(ops.convert_to_tensor(self.kernel), ops), padding="valid")
            n = self.filters
            rows = []
            for row in range(2):
                parts = []
                for column in range(2):
                    part = y[..., (2 * row + column) * n : (2 * row + column + 1) * n]
                    parts.append(part[:, row : row + height, column : column + width])
                rows.append(ops.reshape(ops.stack(parts, axis=3), (-1, height, 2 * width, n)))
            return ops.reshape(ops.stack(rows, axis=2), (-1, 2 * height, 2 * width, n)) + self.bias

    return FourfoldTranspose


def by_neighbour(kernel, ops):
    """A transposed convolution's kernel, (4, 4, n, n_inputs), as `FourfoldTranspose` needs it: (2, 2, n_inputs, 4 n).

    `ops` computes it: `keras.ops`, or NumPy.
    """
    taps = np.array([[3, 1], [2, 0]])  # for even and odd outputs: weights of the two inputs
    kernel = ops.take(ops.take(kernel, taps, axis=0), taps, axis=2)  # (2, 2, 2, 2, n, n_inputs)
    n, n_inputs = kernel.shape[4:]
    return ops.reshape(ops.transpose(kernel, (1, 3, 5, 0, 2, 4)), (2, 2, n_inputs, 4 * n))


def magnitude_distance(targets, amounts):
    """Spleeter's loss: the mean absolute difference of magnitudes, summed over instruments.

    Parameters
    ----------
    targets, amounts : shape=(batch, T, F, n_channels, n_instruments), float32
        True and predicted magnitudes.
    """
    from keras import ops

    return ops.sum(ops.mean(ops.abs(targets - amounts), axis=(0, 1, 2, 3)))


def mask_cross_entropy(targets, masks):
    """Cross-entropy between predicted and ideal masks, each point of the spectrogram weighted by its magnitude.

    The ideal mask is an instrument's share of the total magnitude; times the weight, that is its magnitude. Unlike a
    distance between magnitudes, this does not let quiet and rare instruments collapse to silence.

    Parameters
    ----------
    targets : shape=(batch, T, n_bands, n_instruments), float32
        True magnitudes.
    masks : shape=(batch, T, n_bands, n_instruments), float32
        They sum to one over instruments.
    """
    from keras import ops

    total = replica_mean(ops.sum(targets))  # so that the mean of the replicas' losses is the batch's
    return -ops.sum(targets * ops.log(masks + LOSS_EPSILON)) / (total + LOSS_EPSILON)
