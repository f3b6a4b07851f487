"""Examples made on a device, by JAX. Keras computes with one library per process, so training has one of its own."""

import os
import subprocess
import sys

import numpy as np
import pytest
from fixtures import tiny_prepared

from muscomp_lib import audio
from muscomp_lib.audio import stft
from muscomp_lib.core.errors import SettingError
from muscomp_lib.dataset import song_table
from muscomp_lib.models.config import read_config
from muscomp_lib.training import read_history, resident

pytest.importorskip("jax")
pytestmark = pytest.mark.full  # to compile for a device takes half a minute

TRAIN = "import sys; from muscomp_lib import training; from muscomp_lib.core.root import open_root; "
TRAIN += "training.train('tiny', open_root(sys.argv[1]))"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tiny_prepared.write(tmp_path_factory.mktemp("root"), batch_size=12)


@pytest.fixture(scope="module")
def settings(root):
    return read_config(root.configs / "tiny.json")


@pytest.fixture(scope="module")
def songs(root, settings):
    return song_table.read_songs(root, root.tables / "train.csv", settings)


@pytest.fixture(scope="module")
def remixed(songs, settings):
    made = resident.ResidentExamples(songs, settings, 1, remix=True)
    return [tuple(map(np.asarray, made.batch(number))) for number in (0, 1, 0)]


def test_a_batch_has_the_shape_the_network_takes(remixed):
    mix, parts = remixed[0]
    assert mix.shape == (12, 64, 128, 1) and parts.shape == (12, 64, 128, 1, 3)
    assert mix.dtype == parts.dtype == np.float32


def test_examples_have_what_notebook_04_shows_of_them(songs, settings):
    made = resident.ResidentExamples(songs, settings, 1, remix=False)
    assert made.songs == songs and made.n_frames == 64


def test_a_batch_is_a_function_of_its_number(remixed):
    for first, second, again in zip(*remixed, strict=True):
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, second)


def test_a_part_that_is_alone_is_the_mix(remixed):
    mix, parts = (np.concatenate(each) for each in zip(*remixed, strict=True))
    sounding = parts.sum(axis=(1, 2, 3)) > 0
    alone = sounding.sum(axis=1) == 1
    assert alone.any() and (sounding.sum(axis=1) > 1).any()
    np.testing.assert_allclose(mix[alone], parts[alone].sum(axis=-1), rtol=1e-4, atol=1e-3)


def test_without_remixing_examples_are_excerpts_of_songs(songs, settings):
    mix, parts = map(np.asarray, resident.ResidentExamples(songs[:1], settings, 1, remix=False).batch(0))
    waveform, _ = audio.read(songs[0].mix)
    levels = np.abs(stft.frames_to_spectrogram(audio.fit_channels(waveform, 1), 4096, 64)[:, :128])
    for example, of_parts in zip(mix, parts, strict=True):
        nearest = np.abs(levels - example[0]).mean(axis=(1, 2)).min()
        assert nearest < 0.05 * levels.mean()
        assert np.abs(of_parts.sum(axis=-1) - example).mean() < 0.3 * example.mean()  # all there, in phase or not


def test_an_excerpt_at_another_speed_is_tuned():
    tone = np.sin(2 * np.pi * 440 * np.arange(60_000) / 44100)
    sound = audio.to_int16(np.float32(tone))[None]
    rows, starts = np.zeros(2, np.int32), np.array([0, 5000], np.int32)
    as_it_is, faster = np.asarray(resident._excerpts(sound, rows, starts, np.array([1.0, 2 ** (1 / 12)]), 40_000))
    np.testing.assert_allclose(as_it_is, sound[0, :40_000] / audio.INT16_SCALE, atol=1e-6)
    sped_up = np.sin(2 * np.pi * 440 * (5000 + 2 ** (1 / 12) * np.arange(40_000)) / 44100)
    np.testing.assert_allclose(faster, sped_up, atol=2e-4)


def test_places_where_an_instrument_sounds_are_taken():
    waveforms = np.zeros((2, 40 * resident.BLOCK), np.int16)
    waveforms[1, 30 * resident.BLOCK :] = 1000
    sounds = resident.Sounds(waveforms, np.array([0, waveforms.shape[1]]), resident._sounding(waveforms), np.array([1]))
    drawn = np.full((2, 1), 0.99), np.array([[0.1], [0.9]])
    rows, starts = resident._audible(sounds, *drawn, resident.BLOCK)
    assert rows.tolist() == [1] and starts[0] > 30 * resident.BLOCK


def test_what_does_not_fit_is_refused_with_its_size(songs, settings, monkeypatch):
    monkeypatch.setattr(resident, "MOST_SAMPLES", 1000)
    with pytest.raises(SettingError, match=r"2 songs of up to 313616 samples .* Train on fewer songs"):
        resident.ResidentExamples(songs, settings, 1, remix=True)


def test_networks_with_a_mask_per_channel_are_refused(songs, settings):
    with pytest.raises(SettingError, match="trains on TensorFlow only"):
        resident.ResidentExamples(songs, settings, 2, remix=True)


def test_the_same_command_trains_on_jax(root):
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, root.path], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    history = read_history(root.models / "tiny")
    assert [row[0] for row in history] == [2, 4, 6] and np.isfinite(history).all()
    assert (root.models / "tiny" / "weights.npz").is_file()
