"""Songs that are made and songs that are virtual hold the same samples, and nothing else tells them apart."""

import numpy as np
import pytest
from fixtures.songs_to_fill import NAMES, ONE, copy_of, digests, with_own_slakh
from fixtures.songs_to_fill import prepared as folders
from fixtures.tiny_slakh import truncate, write_track

from muscomp_lib import audio, reserve, slakh, tables
from muscomp_lib.core.errors import AudioError, MissingError, SettingError
from muscomp_lib.core.root import open_root
from muscomp_lib.dataset import library as prepared
from muscomp_lib.dataset import mixing, song_table
from muscomp_lib.separation import songs
from muscomp_lib.slakh import index_tables
from muscomp_lib.spleeter import checks
from muscomp_lib.training import batches as dataset

VIRTUAL = reserve.Settings(workers=1, virtual=True)
CONFIG = {"mix_name": "mix", "instrument_list": [*NAMES, "other"], "sample_rate": 44100}


@pytest.fixture
def virtual(root):
    reserve.fill(root, VIRTUAL)
    return root


def write_tables(root):
    return tables.write(root, tables.Settings(crop_frames=64, sum_checks=None))


def test_a_virtual_song_is_table_rows_without_audio_files(virtual, filled):
    assert not list(virtual.prepared.rglob("*.*"))
    assert prepared.recipes_path(virtual).exists()
    for name in ("tracks.csv", "synthesis.csv"):
        assert (virtual.tables / name).read_bytes() == (filled.tables / name).read_bytes()


def test_virtual_files_equal_real_files_sample_for_sample(virtual, filled):
    library, real = prepared.Library(virtual), prepared.Library(filled)
    dice = np.random.default_rng(0)
    for partition in ("train", "validation", "test"):
        assert library.songs(partition) == real.songs(partition)
        for files in real.songs(partition).values():
            assert set(files) == {"mix", *NAMES, "other"}
            for path in files.values():
                whole, _ = prepared.read(real.file(path), dtype="int16")
                np.testing.assert_array_equal(prepared.read(library.file(path), dtype="int16")[0], whole)
                start, frames = (int(number) for number in dice.integers(len(whole), size=2))
                part, rate = prepared.read(library.file(path), start, frames)
                np.testing.assert_array_equal(part, audio.to_float(whole[start : start + frames]))
                assert prepared.info(library.file(path)) == audio.info(real.file(path))
                assert rate == 44100


@pytest.mark.parametrize("form", [{"sample_rate": 22050, "channels": 1}, {"sample_rate": 48000}])
def test_also_where_stems_have_another_rate(tmp_path, form):
    made, virtual = (open_root(tmp_path / name) for name in ("made", "virtual"))
    for number in range(4):
        stems = {"S00": {"program": 40, "frequency": 300 + number}, "S01": {"program": 34 if number % 2 else 128}}
        write_track(made.slakh, "", f"Track{number:05d}", stems, suffix=".wav", rate=16000)
    virtual.slakh.rmdir()
    virtual.slakh.symlink_to(made.slakh)
    for its_root, settings in ((made, {}), (virtual, {"virtual": True})):
        slakh.index(its_root)
        reserve.fill(its_root, reserve.Settings(workers=1, **form, **settings))
    library = prepared.Library(virtual)
    for partition in ("train", "validation", "test"):
        for files in prepared.Library(made).songs(partition).values():
            for path in files.values():
                whole, rate = audio.read(made.path / path, dtype="int16")
                assert (rate, whole.shape[1]) == (form["sample_rate"], form.get("channels", 2))
                part, _ = prepared.read(library.file(path), 1000, 5000, dtype="int16")
                np.testing.assert_array_equal(part, whole[1000:6000])
    assert (reserve.check(made, workers=1)["note"] == "").all()


def test_training_reads_the_same_examples_from_either(virtual, filled, tmp_path):
    made = copy_of(filled, tmp_path / "made")
    reserve.fill(made, ONE)
    batches = []
    for its_root in (made, virtual):
        write_tables(its_root)
        its_songs = song_table.read_songs(its_root, its_root.tables / "train.csv", CONFIG)
        config = {**CONFIG, "frame_length": 4096, "frame_step": 1024, "F": 256, "batch_size": 2, "random_seed": 3}
        config["muscomp"] = {"crop_frames": 16}
        batches.append(dataset.Examples(its_songs, config, 1, remix=True).batch(0))
    for made_array, virtual_array in zip(*batches, strict=True):
        assert made_array.any()
        np.testing.assert_array_equal(made_array, virtual_array)


def test_notebook_03_writes_the_same_tables_from_either(virtual, filled, tmp_path):
    made = copy_of(filled, tmp_path / "made")
    reserve.fill(made, ONE)
    for its_root in (made, virtual):
        _, problems = write_tables(its_root)
        assert problems.empty
    for name in ("train.csv", "validation.csv", "test.csv"):
        assert (made.tables / name).read_bytes() == (virtual.tables / name).read_bytes()


