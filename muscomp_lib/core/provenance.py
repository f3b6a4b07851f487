"""What a result was made from, written beside it and compared before the result is used again. Used by every stage."""

from pathlib import Path

from muscomp_lib.core.files import written_whole


def write(path, made_from):
    """Write down, as a last step, what a result was made from.

    Parameters
    ----------
    path : Path
        Beside the result.
    made_from : str
        All it depends on.
    """
    with written_whole(path) as part:
        part.write_text(made_from, encoding="utf-8")


def matches(path, made_from):
    """Whether a result was made from exactly this: then it is complete, and need not be made again."""
    try:
        return Path(path).read_text(encoding="utf-8") == made_from
    except (OSError, UnicodeDecodeError):
        return False
