import os

import numpy as np
import pytest

from muscomp_lib import audio
from muscomp_lib.core.errors import AudioError, MissingError, SettingError
from muscomp_lib.core.root import open_root
from muscomp_lib.models import pretrained
from muscomp_lib.separation import songs

NAMES = ["Violin", "Drums"]
CONFIG = {"instrument_list": NAMES}  # of a model


@pytest.fixture
def root(tmp_path):
    root = open_root(tmp_path / "root")
    for track in ("Track00002", "Track00001"):
        for name in ("mix", *NAMES):
            audio.write(root.prepared / "test" / track / f"{name}.flac", np.zeros((100, 2), np.float32), 44100)
    return root


def test_by_default_the_first_test_song_is_chosen(root):
    (song,) = songs.choose(None, root)
    assert song == root.prepared / "test" / "Track00001" / "mix.flac"
    assert songs.title(song) == "Track00001"
    assert songs.reference_files(song, CONFIG) == {name: song.parent / f"{name}.flac" for name in NAMES}
    assert songs.reference_files(song, {"instrument_list": [*NAMES, "Glockenspiel"]}) == {}


def of_groups(groups):
    return {"instrument_list": list(groups), "muscomp": {"targets": groups}}


def test_the_reference_of_a_group_sums_its_files(root):
    (song,) = songs.choose(None, root)
    groups = {"all": NAMES, "kit": ["Drums"]}
    found = songs.reference_files(song, of_groups(groups))
    assert found["all"].files == tuple(song.with_name(f"{name}.flac") for name in NAMES)
    assert found["kit"] == song.with_name("Drums.flac")
    assert songs.reference_files(song, of_groups({"all": [*NAMES, "Glockenspiel"]})) == {}


def test_any_other_file_keeps_its_name_and_has_no_references(root, tmp_path):
    audio.write(tmp_path / "My.song.wav", np.zeros((100, 1), np.float32), 8000)
    (song,) = songs.choose(str(tmp_path / "My.song.wav"), root)
    assert songs.title(song) == "My.song"
    assert songs.reference_files(song, CONFIG) == {}


def test_a_missing_song_is_named(root):
    with pytest.raises(MissingError, match=r"nowhere\.mp3' is not there"):
        songs.choose("nowhere.mp3", root)


def test_without_prepared_songs_another_is_found_or_composed(tmp_path):
    root = open_root(tmp_path)
    (example,) = songs.choose(None, root)
    assert example == root.songs / "Composed example.flac"
    waveform, _ = audio.read(example)
    assert audio.info(example).duration == 40.0 and np.sqrt((waveform**2).mean()) > 0.02
    before = example.read_bytes()
    example.unlink()
    assert songs.compose_example(root).read_bytes() == before
    audio.write(root.songs / "A.wav", np.zeros((100, 1), np.float32), 8000)
    assert songs.choose(None, root) == [root.songs / "A.wav"]


def test_the_list_offers_own_and_prepared_songs(root):
    audio.write(root.songs / "Mine.wav", np.zeros((100, 1), np.float32), 8000)
    (root.songs / "cover.jpg").touch()
    assert list(songs.available(root)) == ["Mine.wav"] + [
        f"Track0000{number} (prepared, its instruments are known)" for number in (1, 2)
    ]
    assert all(songs.choose(path, root) == [path] for path in songs.available(root).values())


@pytest.mark.parametrize("name", ["../../evil.wav", "C:\\songs\\evil.wav", "evil.wav"])
def test_an_uploaded_song_is_written_to_songs_only(root, name):
    path = songs.import_upload(root, name, b"content")
    assert path == root.songs / "evil.wav" and path.read_bytes() == b"content"


@pytest.mark.parametrize("name", ["virus.exe", "", ".wav", ".hidden.wav", ".."])
def test_an_upload_without_an_audio_file_name_is_refused(root, name):
    with pytest.raises(AudioError, match="not the name of an audio file"):
        songs.import_upload(root, name, b"content")
    assert not list(root.songs.iterdir())


def test_an_upload_with_a_name_that_exists_keeps_both(root):
    name = "é" * 124 + ".wav"  # with no room for more
    paths = [songs.import_upload(root, name, content) for content in (b"one", b"two", b"three")]
    assert [path.read_bytes() for path in paths] == [b"one", b"two", b"three"]
    assert songs.import_upload(root, "a.wav", b"1").name == "a.wav"
    assert songs.import_upload(root, "a.wav", b"2").name == "a (2).wav"
    assert songs.choose(root.songs, root) == sorted(root.songs.iterdir())


