import errno
import signal
import subprocess
import sys
import textwrap
import types
from pathlib import Path

import pytest

from muscomp_lib.core import root as drive
from muscomp_lib.core.errors import DiskFullError, MissingError, MusCompError, SettingError
from muscomp_lib.core.files import PART, clean_parts, written_whole
from muscomp_lib.core.root import __file__, layout, open_root, overview, required, room, shutil


def test_opening_a_root_makes_every_declared_folder(tmp_path):
    root = open_root(tmp_path / "root")
    assert {path.name for path in root.path.iterdir()} == {entry["folder"] for entry in layout().values()}
    assert root.tables == tmp_path / "root" / "tables"
    assert root.relative(root.tables / "stems.csv") == "tables/stems.csv"
    with pytest.raises(AttributeError, match=r"no folder 'tabels'; it has .*tables"):
        _ = root.tabels


def test_the_root_comes_from_the_environment_when_none_is_given(tmp_path, monkeypatch):
    monkeypatch.setenv("MUSCOMP_ROOT", str(tmp_path / "mine"))
    assert open_root().path == tmp_path / "mine"
    monkeypatch.delenv("MUSCOMP_ROOT")
    monkeypatch.chdir(tmp_path)
    assert open_root().path == tmp_path / "muscomp_root"


def test_on_colab_drive_is_mounted_first(tmp_path, monkeypatch):
    mounted = []
    colab = types.ModuleType("google.colab")
    colab.drive = types.SimpleNamespace(mount=mounted.append)
    monkeypatch.setitem(sys.modules, "google", types.ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    monkeypatch.delenv("MUSCOMP_ROOT", raising=False)
    monkeypatch.setattr(drive, "COLAB_ROOT", tmp_path / "MyDrive" / "muscomp_root")
    assert open_root().path == tmp_path / "MyDrive" / "muscomp_root"
    assert mounted == ["/content/drive"]


def test_a_root_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MusCompError, match=r"The folder .*file/root/slakh cannot be used .*file"):
        open_root(tmp_path / "file" / "root")


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), written_whole(path) as part:
        part.write_text("half")
        raise ZeroDivisionError
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]
    assert path.read_text() == "old"
    with written_whole(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_a_folder_appears_whole_and_replaces_the_one_before(tmp_path):
    folder = tmp_path / "Track00001"
    folder.mkdir()
    for name in ("stale.flac", "recipe.json"):
        (folder / name).write_text("")
    with written_whole(folder, mark="recipe.json") as part:
        part.mkdir()
        (part / "mix.flac").write_text("")
    assert [p.name for p in folder.iterdir()] == ["mix.flac"]


def test_a_folder_that_others_made_is_not_replaced(tmp_path):
    (tmp_path / "Track00001").mkdir()
    (tmp_path / "Track00001" / "mine.flac").write_text("")
    for mark in (None, "recipe.json"):
        with (
            pytest.raises(SettingError, match="Track00001 was not made by Mus-Comp"),
            written_whole(tmp_path / "Track00001", mark) as part,
        ):
            part.mkdir()
    assert [path.name for path in tmp_path.rglob("*")] == ["Track00001", "mine.flac"]


def test_a_folder_inside_a_file_is_one_error_of_ours(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(MusCompError, match=r"The folder .*out.x cannot be used"), written_whole(tmp_path / "out/x/a"):
        pass


def test_what_a_killed_run_left_is_cleaned(tmp_path):
    code = f"""
        import os, signal
        from muscomp_lib.core.files import written_whole
        with written_whole({str(tmp_path / "table.csv")!r}) as part:
            part.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    project = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=project, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob(".part-*"))) == 1
    assert not (tmp_path / "table.csv").exists()
    clean_parts(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["n" * 250 + ".flac", "é" * 120 + ".flac", "n" * 255, "a." + "n" * 253])
def test_a_name_with_no_room_for_more_is_written_too(tmp_path, name):
    other = tmp_path / f"other{name[5:]}"
    with written_whole(tmp_path / name) as part, written_whole(other) as second:
        part.write_text("one")
        second.write_text("two")
        assert {path.name for path in tmp_path.glob(f"{PART}*")} == {part.name, second.name}
        assert part.suffix[:5] == Path(name).suffix[:5]
    assert ((tmp_path / name).read_text(), other.read_text()) == ("one", "two")
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_says_so_and_leaves_nothing(tmp_path, number):
    says = pytest.raises(DiskFullError, match=r"No room left to write .*song\.flac")
    with says, written_whole(tmp_path / "song.flac") as part:
        part.write_text("half")
        raise OSError(number, "full")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_names_what_makes_it(tmp_path):
    with pytest.raises(MissingError, match=r"stems\.csv is not there\. Notebook 01 makes it"):
        required(tmp_path / "stems.csv", "Notebook 01")
    assert required(tmp_path, "Notebook 01") == tmp_path


def test_every_folder_is_listed_with_size_and_what_is_deletable(tmp_path):
    told = overview(open_root(tmp_path))
    assert list(told.columns) == ["folder", "holds", "takes", "deleting"]
    assert list(told["folder"]) == [f"{entry['folder']}/" for entry in layout().values()]
    assert told.map(lambda cell: isinstance(cell, str) and len(cell) > 4).all(axis=None)
    assert "105 GB" in told.loc[0, "takes"]


def test_the_folders_readme_names_each_with_its_contents():
    readme = (Path(__file__).parents[2] / "drive_layout" / "README.md").read_text(encoding="utf-8")
    for entry in layout().values():
        assert f"- `{entry['folder']}/`: {entry['holds']}" in readme


@pytest.mark.parametrize(
    ("free", "said"),
    [
        (300, "Free: 300.0 of 500.0 GB, on this disk. There is room for the whole of Slakh2100 (105 GB) and"),
        (210, "and, until it is unpacked, its archive"),
        (209, "There is room for the whole of Slakh2100 (105 GB), but not for its archive beside it"),
        (105, "There is room"),
        (104, "There is not enough room for the whole of Slakh2100 (105 GB), unless it is here already"),
    ],
)
def test_a_disk_too_small_for_all_of_slakh_is_reported(tmp_path, monkeypatch, free, said):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: (500e9, 0, free * 1e9))
    assert said in room(open_root(tmp_path))


def test_on_google_drive_the_room_is_what_it_reports(tmp_path, monkeypatch):
    monkeypatch.setattr(drive, "COLAB_MOUNT", tmp_path)
    assert "GB, as Google Drive reports it." in room(open_root(tmp_path / "MyDrive" / "muscomp_root"))


def test_a_disk_that_does_not_tell_its_room_stops_nothing(tmp_path, monkeypatch):
    root = open_root(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: (0, 0, 0))
    assert "does not report its free space" in room(root)

    def fails(_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(shutil, "disk_usage", fails)
    assert "does not report its free space" in room(root)
