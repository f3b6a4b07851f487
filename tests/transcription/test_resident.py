"""Examples made on a device, by JAX. Keras computes with one library per process, so training has one of its own."""

import os
import subprocess
import sys

import numpy as np
import pytest
from fixtures import tiny_notes

from muscomp_lib import audio
from muscomp_lib.core.errors import SettingError
from muscomp_lib.slakh import index_tables
from muscomp_lib.training import read_history
from muscomp_lib.transcription import batches, cqt, network
from muscomp_lib.transcription.cqt import HOP, N_BINS, N_PITCHES, SAMPLE_RATE
from muscomp_lib.transcription.note_decoder import Transcriber
from muscomp_lib.transcription.resident import ResidentExamples, _stems

pytest.importorskip("jax")
device = pytest.importorskip("muscomp_lib.transcription.device_examples")
pytestmark = pytest.mark.full  # to compile for a device takes half a minute

CONFIG = {"instrument_list": tiny_notes.NAMES, "batch_size": 12, "n_frames": 40, "random_seed": 0}
TRAIN = """
import sys
import numpy as np
from muscomp_lib.core.root import open_root
from muscomp_lib.models.runtime import compiled_by_jax
from muscomp_lib.models.weights import read_weights
from muscomp_lib.transcription.note_decoder import Transcriber
from muscomp_lib.transcription.train import Settings, train

if __name__ == "__main__":
    root = open_root(sys.argv[1])
    small = {"steps": 30, "save_every": 10, "batch_size": 4, "n_frames": 32, "learning_rate": 8e-3, "separator": None}
    model = Transcriber(train(root, Settings(network="compact", **small)))
    path = model.folder / "weights.npz"
    run = compiled_by_jax(model.computation(), read_weights(path, model.instruments), path)
    inputs = np.load(root.path / "inputs.npz").values()
    few = run(*(each[:1] for each in inputs))
    np.savez(root.path / "output.npz", few=few, more=run(*inputs))
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Without a bass in the validation."""
    root = tiny_notes.write(tmp_path_factory.mktemp("root"))
    stems, tracks = index_tables.read(root)
    lacking = (stems["track"] == "Track00004") & (stems["instrument"] == "Electric_Bass_pick")
    index_tables.write(root, stems[~lacking], tracks)
    return root


@pytest.fixture(scope="module")
def pools(root):
    return [batches.stems(root, ("train",)), batches.stems(root, ("reserve",))]


@pytest.fixture(scope="module")
def examples(pools):
    return ResidentExamples(pools, CONFIG)


@pytest.fixture(scope="module")
def batch(examples):
    (levels, instruments), labels = examples.batch(0)
    return tuple(map(np.asarray, (levels, instruments, labels)))


@pytest.fixture(scope="module", params=["Violin", "Drums"])
def excerpts(request, pools):
    """The first part of an instrument, its stem's waveform, and excerpts: of it, of its notes, and their offsets."""
    part = next(part for part in pools[0] if part.instrument == request.param)
    stems = _stems([(part, part.notes)], 40)
    kind = device.Kind(0, part.is_drums, 1, 1)
    chances = np.random.default_rng(0).random((3, 2 + batches.DRAWS), np.float32)
    return part, stems.sound[0], *map(np.asarray, device._excerpts(stems, kind, chances, 40))


def test_a_batch_fits_the_network(batch):
    levels, instruments, labels = batch
    assert levels.shape == (12, 40, N_BINS, 2) and labels.shape == (12, 40, N_PITCHES, 3)
    assert instruments.shape == (12, 3) and instruments.sum(axis=1).max() == 1
    assert np.isfinite(levels).all() and 0 <= labels.min() <= labels.max() <= 1


def test_a_batch_is_a_function_of_its_number(examples, batch):
    assert not np.array_equal(examples.batch(1)[0][0], batch[0])
    np.testing.assert_array_equal(examples.batch(0)[0][0], batch[0])


def test_an_instrument_that_is_missing_keeps_its_place(root):
    examples = ResidentExamples([batches.stems(root, ("validation",))], CONFIG, augment=False)
    instruments = np.asarray(examples.batch(0)[0][1])
    assert instruments.sum(axis=0).tolist() == [0, 10, 2]


def test_levels_on_the_device_are_those_of_the_reference(excerpts):
    _, whole, sounds, _, _, loudness = excerpts
    expected = cqt.loudness(cqt.magnitudes(audio.to_float(whole)[device.MARGIN : -device.MARGIN]))
    np.testing.assert_allclose(loudness, expected, rtol=0.02)  # of 16 bits, without the last part of a frame
    for sound, level in zip(sounds, device.levels(device.constant_q(sounds, 40), loudness), strict=True):
        magnitudes = cqt.magnitudes(sound)[device.MARGIN // HOP :][:40]
        np.testing.assert_allclose(level, cqt.levels(magnitudes, loudness[0]), atol=1e-4)


def test_labels_on_the_device_are_those_of_the_reference(excerpts):
    part, whole, sounds, notes, offsets, _ = excerpts
    shift = 0 if part.is_drums else 2
    for sound, its, offset in zip(sounds, notes, offsets, strict=True):
        places = range(round(offset * HOP), len(whole) - len(sound), HOP)
        begin = next(n for n in places if np.array_equal(whole[n : n + len(sound)] / np.float32(32768), sound))
        expected = batches._labels(part.notes, begin / SAMPLE_RATE, 40, shift, part.is_drums)
        labels = np.asarray(device.labels(its, offset, shift, 0.5))
        np.testing.assert_allclose(labels[..., network.ONSET], expected[..., network.ONSET], atol=0.01)
        np.testing.assert_allclose(labels[..., network.VELOCITY], expected[..., network.VELOCITY] / 2, atol=0.01)
        assert (labels[..., network.ACTIVE] != expected[..., network.ACTIVE]).sum() <= 4  # an edge in half a frame


def test_what_does_not_fit_is_refused(pools, monkeypatch):
    monkeypatch.setattr(device, "MOST_SAMPLES", 1000)
    with pytest.raises(SettingError, match=r"2 stems of one instrument.* Train on fewer songs"):
        ResidentExamples(pools[:1], CONFIG)


def test_training_runs_on_jax_and_its_weights_anywhere(root):
    rng = np.random.default_rng(0)
    shape = (3, *network.computation(3, 560).shapes[0])
    inputs = {"levels": rng.uniform(-1, 1, shape).astype(np.float32), "instruments": np.eye(3, dtype=np.float32)}
    np.savez(root.path / "inputs.npz", **inputs)
    (root.path / "train.py").write_text(TRAIN)
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, root.path / "train.py", root.path], check=True, env=environment)
    history = read_history(root.models / "transcriber")
    assert [row[0] for row in history] == [10, 20, 30] and history[-1][2] < 0.8 * history[0][2]
    with np.load(root.path / "output.npz") as output:
        elsewhere = Transcriber(root.models / "transcriber")._network(*inputs.values())
        np.testing.assert_allclose(elsewhere, output["more"], atol=1e-4)
        np.testing.assert_allclose(elsewhere[:1], output["few"], atol=1e-4)
