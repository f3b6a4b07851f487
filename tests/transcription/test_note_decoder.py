import shutil

import numpy as np
import pytest
from fixtures.rendered import RATE, rendered

from muscomp_lib.core import instruments
from muscomp_lib.core.errors import MissingError, SettingError
from muscomp_lib.models import pretrained
from muscomp_lib.models.config import find_model
from muscomp_lib.models.weights import WEIGHTS, read_weights, write_weights
from muscomp_lib.transcription import cqt, metrics, network, note_decoder
from muscomp_lib.transcription.cqt import FRAME_SECONDS, HOP, N_PITCHES, SAMPLE_RATE
from muscomp_lib.transcription.network import ACTIVE, ONSET, VELOCITY
from muscomp_lib.transcription.note_decoder import DRUMS, Note, Transcriber, to_mono

FAMILIES = instruments.load("families")
CHORDS = [(p + shift, start, 0.9) for start, shift in ((0.5, 0), (1.5, 5), (2.5, -2)) for p in (60, 64, 67)]
LINE = [(57, 0.25, 0.4), (60, 0.75, 0.4), (64, 1.25, 0.4), (64, 1.75, 0.4), (69, 2.25, 0.9)]
BEAT = [(36, 0.5, 0.1), (42, 0.75, 0.1), (38, 1.0, 0.1), (42, 1.25, 0.1), (36, 1.5, 0.1), (38, 2.0, 0.1)]


@pytest.fixture(scope="module")
def model():
    return Transcriber()


def found(model, name, waveform, rate=RATE):
    return model.notes(to_mono(waveform, rate), FAMILIES[name])


def f1(model, name, notes, waveform=None, rate=RATE):
    """F1 of notes [(pitch, start, length)] when they are rendered, or in a given waveform."""
    sound = rendered(name, notes) if waveform is None else waveform
    true = [Note(start, start + length, pitch, 0.8) for pitch, start, length in notes]
    return metrics.match_instrument(true, found(model, name, sound, rate), name == "Drums").f1


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("Bright_Acoustic_Piano", 0.8),
        ("String_Ensemble_1", 0.8),
        ("Distortion_Guitar", 0.8),
        ("Acoustic_Guitar_nylon", 0.8),
        ("Rock_Organ", 0.6),  # the drawbars of this one, which are not in the training data, sound like octaves
    ],
)
def test_chords_are_transcribed_without_overtones(model, name, least):
    assert f1(model, name, CHORDS) > least


def test_channels_that_cancel_are_transcribed(model):
    sound = rendered("Bright_Acoustic_Piano", CHORDS)
    assert f1(model, "Bright_Acoustic_Piano", CHORDS, np.hstack([sound, -sound])) > 0.8


@pytest.mark.parametrize("name", ["Violin", "Brass_Section", "Electric_Guitar_clean", "Electric_Grand_Piano"])
def test_a_line_is_transcribed_with_its_repeated_note(model, name):
    assert f1(model, name, LINE) > 0.85


def test_the_bass_is_transcribed_in_its_own_octave(model):
    line = [(pitch, 0.25 + 0.5 * index, 0.4) for index, pitch in enumerate((28, 33, 40, 35, 28, 45))]
    assert f1(model, "Electric_Bass_pick", line) > 0.85


def estimates(model, sounds):
    return {name: model.likelihoods(sound, FAMILIES[name]) for name, sound in sounds.items()}


def test_drums_have_a_transcriber_of_their_own(model, tmp_path):
    shutil.copytree(model.folder, tmp_path / "both", ignore=shutil.ignore_patterns(DRUMS))
    alone = Transcriber(tmp_path / "both")
    sounds = {name: to_mono(rendered(name, notes), RATE) for name, notes in (("Violin", LINE), ("Drums", BEAT))}
    before, identity = (
        {name: alone.likelihoods(sound, FAMILIES[name]) for name, sound in sounds.items()},
        alone.identity,
    )
    shutil.copytree(tmp_path / "both", tmp_path / "both" / DRUMS)
    weights = read_weights(model.folder / WEIGHTS, model.instruments)
    silenced = {name: array - 9 * (name == "said/bias") for name, array in weights.items()}
    write_weights(tmp_path / "both" / DRUMS / WEIGHTS, silenced, model.instruments)
    both = Transcriber(tmp_path / "both")
    after = estimates(both, sounds)
    assert np.array_equal(after["Violin"], before["Violin"])
    assert before["Drums"][..., ONSET].max() > 0.5 > 0.05 > after["Drums"][..., ONSET].max()
    assert both.identity != identity  # songs are transcribed again


