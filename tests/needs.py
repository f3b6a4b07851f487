"""What a test needs and a machine may lack: the test is skipped there with the reason, but not where all must run."""

import os

import pytest

REQUIRE_ALL = "MUSCOMP_REQUIRE_ALL"  # set by .ci/run, which installs all that the tests can need


def require(condition, reason):
    """Skip the test unless `condition` holds; fail instead where `$MUSCOMP_REQUIRE_ALL` is set."""
    if condition:
        return
    if os.environ.get(REQUIRE_ALL):
        pytest.fail(f"{reason}, and {REQUIRE_ALL} is set", pytrace=False)
    pytest.skip(reason)
