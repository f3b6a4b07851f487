import os

import pytest

from muscomp_lib.core import names, yaml_file
from muscomp_lib.core.errors import SettingError


@pytest.mark.parametrize(
    "name", ["Drums", "Electric_Bass_pick", "Track00001", "My song (live)", "Käse & Brot", "-rf", "音"]
)
def test_ordinary_names_pass(name):
    assert names.check(name, "instrument", "config.json") == name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../../x", "contains '/'"),
        ("..\\x", r"contains '\\\\'"),
        ("..", "dot"),
        (".hidden", "dot"),
        ("", "empty"),
        ("  ", "empty"),
        ("ends.", "dot"),
        ("<img src=x>", "contains '<'"),
        ("C:", "contains ':'"),
        ("a\nb", r"contains '\\n'"),
        ("a\u2028b", "contains"),
        ("a\u202eb", "contains"),
        ("a\0b", "contains"),
        (os.fsdecode(b"Beyonc\xe9"), "contains"),
        ("x" * 250, "longer than"),
        ("NUL", "Windows reserves it"),
        ("aux.live", "Windows reserves it"),
        (7, "not a text"),
        (None, "not a text"),
    ],
)
def test_what_is_no_name_is_refused_with_its_reason(name, reason):
    with pytest.raises(SettingError, match=rf"tracks.csv, line 2: .* cannot be the name of a track, because.*{reason}"):
        names.check(name, "track", "tracks.csv, line 2")
    assert not names.is_name(name)


@pytest.mark.parametrize("title", ["song", "a\nb", "{x}'\"$(id)", "x" * 255, os.fsdecode(b"Beyonc\xe9")])
def test_a_possible_title_is_the_folders_name(title):
    assert names.as_folder(title) == title


IMPOSSIBLE = {"..": "_..", ".x": "_.x", "": "_", "a/b": "a_b", "é" * 200: "é" * 127, "Con": "_Con", "aux.2": "_aux.2"}


@pytest.mark.parametrize(("title", "folder"), IMPOSSIBLE.items())
def test_a_title_that_is_no_folder_gets_the_nearest_name(title, folder):
    assert names.as_folder(title) == folder


def test_a_suffix_is_kept_whole_and_the_title_shortened():
    assert names.as_folder("song", "_30s") == "song_30s"
    assert names.as_folder("é" * 200, "_30s") == "é" * 125 + "_30s"


def test_names_that_are_not_utf8_become_text():
    assert names.as_text("Käse") == "Käse"
    assert names.as_text(os.fsdecode(b"Beyonc\xe9")) == r"Beyonc\udce9"


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("Elec Gtr 2", "Electric Guitar 2"),
        ("AcGtr_L", "Acoustic Guitar_L"),
        ("gtr2", "guitar2"),
        ("LeadVox1", "Lead Vocals1"),
        ("E-Gitarre", "Electric Guitar"),
        ("e.bass 2", "electric bass 2"),
        ("A-Git", "Acoustic Guitar"),
        ("Aguitarra", "Aguitarra"),
        ("BVs", "Backing Vocals"),
        ("Batería", "Drums"),
        ("Schlagzeug", "Drums"),
        ("Gtrain", "Gtrain"),
        ("Electric_Bass_pick", "Electric_Bass_pick"),
    ],
)
def test_abbreviations_and_other_languages_are_written_out(name, full):
    assert names.in_full(name) == full


def test_each_abbreviation_means_one_thing():
    spellings = [each for group in yaml_file.read(names.ABBREVIATIONS_FILE).values() for each in group]
    assert len(spellings) == len(set(spellings)) and all(
        names.in_full(names.in_full(s)) == names.in_full(s) for s in spellings
    )
