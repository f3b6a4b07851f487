"""Songs to train on for real music: sources of sound, effects, mastering, songs from MIDI files."""

import collections
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import mido
import numpy as np
import pretty_midi
import pytest
import yaml
from fixtures import killing
from fixtures.needs import require

from muscomp_lib import audio, minislakh, music_files
from muscomp_lib.core import instruments
from muscomp_lib.core.errors import MidiError, MissingError, SettingError
from muscomp_lib.minislakh import (
    arrangement,
    effects,
    midi_songs,
    players,
    productions,
    sources,
    synthesizer,
    writer,
)

RATE = 44100
OWN = {
    "others": {"others": 1.0},
    "limited": {"others": 1.0, "balance": 6.0, "mastered": 1.0, "limiter": [6, 6], "noise": [-40, -40]},
    "written": {"midi": 1.0},
    "rearranged": {"midi": 1.0, "rearranged": 1.0},
    "lone": {"midi": 0.5, "lone": 1.0},
}


@pytest.fixture
def own(monkeypatch, tmp_path):
    """Put the productions above in the place of the shipped ones."""
    file = tmp_path / "productions.yaml"
    file.write_text(yaml.safe_dump(OWN))
    monkeypatch.setattr(productions, "PRODUCTION_FILE", file)
    productions.load.cache_clear()
    yield
    productions.load.cache_clear()


@pytest.fixture
def midi_folder(tmp_path):
    """A folder of MIDI files: two that play, one that is damaged."""
    folder = tmp_path / "midi"
    folder.mkdir()
    for number, program in enumerate((0, 73)):
        midi = pretty_midi.PrettyMIDI()
        for part in (pretty_midi.Instrument(program), pretty_midi.Instrument(0, is_drum=True)):
            part.notes = [pretty_midi.Note(90, 40 + step % 30, step / 4, step / 4 + 0.2) for step in range(80)]
            midi.instruments.append(part)
        midi.write(str(folder / f"song{number}.mid"))
    (folder / "damaged.mid").write_bytes(b"MThd and no more")
    return folder


def part_of(program, *notes):
    part = pretty_midi.Instrument(program % 128, program == instruments.DRUMS)
    part.notes = [pretty_midi.Note(100, pitch, start, end) for pitch, start, end in notes]
    return part


def rendered(track):
    metadata = yaml.safe_load((track / "metadata.yaml").read_text())
    return {name: stem for name, stem in metadata["stems"].items() if stem["audio_rendered"]}


def song(*programs):
    midi = pretty_midi.PrettyMIDI()
    midi.instruments = [part_of(program, (60, 0.0, 1.0)) for program in programs]
    return midi


# ---- sources of sound


def test_a_missing_source_says_how_to_get_it(monkeypatch):
    entry = sources.known()["GeneralUser"].model_copy(update={"file": ["/no/such.sf2"]})
    monkeypatch.setattr(sources, "known", lambda: {"GeneralUser": entry})
    with pytest.raises(MissingError, match=r"'GeneralUser' is not here \(/no/such.sf2\)\. Get it: apt install minuet"):
        sources.find("GeneralUser")


def test_how_to_get_recorded_notes_names_each_folder():
    entry = sources.known()["recorded"]
    expanded = subprocess.run(
        ["bash", "-c", f"echo {entry.install}"], capture_output=True, text=True, check=True
    ).stdout
    packages = {folder.rpartition("/")[0] if folder.endswith(".mp3") else folder for folder in entry.folders}
    assert set(expanded.split()) - {"npm", "install", "--global", "--omit=peer"} == packages


def test_recordings_are_looked_for_where_they_are_cloned_to():
    cloned = [entry for entry in sources.known().values() if entry.install.startswith("git clone")]
    assert cloned and all(Path(entry.file[0]).is_relative_to(entry.install.split()[-1]) for entry in cloned)


def test_a_soundfont_may_be_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own.sf2").touch()
    assert sources.find("~/own.sf2").file == tmp_path / "own.sf2"


def test_a_misspelled_source_is_refused_with_the_one_meant():
    with pytest.raises(MissingError, match="Did you mean 'GeneralUser'"):
        minislakh.Settings(soundfonts=["GeneralUsr"])


