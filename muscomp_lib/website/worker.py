"""A process that separates the songs of the website's queue, one after the other, with its models loaded.

    python -m muscomp_lib.website.worker < settings.json

It ends when its standard input does, however the process at the other end was ended. While it works, a second thread
renews its lease: where the song was deleted, the worker stops at its next step, or else ends, and is started again.
"""

import json
import logging
import os
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path

from muscomp_lib.core.errors import DiskFullError, MusCompError
from muscomp_lib.core.root import Root
from muscomp_lib.website.queue import QueueError
from muscomp_lib.website.songs import Songs, open_queue

POLL = 0.25  # seconds between two queries of an empty queue
PAUSE = 5.0  # seconds until a queue that could not be used is tried again
BEAT = 0.4  # seconds between two signs of life
GRACE = 0.8  # seconds to stop by itself: with these, a song is stopped within two
NICE = 10  # behind the process that answers the browsers
STOPPED = 3  # exit status after a song that did not stop
UNEXPECTED = "Something went wrong while working on this song. The operator's log has the details."
NO_ROOM = "The disk of this server is full. Send the song again later, when older ones are deleted."

log = logging.getLogger(__name__)


class Worker:
    """Works on songs until the process ends.

    Parameters
    ----------
    queue : queue.Queue
    songs : songs.Songs
    models : stages.Models
    name : str
        Unlike any other worker's.
    max_minutes, max_job_minutes : float
        Of a song, and of the work on it.
    """

    def __init__(self, queue, songs, models, name, max_minutes, max_job_minutes):
        self._queue, self._songs, self._models, self._name = queue, songs, models, name
        self._max_minutes, self._max_seconds = max_minutes, 60 * max_job_minutes

    def run(self):
        """Take songs as they come; a database that is away may come back."""
        while True:
            try:
                entry = self._queue.claim(self._name)
            except QueueError as error:
                log.error("%s", error)
                time.sleep(PAUSE)
                continue
            if entry is None:
                time.sleep(POLL)
            else:
                self.work(entry)

    def work(self, entry):
        """Work on a song of this worker; whatever goes wrong is noted for its sender."""
        from muscomp_lib.website import stages

        progress, ended, self._began = stages.Progress(), threading.Event(), time.monotonic()
        progress.facts = dict(entry.facts)
        keeper = threading.Thread(target=self._keep, args=(entry, progress, ended), daemon=True)
        keeper.start()
        note = ""
        try:
            stages.work(entry, self._songs.of(entry), self._models, self._max_minutes, progress)
        except stages.StopError:
            log.info("%.6s: stopped", entry.id)
        except (MusCompError, OSError) as error:
            note = self._for_sender(entry, error)
        except Exception:
            log.exception("%.6s: failed", entry.id)
            note = UNEXPECTED
        ended.set()
        keeper.join()
        self._end(entry, note, progress)

    def _for_sender(self, entry, error):
        """What its sender reads of an error: without the places of files on this machine."""
        log.info("%.6s: %s", entry.id, type(error).__name__)
        if isinstance(error, DiskFullError):
            return NO_ROOM
        place = self._songs.of(entry)
        return str(error).replace(str(place.upload), "This file").replace(str(place.path), "the server")

    def _end(self, entry, note, progress):
        if progress.stopped:
            self._remove_deleted(entry)
        elif note:
            self._queue.fail(entry.id, self._name, note)
        elif self._queue.finish(entry.id, self._name, progress.facts):
            self._songs.of(entry).upload.unlink(missing_ok=True)  # a song that is tried again would need it
            log.info("%.6s: done in %.1f s", entry.id, time.monotonic() - self._began)

    def _remove_deleted(self, entry):
        """Delete what was written since a song was deleted; one that another worker has now is not touched."""
        if self._queue.get(entry.id) is None:
            self._songs.of(entry).remove()

    def _keep(self, entry, progress, ended):
        """Renew the lease until the work has ended; end it where the song is gone or takes too long."""
        while not ended.wait(BEAT):
            if time.monotonic() - self._began > self._max_seconds:
                minutes = f"{self._max_seconds / 60:g} minutes"
                note = f"This song took more than {minutes} of work, and was given up."
                self._exit_after(partial(self._queue.fail, entry.id, self._name, note))
            try:
                is_mine = self._queue.beat(entry.id, self._name, progress.stage, progress.share, progress.facts)
            except QueueError as error:  # the lease holds for a while
                log.error("%.6s: %s", entry.id, error)
                continue
            if not is_mine:
                progress.stopped = True
                if not ended.wait(GRACE):
                    self._exit_after(partial(self._remove_deleted, entry))
                return

    def _exit_after(self, last):
        """End this process, whatever becomes of the last that it does."""
        try:
            last()
        except QueueError as error:
            log.error("%s", error)
        finally:
            os._exit(STOPPED)


def main():
    """Work with the settings that are the first line of standard input, until it ends."""
    given = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_input, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    logging.basicConfig(format="%(asctime)s worker %(process)d %(message)s", level=logging.WARNING)
    log.setLevel(logging.INFO)
    logging.getLogger("muscomp_lib.audio").setLevel(logging.ERROR)  # their warnings name files
    os.nice(NICE)
    from muscomp_lib.website import stages

    place, models = Path(given["place"]), stages.Models(Root(Path(given["root"])))
    models.load(given["model"], stages.Progress().bar)
    Worker(
        open_queue(place, given["queue"]),
        Songs(place),
        models,
        given["name"],
        given["max_minutes"],
        given["max_job_minutes"],
    ).run()


def _end_with_input():
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
