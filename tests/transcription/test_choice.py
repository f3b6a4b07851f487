"""Whatever a model calls what it separates: what is one known instrument is transcribed, the rest has a reason."""

import pretty_midi
import pytest

from muscomp_lib.core import instruments
from muscomp_lib.transcription import Settings, choice, transcribable

SPLEETER = ["vocals", "piano", "drums", "bass", "other"]


def test_spleeters_instruments_are_transcribed_and_its_voice_is_not():
    known, reasons = transcribable(SPLEETER)
    assert {name: instrument.name for name, instrument in known.items()} == {
        "drums": "Drums", "piano": "piano", "bass": "bass",
    }  # fmt: skip
    assert reasons == {
        "vocals": "instruments.yaml has no instrument of this name",
        "other": "it is what the other files leave of the song",
    }


@pytest.mark.parametrize(
    ("name", "instrument"),
    [
        ("Drums", "Drums"),
        ("DRUMS", "Drums"),
        ("electric_bass-PICK", "Electric_Bass_pick"),
        ("Bass Guitar", "bass"),
        ("double-bass", "bass"),
        ("Electric Guitar", "guitar"),
        ("Bas\u0308s", None),
        ("01 bass 2", "bass"),
        ("bass line", None),
        ("", None),
    ],
)
def test_case_and_how_words_are_joined_do_not_matter(name, instrument):
    found = instruments.find(name)
    assert (found and found.name) == instrument


@pytest.mark.parametrize("name", ["Drums+Violin", "accompaniment", "Rest", "vocals+accompaniment"])
def test_a_sum_is_not_transcribed(name):
    assert transcribable([name]) == ({}, {name: "it is a sum of instruments"})


def test_a_target_is_transcribed_as_its_only_instrument():
    made_of = {"Kit": ["Drums"], "accompaniment": ["Violin"], "band": ["Violin", "Drums"], "bass": ["Violin", "cello"]}
    known, reasons = transcribable([*made_of, "piano"], made_of=made_of)
    assert {name: i.name for name, i in known.items()} == {
        "accompaniment": "Violin", "Kit": "Drums", "piano": "piano",
    }  # fmt: skip
    assert reasons == {"band": "it is the sum of Violin, Drums", "bass": "it is the sum of Violin, cello"}


def test_twenty_targets_with_any_names_all_have_an_answer():
    names = [f"cible n° {number} é" for number in range(20)]
    known, reasons = transcribable(names)
    assert not known and list(reasons) == names


def test_the_models_configuration_gives_taxonomy_and_targets():
    own = {"taxonomy": "families", "targets": {"kit": ["Drums"]}}
    settings = Settings.of_model({"muscomp": own}, quantise="1/8")
    assert (settings.taxonomy, settings.quantise, settings.made_of) == ("families", "1/8", {"kit": ["Drums"]})
    assert Settings.of_model({"muscomp": {"taxonomy": None}}).taxonomy == instruments.DEFAULT_TAXONOMY
    assert Settings.of_model({"muscomp": own}, taxonomy="slakh12").taxonomy == "slakh12"
    assert list(settings.choose(["kit", "drums"])[0]) == ["kit", "drums"]


def test_table_and_sentence_say_what_became_of_each_file():
    midi = pretty_midi.PrettyMIDI()
    midi.instruments = [pretty_midi.Instrument(0, is_drum=True, name="drums")]
    midi.instruments[0].notes = [pretty_midi.Note(90, 36, 0.0, 0.1)] * 3
    table = choice.table(*transcribable(SPLEETER), midi).set_index("file")
    assert list(table.index) == ["drums", "piano", "bass", "vocals", "other"]
    assert table.loc["drums"].tolist() == ["Drums", 3, ""]
    assert "too soft" in table.loc["piano", "why not"] and "no instrument" in table.loc["vocals", "why not"]
    _, reasons = transcribable(["vocals", "voice", "other"])
    assert choice.sentence(reasons, midi) == (
        "3 notes. Not transcribed: vocals, voice (instruments.yaml has no instrument of this name); "
        "other (it is what the other files leave of the song)"
    )
    assert choice.sentence({"x+y": "it is a sum"}).startswith("no notes, and so no MIDI file. Not transcribed: x+y")
