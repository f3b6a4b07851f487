"""A campaign on a real Slurm that suffers the failures of a large site, one after the other."""

import contextlib
import json
import os
import re
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import yaml
from fixtures import tiny_campaign
from fixtures.slurm import cluster
from fixtures.slurm_here import site, until
from fixtures.tiny_campaign import PROJECT, submit
from fixtures.tiny_notebooks import TINY

from muscomp_lib import training
from muscomp_lib.core.root import Root, open_root
from muscomp_lib.training import loop

PARAMETERS = {name: yaml.safe_load(str(value)) for name, value in TINY.items()}
PARAMETERS |= {"notes_model": None, "train_max_steps": 200, "save_checkpoints_steps": 20, "time_steps": 0}
PARAMETERS |= {"05": {"seconds": 4}}


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
    """A campaign of the project's own notebooks, with little to do."""

    def __init__(self, folder, env, run):
        self.folder, self.root, self.env, self.run = folder / "root" / "runs" / "tiny", folder / "root", env, run
        self.model = self.root / "models" / "shared_unet"
        stages = {"index": {"cores": 2}, "shards": {"jobs": 3, "cores": 2}, "join": {"cores": 2}}
        given = {"notebooks": None, "parameters": PARAMETERS, "stages": stages}
        self.file = tiny_campaign.write(folder, site=site(folder), **given)

    def __call__(self, *words):
        return submit(self.file, *words, env=self.env)

    def ended(self, status=1):
        """Wait until no job is left; what `status` then says."""
        until(lambda: not self.run("squeue", "--noheader", "--me"))
        return submit(self.file, "status", status=status, env=self.env)

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
        name, _, task = stage.partition("-")
        return (self.folder / "logs" / f"{name}-{self.job(name)}{f'_{task}' * bool(task)}.log").read_text()


@pytest.mark.full
@pytest.mark.slow
def test_a_campaign_with_every_failure_ends_like_an_undisturbed_one(tmp_path, env, run, slurm):
    with small_disk(tmp_path / "root", 8) as enlarge, ThreadPoolExecutor() as beside:
        campaign = Real(tmp_path, env, run)
        campaign()
        peace = beside.submit(undisturbed, tmp_path / "peace", campaign.folder / "parameters.yaml")
        if enlarge:
            assert "DiskFullError: No room left to write" in campaign.ended()
            enlarge(300)
            campaign("resume")
        until(lambda: all(campaign.starts(f"shards/{n}") and "..." in campaign.log(f"shards-{n}") for n in (1, 2)))
        for shard in (1, 2):
            run("scancel", "--batch", "--signal=KILL", f"{campaign.job('shards')}_{shard}")
        printed = campaign.ended()
        assert "1 of 6 stages done" in printed and "shards 1 failed" in printed and "shards 2 failed" in printed
        assert "Missing: shards 1, 2; join; tables; train; songs 1." in printed
        assert f"To resume: python batch/submit.py {campaign.folder} resume" in printed
        assert "shards: job" in campaign("resume")
        until(lambda: campaign.step() >= 20)
        assert "running, step " in submit(campaign.file, "status", status=1, env=env)
        run("scancel", "--batch", "--signal=USR1", campaign.job("train"))  # as Slurm does before the time is up
        until(lambda: campaign.starts("train") == 2)
        reached = np.load(campaign.model / loop.CHECKPOINT)["step"]
        assert f"Stopped, and saved after step {reached} of 200." in campaign.log("train")
        until(lambda: campaign.step() > reached + 20)
        cluster.kill_node(slurm, "gpu1")
        (campaign.model / loop.CHECKPOINT).write_bytes(b"PK\x03\x04 and then the disk was gone")
        until(lambda: "PENDING" in run("squeue", "--noheader", f"--jobs={campaign.job('train')}", "--format=%T"))
        cluster.start_node(slurm, "gpu1")
        printed = campaign.ended(status=0)
        assert "6 of 6 stages done" in printed and "Complete" in printed
        assert "Training resumes from the previous checkpoint." in campaign.log("train")
        staged = re.findall(r"^Copied to .*/local/.*: (\d+) files, ", campaign.log("train"), flags=re.MULTILINE)
        assert len(staged) == 2 and all(map(int, staged))  # the run that was killed with its node says nothing
        assert campaign.starts("train") == 3 and campaign.starts("tables") == campaign.starts("shards/3") == 1
        assert campaign.starts("index") == (2 if enlarge else 1)
        assert "data:image/png" in (campaign.folder / "report.html").read_text()
        assert made_in(Root(campaign.root)) == made_in(peace.result())


def undisturbed(path, parameters):
    """The root of the same, done in one go and without a scheduler."""
    for number in ("01", "02", "03"):
        command = [sys.executable, PROJECT / "batch" / "run.py", number, "-f", parameters, "-p", "root", path]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"})
    root = open_root(path)
    training.train("shared_unet", root)
    return root


def made_in(root):
    """What a campaign has made and learnt: {path: content}."""
    files = [*root.tables.glob("*.csv"), *root.models.glob("*/weights.npz"), *root.models.glob("*/history.csv")]
    return {path.relative_to(root.path): path.read_bytes() for path in [*files, *root.prepared.rglob("*.flac")]}
