"""Notebook 03: what training will take on this machine, from a few steps with random spectrograms."""

import logging
import multiprocessing
import re
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from muscomp_lib.core.settings import check_value, whole
from muscomp_lib.models import registry
from muscomp_lib.models.runtime import start_tensorflow
from muscomp_lib.training import strategy
from muscomp_lib.training.loop import compiled, make_deterministic, variables

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trial:
    """What a few steps took on this machine.

    Attributes
    ----------
    step_seconds : float
        A training step, without the preparation of its examples, which happens in parallel.
    weights_bytes, save_bytes : int
        On disk: the trained network; a checkpoint.
    memory_bytes : int or None
        Peak memory of the process, or of the GPU where there is one; None where the system does not report it.
    """

    step_seconds: float
    weights_bytes: int
    save_bytes: int
    memory_bytes: int | None


def try_out(config, steps=3):
    """Time a few training steps with random spectrograms, to predict what training takes on this machine.

    They run in a process of their own, which returns all memory, and may run out of it without harm.

    Parameters
    ----------
    config : dict
        As `config.read_config` returns it.
    steps : int
        How many to time, from 1; the median counts.

    Returns
    -------
    Trial or None
        None, and a warning, where the network does not fit into memory.

    Raises
    ------
    SettingError
        `steps` is not possible.
    """
    check_value("steps", whole(1), steps)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            trial = pool.submit(_trial, config, steps).result()
        except BrokenProcessPool:  # the system ends a process that takes more than there is
            trial = None
    if trial is None:
        log.warning("A step of %d examples does not fit into this machine's memory.", config["batch_size"])
    return trial


def _trial(config, steps):
    start_tensorflow()
    import tensorflow as tf

    make_deterministic()
    try:
        team = strategy.team(config["batch_size"])
        with team.scope():
            model = compiled(config)
        step = team.steps(model).train
        seconds = [_seconds_of_a_step(step, *_random_batch(config)) for _ in range(steps + 1)]
    except (MemoryError, tf.errors.ResourceExhaustedError):
        return None
    return Trial(
        statistics.median(seconds[1:]),  # the first also compiles the network
        sum(np.asarray(weight).nbytes for weight in model.weights),
        sum(np.asarray(variable).nbytes for variable in variables(model)),
        _peak_memory(tf),
    )


def _random_batch(config):
    n_channels = registry.network(config).training_channels
    shape = (config["batch_size"], config["muscomp"]["crop_frames"], config["F"], n_channels)
    instruments = np.random.default_rng(0).random((*shape, len(config["instrument_list"])), np.float32)
    return instruments.sum(axis=-1), instruments


def _seconds_of_a_step(step, mix, instruments):
    began = time.perf_counter()
    step(mix, instruments)
    return time.perf_counter() - began


def _peak_memory(tf):
    if tf.config.list_physical_devices("GPU"):
        return tf.config.experimental.get_memory_info("GPU:0")["peak"]
    status = Path("/proc/self/status")
    return 1024 * int(re.search(r"VmHWM:\s*(\d+) kB", status.read_text())[1]) if status.is_file() else None
