"""From embeddings to names: distances from each composer, a vote per piece, and a threshold for "none". Used by 08.

A composer is the mean of the embeddings of the clips trained on, and a clip's distance is that from it. A raw distance
means nothing by itself: the threshold is the one that rejects a chosen share of the known composers' validation pieces.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

NONE = "none of them"
REJECTED = 0.1  # share of the known composers' pieces that the threshold rejects


def centroids(places, labels, n_composers):
    """The mean embedding of each composer's clips: shape (n_composers, size), of length 1."""
    means = np.stack([places[labels == label].mean(axis=0) for label in range(n_composers)])
    return means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-9)


def distances(places, centres):
    """Euclidean distances of clips from composers: shape (n_clips, n_composers), from 0 to 2."""
    return np.sqrt(np.maximum(0.0, 2.0 - 2.0 * places @ centres.T))


def by_piece(values, pieces):
    """The mean of clips' values over each piece: (pieces in order of their numbers, values (n_pieces, ...))."""
    numbers, which = np.unique(pieces, return_inverse=True)
    sums = np.zeros((len(numbers), *values.shape[1:]))
    np.add.at(sums, which, values)
    return numbers, sums / np.bincount(which).reshape(-1, *[1] * (values.ndim - 1))


@dataclass(frozen=True)
class Judged:
    """How well clips and pieces are named.

    Attributes
    ----------
    clips, pieces : float
        Balanced accuracies.
    table : pd.DataFrame
        One row per piece: `piece`, `label`, `found`, `distance` from the nearest composer.
    """

    clips: float
    pieces: float
    table: pd.DataFrame


def judge(near, labels, pieces):
    """Compare the nearest composers with the right ones.

    Parameters
    ----------
    near : np.ndarray, shape=(n_clips, n_composers)
        Distances; a piece's are the means of its clips'.
    labels, pieces : np.ndarray of int, shape=(n_clips,)
        Each clip's composer and piece.
    """
    numbers, voted = by_piece(near, pieces)
    right = np.array([labels[pieces == number][0] for number in numbers], int)
    found = voted.argmin(axis=1)
    table = pd.DataFrame({"piece": numbers, "label": right, "found": found, "distance": voted.min(axis=1)})
    accuracies = balanced_accuracy(labels, near.argmin(axis=1)), balanced_accuracy(right, found)
    return Judged(*accuracies, table)


def confusion(table, names):
    """The share of each composer's pieces (row) that is given to each composer (column): pd.DataFrame."""
    counts = pd.crosstab(table["label"], table["found"]).reindex(range(len(names)), fill_value=0)
    counts = counts.reindex(columns=range(len(names)), fill_value=0)
    shares = counts.div(counts.sum(axis=1).clip(lower=1), axis=0)
    return shares.set_axis(names, axis=0).set_axis(names, axis=1)


def balanced_accuracy(labels, found):
    """The share of right answers per composer, averaged over the composers: guessing gives one over their number."""
    return float(np.mean([np.mean(found[labels == label] == label) for label in np.unique(labels)]))


def threshold(nearest, rejected=REJECTED):
    """The distance that this share of the known composers' pieces exceeds."""
    return float(np.quantile(nearest, 1.0 - rejected))


@dataclass(frozen=True)
class OpenSet:
    """How far distances tell known composers from unknown ones.

    Attributes
    ----------
    accepted, false_alarms : np.ndarray
        For each possible threshold: the share of pieces by known composers that get a name, and of pieces by unknown
        ones that get one.
    auc : float
        How often a piece of an unknown composer is farther away than one of a known composer: 0.5 by chance.
    threshold, accepted_at, false_alarms_at : float
        One threshold, and both shares at it.
    """

    accepted: np.ndarray
    false_alarms: np.ndarray
    auc: float
    threshold: float
    accepted_at: float
    false_alarms_at: float


def open_set(known, unknown, limit):
    """Compare the distances of pieces from their nearest composer; `limit` is the threshold."""
    from sklearn import metrics

    is_known = np.repeat([True, False], [len(known), len(unknown)])
    nearness = -np.concatenate([known, unknown])
    false_alarms, accepted, _ = metrics.roc_curve(is_known, nearness)
    at = [float(np.mean(np.asarray(each) <= limit)) for each in (known, unknown)]
    return OpenSet(accepted, false_alarms, float(metrics.roc_auc_score(is_known, nearness)), limit, *at)


def answer(names, found, limit):
    """The composers by distance, and the name of the nearest, or NONE where all are farther than the threshold.

    Returns
    -------
    str, pd.DataFrame
        Columns `composer`, `distance`.
    """
    table = pd.DataFrame({"composer": names, "distance": found}).sort_values("distance", ignore_index=True)
    return (table["composer"][0] if table["distance"][0] <= limit else NONE), table
