"""One network, two queries: trained on two tones, asked for either of them."""

import numpy as np
import pytest

from muscomp_lib import audio
from muscomp_lib.core.errors import SettingError
from muscomp_lib.models import pretrained
from muscomp_lib.separation import Separator
from muscomp_lib.timbre import descriptors, train
from muscomp_lib.timbre.descriptors import RATE
from muscomp_lib.timbre.material import Bank

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


def test_training_resumes_and_refuses_other_settings(model, bank):
    assert train.train(model, [bank], SETTINGS) == model
    with pytest.raises(SettingError, match="was started with other settings"):
        train.train(model, [bank], train.Settings(steps=61))
