"""The real Spleeter 2.4.2 as an engine: `spleeter separate` and `spleeter train`. Used by notebooks 04 and 05.

It runs in an environment of its own (environment.py). What makes it fail late, wait for ever or fail silently is
checked before it starts: a model folder without weights (it would separate with random ones), half-written caches of a
run that was killed, and what checks.py lists. Its output becomes our progress bar.
"""

import glob
import hashlib
import json
import logging
import math
import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile

from muscomp_lib import audio
from muscomp_lib.core import provenance
from muscomp_lib.core.errors import AudioError, DiskFullError, MissingError, SettingError
from muscomp_lib.core.files import write_text, written_whole
from muscomp_lib.core.progress import bar
from muscomp_lib.dataset import song_table
from muscomp_lib.models import checkpoint
from muscomp_lib.models.config import targets
from muscomp_lib.spleeter import checks, target_files
from muscomp_lib.spleeter.environment import environment, running

PROGRAMS = ("ffmpeg", "ffprobe")  # Spleeter decodes and encodes with them
SUFFIX = "flac"  # of what Spleeter writes: 24 bit or more, where its WAV has 16
LONGEST = 86399  # seconds: Spleeter cuts a song after 600 s unless `-d` is given, and refuses a whole day
SONG = "song.wav"
LENGTH_TOLERANCE = 0.1  # seconds that what Spleeter writes may differ from the song by: a fragment differs by more
STAGES = {"Calling model_fn": "building the network", "Restoring parameters": "separating", "Writing file": "writing"}

NUMBER = r"([-+.\w]+)"  # also nan and inf
LOSS = re.compile(rf"loss = {NUMBER}, step = (\d+)")
SAVED = re.compile(r"Saving checkpoints for (\d+) into")
VALIDATED = re.compile(rf"Saving dict for global step (\d+):.*[ ,]loss = {NUMBER}")

log = logging.getLogger(__name__)


# ---- separating ----


def separate(config, model_dir, waveform, sample_rate, out_dir):
    """Separate a song with `spleeter separate`.

    The whole song is in memory several times over: about 1 GB, and 45 MB per second of sound for 12 instruments.

    Parameters
    ----------
    config : dict
        As `config.read_config` returns it.
    model_dir : str or Path
        With a checkpoint of that network.
    waveform : np.ndarray, shape=(n_samples, n_channels), float32 in [-1, 1]
        Of more than two channels Spleeter uses the first two.
    sample_rate : int
        Hz. Spleeter resamples with ffmpeg when it is not the model's.
    out_dir : str or Path

    Returns
    -------
    dict of str to Path
        By instrument: FLAC files in `out_dir`, 24 bit or more, stereo, at the model's rate. Limited to full scale.

    Raises
    ------
    MissingError
        No checkpoint; no ffmpeg; no Python that Spleeter runs on.
    SettingError
        Spleeter has no such network.
    SpleeterError, AudioError, DiskFullError
        It failed; with the last lines of its output.
    """
    config = _config(config, model_dir)
    if config["n_channels"] != 2:
        raise SettingError(f"n_channels = {config['n_channels']}: Spleeter separates with models for 2 channels only.")
    checkpoint.latest(model_dir)
    if len(waveform) == 0:
        raise AudioError("The song holds no samples, so there is nothing to separate.")
    _require_programs()
    python = environment()
    with TemporaryDirectory(prefix="muscomp-spleeter-") as folder:  # where no name clashes
        folder = Path(folder)
        (folder / "config.json").write_text(json.dumps(config))
        _write_song(folder / SONG, waveform, sample_rate)
        _run_separate(python, folder, config["instrument_list"])
        return _collected(folder, config, len(waveform) / sample_rate, Path(out_dir))


def _config(config, model_dir):
    """The configuration for Spleeter: with an absolute model folder, and without our own keys."""
    checkpoint.require_spleeter_network(config)
    theirs = {key: value for key, value in config.items() if key != "muscomp"}
    return theirs | {
        "model_dir": str(Path(model_dir).absolute()),
        "model": {"params": {}} | config["model"],
    }


def _require_programs():
    for program in PROGRAMS:
        if shutil.which(program) is None:
            raise MissingError(
                f"Spleeter needs {program}, which is not there. Install ffmpeg: it brings both programs."
            )


def _write_song(path, waveform, sample_rate):
    finite = np.nan_to_num(audio.to_float(waveform), posinf=0.0, neginf=0.0)
    try:
        soundfile.write(path, finite, sample_rate, subtype="FLOAT")
    except (OSError, soundfile.LibsndfileError) as error:
        raise DiskFullError(f"The song cannot be written to {path} for Spleeter ({error}). Free some space.") from error


def _run_separate(python, folder, instruments):
    options = {"-p": folder / "config.json", "-o": folder, "-c": SUFFIX, "-d": LONGEST, "-f": "{instrument}.{codec}"}
    arguments = ["separate", *(word for option in options.items() for word in option), "--verbose", folder / SONG]

    def done():
        return all((folder / f"{name}.{SUFFIX}").is_file() for name in instruments)

    with (
        running(python, "spleeter", arguments, "Spleeter could not separate the song", done) as lines,
        bar(total=len(instruments), desc="starting Spleeter", unit="instrument") as progress,
    ):
        for line in lines:
            progress.update("written succesfully" in line)  # Spleeter's spelling
            for words, stage in STAGES.items():
                if words in line:
                    progress.set_description(f"Spleeter: {stage}")


