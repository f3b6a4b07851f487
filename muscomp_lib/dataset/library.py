"""The songs that notebook 02 prepared, as files or virtual. Used by notebooks 02 to 05.

Virtual songs take no disk space: `tables/recipes.csv` lists what each of their files is mixed from, and reading one
gives the same samples as the file would. Tables name both alike, `prepared/<partition>/<track>/Violin.flac`. As long as
`recipes.csv` exists, songs are virtual.
"""

import contextlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import PurePosixPath

from muscomp_lib import audio
from muscomp_lib.audio.formats import DATASET_SUFFIXES
from muscomp_lib.core import names, provenance, remote_io
from muscomp_lib.core.errors import AudioError, MissingError, MusCompError
from muscomp_lib.core.files import locked, make_folder, write_csv
from muscomp_lib.dataset import mixing

PARTITIONS = ("train", "validation", "test")  # of prepared songs
LOCK = "prepared.lock"
SEPARATOR = ";"  # between the paths of stems
RECIPE_COLUMNS = {
    "partition": "str",
    "track": "str",
    "frames": "int64",  # samples of each file
    "sample_rate": "int64",  # Hz
    "channels": "int64",
    "gain": "float64",  # one factor for all files of the song
    "file": "str",
    "stems": "str",  # relative to slakh/, joined by ";": they are summed; "" is silence
    "offset": "Int64",  # samples into the stems where the song begins; blank for the song's own stems
    "gain_db": "float64",
}


@dataclass(frozen=True)
class VirtualFile:
    """A file of a virtual song; `info` and `read` are `audio.info` and `audio.read` of the file it would be."""

    song: mixing.Song
    name: str

    def info(self):
        """Its length, rate and channels; AudioError or MissingError where one of its stems cannot be opened."""
        self.song.check(self.name)
        return audio.AudioInfo(self.song.frames, self.song.sample_rate, self.song.channels, sixteen_bit=True)

    def read(self, start=0, frames=None, dtype="float32"):
        """A part of it."""
        waveform = self.song.excerpt(self.name, start, frames)
        return waveform if dtype == "int16" else audio.to_float(waveform), self.song.sample_rate


@dataclass(frozen=True)
class FileSum:
    """The sum of several files of a song, which is not on disk itself: a target of several instruments."""

    files: tuple  # of Path or VirtualFile

    def info(self):
        """As of one file: AudioError where their lengths, rates or channels differ; 16 bits may not hold the sum."""
        found = [info(file) for file in self.files]
        if wrong := next((number for number, each in enumerate(found) if each != found[0]), None):
            names = f"{_name(self.files[wrong])} and {_name(self.files[0])}"
            raise AudioError(f"{names} differ in length, rate or channels")
        return replace(found[0], sixteen_bit=False)

    def read(self, start=0, frames=None, dtype="float32"):
        """A part of it."""
        parts = [read(file, start, frames) for file in self.files]
        total = sum(waveform for waveform, _ in parts)
        return audio.to_int16(total) if dtype == "int16" else total, parts[0][1]


def _name(file):
    return file.name if isinstance(file, VirtualFile) else file


def info(file):
    """`audio.info` of a path, a virtual file or a sum of them."""
    return file.info() if isinstance(file, VirtualFile | FileSum) else audio.info(remote_io.local_copy(file))


def read(file, start=0, frames=None, dtype="float32"):
    """`audio.read` of a path, a virtual file or a sum of them."""
    if isinstance(file, VirtualFile | FileSum):
        return file.read(start, frames, dtype)
    return audio.read(remote_io.local_copy(file), start, frames, dtype)


@contextlib.contextmanager
def writing(root, shared=False):
    """Hold `prepared/` while songs are written there, so that no other run removes or replaces what is being written.

    What is locked is a file in the journal's folder: few network disks can lock a folder.

    Parameters
    ----------
    root : Root
    shared : bool
        With others that share it: shards, each of which writes songs of its own.

    Raises
    ------
    MusCompError
        Another run is writing.
    """
    make_folder(root.journal)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(root.journal / LOCK, shared, wait=False))
        except BlockingIOError as error:
            raise MusCompError(
                f"Another run is writing songs to {root.prepared}. Wait until it has ended, or stop it; then run this "
                "again: what is already done is kept."
            ) from error
        yield


def recipes_path(root):
    """The path of the table of virtual songs."""
    return root.tables / "recipes.csv"


