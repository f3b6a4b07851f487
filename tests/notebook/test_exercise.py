"""Exercises: what counts as right, hints in steps, and that each in the notebooks has an answer and a solution."""

import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from fixtures import solutions

from muscomp_lib.core.errors import SettingError
from muscomp_lib.notebook import exercises
from muscomp_lib.notebook.exercise import EXERCISES, check, exercise, is_right

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def asked(path):
    """The names of a notebook's exercises, in order."""
    cells = [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    return [name for source in cells for name in re.findall(r'exercise\.check\(\s*"([^"]+)"', source)]


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        (6, 6), ("6", 6), (5.9, 5.944), (3.0, np.int64(3)),
        ("violin", "Violin"), ("rock organ", ["Rock_Organ", "Violin"]), (0, 0),
        (["b", "A"], {"a", "b"}), (7, lambda answer: answer > 6),
    ],
)  # fmt: skip
def test_a_right_answer_may_be_rounded_or_spelled_differently(answer, right):
    assert is_right(answer, right)


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        (5, 6), (258, 259), ("many", 6), ([], 6), ("Violin", "Drums"), ("a", {"a", "b"}), (["a"], {"a", "b"}),
        (3, {"a"}),
        ("x", lambda answer: answer > 6),
    ],
)  # fmt: skip
def test_another_answer_is_wrong(answer, right):
    assert not is_right(answer, right)


def test_each_wrong_answer_shows_one_more_hint(monkeypatch):
    monkeypatch.delitem(EXERCISES, "sum", raising=False)
    exercise("sum", "A nudge.", "Nearly all of it.", why="Numbers add.")(lambda a, b: a + b)
    assert "Write your answer" in check("sum", None, 1, 2).data
    first, second, third = (check("sum", 4, 1, 2).data for _ in range(3))
    assert "A nudge." in first and "Nearly" not in first
    assert "A nudge." in second and "Nearly" in second and third == second
    right = check("sum", 3, 1, 2).data
    assert "Right" in right and "Numbers add." in right
    del EXERCISES["sum"]


def test_an_unknown_exercise_is_named_with_the_nearest():
    with pytest.raises(SettingError, match=r"'rarest instrumnt'.*'rarest instrument'"):
        check("rarest instrumnt", "Drums")


def test_every_exercise_is_asked_once_and_has_hints():
    names = [name for path in NOTEBOOKS for name in asked(path)]
    assert sorted(names) == sorted(set(EXERCISES))
    assert exercises and all(len(each.hints) >= 2 and each.why for each in EXERCISES.values())


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_exercise_has_a_solution_and_no_answer_beside_it(path):
    solved = solutions.read(path.stem)
    assert list(solved) == asked(path)
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type == "code" and "exercise.check(" in cell.source:
            assert re.search(r"^\w+ = None$", cell.source, flags=re.MULTILINE)
            called = cell.source.split("exercise.check(")[1]
            assert not re.search(r"[*/+]|\b\d", re.sub(r'"[^"]*"', "", called)), "the cell computes the answer"
