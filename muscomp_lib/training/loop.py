"""The training loop: steps, validation, checkpoints, and resuming after being killed. Used by 04.

Every so many steps the weights, the optimizer's state and the step are saved together, batches are functions of the
step, and TensorFlow is set to be deterministic: the result is the same, byte for byte, as without the interruption.
A request to stop (Ctrl-C, Jupyter's button, a batch job whose time is nearly up) loses not even the last step. Keras'
`BackupAndRestore` saves at the end of an epoch only, and not the history, so the loop is our own.
"""

import contextlib
import csv
import json
import logging
import signal
import threading
from pathlib import Path

import numpy as np

from muscomp_lib.core.errors import MusCompError, SettingError, StoppedError
from muscomp_lib.core.files import remove, written_whole
from muscomp_lib.core.progress import bar
from muscomp_lib.models import registry
from muscomp_lib.models.runtime import start_tensorflow
from muscomp_lib.models.weights import CONFIG, HISTORY, read_arrays, write_arrays
from muscomp_lib.training import batches
from muscomp_lib.training.strategy import SINGLE_PROCESS

CHECKPOINT, PREVIOUS = "checkpoint.npz", "checkpoint-before.npz"
HISTORY_COLUMNS = ["step", "loss", "validation_loss"]
VALIDATION_BATCHES = 8

log = logging.getLogger(__name__)


def check_resumable(folder, settings, fresh=False, read=None, paths=()):
    """Make sure that training can resume in a model folder: that it was started with the same settings, or not at all.

    Parameters
    ----------
    folder : Path
    settings : dict
        The network, the data and the schedule.
    fresh : bool
        Discard what an earlier run has learned.
    read : callable, optional
        Reads the folder's `config.json`; without it, the file is taken as it is.
    paths : sequence of str
        Settings that may differ, because they say only where things are.

    Raises
    ------
    SettingError
        It was started with another network, other data or another schedule.
    """
    if fresh:
        remove(folder)
    file = folder / CONFIG
    if not file.exists():
        return
    before = read(file) if read else json.loads(file.read_text(encoding="utf-8"))
    different = [key for key in settings if key not in paths and before.get(key) != settings[key]]
    if different:
        changes = "; ".join(f"{key}: {before.get(key)!r} then, {settings[key]!r} now" for key in different)
        raise SettingError(
            f"{folder} was started with other settings ({changes}). Give the new model another name, or train with "
            "fresh=True to start over."
        )


def make_deterministic():
    """Import TensorFlow and set it to compute the same each time."""
    start_tensorflow()
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()


def adam(schedule, precision, **options):
    """The optimizer Adam for a learning rate and a precision.

    Gradients underflow in half precision, so losses are scaled up, and gradients down again.
    """
    import keras

    optimizer = keras.optimizers.Adam(schedule, **options)
    return keras.optimizers.LossScaleOptimizer(optimizer) if precision == "mixed_float16" else optimizer


