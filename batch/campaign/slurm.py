"""Slurm's commands: submit, queue, accounting, cancel. Used by `submit.py`."""

import os
import re
import subprocess
from dataclasses import dataclass
from datetime import datetime

from muscomp_lib.core.errors import MissingError, MusCompError

WAITING = {"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT"}
RUNNING_STATES = {"RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"}
FIELDS = "%i|%T|%M|%L|%e|%r"  # job, state, time used, time left, end, reason


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


def submit(script, after=(), kind="afterok", tasks=None, at_once=""):
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
    return _output("sbatch", *options, script).strip().partition(";")[0]


def queue():
    """All jobs of this user that Slurm still lists: {("12", 3): Job}, task 0 where there is no array."""
    jobs = {}
    for line in _output("squeue", "--me", "--noheader", "--array", "--states=all", f"--format={FIELDS}").splitlines():
        name, state, used, left, end, reason = line.split("|", 5)
        number, _, task = name.partition("_")
        one = task.isdigit() or not task
        jobs[number, int(task) if task and one else 0] = Job(
            state, _seconds(used), _seconds(left), _timestamp(end), "" if reason == "None" else reason
        )
    return jobs


def accounting(numbers):
    """Slurm's records of jobs and all their runs: {("12", 3): (state, seconds)}; None without accounting."""
    words = ["--duplicates", "--noheader", "--parsable2", "--allocations", "--format=JobID,State,ElapsedRaw"]
    try:
        return accounts(_output("sacct", *words, "--jobs", ",".join(numbers)))
    except MusCompError:
        return None


def accounts(records):
    """Read sacct's lines of JobID|State|ElapsedRaw, one for each run of a job, as `accounting` returns them."""
    found = {}
    for line in records.splitlines():
        name, state, seconds = line.split("|")
        number, _, task = name.partition("_")
        if task and not task.isdigit():
            continue  # a part of an array that has not started
        key = number, int(task or 0)
        found[key] = (state.split()[0], found.get(key, ("", 0))[1] + int(seconds or 0))
    return found


def cancel(numbers):
    """End jobs, waiting or running."""
    _output("scancel", *numbers)


def _output(command, *words):
    try:
        done = subprocess.run(
            [command, *map(str, words)], env={**os.environ, "LC_ALL": "C", "SLURM_TIME_FORMAT": "standard"},
            capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
            start_new_session=True,  # Ctrl-C is for this command, which cancels what it has submitted
        )  # fmt: skip
    except FileNotFoundError as error:
        raise MissingError(
            f"There is no {command} here. Run this on a login node of the site, or write site: local."
        ) from error
    if done.returncode:
        raise MusCompError(f"{command} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _seconds(text):
    """Seconds of "1-02:03:04" or "2:03"; None for words such as UNLIMITED."""
    if not re.fullmatch(r"(\d+-)?[\d:]+", text):
        return None
    days, _, rest = text.rpartition("-")
    seconds = 0
    for part in rest.split(":"):
        seconds = 60 * seconds + int(part)
    return 86400 * int(days or 0) + seconds


def _timestamp(text):
    try:
        return int(datetime.fromisoformat(text).timestamp())
    except ValueError:
        return None
