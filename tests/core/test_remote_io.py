import errno
import io
import itertools
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fixtures import slow_mount
from fixtures.encoded import encode

from muscomp_lib import audio
from muscomp_lib.audio import stream
from muscomp_lib.core import remote_io
from muscomp_lib.core.errors import AudioError, MissingError, MountLostError, MusCompError, UnreachableError

RATE = 44100


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(remote_io, "PAUSES", (0,) * len(remote_io.PAUSES))


@pytest.fixture
def mounted(tmp_path):
    """Mounts `tmp_path/source` at `tmp_path/mount`."""
    slow_mount.require_mounting()
    (tmp_path / "source").mkdir()
    return lambda **settings: slow_mount.mounted(tmp_path / "source", tmp_path / "mount", **settings)


def noise(n_samples=4 * RATE, channels=1):
    return np.random.default_rng(0).integers(-9999, 9999, (n_samples, channels)).astype(np.int16)


class Failing:
    """Fails with these error numbers, one a call, then returns its argument."""

    def __init__(self, *numbers):
        self.numbers, self.calls = list(numbers), 0

    def __call__(self, value=None):
        self.calls += 1
        if self.numbers:
            number = self.numbers.pop(0)
            raise OSError(number, os.strerror(number))
        return value


@pytest.fixture
def file_that_fails(monkeypatch):
    """Makes files of `mount` fail in the calls of these names ("open", "readinto") with a number, as often as asked."""

    def use(name, number=errno.EIO, times=1, after=0):
        left = itertools.chain(itertools.repeat(0, after), itertools.repeat(number, times))

        def failing():
            if fails := next(left, 0):
                raise OSError(fails, os.strerror(fails))

        class File(io.FileIO):
            def __init__(self, path):
                if name == "open":
                    failing()
                super().__init__(path)

            def readinto(self, buffer):
                if name == "readinto":
                    failing()
                return super().readinto(buffer)

        monkeypatch.setattr(remote_io.io, "FileIO", File)

    return use


# ---- trying again ----


@pytest.mark.parametrize("number", sorted(remote_io.TRANSIENT))
def test_what_passes_is_tried_again_and_what_stays_is_raised(number):
    passing = Failing(*[number] * len(remote_io.PAUSES))
    assert remote_io.retried(passing, "value") == "value"
    staying = Failing(*[number] * 99)
    with pytest.raises(OSError, match=os.strerror(number)):
        remote_io.retried(staying)
    assert staying.calls == len(remote_io.PAUSES) + 1


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.ENOTDIR, errno.ENOSPC])
def test_an_answer_is_not_asked_for_twice(number):
    call = Failing(number)
    with pytest.raises(OSError, match=os.strerror(number)):
        remote_io.retried(call)
    assert call.calls == 1


def test_the_pauses_grow(monkeypatch):
    slept = []
    monkeypatch.undo()
    monkeypatch.setattr(remote_io.time, "sleep", slept.append)
    with pytest.raises(OSError, match="Input"):
        remote_io.retried(Failing(*[errno.EIO] * 99))
    assert slept == list(remote_io.PAUSES)
    assert slept == sorted(set(slept))
    assert slept[0] > 0


def test_a_text_is_read_again_when_its_file_fails(tmp_path, monkeypatch):
    path, whole = tmp_path / "metadata.yaml", Path.read_text
    path.write_text("UUID: é\n", encoding="utf-8")
    failing = Failing(errno.EIO, errno.ESTALE)
    monkeypatch.setattr(Path, "read_text", lambda *given, **named: failing() or whole(*given, **named))
    assert remote_io.read_text(path) == "UUID: é\n"
    with pytest.raises(FileNotFoundError):
        remote_io.read_text(tmp_path / "none")


def test_a_listing_gives_a_folders_entries_with_size_and_time(tmp_path):
    (tmp_path / "a.flac").write_bytes(b"12345")
    (tmp_path / "stems").mkdir()
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")  # as a file that vanishes before it is looked at
    found = remote_io.listing(tmp_path)
    assert set(found) == {"a.flac", "stems"}
    assert found["a.flac"] == (tmp_path / "a.flac").stat()
    assert remote_io.listing(tmp_path / "none") == {}
    with pytest.raises(NotADirectoryError):
        remote_io.listing(tmp_path / "a.flac")


def test_a_listing_is_asked_for_again_when_it_fails(tmp_path, monkeypatch):
    (tmp_path / "a.flac").write_bytes(b"12345")
    failing, scandir = Failing(errno.EIO, errno.ETIMEDOUT), os.scandir
    monkeypatch.setattr(remote_io.os, "scandir", lambda folder: failing() or scandir(folder))
    assert set(remote_io.listing(tmp_path)) == {"a.flac"}
    assert failing.calls == 3


