"""Distances, votes and thresholds on values that are known."""

import numpy as np
import pytest

from muscomp_lib.composers import embedding, recognition


def test_values_are_averaged_over_each_piece():
    numbers, means = recognition.by_piece(np.array([[1.0, 0], [3, 0], [5, 2]]), np.array([7, 7, 3]))
    assert numbers.tolist() == [3, 7] and means.tolist() == [[5, 2], [2, 0]]


def test_balanced_accuracy_counts_each_composer_equally():
    labels = np.array([0] * 98 + [1] * 2)
    assert recognition.balanced_accuracy(labels, np.zeros(100, int)) == 0.5


def test_a_composer_is_the_mean_direction_of_their_clips():
    places = np.array([[1.0, 0], [0, 1], [-1, 0]])
    centres = recognition.centroids(places, np.array([0, 0, 1]), 2)
    np.testing.assert_allclose(centres, [[0.5**0.5, 0.5**0.5], [-1, 0]])
    assert recognition.distances(places, centres).argmin(axis=1).tolist() == [0, 0, 1]
    assert recognition.distances(places, centres)[2] == pytest.approx([(2 + 2**0.5) ** 0.5, 0])


def test_the_threshold_rejects_the_share_that_was_asked_for():
    known, unknown = np.linspace(0, 1, 101), np.linspace(0.5, 1.5, 101)
    limit = recognition.threshold(known, 0.2)
    found = recognition.open_set(known, unknown, limit)
    assert (limit, found.accepted_at) == (pytest.approx(0.8), pytest.approx(0.8, abs=0.01))
    assert found.false_alarms_at == pytest.approx(0.3, abs=0.01)
    assert found.auc == pytest.approx(0.875, abs=0.01)


def test_a_threshold_that_rejects_all_names_nobody():
    name, table = recognition.answer(["A", "B"], np.array([0.4, 0.2]), 0.1)
    assert name == recognition.NONE and table["composer"].tolist() == ["B", "A"]
    found = recognition.open_set(np.array([0.4, 0.3]), np.array([0.5]), 0.0)
    assert (found.accepted_at, found.false_alarms_at, found.auc) == (0, 0, 1)


def test_losses_fall_as_composers_move_apart():
    labels = np.array([0, 0, 1, 1])
    together, apart = np.zeros((2, 4, embedding.SIZE + 2), np.float32)
    together[:, 0] = 1
    apart[:2, 0] = apart[2:, 1] = apart[:2, embedding.SIZE] = apart[2:, embedding.SIZE + 1] = 1
    for loss in (embedding.cross_entropy, embedding.triplet):
        assert np.mean(loss(labels, apart)) < np.mean(loss(labels, together))


@pytest.mark.parametrize("features", embedding.FEATURES)
def test_a_network_uses_only_the_features_it_is_for(features):
    network = embedding.build(32, features, 3)
    rng = np.random.default_rng(0)
    examples = rng.random((2, 32, embedding.N_BINS)).astype(np.float32)
    found = np.asarray(network(examples))
    assert found.shape == (2, embedding.SIZE + 3)
    np.testing.assert_allclose(np.linalg.norm(found[:, : embedding.SIZE], axis=1), 1, atol=1e-5)
    for name, band in embedding.BANDS.items():
        changed = examples.copy()
        changed[:, :, slice(*band)] = rng.random((2, 32, band[1] - band[0]))
        assert np.allclose(network(changed), found) == (name not in embedding.FEATURES[features])


def test_batches_hold_each_composer_equally_often_and_repeat():
    clips = np.random.default_rng(0).random((40, 2, 8, 5)).astype(np.float16)
    labels = np.array([0] * 30 + [1] * 8 + [2] * 2)
    inputs, found = embedding.Batches(clips, labels, seed=1, augment=False).batch(3)
    assert np.bincount(found).tolist() == [embedding.CLIPS_PER_COMPOSER] * 3
    again, _ = embedding.Batches(clips, labels, seed=1, augment=False).batch(3)
    assert np.array_equal(inputs, again)
