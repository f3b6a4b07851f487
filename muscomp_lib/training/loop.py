"""The loop in which a network learns: steps, validation, saving, and going on after being killed. Used by 04.

Every so many steps the weights, the optimizer's state and the step are saved together, batches are functions of the
step, and TensorFlow is told to be deterministic: what comes out is the same, byte for byte, as if nothing had happened.
Who asks it to stop (Ctrl-C, Jupyter's button, a batch job whose time is nearly up) loses not even the last step.
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
from muscomp_lib.models import unet
from muscomp_lib.models.unet import CONFIG, HISTORY
from muscomp_lib.training import batches
from muscomp_lib.training.strategy import ALONE

CHECKPOINT, BEFORE = "checkpoint.npz", "checkpoint-before.npz"
HISTORY_COLUMNS = ["step", "loss", "validation_loss"]
VALIDATION_BATCHES = 8

log = logging.getLogger(__name__)


def settle(folder, settings, fresh=False, read=None, places=()):
    """Make sure that a model folder can be gone on with: that it was begun with the same settings, or not at all.

    Parameters
    ----------
    folder : Path
    settings : dict
        What is to be learnt now, and how.
    fresh : bool
        Throw away what an earlier run has learnt.
    read : callable, optional
        What reads the folder's `config.json`; without it, it is taken as it is.
    places : sequence of str
        Settings that may differ: where things lie.

    Raises
    ------
    SettingError
        It was begun with another network, other data or another schedule.
    """
    if fresh:
        remove(folder)
    file = folder / CONFIG
    if not file.exists():
        return
    begun = read(file) if read else json.loads(file.read_text(encoding="utf-8"))
    other = [key for key in settings if key not in places and begun.get(key) != settings[key]]
    if other:
        changes = "; ".join(f"{key}: {begun.get(key)!r} then, {settings[key]!r} now" for key in other)
        raise SettingError(
            f"{folder} was begun with other settings ({changes}). Give what is to be trained another name, or train "
            "with fresh=True to start over."
        )


def make_deterministic():
    """Load TensorFlow, and have it compute the same each time."""
    unet.start_tensorflow()
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()


def adam(schedule, precision, **options):
    """The optimizer Adam for a learning rate and a precision.

    Half-long floats have no numbers small enough for gradients: losses are scaled up, and gradients down again.
    """
    import keras

    optimizer = keras.optimizers.Adam(schedule, **options)
    return keras.optimizers.LossScaleOptimizer(optimizer) if precision == "mixed_float16" else optimizer


def learn(folder, model, learnt, validation, last, stride, watch=None, team=ALONE):
    """Learn from where `folder` says to the last step; validate and save on the way.

    Parameters
    ----------
    folder : Path
        For the checkpoint and `history.csv`.
    model : keras.Model
        Compiled.
    learnt, validation : object with batch(number)
        Inputs and targets by number, as `dataset.Examples` makes them; of each batch, this process' share.
    last, stride : int
        The last step; steps from one saving to the next.
    watch : callable, optional
        Called with the step before each saving at a stride; also with steps that are done again, because a saving was
        lost.
    team : distribution.Alone
        Who learns together. All have to call this; the chief alone writes, and calls `watch`.

    Raises
    ------
    StoppedError
        It, or another of the team, was asked to stop (SIGINT), and the chief has saved.
    MusCompError
        Not all of the team find the same checkpoint.
    """
    done, history = _restore(folder, model)
    _check_alike(folder, done, team)
    checks = [validation.batch(number) for number in range(VALIDATION_BATCHES)]
    steps, save = team.steps(model), _save if team.is_chief else _save_nothing
    counted = bar(total=last, initial=done, unit="step", desc="training")
    with _asked_to_stop() as asked, counted as progress:
        for step, batch in enumerate(batches.ahead(learnt, range(done, last)), start=done + 1):
            loss = steps.learn(*batch)
            progress.update()
            stop = team.total(asked.is_set()) > 0
            if step % stride == 0 or step == last:
                validation_loss = sum(steps.loss(*check) for check in checks) / len(checks)
                history.append([step, loss, validation_loss])
                progress.set_postfix(loss=f"{loss:.4f}", validation=f"{validation_loss:.4f}", refresh=False)
                if watch and team.is_chief:
                    watch(step)
                save(folder, model, step, history)
            elif stop:
                save(folder, model, step, history)
            if stop and step < last:
                team.total(0)  # nobody leaves before all is saved
                raise StoppedError(f"Stopped, and saved after step {step} of {last}. Run this again to go on.")
    if team.is_chief:
        (folder / BEFORE).unlink(missing_ok=True)


def _check_alike(folder, done, team):
    """Make sure that all of a team go on from the same step."""
    if team.total(done) != team.n_workers * done:
        raise MusCompError(
            f"Not all machines find the same in {folder}; this one, step {done}. It has to lie on a disk that all see. "
            "Start this again, or move the root there."
        )


def _save_nothing(*_):
    """What all do but the chief."""


@contextlib.contextmanager
def _asked_to_stop():
    """Take note of SIGINT instead of breaking off a step in its middle: an event; a second SIGINT does break off."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # only there signals arrive
        yield asked
        return
    before = signal.getsignal(signal.SIGINT)

    def note(*_):
        asked.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def _save(folder, model, step, history):
    """Save the history first: on the way back, rows later than the checkpoint are dropped.

    The checkpoint before stays until the next: a disk that is full, or loses what it holds, costs one stride.
    """
    write_history(folder, history)
    if (folder / CHECKPOINT).exists():
        (folder / CHECKPOINT).replace(folder / BEFORE)
    state = {f"variable_{i}": np.asarray(variable) for i, variable in enumerate(variables(model))}
    unet.save_arrays(folder / CHECKPOINT, state | {"step": np.array(step)})


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
    """What was saved last; where that cannot be read, what was saved before it; None where nothing was."""
    found = [path for path in (folder / CHECKPOINT, folder / BEFORE) if path.exists()]
    for path in found:
        try:
            return unet.read_arrays(path)
        except SettingError as error:
            if path == found[-1]:
                raise
            log.warning("%s Training goes on from the checkpoint before.", error)
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
