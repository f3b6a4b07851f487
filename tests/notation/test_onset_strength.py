import librosa
import numpy as np
import pytest

from muscomp_lib.notation import onset_strength
from muscomp_lib.transcription.cqt import SAMPLE_RATE
from muscomp_lib.transcription.note_decoder import Note

BLOCK = onset_strength.HOP * onset_strength.BLOCK  # samples


@pytest.mark.full  # librosa compiles for a minute
@pytest.mark.parametrize("n_samples", [30_000, BLOCK, 2 * BLOCK + 77])
def test_onset_strength_of_sound_is_librosas(n_samples):
    sound = np.random.default_rng(0).normal(size=n_samples).astype(np.float32)
    theirs = librosa.onset.onset_strength(y=sound, sr=SAMPLE_RATE, hop_length=onset_strength.HOP)
    np.testing.assert_allclose(onset_strength.of_sound(sound), theirs, atol=1e-4)


def test_notes_and_their_sound_have_onsets_together():
    sound, times = np.zeros(4 * SAMPLE_RATE, np.float32), (0.5, 1.7, 3.1)
    for time in times:
        start = round(time * SAMPLE_RATE)
        sound[start : start + 8000] = np.sin(2 * np.pi * 440 / SAMPLE_RATE * np.arange(8000)) * np.linspace(1, 0, 8000)
    of_sound = onset_strength.of_sound(sound)
    of_notes = onset_strength.of_notes([Note(time, time + 0.3, 69, 0.5) for time in times], len(of_sound))
    for time in times:
        near = slice(*(round((time + side) * onset_strength.RATE) for side in (-0.1, 0.2)))
        assert abs(int(of_sound[near].argmax()) - int(of_notes[near].argmax())) <= 2


@pytest.mark.parametrize("other", [Note(0.5, 0.6, 60, 0.5), Note(0.5, 1.5, 60, 0.5, likelihood=0.2)])
def test_long_and_likely_notes_have_strong_onsets(other):
    strong, weak = (onset_strength.of_notes([note], 200) for note in (Note(0.5, 1.5, 60, 0.5), other))
    assert strong.max() > 1.5 * weak.max() > 0
