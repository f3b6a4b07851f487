"""Kill a stage at random moments and start it again: it must end in the files of an undisturbed run."""

import random
import subprocess
import sys
import time
from pathlib import Path

PROJECT = Path(__file__).parents[1]


def snapshot(folder):
    """All files below a folder and their bytes, by relative path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def whole_or_absent(folder, whole):
    """Whether every file in `folder`, but for those marked as unfinished, is as in the snapshot `whole`."""
    return all(whole[name] == held for name, held in snapshot(folder).items() if ".part-" not in name)


def run(imports, work):
    """Run `imports` and then `work`, Python code, in a process of its own; return the seconds that `work` took."""
    process = _started(imports, work)
    began = time.monotonic()
    assert process.wait() == 0
    return time.monotonic() - began


def run_and_kill(imports, work, lasts, times=4, seed=0, after_each=lambda: None):
    """SIGKILL `work` at `times` random moments of the `lasts` seconds it takes, then let it run to its end.

    `after_each` is called after each kill, to see that what lies there is whole.
    """
    draw = random.Random(seed)
    for _ in range(times):
        process = _started(imports, work)
        try:
            process.wait(draw.uniform(0, lasts))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        after_each()
    run(imports, work)


def _started(imports, work):
    code = f"{imports}\nprint('ready', flush=True)\n{work}"
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    # A package may print a line of its own when it is imported, here and later in workers: the pipe stays open.
    assert "ready\n" in iter(process.stdout.readline, "")
    return process
