"""The real Spleeter's own Python environment: made on first use, and programs run in it. Used by engine.py.

Spleeter 2.4.2 cannot be installed beside the notebooks' packages (requirements.txt says why). Its environment is in the
user's cache, or in `$MUSCOMP_SPLEETER_ENV`, takes 2.5 GB, and is made with a Python that Spleeter runs on: one found on
this machine, else one that `uv` fetches. A file written last marks it as complete; an environment without it, or made
from another list of packages, is replaced.
"""

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path

from muscomp_lib.core import provenance
from muscomp_lib.core.errors import DiskFullError, MissingError, SettingError, SpleeterError
from muscomp_lib.core.files import cache_folder, locked, make_folder, remove
from muscomp_lib.core.progress import bar

REQUIREMENTS = Path(__file__).with_name("requirements.txt")  # package data, so that it is there when installed
VARIABLE = "MUSCOMP_SPLEETER_ENV"
NAME = "spleeter-2.4.2"
VERSIONS = ("3.11", "3.10", "3.9")  # of Python, the preferred first: those the pinned packages run on
MARK = "made_from.txt"
LAST_LINES = 12  # of a failed program, shown in the error

HOW_TO_GET_PYTHON = f"""Spleeter 2.4.2 needs Python {VERSIONS[-1]} to {VERSIONS[0]}, and none with the module venv was \
found. Get one of these and run this again:
  pip install uv                                   (it fetches a Python by itself, without administrator's rights)
  sudo apt install python3.11 python3.11-venv      (Debian 12)
  sudo add-apt-repository ppa:deadsnakes/ppa && sudo apt install python3.11 python3.11-venv      (Ubuntu)
  brew install python@3.11                         (macOS)"""

# A program in the environment ends with us, also when we are killed: the operating system then closes our end of its
# standard input, and it kills its whole process group (Spleeter's workers, ffmpeg).
CHILD = """
import os, runpy, signal, sys, threading

def end_with_parent():
    os.read(0, 1)
    os.killpg(0, signal.SIGKILL)

threading.Thread(target=end_with_parent, daemon=True).start()
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""

log = logging.getLogger(__name__)


def environment():
    """The Python of Spleeter's environment, which is made first if it is not there: a few minutes, 0.6 GB to download.

    Returns
    -------
    Path

    Raises
    ------
    MissingError
        No Python that Spleeter runs on, and no `uv`.
    SettingError
        `$MUSCOMP_SPLEETER_ENV` is a folder with other things in it.
    SpleeterError, DiskFullError
        Its packages cannot be installed: no network, no room.
    """
    folder = _folder()
    if not _complete(folder):
        with locked(_lock(folder)):
            if not _complete(folder):  # or another process has made it while this one waited
                _make(folder)
    return _python_of(folder)


def _folder():
    return Path(os.environ.get(VARIABLE) or cache_folder() / NAME).expanduser().absolute()


def _python_of(folder):
    return folder / "bin" / "python"


def _complete(folder):
    """Whether the environment was made to the end from today's list, and the Python it was made with still exists."""
    return _python_of(folder).exists() and provenance.matches(folder / MARK, REQUIREMENTS.read_text())


def _lock(folder):
    """The lock file of an environment; it stays, and marks the folder as ours."""
    lock = folder.with_name(f"{folder.name}.lock")
    if not lock.exists() and folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise SettingError(
            f"{folder} was not made by Mus-Comp, and would be replaced by Spleeter's environment. Set ${VARIABLE} to a "
            "folder that does not exist yet."
        )
    make_folder(folder.parent)
    return lock


def _make(folder):
    remove(folder)
    log.info("Making an environment for %s in %s: once, a few minutes, 0.6 GB to download.", NAME, folder)
    _create(folder)
    _install(_python_of(folder))
    provenance.write(folder / MARK, REQUIREMENTS.read_text())


