"""Asking networks, and what they answer: a composed example, the conditioning, a comparison. Used by notebook 06."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from muscomp_lib import audio
from muscomp_lib.core.errors import AudioError
from muscomp_lib.minislakh import players
from muscomp_lib.models import pretrained, registry
from muscomp_lib.models.config import find_model
from muscomp_lib.separation import Separator
from muscomp_lib.separation.metrics import si_sdr
from muscomp_lib.timbre import material, recording
from muscomp_lib.timbre.examples import one_hot

SECONDS = 8.0  # of the composed example
PITCH, OCTAVE = 57, 12  # A3, as a MIDI note number: nearly every instrument has it
PEAK = 0.9  # of the example's mix
LAYER = "film_down3"  # whose conditioning `film` shows

log = logging.getLogger(__name__)


def described(sound, sample_rate=None, model=pretrained.QUERY, program=None):
    """A recording as a model takes it.

    Parameters
    ----------
    sound : str, Path or np.ndarray
        As for `timbre.query`.
    sample_rate : int, optional
        Hz; of a waveform.
    model : str or Path
    program : int, optional
        For a model that is asked by the number of a program.

    Returns
    -------
    np.ndarray, float32
        For `Separator(model, query=...)`.
    """
    descriptor = find_model(model)[0]["model"]["params"]["descriptor"]
    if descriptor == "one_hot":
        return one_hot(program)
    return recording.query(sound, sample_rate, descriptor)


def film(model, sounds, sample_rate):
    """Gamma and beta in LAYER of a model, for several sounds: {name: (gamma, beta)}, each (n_filters,), float32."""
    config, folder = find_model(model)
    network = registry.network(config)
    values = network.read_weights(folder)
    found = {}
    for name, sound in sounds.items():
        made = network.conditioned(values, described(sound, sample_rate, model))
        found[name] = made[f"{LAYER}/scale"] - 1, made[f"{LAYER}/shift"]
    return found


def example(folder, programs):
    """A composed song with a part for each program: {program: (n_samples,) float32} at `material.RATE`."""
    folder = Path(folder) / "-".join(map(str, programs))
    made = material.render(folder, material.BANK, [list(programs)], n_notes=0, seconds=SECONDS, seed=1)
    found, stems = made.songs[0]
    sounds = audio.to_float(stems)
    sounds *= PEAK / np.abs(sounds.sum(axis=0)).max()
    return dict(zip(map(int, found), sounds, strict=True))


def pitch_of(program):
    """A note that a program has, near PITCH and not among its highest; 0 for drums, which have none."""
    player = players.of_program(program)
    return 0 if player.lowest is None else max(player.lowest, min(PITCH, player.highest - OCTAVE))


def compare(models, parts, asked, questions):
    """Ask models for several instruments in a song whose parts are known.

    Parameters
    ----------
    models : dict of str to (str or Path)
        By what the table calls them.
    parts : dict of int to np.ndarray, shape=(n_samples,)
        The song's parts by program, at `material.RATE`.
    asked : int
        The program that the answers are compared with.
    questions : dict of str to int
        The program of each query, a note of which is rendered.

    Returns
    -------
    pd.DataFrame
        A row per question, with gaps where a model cannot be asked for that: by how many dB each model's answer is
        nearer to the part than the song is (SI-SDR), and how loud it is beside the song.
    dict of str to dict of str to np.ndarray, shape=(n_samples,)
        The answers, by model and question.
    """
    mix, rows, answers = sum(parts.values()), [], {name: {} for name in models}
    for question, program in questions.items():
        row = {"asked for": question}
        for name, model in models.items():
            try:
                query = described(material.note(program, pitch_of(program)), material.RATE, model, program)
            except AudioError as error:  # as of an instrument without harmonics, where a model is asked by them
                log.warning("%s is not asked for %s: %s", name, question, error)
                continue
            sound = Separator(model, query=query).separate(mix[:, None], material.RATE)["asked"][:, 0]
            answers[name][question] = sound
            row[f"{name}: nearer by, dB"] = si_sdr(parts[asked], sound) - si_sdr(parts[asked], mix)
            row[f"{name}: level, dB"] = audio.to_db(np.sqrt(np.mean(sound**2) / np.mean(mix**2)) + 1e-6)
        rows.append(row)
    return pd.DataFrame(rows).round(1), answers
