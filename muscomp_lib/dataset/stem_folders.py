"""Which songs a folder of stems holds, and which instrument each of their files is. Used by notebook 03.

A folder that directly holds sound files is a song, at any depth, in any format that `audio` reads. Six layouts, which
may be side by side:

    <song>/<instrument>.wav                    as music programs export them, with or without a mix
    <song>/<instrument>/<any name>.wav         a folder per instrument, as in MoisesDB
    <song>_<instrument>.wav                    the files of several songs in one folder
    <instrument>/<song>.wav                    a folder per instrument, with a file for each song
    <song>.stem.mp4, <song>.stem.m4a           five streams, as in MUSDB18 and the Stems of Native Instruments
    <song>/<song>_METADATA.yaml                MedleyDB, which names the instrument of each file in <song>_STEMS/; its
                                               second version has them in a folder of their own

`stem_names` reads the instruments from the names of the files.

A folder around a song that is called train, validation or test is its partition, as in MUSDB18; Dev is validation, but
where no song is in train, as in DSD100, it is train.
"""

import itertools
import logging
import re
import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from muscomp_lib.audio.formats import SUFFIXES
from muscomp_lib.core import names, provenance, yaml_file
from muscomp_lib.core.errors import MissingError, MusCompError, SettingError
from muscomp_lib.core.files import expanded, walk
from muscomp_lib.core.instruments import MIX, OTHER
from muscomp_lib.core.root import layout
from muscomp_lib.core.settings import check_value, is_path, optional, suggestion, that
from muscomp_lib.dataset import stem_names
from muscomp_lib.dataset.mixing import CHANNEL
from muscomp_lib.dataset.stem_names import IGNORE, SEPARATORS, Namer

NAMES_FILE = "stems.yaml"
NAMES_FILES = (NAMES_FILE, "stems.yml")  # in any case of letters
STREAMS = (MIX, "drums", "bass", OTHER, "vocals")  # of a .stem.mp4, in this order
STREAMS_SUFFIXES = (".stem.mp4", ".stem.m4a")  # in any case of letters
METADATA_SUFFIX = "_METADATA.yaml"
NO_STEMS = "it has no stems"
NUMBERED = {  # names of stems that are no instruments, and what to do
    r"((STEM|RAW)_\d\d?|\d\d)(_\d\d)*": f"If this is MedleyDB, put {{song}}{METADATA_SUFFIX} into {{song}}",
    r"S\d\d": "If this is Slakh, put it into slakh/ under the root, and begin with notebook 01",
}
COLLECTIONS = {  # words in names of folders that hold files of all instruments, or mixes
    *("stems", "stem", "tracks", "multitrack", "multitracks", "multi", "audio", "files", "audiofiles", "individual"),
    *("wav", "wavs", "wave", "flac", "aif", "aiff", "mp3", "bounce", "bounces", "bounced", "export", "exports"),
    *("exported", "render", "renders", "rendered", "raw", "media", "samples"),
    *("mix", "mixes", "mixdown", "mixdowns", "master", "masters", "spuren", "pistes", "pistas", "tracce"),
}
NAMES = that(lambda value: isinstance(value, list | tuple), 'a list of names: ["Drums", "Bass"]')
STEMS = {"stems", "multitrack", "multitracks"}  # of these, one is enough
RECORDINGS = {"media", "samples", "audio", "files", "audiofiles"}  # where music programs keep what was recorded
VALIDATION = (
    "Actions - One Minute Smile",
    "Clara Berry And Wooldog - Waltz For My Victims",
    "Johnny Lokke - Promises & Lies",
    "Patrick Talbot - A Reason To Leave",
    "Triviul - Angelsaint",
    "Alexander Ross - Goodbye Bolero",
    "Fergessen - Nos Palpitants",
    "Leaf - Summerghost",
    "Skelpolu - Human Mistakes",
    "Young Griffo - Pennies",
    "ANiMAL - Rockshow",
    "James May - On The Line",
    "Meaxic - Take A Step",
    "Traffic Experiment - Sirens",
)  # of MUSDB18's train songs: github.com/sigsep/sigsep-mus-db, musdb/configs/mus.yaml

