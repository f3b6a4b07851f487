"""The instruments, as data: which General MIDI programs make up each. Used by every notebook.

`instruments.yaml` holds the taxonomies; students add their own there. Its block `common_names` holds the names that
other models and people use, such as `bass`: `find` looks a name up in both. The whole file is checked before any of it
is used, so that a mistake stops a run at its start. Programs are 0-based, as in MIDI files and Slakh's metadata; 128
stands for drums. No module spells an instrument's name: ask `load(taxonomy)[name].is_drums` or `drums(taxonomy)`.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from muscomp_lib.core import names as valid_names
from muscomp_lib.core import settings, yaml_file
from muscomp_lib.core.errors import SettingError
from muscomp_lib.core.settings import Expected

TAXONOMY_FILE = Path(__file__).with_name("instruments.yaml")
DEFAULT_TAXONOMY = "slakh12"
DRUMS = 128
HIGHEST_NOTE = 127  # of MIDI
OTHER = "other"  # the residual: everything in the mix outside the taxonomy
MIX = "mix"
UNNAMED = ("accompaniment", "rest")  # among files to write: the sum of all instruments that are not named
PLUS = "+"  # between the instruments of a sum: "Drums+Violin"
NUMBERS = "_0123456789"  # of tracks or players, before or behind a name
SIGNALS = {"di", "amp", "cab", "mic", "mics"}  # how an instrument was recorded
LEFT = {"l", "left", "lft", "lt", "links", "gauche", "izquierda", "izq"}  # of two channels in two files
RIGHT = {"r", "right", "rgt", "rght", "rt", "rechts", "droite", "derecha"}
NO_INSTRUMENTS = SIGNALS | {  # words of a name that leave its instrument as it is
    *("lead", "rhythm", "solo", "main", "double", "dbl", "riff", "fill", "fills", "part", "pt", "section", "live"),
    *(*LEFT, *RIGHT, "high", "hi", "mid", "side", "low", "lo", "mono", "stereo", "i", "ii", "iii", "iv"),
    *("string", "ensemble"),
    *("first", "second", "st", "nd", "clean", "muted", "legato", "staccato", "spiccato", "pizz", "pizzicato", "arco"),
    *("dry", "wet", "comp", "edit", "take", "track", "stem", "bus", "sum", "bounced", "bip", "dup"),
}
COMMON = "common_names"  # the block of instruments.yaml that is no taxonomy
RESIDUALS = ("target", "drop")  # what to do with `other`: separate it too, or leave it out
# An instrument's name becomes a file, a column and a network's layer: what every disk and TensorFlow accept.
VALID_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]{0,63}")
RESERVED_NAMES = (
    *(MIX, OTHER, *UNNAMED),  # files beside those of the instruments
    *("track", "split", "uuid", "partition", "frames", "duration", "status", "note"),  # columns of tracks.csv
    *valid_names.DEVICES,
)


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
    also : tuple of str
        Other names of it, for `find`.
    """

    name: str
    programs: tuple
    lowest: int | None
    highest: int | None
    one_voice: bool
    also: tuple = ()

    @property
    def is_drums(self):
        """Whether this is the drum kit."""
        return DRUMS in self.programs


def load(taxonomy=DEFAULT_TAXONOMY):
    """Read a taxonomy.

    Returns
    -------
    dict of str to Instrument
        In the order of the file.

    Raises
    ------
    SettingError
        For an unknown taxonomy, or an error anywhere in the file, with its location and what is possible.
    """
    if taxonomy not in taxonomies():
        known = settings.suggestion(taxonomy, taxonomies())
        raise SettingError(f"There is no taxonomy {taxonomy!r} in {TAXONOMY_FILE.name}. {known}")
    return _read(TAXONOMY_FILE)[taxonomy]


# A setting that names a taxonomy, checked by `load`.
Taxonomy = Annotated[str, AfterValidator(lambda name: load(name) and name), Expected("a taxonomy of instruments.yaml")]


