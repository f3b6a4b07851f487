import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from muscomp_lib.core import parallel
from muscomp_lib.core.errors import MusCompError


def killed_at_two(number):
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize("workers", [1, 2])
def test_results_and_callbacks_are_in_order(workers):
    finished = []
    results = parallel.each(abs, [-3, -1, -2], workers, sizes=[1, 5, 2], done=lambda *result: finished.append(result))
    assert results == [3, 1, 2]
    assert finished == [(0, 3), (1, 1), (2, 2)]


def test_a_killed_worker_is_reported_with_what_to_do():
    with pytest.raises(MusCompError, match=r"One of 2 worker processes was ended by the system.*Set workers to 1"):
        parallel.each(killed_at_two, range(4), 2)


def test_workers_end_with_their_parent_whatever_they_compute():
    code = """if True:
        import functools, re
        from muscomp_lib.core import parallel
        endless = functools.partial(re.findall, "(a+)+$")  # in C, which does not let another thread run
        parallel.each(endless, ["a"] + 2 * [40 * "a" + "b"], 2, done=lambda *_: print("ready", flush=True))
    """
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout.readline() == "ready\n"
    time.sleep(0.5)
    workers = psutil.Process(parent.pid).children(recursive=True)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    _, alive = psutil.wait_procs(workers, timeout=20)
    running = [worker for worker in alive if worker.status() != psutil.STATUS_ZOMBIE]  # some containers leave zombies
    for worker in running:
        worker.kill()
    assert len(workers) >= 2 and not running
