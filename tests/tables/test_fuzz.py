"""Odd tables: each is read, or refused by an error of the family; nothing is written, and no file outside is needed."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from muscomp_lib.core.errors import MusCompError
from muscomp_lib.core.root import open_root
from muscomp_lib.dataset import song_table

SETTINGS = {"derandomize": True, "deadline": None}
FACTOR = int(os.environ.get("MUSCOMP_FUZZ", "1"))
NAMES = ["mix", "bass", "other"]
CONFIG = {"mix_name": "mix", "instrument_list": NAMES[1:], "sample_rate": 8000, "n_channels": 2}
TABLE = "mix_path,bass_path,other_path,duration\n" + 3 * "s/mix.wav,s/bass.wav,s/other.wav,0.5\n"
ODD = [
    "",
    " ",
    ".",
    "..",
    "/",
    "//",
    "s",
    "s/mix.wav/",
    "s/nan.wav",
    "s/text.wav",
    "../x",
    "/dev/zero",
    "~",
    "C:/x",
    "\0",
]
NUMBERS = ["nan", "-0.5", "1e400", "0x1p3", "0,5", "0:00", "٣", "1_0", "00.5", ".5", "500", "5e-1", "1" * 400]
CELLS = st.one_of(st.sampled_from(ODD + NUMBERS), st.text(max_size=300), st.floats().map(str))


@pytest.fixture(scope="module")
def root():
    with tempfile.TemporaryDirectory() as folder:
        root = open_root(folder)
        (root.path / "s").mkdir()
        for name in (*NAMES, "nan"):
            waveform = np.full((4000, 2), np.nan if name == "nan" else 0.1 * len(name))
            soundfile.write(root.path / "s" / f"{name}.wav", waveform, 8000, subtype="FLOAT")
        (root.path / "s" / "text.wav").write_text("RIFF")
        yield root


def check(root, content, for_spleeter=False):
    """Read a table of these bytes: whether it was accepted."""
    path = root.tables / "train.csv"
    path.write_bytes(content)
    before = sorted(root.path.rglob("*"))
    try:
        songs = song_table.read_songs(root, path, CONFIG, for_spleeter)
        assert songs and all(song.n_samples == 4000 for song in songs)
        assert all(Path(file).is_file() for song in songs for file in (song.mix, *song.files.values()))
    except MusCompError as error:
        songs = []
        assert "train.csv" in str(error) and len(str(error)) < 3000
    assert sorted(root.path.rglob("*")) == before
    return bool(songs)


def test_the_table_that_is_changed_is_accepted(root):
    assert check(root, TABLE.encode()) and check(root, TABLE.encode(), for_spleeter=True)


@settings(**SETTINGS, max_examples=250 * FACTOR)
@given(st.integers(0, 3), st.integers(0, 3), CELLS, st.booleans(), st.booleans())
def test_any_cell_is_read_or_refused(root, line, column, cell, quoted, for_spleeter):
    cells = [line.split(",") for line in TABLE.splitlines()]
    cells[line][column] = f'"{cell}"' if quoted else cell
    check(root, "\n".join(",".join(row) for row in cells).encode("utf-8", "surrogatepass"), for_spleeter)


@settings(**SETTINGS, max_examples=250 * FACTOR)
@given(
    st.lists(st.tuples(st.integers(0, len(TABLE)), st.integers(0, 9), st.binary(max_size=5)), min_size=1, max_size=4)
)
def test_any_bytes_are_read_or_refused(root, changes):
    content = TABLE.encode()
    for start, length, inserted in changes:
        content = content[:start] + inserted + content[start + length :]
    check(root, content)


@settings(**SETTINGS, max_examples=100 * FACTOR)
@given(st.text(max_size=200), st.sampled_from(["utf-8", "utf-16", "utf-8-sig", "utf-32", "cp1252", "utf-16-le"]))
def test_any_text_and_encoding_is_read_or_refused(root, text, encoding):
    check(root, (TABLE + text).encode(encoding, "replace"))
