import json
import os
import shutil

import numpy as np
import pytest
import soundfile
from fixtures.encoded import encode
from fixtures.killing import run, run_and_kill, snapshot, whole_or_absent

from muscomp_lib import audio, reserve, tables
from muscomp_lib.core.errors import MissingError, SettingError
from muscomp_lib.core.files import remove
from muscomp_lib.core.root import open_root
from muscomp_lib.dataset import own_stems, song_table, stem_folders
from muscomp_lib.models.config import read_config

INSTRUMENTS = ["bass", "drums", "vocals", "other"]
STREAMS = ("mixture", "drums", "bass", "other", "vocals")
SETTINGS = tables.Settings(instruments=INSTRUMENTS, crop_frames=64)
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
    return write_stems(tmp_path_factory.mktemp("stems") / f"song{stem_folders.STREAMS_SUFFIXES[0]}", PITCHES.values())


def write_stems(path, pitches):
    time = np.arange(round(2.5 * audio.SAMPLE_RATE))[:, None] / audio.SAMPLE_RATE
    tones = [np.repeat(0.125 * np.sin(2 * np.pi * pitch * time), 2, axis=1) for pitch in pitches]
    return encode(path, *tones, picture=True, movflags="faststart")


def write_hq(folder, seconds=2.5, seed=0, level=0.2, **changes):
    """A song of MUSDB18-HQ; `changes` replace a file's waveform (None: leave it out)."""
    rng = np.random.default_rng([seed, *os.fsencode(folder.name)])
    count = round(seconds * audio.SAMPLE_RATE)
    files = {name: rng.uniform(-level, level, (count, 2)).astype(np.float32) for name in INSTRUMENTS}
    files["mixture"] = sum(files.values())
    for name, waveform in {**files, **changes}.items():
        if waveform is not None:
            audio.write(folder / f"{name}.wav", waveform, audio.SAMPLE_RATE)
    return files


def prepare(root, folder, settings=SETTINGS, workers=1):
    """The table of songs; with one more song, as two are needed to train on."""
    write_hq(folder / "train" / "Companion", seconds=1.6)
    made = own_stems.prepare(root, stem_folders.find(folder), settings, workers=workers)
    return made[made["track"] != "Companion"].reset_index(drop=True)


def songs_of(root):
    return sorted(path.name for path in root.prepared.glob("*/*") if path.name != "Companion")


def place_stems(stem_file, folder, name, suffix=stem_folders.STREAMS_SUFFIXES[0]):
    folder.mkdir(parents=True, exist_ok=True)
    return shutil.copy(stem_file, folder / f"{name}{suffix}")


def read(song):
    """The files of a prepared song, int16, after looking at their form."""
    sounds = {}
    for name in ("mix", *INSTRUMENTS):
        assert soundfile.info(song / f"{name}.flac").subtype == "PCM_16"
        sounds[name], rate = audio.read(song / f"{name}.flac", dtype="int16")
        assert rate == 44100 and sounds[name].shape == (len(sounds["mix"]), 2)
    return sounds


def assert_sums(song):
    sounds = read(song)
    np.testing.assert_array_equal(sum(sounds[name].astype(int) for name in INSTRUMENTS), sounds["mix"])


def notes(made):
    return dict(zip(made["track"], made["note"], strict=True))


def place(root, made, name):
    return root.prepared / partitions(made)[name] / name


def partitions(made):
    return dict(zip(made["track"], made["partition"], strict=True))


@pytest.mark.parametrize("suffix", stem_folders.STREAMS_SUFFIXES)
def test_each_stream_becomes_its_instrument_and_the_mix_their_sum(root, folder, stem_file, suffix):
    place_stems(stem_file, folder / "test", "A - B", suffix)
    made = prepare(root, folder)
    columns = ["track", "partition", "source", "note"]
    assert made[columns].to_numpy().tolist() == [["A - B", "test", f"test/A - B{suffix}", ""]]
    song = root.prepared / "test" / "A - B"
    assert_sums(song)
    for name, waveform in read(song).items():
        if name == "mix":
            continue
        spectrum = np.abs(np.fft.rfft(waveform[:88200, 0] * np.hanning(88200)))
        assert np.argmax(spectrum) / 2 == pytest.approx(PITCHES[name], abs=1)


