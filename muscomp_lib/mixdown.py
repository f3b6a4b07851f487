"""One song, from the recipe to the files: the sounds are read, placed, levelled and summed. Used by notebook 02.

A recipe says all there is to know about a song and lies in its folder as `recipe.json`:

    {"frames": 1764000, "files": {"Violin": {"stems": ["train/Track00003/stems/S02.flac"], "offset": 441000,
     "gain_db": -1.5}, ..., "other": {"stems": [...]}}}

`frames` is the song's length at 44.1 kHz. Stems of one file are summed; with an `offset` (samples at 44.1 kHz) they
come from another song: they start there, and go round from their end to their start until the song is full. A file
without stems is silence.

Every file is rounded to 16-bit integers first, and the mix is the sum of those integers: float sums would differ from
the sum of the rounded files by their rounding, and then no mask could give back exactly what is in the files.
"""

import json
import math
import os
from fractions import Fraction

import numpy as np

from muscomp_lib import audio
from muscomp_lib.drive import written_whole
from muscomp_lib.errors import AudioError, MissingError
from muscomp_lib.instruments import MIX

RECIPE = "recipe.json"
SUFFIX = ".flac"
CHANNELS = 2
HEARD_DB = -40.0  # dB below a stem's loudest second: what is softer counts as a rest


def frames_at_our_rate(frames, sample_rate):
    """How many samples at 44.1 kHz last as long as `frames` at `sample_rate` (Hz)."""
    return round(Fraction(int(frames) * audio.SAMPLE_RATE, int(sample_rate)))


def is_made(folder, recipe):
    """Whether `folder` holds all files of exactly this recipe."""
    try:
        same = (folder / RECIPE).read_text(encoding="utf-8") == _text(recipe)
    except OSError:
        return False
    return same and all((folder / f"{name}{SUFFIX}").is_file() for name in (MIX, *recipe["files"]))


def _text(recipe):
    return json.dumps(recipe, indent=1) + "\n"


def make(slakh, folder, recipe):
    """Make a song's folder with one file per entry of the recipe, and their mix.

    Parameters
    ----------
    slakh : Path
        The data set, which the recipe's stems are relative to.
    folder : Path
        Appears complete or not at all; an older one is replaced.
    recipe : dict
        As above.

    Raises
    ------
    AudioError, MissingError
        When a stem cannot be read to its end.
    DiskFullError
    """
    sounds = {name: _sound(slakh, part, recipe["frames"]) for name, part in recipe["files"].items()}
    whole = quantise(sounds)
    with written_whole(folder) as part:
        part.mkdir()
        for name, waveform in whole.items():
            stereo = audio.fit_channels(waveform, CHANNELS)
            audio.write(part / f"{name}{SUFFIX}", stereo, audio.SAMPLE_RATE)
        (part / RECIPE).write_text(_text(recipe), encoding="utf-8")


def _sound(slakh, part, frames):
    """What one entry of a recipe sounds like: float32, shape (frames, 1 or 2)."""
    if not part["stems"]:
        return np.zeros((frames, 1), np.float32)
    waveform = stems_sum(slakh, part["stems"])
    if "offset" in part:
        looped = np.resize(np.roll(waveform, -part["offset"], axis=0), (frames, waveform.shape[1]))
        return looped * np.float32(audio.to_gain(part["gain_db"]))
    return audio.fit_length(waveform, frames)


def stems_sum(slakh, paths):
    """The sum of stems at 44.1 kHz; float32, shape (n_samples, n_channels). Mono stays mono: Slakh's stems all are."""
    waveforms = []
    for path in paths:
        waveform, sample_rate = audio.read(slakh / path)
        waveforms.append(audio.resample(waveform, sample_rate, audio.SAMPLE_RATE))
    frames, channels = (max(waveform.shape[axis] for waveform in waveforms) for axis in (0, 1))
    # 16-bit samples as float32 are added exactly, up to 256 stems.
    return sum(audio.fit_channels(audio.fit_length(waveform, frames), channels) for waveform in waveforms)


