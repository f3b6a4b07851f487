"""The training loop: steps, validation, checkpoints, and resuming after being killed. Used by 04, 06 and 08.

Every so many steps the weights, the optimizer's state and the step are saved together, batches are functions of the
step, and TensorFlow is set to be deterministic: the result is the same, byte for byte, as without the interruption.
A request to stop (Ctrl-C, Jupyter's button, a batch job whose time is nearly up) loses not even the last step. Keras'
`BackupAndRestore` saves at the end of an epoch only, and not the history, so the loop is our own.
"""

import contextlib
import csv
import json
import logging
import math
import signal
import threading
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from muscomp_lib.core import remote_io
from muscomp_lib.core.errors import MusCompError, SettingError, StoppedError, TrainingError
from muscomp_lib.core.files import PART, clean_parts, locked, make_folder, remove, write_text, written_whole
from muscomp_lib.core.progress import bar
from muscomp_lib.models import registry
from muscomp_lib.models.config import read_json
from muscomp_lib.models.runtime import on_jax, start_tensorflow
from muscomp_lib.models.weights import (
    CONFIG,
    HISTORY,
    REMEDY,
    WEIGHTS,
    check_finite,
    get_weights,
    read_arrays,
    write_arrays,
    write_weights,
)
from muscomp_lib.training import batches
from muscomp_lib.training.strategy import SINGLE_PROCESS

CHECKPOINT, PREVIOUS = "checkpoint.npz", "checkpoint-before.npz"
WRITTEN = (  # into a model folder, by us and by Spleeter
    *(CONFIG, HISTORY, WEIGHTS, "masks.npz", "checkpoint*", "spleeter.json", "model*.index", "model*.data-*", "cache"),
    *("model*.meta", "graph.pbtxt", "events.out.*", "eval*", f"{PART}*"),
)
HISTORY_COLUMNS = ["step", "loss", "validation_loss"]
VALIDATION_BATCHES = 8
ADVICE = "give the new model another name, or start over: fresh=True in its notebook, or remove this folder"
MOST_ZEROS = 20  # losses in a row: a small batch may be silent now and then

log = logging.getLogger(__name__)


def start(
    folder, settings, prepare, is_finished, fresh=False, read=read_json, paths=(), keep=(), made=(), team=SINGLE_PROCESS
):
    """Train in a model folder, or resume there: after all checks, so that nothing is lost when one of them fails.

    Parameters
    ----------
    folder : Path
    settings : dict
        The network, the data and the schedule: the content of `config.json`.
    prepare : callable
        Makes sure that training can start; returns what trains.
    is_finished : callable
        Whether the folder holds a finished model.
    fresh : bool
        Discard what an earlier run has learned.
    read : callable
        Reads the `config.json` of an earlier run.
    paths : sequence of str
        Settings that may differ from those of an earlier run, because they say only where things are.
    keep : sequence of str
        What else may be in the folder. `fresh` deletes only what training writes.
    made : sequence of str
        Files that this training writes beyond `WRITTEN`.
    team : strategy.SingleProcess

    Returns
    -------
    Path
        The model folder.

    Raises
    ------
    SettingError
        The folder was started with another network, other data or another schedule; what `fresh` would delete is not a
        model; another run trains there. What `prepare` raises.
    """
    if folder.exists() and not folder.is_dir():
        raise SettingError(f"{folder} is a file, and a model is a folder. Give the model another name.")
    with contextlib.ExitStack() as stack:
        with team.chief_first():
            discarded = _discardable(folder, keep, made, read) if fresh else []  # in every process: all refuse, or none
            if not (fresh and team.is_chief):
                _check_same_settings(folder, settings, read, paths)
                if is_finished(folder):
                    log.warning("%s was trained before, and is not trained again. For other songs, %s.", folder, ADVICE)
                    return folder
            run = prepare()
            if team.is_chief:
                held = stack.enter_context(_alone(make_folder(folder)))
                for path in discarded:
                    remove(path)
                clean_parts(folder, alone=held)
                write_text(folder / CONFIG, json.dumps(settings, indent=4) + "\n")
        run()
    return folder


