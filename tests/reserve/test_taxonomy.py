"""Notebooks 01 and 02 under any taxonomy: drums alone, and drums under another name."""

import pytest
from fixtures.killing import snapshot
from fixtures.tiny_slakh import write_track

from muscomp_lib import minislakh, reserve, slakh
from muscomp_lib.core import instruments
from muscomp_lib.core.root import open_root
from muscomp_lib.reserve import fill_plan
from muscomp_lib.slakh import index_tables


def prepared(path, name, monkeypatch):
    """A root with ten songs, nine of them with drums, indexed and filled under a taxonomy of drums alone."""
    root = open_root(path / name)
    monkeypatch.setattr(instruments, "TAXONOMY_FILE", path / f"{name}.yaml")
    instruments.TAXONOMY_FILE.write_text(f"mine: {{{name}: {{programs: [128]}}}}\n")
    for number in range(10):
        stems = {"S00": {"program": 30, "seconds": 1.0, "frequency": 110.0 + number}}
        if number != 3:
            stems["S01"] = {"program": 128, "seconds": 1.0, "noise": True, "frequency": number}
        write_track(root.slakh, {8: "validation", 9: "test"}.get(number, "train"), f"Track0000{number}", stems)
    slakh.index(root, slakh.Settings(taxonomy="mine"))
    synthesis = reserve.fill(root, reserve.Settings(workers=1))
    return root, synthesis


def test_a_taxonomy_of_drums_alone_is_filled(tmp_path, monkeypatch):
    root, synthesis = prepared(tmp_path, "Drum_Kit", monkeypatch)
    assert list(synthesis["track"]) == ["Track00003"] and list(synthesis["instrument"]) == ["Drum_Kit"]
    checked = reserve.check(root, workers=1)
    assert len(checked) >= 3 and (checked["note"] == "").all()
    song = root.prepared / "train" / "Track00003"
    assert {path.stem for path in song.glob("*.flac")} == {"mix", "Drum_Kit", "other"}


def test_drums_under_another_name_give_the_same_files(tmp_path, monkeypatch):
    made = {}
    for name in ("Drums", "Drum_Kit"):
        root, synthesis = prepared(tmp_path, name, monkeypatch)
        files = snapshot(root.prepared).items()
        made[name] = {str(path).replace(name, "X"): held for path, held in files if str(path).endswith(".flac")}
        assert fill_plan.unfilled(index_tables.read(root)[1], synthesis).empty
    assert made["Drums"] == made["Drum_Kit"] and made["Drums"]


@pytest.mark.parametrize("plant", [True, False])
def test_the_mini_slakh_of_drums_alone_runs_through_both_notebooks(plant, tmp_path, monkeypatch):
    root = open_root(tmp_path)
    monkeypatch.setattr(instruments, "TAXONOMY_FILE", tmp_path / "mine.yaml")
    instruments.TAXONOMY_FILE.write_text("mine: {Drum_Kit: {programs: [128]}}\n")
    small = minislakh.Settings(tracks=6, seconds=4.0, plant=plant, taxonomy="mine")
    minislakh.make(root.slakh, small, workers=1)
    stems, tracks = slakh.index(root, slakh.Settings(taxonomy="mine"))
    assert (tracks["status"] == "ok").all() and set(stems["status"]) <= {"ok", "unrendered"}
    assert reserve.fill(root, reserve.Settings(workers=1)).empty
    assert (reserve.check(root, workers=1)["note"] == "").all()
