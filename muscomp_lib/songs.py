"""Which song notebook 05 takes, what it is called, and whether its true instruments are known.

A prepared song is a folder with `mix.flac` and a file per instrument, as notebook 02 writes them: its truth lies beside
it. Any other audio file is a song whose truth nobody knows.
"""

from pathlib import Path

from muscomp_lib.audio import read
from muscomp_lib.errors import MissingError, SettingError
from muscomp_lib.instruments import MIX

SUFFIX = ".flac"  # of prepared files
UNSEEN = "test"  # the partition that no network has learnt from


def choose(song, root):
    """The song's file: `song` as the user gave it, or the first prepared song that the network never saw.

    Parameters
    ----------
    song : str, Path or None
    root : drive.Root

    Returns
    -------
    Path

    Raises
    ------
    MissingError
        When the file is not there, or there is no prepared song.
    """
    if song is not None:
        path = Path(song).expanduser()
        if not path.is_file():
            raise MissingError(f"The song {str(path.absolute())!r} is not there. Check its name and folder.")
        return path
    prepared = sorted((root.prepared / UNSEEN).glob(f"*/{MIX}{SUFFIX}"))
    if not prepared:
        raise MissingError(f"{root.prepared / UNSEEN} holds no song. Run notebook 02 first, or set `song` to a file.")
    return prepared[0]


def title(path):
    """What a song is called: the track's name when it is prepared, otherwise the file's name without suffix."""
    return path.absolute().parent.name if _is_prepared(path) else path.stem


def true_files(path, names):
    """The files with the true instruments of a song: {name: Path}, empty when they are not all known."""
    files = {name: path.with_name(name + SUFFIX) for name in names}
    return files if _is_prepared(path) and all(file.is_file() for file in files.values()) else {}


def excerpt(path, seconds=None):
    """A song, or `seconds` from its middle: (waveform, sample_rate) as `audio.read` gives them."""
    if seconds is not None and not seconds > 0:
        raise SettingError(f"seconds is {seconds!r}; give a positive number, or None for the whole song.")
    waveform, sample_rate = read(path)
    wanted = len(waveform) if seconds is None else min(len(waveform), max(1, round(seconds * sample_rate)))
    start = (len(waveform) - wanted) // 2
    return waveform[start : start + wanted], sample_rate


def _is_prepared(path):
    return path.name == MIX + SUFFIX
