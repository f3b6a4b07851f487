"""Every table of the documentation, made from the results files: `python benchmarks/tables.py`, or `make docs`.

A table stands between `<!-- table: NAME -->` and `<!-- end -->`, and NAME is a function here. `--check` writes nothing,
and fails where a file differs from what the results give.
"""

import argparse
import re
import sys
from pathlib import Path

import numpy as np
import results

PROJECT = Path(__file__).resolve().parents[1]
FILES = ("README.md", "docs/*.md")
MARKED = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
NOT_YET = "Not measured yet for this version: run `python benchmarks/{name}.py`, then `make docs`.\n"
MEAN = "mean"


def main():
    """Put the tables into the files, or check them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a table is not up to date")
    args = parser.parse_args()
    outdated = [path for path, text in generated() if path.read_text(encoding="utf-8") != text]
    if args.check:
        sys.exit(f"Not up to date: {', '.join(map(str, outdated))}. Run `make docs`." if outdated else 0)
    for path, text in generated():
        path.write_text(text, encoding="utf-8")


def generated():
    """Pairs of a documentation file and its text with the tables that the results give."""
    for path in (path for pattern in FILES for path in sorted(PROJECT.glob(pattern))):
        yield path, MARKED.sub(_filled, path.read_text(encoding="utf-8"))


def _filled(match):
    begin, name, end = match.groups()
    return f"{begin}{TABLES[name]()}{end}"


def quality():
    """SI-SDR by instrument, in both timbres."""
    found = results.read("quality")
    if found is None:
        return NOT_YET.format(name="quality")
    by_timbre = {
        timbre: {row["instrument"]: row for row in found["rows"] if row["timbre"] == timbre}
        for timbre in ("seen", "unseen")
    }
    rows = []
    for name in [name for name in by_timbre["unseen"] if name != MEAN] + [MEAN]:
        cells = ["**mean of the twelve**" if name == MEAN else name]
        for its in by_timbre.values():
            row = its.get(name)
            cells += [_decibels(row, "mix"), _decibels(row, "pretrained"), _decibels(row, "ideal mask"), _closed(row)]
        rows.append(cells)
    head = ["instrument"] + ["mix", "model", "ideal mask", "gap closed"] * 2
    return _table(head, rows) + _source(found)


def _decibels(row, name):
    return "-" if row is None or row.get(name) is None else f"{row[name]:.1f}"


def _closed(row):
    return "-" if row is None else f"{row['pretrained, gap closed']:.0%}"


def confusion():
    """Where the energy of each instrument ends up: its own file, and the file that gets most of the rest."""
    found = results.read("quality")
    if found is None:
        return NOT_YET.format(name="quality")
    rows = {}
    for row in found["energy"]:
        name = row["instrument"]
        others = {key: value for key, value in row.items() if key not in ("timbre", "instrument", name)}
        most = max(others, key=others.get)
        rows.setdefault(name, [name]).extend([f"{row[name]:.0%}", f"{most} {others[most]:.0%}"])
    timbres = list(dict.fromkeys(row["timbre"] for row in found["energy"]))
    head = ["instrument"] + [word for timbre in timbres for word in (f"own file, {timbre}", "most of the rest")]
    return _table(head, [row for row in rows.values() if len(row) == len(head)]) + _source(found)


def judges():
    """What the pretrained model, and others judged beside it, do on music and sounds from elsewhere."""
    found = results.read("quality")
    if not (found or {}).get("judges"):
        return NOT_YET.format(name="quality")
    models = ["pretrained", *(given.rpartition("=")[0] for given in found["parameters"]["model"])]
    rows = [[row["judge"], row["of"], *(results.judged(row, name) for name in models)] for row in found["judges"]]
    return _table(["judge", "songs or recordings", *models], rows) + _source(found)


def transcription():
    """F1 of notes by instrument and of hits by drum, on clean and on separated stems."""
    found = results.read("transcription")
    if found is None:
        return NOT_YET.format(name="transcription")
    clean, separated = ({row["name"]: row for row in found["rows"] if row["stems"] == kind} for kind in STEMS)
    columns = [
        ("ours", clean, "ours, onsets"), ("with ends", clean, "ours, with ends"),
        ("basic-pitch", clean, "basic-pitch, onsets"), ("with ends", clean, "basic-pitch, with ends"),
        ("pYIN", clean, "pYIN, onsets"),
        ("ours, separated", separated, "ours, onsets"), ("with ends", separated, "ours, with ends"),
        ("basic-pitch, separated", separated, "basic-pitch, onsets"),
    ]  # fmt: skip
    rows = [[name, *(_f1(rows.get(name), key) for _, rows, key in columns)] for name in clean]
    return _table(["instrument or drum", *(head for head, _, _ in columns)], rows) + _source(found)


STEMS = ("clean", "separated")


def _f1(row, name):
    value = (row or {}).get(name)
    return "-" if value is None else f"{value:.2f}"


def beats():
    """Tempo, beats, bars and key, from separated stems; and all notes of whole songs."""
    found = results.read("transcription")
    if found is None:
        return NOT_YET.format(name="transcription")
    rows = [
        [name, f"{value:.0%}" if name.startswith("songs with") else f"{value:.2f}"]
        for name, value in found["beats"].items()
    ]
    rows += [[f"all notes of a song, F1: {way}", f"{value:.2f}"] for way, value in found["whole_songs"].items()]
    rows += [
        [f"notes of separated stems that are right, of {row['notes']} with a likelihood of {of}", f"{row['right']:.0%}"]
        for of, row in found["by_likelihood"].items()
    ]
    return _table(["", "value"], rows) + _source(found)


def separation():
    """Times and memory of both engines."""
    found = results.read("separation")
    if found is None:
        return NOT_YET.format(name="separation")
    rows = []
    for row in found["rows"]:
        times = [f"{row[name]:.1f} s ({row['seconds'] / row[name]:.1f}x)" for name in ("start to files", "next song")]
        rows.append([f"{row['seconds']} s", ENGINES[row["engine"]], *times, f"{row['peak GB']:.2f} GB"])
    head = ["song", "engine", "process start to files", "next song", "peak memory"]
    more = "".join(
        f"- A further minute of song: {ENGINES[engine]} {seconds:.1f} s\n"
        for engine, seconds in found["per_minute_more"].items()
    )
    return _table(head, rows) + ("\n" + more if more else "") + _source(found)


ENGINES = {
    "pretrained": "the pretrained model",
    "ours": "ours, Spleeter's networks",
    "spleeter": "Spleeter 2.4.2",
}


def training():
    """Seconds of sound per second of training."""
    found = results.read("training")
    if found is None:
        return NOT_YET.format(name="training")
    names = ("training", "network", "examples")
    rows = [[row["way"], *("-" if row[n] is None else f"{row[n]:.1f}" for n in names)] for row in found["rows"]]
    return _table(["", "training", "the network alone", "making examples alone"], rows) + _source(found)


def preparation():
    """Seconds and megabytes per prepared track."""
    found = results.read("preparation")
    if found is None:
        return NOT_YET.format(name="preparation")
    plain = found["rows"][0]
    rows = [
        [
            row["way"],
            f"{row['seconds']:.2f} ({plain['seconds'] / row['seconds']:.1f}x)",
            f"{row['bytes'] / 1e6:.1f} ({row['bytes'] / plain['bytes']:.0%})",
        ]
        for row in found["rows"]
    ]
    return _table(["way", "seconds a track", "megabytes a track"], rows) + _source(found)


def slow_mount():
    """The index over a slow mount."""
    found = results.read("slow_mount")
    if found is None:
        return NOT_YET.format(name="slow_mount")
    alone = found["rows"][0]["seconds"]
    rows = [
        [row["way"], f"{row['seconds']:.1f} s ({alone / row['seconds']:.1f}x)", str(row["opens"]), str(row["at_once"])]
        for row in found["rows"]
    ]
    return _table(["way", "time", "files opened", "most at once"], rows) + _source(found)


def export():
    """Exported networks by format."""
    found = results.read("export")
    if found is None:
        return NOT_YET.format(name="export")
    columns = {
        "megabytes": ("MB", "{:.1f}"), "largest_difference": ("largest difference", "{:.1g}"),
        "si_sdr_cost_db": ("cost, dB of SI-SDR", "{:.2f}"), "f1_cost": ("cost, F1", "{:.3f}"),
        "run_seconds": ("seconds a window", "{:.3f}"), "cold_start_seconds": ("seconds to start", "{:.1f}"),
        "memory_mb": ("MB of memory", "{:.0f}"),
    }  # fmt: skip
    rows = []
    for row in found["rows"]:
        cells = [
            "-" if row.get(key) is None else form.format(row[key]).replace("-0.00", "0.00")
            for key, (_, form) in columns.items()
        ]
        rows.append([row["model"], row["format"], *cells, row["status"]])
    return _table(["model", "format", *(head for head, _ in columns.values()), ""], rows) + _source(found)


def composers():
    """Composers told apart, with and without leaks, and known from unknown ones."""
    found = results.read("composers")
    if found is None:
        return NOT_YET.format(name="composers")
    columns = {
        "clips, by work": "clips", "pieces, by work": "pieces", "clips, by clip": "clips, leaking",
        "pieces, by clip": "pieces, leaking", "auc, by work": "unknown, AUC", "kept, by work": "kept",
    }  # fmt: skip
    rows = [[MUSIC[row["corpus"]], row["way"], *(_share(row, name) for name in columns)] for row in found["rows"]]
    return _table(["music", "way", *columns.values()], rows) + _source(found)


MUSIC = {"lieder": "songs, 6 composers", "music21": "music21, 5 composers"}


def _share(row, name):
    value, error = row.get(name), row.get(f"{name}, s.e.")
    return "-" if value is None else f"{value:.2f}" + ("" if error is None else f" ± {error:.2f}")


def site():
    """Songs an hour on the website, and what they take."""
    columns = {
        "workers": "{:.0f}", "seconds of a song": "{:.0f}", "songs an hour": "{:.0f}", "processor s a song": "{:.0f}",
        "worker MB": "{:.0f}", "server MB": "{:.0f}", "disk MB a song": "{:.0f}",
    }  # fmt: skip
    return _site_table("rows", columns)


def site_answers():
    """The website's answers, without and beside an upload."""
    columns = {
        "clients": "{:.0f}", "uploads": "{:.0f}", "requests": "{:.0f}", "errors": "{:.0f}", "median ms": "{:.0f}",
        "95 % below ms": "{:.0f}", "slowest ms": "{:.0f}", "upload MB a second": "{:.0f}", "server MB": "{:.0f}",
    }  # fmt: skip
    return _site_table("answers", columns)


