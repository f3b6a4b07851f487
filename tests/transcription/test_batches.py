import logging
import shutil

import numpy as np
import pytest
from fixtures import tiny_notes

from muscomp_lib.core.errors import MidiError, MissingError
from muscomp_lib.transcription import batches, cqt, network
from muscomp_lib.transcription.cqt import BINS_PER_NOTE, FRAME, LOWEST, N_BINS, N_NOTES
from muscomp_lib.transcription.network import ONSET, SOUNDING, VELOCITY

CONFIG = {"instrument_list": tiny_notes.NAMES, "batch_size": 4, "n_frames": 64, "random_seed": 0}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tiny_notes.write(tmp_path_factory.mktemp("root"))


def examples(root, partitions=("train", "reserve"), damage=True, **changes):
    return batches.Examples([batches.stems(root, partitions)], CONFIG | changes, damage)


def named(instruments):
    return [tiny_notes.NAMES[one_hot.argmax()] if one_hot.any() else None for one_hot in instruments]


def test_a_batch_has_the_shapes_that_the_network_takes_and_gives(root):
    (levels, instruments), said = examples(root).batch(0)
    assert levels.shape == (4, 64, N_BINS, 2) and levels.dtype == np.float32
    assert instruments.shape == (4, 3) and said.shape == (4, 64, N_NOTES, 3)
    assert 0 <= said.min() <= said.max() <= 1


def test_a_batch_is_a_function_of_seed_and_number_alone(root):
    one, other = examples(root), examples(root)
    one.batch(0)
    (levels, _), said = one.batch(5)
    (again, _), same = other.batch(5)
    np.testing.assert_array_equal(levels, again)
    np.testing.assert_array_equal(said, same)
    assert not np.array_equal(one.batch(6)[1], said)
    assert not np.array_equal(examples(root, random_seed=1).batch(5)[1], said)


def test_stems_come_from_the_partitions_asked_for_and_bring_their_notes(root):
    parts = batches.stems(root, ("validation",))
    assert [part.instrument for part in parts] == tiny_notes.NAMES
    true = tiny_notes.notes("Violin", seed=3)
    np.testing.assert_allclose(parts[1].notes[:, :3], np.array(true)[:, :3], atol=2e-3)
    np.testing.assert_allclose(parts[1].notes[:, 3], np.array(true)[:, 3] / 127)


def test_what_is_to_be_said_lies_where_the_sound_is(root):
    """Undamaged: at each onset, the picture's bin of the note grows."""
    (levels, instruments), said = examples(root, damage=False, batch_size=12).batch(0)
    grown = []
    for level, name, says in zip(levels, named(instruments), said, strict=True):
        if name != "Violin":
            continue
        for frame, row in np.argwhere(says[2:-3, :, ONSET] > 0.5):
            bins = level[:, row * BINS_PER_NOTE + 1, 1]
            grown.append(bins[frame + 3 : frame + 5].max() - bins[frame])  # argwhere has not seen the first two
    assert len(grown) > 10 and np.median(grown) > 0.3


def test_notes_sound_from_onset_to_end_and_strokes_have_none(root):
    notes = np.array([(1.0, 1.5, 60, 0.8), (1.2, 1.3, 36, 0.5)])
    said = batches._said(notes, 0.9, 40, 0, is_drum=False)
    row, frames = 60 - LOWEST, np.arange(40) * FRAME + 0.9
    np.testing.assert_array_equal(said[:, row, SOUNDING] > 0, (frames > 1.0 - FRAME / 2) & (frames < 1.5 - FRAME / 2))
    onset = said[:, row, ONSET]
    assert onset.sum() == pytest.approx(1.0) and (onset @ frames) == pytest.approx(1.0, abs=1e-6)
    assert set(np.unique(said[:, row, VELOCITY])) == {0.0, np.float32(0.8)}
    stroke = batches._said(notes, 0.9, 40, 0, is_drum=True)
    assert stroke[:, 36 - LOWEST, ONSET].any() and not stroke[..., SOUNDING].any()
    assert not stroke[:, row].any(), "note 60 is no drum that is written"


def test_moving_moves_sound_and_notes_alike():
    levels = np.random.default_rng(0).uniform(0, 1, (5, N_BINS, 2)).astype(np.float32)
    up, down = (batches._moved(levels, bins) for bins in (6, -6))
    np.testing.assert_array_equal(up[:, 6:], levels[:, :-6])
    np.testing.assert_array_equal(down[:, :-6], levels[:, 6:])
    assert up.shape == down.shape == levels.shape
    notes = np.array([(0.1, 0.3, 60, 0.5)])
    assert batches._said(notes, 0.0, 20, 2, is_drum=False)[:, 62 - LOWEST].any()


def test_the_notes_of_drums_are_never_moved_and_all_are_learnt_from(root, monkeypatch):
    monkeypatch.setattr(batches, "UNNAMED", 0.0)
    rows = {name: set() for name in tiny_notes.NAMES}
    for number in range(15):
        (_, instruments), said = examples(root).batch(number)
        for name, says in zip(named(instruments), said, strict=True):
            rows[name] |= set(np.flatnonzero(says[..., ONSET].any(axis=0)) + LOWEST)
    assert rows["Drums"] <= {36, 38} and rows["Drums"]
    assert len(rows["Violin"]) > 12, "twelve notes are played, more are heard"


