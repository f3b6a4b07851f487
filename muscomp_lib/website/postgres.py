"""The queue on Postgres, for workers on several machines, which share nothing else but the songs' folder.

It is `queue.Queue` in the same SQL. A library of its own for this, such as Procrastinate, would bring a second table of
jobs with tries and leases beside the songs', which both would have to agree on. psycopg is in requirements-hosting.txt.
"""

import contextlib
import threading

from muscomp_lib.core.errors import SettingError
from muscomp_lib.website.queue import Queue, QueueError

LOCK = 2100  # number of the advisory lock for this table's creation


class PostgresQueue(Queue):
    """The queue in a database.

    Parameters
    ----------
    url : str
        `postgresql://user@host/database`; what it does not name is taken from Postgres' environment variables.

    Raises
    ------
    SettingError
        psycopg is not installed, or the database cannot be reached.
    """

    ADVICE = "Check the database, and the address."
    BEGIN = ("BEGIN", "LOCK TABLE songs IN EXCLUSIVE MODE")
    PREPARE = ("BEGIN", f"SELECT pg_advisory_xact_lock({LOCK})")  # or two that begin together would both create it

    def __init__(self, url):
        try:
            import psycopg
        except ImportError as error:
            raise SettingError("A queue on Postgres needs psycopg: pip install -r requirements-hosting.txt") from error
        self.ERRORS, self._connect, self._threads = psycopg.Error, psycopg.connect, threading.local()
        try:
            super().__init__(url)
            self._threads.connection.execute("COMMIT")
        except QueueError as error:
            raise SettingError(f"--queue: {error}") from error

    def release_all(self):
        """Nothing: workers of other machines may be at work, and the leases of those that are not run out."""

    def _place(self):
        return ""  # the address may hold a password

    def _now(self):
        """The database's time: those of several machines differ, and a lease could run out at once."""
        with self._connected() as database:
            return database.execute("SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS FLOAT8)").fetchone()[0]

    @contextlib.contextmanager
    def _connection(self):
        """The connection of this thread, which stays open; after an error it is opened again."""
        connection = getattr(self._threads, "connection", None)
        if connection is None or connection.closed:
            connection = self._threads.connection = self._connect(self._path, autocommit=True)
        try:
            yield _Marked(connection)
        except self.ERRORS:
            connection.close()
            raise


class _Marked:
    """A connection that takes `?` for a value, as SQLite does."""

    def __init__(self, connection):
        self._connection = connection

    def execute(self, command, values=()):
        return self._connection.execute(command.replace("?", "%s"), values)
