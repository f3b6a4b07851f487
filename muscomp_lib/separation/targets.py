"""Which files a separation writes: instruments one by one, instruments together, and what is left. Used by 05.

What is wanted is a list of texts, each of which becomes one file:

    "Drums"                       one instrument (large and small letters do not matter)
    "Drums+Electric_Bass_pick"    several instruments, summed
    "accompaniment" or "rest"     all instruments that the list does not name

Masks are shares, so the sum of instruments is the sum of their masks: a combination costs no more than an instrument.
"""

import difflib
from dataclasses import dataclass

from muscomp_lib.core.errors import SettingError
from muscomp_lib.core.instruments import OTHER

PLUS = "+"
ALL_BUT_THE_NAMED = ("accompaniment", "rest")


@dataclass(frozen=True)
class Target:
    """One file to write.

    Attributes
    ----------
    name : str
        Of the file, without suffix.
    indices : tuple of int
        The instruments in it, by their place in the model's list.
    is_residual : bool
        It is not separated but what the others leave of the song, so that all sum to the song exactly.
    """

    name: str
    indices: tuple
    is_residual: bool = False


def plan(instruments, wanted=None, exact=False):
    """Work out the files to write.

    Parameters
    ----------
    instruments : list of str
        What the model separates.
    wanted : list of str, optional
        As above. None: every instrument.
    exact : bool
        Make the files sum to the song, sample by sample: the output that holds `other` (else the one that holds what
        the list does not name, else a further one called `other`) becomes the remainder.

    Returns
    -------
    list of Target

    Raises
    ------
    SettingError
        An unknown instrument, one that is named twice, or nothing to write.
    """
    if isinstance(wanted, str):
        wanted = [part.strip() for part in wanted.split(",")]
    wanted = list(instruments) if wanted is None else list(wanted)
    if not wanted:
        raise SettingError(f"Nothing to write was named. Name some of {', '.join(instruments)}.")
    groups = [[_known(part.strip(), instruments) for part in str(text).split(PLUS)] for text in wanted]
    named = [name for group in groups for name in group]
    if len(set(named).intersection(ALL_BUT_THE_NAMED)) > 1:
        raise SettingError(f"{' and '.join(ALL_BUT_THE_NAMED)} mean the same. Name one of them in {wanted}.")
    if twice := sorted({name for name in named if named.count(name) > 1}):
        raise SettingError(f"{', '.join(twice)} is named more than once in {wanted}. Each may be in one file only.")
    outputs = [Target(PLUS.join(group), _indices(group, named, instruments)) for group in groups]
    return _with_remainder(outputs, instruments) if exact else outputs


def _known(name, instruments):
    """An instrument's name as the model spells it, or `ALL_BUT_THE_NAMED`."""
    spelled = {known.lower(): known for known in (*ALL_BUT_THE_NAMED, *instruments)}
    if name.lower() in spelled:
        return spelled[name.lower()]
    close = difflib.get_close_matches(name.lower(), spelled, n=1)
    hint = f" Do you mean {spelled[close[0]]!r}?" if close else ""
    raise SettingError(
        f"There is no instrument {name!r} in this model.{hint} There are {', '.join(instruments)}, and "
        f"{' or '.join(map(repr, ALL_BUT_THE_NAMED))} for all that you do not name."
    )


def _indices(group, named, instruments):
    numbers = {instruments.index(name) for name in group if name in instruments}
    if any(name not in instruments for name in group):
        numbers |= {number for number, name in enumerate(instruments) if name not in named}
    if not numbers:
        raise SettingError(f"{PLUS.join(group)!r} would be empty: every instrument is named already. Leave it out.")
    return tuple(sorted(numbers))


def _with_remainder(outputs, instruments):
    """The outputs, with that which takes up what the others leave marked, or added."""
    others = {number for number, name in enumerate(instruments) if name == OTHER}
    unnamed = set(range(len(instruments))) - {number for output in outputs for number in output.indices}
    by_number = [output for output in outputs if others & set(output.indices)]
    holds = by_number or [output for output in outputs if set(ALL_BUT_THE_NAMED) & set(output.name.split(PLUS))]
    if holds == outputs:
        raise SettingError(
            f"{outputs[0].name!r} alone cannot sum to the song. Name another output too, or exact=False."
        )
    if not holds:
        return [*outputs, Target(OTHER, tuple(sorted(unnamed)), is_residual=True)]
    return [Target(o.name, o.indices, is_residual=o is holds[0]) for o in outputs]
