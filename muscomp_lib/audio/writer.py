"""Writing sound files in blocks, as FLAC, WAV or MP3. Used through `streams`.

Integers are made of floats here and not by libsndfile, which rounds to the nearest in FLAC but downwards in WAV: so a
sound has the same samples in both, what is read from a file and written again does not change, and what had to be
limited is counted.
"""

import contextlib
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

from muscomp_lib.audio.reader import GuardedFile, Onwards
from muscomp_lib.core.errors import AudioError, SettingError
from muscomp_lib.core.files import written_whole

PIECE = 65536  # samples that are converted at once: few enough to stay in the processor's cache
BUFFER = 1 << 20  # bytes that are collected before they go to the disk
WAV_LIMIT = (1 << 32) - (1 << 16)  # bytes of sound in a WAV file: sizes have 32 bits, and its header takes some
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)  # Hz
FLAC_HIGHEST_RATE = 655350  # Hz


@dataclass(frozen=True)
class Format:
    """A way to write sound: the file name's suffix, libsndfile's names, and what the format can hold.

    `bits` per sample is None where samples are not integers. `rates` (Hz): the only ones, or None where any up to
    `highest_rate` will do.
    """

    suffix: str
    container: str
    subtype: str
    bits: int | None = None
    rates: tuple | None = None
    highest_rate: int = (1 << 31) - 1
    options: dict = field(default_factory=dict)

    @property
    def limits(self):
        """Whether samples beyond full scale have to be limited."""
        return self.subtype != "FLOAT"


# MP3: variable bit rate at the best quality, because silence, of which separated instruments have much, then costs
# nothing. Measured for 8 to 48 kHz, one and two channels, 1 sample to minutes: as many samples are read back as were
# written, and none is shifted, because libsndfile notes the encoder's delay in the file and takes it off again.
FORMATS = {
    "flac": Format(".flac", "FLAC", "PCM_16", 16, highest_rate=FLAC_HIGHEST_RATE),
    "flac24": Format(".flac", "FLAC", "PCM_24", 24, highest_rate=FLAC_HIGHEST_RATE),
    "wav": Format(".wav", "WAV", "PCM_16", 16),
    "wav24": Format(".wav", "WAV", "PCM_24", 24),
    "wav_float": Format(".wav", "WAV", "FLOAT"),
    "mp3": Format(
        ".mp3",
        "MP3",
        "MPEG_LAYER_III",
        rates=MP3_RATES,
        options={"bitrate_mode": "VARIABLE", "compression_level": 0.0},
    ),
}


def check_format(name, sample_rate=None):
    """The format of a name, if it can be written.

    Parameters
    ----------
    name : str
        One of FORMATS.
    sample_rate : int, optional
        Hz.

    Returns
    -------
    Format

    Raises
    ------
    SettingError
        There is no such format; it cannot hold the sample rate; the installed soundfile cannot write it.
    """
    if name not in FORMATS:
        raise SettingError(f"There is no format {name!r}; there is {', '.join(FORMATS)}.")
    chosen = FORMATS[name]
    if chosen.options and not hasattr(soundfile.SoundFile, "bitrate_mode"):
        raise SettingError(
            f"{name} needs soundfile 0.13 or later, not {soundfile.__version__}: update it with pip, or choose flac."
        )
    if sample_rate is None:
        return chosen
    if chosen.rates and sample_rate not in chosen.rates:
        raise SettingError(
            f"{name} cannot hold {sample_rate} Hz, only {', '.join(map(str, chosen.rates))}. Choose flac or wav."
        )
    if not 1 <= sample_rate <= chosen.highest_rate:
        raise SettingError(f"{name} cannot hold {sample_rate} Hz, only 1 to {chosen.highest_rate}. Choose wav.")
    return chosen


def quantised(block, bits):
    """Floats as the integers that a file of so many bits holds; the inverse of reading such a file as float32.

    Parameters
    ----------
    block : np.ndarray, float32
        In [-1, 1]; rounded, and limited where it is beyond. Nothing in it may be "not a number".
    bits : int
        16 or 24: up to 24 bits fit a float32.

    Returns
    -------
    np.ndarray of the same shape, int32, in [-2 ** (bits - 1), 2 ** (bits - 1) - 1]
    """
    full_scale = 1 << (bits - 1)
    scaled = block * np.float32(full_scale)
    np.rint(scaled, out=scaled)
    np.clip(scaled, -full_scale, full_scale - 1, out=scaled)
    return scaled.astype(np.int32)


