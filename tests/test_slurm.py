"""Campaigns on a real Slurm, started for these tests on this machine: order, kills, lost nodes, time that is up."""

import json
import os
import shutil
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny_campaign
import yaml
from needs import require
from tiny_campaign import PROJECT, submit

sys.path.insert(0, str(Path(__file__).parent / "slurm"))

import cluster

PATIENCE = 400  # seconds that anything here may take
STAGES = ("index", "shards", "join", "tables", "train", "songs")


@pytest.fixture(scope="module")
def slurm():
    """The folder of a running Slurm, with the environment that finds it."""
    lacking = cluster.lacking()
    require(not lacking, f"no Slurm here ({', '.join(lacking)}): apt install {cluster.PACKAGES}")
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # a socket's path must be short
    folder.chmod(0o755)
    cluster.start(folder)
    yield folder
    cluster.stop(folder)
    shutil.rmtree(folder)


@pytest.fixture
def run(slurm):
    """Give Slurm a command, and return what it prints."""
    return lambda *words: cluster.run(slurm, *words)


@pytest.fixture
def env(slurm):
    clean = {name: value for name, value in os.environ.items() if name != "MUSCOMP_ROOT"}
    return {**clean, **cluster.environment(slurm), "CUDA_VISIBLE_DEVICES": "-1"}


def site(folder):
    """Bridges-2 without its modules, which are not here."""
    data = yaml.safe_load((PROJECT / "batch" / "sites" / "bridges2.yaml").read_text())
    data |= {"modules": [], "gpu_modules": []}
    folder.mkdir(exist_ok=True)
    (folder / "b2.yaml").write_text(yaml.safe_dump(data))
    return "b2.yaml"


def until(condition):
    """Wait until `condition()` is true, and return what it gives."""
    began = time.monotonic()
    while not (found := condition()):
        assert time.monotonic() - began < PATIENCE, "it did not happen"
        time.sleep(0.2)
    return found


class Tiny:
    """A campaign of small notebooks on the test's Slurm."""

    def __init__(self, folder, env, run, **given):
        self.folder, self.env, self.run = folder / "root" / "runs" / "tiny", env, run
        self.root = folder / "root"
        self.root.mkdir()
        self.file = tiny_campaign.write(folder, site=site(folder), stages={"shards": {"jobs": 2}}, **given)

    def __call__(self, *words, status=0):
        return submit(self.file, *words, status=status, env=self.env)

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
        """Wait until no job of this user is left, and return the report's log; "" when the report was cancelled too."""
        until(lambda: not self.run("squeue", "--noheader", "--me"))
        log = self.folder / "logs" / "report.log"
        return log.read_text() if log.exists() else ""


@pytest.fixture
def tiny(tmp_path, env, run):
    return lambda **given: Tiny(tmp_path, env, run, **given)


@pytest.mark.slow
def test_stages_follow_one_another_and_the_report_comes_last(tiny, tmp_path):
    for name in "ab":
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(800), 8000)
    campaign = tiny(songs=["a.wav", "b.wav"], account="cis000000p")
    campaign()
    assert "is under way" in campaign(status=2)
    assert "Complete. The report" in campaign.ended()
    spans = {}
    for file in campaign.folder.rglob("times.log"):
        moments = [int(line.split()[1]) for line in file.read_text().splitlines()]
        first, last = spans.get(stage := file.relative_to(campaign.folder).parts[0], (min(moments), 0))
        spans[stage] = min(first, *moments), max(last, *moments)
    for before, after in pairwise(STAGES):
        assert spans[before][1] <= spans[after][0]
    told = campaign("status")
    assert "6 of 6 stages done" in told and "2/2" in told
    heard = [json.loads((campaign.folder / "songs" / n / "metrics.json").read_text()) for n in "12"]
    assert [Path(each["05_songs"]["metrics"]["given"]["song"]).name for each in heard] == ["a.wav", "b.wav"]
    for name in ("TMPDIR", "MUSCOMP_CACHE"):
        disk = str(Path(campaign.env["SLURM_CONF"]).parent / "local")
        assert heard[0]["05_songs"]["metrics"]["given"][name].startswith(disk)
    used = float(told.split("in all")[1].split()[2])
    assert used > 0  # service units


@pytest.mark.slow
def test_a_killed_shard_ends_the_chain_and_resume_makes_only_what_is_missing(tiny, run):
    campaign = tiny()
    hold = campaign.hold("fill-2")
    campaign()
    campaign.at_work("fill-2")
    run("scancel", "--batch", "--signal=KILL", f"{campaign.job('shards')}_2")
    said = campaign.ended()
    assert "shards 2 failed" in said
    assert "Missing: shards 2; join; tables; train; songs 1." in said
    assert f"To go on: python batch/submit.py {campaign.file} resume" in said
    assert "1 of 6 stages done" in campaign("status", status=1)
    hold.unlink()
    assert "shards: job" in campaign("resume")
    assert "Complete" in campaign.ended()
    assert campaign.times("shards/1") == campaign.times("index") == ["start", "end"]


@pytest.mark.slow
def test_cancel_ends_the_notebook_too_and_resume_goes_on(tiny, run):
    campaign = tiny()
    hold = campaign.hold("train")
    campaign()
    campaign.at_work("train")
    assert campaign.job("train") in campaign("cancel")
    assert campaign.ended() == ""
    told = campaign("status", status=1)
    assert "train cancelled" in told and "04_train was stopped." in told and "Missing: train; songs 1." in told
    assert campaign.times("train") == ["start", "end"]
    hold.unlink()
    campaign("resume")
    assert "Complete" in campaign.ended()
    assert campaign.times("tables") == ["start", "end"]


@pytest.mark.slow
def test_a_lost_node_costs_its_job_a_new_start_and_the_chain_goes_on(tiny, run, slurm):
    campaign = tiny()
    hold = campaign.hold("index")
    campaign()
    campaign.at_work("index")
    node = run("squeue", "--noheader", "--me", f"--jobs={campaign.job('index')}", "--format=%N").strip()
    cluster.kill_node(slurm, node)
    hold.unlink()
    try:
        assert "Complete" in campaign.ended()
    finally:
        cluster.start_node(slurm, node)
    assert campaign.times("index") == ["start", "start", "end"]


@pytest.mark.slow
def test_a_job_that_comes_back_too_often_ends_and_says_so(tiny, run):
    campaign = tiny()
    content = yaml.safe_load(campaign.file.read_text())
    content["stages"]["index"] = {"requeues": 0}
    campaign.file.write_text(yaml.safe_dump(content))
    campaign.hold("index")
    campaign()
    campaign.at_work("index")
    run("scancel", "--batch", "--signal=USR1", campaign.job("index"))
    assert "Missing: index" in campaign.ended()
    assert "The time is up, after 0 returns" in (campaign.folder / "logs" / "index.log").read_text()
