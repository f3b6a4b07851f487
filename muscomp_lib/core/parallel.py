"""The same work on many items, on all processor cores. Used by every stage that goes through the data set.

Workers are new processes ("spawn"), not copies of this one: TensorFlow may be loaded here, and does not survive a fork.
They end at once when the process that started them is killed, so that none writes while a restarted run does: joblib's
go on with what is queued. On Linux the kernel sees to it, since a worker whose C code holds the GIL runs no Python.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import numpy as np

from muscomp_lib.core.errors import MusCompError
from muscomp_lib.core.progress import bar

PR_SET_PDEATHSIG = 1  # prctl(2): the signal that a process gets when its parent ends


def each(function, items, workers=None, desc=None, sizes=None, done=None):
    """Call `function` with each of `items`, on several cores, with a progress bar.

    Parameters
    ----------
    function : callable
        Of one argument, at a module's level; its result must not depend on the order of the calls.
    items : sequence
    workers : int, optional
        Processes; None: one per core that this process may use. With one, or for a single item, this process does all.
    desc : str, optional
        The label of the progress bar.
    sizes : sequence of int, optional
        Bytes of each item: the bar then counts these, so that its time left is right for items of unequal size.
    done : callable, optional
        Called in this process with an item's index and its result, in order, as soon as possible.

    Returns
    -------
    list
        The results, in the order of `items`.

    Raises
    ------
    MusCompError
        When the system killed a worker. An error of `function` ends the work and is raised here.
    """
    workers = min(workers or cores(), len(items))
    if workers <= 1:
        return _collect(map(function, items), len(items), desc, sizes, done)
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=spawn, initializer=_end_with_parent)
    try:
        return _collect(pool.map(function, items), len(items), desc, sizes, done)
    except BrokenProcessPool as error:
        raise MusCompError(
            f"One of {workers} worker processes was ended by the system, most often because memory ran out. "
            f"Set workers to {max(1, workers // 2)} and run this again: what is already done is kept. In a script of "
            "your own, call this below `if __name__ == '__main__':`, since each worker imports the script."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def evenly_spaced(items, count):
    """`count` of the items, spread evenly over them; all of them for None.

    Returns
    -------
    list
    """
    if count is None or count >= len(items):
        return list(items)
    return [items[i] for i in np.linspace(0, len(items) - 1, count).astype(int)]


def cores():
    """How many cores this process may use: in a batch job often fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _collect(results, n_items, desc, sizes, done):
    """The results as a list, passed to the progress bar and to `done` one by one."""
    unit = {"total": n_items} if sizes is None else {"total": sum(sizes), "unit": "B", "unit_scale": True}
    collected = []
    with bar(desc=desc, **unit) as counted:
        for number, result in enumerate(results):
            if done is not None:
                done(number, result)
            collected.append(result)
            counted.update(1 if sizes is None else sizes[number])
    return collected


def _end_with_parent():
    """Make this worker end when the process that started it is gone, however that ended."""

    def wait():
        multiprocessing.parent_process().join()
        os._exit(1)

    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=wait, daemon=True).start()  # elsewhere, and for a parent that was gone before
