"""Odd metadata and tables: each gives rows, or an error of the family; nothing hangs, and nothing else is written."""

import csv
import math
import os
import re
import time
from pathlib import PurePosixPath

import pytest
from fixtures.tiny_slakh import write_track
from hypothesis import given, settings
from hypothesis import strategies as st

from muscomp_lib import slakh
from muscomp_lib.core import names
from muscomp_lib.core.errors import MusCompError
from muscomp_lib.core.root import open_root
from muscomp_lib.slakh import index_tables, track

SETTINGS = {"derandomize": True, "deadline": None}
FACTOR = int(os.environ.get("MUSCOMP_FUZZ", "1"))
MAX_SECONDS = 10
ODD = ["", "~", "null", ".nan", "-.inf", "1e999", "9" * 5000, "2024-13-45", "0:30", "*x", "&x 1", "<<", "!!binary x"]
ODD += ["[a, [b]]", "{a: 1}", "../../x", "a;b", '"\\ud800"', "'a\n\n  b'", "|\n  x\n  y", "!!python/name:os.system x"]
PIECES = ["\0", "\t", "- ", "? ", ": ", "&a ", "*a ", "<<: ", "[", "{", "---\n", "...\n", "'", '"', "|\n", "\u2028"]
CELLS = ["../../x", "/tmp/x", "..", "", "<img src=x>", "a\nb", '"', ";", "nan", "inf", "-1", "1e400", "9" * 30, "٣"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A root with a data set of one track, indexed."""
    root = open_root(tmp_path_factory.mktemp("odd") / "root")
    write_track(root.slakh, "train", "Track00001", {"S00": {"program": 34, "seconds": 0.1}})
    slakh.index(root)
    return root


@pytest.fixture(scope="module")
def plain(root):
    return _metadata(root).read_text()


@pytest.fixture(scope="module")
def tables(root, plain):
    """The contents of both tables."""
    _metadata(root).write_text(plain)
    slakh.index(root)
    return [path.read_bytes() for path in index_tables.paths(root)]


def _metadata(root):
    return root.slakh / "train" / "Track00001" / "metadata.yaml"


def _check_index(root, content):
    """Index the track with this content of its metadata: there is a row, soon, and no file but the tables' is new."""
    _metadata(root).write_bytes(content)
    before, began = set(root.path.parent.rglob("*")), time.monotonic()
    row = slakh.index(root)[1].iloc[0]
    assert time.monotonic() - began < MAX_SECONDS
    assert set(root.path.parent.rglob("*")) == before
    assert row["status"] in index_tables.STATUSES and (row["status"] == "ok" or row["note"])
    level = track.read_metadata("", _metadata(root).stat(), _metadata(root), _NoCache()).get("level")
    assert level is None or math.isfinite(level)


class _NoCache:
    def get(self, *_):
        return None

    def put(self, *_):
        pass


@settings(**SETTINGS, max_examples=60 * FACTOR)
@given(data=st.data())
def test_metadata_of_any_bytes_give_a_row(root, plain, data):
    content = plain.encode()
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(content)))
        end = data.draw(st.integers(at, min(len(content), at + 40)))
        piece = data.draw(st.binary(max_size=8) | st.sampled_from(PIECES).map(str.encode))
        content = content[:at] + piece + content[end:]
    _check_index(root, content)


@settings(**SETTINGS, max_examples=60 * FACTOR)
@given(changes=st.dictionaries(st.integers(0, 20), st.sampled_from(ODD) | st.text(max_size=30), min_size=1, max_size=3))
def test_metadata_of_any_values_give_a_row(root, plain, changes):
    lines = plain.splitlines()
    for number, value in changes.items():
        lines[number % len(lines)] = lines[number % len(lines)].partition(":")[0] + f": {value}"
    _check_index(root, "\n".join(lines).encode("utf-8", "surrogatepass"))


@settings(**SETTINGS, max_examples=300 * FACTOR)
@given(
    table=st.integers(0, 1),
    line=st.integers(0, 1),
    column=st.integers(0, 30),
    cell=st.sampled_from(CELLS) | st.text(max_size=20),
    quoted=st.booleans(),
)
def test_tables_with_any_cell_are_read_or_refused(root, tables, table, line, column, cell, quoted):
    path = index_tables.paths(root)[table]
    rows = list(csv.reader(tables[table].decode().splitlines()))
    rows[line][column % len(rows[line])] = cell
    mark = '"' if quoted else ""
    text = "\n".join(",".join(f"{mark}{each}{mark}" for each in row) for row in rows)
    try:
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        stems, tracks = index_tables.read(root)
    except MusCompError:
        return
    finally:
        path.write_bytes(tables[table])
    assert all(names.is_name(name) for name in [*tracks["track"], *tracks.columns, *stems["track"]])
    paths = [PurePosixPath(path) for path in [*stems["audio"], *stems["midi"], *tracks["mix"]]]
    assert not any(path.is_absolute() or ".." in path.parts or re.search(r"[\n\r]", str(path)) for path in paths)
