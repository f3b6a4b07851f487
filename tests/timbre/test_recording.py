import numpy as np
import pytest
from timbre.test_descriptors import RATE, note

from muscomp_lib import audio
from muscomp_lib.core.errors import AudioError, MissingError
from muscomp_lib.timbre import query
from muscomp_lib.timbre.descriptors import vector

SECOND = np.ones(RATE, np.float32)


def noise(seconds=1.0, level=0.1):
    return np.random.default_rng(0).normal(0, level, round(seconds * RATE)).astype(np.float32)


@pytest.mark.parametrize(
    ("sound", "words"),
    [
        (0 * SECOND, "is silent"),
        (0.02 * SECOND, "is silent"),
        (0.02 * SECOND + noise(level=1e-5), "is silent"),
        (noise(), "is noise"),
        (0.2 * SECOND + noise(), "is noise"),
        (note(220.0, [1.0], seconds=0.005), "lasts 5 ms"),
        (SECOND * np.nan, "NaN"),
        (SECOND[:0], "lasts 0 ms"),
    ],
)
def test_what_is_no_instrument_is_refused(sound, words):
    with pytest.raises(AudioError, match=words + r".*Record a few seconds of one instrument alone"):
        query(sound, RATE)


@pytest.mark.parametrize(
    ("sound", "rate", "words"),
    [
        (note(220.0, [1.0]), None, "needs its sample rate"),
        (note(220.0, [1.0]), 0, "needs its sample rate"),
        (note(220.0, [1.0])[None], RATE, r"has the shape \(1, "),
        (note(220.0, [1.0])[:, None, None], RATE, "has the shape"),
        (note(220.0, [1.0])[:, None][:, :0], RATE, "has the shape"),
        (np.array(["a", "b"]), RATE, "the query holds <U1. Samples must be floats"),
        ([[0.5], [0.5, 0.5]], RATE, "the query is no array"),
        (None, RATE, "the query holds object"),
    ],
)
def test_a_waveform_that_cannot_be_is_refused(sound, rate, words):
    with pytest.raises(AudioError, match=words):
        query(sound, rate)


def test_a_note_of_any_level_is_the_same_query():
    sound = note(220.0, [1.0, 0.5, 0.2])
    np.testing.assert_allclose(query(sound * np.float32(1e30), RATE), query(sound, RATE), atol=0.5)


def test_a_microphones_offset_is_no_part_of_a_query():
    sound = note(220.0, [1.0, 0.5, 0.2])
    quiet = 0.1 * sound / np.float32(np.abs(sound).max())
    np.testing.assert_allclose(query(quiet + np.float32(0.8), RATE), query(quiet, RATE), atol=0.1)


def test_harmonics_are_refused_of_a_chord_or_a_drum():
    chord = note(220.0, [1.0, 0.5]) + note(277.2, [1.0, 0.5]) + note(329.6, [1.0, 0.5])
    drum = noise(0.5) * np.exp(-np.arange(RATE // 2) / 2000).astype(np.float32)
    for sound in (chord, drum):
        with pytest.raises(AudioError, match="is not one note: it is a chord"):
            query(sound, RATE, "harmonics")
        assert query(sound, RATE, "envelope").shape == (40,)


def test_a_drum_warns_and_a_note_does_not(caplog):
    query(noise(0.5) * np.exp(-np.arange(RATE // 2) / 2000).astype(np.float32), RATE)
    assert "has no pitch" in caplog.text
    caplog.clear()
    query(note(220.0, [1.0, 0.5]), RATE)
    assert not caplog.text


def test_a_file_is_a_query_at_any_rate(tmp_path):
    for rate in (22050, 48000):
        audio.write(tmp_path / "note.wav", note(220.0, [1.0, 0.5, 0.2], rate=rate)[:, None], rate)
        found = query(tmp_path / "note.wav")
        np.testing.assert_allclose(found, query(note(220.0, [1.0, 0.5, 0.2]), RATE), atol=0.5)


def test_silence_before_a_stem_is_no_part_of_queries(tmp_path):
    sound = note(220.0, [1.0, 0.5, 0.2])
    stem = np.concatenate([np.zeros(35 * RATE, np.float32), sound])
    audio.write(tmp_path / "stem.wav", stem[:, None], RATE)
    for found in (query(stem, RATE), query(tmp_path / "stem.wav")):
        np.testing.assert_allclose(found, query(sound, RATE), atol=0.5)


@pytest.mark.parametrize("silence", [0, RATE])
def test_a_rooms_noise_is_no_part_of_a_query(silence):
    sound = 0.5 * note(220.0, [0.9**n for n in range(50)], seconds=2.0)
    recorded = np.pad(sound, 2 * RATE)
    recorded = np.pad(recorded + noise(len(recorded) / RATE, level=0.01), silence)
    assert np.abs(query(recorded, RATE) - query(sound, RATE)).mean() < 0.1


def test_a_note_that_fades_is_no_pause():
    sound = note(220.0, [1.0, 0.5, 0.2], seconds=3.0)
    faded = sound * np.exp(-5 * np.arange(len(sound)) / len(sound)).astype(np.float32)
    np.testing.assert_allclose(query(faded, RATE), vector("envelope", faded, RATE), atol=0.01)


def test_files_that_are_no_sound_are_refused(tmp_path):
    (tmp_path / "note.wav").write_text("not music")
    with pytest.raises(AudioError, match=r"note\.wav"):
        query(tmp_path / "note.wav")
    with pytest.raises(MissingError, match=r"none\.wav"):
        query(tmp_path / "none.wav")
