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
def app(models, root):
    return separation_app.SeparationApp(*models, root, root.separated, transcription.Settings(), seconds=2.0)


def control(app, name):
    return app._made()[name]


def said(app):
    return control(app, "said").value


def perform(app):
    control(app, "go").click()
    app.wait()


def test_one_press_separates_writes_down_and_opens_the_mixer_and_another_song_needs_no_more(app, root):
    perform(app)
    assert app.played == (root.songs / "a.wav", 2.0)
    assert "a_2s: 13 files" in said(app)
    assert {path.suffix for path in (root.separated / "a_2s").iterdir()} == {".flac", ".json", ".mid"}
    first = app.mixer.desk()
    assert control(app, "mixer").children == (first,) and first.piece_0
    control(app, "song").value = root.songs / "b.wav"
    control(app, "length").value = None
    perform(app)
    assert app.played == (root.songs / "b.wav", None)
    assert audio.info(folder.files_of(root.separated / "b")["Drums"]).frames == 3 * 22050
    assert control(app, "mixer").children == (app.mixer.desk(),) and first.comm is None


def test_what_was_separated_before_is_offered_and_opened_at_once(models, app, root):
    perform(app)
    later = separation_app.SeparationApp(*models, root, root.separated, transcription.Settings())
    assert control(later, "song").options[-1] == ("separated: a_2s", root.separated / "a_2s")
    control(later, "song").value = root.separated / "a_2s"
    made = (root.separated / "a_2s" / "Drums.flac").stat().st_mtime_ns
    perform(later)
    assert later.mixer.names == app.mixer.names
    assert (root.separated / "a_2s" / "Drums.flac").stat().st_mtime_ns == made
    (root.separated / "a_2s" / "separation.json").write_text("{")
    perform(later)
    assert "holds no separated song" in said(later)


def test_cancel_ends_the_work_and_leaves_nothing_behind(app, root, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()

    def held(bar):
        begun.set()
        go_on.wait(30)

    monkeypatch.setattr(app, "_tell", held)
    control(app, "go").click()
    begun.wait(30)
    assert control(app, "go").disabled and not control(app, "cancel").disabled
    control(app, "cancel").click()
    go_on.set()
    app.wait()
    assert "Cancelled" in said(app) and app.mixer is None
    assert not [path for path in root.separated.rglob("*") if path.is_file()]
    assert not control(app, "go").disabled and control(app, "cancel").disabled
    monkeypatch.undo()
    perform(app)
    assert app.mixer is not None


def test_a_file_that_is_no_music_is_named_and_the_next_song_plays(app, root):
    (root.songs / "b.wav").write_text("no music")
    control(app, "song").value = root.songs / "b.wav"
    perform(app)
    assert "b.wav" in said(app) and app.mixer is None
    control(app, "song").value = root.songs / "a.wav"
    perform(app)
    assert app.mixer is not None


def test_what_nobody_foresaw_is_told_as_well(app, monkeypatch):
    monkeypatch.setattr(app, "_separator", None)
    perform(app)
    assert "This went wrong: AttributeError" in said(app)
    assert not control(app, "go").disabled


def test_an_uploaded_song_is_chosen_when_its_last_piece_is_there(app, root):
    content = (root.songs / "a.wav").read_bytes()
    half = len(content) // 2
    button = control(app, "upload")
    for at, piece in ((0, content[:half]), (half, content[half:])):
        assert not (root.songs / "new.wav").exists()
        button._handle_custom_msg({"name": "new.wav", "at": at, "size": len(content)}, [memoryview(piece)])
    assert control(app, "song").value == root.songs / "new.wav"
    assert (root.songs / "new.wav").read_bytes() == content
    button._handle_custom_msg({"name": "virus.exe", "at": 0, "size": 1}, [memoryview(b"x")])
    assert "not the name of an audio file" in said(app)


def test_with_no_song_at_all_there_is_one_to_begin_with(models, tmp_path):
    root = open_root(tmp_path)
    empty = separation_app.SeparationApp(*models, root, root.separated, transcription.Settings())
    assert control(empty, "song").value == root.songs / f"{songs.EXAMPLE}.flac"


def test_its_midi_is_that_of_the_mixer(app, root):
    perform(app)
    written = pretty_midi.PrettyMIDI(str(root.separated / "a_2s" / "a_2s.mid"))
    assert {track.name for track in written.instruments} <= set(app.mixer.names)


def test_where_nobody_looks_it_only_says_so(app, monkeypatch, capsys):
    monkeypatch.setenv(HEADLESS, "1")
    app._ipython_display_()
    assert "the cells below do the same" in capsys.readouterr().out
