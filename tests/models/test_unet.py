import numpy as np
import pytest
from fixtures.tiny_prepared import tiny_config

from muscomp_lib.core.errors import SettingError
from muscomp_lib.core.root import open_root
from muscomp_lib.models import shared_unet, unet, weights
from muscomp_lib.models.registry import network
from muscomp_lib.models.weights import get_weights, set_weights

KINDS = ["unet.unet", "unet.softmax_unet", "muscomp.shared_unet"]


@pytest.fixture
def settings(tmp_path):
    def make(kind, **changes):
        filters = [8, 8] if kind.startswith("muscomp") else [4] * 6
        model = {"type": kind, "params": {"conv_n_filters": filters}}
        return tiny_config(open_root(tmp_path), model=model, **changes)

    return make


def magnitudes(n_frames=64, n_bins=128, n_channels=2):
    return np.random.default_rng(0).uniform(0, 1, (1, n_frames, n_bins, n_channels)).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_gives_one_amount_per_point_and_instrument(settings, kind):
    amounts = np.asarray(network(settings(kind)).build()(magnitudes()))
    assert amounts.shape == (1, 64, 128, 1 if kind.startswith("muscomp") else 2, 3)
    assert amounts.min() >= 0
    assert np.isfinite(amounts).all()


def test_amounts_of_the_softmax_networks_share_out_the_whole(settings):
    mix = magnitudes()
    shared = np.asarray(network(settings("muscomp.shared_unet")).build()(mix))
    np.testing.assert_allclose(shared.sum(axis=-1), 1, atol=1e-5)
    spleeters = np.asarray(network(settings("unet.softmax_unet")).build()(mix))
    np.testing.assert_allclose(spleeters.sum(axis=-1), mix, atol=1e-5)


def test_the_shared_network_treats_soft_and_loud_songs_alike(settings):
    model = network(settings("muscomp.shared_unet")).build()
    loud, soft = (np.asarray(model(magnitudes() * gain)) for gain in (1.0, 0.01))
    np.testing.assert_allclose(loud, soft, atol=1e-3)


def test_silence_after_a_song_does_not_change_its_level():
    short = magnitudes()
    padded = np.pad(short, ((0, 0), (0, 192), (0, 0), (0, 0)))
    alone, followed = (np.asarray(shared_unet._level_and_frequency(mix))[:, :64] for mix in (short, padded))
    np.testing.assert_allclose(alone, followed, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_silence_gives_finite_amounts(settings, kind):
    assert np.isfinite(np.asarray(network(settings(kind)).build()(np.zeros_like(magnitudes())))).all()


def test_spleeters_network_has_spleeters_number_of_parameters(settings):
    one = settings("unet.unet", instrument_list=["Violin"], F=1024)
    one["model"]["params"] = {}
    model = network(one).build()
    # Spleeter creates a seventh pair of variables that nothing uses: the normalisation after the innermost convolution.
    unused = 4 * unet.FILTERS[-1]
    assert model.count_params() + unused == network(one).n_parameters()
    assert round(network(one).n_parameters() / 1e6, 2) == 9.83


def test_the_seed_alone_decides_the_first_weights(settings):
    first, again, other = (
        get_weights(network(settings("muscomp.shared_unet", random_seed=seed)).build()) for seed in (1, 1, 2)
    )
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert any(not np.array_equal(first[name], other[name]) for name in first)


def test_weights_of_another_network_are_refused_by_name(settings):
    model = network(settings("muscomp.shared_unet")).build()
    values = get_weights(model)
    set_weights(model, values, "here.npz")
    with pytest.raises(SettingError, match=r"here\.npz .*masks/kernel has the shape \(1,\)"):
        set_weights(model, values | {"masks/kernel": np.zeros(1)}, "here.npz")
    del values["masks/bias"]
    with pytest.raises(SettingError, match="masks/bias is missing"):
        set_weights(model, values, "here.npz")


def test_weights_from_before_the_network_grew_separate_as_before(settings, tmp_path):
    grown = settings("muscomp.shared_unet")
    grown["model"]["params"]["conv_n_filters"] = [8] * 4
    shared = network(grown)
    values = get_weights(shared.build())
    later = {name for name in values if name.startswith("early_") or "_near" in name}
    weights.write_weights(tmp_path / "weights.npz", {n: values[n] for n in values.keys() - later}, shared.instruments)
    read = shared.read_weights(tmp_path)
    assert read.keys() == values.keys()
    for name in later:  # whatever they are in front of their last layers, they add nothing
        read[name] = read[name] if "_out/" in name else np.full_like(read[name], 0.1)
    first, again = shared.build(), shared.build()
    set_weights(first, values, "here")
    set_weights(again, read, "there")
    np.testing.assert_allclose(first(magnitudes()), again(magnitudes()), atol=1e-3)  # halves of weights are kept
    assert {name.split("/")[0] for name in later} >= {"early_time_in", "down2_near", "down3_near_out", "up0_near"}


def test_an_unknown_network_or_activation_is_refused_naming_known_ones(settings):
    unknown = settings("muscomp.shared_unet")
    unknown["model"]["type"] = "unet.vnet"
    with pytest.raises(SettingError, match=r"'unet\.vnet'.*muscomp\.shared_unet"):
        network(unknown).build()
    unknown = settings("unet.unet")
    unknown["model"]["params"]["conv_activation"] = "GELU"
    with pytest.raises(SettingError, match=r"'GELU'.*LeakyReLU"):
        network(unknown).build()
