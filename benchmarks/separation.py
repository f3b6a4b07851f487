"""How fast a song becomes instruments, and in how much memory: this project beside the real Spleeter.

    python benchmarks/separation.py --seconds 30 60 240 --repeats 3

`ours` and `spleeter` separate the same song with the same weights (random ones: their values do not change the
work) into the same kind of files, one after the other on the same machine. `pretrained` is the network of our own that
is part of the project, which always has twelve instruments and the rest. Three times are taken:

- `start to files`: a new process, from its start to the last file;
- `next song`: the same song again in that process, model loaded and everything prepared;
- `per minute more`: what a minute of song adds, from the shortest to the longest song, without any fixed cost.

The last line is the machine's limit: the multiplications and additions of the networks, at the speed at which this
machine multiplies large matrices.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import results

# Only the standard library here: Spleeter's environment, which has none of ours, runs this file too.
PROJECT = Path(__file__).resolve().parents[1]
RATE = 44100  # Hz
FILTERS = (16, 32, 64, 128, 256, 512)
ENGINES = ("pretrained", "ours", "spleeter")


def main():
    """Measure, print the table, and write the results."""
    args = arguments()
    if args.work:
        print(json.dumps(work(args.work, args.config, args.song, args.out)))
        return
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(args, Path(folder))
    per_minute, limit = per_minute_more(rows, args), machine_limit(args)
    print_table(rows, per_minute, limit, args)
    results.write("separation", rows, args, per_minute_more=per_minute, limit=limit)


def arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, nargs="+", default=[30, 60, 240], help="lengths of the song")
    parser.add_argument("--instruments", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3, help="the medians of so many runs are printed")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    parser.add_argument("--work", choices=ENGINES, help=argparse.SUPPRESS)  # what the processes started here are given
    for name in ("config", "song", "out"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(args, folder):
    """One row per length and engine: medians over the repeats, the engines taking turns."""
    from muscomp_lib.spleeter import engine as spleeter_engine

    pythons = {"pretrained": sys.executable, "ours": sys.executable}
    if "spleeter" in args.engines:
        pythons["spleeter"] = spleeter_engine.environment()
    config = make_model(folder / "model", args.instruments)
    rows = []
    for seconds in args.seconds:
        song = make_song(folder / f"{seconds}.wav", seconds)
        runs = {engine: [] for engine in args.engines}
        for _ in range(args.repeats):
            for engine, done in runs.items():
                done.append(run(pythons[engine], engine, config, song, folder / "out"))
        for engine, done in runs.items():
            rows.append({"seconds": seconds, "engine": engine} | medians(done))
            print(rows[-1], file=sys.stderr, flush=True)
    return rows


def run(python, engine, config, song, out):
    """One process that separates the song twice: what it measured, and how long it took up to the first song's end."""
    began = time.time()
    words = [python, __file__, "--work", engine, "--config", config, "--song", song, "--out", out]
    compiled = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False, cwd=out.parent, env=compiled
    )
    if done.returncode:
        sys.exit(f"{engine} failed:\n{done.stderr[-3000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    return {"start to files": found["ended"] - began, "next song": found["next"], "peak GB": found["peak"]}


def medians(runs):
    """The median of each figure."""
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def work(engine, config, song, out):
    """Separate the song twice in this process, with one engine."""
    separate = {"pretrained": with_pretrained, "ours": ours, "spleeter": spleeters}[engine](config, out)
    separate(song)
    ended = time.time()
    separate(song)
    return {"ended": ended, "next": time.time() - ended, "peak": peak_gigabytes()}


def peak_gigabytes():
    """The most memory this process ever had. The `resource` module would count that of the process that started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e9


def with_pretrained(_, out):
    """A function that separates a file with the pretrained model."""
    from muscomp_lib.models import pretrained

    return ours(pretrained.FOLDER, out)


def ours(config, out):
    """A function that separates a file with this project."""
    from muscomp_lib import separation

    separator = separation.Separator(config)
    return lambda song: separator.separate_file(song, out, file_format="wav")


def spleeters(config, out):
    """A function that separates a file with Spleeter; this runs in Spleeter's own environment."""
    from spleeter.separator import Separator

    separator = Separator(config)
    return lambda song: separator.separate_to_file(song, out, duration=36000.0)


def make_model(folder, n_instruments):
    """A Spleeter model with random weights; the path of its configuration."""
    from muscomp_lib.models import checkpoint
    from muscomp_lib.models.config import write_config
    from muscomp_lib.models.registry import network
    from muscomp_lib.models.weights import get_weights

    config = {
        "train_csv": "train.csv", "validation_csv": "validation.csv", "model_dir": str(folder), "mix_name": "mix",
        "instrument_list": [f"instrument{number}" for number in range(n_instruments)], "sample_rate": RATE,
        "frame_length": 4096, "frame_step": 1024, "T": 512, "F": 1024, "n_channels": 2, "n_chunks_per_song": 1,
        "separation_exponent": 2, "mask_extension": "zeros", "learning_rate": 1e-4, "batch_size": 1,
        "training_cache": None, "validation_cache": None, "train_max_steps": 1, "throttle_secs": 1, "random_seed": 0,
        "save_checkpoints_steps": 1, "save_summary_steps": 1, "model": {"type": "unet.unet", "params": {}},
        "muscomp": {"taxonomy": None, "crop_frames": 512, "remix": False},
    }  # fmt: skip
    checkpoint.write(folder, config, get_weights(network(config).build()), step=1)
    write_config(folder / "config.json", config)
    return folder / "config.json"


def make_song(path, seconds):
    """A stereo WAV file, 16 bit, that is nowhere silent."""
    import numpy as np
    import soundfile

    rng = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", RATE, 2, "PCM_16") as file:
        for _ in range(seconds):
            tones = np.sin(2 * np.pi * 55 * 2 ** (rng.integers(0, 60) / 12) * np.arange(RATE)[:, None] / RATE)
            file.write(0.2 * tones * [1, 0.7] + rng.normal(0, 0.02, (RATE, 2)))
    return path


def per_minute_more(rows, args):
    """Per engine, the seconds that a further minute of song takes; nothing where only one length was measured."""
    found = {}
    for engine in args.engines:
        its = [row for row in rows if row["engine"] == engine]
        if len(its) > 1:
            first, last = its[0], its[-1]
            found[engine] = 60 * (last["next song"] - first["next song"]) / (last["seconds"] - first["seconds"])
    return found


def machine_limit(args):
    """What the networks' arithmetic alone would take at the speed of this machine's matrix multiplication."""
    return {
        "gflop_per_second_of_sound": gflop_per_second_of_sound(args.instruments),
        "gflop_per_second": gflop_per_second(),
    }


def print_table(rows, per_minute, limit, args):
    """Times as multiples of realtime, and the ratios of the two engines."""
    print(f"{args.instruments} instruments, medians of {args.repeats}; x: times faster than the song lasts\n")
    print(f"{'song':>6}  {'engine':10}{'start to files':>20}{'next song':>20}{'peak GB':>9}")
    for row in rows:
        times = "".join(
            f"{row[name]:10.1f} s {row['seconds'] / row[name]:6.2f}x" for name in ("start to files", "next song")
        )
        print(f"{row['seconds']:4d} s  {row['engine']:10}{times}{row['peak GB']:9.2f}")
    for engine, seconds in per_minute.items():
        print(f"per minute more: {engine:10}{seconds:6.1f} s {60 / seconds:6.2f}x")
    speed, flops = limit["gflop_per_second"], limit["gflop_per_second_of_sound"]
    print(f"limit: {speed:.0f} GFLOP/s / {flops:.1f} GFLOP per second of sound = {speed / flops:.1f}x")


def gflop_per_second_of_sound(n_instruments):
    """What the convolutions of all U-Nets take for a second of stereo sound: two operations per weight and place."""
    T, F, total, n_inputs = 512, 1024, 0, 2
    for depth, n_filters in enumerate(FILTERS, start=1):
        total += 2 * 25 * n_inputs * n_filters * (T >> depth) * (F >> depth)
        n_inputs = n_filters
    for depth, n_filters in zip(range(6, 0, -1), (*reversed(FILTERS[:-1]), 1), strict=True):
        total += 2 * 25 * n_inputs * n_filters * (T >> depth) * (F >> depth)
        n_inputs = 2 * n_filters
    total += 2 * 16 * 2 * T * F
    return n_instruments * total / (T * 1024 / RATE) / 1e9


def gflop_per_second():
    """The speed of multiplying two large float32 matrices, the median of several."""
    import numpy as np

    size = 2048
    a = np.random.default_rng(0).normal(size=(size, size)).astype(np.float32)
    times = []
    for _ in range(9):
        began = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - began)
    return 2 * size**3 / statistics.median(times[1:]) / 1e9


if __name__ == "__main__":
    main()
