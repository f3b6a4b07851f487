"""How long notebook 01 takes over a mount like Google Drive's: many files at a time beside one after another.

    python benchmarks/slow_mount.py --tracks 200

A tree in Slakh's layout (8 stems a track, each a twentieth of a second) is mounted so that every open takes 200 ms,
every listing 100 ms, and one call in a hundred fails. One file after another takes 2.5 s a track then, so that is
measured on a part of the tracks and projected to all. The second index finds the tree unchanged.
"""

import argparse
import importlib
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import results
import soundfile

PROJECT = Path(__file__).resolve().parents[1]
STEMS = 8
RATE = 44100  # Hz
PROGRAMS = (0, 24, 27, 30, 34, 48, 61, 128)
SPLITS = ("train", "validation", "test")
EMPTY_MIDI = b"MThd\0\0\0\6\0\0\0\1\1\340MTrk\0\0\0\4\0\377\57\0"
STEM = """\
  {name}:
    audio_rendered: true
    inst_class: None
    integrated_loudness: -13.0
    is_drum: {drums}
    midi_program_name: Program {program}
    midi_saved: true
    plugin_name: none.nkm
    program_num: {program}
"""


@dataclass(frozen=True)
class Run:
    """What one index took: seconds, and what the file system counted."""

    seconds: float
    opens: int
    at_once: int
    failed: int


def main():
    """Measure, print the table, and write the results."""
    args = arguments()
    sys.path[:0] = [str(PROJECT), str(PROJECT / "tests")]
    from fixtures import slow_mount

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write_tree(folder / "tree", args.tracks)
        delays = {"open_seconds": args.open, "listing_seconds": args.listing, "fail_share": args.fail}
        with slow_mount.mounted(folder / "tree", folder / "serial" / "slakh", **delays) as mount:
            alone = one_after_another(mount, args)
        with slow_mount.mounted(folder / "tree", folder / "root" / "slakh", **delays) as mount:
            first, second = index(mount), index(mount)
    rows = {
        f"one file after another (from {args.part} tracks)": alone,
        "first index": first,
        "second index, nothing changed": second,
    }
    print_table(args, rows)
    results.write("slow_mount", [{"way": way} | asdict(run) for way, run in rows.items()], args)


def arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tracks", type=int, default=200)
    parser.add_argument("--part", type=int, default=10, help="tracks that are read one file after another")
    parser.add_argument("--open", type=float, default=0.2, help="seconds added to each open")
    parser.add_argument("--listing", type=float, default=0.1, help="seconds added to each listing")
    parser.add_argument("--fail", type=float, default=0.01, help="share of the calls that fail")
    return parser.parse_args()


def write_tree(folder, n_tracks):
    """A tree in Slakh's layout, every sound in it the same."""
    folder.mkdir()
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, RATE // 20)
    soundfile.write(folder / "sound.flac", noise, RATE)
    sound = (folder / "sound.flac").read_bytes()
    (folder / "sound.flac").unlink()
    for number in range(n_tracks):
        track = folder / SPLITS[number % len(SPLITS)] / f"Track{number:05d}"
        for part in ("stems", "MIDI"):
            (track / part).mkdir(parents=True)
        (track / "mix.flac").write_bytes(sound)
        for stem in range(STEMS):
            (track / "stems" / f"S{stem:02d}.flac").write_bytes(sound)
            (track / "MIDI" / f"S{stem:02d}.mid").write_bytes(EMPTY_MIDI)
        (track / "metadata.yaml").write_text(f"UUID: {number:032x}\nstems:\n{stem_entries()}")


def stem_entries():
    """The stems' part of a track's metadata."""
    values = enumerate(PROGRAMS[:STEMS])
    return "".join(STEM.format(name=f"S{i:02d}", drums=str(p == 128).lower(), program=p) for i, p in values)


def index(mount, limit=None):
    """Make the index of what is mounted: a Run."""
    from muscomp_lib import slakh
    from muscomp_lib.core.root import open_root

    root = open_root(mount.path.parent)
    before, began = mount.counts(), time.perf_counter()
    stems, _ = slakh.index(root, slakh.Settings(limit=limit))
    seconds, after = time.perf_counter() - began, mount.counts()
    wrong = stems[stems["status"] != "ok"]
    if len(wrong):
        raise SystemExit(f"{len(wrong)} stems are wrong, first {wrong.iloc[0].to_dict()}")
    opens, failed = (sum(after["opens"].values()) - sum(before["opens"].values()), after["failed"] - before["failed"])
    return Run(seconds, opens, after["most_at_once"], failed)


def one_after_another(mount, args):
    """The same work on a part of the tracks with one reader, projected to all: a Run."""
    module = importlib.import_module("muscomp_lib.slakh.index")  # the package has a function of this name
    readers, module.READERS = module.READERS, 1
    try:
        began = time.perf_counter()
        module.find_tracks(mount.path)
        finding = time.perf_counter() - began
        part = index(mount, args.part)
    finally:
        module.READERS = readers
    times = args.tracks / args.part
    seconds = finding + (part.seconds - finding) * times
    return Run(seconds, round(part.opens * times), part.at_once, round(part.failed * times))


def print_table(args, rows):
    """The table, and how it was measured."""
    alone = next(iter(rows.values()))
    print(f"{'index of ' + str(args.tracks) + ' tracks':<42} {'seconds':>8} {'times':>6} {'opens':>6} at once  failed")
    for name, run in rows.items():
        numbers = (
            f"{run.seconds:8.1f} {alone.seconds / run.seconds:6.1f} {run.opens:6d} {run.at_once:7d} {run.failed:7d}"
        )
        print(f"{name:<42} {numbers}")
    print(f"\n{args.open:g} s more per open, {args.listing:g} s per listing, {args.fail:.1%} of the calls fail.")


if __name__ == "__main__":
    main()
