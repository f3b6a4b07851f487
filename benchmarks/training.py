"""How fast networks train: ours, Spleeter's network trained by us, and the same by the real `spleeter train`.

    python benchmarks/training.py

All train on the same songs, a mini-Slakh rendered for the purpose, twelve instruments and the rest, in examples of
three seconds: four of them per step of ours, one per step of Spleeter's network, which is as much work as fits into
memory. So what is compared is how many seconds of sound are trained on in a second: the median of the steps after the
first few, which build the network and fill caches. Neither start nor saving counts. Spleeter's steps are timed by the
summary that it writes after each. For trainings of ours, how fast the network alone takes examples and how fast they
are made are shown as well: made must be the larger number, or the network starves. Both at once share the processor,
so training is slower than either. Most of its time goes to the steps of Spleeter's network.
"""

import argparse
import itertools
import logging
import statistics
import tempfile
import time
from pathlib import Path

import results

from muscomp_lib import minislakh, reserve, slakh, tables, training
from muscomp_lib.core.root import open_root
from muscomp_lib.models.config import read_config, write_config
from muscomp_lib.training import batches, loop, strategy

FRAMES = 128  # of an example: 3 s
WAYS = {  # model.type, engine, batch size, and how many steps to take for one of Spleeter's
    "our network": ("muscomp.shared_unet", "muscomp", 4, 4),
    "Spleeter's network, trained here": ("unet.unet", "muscomp", 1, 1),
    "Spleeter's network, `spleeter train`": ("unet.unet", "spleeter", 1, 1),
}
FIGURES = ("training", "network", "examples")  # seconds of sound per second
WARM_UP = 3  # steps that do not count
BATCHES = 12  # made to time the making


def main():
    """Measure, print the table, and write the results."""
    args = arguments()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        root = prepared(Path(folder), args)
        print(f"{args.tracks} songs of {args.seconds} s; seconds of sound per second:\n")
        print(f"{'':40}{'training':>10}{'network':>10}{'examples':>10}")
        rows = [row(root, way, what, args) for way, what in WAYS.items()]
    results.write("training", rows, args)


def row(root, way, what, args):
    """Measure one of the trainings, and print its line of the table."""
    figures = dict(zip(FIGURES, measure(root, *what, args), strict=True))
    shown = (f"{'-' if figure is None else format(figure, '.1f'):>10}" for figure in figures.values())
    print(f"{way:40}{''.join(shown)}", flush=True)
    return {"way": way} | figures


def arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tracks", type=int, default=6)
    parser.add_argument("--seconds", type=int, default=25, help="length of each track")
    parser.add_argument("--steps", type=int, default=8, help="of Spleeter's network that are timed")
    return parser.parse_args()


def prepared(folder, args):
    """A root with prepared songs."""
    root = open_root(folder)
    minislakh.make(root.slakh, minislakh.Settings(tracks=args.tracks, seconds=float(args.seconds)))
    slakh.index(root, slakh.Settings())
    reserve.fill(root, reserve.Settings())
    return root


def measure(root, model_type, engine, batch_size, times, args):
    """Seconds of sound per second: trained on; taken by the network alone; made into examples alone."""
    settings = tables.Settings(model_type=model_type, batch_size=batch_size, T=FRAMES, crop_frames=FRAMES, time_steps=0)
    tables.write(root, settings)
    config = read_config(tables.config(root, settings))
    sound = batch_size * FRAMES * config["frame_step"] / config["sample_rate"]
    n_steps = WARM_UP + times * args.steps
    if engine == "spleeter":
        return sound / step_seconds(their_steps(root, config, n_steps)), None, None
    trained = sound / step_seconds(our_steps(root, config, n_steps))
    return trained, sound / training.try_out(config, steps=5).step_seconds, sound * made_per_second(root, config)


def step_seconds(moments):
    """The median duration of a step, from the moments at which steps ended, in seconds."""
    return statistics.median(after - before for before, after in itertools.pairwise(moments[WARM_UP:]))


def our_steps(root, config, n_steps):
    """Train as notebook 04 does, without saving; the moments at which steps ended."""
    loop.make_deterministic()
    examples, _ = training.examples(config, root)
    team = strategy.team(config["batch_size"])
    with team.scope():
        step = team.steps(loop.compiled(config)).train
    moments = []
    for batch in batches.prefetch(examples, range(n_steps + 1)):
        step(*batch)
        moments.append(time.perf_counter())
    return moments


def their_steps(root, config, n_steps):
    """Train with `spleeter train`; the moments at which it wrote the summary of a step."""
    from tensorflow.compat.v1.train import summary_iterator

    path, folder = root.configs / "timed.json", root.models / "timed"
    changes = {"train_max_steps": n_steps + 1, "save_checkpoints_steps": n_steps + 1, "save_summary_steps": 1}
    write_config(path, config | changes | {"model_dir": str(folder)})
    training.train(path, root, fresh=True, engine="spleeter")
    events = itertools.chain.from_iterable(map(summary_iterator, map(str, folder.glob("events.out.*"))))
    ended = {event.step: event.wall_time for event in events if event.HasField("summary")}
    return [ended[step] for step in sorted(ended)]


def made_per_second(root, config):
    """Batches made in a second with nothing else at work, once their sound is in memory."""
    examples, _ = training.examples(config, root)
    list(batches.prefetch(examples, range(BATCHES)))
    began = time.perf_counter()
    list(batches.prefetch(examples, range(BATCHES)))
    return BATCHES / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
