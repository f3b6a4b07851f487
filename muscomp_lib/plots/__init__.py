"""The notebooks' figures."""

from muscomp_lib.plots.composers import composer_clips, embeddings, open_set
from muscomp_lib.plots.data import (
    PARTITION_COLOURS,
    activity,
    confusion,
    filling,
    instrument_counts,
    learning_curve,
    masks,
    partitions,
    si_sdr_bars,
    spectrograms,
    statuses,
    stem_counts,
    taxonomies,
    training_example,
)
from muscomp_lib.plots.lessons import convolution, gradient_steps
from muscomp_lib.plots.networks import exported, mask_snapshots, network
from muscomp_lib.plots.notes import likelihoods, note_matching, note_training_example, piano_roll
from muscomp_lib.plots.timbre import film, film_of_queries, timbres

__all__ = [
    "PARTITION_COLOURS",
    "activity",
    "composer_clips",
    "confusion",
    "convolution",
    "embeddings",
    "exported",
    "filling",
    "film",
    "film_of_queries",
    "gradient_steps",
    "instrument_counts",
    "learning_curve",
    "likelihoods",
    "mask_snapshots",
    "masks",
    "network",
    "note_matching",
    "note_training_example",
    "open_set",
    "partitions",
    "piano_roll",
    "si_sdr_bars",
    "spectrograms",
    "statuses",
    "stem_counts",
    "taxonomies",
    "timbres",
    "training_example",
]
