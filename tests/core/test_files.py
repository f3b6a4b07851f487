import os
import platform
import subprocess
import sys
import unicodedata

import pytest

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
    clean_parts(tmp_path, "a.csv")
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_without_a_name_all_parts_are_removed(tmp_path, other_process):
    for name in ("a.csv", part(other_process, "a.csv"), part(os.getpid(), "b.csv")):
        (tmp_path / name).touch()
    clean_parts(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


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
