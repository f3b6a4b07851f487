"""The work on one song: how far it is, what stops it, and what the page says about it."""

import numpy as np
import pytest
import soundfile

from muscomp_lib.core.errors import AudioError
from muscomp_lib.website import stages
from muscomp_lib.website.stages import ENCODING, PARTS, SCORE, Progress, StopError, check_length, key_name, limited

CONFIG = {"T": 512, "frame_step": 1024, "sample_rate": 44100}  # segments of 11.9 s


def test_progress_only_grows_through_the_parts():
    progress, shares = Progress(), []
    for part in PARTS:
        for _ in progress.bar(range(4), desc=part):
            shares.append(progress.share)
    assert shares == sorted(shares) and len(set(shares)) > 3 * len(PARTS) and shares[0] == 0.0
    assert progress.stage == PARTS[SCORE][0] and 0.9 < progress.share <= 1.0


def test_a_stopped_song_ends_at_its_next_step():
    progress = Progress()
    with pytest.raises(StopError):
        for number in progress.bar(range(9), desc=ENCODING):
            progress.stopped = number == 3
    assert number == 3


def test_a_song_longer_than_its_header_says_is_ended():
    bar = limited(Progress(), 2.0, CONFIG)(total=60, desc="separating")
    for _ in range(11):  # the two minutes that are allowed
        bar.update(0)
    with pytest.raises(AudioError, match="longer than its header says"):
        for _ in range(5):
            bar.update(0)


def test_a_part_of_a_too_long_song_is_taken(tmp_path):
    soundfile.write(tmp_path / "long.flac", np.zeros(8000 * 180, np.float32), 8000)
    with pytest.raises(AudioError, match="lasts 3 minutes, and 2 are the most"):
        check_length(tmp_path / "long.flac", 2.0)
    check_length(tmp_path / "long.flac", 2.0, 30)


def test_other_bars_are_shown_as_loading():
    progress = Progress()
    progress.begin("separating")
    for _ in progress.bar(range(2), desc="spleeter:4stems"):
        assert progress.stage == PARTS[stages.LOADING][0] and progress.share > 0


def test_keys_are_named_as_musicians_do():
    assert [key_name(number) for number in (0, 1, 6, 10, 12, 21, 22)] == [
        "C major", "D♭ major", "F♯ major", "B♭ major", "C minor", "A minor", "B♭ minor",
    ]  # fmt: skip
