"""The folder of a song on the website, and what is read from it: its files, and a zip of them.

    songs/<id>/song.<suffix>     as it was uploaded, until it is done
               separated/song/   what notebook 05 writes: a FLAC file per instrument, song.mid, song.musicxml
               desk.json         what the mixer needs before its audio
               pieces/<number>   the mixer's audio

Nothing is called like the song: names come from strangers, and are only shown, or given to what they download.
"""

import json
import re
import shutil
import struct
import zipfile

from muscomp_lib.core.files import PART, make_folder, write_text, written_whole
from muscomp_lib.website.queue import ID, Queue

FILE = "queue.sqlite"
SONG, SEPARATED, PIECES, DESK = "song", "separated", "pieces", "desk.json"
MIDI, SCORE, ZIP, MIX = "notes.mid", "score.musicxml", "all.zip", "mix.flac"
ZIP_BLOCK = 1 << 18  # bytes


class SongFolder:
    """The files of one song.

    Parameters
    ----------
    path : Path
    suffix : str
        Of the uploaded file, with its dot.
    """

    def __init__(self, path, suffix):
        self.path, self.upload = path, path / f"{SONG}{suffix}"
        self.separated, self.desk = path / SEPARATED, path / DESK

    @property
    def stems(self):
        """The folder with the separated files: an excerpt's has its length in its name."""
        return next(self.separated.glob(f"{SONG}*"), self.separated / SONG)

    def remove(self):
        """Delete everything of this song, but for what a worker writes at this moment, which the next sweep deletes."""
        shutil.rmtree(self.path, ignore_errors=True)

    # ---- pieces ----

    def piece(self, number):
        """The file with a piece of the mixer's audio."""
        return self.path / PIECES / str(number)

    def n_pieces(self):
        """How many pieces there are, without a gap."""
        number = 0
        while self.piece(number).is_file():
            number += 1
        return number

    def write_piece(self, number, parts):
        """Write a piece: how many parts it has, their lengths, all as little-endian uint32, and the parts."""
        head = struct.pack(f"<{1 + len(parts)}I", len(parts), *map(len, parts))
        with written_whole(self.piece(number)) as part:
            part.write_bytes(b"".join([head, *parts]))

    def write_desk(self, description):
        """Write what the mixer needs before its audio."""
        write_text(self.desk, json.dumps(description))

    # ---- downloads ----

    def downloads(self):
        """What can be downloaded now: {name: Path}."""
        stems = self.stems
        found = {file.name: file for file in sorted(stems.glob("*.flac")) if not file.name.startswith(PART)}
        extras = {MIDI: stems / f"{stems.name}.mid", SCORE: stems / f"{stems.name}.musicxml"}
        return found | {name: file for name, file in extras.items() if file.is_file()}

    def zipped(self, title):
        """All downloads in a zip file, in blocks of bytes: nothing is compressed, or kept."""
        sink = _Sink()
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
            for name, file in self.downloads().items():
                entry = zipfile.ZipInfo.from_file(file, f"{title}/{name}")
                with file.open("rb") as source, archive.open(entry, "w", force_zip64=True) as target:
                    while block := source.read(ZIP_BLOCK):
                        target.write(block)
                        yield sink.taken()
        yield sink.taken()


class _Sink:
    """A file that cannot be read or sought in, for `zipfile`: what is written is taken away piece by piece."""

    def __init__(self):
        self._parts, self._position = [], 0

    def write(self, data):
        self._parts.append(bytes(data))
        self._position += len(data)
        return len(data)

    def tell(self):
        return self._position

    def flush(self):
        pass

    def seekable(self):
        return False

    def taken(self):
        parts, self._parts = self._parts, []
        return b"".join(parts)


def open_queue(place, url=None):
    """The queue of the site whose folder is `place`: in a file there, or in the database at an address."""
    if url:
        from muscomp_lib.website.postgres import PostgresQueue

        return PostgresQueue(url)
    return Queue(place / FILE)


class Songs:
    """The folders of all songs."""

    def __init__(self, place):
        self.place = make_folder(place / "songs")

    def of(self, entry):
        """The folder of a song of the queue (queue.Entry): SongFolder."""
        return SongFolder(self.place / entry.id, entry.suffix)

    def remove_others(self, ids):
        """Delete the folders of songs that are not in `ids()`, which is called after the folders are listed.

        Folders whose name is not an id stay.
        """
        folders = [folder for folder in self.place.iterdir() if re.fullmatch(ID, folder.name)]
        known = ids()
        for folder in folders:
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)
