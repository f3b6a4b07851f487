"""How well one network separates whatever instrument it is asked for, and what a query should be.

    python benchmarks/timbre.py --folder data --bank FluidR3

Networks are trained alike, one after another, each resumable: on songs composed for the purpose and rendered from
TimGM6mb and GeneralUser, without the HELD_OUT programs. They differ in the query alone. They are tested on mixes of
three parts in a bank that they were trained on and in one that they were not (`--bank`: the Debian package of FluidR3
is fluid-soundfont-gm), and asked for programs that they were trained on and for held-out ones. A query never comes from
the bank of the mix, nor from its song. Printed is by how much SI-SDR exceeds the mix's, in dB, with standard errors
over mixes.
"""

import argparse
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import results

from muscomp_lib import audio
from muscomp_lib.audio import stft
from muscomp_lib.core import instruments
from muscomp_lib.core.progress import bar
from muscomp_lib.minislakh import players
from muscomp_lib.models import pretrained, query_unet, shared_unet
from muscomp_lib.models.config import find_model
from muscomp_lib.separation import Separator
from muscomp_lib.separation.metrics import si_sdr
from muscomp_lib.timbre import asking, descriptors, material, train
from muscomp_lib.timbre.examples import N_BINS, Queries

BANKS = ("TimGM6mb", "GeneralUser")
TWELVE = "slakh12"
HELD_OUT = sorted(  # two of each melodic family, but none of the twelve: drawn once
    [3, 6, 8, 12, 17, 20, 26, 31, 35, 38, 41, 46, 51, 54, 56, 60, 66, 71, 74, 78, 81, 84, 89, 94]
)
RATE = descriptors.RATE
QUERY_SECONDS = 3.0
SEED = 7  # of the test mixes
SECONDS = 6.0
SOUNDS = 112  # programs from here on are percussion and sound effects: trained on, not tested
LEVEL_DB = 3.0  # standard deviation of a part's level
SILENT = 1e-4
FRAMES = 64  # a network takes a multiple of these
THIRTEEN, NEAREST, PRETRAINED = "thirteen masks", "one_hot, nearest name", "pretrained"
CONDITIONS = ("envelope", "one_hot", "harmonics", "none", "both", "learned", THIRTEEN)
FIGURES = ("right", "wrong, to the true one", "wrong, to the one asked for", "shuffled", "absent", "ideal")


def main():
    """Train, test, print the table, and write the results."""
    args = arguments()
    limit_threads(args.threads)
    banks = [rendered(bank, args) for bank in BANKS]
    networks = {condition: trained(condition, banks, args) for condition in args.conditions}
    if args.train_only:
        return
    networks[PRETRAINED] = pretrained.QUERY
    banks_of = {"seen": BANKS[0], "unseen": args.bank}
    mixes = [mix for where, bank in banks_of.items() for mix in list(test_mixes(where, bank, args))[:: args.every]]
    notes = {bank.name: bank for bank in (*banks, rendered(args.bank, args, songs=0))}
    each = pd.concat([scores(name, folder, mixes, notes, args) for name, folder in networks.items()])
    rows = summary(each)
    print(pd.DataFrame(rows).to_string())
    asked = recorded(args)
    print(pd.DataFrame(asked).to_string())
    args.another = [text.partition("=")[0] for text in args.another]  # without its paths
    results.write("timbre", rows, args, differences=differences(each), recordings=asked)


def arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("timbre_data"), help="for what is rendered, and networks")
    parser.add_argument("--bank", default="FluidR3", help="a soundfont that is not trained on, and no sibling of one")
    parser.add_argument("--songs", type=int, default=128, help="of eight parts, rendered from each bank to train on")
    parser.add_argument("--steps", type=int, default=1200, help="of each training")
    parser.add_argument("--mixes", type=int, default=3, help="to test with, of each held-out program and bank")
    parser.add_argument("--every", type=int, default=1, help="test with only one of so many of these mixes")
    parser.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=CONDITIONS)
    parser.add_argument("--solos", type=Path, help="a folder of recordings of single instruments")
    several = {"action": "append", "default": [], "metavar": "SOLO=FILE"}
    parser.add_argument("--another", help="another recording of the instrument of a solo, as its query", **several)
    parser.add_argument("--train-only", action="store_true")
    parser.add_argument("--threads", type=int, default=0, help="of TensorFlow; 0: as many as it likes")
    return parser.parse_args()


