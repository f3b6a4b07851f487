"""Songs from MIDI files and scores, made elsewhere, instead of our composer. Used by mini-Slakh.

A song is an excerpt where much is played. Some of its parts are given to other instruments, in their range, since real
files rarely use some of ours, and scores name none. Times and velocities vary a little, as written music has none.
"""

import importlib.util
import itertools
import re
import zipfile
import zlib
from pathlib import Path

import numpy as np

from muscomp_lib.core import instruments
from muscomp_lib.core.errors import MidiError, MissingError
from muscomp_lib.core.files import expanded
from muscomp_lib.minislakh import composer, midi_file, players, productions

CORPUS, HELD_OUT = "music21", "music21 held out"  # stand for the scores that music21 brings, and those not to train on
HELD_OUT_SHARE = 5  # one score in so many, by its name
SUFFIXES = (".mid", ".midi", ".kar", ".rmi")
SCORES = {".mxl": 40_000, ".xml": 400_000, ".musicxml": 400_000, ".krn": 400_000}  # bytes, at most: it takes a minute
TRIES = 8  # places of an excerpt, of which the one with the most notes is taken
OTHER_SHARE = 0.25  # of the rearranged parts: outside the taxonomy
VELOCITY_SPREAD, TIMING_SPREAD = 8.0, 0.005  # standard deviation; seconds
TIED_ON, TIED_BACK = ("start", "continue"), ("stop", "continue")  # of a tie's types
LARGEST_SCORE = 32e6  # bytes, unzipped: a symphony takes a few million
METRE = re.compile(rb"(?:<beats>|\*M)([\s\d+]+)")  # of MusicXML, or Humdrum: "4", "3+2"
SOUNDING = re.compile(rb"""<sound\b[^>]*\btempo\s*=\s*["'](\d+(?:\.\d+)?)""")  # of MusicXML: quarters, as played
MARKED = re.compile(rb"<per-minute[^>]*>[^<\d]*(\d+(?:\.\d+)?)")  # what is printed, such as "ca. 75"
MOST_BEATS = 255  # of a bar: music21 takes 2 s over 255 summands, and minutes over some thousand beats
VELOCITY, SCORE_TEMPO = 84, 96.0  # of scores that give none
OCTAVE = 12


def files(folders):
    """The MIDI files in folders; for the names above, the scores of music21.

    Returns
    -------
    list of Path

    Raises
    ------
    MissingError
        A folder is not there or holds none.
    """
    return [path for folder in folders for path in (_scores(folder) if folder in (CORPUS, HELD_OUT) else _midi(folder))]


