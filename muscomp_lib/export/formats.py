"""The formats that networks are exported to: how each is written, run without us, and what it may cost.

A file that a converter wrote proves nothing: some leave the weights out and report success. So each is run in a process
of its own (run_alone.py), and its output is compared with the network's.
"""

import errno
import importlib.util
import io
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from muscomp_lib.core import parallel
from muscomp_lib.core.errors import MusCompError
from muscomp_lib.models import litert
from muscomp_lib.models.runtime import HIDES_GPUS, silence_stderr

SCRIPT = Path(__file__).with_name("run_alone.py")
FULL_DISK = tuple(map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)))  # how TensorFlow spells it


class RefusedError(MusCompError):
    """An exported file does not do what the network does."""


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes
    ----------
    runtime : str
        Who runs it: a key of `run_alone.LOADERS`.
    suffix : str
        Of each file; "" for a folder.
    needs : dict of str to str
        The packages that write and run it: {module: requirements file}.
    bounds : dict of str to float
        The most that each figure of `networks` may be.
    write : callable
        From a `litert.frozen` function and a path.
    n_examples : int or None
        How many that function takes at a time; None for any number.
    """

    runtime: str
    suffix: str
    needs: dict
    bounds: dict
    write: Callable
    n_examples: int | None = 1

    def missing(self):
        """Which package is missing and how to have it, a sentence; "" if all are here."""
        for module, file in self.needs.items():
            if importlib.util.find_spec(module) is None:
                return f"the package {module} is missing; pip install -r {file}"
        return ""


def _write_litert(weights):
    def write(function, path):
        path.write_bytes(litert.convert(function, weights))

    return write


def _write_onnx(function, path):
    """Write ONNX by way of LiteRT: from TensorFlow's graph, the converter makes recurrent layers that do not run."""
    import tf2onnx

    between = path.with_suffix(".tflite")
    _write_litert("float32")(function, between)
    with silence_stderr(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made, _ = tf2onnx.convert.from_tflite(str(between))
    between.unlink()
    path.write_bytes(made.SerializeToString())


def _write_saved_model(function, path):
    """Write TensorFlow's own format, with the weights as constants, for other converters to find them."""
    import tensorflow as tf

    holder = tf.Module()
    specs = [tf.TensorSpec(each.shape, name=f"input{number}") for number, each in enumerate(function.inputs)]
    holder.run = tf.function(lambda *inputs: {"output": function(*inputs)[0]}, input_signature=specs)
    try:
        with silence_stderr():
            tf.saved_model.save(holder, str(path), signatures=holder.run)
    except tf.errors.OpError as error:
        if any(reason in str(error) for reason in FULL_DISK):
            raise OSError(errno.ENOSPC, str(error)) from error
        raise


OURS, OPTIONAL = "requirements.txt", "requirements-export.txt"
LITERT = {"ai_edge_litert": OURS}
FLOAT32 = {"largest_difference": 1e-4, "si_sdr_cost_db": 0.05, "f1_cost": 0.005}
FLOAT16 = FLOAT32 | {"largest_difference": 2e-2}
INT8 = {"si_sdr_cost_db": 1.0, "f1_cost": 0.02}
FORMATS = {
    "saved_model": Format("saved_model", "", {}, FLOAT32, _write_saved_model, None),
    "litert_float32": Format("litert", ".tflite", LITERT, FLOAT32, _write_litert("float32")),
    "litert_float16": Format("litert", ".tflite", LITERT, FLOAT16, _write_litert("float16")),
    "litert_int8": Format("litert", ".tflite", LITERT, INT8, _write_litert("int8")),
    "onnx": Format("onnx", ".onnx", dict.fromkeys(("onnx", "tf2onnx", "onnxruntime"), OPTIONAL), FLOAT32, _write_onnx),
}
DEFAULT = tuple(name for name in FORMATS if name != "litert_int8")


def run_alone(runtime, files, windows):
    """Run exported files in a process of its own, on a CPU.

    Parameters
    ----------
    runtime : str
        A key of `run_alone.LOADERS`.
    files : list of Path
    windows : list of list of np.ndarray
        The inputs of each.

    Returns
    -------
    outputs : list of np.ndarray
        Of each file, those of all windows.
    measured : dict
        Seconds: `cold_start`, from import to first output, and `run`, a window at best; `memory` in bytes, or None.

    Raises
    ------
    RefusedError
        The process failed, or it loaded what it is to do without.
    """
    counts = map(str, (parallel.cores(), len(windows), len(windows[0])))
    command = [sys.executable, SCRIPT, runtime, *counts, *files]
    sent = io.BytesIO()
    for array in (array for inputs in windows for array in inputs):
        np.save(sent, array)
    environment = os.environ | {HIDES_GPUS: "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, input=sent.getbuffer(), capture_output=True, env=environment, check=False)
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit status {done.returncode}"]
        raise RefusedError(f"on its own it does not run ({lines[-1]})")
    received = io.BytesIO(done.stdout)
    outputs = [[np.load(received) for _ in files] for _ in windows]
    measured = json.loads(received.read())
    if measured["loaded"] != (["tensorflow"] if runtime == "saved_model" else []):
        raise RefusedError(f"on its own it needs {', '.join(measured['loaded'])}")
    return [np.concatenate(each) for each in zip(*outputs, strict=True)], measured


def check(figures, bounds):
    """Refuse a file whose figures are not as they must be.

    Raises
    ------
    RefusedError
    """
    for name, most in bounds.items():
        if name in figures and figures[name] > most:
            raise RefusedError(f"its {name} is {figures[name]:.3g}, above the bound of {most:g}")
