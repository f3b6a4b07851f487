"""Which songs notebook 05 separates, what they are called, and whether their instruments are known.

A prepared song is a folder with `mix.flac` and a file per instrument, as notebook 02 writes them: its references lie
beside it. Of any other audio file no references are known. Where there is no song at all, one is composed.
"""

import contextlib
import itertools
import os
import shutil
import tempfile
from pathlib import Path

from muscomp_lib import audio
from muscomp_lib.audio.formats import SUFFIXES
from muscomp_lib.core import instruments, names, settings
from muscomp_lib.core.errors import AudioError, MissingError
from muscomp_lib.core.files import expanded, first_free, locked, written_whole
from muscomp_lib.core.instruments import MIX
from muscomp_lib.dataset import library
from muscomp_lib.dataset.mixing import RECIPE, SUFFIX
from muscomp_lib.models.config import targets

UNSEEN = "test"  # the partition that no network was trained on
EXAMPLE = "Composed example"
EXAMPLE_PARTS, EXAMPLE_SECONDS = 7, 40.0
MIDDLE_SECONDS = 60.0  # of a song of any length that are drawn and scored
SECONDS = settings.optional(settings.number(above=0), "the whole song")


def choose(song, root):
    """The songs to separate.

    Parameters
    ----------
    song : str, Path, list of them, or None
        A file; a folder, for all songs in it; None for the first prepared song that no network was trained on, else
        the first in `songs/`, else one that is composed now.
    root : core.root.Root

    Returns
    -------
    list of Path

    Raises
    ------
    MissingError, SettingError
        The file does not exist, or the folder holds no song; it can be no file, as an address of the web.
    """
    if isinstance(song, list):
        return list(dict.fromkeys(path for each in song for path in _chosen(each, root)))
    if song is None:
        found = [*_unseen(root), *_songs_in(root.songs)]
        song = found[0] if found else compose_example(root)
    path = expanded(song)
    if path.is_dir():
        found = _songs_in(path)
        if not found:
            albums = [folder.name for folder in sorted(path.iterdir()) if _holds_songs(folder)]
            inside = f" Folders in it do: give {', '.join(albums[: settings.MOST_LISTED])}." if albums else ""
            raise MissingError(f"The folder {str(path.absolute())!r} holds no song ({', '.join(SUFFIXES)}).{inside}")
        return found
    if path in _unseen(root):
        return [library.Library(root).made(root.relative(path))]  # a virtual song is written to disk
    if not path.is_file():
        raise MissingError(f"The song {str(path.absolute())!r} {_why_no_file(path)}")
    return [path]


def _why_no_file(path):
    if path.name == "-" or path.exists():
        return "is a stream or a device, not a file. Write it into a file first."
    if path.is_symlink():
        return f"is a link to {str(path.readlink())!r}, which is not there. Check whether its disk is mounted."
    if "*" in path.name:
        return "is not there: * stands for no name here. Give the folder, and all songs in it are taken."
    return "is not there. Check its name and folder."


def _chosen(song, root):
    """As `choose`, for one of a list: a missing one does not stop the others, and fails once it is to be separated."""
    try:
        return choose(song, root)
    except MissingError:
        return [expanded(song)]


def first_readable(paths):
    """The first of some files whose header can be read as audio; the first of all where there is none."""
    for path in paths:
        with contextlib.suppress(AudioError, OSError):
            audio.info(path)
            return path
    return paths[0]


def available(root):
    """The songs a list offers: {label: Path}, first those in `songs/`, then the prepared ones of the test partition."""
    own = {names.as_text(path.name): path for path in _songs_in(root.songs)}
    return own | {f"{title(path)} (prepared, its instruments are known)": path for path in _unseen(root)}


def compose_example(root):
    """Compose a song into `songs/`, the same one each time; returns its Path."""
    from muscomp_lib.minislakh import composer, writer  # a tenth of a second, which a song of one's own does not need

    path = root.songs / f"{EXAMPLE}.flac"
    if not path.is_file():
        parts = sorted(instruments.load().values(), key=lambda instrument: not instrument.is_drums)[:EXAMPLE_PARTS]
        midi = composer.compose(0, [instrument.programs[0] for instrument in parts], EXAMPLE_SECONDS)
        with tempfile.TemporaryDirectory() as folder, written_whole(path) as part:
            writer.write(Path(folder) / "track", midi, EXAMPLE_SECONDS, uuid="0" * 32)
            shutil.copyfile(Path(folder) / "track" / "mix.flac", part)
    return path


