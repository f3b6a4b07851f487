import numpy as np
import pytest

from muscomp_lib.core.errors import SettingError
from muscomp_lib.models import registry
from muscomp_lib.models.weights import get_weights
from muscomp_lib.timbre import train


def network(descriptor="envelope", filters=(4, 8), **changes):
    config = train.configuration(train.Settings(descriptor=descriptor), ["bank"])
    config["model"]["params"]["conv_n_filters"] = list(filters)
    return registry.network(config | {"T": 64, "F": 256, "n_channels": 1} | changes)


def random_weights(model):
    """Weights of a Keras model, all of them random, so that the query matters."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.normal(0, 0.1, weight.shape))
    return get_weights(model)


@pytest.mark.parametrize(("descriptor", "shape"), [("envelope", (40,)), ("learned", (9, 128))])
def test_a_query_as_weights_gives_what_training_gives(descriptor, shape):
    made, rng = network(descriptor), np.random.default_rng(1)
    trained, plain = made.training_model(), made.build()
    values = random_weights(trained)
    magnitude = rng.uniform(0, 1, (1, 64, 256, 1)).astype(np.float32)
    masks = []
    for query in rng.normal(size=(2, *shape)).astype(np.float32):
        conditioned = made.conditioned(values, query)
        assert set(conditioned) == {weight.path for weight in plain.weights}
        for weight in plain.weights:
            weight.assign(conditioned[weight.path])
        whole = np.asarray(plain(magnitude))[:, ::2, :128, 0]
        by_band = np.asarray(trained([magnitude, query[None]]))[:, :, :128]
        np.testing.assert_allclose(whole, by_band, atol=1e-4)
        masks.append(whole)
    assert np.abs(masks[0] - masks[1]).max() > 0.01
    np.testing.assert_allclose(masks[0].sum(axis=-1), 1, atol=1e-5)


def test_a_query_of_another_kind_is_refused():
    made = network()
    values = random_weights(made.training_model())
    with pytest.raises(SettingError, match=r"separates what a query asks for. Give it one"):
        made.conditioned(values, None)
    with pytest.raises(SettingError, match=r"shape \(41,\) is not of this network's kind: 40 numbers"):
        made.conditioned(values, np.zeros(41, np.float32))