def test_the_files_of_musdb18_hq_are_kept_bit_by_bit(root, folder):
    given = write_hq(folder / "train" / "A - B")
    song = place(root, prepare(root, folder), "A - B")
    assert_sums(song)
    for name in INSTRUMENTS:
        np.testing.assert_array_equal(read(song)[name], audio.to_int16(given[name]))


def test_where_the_sum_would_clip_all_files_become_quieter_alike(root, folder):
    given = write_hq(folder / "train" / "Loud", level=0.9)
    song = place(root, prepare(root, folder), "Loud")
    assert_sums(song)
    sounds = read(song)
    gains = [np.std(sounds[name]) / np.std(given[name]) for name in INSTRUMENTS]
    assert np.abs(sounds["mix"].astype(int)).max() <= audio.to_gain(-1.0) * 32768
    assert np.ptp(gains) < 1e-3 * np.mean(gains)


def test_where_stems_cancel_each_other_all_stay_below_the_peak(root, folder):
    loud, rest = np.random.default_rng(0).uniform(-0.9, 0.9, (2, 2 * audio.SAMPLE_RATE, 2)).astype(np.float32)
    write_hq(folder / "train" / "Phase", seconds=2.0, level=0.01, bass=loud, drums=0.1 * rest - loud, mixture=None)
    sounds = read(place(root, prepare(root, folder), "Phase"))
    peaks = {name: np.abs(sound.astype(int)).max() for name, sound in sounds.items()}
    assert max(peaks.values()) == pytest.approx(audio.to_gain(-1.0) * 32768, abs=5)
    assert peaks["mix"] < 0.2 * peaks["drums"]


def test_other_rates_and_mono_become_44100_hz_and_two_channels(root, folder):
    song = folder / "train" / "Odd"
    song.mkdir(parents=True)
    for name in STREAMS:
        pitch = PITCHES[name] / 22050 * 2 * np.pi
        soundfile.write(song / f"{name}.wav", np.sin(np.arange(55125) * pitch) / 10, 22050, subtype="PCM_24")
    odd = place(root, prepare(root, folder), "Odd")
    assert_sums(odd)
    assert len(read(odd)["mix"]) == 110250


def test_of_both_forms_side_by_side_the_better_is_used(root, folder, stem_file):
    place_stems(stem_file, folder / "train", "Both")
    place_stems(stem_file, folder / "train", "Stems")
    given = write_hq(folder / "train" / "Both")
    made = prepare(root, folder)
    assert sorted(made["source"]) == ["train/Both", "train/Stems.stem.mp4"]
    both = root.prepared / partitions(made)["Both"] / "Both"
    np.testing.assert_array_equal(read(both)["bass"], audio.to_int16(given["bass"]))


def test_the_songs_that_usually_validate_do_so(root, folder):
    usual = ["Leaf - Summerghost", "Johnny Lokke - Promises & Lies"]
    for name in [*usual, "Another - One", "And - One More"]:
        write_hq(folder / "train" / name, seconds=1.6)
    write_hq(folder / "test" / "ANiMAL - Rockshow", seconds=1.6)  # never in MUSDB18: what tests does nothing else
    made = partitions(prepare(root, folder))
    assert sorted(name for name, partition in made.items() if partition == "validation") == sorted(usual)
    assert made["ANiMAL - Rockshow"] == "test"
    assert len(stem_folders.VALIDATION) == 14


def test_without_those_songs_the_seed_draws(root, folder):
    for number in range(14):
        write_hq(folder / "train" / f"Song {number}", seconds=1.6)
    drawn = []
    for seed in (0, 0, 1):
        settings = SETTINGS.replace(seed=seed)
        made = partitions(prepare(root, folder, settings))
        drawn.append({name for name, partition in made.items() if partition == "validation"})
        assert songs_of(root) == sorted(made)  # a song that went to another partition is not left in the first
        assert {path.name for path in (root.prepared / "validation").iterdir()} - {"Companion"} == drawn[-1]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0]) in (1, 2)  # the companion may be the other


