"""Who composed it: networks beside counts of notes and guessing, with and without leaks, and unknown composers.

    python benchmarks/composers.py --lieder Lieder/scores

Six composers of songs (OpenScore Lieder) and music21's five, as in notebook 08. Each network is trained for the same
number of steps, on the same batches. A run is one fold with its own seed; what is finished is kept in `--out`, so that
the benchmark can be stopped and started again. All accuracies count each composer equally.
"""

import argparse
import json
import pickle
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import results

from muscomp_lib.composers import collection, corpora, embedding, recognition, statistics
from muscomp_lib.core.files import written_whole
from muscomp_lib.training import loop

NETWORKS = {
    "mel, cross-entropy": (embedding.MEL, embedding.CROSS_ENTROPY),
    "mel, triplet": (embedding.MEL, embedding.TRIPLET),
    "mel, both losses": (embedding.MEL, embedding.BOTH),
    "piano roll, both losses": (embedding.ROLL, embedding.BOTH),
    "mel and piano roll, both losses": (embedding.BOTH, embedding.BOTH),
}
INTERVALS = "mean intervals, logistic regression"
GUESSING, COUNTS = "the most frequent composer", "note statistics, logistic regression"
LEAKING = ("mel, both losses",)  # the networks that are also measured with pieces on both sides
PIECES = {"lieder": 60, "music21": 16}  # of each known composer at most
UNKNOWN_PIECES, UNKNOWN_CLIPS = 16, 2  # of each composer, and of each piece


