import json

import numpy as np
import pandas as pd
import pytest
from fixtures.killing import run, run_and_kill, snapshot, whole_or_absent
from fixtures.tiny_slakh import sound, truncate

from muscomp_lib import audio, tables
from muscomp_lib.core import instruments
from muscomp_lib.core.errors import MissingError, SettingError
from muscomp_lib.core.files import remove
from muscomp_lib.core.root import open_root
from muscomp_lib.dataset import library
from muscomp_lib.dataset.song_table import read_songs
from muscomp_lib.models.config import read_config

NAMES = [*instruments.names(), "other"]
SMALL = {"crop_frames": 64}  # 1.6 s


FOUR = ("vocals", "drums", "bass", "other")


@pytest.fixture
def root(tmp_path):
    """A root with one song to validate with, without which nothing can be learned."""
    root = open_root(tmp_path / "root")
    write_song(root, "validation", "Unseen")
    return root


def write_song(
    root, partition, track, seconds=2.0, suffix=".flac", silent=(), names=NAMES, rate=audio.SAMPLE_RATE, channels=2,
    **changes,
):  # fmt: skip
    """A prepared song; `changes` replace an instrument's waveform after the mix was made (None: leave it out)."""
    folder = root.prepared / partition / track
    waves = {}
    for i, name in enumerate(names):
        wave = sound(seconds, frequency=110.0 * (i + 1), level=0.0 if name in silent else 0.03, rate=rate)
        waves[name] = np.repeat(wave, channels, axis=1)
    waves["mix"] = sum(waves.values())
    for name, wave in {**waves, **changes}.items():
        if wave is not None:
            audio.write(folder / f"{name}{suffix}", wave, rate)
    return folder


def reasons(problems):
    return dict(zip(problems["track"], problems["reason"], strict=True))


def test_the_tables_have_spleeters_columns_and_paths_from_the_root(root):
    write_song(root, "train", "Track00002")
    write_song(root, "train", "Track00001")
    write_song(root, "validation", "Track00003", suffix=".wav")
    write_song(root, "test", "Track00004")
    made, problems = tables.write(root, tables.Settings(**SMALL))
    assert problems.empty
    for partition in tables.PARTITIONS:
        read = pd.read_csv(root.tables / f"{partition}.csv")
        assert list(read.columns) == ["mix_path", *(f"{name}_path" for name in NAMES), "duration"]
        assert not read.isna().any().any()
        pd.testing.assert_frame_equal(read, made[partition], check_dtype=False)
        assert all((root.path / path).is_file() for column in read.columns[:-1] for path in read[column])
    assert list(made["train"]["mix_path"]) == [f"prepared/train/Track0000{n}/mix.flac" for n in (1, 2)]
    assert list(made["train"]["duration"]) == [2.0, 2.0]
    assert made["validation"].loc[0, "Violin_path"] == "prepared/validation/Track00003/Violin.wav"


def test_a_dropped_residual_is_no_column(root):
    write_song(root, "train", "Track00001")
    made, problems = tables.write(root, tables.Settings(residual="drop", **SMALL))
    assert problems.empty
    assert "other_path" not in made["train"]


def test_unusable_songs_are_left_out_with_the_reason(root):
    write_song(root, "train", "Good")
    write_song(root, "train", "Absent", Violin=None)
    write_song(root, "train", "Mono", Violin=sound())
    write_song(root, "train", "Slow", rate=22050, channels=1)
    write_song(root, "train", "Longer", Violin=np.zeros((90000, 2), np.int16))
    write_song(root, "train", "Louder", Drums=np.repeat(sound(level=0.1), 2, axis=1))
    write_song(root, "train", "Short", seconds=1.0)
    truncate(write_song(root, "train", "Cut") / "Drums.flac")
    (write_song(root, "train", "Empty") / "Drums.flac").write_bytes(b"")
    made, problems = tables.write(root, tables.Settings(**SMALL))
    assert list(made["train"]["mix_path"]) == ["prepared/train/Good/mix.flac"]
    found = reasons(problems)
    assert found["Absent"].startswith("Violin: no such file")
    assert "Violin has 44100 Hz and 1 channel(s), not 44100 Hz and 2" in found["Mono"]
    assert found["Mono"].endswith("set n_channels = 1")
    assert found["Slow"].endswith("set sample_rate = 22050 and n_channels = 1")
    assert found["Longer"] == "Violin has 90000 samples, its mix 88200"
    assert "do not sum to its mix" in found["Louder"]
    assert "lasts 1.0 s, and a training example takes 1.6 s" in found["Short"]
    assert found["Cut"].startswith("prepared/train/Cut/Drums.flac is cut short")
    assert found["Empty"].startswith("prepared/train/Empty/Drums.flac is empty")
    assert len(found) == 8


