"""Which songs notebook 05 takes, what they are called, and whether their true instruments are known.

A prepared song is a folder with `mix.flac` and a file per instrument, as notebook 02 writes them: its truth lies beside
it. Any other audio file is a song whose truth nobody knows. Where there is neither, one is composed.
"""

import shutil
import tempfile
from pathlib import Path

from muscomp_lib.core.errors import AudioError, MissingError, SettingError
from muscomp_lib.core.files import written_whole
from muscomp_lib.core.instruments import MIX
from muscomp_lib.dataset import library
from muscomp_lib.dataset.mixing import RECIPE, SUFFIX
from muscomp_lib.minislakh import composer, writer
from muscomp_lib.models import pretrained

SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aac", ".aif", ".aiff", ".wma", ".mp4", ".mkv", ".webm")
UNSEEN = "test"  # the partition that no network has learnt from
EXAMPLE = "Composed example"
EXAMPLE_PROGRAMS, EXAMPLE_SECONDS = (
    (128, 34, 1, 48, 9, 61, 27),
    40.0,
)  # drums, bass, piano, strings, bells, brass, guitar


def choose(song, root):
    """The songs to separate.

    Parameters
    ----------
    song : str, Path or None
        A file; a folder, for all songs in it; None for the first prepared song that the network never saw, or else the
        first in `songs/`, or else one that is composed now.
    root : drive.Root

    Returns
    -------
    list of Path

    Raises
    ------
    MissingError
        When the file is not there, or the folder holds no song.
    """
    if song is None:
        unseen, own = _unseen(root), _songs_in(root.songs)
        song = unseen[0] if unseen else own[0] if own else compose_example(root)
    path = Path(song).expanduser()
    if path.is_dir():
        found = _songs_in(path)
        if not found:
            raise MissingError(f"The folder {str(path.absolute())!r} holds no song ({', '.join(SUFFIXES)}).")
        return found
    if path in _unseen(root):
        return [library.Library(root).made(root.relative(path))]  # a virtual song becomes files
    if not path.is_file():
        raise MissingError(f"The song {str(path.absolute())!r} is not there. Check its name and folder.")
    return [path]


def available(root):
    """The songs one can choose without giving a path: {what a list calls them: Path}.

    First those in `songs/`, then the prepared ones that no network has learnt from.
    """
    own = {path.name: path for path in _songs_in(root.songs)}
    return own | {f"{title(path)} (prepared, its instruments are known)": path for path in _unseen(root)}


def compose_example(root):
    """Compose a song of seven instruments into `songs/`, so that there is something to hear: its Path."""
    path = root.songs / f"{EXAMPLE}.flac"
    if not path.is_file():
        midi = composer.compose(0, EXAMPLE_PROGRAMS, EXAMPLE_SECONDS)
        with tempfile.TemporaryDirectory() as folder, written_whole(path) as part:
            writer.write(Path(folder) / "track", midi, EXAMPLE_SECONDS, uuid="0" * 32)
            shutil.copyfile(Path(folder) / "track" / "mix.flac", part)
    return path


def import_upload(root, name, content):
    """Put a song that came over the network into `songs/`.

    Parameters
    ----------
    root : drive.Root
    name : str
        Its file's name, as the sender gave it; of a path, the last part counts.
    content : bytes-like

    Returns
    -------
    Path

    Raises
    ------
    AudioError
        It is not called as audio files are.
    """
    name = Path(name.replace("\\", "/")).name
    if Path(name).suffix.lower() not in SUFFIXES or name.startswith("."):
        raise AudioError(f"{name!r} is not called like an audio file. Give one of {', '.join(SUFFIXES)}.")
    path = root.songs / name
    with written_whole(path) as part:
        part.write_bytes(content)
    return path


def _songs_in(folder):
    """The songs in a folder, by name: what looks like an audio file and is not hidden."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file() and p.name[0] != ".")


def _unseen(root):
    """The mixes of the prepared songs that no network has learnt from, by name; virtual ones may not be there yet."""
    return [root.path / files[MIX] for files in library.Library(root).songs(UNSEEN).values() if MIX in files]


def model_path(model, root):
    """The path of a model: given by path, by its name under `models/`, or `shipped`, the one that comes along."""
    if model == pretrained.NAME:
        return pretrained.FOLDER
    named = root.models / str(model)
    return named if named.exists() or not Path(model).expanduser().exists() else Path(model).expanduser()


def transcriber_path(model, root):
    """The folder of a transcriber: given by path, by its name under `models/`, or `shipped`; None stands for that."""
    return pretrained.TRANSCRIBER if model in (None, pretrained.NAME) else model_path(model, root)


def title(path):
    """What a song is called: its file's name without suffix, or its folder's where every song's file is `mix`."""
    return path.absolute().parent.name if path.stem == MIX else path.stem


def reference_files(path, names):
    """The files with the true instruments of a song: {name: Path}, empty when they are not all known."""
    files = {name: path.with_name(name + path.suffix) for name in names}
    return files if _is_prepared(path) and all(file.is_file() for file in files.values()) else {}


def excerpt(path, seconds=None):
    """A song, or `seconds` from its middle: (waveform, sample_rate) as `prepared.read` gives them."""
    if seconds is None:
        return library.read(path)
    start, found = excerpt_start(path, seconds), library.info(path)
    return library.read(path, round(start * found.sample_rate), _samples(seconds, found))


def excerpt_start(path, seconds=None):
    """Where an excerpt of `seconds` from a song's middle begins, in seconds; 0 for the whole song."""
    if seconds is None:
        return 0.0
    if not seconds > 0:
        raise SettingError(f"seconds is {seconds!r}; give a positive number, or None for the whole song.")
    found = library.info(path)
    return (found.frames - _samples(seconds, found)) // 2 / found.sample_rate


def _samples(seconds, found):
    return min(found.frames, max(1, round(seconds * found.sample_rate)))


def _is_prepared(path):
    return path.name == MIX + SUFFIX or (path.stem == MIX and path.with_name(RECIPE).exists())
