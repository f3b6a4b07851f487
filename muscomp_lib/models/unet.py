"""Spleeter's networks, `unet.unet` and `unet.softmax_unet` (Jansson et al. 2017; Hennequin et al. 2020).

One U-Net per instrument, layer for layer and created in Spleeter's order, so that weights carry over in both
directions. Trained weights are a checkpoint of Spleeter's own (checkpoint.py).
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from muscomp_lib.models import checkpoint
from muscomp_lib.models.checkpoint import FILTERS, MASK_CHANNELS, ONE
from muscomp_lib.models.layers import (
    NORMALISATION_EPSILON,
    UnetParams,
    activation,
    as_convolution,
    batch_normalization,
    dropout_layer,
    one_filter_transpose,
)
from muscomp_lib.models.registry import Network
from muscomp_lib.models.runtime import Computation, find_graph, share_gpu, start_tensorflow

DROPOUT = 0.5  # in the three innermost decoder layers
SIDE_BY_SIDE = 2  # U-Nets at once: a single layer does not keep all cores busy
# On LiteRT each U-Net has memory of its own, a quarter of a gigabyte, and takes a fifth longer than on TensorFlow,
# whose start that saves: so the published models run there. A dozen would take longer from half a minute of song on.
MOST_ON_LITERT = 5


class SpleeterUnet(Network):
    """A sigmoid mask per instrument, each from its own U-Net, times the input."""

    type = "unet.unet"
    spleeter = True
    Params = UnetParams

    def predict_amounts(self, magnitude):
        """As `Network.predict_amounts`: shape=(batch, T, F, 2, n_instruments)."""
        from keras import layers, ops

        masks = [unet(magnitude, name, self.params, "sigmoid") for name in self.instruments]
        return ops.stack([layers.Multiply()([mask, magnitude]) for mask in masks], axis=-1)

    def build_one(self):
        """The U-Net of a single instrument, up to the last convolution, without its activation.

        All instruments' U-Nets are alike: separation needs only this one, with one set of weights after the other.

        Returns
        -------
        keras.Model
            (batch, T, F, n_channels) -> logits (batch, T, F, 2), float32. Its layers are called `one_...`.
        """
        start_tensorflow()
        import keras

        magnitude = self.input()
        return keras.Model(magnitude, unet(magnitude, ONE, self.params, None))

    # ---- weights on disk: a checkpoint of Spleeter's ----

    def weights_file(self, folder):
        """As `Network.weights_file`: the checkpoint's index."""
        path = checkpoint.latest(folder)
        return path.with_name(f"{path.name}.index")

    def is_finished(self, folder):
        """As `Network.is_finished`: Spleeter's own training writes checkpoints on the way, too."""
        if not (folder / checkpoint.STATE).exists():
            return False
        return checkpoint.Checkpoint(folder, self.config).step >= self.config["train_max_steps"]

    def read_weights(self, folder):
        """As `Network.read_weights`."""
        found, values = checkpoint.Checkpoint(folder, self.config), {}
        for number, instrument in enumerate(self.instruments):
            values |= {name.replace(ONE, instrument, 1): value for name, value in found.weights(number).items()}
        return values

    def write_weights(self, folder, values, step):
        """As `Network.write_weights`."""
        checkpoint.write(folder, self.config, values, step)

    # ---- separation ----

    def load(self, folder):
        """As `Network.load`."""
        computation, values = self.computation(), list(self.parts(folder).values())
        graph = find_graph(computation) if len(values) <= MOST_ON_LITERT else None
        if graph:
            runs = [graph.runner(computation, weights, folder) for weights in values]
        else:
            runs = _on_tensorflow(computation, values)

        def run_all(magnitude):
            with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
                return self.powers(list(pool.map(lambda run: run(magnitude), runs)), magnitude)

        return run_all

    def parts(self, folder):
        """As `Network.parts`: the weights of each instrument."""
        found = checkpoint.Checkpoint(folder, self.config)
        return {name: found.weights(number) for number, name in enumerate(self.instruments)}

    def computation(self):
        """As `Network.computation`, but for one instrument: what `powers` gets, (n_segments, T, F, 2)."""

        def call(model, magnitude):
            return self._from_logits(model(magnitude, training=False), magnitude)

        shapes = (self.segment_shape,)
        return Computation(self.type, self._key(), self._modules(), shapes, self.build_one, call, self.constants)

    def constants(self, values):
        """As `Network.constants`: equivalent ones, whose normalisations only scale and shift, and the last kernel."""
        made = dict(values)
        for name in values:
            layer, _, kind = name.rpartition("/")
            if kind == "moving_variance":
                scale = values[f"{layer}/gamma"] / np.sqrt(values[name] + np.float32(NORMALISATION_EPSILON))
                made[f"{layer}/gamma"] = scale
                made[f"{layer}/beta"] = values[f"{layer}/beta"] - values[f"{layer}/moving_mean"] * scale
                made[f"{layer}/moving_mean"] = np.zeros_like(scale)
                made[name] = np.full_like(scale, 1 - NORMALISATION_EPSILON)
        last = f"{ONE}_up{len(FILTERS) - 1}/kernel"
        return made | {f"{last} of 3 x 3": as_convolution(values[last], np)}

    def _from_logits(self, logits, magnitude):
        """What is computed of one instrument's logits, of which `powers` gets those of all."""
        from keras import ops

        return ops.sigmoid(logits) * magnitude

    def powers(self, outputs, magnitude):
        """As `Network.powers`."""
        return [self._power(amount) for amount in outputs]

    # ---- for people ----

    def description(self):
        """As `Network.description`."""
        n_instruments, each = len(self.instruments), self.n_parameters() // len(self.instruments)
        return (
            f"Spleeter's, one U-Net per instrument, {each / 1e6:.1f} million parameters each and "
            f"{n_instruments * each / 1e6:.0f} million in all, {n_instruments * each * 4 / 1e9:.2f} GB"
        )

    def n_parameters(self):
        """As `Network.n_parameters`, computed from the filters: building a dozen U-Nets takes half a minute."""
        filters, n_channels = self.params.get("conv_n_filters", FILTERS), self.config["n_channels"]
        down = list(zip((n_channels, *filters[:-1]), filters, strict=True))
        decoder = (*reversed(filters[:-1]), 1)
        up = list(zip((filters[-1], *(2 * n for n in decoder[:-1])), decoder, strict=True))
        kernels = sum(25 * n_in * n_out + n_out for n_in, n_out in down + up)  # of 5 x 5
        normalisation = sum(4 * n_out for _, n_out in down + up)
        mask = 17 * MASK_CHANNELS  # a kernel of 4 x 4, and a bias
        return len(self.instruments) * (kernels + normalisation + mask)

    @classmethod
    def demands(cls, config):
        """As `Network.demands`."""
        return [
            ("muscomp.precision", config.get("muscomp.precision", "float32") == "float32", f"'float32' for {cls.type}"),
            (
                "model.params.conv_n_filters",
                len(config.get("model.params.conv_n_filters", FILTERS)) == len(FILTERS),
                f"a list of {len(FILTERS)} whole numbers for {cls.type}",
            ),
        ]


