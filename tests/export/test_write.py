"""Exported files: what they compute, alone and without us; what is refused, and what is not made again."""

import dataclasses
import errno
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from fixtures import tiny_spleeter
from fixtures.needs import require

from muscomp_lib import Separator, audio, export
from muscomp_lib.audio import stream
from muscomp_lib.core.errors import DiskFullError, MissingError, SettingError
from muscomp_lib.core.root import open_root
from muscomp_lib.export import formats, separate
from muscomp_lib.models import litert, pretrained
from muscomp_lib.models.config import read_config
from muscomp_lib.models.registry import network

SMALL = {"T": 64, "F": 256}
SOFTMAX = {"model": {"type": "unet.softmax_unet", "params": {"conv_n_filters": [4, 4, 8, 8, 8, 8]}}}
MODELS = {
    "ours": {**tiny_spleeter.OURS, **SMALL, "mask_extension": "average", "separation_exponent": 1},
    "softmax": {**SOFTMAX, **SMALL},
}
NAMES = ["Drums", "other"]
SECONDS = 4.0  # of the song
ALONE = """
import runpy, sys
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
print(sorted({"tensorflow", "muscomp_lib", "keras", "scipy"} & set(sys.modules)))
"""


@pytest.fixture(scope="module", autouse=True)
def installed():
    require(litert.installed(), "ai-edge-litert is not installed")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    made = open_root(tmp_path_factory.mktemp("export"))
    for name, changes in MODELS.items():
        tiny_spleeter.model(made.models / name, NAMES, **changes)
    return made


def write(root, model="ours", chosen=("litert_float32",), **given):
    settings = export.Settings(model=model, formats=list(chosen), seconds=SECONDS, **given)
    table = export.write(root, settings).set_index("format")
    return table, settings.folder(root)


@pytest.fixture(scope="module")
def exported(root):
    """The tables and folders of both models, in the formats that need no package of their own, and in ONNX."""
    chosen = ["litert_float32", "litert_float16"] + ["onnx"] * (not formats.FORMATS["onnx"].missing())
    return {name: write(root, name, chosen) for name in MODELS}


@pytest.mark.parametrize("name", MODELS)
def test_files_compute_what_the_network_does(exported, name):
    table, folder = exported[name]
    assert set(table["status"]) == {"ok"}
    assert table.loc["litert_float32", "largest_difference"] < 1e-4 and table.loc["litert_float32", "agreement_db"] > 90
    assert 0 < table.loc["litert_float16", "largest_difference"] < 0.02
    assert table.loc["litert_float16", "si_sdr_cost_db"] < 0.05
    assert (table[["run_seconds", "cold_start_seconds", "memory_mb"]] > 0).all(axis=None)
    written = {path.name for path in (folder / "litert_float16").iterdir()}
    files = {f"{part}.tflite" for part in NAMES} if name == "softmax" else {"network.tflite"}
    assert written == {*files, "exported.json"}


def alone(folder, song, chosen, place):
    command = [sys.executable, "-c", ALONE, folder / "separate.py", song, chosen]
    done = subprocess.run(list(map(str, command)), cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize("chosen", ["litert_float32", "onnx"])
@pytest.mark.parametrize("name", MODELS)
def test_the_example_separates_without_tensorflow_or_us(exported, root, tmp_path, name, chosen):
    require(not formats.FORMATS[chosen].missing(), "the packages of requirements-export.txt are not installed")
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, (100_000, 2)).astype(np.float32)
    audio.write(tmp_path / "song.wav", sound, 44100)
    assert alone(exported[name][1], "song.wav", chosen, tmp_path) == "[]"
    ours = Separator(root.models / name).separate(audio.read(tmp_path / "song.wav")[0], 44100)
    for instrument, expected in ours.items():
        found, rate = soundfile.read(tmp_path / "song_separated" / f"{instrument}.wav")
        assert rate == 44100 and np.abs(expected).max() > 0.01
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("channels", stream.CHANNEL_ORDERS)
def test_the_example_mixes_surround_down_as_we_do(channels):
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, (1000, channels)).astype(np.float32)
    (ours,) = stream.Song(stream.InMemoryAudio(sound, 44100)).blocks(1000)
    np.testing.assert_allclose(separate.stereo(sound), ours, atol=1e-6)


def test_the_example_refuses_more_channels_than_eight():
    with pytest.raises(SystemExit, match=r"has 9 channels. Mix it down to stereo"):
        separate.stereo(np.zeros((10, 9), np.float32))


