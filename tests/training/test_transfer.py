import numpy as np
import pytest
from fixtures.tiny_prepared import tiny_config

from muscomp_lib.core.errors import SettingError
from muscomp_lib.core.root import Root
from muscomp_lib.models import registry
from muscomp_lib.models.weights import get_weights
from muscomp_lib.training import transfer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("root")


def network(folder, names, **own):
    config = tiny_config(Root(folder), instrument_list=names)
    return registry.network(config | {"muscomp": config["muscomp"] | {"taxonomy": None, **own}})


@pytest.fixture(scope="module")
def trained(folder):
    theirs = network(folder, ["Bass", "Violin", "other"])
    values = get_weights(theirs.build())
    rng = np.random.default_rng(0)
    return theirs.config, {name: rng.normal(size=value.shape).astype(np.float32) for name, value in values.items()}


def test_what_both_know_is_kept_the_rest_is_other(folder, trained):
    theirs, values = trained
    ours = network(folder, ["violin", "Harp"])
    start = transfer.start_weights(ours, values, theirs, folder)
    np.testing.assert_array_equal(start["masks/kernel"][:, :, 0], values["masks/kernel"][:, :, 1])
    np.testing.assert_array_equal(start["masks/kernel"][:, :, 1], values["masks/kernel"][:, :, 2])
    assert start["masks/bias"].tolist() == values["masks/bias"][[1, 2]].tolist()
    shared = [name for name in values if not name.startswith("masks/")]
    assert shared and all(start[name] is values[name] for name in shared)
    shapes = {weight.path: tuple(weight.shape) for weight in ours.build().weights}
    assert {name: value.shape for name, value in start.items()} == shapes


def test_common_names_are_the_instruments_of_a_taxonomy(folder):
    theirs = network(folder, ["Violin", "Electric_Bass_pick", "Drums", "other"])
    values = get_weights(theirs.build())
    start = transfer.start_weights(network(folder, ["drum kit", "Bass"]), values, theirs.config, folder)
    np.testing.assert_array_equal(start["masks/kernel"], values["masks/kernel"][:, :, [2, 1]])


def test_a_group_begins_as_the_sum_of_its_instruments(folder, trained):
    theirs, values = trained
    ours = network(folder, ["Bass", "rest"], targets={"Bass": ["Bass"], "rest": ["Violin", "other"]})
    start = transfer.start_weights(ours, values, theirs, folder)
    np.testing.assert_allclose(start["masks/kernel"][:, :, 1], values["masks/kernel"][:, :, 1:].mean(axis=2), rtol=1e-6)
    assert start["masks/bias"][1] == pytest.approx(values["masks/bias"][1:].mean() + np.log(2))


def test_without_other_the_unknown_begins_at_random(folder):
    theirs = network(folder, ["Bass", "Violin"])
    values = get_weights(theirs.build())
    ours = network(folder, ["Harp"])
    start = transfer.start_weights(ours, values, theirs.config, folder)
    np.testing.assert_array_equal(start["masks/kernel"], get_weights(ours.build())["masks/kernel"])


def test_another_type_of_network_is_refused(folder, trained):
    theirs, values = trained
    other = dict(theirs, model={"type": "unet.unet", "params": {}})
    with pytest.raises(SettingError, match=r"another network, of type unet\.unet for .*Violin.*fresh weights"):
        transfer.start_weights(network(folder, ["Harp"]), values, other, folder)
    with pytest.raises(SettingError, match="another network"):
        transfer.start_weights(registry.network(other), values, theirs, folder)
