"""Spleeter's own formats for training: a table per partition and a configuration. Used by notebook 03.

`write` makes `train.csv`, `validation.csv` and `test.csv` from the prepared songs and looks at every song first,
because Spleeter drops a song it cannot use without a word, and waits for ever when none is left. `config` writes the
JSON file that says how to train; what its keys mean is declared in config.py.

For one of Spleeter's own networks, what Spleeter cannot use counts as well: both engines then train from the files.
"""

import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from muscomp_lib import audio
from muscomp_lib.core import instruments, parallel
from muscomp_lib.core.errors import AudioError, MissingError, SettingError
from muscomp_lib.core.files import clean_parts
from muscomp_lib.core.instruments import RESIDUALS
from muscomp_lib.core.progress import bar
from muscomp_lib.dataset import library as prepared
from muscomp_lib.models import config as configs
from muscomp_lib.slakh import index_tables
from muscomp_lib.spleeter import checks

PARTITIONS = ("train", "validation", "test")
LEARNED = ("train", "validation")  # partitions that are cut into training examples
FRAME_LENGTH, FRAME_STEP = 4096, 1024  # samples: Spleeter's spectrogram
NAME = re.compile(r"[A-Za-z0-9][\w-]*", re.ASCII)  # of an instrument: a file, a column, and a name in TensorFlow
AUDIBLE_DB = -60.0  # a second of sound quieter than this counts as silence
READERS = 8  # threads: decoding happens outside Python's lock


@dataclass(frozen=True)
class Settings:
    """The parameters of notebook 03. Those named as a key of the configuration are that key (config.py).

    Attributes
    ----------
    name : str
        Of the configuration, and of the model that will come of it.
    taxonomy : str
        Which programs make up an instrument (instruments.yaml).
    residual : {"target", "drop"}
        Whether `other`, all that is outside the taxonomy, is an instrument to separate.
    instruments : sequence of str, optional
        Other names than the taxonomy's, as the files of the prepared songs are called; taxonomy and residual then do
        not matter.
    sample_rate, n_channels : int
        Hz; 1 or 2. Of the prepared songs: others are left out.
    sum_checks : int, optional
        In how many songs of each partition to check that the instruments sum to the mix, sample by sample; None: all.
    time_steps : int
        How many training steps to time on this machine (training.try_out); 0: none.
    """

    name: str = "shared_unet"
    taxonomy: str = instruments.DEFAULT_TAXONOMY
    residual: str = "target"
    model_type: str = "muscomp.shared_unet"
    conv_n_filters: tuple | None = None
    T: int = 512
    F: int = 1024
    crop_frames: int = 128
    remix: bool = True
    precision: str = "float32"
    batch_size: int = 4
    learning_rate: float = 2e-3
    train_max_steps: int = 1000
    save_checkpoints_steps: int = 100
    save_summary_steps: int = 10
    n_chunks_per_song: int = 4
    separation_exponent: float = 1
    mask_extension: str = "average"
    seed: int = 0
    sample_rate: int = audio.SAMPLE_RATE
    n_channels: int = 2
    sum_checks: int | None = 20
    instruments: tuple | None = None
    time_steps: int = 3

    def __post_init__(self):
        if not (isinstance(self.name, str) and re.fullmatch(r"\w[\w.-]*", self.name)):
            raise SettingError(f"name = {self.name!r} is not possible: use letters, digits, '_', '-' and '.'.")
        if self.residual not in RESIDUALS:
            raise SettingError(f"residual = {self.residual!r} is not possible: choose {' or '.join(RESIDUALS)}.")
        if self.sum_checks is not None and not (type(self.sum_checks) is int and self.sum_checks >= 0):
            raise SettingError(f"sum_checks = {self.sum_checks!r} is not possible: a whole number, or None for all.")
        if not (type(self.time_steps) is int and self.time_steps >= 0):
            raise SettingError(f"time_steps = {self.time_steps!r} is not possible: a whole number, 0 for none.")
        self._check_names()
        configuration = _configuration(self, Path(), Path())
        configs.check(configuration, "The parameters of notebook 03")
        if self.for_spleeter:
            checks.check_settings(configuration)

    def _check_names(self):
        if self.instruments is None:
            return
        if isinstance(self.instruments, str) or not self.instruments:
            raise SettingError(f"instruments = {self.instruments!r} is not possible: give a list of names, or None.")
        for name in self.instruments:
            if not (isinstance(name, str) and NAME.fullmatch(name)):
                raise SettingError(
                    f"instruments: {name!r} is not possible: use letters from a to z, digits, '_' and '-'."
                )

    @property
    def instrument_list(self):
        """The instruments to separate, in order."""
        if self.instruments is not None:
            return list(self.instruments)
        return instruments.names(self.taxonomy) + ([instruments.OTHER] if self.residual == "target" else [])

    @property
    def for_spleeter(self):
        """Whether the real Spleeter can train this network too."""
        return self.model_type in configs.SPLEETER_TYPES

    @property
    def shortest(self):
        """Samples that a song needs to give one training example."""
        return self.crop_frames * FRAME_STEP + FRAME_LENGTH

    @property
    def shortest_for_spleeter(self):
        """Samples that a song needs so that Spleeter does not pass over it."""
        return (self.T - 1) * FRAME_STEP + FRAME_LENGTH


