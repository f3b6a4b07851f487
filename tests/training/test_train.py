import inspect
import json
import os
import shutil
import signal
from types import SimpleNamespace

import numpy as np
import pytest
from fixtures import tiny_prepared
from fixtures.killing import run, run_and_kill, snapshot

from muscomp_lib import audio, separation, training
from muscomp_lib.core.errors import MissingError, SettingError, TrainingError
from muscomp_lib.core.files import locked
from muscomp_lib.core.root import open_root
from muscomp_lib.dataset import song_table
from muscomp_lib.models import layers, pretrained, shared_unet
from muscomp_lib.models.config import explain, read_config
from muscomp_lib.models.registry import network
from muscomp_lib.models.weights import read_arrays, write_arrays
from muscomp_lib.training import batches, experiments, loop, mask_snapshots

TINY = "import sys; sys.path.insert(0, 'tests')\nfrom fixtures import tiny_prepared\n"
SPLEETERS = {"type": "unet.unet", "params": {"conv_n_filters": [2] * 6}}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A root with a model that was trained for a while on tones."""
    root = tiny_prepared.write(
        tmp_path_factory.mktemp("trained"), train_max_steps=150, save_checkpoints_steps=50, learning_rate=5e-3
    )
    training.train("tiny", root)
    return root


def test_the_model_folder_holds_what_the_design_says(trained):
    folder = trained.models / "tiny"
    names = {"config.json", "history.csv", "masks.npz", "checkpoint.npz", "weights.npz"}
    assert {path.name for path in folder.iterdir()} == names
    assert (folder / "history.csv").read_text().splitlines()[0] == "step,loss,validation_loss"
    assert [row[0] for row in training.read_history(folder)] == [50, 100, 150]
    assert read_config(folder / "config.json") == read_config(trained.configs / "tiny.json")


def test_mask_snapshots_of_one_example_approach_the_ideal_mask(trained):
    names, masks = mask_snapshots.read(trained.models / "tiny")
    assert set(names) <= set(read_config(trained.configs / "tiny.json")["instrument_list"])
    assert list(masks) == ["after 50 steps", "after 100 steps", "after 150 steps", "ideal"]
    *on_the_way, ideal = masks.values()
    errors = [np.abs(mask - ideal).mean() for mask in on_the_way]
    assert errors[-1] < errors[0] and ideal.min() >= 0 and ideal.max() > 0.9


def test_history_has_the_step_loss_and_mean_validation_loss(tmp_path):
    root = tiny_prepared.write(tmp_path, train_max_steps=2, save_checkpoints_steps=2, learning_rate=1e-9)
    [(_, loss, validation_loss)] = training.read_history(training.train("tiny", root))
    settings = read_config(root.configs / "tiny.json")
    model, (examples, validation) = training.compiled(settings), training.examples(settings, root)

    def loss_of(batch):
        return float(network(settings).loss(batch[1], model(batch[0])))

    assert loss == pytest.approx(loss_of(examples.batch(1)), rel=1e-4)
    each = [loss_of(validation.batch(number)) for number in range(loop.VALIDATION_BATCHES)]
    assert validation_loss == pytest.approx(np.mean(each), rel=1e-4)
    assert np.ptp(each) > 1e-3 * np.mean(each)


def test_training_learns_to_tell_unseen_tones_apart(trained):
    separator = separation.Separator(trained.models / "tiny")
    songs = song_table.read_songs(trained, trained.tables / "test.csv", separator.config)
    gained = separation.score_songs(separator, songs).set_index("instrument")["improvement"]
    assert gained["Electric_Bass_pick"] > 6 and gained["Violin"] > 6


@pytest.mark.full
def test_half_long_numbers_learn_as_well(tmp_path):  # test_strategy.py has mixed_float16, whose loss is scaled
    muscomp = {"taxonomy": "slakh12", "crop_frames": 64, "remix": True, "precision": "mixed_bfloat16"}
    root = tiny_prepared.write(
        tmp_path, train_max_steps=150, save_checkpoints_steps=150, learning_rate=5e-3, muscomp=muscomp
    )
    folder = training.train("tiny", root)
    assert {array.dtype.name for array in read_arrays(folder / "weights.npz").values()} == {"float32"}
    test_training_learns_to_tell_unseen_tones_apart(root)


def test_a_finished_model_is_not_trained_again(trained, caplog):
    before = snapshot(trained.models)
    training.train("tiny", trained)
    assert snapshot(trained.models) == before
    assert "tiny was trained before, and is not trained again. For other songs, give the new model" in caplog.text


def test_other_settings_under_the_same_name_are_refused_by_key(trained):
    tiny_prepared.write_config(
        trained.configs / "other.json", tiny_prepared.tiny_config(trained, learning_rate=0.5, train_max_steps=150)
    )
    with pytest.raises(SettingError, match=r"learning_rate: 0\.005 then, 0\.5 now.*fresh=True"):
        training.train("other", trained)


def test_fresh_starts_over(tmp_path):
    root = tiny_prepared.write(tmp_path, train_max_steps=1)
    training.train("tiny", root)
    root = tiny_prepared.write(tmp_path, train_max_steps=2)
    (root.models / "tiny" / "notes.txt").write_text("mine")
    training.train("tiny", root, fresh=True)
    assert training.read_history(root.models / "tiny")[-1][0] == 2
    assert (root.models / "tiny" / "notes.txt").exists()


def other_things(folder):
    folder.mkdir(parents=True)
    (folder / "thesis.txt").write_text("mine")
    return folder


@pytest.mark.parametrize("place", ["outside", "root/models", "root/prepared/x", "root/models/../../outside"])
def test_fresh_deletes_nothing_outside_the_models_folder(tmp_path, place):
    thesis = other_things(tmp_path / "outside") / "thesis.txt"
    root = tiny_prepared.write(tmp_path / "root", model_dir=str(tmp_path / place))
    with pytest.raises(SettingError, match=r"model_dir = .*fresh=True deletes models there only"):
        training.train("tiny", root, fresh=True)
    assert thesis.exists() and (root.prepared / "train").exists()


def test_a_folder_that_another_run_trains_is_refused(tmp_path):
    root = with_model(tiny_prepared.write(tmp_path))
    before = snapshot(root.models)
    with locked(root.models / "tiny"), pytest.raises(SettingError, match=r"Another run trains .*tiny\. Wait"):
        training.train("tiny", root, fresh=True)
    assert snapshot(root.models) == before


def test_fresh_deletes_nothing_that_is_no_model(tmp_path):
    root = tiny_prepared.write(tmp_path)
    folder = other_things(root.models / "tiny")
    for content in (None, b"{}", b'{"name": "my-package"}'):
        if content is not None:
            (folder / "config.json").write_bytes(content)
        with pytest.raises(SettingError, match=r"tiny holds '(thesis\.txt|config\.json)' and is not a model"):
            training.train("tiny", root, fresh=True)
    assert (folder / "thesis.txt").exists()


def with_model(root):
    """A root with something that is taken for a finished model."""
    (root.models / "tiny").mkdir()
    shutil.copy(root.configs / "tiny.json", root.models / "tiny" / "config.json")
    (root.models / "tiny" / "weights.npz").write_text("learned")
    return root


def test_fresh_deletes_nothing_before_the_tables_are_checked(tmp_path):
    root = with_model(tiny_prepared.write(tmp_path))
    before = snapshot(root.models)
    (root.prepared / "train" / "Track00001" / "mix.flac").unlink()
    with pytest.raises(MissingError, match=r"train\.csv, line 2, mix_path"):
        training.train("tiny", root, fresh=True)
    assert snapshot(root.models) == before


def test_in_a_copied_root_the_copys_model_is_trained(tmp_path):
    original = with_model(tiny_prepared.write(tmp_path / "original", train_max_steps=1))
    before = snapshot(original.path)
    copy = open_root(shutil.copytree(original.path, tmp_path / "copy"))
    for fresh in (True, False):
        folder = training.train("tiny", copy, fresh=fresh)
        assert folder == copy.models / "tiny" and (folder / "masks.npz").exists()
        found = read_config(folder / "config.json")
        assert found["model_dir"] == str(folder) and found["train_csv"] == str(copy.tables / "train.csv")
    assert snapshot(original.path) == before


def test_fine_tuning_starts_from_what_another_model_knows(trained, tmp_path):
    root = tiny_prepared.write(tmp_path, train_max_steps=1, save_checkpoints_steps=1, learning_rate=1e-6)
    folder = training.train("tiny", root, start_from=trained.models / "tiny")
    begun = read_arrays(trained.models / "tiny" / "weights.npz")
    for name, weight in read_arrays(folder / "weights.npz").items():
        if "normalisation" not in name:
            np.testing.assert_allclose(weight, begun[name], atol=1e-4)
    assert training.read_history(folder)[0][2] < 0.8 * fresh_loss(tmp_path / "fresh")
    with pytest.raises(SettingError, match=r"started with other settings"):
        training.train("tiny", root)
    assert read_config(folder / "config.json")["muscomp"]["start_from"] == str(trained.models / "tiny")


def test_fine_tuning_may_change_the_instruments(trained, tmp_path):
    groups = {"Drums": ["Drums"], "pitched": ["Electric_Bass_pick", "Violin"]}
    own = {"taxonomy": "slakh12", "crop_frames": 64, "remix": True, "targets": groups}
    changes = {"train_max_steps": 1, "save_checkpoints_steps": 1, "learning_rate": 1e-6, "muscomp": own}
    root = tiny_prepared.write(tmp_path, instrument_list=list(groups), **changes)
    for partition in ("train", "validation"):
        table = root.tables / f"{partition}.csv"
        table.write_text(table.read_text().replace("Electric_Bass_pick", "pitched"))
    folder = training.train("tiny", root, start_from=trained.models / "tiny")
    begun, ended = (read_arrays(path / "weights.npz") for path in (trained.models / "tiny", folder))
    np.testing.assert_allclose(ended["masks/kernel"][:, :, 0], begun["masks/kernel"][:, :, 2], atol=1e-4)
    assert training.read_history(folder)[0][2] < 0.8 * fresh_loss(tmp_path / "fresh")


def fresh_loss(folder):
    root = tiny_prepared.write(folder, train_max_steps=1, save_checkpoints_steps=1, learning_rate=1e-6)
    return training.read_history(training.train("tiny", root))[0][2]


def test_unusable_starting_weights_are_refused_before_training(trained, tmp_path):
    root = tiny_prepared.write(tmp_path)
    with pytest.raises(MissingError, match=r"There is no model 'nothing'.*start_from"):
        training.train("tiny", root, start_from="nothing")
    config = json.loads((root.configs / "tiny.json").read_text())
    (root.configs / "other.json").write_text(json.dumps(config | {"model": {"type": "unet.unet", "params": {}}}))
    with pytest.raises(SettingError, match=r"weights of another network"):
        training.train("other", root, start_from="shipped")
    with pytest.raises(SettingError, match=r"weights of another network"):
        training.train("tiny", root, start_from="shipped")  # of another size
    with pytest.raises(SettingError, match="engine='muscomp' only"):
        training.train("tiny", root, engine="spleeter", start_from=trained.models / "tiny")
    assert not (root.models / "tiny").exists()


@pytest.mark.full
def test_after_a_damaged_checkpoint_training_resumes_from_the_previous(tmp_path, caplog, monkeypatch):
    undisturbed = training.train(
        "tiny", tiny_prepared.write(tmp_path / "calm", train_max_steps=3, save_checkpoints_steps=1)
    )
    root = tiny_prepared.write(tmp_path / "damaged", train_max_steps=3, save_checkpoints_steps=1)
    save, saved = write_arrays, []

    def killed_while_saving_the_last(path, arrays):
        save(path, arrays)
        saved.append(path.name)
        if saved.count("checkpoint.npz") == 3:
            path.write_bytes(path.read_bytes()[:1000])
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "write_arrays", killed_while_saving_the_last)
        training.train("tiny", root)
    folder = training.train("tiny", root)
    assert "resumes from the previous checkpoint" in caplog.text
    for name in ("weights.npz", "history.csv", "masks.npz", "checkpoint.npz"):
        assert (folder / name).read_bytes() == (undisturbed / name).read_bytes(), name
    assert not (folder / "checkpoint-before.npz").exists()


STATE = {"variable_0": np.arange(6.0), "step": np.array(2)}
SHAPES = {"variable_0": (6,), "step": ()}


def test_any_damage_to_the_newest_checkpoint_leads_to_the_previous(tmp_path, caplog):
    write_arrays(tmp_path / "checkpoint-before.npz", STATE)
    whole = (tmp_path / "checkpoint-before.npz").read_bytes()
    for bit in range(0, 8 * len(whole), 5):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        (tmp_path / "checkpoint.npz").write_bytes(content)
        np.testing.assert_array_equal(loop._checkpoint(tmp_path, SHAPES)["variable_0"], STATE["variable_0"])
    assert "resumes from the previous checkpoint" in caplog.text


@pytest.mark.parametrize("change", [{"variable_0": np.full(6, np.nan)}, {"variable_0": np.zeros(7)}, {"x": np.ones(1)}])
def test_a_checkpoint_of_nan_or_another_network_is_passed_over(tmp_path, caplog, change):
    write_arrays(tmp_path / "checkpoint-before.npz", STATE)
    write_arrays(tmp_path / "checkpoint.npz", STATE | {"step": np.array(4)} | change)
    assert loop._checkpoint(tmp_path, SHAPES)["step"] == 2
    assert "resumes from the previous checkpoint" in caplog.text
    (tmp_path / "checkpoint-before.npz").unlink()
    with pytest.raises(SettingError, match=r"checkpoint\.npz.*fresh=True"):
        loop._checkpoint(tmp_path, SHAPES)


def test_damaged_pictures_of_masks_do_not_stop_training(tmp_path, caplog):
    config = tiny_prepared.tiny_config(open_root(tmp_path))
    example = np.ones((1, 4, 128, 1), np.float32), np.ones((1, 4, 128, 1, 3), np.float32)
    (tmp_path / "masks.npz").write_bytes(b"PK")
    snapshots = mask_snapshots.MaskSnapshotCallback(tmp_path, lambda *_, **__: np.ones((1, 4, 128, 3)), config, example)
    snapshots(2)
    assert list(mask_snapshots.read(tmp_path)[1]) == ["after 2 steps", "ideal"]
    assert "masks.npz cannot be read" in caplog.text


def test_a_damaged_history_is_refused_with_the_way_out(tmp_path):
    (tmp_path / "history.csv").write_text("step,loss,validation_loss\n1,0.5\n")
    with pytest.raises(SettingError, match=r"history\.csv cannot be read .*fresh=True"):
        training.read_history(tmp_path)


def spoilt(monkeypatch, number, value):
    """Let batch `number` of the training examples, and all later ones, hold one value."""
    batch = batches.Examples.batch

    def spoil(self, which):
        found = batch(self, which)
        return tuple(np.full_like(array, value) for array in found) if self.remix and which >= number else found

    monkeypatch.setattr(batches.Examples, "batch", spoil)


def test_a_loss_of_nan_stops_training_and_keeps_the_checkpoint(tmp_path, monkeypatch):
    root = tiny_prepared.write(tmp_path, train_max_steps=8, save_checkpoints_steps=2)
    with monkeypatch.context() as patch, pytest.raises(TrainingError, match=r"step 4 of 8: the loss is nan.*step 2 is"):
        spoilt(patch, 3, np.nan)
        training.train("tiny", root)
    folder = root.models / "tiny"
    assert int(read_arrays(folder / "checkpoint.npz")["step"]) == 2
    assert [row[0] for row in training.read_history(folder)] == [2]
    assert not (folder / "weights.npz").exists()


@pytest.mark.parametrize("is_chief", [True, False])
def test_weights_that_become_infinite_stop_every_process_unsaved(tmp_path, is_chief):
    model = SimpleNamespace(variables=[np.ones(3)], optimizer=SimpleNamespace(variables=[np.array([1.0, np.inf])]))
    with pytest.raises(TrainingError, match=r"step 3 of 9: the weights are not finite.*of step 2 is kept"):
        loop._save(tmp_path, model, 3, [], loop.LossCheck(tmp_path, 2, 9), is_chief)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("partition", "purpose"), [("train", "training"), ("validation", "validation")])
def test_silence_is_refused_before_anything_is_written(tmp_path, partition, purpose):
    root = tiny_prepared.write(tmp_path)
    for path in root.prepared.glob(f"{partition}/*/*.flac"):
        audio.write(path, np.zeros((4 * 44100, 2), np.int16), 44100)
    with pytest.raises(TrainingError, match=rf"batches for {purpose} hold only silence"):
        training.train("tiny", root)
    assert not (root.models / "tiny").exists()


def test_losses_of_zero_in_a_row_stop_training(tmp_path):
    check = loop.LossCheck(tmp_path, 0, 100)
    for step in range(1, loop.MOST_ZEROS):
        check(step, 0.0)
    with pytest.raises(TrainingError, match=r"step 20 of 100: the loss is 0"):
        check(loop.MOST_ZEROS, 0.0)
    with pytest.raises(TrainingError, match=r"the loss is 0"):
        loop.LossCheck(tmp_path, 0, 100)(1, 0.0, is_validation=True)
    check = loop.LossCheck(tmp_path, 0, 100)
    for step in range(1, 100):
        check(step, 0.0 if step % loop.MOST_ZEROS else 0.1)


def test_a_damaged_checkpoint_is_refused_with_the_way_out(tmp_path):
    root = tiny_prepared.write(tmp_path, train_max_steps=2)
    folder = training.train("tiny", root)
    (folder / "weights.npz").unlink()
    (folder / "checkpoint.npz").write_bytes((folder / "checkpoint.npz").read_bytes()[:1000])
    with pytest.raises(SettingError, match=r"checkpoint\.npz cannot be read .*fresh=True"):
        training.train("tiny", root)


@pytest.mark.full
def test_a_requested_stop_loses_no_step_and_changes_nothing(tmp_path):
    imports = TINY + "import tensorflow, signal, os, threading"
    work = (
        "from muscomp_lib import training\nfrom muscomp_lib.core.errors import StoppedError\n"
        "root = tiny_prepared.write('FOLDER', train_max_steps=12, save_checkpoints_steps=6)\n"
    )
    stop = (
        "from muscomp_lib.training import batches\nahead = batches.prefetch\n"
        "def counted(examples, steps):\n"
        "    for number, batch in zip(steps, ahead(examples, steps)):\n"
        "        if number == 8: os.kill(os.getpid(), signal.SIGINT)\n"
        "        yield batch\n"
        "batches.prefetch = counted\n"
        "try: training.train('tiny', root)\n"
        "except StoppedError as error: assert 'saved after step 9 of 12' in str(error), error\n"
        "else: raise SystemExit(1)\n"
    )
    calm, stopped = tmp_path / "calm", tmp_path / "stopped"
    run(imports, work.replace("FOLDER", str(calm)) + "training.train('tiny', root)")
    run(imports, work.replace("FOLDER", str(stopped)) + stop)
    assert int(read_arrays(stopped / "models" / "tiny" / "checkpoint.npz")["step"]) == 9
    run(imports, work.replace("FOLDER", str(stopped)) + "training.train('tiny', root)")
    ours, theirs = snapshot(stopped / "models"), snapshot(calm / "models")
    assert {name: held.replace(bytes(stopped), bytes(calm)) for name, held in ours.items()} == theirs


NETWORKS = pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="muscomp.shared_unet"),
        pytest.param({"model": SPLEETERS}, id="unet.unet", marks=pytest.mark.full),
    ],
)


@pytest.mark.full  # with Spleeter's network, which draws dropout; tests/batch/test_survival.py has ours
def test_training_that_was_killed_ends_in_the_same_files(tmp_path):
    imports = TINY + "import tensorflow\nfrom muscomp_lib import training"
    network = f"model={SPLEETERS!r}"
    work = f"root = tiny_prepared.write('FOLDER', train_max_steps=10, {network})\ntraining.train('tiny', root)"
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    lasts = run(imports, work.replace("FOLDER", str(undisturbed)))
    run_and_kill(imports, work.replace("FOLDER", str(killed)), lasts, times=1)
    ours, theirs = snapshot(killed / "models"), snapshot(undisturbed / "models")
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert ours[name].replace(bytes(killed), bytes(undisturbed)) == theirs[name], name


def test_a_network_that_is_asked_is_refused_before_training(tmp_path):
    root = tiny_prepared.write(tmp_path)
    model = {"type": "muscomp.query_unet", "params": read_config(pretrained.QUERY / "config.json")["model"]["params"]}
    path = root.configs / "tiny.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model": model}))
    with pytest.raises(SettingError, match="learns that in notebook 06"):
        training.train("tiny", root)
    assert not (root.models / "tiny").exists()


def test_without_tables_or_configuration_the_message_names_notebook_03(tmp_path):
    root = tiny_prepared.write(tmp_path)
    with pytest.raises(MissingError, match=r"nothing\.json.*Notebook 03"):
        training.train("nothing", root)
    (root.tables / "train.csv").unlink()
    with pytest.raises(MissingError, match=r"train\.csv.*Notebook 03"):
        training.train("tiny", root)


def test_tables_may_be_relative_to_the_root(tmp_path):
    root = tiny_prepared.write(tmp_path)
    settings = read_config(root.configs / "tiny.json") | {"validation_csv": "tables/validation.csv"}
    _, validation = training.examples(settings | {"train_csv": "tables/train.csv"}, root)
    assert validation.songs
    with pytest.raises(MissingError, match=r"own/t\.csv is not there, neither in the root nor in .*its whole path"):
        training.examples(settings | {"train_csv": "own/t.csv"}, root)


def test_a_leak_needs_songs_to_test_with(tmp_path):
    root = tiny_prepared.write(tmp_path)
    table = root.tables / "test.csv"
    table.write_text(table.read_text().splitlines()[0] + "\n")
    with pytest.raises(SettingError, match="trains on the songs to test with, and there are none"):
        experiments.write(read_config(root.configs / "tiny.json"), root, "with_a_leak")


def test_spleeters_loss_sums_the_mean_difference_of_every_instrument():
    truth, amounts = np.zeros((1, 2, 2, 2, 3), np.float32), np.zeros((1, 2, 2, 2, 3), np.float32)
    amounts[..., 1], amounts[..., 2] = 1.0, 2.0
    assert float(layers.magnitude_distance(truth, amounts)) == pytest.approx(3.0)


def test_the_mask_loss_is_least_for_the_ideal_masks():
    truth = np.random.default_rng(0).uniform(0, 1, (1, 4, 4, 3)).astype(np.float32)
    ideal = truth / truth.sum(axis=-1, keepdims=True)
    uniform = np.full_like(ideal, 1 / 3)
    best, worse = (float(layers.mask_cross_entropy(truth, masks)) for masks in (ideal, uniform))
    assert best < worse
    assert worse == pytest.approx(np.log(3), abs=1e-4)


def test_mask_loss_by_band_equals_that_of_its_bins():
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, 1, (2, 4, 320, 1, 3)).astype(np.float32)
    by_band = rng.dirichlet([1, 1, 1], (2, 4, 256 + 16)).astype(np.float32)
    by_bin = np.concatenate([by_band[:, :, :256], by_band[:, :, 256:].repeat(4, axis=2)], axis=2)
    expected = -(truth[:, :, :, 0] * np.log(by_bin)).sum() / truth.sum()
    assert float(layers.mask_cross_entropy(shared_unet.sums_in_bands(truth[:, :, :, 0]), by_band)) == pytest.approx(
        expected, rel=1e-5
    )


@pytest.mark.full
def test_an_engine_does_not_resume_the_others_training(tmp_path):
    root = tiny_prepared.write(tmp_path, train_max_steps=2, model=SPLEETERS)
    folder = training.train("tiny", root)
    tiny_prepared.write(tmp_path, train_max_steps=4, model=SPLEETERS)
    (folder / "config.json").write_bytes((root.configs / "tiny.json").read_bytes())
    with pytest.raises(SettingError, match=r"started by our own training.*engine='muscomp'.*fresh=True"):
        training.train("tiny", root, engine="spleeter")
    (folder / "checkpoint.npz").unlink()
    with pytest.raises(SettingError, match=r"started by the real Spleeter.*engine='spleeter'.*fresh=True"):
        training.train("tiny", root)


def test_what_only_spleeter_can_train_is_refused(tmp_path):
    root = tiny_prepared.write(tmp_path, optimizer="SGD")
    with pytest.raises(SettingError, match=r"optimizer = 'SGD' is for engine='spleeter' only"):
        training.train("tiny", root)
    with pytest.raises(SettingError, match=r"engine = 'tensorflow'.*'muscomp' or 'spleeter'"):
        training.train("tiny", root, engine="tensorflow")
    assert not (root.models / "tiny").exists()


def test_a_network_of_our_own_is_not_trained_by_spleeter(tmp_path):
    root = tiny_prepared.write(tmp_path)
    with pytest.raises(SettingError, match="a network of our own"):
        training.train("tiny", root, engine="spleeter")


@pytest.mark.full
@NETWORKS
def test_a_trial_foretells_the_files_of_a_training(tmp_path, changes):
    root = tiny_prepared.write(tmp_path, train_max_steps=1, **changes)
    found = read_config(root.configs / "tiny.json")
    trial = training.try_out(found, steps=1)
    folder = training.train("tiny", root)
    held = read_arrays(folder / "checkpoint.npz")
    assert trial.save_bytes == sum(array.nbytes for name, array in held.items() if name != "step")
    described = network(found)
    built = described.build(n_channels=described.training_channels)
    assert trial.weights_bytes == 4 * built.count_params()
    assert trial.step_seconds > 0
    assert trial.memory_bytes is None or trial.memory_bytes > trial.save_bytes
    assert "about" in explain(found, trial=trial).set_index("key").loc["train_max_steps", "meaning"]


def test_a_trial_killed_by_the_system_is_ignored(tmp_path, monkeypatch, caplog):
    found = read_config(tiny_prepared.write(tmp_path).configs / "tiny.json")
    monkeypatch.setattr(inspect.getmodule(training.try_out), "_trial", _killed)
    assert training.try_out(found) is None
    assert "2 examples does not fit into this machine's memory" in caplog.text
    assert explain(found, trial=None) is not None
    with pytest.raises(SettingError, match="steps = 0"):
        training.try_out(found, steps=0)


def _killed(config, steps):
    os.kill(os.getpid(), signal.SIGKILL)
