import itertools
import logging
import os
import subprocess
import sys
import textwrap
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from fixtures.encoded import encode
from fixtures.needs import require

from muscomp_lib import audio
from muscomp_lib.audio import formats, stream, writer
from muscomp_lib.audio.quantise import quantise
from muscomp_lib.core.errors import AudioError, DiskFullError, MissingError, SettingError

RATE = 44100
LOSSLESS = [name for name, kind in stream.FORMATS.items() if kind.bits]


def music(n_samples=RATE, channels=2, rate=RATE, level=0.3):
    """Tones and a little noise, different in every channel: (n_samples, channels) float32."""
    rng, time = np.random.default_rng(0), np.arange(n_samples)[:, None] / rate
    tones = np.sin(2 * np.pi * (220 + 110 * np.arange(channels)) * time)
    return (level * (tones + 0.05 * rng.standard_normal(tones.shape))).astype(np.float32)


def write(path, name, blocks, rate=RATE, **options):
    blocks = list(blocks)
    with stream.Writer(path, name, rate, blocks[0].shape[1], **options) as file:
        for block in blocks:
            file.write(block)
    return file


def parts(waveform, *sizes):
    """A waveform in blocks of these sizes, over and over."""
    borders = itertools.accumulate(itertools.cycle(sizes), initial=0)
    borders = list(itertools.takewhile(lambda border: border < len(waveform), borders))
    return [waveform[a:b] for a, b in zip(borders, [*borders[1:], len(waveform)], strict=True)]


def read(path, size=10007, **excerpt):
    with stream.opened(path, **excerpt) as song:
        return np.concatenate(list(song.blocks(size)))


# ---- writing ----


@pytest.mark.parametrize("name", LOSSLESS)
def test_what_is_read_and_written_again_has_the_same_bits(tmp_path, name):
    bits = stream.FORMATS[name].bits
    lowest, highest = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    integers = np.random.default_rng(0).integers(lowest, highest, (70000, 2), endpoint=True).astype(np.int32)
    integers[:3, 0] = lowest, highest, 0
    write(tmp_path / "a", name, parts(integers, 1, 30000))
    floats = read(tmp_path / "a")
    np.testing.assert_array_equal(floats * 2.0 ** (bits - 1), integers)
    np.testing.assert_array_equal(quantise(floats, bits), integers)
    file = write(tmp_path / "b", name, [floats])
    np.testing.assert_array_equal(read(tmp_path / "b"), floats)
    kind = soundfile.info(tmp_path / "b")
    assert (kind.format, kind.subtype, file.limited) == (file.format.container, file.format.subtype, 0)


@pytest.mark.parametrize("bits", [16, 24])
def test_quantising_rounds_to_nearest_and_limits_to_full_scale(bits):
    full_scale = 2 ** (bits - 1)
    floats = np.array([-2, -1, -1.6 / full_scale, -0.4 / full_scale, 0, 0.6 / full_scale, 1, 2], np.float32)
    expected = [-full_scale, -full_scale, -2, 0, 0, 1, full_scale - 1, full_scale - 1]
    assert quantise(floats, bits).tolist() == expected
    assert quantise(floats, bits).dtype == np.int32


@pytest.mark.parametrize("name", stream.FORMATS)
def test_a_file_written_in_blocks_equals_one_written_at_once(tmp_path, name):
    waveform = music(150000)
    write(tmp_path / "whole", name, [waveform])
    write(tmp_path / "blocks", name, parts(waveform, 1, 999, 0, 70000))
    np.testing.assert_array_equal(read(tmp_path / "blocks"), read(tmp_path / "whole"))


def test_floats_exceed_full_scale_and_other_formats_limit_and_count(tmp_path):
    waveform = music(2000)
    waveform[1000:1010, 0] = 1.5
    waveform[1500] = -3.0
    waveform[1600] = 1.0  # not beyond
    for name, limited in [("wav_float", 0), ("flac", 12), ("wav24", 12), ("mp3", 12)]:
        assert write(tmp_path / name, name, parts(waveform, 1005)).limited == limited
    np.testing.assert_array_equal(read(tmp_path / "wav_float"), waveform)
    np.testing.assert_allclose(read(tmp_path / "flac"), waveform.clip(-1, 1), atol=2**-15)
    assert waveform.max() == 1.5  # what was given is not changed


