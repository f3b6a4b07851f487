"""Which song lends an instrument to one that lacks it, and from which offset. Used by notebooks 02 and 03."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Lender:
    """The stems of one instrument in a song that may lend it.

    Attributes
    ----------
    track : str
    stems : object
        The caller's own identifier of them.
    frames : int
        Their length in samples, at the rate of the songs to fill.
    active : np.ndarray, shape=(n_seconds,), bool
        In which seconds they play.
    """

    track: str
    stems: object
    frames: int
    active: np.ndarray

    def draw_offset(self, frames, sample_rate, rng):
        """A whole second from which `frames` samples are active at least half as long as at the best offset."""
        last = max(self.frames - frames, 0) // sample_rate if self.frames > frames else len(self.active) - 1
        window = -(-frames // sample_rate)
        playing = np.cumsum([0, *np.resize(self.active, last + 1 + window)])
        playing = playing[window : window + last + 1] - playing[: last + 1]
        return int(rng.choice(np.flatnonzero(playing * 2 >= playing.max()))) * sample_rate


def least_used(lenders, instrument, used, rng):
    """Of several lenders, the one used least for this instrument, then least for any.

    Parameters
    ----------
    lenders : list of Lender
    instrument : str
    used : collections.Counter
        Of tracks, and of (track, instrument); the choice is counted in it.
    rng : np.random.Generator
        Draws among equals.
    """
    chosen = min(lenders, key=lambda lender: (used[lender.track, instrument], used[lender.track], rng.random()))
    used.update([(chosen.track, instrument), chosen.track])
    return chosen