@pytest.mark.parametrize(
    ("song", "chosen", "words"),
    [
        ("song.wav", "litert_int8", r"can run: litert_float16, not litert_int8\. Export again"),
        ("song.wav", "saved_model", "can run: litert_float16, not saved_model"),
        ("none.wav", None, r"none\.wav.* Give a WAV or FLAC file that is there"),
    ],
)
def test_the_example_refuses_what_it_cannot_do(exported, tmp_path, monkeypatch, song, chosen, words):
    folder = exported["ours"][1]
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["files"] = dict.fromkeys(("saved_model", "litert_float16"), config["files"]["litert_float16"])
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    shutil.copytree(folder / "litert_float16", tmp_path / "litert_float16")
    monkeypatch.setattr(separate, "HERE", tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in ("song", "Drums"):
        soundfile.write(f"{name}.wav", np.ones((100, 2)), 44100)
    with pytest.raises(SystemExit, match=words):
        separate.main(song, chosen)
    assert not list(tmp_path.glob("*_separated"))
    for name in ("song", "Drums"):  # two songs, and one is called like an instrument
        separate.main(f"{name}.wav")
        assert soundfile.read(f"{name}_separated/other.wav")[0].shape == (100, 2)
    assert soundfile.read("Drums.wav")[0].min() == pytest.approx(1.0, abs=1e-4)


def test_what_a_device_needs_lies_beside_the_files(exported):
    table, folder = exported["softmax"]
    known = json.loads((folder / "config.json").read_text())
    assert known["separates"] == NAMES and known["files"]["litert_float32"] == [f"{name}.tflite" for name in NAMES]
    assert known["input"] == [1, 64, 256, 2] and known["frame_length"] == 4096 and known["softmax_outside"]
    guide = (folder / "README.md").read_text()
    assert "44100 Hz" in guide and "64 frames" in guide and "| litert_float16 |" in guide
    assert (folder / "formats.csv").read_text().count("\n") == 1 + len(table)


@pytest.mark.full
def test_a_saved_model_runs_without_us_for_any_batch(root, tmp_path):
    table, folder = write(root, "ours", ["saved_model"], out=str(tmp_path))
    assert table.loc["saved_model", "status"] == "ok" and table.loc["saved_model", "largest_difference"] < 1e-5
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder / "saved_model" / "network"))
    shape = json.loads((folder / "config.json").read_text())["input"][1:]
    given = tf.random.uniform((3, *shape))
    assert loaded.signatures["serving_default"](input0=given)["output"].shape[:2] == (3, len(NAMES))


@pytest.mark.full
def test_the_pretrained_transcriber_is_exported_with_its_cost(root, tmp_path):
    table, folder = write(root, str(pretrained.TRANSCRIBER), out=str(tmp_path))
    assert table.loc["litert_float32", "largest_difference"] < 1e-4
    assert abs(table.loc["litert_float32", "f1_cost"]) < 0.005
    assert "one-hot" in (folder / "README.md").read_text() and not (folder / "separate.py").exists()


def test_int8_is_written_only_where_it_is_asked_for():
    assert "litert_int8" not in export.Settings().chosen
    assert export.Settings(formats="litert_int8, onnx").chosen == ["litert_int8", "onnx"]


# ---- refused ----


def test_files_that_compute_something_else_are_refused(root, monkeypatch, tmp_path):
    values = network(read_config(root.models / "softmax" / "config.json")).read_weights(root.models / "softmax")
    biases = [value for name, value in values.items() if name.endswith("_mask/bias")]

    def with_biases(change):
        def write_it(function, path):
            file = litert.convert(function)
            for bias in biases:
                file = file.replace(bias.tobytes(), change(bias).tobytes())
            path.write_bytes(file)

        return write_it

    def fail(*_):
        raise RuntimeError("no such layer\nand much more")

    broken = {
        "without weights": (with_biases(np.zeros_like), "its largest_difference is 0."),
        "nan": (with_biases(lambda bias: np.full_like(bias, np.nan)), "its output has NaN or infinite values"),
        "garbage": (lambda _, path: path.write_bytes(b"TFL3" * 1000), "on its own it does not run ("),
        "another": (fail, "the network cannot be converted (no such layer)"),
    }
    for name, (write_it, _) in broken.items():
        changed = dataclasses.replace(formats.FORMATS["litert_float32"], write=write_it)
        monkeypatch.setitem(formats.FORMATS, name, changed)
    table, folder = write(root, "softmax", [*broken, "litert_float32"], out=str(tmp_path))
    assert table.loc["litert_float32", "status"] == "ok"
    for name, (_, note) in broken.items():
        assert table.loc[name, "status"] == "refused" and table.loc[name, "note"].startswith(note)
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {"litert_float32"}
    assert list(json.loads((folder / "config.json").read_text())["files"]) == ["litert_float32"]


