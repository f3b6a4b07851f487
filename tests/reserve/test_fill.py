"""What notebook 02 promises: no leak, no gap, exact sums, and the same bytes whatever happens on the way."""

import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml
from fixtures import needs, tiny_slakh
from fixtures.songs_to_fill import NAMES, ONE, digests, plant, prepared, with_own_slakh

from muscomp_lib import audio, reserve, slakh
from muscomp_lib.core import provenance, remote_io
from muscomp_lib.core.errors import DiskFullError, MissingError, MountLostError, MusCompError, SettingError
from muscomp_lib.core.file_cache import FileCache
from muscomp_lib.core.files import write_csv
from muscomp_lib.core.root import open_root
from muscomp_lib.dataset import lending, library, mixing
from muscomp_lib.reserve import fill_plan
from muscomp_lib.reserve import split as partitions
from muscomp_lib.slakh import index_tables


def tracks_table(rows):
    """A table of tracks from (track, split, uuid, instruments it has)."""
    table = pd.DataFrame(
        {
            "track": [row[0] for row in rows],
            "split": [row[1] for row in rows],
            "uuid": [row[2] for row in rows],
            "partition": "",
            "mix": "mix.flac",
            "frames": 88200,
            "duration": 2.0,
            "status": "ok",
            "note": "",
        }
    )
    return table.assign(**{name: [int(name in row[3]) for row in rows] for name in NAMES})


def random_tracks(seed, n_songs=60, splits=("train", "train", "train", "validation", "test", "omitted"), copies=20):
    """Many songs with random instruments, some of them several times under one uuid, in any split."""
    rng = np.random.default_rng(seed)
    songs = [f"song {number}" for number in range(n_songs)] + [f"song {n}" for n in rng.integers(n_songs, size=copies)]
    return tracks_table(
        [
            (f"Track{number:05d}", rng.choice(splits), song, set(rng.choice(NAMES, 5, replace=False)))
            for number, song in enumerate(songs)
        ]
    )


# ---- partitions ----


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("splits", [("train", "train", "validation", "test", "omitted"), ("",), ("train",)])
def test_no_song_is_in_two_partitions(seed, splits):
    tracks = reserve.partition(random_tracks(seed, splits=splits), reserve.Settings(seed=seed))
    used = tracks[tracks["partition"] != ""]
    assert (used.groupby("uuid")["partition"].nunique() == 1).all()
    assert set(used["partition"]) == {"train", "validation", "test", "reserve"}


def test_a_song_of_which_any_copy_is_test_is_test():
    rows = [(f"Track{n:05d}", "train", f"own {n}", NAMES) for n in range(8)]
    rows += [("Track00100", "train", "twice", NAMES), ("Track00101", "test", "twice", NAMES)]
    rows += [("Track00102", "train", "again", NAMES), ("Track00103", "validation", "again", NAMES)]
    partition = reserve.partition(tracks_table(rows)).set_index("track")["partition"]
    assert list(partition.iloc[-4:]) == ["test", "test", "validation", "validation"]


def test_slakhs_own_split_is_kept_without_its_copies():
    tracks = reserve.partition(random_tracks(0, copies=0))
    assert (tracks.loc[tracks["split"] == "test", "partition"] == "test").all()
    assert (tracks.loc[tracks["split"] == "validation", "partition"] == "validation").all()
    assert (tracks.loc[tracks["split"] == "omitted", "partition"] == "").all()
    assert set(tracks.loc[tracks["split"] == "train", "partition"]) == {"train", "reserve"}


def test_broken_tracks_are_unused_and_tracks_without_uuid_stand_alone():
    tracks = random_tracks(1)
    tracks.loc[5:30, "uuid"] = ""
    tracks.loc[tracks["split"] == "train", "split"] = ""
    tracks.loc[3, "status"] = "missing"
    drawn = reserve.partition(tracks)["partition"]
    assert drawn[3] == ""
    assert len(set(drawn[5:30])) > 1


def test_without_splits_the_shares_are_as_requested():
    tracks = random_tracks(0, n_songs=100, splits=("",), copies=0)
    settings = reserve.Settings(validation_share=0.1, test_share=0.2, reserve_share=0.5)
    counts = reserve.partition(tracks, settings)["partition"].value_counts()
    assert counts.to_dict() == {"train": 35, "reserve": 35, "test": 20, "validation": 10}


