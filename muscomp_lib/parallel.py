"""The same work on many items, on all processor cores. Used by every stage that goes through the data set.

Workers are new processes ("spawn"), not copies of this one: TensorFlow may be loaded here, and does not survive being
copied. They end when the process that started them is killed, so that nothing goes on writing behind a restarted run.
"""

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from tqdm.auto import tqdm

from muscomp_lib.errors import MusCompError


def each(function, items, workers=None, desc=None):
    """Call `function` with each of `items`, on several cores, with a progress bar.

    Parameters
    ----------
    function : callable
        Of one argument, at a module's level; its result must not depend on the order of the calls.
    items : sequence
    workers : int, optional
        Processes; None: one per core. With one, or for a single item, everything happens in this process.
    desc : str, optional
        What the progress bar says.

    Returns
    -------
    list
        The results, in the order of `items`.

    Raises
    ------
    MusCompError
        When the system killed a worker. What `function` raises ends the work and is raised here.
    """
    workers = min(workers or os.cpu_count() or 1, len(items))
    if workers <= 1:
        return list(tqdm(map(function, items), desc=desc, total=len(items), disable=None))
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=spawn, initializer=_end_with_parent)
    try:
        return list(tqdm(pool.map(function, items), desc=desc, total=len(items), disable=None))
    except BrokenProcessPool as error:
        raise MusCompError(
            f"One of {workers} worker processes was ended by the system, most often because memory ran out. "
            f"Set workers to {max(1, workers // 2)} and run this again: what is already done is kept."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_parent():
    """Make this worker end when the process that started it is gone, however that ended."""

    def wait():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