def test_each_stem_draws_its_own_source_and_kit():
    both = [sources.Source(kits=(0, 8)), sources.Source("fluidsynth")]
    rng = np.random.default_rng(0)
    drawn = [sources.draw(part_of(program, (60, 0, 1)), both, rng) for program in [0, 40, 128] * 20]
    assert {sound.source for sound in drawn[:6]} == set(both)
    assert {sound.kit for sound in drawn[2::3]} == {0, 8}
    assert {sound.kit for sound in drawn[::3]} == {0}  # kits are for drums


def test_no_stem_draws_a_source_that_lacks_its_program():
    lacking, having = sources.Source(programs=frozenset({41, 128})), sources.Source("fluidsynth")
    rng = np.random.default_rng(0)
    drawn = {sources.draw(part_of(40, (60, 0, 1)), [lacking, having], rng).source for _ in range(20)}
    assert drawn == {having}


def test_timidity_plays_at_the_right_moment_where_it_is_installed():
    try:
        source = sources.find("freepats")
    except (SettingError, MissingError) as missing:
        pytest.skip(str(missing))
    part = part_of(0, (69, 0.5, 1.5))
    first, again = (synthesizer.render(part, 2.0, RATE, source.engine, source.file) for _ in range(2))
    assert first.shape == (2 * RATE, 1)
    assert np.array_equal(first, again)
    assert abs(np.argmax(np.abs(first) > 0.05 * np.abs(first).max()) / RATE - 0.5) < 0.02


def test_festival_sings_a_melody_in_tune_where_it_is_installed():
    try:
        source = sources.find("singer_kal")
    except (SettingError, MissingError) as missing:
        pytest.skip(str(missing))
    part = part_of(52, (57, 0.5, 1.5), (50, 0.5, 1.5), (64, 1.5, 2.5))  # of the first two, the higher
    waveform = synthesizer.render(part, 3.0, RATE, source.engine, source.file)[:, 0]
    for note, start in ((57, 0.7), (64, 1.7)):
        spectrum = np.abs(np.fft.rfft(waveform[int(start * RATE) : int((start + 0.6) * RATE)], 1 << 17))
        harmonics = (np.arange(1, 9) * pretty_midi.note_number_to_hz(note) * (1 << 17) / RATE).astype(int)
        between = (harmonics * 1.06).astype(int)
        assert spectrum[harmonics].sum() > 4 * spectrum[between].sum()


@pytest.mark.parametrize("singer", ["singer_kal", "singer_lp"])
def test_festival_sings_in_its_range_what_is_beyond_it(singer):
    try:
        source = sources.find(singer)
    except (SettingError, MissingError) as missing:
        pytest.skip(str(missing))
    waveforms = [
        synthesizer.render(part_of(52, (pitch, 0.0, 1.0)), 1.0, RATE, source.engine, source.file)
        for pitch in (12, 36, 61, 73, 109)
    ]
    assert min(np.abs(waveform).max() for waveform in waveforms) > 0.05
    assert np.array_equal(*waveforms[:2]) and np.array_equal(*waveforms[2:4]) and np.array_equal(*waveforms[3:])


def test_only_a_singer_has_voices_only():
    assert {name for name, entry in sources.known().items() if set(entry.programs) == set(productions.VOICES)} == {
        name for name, entry in sources.known().items() if entry.engine == "festival"
    }


