import re
import unicodedata

import pytest

from muscomp_lib.core import instruments
from muscomp_lib.core.errors import SettingError
from muscomp_lib.slakh import index_tables

THE_TWELVE = {
    "Electric_Bass_pick": 34,
    "Glockenspiel": 9,
    "Bright_Acoustic_Piano": 1,
    "Rock_Organ": 18,
    "String_Ensemble_1": 48,
    "Distortion_Guitar": 30,
    "Brass_Section": 61,
    "Electric_Grand_Piano": 2,
    "Electric_Guitar_clean": 27,
    "Acoustic_Guitar_nylon": 24,
    "Violin": 40,
    "Drums": 128,
}


def test_the_default_taxonomy_is_the_twelve_programs_in_order():
    assert {i.name: i.programs for i in instruments.load().values()} == {n: (p,) for n, p in THE_TWELVE.items()}
    assert instruments.names() == list(THE_TWELVE)


def test_families_are_written_as_the_exact_programs():
    families = instruments.load("families")
    assert {name: family.programs[0] for name, family in families.items()} == THE_TWELVE
    assert list(families) == list(THE_TWELVE)


def test_a_program_is_looked_up_in_its_taxonomy():
    assert instruments.of_program(34) == "Electric_Bass_pick"
    assert instruments.of_program(33) == ""
    assert instruments.of_program(33, "families") == "Electric_Bass_pick"
    assert instruments.of_program(128) == "Drums"


def test_drums_are_known_by_their_program(request):
    assert instruments.drums() == instruments.drums("families") == {"Drums"}
    write = request.getfixturevalue("write")
    write(violin() + b"kits:\n  Drum_Kit: {programs: [128]}\n")
    assert instruments.drums("kits") == {"Drum_Kit"} and instruments.drums("mine") == set()


