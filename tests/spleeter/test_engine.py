"""The real Spleeter as an engine: its environment, what is caught before it starts, training and separating with it."""

import csv
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from fixtures import tiny_prepared

from muscomp_lib import audio, separation, tables, training
from muscomp_lib.core.errors import AudioError, MissingError, MusCompError, SettingError, SpleeterError
from muscomp_lib.core.root import open_root
from muscomp_lib.models.config import read_config
from muscomp_lib.spleeter import checks, engine, environment, target_files

PROJECT = Path(__file__).parents[2]
FILTERS = [4, 4, 8, 8, 8, 8]  # Spleeter's network, made small
SHORTEST = 63 * 1024 + 4096  # samples that 64 frames take
SPLEETERS = {
    "model": {"type": "unet.unet", "params": {"conv_n_filters": FILTERS}},
    "mask_extension": "average",
    "throttle_secs": 0,
    "n_chunks_per_song": 2,
    "training_cache": "training",
    "validation_cache": "validation",
}


def prepared(folder, seconds=2.0, **changes):
    """A tiny data set with a configuration for Spleeter: (settings, model folder, root)."""
    root = tiny_prepared.write(folder, seconds, **(SPLEETERS | changes))
    return read_config(root.configs / "tiny.json"), root.models / "tiny", root


def edit_table(root, change, partition="train"):
    """Apply `change` to the rows of a table, a list of dicts."""
    path = root.tables / f"{partition}.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    change(rows)
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)


# ---- its environment ----


@pytest.fixture
def empty_list(tmp_path, monkeypatch):
    """An environment without packages, so that it takes no network to make one, with the Python that runs the tests."""
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("# nothing\n")
    monkeypatch.setattr(environment, "REQUIREMENTS", requirements)
    monkeypatch.setattr(environment, "VERSIONS", ("{}.{}".format(*sys.version_info),))
    monkeypatch.setenv("MUSCOMP_SPLEETER_ENV", str(tmp_path / "environment"))
    return requirements


@pytest.fixture
def no_python(tmp_path, monkeypatch):
    """A machine without a Python that Spleeter runs on: its empty folder of programs."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setattr(environment, "VERSIONS", ("3.0",))
    monkeypatch.setattr(sys, "executable", str(programs / "python"))
    monkeypatch.setenv("PATH", str(programs))
    return programs


def test_it_lies_in_the_users_cache_unless_told_otherwise(monkeypatch):
    monkeypatch.delenv("MUSCOMP_SPLEETER_ENV", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere/cache")
    assert environment._folder() == Path("/somewhere/cache/muscomp/spleeter-2.4.2")
    monkeypatch.setenv("MUSCOMP_SPLEETER_ENV", "/elsewhere")
    assert environment._folder() == Path("/elsewhere")


def test_without_a_python_the_message_says_how_to_get_one(empty_list, no_python):
    (no_python / "python3.0").write_text("#!/bin/sh\necho no such version\nexit 1\n")  # as pyenv's stand-ins
    (no_python / "python3.0").chmod(0o755)
    with pytest.raises(MissingError, match="pip install uv") as caught:
        environment.environment()
    assert "apt install python3.11" in str(caught.value)


def test_uv_fetches_a_python_where_there_is_none(empty_list, no_python, tmp_path):
    """What stands in for uv here makes the environment that it is asked for, without fetching."""
    uv = no_python / "uv"
    uv.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n{sys._base_executable} -m venv "$5"\n')
    uv.chmod(0o755)
    python = environment.environment()
    assert (tmp_path / "asked").read_text().split() == [
        "venv",
        "--python",
        "3.0",
        "--seed",
        str(tmp_path / "environment"),
    ]
    assert subprocess.run([python, "-m", "pip", "--version"], check=False, capture_output=True).returncode == 0


@pytest.mark.full
def test_an_interrupted_environment_is_rebuilt_and_a_complete_one_kept(empty_list, tmp_path, monkeypatch):
    folder = tmp_path / "environment"
    folder.with_name("environment.lock").touch()
    folder.mkdir()
    (folder / "half").touch()
    python = environment.environment()
    assert python.exists() and not (folder / "half").exists()
    (folder / "kept").touch()
    assert environment.environment() == python and (folder / "kept").exists()
    empty_list.write_text("# another list\n")
    assert environment.environment() == python and not (folder / "kept").exists()


def test_two_at_once_make_one_environment(empty_list, monkeypatch):
    made = []
    make = environment._make
    monkeypatch.setattr(environment, "_make", lambda folder: (made.append(folder), make(folder)))
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: environment.environment(), range(2))
    assert first == second and len(made) == 1


def test_a_folder_with_other_things_in_it_is_not_replaced(empty_list, tmp_path):
    (tmp_path / "environment").mkdir()
    (tmp_path / "environment" / "thesis.txt").write_text("mine")
    with pytest.raises(SettingError, match="MUSCOMP_SPLEETER_ENV"):
        environment.environment()
    assert (tmp_path / "environment" / "thesis.txt").exists()


def test_what_pip_said_is_in_the_error(empty_list, tmp_path):
    empty_list.write_text(f"nothing @ file://{tmp_path}/nowhere.whl\n")
    with pytest.raises(SpleeterError, match=r"(?s)the next call starts over.*nowhere\.whl"):
        environment.environment()
    assert not (tmp_path / "environment" / environment.MARK).exists()


# ---- programs in it ----

HOLD = "import subprocess, sys; subprocess.run(['sh', '-c', 'exec sleep 1000 > {}'])"  # a child that has a child


def test_what_runs_ends_when_the_block_does(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with (
        pytest.raises(KeyboardInterrupt),
        environment.running(sys.executable, "timeit", ["-n1", "-r1", HOLD.format(pipe)], "it"),
    ):
        file = pipe.open()  # waits until it runs
        raise KeyboardInterrupt
    with file:
        assert file.read() == ""  # comes when the last process that holds the other end is gone


def test_what_runs_ends_when_we_are_killed(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    code = f"""
import sys
from muscomp_lib.spleeter.environment import running
with running(sys.executable, "timeit", ["-n1", "-r1", {HOLD.format(pipe)!r}], "it") as lines:
    list(lines)