def test_a_sum_is_accepted_within_rounding_and_not_beyond(root):
    off = np.repeat(sound(frequency=110.0, level=0.03), 2, axis=1)
    off[:, 1] += 7  # half a step for each of the 13 files, and for their mix
    write_song(root, "train", "Rounded", **{NAMES[0]: off})
    off[5, 0] += 8
    write_song(root, "train", "Track00001", **{NAMES[0]: off})
    _, problems = tables.write(root, tables.Settings(sum_checks=None, **SMALL))
    assert list(reasons(problems)) == ["Track00001"]
    assert "1 of 88200 samples differ" in reasons(problems)["Track00001"]
    assert tables.write(root, tables.Settings(sum_checks=0, **SMALL))[1].empty


def test_the_sum_of_a_dropped_residual_is_looked_for_too(root):
    write_song(root, "train", "Track00001", other=np.zeros((88200, 2), np.int16))
    with pytest.raises(MissingError, match="do not sum"):
        tables.write(root, tables.Settings(residual="drop", **SMALL))


def test_a_short_song_may_still_test(root):
    write_song(root, "train", "Track00001")
    write_song(root, "test", "Track00002", seconds=1.0)
    made, problems = tables.write(root, tables.Settings(**SMALL))
    assert len(made["test"]) == 1
    assert problems.empty


def test_a_song_that_is_tested_with_is_never_learned_from(root):
    for partition, track in [("train", "A"), ("train", "B"), ("test", "B")]:
        write_song(root, partition, track)
    made, problems = tables.write(root, tables.Settings(**SMALL))
    assert list(made["train"]["mix_path"]) == ["prepared/train/A/mix.flac"]
    assert "validation or test too" in reasons(problems)["B"]


def test_half_made_songs_are_not_songs(root):
    write_song(root, "train", "Track00001")
    write_song(root, "train", ".part-99-Track00002")
    made, problems = tables.write(root, tables.Settings(**SMALL))
    assert len(made["train"]) == 1
    assert problems.empty


def test_nothing_to_train_on_is_an_error_with_a_remedy(root):
    with pytest.raises(MissingError, match=r"no song in .*train.*Run notebook 02.*`stems`"):
        tables.write(root)
    write_song(root, "train", "Track00001")
    with pytest.raises(MissingError, match=r"None of the songs .*train.*1 of 1: it lasts 2.0 s"):
        tables.write(root)
    assert snapshot(root.tables) == {}


def test_nothing_to_validate_with_is_an_error_too(root):
    write_song(root, "train", "Track00001")
    write_song(root, "validation", "Unseen", Drums=None)
    (root.prepared / "validation" / "Unseen" / "Drums.flac").unlink()
    with pytest.raises(MissingError, match=r"None of the songs .*validation.*1 of 1: Drums: no such file"):
        tables.write(root, tables.Settings(**SMALL))
    remove(root.prepared / "validation" / "Unseen")
    with pytest.raises(MissingError, match=r"no song in .*validation"):
        tables.write(root, tables.Settings(**SMALL))
    assert snapshot(root.tables) == {}


def test_prepared_songs_of_another_form_are_used_if_parameters_match(root):
    for partition in ("train", "validation"):
        write_song(root, partition, f"Slow {partition}", rate=22050, channels=1, seconds=4.0)
    settings = tables.Settings(sample_rate=22050, n_channels=1, **SMALL)
    made, problems = tables.write(root, settings)
    assert list(made["train"]["duration"]) == [4.0]
    assert reasons(problems)["Unseen"].endswith("set sample_rate = 44100 and n_channels = 2")
    found = read_config(tables.config(root, settings))
    assert (found["sample_rate"], found["n_channels"]) == (22050, 1)


def test_any_names_can_be_learned(root):
    for partition in ("train", "validation"):
        write_song(root, partition, f"A Song & 'More', ünique {partition}", names=FOUR)
    settings = tables.Settings(instruments=FOUR, **SMALL)
    made, problems = tables.write(root, settings)
    assert list(reasons(problems)) == ["Unseen"]
    assert list(made["train"].columns) == ["mix_path", *(f"{name}_path" for name in FOUR), "duration"]
    read = pd.read_csv(root.tables / "train.csv")
    assert (root.path / read.loc[0, "vocals_path"]).is_file()
    found = read_config(tables.config(root, settings))
    assert found["instrument_list"] == list(FOUR)
    assert found["muscomp"]["taxonomy"] is None


