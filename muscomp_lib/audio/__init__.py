"""Sound in and out: files of any format and length, sample rates, spectrograms."""

from muscomp_lib.audio.io import (
    INT16_SCALE,
    PEAK_DB,
    SAMPLE_RATE,
    AudioInfo,
    fit_channels,
    fit_length,
    info,
    loudness,
    read,
    resample,
    to_db,
    to_float,
    to_gain,
    to_int16,
    write,
)

__all__ = [
    "INT16_SCALE",
    "PEAK_DB",
    "SAMPLE_RATE",
    "AudioInfo",
    "fit_channels",
    "fit_length",
    "info",
    "loudness",
    "read",
    "resample",
    "to_db",
    "to_float",
    "to_gain",
    "to_int16",
    "write",
]
