"""Networks on LiteRT: what TensorFlow computes, without it; graphs that are damaged, old or missing."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from fixtures import tiny_prepared, tiny_spleeter
from fixtures.needs import require

from muscomp_lib.core import files
from muscomp_lib.core.errors import SettingError
from muscomp_lib.export import graphs
from muscomp_lib.models import litert, pretrained, runtime
from muscomp_lib.models.config import read_config
from muscomp_lib.models.registry import network
from muscomp_lib.models.weights import get_weights, read_weights

PROJECT = Path(__file__).parents[2]
KINDS = ["muscomp.shared_unet", "unet.unet", "unet.softmax_unet"]
WITHOUT_TENSORFLOW = """
import sys
import numpy as np
from muscomp_lib import Separator, commands, transcribe
song = np.random.default_rng(0).uniform(-0.5, 0.5, (44100, 2)).astype(np.float32)
separator = Separator(sys.argv[1] if len(sys.argv) > 1 else None)
transcribe(separator.separate(song, 44100), 44100, progress=lambda items, **_: items)
print(sorted({"tensorflow", "keras", "pandas", "matplotlib", "music21"} & set(sys.modules)))
"""


@pytest.fixture(autouse=True)
def installed():
    require(litert.installed(), "ai-edge-litert is not installed")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A network of each type with random weights, its computation, graph and weights of one instrument or all."""
    made = {}
    for kind in KINDS:
        filters = [8, 8] if kind.startswith("muscomp") else [4, 4, 8, 8, 8, 8]
        changes = {"model": {"type": kind, "params": {"conv_n_filters": filters}}, "F": 256}
        root = tiny_prepared.write(tmp_path_factory.mktemp(kind), seconds=0.1, **changes)
        computation = network(read_config(root.configs / "tiny.json")).computation()
        weights = tiny_spleeter.lively(get_weights(computation.build()), seed=3)
        made[kind] = computation, litert.make(computation), weights
    return made


def inputs(computation, seed=0, n_examples=1):
    rng = np.random.default_rng(seed)
    return [rng.uniform(0, 1, (n_examples, *shape)).astype(np.float32) for shape in computation.shapes]


def on_both(computation, graph, weights, given):
    on_tensorflow = runtime.on_tensorflow(computation, weights, "here")
    return graph.runner(computation, weights, "here")(*given), on_tensorflow(*given)


@pytest.mark.parametrize("kind", KINDS)
def test_litert_computes_what_tensorflow_does(tiny, kind):
    computation, graph, weights = tiny[kind]
    ours, theirs = on_both(computation, graph, weights, inputs(computation, n_examples=2))
    assert ours.shape == theirs.shape and np.abs(theirs).max() > 1e-3
    np.testing.assert_allclose(ours, theirs, atol=2e-6 * np.abs(theirs).max())


@pytest.mark.parametrize("kind", KINDS)
def test_a_written_graph_computes_the_same_bits(tiny, kind, tmp_path):
    computation, graph, weights = tiny[kind]
    graph.write(tmp_path / "graph.zip")
    assert (tmp_path / "graph.zip").stat().st_size < 100_000
    given = inputs(computation)
    again = litert.Graph.read(tmp_path / "graph.zip").runner(computation, weights, "here")
    np.testing.assert_array_equal(again(*given), graph.runner(computation, weights, "here")(*given))


def test_weights_of_another_network_are_refused_by_name(tiny):
    computation, graph, weights = tiny[KINDS[0]]
    name = next(iter(weights))
    with pytest.raises(SettingError, match=rf"here holds the weights of another network: {name} is missing"):
        graph.runner(computation, {key: weights[key] for key in weights if key != name}, "here")


@pytest.mark.parametrize(("model", "largest"), [(pretrained.FOLDER, 5e-5), (pretrained.TRANSCRIBER, 1e-4)])
def test_the_pretrained_networks_agree_with_tensorflow(model, largest):
    """In masks, from 0 to 1, and in log odds."""
    if model == pretrained.FOLDER:
        computation = graphs.computations()["the pretrained separator"]
    else:
        computation = graphs.computations()["the pretrained transcriber"]
    values = read_weights(model / "weights.npz", json.loads((model / "config.json").read_text())["instrument_list"])
    ours, theirs = on_both(computation, litert.find(computation), values, inputs(computation))
    assert np.abs(ours - theirs).max() < largest


@pytest.mark.parametrize("description", graphs.computations())
def test_usual_networks_have_a_graph_in_the_project(description):
    computation = graphs.computations()[description]
    graph = litert.Graph.read(litert.shipped(computation))
    assert graph.shapes
    assert litert.shipped(computation).stat().st_size < 200_000


def run(code, *args, cache):
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "MUSCOMP_CACHE": str(cache), "CUDA_VISIBLE_DEVICES": ""},
        check=True,
    )
    return done.stdout.splitlines()[-1]


def test_the_pretrained_models_separate_and_transcribe_without_tensorflow(tmp_path):
    assert run(WITHOUT_TENSORFLOW, cache=tmp_path) == "[]"


