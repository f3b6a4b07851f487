import json

import numpy as np
import pytest

from muscomp_lib.core.errors import AudioError, SettingError
from muscomp_lib.separation.metrics import as_metrics, confusion, ideal_estimates, score, share_closed, si_sdr


@pytest.fixture
def noises():
    """Three unrelated stereo waveforms, shape (8000, 2)."""
    return np.random.default_rng(0).normal(scale=0.1, size=(3, 8000, 2)).astype(np.float32)


def test_equal_parts_of_target_and_orthogonal_distortion_are_0_db():
    reference, distortion = np.array([1.0, 0, 1, 0]), np.array([0, 1.0, 0, 1])
    assert si_sdr(reference, reference + distortion) == pytest.approx(0)


@pytest.mark.parametrize("db", [-20, 6, 30])
def test_the_ratio_is_in_decibels(db):
    reference, distortion = np.array([3.0, 0]), np.array([0, 3.0])
    assert si_sdr(reference, reference + distortion * 10 ** (-db / 20)) == pytest.approx(db)


def test_the_scale_of_the_estimate_does_not_matter(noises):
    reference, distortion, _ = noises
    estimate = reference + 0.3 * distortion
    assert si_sdr(reference, -7 * estimate) == pytest.approx(si_sdr(reference, estimate), abs=1e-4)


def test_channels_are_scored_together(noises):
    reference = noises[0]
    wrong_balance = reference * np.float32([1, 0])
    assert si_sdr(reference[:, 0], wrong_balance[:, 0]) > 100
    assert si_sdr(reference, wrong_balance) == pytest.approx(0, abs=0.5)


def test_a_silent_reference_has_no_score(noises):
    assert np.isnan(si_sdr(np.zeros((8000, 2)), noises[0]))
    assert np.isnan(si_sdr(np.zeros((8000, 2)), np.zeros((8000, 2))))


def test_silent_estimates_are_worst_and_perfect_ones_best(noises):
    assert si_sdr(noises[0], np.zeros((8000, 2))) == -np.inf
    assert si_sdr(noises[0], noises[0]) > 200


@pytest.mark.parametrize(
    ("estimate", "message"),
    [
        (np.zeros((7999, 2)), r"\(8000, 2\) and the estimate \(7999, 2\)"),
        (np.zeros((8000, 1)), r"\(8000, 1\)"),
        (np.zeros((0, 2)), r"estimate has shape \(0, 2\)"),
        (np.full((8000, 2), np.nan), "estimate holds nan at sample 0"),
    ],
)
def test_unscorable_estimates_are_refused_with_the_reason(noises, estimate, message):
    with pytest.raises(AudioError, match=message):
        si_sdr(noises[0], estimate)


def test_score_compares_each_estimate_with_the_mix(noises):
    bass, violin, residual = noises
    mix = bass + violin + residual
    table = score(
        {"bass": bass, "violin": violin, "drums": np.zeros_like(bass)},
        {"violin": violin + 0.1 * bass, "bass": mix, "drums": violin, "other": residual},
        mix,
    )
    assert list(table.columns) == ["instrument", "si_sdr_mix", "si_sdr_estimate", "improvement"]
    assert list(table.instrument) == ["bass", "violin", "drums"]
    rows = table.set_index("instrument")
    assert rows.loc["bass", "improvement"] == 0
    assert rows.loc["violin"].tolist() == pytest.approx([-3, 20, 23], abs=0.5)
    assert rows.loc["drums"].isna().all()


def test_score_names_the_instrument_with_a_missing_or_bad_estimate(noises):
    with pytest.raises(SettingError, match="no estimate of violin"):
        score({"violin": noises[0]}, {"bass": noises[0]}, noises[1])
    with pytest.raises(AudioError, match="bass: The reference has shape"):
        score({"bass": noises[0]}, {"bass": noises[0][:-1]}, noises[1])


def test_mono_songs_are_scored_with_their_stereo_estimates(noises):
    reference, distortion, _ = noises[..., :1]
    estimate = np.repeat(reference + 0.1 * distortion, 2, axis=1)
    scores = score({"a": reference}, {"a": estimate}, reference + distortion).iloc[0]
    assert scores["si_sdr_estimate"] == pytest.approx(20, abs=0.2) and scores["si_sdr_mix"] == pytest.approx(0, abs=0.2)


def test_metrics_hold_none_for_infinite_scores(noises):
    silent = np.zeros_like(noises[0])
    table = score({"bass": noises[0], "drums": silent}, {"bass": silent, "drums": noises[1]}, noises[0] + noises[1])
    metrics = as_metrics(table)
    assert metrics["drums"] == {"mix": None, "estimate": None}
    assert metrics["bass"] == {"mix": pytest.approx(0, abs=0.5), "estimate": None}
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


def tones(n_samples=44100):
    time = np.arange(n_samples)[:, None] / 44100
    return {"low": 0.3 * np.sin(2 * np.pi * 220 * time), "high": 0.3 * np.sin(2 * np.pi * 3000 * time)}


def test_the_ideal_mask_recovers_sources_that_do_not_overlap():
    songs = tones()
    for name, estimate in ideal_estimates(songs, 4096, 1024).items():
        assert estimate.shape == (44100, 1)
        assert si_sdr(songs[name], estimate) > 40


def test_the_ideal_mask_divides_overlapping_sources_by_magnitude(noises):
    estimates = ideal_estimates({"one": noises[0], "other": noises[1]}, 4096, 1024)
    np.testing.assert_allclose(sum(estimates.values()), noises[0] + noises[1], atol=1e-4)
    assert si_sdr(noises[0], noises[0] + noises[1]) + 3 < si_sdr(noises[0], estimates["one"]) < 20


def test_the_mix_closes_no_gap_and_the_ideal_closes_all():
    assert share_closed(-8.0, -8.0, 4.0) == 0
    assert share_closed(-8.0, 4.0, 4.0) == 1
    assert share_closed(-8.0, -2.0, 4.0) == 0.5


def test_confusion_gives_the_energy_each_mask_passes():
    below = np.repeat(np.arange(2049)[None] < 150, 60, axis=0).astype(np.float32)  # 150 bins are 1,615 Hz
    table = confusion(tones(), {"low": below, "high": 1 - below}, 4096, 1024)
    assert table.loc["low", "low"] > 0.99 and table.loc["high", "high"] > 0.99
    halves = confusion(tones(), {"low": below * 0 + 0.5, "high": below * 0 + 0.5}, 4096, 1024)
    np.testing.assert_allclose(halves, 0.5)
