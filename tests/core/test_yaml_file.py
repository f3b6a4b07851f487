import time

import pytest

from muscomp_lib.core import yaml_file
from muscomp_lib.core.errors import MissingError, SettingError

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGE_BOMB = "a0: &a0 {k: v}\n" + "".join(
    f"a{n}: &a{n}\n  <<: [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        (".5", 0.5),
        ("-7", -7),
        ("0x1F", 31),
        ("0o17", 15),
        ("-.inf", float("-inf")),
        ("TRUE", True),
        ("~", None),
        ("", None),
        ("None", None),
        ("'7'", "7"),
        ("!!str 7", "7"),
        ("on", "on"),
        ("No", "No"),
        ("1:00", "1:00"),
        ("0123456", "0123456"),
        ("2024-13-45", "2024-13-45"),
        ("1_000", "1_000"),
        ("20,000", "20,000"),
        ("nan", "nan"),
        ("a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}", {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}}),
    ],
)
def test_plain_values_are_those_of_yaml_1_2(text, value):
    assert yaml_file.parse(text, "here") == value


def test_numbers_and_words_may_stay_as_they_are_written():
    text = "{UUID: 12e4567, gain: 1e400, flag: true, none: null, plugin: None}"
    found = yaml_file.parse(text, "here", as_text=True)
    assert found == {"UUID": "12e4567", "gain": "1e400", "flag": "true", "none": None, "plugin": "None"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "here, line 6: these are more than 100,000 values"),
        (MERGE_BOMB, "these are more than 100,000 values"),
        (f"a: &a {'x' * 500_000}\nb: [{'*a, ' * 90}]", "these are more than 100,000 values"),
        ("a: &a [*a]", "here, line 1: .a repeats what is not complete"),
        ("a: *b", "line 1: .b repeats what is not complete"),
        ("x: 1\ny: 2\nx: 3", "the key 'x' is there twice, in lines 1 and 3"),
        ("- " * 50_000 + "x", "nested more than 40 deep"),
        ("[" * 500_000, "this is not YAML"),
        ("a: " + "9" * 5000, "a number has 5,000 digits"),
        ("x" * 1_000_001, "longer than 1,000,000 characters"),
        ("? [a]\n: b", "a key has to be a word or a number"),
        ("a: 1\nb: {hours: 1,5}", "line 2: no value for '5'. Write a decimal with a point"),
        ("{a: 1, b }", "line 1: no value for 'b'"),
        ("<<: 3", "adds the keys of a mapping"),
        ("a: 1\n---\nb: 2", "a second document begins"),
        ("!!python/name:os.system x", "the tag 'tag:yaml.org,2002:python/name:os.system' is not possible"),
        ("Drums:\n\t- kick", "line 2: this is not YAML: .*with spaces, not tabs"),
        ("Drums: [*kick*]", r"line 1: this is not YAML: .*such as \* or .* in single quotes"),
        ("Drums: [*kick]", "line 1: .kick repeats what is not complete there: .* in quotes"),
        ("a: 1\nb:\xa0c\nd: e", r"line 2: this is not YAML, perhaps for a non-breaking space \(U\+00A0\)"),
        ("a: b\nb\uff1ac\nd: e", "line 2: this is not YAML, perhaps for a full-width colon"),
        ("\xa0a: b", "line 1: '.xa0a' begins or ends with a non-breaking space"),
        ("a: b\n\nc: d\u200b", "line 3: 'd.u200b' begins or ends with an invisible space"),
        ("a: \u201cb c\u201d", "line 1: \u201cb c\u201d is in printed quotation marks"),
        ("a: b: c", "here, line 1: this is not YAML: mapping values are not allowed"),
        ("a: b\0", "here: this is not YAML: it holds NUL characters"),
        ("\ud800", "this is not YAML"),
    ],
)
def test_what_cannot_be_is_refused_at_once_with_its_line(text, message):
    began = time.monotonic()
    with pytest.raises(SettingError, match=message):
        yaml_file.parse(text, "here")
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_file_in_another_encoding_is_refused(tmp_path, encoding):
    (tmp_path / "a.yaml").write_text("song: Käse", encoding=encoding)
    with pytest.raises(SettingError, match=r"a\.yaml is not UTF-8"):
        yaml_file.read(tmp_path / "a.yaml")


def test_only_files_are_read(tmp_path):
    with pytest.raises(MissingError, match=r"The campaign file .* is not there"):
        yaml_file.read(tmp_path, "The campaign file")


def test_what_is_written_reads_back_as_the_same():
    texts = [
        "1e3",
        "None",
        "on",
        "0o17",
        "0:30",
        "007",
        "~",
        "",
        " a",
        "<<",
        "1_000",
        "a\nb",
        "é\u2028\x85",
        "\xa0a",
        "\u201ca\u201d",
        "2024-01-01",
    ]
    content = {"05": texts, "numbers": [1e20, 1e-7, float("inf"), 12345678901234567890, True, None, {"a": [1]}]}
    assert yaml_file.parse(yaml_file.dump(content), "here") == content