log = logging.getLogger(__name__)


class Stem(NamedTuple):
    """A sound file, relative to the folder of stems, and which of its streams."""

    path: str
    stream: int = 0


@dataclass(frozen=True)
class StemSong:
    """A song of a folder of stems.

    Attributes
    ----------
    name : str
        Different for each song: a folder's name in `prepared/`.
    source : str
        Where it is, relative to the folder of stems.
    partition : str
        "train", "validation" or "test"; "" where the folder does not say so.
    stems : dict of str to tuple of Stem
        By instrument: their sum is the instrument.
    mixes : tuple of Stem
        Given mixes: they are compared with the sum of the stems, and not used.
    note : str
        Why it cannot be used, or "".
    title : str
        The name of its folder, which others may have too, as where several programs separated one song.
    """

    name: str
    source: str
    partition: str
    stems: dict
    mixes: tuple = ()
    note: str = ""
    title: str = ""


@dataclass(frozen=True)
class StemFolder:
    """A folder of stems: its path, and its songs by name."""

    path: Path
    songs: tuple

    def counts(self):
        """In how many songs each instrument is: {name: number}, the most frequent first, `other` last."""
        found = Counter(name for song in self.songs for name in song.stems)
        return dict(sorted(found.items(), key=lambda each: (each[0] == OTHER, -each[1], each[0])))

    def instruments(self, wanted=None, residual="target"):
        """The instruments to prepare, in order.

        Parameters
        ----------
        wanted : list of str, optional
            Of the folder's instruments, those that become files of their own; None: all of them.
        residual : {"target", "drop"}
            Whether `other` is one of them.

        Returns
        -------
        list of str
            With `other` at the end, where anything is left for it.

        Raises
        ------
        SettingError
            There is no such instrument, or it is no list.
        """
        check_value("instruments", optional(NAMES, "all there are"), wanted)
        found = [name for name in self.counts() if name != OTHER]
        for name in wanted or ():
            if name not in (*found, OTHER):
                raise SettingError(f"No song in {self.path} has {name!r}. {suggestion(name, found)}")
        chosen = [name for name in wanted or found if name != OTHER]
        rest = OTHER in (wanted or ()) or any(set(song.stems) - set(chosen) for song in self.songs)
        return chosen + ([OTHER] if rest and residual == "target" else [])


def find(folder, names_file=None):
    """Find the songs of a folder and name the instruments of their files. No sound is read.

    Parameters
    ----------
    folder : str or Path
    names_file : str or Path, optional
        The YAML file with names for the files; None: `stems.yaml` in the folder, if it is there.

    Returns
    -------
    StemFolder

    Raises
    ------
    MissingError
        No such folder, or no song with stems in it; no such file of names.
    SettingError
        The file of names is wrong, or fits no file at all; a number instead of a path.
    """
    check_value("stems", that(is_path, "a folder"), folder)
    check_value("stem_names", that(lambda value: not value or is_path(value), "a YAML file, or None"), names_file)
    folder = expanded(folder).absolute()
    if not folder.is_dir():
        raise MissingError(f"There is no song with stems in {folder}: it is not a folder. Check the path.")
    beside = (path for path in folder.glob("*.*") if path.name.lower() in NAMES_FILES and path.is_file())
    namer = Namer(names_file or next(beside, None))
    songs = _with_mixes_beside(_without_recordings([_song(namer, *found) for found in _layouts(folder, namer)]))
    if not any(song.stems for song in songs):
        by_note = sorted(songs, key=lambda song: song.note in ("", NO_STEMS))
        reason = next((f" {song.source or folder.name}: {song.note}." for song in by_note if song.note), "")
        raise MissingError(
            f"There is no song with stems in {folder}. Give the folder whose subfolders hold one sound file per "
            f"instrument: <song>/<instrument>.wav, or <song>{STREAMS_SUFFIXES[0]}.{_readable(reason)}"
        )
    namer.check_used(_stem(stem.path) for song in songs for stems in song.stems.values() for stem in stems)
    songs = _with_training(_with_one_spelling(_with_unique_names(songs)))
    return StemFolder(folder, tuple(sorted(songs, key=lambda song: song.name)))