def import_upload(root, name, content):
    """Write an uploaded song into `songs/`; if the name is taken, as `Song (2).wav`.

    Parameters
    ----------
    root : core.root.Root
    name : str
        File name as the browser gave it; of a path, only the last part counts.
    content : bytes-like

    Returns
    -------
    Path

    Raises
    ------
    AudioError
        The name is not that of an audio file.
    """
    name = Path(name.replace("\\", "/")).name
    if Path(name).suffix.lower() not in SUFFIXES or name.startswith("."):
        raise AudioError(f"{name!r} is not the name of an audio file. It must end in one of {', '.join(SUFFIXES)}.")
    with locked(root.songs):
        path = _free(root.songs / name)
        with written_whole(path) as part:
            part.write_bytes(content)
    return path


def _free(path):
    """A path that is not taken, with a number behind the name where it is."""
    suffixes = itertools.chain([path.suffix], (f" ({number}){path.suffix}" for number in itertools.count(2)))
    paths = (path.with_name(names.as_folder(path.stem, suffix)) for suffix in suffixes)
    return first_free(paths)


def _songs_in(folder):
    """The songs in a folder, by name: all files with an audio suffix that are not hidden."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file() and p.name[0] != ".")


def _holds_songs(folder):
    return folder.is_dir() and os.access(folder, os.R_OK | os.X_OK) and _songs_in(folder)


def _unseen(root):
    """The mixes of the prepared test songs, by name; the files of virtual songs may not exist yet."""
    return [root.path / files[MIX] for files in library.Library(root).songs(UNSEEN).values() if MIX in files]


def title(path):
    """A song's title: its file name without suffix, or its folder's name where all songs' files are called `mix`."""
    return path.absolute().parent.name if path.stem == MIX else path.stem


def reference_files(path, config):
    """The files with a prepared song's instruments.

    Parameters
    ----------
    path : Path
        Of the mix.
    config : dict
        The model's: its `instrument_list` and `muscomp.targets` are used.

    Returns
    -------
    dict of str to Path or library.FileSum
        For `library.read`; empty unless all are known.
    """
    members = targets(config) or {name: [name] for name in config["instrument_list"]}
    files = {target: [library.beside(path, name) for name in names] for target, names in members.items()}
    is_prepared = path.name == MIX + SUFFIX or (path.stem == MIX and path.with_name(RECIPE).exists())
    are_there = is_prepared and all(file.is_file() for found in files.values() for file in found)
    return {target: library.summed(found) for target, found in files.items()} if are_there else {}


def excerpt(path, seconds=None):
    """A song, or `seconds` from its middle.

    Returns
    -------
    waveform : np.ndarray, shape=(n_samples, n_channels), float32
    sample_rate : int
        Hz.
    """
    if seconds is None:
        return library.read(path)
    start, info = excerpt_start(path, seconds), library.info(path)
    return library.read(path, round(start * info.sample_rate), _n_samples(seconds, info))


def excerpt_start(path, seconds=None):
    """Where an excerpt of `seconds` from a song's middle begins, in seconds; 0 for the whole song."""
    settings.check_value("seconds", SECONDS, seconds)
    if seconds is None:
        return 0.0
    info = library.info(path)
    return (info.frames - _n_samples(seconds, info)) // 2 / info.sample_rate


def middle(path, seconds=None, length=MIDDLE_SECONDS):
    """Where the middle of a song lies, or of an excerpt of it: what is drawn and scored.

    Parameters
    ----------
    path : Path
    seconds, length : float
        Seconds: of the excerpt (None: the whole song), and of its middle.

    Returns
    -------
    in_song, in_stems, n_samples : int
        Its first sample in the song's file and in those of its separated stems; its length, at most that of the song.
    """
    info, start = library.info(path), excerpt_start(path, seconds)
    whole = info.frames if seconds is None else _n_samples(seconds, info)
    n_samples = min(whole, _n_samples(length, info))
    in_stems = (whole - n_samples) // 2
    return round(start * info.sample_rate) + in_stems, in_stems, n_samples


def _n_samples(seconds, info):
    return min(info.frames, max(1, round(seconds * info.sample_rate)))
