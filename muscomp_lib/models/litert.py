"""Networks on LiteRT, which computes on a CPU and loads in a fraction of a second; TensorFlow takes seconds to import.

A **graph** is a network as a LiteRT file without its weights: zeros stand in their places, and a list says which weight
belongs where. It depends on the architecture alone, and without weights it is small. So the graphs of the networks that
everybody uses are part of the project (`graphs/`), fit every model of that architecture, and need no TensorFlow. The
graph of another architecture is made once, with TensorFlow, and kept in the user's cache folder. To make the project's
again after a change of the networks:

    python -m muscomp_lib.export.graphs
"""

import contextlib
import functools
import hashlib
import importlib.util
import itertools
import json
import logging
import sys
import threading
import warnings
import zipfile
from pathlib import Path

import numpy as np

from muscomp_lib.core import parallel
from muscomp_lib.core.errors import MusCompError, SettingError
from muscomp_lib.core.files import cache_folder, written_whole
from muscomp_lib.models.runtime import silence_stderr, start_tensorflow
from muscomp_lib.models.weights import check_shapes, get_weights, set_weights

FOLDER = Path(__file__).with_name("graphs")  # the project's
MODEL, PLACES = "network.tflite", "places.json"  # the members of a graph's file, a ZIP file
DATE = (1980, 1, 1, 0, 0, 0)  # of the members: equal graphs are equal files
VERSION = 1  # of this format
SPREAD = 0.1  # standard deviation of random biases, and of factors from 1
PACKET, ULPS = 4, 4  # from so many values on, processors differ in the last bits of what a converter computes of them
TOLERANCE = 1e-4  # of the output's norm: a weight in a wrong place changes far more

log = logging.getLogger(__name__)


def installed():
    """Whether LiteRT can be had here."""
    return importlib.util.find_spec("ai_edge_litert") is not None


def find(computation):
    """The graph of a computation (runtime.Computation); None where TensorFlow has to compute it.

    Where there is no graph, and TensorFlow is loaded already, none is made: that takes longer than it saves.

    Raises
    ------
    SettingError
        The project's own file is damaged.
    """
    ours, made = shipped(computation), kept(computation)
    if ours.is_file():
        return Graph.read(ours)
    if made is None or ("tensorflow" in sys.modules and not made.is_file()):
        return None
    try:
        return Graph.read(made)
    except SettingError:
        log.info("Preparing %s for LiteRT: some ten seconds, once.", computation.name)
    graph = make(computation)
    if graph:
        with contextlib.suppress(OSError, MusCompError):  # where nothing can be kept, the next run makes it again
            graph.write(made)
    return graph


