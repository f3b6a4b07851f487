"""What lies beside exported files: `config.json`, `README.md`, and an example for models that separate."""

import json
import math
from pathlib import Path

from muscomp_lib.core import parallel
from muscomp_lib.core.files import write_text
from muscomp_lib.export.formats import FORMATS
from muscomp_lib.models.config import FLOAT_BYTES
from muscomp_lib.models.weights import CONFIG

EXAMPLE, GUIDE = "separate.py", "README.md"
COLUMNS = {
    "megabytes": "MB",
    "largest_difference": "largest difference",
    "si_sdr_cost_db": "cost, dB of SI-SDR",
    "f1_cost": "cost in F1",
    "agreement_db": "agreement, dB",
    "run_seconds": "seconds a window",
    "cold_start_seconds": "cold start, seconds",
    "memory_mb": "MB of memory",
}


def write(folder, model, rows):
    """Write what a person and a program need beside the files.

    Parameters
    ----------
    folder : Path
    model : networks.Separation or networks.Notes
    rows : list of dict
        Of the table; those with a size have files.
    """
    known, whole = model.description(), {row["format"]: row for row in rows if "megabytes" in row}
    listed = {name: [f"{file}{FORMATS[name].suffix}" for file in model.file_names] for name in whole}
    figures = {name: {key: row[key] for key in COLUMNS if key in row} for name, row in whole.items()}
    content = json.dumps(known | {"files": listed, "figures": figures}, indent=1, ensure_ascii=False)
    write_text(folder / CONFIG, f"{content}\n")
    write_text(folder / GUIDE, _text(known, model, figures))
    if "separates" in known:
        write_text(folder / EXAMPLE, Path(__file__).with_name(EXAMPLE).read_text(encoding="utf-8"))


def _text(known, model, figures):
    """The guide, in Markdown."""
    n_frames, *rest = known["input"][1:]
    words = known | {
        "instruments": ", ".join(known.get("separates") or known["transcribes"]),
        "cores": parallel.cores(),
        "table": _table(figures),
        "n_frames": n_frames,
        "seconds": model.seconds_per_window,
        "given": model.seconds_per_window * n_frames / known["T"],
        "input_mb": FLOAT_BYTES * n_frames * math.prod(rest) / 1e6,
        "output_mb": FLOAT_BYTES * model.n_outputs / 1e6,
    }
    template = f"guide_{'separates' if 'separates' in known else 'transcribes'}.md"
    return Path(__file__).with_name(template).read_text(encoding="utf-8").format(**words)


def _table(figures):
    columns = [key for key in COLUMNS if any(key in found for found in figures.values())]
    rows = [["format", *(COLUMNS[key] for key in columns)], ["---"] * (1 + len(columns))]
    for name, found in figures.items():
        rows.append([name, *("-" if found.get(key) is None else f"{found[key]:.3g}" for key in columns)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
