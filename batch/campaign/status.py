"""How a campaign stands: state, time, memory and cost of stages, what is missing. Used by `submit.py`."""

import contextlib
import csv
import json
import shlex
import time
from dataclasses import dataclass, field

from muscomp_lib.core.errors import MusCompError
from muscomp_lib.core.files import written_whole

from . import cost_estimate as costs
from . import slurm
from .campaign import ESTIMATE, JOBS

TIMES = "times.log"  # a job's own note of when it began and ended
HISTORY = "history.csv"  # of a model in training
REPORT = "report.html"


@dataclass
class Row:
    """How a stage stands.

    Attributes
    ----------
    stage : campaign.Stage
    estimate : credits.Estimate
    foretold : float
        What it was estimated to cost when the campaign was first submitted.
    done, running, waiting, failed : list of int
        Its jobs by number; those in no list are not submitted.
    seconds : float
        Used by all its jobs and all their runs.
    runs : int
        How often a job has begun.
    left : float or None
        Seconds until it is done, once it runs; None: not running.
    memory : float or None
        MB, the most that a process of it held.
    progress : str
    notes : list of str
        What has gone wrong.
    """

    stage: object
    estimate: object
    foretold: float
    done: list = field(default_factory=list)
    running: list = field(default_factory=list)
    waiting: list = field(default_factory=list)
    failed: list = field(default_factory=list)
    seconds: float = 0.0
    runs: int = 0
    left: float | None = None
    memory: float | None = None
    progress: str = ""
    notes: list = field(default_factory=list)

    @property
    def is_done(self):
        """Whether nothing of it is missing."""
        return len(self.done) == len(self.stage.tasks)

    @property
    def state(self):
        """In words."""
        if self.is_done:
            return "done"
        parts = [(len(self.running), "running"), (len(self.waiting), "waiting"), (len(self.failed), "failed")]
        words = [f"{number} {word}" if self.stage.is_array else word for number, word in parts if number]
        return ", ".join(words) or "not submitted"


def submissions(campaign):
    """What has been submitted: rows of stage, job, tasks; the latest is the last."""
    return _noted(campaign, JOBS, [])


