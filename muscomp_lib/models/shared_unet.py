"""Our own network, `muscomp.shared_unet`: one U-Net for all instruments. Used by 03 to 05.

Spleeter has a U-Net per instrument, and each has to learn for itself what a note is. Here all instruments share
everything up to the last layer, where a softmax divides each point of the spectrogram among them. The other
differences, and their reasons:

- The input is the logarithm of the magnitude relative to the example's mean: a song played more softly holds the same
  instruments. A second input is the frequency of each bin, because an instrument's pattern changes with it.
- High bins are pooled into bands, as in human hearing: the network has a third as many points to compute.
- Dense layers over frequency (Choi et al. 2020) connect overtones, which lie too far apart for a convolution.
- Recurrent layers at the bottom, and one level above it, give every frame the whole example as context.
- Beside each of the deeper layers, a convolution of 3 x 3 lets points see their neighbours once more.
- There is no normalisation: it took a third of the time, and results are better without it.

All of it is `keras.ops` and Keras layers, so it trains on TensorFlow and on JAX. Keras is imported where it is used,
because that takes seconds.
"""

import re

import numpy as np

from muscomp_lib.models.layers import UnetParams, activation, by_neighbour, fourfold_transpose, mask_cross_entropy
from muscomp_lib.models.registry import Network
from muscomp_lib.models.weights import get_weights

FILTERS = (48, 64, 96, 128, 192)
BANDS = ((0, 1), (256, 4), (512, 8), (1024, 16))  # (first bin, bins per band)
FREQUENCY_BOTTLENECK = 4  # how many times narrower than its bands a dense layer over frequency is
NEAR_FROM = 2  # the depth from which points see their neighbours once more: above, it would cost most
MEMORY = 128  # units of the recurrent layer, in each direction
LATER = re.compile(r"early_|(down|up)\d+_near")  # layers that the network had not from the start
SHARES = "shares"  # the layer whose output is the masks by band
INITIAL = "he_normal"  # keeps the level from layer to layer, so that nothing needs to be normalised
FLOOR = 1e-3  # of the mean magnitude: what is quieter looks like silence


class SharedUnet(Network):
    """One U-Net for all instruments, with masks that are the same for all channels."""

    type = "muscomp.shared_unet"
    mono = True
    # With so much context, the output near a segment's border differs by -33 dB from the output with a border
    # elsewhere, no more than in other places; with 32 frames by -21 dB, and with none by -14 dB, which is audible.
    context = 64
    instrument_axes = {"masks/kernel": 2, "masks/bias": 0}  # noqa: RUF012
    Params = UnetParams

    def predict_amounts(self, magnitude):
        """As `Network.predict_amounts`: masks, shape=(batch, T, F, 1, n_instruments)."""
        return masks(
            magnitude,
            len(self.instruments),
            self.params.get("conv_n_filters", FILTERS),
            down=activation(self.params.get("conv_activation", "LeakyReLU")),
            up=activation(self.params.get("deconv_activation", "ReLU")),
        )

    def read_weights(self, folder):
        """As `Network.read_weights`; models from before the network grew get its later layers, which add nothing."""
        values = super().read_weights(folder)
        if any(LATER.match(name) for name in values):
            return values
        return {name: fresh for name, fresh in get_weights(self.build()).items() if LATER.match(name)} | values

    def training_model(self, precision="float32"):
        """As `Network.training_model`: masks by band, (batch, T, n_bands, n_instruments).

        Each bin's mask is its band's, so the loss needs no more, and a step takes a third less time.
        """
        import keras

        network = super().training_model(precision)
        return keras.Model(network.input, network.get_layer(SHARES).output)

    def target(self, instruments):
        """As `Network.target`: magnitudes summed in bands, (batch, T, n_bands, n_instruments)."""
        return sums_in_bands(instruments[:, :, :, 0])

    def loss(self, instruments, output):
        """As `Network.loss`: the cross-entropy of masks."""
        return mask_cross_entropy(self.target(instruments), output)

    def constants(self, values):
        """As `Network.constants`."""
        kernels = {name: value for name, value in values.items() if re.fullmatch(r"(up\d+|masks)/kernel", name)}
        return values | {f"{name} of 2 x 2": by_neighbour(value, np) for name, value in kernels.items()}

    def description(self):
        """As `Network.description`."""
        return "our own, one U-Net for all instruments that divides each point of the spectrogram among them"


def masks(magnitude, n_instruments, filters, down, up):
    """Masks that sum to one over instruments.

    Parameters
    ----------
    magnitude : Keras tensor, shape=(batch, T, F, n_channels)
        T is a multiple of 2 to the power of the number of `filters`, F of 64.
    n_instruments : int
    filters : sequence of int
        Patterns of each convolution.
    down, up : callable
        The activations.

    Returns
    -------
    Keras tensor, shape=(batch, T, F, 1, n_instruments)
    """
    from keras import layers, ops

    x, skips = _level_and_frequency(magnitude), []
    for depth, n_filters in enumerate(filters):
        x = layers.Conv2D(n_filters, 5, 2, "same", kernel_initializer=INITIAL, name=f"down{depth}")(x)
        x = over_frequency(down(x), f"down{depth}")
        if depth >= NEAR_FROM:
            x = nearby(x, x, f"down{depth}")
        if depth == len(filters) - 2:
            x = over_time(x, prefix="early_")
        skips.append(x)
    x = over_time(skips.pop())
    for depth, n_filters in enumerate(reversed(filters[:-1])):
        x = fourfold_transpose()(n_filters, 4, 2, "same", kernel_initializer=INITIAL, name=f"up{depth}")(x)
        skip = skips.pop()
        x = up(x)[:, :, : skip.shape[2]]  # of an odd number, doubled, one goes
        if len(filters) - 2 - depth >= NEAR_FROM:
            x = nearby(x, layers.Concatenate()([x, skip]), f"up{depth}")
        x = layers.Concatenate()([x, skip])
        if depth < len(filters) - 2:  # not in the widest: it costs most there
            x = over_frequency(x, f"up{depth}")
    logits = fourfold_transpose()(n_instruments, 4, 2, "same", name="masks")(x)
    shares = layers.Softmax(dtype="float32", name=SHARES)(logits)
    return ops.expand_dims(from_bands(shares, magnitude.shape[2]), 3)


