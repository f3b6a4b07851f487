"""batch/submit.py files: the printed commands move a small Slakh, are killed, resume, and find damage."""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import time
from pathlib import Path

import pytest
import yaml
from fixtures import tiny_campaign, tiny_slakh
from fixtures.killing import snapshot
from fixtures.needs import require
from fixtures.tiny_campaign import PROJECT, submit

from batch.campaign import transfer
from batch.campaign.campaign import read_campaign
from muscomp_lib import slakh
from muscomp_lib.core.errors import MissingError, SettingError
from muscomp_lib.core.progress import size
from muscomp_lib.core.root import open_root

MAX_WAIT = 60  # seconds
ID = "01234567-89ab-cdef-0123-456789abcdef"
SLOWLY = {"RCLONE_BWLIMIT": "300k", "RCLONE_TRANSFERS": "1", "RCLONE_BUFFER_SIZE": "0"}


@pytest.fixture
def source(tmp_path):
    """A small Slakh, elsewhere, in a folder with a space."""
    folder = tmp_path / "else where" / "slakh"
    for number in range(4):
        stems = {"S00": {"program": 34, "noise": True, "frequency": number}, "S01": {"program": 128, "noise": True}}
        tiny_slakh.write_track(folder, "train", f"Track{number:05}", stems)
    return folder


@pytest.fixture
def printed(tmp_path):
    """The script that is printed, as lines, for a campaign whose section `files` holds what is given."""

    def lines(part=None, site="local", **given):
        file = tiny_campaign.write(tmp_path, site=site, files={"from" if k == "source" else k: given[k] for k in given})
        return transfer.script(read_campaign(file), part=part)

    return lines


@pytest.fixture
def rclone(tmp_path):
    """The environment of an rclone that knows two remotes, `drive:` and `cluster:`, both folders here."""
    require(shutil.which("rclone"), "rclone is not installed")
    (tmp_path / "cluster").mkdir()
    places = {"drive": tmp_path / "else where", "cluster": tmp_path / "cluster"}
    config = "".join(f"[{name}]\ntype = alias\nremote = {folder}\n" for name, folder in places.items())
    (tmp_path / "rclone.conf").write_text(config)
    return {**os.environ, "RCLONE_CONFIG": str(tmp_path / "rclone.conf"), "HOME": str(tmp_path)}