@pytest.mark.parametrize("seed", range(4))
def test_every_partition_gets_a_reserve_song_per_missing_instrument(seed):
    tracks = reserve.partition(random_tracks(seed), reserve.Settings(seed=seed))
    fills_of = tracks["track"].map(reserve.reserve_for(tracks, reserve.Settings(seed=seed)))
    for partition in partitions.PREPARED:
        its_songs, its_reserve = tracks[tracks["partition"] == partition], tracks[fills_of == partition]
        for name in NAMES:
            assert its_songs[name].all() or its_reserve[name].any(), (partition, name)
    assert tracks.loc[tracks["partition"] == "train", NAMES].any().all()


def test_the_last_song_of_a_rare_instrument_stays_in_train():
    rows = [(f"Track{n:05d}", "train", f"own {n}", NAMES[2:]) for n in range(20)]
    rows += [(f"Track{n:05d}", "train", f"own {n}", NAMES[:1]) for n in range(20, 24)]  # four songs have the first
    rows += [("Track00030", "train", "own 30", NAMES[1:2])]  # one song has the second
    rows += [("Track00040", "validation", "own 40", []), ("Track00050", "test", "own 50", [])]
    tracks = reserve.partition(tracks_table(rows)).set_index("track")
    assert sorted(tracks.loc["Track00020":"Track00023", "partition"]) == ["reserve", "reserve", "reserve", "train"]
    given = reserve.reserve_for(tracks_table(rows))
    assert sorted(given[given.index.isin([f"Track{n:05d}" for n in range(20, 24)])]) == ["test", "train", "validation"]
    assert tracks.loc["Track00030", "partition"] == "train"


def slakhs_tracks(seed):
    """A table like Slakh2100's: as many tracks and copies, and each instrument in as many as in the real one."""
    rng = np.random.default_rng(seed)
    splits = ["train"] * 1289 + ["validation"] * 270 + ["test"] * 151 + ["omitted"] * 390
    counts = (96, 56, 604, 203, 777, 424, 295, 151, 664, 287, 66, 1500)  # stems in 1500 train tracks
    rows = [
        (
            f"Track{n:05d}",
            split,
            f"song {n}",
            {name for name, count in zip(NAMES, counts, strict=True) if rng.random() < count / 1500},
        )
        for n, split in enumerate(splits)
    ]
    for n in rng.choice(2100, 698, replace=False):
        rows[n] = (*rows[n][:2], f"song {rng.integers(2100)}", rows[n][3])
    return tracks_table(rows)


def test_a_reserve_like_slakhs_is_full_and_nothing_leaks():
    tracks = slakhs_tracks(0)
    settings = reserve.Settings(reserve_stems=12)
    drawn = reserve.partition(tracks, settings)
    supply = partitions.supply(drawn, settings).set_index("instrument")
    assert (supply["missing"] == 0).all()
    assert (supply["reserve"] >= 12).all()
    assert (supply["train"] >= 1.5 * supply["reserve"]).all(), "rare instruments are not taken from train"
    used = drawn[drawn["partition"] != ""]
    assert (used.groupby("uuid")["partition"].nunique() == 1).all()
    assert (drawn.loc[drawn["split"] == "test", "partition"] == "test").all()


def test_the_reserves_shortage_is_reported_and_train_keeps_two_thirds():
    rows = [(f"Track{n:05d}", "train", f"own {n}", NAMES[:1] if n < 9 else NAMES[1:]) for n in range(60)]
    rows += [("Track00070", "validation", "own 70", NAMES), ("Track00071", "test", "own 71", NAMES)]
    settings = reserve.Settings(reserve_share=0.05, reserve_stems=8)
    drawn = reserve.partition(tracks_table(rows), settings)
    supply = partitions.supply(drawn, settings).set_index("instrument")
    assert supply.loc[NAMES[0], ["train", "reserve", "missing"]].tolist() == [6, 3, 5]
    assert supply.loc[NAMES[1], "reserve"] >= 8 and supply.loc[NAMES[1], "missing"] == 0
    fewer = reserve.Settings(reserve_share=0.05, reserve_stems=0)
    assert (reserve.partition(tracks_table(rows), fewer)["partition"] == "reserve").sum() < len(
        drawn[drawn["partition"] == "reserve"]
    )


