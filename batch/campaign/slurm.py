"""Slurm's commands: submit, queue, accounting, cancel. Used by `submit.py`."""

import os
import re
import subprocess
from dataclasses import dataclass, replace
from datetime import datetime

from muscomp_lib.core.errors import MissingError, MusCompError

from .sites import SET_BY_SCRIPTS

WAITING = {"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT"}
RUNNING_STATES = {"RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"}
FIELDS = "%i|%T|%M|%L|%e|%r"  # job, state, time used, time left, end, reason
RECORDED = ("JobID", "State", "ElapsedRaw", "AllocCPUS", "TotalCPU", "MaxRSS", "ReqMem")  # what sacct is asked for
SHORT = {"array": "ARRAY_INX", "time": "TIMELIMIT", "mem": "MEM_PER_NODE"}  # in the names of sbatch's variables
OVERRIDING = {  # variables that override what a script says, and the one that makes sbatch wait until the job has ended
    f"SBATCH_{SHORT.get(option, option.upper().replace('-', '_'))}" for option in (*SET_BY_SCRIPTS, "wait")
} - {"SBATCH_ACCOUNT"}
OF_CLUSTER = {"SLURM_CONF", "SLURM_JWT", "SLURM_CLUSTERS"}  # all other variables of this kind are a job's
NO_MORE_JOBS = "The site lets you have no more jobs: wait until some end, then resume; or give fewer jobs."
ADVICE = {  # what to do, by a part of Slurm's message
    "Invalid account": "Correct account in the campaign's file: sacctmgr show assoc user=$USER lists yours.",
    "Invalid qos": "Correct --qos under sbatch, in the campaign's file or the site's.",
    "time limit is invalid": "Request fewer hours, or correct the partition's in the site's file: sinfo lists them.",
    "nvalid partition": "Correct partition in the campaign's file, or partitions in the site's: sinfo lists them.",
    "generic resource": "Correct gpus in the campaign's file: sinfo -o %P,%G lists the types.",
    "node configuration": "Request fewer cores, GPUs or less memory, or correct the site's file.",
    "job array": "Give fewer jobs, or a smaller array_size in the site's file.",
    **dict.fromkeys(("submit limit", "JobPerUserLimit"), NO_MORE_JOBS),
}


@dataclass(frozen=True)
class Account:
    """What Slurm's accounting has recorded of a job, or of one of an array, in all its runs.

    Attributes
    ----------
    state : str
        Of its latest run, as Slurm names it.
    seconds : int
        Of all runs.
    cpu_seconds, core_seconds : float
        Computed, and allocated (seconds times cores), by the runs that have ended.
    memory_mb, requested_mb : float or None
        MB: the peak of one of its steps, and what each run had; None: unknown.
    """

    state: str = ""
    seconds: int = 0
    cpu_seconds: float = 0.0
    core_seconds: float = 0.0
    memory_mb: float | None = None
    requested_mb: float | None = None


@dataclass(frozen=True)
class Job:
    """A job, or one of an array, as the queue shows it.

    Attributes
    ----------
    state : str
        As Slurm names it.
    used, left : int or None
        Seconds of this run; None: unknown.
    end : int or None
        When it ended or will end at the latest, in seconds since 1970.
    reason : str
        Why it waits or failed.
    """

    state: str
    used: int | None = None
    left: int | None = None
    end: int | None = None
    reason: str = ""

    @property
    def is_waiting(self):
        """Whether it is in the queue."""
        return self.state in WAITING

    @property
    def is_running(self):
        """Whether it has started and not ended."""
        return self.state in RUNNING_STATES


def submit(script, after=(), kind="afterok", tasks=None, at_once="", account=None):
    """Submit a script.

    Parameters
    ----------
    script : Path
    after : sequence of str
        Jobs that must have ended.
    kind : {"afterok", "afterany"}
        Whether they must have succeeded.
    tasks : list of int, optional
        Only these tasks of an array.
    at_once : str
        "%4": at most so many of them at the same time.
    account : str, optional
        The one to charge; None: $SBATCH_ACCOUNT, else the default one.

    Returns
    -------
    str
        The job's number.

    Raises
    ------
    MusCompError
        Slurm rejects it; with its message.
    """
    options = ["--parsable"]
    if after:
        options += [f"--dependency={kind}:{':'.join(after)}", "--kill-on-invalid-dep=yes"]
    if tasks:
        options += [f"--array={','.join(map(str, tasks))}{at_once}"]
    options += [f"--account={account}"] if account else []
    printed = _output("sbatch", *options, script, variables=_for_new_jobs())
    numbers = re.findall(r"^(\d+)(?:;.*)?$", printed, re.MULTILINE)  # some sites print a greeting before it
    if not numbers:
        raise MusCompError(
            f"sbatch printed no job's number, but {printed.strip()[:200]!r}. "
            "Check with squeue whether the job was submitted."
        )
    return numbers[-1]


