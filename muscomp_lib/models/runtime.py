"""TensorFlow's start, precision and replicas. Used by everything that runs a network.

Keras and TensorFlow take seconds to import, so every function here and in the other modules imports them when called.
"""

import contextlib
import os
from functools import cache


@cache
def start_tensorflow():
    """Import TensorFlow without the messages that it prints while it starts."""
    with silence_stderr():
        import tensorflow as tf

        tf.constant(0.0)  # the first tensor brings the last of the messages


@contextlib.contextmanager
def silence_stderr():
    """Discard what is written to standard error, also by C++ code, before TensorFlow reads any log level."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # later messages: graphs that it could not optimise further
    stderr, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(null)


@contextlib.contextmanager
def precision(policy):
    """Build layers with a Keras dtype policy: "float32", "mixed_bfloat16" or "mixed_float16"."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def n_replicas():
    """The number of copies in which a network built now will be trained (training/strategy.py)."""
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def replica_mean(x):
    """Inside a training step, the mean of a scalar tensor over all replicas; on one device the tensor itself."""
    import tensorflow as tf

    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return x
    return replica.all_reduce(tf.distribute.ReduceOp.MEAN, x)