def _midi(folder):
    paths = expanded(folder, "midi: ").rglob("[!.]*")  # hidden ones are macOS's, with attributes of others
    found = sorted(path for path in paths if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise MissingError(f"There are no MIDI files ({', '.join(SUFFIXES)}) in {folder}. Check the folder.")
    return found


def _scores(which):
    """One score of each composer, then the second of each, and so on: the corpus has 1,300 of one."""
    by_composer = {}
    for path in sorted(corpus_folder().rglob("*")):
        is_held_out = zlib.crc32(path.name.encode()) % HELD_OUT_SHARE == 0
        is_read = path.suffix.lower() in SCORES and path.stat().st_size <= SCORES[path.suffix.lower()]
        if is_read and is_held_out == (which == HELD_OUT):
            by_composer.setdefault(path.parent.name, []).append(path)
    return [path for turn in itertools.zip_longest(*by_composer.values()) for path in turn if path]


def corpus_folder():
    """Where music21's scores are, a folder for each composer; MissingError without them."""
    found = importlib.util.find_spec(CORPUS)
    if found is None:
        raise MissingError("The scores of music21 are not here. Install it: pip install music21")
    return Path(found.origin).parent / "corpus"


def read(path, sounding=False):
    """A MIDI file or a score as pretty_midi.PrettyMIDI.

    Of a score, parts for drums are left out: those who read scores compare pitches, or give parts to other instruments.

    Parameters
    ----------
    path : str or Path
    sounding : bool
        Of a MIDI file: as `midi_file.read`.

    Raises
    ------
    MidiError, MissingError
        It cannot be read, or plays nothing.
    """
    if Path(path).suffix.lower() in SUFFIXES:
        return midi_file.read(path, sounding)
    try:
        midi = _score(path, _contents(path))
    except MidiError:
        raise
    except Exception as error:  # music21 raises whatever a damaged file makes it stumble over
        raise MidiError(
            f"{path} cannot be read as music ({error}). Open it in a notation program, and export it again."
        ) from error
    if not any(part.notes for part in midi.instruments):
        raise MidiError(f"{path} holds no notes, or drums alone. Give a score with other instruments.")
    return midi


def _contents(path):
    """The content of each file in a score: list of bytes.

    Raises
    ------
    MidiError
        It would fill the memory, as one that is zipped may, or has a metre that music21 cannot divide.
    """
    size, contents = Path(path).stat().st_size, []
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            contents = [archive.read(entry) for entry in archive.infolist() if size <= LARGEST_SCORE]
    if size > LARGEST_SCORE:
        raise MidiError(
            f"{path} holds {size / 1e6:.0f} MB of score; {LARGEST_SCORE / 1e6:.0f} MB are the most. Divide the piece."
        )
    contents = [content.replace(b"\0", b"") for content in contents or [Path(path).read_bytes()]]
    for content in contents:  # in UTF-16, every other byte is zero
        metres = METRE.findall(content)
        beats = max((sum(map(int, re.findall(rb"\d+", metre))) for metre in metres), default=0)
        if beats > MOST_BEATS:
            raise MidiError(
                f"{path} has a bar of {beats} beats; {MOST_BEATS} are the most. Correct its time signature."
            )
    return contents


def _score(path, contents):
    """The notes of a score, at one tempo, without repeats: music21's own MIDI writer stumbles over odd ones."""
    import music21
    import pretty_midi

    score = music21.converter.parse(path, forceSource=True, storePickle=False)
    score.toSoundingPitch(inPlace=True)  # of a clarinet or a guitar, another is written
    tempo = _tempo(list(score.recurse().getElementsByClass("MetronomeMark")), contents)
    midi = pretty_midi.PrettyMIDI(resolution=480, initial_tempo=tempo)
    for part in getattr(score, "parts", None) or [score]:
        if _is_drums(part):
            continue
        program = part.getInstrument(returnDefault=True).midiProgram or 0
        name = str(part.partName or "").encode("latin-1", "replace").decode("latin-1")  # what MIDI files are written in
        midi.instruments.append(pretty_midi.Instrument(program, name=name))
        midi.instruments[-1].notes = [
            pretty_midi.Note(VELOCITY, pitch, start * 60 / tempo, end * 60 / tempo)
            for pitch, start, end in _notes(part)
        ]
    return midi


def _tempo(marks, contents):
    """The first tempo of a score, in quarters per minute; music21 has no number of one that is marked "ca. 75"."""
    first, *later = [mark.getQuarterBPM() for mark in marks] or [None]
    beat = marks[0].referent.quarterLength if marks else 1.0
    texts = [
        float(match[1]) * unit
        for pattern, unit in ((SOUNDING, 1.0), (MARKED, beat))
        for match in map(pattern.search, contents)
        if match
    ]
    return float(next((tempo for tempo in (first, *texts, *later) if tempo and tempo > 0), SCORE_TEMPO))


def _is_drums(part):
    """Whether a part is for drums: where programs write these as notes with a pitch, it is the place on the staff."""
    import music21

    clef = part.recurse().getElementsByClass("Clef").first()
    drum_channel = part.getInstrument(returnDefault=True).midiChannel == midi_file.DRUM_CHANNEL
    return drum_channel or isinstance(clef, music21.clef.PercussionClef)


def _notes(part):
    """[pitch, start, end] in quarter notes of a part's notes; tied ones are joined, where stripTies takes long.

    Some scores mark a tie at its first note only, some at its second.
    """
    found, last, going_on = [], {}, set()
    for sound in part.flatten().notes:
        start, end = float(sound.offset), float(sound.offset + sound.quarterLength)
        for each in getattr(sound, "notes", [sound]) if end > start else ():  # grace notes take no time
            for pitch in (pitch.midi for pitch in each.pitches):
                tie = each.tie.type if each.tie else ""
                tied = tie in TIED_BACK or pitch in going_on
                if tied and pitch in last and last[pitch][2] == start:
                    last[pitch][2] = end
                else:
                    last[pitch] = [pitch, start, end]
                    found.append(last[pitch])
                (going_on.add if tie in TIED_ON else going_on.discard)(pitch)
    return found


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
    whole = read(path, sounding=True)
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
    return int(rng.choice(pitched[rng.integers(len(pitched))].programs))


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
