"""How good a separation is, in one figure per instrument. Used by notebook 05, when the true instruments are known.

**SI-SDR**, the scale-invariant signal-to-distortion ratio (Le Roux, Wisdom, Erdogan and Hershey, "SDR: half-baked or
well done?", ICASSP 2019), in dB. The estimate `e` is split into the part that points along the reference `s` and the
rest: with `a = <e, s> / <s, s>`, the target is `a s`, the distortion is `e - a s`, and

    SI-SDR = 10 log10(|a s|^2 / |e - a s|^2)

Because `a` is fitted, an estimate that is merely too loud or too soft is not punished; everything else is: other
instruments that leak in, holes, artefacts, a delay of a few samples. More is better; 0 dB means as much distortion as
instrument. Conventions where the definition leaves room:

- The channels of a stereo signal are scored together, as one long vector: one `a` for both. Panning an instrument to
  the wrong side therefore costs. The mean is not subtracted, as music has none to speak of.
- A **silent reference** has no SI-SDR (nothing can be fitted to it): `nan`, and averages should leave it out.
- A silent estimate of a sounding instrument, or one with nothing of it, is the worst possible: `-inf`.
- A perfect estimate is the best possible: `inf`, or some 300 dB where rounding leaves a trace.

The figure alone says little: a loud instrument scores well even in the untouched mix. What a model has learned is the
**improvement**, the estimate's SI-SDR minus the SI-SDR of the mix taken as if it were the estimate (`score`).
The SDR, SIR and SAR of BSS Eval are other measures: their numbers do not compare with these.
"""

import numpy as np
import pandas as pd

from muscomp_lib import audio
from muscomp_lib.audio import stft
from muscomp_lib.core.errors import AudioError, SettingError


def si_sdr(reference, estimate):
    """Scale-invariant signal-to-distortion ratio of an estimate.

    Parameters
    ----------
    reference, estimate : np.ndarray, shape=(n_samples, n_channels) or (n_samples,)
        Waveforms of equal shape; any scale.

    Returns
    -------
    float
        dB; `nan` for a silent reference, `-inf` for an estimate with nothing of the reference, `inf` for a perfect one.

    Raises
    ------
    AudioError
        When the shapes differ, there are no samples, or a value is not finite.
    """
    reference, estimate = _checked("reference", reference), _checked("estimate", estimate)
    if reference.shape != estimate.shape:
        raise AudioError(
            f"The reference has shape {reference.shape} and the estimate {estimate.shape}. "
            "Bring both to the same length and number of channels (audio.fit_length, audio.fit_channels)."
        )
    s, e = reference.ravel(), estimate.ravel()
    reference_energy = np.dot(s, s)
    if reference_energy == 0:
        return float("nan")
    target = (np.dot(e, s) / reference_energy) * s
    return _ratio_db(np.dot(target, target), np.sum((e - target) ** 2))


def _ratio_db(target_energy, distortion_energy):
    if target_energy == 0:
        return float("-inf")
    with np.errstate(divide="ignore"):
        return float(10 * (np.log10(target_energy) - np.log10(distortion_energy)))


def _checked(what, waveform):
    """The waveform as float64: sums over millions of samples need the precision."""
    waveform = np.asarray(waveform, dtype=np.float64)
    if waveform.ndim not in (1, 2) or waveform.size == 0:
        raise AudioError(f"The {what} has shape {waveform.shape}. Give (n_samples, n_channels), with samples in it.")
    if not np.isfinite(waveform).all():
        first = tuple(int(i) for i in np.argwhere(~np.isfinite(waveform))[0])
        raise AudioError(f"The {what} holds {waveform[first]} at sample {first[0]}. Only finite samples can be scored.")
    return waveform