# ---- layouts ----


def _layouts(folder, namer):
    """Every song: (its path relative to the folder, [(Stem, text that names its instrument)], note)."""
    files = _sound_files(folder)
    medley = _songs_with_metadata(files)
    yield from ((place, *_medley_song(folder, place, metadata)) for place, metadata in medley.items())
    files = {place: held for place, held in files.items() if not any(_is_below(place, song) for song in medley)}
    songs = _songs_across_folders(files, namer)
    yield from ((place, parts, "") for place, parts in songs.items())
    files = _without(files, [stem.path for parts in songs.values() for stem, _ in parts])
    beside = _mixes_beside_folders(files)
    yield from ((place, [(Stem(path), MIX) for path in paths], "") for place, paths in beside.items())
    files = _without(files, [path for paths in beside.values() for path in paths])
    grouped = _songs_with_instrument_folders(files, namer)
    parts_of_songs = {path for paths in grouped.values() for path in paths}
    for place in sorted(files):
        for stem in [_joined(place, name) for name in files[place] if _has_streams(name)]:
            if not _best(files.get(_title(stem), ())):  # else there is a better copy of the song
                yield stem, [(Stem(stem, stream), text) for stream, text in enumerate(STREAMS)], ""
        if place in grouped:
            inside = [(_joined(place, name), _stem(name)) for name in _best(files[place])]
            inside += [(_joined(path, name), PurePosixPath(path).name) for path in grouped[place] for name in
                       _best(files[path])]  # fmt: skip
            yield place, [(Stem(path), text) for path, text in inside], ""
        elif place not in parts_of_songs and _best(files[place]):
            yield from _songs_of_one_folder(place, _best(files[place]))


def _songs_of_one_folder(place, held):
    """The song of a folder with files, or the songs, where their names tell them apart."""
    titles, songs = stem_names.titles([_stem(name) for name in held]), defaultdict(list)
    for name in held:
        title, text = titles.get(_stem(name), ("", _stem(name)))
        songs[_joined(place, title) if title else place].append((Stem(_joined(place, name)), text))
    yield from ((song, parts, "") for song, parts in songs.items())


def _sound_files(folder):
    """The names of sound and metadata files by their folder, relative to `folder`, "" being itself.

    A Mus-Comp root among them is left out: it holds songs that were prepared from these. So are songs that Mus-Comp
    separated, as beside one's own in the current folder, unless theirs is the folder itself.
    """
    found, separated = {}, set()
    for path, folders, files in walk(folder):
        if provenance.SEPARATION in files and folder not in (Path(path), Path(path).parent):
            separated.add(str(Path(path).parent))
            folders.clear()
            continue
        is_root = path != str(folder) and {entry["folder"] for entry in layout().values()} <= set(folders)
        folders[:] = [name for name in folders if name[0] != "_" and not is_root]
        held = [name for name in files if name[0] != "." and _is_ours(name)]
        place = Path(path).relative_to(folder).as_posix()
        found["" if place == "." else place] = held
    if separated:
        log.warning("Left out, as Mus-Comp separated what is there: %s.", ", ".join(sorted(separated)))
    return found


def _songs_with_metadata(files):
    """The metadata of MedleyDB's songs: {song's folder: path}, in it or in a folder for those of all songs."""
    paths = [_joined(place, name) for place, held in files.items() for name in held if name.endswith(METADATA_SUFFIX)]
    titles = {PurePosixPath(path).name.removesuffix(METADATA_SUFFIX): path for path in paths}
    folders = {*files, *(_above(place) for place in files)}
    songs = {place: titles[name] for place in folders if (name := PurePosixPath(place).name) in titles}
    uses = Counter(map(_above, paths))
    return {_above(path): path for path in paths if path not in songs.values() and uses[_above(path)] == 1} | songs


