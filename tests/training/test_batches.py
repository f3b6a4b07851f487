from itertools import chain

import numpy as np
import pytest
import soundfile
from fixtures import tiny_prepared

from muscomp_lib import audio, tables
from muscomp_lib.audio import stft
from muscomp_lib.core.errors import MissingError, SettingError
from muscomp_lib.dataset import song_table, waveform_cache
from muscomp_lib.models.config import read_config
from muscomp_lib.training import batches


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tiny_prepared.write(tmp_path_factory.mktemp("root"))


@pytest.fixture
def settings(root):
    return read_config(root.configs / "tiny.json")


def examples(root, settings, remix=True, n_channels=1):
    songs = song_table.read_songs(root, root.tables / "train.csv", settings)
    return batches.Examples(songs, settings, n_channels, remix)


def test_a_batch_has_the_shape_the_network_takes(root, settings):
    mix, parts = examples(root, settings, n_channels=2).batch(0)
    assert mix.shape == (2, 64, 128, 2)
    assert parts.shape == (2, 64, 128, 2, 3)
    assert mix.dtype == parts.dtype == np.float32


def test_tuned_excerpts_fill_as_many_bins_as_there_are(root, settings):
    _, parts = examples(root, settings | {"F": 2048}).batch(0)  # all but one; frames tuned down have fewer
    assert parts.shape[2] == 2048
    assert np.isfinite(parts).all()


def test_a_batch_is_a_function_of_seed_and_number_alone(root, settings):
    one, other = examples(root, settings), examples(root, settings)
    one.batch(0)  # what was read before must not matter
    for here, there in zip(one.batch(7), other.batch(7), strict=True):
        np.testing.assert_array_equal(here, there)
    assert not np.array_equal(one.batch(7)[0], one.batch(8)[0])
    reseeded = examples(root, settings | {"random_seed": 1})
    assert not np.array_equal(one.batch(7)[0], reseeded.batch(7)[0])


@pytest.mark.parametrize(("share", "value"), [("CACHE_SHARE", 0), ("MIN_FREE_SHARE", 2)])
def test_what_fits_into_memory_makes_no_difference(share, value, root, settings, monkeypatch):
    reader = examples(root, settings)
    kept = reader.batch(3)
    monkeypatch.setattr(waveform_cache, share, value)
    without = examples(root, settings)
    for here, there in zip(kept, without.batch(3), strict=True):
        np.testing.assert_array_equal(here, there)
    assert reader._waveforms._cached and not without._waveforms._cached


def test_without_remixing_the_mix_is_that_of_the_song(root, settings):
    reader = examples(root, settings, remix=False)
    mix, _ = reader.batch(0)
    song, start = reader._random_place(np.random.default_rng([settings["random_seed"], 0]))
    recorded = audio.fit_channels(audio.read(song.mix, start, reader.n_samples)[0], 1)
    expected = np.abs(stft.frames_to_spectrogram(recorded, 4096, 1024))[:, : settings["F"]]
    np.testing.assert_allclose(mix[0], expected, atol=1e-3)


def test_remixing_leaves_instruments_out_now_and_then(root, settings):
    silent = [(parts.sum(axis=(1, 2, 3)) == 0) for _, parts in map(examples(root, settings).batch, range(10))]
    assert 0 < np.mean(silent) < 0.6


def test_workers_make_together_what_one_makes_alone(root, settings):
    whole = examples(root, settings | {"batch_size": 16})
    for number in range(3):
        shares = [whole.share(worker, 2).batch(number) for worker in range(2)]
        for here, there in zip(whole.batch(number), zip(*shares, strict=True), strict=True):
            np.testing.assert_array_equal(here, np.concatenate(there))


@pytest.mark.parametrize("remix", [True, False])
def test_a_worker_opens_only_files_of_its_own_examples(root, settings, remix, monkeypatch):
    """Each part reads the same files whoever makes it, and a worker reads those of its parts, nothing else."""
    opened = []
    monkeypatch.setattr(waveform_cache, "CACHE_SHARE", 0)
    monkeypatch.setattr(
        waveform_cache.WaveformCache, "_decoded",
        lambda self, file, n_channels, start, length: opened.append((file, start)) or np.ones((length, n_channels)),
    )  # fmt: skip

    def opened_by(make, *given):
        opened.clear()
        make(*given)
        return list(opened)

    whole = examples(root, settings | {"batch_size": 16}, remix)
    parts = [opened_by(whole._part, 0, part) for part in range(4)]
    assert all(parts) and len(set(map(tuple, parts))) == 4
    for worker in range(2):
        assert opened_by(whole.share(worker, 2).batch, 0) == parts[2 * worker] + parts[2 * worker + 1]
    assert opened_by(whole.batch, 0) == [*chain(*parts)]


def test_an_undivided_batch_equals_the_batch_without_parts(root, settings):
    """A model trained with the default batch size can be trained again: seeds are filled up with zeros."""
    one, other = (np.random.default_rng(seed).random(5) for seed in ([3, 7], [3, 7, 0]))
    np.testing.assert_array_equal(one, other)
    assert batches.n_parts(tables.Settings().batch_size) == 1


def test_a_batch_has_as_many_examples_as_asked_for(root, settings):
    for size in (1, 4, 7):
        mix, parts = examples(root, settings | {"batch_size": size}).batch(0)
        assert len(mix) == len(parts) == size


def test_some_batches_are_songs_as_they_are(root, settings, monkeypatch):
    reader = examples(root, settings)
    monkeypatch.setattr(reader, "_remixed", lambda name, size, rng: [])
    sounding = [reader.batch(number)[0].any() for number in range(40)]
    assert 0.1 < np.mean(sounding) < 0.5


