"""The transcriber's training examples, drawn, augmented and analysed on the device that trains, by JAX (resident.py).

They are those of batches.py, from which the numbers come, but for this:

- An excerpt has its own context in the song to either side.
- What bleeds into an example is another one of the batch.
- Each instrument has the same number of examples in every batch, and the same share of them is separated.
"""

from typing import NamedTuple

import jax
import numpy as np
from jax import lax, random
from jax import numpy as jnp

from muscomp_lib import audio
from muscomp_lib.core.errors import SettingError
from muscomp_lib.training.resident import MOST_SAMPLES
from muscomp_lib.transcription import batches, cqt, network
from muscomp_lib.transcription.cqt import BINS_PER_SEMITONE, FRAME_SECONDS, HOP, N_BINS, N_PITCHES, WINDOWS

MARGIN = max(WINDOWS) // 2  # samples of silence before a stem, and of context before an excerpt
AFTER, ACTIVE, VELOCITY = range(3)  # channels of a piano roll
STEPS = 254  # within a frame, in which the time of an onset is kept
EDGE = 1  # frames of a piano roll before a stem, and after it


class Stems(NamedTuple):
    """All stems of an instrument, as they lie on the device; one in a row, those of separated songs last.

    sound : shape=(n_stems, n_samples), int16
        At `cqt.SAMPLE_RATE`, `MARGIN` of silence before and after.
    notes : shape=(n_stems, n_frames + 2 EDGE, N_PITCHES, 3), uint8
        Piano rolls: where an onset lies in a frame (0: none; from 1 to STEPS + 1), whether the note is active, and its
        velocity over 255.
    audible : shape=(n_stems, n_frames + 1), int32
        The number of frames before this one that are not silent.
    loudness : shape=(n_stems,), float32
        The `cqt.loudness` of each; 1 for silence.
    n_frames : shape=(n_stems,), int32
        The length of each.
    """

    sound: jax.Array
    notes: jax.Array
    audible: jax.Array
    loudness: jax.Array
    n_frames: jax.Array


class Kind(NamedTuple):
    """The stems of an instrument: its number, whether they are drums, how many are recorded, and how many in all."""

    number: int
    is_drums: bool
    n_recorded: int
    n_stems: int


def empty(n_stems, n_frames):
    """`Stems` to be filled.

    Raises
    ------
    SettingError
        They are too many for one array.
    """
    n_samples = (n_frames + 1) * HOP + 2 * MARGIN
    if n_stems * n_samples > MOST_SAMPLES:
        raise SettingError(
            f"{n_stems} stems of one instrument, as long as the longest, {n_frames * FRAME_SECONDS:.0f} s, have more "
            f"than {MOST_SAMPLES} samples, which an array may have here. Train on fewer songs, or on shorter ones."
        )
    return Stems(
        np.zeros((n_stems, n_samples), np.int16),
        np.zeros((n_stems, n_frames + 2 * EDGE, N_PITCHES, 3), np.uint8),
        np.zeros((n_stems, n_frames + 1), np.int32),
        np.ones(n_stems, np.float32),
        np.zeros(n_stems, np.int32),
    )