"""
    with subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT) as process:
        file = pipe.open()
        process.kill()
        with file:
            assert file.read() == ""


def test_a_failure_reported_as_success_is_a_failure():
    with (
        pytest.raises(SpleeterError, match=r"(?s)It failed.*best of 1"),
        environment.running(sys.executable, "timeit", ["-n1", "-r1"], "It failed", done=lambda: False) as lines,
    ):
        list(lines)


# ---- traps ----


def cell(column, value, row=1):
    return lambda root: edit_table(root, lambda rows: rows[row].update({column: value}))


def as_mono(root):
    audio.write(root.prepared / "train" / "Track00002" / "Violin.flac", np.zeros((88200, 1), np.int16), 44100)


def as_short(partition):
    def change(root):
        edit_table(root, lambda rows: [row.update(duration=(SHORTEST - 1) / 44100) for row in rows], partition)
        for path in root.prepared.glob(f"{partition}/*/*.flac"):
            audio.write(path, np.zeros((SHORTEST - 1, 2), np.int16), 44100)

    return change


TRAPS = {
    "a blank cell": (cell("Violin_path", ""), SettingError, "line 3.*Violin_path"),
    "a blank of spaces": (cell("Violin_path", "  "), SettingError, "line 3.*no value.*Violin_path"),
    "a missing file": (cell("Violin_path", "nowhere.flac"), MissingError, r"line 3.*nowhere\.flac"),
    "an absolute path": (cell("mix_path", "/nowhere.flac"), SettingError, "line 3.*relative"),
    "a mono file": (as_mono, AudioError, r"line 3.*Violin\.flac has 44100 Hz and 1 channel"),
    "a wrong duration": (cell("duration", "200"), AudioError, r"line 3.*lasts 2\.00 s.*200"),
    "only short songs": (as_short("train"), SettingError, "train.csv.*all 2 songs.*wait"),
    "only short songs to validate": (as_short("validation"), SettingError, "validation.csv.*all 1 songs"),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_a_table_with_a_trap_is_refused_before_anything_starts(trap, tmp_path):
    change, error, message = TRAPS[trap]
    settings, folder, root = prepared(tmp_path)
    change(root)
    with pytest.raises(error, match=f"(?s){message}"):
        engine.train(settings, folder, root)
    assert not folder.exists()


def test_songs_in_both_tables_are_named_before_training(tmp_path, monkeypatch, caplog):
    settings, folder, root = prepared(tmp_path)
    monkeypatch.setattr(engine, "_require_programs", None)  # the next step, which ends the test
    with pytest.raises(TypeError):
        engine.train(settings | {"validation_csv": settings["train_csv"]}, folder, root)
    assert "2 of 2 validation songs are trained on too" in caplog.text


def test_a_song_just_long_enough_passes_a_shorter_is_named(tmp_path, caplog):
    settings, _, root = prepared(tmp_path, seconds=SHORTEST / 44100)
    edit_table(root, lambda rows: rows[0].update(duration=1.0))
    for path in root.prepared.glob("train/Track00001/*.flac"):
        audio.write(path, np.zeros((44100, 2), np.int16), 44100)
    checks.check_table(settings["train_csv"], settings, root)
    assert [record.message for record in caplog.records if "lines 2." in record.message]


WRONG_SETTINGS = {
    "a network of ours": ({"model": {"type": "muscomp.shared_unet", "params": {}}}, "muscomp.shared_unet"),
    "the loss that fails": ({"loss_type": "weighted_L1_mask"}, "weighted_L1_mask"),
    "longer than a chunk": ({"T": 1024}, "T = 1024.*20 s for training"),
    "longer than a chunk for validation": ({"T": 576}, "T = 576.*12 s for validation"),
}


@pytest.mark.parametrize("case", WRONG_SETTINGS)
def test_settings_spleeter_fails_with_are_refused(case, tmp_path):
    changes, message = WRONG_SETTINGS[case]
    settings, folder, root = prepared(tmp_path)
    with pytest.raises(SettingError, match=message):
        engine.train(settings | changes, folder, root)


def test_a_model_folder_without_weights_is_never_separated_with(tmp_path):
    settings, folder, _ = prepared(tmp_path)
    folder.mkdir(parents=True)
    song = np.zeros((4410, 2), np.float32)
    with pytest.raises(MissingError, match="checkpoint"):
        engine.separate(settings, folder, song, 44100, tmp_path / "out")
    (folder / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-7"\n')
    with pytest.raises(MissingError, match=r"model\.ckpt-7"):
        engine.separate(settings, folder, song, 44100, tmp_path / "out")


def test_without_ffmpeg_the_message_says_so(tmp_path, monkeypatch):
    settings, folder, root = prepared(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match="ffmpeg"):
        engine.train(settings, folder, root)


def test_only_a_whole_cache_of_the_same_songs_is_kept(tmp_path):
    settings, folder, root = prepared(tmp_path)
    prefix, other = folder / "cache" / "training", folder / "cache" / "training2.index"
    half, whole = (prefix.with_name(f"training{end}") for end in ("_0.lockfile", ".index"))
    other.parent.mkdir(parents=True)
    other.touch()
    engine.clean_cache(prefix, settings, "train_csv")
    half.touch()
    engine.clean_cache(prefix, settings, "train_csv")
    assert not half.exists()
    whole.touch()
    engine.clean_cache(prefix, settings, "train_csv")
    assert whole.exists()
    edit_table(root, lambda rows: rows.pop())
    engine.clean_cache(prefix, settings, "train_csv")
    assert not whole.exists() and other.exists()


def test_a_cache_without_our_mark_is_not_removed(tmp_path):
    settings, _, _ = prepared(tmp_path)
    (tmp_path / "thesis.index").touch()
    with pytest.raises(SettingError, match=r"thesis\.index was not made by Mus-Comp"):
        engine.clean_cache(tmp_path / "thesis", settings, "train_csv")
    assert (tmp_path / "thesis.index").exists()


# ---- the real Spleeter ----


def test_spleeter_gets_sums_as_files(tmp_path):
    groups = {"Drums": ["Drums"], "pitched": ["Electric_Bass_pick", "Violin"]}
    own = {"taxonomy": None, "crop_frames": 64, "remix": True, "targets": groups}
    config, folder, root = prepared(tmp_path, instrument_list=list(groups), muscomp=own)
    table = root.tables / "train.csv"
    rows = (
        table.read_text().replace("Electric_Bass_pick_path", "pitched_path").replace("Electric_Bass_pick.", "pitched.")
    )
    table.write_text(rows)
    made = target_files.write(root, table, config, folder)
    for row in csv.DictReader(made.read_text().splitlines()):
        song = (root.path / row["mix_path"]).parent
        parts = [audio.read(song / f"{name}.flac", dtype="int16")[0].astype(int) for name in groups["pitched"]]
        written = root.path / row["pitched_path"]
        np.testing.assert_array_equal(audio.read(written, dtype="int16")[0], sum(parts))
        assert (root.path / row["Drums_path"]) == song / "Drums.flac"
    before = written.stat().st_mtime_ns
    target_files.write(root, table, config, folder)
    assert written.stat().st_mtime_ns == before
    audio.write(song / "Violin.flac", np.zeros_like(parts[0], np.int16), 44100)
    target_files.write(root, table, config, folder)
    np.testing.assert_array_equal(audio.read(written, dtype="int16")[0], parts[0])


@pytest.fixture(scope="module")
def trained(spleeter_python, tmp_path_factory):
    """Training, killed after its first validation, that went on: settings, folder, root, first row, later rows."""
    settings, folder, root = prepared(tmp_path_factory.mktemp("root"), train_max_steps=6, save_checkpoints_steps=2)
    code = f"""
