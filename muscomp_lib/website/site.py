"""The website as a whole: the server, its workers, and what keeps them going. `muscomp serve` runs it.

This process answers the browsers. It starts the workers and holds the other end of their standard input: when it ends,
however it does, that closes, and they end, too. A worker that ends is replaced, and its song given back.
"""

import contextlib
import errno
import itertools
import json
import logging
import os
import platform
import socket
import subprocess
import sys
import threading
import time
from functools import partial

from muscomp_lib.core.errors import SettingError
from muscomp_lib.core.files import locked, make_folder
from muscomp_lib.website.server import Api, app, environment, offered
from muscomp_lib.website.songs import FILE, Songs, open_queue

MARK = "lock"  # the file that shows that a folder is a site's; the site that has the folder holds it
WATCH = 0.2  # seconds between two checks of the workers
SWEEP = 60.0  # seconds between two deletions of what is too old
SHORT_LIFE, PAUSE = 5.0, 5.0  # seconds: a worker that lived for less is replaced after a pause
STALE_UPLOAD = 3600.0  # seconds without a piece until half an upload is deleted
GOODBYE = 5.0  # seconds for answers that are being sent, and for workers, when the site stops

log = logging.getLogger("muscomp_lib.website")


def serve(settings, root, ready):
    """Run the website until it is stopped by Ctrl-C or SIGTERM; in another thread than the main one, until the end.

    Parameters
    ----------
    settings : settings.Settings
    root : core.root.Root
        With the operator's own models.
    ready : callable
        Called once, with the address (str) at which it can be opened.

    Raises
    ------
    SettingError
        The address is taken or not this machine's; another site has the folder; a model is unknown.
    """
    import uvicorn

    log.setLevel(logging.INFO)
    with _held(settings) as place, _listening(settings.host, settings.port) as listener:
        queue, songs = open_queue(place, settings.queue), Songs(place)
        api = Api(settings, queue, songs, root)
        sweep = partial(_sweep, api, queue, songs, settings.keep_hours)
        crew = Crew(queue, settings.n_workers, _for_workers(settings, place, root, api.models), sweep)

        @contextlib.asynccontextmanager
        async def lifespan(_):
            crew.start()
            yield
            crew.stop()

        config = uvicorn.Config(
            app(api, settings, lifespan), log_config=None, access_log=False, server_header=False,
            proxy_headers=bool(settings.proxies), forwarded_allow_ips=settings.proxies or "",
            timeout_graceful_shutdown=int(GOODBYE), ws="none",
        )  # fmt: skip
        ready(f"http://{_address(listener)}/")
        uvicorn.Server(config).run(sockets=[listener])


def work(settings, root, ready):
    """Run workers alone, for the site on another machine that has the same queue and folder, until they are stopped.

    Parameters
    ----------
    settings, root
        As for `serve`.
    ready : callable
        Called once, with the folder (Path).
    """
    log.setLevel(logging.INFO)
    place = _own_folder(settings.place)
    for_workers = _for_workers(settings, place, root, offered(settings.models, root))
    crew = Crew(open_queue(place, settings.queue), settings.n_workers, for_workers)
    crew.start()
    try:
        ready(place)
        threading.Event().wait()
    finally:
        crew.stop()


def _for_workers(settings, place, root, models):
    """The settings of workers (`worker.main`), except their names."""
    given = {"place": str(place), "queue": settings.queue, "root": str(root.path), "model": models[0][1].name}
    return given | {"max_minutes": settings.max_minutes, "max_job_minutes": settings.max_job_minutes}


@contextlib.contextmanager
def _held(settings):
    """The folder of the site, which no other has at the same time."""
    place = _own_folder(settings.place)
    try:
        with locked(place / MARK, wait=False):
            yield place
    except BlockingIOError:
        raise SettingError(f"Another site has the folder {place}. Stop it, or give --folder another one.") from None


def _own_folder(place):
    """The folder of a site, made and marked as ours; one with files of others is refused, as songs are deleted."""
    is_new = not place.exists()
    make_folder(place)
    if is_new:
        place.chmod(0o700)
    if any(place.iterdir()) and not any((place / mark).is_file() for mark in (MARK, FILE)):
        raise SettingError(f"The folder {place} has files in it, and no site made them. Give --folder an empty one.")
    try:
        (place / MARK).touch()
    except OSError as error:
        raise SettingError(
            f"The folder {place} cannot be written to ({error.strerror}). Give --folder another one."
        ) from error
    return place


