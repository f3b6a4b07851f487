"""How good a separation is, in one figure per instrument. Used by notebooks 04 and 05, where references are known.

**SI-SDR**, the scale-invariant signal-to-distortion ratio (Le Roux, Wisdom, Erdogan and Hershey, "SDR: half-baked or
well done?", ICASSP 2019), in dB. The estimate `e` is split into its projection on the reference `s` and the rest: with
`a = <e, s> / <s, s>`, the target is `a s`, the distortion is `e - a s`, and

    SI-SDR = 10 log10(|a s|^2 / |e - a s|^2)

Because `a` is fitted, an estimate that is only too loud or too soft is not penalised. Everything else is: bleed from
other instruments, gaps, artefacts, a delay of a few samples. Higher is better; at 0 dB, distortion and target have the
same energy.

Conventions, where the definition leaves room:

- The channels of a stereo signal are scored together, as one long vector with one `a`, so panning an instrument to the
  wrong side costs. The mean is not subtracted, as music has practically none.
- A silent reference has no SI-SDR, as nothing can be fitted to it: `nan`. Averages should leave it out.
- A silent estimate of an instrument that plays, or one orthogonal to it, is the worst possible: `-inf`.
- A perfect estimate is the best possible: `inf`, or some 300 dB where rounding leaves a difference.

The figure alone says little: a loud instrument scores well even in the untouched mix. What a model adds is the
**improvement** (also called SI-SDRi): the estimate's SI-SDR minus the SI-SDR of the mix used as the estimate.

The SDR, SIR and SAR of BSS Eval (mir_eval, museval) are different measures: their figures are not comparable.
"""

import numpy as np
import pandas as pd

from muscomp_lib import audio
from muscomp_lib.audio import stft
from muscomp_lib.core.errors import AudioError, SettingError

EPSILON = 1e-9  # magnitude: keeps 0 / 0 out of the masks
SILENT = 1e-12  # energy below which an instrument counts as silent


def si_sdr(reference, estimate):
    """Scale-invariant signal-to-distortion ratio of an estimate.

    Parameters
    ----------
    reference, estimate : np.ndarray, shape=(n_samples, n_channels) or (n_samples,)
        Waveforms of equal shape; any scale.

    Returns
    -------
    float
        dB; `nan`, `-inf` and `inf` as in the conventions above.

    Raises
    ------
    AudioError
        The shapes differ, there are no samples, or a sample is NaN or infinite.
    """
    reference, estimate = _validate("reference", reference), _validate("estimate", estimate)
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


def _validate(what, waveform):
    """The waveform as float64: sums over millions of samples need the precision."""
    waveform = np.asarray(waveform, dtype=np.float64)
    if waveform.ndim not in (1, 2) or waveform.size == 0:
        raise AudioError(f"The {what} has shape {waveform.shape}. It must be (n_samples, n_channels), and not empty.")
    if not np.isfinite(waveform).all():
        first = tuple(int(i) for i in np.argwhere(~np.isfinite(waveform))[0])
        raise AudioError(f"The {what} holds {waveform[first]} at sample {first[0]}. Only finite samples can be scored.")
    return waveform


def score(references, estimates, mix):
    """Score every instrument with a reference, and the mix itself as its estimate.

    Parameters
    ----------
    references, estimates : dict of str to np.ndarray, shape=(n_samples, n_channels)
        {instrument: waveform}. Every reference needs an estimate; other estimates are not scored. Mono references and
        mixes are scored with estimates of more channels, too.
    mix : np.ndarray, shape=(n_samples, n_channels)

    Returns
    -------
    pandas.DataFrame
        One row per reference, in order: `instrument, si_sdr_mix, si_sdr_estimate, improvement`, in dB; all `nan` where
        the instrument is silent in this song.

    Raises
    ------
    SettingError
        A reference has no estimate.
    AudioError
        Shapes differ or samples are not finite; the message names the instrument.
    """
    missing = [name for name in references if name not in estimates]
    if missing:
        raise SettingError(f"There is no estimate of {', '.join(missing)}; there is {', '.join(estimates) or 'none'}.")
    rows = [_score_one(name, reference, estimates[name], mix) for name, reference in references.items()]
    return pd.DataFrame(rows, columns=["instrument", "si_sdr_mix", "si_sdr_estimate", "improvement"])


def _score_one(name, reference, estimate, mix):
    if reference.shape[1:] == mix.shape[1:] == (1,) != estimate.shape[1:]:  # mono songs are separated into stereo
        reference, mix = (audio.fit_channels(sound, estimate.shape[1]) for sound in (reference, mix))
    try:
        of_mix, of_estimate = si_sdr(reference, mix), si_sdr(reference, estimate)
    except AudioError as error:
        raise AudioError(f"{name}: {error}") from error
    improvement = 0.0 if of_estimate == of_mix else of_estimate - of_mix  # the difference of equal infinities is nan
    return name, of_mix, of_estimate, improvement


def ideal_estimates(references, frame_length, frame_step):
    """What the ideal ratio mask gives: close to the best a mask can do with the phases of the mix.

    Each point of the mix's spectrogram is divided in proportion to the magnitudes of the references.

    Parameters
    ----------
    references : dict of str to np.ndarray, shape=(n_samples, n_channels)
        All instruments; their sum is the mix. Those with fewer channels are expanded to the highest number.
    frame_length, frame_step : int
        Samples.

    Returns
    -------
    dict of str to np.ndarray, shape=(n_samples, n_channels), float32
    """
    n_channels = max(reference.shape[1] for reference in references.values())

    def spectrum(reference):  # computed twice each: thirteen spectrograms at once would fill the memory
        return stft.stft(audio.fit_channels(reference, n_channels), frame_length, frame_step)

    mix = sum(map(spectrum, references.values()))
    total = sum(np.abs(spectrum(reference)) for reference in references.values()) + np.float32(EPSILON)
    return {
        name: stft.istft(mix * (np.abs(spectrum(reference)) / total), len(reference), frame_length, frame_step)
        for name, reference in references.items()
    }


def share_closed(mix, estimate, ideal):
    """Share of the gap closed between the untouched mix, 0, and the ideal mask, 1.

    All three are SI-SDR in dB. Use means over instruments: a single instrument's gap may be close to zero.
    """
    return (estimate - mix) / (ideal - mix)


def confusion(references, masks, frame_length, frame_step):
    """Where each instrument ends up: the share of its energy that each mask passes.

    Parameters
    ----------
    references : dict of str to np.ndarray, shape=(n_samples, n_channels)
        The instruments that are not silent.
    masks : dict of str to np.ndarray, shape=(n_frames, n_bins)
        From `Separator.masks`, for the sum of the references.
    frame_length, frame_step : int
        Samples.

    Returns
    -------
    pandas.DataFrame
        A row per reference, a column per mask; each row sums to 1.
    """
    rows = {}
    for name, reference in references.items():
        energy = (np.abs(stft.stft(reference, frame_length, frame_step)) ** 2).sum(axis=2)
        passed = [float((mask[: len(energy)] ** 2 * energy).sum()) for mask in masks.values()]
        rows[name] = np.array(passed) / max(sum(passed), SILENT)
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(masks))


def as_metrics(table):
    """A table of `score` for JSON: {instrument: {"mix": dB, "estimate": dB}}, None where a figure is not finite."""
    return {
        row.instrument: {"mix": _finite(row.si_sdr_mix), "estimate": _finite(row.si_sdr_estimate)}
        for row in table.itertuples()
    }


def _finite(db):
    return round(float(db), 2) if np.isfinite(db) else None
