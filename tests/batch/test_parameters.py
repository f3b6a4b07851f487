"""The parameters of headless runs: what YAML says, and what is refused before anything starts."""

import pytest
from fixtures.tiny_campaign import PROJECT

from batch.notebook_parameters import assign, declaration, from_file, from_option, ordered, step_of
from muscomp_lib.core.errors import SettingError

NOTEBOOKS = PROJECT / "notebooks"


@pytest.fixture
def steps():
    return [step_of(notebook) for notebook in ordered(NOTEBOOKS)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("-0.5", -0.5),
        ("7", 7),
        ("0:30", "0:30"),
        ("0123456", "0123456"),
        ("2024-13-45", "2024-13-45"),
        ("2024-01-05", "2024-01-05"),
        ("1/8", "1/8"),
        ("None", None),
        ("null", None),
        ("true", True),
        ("[16, 32]", [16, 32]),
    ],
)
def test_plain_words_and_numbers_mean_what_they_look_like(text, value):
    assert from_option("x", text).value == value


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("01.minislakh_tracks", "2", "minislakh_tracks = 2 is not possible. It must be a whole number from"),
        ("01.seed", "-1", "seed = -1 is not possible"),
        ("02.reserve_share", ".nan", "reserve_share = nan is not possible. It must be a number from 0"),
        ("02.shard", "3/2", "shard = '3/2' is not possible"),
        ("03.batch_size", "4.0", "batch_size = 4.0 is not possible"),
        ("03.T", "yes", "T = True is not possible"),
        ("01.verify", "ful", "verify = 'ful' is not possible"),
        ("04.test_songs", "many", "test_songs = 'many' is not possible"),
        ("04.fresh", "1", "fresh = 1 is not possible"),
        ("05.seconds", "0:30", "seconds = '0:30' is not possible"),
        ("05.file_format", "ogg", "file_format = 'ogg' is not possible"),
        ("taxonomy", "slakh13", "slakh13"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_possible(steps, name, text, message):
    with pytest.raises(SettingError) as refused:
        assign(steps, [from_option(name, text)])
    assert str(refused.value).startswith(f"-p {name}: ") and message in str(refused.value)


def test_a_path_is_one_text(steps, tmp_path):
    (tmp_path / "given.yaml").write_text('"05": {song: [a.wav, b.wav]}')
    with pytest.raises(SettingError, match=r"section 05: song = .'a.wav', 'b.wav'. is not possible. It must be a path"):
        assign(steps, from_file(tmp_path / "given.yaml"))


def test_none_means_no_root_and_no_grid(steps, tmp_path):
    (tmp_path / "given.yaml").write_text('root: None\n"05":\n  quantise: None\n')
    assign(steps, [*from_file(tmp_path / "given.yaml"), from_option("04.root", "None")])
    assert [step.parameters["root"] for step in steps] == [None] * len(steps)
    assert steps[4].parameters["quantise"] is None


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_file_that_is_not_utf_8_is_refused(tmp_path, encoding):
    (tmp_path / "given.yaml").write_text("song: Käse.wav", encoding=encoding)
    with pytest.raises(SettingError, match="is not UTF-8"):
        from_file(tmp_path / "given.yaml")


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    (tmp_path / "given.yaml").write_text("seed: 3", encoding="utf-8-sig")
    assert from_file(tmp_path / "given.yaml")[0].name == "seed"


def test_every_parameter_of_the_notebooks_is_declared(steps):
    assert not [(step.number, name) for step in steps for name in step.valid if declaration(step.number, name) is None]
