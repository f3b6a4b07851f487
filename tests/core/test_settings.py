import pytest

from muscomp_lib.core import settings
from muscomp_lib.core.errors import SettingError
from muscomp_lib.core.settings import Field, flag, number, one_of, optional, text, that, whole


class Part(settings.Section):
    kind: one_of("unet", "other") = "unet"
    rate: number(above=0, highest=1) = 0.1


class File(settings.Section):
    name: text("a name")
    part: Part
    limit: optional(whole(1), "all") = Field(None, description="At most so many.")
    source: optional(text(), "nowhere") = Field(None, alias="from")


class Stage(settings.Settings):
    limit: settings.field(File, "limit") = None
    kind: settings.field(File, "part.kind") = "unet"
    share: number(0, 0.5) = 0.2
    fresh: flag() = False
    steps: whole(1, 1_000_000_000) = 1
    even: that(lambda value: isinstance(value, int) and value % 2 == 0, "an even number") = 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"limit": 0}, "limit = 0 is not possible. It must be a whole number from 1, or None for all."),
        ({"limit": True}, "limit = True is not possible."),
        ({"limit": "3"}, "limit = '3' is not possible."),
        ({"limit": 3.0}, "limit = 3.0 is not possible."),
        ({"kind": "unett"}, "kind = 'unett' is not possible. It must be 'unet' or 'other'."),
        ({"share": 0.7}, "share = 0.7 is not possible. It must be a number from 0 to 0.5."),
        ({"share": float("nan")}, "share = nan is not possible."),
        ({"steps": 0}, "steps = 0 is not possible. It must be a whole number from 1 to 1000000000."),
        ({"fresh": 1}, "fresh = 1 is not possible. It must be True or False."),
        ({"even": 3}, "even = 3 is not possible. It must be an even number."),
        (
            {"limt": 3},
            "there is no setting 'limt'. Did you mean 'limit'? There is limit, kind, share, fresh, steps, even.",
        ),
    ],
)
def test_wrong_settings_are_quoted_with_what_is_possible(wrong, message):
    with pytest.raises(SettingError) as error:
        Stage(**wrong)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"name": "a", "part": {"rate": 0}},
            "x.json: part.rate = 0 is not possible. It must be a number above 0",
        ),
        ({"name": "a", "part": {"rte": 1}}, "x.json: there is no setting 'part.rte'. Did you mean 'part.rate'?"),
        ({"name": "a", "part": {}, "from": 3}, "x.json: from = 3 is not possible. It must be a text, or None"),
        ({"name": "a", "part": {}, "source": "b"}, "x.json: there is no setting 'source'."),
        ({"name": "a"}, "x.json: part is missing."),
        ({"part": {}}, "x.json: name is missing. It must be a name."),
        ({"name": " ", "part": {}}, "x.json: name = ' ' is not possible. It must be a name."),
    ],
)
def test_a_wrong_file_names_the_nested_key(wrong, message):
    with pytest.raises(SettingError) as error:
        settings.check(File, wrong, "x.json")
    assert str(error.value).startswith(message)


def test_right_values_pass_and_whole_numbers_are_numbers():
    assert settings.check(File, {"name": "a", "part": {"rate": 1}, "from": "b"}, "x.json").source == "b"
    assert Stage(share=0).share == 0
    assert Stage(limit=2).replace(fresh=True) == Stage(limit=2, fresh=True)
    with pytest.raises(SettingError, match="limit = 0"):
        Stage().replace(limit=0)


def test_one_declaration_serves_elsewhere():
    assert list(settings.fields(File)) == ["name", "part.kind", "part.rate", "limit", "from"]
    assert settings.expected(settings.field(File, "part.rate")) == "a number above 0, at most 1"
    with pytest.raises(SettingError, match=r"^params\.yaml: limit = -1 is not possible"):
        settings.check_value("limit", settings.field(File, "limit"), -1, "params.yaml: ")


def test_a_setting_error_from_a_check_is_raised_unchanged():
    from muscomp_lib.core.instruments import Taxonomy

    with pytest.raises(SettingError, match=r"no taxonomy 'slakh13' in instruments\.yaml"):
        settings.check_value("taxonomy", Taxonomy, "slakh13")
