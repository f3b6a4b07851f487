"""Training on a real Slurm that suffers the failures of a large site, one after the other."""

import contextlib
import json
import re
import subprocess
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import yaml
from fixtures import tiny_campaign, tiny_prepared
from fixtures.slurm import cluster
from fixtures.slurm_here import site, until
from fixtures.tiny_campaign import PROJECT, submit
from fixtures.tiny_notebooks import TINY

from muscomp_lib import training
from muscomp_lib.core.root import Root
from muscomp_lib.training import loop

PARAMETERS = {name: yaml.safe_load(str(value)) for name, value in TINY.items()}
STEPS, SAVED = 160, 10  # of training; from one checkpoint to the next
DISK = 6  # MB: too small for the data set that notebook 01 makes
TRAINED = {"train_max_steps": STEPS, "save_checkpoints_steps": SAVED, "batch_size": 4}
PARAMETERS |= {"time_steps": 0, "minislakh_tracks": 4, "03": {"name": "tiny", **TRAINED}}


@contextlib.contextmanager
def small_disk(folder, megabytes):
    """A disk of its own, mounted at `folder`; gives a function that makes it larger, or None: there can be none."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o"]
    made = subprocess.run([*mount, f"size={megabytes}m", "tmpfs", folder], capture_output=True, check=False)
    if made.returncode:
        warnings.warn(f"No full disk: this machine mounts none. {made.stderr.decode().strip()}", stacklevel=1)
        yield None
        return
    try:
        yield lambda size: subprocess.run([*mount, f"remount,size={size}m", folder], check=True)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


class Real:
    """A campaign of the project's own notebooks 01 and 04, with little to do; the songs to train with are there."""

    def __init__(self, folder, env, run):
        self.folder, self.root, self.env, self.run = folder / "root" / "runs" / "tiny", folder / "root", env, run
        self.model = self.root / "models" / "tiny"
        tiny_prepared.write(self.root, **TRAINED)
        stages = {"index": {"cores": 2}, "shards": {"jobs": 1}}
        given = {"notebooks": None, "parameters": PARAMETERS, "stages": stages}
        self.file = tiny_campaign.write(folder, site=site(folder), **given)
        tiny_campaign.done(self.root, PROJECT / "notebooks", ["join", "tables", "songs/1"])

    def __call__(self, *words, **how):
        return submit(self.file, *words, env=self.env, **how)

    def ended(self, status=1):
        """Wait until no job is left; what `status` then says."""
        until(lambda: not self.run("squeue", "--noheader", "--me"))
        return self("status", status=status)

    def job(self, stage):
        """The number of the latest job of a stage."""
        noted = json.loads((self.folder / "jobs.json").read_text())
        return [each["job"] for each in noted if each["stage"] == stage][-1]

    def starts(self, stage):
        """How often a job has begun."""
        file = self.folder / stage / "times.log"
        return file.read_text().count("start") if file.exists() else 0

    def step(self):
        """Of the last row of the history."""
        return loop.read_history(self.model)[-1][0] if (self.model / "history.csv").exists() else 0

    def log(self, stage):
        """The log of a stage."""
        return (self.folder / "logs" / f"{stage}-{self.job(stage)}.log").read_text()


@pytest.mark.full
@pytest.mark.slow
def test_training_despite_every_failure_ends_like_an_undisturbed_one(tmp_path, env, run, slurm):
    with small_disk(tmp_path / "root", DISK) as enlarge, ThreadPoolExecutor() as beside:
        campaign = Real(tmp_path, env, run)
        peace = beside.submit(undisturbed, tmp_path / "peace")
        campaign()
        if enlarge:
            assert "DiskFullError: No room left to write" in campaign.ended()
            enlarge(300)
            campaign("resume")
        until(lambda: campaign.step() >= SAVED)
        run("scancel", "--batch", "--signal=USR1", campaign.job("train"))  # as Slurm does before the time is up
        until(lambda: campaign.starts("train") == 2)
        assert "running, step " in campaign("status", status=1)
        reached = np.load(campaign.model / loop.CHECKPOINT)["step"]
        assert f"Stopped, and saved after step {reached} of {STEPS}." in campaign.log("train")
        until(lambda: campaign.step() > reached + SAVED)
        cluster.kill_node(slurm, "gpu1")
        (campaign.model / loop.CHECKPOINT).write_bytes(b"PK\x03\x04 and then the disk was gone")
        until(lambda: "PENDING" in run("squeue", "--noheader", f"--jobs={campaign.job('train')}", "--format=%T"))
        cluster.start_node(slurm, "gpu1")
        printed = campaign.ended(status=0)
        assert "5 of 5 stages done" in printed and "Complete" in printed
        assert "Training resumes from the previous checkpoint." in campaign.log("train")
        staged = re.findall(r"^Copied to .*/local/.*: (\d+) files, ", campaign.log("train"), flags=re.MULTILINE)
        assert len(staged) == 2 and all(map(int, staged))  # the run that was killed with its node says nothing
        assert campaign.starts("train") == 3
        assert campaign.starts("index") == (2 if enlarge else 1)
        assert "data:image/png" in (campaign.folder / "report.html").read_text()
        assert trained_in(Root(campaign.root)) == trained_in(peace.result())


def undisturbed(path):
    """Train with the same songs and the same configuration, in one go; the root."""
    root = tiny_prepared.write(path, **TRAINED)
    training.train("tiny", root)
    return root


def trained_in(root):
    """What training has left: {file name: content}."""
    return {name: (root.models / "tiny" / name).read_bytes() for name in ("weights.npz", "history.csv")}
