"""One network, two queries: trained on two tones, asked for either of them."""

import dataclasses

import numpy as np
import pytest

from muscomp_lib import audio
from muscomp_lib.core.errors import SettingError, StoppedError
from muscomp_lib.models import pretrained
from muscomp_lib.models.weights import WEIGHTS
from muscomp_lib.separation import Separator
from muscomp_lib.timbre import descriptors, material, train
from muscomp_lib.timbre.descriptors import RATE
from muscomp_lib.timbre.material import Bank
from muscomp_lib.training import loop

LOW, HIGH, THIRD = 40, 73, 9
SETTINGS = train.Settings(steps=40, save_every=20, batch_size=4, n_frames=64, learning_rate=0.01, filters=[4, 8, 8])
TONES = {LOW: 200.0, HIGH: 3000.0, THIRD: 900.0}


def tone(program, seconds):
    return np.int16(8000 * np.sin(2 * np.pi * TONES[program] * np.arange(round(seconds * RATE)) / RATE))


@pytest.fixture(scope="module")
def bank():
    programs = np.array(list(TONES))
    stems = np.stack([tone(program, 3.5) for program in TONES])
    notes = {program: tone(program, 1.0)[None] for program in TONES}
    return Bank("tones", [(programs, stems)], notes, {program: np.zeros(1) for program in TONES})


@pytest.fixture(scope="module")
def model(bank, tmp_path_factory):
    return train.train(tmp_path_factory.mktemp("query") / "model", [bank], SETTINGS)


def correlation(a, b):
    return float((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))


def test_one_network_gives_whichever_tone_it_is_asked_for(model):
    parts = {program: audio.to_float(tone(program, 4.0)) for program in (LOW, HIGH)}
    mix = np.stack([sum(parts.values())] * 2, axis=1)
    separator = Separator(model)
    for part in parts.values():
        found = separator.separate(mix, RATE, query=descriptors.vector("envelope", part, RATE))
        assert list(found) == ["asked", "rest"] and found["asked"].shape == mix.shape
        assert correlation(found["asked"][:, 0], part) > 0.95
        np.testing.assert_allclose(sum(found.values())[RATE:-RATE], mix[RATE:-RATE], atol=1e-3)


def test_a_file_of_one_note_asks_for_it(model, tmp_path):
    audio.write(tmp_path / "note.wav", audio.to_float(tone(HIGH, 1.0))[:, None], RATE)
    mix = sum(audio.to_float(tone(program, 3.0)) for program in TONES)[:, None]
    separator = Separator(model, query=tmp_path / "note.wav")
    files = separator.separate_file(_song(tmp_path, mix), tmp_path / "out")
    assert sorted(path.name for path in files.values()) == ["asked.flac", "rest.flac"]
    assert separator.identity["query"] != Separator(model, query=np.zeros(40, np.float32)).identity["query"]


def _song(folder, mix):
    audio.write(folder / "song.wav", mix / 4, RATE)
    return folder / "song.wav"


def test_missing_queries_and_queries_of_other_models_are_refused(model):
    with pytest.raises(SettingError, match="takes no query"):
        Separator(pretrained.FOLDER, query=np.zeros(40, np.float32))
    with pytest.raises(SettingError, match="Give it one"):
        Separator(model).separate(np.zeros((RATE, 1), np.float32), RATE)


@pytest.mark.full
def test_a_training_that_was_stopped_resumes_to_the_same_model(model, bank, tmp_path, monkeypatch):
    real = loop.LossCheck.__call__

    def stop(self, step, loss, is_validation=False):
        real(self, step, loss, is_validation)
        if step == 30:  # between two checkpoints
            raise StoppedError("stopped")

    monkeypatch.setattr(loop.LossCheck, "__call__", stop)
    with pytest.raises(StoppedError):
        train.train(tmp_path / "model", [bank], SETTINGS)
    monkeypatch.setattr(loop.LossCheck, "__call__", real)
    resumed = train.train(tmp_path / "model", [bank], SETTINGS)
    assert (resumed / WEIGHTS).read_bytes() == (model / WEIGHTS).read_bytes()


def test_a_training_with_other_settings_or_music_is_refused(model, bank):
    with pytest.raises(SettingError, match="was started with other settings"):
        train.train(model, [bank], train.Settings(steps=61))
    programs, stems = bank.songs[0]
    with pytest.raises(SettingError, match=r"was started with other settings.*train_csv"):
        train.train(model, [dataclasses.replace(bank, songs=[(programs, stems[:, ::-1])])], SETTINGS)


def test_rendered_music_is_reused_only_where_it_fits(tmp_path):
    first = material.render(tmp_path, material.BANK, [[0, 33]], n_notes=1, seconds=2.0)
    again = material.render(tmp_path, material.BANK, [[0, 33]], n_notes=1, seconds=2.0)
    longer = material.render(tmp_path, material.BANK, [[0, 33]], n_notes=2, seconds=2.5, seed=5)
    assert first.checksum() == again.checksum() != longer.checksum()
    assert [bank.songs[0][1].shape[1] for bank in (first, longer)] == [2 * material.RATE, 2.5 * material.RATE]
    assert [len(bank.notes[33]) for bank in (first, longer)] == [1, 2]


def test_damaged_rendered_music_is_rendered_again(tmp_path):
    whole = material.render(tmp_path, material.BANK, [[0, 33]], n_notes=1, seconds=2.0)
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-9])
    again = material.render(tmp_path, material.BANK, [[0, 33]], n_notes=1, seconds=2.0)
    assert again.checksum() == whole.checksum() and np.array_equal(again.notes[33], whole.notes[33])