def fill(stems, number, sound, loudness, notes, is_drums):
    """Put a stem into `empty` ones.

    Parameters
    ----------
    stems : Stems
    number : int
        The row.
    sound : np.ndarray, shape=(n_samples,), int16
    loudness : float
        Its `cqt.loudness`.
    notes : np.ndarray, shape=(n_notes, 4)
        As `batches.Part.notes` has them.
    is_drums : bool
    """
    n_frames = stems.audible.shape[1] - 1
    sound = sound[: n_frames * HOP]
    stems.sound[number, MARGIN : MARGIN + len(sound)] = sound
    loud = np.zeros(n_frames * HOP, bool)
    loud[: len(sound)] = np.abs(sound.astype(np.int32)) > batches.AUDIBLE * audio.INT16_SCALE
    stems.audible[number, 1:] = np.cumsum(loud.reshape(n_frames, HOP).any(axis=1))
    _fill_roll(stems.notes[number, EDGE:-EDGE], notes, is_drums)
    stems.loudness[number] = loudness or 1.0
    stems.n_frames[number] = min(n_frames, len(sound) // HOP)


def _fill_roll(roll, notes, is_drums):
    """Write notes into a piano roll, shape (n_frames, N_PITCHES, 3)."""
    for start, end, pitch, velocity in notes:
        row = network.pitch_row(int(pitch), is_drums)
        first, last = start / FRAME_SECONDS, end / FRAME_SECONDS
        if row is None or int(first) >= len(roll):
            continue
        if not is_drums:  # a drum hit has no end
            roll[round(first) : round(last), row, ACTIVE] = 1
        roll[int(first), row, AFTER] = 1 + round(STEPS * (first % 1))
        roll[int(first), row, VELOCITY] = round(255 * velocity)


def maker(kinds, shares, config, augment):
    """What makes a batch from `Stems` of each of `kinds`, of which it has so many, and a random key."""
    n_frames, n = config["n_frames"], sum(shares)
    number, is_drums = (np.repeat([kind[field] for kind in kinds], shares) for field in (0, 1))

    def make(stems, key):
        keys = random.split(key, 8)
        chances = jnp.split(random.uniform(keys[7], (n, 2 + batches.DRAWS)), np.cumsum(shares)[:-1])
        drawn = [_excerpts(*each, n_frames) for each in zip(stems, kinds, chances, strict=True)]
        sound, notes, within, loudness = (jnp.concatenate(parts) for parts in zip(*drawn, strict=True))
        gain, semitones = jnp.zeros(n), jnp.zeros(n, int)
        named = jax.nn.one_hot(number, len(config["instrument_list"]))
        if augment:
            sound = _add_bleed(sound, keys[0])
            gain = batches.LEVEL_DB * random.normal(keys[1], (n,))
            semitones = random.randint(keys[2], (n,), -batches.TRANSPOSE, batches.TRANSPOSE + 1)
            named = named * (random.uniform(keys[3], (n, 1)) >= batches.UNNAMED)
        magnitudes = constant_q(sound, n_frames)
        loud = loudness / _to_gain(gain)
        if augment:
            magnitudes = _random_eq(_mask_bands(magnitudes, keys[4]), keys[5])
            magnitudes = _add_octave(magnitudes, ~is_drums, keys[6])
        shifted = jax.vmap(_transpose)(levels(magnitudes, loud), semitones * BINS_PER_SEMITONE)
        shifts = jnp.where(is_drums, 0, semitones)
        return [shifted, named], jax.vmap(labels)(notes, within, shifts, 10 ** (gain / batches.VELOCITY_DB))

    return make


def _excerpts(stems, kind, chances, n_frames):
    """An instrument's examples of a batch.

    Parameters
    ----------
    stems : Stems
    kind : Kind
    chances : shape=(n, 2 + batches.DRAWS), float32
        Random numbers below 1: for each example its stem, its place within a frame, and frames to begin with, of which
        the first is taken where the stem sounds.
    n_frames : int

    Returns
    -------
    sound : shape=(n, (n_frames - 1) * HOP + 2 * MARGIN), float32
    notes : shape=(n, n_frames + 2, N_PITCHES, 3), uint8
        Piano rolls, from a frame before to a frame after.
    within : shape=(n,), float32
        Where in a frame of the piano roll an excerpt begins, from 0 to 1.
    loudness : shape=(n,), float32
        Of the whole stems.
    """
    n = len(chances)
    n_recorded = n if kind.n_stems == kind.n_recorded else n - round(batches.SEPARATED_SHARE * n)
    of_separated = np.arange(n) >= n_recorded
    low, high = np.where(of_separated, kind.n_recorded, 0), np.where(of_separated, kind.n_stems, kind.n_recorded)
    row, offset = _chosen(chances[:, 0], low, high), _chosen(chances[:, 1], 0, HOP)
    starts = _chosen(chances[:, 2:].T, 0, jnp.maximum(stems.n_frames[row] - n_frames, 1))
    sounding = stems.audible[row, jnp.minimum(starts + n_frames, stems.n_frames[row])] > stems.audible[row, starts]
    start = jnp.take_along_axis(starts, jnp.argmax(sounding, axis=0)[None], axis=0)[0]
    length = (n_frames - 1) * HOP + 2 * MARGIN
    sound = jax.vmap(lambda r, s: lax.dynamic_slice(stems.sound, (r, s), (1, length))[0])(row, start * HOP + offset)
    size = (1, n_frames + 2 * EDGE, N_PITCHES, 3)
    notes = jax.vmap(lambda r, s: lax.dynamic_slice(stems.notes, (r, s, 0, 0), size)[0])(row, start)
    return sound.astype(jnp.float32) / audio.INT16_SCALE, notes, offset / HOP, stems.loudness[row]


def _chosen(chance, low, high):
    """The integer from `low` to below `high` that a random number below 1 stands for."""
    return jnp.minimum(low + (chance * (high - low)).astype(int), high - 1)


def constant_q(sound, n_frames):
    """`cqt.magnitudes` of excerpts as `_excerpts` gives them: shape (n, n_frames, N_BINS, len(WINDOWS))."""
    found = []
    for length in WINDOWS:
        begin = MARGIN - length // 2
        padded = sound[:, begin : begin + (n_frames - 1) * HOP + length].reshape(len(sound), -1, HOP)
        parts = [padded[:, part : part + n_frames] for part in range(length // HOP)]
        window = (np.hanning(length + 1)[:-1] * 4 / length).astype(np.float32)
        spectra = jnp.abs(jnp.fft.rfft(jnp.concatenate(parts, axis=-1) * window))
        found.append(spectra @ cqt.filters(length).toarray().T)
    return jnp.stack(found, axis=-1)


def levels(magnitudes, loud):
    """`cqt.levels` of a batch with a loudness each."""
    return 20 * jnp.log10(magnitudes / loud[:, None, None, None] + cqt.FLOOR) / 30 + 1


def labels(notes, within, semitones, velocity_gain):
    """`batches._labels` from one excerpt's piano roll, as `_excerpts` gives it: (n_frames, N_PITCHES, 3), float32."""
    notes = lax.dynamic_slice_in_dim(
        jnp.pad(notes, ((0, 0), (batches.TRANSPOSE, batches.TRANSPOSE), (0, 0))),
        batches.TRANSPOSE - semitones, N_PITCHES, axis=1,
    )  # fmt: skip
    after = (notes[..., AFTER].astype(jnp.float32) - 1) / STEPS - within
    n_frames, onset, velocity = len(notes) - 2 * EDGE, 0.0, 0.0
    for frame in range(2 * EDGE + 1):  # an onset in the frame before, in this one, in the next
        near = jnp.maximum(1 - jnp.abs(frame - EDGE + after[frame : frame + n_frames]), 0)
        its = jnp.where(notes[frame : frame + n_frames, :, AFTER] > 0, near, 0)
        velocity = jnp.where(its > onset, notes[frame : frame + n_frames, :, VELOCITY] / 255, velocity)
        onset = jnp.maximum(onset, its)
    active = lax.dynamic_slice_in_dim(notes[..., ACTIVE], EDGE + jnp.rint(within).astype(int), n_frames)
    active = active.astype(jnp.float32)
    return jnp.stack([onset, active, jnp.clip(velocity * velocity_gain, 0, 1)], axis=-1)


def _add_bleed(sound, key):
    """As `batches.Examples._add_bleed`: another example of the batch, and noise, at random."""
    n, keys = len(sound), random.split(key, 6)
    level = _rms(sound)
    other = jnp.roll(sound, random.randint(keys[0], (), n // 3, n - n // 3), axis=0)
    bleed = other * level / _rms(other) * _sometimes(batches.BLEED, batches.BLEED_DB, n, keys[1], keys[2])
    noise = random.normal(keys[3], sound.shape) * level * _sometimes(batches.NOISE, batches.NOISE_DB, n, *keys[4:])
    return sound + bleed + noise


def _rms(sound):
    return jnp.sqrt(jnp.mean(sound**2, axis=1, keepdims=True)) + 1e-4


def _sometimes(probability, between, n, key, other):
    """A random gain, or 0: shape (n, 1)."""
    gain = _to_gain(random.uniform(other, (n, 1), minval=between[0], maxval=between[1]))
    return gain * (random.uniform(key, (n, 1)) < probability)


def _to_gain(db):
    return 10 ** (db / 20)


def _mask_bands(magnitudes, key):
    """As in batches.py."""
    n, n_frames, n_bins = magnitudes.shape[:3]
    keys = random.split(key, 3)
    shape = n, n_frames // batches.MASK_FRAMES + 1, n_bins // batches.MASK_BINS + 1
    depth = jnp.minimum(random.uniform(keys[0], shape, minval=-1), 0)
    depth = jnp.repeat(jnp.repeat(depth, batches.MASK_FRAMES, 1), batches.MASK_BINS, 2)[:, :n_frames, :n_bins, None]
    most = random.uniform(keys[1], (n, 1, 1, 1), minval=batches.MASK_DB[0], maxval=batches.MASK_DB[1])
    return magnitudes * _to_gain(depth * most * (random.uniform(keys[2], (n, 1, 1, 1)) < batches.MASK))


def _random_eq(magnitudes, key):
    """As in batches.py."""
    points = np.eye(batches.EQ_POINTS)
    places = np.linspace(0, 1, N_BINS), np.linspace(0, 1, batches.EQ_POINTS)
    shape = np.stack([np.interp(*places, point) for point in points]).astype(np.float32)
    gains = batches.EQ_DB * random.normal(key, (len(magnitudes), batches.EQ_POINTS)) @ shape
    return magnitudes * _to_gain(gains)[:, None, :, None]


def _add_octave(magnitudes, allowed, key):
    """The octave above at random, as from an organ's drawbar."""
    keys = random.split(key)
    gain = _sometimes(batches.OCTAVE, batches.OCTAVE_DB, len(magnitudes), *keys) * allowed[:, None]
    bins = 12 * BINS_PER_SEMITONE
    return magnitudes + jnp.pad(magnitudes[:, :, :-bins], ((0, 0), (0, 0), (bins, 0), (0, 0))) * gain[..., None, None]


def _transpose(its, bins):
    """Shift the levels of one excerpt up by some bins, or down; the edge is filled with the lowest."""
    most = batches.TRANSPOSE * BINS_PER_SEMITONE
    padded = jnp.pad(its, ((0, 0), (most, most), (0, 0)), constant_values=0) + its.min() * _edge(most)
    return lax.dynamic_slice_in_dim(padded, most - bins, N_BINS, axis=1)


def _edge(most):
    edge = np.ones((N_BINS + 2 * most, 1), np.float32)
    edge[most:-most] = 0
    return edge
