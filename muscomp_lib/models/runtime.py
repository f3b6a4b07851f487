"""What computes a network: LiteRT on a CPU, TensorFlow or JAX on a GPU and in training. Used by all that runs one.

Keras and TensorFlow take seconds to import, so every function here and in the other modules imports them when called.
LiteRT (litert.py) computes the same without them.
"""

import contextlib
import os
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from muscomp_lib.models.weights import set_weights

DEVICES = Path("/dev")
GPU_FILES = ("nvidia[0-9]*", "kfd", "dxg")  # of CUDA, of ROCm, and of either in Windows' Linux
HIDES_GPUS = "CUDA_VISIBLE_DEVICES"  # an environment variable
BACKEND = "KERAS_BACKEND"  # the same: "jax" trains on JAX, for machines whose GPU TensorFlow cannot use


def on_jax():
    """Whether Keras computes with JAX in this process, instead of TensorFlow."""
    return os.environ.get(BACKEND) == "jax"


@cache
def start_tensorflow():
    """Import TensorFlow without the messages that it prints while it starts; on JAX it is not needed."""
    if on_jax():
        return
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
    if on_jax():
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def replica_mean(x):
    """Inside a training step, the mean of a scalar tensor over all replicas; on one device the tensor itself."""
    if on_jax():
        return x
    import tensorflow as tf

    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return x
    return replica.all_reduce(tf.distribute.ReduceOp.MEAN, x)


class Computation(NamedTuple):
    """A network as it is used, apart from its weights.

    name : str
        Of the network type.
    key : values for JSON
        All that the result depends on, but the weights.
    modules : tuple of str
        Those whose code defines the network.
    shapes : tuple of tuple of int
        Of each input, without the batch: LiteRT takes no other.
    build : callable
        To the Keras model.
    call : callable
        From the Keras model and the inputs to a tensor, of shape (batch, ...).
    constants : callable
        From weights by name to an equivalent mapping, in which each is what a network computes with, where that is not
        the weight itself.
    """

    name: str
    key: object
    modules: tuple
    shapes: tuple
    build: Callable
    call: Callable
    constants: Callable = dict


def load(computation, values, where):
    """A computation with its weights.

    Parameters
    ----------
    computation : Computation
    values : mapping of str to np.ndarray
        As `weights.read_weights` returns them.
    where : str or Path
        Their source, for messages.

    Returns
    -------
    callable
        From arrays, each of shape (n_examples, ...), to one, float32. Several threads may call it.

    Raises
    ------
    SettingError
        The weights belong to another network.
    """
    if on_jax():
        return compiled_by_jax(computation, values, where)
    graph = find_graph(computation)
    return graph.runner(computation, values, where) if graph else on_tensorflow(computation, values, where)


def compiled_by_jax(computation, values, where):
    """As `load`, on JAX.

    It compiles for one number of examples at a time: that of the first call, or of a later one with more, to which all
    calls are filled up.
    """
    import jax

    model, most, lock = computation.build(), 0, threading.Lock()  # or each thread compiles
    set_weights(model, values, where)
    run = jax.jit(lambda *inputs: computation.call(model, *inputs))

    def fill(array):
        return np.pad(np.float32(array), ((0, most - len(array)), *((0, 0) for _ in array.shape[1:])))

    def filled(*inputs):
        nonlocal most
        n_examples = len(inputs[0])
        with lock:
            most = max(most, n_examples)
            output = run(*map(fill, inputs))  # it goes on in the background
        return np.asarray(output)[:n_examples]

    return filled


def find_graph(computation):
    """The graph with which LiteRT computes this; None where TensorFlow does: for a GPU, and where LiteRT cannot be."""
    from muscomp_lib.models import litert  # it needs this module

    return litert.find(computation) if litert.installed() and not has_gpu() else None


def has_gpu():
    """Whether this machine seems to have a GPU that TensorFlow could use: to import it, and be sure, takes seconds."""
    if os.environ.get(HIDES_GPUS) in ("", "-1"):
        return False
    return any(any(DEVICES.glob(name)) for name in GPU_FILES)


def share_gpu():
    """Allocate GPU memory as it is needed instead of all of it at once."""
    start_tensorflow()
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:  # TensorFlow uses it already: then it stays as it is
            return


def on_tensorflow(computation, values, where):
    """As `load`, on TensorFlow."""
    share_gpu()
    import tensorflow as tf

    model = computation.build()
    set_weights(model, values, where)

    @tf.function(input_signature=[tf.TensorSpec((None, *shape)) for shape in computation.shapes])
    def run(*inputs):
        return computation.call(model, *inputs)

    return lambda *inputs: run(*(tf.constant(array, tf.float32) for array in inputs)).numpy()
