"""What a studio does to the sound of a part and of a song: effects by pedalboard, a limiter. Used by mini-Slakh.

Effects are data (productions.yaml): the name of a pedalboard plugin, the chance that it is used, and the ranges its
parameters are drawn from. The mastering of a song must leave its mix the sum of its stems: each stem gets the same
equaliser and the same curve of gains, which a limiter derives from the mix.
"""

import numpy as np

from muscomp_lib.core import settings
from muscomp_lib.core.errors import SettingError

WINDOW = 0.05  # seconds over which the limiter changes its gain
INSTALL = "pip install -r requirements-effects.txt"


def _is_chain(value):
    """Whether a value describes effects: {plugin: {"chance": 0.5, "programs": [29], parameter: [lowest, highest]}}."""
    entries = value.values() if isinstance(value, dict) else [None]
    return all(isinstance(e, dict) and all(_is_effect_setting(*item) for item in e.items()) for e in entries)


def _is_effect_setting(name, value):
    if name == "chance":
        return isinstance(value, int | float) and 0 <= value <= 1
    return isinstance(value, list) and (name == "programs" or _is_span(value))


def _is_span(value):
    return isinstance(value, list) and len(value) == 2 and value[0] <= value[1]


CHAIN = settings.that(_is_chain, "plugins with chance, programs and ranges: {Reverb: {chance: 0.5, room_size: [0, 1]}}")
SPAN = settings.that(_is_span, "the lowest and the highest value: [2, 10]")


def draw(chain, rng, program=None):
    """Effects at random.

    Parameters
    ----------
    chain : dict
        {plugin: {"chance": 0 to 1, "programs": those it is for, parameter: [lowest, highest]}}, in order.
    rng : np.random.Generator
    program : int, optional

    Returns
    -------
    tuple of (str, dict)
        Plugins with their parameters.
    """
    drawn = []
    for plugin, entry in chain.items():
        ranges = {name: limits for name, limits in entry.items() if name not in ("chance", "programs")}
        values = {name: float(rng.uniform(*limits)) for name, limits in ranges.items()}
        if rng.random() < entry.get("chance", 1.0) and program in entry.get("programs", [program]):
            drawn.append((plugin, values))
    return tuple(drawn)


def apply(effects, waveform, sample_rate):
    """A waveform, shape (n_samples, 1), float32, through effects, as `draw` returns them.

    Raises
    ------
    SettingError
        When pedalboard is not installed, or has no such plugin or parameter.
    """
    if not effects:
        return waveform
    try:
        import pedalboard

        board = pedalboard.Pedalboard([getattr(pedalboard, plugin)(**values) for plugin, values in effects])
    except ImportError as error:
        raise SettingError(f"Effects need pedalboard ({error}). Install it: {INSTALL}") from error
    except (AttributeError, TypeError, ValueError) as error:
        raise SettingError(f"pedalboard rejects the effects {list(effects)}: {error}. Correct them.") from error
    return board(waveform.T, sample_rate).T


def limiter(mix, ceiling, sample_rate):
    """Gains, shape (n_samples, 1), with which a mix stays below `ceiling` (full scale).

    The gain is what the highest peak nearby needs, smoothed over as long: no peak escapes, and nothing is distorted.
    """
    from scipy.ndimage import maximum_filter1d, minimum_filter1d, uniform_filter1d

    size = round(WINDOW * sample_rate) | 1
    needed = np.minimum(1.0, ceiling / np.maximum(maximum_filter1d(np.abs(mix[:, 0]), size), ceiling))
    return uniform_filter1d(minimum_filter1d(needed, size), size).astype(np.float32)[:, None]
