import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from fixtures import killing, tiny_spleeter
from fixtures.needs import require

from muscomp_lib import audio, separation, transcription
from muscomp_lib.audio import stream
from muscomp_lib.core.errors import AudioError, DiskFullError, MissingError, MusCompError
from muscomp_lib.core.files import locked
from muscomp_lib.separation.folder import (
    RECORD,
    config_of,
    files_of,
    midi_of,
    named_file,
    separate_all,
    separated,
    song_of,
    write_notes,
)
from muscomp_lib.transcription.note_decoder import Note


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


def titles(made):
    return [song.song for song in made]


def statuses(made):
    return [song.status for song in made]


def test_one_song_that_fails_does_not_stop_the_others(separator, album, tmp_path):
    made = separate_all(separator, album, tmp_path / "out")
    assert titles(made) == ["a", "b", "c"]
    assert statuses(made) == ["ok", "failed", "ok"]
    assert "b.wav cannot be read as audio" in made[1].note
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
    assert statuses(made) == ["up to date", "failed", "ok"]
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
    assert statuses(separate_all(separator, album[:1], tmp_path / "out", **options)) == ["ok"]


def test_the_record_says_what_the_files_were_made_from(separator, album, tmp_path):
    separate_all(separator, album[:1], tmp_path / "out", wanted=["vocals", "rest"])
    record = json.loads((tmp_path / "out" / "a" / "separation.json").read_text())
    assert record["song"]["name"] == "a.wav"
    assert record["options"] == {"wanted": ["vocals", "rest"], "file_format": "flac", "exact": False, "seconds": None}
    assert record["files"] == {"vocals": "vocals.flac", "rest": "rest.flac"}
    assert record["model"]["config"]["instrument_list"] == ["vocals", "accompaniment"]


def test_an_excerpt_does_not_replace_the_whole_song(separator, album, tmp_path):
    for seconds in (None, 0.25):
        separate_all(separator, album[:1], tmp_path / "out", seconds=seconds)
    frames = {
        folder.name: {audio.info(path).frames for path in files_of(folder).values()}
        for folder in (tmp_path / "out").iterdir()
    }
    assert frames == {"a": {20000}, "a_0.25s": {11025}}
    assert statuses(separate_all(separator, album[:1], tmp_path / "out")) == ["up to date"]


def test_a_single_failing_song_raises_its_error(separator, album, tmp_path):
    with pytest.raises(AudioError, match=r"b\.wav"):
        separate_all(separator, album[1:2], tmp_path / "out")


class Copier:
    """Stands for a separator: its one file is a copy of the song, so that it shows whose folder it is in."""

    asked_by = query_digest = None

    def __init__(self):
        self.identity, self.separated = {"folder": "copier"}, []

    def separate_file(self, path, out_dir, file_format="flac", **_):
        self.separated.append(path)
        waveform, sample_rate = audio.read(path)
        file = Path(out_dir) / f"all{stream.FORMATS[file_format].suffix}"
        audio.write(file, waveform, sample_rate)
        return {"all": file}


