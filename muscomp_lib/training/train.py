"""Notebook 04: train a network from the two files of notebook 03, the table and the configuration.

Training can be killed at any moment and started again: every `save_checkpoints_steps` steps the weights, the
optimizer's state and the step are saved together, examples are functions of the step, and TensorFlow is told to be
deterministic, so that the model is the same, byte for byte, as if nothing had happened.

The model folder holds `config.json`, `history.csv` (step, loss, validation_loss), `masks.npz` (how masks got better,
watching.py), `checkpoint.npz` (to go on from) and the finished weights: for our own networks `weights.npz`, by name,
as NumPy reads it; for Spleeter's networks a checkpoint of Spleeter's own, so that `spleeter separate -p
<folder>/config.json` uses the model as it is.

With `engine="spleeter"` the real Spleeter trains. Ours takes all GPUs, and several machines (distribution.py).
"""

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

from muscomp_lib.core.errors import MissingError, SettingError
from muscomp_lib.core.files import clean_parts
from muscomp_lib.dataset.song_table import read_songs
from muscomp_lib.models import config as configs
from muscomp_lib.models import shared_unet, unet
from muscomp_lib.models.unet import CONFIG, HISTORY, WEIGHTS
from muscomp_lib.separation import songs
from muscomp_lib.spleeter import checkpoint
from muscomp_lib.spleeter import engine as spleeter_engine
from muscomp_lib.training import batches, mask_snapshots, strategy
from muscomp_lib.training.loop import (
    CHECKPOINT,
    adam,
    learn,
    make_deterministic,
    read_history,
    settle,
    variables,
    write_history,
)

PLACES = ("train_csv", "validation_csv", "model_dir", "training_cache", "validation_cache")

log = logging.getLogger(__name__)


def train(config, root, fresh=False, engine="muscomp", start_from=None):
    """Train the network that a configuration describes, or go on where an earlier run stopped.

    Parameters
    ----------
    config : str or Path
        A configuration file, or its name in the root's `configs` folder.
    root : drive.Root
    fresh : bool
        Throw away what an earlier run with this configuration's name has learnt.
    engine : {"muscomp", "spleeter"}
    start_from : str or Path, optional
        A model of our own whose weights to start from, with the same network and instruments: its name, its folder, or
        "shipped". It overrides the configuration's `muscomp.start_from`.

    Returns
    -------
    Path
        The model folder.

    Raises
    ------
    MissingError, SettingError
        No such configuration or table; a wrong value in it; a model folder begun with other settings.
    """
    configs.check_engine(engine)
    settings = configs.read(find_config(config, root))
    if start_from is not None:
        settings["muscomp"]["start_from"] = str(start_from)
    folder, team = _model_folder(settings, root), strategy.joined()
    with team.chief_first():
        settle(folder, settings, fresh and team.is_chief, configs.read, PLACES)
        if _is_finished(folder, settings):
            log.info("%s is trained already.", folder)
            return folder
        run = {"muscomp": _ours, "spleeter": _spleeters}[engine](folder, settings, root)
        if team.is_chief:
            folder.mkdir(parents=True, exist_ok=True)
            clean_parts(folder)
            configs.write(folder / CONFIG, settings)
    run()
    return folder


def _ours(folder, settings, root):
    """Make sure that our own training can start, and return what starts it."""
    if settings.get("optimizer", "Adam") != "Adam":
        raise SettingError(f"optimizer = {settings['optimizer']!r} is for engine='spleeter' only. Ours is Adam.")
    strategy.check(settings["batch_size"], strategy.joined().n_replicas)
    if (folder / checkpoint.STATE).exists():
        raise SettingError(f"{folder} was begun by the real Spleeter. {_GO_ON.format('spleeter')}")
    if settings["model"]["type"] in configs.SPLEETER_TYPES:
        checkpoint.require_spleeters_network(settings)
    learnt, validation = examples(settings, root)
    first = _first_weights(settings, root)
    return lambda: _run(folder, settings, learnt, validation, first)