def test_fast_hi_hats_under_a_beat_are_heard(model):
    sixteenth = 60 / 190 / 4  # 79 ms
    beat = [(36, 0.3 + sixteenth * at, 0.1) for at in range(0, 64, 16)]
    beat += [(38, 0.3 + sixteenth * at, 0.1) for at in range(8, 64, 16)]
    assert f1(model, "Drums", [*beat, *((42, 0.3 + sixteenth * at, 0.07) for at in range(64))]) > 0.55


def test_kick_snare_and_hi_hat_are_distinguished(model):
    beat = 0.6  # seconds
    times = [0.3 + beat * k for k in range(12)]
    drums = [((36, 38)[k % 2], time, 0.1) for k, time in enumerate(times)]
    hats = [(42, time + part, 0.1) for time in times for part in (0, beat / 2)]
    assert f1(model, "Drums", drums + hats, rendered("Drums", drums + hats, 8.0)) > 0.8


def test_notes_end_with_their_sound(model):
    notes = found(model, "Rock_Organ", rendered("Rock_Organ", [(60, 0.5, 0.5), (64, 2.0, 1.5)]))
    ends = {note.pitch: note.end for note in notes}
    assert ends[60] == pytest.approx(1.0, abs=0.15)
    assert ends[64] == pytest.approx(3.5, abs=0.15)


def test_louder_notes_get_a_higher_velocity(model):
    played = [(60, 0.25 + 0.5 * k, 0.4, (50, 110)[k % 2]) for k in range(6)]
    notes = found(model, "Bright_Acoustic_Piano", rendered("Bright_Acoustic_Piano", played))
    assert len(notes) == 6
    assert np.mean([n.velocity for n in notes[1::2]]) - np.mean([n.velocity for n in notes[::2]]) > 0.08


def test_onsets_are_accurate_to_half_a_frame(model):
    starts = [0.501, 1.013, 1.527, 2.041, 2.555, 3.069]
    notes = found(model, "Bright_Acoustic_Piano", rendered("Bright_Acoustic_Piano", [(60, s, 0.4) for s in starts]))
    assert len(notes) == len(starts)
    errors = np.array([note.start for note in notes]) - starts
    assert np.std(errors) < FRAME_SECONDS / 2 and abs(np.mean(errors)) < 0.02


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 48000])
def test_any_sample_rate_works(model, rate):
    import soxr

    waveform = soxr.resample(rendered("Bright_Acoustic_Piano", CHORDS), RATE, rate)
    assert f1(model, "Bright_Acoustic_Piano", CHORDS, waveform, rate) > (0.6 if rate == 8000 else 0.8)


def test_unknown_instruments_are_transcribed_too(model):
    kazoo = instruments.Instrument("Kazoo", (75,), 40, 90, one_voice=False)
    true = [Note(start, start + length, pitch, 0.8) for pitch, start, length in LINE]
    notes = model.notes(to_mono(rendered("Brass_Section", LINE), RATE), kazoo)
    assert metrics.match(true, notes).f1 > 0.7


# ---- silence, noise and wrong input ----


@pytest.mark.parametrize("name", ["Rock_Organ", "Electric_Bass_pick", "Drums"])
@pytest.mark.parametrize(
    "waveform",
    [
        np.zeros((RATE, 2), np.float32),
        np.zeros((0, 2), np.float32),
        np.ones((1, 1), np.float32),
        np.full((RATE, 2), np.nan, np.float32),
        np.full(RATE, np.inf, np.float32),
    ],
    ids=["silence", "empty", "one sample", "nan", "inf"],
)
def test_silence_and_bad_samples_give_no_notes(model, name, waveform):
    assert found(model, name, waveform) == []


@pytest.mark.parametrize("name", ["Rock_Organ", "Electric_Bass_pick", "Violin"])
def test_noise_gives_hardly_a_note(model, name):
    noise = np.random.default_rng(1).normal(scale=0.1, size=(10 * RATE, 1)).astype(np.float32)
    assert len(found(model, name, noise)) < 10


