import pytest
import yaml

from muscomp_lib import instruments
from muscomp_lib.errors import SettingError

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


def test_the_default_taxonomy_is_the_twelve_exact_programs_in_order():
    assert {i.name: i.programs for i in instruments.load().values()} == {n: (p,) for n, p in THE_TWELVE.items()}
    assert instruments.names() == list(THE_TWELVE)


def test_families_have_the_same_names_and_hold_the_exact_programs():
    families = instruments.load("families")
    assert list(families) == list(THE_TWELVE)
    assert all(program in families[name].programs for name, program in THE_TWELVE.items())


def test_a_program_is_looked_up_in_its_taxonomy():
    assert instruments.of_program(34) == "Electric_Bass_pick"
    assert instruments.of_program(33) == ""
    assert instruments.of_program(33, "families") == "Electric_Bass_pick"
    assert instruments.of_program(128) == "Drums"


def test_only_drums_have_no_range():
    for instrument in instruments.load().values():
        assert instrument.is_drums == (instrument.lowest is None)
        assert instrument.is_drums or 0 <= instrument.lowest < instrument.highest <= 127


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"Violin": {"programs": [40]}, "Viola": {"programs": [40]}},
            "program 40 belongs to both 'Violin' and 'Viola'",
        ),
        ({"Violin": {"programs": [200]}}, "'Violin': programs \\[200\\] must be whole numbers"),
        ({"Violin": {}}, "'Violin': programs \\[\\]"),
        ({"mix": {"programs": [40]}}, "'mix': not a possible name"),
        ({"../Violin": {"programs": [40]}}, "not a possible name"),
    ],
)
def test_a_mistake_in_the_file_is_refused_with_its_instrument(tmp_path, monkeypatch, entry, message):
    monkeypatch.setattr(instruments, "TAXONOMY_FILE", tmp_path / "instruments.yaml")
    instruments.TAXONOMY_FILE.write_text(yaml.safe_dump({"mine": entry}, sort_keys=False))
    with pytest.raises(SettingError, match=message):
        instruments.load.__wrapped__("mine")


def test_an_unknown_taxonomy_is_refused_with_the_known_ones():
    with pytest.raises(SettingError, match=r"no taxonomy 'slak12'.*slakh12, families"):
        instruments.load("slak12")