def _above(place):
    return str(PurePosixPath(place).parent).removeprefix(".")


def _is_below(place, song):
    return not song or f"{place}/".startswith(f"{song}/")


def _is_ours(name):
    return _is_sound(name) or name.endswith(METADATA_SUFFIX)


def _is_sound(name):
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def _songs_across_folders(files, namer):
    """The songs of folders per instrument: {song's path: [(Stem, text that names its instrument)]}."""
    grouped, songs = defaultdict(list), defaultdict(list)
    for place in (place for places in _inside(files).values() for place in places):
        grouped[_around(place)].append(place)
    for parent, places in grouped.items():
        folders = _instrument_folders(_song_titles(files, places), namer)
        paths = {names.folded(title): _joined(parent, title) for held in folders.values() for title in held.values()}
        for place, held in folders.items():
            for name, title in held.items():
                songs[paths[names.folded(title)]].append((Stem(_joined(place, name)), _instrument(place)))
        for name in _best(files.get(parent, ())):
            if path := paths.get(names.folded(stem_names.without_mix(_stem(name)))):
                songs[path].append((Stem(_joined(parent, name)), MIX))
    return songs


def _mixes_beside_folders(files):
    """The mixes that are called like a song's folder: {folder: [path]}.

    They are beside it, as Song_mix.wav is, or in a folder of mixes beside a folder around it: Mixes/Song.wav and
    Stems/Song/, or Mixtures/Dev/Song/mixture.wav and Sources/Dev/Song/.
    """
    above = {
        path for place in files if _best(files[place]) for path in (place, *map(str, PurePosixPath(place).parents))
    }
    folders = {str(PurePosixPath(path).with_name(_folder_title(path))).lower(): path for path in above - {"", "."}}
    parallel = {
        key: path
        for title, path in folders.items()
        for name, key in _without_each(title)
        if not stem_names.is_mix(name)
    }
    found = defaultdict(list)
    for path in (_joined(place, name) for place in files for name in _best(files[place])):
        title = stem_names.without_mix(_stem(path))
        song = _above(path) if stem_names.is_mix(title) else str(PurePosixPath(path).with_name(title))
        around = (parallel.get(key) for name, key in _without_each(song) if stem_names.is_mix(name))
        folder = folders.get(str(PurePosixPath(path).with_name(title)).lower()) or next(filter(None, around), "")
        if folder and not stem_names.is_instrument(title):
            found[folder].append(path)
    return found


def _without_each(path):
    """A path without each of the folders around what it names: (that folder's name, what is left of the path)."""
    parts = PurePosixPath(path.lower()).parts
    return [(name, (parts[:place], parts[place + 1 :])) for place, name in enumerate(parts[:-1])]


def _folder_title(path):
    """A folder's name without what means stems: of "Song (Stems)" and "Song_Full", "Song"."""
    name = unicodedata.normalize("NFC", PurePosixPath(path).name)
    return re.sub(rf"(?i)[{SEPARATORS}]+({'|'.join(STEMS)}|full)\)?$", "", name) or name


def _instrument_folders(titles, namer):
    """Those of the folders beside each other that hold a file for each song: `titles` without the others.

    There are such if two or more hold files of the same names, most of which are no instruments', and at least half of
    these folders are called like instruments or mixes.
    """
    uses = _uses(held.values() for held in titles.values())
    repeated = {title for title, count in uses.items() if count > 1 and _is_title(title, namer)}
    chosen = {place: held for place, held in titles.items() if _is_across(place, held.values(), repeated, namer)}
    called = [place for place in chosen if _is_part(_instrument(place), namer)]
    has_instrument = any(namer.of(_instrument(place)) != MIX for place in called)
    return chosen if has_instrument and len(chosen) > 1 and 2 * len(called) >= len(chosen) else {}