def note(campaign, entries, estimates):
    """Note what has just been submitted, and, the first time, what it is estimated to cost."""
    texts = {JOBS: [*submissions(campaign), *entries]}
    if not (campaign.folder / ESTIMATE).exists():
        texts[ESTIMATE] = {each.stage.name: round(each.cost, 4) for each in estimates}
    for name, content in texts.items():
        with written_whole(campaign.folder / name) as part:
            part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _noted(campaign, name, otherwise):
    try:
        return json.loads((campaign.folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return otherwise


def rows(campaign, estimates):
    """A `Row` for each stage, in order."""
    submitted = submissions(campaign)
    known, accounts = {}, None
    if campaign.site.has_scheduler and submitted:
        known, accounts = slurm.queue(), slurm.accounts(sorted({entry["job"] for entry in submitted}))
    foretold = _noted(campaign, ESTIMATE, {})
    return [_row(campaign, each, foretold, submitted, known, accounts) for each in estimates]


def _row(campaign, estimate, foretold, submitted, known, accounts):
    stage = estimate.stage
    row = Row(stage, estimate, foretold.get(stage.name, estimate.cost))
    ours = [entry for entry in submitted if entry["stage"] == stage.name]
    for task in stage.tasks:
        keys = [(entry["job"], task if stage.is_array else 0) for entry in ours if task in entry["tasks"]]
        job = known.get(keys[-1]) if keys else None
        metrics = campaign.metrics(stage, task)
        spans, memory = _times(campaign, stage, task, known), metrics.get("memory_mb")
        row.runs += len(spans)
        row.seconds += sum(accounts[key][1] for key in keys if key in accounts) if accounts else sum(spans)
        row.memory = max(filter(None, (row.memory, memory)), default=None)
        _sort_in(row, task, job, metrics, accounts and keys and accounts.get(keys[-1]), campaign)
    if row.is_done and stage.name == "index":
        row.notes += _lost(campaign.metrics(stage, 1).get("metrics") or {})
    if row.running:
        share, row.progress = _progress(campaign, row)
        row.left = estimate.seconds * (1 - share)
    return row


def _lost(metrics):
    """A line on tracks and stems that are not there whole, as when a transfer was broken off."""
    lost = {}
    for what in ("tracks", "stems"):
        found = metrics.get(f"{what}_by_status", {})
        lost |= {f"{what} {status}": found[status] for status in ("missing", "unreadable") if found.get(status)}
    if lost:
        counts = ", ".join(f"{number} {what}" for what, number in lost.items())
        yield f"index found {counts}; its notebook says which. Is the data set here whole?"


def _sort_in(row, task, job, metrics, account, campaign):
    """Put a job into the list where it belongs, and note what went wrong."""
    state = job.state if job else account[0] if account else ""
    if metrics.get("status") == "ok":
        row.done.append(task)
    elif job and job.is_waiting:
        row.waiting.append(task)
    elif job and job.is_running:
        row.running.append(task)
    elif job or account or metrics or (campaign.out(row.stage, task) / TIMES).exists():
        if state == "CANCELLED" and not (campaign.out(row.stage, task) / TIMES).exists():
            return  # it never began
        row.failed.append(task)
        name = f"{row.stage.name} {task}" if row.stage.is_array else row.stage.name
        why = (metrics.get("note") or "").strip().splitlines()
        told = f": {why[0]} {why[-1] if len(why) > 1 else ''}".rstrip() if why else ""
        reason = f" ({job.reason})" if job and job.reason else ""
        row.notes.append(f"{name} {state.lower().replace('_', ' ') or 'stopped'}{reason}{told}")


def _times(campaign, stage, task, known):
    """Seconds of each run of a job, from its own notes; of one killed without a word, from what Slurm knows."""
    try:
        lines = (campaign.out(stage, task) / TIMES).read_text(encoding="utf-8").split("\n")
    except OSError:
        return []
    spans, began = [], None
    for word, moment, number in (line.split() for line in lines if line):
        if word == "start":
            spans += [0.0] if began else []
            began = int(moment), number
        elif began:
            spans.append(float(int(moment) - began[0]))
            began = None
    if began:
        moment, number = began
        spans.append(_open_span(moment, known.get((number, task if stage.is_array else 0))))
    return spans


def _open_span(began, job):
    """Seconds of a run that has noted no end: it is at work, or was killed."""
    if job and job.is_running:
        return time.time() - began
    return float(max(0, job.end - began)) if job and job.end else 0.0


def _progress(campaign, row):
    """How far a running stage is: a share from 0 to 1, and in words."""
    tasks = len(row.stage.tasks)
    if row.stage.name == "train":
        last = row.estimate.count
        with contextlib.suppress(OSError, ValueError, IndexError, StopIteration):
            model = campaign.root.models / str(campaign.value("04", "config"))
            with (model / HISTORY).open(newline="", encoding="utf-8") as file:
                step = int(list(csv.reader(file))[-1][0])
            return min(1.0, step / last), f"step {step} of {last}"
        return 0.0, f"step 0 of {last}"
    return len(row.done) / tasks, f"{len(row.done)} of {tasks}" if tasks > 1 else ""


# ---- for people ----


def columns(campaign):
    """The heads of the table."""
    unit = campaign.site.data.get("unit", "credits")
    return ["stage", "notebook", "done", "runs", "state", "time", "left", "memory", f"{unit} used", "estimated"]


def cells(campaign, row):
    """A row as words, one for each column."""
    return [
        row.stage.name,
        row.stage.number,
        f"{len(row.done)}/{len(row.stage.tasks)}",
        str(row.runs),
        f"{row.state}{', ' + row.progress if row.progress else ''}",
        costs.duration(row.seconds) if row.runs else "-",
        costs.duration(row.left),
        f"{row.memory:.0f} MB" if row.memory else "-",
        f"{costs.cost(campaign, row.stage, row.seconds):.2f}",
        f"{row.foretold:.2f}",
    ]


def total(campaign, found):
    """The last row of the table."""
    used = sum(costs.cost(campaign, row.stage, row.seconds) for row in found)
    estimated = sum(row.foretold for row in found)
    seconds = costs.duration(sum(row.seconds for row in found))
    return ["in all", "", "", "", "", seconds, "", "", f"{used:.2f}", f"{estimated:.2f}"]


def text(campaign, found):
    """The state of a campaign as lines."""
    done = sum(row.is_done for row in found)
    yield f"{campaign.name} on {campaign.site.name}: {done} of {len(found)} stages done"
    table = [columns(campaign), *(cells(campaign, row) for row in found), total(campaign, found)]
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    for line in table:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
    yield from verdict(campaign, found)


def verdict(campaign, found):
    """Whether all is done; else what is missing and the command that goes on."""
    yield from (note for row in found for note in row.notes)
    lacking = [row for row in found if not row.is_done]
    if not lacking:
        yield f"Complete. The report: {campaign.folder / REPORT}"
    elif any(row.running or row.waiting for row in lacking):
        yield "Under way."
    else:
        yield f"Missing: {'; '.join(map(_missing, lacking))}. Logs: {campaign.folder / 'logs'}"
        yield f"To go on: python batch/submit.py {shlex.quote(str(campaign.file))} resume"


def _missing(row):
    tasks = [task for task in row.stage.tasks if task not in row.done]
    return f"{row.stage.name} {', '.join(map(str, tasks))}" if row.stage.is_array else row.stage.name


def finished(campaign, found):
    """Remember what finished stages took."""
    through = {row.stage.name: row for row in found if row.is_done and row.seconds}
    with contextlib.suppress(MusCompError, OSError):  # a figure that cannot be kept is no reason to fail
        costs.remember(
            campaign,
            {name: row.seconds for name, row in through.items()},
            {name: row.runs for name, row in through.items()},
        )
