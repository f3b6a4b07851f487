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