class Writer:
    """A sound file that is written in blocks, and appears when all is well at the end of a `with`, or not at all.

    Parameters
    ----------
    path : str or Path
    name : str
        One of FORMATS.
    sample_rate : int
        Hz.
    n_channels : int
    frames : int, optional
        How many samples per channel to expect. A WAV file cannot hold 4 GB (an hour of 192 kHz in stereo and float32);
        where more are expected, RF64 is written, which is WAV with longer sizes.

    Attributes
    ----------
    path : Path
    format : Format
    limited : int
        How many samples so far were beyond full scale, and limited to it. Always 0 in `wav_float`, which keeps them.

    Raises
    ------
    SettingError
        The format does not exist or cannot hold the sample rate.
    DiskFullError
        The disk is full, also when that only shows at the end; nothing is left of the file.
    AudioError
        Nothing was written until the end; a WAV file outgrew its 4 GB.
    """

    def __init__(self, path, name, sample_rate, n_channels, frames=None):
        self.path, self.format = Path(path), check_format(name, sample_rate)
        self.limited, self._written = 0, 0
        self._container = self.format.container
        self._room = math.inf  # samples per channel
        if self._container == "WAV":
            self._room = WAV_LIMIT // ((self.format.bits or 32) // 8 * n_channels)
            if (frames or 0) > self._room:
                self._container, self._room = "RF64", math.inf
        self._sound = {"samplerate": sample_rate, "channels": n_channels, "subtype": self.format.subtype}

    def __enter__(self):
        self._encoding = self._encoder()
        self._encoding.__enter__()
        return self

    def __exit__(self, *raised):
        return self._encoding.__exit__(*raised)

    @contextlib.contextmanager
    def _encoder(self):
        """Through a Python file: libsndfile by itself does not say when its last words do not reach the disk."""
        with written_whole(self.path) as part, part.open("wb", buffering=BUFFER) as raw:
            self._disk = GuardedFile(raw)
            try:
                kind = self._sound | self.format.options
                with Onwards(self._disk, "w", format=self._container, **kind) as self._file:
                    yield
            finally:
                self._disk.check()
            if not self._written:
                raise AudioError(f"No samples came for {self.path}: it was not written.")

    def write(self, block):
        """Write the next samples.

        Parameters
        ----------
        block : np.ndarray, shape=(n_samples, n_channels), float32 or int32
            Floats are rounded, and limited to full scale, where the format needs it. Integers are written as they are:
            `quantised` for this format's `bits`, and for no format without.
        """
        for start in range(0, len(block), PIECE):
            piece = block[start : start + PIECE]
            self._written += len(piece)
            if self._written > self._room:
                raise AudioError(
                    f"{self.path} would outgrow a WAV file, which ends at 4 GB. Write FLAC, or give the Writer the "
                    "number of frames to expect."
                )
            try:
                self._file.write(np.ascontiguousarray(self._fitting(piece)))
            finally:
                self._disk.check()

    def as_stored(self, block):
        """A block of floats as it will be read back from the file: rounded and limited. As it is if not integers."""
        bits = self.format.bits
        return block if bits is None else quantised(block, bits) * np.float32(2.0 ** (1 - bits))

    def _fitting(self, piece):
        """The samples as libsndfile takes them: floats, or integers in the highest bits of an int32."""
        bits = self.format.bits
        if piece.dtype.kind == "i":
            if bits is None:
                raise TypeError(f"{self.path} takes floats, not {piece.dtype}")
            return piece << (32 - bits)
        if self.format.limits:
            self._count_limited(piece)
        if bits is None:
            return np.clip(piece, -1, 1) if self.format.limits else piece
        integers = quantised(piece, bits)
        integers <<= 32 - bits
        return integers

    def _count_limited(self, piece):
        if piece.max() > 1 or piece.min() < -1:  # much faster than to count where there is nothing
            self.limited += int(np.count_nonzero(np.abs(piece) > 1))
