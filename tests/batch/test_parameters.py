"""The parameters of headless runs: what YAML says, and what is refused before anything starts."""

import os

import nbformat
import pytest
from fixtures.tiny_campaign import PROJECT
from nbformat.v4 import new_code_cell, new_notebook

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
        ("on", "on"),
        ("yes", "yes"),
        ("nan", "nan"),
        ("007", "007"),
        ("20,000", "20,000"),
        ("1_000", "1_000"),
        ("1e3", 1000.0),
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
        ("03.name", "2024", "of at most 191 bytes (in quotes, where it looks like a number"),
        ("02.shard", "3/2", "shard = '3/2' is not possible"),
        ("03.batch_size", "4.0", "batch_size = 4.0 is not possible"),
        ("03.T", "true", "T = True is not possible"),
        ("02.fill", "on", "fill = 'on' is not possible. It must be True or False"),
        ("05.seconds", "20,000", "seconds = '20,000' is not possible"),
        ("05.seconds", "1e400", "seconds = inf is not possible"),
        ("05.song", "~nobody-of-this-name/a.wav", "is not a possible path"),
        ("05.song", os.fsdecode(b"Beyonc\xe9.wav"), "notebooks are UTF-8"),
        ("03.name", "x" * 300, "of at most 191 bytes"),
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


def test_values_that_exclude_each_other_are_refused_together(steps):
    with pytest.raises(SettingError, match=r"^03_make_tables_and_config.ipynb: .*crop_frames"):
        assign(steps, [from_option("T", "64"), from_option("crop_frames", "128")])


def test_a_number_of_thousands_of_digits_is_refused():
    with pytest.raises(SettingError, match="a number has 5,000 digits"):
        from_option("seconds", "9" * 5000)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('"03": {name: a}\n3: {name: b}', "sections 03 and 3 are of the same notebook"),
        ('3: {name: a}\n"3": {name: b}', "the key 3 is there twice, once in quotes"),
        ("3: {learning_rate: 1,5e-3}", "line 1: no value for '5e-3'. Write a decimal with a point"),
    ],
)
def test_what_one_spelling_would_hide_is_refused(tmp_path, text, message):
    (tmp_path / "given.yaml").write_text(text)
    with pytest.raises(SettingError, match=message):
        from_file(tmp_path / "given.yaml")


def test_a_path_is_one_text(steps, tmp_path):
    (tmp_path / "given.yaml").write_text('"05": {out: [a, b]}')
    with pytest.raises(SettingError, match=r"section 05: out = .'a', 'b'. is not possible. It must be a path"):
        assign(steps, from_file(tmp_path / "given.yaml"))


def test_a_variable_before_a_path_is_expanded_or_refused(steps, tmp_path, monkeypatch):
    monkeypatch.setenv("PROJECT", str(tmp_path))
    monkeypatch.delenv("SCRATCH", raising=False)
    (tmp_path / "given.yaml").write_text("root: $PROJECT/data\n'05': {song: /music/Ke$PROJECT.wav}")
    assign(steps, from_file(tmp_path / "given.yaml"))
    assert steps[0].parameters["root"] == str(tmp_path / "data")
    assert steps[4].parameters["song"] == "/music/Ke$PROJECT.wav"
    with pytest.raises(SettingError, match=r"root = '\$SCRATCH/data' begins with a variable that is not set here"):
        assign(steps, [from_option("root", "$SCRATCH/data")])


def test_a_corpus_is_a_name_or_a_folder(steps, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "music").mkdir()
    (tmp_path / "music" / "a.txt").touch()
    for given, found in (("music", str(tmp_path / "music")), ("lieder", "lieder")):
        assign(steps, [from_option("08.corpus", given)])
        assert steps[-1].parameters["corpus"] == found


@pytest.mark.parametrize(
    ("parameter", "given", "is_path"),
    [
        ("05.model", "./mine", True),
        ("05.model", "mine", False),  # in the root's models/
        ("05.model", "./absent", False),
        ("05.model", "spleeter:4stems", False),
        ("04.config", "mine/own.json", True),
        ("04.start_from", "$HERE/mine", True),
        ("01.minislakh_soundfonts", "[mine/own.sf2]", True),
        ("01.minislakh_midi", "[mine]", True),
    ],
)
def test_a_path_is_relative_to_the_callers_folder(steps, tmp_path, monkeypatch, parameter, given, is_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HERE", str(tmp_path))
    (tmp_path / "mine").mkdir()
    for file in ("own.json", "own.sf2", "own.mid"):
        (tmp_path / "mine" / file).touch()
    number, _, name = parameter.partition(".")
    assign(steps, [from_option(parameter, given), from_option("01.minislakh_production", "varied")])
    (found,) = [step.parameters[name] for step in steps if step.number == number]
    path = (tmp_path / given.strip("[]").replace("$HERE/", "")).resolve()
    assert found == (given if not is_path else [str(path)] if given[0] == "[" else str(path))


def test_songs_may_be_a_list_of_paths(steps, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "given.yaml").write_text('"05": {song: [a.wav, b.wav]}')
    assign(steps, from_file(tmp_path / "given.yaml"))
    assert steps[4].parameters["song"] == [str(tmp_path / "a.wav"), str(tmp_path / "b.wav")]
    (tmp_path / "given.yaml").write_text('"05": {song: [a.wav, 3]}')
    with pytest.raises(
        SettingError, match=r"song = .'a.wav', 3. is not possible. It must be an audio file, a folder or"
    ):
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


def test_a_notebook_without_a_parameters_cell_is_named(tmp_path):
    spec = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(metadata=spec, cells=[new_code_cell("root = None")]), tmp_path / "mine.ipynb")
    with pytest.raises(SettingError, match=r"mine\.ipynb takes no parameters\. Give the cell .* tag 'parameters'"):
        assign([step_of(tmp_path / "mine.ipynb")], [from_option("root", "x")])


def test_a_parameter_of_another_notebook_is_named_as_such(steps):
    with pytest.raises(SettingError, match=r"no parameter 'train_max_steps' in 04_train\.ipynb\. It is one of 03\."):
        assign(steps, [from_option("04.train_max_steps", "100")])


def test_a_file_may_give_what_only_other_notebooks_take(steps, tmp_path):
    (tmp_path / "given.yaml").write_text("taxonomy: families\n")
    assign([steps[1]], from_file(tmp_path / "given.yaml"))
    assert steps[1].number == "02" and "taxonomy" not in steps[1].parameters
    with pytest.raises(SettingError, match=r"no parameter 'taxonomy' in 02_\w+\.ipynb\. It is one of 01"):
        assign([steps[1]], [from_option("taxonomy", "families")])
    (tmp_path / "misspelled.yaml").write_text("taxonomie: families\n")
    with pytest.raises(SettingError, match="there is no parameter 'taxonomie'"):
        assign([steps[1]], from_file(tmp_path / "misspelled.yaml"))