def taxonomies():
    """The names of all taxonomies, in the order of the file."""
    return [name for name in _read(TAXONOMY_FILE) if name != COMMON]


def names(taxonomy=DEFAULT_TAXONOMY):
    """The instrument names of a taxonomy, in order."""
    return list(load(taxonomy))


def known(taxonomy=DEFAULT_TAXONOMY):
    """What `find` finds: the names of a taxonomy, and the common ones of other instruments: list of str."""
    common = _read(TAXONOMY_FILE).get(COMMON, {})
    return [*names(taxonomy), *(name for name in common if find(name, taxonomy) == common[name])]


def drums(taxonomy=DEFAULT_TAXONOMY):
    """The names of the drum kits of a taxonomy: set of str, empty where it has none."""
    return {instrument.name for instrument in load(taxonomy).values() if instrument.is_drums}


def of_program(program, taxonomy=DEFAULT_TAXONOMY):
    """The name of the instrument that `program` belongs to, or "" when it is outside the taxonomy."""
    return next((i.name for i in load(taxonomy).values() if program in i.programs), "")


def find(name, taxonomy=DEFAULT_TAXONOMY):
    """The instrument that a name means: of a taxonomy, or else of the common names; None where neither has it.

    Case does not matter, nor whether words are joined by a space, a hyphen or an underscore. Where nothing has a name
    as it stands, its abbreviations are written out (`names.in_full`), and numbers at its ends left out: "01 Gtr". Last,
    its words may stand in any order, with some that are no instrument among them: "Guitar (Acoustic) L", "Lead Gtr".
    """
    load(taxonomy)  # the error for an unknown one
    spellings, in_any_order = _spellings(TAXONOMY_FILE, taxonomy)
    whole = _words(valid_names.without_accents(valid_names.in_full(name)))
    full = whole.strip(NUMBERS)
    words = re.sub(r"[\W\d_]+", "_", full)
    kept = "_".join(word for word in words.split("_") if word not in NO_INSTRUMENTS)
    return (
        spellings.get(_words(name)) or spellings.get(whole) or spellings.get(full)
        or in_any_order.get(_in_order(words)) or in_any_order.get(_in_order(kept))
    )  # fmt: skip


@cache
def _spellings(path, taxonomy):
    """The instruments by their names, as `_words` has them, and by the words of these in alphabetical order."""
    known = [*_read(path)[taxonomy].values(), *_read(path).get(COMMON, {}).values()]
    spelled = [(_words(each), i) for i in reversed(known) for each in (i.name, *i.also)]
    return dict(spelled), {_in_order(words): i for words, i in spelled}


def _in_order(words):
    return tuple(sorted(filter(None, words.split("_"))))


def _words(name):
    return re.sub(r"[\s_-]+", "_", valid_names.folded(name))


# ---- reading and checking the file ----


def _is_whole(number, highest):
    return type(number) is int and 0 <= number <= highest  # to Python, True is an int


def _is_programs(value):
    is_list = isinstance(value, list) and value and all(_is_whole(program, DRUMS) for program in value)
    return is_list and len(set(value)) == len(value)


def _is_range(value):
    is_pair = isinstance(value, list) and len(value) == 2 and all(_is_whole(note, HIGHEST_NOTE) for note in value)
    return is_pair and value[0] <= value[1]


PROGRAMS = "a list in brackets of whole numbers from 0 to 127, or 128 for drums, each once: [40, 41]"
ALSO = "a list in brackets of other names of it, each once, and none that another instrument has: [electric_bass]"
RANGE = f"its lowest and its highest note, as MIDI note numbers from 0 to {HIGHEST_NOTE} (60 is middle C): [55, 103]"


def _is_also(value):
    return isinstance(value, list) and all(valid_names.is_name(n) and n.lower() not in RESERVED_NAMES for n in value)