def _song_titles(files, places):
    """{folder: {file: the song's title}}: without the folder's name, but where other folders hold the name as it is."""
    uses = _uses([_stem(name) for name in _best(files[place])] for place in places)
    titles = {}
    for place in places:
        stems = {name: _stem(name) for name in _best(files[place])}
        titles[place] = {
            name: stem if uses[names.folded(stem)] > 1 else stem_names.without_instrument(stem, _instrument(place))
            for name, stem in stems.items()
        }
    return titles


def _uses(folders):
    """In how many folders each title is."""
    return Counter(title for titles in folders for title in {*map(names.folded, titles)})


def _is_across(place, titles, repeated, namer):
    """Whether a folder may be an instrument's, by its songs: all are repeated where its own name is no instrument's."""
    found = [names.folded(title) in repeated for title in titles]
    if not _is_part(_instrument(place), namer):
        return all(found) and not _holds_all(place)
    return any(found) and 2 * sum(_is_title(title, namer) for title in titles) > len(found)


def _is_part(text, namer):
    return namer.of(text) == MIX or stem_names.is_instrument(text)


def _is_title(text, namer):
    return namer.of(text) != MIX and stem_names.is_title(text)


def _instrument(place):
    """The name of an instrument's folder; it may hold the partitions: of Drums/train, it is Drums."""
    path = PurePosixPath(place)
    return unicodedata.normalize("NFC", path.parent.name if _is_partition_inside(path) else path.name)


def _around(place):
    """The folder around an instrument's folder; of Drums/train, it is train."""
    path = PurePosixPath(place)
    return str(path.parent.with_name(path.name) if _is_partition_inside(path) else path.parent).removeprefix(".")


def _is_partition_inside(path):
    return bool(names.partition(path.name) and path.parent.name)


def _inside(files):
    """The folders that hold sound files by the folder around them."""
    inside = defaultdict(list)
    for place in files:
        if place and _best(files[place]):
            inside[_above(place)].append(place)
    return inside


def _songs_with_instrument_folders(files, namer):
    """The folders whose subfolders are not songs but instruments: {song's folder: [subfolders]}.

    Subfolders are instruments if there is a mix beside them, if the same ones are in several songs, or if most are
    called like instruments; and songs if two of them hold files of the same name, or one is called like what holds
    all of them, such as Stems. One called like an instrument, with L and R in it, is one whatever is beside it.
    """
    inside = _inside(files)
    uses = Counter(PurePosixPath(place).name.lower() for places in inside.values() for place in places)
    grouped = {}
    for parent, places in inside.items():
        others = [place for place in places if not _holds_channels(place, files[place])]
        are_instruments = (
            not any(map(_holds_all, others))
            and _share_no_names([files[place] for place in others], namer)
            and _only_mixes(files.get(parent, ()), namer)
            and (_best(files.get(parent, ())) or _are_repeated(places, uses) or _are_instruments(places))
        )
        grouped[parent] = places if are_instruments else [place for place in places if place not in others]
    return {parent: places for parent, places in grouped.items() if places}


def _holds_channels(place, files):
    return stem_names.is_instrument(_instrument(place)) and all(CHANNEL.fullmatch(_stem(name)) for name in _best(files))


def _share_no_names(folders, namer):
    held = [{_stem(name).lower() for name in _best(files) if namer.of(_stem(name)) != MIX} for files in folders]
    return sum(map(len, held)) == len(set().union(*held))


def _only_mixes(files, namer):
    return all(namer.of(_stem(name)) == MIX for name in _best(files))


def _are_repeated(places, uses):
    return len(places) > 1 and all(uses[PurePosixPath(place).name.lower()] > 1 for place in places)


def _are_instruments(places):
    return len(places) > 1 and 2 * sum(stem_names.is_instrument(_instrument(each)) for each in places) > len(places)


def _holds_all(place):
    """Whether a folder is called like one with files of all instruments: "Song Stems", and not "Drum Stems"."""
    path = PurePosixPath(place)
    return _is_collection(path) or (bool(_words(path.name) & STEMS) and not stem_names.has_instrument(path.name))


def _is_collection(path):
    """Whether a name means all files of a song, beside words of the folder around it: Song/Song_Stems 24bit."""
    words = _words(path.name)
    return bool(words) and words - _words(path.parent.name) <= COLLECTIONS


