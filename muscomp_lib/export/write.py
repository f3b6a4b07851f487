"""Writes a trained model in several formats; each file is run without us and compared before it is kept.

<out>/<model>/<format>/...              the network: one file; of a model in Spleeter's format, one per instrument
<out>/<model>/<format>/exported.json    what it was made from, and what was measured
<out>/<model>/                          config.json, README.md, separate.py; formats.csv, the table
"""

import json
import logging
from functools import cached_property

import numpy as np
import pandas as pd

from muscomp_lib.core import files, provenance
from muscomp_lib.core.errors import MissingError, MusCompError, SettingError
from muscomp_lib.core.files import clean_parts, write_csv, written_whole
from muscomp_lib.core.progress import bar
from muscomp_lib.export import guide, networks
from muscomp_lib.export.formats import FORMATS, RefusedError, check, run_alone
from muscomp_lib.export.settings import Settings
from muscomp_lib.models import litert, pretrained
from muscomp_lib.models.runtime import start_tensorflow
from muscomp_lib.models.weights import set_weights

VERSION = 1  # to be raised when the same model gives different files or figures
MARK, TABLE = "exported.json", "formats.csv"
MEASURED = ("run_seconds", "times_real_time", "cold_start_seconds", "memory_mb")
COLUMNS = ["format", "status", "megabytes", *networks.FIGURES, *MEASURED, "note"]
WHOLE, UP_TO_DATE, REFUSED, LEFT_OUT = "ok", "up to date", "refused", "left out"

log = logging.getLogger(__name__)


def write(root, settings=None, progress=bar):
    """Export a model.

    A format whose files are whole and made from the same weights is not made again. One that is refused leaves no
    files and does not stop the others.

    Parameters
    ----------
    root : core.root.Root
    settings : Settings, optional
    progress : callable
        Called like tqdm for a bar that counts formats.

    Returns
    -------
    pd.DataFrame
        One row per format that was asked for or is there: `format`; `status`, "ok", "up to date", "refused" or "left
        out"; `megabytes`; the figures of networks.py; `run_seconds` of a window; `times_real_time`, how much faster
        than the song that is; `cold_start_seconds`, from import to first output; `memory_mb` of the process; `note`.

    Raises
    ------
    MissingError
        There is no such model, or a format is asked for by name whose packages are missing.
    SettingError
        The model is damaged, or its weights belong to another; the folder holds files of others.
    DiskFullError
    """
    settings = settings or Settings()
    missing = {name: FORMATS[name].missing() for name in settings.chosen}
    if settings.formats is not None and any(missing.values()):
        name = next(filter(missing.get, missing))
        raise MissingError(f"{name} cannot be written here: {missing[name]}.")
    model = networks.find(pretrained.model_path(settings.model, root), settings.seconds)
    folder = _claim(settings.folder(root))
    with files.locked(folder) as held:
        clean_parts(folder, alone=held)
        rows = _rows(folder, _Original(model), missing, progress)
        guide.write(folder, model, rows)
    return _table(rows)


def _rows(folder, original, missing, progress):
    """Write those formats that are in `missing`, {name: why it cannot be written}: the rows of all that are there."""
    rows = []
    for name in progress([*FORMATS], desc="exporting", unit="format"):
        row = _up_to_date(name, original, folder)
        if name in missing and not row:
            row = _export(name, original, folder, missing[name])
        rows += [{"format": name, **row}] if row else []
        write_csv(folder / TABLE, _table(rows))
    return rows


def _table(rows):
    found = pd.DataFrame([{"note": ""} | row for row in rows], columns=COLUMNS)
    return found.dropna(axis=1, how="all") if rows else found


