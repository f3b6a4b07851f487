"""Notebook 04, second part: train the transcriber, from stems and the MIDI files they were played from.

It takes the tables of notebooks 01 and 02, nothing else: what sounds is in `slakh/stems`, what is played in
`slakh/MIDI`. Songs of the train and reserve partitions are learnt from, those of the validation partition validate; the
test partition is left alone. With `separator`, some songs are separated first, and the network learns from what comes
out, too: that is what it will be given.

The model folder holds `config.json`, `history.csv`, `checkpoint.npz`, the finished `weights.npz`, and `separated/`. As
in notebook 04, training can be killed at any moment and started again, with the same result.
"""

import json
import logging
from dataclasses import asdict, dataclass

import numpy as np

from muscomp_lib import separation
from muscomp_lib.core.errors import SettingError
from muscomp_lib.core.files import clean_parts, written_whole
from muscomp_lib.models import pretrained
from muscomp_lib.models.config import PRECISIONS
from muscomp_lib.models.runtime import precision
from muscomp_lib.models.weights import CONFIG, WEIGHTS, get_weights, write_arrays
from muscomp_lib.reserve.split import instrument_columns
from muscomp_lib.separation import folder as batches
from muscomp_lib.slakh import index_tables
from muscomp_lib.training.loop import adam, check_resumable, fit, make_deterministic
from muscomp_lib.transcription import batches as note_examples
from muscomp_lib.transcription import network
from muscomp_lib.transcription.network import ONSET, SOUNDING, VELOCITY

LEARNT, VALIDATED = ("train", "reserve"), ("validation",)
SEPARATED = "separated"
WARM_UP = 50  # steps until the learning rate is reached
ONSET_WEIGHT = 2.0  # of points where a note begins, against those where none does
SOUNDING_SHARE = 0.3  # of the loss
LONGEST_GRADIENT = 10.0  # a batch of surprises must not throw the network off

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """How to train the transcriber.

    Attributes
    ----------
    name : str
        Of the model's folder.
    steps, save_every : int
        Steps in all, and from one saving to the next.
    batch_size : int
        Examples in a step.
    n_frames : int
        Of an example, 23 ms each.
    learning_rate : float
        The highest; it falls to zero along a cosine.
    separator : str or None
        The model that separates songs to learn from: its name, its folder, or "shipped". None: learn from stems alone.
    separated_songs : int
        How many songs it separates.
    precision : {"float32", "mixed_bfloat16", "mixed_float16"}
    random_seed : int
    """

    name: str = "transcriber"
    steps: int = 4000
    save_every: int = 250
    batch_size: int = 8
    n_frames: int = 128
    learning_rate: float = 2e-3
    separator: str | None = "shipped"
    separated_songs: int = 60
    precision: str = "float32"
    random_seed: int = 0

    def __post_init__(self):
        for key in ("steps", "save_every", "batch_size", "n_frames"):
            if not (type(getattr(self, key)) is int and getattr(self, key) >= 1):
                raise SettingError(f"{key} is {getattr(self, key)!r}; give a whole number from 1.")
        if not (type(self.separated_songs) is int and self.separated_songs >= 0):
            raise SettingError(f"separated_songs is {self.separated_songs!r}; give a whole number from 0.")
        if not self.learning_rate > 0:
            raise SettingError(f"learning_rate is {self.learning_rate!r}; give a number above 0, such as 0.002.")
        if self.precision not in PRECISIONS:
            raise SettingError(f"precision is {self.precision!r}; choose one of {', '.join(PRECISIONS)}.")