class _Entry(settings.Section):
    """What the file says of an instrument."""

    programs: settings.that(_is_programs, PROGRAMS)
    range: settings.that(_is_range, RANGE) = None
    voices: settings.one_of("one", "many") = "many"
    also: settings.that(_is_also, ALSO) = ()


@cache
def _read(path):
    """All taxonomies of a file: {taxonomy: {name: Instrument}}."""
    everything = yaml_file.read(path, "The file of taxonomies")
    if not isinstance(everything, dict) or not everything:
        raise SettingError(f"{path} holds no taxonomy. Write one as a name with instruments indented below it.")
    return {name: _taxonomy(name, entries, path.name) for name, entries in everything.items()}


def _taxonomy(name, entries, file_name):
    where = f"{file_name}, taxonomy {name!r}"
    if not isinstance(name, str):
        raise SettingError(f'{where}: its name is not read as text. Put it in quotes: "{name}".')
    if not isinstance(entries, dict) or not entries:
        raise SettingError(
            f"{where}: it holds {entries!r}, not instruments. Write each on a line below it, indented by two blanks: "
            "Flute: {programs: [73], range: [60, 96], voices: one}"
        )
    _check_names(entries, where)
    found = {name: _instrument(name, entry, f"{where}, instrument {name!r}") for name, entry in entries.items()}
    _check_programs_are_disjoint(found, where)
    _check_spellings_are_disjoint(found, where)
    return found


def _check_names(entries, where):
    spelled = {}
    for name in entries:
        if not isinstance(name, str) or not VALID_NAME.fullmatch(name):
            raise SettingError(
                f"{where}, instrument {name!r}: not a possible name. Use letters from a to z, digits and _, 64 of them "
                "at most; begin with a letter or a digit; put a number, or a word such as yes, in quotes."
            )
        if name.lower() in RESERVED_NAMES:
            raise SettingError(
                f"{where}, instrument {name!r}: the name is taken, by a file, a table's column or Windows. "
                f"Choose another, {name}_1 for example."
            )
        if name.lower() in spelled:
            raise SettingError(
                f"{where}: instruments {spelled[name.lower()]!r} and {name!r} differ in upper and lower case only, "
                "and many disks do not tell such files apart. Rename one of them."
            )
        spelled[name.lower()] = name


def _instrument(name, entry, where):
    if not isinstance(entry, dict):
        raise SettingError(f"{where}: {entry!r} does not describe it. Write {{programs: [40], range: [55, 103]}}.")
    settings.check(_Entry, entry, where)
    programs, notes = tuple(entry["programs"]), entry.get("range")
    if DRUMS in programs and notes is not None:
        raise SettingError(f"{where}: range = {notes!r}, but drums (program {DRUMS}) have no pitch. Remove it.")
    if DRUMS not in programs and notes is None:
        raise SettingError(
            f"{where}: range is missing. It must be {settings.expected(settings.field(_Entry, 'range'))}."
        )
    lowest, highest = notes or (None, None)
    return Instrument(name, programs, lowest, highest, entry.get("voices") == "one", tuple(entry.get("also", ())))


def _check_programs_are_disjoint(found, where):
    owner = {}
    for instrument in found.values():
        for program in instrument.programs:
            if program in owner:
                raise SettingError(
                    f"{where}: program {program} belongs to both {owner[program]!r} and {instrument.name!r}. "
                    "Leave it in one of them."
                )
            owner[program] = instrument.name


def _check_spellings_are_disjoint(found, where):
    owner = {_words(instrument.name): instrument.name for instrument in found.values()}
    for instrument in found.values():
        for name in instrument.also:
            if _words(name) in owner:
                raise SettingError(
                    f"{where}, instrument {instrument.name!r}: also = {name!r} is already a name of "
                    f"{owner[_words(name)]!r}. Leave it with one of them."
                )
            owner[_words(name)] = instrument.name
