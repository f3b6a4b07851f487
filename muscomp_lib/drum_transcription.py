"""From the sound of a drum kit to its strokes. Used by notebook 05, through `transcription.py`.

Every **onset** is a stroke, or several at once. What its sound adds, band by band, is explained as a sum of four rough
shapes: kick (lowest), tom (low, with a tone), snare (middle, with noise over everything), cymbal (high). Which cymbal
it is, the way it dies away tells: a closed hi-hat at once, an open one in a quarter of a second, a crash or ride later.
Notes are those of General MIDI's drum channel.
"""

import itertools

import numpy as np

from muscomp_lib.pitch_transcription import SAMPLE_RATE, Note, peaks

KICK, SNARE, CLOSED_HAT, OPEN_HAT, CRASH, RIDE = 36, 38, 42, 46, 49, 51
TOMS = ((90, 45), (130, 47), (np.inf, 50))  # (highest frequency of its tone in Hz, note): low, middle, high
KIT = ("kick", "snare", "tom", "cymbal")

HOP, WINDOW = 256, 1024  # samples: 12 ms and 46 ms
EDGES = np.geomspace(40, 11000, 33)  # Hz: a quarter octave each
CENTRES = np.sqrt(EDGES[1:] * EDGES[:-1])
HIGH = CENTRES > 5000  # where cymbals sound alone
TONE = CENTRES < 400  # where drums have their tone

ONSET_RISE = 0.03  # of the strongest stroke
LEAD = 0.008  # seconds: the window sees a stroke a little late
LENGTH = 0.1  # seconds: a stroke's note; how long it rings is the instrument's affair
BEFORE, AFTER = 4, 12  # frames around a stroke that are looked at: 46 ms and 140 ms
ITERATIONS = 60

AUDIBLE = 0.15  # part of the kit's loud strokes below which a drum is leakage of another
KICK_AGAINST_SNARE, SNARE_AGAINST_KICK, SNARE_AGAINST_TOM, TOM_AGAINST_KICK = 0.5, 0.4, 0.5, 0.8
CYMBAL_IN_STROKE = 0.01  # part of the whole stroke
CLOSED, LONG = 0.5, 0.8  # what is left of a cymbal after 120 ms: less is a closed hat, more a crash or ride


def drum_notes(waveform):
    """The strokes of a drum kit.

    Parameters
    ----------
    waveform : np.ndarray, shape=(n_samples,), float32
        At `SAMPLE_RATE`.

    Returns
    -------
    list of Note
        Their pitches are General MIDI drum notes.
    """
    bands = _bands(waveform)
    frames = _strokes(bands)
    if not frames.size:
        return []
    rises = np.stack([_rise(bands, frame) for frame in frames], axis=1)
    amounts = _amounts(rises)
    drums = np.percentile(amounts[:3], 98)
    cymbals = np.percentile(amounts[3], 95)
    notes = []
    for frame, rise, amount in zip(frames, rises.T, amounts.T, strict=True):
        hits = _drums_hit(amount, rise, AUDIBLE * drums)
        if amount[3] > max(AUDIBLE * cymbals, CYMBAL_IN_STROKE * rise.sum()):
            hits.append((_cymbal(bands[:, frame - 1 : frame + AFTER]), amount[3]))
        start = max(0.0, float((frame - BEFORE) * HOP / SAMPLE_RATE - LEAD))
        notes += [Note(start, start + LENGTH, pitch, float(strength)) for pitch, strength in hits]
    return notes


def _bands(waveform):
    """Magnitude in each band: shape (n_bands, n_frames), silence added at both ends so that all strokes are seen."""
    import librosa

    padded = np.pad(waveform, (BEFORE * HOP, AFTER * HOP))
    magnitude = np.abs(librosa.stft(padded, n_fft=WINDOW, hop_length=HOP))
    hertz = np.fft.rfftfreq(WINDOW, 1 / SAMPLE_RATE)
    return np.stack([_band(magnitude, hertz, low, high) for low, high in itertools.pairwise(EDGES)])


def _band(magnitude, hertz, low, high):
    inside = (hertz >= low) & (hertz < high)
    if inside.any():
        return np.sqrt((magnitude[inside] ** 2).sum(axis=0))
    return magnitude[np.argmin(np.abs(hertz - low))] / 2  # narrower than a bin of the transform: a part of that bin


def _strokes(bands):
    """Frames in which something is struck, far enough from both ends to be looked at."""
    level = np.log1p(300 * bands / (bands.max() + 1e-12))
    flux = np.maximum(0, level[:, 2:] - level[:, :-2]).mean(axis=0)
    frames = peaks(flux, ONSET_RISE, reach=4) + 2
    return frames[(frames >= BEFORE) & (frames < bands.shape[1] - AFTER)]


def _rise(bands, frame):
    """What a stroke adds to each band."""
    return np.maximum(0, bands[:, frame - 1 : frame + 4].max(axis=1) - bands[:, frame - 4 : frame - 1].min(axis=1))


def _amounts(rises):
    """How much of each of the KIT's shapes is in each stroke: shape (4, n_strokes)."""
    shapes = _shapes()
    amounts = np.ones((len(KIT), rises.shape[1])) * rises.mean(axis=0)
    for _ in range(ITERATIONS):
        amounts *= shapes.T @ (rises / (shapes @ amounts + 1e-9))  # each shape sums to one
    return amounts


def _shapes():
    kick = _hump(65, 0.5) + 0.1 * _hump(120, 0.5) + 0.08 * _hump(3000, 1.5)  # with the click of the beater
    snare = _hump(200, 0.5) + 0.25 * _hump(3000, 1.5)  # head and wires
    tom = _hump(110, 0.5) + 0.3 * _hump(220, 0.5)
    cymbal = _hump(9000, 0.7)
    shapes = np.stack([kick, snare, tom, cymbal], axis=1)
    return shapes / shapes.sum(axis=0)


def _hump(hertz, octaves):
    """A bell over the bands, centred at `hertz`, `octaves` wide to either side."""
    return np.exp(-0.5 * (np.log2(CENTRES / hertz) / octaves) ** 2)


def _drums_hit(amount, rise, audible):
    """The kick, snare and tom notes in one stroke, as [(note, strength)]."""
    kick, snare, tom, _ = amount
    hits = []
    if kick > audible and kick > KICK_AGAINST_SNARE * snare:
        hits.append((KICK, kick))
    if snare > audible and snare > SNARE_AGAINST_KICK * kick and snare > SNARE_AGAINST_TOM * tom:
        hits.append((SNARE, snare))
    elif tom > audible and tom > TOM_AGAINST_KICK * kick:
        tone = CENTRES[TONE][np.argmax(rise[TONE])]
        hits.append((next(note for highest, note in TOMS if tone < highest), tom))
    return hits


def _cymbal(after):
    """Which cymbal: `after` holds the bands from just before the stroke, shape (n_bands, n_frames)."""
    high = after[HIGH].sum(axis=0)
    left = high[-2:].mean() / high[:5].max()
    if left < CLOSED:
        return CLOSED_HAT
    if left < LONG:
        return OPEN_HAT
    return CRASH if after[~HIGH & ~TONE].max() > after[HIGH].max() else RIDE