class SpleeterSoftmaxUnet(SpleeterUnet):
    """As `unet.unet`, but the masks of all instruments sum to one at every point."""

    type = "unet.softmax_unet"
    softmax_outside = True

    def predict_amounts(self, magnitude):
        """As `Network.predict_amounts`: shape=(batch, T, F, 2, n_instruments)."""
        from keras import ops

        logits = ops.stack([unet(magnitude, name, self.params, None) for name in self.instruments], axis=-1)
        return ops.softmax(logits, axis=-1) * ops.expand_dims(magnitude, -1)

    def _from_logits(self, logits, magnitude):
        return logits

    def powers(self, outputs, magnitude):
        """As `Network.powers`."""
        return [self._power(share * magnitude) for share in _softmax(outputs)]


def unet(magnitude, name, params, last_activation):
    """One U-Net. Its skips take the convolutions before normalisation, and the innermost one is used raw.

    Parameters
    ----------
    magnitude : Keras tensor, shape=(batch, T, F, n_channels)
    name : str
        The instrument: layers are called `<name>_down0`, ...
    params : dict
        `model.params` of the configuration.
    last_activation : str or None

    Returns
    -------
    Keras tensor, shape=(batch, T, F, 2)
    """
    from keras import layers

    filters = params.get("conv_n_filters", FILTERS)
    down = activation(params.get("conv_activation", "LeakyReLU"))
    up = activation(params.get("deconv_activation", "ReLU"))
    skips, x = [], magnitude
    for depth, n_filters in enumerate(filters):
        x = layers.Conv2D(n_filters, 5, 2, "same", kernel_initializer="he_uniform", name=f"{name}_down{depth}")(x)
        skips.append(x)
        x = down(batch_normalization(x, f"{name}_down{depth}_normalisation"))
    x = skips.pop()
    for depth, n_filters in enumerate((*reversed(filters[:-1]), 1)):
        layer = layers.Conv2DTranspose if n_filters > 1 else one_filter_transpose()
        x = layer(n_filters, 5, 2, "same", kernel_initializer="he_uniform", name=f"{name}_up{depth}")(x)
        x = batch_normalization(up(x), f"{name}_up{depth}_normalisation")
        x = dropout_layer()(DROPOUT)(x) if depth < 3 else x
        x = layers.Concatenate()([skips.pop(), x]) if skips else x
    options = {"padding": "same", "dilation_rate": 2, "activation": last_activation, "name": f"{name}_mask"}
    return layers.Conv2D(MASK_CHANNELS, 4, kernel_initializer="he_uniform", **options)(x)


def _on_tensorflow(computation, values):
    """A function for each instrument's weights; TensorFlow compiles a single one, which takes weights as arguments."""
    share_gpu()
    import tensorflow as tf

    one = computation.build()
    in_order = [_in_order(one, weights) for weights in values]
    specs = [[tf.TensorSpec(weight.shape, weight.dtype) for weight in weights] for weights in in_order[0]]

    @tf.function(input_signature=[*specs, tf.TensorSpec((None, *computation.shapes[0]))])
    def run(trainable, others, magnitude):
        def stateless(inputs, training):
            return one.stateless_call(trainable, others, inputs, training=training)[0]

        return computation.call(stateless, magnitude)

    return [lambda magnitude, weights=weights: run(*weights, magnitude).numpy() for weights in in_order]


def _in_order(network, values):
    """Weights by name as two lists of tensors: the network's trainable variables, and the others.

    A variable that is not a weight keeps its own value: dropout has a random state, which separation does not use.
    """
    import tensorflow as tf

    return [
        [tf.constant(values.get(variable.path, variable.value)) for variable in variables]
        for variables in (network.trainable_variables, network.non_trainable_variables)
    ]


def _softmax(logits):
    """Softmax over a list of arrays."""
    highest = np.maximum.reduce(logits)
    powers = [np.exp(logit - highest) for logit in logits]
    total = sum(powers[1:], powers[0])
    return [power / total for power in powers]