def site_days():
    """How long songs wait on a busier site, simulated."""
    columns = {
        "songs a day": "{:,.0f}", "workers": "{:.0f}", "median wait s": "{:.0f}", "95 % below s": "{:.0f}",
        "longer than 10 min": "{:.0%}",
    }  # fmt: skip
    return _site_table("simulated", columns)


def _site_table(part, columns):
    found = results.read("site")
    if found is None:
        return NOT_YET.format(name="site")
    rows = [
        ["-" if row[name] is None else form.format(row[name]) for name, form in columns.items()] for row in found[part]
    ]
    return _table(list(columns), rows) + _source(found)


def summary():
    """The five lines of the README."""
    rows = [*_quality_lines(), *_transcription_lines(), _separation_line(), _training_line()]
    return _table(["on music this model was not trained on", "Mus-Comp", "for comparison"], rows)


def _quality_lines():
    found = results.read("quality")
    means = {row["timbre"]: row for row in found["rows"] if row["instrument"] == MEAN} if found else {}
    for timbre, title in (("seen", "sounds used in training"), ("unseen", "other sounds")):
        row = means.get(timbre)
        ours = f"{row['pretrained'] - row['mix']:+.1f} dB" if row else "not measured"
        ideal = f"ideal mask {row['ideal mask'] - row['mix']:+.1f} dB" if row else "-"
        yield [f"SI-SDR gained, mean of 12 instruments, {title}", ours, ideal]


