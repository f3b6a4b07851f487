"""Campaigns on a real Slurm, started for these tests on this machine: order, preemption, cancelling, two nodes."""

import contextlib
import functools
import json
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
from fixtures import replicas, tiny_campaign
from fixtures.slurm import cluster
from fixtures.slurm_here import site, until
from fixtures.tiny_campaign import PROJECT, submit

from batch import run_lock
from muscomp_lib import training
from muscomp_lib.training import loop

LONGER = {"train_max_steps": 40, "save_checkpoints_steps": 8}
THREE_IN_TURN = {"jobs": 3, "at_once": 1}
STAGES = ("index", "shards", "join", "tables", "train", "songs")


def tracebacks(log):
    """Those in a log, but for the one that ipykernel prints, rarely, when it closes its sockets as a kernel ends."""
    parts = log.split("Traceback (most recent call last)")[1:]
    return [part for part in parts if "ZMQError: Socket operation on non-socket" not in part]


class Tiny:
    """A campaign of small notebooks on the test's Slurm, without the stages `done`."""

    def __init__(self, folder, env, run, done=(), gpus=False, modules=(), shards=None, **given):
        self.folder, self.env, self.run = folder / "root" / "runs" / "tiny", env, run
        self.root = folder / "root"
        self.root.mkdir()
        stages = {"shards": shards or {"jobs": 2}, "songs": {"songs_per_job": 1}}
        self.file = tiny_campaign.write(folder, site=site(folder, gpus, modules), stages=stages, **given)
        tiny_campaign.done(self.root, folder / "notebooks", done)

    def __call__(self, *words, **how):
        return submit(self.file, *words, env=self.env, **how)

    def job(self, stage):
        """The number of the latest job of a stage."""
        jobs = [
            entry["job"] for entry in json.loads((self.folder / "jobs.json").read_text()) if entry["stage"] == stage
        ]
        return jobs[-1]

    def hold(self, notebook):
        """Let a notebook wait as long as the file that this returns is there."""
        file = self.root / f"hold-{notebook}"
        file.touch()
        return file

    def at_work(self, notebook):
        """Wait until a notebook has begun."""
        until((self.root / f"began-{notebook}").exists)

    def times(self, stage):
        """A job's own notes: ["start", "end", ...]."""
        file = self.folder / stage / "times.log"
        return [line.split()[0] for line in file.read_text().splitlines()] if file.exists() else []

    def ended(self):
        """Wait until no job of this user is left, and return the logs of the reports; none when they were cancelled."""
        until(lambda: not self.run("squeue", "--noheader", "--me"))
        return self.logs("report-*")

    def logs(self, name="*"):
        """The logs of all jobs, one after the other."""
        return "".join(log.read_text() for log in sorted((self.folder / "logs").glob(f"{name}.log")))


@pytest.fixture
def tiny(tmp_path, env, run):
    return lambda **given: Tiny(tmp_path, env, run, **given)


@pytest.mark.slow
def test_stages_run_in_order_despite_preemption_with_the_report_last(tiny, tmp_path, run):
    for name in "ab":
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(800), 8000)
    campaign = tiny(songs=["a.wav", "b.wav"], account="cis000000p")
    hold = campaign.hold("index")
    campaign()
    campaign.at_work("index")
    preempt(run, campaign.job("index"))
    assert "is under way" in campaign(status=2, as_process=True)
    hold.unlink()
    assert "Complete. The report" in campaign.ended()
    assert campaign.times("index").count("start") == 2 and campaign.times("index")[-1] == "end"
    assert campaign.times("join") == ["start", "end"]
    spans = {}
    for file in campaign.folder.rglob("times.log"):
        moments = [int(line.split()[1]) for line in file.read_text().splitlines()]
        first, last = spans.get(stage := file.relative_to(campaign.folder).parts[0], (min(moments), 0))
        spans[stage] = min(first, *moments), max(last, *moments)
    for before, after in pairwise(STAGES):
        assert spans[before][1] <= spans[after][0]
    printed = campaign("status")
    assert "6 of 6 stages done" in printed and "2/2" in printed
    entries = [json.loads((campaign.folder / "songs" / n / "metrics.json").read_text()) for n in "12"]
    given = [each["05_songs"]["metrics"]["given"] for each in entries]
    assert [[Path(song).name for song in each["song"]] for each in given] == [["a.wav"], ["b.wav"]]
    for name in ("TMPDIR", "MUSCOMP_CACHE"):
        disk = str(Path(campaign.env["SLURM_CONF"]).parent / "local")
        assert entries[0]["05_songs"]["metrics"]["given"][name].startswith(disk)
    used = float(printed.split("in all")[1].split()[2])
    assert used > 0  # service units


