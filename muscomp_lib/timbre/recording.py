"""A recording as a query: read, checked, and described. Used by 06, `Separator.separate(query=...)` and the command.

A query is a few seconds of one instrument alone: a note, a few notes, a phrase. What cannot be one is refused, with
what to do; what can, but is not what it should be, is reported as a warning.
"""

import itertools
import logging
import math
from pathlib import Path

import numpy as np

from muscomp_lib import audio
from muscomp_lib.audio import stft, stream
from muscomp_lib.core.errors import AudioError
from muscomp_lib.timbre import descriptors
from muscomp_lib.timbre.descriptors import FRAME, RATE, STEP

SHORTEST, LONGEST = 0.1, 30.0  # seconds
QUIET_DB = -60.0  # relative to full scale: what stays below is taken to be silence
FLAT, STEADY_DB = 0.25, 3.0  # noise has a spectrum this flat, and a level that varies by no more
EXPLAINED, LOBE_BINS = 0.5, 2.5  # share of the energy so near to a note's harmonics, at least
LOWEST, PRESENT = 3, 0.1  # share of the amplitude in so many lowest harmonics, at least
PAUSE_SHARE, PAUSE_FRAMES = 0.1, 5  # of all frames, the quietest are taken for a pause; so many frames at least
PAUSE_DB, ABOVE_DB = -20.0, 10.0  # of a pause, relative to the loudest frame, at most; of what sounds, relative to it
PAUSE_STEADY_DB = 1.0  # the middle half of a pause's levels spans at most this, and that of a fading note more
BLOCK = 1 << 18  # samples read at a time
DO = "Record a few seconds of one instrument alone: one note, or a melody."

log = logging.getLogger(__name__)


def query(sound, sample_rate=None, descriptor="envelope"):
    """A query for a network, from a file or a waveform.

    Parameters
    ----------
    sound : str, Path, or np.ndarray of shape (n_samples,) or (n_samples, n_channels), float or integer
        From 0.1 s of one instrument alone; of more than 30 s, the 30 from the first sound on are used.
    sample_rate : int, optional
        Hz; of a waveform.
    descriptor : str
        What the network takes: its `model.params.descriptor`.

    Returns
    -------
    np.ndarray, shape=(n_inputs,) or (n_frames, n_inputs), float32
        As `descriptors.vector` gives it.

    Raises
    ------
    AudioError
        The file cannot be read; it is silent, too short or noise; harmonics are wanted of what has no pitch.
    MissingError
        The file is not there.
    SettingError
        The sample rate is none that a sound has.
    """
    where = "the query"
    if isinstance(sound, (str, Path)):
        where = str(sound)
        with stream.opened(sound) as song:
            sound, sample_rate = _first_seconds(song), song.sample_rate
    if not sample_rate:
        raise AudioError(f"{where} needs its sample rate, in Hz: query(sound, sample_rate).")
    sound, sample_rate = audio.checked(sound, sample_rate, where)
    sound = audio.to_float(sound)
    if sound.ndim not in (1, 2) or 0 in sound.shape[1:] or (sound.ndim == 2 and sound.shape[0] < sound.shape[1]):
        raise AudioError(f"{where} has the shape {sound.shape}; it must be (n_samples,) or (n_samples, n_channels).")
    if not np.isfinite(sound).all():
        raise AudioError(f"{where} has NaN or infinite samples. Export it again. {DO}")
    loudest = float(np.abs(sound).max(initial=0.0))
    if loudest > 1.0:  # of floats, which may be of any size: a timbre is that of any level
        sound = sound / np.float32(loudest)
    sound = descriptors.mono(_without_offset(sound), sample_rate)
    if not _is_quiet(sound) and len(sound) > LONGEST * RATE:
        sound = sound[np.argmax(np.abs(sound) >= audio.to_gain(QUIET_DB)) :]
    sound = sound[: round(LONGEST * RATE)]
    check(sound, where, descriptor)
    return descriptors.vector(descriptor, _without_room(sound), RATE)


def _first_seconds(song):
    """The first LONGEST seconds of a song from its first sound on: stems often begin with a minute of silence."""
    sounding = itertools.dropwhile(_is_quiet, song.blocks(BLOCK))
    n_blocks = math.ceil(LONGEST * song.sample_rate / BLOCK) + 1  # the first may begin with silence
    blocks = list(itertools.islice(sounding, n_blocks))
    return np.concatenate(blocks) if blocks else np.zeros((BLOCK, 1), np.float32)


