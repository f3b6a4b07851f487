"""The queue of songs, in a file of SQLite: who has sent what, what is done next, and how far it is.

A worker holds a song by a lease, which it has to renew (`beat`). When it stops, because it was killed or its machine
went down, the lease runs out, or the site releases it at once, and another worker takes the song; after TRIES the song
is given up, as it may be what ends the workers. What a worker that has lost its song still writes here is ignored.

Only keys' checksums are stored: who reads this file cannot open a song. SQLite's file must lie on a disk of this
machine, not on NFS or Lustre, where its locks do not hold. For several machines there is the same queue on Postgres, in
the same SQL (`postgres.py`).
"""

import contextlib
import hashlib
import json
import secrets
import sqlite3
import time
from dataclasses import dataclass

from muscomp_lib.core.errors import MusCompError

LEASE = 15.0  # seconds without a sign of life until a worker counts as gone
TRIES = 3
ID = "[A-Za-z0-9_-]{24}"  # a regular expression for the ids of songs: 18 random bytes
RECENT = 20  # songs whose time is averaged to estimate the next
FIRST_GUESS = 60.0  # seconds of work on a song, before any is done
STALLED = 60.0  # seconds without a piece after which an upload no longer counts as its sender's
UPLOADING, WAITING, RUNNING, DONE, FAILED = "uploading", "waiting", "running", "done", "failed"
GAVE_UP = f"This song ended the process that worked on it {TRIES} times, so it was given up. Another format may help."
COLUMNS = {
    "id": "TEXT PRIMARY KEY",
    "key": "TEXT NOT NULL",
    "listen": "TEXT NOT NULL",
    "sender": "TEXT NOT NULL",
    "title": "TEXT NOT NULL",
    "suffix": "TEXT NOT NULL",
    "bytes": "BIGINT NOT NULL",  # Postgres' INTEGER ends at 2.1 GB
    "options": "TEXT NOT NULL",
    "state": f"TEXT NOT NULL DEFAULT '{UPLOADING}'",
    "stage": "TEXT NOT NULL DEFAULT ''",
    "share": "DOUBLE PRECISION NOT NULL DEFAULT 0",
    "facts": "TEXT NOT NULL DEFAULT '{}'",
    "note": "TEXT NOT NULL DEFAULT ''",
    "tries": "INTEGER NOT NULL DEFAULT 0",
    "worker": "TEXT",
    "lease": "DOUBLE PRECISION",
    "created": "DOUBLE PRECISION NOT NULL",
    "touched": "DOUBLE PRECISION NOT NULL",
    "queued": "DOUBLE PRECISION",
    "started": "DOUBLE PRECISION",
    "ended": "DOUBLE PRECISION",
}


class QueueError(MusCompError):
    """The queue cannot be read or written: a disk is full, or the database cannot be reached."""


class FullError(MusCompError):
    """The queue takes no more songs, of anybody or of this sender."""


@dataclass(frozen=True)
class Entry:
    """A song in the queue; times are seconds since 1970, `options` and `facts` dicts (`stages.py`)."""

    id: str
    key: str
    listen: str
    sender: str
    title: str
    suffix: str
    bytes: int
    options: dict
    state: str
    stage: str
    share: float
    facts: dict
    note: str
    tries: int
    worker: str | None
    lease: float | None
    created: float
    touched: float
    queued: float | None
    started: float | None
    ended: float | None


