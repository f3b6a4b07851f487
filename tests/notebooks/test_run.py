"""The notebooks, run by batch/run.py on a tiny data set: the five in order, as a newcomer's first run; 07 and 08."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import papermill
import pytest
import soundfile
from fixtures import solutions, tiny_composers, tiny_spleeter
from fixtures.tiny_notebooks import NOTES, TINY

from muscomp_lib import audio
from muscomp_lib.core import instruments
from muscomp_lib.core.root import open_root

PROJECT = Path(__file__).parents[2]
RATE = 22050  # Hz: the second song is of another rate, and mono
ORDER = [
    "01_index_slakh",
    "02_fill_from_reserve",
    "03_make_tables_and_config",
    "04_train",
    "05_separate_and_transcribe",
]


@pytest.fixture(scope="module")
def first_run(tmp_path_factory):
    """(the finished command, its root) for all notebooks and a folder of the user's own songs, the first unreadable."""
    folder = tmp_path_factory.mktemp("first_run")
    album = folder / "album"
    album.mkdir()
    (album / "0.mp3").write_text("not music")
    tone = np.sin(2 * np.pi * 220 / RATE * np.arange(6 * RATE))
    soundfile.write(album / "my song.wav", 0.3 * tone * np.hanning(len(tone)), RATE)  # resampling is exact inside
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (4 * RATE, 2))
    soundfile.write(album / "noise.flac", noise, audio.SAMPLE_RATE)
    options = [word for name, value in TINY.items() for word in ("-p", name, str(value))]
    options += ["-p", "root", "root", "--also-song", album.name]
    done = subprocess.run(
        [sys.executable, PROJECT / "batch" / "run.py", "all", *options],
        cwd=folder, env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}, capture_output=True, text=True,
        stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-5000:]
    return done, open_root(folder / "root")


@pytest.mark.slow
def test_all_notebooks_run_and_each_measures_something(first_run):
    _, root = first_run
    metrics = json.loads((root.runs / "all" / "metrics.json").read_text())
    assert list(metrics) == [*ORDER, "05_separate_and_transcribe-2"]
    assert all(entry["status"] == "ok" and entry["metrics"] for entry in metrics.values())


@pytest.mark.slow
def test_songs_become_files_that_sum_to_them_and_a_midi(first_run):
    _, root = first_run
    folders = sorted(path for path in root.separated.iterdir() if path.is_dir())
    assert len(folders) == 3 and {"my song", "noise"} < {folder.name for folder in folders}
    for folder in folders:
        names = {path.stem for path in folder.glob("*.flac")}
        assert names == {*instruments.names(), instruments.OTHER}
        assert len(list(folder.glob("*.mid"))) == 1
    for name in ("my song.wav", "noise.flac"):
        song, rate = audio.read(root.path.parent / "album" / name)
        parts, rates = zip(*map(audio.read, (root.separated / Path(name).stem).glob("*.flac")), strict=True)
        assert {part.shape for part in parts} == {(len(song), 2)} and set(rates) == {rate}
        np.testing.assert_allclose(sum(parts), np.broadcast_to(song, (len(song), 2)), atol=13 / audio.INT16_SCALE)


@pytest.mark.slow
def test_the_unseen_song_is_scored_the_users_own_is_not(first_run):
    done, root = first_run
    metrics = json.loads((root.runs / "all" / "metrics.json").read_text())
    unseen, own = (metrics[name]["metrics"] for name in (ORDER[-1], f"{ORDER[-1]}-2"))
    for measured in (unseen, own):
        assert set(instruments.names()) <= set(measured["notes"])
    assert set(instruments.names()) <= set(unseen["si_sdr"])
    assert own["si_sdr"] is None and own["beats_the_mix"] is None
    assert f"beats the mix for {unseen['beats_the_mix']} of" in done.stdout


