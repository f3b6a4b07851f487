"""Notebook 05, first part: a song in, one sound per instrument out."""

from muscomp_lib.separation.separator import Separator, score_songs

__all__ = ["Separator", "score_songs"]
