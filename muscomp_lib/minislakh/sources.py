"""Sources of sound: soundfonts and patches that are on this machine, by name, from sources.yaml. Used by mini-Slakh.

Every stem draws its own, so that no source's sound is shared by all parts of a song and becomes a cue.
"""

import bisect
import copy
import hashlib
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import chain
from pathlib import Path

from muscomp_lib.core import instruments, settings, yaml_file
from muscomp_lib.core.errors import MissingError
from muscomp_lib.core.files import expanded
from muscomp_lib.core.provenance import sha256
from muscomp_lib.minislakh import effects, players, synthesizer
from muscomp_lib.minislakh.effects import CHAIN

HI_HATS, OPEN_HI_HAT = (42, 44, 46), 46  # General MIDI's
SOURCE_FILE = Path(__file__).with_name("sources.yaml")
PROGRAMS = settings.that(lambda value: isinstance(value, list) and all(type(p) is int for p in value), "a list: [8, 9]")


def _lists(words):
    return settings.that(
        lambda value: isinstance(value, dict) and all(isinstance(its, list) and its for its in value.values()), words
    )


FOLDERS = _lists("folders with the programs that each has: {violin: [40]}")
HITS = _lists("files with the drum notes that each is for: {snare*.wav: [38, 40]}")
DRUM_KEYS = settings.that(
    lambda value: isinstance(value, dict) and all(type(k) is int for k in [*value, *filter(None, value.values())]),
    "drum notes and the keys that sound so: {45: 41, 50: null}",
)


class _Entry(settings.Section):
    """What sources.yaml says of a source."""

    engine: settings.one_of(*synthesizer.ENGINES)
    file: settings.that(lambda value: isinstance(value, list) and value, "a list of paths")
    kits: PROGRAMS = settings.Field([0])
    programs: PROGRAMS = settings.Field([*range(instruments.DRUMS + 1)])
    lacks: PROGRAMS = settings.Field([])
    folders: FOLDERS = settings.Field({})
    hits: HITS = settings.Field({})
    octave: settings.whole(-4, 4) = 0
    effects: CHAIN = settings.Field({})
    drum_bank: settings.whole(0, 128) = synthesizer.DRUM_BANK
    drum_keys: DRUM_KEYS = settings.Field({})
    install: settings.text()
    licence: settings.text()


@dataclass(frozen=True)
class Source:
    """A soundfont, a list of patches or a voice; the engine that plays it, its programs, its drum kits, their bank.

    Of recorded notes `file` is a folder, and `folders` are pairs of a folder in it, or a pattern of files, for one
    instrument, and its programs; `octave` is by how many octaves they sound above what their names say. `effects` are
    what it is played through, as in productions.yaml. `drum_keys` are pairs of a General MIDI drum note and the key
    that sounds so, where that is another one, or None. For the engine hydrogen it has all that a kit has; for the
    engine hits, `hits` has: pairs of a file, or a pattern, in the folder and the drum notes that it is for.
    """

    engine: str = "tinysoundfont"
    file: Path | None = None  # pretty_midi's soundfont
    kits: tuple = (0,)
    programs: frozenset = frozenset(range(instruments.DRUMS + 1))
    drum_bank: int = synthesizer.DRUM_BANK
    drum_keys: tuple = ()
    folders: tuple = ()
    hits: tuple = ()
    octave: int = 0
    effects: dict = field(default_factory=dict, hash=False)
    instrument: str = ""  # the folder or pattern that was drawn of `folders`

    @property
    def name(self):
        """The name of its file or folder; of a drum kit's, whose files are all named alike, the folder's."""
        path = synthesizer.soundfont_path(self.file)
        return self.instrument or (path.parent.name if self.engine == synthesizer.HYDROGEN else path.name)

    def content(self):
        """What tells it from another, wherever its files are."""
        path = synthesizer.soundfont_path(self.file)
        if path.is_file():
            return f"{path.name}, SHA-256 {sha256(path)}"
        notes = [chain(*synthesizer.recordings(path / folder).values()) for folder, _ in self.folders]
        hits = [synthesizer.matching(path / pattern) for pattern, _ in self.hits]
        files = sorted({*chain(*notes, *hits)})
        listed = "".join(f"{file.relative_to(path).as_posix()} {file.stat().st_size}\n" for file in files)
        known_by = hashlib.sha256(listed.encode()).hexdigest()
        return f"{len(files)} recorded {'hits' if self.hits else 'notes'}, SHA-256 of names and sizes {known_by}"

    def of_program(self, program, rng):
        """The source of a program alone: of recorded notes, one of the folders that have it."""
        able = [folder for folder, programs in self.folders if program in programs]
        if not able:
            return self
        folder = able[rng.integers(len(able))]
        return replace(self, file=self.file / folder, folders=(), instrument=f"{self.file.name}/{folder}")

    def drum_key(self, note):
        """The key for a General MIDI drum note; None where the kit lacks it."""
        if self.engine == synthesizer.HITS:
            return note if any(note in drums for _, drums in self.hits) else None
        return dict(self.drum_keys).get(note, None if self.engine == synthesizer.HYDROGEN else note)