from muscomp_lib import open_root
from muscomp_lib.models.config import read_config
from muscomp_lib.spleeter import engine
root = open_root({str(root.path)!r})
for row in engine.train(read_config(root.configs / "tiny.json"), root.models / "tiny", root):
    print("row", *row, flush=True)
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        first = next(line.split()[1:] for line in process.stdout if line.startswith("row"))
        process.kill()
    (folder / "cache" / "training.index").unlink()  # as if it had been killed while it filled its cache
    (folder / "cache" / "training_0.lockfile").touch()
    return settings, folder, root, first, list(engine.train(settings, folder, root))


@pytest.mark.slow
def test_killed_training_goes_on_from_spleeters_checkpoint(trained):
    settings, folder, root, first, rows = trained
    assert first[0] == "2"
    assert rows[-1][0] == 6 and rows[0][0] > 2
    assert np.isfinite(rows).all() and np.min(rows) > 0
    assert engine.checkpoint_step(folder) == 6
    assert list(engine.train(settings, folder, root)) == []


@pytest.mark.slow
def test_spleeter_gets_absolute_paths_and_nothing_of_ours(trained):
    _, folder, *_ = trained
    given = json.loads((folder / "spleeter.json").read_text())
    assert "muscomp" not in given
    assert all(Path(given[key]).is_absolute() for key in ("model_dir", "train_csv", "training_cache"))


