"""Mus-Comp: one song in, twelve instruments and a MIDI file out, and every step of the way open to study.

A package per notebook: `slakh` (01, with `minislakh`), `reserve` (02), `tables` (03), `training` (04), `separation` and
`transcription` (05, with `notation`), `timbre` (06), `export` (07), `composers` (08). Below them `models`, `dataset`,
`spleeter`, `music_files`, `audio`, `core`; beside them `plots` and `notebook`, and `website`, which hosts a model.

    from muscomp_lib import Separator, open_root, transcribe

Importing this package is quick: what these names stand for is loaded when one is first used, TensorFlow when a network
is first trained, or runs on a GPU.
"""

import importlib

from muscomp_lib import _old_paths

__version__ = "0.1.0"
__all__ = ["Separator", "open_root", "transcribe"]

_HOMES = {"Separator": "separation", "open_root": "core.root", "transcribe": "transcription"}
_old_paths.install()


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module 'muscomp_lib' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f"muscomp_lib.{_HOMES[name]}"), name)
