"""Bars that say how far something is, and how long it will still take. Used by every stage.

In a notebook they are drawn. Where nobody looks, as in a batch job, they are plain lines, which end up in its log.
"""

import io
import os
import sys

from tqdm import auto, std

HEADLESS = "MUSCOMP_HEADLESS"  # environment variable: set where nobody looks at the notebook while it runs
SECONDS_BETWEEN = 30.0  # from one line to the next
LINE = "{desc}: {n_fmt} of {total_fmt} ({percentage:.0f} %), {elapsed} so far, {remaining} to go{postfix}"


def bar(iterable=None, **options):
    """A bar that counts, over something or by its `update`.

    Parameters
    ----------
    iterable : iterable, optional
    **options
        Those of tqdm: `total`, `desc`, `unit` and so on. Where there is nothing to count, nothing is shown.
    """
    unseen = options.pop("disable", False) or options.get("total") == 0
    if os.environ.get(HEADLESS):
        return _Lines(iterable, disable=unseen, **options)
    return auto.tqdm(iterable, disable=unseen or None, **options)  # None: not where output goes to a file


class Telling(std.tqdm):
    """A bar of tqdm that does not draw itself: its `display` tells how far it is in some other way."""

    monitor_interval = 0  # no thread that watches

    def __init__(self, *args, **options):
        super().__init__(*args, **options, file=io.StringIO())


class _Lines(Telling):
    """Prints a line now and then; none when it is through before the first."""

    def __init__(self, iterable, **options):
        often = {"mininterval": SECONDS_BETWEEN, "delay": SECONDS_BETWEEN, "miniters": 1}
        super().__init__(iterable, **options, **often, bar_format=LINE)

    def display(self, *_, **__):
        """Print the line."""
        print(self, file=sys.stderr, flush=True)