def preempt(run, job):
    """Let a more urgent job take the node of a job that runs."""
    node = run("squeue", "--noheader", f"--jobs={job}", "--format=%N").strip()
    urgent = ["--parsable", "--partition=urgent", f"--nodelist={node}", "--exclusive", "--output=/dev/null"]
    number = run("sbatch", *urgent, "--wrap=true").strip()
    until(lambda: "COMPLETED" in run("squeue", "--noheader", "--states=all", f"--jobs={number}", "--format=%T"))


@pytest.mark.full
@pytest.mark.slow
def test_a_campaign_of_many_failures_names_each_and_ends_complete(tiny, run):
    campaign = tiny(done=("join", "tables", "songs/1"), gpus=True, modules=["no/such"], shards=THREE_IN_TURN)
    campaign()
    assert "index failed: The module no/such cannot be loaded." in campaign.ended()
    site(campaign.root.parent, gpus=True)
    report = element_comes_back(campaign, run)
    assert "train failed: 1 GPU requested, and TensorFlow can use 0 on" in report and "exclude this node" in report
    assert not (campaign.root / "began-train").exists() and "Missing: train." in report
    site(campaign.root.parent)
    hold = campaign.hold("train")
    campaign()
    campaign.at_work("train")
    tiny_campaign.write(campaign.root.parent, site="elsewhere", stages={"trian": {}})  # edited for the next run
    assert campaign.job("train") in campaign("cancel")
    assert campaign.ended().count("==== ") == 2  # of the two chains before
    printed = campaign("status", status=1)
    assert "train was cancelled by you: 04_train was stopped." in printed and "Missing: train." in printed
    assert campaign.times("train")[-2:] == ["start", "end"]
    shell_is_killed(campaign, run)
    hold.unlink()
    campaign("resume")
    assert "Complete. The report" in campaign.ended()
    assert campaign.times("index") == ["start", "end"] and not tracebacks(campaign.logs())


def element_comes_back(campaign, run):
    """Submit; while the first element of an array is done and the third waits, the time of all of them is up.

    The logs of the reports.
    """
    hold = campaign.hold("fill-2")
    campaign()
    campaign.at_work("fill-2")
    job = campaign.job("shards")
    for element in (1, 2):
        with contextlib.suppress(subprocess.CalledProcessError):  # it has ended
            run("scancel", "--batch", "--signal=USR1", f"{job}_{element}")
    until(lambda: campaign.times("shards/2").count("start") == 2)
    hold.unlink()
    report = campaign.ended()
    assert [campaign.times(f"shards/{n}").count("start") for n in (1, 2, 3)] == [1, 2, 1]
    assert campaign.times("shards/2") == ["start", "end", "requeue", "start", "end"]
    log = campaign.logs("shards-*_2")
    assert "This job is requeued" in log and "Kernel died" not in log and log.count("==== ") == 2
    return report


def shell_is_killed(campaign, run):
    """Resume; the script of a job is killed, and its notebook is not."""
    (campaign.root / "began-train").unlink()
    campaign("resume")
    campaign.at_work("train")
    run("scancel", "--batch", "--signal=KILL", campaign.job("train"))
    report = campaign.ended()
    assert "train failed (its script or its node was killed)" in report
    assert f"To resume: python batch/submit.py {campaign.folder} resume" in report


@pytest.mark.full
@pytest.mark.slow
def test_the_check_names_what_each_partition_lacks(tiny, run):
    campaign = tiny(gpus=True)
    printed = campaign("check")
    numbers = dict(re.findall(r"^(check-\S+): job (\d+)\. Its log: .*/logs/\1-\2\.log$", printed, flags=re.MULTILINE))
    assert not campaign.ended()
    for name, partition in {"check-RM-shared": "RM-shared", "check-GPU-shared-h100-80": "GPU-shared"}.items():
        job = run("squeue", "--noheader", "--states=all", f"--jobs={numbers[name]}", "--format=%P %M %l").split()
        assert job[0] == partition and job[2] == "5:00"
        log, local = campaign.logs(f"{name}-*"), Path(campaign.env["SLURM_CONF"]).parent / "local"
        assert re.search(rf"^For temporary files: {local}/\d+, .* free, room for ", log, flags=re.MULTILINE)
        assert re.search(rf"^For the root: {campaign.root}, .* free, room for ", log, flags=re.MULTILINE)
        assert "TensorFlow 2." in log
        assert ("PROBLEM: 1 GPU requested, and TensorFlow can use 0 on" in log) == (partition == "GPU-shared")