def _create(folder):
    if python := _found_python():
        command = [python, "-I", "-m", "venv", folder]
    elif uv := _found_uv():
        command = [uv, "venv", "--python", VERSIONS[0], "--seed", folder]
    else:
        raise MissingError(HOW_TO_GET_PYTHON)
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        output = (done.stdout + done.stderr).splitlines()
        raise _failure(f"{command[0]} could not make the environment {folder}", done.returncode, output)


def _found_python():
    """The first Python of the right version that can really make an environment; None if there is none."""
    return next((path for version in VERSIONS for path in _candidates(version) if _works(path, version)), None)


def _candidates(version):
    if version == "{}.{}".format(*sys.version_info):
        yield Path(sys.executable)
    for folder in os.get_exec_path():
        path = Path(folder) / f"python{version}"
        if path.is_file() and os.access(path, os.X_OK):
            yield path


def _works(python, version):
    """Whether it runs, is that version, and has venv, which is a package of its own on Debian."""
    question = "import ensurepip, sys, venv; print('{}.{}'.format(*sys.version_info))"
    try:
        answer = subprocess.run([python, "-I", "-c", question], capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.stdout.strip() == version


def _found_uv():
    """`uv` on the path, or beside our own Python, where `pip install uv` in a notebook puts it."""
    beside = Path(sys.executable).with_name("uv")
    return shutil.which("uv") or (beside if os.access(beside, os.X_OK) else None)


def _install(python):
    pinned = [line for line in REQUIREMENTS.read_text().splitlines() if "==" in line and not line.startswith("#")]
    arguments = ["install", "--no-input", "--disable-pip-version-check", "--progress-bar", "off", "-r", REQUIREMENTS]
    what = f"The packages of {NAME} could not be installed (is there a network?); the next call starts over"
    with (
        running(python, "pip", arguments, what) as lines,
        bar(total=len(pinned), desc="installing Spleeter", unit="package") as progress,
    ):
        for line in lines:
            progress.update(line.startswith("Collecting "))


@contextlib.contextmanager
def running(python, module, arguments, what, done=lambda: True):
    """Run a module of the environment, `python -m module arguments`; yields the lines of its output as they come.

    Whatever still runs when the block ends is stopped.

    Parameters
    ----------
    python : Path
        From `environment`.
    what : str
        The start of the message if it fails.
    done : callable
        Whether the result is there: Spleeter reports many failures as success.

    Raises
    ------
    SpleeterError, DiskFullError
        It failed; with the last lines of its output.
    """
    process = subprocess.Popen(
        [python, "-I", "-u", "-c", CHILD, module, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    last = deque(maxlen=LAST_LINES)
    # Spleeter's idle workers outlive it when memory runs out and it is killed, and hold the pipe open for ever.
    threading.Thread(target=_end_with_leader, args=(process,), daemon=True).start()
    try:
        yield _recorded(process.stdout, last)
        last.extend(line.rstrip() for line in process.stdout)
        process.wait()
    finally:
        _end(process)
    if process.returncode or not done():
        raise _failure(what, process.returncode, last)


def _recorded(lines, last):
    for line in lines:
        last.append(line.rstrip())
        yield line


def _end_with_leader(process):
    process.wait()
    _kill_group(process)


def _end(process):
    if process.poll() is None:
        _kill_group(process)
    process.wait()
    process.stdin.close()
    process.stdout.close()


def _kill_group(process):
    with contextlib.suppress(OSError):  # all its members have ended already
        os.killpg(process.pid, signal.SIGKILL)


def _failure(what, code, lines):
    output = "\n".join(list(lines)[-LAST_LINES:])
    if "No space left on device" in output or "Disk quota exceeded" in output:
        return DiskFullError(f"{what}: no room left on the disk. Free some and run this again. Last output:\n{output}")
    killed = " It was killed, most likely because memory ran out." if code == -signal.SIGKILL else ""
    return SpleeterError(f"{what}.{killed} Last output:\n{output}")