def sums_in_bands(magnitudes):
    """The sum of each band's magnitudes: (batch, T, F, n) to (batch, T, n_bands, n)."""
    from keras import ops

    widths = [width for first, end, width in bands(magnitudes.shape[2]) for _ in range(first, end, width)]
    return _to_bands(magnitudes) * ops.reshape(ops.cast(ops.array(widths), "float32"), (1, 1, -1, 1))


def _level_and_frequency(magnitude):
    """(batch, T, F, n_channels) to (batch, T, n_bands, 2): log level relative to the mean, and frequency, -1 to 1."""
    from keras import ops

    level = ops.sqrt(ops.mean(ops.square(magnitude), axis=-1, keepdims=True))
    sounding = ops.cast(level > 0, "float32")  # the last segment of a song is padded with silence: it must not count
    mean = total(level) / (total(sounding) + 1.0)
    log_level = ops.log(_to_bands(level / (mean + 1e-7)) + FLOOR) / 3.0  # about -2 to 2
    frequency = ops.reshape(ops.linspace(-1.0, 1.0, log_level.shape[2]), (1, 1, -1, 1))
    return ops.concatenate([log_level, ops.ones_like(log_level) * frequency], axis=-1)


def total(x):
    """The sum of each example, (batch, 1, 1, 1). All at once, LiteRT would lose 1e-4."""
    from keras import ops

    return ops.sum(ops.sum(x, axis=2, keepdims=True), axis=1, keepdims=True)


def bands(n_bins, widths=BANDS):
    """The ranges of bins that are banded alike: (first, end, bins per band)."""
    edges = [*(first for first, _ in widths), n_bins]
    return [
        (first, min(end, n_bins), width)
        for (first, width), end in zip(widths, edges[1:], strict=True)
        if first < n_bins
    ]


def _to_bands(x):
    """The mean of each band: (batch, T, F, n) to (batch, T, n_bands, n)."""
    from keras import ops

    parts = [ops.average_pool(x[:, :, first:end], (1, width), (1, width)) for first, end, width in bands(x.shape[2])]
    return ops.concatenate(parts, axis=2)


def from_bands(x, n_bins, widths=BANDS):
    """Every bin gets what its band has: (batch, T, n_bands, n) to (batch, T, F, n)."""
    from keras import layers, ops

    parts, start = [], 0
    for first, end, width in bands(n_bins, widths):
        n_bands = (end - first) // width
        parts.append(layers.UpSampling2D((1, width))(x[:, :, start : start + n_bands]))
        start += n_bands
    return ops.concatenate(parts, axis=2)


def over_frequency(x, name):
    """Add to each point what all frequencies of its frame say together."""
    from keras import layers

    n_bands = x.shape[2]
    y = layers.Permute((1, 3, 2))(x)
    narrow = {"activation": "relu", "kernel_initializer": INITIAL, "name": f"{name}_frequency_in"}
    y = layers.Dense(max(1, n_bands // FREQUENCY_BOTTLENECK), **narrow)(y)
    y = layers.Dense(n_bands, kernel_initializer="zeros", name=f"{name}_frequency_out")(y)  # nothing, to begin with
    return layers.Add()([x, layers.Permute((1, 3, 2))(y)])


def nearby(x, seen, name):
    """Add to each point of `x` what its neighbourhood in `seen` says."""
    from keras import layers

    n_filters = x.shape[3]
    y = layers.Conv2D(n_filters, 3, 1, "same", activation="relu", kernel_initializer=INITIAL, name=f"{name}_near")(seen)
    y = layers.Conv2D(n_filters, 1, kernel_initializer="zeros", name=f"{name}_near_out")(y)  # nothing, to begin with
    return layers.Add()([x, y])


def over_time(x, memory=MEMORY, prefix=""):
    """Add to each point what came before and comes after."""
    from keras import layers

    n_bands, n_filters = x.shape[2:]
    y = layers.Dense(2 * memory, name=f"{prefix}time_in")(layers.Reshape((-1, n_bands * n_filters))(x))
    recurrent = layers.GRU(memory, return_sequences=True, name=f"{prefix}time")
    y = layers.Bidirectional(recurrent, name=f"{prefix}both_ways")(y)
    y = layers.Dense(n_bands * n_filters, kernel_initializer="zeros", name=f"{prefix}time_out")(y)
    return layers.Add()([x, layers.Reshape((-1, n_bands, n_filters))(y)])