def compiled(settings):
    """The network with its loss and Adam, whose learning rate falls to zero along a cosine: a keras.Model."""
    import keras

    network = registry.network(settings)
    schedule = keras.optimizers.schedules.CosineDecay(settings["learning_rate"], settings["train_max_steps"])
    precision = settings["muscomp"].get("precision", "float32")
    optimizer = adam(schedule, precision)
    model = network.training_model(precision)
    model.compile(optimizer=optimizer, loss=network.loss, jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    return model


def fit(folder, model, training, validation, last, stride, snapshots=None, team=SINGLE_PROCESS):
    """Train from the folder's checkpoint to the last step; validate and save on the way.

    Parameters
    ----------
    folder : Path
        For the checkpoint and `history.csv`.
    model : keras.Model
        Compiled.
    training, validation : object with batch(number)
        Inputs and targets by number, as `batches.Examples` makes them; of each batch, this process' share.
    last, stride : int
        The last step; steps from one checkpoint to the next.
    snapshots : callable, optional
        Called with the step before each checkpoint at a stride; also with steps that are repeated, because a checkpoint
        was lost.
    team : strategy.SingleProcess
        The processes that train together. All have to call this; only the chief writes, and calls `snapshots`.

    Raises
    ------
    StoppedError
        This process, or another of the team, was asked to stop (SIGINT), and the chief has saved.
    MusCompError
        Not all of the team find the same checkpoint.
    """
    done, history = _restore(folder, model)
    _check_same_step(folder, done, team)
    checks = [validation.batch(number) for number in range(VALIDATION_BATCHES)]
    steps, save = team.steps(model), _save if team.is_chief else _save_nothing
    counted = bar(total=last, initial=done, unit="step", desc="training")
    with defer_interrupt() as interrupted, counted as progress:
        for step, batch in enumerate(batches.prefetch(training, range(done, last)), start=done + 1):
            loss = steps.train(*batch)
            progress.update()
            stop = team.total(interrupted.is_set()) > 0
            if step % stride == 0 or step == last:
                validation_loss = sum(steps.evaluate(*check) for check in checks) / len(checks)
                history.append([step, loss, validation_loss])
                progress.set_postfix(loss=f"{loss:.4f}", validation=f"{validation_loss:.4f}", refresh=False)
                if snapshots and team.is_chief:
                    snapshots(step)
                save(folder, model, step, history)
            elif stop:
                save(folder, model, step, history)
            if stop and step < last:
                team.total(0)  # nobody leaves before all is saved
                raise StoppedError(f"Stopped, and saved after step {step} of {last}. Run this again to resume.")
    if team.is_chief:
        (folder / PREVIOUS).unlink(missing_ok=True)


def _check_same_step(folder, done, team):
    """Make sure that all of a team resume from the same step."""
    if team.total(done) != team.n_workers * done:
        raise MusCompError(
            f"Not all machines find the same checkpoint in {folder}; this one, step {done}. The folder must be on a "
            "disk that all of them share. Start this again, or move the root there."
        )


def _save_nothing(*_):
    """What all do but the chief."""


@contextlib.contextmanager
def defer_interrupt():
    """Turn SIGINT into an event, so that a step is finished and saved; a second SIGINT interrupts at once."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # signals arrive only there
        yield interrupted
        return
    before = signal.getsignal(signal.SIGINT)

    def defer(*_):
        interrupted.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, defer)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)


def _save(folder, model, step, history):
    """Save the history first: on resuming, rows later than the checkpoint are dropped.

    The previous checkpoint stays until the next one: a disk that is full, or loses data, costs one stride.
    """
    write_history(folder, history)
    if (folder / CHECKPOINT).exists():
        (folder / CHECKPOINT).replace(folder / PREVIOUS)
    state = {f"variable_{i}": np.asarray(variable) for i, variable in enumerate(variables(model))}
    write_arrays(folder / CHECKPOINT, state | {"step": np.array(step)})


def _restore(folder, model):
    """Put a checkpoint's state into the model; the step it was saved at, and the history up to there."""
    state = _checkpoint(folder)
    if state is None:
        return 0, []
    for i, variable in enumerate(variables(model)):
        variable.assign(state[f"variable_{i}"])
    step = int(state["step"])
    return step, [row for row in read_history(folder) if row[0] <= step]


def _checkpoint(folder):
    """The latest checkpoint; where it cannot be read, the previous one; None where there is none."""
    found = [path for path in (folder / CHECKPOINT, folder / PREVIOUS) if path.exists()]
    for path in found:
        try:
            return read_arrays(path)
        except SettingError as error:
            if path == found[-1]:
                raise
            log.warning("%s Training resumes from the previous checkpoint.", error)
    return None


def variables(model):
    """All that training changes: the network's weights and the optimizer's state."""
    return [*model.variables, *model.optimizer.variables]


def write_history(folder, history):
    """Write `history.csv`: rows of [step, loss, validation loss]."""
    with written_whole(folder / HISTORY) as part, part.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(HISTORY_COLUMNS)
        rows.writerows(history)


def read_history(folder):
    """Rows of `history.csv`: [step, loss, validation loss]."""
    with (Path(folder) / HISTORY).open(newline="") as file:
        rows = csv.reader(file)
        next(rows)
        return [[int(step), float(loss), float(validation)] for step, loss, validation in rows]
