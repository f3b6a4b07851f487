import json

import numpy as np
import pytest
from fixtures import tiny_spleeter

from muscomp_lib import audio, separation
from muscomp_lib.core.errors import AudioError, MissingError
from muscomp_lib.separation.folder import files_of, folder_names, separate_all


@pytest.fixture(scope="module")
def separator(tmp_path_factory):
    return separation.Separator(tiny_spleeter.model(tmp_path_factory.mktemp("model") / "m"))


@pytest.fixture
def album(tmp_path):
    """Three songs, the second of which is not audio."""
    paths = [tmp_path / "album" / name for name in ("a.wav", "b.wav", "c.flac")]
    for number, path in enumerate(paths):
        waveform = np.random.default_rng(number).uniform(-0.5, 0.5, (20000, 2)).astype(np.float32)
        audio.write(path, waveform, 44100)
    paths[1].write_text("not music")
    return paths


def dates(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.*")}


def test_one_song_that_fails_does_not_stop_the_others(separator, album, tmp_path):
    made = separate_all(separator, album, tmp_path / "out")
    assert list(made["song"]) == ["a", "b", "c"]
    assert list(made["status"]) == ["ok", "failed", "ok"]
    assert "b.wav cannot be read as audio" in made["note"][1]
    for name in ("a", "c"):
        files = files_of(tmp_path / "out" / name)
        assert {path.name for path in files.values()} == {"vocals.flac", "accompaniment.flac"}
        assert all(audio.info(path).frames == 20000 for path in files.values())
    with pytest.raises(MissingError, match="holds no separated song"):
        files_of(tmp_path / "out" / "b")


def test_a_second_run_separates_only_incomplete_songs(separator, album, tmp_path):
    separate_all(separator, album, tmp_path / "out")
    before = dates(tmp_path / "out")
    (tmp_path / "out" / "c" / "vocals.flac").unlink()
    made = separate_all(separator, album, tmp_path / "out")
    assert list(made["status"]) == ["up to date", "failed", "ok"]
    after = dates(tmp_path / "out")
    assert {path.parent.name for path in after if after[path] != before[path]} == {"c"}


@pytest.mark.parametrize("change", ["song", "setting", "record"])
def test_a_changed_song_setting_or_record_means_separating_again(separator, album, tmp_path, change):
    separate_all(separator, album[:1], tmp_path / "out")
    options = {}
    if change == "song":
        audio.write(album[0], np.zeros((30000, 2), np.float32), 44100)
    elif change == "setting":
        options = {"file_format": "wav"}
    else:
        (tmp_path / "out" / "a" / "separation.json").write_text("{")
    assert list(separate_all(separator, album[:1], tmp_path / "out", **options)["status"]) == ["ok"]


def test_the_record_says_what_the_files_were_made_from(separator, album, tmp_path):
    separate_all(separator, album[:1], tmp_path / "out", wanted=["vocals", "rest"])
    record = json.loads((tmp_path / "out" / "a" / "separation.json").read_text())
    assert record["song"]["name"] == "a.wav"
    assert record["options"] == {"wanted": ["vocals", "rest"], "file_format": "flac", "exact": False, "seconds": None}
    assert record["files"] == {"vocals": "vocals.flac", "rest": "rest.flac"}
    assert record["model"]["config"]["instrument_list"] == ["vocals", "accompaniment"]


def test_songs_with_the_same_title_get_separate_folders(separator, tmp_path):
    paths = [tmp_path / "album" / name for name in ("Song.wav", "song.flac", "other.wav")]
    assert folder_names(paths) == ["Song.wav", "song.flac", "other"]


def test_an_excerpt_does_not_replace_the_whole_song(separator, album, tmp_path):
    for seconds in (None, 0.25):
        separate_all(separator, album[:1], tmp_path / "out", seconds=seconds)
    frames = {
        folder.name: {audio.info(path).frames for path in files_of(folder).values()}
        for folder in (tmp_path / "out").iterdir()
    }
    assert frames == {"a": {20000}, "a_0.25s": {11025}}
    assert list(separate_all(separator, album[:1], tmp_path / "out")["status"]) == ["up to date"]


def test_a_single_failing_song_raises_its_error(separator, album, tmp_path):
    with pytest.raises(AudioError, match=r"b\.wav"):
        separate_all(separator, album[1:2], tmp_path / "out")