class Queue:
    """The queue in a file, for any number of processes and threads.

    Parameters
    ----------
    path : Path
        Made if it is not there.
    """

    ERRORS = sqlite3.Error
    ADVICE = "Give --folder a place with room on a disk of this machine: not every network disk has the locks it needs."
    BEGIN = ("BEGIN IMMEDIATE",)  # of a transaction that no other process writes beside
    PREPARE = ("PRAGMA journal_mode = WAL",)  # reading does not wait for writing

    def __init__(self, path):
        self._path = path
        columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
        with self._connected() as database:
            for command in (*self.PREPARE, f"CREATE TABLE IF NOT EXISTS songs ({columns})"):
                database.execute(command)

    # ---- for the server ----

    def add(self, sender, title, suffix, n_bytes, options, max_waiting, max_each):
        """Enter a song that is going to be uploaded.

        Returns
        -------
        id, key, listen : str
            The keys open the song, for its sender and for those who may listen.

        Raises
        ------
        FullError
            `max_waiting` songs are waiting, or `max_each` of this sender.
        """
        id_, key, listen = (secrets.token_urlsafe(18) for _ in range(3))
        now = self._now()
        row = {"id": id_, "key": digest(key), "listen": digest(listen), "sender": digest(sender), "title": title}
        row |= {"suffix": suffix, "bytes": n_bytes, "options": json.dumps(options), "created": now, "touched": now}
        with self._transaction() as database:
            self._check_room(database, row["sender"], max_waiting, max_each, since=now - STALLED)
            marks = ", ".join("?" * len(row))
            database.execute(f"INSERT INTO songs ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))
        return id_, key, listen

    def _check_room(self, database, sender, max_waiting, max_each, since=float("inf")):
        """Refuse a song where there are too many, uploads included that had a piece since a time; FullError."""
        counts = database.execute(
            "SELECT COUNT(*), COUNT(CASE WHEN sender = ? THEN 1 END) FROM songs WHERE state IN (?, ?) "
            "OR (state = ? AND touched > ?)",
            (sender, WAITING, RUNNING, UPLOADING, since),
        ).fetchone()
        if counts[1] >= max_each:
            raise FullError(f"{counts[1]} of your songs are waiting already. Send more once one of them is done.")
        if counts[0] >= max_waiting:
            raise FullError(f"{counts[0]} songs are waiting already. Try again later.")

    def get(self, id_):
        """A song: Entry, or None."""
        with self._connected() as database:
            return _entry(database.execute("SELECT * FROM songs WHERE id = ?", (id_,)))

    def touch(self, id_):
        """Note that a piece of an upload has arrived."""
        self._change("touched = ?", "id = ? AND state = ?", self._now(), id_, UPLOADING)

    def enqueue(self, id_, max_waiting, max_each):
        """Let a song wait for a worker, once it is uploaded, if there is room as for `add`: uploads may be slow."""
        with self._transaction() as database:
            found = database.execute("SELECT sender FROM songs WHERE id = ? AND state = ?", (id_, UPLOADING)).fetchone()
            if found is None:
                return
            self._check_room(database, found[0], max_waiting, max_each)
            database.execute("UPDATE songs SET state = ?, queued = ? WHERE id = ?", (WAITING, self._now(), id_))

    def delete(self, id_):
        """Forget a song; whoever works on it notices at the next `beat`."""
        with self._connected() as database:
            database.execute("DELETE FROM songs WHERE id = ?", (id_,))

    def ahead(self, entry):
        """How many songs are to be done before one that is waiting, those that are being worked on included."""
        with self._connected() as database:
            return database.execute(
                "SELECT COUNT(*) FROM songs WHERE state = ? OR (state = ? AND (queued, id) < (?, ?))",
                (RUNNING, WAITING, entry.queued, entry.id),
            ).fetchone()[0]

    def bytes_to_come(self):
        """How many bytes uploads have announced that are going on: int."""
        with self._connected() as database:
            return int(
                database.execute(
                    "SELECT COALESCE(SUM(bytes), 0) FROM songs WHERE state = ? AND touched > ?",
                    (UPLOADING, self._now() - STALLED),
                ).fetchone()[0]
            )

    def counts(self):
        """How many songs are in each state: {state: int}."""
        with self._connected() as database:
            return dict(database.execute("SELECT state, COUNT(*) FROM songs GROUP BY state").fetchall())

    def mean_seconds(self):
        """The mean time that the latest songs took, in seconds."""
        with self._connected() as database:
            found = database.execute(
                "SELECT AVG(ended - started) FROM "
                "(SELECT * FROM songs WHERE state = ? ORDER BY ended DESC LIMIT ?) AS recent",
                (DONE, RECENT),
            ).fetchone()[0]
        return FIRST_GUESS if found is None else found

    def created_before(self, then, stalled_since):
        """The ids of the songs that were sent before a time, and of uploads without a piece since another."""
        with self._connected() as database:
            rows = database.execute(
                "SELECT id FROM songs WHERE created < ? OR (state = ? AND touched < ?)",
                (then, UPLOADING, stalled_since),
            ).fetchall()
        return [row[0] for row in rows]

    def ids(self):
        """The ids of all songs: set of str."""
        with self._connected() as database:
            return {row[0] for row in database.execute("SELECT id FROM songs").fetchall()}

    # ---- for workers ----

    def claim(self, worker):
        """Take the song that has waited longest: Entry, or None. No other worker gets it while this one renews it."""
        with self._transaction() as database:
            self._requeue(database, "lease < ?", self._now())
            row = database.execute(
                "SELECT id FROM songs WHERE state = ? ORDER BY queued, id LIMIT 1", (WAITING,)
            ).fetchone()
            if row is None:
                return None
            now = self._now()
            database.execute(
                "UPDATE songs SET state = ?, worker = ?, lease = ?, started = ?, tries = tries + 1, stage = '', "
                "share = 0 WHERE id = ?",
                (RUNNING, worker, now + LEASE, now, row[0]),
            )
            return _entry(database.execute("SELECT * FROM songs WHERE id = ?", (row[0],)))

    def beat(self, id_, worker, stage, share, facts):
        """Renew the lease and say how far a song is; whether it is still this worker's."""
        return self._mine(
            "lease = ?, stage = ?, share = ?, facts = ?",
            id_,
            worker,
            self._now() + LEASE,
            stage,
            share,
            json.dumps(facts),
        )

    def finish(self, id_, worker, facts):
        """Note that a song is done."""
        changes = "state = ?, worker = NULL, ended = ?, share = 1, facts = ?"
        return self._mine(changes, id_, worker, DONE, self._now(), json.dumps(facts))

    def fail(self, id_, worker, note):
        """Note that a song cannot be done, and why."""
        return self._mine("state = ?, worker = NULL, ended = ?, note = ?", id_, worker, FAILED, self._now(), note)

    def release(self, worker, blame=True):
        """Give back the song of a worker that has ended; without `blame`, this does not count as a try."""
        with self._transaction() as database:
            if not blame:
                database.execute("UPDATE songs SET tries = tries - 1 WHERE worker = ? AND state = ?", (worker, RUNNING))
            self._requeue(database, "worker = ?", worker)

    def release_all(self):
        """Give back what any worker holds, where it is certain that none is left."""
        with self._transaction() as database:
            self._requeue(database, "worker > ?", "")

    def _requeue(self, database, which, value):
        """Let running songs wait again, or give them up after TRIES."""
        running = f"state = '{RUNNING}' AND {which}"
        database.execute(
            f"UPDATE songs SET state = ?, note = ?, worker = NULL, ended = ? WHERE tries >= ? AND {running}",
            (FAILED, GAVE_UP, self._now(), TRIES, value),
        )
        database.execute(f"UPDATE songs SET state = ?, worker = NULL WHERE {running}", (WAITING, value))

    def _now(self):
        """Seconds since 1970, by a clock that all workers share."""
        return time.time()

    def _mine(self, changes, id_, worker, *values):
        return self._change(changes, "id = ? AND worker = ? AND state = ?", *values, id_, worker, RUNNING) == 1

    def _change(self, changes, which, *values):
        """How many songs were changed."""
        with self._connected() as database:
            return database.execute(f"UPDATE songs SET {changes} WHERE {which}", values).rowcount

    @contextlib.contextmanager
    def _connected(self):
        """A connection, whose errors become QueueErrors."""
        try:
            with self._connection() as database:
                yield database
        except self.ERRORS as error:
            raise QueueError(f"The queue{self._place()} cannot be used ({error}). {self.ADVICE}") from error

    def _place(self):
        return f" in {self._path}"

    def _connection(self):
        return contextlib.closing(sqlite3.connect(self._path, timeout=30, isolation_level=None))

    @contextlib.contextmanager
    def _transaction(self):
        with self._connected() as database:
            for command in self.BEGIN:
                database.execute(command)
            try:
                yield database
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")


def digest(text):
    """The checksum of a key, or of a sender's address."""
    return hashlib.sha256(text.encode()).hexdigest()


def _entry(cursor):
    """The first row of an answer as an Entry, or None."""
    row = cursor.fetchone()
    if row is None:
        return None
    values = dict(zip((column[0] for column in cursor.description), row, strict=True))
    return Entry(**values | {name: json.loads(values[name]) for name in ("options", "facts")})