def run(lines, env=None, status=0):
    """Run lines as a script; what it printed."""
    done = subprocess.run(
        ["bash", "-c", "\n".join(lines)], env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    assert (done.returncode == 0) == (status == 0), done.stdout + done.stderr
    return done.stdout + done.stderr


def start_and_kill(lines, env, target):
    """Start lines as a script, and kill it with all its children when a first file is whole and more are to come."""
    script = subprocess.Popen(
        ["bash", "-c", "\n".join(lines)], env=env, start_new_session=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    until = time.monotonic() + MAX_WAIT
    try:
        while sum(path.is_file() for path in target.rglob("*")) < 3:
            assert script.poll() is None, "it ended before it was killed"
            assert time.monotonic() < until
            time.sleep(0.01)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(script.pid, signal.SIGKILL)
        script.wait()


def only(lines, *beginnings):
    """The script's settings, and of its commands those that begin so."""
    return [line for line in lines if line.startswith(("set ", "export ", *beginnings))]


def damage(file):
    """Change one byte; size and time stay."""
    status, content = file.stat(), bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def check_that_incomplete_files_do_not_count(root, source):
    """As notebook 01 sees it: whatever it calls ok is, byte for byte, what lies at the source."""
    stems, _ = slakh.index(open_root(root), slakh.Settings(verify="full", workers=1))
    whole = stems[stems["status"] == "ok"]["audio"]
    assert len(whole) < 8
    for audio in whole:
        assert (root / "slakh" / audio).read_bytes() == (source / audio).read_bytes(), audio


def test_a_killed_rclone_resumes_and_damage_is_found(printed, rclone, source, tmp_path):
    lines = printed(way="rclone", source="drive:slakh", to="cluster:root")
    arrived = tmp_path / "cluster" / "root" / "slakh"
    start_and_kill(lines, {**rclone, **SLOWLY}, arrived)
    assert snapshot(arrived) != snapshot(source)
    check_that_incomplete_files_do_not_count(arrived.parent, source)
    assert run(only(lines, "rclone check"), rclone, status=1)
    run(lines, rclone)
    assert snapshot(arrived) == snapshot(source)
    damage(arrived / "train/Track00002/stems/S01.flac")
    run(only(lines, "rclone copy"), rclone)  # size and time are as they were: it sees nothing
    assert "Track00002/stems/S01.flac" in run(only(lines, "rclone check"), rclone, status=1)
    run([f"{line} --checksum" for line in only(lines, "rclone copy")[1:]], rclone)  # as the comment says
    run(only(lines, "rclone check"), rclone)
    assert snapshot(arrived) == snapshot(source)


def test_results_come_home_by_rclone(printed, rclone, tmp_path):
    root = open_root(tmp_path / "cluster" / "root")
    for file in (root.runs / "tiny/report.html", root.models / "net/weights.npz", root.separated / "A b/Drums.flac"):
        file.parent.mkdir(parents=True)
        file.write_text(file.name)
    (root.prepared / "made.flac").write_text("")
    run(printed(way="rclone", results="drive:results", to="cluster:root"), rclone)
    home = snapshot(tmp_path / "else where" / "results")
    assert home == {
        "runs/tiny/report.html": b"report.html",
        "models/net/weights.npz": b"weights.npz",
        "separated/A b/Drums.flac": b"Drums.flac",
    }


@pytest.fixture
def host(rclone, tmp_path):
    """The environment for a site that takes files through a host which runs no programs, here an SFTP server."""
    require(shutil.which("ssh-keyscan"), "ssh-keyscan is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["rclone", "serve", "sftp", "/", "--addr", f"127.0.0.1:{port}", "--user", "joe", "--pass", "open"]
    server = subprocess.Popen(command, env=rclone, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        (tmp_path / ".ssh").mkdir()
        (tmp_path / ".ssh" / "known_hosts").write_text(key_of(port))
        (tmp_path / "far.yaml").write_text(yaml.safe_dump({"scheduler": "none", "transfer": {"host": "127.0.0.1"}}))
        hidden = subprocess.run(["rclone", "obscure", "open"], env=rclone, capture_output=True, text=True, check=True)
        yield {**rclone, "RCLONE_CONFIG_MUSCOMP_PORT": str(port), "RCLONE_CONFIG_MUSCOMP_PASS": hidden.stdout.strip()}
    finally:
        server.kill()
        server.wait()


def key_of(port):
    until = time.monotonic() + MAX_WAIT
    while time.monotonic() < until:
        found = subprocess.run(
            ["ssh-keyscan", "-p", str(port), "127.0.0.1"], capture_output=True, text=True, check=False
        )
        if found.stdout:
            return found.stdout
    raise AssertionError("the server does not answer")


def test_damage_is_found_through_a_host_without_checksums(printed, host, source, tmp_path):
    lines = printed(way="rclone", source="drive:slakh", user="joe", site="far.yaml")
    assert "only" in lines[2] and "127.0.0.1" in lines[2]
    run(lines, host)
    arrived = tmp_path / "root" / "slakh"
    assert snapshot(arrived) == snapshot(source)
    damage(arrived / "train/Track00000/mix.flac")
    check = only(lines, "rclone check")
    assert "Track00000/mix.flac" in run(check, host, status=1)
    blind = [line.replace("--download ", "") for line in check]
    assert "could not be checked" in run(blind, host, status=1)  # rclone itself would call that a match


def test_a_killed_rsync_resumes_and_damage_is_found(printed, source, tmp_path):
    require(shutil.which("rsync"), "rsync is not installed")
    lines = printed(way="rsync", source="else where/slakh")
    arrived = tmp_path / "root" / "slakh"
    slowly = [line.replace("rsync --recursive", "rsync --bwlimit=300 --recursive") for line in lines]
    start_and_kill(slowly, None, arrived)
    check_that_incomplete_files_do_not_count(tmp_path / "root", source)
    check = only(lines, "differing=", "test -z")
    assert "These differ" in run(check, status=1)
    run(lines)
    assert {name: held for name, held in snapshot(arrived).items() if "/." not in name} == snapshot(source)
    damage(arrived / "train/Track00003/stems/S00.flac")
    run(only(lines, "rsync"))
    assert "Track00003/stems/S00.flac" in run(check, status=1)
    run([f"{line} --checksum" for line in only(lines, "rsync")[1:]])
    run(check)


def test_rsync_through_a_host(printed, source, tmp_path):
    """What ssh and sftp would do on the host is done here by two stand-ins."""
    require(shutil.which("rsync"), "rsync is not installed")
    (tmp_path / "far.yaml").write_text(yaml.safe_dump({"scheduler": "none", "transfer": {"host": "far.example"}}))
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "ssh").write_text('#!/bin/sh\nwhile [ "$1" != far.example ]; do shift; done\nshift\nexec sh -c "$*"\n')
    (tools / "sftp").write_text('#!/bin/sh\n[ "$1" = joe@far.example ] && sed s/^-// | sh 2> /dev/null; true\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    env = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    given = {"source": "~/else where/slakh", "results": "~/home", "user": "joe"}
    lines = printed("in", way="rsync", site="far.yaml", **given)
    shutil.rmtree(tmp_path / "root", ignore_errors=True)
    run(lines, env)
    arrived = tmp_path / "root" / "slakh"
    assert snapshot(arrived) == snapshot(source)
    for folder in ("runs/tiny", "models/net", "separated"):
        (tmp_path / "root" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / folder / "one").write_text("1")
    run(printed("home", way="rsync", site="far.yaml", **given), env)
    assert sorted(snapshot(tmp_path / "home")) == ["models/net/one", "runs/tiny/one", "separated/one"]


def test_a_download_resumes_and_is_verified_before_unpacking(printed, source, tmp_path):
    require(shutil.which("curl"), "curl is not installed")
    archive = tmp_path / "web" / "small.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(source / "train", "train")
    whole = archive.read_bytes()
    lines = printed(way="download", source=archive.as_uri(), md5=hashlib.md5(whole).hexdigest())
    arrived = tmp_path / "root" / "slakh" / archive.name
    arrived.parent.mkdir(parents=True)
    arrived.write_bytes(whole[: len(whole) // 2])
    assert "from byte position" in run(lines)
    assert arrived.read_bytes() == whole
    assert len(slakh.find_tracks(arrived.parent)) == 4
    archive.unlink()
    run(lines)  # what is whole is not asked for again
    damage(arrived)
    shutil.rmtree(arrived.parent / "train")
    run(lines, status=1)
    assert not (arrived.parent / "train").exists()


def test_globus_commands_name_the_sites_collection(printed):
    lines = printed(way="globus", source=f"{ID}:/~/slakh", results=f"{ID}:/~/results", site="bridges2")
    name = "PSC Bridges-2 /ocean and /jet filesystems"
    assert f"globus endpoint search '{name}'" in lines[4]
    stand_in = 'globus() { case $1 in endpoint) echo THERE;; *) echo "$@";; esac; }'
    given = run([stand_in, *lines])
    assert given.count("--recursive --sync-level checksum --verify-checksum") == 4
    assert f" {ID}:/~/slakh THERE:/" in given and f"/runs/tiny {ID}:/~/results/runs/tiny" in given


def test_amounts_and_durations_are_printed(printed, source):
    text = "\n".join(printed(way="rclone", source="drive:slakh", mbit_per_second=200, site="bridges2"))
    assert "105 GB (about the whole of Slakh2100)" in text
    assert "At least 1 h 10 min at 200 Mbit/s. From Google Drive more likely 7 h 2 min: about 2 files a second." in text
    assert "56,940 inodes: within the 6,070 per GB" in text
    text = "\n".join(printed(way="rsync", source="else where/slakh", to="joe@data:there", site="bridges2"))
    held = snapshot(source)
    assert f"# {len(held)} files in 14 folders, {size(sum(map(len, held.values())))} (as counted now)" in text
    assert "Many small files" in text and f"{len(held) + 14} inodes need 0.00" in text


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"form": "x"}, "Did you mean 'files.from'"),
        ({"source": "x"}, "there is no setting 'files.source'"),
        ({"way": "rcolne"}, "files.way = 'rcolne' is not possible. It must be 'rclone', 'rsync'"),
        ({"tracks": "many"}, "files.tracks = 'many' is not possible. It must be a whole number from 1"),
        ({"way": "globus", "from": "/slakh"}, "ID-of-a-collection:/path"),
        ({"way": "globus", "from": f"{ID}:/slakh"}, "local names no Globus collection"),
        ({"way": "rsync", "from": "nowhere"}, "nowhere' is not there"),
        ({}, "a section files says"),
    ],
)
def test_an_error_in_the_section_is_reported(tmp_path, files, message):
    with pytest.raises((SettingError, MissingError), match=message):
        transfer.script(read_campaign(tiny_campaign.write(tmp_path, files=files)))


def test_files_can_be_asked_for_before_the_songs_are_there(tmp_path):
    file = tiny_campaign.write(tmp_path, songs="songs", files={"songs": "drive:my songs"})
    text = submit(file, "files", "--only", "in", "--way", "rsync")
    assert "'drive:my songs/'" in text and "rsync" in text
    assert "is not there" in submit(file, "--dry-run", status=2)


def test_the_root_can_be_reached_without_the_sites_host(printed, monkeypatch):
    monkeypatch.setenv("PROJECT", "/proj")
    lines = printed(way="rclone", source="drive:slakh", to="$PROJECT/root", site="bridges2")
    assert any(line.startswith("rclone copy") and line.endswith(" drive:slakh /proj/root/slakh") for line in lines)
    assert not any("data.bridges2" in line for line in lines)


def test_an_incomplete_data_set_is_refused_until_indexed(tmp_path, source):
    shutil.copytree(source / "train" / "Track00000", tmp_path / "root/slakh/train/Track00000")
    file = tiny_campaign.write(tmp_path, files={"tracks": 4})
    text = submit(file, status=2)
    assert "holds 1 tracks" in text and "files: tracks: 4" in text and "campaign.yaml files prints how" in text
    ended = {"index": "01_index", "shards/1": "02_fill", "join": "02_fill", "tables": "03_tables", "train": "04_train"}
    for job, notebook in (ended | {"songs/1": "05_songs"}).items():
        out = tmp_path / "root/runs/tiny" / job
        out.mkdir(parents=True)
        metrics = {"stems_by_status": {"ok": 5, "missing": 3}, "tracks_by_status": {"ok": 3, "unreadable": 1}}
        (out / "metrics.json").write_text(json.dumps({notebook: {"status": "ok", "metrics": metrics}}))
    text = submit(file)
    assert "Complete" in text
    assert "index found 1 tracks unreadable, 3 stems missing" in text


def test_notebook_01_ignores_what_killed_copies_leave(source, tmp_path):
    root = open_root(tmp_path / "root")
    shutil.copytree(source, root.slakh, dirs_exist_ok=True)
    expected = slakh.index(root, slakh.Settings())
    track = root.slakh / "train/Track00001"
    (track / "stems/.rsync-partial").mkdir()
    (root.slakh / ".rsync-partial").mkdir()
    for left in ("stems/S02.flac.0123abcd.partial", "stems/.S02.flac.Ab12Cd", "stems/.rsync-partial/S02.flac"):
        (track / left).write_bytes(b"fLaC")
    (track / "metadata.yaml.89abcdef.partial").write_text("stems: {")
    for table, before in zip(slakh.index(root, slakh.Settings()), expected, strict=True):
        assert table.equals(before)


def test_the_example_campaign_has_commands(tmp_path, monkeypatch):
    monkeypatch.setenv("PROJECT", str(tmp_path))
    campaign = read_campaign(PROJECT / "batch" / "campaign.yaml", songs_exist=False)
    assert any(line.startswith("rclone copy") for line in transfer.script(campaign))
    assert Path(campaign.root.path) == tmp_path / "muscomp_root"
