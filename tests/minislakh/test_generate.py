"""The embedded data set: Slakh's layout and metadata, exact sums, dealt instruments, MIDI files as tracks."""

import json
import shutil
import struct
from functools import cache
from pathlib import Path

import mido
import numpy as np
import pytest
import yaml
from fixtures import killing

from muscomp_lib import audio, minislakh
from muscomp_lib.core import instruments
from muscomp_lib.core.errors import MidiError, MissingError, SettingError
from muscomp_lib.minislakh import synthesizer

ODD_MIDI = Path(__file__).parents[3] / "shared" / "data" / "odd_midi"
TINY = {"tracks": 3, "seconds": 4.0}
SLAKH_KEYS = [
    "UUID", "audio_dir", "lmd_midi_dir", "midi_dir", "normalization_factor", "normalized", "overall_gain", "stems",
    "target_peak",
]  # fmt: skip
SLAKH_STEM_KEYS = {
    "audio_rendered": bool, "inst_class": str, "integrated_loudness": float, "is_drum": bool, "midi_program_name": str,
    "midi_saved": bool, "plugin_name": str, "program_num": int,
}  # fmt: skip


def metadata_of(track):
    return yaml.safe_load((track / "metadata.yaml").read_text())


def rendered_stems(track):
    return {name: stem for name, stem in metadata_of(track)["stems"].items() if stem["audio_rendered"]}


def tracks_of(folder):
    return sorted(folder.glob("*/Track*"))


def names_in(track):
    """The instruments that a planned track renders."""
    sounding = [p for number, p in enumerate(track.programs) if number not in track.silent]
    return [instruments.of_program(program) for program in sounding]


def test_metadata_have_slakhs_keys_in_order_and_types(mini_slakh):
    for track in tracks_of(mini_slakh):
        metadata = metadata_of(track)
        assert list(metadata) == SLAKH_KEYS
        assert (metadata["normalized"], metadata["normalization_factor"], metadata["target_peak"]) == (
            True,
            -13.0,
            -1.0,
        )
        assert len(metadata["UUID"]) == 32
        assert int(metadata["UUID"], 16)
        assert list(metadata["stems"]) == [f"S{number:02d}" for number in range(len(metadata["stems"]))]
        for stem in metadata["stems"].values():
            unrendered = not stem["audio_rendered"]
            wanted = [key for key in SLAKH_STEM_KEYS if not (unrendered and key == "integrated_loudness")]
            assert list(stem) == wanted
            assert all(type(value) is SLAKH_STEM_KEYS[key] for key, value in stem.items())
            assert (stem["plugin_name"] == "None") == unrendered
            assert stem["is_drum"] == (stem["program_num"] == 128)


def test_a_track_holds_exactly_slakhs_files(mini_slakh):
    for track in tracks_of(mini_slakh):
        stems = rendered_stems(track)
        expected = {"all_src.mid", "metadata.yaml", "mix.flac"}
        expected |= {f"MIDI/{name}.mid" for name in stems} | {f"stems/{name}.flac" for name in stems}
        assert {p.relative_to(track).as_posix() for p in track.rglob("*") if p.is_file()} == expected


def test_audio_is_mono_16_bit_and_the_mix_is_the_exact_sum_peaking_at_minus_1_db(mini_slakh):
    for track in tracks_of(mini_slakh):
        stems = [audio.read(track / "stems" / f"{name}.flac", dtype="int16")[0] for name in rendered_stems(track)]
        mix, rate = audio.read(track / "mix.flac", dtype="int16")
        assert rate == 44100
        assert mix.shape == (8 * 44100, 1)
        assert all(stem.shape == mix.shape for stem in stems)
        assert np.array_equal(mix, np.sum(stems, axis=0, dtype=np.int32))
        assert audio.to_db(np.abs(mix.astype(int)).max() / audio.INT16_SCALE) == pytest.approx(-1.0, abs=0.02)


def test_stems_were_brought_to_minus_13_lufs_before_the_overall_gain(mini_slakh):
    for track in tracks_of(mini_slakh):
        gain_db = audio.to_db(metadata_of(track)["overall_gain"])
        for name in rendered_stems(track):
            waveform, rate = audio.read(track / "stems" / f"{name}.flac")
            assert audio.loudness(waveform, rate) - gain_db == pytest.approx(-13.0, abs=0.3), (track.name, name)


def test_no_stem_is_silent_or_clipped_and_none_drowns_the_others(mini_slakh):
    for track in tracks_of(mini_slakh):
        stems = [audio.read(track / "stems" / f"{name}.flac")[0] for name in rendered_stems(track)]
        power = np.array([np.mean(stem**2) for stem in stems])
        assert power.max() / power.sum() < 0.75
        assert all(0.01 < np.abs(stem).max() < 0.999 for stem in stems)