@pytest.mark.parametrize("name", ["Rock_Organ", "Bright_Acoustic_Piano"])
def test_clicks_give_at_most_one_note_each(model, name):
    clicks = np.zeros((10 * RATE, 1), np.float32)
    clicks[:: RATE // 2] = 0.9
    assert len(found(model, name, clicks)) <= 20


def test_the_wrong_instrument_gives_few_notes_and_no_failure(model):
    violin, kit = rendered("Violin", LINE), rendered("Drums", BEAT)
    assert len(found(model, "Drums", violin)) <= 2 * len(LINE)
    assert len(found(model, "Violin", kit)) <= 2 * len(BEAT)
    assert all(note.pitch in network.WRITTEN_PITCH for note in found(model, "Drums", violin))


def test_bad_samples_leave_the_other_notes(model):
    song = rendered("Violin", LINE)
    song[:50] = np.nan
    assert f1(model, "Violin", LINE, song) > 0.8


def test_notes_outside_an_instruments_range_are_not_written(model):
    sound = rendered("Bright_Acoustic_Piano", [(30, 0.5, 1.0), (100, 2.0, 1.0)])
    assert all(
        72 <= note.pitch <= 108 for note in model.notes(to_mono(sound, RATE), instruments.load()["Glockenspiel"])
    )


# ---- how it works ----


def test_likelihoods_do_not_depend_on_where_blocks_begin(model, monkeypatch):
    sound = to_mono(np.tile(rendered("Rock_Organ", CHORDS), (4, 1)), RATE)
    at_once = model.likelihoods(sound, FAMILIES["Rock_Organ"])
    monkeypatch.setattr(note_decoder, "_starts", lambda audible: range(0, len(audible), 100))
    np.testing.assert_allclose(model.likelihoods(sound, FAMILIES["Rock_Organ"]), at_once, atol=1e-4)


def test_silent_blocks_are_skipped(model, monkeypatch):
    blocks = []
    block = Transcriber._block
    monkeypatch.setattr(Transcriber, "_block", lambda *args: blocks.append(1) or block(*args))
    sound = to_mono(rendered("Rock_Organ", CHORDS), RATE)
    sound = sound[: len(sound) // HOP * HOP]  # so that it lies on the same frames when it is repeated
    long = np.concatenate([sound, np.zeros(5000 * HOP, np.float32), sound])
    estimated = model.likelihoods(long, FAMILIES["Rock_Organ"])
    assert len(blocks) <= 4 and estimated.shape == (cqt.n_frames(len(long)), N_PITCHES, 3)
    once = note_decoder.decode_notes(model.likelihoods(sound, FAMILIES["Rock_Organ"]))
    assert len(note_decoder.decode_notes(estimated)) == 2 * len(once) > 0


def likelihoods(*notes, n_frames=100):
    """Likelihoods of notes (row, first frame, last frame) that the network is sure of."""
    estimated = np.zeros((n_frames, N_PITCHES, 3), np.float32)
    for row, first, last in notes:
        estimated[first, row, ONSET], estimated[first, row, VELOCITY] = 0.9, 0.5
        estimated[first:last, row, ACTIVE] = 0.9
    return estimated


def test_a_note_lasts_until_inactive_or_its_next_onset():
    notes = note_decoder.decode_notes(likelihoods((10, 5, 30), (10, 20, 30), (40, 0, 100)))
    frames = [(round(n.start / FRAME_SECONDS), round(n.end / FRAME_SECONDS), n.pitch - 21) for n in notes]
    assert frames == [(0, 100, 40), (5, 20, 10), (20, 30, 10)]
    assert all(note.velocity == 0.5 for note in notes)


@pytest.mark.parametrize("likelihood", [0.9, 0.2, 0.1])
def test_a_note_is_held_however_unsure_the_network(likelihood):
    estimated = likelihoods((10, 5, 30))
    estimated[5:30, 10, ACTIVE], estimated[30:, 10, ACTIVE] = likelihood, likelihood / 5
    (note,) = note_decoder.decode_notes(estimated)
    assert round(note.end / FRAME_SECONDS) == 30


def test_an_onset_without_an_active_note_ends_at_once():
    estimated = likelihoods((10, 5, 30))
    estimated[..., ACTIVE] = 0.0
    (note,) = note_decoder.decode_notes(estimated)
    assert round(note.end / FRAME_SECONDS) == 5 + note_decoder.MIN_FRAMES


def test_a_flat_peak_is_one_onset_and_peaks_are_interpolated():
    estimated = likelihoods((10, 50, 60))
    estimated[51, 10, ONSET] = 0.9
    assert len(note_decoder.decode_notes(estimated)) == 1
    estimated[51, 10, ONSET] = 0.6
    (note,) = note_decoder.decode_notes(estimated)
    assert 50.1 < note.start / FRAME_SECONDS < 50.5


def drum_hits(*hits):
    """What is decoded of onsets: (drum note, frame, likelihood)."""
    estimate = np.zeros((40, N_PITCHES, 3), np.float32)
    for pitch, frame, likelihood in hits:
        estimate[frame, network.pitch_row(pitch, is_drum=True), ONSET] = likelihood
    return [(note.pitch, round(note.start / FRAME_SECONDS)) for note in note_decoder.decode_drum_hits(estimate)]


def test_of_drums_alike_the_much_less_likely_is_no_hit():
    assert drum_hits((46, 10, 0.8), (51, 11, 0.3), (49, 10, 0.39)) == [(46, 10)]
    assert drum_hits((46, 10, 0.8), (49, 10, 0.5)) == [(46, 10), (49, 10)]
    assert drum_hits((46, 10, 0.8), (51, 13, 0.3)) == [(46, 10), (51, 13)]
    assert drum_hits((46, 10, 0.8), (36, 10, 0.3), (45, 10, 0.5)) == [(36, 10), (45, 10), (46, 10)]
    assert drum_hits((45, 10, 0.3), (47, 10, 0.7)) == [(47, 10)]


def test_each_drum_has_a_threshold_of_its_own():
    assert drum_hits((36, 10, 0.25), (46, 20, 0.1), (45, 30, 0.35)) == [(36, 10), (46, 20)]


def test_a_snare_is_compared_with_the_likeliest():
    assert drum_hits((38, 10, 0.9), (38, 20, 0.3)) == [(38, 10)]
    assert drum_hits((38, 10, 0.5), (38, 20, 0.3)) == [(38, 10), (38, 20)]


def test_monophonic_instruments_play_one_note_at_a_time(model, monkeypatch):
    together = likelihoods((30, 10, 60), (34, 10, 60), (37, 40, 80))
    together[10, 34, VELOCITY] = 0.9
    monkeypatch.setattr(Transcriber, "_likelihoods", lambda self, magnitudes, instrument: together)
    notes = model.notes(np.zeros(1), FAMILIES["Violin"])
    assert [(n.pitch - 21, round(n.start / FRAME_SECONDS), round(n.end / FRAME_SECONDS)) for n in notes] == [
        (34, 10, 40),
        (37, 40, 80),
    ]


def test_a_missing_model_names_the_notebook_that_trains_one(tmp_path):
    with pytest.raises(MissingError, match=r"holds no trained transcriber. Notebook"):
        Transcriber(tmp_path)


def test_a_model_that_separates_is_no_transcriber():
    with pytest.raises(SettingError, match="this model separates"):
        Transcriber(pretrained.FOLDER)
    with pytest.raises(SettingError, match="model is missing"):
        find_model(pretrained.TRANSCRIBER)


def test_damaged_weights_are_refused(tmp_path):
    for file in pretrained.TRANSCRIBER.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes()[:1000] if file.suffix == ".npz" else file.read_bytes())
    with pytest.raises(SettingError, match=r"weights\.npz cannot be read"):
        Transcriber(tmp_path).likelihoods(np.ones(SAMPLE_RATE, np.float32), FAMILIES["Violin"])


def test_an_instrument_of_another_name_is_known_by_its_program(model):
    kit = instruments.Instrument("Drum_Kit", (128,), None, None, one_voice=False)
    sound = to_mono(rendered("Drums", BEAT), RATE)
    assert model.notes(sound, kit) == found(model, "Drums", rendered("Drums", BEAT)) != []


def test_an_instrument_is_known_by_any_of_its_programs(model):
    assert instruments.find("bass").programs[0] == 33
    assert model._index(instruments.find("bass")) == model.instruments.index("Electric_Bass_pick")
    strict = Transcriber()
    strict.config = strict.config | {"programs": {"Violin": [40], "Electric_Bass_pick": [34]}}
    assert strict._index(instruments.find("bass")) == strict.instruments.index("Electric_Bass_pick")
    assert strict._index(instruments.find("organ")) is None