def limit_threads(number):
    """Let TensorFlow use so many threads: equal compute on a machine that others use."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(number)
    tf.config.threading.set_inter_op_parallelism_threads(number)


# ---- training ----


def rendered(bank, args, songs=None):
    """The songs and notes of a bank to train on; with no songs, its notes alone."""
    listed = material.in_turn(material.PROGRAMS, args.songs, seed=1)
    folder = args.folder / "train" / bank
    if songs == 0:
        return material.render(folder, bank, [], seed=1, noted=material.PROGRAMS)
    return material.render(folder, bank, listed, seed=1)


def trained(condition, banks, args):
    """A network that was trained under a condition: its folder."""
    fixed = condition == THIRTEEN
    settings = train.Settings(
        descriptor="none" if fixed else condition, held_out=HELD_OUT, steps=args.steps, save_every=100, n_frames=64
    )
    targets = {name: list(instrument.programs) for name, instrument in instruments.load(TWELVE).items()}
    folder = args.folder / "models" / f"{condition.replace(' ', '_')}_{args.steps}"
    return train.train(folder, banks, settings, targets=targets if fixed else None)


# ---- test mixes ----


class Mix(NamedTuple):
    """A test mix: whether its bank was trained on, the group and the program of its target, and three stems."""

    where: str
    group: str
    programs: tuple  # the target first
    bank: str
    stems: np.ndarray  # (3, n_samples), float32: they sum to the mix
    seed: int


def test_mixes(where, bank, args):
    """Mixes of three parts of one song, at random levels, the same for all networks."""
    rng, seen = np.random.default_rng([SEED, 1]), sorted(set(material.PROGRAMS) - set(HELD_OUT))
    twelve = [program for instrument in instruments.load(TWELVE).values() for program in instrument.programs]
    others = [p for p in seen if p not in twelve and p < SOUNDS]
    wanted = [("of the twelve", p) for p in twelve * max(1, args.mixes - 1)]
    wanted += [("trained on", int(p)) for p in rng.permutation(others)[: 16 * args.mixes]]
    wanted += [("held out", p) for p in HELD_OUT * args.mixes]
    listed = [[p, *map(int, rng.choice([s for s in seen if s != p], 2, replace=False))] for _, p in wanted]
    made = material.render(args.folder / "test" / bank, bank, listed, n_notes=0, seconds=SECONDS, seed=SEED)
    for number, ((group, _), (programs, stems)) in enumerate(zip(wanted, made.songs, strict=True)):
        sound = audio.to_float(stems)
        level = np.sqrt(np.mean(sound**2, axis=1, keepdims=True))
        gains = audio.to_gain(rng.normal(0.0, LEVEL_DB, (3, 1))).astype(np.float32)
        if level.min() > SILENT:
            yield Mix(where, group, tuple(map(int, programs)), bank, 0.05 * gains * sound / level, number)


# ---- testing ----


def scores(name, folder, mixes, notes, args):
    """What a network makes of each mix when it is asked rightly and wrongly: one row each, in dB; kept in a file."""
    kept = args.folder / "scores" / f"{name}_{args.steps}_{args.bank}_{args.every}.csv"
    if kept.exists():
        return pd.read_csv(kept)
    kept.parent.mkdir(exist_ok=True)
    table = pd.DataFrame(scored(name, folder, mixes, notes))
    table.to_csv(kept, index=False)
    return table


def scored(name, folder, mixes, notes):
    """The rows of `scores`."""
    network = train.trained_network(folder)
    fixed, variants = name == THIRTEEN, [name] + ([NEAREST] if name == "one_hot" else [])
    descriptor = find_model(folder)[0]["model"]["params"]["descriptor"]
    queries = {bank: Queries([notes[bank]], descriptor) for bank in notes}
    for variant in variants:
        for mix in bar(mixes, desc=variant):
            if fixed and mix.group != "of the twelve":
                continue
            asked = questions(mix)
            bank = query_bank(mix)
            described = [queries[bank].draw(named(p, variant), rng_of(mix)) for p in asked.values()]
            outputs = answers(network, mix, described, fixed)
            found = judged(mix, dict(zip(asked, outputs, strict=True)))
            kept = ("right", "ideal") if fixed else FIGURES  # a fixed mask cannot be asked for anything else
            yield {"network": variant} | of_mix(mix) | {figure: found[figure] for figure in kept}


def questions(mix):
    """The programs asked for: the target, another part of the mix, one that is absent, and any."""
    rng = np.random.default_rng([SEED, mix.seed, 2])
    families = {program // players.FAMILY_SIZE for program in mix.programs}
    absent = [p for p in material.PROGRAMS if p // players.FAMILY_SIZE not in families and p not in HELD_OUT]
    shuffled = [p for p in material.PROGRAMS if p != mix.programs[0] and p not in HELD_OUT]
    return {
        "right": mix.programs[0],
        "wrong": mix.programs[1],
        "absent": int(rng.choice(absent)),
        "shuffled": int(rng.choice(shuffled)),
    }


def query_bank(mix):
    """Queries come from another bank than the mix's."""
    others = [bank for bank in BANKS if bank != mix.bank]
    return others[mix.seed % len(others)]