def test_songs_whose_names_are_not_utf8_are_listed_as_text(root):
    for name in (b"Beyonc\xe9.wav", b"Beyonc\xe8.wav"):
        audio.write(root.songs / os.fsdecode(name), np.zeros((100, 1), np.float32), 8000)
    own = list(songs.available(root))[:2]
    assert len(set(own)) == 2 and all(label.encode() for label in own)


def test_an_excerpt_is_the_middle(tmp_path):
    ramp = np.arange(100, dtype=np.int16)[:, None]
    audio.write(tmp_path / "ramp.wav", ramp, 1000)
    found, rate = songs.excerpt(tmp_path / "ramp.wav", 0.02)
    np.testing.assert_array_equal(audio.to_int16(found), ramp[40:60])
    assert rate == 1000
    assert len(songs.excerpt(tmp_path / "ramp.wav", 99)[0]) == len(songs.excerpt(tmp_path / "ramp.wav")[0]) == 100
    with pytest.raises(SettingError, match="seconds = -1 is not possible"):
        songs.excerpt(tmp_path / "ramp.wav", -1)


@pytest.mark.parametrize("seconds", [None, 0.05, 0.033])
def test_a_song_and_its_stems_have_one_middle(tmp_path, seconds):
    ramp = np.arange(101, dtype=np.int16)[:, None]
    audio.write(tmp_path / "song.wav", ramp, 1000)
    excerpt = audio.to_int16(songs.excerpt(tmp_path / "song.wav", seconds)[0])
    for length in (0.02, 0.021, 1.0):
        in_song, in_stems, n_samples = songs.middle(tmp_path / "song.wav", seconds, length)
        assert n_samples == min(len(excerpt), round(1000 * length))
        np.testing.assert_array_equal(ramp[in_song : in_song + n_samples], excerpt[in_stems : in_stems + n_samples])


def test_a_folder_stands_for_the_songs_in_it(root, tmp_path):
    folder = tmp_path / "album"
    for name in ("b.WAV", "a.flac", "c.w64", "cover.jpg", ".hidden.wav"):
        folder.mkdir(exist_ok=True)
        (folder / name).touch()
    (folder / "more.wav").mkdir()
    assert [path.name for path in songs.choose(folder, root)] == ["a.flac", "b.WAV", "c.w64"]
    for name in ("a.flac", "b.WAV", "c.w64"):
        (folder / name).unlink()
    with pytest.raises(MissingError, match=r"album' holds no song \(\.wav, "):
        songs.choose(folder, root)


def test_where_an_excerpt_begins(tmp_path):
    audio.write(tmp_path / "ramp.wav", np.zeros((100, 1), np.int16), 1000)
    assert songs.excerpt_start(tmp_path / "ramp.wav", 0.02) == 0.04
    assert songs.excerpt_start(tmp_path / "ramp.wav", 99) == songs.excerpt_start(tmp_path / "ramp.wav") == 0.0


def test_what_is_no_song_is_refused_with_advice(root, tmp_path):
    (tmp_path / "box" / "CD 1").mkdir(parents=True)
    (tmp_path / "box" / "CD 1" / "a.wav").touch()
    (tmp_path / "box" / "covers").mkdir()
    (tmp_path / "gone.wav").symlink_to("/not/mounted.wav")
    for song, says in [
        (tmp_path / "box", r"holds no song .* Folders in it do: give CD 1\."),
        (tmp_path / "gone.wav", "is a link to '/not/mounted.wav', which is not there"),
        (tmp_path / "*.wav", "Give the folder"),
        ("/dev/null", "is a stream or a device, not a file"),
        ("-", "is a stream or a device, not a file"),
    ]:
        with pytest.raises(MissingError, match=says):
            songs.choose(song, root)


def test_a_model_is_found_by_name_or_by_path(root, tmp_path):
    (root.models / "mine").mkdir()
    (root.models / "mine" / "config.json").touch()
    (tmp_path / "2stems.json").touch()
    assert pretrained.model_path("mine", root) == root.models / "mine"
    assert pretrained.model_path(tmp_path / "2stems.json", root) == tmp_path / "2stems.json"
    with pytest.raises(MissingError, match=r"no model 'Mine'.* Did you mean 'mine'.*, mine, spleeter:"):
        pretrained.model_path("Mine", root)


@pytest.mark.parametrize("song", ["https://x.org/song.mp3", "x" * 300 + ".wav", "~nobody-of-this-name/a.wav"])
def test_what_can_be_no_file_is_refused_as_such(root, song):
    for given in (song, [song]):
        with pytest.raises(SettingError, match=r"is an address|longer than 255 bytes|not a possible path"):
            songs.choose(given, root)