def _first_weights(settings, root):
    """The weights file of the model to start from; None for fresh weights."""
    start_from = settings["muscomp"].get("start_from")
    if start_from is None:
        return None
    weights = songs.model_path(start_from, root) / WEIGHTS
    if not weights.is_file():
        raise MissingError(f"There is no model of our own to start from: {weights} is not there. Check start_from.")
    unet.set_weights(unet.build(_heard(settings)), unet.read_arrays(weights), weights)  # refused now, not in an hour
    return weights


def _spleeters(folder, settings, root):
    """Make sure that the real Spleeter's training can start, and return what starts it."""
    if strategy.joined().n_workers > 1:
        raise SettingError("The real Spleeter trains on one machine. Ask for one node, or take engine='muscomp'.")
    if settings["muscomp"].get("start_from") is not None:
        raise SettingError("start_from is for engine='muscomp' only: the real Spleeter starts with fresh weights.")
    if (folder / CHECKPOINT).exists():
        raise SettingError(f"{folder} was begun by our own training. {_GO_ON.format('muscomp')}")
    rows = spleeter_engine.train(settings, folder, root)

    def run():
        done = spleeter_engine.checkpoint_step(folder)
        history = [row for row in read_history(folder) if row[0] <= done] if (folder / HISTORY).exists() else []
        for row in rows:
            history.append(row)
            write_history(folder, history)

    return run


_GO_ON = "Go on with engine={!r}, or start over with fresh=True."


def find_config(config, root):
    """The path of a configuration given by path or by its name in the root's `configs` folder."""
    path = Path(config)
    return path if path.suffix == ".json" else root.configs / f"{config}.json"


def _model_folder(settings, root):
    folder = Path(settings["model_dir"])
    return folder if folder.is_absolute() else root.models / folder


def _is_finished(folder, settings):
    """Whether the folder holds the weights of the last step: Spleeter's own training saves them on the way, too."""
    if (folder / WEIGHTS).exists():
        return True
    if not (folder / checkpoint.STATE).exists():
        return False
    return checkpoint.Checkpoint(folder, settings).step >= settings["train_max_steps"]


def examples(settings, root):
    """The examples to learn from, and those to validate with, which are taken from their songs as they are.

    Parameters
    ----------
    settings : dict
        A configuration.
    root : drive.Root

    Returns
    -------
    learnt, validation : dataset.Examples
    """
    n_channels = 1 if unet.hears_one_channel(settings) else settings["n_channels"]
    songs = read_songs(root, settings["train_csv"], settings)
    held_out = read_songs(root, settings["validation_csv"], settings)
    learnt = batches.Examples(songs, settings, n_channels, remix=settings["muscomp"]["remix"])
    return learnt, batches.Examples(held_out, settings, n_channels, remix=False)


def _run(folder, settings, learnt, validation, first):
    """The training loop: learn for a while, validate, save; until the last step."""
    make_deterministic()
    team = strategy.team(settings["batch_size"])
    with team.scope():
        model = compiled(settings)
    if first:
        unet.set_weights(model, unet.read_arrays(first), first)
    last = settings["train_max_steps"]
    learnt, validation = (each.share(team.worker, team.n_workers) for each in (learnt, validation))
    watch = mask_snapshots.Watch(folder, model, settings, validation.batch(0))
    learn(folder, model, learnt, validation, last, settings["save_checkpoints_steps"], watch, team)
    if team.is_chief:
        _write_weights(folder, settings, model, last)
    team.total(0)  # nobody leaves before all is written


def _write_weights(folder, settings, model, last):
    if settings["model"]["type"] in configs.SPLEETER_TYPES:
        checkpoint.write(folder, settings, unet.weights(model), last)
    else:
        unet.save_arrays(folder / WEIGHTS, unet.weights(model))


