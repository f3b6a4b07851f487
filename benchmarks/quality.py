"""How well songs are separated: the pretrained model, others beside it, and the best that masks could do.

    python benchmarks/quality.py --soundfont /usr/share/sounds/sf2/FluidR3_GM.sf2
    python benchmarks/quality.py --model "Spleeter's network=models/unet" --recording voice.wav=other

Songs are composed and rendered for the purpose, with seeds that no training uses, in two timbres: with the soundfonts
given, which the pretrained model was trained on, and with TimGM6mb, which it was not. Nothing is filled: each song
has the five to nine instruments it was composed for. Printed are, per instrument and in the mean, the SI-SDR (dB) of
the untouched mix, of each model and of the ideal ratio mask; which share of the gap between mix and ideal each model
closes; where each instrument's energy ends up; and where recordings of one instrument do.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import results

from muscomp_lib import audio, minislakh, separation, slakh
from muscomp_lib.core import instruments
from muscomp_lib.core.root import open_root
from muscomp_lib.models import pretrained
from muscomp_lib.separation import metrics
from muscomp_lib.slakh import index_tables

PROJECT = Path(__file__).resolve().parents[1]


SEED = 1000  # of the songs
TAXONOMY = "families"
PRETRAINED = "pretrained"
IDEAL = "ideal mask"
MIX = "mix"
SILENT = 1e-3  # full scale: a part that stays below does not sound


def main():
    """Measure, print the tables, and write the results."""
    args = arguments()
    models = {PRETRAINED: separation.Separator(pretrained.FOLDER)}
    models |= {name: separation.Separator(folder) for name, folder in map(pair, args.model)}
    timbres = {"unseen": ()}
    if args.soundfont:
        timbres = {"seen": tuple(args.soundfont)} | timbres
    rows, energy = [], []
    for timbre, soundfonts in timbres.items():
        with tempfile.TemporaryDirectory() as folder:
            songs = list(rendered(Path(folder), soundfonts, args))
        table = scores(songs, models)
        rows += records(timbre, table, models)
        print_scores(timbre, table, models)
        shares = confusion(songs, models[PRETRAINED])
        energy += [{"timbre": timbre, "instrument": name} | row for name, row in shares.to_dict("index").items()]
        print_confusion(shares)
    results.write("quality", rows, args, energy=energy)
    for name, instrument in map(pair, args.recording):
        print_recording(name, instrument, models[PRETRAINED])


def arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--songs", type=int, default=16, help="per timbre")
    parser.add_argument("--seconds", type=int, default=40, help="length of each song")
    several = {"action": "append", "default": []}
    parser.add_argument("--soundfont", help="a soundfont of the training; may be given several times", **several)
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


def records(timbre, table, models):
    """The table as rows of timbre, instrument and SI-SDR (dB), with the mean over the instruments without the rest."""
    table = pd.concat([table, pd.DataFrame([named(table).mean()], index=["mean"])])
    for name in models:
        table[f"{name}, gap closed"] = metrics.share_closed(table[MIX], table[name], table[IDEAL])
    return [{"timbre": timbre, "instrument": name} | row for name, row in table.to_dict("index").items()]


def named(table):
    """The rows of instruments, without the rest."""
    return table.drop(index=instruments.OTHER, errors="ignore")


def print_scores(timbre, table, models):
    """Print the table, its mean over the instruments (without the rest), and the share of the gap that was closed."""
    table, mean = table.copy(), named(table).mean()
    for name in models:
        table[f"{name}, gap closed"] = metrics.share_closed(table[MIX], table[name], table[IDEAL])
    print(f"\nTimbre {timbre} in training\n")
    shown = {name: "{:.0%}".format if name.endswith("gap closed") else "{:.1f}".format for name in table}
    print(table.to_string(formatters=shown))
    for name in models:
        closed = metrics.share_closed(mean[MIX], mean[name], mean[IDEAL])
        worse = [instrument for instrument, row in named(table).iterrows() if row[name] < row[MIX]]
        print(
            f"mean of the {len(named(table))} instruments: mix {mean[MIX]:.1f} dB, {name} {mean[name]:.1f} dB, "
            f"{IDEAL} {mean[IDEAL]:.1f} dB: {closed:.0%} of the gap; worse than the mix: {', '.join(worse) or 'none'}"
        )


def confusion(songs, model):
    """Where each instrument's (row) energy ends up, in shares."""
    tables = [
        metrics.confusion(song, model.masks(sum(song.values()), audio.SAMPLE_RATE), **frames(model)) for song in songs
    ]
    return pd.concat(tables).groupby(level=0).mean().reindex(model.instruments).dropna()


def print_confusion(table):
    """Print where each instrument's energy ends up, in percent."""
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