def test_the_songs_become_tables_and_a_configuration_that_reads_back(root, folder, stem_file):
    place_stems(stem_file, folder / "train", HOSTILE[0])
    for name in HOSTILE[1:]:
        write_hq(folder / "train" / name)
    write_hq(folder / "test" / "Tested")
    made = prepare(root, folder)
    assert not any(made["note"])
    written, problems = tables.write(root, SETTINGS)
    assert problems.empty
    assert len(written["test"]) == 1
    for table in written.values():
        assert all((root.path / path).is_file() for column in table.columns[:-1] for path in table[column])
    assert {path.split("/")[2] for table in written.values() for path in table["mix_path"]} == {
        *HOSTILE,
        "Tested",
        "Companion",
    }
    found = read_config(tables.config(root, SETTINGS))
    assert found["instrument_list"] == INSTRUMENTS
    assert found["muscomp"]["taxonomy"] is None


def test_a_song_with_a_changed_file_is_made_again(root, folder):
    for name in ("A", "B"):
        write_hq(folder / "test" / name)
    song, other = (root.prepared / "test" / name for name in ("A", "B"))
    prepare(root, folder)
    for change in (
        lambda: write_hq(folder / "test" / "A", seed=1),
        lambda: (song / "bass.flac").write_bytes(b"damaged"),
    ):
        change()
        before = song.stat().st_ino, other.stat().st_ino
        prepare(root, folder)
        assert song.stat().st_ino != before[0] and other.stat().st_ino == before[1]
        assert_sums(song)


def test_a_name_that_is_no_text_is_written_to_tables(root, folder):
    write_hq(folder / "train" / "plain")
    write_hq(folder / "train" / os.fsdecode(b"caf\xe9"))
    made = prepare(root, folder)
    assert sorted(made["track"]) == ["caf?", "plain"] and not any(made["note"])
    assert songs_of(root) == ["caf?", "plain"]


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
    made = prepare(root, folder)
    told = notes(made)
    assert told.pop("Good") == ""
    assert "Cut.stem.mp4 is cut short" in told["Cut"]
    assert "is empty" in told["Empty"] and "cannot be read as audio" in told["Text"]
    assert "it has 3 sound tracks" in told["Three"]
    assert told.pop("Absent") == ""  # the other song lends it
    assert "drums.wav lasts 1.00 s, the longest stem of the song 2.50 s" in told["Uneven"]
    assert "bass.wav holds NaN or infinite samples" in told["Infinite"]
    assert len(told) == 6
    assert songs_of(root) == ["Absent", "Good"]


def test_a_stem_that_ends_with_its_last_notes_is_shorter(root, folder):
    fade = np.linspace(1, 0, 44100)[:, None].astype(np.float32) ** 2
    write_hq(
        folder / "Faded", drums=0.2 * fade * np.random.default_rng(0).uniform(-1, 1, (44100, 2)).astype(np.float32)
    )
    write_hq(folder / "Cut", drums=np.random.default_rng(0).uniform(-0.2, 0.2, (44100, 2)).astype(np.float32))
    write_hq(folder / "Good")
    made = prepared(root, folder)
    assert (
        made.loc["Faded", "remark"] == "Faded/drums.wav ends 1.5 s before the others" and not made.loc["Faded", "note"]
    )
    assert "drums.wav lasts 1.00 s, the longest stem of the song 2.50 s" in made.loc["Cut", "note"]


def test_prepared_songs_are_kept_and_remade_after_another_download(root, folder):
    for name in ("Same", "Other"):
        write_hq(folder / "train" / name)
    made = prepare(root, folder)
    places = {name: root.prepared / partition / name for name, partition in partitions(made).items()}
    before = {name: (place / "mix.flac").stat().st_ino for name, place in places.items()}
    write_hq(folder / "train" / "Other", seconds=3.0)
    prepare(root, folder)
    after = {name: (place / "mix.flac").stat().st_ino for name, place in places.items()}
    assert after["Same"] == before["Same"]
    assert len(read(places["Other"])["mix"]) == 3 * 44100


