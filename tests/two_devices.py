"""A process with two devices, for the tests of distribution.py: TensorFlow takes each half of the processor for one.

python tests/two_devices.py train ROOT [STOP_AFTER]    trains the root's configuration `tiny` on both
python tests/two_devices.py compare ROOT STEPS         takes steps on one device and on both, in 64-bit floats
"""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import keras
import numpy as np
import tensorflow as tf

from muscomp_lib import config, dataset, distribution, drive, learning, training

DEVICES = ["CPU:0", "CPU:1"]


def train(root, stop_after=None):
    """Train; as if Ctrl-C were pressed in the step `stop_after`."""
    ahead, last = dataset.ahead, stop_after and int(stop_after) - 1

    def stopped(examples, numbers):
        for number, batch in zip(numbers, ahead(examples, numbers), strict=True):
            if number == last:
                os.kill(os.getpid(), signal.SIGINT)
            yield batch

    dataset.ahead, distribution._devices = stopped, lambda: DEVICES
    training.train("tiny", root)


def compare(root, n_steps):
    """Print how far the two end apart, as a share of how far one has come, and each one's loss of every step."""
    learning.make_deterministic()
    settings = config.read(root.configs / "tiny.json")
    settings["muscomp"]["precision"] = "float64"
    keras.config.set_floatx("float64")
    examples, _ = training.examples(settings, root)
    one, both = distribution.ALONE, distribution.Team(tf.distribute.MirroredStrategy(DEVICES))
    ends, losses = [], []
    for team in (one, both):
        with team.scope():
            model = training.compiled(settings)
        begin, steps = values(model), team.steps(model)
        for number in range(int(n_steps)):
            mix, instruments = (array.astype(np.float64) for array in examples.batch(number))
            losses.append(steps.learn(mix, instruments))
        losses.append(steps.loss(mix, instruments))
        ends.append(values(model))
    print(np.linalg.norm(ends[1] - ends[0]) / np.linalg.norm(ends[0] - begin), *losses)


def values(model):
    """All that the network has learnt, in one row."""
    return np.concatenate([np.asarray(weight, np.float64).ravel() for weight in model.weights])


if __name__ == "__main__":
    halves = [tf.config.LogicalDeviceConfiguration()] * len(DEVICES)
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], halves)
    command, folder, *given = sys.argv[1:]
    {"train": train, "compare": compare}[command](drive.open_root(folder), *given)
