"""Reading, writing and measuring sound. Used by every notebook.

Conventions: a waveform is an array of shape (n_samples, n_channels), float32 in [-1, 1] or, where sums must be exact,
int16. A mono file has one channel. Levels are in dB relative to full scale, loudness in LUFS (ITU-R BS.1770, as in
Slakh's metadata).
"""

import io
import shutil
import subprocess
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from muscomp_lib.drive import written_whole
from muscomp_lib.errors import AudioError, MissingError

SAMPLE_RATE = 44100  # Hz: Slakh's, and Spleeter's
PEAK_DB = -1.0  # Slakh's `target_peak`: no prepared file exceeds it
INT16_SCALE = 32768  # the integer that 1.0 stands for
ESTIMATED_LENGTH = ("MP3",)  # formats whose header only estimates the number of samples
LOUDNESS_BLOCK = 0.4  # seconds: BS.1770 measures in blocks of this length, so nothing shorter has a loudness


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header says: `frames` (samples per channel), `sample_rate` (Hz), `channels`."""

    frames: int
    sample_rate: int
    channels: int

    @property
    def duration(self):
        """Length in seconds."""
        return self.frames / self.sample_rate


def info(path):
    """Read a file's header and make sure that its end can be read too.

    A truncated FLAC still reports its full length and reads well at the start; only reaching for its end shows that it
    is cut.

    Returns
    -------
    AudioInfo

    Raises
    ------
    MissingError, AudioError
    """
    with _opened(path) as file:
        found = AudioInfo(file.frames, file.samplerate, file.channels)
        if found.frames == 0:
            raise AudioError(f"{path} holds no samples. Replace it by a whole copy.")
        if file.format not in ESTIMATED_LENGTH:
            try:
                file.seek(found.frames - 1)
                complete = len(file.read(1)) == 1
            except soundfile.LibsndfileError:
                complete = False
            if not complete:
                raise _truncated(path, found.frames)
    return found


def read(path, start=0, frames=None, dtype="float32"):
    """Read a file, or a part of it.

    What libsndfile does not know (m4a, video files, ...) goes through ffmpeg when that is installed.

    Parameters
    ----------
    path : str or Path
    start, frames : int
        First sample and number of samples per channel; None reads to the end.
    dtype : {"float32", "int16"}

    Returns
    -------
    waveform : np.ndarray, shape=(n_samples, n_channels)
    sample_rate : int
        Hz.

    Raises
    ------
    MissingError, AudioError
        No such file; not readable, or shorter than its header says.
    """
    with _opened(path) as file:
        wanted = file.frames - start if frames is None else frames
        try:
            file.seek(start)
            waveform = file.read(wanted, dtype=dtype, always_2d=True)
        except (soundfile.LibsndfileError, MemoryError) as error:
            raise _truncated(path, file.frames) from error
        if len(waveform) < wanted and file.format not in ESTIMATED_LENGTH:
            raise _truncated(path, file.frames)
        return waveform, file.samplerate


def _opened(path):
    path = Path(path)
    if not path.is_file():
        raise MissingError(f"{path} is not there. Check the name and the folder.")
    try:
        return soundfile.SoundFile(path)
    except soundfile.LibsndfileError as error:
        return soundfile.SoundFile(io.BytesIO(_through_ffmpeg(path, error)))


def _through_ffmpeg(path, error):
    """Decode `path` with ffmpeg to a WAV file in memory."""
    if shutil.which("ffmpeg") is None:
        raise AudioError(
            f"{path} cannot be read as audio ({_reason(error)}). WAV, FLAC, OGG and MP3 are read directly; "
            "for other formats install ffmpeg, or convert the file first."
        ) from error
    command = ["ffmpeg", "-v", "error", "-i", f"file:{path.resolve()}", "-vn", "-c:a", "pcm_f32le", "-f", "wav", "-"]
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode or not done.stdout:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no sound in it"]
        raise AudioError(f"{path} cannot be read as audio (ffmpeg: {said[0]}). Use another copy of it.") from error
    return done.stdout


def _reason(error):
    return getattr(error, "error_string", str(error)).rstrip(".")


def _truncated(path, frames):
    return AudioError(f"{path} is cut short: it lacks some of the {frames} samples its header promises. Copy it anew.")


def write(path, waveform, sample_rate):
    """Write a 16-bit file; the format is that of the suffix (.flac, .wav). It appears whole or not at all.

    Parameters
    ----------
    path : str or Path
    waveform : np.ndarray, shape=(n_samples, n_channels) or (n_samples,)
        int16 is written as it is; floats are rounded, and limited to full scale.
    sample_rate : int
        Hz.

    Raises
    ------
    DiskFullError
    """
    encoded = io.BytesIO()  # in memory first: a full disk is then one plain OSError, not a silent short file
    kind = Path(path).suffix.lstrip(".").upper()
    soundfile.write(encoded, to_int16(waveform), sample_rate, format=kind, subtype="PCM_16")
    with written_whole(path) as part:
        part.write_bytes(encoded.getbuffer())


def to_int16(waveform):
    """Floats in [-1, 1] as int16, rounded and limited to full scale; int16 stays as it is."""
    if waveform.dtype == np.int16:
        return waveform
    scaled = np.rint(waveform * INT16_SCALE)
    return np.clip(scaled, -INT16_SCALE, INT16_SCALE - 1).astype(np.int16)


def to_float(waveform):
    """int16 as float32 in [-1, 1]; floats become float32."""
    if waveform.dtype == np.int16:
        return waveform.astype(np.float32) / INT16_SCALE
    return waveform.astype(np.float32, copy=False)


def resample(waveform, from_rate, to_rate):
    """Change the sample rate (Hz) of a float waveform, shape (n_samples, n_channels)."""
    if from_rate == to_rate:
        return waveform
    return soxr.resample(waveform, from_rate, to_rate)


def fit_length(waveform, n_samples):
    """Cut at the end, or pad with silence, to `n_samples`."""
    missing = n_samples - len(waveform)
    if missing <= 0:
        return waveform[:n_samples]
    return np.pad(waveform, ((0, missing), (0, 0)))


def fit_channels(waveform, n_channels):
    """One channel is copied to all; more than one are averaged to one; the first `n_channels` are kept otherwise."""
    if waveform.shape[1] == n_channels:
        return waveform
    if waveform.shape[1] == 1:
        return np.repeat(waveform, n_channels, axis=1)
    if n_channels == 1:
        return waveform.mean(axis=1, keepdims=True, dtype=np.float32).astype(waveform.dtype)
    return fit_channels(waveform[:, :1], n_channels) if waveform.shape[1] < n_channels else waveform[:, :n_channels]


def to_gain(db):
    """The factor that a change by `db` decibels is."""
    return 10.0 ** (db / 20.0)


def to_db(gain):
    """Decibels of a factor; -inf for 0."""
    with np.errstate(divide="ignore"):
        return 20.0 * np.log10(gain)


def loudness(waveform, sample_rate):
    """Integrated loudness in LUFS; -inf for silence and for anything shorter than one block of 0.4 s."""
    import pyloudnorm  # slow to import, and used in two stages only

    if len(waveform) < LOUDNESS_BLOCK * sample_rate or not np.any(waveform):
        return -np.inf
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore")
        measured = pyloudnorm.Meter(sample_rate).integrated_loudness(to_float(waveform).astype(np.float64))
    return float(measured) if np.isfinite(measured) else -np.inf
