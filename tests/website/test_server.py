"""The answers of the website, without a network: uploads that break off, and mixes that many ask for at once."""

import asyncio
import json
import sys
import threading
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

pytest.importorskip("starlette")

from starlette.exceptions import HTTPException

from muscomp_lib.core.errors import DiskFullError, MissingError, SettingError
from muscomp_lib.core.root import Root
from muscomp_lib.website import http, server, site, songs, window
from muscomp_lib.website.queue import Queue, QueueError
from muscomp_lib.website.server import Api
from muscomp_lib.website.settings import Settings
from muscomp_lib.website.songs import FILE, Songs


def taken(path, *chunks, at="0", n_bytes=1000, breaks_off=False):
    """The status and the answer where a piece of these chunks is sent."""

    async def stream():
        for chunk in chunks:
            yield chunk
        if breaks_off:
            await asyncio.Event().wait()

    request = SimpleNamespace(query_params={"at": at}, stream=stream)
    answer = asyncio.run(http.take_piece(request, path, n_bytes))
    return answer.status_code, json.loads(answer.body)


def test_a_dead_connection_leaves_an_upload_that_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(http, "SILENCE", 0.05)
    path = tmp_path / "song"
    assert taken(path, b"la", b"", b"lu", breaks_off=True) == (200, {"next": 4})
    assert taken(path, b"lala", at="4") == (200, {"next": 8})
    assert path.read_bytes() == b"lalulala"


@pytest.mark.parametrize("at", ["1", "", "-1", "x", 5000 * "1"])
def test_a_piece_of_elsewhere_is_refused(tmp_path, at):
    assert taken(tmp_path / "song", b"la", at=at) == (409, {"next": 0})


@pytest.mark.parametrize(("n_bytes", "reason"), [(1000, "announced"), (1 << 30, "A piece has at most 8.4 MB")])
def test_too_much_at_once_is_refused_with_the_reason(tmp_path, n_bytes, reason):
    with pytest.raises(HTTPException, match=reason):
        taken(tmp_path / "song", bytes(9_000_000), n_bytes=n_bytes)


def test_a_database_that_is_away_is_not_a_full_disk():
    assert http.queue_error(None, QueueError("away")).status_code == 503


def test_a_notebook_learns_why_its_site_did_not_start(monkeypatch):
    reported = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _: reported.set())
    monkeypatch.setattr(window.site, "serve", lambda *_: sys.exit(1))  # as uvicorn does
    with pytest.raises(SystemExit):
        window._started.__wrapped__(None)
    assert reported.wait(20)


def test_a_worker_that_has_ended_leaves_no_pipe_open(monkeypatch):
    process = Mock(**{"poll.return_value": 1})
    monkeypatch.setattr(site.subprocess, "Popen", lambda *_, **__: process)
    worker = site.WorkerProcess({}, 1)
    assert worker.has_ended() and not worker.has_ended()
    process.stdin.close.assert_called_once_with()


def test_an_address_of_elsewhere_is_no_ports_fault():
    with pytest.raises(SettingError, match=r"--host is an address of this machine"), site._listening("192.0.2.1", 0):
        pass
    with site._listening("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingError, match=r"Give --port another one"), site._listening("127.0.0.1", port):
            pass


def test_a_site_whose_database_is_away_ends_all_workers():
    waited = []

    class Away:
        def release_all(self):
            pass

        def release(self, *_, **__):
            raise QueueError("away")

    crew = site.Crew(Away(), 0, {})
    crew.start()
    crew._slots = [SimpleNamespace(name=name, end=lambda: None, wait=lambda n=name: waited.append(n)) for name in "ab"]
    crew.stop()
    assert waited == ["a", "b"]


def test_browsers_are_asked_for_passwords_in_utf8():
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(http.Headers(None, "Käse")({"type": "http", "headers": []}, None, send))
    assert sent[0]["status"] == 401
    assert dict(sent[0]["headers"])[b"www-authenticate"] == b'Basic realm="Mus-Comp", charset="UTF-8"'


@pytest.fixture
def api(tmp_path):
    return Api(Settings(keep_free_gb=0), Queue(tmp_path / FILE), Songs(tmp_path), Root(tmp_path))


def enter(api, n_bytes=1000):
    return json.loads(api._add({"name": "a.mp3", "bytes": n_bytes}, "somebody").body)


def test_uploads_that_are_announced_need_room_too(api, monkeypatch):
    monkeypatch.setattr(server.shutil, "disk_usage", lambda _: SimpleNamespace(free=1500))
    enter(api)
    with pytest.raises(DiskFullError):
        enter(api)
    enter(api, 500)


@pytest.mark.parametrize("n_bytes", [0, 10**400])
def test_an_impossible_size_is_refused_in_a_sentence(api, n_bytes):
    with pytest.raises(SettingError, match=r"^The request: bytes = .* is not possible. It must be a whole number"):
        enter(api, n_bytes)


@pytest.mark.parametrize("number", ["1", "99999999999", 5000 * "9", "-1", "²"])
def test_a_piece_that_is_not_there_is_missing(api, number):
    song = enter(api)
    params = {"id": song["id"], "number": number}
    with pytest.raises(MissingError):
        api.piece(SimpleNamespace(path_params=params, query_params={"key": song["key"]}, headers={}))
    assert all("int}" not in route.path for route in api.routes()), "it reads thousands of digits, and fails"


def asked_for(song, method="GET", **path):
    """A request for something of a song."""
    query = {"key": song["key"]}
    return SimpleNamespace(method=method, path_params={"id": song["id"], **path}, query_params=query, headers={})


def test_asking_what_a_mix_is_makes_none(api, monkeypatch):
    song = enter(api)
    for name in ("_run_mix", "_mixed"):
        monkeypatch.setattr(server, name, None)
    answer = asyncio.run(api.mix(asked_for(song, "HEAD")))
    assert answer.status_code == 200 and answer.headers["content-type"] == "audio/flac"
    monkeypatch.setattr(songs.SongFolder, "downloads", lambda _: {"Drums.flac": None})
    monkeypatch.setattr(songs.SongFolder, "zipped", None)
    answer = api.file(asked_for(song, "HEAD", name=songs.ZIP))
    assert answer.headers["content-type"] == "application/zip" and "content-length" not in answer.headers


def test_who_waits_for_a_mix_holds_up_nobody(api, monkeypatch):
    song, may_end, running = enter(api), threading.Event(), []

    def run_mix(folder, path, settings):
        running.append(path)
        assert may_end.wait(20) and len(running) == 1
        running.remove(path)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"fLaC")

    monkeypatch.setattr(server, "_run_mix", run_mix)
    request = asked_for(song)

    async def ask():
        asked = [asyncio.create_task(api.mix(request)) for _ in range(server.MAX_MIXES + 1)]
        refused, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_EXCEPTION)
        may_end.set()
        await asyncio.wait(asked)
        assert {type(task.exception()) for task in refused} == {http.BusyError}
        return [type(task.exception()) for task in asked]

    ended = asyncio.run(ask())
    assert ended.count(http.BusyError) == 1 and ended.count(type(None)) == server.MAX_MIXES
    assert not list(api._songs.place.rglob("*.flac"))
