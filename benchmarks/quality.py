"""How well songs are separated: the shipped model, others beside it, and the best that masks could do.

    python benchmarks/quality.py --soundfont /usr/share/sounds/sf2/FluidR3_GM.sf2
    python benchmarks/quality.py --model "Spleeter's network=models/unet" --recording voice.wav=other

Songs are composed and rendered for the purpose, with seeds that no training uses, in two timbres: with the soundfonts
given, which the shipped model has learnt from, and with TimGM6mb, which it never heard. Nothing is filled: each song
has the five to nine instruments it was composed for. Printed are, per instrument and in the mean, the SI-SDR (dB) of
the untouched mix, of each model and of the ideal ratio mask; which share of the way from mix to ideal each model goes;
where each instrument's energy ends up; and where recordings of one instrument do.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from muscomp_lib import audio, minislakh, separation, slakh
from muscomp_lib.core import instruments
from muscomp_lib.core.root import open_root
from muscomp_lib.models import pretrained
from muscomp_lib.separation import metrics
from muscomp_lib.slakh import index_tables

PROJECT = Path(__file__).resolve().parents[1]


SEED = 1000  # of the songs
TAXONOMY = "families"
IDEAL = "ideal mask"
MIX = "mix"
SILENT = 1e-3  # full scale: a part that stays below does not sound


def main():
    """Measure, and print the tables."""
    args = arguments()
    models = {"shipped": separation.Separator(pretrained.FOLDER)}
    models |= {name: separation.Separator(folder) for name, folder in map(pair, args.model)}
    timbres = {"TimGM6mb, never heard": ()}
    if args.soundfont:
        timbres = {"heard in training": tuple(args.soundfont)} | timbres
    for timbre, soundfonts in timbres.items():
        with tempfile.TemporaryDirectory() as folder:
            songs = list(rendered(Path(folder), soundfonts, args))
        print_scores(timbre, scores(songs, models), models)
        print_confusion(songs, models["shipped"])
    for name, instrument in map(pair, args.recording):
        print_recording(name, instrument, models["shipped"])


def arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--songs", type=int, default=16, help="per timbre")
    parser.add_argument("--seconds", type=int, default=40, help="length of each song")
    several = {"action": "append", "default": []}
    parser.add_argument("--soundfont", help="a soundfont that was learnt from; may be given several times", **several)
    parser.add_argument("--model", metavar="NAME=FOLDER", help="a model to compare with; several", **several)
    parser.add_argument(
        "--recording", metavar="FILE=INSTRUMENT", help="a recording of one instrument; several", **several
    )
    return parser.parse_args()


def pair(text):
    """`name=value` as a pair."""
    name, _, value = text.rpartition("=")
    return name, value


def rendered(folder, soundfonts, args):
    """Songs as {instrument: waveform}, shape (n_samples, 1)."""
    root = open_root(folder)
    engine = "fluidsynth" if soundfonts else "tinysoundfont"
    settings = minislakh.Settings(
        tracks=args.songs,
        seconds=float(args.seconds),
        seed=SEED,
        soundfonts=soundfonts,
        engine=engine,
        taxonomy=TAXONOMY,
    )
    minislakh.make(root.slakh, settings)
    slakh.index(root, slakh.Settings(taxonomy=TAXONOMY))
    stems, _ = index_tables.read(root)
    for _, its in stems[stems["status"] == "ok"].groupby("track"):
        song = {}
        for path, instrument in zip(its["audio"], its["instrument"], strict=True):
            waveform, _ = audio.read(root.slakh / path)
            song[instrument or instruments.OTHER] = song.get(instrument or instruments.OTHER, 0) + waveform
        yield {name: waveform for name, waveform in song.items() if np.abs(waveform).max() > SILENT}


def scores(songs, models):
    """SI-SDR (dB), one row per instrument, one column per way; the mean of the songs it sounds in."""
    rows = []
    for song in songs:
        mix = sum(song.values())
        ways = {MIX: dict.fromkeys(song, mix)}
        for name, model in models.items():
            ways[name] = {i: w[:, :1] for i, w in model.separate(mix, audio.SAMPLE_RATE).items()}
        ways[IDEAL] = metrics.ideal_estimates(song, **frames(next(iter(models.values()))))
        for instrument, truth in song.items():
            rows.append({"instrument": instrument} | {w: metrics.si_sdr(truth, e[instrument]) for w, e in ways.items()})
    table = pd.DataFrame(rows).groupby("instrument").mean()
    return table.reindex([name for name in [*instruments.names(TAXONOMY), instruments.OTHER] if name in table.index])


def frames(model):
    """The frames of a model's spectrograms."""
    return {key: model.config[key] for key in ("frame_length", "frame_step")}


def print_scores(timbre, table, models):
    """Print the table, its mean over the instruments (without the rest), and the share of the way that was gone."""
    named = table.drop(index=instruments.OTHER, errors="ignore")
    for name in models:
        table[f"{name}, gone"] = metrics.share_closed(table[MIX], table[name], table[IDEAL])
    mean = named.mean()
    print(f"\n{timbre}\n")
    shown = {name: "{:.0%}".format if name.endswith(", gone") else "{:.1f}".format for name in table}
    print(table.to_string(formatters=shown))
    for name in models:
        gone = metrics.share_closed(mean[MIX], mean[name], mean[IDEAL])
        worse = [instrument for instrument in named.index if named.loc[instrument, name] < named.loc[instrument, MIX]]
        print(
            f"mean of the {len(named)} instruments: mix {mean[MIX]:.1f} dB, {name} {mean[name]:.1f} dB, "
            f"{IDEAL} {mean[IDEAL]:.1f} dB: {gone:.0%} of the way; worse than the mix: {', '.join(worse) or 'none'}"
        )


def print_confusion(songs, model):
    """Print where each instrument's energy ends up, in percent."""
    tables = [
        metrics.confusion(song, model.masks(sum(song.values()), audio.SAMPLE_RATE), **frames(model)) for song in songs
    ]
    table = pd.concat(tables).groupby(level=0).mean().reindex(model.instruments).dropna()
    print("\nWhere each instrument (row) ends up, percent of its energy:\n")
    print((100 * table).round(0).astype(int).rename(columns=lambda name: name[:8]).to_string())


def print_recording(path, instrument, model):
    """Print in which files a recording of one instrument lands."""
    waveform, sample_rate = audio.read(path)
    energy = {name: float((part**2).sum()) for name, part in model.separate(waveform, sample_rate).items()}
    shares = pd.Series(energy) / sum(energy.values())
    most = ", ".join(f"{name} {share:.0%}" for name, share in shares.nlargest(3).items())
    print(f"\n{Path(path).name}: {shares[instrument]:.0%} of its energy lands in {instrument}; most: {most}")


if __name__ == "__main__":
    main()
