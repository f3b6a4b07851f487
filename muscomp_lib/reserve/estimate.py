"""An estimate of notebook 02's time and disk space before it starts. Used by notebook 02.

A few seconds of music are mixed and written as the songs will be, on this machine and disk; their time and size are
scaled to all songs.
"""

import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from muscomp_lib import audio
from muscomp_lib.audio.resampler import n_samples_at
from muscomp_lib.core import parallel
from muscomp_lib.core.instruments import MIX
from muscomp_lib.core.progress import duration, size
from muscomp_lib.core.root import SLAKH_TRACKS
from muscomp_lib.dataset import mixing
from muscomp_lib.reserve.split import PREPARED, instrument_columns

SAMPLE_SECONDS = 10.0  # of music that is measured
SLAKH_HOURS = 145.0  # of music in all of Slakh2100


@dataclass(frozen=True)
class Forecast:
    """The expected time and disk space.

    Attributes
    ----------
    songs : int
        Number of songs, including those made already.
    music : float
        Their length in seconds.
    work : float
        Seconds of work on this machine, with all its workers.
    n_bytes : float
        Size of the files.
    free : float
        Free bytes on the root's disk.
    """

    songs: int
    music: float
    work: float
    n_bytes: float
    free: float

    def __str__(self):
        """The forecast in words, and the same for all of Slakh2100."""
        text = (
            f"{self.songs} songs, {duration(self.music)} of music: about {duration(self.work)} of work and "
            f"{size(self.n_bytes)}; {size(self.free)} are free."
        )
        if self.n_bytes > self.free:
            text += " That does not fit: set virtual = True (no files), channels = 1, or a limit."
        if self.music:
            scale = SLAKH_HOURS * 3600 / self.music
            text += (
                f"\nAll of Slakh2100 ({SLAKH_TRACKS:,} tracks, {SLAKH_HOURS:.0f} hours) would take about "
                f"{duration(self.work * scale)} and {size(self.n_bytes * scale)} here."
            )
        return text


def forecast(root, stems, tracks, settings):
    """Measure a few seconds, and scale to all songs.

    Parameters
    ----------
    root : Root
    stems, tracks : pd.DataFrame
        As in the index, with partitions.
    settings : reserve.Settings

    Returns
    -------
    Forecast
    """
    made = tracks[tracks["partition"].isin(PREPARED)]
    seconds = float(made["duration"].sum())
    names = instrument_columns(tracks)
    present = made[names].gt(0).sum(axis=1) if not settings.fill else len(names)
    files = float((made["duration"] * (present + (settings.residual == "target") + 1)).sum())  # and the mix
    per_second, n_bytes = _measure(root, stems[stems["status"] == "ok"], settings)
    workers = min(settings.workers or parallel.cores(), max(1, len(made)))
    free = shutil.disk_usage(root.path).free
    return Forecast(len(made), seconds, files * per_second / workers, files * n_bytes, free)


def _measure(root, stems, settings):
    """Seconds of work and bytes per second of one file, from an excerpt of a track's stems."""
    if stems.empty:
        return 0.0, 0.0
    its = stems[stems["track"] == stems["track"].iloc[len(stems) // 2]]
    rate = settings.sample_rate
    length = n_samples_at(rate, its["frames"].iloc[0], its["sample_rate"].iloc[0])
    frames = min(length, int(SAMPLE_SECONDS * rate))
    recipe = {"frames": length, "sample_rate": rate, "channels": settings.channels}
    recipe["files"] = {row.stem: {"stems": [row.audio]} for row in its.itertuples()}
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        song = mixing.Song(root.slakh, recipe | {"gain": 1.0})
        excerpts = {name: song.excerpt(name, (length - frames) // 2, frames) for name in (*recipe["files"], MIX)}
        if not settings.virtual:
            for name, waveform in excerpts.items():
                audio.write(Path(folder) / f"{name}.{settings.file_format}", waveform, rate)
        took = time.perf_counter() - began
        n_bytes = sum(path.stat().st_size for path in Path(folder).iterdir())
    measured = len(excerpts) * frames / rate  # seconds of files
    return took / measured, n_bytes / measured