def _words(text):
    return set(re.findall(r"(?<![^\W_])[^\W\d_][^\W_]*", text.lower()))


def _best(files):
    """The sound files, of several with one name the one in the format that comes first in SUFFIXES."""
    sounds = [name for name in files if _is_sound(name) and not _has_streams(name)]
    by_stem = {}
    for name in sorted(sounds, key=lambda name: SUFFIXES.index(PurePosixPath(name).suffix.lower())):
        by_stem.setdefault(_stem(name), name)
    return sorted(by_stem.values())


def _without(files, paths):
    """The files but for those at the paths, in all formats."""
    used = {str(PurePosixPath(path).with_suffix("")) for path in paths}
    return {
        place: [name for name in held if str(PurePosixPath(place, name).with_suffix("")) not in used]
        for place, held in files.items()
    }


def _has_streams(name):
    return name.lower().endswith(STREAMS_SUFFIXES)


def _title(path):
    """A song's path without the suffix of a file with streams."""
    return str(PurePosixPath(path).with_suffix("").with_suffix("")) if _has_streams(path) else path


def _medley_song(folder, place, metadata):
    """The parts of a song of MedleyDB, and why it cannot be used, or ""."""
    try:
        found = yaml_file.read(folder / metadata)
        parts = [(found.get("mix_filename"), MIX)]
        for stem in found["stems"].values():
            instrument = stem["instrument"] if isinstance(stem["instrument"], str) else " ".join(stem["instrument"])
            parts.append((f"{found['stem_dir']}/{stem['filename']}", instrument))
        paths = [(names.check_path(path, "stem", metadata), text) for path, text in parts if path]
        return [(Stem(_joined(place, path)), text) for path, text in paths], ""
    except (MusCompError, KeyError, TypeError, AttributeError) as error:
        return [], f"{metadata} cannot be used: {error!r}" if isinstance(error, LookupError) else str(error)


def _joined(place, name):
    return str(PurePosixPath(place, name))


def _stem(name):
    """A file's name without its suffix, or both of Drums.wav.wav, and with accents in one form: a Mac splits them."""
    stem = PurePosixPath(name).stem
    return unicodedata.normalize("NFC", PurePosixPath(stem).stem if _is_sound(stem) else stem)


# ---- songs ----


def _song(namer, place, parts, note):
    """A song from its parts; its name is not final."""
    path = PurePosixPath(unicodedata.normalize("NFC", _title(place)))
    stems, mixes, shared = defaultdict(list), [], _shared(namer, parts, _title_in(parts, path))
    for stem, text in parts:
        instrument = namer.of(text, *shared)
        if instrument == MIX:
            mixes.append(stem)
        elif not instrument or _advice(instrument):
            why = f"{text!r} cannot be an instrument's name. Give it one in {NAMES_FILE}"
            note = note or f"{stem.path}: {why}{_advice(instrument).format(song=PurePosixPath(_outside(place)).name)}"
        elif instrument != IGNORE:
            stems[instrument].append(stem)
    if not stems:
        note = note or NO_STEMS
    stems = {name: tuple(stems[name]) for name in sorted(stems)}
    name = path.name if _has_streams(place) else PurePosixPath(_outside(place)).name or path.name
    return StemSong(name, place, _partition(path), stems, tuple(mixes), note, name)


def _advice(instrument):
    """What else to do where a data set numbers its stems, and names their instruments in other files."""
    return next((f". {advice}" for pattern, advice in NUMBERED.items() if re.fullmatch(pattern, instrument)), "")


def _without_recordings(songs):
    """Songs with a note for those that are the clips of a project whose stems are there: Song/Samples by Song/Stems."""
    stems = [PurePosixPath(song.source) for song in songs if song.stems]
    stems = {path.parent: path for path in stems if _words(path.name) & STEMS}
    return [
        replace(song, stems={}, note=f"it holds clips of a project, whose stems are in {stems[project]}")
        if (project := _project(PurePosixPath(song.source))) in stems
        else song
        for song in songs
    ]


