"""The pictures in the notebooks. Each function draws one figure and returns it; the notebook shows it.

Colours are the same for an instrument everywhere; figures are made with matplotlib's object interface, so that nothing
is shown twice and nothing stays open.
"""

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

WIDTH = 10  # inches: a notebook cell's width


def colours(names):
    """One colour per instrument, the same at every call with the same list: {name: RGBA}."""
    return dict(zip(names, mpl.colormaps["tab20"](np.arange(len(names)) % 20), strict=True))


def _axes(height, **kwargs):
    """A figure of our width and `height` inches, with axes."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots(**kwargs)