def test_the_planted_difficulties_are_there(mini_slakh):
    tracks = {track: metadata_of(track) for track in tracks_of(mini_slakh)}
    stems = [stem for metadata in tracks.values() for stem in metadata["stems"].values()]
    assert any(not stem["audio_rendered"] for stem in stems)
    assert any(stem["audio_rendered"] and not instruments.of_program(stem["program_num"]) for stem in stems)
    programs = [[s["program_num"] for s in rendered_stems(track).values()] for track in tracks]
    assert any(len(set(held)) < len(held) for held in programs)
    uuids = [metadata["UUID"] for metadata in tracks.values()]
    first, copy = (track for track, metadata in tracks.items() if uuids.count(metadata["UUID"]) == 2)
    assert first.parent.name == copy.parent.name == "train"
    assert (first / "all_src.mid").read_bytes() == (copy / "all_src.mid").read_bytes()
    assert (first / "mix.flac").read_bytes() != (copy / "mix.flac").read_bytes()


def test_without_planting_there_are_only_the_taxonomys_instruments_once_each():
    for track in minislakh.plan(minislakh.Settings(tracks=20, plant=False)):
        assert not track.silent
        assert all(names_in(track))
        assert len(set(names_in(track))) == len(track.programs)


@pytest.mark.parametrize("plant", [True, False])
@pytest.mark.parametrize("tracks", [3, 6, 12, 24, 26, 60])
def test_instruments_are_dealt_so_that_each_is_in_about_half_of_every_split(tracks, plant):
    for seed in range(5):
        planned = minislakh.plan(minislakh.Settings(tracks=tracks, seed=seed, plant=plant))
        assert [track.name for track in planned] == [f"Track{n + 1:05d}" for n in range(tracks)]
        assert all(4 <= len(names_in(track)) <= 9 for track in planned)
        for split in minislakh.SPLITS:
            songs = {t.song: names_in(t) for t in reversed(planned) if t.split == split}  # not the shorter copy
            assert songs
            for name in instruments.names():
                present = sum(name in held for held in songs.values())
                assert present >= (3 if len(songs) >= 8 else 1 if len(songs) >= 3 else 0), (split, name)
                assert len(songs) < 3 or present < len(songs), (split, name)


def test_the_files_do_not_depend_on_the_number_of_workers_nor_on_the_run(tmp_path):
    settings = minislakh.Settings(**TINY)
    for name, workers in (("one", 1), ("two", 2)):
        minislakh.make(tmp_path / name, settings, workers=workers)
    assert killing.snapshot(tmp_path / "one") == killing.snapshot(tmp_path / "two")


def test_killed_at_any_moment_and_started_again_it_ends_in_the_same_files(tmp_path):
    imports = "from muscomp_lib import minislakh\nimport pretty_midi, pyloudnorm, tinysoundfont"
    work = "minislakh.make({folder!r}, minislakh.Settings(tracks=3, seconds=4.0), workers={workers})"
    lasts = killing.run(imports, work.format(folder=str(tmp_path / "calm"), workers=1))
    calm = killing.snapshot(tmp_path / "calm")
    for workers in (1, 2):
        folder = tmp_path / f"killed{workers}"

        def nothing_false(folder=folder):
            assert not folder.exists() or killing.whole_or_absent(folder, calm)

        again = work.format(folder=str(folder), workers=workers)
        killing.run_and_kill(imports, again, lasts, times=3, seed=workers, after_each=nothing_false)
        assert killing.snapshot(folder) == calm


def test_a_finished_track_is_kept(tmp_path):
    settings = minislakh.Settings(**TINY)
    tracks = minislakh.make(tmp_path, settings, workers=1)
    (tracks[0] / "mix.flac").write_bytes(b"touched")
    minislakh.make(tmp_path, settings, workers=1)
    assert (tracks[0] / "mix.flac").read_bytes() == b"touched"


def test_other_settings_never_mix_into_a_data_set(tmp_path):
    minislakh.make(tmp_path, minislakh.Settings(**TINY), workers=1)
    with pytest.raises(SettingError, match=r"seed there 0, here 1.*another folder"):
        minislakh.make(tmp_path, minislakh.Settings(**TINY, seed=1))


def test_a_data_set_not_made_here_is_left_alone(tmp_path):
    (tmp_path / "train" / "Track00001").mkdir(parents=True)
    with pytest.raises(SettingError, match="not made here"):
        minislakh.make(tmp_path, minislakh.Settings(**TINY))
    with pytest.raises(SettingError, match="not made here"):
        minislakh.from_midi(midi_file(tmp_path / "a.mid"), tmp_path, track="Track00002")
    assert not (tmp_path / minislakh.MARKER).exists()


