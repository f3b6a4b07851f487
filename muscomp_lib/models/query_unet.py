"""A network that separates whatever instrument it is asked for, `muscomp.query_unet`. Used by 06.

One U-Net divides each point of the spectrogram between two: what is asked for, and the rest. A *query*, numbers that
describe an instrument's timbre, chooses the instrument: it scales and shifts what the filters find (FiLM: Perez et al.
2018; for separation Meseguer-Brocal and Peeters 2019), before the recurrent layer and after it:

    y = (1 + gamma) * x + beta,    one gamma and one beta per filter, all linear in an embedding of the query

For one query, gamma and beta are constants. So where the network separates they are weights like any others
(`conditioned`): it is computed and streamed as every network is, and only training takes queries as a second input.
"""

from functools import cache

import numpy as np

from muscomp_lib.core.errors import SettingError
from muscomp_lib.core.instruments import DRUMS
from muscomp_lib.core.settings import Field, one_of, that, whole
from muscomp_lib.models import shared_unet
from muscomp_lib.models.layers import UnetParams, activation, mask_cross_entropy
from muscomp_lib.models.registry import Network
from muscomp_lib.models.runtime import load as load_computation

ASKED, REST = "asked", "rest"  # its instruments
DESCRIPTORS = ("harmonics", "envelope", "both", "learned", "one_hot", "none")  # what a query may be (timbre/)
PLACES = ("all", "before")  # of the conditioning: at every depth but the widest, or before the recurrent layer only
FILTERS = (12, 16, 32, 48, 64)
BANDS = ((0, 1), (128, 2), (256, 4), (512, 16))  # (first bin, bins per band): fewer bands than shared_unet's
POOLED = 2  # frames that share a mask: half the work, and a window is longer than two of its hops anyway
TIME_STRIDES = 3  # convolutions that halve the time; all of them halve the frequency
MEMORY = 64
EMBEDDING = 64  # numbers that a query becomes
INITIAL = "he_normal"


def _programs(value):
    return isinstance(value, list) and all(type(program) is int and 0 <= program <= DRUMS for program in value)


class Params(UnetParams):
    """The keys of `model.params`."""

    descriptor: one_of(*DESCRIPTORS) = Field("envelope", description="What a query is.")
    n_inputs: whole(1) = Field(40, description="Numbers in a query; of a learned descriptor, in a frame of it.")
    film: one_of(*PLACES) = Field("all", description="Where the query acts: at all depths, or at the bottom only.")
    held_out: that(_programs, "a list of programs") = Field([], description="Programs that it was never trained on.")


ARCHITECTURE = ("conv_n_filters", "conv_activation", "deconv_activation", "film")  # what decides the graph


