"""Training on several GPUs of a machine, or on several machines, through TensorFlow's `tf.distribute`. Used by 04.

Each device has its own copy of the network, a replica, and its own share of every batch. TensorFlow adds up the
gradients of all replicas before each step, so that the copies stay alike; and whatever looks at a batch as a whole
(the loss, batch normalisation, dropout) looks at all shares. So the network learns what one device would learn from the
same batch, but for the rounding of sums that are added in another order. `batch_size` is that of the whole batch.

- one device: nothing of all this, Keras takes the steps;
- several GPUs: TensorFlow's MirroredStrategy;
- several tasks of a Slurm job, one on each node: its MultiWorkerMirroredStrategy. Only who calls `join` takes part, as
  batch/worker.py does: whatever else runs in such a job works for itself.

The first task is the chief: it alone writes into the model folder, and all read what it has written.
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
from muscomp_lib.models import unet
from muscomp_lib.training.batches import PART

FIRST_PORT = 15000  # below those that systems hand out unasked
PORTS, PER_STEP = 250, 64  # so many steps of jobs have ports of their own, for so many tasks each

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Steps:
    """What can be done with a compiled network and a batch (or this process' share): both give the loss of the whole.

    Attributes
    ----------
    learn : callable
        Takes a training step.
    loss : callable
        Changes nothing.
    """

    learn: Callable
    loss: Callable


class Alone:
    """One process that trains on one device."""

    n_replicas = n_workers = 1
    worker = 0

    @property
    def is_chief(self):
        """Whether this process is the one that writes."""
        return self.worker == 0

    def scope(self):
        """What the network has to be built in."""
        return contextlib.nullcontext()

    def steps(self, model):
        """Keras' own steps. Each loss by itself: some versions average all since the last reset, others do not."""

        def by_itself(take, *batch):
            model.reset_metrics()
            return float(take(*batch))

        return Steps(
            lambda *batch: by_itself(model.train_on_batch, *batch),
            lambda *batch: by_itself(model.test_on_batch, *batch),
        )

    def total(self, value):
        """The sum of what all processes give, as a float. All wait for each other here."""
        return float(value)

    @contextlib.contextmanager
    def chief_first(self):
        """Let the chief go through what follows before any other begins it."""
        yield


class Team(Alone):
    """Replicas that train together, of one process or of many.

    Parameters
    ----------
    strategy : tf.distribute.Strategy
    worker, n_workers : int
        This process, counted from 0, and how many there are.
    """

    def __init__(self, strategy, worker=0, n_workers=1):
        self._strategy, self.worker, self.n_workers = strategy, worker, n_workers
        self.n_replicas = strategy.num_replicas_in_sync

    def scope(self):
        """What the network has to be built in."""
        return self._strategy.scope()

    def steps(self, model):
        """Steps on all replicas."""
        import tensorflow as tf

        def learn(mix, instruments):
            with tf.GradientTape() as tape:
                loss = model.loss(instruments, model(mix, training=True))
                share = model.optimizer.scale_loss(loss / self.n_replicas)  # gradients will be added up
            gradients = tape.gradient(share, model.trainable_variables)
            model.optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
            return loss

        def loss(mix, instruments):
            return model.loss(instruments, model(mix, training=False))

        return Steps(self._on_all(learn), self._on_all(loss))

    def _on_all(self, step):
        """A step of one replica as a function of this process' batch, that gives the mean of all replicas."""
        import tensorflow as tf

        @tf.function
        def run(*shares):
            return self._strategy.reduce("MEAN", self._strategy.run(step, shares), axis=None)

        return lambda *batch: float(run(*map(self._spread, batch)))

    def _spread(self, array):
        """The rows of an array, in equal shares, to the replicas of this process."""
        import tensorflow as tf

        n_here = self.n_replicas // self.n_workers
        shares = np.split(array, n_here)
        return self._strategy.experimental_distribute_values_from_function(
            lambda replica: tf.constant(shares[replica.replica_id_in_sync_group % n_here])
        )

    def total(self, value):
        """The sum of what all processes give, as a float. All wait for each other here."""
        import tensorflow as tf

        if self.n_workers == 1:
            return float(value)
        number = tf.constant(float(value), tf.float64)  # of 32 bits, steps of many replicas would be rounded
        own = self._strategy.experimental_distribute_values_from_function(lambda _: number)
        return float(self._strategy.reduce("SUM", own, axis=None)) * self.n_workers / self.n_replicas

    @contextlib.contextmanager
    def chief_first(self):
        """Let the chief go through what follows before any other begins it."""
        if not self.is_chief:
            self.total(0)
        try:
            yield
        finally:  # also when it fails: the others will fail likewise, and say so
            if self.is_chief:
                self.total(0)


ALONE = Alone()
_joined = ALONE


def check(batch_size, n_replicas):
    """Make sure that replicas can share a batch.

    Raises
    ------
    SettingError
        Names how many replicas, and which sizes, are possible.
    """
    if n_replicas == 1 or batch_size % (n_replicas * PART) == 0:
        return
    possible = [n for n in range(1, n_replicas) if n == 1 or batch_size % (n * PART) == 0]
    raise SettingError(
        f"batch_size = {batch_size} cannot be shared by {n_replicas} GPUs or nodes: each takes as many whole parts of "
        f"{PART} examples as the others. Give notebook 03 a multiple of {n_replicas * PART}, or train on "
        f"{' or '.join(map(str, possible))}."
    )


def joined():
    """Those whom this process has joined; by itself, `ALONE`."""
    return _joined


def team(batch_size):
    """Who trains: those whom this process has joined, or all of this machine's GPUs that can share a batch.

    Raises
    ------
    SettingError
        Those joined cannot share it.
    """
    if _joined is not ALONE:
        check(batch_size, _joined.n_replicas)
        return _joined
    unet.start_tensorflow()
    import tensorflow as tf

    devices = _devices()
    for number in range(len(devices), 1, -1):
        with contextlib.suppress(SettingError):
            check(batch_size, number)
            _warn_of_idle(devices[number:], batch_size)
            return Team(tf.distribute.MirroredStrategy(devices[:number]))
    _warn_of_idle(devices[1:], batch_size)
    return ALONE


def _devices():
    """The names of this machine's GPUs."""
    import tensorflow as tf

    return [device.name for device in tf.config.list_logical_devices("GPU")]


def _warn_of_idle(devices, batch_size):
    if devices:
        log.warning(
            "%d GPUs have nothing to do: batch_size = %d cannot be shared out any further. Each takes %d examples or "
            "a multiple: give notebook 03 a larger batch_size.", len(devices), batch_size, PART,
        )  # fmt: skip


def over_replicas(x):
    """Within a step, the mean of a number over all replicas; on one device the number itself."""
    import tensorflow as tf

    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return x
    return replica.all_reduce(tf.distribute.ReduceOp.MEAN, x)


# ---- tasks of a Slurm job ----


def join():
    """Join the other tasks of this Slurm job step. To be called before anything else uses TensorFlow.

    Returns
    -------
    Alone
        All tasks and their GPUs; `ALONE` in a step of one task.

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
        with unet.without_notes():
            import tensorflow as tf

            resolver = _resolver(tf, len(tf.config.list_physical_devices("GPU")))
            strategy = tf.distribute.MultiWorkerMirroredStrategy(resolver)
        _joined = Team(strategy, resolver.task_id, n_tasks)
    return _joined


def _resolver(tf, n_gpus):
    """TensorFlow's own resolver for Slurm, mended where it does not fit one task on each node."""

    class Tasks(tf.distribute.cluster_resolver.SlurmClusterResolver):
        def __init__(self):
            one = max(1, n_gpus)  # of none, it would make no tasks
            super().__init__(gpus_per_node=one, gpus_per_task=one, auto_set_gpu=False)
            self._addresses = [f"{_address(node)}:{_port(rank)}" for rank, node in enumerate(self._resolve_hostlist())]

        def cluster_spec(self):
            """In Slurm's order: its own would sort the nodes as words, node10 before node9."""
            self.task_type, self.task_id = "worker", self._rank
            return tf.train.ClusterSpec({"worker": self._addresses})

        def num_accelerators(self, *_, **__):
            return {"GPU": n_gpus}

    return Tasks()


def _port(rank):
    """The port of a task: the same for all who compute it, another for each task, as nodes may share a machine."""
    own = os.environ.get("SLURM_SRUN_COMM_PORT") or os.environ["SLURM_JOB_ID"]  # srun's port is no other's meanwhile
    return FIRST_PORT + PER_STEP * (int(own) % PORTS) + rank % PER_STEP


def _address(node):
    """The address of a node: that of its name, or where its name is only Slurm's, the one that Slurm uses."""
    with contextlib.suppress(OSError):
        return socket.gethostbyname(node)
    done = subprocess.run(["scontrol", "show", "node", node, "--oneliner"], capture_output=True, text=True, check=False)
    found = re.search(r"\bNodeAddr=(\S+)", done.stdout)
    if not found:
        raise MusCompError(
            f"The node {node} has no address: neither its name nor scontrol ({done.stderr.strip()}) tells."
        )
    return found[1]
