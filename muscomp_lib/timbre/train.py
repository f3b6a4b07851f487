"""Train a network that takes a query, on music rendered from soundfonts. Used by notebook 06.

As in notebook 04, training can be killed at any moment and resumed with the same result, and the model folder holds
`config.json`, `history.csv`, `checkpoint.npz` and the finished `weights.npz`. The configuration is that of any
separator, at 44.1 kHz: training at half of it, with frames of half the length, takes half the work and has the same
bins.
"""

from muscomp_lib.core import instruments, settings
from muscomp_lib.core.settings import Field
from muscomp_lib.models import query_unet
from muscomp_lib.models.registry import network
from muscomp_lib.models.weights import WEIGHTS
from muscomp_lib.timbre import descriptors
from muscomp_lib.timbre.examples import N_BINS, Examples, Queries
from muscomp_lib.training.loop import compiled, start, to_weights

VALIDATION_SEED = 1 << 30  # plus the training's: other mixes of the same stems


class Settings(settings.Settings):
    """How to train."""

    descriptor: settings.one_of(*query_unet.DESCRIPTORS) = Field("envelope", description="What a query is.")
    held_out: settings.field(query_unet.Params, "held_out") = Field(
        [], description="General MIDI programs, from 0, that are never trained on."
    )
    steps: settings.whole(1) = Field(1000, description="Training steps.")
    save_every: settings.whole(1) = Field(100, description="Steps between checkpoints.")
    batch_size: settings.whole(1) = Field(8, description="Mixes per step.")
    n_frames: settings.that(lambda value: type(value) is int and value > 0 and value % 64 == 0, "a multiple of 64") = (
        Field(128, description="Length of a mix in frames of 23 ms.")
    )
    learning_rate: settings.number(above=0, highest=1) = Field(
        2e-3, description="The first learning rate, which falls to zero along a cosine."
    )
    filters: settings.field(query_unet.Params, "conv_n_filters") = Field(
        list(query_unet.FILTERS), description="Filters of each convolution."
    )
    film: settings.one_of(*query_unet.PLACES) = Field("all", description="Where the query acts.")
    random_seed: settings.whole(0) = Field(0, description="Random seed of the weights and the examples.")


class Parameters(Settings):
    """The parameters of notebook 06."""

    query: settings.optional(settings.text("an audio file"), "a note of the held-out instrument") = Field(
        None, description="A recording of one instrument alone, to ask for."
    )
    song: settings.optional(settings.text("an audio file"), "a composed song") = Field(
        None, description="The song to ask in."
    )
    steps: settings.whole(1) = Field(300, description="Training steps.")
    held_out: settings.field(query_unet.Params, "held_out") = Field(
        [56], description="General MIDI programs, from 0, that are never trained on."
    )
    songs: settings.whole(1) = Field(24, description="Songs to render and train on, of eight parts each.")
    name: settings.name() = Field("query", description="The model's folder under models/.")
    fresh: settings.flag() = Field(False, description="Discard what this model has learned before, and start over.")


def train(folder, banks, settings=None, fresh=False, targets=None):
    """Train a network, or resume an interrupted training.

    Parameters
    ----------
    folder : Path
        The model's.
    banks : list of material.Bank
        Rendered music, and notes for the queries.
    settings : Settings, optional
    fresh : bool
        Discard an earlier training in this folder.
    targets : dict of str to list of int, optional
        Separate these instruments, given by their programs, and `other`, instead of what a query asks for.

    Returns
    -------
    Path
        The model folder, which `Separator` opens.

    Raises
    ------
    SettingError, TrainingError
    """
    settings = settings or Settings()
    config = configuration(settings, [f"{bank.name} ({bank.checksum()})" for bank in banks])
    if targets:
        config["train_csv"] += f", separating {targets}"
        config["instrument_list"] = [*targets, instruments.OTHER]
    listed = targets and list(map(set, targets.values()))
    return start(
        folder, config, lambda: _training(folder, config, banks, settings, listed), lambda f: (f / WEIGHTS).exists(),
        fresh,
    )  # fmt: skip


def _training(folder, config, banks, settings, targets):
    """Make sure that training can start, and return what trains."""
    queries = Queries(banks, settings.descriptor)
    training, validation = (
        Examples(banks, queries, settings.batch_size, settings.n_frames, seed, frozenset(settings.held_out), targets)
        for seed in (settings.random_seed, settings.random_seed + VALIDATION_SEED)
    )
    return to_weights(
        folder, lambda: compiled(config), training, validation, settings.steps, settings.save_every,
        config["instrument_list"],
    )  # fmt: skip


def configuration(settings, bank_names):
    """The content of `config.json`, as any separator's."""
    params = {
        "conv_n_filters": settings.filters,
        "descriptor": settings.descriptor,
        "n_inputs": descriptors.size(settings.descriptor),
        "film": settings.film,
        "held_out": settings.held_out,
    }
    return {
        "train_csv": ", ".join(bank_names),
        "validation_csv": ", ".join(bank_names),
        "model_dir": "query",
        "mix_name": "mix",
        "instrument_list": [query_unet.ASKED, query_unet.REST],
        "sample_rate": 2 * descriptors.RATE,
        "frame_length": 2 * descriptors.FRAME,
        "frame_step": 2 * descriptors.STEP,
        "T": 256,
        "F": N_BINS,
        "n_channels": 2,
        "separation_exponent": 1,
        "mask_extension": "average",
        "learning_rate": settings.learning_rate,
        "batch_size": settings.batch_size,
        "train_max_steps": settings.steps,
        "throttle_secs": 300,
        "random_seed": settings.random_seed,
        "save_checkpoints_steps": settings.save_every,
        "save_summary_steps": 10,
        "model": {"type": query_unet.QueryUnet.type, "params": params},
        "muscomp": {"taxonomy": None, "crop_frames": settings.n_frames, "remix": True},
    }


def trained_network(folder):
    """The Keras model of a model folder with its two inputs, magnitudes and queries, for the experiment."""
    from muscomp_lib.models.config import read_config
    from muscomp_lib.models.weights import set_weights

    made = network(read_config(folder / "config.json"))
    model = made.training_model()
    set_weights(model, made.read_weights(folder), folder)
    return model
