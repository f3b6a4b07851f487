"""The song that exported networks are judged by: composed and rendered here, so that its instruments are known."""

import functools
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from muscomp_lib import audio
from muscomp_lib.core import instruments
from muscomp_lib.minislakh import composer, players, writer
from muscomp_lib.transcription.note_decoder import Note

SEED = 2100  # of no song that a pretrained model was trained on
WIDTH = 0.6  # how far instruments are panned to either side, of 1


class Stem(NamedTuple):
    """One instrument: its MIDI program, `waveform` of shape (n_samples, 2), and `notes`, a list of Note."""

    program: int
    waveform: np.ndarray
    notes: list


@functools.cache
def rendered(seconds):
    """A song in which every instrument of the default taxonomy plays: list of Stem, at `audio.SAMPLE_RATE`."""
    programs = [instrument.programs[0] for instrument in instruments.load().values()]
    midi = composer.compose(SEED, programs, seconds)
    with tempfile.TemporaryDirectory() as folder:
        track = Path(folder) / "Track00001"
        writer.write(track, midi, seconds, uuid="0" * 32)
        sounds = {int(path.stem[1:]): audio.read(path)[0] for path in sorted(track.glob("stems/*.flac"))}
    pans = np.linspace(-WIDTH, WIDTH, len(midi.instruments))
    return [_stem(midi.instruments[number], waveform, pans[number]) for number, waveform in sounds.items()]


def _stem(part, waveform, pan):
    gains = np.sqrt(np.array([1 - pan, 1 + pan], np.float32) / 2)
    notes = sorted(Note(note.start, note.end, note.pitch, note.velocity / 127) for note in part.notes)
    return Stem(players.program_of(part), waveform * gains, notes)


def of(instrument, stems):
    """The sum of the stems that are an `instruments.Instrument`: shape (n_samples, 2); None where none is."""
    found = [stem.waveform for stem in stems if stem.program in instrument.programs]
    return sum(found) if found else None
