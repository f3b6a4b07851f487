"""A small data set in Slakh's exact layout, composed and rendered here: the embedded default, free to share.

    <slakh folder>/<split>/TrackNNNNN/{all_src.mid, metadata.yaml, mix.flac, MIDI/Sxx.mid, stems/Sxx.flac}

Each instrument of the taxonomy is in some tracks of a split and absent from others. With `plant` there are Slakh's own
difficulties: drums nearly everywhere and a violin in few songs, as many stems outside the taxonomy as in it, two stems
of one instrument, stems that were not rendered, one song twice, damaged files and wrong metadata. A production
(productions.yaml) makes songs to train on for real music instead: from MIDI
files beside composed ones, lone instruments, effects.
"""

import json
import logging
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, model_validator

from muscomp_lib.core import instruments, parallel, settings
from muscomp_lib.core.errors import MidiError, SettingError
from muscomp_lib.core.files import clean_parts, locked, write_text
from muscomp_lib.core.settings import Field, flag, number, optional, that, whole
from muscomp_lib.minislakh import composer, midi_songs, players, productions, sources, synthesizer, writer

MARKER = "minislakh.json"  # in every data set made here: its settings
RECIPE = 3  # to be raised when the same settings give different music or sound
SPLITS = ("train", "validation", "test")
HELD_OUT = 0.15  # of the tracks, in validation and in test each
MIN_TRACKS = len(SPLITS)
MIN_SECONDS, MAX_SECONDS = 4.0, 600.0  # of a track
MIN_PARTS, MAX_PARTS = 5, 12  # rendered parts of a track, where the taxonomy has so many instruments
UNRENDERED = (97, 99, 103, 119, 122, 126)  # effects: Slakh has no patches for most of them
COPY_FROM = 4  # tracks in the train split: with fewer, no song is there twice
DAMAGE_FROM = 8  # ... and no file is damaged
OTHERS = (4, 9)  # stems outside the taxonomy in a song: at least, and fewer than
HALF = 0.5  # share of the songs that have an instrument, where nothing is planted
ARRANGED, SOUNDS = 1, 2  # what a song's other random draws are for
FILES = that(lambda value: isinstance(value, (tuple, list)), "a list of files")
FOLDERS = that(lambda value: isinstance(value, (tuple, list)), "a list of folders")

log = logging.getLogger(__name__)


def _installed(engine):
    synthesizer.check_engine(engine)
    return engine


def _existing(soundfonts):
    for soundfont in soundfonts:
        sources.find(soundfont)
    return soundfonts


def _readable(folders):
    midi_songs.files(folders)
    return folders


class Settings(settings.Settings):
    """The settings of a mini-Slakh."""

    tracks: whole(MIN_TRACKS) = Field(
        24, description="Number of tracks: about 70 % train, 15 % validation, 15 % test, at least one each."
    )
    seconds: number(MIN_SECONDS, MAX_SECONDS, unit="seconds") = Field(40.0, description="Length of each track.")
    seed: whole() = Field(0, description="Random seed: another seed, other songs.")
    plant: flag() = Field(
        True,
        description="Plant real Slakh's difficulties: rare instruments, other programs, silent stems, a copy, damage.",
    )
    engine: Annotated[str, AfterValidator(_installed)] = Field(
        "tinysoundfont", description='Synthesizer: "tinysoundfont", or "fluidsynth" where the system has it.'
    )
    soundfonts: Annotated[FILES, AfterValidator(_existing)] = Field(
        (),
        description="Soundfonts, of which each stem draws one: General MIDI .sf2 files, or names of "
        "minislakh/sources.yaml; none: pretty_midi's TimGM6mb.sf2.",
    )
    production: optional(productions.Name, "mini-Slakh's own") = Field(
        None, description="How songs are made to train on for real music: a name of minislakh/productions.yaml."
    )
    midi: Annotated[FOLDERS, AfterValidator(_readable)] = Field(
        (), description='Folders of MIDI files and scores that a production takes songs from; "music21": its scores.'
    )
    taxonomy: instruments.Taxonomy = Field(
        instruments.DEFAULT_TAXONOMY,
        description="Which programs make up an instrument (core/instruments.yaml); each song draws one of them.",
    )

    @model_validator(mode="after")
    def _check_midi_is_used(self):
        if self.midi and not (self.production and productions.load(self.production).midi):
            raise SettingError(
                f"midi = {[str(folder) for folder in self.midi]}, but production = {self.production!r} takes no songs "
                f"from files. Choose one that does: {', '.join(productions.from_files())}."
            )
        return self


