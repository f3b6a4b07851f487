"""The device of this node, and whether the GPUs that a job asked for can be used. Used by `run.py` and `worker.py`.

TensorFlow without CUDA's libraries finds no GPU, says nothing, and trains on the processor at the GPU's price.
"""

import os
import platform
import shlex
import subprocess
import sys

from muscomp_lib.core import parallel
from muscomp_lib.core.errors import MusCompError

COUNT = """
from muscomp_lib.models import runtime
runtime.start_tensorflow()
if runtime.on_jax():
    import jax
    found = [each for each in jax.devices() if each.platform != "cpu"]
else:
    import tensorflow
    found = tensorflow.config.list_physical_devices("GPU")
print(len(found))
"""
PACKAGES = "requirements-gpu.txt"


class DeviceError(MusCompError):
    """Fewer GPUs can be used than were asked for, or no network can run."""


def device():
    """What this node has, in words: "2 x NVIDIA H100 80GB HBM3, driver 550.54.15", or "CPU, 8 cores"."""
    gpus = gpus_of_node()
    if not gpus or os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return f"CPU, {parallel.cores()} cores"
    names = sorted(set(gpus))
    return "; ".join(f"{gpus.count(name)} x {name}" if gpus.count(name) > 1 else name for name in names)


def gpus_of_node():
    """Each GPU that the driver offers this job: "NVIDIA H100 80GB HBM3, driver 550.54.15"."""
    words = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.strip().replace(", ", ", driver ") for line in done.stdout.splitlines()] if not done.returncode else []


def usable_gpus():
    """The number of GPUs that networks can use; counted in a process of its own, which takes no memory of theirs.

    Raises
    ------
    DeviceError
        No network can run, as where TensorFlow is not installed.
    """
    done = subprocess.run(
        [sys.executable, "-c", COUNT], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    if done.returncode:
        reason = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise DeviceError(
            f"No network can run with {sys.executable} on {platform.node()}: {reason.rstrip('.')}. Install "
            "requirements.txt for it, or correct python, modules or launcher in the site's file."
        )
    return int(done.stdout.split()[-1]) if done.stdout.split() else 0


def require_gpus(number):
    """Refuse to start on fewer GPUs than were asked for.

    Raises
    ------
    DeviceError
        With what to install, or whom to ask.
    """
    usable, there = usable_gpus(), len(gpus_of_node())
    if usable >= number:
        return
    text = f"{number} GPU{'s' * (number != 1)} requested, and TensorFlow can use {usable} on {platform.node()}"
    if there >= number:
        install = f"{shlex.quote(sys.executable)} -m pip install -r {PACKAGES}"
        raise DeviceError(f"{text}: its CUDA libraries are missing or too new for the driver. Install: {install}")
    raise DeviceError(
        f"{text}, where the driver (nvidia-smi) offers {there}. The job has no such GPU, or the node is broken: check "
        "what the stage requests, or exclude this node."
    )