def test_a_virtual_song_is_written_when_notebook_05_separates_it(virtual, filled):
    (path,) = songs.choose(None, virtual)
    assert path.is_file() and path.parent.parent.name == "test"
    same = filled.path / path.relative_to(virtual.path)
    assert path.read_bytes() == same.read_bytes()


def test_making_the_songs_ends_their_being_virtual(virtual, filled):
    reserve.fill(virtual, ONE)
    assert not prepared.recipes_path(virtual).exists()
    assert digests(virtual) == digests(filled)


def test_an_unreadable_song_is_left_out_until_its_stem_returns(virtual, indexed):
    with_own_slakh(virtual, indexed)
    recipes = prepared.read_recipes(virtual)
    partition, track = next(key for key in recipes if key[0] == "train")
    victim = virtual.slakh / "train" / track / "stems" / "S07.flac"
    whole = victim.read_bytes()
    truncate(victim)
    for journal in virtual.journal.iterdir():
        journal.unlink()
    reserve.fill(virtual, VIRTUAL)
    assert (partition, track) not in prepared.read_recipes(virtual)
    note = index_tables.read(virtual)[1].set_index("track").loc[track, "note"]
    assert "left out" in note and "S07.flac is cut short" in note
    victim.write_bytes(whole)
    reserve.fill(virtual, VIRTUAL)
    assert prepared.read_recipes(virtual) == recipes


def test_the_gain_of_a_virtual_song_follows_its_stems(virtual, indexed):
    with_own_slakh(virtual, indexed)
    recipes = prepared.read_recipes(virtual)
    partition, track = next(iter(recipes))
    path = next(virtual.slakh.glob(f"*/{track}/stems/S00.flac"))
    audio.write(path, np.sign(audio.read(path)[0]), 44100)
    reserve.fill(virtual, VIRTUAL)
    changed = {key for key, recipe in prepared.read_recipes(virtual).items() if recipe["gain"] != recipes[key]["gain"]}
    assert changed == {(partition, track)}


def test_a_path_without_a_recipe_is_reported_with_a_remedy(virtual):
    with pytest.raises(MissingError, match=r"Track77777.*recipes\.csv has no such song\. Run notebooks 02 and 03"):
        prepared.Library(virtual).file("prepared/train/Track77777/mix.flac")


def test_wav_and_mono_are_as_exact_as_flac_and_stereo(root):
    reserve.fill(root, reserve.Settings(workers=1, limit=1, file_format="wav", channels=1))
    for folder in folders(root):
        assert {path.suffix for path in folder.iterdir()} == {".wav", ".json"}
        assert audio.info(folder / "mix.wav").channels == 1
        parts = [audio.read(folder / f"{name}.wav", dtype="int16")[0].astype(int) for name in (*NAMES, "other")]
        np.testing.assert_array_equal(sum(parts), audio.read(folder / "mix.wav", dtype="int16")[0])
        assert mixing.check(folder, mixing.read_recipe(folder))["note"] == ""


def test_spleeter_which_reads_files_only_refuses_virtual_songs(virtual):
    with pytest.raises(SettingError, match=r"Spleeter reads files only\. Run notebook 02 with virtual = False"):
        checks.check_table(virtual.tables / "train.csv", CONFIG, virtual)


def test_a_sum_of_virtual_files_is_read_in_parts(virtual):
    library = prepared.Library(virtual)
    path = next(iter(library.songs("train").values()))["mix"].replace("mix", "both")
    both = library.file(path, NAMES[:2])
    parts = [prepared.read(library.file(path.replace("both", name)))[0] for name in NAMES[:2]]
    np.testing.assert_array_equal(prepared.read(both)[0], parts[0] + parts[1])
    np.testing.assert_array_equal(prepared.read(both, 1000, 500)[0], (parts[0] + parts[1])[1000:1500])
    assert prepared.info(both) == prepared.info(library.file(path.replace("both", "mix")))


def test_a_sum_is_read_from_its_own_file_first(filled):
    library = prepared.Library(filled)
    path = filled.path / next(iter(library.songs("train").values()))["mix"]
    both = path.with_name("both.flac")
    assert isinstance(library.file(filled.relative(both), NAMES[:2]), prepared.FileSum)
    assert library.file(filled.relative(both), NAMES[:1]) == path.with_name(f"{NAMES[0]}.flac")
    assert library.file(filled.relative(path), NAMES[:2]) == path


def test_files_of_a_sum_must_have_one_length(tmp_path):
    for name, n_samples in {"a": 100, "b": 101}.items():
        audio.write(tmp_path / f"{name}.wav", np.zeros((n_samples, 2), np.float32), 44100)
    files = [tmp_path / "a.wav", tmp_path / "b.wav"]
    with pytest.raises(AudioError, match=r"b\.wav and .*a\.wav differ in length"):
        prepared.info(prepared.summed(files))
