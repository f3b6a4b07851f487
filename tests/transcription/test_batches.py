import logging
import shutil

import numpy as np
import pytest
from fixtures import tiny_notes

from muscomp_lib import audio
from muscomp_lib.core.errors import MidiError, MissingError
from muscomp_lib.slakh import index_tables
from muscomp_lib.transcription import batches, cqt, network
from muscomp_lib.transcription.cqt import BINS_PER_SEMITONE, FRAME_SECONDS, LOWEST_PITCH, N_BINS, N_PITCHES, SAMPLE_RATE
from muscomp_lib.transcription.network import ACTIVE, ONSET, VELOCITY

CONFIG = {"instrument_list": tiny_notes.NAMES, "batch_size": 4, "n_frames": 64, "random_seed": 0}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tiny_notes.write(tmp_path_factory.mktemp("root"))


def examples(root, partitions=("train", "reserve"), augment=True, **changes):
    return batches.Examples([batches.stems(root, partitions)], CONFIG | changes, augment)


def named(instruments):
    return [tiny_notes.NAMES[one_hot.argmax()] if one_hot.any() else None for one_hot in instruments]


def test_batches_have_the_shapes_of_the_networks_inputs_and_output(root):
    (levels, instruments), labels = examples(root).batch(0)
    assert levels.shape == (4, 64, N_BINS, 2) and levels.dtype == np.float32
    assert instruments.shape == (4, 3) and labels.shape == (4, 64, N_PITCHES, 3)
    assert 0 <= labels.min() <= labels.max() <= 1


def test_a_batch_is_a_function_of_seed_and_number_alone(root):
    one, other = examples(root), examples(root)
    one.batch(0)
    (levels, _), labels = one.batch(5)
    (again, _), same = other.batch(5)
    np.testing.assert_array_equal(levels, again)
    np.testing.assert_array_equal(labels, same)
    assert not np.array_equal(one.batch(6)[1], labels)
    assert not np.array_equal(examples(root, random_seed=1).batch(5)[1], labels)


def test_stems_come_from_the_given_partitions_with_their_notes(root):
    parts = batches.stems(root, ("validation",))
    assert [part.instrument for part in parts] == tiny_notes.NAMES
    true = tiny_notes.notes("Violin", seed=3)
    np.testing.assert_allclose(parts[1].notes[:, :3], np.array(true)[:, :3], atol=2e-3)
    np.testing.assert_allclose(parts[1].notes[:, 3], np.array(true)[:, 3] / 127)


def test_labels_lie_where_the_sound_is(root):
    """Without augmentation, the level of a note's bin rises at each onset."""
    (levels, instruments), labels = examples(root, augment=False, batch_size=12).batch(0)
    grown = []
    for level, name, target in zip(levels, named(instruments), labels, strict=True):
        if name != "Violin":
            continue
        for frame, row in np.argwhere(target[2:-3, :, ONSET] > 0.5):
            bins = level[:, row * BINS_PER_SEMITONE + 1, 1]
            grown.append(bins[frame + 3 : frame + 5].max() - bins[frame])  # frame counts from the third
    assert len(grown) > 10 and np.median(grown) > 0.3


def test_notes_are_active_from_onset_to_offset_and_hits_never(root):
    notes = np.array([(1.0, 1.5, 60, 0.8), (1.2, 1.3, 36, 0.5)])
    labels = batches._labels(notes, 0.9, 40, 0, is_drums=False)
    row, frames = 60 - LOWEST_PITCH, np.arange(40) * FRAME_SECONDS + 0.9
    np.testing.assert_array_equal(
        labels[:, row, ACTIVE] > 0, (frames > 1.0 - FRAME_SECONDS / 2) & (frames < 1.5 - FRAME_SECONDS / 2)
    )
    onset = labels[:, row, ONSET]
    assert onset.sum() == pytest.approx(1.0) and (onset @ frames) == pytest.approx(1.0, abs=1e-6)
    assert set(np.unique(labels[:, row, VELOCITY])) == {0.0, np.float32(0.8)}
    hit = batches._labels(notes, 0.9, 40, 0, is_drums=True)
    assert hit[:, 36 - LOWEST_PITCH, ONSET].any() and not hit[..., ACTIVE].any()
    assert not hit[:, row].any(), "note 60 is no drum that is written"


def test_transposing_shifts_spectrogram_and_labels_alike():
    levels = np.random.default_rng(0).uniform(0, 1, (5, N_BINS, 2)).astype(np.float32)
    up, down = (batches._transpose(levels, bins) for bins in (6, -6))
    np.testing.assert_array_equal(up[:, 6:], levels[:, :-6])
    np.testing.assert_array_equal(down[:, :-6], levels[:, 6:])
    assert up.shape == down.shape == levels.shape
    notes = np.array([(0.1, 0.3, 60, 0.5)])
    assert batches._labels(notes, 0.0, 20, 2, is_drums=False)[:, 62 - LOWEST_PITCH].any()


