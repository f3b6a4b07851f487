"""Notebook 07's settings, checked before anything starts."""

import pytest

from muscomp_lib import cli
from muscomp_lib.core.errors import SettingError
from muscomp_lib.core.root import Root
from muscomp_lib.export import Settings


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"formats": ["tflite"]}, "formats = ['tflite'] is not possible. It must be a list of some of saved_model, "),
        ({"formats": []}, "formats = [] is not possible. It must be a list of some of saved_model, "),
        ({"model": ""}, "model = '' is not possible. It must be 'shipped', the name of a model"),
        ({"seconds": 1}, "seconds = 1 is not possible. It must be a number of seconds from 4 to 600"),
        ({"format": "onnx"}, "there is no setting 'format'. Did you mean 'formats'?"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_is_possible(wrong, message):
    with pytest.raises(SettingError) as error:
        Settings(**wrong)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("shipped", "shipped"),
        ("spleeter:2stems", "spleeter_2stems"),
        ("a/mine", "mine"),
        ("a/mine/config.json", "mine"),
    ],
)
def test_each_model_has_a_folder_called_like_it(tmp_path, model, name):
    assert Settings(model=model).folder(Root(tmp_path)) == tmp_path / "exported" / name


def test_the_command_takes_the_settings_and_refuses_in_one_line(capsys):
    with pytest.raises(SystemExit):
        cli.main(["export", "--help"])
    shown = capsys.readouterr().out
    assert all(f"--{name}" in shown for name in ("formats", "seconds", "out", "root"))
    assert cli.main(["export", "shipped", "--formats", "tflite"]) == 2
    assert capsys.readouterr().err.startswith("formats = 'tflite' is not possible. It must be a list of some of")
    assert cli.main(["export", "nonesuch", "--formats", "litert_float32"]) == 2
    assert "There is no model 'nonesuch'" in capsys.readouterr().err
