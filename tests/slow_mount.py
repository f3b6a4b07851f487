"""A folder, mounted once more as if it lay on Google Drive: slow to open and to list, failing at random, and losable.

The file system (FUSE, read only) runs in a process of its own, which is this file run as a script. It takes commands on
its standard input, one a line, and answers on its standard output; when its input ends, so does it.
"""

import contextlib
import ctypes.util
import errno
import functools
import importlib.util
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

DEVICE = Path("/dev/fuse")
THREADS = 64  # calls answered at the same time; libfuse's own limit is 10
SECONDS_TO_END = 20
ATTRIBUTES = ("st_mode", "st_nlink", "st_size", "st_uid", "st_gid", "st_atime_ns", "st_mtime_ns", "st_ctime_ns")


def require_mounting():
    """Skip the test where this machine cannot mount anything; where only a package is missing, as `needs.require`."""
    import pytest
    from needs import require

    if not DEVICE.exists():
        pytest.skip("this machine has no /dev/fuse")
    require(not _lacking(), _lacking())


@functools.cache
def _lacking():
    """What is missing for mounting, "" when nothing."""
    if importlib.util.find_spec("mfusepy") is None:
        return "the package mfusepy is not installed"
    if not (ctypes.util.find_library("fuse3") or ctypes.util.find_library("fuse")):
        return "the library libfuse is not installed"
    if not _unmounter():
        return "fusermount (Debian and Ubuntu: package fuse3) is not installed"
    with tempfile.TemporaryDirectory() as folder:
        try:
            with mounted(folder, Path(folder) / "mount"):
                return ""
        except RuntimeError as error:
            return str(error)


def _unmounter():
    return shutil.which("fusermount3") or shutil.which("fusermount")


class Mount:
    """`folder` as seen at `mountpoint`; the settings are those of `mounted`."""

    def __init__(self, folder, mountpoint, **settings):
        self.folder, self.path, self._settings, self._process = Path(folder), Path(mountpoint), settings, None

    def start(self):
        """Mount it, also again after it was lost: what is left of the lost mount goes first."""
        if os.path.ismount(self.path) or self._is_dead():
            self.vanish()
        command = [sys.executable, __file__, str(self.folder), str(self.path), json.dumps(self._settings)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        if self._process.stdout.readline() != "mounted\n":
            said = self._process.communicate()[1]
            raise RuntimeError(f"{self.folder} could not be mounted: {said.strip()}")

    def _asked(self, command):
        print(command, file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def _is_dead(self):
        """Whether a process died here with its mount in place."""
        try:
            Path(self.path).stat()
        except OSError as error:
            return error.errno == errno.ENOTCONN
        return False

    def counts(self):
        """{"opens": {file: number}, "listings": {folder: number}, "most_at_once": opens, "failed": calls} so far."""
        return self._asked("counts")

    def fail(self, share):
        """From now on this share of the calls fails."""
        self._asked(f"fail {share}")

    def lose(self):
        """The process dies with its mount in place: every call gives ENOTCONN, as when Colab's Drive has crashed."""
        self._process.kill()
        self._process.communicate()

    def vanish(self):
        """Unmount it under whoever uses it: an empty folder is left."""
        subprocess.run([_unmounter(), "-u", "-z", str(self.path)], check=False, capture_output=True)

    def stop(self):
        """Unmount, and end the process that `start` started."""
        self.vanish()
        with contextlib.suppress(ValueError, OSError):  # its pipes are closed when it was lost
            self._process.stdin.close()
        try:
            self._process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._process.stderr.close()


@contextlib.contextmanager
def mounted(folder, mountpoint, open_seconds=0.0, listing_seconds=0.0, fail_share=0.0, seed=0):
    """Mount `folder` at `mountpoint`, an empty folder that is made, and unmount it at the end, whatever happens.

    Parameters
    ----------
    open_seconds, listing_seconds : float
        Added to every opening of a file, every listing of a folder.
    fail_share : float
        Of all calls (looking up, opening, listing, reading), this share fails with EIO.
    seed : int

    Yields
    ------
    Mount
    """
    Path(mountpoint).mkdir(parents=True, exist_ok=True)
    settings = {"open_seconds": open_seconds, "listing_seconds": listing_seconds}
    mount = Mount(folder, mountpoint, fail_share=fail_share, seed=seed, **settings)
    try:
        mount.start()
        yield mount
    finally:
        mount.stop()


# ---- in the process of its own ----


class Slow:
    """What the file system does in each call, as mfusepy asks for it."""

    use_ns = True

    def __init__(self, folder, open_seconds, listing_seconds, fail_share, seed):
        self._folder, self._random, self._lock = folder, random.Random(seed), threading.Lock()
        self._open_seconds, self._listing_seconds, self.fail_share = open_seconds, listing_seconds, fail_share
        self._opens, self._listings, self._opening, self._most, self._failed = Counter(), Counter(), 0, 0, 0

    def counts(self):
        with self._lock:
            numbers = {"opens": self._opens, "listings": self._listings}
            return numbers | {"most_at_once": self._most, "failed": self._failed}

    def _may_fail(self):
        with self._lock:
            fails = self._random.random() < self.fail_share
            self._failed += fails
        if fails:
            raise OSError(errno.EIO, "at random")

    def init(self, path):
        print("mounted", flush=True)

    def getattr(self, path, fh=None):
        self._may_fail()
        status = os.lstat(self._folder + path)
        return {name.removesuffix("_ns"): getattr(status, name) for name in ATTRIBUTES}

    def readdir(self, path, fh):
        with self._lock:
            self._listings[path.lstrip("/")] += 1
        time.sleep(self._listing_seconds)
        self._may_fail()
        with os.scandir(self._folder + path) as entries:  # what kind each is comes with its name, as on Drive
            return [".", "..", *((entry.name, {"st_mode": entry.stat().st_mode}, 0) for entry in entries)]

    def open(self, path, flags):
        with self._lock:
            self._opens[path.lstrip("/")] += 1
            self._opening += 1
            self._most = max(self._most, self._opening)
        try:
            time.sleep(self._open_seconds)
            self._may_fail()
            return os.open(self._folder + path, flags)
        finally:
            with self._lock:
                self._opening -= 1

    def read(self, path, size, offset, fh):
        self._may_fail()
        return os.pread(fh, size, offset)

    def release(self, path, fh):
        os.close(fh)
        return 0


def _obey(slow, mountpoint):
    """Do what the commands say; without anybody left to give them, unmount."""
    for line in sys.stdin:
        command, *values = line.split()
        if command == "fail":
            slow.fail_share = float(values[0])
        print(json.dumps(slow.counts()), flush=True)
    subprocess.run([_unmounter(), "-u", "-z", mountpoint], check=False, capture_output=True)


def _serve(folder, mountpoint, settings):
    import mfusepy

    class Served(Slow, mfusepy.Operations):
        pass

    options = {}
    if (mfusepy.fuse_version_major, mfusepy.fuse_version_minor) >= (3, 12):
        options["max_threads"] = THREADS
    slow = Served(folder, **settings)
    threading.Thread(target=_obey, args=(slow, mountpoint), daemon=True).start()
    mfusepy.FUSE(slow, mountpoint, foreground=True, ro=True, **options)


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