def test_the_same_seed_draws_the_same_and_another_seed_another():
    tracks = random_tracks(0)
    first, again, other = (reserve.partition(tracks, reserve.Settings(seed=seed)) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert list(first["partition"]) != list(other["partition"])


def test_nothing_is_reserved_when_nothing_is_to_be_filled():
    tracks = reserve.partition(random_tracks(0), reserve.Settings(fill=False))
    assert "reserve" not in set(tracks["partition"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"reserve_share": 0.7}, {"validation_share": -0.1}, {"test_share": "a"}, {"seed": -1}, {"seed": 1.5},
        {"limit": 0}, {"workers": "two"}, {"residual": "keep"}, {"fill": 1}, {"reserve_stems": -1}, {"virtual": "yes"},
        {"sample_rate": 4000}, {"sample_rate": 44100.0}, {"channels": 3}, {"channels": True}, {"file_format": "mp3"},
        {"shard": "3/2"}, {"shard": "0/2"}, {"shard": 2}, {"shard": "1/2 "},
    ],
)  # fmt: skip
def test_a_wrong_setting_is_quoted_with_what_would_be_right(wrong):
    (name, value), *_ = wrong.items()
    with pytest.raises(SettingError, match=rf"^{name} = {value!r} is not possible. It must be "):
        reserve.Settings(**wrong)


# ---- a data set to fill ----


def read(folder, name):
    return audio.read(folder / f"{name}.flac", dtype="int16")[0].astype(int)


# ---- what is in the files ----


def test_every_song_is_complete_and_its_mix_the_exact_sum(filled):
    _, tracks = index_tables.read(filled)
    assert {folder.name for folder in prepared(filled)} == set(
        tracks.loc[tracks["partition"].isin(partitions.PREPARED), "track"]
    )
    for folder in prepared(filled):
        assert {path.stem for path in folder.glob("*.flac")} == {"mix", *NAMES, "other"}
        infos = {(i.sample_rate, i.channels, i.frames) for i in map(audio.info, folder.glob("*.flac"))}
        frames = int(tracks.set_index("track").loc[folder.name, "frames"])
        assert infos == {(44100, 2, frames)}
        parts = [read(folder, name) for name in (*NAMES, "other")]
        np.testing.assert_array_equal(sum(parts), read(folder, "mix"))
        assert max(np.abs(part).max() for part in (*parts, read(folder, "mix"))) <= 10 ** (-1 / 20) * 32768
        assert all(part.any() for part in parts)
    assert (reserve.check(filled, workers=1)["note"] == "").all()


def test_reserve_songs_feed_one_partition_only_and_are_not_prepared(filled):
    _, tracks = index_tables.read(filled)
    partition = tracks.set_index("track")["partition"]
    synthesis = fill_plan.read_synthesis(filled)
    fed = synthesis.assign(fed=synthesis["track"].map(partition)).groupby("reserve_track")["fed"].nunique()
    assert (fed == 1).all()
    assert (partition[fed.index] == "reserve").all()
    assert not {folder.name for folder in prepared(filled)} & set(fed.index)
    assert list(synthesis.columns) == list(fill_plan.SYNTHESIS_COLUMNS)


def test_no_reserve_song_is_used_much_more_often_than_another():
    sources = [lending.Lender(f"Track{n:05d}", "S00", 44100, np.ones(1, bool)) for n in range(5)]
    used, taken = Counter(), []
    for number in range(40):
        instrument = ("Violin", "Drums", "Violin")[number % 3]
        taken.append((lending.least_used(sources, instrument, used, np.random.default_rng(number)).track, instrument))
    for instrument in ("Violin", "Drums"):
        counts = Counter(track for track, its in taken if its == instrument)
        assert max(counts.values()) - min(counts.values()) <= 1
    assert len({track for track, _ in taken[:5]}) == 5
    assert [track for track, _ in taken[:5]] != sorted(track for track, _ in taken[:5]), "drawn, not dealt in order"