# ---- a file that breaks off ----


def save(path, waveform):
    if path.suffix == ".m4a":
        encode(path, waveform / np.float32(1 << 15))
    else:
        soundfile.write(path, waveform, RATE, format=path.suffix[1:].upper())


@pytest.mark.parametrize("name", ["open", "readinto"])
def test_a_file_is_reopened_and_read_on_where_it_was(tmp_path, file_that_fails, name):
    (tmp_path / "a").write_bytes(bytes(range(256)))
    file_that_fails(name, times=2)
    with remote_io.RetryingFile(tmp_path / "a") as file:
        assert file.size == 256
        file.seek(-200, os.SEEK_END)
        assert file.read(10) == bytes(range(56, 66))
        file_that_fails(name, times=3)
        assert file.seek(4, os.SEEK_CUR) == file.tell() == 70
        assert file.read() == bytes(range(70, 256))
        assert file.read(1) == b""
    assert file.closed


def test_seeking_stays_within_the_file(tmp_path, file_that_fails):
    (tmp_path / "a").write_bytes(b"0123456789")
    file_that_fails("readinto", times=10**9)
    with remote_io.RetryingFile(tmp_path / "a") as file:
        assert (file.seek(4), file.seek(-5, os.SEEK_CUR), file.tell()) == (4, -1, 4)
        assert file.seek(1 << 62) and file.read(1) == b""  # the disk is not asked


def test_another_file_in_its_place_is_not_read_on(tmp_path, file_that_fails):
    path = tmp_path / "a"
    path.write_bytes(b"old" * 100)
    file_that_fails("readinto", after=1, times=1)
    with remote_io.RetryingFile(path) as file:
        assert file.read(3) == b"old"
        path.unlink()
        path.write_bytes(b"newer" * 100)
        with pytest.raises(OSError, match="was changed while it was read"):
            file.read(3)


@pytest.mark.parametrize("suffix", ["flac", "wav", "ogg", "mp3", "m4a"])
@pytest.mark.parametrize("after", range(6))
def test_a_disk_that_fails_once_anywhere_changes_no_sample(tmp_path, file_that_fails, suffix, after):
    path = tmp_path / f"a.{suffix}"
    save(path, noise())
    expected = audio.read(path)[0], audio.info(path), audio.read(path, 1000, 2000)[0]
    for name in ("open", "readinto"):
        file_that_fails(name, after=after)
        np.testing.assert_array_equal(audio.read(path)[0], expected[0])
        file_that_fails(name, after=after)
        assert audio.info(path) == expected[1]
        file_that_fails(name, after=after)
        np.testing.assert_array_equal(audio.read(path, 1000, 2000)[0], expected[2])


@pytest.mark.parametrize("suffix", ["flac", "wav", "ogg", "mp3", "m4a"])
@pytest.mark.parametrize("after", range(6))
def test_a_disk_that_keeps_failing_is_named_not_the_file(tmp_path, file_that_fails, suffix, after):
    path = tmp_path / f"a.{suffix}"
    save(path, noise())
    for work in (audio.read, lambda path: audio.read(path, 2 * RATE), audio.info):
        file_that_fails("readinto", times=10**9, after=after)
        try:
            work(path)
        except UnreachableError as error:
            assert isinstance(error, AudioError)
            assert isinstance(error, OSError)
            assert f"a.{suffix} cannot be read from its disk (Input/output error)" in str(error)
            assert error.__cause__.errno == errno.EIO
        else:
            assert after > 0  # then it needed no further reading


def test_a_disk_that_cannot_even_open_files_is_named(tmp_path, file_that_fails):
    soundfile.write(tmp_path / "a.flac", noise(), RATE)
    file_that_fails("open", times=10**9)
    with pytest.raises(UnreachableError, match=r"a\.flac cannot be read from its disk \(Input/output error\)"):
        audio.read(tmp_path / "a.flac")


def test_what_is_no_file_is_missing_and_pipes_never_block(tmp_path):
    os.mkfifo(tmp_path / "pipe.flac")
    (tmp_path / "folder.flac").mkdir()
    missing = dict.fromkeys(("pipe.flac", "none.flac", "none/none.flac"), "is not there")
    for name, why in (missing | {"folder.flac": "is a folder"}).items():
        with pytest.raises(MissingError, match=f"{name} {why}"):
            audio.read(tmp_path / name)


