"""Training on several GPUs of a machine, or on several machines, through TensorFlow's `tf.distribute`. Used by 04.

Each device has its own copy of the network, a replica, and its own share of every batch. TensorFlow sums the gradients
of all replicas before each step, so that the copies stay equal; and whatever depends on a whole batch (the loss, batch
normalisation, dropout) is computed over all shares. So the result is that of one device on the same batch, except for
the rounding of sums that are added in another order. `batch_size` is that of the whole batch.

- one device: Keras' own training step;
- several GPUs: TensorFlow's MirroredStrategy;
- several tasks of a Slurm job, one on each node: its MultiWorkerMirroredStrategy. Only a process that calls `join`
  takes part, as batch/worker.py does; anything else in such a job runs by itself.

The first task is the chief: only it writes into the model folder, and all tasks read what it has written.
"""

import contextlib
import logging
import os
import re
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from muscomp_lib.core.errors import MusCompError, SettingError
from muscomp_lib.models.runtime import on_jax, silence_stderr, start_tensorflow
from muscomp_lib.training.batches import PART

FIRST_PORT = 15000  # below the ephemeral ports
PORTS, PER_STEP = 250, 64  # job steps that have ports of their own, and tasks in each

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Steps:
    """The steps of a compiled network on a batch, or this process' share of it: both return the loss of the whole.

    Attributes
    ----------
    train : callable
        A training step.
    evaluate : callable
        Changes nothing.
    """

    train: Callable
    evaluate: Callable


class SingleProcess:
    """One process that trains on one device."""

    n_replicas = n_workers = 1
    worker = 0

    @property
    def is_chief(self):
        """Whether this process writes the model folder."""
        return self.worker == 0

    def scope(self):
        """The context that the network has to be built in."""
        return contextlib.nullcontext()

    def steps(self, model):
        """Keras' own steps. Metrics are reset: some versions of Keras return the mean since the last reset."""

        def run(step, *batch):
            model.reset_metrics()
            return float(step(*batch))

        return Steps(
            lambda *batch: run(model.train_on_batch, *batch),
            lambda *batch: run(model.test_on_batch, *batch),
        )

    def total(self, value):
        """The sum of a value over all processes, as a float. All processes wait for each other here."""
        return float(value)

    @contextlib.contextmanager
    def chief_first(self):
        """Let the chief finish the block before any other process starts it."""
        yield


class Team(SingleProcess):
    """Replicas that train together, in one process or several.

    Parameters
    ----------
    strategy : tf.distribute.Strategy
    worker, n_workers : int
        The number of this process, from 0, and how many there are.
    """

    def __init__(self, strategy, worker=0, n_workers=1):
        self._strategy, self.worker, self.n_workers = strategy, worker, n_workers
        self.n_replicas = strategy.num_replicas_in_sync

    def scope(self):
        """The context that the network has to be built in."""
        return self._strategy.scope()

    def steps(self, model):
        """Steps on all replicas."""
        import tensorflow as tf

        def train(mix, instruments):
            with tf.GradientTape() as tape:
                loss = model.loss(instruments, model(mix, training=True))
                share = model.optimizer.scale_loss(loss / self.n_replicas)  # gradients will be summed
            gradients = tape.gradient(share, model.trainable_variables)
            model.optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
            return loss

        def evaluate(mix, instruments):
            return model.loss(instruments, model(mix, training=False))

        return Steps(self._on_all(train), self._on_all(evaluate))

    def _on_all(self, step):
        """A replica's step as a function of this process' batch, which returns the mean over all replicas."""
        import tensorflow as tf

        @tf.function
        def run(*shares):
            return self._strategy.reduce("MEAN", self._strategy.run(step, shares), axis=None)

        return lambda *batch: float(run(*map(self._spread, batch)))

    def _spread(self, array):
        """Distribute the rows of an array, in equal shares, to the replicas of this process."""
        import tensorflow as tf

        n_here = self.n_replicas // self.n_workers
        shares = np.split(array, n_here)
        return self._strategy.experimental_distribute_values_from_function(
            lambda replica: tf.constant(shares[replica.replica_id_in_sync_group % n_here])
        )

    def total(self, value):
        """The sum of a value over all processes, as a float. All processes wait for each other here."""
        import tensorflow as tf

        if self.n_workers == 1:
            return float(value)
        number = tf.constant(float(value), tf.float64)  # 32 bits would round the step counts of many replicas
        own = self._strategy.experimental_distribute_values_from_function(lambda _: number)
        return float(self._strategy.reduce("SUM", own, axis=None)) * self.n_workers / self.n_replicas

    @contextlib.contextmanager
    def chief_first(self):
        """Let the chief finish the block before any other process starts it."""
        if not self.is_chief:
            self.total(0)
        try:
            yield
        finally:  # also on an error: the others will raise the same
            if self.is_chief:
                self.total(0)


SINGLE_PROCESS = SingleProcess()
_joined = SINGLE_PROCESS


