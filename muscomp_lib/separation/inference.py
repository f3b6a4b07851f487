"""Trained networks at work: from magnitudes to masks, as fast as the machine goes. Used by 04 and 05.

A song comes here as magnitudes in segments of T frames, a few segments at a time, and leaves as the share of each
instrument. For Spleeter's networks all instruments' U-Nets are alike, so TensorFlow prepares a single one, and runs it
with one instrument's weights after the other, two of them side by side, which keeps all cores busy where a single layer
would not. Segments of pure silence are not looked at.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from muscomp_lib.core.errors import MissingError
from muscomp_lib.models import unet
from muscomp_lib.models.config import SPLEETER_TYPES
from muscomp_lib.spleeter import checkpoint as spleeter_bridge

FRAMES = 512  # looked at together, in whole segments: more take more memory and are hardly faster
FRAMES_ON_GPU = 2048
SIDE_BY_SIDE = 2  # U-Nets
EPSILON = 1e-10  # Spleeter's: keeps 0 / 0 out of the masks


def load(config, folder):
    """Load a trained network.

    Parameters
    ----------
    config : dict
        As `config.read` returns it.
    folder : Path
        With the weights.

    Returns
    -------
    callable
        From magnitudes, shape (n_segments, context + T + context, F, n_channels), float32, to their `Masks`,
        T frames each. Its attribute `context` says how many frames it is given on either side.

    Raises
    ------
    MissingError, SettingError
        The folder holds no finished model; its weights do not fit its configuration.
    """
    unet.start_tensorflow()
    _share_gpu()
    return (_SpleeterNetwork if config["model"]["type"] in SPLEETER_TYPES else _SharedNetwork)(config, folder)


def segments_at_once(config):
    """How many segments of T frames are best looked at together."""
    unet.start_tensorflow()
    import tensorflow as tf

    frames = FRAMES_ON_GPU if tf.config.list_physical_devices("GPU") else FRAMES
    return max(1, frames // config["T"])


class Masks:
    """Which share of each point of a spectrogram is whose.

    Parameters
    ----------
    powers : list of np.ndarray, shape=(n_segments, T, F, n_channels or 1), float32
        The amount of each instrument to the power of `separation_exponent`.
    """

    def __init__(self, powers):
        self._powers = powers
        self._total = sum(powers[1:], powers[0] + np.float32(EPSILON))

    def of(self, numbers):
        """The mask of some instruments together, by their numbers: (n_segments * T, F, n_channels or 1), float32.

        The masks of all instruments sum to one.
        """
        first, *others = (self._powers[number] for number in numbers)
        mask = sum(others, first + np.float32(len(numbers) * EPSILON / len(self._powers)))
        mask /= self._total
        return mask.reshape(-1, *mask.shape[2:])


class _SharedNetwork:
    """One network for all instruments: `muscomp.shared_unet`."""

    # Frames heard on either side of a segment. What comes out around a border then differs from what comes out when the
    # border is elsewhere by -33 dB, no more than anywhere; with 32 it would be -21 dB, with none -14 dB: that is heard.
    context = 64

    def __init__(self, config, folder):
        import tensorflow as tf

        if not (folder / unet.WEIGHTS).is_file():
            raise MissingError(
                f"{folder} holds no finished model ({unet.WEIGHTS} is missing). Train it with notebook 04."
            )
        network = unet.build(config)
        unet.set_weights(network, unet.read_arrays(folder / unet.WEIGHTS), folder / unet.WEIGHTS)
        exponent = config["separation_exponent"]

        @tf.function(input_signature=[_segments(config, self.context)])
        def run(magnitude):
            amounts = network(magnitude, training=False)[:, self.context :][:, : config["T"]]
            return tf.unstack(amounts**exponent, axis=-1)

        self._run = run

    def __call__(self, magnitude):
        return Masks(_where_there_is_sound(lambda part: _fitting(self._run, part), magnitude))


class _SpleeterNetwork:
    """One U-Net per instrument: `unet.unet` and `unet.softmax_unet`."""

    context = 0  # as in Spleeter, or the result would be another

    def __init__(self, config, folder):
        import tensorflow as tf

        checkpoint = spleeter_bridge.Checkpoint(folder, config)
        one = unet.build_one(config)
        self._weights = [_in_order(one, checkpoint.weights(i)) for i in range(len(config["instrument_list"]))]
        self._softmax = config["model"]["type"] == "unet.softmax_unet"
        self._exponent = config["separation_exponent"]
        specs = [[tf.TensorSpec(w.shape, w.dtype) for w in weights] for weights in self._weights[0]]

        @tf.function(input_signature=[*specs, _segments(config, self.context)])
        def run(trainable, others, magnitude):
            logits, _ = one.stateless_call(trainable, others, magnitude, training=False)
            return [logits if self._softmax else (tf.sigmoid(logits) * magnitude) ** self._exponent]

        self._run = run

    def __call__(self, magnitude):
        return Masks(_where_there_is_sound(self._powers, magnitude))

    def _powers(self, magnitude):
        def of_one(weights):
            return _fitting(lambda part: self._run(*weights, part), magnitude)[0]

        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            found = list(pool.map(of_one, self._weights))
        return [(share * magnitude) ** self._exponent for share in _softmax(found)] if self._softmax else found


def _share_gpu():
    """Take a GPU's memory as it is needed instead of all of it at once."""
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:  # TensorFlow has begun to use it: then it stays as it is
            return


def _segments(config, context):
    import tensorflow as tf

    return tf.TensorSpec((None, config["T"] + 2 * context, config["F"], config["n_channels"]))


def _in_order(network, values):
    """Weights by name as two lists of tensors: the network's trainable variables, and the others.

    A variable that is not a weight keeps its own value: dropout has a random state, which nothing uses here.
    """
    import tensorflow as tf

    return [
        [tf.constant(values.get(variable.path, variable.value)) for variable in variables]
        for variables in (network.trainable_variables, network.non_trainable_variables)
    ]


def _where_there_is_sound(powers_of, magnitude):
    """Powers of the segments that are not silent, and 0 for the others: a list of arrays by instrument."""
    sounding = magnitude.any(axis=(1, 2, 3))
    sounding[0] |= not sounding.any()  # a network cannot look at nothing
    if sounding.all():
        return powers_of(magnitude)
    found = powers_of(magnitude[sounding])
    whole = [np.zeros((len(magnitude), *part.shape[1:]), np.float32) for part in found]
    for array, part in zip(whole, found, strict=True):
        array[sounding] = part
    return whole


def _fitting(run, magnitude):
    """`run` on all segments at once, or on half of them at a time when the GPU has no room for all."""
    import tensorflow as tf

    try:
        return [part.numpy() for part in run(tf.constant(magnitude))]
    except tf.errors.ResourceExhaustedError:
        if len(magnitude) == 1:
            raise
        half = len(magnitude) // 2
        halves = zip(_fitting(run, magnitude[:half]), _fitting(run, magnitude[half:]), strict=True)
        return [np.concatenate(pair) for pair in halves]


def _softmax(logits):
    """Softmax over a list of arrays."""
    highest = np.maximum.reduce(logits)
    powers = [np.exp(logit - highest) for logit in logits]
    total = sum(powers[1:], powers[0])
    return [power / total for power in powers]