def _claim(folder):
    """The model's folder, which is new or ours."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / TABLE).is_file():
        raise SettingError(f"{folder} holds files that no export wrote. Give another folder as out.")
    files.make_folder(folder)
    (folder / TABLE).touch()
    return folder


class _Original:
    """A model, and its network on TensorFlow."""

    def __init__(self, model):
        self.model, self._functions = model, {}

    @cached_property
    def _keras(self):
        start_tensorflow()
        return self.model.computation.build()

    def function(self, values, n_examples=1):
        """The network with these weights, for so many examples, until it gets others."""
        set_weights(self._keras, values, self.model.computation.name)
        if n_examples not in self._functions:
            self._functions[n_examples] = litert.traced(self.model.computation, self._keras, n_examples)
        return self._functions[n_examples]

    @cached_property
    def outputs(self):
        """For the weights of each file, an np.ndarray with the output for all windows."""
        found = []
        for values in self.model.parts.values():
            function = self.function(values)
            windows = [np.asarray(function(*inputs)) for inputs in self.model.windows]
            found.append(np.concatenate(windows))
        return found


def _made_from(name, model):
    """All that a format's files and figures depend on, as it reads back from JSON."""
    code = litert.code_of(model.computation.modules)
    made_from = {"version": VERSION, "format": name, "seconds": model.seconds, "network": code}
    return json.loads(json.dumps(made_from | {"model": model.description(), "weights": model.checksum}))


def _up_to_date(name, original, folder):
    """The row of a format whose files are whole and made from this model; {} where there are none, or none any more."""
    place = folder / name
    record = _record(place)
    if record.get("made_from") == _made_from(name, original.model) and record.get("files") == _checksums(place):
        return {"status": UP_TO_DATE, **record["figures"]}
    files.remove_ours(place, MARK)  # of other weights, or damaged
    return {}


def _export(name, original, folder, missing):
    """Write a format: its row."""
    if missing:
        return {"status": LEFT_OUT, "note": missing}
    try:
        with written_whole(folder / name, mark=MARK) as part:
            part.mkdir()
            figures = _made(FORMATS[name], original, part)
            record = {"made_from": _made_from(name, original.model), "files": _checksums(part), "figures": figures}
            provenance.write(part / MARK, json.dumps(record, indent=1))
    except RefusedError as error:
        log.warning("%s is refused: %s.", name, error)
        return {"status": REFUSED, "note": str(error)}
    return {"status": WHOLE, **figures}


def _record(place):
    """What is written down about a format's files; empty where there are none."""
    try:
        return json.loads((place / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _checksums(place):
    """Of all files of a format: {path in its folder: checksum}."""
    found = sorted(path for path in place.rglob("*") if path.is_file() and path.name != MARK)
    return {path.relative_to(place).as_posix(): provenance.checksum(path) for path in found}


def _made(form, original, part):
    """Write the files of a format into a folder, run and compare them: their figures.

    Raises
    ------
    RefusedError
    """
    model = original.model
    paths = [part / f"{name}{form.suffix}" for name in model.file_names]
    reference = _converted(form, original, paths)
    outputs, measured = run_alone(form.runtime, paths, model.windows)
    if not all(np.isfinite(output).all() for output in outputs):
        raise RefusedError("its output has NaN or infinite values")
    figures = model.figures(outputs, reference)
    check(figures, form.bounds)
    n_bytes = sum(path.stat().st_size for path in part.rglob("*") if path.is_file())
    speed = model.seconds_per_window / measured["run"]
    memory = measured["memory"] / 1e6 if measured["memory"] else np.nan
    measured = dict(zip(MEASURED, (measured["run"], speed, measured["cold_start"], memory), strict=True))
    figures = {"megabytes": n_bytes / 1e6} | figures | measured
    return {name: float(f"{value:.4g}") if np.isfinite(value) else None for name, value in figures.items()}


def _converted(form, original, paths):
    """Write the files of a format: what the network gives. On the CPU, as GPUs round more coarsely."""
    start_tensorflow()
    import tensorflow as tf

    with tf.device("/CPU:0"):
        reference = original.outputs
        for path, values in zip(paths, original.model.parts.values(), strict=True):
            function = original.function(values, form.n_examples)
            try:
                form.write(litert.frozen(function), path)
            except (OSError, MusCompError):
                raise
            except Exception as error:  # a converter raises anything for a layer that it does not know
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                raise RefusedError(f"the network cannot be converted ({reason[:200]})") from error
    return reference
