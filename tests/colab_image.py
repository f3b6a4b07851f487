"""The versions of the packages in Colab's image, as its maintainers list them."""

import re
from pathlib import Path

CONSTRAINTS = Path(__file__).parent / "colab" / "constraints.txt"


def published():
    """{package, spelled as `plain` does: version}."""
    lines = [line.split("==") for line in CONSTRAINTS.read_text().splitlines() if "==" in line]
    return {plain(name): version for name, version in lines}


def plain(name):
    """A package's name in one of its spellings: lower case, with underscores."""
    return re.sub(r"[-_.]+", "_", name.lower())
