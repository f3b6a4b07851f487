"""Damaged sound files of every format: each is read, or refused in the family, and nothing is lost silently.

`MUSCOMP_FUZZ=20 pytest tests/audio/test_fuzz.py` tries twenty times as many.
"""

import logging
import os
import resource
import time

import numpy as np
import pytest
import soundfile
from fixtures.encoded import RATE, encode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muscomp_lib import audio
from muscomp_lib.audio import stream
from muscomp_lib.core.errors import MusCompError, UnreachableError

FACTOR = int(os.environ.get("MUSCOMP_FUZZ", "1"))
SETTINGS = {"derandomize": True, "deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
BY_LIBSNDFILE = {"wav": "PCM_16", "float.wav": "FLOAT", "adpcm.wav": "IMA_ADPCM", "rf64": None, "aiff": None}
BY_LIBSNDFILE |= {"w64": None, "caf": None, "alac.caf": "ALAC_16", "au": None, "flac": None, "ogg": None, "mp3": None}
BY_PYAV = {"m4a": "aac", "alac.m4a": "alac", "mp4": "flac", "mov": "pcm_s16le", "mkv": "aac", "webm": "libopus"}
BY_PYAV |= {"avi": "aac", "aac": "aac", "ts": "aac", "opus": "libopus"}
NAMES = sorted([*BY_LIBSNDFILE, *BY_PYAV])
SECONDS = 0.6
SLOWEST, MOST_BYTES = 10, 500_000_000  # what one file may take
LOSS = 0.15  # seconds: what may be missing without a word, a few frames of a codec

# Where an edit is, as a share of the file (headers more often than not), and what it does there.
PLACES = st.one_of(st.floats(0, 0.999), st.floats(0, 0.02), st.floats(0.98, 0.999))
WORDS = st.sampled_from([b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\1", b"\1\0\0\0"])
FLIPS = st.tuples(PLACES, st.just("flip"), st.integers(0, 7))
WRITES = st.tuples(PLACES, st.just("write"), st.one_of(WORDS, st.binary(min_size=1, max_size=8)))
MOVES = st.tuples(PLACES, st.sampled_from(["drop", "repeat"]), st.integers(1, 3000))
EDITS = st.lists(st.one_of(FLIPS, WRITES, MOVES), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("damaged")


class Files(dict):
    """By name: bytes, and the number of samples."""

    def __repr__(self):
        """Short, for Hypothesis prints it."""
        return "files"


@pytest.fixture(scope="module")
def files(folder):
    """A small file of each format."""
    time, rng = np.arange(round(SECONDS * RATE))[:, None] / RATE, np.random.default_rng(0)
    sound = (0.4 * np.sin(2 * np.pi * time * [220, 330]) + 0.02 * rng.standard_normal((len(time), 2))).astype(
        np.float32
    )
    made = Files()
    for name in NAMES:
        path = folder / f"a.{name}"
        if name in BY_LIBSNDFILE:
            soundfile.write(path, sound, RATE, format=path.suffix[1:].upper(), subtype=BY_LIBSNDFILE[name])
        else:
            encode(path, sound, codec=BY_PYAV[name], rate=48000 if BY_PYAV[name] == "libopus" else RATE)
        made[name] = path.read_bytes(), len(audio.read(path)[0])
    return made


def edited(content, edits):
    content = bytearray(content)
    for share, kind, value in edits:
        place = int(share * len(content))
        if kind == "flip" and content:
            content[place] ^= 1 << value
        elif kind == "write":
            content[place : place + len(value)] = value
        elif kind == "drop":
            del content[place : place + value]
        elif kind == "repeat":
            content[place:place] = content[place : place + value]
    return bytes(content)


class Warnings(logging.Handler):
    """What was logged by the reader."""

    def __enter__(self):
        self.messages = []
        logging.getLogger("muscomp_lib.audio").addHandler(self)
        return self

    def __exit__(self, *raised):
        logging.getLogger("muscomp_lib.audio").removeHandler(self)

    def emit(self, record):
        self.messages.append(record.getMessage())


def read_everywhere(path):
    """Read a file in all ways; returns its number of samples, None when it is refused, and what was warned about."""
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with Warnings() as warnings:
        try:
            n_samples = _read(path)
        except MusCompError as error:
            assert path.name in str(error)
            assert not isinstance(error, UnreachableError), "the disk is well"
            n_samples = None
    assert time.monotonic() - started < SLOWEST
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MOST_BYTES
    return n_samples, warnings.messages


def _read(path):
    audio.info(path)
    integers, _ = audio.read(path, dtype="int16")
    with stream.opened(path) as song:
        blocks = list(song.blocks(10_000))
    assert all(np.isfinite(block).all() for block in blocks)
    assert sum(map(len, blocks)) == len(integers)
    with stream.opened(path, start=0.1, seconds=0.1) as song:
        assert 0 < sum(map(len, song.blocks(10_000))) <= 0.1 * song.sample_rate + 1
    return len(integers)


@settings(max_examples=250 * FACTOR, **SETTINGS)
@given(name=st.sampled_from(NAMES), edits=EDITS)
def test_a_damaged_file_is_read_or_refused_in_the_family(folder, files, name, edits):
    path = folder / f"a.{name}"
    path.write_bytes(edited(files[name][0], edits))
    read_everywhere(path)


@settings(max_examples=120 * FACTOR, **SETTINGS)
@given(name=st.sampled_from(NAMES), share=st.floats(0, 1))
def test_a_file_cut_anywhere_loses_nothing_silently(folder, files, name, share):
    path, (content, n_samples) = folder / f"a.{name}", files[name]
    path.write_bytes(content[: int(share * len(content))])
    found, warnings = read_everywhere(path)
    of_whole_packets = name == "ts" and path.stat().st_size % 188 == 0  # nothing there tells that more came
    assert found is None or warnings or of_whole_packets or found >= n_samples - LOSS * RATE
