"""Songs from MIDI files and scores, made elsewhere, instead of our composer. Used by mini-Slakh.

A song is an excerpt where much is played. Some of its parts are given to other instruments, in their range, since real
files rarely use some of ours, and scores name none. Times and velocities vary a little, as written music has none.
"""

import itertools
import zlib

import numpy as np

from muscomp_lib import music_files
from muscomp_lib.core import instruments
from muscomp_lib.core.errors import MissingError
from muscomp_lib.core.files import expanded, files_below
from muscomp_lib.minislakh import composer, players, productions
from muscomp_lib.music_files import score_file

CORPUS, HELD_OUT = score_file.CORPUS, "music21 held out"  # stand for its scores, and for those not to train on
HELD_OUT_SHARE = 5  # one score in so many, by its name
LARGEST = {".mxl": 40_000, ".xml": 400_000, ".musicxml": 400_000, ".krn": 400_000}  # bytes: it takes a minute
TRIES = 8  # places of an excerpt, of which the one with the most notes is taken
OTHER_SHARE = 0.25  # of the rearranged parts: outside the taxonomy
VELOCITY_SPREAD, TIMING_SPREAD = 8.0, 0.005  # standard deviation; seconds
OCTAVE = 12


def files(folders):
    """The MIDI files and scores in folders, one of each piece; for the names above, the scores of music21.

    Returns
    -------
    list of Path

    Raises
    ------
    MissingError
        A folder is not there or holds none.
    """
    return [path for folder in folders for path in (_scores(folder) if folder in (CORPUS, HELD_OUT) else _own(folder))]


def _own(folder):
    place = expanded(folder, "midi: ")
    found = files_below(place, music_files.SUFFIXES) if place.is_dir() else []
    if not found:
        raise MissingError(
            f"There are no MIDI files or scores ({', '.join(music_files.SUFFIXES)}) in {folder}. Check the folder."
        )
    kinds = sorted(found, key=lambda path: music_files.SUFFIXES.index(path.suffix.lower()), reverse=True)  # MIDI last
    return sorted({path.with_suffix(""): path for path in kinds}.values())


def _scores(which):
    """One score of each composer, then the second of each, and so on: the corpus has 1,300 of one."""
    by_composer = {}
    for path in sorted(score_file.corpus_folder().rglob("*")):
        is_held_out = zlib.crc32(path.name.encode()) % HELD_OUT_SHARE == 0
        is_read = path.suffix.lower() in LARGEST and path.stat().st_size <= LARGEST[path.suffix.lower()]
        if is_read and is_held_out == (which == HELD_OUT):
            by_composer.setdefault(path.parent.name, []).append(path)
    return [path for turn in itertools.zip_longest(*by_composer.values()) for path in turn if path]


def arrange(path, seconds, how, taxonomy, rng):
    """A song from a file.

    Parameters
    ----------
    path : Path
    seconds : float
        Its length.
    how : productions.Production
    taxonomy : str
    rng : np.random.Generator

    Returns
    -------
    pretty_midi.PrettyMIDI
        Without controllers and pitch bends: its notes last, and are pitched, as they sound with these.

    Raises
    ------
    MidiError
    """
    whole = music_files.read(path, sounding=True)
    midi = _excerpt(whole, seconds, rng)
    for part in midi.instruments:
        if not part.is_drum and rng.random() < how.rearranged:
            _rearrange(part, _other_program(taxonomy, rng))
        _vary(part, seconds, rng)
    if rng.random() < how.lone:
        kept = rng.permutation(len(midi.instruments))[: int(rng.integers(1, productions.MAX_LONE + 1))]
        midi.instruments = [midi.instruments[number] for number in sorted(kept)]
    return midi


def _excerpt(whole, seconds, rng):
    """The notes of `seconds` where many are played; parts that rest there are left out."""
    import pretty_midi

    starts = np.sort([note.start for part in whole.instruments for note in part.notes])
    begins = [0.0, *rng.uniform(0.0, max(0.0, whole.get_end_time() - seconds), TRIES - 1), starts[0]]
    begin = max(begins, key=lambda at: np.searchsorted(starts, at + seconds) - np.searchsorted(starts, at))
    excerpt = pretty_midi.PrettyMIDI(resolution=480, initial_tempo=_tempo_at(whole, begin))
    for part in whole.instruments:
        notes = [
            pretty_midi.Note(note.velocity, note.pitch, note.start - begin, min(note.end - begin, seconds))
            for note in part.notes
            if begin <= note.start < begin + seconds
        ]
        if notes:
            excerpt.instruments.append(pretty_midi.Instrument(int(part.program), part.is_drum, part.name))
            excerpt.instruments[-1].notes = notes
    return excerpt


def _tempo_at(midi, second):
    times, tempos = midi.get_tempo_changes()
    return float(tempos[max(0, np.searchsorted(times, second, side="right") - 1)])


def _other_program(taxonomy, rng):
    """A program of an instrument of the taxonomy, or one outside of it, but no drums."""
    outside, pitched = productions.others(taxonomy), [i for i in instruments.load(taxonomy).values() if not i.is_drums]
    if not pitched or (outside and rng.random() < OTHER_SHARE):
        return int(rng.choice(outside))
    return int(rng.choice(sorted(pitched[rng.integers(len(pitched))].programs)))


def _rearrange(part, program):
    """Give a part to a program, its notes moved by octaves into the program's range."""
    player = players.of_program(program)
    centre = np.median([note.pitch for note in part.notes])
    shift = OCTAVE * round(((player.lowest + player.highest) / 2 - centre) / OCTAVE)
    if player.lowest <= centre <= player.highest:
        shift = 0
    part.program = program
    for note in part.notes:
        pitch = note.pitch + shift
        up, down = max(0, player.lowest - pitch), max(0, pitch - player.highest)
        note.pitch = int(pitch + OCTAVE * (-(-up // OCTAVE) - -(-down // OCTAVE)))
    composer.separate(part.notes, player.one_voice)


def _vary(part, seconds, rng):
    """Vary times and velocities a little, and cut notes that reach into the next of their pitch."""
    for note in part.notes:
        late = float(np.clip(rng.normal(0.0, TIMING_SPREAD), -2 * TIMING_SPREAD, 2 * TIMING_SPREAD))
        note.start = min(max(0.0, note.start + late), seconds)
        note.velocity = int(np.clip(round(note.velocity + rng.normal(0.0, VELOCITY_SPREAD)), 25, 122))
    composer.separate(part.notes, one_voice=False)
