"""One writer for a run's folder: a file that names the host, the process and the job, renewed while it is held.

A lock of the operating system does not reach the other nodes of every cluster, and a notebook whose job script was
killed would hold it. So another process of this folder waits until the file is removed, or is not renewed any more.
A notebook whose job script has ended stops, with its work saved; one whose folder was taken over ends at once.
"""

import contextlib
import json
import os
import platform
import signal
import sys
import threading
import time

import psutil

from muscomp_lib.core.errors import DiskFullError, SettingError
from muscomp_lib.core.files import full_disk_reported

FILE = "running.json"
BEAT = 10.0  # seconds from one renewal to the next
STALE = 35.0  # seconds without one after which its process counts as killed
PATIENCE = 300.0  # seconds that a job waits for one that saves its work
JOB = "SLURM_JOB_ID"


@contextlib.contextmanager
def hold(folder):
    """Hold a folder alone.

    Raises
    ------
    SettingError
        Another process works in it, or it cannot be written to.
    DiskFullError
    """
    file, mine = folder / FILE, _me()
    _take(file, mine, PATIENCE if JOB in os.environ else 0.0)
    ended = threading.Event()
    thread = threading.Thread(target=_renew, args=(file, mine, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        if _read(file).get("token") == mine["token"]:
            file.unlink(missing_ok=True)


def _me():
    process = os.getpid()
    host = os.environ.get("SLURMD_NODENAME") or platform.node()
    job = "_".join(filter(None, (os.environ.get(name) for name in ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"))))
    job = job or os.environ.get(JOB)
    return {"host": host, "process": process, "job": job, "token": f"{host} {process} {time.time_ns()}", "beat": 0}


def _read(file):
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _take(file, mine, patience):
    """Make the file; wait for the one that another process holds."""
    began = changed = time.monotonic()
    before = None
    while True:
        if _make(file, mine):
            return
        found, now = _read(file), time.monotonic()
        if before is None:
            print(f"{_holder(found)} works in {file.parent}, or was killed there. Waiting.", flush=True)
        elif found != before:
            changed = now
            if now - began > patience:
                raise SettingError(
                    f"{_holder(found)} works in {file.parent}. Wait until it has ended, or stop it first."
                )
        if now - changed > STALE or _is_dead(found, mine):
            with contextlib.suppress(FileNotFoundError):
                file.rename(file.with_name(f".{FILE}-{mine['process']}")).unlink()
            continue
        before = found
        time.sleep(0.5)


def _make(file, mine):
    """Make the file, unless it is there; whether it was made."""
    try:
        with full_disk_reported(file), file.open("x", encoding="utf-8") as new:
            json.dump(mine, new)
    except FileExistsError:
        return False
    except DiskFullError:
        file.unlink(missing_ok=True)
        raise
    except OSError as error:
        raise SettingError(
            f"The folder {file.parent} cannot be written to ({error.strerror}). Give another one as --out."
        ) from error
    return True


def _holder(found):
    job = f" of job {found['job']}" if found.get("job") else ""
    return f"Process {found.get('process', '?')}{job} on {found.get('host', '?')}"


def _is_dead(found, mine):
    """Whether the file's process was on this host, and has ended."""
    return found.get("host") == mine["host"] and not psutil.pid_exists(found.get("process") or 0)


def _renew(file, mine, ended):
    parent, asked = os.getppid(), False
    while not ended.wait(BEAT):
        mine["beat"] += 1
        found = _read(file)
        if found and found.get("token") != mine["token"]:
            _give_up(file, found)
        with contextlib.suppress(OSError):  # a disk that fails for a moment
            file.write_text(json.dumps(mine), encoding="utf-8")
        if JOB in os.environ and os.getppid() != parent and not asked:
            asked = True
            print("The job's script was killed. The notebook stops, and saves its work.", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGTERM)


def _give_up(file, found):
    """End at once, without saving: another process has taken over, because this one was silent for too long."""
    print(f"{_holder(found)} has taken over {file.parent}. This one ends.", file=sys.stderr, flush=True)
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            child.kill()
    os._exit(1)
