"""Every figure of the notebooks is drawn from small tables and arrays, and shows what it was given."""

import keras
import matplotlib.style
import numpy as np
import pandas as pd
import pretty_midi
import pytest

from muscomp_lib import plots
from muscomp_lib.composers.clips import N_MELS
from muscomp_lib.composers.clips import N_PITCHES as PIANO
from muscomp_lib.composers.recognition import open_set
from muscomp_lib.transcription.cqt import N_BINS, N_PITCHES
from muscomp_lib.transcription.metrics import match
from muscomp_lib.transcription.network import ACTIVE, ONSET
from muscomp_lib.transcription.note_decoder import Note

NAMES = ["Violin", "Rock_Organ", "Drums"]
RNG = np.random.default_rng(0)
NOTES = [Note(0.2, 0.8, 60, 0.9), Note(0.5, 1.5, 67, 0.7), Note(1.6, 1.9, 64, 0.8)]
TRACKS = pd.DataFrame(
    {"track": ["T1", "T2", "T3", "T4"], "partition": ["train", "validation", "test", "reserve"], "status": "ok",
     "Violin": [1, 0, 2, 1], "Rock_Organ": [0, 1, 0, 1], "Drums": 1}
)  # fmt: skip
STEMS = pd.DataFrame(
    {"track": ["T1", "T2", "T2"], "instrument": ["Violin", "Rock_Organ", ""], "status": ["ok", "missing", "unrendered"]}
)
COVERAGE = pd.DataFrame(
    {"instrument": [*NAMES, "other"], "stems": 3, "tracks": [3, 2, 4, 4], "hours": [0.02, 1.5, 2, 3]}
)
SCORES = pd.DataFrame(
    {"instrument": NAMES, "si_sdr_mix": [-9.0, -3, np.nan], "si_sdr_estimate": [2.0, 4, np.nan], "si_sdr_ideal": 9.0}
)


def midi(drums="Drums"):
    file = pretty_midi.PrettyMIDI()
    for name, pitches in (("Violin", (67, 72)), (drums, (36, 38, 42))):
        track = pretty_midi.Instrument(0, is_drum=name == drums, name=name)
        track.notes = [pretty_midi.Note(90, pitch, 0.3 * n, 0.3 * n + 0.2) for n, pitch in enumerate(pitches)]
        file.instruments.append(track)
    return file


def levels():
    return RNG.uniform(-1, 1, (100, N_BINS, 2)).astype(np.float32)


def labels():
    array = np.zeros((100, N_PITCHES, 3), np.float32)
    array[10, 39, ONSET] = array[10:40, 39, ACTIVE] = 1.0
    return array


def u_net():
    x = inputs = keras.Input((None, 64, 2))
    for depth in range(3):
        x = keras.layers.Conv2D(4 << depth, 5, 2, "same", name=f"down{depth}")(x)
    for name, channels in (("up0", 8), ("up1", 4), ("masks", 3)):
        x = keras.layers.Conv2DTranspose(channels, 5, 2, "same", name=name)(x)
    return keras.Model(inputs, x)


