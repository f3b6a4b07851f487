"""The command `muscomp`: what it writes, prints and refuses, and its exit status."""

import json
import shutil
import signal
import subprocess
import sys
from functools import cache
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pretty_midi
import pytest
from fixtures import tiny_spleeter

import muscomp_lib
from muscomp_lib import audio, cli, commands
from muscomp_lib.composers.model import Answer
from muscomp_lib.core.errors import MidiError
from muscomp_lib.separation import Separator, Settings, songs
from muscomp_lib.transcription.note_decoder import Note, Transcriber

load_once = cache(Separator)  # a network is compiled for each
NAMES = ["vocals", "Drums", "Bass Guitar", "other"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_spleeter.model(tmp_path_factory.mktemp("model") / "band", NAMES, **tiny_spleeter.OURS).parent


@pytest.fixture
def folder(tmp_path, monkeypatch, model):
    """The current folder, with two songs; every instrument plays one note."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUSCOMP_ROOT", str(tmp_path / "root"))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(commands, "Separator", load_once)
    monkeypatch.setattr(Transcriber, "notes", lambda *_: [Note(0.1, 0.2, 60, 0.5)])
    for number, name in enumerate(("one.wav", "two.wav")):
        noise = np.random.default_rng(number).uniform(-0.5, 0.5, (44100, 2)).astype(np.float32)
        audio.write(tmp_path / "album" / name, noise, 44100)
    return tmp_path


def names_in(folder):
    return {path.name for path in folder.iterdir()}


def test_help_is_quick_and_lists_the_commands():
    code = "import sys; from muscomp_lib import cli\ntry: cli.main(['--help'])\nfinally: print(list(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not [name for name in ("tensorflow", "keras", "numpy", "pandas", "pydantic") if f"'{name}'" in done.stdout]
    assert all(f"    {name}" in done.stdout for name in cli.COMMANDS)


def test_the_options_are_the_settings_of_notebook_05(capsys):
    for command, has in (("separate", set(Settings.model_fields) - {"song"}), ("transcribe", {"quantise", "score"})):
        with pytest.raises(SystemExit) as ended:
            cli.main([command, "--help"])
        shown = capsys.readouterr().out
        assert ended.value.code == 0 and all(f"--{name.replace('_', '-')}" in shown for name in has)
        assert f"muscomp {command} " in cli.EXAMPLES[command] and cli.EXAMPLES[command].splitlines()[3] in shown


def test_training_shows_its_own_defaults_and_no_placeholders(capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "{" not in shown and "after this many steps. It is" in shown
    assert all(f"Default: {value}." in shown for value in ("400", "own", "0"))


def test_a_note_asks_for_its_instrument_and_silence_is_refused(folder, capsys):
    tone = np.sin(2 * np.pi * 220 * np.arange(22050) / 22050).astype(np.float32)[:, None]
    for name, sound in (("note.wav", 0.3 * tone), ("silence.wav", 0 * tone)):
        audio.write(folder / name, sound, 22050)
    assert cli.main(["separate", "album/one.wav", "--like", "note.wav"]) == 0
    assert names_in(folder / "separated" / "one (like note)") == {"asked.flac", "rest.flac", "separation.json"}
    assert cli.main(["separate", "album/one.wav", "--like", "silence.wav"]) == 1
    assert "silence.wav is silent" in capsys.readouterr().err


def test_songs_become_stems_and_notes_with_the_reasons(folder, model, capsys):
    assert cli.main(["separate", "album", "--model", model, "--score"]) == 0
    stems = {f"{name}.flac" for name in NAMES}
    for song in ("one", "two"):
        assert names_in(folder / "separated" / song) == {*stems, f"{song}.mid", f"{song}.musicxml", "separation.json"}
    written = pretty_midi.PrettyMIDI(str(folder / "separated" / "one" / "one.mid"))
    assert [track.name for track in written.instruments] == ["Drums", "Bass Guitar"]
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == (
        "separated/one: 4 files, 2 notes. Not transcribed: vocals (instruments.yaml has no instrument of this name); "
        "other (it is what the other files leave of the song)."
    )
    assert err == "", "without a terminal there are no bars"
    assert names_in(folder) == {"album", "separated"}, "it makes no root"


def test_a_second_run_writes_nothing(folder, model):
    def dates():
        return {path: path.stat().st_mtime_ns for path in (folder / "stems").rglob("*.*")}

    command = ["separate", "album/one.wav", "-o", "stems", "--model", model]
    assert cli.main(command) == 0
    before = dates()
    assert cli.main(command) == 0 and dates() == before


def test_sums_alone_are_separated_without_notes(folder, model, capsys):
    command = ["separate", "album/one.wav", "--model", model, "--outputs", "drums+bass guitar,accompaniment", "--exact"]
    assert cli.main([*command, "--file-format", "wav", "--seconds", "0.5"]) == 0
    place = folder / "separated" / "one_0.5s"
    assert names_in(place) == {"Drums+Bass Guitar.wav", "accompaniment.wav", "separation.json"}
    assert "2 files, no notes, and so no MIDI file. Not transcribed: Drums+Bass Guitar, accompaniment (it is a sum" in (
        capsys.readouterr().out
    )


def test_no_midi_separates_only(folder, model, capsys):
    assert cli.main(["separate", "album/one.wav", "--model", model, "--no-midi"]) == 0
    assert not list(folder.rglob("*.mid")) and capsys.readouterr().out == "separated/one: 4 files.\n"


def test_a_folder_without_permission_is_one_line(folder, model, capsys, monkeypatch):
    refused = PermissionError(13, "Permission denied", "album")
    monkeypatch.setattr(songs, "choose", Mock(side_effect=refused))
    assert cli.main(["separate", "album", "--model", model]) == 1
    assert capsys.readouterr().err == "album: Permission denied. Check its permissions and its disk.\n"


def test_a_song_that_fails_does_not_stop_the_others(folder, model, capsys):
    (folder / "album" / "two.wav").write_text("not music")
    assert cli.main(["separate", "album", "--model", model, "--no-midi"]) == 1
    assert names_in(folder / "separated") == {"one"} and "1 of 2 songs failed." in capsys.readouterr().err
    assert cli.main(["separate", "album/two.wav", "--model", model]) == 1
    assert "two.wav cannot be read as audio" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none.mp3"], "none.mp3' is not there. Check its name and folder."),
        (["album", "--model", "nonesuch"], "There is no model 'nonesuch': nonesuch is not there"),
        (["album", "--model", "spleeter:3stems"], "no model 'spleeter:3stems'. Did you mean 'spleeter:"),
        (["album", "--outputs", "druns"], "no instrument 'druns' in this model. Did you mean 'Drums'?"),
        (["album", "--file-format", "aiff"], "file_format = 'aiff' is not possible. It must be 'flac'"),
        (["album", "--quantise", "1/5"], "quantise = '1/5' is not possible"),
        (["album", "--seconds", "-1"], "seconds = -1.0 is not possible. It must be a number above 0"),
        (
            ["album", "--taxonomy", "orchestra"],
            "There is no taxonomy 'orchestra' in instruments.yaml. There is slakh12",
        ),
        (["album", "--notes-model", "nonesuch"], "There is no model 'nonesuch'"),
        (["album", "--root", "nowhere"], "--root: the folder nowhere is not there"),
        ([".", "--no-midi"], "holds no song (.wav"),
        ([""], "the path is blank, as of a variable that is not set"),
        (["album", "--like", ""], "--like: the path is blank"),
        (["album", "--root", ""], "--root: the path is blank"),
    ],
)
def test_a_mistake_is_one_line_and_starts_nothing(folder, model, capsys, words, message):
    words = words if "--model" in words else [*words, "--model", model]
    assert cli.main(["separate", *words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and message in err
    assert names_in(folder) == {"album"}


@pytest.mark.parametrize("words", [[], ["seperate", "a.mp3"], ["separate"], ["separate", "a.mp3", "--seconds", "x"]])
def test_an_impossible_command_line_ends_with_2(words, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2 and "usage: muscomp" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["separate", "a.mp3", "--seconds", "1,5"], "'1,5' is not possible. It must be a number above 0. Write a dec"),
        (["separate", "a.mp3", "--seconds", "0:30"], "'0:30' is not possible. It must be a number above 0.\n"),
        (["serve", "--port", "80a"], "'80a' is not possible. It must be a whole number from 0 to 65535.\n"),
    ],
)
def test_an_option_that_is_no_number_names_the_range(words, message, capsys):
    with pytest.raises(SystemExit):
        cli.main(words)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("command", "rest"), [("separate", "--bitrate 320"), ("transcribe", "second.wav")])
def test_what_a_command_does_not_take_leads_to_its_help(command, rest, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "a.wav", *rest.split()])
    assert ended.value.code == 2
    assert f"{command} does not take {rest!r}. See muscomp {command} --help." in capsys.readouterr().err


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0 and capsys.readouterr().out == f"muscomp {muscomp_lib.__version__}\n"


def test_format_may_be_given_by_its_short_name(folder, model, capsys):
    assert cli.main(["separate", "album", "--format", "ogg", "--model", model]) == 2
    assert "file_format = 'ogg' is not possible" in capsys.readouterr().err


def test_ctrl_c_leaves_no_files_and_no_traceback(folder, model, monkeypatch, capsys):
    monkeypatch.setattr("muscomp_lib.separation.Separator._write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert cli.main(["separate", "album", "--model", model]) == 130
    assert not list((folder / "separated").iterdir())
    assert capsys.readouterr().err.startswith("Stopped. What is finished is kept")


def test_one_recording_is_transcribed_by_its_name(folder, capsys):
    (folder / "album" / "one.wav").rename("bass.wav")
    assert cli.main(["transcribe", "bass.wav"]) == 0
    assert capsys.readouterr().out == f"{folder / 'bass.mid'}: 1 note.\n"
    assert cli.main(["transcribe", "bass.wav"]) == 2
    assert "bass.mid is there already. Give -o bass.mid to replace it" in capsys.readouterr().err
    assert cli.main(["transcribe", "bass.wav", "--instrument", "drums", "-o", "bass.mid", "--score"]) == 0
    assert pretty_midi.PrettyMIDI("bass.mid").instruments[0].is_drum and (folder / "bass.musicxml").is_file()


@pytest.mark.parametrize("title", ["", "My Song - "])
def test_a_folder_of_recordings_becomes_one_file(folder, capsys, title):
    for name in (f"{title}piano.wav", "mix.wav", f"{title}voice.wav", f"{title}choir.wav"):
        audio.write(folder / "stems" / name, audio.read(folder / "album" / "one.wav")[0], 44100)
    assert cli.main(["transcribe", "stems"]) == 0
    written = pretty_midi.PrettyMIDI(str(folder / "stems" / "stems.mid"))
    assert [track.name for track in written.instruments] == ["piano"]
    assert "stems.mid: 1 note. Not transcribed: choir, voice (instruments.yaml" in capsys.readouterr().out


def test_a_separated_song_is_transcribed_as_its_model_says(folder, model):
    cli.main(["separate", "album/one.wav", "--model", model, "--no-midi"])
    place = folder / "separated" / "one"
    record = json.loads((place / "separation.json").read_text())
    record["model"]["config"]["muscomp"]["targets"] = {"vocals": ["Violin"], "Drums": ["Drums", "Violin"]}
    (place / "separation.json").write_text(json.dumps(record))
    for _ in range(2):
        assert cli.main(["transcribe", place]) == 0
    tracks = pretty_midi.PrettyMIDI(str(place / "one.mid")).instruments
    assert [track.name for track in tracks] == ["vocals", "Bass Guitar"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["album/one.wav"],
            "one.wav cannot be transcribed (one: instruments.yaml has no instrument of this name).",
        ),
        (["album", "--instrument", "piano"], "--instrument is for one file, and album is a folder"),
        (["album/one.wav", "--instrument", "kazoo"], "kazoo: instruments.yaml has no instrument of this name"),
        (["album/one.wav", "--instrument", "trumpet"], "with --instrument: Electric_Bass_pick, Glockenspiel, "),
        (["album/one.wav", "--instrument", "trumpet"], ", bass, piano, "),
        (["album/one.wav", "--instrument", "bass", "-o", "x.wav"], "-o x.wav is not the name of a MIDI file"),
        (["none.wav"], "none.wav' is not there"),
    ],
)
def test_what_cannot_be_transcribed_is_one_line(folder, capsys, words, message):
    assert cli.main(["transcribe", *words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and message in err
    assert not list(folder.rglob("*.mid"))


def test_songs_whose_names_begin_with_a_dash_are_separated(folder, model):
    for name in ("-one.wav", "--one.wav", "-album/two.wav"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(folder / "album" / "one.wav", folder / name)
    assert cli.main(["separate", "-one.wav", "--one.wav", "-album", "--model", model, "--no-midi"]) == 0
    assert sorted(path.name for path in (folder / "separated").iterdir()) == ["--one", "-one", "two"]


def test_a_damaged_recording_is_a_failure(folder, capsys):
    (folder / "album" / "two.wav").write_text("not music")
    assert cli.main(["transcribe", "album/two.wav", "--instrument", "bass"]) == 1
    assert "two.wav cannot be read as audio" in capsys.readouterr().err and not list(folder.rglob("*.mid"))


def test_models_lists_names_instruments_sizes_and_licences(folder, model, capsys):
    (folder / "root" / "models").mkdir(parents=True)
    (folder / "root" / "models" / "mine").symlink_to(model)
    assert cli.main(["models"]) == 0
    shown = capsys.readouterr().out
    assert "mine: makes stems; here\n    vocals, Drums, Bass Guitar, other\n" in shown
    assert "spleeter:2stems: makes stems; fetched at its first use, about 79 MB; licence MIT for Spleeter's" in shown


def test_a_folder_without_stems_is_not_trained_on(folder, capsys):
    assert cli.main(["train", "nowhere"]) == cli.REFUSED
    assert "There is no song with stems in" in capsys.readouterr().err
    assert cli.main(["train", "album", "--instruments", "harp"]) == cli.REFUSED
    assert "has 'harp'. There is one, two" in capsys.readouterr().err
    assert cli.main(["train", "album", "--root", "mine"]) == cli.REFUSED
    assert "two at least" in capsys.readouterr().err
    assert not (folder / "root").exists()


def test_a_closed_pipe_ends_it_quietly():
    command = [sys.executable, "-m", "muscomp_lib", "models"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()  # as `head` does
        assert process.stderr.read() == ""
    assert process.returncode == 1


def test_a_composer_is_named_and_a_bad_file_refused(folder, monkeypatch, capsys):
    class Model:
        threshold = 0.5

        def __init__(self, folder):
            assert folder.name == "romantics"

        def recognize(self, file):
            if file == "bad.mid":
                raise MidiError("bad.mid: It has 1 note.")
            table = pd.DataFrame({"composer": ["Ada", "Bob"], "distance": [0.25, 0.75]})
            return Answer("Ada", table, pd.DataFrame({"piece": ["Ada/1.mid"], "distance": [0.1]}))

    monkeypatch.setattr("muscomp_lib.composers.Recognizer", Model)
    assert cli.main(["composer", "bad.mid", "song.mid", "--model", "romantics"]) == 1
    shown = capsys.readouterr()
    assert shown.err == "bad.mid: It has 1 note.\n"
    assert "song.mid: Ada. Distances: Ada 0.25, Bob 0.75; threshold 0.50. Nearest: Ada/1.mid 0.10." in shown.out


def test_without_a_model_for_composers_notebook_08_is_named(folder, capsys):
    assert cli.main(["composer", "song.mid", "--model", "romantics"]) == 2
    shown = capsys.readouterr().err
    assert f"{folder / 'root' / 'models' / 'romantics'} is not a trained model" in shown
    assert "Train one with notebook 08" in shown
