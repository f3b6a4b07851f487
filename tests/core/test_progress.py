"""Progress bars, and the plain lines of batch jobs."""

import pytest

from muscomp_lib.core import progress


@pytest.fixture
def headless(monkeypatch):
    monkeypatch.setenv(progress.HEADLESS, "1")
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)


def test_headless_progress_is_printed_as_lines(headless, capsys):
    with progress.bar(total=4, desc="training", unit="step", initial=1) as steps:
        steps.set_postfix(loss="0.5", refresh=False)
        steps.update()
        steps.update(2)
    *_, before, last = capsys.readouterr().err.splitlines()
    assert before.startswith("training: 4 of 4 (100 %), 00:00 so far, 00:00 to go, loss=0.5") and last == before


def test_lines_are_printed_at_intervals(headless, monkeypatch, capsys):
    monkeypatch.setattr(progress, "LINE_SECONDS", 30.0)
    assert list(progress.bar(range(1000), desc="songs")) == list(range(1000))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("options", [{"total": 0}, {"total": 1, "disable": True}])
def test_a_disabled_or_empty_bar_prints_nothing(headless, capsys, options):
    with progress.bar(desc="songs", **options) as songs:
        songs.update()
    assert capsys.readouterr().err == ""


def test_in_a_notebook_it_is_a_tqdm_bar(monkeypatch):
    monkeypatch.delenv(progress.HEADLESS, raising=False)
    assert isinstance(progress.bar(total=3), progress.std.tqdm) and not isinstance(progress.bar(), progress._Lines)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "-"), (0.25, "0.25 s"), (9.4, "9.4 s"), (45, "45 s"), (59.4, "59 s"), (59.6, "1 min"),
        (3570, "1 h 0 min"), (4800, "1 h 20 min"), (3 * 86400 + 4 * 3600, "3 days 4 h"), (2 * 86400 - 1, "2 days 0 h"),
    ],
)  # fmt: skip
def test_durations_in_words(seconds, words):
    assert progress.duration(seconds) == words


@pytest.mark.parametrize(
    ("n_bytes", "words"),
    [(500, "0.5 kB"), (9_940, "9.9 kB"), (23_400_000, "23 MB"), (999_600_000, "1.0 GB"), (1.41e12, "1.4 TB")],
)
def test_sizes_in_words(n_bytes, words):
    assert progress.size(n_bytes) == words