@pytest.mark.parametrize(
    "wrong",
    [{"tracks": 2}, {"tracks": 6.5}, {"seconds": 1}, {"seed": -1}, {"plant": 1}, {"engine": "winamp"}],
    ids=str,
)
def test_a_wrong_setting_is_refused_before_any_work(wrong):
    with pytest.raises(SettingError, match=repr(next(iter(wrong.values())))):
        minislakh.Settings(**wrong)
    with pytest.raises(MissingError):
        minislakh.Settings(soundfonts=["no_such.sf2"])
    with pytest.raises(SettingError, match="give a list of files"):
        minislakh.Settings(soundfonts="no_such.sf2")
    with pytest.raises(SettingError, match="slakh13"):
        minislakh.Settings(taxonomy="slakh13")


def test_in_families_each_song_draws_one_of_an_instruments_programs():
    basses = set()
    for track in minislakh.plan(minislakh.Settings(tracks=60, taxonomy="families")):
        named = [instruments.of_program(program, "families") for program in track.programs]
        basses.update(p for p, name in zip(track.programs, named, strict=True) if name == "Electric_Bass_pick")
        single = [name for name in named if name in minislakh.LINES]
        assert len(single) == len(set(single))
    assert len(basses) > 4
    assert basses <= set(range(32, 40))


def test_songs_take_soundfonts_in_turn(tmp_path):
    fonts = [tmp_path / f"{name}.sf2" for name in "abc"]
    for font in fonts:
        shutil.copy(synthesizer.soundfont_path(), font)
    settings = minislakh.Settings(**TINY, soundfonts=fonts)
    made = minislakh.make(tmp_path / "slakh", settings, workers=1)
    played = [{stem["plugin_name"] for stem in metadata_of(track)["stems"].values()} - {"None"} for track in made]
    planned = minislakh.plan(settings)
    assert played == [{fonts[track.song % 3].name} for track in planned]
    assert len(set.union(*played)) > 1


# --- MIDI files as tracks


def midi_file(path, tracks=None, kind=1):
    """A MIDI file of the given tracks (lists of messages); a single note without them."""
    file = mido.MidiFile(type=kind)
    file.tracks += [mido.MidiTrack(messages) for messages in tracks or [note(60)]]
    file.save(path)
    return path


def note(pitch, channel=0, program=None, length=480):
    begin = [] if program is None else [mido.Message("program_change", channel=channel, program=program)]
    return [
        *begin,
        mido.Message("note_on", channel=channel, note=pitch, velocity=90),
        mido.Message("note_off", channel=channel, note=pitch, time=length),
    ]


def stem_programs(track):
    return [stem["program_num"] for stem in metadata_of(track)["stems"].values()]


def test_parts_with_one_program_stay_apart_and_drums_are_drums(tmp_path):
    tracks = [note(60, 0, 27), note(64, 0, 27), note(67, 1, 27), note(38, 9)]
    made = minislakh.from_midi(midi_file(tmp_path / "a.mid", tracks), tmp_path / "slakh", "Track00007", "test")
    assert made == tmp_path / "slakh" / "test" / "Track00007"
    assert stem_programs(made) == [27, 27, 27, 128]
    assert len(list((made / "stems").iterdir())) == 4
    assert (made / "all_src.mid").read_bytes() == (tmp_path / "a.mid").read_bytes()
    assert audio.info(made / "mix.flac").duration == pytest.approx(2.5)


def test_a_part_without_notes_becomes_an_unrendered_stem(tmp_path):
    tracks = [note(60, 0, 1), [mido.Message("program_change", channel=3, program=40)]]
    made = minislakh.from_midi(midi_file(tmp_path / "a.mid", tracks), tmp_path / "slakh")
    stems = metadata_of(made)["stems"]
    assert (stems["S01"]["program_num"], stems["S01"]["plugin_name"]) == (40, "None")
    assert [path.name for path in (made / "stems").iterdir()] == ["S00.flac"]


def test_seventeen_instruments_on_one_channel_and_changing_programs_all_become_stems(tmp_path):
    many = midi_file(tmp_path / "many.mid", [note(60, 0, program) for program in range(17)])
    assert stem_programs(minislakh.from_midi(many, tmp_path / "slakh")) == list(range(17))
    changing = midi_file(tmp_path / "changing.mid", [[*note(60, 0, 1), *note(60, 0, 9), *note(60, 0, 40)]], kind=0)
    assert stem_programs(minislakh.from_midi(changing, tmp_path / "slakh", "Track00002")) == [1, 9, 40]