def _for_new_jobs():
    """The environment without what would override a script, or describes the job that this command runs in."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in OVERRIDING and (not name.startswith("SLURM_") or name in OF_CLUSTER)
    }


def queue():
    """All jobs of this user that Slurm still lists: {("12", 3): Job}, task 0 where there is no array."""
    jobs = {}
    for line in _output("squeue", "--me", "--noheader", "--array", "--states=all", f"--format={FIELDS}").splitlines():
        if line.count("|") < FIELDS.count("|"):  # a site's greeting
            continue
        name, state, used, left, end, reason = line.split("|", 5)
        number, _, task = name.partition("_")
        one = task.isdigit() or not task
        jobs[number, int(task) if task and one else 0] = Job(
            state, _seconds(used), _seconds(left), _timestamp(end), "" if reason == "None" else reason
        )
    return jobs


def accounting(numbers):
    """Slurm's records of jobs: {("12", 3): Account}; None without accounting."""
    words = ["--duplicates", "--noheader", "--parsable2", f"--format={','.join(RECORDED)}"]
    try:
        return accounts(_output("sacct", *words, "--jobs", ",".join(numbers)))
    except MusCompError:
        return None


def accounts(records):
    """Read sacct's lines of `RECORDED`, one for each run of a job and each step of a run: {("12", 3): Account}."""
    found = {}
    for line in records.splitlines():
        if line.count("|") != len(RECORDED) - 1:  # a site's greeting
            continue
        job, _, step = (record := dict(zip(RECORDED, line.split("|"), strict=True)))["JobID"].partition(".")
        number, _, task = job.partition("_")
        if task and not task.isdigit():
            continue  # a part of an array that has not started
        before = found.setdefault((number, int(task or 0)), Account())
        found[number, int(task or 0)] = (_with_step if step else _with_run)(before, record)
    return found


def _with_run(account, record):
    state, seconds = record["State"].partition(" ")[0], int(record["ElapsedRaw"] or 0)  # "CANCELLED by 1000"
    account = replace(account, state=state, seconds=account.seconds + seconds)
    account = replace(account, requested_mb=_megabytes(record["ReqMem"]) or account.requested_mb)
    if state in RUNNING_STATES:
        return account  # what it has computed is not recorded yet
    return replace(
        account,
        cpu_seconds=account.cpu_seconds + (_seconds(record["TotalCPU"]) or 0),
        core_seconds=account.core_seconds + seconds * int(record["AllocCPUS"] or 0),
    )


def _with_step(account, record):
    return replace(
        account, memory_mb=max(filter(None, (account.memory_mb, _megabytes(record["MaxRSS"]))), default=None)
    )


def cancel(numbers):
    """End jobs, waiting or running."""
    _output("scancel", *numbers)


def _output(command, *words, variables=os.environ):
    try:
        done = subprocess.run(
            [command, *map(str, words)], env={**variables, "LC_ALL": "C", "SLURM_TIME_FORMAT": "standard"},
            capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, check=False,
            start_new_session=True,  # Ctrl-C is for this command, which cancels what it has submitted
        )  # fmt: skip
    except FileNotFoundError as error:
        raise MissingError(
            f"There is no {command} here. Run this on a login node of the site, or write site: local."
        ) from error
    if done.returncode:
        message = done.stderr.strip() or done.stdout.strip()
        advice = next((advice for part, advice in ADVICE.items() if part in message), "")
        raise MusCompError(f"{command} failed: {message} {advice}".rstrip())
    return done.stdout


def _seconds(text):
    """Seconds of "1-02:03:04", "2:03" or "02:03.456"; None for words such as UNLIMITED."""
    if not re.fullmatch(r"(\d+-)?[\d:]+(\.\d+)?", text):
        return None
    days, _, rest = text.partition(".")[0].rpartition("-")
    seconds = 0
    for part in rest.split(":"):
        seconds = 60 * seconds + int(part)
    return 86400 * int(days or 0) + seconds


def _megabytes(text):
    """MB of "12345K" or "1.50G", in units of 1024; None for what is not recorded, or not the whole job's ("4Gc")."""
    if not re.fullmatch(r"\d+(\.\d+)?[KMGT]?", text) or not float(text.rstrip("KMGT")):
        return None
    return float(text.rstrip("KMGT")) * 1024 ** " KMGT".index(text[-1] if text[-1] in "KMGT" else " ") / 1e6


def _timestamp(text):
    try:
        return int(datetime.fromisoformat(text).timestamp())
    except ValueError:
        return None
