"""Notebook 08: who composed it? Clips of scores in an embedding, and how far its answers can be trusted."""

from muscomp_lib.composers.model import Recognizer, train
from muscomp_lib.composers.settings import Settings

__all__ = ["Recognizer", "Settings", "train"]
