"""Odd names of songs in any order of calls: no song is lost or mixed up with another, and nothing else is touched."""

import os
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from muscomp_lib.core.errors import MusCompError
from muscomp_lib.core.root import open_root
from muscomp_lib.separation import songs
from muscomp_lib.separation.folder import files_of, named_file, separate_all

FACTOR = int(os.environ.get("MUSCOMP_FUZZ", "1"))
ODD = [
    "a",
    "A",
    "a_1s",
    "a (2)",
    "..",
    ".",
    "a.",
    " ",
    "mix",
    "é",
    "e\u0301",
    "\u2028",
    "a\nb",
    "-rf",
    "$(x)",
    "\udce9",
    "C:",
]
STEMS = st.one_of(
    st.sampled_from(ODD),
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=80),
    st.binary(min_size=1, max_size=251).map(lambda name: os.fsdecode(name.replace(b"/", b"_").replace(b"\0", b"_"))),
).filter(lambda stem: len(os.fsencode(stem)) <= 251)
PATHS = st.tuples(st.sampled_from(["cd1", "cd2"]), STEMS, st.sampled_from([".wav", ".mp3", ".m4a"]))
CALLS = st.lists(st.tuples(st.lists(st.integers(0, 4), min_size=1, max_size=3), st.sampled_from([None, None, 1.0])))
SETTINGS = {"derandomize": True, "deadline": None}


class Copier:
    """Stands for a separator: it copies the song's bytes."""

    identity = asked_by = None

    def separate_file(self, path, out_dir, **_):
        file = Path(out_dir) / "all.flac"
        file.write_bytes(path.read_bytes())
        return {"all": file}


def snapshot(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@settings(**SETTINGS, max_examples=100 * FACTOR)
@given(st.lists(PATHS, min_size=1, max_size=5, unique=True), CALLS)
def test_each_song_keeps_a_folder_with_its_own_content(names, calls):
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary).resolve()
        paths = [base / folder / f"{stem}{suffix}" for folder, stem, suffix in names]
        for number, path in enumerate(paths):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"song %d" % number)
        inputs, found = snapshot(base), {}
        for numbers, seconds in calls:
            called = [paths[number % len(paths)] for number in numbers]
            made = separate_all(Copier(), called, base / "out" / "separated", seconds=seconds)
            assert {song.status for song in made} <= {"ok", "up to date"}
            for path, name in zip(called, (song.song for song in made), strict=True):
                assert found.setdefault((path, seconds), name) == name
                named_file(base / "out" / "separated" / name, ".musicxml").touch()
        assert len(set(found.values())) == len(found)
        for (path, _), name in found.items():
            assert files_of(base / "out" / "separated" / name)["all"].read_bytes() == path.read_bytes()
        everything = snapshot(base)
        assert {path: everything[path] for path in inputs} == inputs
        assert all(path.is_relative_to(base / "out" / "separated") for path in everything.keys() - inputs.keys())


@settings(**SETTINGS, max_examples=120 * FACTOR)
@given(st.lists(st.one_of(st.text(max_size=80), STEMS.map(lambda stem: f"{stem}.wav")), min_size=1, max_size=4))
def test_an_upload_is_kept_under_some_name_or_refused(names):
    with tempfile.TemporaryDirectory() as temporary:
        root = open_root(Path(temporary) / "root")
        before, kept = snapshot(root.path.parent), []
        for number, name in enumerate(names):
            try:
                kept.append((songs.import_upload(root, name, b"%d" % number), b"%d" % number))
            except MusCompError:
                continue
        assert snapshot(root.path.parent).items() - before.items() == set(kept)
        assert all(path.parent == root.songs for path, _ in kept)