def start_worker(run, root, log):
    """Submit a job of two nodes that trains the root's configuration `tiny`, and nothing else."""
    words = [sys.executable, PROJECT / "batch" / "worker.py", "04", "-p", "root", root.path, "-p", "config", "tiny"]
    script = log.with_suffix(".sh")
    command = f"srun --ntasks-per-node=1 --kill-on-bad-exit=1 {shlex.join(map(str, words))}"
    script.write_text(f"#!/bin/bash\nexport CUDA_VISIBLE_DEVICES=-1\n{command}\n")
    words = ["--parsable", "--partition=RM", "--nodes=2", "--ntasks-per-node=1", f"--output={log}", str(script)]
    return run("sbatch", *words).strip()


@pytest.fixture(scope="module")
def trained_together(slurm, tmp_path_factory):
    """The root and log of a training on two nodes, which nobody disturbs."""
    folder = tmp_path_factory.mktemp("together")
    root, log = replicas.write(folder / "root", **LONGER), folder / "train.log"
    start_worker(functools.partial(cluster.run, slurm), root, log)
    until(lambda: not cluster.run(slurm, "squeue", "--noheader", "--me"))
    return root, log.read_text()


@pytest.mark.full
@pytest.mark.slow
def test_two_nodes_train_the_same_network_as_one_process(tmp_path, trained_together):
    two, log_text = trained_together
    one = replicas.write(tmp_path, **LONGER)
    training.train("tiny", one)
    assert "2 tasks train together, on 2 devices." in log_text and "Traceback" not in log_text, log_text
    assert replicas.difference(one, two) < replicas.ROUNDED
    histories = [loop.read_history(root.models / "tiny") for root in (one, two)]
    for here, there in zip(*histories, strict=True):
        assert here == pytest.approx(there, rel=replicas.ROUNDED)
    left = {path.name for path in (two.models / "tiny").iterdir()}
    assert left == {path.name for path in (one.models / "tiny").iterdir()}


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.parametrize(("killed", "other"), ["01", "10"], ids=["the chief", "another"])
def test_a_killed_task_ends_the_others_with_short_messages(tmp_path, run, killed, other):
    root, log = replicas.write(tmp_path / "root", train_max_steps=4000), tmp_path / "killed.log"
    start_worker(run, root, log)
    until((root.models / "tiny" / "history.csv").exists)
    tasks = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if str(root.path) in process.cmdline() and "SLURM_STEP_ID" in process.environ():
                tasks[process.environ()["SLURM_PROCID"]] = process
    tasks[killed].kill()
    until(lambda: not run("squeue", "--noheader", "--me"))
    log_text = log.read_text()
    assert f"task {killed}: Killed" in log_text
    ended = f"Task {other} has to end: " in log_text or f"task {other}: Killed" in log_text  # Slurm soon kills it
    assert ended, log_text
    assert "Traceback" not in log_text and len(log_text.splitlines()) < 30, log_text
    assert not tasks[other].is_running()


@pytest.mark.full
@pytest.mark.slow
def test_requeued_training_on_two_nodes_ends_in_the_undisturbed_model(tmp_path, env, run, trained_together):
    root = replicas.write(tmp_path / "root", **LONGER)
    stages = {"shards": {"jobs": 1}, "train": {"partition": "RM", "gpus": None, "nodes": 2}}
    file = tiny_campaign.write(tmp_path, site=site(tmp_path), parameters={"03": {"name": "tiny"}}, stages=stages)
    tiny_campaign.done(root.path, tmp_path / "notebooks", ("index", "join", "tables", "songs/1"))
    submit(file, env=env)
    job = json.loads((root.runs / "tiny" / "jobs.json").read_text())[0]["job"]
    model = root.models / "tiny"
    until(lambda: (model / "history.csv").exists() and loop.read_history(model)[-1][0] >= 8)
    lock = root.runs / "tiny" / "train" / run_lock.FILE
    held = json.loads(lock.read_text())
    assert held["job"] == job and held["host"] == "cpu1"  # by the first task only
    run("scancel", "--batch", "--signal=USR1", job)  # as Slurm does before the time is up
    until(lambda: not run("squeue", "--noheader", "--me"))
    assert not lock.exists()
    log = (root.runs / "tiny" / "logs" / f"train-{job}.log").read_text()
    assert "This job is requeued" in log and "Stopped, and saved after step" in log and "04_train: ok" in log, log
    assert log.count("2 tasks train together") == 2 and not tracebacks(log), log
    assert "5 of 5 stages done" in submit(file, "status", env=env)
    undisturbed, _ = trained_together
    for name in ("history.csv", "weights.npz", "masks.npz"):
        assert (undisturbed.models / "tiny" / name).read_bytes() == (model / name).read_bytes(), name
