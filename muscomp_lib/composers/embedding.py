"""A network that places clips in a space where those of one composer are close together. Used by notebook 08.

Its losses: cross-entropy of a softmax over the known composers, whose weights are unit vectors in that space (NormFace,
Wang et al. 2017), and the batch-hard triplet loss (Hermans, Beyer and Leibe 2017): in each batch, the farthest clip of
the same composer is to be nearer than the nearest one of another. Both see each composer equally often.
"""

import numpy as np

from muscomp_lib.composers.clips import N_INTERVALS, N_MELS, N_PITCHES
from muscomp_lib.models.runtime import on_jax
from muscomp_lib.training import loop

MEL, ROLL, BOTH = "mel", "roll", "both"
FEATURES = {MEL: (MEL,), ROLL: (ROLL,), BOTH: (MEL, ROLL)}
N_BINS = N_MELS + N_PITCHES + N_INTERVALS  # of an example; of the piano roll, the network is given the intervals
BANDS = {MEL: (0, N_MELS), ROLL: (N_MELS + N_PITCHES, N_BINS)}
CROSS_ENTROPY, TRIPLET = "cross_entropy", "triplet"
LOSSES = (CROSS_ENTROPY, TRIPLET, BOTH)  # both: half of the steps with the first, then the second
FILTERS, KERNEL, STRIDE = 48, 5, 2  # of the convolution over time
HIDDEN = 64
SIZE = 32  # of the embedding
SCALE = 5.0  # of the cosines that the softmax is given
SMOOTHING = 0.1  # of the labels, against overfitting: there are few pieces
MARGIN = 0.3  # of squared distances, between 0 and 4
DROPOUT = 0.5
EPSILON = 1e-3  # of a variance, whose root has no slope at 0
CLIPS_PER_COMPOSER = 6  # in a batch
LEARNING_RATE, WEIGHT_DECAY = 3e-3, 0.1


def build(n_frames, features, n_composers):
    """The network: from clips to embeddings, with the cosine to each composer's direction beside.

    Returns
    -------
    keras.Model
        From (batch, n_frames, N_BINS), float32, to (batch, SIZE + n_composers).
    """
    import keras

    inputs = keras.Input((n_frames, N_BINS))
    towers = [_tower(inputs[:, :, slice(*BANDS[name])], name) for name in FEATURES[features]]
    joined = keras.layers.Concatenate()(towers) if len(towers) > 1 else towers[0]
    hidden = keras.layers.Dense(HIDDEN, use_bias=False, name="hidden")(keras.layers.Dropout(DROPOUT)(joined))
    hidden = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9, name="hidden_scaled")(hidden))
    place = keras.layers.Dense(SIZE, name="place")(keras.layers.Dropout(DROPOUT)(hidden))
    unit = keras.layers.UnitNormalization()(place)
    towards = keras.layers.Dense(
        n_composers, use_bias=False, kernel_constraint=keras.constraints.UnitNorm(axis=0), name="directions"
    )(unit)
    return keras.Model(inputs, keras.layers.Concatenate()([unit, towards]))


def _tower(x, name):
    """Mean and spread over time of the input and of a convolution: few weights, as there are few pieces."""
    from keras import layers, ops

    x = layers.BatchNormalization(momentum=0.9, name=f"{name}_scaled")(x)
    y = layers.Conv1D(FILTERS, KERNEL, STRIDE, "same", use_bias=False, name=f"{name}_patterns")(x)
    y = layers.ReLU()(layers.BatchNormalization(momentum=0.9, name=f"{name}_patterns_scaled")(y))
    spread = [ops.sqrt(ops.var(values, axis=1) + EPSILON) for values in (x, y)]
    pooled = layers.Concatenate()([*(layers.GlobalAveragePooling1D()(values) for values in (x, y)), *spread])
    # Means of clips differ far less than frames do, whose scale the first normalisation is.
    return layers.BatchNormalization(momentum=0.9, name=f"{name}_pooled_scaled")(pooled)


def cross_entropy(labels, outputs):
    """The loss of a softmax over the composers, with smoothed labels; shapes (batch,) and (batch, SIZE + n)."""
    from keras import losses, ops

    n = outputs.shape[-1] - SIZE
    wanted = ops.one_hot(ops.cast(ops.reshape(labels, (-1,)), "int32"), n) * (1 - SMOOTHING) + SMOOTHING / n
    return losses.categorical_crossentropy(wanted, SCALE * outputs[:, SIZE:], from_logits=True)


def triplet(labels, outputs):
    """The batch-hard triplet loss of squared distances."""
    from keras import ops

    labels, place = ops.reshape(labels, (-1,)), outputs[:, :SIZE]
    distances = 2.0 - 2.0 * ops.matmul(place, ops.transpose(place))
    same = ops.equal(labels[:, None], labels[None, :])
    farthest = ops.max(ops.where(same, distances, -1.0), axis=1)
    nearest = ops.min(ops.where(same, 9.0, distances), axis=1)
    return ops.softplus((farthest - nearest + MARGIN) * 4.0) / 4.0


class Batches:
    """Clips in batches, each composer equally often, by number.

    With `augment`, for training, a clip starts at a random frame, and continues with its beginning after its end.

    Parameters
    ----------
    clips : np.ndarray, shape=(n_clips, n_versions, n_frames, n_bins), float16
    labels : np.ndarray, shape=(n_clips,), int
        The composer's number.
    seed : int
    augment : bool
    """

    def __init__(self, clips, labels, seed, augment):
        self.clips, self.labels, self.seed, self.augment = clips, labels, seed, augment

    def batch(self, number):
        """Inputs (n, n_frames, n_bins), float32, and labels (n,), int32, of a batch."""
        rng = np.random.default_rng([self.seed, number])
        of = [np.flatnonzero(self.labels == label) for label in np.unique(self.labels)]
        chosen = np.concatenate([rng.choice(each, CLIPS_PER_COMPOSER, len(each) < CLIPS_PER_COMPOSER) for each in of])
        versions = rng.integers(self.clips.shape[1], size=len(chosen))
        inputs = self.clips[chosen, versions].astype(np.float32)
        if self.augment:
            inputs = np.stack([np.roll(example, rng.integers(len(example)), axis=0) for example in inputs])
        return inputs, self.labels[chosen].astype(np.int32)


def fit(folder, network, training, validation, loss, steps, stride):
    """Train a network in a folder, or go on from its checkpoint."""
    import keras

    halves = {BOTH: [(cross_entropy, steps // 2), (triplet, steps)]}
    for function, last in halves.get(loss, [({CROSS_ENTROPY: cross_entropy, TRIPLET: triplet}.get(loss), steps)]):
        schedule = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)
        network.compile(loop.adam(schedule, "float32", weight_decay=WEIGHT_DECAY), function, jit_compile=on_jax())
        network.optimizer.build(network.trainable_variables)
        loop.fit(folder, network, training, validation, last, stride)


def embed(network, clips):
    """The embeddings of clips (n, n_frames, n_bins): shape (n, SIZE), float32, of length 1."""
    return np.concatenate(
        [np.asarray(network(clips[at : at + 64].astype(np.float32)))[:, :SIZE] for at in range(0, len(clips), 64)]
        or [np.zeros((0, SIZE), np.float32)]
    )
