"""MIDI files and scores that others wrote, as their notes sound. Used by mini-Slakh, 01, 04 and 08."""

from pathlib import Path

from muscomp_lib.core.errors import MidiError
from muscomp_lib.music_files import midi_file, score_file

SUFFIXES = (*midi_file.SUFFIXES, *score_file.SUFFIXES)


def read(path, sounding=False):
    """A MIDI file or a score as pretty_midi.PrettyMIDI.

    Parameters
    ----------
    path : str or Path
        One of SUFFIXES.
    sounding : bool
        As for `midi_file.read`; and a score with its repeats.

    Raises
    ------
    MidiError, MissingError
        It is of another kind; it cannot be read; a score plays nothing.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise MidiError(
            f"{path} cannot be used: MIDI files and scores end in {', '.join(SUFFIXES)}. Open it in the program that "
            "wrote it, and export it as MIDI or MusicXML."
        )
    if suffix in midi_file.SUFFIXES:
        return midi_file.read(path, sounding)
    return score_file.read(path, sounding)
