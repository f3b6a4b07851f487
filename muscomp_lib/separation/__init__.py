"""Notebook 05, first part: a song in, one sound per instrument out.

What these names stand for is loaded when one is first used: scores need pandas, and separation does not.
"""

import importlib

__all__ = ["Separator", "Settings", "score_songs"]

_HOMES = {"Separator": "separator", "Settings": "settings", "score_songs": "evaluate"}


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
