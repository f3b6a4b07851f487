"""What was found out about files, remembered as long as they stay as they are. Used by notebooks 01 and 02.

Looking at a file costs time, on Google Drive tenths of a second for its header alone, and decoding all of Slakh takes
hours. So whatever is found is written down at once, a JSON object per line, in the root's folder `journal/`:

    {"path": "train/Track00001/mix.flac", "seen": [5012345, 1700000000000000000], "kind": "header", "found": {...}}

`seen` tells the state of the file that was looked at, its size in bytes and its time of change in nanoseconds: when it
differs, what was found no longer counts. Every process writes a file of its own, so that many can work at once, and the
line that a killed process left half-written is passed over.
"""

import json
import os
import socket
import threading

from muscomp_lib.core.files import clean_parts, written_whole

WHOLE = "journal.jsonl"  # what `compact` makes of all files


class Journal:
    """The journal of a root. It may be asked and written by several threads.

    Parameters
    ----------
    root : drive.Root
    """

    def __init__(self, root):
        self._folder = root.journal
        self._known, self._file = {}, None
        self._writing = threading.Lock()
        for path in self._files():
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                self._remember(line)

    def _files(self):
        clean_parts(self._folder)
        return sorted(self._folder.glob("*.jsonl"), key=lambda path: (path.name != WHOLE, path.stat().st_mtime_ns))

    def _remember(self, line):
        try:
            entry = json.loads(line)
            self._known[entry["path"], entry["kind"]] = (tuple(entry["seen"]), entry["found"])
        except (ValueError, KeyError, TypeError):  # half a line, of a process that was killed
            return

    def recall(self, path, seen, kind):
        """What was found in a file, or None when that is not known of the file as it is now.

        Parameters
        ----------
        path : str
            Relative to the data set.
        seen : tuple of int
            Its state now.
        kind : str
            What was looked for.

        Returns
        -------
        dict or None
        """
        then, found = self._known.get((path, kind), (None, None))
        return found if then == seen else None

    def note(self, path, seen, kind, found):
        """Remember what was found in a file; `found` is a dict that JSON can hold.

        What has a key `passing` is remembered by this object alone: the next run shall look again.
        """
        self._known[path, kind] = (seen, found)
        if "passing" not in found:
            with self._writing:
                self._own_file().write(_line(path, kind, seen, found))

    def _own_file(self):
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            own = f"{socket.gethostname()}-{os.getpid()}.jsonl"
            self._file = (self._folder / own).open("a", encoding="utf-8", buffering=1)
            self._file.write("\n")  # an earlier process of this number may have been killed within a line
        return self._file

    def compact(self):
        """Bring all into one file. No other process may be writing: only notebook 01 does this."""
        files = self._files()
        if self._file is None and [path.name for path in files] in ([], [WHOLE]):
            return
        self.close()
        with written_whole(self._folder / WHOLE) as part:
            lasting = (entry for entry in sorted(self._known.items()) if "passing" not in entry[1][1])
            lines = (_line(path, kind, seen, found) for (path, kind), (seen, found) in lasting)
            part.write_text("".join(lines), encoding="utf-8")
        for path in files:
            if path.name != WHOLE:
                path.unlink()

    def close(self):
        """Close this process' own file; happens of itself when the journal is not used any more."""
        if self._file is not None:
            self._file.close()
            self._file = None

    __del__ = close


def _line(path, kind, seen, found):
    return json.dumps({"path": path, "seen": seen, "kind": kind, "found": found}, separators=(",", ":")) + "\n"