def test_songs_gone_from_the_data_set_are_removed_nothing_else(root, folder):
    for name in ("Stays", "Goes", "Goes too"):
        write_hq(folder / "train" / name)
    prepare(root, folder)
    (own := root.prepared / "train" / "My own").mkdir()
    for name in ("Goes", "Goes too"):
        shutil.rmtree(folder / "train" / name)
    prepare(root, folder)
    assert songs_of(root) == ["My own", "Stays"]
    assert own.is_dir()


def test_a_root_with_slakh_is_refused(root, folder):
    write_hq(folder / "train" / "A")
    recipe = root.prepared / "train" / "Track00001" / "recipe.json"
    recipe.parent.mkdir(parents=True)
    recipe.write_text(json.dumps({"frames": 1, "files": {"Violin": {"stems": []}}}))
    with pytest.raises(
        SettingError, match=r"holds Slakh \(prepared/train/Track00001/recipe\.json.*another folder as root"
    ):
        prepare(root, folder)
    remove(recipe.parent)
    (root.tables / "tracks.csv").touch()
    with pytest.raises(SettingError, match=r"tables/tracks\.csv"):
        prepare(root, folder)
    assert list(root.prepared.glob("*/A")) == []


def test_a_folder_without_songs_is_reported(root, folder):
    (folder / "train" / "__MACOSX").mkdir(parents=True)
    (folder / "train" / "._A.stem.mp4").touch()
    with pytest.raises(MissingError, match=r"no song with stems in .*musdb18\. Give the folder whose subfolders"):
        stem_folders.find(folder)
    with pytest.raises(MissingError, match="no song"):
        stem_folders.find(folder / "nowhere")


def test_killed_and_restarted_at_any_moment_songs_are_the_same(tmp_path, folder):
    for number in range(6):
        write_hq(folder / "train" / f"Song {number}", seed=number)
    imports = "from muscomp_lib import open_root, tables\nfrom muscomp_lib.dataset import own_stems, stem_folders"

    def work(root):
        settings = f"tables.Settings(instruments={INSTRUMENTS}, crop_frames=64)"
        stems = f"stem_folders.find({str(folder)!r})"
        return f"own_stems.prepare(open_root({str(root)!r}), {stems}, {settings}, workers=1)"

    lasts = run(imports, work(tmp_path / "whole"))
    whole = snapshot(tmp_path / "whole" / "prepared")
    assert len(whole) == 6 * 6
    again = tmp_path / "again" / "prepared"

    def check():
        assert whole_or_absent(again, whole)

    run_and_kill(imports, work(tmp_path / "again"), lasts, after_each=check)
    assert snapshot(again) == whole


# ---- songs of one's own ----


def write_song(folder, sample_rate=44100, seconds=2.0, subtype="PCM_16", **stems):
    """A song of tones, each with a rhythm of its own: {file name: pitch in Hz, or samples}."""
    folder.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    for name, sound in stems.items():
        if np.isscalar(sound):
            sound = 0.1 * np.sin(2 * np.pi * sound * time) * (np.sin(sound * time) > 0)
        soundfile.write(folder / f"{name}.wav", sound, sample_rate, subtype=subtype)


def prepared(root, folder, **changes):
    stems = stem_folders.find(folder)
    settings = tables.Settings(instruments=stems.instruments(), crop_frames=64, **changes)
    return own_stems.prepare(root, stems, settings, workers=1).set_index("track")


def test_instruments_that_songs_lack_come_from_their_partition(root, folder):
    for number in range(4):
        write_song(folder / "train" / f"Song {number}", drums=100 + number, bass=200 + number)
    write_song(folder / "train" / "Full", drums=110, bass=210, piano=310)
    write_song(folder / "validation" / "Held out", drums=120, bass=220, organ=420)
    made = prepared(root, folder)
    assert made.loc["Song 0", "filled"] == "piano"  # organ is in no song of train
    assert made.loc["Held out", "filled"] == ""
    recipe = json.loads((root.prepared / "train" / "Song 0" / "recipe.json").read_text())
    assert recipe["files"]["piano"]["stems"] == ["train/Full/piano.wav"]
    assert audio.read(root.prepared / "train" / "Song 0" / "piano.flac")[0].any()
    assert not audio.read(root.prepared / "validation" / "Held out" / "piano.flac")[0].any()
    assert not prepared(root, folder, fill=False)["filled"].any()