def test_a_note_that_never_ends_lasts_until_the_end_of_its_track(tmp_path):
    stuck = [mido.Message("note_on", note=60, velocity=90), mido.MetaMessage("end_of_track", time=3 * 960)]
    made = minislakh.from_midi(midi_file(tmp_path / "a.mid", [stuck]), tmp_path / "slakh")
    assert audio.info(made / "mix.flac").duration == pytest.approx(3.0 + minislakh.RING_OUT, abs=0.01)


def test_programs_are_mapped_when_asked(tmp_path):
    source = midi_file(tmp_path / "a.mid", [note(60, 0, 0), note(40, 1, 33)])
    made = minislakh.from_midi(source, tmp_path / "slakh", program_map={0: 1, 33: 34})
    assert stem_programs(made) == [1, 34]
    with pytest.raises(SettingError, match="128"):
        minislakh.from_midi(source, tmp_path / "slakh", "Track00002", program_map={0: 128})


def test_a_track_that_is_there_is_never_overwritten_and_names_are_checked(tmp_path):
    source = midi_file(tmp_path / "a.mid")
    minislakh.from_midi(source, tmp_path / "slakh")
    with pytest.raises(SettingError, match="already there"):
        minislakh.from_midi(source, tmp_path / "slakh", split="test")
    with pytest.raises(SettingError, match=r"\.\./x"):
        minislakh.from_midi(source, tmp_path / "slakh", track="../x")
    with pytest.raises(SettingError, match="'valid'"):
        minislakh.from_midi(source, tmp_path / "slakh", split="valid")
    assert json.loads((tmp_path / "slakh" / minislakh.MARKER).read_text()) is None


def header(kind=1, tracks=1, division=480):
    return struct.pack(">4sIHHh", b"MThd", 6, kind, tracks, division)


@cache
def track_chunk():
    body = bytes([0, 0x90, 60, 90, 0x83, 0x60, 0x80, 60, 0, 0, 0xFF, 0x2F, 0])
    return struct.pack(">4sI", b"MTrk", len(body)) + body


SILENT = struct.pack(">4sI", b"MTrk", 4) + bytes([0, 0xFF, 0x2F, 0])
ENDLESS = b"MTrk\x00\x00\x00\x0e" + bytes([0, 0x90, 60, 90, 0xFF, 0xFF, 0x7F, 0x80, 60, 0, 0, 0xFF, 0x2F, 0])
BAD_FILES = {
    "empty": (b"", "it is empty"),
    "text": (b"la la la la la la", "not a MIDI file"),
    "header only in part": (header()[:9], "cut short"),
    "no MTrk": (header(), "no MTrk"),
    "zero tracks": (header(tracks=0) + track_chunk(), "zero tracks"),
    "negative division": (header(division=-480) + track_chunk(), "time division is 0xfe20"),
    "division zero": (header(division=0) + track_chunk(), "time division is 0x0000"),
    "format 2": (header(kind=2) + track_chunk(), "format 2"),
    "truncated": (header() + track_chunk()[:-6], "cut short"),
    "fewer tracks than declared": (header(tracks=9) + track_chunk(), "declares 9 tracks and 1 MTrk"),
    "no notes": (header() + SILENT, "no notes"),
    "nonsense in the track": (header() + b"MTrk\x00\x00\x00\x04" + b"\x00\x10\x10\x10", "damaged"),
    "too long": (header(division=1) + ENDLESS, "minutes"),
}


@pytest.mark.parametrize("defect", BAD_FILES)
def test_a_bad_midi_file_is_refused_with_the_reason_and_leaves_nothing(defect, tmp_path):
    content, reason = BAD_FILES[defect]
    (tmp_path / "bad.mid").write_bytes(content)
    with pytest.raises(MidiError, match=reason):
        minislakh.from_midi(tmp_path / "bad.mid", tmp_path / "slakh")
    assert not (tmp_path / "slakh").exists()


def test_a_midi_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(MissingError, match=r"none\.mid"):
        minislakh.from_midi(tmp_path / "none.mid", tmp_path / "slakh")


def test_chunks_that_are_no_tracks_are_passed_over(tmp_path):
    (tmp_path / "a.mid").write_bytes(header() + b"Junk\x00\x00\x00\x03abc" + track_chunk())
    assert stem_programs(minislakh.from_midi(tmp_path / "a.mid", tmp_path / "slakh")) == [0]


@pytest.mark.parametrize(
    ("name", "stems"), [("own-17-instruments", 17), ("own-program-changes", 6), ("test-non-midi-track", 1)]
)
def test_odd_files_from_the_world_become_tracks(name, stems, tmp_path):
    if not ODD_MIDI.is_dir():
        pytest.skip(f"{ODD_MIDI.name} is not beside the project; the tests above have files of their own")
    made = minislakh.from_midi(ODD_MIDI / f"{name}.mid", tmp_path / "slakh")
    assert len(list((made / "stems").iterdir())) == stems
