"""The app without a browser: what its buttons do, and that no error stops it. `test_browser.py` presses them."""

import threading

import numpy as np
import pretty_midi
import pytest
from fixtures import tiny_spleeter

from muscomp_lib import audio, separation, transcription
from muscomp_lib.core.progress import HEADLESS
from muscomp_lib.core.root import open_root
from muscomp_lib.notebook import separation_app
from muscomp_lib.notebook.mixer import Mixer
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
    return app._controls[name]


def status(app):
    return control(app, "status").value


def separate(app):
    control(app, "separate").click()
    app._thread.join()


def test_one_press_separates_transcribes_and_opens_the_mixer(app, root):
    separate(app)
    assert app.latest == (root.songs / "a.wav", 2.0)
    assert "a_2s: 13 files" in status(app)
    assert {path.suffix for path in (root.separated / "a_2s").iterdir()} == {".flac", ".json", ".mid"}
    first = app.mixer.desk()
    assert control(app, "mixer").children == (first,) and first.piece_0
    control(app, "song").value = root.songs / "b.wav"
    control(app, "length").value = separation_app.WHOLE
    separate(app)
    assert app.latest == (root.songs / "b.wav", None)
    assert audio.info(folder.files_of(root.separated / "b")["Drums"]).frames == 3 * 22050
    assert control(app, "mixer").children == (app.mixer.desk(),) and first.comm is None


def test_a_recording_asks_for_what_sounds_like_it(app, root):
    control(app, "like").value = root.songs / "b.wav"
    separate(app)
    assert {path.stem for path in folder.files_of(root.separated / "a_2s (like b)").values()} == {"asked", "rest"}
    audio.write(root.songs / "nothing.wav", np.zeros((22050, 1), np.float32), 22050)
    app._list_queries(control(app, "like"))
    control(app, "like").value = root.songs / "nothing.wav"
    separate(app)
    assert "is silent" in status(app)


def test_another_model_is_chosen_in_the_list(app, root):
    theirs = ["vocals", "Drums", "bruit étrange $1$", "other"]
    tiny_spleeter.model(root.models / "theirs", theirs, **tiny_spleeter.OURS)
    tiny_spleeter.model(root.models / "two")
    assert control(app, "model").value == "shipped"
    control(app, "model").value = "theirs"
    separate(app)
    assert app.mixer.names == theirs and app.separator.instruments == theirs
    assert {track.name for track in folder.midi_of(root.separated / "a_2s").instruments} <= {"Drums"}
    assert "Not transcribed: vocals, bruit étrange $1$ (instruments.yaml has no instrument" in status(app)
    control(app, "model").value = "two"
    separate(app)
    assert "2 files, no notes, and so no MIDI file. Not transcribed: vocals" in status(app)
    assert app.mixer.names == ["vocals", "accompaniment"]
    assert not list(root.separated.rglob("*.mid"))


