import os
import shutil

import pytest

from muscomp_lib.core import provenance
from muscomp_lib.core.root import open_root


def test_a_result_matches_what_it_was_made_from_only(tmp_path):
    path = tmp_path / "made_from.txt"
    assert not provenance.matches(path, "é 1\n")
    provenance.write(path, "é 1\n")
    assert provenance.matches(path, "é 1\n") and not provenance.matches(path, "é 2\n")
    assert path.read_bytes() == "é 1\n".encode()


@pytest.mark.parametrize("content", [b"\xff\xfe", b"{"])
def test_a_damaged_note_matches_nothing(tmp_path, content):
    (tmp_path / "made_from.txt").write_bytes(content)
    assert not provenance.matches(tmp_path / "made_from.txt", "text")


def test_any_changed_byte_changes_the_checksum(tmp_path):
    path, content = tmp_path / "file", bytearray(3 * provenance.BLOCK)
    sums = set()
    for place in (0, len(content) // 2, len(content) - 1):
        content[place] ^= 1
        path.write_bytes(content)
        sums.add(provenance.checksum(path))
    assert len(sums) == 3


def test_an_identity_is_read_again_when_size_or_date_change(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_text("a")
    known = provenance.identity(path)
    monkeypatch.setattr(provenance, "checksum", lambda _: "read again")
    assert provenance.identity(path, known) == known
    os.utime(path, ns=(0, 0))
    assert provenance.identity(path, known)["checksum"] == "read again"


def test_checksums_outlast_the_run_and_the_root(tmp_path, monkeypatch):
    root = open_root(tmp_path / "root")
    files = {name: root.slakh / name for name in ("a.wav", "b.wav")}
    for name, path in files.items():
        path.write_text(name)
    first = {name: provenance.Checksums(root).of(path) for name, path in files.items()}
    monkeypatch.setattr(provenance, "checksum", lambda path: f"read {path.name}")
    assert {name: provenance.Checksums(root).of(path) for name, path in files.items()} == first
    shutil.copytree(root.path, tmp_path / "copy")  # with its dates
    copy = open_root(tmp_path / "copy")
    (copy.slakh / "b.wav").write_text("other")
    assert provenance.Checksums(copy).of(copy.slakh / "a.wav") == first["a.wav"]
    assert provenance.Checksums(copy).of(copy.slakh / "b.wav") == "read b.wav"
    assert provenance.Checksums(copy).of(copy.slakh / "none.wav") is None
