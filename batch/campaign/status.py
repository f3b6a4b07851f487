"""The status of a campaign: state, time, memory and cost of stages, what is missing. Used by `submit.py`."""

import contextlib
import csv
import json
import re
import shlex
import time
from dataclasses import dataclass, field

from muscomp_lib.core import remote_io
from muscomp_lib.core.errors import MusCompError
from muscomp_lib.core.files import write_text
from muscomp_lib.core.progress import duration

from .. import run_lock
from . import cost_estimate, slurm
from .campaign import ESTIMATE, JOBS

TIMES = "times.log"  # when a job started and ended, written by the job itself
RATE = "units_per_hour"  # a key of a submission: what the site charges for what was requested
LOGGED = re.compile(r"(start|end) \d+ \S+", re.ASCII)  # a line of it
HISTORY = "history.csv"  # of a model in training
REPORT = "report.html"
WORDS = {  # what Slurm calls the end of a job
    "CANCELLED": "was cancelled",
    "OUT_OF_MEMORY": "ran out of memory; request more memory_gb",
    "TIMEOUT": "ran out of time; request more hours or requeues",
    "NODE_FAIL": "lost its node",
    "PREEMPTED": "was preempted",
}
REASONS = {  # what it gives as the reason
    "NonZeroExitCode": "",
    "OutOfMemory": "",
    "TimeLimit": "",
    "JobLaunchFailure": " (its script or its node was killed)",
    "RaisedSignal:9(Killed)": " (killed)",
    "DependencyNeverSatisfied": " (an earlier stage failed)",
}


@dataclass
class StageStatus:
    """The status of a stage.

    Attributes
    ----------
    stage : campaign.Stage
    estimate : cost_estimate.Estimate
    first_estimate : float
        Its estimated cost when the campaign was first submitted.
    done, running, waiting, failed : list of int
        Its jobs by number; those in no list are not submitted.
    seconds, cost : float
        Of all runs of all its jobs; what the site charges for them, as each was requested.
    runs : int
        How often a job has started.
    seconds_left : float or None
        Until it is done; None when it is not running.
    memory : float or None
        MB, the peak of its largest process, or job step.
    efficiency : float or None
        Share of its cores' time that it computed, in the runs that ended.
    device : str
        That the latest of its jobs to end used.
    progress : str
    notes : list of str
        What has gone wrong.
    accounts : list of slurm.Account
        Slurm's records of its jobs.
    """

    stage: object
    estimate: object
    first_estimate: float
    done: list = field(default_factory=list)
    running: list = field(default_factory=list)
    waiting: list = field(default_factory=list)
    failed: list = field(default_factory=list)
    seconds: float = 0.0
    cost: float = 0.0
    runs: int = 0
    seconds_left: float | None = None
    memory: float | None = None
    efficiency: float | None = None
    device: str = ""
    progress: str = ""
    notes: list = field(default_factory=list)
    accounts: list = field(default_factory=list)

    @property
    def is_done(self):
        """Whether all its jobs are done."""
        return len(self.done) == len(self.stage.tasks)

    @property
    def state(self):
        """The state in words."""
        if self.is_done:
            return "done"
        parts = [(len(self.running), "running"), (len(self.waiting), "waiting"), (len(self.failed), "failed")]
        words = [f"{number} {word}" if self.stage.is_array else word for number, word in parts if number]
        return ", ".join(words) or "not submitted"


def submissions(folder):
    """The jobs submitted from a campaign's folder: dicts of stage, job, tasks; the latest is the last.

    Raises
    ------
    MusCompError
        They are recorded, and cannot be read: what is waiting or running would be submitted again.
    """
    file = folder / JOBS
    try:
        found = json.loads(remote_io.read_text(file))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        found = error
    if not isinstance(found, list):
        raise MusCompError(
            f"{file}, which lists the jobs that were submitted, cannot be read ({found}). Copy it back; or cancel what "
            "squeue lists of this campaign, remove the file, and submit again."
        )
    return found


