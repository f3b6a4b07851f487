"""Songs whose stems are known, in any layout that `muscomp train` reads, asked for their instruments. Used by 06.

MUSDB18, MedleyDB and folders of stems go through the same path as composed songs: a query is a recording, never of the
song that it is asked in, but of another one.
"""

import numpy as np
import pandas as pd

from muscomp_lib import audio
from muscomp_lib.core.errors import AudioError
from muscomp_lib.core.instruments import OTHER
from muscomp_lib.core.progress import bar
from muscomp_lib.dataset import stem_folders
from muscomp_lib.models import pretrained
from muscomp_lib.separation import Separator
from muscomp_lib.separation.metrics import si_sdr
from muscomp_lib.timbre import asking

RATE = audio.SAMPLE_RATE
STEP = RATE // 2  # samples, between places for an excerpt
COLUMNS = ["song", "instrument", "query of", "nearer by, dB", "level, dB", "note"]


def ask_each(folder, wanted=None, model=pretrained.QUERY, seconds=20.0, query_seconds=5.0):
    """Ask in each song for each instrument, by the same instrument of another song.

    Parameters
    ----------
    folder : str or Path
        As for `stem_folders.find`.
    wanted : list of str, optional
        Instruments; None: all but `other`.
    model : str or Path
    seconds, query_seconds : float
        Lengths of the excerpts: those where the instrument is loudest.

    Returns
    -------
    pd.DataFrame
        COLUMNS: by how many dB (SI-SDR) the answer is nearer to the instrument than the mix is, and its level beside
        the mix; where no other song's stem can be a query, `note` says why. An instrument that one song alone has is
        left out.

    Raises
    ------
    MissingError, SettingError, AudioError
    """
    found = stem_folders.find(folder)
    songs = [song for song in found.songs if song.stems and not song.note]
    wanted = [name for name in found.instruments(wanted) if name != OTHER]
    rows = []
    for song in bar(songs, desc="songs"):
        parts = {name: _read(found.path, stems) for name, stems in song.stems.items()}
        for name in wanted:
            others = [other for other in songs if name in other.stems and other is not song]
            if name in parts and others:
                rows.append(
                    [song.name, name, *_by_others(found.path, others, model, parts, name, seconds, query_seconds)]
                )
    return pd.DataFrame(rows, columns=COLUMNS)


def _by_others(folder, others, model, parts, name, seconds, query_seconds):
    """The row of a question: asked by the first other song whose stem can be a query; else why none can."""
    reasons = []
    for other in others:
        try:
            sound = _loudest([_read(folder, other.stems[name])], query_seconds)[0]
            return [other.name, *_asked(model, parts, name, sound, seconds), ""]
        except AudioError as error:  # a stem may be silent
            reasons.append(f"{other.name}: {error}")
    return ["", np.nan, np.nan, "; ".join(reasons)]


def _asked(model, parts, name, sound, seconds):
    """By how much the answer is nearer, and its level, in dB."""
    true, *rest = _loudest([parts[name], *(part for other, part in parts.items() if other != name)], seconds)
    mix = true + sum(rest)
    answer = Separator(model, query=asking.described(sound, RATE, model)).separate(mix, RATE)["asked"]
    level = np.sqrt(np.mean(answer**2) / max(np.mean(mix**2), 1e-12))
    true, mix, answer = (each.mean(axis=1) for each in (true, mix, answer))
    return si_sdr(true, answer) - si_sdr(true, mix), audio.to_db(level + 1e-6)


def _read(folder, stems):
    """The sum of an instrument's files: (n_samples, 2), float32, at RATE."""
    sounds = []
    for stem in stems:
        sound, rate = audio.read(folder / stem.path, track=stem.stream)
        sounds.append(audio.fit_channels(audio.resample(sound, rate, RATE), 2))
    longest = max(map(len, sounds))
    return sum(audio.fit_length(sound, longest) for sound in sounds)


def _loudest(sounds, seconds):
    """The same excerpt of all sounds: where the first is loudest."""
    n_samples, energy = round(seconds * RATE), np.square(sounds[0]).sum(axis=1)
    starts = range(0, max(1, len(energy) - n_samples + 1), STEP)
    start = max(starts, key=lambda place: energy[place : place + n_samples].sum())
    return [audio.fit_length(sound, len(energy))[start : start + n_samples] for sound in sounds]
