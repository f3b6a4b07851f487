"""Results of reading files, cached for as long as the files do not change. Used by notebooks 01 and 02.

Reading costs time: on Google Drive tenths of a second for a header alone, and decoding all of Slakh takes hours. So
each result is written at once, a JSON object per line, in the root's folder `journal/`:

    {"path": "train/Track00001/mix.flac", "seen": [5012345, 1700000000000000000], "kind": "header", "found": {...}}

`seen` is the state of the file that was read, its size in bytes and its modification time in nanoseconds: when it
differs, the result no longer counts. Every process writes a file of its own, so that many can work at once; a line that
a killed process left incomplete is ignored, and so is a file that cannot be read, as another user's may be.
"""

import contextlib
import errno
import json
import os
import re
import socket
import threading
from pathlib import Path

from muscomp_lib.core.files import clean_parts, full_disk_reported, make_folder, write_text

OURS = re.compile(r".+-\d+\.jsonl")  # machine and number of a process; other files in the folder are left alone
COMPACTED = "journal.jsonl"  # what `compact` makes of all files


class FileCache:
    """The file cache of a root. Several threads may use it.

    Parameters
    ----------
    root : Root
    """

    def __init__(self, root):
        self._folder = root.journal
        self._results, self._file = {}, None
        self._writing = threading.Lock()
        for path in self._files():
            with contextlib.suppress(OSError):
                for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                    self._load(line)

    def _files(self):
        clean_parts(self._folder)
        ours = [path for path in self._folder.glob("*.jsonl") if path.name == COMPACTED or OURS.fullmatch(path.name)]
        files = filter(Path.is_file, ours)
        return sorted(files, key=lambda path: (path.name != COMPACTED, path.stat().st_mtime_ns))

    def _load(self, line):
        try:
            entry = json.loads(line)
            key, state, found = (entry["path"], entry["kind"]), tuple(entry["seen"]), entry["found"]
        except (ValueError, KeyError, TypeError, RecursionError):  # incomplete: its process was killed
            return
        if isinstance(found, dict) and all(isinstance(text, str) for text in key):
            self._results[key] = state, found

    def get(self, path, state, kind):
        """The result for a file, or None when there is none for its present state.

        Parameters
        ----------
        path : str
            Relative to the data set.
        state : tuple of int
            Of the file now: size in bytes, modification time in nanoseconds.
        kind : str
            What was read.

        Returns
        -------
        dict or None
        """
        cached_state, result = self._results.get((path, kind), (None, None))
        return result if cached_state == state else None

    def put(self, path, state, kind, result):
        """Cache a result, a dict that JSON can hold.

        One with a key `passing` (an error that may not last) is cached in this object only: the next run tries again.

        Raises
        ------
        DiskFullError
        """
        self._results[path, kind] = (state, result)
        if "passing" not in result:
            with self._writing:
                self._write(_line(path, kind, state, result))

    def _write(self, line):
        content = line.encode()
        with full_disk_reported(self._folder):
            if self._own_file().write(content) < len(content):
                self.close()  # the next line begins a new one
                raise OSError(errno.ENOSPC, "only a part was written")

    def _own_file(self):
        if self._file is None:
            make_folder(self._folder)
            own = f"{socket.gethostname()}-{os.getpid()}.jsonl"
            self._file = (self._folder / own).open("ab", buffering=0)
            self._file.write(b"\n")  # an earlier process with this number may have been killed within a line
        return self._file

    def compact(self):
        """Merge all files into one. No other process may be writing: only notebook 01 does this."""
        files = self._files()
        if self._file is None and [path.name for path in files] in ([], [COMPACTED]):
            return
        self.close()
        lasting = (entry for entry in sorted(self._results.items()) if "passing" not in entry[1][1])
        lines = (_line(path, kind, state, result) for (path, kind), (state, result) in lasting)
        write_text(self._folder / COMPACTED, "".join(lines))
        for path in files:
            if path.name != COMPACTED:
                with contextlib.suppress(OSError):
                    path.unlink()

    def close(self):
        """Close this process' own file; also done when the object is deleted."""
        if self._file is not None:
            self._file.close()
            self._file = None

    __del__ = close


def _line(path, kind, state, result):
    return json.dumps({"path": path, "seen": state, "kind": kind, "found": result}, separators=(",", ":")) + "\n"
