import importlib

import pytest

from muscomp_lib import _old_paths


@pytest.mark.parametrize("old", _old_paths.MOVED)
def test_an_old_module_path_gives_the_module_that_replaced_it(old):
    new = importlib.import_module(f"muscomp_lib.{_old_paths.MOVED[old]}")
    assert importlib.import_module(f"muscomp_lib.{old}") is new


def test_old_names_can_be_imported_from_the_package():
    from muscomp_lib.unet import __name__ as name

    from muscomp_lib import drive, mixer

    assert drive.open_root and mixer.Mixer
    assert name == "muscomp_lib.models.unet"