def test_only_drums_have_no_range():
    for instrument in instruments.load().values():
        assert instrument.is_drums == (instrument.lowest is None)
        assert instrument.is_drums or 0 <= instrument.lowest < instrument.highest <= 127


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Replace the packaged file."""
    monkeypatch.setattr(instruments, "TAXONOMY_FILE", tmp_path / "instruments.yaml")
    return instruments.TAXONOMY_FILE.write_bytes


def violin(entry="{programs: [40], range: [55, 103], voices: one}", name="Violin"):
    return f"mine:\n  {name}: {entry}\n".encode()


def test_the_packaged_file_is_valid_and_lists_its_taxonomies():
    assert instruments.taxonomies() == ["slakh12", "families"]


def test_a_student_adds_a_taxonomy_by_adding_a_block(write):
    write(violin() + b"yours:\n  Kit: {programs: [128]}\n")
    assert instruments.taxonomies() == ["mine", "yours"]
    assert instruments.load("mine") == {"Violin": instruments.Instrument("Violin", (40,), 55, 103, True)}
    assert instruments.load("yours") == {"Kit": instruments.Instrument("Kit", (128,), None, None, False)}


def test_the_common_names_are_the_transcribers_and_no_taxonomy():
    with pytest.raises(SettingError, match="no taxonomy 'common_names'"):
        instruments.load("common_names")
    trained = {program for instrument in instruments.load("families").values() for program in instrument.programs}
    common = instruments._read(instruments.TAXONOMY_FILE)["common_names"].values()
    assert {program for instrument in common for program in instrument.programs} == trained


def test_a_name_is_looked_up_in_the_taxonomy_first(write):
    common = b"  fiddle: {programs: [40], range: [3, 4], also: [geige_2]}\n  Violin: {programs: [41], range: [5, 6]}\n"
    mine = violin("{programs: [40], range: [1, 2], also: [Geige, 'Erste Violine']}")
    write(mine + b"common_names:\n" + common)
    found = {name: instruments.find(name, "mine") for name in ("violin", "erste-violine", "Geige 2", "flute")}
    assert [found[name] and found[name].lowest for name in found] == [1, 1, 3, None]
    assert instruments.taxonomies() == ["mine"]


@pytest.mark.parametrize(
    ("name", "means"),
    [
        ("Gtr 1", "guitar"),
        ("01 Vln", "Violin"),
        ("808", None),
        ("E-Gtr", "guitar"),
        ("A-Gitarre", "acoustic_guitar"),
        ("E-Bass", "bass"),
        ("Elec Gtr", "guitar"),
        ("AcGtr", "acoustic_guitar"),
        ("Bateria", "Drums"),
        ("Guitarra eléctrica", "guitar"),
        ("Violão", "acoustic_guitar"),
        ("ドラム", "Drums"),
        ("Скрипка", "Violin"),
        ("Rhds 1", "electric_piano"),
        ("Mrmb", "marimba"),
        ("Perc", None),
        ("Pad", None),
        ("Str Gtr", None),
        ("Violín", "Violin"),
        (unicodedata.normalize("NFD", "Violín"), "Violin"),
        (unicodedata.normalize("NFD", "Órgão 2"), "organ"),
        ("Kontrabaß", "bass"),
        ("El. Gitarre", "guitar"),
        ("Fisarmonica", "accordion"),
    ],
)
def test_abbreviations_of_common_names_are_understood(name, means):
    found = instruments.find(name)
    assert (found and found.name) == means


@pytest.mark.parametrize(
    ("name", "means"),
    [
        ("Lead Guitar", "guitar"),
        ("Gtr - Acoustic L", "acoustic_guitar"),
        ("Electric Guitar (clean)", "Electric_Guitar_clean"),
        ("Bass DI", "bass"),
        ("1st Violins", "Violin"),
        ("Vln II", "Violin"),
        ("Str. hi", "strings"),
        ("Slap Bass 1", "bass"),
        ("12 Str Gtr", "acoustic_guitar"),
        ("7-string gtr", "guitar"),
        ("4 Str Bass", "bass"),
        ("Nylon Str Gtr", "acoustic_guitar"),
        ("Steel-String Acoustic Guitar", "acoustic_guitar"),
        ("12str Acoustic", "acoustic_guitar"),
        ("01 Str Ens", "strings"),
        ("Music Box", "music_box"),
        ("Akkordeon", "accordion"),
        ("Cembalo", "harpsichord"),
        ("Acoustic Grand Piano", "piano"),
        ("no_drums", None),
        ("Steel Drums", None),
        ("Bass Drum", None),
        ("Bass Clarinet", None),
        ("Lead", None),
    ],
)
def test_words_stand_in_any_order_with_roles_and_sides(name, means):
    found = instruments.find(name)
    assert (found and found.name) == means


@pytest.mark.parametrize(
    ("also", "message"),
    [
        ("[a/b]", r"also = \['a/b'\] is not possible. It must be a list in brackets of other names"),
        ("[accompaniment]", "also = "),
        ("fiddle", "also = 'fiddle' is not possible"),
        ("[fiddle, Fiddle]", "also = 'Fiddle' is already a name of 'Violin'"),
        ("[VIOLIN]", "also = 'VIOLIN' is already a name of 'Violin'"),
    ],
)
def test_another_name_that_is_impossible_or_taken_is_refused(write, also, message):
    write(violin(f"{{programs: [40], range: [55, 103], also: {also}}}"))
    with pytest.raises(SettingError, match=f"taxonomy 'mine', instrument 'Violin'.*{message}"):
        instruments.load("mine")


def test_the_byte_order_mark_of_windows_editors_is_accepted(write):
    write(b"\xef\xbb\xbf" + violin())
    assert instruments.names("mine") == ["Violin"]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{range: [55, 103]}", r"programs is missing. It must be a list in brackets .* from 0 to 127, or 128 for"),
        ("{programs: [], range: [55, 103]}", r"programs = \[\] is not possible"),
        ("{programs: 40, range: [55, 103]}", "programs = 40 is not possible"),
        ("{programs: [40, 129], range: [55, 103]}", r"programs = \[40, 129\] is not possible"),
        ("{programs: [-1], range: [55, 103]}", r"programs = \[-1\] is not possible"),
        ("{programs: [40.0], range: [55, 103]}", r"programs = \[40\.0\] is not possible"),
        ("{programs: ['40'], range: [55, 103]}", r"programs = \['40'\] is not possible"),
        ("{programs: [true], range: [55, 103]}", r"programs = \[True\] is not possible"),
        ("{programs: [40, 41, 40], range: [55, 103]}", r"programs = \[40, 41, 40\] is not possible.* each once"),
        ("{programs: [40]}", r"range is missing. It must be its lowest and its highest note, .* from 0 to 127"),
        ("{programs: [40], range: 55}", "range = 55 is not possible"),
        ("{programs: [40], range: [55]}", r"range = \[55\] is not possible"),
        ("{programs: [40], range: [103, 55]}", r"range = \[103, 55\] is not possible"),
        ("{programs: [40], range: [55, 128]}", r"range = \[55, 128\] is not possible"),
        ("{programs: [40], range: [55, 103.5]}", r"range = \[55, 103\.5\] is not possible"),
        ("{programs: [40], range: [false, 103]}", r"range = \[False, 103\] is not possible"),
        ("{programs: [128], range: [55, 103]}", r"range = \[55, 103\], but drums .* Remove it"),
        ("{programs: [40], range: [55, 103], voices: 1}", "voices = 1 is not possible. It must be 'one' or 'many'"),
        ("{programs: [40], range: [55, 103], voice: one}", "no setting 'voice'. Did you mean 'voices'?"),
        ("[40]", r"\[40\] does not describe it"),
        ("", "None does not describe it"),
    ],
)
def test_errors_name_taxonomy_instrument_and_what_is_possible(write, entry, message):
    write(violin(entry))
    with pytest.raises(SettingError, match=f"^instruments.yaml, taxonomy 'mine', instrument 'Violin': .*{message}"):
        instruments.load("mine")


def test_an_instrument_may_have_a_single_note(write):
    write(violin("{programs: [40], range: [60, 60]}"))
    assert instruments.load("mine")["Violin"].highest == 60


@pytest.mark.parametrize("name", ["lpt9", "COM1"])
def test_a_name_that_windows_reserves_is_refused(write, name):
    write(violin(name=name))
    with pytest.raises(SettingError, match=f"instrument '{name}'"):
        instruments.load("mine")


@pytest.mark.parametrize("name", ["../Violin", "Vio lin", "Geige_für", "_Violin", "V" * 65, "12", "Vio+la", "~"])
def test_a_name_that_no_file_could_have_is_refused(write, name):
    write(violin(name=name))
    with pytest.raises(SettingError, match=r"taxonomy 'mine', instrument .*: not a possible name. Use letters"):
        instruments.load("mine")


@pytest.mark.parametrize("name", ["mix", "other", "Mix", "OTHER", "accompaniment", "lpt1", *index_tables.TRACK_COLUMNS])
def test_a_reserved_name_is_refused(write, name):
    write(violin(name=name))
    with pytest.raises(SettingError, match=f"taxonomy 'mine', instrument '{name}': the name is taken"):
        instruments.load("mine")


def test_names_that_differ_in_case_only_are_refused(write):
    write(violin() + b"  violin: {programs: [41], range: [48, 91]}\n")
    with pytest.raises(SettingError, match="taxonomy 'mine': instruments 'Violin' and 'violin' differ in upper"):
        instruments.load("mine")


def test_a_program_belongs_to_one_instrument_of_a_taxonomy(write):
    write(violin() + b"  Viola: {programs: [41, 40], range: [48, 91]}\n")
    with pytest.raises(SettingError, match="taxonomy 'mine': program 40 belongs to both 'Violin' and 'Viola'"):
        instruments.load("mine")
    write(violin() + b"yours:\n  Viola: {programs: [41, 40], range: [48, 91]}\n")
    instruments._read.cache_clear()
    assert instruments.of_program(40, "yours") == "Viola"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (violin() + violin(name="Viola"), "the key 'mine' is there twice, in lines 1 and 3"),
        (violin() + b"  Violin: {programs: [41]}", "the key 'Violin' is there twice, in lines 2 and 3"),
        (violin("{programs: [40], programs: [41]}"), "the key 'programs' is there twice, in lines 2 and 2"),
    ],
)
def test_duplicate_keys_are_refused_with_their_lines(write, text, message):
    write(text)
    with pytest.raises(SettingError, match=message):
        instruments.load("mine")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (violin() + b"\tViola: {programs: [41]}\n", "line 3: this is not YAML: .*Correct it there"),
        (violin("{programs: [40"), "line 3: this is not YAML"),
        (b"mine: \xff\n", "is not UTF-8"),
        (violin("{programs: [2001-13-45]}"), r"programs = \['2001-13-45'\] is not possible"),
        (b"", "holds no taxonomy. Write one as a name with instruments"),
        (b"- Violin\n", "holds no taxonomy"),
        (b"mine:\n", "taxonomy 'mine': it holds None, not instruments. Write each on a line below it"),
        (b"mine: [Violin]\n", r"taxonomy 'mine': it holds \['Violin'\], not instruments"),
        (b"12:\n  Violin: {programs: [40]}\n", 'taxonomy 12: its name is not read as text. Put it in quotes: "12"'),
    ],
)
def test_a_file_that_holds_no_taxonomies_is_refused(write, text, message):
    write(text)
    with pytest.raises(SettingError, match=f"instruments.yaml.*{message}"):
        instruments.load("mine")


def test_an_error_in_any_taxonomy_is_reported(write):
    write(violin() + b"yours:\n  Kit: {programs: [129]}\n")
    with pytest.raises(SettingError, match=r"taxonomy 'yours', instrument 'Kit': programs = \[129\]"):
        instruments.load("mine")


@pytest.mark.parametrize("taxonomy", ["slak12", ["slakh12"], None])
def test_an_unknown_taxonomy_is_refused_with_the_known_ones(taxonomy):
    with pytest.raises(SettingError, match=rf"no taxonomy {re.escape(repr(taxonomy))} .* There is slakh12, families"):
        instruments.load(taxonomy)
