"""Notebook 04, second part: train the transcriber, from stems and the MIDI files they were rendered from.

Its input is the tables of notebooks 01 and 02, and the stems and MIDI files they list. It is trained on the train and
reserve partitions and validated on the validation partition; the test partition is left alone. With `separator`, some
songs are separated first and used as well: separated stems are what it gets later.

The model folder holds `config.json`, `history.csv`, `checkpoint.npz`, the final `weights.npz`, and `separated/`. As in
the first part of notebook 04, training can be interrupted at any moment and resumed, with the same result.
"""

import numpy as np

from muscomp_lib import separation
from muscomp_lib.core import settings
from muscomp_lib.core.settings import Field
from muscomp_lib.models import pretrained
from muscomp_lib.models.config import PRECISIONS
from muscomp_lib.models.runtime import on_jax, precision
from muscomp_lib.models.weights import WEIGHTS, read_weights, set_weights
from muscomp_lib.reserve.split import instrument_columns
from muscomp_lib.separation import folder as separated_songs
from muscomp_lib.slakh import index_tables
from muscomp_lib.training.loop import adam, start, to_weights
from muscomp_lib.transcription import batches, network
from muscomp_lib.transcription.cqt import FRAME_SECONDS
from muscomp_lib.transcription.network import ACTIVE, FULL, KINDS, ONSET, VELOCITY
from muscomp_lib.transcription.resident import ResidentExamples

TRAINING, VALIDATION = ("train", "reserve"), ("validation",)  # partitions
SEPARATED = "separated"
WARM_UP = 50  # steps until the learning rate is reached
ONSET_WEIGHT = 2.0  # of the points with an onset, relative to those without
ACTIVE_WEIGHT = 0.3  # relative to the loss of onsets
LATER = ("network", "start_from", "drum_share", "correct_octaves")  # not in earlier versions: written where they differ
CLIP_NORM = 10.0  # of the gradient: one odd batch must not throw the network off


class Settings(settings.Settings):
    """How to train the transcriber."""

    name: settings.name() = Field("transcriber", description="The model's folder under models/.")
    steps: settings.whole(1) = Field(4000, description="Training steps in all.")
    save_every: settings.whole(1) = Field(250, description="Steps between checkpoints.")
    batch_size: settings.whole(1) = Field(8, description="Examples per step.")
    n_frames: settings.whole(1) = Field(128, description="Length of an example in frames of 23 ms.")
    learning_rate: settings.number(above=0) = Field(
        2e-3, description="The highest learning rate, which decays to zero along a cosine."
    )
    start_from: settings.optional(settings.text("a model"), "fresh weights") = Field(
        None, description="A transcriber of the same instruments to start from: its name, its folder, or shipped."
    )
    drum_share: settings.number(0, 1) = Field(batches.DRUM_SHARE, description="The share of examples that are drums.")
    separator: settings.optional(settings.text("a model"), "stems alone") = Field(
        "shipped", description="The model that separates songs to train on: its name, its folder, or shipped."
    )
    separated_songs: settings.whole(0) = Field(60, description="How many songs it separates.")
    network: settings.one_of(*KINDS) = Field(
        FULL, description="The kind of network: the compact one takes a tenth of the full one's work."
    )
    precision: settings.one_of(*PRECISIONS) = Field("float32", description="Keras' name for the precision.")
    correct_octaves: settings.flag() = Field(
        True, description="Where a stem sounds octaves away from its notes (notebook 01), train on what sounds."
    )
    random_seed: settings.whole(0) = Field(0, description="Random seed of the weights and the examples.")


def train(root, settings=None, fresh=False):
    """Train a transcriber, or resume an interrupted training.

    Parameters
    ----------
    root : Root
    settings : Settings, optional
    fresh : bool
        Discard an earlier training of this name.

    Returns
    -------
    Path
        The model folder.

    Raises
    ------
    MissingError, SettingError
        Notebook 01 or 02 has not run; there are no stems to train on; the folder has a training with other settings.
    """
    settings = settings or Settings()
    folder = root.models / settings.name
    config = _config(root, settings)
    return start(
        folder, config, lambda: _training(folder, config, root, settings), lambda folder: (folder / WEIGHTS).exists(),
        fresh, paths=("programs",), keep=(SEPARATED,),
    )  # fmt: skip