def test_each_use_of_an_excerpt_sounds_different(root, settings):
    """Two examples of a batch that share an excerpt differ in level and colour, not in what is played."""
    reader = examples(root, settings)
    uses = [dict(reader._remixed("Violin", 2, np.random.default_rng(number))) for number in range(20)]
    one, other = next(list(parts.values()) for parts in uses if len(parts) == 2)
    sounding = np.abs(one) > 1e-4
    ratio = np.abs(other[sounding]) / np.abs(one[sounding])
    assert 1.05 < ratio.max() / ratio.min() < 100
    np.testing.assert_allclose(np.angle(one[sounding]), np.angle(other[sounding]), atol=1e-3)


def test_instruments_are_tuned_up_and_down_a_little(root, settings):
    reader, highest = examples(root, settings), []
    reader.songs = [song for song in reader.songs if song.track == "Track00001"]
    for number in range(30):
        part = reader._random_excerpt("Violin", np.random.default_rng(number))
        highest.append(np.abs(part).sum(axis=(0, 2)).argmax())
    assert 1.05 < max(highest) / min(highest) < 1.25


def test_batches_made_ahead_come_in_order(root, settings):
    reader = examples(root, settings)
    for number, (mix, _) in zip(range(4, 9), batches.prefetch(reader, range(4, 9)), strict=True):
        np.testing.assert_array_equal(mix, reader.batch(number)[0])
    assert list(batches.prefetch(reader, [])) == []


def test_an_excerpt_past_the_end_is_padded_with_silence(root, settings):
    reader = examples(root, settings)
    path = reader.songs[0].files["Violin"]
    excerpt = waveform_cache.WaveformCache().excerpt(path, reader.songs[0].n_samples - 10, 100, 1)
    assert excerpt.shape == (100, 1)
    assert not excerpt[10:].any()


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE", "PCM_24"])
def test_other_stems_give_the_examples_of_sixteen_bit_ones(root, settings, tmp_path, subtype):
    path = examples(root, settings).songs[0].files["Violin"]
    waveform, rate = audio.read(path)
    soundfile.write(tmp_path / "Violin.wav", waveform, rate, subtype=subtype)
    cache = waveform_cache.WaveformCache()
    excerpt = cache.excerpt(tmp_path / "Violin.wav", 100, 5000, 2)
    assert excerpt.any()
    np.testing.assert_array_equal(excerpt, cache.excerpt(path, 100, 5000, 2))


def as_float(root, factor=1.0):
    """Turn a root's songs into floating-point WAV."""
    for path in root.prepared.rglob("*.flac"):
        waveform, rate = audio.read(path)
        soundfile.write(path.with_suffix(".wav"), factor * waveform, rate, subtype="FLOAT")
        path.unlink()
    for table in root.tables.glob("*.csv"):
        table.write_text(table.read_text().replace(".flac", ".wav"))


def test_floats_give_the_same_examples_as_integers(root, settings, tmp_path):
    for factor in (1.0, 8.0):  # to 1.6, which integers do not hold
        other = tiny_prepared.write(tmp_path / str(factor))
        as_float(other, factor)
        for ours, theirs in zip(examples(root, settings).batch(1), examples(other, settings).batch(1), strict=True):
            assert ours.any()
            np.testing.assert_allclose(factor * ours, theirs, atol=factor * ours.max() * 1e-3)


@pytest.mark.parametrize("remix", [True, False])
def test_of_some_stems_the_network_gets_the_mix(root, settings, remix):
    mix, parts = examples(root, settings | {"instrument_list": ["Violin"], "batch_size": 8}, remix).batch(3)
    low = slice(5, 20)  # bins of the bass alone
    assert np.square(mix[:, :, low]).sum() > 0.1 * np.square(mix).sum()
    assert np.square(parts[:, :, low]).sum() < 0.01 * np.square(parts).sum()


def test_the_mix_is_the_tables_despite_rounding(root, settings, tmp_path):
    other = tiny_prepared.write(tmp_path)
    rng = np.random.default_rng(0)
    for path in other.prepared.rglob("mix.flac"):
        waveform, rate = audio.read(path, dtype="int16")
        audio.write(path, waveform + rng.integers(-2, 3, waveform.shape).astype(np.int16), rate)
    reader = examples(other, settings, remix=False)
    mix, _ = reader.batch(0)
    song, start = reader._random_place(np.random.default_rng([settings["random_seed"], 0]))
    recorded = audio.fit_channels(audio.read(song.mix, start, reader.n_samples)[0], 1)
    expected = np.abs(stft.frames_to_spectrogram(recorded, 4096, 1024))[:, : settings["F"]]
    np.testing.assert_allclose(mix[0], expected, rtol=1e-3, atol=1e-2)
    assert np.abs(mix - examples(root, settings, remix=False).batch(0)[0]).max() > 1e-3


def test_a_blank_cell_is_refused_with_its_line_and_column(root, settings, tmp_path):
    table = tmp_path / "train.csv"
    lines = (root.tables / "train.csv").read_text().splitlines()
    table.write_text("\n".join([lines[0], lines[1], lines[2].replace(lines[2].split(",")[2], "")]))
    with pytest.raises(SettingError, match=r"train\.csv, line 3: no value for 'Violin_path'"):
        song_table.read_songs(root, table, settings)


def test_a_missing_or_empty_table_says_what_to_run(root, settings, tmp_path):
    with pytest.raises(MissingError, match=r"Notebook 03"):
        song_table.read_songs(root, tmp_path / "none.csv", settings)
    (tmp_path / "empty.csv").write_text("mix_path,duration\n")
    with pytest.raises(SettingError, match="no rows"):
        song_table.read_songs(root, tmp_path / "empty.csv", settings)
