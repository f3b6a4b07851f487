"""Training examples of the transcriber that a GPU makes itself, of stems that all stay in its memory. Used by 04 where
Keras runs on JAX.

A GPU trains faster than processors can read and analyse sound. So all stems, and their notes, are put into its memory
once, and one compiled function (device_examples.py) draws, augments and analyses a whole batch.
"""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np

from muscomp_lib import audio
from muscomp_lib.core import parallel
from muscomp_lib.core.errors import MidiError, MissingError
from muscomp_lib.core.progress import bar
from muscomp_lib.dataset import library
from muscomp_lib.transcription import batches, cqt
from muscomp_lib.transcription.note_decoder import to_mono

log = logging.getLogger(__name__)


class ResidentExamples:
    """Batches of training examples by number, as `batches.Examples`; arrays are JAX's.

    Parameters
    ----------
    pools, config, augment
        As for `batches.Examples`.

    Raises
    ------
    SettingError
        There are too many stems.
    """

    def __init__(self, pools, config, augment=True):
        import jax

        from muscomp_lib.transcription import device_examples

        recorded, separated = (_readable(pool) for pool in [*pools, []][:2])
        stems, kinds = [], []
        for number, name in enumerate(config["instrument_list"]):
            its, others = ([each for each in pool if each[0].instrument == name] for pool in (recorded, separated))
            if its:  # in the validation, one or another may be missing
                kinds.append(device_examples.Kind(number, its[0][0].is_drums, len(its), len(its) + len(others)))
                stems.append(jax.device_put(_stems([*its, *others], config["n_frames"])))
        self._key = jax.random.key(config["random_seed"])
        shares = _shares(kinds, config["batch_size"], config.get("drum_share", batches.DRUM_SHARE))
        make = device_examples.maker(kinds, shares, config, augment)
        self._make = partial(jax.jit(make), tuple(stems))

    def batch(self, number):
        """Batch `number`: as `batches.Examples.batch`, in the device's memory."""
        import jax

        return self._make(jax.random.fold_in(self._key, number))


def _readable(parts):
    """The parts whose MIDI files can be read, with their notes: [(Part, notes)]."""
    notes = parallel.each(_notes, [replace(part, audio=None) for part in parts], desc="reading notes")
    return [each for each in zip(parts, notes, strict=True) if each[1] is not None]


def _notes(part):
    try:
        return part.notes
    except (MidiError, MissingError) as error:
        log.warning("Left out of the training: %s", error)
        return None


def _shares(kinds, batch_size, drum_share):
    """How many examples of a batch each instrument has: list of int."""
    drums = np.array([kind.is_drums for kind in kinds])
    n_drums, n_others = max(drums.sum(), 1), max((~drums).sum(), 1)
    weights = np.where(drums, drum_share / n_drums, (1 - drum_share) / n_others)
    return np.diff(np.rint(np.r_[0, np.cumsum(weights)] / weights.sum() * batch_size)).astype(int).tolist()


def _stems(parts, n_frames):
    """The `device_examples.Stems` of an instrument, from its parts with their notes, for examples of `n_frames`."""
    from muscomp_lib.transcription.device_examples import empty, fill

    with ThreadPoolExecutor(parallel.cores()) as pool:
        named = {"total": len(parts), "desc": parts[0][0].instrument, "unit": "stem"}
        sounds = list(bar(pool.map(lambda part: _sound(part[0]), parts), **named))
    made = empty(len(parts), max(n_frames + 1, *(len(sound) // cqt.HOP for sound, _ in sounds)))
    for number, ((part, notes), (sound, loudness)) in enumerate(zip(parts, sounds, strict=True)):
        fill(made, number, sound, loudness, notes, part.is_drums)
    return made


def _sound(part):
    """A part's waveform at `cqt.SAMPLE_RATE`, shape (n_samples,), int16, and its `cqt.loudness`."""
    waveform, rate = library.read(part.audio)
    waveform = to_mono(waveform, rate)
    return audio.to_int16(waveform), cqt.loudness(cqt.magnitudes(waveform))
