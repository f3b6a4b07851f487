"""The website as a whole: `muscomp serve` in a process of its own, real workers, songs, and people who misuse it."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pretty_midi
import psutil
import pytest
import requests
import soundfile
from fixtures import website
from fixtures.postgres import postgres
from fixtures.slurm import cluster
from fixtures.slurm_here import until

from muscomp_lib.website import http
from muscomp_lib.website.queue import Queue
from muscomp_lib.website.songs import FILE

pytestmark = pytest.mark.slow
WORKERS = website.PROJECT / "muscomp_lib" / "website" / "deploy" / "workers.slurm"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with website.site(tmp_path_factory.mktemp("here") / "site", "--max-minutes", "2", "--max-each", "50") as running:
        yield running


@pytest.fixture(scope="module")
def song(tmp_path_factory):
    return website.write_song(tmp_path_factory.mktemp("songs") / "Tune.flac")


@pytest.fixture(scope="module")
def done(site, song):
    """A song that is done."""
    sent = site.send(song)
    assert sent.until_ended()["state"] == "done"
    return sent


# ---- a song ----


def test_a_song_becomes_stems_notes_and_a_score(done, song):
    state = done.state()
    stems = [name for name in state["files"] if name.endswith(".flac")]
    assert len(stems) == 13 and {"Drums.flac", "notes.mid", "score.musicxml"} <= set(state["files"])
    sound, rate = soundfile.read(io.BytesIO(done.get("Drums.flac")))
    assert (len(sound), rate) == (soundfile.info(song).frames, website.RATE)
    assert pretty_midi.PrettyMIDI(io.BytesIO(done.get("notes.mid"))).instruments
    assert b"<score-partwise" in done.get("score.musicxml") and b">Tune<" in done.get("score.musicxml")
    assert state["facts"]["tempo"] > 30 and state["facts"]["key"] and "Violin" in state["facts"]["absent"]
    done.until(lambda _: not list(done.folder.glob("song.*")), "the deletion of what was sent")


def test_all_files_come_in_a_zip(done):
    with zipfile.ZipFile(io.BytesIO(done.get("all.zip"))) as archive:
        assert archive.testzip() is None
        assert {f"Tune/{name}" for name in done.state()["files"]} == set(archive.namelist())


def test_the_mix_is_that_of_the_files(done):
    settings = {"Drums": {"mute": True, "midi": True}, "other": {"gain": -6.0, "pan": -1.0}}
    mix, _ = soundfile.read(io.BytesIO(done.get("mix.flac", settings=json.dumps(settings))))
    wanted = 0
    for name in done.state()["files"]:
        if name.endswith(".flac") and name != "Drums.flac":
            gain = [10 ** (-6 / 20), 0.0] if name == "other.flac" else [1.0, 1.0]
            wanted = wanted + soundfile.read(io.BytesIO(done.get(name)))[0] * gain
    assert np.abs(mix - wanted).max() < 1e-6
    refused = done.ask(path="/files/mix.flac", params={"settings": '{"Drums": {"gain": 99}}'})
    assert refused.status_code == 400 and "gain of Drums = 99" in refused.json()["error"]
    assert not [file for file in done.folder.glob("*.flac") if not file.name.startswith("song")]


def test_its_mixer_gets_sound_and_notes(done):
    desk = done.ask(path="/desk").json()
    assert desk["tracks"] and desk["pieces"] == 1 and len(desk["names"]) == 13 and desk["original"]
    piece = done.ask(path="/pieces/0").content
    numbers = np.frombuffer(piece, "<u4", int.from_bytes(piece[:4], "little") + 1)
    assert numbers[0] == 16 and numbers.nbytes + numbers[1:].sum() == len(piece)
    assert piece[numbers.nbytes :][:4] == b"OggS"


def test_only_the_senders_key_opens_and_a_listener_listens(site, done):
    assert done.ask(key=done.listen).json()["owner"] is False
    assert done.ask(path="/pieces/0", key=done.listen).status_code == 200
    for method, path in (
        ("GET", "/files/notes.mid"),
        ("GET", "/files/all.zip"),
        ("DELETE", ""),
        ("PUT", "/sound?at=0"),
    ):
        assert done.ask(method, path, key=done.listen).status_code == 404
    for key in ("wrong", "", "ü"):
        assert site.ask("GET", f"/api/songs/{done.id}", params={"key": key}).status_code == 404
    assert site.ask("GET", f"/api/songs/{done.id}", params={"key": done.key}).json()["owner"] is True


def test_instruments_can_be_kept_and_the_rest_be_one(site, song):
    sent = site.send(song, keep=["Drums", "Violin"], seconds=2)
    assert sent.until_ended()["state"] == "done"
    assert {"Drums.flac", "Violin.flac", "rest.flac"} == {name for name in sent.state()["files"] if ".flac" in name}
    assert len(soundfile.read(io.BytesIO(sent.get("rest.flac")))[0]) == 2 * website.RATE


def test_an_upload_that_broke_off_goes_on(site, song):
    content = song.read_bytes()
    sent = site.enter("Tune.flac", len(content))
    assert sent.ask("PUT", "/sound?at=0", data=content[:1000]).json() == {"next": 1000}
    again = sent.ask("PUT", "/sound?at=0", data=content[:1000])  # the answer was lost
    assert (again.status_code, again.json()) == (409, {"next": 1000})
    assert sent.state()["received"] == 1000
    assert sent.ask("PUT", "/sound?at=1000", data=content + b"more").status_code == 413
    sent.ask("DELETE")


def test_what_is_deleted_is_gone_and_the_next_begins(site, song, tmp_path):
    long = site.send(website.write_song(tmp_path / "long.wav", 100.0))
    long.until_stage("Separating")
    after = site.send(song, seconds=1)
    assert after.state()["ahead"] == 1 and after.state()["left"] > 0
    assert long.ask("DELETE").status_code == 200
    assert long.ask().status_code == 404
    after.until(lambda state: state["state"] != "waiting")
    assert not long.folder.exists()
    assert after.until_ended()["state"] == "done"


# ---- what people send ----


def hostile_files(folder):
    (folder / "text.mp3").write_text("This is no music.")
    with zipfile.ZipFile(folder / "zip.mp3", "w") as archive:
        archive.writestr("song.mp3", b"0" * 1000)
    (folder / "list.m4a").write_text("#EXTM3U\nfile:///etc/passwd\nhttp://127.0.0.1:9/x.mp3\n")
    soundfile.write(folder / "hours.flac", np.zeros(1000 * 200), 1000)
    soundfile.write(folder / "channels.wav", np.zeros((100, 200), "f4"), 8000)
    (folder / "half.flac").write_bytes((folder / "hours.flac").read_bytes()[:300])
    return sorted(folder.iterdir())


def test_files_that_are_no_songs_are_refused_with_reasons(site, tmp_path):
    before = {worker.pid for worker in site.workers()}
    sent = {path.name: site.send(path) for path in hostile_files(tmp_path)}
    notes = {name: song.until_ended()["note"] for name, song in sent.items()}
    assert all(notes.values()) and {song.state()["state"] for song in sent.values()} == {"failed"}
    assert "3 minutes" in notes["hours.flac"] and "200 channels" in notes["channels.wav"]
    assert not any(str(site.folder) in note or "Traceback" in note for note in notes.values())
    assert {worker.pid for worker in site.workers()} == before


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 10_000,
        b'{"name": "a.mp3", "bytes": ' + b"[" * 8000,
        b"[1]",
        b"\xff",
        b'{"name": "../../etc/passwd", "bytes": 3}',
        b'{"name": "a.exe", "bytes": 3}',
        b'{"name": ".mp3", "bytes": 3}',
        b'{"name": "a.mp3", "bytes": -1}',
        b'{"name": "a.mp3", "bytes": 1e300}',
        b'{"name": "a.mp3", "bytes": 999999999999}',
        b'{"name": "a.mp3", "bytes": 3, "seconds": NaN}',
        b'{"name": "a.mp3", "bytes": 3, "model": "../x"}',
        b'{"name": "a.mp3", "bytes": 3, "keep": [1]}',
        b'{"name": "a.mp3", "bytes": 3, "admin": true}',
        b'{"name": 5, "bytes": 3}',
    ],
)  # fmt: skip
def test_requests_that_make_no_sense_are_refused(site, body):
    answer = site.ask("POST", "/api/songs", data=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400 and answer.json()["error"]


def test_other_requests_get_no_further(site, done):
    assert site.ask("POST", "/api/songs", data=b'{"name": "a.mp3", "bytes": 3}').status_code == 415
    json_type = {"Content-Type": "application/json"}
    assert site.ask("POST", "/api/songs", data=b" " * 20_000, headers=json_type).status_code == 413
    assert site.ask("GET", "/", headers={"Host": "evil.example"}).status_code == 400
    for path in ("/static/../server.py", "/static/%2e%2e%2fserver.py", "/static/nothing", "/nothing"):
        assert site.ask("GET", path).status_code == 404
    for path in ("/files/..%2f..%2fqueue.sqlite", "/files/song.flac", "/pieces/99", "/pieces/-1"):
        assert done.ask(path=path).status_code == 404
    for settings in ("[" * 10_000, "5", '{"Drums": 5}', '{"Drums": {"gain": NaN}}', "x" * 20_000):
        assert done.ask(path="/files/mix.flac", params={"settings": settings}).status_code == 400


def test_a_songs_name_is_only_shown(site, song):
    content = song.read_bytes()
    sent = site.enter('C:\\tunes\\..\\a"b<i>\n\u202ec.FLAC', len(content))
    assert sent.state()["title"] == "a b i c"
    assert not list(site.folder.rglob("*tunes*"))
    sent.ask("DELETE")


def test_answers_protect_and_are_not_kept(site, done):
    page = site.ask("GET", "/")
    assert "default-src 'none'" in page.headers["content-security-policy"] and "set-cookie" not in page.headers
    assert done.ask().headers["cache-control"] == "no-store"
    assert done.ask(path="/files/notes.mid").headers["cache-control"] == "no-store"
    assert "attachment" in done.ask(path="/files/notes.mid").headers["content-disposition"]


def test_the_log_names_no_song(site, done):
    assert done.id[:6] in site.log()
    assert "Tune" not in site.log() and done.id not in site.log() and done.key not in site.log()


# ---- what can happen ----


@pytest.mark.full
@pytest.mark.parametrize("stage", ["Separating", "Preparing", "Finding", "Writing down", "Writing the score"])
def test_a_worker_may_be_killed_at_any_stage(site, tmp_path, stage):
    song = tmp_path / "song.wav"
    tries = (site.send(website.write_song(song, 24.0 * 2**n)) for n in range(5))  # a short stage may pass unseen
    sent = next(each for each in tries if each.until_stage(stage)["state"] == "running")
    for worker in site.workers():
        worker.kill()
    state = sent.until_ended()
    assert state["state"] == "done" and len(state["files"]) == 15
    assert state["facts"]["pieces"] == sent.ask(path="/desk").json()["pieces"]


@pytest.mark.full
def test_a_song_that_kills_its_worker_is_given_up(site, tmp_path):
    sent = site.send(website.write_song(tmp_path / "song.wav", 60.0))
    while sent.until(lambda state: state["state"] in ("running", "failed"))["state"] == "running":
        killed = site.workers()
        for worker in killed:
            worker.kill()
        psutil.wait_procs(killed, timeout=website.PATIENCE)
    assert "3 times" in sent.state()["note"]


@pytest.mark.parametrize("how", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.full)])
def test_a_site_that_ends_leaves_no_process_and_goes_on(tmp_path, how):
    song = website.write_song(tmp_path / "song.wav", 12.0)
    with website.site(tmp_path / "site") as site:
        sent = site.send(song)
        sent.until(lambda state: state["state"] == "running")
        workers = site.workers()
        site.process.send_signal(how)
        site.process.wait(20)
        psutil.wait_procs(workers, timeout=5)
        assert workers and not any(worker.is_running() for worker in workers)
    tries = {signal.SIGTERM: 0, signal.SIGKILL: 1}[how]  # an orderly end is none
    queue = Queue(tmp_path / "site" / FILE)
    assert queue.get(sent.id).tries == tries
    with website.site(tmp_path / "site") as again:
        sent._site = again
        assert sent.until_ended()["state"] == "done"
    assert queue.get(sent.id).tries == tries + 1


@pytest.mark.full
def test_a_full_disk_is_reported_to_both(tmp_path):
    resource = pytest.importorskip("resource")
    limit = 1_000_000  # bytes of any file, which the system reports like a full disk

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    with website.site(tmp_path / "site", preexec_fn=limited) as site:
        refused = site.enter("long.wav", 2 * limit)
        assert refused.ask("PUT", "/sound?at=0", data=b"0" * (limit + 1)).status_code == 507
        noise = np.random.default_rng(0).normal(0, 0.1, (30 * website.RATE, 2))
        soundfile.write(tmp_path / "song.mp3", noise, website.RATE)
        sent = site.send(tmp_path / "song.mp3", keep=["Drums"])
        assert "disk of this server is full" in sent.until_ended()["note"]
    with website.site(tmp_path / "site", "--keep-free-gb", "1e9") as site:
        answer = site.ask("POST", "/api/songs", json={"name": "a.mp3", "bytes": 3})
        assert answer.status_code == 507 and "disk of this server is full" in answer.json()["error"]


def test_strangers_need_the_password(tmp_path):
    with website.site(tmp_path / "site", "--host", "0.0.0.0", "--password", "tüne") as site:
        site.address = site.address.replace("0.0.0.0", "127.0.0.1")
        assert site.ask("GET", "/").headers["www-authenticate"].startswith("Basic")
        assert site.ask("GET", "/api/site", auth=("x", "wrong")).status_code == 401
        assert site.ask("GET", "/", headers={"Authorization": "Basic ???"}).status_code == 401
        assert site.ask("GET", "/", auth=("x", "tüne".encode())).status_code == 200
        with ThreadPoolExecutor(2 * http.MOST_WRONG) as guessers:
            guesses = list(guessers.map(lambda n: site.ask("GET", "/", auth=("x", str(n))), range(2 * http.MOST_WRONG)))
            guesses = [guess.status_code for guess in guesses]
        assert set(guesses) <= {401, 429} and guesses.count(429) >= 1
        assert site.ask("GET", "/", auth=("x", "tüne".encode())).status_code == 200


def test_a_folder_and_a_port_belong_to_one_site(site, tmp_path):
    with pytest.raises(AssertionError, match="Another site has the folder"), website.site(site.folder):
        pass
    port = site.address.rpartition(":")[2]
    with pytest.raises(AssertionError, match=f"--port {port}: Address"), website.site(tmp_path / "b", "--port", port):
        pass


@pytest.mark.full
def test_a_notebook_opens_the_page_until_its_kernel_ends(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from muscomp_lib.core.root import Root\n"
        "from muscomp_lib.website.window import open_page\n"
        "root = Root(Path(sys.argv[1])); address = open_page(root); assert open_page(root) == address\n"
        "import psutil\nwhile not psutil.Process().children(): time.sleep(0.1)\n"
        "print(address, psutil.Process().children()[0].pid, flush=True); time.sleep(600)"
    )
    paths = [str(website.PROJECT), str(website.PROJECT / "tests" / "fixtures" / "colab")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-c", code, tmp_path]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as kernel:
        *windows, last = (kernel.stdout.readline() for _ in range(3))
        address, worker = last.split()
        port = address.rstrip("/").rpartition(":")[2]
        assert windows == [f"window of port {port}/\n"] * 2
        assert requests.get(f"{address}api/site", headers={"Host": "x.colab.example"}, timeout=30).json()["models"]
        worker = psutil.Process(int(worker))
        kernel.kill()
    psutil.wait_procs([worker], timeout=5)
    assert not worker.is_running()


@pytest.mark.full
def test_workers_in_a_slurm_job_share_postgres_and_the_folder(tmp_path, slurm):
    song, far = website.write_song(tmp_path / "song.wav", 12.0), tmp_path / "far.log"
    with postgres() as address, website.site(tmp_path / "site", "--queue", address) as site:
        variables = f"--export=ALL,QUEUE={address},FOLDER={tmp_path / 'site'}"
        job = cluster.run(
            slurm, "sbatch", "--parsable", f"--chdir={website.PROJECT}", f"--output={far}", variables, WORKERS
        ).strip()
        until(lambda: far.is_file() and "4 workers" in far.read_text())
        sent = [site.send(song) for _ in range(3)]
        for each in sent[:2]:
            each.until(lambda state: state["state"] == "running")
        cluster.run(slurm, "scancel", "--signal=KILL", "--full", job)  # the node is gone, and only the lease tells
        assert {each.until_ended()["state"] for each in sent} == {"done"}
        until(lambda: len(re.findall(r"worker \d+ \S+: done", site.log() + far.read_text())) == 3)  # after its state


@pytest.mark.full
def test_two_workers_share_twenty_songs(tmp_path, song):
    with website.site(tmp_path / "site", "--workers", "2", "--max-each", "20") as site:
        sent = [site.send(song, seconds=1) for _ in range(20)]
        assert {each.until_ended()["state"] for each in sent} == {"done"}
        until(lambda: len(re.findall(r"worker \d+ \S+: done", site.log())) == 20)  # which follow the last state
        numbers = re.findall(r"worker (\d+) (\S+): done", site.log())
        assert len({worker for worker, _ in numbers}) == 2
        assert sorted(id_ for _, id_ in numbers) == sorted(each.id[:6] for each in sent)


@pytest.mark.full
def test_a_large_upload_disturbs_nobody(tmp_path):
    size, statuses, ended = 200_000_000, [], threading.Event()
    with website.site(tmp_path / "site") as site:
        server = psutil.Process(site.process.pid)

        def ask():
            while not ended.wait(0.2):
                statuses.append(site.ask("GET", "/api/site").status_code)

        clients = [threading.Thread(target=ask) for _ in range(20)]
        for client in clients:
            client.start()
        sent = site.enter("large.wav", size)
        sent.upload(bytes(size))
        memory = server.memory_info().rss
        ended.set()
        for client in clients:
            client.join()
    assert set(statuses) == {200} and memory < 150e6


def test_senders_behind_a_proxy_are_told_apart(tmp_path):
    with website.site(tmp_path / "site", "--proxies", "127.0.0.1", "--max-each", "1") as site:
        song = {"name": "a.mp3", "bytes": 3}
        sent = [
            site.ask("POST", "/api/songs", json=song, headers={"X-Forwarded-For": sender}).status_code
            for sender in ("192.0.2.1", "192.0.2.2", "192.0.2.1")
        ]
        assert sent == [201, 201, 429]