def _training(folder, config, root, settings):
    """Make sure that training can start, and return what trains."""
    training, validation = examples(root, settings)
    return to_weights(
        folder, lambda: compiled(config, root), training, validation, settings.steps, settings.save_every,
        config["instrument_list"],
    )  # fmt: skip


def _config(root, settings):
    """The content of `config.json`: the settings, and the instruments of the tables with their programs."""
    stems, tracks = index_tables.read(root)
    listed = instrument_columns(tracks)
    programs = {name: sorted(map(int, set(stems.loc[stems["instrument"] == name, "program_num"]))) for name in listed}
    chosen = {k: v for k, v in settings if k not in LATER or v != Settings.model_fields[k].default}
    return chosen | {"instrument_list": listed, "programs": programs}


def examples(root, settings):
    """The examples to train on, and those to validate with. Songs are separated for them if they are not yet.

    Returns
    -------
    training, validation : batches.Examples
        Where Keras runs on JAX, resident.ResidentExamples.
    """
    config = _config(root, settings)
    pools = [batches.stems(root, TRAINING, settings.correct_octaves)]
    if settings.separator and settings.separated_songs:
        pools.append(batches.separated(root, TRAINING, _separate(root, settings), settings.correct_octaves))
    validation = [batches.stems(root, VALIDATION, settings.correct_octaves)]
    make = ResidentExamples if on_jax() else batches.Examples
    return make(pools, config), make(validation, config, augment=False)


def _separate(root, settings):
    """Separate some songs: {track: {instrument: Path}}."""
    _, tracks = index_tables.read(root)
    usable = tracks[tracks["partition"].isin(TRAINING) & (tracks["status"] == "ok")]
    order = np.random.default_rng(settings.random_seed).permutation(len(usable))[: settings.separated_songs]
    mixes = {row.track: root.slakh / row.mix for row in usable.iloc[sorted(order)].itertuples()}
    folder = root.models / settings.name / SEPARATED
    separator = separation.Separator(pretrained.model_path(settings.separator, root))
    results = separated_songs.separate_all(separator, list(mixes.values()), folder)
    listed = instrument_columns(tracks)
    made = {track: row.song for track, row in zip(mixes, results, strict=True) if row.status != "failed"}
    files = {track: separated_songs.files_of(folder / name) for track, name in made.items()}
    return {track: {name: file for name, file in its.items() if name in listed} for track, its in files.items()}


def compiled(config, root=None):
    """The network with its loss and optimizer; `root` is where a model to start from is looked for."""
    import keras

    keras.utils.set_random_seed(config["random_seed"])
    with precision(config["precision"]):
        model = network.build(len(config["instrument_list"]), config.get("network", FULL))
    if config.get("start_from"):
        path = pretrained.transcriber_path(config["start_from"], root) / WEIGHTS
        set_weights(model, read_weights(path, config["instrument_list"]), path)
    warm_up = min(WARM_UP, config["steps"] // 2)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, config["steps"] - warm_up), warmup_target=config["learning_rate"], warmup_steps=warm_up
    )
    optimizer = adam(schedule, config["precision"], global_clipnorm=CLIP_NORM)
    model.compile(optimizer=optimizer, loss=note_loss, jit_compile=on_jax())
    model.optimizer.build(model.trainable_variables)
    return model


def note_loss(labels, log_odds):
    """The loss per second of sound: cross-entropies of onsets and active notes, squared error of velocities.

    It is not the loss per note, in which separated parts that ought to have none would count for most.

    Parameters
    ----------
    labels, log_odds : shape=(batch, n_frames, N_PITCHES, 3), float32
        As `batches.Examples` and `network.build` give them.
    """
    from keras import ops

    onset = labels[..., ONSET]
    n_examples, n_frames = ops.shape(labels)[:2]
    onsets = _cross_entropy(onset, log_odds[..., ONSET]) * (1.0 + (ONSET_WEIGHT - 1.0) * onset)
    active = _cross_entropy(labels[..., ACTIVE], log_odds[..., ACTIVE])
    velocity = onset * ops.square(ops.sigmoid(log_odds[..., VELOCITY]) - labels[..., VELOCITY])
    return ops.sum(onsets + ACTIVE_WEIGHT * active + velocity) / (n_examples * n_frames * FRAME_SECONDS)


def _cross_entropy(labels, log_odds):
    """The binary cross-entropy at each point."""
    from keras import ops

    return ops.maximum(log_odds, 0.0) - log_odds * labels + ops.log1p(ops.exp(-ops.abs(log_odds)))
