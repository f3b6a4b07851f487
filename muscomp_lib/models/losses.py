"""What training minimises. Used by the networks (registry.py); both functions are Keras losses."""

from muscomp_lib.models.runtime import replica_mean

EPSILON = 1e-7  # keeps log(0) and 0 / 0 out


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
    return -ops.sum(targets * ops.log(masks + EPSILON)) / (total + EPSILON)
