"""How long notebook 02 will work and how much room its songs will take, measured before it starts. Used by notebook 02.

A few seconds of music are mixed and written as the songs will be, on this machine, from this disk; what that took, and
how large it became, is carried over to all songs that are still to be made.
"""

import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from muscomp_lib import audio
from muscomp_lib.core.instruments import MIX
from muscomp_lib.dataset import mixing
from muscomp_lib.reserve.split import PREPARED, instrument_columns

SAMPLE_SECONDS = 10.0  # of music that are tried
SLAKH_HOURS = 145.0  # of music in all of Slakh2100
SLAKH_TRACKS = 2100


@dataclass(frozen=True)
class Forecast:
    """What lies ahead.

    Attributes
    ----------
    songs : int
        Songs to make, those included that are made already.
    music : float
        Their hours.
    hours : float
        Of work on this machine, with all its workers.
    gigabytes : float
        That the files will take.
    free : float
        Gigabytes free on the root's disk.
    """

    songs: int
    music: float
    hours: float
    gigabytes: float
    free: float

    def __str__(self):
        """The forecast in plain words, and the same for all of Slakh2100."""
        text = (
            f"{self.songs} songs, {self.music:.1f} hours of music: about {_duration(self.hours)} of work and "
            f"{self.gigabytes:.1f} GB; {self.free:.1f} GB are free."
        )
        if self.gigabytes > self.free:
            text += " That does not fit: set virtual = True (no files), channels = 1, or a limit."
        if self.music:
            scale = SLAKH_HOURS / self.music
            text += (
                f"\nAll of Slakh2100 ({SLAKH_TRACKS:,} tracks, {SLAKH_HOURS:.0f} hours) would take about "
                f"{_duration(self.hours * scale)} and {self.gigabytes * scale:.0f} GB here."
            )
        return text


def _duration(hours):
    minutes = round(hours * 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{max(1, minutes)} min"


def forecast(root, stems, tracks, settings):
    """Measure, and carry over to all songs.

    Parameters
    ----------
    root : drive.Root
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
    sounding = made[names].gt(0).sum(axis=1) if not settings.fill else len(names)
    files = float((made["duration"] * (sounding + (settings.residual == "target") + 1)).sum())  # and the mix
    per_second, n_bytes = _try(root, stems[stems["status"] == "ok"], settings)
    workers = min(settings.workers or os.cpu_count() or 1, max(1, len(made)))
    free = shutil.disk_usage(root.path).free / 1e9
    return Forecast(len(made), seconds / 3600, files * per_second / workers / 3600, files * n_bytes / 1e9, free)


def _try(root, stems, settings):
    """Seconds of work and bytes for each second of one file, from an excerpt of a track's stems."""
    if stems.empty:
        return 0.0, 0.0
    its = stems[stems["track"] == stems["track"].iloc[len(stems) // 2]]
    rate = settings.sample_rate
    length = mixing.frames_at(rate, its["frames"].iloc[0], its["sample_rate"].iloc[0])
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
    tried = len(excerpts) * frames / rate  # seconds of files
    return took / tried, n_bytes / tried