def test_instruments_that_are_not_named_become_other(root, folder):
    for number in range(3):
        write_song(folder / f"Song {number}", drums=100 + number, bass=200 + number, piano=300 + number)
    stems = stem_folders.find(folder)
    assert stems.instruments(["drums"]) == ["drums", "other"]
    settings = tables.Settings(instruments=stems.instruments(["drums"]), crop_frames=64)
    own_stems.prepare(root, stems, settings, workers=1)
    song = next(root.prepared.glob("*/*"))
    assert sorted(path.stem for path in song.glob("*.flac")) == ["drums", "mix", "other"]
    with pytest.raises(SettingError, match=r"No song in .* has 'drum'. Did you mean 'drums'"):
        stems.instruments(["drum"])


@pytest.mark.parametrize(
    ("rate", "sides"),
    [(44100, (".L", ".R")), (48000, ("_left", "_right")), (44100, ("L", "R")), (44100, (" Lft", " Rt"))],
)
def test_channels_in_files_of_their_own_stay_on_their_sides(root, folder, rate, sides):
    for number in range(3):
        stems = {f"Drums{sides[0]}": 100 + number, f"Drums{sides[1]}": 300 + number, "Bass": 200 + number}
        write_song(folder / f"Song {number}", rate, **stems)
    made = prepared(root, folder)
    song = place(root, made.reset_index(), "Song 1")
    drums, both = (audio.read(song / f"{name}.flac")[0] for name in ("Drums", "Bass"))
    alone = [audio.resample(audio.read(folder / "Song 1" / f"Drums{side}.wav")[0], rate, 44100) for side in sides]
    np.testing.assert_allclose(drums, np.hstack(alone), atol=1e-4)
    np.testing.assert_array_equal(both[:, 0], both[:, 1])


def test_24_bit_stems_with_a_limited_mix_are_prepared(root, folder):
    for number in range(3):
        write_song(folder / f"Song {number}", 48000, subtype="PCM_24", Drums=100 + number, Bass=200 + number)
    for name, gain in (("Song 0", 1.0), ("Song 1", 30.0)):
        total = sum(audio.read(folder / name / f"{stem}.wav")[0] for stem in ("Drums", "Bass"))
        write_song(folder / name, 48000, subtype="PCM_24", Mix=np.tanh(total * gain) if gain > 1 else total)
    made = prepared(root, folder)
    assert not made["note"].any()
    assert made.loc["Song 0", "mix_difference_db"] < -80
    assert -30 < made.loc["Song 1", "mix_difference_db"] < -3
    assert np.isnan(made.loc["Song 2", "mix_difference_db"])
    song = place(root, made.reset_index(), "Song 1")
    files = {name: audio.read(song / f"{name}.flac", dtype="int16") for name in ("mix", "Drums", "Bass")}
    assert {rate for _, rate in files.values()} == {44100}
    np.testing.assert_array_equal(files["Drums"][0].astype(int) + files["Bass"][0], files["mix"][0])


def test_a_backslash_in_a_title_separates_no_folders(root, folder):
    for name in ("AC\\DC", "Another"):
        write_hq(folder / name)
    made = prepared(root, folder)
    assert list(made.index) == ["AC_DC", "Another"] and made.loc["AC_DC", "source"] == "AC\\DC"
    settings = tables.Settings(instruments=INSTRUMENTS, crop_frames=64)
    tables.write(root, settings)
    config = read_config(tables.config(root, settings))
    assert all(song_table.read_songs(root, config[f"{name}_csv"], config) for name in ("train", "validation"))