def test_songs_too_short_for_spleeter_are_excluded_for_it_only(root):
    for partition in ("train", "validation"):
        write_song(root, partition, f"Long {partition}", seconds=4.0)
    write_song(root, "train", "Short", seconds=2.0)
    settings = {"T": 128, **SMALL}
    made, problems = tables.write(root, tables.Settings(model_type="unet.unet", **settings))
    assert [len(made[partition]) for partition in tables.PARTITIONS] == [1, 1, 0]
    assert reasons(problems)["Short"] == ("it lasts 2.0 s, and Spleeter silently skips what is shorter than 3.04 s (T)")
    made, problems = tables.write(root, tables.Settings(**settings))
    assert sorted(made["train"]["duration"]) == [2.0, 4.0] and problems.empty


def test_the_configuration_has_absolute_paths_and_reads_back(root):
    settings = tables.Settings(name="mine", seed=7, batch_size=2)
    path = tables.config(root, settings)
    assert path == root.configs / "mine.json"
    found = read_config(path)
    assert found["train_csv"] == str(root.tables / "train.csv")
    assert found["model_dir"] == str(root.models / "mine")
    assert found["instrument_list"] == NAMES
    assert (found["random_seed"], found["batch_size"]) == (7, 2)
    assert found["muscomp"] == {
        "taxonomy": "slakh12",
        "crop_frames": 128,
        "remix": True,
        "precision": "float32",
    }


def test_filters_go_into_the_network_parameters(root):
    filters = (8, 16, 32, 64, 64, 64)
    path = tables.config(root, tables.Settings(model_type="unet.unet", conv_n_filters=filters))
    assert json.loads(path.read_text())["model"]["params"] == {"conv_n_filters": list(filters)}


@pytest.mark.parametrize(
    "settings, says",
    [
        ({"name": "../mine"}, "name = '../mine'"),
        ({"residual": "yes"}, "residual = 'yes'.*'target' or 'drop'"),
        ({"sum_checks": -1}, "sum_checks = -1"),
        ({"time_steps": 0.5}, "time_steps = 0.5.*a whole number from 0"),
        ({"batch_size": 0}, "batch_size = 0"),
        ({"crop_frames": 100}, "crop_frames = 100.*multiple of 64"),
        ({"model_type": "unet.deep"}, "model.type.*unet.deep.*muscomp.shared_unet"),
        ({"taxonomy": "all"}, "'all'"),
        ({"sample_rate": 4000}, "sample_rate = 4000.*from 8000"),
        ({"n_channels": 6}, "n_channels = 6.*1 or 2"),
        ({"instruments": ()}, r"instruments = \(\)"),
        ({"instruments": "vocals"}, "instruments = 'vocals'.*a list"),
        ({"instruments": ("lead vocals",)}, "'lead vocals'.*a list of names"),
        ({"instruments": ("drums", "mix")}, "without 'mix'"),
        ({"instruments": ("drums", "drums")}, "different names"),
        ({"model_type": "unet.unet", "T": 576}, "T = 576.*chunks of 12 s for validation.*512 frames"),
        ({"model_type": "unet.unet", "sample_rate": 22050}, "T = 512.*Make T smaller"),
    ],
)
def test_a_wrong_setting_is_refused_at_once(settings, says):
    with pytest.raises(SettingError, match=says):
        tables.Settings(**settings)


def test_activity_tells_how_much_of_the_time_an_instrument_sounds(root):
    half = np.repeat(sound(2.0), 2, axis=1)
    half[44100:] = 0
    write_song(root, "train", "Track00001", silent=("Violin",), Drums=half)
    made, _ = tables.write(root, tables.Settings(sum_checks=0, **SMALL))
    found = tables.activity(root, made["train"])
    assert list(found.index) == NAMES
    assert (found["Violin"], found["Drums"], found["Glockenspiel"]) == (0.0, 0.5, 1.0)
    assert tables.activity(root, made["test"]).isna().all()