def test_a_missing_package_is_one_sentence(root, monkeypatch, tmp_path):
    found = formats.importlib.util.find_spec
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None if name == "tf2onnx" else found(name))
    with pytest.raises(MissingError, match=r"^onnx cannot be written here: the package tf2onnx is missing"):
        write(root, chosen=["onnx"], out=str(tmp_path))
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr("muscomp_lib.export.settings.DEFAULT", ("onnx",))
    table = export.write(root, export.Settings(model="ours", out=str(tmp_path)))
    assert list(table["status"]) == ["left out"] and "tf2onnx" in table["note"][0]


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_nothing_half_written(root, monkeypatch, tmp_path):
    import tensorflow as tf

    def full_for_tensorflow(*_, **__):
        raise tf.errors.ResourceExhaustedError(None, None, "x; No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", full_for_tensorflow)
    monkeypatch.setattr(formats.Path, "write_bytes", full_disk)
    for chosen in ("saved_model", "litert_float32"):
        with pytest.raises(DiskFullError, match=rf"No room left to write .*{chosen}"):
            write(root, "softmax", [chosen], out=str(tmp_path))
    assert {path.name for path in (tmp_path / "softmax").iterdir()} == {"formats.csv"}


def test_a_folder_of_others_is_left_alone(root):
    with pytest.raises(SettingError, match=r"holds files that no export wrote\. Give another folder as out\."):
        write(root, out=str(root.models))


def test_truncated_weights_are_one_sentence(root, tmp_path):
    folder = tmp_path / "cut"
    folder.mkdir()
    for name in ("config.json", "weights.npz"):
        content = (root.models / "ours" / name).read_bytes()
        (folder / name).write_bytes(content if name == "config.json" else content[:2000])
    with pytest.raises(SettingError, match=r"weights\.npz cannot be read"):
        write(root, str(folder))


def test_weights_of_another_network_leave_no_file(root, tmp_path):
    tiny_spleeter.model(tmp_path / "other", NAMES, **MODELS["ours"])
    config = json.loads((tmp_path / "other" / "config.json").read_text())
    config["model"]["params"]["conv_n_filters"] = [4, 8, 8, 8]
    (tmp_path / "other" / "config.json").write_text(json.dumps(config))
    with pytest.raises(SettingError, match="holds the weights of another network"):
        write(root, str(tmp_path / "other"), out=str(tmp_path / "out"))
    assert [path.name for path in (tmp_path / "out" / "other").iterdir()] == ["formats.csv"]


# ---- resumed ----


def test_what_is_whole_is_not_made_again(exported, root, monkeypatch):
    before, folder = exported["ours"]
    dates = {path: path.stat().st_mtime_ns for path in folder.rglob("network.*")}
    monkeypatch.setattr(formats.subprocess, "run", lambda *_, **__: pytest.fail("it was run again"))
    table, _ = write(root)
    assert list(table.index) == list(before.index) and set(table["status"]) == {"up to date"}
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("network.*")} == dates
    assert table.drop(columns="status").equals(before.drop(columns="status"))


@pytest.mark.parametrize("what", ["damaged", "trained further"])
def test_a_damaged_or_outdated_file_is_made_again(exported, root, tmp_path, what):
    mine = open_root(tmp_path)
    model = shutil.copytree(root.models / "softmax", mine.models / "softmax")
    folder = shutil.copytree(exported["softmax"][1], mine.exported / "softmax")
    file = folder / "litert_float32" / "Drums.tflite"
    before = file.read_bytes()
    if what == "damaged":
        file.write_bytes(before[:100])
    else:
        made = network(read_config(model / "config.json"))
        made.write_weights(model, {name: value + 0.01 for name, value in made.read_weights(model).items()}, step=2)
    table, _ = write(mine, "softmax")
    assert table.loc["litert_float32", "status"] == "ok" and file.stat().st_size > 100 and file.read_bytes() != before
    assert (folder / "litert_float16").exists() == (what == "damaged") == ("litert_float16" in table.index)
