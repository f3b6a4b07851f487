"""Checks the answers to the exercises in the notebooks."""

import math

from IPython.display import Markdown

TOLERANCE = 0.02  # relative, for numbers: people round


def check(answer, right, hint):
    """Compare an answer with the right one.

    Parameters
    ----------
    answer : number, str or None
        None: no answer yet. In names, case does not matter, and underscores are spaces.
    right : number, str or collection of str
        Of several names, each is right.
    hint : str
        How to find it; shown with a wrong answer.

    Returns
    -------
    IPython.display.Markdown
    """
    if answer is None:
        return Markdown("Write your answer in place of `None` and run the cell again.")
    if _is_right(answer, right):
        return Markdown(f"**Right**: {answer}.")
    return Markdown(f"**Not {answer}.** {hint}")


def _is_right(answer, right):
    if isinstance(right, (int, float)):
        try:
            return math.isclose(float(answer), right, rel_tol=TOLERANCE, abs_tol=1e-9)
        except (TypeError, ValueError):
            return False
    names = [right] if isinstance(right, str) else right
    return _normalized(answer) in map(_normalized, names)


def _normalized(name):
    return str(name).lower().replace("_", " ").strip()
