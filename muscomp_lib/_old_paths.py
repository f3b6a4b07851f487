"""Module paths of version 0.1, which notebooks on people's drives still import: `from muscomp_lib import drive`.

A name here stands for the module that holds the code now: both give the same module.
"""

import importlib
import importlib.abc
import importlib.machinery
import sys

MOVED = {
    "batches": "separation.folder",
    "beats": "notation.beats",
    "catalogue": "slakh.index_tables",
    "config": "models.config",
    "constant_q": "transcription.cqt",
    "decoding": "audio.reader",
    "distribution": "training.strategy",
    "drive": "core.root",
    "encoding": "audio.writer",
    "errors": "core.errors",
    "evaluation": "separation.metrics",
    "examination": "slakh.verify",
    "fills": "reserve.fill_plan",
    "forecast": "reserve.estimate",
    "inference": "separation.inference",
    "instruments": "core.instruments",
    "journal": "core.file_cache",
    "learning": "training.loop",
    "midi_input": "music_files.midi_file",
    "mixdown": "dataset.mixing",
    "mixer": "notebook.mixer",
    "mount": "core.remote_io",
    "network_plots": "plots.networks",
    "note_evaluation": "transcription.metrics",
    "note_plots": "plots.notes",
    "outputs": "separation.targets",
    "parallel": "core.parallel",
    "partitions": "reserve.split",
    "prepared": "dataset.library",
    "progress": "core.progress",
    "report": "notebook.summary",
    "shared_unet": "models.shared_unet",
    "shipped": "models.pretrained",
    "songs": "separation.songs",
    "spleeter_bridge": "models.checkpoint",
    "spleeter_engine": "spleeter.engine",
    "stage": "notebook.separation_app",
    "stft": "audio.stft",
    "streams": "audio.stream",
    "synthesizer": "minislakh.synthesizer",
    "transcriber": "transcription.note_decoder",
    "try_this": "notebook.exercise",
    "unet": "models.unet",
    "upload": "notebook.upload",
}


class _OldPaths(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, fullname, path=None, target=None):
        package, _, name = fullname.rpartition(".")
        if package == "muscomp_lib" and name in MOVED:
            return importlib.machinery.ModuleSpec(fullname, self)
        return None

    def exec_module(self, module):
        name = module.__name__.rpartition(".")[2]
        sys.modules[module.__name__] = importlib.import_module(f"muscomp_lib.{MOVED[name]}")


def install():
    """Let the old paths be imported."""
    sys.meta_path.append(_OldPaths())
