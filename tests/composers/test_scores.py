"""Scores as notes: what is read, what is refused and why, and that nothing is read twice."""

import numpy as np
import pytest
from fixtures import tiny_composers

from muscomp_lib import music_files
from muscomp_lib.composers import scores


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MUSCOMP_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        ("broken.mid", "unreadable", "it is cut short"),
        ("broken.mxl", "unreadable", "cannot be read as music"),
        ("empty.mid", "unreadable", "it is empty"),
        ("silent.mid", "unreadable", "it has no notes"),
        ("one note.mid", "too_short", "It has 1 note; 20 are the least"),
        ("absent.mid", "unreadable", "is not there"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path, name, status, reason):
    folder = tiny_composers.write_unusable(tmp_path / "scores")
    _, found, note = scores.examine(folder / name)
    assert found == status and reason in note


def test_notes_begin_at_zero_and_are_kept_by_content(tmp_path, monkeypatch):
    path = tiny_composers.write_piece(tmp_path / "one.mid", "Scale")
    notes = scores.read(path)
    assert notes[0, scores.START] == 0 and (np.diff(notes[:, scores.START]) >= 0).all()
    monkeypatch.setattr(music_files, "read", None)  # a second reading would fail
    assert np.array_equal(scores.read(path.rename(tmp_path / "renamed.mid")), notes)


def test_a_damaged_or_missing_cache_changes_nothing(tmp_path, monkeypatch):
    path = tiny_composers.write_piece(tmp_path / "one.mid", "Scale")
    notes = scores.read(path)
    (kept,) = (tmp_path / "cache").rglob("*.npy")
    for content in (b"", kept.read_bytes()[:-9]):
        kept.write_bytes(content)
        assert np.array_equal(scores.read(path), notes)
    (tmp_path / "file").touch()
    monkeypatch.setenv("MUSCOMP_CACHE", str(tmp_path / "file"))
    assert np.array_equal(scores.read(path), notes)
