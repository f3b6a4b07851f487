"""Which files a separation writes: single instruments, sums of instruments, and the residual. Used by notebook 05.

The targets are given as a list of texts, each of which becomes one file:

    "Drums"                       one instrument (case does not matter)
    "guitar"                      all that people call so, where none has just this name: the sum of the guitars, with
                                  notes, as a guitar
    "Drums+Electric_Bass_pick"    the sum of several instruments
    "accompaniment" or "rest"     all instruments that the list does not name (both mean the same)

The mask of a sum is the sum of the masks, so a sum costs no more than one instrument.
"""

import re
from dataclasses import dataclass, replace

from muscomp_lib.core import names
from muscomp_lib.core.errors import SettingError
from muscomp_lib.core.instruments import OTHER, PLUS, UNNAMED, find
from muscomp_lib.core.settings import suggestion


@dataclass(frozen=True)
class Target:
    """One file to write.

    Attributes
    ----------
    name : str
        File name without suffix.
    indices : tuple of int
        Its instruments, as indices into the model's list.
    is_residual : bool
        Not separated, but the song minus all other targets, so that the targets sum to the song exactly.
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
    wanted : list of str or str, optional
        Targets, as above; in a str, separated by commas. None: every instrument.
    exact : bool
        Make the files sum to the song, sample by sample: one target becomes the residual. It is the target with
        `other`, else the one with the unnamed instruments, else an additional one called `other`.

    Returns
    -------
    list of Target

    Raises
    ------
    SettingError
        An instrument is unknown or named twice, or there is nothing to write.
    """
    if isinstance(wanted, str):
        wanted = wanted.split(",")
    wanted = list(instruments) if wanted is None else list(wanted)
    if not wanted:
        raise SettingError(f"The list of files to write is empty. Name some of {', '.join(instruments)}.")
    parts = [[part.strip() for part in _parts(str(text), instruments)] for text in wanted]
    meant = [[(part, _meant(part, instruments)) for part in its] for its in parts]
    groups = [[name for _, its in sums for name in its] for sums in meant]
    named = [name for group in groups for name in group]
    _check_named_once(named, wanted)
    titles = [PLUS.join(_title(part, its) for part, its in sums) for sums in meant]
    found = [Target(title, _indices(group, named, instruments)) for title, group in zip(titles, groups, strict=True)]
    return _with_residual(found, instruments) if exact else found


def _parts(text, instruments):
    """The instruments of a sum; a model's own instrument may have a plus in its name."""
    is_one = text.strip().lower() in (name.lower() for name in instruments)
    return [text] if is_one else text.split(PLUS)


def _meant(name, instruments):
    """The instruments that a name means, as the model spells them: the one of this name, or all of this kind.

    Of a kind are those whose names have its words ("guitar", "Pno"), or else those that share a program with what it
    is commonly called ("horns").
    """
    spelled = {known.lower(): known for known in (*UNNAMED, *instruments)}
    if name.lower() in spelled:
        return [spelled[name.lower()]]
    words, programs = _words(name), _programs(name)
    found = [known for known in instruments if words and words <= _words(known)]
    if found := found or [known for known in instruments if programs & _programs(known)]:
        return found
    raise SettingError(
        f"There is no instrument {name!r} in this model. {suggestion(name, instruments)} "
        f"{' or '.join(map(repr, UNNAMED))} is the sum of all that you do not name. What other models separate is "
        "listed by `muscomp models`."
    )


def _title(name, meant):
    """What a file calls the instruments that a name means: several by their common name, which notes are found by."""
    common = find(name) if len(meant) > 1 else None
    return common.name if common else PLUS.join(meant)


def _words(name):
    return set(re.findall(r"[^\W\d_]+", names.in_full(name).lower()))


def _programs(name):
    return set(getattr(find(name), "programs", ()))


def _check_named_once(named, wanted):
    if len(set(named).intersection(UNNAMED)) > 1:
        raise SettingError(f"{' and '.join(UNNAMED)} mean the same. Name one of them in {wanted}.")
    if repeated := sorted({name for name in named if named.count(name) > 1}):
        raise SettingError(f"{', '.join(repeated)} is named more than once in {wanted}. Each may be in one file only.")


def _indices(group, named, instruments):
    found = {instruments.index(name) for name in group if name in instruments}
    if any(name not in instruments for name in group):
        found |= {index for index, name in enumerate(instruments) if name not in named}
    if not found:
        raise SettingError(f"{PLUS.join(group)!r} would be empty: every instrument is already named. Leave it out.")
    return tuple(sorted(found))


def _with_residual(found, instruments):
    """The targets, with one marked as the residual, or one added."""
    other = {index for index, name in enumerate(instruments) if name.lower() == OTHER}
    unnamed = set(range(len(instruments))) - {index for target in found for index in target.indices}
    candidates = [target for target in found if other & set(target.indices)] or [
        target for target in found if set(UNNAMED) & set(target.name.split(PLUS))
    ]
    if candidates == found:
        raise SettingError(
            f"{found[0].name!r} alone cannot sum to the song. Name another target too, or set exact=False."
        )
    if not candidates:
        return [*found, Target(OTHER, tuple(sorted(unnamed)), is_residual=True)]
    return [replace(target, is_residual=target is candidates[0]) for target in found]