@pytest.mark.parametrize("rate", formats.MP3_RATES)
@pytest.mark.parametrize("channels", [1, 2])
def test_an_mp3_reads_back_with_same_length_and_no_shift(tmp_path, rate, channels):
    waveform = music(rate + 77, channels, rate)
    write(tmp_path / "a.mp3", "mp3", parts(waveform, 5000), rate)
    back = read(tmp_path / "a.mp3")
    assert back.shape == waveform.shape
    assert np.square(back - waveform).sum() < 0.01 * np.square(waveform).sum()


@pytest.mark.parametrize("name", stream.FORMATS)
def test_one_sample_is_written_and_read(tmp_path, name):
    one = np.full((1, 1), 0.25, np.float32)
    write(tmp_path / "one", name, [one])
    assert read(tmp_path / "one").shape == (1, 1)


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 96000, 192000])
@pytest.mark.parametrize("name", ["flac24", "wav_float"])
def test_any_sample_rate_is_kept(tmp_path, name, rate):
    write(tmp_path / "a", name, [music(500, 1)], rate)
    with stream.opened(tmp_path / "a") as song:
        assert (song.sample_rate, song.frames, song.channels) == (rate, 500, 1)


def test_what_a_format_cannot_hold_is_refused_before_work(tmp_path):
    with pytest.raises(SettingError, match=r"no format 'aac'. There is flac, flac24, wav"):
        stream.check_format("aac")
    with pytest.raises(SettingError, match=r"mp3 cannot hold 96000 Hz, only 8000, .*48000\. Choose flac"):
        stream.Writer(tmp_path / "a.mp3", "mp3", 96000, 2)
    with pytest.raises(SettingError, match="flac cannot hold 700000 Hz"):
        stream.check_format("flac", 700000)
    assert stream.check_format("mp3", 48000).suffix == ".mp3"
    with pytest.raises(TypeError, match="takes floats, not int32"):
        write(tmp_path / "a.mp3", "mp3", [np.zeros((9, 2), np.int32)])
    assert list(tmp_path.iterdir()) == []


def test_a_wav_beyond_its_limit_becomes_rf64_or_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "WAV_LIMIT", 4000)
    waveform = music(1000)
    write(tmp_path / "a.wav", "wav24", parts(waveform, 300), frames=1000)
    assert soundfile.info(tmp_path / "a.wav").format == "RF64"
    np.testing.assert_allclose(read(tmp_path / "a.wav"), waveform, atol=2**-22)
    with pytest.raises(AudioError, match=r"b\.wav would outgrow a WAV file.*frames to expect"):
        write(tmp_path / "b.wav", "wav24", parts(waveform, 300))
    assert not (tmp_path / "b.wav").exists()
    write(tmp_path / "c.wav", "wav", [waveform], frames=1000)
    assert soundfile.info(tmp_path / "c.wav").format == "WAV"


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.flac"
    with pytest.raises(ZeroDivisionError), stream.Writer(path, "flac", RATE, 2) as file:
        file.write(music())
        assert not path.exists()
        raise ZeroDivisionError
    with pytest.raises(AudioError, match=r"There are no samples for .*a\.flac"), stream.Writer(path, "flac", RATE, 2):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", stream.FORMATS)