def test_a_fill_is_the_reserve_stem_from_its_offset_looped(filled):
    stems, tracks = index_tables.read(filled)
    stems, tracks = stems.set_index(["track", "stem"]), tracks.set_index("track")
    synthesis = fill_plan.read_synthesis(filled)
    lengths = (tracks.loc[synthesis[name], "frames"].to_numpy() for name in ("track", "reserve_track"))
    longer = np.greater(*lengths)
    assert longer.any(), "the planted data set must make some stem go round"
    for row in synthesis[longer].itertuples():
        stem = audio.read(filled.slakh / stems.loc[(row.reserve_track, row.reserve_stems), "audio"])[0]
        places = (row.offset + np.arange(tracks.loc[row.track, "frames"])) % len(stem)
        folder = filled.prepared / tracks.loc[row.track, "partition"] / row.track
        made, wanted = read(folder, row.instrument), stem[places] * 10 ** (row.gain_db / 20) * 32768
        songs_gain = (made * wanted).sum() / (2 * (wanted**2).sum())
        assert songs_gain <= 1.0001
        assert np.abs(made - wanted * songs_gain).max() <= 1.01
    # Slakh's levels: a track made louder by its overall_gain gets louder fills.
    number = synthesis[["track", "reserve_track"]].map(lambda track: int(track[5:]))
    wanted = 20 * np.log10((0.2 + 0.02 * number["track"]) / (0.2 + 0.02 * number["reserve_track"]))
    assert np.abs(wanted - synthesis["gain_db"]).max() < 0.01


