"""A prepared data set that takes milliseconds to write: three instruments as tones, for the tests of 04 and 05."""

import csv

import numpy as np

from muscomp_lib import audio, config, drive

INSTRUMENTS = ["Electric_Bass_pick", "Violin", "Drums"]
FREQUENCIES = {"Electric_Bass_pick": 110.0, "Violin": 880.0}  # Hz; drums are noise
TRACKS = {"train": ["Track00001", "Track00002"], "validation": ["Track00003"], "test": ["Track00004"]}


def write(folder, seconds=4.0, **changes):
    """Write `prepared/`, the tables and `configs/tiny.json` under `folder`; `changes` go into the configuration."""
    root = drive.open_root(folder)
    for number, (partition, tracks) in enumerate(TRACKS.items()):
        _write_table(root, partition, [_write_song(root, partition, t, seconds, seed=number) for t in tracks], seconds)
    config.write(root.configs / "tiny.json", tiny_config(root, **changes))
    return root


def tiny_config(root, **changes):
    """A configuration that trains in a second a step; the code is the real one, only the numbers are small."""
    return {
        "train_csv": str(root.tables / "train.csv"),
        "validation_csv": str(root.tables / "validation.csv"),
        "model_dir": str(root.models / "tiny"),
        "mix_name": "mix",
        "instrument_list": INSTRUMENTS,
        "sample_rate": 44100,
        "frame_length": 4096,
        "frame_step": 1024,
        "T": 64,
        "F": 128,
        "n_channels": 2,
        "separation_exponent": 1,
        "mask_extension": "zeros",
        "learning_rate": 1e-3,
        "batch_size": 2,
        "training_cache": None,
        "validation_cache": None,
        "train_max_steps": 6,
        "throttle_secs": 60,
        "random_seed": 0,
        "save_checkpoints_steps": 2,
        "save_summary_steps": 1,
        "model": {"type": "muscomp.shared_unet", "params": {"conv_n_filters": [8, 8]}},
        "muscomp": {"taxonomy": "slakh12", "crop_frames": 64, "remix": True},
    } | changes


def _write_song(root, partition, track, seconds, seed):
    rng = np.random.default_rng([seed, int(track[-1])])
    folder = root.prepared / partition / track
    parts = {name: audio.to_int16(_part(name, seconds, rng)) for name in INSTRUMENTS}
    for name, waveform in (parts | {"mix": sum(parts.values())}).items():
        audio.write(folder / f"{name}.flac", waveform, 44100)
    return folder


def _part(name, seconds, rng):
    time = np.arange(round(44100 * seconds)) / 44100
    loud = 0.2 * (np.sin(2 * np.pi * time * rng.uniform(0.5, 2.0)) > 0)
    if name in FREQUENCIES:
        tone = np.sin(2 * np.pi * FREQUENCIES[name] * rng.uniform(0.9, 1.1) * time)
    else:
        tone = rng.uniform(-1, 1, len(time))
    return np.repeat((loud * tone)[:, None], 2, axis=1)


def _write_table(root, partition, songs, seconds):
    names = ["mix", *INSTRUMENTS]
    with (root.tables / f"{partition}.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([*(f"{name}_path" for name in names), "duration"])
        for song in songs:
            rows.writerow([*(root.relative(song / f"{name}.flac") for name in names), seconds])