def test_a_full_disk_is_noticed_even_at_the_last_bytes(tmp_path, name):
    """In a process that may write no larger files, tried with every size just below the one that is needed."""
    code = f"""
        import resource, signal, sys
        from pathlib import Path
        import numpy as np
        from muscomp_lib.audio import stream as streams
        from muscomp_lib.core.errors import DiskFullError

        def write(path):
            with streams.Writer(path, {name!r}, 8000, 1) as file:
                for _ in range(3):
                    file.write(np.random.default_rng(0).uniform(-1, 1, (9000, 1)).astype(np.float32))

        folder = Path(sys.argv[1])
        write(folder / "whole")
        needed = (folder / "whole").stat().st_size
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        for room in [*range(needed - 3, needed), needed // 2, 10]:
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
            try:
                write(folder / "cut")
            except DiskFullError as error:
                assert str(error).startswith("No room left to write " + str(folder / "cut")), error
            else:
                raise SystemExit(f"{{room}} of {{needed}} bytes, and no error")
        assert [path.name for path in folder.iterdir()] == ["whole"], list(folder.iterdir())
    """
    require(sys.platform != "win32", "file sizes can be limited on Unix only")
    command = [sys.executable, "-c", textwrap.dedent(code), tmp_path]
    done = subprocess.run(command, cwd=Path(stream.__file__).parents[2], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_full_disk_is_reported_and_leaves_no_half_file(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)]
    mounted = sys.platform == "linux" and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    require(mounted, "a tiny disk can be mounted by root on Linux only")
    try:
        with pytest.raises(DiskFullError, match=r"No room left to write .*song\.flac"):
            write(disk / "song.flac", "flac24", parts(music(10 * RATE), 20000))
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", disk], check=True)


HOSTILE = [
    "-o.flac",
    "new\nline.flac",
    "🎸 \"quoted\" 'n' $HOME;.flac",
    "%s {0} \\.flac",
    "n" * 245 + ".flac",
    "é" * 125,
]


@pytest.mark.parametrize("name", HOSTILE)
def test_any_file_name_is_written_and_read(tmp_path, name):
    waveform = quantise(music(100), 16) / np.float32(2**15)
    write(tmp_path / name, "flac", [waveform])
    assert [path.name for path in tmp_path.iterdir()] == [name]
    np.testing.assert_array_equal(read(tmp_path / name), waveform)


@pytest.mark.parametrize("suffix", [".m4a", ".flac"])
def test_a_name_that_is_no_unicode_is_read(tmp_path, suffix):
    require(sys.platform == "linux", "such names exist on Linux only")
    write(tmp_path / "a.flac", "flac", [music()])
    encode(tmp_path / "a.m4a", music())
    path = tmp_path / os.fsdecode(b"caf\xe9")
    (tmp_path / f"a{suffix}").rename(path)
    assert len(read(path)) >= RATE


# ---- reading ----


def test_blocks_are_the_whole_file_whatever_their_size(tmp_path):
    waveform = music(3 * RATE)
    for path, name in [("a.wav", "wav"), ("a.flac", "flac24"), ("a.mp3", "mp3"), ("a.ogg", None)]:
        if name:
            write(tmp_path / path, name, [waveform])
        else:
            soundfile.write(tmp_path / path, waveform, RATE, format="OGG")
        whole, rate = soundfile.read(tmp_path / path, dtype="float32")
        for size in (777, 65536, len(waveform), 10 * len(waveform)):
            with stream.opened(tmp_path / path) as song:
                blocks = list(song.blocks(size))
            assert {len(block) for block in blocks[:-1]} <= {size}
            np.testing.assert_allclose(np.concatenate(blocks), whole, atol=4e-6)
        np.testing.assert_array_equal(audio.read(tmp_path / path)[0], np.concatenate(blocks))
        assert (song.sample_rate, song.frames) == (rate, len(waveform))


def without_length(path, waveform):
    """Write an MP3 of variable bit rate that does not say how long it is: its first, informing frame is cut off."""
    write(path, "mp3", [waveform])
    encoded = path.read_bytes()
    assert b"Xing" in encoded[:100]
    path.write_bytes(encoded[encoded.index(encoded[:2], 4) :])


