"""Sound in and out: files of any format and length, sample rates, integers, spectrograms."""

from muscomp_lib.audio.io import (
    SAMPLE_RATE,
    AudioInfo,
    checked,
    fit_channels,
    info,
    loudness,
    mono,
    read,
    to_db,
    to_gain,
    to_hertz,
    write,
)
from muscomp_lib.audio.quantise import INT16_SCALE, PEAK_DB, to_float, to_int16
from muscomp_lib.audio.resampler import fit_length, resample

__all__ = [
    "INT16_SCALE",
    "PEAK_DB",
    "SAMPLE_RATE",
    "AudioInfo",
    "checked",
    "fit_channels",
    "fit_length",
    "info",
    "loudness",
    "mono",
    "read",
    "resample",
    "to_db",
    "to_float",
    "to_gain",
    "to_hertz",
    "to_int16",
    "write",
]