@dataclass(frozen=True)
class Sound:
    """How one part is played: its source, its drum kit, the effects on it (effects.py), and its level (dB).

    `drums` are (General MIDI drum notes, semitones, effects) for drums of the kit that are tuned and equalised each on
    its own, which makes another kit of it.
    """

    source: Source = Source()
    kit: int = 0
    effects: tuple = ()
    level: float = 0.0
    drums: tuple = ()


def find(name, engine="tinysoundfont"):
    """The source of a name in sources.yaml, or of a soundfont file, which `engine` plays.

    Raises
    ------
    MissingError
        When it is not on this machine, with what to install.
    SettingError
        When its engine is not installed, or for a mistake in the file.
    """
    if str(name) not in known():
        name = name if name is None else expanded(name, "soundfonts: ")
        if name is not None and not name.is_file():
            there_is = settings.suggestion(name, known())
            raise MissingError(f"There is no soundfont {str(name)!r}, nor a source of sound of that name. {there_is}")
        return Source(engine, synthesizer.soundfont_path(name))
    entry = known()[str(name)]
    parts = [*entry.folders, *entry.hits] or [""]
    there = [Path(path) for path in entry.file if all(synthesizer.matching(Path(path) / part) for part in parts)]
    if not there:
        paths = ", ".join(entry.file)
        raise MissingError(f"The source of sound {name!r} is not here ({paths}). Get it: {entry.install}")
    synthesizer.check_engine(entry.engine)
    folders = tuple((folder, tuple(programs)) for folder, programs in entry.folders.items())
    programs = chain(*(its for _, its in folders)) if folders else set(entry.programs) - set(entry.lacks)
    keys, hits = tuple(entry.drum_keys.items()), tuple((its, tuple(drums)) for its, drums in entry.hits.items())
    return Source(
        entry.engine, there[0], tuple(entry.kits), frozenset(programs), entry.drum_bank, keys, folders, hits,
        entry.octave, entry.effects,
    )  # fmt: skip


@cache
def known():
    """The entries of sources.yaml by name."""
    everything = yaml_file.read(SOURCE_FILE)
    return {name: settings.check(_Entry, entry, SOURCE_FILE.name, f"{name}.") for name, entry in everything.items()}


def draw(part, sources, rng):
    """A source that has the part's program, and one of its drum kits, at random.

    Parameters
    ----------
    part : pretty_midi.Instrument
    sources : sequence of Source
        Where none has the program, any of them, which will be silent.
    rng : np.random.Generator

    Returns
    -------
    Sound
    """
    program = players.program_of(part)
    able = [source for source in sources if program in source.programs] or sources
    source = able[rng.integers(len(able))]
    kit = int(rng.choice(source.kits))
    its_effects = effects.draw(source.effects, rng, program)
    return Sound(source.of_program(program, rng), kit if program == instruments.DRUMS else 0, its_effects)


def drop_missing_drums(midi, sounds):
    """Take out of a song the hits of drums that their kits lack.

    Parameters
    ----------
    midi : pretty_midi.PrettyMIDI
        It is changed.
    sounds : list of Sound
        How each part is played.
    """
    for part, sound in zip(midi.instruments, sounds, strict=True):
        if part.is_drum:
            part.notes = [note for note in part.notes if sound.source.drum_key(note.pitch) is not None]


def on_keys(part, sound):
    """A part with its notes on the keys that sound so, and drums with their kit's program: pretty_midi.Instrument.

    Recorded drums ring as long as they can, but an open hi-hat until it is closed, or struck again.
    """
    played = copy.copy(part)
    played.notes = [copy.copy(note) for note in part.notes]
    if part.is_drum and sound.source.engine in synthesizer.KITS:
        _let_ring(played.notes)
    for note in played.notes:
        note.pitch = sound.source.drum_key(note.pitch) if part.is_drum else note.pitch - 12 * sound.source.octave
    if part.is_drum:
        played.program = sound.kit
    return played


def _let_ring(hits):
    hats = sorted(hit.start for hit in hits if hit.pitch in HI_HATS)
    for hit in hits:
        hit.end = hit.start + synthesizer.RING
        later = bisect.bisect_right(hats, hit.start)
        if hit.pitch == OPEN_HI_HAT and later < len(hats):
            hit.end = min(hit.end, hats[later])