def test_an_mp3_without_a_length_is_read_to_its_end(tmp_path):
    loud_then_quiet = music(10 * RATE, level=1e-3)
    loud_then_quiet[:RATE] = np.random.default_rng(0).uniform(-0.9, 0.9, (RATE, 2))
    loud_then_quiet[RATE : 8 * RATE] = 0
    path = tmp_path / "a.mp3"
    without_length(path, loud_then_quiet)
    assert soundfile.info(path).frames < 5 * RATE  # libsndfile alone would stop there
    assert 0 <= len(read(path)) - len(loud_then_quiet) < 3 * 1152
    np.testing.assert_array_equal(audio.read(path)[0], read(path))
    np.testing.assert_array_equal(read(path, start=8.0), read(path)[8 * RATE :])
    with pytest.raises(AudioError, match=r"a\.mp3 is 10\.\d\d s long and has no sample at 12\.00 s"):
        read(path, start=12)
    encoded, whole, rng = path.read_bytes(), read(path), np.random.default_rng(0)
    for tag, padding in [(128, 0), (16000, 0), (128, 3000)]:
        size = bytes([0, 0, tag >> 7, tag & 127])
        path.write_bytes(b"ID3\x04\x00\x00" + size + rng.bytes(tag) + bytes(padding) + encoded)
        np.testing.assert_array_equal(read(path), whole)


@pytest.mark.parametrize("name", ["wav", "flac", "mp3"])
def test_an_excerpt_is_that_part_of_the_song(tmp_path, name):
    path = tmp_path / "a"
    write(path, name, [music(3 * RATE)])
    whole = read(path)
    with stream.opened(path, 0.5, 1.25) as song:
        assert song.frames == round(1.25 * RATE)
        np.testing.assert_array_equal(np.concatenate(list(song.blocks(4000))), whole[RATE // 2 :][: song.frames])
    with stream.opened(path, start=2.5, seconds=100) as song:
        assert song.frames == RATE // 2
        np.testing.assert_array_equal(np.concatenate(list(song.blocks(4000))), whole[-song.frames :])


def test_an_excerpt_that_makes_no_sense_is_refused(tmp_path):
    write(tmp_path / "a.wav", "wav", [music(RATE)])
    for start in (-1, float("nan"), float("inf"), "1"):
        with pytest.raises(
            SettingError, match=f"start = {start!r} is not possible. It must be a number of seconds from 0"
        ):
            read(tmp_path / "a.wav", start=start)
    for seconds in (0, -1.0, float("nan"), float("inf"), "1"):
        with pytest.raises(SettingError, match=f"seconds = {seconds!r} is not possible. It must be a number above 0"):
            read(tmp_path / "a.wav", seconds=seconds)
    for start in (1, 7.5):
        with pytest.raises(AudioError, match=rf"a\.wav is 1\.00 s long and has no sample at {start} s"):
            read(tmp_path / "a.wav", start=start)


def test_what_is_no_number_becomes_silence_and_is_said_once(tmp_path, caplog):
    waveform = music(5000)
    waveform[10, 0], waveform[2000], waveform[4999, 1] = np.nan, np.inf, -np.inf
    waveform[20, 1] = 3e38  # a number, however large
    soundfile.write(tmp_path / "a.wav", waveform, RATE, subtype="FLOAT")
    with stream.opened(tmp_path / "a.wav") as song:
        blocks = np.concatenate(list(song.blocks(1000)))
    np.testing.assert_array_equal(blocks, np.where(np.isfinite(waveform), waveform, 0))
    assert song.non_finite == 4
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "a.wav: 4 samples are NaN or infinite" in caplog.text
    held = stream.Song(stream.InMemoryAudio(waveform, RATE))
    np.testing.assert_array_equal(np.concatenate(list(held.blocks(999))), blocks)
    assert np.isnan(waveform[10, 0])  # the caller's own array is as it was


def test_a_song_in_memory_comes_as_from_a_file():
    samples = np.random.default_rng(0).integers(-32768, 32768, (5000, 2)).astype(np.int16)
    song = stream.Song(stream.InMemoryAudio(samples, 48000))
    assert (song.sample_rate, song.channels, song.frames) == (48000, 2, 5000)
    np.testing.assert_array_equal(np.concatenate(list(song.blocks(1024))), samples / np.float32(32768))
    for shape in [(0, 2), (5,), (5, 9), (5, 0)]:
        with pytest.raises(AudioError):
            stream.Song(stream.InMemoryAudio(np.zeros(shape, np.float32), RATE))


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.int16, np.int32, np.float16, np.float64])
def test_samples_of_any_type_are_between_minus_one_and_one(kind):
    given = np.linspace(-0.9, 0.9, 1000)[:, None]
    scale = 2 ** (8 * np.dtype(kind).itemsize - 1) if np.dtype(kind).kind in "iu" else 1
    samples = (given * scale + scale * (np.dtype(kind).kind == "u")).astype(kind)
    (block,) = stream.Song(stream.InMemoryAudio(samples, RATE)).blocks(1000)
    np.testing.assert_allclose(block, given, atol=0.01)


