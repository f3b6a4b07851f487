"""What a result was made from, written beside it and compared before the result is used again. Used by every stage.

A file is identified by a checksum of all its bytes. Its size and date would not do: they differ in a copied root, and
agree where a damaged file was replaced within a tick of the clock. A FLAC's own checksum is of the sound that was to be
in it: a damaged file has the same. The first and last bytes miss a correction between them. To read a file once is
cheap where all of it is decoded anyway; afterwards its checksum is known for as long as its size and date stay the
same, so that a second run reads nothing.
"""

import hashlib
import os
from pathlib import Path

from muscomp_lib.core import remote_io
from muscomp_lib.core.file_cache import FileCache
from muscomp_lib.core.files import write_text

BLOCK = 1 << 20  # bytes read at once
DIGITS = 32  # of a checksum: 128 bits
CHECKSUM = "checksum"  # what the file cache holds
SEPARATION = "separation.json"  # in a song's folder: what its separated files were made from


def write(path, made_from):
    """Write down, as a last step, what a result was made from.

    Parameters
    ----------
    path : Path
        Beside the result.
    made_from : str
        All it depends on.
    """
    write_text(path, made_from)


def matches(path, made_from):
    """Whether a result was made from exactly this: then it is complete, and need not be made again."""
    try:
        return Path(path).read_text(encoding="utf-8") == made_from
    except (OSError, UnicodeDecodeError):
        return False


def sha256(path):
    """The SHA-256 (64 hexadecimal digits) of a file's bytes; OSError where it cannot be read."""
    digest = hashlib.sha256()
    with remote_io.RetryingFile(path) as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def checksum(path):
    """As `sha256`, as far as it identifies a file: its first `DIGITS` digits."""
    return sha256(path)[:DIGITS]


def identity(path, known=None):
    """A file's size in bytes, its date in nanoseconds and its checksum, as a dict for JSON.

    Parameters
    ----------
    path : Path
    known : dict, optional
        The identity that was recorded: the file is not read if its size and date are still these.

    Raises
    ------
    OSError
    """
    size, modified = _state(path)
    found = {"bytes": size, "modified": modified}
    if known and {key: known.get(key) for key in found} == found and CHECKSUM in known:
        return found | {CHECKSUM: known[CHECKSUM]}
    return found | {CHECKSUM: checksum(path)}


class Checksums:
    """Checksums of many files, each of which is read only if its size or date has changed.

    Parameters
    ----------
    root : Root, optional
        Its file cache keeps them from one run to the next, also in a copy of the root.

    Attributes
    ----------
    new : dict
        What was read: {path: (state of the file, its checksum)}.
    """

    def __init__(self, root=None):
        self._root, self._cache, self.new = root, root and FileCache(root), {}

    def of(self, path, copy=None):
        """The checksum of a file, or of a copy of it that is read in its place; None if it cannot be read."""
        try:
            state = _state(path)
            cached = self._cache and self._cache.get(self._key(path), state, CHECKSUM)
            if cached:
                return cached[CHECKSUM]
            found = checksum(copy or path)
        except OSError:
            return None
        self.add({path: (state, found)})
        return found

    def add(self, new):
        """Add what another process has read: its `new`."""
        self.new |= new
        for path, (state, found) in new.items() if self._cache else ():
            self._cache.put(self._key(path), state, CHECKSUM, {CHECKSUM: found})

    def move(self, folder, to):
        """Follow the files of a folder that is renamed."""
        self.new = {to / path.name if path.parent == folder else path: read for path, read in self.new.items()}

    def _key(self, path):
        return self._root.relative(path) if path.is_relative_to(self._root.path) else str(path)


def _state(path):
    status = remote_io.retried(os.stat, path)
    return status.st_size, status.st_mtime_ns
