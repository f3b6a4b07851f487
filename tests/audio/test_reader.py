"""Sound files as other people have them: integers of floats, wrong lengths, formats that lie, excerpts."""

import errno
import subprocess
import sys
import textwrap
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from fixtures.encoded import RATE, encode, with_size

from muscomp_lib import audio
from muscomp_lib.audio import libav, reader, stream
from muscomp_lib.audio.formats import SUFFIXES
from muscomp_lib.core.errors import AudioError, UnreachableError


def music(seconds=2.0, channels=2, rate=RATE, level=0.4):
    """Tones and noise, different in each channel: (n_samples, channels) float32."""
    rng, time = np.random.default_rng(0), np.arange(round(seconds * rate))[:, None] / rate
    tones = np.sin(2 * np.pi * 220 * (1 + np.arange(channels)) * time)
    return (level * (0.9 * tones + 0.1 * rng.uniform(-1, 1, tones.shape))).astype(np.float32)


def encoded(path, waveform=None, **options):
    """Write a file in the format of its suffix, and return its bytes."""
    waveform = music() if waveform is None else waveform
    if path.suffix in (".wav", ".flac", ".aiff", ".w64", ".caf", ".au", ".rf64", ".ogg"):
        soundfile.write(path, waveform, RATE, format=path.suffix[1:].upper(), **options)
    else:
        codec = {".mp3": "libmp3lame", ".opus": "libopus", ".webm": "libopus"}.get(path.suffix, "aac")
        codec = {".wv": "wavpack", ".tta": "tta", ".ac3": "ac3"}.get(path.suffix, codec)
        encode(path, waveform, codec=codec, rate=48000 if codec == "libopus" else RATE, **options)
    return path.read_bytes()


def read_stream(path, **excerpt):
    with stream.opened(path, **excerpt) as song:
        return np.concatenate(list(song.blocks(50_000)))


# ---- integers ----


@pytest.mark.parametrize(
    ("suffix", "subtype"), [("wav", "FLOAT"), ("wav", "DOUBLE"), ("wav", "PCM_24"), ("aiff", "FLOAT")]
)
def test_integers_of_other_samples_are_those_rounded(tmp_path, suffix, subtype):
    path, floats = tmp_path / f"a.{suffix}", music(0.2)
    floats[:3, 0] = 1.93, -1.93, 0.483
    encoded(path, floats, subtype=subtype)
    integers, _ = audio.read(path, dtype="int16")
    assert integers.dtype == np.int16
    np.testing.assert_array_equal(integers, audio.to_int16(audio.read(path)[0]))
    assert integers[:3, 0].tolist() == [32767, -32768, 15827]
    assert not audio.info(path).sixteen_bit


@pytest.mark.parametrize("suffix", ["m4a", "mp3", "ogg", "opus", "ac3"])
def test_integers_of_compressed_songs_are_not_silent(tmp_path, suffix):
    encoded(tmp_path / f"a.{suffix}")
    integers, _ = audio.read(tmp_path / f"a.{suffix}", dtype="int16")
    np.testing.assert_array_equal(integers, audio.to_int16(audio.read(tmp_path / f"a.{suffix}")[0]))
    assert np.abs(integers).max() > 10_000


def test_sixteen_bits_in_a_film_stay_as_they_are(tmp_path):
    samples = audio.to_int16(music())
    encode(tmp_path / "a.mov", audio.to_float(samples), codec="pcm_s16le")
    np.testing.assert_array_equal(audio.read(tmp_path / "a.mov", dtype="int16")[0], samples)
    assert audio.info(tmp_path / "a.mov").sixteen_bit


@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_samples_that_are_nan_become_zero_with_a_warning(tmp_path, caplog, dtype):
    floats = music(0.1)
    floats[100:110], floats[200] = np.nan, np.inf
    soundfile.write(tmp_path / "a.wav", floats, RATE, subtype="FLOAT")
    waveform, _ = audio.read(tmp_path / "a.wav", dtype=dtype)
    assert np.isfinite(waveform).all() and not waveform[[*range(100, 110), 200]].any()
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        "22 samples are NaN or infinite; 0 replaces them."
    ]


