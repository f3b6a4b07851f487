"""How well songs are separated: the pretrained model, others beside it, and the best that masks could do.

    python benchmarks/quality.py --soundfont FluidR3 --midi folder --solos folder --multitracks folder --twins folder
    python benchmarks/quality.py --model "Spleeter's network=models/unet" --recording voice.wav=other

Songs are composed and rendered for the purpose, with seeds that no training uses, in two timbres: with the soundfonts
given, which the pretrained model was trained on, and with TimGM6mb, which it was not. Nothing is filled: each song
has the five to nine instruments it was composed for. Printed are, per instrument and in the mean, the SI-SDR (dB) of
the untouched mix, of each model and of the ideal ratio mask; which share of the gap between mix and ideal each model
closes; where each instrument's energy ends up; and where recordings of one instrument do.

The composer of the training flatters a model, so the last table judges it by songs that others wrote, MIDI files and
the scores of music21, in mono and in stereo, and by recordings (judges.py). What is not given is left out, as the table
says.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import judges
import numpy as np
import pandas as pd
import results

from muscomp_lib import audio, minislakh, separation, slakh
from muscomp_lib.core import instruments
from muscomp_lib.core.root import open_root
from muscomp_lib.minislakh import midi_songs
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
MUSIC = {"scores of music21": "orchestrated", "MIDI files": "as_written"}  # by others, and the production of each
CENTRED = ("Electric_Bass_pick", "Drums")  # in a stereo mix
WIDEST = 0.8  # of the way from the middle to one side: where a mix puts other instruments, at most
RESAMPLED = 300  # times that the songs are drawn again for an interval
PERCENTILES = (2.5, 97.5)  # of which it reaches from one to the other


def main():
    """Measure, print the tables, and write the results."""
    args = arguments()
    models = {PRETRAINED: separation.Separator(pretrained.FOLDER)}
    models |= {name: separation.Separator(folder) for name, folder in map(pair, args.model)}
    timbres = {"unseen": ()}
    if args.soundfont:
        timbres = {"seen": tuple(args.soundfont)} | timbres
    rows, energy, judged = [], [], []
    for timbre, soundfonts in timbres.items():
        songs = rendered(soundfonts, args)
        each = scores(songs, models)
        judged += judge_songs(f"our composer, {timbre} timbre", each, models)
        judged += judge_stereo("our composer", timbre, songs, models)
        table = by_instrument(each)
        rows += records(timbre, table, models)
        print_scores(timbre, table, models)
        shares = confusion(songs, models[PRETRAINED])
        energy += [{"timbre": timbre, "instrument": name} | row for name, row in shares.to_dict("index").items()]
        print_confusion(shares)
    judged += judge_foreign(timbres, args, models) + judge_recordings(args, models)
    print_judges(judged, args)
    results.write("quality", rows, args, energy=energy, judges=judged)
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
    parser.add_argument("--midi", help="a folder of MIDI files, none of which was trained on")
    parser.add_argument("--solos", help="a folder of recorded solos, with SOURCES.tsv: file, right output")
    parser.add_argument("--multitracks", help="a folder of songs' parts, with SOURCES.tsv: song, file, right output")
    parser.add_argument("--twins", help="a folder of slakh_NAME and flakh_NAME, the same song rendered twice")
    parser.add_argument("--no-scores", action="store_true", help="leave out the scores of music21, which take minutes")
    parser.add_argument(
        "--recording", metavar="FILE=INSTRUMENT", help="a recording of one instrument; several", **several
    )
    return parser.parse_args()


def pair(text):
    """`name=value` as a pair."""
    name, _, value = text.rpartition("=")
    return name, value


def rendered(soundfonts, args, midi=(), production=None):
    """Songs as {instrument: waveform}, shape (n_samples, 1): composed, or from MIDI files, each of which gives one."""
    settings = minislakh.Settings(
        tracks=max(len(minislakh.SPLITS), min(args.songs, len(midi_songs.files(midi)) if midi else args.songs)),
        seconds=float(args.seconds),
        seed=SEED,
        soundfonts=soundfonts,
        engine="fluidsynth" if soundfonts else "tinysoundfont",
        taxonomy=TAXONOMY,
        production=production,
        midi=midi,
    )
    with tempfile.TemporaryDirectory() as folder:
        root = open_root(folder)
        minislakh.make(root.slakh, settings)
        slakh.index(root, slakh.Settings(taxonomy=TAXONOMY))
        stems, _ = index_tables.read(root)
        return [loaded(root, its) for _, its in stems[stems["status"] == "ok"].groupby("track")]


def loaded(root, stems):
    """The stems of a song, those of one instrument added up."""
    song = {}
    for path, instrument in zip(stems["audio"], stems["instrument"], strict=True):
        waveform, _ = audio.read(root.slakh / path)
        song[instrument or instruments.OTHER] = song.get(instrument or instruments.OTHER, 0) + waveform
    return {name: waveform for name, waveform in song.items() if np.abs(waveform).max() > SILENT}


def scores(songs, models):
    """SI-SDR (dB), one row per song and instrument, one column per way."""
    rows = []
    for number, song in enumerate(songs):
        mix = sum(song.values())
        ways = {MIX: dict.fromkeys(song, mix)}
        for name, model in models.items():
            ways[name] = {i: w[:, : mix.shape[1]] for i, w in model.separate(mix, audio.SAMPLE_RATE).items()}
        ways[IDEAL] = metrics.ideal_estimates(song, **frames(next(iter(models.values()))))
        for instrument, truth in song.items():
            row = {w: metrics.si_sdr(truth, e[instrument]) for w, e in ways.items()}
            rows.append({"song": number, "instrument": instrument} | row)
    return pd.DataFrame(rows)


def by_instrument(rows):
    """The mean of the songs that an instrument sounds in, one row per instrument."""
    table = rows.drop(columns="song").groupby("instrument").mean()
    return table.reindex([name for name in [*instruments.names(TAXONOMY), instruments.OTHER] if name in table.index])


def judge_foreign(timbres, args, models):
    """Judge models by songs that others wrote, in each timbre."""
    folders = dict(zip(MUSIC, (None if args.no_scores else midi_songs.HELD_OUT, args.midi), strict=True))
    judged = []
    for music, folder in ((music, folder) for music, folder in folders.items() if folder):
        for timbre, soundfonts in timbres.items():
            songs = rendered(soundfonts, args, (folder,), MUSIC[music])
            songs = [song for song in songs if len(song) > 1]
            judged += judge_songs(f"{music}, {timbre} timbre", scores(songs, models), models)
            judged += judge_stereo(music, timbre, songs, models)
    return judged


def judge_stereo(music, timbre, songs, models):
    """Judge models by songs in stereo, of the unseen timbre, which says most."""
    if timbre == "seen":
        return []
    rng = np.random.default_rng(SEED)
    placed = [{name: at_a_place(sound, name, rng) for name, sound in song.items()} for song in songs]
    return judge_songs(f"{music}, {timbre} timbre, stereo", scores(placed, models), models)


def at_a_place(sound, name, rng):
    """A mono sound in stereo, shape (n_samples, 2), at a random place; bass and drums are in the middle."""
    angle = np.pi / 4 * (1 + (0 if name in CENTRED else rng.uniform(-WIDEST, WIDEST)))
    return sound * np.float32([np.cos(angle), np.sin(angle)])


def judge_songs(what, rows, models):
    """The share of the gap closed, with its interval; the improvement; how many instruments are worse than the mix."""
    table = named(by_instrument(rows))
    better = {name: float((table[name] - table[MIX]).mean()) for name in models}
    worse = {name: int((table[name] < table[MIX]).sum()) for name in models}
    of = {"of": int(rows["song"].nunique())}
    spread = {f"{name}, interval": interval(rows, name) for name in models}
    return [
        {"judge": f"{what}: share of the gap closed"} | of | {name: closed(rows, name) for name in models} | spread,
        {"judge": f"{what}: SI-SDR improvement, dB"} | of | better,
        {"judge": f"{what}: instruments worse than the mix, of {len(table)}"} | of | worse,
    ]


def closed(rows, name):
    """The share of the gap that a model closes, in the mean of the instruments without the rest."""
    mean = named(by_instrument(rows)).mean()
    return float(metrics.share_closed(mean[MIX], mean[name], mean[IDEAL]))


def interval(rows, name):
    """Its 95 % confidence interval, by the bootstrap: what other songs of the same kind might have given."""
    rng, songs = np.random.default_rng(0), [its for _, its in rows.groupby("song")]
    drawn = (pd.concat([songs[i] for i in rng.integers(len(songs), size=len(songs))]) for _ in range(RESAMPLED))
    return [float(bound) for bound in np.percentile([closed(each, name) for each in drawn], PERCENTILES)]


def judge_recordings(args, models):
    """Judge models by the recordings that are given."""
    judged = judges.solos(args.solos, models, TAXONOMY) if args.solos else []
    judged += judges.multitracks(args.multitracks, models) if args.multitracks else []
    return judged + (judges.twins(args.twins, models) if args.twins else [])


def print_judges(rows, args):
    """Print one line for each judge, one column for each model."""
    names = [PRETRAINED, *(name for name, _ in map(pair, args.model))]
    table = {row["judge"]: {"of": row["of"]} | {name: results.judged(row, name) for name in names} for row in rows}
    print("\nJudges\n")
    print(pd.DataFrame.from_dict(table, orient="index").to_string())
    missing = [name for name in ("midi", "solos", "multitracks", "twins") if not getattr(args, name)]
    if missing:
        print(f"Left out, as no folder was given: {', '.join(f'--{name}' for name in missing)}", file=sys.stderr)


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