def quantise(sounds):
    """Bring a song's files to 16 bit with one gain for all, and add their mix.

    Parameters
    ----------
    sounds : dict of str to np.ndarray, shape=(n_samples, 1 or 2), float

    Returns
    -------
    dict of str to np.ndarray, shape=(n_samples, 1 or 2), int16
        `mix`, the exact integer sum of all others, and then those. None is louder than -1 dBFS.
    """
    channels = max(waveform.shape[1] for waveform in sounds.values())
    sounds = {name: audio.fit_channels(waveform, channels) for name, waveform in sounds.items()}
    peak = max(float(np.abs(waveform).max(initial=0)) for waveform in (sum(sounds.values()), *sounds.values()))
    # Rounding moves each file by half a step at most, so their sum by less than their number of steps.
    limit = (math.floor(audio.to_gain(audio.PEAK_DB) * audio.INT16_SCALE) - len(sounds)) / audio.INT16_SCALE
    gain = np.float32(min(1.0, limit / peak) if peak else 1.0)
    files = {name: audio.to_int16(waveform * gain) for name, waveform in sounds.items()}
    total = sum(waveform.astype(np.int32) for waveform in files.values())
    return {MIX: total.astype(np.int16), **files}


def heard_seconds(slakh, paths):
    """Listen to stems of one instrument, and say in which seconds it plays.

    Returns
    -------
    frames : int
        Length at 44.1 kHz.
    heard : np.ndarray, shape=(n_seconds,), bool
        All False when the stems are silent.

    Raises
    ------
    AudioError, MissingError
        When a stem cannot be read to its end.
    """
    waveform = stems_sum(slakh, paths).mean(axis=1)
    seconds = max(1, math.ceil(len(waveform) / audio.SAMPLE_RATE))
    padded = np.pad(waveform, (0, seconds * audio.SAMPLE_RATE - len(waveform)))
    level = np.sqrt(np.mean(np.square(padded.reshape(seconds, audio.SAMPLE_RATE)), axis=1))
    return len(waveform), level > level.max() * audio.to_gain(HEARD_DB)


def local_message(error, slakh):
    """An error's message without the place of the data set, for tables that must not differ between machines."""
    return str(error).replace(f"{slakh}{os.sep}", "")


def check(folder, names):
    """Verify a song's folder: 44.1 kHz, 2 channels, equal lengths, the mix the exact sum, no peak above -1 dBFS.

    Parameters
    ----------
    folder : Path
    names : sequence of str
        The files it must have besides the mix.

    Returns
    -------
    dict
        `seconds`, `peak_db`, and `note`: what is wrong, "" when nothing is.
    """
    total, peak, mix = None, 0, None
    for name in (MIX, *names):
        try:
            waveform, sample_rate = audio.read(folder / f"{name}{SUFFIX}", dtype="int16")
        except (AudioError, MissingError) as error:
            return _verdict(0, 0, str(error))
        if sample_rate != audio.SAMPLE_RATE or waveform.shape[1] != CHANNELS:
            return _verdict(0, 0, f"{name}: {sample_rate} Hz, {waveform.shape[1]} channels")
        if mix is None:
            mix, total = waveform, np.zeros(waveform.shape, np.int32)
        elif len(waveform) != len(mix):
            return _verdict(0, 0, f"{name}: {len(waveform)} samples, the mix has {len(mix)}")
        else:
            total += waveform
        peak = max(peak, int(np.abs(waveform.astype(np.int32)).max(initial=0)))
    wrong = [] if np.array_equal(total, mix) else ["the mix is not the sum of the other files"]
    if peak > audio.to_gain(audio.PEAK_DB) * audio.INT16_SCALE:
        wrong.append("a peak above -1 dBFS")
    return _verdict(len(mix) / audio.SAMPLE_RATE, peak, "; ".join(wrong))


def _verdict(seconds, peak, note):
    return {
        "seconds": round(seconds, 3),
        "peak_db": round(float(audio.to_db(peak / audio.INT16_SCALE)), 2),
        "note": note,
    }