@contextlib.contextmanager
def _listening(host, port):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen()
        except OSError as error:
            is_port = error.errno in (errno.EADDRINUSE, errno.EACCES)
            advice = "Give --port another one" if is_port else "--host is an address of this machine; 0.0.0.0 is all"
            raise SettingError(f"--host {host} --port {port}: {error.strerror}. {advice}.") from None
        yield listener


def _address(listener):
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _sweep(api, queue, songs, keep_hours):
    """Delete what is too old, half uploads that nobody goes on with, and folders without a song."""
    now = time.time()
    for id_ in queue.created_before(now - 3600 * keep_hours, now - STALE_UPLOAD):
        api.forget(id_)
        log.info("%.6s: deleted, as it is too old", id_)
    songs.remove_others(queue.ids)


class Crew:
    """The workers of a site, and a thread that replaces those that end.

    Parameters
    ----------
    queue : queue.Queue
    n_workers : int
    given : dict
        A worker's settings (`worker.main`), except its name.
    sweep : callable, optional
        Called now and then.
    """

    def __init__(self, queue, n_workers, given, sweep=lambda: None):
        self._queue, self._given, self._sweep = queue, given, sweep
        self._slots, self._numbers = [None] * n_workers, itertools.count()
        self._stopped, self._thread = threading.Event(), threading.Thread(target=self._watch, daemon=True)

    def start(self):
        """Start the workers; what those of an earlier site held is given back."""
        self._queue.release_all()
        self._thread.start()

    def stop(self):
        """End the workers; their songs wait until the site is started again."""
        self._stopped.set()
        self._thread.join()
        for worker in filter(None, self._slots):
            worker.end()
        for worker in filter(None, self._slots):
            worker.wait()
            with _reported("a song could not be given back"):
                self._queue.release(worker.name, blame=False)

    def _watch(self):
        sweep_at = 0.0
        while not self._stopped.wait(WATCH):
            with _reported("the workers could not be looked after"):
                self._replace()
            if time.monotonic() > sweep_at:
                sweep_at = time.monotonic() + SWEEP
                with _reported("what is too old could not be deleted"):
                    self._sweep()

    def _replace(self):
        for slot, worker in enumerate(self._slots):
            if worker is None or worker.is_replaceable():
                self._slots[slot] = WorkerProcess(self._given, next(self._numbers))
            elif worker.has_ended():
                log.warning("A worker has ended; another one takes its place.")
                self._queue.release(worker.name)


@contextlib.contextmanager
def _reported(what):
    """Log whatever goes wrong, such as on a full disk: the thread has to go on, and the next time may be better."""
    try:
        yield
    except Exception as error:
        log.error("%s: %s", what.capitalize(), error)


class WorkerProcess:
    """A worker that this process has started. It is in a session of its own, so that Ctrl-C does not reach it."""

    def __init__(self, given, number):
        self.name = f"{platform.node()}-{os.getpid()}-{number}"
        self._began, self._ended_at = time.monotonic(), None
        self._process = subprocess.Popen(
            [sys.executable, "-m", "muscomp_lib.website.worker"], stdin=subprocess.PIPE, start_new_session=True,
            env=environment(), text=True,
        )  # fmt: skip
        with contextlib.suppress(OSError):  # one that has ended already is replaced after a pause
            self._process.stdin.write(json.dumps(given | {"name": self.name}) + "\n")
            self._process.stdin.flush()

    def has_ended(self):
        """Whether it has ended since this was asked last."""
        if self._ended_at is None and self._process.poll() is not None:
            self._ended_at = time.monotonic()
            self.end()  # closes our side of its pipe, too
            return True
        return False

    def is_replaceable(self):
        """Whether it has ended, and another may start: at once, or after a pause where it ended too soon."""
        if self._ended_at is None:
            return False
        pause = PAUSE if self._ended_at - self._began < SHORT_LIFE else 0.0
        return time.monotonic() >= self._ended_at + pause

    def end(self):
        """Let it end."""
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def wait(self):
        """Wait until it has ended; one that does not is killed."""
        try:
            self._process.wait(GOODBYE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
