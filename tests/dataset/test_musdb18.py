import json
import os
import shutil

import numpy as np
import pytest
import soundfile
from fixtures.encoded import encode
from fixtures.killing import run, run_and_kill, snapshot, whole_or_absent

from muscomp_lib import audio, tables
from muscomp_lib.core.errors import MissingError, SettingError
from muscomp_lib.core.files import remove
from muscomp_lib.core.root import open_root
from muscomp_lib.dataset import musdb18
from muscomp_lib.models.config import read_config

SETTINGS = tables.Settings(instruments=musdb18.INSTRUMENTS, crop_frames=64)
HOSTILE = ["-n 'quoted', \"doubly\" & more", "Beyoncé – 100% $HOME; 東京 #1", "NA", "100%d {x} [y]"]
PITCHES = {"mixture": 100, "drums": 220, "bass": 330, "other": 440, "vocals": 550}  # Hz; in the order of MUSDB18


@pytest.fixture
def root(tmp_path):
    return open_root(tmp_path / "root")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "musdb18"


@pytest.fixture(scope="module")
def stem_file(tmp_path_factory):
    """A .stem.mp4 of 2.5 s: a cover picture, and five AAC streams, each a tone of its own."""
    return write_stems(tmp_path_factory.mktemp("stems") / f"song{musdb18.STEM_SUFFIX}", PITCHES.values())


def write_stems(path, pitches):
    time = np.arange(round(2.5 * audio.SAMPLE_RATE))[:, None] / audio.SAMPLE_RATE
    tones = [np.repeat(0.125 * np.sin(2 * np.pi * pitch * time), 2, axis=1) for pitch in pitches]
    return encode(path, *tones, picture=True, movflags="faststart")


def write_hq(folder, seconds=2.5, seed=0, level=0.2, **changes):
    """A song of MUSDB18-HQ; `changes` replace a file's waveform (None: leave it out)."""
    rng = np.random.default_rng(seed)
    count = round(seconds * audio.SAMPLE_RATE)
    files = {name: rng.uniform(-level, level, (count, 2)).astype(np.float32) for name in musdb18.INSTRUMENTS}
    files["mixture"] = sum(files.values())
    for name, waveform in {**files, **changes}.items():
        if waveform is not None:
            audio.write(folder / f"{name}.wav", waveform, audio.SAMPLE_RATE)
    return files


def place_stems(stem_file, folder, name):
    folder.mkdir(parents=True, exist_ok=True)
    return shutil.copy(stem_file, folder / f"{name}{musdb18.STEM_SUFFIX}")


def read(song):
    """The files of a prepared song, int16, after looking at their form."""
    sounds = {}
    for name in ("mix", *musdb18.INSTRUMENTS):
        assert soundfile.info(song / f"{name}.flac").subtype == "PCM_16"
        sounds[name], rate = audio.read(song / f"{name}.flac", dtype="int16")
        assert rate == 44100 and sounds[name].shape == (len(sounds["mix"]), 2)
    return sounds


def assert_sums(song):
    sounds = read(song)
    np.testing.assert_array_equal(sum(sounds[name].astype(int) for name in musdb18.INSTRUMENTS), sounds["mix"])


def notes(made):
    return dict(zip(made["track"], made["note"], strict=True))


def partitions(made):
    return dict(zip(made["track"], made["partition"], strict=True))


def test_each_stream_becomes_its_instrument_and_the_mix_their_sum(root, folder, stem_file):
    place_stems(stem_file, folder / "test", "A - B")
    made = musdb18.prepare(root, folder, SETTINGS, workers=1)
    assert made.to_dict("records") == [
        {"track": "A - B", "partition": "test", "source": "test/A - B.stem.mp4", "note": ""}
    ]
    song = root.prepared / "test" / "A - B"
    assert_sums(song)
    for name, waveform in read(song).items():
        if name == "mix":
            continue
        spectrum = np.abs(np.fft.rfft(waveform[:88200, 0] * np.hanning(88200)))
        assert np.argmax(spectrum) / 2 == pytest.approx(PITCHES[name], abs=1)


def test_the_files_of_musdb18_hq_are_kept_bit_by_bit(root, folder):
    given = write_hq(folder / "train" / "A - B")
    musdb18.prepare(root, folder, SETTINGS, workers=1)
    song = root.prepared / "train" / "A - B"
    assert_sums(song)
    for name in musdb18.INSTRUMENTS:
        np.testing.assert_array_equal(read(song)[name], audio.to_int16(given[name]))


def test_where_the_sum_would_clip_all_files_become_quieter_alike(root, folder):
    given = write_hq(folder / "train" / "Loud", level=0.9)
    musdb18.prepare(root, folder, SETTINGS, workers=1)
    assert_sums(root.prepared / "train" / "Loud")
    sounds = read(root.prepared / "train" / "Loud")
    gains = [np.std(sounds[name]) / np.std(given[name]) for name in musdb18.INSTRUMENTS]
    assert np.abs(sounds["mix"].astype(int)).max() <= audio.to_gain(-1.0) * 32768
    assert np.ptp(gains) < 1e-3 * np.mean(gains)