@pytest.mark.slow
def test_a_song_that_fails_is_named_others_go_on(first_run):
    _, root = first_run
    name = f"{ORDER[-1]}-2"
    table = (root.runs / "all" / f"{name}.ipynb").read_text()
    assert "0.mp3 cannot be read as audio" in table and "failed" in table
    measured = json.loads((root.runs / "all" / "metrics.json").read_text())[name]["metrics"]
    assert measured["songs"]["listed"] == 3 and list(measured["songs"]["failed"]) == ["0"]
    assert measured["song"] == "my song"


def run_solved(name, folder, given, **variables):
    """Run a notebook with the solutions of its exercises, and common mistakes, filled in; check what it answers.

    Returns its text and its metrics.
    """
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.ipynb"
    nbformat.write(solutions.fill_in(nbformat.read(PROJECT / "notebooks" / path.name, 4), name), path)
    options = [str(word) for key, value in given.items() for word in ("-p", key, value)]
    done = subprocess.run(
        [sys.executable, PROJECT / "batch" / "run.py", path, *options, "--out", folder / "out"],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "PYTHONPATH": str(PROJECT), **variables},
        capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-5000:]
    text = (folder / "out" / path.name).read_text()
    answers = [
        str(output.data["text/markdown"])
        for cell in nbformat.reads(text, 4).cells
        if cell.cell_type == "code" and "exercise.check(" in cell.source
        for output in cell.outputs
        if "text/markdown" in output.get("data", {})
    ]
    expected = [right for each in solutions.read(name).values() for right in (True, *(False for _ in each.wrong))]
    assert [("**Right**" in shown, "**Not" in shown) for shown in answers] == [(yes, not yes) for yes in expected]
    return text, json.loads((folder / "out" / "metrics.json").read_text())[name]["metrics"]


@pytest.mark.full
def test_solutions_are_right_and_common_mistakes_are_not(tmp_path):
    for name in ORDER:  # each goes on with what the one before has made
        valid = papermill.inspect_notebook(PROJECT / "notebooks" / f"{name}.ipynb")
        given = {key: value for key, value in {**TINY, **NOTES}.items() if key in valid}
        _, measured = run_solved(name, tmp_path / name, given | {"root": tmp_path / "root"})
        if name == "04_train":
            assert measured["note_f1"] and set(measured["note_f1"]) <= set(instruments.names())
    assert (open_root(tmp_path / "root").models / "notes" / "weights.npz").is_file()


def run_05(tmp_path, names, **given):
    """Run notebook 05 with a model of these instruments; its song's folder, its text and its metrics."""
    network = {} if all(map(str.isalnum, names)) and "".join(names).isascii() else tiny_spleeter.OURS
    model, song = tiny_spleeter.model(tmp_path / "theirs", names, **network), tmp_path / "song.wav"
    soundfile.write(song, np.random.default_rng(0).uniform(-0.5, 0.5, (2 * RATE, 2)), RATE)
    given |= {"root": tmp_path / "root", "model": model, "song": song, "score": "true"}
    options = [str(word) for name, value in given.items() for word in ("-p", name, value)]
    done = subprocess.run(
        [sys.executable, PROJECT / "batch" / "run.py", "05", *options, "--name", "two"],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}, capture_output=True, text=True,
        stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-5000:]
    root = open_root(tmp_path / "root")
    notebook = (root.runs / "two" / "05_separate_and_transcribe.ipynb").read_text()
    metrics = json.loads((root.runs / "two" / "metrics.json").read_text())["05_separate_and_transcribe"]["metrics"]
    return {path.name for path in (root.separated / "song").iterdir()}, notebook, metrics


@pytest.mark.full
def test_notebook_06_trains_and_asks(tmp_path):
    given = {"root": tmp_path / "root", "steps": 2, "songs": 2, "filters": "[4, 8]"}
    notebook, measured = run_solved("06_ask_by_timbre", tmp_path, given)
    assert len(measured["answers"]) == 3 and measured["steps"] == 2
    assert (open_root(tmp_path / "root").models / "query" / "weights.npz").is_file()
    assert notebook.count("image/png") == 5