# ---- a lost mount ----


def test_an_existing_folder_is_mounted_and_an_absent_one_lost(tmp_path, monkeypatch):
    (tmp_path / "slakh" / "train").mkdir(parents=True)
    remote_io.check_mounted(tmp_path / "slakh")
    for lost in ("none", "slakh/train"):  # the second is empty, as what is left when a disk is unmounted
        with pytest.raises(MountLostError, match=rf"{lost} can no longer be read.*Mount Google Drive again.*is kept"):
            remote_io.check_mounted(tmp_path / lost)
    monkeypatch.setattr(remote_io.os, "scandir", Failing(*[errno.ENOTCONN] * 99))
    with pytest.raises(MountLostError, match="not connected") as caught:
        remote_io.check_mounted(tmp_path / "slakh")
    assert isinstance(caught.value, MusCompError)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # it may come from another process


def test_a_folder_that_fails_in_passing_is_not_lost(tmp_path, monkeypatch):
    (tmp_path / "slakh" / "train").mkdir(parents=True)
    failing, scandir = Failing(errno.EIO), os.scandir
    monkeypatch.setattr(remote_io.os, "scandir", lambda folder: failing() or scandir(folder))
    remote_io.check_mounted(tmp_path / "slakh")


# ---- copies nearby ----


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(remote_io.CACHE, str(tmp_path / "cache"))
    monkeypatch.setattr(remote_io, "MIN_FREE", 0)
    return tmp_path / "cache"


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_without_a_cache_a_file_is_read_where_it_lies(tmp_path, monkeypatch):
    monkeypatch.delenv(remote_io.CACHE, raising=False)
    (tmp_path / "a.flac").write_bytes(b"sound")
    assert remote_io.local_copy(tmp_path / "a.flac") == tmp_path / "a.flac"


def test_without_a_possible_cache_files_are_read_where_they_are(tmp_path, monkeypatch, caplog):
    path = tmp_path / "a.flac"
    path.write_bytes(b"sound")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(remote_io, "MIN_FREE", 0)
    monkeypatch.setenv(remote_io.CACHE, "~/cache")
    assert remote_io.local_copy(path).is_relative_to(tmp_path / "home" / "cache")
    for cache, says in (("~nobody-of-this-name/cache", "home directory"), (str(path), "Not a directory")):
        monkeypatch.setenv(remote_io.CACHE, cache)
        assert remote_io.local_copy(path) == path
        assert says in caplog.messages[-1]


def test_a_file_is_copied_once_and_again_after_a_change(tmp_path, cache):
    path = tmp_path / "a.flac"
    path.write_bytes(b"sound" * 10**6)
    copy = remote_io.local_copy(path)
    assert copy.is_relative_to(cache)
    assert copy.suffix == ".flac"
    assert copy.read_bytes() == path.read_bytes()
    assert remote_io.local_copy(str(path)) == copy
    os.utime(path, ns=(0, 1))
    path.write_bytes(b"music" * 10**6)  # as long as before
    assert remote_io.local_copy(path).read_bytes() == path.read_bytes()
    assert len(files(cache)) == 2


def test_copies_lie_in_many_folders_and_equal_names_never_collide(tmp_path, cache):
    for number in range(40):
        (tmp_path / f"Track{number}").mkdir()
        (tmp_path / f"Track{number}" / "mix.flac").write_bytes(b"%4d" % number)
        assert remote_io.local_copy(tmp_path / f"Track{number}" / "mix.flac").read_bytes() == b"%4d" % number
    assert len(files(cache)) == 40
    assert len(list(cache.iterdir())) > 20
    assert all(folder.is_dir() for folder in cache.iterdir())


