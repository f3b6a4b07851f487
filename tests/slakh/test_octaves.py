"""Whether stems sound in the octave of their notes."""

import numpy as np
import pandas as pd
import pretty_midi
import pytest
from fixtures.rendered import rendered
from fixtures.tiny_slakh import write_track

from muscomp_lib import audio, slakh
from muscomp_lib.core.root import open_root
from muscomp_lib.slakh import index_tables, octaves
from muscomp_lib.transcription import batches, metrics

SCALE = (0, 2, 4, 5, 7, 9, 7, 4)
BASS, GUITAR = "Electric_Bass_pick", "Acoustic_Guitar_nylon"
FULL = slakh.Settings(verify="full", workers=1)


def write_notes(path, notes, above=0):
    """A MIDI file of [(pitch, start, length)], so many semitones above what sounds."""
    midi = pretty_midi.PrettyMIDI(initial_tempo=120)
    part = pretty_midi.Instrument(34)
    part.notes = [pretty_midi.Note(90, pitch + above, start, start + length) for pitch, start, length in notes]
    midi.instruments.append(part)
    midi.write(str(path))


@pytest.fixture
def stem(tmp_path):
    """Write a stem and its MIDI file, some semitones above; their paths."""

    def write(name, notes, above=0, change=lambda sound: sound):
        audio.write(tmp_path / "a.flac", change(0.5 * rendered(name, notes, 5.0, "slakh12")), audio.SAMPLE_RATE)
        write_notes(tmp_path / "a.mid", notes, above)
        return tmp_path / "a.flac", tmp_path / "a.mid"

    return write


def melody(lowest, step=0.5, length=0.4):
    return [(lowest + above, 0.2 + step * place, length) for place, above in enumerate(SCALE)]


@pytest.mark.parametrize("above", [-24, -12, 0, 12, 24])
@pytest.mark.parametrize(("name", "lowest"), [(BASS, 36), (GUITAR, 52), ("Violin", 67), ("Brass_Section", 55)])
def test_labels_octaves_off_are_found(stem, name, lowest, above):
    assert octaves.of_stem(stem(name, melody(lowest), above)) == {"octave": -above // 12}


def test_a_bass_without_its_fundamental_is_right(stem):
    def thin(sound):
        spectrum = np.fft.rfft(sound, axis=0)
        spectrum[: round(130 * len(sound) / audio.SAMPLE_RATE)] = 0
        return np.fft.irfft(spectrum, len(sound), axis=0).astype(np.float32)

    assert octaves.of_stem(stem(BASS, melody(33), change=thin)) == {"octave": 0}
    assert octaves.of_stem(stem(BASS, melody(33), 12, change=thin)) == {"octave": -1}


@pytest.mark.parametrize(
    "notes",
    [
        [(pitch, start, 0.4) for start in np.arange(0.2, 4, 0.5) for pitch in (60, 64, 67)],
        melody(60, length=0.15),
        melody(60)[:2],
    ],
    ids=["chords", "short notes", "two notes"],
)
def test_without_single_notes_the_octave_is_unknown(stem, notes):
    assert octaves.of_stem(stem(GUITAR, notes, 12)) == {"octave": None}


def test_other_notes_than_those_that_sound_are_unknown(stem):
    assert octaves.of_stem(stem(GUITAR, melody(60), 7)) == {"octave": None}
    sound, midi = stem(GUITAR, melody(60), change=np.zeros_like)
    assert octaves.of_stem((sound, midi)) == {"octave": None}
    midi.write_bytes(b"MThd")
    assert octaves.of_stem((sound, midi)) == {"octave": None}


@pytest.fixture
def root(tmp_path):
    """A bass an octave below its notes, a guitar, an organ as far below its own, and drums."""
    root = open_root(tmp_path)
    programs = {"S00": (BASS, 34, 12), "S01": (GUITAR, 24, 0), "S02": ("Rock_Organ", 18, 12), "S03": ("Drums", 128, 0)}
    specs = {name: {"program": program, "seconds": 5.0} for name, (_, program, _) in programs.items()}
    folder = write_track(root.slakh, "train", "Track00001", specs)
    for name, (instrument, _, above) in programs.items():
        notes = melody(40)
        audio.write(folder / "stems" / f"{name}.flac", 0.2 * rendered(instrument, notes, 5.0, "slakh12"), 44100)
        write_notes(folder / "MIDI" / f"{name}.mid", notes, above)
    return root


def test_the_index_has_the_octave_of_each_stem(root, monkeypatch):
    assert slakh.index(root)[0]["octave"].isna().all(), "headers alone compare nothing"
    stems, _ = slakh.index(root, FULL)
    assert stems["octave"].fillna(9).tolist() == [-1, 0, 9, 9]
    assert index_tables.octaves(stems).to_dict("records") == [
        {"instrument": GUITAR, "compared": 1, "below": 0, "above": 0},
        {"instrument": BASS, "compared": 1, "below": 1, "above": 0},
    ]
    monkeypatch.setattr(octaves, "of_stem", None)  # a second run compares nothing again
    for settings in (FULL, slakh.Settings()):
        pd.testing.assert_frame_equal(slakh.index(root, settings)[0], stems)


def test_a_changed_midi_file_is_compared_again(root):
    slakh.index(root, FULL)
    write_notes(root.slakh / "train/Track00001/MIDI/S00.mid", melody(40)[:-1])
    assert slakh.index(root)[0]["octave"].isna().tolist() == [True, False, True, True]
    assert slakh.index(root, FULL)[0].loc[0, "octave"] == 0


def test_notes_to_train_and_score_on_are_those_that_sound(root):
    slakh.index(root, FULL)
    bass, guitar = (batches.of_song(root, "Track00001")[name].notes[0, 2] for name in (BASS, GUITAR))
    assert (bass, guitar) == (40, 40)
    assert metrics.true_notes(root, "Track00001")[BASS][0].pitch == 40
    assert metrics.true_notes(root, "Track00001", correct_octaves=False)[BASS][0].pitch == 52


def test_tables_of_earlier_versions_have_unknown_octaves(root):
    slakh.index(root, FULL)
    path, _ = index_tables.paths(root)
    pd.read_csv(path).drop(columns="octave").to_csv(path, index=False)
    stems, _ = index_tables.read(root)
    assert stems["octave"].isna().all() and str(stems["octave"].dtype) == "Int64"
    assert batches.of_song(root, "Track00001")[BASS].notes[0, 2] == 52