def check(batch_size, n_replicas):
    """Make sure that replicas can share a batch.

    Raises
    ------
    SettingError
        Names the numbers of replicas and the batch sizes that are possible.
    """
    if n_replicas == 1 or batch_size % (n_replicas * PART) == 0:
        return
    possible = [n for n in range(1, n_replicas) if n == 1 or batch_size % (n * PART) == 0]
    raise SettingError(
        f"batch_size = {batch_size} cannot be divided among {n_replicas} GPUs or nodes: each needs the same number of "
        f"parts of {PART} examples. Give notebook 03 a multiple of {n_replicas * PART}, or train on "
        f"{' or '.join(map(str, possible))}."
    )


def joined():
    """The team that this process has joined; `SINGLE_PROCESS` if none."""
    return _joined


def team(batch_size):
    """The team that trains: the one that this process has joined, or all GPUs of this machine that can share a batch.

    On JAX it is one process on one device.

    Raises
    ------
    SettingError
        The joined team cannot share it.
    """
    if _joined is not SINGLE_PROCESS:
        check(batch_size, _joined.n_replicas)
        return _joined
    if on_jax():
        return SINGLE_PROCESS
    start_tensorflow()
    import tensorflow as tf

    devices = _devices()
    for number in range(len(devices), 1, -1):
        with contextlib.suppress(SettingError):
            check(batch_size, number)
            _warn_of_idle(devices[number:], batch_size)
            return Team(tf.distribute.MirroredStrategy(devices[:number]))
    _warn_of_idle(devices[1:], batch_size)
    return SINGLE_PROCESS


def _devices():
    """The names of this machine's GPUs."""
    import tensorflow as tf

    return [device.name for device in tf.config.list_logical_devices("GPU")]


def _warn_of_idle(devices, batch_size):
    if devices:
        log.warning(
            "%d GPUs are idle: batch_size = %d cannot be divided any further. Each takes %d examples or a multiple: "
            "give notebook 03 a larger batch_size.", len(devices), batch_size, PART,
        )  # fmt: skip


# ---- tasks of a Slurm job ----


def join():
    """Join the other tasks of this Slurm job step. Call it before anything else uses TensorFlow.

    Returns
    -------
    SingleProcess
        All tasks and their GPUs; `SINGLE_PROCESS` in a step of one task.

    Raises
    ------
    SettingError
        Not started by srun, or with several tasks on a node.
    """
    global _joined
    n_tasks, n_nodes = (int(os.environ.get(f"SLURM_STEP_NUM_{name}", 0)) for name in ("TASKS", "NODES"))
    if not n_tasks or n_tasks != n_nodes:
        raise SettingError(
            f"{n_tasks} tasks on {n_nodes} nodes cannot train together. Start this with srun, one task on each node: "
            "srun --ntasks-per-node=1."
        )
    if n_tasks > 1:
        with silence_stderr():
            import tensorflow as tf

            resolver = _resolver(tf, len(tf.config.list_physical_devices("GPU")))
            strategy = tf.distribute.MultiWorkerMirroredStrategy(resolver)
        _joined = Team(strategy, resolver.task_id, n_tasks)
    return _joined


def _resolver(tf, n_gpus):
    """TensorFlow's resolver for Slurm, corrected where it does not fit one task on each node."""

    class Tasks(tf.distribute.cluster_resolver.SlurmClusterResolver):
        def __init__(self):
            one = max(1, n_gpus)  # with 0 it would create no tasks
            super().__init__(gpus_per_node=one, gpus_per_task=one, auto_set_gpu=False)
            self._addresses = [f"{_address(node)}:{_port(rank)}" for rank, node in enumerate(self._resolve_hostlist())]

        def cluster_spec(self):
            """In Slurm's order: the base class sorts nodes as text, node10 before node9."""
            self.task_type, self.task_id = "worker", self._rank
            return tf.train.ClusterSpec({"worker": self._addresses})

        def num_accelerators(self, *_, **__):
            return {"GPU": n_gpus}

    return Tasks()


def _port(rank):
    """The port of a task, computed alike by all; different for each task, as nodes may share a machine."""
    own = os.environ.get("SLURM_SRUN_COMM_PORT") or os.environ["SLURM_JOB_ID"]  # srun's port is unique meanwhile
    return FIRST_PORT + PER_STEP * (int(own) % PORTS) + rank % PER_STEP


def _address(node):
    """The address of a node: that of its host name in DNS, or else the one in Slurm's configuration."""
    with contextlib.suppress(OSError):
        return socket.gethostbyname(node)
    done = subprocess.run(["scontrol", "show", "node", node, "--oneliner"], capture_output=True, text=True, check=False)
    found = re.search(r"\bNodeAddr=(\S+)", done.stdout)
    if not found:
        raise MusCompError(
            f"The node {node} has no address, neither in DNS nor in Slurm ({done.stderr.strip()}). Exclude this node, "
            "or train on one."
        )
    return found[1]
