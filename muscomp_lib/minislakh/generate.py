"""A small data set in Slakh's exact layout, composed and rendered here: the embedded default, free to share.

    <slakh folder>/<split>/TrackNNNNN/{all_src.mid, metadata.yaml, mix.flac, MIDI/Sxx.mid, stems/Sxx.flac}

Which instruments a track has is dealt out, not left to chance: each of the taxonomy is in about half of the tracks of a
split and absent from the others. `make` can also plant what makes real Slakh hard: two stems of one instrument,
programs outside the taxonomy, stems that were not rendered, one song twice. `from_midi` turns any MIDI file into a
track.
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from muscomp_lib.core import instruments, parallel
from muscomp_lib.core.errors import SettingError
from muscomp_lib.core.files import clean_parts, written_whole
from muscomp_lib.minislakh import composer, midi_file, synthesizer, writer

MARKER = "minislakh.json"  # lies in every data set made here, and says from which settings
RECIPE = 2  # to be raised when the same settings begin to give other music or other sound
SPLITS = ("train", "validation", "test")
HELD_OUT = 0.15  # of the tracks, in validation and in test each
FEWEST_TRACKS = len(SPLITS)
SHORTEST, LONGEST = 4.0, 600.0  # seconds of a track
FEWEST_PARTS, MOST_PARTS = 5, 9  # rendered parts of a track
OTHERS = (*range(96), *range(104, 112))  # for parts outside the taxonomy, which is taken off: all but effects
UNRENDERED = (97, 99, 103, 119, 122, 126)  # effects: Slakh has no patches for most of them
LINES = ("Drums", "Electric_Bass_pick")  # nobody has two of these
COPY_FROM = 4  # tracks in the train split: with fewer, no song is there twice
RING_OUT = 2.0  # seconds after a MIDI file's last note
TRACK_NAME = re.compile(r"Track[\w-]+")


@dataclass(frozen=True)
class Settings:
    """How to make a mini-Slakh.

    Attributes
    ----------
    tracks : int
        Number of tracks, 3 or more: about 70 % train, 15 % validation, 15 % test, at least one each.
    seconds : float
        Length of every track, 4 to 600.
    seed : int
        Another seed gives other songs.
    plant : bool
        Plant real Slakh's difficulties: doubled instruments, other programs, unrendered stems, a song twice.
    engine : {"tinysoundfont", "fluidsynth"}
    soundfonts : sequence of str or Path
        General MIDI SoundFont 2 files, which the songs take in turn; pretty_midi's TimGM6mb.sf2 without any.
    taxonomy : str
        Of `instruments.yaml`. Where an instrument is several programs, each song draws one of them.
    """

    tracks: int = 24
    seconds: float = 40.0
    seed: int = 0
    plant: bool = True
    engine: str = "tinysoundfont"
    soundfonts: tuple = ()
    taxonomy: str = instruments.DEFAULT_TAXONOMY

    def __post_init__(self):
        if type(self.tracks) is not int or self.tracks < FEWEST_TRACKS:
            raise SettingError(f"tracks = {self.tracks!r} is not possible: give a whole number from {FEWEST_TRACKS}.")
        if type(self.seconds) not in (int, float) or not SHORTEST <= self.seconds <= LONGEST:
            raise SettingError(f"seconds = {self.seconds!r} is not possible: give {SHORTEST:g} to {LONGEST:g}.")
        if type(self.seed) is not int or self.seed < 0:
            raise SettingError(f"seed = {self.seed!r} is not possible: give a whole number from 0.")
        if type(self.plant) is not bool:
            raise SettingError(f"plant = {self.plant!r} is not possible: give True or False.")
        synthesizer.check_engine(self.engine)
        if not isinstance(self.soundfonts, (tuple, list)):
            raise SettingError(f"soundfonts = {self.soundfonts!r} is not possible: give a list of files.")
        for soundfont in self.soundfonts:
            synthesizer.soundfont_path(soundfont)
        instruments.load(self.taxonomy)


@dataclass(frozen=True)
class Track:
    """What a track will be. Tracks with the same `song` have the same notes; `silent` parts are not rendered."""

    name: str
    split: str
    song: int
    uuid: str
    style: str
    programs: tuple
    silent: tuple


def make(slakh_folder, settings=None, workers=None):
    """Compose and render a data set. Tracks that are already there are kept, so a run that was killed goes on.

    Parameters
    ----------
    slakh_folder : str or Path
        A new or empty folder, or one that an earlier call with the same settings began.
    settings : Settings, optional
    workers : int, optional
        Processes; None: one per core. The files do not depend on it.

    Returns
    -------
    list of Path
        The track folders.

    Raises
    ------
    SettingError
        When the folder holds a data set made otherwise.
    DiskFullError
    """
    folder, settings = Path(slakh_folder), settings or Settings()
    _claim(folder, _description(settings))
    tracks = plan(settings)
    for split in SPLITS:
        clean_parts(folder / split)
    waiting = [track for track in tracks if not (folder / track.split / track.name).exists()]
    parallel.each(partial(_render, folder=folder, settings=settings), waiting, workers, "mini-Slakh")
    return [folder / track.split / track.name for track in tracks]


def _render(track, folder, settings):
    """Compose and write one track. Runs in a worker process."""
    midi = composer.compose([settings.seed, track.song], track.programs, settings.seconds, track.style)
    writer.write(
        folder / track.split / track.name,
        midi,
        settings.seconds,
        track.uuid,
        silent=track.silent,
        engine=settings.engine,
        soundfont=settings.soundfonts[track.song % len(settings.soundfonts)] if settings.soundfonts else None,
    )


def plan(settings):
    """What `make` will make, track by track.

    Returns
    -------
    list of Track
    """
    rng = np.random.default_rng([settings.seed, settings.tracks])
    held_out = max(1, round(HELD_OUT * settings.tracks))
    sizes = (settings.tracks - 2 * held_out, held_out, held_out)
    styles = rng.permutation(list(composer.styles()))
    planned, song = [], 0
    for split, size in zip(SPLITS, sizes, strict=True):
        copied = settings.plant and split == "train" and size >= COPY_FROM
        first = len(planned)
        for hand in _deal(size - copied, settings.taxonomy, rng):
            programs, silent = _plant(hand, song, settings.taxonomy, rng) if settings.plant else (hand, ())
            name = f"Track{len(planned) + 1:05d}"
            uuid, style = rng.bytes(16).hex(), str(styles[song % len(styles)])
            planned.append(Track(name, split, song, uuid, style, tuple(programs), tuple(silent)))
            song += 1
        if copied:
            planned.append(_copy(planned[first], f"Track{len(planned) + 1:05d}"))
    return planned


def _deal(n_songs, taxonomy, rng):
    """Programs for each song: every instrument in about half of them, every song with five or more instruments."""
    hands, instruments_of = [[] for _ in range(n_songs)], instruments.load(taxonomy)
    for turn, name in enumerate(rng.permutation(list(instruments_of))):
        share = (n_songs + turn % 2) // 2
        crowded = [len(hand) + rng.uniform(0, 2) for hand in hands]  # the noise breaks up fixed pairs of instruments
        for song in np.argsort(crowded)[:share]:
            hands[song].append(str(name))
    for hand in hands:
        absent = [name for name in instruments_of if name not in hand]
        hand += [str(name) for name in rng.permutation(absent)[: max(0, FEWEST_PARTS - len(hand))]]
    return [[int(rng.choice(instruments_of[name].programs)) for name in hand] for hand in hands]


def _plant(programs, song, taxonomy, rng):
    """Add what real Slakh has to a song's programs, each difficulty to some songs.

    Returns
    -------
    programs : list of int
    silent : list of int
        Which of them are not rendered.
    """
    programs = list(programs)
    if song % 6 == 0:
        single = [p for p in programs if instruments.of_program(p, taxonomy) not in LINES]
        programs.append(int(rng.choice(single)))
    others = [p for p in OTHERS if not instruments.of_program(p, taxonomy)]
    if song % 2 == 1 and len(others) > 1:
        programs += [int(p) for p in rng.choice(others, int(rng.integers(1, 3)), replace=False)]
    programs = [programs[i] for i in rng.permutation(min(len(programs), MOST_PARTS))]
    if song % 4 == 2:
        return [*programs, int(rng.choice(UNRENDERED))], [len(programs)]
    return programs, []


def _copy(track, name):
    """The same song once more, one part shorter: in Slakh, too, copies share their MIDI but not all their sounds."""
    return Track(name, track.split, track.song, track.uuid, track.style, track.programs, (*track.silent, 0))


def from_midi(
    midi_path,
    slakh_folder,
    track="Track00001",
    split="train",
    engine="tinysoundfont",
    soundfont=None,
    program_map=None,
):
    """Make a track of a MIDI file.

    Every combination of MIDI track, channel and program becomes a stem; one without notes becomes an unrendered stem.
    The `UUID` is the file's MD5, as in Slakh.

    Parameters
    ----------
    midi_path : str or Path
        A MIDI file of format 0 or 1, up to 20 minutes.
    slakh_folder : str or Path
        A new or empty folder, or one with tracks made here.
    track, split : str
        Where it goes: `<slakh_folder>/<split>/<track>`.
    engine, soundfont
        As in `Settings`.
    program_map : dict of int to int, optional
        Programs (0 to 127) to play with another one; drums stay drums.

    Returns
    -------
    Path
        The track folder.

    Raises
    ------
    MissingError, MidiError
        No such file; not usable, with the reason.
    SettingError
        For a track that is already there, a folder with another data set, or a wrong setting.
    """
    folder, program_map = Path(slakh_folder), program_map or {}
    _check_place(folder, track, split)
    _check_program_map(program_map)
    synthesizer.check_engine(engine)
    synthesizer.soundfont_path(soundfont)
    score = midi_file.read(midi_path)
    _claim(folder, None)
    for part in score.midi.instruments:
        part.program = int(part.program if part.is_drum else program_map.get(part.program, part.program))
    seconds = max(note.end for part in score.midi.instruments for note in part.notes) + RING_OUT
    uuid = hashlib.md5(score.source, usedforsecurity=False).hexdigest()
    place = folder / split / track
    writer.write(place, score.midi, seconds, uuid, score.silent, score.source, engine, soundfont)
    return place


def _check_place(folder, track, split):
    if split not in SPLITS:
        raise SettingError(f"There is no split {split!r}; there are {', '.join(SPLITS)}.")
    if not TRACK_NAME.fullmatch(track):
        raise SettingError(f"{track!r} cannot name a track: take Track and digits or letters, such as Track00001.")
    taken = [folder / other / track for other in SPLITS if (folder / other / track).exists()]
    if taken:
        raise SettingError(f"{taken[0]} is already there. Give another `track` name, or remove that folder first.")


def _check_program_map(program_map):
    for program in (*program_map.keys(), *program_map.values()):
        if type(program) is not int or not 0 <= program < instruments.DRUMS:
            raise SettingError(f"program_map holds {program!r}: programs are whole numbers from 0 to 127.")


def _description(settings):
    """The settings as the marker holds them: soundfonts by what is in them, since their paths may change."""
    paths = [synthesizer.soundfont_path(soundfont) for soundfont in settings.soundfonts or (None,)]
    soundfonts = [f"{path.name}, SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in paths]
    return {"recipe": RECIPE, **asdict(settings), "soundfonts": soundfonts}


def _claim(folder, description):
    """Mark `folder` as a data set made here, or stop when it is another one.

    `description` is None for a folder that collects tracks from MIDI files: any data set made here will do for that.
    """
    marker = folder / MARKER
    if marker.exists():
        held = json.loads(marker.read_text())
        if description is not None and held != description:
            raise SettingError(
                f"{folder} holds a mini-Slakh that was made otherwise ({_difference(held, description)}). "
                "Give another folder, give those settings, or remove that folder first."
            )
        return
    if folder.exists() and any(entry.is_dir() and not entry.name.startswith(".") for entry in folder.iterdir()):
        raise SettingError(
            f"{folder} holds a data set that was not made here; it stays untouched. Give another folder."
        )
    with written_whole(marker) as unfinished:
        unfinished.write_text(json.dumps(description, indent=1) + "\n")


def _difference(held, wanted):
    """The settings that differ, for a message."""
    if held is None:
        return "from MIDI files"
    names = [name for name in wanted if held.get(name) != wanted[name]]
    return ", ".join(f"{name} there {held.get(name)!r}, here {wanted[name]!r}" for name in names)