def test_drum_labels_are_never_transposed(root, monkeypatch):
    monkeypatch.setattr(batches, "UNNAMED", 0.0)
    rows = {name: set() for name in tiny_notes.NAMES}
    for number in range(15):
        (_, instruments), labels = examples(root).batch(number)
        for name, target in zip(named(instruments), labels, strict=True):
            rows[name] |= set(np.flatnonzero(target[..., ONSET].any(axis=0)) + LOWEST_PITCH)
    assert rows["Drums"] <= {36, 38} and rows["Drums"]
    assert len(rows["Violin"]) > 12, "twelve notes are played, more are labelled after transposing"


def test_louder_excerpts_have_higher_velocities(root, monkeypatch):
    """The same batch, as loud as it is and at chance levels: 40 dB are a factor of ten in velocity."""
    monkeypatch.setattr(batches, "LEVEL_DB", 0.0)
    (plain, _), labels = examples(root).batch(3)
    monkeypatch.setattr(batches, "LEVEL_DB", 12.0)
    (changed, _), harder = examples(root).batch(3)
    louder = 30 * (changed - plain).reshape(4, -1)[np.arange(4), plain.reshape(4, -1).argmax(axis=1)]  # dB
    assert np.ptp(louder) > 3
    for db, before, after in zip(louder, labels[..., VELOCITY], harder[..., VELOCITY], strict=True):
        np.testing.assert_allclose(after, (before * 10 ** (db / 40)).clip(0, 1), atol=0.01)


def test_levels_are_relative_to_the_whole_part(tmp_path):
    seconds = np.arange(6 * SAMPLE_RATE) / SAMPLE_RATE
    sound = np.where(seconds < 3, 0.5, 0.05) * np.sin(2 * np.pi * 440 * seconds)
    audio.write(tmp_path / "stem.flac", audio.to_int16(sound[:, None].astype(np.float32)), SAMPLE_RATE)
    part = batches.Part("Violin", tmp_path / "stem.flac", ())
    reader = batches.Examples([[part]], CONFIG | {"batch_size": 40}, augment=False)
    peaks = reader.batch(0)[0][0].max(axis=(1, 2, 3))
    assert peaks.max() == pytest.approx(1, abs=0.03) and peaks.min() == pytest.approx(1 - 20 / 30, abs=0.03)


def test_an_added_octave_leaves_the_labels_unchanged(root, monkeypatch):
    monkeypatch.setattr(batches, "OCTAVE", 1.0)
    part, drawn = examples(root)._pools[0]["Violin"][0], []
    for level in (-200.0, 0.0):
        monkeypatch.setattr(batches, "OCTAVE_DB", (level, level))
        reader = examples(root)
        monkeypatch.setattr(reader, "_draw_readable", lambda rng: part)
        drawn.append(reader._example(np.random.default_rng(4)))
    (plain, _, labels), (laid_over, _, same) = drawn
    np.testing.assert_array_equal(labels, same)
    longest = labels[..., ACTIVE].sum(axis=0).argmax()
    while_it_sounds = labels[:, longest, ACTIVE] > 0
    octave = (longest + 12) * BINS_PER_SEMITONE + 1
    assert (laid_over - plain)[while_it_sounds, octave].mean() > 0.1


def test_some_examples_do_not_name_their_instrument(root):
    given = [name for number in range(20) for name in named(examples(root).batch(number)[0][1])]
    assert 0.02 < np.mean([name is None for name in given]) < 0.3


@pytest.mark.parametrize("kind", ["BLEED", "NOISE"])
def test_bleed_and_noise_are_softer_than_the_instrument(root, monkeypatch, kind):
    for each in ("BLEED", "NOISE"):
        monkeypatch.setattr(batches, each, float(each == kind))
    waveform = tiny_notes.sound(tiny_notes.notes("Violin", 0), "Violin")[: 64 * cqt.HOP, 0].astype(np.float32)
    reader, levels = examples(root), []
    for number in range(5):
        added = reader._add_bleed(waveform, "Violin", np.random.default_rng(number)) - waveform
        levels.append(20 * np.log10(np.sqrt(np.mean(added**2) / np.mean(waveform**2)) + 1e-9))
    assert -62 < min(levels) < max(levels) < -9


def test_masked_bands_fade_and_leave_the_rest(monkeypatch):
    monkeypatch.setattr(batches, "MASK", 1.0)
    magnitudes = np.ones((64, N_BINS, 2), np.float32)
    faded = batches._mask_bands(magnitudes, np.random.default_rng(0))
    assert faded.shape == magnitudes.shape and faded.dtype == np.float32
    assert 0.3 < np.mean(faded == 1.0) < 0.7 and 0.05 < faded.min() < faded.max() <= 1.0