class Graph:
    """A network without its weights.

    Parameters
    ----------
    content : bytes
        A LiteRT file.
    shapes : dict of str to list of int
        All weights of the Keras model, by path.
    places : list of (str, int or None, list of int, int)
        The name of a constant, an index of its first axis or None for all of it, the order of its axes in the file, and
        the byte at which it begins.
    """

    def __init__(self, content, shapes, places):
        self._content, self.shapes, self._places = content, shapes, places

    @classmethod
    def read(cls, path):
        """A graph as `write` wrote it; SettingError where the file is missing, damaged or of another version."""
        try:
            with zipfile.ZipFile(path) as archive:
                content, listed = archive.read(MODEL), json.loads(archive.read(PLACES))
            if listed["version"] != VERSION:
                raise ValueError(f"its version is {listed['version']!r}, not {VERSION}")
            return cls(content, listed["shapes"], listed["places"])
        except Exception as error:  # a damaged archive raises anything from KeyError to NotImplementedError
            raise SettingError(f"{path} cannot be read ({error}). Install Mus-Comp again, or copy it again.") from error

    def write(self, path):
        """Write the graph; it appears whole or not at all."""
        listed = {"version": VERSION, "shapes": self.shapes, "places": self._places}
        with written_whole(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for name, content in ((MODEL, self._content), (PLACES, json.dumps(listed).encode())):
                archive.writestr(zipfile.ZipInfo(name, DATE), content, zipfile.ZIP_DEFLATED)

    def runner(self, computation, values, where):
        """A `Runner` with these weights.

        Parameters
        ----------
        computation : runtime.Computation
        values : mapping of str to np.ndarray
            As `weights.read_weights` returns them.
        where : str or Path
            Their source, for the message.

        Raises
        ------
        SettingError
            They belong to another network.
        """
        check_shapes(self.shapes, values, where)
        constants, content = computation.constants(values), bytearray(self._content)
        for name, index, axes, begin in self._places:
            part = constants[name] if index is None else constants[name][index]
            part = np.ascontiguousarray(part.transpose(axes), dtype="<f4").tobytes()
            content[begin : begin + len(part)] = part
        return Runner(bytes(content))


class Runner:
    """A network on LiteRT: from arrays, each of shape (n_examples, ...), to one, float32.

    Examples are computed one after the other, each on all cores that this process may use.
    """

    def __init__(self, content):
        with silence_stderr():  # it reports its CPU kernels
            from ai_edge_litert.interpreter import Interpreter

            self._interpreter = Interpreter(model_content=content, num_threads=parallel.cores())
            self._interpreter.allocate_tensors()
        self._inputs = [each["index"] for each in self._interpreter.get_input_details()]
        self._output = self._interpreter.get_output_details()[0]["index"]
        self._lock = threading.Lock()  # an interpreter is for one thread at a time

    def __call__(self, *inputs):
        """The output for each example: shape (n_examples, ...)."""
        with self._lock:
            return np.concatenate([self._one(example) for example in zip(*inputs, strict=True)])

    def _one(self, example):
        for index, array in zip(self._inputs, example, strict=True):
            self._interpreter.set_tensor(index, np.ascontiguousarray(array[None], dtype=np.float32))
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output)


def make(computation):
    """Make a computation's graph, with TensorFlow; None if LiteRT cannot compute it for all weights.

    A network is converted with random weights, which are then found in the file byte by byte. With other random weights
    in their places, the graph has to give what the Keras model gives: so no weight was missed.
    """
    start_tensorflow()
    model = computation.build()
    first, second = (computation.constants(_random(get_weights(model), seed)) for seed in (0, 1))
    try:
        set_weights(model, first, computation.name)
        content = convert(frozen(traced(computation, model)))
    except Exception as error:  # whatever its converter raises for a layer that LiteRT does not have
        log.warning("%s runs on TensorFlow: LiteRT cannot compute it (%s).", computation.name, error)
        return None
    places = list(_places(content, first))
    shapes = {weight.path: list(weight.shape) for weight in model.weights}
    graph = Graph(_zeroed(content, places, first), shapes, places)
    if _agrees(graph, computation, model, second):
        return graph
    log.warning("%s runs on TensorFlow: on LiteRT its results differ.", computation.name)
    return None


def _random(values, seed):
    """Random weights with which signals keep their size from layer to layer, so that each weight counts at the end."""
    rng, made = np.random.default_rng(seed), {}
    for name, value in values.items():
        spread = np.sqrt(2 * value.shape[-1] / value.size) if value.ndim > 1 else SPREAD
        centre = 1.0 if name.endswith(("gamma", "variance")) else 0.0
        made[name] = (centre + spread * rng.standard_normal(value.shape)).astype(np.float32)
    return made


def traced(computation, model, n_examples=1):
    """A computation as a function of TensorFlow's, for so many examples at a time; None for any number."""
    import tensorflow as tf

    function = tf.function(lambda *inputs: computation.call(model, *inputs))
    shapes = enumerate(computation.shapes)
    return function.get_concrete_function(*(tf.TensorSpec((n_examples, *s), name=f"input{n}") for n, s in shapes))


def frozen(function):
    """A `traced` function that holds the weights, as they are now, as constants.

    Without this, TensorFlow's converters leave the weights out and report success.
    """
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    with silence_stderr():
        return convert_variables_to_constants_v2(function)


