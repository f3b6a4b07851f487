"""A campaign of small notebooks that do nothing, as fast as notebooks can, and wait where a test wants them to."""

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import yaml
from nbformat.v4 import new_code_cell, new_notebook

PROJECT = Path(__file__).parents[1]
SUBMIT = PROJECT / "batch" / "submit.py"
PARAMETERS = {
    "01_index": "root = None\nminislakh_tracks = 4\nlimit = None\nverify = 'headers'",
    "02_fill": "root = None\nshard = None\nworkers = None\nvirtual = False",
    "03_tables": "root = None\nname = 'net'\ntrain_max_steps = 30",
    "04_train": "root = None\nconfig = 'net'",
    "05_songs": "root = None\nmodel = 'shipped'\nsong = None",
}
WORK = f"""
import sys, time, os
from pathlib import Path
sys.path.insert(0, {str(PROJECT)!r})
from muscomp_lib import report
me = NAME + (f"-{{shard.partition('/')[0]}}" if globals().get("shard") else "")
(Path(root) / f"began-{{me}}").touch()
while (Path(root) / f"hold-{{me}}").exists():
    time.sleep(0.05)
given = {{name: globals().get(name) for name in ("shard", "workers", "verify", "config", "model", "song")}}
given |= {{name: os.environ.get(name) for name in ("TMPDIR", "MUSCOMP_CACHE")}}
report.finish([], {{"given": given}})
"""


def write(folder, **given):
    """Write five notebooks and `campaign.yaml`, which holds what is given; return its path."""
    notebooks = folder / "notebooks"
    notebooks.mkdir(parents=True, exist_ok=True)
    for name, parameters in PARAMETERS.items():
        cells = [new_code_cell(parameters, metadata={"tags": ["parameters"]})]
        cells += [new_code_cell(f"NAME = {name[3:]!r}{WORK}")]
        spec = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        nbformat.write(new_notebook(metadata=spec, cells=cells), notebooks / f"{name}.ipynb")
    file = folder / "campaign.yaml"
    content = {"name": "tiny", "root": "root", "notebooks": "notebooks", **given}  # None: the project's own
    file.write_text(yaml.safe_dump(content))
    return file


def done(root, notebooks, stages):
    """Let the campaign believe that these stages are done, a task as `songs/1`: they take no time then."""
    numbers = {"index": "01", "shards": "02", "join": "02", "tables": "03", "train": "04", "songs": "05"}
    for stage in stages:
        out = root / "runs" / "tiny" / stage
        out.mkdir(parents=True)
        stem = next(notebooks.glob(f"{numbers[stage.partition('/')[0]]}_*.ipynb")).stem
        (out / "metrics.json").write_text(json.dumps({stem: {"status": "ok"}}))


def submit(file, *words, status=0, env=None):
    """Give the command; what it printed. It must end with the exit status `status`."""
    done = subprocess.run(
        [sys.executable, SUBMIT, file, *words],
        cwd=file.parent, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr
