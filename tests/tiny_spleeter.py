"""Small models in Spleeter's own form with lively weights, and what the real Spleeter makes of a song with them."""

import json
import subprocess

import numpy as np

from muscomp_lib import config as configs
from muscomp_lib import spleeter_bridge, unet

SONGS = {"stereo": 2, "mono": 1}  # channels
FIRST = 0.02  # magnitudes reach hundreds: without this all masks would be 0 or 1, and small differences not be seen
DRIVER = """
import json, sys
import numpy as np
from spleeter.separator import Separator

def separate():
    for job in json.load(open(sys.argv[1])):
        separator = Separator(job["config"], multiprocess=False)
        waveform = np.load(job["song"])
        if waveform.shape[1] == separator._params["n_channels"] == 1:  # separate() would make it stereo, which fails
            found = next(separator._get_prediction_generator({"waveform": waveform, "audio_id": np.array("")}))
            found.pop("audio_id")
        else:
            found = separator.separate(waveform)
        np.savez(job["out"], **found)

if __name__ == "__main__":
    separate()
"""


def model(folder, instruments=("vocals", "accompaniment"), seed=0, **changes):
    """Write a model with random weights that give no two instruments alike; `changes` go into the configuration.

    Returns the configuration's path: `<folder>/config.json`, with the checkpoint beside it.
    """
    config = {
        "train_csv": "train.csv",
        "validation_csv": "validation.csv",
        "model_dir": str(folder),
        "mix_name": "mix",
        "instrument_list": list(instruments),
        "sample_rate": 44100,
        "frame_length": 4096,
        "frame_step": 1024,
        "T": 64,
        "F": 1024,
        "n_channels": 2,
        "separation_exponent": 2,
        "mask_extension": "zeros",
        "learning_rate": 1e-4,
        "batch_size": 4,
        "training_cache": "training_cache",
        "validation_cache": "validation_cache",
        "train_max_steps": 1,
        "throttle_secs": 300,
        "random_seed": seed,
        "save_checkpoints_steps": 150,
        "save_summary_steps": 5,
        "model": {"type": "unet.unet", "params": {"conv_n_filters": [4, 4, 8, 8, 8, 8]}},
    } | changes
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    config = configs.read(folder / "config.json")
    spleeter_bridge.write(folder, config, lively(unet.weights(unet.build(config)), seed), step=1)
    return folder / "config.json"


def lively(weights, seed):
    """Weights with biases and normalisations that do something: fresh ones would not show it if they were mixed up."""
    rng = np.random.default_rng(seed)
    spread = {"bias": (0.0, 0.3), "beta": (0.0, 0.3), "moving_mean": (0.0, 0.3), "gamma": (1.0, 0.2)}
    made = {}
    for name, value in weights.items():
        kind = name.rpartition("/")[2]
        if kind == "moving_variance":
            made[name] = rng.uniform(0.5, 2.0, value.shape).astype(np.float32)
        elif kind in spread:
            made[name] = rng.normal(*spread[kind], value.shape).astype(np.float32)
        else:
            made[name] = value * np.float32(FIRST if "_down0/" in name else 1)
    return made


def separated_by_spleeter(python, jobs, folder):
    """What the real Spleeter separates: {instrument: waveform} for each job, a pair (configuration, waveform)."""
    listed = []
    for number, (config, waveform) in enumerate(jobs):
        np.save(folder / f"{number}.npy", waveform)
        names = {"config": str(config), "song": str(folder / f"{number}.npy"), "out": str(folder / f"{number}.npz")}
        listed.append(names)
    (folder / "jobs.json").write_text(json.dumps(listed))
    (folder / "driver.py").write_text(DRIVER)
    done = subprocess.run(
        [python, "driver.py", "jobs.json"],
        cwd=folder,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [dict(np.load(names["out"])) for names in listed]
