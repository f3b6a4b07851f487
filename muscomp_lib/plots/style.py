"""What all figures have in common: their width, and colours that are readable whatever the notebook's theme is.

Figures are made with matplotlib's object interface, so that none is shown twice or stays open.
"""

import functools
import io
import re

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

WIDTH = 10  # inches: a notebook cell's width
# A dark style that somebody has set, or a transparent page, would hide what is drawn in black.
COLOURS = {
    key: value for key, value in mpl.rcParamsDefault.items() if re.search("color|cmap|prop_cycle|transparent", key)
}


class Picture(Figure):
    """A figure that IPython displays, as it does those made by pyplot."""

    def _repr_png_(self):
        image = io.BytesIO()
        with mpl.rc_context(COLOURS):
            self.savefig(image, format="png", dpi=self.get_dpi())
        return image.getvalue()


def own_colours(draw):
    """Decorate a function that draws a figure: matplotlib's default colours, on white, are used in any style."""

    @functools.wraps(draw)
    def drawn(*args, **options):
        with mpl.rc_context(COLOURS):
            return draw(*args, **options)

    return drawn


def colours(names):
    """One colour per instrument, the same at every call with the same list: {name: RGBA}."""
    return dict(zip(names, mpl.colormaps["tab20"](np.arange(len(names)) % 20), strict=True))


def literal(name):
    """An instrument's name as a text for matplotlib, to which two dollar signs would mean a formula."""
    return name.replace("$", r"\$")


def subplots(height, **kwargs):
    """A figure of our width and `height` inches, with axes."""
    figure = Picture(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots(**kwargs)
