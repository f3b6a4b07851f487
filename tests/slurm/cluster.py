"""Starts and stops a real Slurm on this machine: its own folder, ports and keys; loopback only; no systemd.

python tests/slurm/cluster.py start FOLDER    # then: export SLURM_CONF=FOLDER/slurm.conf
python tests/slurm/cluster.py stop FOLDER
"""

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil

HERE = Path(__file__).parent
NODES = ("cpu1", "cpu2", "gpu1", "gpu2")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel")
PACKAGES = "slurmctld slurmd slurm-client munge"
PATIENCE = 30  # seconds until the nodes must have answered
PROLOG = """#!/bin/sh
mkdir -p <folder>/local/$SLURM_JOB_ID
echo export LOCAL=<folder>/local/$SLURM_JOB_ID
"""


def lacking():
    """The programs that are not installed here."""
    places = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return [name for name in PROGRAMS if not shutil.which(name, path=places)]


def environment(folder):
    """The variables with which Slurm's commands find this cluster."""
    return {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}


def start(folder):
    """Start the cluster in an empty folder with a short path; return when all its nodes answer."""
    for name in ("munge", "state", "spool", "run", "log", "devices", "local"):
        (folder / name).mkdir(parents=True)
    for number in range(8):
        (folder / "devices" / f"nvidia{number}").symlink_to("/dev/null")
    words = {"folder": folder, "user": getpass.getuser(), "only_loopback": _only_loopback()}
    words |= {f"{name}_port": port for name, port in zip(("controller", *NODES), _free_ports(), strict=False)}
    for name in ("slurm.conf", "gres.conf"):
        (folder / name).write_text(_filled((HERE / f"{name}.in").read_text(), words))
    prolog = folder / "task_prolog.sh"
    prolog.write_text(_filled(PROLOG, words))
    prolog.chmod(0o755)
    key = folder / "munge" / "key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(128))
    try:
        _start_daemons(folder)
    except BaseException:
        stop(folder)
        raise


def _start_daemons(folder):
    munge = folder / "munge"
    run(folder, "munged", "--force", f"--key-file={munge / 'key'}", f"--socket={munge / 'socket'}",
         f"--pid-file={folder / 'run' / 'munged.pid'}", f"--log-file={folder / 'log' / 'munged.log'}",
         f"--seed-file={munge / 'seed'}")  # fmt: skip
    run(folder, "slurmctld", "-c")
    for node in NODES:
        start_node(folder, node)
    until = time.monotonic() + PATIENCE
    while set(_states(folder)) != {"idle"}:
        if time.monotonic() > until:
            raise TimeoutError(f"After {PATIENCE} s the nodes are {_states(folder)}; see {folder / 'log'}.")
        time.sleep(0.1)


def start_node(folder, node):
    """Start one node."""
    run(folder, "slurmd", "-N", node)


def kill_node(folder, node):
    """Kill one node without a word, and all that runs on it."""
    victims = [psutil.Process(int((folder / "run" / f"slurmd.{node}.pid").read_text()))]
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            its = process.environ()
            if its.get("SLURMD_NODENAME") == node and its.get("SLURM_CONF") == str(folder / "slurm.conf"):
                victims += [process.parent(), process] if process.parent().name() == "slurmstepd" else [process]
    for end in (psutil.Process.suspend, psutil.Process.kill):  # at once: nobody has time to see another's end
        for process in victims:
            with contextlib.suppress(psutil.NoSuchProcess):
                end(process)


def stop(folder):
    """End all jobs and the daemons that this folder's pid files name."""
    with contextlib.suppress(subprocess.SubprocessError):
        run(folder, "scancel", "--me", timeout=10)
        until = time.monotonic() + 10
        while run(folder, "squeue", "--noheader", timeout=10).strip() and time.monotonic() < until:
            time.sleep(0.2)
    for name in ("slurmctld", *(f"slurmd.{node}" for node in NODES), "munged"):
        _end(folder / "run" / f"{name}.pid")


def _end(pid_file):
    try:
        process = psutil.Process(int(pid_file.read_text()))
    except (OSError, ValueError, psutil.NoSuchProcess):
        return
    process.send_signal(signal.SIGTERM)
    until = time.monotonic() + 10
    while _is_alive(process) and time.monotonic() < until:
        time.sleep(0.05)
    if _is_alive(process):
        process.kill()
    pid_file.unlink(missing_ok=True)


def _is_alive(process):
    """Whether a process is at work: one that has ended may stay listed, where nobody asks for its exit status."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def run(folder, *command, timeout=60):
    """Give this cluster a command, and return what it prints."""
    done = subprocess.run(
        command, env={**os.environ, **environment(folder)}, capture_output=True, text=True,
        stdin=subprocess.DEVNULL, timeout=timeout, check=False,
    )  # fmt: skip
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, f"{done.stderr} ({command})")
    return done.stdout


def _states(folder):
    with contextlib.suppress(subprocess.SubprocessError):
        return run(folder, "sinfo", "--noheader", "--Node", "--format=%t", timeout=10).split()
    return []


def _filled(text, words):
    for word, value in words.items():
        text = text.replace(f"<{word}>", str(value))
    return text


def _only_loopback():
    """The setting that keeps the daemons off other addresses: possible where this machine's name is the loopback's."""
    with contextlib.suppress(OSError):
        if socket.gethostbyname(socket.gethostname()).startswith("127."):
            return "CommunicationParameters=NoCtldInAddrAny,NoInAddrAny"
    return ""


def _free_ports():
    """As many ports as there are daemons, that nobody uses now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(len(NODES) + 1)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


if __name__ == "__main__":
    {"start": start, "stop": stop}[sys.argv[1]](Path(sys.argv[2]).resolve())
