"""Notebook 04: train a network from the two files of notebook 03, the table and the configuration.

Training can be killed at any moment and resumed: every `save_checkpoints_steps` steps the weights, the optimizer's
state and the step are saved together, examples are functions of the step, and TensorFlow is set to be deterministic, so
that the model is the same, byte for byte, as without the interruption.

The model folder holds `config.json`, `history.csv` (step, loss, validation_loss), `masks.npz` (how the masks improved,
mask_snapshots.py), `checkpoint.npz` (to resume from) and the finished weights: `weights.npz`, by name, as NumPy reads
it; for Spleeter's networks a checkpoint of Spleeter's own, so that `spleeter separate -p <folder>/config.json` uses the
model as it is.

With `engine="spleeter"` the real Spleeter trains. Ours uses all GPUs, and several machines (strategy.py).
"""

import logging
from pathlib import Path

from muscomp_lib.core.errors import MissingError, SettingError
from muscomp_lib.core.root import Root
from muscomp_lib.core.settings import Field, Settings, flag, name, one_of, optional, text, that, whole
from muscomp_lib.dataset.song_table import read_songs, warn_of_shared_songs
from muscomp_lib.models import checkpoint, pretrained, registry
from muscomp_lib.models.config import ENGINES, check_engine, find_model, read_config
from muscomp_lib.models.runtime import on_jax
from muscomp_lib.models.weights import HISTORY, get_weights, set_weights
from muscomp_lib.spleeter import engine
from muscomp_lib.training import strategy, transfer
from muscomp_lib.training.batches import Examples
from muscomp_lib.training.experiments import EXPERIMENTS
from muscomp_lib.training.loop import (
    CHECKPOINT,
    LossCheck,
    check_not_silent,
    compiled,
    fit,
    make_deterministic,
    read_history,
    start,
    write_history,
)
from muscomp_lib.training.mask_snapshots import MaskSnapshotCallback
from muscomp_lib.training.resident import ResidentExamples

PATHS = ("train_csv", "validation_csv", "model_dir", "training_cache", "validation_cache")
RESUME = "Resume with engine={!r}, or start over with fresh=True."

log = logging.getLogger(__name__)


class Parameters(Settings):
    """The parameters of notebook 04."""

    config: that(lambda value: isinstance(value, str | Path) and str(value).strip(), "a name or a path") = Field(
        "shared_unet", description="Name of the configuration that notebook 03 wrote."
    )
    fresh: flag() = Field(False, description="True: discard what this model has learned before, and start over.")
    engine: one_of(*ENGINES) = Field(
        "muscomp", description='Who trains: "muscomp", this library, or "spleeter", the real Spleeter 2.4.2.'
    )
    start_from: optional(text("a model"), "fresh weights") = Field(
        None, description='Weights to start from: "shipped", the pretrained ones, or a model\'s name; None: fresh ones.'
    )
    test_songs: whole(1) = Field(3, description="Number of test songs to score at the end.")
    experiment: optional(one_of(*EXPERIMENTS), "none") = Field(
        None, description='Train a second model for comparison: "without_remix" or "with_a_leak"; None: none.'
    )
    notes_model: optional(name(), "none") = Field(
        None, description="Name of a transcriber to train in the second part; None: train none."
    )
    notes_steps: whole(1) = Field(4000, description="Training steps of the transcriber.")


def train(config, root, fresh=False, engine="muscomp", start_from=None):
    """Train the network that a configuration describes, or resume an earlier run.

    Parameters
    ----------
    config : str or Path
        A configuration file, or its name in the root's `configs` folder.
    root : Root
    fresh : bool
        Discard what an earlier run of this model has learned.
    engine : {"muscomp", "spleeter"}
    start_from : str or Path, optional
        A model of the same type whose weights to start from: its name, its folder, or "shipped". For other
        instruments see transfer.py.
        It overrides the configuration's `muscomp.start_from`.

    Returns
    -------
    Path
        The model folder.

    Raises
    ------
    MissingError, SettingError
        There is no such configuration or table; a wrong value in it; a model folder that was started with other
        settings.
    """
    check_engine(engine)
    settings = _of_root(read_config(find_config(config, root)), root)
    if registry.network(settings).takes_query:
        raise SettingError(
            f"{settings['model']['type']} separates what it is asked for, and learns that in notebook 06. Choose "
            "another model_type in notebook 03."
        )
    if start_from is not None:
        settings["muscomp"]["start_from"] = str(start_from)
    folder, team = _model_folder(settings, root, fresh), strategy.joined()
    prepare = {"muscomp": _our_training, "spleeter": _spleeter_training}[engine]
    return start(
        folder, settings, lambda: prepare(folder, settings, root, fresh), registry.network(settings).is_finished,
        fresh, read_config, PATHS, team=team,
    )  # fmt: skip