def test_a_model_that_cannot_be_fetched_leaves_the_one_before(app, monkeypatch, tmp_path):
    monkeypatch.setenv("GITHUB_HOST", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("MUSCOMP_CACHE", str(tmp_path / "cache"))
    labels = {name: label for label, name in control(app, "model").options}
    assert "79 MB" in labels["spleeter:2stems"] and "MIT for Spleeter's code" in labels["spleeter:2stems"]
    control(app, "model").value = "spleeter:2stems"
    separate(app)
    assert "spleeter:2stems is not here and cannot be fetched" in status(app) and app.mixer is None
    control(app, "model").value = "shipped"
    separate(app)
    assert "13 files" in status(app)


def test_songs_separated_before_are_listed_and_opened_at_once(models, app, root):
    separate(app)
    later = separation_app.SeparationApp(*models, root, root.separated, transcription.Settings())
    assert control(later, "song").options[-1] == ("separated: a_2s", root.separated / "a_2s")
    control(later, "song").value = root.separated / "a_2s"
    made = (root.separated / "a_2s" / "Drums.flac").stat().st_mtime_ns
    separate(later)
    assert later.mixer.names == app.mixer.names
    assert (root.separated / "a_2s" / "Drums.flac").stat().st_mtime_ns == made
    (root.separated / "a_2s" / "separation.json").write_text("{")
    separate(later)
    assert "holds no separated song" in status(later)


def test_cancel_stops_the_work_and_keeps_no_files(app, root, monkeypatch):
    started, resume = threading.Event(), threading.Event()

    def block(bar):
        started.set()
        resume.wait(30)

    monkeypatch.setattr(app, "_show_progress", block)
    control(app, "separate").click()
    started.wait(30)
    assert control(app, "separate").disabled and not control(app, "cancel").disabled
    control(app, "cancel").click()
    resume.set()
    app._thread.join()
    assert "Cancelled" in status(app) and app.mixer is None
    assert not [path for path in root.separated.rglob("*") if path.is_file()]
    assert not control(app, "separate").disabled and control(app, "cancel").disabled
    monkeypatch.undo()
    separate(app)
    assert app.mixer is not None


def test_a_file_without_audio_is_reported_beside_no_mixer(app, root):
    separate(app)
    (root.songs / "b.wav").write_text("not audio")
    control(app, "song").value = root.songs / "b.wav"
    separate(app)
    assert "b.wav" in status(app) and app.mixer is None and not control(app, "mixer").children
    control(app, "song").value = root.songs / "a.wav"
    separate(app)
    assert app.mixer is not None


def test_progress_counts_all_of_the_work_and_never_falls(app, monkeypatch):
    shown = []
    show = app._show_status

    def record(text, progress=None):
        shown.append((text, progress))
        show(text, progress)

    monkeypatch.setattr(app, "_show_status", record)
    separate(app)
    progress = [value for _, value in shown if value is not None]
    assert progress == sorted(progress) and progress[0] < 0.5
    while_working = [value for text, value in shown[:-1] if value is not None and "sending" not in text]
    assert max(while_working) < 0.9 and shown[-1][1] is None


def test_a_short_song_is_separated_whole_by_default(models, root):
    tone = np.sin(np.arange(8000 * 61) / 5).astype(np.float32)[:, None]
    audio.write(root.songs / "long.wav", 0.3 * tone, 8000)
    app = separation_app.SeparationApp(*models, root, root.separated, transcription.Settings())
    assert control(app, "length").value == separation_app.WHOLE
    control(app, "song").value = root.songs / "long.wav"
    assert control(app, "length").value == separation_app.DEFAULT_LENGTH
    control(app, "song").value = root.songs / "a.wav"
    assert control(app, "length").value == separation_app.WHOLE


def test_it_says_what_the_model_was_trained_on(app, root):
    tiny_spleeter.model(root.models / "theirs", ["Drums", "other"], **tiny_spleeter.OURS)
    assert "synthesizers and recorded notes" in control(app, "about").value
    app._list_models(control(app, "model"))
    control(app, "model").value = "theirs"
    assert "its training was given" in control(app, "about").value
    control(app, "model").value = "spleeter:4stems"
    assert "real songs" in control(app, "about").value


def test_bars_go_on_after_the_last_note():
    midi = pretty_midi.PrettyMIDI(initial_tempo=120)
    midi.instruments.append(pretty_midi.Instrument(0, name="Piano"))
    midi.instruments[0].notes.append(pretty_midi.Note(100, 60, 0.0, 3.0))
    mixer = Mixer({"Piano": np.zeros((8000 * 9, 1), np.float32)}, 8000, midi)
    assert mixer.description()["bars"] == [0.0, 2.0, 4.0, 6.0, 8.0]
    assert mixer.description()["beats"] == [0.5 * number for number in range(18)]
    assert Mixer({"Piano": np.zeros((8000, 1), np.float32)}, 8000).description()["bars"] == []


def test_instruments_without_notes_are_folded_away(app):
    separate(app)
    absent = app.mixer.description()["absent"]
    assert absent and set(absent) < set(app.mixer.names)


def test_a_front_end_without_widgets_gets_words(app, monkeypatch, capsys):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw=False: shown.append(data))
    app._ipython_display_()
    (bundle,) = shown
    assert "needs a notebook that shows widgets" in bundle["text/plain"]
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == control(app, "app").model_id


def test_unexpected_errors_are_shown_too(app, monkeypatch):
    monkeypatch.setattr(app, "separator", None)
    separate(app)
    assert "Unexpected error: AttributeError" in status(app)
    assert not control(app, "separate").disabled


def test_an_uploaded_song_is_selected_after_its_last_chunk(app, root):
    content = (root.songs / "a.wav").read_bytes()
    half = len(content) // 2
    button = control(app, "upload")
    for at, piece in ((0, content[:half]), (half, content[half:])):
        assert not (root.songs / "new.wav").exists()
        button._handle_custom_msg({"name": "new.wav", "at": at, "size": len(content)}, [memoryview(piece)])
    assert control(app, "song").value == root.songs / "new.wav"
    assert (root.songs / "new.wav").read_bytes() == content
    button._handle_custom_msg({"name": "virus.exe", "at": 0, "size": 1}, [memoryview(b"x")])
    assert "not the name of an audio file" in status(app)


def test_without_any_song_the_composed_example_is_offered(models, tmp_path):
    root = open_root(tmp_path)
    empty = separation_app.SeparationApp(*models, root, root.separated, transcription.Settings())
    assert control(empty, "song").value == root.songs / f"{songs.EXAMPLE}.flac"


def test_the_midi_files_tracks_are_stems_of_the_mixer(app, root):
    separate(app)
    written = pretty_midi.PrettyMIDI(str(root.separated / "a_2s" / "a_2s.mid"))
    assert {track.name for track in written.instruments} <= set(app.mixer.names)


def test_without_a_browser_it_only_says_so(app, monkeypatch, capsys):
    monkeypatch.setenv(HEADLESS, "1")
    app._ipython_display_()
    assert "the cells below do the same" in capsys.readouterr().out
