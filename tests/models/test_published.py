"""Spleeter's published models: fetched from a server on this machine that has its release's layout."""

import hashlib
import io
import json
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from fixtures import tiny_spleeter

from muscomp_lib.core.errors import MissingError, SettingError
from muscomp_lib.models import published
from muscomp_lib.models.config import find_model
from muscomp_lib.separation import Separator

RELEASE = "/deezer/spleeter/releases/download/v1.4.0/"
TINY = {"conv_n_filters": [4, 4, 8, 8, 8, 8]}


class Server(ThreadingHTTPServer):
    """Serves `files` {name: bytes} of the release, in parts too; breaks off once after `breaks_after` bytes."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.asked, self.breaks_after = {}, [], None


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        name, asked = self.path.removeprefix(RELEASE), self.headers.get("Range")
        self.server.asked.append((name, asked))
        content = self.server.files.get(name)
        if content is None:
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : self.server.breaks_after])
        self.server.breaks_after = None

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """The archive of a tiny 2stems, as bytes, and the folder that it was made from."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny_spleeter.model(folder, T=512)
    return packed({path.name: path.read_bytes() for path in folder.iterdir() if path.name != "config.json"}), folder


def packed(files):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return archive.getvalue()


@pytest.fixture
def server(archive, tmp_path, monkeypatch):
    server = Server()
    publish(server, archive[0])
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setenv("GITHUB_HOST", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("MUSCOMP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    names, network = published.NETWORKS["2stems"]
    monkeypatch.setitem(published.NETWORKS, "2stems", (names, network | {"params": TINY}))
    yield server
    server.shutdown()
    server.server_close()


def publish(server, content, checksum=None):
    checksums = {"2stems": checksum or hashlib.sha256(content).hexdigest()}
    server.files = {"2stems.tar.gz": content, "checksum.json": json.dumps(checksums).encode()}


def place(tmp_path):
    return tmp_path / "cache" / "spleeter" / "v1.4.0"


def test_a_published_model_is_fetched_once_and_separates(server, archive):
    song = np.random.default_rng(0).uniform(-0.5, 0.5, (44100, 2)).astype(np.float32)
    by_name = Separator("spleeter:2stems").separate(song, 44100)
    by_folder = Separator(archive[1]).separate(song, 44100)
    assert list(by_name) == ["vocals", "accompaniment"]
    assert all(np.array_equal(by_name[name], by_folder[name]) for name in by_name)
    Separator("spleeter:2stems")
    assert server.asked == [("2stems.tar.gz", None), ("checksum.json", None)]


def test_githubs_own_machines_fetch_from_spleeters_repository(monkeypatch):
    monkeypatch.setenv("GITHUB_REPOSITORY", "somebody/mirror")
    for name in published.ON_GITHUB:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GITHUB_RELEASE", "")
    assert published._url("a") == "https://github.com/somebody/mirror/releases/download/v1.4.0/a"
    monkeypatch.setenv("CODESPACES", "true")
    assert published._url("a") == "https://github.com/deezer/spleeter/releases/download/v1.4.0/a"


def test_the_wider_model_shares_the_weights(server, tmp_path):
    _, folder = find_model("spleeter:2stems")
    config, same = find_model("spleeter:2stems-16kHz")
    assert same.samefile(folder) and config["F"] == 1536 and len(server.asked) == 2
    assert not list(place(tmp_path).glob("*.tar.gz*"))


def test_a_download_that_breaks_off_is_resumed(server, archive, tmp_path):
    server.breaks_after = 20_000
    with pytest.raises(MissingError, match=r"2stems is not here and cannot be fetched.*what has arrived is kept"):
        find_model("spleeter:2stems")
    arrived = next(place(tmp_path).glob("*.partial")).stat().st_size
    assert 0 < arrived <= 20_000
    _, folder = find_model("spleeter:2stems")
    assert ("2stems.tar.gz", f"bytes={arrived}-") in server.asked
    assert (folder / "checkpoint").read_bytes() == (archive[1] / "checkpoint").read_bytes()


def test_another_checksum_than_published_is_refused_and_removed(server, archive, tmp_path):
    publish(server, archive[0], checksum="0" * 64)
    with pytest.raises(SettingError, match=r"not the one that was published \(SHA-256 .*, not 0000"):
        find_model("spleeter:2stems")
    assert [path.suffix for path in place(tmp_path).iterdir()] == [".lock"]


def test_without_a_network_an_archive_put_by_hand_is_used(server, archive, tmp_path, caplog):
    server.files = {}
    with pytest.raises(MissingError, match=r"404.*put it at .*2stems\.tar\.gz") as refused:
        find_model("spleeter:2stems")
    (place(tmp_path) / "2stems.tar.gz").write_bytes(archive[0])
    assert str(place(tmp_path) / "2stems.tar.gz") in str(refused.value)
    _, folder = find_model("spleeter:2stems")
    assert (folder / "checkpoint").is_file() and "is not compared with its checksum" in caplog.text


def test_a_damaged_archive_is_removed(server, archive, tmp_path):
    publish(server, archive[0][:-2000])
    with pytest.raises(SettingError, match=r"2stems\.tar\.gz is damaged"):
        find_model("spleeter:2stems")
    assert not (place(tmp_path) / "2stems").exists() and not list(place(tmp_path).glob("*.tar.gz"))


def test_nothing_but_a_checkpoint_is_unpacked(server, tmp_path):
    publish(server, packed({"../../evil": b"x", "/model.absolute": b"y", "._checkpoint": b"", "notes.txt": b"z"}))
    with pytest.raises(MissingError, match="holds no trained Spleeter model"):
        Separator("spleeter:2stems")
    assert {path.name for path in (place(tmp_path) / "2stems").iterdir()} == {"model.absolute", published.MARK}
    assert not list(tmp_path.rglob("evil"))


def test_an_unknown_name_is_answered_with_the_nearest(server):
    with pytest.raises(SettingError, match=r"no model 'spleeter:3stems'.*'spleeter:2stems'|'spleeter:5stems'"):
        Separator("spleeter:3stems")
    assert not server.asked
