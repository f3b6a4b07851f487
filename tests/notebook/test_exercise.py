import pytest

from muscomp_lib.notebook.exercise import check


@pytest.mark.parametrize(
    ("answer", "right"),
    [(6, 6), ("6", 6), (5.9, 5.944), ("violin", "Violin"), ("rock organ", ["Rock_Organ", "Violin"]), (0, 0)],
)
def test_a_right_answer_may_be_rounded_or_spelled_differently(answer, right):
    assert "Right" in check(answer, right, "look").data


@pytest.mark.parametrize(("answer", "right"), [(5, 6), ("many", 6), ([], 6), ("Violin", "Drums"), (None, [])])
def test_a_wrong_answer_gets_the_hint_and_none_a_prompt(answer, right):
    shown = check(answer, right, "Look at the picture.").data
    assert "Right" not in shown
    assert "Write your answer" in shown if answer is None else "Look at the picture." in shown
