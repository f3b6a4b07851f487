import sys

import numpy as np
import pytest
import soundfile

from muscomp_lib import audio
from muscomp_lib.core.errors import AudioError, MissingError


def tone(seconds=1.0, channels=1, rate=44100):
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)
    return np.repeat(wave[:, None], channels, axis=1).astype(np.float32)


@pytest.mark.parametrize("suffix", [".flac", ".wav"])
def test_integers_are_read_back_as_they_were_written(tmp_path, suffix):
    samples = np.random.default_rng(0).integers(-32768, 32768, (1000, 2)).astype(np.int16)
    audio.write(tmp_path / f"a{suffix}", samples, 44100)
    back, rate = audio.read(tmp_path / f"a{suffix}", dtype="int16")
    np.testing.assert_array_equal(back, samples)
    assert (rate, back.dtype) == (44100, np.int16)
    part, _ = audio.read(tmp_path / f"a{suffix}", 100, 50, dtype="int16")
    np.testing.assert_array_equal(part, samples[100:150])


def test_floats_are_limited_to_full_scale():
    assert audio.to_int16(np.array([-2.0, -1.0, 0.0, 1.0, 2.0])).tolist() == [-32768, -32768, 0, 32767, 32767]
    np.testing.assert_array_equal(audio.to_int16(audio.to_float(np.arange(-5, 5, dtype=np.int16))), np.arange(-5, 5))


@pytest.mark.parametrize("suffix", [".flac", ".wav"])
def test_a_truncated_file_is_found_although_its_header_lies(tmp_path, suffix):
    path = tmp_path / f"cut{suffix}"
    audio.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, (44100, 1)), 44100)
    path.write_bytes(path.read_bytes()[:40000])
    for read in (audio.info, audio.read):
        with pytest.raises(AudioError, match=rf"cut\{suffix} is cut short"):
            read(path)


@pytest.mark.parametrize("content", [b"RIFF", b"not audio at all" * 100])
def test_what_is_no_audio_is_refused_with_what_to_do(tmp_path, content):
    (tmp_path / "song.m4a").write_bytes(content)
    with pytest.raises(AudioError, match=r"song\.m4a cannot be read as audio \(its format is unknown.*convert it"):
        audio.read(tmp_path / "song.m4a")


PAGE = b"<html lang=en><head><title>Download song.mp3</title></head><body></body></html>"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"PK\x03\x04" + bytes(200), "is a zip archive, not sound. Unpack it"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(200), "is an archive .* Unpack it"),
        (b"version https://git-lfs.github.com/spec/v1\nsize 9\n", "is a pointer of Git LFS.* git lfs"),
        (b"MThd\0\0\0\6" + bytes(50), "is a MIDI file: notes, not sound. Export the song"),
        (b"RIFF\x40\0\0\0RMIDdata" + bytes(50), "is a MIDI file"),
        (b"\n<!DOCTYPE HTML>\n" + PAGE, "is a web page, not sound.* Download the song itself"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n" + PAGE, "is a web page, not sound"),
    ],
    ids=["zip", "7z", "Git LFS", "MIDI", "RIFF MIDI", "HTML", "XHTML"],
)
@pytest.mark.parametrize("suffix", [".mp3", ".wav"])
def test_a_download_that_is_no_sound_is_named(tmp_path, content, what, suffix):
    path = tmp_path / f"song{suffix}"
    path.write_bytes(content)
    with pytest.raises(AudioError, match=rf"song\{suffix} {what}"):
        audio.read(path)


def test_without_pyav_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "song.m4a").write_bytes(b"anything")
    with pytest.raises(AudioError, match=r"song\.m4a cannot be read as audio .*pip install av"):
        audio.read(tmp_path / "song.m4a")


def test_a_file_without_samples_and_a_missing_one_are_refused(tmp_path):
    soundfile.write(tmp_path / "empty.wav", np.zeros((0, 1)), 44100)
    with pytest.raises(AudioError, match=r"empty\.wav has no samples"):
        audio.info(tmp_path / "empty.wav")
    (tmp_path / "empty.wav").write_bytes(b"")
    with pytest.raises(AudioError, match=r"empty\.wav is empty.*Copy it again"):
        audio.info(tmp_path / "empty.wav")
    with pytest.raises(MissingError, match=r"none\.wav is not there"):
        audio.read(tmp_path / "none.wav")
    with pytest.raises(MissingError, match="is a folder, not a sound"):
        audio.info(tmp_path)