def _transcription_lines():
    found = results.read("transcription")
    row = next((row for row in found["rows"] if row["name"].startswith("mean of the inst")), None) if found else None
    ours = _f1(row, "ours, onsets") if row else "not measured"
    yield ["Notes found in clean stems, F1", ours, f"basic-pitch {_f1(row, 'basic-pitch, onsets')}" if row else "-"]


def _separation_line():
    found = results.read("separation")
    rows = found["rows"] if found else []
    times = {row["engine"]: row for row in rows if row["seconds"] == max(other["seconds"] for other in rows)}
    if not {"pretrained", "spleeter"} <= set(times):
        return ["Separating a song, start to files", "not measured", "-"]
    title = f"Separating a song of {times['pretrained']['seconds']} s into 12 files, start to files"
    ours, theirs = (f"{times[engine]['start to files']:.1f} s" for engine in ("pretrained", "spleeter"))
    return [title, ours, f"Spleeter 2.4.2, 12 networks {theirs}"]


def _training_line():
    found = results.read("training")
    if not found:
        return ["Training, seconds of sound a second", "not measured", "-"]
    ways = {row["way"]: row["training"] for row in found["rows"]}
    theirs = next(value for way, value in ways.items() if "spleeter train" in way)
    return ["Training, seconds of sound a second", f"{ways['our network']:.0f}", f"`spleeter train` {theirs:.1f}"]