@pytest.mark.parametrize("waveform", [np.ones((5, 2), np.int64), np.ones((5, 2), bool), np.ones((5, 2), complex), None])
def test_what_is_no_sound_is_refused_as_a_song(waveform):
    with pytest.raises(AudioError, match=r"The waveform holds .*Samples must be floats in \[-1, 1\]"):
        stream.InMemoryAudio(waveform, RATE)


@pytest.mark.parametrize("rate", [None, 0, -1, "44100", True, np.nan, 1e9, 44100.5])
def test_a_rate_that_no_song_has_is_refused(rate):
    with pytest.raises(SettingError, match=r"sample_rate = .* is not possible\. It must be a whole number of Hz"):
        stream.InMemoryAudio(np.zeros((5, 2)), rate)


SIDE = 1 / np.sqrt(2)
LEFT = {  # what goes to the left, as BS.775 says, for each order of channels
    3: [1, 0, SIDE],
    4: [1, 0, SIDE, 0],
    5: [1, 0, SIDE, SIDE, 0],
    6: [1, 0, SIDE, 0, SIDE, 0],
    7: [1, 0, SIDE, 0, SIDE, SIDE, 0],
    8: [1, 0, SIDE, 0, SIDE, 0, SIDE, 0],
}
RIGHT = {
    3: [0, 1, SIDE],
    4: [0, 1, 0, SIDE],
    5: [0, 1, SIDE, 0, SIDE],
    6: [0, 1, SIDE, 0, 0, SIDE],
    7: [0, 1, SIDE, 0, SIDE, 0, SIDE],
    8: [0, 1, SIDE, 0, 0, SIDE, 0, SIDE],
}
VORBIS = {3: [0, 2, 1], 4: range(4), 5: [0, 2, 1, 3, 4], 6: [0, 2, 1, 4, 5, 3]}
VORBIS |= {7: [0, 2, 1, 5, 6, 4, 3], 8: [0, 2, 1, 6, 7, 4, 5, 3]}


@pytest.mark.parametrize("channels", LEFT)
def test_more_than_two_channels_are_mixed_down_by_the_rule(tmp_path, channels, caplog):
    waveform = music(3000, channels)
    expected = waveform @ np.array([LEFT[channels], RIGHT[channels]]).T / np.sum(LEFT[channels])
    for suffix in ("flac", "wav"):
        soundfile.write(tmp_path / f"a.{suffix}", waveform, RATE, subtype="PCM_24")
        with stream.opened(tmp_path / f"a.{suffix}") as song:
            assert song.channels == 2
            np.testing.assert_allclose(np.concatenate(list(song.blocks(700))), expected, atol=2e-6)
    soundfile.write(tmp_path / "a.ogg", waveform[:, list(VORBIS[channels])], RATE)  # Vorbis has its own order
    assert np.square(read(tmp_path / "a.ogg")[:3000] - expected).sum() < 0.01 * np.square(expected).sum()
    assert f"a.flac has {channels} channels; they are mixed down to stereo" in caplog.text
    assert audio.read(tmp_path / "a.flac")[0].shape == (3000, channels)  # not there


@pytest.mark.parametrize("channels", LEFT)
def test_a_mix_of_what_does_not_clip_does_not_clip(channels):
    signs = np.array(list(itertools.product([-1, 1], repeat=channels)), np.float32)
    loudest = max(np.abs(block).max() for block in stream.Song(stream.InMemoryAudio(signs, RATE)).blocks(100))
    assert 1 - 1e-6 < loudest <= 1