@dataclass(frozen=True)
class Track:
    """The plan of a track. Tracks with the same `song` have the same notes; `silent` parts are not rendered.

    `midi` is the file that the song is taken from, with programs of its own; None: it is composed. `damage` is one of
    writer.DAMAGE, to the part of that number.
    """

    name: str
    split: str
    song: int
    uuid: str
    style: str
    programs: tuple
    silent: tuple
    midi: Path | None = None
    damage: tuple | None = None


def make(slakh_folder, settings=None, workers=None):
    """Compose and render a data set. Existing tracks are kept, so a run that was killed can be resumed.

    Of two runs at the same time, the second waits for the first.

    Parameters
    ----------
    slakh_folder : str or Path
        A new or empty folder, or one that an earlier call with the same settings started.
    settings : Settings, optional
    workers : int, optional
        Processes; None: one per core. The files do not depend on it.

    Returns
    -------
    list of Path
        The track folders. A production's song is left out, with a warning, where none of its parts makes a sound.

    Raises
    ------
    SettingError
        When the folder holds another data set.
    DiskFullError
    MidiError
        No song makes a sound; without a production, one does not.
    """
    folder, settings = Path(slakh_folder), settings or Settings()
    _claim(folder, _description(settings))
    tracks = plan(settings)
    if _missing(tracks, folder):
        with locked(folder / MARKER) as held:  # another run may be rendering them
            for split in SPLITS:
                clean_parts(folder / split, alone=held)
            render = partial(_render, folder=folder, settings=settings)
            parallel.each(render, _missing(tracks, folder), workers, "mini-Slakh")
    made = [path for track in tracks if (path := folder / track.split / track.name).exists()]
    if not made:
        raise MidiError(f"{folder}: no song makes a sound with these soundfonts. Give others.")
    return made


def _missing(tracks, folder):
    return [track for track in tracks if not (folder / track.split / track.name).exists()]


def _render(track, folder, settings):
    """Compose or arrange a track, and write it. Runs in a worker process."""
    how = productions.load(settings.production) if settings.production else None
    midi = _music(track, settings, how)
    rng = np.random.default_rng([settings.seed, track.song, SOUNDS])
    its_sources = [sources.find(name, settings.engine) for name in settings.soundfonts or (None,)]
    sounds = productions.draw_sounds(how, midi, its_sources, rng)
    sources.drop_missing_drums(midi, sounds)
    mastering = productions.draw_mastering(how, midi, settings.taxonomy, rng)
    where = folder / track.split / track.name
    try:
        writer.write(where, midi, settings.seconds, track.uuid, track.silent, sounds, mastering, track.damage)
    except MidiError as error:
        if how is None:
            raise
        log.warning("Left out: %s", error)  # one or two parts, or a MIDI file's, that none of the soundfonts has


def _music(track, settings, how):
    """A track's parts and notes: from its MIDI file, else composed, as where the file turns out to be damaged."""
    seed = [settings.seed, track.song]
    if track.midi:
        try:
            rng = np.random.default_rng([*seed, ARRANGED])
            return midi_songs.arrange(track.midi, settings.seconds, how, settings.taxonomy, rng)
        except MidiError as error:
            log.warning("%s is composed instead: %s", track.name, error)
    drums = (how.grooves, how.exchanged) if how else ()
    return composer.compose(seed, track.programs, settings.seconds, track.style, *drums)


def plan(settings):
    """The tracks that `make` will make.

    Returns
    -------
    list of Track
    """
    rng = np.random.default_rng([settings.seed, settings.tracks])
    held_out = max(1, round(HELD_OUT * settings.tracks))
    sizes = (settings.tracks - 2 * held_out, held_out, held_out)
    styles = rng.permutation(list(composer.styles(more=settings.production is not None)))
    planned, song = [], 0
    planting = settings.plant and not settings.production
    for split, size in zip(SPLITS, sizes, strict=True):
        copied = planting and split == "train" and size >= COPY_FROM
        first = len(planned)
        for drawn in _draw_programs(size - copied, settings.taxonomy, planting, rng):
            programs, silent = _programs(drawn, song, settings, rng)
            name = f"Track{len(planned) + 1:05d}"
            uuid, style = rng.bytes(16).hex(), str(styles[song % len(styles)])
            planned.append(Track(name, split, song, uuid, style, tuple(programs), tuple(silent)))
            song += 1
        if copied:
            planned.append(_copy(planned[first], f"Track{len(planned) + 1:05d}"))
        if copied and size >= DAMAGE_FROM:
            planned[first + 1 : first + 1 + len(writer.DAMAGE)] = _damaged(planned[first + 1 :], rng)
    return _from_midi(planned, settings, rng)


def _programs(drawn, song, settings, rng):
    """The programs of a song, and which of them are not rendered."""
    if settings.production:
        how = productions.load(settings.production)
        return productions.draw_programs(how, drawn, settings.taxonomy, rng), ()
    return _plant(drawn, song, settings.taxonomy, rng) if settings.plant else (drawn, ())


