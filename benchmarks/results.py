"""What a benchmark measured, as a file: `results/<name>.json` with rows, machine, versions, date and parameters.

`tables.py` makes every table of the documentation from these files.
"""

import json
import platform
import re
import subprocess
import sys
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

FOLDER = Path(__file__).with_name("results")
PACKAGES = ("muscomp", "numpy", "scipy", "tensorflow", "keras", "ai-edge-litert", "librosa", "soundfile")


def write(name, rows, args, **more):
    """Write the results of a benchmark, over those of an earlier run.

    Parameters
    ----------
    name : str
        Of the script.
    rows : list of dict
        One per line of its table, unrounded; NaN becomes null.
    args : argparse.Namespace
        The command's parameters. Of paths only the last part is kept.
    **more
        Further lists of rows, by name.

    Returns
    -------
    Path
    """
    found = {
        "benchmark": name,
        "date": datetime.now(timezone.utc).date().isoformat(),
        "commit": _commit(),
        "machine": machine(),
        "versions": {"python": platform.python_version()} | _versions(),
        "parameters": _plain(vars(args)),
        "rows": _plain(rows),
        **_plain(more),
    }
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"\nwritten to {path.relative_to(FOLDER.parents[1])}; `make docs` puts it into the tables", file=sys.stderr)
    return path


def read(name):
    """The results of a benchmark; None where it has not been run."""
    path = FOLDER / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def judged(row, name):
    """A judge's figure of a model, as a reader wants it: a count, decibels, or percent with the interval."""
    if any(word in row["judge"] for word in ("dB", "worse", "tracks")):
        return f"{row[name]:.1f}"
    bounds = row.get(f"{name}, interval")
    return f"{row[name]:.0%}" + (f" ({bounds[0]:.0%} to {bounds[1]:.0%})" if bounds else "")


def machine():
    """The processor, how many cores this process may use, the memory in GB and the system, without names or paths."""
    import psutil

    from muscomp_lib.core import parallel  # here: Spleeter's environment, which lacks it, imports this module too

    return {
        "cpu": _cpu(),
        "cores": parallel.cores(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _cpu():
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", info.read_text()) if info.exists() else None
    return found[1].strip() if found else platform.processor() or "unknown"


def _versions():
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _commit():
    command = ["git", "rev-parse", "--short", "HEAD"]
    try:
        done = subprocess.run(command, cwd=FOLDER.parent, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() or None


def _plain(value):
    """Values as JSON has them."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return value.name
    if isinstance(value, str) and value.rpartition("=")[2].startswith("/"):
        name, equals, path = value.rpartition("=")
        return name + equals + Path(path).name
    if hasattr(value, "item"):  # NumPy's numbers
        value = value.item()
    return None if isinstance(value, float) and value != value else value
