"""How a notebook ends: what it wrote, what it measured, and which notebook comes next. Used by every notebook.

The figures travel inside the cell's output, under a MIME type of our own beside the text a person sees, so that
`batch/run.py` can collect them from the executed notebook into `metrics.json` without a second channel.
"""

from pathlib import Path

from IPython.display import display

METRICS_MIME = "application/vnd.muscomp.metrics+json"


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