def test_mono_and_stereo_stay_and_over_eight_channels_are_refused(tmp_path):
    for channels in (1, 2):
        soundfile.write(tmp_path / "a.wav", music(100, channels), RATE, subtype="FLOAT")
        np.testing.assert_array_equal(read(tmp_path / "a.wav"), music(100, channels))
    soundfile.write(tmp_path / "a.wav", music(100, 9), RATE)
    with pytest.raises(AudioError, match=r"a\.wav has 9 channels; 1 to 8 are supported"):
        read(tmp_path / "a.wav")


def test_an_unreadable_file_is_named_in_the_error(tmp_path):
    with pytest.raises(MissingError, match=r"none\.wav is not there"):
        read(tmp_path / "none.wav")
    (tmp_path / "text.mp3").write_text("Words, no music. " * 1000)
    (tmp_path / "empty.flac").write_bytes(b"")
    soundfile.write(tmp_path / "silent.wav", np.zeros((0, 1)), RATE)
    write(tmp_path / "cut.flac", "flac", [music(5 * RATE)])
    (tmp_path / "cut.flac").write_bytes((tmp_path / "cut.flac").read_bytes()[:60000])
    reasons = {"text.mp3": "cannot be read as audio", "empty.flac": "is empty"}
    reasons |= {"silent.wav": "has no samples", "cut.flac": "is cut short.*220500 samples"}
    for name, reason in reasons.items():
        with pytest.raises(AudioError, match=f"{name} {reason}"):
            read(tmp_path / name)


def test_a_damaged_mp3_gives_samples_or_a_named_error(tmp_path):
    path = tmp_path / "a.mp3"
    write(path, "mp3", [music(RATE)])
    encoded = path.read_bytes()
    for length in (1, 10, 50, 200, 1000, len(encoded) // 2):
        path.write_bytes(encoded[:length])
        try:
            assert len(read(path)) <= RATE
        except AudioError as error:
            assert "a.mp3" in str(error)


def test_a_long_song_takes_no_more_memory_than_a_block(tmp_path):
    block, n_blocks = music(65536), 60
    tracemalloc.start()
    try:
        write_many(tmp_path / "long.flac", block, n_blocks)
        with stream.opened(tmp_path / "long.flac") as song:
            assert sum(len(part) for part in song.blocks(65536)) == n_blocks * len(block)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < n_blocks * block.nbytes / 5


def write_many(path, block, n_blocks):
    with stream.Writer(path, "flac", RATE, 2) as file:
        for _ in range(n_blocks):
            file.write(block)


# ---- changing the sample rate ----

RATES = [(8000, 44100), (44100, 8000), (48000, 44100), (44100, 48000), (192000, 44100), (44100, 192000), (44100, 22050)]


@pytest.mark.parametrize(("from_rate", "to_rate"), RATES)
@pytest.mark.parametrize("channels", [1, 2])
def test_resampling_in_blocks_gives_the_same_as_at_once(from_rate, to_rate, channels):
    for n_samples, sizes in [(1, [1]), (3, [1]), (5001, [1, 0, 998]), (100003, [65536])]:
        waveform = music(n_samples, channels)
        expected = soxr.resample(waveform, from_rate, to_rate)
        blocks = parts(waveform, *sizes)
        for given in ([*blocks, waveform[:0]], blocks):  # the last feed with nothing, and with samples
            resampler = stream.Resampler(from_rate, to_rate, channels)
            out = np.concatenate([resampler.feed(block, last=i == len(given) - 1) for i, block in enumerate(given)])
            assert out.shape == (round(n_samples * to_rate / from_rate), channels)
            assert out.dtype == np.float32
            np.testing.assert_allclose(out[: len(expected)], expected[: len(out)], atol=1e-6)


def test_equal_rates_pass_through():
    block = music(100)
    assert stream.Resampler(RATE, RATE, 2).feed(block, last=True) is block


def test_logging_is_quiet_for_a_sound_song(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    write(tmp_path / "a.flac", "flac", [music(100)])
    read(tmp_path / "a.flac")
    assert caplog.text == ""