FIGURES = {
    "training_example": lambda: plots.training_example(RNG.random((64, 32)), RNG.random((64, 32, 3)), NAMES, 1.5, 8.0),
    "learning_curve": lambda: plots.learning_curve([[10, 0.9, 1.0], [20, 0.5, 0.7], [30, 0.4, 0.65]]),
    "learning_curve, two": lambda: plots.learning_curve([[10, 0.9, 1.0], [20, 0.5, 0.7]], {"again": [[10, 0.8, 0.9]]}),
    "convolution": lambda: plots.convolution(RNG.random((64, 32)), 1.5, 8.0),
    "gradient_steps": lambda: plots.gradient_steps(RNG.random((64, 32)), RNG.random((64, 32)), "Rock_Organ", 0.15),
    "timbres": lambda: plots.timbres(
        {"flute": RNG.normal(size=8000)}, 22050, 440.0, {"flute": RNG.random(40)}, {"flute": RNG.random(40)}
    ),
    "film": lambda: plots.film(RNG.random(50), np.array([0.0, 1.0]), np.array([0.0, 0.5])),
    "film_of_queries": lambda: plots.film_of_queries({name: (RNG.random(8), RNG.random(8)) for name in NAMES}),
    "composer_clips": lambda: plots.composer_clips([RNG.random((160, N_MELS + PIANO))] * 2, ["Bach", "Mozart"]),
    "embeddings": lambda: plots.embeddings({"before": RNG.random((9, 2))}, np.arange(9) % 3 - 1, ["Bach", "Mozart"]),
    "open_set": lambda: plots.open_set(open_set(RNG.random(9), 1 + RNG.random(9), 0.8), RNG.random(9), RNG.random(9)),
    "instrument_counts": lambda: plots.instrument_counts(COVERAGE),
    "taxonomies": lambda: plots.taxonomies(pd.concat([COVERAGE.assign(taxonomy=t) for t in ("one", "two")])),
    "stem_counts": lambda: plots.stem_counts(TRACKS, STEMS, NAMES),
    "statuses": lambda: plots.statuses(STEMS, NAMES),
    "activity": lambda: plots.activity(pd.DataFrame({"train": [0.5, 0.2, 0.9], "test": [0.4, 0.1, 1.0]}, index=NAMES)),
    "partitions": lambda: plots.partitions(TRACKS, NAMES),
    "filling": lambda: plots.filling(TRACKS, pd.DataFrame({"track": ["T1"], "instrument": ["Rock_Organ"]}), NAMES),
    "spectrograms": lambda: plots.spectrograms(
        {"mix": RNG.normal(size=(22050, 2)), "none": np.zeros((22050, 2))}, 22050
    ),
    "masks": lambda: plots.masks({name: RNG.random((40, 128)) for name in NAMES}, 22050, 256),
    "mask_snapshots": lambda: plots.mask_snapshots(
        NAMES, {title: RNG.random((40, 32, 3)) for title in ("10 steps", "20 steps", "ideal")}, 1.5
    ),
    "network": lambda: plots.network(u_net(), 64),
    "exported": lambda: plots.exported(
        pd.DataFrame(
            {"format": ["onnx", "litert_int8"], "megabytes": [16.2, np.nan], "si_sdr_cost_db": [-0.01, np.nan]}
        )
    ),
    "exported, none": lambda: plots.exported(pd.DataFrame({"format": ["onnx"], "status": ["left out"]})),
    "si_sdr_bars": lambda: plots.si_sdr_bars(SCORES),
    "confusion": lambda: plots.confusion(pd.DataFrame(np.eye(3) * 0.8 + 0.05, index=NAMES, columns=NAMES)),
    "note_training_example": lambda: plots.note_training_example(levels(), labels(), "Violin"),
    "likelihoods": lambda: plots.likelihoods(levels(), labels(), NOTES, "Violin"),
    "note_matching": lambda: plots.note_matching(levels(), NOTES[:2], NOTES[1:], match(NOTES[:2], NOTES[1:]), "Violin"),
    "piano_roll": lambda: plots.piano_roll(midi(), NAMES),
    "piano_roll, of other names": lambda: plots.piano_roll(midi(), ["Flute"]),
    "piano_roll, empty": lambda: plots.piano_roll(pretty_midi.PrettyMIDI(), NAMES),
}


@pytest.mark.parametrize("name", FIGURES)
def test_the_figure_is_drawn_as_png(name):
    assert FIGURES[name]()._repr_png_().startswith(b"\x89PNG")


def test_a_dark_style_changes_no_figure():
    names = ("si_sdr_bars", "confusion", "network")
    light = [FIGURES[name]()._repr_png_() for name in names]
    transparent = {"figure.facecolor": (0, 0, 0, 0), "axes.facecolor": (0, 0, 0, 0), "savefig.transparent": True}
    with matplotlib.style.context(["dark_background", transparent]):
        assert [FIGURES[name]()._repr_png_() for name in names] == light
    assert all(hasattr(getattr(plots, name), "__wrapped__") for name in set(plots.__all__) - {"PARTITION_COLOURS"})


def test_a_name_with_dollar_signs_is_no_formula():
    bad = r"$\frac$ é"
    names = ["Violin", bad, "Drums"]
    scores, table = SCORES.assign(instrument=names), pd.DataFrame(np.eye(3), index=names, columns=names)
    figures = [plots.si_sdr_bars(scores), plots.confusion(table), plots.piano_roll(midi(bad), names)]
    figures += [plots.spectrograms({bad: RNG.normal(size=(22050, 1))}, 22050)]
    figures += [plots.masks({bad: np.zeros((20, 200))}, 44100, 4096), plots.likelihoods(levels(), labels(), NOTES, bad)]
    for figure in figures:
        assert figure._repr_png_().startswith(b"\x89PNG")


def test_every_public_figure_is_tested():
    assert set(plots.__all__) - {"PARTITION_COLOURS"} == {name.split(",")[0] for name in FIGURES}


def drawn(figure):
    """Position, size and colour of all bars."""
    return [
        (*patch.get_bbox().bounds, *patch.get_facecolor())
        for axes in figure.axes
        for bars in axes.containers
        for patch in bars
    ]


def test_a_piano_roll_of_tracks_without_names_has_no_legend():
    file = midi("")
    file.instruments = file.instruments[1:]
    assert not plots.piano_roll(file, NAMES).legends


def test_the_piano_roll_ignores_the_name_of_the_drums():
    original = drawn(plots.piano_roll(midi(), NAMES))
    assert len(original) == 5
    assert drawn(plots.piano_roll(midi("Drum_Kit"), ["Violin", "Rock_Organ", "Drum_Kit"])) == original


def test_note_matching_counts_hits_misses_and_extras():
    (axes,) = FIGURES["note_matching"]().axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["1 hit", "1 missed", "1 extra"]
