"""Tables of text, and the closing summary of a notebook: what it wrote and measured, and what comes next. Used by all.

The figures are stored in the cell's output under a MIME type of our own, beside the text a person reads, so that
`batch/run.py` can collect them from the executed notebook into `metrics.json`.
"""

import re
from pathlib import Path

import pandas as pd
from IPython.display import HTML, Markdown, display

METRICS_MIME = "application/vnd.muscomp.metrics+json"


def text_table(frame, empty="None."):
    """A table of text for display: left-aligned, with nothing cut off and no row numbers.

    The last column is wide where it has the longest texts.

    Parameters
    ----------
    frame : pd.DataFrame
        Of a column `group`, only the first of equal values in a row is shown.
    empty : str
        What to display when it has no rows.
    """
    if frame.empty:
        return Markdown(empty)
    if "group" in frame:
        frame = frame.assign(group=frame["group"].mask(frame["group"].eq(frame["group"].shift()), ""))
    with pd.option_context("display.max_colwidth", None):
        html = frame.to_html(index=False, border=0)
    lengths = [frame[column].astype(str).str.len().mean() for column in frame]
    if max(lengths) == lengths[-1]:
        html = re.sub(r"<td>(?=[^<]*</td>\s*</tr>)", '<td style="text-align: left; width: 60%">', html)
    return HTML(re.sub(r"<(td|th)>", r'<\1 style="text-align: left">', html))


def finish(wrote, metrics, next_notebook=None):
    """Display a notebook's closing summary.

    Parameters
    ----------
    wrote : list of Path
        The files and folders this notebook wrote.
    metrics : dict
        Figures by name: numbers, strings, or nested dicts and lists of them (anything JSON holds).
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
