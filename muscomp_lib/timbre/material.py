"""Music and single notes of every General MIDI program, rendered from soundfonts. Used by notebook 06.

The songs are the composer's (minislakh), so that the parts of one share its key and its beat, as in music. The notes
are what a user gives as a query: one instrument alone, at several pitches. Everything is mono, 22.05 kHz: frames of
2048 samples then have the bins that frames of 4096 have at 44.1 kHz, for half the work.
"""

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from muscomp_lib import audio
from muscomp_lib.core import instruments
from muscomp_lib.core.errors import SettingError
from muscomp_lib.core.files import clean_parts
from muscomp_lib.core.progress import bar
from muscomp_lib.minislakh import composer, players, sources, synthesizer
from muscomp_lib.models.weights import read_arrays, write_arrays
from muscomp_lib.timbre.descriptors import RATE

PROGRAMS = (*range(instruments.DRUMS - 8), instruments.DRUMS)  # all but the eight sound effects: birds, gunshot, ...
BANK = "TimGM6mb"  # the soundfont that pretty_midi ships
TOGETHER = 8  # programs in a song
NOTE_SECONDS, RING_SECONDS = 1.0, 0.5
VELOCITY = 96
HITS = (36, 38, 42, 45, 49)  # of a drum kit, as a query of it: kick, snare, hi-hat, tom, cymbal
HIT_SECONDS = 0.25  # between two of them
FULL_SCALE = 0.5  # peak of what is stored


@dataclass(frozen=True)
class Bank:
    """Rendered music of one soundfont.

    Attributes
    ----------
    name : str
    songs : list of (np.ndarray, np.ndarray)
        The programs of each song, (n_stems,), and its stems, (n_stems, n_samples), int16.
    notes : dict of int to np.ndarray, shape=(n_notes, n_samples), int16
        By program.
    pitches : dict of int to np.ndarray, shape=(n_notes,)
        MIDI note numbers; 0 for drums.
    """

    name: str
    songs: list
    notes: dict
    pitches: dict

    def checksum(self):
        """Of its songs, eight hexadecimal digits: what a model was trained on."""
        found = 0
        for programs, stems in self.songs:
            found = zlib.crc32(stems.tobytes(), zlib.crc32(programs.tobytes(), found))
        return f"{found:08x}"


def render(folder, bank, program_lists, n_notes=8, seconds=12.0, seed=0, noted=()):
    """Render songs and notes of a soundfont, or what is missing of them, and read them.

    Parameters
    ----------
    folder : Path
        One file per song, and one with the notes of each program.
    bank : str
        A name in minislakh/sources.yaml, a soundfont file, or BANK.
    program_lists : list of list of int
        The programs of each song.
    n_notes : int
        Single notes of each program of the songs, spread over its range; 0 renders none.
    seconds : float
        Length of a song.
    seed : int
    noted : iterable of int
        More programs to render notes of.

    Returns
    -------
    Bank

    Raises
    ------
    MissingError, SettingError
        The soundfont is not here, or its engine is not installed.
    """
    folder = Path(folder)
    source = source_of(bank)
    folder.mkdir(parents=True, exist_ok=True)
    clean_parts(folder)
    salt, songs, notes = zlib.crc32(str(bank).encode()), [], {}
    made_from = np.array(f"{source.name}, {seconds} s, seed {seed}")
    noted_from = np.array(f"{source.name}, {n_notes} notes")
    for number, programs in enumerate(bar(program_lists, desc=f"songs of {source.name}")):
        path = folder / f"song-{number:04}.npz"
        if not _is_made_from(path, made_from, programs):
            song = composer.compose([seed, number, salt], programs, seconds)
            stems = np.stack([_stored(_render(part, seconds, source)) for part in song.instruments])
            write_arrays(path, {"programs": np.array(programs), "stems": stems, "made_from": made_from})
        found = read_arrays(path)
        songs.append((found["programs"], found["stems"]))
    programs = sorted({*noted, *(program for listed in program_lists for program in listed)}) if n_notes else []
    for program in bar(programs, desc=f"notes of {source.name}"):
        path = folder / f"notes-{program:03}.npz"
        if not _is_made_from(path, noted_from):
            write_arrays(path, _notes(program, n_notes, bank) | {"made_from": noted_from})
        notes[program] = read_arrays(path)
    return Bank(
        str(bank), songs, {p: n["notes"] for p, n in notes.items()}, {p: n["pitches"] for p, n in notes.items()}
    )


def _is_made_from(path, made_from, programs=None):
    """Whether a file is there and whole, and was rendered in this way from these programs."""
    if not path.exists():
        return False
    try:
        found = read_arrays(path)
    except SettingError:  # it is damaged
        return False
    same = programs is None or found["programs"].tolist() == list(programs)
    return same and str(found.get("made_from")) == str(made_from)


def in_turn(programs, n_songs, seed=0):
    """Lists of TOGETHER programs for songs, in which all programs are equally frequent: list of list of int."""
    rng, waiting, lists = np.random.default_rng(seed), [], []
    for _ in range(n_songs):
        while len(waiting) < TOGETHER:
            waiting += [int(program) for program in rng.permutation(programs) if program not in waiting]
        lists.append(waiting[:TOGETHER])
        waiting = waiting[TOGETHER:]
    return lists


def note(program, pitch, bank=BANK, seed=0):
    """A single note: what a user records as a query.

    Parameters
    ----------
    program : int
        128 for a drum kit: a few hits, in an order drawn with `seed`.
    pitch : int
        MIDI note number; of no matter for drums.
    bank : str
        As for `render`.
    seed : int

    Returns
    -------
    np.ndarray, shape=(n_samples,), float32
        NOTE_SECONDS, and RING_SECONDS of its end.
    """
    import pretty_midi

    drums = program == instruments.DRUMS
    part = pretty_midi.Instrument(0 if drums else program, is_drum=drums)
    hits = [(int(pitch), 0.0, NOTE_SECONDS)]
    if drums:
        order = np.random.default_rng(seed).permutation(HITS)
        hits = [(int(hit), place * HIT_SECONDS, (place + 1) * HIT_SECONDS) for place, hit in enumerate(order)]
    part.notes = [pretty_midi.Note(VELOCITY, hit, start, end) for hit, start, end in hits]
    return audio.to_float(_stored(_render(part, NOTE_SECONDS + RING_SECONDS, source_of(bank))))


def source_of(bank):
    """The source of sound that a bank's name stands for."""
    return sources.Source() if bank == BANK else sources.find(bank)


def _notes(program, n_notes, bank):
    """The single notes of a program, evenly over its range."""
    player = players.of_program(program)
    pitches = np.zeros(n_notes, np.int16)
    if program != instruments.DRUMS:
        pitches = np.linspace(player.lowest, player.highest, n_notes + 2)[1:-1].round().astype(np.int16)
    made = [audio.to_int16(note(program, pitch, bank, number)) for number, pitch in enumerate(pitches)]
    return {"notes": np.stack(made), "pitches": pitches}


def _render(part, seconds, source):
    return synthesizer.render(part, seconds, RATE, source.engine, source.file, source.drum_bank)[:, 0]


def _stored(waveform):
    """As int16, at the same peak whatever the instrument's level."""
    return audio.to_int16(waveform * (FULL_SCALE / max(np.abs(waveform).max(), 1e-6)))
