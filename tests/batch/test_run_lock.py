"""One writer for a run's folder, and GPUs that are there before a notebook starts on them."""

import errno
import json
import os
import re
import subprocess
import sys
import time

import pytest

from batch import check_node, device, run_lock
from muscomp_lib.core.errors import DiskFullError, SettingError

QUICK = "from pathlib import Path\nfrom batch import run_lock\nrun_lock.BEAT, run_lock.STALE = 0.1, 0.6\n"
HOLD = f"""{QUICK}
import sys, time
with run_lock.hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(run_lock, "BEAT", 0.1)
    monkeypatch.setattr(run_lock, "STALE", 0.6)
    monkeypatch.delenv(run_lock.JOB, raising=False)


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the folder."""
    started = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert started.stdout.readline() == b"held\n"
    yield started
    started.kill()
    started.communicate()


def test_a_second_writer_is_refused_with_who_works_there(tmp_path, quick, holder):
    message = f"Process {holder.pid} on .* works in .*Wait until it has ended"
    with pytest.raises(SettingError, match=message), run_lock.hold(tmp_path):
        pass
    assert holder.poll() is None


def test_a_job_waits_until_another_has_saved_its_work(tmp_path, quick, holder, monkeypatch):
    monkeypatch.setenv(run_lock.JOB, "7")
    monkeypatch.setattr(run_lock, "PATIENCE", 0.5)
    with pytest.raises(SettingError, match="works in"), run_lock.hold(tmp_path):
        pass
    holder.kill()
    holder.wait()
    with run_lock.hold(tmp_path):
        assert json.loads((tmp_path / run_lock.FILE).read_text())["job"] == "7"
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path, quick, monkeypatch):
    with pytest.raises(SettingError, match=r"cannot be written to \(.*\)\. Give"), run_lock.hold(tmp_path / "x"):
        pass
    monkeypatch.setattr(json, "dump", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(DiskFullError), run_lock.hold(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_the_folder_of_a_lost_node_is_taken_over(tmp_path, quick):
    (tmp_path / run_lock.FILE).write_text('{"host": "elsewhere", "process": 1, "token": "x"}')
    began = time.monotonic()
    with run_lock.hold(tmp_path):
        assert time.monotonic() - began > run_lock.STALE


def test_a_process_whose_folder_was_taken_over_ends_at_once(tmp_path, holder):
    patience = time.monotonic() + 20
    while holder.poll() is None and time.monotonic() < patience:  # again: it may be just about to renew its own
        (tmp_path / run_lock.FILE).write_text('{"host": "b", "process": 2, "token": "another"}')
        time.sleep(0.05)
    assert holder.poll() == 1
    assert b"Process 2 on b has taken over" in holder.stderr.read()
    assert "another" in (tmp_path / run_lock.FILE).read_text()


def test_a_notebook_whose_job_script_was_killed_stops(tmp_path):
    code = (
        f"import subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', {HOLD!r}, sys.argv[1]])\ntime.sleep(60)"
    )
    environment = {**os.environ, run_lock.JOB: "7"}
    words = [sys.executable, "-c", code, tmp_path]
    script = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert script.stdout.readline() == b"held\n"
    script.kill()
    assert b"The notebook stops" in script.stderr.read()  # to its end: the process is gone
    script.communicate()


def test_missing_cuda_libraries_are_named_before_anything_starts(monkeypatch):
    monkeypatch.setattr(device, "usable_gpus", lambda: 0)
    monkeypatch.setattr(device, "gpus_of_node", lambda: ["NVIDIA H100, driver 550"] * 2)
    with pytest.raises(
        device.DeviceError, match=r"2 GPUs requested, .* can use 0 .* -m pip install -r requirements-gpu"
    ):
        device.require_gpus(2)
    monkeypatch.setattr(device, "gpus_of_node", list)
    with pytest.raises(device.DeviceError, match=r"1 GPU requested.*offers 0.*exclude this node"):
        device.require_gpus(1)
    monkeypatch.setattr(device, "usable_gpus", lambda: 1)
    device.require_gpus(1)


def test_a_missing_tensorflow_is_no_missing_gpu(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(device, "COUNT", "import tensorflow_that_is_missing")
    monkeypatch.setattr(check_node.metadata, "version", metadata_without_packages)
    assert check_node.main([str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "TensorFlow not installed" in printed
    assert re.search("PROBLEM: No network can run with .* 'tensorflow_that_is_missing'. Install", printed)


def metadata_without_packages(name):
    """As `importlib.metadata.version` on a machine where nothing is installed."""
    raise check_node.metadata.PackageNotFoundError(name)


def test_the_driver_and_each_kind_of_gpu_are_named(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H100 80GB HBM3, 550.54.15'\necho 'NVIDIA H100 80GB HBM3, 550.54.15'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert device.device() == "2 x NVIDIA H100 80GB HBM3, driver 550.54.15"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert device.device().startswith("CPU, ")