def _of_root(settings, root):
    """A configuration with its tables in this root: those of one that was copied or moved, or relative to it.

    Spleeter needs absolute paths.
    """
    in_root = {key: root.path / settings[key] for key in ("train_csv", "validation_csv")}
    settings = settings | {key: str(path) for key, path in in_root.items() if path.is_file()}
    model = Path(settings["model_dir"])
    before = Root(model.parent.parent)
    tables = [Path(settings[key]).parent for key in ("train_csv", "validation_csv")]
    if before.path == root.path or model.parent != before.models or tables != [before.tables] * 2:
        return settings
    log.info("The configuration was written for %s; its paths are taken to be in %s.", before.path, root.path)
    inside = {key: Path(settings[key]) for key in PATHS if settings.get(key)}
    return settings | {
        key: str(root.path / path.relative_to(before.path))
        for key, path in inside.items()
        if path.is_relative_to(before.path)
    }


def _our_training(folder, settings, root, fresh):
    """Make sure that our own training can start, and return what starts it."""
    if settings.get("optimizer", "Adam") != "Adam":
        raise SettingError(f"optimizer = {settings['optimizer']!r} is for engine='spleeter' only. Ours is Adam.")
    strategy.check(settings["batch_size"], strategy.joined().n_replicas)
    if (folder / checkpoint.STATE).exists() and not fresh:
        raise SettingError(f"{folder} was started by the real Spleeter. {RESUME.format('spleeter')}")
    if registry.network(settings).spleeter:
        checkpoint.require_spleeter_network(settings)
    training, validation = examples(settings, root)
    check_not_silent(training=training, validation=validation)
    initial = _initial_weights(settings, root)
    return lambda: _run(folder, settings, training, validation, initial)


def _initial_weights(settings, root):
    """The weights to start from, and where they come from; None for fresh weights."""
    start_from = settings["muscomp"].get("start_from")
    if start_from is None:
        return None
    network = registry.network(settings)
    try:
        theirs, source = find_model(pretrained.model_path(start_from, root))
        other = registry.network(theirs)
        values, where = other.read_weights(source), other.weights_file(source)
    except MissingError as error:
        raise MissingError(f"{error} Check start_from = {start_from!r}.") from error
    if theirs["instrument_list"] != settings["instrument_list"]:
        values = transfer.start_weights(network, values, theirs, where)
    set_weights(network.build(), values, where)  # refused now, not in an hour
    return values, where


def _spleeter_training(folder, settings, root, fresh):
    """Make sure that the real Spleeter's training can start, and return what starts it."""
    if strategy.joined().n_workers > 1:
        raise SettingError("The real Spleeter trains on one machine. Ask for one node, or use engine='muscomp'.")
    if settings["muscomp"].get("start_from") is not None:
        raise SettingError("start_from is for engine='muscomp' only: the real Spleeter starts with fresh weights.")
    if (folder / CHECKPOINT).exists() and not fresh:
        raise SettingError(f"{folder} was started by our own training. {RESUME.format('muscomp')}")
    rows = engine.train(settings, folder, root)

    def run():
        done = engine.checkpoint_step(folder)
        history = [row for row in read_history(folder) if row[0] <= done] if (folder / HISTORY).exists() else []
        check_loss = LossCheck(folder, done, settings["train_max_steps"])
        for row in rows:
            # The training loss may not be known yet. Where it is NaN, Spleeter stops by itself.
            check_loss(row[0], row[2], is_validation=True)
            history.append(row)
            write_history(folder, history)

    return run


def find_config(config, root):
    """The path of a configuration given by path or by its name in the root's `configs` folder."""
    path = Path(config)
    return path if path.suffix == ".json" else root.configs / f"{config}.json"


def _model_folder(settings, root, fresh):
    folder = root.models / settings["model_dir"]
    if fresh and root.models.resolve() not in folder.resolve().parents:
        raise SettingError(
            f"model_dir = {settings['model_dir']!r} is not a folder in {root.models}, and fresh=True deletes models "
            "there only. Set model_dir to a name; or remove that folder yourself, and train without fresh."
        )
    return folder


def examples(settings, root):
    """The training examples, and those of the validation songs, which are never remixed.

    Parameters
    ----------
    settings : dict
        A configuration.
    root : Root

    Returns
    -------
    training, validation : batches.Examples
        Where Keras runs on JAX, resident.ResidentExamples.

    Raises
    ------
    MissingError, SettingError, AudioError
        Of the first mistake in a table: the line, the column and the cell are named.
    """
    settings = _of_root(settings, root)
    n_channels = registry.network(settings).training_channels
    training, validation = (read_songs(root, settings[key], settings) for key in ("train_csv", "validation_csv"))
    warn_of_shared_songs(training, validation)
    make = ResidentExamples if on_jax() else Examples
    own = settings["muscomp"]["remix"]
    return tuple(make(songs, settings, n_channels, remix) for songs, remix in ((training, own), (validation, False)))


def _run(folder, settings, training, validation, initial):
    """Train, validate and save until the last step, then write the finished weights."""
    make_deterministic()
    network, team = registry.network(settings), strategy.team(settings["batch_size"])
    with team.scope():
        model = compiled(settings)
    if initial:
        set_weights(model, *initial)
    last = settings["train_max_steps"]
    training, validation = (each.share(team.worker, team.n_workers) for each in (training, validation))
    snapshots = MaskSnapshotCallback(folder, model, settings, validation.batch(0))
    fit(folder, model, training, validation, last, settings["save_checkpoints_steps"], snapshots, team)
    if team.is_chief:
        network.write_weights(folder, get_weights(model), last)
    team.total(0)  # nobody leaves before all is written
