"""Runs exported files in a process of its own, without Mus-Comp, and measures them. formats.py starts it.

    python run_alone.py RUNTIME N_THREADS N_WINDOWS N_INPUTS FILE...

Standard input: the windows, each as its inputs in NumPy's format, one after the other. Standard output: for each window
the output of each file; then, as JSON, what was measured and which packages were loaded. Nothing of ours is imported:
a file that works here works wherever its runtime is installed.
"""

import json
import os
import sys
import time
from types import SimpleNamespace

BEGAN = time.perf_counter()
REPORTED = ("tensorflow", "muscomp_lib")  # packages


def load_litert(path, n_threads):
    """A LiteRT file as a function from inputs to its output."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path, num_threads=n_threads)
    interpreter.allocate_tensors()
    output = interpreter.get_output_details()[0]["index"]

    def run(*inputs):
        for details, array in zip(interpreter.get_input_details(), inputs, strict=True):
            interpreter.set_tensor(details["index"], array)
        interpreter.invoke()
        return interpreter.get_tensor(output)

    return run


def load_onnx(path, n_threads):
    """As `load_litert`, of an ONNX file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    return lambda *inputs: session.run(None, dict(zip(names, inputs, strict=True)))[0]


def load_saved_model(path, n_threads):
    """As `load_litert`, of TensorFlow's own format."""
    import tensorflow as tf

    if not tf.config.threading.get_intra_op_parallelism_threads():
        tf.config.threading.set_intra_op_parallelism_threads(n_threads)
    loaded = tf.saved_model.load(path)
    function = loaded.signatures["serving_default"]
    names = [f"input{number}" for number in range(len(function.structured_input_signature[1]))]

    def run(*inputs, loaded=loaded):  # which has to be kept
        given = {name: tf.constant(array) for name, array in zip(names, inputs, strict=True)}
        return function(**given)["output"].numpy()

    return run


LOADERS = {"litert": load_litert, "onnx": load_onnx, "saved_model": load_saved_model}


def peak_memory():
    """The most memory of this process so far, in bytes; None where the system does not report it.

    Linux's own record counts from the start of this program; `resource` would include the one that started it.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as file:  # noqa: PTH123 - pathlib is one import more
            return next(1024 * int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return None


def main(runtime, n_threads, n_windows, n_inputs, *paths):
    """Run the files on all windows."""
    import numpy as np

    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a runtime prints is not part of the result
    reader, writer = SimpleNamespace(read=sys.stdin.buffer.read), SimpleNamespace(write=out.write)  # pipes cannot seek
    runs, seconds, waited = [], [], 0.0
    for number in range(int(n_windows)):
        before = time.perf_counter()
        inputs = [np.lib.format.read_array(reader) for _ in range(int(n_inputs))]
        waited += time.perf_counter() - before
        runs = runs or [LOADERS[runtime](path, int(n_threads)) for path in paths]
        begun = time.perf_counter()
        outputs = [run(*inputs) for run in runs]
        if number == 0:
            cold_start = time.perf_counter() - BEGAN - waited
            begun = time.perf_counter()
            outputs = [run(*inputs) for run in runs]  # again: the first run is not representative
        seconds.append(time.perf_counter() - begun)
        for output in outputs:
            np.save(writer, output)
    measured = {"cold_start": cold_start, "run": min(seconds), "memory": peak_memory()}
    measured["loaded"] = [name for name in REPORTED if name in sys.modules]
    out.write(json.dumps(measured).encode())
    out.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
