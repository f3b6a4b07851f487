"""Spleeter's checkpoints: read, written, refused. That the real Spleeter agrees is in test_spleeter_parity.py."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from fixtures import tiny_spleeter

from muscomp_lib import separation
from muscomp_lib.core.errors import MissingError, SettingError
from muscomp_lib.models import checkpoint as spleeter_bridge
from muscomp_lib.models import published
from muscomp_lib.models.config import read_config
from muscomp_lib.models.registry import network
from muscomp_lib.models.weights import get_weights


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_spleeter.model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def copy(model, tmp_path):
    """The model's folder, to be spoilt."""
    return shutil.copytree(model.parent, tmp_path / "copy")


def song(seconds=1.0):
    return np.random.default_rng(0).uniform(-0.5, 0.5, (round(44100 * seconds), 2)).astype(np.float32)


def changed(config, **changes):
    """Write the configuration again with changes."""
    config = Path(config)
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    return config


def same(first, second):
    return all(np.array_equal(first[name], second[name]) for name in first)


def test_what_is_written_is_read_back_by_instrument(tmp_path):
    config = read_config(tiny_spleeter.model(tmp_path / "m", instruments=["a", "b", "c"]))
    weights = tiny_spleeter.lively(get_weights(network(config).build()), seed=5)
    spleeter_bridge.write(tmp_path / "m", config, weights, step=70)
    checkpoint = spleeter_bridge.Checkpoint(tmp_path / "m", config)
    assert checkpoint.step == 70
    for number, name in enumerate(config["instrument_list"]):
        found = checkpoint.weights(number)
        assert len(found) == 13 * 2 + 11 * 4  # convolutions, and normalisations but the one that nothing uses
        for key, value in found.items():
            np.testing.assert_array_equal(value, weights[key.replace("one_", f"{name}_", 1)])


def test_the_variables_have_spleeters_names_and_numbers(model):
    import tensorflow as tf

    shapes = tf.train.load_checkpoint(str(spleeter_bridge.latest(model.parent))).get_variable_to_shape_map()
    kinds = [re.sub(r"(_\d+)?/.*", "", name) for name in shapes if name != "global_step"]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "conv2d": 2 * 7 * 2, "conv2d_transpose": 2 * 6 * 2, "batch_normalization": 2 * 12 * 4,
    }  # fmt: skip
    assert shapes["conv2d/kernel"] == [5, 5, 2, 4] and shapes["conv2d_13/kernel"] == [4, 4, 1, 2]
    assert shapes["conv2d_transpose_11/kernel"] == [5, 5, 1, 8] and "batch_normalization_23/gamma" in shapes


def test_a_model_opens_from_folder_config_and_relative_model_dir(model, copy, tmp_path):
    expected = separation.Separator(model).separate(song(), 44100)
    assert same(separation.Separator(model.parent).separate(song(), 44100), expected)
    beside = tmp_path / "mine.json"
    beside.write_bytes((copy / "config.json").read_bytes())
    assert same(separation.Separator(changed(beside, model_dir="copy")).separate(song(), 44100), expected)


def test_what_only_training_needs_may_be_missing_to_separate(copy):
    config = json.loads((copy / "config.json").read_text())
    needed = {"model_dir", "instrument_list", "sample_rate", "frame_length", "frame_step", "T", "F", "n_channels"}
    needed |= {"separation_exponent", "mask_extension", "model"}
    (copy / "config.json").write_text(json.dumps({key: config[key] for key in needed} | {"MWF": 1}))
    assert separation.Separator(copy).instruments == ["vocals", "accompaniment"]
    with pytest.raises(SettingError, match="train_csv is missing"):
        read_config(copy / "config.json")


@pytest.mark.parametrize("model_dir", ["trained/jazz", "jazz", "/gone/jazz", "C:\\train\\jazz"])
def test_weights_are_found_where_spleeter_puts_them(copy, tmp_path, monkeypatch, model_dir):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    config = changed(shutil.copy(copy / "config.json", tmp_path / "configs" / "jazz.json"), model_dir=model_dir)
    place = {"trained/jazz": "trained/jazz", "jazz": "pretrained_models/jazz"}.get(model_dir, "configs/jazz")
    shutil.copytree(copy, tmp_path / place)
    assert separation.Separator(config).folder.resolve() == tmp_path / place


def test_the_folders_that_spleeter_downloads_open_without_configuration(copy, tmp_path, monkeypatch):
    network = {"type": "unet.unet", "params": {"conv_n_filters": [4, 4, 8, 8, 8, 8]}}
    monkeypatch.setitem(published.NETWORKS, "2stems", (["vocals", "accompaniment"], network))
    for name in ("2stems", "2stems-16kHz"):
        folder = shutil.copytree(copy, tmp_path / "pretrained_models" / name)
        (folder / "config.json").unlink()
        separator = separation.Separator(folder)
        assert separator.instruments == ["vocals", "accompaniment"]
        assert separator.config["F"] == (1536 if name.endswith("16kHz") else 1024)


def test_what_is_no_models_folder_is_refused_with_advice(copy, tmp_path):
    (tmp_path / "model.zip").write_bytes(b"PK")
    for path, says in [
        (tmp_path / "nothing", "There is no model .*nothing is there"),
        (tmp_path / "model.zip", "is no model.*Unpack an archive first"),
        (copy / "model-1.index", f"is one file of a model. Give its folder: {re.escape(str(copy))}"),
        (copy.parent, f"Give a folder in it: {re.escape(str(copy))}"),
    ]:
        with pytest.raises(MissingError, match=says):
            separation.Separator(path)


