"""Statistics of a clip's notes, without a network: what simple counts reveal of a composer. Used by notebook 08.

Whatever they find shows how much of a success is genre and texture: four voices, long notes, a low piano.
"""

import numpy as np

from muscomp_lib.composers.scores import END, PITCH, START

OCTAVE = 12
LARGEST_STEP = 7  # semitones between one onset and the next, upwards or down; larger ones are counted together
LENGTHS = (0.15, 0.3, 0.6, 1.2, 2.4)  # seconds: bounds of the classes of lengths
MOST_VOICES = 6
INVERSE_REGULARIZATION = 0.1


def of(notes, seconds):
    """Counts and means of the notes of a clip, on about the same scale.

    Returns
    -------
    np.ndarray, shape=(n_statistics,), float32
        Shares of each interval above the clip's most frequent pitch class, of steps between successive highest notes,
        of lengths, of voices sounding together; mean and spread of pitch; notes a second.
    """
    order = notes[np.argsort(notes[:, START], kind="stable")]
    classes = np.bincount(order[:, PITCH].astype(int) % OCTAVE, minlength=OCTAVE)
    onsets, first = np.unique(order[:, START], return_index=True)
    highest = np.maximum.reduceat(order[:, PITCH], first)
    steps = np.clip(np.diff(highest), -LARGEST_STEP, LARGEST_STEP).astype(int) + LARGEST_STEP
    lengths = np.digitize(order[:, END] - order[:, START], LENGTHS)
    voices = [np.count_nonzero((order[:, START] <= at) & (order[:, END] > at)) for at in onsets]
    parts = [
        np.roll(classes, -int(classes.argmax())),
        np.bincount(steps, minlength=2 * LARGEST_STEP + 1),
        np.bincount(lengths, minlength=len(LENGTHS) + 1),
        np.bincount(np.minimum(voices, MOST_VOICES), minlength=MOST_VOICES + 1),
    ]
    shares = [part / max(1, part.sum()) for part in parts]
    register = [order[:, PITCH].mean() / 64, order[:, PITCH].std() / 16, highest.mean() / 64]
    return np.concatenate([*shares, register, [len(order) / seconds / 8, len(onsets) / seconds / 4]]).astype(np.float32)


def distances(training, labels, others):
    """How far clips are from composers, by a logistic regression on statistics.

    Parameters
    ----------
    training, others : np.ndarray, shape=(n_clips, n_statistics)
        Those to learn from, and those to measure.
    labels : np.ndarray of int
        The composers of the former, from 0; each counts equally.

    Returns
    -------
    np.ndarray, shape=(n_clips, n_composers)
        Negative logarithms of the probabilities.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    regression = LogisticRegression(C=INVERSE_REGULARIZATION, class_weight="balanced", max_iter=1000)
    return -make_pipeline(StandardScaler(), regression).fit(training, labels).predict_log_proba(others)
