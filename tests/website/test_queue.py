"""The queue: each song is worked on by one worker at a time, and by none for ever."""

import threading
from pathlib import Path

import pytest
from fixtures.postgres import postgres

from muscomp_lib.website import queue as queues
from muscomp_lib.website.postgres import PostgresQueue
from muscomp_lib.website.queue import DONE, FAILED, RUNNING, TRIES, WAITING, FullError, Queue, QueueError

NO_LIMITS = {"max_waiting": 1000, "max_each": 1000}


@pytest.fixture(scope="module")
def database():
    with postgres() as address:
        yield address


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.full)])
def another(request, tmp_path):
    """Opens the same queue, which is empty, as another process does."""
    if request.param == "sqlite":
        return lambda: Queue(tmp_path / "queue.sqlite")
    address = request.getfixturevalue("database")
    with PostgresQueue(address)._connected() as songs:
        songs.execute("DELETE FROM songs")
    return lambda: PostgresQueue(address)


@pytest.fixture
def queue(another):
    return another()


def add(queue, sender="somebody", wait=True, **limits):
    id_, *_ = queue.add(sender, "Song", ".mp3", 1000, {"model": "shipped"}, **(NO_LIMITS | limits))
    if wait:
        queue.enqueue(id_, **NO_LIMITS)
    return id_


def test_a_song_goes_from_its_sender_to_a_worker(queue):
    id_ = add(queue, wait=False)
    assert queue.claim("a") is None  # not before all of it is there
    queue.enqueue(id_, **NO_LIMITS)
    entry = queue.claim("a")
    assert (entry.id, entry.title, entry.options, entry.tries) == (id_, "Song", {"model": "shipped"}, 1)
    assert queue.beat(id_, "a", "Separating", 0.3, {"pieces": 2})
    assert (queue.get(id_).stage, queue.get(id_).facts) == ("Separating", {"pieces": 2})
    assert queue.finish(id_, "a", {"tempo": 120})
    assert (queue.get(id_).state, queue.get(id_).share, queue.get(id_).facts) == (DONE, 1.0, {"tempo": 120})


def test_a_file_may_have_more_than_two_gigabytes(queue):
    id_, *_ = queue.add("somebody", "Song", ".wav", 3_000_000_000, {}, **NO_LIMITS)
    assert queue.get(id_).bytes == queue.bytes_to_come() == 3_000_000_000