def test_a_moved_model_opens_despite_its_old_path(copy):
    (copy / "checkpoint").write_text('model_checkpoint_path: "/gone/model-1"\nall_model_checkpoint_paths: "x"\n')
    assert separation.Separator(copy).instruments == ["vocals", "accompaniment"]


def test_an_exported_model_gives_the_same(model, tmp_path):
    config = spleeter_bridge.export(model, tmp_path / "exported")
    assert json.loads(config.read_text())["model_dir"] == str(tmp_path / "exported")
    ours, theirs = (separation.Separator(path).separate(song(), 44100) for path in (model, config))
    assert same(ours, theirs)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"instrument_list": ["a", "b", "c"]}, r"conv2d_14/kernel is missing"),
        ({"instrument_list": ["a"]}, r"batch_normalization_12/beta is beyond the 1 instruments"),
        ({"n_channels": 1}, r"conv2d/kernel has the shape \(5, 5, 2, 4\), and \(5, 5, 1, 4\) is needed"),
        ({"model": {"type": "unet.unet", "params": {"conv_n_filters": [4, 4, 8, 8, 8, 9]}}}, r"conv2d_5/kernel has"),
        ({"model": {"type": "unet.unet", "params": {}}}, r"conv2d/kernel has the shape"),
    ],
)
def test_another_networks_checkpoint_is_refused_naming_the_first_mismatch(copy, changes, says):
    with pytest.raises(SettingError, match=says):
        separation.Separator(changed(copy / "config.json", **changes, model_dir=str(copy)))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda folder: (folder / "checkpoint").unlink(), "'checkpoint' is missing.*path: .model-1"),
        (lambda folder: (folder / "checkpoint").write_bytes(b"\xff\x00"), "names no checkpoint"),
        (lambda folder: (folder / "model-1.index").unlink(), r"model-1\.index is not there"),
        (lambda folder: (folder / "model-1.data-00000-of-00001").unlink(), r"model-1\.data-\* is not there"),
        (lambda folder: (folder / "config.json").unlink(), r"config\.json is missing"),
    ],
)
def test_an_incomplete_model_is_refused_never_replaced_by_random_weights(copy, spoil, says):
    spoil(copy)
    with pytest.raises(MissingError, match=says):
        separation.Separator(copy)


@pytest.mark.parametrize("file", ["model-1.index", "model-1.data-00000-of-00001"])
def test_a_damaged_checkpoint_is_refused(copy, file):
    content = bytearray((copy / file).read_bytes())
    content[len(content) // 2 : len(content) // 2 + 64] = bytes(64)
    (copy / file).write_bytes(content)
    with pytest.raises(SettingError, match=r"model-1.* (cannot be read|holds the weights of another)"):
        separation.Separator(copy)


def test_a_cut_data_file_is_one_error_that_names_it(copy):
    data = copy / "model-1.data-00000-of-00001"
    for size in (data.stat().st_size // 2, 10, 0):
        data.write_bytes(data.read_bytes()[:size])
        with pytest.raises(
            SettingError, match=r"model-1\.data-00000-of-00001 cannot be read .*Copy the model's folder again"
        ):
            separation.Separator(copy)


def test_weights_that_are_not_finite_are_refused(copy):
    config = read_config(copy / "config.json")
    weights = network(config).read_weights(copy)
    for value in (np.nan, np.inf):
        weights["vocals_down0/kernel"][0, 0, 0, 0] = value
        spleeter_bridge.write(copy, config, weights, step=1)
        with pytest.raises(SettingError, match=r"model-1: conv2d/kernel holds NaN"):
            separation.Separator(copy)


def test_exchanged_instruments_are_refused_whoever_trained(copy):
    order = ["accompaniment", "vocals"]
    with pytest.raises(SettingError, match=r'trained for \["vocals", "accompaniment"\], in this order'):
        separation.Separator(changed(copy / "config.json", instrument_list=order))
    (copy / "checkpoint").write_text('model_checkpoint_path: "model-1"\n')  # as of earlier versions, and of Spleeter
    assert separation.Separator(copy).instruments == order
    changed(shutil.copy(copy / "config.json", copy / "spleeter.json"), instrument_list=order[::-1])
    with pytest.raises(SettingError, match="trained for"):
        separation.Separator(copy)


@pytest.mark.parametrize("name", ["..", "../x", "a\\0b", "*", "x" * 300, ""])
def test_a_checkpoints_name_is_never_a_path(copy, name):
    (copy / "checkpoint").write_text(f'model_checkpoint_path: "{name}"\n')
    with pytest.raises(MissingError, match=r"names no checkpoint|is not there"):
        separation.Separator(copy)


def test_a_key_that_is_not_known_is_refused_by_name(copy):
    with pytest.raises(SettingError, match="no setting 'learning_rat'"):
        separation.Separator(changed(copy / "config.json", learning_rat=1))


def test_a_network_of_our_own_cannot_be_written_for_spleeter(model, tmp_path):
    config = read_config(model) | {"model": {"type": "muscomp.shared_unet", "params": {}}}
    with pytest.raises(SettingError, match=r"'muscomp\.shared_unet' is a network of our own"):
        spleeter_bridge.write(tmp_path, config, {}, step=1)


def test_an_instrument_that_spleeter_cannot_name_is_refused(tmp_path):
    with pytest.raises(SettingError, match="instrument 'lead voice'"):
        tiny_spleeter.model(tmp_path / "m", instruments=["lead voice", "rest"])
