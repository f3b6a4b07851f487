"""A campaign's report for the browser, and its executed notebooks as pages. Used by `submit.py`."""

import contextlib
import html
import time

import nbformat
from nbconvert import HTMLExporter

from muscomp_lib.core.files import written_whole

from .campaign import CHAIN
from .status import REPORT, cells, columns, total, verdict

PICTURES = ("03", "04", "05")  # notebooks whose pictures the report shows
STYLE = (
    "body{font:15px/1.5 sans-serif;max-width:70em;margin:2em auto;padding:0 1em}table{border-collapse:collapse}"
    "td,th{padding:.2em .8em;text-align:left;border-bottom:1px solid #ccc}img{max-width:100%}"
)


def write(campaign, found):
    """Write `report.html`: the table of stages, what went wrong, and what the notebooks show, each a page of its own.

    Parameters
    ----------
    campaign : campaign.Campaign
    found : list of overview.Row
    """
    heads = "".join(f"<th>{html.escape(head)}</th>" for head in [*columns(campaign), "notebooks as executed"])
    lines = [*((cells(campaign, row), _links(campaign, row.stage)) for row in found), (total(campaign, found), "")]
    body = "".join(
        f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in words)}<td>{links}</td></tr>"
        for words, links in lines
    )
    said = "".join(f"<p>{html.escape(line)}</p>" for line in verdict(campaign, found))
    pictures = "".join(_pictures(campaign, row.stage) for row in found)
    title = html.escape(f"{campaign.name} on {campaign.site.name}")
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
        f"<h1>{title}</h1><p>{time.strftime('%Y-%m-%d %H:%M')}</p><table><tr>{heads}</tr>{body}</table>{said}{pictures}"
    )
    with written_whole(campaign.folder / REPORT) as part:
        part.write_text(page + "</html>\n", encoding="utf-8")


def _executed(campaign, stage):
    """(job, executed notebook) of a stage, as far as they are there."""
    for task in stage.tasks:
        file = campaign.out(stage, task) / stage.notebook.name
        if file.is_file():
            yield task, file


def _links(campaign, stage):
    return " ".join(
        f'<a href="{html.escape(_page(file).relative_to(campaign.folder).as_posix())}">{task}</a>'
        for task, file in _executed(campaign, stage)
    )


def _page(file):
    """An executed notebook as a page that any browser shows; the notebook itself where it cannot be made into one."""
    page = file.with_suffix(".html")
    with contextlib.suppress(FileNotFoundError):
        if page.stat().st_mtime > file.stat().st_mtime:
            return page
    try:
        text, _ = HTMLExporter(mathjax_url="", require_js_url="").from_filename(str(file))  # formulas need the net
    except (OSError, ValueError, nbformat.ValidationError):
        return file
    with written_whole(page) as part:
        part.write_text(text, encoding="utf-8")
    return page


def _pictures(campaign, stage):
    """The pictures of a stage's first executed notebook."""
    file = next((file for _, file in _executed(campaign, stage)), None)
    if stage.number not in PICTURES or file is None:
        return ""
    with contextlib.suppress(OSError, ValueError, nbformat.ValidationError):
        outputs = [
            out.get("data", {}) for cell in nbformat.read(file, as_version=4).cells for out in cell.get("outputs", [])
        ]
        found = [data["image/png"].replace("\n", "") for data in outputs if "image/png" in data]
        shown = "".join(f'<p><img alt="" src="data:image/png;base64,{picture}"></p>' for picture in found)
        return f"<h2>{html.escape(f'{stage.name}: {CHAIN[stage.name][1]}')}</h2>{shown}" if found else ""
    return ""
