"""Fixtures that several test modules share."""

import pytest
from fixtures.needs import require


def pytest_collection_modifyitems(items):
    """What needs the real Spleeter's environment, of 2.3 GB, and the fuzz tests belong to `make test-all`."""
    for item in items:
        if "spleeter_python" in item.fixturenames or item.path.name == "test_fuzz.py":
            item.add_marker(pytest.mark.full)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)  # processes take whole files: long ones go first, none is late


@pytest.fixture(scope="session")
def mini_slakh(tmp_path_factory):
    """A folder in Slakh's layout with 6 tracks of 8 s: 4 train (two with one UUID), 1 validation, 1 test. Read only."""
    from muscomp_lib import minislakh

    folder = tmp_path_factory.mktemp("mini_slakh") / "slakh"
    minislakh.make(folder, minislakh.Settings(tracks=6, seconds=8.0))
    return folder


@pytest.fixture(scope="session")
def spleeter_python():
    """The Python of the real Spleeter's environment, made once, in some minutes, and kept for later."""
    from muscomp_lib.core.errors import MissingError
    from muscomp_lib.spleeter import environment

    try:
        return environment.environment()
    except MissingError as error:
        return require(False, f"the real Spleeter: {str(error).splitlines()[0]}")
