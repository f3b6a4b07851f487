"""Progress bars with the time left. Used by every stage.

In a notebook they are drawn. In a batch job they are plain lines, for its log.
"""

import io
import os
import sys

from tqdm import auto, std

HEADLESS = "MUSCOMP_HEADLESS"  # environment variable: set where a notebook runs without a front end
LINE_SECONDS = 30.0  # between two lines
LINE = "{desc}: {n_fmt} of {total_fmt} ({percentage:.0f} %), {elapsed} so far, {remaining} to go{postfix}"


def bar(iterable=None, **options):
    """A progress bar over an iterable, or advanced by its `update`.

    Parameters
    ----------
    iterable : iterable, optional
    **options
        Those of tqdm: `total`, `desc`, `unit` and so on. With a total of 0, nothing is shown.
    """
    hidden = options.pop("disable", False) or options.get("total") == 0
    if os.environ.get(HEADLESS):
        return _Lines(iterable, disable=hidden, **options)
    return auto.tqdm(iterable, disable=hidden or None, **options)  # None: not where output goes to a file


class UndrawnBar(std.tqdm):
    """A tqdm bar that is not drawn: a subclass' `display` shows the progress in another way."""

    monitor_interval = 0  # no monitor thread

    def __init__(self, *args, **options):
        super().__init__(*args, **options, file=io.StringIO())


class _Lines(UndrawnBar):
    """Prints a line every LINE_SECONDS; none when it ends before the first."""

    def __init__(self, iterable, **options):
        interval = {"mininterval": LINE_SECONDS, "delay": LINE_SECONDS, "miniters": 1}
        super().__init__(iterable, **options, **interval, bar_format=LINE)

    def display(self, *_, **__):
        """Print the line."""
        print(self, file=sys.stderr, flush=True)
