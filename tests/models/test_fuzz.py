"""Damaged and odd files of a model folder: each is read as it was, or refused by an error of the family."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from fixtures import tiny_prepared, tiny_spleeter
from hypothesis import given, settings
from hypothesis import strategies as st

from muscomp_lib.core.errors import MusCompError
from muscomp_lib.core.root import Root
from muscomp_lib.models import checkpoint, weights
from muscomp_lib.models.config import explain, read_config
from muscomp_lib.training import mask_snapshots, read_history

SETTINGS = {"derandomize": True, "deadline": None}
FACTOR = int(os.environ.get("MUSCOMP_FUZZ", "1"))
CONFIG = tiny_prepared.tiny_config(Root(Path("/root")))
KEYS = [*CONFIG, "model.type", "model.params", "muscomp.crop_frames", "muscomp.remix", "muscomp.taxonomy", "new"]
ODD = [None, True, 0, -1, 64, 10**400, 1e308, float("nan"), "", "..", "../../x", "<img src=x>", "\0", "\ud800", [], {}]
VALUES = st.recursive(
    st.one_of(st.sampled_from(ODD), st.integers(), st.floats(), st.text(max_size=20)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = ["bass", "drums"]
ARRAYS = {"a/kernel": np.arange(24, dtype=np.float32).reshape(2, 3, 4), "b/bias": np.ones(3, np.float32)}
DAMAGE = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 40), st.binary(max_size=40), st.integers(0, 255)), min_size=1, max_size=3
)


def damaged(content, damage):
    """Bytes after some were replaced, inserted, removed or changed in some bits."""
    for where, removed, inserted, mask in damage:
        at = int(where * len(content))
        content = content[:at] + bytes(b ^ mask for b in content[at : at + 1]) + content[at + 1 :]
        content = content[:at] + inserted + content[at + removed :]
    return content


def read_or_refused(read, *arguments):
    """What `read` returns; None where it raises an error of the family."""
    try:
        return read(*arguments)
    except MusCompError as error:
        assert str(error)
        return None


@pytest.fixture(scope="module")
def folder():
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def model(folder):
    return tiny_spleeter.model(folder / "whole").parent


def explained(path):
    return explain(read_config(path))


@settings(**SETTINGS, max_examples=300 * FACTOR)
@given(st.sampled_from(KEYS), VALUES)
def test_any_value_of_a_configuration_is_read_or_refused(folder, key, value):
    config = json.loads(json.dumps(CONFIG))
    *groups, last = key.split(".")
    (config[groups[0]] if groups else config)[last] = value
    (folder / "config.json").write_text(json.dumps(config))
    read_or_refused(explained, folder / "config.json")


@settings(**SETTINGS, max_examples=200 * FACTOR)
@given(DAMAGE)
def test_a_damaged_configuration_is_read_or_refused(folder, damage):
    (folder / "config.json").write_bytes(damaged(json.dumps(CONFIG).encode(), damage))
    read_or_refused(explained, folder / "config.json")


@settings(**SETTINGS, max_examples=400 * FACTOR)
@given(DAMAGE)
def test_damaged_weights_are_as_they_were_or_refused(folder, damage):
    path = folder / "weights.npz"
    weights.write_weights(path, ARRAYS, NAMES)
    path.write_bytes(damaged(path.read_bytes(), damage))
    found = read_or_refused(weights.read_weights, path, NAMES)
    for name, array in (found or {}).items():
        np.testing.assert_array_equal(array, ARRAYS[name])


@settings(**SETTINGS, max_examples=100 * FACTOR)
@given(st.sampled_from(["masks.npz", "history.csv"]), DAMAGE)
def test_what_the_notebook_draws_is_read_or_refused(folder, name, damage):
    masks = {
        "instruments": np.array(NAMES),
        "ideal": np.ones((2, 2, 2), np.uint8),
        "step_1": np.ones((2, 2, 2), np.uint8),
    }
    weights.write_arrays(folder / "masks.npz", masks)
    (folder / "history.csv").write_text("step,loss,validation_loss\n1,0.5,0.25\n")
    (folder / name).write_bytes(damaged((folder / name).read_bytes(), damage))
    read_or_refused(mask_snapshots.read, folder)
    read_or_refused(read_history, folder)


@settings(**SETTINGS, max_examples=100 * FACTOR)
@given(st.sampled_from(["checkpoint", "model-1.index", "model-1.data-00000-of-00001"]), DAMAGE)
def test_a_damaged_spleeter_checkpoint_is_as_it_was_or_refused(folder, model, name, damage):
    def read(folder):
        found = checkpoint.Checkpoint(folder, config)
        return [found.weights(number) for number in range(2)]

    config, copy = read_config(model / "config.json"), folder / "copy"
    shutil.copytree(model, copy, dirs_exist_ok=True)
    (copy / name).write_bytes(damaged((copy / name).read_bytes(), damage))
    found = read_or_refused(read, copy)
    for before, after in zip(read(model), found or [], strict=False):
        assert all(np.array_equal(before[key], after[key]) for key in before)
