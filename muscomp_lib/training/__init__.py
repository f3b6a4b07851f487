"""Notebook 04: a network learns to separate."""

from muscomp_lib.training.loop import compiled, read_history
from muscomp_lib.training.train import Parameters, examples, find_config, train
from muscomp_lib.training.trial import Trial, try_out

__all__ = ["Parameters", "Trial", "compiled", "examples", "find_config", "read_history", "train", "try_out"]