def test_other_rates_and_mono_become_44100_hz_and_two_channels(root, folder):
    song = folder / "train" / "Odd"
    song.mkdir(parents=True)
    for name in musdb18.STREAMS:
        soundfile.write(song / f"{name}.wav", np.sin(np.arange(55125) / 20) / 10, 22050, subtype="PCM_24")
    musdb18.prepare(root, folder, SETTINGS, workers=1)
    assert_sums(root.prepared / "train" / "Odd")
    assert len(read(root.prepared / "train" / "Odd")["mix"]) == 110250


def test_of_both_forms_side_by_side_the_better_is_used(root, folder, stem_file):
    place_stems(stem_file, folder / "train", "Both")
    place_stems(stem_file, folder / "train", "Stems")
    given = write_hq(folder / "train" / "Both")
    made = musdb18.prepare(root, folder, SETTINGS, workers=1)
    assert sorted(made["source"]) == ["train/Both", "train/Stems.stem.mp4"]
    both = root.prepared / partitions(made)["Both"] / "Both"
    np.testing.assert_array_equal(read(both)["bass"], audio.to_int16(given["bass"]))


def test_the_songs_that_usually_validate_do_so(root, folder):
    usual = ["Leaf - Summerghost", "Johnny Lokke - Promises & Lies"]
    for name in [*usual, "Another - One", "And - One More"]:
        write_hq(folder / "train" / name, seconds=0.1)
    write_hq(folder / "test" / "ANiMAL - Rockshow", seconds=0.1)  # never in MUSDB18: what tests does nothing else
    made = partitions(musdb18.prepare(root, folder, SETTINGS, workers=1))
    assert sorted(name for name, partition in made.items() if partition == "validation") == sorted(usual)
    assert made["ANiMAL - Rockshow"] == "test"
    assert len(musdb18.VALIDATION) == 14


def test_without_those_songs_the_seed_draws(root, folder):
    for number in range(14):
        write_hq(folder / "train" / f"Song {number}", seconds=0.1)
    drawn = []
    for seed in (0, 0, 1):
        settings = tables.Settings(instruments=musdb18.INSTRUMENTS, seed=seed)
        made = partitions(musdb18.prepare(root, folder, settings, workers=1))
        drawn.append({name for name, partition in made.items() if partition == "validation"})
        there = [path.name for path in root.prepared.glob("*/*")]
        assert sorted(there) == sorted(made)  # a song that went to another partition is not left in the first
        assert {path.name for path in (root.prepared / "validation").iterdir()} == drawn[-1]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0]) == 2


def test_the_songs_become_tables_and_a_configuration_that_reads_back(root, folder, stem_file):
    place_stems(stem_file, folder / "train", HOSTILE[0])
    for name in HOSTILE[1:]:
        write_hq(folder / "train" / name)
    write_hq(folder / "test" / "Tested")
    made = musdb18.prepare(root, folder, SETTINGS)
    assert not any(made["note"])
    written, problems = tables.write(root, SETTINGS)
    assert problems.empty
    assert {partition: len(table) for partition, table in written.items()} == {"train": 3, "validation": 1, "test": 1}
    for table in written.values():
        assert all((root.path / path).is_file() for column in table.columns[:-1] for path in table[column])
    assert {path.split("/")[2] for table in written.values() for path in table["mix_path"]} == {*HOSTILE, "Tested"}
    found = read_config(tables.config(root, SETTINGS))
    assert found["instrument_list"] == ["vocals", "drums", "bass", "other"]
    assert found["muscomp"]["taxonomy"] is None


def test_a_song_with_a_changed_file_is_made_again(root, folder):
    for name in ("A", "B"):
        write_hq(folder / "test" / name)
    song, other = (root.prepared / "test" / name for name in ("A", "B"))
    musdb18.prepare(root, folder, SETTINGS, workers=1)
    for change in (
        lambda: write_hq(folder / "test" / "A", seed=1),
        lambda: (song / "bass.flac").write_bytes(b"damaged"),
    ):
        change()
        before = song.stat().st_ino, other.stat().st_ino
        musdb18.prepare(root, folder, SETTINGS, workers=1)
        assert song.stat().st_ino != before[0] and other.stat().st_ino == before[1]
        assert_sums(song)


def test_a_name_that_is_no_text_is_written_to_tables(root, folder):
    write_hq(folder / "train" / "plain")
    write_hq(folder / "train" / os.fsdecode(b"caf\xe9"))
    made = musdb18.prepare(root, folder, SETTINGS, workers=1)
    assert sorted(made["track"]) == ["caf?", "plain"] and not any(made["note"])
    assert tables.write(root, SETTINGS)[1].empty


