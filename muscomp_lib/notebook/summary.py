"""Tables to read, and how a notebook ends: what it wrote and measured, and what comes next. Used by every notebook.

The figures travel inside the cell's output, under a MIME type of our own beside the text a person sees, so that
`batch/run.py` can collect them from the executed notebook into `metrics.json` without a second channel.
"""

from pathlib import Path

import pandas as pd
from IPython.display import HTML, Markdown, display

METRICS_MIME = "application/vnd.muscomp.metrics+json"


def text_table(frame, empty="There is none."):
    """A table of words, to be displayed: set flush left, nothing cut off, without row numbers.

    Parameters
    ----------
    frame : pd.DataFrame
    empty : str
        What to say instead when it has no rows.
    """
    if frame.empty:
        return Markdown(empty)
    with pd.option_context("display.max_colwidth", None):
        text = frame.to_html(index=False, border=0)
    return HTML(text.replace("<td>", '<td style="text-align: left">').replace("<th>", '<th style="text-align: left">'))


def finish(wrote, metrics, next_notebook=None):
    """Show a notebook's closing lines.

    Parameters
    ----------
    wrote : list of Path
        The files and folders this notebook made.
    metrics : dict
        Figures by name: numbers, strings, or nested dicts and lists of them (what JSON holds).
    next_notebook : str, optional
        File name of the notebook to open next.
    """
    lines = ["Written:", *(f"  {Path(path)}" for path in wrote)]
    lines += [f"{name}: {value}" for name, value in metrics.items() if not isinstance(value, (dict, list))]
    if next_notebook:
        lines.append(f"Next: {next_notebook}")
    display({"text/plain": "\n".join(lines), METRICS_MIME: metrics}, raw=True)


def collect(notebook):
    """All metrics that `finish` left in an executed notebook (nbformat), merged into one dict."""
    found = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            found.update(output.get("data", {}).get(METRICS_MIME, {}))
    return found
