"""How each General MIDI program is played: its roles, range and voices, from players.yaml. Used by the composer."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from muscomp_lib.core import instruments, yaml_file

PLAYER_FILE = Path(__file__).with_name("players.yaml")
FAMILY_SIZE = 8  # programs
USUAL_SHARE = 0.5  # of the songs have an instrument, where players.yaml does not say otherwise
LINES = {"bass", "drums"}  # roles of which a song has one


@dataclass(frozen=True)
class Player:
    """How a program is played.

    Attributes
    ----------
    name : str
        General MIDI's name of the program.
    inst_class : str
        Slakh's name of its family.
    roles : tuple of str
        The roles it may take.
    lowest, highest : int or None
        MIDI note numbers; None for drums.
    one_voice : bool
        Whether it plays one note at a time.
    share : float
        Of the songs that plant real Slakh's difficulties, how many have it.
    """

    name: str
    inst_class: str
    roles: tuple
    lowest: int | None
    highest: int | None
    one_voice: bool
    share: float

    @property
    def may_double(self):
        """Whether a song may have two of it: not of a bass or of drums."""
        return not LINES.issuperset(self.roles)


@cache
def of_program(program):
    """The player of a program from 0 to 127, or 128 for drums."""
    import pretty_midi

    table = _table()
    entry = table["families"][program // FAMILY_SIZE] | table["programs"].get(program, {})
    lowest, highest = entry.get("range", (None, None))
    name = entry.get("name") or pretty_midi.program_to_instrument_name(int(program))
    return Player(
        name,
        entry["inst_class"],
        tuple(entry["roles"]),
        lowest,
        highest,
        entry.get("voices") == "one",
        entry.get("share", USUAL_SHARE),
    )


@cache
def _table():
    return yaml_file.read(PLAYER_FILE)


def program_of(part):
    """The program of a `pretty_midi.Instrument`, 128 for drums."""
    return instruments.DRUMS if part.is_drum else int(part.program)