def _from_midi(planned, settings, rng):
    """The tracks, some of them from MIDI files instead, each file in one of them."""
    if not settings.midi or not settings.production:
        return planned
    files = midi_songs.files(settings.midi)
    share = round(productions.load(settings.production).midi * len(planned))
    for which, path in zip(rng.permutation(len(planned))[:share], files, strict=False):
        planned[which] = replace(planned[which], midi=path)
    return planned


def _draw_programs(n_songs, taxonomy, planting, rng):
    """Programs for each song: every instrument in its share of them, every song with five or more instruments."""
    songs, instruments_of = [[] for _ in range(n_songs)], instruments.load(taxonomy)
    for turn, name in enumerate(rng.permutation(list(instruments_of))):
        share = max(players.of_program(p).share for p in instruments_of[name].programs) if planting else HALF
        count = int(n_songs * share + turn % 2 / 2)
        if n_songs >= MIN_TRACKS:
            count = min(max(count, 1), n_songs - 1)  # in each split there is something to lend, and to borrow
        crowded = [len(song) + rng.uniform(0, 2) for song in songs]  # the noise breaks up fixed pairs of instruments
        for chosen in np.argsort(crowded)[:count]:
            songs[chosen].append(str(name))
    for song in songs:
        absent = [name for name in instruments_of if name not in song]
        song += [str(name) for name in rng.permutation(absent)[: max(0, MIN_PARTS - len(song))]]
    return [[int(rng.choice(sorted(instruments_of[name].programs))) for name in song] for song in songs]


def _plant(programs, song, taxonomy, rng):
    """Add real Slakh's difficulties to a song's programs, each to some songs.

    Returns
    -------
    programs : list of int
    silent : list of int
        Which of them are not rendered.
    """
    programs = list(programs)
    doubles = [p for p in programs if players.of_program(p).may_double]
    if song % 6 == 0 and doubles:
        programs.append(int(rng.choice(doubles)))
    others = rng.permutation(productions.others(taxonomy))[: int(rng.integers(*OTHERS))]
    programs = (programs + [int(p) for p in others])[:MAX_PARTS]
    programs = [programs[i] for i in rng.permutation(len(programs))]
    if song % 4 == 2:
        return [*programs, int(rng.choice(UNRENDERED))], [len(programs)]
    return programs, []


def _copy(track, name):
    """The same song again, one part shorter if it has several: in Slakh, copies share their MIDI but not all stems."""
    dropped = (0,) if len(track.programs) - len(track.silent) > 1 else ()
    return replace(track, name=name, silent=(*track.silent, *dropped))


def _damaged(tracks, rng):
    """The first tracks, each with a damage of its own to one of its parts that sounds."""
    for track, damage in zip(tracks, writer.DAMAGE, strict=False):
        sounding = [number for number in range(len(track.programs)) if number not in track.silent]
        yield replace(track, damage=(damage, int(rng.choice(sounding))))


def _description(settings):
    """The settings for the marker: soundfonts by their content, since their paths may change."""
    soundfonts = [sources.find(name, settings.engine).content() for name in settings.soundfonts or (None,)]
    description = {"recipe": RECIPE, **settings.model_dump(exclude={"production", "midi"}), "soundfonts": soundfonts}
    if settings.soundfonts:
        description["soundfont of"] = "each stem"
    if settings.production:
        description["production"] = {settings.production: productions.load(settings.production).model_dump()}
        description["midi"] = [path.name for path in midi_songs.files(settings.midi)]
    return description


def _claim(folder, description):
    """Mark `folder` as a data set made here, or stop when it holds another one."""
    marker = folder / MARKER
    if marker.exists():
        try:
            held = dict(json.loads(marker.read_text()) or {})
        except (ValueError, TypeError, OSError) as error:
            raise SettingError(
                f"{marker} cannot be read ({error}). Give another folder, or remove that one."
            ) from error
        if held != description:
            raise SettingError(
                f"{folder} holds a mini-Slakh with other settings ({_difference(held, description)}). "
                "Give another folder, give those settings, or remove that folder first."
            )
        return
    if folder.exists() and any(entry.is_dir() and not entry.name.startswith(".") for entry in folder.iterdir()):
        raise SettingError(
            f"{folder} holds a data set that was not made here; it is left as it is. Give another folder."
        )
    write_text(marker, json.dumps(description, indent=1) + "\n")


def _difference(held, wanted):
    """The settings that differ, for a message."""
    names = [name for name in wanted if held.get(name) != wanted[name]]
    return ", ".join(f"{name} there {held.get(name)!r}, here {wanted[name]!r}" for name in names)
