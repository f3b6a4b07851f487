import numpy as np
import pytest

from muscomp_lib.notation import onset_strength, tracking
from muscomp_lib.transcription.note_decoder import Note

DRIFTS = {
    "slowly": 0.5 * (1 + 0.04 * np.sin(np.arange(80) / 6)),
    "at once": np.r_[np.full(40, 0.5), np.full(40, 0.48)],
    "by rubato": 0.5 + 0.06 * np.sin(np.arange(80) / 9),
}


def played(beat, jitter=0.015):
    """The onset strength of notes on beats and half-beats, as people play them."""
    halves = np.sort(np.r_[beat, (beat[1:] + beat[:-1]) / 2])
    times = halves + np.random.default_rng(0).normal(0, jitter, len(halves))
    notes = [Note(time, time + 0.2, 60, 0.5) for time in times]
    return onset_strength.of_notes(notes, round((beat[-1] + 1) * onset_strength.RATE))


@pytest.mark.parametrize("periods", DRIFTS.values(), ids=DRIFTS)
def test_beats_follow_a_tempo_that_drifts(periods):
    beat = 0.5 + np.r_[0.0, np.cumsum(periods)]
    found = tracking.beats(played(beat), 60 / np.median(periods)) - onset_strength.DELAY
    half_way = (beat[1:] + beat[:-1]) / 2  # onsets alone do not distinguish them
    near = [np.mean([np.abs(found - time).min() < 0.05 for time in times]) for times in (beat, half_way)]
    assert max(near) > 0.95 and min(near) < 0.05, "none slips from one to the other"


@pytest.mark.parametrize("jitter", [0.0, 0.015, 0.025])
def test_beats_of_steady_playing_are_evenly_spaced(jitter):
    found = tracking.beats(played(0.5 + 0.5 * np.arange(80), jitter), 120.0)
    assert np.ptp(np.diff(found)) < 1e-9
