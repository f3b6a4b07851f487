import errno
import os
import platform
import subprocess
import sys
import time
import unicodedata
from unittest.mock import Mock

import psutil
import pytest

from muscomp_lib.core import files
from muscomp_lib.core.errors import MusCompError, SettingError
from muscomp_lib.core.files import MAX_NODE_CHARS, PART, absolute, clean_parts, locked, written_whole


@pytest.fixture
def other_process():
    """The number of another process, which runs until the test ends."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process.pid
    process.communicate(b"\n")


HERE = platform.node()[:MAX_NODE_CHARS]


def part(pid, name, node=HERE):
    return f"{PART}{node}-{pid}-{name}"


def test_only_what_nobody_writes_to_a_named_file_is_removed(tmp_path, other_process):
    ended = 2**22 + 1  # above any process number of Linux
    kept = {part(other_process, "a.csv"), part(ended, "b.csv"), "a.csv"}
    gone = {part(os.getpid(), "a.csv"), part(ended, "a.csv"), part("1", "a.csv", "another-machine")}
    for name in kept | gone:
        (tmp_path / name).touch()
    clean_parts(tmp_path, "a.csv", alone=True)
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_without_a_name_all_parts_that_nobody_writes_are_removed(tmp_path, other_process):
    kept = {"a.csv", part(other_process, "a.csv")}
    for name in kept | {part(os.getpid(), "b.csv"), part("1", "c.csv", "another-machine")}:
        (tmp_path / name).touch()
    clean_parts(tmp_path, alone=True)
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_what_another_machine_writes_stays_for_a_day(tmp_path):
    new, old = part("1", "new.csv", "another-machine"), part("1", "old.csv", "another-machine")
    writing = part("1", "song", "another-machine")
    (tmp_path / writing).mkdir()
    for name in (new, old, f"{writing}/mix.flac"):
        (tmp_path / name).touch()
    yesterday = time.time() - 90000
    for name in (old, writing):
        os.utime(tmp_path / name, (yesterday, yesterday))
    clean_parts(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {new, writing}


def test_links_to_folders_are_followed_and_loops_left(tmp_path):
    (tmp_path / "elsewhere" / "song").mkdir(parents=True)
    (tmp_path / "elsewhere" / "song" / "a.mid").touch()
    (tmp_path / "music" / ".hidden").mkdir(parents=True)
    for name in (".hidden/b.mid", "._c.mid", "d.MID", "e.txt"):
        (tmp_path / "music" / name).touch()
    (tmp_path / "music" / "linked").symlink_to(tmp_path / "elsewhere" / "song")
    (tmp_path / "music" / "loop").symlink_to(tmp_path / "music")
    (tmp_path / "music" / "gone.mid").symlink_to("nowhere")
    found = files.files_below(tmp_path / "music", (".mid",))
    assert [path.relative_to(tmp_path / "music").as_posix() for path in found] == ["d.MID", "linked/a.mid"]


def test_a_disk_without_locks_is_reported_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(files, "_WITHOUT_LOCKS", set())
    with locked(tmp_path) as held:
        assert held and not caplog.messages
    monkeypatch.setattr(files.fcntl, "flock", Mock(side_effect=OSError(errno.ENOLCK, "No locks available")))
    for _ in range(2):
        with locked(tmp_path) as held:
            assert not held
    assert caplog.messages == [
        f"The disk of {tmp_path} cannot lock files (No locks available), so that runs do not notice each other there: "
        "start one at a time."
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no ended process that its parent still has to ask")
def test_what_an_ended_process_left_is_removed(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    ended.stdout.read()  # it has closed what it had open, and nobody has waited for it
    while psutil.Process(ended.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    (tmp_path / part(ended.pid, "a.csv")).touch()
    clean_parts(tmp_path)
    ended.wait()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_lock_keeps_others_out_until_it_ends(tmp_path, kind):
    path = tmp_path / "lock" if kind == "file" else tmp_path
    with locked(path), pytest.raises(BlockingIOError), locked(path, wait=False):
        pass
    with locked(path, wait=False):
        pass


def test_a_shared_lock_keeps_out_those_that_do_not_share(tmp_path):
    with locked(tmp_path, shared=True):
        with locked(tmp_path, shared=True, wait=False):
            pass
        with pytest.raises(BlockingIOError), locked(tmp_path, wait=False):
            pass


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "a.mid").mkdir()
    with (
        pytest.raises(MusCompError, match=r"a\.mid cannot be written \(Is a directory\)"),
        written_whole(tmp_path / "a.mid") as part,
    ):
        part.touch()
    assert [path.name for path in tmp_path.iterdir()] == ["a.mid"]
    with pytest.raises(MusCompError, match="Permission denied"), written_whole(tmp_path / "b.mid") as part:
        raise PermissionError(13, "Permission denied", str(part))
    with pytest.raises(MusCompError, match="File name too long"), written_whole(tmp_path / (300 * "b")) as part:
        part.touch()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is of Linux")
def test_a_place_without_files_is_named():
    with pytest.raises(MusCompError, match=r"/proc/x\.mid cannot be written"), written_whole("/proc/x.mid") as part:
        part.touch()


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("https://x.org/a.wav", "root: https://x.org/a.wav is an address, not a path"),
        ("gs://bucket/a", "is an address"),
        ("C:\\songs", f"is a Windows path, and this is {platform.system()}"),
        ("'/content/songs'", "Remove the quotation marks"),
        ("\u201csongs\u201d", "Remove the quotation marks"),
        ("~nobody-of-this-name/a", "is not a possible path"),
        ("", "root: the path is blank"),
        ("a/" + "x" * 300, "longer than 255 bytes"),
        ("a\0b", "is not a possible path"),
    ],
)
def test_what_no_disk_has_is_no_path(path, reason):
    with pytest.raises(SettingError, match=reason):
        absolute(path, "root: ")


def test_paths_are_taken_from_their_base(tmp_path):
    (tmp_path / "\u201cHeroes\u201d").mkdir()
    quoted = str(tmp_path / "\u201cHeroes\u201d")
    assert absolute(quoted) == tmp_path / "\u201cHeroes\u201d"
    assert absolute("a:b/c", base=tmp_path) == tmp_path / "a:b" / "c"


@pytest.mark.parametrize(("on_disk", "given"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_accents_are_found_in_the_form_the_disk_has(tmp_path, on_disk, given):
    there, asked = (unicodedata.normalize(form, "Käse/für") for form in (on_disk, given))
    (tmp_path / there).mkdir(parents=True)
    assert absolute(tmp_path / asked / "new") == tmp_path / there / "new"
    assert absolute(asked, base=tmp_path) == tmp_path / there
    (tmp_path / asked).mkdir(parents=True, exist_ok=True)
    assert absolute(tmp_path / asked) == tmp_path / asked
