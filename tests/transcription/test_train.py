import json
import shutil

import numpy as np
import pytest
from fixtures import tiny_notes
from fixtures.killing import run, run_and_kill, snapshot

from muscomp_lib.core import instruments
from muscomp_lib.core.errors import MissingError, SettingError
from muscomp_lib.models import pretrained
from muscomp_lib.models.weights import get_weights, read_arrays, write_weights
from muscomp_lib.training import loop
from muscomp_lib.transcription import batches, metrics, note_decoder
from muscomp_lib.transcription import train as transcriber_training
from muscomp_lib.transcription.train import Settings, train

VIOLIN = instruments.load()["Violin"]
LEARNING = Settings(steps=48, save_every=24, batch_size=4, n_frames=32, learning_rate=8e-3, separator=None)
SMALL = {"steps": 4, "save_every": 2, "batch_size": 2, "n_frames": 32, "separator": None}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A root with a transcriber that knows these tones."""
    root = tiny_notes.write(tmp_path_factory.mktemp("trained"))
    train(root, LEARNING)
    return root


def test_the_model_folder_holds_the_documented_files(trained):
    folder = trained.models / "transcriber"
    assert {path.name for path in folder.iterdir()} == {"config.json", "history.csv", "checkpoint.npz", "weights.npz"}
    assert [row[0] for row in loop.read_history(folder)] == [24, 48]
    config = json.loads((folder / "config.json").read_text())
    assert config["instrument_list"] == tiny_notes.NAMES and config["steps"] == 48


def test_validation_loss_falls_by_half(trained):
    history = loop.read_history(trained.models / "transcriber")
    _, validation = transcriber_training.examples(trained, Settings(**SMALL))
    fresh = transcriber_training.compiled(
        {**SMALL, **Settings(**SMALL).model_dump(), "instrument_list": tiny_notes.NAMES}
    )
    before = float(fresh.test_on_batch(*validation.batch(0)))
    assert history[-1][2] < 0.5 * before


def test_examples_count_alike_however_many_notes_they_have():
    rng = np.random.default_rng(0)
    log_odds, labels = rng.normal(size=(2, 2, 16, 88, 3)).astype(np.float32)
    labels = (labels > 2).astype(np.float32)
    labels[1] = 0
    together, notes, none = (
        float(transcriber_training.note_loss(labels[which], log_odds[which])) for which in ([0, 1], [0], [1])
    )
    assert together == pytest.approx((notes + none) / 2, rel=1e-5)


def test_finished_trainings_are_kept_and_other_settings_refused(trained):
    before = snapshot(trained.models)
    train(trained, LEARNING)
    assert snapshot(trained.models) == before
    with pytest.raises(SettingError, match=r"steps: 48 then, 4 now.*fresh=True"):
        train(trained, Settings(**SMALL))


def test_training_can_start_from_a_transcribers_weights(trained):
    settings = Settings(**SMALL, name="finer", start_from="transcriber", drum_share=0.5)
    config = transcriber_training._config(trained, settings)
    model = transcriber_training.compiled(config, trained)
    before = read_arrays(trained.models / "transcriber" / "weights.npz")
    assert all(np.array_equal(value, before[name]) for name, value in get_weights(model).items())
    assert config["start_from"] == "transcriber" and config["drum_share"] == 0.5


def test_settings_that_are_new_do_not_hinder_resuming(trained):
    assert not set(transcriber_training.LATER) & set(transcriber_training._config(trained, Settings(**SMALL)))


@pytest.mark.full
def test_a_killed_training_resumes_to_the_same_weights(tmp_path):
    whole, broken = (tiny_notes.write(tmp_path / name) for name in ("whole", "broken"))
    imports = (
        "from muscomp_lib.core.root import open_root\n"
        "from muscomp_lib.training.loop import make_deterministic\n"
        "from muscomp_lib.transcription.train import Settings, train\n"
        "make_deterministic()"
    )
    of_whole, of_broken = (f"train(open_root({str(root.path)!r}), Settings(**{SMALL}))" for root in (whole, broken))
    lasts = run(imports, of_whole)
    run_and_kill(imports, of_broken, lasts, times=1)
    assert snapshot(broken.models) == snapshot(whole.models)


@pytest.mark.full
def test_separated_songs_are_used_and_separated_once(tmp_path, monkeypatch):
    root = tiny_notes.write(tmp_path)
    settings = Settings(**SMALL | {"separator": "shipped", "separated_songs": 2})
    training, _ = transcriber_training.examples(root, settings)
    assert len(training._pools) == 2
    parts = [part for its in training._pools[1].values() for part in its]
    assert {part.instrument for part in parts} == set(tiny_notes.NAMES) and len(parts) == 6
    assert len(next(part for part in parts if part.instrument == "Violin").notes) > 10
    separated = root.models / "transcriber" / "separated"
    assert len(list(separated.iterdir())) == 2
    before = snapshot(separated)
    train(root, settings)
    assert snapshot(separated) == before


def test_exporting_keeps_half_precision_weights_only(trained, tmp_path):
    folder = tmp_path / "exported"
    pretrained.export(trained.models / "transcriber", folder)
    assert {path.name for path in folder.iterdir()} == {"config.json", "history.csv", "weights.npz"}
    full, half = (read_arrays(its / "weights.npz") for its in (trained.models / "transcriber", folder))
    assert {array.dtype.name for array in half.values()} == {"float16"}
    for name, array in full.items():
        np.testing.assert_allclose(half[name], array, rtol=1e-3, atol=1e-6)


def test_exporting_averages_with_the_model_it_started_from(trained, tmp_path):
    folder, earlier = trained.models / "transcriber", tmp_path / "earlier"
    shutil.copytree(folder, earlier)
    weights, names = read_arrays(folder / "weights.npz"), tiny_notes.NAMES
    write_weights(earlier / "weights.npz", {name: 3 * array for name, array in weights.items()}, names)
    pretrained.export(folder, tmp_path / "mean", started_from=earlier)
    for name, array in read_arrays(tmp_path / "mean" / "weights.npz").items():
        np.testing.assert_allclose(array, (3 - 2 * pretrained.TRAINED_SHARE) * weights[name], rtol=2e-3, atol=1e-6)
    write_weights(earlier / "weights.npz", {name: array[:1] for name, array in weights.items()}, names)
    with pytest.raises(SettingError, match="earlier holds the weights of another network"):
        pretrained.export(folder, tmp_path / "mean", started_from=earlier)


def test_it_transcribes_an_unseen_song(trained):
    model = note_decoder.Transcriber(trained.models / "transcriber")
    scores = metrics.score(model, batches.stems(trained, ("test",)), "slakh12")
    assert list(scores["instrument"]) == tiny_notes.NAMES and (scores["notes"] > 10).all()
    assert scores.set_index("instrument")["f1"].mean() > 0.5


@pytest.mark.parametrize(
    ("setting", "value"),
    [("steps", 0), ("batch_size", 2.5), ("separated_songs", -1), ("learning_rate", 0), ("precision", "float8")],
)
def test_wrong_settings_are_refused_with_the_value(setting, value):
    with pytest.raises(SettingError, match=rf"{setting} = {value!r} is not possible. It must be"):
        Settings(**{setting: value})


def test_missing_tables_name_the_notebook_to_run(tmp_path):
    with pytest.raises(MissingError, match="Notebook 01"):
        train(tiny_notes.open_root(tmp_path), Settings(**SMALL))
