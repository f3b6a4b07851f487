"""What Slurm is asked and told: submit, queue, accounts, cancel. Used by `submit.py`."""

import os
import re
import subprocess
from dataclasses import dataclass
from datetime import datetime

from muscomp_lib.core.errors import MissingError, MusCompError

GONE_ON = {"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT"}
AT_WORK = {"RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"}
FIELDS = "%i|%T|%M|%L|%e|%r"  # job, state, time used, time left, end, reason


@dataclass(frozen=True)
class Job:
    """A job, or one of an array, as the queue shows it.

    Attributes
    ----------
    state : str
        Slurm's word.
    used, left : int or None
        Seconds of this run; None: not known.
    end : int or None
        When it ended or will at the latest, seconds since 1970.
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
        return self.state in GONE_ON

    @property
    def is_running(self):
        """Whether it is at work."""
        return self.state in AT_WORK


def submit(script, after=(), kind="afterok", tasks=None):
    """Submit a script.

    Parameters
    ----------
    script : Path
    after : sequence of str
        Jobs that must have ended, well ("afterok") or in any way ("afterany").
    kind : str
    tasks : list of int, optional
        Only these of an array.

    Returns
    -------
    str
        The job's number.

    Raises
    ------
    MusCompError
        Slurm refuses it: its own words.
    """
    options = ["--parsable"]
    if after:
        options += [f"--dependency={kind}:{':'.join(after)}", "--kill-on-invalid-dep=yes"]
    if tasks:
        options += [f"--array={','.join(map(str, tasks))}"]
    return _told("sbatch", *options, script).strip().partition(";")[0]


def queue():
    """All jobs of this user that Slurm still knows: {("12", 3): Job}, task 0 where there is no array."""
    jobs = {}
    for line in _told("squeue", "--me", "--noheader", "--array", "--states=all", f"--format={FIELDS}").splitlines():
        name, state, used, left, end, reason = line.split("|", 5)
        number, _, task = name.partition("_")
        known = task.isdigit() or not task
        jobs[number, int(task) if task and known else 0] = Job(
            state, _seconds(used), _seconds(left), _moment(end), "" if reason == "None" else reason
        )
    return jobs


def accounts(numbers):
    """What accounting has noted of jobs and all their runs: {("12", 3): (state, seconds)}; None where there is none."""
    words = ["--duplicates", "--noheader", "--parsable2", "--allocations", "--format=JobID,State,ElapsedRaw"]
    try:
        told = _told("sacct", *words, "--jobs", ",".join(numbers))
    except MusCompError:
        return None
    found = {}
    for line in told.splitlines():
        name, state, seconds = line.split("|")
        number, _, task = name.partition("_")
        if task and not task.isdigit():
            continue  # a part of an array that has not begun
        key = number, int(task or 0)
        found[key] = (state.split()[0], found.get(key, ("", 0))[1] + int(seconds or 0))
    return found


def cancel(numbers):
    """End jobs, waiting or running."""
    _told("scancel", *numbers)


def _told(command, *words):
    try:
        done = subprocess.run(
            [command, *map(str, words)], env={**os.environ, "LC_ALL": "C", "SLURM_TIME_FORMAT": "standard"},
            capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise MissingError(
            f"There is no {command} here. Run this on a login node of the site, or write site: local."
        ) from error
    if done.returncode:
        raise MusCompError(f"{command} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _seconds(text):
    """Seconds of "1-02:03:04" or "2:03"; None of words such as UNLIMITED."""
    if not re.fullmatch(r"(\d+-)?[\d:]+", text):
        return None
    days, _, rest = text.rpartition("-")
    seconds = 0
    for part in rest.split(":"):
        seconds = 60 * seconds + int(part)
    return 86400 * int(days or 0) + seconds


def _moment(text):
    try:
        return int(datetime.fromisoformat(text).timestamp())
    except ValueError:
        return None