def test_a_fill_is_taken_from_where_the_instrument_plays():
    active = np.array([False] * 30 + [True] * 6 + [False] * 30)
    source = lending.Lender("Track00001", "S00", len(active) * 44100, active)
    offsets = {source.draw_offset(5 * 44100, 44100, np.random.default_rng(n)) // 44100 for n in range(60)}
    assert all(active[offset : offset + 5].sum() >= 3 for offset in offsets)
    assert len(offsets) > 3


def test_stems_of_one_instrument_are_summed_others_are_other(tmp_path):
    root = open_root(tmp_path)
    stems = {
        "S00": {"program": 40, "frequency": 440},
        "S01": {"program": 40, "frequency": 555},
        "S02": {"program": 73, "frequency": 880},
        "S03": {"program": 74, "frequency": 990},
    }
    folder = tiny_slakh.write_track(root.slakh, "train", "Track00001", stems)
    slakh.index(root)
    reserve.fill(root, ONE)
    song = root.prepared / "train" / "Track00001"
    own = [audio.read(folder / "stems" / f"{stem}.flac", dtype="int16")[0].astype(int) for stem in stems]
    np.testing.assert_array_equal(read(song, "Violin"), np.repeat(own[0] + own[1], 2, axis=1))
    np.testing.assert_array_equal(read(song, "other"), np.repeat(own[2] + own[3], 2, axis=1))
    np.testing.assert_array_equal(read(song, "mix"), np.repeat(sum(own), 2, axis=1))


def test_an_instrument_without_reserve_is_silent_and_reported(tmp_path):
    root = open_root(tmp_path)
    for number in range(4):
        stems = {"S00": {"program": 34, "frequency": 90 + number}, "S01": {"program": 128 if number % 2 else 40}}
        tiny_slakh.write_track(root.slakh, "test" if number == 3 else "train", f"Track{number:05d}", stems)
    slakh.index(root)
    synthesis = reserve.fill(root, ONE)
    unfilled = fill_plan.unfilled(index_tables.read(root)[1], synthesis)
    assert "Glockenspiel" in set(unfilled["instrument"])
    for row in unfilled.itertuples():
        assert not read(root.prepared / row.partition / row.track, row.instrument).any()
    for row in synthesis.itertuples():
        assert (row.track, row.instrument) not in set(zip(unfilled["track"], unfilled["instrument"], strict=True))
    assert (reserve.check(root, workers=1)["note"] == "").all()


def test_without_residual_the_mix_sums_the_twelve(root):
    settings = reserve.Settings(workers=1, residual="drop", limit=1)
    reserve.fill(root, settings)
    assert len(prepared(root)) == 3
    for folder in prepared(root):
        assert not (folder / "other.flac").exists()
        np.testing.assert_array_equal(sum(read(folder, name) for name in NAMES), read(folder, "mix"))
    assert (reserve.check(root, workers=1)["note"] == "").all()
    reserve.fill(root, reserve.Settings(workers=1, limit=1))
    assert all((folder / "other.flac").exists() for folder in prepared(root)), "another recipe makes a song again"


def test_without_filling_the_gaps_are_silent(root):
    synthesis = reserve.fill(root, reserve.Settings(workers=1, fill=False, limit=1))
    assert len(synthesis) == 0
    stems, _ = index_tables.read(root)
    for folder in prepared(root):
        own = set(stems.loc[stems["track"] == folder.name, "instrument"])
        assert {name for name in NAMES if read(folder, name).any()} == own - {""}


def test_other_sample_rates_become_44100(tmp_path):
    root = open_root(tmp_path)
    tiny_slakh.write_track(root.slakh, "", "Track00001", suffix=".wav", rate=16000)
    slakh.index(root)
    reserve.fill(root, ONE)
    info = audio.info(root.prepared / "train" / "Track00001" / "mix.flac")
    assert (info.sample_rate, info.channels, info.frames) == (44100, 2, 88200)
    assert (reserve.check(root, workers=1)["note"] == "").all()


def test_slakhs_metadata_give_the_loudness_a_stem_really_has(mini_slakh, tmp_path):
    for metadata in sorted(mini_slakh.glob("*/Track*/metadata.yaml"))[:2]:
        where = metadata.parent.relative_to(mini_slakh).as_posix()
        stems = pd.DataFrame({"track": ["one"], "audio": [f"{where}/stems/S00.flac"]})
        level = fill_plan._Levels(mini_slakh, stems, FileCache(open_root(tmp_path))).of("one")
        measured = [audio.loudness(*audio.read(path)) for path in sorted(metadata.parent.glob("stems/*.flac"))]
        assert np.median(np.abs(np.array(measured) - level)) < 0.5


# ---- whatever happens on the way ----


def test_two_workers_write_the_same_bytes_as_one(root, filled):
    reserve.fill(root, reserve.Settings(workers=2))
    assert digests(root) == digests(filled)


def test_all_files_follow_from_the_synthesis_table(root, filled):
    for name in ("tracks.csv", "synthesis.csv"):
        (root.tables / name).write_bytes((filled.tables / name).read_bytes())
    reserve.realise(root, ONE)
    assert digests(root) == digests(filled)


def test_a_second_run_keeps_songs_and_removes_unlisted_ones(root):
    reserve.fill(root, reserve.Settings(workers=1, limit=2))
    before = {folder: folder.stat().st_ino for folder in prepared(root)}
    (root.prepared / "train" / "my notes").mkdir()
    (root.prepared / "train" / ".part-99-Track00000").mkdir()
    reserve.fill(root, reserve.Settings(workers=1, limit=1))
    after = {folder: folder.stat().st_ino for folder in prepared(root)}
    assert len(after) == 3 < len(before)
    assert all(before[folder] == inode for folder, inode in after.items())
    assert (root.prepared / "train" / "my notes").exists()
    assert not list(root.prepared.glob("*/.part-*"))


def test_only_a_song_whose_row_changed_is_made_again(root):
    reserve.fill(root, reserve.Settings(workers=1, limit=1))
    before = {folder.name: folder.stat().st_ino for folder in prepared(root)}
    synthesis = fill_plan.read_synthesis(root)
    synthesis.loc[0, "gain_db"] -= 3
    write_csv(fill_plan.synthesis_path(root), synthesis)
    reserve.realise(root, ONE)
    changed = {folder.name for folder in prepared(root) if folder.stat().st_ino != before[folder.name]}
    assert changed == {synthesis.loc[0, "track"]}


def rebuilt(root, before):
    """Which songs were made again since `before`, the result of `made`."""
    return {name for name, inode in made(root).items() if inode != before.get(name)}


def made(root):
    return {folder.name: folder.stat().st_ino for folder in prepared(root)}


def replace_stem(root, name="S00"):
    """Turn a stem of the first song around: another file of the same length; returns the song's name."""
    track = prepared(root)[0].name
    path = next(root.slakh.glob(f"*/{track}/stems/{name}.flac"))
    audio.write(path, audio.read(path, dtype="int16")[0][::-1].copy(), 44100)
    return track


def test_a_song_whose_stem_was_replaced_is_made_again(root, indexed):
    with_own_slakh(root, indexed)
    reserve.fill(root, ONE)
    before, track = made(root), replace_stem(root)
    mix = read(prepared(root)[0], "mix")
    slakh.index(root)
    reserve.fill(root, ONE)
    assert rebuilt(root, before) == {track}
    assert not np.array_equal(read(prepared(root)[0], "mix"), mix)
    assert (reserve.check(root, workers=1)["note"] == "").all()


def test_in_a_copied_root_nothing_is_made_again(root, indexed, tmp_path, monkeypatch):
    with_own_slakh(root, indexed)
    reserve.fill(root, ONE)
    shutil.copytree(root.path, tmp_path / "copy", copy_function=shutil.copyfile)
    monkeypatch.setattr(mixing, "make", None)
    copy = open_root(tmp_path / "copy")
    slakh.index(copy)
    reserve.fill(copy, ONE)
    assert made(copy)


def test_where_the_stems_are_deleted_songs_are_kept(root, indexed):
    with_own_slakh(root, indexed)
    reserve.fill(root, ONE)
    before = made(root)
    for path in root.slakh.rglob("*.flac"):
        path.unlink()
    reserve.realise(root, ONE)
    assert made(root) == before


@pytest.mark.parametrize("damage", ["cut", "flipped", "another's", "gone", "recipe"])
def test_a_song_with_a_damaged_file_is_made_again(root, filled, damage):
    reserve.fill(root, ONE)
    before, folder = made(root), prepared(root)[0]
    file = folder / ("recipe.json" if damage == "recipe" else "Violin.flac")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    other = (folder / "Drums.flac").read_bytes()
    file.write_bytes({"cut": content[:-9], "another's": other, "gone": b""}.get(damage, content))
    if damage == "gone":
        file.unlink()
    reserve.fill(root, ONE)
    assert digests(root) == digests(filled)
    assert rebuilt(root, before) == {folder.name}


def test_a_second_run_reads_no_song_or_stem_again(root, monkeypatch):
    reserve.fill(root, ONE)
    monkeypatch.setattr(provenance, "checksum", None)
    monkeypatch.setattr(mixing, "make", None)
    reserve.fill(root, ONE)


def test_a_run_beside_another_is_refused_and_disturbs_nothing(root):
    theirs = root.prepared / "train" / ".part-elsewhere-77-Track00001"
    theirs.mkdir(parents=True)
    for other, settings in ((False, ONE), (False, reserve.Settings(shard="1/2")), (True, ONE)):
        with library.writing(root, shared=other), pytest.raises(MusCompError, match="Another run is writing songs"):
            reserve.fill(root, settings)
    assert theirs.exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [("overall_gain", float("nan")), ("overall_gain", float("inf")), ("normalization_factor", float("nan"))],
)
def test_metadata_that_are_no_numbers_make_no_bad_mix(tmp_path, key, value):
    root = open_root(tmp_path)
    plant(root, n_tracks=6)
    for path in root.slakh.rglob("metadata.yaml"):
        metadata = {"normalization_factor": -13.0, **yaml.safe_load(path.read_text()), key: value}
        path.write_text(yaml.safe_dump(metadata))
    slakh.index(root)
    assert np.isfinite(reserve.fill(root, ONE)["gain_db"]).all()
    assert len(prepared(root)) >= 3 and all(read(folder, "mix").any() for folder in prepared(root))
    assert (reserve.check(root, workers=1)["note"] == "").all()