def test_an_mp3_of_estimated_length_is_read_to_its_end(tmp_path):
    soundfile.write(tmp_path / "a.mp3", tone(3), 44100, format="MP3")
    assert abs(len(audio.read(tmp_path / "a.mp3")[0]) - 3 * 44100) < 4000
    assert audio.info(tmp_path / "a.mp3").channels == 1


def test_part_of_an_mp3_equals_that_part_of_the_whole(tmp_path):
    quiet_then_loud = tone(3) * np.linspace(0, 1, 3 * 44100, dtype=np.float32)[:, None]
    options = {"bitrate_mode": "VARIABLE", "compression_level": 0.5}
    soundfile.write(tmp_path / "a.mp3", quiet_then_loud, 44100, format="MP3", **options)
    whole, _ = audio.read(tmp_path / "a.mp3")
    part, _ = audio.read(tmp_path / "a.mp3", 50000, 20000)
    np.testing.assert_array_equal(part, whole[50000:70000])


def test_more_samples_than_there_are_is_an_error(tmp_path):
    audio.write(tmp_path / "a.flac", tone(0.1), 44100)
    for start, frames in [(0, 5000), (4000, 500), (5000, None)]:
        with pytest.raises(AudioError, match=r"a\.flac is cut short"):
            audio.read(tmp_path / "a.flac", start, frames)


def test_resampling_keeps_pitch_and_duration():
    waveform = audio.resample(tone(rate=22050), 22050, 44100)
    assert waveform.shape == (44100, 1)
    assert np.abs(np.fft.rfft(waveform[:, 0])).argmax() == 440


def test_channels_are_copied_averaged_or_the_first_are_kept():
    assert audio.fit_channels(tone(), 2).shape == (44100, 2)
    left_right = np.array([[1.0, 0.0], [0.5, 0.5]], np.float32)
    assert audio.fit_channels(left_right, 1).tolist() == [[0.5], [0.5]]
    assert audio.fit_channels(np.ones((3, 6), np.float32), 2).shape == (3, 2)
    assert audio.fit_channels(left_right, 2) is left_right


def test_channels_that_cancel_are_heard_in_mono():
    sound = tone(channels=1)
    for channels, expected in (([1, 1], 1), ([1, -1], 1), ([1, -0.8], 0.9), ([1, 0], 0.5), ([1, 0, -1], 0), ([1], 1)):
        np.testing.assert_allclose(audio.mono(sound * np.float32(channels)), expected * sound, atol=1e-7)


def test_fitting_the_length_cuts_or_pads_with_silence():
    assert audio.fit_length(np.ones((3, 2)), 2).shape == (2, 2)
    assert audio.fit_length(np.ones((3, 2)), 5).sum() == 6
    assert audio.fit_length(np.ones((3, 2, 4)), 5).shape == (5, 2, 4)


def test_loudness_follows_the_standard():
    full_scale = 2 * tone(5, channels=1)
    rate = 48000
    calibration = np.sin(2 * np.pi * 997 * np.arange(5 * rate) / rate)[:, None]  # BS.1770: -3.01 LUFS in one channel
    assert audio.loudness(calibration, rate) == pytest.approx(-3.01, abs=0.1)
    assert audio.loudness(full_scale * 0.5, 44100) == pytest.approx(audio.loudness(full_scale, 44100) - 6.02, abs=0.1)
    assert audio.loudness(np.zeros((44100, 1)), 44100) == -np.inf
    assert audio.loudness(tone(0.1), 44100) == -np.inf


def test_decibels_and_factors():
    assert audio.to_gain(-6.0206) == pytest.approx(0.5, abs=1e-5)
    assert audio.to_db(0.5) == pytest.approx(-6.0206, abs=1e-4)
    assert audio.to_db(0.0) == -np.inf
    np.testing.assert_allclose(audio.to_hertz(np.array([69, 57])), [440, 220])
