"""Where each instrument stands between left and right: what a stereo song tells beyond its magnitudes. Used by 05.

A network with one mask for both channels is trained on sounds without a place, and most instruments of a song have one.
So its masks are taken as a prior: they say, in a few bands of frequency, from which directions each instrument comes,
and each point of the spectrogram then goes more to those whose directions its two channels fit. These are two steps of
expectation maximisation for a mixture of complex angular central Gaussian distributions (Ito, Araki, Nakatani 2016) and
knows differences in level alone. Masks still sum to one, and where left and right are equal, nothing changes.
"""

import numpy as np

# Hz, between the bands: recorded in stereo, an instrument's place depends on frequency.
EDGES = (90.0, 300.0, 1000.0, 3300.0)
SPREAD = 0.005  # of a direction's power, added to both channels: no sound comes from a single point
STEPS = 2  # of expectation maximisation in each segment
SILENCE = 1e-20  # power: keeps 0 / 0 out


def edges(config):
    """The bins where the bands of a model begin, and where the last one ends: a list of int."""
    bins = [round(edge * config["frame_length"] / config["sample_rate"]) for edge in EDGES]
    return [0, *sorted({each for each in bins if 0 < each < config["F"]}), config["F"]]


class Panning:
    """The directions of each instrument, known better with every segment of a song.

    Parameters
    ----------
    config : dict
        The model's.
    n_instruments : int
    """

    def __init__(self, config, n_instruments):
        *self._begins, end = edges(config)
        self._widths = np.diff([*self._begins, end])
        # Frames that hardly overlap say as much of directions as all, in less time.
        self._thin = slice(None, None, max(1, config["frame_length"] // config["frame_step"]))
        # By instrument, the sums in each band over all points so far of what `_points` gives; to begin with, centred.
        self._seen = np.full((n_instruments, 3, len(self._begins)), SILENCE) * [[1], [0.5], [0]]

    def __call__(self, spectrogram, powers):
        """Divide the next segments of a song by direction, too.

        Parameters
        ----------
        spectrogram : np.ndarray, shape=(n_segments, T, F, 2), complex64
        powers : list of np.ndarray, shape=(n_segments, T, F, 1), float32
            The amount of each instrument.

        Returns
        -------
        list of np.ndarray, shape=(n_segments, T, F, 1), float32
        """
        segments = (
            self._segment(mix, [power[number, ..., 0] for power in powers]) for number, mix in enumerate(spectrogram)
        )
        return [np.stack(parts)[..., None] for parts in zip(*segments, strict=True)]

    def _segment(self, mix, powers):
        loudness, *points = _points(mix)
        loudness, few = loudness[self._thin], [each[self._thin] for each in points]
        masks = _shares([power[self._thin] for power in powers])
        seen = self._seen + self._moments(masks, loudness, few)
        for _ in range(STEPS - 1):
            seen = self._seen + self._moments(_shares(self._weighed(masks, seen, few)), loudness, few)
        self._seen = seen
        return self._weighed(powers, seen, points)

    def _moments(self, masks, loudness, points):
        """What each instrument's points say of its directions, as `_seen`."""
        amounts = (np.square(mask) * loudness for mask in masks)  # squared: most where an instrument is alone
        sums = [[amount.sum(axis=0), *(np.einsum("tf,tf->f", amount, each) for each in points)] for amount in amounts]
        return np.add.reduceat(sums, self._begins, axis=2)

    def _weighed(self, powers, seen, points):
        """The amount of each instrument, times how well points fit its directions."""
        by_bin = np.repeat(seen, self._widths, axis=2)
        return [power * _likelihood(its, *points) for power, its in zip(powers, by_bin, strict=True)]


def _shares(powers):
    """The mask of each instrument: list of np.ndarray, shape=(n_frames, F), float32."""
    whole = sum(powers[1:], powers[0] + np.float32(SILENCE))
    return [power / whole for power in powers]


def _points(mix):
    """The directions of a spectrogram's points.

    Returns
    -------
    loudness, share, product : np.ndarray, shape=(T, F), float32
        Magnitude; the left channel's share of the power; the real product of both channels beside it.
    """
    left, right = mix[..., 0], mix[..., 1]
    power = np.abs(left) ** 2
    total = power + np.abs(right) ** 2 + np.float32(SILENCE)
    return np.sqrt(total), power / total, (left * right.conj()).real / total


def _likelihood(seen, share, product):
    """How well points fit the directions of an instrument, up to a factor that is the same for all instruments.

    `seen`, of shape (3, F), is for each bin what is known of its band.
    """
    left, both = (seen[1:] / seen[0]).astype(np.float32)
    left, right = left + np.float32(SPREAD), 1 - left + np.float32(SPREAD)
    distance = share * (right - left)
    distance -= product * (2 * both)
    distance += left
    return (left * right - both**2) / np.square(distance, out=distance)