@pytest.mark.parametrize("virtual", [False, True])
def test_a_song_that_would_be_silent_is_left_out(tmp_path, virtual):
    root = open_root(tmp_path)
    for number in range(4):
        folder = tiny_slakh.write_track(root.slakh, "train", f"Track{number:05d}", suffix=".wav")
    for path in folder.glob("stems/*.wav"):
        soundfile.write(path, np.full((88200, 1), 1e-7, np.float32), 44100, subtype="FLOAT")
    slakh.index(root)
    reserve.fill(root, reserve.Settings(workers=1, fill=False, virtual=virtual, validation_share=0, test_share=0))
    note = index_tables.read(root)[1].set_index("track").loc["Track00003", "note"]
    assert "notebook 02: left out: its mix is silent throughout" in note
    assert "Track00003" not in {folder.name for folder in prepared(root)}


FILL = """
import sys
from muscomp_lib import reserve
from muscomp_lib.core.root import open_root
if __name__ == "__main__":
    reserve.fill(open_root(sys.argv[1]), reserve.Settings(workers=int(sys.argv[2])))
"""


def start_filling(root, tmp_path, workers, before=""):
    """Fill in a process of its own, after the lines `before`."""
    script = tmp_path / "fill.py"
    script.write_text(textwrap.dedent(before) + FILL)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, str(script), str(root.path), str(workers)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_for_the_end_of_group(group, deadline=30):
    """Make sure that a killed run's workers end too: they would go on writing behind the next run."""
    for _ in range(deadline * 100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)
    os.killpg(group, signal.SIGKILL)
    pytest.fail("worker processes outlived the run that started them")