def test_separated_parts_have_true_notes_and_bleed_has_none(root, tmp_path):
    file = root.slakh / "Track00001" / "stems" / "S01.flac"
    files = {"Track00001": {"Violin": file, "Rock_Organ": file}}
    violin, leakage = batches.separated(root, ("train",), files)
    assert len(violin.notes) == len(tiny_notes.notes("Violin", 0)) and violin.audio == file
    assert leakage.notes.shape == (0, 4)
    assert batches.separated(root, ("validation",), files)[0].notes.shape == (0, 4)


def test_a_share_of_the_examples_is_separated(root, monkeypatch):
    pools = [batches.stems(root, ("train",)), batches.stems(root, ("validation",))]
    reader = batches.Examples(pools, CONFIG)
    rng, drawn = np.random.default_rng(0), []
    for _ in range(300):
        drawn.append(reader._draw(rng) in pools[1])
    assert 0.4 < np.mean(drawn) < 0.6


def test_broken_midi_files_are_reported_once_and_skipped(tmp_path, caplog):
    root = tiny_notes.write(tmp_path / "root")
    parts = batches.stems(root, ("train",))
    parts[0].midi[0][0].write_bytes(b"MThd")
    with caplog.at_level(logging.WARNING):
        reader = batches.Examples([parts], CONFIG)
        for number in range(8):
            reader.batch(number)
    assert len(caplog.records) == 1 and str(parts[0].midi[0][0]) in caplog.text
    for part in batches.stems(root, ("train",)):
        part.midi[0][0].unlink()
    with pytest.raises(MidiError, match="parts in a row have no readable MIDI file"):
        batches.Examples([batches.stems(root, ("train",))], CONFIG).batch(0)


def test_missing_stems_and_tables_name_the_notebook_to_run(root, tmp_path):
    with pytest.raises(MissingError, match=r"partitions nowhere.*Notebook 01"):
        batches.stems(root, ("nowhere",))
    empty = tiny_notes.open_root(tmp_path / "empty")
    with pytest.raises(MissingError, match="Notebook 01"):
        batches.stems(empty, ("train",))


def test_of_song_gives_the_parts_of_a_track(root):
    parts = batches.of_song(root, "Track00005")
    assert list(parts) == tiny_notes.NAMES and len(parts["Violin"].notes) == len(tiny_notes.notes("Violin", 4))
    assert batches.of_song(root, "Track99999") == {}


def test_an_unknown_instrument_is_all_zeros():
    assert not network.one_hot(None, 3).any() and network.one_hot(1, 3).tolist() == [0, 1, 0]


def test_parts_are_read_from_any_folder(root, tmp_path):
    moved = shutil.copy(root.slakh / "Track00001" / "stems" / "S01.flac", tmp_path / "any name.flac")
    part = batches.Part("Violin", moved, ())
    assert batches.Examples([[part]], CONFIG).batch(0)[1].any() == np.False_


def test_labels_do_not_depend_on_the_drum_kits_name(root, tmp_path):
    other = tiny_notes.write(tmp_path)
    stems, tracks = index_tables.read(other)
    stems = stems.assign(instrument=stems["instrument"].replace("Drums", "Drum_Kit"))
    index_tables.write(other, stems, tracks.rename(columns={"Drums": "Drum_Kit"}))
    renamed = [name.replace("Drums", "Drum_Kit") for name in tiny_notes.NAMES]
    for number in range(5):
        (levels, instruments), labels = examples(root, batch_size=8).batch(number)
        (same_levels, same_instruments), same_labels = examples(other, batch_size=8, instrument_list=renamed).batch(
            number
        )
        np.testing.assert_array_equal(levels, same_levels)
        np.testing.assert_array_equal(instruments, same_instruments)
        np.testing.assert_array_equal(labels, same_labels)
    parts = batches.of_song(other, "Track00005")
    assert [name for name, part in parts.items() if part.is_drums] == ["Drum_Kit"]


def test_the_share_of_drums_is_as_set(root):
    parts = batches.stems(root, ("train",))
    for share in (0.0, 0.5, 1.0):
        drawing = batches.Examples([parts], CONFIG | {"instrument_list": tiny_notes.NAMES, "drum_share": share})
        rng = np.random.default_rng(0)
        assert np.mean([drawing._draw(rng).is_drums for _ in range(200)]) == pytest.approx(share, abs=0.1)


def test_drums_alone_give_batches(root):
    drums = [part for part in batches.stems(root, ("train",)) if part.is_drums]
    (_, instruments), labels = batches.Examples([drums], CONFIG | {"instrument_list": ["Drums"]}).batch(0)
    assert instruments.shape == (4, 1) and labels[..., ONSET].any() and not labels[..., ACTIVE].any()