def _project(path):
    """The folder around one in which music programs keep recordings, or None."""
    folders = (each for each in (path, *path.parents) if _words(each.name) and _words(each.name) <= RECORDINGS)
    return next((each.parent for each in folders), None)


def _with_mixes_beside(songs):
    """Songs with the mixes that are alone beside their folder of stems: A/Master.wav is of A/Stems."""
    beside = defaultdict(list)
    for song in songs:
        if song.mixes and not song.stems:
            beside[_outside(song.source)].append(song)
    found = [_with_mixes(song, beside[_outside(song.source)]) if song.stems else song for song in songs]
    given = {mix for song in found if song.stems for mix in song.mixes}
    return [song for song in found if song.stems or not given.intersection(song.mixes)]


def _with_mixes(song, beside):
    return replace(song, mixes=(*song.mixes, *(mix for each in beside for mix in each.mixes)))


def folder_of(song):
    """The folder of a song, relative to the folder of stems, without those in it such as Stems: PurePosixPath."""
    return PurePosixPath(_outside(song.source))


def _outside(source):
    """The path of a song's folder, without folders in it such as Stems or Mix."""
    path = PurePosixPath(unicodedata.normalize("NFC", _title(source)))
    while _is_collection(path):
        path = path.parent
    return str(path)


def _title_in(parts, path):
    """The nearest folder whose name a file begins with, as in Song/Stems/Song.wav; else the song's own."""
    begins = (name for name in reversed(path.parts) for _, text in parts if stem_names.begins_with(text, name))
    return next(begins, path.name)


def _shared(namer, parts, title):
    """What the names of stems begin and end with: those of files, as folders and MedleyDB name instruments alone."""
    are_files = all(text == _stem(stem.path) for stem, text in parts)
    return stem_names.shared([text for _, text in parts if are_files and namer.of(text) not in (MIX, IGNORE)], title)


def _partition(path):
    """The partition that a folder around a song names, the outermost that does; or ""."""
    found = next(filter(None, map(names.partition, path.parts[:-1])), "")
    return "validation" if found == "train" and path.name in VALIDATION else found


def _with_unique_names(songs):
    """Songs of equal names get those of the folders around them, too: "Album A - Intro"."""
    uses = Counter(names.folded(song.name) for song in songs)
    named, taken = [], set()
    for song in songs:
        parts = PurePosixPath(_title(song.source)).parts
        title = song.name if uses[names.folded(song.name)] == 1 else " - ".join(parts)
        title = _readable(title or "song").replace("\\", "_")  # in a table it would separate folders
        name = names.as_folder(title).strip(" .") or "song"
        candidates = itertools.chain([name], (f"{name} ({number})" for number in itertools.count(2)))
        unique = next(each for each in candidates if names.folded(each) not in taken)
        taken.add(names.folded(unique))
        named.append(replace(song, name=unique, source=_readable(song.source)))
    return named


def _readable(name):
    """A file's name as text for tables: bytes that are not UTF-8 become question marks."""
    return name.encode("utf-8", "replace").decode()


def _with_one_spelling(songs):
    """Instruments that differ in upper and lower case only get their most frequent spelling; the residual, its own."""
    counts, chosen = Counter(name for song in songs for name in song.stems), {OTHER: OTHER}
    for name, _ in sorted(counts.items(), key=lambda each: (-each[1], each[0])):
        chosen.setdefault(name.lower(), name)
    return [replace(song, stems=_renamed(song.stems, chosen)) for song in songs]


def _with_training(songs):
    """Songs of a folder that has validation and test only, as train and test: DSD100 calls its train songs Dev."""
    if any(song.partition in ("", "train") for song in songs if song.stems):
        return songs
    return [replace(song, partition="train") if song.partition == "validation" else song for song in songs]


def _renamed(stems, chosen):
    merged = defaultdict(tuple)
    for name, files in stems.items():
        merged[chosen[name.lower()]] += files
    return dict(merged)
