"""Notebook 06: one network for any instrument, asked for by its timbre.

What these names stand for is loaded when one is first used.
"""

import importlib

__all__ = ["Parameters", "Settings", "envelope", "harmonics", "query"]

_HOMES = {"envelope": "descriptors", "harmonics": "descriptors", "query": "recording"}
_HOMES |= dict.fromkeys(["Parameters", "Settings"], "train")


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