def convert(function, weights="float32"):
    """A `frozen` function as a LiteRT file: bytes.

    Parameters
    ----------
    function : TensorFlow's ConcreteFunction
    weights : str
        "float32"; "float16" or "int8", from which 32-bit floats are computed as it runs.
    """
    import tensorflow as tf

    logging.getLogger("absl").setLevel(logging.ERROR)  # TensorFlow recommends the way that leaves the weights out
    with silence_stderr(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
        if weights != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if weights == "float16":
            converter.target_spec.supported_types = [tf.float16]
        return bytes(converter.convert())


def _places(content, values):
    """Where the values are in a LiteRT file, as in `Graph`. A layer may hold the rows of a weight apart."""
    floats = np.frombuffer(content, "<f4", len(content) // 4)  # constants begin at multiples of 16 bytes
    for name, value in values.items():
        rows = enumerate(value) if value.ndim > 1 else ()
        for index, part in [(None, value), *rows]:
            axes, found = _occurrences(floats, part) if part.any() else (None, [])
            yield from ((name, index, axes, begin) for begin in found)
            if found and index is None:
                break


def _occurrences(floats, part):
    """The order of axes in which an array lies in a file's floats, and all bytes at which it begins.

    The converter multiplies factors by 1 / sqrt(1), which not every processor computes as exactly 1.
    """
    slack = ULPS * np.finfo(np.float32).eps if part.size >= PACKET else 0.0
    with np.errstate(invalid="ignore", over="ignore"):  # most of a file is no floats
        begins = np.flatnonzero(np.abs(floats - part.flat[0]) <= slack * abs(part.flat[0]))
    for axes in itertools.permutations(range(part.ndim)):
        sought = part.transpose(axes).ravel()
        windows = ((at, floats[at : at + part.size]) for at in begins.tolist() if at + part.size <= len(floats))
        found = [4 * at for at, window in windows if np.allclose(window, sought, slack, 0.0)]
        if found:
            return list(axes), found
    return None, []


def _zeroed(content, places, values):
    content = bytearray(content)
    for name, index, _, begin in places:
        size = values[name].nbytes if index is None else values[name][index].nbytes
        content[begin : begin + size] = bytes(size)
    return bytes(content)


def _agrees(graph, computation, model, values):
    """Whether a graph computes what the Keras model does, with weights that it was not made with."""
    set_weights(model, values, computation.name)
    rng = np.random.default_rng(2)
    inputs = [rng.uniform(0, 1, (1, *shape)).astype(np.float32) for shape in computation.shapes]
    expected = np.asarray(computation.call(model, *inputs))
    found = graph.runner(computation, values, computation.name)(*inputs)
    if found.shape != expected.shape:
        return False
    return np.linalg.norm(found - expected) <= TOLERANCE * np.linalg.norm(expected - expected.mean())


def write_shipped(computation):
    """Make the graph of a computation as a part of the project: its path. LiteRT must be able to compute it."""
    path = shipped(computation)
    make(computation).write(path)
    return path


def shipped(computation):
    """Where the project would have the graph of a computation."""
    return FOLDER / f"{computation.name}-{_digest(computation.key)}.zip"


def kept(computation):
    """The graph's file in the cache folder, named by all that it depends on; None if it cannot be known."""
    code = code_of((*computation.modules, __name__))
    try:
        return code and cache_folder() / "graphs" / f"{computation.name}-{_digest([computation.key, code])}.zip"
    except SettingError:
        return None


@functools.cache
def code_of(modules):
    """A digest of the code of modules; None if it is in no file, as a notebook's."""
    try:
        return hashlib.sha256(b"".join(Path(sys.modules[name].__file__).read_bytes() for name in modules)).hexdigest()
    except (AttributeError, OSError):
        return None


def _digest(key):
    return hashlib.sha256(json.dumps([VERSION, key], sort_keys=True).encode()).hexdigest()[:16]
