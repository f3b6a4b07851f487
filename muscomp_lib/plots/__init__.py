"""The pictures in the notebooks."""

from muscomp_lib.plots.data import (
    PARTITION_COLOURS,
    activity,
    before_and_after,
    confusion,
    instrument_counts,
    learning_curve,
    masks,
    partitions,
    si_sdr_bars,
    spectrograms,
    statuses,
    taxonomies,
    training_example,
    who_has_what,
)
from muscomp_lib.plots.networks import masks_on_the_way, network
from muscomp_lib.plots.notes import compared, likelihoods, note_training_example, piano_roll

__all__ = [
    "PARTITION_COLOURS",
    "activity",
    "before_and_after",
    "compared",
    "confusion",
    "instrument_counts",
    "learning_curve",
    "likelihoods",
    "masks",
    "masks_on_the_way",
    "network",
    "note_training_example",
    "partitions",
    "piano_roll",
    "si_sdr_bars",
    "spectrograms",
    "statuses",
    "taxonomies",
    "training_example",
    "who_has_what",
]
