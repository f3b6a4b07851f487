"""Training examples that a GPU makes itself, of songs that all stay in its memory. Used by 04 where Keras runs on JAX.

A GPU trains faster than processors can read and transform sound. So every instrument of every song is put into its
memory once, as 16-bit mono, and one compiled function draws, tunes, equalises, mixes and transforms a whole batch.
The examples are those of batches.py, from which the numbers come, but for this:

- Every example draws for itself: there are no parts that share a draw, and no uses of an excerpt in several mixes.
- How many instruments are left out differs from one example to the next, so that some have a single one.
- Tuning is by interpolation between samples.
- The mix is the sum of its parts; one that was mastered is not read.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from muscomp_lib import audio
from muscomp_lib.core.errors import SettingError
from muscomp_lib.core.progress import bar, size
from muscomp_lib.dataset import library
from muscomp_lib.dataset.song_table import READERS
from muscomp_lib.models.config import covers_mix
from muscomp_lib.training import batches
from muscomp_lib.training.batches import DRAWS, EQ_DB, EQ_POINTS, GAIN_DB, REST, TOGETHER, TUNING

ABSENT = (0.2, 0.95)  # chance that an instrument is left out of a remix: drawn from this range for each example
LEAST = round(batches.AUDIBLE * audio.INT16_SCALE)  # of samples that count as sound
BLOCK = 8192  # samples, of each of which it is known whether it is silent
MOST_SAMPLES = 2**31 - 1  # of an instrument: XLA counts elements of an array in 32 bits
BYTES = 2  # of a sample
MEMORY_SHARE = 0.5  # of the device's, for songs


class Sounds(NamedTuple):
    """All that is there of an instrument, in the device's memory; row 0 is silence.

    waveforms : shape=(n_rows, n_samples), int16
        One row per song that has it, with silence behind shorter songs.
    lengths : shape=(n_rows,), int32
        Samples.
    sounding : shape=(n_rows, n_blocks + 1), int32
        How many blocks before each are not silent.
    of_song : shape=(n_songs,), int32
        Each song's row.
    """

    waveforms: Any
    lengths: Any
    sounding: Any
    of_song: Any


class ResidentExamples:
    """Batches of training examples by number, as `batches.Examples`; arrays are JAX's.

    Parameters
    ----------
    songs : list of Song
    config : dict
        A training configuration.
    n_channels : int
        1: networks with a mask for each channel are not trained this way.
    remix : bool

    Raises
    ------
    SettingError
        For two channels, and where the songs do not fit into the device's memory.
    """

    def __init__(self, songs, config, n_channels, remix):
        import jax

        if n_channels != 1:
            raise SettingError(
                f"{config['model']['type']} has a mask for each channel and trains on TensorFlow only. Unset "
                "KERAS_BACKEND, or take muscomp.shared_unet."
            )
        self.songs, self.n_frames = songs, config["muscomp"]["crop_frames"]
        self._seed = config["random_seed"]
        names = [*config["instrument_list"], *([] if covers_mix(config) else [REST])]
        n_samples = max(song.n_samples for song in songs) + 2 * batches.n_samples(config)  # excerpts may begin anywhere
        _check_memory(len(songs), n_samples, len(names), jax.local_devices()[0])
        sounds = tuple(jax.device_put(each) for each in _read(songs, names, n_samples))
        self._make = partial(jax.jit(_maker(config, remix)), sounds)

    def share(self, worker, n_workers):
        """As `batches.Examples.share`: one process trains alone."""
        return self

    def batch(self, number):
        """Batch `number`: as `batches.Examples.batch`, in the device's memory."""
        import jax

        return self._make(jax.random.fold_in(jax.random.key(self._seed), number))


# ---- reading ----


def _check_memory(n_songs, n_samples, n_instruments, device):
    """Make sure that songs of so many samples fit into the device, even if all instruments play in all of them."""
    less = "Train on fewer songs, or unset KERAS_BACKEND."
    if n_samples * (n_songs + 1) > MOST_SAMPLES:
        raise SettingError(
            f"{n_songs} songs of up to {n_samples} samples are more than the {MOST_SAMPLES} samples that an "
            f"instrument may have on a device. {less}"
        )
    limit = MEMORY_SHARE * (device.memory_stats() or {}).get("bytes_limit", math.inf)
    needed = BYTES * n_samples * n_songs * n_instruments
    if needed > limit:
        raise SettingError(
            f"{n_songs} songs may take {size(needed)} of this device's memory, of which {size(limit)} are for songs. "
            f"{less}"
        )


def _read(songs, names, n_samples):
    """What there is of each instrument: list of Sounds, in NumPy arrays with rows of `n_samples`."""
    read = []
    with ThreadPoolExecutor(READERS) as pool:
        for name in bar(names, desc="reading songs", unit="instrument"):
            found = list(pool.map(partial(_waveform, name), songs))
            sounding = [number for number, waveform in enumerate(found) if np.abs(waveform).max(initial=0) > LEAST]
            waveforms = np.zeros((1 + len(sounding), n_samples), np.int16)
            lengths, of_song = np.zeros(len(waveforms), np.int32), np.zeros(len(songs), np.int32)
            for row, number in enumerate(sounding, start=1):
                waveforms[row, : len(found[number])] = found[number]
                lengths[row], of_song[number] = len(found[number]), row
            read.append(Sounds(waveforms, lengths, _sounding(waveforms), of_song))
    return read


def _waveform(name, song):
    """An instrument of a song, or what its mix has beyond all of them: (n_samples,), int16."""
    if name != REST:
        return _mono(song.files[name])
    total = sum(_mono(file).astype(np.int32) for file in song.files.values())
    return (_mono(song.mix) - total).clip(-audio.INT16_SCALE, audio.INT16_SCALE - 1).astype(np.int16)


