"""Notebooks 01 and 02: their parameters are the fields of the settings they fill, with the same defaults."""

import ast
from pathlib import Path

import nbformat
import pytest

from muscomp_lib import minislakh, reserve, slakh
from muscomp_lib.core.errors import SettingError

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
ALL_FIELDS = {name: name for name in reserve.Settings.model_fields}
FILLS = [  # notebook, settings, {parameter: field}
    ("01_index_slakh", slakh.Settings, {name: name for name in ("taxonomy", "limit", "verify")}),
    (
        "01_index_slakh",
        minislakh.Settings,
        {
            "minislakh_tracks": "tracks",
            "minislakh_seconds": "seconds",
            "minislakh_engine": "engine",
            "minislakh_soundfonts": "soundfonts",
            "minislakh_production": "production",
            "minislakh_midi": "midi",
            "seed": "seed",
            "taxonomy": "taxonomy",
        },
    ),
    ("02_fill_from_reserve", reserve.Settings, ALL_FIELDS),
]


def parameters(notebook):
    cells = nbformat.read(NOTEBOOKS / f"{notebook}.ipynb", as_version=4).cells
    (source,) = [cell.source for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    return {line.targets[0].id: ast.literal_eval(line.value) for line in ast.parse(source).body}


@pytest.mark.parametrize(("notebook", "settings", "fields"), FILLS)
def test_a_parameter_has_its_settings_default(notebook, settings, fields):
    given, defaults = parameters(notebook), settings()
    for parameter, field in fields.items():
        expected = getattr(defaults, field)
        expected = list(expected) if isinstance(expected, tuple) else expected  # papermill knows no tuples
        assert given[parameter] == expected and type(given[parameter]) is type(expected), parameter


@pytest.mark.parametrize("notebook", ["01_index_slakh", "02_fill_from_reserve"])
def test_every_parameter_but_the_root_is_a_setting(notebook):
    known = {parameter for name, _, fields in FILLS if name == notebook for parameter in fields}
    assert set(parameters(notebook)) - {"root"} == known


@pytest.mark.parametrize("settings", [slakh.Settings, minislakh.Settings, reserve.Settings])
def test_every_setting_is_described_and_unknown_ones_are_refused(settings):
    assert all(field.description for field in settings.model_fields.values())
    with pytest.raises(SettingError, match="there is no setting 'sed'"):
        settings(sed=1)