def score(references, estimates, mix):
    """Score every instrument whose truth is known, and the mix itself in its place.

    Parameters
    ----------
    references, estimates : dict of str to np.ndarray, shape=(n_samples, n_channels)
        {instrument: waveform}. Every reference needs its estimate; further estimates are not scored.
    mix : np.ndarray, shape=(n_samples, n_channels)

    Returns
    -------
    pandas.DataFrame
        One row per reference, in order: `instrument, si_sdr_mix, si_sdr_estimate, improvement`, in dB; all `nan` where
        the instrument is silent in this song.

    Raises
    ------
    SettingError
        When a reference has no estimate.
    AudioError
        When shapes differ or samples are not finite, naming the instrument.
    """
    missing = [name for name in references if name not in estimates]
    if missing:
        raise SettingError(f"There is no estimate of {', '.join(missing)}; there is {', '.join(estimates) or 'none'}.")
    rows = [_scored(name, reference, estimates[name], mix) for name, reference in references.items()]
    return pd.DataFrame(rows, columns=["instrument", "si_sdr_mix", "si_sdr_estimate", "improvement"])


def _scored(name, reference, estimate, mix):
    try:
        of_mix, of_estimate = si_sdr(reference, mix), si_sdr(reference, estimate)
    except AudioError as error:
        raise AudioError(f"{name}: {error}") from error
    improvement = 0.0 if of_estimate == of_mix else of_estimate - of_mix  # equal infinities have no difference
    return name, of_mix, of_estimate, improvement


def ideal_estimates(references, frame_length, frame_step):
    """What the ideal ratio mask would give: the best that a mask with the mix's phases can hope for, nearly.

    Each point of the mix's spectrogram is shared out as the true magnitudes are.

    Parameters
    ----------
    references : dict of str to np.ndarray, shape=(n_samples, n_channels)
        All instruments; their sum is the mix. One with fewer channels is spread to the most that any has.
    frame_length, frame_step : int
        Samples.

    Returns
    -------
    dict of str to np.ndarray, shape=(n_samples, n_channels), float32
    """
    n_channels = max(reference.shape[1] for reference in references.values())

    def spectrum(reference):  # taken twice: thirteen spectrograms at once would fill the memory
        return stft.stft(audio.fit_channels(reference, n_channels), frame_length, frame_step)

    mix = sum(map(spectrum, references.values()))
    whole = sum(np.abs(spectrum(reference)) for reference in references.values()) + np.float32(1e-9)
    return {
        name: stft.istft(mix * (np.abs(spectrum(reference)) / whole), len(reference), frame_length, frame_step)
        for name, reference in references.items()
    }


def share_closed(mix, estimate, ideal):
    """How much of the way from the untouched mix to the ideal mask an estimate has gone: 0 is none, 1 is all.

    All three in dB of SI-SDR. Taken of means over instruments, it does not hang on the one with the shortest way.
    """
    return (estimate - mix) / (ideal - mix)


def confusion(references, masks, frame_length, frame_step):
    """Where each instrument ends up: the share of its energy that each mask lets through.

    Parameters
    ----------
    references : dict of str to np.ndarray, shape=(n_samples, n_channels)
        Those that sound.
    masks : dict of str to np.ndarray, shape=(n_frames, n_bins)
        As `Separator.masks` gives them for their sum.
    frame_length, frame_step : int
        Samples.

    Returns
    -------
    pandas.DataFrame
        A row per reference, a column per mask; each row is divided by its sum.
    """
    rows = {}
    for name, reference in references.items():
        energy = (np.abs(stft.stft(reference, frame_length, frame_step)) ** 2).sum(axis=2)
        heard = [float((mask[: len(energy)] ** 2 * energy).sum()) for mask in masks.values()]
        rows[name] = np.array(heard) / max(sum(heard), 1e-12)
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(masks))


def as_metrics(table):
    """A table of `score` as JSON can hold it: {instrument: {"mix": dB, "estimate": dB}}, None where not finite."""
    return {
        row.instrument: {"mix": _finite(row.si_sdr_mix), "estimate": _finite(row.si_sdr_estimate)}
        for row in table.itertuples()
    }


def _finite(db):
    return round(float(db), 2) if np.isfinite(db) else None