class QueryUnet(Network):
    """One U-Net for any instrument, with two masks that are the same for all channels."""

    type = "muscomp.query_unet"
    mono = True
    context = 64
    takes_query = True
    Params = Params

    def predict_amounts(self, magnitude):
        """As `Network.predict_amounts`; gamma and beta are weights."""
        from keras import layers, ops

        shares = self._shares(magnitude, lambda x, name: _film_layer()(name=name)(x))
        frames = layers.UpSampling2D((POOLED, 1))(shares)
        return ops.expand_dims(shared_unet.from_bands(frames, magnitude.shape[2], BANDS), 3)

    def _shares(self, magnitude, film):
        """Masks by pooled frame and band: (batch, T / POOLED, n_bands, 2)."""
        from keras import layers

        filters = self.params.get("conv_n_filters", FILTERS)
        down = activation(self.params.get("conv_activation", "LeakyReLU"))
        up = activation(self.params.get("deconv_activation", "ReLU"))
        everywhere = self.params.get("film", "all") == "all"
        x = _level_and_frequency(magnitude)
        skips, options = [], {"padding": "same", "kernel_initializer": INITIAL}
        for depth, n_filters in enumerate(filters):
            x = down(layers.Conv2D(n_filters, 5, _stride(depth), name=f"down{depth}", **options)(x))
            if depth and (everywhere or depth == len(filters) - 1):
                x = film(x, f"film_down{depth}")
            x = shared_unet.over_frequency(x, f"down{depth}") if depth else x
            skips.append(x)
        x = shared_unet.over_time(skips.pop(), MEMORY)
        for depth in reversed(range(len(filters) - 1)):
            x = layers.Conv2DTranspose(filters[depth], 4, _stride(depth + 1), name=f"up{depth}", **options)(x)
            skip = skips.pop()
            x = up(x)[:, :, : skip.shape[2]]
            x = layers.Concatenate()([film(x, f"film_up{depth}") if everywhere else x, skip])
        logits = layers.Conv2DTranspose(len(self.instruments), 4, _stride(0), "same", name="masks")(x)
        return layers.Softmax(dtype="float32", name=shared_unet.SHARES)(logits)

    # ---- training ----

    def training_model(self, precision="float32"):
        """As `Network.training_model`, with the query as its second input: (batch, n_inputs) or (batch, n, n_inputs).

        gamma and beta are zero to begin with: the network starts without a condition.
        """
        import keras
        from keras import layers

        from muscomp_lib.models.runtime import precision as dtype_policy
        from muscomp_lib.models.runtime import start_tensorflow

        start_tensorflow()
        keras.utils.set_random_seed(self.config["random_seed"])
        magnitude = self.input(1)
        frames = (None,) if self.params.get("descriptor") == "learned" else ()
        query = keras.Input((*frames, self.params.get("n_inputs", 40)), name="query")
        with dtype_policy(precision):
            embedding = _embedding(query, bool(frames))

            def film(x, name):
                n_filters = x.shape[-1]
                both = layers.Dense(2 * n_filters, kernel_initializer="zeros", name=name)(embedding)
                both = layers.Reshape((1, 1, 2 * n_filters))(both)
                return x * (1 + both[..., :n_filters]) + both[..., n_filters:]

            shares = self._shares(magnitude, film)
        return keras.Model([magnitude, query], shares, name=self.type.replace(".", "_"))

    def target(self, instruments):
        """As `Network.target`: magnitudes summed in bands and pooled frames, (batch, T / POOLED, n_bands, 2)."""
        from keras import ops

        bands = shared_unet.bands(instruments.shape[2], BANDS)
        widths = [width for first, end, width in bands for _ in range(first, end, width)]
        return (
            _pooled(instruments[:, :, :, 0])
            * POOLED
            * ops.reshape(ops.cast(ops.array(widths), "float32"), (1, 1, -1, 1))
        )

    def loss(self, instruments, output):
        """As `Network.loss`: the cross-entropy of masks."""
        return mask_cross_entropy(self.target(instruments), output)

    # ---- separation ----

    def load(self, folder, query=None):
        """As `Network.load`, for one query.

        Parameters
        ----------
        folder : Path
        query : np.ndarray, shape=(n_inputs,) or (n, n_inputs), float32
            As `timbre.query` gives it.

        Raises
        ------
        SettingError
            There is no query, or it is not of the kind that the network was trained for.
        """
        values, where = self.read_weights(folder), self.weights_file(folder)
        run = load_computation(self.computation(), self.conditioned(values, query), where)
        return lambda magnitude: self.powers([run(magnitude)], magnitude)

    def parts(self, folder):
        """As `Network.parts`: SettingError, because without a query there is no one network."""
        raise SettingError(f"{folder} holds a network that takes a query. Ask it with `muscomp separate --like FILE`.")

    def conditioned(self, values, query):
        """The weights for one query, by path in `build`'s model: 1 + gamma and beta in place of what makes them."""
        if query is None:
            raise SettingError("This network separates what a query asks for. Give it one: query=..., or --like FILE.")
        query, n_inputs = np.asarray(query, np.float32), self.params.get("n_inputs", 40)
        n_axes = 2 if self.params.get("descriptor") == "learned" else 1
        if query.ndim != n_axes or query.shape[-1] != n_inputs:
            raise SettingError(f"A query of the shape {query.shape} is not of this network's kind: {n_inputs} numbers.")
        if not np.isfinite(query).all():
            raise SettingError(
                "The query has NaN or infinite numbers. Describe the recording again: timbre.query(file)."
            )
        embedding, made = _embedded(query, values), {}
        for name, value in values.items():
            layer, _, kind = name.rpartition("/")
            if layer.startswith("film_") and kind == "kernel":
                both = embedding @ value.astype(np.float32) + values[f"{layer}/bias"]
                gamma, beta = np.split(both.astype(np.float32), 2)
                made |= {f"{layer}/scale": 1 + gamma, f"{layer}/shift": beta}
            elif not layer.startswith(("film_", "query_")):
                made[name] = value
        return made

    def _key(self):
        params = {name: self.params[name] for name in ARCHITECTURE if name in self.params}
        return super()._key() | {"model": params}

    def _modules(self):
        return (*super()._modules(), shared_unet.__name__)

    # ---- for people ----

    def description(self):
        """As `Network.description`."""
        return "our own, one U-Net for any instrument: what a query asks for, and the rest"