def make_song(path, number, n_samples=500):
    """A song with all samples equal, by which it is recognised: in a copy, `number_of` finds the number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with stream.Writer(path, path.suffix[1:], 44100, 1) as file:
        file.write(np.full((n_samples, 1), 0.01 * number, np.float32))
    return path


def number_of(folder):
    return round(100 * float(np.median(audio.read(files_of(folder)["all"])[0])))


def contents(out):
    """The numbers of the songs in each folder."""
    return {folder.name: number_of(folder) for folder in separated(out)}


def test_what_is_asked_for_gets_a_folder_of_its_own(album, tmp_path):
    class Asking(Copier):
        def __init__(self, name, digest):
            super().__init__()
            self.asked_by, self.query_digest = name, digest
            self.identity = {"folder": "asking", "query": digest}

    made = [
        separate_all(separator, album[:1], tmp_path / "out")[0].song
        for separator in (Copier(), Asking("note", "1"), Asking("note", "2"), Asking("note", "1"), Copier())
    ]
    assert made[0] == made[4] and made[1] == made[3] == f"{made[0]} (like note)"
    assert len(set(made)) == 3 and all(files_of(tmp_path / "out" / name) for name in made)


def test_files_with_one_title_get_a_folder_each(tmp_path):
    paths = [make_song(tmp_path / "s" / name, number) for number, name in enumerate(("a.mp3", "a.wav", "a.mp3.wav"), 1)]
    made = separate_all(Copier(), paths, tmp_path / "out")
    assert [contents(tmp_path / "out")[name] for name in titles(made)] == [1, 2, 3]
    assert len(contents(tmp_path / "out")) == 3


@pytest.mark.parametrize("calls", [[[0, 1]], [[0], [1], [0], [1]], [[1], [0, 1]]])
def test_songs_of_one_name_never_overwrite_each_other(tmp_path, calls):
    paths = [make_song(tmp_path / cd / "01.flac", number) for number, cd in enumerate(("cd1", "cd2"), 1)]
    names = {}
    for call in calls:
        made = separate_all(Copier(), [paths[index] for index in call], tmp_path / "out")
        for index, name in zip(call, titles(made), strict=True):
            assert names.setdefault(index, name) == name, "a song keeps its folder"
            assert contents(tmp_path / "out")[name] == index + 1
    assert sorted(contents(tmp_path / "out").values()) == [1, 2]


def test_a_folder_that_only_looks_like_an_excerpt_is_kept(tmp_path):
    whole, looks_like_it = make_song(tmp_path / "Song.wav", 1, 44100), make_song(tmp_path / "Song_0.5s.wav", 2)
    separate_all(Copier(), [whole], tmp_path / "out", seconds=0.5)
    separate_all(Copier(), [looks_like_it], tmp_path / "out")
    assert sorted(contents(tmp_path / "out").values()) == [1, 2]


def test_names_that_differ_in_case_only_get_two_folders(tmp_path):
    paths = [
        make_song(tmp_path / cd / name, number) for number, (cd, name) in enumerate((("x", "A.wav"), ("y", "a.wav")))
    ]
    made = separate_all(Copier(), paths, tmp_path / "out")
    assert len({name.casefold() for name in titles(made)}) == 2


@pytest.mark.parametrize(
    "name", [b"...wav", b"Beyonc\xe9.wav", b"x" * 250 + b".wav", b"a\nb.wav", "\u2028.wav".encode()]
)
@pytest.mark.parametrize("seconds", [None, 0.25])
def test_any_name_gets_a_folder_in_the_folder(tmp_path, name, seconds):
    path = make_song(tmp_path / "a" / "b" / "song.wav", 3)
    path = path.rename(path.with_name(os.fsdecode(name)))
    made = separate_all(Copier(), [path], tmp_path / "out", seconds=seconds)
    assert contents(tmp_path / "out") == {made[0].song: 3}
    named_file(tmp_path / "out" / made[0].song, ".musicxml").touch()
    assert {entry.name for entry in tmp_path.iterdir()} == {"a", "out"}


def test_a_folder_without_our_mark_is_left_alone(tmp_path):
    theirs = tmp_path / "out" / "a"
    theirs.mkdir(parents=True)
    (theirs / "all.flac").write_text("a person's own")
    make_song(tmp_path / "a.wav", 1)
    separate_all(Copier(), [tmp_path / "a.wav"], tmp_path / "out")
    assert [path.name for path in theirs.iterdir()] == ["all.flac"]
    assert (theirs / "all.flac").read_text() == "a person's own"
    assert list(contents(tmp_path / "out").values()) == [1]


def test_a_copied_root_keeps_its_songs(tmp_path):
    root = tmp_path / "root"
    make_song(root / "songs" / "a.wav", 1)
    separate_all(Copier(), [root / "songs" / "a.wav"], root / "separated")
    shutil.copytree(root, tmp_path / "copy", copy_function=shutil.copyfile)  # with other dates
    copier = Copier()
    made = separate_all(copier, [tmp_path / "copy" / "songs" / "a.wav"], tmp_path / "copy" / "separated")
    assert titles(made) == ["a"] and statuses(made) == ["up to date"] and not copier.separated


def test_a_song_replaced_by_one_as_large_is_separated_again(tmp_path):
    path = make_song(tmp_path / "a.wav", 1)
    separate_all(Copier(), [path], tmp_path / "out")
    date = path.stat().st_mtime_ns
    make_song(path, 2)
    os.utime(path, ns=(date, date + 10**6))
    separate_all(Copier(), [path], tmp_path / "out")
    assert contents(tmp_path / "out") == {"a": 2}


def test_a_truncated_file_is_made_again(tmp_path):
    path = make_song(tmp_path / "a.wav", 1)
    separate_all(Copier(), [path], tmp_path / "out")
    file = tmp_path / "out" / "a" / "all.flac"
    file.write_bytes(file.read_bytes()[:-9])
    assert statuses(separate_all(Copier(), [path], tmp_path / "out")) == ["ok"]
    assert contents(tmp_path / "out") == {"a": 1}


def test_files_of_other_settings_are_removed_but_no_one_elses(tmp_path):
    path = make_song(tmp_path / "a.wav", 1)
    separate_all(Copier(), [path], tmp_path / "out")
    (tmp_path / "out" / "a" / "my mix.flac").touch()
    separate_all(Copier(), [path], tmp_path / "out", file_format="wav")
    assert {file.name for file in (tmp_path / "out" / "a").iterdir()} == {"all.wav", "my mix.flac", RECORD}


@pytest.mark.parametrize("listed", ["../../victim.flac", "/victim.flac", "..\\victim.flac", "mine.txt", RECORD])
def test_a_record_cannot_name_files_elsewhere(tmp_path, listed):
    path = make_song(tmp_path / "a.wav", 1)
    make_song(tmp_path / "victim.flac", 2)
    separate_all(Copier(), [path], tmp_path / "out")
    record = tmp_path / "out" / "a" / RECORD
    record.write_text(json.dumps(json.loads(record.read_text()) | {"files": {"all": listed}}))
    with pytest.raises(MissingError):
        files_of(tmp_path / "out" / "a")
    separate_all(Copier(), [path], tmp_path / "out", file_format="wav")
    assert (tmp_path / "victim.flac").exists() and record.exists()


def test_what_a_killed_run_left_is_gone_after_the_next(tmp_path):
    path = make_song(tmp_path / "a.wav", 1)
    for before in ("killed", "complete"):
        (tmp_path / "out" / "a").mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / "a" / ".part-elsewhere-1-all.flac").touch()
        assert statuses(separate_all(Copier(), [path], tmp_path / "out")) == [
            {"killed": "ok", "complete": "up to date"}[before]
        ]
        assert {file.name for file in (tmp_path / "out" / "a").iterdir()} == {"all.flac", RECORD}


@pytest.mark.full
def test_separation_killed_at_any_moment_ends_in_the_same_files(tmp_path):
    path = make_song(tmp_path / "a.wav", 1, 20 * 44100)
    imports = "from pathlib import Path; from muscomp_lib.models import pretrained; from muscomp_lib.separation import "
    imports += "Separator; from muscomp_lib.separation.folder import separate_all"
    work = f"separate_all(Separator(pretrained.FOLDER), [Path({str(path)!r})], Path({str(tmp_path)!r}) / {{!r}})"
    lasts = killing.run(imports, work.format("undisturbed"))
    killing.run_and_kill(imports, work.format("out"), lasts)
    assert killing.snapshot(tmp_path / "out") == killing.snapshot(tmp_path / "undisturbed")


def test_a_song_too_large_for_the_disk_leaves_nothing(separator, album, tmp_path):
    (disk := tmp_path / "disk").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(disk)]
    mounted = sys.platform == "linux" and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    require(mounted, "a tiny disk can be mounted by root on Linux only")
    try:
        with pytest.raises(DiskFullError):
            separate_all(separator, album[:1], disk / "out")  # two files of 60 kB, both written at their ends
        assert list((disk / "out").iterdir()) == []
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_song_that_fails_keeps_the_files_it_had(tmp_path):
    path = make_song(tmp_path / "a.wav", 1)
    separate_all(Copier(), [path], tmp_path / "out")
    before = dates(tmp_path / "out")
    failing = Copier()
    failing.identity = {"folder": "another"}
    failing.separate_file = lambda *_, **__: (_ for _ in ()).throw(AudioError("broken"))
    with pytest.raises(AudioError, match="broken"):
        separate_all(failing, [path], tmp_path / "out")
    assert dates(tmp_path / "out").keys() == before.keys() and contents(tmp_path / "out") == {"a": 1}
    assert statuses(separate_all(Copier(), [path], tmp_path / "out")) == ["up to date"]
    with pytest.raises(AudioError, match="broken"):
        separate_all(failing, [make_song(tmp_path / "b.wav", 2)], tmp_path / "out")
    assert [folder.name for folder in (tmp_path / "out").iterdir()] == ["a"], "of a new song nothing is left"


def test_an_out_that_is_a_file_is_one_error(tmp_path):
    (tmp_path / "out").touch()
    paths = [make_song(tmp_path / name, 1) for name in ("a.wav", "b.wav")]
    with pytest.raises(MusCompError, match=r"The folder .*out cannot be used"):
        separate_all(Copier(), paths, tmp_path / "out")


def test_a_folder_knows_its_song_and_excerpt(tmp_path):
    path = make_song(tmp_path / "songs" / "a.wav", 1, 44100)
    (name,) = titles(separate_all(Copier(), [path], tmp_path / "out", seconds=0.5))
    assert song_of(tmp_path / "out" / name) == (path, 0.5)
    path.unlink()
    assert song_of(tmp_path / "out" / name) == (None, 0.5)
    assert song_of(tmp_path / "out") == (None, None)


def test_a_missing_song_is_named(tmp_path):
    with pytest.raises(MissingError, match=r"none\.wav is not there"):
        separate_all(Copier(), [tmp_path / "none.wav"], tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_second_run_on_a_song_waits_for_the_first(tmp_path):
    path = make_song(tmp_path / "a.wav", 1)
    separate_all(Copier(), [path], tmp_path / "out")
    second = threading.Thread(target=separate_all, args=(Copier(), [path], tmp_path / "out"))
    with locked(tmp_path / "out" / "a"):
        second.start()
        second.join(0.2)
        assert second.is_alive()
    second.join(10)
    assert not second.is_alive() and contents(tmp_path / "out") == {"a": 1}


def test_a_record_of_an_earlier_version_keeps_its_folder(tmp_path):
    path = make_song(tmp_path / "a.wav", 1)
    separate_all(Copier(), [path], tmp_path / "out")
    record, file = tmp_path / "out" / "a" / RECORD, path.stat()
    song = {"name": "a.wav", "bytes": file.st_size, "modified": file.st_mtime_ns}
    old = {"song": song, "model": {}, "options": {"seconds": None}, "files": {"all": "all.flac"}}
    record.write_text(json.dumps(old))
    assert files_of(tmp_path / "out" / "a") == {"all": tmp_path / "out" / "a" / "all.flac"}
    separate_all(Copier(), [make_song(tmp_path / "other" / "a.wav", 2, 600)], tmp_path / "out")
    assert contents(tmp_path / "out")["a"] == 1
    assert titles(separate_all(Copier(), [path], tmp_path / "out")) == ["a"]
    assert len(contents(tmp_path / "out")) == 2


# ---- notes ----


class Stenographer:
    """Stands for a transcriber: each instrument plays one note."""

    def __init__(self):
        self.identity, self.transcribed = {"folder": "stenographer"}, []

    def notes(self, _, instrument, tuning):
        self.transcribed.append(instrument.name)
        return [Note(0.1, 0.2, 60, 0.5)]


@pytest.fixture
def piano(tmp_path):
    """The folder of a separated song whose one file, `all`, is a piano by the settings that come with it."""
    separate_all(Copier(), [make_song(tmp_path / "a.wav", 1, 44100)], tmp_path / "out")
    return tmp_path / "out" / "a", transcription.Settings(made_of={"all": ["piano"]})


def test_notes_are_written_once_for_the_same_files_and_settings(piano):
    (folder, settings), transcriber = piano, Stenographer()
    assert write_notes(folder, settings, transcriber) == [folder / "a.mid"]
    assert [track.name for track in midi_of(folder).instruments] == ["all"]
    for again in (settings, settings.replace(quantise="1/4"), settings.replace(quantise="1/4")):
        write_notes(folder, again, transcriber)
    assert transcriber.transcribed == ["piano", "piano"]
    (folder / "a.mid").write_bytes(b"")
    assert write_notes(folder, again, transcriber, score=True) == [folder / "a.mid", folder / "a.musicxml"]
    assert write_notes(folder, again, transcriber) == [folder / "a.mid"] and (folder / "a.musicxml").is_file()
    assert transcriber.transcribed == ["piano"] * 3


def test_notes_that_were_corrected_are_not_replaced(piano, tmp_path, caplog):
    (folder, settings), transcriber = piano, Stenographer()
    write_notes(folder, settings, transcriber)
    for edit in (b"mine", b"mine, too"):
        (folder / "a.mid").write_bytes(edit)
        write_notes(folder, settings, transcriber)
        assert (folder / "a.mid").read_bytes() == edit and not caplog.text
    write_notes(folder, settings.replace(quantise="1/4"), transcriber)
    assert (folder / "a (changed 1).mid").read_bytes() == b"mine, too"
    assert "It is kept as a (changed 1).mid" in caplog.text and midi_of(folder).instruments
    (folder / "a.mid").write_bytes(b"again")
    separate_all(Copier(), [tmp_path / "a.wav"], tmp_path / "out", file_format="wav")
    assert (folder / "a (changed 2).mid").read_bytes() == b"again"


def test_notes_of_other_files_go_with_them(piano, tmp_path):
    (folder, settings), transcriber = piano, Stenographer()
    write_notes(folder, settings, transcriber, score=True)
    separate_all(Copier(), [tmp_path / "a.wav"], tmp_path / "out", file_format="wav")
    assert {file.name for file in folder.iterdir()} == {"all.wav", RECORD} and midi_of(folder) is None
    write_notes(folder, settings, transcriber)
    assert (folder / "a.mid").is_file() and transcriber.transcribed == ["piano"] * 2
    assert statuses(separate_all(Copier(), [tmp_path / "a.wav"], tmp_path / "out", file_format="wav")) == ["up to date"]


def test_a_song_without_a_known_instrument_keeps_no_notes(piano):
    folder, _ = piano
    (folder / "a.mid").touch()  # of an earlier version, which kept no record of it
    assert write_notes(folder, transcription.Settings(), Stenographer()) == []
    assert {file.name for file in folder.iterdir()} == {"all.flac", RECORD}


def test_what_follows_a_song_fails_without_its_files(tmp_path, caplog):
    def fail(folder):
        raise AudioError(f"{folder.name}: no notes")

    paths = [make_song(tmp_path / name, number, 600) for number, name in enumerate(("a.wav", "b.wav"), 1)]
    made = separate_all(Copier(), paths, tmp_path / "out", then=fail)
    assert statuses(made) == ["failed", "failed"] and [song.note for song in made] == ["a: no notes", "b: no notes"]
    assert contents(tmp_path / "out") == {"a": 1, "b": 2}


def test_the_models_configuration_is_known_from_the_record(separator, album, tmp_path):
    separate_all(separator, album[:1], tmp_path / "out")
    assert config_of(tmp_path / "out" / "a") == separator.config
    assert config_of(tmp_path) == {"muscomp": {"taxonomy": None}}