def _collected(folder, config, seconds, out_dir):
    """Move what Spleeter wrote to `out_dir`; it does not notice when ffmpeg could not write a file to its end."""
    written = {}
    for name in config["instrument_list"]:
        made = folder / f"{name}.{SUFFIX}"
        found = audio.info(made).duration
        if abs(found - seconds) > LENGTH_TOLERANCE:
            raise AudioError(
                f"Spleeter wrote {found:.2f} s of {name!r} instead of {seconds:.2f}. Free some disk space; try again."
            )
        written[name] = out_dir / made.name
        with written_whole(written[name]) as part:
            shutil.move(made, part)
    return written


# ---- training ----


def train(settings, folder, root):
    """Train with `spleeter train`, or resume from the last checkpoint in the folder.

    Everything is checked at once; Spleeter starts with the first row. Starting takes minutes with 12 instruments. When
    the generator is closed, or the loop over it raises, Spleeter is stopped.

    Parameters
    ----------
    settings : dict
        A configuration, as `config.read_config` returns it.
    folder : str or Path
        The model folder.
    root : Root
        The paths in the tables are relative to it.

    Returns
    -------
    generator of [step, loss, validation loss]
        A row for each validation, when it is done: every `throttle_secs` at most, and at the end.

    Raises
    ------
    MissingError, SettingError, AudioError
        One of the known traps, before anything starts: the table, the line and the file are named.
    SpleeterError, DiskFullError
        Spleeter failed, or its environment cannot be made.
    """
    folder = Path(folder).absolute()
    config = _config(settings, folder) | _absolute_paths(settings, folder)
    checks.check_settings(config)
    songs = [checks.check_table(config[f"{partition}_csv"], settings, root) for partition in ("train", "validation")]
    song_table.warn_of_shared_songs(*songs)
    _require_programs()
    if targets(settings):
        tables = ("train_csv", "validation_csv")
        config |= {key: str(target_files.write(root, config[key], settings, folder)) for key in tables}
    return _rows(config, folder, root, environment())


def _absolute_paths(settings, folder):
    """The tables and caches with absolute paths: Spleeter cannot make a cache in the current folder."""
    tables = {key: str(Path(settings[key]).absolute()) for key in ("train_csv", "validation_csv")}
    caches = {f"{name}_cache": settings.get(f"{name}_cache") for name in ("training", "validation")}
    return tables | {key: place and str(folder / "cache" / place) for key, place in caches.items()}


def _rows(config, folder, root, python):
    last = config["train_max_steps"]
    if checkpoint_step(folder) >= last:
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / checkpoint.SPLEETER_CONFIG, json.dumps(config, indent=4) + "\n")
    for name, table in (("training_cache", "train_csv"), ("validation_cache", "validation_csv")):
        if config[name]:
            clean_cache(Path(config[name]), config, table)
    arguments = ["train", "-p", folder / checkpoint.SPLEETER_CONFIG, "-d", root.path, "--verbose"]
    what = f"Spleeter failed to train {folder}; its checkpoints are kept"
    done = checkpoint_step(folder)
    with (
        running(python, "spleeter", arguments, what, lambda: checkpoint_step(folder) >= last) as lines,
        bar(total=last, initial=done, desc="starting Spleeter", unit="step") as progress,
    ):
        yield from _read(lines, progress)


def _read(lines, progress):
    """Spleeter's lines as progress; a row for each validation."""
    loss, read = math.nan, 0
    for line in lines:
        if "Loading audio" in line:
            read += 1
            progress.set_description(f"Spleeter: {read} files read")
        elif found := LOSS.search(line):
            loss = float(found[1])
            progress.set_description("Spleeter: training")
            progress.set_postfix(loss=f"{loss:.4f}")
            _advance(progress, int(found[2]))
        elif found := SAVED.search(line):
            _advance(progress, int(found[1]))
        elif found := VALIDATED.search(line):
            yield [int(found[1]), loss, float(found[2])]


def _advance(progress, step):
    progress.update(max(0, step - progress.n))


def checkpoint_step(folder):
    """The training step of the last checkpoint in a folder; 0 where there is none."""
    try:
        return int(checkpoint.latest(folder).name.rpartition("-")[2])
    except (MissingError, ValueError):  # a name without a step is not one of `spleeter train`
        return 0


def clean_cache(prefix, config, table):
    """Remove a cache that another run left half-written, or that was made from other songs or settings.

    A run that is killed leaves a lock file, which the next one fails at; a finished cache has an index.

    Raises
    ------
    SettingError
        There are files of such names, but not the one that marks them as ours.
    """
    made_from = _fingerprint(config, table)
    mark = prefix.with_name(f"{prefix.name}.made_from")
    if Path(f"{prefix}.index").exists() and provenance.matches(mark, made_from):
        return
    kinds = (".index", ".data-*", "_[0-9]*")
    found = [path for kind in kinds for path in prefix.parent.glob(glob.escape(prefix.name) + kind)]
    if found and not mark.exists():
        raise SettingError(
            f"{found[0]} was not made by Mus-Comp, and would be removed. Move it, or name another training_cache and "
            "validation_cache in the configuration."
        )
    for path in found:
        path.unlink()
    prefix.parent.mkdir(parents=True, exist_ok=True)
    provenance.write(mark, made_from)


def _fingerprint(config, table):
    """What a cache depends on: the table, and the settings that Spleeter cuts and transforms songs with."""
    keys = ("mix_name", "instrument_list", "sample_rate", "frame_length", "frame_step", "F", "n_channels")
    settings = {key: config.get(key) for key in (*keys, "n_chunks_per_song", "chunk_duration")}
    return hashlib.sha256(json.dumps(settings).encode() + Path(config[table]).read_bytes()).hexdigest()
