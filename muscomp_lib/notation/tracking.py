"""Beats of a known tempo. Used by beats.py.

A steady song has evenly spaced beats. People drift: their beats are the best path through the onsets in which each
beat's period is nearly that of the one before, found with dynamic programming over times and periods (as in Ellis
2007, where the period is one for the whole song, and Krebs, Boeck and Widmer 2015).
"""

import numpy as np

from muscomp_lib.notation import onset_strength

BEAT_SHARPNESS = 32.0  # how near a beat an onset must be: periods in the standard deviation
MOST_DRIFT, STEP = 0.15, 0.015  # of the period: how far it goes from the song's, and by how much at once
STEP_COST = 0.6  # of one such step, in standard deviations of the onset strength
EARLY_OR_LATE, TIGHTNESS = 0.05, 1000.0  # of a period: how far a beat may be off; the cost is that times its square
HALF_BEAT = 0.5  # the weight of onsets half-way to a beat
FIRST_BEAT = 0.01  # of the strongest: what is softer comes before the first beat
MARGIN = 1.25  # how many times better beats that drift have to fit than evenly spaced ones


def beats(strength, tempo):
    """Find the beats of a song.

    Parameters
    ----------
    strength : np.ndarray, shape=(n_hops,)
        Onset strength (onset_strength.py).
    tempo : float
        Beats per minute.

    Returns
    -------
    np.ndarray
        Seconds, ascending, delayed as the onset strength is: evenly spaced, unless drifting ones fit clearly better.
    """
    period = onset_strength.RATE * 60 / tempo
    local = _near_beats(strength, period)
    even = np.arange(0, len(local), period)
    even = max((even + phase for phase in range(int(np.ceil(period)))), key=lambda hops: _fit(local, hops))
    even = even[even < len(local)]
    drifting = _drifting(local, period)
    if len(drifting) > 2:
        played = even[(even > drifting[0] - period) & (even < drifting[-1] + period)]  # in silence, nothing fits
        if _fit(local, drifting) > MARGIN * _fit(local, played):
            return drifting / onset_strength.RATE
    return even / onset_strength.RATE


def _near_beats(strength, period):
    """The onset strength around each hop, in standard deviations."""
    n_hops = round(period)
    around = np.exp(-0.5 * (BEAT_SHARPNESS * np.arange(-n_hops, n_hops + 1) / period) ** 2)
    return np.convolve(strength / strength.std(ddof=1), around)[n_hops : n_hops + len(strength)]


def _fit(local, hops):
    """The mean onset strength at beats, which may lie between hops."""
    return local[np.rint(hops[hops < len(local)]).astype(int).clip(0, len(local) - 1)].mean()


def _drifting(local, period):
    """The hops of beats that follow the onsets: np.ndarray of int, ascending."""
    lengths, steps, best = _forward(local, period)
    end = len(local) - round(period)
    hop = max(end, 0) + int(best[max(end, 0) :].max(axis=1).argmax())
    at, path = int(best[hop].argmax()), []
    while hop >= 0:
        path.append(hop)
        at += steps[hop, at]
        hop -= lengths[hop, at]
    sounding = np.flatnonzero(local > 0)
    first = np.argmax(local >= FIRST_BEAT * local.max())
    return np.array([hop for hop in reversed(path) if first <= hop <= sounding[-1]])


def _forward(local, period):
    """The best way to a beat at each hop with each period from there on.

    Returns
    -------
    lengths, steps : np.ndarray, shape=(n_hops, n_periods), int
        For the way back: hops to the beat before, by the period up to the beat; and how many periods further on in
        the list that one is, by the period from the beat on.
    best : np.ndarray, shape=(n_hops, n_periods)
        The onset strength of all its beats, less what early and late beats and other periods cost.
    """
    n_steps, early = round(MOST_DRIFT / STEP), int(np.ceil(EARLY_OR_LATE * period))
    periods = period * np.exp(STEP * np.arange(-n_steps, n_steps + 1))
    back = np.rint(periods).astype(int)[:, None] + np.arange(-early, early + 1)
    cost = TIGHTNESS * np.log(back / periods[:, None]) ** 2
    halves, each, ahead = np.rint(periods / 2).astype(int), np.arange(len(periods)), back.max()
    best = np.zeros((ahead + len(local), len(periods)))
    lengths, steps = np.zeros((2, len(local), len(periods)), int)
    around = np.full((3, len(periods)), -np.inf)
    for hop in range(len(local)):
        reached = best[ahead + hop - back, each[:, None]] - cost
        came = reached.argmax(axis=1)
        lengths[hop] = back[each, came]
        around[1] = reached[each, came] + local[hop] + HALF_BEAT * local[np.maximum(hop - halves, 0)]
        around[0, 1:], around[2, :-1] = around[1, :-1] - STEP_COST, around[1, 1:] - STEP_COST
        which = around.argmax(axis=0)
        best[ahead + hop], steps[hop] = around[which, each], which - 1
    return lengths, steps, best[ahead:]