def test_what_is_played_harder_is_louder(root, monkeypatch):
    """The same batch, as loud as it is and at chance levels: 40 dB are a factor of ten in velocity."""
    monkeypatch.setattr(batches, "LEVEL_DB", 0.0)
    (plain, _), said = examples(root).batch(3)
    monkeypatch.setattr(batches, "LEVEL_DB", 12.0)
    (changed, _), harder = examples(root).batch(3)
    louder = 30 * (changed - plain).reshape(4, -1)[np.arange(4), plain.reshape(4, -1).argmax(axis=1)]  # dB
    assert np.ptp(louder) > 3
    for db, before, after in zip(louder, said[..., VELOCITY], harder[..., VELOCITY], strict=True):
        np.testing.assert_allclose(after, (before * 10 ** (db / 40)).clip(0, 1), atol=0.01)


def test_an_octave_laid_over_the_sound_is_no_note(root, monkeypatch):
    monkeypatch.setattr(batches, "OCTAVE", 1.0)
    part, drawn = examples(root)._pools[0]["Violin"][0], []
    for level in (-200.0, 0.0):
        monkeypatch.setattr(batches, "OCTAVE_DB", (level, level))
        reader = examples(root)
        monkeypatch.setattr(reader, "_readable", lambda rng: part)
        drawn.append(reader._example(np.random.default_rng(4)))
    (plain, _, said), (laid_over, _, same) = drawn
    np.testing.assert_array_equal(said, same)
    longest = said[..., SOUNDING].sum(axis=0).argmax()
    while_it_sounds = said[:, longest, SOUNDING] > 0
    octave = (longest + 12) * BINS_PER_NOTE + 1
    assert (laid_over - plain)[while_it_sounds, octave].mean() > 0.1


def test_the_network_is_not_always_told_what_it_hears(root):
    told = [name for number in range(20) for name in named(examples(root).batch(number)[0][1])]
    assert 0.02 < np.mean([name is None for name in told]) < 0.3


@pytest.mark.parametrize("kind", ["LEAK", "NOISE"])
def test_what_leaks_in_is_softer_than_the_instrument(root, monkeypatch, kind):
    for each in ("LEAK", "NOISE"):
        monkeypatch.setattr(batches, each, float(each == kind))
    waveform = tiny_notes.sound(tiny_notes.notes("Violin", 0), "Violin")[: 64 * cqt.HOP, 0].astype(np.float32)
    reader, levels = examples(root), []
    for number in range(5):
        added = reader._leaked(waveform, "Violin", np.random.default_rng(number)) - waveform
        levels.append(20 * np.log10(np.sqrt(np.mean(added**2) / np.mean(waveform**2)) + 1e-9))
    assert -62 < min(levels) < max(levels) < -9


def test_holes_fade_some_patches_and_leave_the_rest(monkeypatch):
    monkeypatch.setattr(batches, "HOLES", 1.0)
    seen = np.ones((64, N_BINS, 2), np.float32)
    faded = batches._holed(seen, np.random.default_rng(0))
    assert faded.shape == seen.shape and faded.dtype == np.float32
    assert 0.3 < np.mean(faded == 1.0) < 0.7 and 0.05 < faded.min() < faded.max() <= 1.0


def test_separated_parts_have_the_notes_of_all_stems_and_leakage_has_none(root, tmp_path):
    file = root.slakh / "Track00001" / "stems" / "S01.flac"
    files = {"Track00001": {"Violin": file, "Rock_Organ": file}}
    violin, leakage = batches.separated(root, ("train",), files)
    assert len(violin.notes) == len(tiny_notes.notes("Violin", 0)) and violin.audio == file
    assert leakage.notes.shape == (0, 4)
    assert batches.separated(root, ("validation",), files)[0].notes.shape == (0, 4)


def test_a_share_of_the_examples_is_of_separated_parts(root, monkeypatch):
    pools = [batches.stems(root, ("train",)), batches.stems(root, ("validation",))]
    reader = batches.Examples(pools, CONFIG)
    rng, drawn = np.random.default_rng(0), []
    for _ in range(300):
        drawn.append(reader._drawn(rng) in pools[1])
    assert 0.3 < np.mean(drawn) < 0.5


def test_a_broken_midi_file_is_named_once_and_passed_over_but_nothing_else_is_not(tmp_path, caplog):
    root = tiny_notes.write(tmp_path / "root")
    parts = batches.stems(root, ("train",))
    parts[0].midi[0].write_bytes(b"MThd")
    with caplog.at_level(logging.WARNING):
        reader = batches.Examples([parts], CONFIG)
        for number in range(8):
            reader.batch(number)
    assert len(caplog.records) == 1 and str(parts[0].midi[0]) in caplog.text
    for part in batches.stems(root, ("train",)):
        part.midi[0].unlink()
    with pytest.raises(MidiError, match="parts in a row have no MIDI file"):
        batches.Examples([batches.stems(root, ("train",))], CONFIG).batch(0)


def test_no_stems_and_no_tables_say_what_to_run(root, tmp_path):
    with pytest.raises(MissingError, match=r"belongs to\s+nowhere.*Notebook 01"):
        batches.stems(root, ("nowhere",))
    empty = tiny_notes.drive.open_root(tmp_path / "empty")
    with pytest.raises(MissingError, match="Notebook 01"):
        batches.stems(empty, ("train",))


def test_a_song_knows_what_its_instruments_play(root):
    parts = batches.of_song(root, "Track00005")
    assert list(parts) == tiny_notes.NAMES and len(parts["Violin"].notes) == len(tiny_notes.notes("Violin", 4))
    assert batches.of_song(root, "Track99999") == {}


def test_an_unknown_instrument_is_all_zeros():
    assert not network.chosen(None, 3).any() and network.chosen(1, 3).tolist() == [0, 1, 0]


def test_parts_are_read_from_anywhere(root, tmp_path):
    moved = shutil.copy(root.slakh / "Track00001" / "stems" / "S01.flac", tmp_path / "any name.flac")
    part = batches.Part("Violin", moved, ())
    assert batches.Examples([[part]], CONFIG).batch(0)[1].any() == np.False_
