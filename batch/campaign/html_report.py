"""A campaign's report for the browser, and its executed notebooks as pages. Used by `submit.py`."""

import contextlib
import time
from pathlib import Path

import jinja2
import nbformat
from nbconvert import HTMLExporter

from muscomp_lib.core.files import write_text

from .campaign import STAGES
from .status import REPORT, cells, columns, total, verdict

WITH_PICTURES = ("03", "04", "05")  # notebooks whose pictures the report shows
TEMPLATE = Path(__file__).with_name("report.html.jinja")


def write(campaign, found):
    """Write `report.html`: the table of stages, what went wrong, and what the notebooks show, each a page of its own.

    Parameters
    ----------
    campaign : campaign.Campaign
    found : list of status.StageStatus
    """
    template = jinja2.Environment(autoescape=True).from_string(TEMPLATE.read_text(encoding="utf-8"))
    page = template.render(
        title=f"{campaign.name} on {campaign.site.name}",
        date=time.strftime("%Y-%m-%d %H:%M"),
        columns=columns(campaign),
        rows=[*((cells(campaign, row), _pages(campaign, row.stage)) for row in found), (total(campaign, found), [])],
        summary=verdict(campaign, found),
        results=[(f"{row.stage.name}: {STAGES[row.stage.name][1]}", _pictures(campaign, row.stage)) for row in found],
    )
    write_text(campaign.folder / REPORT, page)


def _executed(campaign, stage):
    """(job, executed notebook) of a stage, as far as they exist."""
    for task in stage.tasks:
        file = campaign.out(stage, task) / stage.notebook.name
        if file.is_file():
            yield task, file


def _pages(campaign, stage):
    """(job, page) of a stage's executed notebooks; pages are relative to the campaign's folder."""
    return [(task, _page(file).relative_to(campaign.folder).as_posix()) for task, file in _executed(campaign, stage)]


def _page(file):
    """An executed notebook as a page that any browser shows; the notebook itself where it cannot be converted."""
    page = file.with_suffix(".html")
    with contextlib.suppress(FileNotFoundError):
        if page.stat().st_mtime > file.stat().st_mtime:
            return page
    try:
        text, _ = HTMLExporter(mathjax_url="", require_js_url="").from_filename(str(file))  # works without a network
    except (OSError, ValueError, nbformat.ValidationError):
        return file
    write_text(page, text)
    return page


def _pictures(campaign, stage):
    """The pictures of a stage's first executed notebook, as PNG in base64."""
    file = next((file for _, file in _executed(campaign, stage)), None)
    if stage.number not in WITH_PICTURES or file is None:
        return []
    with contextlib.suppress(OSError, ValueError, nbformat.ValidationError):
        outputs = [out for cell in nbformat.read(file, as_version=4).cells for out in cell.get("outputs", [])]
        found = [out.get("data", {}).get("image/png") for out in outputs]
        return [picture.replace("\n", "") for picture in found if picture]
    return []