def train(root, settings=None, fresh=False):
    """Train a transcriber, or go on where an earlier run stopped.

    Parameters
    ----------
    root : drive.Root
    settings : Settings, optional
    fresh : bool
        Throw away what an earlier run of this name has learnt.

    Returns
    -------
    Path
        The model folder.

    Raises
    ------
    MissingError, SettingError
        Notebook 01 or 02 has not run; there are no stems to learn from; the folder was begun with other settings.
    """
    settings = settings or Settings()
    folder = root.models / settings.name
    config = _config(root, settings)
    check_resumable(folder, config, fresh)
    if (folder / WEIGHTS).exists():
        log.info("%s is trained already.", folder)
        return folder
    learnt, validation = examples(root, settings)
    clean_parts(folder)
    with written_whole(folder / CONFIG) as part:
        part.write_text(json.dumps(config, indent=4) + "\n", encoding="utf-8")
    make_deterministic()
    model = compiled(config)
    fit(folder, model, learnt, validation, settings.steps, settings.save_every)
    write_arrays(folder / WEIGHTS, get_weights(model))
    return folder


def _config(root, settings):
    """What `config.json` says: the settings, and which instruments the tables know."""
    return asdict(settings) | {"instrument_list": instrument_columns(index_tables.read(root)[1])}


def examples(root, settings):
    """The examples to learn from, and those to validate with. Songs are separated for them, if they are not yet.

    Returns
    -------
    learnt, validation : note_examples.Examples
    """
    config = _config(root, settings)
    pools = [note_examples.stems(root, LEARNT)]
    if settings.separator and settings.separated_songs:
        pools.append(note_examples.separated(root, LEARNT, _separated(root, settings)))
    held_out = [note_examples.stems(root, VALIDATED)]
    return note_examples.Examples(pools, config), note_examples.Examples(held_out, config, damage=False)


def _separated(root, settings):
    """What the separator makes of some songs: {track: {instrument: Path}}."""
    _, tracks = index_tables.read(root)
    usable = tracks[tracks["partition"].isin(LEARNT) & (tracks["status"] == "ok")]
    order = np.random.default_rng(settings.random_seed).permutation(len(usable))[: settings.separated_songs]
    mixes = {row.track: root.slakh / row.mix for row in usable.iloc[sorted(order)].itertuples()}
    folder = root.models / settings.name / SEPARATED
    separator = separation.Separator(pretrained.model_path(settings.separator, root))
    done = batches.separate_all(separator, list(mixes.values()), folder)
    names = instrument_columns(tracks)
    made = [track for track, status in zip(mixes, done["status"], strict=True) if status != "failed"]
    files = {track: batches.files_of(folder / track) for track in made}
    return {track: {name: file for name, file in its.items() if name in names} for track, its in files.items()}


def compiled(config):
    """The network with its loss and optimizer."""
    import keras

    keras.utils.set_random_seed(config["random_seed"])
    with precision(config["precision"]):
        model = network.build(len(config["instrument_list"]))
    warm_up = min(WARM_UP, config["steps"] // 2)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, config["steps"] - warm_up), warmup_target=config["learning_rate"], warmup_steps=warm_up
    )
    optimizer = adam(schedule, config["precision"], global_clipnorm=LONGEST_GRADIENT)
    model.compile(optimizer=optimizer, loss=note_loss, jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    return model


def note_loss(said, log_odds):
    """How surprised the network is by the true notes, per note.

    Parameters
    ----------
    said, log_odds : shape=(batch, n_frames, N_NOTES, 3), float32
        As `note_examples.Examples` and `note_network.build` give them.
    """
    from keras import ops

    onset = said[..., ONSET]
    n_notes = ops.sum(ops.cast(onset > 0.5, "float32")) + 1.0
    begins = _surprise(onset, log_odds[..., ONSET]) * (1.0 + (ONSET_WEIGHT - 1.0) * onset)
    sounds = _surprise(said[..., SOUNDING], log_odds[..., SOUNDING])
    velocity = onset * ops.square(ops.sigmoid(log_odds[..., VELOCITY]) - said[..., VELOCITY])
    return ops.sum(begins + SOUNDING_SHARE * sounds + velocity) / n_notes


def _surprise(true, log_odds):
    """The cross-entropy at each point."""
    from keras import ops

    return ops.maximum(log_odds, 0.0) - log_odds * true + ops.log1p(ops.exp(-ops.abs(log_odds)))