@pytest.mark.parametrize(("workers", "kills"), [(1, (0, 1, 4)), (2, (2,))])
def test_killed_and_started_again_it_ends_in_the_same_files(root, filled, tmp_path, workers, kills):
    dice = random.Random(workers)
    for songs_before in kills:
        running = start_filling(root, tmp_path, workers)
        while running.poll() is None and len(prepared(root)) <= songs_before:
            time.sleep(0.001)  # looking, not waiting: the kill comes at an unforeseen point of the next song
        time.sleep(dice.random() * 0.05)
        running.kill()
        running.wait()
        running.stderr.close()
        assert running.returncode in (0, -signal.SIGKILL)
        wait_for_the_end_of_group(running.pid)
        for folder in root.prepared.glob("*/Track*"):
            assert mixing.check(folder, mixing.read_recipe(folder))["note"] == "", "half-written, yet in place"
    reserve.fill(root, ONE)
    assert digests(root) == digests(filled)


def test_a_full_disk_is_one_error_and_no_partial_song(root, filled, tmp_path):
    size = max(path.stat().st_size for path in filled.prepared.rglob("*.flac"))
    limit = f"""
    import resource, signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, ({size - 1}, {size - 1}))
    """
    running = start_filling(root, tmp_path, 1, before=limit)
    _, stderr = running.communicate()
    assert running.returncode != 0
    last = stderr.strip().splitlines()[-1]
    assert last.startswith("muscomp_lib.core.errors.DiskFullError: No room left to write")
    assert ".part-" not in last
    assert not list(root.prepared.glob("*/.part-*"))
    assert len(prepared(root)) < len(prepared(filled))
    for folder in prepared(root):
        assert mixing.check(folder, mixing.read_recipe(folder))["note"] == ""
    reserve.fill(root, ONE)
    assert digests(root) == digests(filled)


def test_a_full_disk_in_a_worker_is_the_same_error(root, tmp_path):
    root.prepared.rmdir()
    root.prepared.symlink_to(tmp_path / "full")
    (tmp_path / "full").mkdir()
    remote_io = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(tmp_path / "full")]
    mounted = sys.platform == "linux" and subprocess.run(remote_io, capture_output=True, check=False).returncode == 0
    needs.require(mounted, "a tiny disk can be mounted by root on Linux only")
    try:
        with pytest.raises(DiskFullError, match="No room left to write"):
            reserve.fill(root, reserve.Settings(workers=2))
    finally:
        subprocess.run(["umount", tmp_path / "full"], check=True)


# ---- in shards ----


@pytest.mark.parametrize("order", [("1/3", "2/3", "3/3"), ("3/3", "1/3", "3/3", "2/3", "2/3"), ("2/3",)])
def test_shards_joined_give_the_same_bytes_as_one_run(root, filled, order):
    before = (root.tables / "tracks.csv").read_bytes()
    for shard in order:
        reserve.fill(root, reserve.Settings(workers=1, shard=shard))
    assert (root.tables / "tracks.csv").read_bytes() == before, "a shard writes songs, no table"
    kept = {folder: folder.stat().st_ino for folder in prepared(root)}
    assert len(kept) == (len(prepared(filled)) if len(order) > 1 else len(prepared(filled)[1::3]))
    reserve.fill(root, ONE)
    assert digests(root) == digests(filled)
    assert all(folder.stat().st_ino == inode for folder, inode in kept.items()), "the joining run makes nothing again"


def test_a_shard_disturbs_no_other_that_is_at_work(root):
    theirs = root.prepared / "train" / ".part-elsewhere-77-Track00001"
    theirs.mkdir(parents=True)
    synthesis = reserve.fill(root, reserve.Settings(workers=1, shard="1/4"))
    mine = [folder.name for folder in prepared(root)]
    assert "Track00001" not in mine and theirs.exists()
    ours = root.prepared / "train" / f".part-elsewhere-77-{mine[0]}"
    ours.mkdir()
    reserve.fill(root, reserve.Settings(workers=1, shard="1/4"))
    assert theirs.exists() and not ours.exists(), "what a killed run of this shard left is removed"
    assert set(synthesis["track"]) > set(mine), "the whole table is known to every shard"


def test_shards_at_the_same_time_end_in_the_same_files(root, filled, tmp_path):
    script = tmp_path / "shard.py"
    script.write_text(FILL.replace("workers=int(sys.argv[2])", "workers=1, shard=sys.argv[2]"))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    shards = [
        subprocess.Popen([sys.executable, str(script), str(root.path), shard], env=environment)
        for shard in ("1/2", "2/2", "2/2")  # one of them twice
    ]
    assert [shard.wait() for shard in shards] == [0, 0, 0]
    reserve.fill(root, ONE)
    assert digests(root) == digests(filled)


