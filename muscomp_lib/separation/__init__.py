"""Notebook 05, first part: a song in, one sound per instrument out."""

from muscomp_lib.separation.evaluate import score_songs
from muscomp_lib.separation.separator import Separator
from muscomp_lib.separation.settings import Settings

__all__ = ["Separator", "Settings", "score_songs"]