def test_another_architecture_needs_tensorflow_only_once(tmp_path):
    changes = {"T": 64, "F": 128, "model": {"type": "unet.unet", "params": {"conv_n_filters": [2] * 6}}}
    model = tiny_spleeter.model(tmp_path / "model", **changes)
    found = [run(WITHOUT_TENSORFLOW, model, cache=tmp_path / "cache") for _ in range(2)]
    assert "tensorflow" in found[0] and found[1] == "[]"


@pytest.fixture
def cached(tiny, tmp_path, monkeypatch):
    """A computation whose graph is in the cache folder, and that file."""
    monkeypatch.setenv("MUSCOMP_CACHE", str(tmp_path))
    computation, graph, _ = tiny[KINDS[0]]
    graph.write(litert.kept(computation))
    return computation, litert.kept(computation)


def test_a_kept_graph_is_used_also_beside_tensorflow(cached):
    computation, path = cached
    assert litert.find(computation) is not None
    path.unlink()
    assert litert.find(computation) is None  # TensorFlow, which is loaded here, computes at once


def test_a_damaged_kept_graph_is_made_again(cached):
    computation, path = cached
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[: size // 2])
    assert litert.find(computation) is not None
    assert path.stat().st_size > 0.9 * size and litert.Graph.read(path).shapes


def test_where_nothing_can_be_kept_networks_still_run(cached, monkeypatch, tmp_path):
    computation, _ = cached
    monkeypatch.delitem(sys.modules, "tensorflow")
    (tmp_path / "file").touch()
    monkeypatch.setenv("MUSCOMP_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(litert, "make", lambda _: litert.Graph(b"", {}, []))
    assert litert.find(computation) is not None
    monkeypatch.setenv("MUSCOMP_CACHE", "~nobody-of-this-name/cache")
    assert litert.find(computation) is None  # TensorFlow computes
    with pytest.raises(SettingError, match="Set MUSCOMP_CACHE to a folder"):
        files.cache_folder()


def test_a_damaged_or_older_project_graph_is_one_sentence(cached, monkeypatch, tmp_path):
    computation, path = cached
    monkeypatch.setattr(litert, "FOLDER", tmp_path / "graphs")
    shipped = litert.shipped(computation)
    shutil.copy(path, shipped)
    for content, says in (
        (path.read_bytes()[:1000], "not a zip file"),
        (other_version(path, tmp_path), "version is 0"),
    ):
        shipped.write_bytes(content)
        with pytest.raises(SettingError, match=rf"cannot be read \(.*{says}.*\)\. Install Mus-Comp again"):
            litert.find(computation)


def other_version(path, folder):
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(folder / "old.zip", "w") as old:
        old.writestr(litert.MODEL, archive.read(litert.MODEL))
        old.writestr(litert.PLACES, json.dumps(json.loads(archive.read(litert.PLACES)) | {"version": 0}))
    return (folder / "old.zip").read_bytes()


def test_a_network_that_litert_lacks_runs_on_tensorflow(tiny, caplog):
    computation, _, _ = tiny[KINDS[0]]

    def call(model, magnitude):
        import tensorflow as tf

        return computation.call(model, magnitude) + 0 * tf.random.stateless_gamma((1,), (1, 2), 1.0)

    assert litert.make(computation._replace(call=call)) is None
    assert "runs on TensorFlow" in caplog.text


def without(graph, name):
    return litert.Graph(graph._content, graph.shapes, [place for place in graph._places if place[0] != name])


@pytest.mark.parametrize("kind", KINDS)
def test_each_weight_that_is_not_found_is_noticed(tiny, kind):
    computation, graph, weights = tiny[kind]
    weights, given = litert._random(weights, seed=1), inputs(computation)
    whole = graph.runner(computation, weights, "here")(*given)
    for name in {place[0] for place in graph._places}:
        other = without(graph, name).runner(computation, weights, "here")(*given)
        assert np.linalg.norm(other - whole) > 2 * litert.TOLERANCE * np.linalg.norm(whole - whole.mean()), name


def test_a_graph_that_computes_something_else_is_refused(tiny):
    computation, graph, weights = tiny["unet.unet"]
    model, values = computation.build(), computation.constants(litert._random(weights, seed=1))
    assert litert._agrees(graph, computation, model, values)
    assert not litert._agrees(without(graph, "one_down3_normalisation/gamma"), computation, model, values)


@pytest.mark.parametrize("inexact", [1.0, 1 - 2**-24, 1 + 2**-23])
def test_factors_are_found_whatever_a_processor_makes_of_one(inexact):
    gamma, kernel = np.random.default_rng(0).normal(size=(2, 3, 8)).astype(np.float32)
    content = bytes(64) + kernel.T.tobytes() + (gamma[0] * np.float32(inexact)).tobytes()
    found = list(litert._places(content, {"gamma": gamma[0], "kernel": kernel, "moving_mean": np.zeros(8, np.float32)}))
    assert found == [("gamma", None, [0], 160), ("kernel", None, [1, 0], 64)]


def test_with_a_gpu_tensorflow_computes(monkeypatch, tmp_path):
    computation = graphs.computations()["the pretrained transcriber"]
    assert runtime.find_graph(computation) is not None
    (tmp_path / "nvidia0").touch()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(runtime, "DEVICES", tmp_path)
    assert runtime.has_gpu() and runtime.find_graph(computation) is None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert not runtime.has_gpu()
