"""Durations and sizes in words. Used wherever a person reads them."""


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