def _configuration(settings, tables, model):
    params = {} if settings.conv_n_filters is None else {"conv_n_filters": list(settings.conv_n_filters)}
    return {
        "train_csv": str(tables / "train.csv"),
        "validation_csv": str(tables / "validation.csv"),
        "model_dir": str(model),
        "mix_name": instruments.MIX,
        "instrument_list": settings.instrument_list,
        "sample_rate": settings.sample_rate,
        "frame_length": FRAME_LENGTH,
        "frame_step": FRAME_STEP,
        "T": settings.T,
        "F": settings.F,
        "n_channels": settings.n_channels,
        "n_chunks_per_song": settings.n_chunks_per_song,
        "separation_exponent": settings.separation_exponent,
        "mask_extension": settings.mask_extension,
        "learning_rate": settings.learning_rate,
        "batch_size": settings.batch_size,
        "training_cache": str(model / "cache" / "training"),
        "validation_cache": str(model / "cache" / "validation"),
        "train_max_steps": settings.train_max_steps,
        "throttle_secs": 300,
        "random_seed": settings.seed,
        "save_checkpoints_steps": settings.save_checkpoints_steps,
        "save_summary_steps": settings.save_summary_steps,
        "model": {"type": settings.model_type, "params": params},
        "muscomp": {
            "taxonomy": None if settings.instruments is not None else settings.taxonomy,
            "crop_frames": settings.crop_frames,
            "remix": settings.remix,
            "precision": settings.precision,
        },
    }


def config(root, settings=None):
    """Write the configuration `configs/<name>.json`.

    Its paths are absolute: Spleeter looks for a relative `model_dir` elsewhere, and separates with random weights when
    it finds none there.

    Returns
    -------
    Path
    """
    settings = settings or Settings()
    clean_parts(root.configs)
    path = root.configs / f"{settings.name}.json"
    configs.write(path, _configuration(settings, root.tables, root.models / settings.name))
    return path


def write(root, settings=None):
    """Write `train.csv`, `validation.csv` and `test.csv` from the prepared songs that are in order.

    Parameters
    ----------
    root : drive.Root
    settings : Settings, optional

    Returns
    -------
    tables : dict of str to pd.DataFrame
        By partition. Columns `mix_path`, `<Instrument>_path` ..., `duration` (seconds); paths relative to the root.
    problems : pd.DataFrame
        The songs left out: `partition`, `track`, `reason`.

    Raises
    ------
    MissingError
        When there is nothing to learn from, or to validate with: no engine starts then. Nothing is written.
    """
    settings = settings or Settings()
    clean_parts(root.tables)
    tables, problems = {}, []
    library = prepared.Library(root)
    songs = {partition: library.songs(partition) for partition in PARTITIONS}
    held_out = {track for partition in PARTITIONS if partition != "train" for track in songs[partition]}
    for partition in PARTITIONS:
        rows = _checked(library, partition, songs[partition], settings, held_out if partition == "train" else ())
        tables[partition] = pd.DataFrame([row for _, row, reason in rows if not reason], columns=_columns(settings))
        problems += [(partition, track, reason.replace(f"{root.path}/", "")) for track, _, reason in rows if reason]
    problems = pd.DataFrame(problems, columns=["partition", "track", "reason"])
    for partition in LEARNED:
        _require_songs(root, partition, tables[partition], problems[problems["partition"] == partition])
    for partition, table in tables.items():
        index_tables.write_csv(root.tables / f"{partition}.csv", table)
    return tables, problems


def _columns(settings):
    return [f"{name}_path" for name in (instruments.MIX, *settings.instrument_list)] + ["duration"]


def _require_songs(root, partition, table, problems):
    if len(table):
        return
    if problems.empty:
        raise MissingError(
            f"There is no song in {root.prepared / partition}. Run notebook 02 first, which prepares them; for "
            "MUSDB18, give its folder as `musdb` in notebook 03."
        )
    (reason, count), *_ = Counter(problems["reason"]).most_common(1)
    raise MissingError(
        f"None of the songs in {root.prepared / partition} can be used. The reason for {count} of {len(problems)}: "
        f"{reason}. If the parameters are as meant, remove these songs and prepare them again."
    )