def main():
    """Measure, print the table, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lieder", default=corpora.LIEDER, help="a clone's folder scores/; fetched without it")
    parser.add_argument("--seconds", type=float, default=20.0, help="of a clip")
    parser.add_argument("--clips", type=int, default=3, help="of a piece")
    parser.add_argument("--steps", type=int, default=150, help="of training")
    parser.add_argument("--folds", type=int, default=3, help="how many of the four folds")
    parser.add_argument("--only", nargs="*", default=list(PIECES), help="corpora")
    parser.add_argument("--out", type=Path, default=Path("composers-runs"), help="where finished runs are kept")
    args, rows = parser.parse_args(), []
    for corpus in args.only:
        known, unknown = clips_of(corpus, args)
        rows.append(guessing(corpus, known))
        found = runs(corpus, known, unknown, args)
        rows += [summary(corpus, way, by_division, known) for way, by_division in found.items()]
    print(pd.DataFrame(rows).round(3).to_string(index=False))
    kept = argparse.Namespace(**{name: value for name, value in vars(args).items() if name not in ("lieder", "out")})
    results.write("composers", rows, kept)


def clips_of(corpus, args):
    """The clips of known and of unknown composers."""
    kept = args.out / f"{corpus}.pickle"
    if not kept.exists():
        where, (known, unknown) = {"lieder": args.lieder}.get(corpus, corpus), corpora.DEFAULTS[corpus]
        tables = corpora.files(where, known, [], PIECES[corpus]), corpora.files(where, unknown, [], UNKNOWN_PIECES)
        made = [
            collection.make(table, args.seconds, count)
            for table, count in zip(tables, (args.clips, UNKNOWN_CLIPS), strict=True)
        ]
        with written_whole(kept) as part:
            part.write_bytes(pickle.dumps(made))
    return pickle.loads(kept.read_bytes())


def runs(corpus, known, unknown, args):
    """The results of all folds: {way: {"work" or "clip": list of dict}}."""
    found = {way: {by: [] for by in divisions(way)} for way in (COUNTS, INTERVALS, *NETWORKS)}
    for fold in range(args.folds):
        for way, by in ((name, by) for name, each in found.items() for by in each):
            kept = args.out / f"{corpus}, {way}, {by}, {fold}.json"
            if not kept.exists():
                with written_whole(kept) as part:
                    part.write_text(json.dumps(run(way, known, unknown, by, fold, args.steps)))
            found[way][by].append(json.loads(kept.read_text()))
            print(kept.stem, {name: round(value, 3) for name, value in found[way][by][-1].items()}, flush=True)
    return found


def divisions(way):
    """How the clips are divided to measure it."""
    return (collection.WORK, collection.CLIP) if way in (COUNTS, *LEAKING) else (collection.WORK,)


def run(way, known, unknown, by, fold, steps):
    """Train and measure one fold."""
    training, validation = collection.divide(known.clips, by, fold)
    labels, pieces = known.clips["label"].to_numpy(), known.clips["piece"].to_numpy()
    if way in (COUNTS, INTERVALS):
        sets = [known.statistics, unknown.statistics, known.statistics]
        if way == INTERVALS:
            sets = [intervals(known.examples[:, 0]), intervals(unknown.examples[:, 0]), intervals(known.examples[:, 1])]
        near, others, moved = (statistics.distances(sets[0][training], labels[training], each) for each in sets)
        moved = moved if way == INTERVALS else None
    else:
        places = trained(*NETWORKS[way], known, training, validation, fold, steps)
        centres = recognition.centroids(places(known.examples[training, 0]), labels[training], len(known.names))
        sets = known.examples[:, 0], unknown.examples[:, 0], known.examples[:, 1]
        near, others, moved = (recognition.distances(places(each), centres) for each in sets)
    seen, judged = (recognition.judge(near[part], labels[part], pieces[part]) for part in (training, validation))
    strange = recognition.by_piece(others, unknown.clips["piece"].to_numpy())[1].min(axis=1)
    limit = recognition.threshold(judged.table["distance"])
    opened = recognition.open_set(judged.table["distance"], strange, limit)
    found = {"clips": judged.clips, "pieces": judged.pieces, "training clips": seen.clips}
    found |= {"auc": opened.auc, "false alarms": opened.false_alarms_at}
    if moved is not None:
        other = recognition.judge(moved[validation], labels[validation], pieces[validation])
        found |= {"kept": float(np.mean(other.table["found"] == judged.table["found"])), "moved pieces": other.pieces}
    return found


def intervals(examples):
    """Mean and spread over time of what a network is given of a clip's piano roll."""
    rows = examples[..., slice(*embedding.BANDS[embedding.ROLL])].astype(np.float32)
    return np.concatenate([rows.mean(axis=1), rows.std(axis=1)], axis=1)


def trained(features, loss, known, training, validation, seed, steps):
    """A function from clips to embeddings, trained."""
    import keras

    loop.make_deterministic()
    keras.utils.set_random_seed(seed)
    network = embedding.build(known.examples.shape[2], features, len(known.names))
    labels = known.clips["label"].to_numpy()
    batches = [
        embedding.Batches(known.examples[part], labels[part], seed, augment=part is training)
        for part in (training, validation)
    ]
    with tempfile.TemporaryDirectory() as folder:
        embedding.fit(Path(folder), network, *batches, loss, steps, steps)
    return lambda examples: embedding.embed(network, examples)


def summary(corpus, way, found, known):
    """A row of the table: means over folds, and their standard errors."""
    row = {"corpus": corpus, "way": way, "composers": len(known.names), "clips of": len(known.clips)}
    for by, each in found.items():
        table = pd.DataFrame(each)
        for name in table:
            row[f"{name}, by {by}"] = table[name].mean()
            row[f"{name}, by {by}, s.e."] = table[name].std(ddof=1) / np.sqrt(len(table))
    return row


def guessing(corpus, known):
    """The row of always naming the same composer."""
    row = {"corpus": corpus, "way": GUESSING, "composers": len(known.names), "clips of": len(known.clips)}
    return row | {f"{what}, by {by}": 1 / len(known.names) for what in ("clips", "pieces") for by in ("work", "clip")}


if __name__ == "__main__":
    main()
