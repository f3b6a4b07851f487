"""How fast, and in how much room, tracks become songs with every instrument: this project beside the plain way.

    python benchmarks/preparation.py --tracks 6 --seconds 240

The plain way decodes every stem and mix of a track to a stereo WAV file, then reads those files back, and writes one
WAV file per instrument, one for the rest, and the mix. It fills no gaps and checks nothing. Ours fills the gaps,
keeps the mix exact, and is shown as files (FLAC, stereo and mono) and virtual, where only tables are written. All work
on the same tracks, a mini-Slakh rendered for the purpose, one process each, in turn; medians of the repeats are shown.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import librosa
import numpy as np
import results
import soundfile

from muscomp_lib import minislakh, reserve, slakh
from muscomp_lib.core import instruments
from muscomp_lib.core.root import open_root
from muscomp_lib.reserve import split
from muscomp_lib.slakh import index_tables

PROJECT = Path(__file__).resolve().parents[1]


RATE = 44100  # Hz
OURS = {
    "ours, virtual": {"virtual": True},
    "ours, FLAC mono": {"channels": 1},
    "ours, FLAC stereo": {},
}
PLAIN = "plain, WAV stereo"


def main():
    """Measure, print the table, and write the results."""
    args = arguments()
    with tempfile.TemporaryDirectory() as folder:
        root = open_root(Path(folder) / "root")
        settings = minislakh.Settings(tracks=args.tracks, seconds=float(args.seconds))
        minislakh.make(root.slakh, settings)
        slakh.index(root, slakh.Settings(verify="full"))  # decodes the reserve
        measured = measure(root, args)
    rows = medians(measured)
    print_table(rows, args)
    results.write("preparation", rows, args)


def arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tracks", type=int, default=12)
    parser.add_argument("--seconds", type=int, default=240, help="length of each track")
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


def measure(root, args):
    """{way: [(seconds, bytes) per track, one per repeat]}, the ways taking turns."""
    measured = defaultdict(list)
    for _ in range(args.repeats):
        for way, options in OURS.items():
            measured[way].append(ours(root, options))
        _, tracks = index_tables.read(root)
        made = list(tracks.loc[tracks["partition"].isin(split.PREPARED), "track"])
        measured[PLAIN].append(plain(root, made))
    return measured


def ours(root, options):
    """Seconds and bytes per track of notebook 02's work."""
    for folder in (root.prepared, root.journal):
        shutil.rmtree(folder)
        folder.mkdir()
    slakh.index(root, slakh.Settings(verify="full"))
    tables = written(root.tables)
    began = time.perf_counter()
    reserve.fill(root, reserve.Settings(workers=1, **options))
    seconds = time.perf_counter() - began
    _, tracks = index_tables.read(root)
    n_tracks = int(tracks["partition"].isin(split.PREPARED).sum())
    return seconds / n_tracks, (written(root.prepared) + written(root.tables) - tables) / n_tracks


def plain(root, made):
    """Seconds and bytes per track of the plain way."""
    stems, tracks = index_tables.read(root)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        for track in made:
            its_stems = stems[(stems["track"] == track) & (stems["status"] == "ok")]
            plain_track(root, Path(folder), its_stems, tracks.loc[tracks["track"] == track, "mix"].item())
        return (time.perf_counter() - began) / len(made), written(Path(folder)) / len(made)


def plain_track(root, out, stems, mix):
    """Decode all files of a track to stereo WAV, then merge them into instruments."""
    decoded = defaultdict(list)
    for path, instrument in [(mix, instruments.MIX), *zip(stems["audio"], stems["instrument"], strict=True)]:
        target = out / f"{path.replace('/', '-')}.wav"
        waveform, _ = librosa.load(root.slakh / path, sr=RATE, mono=False)
        soundfile.write(target, np.stack([waveform, waveform], axis=1), RATE, subtype="PCM_16")
        decoded[instrument or instruments.OTHER].append(target)
    for instrument in [instruments.MIX, *instruments.names(), instruments.OTHER]:
        parts = [soundfile.read(path)[0] for path in decoded[instrument]]
        if parts:
            soundfile.write(out / f"{stems['track'].iloc[0]}-{instrument}.wav", sum(parts), RATE, subtype="PCM_16")


def written(folder):
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def medians(measured):
    """One row per way: median seconds and bytes per prepared track, the plain way first."""
    rows = []
    for way in (PLAIN, *OURS):
        seconds, n_bytes = (statistics.median(values) for values in zip(*measured[way], strict=True))
        rows.append({"way": way, "seconds": seconds, "bytes": n_bytes})
    return rows


def print_table(rows, args):
    """Print one line per way."""
    print(f"{args.tracks} tracks of {args.seconds} s, one core, medians of {args.repeats}; per prepared track:\n")
    print(f"{'':20}{'seconds':>9}{'plain / it':>12}{'MB written':>12}{'of plain':>10}")
    plain_way = rows[0]
    for row in rows:
        times, share = plain_way["seconds"] / row["seconds"], row["bytes"] / plain_way["bytes"]
        print(f"{row['way']:20}{row['seconds']:9.2f}{times:11.1f}x{row['bytes'] / 1e6:12.2f}{share:10.1%}")


if __name__ == "__main__":
    main()