def _mono(file):
    waveform, _ = library.read(file, dtype="int16")
    return audio.fit_channels(waveform, 1)[:, 0]


def _sounding(waveforms):
    n_blocks = waveforms.shape[1] // BLOCK
    loudest = np.abs(waveforms[:, : n_blocks * BLOCK].reshape(len(waveforms), n_blocks, BLOCK)).max(axis=2)
    return np.pad(np.cumsum(loudest > LEAST, axis=1, dtype=np.int32), ((0, 0), (1, 0)))


# ---- drawing, on the device ----


def _maker(config, remix):
    """A function from all Sounds and a random key to a batch: (mix, instruments)."""
    import jax
    import jax.numpy as jnp

    n_samples, n_targets, batch = batches.n_samples(config), len(config["instrument_list"]), config["batch_size"]
    places = batches.octaves(config["F"]), np.linspace(0, 1, EQ_POINTS)
    hats = np.stack([np.interp(*places, one) for one in np.eye(EQ_POINTS)])

    def make(sounds, key):
        songs, draws, levels = jax.random.split(key, 3)  # few calls: each is a large program to compile
        ours = jax.random.uniform(songs, (4, batch))
        theirs = jax.random.uniform(draws, (len(sounds), 2 * DRAWS + 2, batch))
        levels = jax.random.normal(levels, (len(sounds), batch, 1 + EQ_POINTS))
        together = (ours[0] < TOGETHER) | (not remix)
        absent = ABSENT[0] + (ABSENT[1] - ABSENT[0]) * ours[1]
        song = (ours[2] * len(sounds[0].of_song)).astype(jnp.int32)
        length = jnp.max(jnp.stack([each.lengths[each.of_song[song]] for each in sounds]), axis=0)
        start = _place(ours[3], length, n_samples)
        parts, gains = [], []
        for each, random, level in zip(sounds, theirs, levels, strict=True):
            row, place = _audible(each, random[:DRAWS], random[DRAWS : 2 * DRAWS], n_samples)
            row, place = jnp.where(together, each.of_song[song], row), jnp.where(together, start, place)
            speed = jnp.where(together, 1.0, 2.0 ** ((2 * random[-1] - 1) * TUNING / 12))
            parts.append(_excerpts(each.waveforms, row, place, speed, n_samples))
            equalised = (
                10 ** ((GAIN_DB * level[:, :1] + EQ_DB * level[:, 1:] @ hats) / 20) * (random[-2] >= absent)[:, None]
            )
            gains.append(jnp.where(together[:, None], 1.0, equalised))
        spectra = _spectrograms(jnp.stack(parts), config) * jnp.stack(gains)[:, :, None]
        mix, instruments = jnp.abs(spectra.sum(axis=0)), jnp.abs(spectra[:n_targets])
        return mix[..., None], jnp.moveaxis(instruments, 0, -1)[:, :, :, None]

    return make


def _place(random, lengths, n_samples):
    """Starts of excerpts, of numbers from 0 to 1."""
    import jax.numpy as jnp

    return (random * jnp.maximum(1, lengths - n_samples)).astype(jnp.int32)


def _audible(sounds, which, where, n_samples):
    """Rows and starts, (batch,), where the instrument sounds: the first such of several, of numbers from 0 to 1."""
    import jax.numpy as jnp

    n_rows = len(sounds.lengths)
    first_row = min(1, n_rows - 1)
    rows = first_row + (which * (n_rows - first_row)).astype(jnp.int32)
    starts = _place(where, sounds.lengths[rows], n_samples)
    first, last = starts // BLOCK, (starts + n_samples) // BLOCK
    best = jnp.argmax(sounds.sounding[rows, last] > sounds.sounding[rows, first], axis=0)
    chosen = best, jnp.arange(which.shape[1])
    return rows[chosen], starts[chosen]


def _excerpts(waveforms, rows, starts, speed, n_samples):
    """Excerpts played at a speed: shape (batch, n_samples), float32; cubic between samples (Catmull-Rom)."""
    import jax
    import jax.numpy as jnp

    longest = math.ceil(n_samples * 2 ** (TUNING / 12)) + 4
    begins = jnp.maximum(starts - 1, 0)
    cut = jax.vmap(lambda row, begin: jax.lax.dynamic_slice(waveforms, (row, begin), (1, longest))[0])(rows, begins)
    at = jnp.arange(n_samples) + (starts - begins)[:, None]
    ahead = jnp.arange(n_samples) * (speed - 1)[:, None]  # alone: 32 bits do not hold fractions of large numbers
    before = at + jnp.floor(ahead).astype(jnp.int32)
    x = ahead - jnp.floor(ahead)
    left, here, right, after = (
        jnp.take_along_axis(cut, jnp.clip(before + k, 0, longest - 1), axis=1).astype(jnp.float32)
        for k in (-1, 0, 1, 2)
    )
    slope = right - left
    bend = 2 * left - 5 * here + 4 * right - after
    twist = 3 * (here - right) + after - left
    return (here + 0.5 * x * (slope + x * (bend + x * twist))) / audio.INT16_SCALE


def _spectrograms(waveforms, config):
    """Shape (.., n_samples) to (.., T, F), complex64."""
    import jax.numpy as jnp

    length, step, n_frames = config["frame_length"], config["frame_step"], config["muscomp"]["crop_frames"]
    hops = waveforms.reshape(*waveforms.shape[:-1], -1, step)
    frames = [hops[..., first : first + n_frames, :] for first in range(length // step)]
    window = np.hanning(length + 1)[:-1].astype(np.float32)
    return jnp.fft.rfft(jnp.concatenate(frames, axis=-1) * window)[..., : config["F"]]