def test_no_song_is_given_to_two_workers(queue, another):
    ids, taken = [add(queue) for _ in range(20)], []

    def work(name):
        its = another()
        while entry := its.claim(name):
            taken.append(entry.id)

    threads = [threading.Thread(target=work, args=(str(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(ids)


def test_the_song_that_waited_longest_is_next(queue):
    ids = [add(queue) for _ in range(3)]
    assert [queue.ahead(queue.get(id_)) for id_ in ids] == [0, 1, 2]
    assert queue.claim("a").id == ids[0]
    assert [queue.ahead(queue.get(id_)) for id_ in ids[1:]] == [1, 2]


def test_a_worker_without_signs_of_life_loses_its_song(queue, monkeypatch):
    id_ = add(queue)
    monkeypatch.setattr(queues, "LEASE", -1.0)
    queue.claim("lost")
    monkeypatch.undo()
    assert queue.claim("next").id == id_
    assert not queue.beat(id_, "lost", "", 0.9, {})
    assert not queue.finish(id_, "lost", {}) and not queue.fail(id_, "lost", "")
    assert queue.beat(id_, "next", "", 0.1, {})


def test_a_song_that_ends_its_workers_is_given_up(queue):
    id_ = add(queue)
    for number in range(TRIES):
        assert queue.claim(str(number)).id == id_
        queue.release(str(number))
    assert (queue.claim("x"), queue.get(id_).state, queue.get(id_).note) == (None, FAILED, queues.GAVE_UP)


def test_an_orderly_stop_of_the_site_is_no_try(queue):
    id_ = add(queue)
    for _ in range(2 * TRIES):
        assert queue.claim("a").id == id_
        queue.release("a", blame=False)
    assert queue.get(id_).state == WAITING


def test_what_is_deleted_is_no_longer_the_workers(queue):
    id_ = add(queue)
    queue.claim("a")
    queue.delete(id_)
    assert not queue.beat(id_, "a", "", 0.5, {}) and queue.get(id_) is None and queue.claim("b") is None


def test_there_are_only_so_many_songs_of_a_sender(queue):
    add(queue, "one")
    add(queue, "one", wait=False)
    with pytest.raises(FullError, match="2 of your songs are waiting already"):
        add(queue, "one", max_each=2)
    add(queue, "another", max_each=2)
    with pytest.raises(FullError, match="3 songs are waiting already"):
        add(queue, "third", max_waiting=3)


def test_uploading_slowly_passes_no_limit(queue, monkeypatch):
    monkeypatch.setattr(queues, "STALLED", -1.0)
    first, second = add(queue, "one", wait=False), add(queue, "one", wait=False, max_each=1)
    queue.enqueue(first, max_waiting=9, max_each=1)
    queue.enqueue(first, max_waiting=9, max_each=1)  # once more is nothing
    with pytest.raises(FullError, match="1 of your songs are waiting already"):
        queue.enqueue(second, max_waiting=9, max_each=1)
    assert queue.claim("a").id == first and queue.claim("a") is None
    queue.finish(first, "a", {})
    queue.enqueue(second, max_waiting=9, max_each=1)
    assert queue.claim("a").id == second


def test_what_uploads_will_bring_is_known(queue, monkeypatch):
    assert queue.bytes_to_come() == 0
    add(queue, wait=False)
    add(queue, wait=False)
    add(queue)
    assert queue.bytes_to_come() == 2000
    monkeypatch.setattr(queues, "STALLED", -1.0)
    assert queue.bytes_to_come() == 0


def test_half_an_upload_does_not_count_for_ever(queue, monkeypatch):
    add(queue, "one", wait=False)
    monkeypatch.setattr(queues, "STALLED", -1.0)
    add(queue, "one", max_each=1)


def test_old_songs_and_stalled_uploads_are_found(queue):
    done, stalled = add(queue), add(queue, wait=False)
    entry = queue.claim("a")
    queue.finish(done, "a", {})
    assert queue.created_before(entry.created + 0.001, 0.0) == [done]
    assert queue.created_before(0.0, queue.get(stalled).touched + 1) == [stalled]


def test_the_time_of_the_latest_songs_is_the_estimate(queue):
    assert queue.mean_seconds() == queues.FIRST_GUESS
    add(queue)
    queue.finish(queue.claim("a").id, "a", {})
    assert queue.mean_seconds() < 5


def test_nobody_who_reads_the_queue_can_open_a_song(queue):
    id_, key, listen = queue.add("192.0.2.7", "Song", ".mp3", 1000, {}, **NO_LIMITS)
    with queue._connected() as songs:
        stored = str(list(songs.execute("SELECT * FROM songs")))
    if isinstance(queue._path, Path):
        stored += str([path.read_bytes() for path in queue._path.parent.iterdir()])
    assert id_ in stored
    assert not any(secret in stored for secret in (key, listen, "192.0.2.7"))


def test_a_site_that_was_killed_gives_its_songs_back(tmp_path):
    queue = Queue(tmp_path / "queue.sqlite")
    id_ = add(queue)
    queue.claim("a")
    queue.release_all()
    assert queue.get(id_).state == WAITING


def test_a_queue_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "queue.sqlite").write_text("no database, but a text of some length that is none" * 20)
    with pytest.raises(QueueError, match=r"in .*queue\.sqlite cannot be used \(.*\)\. Give --folder"):
        Queue(tmp_path / "queue.sqlite")


def test_running_songs_are_counted(queue):
    add(queue)
    add(queue)
    queue.claim("a")
    assert queue.counts() == {RUNNING: 1, WAITING: 1}
