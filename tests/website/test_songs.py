"""The folders of a site and of its songs: what is deleted is the site's own, and nothing else."""

import numpy as np
import pytest

from muscomp_lib import audio
from muscomp_lib.core.errors import SettingError
from muscomp_lib.core.files import written_whole
from muscomp_lib.website import mix
from muscomp_lib.website.site import MARK, _own_folder
from muscomp_lib.website.songs import FILE, SongFolder, Songs

ID = "Aa0-_" + 19 * "x"


def test_a_folder_with_files_of_others_is_refused(tmp_path):
    (tmp_path / "songs" / "Mine").mkdir(parents=True)
    tmp_path.chmod(0o755)
    with pytest.raises(SettingError, match="no site made them"):
        _own_folder(tmp_path)
    assert (tmp_path / "songs" / "Mine").is_dir() and tmp_path.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("mark", [MARK, FILE])
def test_a_folder_of_a_site_is_used_again(tmp_path, mark):
    (tmp_path / "songs").mkdir()
    (tmp_path / mark).touch()
    assert _own_folder(tmp_path) == tmp_path


def test_only_the_owner_can_read_a_folder_that_is_made(tmp_path):
    assert _own_folder(tmp_path / "new").stat().st_mode & 0o777 == 0o700
    assert _own_folder(tmp_path / "new")  # a site that was ended before it wrote anything


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path, monkeypatch):
    def refuse(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(type(tmp_path), "touch", refuse)  # where tests run as root, rights do not hinder them
    with pytest.raises(SettingError, match="cannot be written to"):
        _own_folder(tmp_path / "site")


def test_only_folders_named_like_songs_are_swept(tmp_path):
    songs = Songs(tmp_path)
    for name in (ID, ID[:-1] + "y", "Mine", 24 * "é"):
        (songs.place / name / "pieces").mkdir(parents=True)
    songs.remove_others(lambda: {ID})
    assert {path.name for path in songs.place.iterdir()} == {ID, "Mine", 24 * "é"}


def test_what_is_half_written_is_no_download(tmp_path):
    song = SongFolder(tmp_path, ".mp3")
    song.stems.mkdir(parents=True)
    with written_whole(song.stems / "Drums.flac") as part:
        part.touch()
        assert song.downloads() == {}
    assert list(song.downloads()) == ["Drums.flac"]


def test_songs_have_the_names_that_are_swept(tmp_path):
    from muscomp_lib.website.queue import Queue

    queue = Queue(tmp_path / FILE)
    id_, *_ = queue.add("", "Song", ".mp3", 1, {}, max_waiting=9, max_each=9)
    songs = Songs(tmp_path)
    songs.of(queue.get(id_)).path.mkdir()
    songs.remove_others(set)
    assert not list(songs.place.iterdir())


def test_a_mix_is_of_whole_files_only(tmp_path, monkeypatch):
    sound = np.full((4410, 2), 0.25, np.float32)
    for name in ("Drums.flac", ".part-1-Violin.flac"):
        audio.write(tmp_path / name, sound, 44100)
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(mix.os, "nice", lambda by: None)  # of the tests' process
    mix.main(tmp_path, tmp_path / "out" / "mix.flac", "{}")
    mixed, _ = audio.read(tmp_path / "out" / "mix.flac")
    np.testing.assert_allclose(mixed, sound, atol=1e-4)
