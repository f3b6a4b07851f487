"""How fast networks train: ours, Spleeter's network trained by us, and the same by the real `spleeter train`.

    python benchmarks/training.py

All train on the same songs, a mini-Slakh rendered for the purpose, twelve instruments and the rest, in examples of
three seconds: four of them per step of ours, one per step of Spleeter's network, which is as much work as fits into
memory. So what is compared is how many seconds of sound are trained on in a second. It is the difference of a longer
and a shorter training, so neither start nor saving counts. For trainings of ours, how fast the network alone takes
examples and how fast they are made are shown as well: made must be the larger number, or the network starves. Both at
once share the processor, so training is slower than either. It takes a quarter of an hour on two cores.
"""

import argparse
import logging
import tempfile
import time
from pathlib import Path

import results

from muscomp_lib import minislakh, reserve, slakh, tables, training
from muscomp_lib.core.root import open_root
from muscomp_lib.models.config import read_config, write_config
from muscomp_lib.training import batches

PROJECT = Path(__file__).resolve().parents[1]


FRAMES = 128  # of an example: 3 s
WAYS = {  # model.type, engine, precision, batch size, and how many steps to take for one of Spleeter's
    "our network": ("muscomp.shared_unet", "muscomp", "float32", 4, 10),
    "Spleeter's network, trained here": ("unet.unet", "muscomp", "float32", 1, 1),
    "Spleeter's network, `spleeter train`": ("unet.unet", "spleeter", "float32", 1, 1),
}
FIGURES = ("training", "network", "examples")  # seconds of sound per second
BATCHES = 12  # made to time the making


def main():
    """Measure, print the table, and write the results."""
    args = arguments()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        root = prepared(Path(folder), args)
        rows = [
            {"way": way} | dict(zip(FIGURES, measure(root, *what, args), strict=True)) for way, what in WAYS.items()
        ]
    print(f"\n{args.tracks} songs of {args.seconds} s; seconds of sound per second:\n")
    print(f"{'':40}{'training':>10}{'network':>10}{'examples':>10}")
    for row in rows:
        figures = [row[name] for name in FIGURES]
        print(f"{row['way']:40}" + "".join(f"{'-' if f is None else format(f, '.1f'):>10}" for f in figures))
    results.write("training", rows, args)


def arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tracks", type=int, default=8)
    parser.add_argument("--seconds", type=int, default=40, help="length of each track")
    parser.add_argument(
        "--steps", type=int, default=12, help="of Spleeter's network, between shorter and longer training"
    )
    return parser.parse_args()


def prepared(folder, args):
    """A root with prepared songs."""
    root = open_root(folder)
    minislakh.make(root.slakh, minislakh.Settings(tracks=args.tracks, seconds=float(args.seconds)))
    slakh.index(root, slakh.Settings())
    reserve.fill(root, reserve.Settings())
    return root


def measure(root, model_type, engine, precision, batch_size, times, args):
    """Seconds of sound per second: trained on; taken by the network alone; made into examples alone."""
    settings = tables.Settings(
        model_type=model_type, precision=precision, batch_size=batch_size, T=FRAMES, crop_frames=FRAMES, time_steps=0
    )
    tables.write(root, settings)
    config = read_config(tables.config(root, settings))
    sound = batch_size * FRAMES * config["frame_step"] / config["sample_rate"]
    if engine == "spleeter":  # its first training also fills its cache of spectrograms
        seconds(root, config, engine, 1)
    few, many = (seconds(root, config, engine, times * steps) for steps in (2, 2 + args.steps))
    trained = sound * times * args.steps / (many - few)
    if engine == "spleeter":
        return trained, None, None
    return trained, sound / training.try_out(config, steps=5).step_seconds, sound * made_per_second(root, config)


def seconds(root, config, engine, steps):
    """How long a training of so many steps takes."""
    path = root.configs / "timed.json"
    changes = {
        "train_max_steps": steps,
        "save_checkpoints_steps": steps,
        "model_dir": str(root.models / f"timed{steps}"),
    }
    write_config(path, config | changes)
    began = time.perf_counter()
    training.train(path, root, fresh=True, engine=engine)
    return time.perf_counter() - began


def made_per_second(root, config):
    """Batches made in a second with nothing else at work, once their sound is in memory."""
    examples, _ = training.examples(config, root)
    list(batches.prefetch(examples, range(BATCHES)))
    began = time.perf_counter()
    list(batches.prefetch(examples, range(BATCHES)))
    return BATCHES / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
