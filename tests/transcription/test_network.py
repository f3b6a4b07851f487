import numpy as np
import pytest

from muscomp_lib.models.runtime import start_tensorflow
from muscomp_lib.transcription import network as note_network
from muscomp_lib.transcription.cqt import N_BINS, N_PITCHES, WINDOWS
from muscomp_lib.transcription.network import CONTEXT


@pytest.fixture(scope="module", params=note_network.KINDS)
def network(request):
    """With weights that are not zero anywhere, so that every input in its context matters."""
    start_tensorflow()
    network = note_network.build(12, request.param)
    rng = np.random.default_rng(0)
    for weight in network.weights:
        weight.assign(0.1 * rng.normal(size=weight.shape))
    return network


def run(network, levels, index=3):
    return np.asarray(network([levels[None], note_network.one_hot(index, 12)[None]]))[0]


@pytest.fixture
def levels():
    return np.random.default_rng(1).uniform(-1, 1, (80, N_BINS, len(WINDOWS))).astype(np.float32)


def test_output_has_three_channels_per_pitch_and_frame(network, levels):
    for n_frames in (1, 30, 80):
        assert run(network, levels[:n_frames]).shape == (n_frames, N_PITCHES, 3)


def test_weights_are_small_enough_to_be_shipped(network):
    assert 2 * network.count_params() < 2e6  # bytes, in half precision


def test_a_frame_depends_on_its_context_only(network, levels):
    changed = levels.copy()
    changed[40] += 1.0
    depends = np.abs(run(network, changed) - run(network, levels)).max(axis=(1, 2)) > 1e-6
    assert depends[30:50].all() and not depends[: 40 - CONTEXT].any() and not depends[41 + CONTEXT :].any()


def test_output_depends_on_the_instrument_which_may_be_unknown(network, levels):
    output = [run(network, levels, index) for index in (0, 5, None)]
    assert np.abs(output[0] - output[1]).max() > 1e-3 and np.abs(output[0] - output[2]).max() > 1e-3


def test_fresh_weights_find_onsets_unlikely():
    assert run(note_network.build(12), np.zeros((5, N_BINS, 2), np.float32))[..., 0].max() < 0


def test_similar_drums_share_a_row_and_others_have_none():
    rows = {pitch: note_network.pitch_row(pitch, is_drum=True) for pitch in range(128)}
    assert rows[36] == rows[35] == 36 - 21 and rows[42] == rows[44]
    assert rows[60] is None and rows[0] is None
    assert len({row for row in rows.values() if row is not None}) == len(note_network.DRUM_PITCHES) == 9
    assert len(note_network.WRITTEN_PITCH) == sum(
        map(len, note_network.DRUM_PITCHES.values())
    )  # each in one class only


def test_notes_beyond_the_piano_have_no_row():
    assert [note_network.pitch_row(pitch, is_drum=False) for pitch in (20, 21, 108, 109)] == [None, 0, 87, None]