def _is_quiet(block):
    return audio.to_db(float(np.abs(block).max(initial=0.0))) < QUIET_DB


def _without_offset(sound):
    """A sound without the constant offset of a microphone or an interface, where that is larger than the sound."""
    if not len(sound):
        return sound
    offset, level = sound.mean(axis=0, dtype=np.float64), sound.std(axis=0, dtype=np.float64)
    return sound - np.where(np.abs(offset) > level, offset, 0).astype(np.float32)


def _without_room(sound):
    """A sound without the steady noise of its pauses: descriptors count all frames alike, and these hold the room."""
    spectrogram = stft.stft(sound[:, None], FRAME, STEP)
    power = np.abs(spectrogram) ** 2
    total = power.sum(axis=(1, 2)) + 1e-20
    whole = np.arange(FRAME // STEP, len(sound) // STEP + 1)  # without those that the padding is part of
    whole = whole[total[whole] > total.max() * 10 ** (QUIET_DB / 10)]  # an editor's silence is no room
    pause = whole[np.argsort(total[whole])][: int(len(whole) * PAUSE_SHARE)]
    level = 10 * np.log10(total[pause] / total.max())
    if len(pause) < PAUSE_FRAMES or level.mean() > PAUSE_DB or np.ptp(np.percentile(level, [25, 75])) > PAUSE_STEADY_DB:
        return sound
    noise = power[pause].mean(axis=0)
    kept = np.maximum(1 - noise / (power + 1e-20), 0)
    kept[total < noise.sum() * 10 ** (ABOVE_DB / 10)] = 0
    return stft.istft(spectrogram * np.sqrt(kept), len(sound), FRAME, STEP)[:, 0]


def check(sound, where, descriptor):
    """Refuse what cannot be a query, and warn of what should not be one.

    Parameters
    ----------
    sound : np.ndarray, shape=(n_samples,), float32
        At RATE.
    where : str
        Its source, for messages.
    descriptor : str

    Raises
    ------
    AudioError
    """
    if len(sound) < SHORTEST * RATE:
        raise AudioError(f"{where} lasts {1000 * len(sound) / RATE:.0f} ms, and a timbre takes at least 100. {DO}")
    if _is_quiet(sound):
        raise AudioError(
            f"{where} is silent: mixed to one channel, it stays below {QUIET_DB:.0f} dB of full scale. {DO}"
        )
    if _is_noise(sound):
        raise AudioError(f"{where} is noise: its spectrum is flat and its level steady. {DO}")
    f0 = descriptors.pitch(sound, RATE)
    if descriptor in ("harmonics", "both") and not (f0 and _is_note(sound, f0)):
        raise AudioError(
            f"{where} is not one note: it is a chord, a melody, a drum, too low or too high, and this network is asked "
            "by the harmonics of a note. Give it one note, or use a network with descriptor = 'envelope'."
        )
    if not f0:
        log.warning("%s has no pitch: a drum, a chord, several instruments or a very low note? %s", where, DO)


def _is_noise(sound):
    power = _power(sound)
    level, mean = 10 * np.log10(power.sum(axis=1) + 1e-20), power.mean(axis=0) + 1e-20
    return np.exp(np.log(mean).mean()) / mean.mean() > FLAT and level.std() < STEADY_DB


def _is_note(sound, f0):
    """Whether the energy is at a pitch's harmonics, and not the lowest of them missing, as where a chord repeats."""
    power, frequency = _power(sound).mean(axis=0), np.fft.rfftfreq(FRAME, 1 / RATE)
    off = np.abs(frequency - f0 * np.maximum(1, np.round(frequency / f0)))
    explained = power[off < LOBE_BINS * RATE / FRAME].sum() / power.sum()
    return explained > EXPLAINED and descriptors.harmonics(sound, RATE, f0)[:LOWEST].sum() > PRESENT


def _power(sound):
    """Powers of the whole frames of a sound, at least one: (n_frames, n_bins)."""
    padded = audio.fit_length(sound[:, None], max(FRAME, len(sound)))
    return np.abs(stft.frames_to_spectrogram(padded, FRAME, STEP)[..., 0]) ** 2
