"""The exercises of the notebooks: say whether an answer is right."""

import math

from IPython.display import Markdown

TOLERANCE = 0.02  # of a number: people round


def check(answer, right, hint):
    """Compare an answer with what is right.

    Parameters
    ----------
    answer : number, str or None
        None: nobody has answered yet. Of a name, small and large letters and the underscores do not matter.
    right : number, str or collection of str
        Of several names each is right.
    hint : str
        How to find it.

    Returns
    -------
    IPython.display.Markdown
    """
    if answer is None:
        return Markdown("Write your answer in place of `None` and run the cell again.")
    if _agree(answer, right):
        return Markdown(f"**Right**: {answer}.")
    return Markdown(f"**Not {answer}.** {hint}")


def _agree(answer, right):
    if isinstance(right, (int, float)):
        try:
            return math.isclose(float(answer), right, rel_tol=TOLERANCE, abs_tol=1e-9)
        except (TypeError, ValueError):
            return False
    names = [right] if isinstance(right, str) else right
    return _plain(answer) in map(_plain, names)


def _plain(name):
    return str(name).lower().replace("_", " ").strip()
