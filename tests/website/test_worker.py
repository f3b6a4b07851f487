"""A worker and the folder of its song: only the one that has the song may change it."""

import threading

import pytest

from muscomp_lib.core.errors import DiskFullError
from muscomp_lib.website import stages, worker
from muscomp_lib.website.queue import DONE, Queue, QueueError
from muscomp_lib.website.songs import FILE, Songs
from muscomp_lib.website.worker import Worker


@pytest.fixture
def queue(tmp_path):
    return Queue(tmp_path / FILE)


@pytest.fixture
def songs(tmp_path):
    return Songs(tmp_path)


@pytest.fixture
def entry(queue, songs, monkeypatch):
    """A song that worker "a" has, with its upload; `work` goes on until it is stopped."""
    monkeypatch.setattr(worker, "BEAT", 0.01)
    id_, *_ = queue.add("", "Song", ".mp3", 1, {}, max_waiting=9, max_each=9)
    queue.enqueue(id_, 9, 9)
    entry = queue.claim("a")
    place = songs.of(entry)
    place.path.mkdir()
    place.upload.write_bytes(b"la")
    monkeypatch.setattr(stages, "work", until_stopped)
    return entry


def until_stopped(entry, place, models, max_minutes, progress):
    while not progress.stopped:
        threading.Event().wait(0.005)
    raise stages.StopError


def work(queue, songs, entry):
    Worker(queue, songs, None, "a", 9, 9).work(entry)


def test_a_worker_waits_for_a_database_that_is_away(queue, songs, entry, monkeypatch):
    queue.release("a", blame=False)
    answers = iter([QueueError("away"), QueueError("away"), queue.claim("a")])

    def claim(_):
        answer = next(answers)
        if isinstance(answer, QueueError):
            raise answer
        return answer

    monkeypatch.setattr(worker, "PAUSE", 0)
    monkeypatch.setattr(queue, "claim", claim)
    monkeypatch.setattr(stages, "work", lambda *_: None)
    with pytest.raises(StopIteration):
        Worker(queue, songs, None, "a", 9, 9).run()
    assert queue.get(entry.id).state == DONE


def test_a_worker_that_lost_its_song_leaves_its_folder(queue, songs, entry):
    queue.release("a", blame=False)
    assert queue.claim("b").id == entry.id
    work(queue, songs, entry)
    assert songs.of(entry).upload.is_file() and queue.get(entry.id).worker == "b"


def test_what_is_written_after_a_deletion_is_deleted(queue, songs, entry):
    queue.delete(entry.id)
    work(queue, songs, entry)
    assert not songs.of(entry).path.exists()


def test_the_upload_is_kept_until_the_song_is_done(queue, songs, entry, monkeypatch):
    there = []
    finish = queue.finish

    def watched(*given):
        there.append(songs.of(entry).upload.is_file())
        return finish(*given)

    monkeypatch.setattr(stages, "work", lambda *_: None)
    monkeypatch.setattr(queue, "finish", watched)
    work(queue, songs, entry)
    assert there == [True] and queue.get(entry.id).state == DONE and not songs.of(entry).upload.exists()


def test_senders_get_no_advice_on_a_full_disk(queue, songs, entry, monkeypatch):
    def fill(*_):
        raise DiskFullError("No room left to write song.flac. Free some space on that disk and run this again.")

    monkeypatch.setattr(stages, "work", fill)
    work(queue, songs, entry)
    assert queue.get(entry.id).note == worker.NO_ROOM


def unreachable(_):
    raise QueueError("The database is away.")


def test_a_worker_that_does_not_stop_is_ended(queue, songs, entry, monkeypatch):
    ended = threading.Event()
    monkeypatch.setattr(worker, "GRACE", 0.01)
    monkeypatch.setattr(worker.os, "_exit", lambda _: ended.set())
    monkeypatch.setattr(stages, "work", lambda *_: ended.wait(20))
    monkeypatch.setattr(queue, "get", unreachable)
    queue.delete(entry.id)
    with pytest.raises(QueueError):
        work(queue, songs, entry)
    assert ended.is_set()
