"""Notebook 05's settings, checked before anything starts."""

from pathlib import Path

import pytest

from muscomp_lib.core.errors import SettingError
from muscomp_lib.separation import Settings


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"model": " "}, "model = ' ' is not possible. It must be 'shipped', the name of a model"),
        ({"engine": "demucs"}, "engine = 'demucs' is not possible. It must be 'muscomp' or 'spleeter'."),
        ({"outputs": []}, "outputs = [] is not possible. It must be a list of instruments"),
        ({"outputs": "Drums,,Violin"}, "outputs = 'Drums,,Violin' is not possible."),
        ({"file_format": "aiff"}, "file_format = 'aiff' is not possible. It must be 'flac', "),
        ({"exact": "yes"}, "exact = 'yes' is not possible. It must be True or False."),
        ({"quantise": "1/5"}, "quantise = '1/5' is not possible. It must be '1/4', "),
        ({"taxonomy": "slakh"}, "There is no taxonomy 'slakh' in instruments.yaml. Did you mean 'slakh12'?"),
        ({"seconds": 0}, "seconds = 0 is not possible. It must be a number above 0, or None for the whole song."),
        ({"output": ["Drums"]}, "there is no setting 'output'. Did you mean 'outputs'?"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_is_possible(wrong, message):
    with pytest.raises(SettingError) as error:
        Settings(**wrong)
    assert str(error.value).startswith(message)


def test_targets_may_be_one_text_and_paths_may_be_paths():
    settings = Settings(outputs="drums,rest", song=Path("album"), out=Path("out"), seconds=10)
    assert settings.outputs == "drums,rest" and settings.seconds == 10.0
