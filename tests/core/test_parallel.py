import os
import signal

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
