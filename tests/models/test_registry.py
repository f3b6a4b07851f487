"""A network that the library does not know goes every public way: trained, resumed, separated with, refused."""

import numpy as np
import pytest
from fixtures import tiny_prepared

from muscomp_lib import separation, training
from muscomp_lib.core.errors import MissingError, SettingError
from muscomp_lib.core.settings import Field, Section, whole
from muscomp_lib.models import registry
from muscomp_lib.models.config import explain, read_config
from muscomp_lib.training import loop

BIG = {"type": "test.one_layer", "params": {"width": 6}}


class Params(Section):
    width: whole(1) = Field(4, description="Filters of the hidden layer.")


class OneLayer(registry.Network):
    """A hidden layer and a mask per instrument: all that a type has to say of itself."""

    type = "test.one_layer"
    Params = Params

    def predict_amounts(self, magnitude):
        from keras import layers, ops

        hidden = layers.Conv2D(self.params.get("width", 4), 3, padding="same", activation="relu", name="hidden")(
            magnitude
        )
        masks = layers.Conv2D(len(self.instruments), 1, activation="sigmoid", name="masks")(hidden)
        return ops.expand_dims(masks, 3) * ops.expand_dims(magnitude, -1)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    changes = {"model": {"type": "test.one_layer", "params": {}}, "train_max_steps": 30, "save_checkpoints_steps": 10}
    return tiny_prepared.write(tmp_path_factory.mktemp("registry"), **changes, learning_rate=0.03)


@pytest.fixture(scope="module")
def trained(root):
    return training.train("tiny", root)


def test_a_new_type_trains_with_its_own_loss(root, trained):
    history = training.read_history(trained)
    assert [step for step, *_ in history] == [10, 20, 30]
    assert history[-1][2] < history[0][2]
    assert "test.one_layer" in registry.types()
    assert "test.one_layer, 0.0 million" in explain(read_config(trained / "config.json")).to_string()


def test_a_new_type_resumes_to_the_same_weights(root, trained, tmp_path, monkeypatch):
    again = tiny_prepared.write(
        tmp_path, model=BIG | {"params": {}}, train_max_steps=30, save_checkpoints_steps=10, learning_rate=0.03
    )

    def killed_after_the_first(path, arrays, real=loop.write_arrays):
        real(path, arrays)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "write_arrays", killed_after_the_first)
        training.train("tiny", again)
    folder = training.train("tiny", again)
    assert (folder / "weights.npz").read_bytes() == (trained / "weights.npz").read_bytes()


def test_a_new_type_separates_a_stereo_song(trained):
    song = np.random.default_rng(0).uniform(-0.5, 0.5, (30000, 2)).astype(np.float32)
    separator = separation.Separator(trained)
    separated = separator.separate(song, 44100)
    assert list(separated) == separator.instruments
    assert all(waveform.shape == song.shape for waveform in separated.values())
    assert any(np.abs(waveform).max() > 0.01 for waveform in separated.values())


def test_weights_of_another_width_are_refused(root, trained, tmp_path):
    config = read_config(trained / "config.json")
    network = registry.network(config | {"model": BIG})
    with pytest.raises(SettingError, match=r"weights of another network: hidden/kernel has the shape"):
        network.load(trained)
    with pytest.raises(MissingError, match="no finished model"):
        registry.network(config).load(tmp_path)


def test_wrong_params_of_a_new_type_are_refused(tmp_path):
    with pytest.raises(
        SettingError, match=r"model\.params\.width = 0 is not possible. It must be a whole number from 1"
    ):
        tiny_prepared.write(tmp_path, model={"type": "test.one_layer", "params": {"width": 0}})
    with pytest.raises(SettingError, match="frame_length / 4"):
        tiny_prepared.write(tmp_path, model=BIG, frame_step=2048)
