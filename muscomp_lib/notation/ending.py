"""Beats of a song that slows down at its end. Used by beats.py, whose beats are evenly spaced in a steady song.

From one of the last beats on, each next one is where a note begins a little later than the beat before would have it.
Such beats replace the evenly spaced ones where clearly more of them have a note, and the last is clearly longer.
"""

import numpy as np

LAST = 24  # beats from the end of the music: there it may begin to slow down
BEFORE, FITTING = 8, 0.5  # beats before that, and the share of them that must have a note
QUICKER, SLOWER = 0.95, 1.25  # times as long as the beat before: where the next one is looked for
MOST_SLOWED = 2.0  # times as long as the first beat: it ends here, or it is another tempo
SLOWED = 1.15  # times as long as the first beat, at least, for the last one
MORE_NOTES = 3  # beats with a note, that there are more of


def slowed(times, onsets, tolerance):
    """Beats that follow a song's notes where these slow down at its end.

    Parameters
    ----------
    times, onsets : np.ndarray
        Evenly spaced beats, and when notes begin; in seconds, ascending.
    tolerance : float
        Seconds: a note this close to a beat is on it.

    Returns
    -------
    np.ndarray
        `times` itself where they do not slow down.
    """
    if len(onsets) < 2:
        return times
    has_note = _has_note(times, onsets, tolerance)
    n_played = int(np.searchsorted(times, onsets[-1] + tolerance))
    best, most = times, MORE_NOTES - 1
    for first in range(max(BEFORE, n_played - LAST), n_played - MORE_NOTES):
        if not has_note[first] or has_note[first - BEFORE : first].mean() < FITTING:
            continue
        period = times[first] - times[first - 1]
        found = _followed(times[first], period, onsets)
        more = len(found) - np.count_nonzero(has_note[first : np.searchsorted(times, found[-1] + period / 2)])
        if more > most and found[-1] - found[-2] > SLOWED * period:
            best, most = np.r_[times[:first], found, _after(found, times[-1])], more
    return best


def _has_note(times, onsets, tolerance):
    """Whether a note begins at each time: booleans."""
    return np.searchsorted(onsets, times + tolerance) > np.searchsorted(onsets, times - tolerance)


def _followed(time, period, onsets):
    """Beats from a time on, each where a note begins: a list of seconds, with at least two."""
    found, longest, ratio = [time], MOST_SLOWED * period, 1.0
    while period <= longest:
        first, last = (np.searchsorted(onsets, time + part * period) for part in (QUICKER, SLOWER))
        if first == last:
            break
        following = min(onsets[first:last], key=lambda onset: abs(onset - time - ratio * period))
        ratio, time, period = np.clip((following - time) / period, 1.0, SLOWER), following, following - time
        found.append(time)
    return found if len(found) > 1 else [time, time + period]


def _after(found, end):
    """Beats after the last two, as far apart as these, to the end of the song."""
    period = found[-1] - found[-2]
    return np.arange(found[-1] + period, end, period)