def timbre():
    """What one network makes of queries of each kind."""
    found = results.read("timbre")
    if found is None:
        return NOT_YET.format(name="timbre")
    head = ["query", "programs", "bank", "right", "wrong, to the true", "wrong, to the asked", "shuffled", "absent"]
    figures = ("right", "wrong, to the true one", "wrong, to the one asked for", "shuffled", "absent")
    rows = [
        [row["network"], row["programs"], row["bank"], *(_with_error(row, name) for name in figures)]
        for row in found["rows"]
        if row["network"] != "one_hot, nearest name" or row["programs"] == "held out"  # elsewhere it is the name itself
    ]
    return _table(head, rows) + _source(found)


def timbre_differences():
    """By how much envelopes and other queries are ahead of names, on the same mixes."""
    found = results.read("timbre")
    if found is None:
        return NOT_YET.format(name="timbre")
    columns = [
        (bank, programs) for programs in ("of the twelve", "trained on", "held out") for bank in ("seen", "unseen")
    ]
    its = {(r["network"], r["ahead of"], r["bank"], r["programs"]): r for r in found["differences"]}
    names = ("one_hot", "one_hot, nearest name")
    pairs = dict.fromkeys((name, base) for name, base, *_ in its if base in names and name not in (*names, "none"))
    rows = [
        [name, base, *(_with_error(its.get((name, base, *column)), "mean", "s.e.") for column in columns)]
        for name, base in pairs
    ]
    return _table(["query", "ahead of", *(f"{programs}, {bank} bank" for bank, programs in columns)], rows)


def timbre_recordings():
    """The pretrained network on mixes of recorded solos."""
    found = results.read("timbre")
    if found is None or not found["recordings"]:
        return NOT_YET.format(name="timbre")
    figures = ("right", "wrong, to the true one", "wrong, to the one asked for")
    rows = [
        [
            _plain(row["instrument"]),
            _plain(" and ".join(row["with"])),
            row["query"],
            *(f"{row[f]:+.1f}" for f in figures),
        ]
        for row in found["recordings"]
    ]
    means = (np.mean([row[figure] for row in found["recordings"]]) for figure in figures)
    rows.append(["**mean**", "", "", *(f"{mean:+.1f}" for mean in means)])
    return _table(["instrument", "with", "query", "right", "wrong, to the true", "wrong, to the asked"], rows)


def _plain(name):
    return name.replace("_", " ")


def _with_error(row, name, error=None):
    if row is None or row.get(name) is None:
        return "-"
    return f"{row[name]:+.1f} ± {row[error or f'{name}, s.e.']:.1f}"


def _table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def _source(found):
    """Where, when and with what a table was measured."""
    machine, versions = found["machine"], found["versions"]
    parameters = ", ".join(
        f"{name} {value if not isinstance(value, list) else ' '.join(map(str, value))}"
        for name, value in found["parameters"].items()
        if value not in (None, [], False)
    )
    named = {"tensorflow": "TensorFlow", "ai-edge-litert": "LiteRT"}
    libraries = "".join(f", {name} {versions[package]}" for package, name in named.items() if package in versions)
    return (
        f"\n{found['date']}, {machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']:.0f} GB, "
        f"Python {versions['python']}{libraries}; `benchmarks/{found['benchmark']}.py` with {parameters}.\n"
    )


TABLES = {
    function.__name__: function
    for function in (
        summary,
        quality,
        confusion,
        judges,
        transcription,
        beats,
        separation,
        training,
        preparation,
        slow_mount,
        export,
        composers,
        timbre,
        timbre_differences,
        timbre_recordings,
        site,
        site_answers,
        site_days,
    )
}

if __name__ == "__main__":
    main()
