import pytest

from muscomp_lib.core import units


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "-"), (0.25, "0.25 s"), (9.4, "9.4 s"), (45, "45 s"), (59.4, "59 s"), (59.6, "1 min"),
        (3570, "1 h 0 min"), (4800, "1 h 20 min"), (3 * 86400 + 4 * 3600, "3 days 4 h"), (2 * 86400 - 1, "2 days 0 h"),
    ],
)  # fmt: skip
def test_durations_in_words(seconds, words):
    assert units.duration(seconds) == words


@pytest.mark.parametrize(
    ("n_bytes", "words"),
    [(500, "0.5 kB"), (9_940, "9.9 kB"), (23_400_000, "23 MB"), (999_600_000, "1.0 GB"), (1.41e12, "1.4 TB")],
)
def test_sizes_in_words(n_bytes, words):
    assert units.size(n_bytes) == words