@contextlib.contextmanager
def _alone(folder):
    """Hold a model's folder while it is trained: as `locked`, but SettingError where another run has it."""
    try:
        with locked(folder, wait=False) as held:
            yield held
    except BlockingIOError as error:
        raise SettingError(
            f"Another run trains {folder}. Wait until it has ended, or stop it; or give this model another name."
        ) from error


def _discardable(folder, keep, made, read):
    """The files that training wrote into a model's folder; `config.json`, which marks it as one, comes last."""
    names = sorted(set(remote_io.listing(folder)) - set(keep), key=lambda name: name == CONFIG)
    if not all(name.startswith(PART) for name in names):
        try:
            read(folder / CONFIG)
        except MusCompError as error:
            raise SettingError(
                f"{folder} holds {names[0]!r} and is not a model: {error} fresh=True deletes models only, and nothing "
                "was deleted. Give the model another name, or remove the folder yourself."
            ) from error
    return [folder / name for name in names if any(fnmatchcase(name, pattern) for pattern in (*WRITTEN, *made))]


def _check_same_settings(folder, settings, read, paths):
    if not (folder / CONFIG).exists():
        return
    before = read(folder / CONFIG)
    different = [key for key in settings if key not in paths and before.get(key) != settings[key]]
    if different:
        changes = "; ".join(f"{key}: {before.get(key)!r} then, {settings[key]!r} now" for key in different)
        raise SettingError(f"{folder} was started with other settings ({changes}). To train with these, {ADVICE}.")


def make_deterministic():
    """Import TensorFlow and set it to compute the same each time; on JAX, GPUs may round sums differently."""
    if on_jax():
        return
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
    model.compile(optimizer=optimizer, loss=network.loss, jit_compile=on_jax())
    model.optimizer.build(model.trainable_variables)
    return model


def to_weights(folder, compile_network, training, validation, steps, stride, names):
    """Make sure that training can start; return what trains to the last step, and writes the weights.

    Parameters
    ----------
    folder : Path
    compile_network : callable
        Gives the compiled model; called once computation is set to be deterministic.
    training, validation, stride
        As for `fit`.
    steps : int
    names : list of str
        The instruments, in the order of the network's outputs.

    Returns
    -------
    callable
    """
    check_not_silent(training=training, validation=validation)

    def run():
        make_deterministic()
        model = compile_network()
        fit(folder, model, training, validation, steps, stride)
        write_weights(folder / WEIGHTS, get_weights(model), names)

    return run


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
    steps, check_loss = team.steps(model), LossCheck(folder, done, last)
    counted = bar(total=last, initial=done, unit="step", desc="training")
    with defer_interrupt() as interrupted, counted as progress:
        for step, batch in enumerate(batches.prefetch(training, range(done, last)), start=done + 1):
            loss = steps.train(*batch)  # of all replicas, so that all processes stop if it is not a number
            check_loss(step, loss)
            progress.update()
            stop = team.total(interrupted.is_set()) > 0
            if step % stride == 0 or step == last:
                validation_loss = sum(steps.evaluate(*check) for check in checks) / len(checks)
                check_loss(step, validation_loss, is_validation=True)
                history.append([step, loss, validation_loss])
                progress.set_postfix(loss=f"{loss:.4f}", validation=f"{validation_loss:.4f}", refresh=False)
                if snapshots and team.is_chief:
                    snapshots(step)
            if stop or step % stride == 0 or step == last:
                _save(folder, model, step, history, check_loss, team.is_chief)
            if stop and step < last:
                team.total(0)  # nobody leaves before all is saved
                raise StoppedError(f"Stopped, and saved after step {step} of {last}. Run this again to resume.")
    if team.is_chief:
        (folder / PREVIOUS).unlink(missing_ok=True)