class Library:
    """The prepared songs of a root.

    Parameters
    ----------
    root : Root
    """

    def __init__(self, root):
        self._root = root
        self.virtual = recipes_path(root).exists()

    @cached_property
    def _songs(self):
        """{(partition, track): Song} of the virtual songs."""
        return {key: mixing.Song(self._root.slakh, recipe) for key, recipe in read_recipes(self._root).items()}

    def songs(self, partition):
        """The songs of a partition: {track: {file's name without suffix: path relative to the root}}, by name."""
        if not self.virtual:
            return self._songs_on_disk(partition)
        base = PurePosixPath(self._root.relative(self._root.prepared), partition)
        return {
            track: {name: str(base / track / f"{name}.flac") for name in (mixing.MIX, *song.files)}
            for (where, track), song in sorted(self._songs.items())
            if where == partition
        }

    def _songs_on_disk(self, partition):
        folder, found = self._root.prepared / partition, {}
        for path in sorted(folder.glob("[!.]*")) if folder.is_dir() else []:
            if path.is_dir():
                names = sorted(remote_io.listing(path), reverse=True)  # of a .wav and a .flac, the .flac wins
                files = {name.rsplit(".", 1)[0]: name for name in names if name.endswith(DATASET_SUFFIXES)}
                found[path.name] = {name: self._root.relative(path / file) for name, file in files.items()}
        return found

    def made(self, path):
        """The file at a path of a table, relative to the root; a virtual song is written to disk.

        Returns
        -------
        Path
        """
        folder = (self._root.path / path).parent
        if self.virtual:
            recipe = read_recipes(self._root)[folder.parent.name, folder.name] | {"format": mixing.SUFFIX[1:]}
            with writing(self._root):
                if not mixing.is_made(self._root.slakh, folder, recipe, provenance.Checksums(self._root)):
                    mixing.make(self._root.slakh, folder, recipe)
        return self._root.path / path

    def file(self, path, members=None):
        """The file for `info` and `read` at a path of a table.

        Parameters
        ----------
        path : str
            Relative to the root.
        members : list of str, optional
            The instruments that a target is the sum of. Unless it has a file, the files beside it are summed.

        Returns
        -------
        Path, VirtualFile or FileSum

        Raises
        ------
        MissingError
            Songs are virtual, and there is no recipe for this one.
        """
        if members:
            return self._target(path, members)
        if not self.virtual:
            return self._root.path / path
        partition, track, _ = ("", "", "", *PurePosixPath(path).parts)[-3:]
        song, name = self._songs.get((partition, track)), PurePosixPath(path).stem
        if song is None or name not in (mixing.MIX, *song.files):
            raise MissingError(f"{path}: {recipes_path(self._root)} has no such song. Run notebooks 02 and 03 again.")
        return VirtualFile(song, name)

    def _target(self, path, members):
        if not self.virtual and remote_io.retried((self._root.path / path).is_file):
            return self._root.path / path
        return summed([self.file(str(beside(PurePosixPath(path), name))) for name in members])


def beside(path, name):
    """The path of another file of a song, by its instrument."""
    return path.with_name(f"{name}{path.suffix}")


def summed(files):
    """The sum of files, to be read as one: the file itself where there is one only."""
    return files[0] if len(files) == 1 else FileSum(tuple(files))


def write_recipes(root, recipes):
    """Write the table of virtual songs.

    Parameters
    ----------
    root : Root
    recipes : dict of (str, str) to dict
        By partition and track; with `gain`.
    """
    import pandas as pd  # half a second, which reading songs does not need

    rows = [
        {"partition": partition, "track": track, **recipe, "file": name, **part, "stems": SEPARATOR.join(part["stems"])}
        for (partition, track), recipe in recipes.items()
        for name, part in recipe["files"].items()
    ]
    write_csv(recipes_path(root), pd.DataFrame(rows, columns=list(RECIPE_COLUMNS)).astype(RECIPE_COLUMNS))


def read_recipes(root):
    """Read the table of virtual songs: {(partition, track): recipe}, in the table's order.

    Raises
    ------
    SettingError
        A cell that cannot be.
    """
    import pandas as pd

    from muscomp_lib.slakh import index_tables

    path, recipes = recipes_path(root), {}
    for row in index_tables.read_csv(path, RECIPE_COLUMNS, names_in=("partition", "track", "file")).itertuples():
        song = {name: int(getattr(row, name)) for name in ("frames", "sample_rate", "channels")}
        song |= {"gain": row.gain, "files": {}}
        files = recipes.setdefault((row.partition, row.track), song)["files"]
        stems = row.stems.split(SEPARATOR) if row.stems else []
        files[row.file] = {"stems": [names.check_path(stem, "stem", f"{path}, {row.track}") for stem in stems]}
        if not pd.isna(row.offset):
            files[row.file] |= {"offset": int(row.offset), "gain_db": row.gain_db}
    return recipes