def test_threads_and_processes_may_copy_the_same_file_at_once(tmp_path, cache):
    path, threads = tmp_path / "a.flac", 8
    path.write_bytes(os.urandom(4_000_000))
    code = (
        "import sys; from muscomp_lib.core import remote_io as io; io.MIN_FREE = 0; print(io.local_copy(sys.argv[1]))"
    )
    command = [sys.executable, "-c", code, str(path)]
    processes = [
        subprocess.Popen(command, cwd=Path(remote_io.__file__).parents[2], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    together = threading.Barrier(threads)
    with ThreadPoolExecutor(threads) as pool:
        copies = set(pool.map(lambda _: (together.wait(), remote_io.local_copy(path))[1], range(threads)))
    copies |= {Path(process.communicate()[0].strip()) for process in processes}
    assert files(cache) == list(copies)
    assert copies.pop().read_bytes() == path.read_bytes()


def test_processes_that_read_the_same_files_copy_each_once(tmp_path, cache):
    (tmp_path / "far").mkdir()
    for number in range(30):
        (tmp_path / "far" / str(number)).write_bytes(os.urandom(1_000_000))
    code = (
        "import pathlib, shutil, sys; from muscomp_lib.core import remote_io as mount\n"
        "mount.MIN_FREE, copied, copy = 0, [], shutil.copyfileobj\n"
        "shutil.copyfileobj = lambda *given: (copied.append(1), copy(*given))\n"
        "far = sorted(pathlib.Path(sys.argv[1]).iterdir())\n"
        "print('ready', flush=True); input()\n"
        "assert all(mount.local_copy(path).read_bytes() == path.read_bytes() for path in far)\n"
        "print(len(copied))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "far")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, cwd=Path(remote_io.__file__).parents[2], **pipes) for _ in range(3)]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 3
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    assert sum(int(process.communicate()[0]) for process in processes) == 30
    assert len(files(cache)) == 30


def test_a_process_killed_while_it_copies_holds_nobody_up(tmp_path, cache):
    path = tmp_path / "a.flac"
    path.write_bytes(b"sound")
    code = (
        "import shutil, sys, time; from muscomp_lib.core import remote_io as mount\n"
        "mount.MIN_FREE, shutil.copyfileobj = 0, lambda *_: (print('copies', flush=True), time.sleep(1000))\n"
        "mount.local_copy(sys.argv[1])"
    )
    folder = Path(remote_io.__file__).parents[2]
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], cwd=folder, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "copies\n"
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(remote_io.local_copy, path)
        with pytest.raises(NotYet):
            waiting.result(0.2)
        process.kill()
        process.communicate()
        assert waiting.result(60).read_bytes() == b"sound"


def test_a_file_with_passing_failures_is_copied_all_the_same(tmp_path, cache, monkeypatch):
    (tmp_path / "a.flac").write_bytes(b"sound")
    failing, stat = Failing(errno.EIO), os.stat
    monkeypatch.setattr(remote_io.os, "stat", lambda *given, **named: failing() or stat(*given, **named))
    assert remote_io.local_copy(tmp_path / "a.flac").is_relative_to(cache)


def test_a_cache_leaves_room_on_its_disk(tmp_path, cache, monkeypatch):
    (tmp_path / "a.flac").write_bytes(b"sound")
    monkeypatch.setattr(remote_io, "MIN_FREE", 10**18)
    assert remote_io.local_copy(tmp_path / "a.flac") == tmp_path / "a.flac"
    assert files(cache) == []


def test_a_copy_that_fails_leaves_nothing_and_is_said(tmp_path, cache, file_that_fails, caplog):
    path = tmp_path / "a.flac"
    path.write_bytes(b"sound")
    file_that_fails("readinto", times=10**9)
    assert remote_io.local_copy(path) == path
    assert "a.flac could not be copied" in caplog.text
    assert files(cache) == []
    assert remote_io.local_copy(tmp_path / "none.flac") == tmp_path / "none.flac"


def test_on_colab_only_files_on_drive_are_copied(tmp_path, monkeypatch):
    monkeypatch.delenv(remote_io.CACHE, raising=False)
    monkeypatch.setitem(sys.modules, "google.colab", sys)
    monkeypatch.setattr(remote_io, "COLAB_MOUNT", tmp_path / "drive")
    monkeypatch.setattr(remote_io, "COLAB_CACHE", tmp_path / "cache")
    monkeypatch.setattr(remote_io, "MIN_FREE", 0)
    for folder in ("drive", "local"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.flac").write_bytes(b"sound")
    assert remote_io.local_copy(tmp_path / "local" / "a.flac") == tmp_path / "local" / "a.flac"
    assert remote_io.local_copy(tmp_path / "drive" / "a.flac").is_relative_to(tmp_path / "cache")


# ---- over a real mount ----


@pytest.mark.parametrize("share", [0.01, 0.2])
def test_over_a_mount_that_fails_every_sample_is_right(tmp_path, mounted, share, monkeypatch):
    monkeypatch.setattr(remote_io, "PAUSES", (0,) * 20)
    source, suffixes = tmp_path / "source", ("flac", "wav", "mp3")
    with mounted(seed=1) as there:
        for suffix in suffixes:
            soundfile.write(source / f"a.{suffix}", noise(20 * RATE), RATE, format=suffix.upper())
        (source / "metadata.yaml").write_text("UUID: a")
        there.fail(share)
        for suffix in suffixes:
            for _ in range(3):
                expected = audio.read(source / f"a.{suffix}", dtype="int16")[0]
                np.testing.assert_array_equal(audio.read(there.path / f"a.{suffix}", dtype="int16")[0], expected)
                assert audio.info(there.path / f"a.{suffix}") == audio.info(source / f"a.{suffix}")
        assert set(remote_io.listing(there.path)) == {*(f"a.{suffix}" for suffix in suffixes), "metadata.yaml"}
        assert remote_io.read_text(there.path / "metadata.yaml") == "UUID: a"
        (source / "stems").mkdir()
        for number in range(100):
            (source / "stems" / str(number)).touch()
        assert len(remote_io.listing(there.path / "stems")) == 100
        remote_io.check_mounted(there.path)
        assert there.counts()["failed"] > 0


@pytest.mark.parametrize("suffix", ["m4a", "mkv", "opus"])
def test_songs_over_a_failing_mount_are_whole_or_refused(tmp_path, mounted, monkeypatch, suffix):
    codec, rate = ("libopus", 48000) if suffix == "opus" else ("aac", RATE)
    with mounted(seed=1) as there:
        encode(tmp_path / "source" / f"a.{suffix}", noise(20 * RATE, 2) / np.float32(1 << 15), codec=codec, rate=rate)
        expected = audio.read(tmp_path / "source" / f"a.{suffix}")[0]
        path = there.path / f"a.{suffix}"
        monkeypatch.setattr(remote_io, "PAUSES", (0,) * 20)
        there.fail(0.2)
        np.testing.assert_array_equal(audio.read(path)[0], expected)
        monkeypatch.setattr(remote_io, "PAUSES", (0,))
        there.fail(0.6)
        with pytest.raises(UnreachableError):
            for _ in range(10):
                np.testing.assert_array_equal(audio.read(path)[0], expected)


def test_a_file_that_is_read_whole_is_opened_once(tmp_path, mounted):
    with mounted() as there:
        soundfile.write(tmp_path / "source" / "a.flac", noise(), RATE)
        audio.read(there.path / "a.flac")
        assert there.counts()["opens"] == {"a.flac": 1}


@pytest.mark.parametrize("how", ["lose", "vanish"])
def test_a_mount_lost_during_a_song_is_reported_and_recovered(tmp_path, mounted, how):
    with mounted() as there:
        soundfile.write(tmp_path / "source" / "a.wav", noise(60 * RATE, 2), RATE)
        with pytest.raises(UnreachableError, match=r"a\.wav cannot be read from its disk"):  # noqa: SIM117
            with stream.opened(there.path / "a.wav") as song:
                for _ in song.blocks(RATE):
                    there.lose()
        getattr(there, how)()
        with pytest.raises((UnreachableError, MissingError)):
            audio.read(there.path / "a.wav")
        with pytest.raises(MountLostError):
            remote_io.check_mounted(there.path)
        there.vanish()
        there.start()
        remote_io.check_mounted(there.path)
        assert audio.info(there.path / "a.wav").frames == 60 * RATE


def test_a_remote_file_is_opened_once_for_all_reads(tmp_path, mounted, cache):
    with mounted(open_seconds=0.01) as there:
        soundfile.write(tmp_path / "source" / "a.flac", noise(), RATE)
        for start in range(5):
            audio.read(remote_io.local_copy(there.path / "a.flac"), start * RATE // 2, RATE)
        assert there.counts()["opens"] == {"a.flac": 1}
        assert len(files(cache)) == 1


def test_the_test_mount_is_slow_and_failing_and_leaves_nothing(tmp_path, mounted):
    (tmp_path / "source" / "folder").mkdir()
    for number in range(20):
        (tmp_path / "source" / "folder" / str(number)).write_text("text")
    with mounted(open_seconds=0.05, listing_seconds=0.05) as there:
        folder = there.path / "folder"
        assert len(remote_io.listing(folder)) == 20
        with ThreadPoolExecutor(20) as pool:
            assert set(pool.map(remote_io.read_text, folder.iterdir())) == {"text"}
        counts = there.counts()
        assert counts["opens"] == {f"folder/{number}": 1 for number in range(20)}
        assert counts["listings"] == {"folder": 2}
        assert counts["most_at_once"] > 10
        there.fail(1)
        with pytest.raises(OSError, match="Input/output"):
            (folder / "1").read_bytes()
    assert list(there.path.iterdir()) == []
    assert str(there.path) not in Path("/proc/mounts").read_text()
