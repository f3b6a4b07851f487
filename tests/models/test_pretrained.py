"""The model that comes with the project: it is there, whole, small, and made as the module says."""

import json
import shutil

import numpy as np
import pytest
from fixtures import tiny_prepared

from muscomp_lib import separation, training
from muscomp_lib.core import instruments
from muscomp_lib.minislakh import composer, synthesizer
from muscomp_lib.models import pretrained
from muscomp_lib.models.config import read_config, read_json
from muscomp_lib.models.registry import network
from muscomp_lib.models.weights import read_arrays, set_weights
from muscomp_lib.transcription import note_decoder


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A root with a model that was trained for some steps."""
    root = tiny_prepared.write(tmp_path_factory.mktemp("root"), train_max_steps=20)
    training.train("tiny", root)
    return root


def test_a_shipped_model_separates_as_the_trained_one(root, tmp_path):
    folder = root.models / "tiny"
    pretrained.export(folder, tmp_path / "weights")
    assert {path.name for path in (tmp_path / "weights").iterdir()} == {"config.json", "weights.npz", "history.csv"}
    assert (tmp_path / "weights" / "weights.npz").stat().st_size < 0.6 * (folder / "weights.npz").stat().st_size
    assert str(tmp_path) not in (tmp_path / "weights" / "config.json").read_text()
    waveform = np.random.default_rng(0).uniform(-0.3, 0.3, (44100, 2)).astype(np.float32)
    before = separation.Separator(folder).separate(waveform, 44100)
    after = separation.Separator(tmp_path / "weights").separate(waveform, 44100)
    for name in before:
        np.testing.assert_allclose(before[name], after[name], atol=2e-3)


def test_an_exported_transcriber_names_the_models_it_was_made_with(tmp_path):
    folder = shutil.copytree(pretrained.TRANSCRIBER / "drums", tmp_path / "trained")
    config = json.loads((folder / "config.json").read_text()) | {
        "start_from": str(tmp_path / "earlier"),
        "separator": str(tmp_path / "mine"),
    }
    (folder / "config.json").write_text(json.dumps(config))
    pretrained.export(folder, tmp_path / "weights")
    exported = json.loads((tmp_path / "weights" / "config.json").read_text())
    assert (exported["start_from"], exported["separator"]) == ("earlier", "mine")


def test_an_exported_separator_names_what_it_started_from(root, tmp_path):
    changes = {"model_dir": str(root.models / "later"), "train_max_steps": 1}
    (root.configs / "later.json").write_text(json.dumps(read_json(root.configs / "tiny.json") | changes))
    pretrained.export(training.train("later", root, start_from=root.models / "tiny"), tmp_path / "weights")
    exported = read_json(tmp_path / "weights" / "config.json")
    assert exported["muscomp"]["start_from"] == "tiny"


def test_by_default_the_pretrained_model_separates_thirteen_targets(tmp_path):
    separator = separation.Separator()
    assert separator.instruments == [*instruments.names("families"), instruments.OTHER]
    waveform = np.random.default_rng(0).uniform(-0.3, 0.3, (44100, 2)).astype(np.float32)
    total = sum(separator.separate(waveform, 44100).values())
    np.testing.assert_allclose(total, waveform, atol=1e-4)
    assert pretrained.model_path("shipped", None) == separator.folder


def test_borders_of_segments_are_not_heard():
    """What comes out around a border is what comes out when the border is elsewhere."""
    separator = separation.Separator()
    waveform = music(30.0)
    frames = separator.config["T"] // 2 * separator.config["frame_step"]
    one = separator.separate(waveform, 44100)
    moved = separator.separate(np.concatenate([np.zeros((frames, 1), np.float32), waveform]), 44100)
    border = slice(2 * frames - 8192, 2 * frames + 8192)
    different = sum(((one[name] - moved[name][frames:])[border] ** 2).sum() for name in one)
    assert different < 10**-2.5 * sum((one[name][border] ** 2).sum() for name in one)


def music(seconds):
    midi = composer.compose(0, [33, 1, 48, 27, 128], seconds)
    mix = sum(synthesizer.render(part, seconds) for part in midi.instruments)
    return np.float32(0.5) * mix / np.abs(mix).max()


def test_the_shipped_weights_are_small_and_all_there():
    assert (pretrained.FOLDER / "weights.npz").stat().st_size < 20e6
    settings = read_config(pretrained.FOLDER / "config.json")
    set_weights(network(settings).build(), read_arrays(pretrained.FOLDER / "weights.npz"), pretrained.FOLDER)
    assert (pretrained.FOLDER / "MODEL_CARD.md").is_file()


def test_the_shipped_transcriber_is_small_and_knows_the_same_twelve():
    assert (pretrained.TRANSCRIBER / "weights.npz").stat().st_size < 2e6
    listener, drummer = note_decoder.Transcriber(), note_decoder.Transcriber(pretrained.TRANSCRIBER / "drums")
    assert drummer.instruments == listener.instruments and "drums" in listener.identity
    assert listener.instruments == instruments.names("families")
    assert str(pretrained.FOLDER.parent) not in (pretrained.TRANSCRIBER / "config.json").read_text()
    assert (pretrained.TRANSCRIBER / "MODEL_CARD.md").is_file()
    assert pretrained.transcriber_path("shipped", None) == pretrained.transcriber_path(None, None) == listener.folder
