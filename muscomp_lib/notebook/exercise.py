"""Checks the answers to the exercises in the notebooks.

A cell gives an exercise's name, the student's answer and the data it is about; exercises.py computes the right answer
from these data. Each wrong answer shows one more hint. Worked solutions for instructors: docs/solutions/.
"""

import collections
import math
import numbers

from IPython.display import Markdown

from muscomp_lib.core import settings
from muscomp_lib.core.errors import SettingError

TOLERANCE = 0.02  # relative, for numbers: people round

Exercise = collections.namedtuple("Exercise", "right hints why")
EXERCISES = {}
_wrong_answers = collections.Counter()  # by exercise, in this session


def exercise(name, *hints, why):
    """Register the function that it decorates: called with the data, it returns what `is_right` takes.

    Parameters
    ----------
    name : str
    hints : str
        From a nudge to nearly the solution; one more is shown with each wrong answer.
    why : str
        Shown with the right answer.
    """

    def register(function):
        EXERCISES[name] = Exercise(function, hints, why)
        return function

    return register


def check(name, answer, *data):
    """Compare an answer with the right one.

    Parameters
    ----------
    name : str
        Of the exercise.
    answer : number, str, list of str or None
        None: no answer yet.
    data
        What the exercise is about.

    Returns
    -------
    IPython.display.Markdown

    Raises
    ------
    SettingError
        There is no such exercise.
    """
    from muscomp_lib.notebook import exercises  # noqa: F401 - fills EXERCISES

    if name not in EXERCISES:
        raise SettingError(f"There is no exercise {name!r}. {settings.suggestion(name, EXERCISES)}")
    asked = EXERCISES[name]
    if answer is None:
        return Markdown("Write your answer in place of `None` and run the cell again. A wrong one shows a hint.")
    if is_right(answer, asked.right(*data)):
        return Markdown(f"**Right**: {_shown(answer)}. {asked.why}")
    _wrong_answers[name] += 1
    hints = asked.hints[: _wrong_answers[name]]
    lines = [f"- {hint}" for hint in hints]
    return Markdown(f"**Not {_shown(answer)}.** Hint {len(hints)} of {len(asked.hints)}:\n\n" + "\n".join(lines))


def is_right(answer, right):
    """Whether an answer is right.

    Parameters
    ----------
    answer : number, str or list
    right : number, str, list of str, set of str or callable
        A number may be rounded, but not a whole one, which is counted. In names, case does not matter, and underscores
        are spaces: of a list, each is right;
        of a set, all are demanded. A callable is given the answer, where many are right.
    """
    try:
        if callable(right):
            return bool(right(answer))
        if isinstance(right, set):
            return {_normalized(name) for name in answer} == {_normalized(name) for name in right}
        if isinstance(right, numbers.Integral):
            return float(answer) == right
        if isinstance(right, numbers.Real):
            return math.isclose(float(answer), right, rel_tol=TOLERANCE, abs_tol=1e-9)
    except (TypeError, ValueError):
        return False
    names = [right] if isinstance(right, str) else right
    return _normalized(answer) in map(_normalized, names)


def _shown(answer):
    return ", ".join(map(str, answer)) if isinstance(answer, (list, tuple, set)) else answer


def _normalized(name):
    return str(name).lower().replace("_", " ").strip()
