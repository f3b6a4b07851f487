"""Trained networks in use: from magnitudes to masks. Used by 04 and 05.

A song comes as magnitudes in segments of T frames, a few at a time, and leaves as the share of each instrument.
Silent segments skip the network, and a GPU that runs out of memory gets half of the segments at a time.
"""

import numpy as np

from muscomp_lib.models import registry
from muscomp_lib.models.runtime import has_gpu

FRAMES = 512  # at a time, in whole segments: more take more memory and are hardly faster
FRAMES_ON_GPU = 2048
OUT_OF_MEMORY = "ResourceExhaustedError"  # TensorFlow's, which is not loaded here
EPSILON = 1e-10  # Spleeter's: keeps 0 / 0 out of the masks


class Predictor:
    """A trained network, ready to separate.

    Parameters
    ----------
    config : dict
        As `config.read_config` returns it.
    folder : Path
        With the weights.
    query : np.ndarray, optional
        What a network that takes a query is asked for (`timbre.query`).

    Attributes
    ----------
    mono : bool
        Whether its masks are the same for all channels.
    context : int
        Frames that it is given on either side of a segment.

    Raises
    ------
    MissingError, SettingError
        The folder holds no finished model; its weights do not fit its configuration.
    """

    def __init__(self, config, folder, query=None):
        network = registry.network(config)
        self.mono, self.context = network.mono, network.context
        self._run = network.load(folder, query) if network.takes_query else network.load(folder)

    def __call__(self, magnitude):
        """The masks of magnitudes, shape (n_segments, context + T + context, F, n_channels), float32: a `Masks`."""
        loud = magnitude.any(axis=(1, 2, 3))
        loud[0] |= not loud.any()  # a network cannot run on nothing
        if loud.all():
            return Masks(self._fitting(magnitude))
        found = self._fitting(magnitude[loud])
        powers = [np.zeros((len(magnitude), *part.shape[1:]), np.float32) for part in found]
        for array, part in zip(powers, found, strict=True):
            array[loud] = part
        return Masks(powers)

    def _fitting(self, magnitude):
        """The network on all segments at once, or on half of them at a time when the GPU runs out of memory."""
        try:
            return self._run(magnitude)
        except Exception as error:
            if type(error).__name__ != OUT_OF_MEMORY or len(magnitude) == 1:
                raise
            half = len(magnitude) // 2
            halves = zip(self._fitting(magnitude[:half]), self._fitting(magnitude[half:]), strict=True)
            return [np.concatenate(pair) for pair in halves]


def segments_at_once(config):
    """How many segments of T frames are best separated together."""
    return max(1, (FRAMES_ON_GPU if has_gpu() else FRAMES) // config["T"])


class Masks:
    """The share of each instrument in each point of a spectrogram.

    Parameters
    ----------
    powers : list of np.ndarray, shape=(n_segments, T, F, n_channels or 1), float32
        The amount of each instrument to the power of `separation_exponent`.
    """

    def __init__(self, powers):
        self.powers = powers
        self._total = sum(powers[1:], powers[0] + np.float32(EPSILON))

    def of(self, numbers):
        """The mask of some instruments together, by their numbers: (n_segments * T, F, n_channels or 1), float32.

        The masks of all instruments sum to one.
        """
        first, *others = (self.powers[number] for number in numbers)
        mask = sum(others, first + np.float32(len(numbers) * EPSILON / len(self.powers)))
        mask /= self._total
        return mask.reshape(-1, *mask.shape[2:])
