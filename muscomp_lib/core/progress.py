"""Progress bars with the time left, and durations and sizes in words. Used wherever a person reads them.

In a notebook bars are drawn. In a batch job they are plain lines, for its log.
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


def line(text):
    """Print a line, above the bars that are drawn."""
    auto.tqdm.write(text)


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


# ---- in words ----


def duration(seconds):
    """Seconds in words.

    Parameters
    ----------
    seconds : float or None

    Returns
    -------
    str
        `0.25 s`, `45 s`, `12 min`, `1 h 20 min`, `3 days 4 h`; `-` for None.
    """
    if seconds is None:
        return "-"
    if seconds < 59.5:
        return f"{seconds:.2g} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} days {hours % 24} h"


def size(n_bytes):
    """Bytes in words: `23 MB`, `1.4 TB` (powers of 1000)."""
    for unit in ("kB", "MB", "GB"):
        n_bytes /= 1000
        if n_bytes < 999.5:
            return f"{n_bytes:.1f} {unit}" if n_bytes < 9.95 else f"{n_bytes:.0f} {unit}"
    return f"{n_bytes / 1000:.1f} TB"
