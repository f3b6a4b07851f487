import pytest

from muscomp_lib.core.errors import SettingError
from muscomp_lib.core.instruments import names
from muscomp_lib.separation import targets
from muscomp_lib.separation.targets import Target

MODEL = ["Bass", "Violin", "Drums", "other"]
WITHOUT_OTHER = MODEL[:3]


def test_by_default_every_instrument_becomes_a_file():
    assert targets.plan(MODEL) == [Target(name, (number,)) for number, name in enumerate(MODEL)]


def test_case_does_not_matter_and_one_text_will_do():
    assert targets.plan(MODEL, "drums, VIOLIN") == [Target("Drums", (2,)), Target("Violin", (1,))]


def test_a_plus_sums_instruments_into_one_file():
    assert targets.plan(MODEL, ["drums + bass", "Violin"]) == [Target("Drums+Bass", (0, 2)), Target("Violin", (1,))]


@pytest.mark.parametrize(
    ("wanted", "title", "meant"),
    [
        ("bass", "Electric_Bass_pick", "Electric_Bass_pick"),
        ("Klavier", "piano", "Bright_Acoustic_Piano+Electric_Grand_Piano"),
        ("Gtr/..", "guitar", "Distortion_Guitar+Electric_Guitar_clean+Acoustic_Guitar_nylon"),
        ("electric", None, "Electric_Bass_pick+Electric_Grand_Piano+Electric_Guitar_clean"),
        ("E-Gitarre", "Electric_Guitar_clean", "Electric_Guitar_clean"),
        ("strings", "String_Ensemble_1", "String_Ensemble_1"),
        ("horns+drum kit", "Brass_Section+Drums", "Brass_Section+Drums"),
        ("piano+Violin", "piano+Violin", "Bright_Acoustic_Piano+Electric_Grand_Piano+Violin"),
    ],
)
def test_common_names_mean_all_instruments_of_their_kind(wanted, title, meant):
    (found,) = targets.plan(names(), wanted)
    assert found.name == (title or meant)
    assert [names()[index] for index in found.indices] == sorted(meant.split("+"), key=names().index)


def test_a_name_of_its_own_goes_before_its_kind():
    assert [target.name for target in targets.plan(["Guitar", "Lead_Guitar"], "guitar")] == ["Guitar"]


@pytest.mark.parametrize("word", ["accompaniment", "rest", "Rest"])
def test_accompaniment_and_rest_are_all_unnamed_instruments(word):
    assert targets.plan(MODEL, ["Drums", word]) == [Target("Drums", (2,)), Target(word.lower(), (0, 1, 3))]
    assert targets.plan(MODEL, ["Drums", f"{word}+Bass"])[1].indices == (0, 1, 3)


@pytest.mark.parametrize(
    ("model", "wanted", "exact"),
    [
        (MODEL, None, [*(Target(name, (n,)) for n, name in enumerate(WITHOUT_OTHER)), Target("other", (3,), True)]),
        (MODEL, ["Drums"], [Target("Drums", (2,)), Target("other", (0, 1, 3), True)]),
        (MODEL, ["rest", "Drums"], [Target("rest", (0, 1, 3), True), Target("Drums", (2,))]),
        (MODEL, ["Bass+other", "rest"], [Target("Bass+other", (0, 3), True), Target("rest", (1, 2))]),
        (WITHOUT_OTHER, ["Drums", "rest"], [Target("Drums", (2,)), Target("rest", (0, 1), True)]),
        (WITHOUT_OTHER, ["Drums", "Bass"], [Target("Drums", (2,)), Target("Bass", (0,)), Target("other", (1,), True)]),
        (WITHOUT_OTHER, None, [*(Target(n, (i,)) for i, n in enumerate(WITHOUT_OTHER)), Target("other", (), True)]),
    ],
)
def test_for_an_exact_sum_one_target_becomes_the_residual(model, wanted, exact):
    assert targets.plan(model, wanted, exact=True) == exact


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (["Trumpet"], r"no instrument 'Trumpet'.*Bass, Violin, Drums, other.*'accompaniment' or 'rest'"),
        (["Drumz"], "Did you mean 'Drums'"),
        (["Drums", "Drums+Bass"], "Drums is named more than once"),
        (["rest", "accompaniment"], "mean the same"),
        ([*MODEL, "rest"], "'rest' would be empty"),
        ([], "list of files to write is empty"),
        (["Drums+"], "no instrument ''"),
    ],
)
def test_impossible_targets_are_refused_by_name(wanted, message):
    with pytest.raises(SettingError, match=message):
        targets.plan(MODEL, wanted)


def test_one_target_alone_cannot_sum_to_the_song():
    with pytest.raises(SettingError, match="'rest' alone cannot sum to the song"):
        targets.plan(MODEL, ["rest"], exact=True)


def test_a_models_own_name_may_hold_a_plus():
    model = ["R+B", "vocals", "accompaniment"]
    assert [target.indices for target in targets.plan(model)] == [(0,), (1,), (2,)]
    assert targets.plan(model, ["r+b"]) == [Target("R+B", (0,))]
    assert targets.plan(model, ["vocals+accompaniment"]) == [Target("vocals+accompaniment", (1, 2))]


def test_a_residual_of_any_case_stays_the_only_one():
    assert [target.name for target in targets.plan(["drums", "Other"], exact=True)] == ["drums", "Other"]


def test_a_model_of_one_target_has_a_residual_when_exact():
    assert targets.plan(["drums"], exact=True) == [Target("drums", (0,)), Target("other", (), True)]
