"""The instruments, as data: which General MIDI programs make up each. Used by every notebook.

`instruments.yaml` holds the taxonomies, and students add theirs there. The whole file is checked before any of it is
used, so that a mistake stops a run at its start. Programs are 0-based as in MIDI files and Slakh's metadata, and 128
stands for drums.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from muscomp_lib.core.errors import SettingError

TAXONOMY_FILE = Path(__file__).with_name("instruments.yaml")
DEFAULT_TAXONOMY = "slakh12"
DRUMS = 128
HIGHEST_NOTE = 127  # of MIDI
OTHER = "other"  # the residual: all that is in the mix and outside the taxonomy
MIX = "mix"
RESIDUALS = ("target", "drop")  # what becomes of `other`: one more file to separate, or nothing
KEYS = ("programs", "range", "voices")
VOICES = ("one", "many")
# An instrument's name becomes a file, a column and a layer of a network: what every disk and TensorFlow take.
POSSIBLE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]{0,63}")
TAKEN_NAMES = (
    *(MIX, OTHER, "accompaniment", "rest"),  # files beside those of the instruments
    *("track", "split", "uuid", "partition", "frames", "duration", "status", "note"),  # columns of tracks.csv
    *("con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))),  # Windows' own
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


def load(taxonomy=DEFAULT_TAXONOMY):
    """Read a taxonomy.

    Returns
    -------
    dict of str to Instrument
        In the order of the file.

    Raises
    ------
    SettingError
        For an unknown taxonomy, or a mistake anywhere in the file: where it is, and what is possible.
    """
    found = _read(TAXONOMY_FILE)
    if taxonomy not in list(found):
        raise SettingError(f"There is no taxonomy {taxonomy!r} in {TAXONOMY_FILE.name}; it has {', '.join(found)}.")
    return found[taxonomy]


def taxonomies():
    """The names of all taxonomies, in the order of the file."""
    return list(_read(TAXONOMY_FILE))


def names(taxonomy=DEFAULT_TAXONOMY):
    """The instrument names of a taxonomy, in order."""
    return list(load(taxonomy))


def of_program(program, taxonomy=DEFAULT_TAXONOMY):
    """The name of the instrument that `program` belongs to, or "" when it is outside the taxonomy."""
    return next((i.name for i in load(taxonomy).values() if program in i.programs), "")


# ---- reading and checking the file ----


@cache
def _read(path):
    """All taxonomies of a file: {taxonomy: {name: Instrument}}."""
    try:
        text = path.read_text(encoding="utf-8")
        nodes, everything = yaml.compose(text, yaml.SafeLoader), yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise SettingError(f"{path.name} cannot be read as YAML{_reason(error)}. Mend it there.") from error
    _check_each_stands_once(nodes, path.name)
    if not isinstance(everything, dict) or not everything:
        raise SettingError(f"{path.name} holds no taxonomy. Write one as a name with instruments indented below it.")
    return {name: _taxonomy(name, entries, path.name) for name, entries in everything.items()}


def _reason(error):
    mark = getattr(error, "problem_mark", None)
    if mark:
        return f", line {mark.line + 1}: {error.problem}"
    return " in UTF-8" if isinstance(error, UnicodeDecodeError) else f": {error}"


def _check_each_stands_once(node, where, kinds=("taxonomy", "instrument", "key")):
    """YAML's reader would silently keep the last of two entries with one name."""
    if not kinds or not isinstance(node, yaml.MappingNode):
        return
    lines = {}
    for key, entry in node.value:
        line = key.start_mark.line + 1
        if str(key.value) in lines:
            raise SettingError(
                f"{where}: the {kinds[0]} {key.value!r} stands there twice, in lines {lines[key.value]} and {line}. "
                "Rename or remove one of them."
            )
        lines[str(key.value)] = line
        _check_each_stands_once(entry, f"{where}, {kinds[0]} {key.value!r}", kinds[1:])


def _taxonomy(name, entries, file_name):
    where = f"{file_name}, taxonomy {name!r}"
    if not isinstance(name, str):
        raise SettingError(f'{where}: its name is not read as text. Put it in quotes: "{name}".')
    if not isinstance(entries, dict) or not entries:
        raise SettingError(
            f"{where}: it holds {entries!r}, not instruments. Write each on a line below it, indented by two blanks: "
            "Violin: {programs: [40], range: [55, 103], voices: one}"
        )
    _check_names(entries, where)
    found = {name: _instrument(name, entry, f"{where}, instrument {name!r}") for name, entry in entries.items()}
    _check_programs_are_disjoint(found, where)
    return found


def _check_names(entries, where):
    before = {}
    for name in entries:
        if not isinstance(name, str) or not POSSIBLE_NAME.fullmatch(name):
            raise SettingError(
                f"{where}, instrument {name!r}: not a possible name. Use letters from a to z, digits and _, 64 of them "
                "at most; begin with a letter or a digit; put a number, or a word such as yes, in quotes."
            )
        if name.lower() in TAKEN_NAMES:
            raise SettingError(
                f"{where}, instrument {name!r}: the name is taken, by a file, a table's column or Windows. "
                f"Choose another, {name}_1 for example."
            )
        if name.lower() in before:
            raise SettingError(
                f"{where}: instruments {before[name.lower()]!r} and {name!r} differ only in large and small letters, "
                "and many disks do not tell such files apart. Rename one of them."
            )
        before[name.lower()] = name


def _instrument(name, entry, where):
    if not isinstance(entry, dict):
        raise SettingError(f"{where}: {entry!r} does not describe it. Write {{programs: [40], range: [55, 103]}}.")
    if unknown := [key for key in entry if key not in KEYS]:
        raise SettingError(f"{where}: there is no key {unknown[0]!r}. It may have {', '.join(KEYS)}.")
    programs = _programs(entry.get("programs"), where)
    lowest, highest = _range(entry.get("range"), programs, where)
    voices = entry.get("voices", "many")
    if voices not in VOICES:
        raise SettingError(f"{where}: voices {voices!r} is not possible. Write one of {', '.join(VOICES)}.")
    return Instrument(name, programs, lowest, highest, voices == "one")


def _programs(programs, where):
    if not isinstance(programs, list) or not programs or not all(_is_whole(p, DRUMS) for p in programs):
        raise SettingError(
            f"{where}: programs {programs!r} is not possible. Write a list in brackets of one or more whole numbers "
            "from 0 to 127, or 128 for drums."
        )
    if twice := [p for p in programs if programs.count(p) > 1]:
        raise SettingError(f"{where}: programs {programs} names {twice[0]} more than once. Name it once.")
    return tuple(programs)


def _range(notes, programs, where):
    """Lowest and highest note, as the file gives them; drums have neither."""
    if DRUMS in programs:
        if notes is not None:
            raise SettingError(f"{where}: range {notes!r}, but drums (program {DRUMS}) have no pitch. Remove it.")
        return None, None
    is_pair = isinstance(notes, list) and len(notes) == 2 and all(_is_whole(note, HIGHEST_NOTE) for note in notes)
    if not is_pair or notes[0] > notes[1]:
        given = "range is missing" if notes is None else f"range {notes!r} is not possible"
        raise SettingError(
            f"{where}: {given}. Write its lowest and its highest note as MIDI note numbers from 0 to {HIGHEST_NOTE} "
            "(60 is middle C): range: [55, 103]"
        )
    return notes


def _is_whole(number, highest):
    return type(number) is int and 0 <= number <= highest  # True is an int to Python, but not to us


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
