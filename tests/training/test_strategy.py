"""Replicas that learn together, here two devices of one process; test_slurm.py has two machines."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures.killing import snapshot
from fixtures.replicas import ROUNDED, SPLEETERS, difference, write

from muscomp_lib import training
from muscomp_lib.core.errors import MusCompError, SettingError
from muscomp_lib.training import strategy

EXACT = 1e-9  # 64-bit floats, of the way that the weights went; 3e-15 was measured
ROUGH = 3e-2  # 16-bit floats; 3e-3 was measured


def two_devices(*words, status=0):
    """Run two_devices.py; what it printed, errors last."""
    script = Path(__file__).parents[1] / "fixtures" / "two_devices.py"
    done = subprocess.run([sys.executable, script, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr[-3000:]
    return done.stdout + done.stderr if status else done.stdout


@pytest.mark.full
def test_two_devices_with_dropout_and_normalisation_train_like_one(tmp_path):
    """In 64-bit floats, which tell rounding from what would be another network."""
    write(tmp_path, model=SPLEETERS)
    apart, *losses = map(float, two_devices("compare", tmp_path, 3).split())
    print(f"the weights differ by {apart:.1e} of their way")
    assert apart < EXACT
    assert losses[:4] == pytest.approx(losses[4:], rel=EXACT)
    assert len(set(losses[:4])) == 4


@pytest.mark.full
def test_two_devices_end_in_one_devices_model_despite_stops(tmp_path):
    one, two, stopped = (write(tmp_path / name, save_checkpoints_steps=2) for name in ("one", "two", "stopped"))
    training.train("tiny", one)
    two_devices("train", two.path)
    assert difference(one, two) < ROUNDED
    for here, there in zip(*(training.read_history(root.models / "tiny") for root in (one, two)), strict=True):
        assert here == pytest.approx(there, rel=ROUNDED)
    assert "saved after step 3 of 4" in two_devices("train", stopped.path, 3, status=1)
    two_devices("train", stopped.path)
    ours, theirs = snapshot(stopped.models), snapshot(two.models)
    assert {name: held.replace(b"stopped", b"two") for name, held in ours.items()} == theirs


@pytest.mark.full
def test_half_long_numbers_learn_on_two_devices_as_on_one(tmp_path):
    muscomp = {"taxonomy": "slakh12", "crop_frames": 64, "remix": True, "precision": "mixed_float16"}
    one, two = (write(tmp_path / name, muscomp=muscomp) for name in ("one", "two"))
    training.train("tiny", one)
    two_devices("train", two.path)
    assert difference(one, two) < ROUGH


def test_replicas_that_cannot_share_a_batch_are_refused_with_alternatives():
    for batch_size, n_replicas in ((4, 1), (7, 1), (8, 2), (64, 16), (24, 3)):
        strategy.check(batch_size, n_replicas)
    with pytest.raises(
        SettingError, match=r"batch_size = 24 cannot be divided among 4 .* multiple of 16, .* on 1 or 2 or 3"
    ):
        strategy.check(24, 4)
    with pytest.raises(SettingError, match=r"train on 1\."):
        strategy.check(6, 2)


def test_gpus_that_a_batch_leaves_idle_are_told(monkeypatch, caplog):
    monkeypatch.setattr(strategy, "_devices", lambda: ["GPU:0", "GPU:1"])
    assert strategy.team(4) is strategy.SINGLE_PROCESS
    assert "1 GPUs are idle: batch_size = 4" in caplog.text


def test_slurms_variables_for_one_task_start_no_team(monkeypatch):
    for name, value in {"NTASKS": 1, "PROCID": 0, "JOB_ID": 7, "STEP_NUM_TASKS": 1, "STEP_NUM_NODES": 1}.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    assert strategy.team(8) is strategy.joined() is strategy.SINGLE_PROCESS
    assert strategy.join() is strategy.SINGLE_PROCESS


def test_tasks_keep_slurms_order_and_have_their_own_ports(monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr(strategy, "_address", lambda node: f"of-{node}")
    told = {"STEP_NODELIST": "node[9-10]", "STEP_TASKS_PER_NODE": "1(x2)", "STEP_NUM_TASKS": 2, "PROCID": 1}
    for name, value in {**told, "SRUN_COMM_PORT": 40001}.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    for n_gpus in (0, 8):
        resolver = strategy._resolver(tf, n_gpus)
        assert resolver.cluster_spec().as_dict() == {"worker": ["of-node9:15064", "of-node10:15065"]}
        assert (resolver.task_type, resolver.task_id) == ("worker", 1)
        assert resolver.num_accelerators() == {"GPU": n_gpus}


def test_a_node_without_a_name_or_an_address_is_told(monkeypatch, tmp_path):
    assert strategy._address("localhost") == "127.0.0.1"
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(
        '#!/bin/sh\n[ "$3" = known.invalid ] && echo "NodeName=known NodeAddr=10.0.0.7 Port=1"\nexit 0\n'
    )
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert strategy._address("known.invalid") == "10.0.0.7"
    with pytest.raises(MusCompError, match=r"The node unknown\.invalid has no address"):
        strategy._address("unknown.invalid")


@pytest.mark.parametrize("tasks", [{}, {"TASKS": 4, "NODES": 2}])
def test_joining_requires_one_task_on_each_node(monkeypatch, tasks):
    for name in ("TASKS", "NODES"):
        monkeypatch.delenv(f"SLURM_STEP_NUM_{name}", raising=False)
    for name, value in tasks.items():
        monkeypatch.setenv(f"SLURM_STEP_NUM_{name}", str(value))
    with pytest.raises(SettingError, match=r"cannot train together. Start this with srun"):
        strategy.join()