def test_what_would_spoil_a_training_is_left_out_with_reasons(root, folder):
    for number in range(2):
        write_song(folder / f"Good {number}", drums=100 + number, bass=200 + number, piano=300 + number)
    for name in ("Copy", "Full mix", "Quiet"):
        write_song(folder / name, drums=130, bass=230, piano=np.zeros(88200))
    bass, drums = (audio.read(folder / "Copy" / f"{name}.wav")[0] for name in ("bass", "drums"))
    write_song(folder / "Copy", guitar=0.5 * bass)
    write_song(folder / "Full mix", guitar=330)
    guitar = audio.read(folder / "Full mix" / "guitar.wav")[0]
    write_song(folder / "Full mix", everything=bass + drums + guitar)
    write_song(folder / "Silent", drums=np.zeros(88200), bass=np.zeros(88200))
    write_song(folder / "Surround", drums=np.tile(drums, (1, 6)), bass=np.tile(bass, (1, 2)))
    made = prepared(root, folder)
    found = dict(made["note"])
    assert "guitar is a copy of bass" in found["Copy"]
    assert "everything is the sum of all others" in found["Full mix"]
    assert found["Silent"] == "all of its stems are silent"
    assert found["Quiet"] == "" and made.loc["Quiet", "remark"] == "silent throughout: piano"
    assert found["Surround"] == "Surround/drums.wav has 6 channels. Export all stems in stereo"
    assert sorted(found) == ["Copy", "Full mix", "Good 0", "Good 1", "Quiet", "Silent", "Surround"]


def test_an_instrument_that_is_the_sum_of_some_is_reported(root, folder):
    for name in ("Good", "Better", "Accompanied"):
        stems = write_hq(folder / name)
    accompaniment = 0.9 * (stems["bass"] + stems["drums"] + stems["other"])
    audio.write(folder / "Accompanied/accompaniment.wav", accompaniment, audio.SAMPLE_RATE)
    assert prepared(root, folder).loc["Accompanied", "note"] == (
        "accompaniment is the sum of bass, drums, other. Take it out, or write ignore: [accompaniment] into stems.yaml"
    )


def test_versions_of_a_song_are_never_in_two_partitions(root, folder):
    for number in range(8):
        write_song(folder / f"Song {number}", drums=100 + number, bass=200 + number)
        write_song(folder / f"Song {number}, remix", drums=100 + number, bass=250 + number)
    for seed in range(3):
        made = prepared(root, folder, seed=seed, validation_share=0.4)["partition"]
        assert all(made[f"Song {number}"] == made[f"Song {number}, remix"] for number in range(8))
        assert {"train", "validation", "test"} == set(made)


def test_one_song_of_two_separators_is_never_in_two_partitions(root, folder):
    for number in range(6):
        for model, pitch in (("htdemucs", 100), ("htdemucs_ft", 103)):
            place = folder / model / f"Song {number}"
            write_song(place, seconds=2 + number / 10, drums=pitch + 10 * number, bass=2 * pitch + number)
    made = prepared(root, folder, validation_share=0.4)["partition"]
    assert all(made[f"htdemucs - Song {number}"] == made[f"htdemucs_ft - Song {number}"] for number in range(6))
    assert {"train", "validation", "test"} == set(made)


@pytest.mark.parametrize("forms", [("24 bit", "16 bit"), ("Close", "Room", "Mix_1")])
def test_forms_of_a_song_are_never_in_two_partitions(root, folder, forms):
    for number in range(6):
        for pitch, form in enumerate(forms, start=100):
            place = folder / f"Song {number}" / form
            write_song(place, seconds=2 + number / 10, drums=pitch + 10 * number, bass=200 + pitch + 9 * number)
    made = prepared(root, folder, validation_share=0.4)
    places = made.groupby(made["source"].str.split("/").str[0])["partition"].agg(set)
    assert set(map(len, places)) == {1} and {"train", "validation", "test"} == set.union(*places)


def test_stems_and_multitracks_of_a_song_stay_together(root, folder):
    for number in range(5):
        place = folder / f"Song {number}"
        write_song(place / "Stems", seconds=2 + number / 10, drums=100 + number, bass=200 + number)
        write_song(place / "Multitrack", seconds=2 + number / 10, drums=300 + number, bass=400 + number, keys=500)
    made = prepared(root, folder, validation_share=0.4)["partition"]
    assert all(made[f"Song {number} - Stems"] == made[f"Song {number} - Multitrack"] for number in range(5))


def test_songs_of_one_length_are_no_versions(root, folder):
    for number, name in enumerate(("A/1", "A/2", "A/3", "B/1", "B/2", "B/3")):
        write_song(folder / name, drums=100 + number, bass=200 + number)
    assert {"train", "validation", "test"} == set(prepared(root, folder)["partition"])