@pytest.fixture
def kit(tmp_path):
    """A drum kit of Hydrogen: its drums 0 and 1 have two recordings and one, constants 20 ms long."""
    for name, value in (("soft", 0.1), ("hard", 0.5), ("hat", 0.25)):
        audio.write(tmp_path / f"{name}.wav", np.full((RATE // 50, 1), value, np.float32), RATE)
    layer = "<layer><filename>{}.wav</filename><min>{}</min><max>{}</max><gain>{}</gain></layer>"
    drums = [layer.format("soft", 0, 0.5, 1) + layer.format("hard", 0.51, 1, 1), layer.format("hat", 0, 1, 2)]
    instruments_in = "".join(f"<instrument><volume>1</volume>{drum}</instrument>" for drum in drums)
    (tmp_path / "drumkit.xml").write_text(f"<drumkit_info>{instruments_in}</drumkit_info>")
    return sources.Source("hydrogen", tmp_path / "drumkit.xml", drum_keys=((36, 0), (42, 1)))


def test_recorded_hits_sound_at_their_moment_and_velocity(kit):
    part = part_of(128, (36, 0.1, 0.2), (36, 0.3, 0.4), (42, 0.5, 0.6))
    part.notes[0].velocity, part.notes[1].velocity, part.notes[2].velocity = 127, 50, 127
    waveform = synthesizer.render(sources.on_keys(part, sources.Sound(kit)), 1.0, RATE, kit.engine, kit.file)[:, 0]
    for start, level in ((0.1, 0.5), (0.3, 0.1 * 50 / 127), (0.5, 2 * 0.25)):
        at = round(start * RATE)
        assert waveform[at - 1] == 0
        assert waveform[at : at + RATE // 50] == pytest.approx(level, abs=1e-4)


def test_an_instrument_that_a_kit_lacks_is_refused(kit):
    with pytest.raises(SettingError, match=r"drumkit\.xml has instruments 0 to 1, and no 7"):
        synthesizer.render(part_of(128, (7, 0.1, 0.2)), 1.0, RATE, kit.engine, kit.file)


@pytest.fixture
def hits(tmp_path):
    """A folder of a kit's hits: three snares, and a closed and an open hi-hat, constants; the last lasts 2 s."""
    for name, peak, seconds in (
        ("snare loud", 0.8, 0.1), ("snare mid", 0.4, 0.2), ("snare soft", 0.1, 0.3), ("snare off", 0.0, 0.1),
        ("closed", 0.5, 0.05), ("open", 0.5, 2.0),
    ):  # fmt: skip
        audio.write(tmp_path / f"{name}.wav", np.full((round(RATE * seconds), 1), peak, np.float32), RATE)
    files = (("snare *.wav", (38, 40)), ("closed.wav", (42,)), ("open.wav", (46,)))
    return sources.Source("hits", tmp_path, hits=files)


def test_a_hit_is_as_loud_among_its_recordings_as_played(hits):
    part = part_of(128, *((38, start, start + 0.1) for start in range(3)))
    for note, velocity in zip(part.notes, (10, 64, 127), strict=True):
        note.velocity = velocity
    waveform = _played(part, hits)
    for start, velocity, lasts in (
        (0, 10, 0.3),
        (1, 64, 0.2),
        (2, 127, 0.1),
    ):  # each recording is as long as it is soft
        at, end = start * RATE, round((start + lasts) * RATE)
        level = velocity / 127 * audio.to_gain(synthesizer.HIT_LEVELS[38])
        assert waveform[at + 10 : end - 10] == pytest.approx(level, rel=1e-3)
        assert not waveform[end + 10 : at + RATE - 10].any()


def test_an_open_hat_rings_until_it_is_closed(hits):
    waveform = _played(part_of(128, (46, 0.0, 0.1), (38, 0.3, 0.4), (42, 1.0, 1.1), (46, 1.5, 1.6)), hits)
    assert waveform[round(0.9 * RATE)] > 0
    assert not waveform[round((1.0 + 2 * synthesizer.CHOKE) * RATE) : round(1.5 * RATE)].any()
    assert waveform[round(3.4 * RATE)] > 0


def _played(part, kit):
    part = sources.on_keys(part, sources.Sound(kit))
    return synthesizer.render(part, 4.0, RATE, kit.engine, kit.file, kit.drum_bank, kit.hits)[:, 0]


def test_hits_without_a_sound_are_refused(hits):
    hits = replace(hits, hits=(("snare off.wav", (38,)),))
    with pytest.raises(SettingError, match=r"snare off\.wav holds no recording of a drum"):
        _played(part_of(128, (38, 0.0, 0.1)), hits)


def test_a_folder_of_hits_is_known_by_them(hits):
    assert hits.content().startswith("6 recorded hits, SHA-256")
    assert hits.drum_key(40) == 40 and hits.drum_key(51) is None


def test_drums_that_a_kit_lacks_are_not_in_the_song(kit):
    midi = song(0, 128)
    midi.instruments[1].notes = part_of(128, (36, 0, 1), (38, 0, 1), (42, 1, 2)).notes
    sources.drop_missing_drums(midi, [sources.Sound(kit)] * 2)
    assert [note.pitch for note in midi.instruments[1].notes] == [36, 42]
    assert len(midi.instruments[0].notes) == 1


@pytest.fixture
def violin(tmp_path):
    """Recorded notes of one instrument: two sines of two seconds that begin late, and files that are no notes."""
    folder = tmp_path / "recorded" / "violin"
    folder.mkdir(parents=True)
    for name, hertz in (("A4", 440.0), ("Cs5", 554.37)):
        wave = 0.5 * np.sin(2 * np.pi * hertz * np.arange(2 * RATE) / RATE)
        audio.write(folder / f"{name}.wav", np.concatenate([np.zeros(RATE // 10), wave])[:, None], RATE)
    (folder / "take 2.mp3").write_bytes(b"no note")
    (folder / "README.md").write_text("A4.wav")
    return sources.Source("notes", folder.parent, programs=frozenset({40}), folders=(("violin", (40,)),))


def test_recorded_notes_sound_at_their_time_and_pitch(violin):
    part = part_of(40, (69, 0.5, 1.0), (61, 1.5, 2.0), (84, 2.5, 3.0))
    part.notes[1].velocity = 50
    sound = sources.draw(part, [violin], np.random.default_rng(0))
    waveform = synthesizer.render(part, 4.0, RATE, sound.source.engine, sound.source.file)[:, 0]
    for note in part.notes:
        at, end = round(note.start * RATE), round(note.end * RATE)
        spectrum = np.abs(np.fft.rfft(waveform[at:end] * np.hanning(end - at), 1 << 17))
        assert np.argmax(spectrum) * RATE / (1 << 17) == pytest.approx(
            pretty_midi.note_number_to_hz(note.pitch), rel=0.005
        )
        assert np.abs(waveform[at : at + RATE // 100]).max() > 0.1  # it begins late in its file, but not in the song
        assert np.abs(waveform[at:end]).max() == pytest.approx(0.5 * note.velocity / 127, rel=0.05)
        assert not waveform[end + round(synthesizer.RELEASE * RATE) + 2 : end + RATE // 4].any()


@pytest.mark.parametrize(
    ("file", "pitch"),
    {
        "Cs4.mp3": 61, "A3v8.ogg": 57, "banjo_A3_very-long_forte_normal.mp3": 57, "g5f.flac": 79, "db4mp.flac": 61,
        "gb4_pp_rr3.wav": 66, "097-C#7-FF.flac": 97, "Mf A#6.flac": 94, "pizz_g3_pd.wav": 55, "41_F2_FF.flac": 41,
        "Bassoon mp C#2.flac": 37, "e3_vl2_rr4.wav": 52, "Eb4.flac": 63, "bb2_f.wav": 46,
    }.items(),
)  # fmt: skip
def test_the_pitch_is_found_in_a_files_name(file, pitch, tmp_path):
    (tmp_path / file).write_bytes(b"a sound")
    (tmp_path / "perc_4_rr3.wav").write_bytes(b"a sound")  # no note
    (tmp_path / "A1.wav").write_bytes(b"")  # a download that broke off
    assert synthesizer.recordings(tmp_path) == {pitch: [tmp_path / file]}


def test_recordings_of_a_pitch_take_turns(tmp_path):
    for take, peak in ((1, 0.2), (2, 0.4)):
        audio.write(tmp_path / f"a4_f_rr{take}.wav", np.full((RATE, 1), peak), RATE)
    audio.write(tmp_path / "a4_p_rr1.wav", np.full((RATE, 1), 0.1), RATE)
    part = part_of(40, *((69, start, start + 0.3) for start in range(3)))
    waveform = synthesizer.render(part, 3.0, RATE, "notes", tmp_path / "*_f_*.wav")
    peaks = [np.abs(waveform[start * RATE : (start + 1) * RATE]).max() * 127 / 100 for start in range(3)]
    assert peaks == pytest.approx([0.2, 0.4, 0.2], rel=0.01)


def test_recordings_named_in_another_octave_sound_as_written(violin):
    lower = sources.Sound(replace(violin, octave=-1))
    part = sources.on_keys(part_of(40, (57, 0, 1)), lower)
    assert part.notes[0].pitch == 69


def test_a_clean_guitar_is_distorted_for_its_programs_only():
    guitar = sources.known()["emilyguitar"]
    source = sources.Source(programs=frozenset({27, 30}), effects=guitar.effects)
    drawn = {
        program: sources.draw(part_of(program, (60, 0, 1)), [source], np.random.default_rng(0)) for program in (27, 30)
    }
    assert [plugin for plugin, _ in drawn[30].effects] == ["Distortion", "LowpassFilter", "HighpassFilter"]
    assert drawn[27].effects == ()
    later = productions.draw_sounds(productions.load("produced"), song(30), [source], np.random.default_rng(0))
    assert later[0].effects[:3] == drawn[30].effects  # what a production adds comes after


def test_recorded_notes_of_any_times_fit_their_part(violin):
    for start in np.random.default_rng(0).uniform(0, 1, 50):
        part = part_of(40, (69, start, start + 0.1 + start / 3))
        played = synthesizer.render(part, 2.0, RATE, violin.engine, violin.file)
        assert np.abs(played[round(start * RATE) :]).max() > 0.1


def test_each_stem_draws_one_folder_of_its_program(violin):
    folders = (("violin", (40,)), ("other violin", (40, 41)), ("viola", (41,)))
    (violin.file / "other violin").mkdir()
    several, rng = replace(violin, folders=folders, programs=frozenset({40, 41})), np.random.default_rng(0)
    drawn = {sources.draw(part_of(40, (69, 0, 1)), [several], rng).source.name for _ in range(20)}
    assert drawn == {"recorded/violin", "recorded/other violin"}


def test_a_folder_without_recorded_notes_says_how_to_name_them(tmp_path):
    with pytest.raises(SettingError, match=r"holds no recorded notes\. Name each file by its pitch: A3.wav"):
        synthesizer.render(part_of(40, (69, 0, 1)), 1.0, RATE, "notes", tmp_path)


def test_recorded_notes_are_known_by_what_they_are(violin, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(violin.file, moved)
    there = replace(violin, file=moved)
    assert there.content() == violin.content()
    shutil.copyfile(moved / "violin" / "A4.wav", moved / "violin" / "B4.wav")
    synthesizer.recordings.cache_clear()
    assert there.content() != violin.content()


def test_a_source_that_lacks_a_folder_is_not_here(violin, monkeypatch):
    entry = sources.known()["recorded"].model_copy(update={"file": [str(violin.file)], "folders": {"viola": [41]}})
    monkeypatch.setattr(sources, "known", lambda: {"recorded": entry})
    with pytest.raises(MissingError, match=r"'recorded' is not here .* Get it: npm install"):
        sources.find("recorded")


def test_a_one_tom_kit_plays_its_own_keys():
    keys = tuple(sources.known()["Black_Pearl"].drum_keys.items())
    part = part_of(128, (36, 0, 1), (45, 0, 1), (47, 0, 1))
    played = sources.on_keys(part, sources.Sound(sources.Source(drum_keys=keys), kit=8))
    assert [note.pitch for note in played.notes] == [36, 41, 45] and played.program == 8
    assert [note.pitch for note in part.notes] == [36, 45, 47]


# ---- productions


def test_every_shipped_production_can_be_read():
    assert all(productions.load(name) for name in yaml.safe_load(productions.PRODUCTION_FILE.read_text()))


def test_an_unknown_production_is_refused_with_the_one_meant():
    with pytest.raises(SettingError, match="Did you mean 'varied'"):
        minislakh.Settings(production="vaired")


@pytest.mark.parametrize(
    "wrong", [{"lone": 2}, {"effects": {"Reverb": {"room_size": 0.5}}}, {"limiter": [9, 2]}, {"mastring": {}}], ids=str
)
def test_a_wrong_production_is_refused(wrong, monkeypatch, tmp_path):
    (tmp_path / "productions.yaml").write_text(yaml.safe_dump({"mine": wrong}))
    monkeypatch.setattr(productions, "PRODUCTION_FILE", tmp_path / "productions.yaml")
    with pytest.raises(SettingError, match=rf"productions.yaml.*{next(iter(wrong))}"):
        productions.load.__wrapped__("mine")


def test_a_tenth_of_varied_songs_has_one_or_two_parts():
    planned = minislakh.plan(minislakh.Settings(tracks=200, production="varied", taxonomy="families"))
    sizes = [len(track.programs) for track in planned]
    assert 0.05 < np.mean([size <= 2 for size in sizes]) < 0.16
    assert min(sizes) == 1


def test_nearly_all_varied_songs_have_parts_outside_the_taxonomy():
    planned = minislakh.plan(minislakh.Settings(tracks=200, production="varied", taxonomy="families"))
    outside = [{p for p in t.programs if not instruments.of_program(p, "families")} for t in planned]
    assert np.mean([bool(programs) for programs in outside]) > 0.8
    assert set.union(*outside) == set(productions.others("families"))


def test_all_songs_for_drums_have_them():
    planned = minislakh.plan(minislakh.Settings(tracks=50, production="drums", taxonomy="families"))
    assert all(track.programs.count(instruments.DRUMS) == 1 for track in planned)


def test_a_mastered_mix_is_the_sum_of_its_stems(own, tmp_path):
    settings = minislakh.Settings(tracks=3, seconds=4.0, production="limited")
    for track in minislakh.make(tmp_path / "slakh", settings, workers=1):
        stems = [audio.read(track / "stems" / f"{name}.flac", dtype="int16")[0] for name in rendered(track)]
        mix, _ = audio.read(track / "mix.flac", dtype="int16")
        assert np.array_equal(mix, np.sum(stems, axis=0, dtype=np.int32))
        assert audio.to_db(np.abs(mix.astype(int)).max() / audio.INT16_SCALE) == pytest.approx(-1.0, abs=0.05)


def test_mastering_limits_the_peaks_and_adds_noise(own):
    how, rng = productions.load("limited"), np.random.default_rng(0)
    mastering = productions.draw_mastering(how, song(0, 73, 40), "slakh12", rng)
    loud = np.zeros((RATE, 1), np.float32)
    loud[RATE // 2] = 1.0
    loud[RATE // 4] = 0.4
    gains = mastering.gains(loud)
    assert np.abs(loud * gains).max() == pytest.approx(0.5, abs=0.01)
    assert gains[RATE // 4] == pytest.approx(1.0)
    assert np.std(mastering.hiss(0.5, RATE)) == pytest.approx(0.005, rel=0.05)
    assert mastering.noisy in (0, 1)  # a stem outside the twelve: a grand piano or a flute


def test_effects_are_drawn_in_their_ranges_for_their_programs():
    chain = {"Distortion": {"programs": [30], "drive_db": [3, 9]}, "Gain": {"chance": 0.5, "gain_db": [-1, 1]}}
    rng = np.random.default_rng(0)
    drawn = [effects.draw(chain, rng, program) for program in [30, 40] * 50]
    counted = collections.Counter(plugin for each in drawn for plugin, _ in each)
    assert counted["Distortion"] == 50
    assert 30 < counted["Gain"] < 70
    assert all(3 <= values["drive_db"] <= 9 for each in drawn for plugin, values in each if plugin == "Distortion")


def centroid(waveform):
    power = np.abs(np.fft.rfft(waveform)) ** 2
    return (power * np.fft.rfftfreq(len(waveform), 1 / RATE)).sum() / power.sum()


def first_sound(waveform):
    return np.argmax(np.abs(waveform) > 0.05 * np.abs(waveform).max()) / RATE


def test_a_drum_tuned_higher_sounds_higher_at_its_time():
    part = part_of(instruments.DRUMS, (38, 0.5, 0.6))
    for semitones in (-12.0, 12.0):
        sound = sources.Sound(drums=(((38,), semitones, ()),))
        tuned = writer._play(part, 1.0, sound)[:, 0]
        plain = writer._play(part, 1.0, sources.Sound())[:, 0]
        assert first_sound(tuned) == pytest.approx(first_sound(plain), abs=0.005)
        assert centroid(tuned) / centroid(plain) == pytest.approx(2 ** (semitones / 12), rel=0.3)


def test_untuned_drums_sum_to_the_whole_kit():
    tambourine = 54
    hits = [(pitch, 0.1 * n, 0.1 * n + 0.1) for n, pitch in enumerate((36, 38, 42, 51, tambourine))]
    part = part_of(instruments.DRUMS, *hits)
    apart = sources.Sound(drums=tuple((notes, 0.0, ()) for notes in productions.ONE_DRUM))
    whole, summed = (writer._play(part, 1.0, sound) for sound in (sources.Sound(), apart))
    assert np.allclose(whole, summed, atol=1e-4)


def test_every_drum_that_a_groove_hits_is_tuned_once():
    tuned = [pitch for notes in productions.ONE_DRUM for pitch in notes]
    assert sorted(tuned) == sorted(arrangement.KIT.values())


def test_kits_are_retuned_in_their_production_only():
    drums, piano = part_of(instruments.DRUMS, (38, 0, 1)), part_of(0, (60, 0, 1))
    midi = pretty_midi.PrettyMIDI()
    midi.instruments = [drums, piano]
    for name, n_tuned in (("drums", 0), ("retuned", len(productions.ONE_DRUM))):
        rng = np.random.default_rng(0)
        sounds = productions.draw_sounds(productions.load(name), midi, [sources.Source()], rng)
        assert [len(sound.drums) for sound in sounds] == [n_tuned, 0]


def test_effects_without_pedalboard_say_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pedalboard", None)
    with pytest.raises(SettingError, match=r"pip install -r requirements-effects\.txt"):
        effects.apply((("Gain", {"gain_db": 1.0}),), np.zeros((9, 1), np.float32), RATE)


def test_shipped_effects_work_and_repeat_where_pedalboard_is_installed():
    try:
        import pedalboard  # noqa: F401
    except ImportError:
        require(False, "pedalboard is not installed")
    how, rng = productions.load("produced"), np.random.default_rng(0)
    chain = {name: entry | {"chance": 1.0} for name, entry in how.effects.items()} | how.mastering
    waveform = np.float32(0.5) * np.sin(np.arange(RATE, dtype=np.float32)[:, None] / 20)
    drawn = effects.draw(chain, rng, 30)
    first, again = (effects.apply(drawn, waveform, RATE) for _ in range(2))
    assert len(drawn) == len(chain)
    assert first.shape == waveform.shape
    assert np.array_equal(first, again)
    assert not np.allclose(first, waveform, atol=0.01)


# ---- songs from MIDI files


def test_a_song_from_midi_keeps_its_parts(own, midi_folder):
    how, rng = productions.load("written"), np.random.default_rng(0)
    midi = midi_songs.arrange(midi_folder / "song1.mid", 6.0, how, "slakh12", rng)
    assert [players.program_of(part) for part in midi.instruments] == [73, 128]
    assert all(22 <= len(part.notes) <= 25 for part in midi.instruments)
    assert all(0 <= note.start < note.end <= 6.0 for part in midi.instruments for note in part.notes)


def test_a_midi_files_tempo_may_be_on_any_track(tmp_path):
    notes, tempo = mido.MidiTrack(), mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=1_000_000)])  # 60 bpm
    for _ in range(4):
        notes += [mido.Message("note_on", note=60, velocity=80), mido.Message("note_off", note=60, time=480)]
    mido.MidiFile(type=1, ticks_per_beat=480, tracks=[notes, tempo]).save(tmp_path / "song.mid")
    assert music_files.read(tmp_path / "song.mid").get_end_time() == pytest.approx(4.0)


def test_rearranged_parts_stay_in_the_range_of_their_instrument(own, midi_folder):
    how = productions.load("rearranged")
    drawn = set()
    for seed in range(30):
        midi = midi_songs.arrange(midi_folder / "song0.mid", 6.0, how, "slakh12", np.random.default_rng(seed))
        part, drums = midi.instruments
        player = players.of_program(part.program)
        drawn.add(instruments.of_program(part.program))
        assert drums.is_drum
        assert all(player.lowest - 12 < note.pitch < player.highest + 12 for note in part.notes)
    assert len(drawn) > 6
    assert "" in drawn


def test_each_midi_file_is_in_one_song_damaged_ones_composed(own, midi_folder, tmp_path, caplog):
    settings = minislakh.Settings(tracks=4, seconds=4.0, production="written", midi=[midi_folder])
    planned = minislakh.plan(settings)
    assert sorted(track.midi.name for track in planned if track.midi) == ["damaged.mid", "song0.mid", "song1.mid"]
    made = zip(planned, minislakh.make(tmp_path / "slakh", settings, workers=1), strict=True)
    programs = {t.midi.name: {s["program_num"] for s in rendered(folder).values()} for t, folder in made if t.midi}
    assert (programs["song0.mid"], programs["song1.mid"]) == ({0, 128}, {73, 128})
    assert len(programs["damaged.mid"]) >= 4
    assert "is composed instead" in caplog.text


def write_midi(path, *parts):
    midi = pretty_midi.PrettyMIDI()
    midi.instruments = list(parts)
    midi.write(str(path))


def test_an_excerpt_of_a_late_entry_has_notes(own, tmp_path):
    write_midi(tmp_path / "late.mid", part_of(0, (60, 120.0, 120.5), (62, 300.0, 300.5)))
    for seed in range(10):
        rng = np.random.default_rng(seed)
        song = midi_songs.arrange(tmp_path / "late.mid", 6.0, productions.load("written"), "slakh12", rng)
        assert len(song.instruments[0].notes) == 1


def test_a_song_without_a_sound_is_left_out(own, midi_folder, tmp_path, caplog):
    write_midi(midi_folder / "damaged.mid", part_of(instruments.DRUMS, (3, 0.0, 0.5)))  # no kit has this key
    settings = minislakh.Settings(tracks=3, seconds=4.0, production="written", midi=[midi_folder])
    silent = next(track.name for track in minislakh.plan(settings) if track.midi.name == "damaged.mid")
    made = minislakh.make(tmp_path / "slakh", settings, workers=1)
    assert len(made) == 2
    assert silent not in {folder.name for folder in made}
    assert f"Left out: {silent}: no part makes a sound" in caplog.text


def test_songs_that_are_all_silent_are_an_error(own, tmp_path):
    (tmp_path / "midi").mkdir()
    for number in range(3):
        write_midi(tmp_path / "midi" / f"{number}.mid", part_of(instruments.DRUMS, (3, 0.0, 0.5 + number)))
    settings = minislakh.Settings(tracks=3, seconds=4.0, production="written", midi=[tmp_path / "midi"])
    with pytest.raises(MidiError, match=r"no song makes a sound with these soundfonts\. Give others"):
        minislakh.make(tmp_path / "slakh", settings, workers=1)


def test_a_production_gives_the_same_files_again(own, midi_folder, tmp_path):
    settings = minislakh.Settings(tracks=3, seconds=4.0, production="lone", midi=[midi_folder])
    for name in ("one", "two"):
        minislakh.make(tmp_path / name, settings, workers=1)
    assert killing.snapshot(tmp_path / "one") == killing.snapshot(tmp_path / "two")


def test_only_files_that_are_not_hidden_are_songs(tmp_path):
    (tmp_path / "a.mid").touch()
    (tmp_path / "._a.mid").write_bytes(b"\0\5\x16\7")
    (tmp_path / "b.mid").mkdir()
    (tmp_path / "c.mid").symlink_to(tmp_path / "nowhere")
    assert midi_songs.files([tmp_path]) == [tmp_path / "a.mid"]


def test_songs_are_scores_too_where_no_midi_is(tmp_path):
    for name in ("a.krn", "a.mid", "a.mxl", "b.MUSICXML", "c.pdf"):
        (tmp_path / name).touch()
    assert midi_songs.files([tmp_path]) == [tmp_path / "a.mid", tmp_path / "b.MUSICXML"]


def test_a_folder_without_midi_is_refused(tmp_path):
    with pytest.raises(MissingError, match=r"no MIDI files or scores \(\.mid, \.midi, "):
        minislakh.Settings(production="varied", midi=[tmp_path])


@pytest.mark.parametrize("production", [None, "drums"])
def test_midi_that_no_production_takes_is_refused(production):
    with pytest.raises(SettingError, match=r"takes no songs from files\. Choose one that does: varied, produced, "):
        minislakh.Settings(production=production, midi=["music21"])


def test_scores_held_out_are_none_of_those_to_train_on():
    scores, held_out = (midi_songs.files([name]) for name in (midi_songs.CORPUS, midi_songs.HELD_OUT))
    assert len(scores) > 1000
    assert len(held_out) > 200
    assert not set(scores) & set(held_out)
    assert len({path.parent for path in scores[:15]}) == 15


def test_a_score_of_music21_becomes_a_song(own):
    score = next(path for path in midi_songs.files([midi_songs.CORPUS]) if path.parent.name == "bach")
    midi = midi_songs.arrange(score, 8.0, productions.load("written"), "slakh12", np.random.default_rng(0))
    assert len(midi.instruments) >= 2
    assert midi.get_end_time() <= 8.0