def rng_of(mix):
    """For the notes of a query: the same for all networks."""
    return np.random.default_rng([SEED, mix.seed, 3])


def named(program, variant):
    """The program whose name asks for a program: its own, or the nearest of its family that was trained on."""
    if variant != NEAREST or program not in HELD_OUT:
        return program
    family = program // players.FAMILY_SIZE * players.FAMILY_SIZE
    known = [p for p in range(family, family + players.FAMILY_SIZE) if p not in HELD_OUT]
    return min(known, key=lambda p: abs(p - program))


def answers(network, mix, queries, fixed):
    """What is separated for each query: (n_queries, n_samples)."""
    total = mix.stems.sum(axis=0)
    spectrogram = stft.stft(total[:, None], descriptors.FRAME, descriptors.STEP)[..., 0]
    n_frames = -(-len(spectrogram) // FRAMES) * FRAMES
    magnitude = audio.fit_length(np.abs(spectrogram[:, :N_BINS]), n_frames)[None, ..., None]
    repeated = np.repeat(magnitude, len(queries), axis=0)
    shares = network.predict_on_batch([repeated, np.stack(queries)])
    number = target_number(mix) if fixed else 0
    mask = np.asarray(shared_unet.from_bands(shares[..., number : number + 1], N_BINS, query_unet.BANDS))[..., 0]
    mask = np.repeat(mask, query_unet.POOLED, axis=1)[:, : len(spectrogram)]
    sounds = []
    for one in mask:
        masked = np.zeros_like(spectrogram)
        masked[:, :N_BINS] = spectrogram[:, :N_BINS] * one
        sounds.append(stft.istft(masked[..., None], len(total), descriptors.FRAME, descriptors.STEP)[:, 0])
    return sounds


def target_number(mix):
    """The number of a mix's target among the twelve."""
    listed = instruments.load(TWELVE).values()
    return next(number for number, each in enumerate(listed) if mix.programs[0] in each.programs)


def of_mix(mix):
    """What a row says of its mix."""
    return {"bank": mix.where, "programs": mix.group, "mix": mix.seed}


def judged(mix, outputs):
    """How much nearer the outputs are to a stem than the mix is, and how loud what is absent is (dB)."""
    total = mix.stems.sum(axis=0)

    def gain(stem, sound):
        return si_sdr(stem, sound) - si_sdr(stem, total)

    true, other = mix.stems[:2]
    return {
        "right": gain(true, outputs["right"]),
        "wrong, to the true one": gain(true, outputs["wrong"]),
        "wrong, to the one asked for": gain(other, outputs["wrong"]),
        "shuffled": gain(true, outputs["shuffled"]),
        "absent": audio.to_db(np.sqrt(np.mean(outputs["absent"] ** 2) / np.mean(total**2)) + 1e-6),
        "ideal": gain(true, ideal(mix)),
    }


def ideal(mix):
    """The target by its ideal ratio mask."""
    spectrograms = stft.stft(mix.stems.T, descriptors.FRAME, descriptors.STEP)
    magnitude = np.abs(spectrograms)
    masked = spectrograms.sum(axis=2) * magnitude[..., 0] / (magnitude.sum(axis=2) + 1e-9)
    return stft.istft(masked[..., None], mix.stems.shape[1], descriptors.FRAME, descriptors.STEP)[:, 0]


# ---- recordings ----


def recorded(args):
    """The pretrained network on mixes of three recorded solos: one row each, in dB.

    The query is another recording where there is one (`--another`), and else another part of the same.
    """
    if args.solos is None:
        return []
    files = {path.stem: path for path in sorted(args.solos.iterdir()) if path.suffix in (".wav", ".ogg", ".flac")}
    other = dict(text.split("=", 1) for text in args.another)
    sounds = {name: solo(path) for name, path in files.items()}
    names, rows = list(files), []
    for number, name in enumerate(names):
        three = [names[(number + step) % len(names)] for step in (0, 4, 7)]
        parts = [sounds[each][1] for each in three]
        mix = sum(parts)
        query = other.get(name, sounds[name][0])
        right, wrong = (
            Separator(query=asking.described(each, RATE)).separate(mix[:, None], RATE)["asked"][:, 0]
            for each in (query, sounds[three[1]][0])
        )
        rows.append(
            {
                "instrument": name,
                "with": three[1:],
                "query": "another recording" if name in other else "another part of it",
                "right": si_sdr(parts[0], right) - si_sdr(parts[0], mix),
                "wrong, to the true one": si_sdr(parts[0], wrong) - si_sdr(parts[0], mix),
                "wrong, to the one asked for": si_sdr(parts[1], wrong) - si_sdr(parts[1], mix),
            }
        )
    return rows


def solo(path):
    """A recording in two parts at RATE, as loud as all others: QUERY_SECONDS, and what follows, (n_samples,) each."""
    sound, rate = audio.read(path)
    sound = audio.resample(audio.fit_channels(sound, 1), rate, RATE)[:, 0]
    cut = min(round(QUERY_SECONDS * RATE), len(sound) // 3)
    rest = audio.fit_length(sound[cut:, None], round(SECONDS * RATE))[:, 0]
    return sound[:cut], 0.05 * rest / max(np.sqrt(np.mean(rest**2)), 1e-6)


# ---- tables ----


def summary(each):
    """Means and standard errors by network, bank and programs: list of dict."""
    rows = []
    for (name, bank, programs), group in each.groupby(["network", "bank", "programs"], sort=False):
        row = {"network": name, "bank": bank, "programs": programs, "n": len(group)}
        for figure in FIGURES:
            row |= {figure: group[figure].mean(), f"{figure}, s.e.": standard_error(group[figure])}
        rows.append(row)
    return rows


def differences(each):
    """By how much the right query of each network is ahead of the names', on the same mixes: list of dict."""
    rows, table = [], each.set_index(["bank", "programs", "mix"])
    for base in ("one_hot", NEAREST, "none"):
        for name in each["network"].unique():
            both = table[table["network"] == name]["right"] - table[table["network"] == base]["right"]
            for (bank, programs), values in both.dropna().groupby(["bank", "programs"], sort=False):
                row = {"network": name, "ahead of": base, "bank": bank, "programs": programs, "n": len(values)}
                rows.append(row | {"mean": values.mean(), "s.e.": standard_error(values)})
    return rows


def standard_error(values):
    """Of the mean."""
    return float(values.std(ddof=1) / np.sqrt(len(values)))


if __name__ == "__main__":
    main()
