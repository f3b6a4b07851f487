"""Which songs notebook 05 takes, what they are called, and whether their true instruments are known.

A prepared song is a folder with `mix.flac` and a file per instrument, as notebook 02 writes them: its truth lies beside
it. Any other audio file is a song whose truth nobody knows.
"""

from pathlib import Path

from muscomp_lib import prepared, shipped
from muscomp_lib.errors import MissingError, SettingError
from muscomp_lib.instruments import MIX
from muscomp_lib.mixdown import RECIPE, SUFFIX

SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aac", ".aif", ".aiff", ".wma", ".mp4", ".mkv", ".webm")
UNSEEN = "test"  # the partition that no network has learnt from


def choose(song, root):
    """The songs to separate.

    Parameters
    ----------
    song : str, Path or None
        A file; a folder, for all songs in it; None for the first prepared song that the network never saw.
    root : drive.Root

    Returns
    -------
    list of Path

    Raises
    ------
    MissingError
        When the file is not there, the folder holds no song, or there is no prepared song.
    """
    if song is not None:
        path = Path(song).expanduser()
        if path.is_dir():
            return _songs_in(path)
        if not path.is_file():
            raise MissingError(f"The song {str(path.absolute())!r} is not there. Check its name and folder.")
        return [path]
    library = prepared.Library(root)
    found = library.songs(UNSEEN)
    if not found:
        raise MissingError(f"{root.prepared / UNSEEN} holds no song. Run notebook 02 first, or set `song` to a file.")
    return [library.made(next(iter(found.values()))[MIX])]


def _songs_in(folder):
    """The songs in a folder, by name: what looks like an audio file and is not hidden."""
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file() and p.name[0] != ".")
    if not found:
        raise MissingError(f"The folder {str(folder.absolute())!r} holds no song ({', '.join(SUFFIXES)}).")
    return found


def model_path(model, root):
    """The path of a model: given by path, by its name under `models/`, or `shipped`, the one that comes along."""
    if model == shipped.NAME:
        return shipped.FOLDER
    named = root.models / str(model)
    return named if named.exists() or not Path(model).expanduser().exists() else Path(model).expanduser()


def transcriber_path(model, root):
    """The folder of a transcriber: given by path, by its name under `models/`, or `shipped`; None stands for that."""
    return shipped.TRANSCRIBER if model in (None, shipped.NAME) else model_path(model, root)


def title(path):
    """What a song is called: its file's name without suffix, or its folder's where every song's file is `mix`."""
    return path.absolute().parent.name if path.stem == MIX else path.stem


def true_files(path, names):
    """The files with the true instruments of a song: {name: Path}, empty when they are not all known."""
    files = {name: path.with_name(name + path.suffix) for name in names}
    return files if _is_prepared(path) and all(file.is_file() for file in files.values()) else {}


def excerpt(path, seconds=None):
    """A song, or `seconds` from its middle: (waveform, sample_rate) as `prepared.read` gives them."""
    if seconds is None:
        return prepared.read(path)
    start, found = middle(path, seconds), prepared.info(path)
    return prepared.read(path, round(start * found.sample_rate), _samples(seconds, found))


def middle(path, seconds=None):
    """Where an excerpt of `seconds` from a song's middle begins, in seconds; 0 for the whole song."""
    if seconds is None:
        return 0.0
    if not seconds > 0:
        raise SettingError(f"seconds is {seconds!r}; give a positive number, or None for the whole song.")
    found = prepared.info(path)
    return (found.frames - _samples(seconds, found)) // 2 / found.sample_rate


def _samples(seconds, found):
    return min(found.frames, max(1, round(seconds * found.sample_rate)))


def _is_prepared(path):
    return path.name == MIX + SUFFIX or (path.stem == MIX and path.with_name(RECIPE).exists())
