"""The stage without a browser: what its buttons do, and that no mistake stops it. `test_browser.py` presses them."""

import threading

import numpy as np
import pretty_midi
import pytest

from muscomp_lib import audio, separation, transcription
from muscomp_lib.core.progress import HEADLESS
from muscomp_lib.core.root import open_root
from muscomp_lib.notebook import separation_app
from muscomp_lib.separation import folder, songs
from muscomp_lib.transcription.note_decoder import Transcriber


@pytest.fixture(scope="module")
def models():
    return separation.Separator(), Transcriber()


@pytest.fixture
def root(tmp_path):
    root = open_root(tmp_path)
    tone = np.sin(np.arange(22050 * 3) * 2 * np.pi * 220 / 22050).astype(np.float32)[:, None]
    for name in ("a.wav", "b.wav"):
        audio.write(root.songs / name, 0.3 * tone, 22050)
    return root


@pytest.fixture
def on_stage(models, root):
    return separation_app.Stage(*models, root, root.separated, transcription.Settings(), seconds=2.0)


def control(on_stage, name):
    return on_stage._made()[name]


def said(on_stage):
    return control(on_stage, "said").value


def perform(on_stage):
    control(on_stage, "go").click()
    on_stage.wait()


def test_one_press_separates_writes_down_and_opens_the_mixer_and_another_song_needs_no_more(on_stage, root):
    perform(on_stage)
    assert on_stage.played == (root.songs / "a.wav", 2.0)
    assert "a_2s: 13 files" in said(on_stage)
    assert {path.suffix for path in (root.separated / "a_2s").iterdir()} == {".flac", ".json", ".mid"}
    first = on_stage.mixer.desk()
    assert control(on_stage, "mixer").children == (first,) and first.piece_0
    control(on_stage, "song").value = root.songs / "b.wav"
    control(on_stage, "length").value = None
    perform(on_stage)
    assert on_stage.played == (root.songs / "b.wav", None)
    assert audio.info(folder.files_of(root.separated / "b")["Drums"]).frames == 3 * 22050
    assert control(on_stage, "mixer").children == (on_stage.mixer.desk(),) and first.comm is None


def test_what_was_separated_before_is_offered_and_opened_at_once(models, on_stage, root):
    perform(on_stage)
    later = separation_app.Stage(*models, root, root.separated, transcription.Settings())
    assert control(later, "song").options[-1] == ("separated: a_2s", root.separated / "a_2s")
    control(later, "song").value = root.separated / "a_2s"
    made = (root.separated / "a_2s" / "Drums.flac").stat().st_mtime_ns
    perform(later)
    assert later.mixer.names == on_stage.mixer.names
    assert (root.separated / "a_2s" / "Drums.flac").stat().st_mtime_ns == made
    (root.separated / "a_2s" / "separation.json").write_text("{")
    perform(later)
    assert "holds no separated song" in said(later)


def test_cancel_ends_the_work_and_leaves_nothing_behind(on_stage, root, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()

    def held(bar):
        begun.set()
        go_on.wait(30)

    monkeypatch.setattr(on_stage, "_tell", held)
    control(on_stage, "go").click()
    begun.wait(30)
    assert control(on_stage, "go").disabled and not control(on_stage, "cancel").disabled
    control(on_stage, "cancel").click()
    go_on.set()
    on_stage.wait()
    assert "Cancelled" in said(on_stage) and on_stage.mixer is None
    assert not [path for path in root.separated.rglob("*") if path.is_file()]
    assert not control(on_stage, "go").disabled and control(on_stage, "cancel").disabled
    monkeypatch.undo()
    perform(on_stage)
    assert on_stage.mixer is not None


def test_a_file_that_is_no_music_is_named_and_the_next_song_plays(on_stage, root):
    (root.songs / "b.wav").write_text("no music")
    control(on_stage, "song").value = root.songs / "b.wav"
    perform(on_stage)
    assert "b.wav" in said(on_stage) and on_stage.mixer is None
    control(on_stage, "song").value = root.songs / "a.wav"
    perform(on_stage)
    assert on_stage.mixer is not None


def test_what_nobody_foresaw_is_told_as_well(on_stage, monkeypatch):
    monkeypatch.setattr(on_stage, "_separator", None)
    perform(on_stage)
    assert "This went wrong: AttributeError" in said(on_stage)
    assert not control(on_stage, "go").disabled


def test_an_uploaded_song_is_chosen_when_its_last_piece_is_there(on_stage, root):
    content = (root.songs / "a.wav").read_bytes()
    half = len(content) // 2
    button = control(on_stage, "upload")
    for at, piece in ((0, content[:half]), (half, content[half:])):
        assert not (root.songs / "new.wav").exists()
        button._handle_custom_msg({"name": "new.wav", "at": at, "size": len(content)}, [memoryview(piece)])
    assert control(on_stage, "song").value == root.songs / "new.wav"
    assert (root.songs / "new.wav").read_bytes() == content
    button._handle_custom_msg({"name": "virus.exe", "at": 0, "size": 1}, [memoryview(b"x")])
    assert "not called like an audio file" in said(on_stage)


def test_with_no_song_at_all_there_is_one_to_begin_with(models, tmp_path):
    root = open_root(tmp_path)
    empty = separation_app.Stage(*models, root, root.separated, transcription.Settings())
    assert control(empty, "song").value == root.songs / f"{songs.EXAMPLE}.flac"


def test_its_midi_is_that_of_the_mixer(on_stage, root):
    perform(on_stage)
    written = pretty_midi.PrettyMIDI(str(root.separated / "a_2s" / "a_2s.mid"))
    assert {track.name for track in written.instruments} <= set(on_stage.mixer.names)


def test_where_nobody_looks_it_only_says_so(on_stage, monkeypatch, capsys):
    monkeypatch.setenv(HEADLESS, "1")
    on_stage._ipython_display_()
    assert "the cells below do the same" in capsys.readouterr().out