@pytest.mark.slow
def test_separated_files_sum_to_the_song(trained, tmp_path):
    settings, folder, root, *_ = trained
    song, rate = audio.read(root.prepared / "test" / "Track00004" / "mix.flac")
    song[1000] = np.nan
    written = engine.separate(settings, folder, song, rate, tmp_path / "-o {odd} 'name'")
    assert list(written) == tiny_prepared.INSTRUMENTS
    parts = [audio.read(path)[0] for path in written.values()]
    assert np.abs(sum(parts) - np.nan_to_num(song)).max() < 1e-4


@pytest.mark.slow
def test_weights_of_another_network_are_refused_with_spleeters_words(trained, tmp_path):
    settings, folder, *_ = trained
    other = settings | {"model": {"type": "unet.unet", "params": {"conv_n_filters": [5, *FILTERS[1:]]}}}
    with pytest.raises(MusCompError, match="conv2d"):
        engine.separate(other, folder, np.zeros((44100, 2), np.float32), 44100, tmp_path)
    assert not list(tmp_path.glob("*.flac"))


@pytest.mark.slow
def test_the_configuration_of_notebook_03_trains_and_separates(spleeter_python, tmp_path):
    """With four of the instruments: before its first step, Spleeter builds 8,000 operations for each."""
    root = open_root(tmp_path / "root")
    named = ("Drums", "Electric_Bass_pick", "Violin", "Bright_Acoustic_Piano")
    chosen = tables.Settings(
        name="four", targets={name: [name] for name in named}, model_type="unet.unet", conv_n_filters=tuple(FILTERS),
        T=64, F=64, crop_frames=64, batch_size=1, train_max_steps=2, save_checkpoints_steps=2, n_chunks_per_song=1,
    )  # fmt: skip
    for partition, track in (("train", "Track00001"), ("validation", "Track00002")):
        write_song(root.prepared / partition / track, chosen.instrument_list)
    tables.write(root, chosen)
    settings = read_config(tables.config(root, chosen))
    folder = training.train("four", root, engine="spleeter")
    history = training.read_history(folder)
    assert [row[0] for row in history] == [2] and np.isfinite(history).all()
    song, rate = audio.read(root.prepared / "train" / "Track00001" / "mix.flac")
    written = engine.separate(settings, folder, song, rate, tmp_path / "out")
    assert list(written) == chosen.instrument_list
    ours = separation.Separator(folder).separate(song, rate)
    for name, path in written.items():
        assert np.abs(audio.read(path)[0] - ours[name]).max() < 1e-5


def write_song(folder, names, seconds=2.0):
    rng = np.random.default_rng(len(folder.name))
    parts = {name: rng.integers(-500, 500, (round(44100 * seconds), 2), dtype=np.int16) for name in names}
    for name, waveform in (parts | {"mix": sum(parts.values())}).items():
        audio.write(folder / f"{name}.flac", waveform, 44100)