def test_one_song_is_too_few_and_the_reasons_are_given(root, folder):
    write_song(folder / "Only", drums=100, bass=200)
    write_song(folder / "Broken", drums=110)
    (folder / "Broken" / "bass.wav").write_bytes(b"nothing")
    with pytest.raises(MissingError, match=r"Of the 2 song.*1 can be used.*two at least.*Broken: .*bass\.wav"):
        prepared(root, folder)
    assert list(root.prepared.glob("*/*")) == []


def test_songs_that_are_called_one_songs_stems_are_reported(root, folder):
    write_song(folder, One=100, Two=200)
    with pytest.raises(MissingError, match="more songs, give each a folder of its own"):
        own_stems.prepare(root, stem_folders.find(folder), SETTINGS, workers=1)


def test_songs_without_a_common_instrument_are_refused(root, folder):
    for number in range(3):
        write_song(folder / f"{number}", **{f"part{number}a": 100, f"part{number}b": 200})
    with pytest.raises(SettingError, match=r"instrument in common \(0: part_0a, part_0b; 1: .* in stems.yaml"):
        own_stems.prepare(root, stem_folders.find(folder), SETTINGS, workers=1)


def test_a_single_instrument_is_refused(root, folder):
    for number in range(2):
        write_song(folder / f"Song {number}", Vocals=100 + number, mix=300)
    with pytest.raises(SettingError, match=r"All stems in .* are Vocals.* their sum as other\.wav"):
        own_stems.prepare(root, stem_folders.find(folder), SETTINGS, workers=1)


def test_songs_shorter_than_an_example_are_left_out(root, folder):
    for number in range(3):
        write_song(folder / f"Song {number}", drums=100 + number, bass=200 + number)
    write_song(folder / "Tiny", seconds=0.5, drums=120, bass=220)
    made = prepared(root, folder)
    assert made.loc["Tiny", "note"] == "it lasts 0.5 s, and a training example takes 1.6 s (crop_frames)"
    assert made.loc["Tiny", "partition"] == "" and {"train", "validation"} <= set(made["partition"])


@pytest.mark.parametrize(("place", "missing"), [("test/Song {}", "train"), ("Song {}", "validation")])
def test_partitions_without_a_song_are_reported(root, folder, place, missing):
    for number in range(3):
        write_song(folder / place.format(number), drums=100, bass=200 + number)
    prepared(root, folder)
    with pytest.raises(MissingError, match=rf"none is left for {missing}: .* stem's samples.*tables/own_stems\.csv"):
        tables.write(root, SETTINGS.replace(instruments=["drums", "bass"]))


def test_mixes_with_more_than_their_stems_are_reported(root, folder, caplog):
    for number in range(2):
        write_song(folder / f"Song {number}", drums=100 + number, bass=200 + number, mix=400)
    prepared(root, folder)
    assert "2 of 2 songs differ from their mix by more than a master does (Song 0: " in caplog.text


def test_stems_are_decoded_once_until_they_change(root, folder, monkeypatch):
    for number in range(2):
        write_song(folder / f"Song {number}", drums=100 + number, bass=200 + number)
    prepared(root, folder)
    examined = []
    original = own_stems._examine
    monkeypatch.setattr(own_stems, "_examine", lambda job: examined.append(job[1].name) or original(job))
    prepared(root, folder)
    assert examined == []
    write_song(folder / "Song 1", drums=150)
    prepared(root, folder)
    assert examined == ["Song 1"]


def test_notebook_02_refuses_a_root_with_own_stems(root, folder):
    for number in range(2):
        write_song(folder / f"Song {number}", drums=100 + number, bass=200 + number)
    prepared(root, folder)
    with pytest.raises(SettingError, match=r"holds the songs of a folder of stems \(tables/own_stems\.csv"):
        reserve.fill(root)


def test_instruments_that_no_song_trains_are_named(root, folder, caplog):
    write_song(folder / "train" / "A", drums=100)
    write_song(folder / "validation" / "B", drums=110, harp=410)
    prepared(root, folder)
    assert "no song that is trained on has harp" in caplog.text
