"""Writing sound files in blocks, as FLAC, WAV or MP3. Used through `audio.write` and `stream`."""

import contextlib
import math
from pathlib import Path

import numpy as np

from muscomp_lib.audio.formats import check_format
from muscomp_lib.audio.quantise import quantise
from muscomp_lib.audio.reader import NonSeekableSoundFile
from muscomp_lib.core.errors import AudioError
from muscomp_lib.core.files import written_whole

BLOCK = 65536  # samples that are converted at once: few enough to stay in the processor's cache
BUFFER = 1 << 20  # bytes that are collected before they go to the disk
WAV_LIMIT = (1 << 32) - (1 << 16)  # bytes of sound in a WAV file: sizes have 32 bits, and its header takes some


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
        self._max_frames = math.inf
        if self._container == "WAV":
            self._max_frames = WAV_LIMIT // ((self.format.bits or 32) // 8 * n_channels)
            if (frames or 0) > self._max_frames:
                self._container, self._max_frames = "RF64", math.inf
        self._sound = {"samplerate": sample_rate, "channels": n_channels, "subtype": self.format.subtype}

    def __enter__(self):
        self._encoding = self._encoder()
        self._encoding.__enter__()
        return self

    def __exit__(self, *raised):
        return self._encoding.__exit__(*raised)

    @contextlib.contextmanager
    def _encoder(self):
        """Through a Python file: libsndfile itself does not report when its last bytes do not reach the disk."""
        with written_whole(self.path) as part, part.open("wb", buffering=BUFFER) as raw:
            self._raw = raw
            file = NonSeekableSoundFile(raw, "w", format=self._container, **self._sound, **self.format.options)
            try:
                with file as self._file:
                    yield
            finally:
                file.check()
            if not self._written:
                raise AudioError(f"There are no samples for {self.path}: it was not written.")

    def finish(self):
        """Write what the encoder still holds, so that the end of the block has nothing left to do but to rename.

        Of several files, none is to replace an older one before all fit on the disk.
        """
        try:
            self._file.close()
        finally:
            self._file.check()
        self._raw.flush()

    def write(self, block):
        """Write the next samples.

        Parameters
        ----------
        block : np.ndarray, shape=(n_samples, n_channels), float or integer
            Floats are rounded, and limited to full scale, where the format needs it. Integers are written as they are:
            `quantise` makes them for this format's `bits`; a format without takes none.
        """
        for start in range(0, len(block), BLOCK):
            piece = block[start : start + BLOCK]
            self._written += len(piece)
            if self._written > self._max_frames:
                raise AudioError(
                    f"{self.path} would outgrow a WAV file, which ends at 4 GB. Write FLAC, or give the Writer the "
                    "number of frames to expect."
                )
            try:
                self._file.write(np.ascontiguousarray(self._encodable(piece)))
            finally:
                self._file.check()

    def as_stored(self, block):
        """A block of floats as it is read back from the file: rounded and limited; unchanged in a format of floats."""
        bits = self.format.bits
        return block if bits is None else quantise(block, bits) * np.float32(2.0 ** (1 - bits))

    def _encodable(self, piece):
        """The samples as libsndfile takes them: floats, or integers in the highest bits of an int32."""
        bits = self.format.bits
        if piece.dtype.kind == "i":
            if bits is None:
                raise TypeError(f"{self.path} takes floats, not {piece.dtype}")
            return piece.astype(np.int32) << (32 - bits)
        if self.format.limits:
            self._count_limited(piece)
        if bits is None:
            return np.clip(piece, -1, 1) if self.format.limits else piece
        integers = quantise(piece, bits)
        integers <<= 32 - bits
        return integers

    def _count_limited(self, piece):
        if piece.max() > 1 or piece.min() < -1:  # much faster than to count where there are none
            self.limited += int(np.count_nonzero(np.abs(piece) > 1))