@pytest.mark.full
def test_a_model_goes_through_notebook_07_and_separates_alone(tmp_path):
    model = tiny_spleeter.model(tmp_path / "tiny", ["Drums", "other"], **tiny_spleeter.OURS, T=64, F=256).parent
    given = {"root": tmp_path / "root", "model": model, "formats": "[litert_float32]", "seconds": 4}
    notebook, metrics = run_solved("07_export", tmp_path, given)
    measured = metrics["formats"]["litert_float32"]
    assert measured["status"] == "ok" and measured["largest_difference"] < 1e-4
    assert "An exported network" in notebook and notebook.count("image/png") == 2


@pytest.mark.full
def test_composers_of_a_folder_go_through_notebook_08(tmp_path):
    music = tiny_composers.write(tmp_path / "music", pieces=1)
    tiny_composers.write_unusable(music / "Scale")
    given = {"root": tmp_path / "root", "corpus": music, "composers": "Scale; Chord", "unknown": "[Trill]"}
    given |= {"clip_seconds": 6, "clips_per_piece": 2, "steps": 4, "features": "roll", "loss": "cross_entropy"}
    notebook, measured = run_solved("08_who_composed_it", tmp_path, given, MUSCOMP_CACHE=str(tmp_path / "cache"))
    assert measured["unusable"] == 4 and 0 <= measured["auc"] <= 1
    assert set(measured["accuracy"]) == {"divided by work", "divided by clip"}
    assert "It has 1 note; 20 are the least" in notebook and notebook.count("image/png") == 7


@pytest.mark.full
def test_a_model_without_known_instruments_separates_without_notes(tmp_path):
    files, notebook, metrics = run_05(tmp_path, ["vocals", "accompaniment"])
    assert files == {"vocals.flac", "accompaniment.flac", "separation.json"}
    assert "No notes, no MIDI file" in notebook and "it is a sum of instruments" in notebook
    assert metrics["notes"] == {} and metrics["tempo"] is None


@pytest.mark.full
def test_spleeters_five_stems_go_through_notebook_05(tmp_path):
    names = ["vocals", "piano", "drums", "bass", "other"]
    files, notebook, metrics = run_05(tmp_path, names)
    assert files == {*(f"{name}.flac" for name in names), "song.mid", "song.musicxml", "separation.json"}
    assert set(metrics["notes"]) == {"drums", "piano", "bass"}
    assert "it is what the other files leave of the song" in notebook


@pytest.mark.full
def test_twenty_targets_with_any_names_go_through_notebook_05(tmp_path):
    names = ["Drums", "guitare électrique", "$x$ $y$", "R+B", "ピアノ", *(f"cible n° {number}" for number in range(15))]
    files, _, metrics = run_05(tmp_path, names)
    assert files >= {f"{name}.flac" for name in names} and len(files) == 23
    assert set(metrics["notes"]) == {"Drums", "guitare électrique", "ピアノ"}


@pytest.mark.full
def test_one_target_alone_goes_through_notebook_05(tmp_path):
    found, _, _ = run_05(tmp_path, ["drums"], outputs="null")
    assert found == {"drums.flac", "song.mid", "song.musicxml", "separation.json"}


@pytest.mark.full
def test_sums_of_notebook_05_are_exact_to_every_sample(tmp_path):
    given = {"outputs": "[drums+bass, accompaniment]", "file_format": "wav", "exact": "true"}
    found, _, _ = run_05(tmp_path, ["drums", "bass", "vocals"], **given)
    assert found == {"drums+bass.wav", "accompaniment.wav", "separation.json"}
    folder = tmp_path / "root" / "separated" / "song"
    parts = [audio.read(folder / f"{part}.wav")[0] for part in ("drums+bass", "accompaniment")]
    np.testing.assert_array_equal(audio.to_int16(sum(parts)), audio.read(tmp_path / "song.wav", dtype="int16")[0])