def compiled(settings):
    """The network with its loss and optimizer: Adam, with a learning rate that falls to zero along a cosine."""
    import keras

    schedule = keras.optimizers.schedules.CosineDecay(settings["learning_rate"], settings["train_max_steps"])
    precision = settings["muscomp"].get("precision", "float32")
    optimizer = adam(schedule, precision)
    model, loss = unet.build(_heard(settings), precision), magnitude_distance
    if unet.hears_one_channel(settings):
        model, loss = shared_unet.in_bands(model), mask_cross_entropy
    model.compile(optimizer=optimizer, loss=loss, jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    return model


def _heard(settings):
    """The settings of the network as it is trained."""
    return settings | {"n_channels": 1} if unet.hears_one_channel(settings) else settings


def magnitude_distance(instruments, amounts):
    """Spleeter's loss: the mean absolute difference of magnitudes, summed over instruments.

    Both arguments: (batch, T, F, n_channels, n_instruments), float32.
    """
    from keras import ops

    return ops.sum(ops.mean(ops.abs(instruments - amounts), axis=(0, 1, 2, 3)))


def mask_cross_entropy(instruments, masks):
    """How far the masks are from the ideal ones, each point of the spectrogram weighted by its magnitude.

    The ideal mask is an instrument's share of the total magnitude; times the weight, that is its magnitude. Unlike a
    distance between magnitudes, this does not let quiet and rare instruments collapse to silence.

    Parameters
    ----------
    instruments : shape=(batch, T, F, 1, n_instruments), float32
        True magnitudes.
    masks : shape=(batch, T, n_bands, n_instruments), float32
        They sum to one over instruments.
    """
    from keras import ops

    magnitudes = shared_unet.sums_in_bands(instruments[:, :, :, 0])
    total = strategy.over_replicas(ops.sum(magnitudes))  # so that the mean of the replicas' losses is the batch's
    return -ops.sum(magnitudes * ops.log(masks + 1e-7)) / (total + 1e-7)


# ---- before training ----


@dataclass(frozen=True)
class Trial:
    """What a few steps took on this machine.

    Attributes
    ----------
    step_seconds : float
        A step of the network, without the making of its examples, which goes on meanwhile.
    weights_bytes, save_bytes : int
        On disk: the trained network; what is saved to go on from.
    memory_bytes : int or None
        The most that the process held, or on a GPU the most that lay there; None where the system does not say.
    """

    step_seconds: float
    weights_bytes: int
    save_bytes: int
    memory_bytes: int | None


def try_out(config, steps=3):
    """Take a few training steps with random spectrograms, to foretell what training takes on this machine.

    They are taken in a process of their own, which gives all memory back, and may run out of it without harm.

    Parameters
    ----------
    config : dict
        As `config.read` gives it.
    steps : int
        How many to time, from 1; the median counts.

    Returns
    -------
    Trial or None
        None, and a warning, where the network does not fit into memory.

    Raises
    ------
    SettingError
        When `steps` is not possible.
    """
    if not (type(steps) is int and steps >= 1):
        raise SettingError(f"steps = {steps!r} is not possible: give a whole number from 1.")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            trial = pool.submit(_trial, config, steps).result()
        except BrokenProcessPool:  # the system ends a process that takes more than there is
            trial = None
    if trial is None:
        log.warning("A step of %d examples does not fit into this machine's memory.", config["batch_size"])
    return trial


def _trial(config, steps):
    unet.start_tensorflow()
    import tensorflow as tf

    make_deterministic()
    try:
        team = strategy.team(config["batch_size"])
        with team.scope():
            model = compiled(config)
        take = team.steps(model).learn
        seconds = [_seconds_of_a_step(take, *_random_batch(config)) for _ in range(steps + 1)]
    except (MemoryError, tf.errors.ResourceExhaustedError):
        return None
    return Trial(
        statistics.median(seconds[1:]),  # the first also compiles the network
        sum(np.asarray(weight).nbytes for weight in model.weights),
        sum(np.asarray(variable).nbytes for variable in variables(model)),
        _most_memory(tf),
    )


def _random_batch(config):
    n_channels = 1 if unet.hears_one_channel(config) else config["n_channels"]
    shape = (config["batch_size"], config["muscomp"]["crop_frames"], config["F"], n_channels)
    instruments = np.random.default_rng(0).random((*shape, len(config["instrument_list"])), np.float32)
    return instruments.sum(axis=-1), instruments


def _seconds_of_a_step(take, mix, instruments):
    began = time.perf_counter()
    take(mix, instruments)
    return time.perf_counter() - began


def _most_memory(tf):
    if tf.config.list_physical_devices("GPU"):
        return tf.config.experimental.get_memory_info("GPU:0")["peak"]
    status = Path("/proc/self/status")
    return 1024 * int(re.search(r"VmHWM:\s*(\d+) kB", status.read_text())[1]) if status.is_file() else None