class LossCheck:
    """Stops training where its loss shows that nothing good can follow; what is saved stays as it is.

    Parameters
    ----------
    folder : Path
        The model's.
    saved, last : int
        The step that the folder's checkpoint is of; the last step.
    """

    def __init__(self, folder, saved, last):
        self._folder, self.saved, self._last, self._n_zeros = folder, saved, last, 0

    def __call__(self, step, loss, is_validation=False):
        """TrainingError for a loss that is not finite, or zero: in validation, or `MOST_ZEROS` times in a row."""
        if not math.isfinite(loss):
            raise self.failure(step, f"the loss is {loss}")
        self._n_zeros = 0 if loss else self._n_zeros + 1
        if self._n_zeros >= MOST_ZEROS or (is_validation and not loss):
            raise self.failure(step, "the loss is 0, as it is for silence")

    def failure(self, step, what):
        """The TrainingError for a failure at a step."""
        kept = f"The checkpoint of step {self.saved} is kept" if self.saved else "There is no checkpoint yet"
        return TrainingError(
            f"Training of {self._folder} stopped at step {step} of {self._last}: {what}. {kept}. Look at the examples; "
            "set a lower learning_rate, or precision = 'float32', and start over with fresh=True."
        )


def check_not_silent(**examples):
    """Make sure that there is something to learn, and to validate with, in the first batches.

    Parameters
    ----------
    **examples : object with batch(number)
        By purpose: inputs and targets by number.

    Raises
    ------
    TrainingError
    """
    for purpose, found in examples.items():
        if not any(found.batch(number)[1].any() for number in range(VALIDATION_BATCHES)):
            raise TrainingError(
                f"The first {VALIDATION_BATCHES} batches for {purpose} hold only silence, from which nothing can be "
                "learned. Listen to the files that the tables name."
            )


def _check_same_step(folder, done, team):
    """Make sure that all of a team resume from the same step."""
    if team.total(done) != team.n_workers * done:
        raise MusCompError(
            f"Not all machines find the same checkpoint in {folder}; this one, step {done}. The folder must be on a "
            "disk that all of them share. Start this again, or move the root there."
        )


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


def _save(folder, model, step, history, check_loss, is_chief):
    """Save a checkpoint, if this is the chief; the history first: on resuming, rows later than it are dropped.

    The previous checkpoint stays until the next one: a disk that is full, or loses data, costs one stride. All
    processes make sure that the state is finite, so that all stop alike.
    """
    state = {f"variable_{i}": np.asarray(variable) for i, variable in enumerate(variables(model))}
    if not all(np.isfinite(array).all() for array in state.values()):
        raise check_loss.failure(step, "the weights are not finite")
    if is_chief:
        write_history(folder, history)
        if (folder / CHECKPOINT).exists():
            (folder / CHECKPOINT).replace(folder / PREVIOUS)
        write_arrays(folder / CHECKPOINT, state | {"step": np.array(step)})
    check_loss.saved = step


def _restore(folder, model):
    """Put a checkpoint's state into the model; the step it was saved at, and the history up to there."""
    state = _checkpoint(
        folder, {f"variable_{i}": tuple(v.shape) for i, v in enumerate(variables(model))} | {"step": ()}
    )
    if state is None:
        return 0, []
    for i, variable in enumerate(variables(model)):
        variable.assign(state[f"variable_{i}"])
    step = int(state["step"])
    return step, [row for row in read_history(folder) if row[0] <= step]


def _checkpoint(folder, shapes):
    """The latest checkpoint; where it is damaged, the previous one; None where there is none."""
    found = [path for path in (folder / CHECKPOINT, folder / PREVIOUS) if path.exists()]
    for path in found:
        try:
            state = read_arrays(path)
            check_finite(state, path)
            if {name: array.shape for name, array in state.items()} != shapes:
                raise SettingError(f"{path} cannot be read (it is of another network). {REMEDY}")
            return state
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
    """Rows of `history.csv`: [step, loss, validation loss].

    Raises
    ------
    SettingError
        It is not there, or damaged.
    """
    path = Path(folder) / HISTORY
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))[1:]
        return [[int(step), float(loss), float(validation)] for step, loss, validation in rows]
    except (OSError, ValueError, csv.Error) as error:
        raise SettingError(f"{path} cannot be read ({error}). {REMEDY}") from error