# ---- lengths ----


def test_a_flac_without_a_length_is_read_whole(tmp_path):
    content = bytearray(encoded(tmp_path / "a.flac"))
    content[21:26] = bytes([content[21] & 0xF0, 0, 0, 0, 0])  # 36 bits: the number of samples
    (tmp_path / "piped.flac").write_bytes(content)
    whole = audio.read(tmp_path / "a.flac")[0]
    np.testing.assert_array_equal(audio.read(tmp_path / "piped.flac")[0], whole)
    np.testing.assert_array_equal(read_stream(tmp_path / "piped.flac", start=1.5), whole[3 * RATE // 2 :])
    assert audio.info(tmp_path / "piped.flac").frames == 2 * RATE


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF])
def test_a_wav_of_unknown_size_is_read_whole(tmp_path, size):
    content = encoded(tmp_path / "a.wav")
    (tmp_path / "b.wav").write_bytes(with_size(content, b"data", size))
    np.testing.assert_array_equal(audio.read(tmp_path / "b.wav")[0], audio.read(tmp_path / "a.wav")[0])
    assert audio.info(tmp_path / "b.wav").frames == 2 * RATE


def test_an_empty_chunk_before_the_sound_hides_no_cut(tmp_path):
    content = encoded(tmp_path / "a.wav")
    content = content[:12] + b"LIST\0\0\0\0" + content[12:]
    (tmp_path / "a.wav").write_bytes(content)
    assert len(audio.read(tmp_path / "a.wav")[0]) == 2 * RATE
    (tmp_path / "a.wav").write_bytes(content[: len(content) // 2])
    with pytest.raises(AudioError, match="cut short"):
        audio.info(tmp_path / "a.wav")


def test_joined_songs_are_read_to_the_end(tmp_path, caplog):
    for suffix in ("mp3", "ogg", "opus"):
        content = encoded(tmp_path / f"a.{suffix}") + encoded(tmp_path / f"a.{suffix}", music(1.0))
        (tmp_path / f"joined.{suffix}").write_bytes(content)
        assert abs(len(audio.read(tmp_path / f"joined.{suffix}")[0]) - 3 * RATE) < 3000
        assert abs(audio.info(tmp_path / f"joined.{suffix}").frames - 3 * RATE) < 6000
    opus, second = (audio.read(tmp_path / f"{name}.opus")[0] for name in ("joined", "a"))  # not distorted by the first
    assert np.abs(opus[-40_000:] - second[-40_000:]).max() < 1e-3
    for suffix in ("wav", "flac", "aiff", "caf", "au", "m4a"):
        caplog.clear()
        (tmp_path / f"b.{suffix}").write_bytes(2 * encoded(tmp_path / f"b.{suffix}"))
        audio.read(tmp_path / f"b.{suffix}")
        assert f"b.{suffix} goes on for" in caplog.text and "Is it too short?" in caplog.text


HEADERS_WITH_A_LENGTH = ["wav", "rf64", "aiff", "w64", "caf", "au", "flac", "mp3", "m4a", "mov", "mkv", "webm", "avi"]


@pytest.mark.parametrize("share", [0.5, 0.95])
@pytest.mark.parametrize("suffix", HEADERS_WITH_A_LENGTH)
def test_a_download_that_broke_off_is_refused(tmp_path, suffix, share):
    path = tmp_path / f"a.{suffix}"
    content = encoded(path)
    assert len(audio.read(path)[0]) >= 2 * RATE * 0.99
    path.write_bytes(content[: round(share * len(content))])
    for work in (audio.info, audio.read, read_stream):
        with pytest.raises(AudioError, match=rf"a\.{suffix} is cut short: .*Copy it again"):
            work(path)


@pytest.mark.parametrize("suffix", ["opus", "ogg", "aac", "ts"])
def test_half_a_song_without_a_length_is_warned_about(tmp_path, suffix, caplog):
    path = tmp_path / f"a.{suffix}"
    content = encoded(path, music(6.0))
    audio.read(path)
    assert caplog.text == ""
    path.write_bytes(content[: len(content) // 2 + 1])
    assert 2 * RATE < len(audio.read(path)[0]) < 4 * RATE
    assert f"a.{suffix} " in caplog.text and ("cut short" in caplog.text or "damaged" in caplog.text)


@pytest.mark.parametrize("suffix", ["tta", "wv"])
def test_lossless_archives_are_read_exactly_or_their_cut_named(tmp_path, suffix, caplog):
    path = tmp_path / f"a.{suffix}"
    samples = audio.to_int16(music()) // 256 * 256  # 8 bits, which is all that FFmpeg writes into TTA here
    content = encoded(path, audio.to_float(samples))
    np.testing.assert_array_equal(audio.to_int16(audio.read(path)[0]), samples)
    path.write_bytes(content[: len(content) // 2])
    try:
        assert len(audio.read(path)[0]) < RATE * 1.5 and f"a.{suffix} is damaged or cut short" in caplog.text
    except AudioError as error:
        assert f"a.{suffix} cannot be read as audio" in str(error)


# ---- formats ----


NO_SEEKING = [("wav", "GSM610"), ("aiff", "GSM610"), ("wav", "G721_32"), ("wav", "NMS_ADPCM_16")]
NO_SEEKING += [("au", "G721_32"), ("au", "G723_24"), ("au", "G723_40")]


@pytest.mark.parametrize(("suffix", "subtype"), NO_SEEKING)
def test_a_dictation_that_allows_no_seeking_is_read(tmp_path, suffix, subtype, caplog):
    path, given = tmp_path / f"memo.{suffix}", music(1.0, channels=1, rate=8000)
    soundfile.write(path, given, 8000, subtype=subtype)
    waveform, rate = audio.read(path)
    assert rate == 8000 and 8000 <= len(waveform) < 8400 and caplog.text == ""
    assert np.corrcoef(waveform[:8000, 0], given[:, 0])[0, 1] > 0.95
    np.testing.assert_array_equal(read_stream(path, start=0.5), waveform[4000:])


def test_packets_of_which_most_are_damaged_are_refused(tmp_path):
    content = encoded(tmp_path / "a.wav", music(1.0))
    (tmp_path / "a.wav").write_bytes(content.replace(b"fmt \x10\0\0\0\x01", b"fmt \x10\0\0\0\x38"))  # another codec's
    with pytest.raises(AudioError, match=r"a\.wav cannot be decoded: \d+ of its packets are damaged.*Use another copy"):
        audio.read(tmp_path / "a.wav")


def test_a_length_in_whole_packets_is_no_promise(tmp_path, caplog):
    encode(tmp_path / "a.caf", music(1.0, rate=8000), codec="flac", rate=8000)
    assert len(audio.read(tmp_path / "a.caf")[0]) == 8000 and caplog.text == ""


@pytest.mark.parametrize(("suffix", "codec"), [("mpg", "mp2"), ("VOB", "ac3"), ("wmv", "mp2"), ("ogv", "flac")])
def test_films_of_discs_and_of_windows_are_songs(tmp_path, suffix, codec):
    path, given = tmp_path / f"a.{suffix}", music(2.0)
    encode(path, given, codec=codec)
    waveform, rate = audio.read(path)
    assert rate == RATE and len(given) <= len(waveform) < 1.1 * len(given)
    assert path.suffix.lower() in SUFFIXES


def test_each_format_that_is_read_has_its_suffix_among_songs():
    usual = {"aiff": ".aiff", "asf": ".wma", "au": ".au", "mpegts": ".mts", "mpc8": ".mpc"}  # FFmpeg lists none here
    for name in libav.FORMATS:
        found = {f".{each}" for each in av.format.ContainerFormat(name, "r").extensions} | {usual.get(name, f".{name}")}
        assert found & set(SUFFIXES), name


def test_a_playlist_that_calls_itself_a_song_opens_nothing(tmp_path):
    encoded(tmp_path / "other.ts")
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.5,\n./other.ts\n#EXT-X-ENDLIST\n"
    (tmp_path / "song.m4a").write_text(playlist)
    (tmp_path / "list.m4a").write_text("ffconcat version 1.0\nfile other.ts\n")
    code = """
        import pathlib, sys
        from muscomp_lib import audio
        from muscomp_lib.core.errors import AudioError, UnreachableError
        opened = []
        sys.addaudithook(lambda event, arguments: event == "open" and opened.append(str(arguments[0])))
        for path in pathlib.Path(sys.argv[1]).glob("*.m4a"):
            try:
                audio.read(path)
            except AudioError as error:
                assert "one that only refers to other files" in str(error)
            else:
                raise SystemExit("it was read")
        assert not [path for path in opened if path.endswith("other.ts")]
    """
    command = [sys.executable, "-c", textwrap.dedent(code), tmp_path]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_of_two_sound_tracks_the_first_is_read(tmp_path):
    encode(tmp_path / "a.mkv", music(2.0), music(1.0, level=0.1))
    assert 2 * RATE <= len(audio.read(tmp_path / "a.mkv")[0]) < 2 * RATE + 2048
    with reader.opened(tmp_path / "a.mkv", track=1) as source:
        assert RATE <= len(source.read_all()) < RATE + 2048
    with pytest.raises(AudioError, match="it has 2 sound tracks"), reader.opened(tmp_path / "a.mkv", track=2):
        pass


def test_a_cover_with_a_frame_header_inside_is_no_sound(tmp_path):
    song = encoded(tmp_path / "a.mp3", id3v2_version="0", write_id3v2="0")
    picture = b"\0image/jpeg\0\3cover\0" + np.random.default_rng(7).bytes(50_000) + b"\xff\xfb\x90\x44"
    frame = b"APIC" + len(picture).to_bytes(4, "big") + b"\0\0" + picture
    size = bytes(len(frame) >> shift & 0x7F for shift in (21, 14, 7, 0))
    (tmp_path / "cover.mp3").write_bytes(b"ID3\3\0\0" + size + frame + song)
    np.testing.assert_array_equal(audio.read(tmp_path / "cover.mp3")[0], audio.read(tmp_path / "a.mp3")[0])


def test_surround_is_mixed_down_with_a_warning(tmp_path, caplog):
    encode(tmp_path / "a.m4a", music(0.5, channels=6))
    waveform = read_stream(tmp_path / "a.m4a")
    assert waveform.shape[1] == 2 and RATE // 2 <= len(waveform) <= RATE // 2 + 1024
    assert "has 6 channels; they are mixed down to stereo" in caplog.text


@pytest.mark.parametrize("rate", [200, 999, 1_000_000, 2**31 - 1])
def test_a_rate_no_sound_has_is_refused(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", music(0.1), rate)
    for work in (audio.info, audio.read, read_stream):
        with pytest.raises(AudioError, match=rf"a\.wav has a sample rate of {rate} Hz; 1000 to 768000 are supported"):
            work(tmp_path / "a.wav")


def test_hours_in_a_small_file_are_refused(tmp_path):
    content = bytearray(encoded(tmp_path / "a.flac"))
    content[21:26] = bytes([content[21] & 0xF0 | 0xF, 0xFF, 0xFF, 0xFF, 0xFF])
    (tmp_path / "a.flac").write_bytes(content)
    with pytest.raises(AudioError, match="longer than 24 hours"):
        audio.info(tmp_path / "a.flac")


def test_what_does_not_fit_into_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "MAX_BYTES", 2 * RATE * 8 - 1)
    for name in ("a.wav", "a.mp3"):
        encoded(tmp_path / name)
        with pytest.raises(AudioError, match=rf"{name[0]}\.{name[2:]} is too long to be read at once"):
            audio.read(tmp_path / name)
        assert len(read_stream(tmp_path / name)) == 2 * RATE
    assert len(audio.read(tmp_path / "a.wav", dtype="int16")[0]) == 2 * RATE


def test_a_decoders_input_output_error_is_not_the_disks(tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise av.error.OSError(errno.EIO, "Input/output error")

    encoded(tmp_path / "a.m4a")
    monkeypatch.setattr(av, "open", fail)
    with pytest.raises(AudioError, match=r"a\.m4a cannot be read as audio") as raised:
        audio.read(tmp_path / "a.m4a")
    assert not isinstance(raised.value, UnreachableError)


@pytest.mark.parametrize(("rate", "channels"), [(22050, 2), (RATE, 1), (22050, 1)])
@pytest.mark.parametrize(("suffix", "codec"), [("aac", "aac"), ("mp3", "libmp3lame")])
def test_a_joined_song_of_another_form_is_converted(tmp_path, suffix, codec, rate, channels, caplog):
    first, second, joined = (tmp_path / f"{name}.{suffix}" for name in ("first", "second", "joined"))
    encode(first, music(2.0), codec=codec)
    encode(second, music(1.0, channels, rate), codec=codec, rate=rate)
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    waveform, found_rate = audio.read(joined)
    assert found_rate == RATE and waveform.shape[1] == 2 and abs(len(waveform) - 3 * RATE) < 6000
    end = waveform[-RATE // 2 :, 0]
    assert np.abs(np.fft.rfft(end * np.hanning(len(end)))).argmax() == 110  # 220 Hz in half a second
    assert np.sqrt(np.mean(end**2)) == pytest.approx(0.25, abs=0.03)
    assert f"joined.{suffix} changes its sample rate or its channels" in caplog.text and "44100 Hz, 2 ch" in caplog.text


@pytest.mark.parametrize(("rate", "channels"), [(22050, 2), (RATE, 1)])
def test_a_song_joined_in_ogg_is_missed_with_a_warning(tmp_path, rate, channels, caplog):
    soundfile.write(tmp_path / "a.ogg", music(2.0), RATE)
    soundfile.write(tmp_path / "b.ogg", music(1.0, channels, rate), rate)
    (tmp_path / "ab.ogg").write_bytes((tmp_path / "a.ogg").read_bytes() + (tmp_path / "b.ogg").read_bytes())
    assert len(audio.read(tmp_path / "ab.ogg")[0]) == 2 * RATE
    assert "and what follows them. If songs were joined in it, convert each alone" in caplog.text


# ---- excerpts ----

EXCERPTS = [("m4a", "aac"), ("m4a", "alac"), ("mp4", "flac"), ("mov", "pcm_s24le"), ("mkv", "aac"), ("mkv", "flac")]
EXCERPTS += [("mp3", "libmp3lame"), ("aac", "aac"), ("ts", "aac")]


@pytest.mark.parametrize(("suffix", "codec"), EXCERPTS)
def test_an_excerpt_equals_that_part_of_the_whole(tmp_path, suffix, codec, monkeypatch):
    monkeypatch.setattr(libav, "WORTH_SEEKING", 1)
    path = tmp_path / f"a.{suffix}"
    encode(path, music(6.0), codec=codec)
    whole = audio.read(path)[0]
    for start in (0, 1, 5000, 2 * RATE + 1, 5 * RATE + 777):
        part, _ = audio.read(path, start, 3000)
        np.testing.assert_array_equal(part, whole[start : start + 3000])
    np.testing.assert_array_equal(audio.read(path, 5 * RATE)[0], whole[5 * RATE :])
    with pytest.raises(AudioError, match=rf"a\.{suffix} is 6\.\d\d s long and has no sample at 30\.00 s"):
        audio.read(path, 30 * RATE, 10)


def test_an_excerpt_of_hours_is_not_decoded_from_the_start(tmp_path, monkeypatch):
    path = tmp_path / "hours.mp4"
    encode(path, np.zeros((3600 * 8000, 1), np.float32), codec="flac", rate=8000)
    decoded, decode = [], libav.LibavFile._decode
    monkeypatch.setattr(
        libav.LibavFile, "_decode", lambda file: (decoded.append(frame.samples) or frame for frame in decode(file))
    )
    assert len(read_stream(path, start=1800, seconds=1)) == 8000
    assert sum(decoded) < 60 * 8000
