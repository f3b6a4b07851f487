"""Progress bars, and the plain lines that take their place where nobody looks."""

import pytest

from muscomp_lib.core import progress


@pytest.fixture
def headless(monkeypatch):
    monkeypatch.setenv(progress.HEADLESS, "1")
    monkeypatch.setattr(progress, "SECONDS_BETWEEN", 0.0)


def test_where_nobody_looks_each_line_says_how_far_it_is(headless, capsys):
    with progress.bar(total=4, desc="training", unit="step", initial=1) as steps:
        steps.set_postfix(loss="0.5", refresh=False)
        steps.update()
        steps.update(2)
    *_, before, last = capsys.readouterr().err.splitlines()
    assert before.startswith("training: 4 of 4 (100 %), 00:00 so far, 00:00 to go, loss=0.5") and last == before


def test_lines_come_now_and_then_only(headless, monkeypatch, capsys):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN", 30.0)
    assert list(progress.bar(range(1000), desc="songs")) == list(range(1000))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("options", [{"total": 0}, {"total": 1, "disable": True}])
def test_what_is_not_to_be_seen_says_nothing(headless, capsys, options):
    with progress.bar(desc="songs", **options) as songs:
        songs.update()
    assert capsys.readouterr().err == ""


def test_for_people_it_is_a_bar_of_tqdm(monkeypatch):
    monkeypatch.delenv(progress.HEADLESS, raising=False)
    assert isinstance(progress.bar(total=3), progress.std.tqdm) and not isinstance(progress.bar(), progress._Lines)