def _stride(depth):
    return (2 if depth < TIME_STRIDES else 1, 2)


def _level_and_frequency(magnitude):
    """As shared_unet's, by pooled frame: (batch, T, F, n_channels) to (batch, T / POOLED, n_bands, 2)."""
    from keras import ops

    level = ops.sqrt(ops.mean(ops.square(magnitude), axis=-1, keepdims=True))
    sounding = ops.cast(level > 0, "float32")
    mean = shared_unet.total(level) / (shared_unet.total(sounding) + 1.0)
    log_level = ops.log(_pooled(level / (mean + 1e-7)) + shared_unet.FLOOR) / 3.0
    frequency = ops.reshape(ops.linspace(-1.0, 1.0, log_level.shape[2]), (1, 1, -1, 1))
    return ops.concatenate([log_level, ops.ones_like(log_level) * frequency], axis=-1)


def _pooled(x):
    """Means over bands and POOLED frames: (batch, T, F, n) to (batch, T / POOLED, n_bands, n).

    Reshaped, because TensorFlow pools a few channels ten times as slowly on a CPU.
    """
    from keras import layers, ops

    n, parts = x.shape[3], []
    for first, end, width in shared_unet.bands(x.shape[2], BANDS):
        part = layers.Reshape((-1, (end - first) // width, width, n))(x[:, :, first:end])
        parts.append(ops.mean(part, axis=3))
    banded = ops.concatenate(parts, axis=2)
    return ops.mean(layers.Reshape((-1, POOLED, banded.shape[2], n))(banded), axis=2)


@cache
def _film_layer():
    """A layer class: scales and shifts each filter's output by weights."""
    import keras

    class Film(keras.layers.Layer):
        def build(self, shape):
            self.scale = self.add_weight(shape=shape[-1:], initializer="ones", name="scale")
            self.shift = self.add_weight(shape=shape[-1:], initializer="zeros", name="shift")

        def call(self, x):
            return x * self.scale + self.shift

    return Film


def _embedding(query, learned):
    """A query as EMBEDDING numbers; of frames, each by itself, and then their mean and their maximum."""
    from keras import layers, ops

    x, relu = query, {"activation": "relu", "kernel_initializer": INITIAL}
    if learned:
        for depth in range(2):
            x = layers.Dense(EMBEDDING, name=f"query_frame{depth}", **relu)(x)
        x = ops.concatenate([ops.mean(x, axis=1), ops.max(x, axis=1)], axis=-1)
    return layers.Dense(EMBEDDING, name="query_embedding", **relu)(x)


def _embedded(query, values):
    """As `_embedding` with trained weights, on NumPy: shape (EMBEDDING,)."""

    def dense(x, name):
        return np.maximum(x @ np.float32(values[f"{name}/kernel"]) + np.float32(values[f"{name}/bias"]), 0.0)

    x = query
    if x.ndim == 2:
        for depth in range(2):
            x = dense(x, f"query_frame{depth}")
        x = np.concatenate([x.mean(axis=0), x.max(axis=0)])
    return dense(x, "query_embedding")
