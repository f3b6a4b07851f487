"""Judges of a model that are not composed songs: recordings and data that are given by path. Used by quality.py.

Each returns rows of one figure for each model: {"judge": what is measured, "of": how many recordings, model: figure}.
`docs/real_music.md` is the protocol.
"""

import csv
import itertools
from pathlib import Path

import numpy as np

from muscomp_lib import audio, transcription
from muscomp_lib.audio import stft
from muscomp_lib.core import instruments
from muscomp_lib.separation import metrics
from muscomp_lib.transcription.transcribe import Settings

SOURCES = "SOURCES.tsv"  # a line for each recording: `file`, `right output`: "Rock_Organ or other"; `song`, of a part
MOST = 40.0  # seconds of a recorded song: of its middle
FAINT = -25.0  # dB of the recording: a file below it is taken for empty
SPLIT = 2000.0  # Hz: a bass has next to nothing above
BLOCK = 1.0  # seconds in which the energies of twins are compared
FRAME, STEP = 4096, 1024  # of the spectra


def solos(folder, models, taxonomy):
    """How much of a recorded instrument's energy lands in a right file, and how many files and tracks it gets."""
    found = [(Path(folder) / line["file"], line["right output"].split(" or ")) for line in _lines(folder)]
    shares = {kind: {model: [] for model in models} for kind in ("the twelve", "without drums", "other")}
    counts = {kind: {model: [] for model in models} for kind in ("files above -25 dB", "tracks with notes")}
    for path, right in found:
        waveform, sample_rate = audio.read(path)
        for name, model in models.items():
            parts = model.separate(waveform, sample_rate)
            energy = {part: float((sound**2).sum()) for part, sound in parts.items()}
            for kind in _kinds(right, taxonomy):
                shares[kind][name].append(sum(energy[part] for part in right) / max(sum(energy.values()), 1e-12))
            floor = audio.to_gain(FAINT) ** 2 * float((audio.fit_channels(waveform, 2) ** 2).sum())
            counts["files above -25 dB"][name].append(sum(value > floor for value in energy.values()))
            midi = transcription.transcribe(parts, sample_rate, Settings(taxonomy=taxonomy))
            counts["tracks with notes"][name].append(sum(bool(part.notes) for part in midi.instruments))
    titled = {f"recorded solos, {kind}: energy in the right file": its for kind, its in shares.items()}
    titled |= {f"a recorded solo: {kind}": its for kind, its in counts.items()}
    return [_row(title, its) for title, its in titled.items() if any(its.values())]


def _lines(folder):
    with (Path(folder) / SOURCES).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def _kinds(right, taxonomy):
    """Which means a solo counts for, by the first of its right files."""
    if right[0] == instruments.OTHER:
        return ["other"]
    return ["the twelve"] if right[0] in instruments.drums(taxonomy) else ["the twelve", "without drums"]


def multitracks(folder, models):
    """How well real songs are separated whose parts were recorded one by one: SI-SDR, and where their energy lands.

    The song is the sum of its recordings. Those with the same right files are one part, such as the drums of a kit.
    """
    better, shares, gaps = ({model: [] for model in models} for _ in range(3))
    for song, lines in itertools.groupby(_lines(folder), lambda line: line["song"]):
        files = [(Path(folder) / line["file"], line["right output"]) for line in lines]
        length, parts = min(audio.info(path).duration for path, _ in files), {}
        for path, right in files:
            parts[right] = parts.get(right, 0) + _middle(path, length)
        mix = sum(parts.values())
        ideal = metrics.ideal_estimates(parts, FRAME, STEP)
        for name, model in models.items():
            outputs = model.separate(mix, audio.SAMPLE_RATE)
            found = {right: sum(outputs[each] for each in right.split(" or ")) for right in parts}
            lands = metrics.confusion(parts, model.masks(mix, audio.SAMPLE_RATE), FRAME, STEP)
            for right, sound in parts.items():
                worst, ours, best = (metrics.si_sdr(sound, each) for each in (mix, found[right], ideal[right]))
                better[name].append(ours - worst)
                gaps[name].append((worst, ours, best))
                shares[name].append(lands.loc[right, right.split(" or ")].sum())
                print(f"{song}, {right}: {name} {worst:.1f} -> {ours:.1f} of {best:.1f} dB, {shares[name][-1]:.0%}")
    closed = {name: [metrics.share_closed(*np.mean(its, axis=0))] * len(its) for name, its in gaps.items()}
    titled = {
        "share of the gap closed": closed,
        "SI-SDR improvement, dB": better,
        "energy in the right file": shares,
    }
    return [_row(f"parts of recorded songs: {title}", its) for title, its in titled.items()]


def _middle(path, length):
    """The middle of the first `length` seconds of a recording, shape (n_samples, 2), at the rate of songs."""
    seconds = min(MOST, length)
    waveform, sample_rate = audio.read(path)
    first = round((length - seconds) / 2 * sample_rate)
    part = audio.fit_channels(waveform[first : first + round(seconds * sample_rate)], 2)
    at_rate = audio.resample(part, sample_rate, audio.SAMPLE_RATE)
    return audio.fit_length(at_rate, round(seconds * audio.SAMPLE_RATE))


def twins(folder, models):
    """How alike a song is divided in two renderings of it, `slakh_*` and `flakh_*`; and what a bass has above 2 kHz."""
    pairs = [(path, *path.parent.glob(f"flakh{path.stem[5:]}.*")) for path in sorted(Path(folder).glob("slakh_*"))]
    pairs = [pair for pair in pairs if len(pair) == 2]
    agreement, high = {name: [] for name in models}, {name: [] for name in models}
    for pair in pairs:
        for name, model in models.items():
            separated = [(model.separate(*audio.read(path)), audio.info(path).sample_rate) for path in pair]
            agreement[name].append(_overlap(*(_energies(*each) for each in separated)))
            parts, sample_rate = separated[0]
            high[name] += [_share_above(sound, sample_rate, SPLIT) for part, sound in parts.items() if "Bass" in part]
    if not pairs:
        return []
    titled = {"Slakh and its FluidSynth twin: energy divided alike": agreement}
    titled |= {"Slakh: energy of the bass file above 2 kHz": high} if all(high.values()) else {}
    return [_row(title, its) for title, its in titled.items()]


def _energies(parts, sample_rate):
    """The energy of each part in each second, shape (n_parts, n_blocks)."""
    block = round(BLOCK * sample_rate)
    n_blocks = len(next(iter(parts.values()))) // block
    return np.stack([(sound[: n_blocks * block] ** 2).reshape(n_blocks, -1).sum(axis=1) for sound in parts.values()])


def _overlap(one, other):
    """How much of two divisions is the same, 0 to 1, each second weighted by its energy."""
    length = min(one.shape[1], other.shape[1])
    one, other = (each[:, :length] / each[:, :length].sum() for each in (one, other))
    weights = (one.sum(axis=0) + other.sum(axis=0)) / 2
    shares = [each / np.maximum(each.sum(axis=0), 1e-12) for each in (one, other)]
    return float((np.minimum(*shares).sum(axis=0) * weights).sum())


def _share_above(waveform, sample_rate, hertz):
    energy = (np.abs(stft.stft(waveform, FRAME, STEP)) ** 2).sum(axis=(0, 2))
    return float(energy[round(hertz * FRAME / sample_rate) :].sum() / max(energy.sum(), 1e-12))


def _row(title, by_model):
    """The mean over the recordings."""
    values = list(by_model.values())
    return {"judge": title, "of": len(values[0])} | {name: float(np.mean(its)) for name, its in by_model.items()}