def record(campaign, entries, estimates):
    """Record submitted jobs and, the first time, their estimated cost."""
    texts = {JOBS: [*submissions(campaign.folder), *entries]}
    if not (campaign.folder / ESTIMATE).exists():
        texts[ESTIMATE] = {each.stage.name: round(each.cost, 4) for each in estimates}
    for name, content in texts.items():
        write_text(campaign.folder / name, json.dumps(content, indent=1) + "\n")


def record_cancelled(folder, numbers):
    """Record that these jobs are cancelled by the user."""
    entries = [{**entry, "cancelled": True} if entry["job"] in numbers else entry for entry in submissions(folder)]
    write_text(folder / JOBS, json.dumps(entries, indent=1) + "\n")


def _first_estimate(folder):
    try:
        found = json.loads((folder / ESTIMATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def rows(campaign, estimates):
    """A `StageStatus` for each stage, in order."""
    submitted = submissions(campaign.folder)
    queue, accounts = {}, {}
    if campaign.site.has_scheduler and submitted:
        queue, accounts = slurm.queue(), slurm.accounting(sorted({entry["job"] for entry in submitted})) or {}
    first = _first_estimate(campaign.folder)
    return [_row(campaign, each, first, submitted, queue, accounts) for each in estimates]


def _row(campaign, estimate, first, submitted, queue, accounts):
    stage = estimate.stage
    row = StageStatus(stage, estimate, first.get(stage.name, estimate.cost))
    metrics = {task: campaign.metrics(stage, task) for task in stage.tasks}
    for task in stage.tasks:
        entries = [entry for entry in submitted if entry["stage"] == stage.name and task in entry["tasks"]]
        keys = [(entry["job"], task if stage.is_array else 0) for entry in entries]
        spans = _times(campaign, stage, task, queue)
        row.runs += len(spans)
        row.accounts += [accounts[key] for key in keys if key in accounts]
        if accounts:
            spans = [(key[0], accounts[key].seconds) for key in keys if key in accounts]
        row.seconds += sum(seconds for _, seconds in spans)
        row.cost += _charged(spans, entries, campaign.site.units_per_hour(stage.request))
        job, account = (found.get(keys[-1]) if keys else None for found in (queue, accounts))
        _classify(row, task, job, metrics[task], account, campaign)
        if task in row.failed and entries and entries[-1].get("cancelled"):
            row.notes[-1] = row.notes[-1].replace("was cancelled", "was cancelled by you", 1)
    _measure(row, list(metrics.values()), campaign.site.cores(stage.request) or 0)
    if row.is_done and stage.name == "index":
        row.notes += _incomplete_data(metrics[1].get("metrics") or {})
    if row.running:
        share, row.progress = _progress(campaign, row)
        row.seconds_left = estimate.seconds * (1 - share)
    return row


def _charged(spans, entries, rate):
    """What a job's runs cost, each at the rate of the submission that it belongs to; `rate` where none is recorded."""
    rates = {entry["job"]: entry[RATE] for entry in entries if RATE in entry}
    return sum(rates.get(number, rate) * seconds / cost_estimate.HOUR for number, seconds in spans)


def _measure(row, metrics, cores):
    """Add what notebooks measured of their own runs, and Slurm of all: peak of memory, device, computed time."""
    peaks = [*(each.get("memory_mb") for each in metrics), *(each.memory_mb for each in row.accounts)]
    row.memory = max(filter(None, peaks), default=None)
    row.device = next((each["device"] for each in reversed(metrics) if each.get("device")), "")
    row.efficiency = _recorded_efficiency(row.accounts) or _efficiency(metrics, cores)


def _recorded_efficiency(accounts):
    """The same as Slurm has recorded it, killed runs included, as its command `seff` does; None where it has not."""
    computed, allocated = (sum(getattr(each, name) for each in accounts) for name in ("cpu_seconds", "core_seconds"))
    return computed / allocated if computed and allocated else None


def _efficiency(metrics, cores):
    """Seconds of processors over those of allocated cores; None where no notebook has ended, or cores are unknown."""
    ended = [each for each in metrics if each.get("cpu_seconds") is not None]
    allocated = sum(each["seconds"] for each in ended) * cores
    return sum(each["cpu_seconds"] for each in ended) / allocated if allocated else None


def _incomplete_data(metrics):
    """A line on tracks and stems that are missing or damaged, as after an interrupted transfer."""
    lost = {}
    for what in ("tracks", "stems"):
        found = metrics.get(f"{what}_by_status", {})
        lost |= {f"{what} {status}": found[status] for status in ("missing", "unreadable") if found.get(status)}
    if lost:
        counts = ", ".join(f"{number} {what}" for what, number in lost.items())
        yield f"index found {counts}; its notebook lists them. Is the data set complete?"


def _classify(row, task, job, metrics, account, campaign):
    """Add a job to the list of its state, and a note when it failed."""
    state = next((each.state for each in (job, account) if each), "")
    name = f"{row.stage.name} {task}" if row.stage.is_array else row.stage.name
    if campaign.is_done(row.stage, task):
        row.done.append(task)
    elif job and job.is_waiting:
        row.waiting.append(task)
    elif job and job.is_running:
        row.running.append(task)
    elif lost := campaign.failed_songs(row.stage, task):
        row.failed.append(task)
        row.notes += [f"{name}: {song} failed: {why}" for song, why in lost.items()]
    elif metrics.get("status") == "ok":
        return  # songs were added to it since
    elif job or account or metrics or (campaign.out(row.stage, task) / TIMES).exists():
        if state == "CANCELLED" and not (campaign.out(row.stage, task) / TIMES).exists():
            return  # it never started
        row.failed.append(task)
        why = (metrics.get("note") or "").strip().splitlines()
        note = f": {why[0]} {why[-1] if len(why) > 1 else ''}".rstrip() if why else _last_line(campaign, name)
        reason = REASONS.get(job.reason, f" ({job.reason})") if job and job.reason else ""
        row.notes.append(f"{name} {WORDS.get(state, state.lower().replace('_', ' ')) or 'stopped'}{reason}{note}")


def _last_line(campaign, name):
    """The last line of a job's log, for one whose notebook left no note: ": ..."; "" without a log."""
    logs = (campaign.folder / "logs").glob(f"{name.replace(' ', '-*_')}{'' if ' ' in name else '-*'}.log")
    with contextlib.suppress(ValueError, OSError, IndexError):
        text = max(logs, key=lambda log: log.stat().st_mtime).read_text(encoding="utf-8", errors="replace")
        return f": {text.strip().splitlines()[-1]}"
    return ""


def _times(campaign, stage, task, queue):
    """(number, seconds) of each run of a job, from its own log; of a killed one that logged no end, from Slurm."""
    try:
        lines = (campaign.out(stage, task) / TIMES).read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return []
    spans, started = [], None
    for word, moment, number in (line.split() for line in lines if LOGGED.fullmatch(line)):  # a full disk cuts lines
        if word == "start":
            spans += [(started[1], 0.0)] if started else []
            started = int(moment), number
        elif started:
            spans.append((started[1], float(max(0, int(moment) - started[0]))))  # clocks of nodes and disks differ
            started = None
    if started:
        moment, number = started
        job = queue.get((number, task if stage.is_array else 0))
        spans.append((number, _open_span(moment, job, campaign.out(stage, task) / run_lock.FILE)))
    return spans


def _open_span(started, job, lock):
    """Seconds of a run that has logged no end: it is running, or was killed, after the last renewal of its lock."""
    if job and job.is_running:
        return max(0.0, time.time() - started)
    end = job.end if job and job.end else None
    with contextlib.suppress(OSError):
        end = end or lock.stat().st_mtime
    return float(max(0, end - started)) if end else 0.0


def _progress(campaign, row):
    """The progress of a running stage: a share from 0 to 1, and in words."""
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
    """The headings of the table."""
    return [
        "stage",
        "notebook",
        "done",
        "runs",
        "state",
        "time",
        "left",
        "memory",
        "cores busy",
        f"{campaign.site.unit} used",
        "estimated",
        "device",
    ]


def cells(campaign, row):
    """A row as texts, one for each column."""
    return [
        row.stage.name,
        row.stage.number,
        f"{len(row.done)}/{len(row.stage.tasks)}",
        str(row.runs),
        f"{row.state}{', ' + row.progress if row.progress else ''}",
        duration(row.seconds) if row.runs else "-",
        duration(row.seconds_left),
        _memory(row),
        "-" if row.efficiency is None else f"{row.efficiency:.0%} of {campaign.site.cores(row.stage.request)}",
        f"{row.cost:.2f}",
        f"{row.first_estimate:.2f}",
        row.device or "-",
    ]


def _memory(row):
    """The peak, and what was there where Slurm has recorded it: "812 MB of 30400"."""
    requested = max(filter(None, (each.requested_mb for each in row.accounts)), default=None)
    return f"{row.memory:.0f} MB{f' of {requested:.0f}' if requested else ''}" if row.memory else "-"


def total(campaign, found):
    """The last row of the table."""
    used = sum(row.cost for row in found)
    estimated = sum(row.first_estimate for row in found)
    seconds = duration(sum(row.seconds for row in found))
    return ["in all", "", "", "", "", seconds, "", "", "", f"{used:.2f}", f"{estimated:.2f}", ""]


def _report(campaign):
    """The row of the report."""
    state = _report_state(campaign)
    return ["report", "", f"{int(state == 'done')}/1", "", state, *[""] * (len(columns(campaign)) - 5)]


def _report_state(campaign):
    """Whether the report is there, or else how its job is getting on, or ended."""
    if (campaign.folder / REPORT).is_file():
        return "done"
    numbers = [entry["job"] for entry in submissions(campaign.folder) if entry["stage"] == "report"]
    job = slurm.queue().get((numbers[-1], 0)) if numbers else None
    if job and job.is_waiting:
        return "waiting"
    if job and job.is_running:
        return "running"
    why = _last_line(campaign, "report")
    return f"failed{why}" if why else "-"


def text(campaign, found):
    """The status of a campaign as lines."""
    done = sum(row.is_done for row in found)
    yield f"{campaign.name} on {campaign.site.name}: {done} of {len(found)} stages done"
    table = [columns(campaign), *(cells(campaign, row) for row in found), _report(campaign), total(campaign, found)]
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    for line in table:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
    yield from verdict(campaign, found)


def verdict(campaign, found):
    """Whether all is done; else what is missing and the command that resumes."""
    yield from (note for row in found for note in row.notes)
    missing = [row for row in found if not row.is_done]
    again = f"python batch/submit.py {shlex.quote(str(campaign.folder))}"
    if not missing:
        is_there = (campaign.folder / REPORT).is_file()
        yield (
            f"Complete. The report: {campaign.folder / REPORT}"
            if is_there
            else f"Complete. To write the report: {again} report"
        )
    elif any(row.running or row.waiting for row in missing):
        yield "Under way."
    else:
        yield f"Missing: {'; '.join(map(_missing, missing))}. Logs: {campaign.folder / 'logs'}"
        yield f"To resume: {again} resume"


def _missing(row):
    tasks = [task for task in row.stage.tasks if task not in row.done]
    return f"{row.stage.name} {', '.join(map(str, tasks))}" if row.stage.is_array else row.stage.name


def save_durations(campaign, found):
    """Save the durations of finished stages for later estimates."""
    done = {row.stage.name: row for row in found if row.is_done and row.seconds}
    with contextlib.suppress(MusCompError, OSError):  # a figure that cannot be saved is no reason to fail
        cost_estimate.save_durations(
            campaign,
            {name: row.seconds for name, row in done.items()},
            {name: row.runs for name, row in done.items()},
            {name: row.device for name, row in done.items()},
        )