def test_an_undecodable_song_is_left_out_with_the_reason(root, folder, stem_file):
    train, whole = folder / "train", stem_file.read_bytes()
    write_hq(train / "Good")
    for name, held in {"Cut": whole[: len(whole) * 3 // 4], "Empty": b"", "Text": b"not music" * 99}.items():
        (train / f"{name}.stem.mp4").write_bytes(held)
    write_stems(train / "Three.stem.mp4", list(PITCHES.values())[:3])
    write_hq(train / "Absent", bass=None)
    write_hq(train / "Uneven", drums=np.zeros((44100, 2), np.float32))
    write_hq(train / "Infinite")
    soundfile.write(train / "Infinite" / "bass.wav", np.full((110250, 2), np.inf), 44100, subtype="FLOAT")
    made = musdb18.prepare(root, folder, SETTINGS, workers=1)
    told = notes(made)
    assert told.pop("Good") == ""
    assert "Cut.stem.mp4 is cut short" in told["Cut"]
    assert "cannot be read as audio" in told["Empty"] and "cannot be read as audio" in told["Text"]
    assert "it has 3 sound tracks" in told["Three"]
    assert "bass.wav is not there" in told["Absent"]
    assert "differ in length" in told["Uneven"] and "'drums': 44100" in told["Uneven"]
    assert "bass holds NaN or infinite samples" in told["Infinite"]
    assert len(told) == 7
    assert [path.name for path in root.prepared.glob("*/*")] == ["Good"]


def test_prepared_songs_are_kept_and_remade_after_another_download(root, folder):
    for name in ("Same", "Other"):
        write_hq(folder / "train" / name)
    made = musdb18.prepare(root, folder, SETTINGS, workers=1)
    places = {name: root.prepared / partition / name for name, partition in partitions(made).items()}
    before = {name: (place / "mix.flac").stat().st_ino for name, place in places.items()}
    write_hq(folder / "train" / "Other", seconds=3.0)
    musdb18.prepare(root, folder, SETTINGS, workers=1)
    after = {name: (place / "mix.flac").stat().st_ino for name, place in places.items()}
    assert after["Same"] == before["Same"]
    assert len(read(places["Other"])["mix"]) == 3 * 44100


def test_songs_gone_from_the_data_set_are_removed_nothing_else(root, folder):
    for name in ("Stays", "Goes", "Goes too"):
        write_hq(folder / "train" / name)
    musdb18.prepare(root, folder, SETTINGS, workers=1)
    (own := root.prepared / "train" / "My own").mkdir()
    for name in ("Goes", "Goes too"):
        shutil.rmtree(folder / "train" / name)
    musdb18.prepare(root, folder, SETTINGS, workers=1)
    assert sorted(path.name for path in root.prepared.glob("*/*")) == ["My own", "Stays"]
    assert own.is_dir()


def test_a_root_with_slakh_is_refused(root, folder):
    write_hq(folder / "train" / "A")
    recipe = root.prepared / "train" / "Track00001" / "recipe.json"
    recipe.parent.mkdir(parents=True)
    recipe.write_text(json.dumps({"frames": 1, "files": {"Violin": {"stems": []}}}))
    with pytest.raises(
        SettingError, match=r"holds Slakh \(prepared/train/Track00001/recipe\.json.*another folder as root"
    ):
        musdb18.prepare(root, folder, SETTINGS)
    remove(recipe.parent)
    (root.tables / "tracks.csv").touch()
    with pytest.raises(SettingError, match=r"tables/tracks\.csv"):
        musdb18.prepare(root, folder, SETTINGS)
    assert list(root.prepared.glob("*/A")) == []


def test_a_folder_without_songs_is_reported(root, folder):
    (folder / "train" / "__MACOSX").mkdir(parents=True)
    (folder / "train" / "._A.stem.mp4").touch()
    with pytest.raises(MissingError, match=r"no song of MUSDB18 in .*musdb18\. Give the folder that holds `train`"):
        musdb18.prepare(root, folder, SETTINGS)
    with pytest.raises(MissingError, match="no song"):
        musdb18.prepare(root, folder / "nowhere", SETTINGS)


def test_killed_and_restarted_at_any_moment_songs_are_the_same(tmp_path, folder):
    for number in range(6):
        write_hq(folder / "train" / f"Song {number}", seed=number)
    imports = "from muscomp_lib import open_root, tables\nfrom muscomp_lib.dataset import musdb18"

    def work(root):
        settings = "tables.Settings(instruments=musdb18.INSTRUMENTS)"
        return f"musdb18.prepare(open_root({str(root)!r}), {str(folder)!r}, {settings}, workers=1)"

    lasts = run(imports, work(tmp_path / "whole"))
    whole = snapshot(tmp_path / "whole")
    assert len(whole) == 6 * 6
    again = tmp_path / "again"

    def check():
        assert whole_or_absent(again, whole)

    run_and_kill(imports, work(again), lasts, after_each=check)
    assert snapshot(again) == whole