# ---- looking at one song ----


def _checked(library, partition, songs, settings, held_out):
    """Every song of a partition with its row, or the reason to leave it out: [(track, row, reason)]."""
    summed = set(parallel.evenly_spaced(list(songs), settings.sum_checks))

    def look(track):
        if track in held_out:
            return track, None, "it is in validation or test too: run notebook 02 again"
        try:
            row = _row(library, songs[track], settings, partition in LEARNED)
            if track in summed:
                _check_sum(library, songs[track])
            return track, row, ""
        except (AudioError, OSError) as error:
            return track, None, str(error).rstrip(".")

    with ThreadPoolExecutor(READERS) as pool:
        return list(bar(pool.map(look, songs), total=len(songs), desc=partition))


def _row(library, files, settings, learned):
    """A song's row of the table, from the headers of its files (their paths by name).

    Raises
    ------
    AudioError
        Says what is wrong with the song.
    """
    names = (instruments.MIX, *settings.instrument_list)
    if absent := [name for name in names if name not in files]:
        raise AudioError(f"{', '.join(absent)}: no such file. Prepare the song again")
    infos = {name: prepared.info(library.file(files[name])) for name in names}
    mix = infos[instruments.MIX]
    for name, info in infos.items():
        _check_form(name, info, settings)
        if info.frames != mix.frames:
            raise AudioError(f"{name} has {info.frames} samples, its mix {mix.frames}")
    if learned:
        _check_length(mix, settings)
    return {f"{name}_path": files[name] for name in names} | {"duration": round(mix.duration, 3)}


def _check_form(name, info, settings):
    found = {"sample_rate": info.sample_rate, "n_channels": info.channels}
    wrong = [f"{key} = {value}" for key, value in found.items() if value != getattr(settings, key)]
    if wrong:
        raise AudioError(
            f"{name} has {info.sample_rate} Hz and {info.channels} channel(s), not {settings.sample_rate} Hz and "
            f"{settings.n_channels}. If all songs are like this, set {' and '.join(wrong)}"
        )


def _check_length(mix, settings):
    if mix.frames < settings.shortest:
        needed = settings.shortest / settings.sample_rate
        raise AudioError(f"it lasts {mix.duration:.1f} s, and a training example takes {needed:.1f} s (crop_frames)")
    if settings.for_spleeter and mix.frames < settings.shortest_for_spleeter:
        needed = settings.shortest_for_spleeter / settings.sample_rate
        raise AudioError(
            f"it lasts {mix.duration:.1f} s, and Spleeter says nothing and passes over what is shorter than "
            f"{needed:.2f} s (T)"
        )


def _check_sum(library, files):
    """Make sure that all files but the mix, whether learned from or not, sum to the mix exactly, as integers."""
    mix, _ = prepared.read(library.file(files[instruments.MIX]), dtype="int16")
    total = np.zeros(mix.shape, np.int32)
    for name in files.keys() - {instruments.MIX}:
        waveform, _ = prepared.read(library.file(files[name]), dtype="int16")
        if waveform.shape != mix.shape:
            raise AudioError(f"{name} has another length or number of channels than its mix")
        total += waveform
    if wrong := int(np.count_nonzero(np.any(total != mix, axis=1))):
        raise AudioError(f"its instruments do not sum to its mix: {wrong} of {len(mix)} samples differ")


# ---- for the eyes ----


def activity(root, table, limit=20):
    """How much of the time each instrument sounds.

    Parameters
    ----------
    root : drive.Root
    table : pd.DataFrame
        Of one partition.
    limit : int
        Songs to listen to, spread evenly over the table.

    Returns
    -------
    pd.Series
        By instrument, 0 to 1: the share of seconds that are louder than -60 dB. NaN for a table without songs.
    """
    columns = [column for column in table if column.endswith("_path") and column != "mix_path"]
    rows, library = parallel.evenly_spaced(list(table.index), limit), prepared.Library(root)
    with ThreadPoolExecutor(READERS) as pool:
        files = [library.file(table.at[row, column]) for column in columns for row in rows]
        shares = np.reshape(list(pool.map(_sounding, files)), (len(columns), len(rows)))
    names = [column.removesuffix("_path") for column in columns]
    return pd.Series(shares.mean(axis=1) if rows else np.nan, index=names)


def _sounding(file):
    """Share of a file's whole seconds that are louder than `AUDIBLE_DB`."""
    waveform, rate = prepared.read(file)
    seconds = waveform[: max(len(waveform) // rate, 1) * rate]
    blocks = np.array_split(seconds, max(len(waveform) // rate, 1))
    return np.mean([np.sqrt(np.mean(np.square(block))) > audio.to_gain(AUDIBLE_DB) for block in blocks])
