"""Notebook 04: a network learns to separate."""

from muscomp_lib.training.train import (
    Trial,
    compiled,
    examples,
    find_config,
    magnitude_distance,
    mask_cross_entropy,
    read_history,
    train,
    try_out,
)

__all__ = [
    "Trial",
    "compiled",
    "examples",
    "find_config",
    "magnitude_distance",
    "mask_cross_entropy",
    "read_history",
    "train",
    "try_out",
]