def test_killed_and_restarted_at_any_moment_tables_are_the_same(root):
    for n in range(8):
        write_song(root, "train", f"Track{n}")
    write_song(root, "test", "Track9")
    imports = "from muscomp_lib.core.root import open_root\nfrom muscomp_lib import tables"
    settings = "tables.Settings(crop_frames=64)"
    work = f"r = open_root({str(root.path)!r}); tables.write(r, {settings}); tables.config(r, {settings})"
    lasts = run(imports, work)
    whole = {**snapshot(root.tables), **snapshot(root.configs)}
    assert len(whole) == 4
    for folder in (root.tables, root.configs):
        remove(folder)

    def check():
        assert whole_or_absent(root.tables, whole)
        assert whole_or_absent(root.configs, whole)

    run_and_kill(imports, work, lasts, after_each=check)
    assert {**snapshot(root.tables), **snapshot(root.configs)} == whole


# ---- targets ----

GROUPS = {"Drums": ["Drums"], "accompaniment": "rest"}


def test_targets_are_columns_and_groups_have_no_files(root):
    folder = write_song(root, "train", "A")
    settings = tables.Settings(targets=GROUPS, **SMALL)
    made, problems = tables.write(root, settings)
    assert problems.empty
    row = made["train"].loc[0]
    assert list(row.index) == ["mix_path", "Drums_path", "accompaniment_path", "duration"]
    assert row["Drums_path"] == "prepared/train/A/Drums.flac"
    assert row["accompaniment_path"] == "prepared/train/A/accompaniment.flac"
    assert not (folder / "accompaniment.flac").exists()
    found = read_config(tables.config(root, settings))
    assert found["instrument_list"] == ["Drums", "accompaniment"]
    assert found["muscomp"]["targets"] == {"Drums": ["Drums"], "accompaniment": [n for n in NAMES if n != "Drums"]}
    (song,) = read_songs(root, root.tables / "train.csv", found)
    rest, _ = library.read(song.files["accompaniment"])
    mix, drums = (audio.read(folder / f"{name}.flac")[0] for name in ("mix", "Drums"))
    np.testing.assert_array_equal(rest, mix - drums)
    active = tables.activity(root, made["train"], settings.target_instruments)
    assert active.to_dict() == {"Drums": 1.0, "accompaniment": 1.0}


def test_a_target_of_one_instrument_is_its_file(root):
    write_song(root, "train", "A")
    made, _ = tables.write(root, tables.Settings(targets={"kit": ["Drums"], "rest_of_it": "rest"}, **SMALL))
    assert made["train"].loc[0, "kit_path"] == "prepared/train/A/Drums.flac"


def test_a_song_without_a_targets_member_is_left_out(root):
    write_song(root, "train", "A")
    write_song(root, "train", "B", Violin=None)
    made, problems = tables.write(root, tables.Settings(targets=GROUPS, **SMALL))
    assert "Violin: no such file" in reasons(problems)["B"] and len(made["train"]) == 1


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ({"Drums": ["Drum"]}, r"targets name 'Drum'.*Did you mean 'Drums'"),
        ({"A": ["Drums"], "B": ["Drums", "Violin"]}, "targets name 'Drums' more than once"),
        ({"A": "rest", "B": "rest"}, "A and B are both 'rest'"),
        ({"A": NAMES, "B": "rest"}, "leaves nothing for 'B'"),
        ({}, "targets = {} is not possible"),
        ({"a/b": ["Drums"]}, "targets = {'a/b'"),
        ({"A": "Drums"}, r"targets = .* It must be names with lists of instruments"),
        ({"mix": ["Drums"], "B": "rest"}, "without 'mix'"),
    ],
)
def test_impossible_targets_are_refused(targets, message):
    with pytest.raises(SettingError, match=message):
        tables.Settings(targets=targets)


def test_a_configuration_with_other_targets_than_instruments_is_refused(root):
    path = tables.config(root, tables.Settings(targets=GROUPS))
    for change, message in (
        ({"accompaniment": ["Violin"], "Drums": ["Drums"]}, "the same, in the same order"),
        ({"Drums": ["Drums"], "accompaniment": ["Violin", "Tuba"]}, "'Tuba', which taxonomy"),
        ({"Drums": ["Drums"], "accompaniment": []}, "muscomp.targets ="),
        ({"Drums": ["Drums"], "accompaniment": ["Drums"]}, "'Drums' more than once"),
    ):
        found = json.loads(path.read_text())
        found["muscomp"]["targets"] = change
        (root.configs / "changed.json").write_text(json.dumps(found))
        with pytest.raises(SettingError, match=message):
            read_config(root.configs / "changed.json")