def test_of_two_runs_at_once_one_fills(root, filled, tmp_path):
    runs = [start_filling(root, tmp_path, 1) for _ in range(2)]
    messages = [run.communicate()[1] for run in runs]
    for run, message in zip(runs, messages, strict=True):
        assert run.returncode == 0 or "another run" in message.strip().splitlines()[-1].lower()
    assert 0 in [run.returncode for run in runs] and digests(root) == digests(filled)


# ---- bad input ----


def test_a_lost_disk_stops_the_run_and_loses_no_song(root, indexed, filled, monkeypatch):
    with_own_slakh(root, indexed)
    monkeypatch.setattr(remote_io, "PAUSES", ())
    make, made = mixing.make, []

    def make_then_lose(slakh, folder, recipe):
        if made:
            root.slakh.rename(root.path / "gone")  # unmounted in the middle of the run
        made.append(folder)
        return make(slakh, folder, recipe)

    monkeypatch.setattr(mixing, "make", make_then_lose)
    with pytest.raises(MountLostError, match="run the same again"):
        reserve.fill(root, ONE)
    assert len(prepared(root)) == 1
    (root.path / "gone").rename(root.slakh)
    monkeypatch.setattr(mixing, "make", make)
    reserve.fill(root, ONE)
    assert digests(root) == digests(filled)


def test_a_truncated_stem_excludes_its_song_with_a_note(root, indexed, filled):
    with_own_slakh(root, indexed)
    victim, split = prepared(filled)[0].name, prepared(filled)[0].parent.name  # test: the splits are Slakh's own
    tiny_slakh.truncate(next(root.slakh.glob(f"*/{victim}/stems/S07.flac")))
    for _ in range(2):  # the second run says it once more, not twice
        synthesis = reserve.fill(root, ONE)
        row = index_tables.read(root)[1].set_index("track").loc[victim]
        assert row["partition"] == ""
        assert row["note"].startswith(f"notebook 02: left out: {split}/{victim}/stems/S07.flac is cut short")
        assert row["note"].count("notebook 02") == 1
        assert victim not in set(synthesis["track"]) | {folder.name for folder in prepared(root)}
    pd.testing.assert_frame_equal(synthesis, fill_plan.read_synthesis(root))
    kept = {name: digest for name, digest in digests(filled).items() if name.startswith("prepared/")}
    kept = {name: digest for name, digest in kept.items() if victim not in name}
    assert {name: digest for name, digest in digests(root).items() if name.startswith("prepared/")} == kept


def test_a_truncated_or_silent_reserve_stem_is_unused_and_noted(root, indexed, filled):
    with_own_slakh(root, indexed)
    row = fill_plan.read_synthesis(filled).iloc[0]
    tiny_slakh.truncate(next(root.slakh.glob(f"*/{row['reserve_track']}/stems/{row['reserve_stems']}.flac")))
    synthesis = reserve.fill(root, ONE)
    used = synthesis[(synthesis["reserve_track"] == row["reserve_track"])]
    assert row["reserve_stems"] not in set(used["reserve_stems"])
    note = index_tables.read(root)[1].set_index("track").loc[row["reserve_track"], "note"]
    assert note.startswith("notebook 02: not used as reserve: ")
    assert (reserve.check(root, workers=1)["note"] == "").all()


def test_check_names_what_is_wrong(root):
    reserve.fill(root, reserve.Settings(workers=1, limit=1))
    one, two, three = prepared(root)
    tiny_slakh.truncate(one / "Violin.flac")
    audio.write(two / "Drums.flac", np.zeros((10, 2), np.int16), 44100)
    audio.write(three / "other.flac", read(three, "other").astype(np.int16) // 2, 44100)
    notes = reserve.check(root, workers=1).set_index("track")["note"]
    assert "is cut short" in notes[one.name]
    assert "10 samples" in notes[two.name]
    assert notes[three.name] == "the mix is not the sum of the other files"


def test_it_says_which_notebook_to_run_first(tmp_path):
    with pytest.raises(MissingError, match="Notebook 01 makes it"):
        reserve.fill(open_root(tmp_path))
    with pytest.raises(MissingError, match="Notebook 02 makes it"):
        fill_plan.read_synthesis(open_root(tmp_path))
