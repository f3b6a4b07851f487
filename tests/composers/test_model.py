"""From a folder of scores to a name: clips, their division, training that resumes, and what a trained model answers."""

import csv
import json
import shutil

import numpy as np
import pretty_midi
import pytest
from fixtures import tiny_composers

from muscomp_lib import composers
from muscomp_lib.composers import clips, collection, model, recognition, statistics
from muscomp_lib.composers.model import PIECES, RECOGNIZER
from muscomp_lib.core.errors import MidiError, MissingError, SettingError, StoppedError
from muscomp_lib.core.root import Root
from muscomp_lib.models.weights import CONFIG, HISTORY, WEIGHTS
from muscomp_lib.training import loop

TINY = {
    "composers": ["Scale", "Chord"],
    "unknown": ["Trill"],
    "clip_seconds": 6.0,
    "clips_per_piece": 2,
    "features": "roll",
    "steps": 24,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tiny_composers.write(tmp_path_factory.mktemp("music"), pieces=1)
    tiny_composers.write_unusable(folder / "Scale")
    (folder / "Chord" / "copy.mid").write_bytes((folder / "Chord" / "Op. 1" / "No. 1.mid").read_bytes())
    return folder


@pytest.fixture(scope="module")
def settings(folder):
    return composers.Settings(corpus=str(folder), **TINY)


@pytest.fixture(scope="module")
def music(settings, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MUSCOMP_CACHE", str(tmp_path_factory.mktemp("cache")))
        return settings.collection(workers=1)


@pytest.fixture(scope="module")
def trained(music, settings, tmp_path_factory):
    return composers.train(Root(tmp_path_factory.mktemp("root")), music, settings)


def test_unusable_files_and_copies_are_left_out_with_reasons(music):
    bad = music.pieces[music.pieces["status"] != "ok"].set_index("piece")
    assert sorted(bad["status"]) == ["duplicate", "too_short", *["unreadable"] * 3]  # broken.mid beside broken.mxl
    assert "the same notes as Chord/Op. 1/No. 1.mid" in " ".join(bad["note"])
    assert music.names == ["Scale", "Chord"]
    assert len(music.clips) == len(music.examples) == len(music.statistics) == 2 * 4 * 3


def test_a_piece_of_two_composers_is_neithers(tmp_path, monkeypatch):
    monkeypatch.setenv("MUSCOMP_CACHE", str(tmp_path / "cache"))
    folder = tiny_composers.write(tmp_path / "music", pieces=1)
    (folder / "Trill" / "copy.mid").write_bytes((folder / "Chord" / "Op. 1" / "No. 1.mid").read_bytes())
    pieces = composers.Settings(corpus=str(folder), **TINY | {"unknown": None, "composers": None}).collection(1).pieces
    bad = pieces[pieces["status"] != "ok"].set_index("piece")["note"]
    assert list(bad.index) == ["Chord/Op. 1/No. 1.mid", "Trill/copy.mid"]
    assert bad.iloc[0] == "Trill/copy.mid, of another composer, has the same notes. Remove the wrong one."


def test_editions_with_other_lengths_of_notes_are_copies(tmp_path, monkeypatch):
    monkeypatch.setenv("MUSCOMP_CACHE", str(tmp_path / "cache"))
    folder = tiny_composers.write(tmp_path / "music", works=1, pieces=1, composers=["Scale", "Trill"])
    for name, length in (("edition", 0.25), ("playback", 0.2)):
        chords = [(pitch, start / 4) for start in range(40) for pitch in (60 + start % 7, 67)]
        notes = [pretty_midi.Note(80, pitch, at, at + (length if pitch == 67 else 0.25)) for pitch, at in chords]
        tiny_composers.write_notes(folder / "Scale" / f"{name}.mid", notes)
    pieces = composers.Settings(corpus=str(folder), clip_seconds=4.0).collection(1).pieces
    assert pieces["piece"][pieces["status"] == "duplicate"].tolist() == ["Scale/playback.mid"]


def test_by_work_no_work_is_on_both_sides(music):
    seen = set()
    for fold in range(collection.FOLDS):
        training, validation = collection.divide(music.clips, "work", fold)
        works = [set(music.clips["work"][part]) for part in (training, validation)]
        assert not works[0] & works[1]
        assert all(len(set(music.clips["label"][part])) == 2 for part in (training, validation))
        seen |= set(np.flatnonzero(validation))
    assert seen == set(np.flatnonzero(music.clips["known"]))
    training, validation = collection.divide(music.clips, "clip")
    assert set(music.clips["piece"][training]) & set(music.clips["piece"][validation])


def test_a_composer_with_one_work_is_trained_on_only(music):
    table = music.clips[(music.clips["composer"] != "Scale") | (music.clips["work"] == "Scale/Op. 1")]
    training, validation = collection.divide(table)
    assert set(table["composer"][validation]) == {"Chord"}
    assert set(table["composer"][training]) == {"Scale", "Chord"}
    with pytest.raises(SettingError, match="No composer has two works"):
        collection.divide(table[table["work"].str.endswith("Op. 1")])


def test_composers_without_a_usable_piece_are_refused(tmp_path):
    tiny_composers.write(tmp_path, works=1, pieces=1, composers=["Scale"])
    tiny_composers.write_unusable(tmp_path / "Chord")
    with pytest.raises(MissingError, match=r"only Scale has a piece that can be used\. .*(cut short|is empty)"):
        composers.Settings(corpus=str(tmp_path)).collection(workers=1)


def test_clips_cover_a_piece_and_keep_their_notes():
    starts = np.arange(0, 40, 0.5, dtype=np.float32)
    notes = np.stack([starts, starts + 0.5, np.full_like(starts, 60), np.full_like(starts, 80)], axis=1)
    cut = clips.cut(notes, 10.0, 3)
    assert [len(clip) for clip in cut] == [20, 20, 20]
    assert all(clip[0, 0] < 0.5 and clip[:, 1].max() <= 10.0 for clip in cut)
    assert len(clips.cut(notes[:12], 10.0, 3)) == 1
    assert clips.cut(notes[:5], 10.0, 3) == []


def test_sound_and_roll_show_the_same_notes():
    notes = np.array([[1.0, 2.0, 60, 80], [3.0, 4.0, 72, 80]], np.float32)
    roll, mel = clips.roll(notes, 5.0), clips.mel(clips.sound(notes, 5.0))
    assert roll.shape == (40, clips.N_PITCHES) and mel.shape == (40, clips.N_MELS)
    assert roll[8, 60 - clips.LOWEST_PITCH] == 1 and roll[12, 60 - clips.LOWEST_PITCH] == clips.SOUNDING
    assert np.flatnonzero(roll.any(axis=0)).tolist() == [39, 51]
    assert mel[:7].max() < 0.2 < 0.8 < mel[8].max() <= 1
    assert not clips.mel(np.zeros((16000, 1), np.float32)).any()


def test_intervals_are_the_same_in_another_key():
    notes = np.array([[n / 2, n / 2 + 0.5, pitch, 80] for n in range(20) for pitch in (60 + n % 5, 67)], np.float32)
    found = clips.intervals(clips.roll(notes, 10.0))
    moved = clips.intervals(clips.roll(clips.transpose(notes, 5), 10.0))
    n_relative = clips.N_INTERVALS - clips.N_PITCHES // clips.BAND
    assert found.shape == (80, clips.N_INTERVALS)
    np.testing.assert_array_equal(found[:, :n_relative], moved[:, :n_relative])
    assert found[0, 7 - 1] == np.float32(np.log1p(1)) and found[0, :6].max() == 0  # a fifth, and nothing narrower
    assert not np.array_equal(found, moved)


def test_statistics_do_not_depend_on_the_key():
    notes = np.array([[n / 2, n / 2 + 0.4, 60 + n % 5, 80] for n in range(20)], np.float32)
    same, higher = (statistics.of(clips.transpose(notes, shift), 10.0) for shift in (0, 3))
    n_shares = 12 + 15 + 6 + 7
    np.testing.assert_allclose(same[:n_shares], higher[:n_shares])
    assert higher[n_shares] > same[n_shares]


def test_a_piece_of_a_known_habit_is_recognized(trained, tmp_path):
    model = composers.Recognizer(trained)
    found = [
        model.recognize(tiny_composers.write_piece(tmp_path / f"{name}{seed}.mid", name, seed)).composers["composer"][0]
        for name in ("Scale", "Chord")
        for seed in (100, 101)
    ]
    assert found == ["Scale", "Scale", "Chord", "Chord"]


def test_an_answer_lists_distances_and_nearest_pieces(trained, tmp_path):
    model = composers.Recognizer(trained)
    path = tiny_composers.write_piece(tmp_path / "own.mid", "Chord", 100)
    answer = model.recognize(path)
    assert answer.composers["distance"].is_monotonic_increasing and answer.nearest["distance"].is_monotonic_increasing
    assert list(answer.nearest.columns) == ["composer", "piece", "part", "distance"]
    model.threshold = 0.0
    assert model.recognize(path).name == recognition.NONE


@pytest.mark.full
def test_a_training_that_was_stopped_resumes_to_the_same_model(trained, music, settings, tmp_path, monkeypatch):
    real = loop.LossCheck.__call__

    def stop(self, step, loss, is_validation=False):
        real(self, step, loss, is_validation)
        if step == 15:  # after the change of the loss, between two checkpoints
            raise StoppedError("stopped")

    monkeypatch.setattr(loop.LossCheck, "__call__", stop)
    with pytest.raises(StoppedError):
        composers.train(Root(tmp_path), music, settings)
    monkeypatch.setattr(loop.LossCheck, "__call__", real)
    resumed = composers.train(Root(tmp_path), music, settings)
    for name in (WEIGHTS, RECOGNIZER, HISTORY):
        assert (resumed / name).read_bytes() == (trained / name).read_bytes()
    steps = [int(row["step"]) for row in csv.DictReader((resumed / HISTORY).read_text().splitlines())]
    assert steps == [6, 12, 18, 24]


def test_a_fresh_training_discards_the_one_before(music, settings, tmp_path, monkeypatch):
    short = settings.replace(steps=4)
    folder = composers.train(Root(tmp_path), music, short)
    monkeypatch.setattr(model, "_train", lambda *_: None)  # as if it were killed at once
    composers.train(Root(tmp_path), music, short, fresh=True)
    assert {path.name for path in folder.iterdir()} == {CONFIG}


def test_a_damaged_model_is_refused_with_its_name(trained, tmp_path):
    copy = shutil.copytree(trained, tmp_path / "copy")
    table = (copy / PIECES).read_text()
    for damaged in ("", table.replace(",", ";"), table[: table.index("\n", 40) + 1]):  # as by a spreadsheet, and cut
        (copy / PIECES).write_text(damaged)
        with pytest.raises(SettingError, match="copy is damaged"):
            composers.Recognizer(copy)
    config = json.loads((copy / CONFIG).read_text())
    for key in ("composers", "clip_seconds", "features", "clips_per_piece"):
        (copy / CONFIG).write_text(json.dumps({name: value for name, value in config.items() if name != key}))
        with pytest.raises(SettingError, match=f"copy is damaged.*{key}"):
            composers.Recognizer(copy)


def test_other_settings_do_not_continue_a_training(trained, music, settings):
    with pytest.raises(SettingError, match="features: 'roll' then, 'mel' now"):
        composers.train(Root(trained.parents[1]), music, settings.replace(features="mel"))


@pytest.mark.parametrize(
    ("file", "error", "reason"),
    [
        ("one note.mid", MidiError, "It has 1 note"),
        ("silent.mid", MidiError, "it has no notes"),
        ("recording.wav", SettingError, "neither a MIDI file nor a score"),
        ("absent.mid", MissingError, "is not there"),
        ("", SettingError, "is a folder"),
    ],
)
def test_a_piece_without_an_answer_says_why(trained, folder, file, error, reason):
    (folder / "Scale" / "recording.wav").touch()
    with pytest.raises(error, match=reason) as caught:
        composers.Recognizer(trained).recognize(folder / "Scale" / file)
    assert file == "" or str(caught.value).count(str(folder)) == 1


def test_sparse_notes_have_no_clip(trained, tmp_path):
    notes = [pretty_midi.Note(80, 60, 20.0 * number, 20.0 * number + 1) for number in range(25)]
    with pytest.raises(MidiError, match="too few notes at a time"):
        composers.Recognizer(trained).recognize(tiny_composers.write_notes(tmp_path / "sparse.mid", notes))


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(MissingError, match=r"not a trained model for composers\. Train one with notebook 08"):
        composers.Recognizer(tmp_path)
