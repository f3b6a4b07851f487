"""The instruments, as data: which General MIDI programs make up each. Used by every notebook.

`instruments.yaml` holds the taxonomies; `load` reads and checks one. Programs are 0-based as in MIDI files and Slakh's
metadata, and 128 stands for drums.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from muscomp_lib.errors import SettingError

TAXONOMY_FILE = Path(__file__).with_name("instruments.yaml")
DEFAULT_TAXONOMY = "slakh12"
DRUMS = 128
OTHER = "other"  # the residual: all that is in the mix and outside the taxonomy
MIX = "mix"
RESIDUALS = ("target", "drop")  # what becomes of `other`: one more file to separate, or nothing


@dataclass(frozen=True)
class Instrument:
    """One instrument of a taxonomy.

    Attributes
    ----------
    name : str
        As used for files and columns: `Electric_Bass_pick`.
    programs : tuple of int
        General MIDI programs, 0 to 127, or 128 for drums. The first is the one written to MIDI files.
    lowest, highest : int or None
        MIDI note numbers; None for drums.
    one_voice : bool
        Whether it plays one note at a time.
    """

    name: str
    programs: tuple
    lowest: int | None
    highest: int | None
    one_voice: bool

    @property
    def is_drums(self):
        """Whether this is the drum kit."""
        return DRUMS in self.programs


@cache
def load(taxonomy=DEFAULT_TAXONOMY):
    """Read a taxonomy.

    Returns
    -------
    dict of str to Instrument
        In the order of the file.

    Raises
    ------
    SettingError
        For an unknown taxonomy, or a mistake in the file, naming the line's instrument.
    """
    everything = yaml.safe_load(TAXONOMY_FILE.read_text())
    if taxonomy not in everything:
        known = ", ".join(everything)
        raise SettingError(f"There is no taxonomy {taxonomy!r} in {TAXONOMY_FILE.name}; it has {known}.")
    found = {name: _instrument(name, entry) for name, entry in everything[taxonomy].items()}
    _check_programs_are_disjoint(found)
    return found


def _instrument(name, entry):
    programs = tuple(entry.get("programs", ()))
    where = f"{TAXONOMY_FILE.name}, instrument {name!r}"
    if name in (OTHER, MIX) or not name.replace("_", "").isalnum():
        raise SettingError(f"{where}: not a possible name. Use letters, digits and _, and not {OTHER!r} or {MIX!r}.")
    if not programs or not all(isinstance(p, int) and 0 <= p <= DRUMS for p in programs):
        raise SettingError(f"{where}: programs {list(programs)} must be whole numbers from 0 to 127, or 128 for drums.")
    lowest, highest = entry.get("range", (None, None))
    return Instrument(name, programs, lowest, highest, entry.get("voices") == "one")


def _check_programs_are_disjoint(found):
    owner = {}
    for instrument in found.values():
        for program in instrument.programs:
            if program in owner:
                raise SettingError(
                    f"{TAXONOMY_FILE.name}: program {program} belongs to both {owner[program]!r} and "
                    f"{instrument.name!r}. Leave it in one of them."
                )
            owner[program] = instrument.name


def names(taxonomy=DEFAULT_TAXONOMY):
    """The instrument names of a taxonomy, in order."""
    return list(load(taxonomy))


def of_program(program, taxonomy=DEFAULT_TAXONOMY):
    """The name of the instrument that `program` belongs to, or "" when it is outside the taxonomy."""
    return next((i.name for i in load(taxonomy).values() if program in i.programs), "")
