"""The embedded data set: Slakh's layout and metadata, exact sums, any taxonomy."""

import shutil

import numpy as np
import pytest
import yaml
from fixtures import killing

from muscomp_lib import audio, minislakh, slakh
from muscomp_lib.core import instruments
from muscomp_lib.core.errors import MidiError, MissingError, SettingError
from muscomp_lib.core.files import locked
from muscomp_lib.core.root import open_root
from muscomp_lib.minislakh import generate, synthesizer

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


def test_audio_is_mono_and_the_mix_is_the_exact_sum(mini_slakh):
    for track in tracks_of(mini_slakh):
        stems = [audio.read(track / "stems" / f"{name}.flac", dtype="int16")[0] for name in rendered_stems(track)]
        mix, rate = audio.read(track / "mix.flac", dtype="int16")
        assert rate == 44100
        assert mix.shape == (8 * 44100, 1)
        assert all(stem.shape == mix.shape for stem in stems)
        assert np.array_equal(mix, np.sum(stems, axis=0, dtype=np.int32))
        assert audio.to_db(np.abs(mix.astype(int)).max() / audio.INT16_SCALE) == pytest.approx(-1.0, abs=0.02)


def test_stems_have_minus_13_lufs_before_the_overall_gain(mini_slakh):
    for track in tracks_of(mini_slakh):
        gain_db = audio.to_db(metadata_of(track)["overall_gain"])
        for name in rendered_stems(track):
            waveform, rate = audio.read(track / "stems" / f"{name}.flac")
            assert audio.loudness(waveform, rate) - gain_db == pytest.approx(-13.0, abs=0.3), (track.name, name)


def test_no_stem_is_silent_clipped_or_dominant(mini_slakh):
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


def test_without_planting_each_instrument_is_there_once():
    for track in minislakh.plan(minislakh.Settings(tracks=20, plant=False)):
        assert not track.silent
        assert all(names_in(track))
        assert len(set(names_in(track))) == len(track.programs)


def test_common_and_rare_instruments_are_as_in_slakh():
    planned = minislakh.plan(minislakh.Settings())
    held = [name for track in planned for name in names_in(track)]
    with_drums, with_violin = (sum(name in names_in(track) for track in planned) for name in ("Drums", "Violin"))
    assert with_drums >= 0.8 * len(planned) and with_violin <= 0.35 * len(planned)
    assert 0.4 < held.count("") / len(held) < 0.6


def test_damaged_files_are_found_and_only_they(tmp_path):
    planned = {track.name: track for track in minislakh.plan(minislakh.Settings(tracks=12, seconds=4.0))}
    minislakh.make(tmp_path / "slakh", minislakh.Settings(tracks=12, seconds=4.0))
    damaged = {(name, f"S{track.damage[1]:02d}"): track.damage[0] for name, track in planned.items() if track.damage}
    assert sorted(damaged.values()) == ["cut short", "lost", "overwritten", "wrong metadata"]
    found = {}
    for verify in ("headers", "full"):
        stems, _ = slakh.index(open_root(tmp_path), slakh.Settings(verify=verify))
        bad = stems[~stems["status"].isin(["ok", "unrendered"])].set_index(["track", "stem"])["status"]
        found[verify] = {place: bad.get(place, "ok") for place in damaged}
        assert set(bad.index) <= set(damaged)
    expected = {"cut short": "unreadable", "lost": "missing", "overwritten": "unreadable", "wrong metadata": "ok"}
    assert found["full"] == {place: expected[what] for place, what in damaged.items()}
    assert found["headers"] == found["full"] | {p: "ok" for p, what in damaged.items() if what == "overwritten"}


@pytest.mark.parametrize("plant", [True, False])
@pytest.mark.parametrize("tracks", [3, 6, 12, 24, 26, 60])
def test_each_instrument_is_in_some_songs_of_every_split(tracks, plant):
    for seed in range(5):
        planned = minislakh.plan(minislakh.Settings(tracks=tracks, seed=seed, plant=plant))
        assert [track.name for track in planned] == [f"Track{n + 1:05d}" for n in range(tracks)]
        assert all(4 <= len(names_in(track)) <= 12 for track in planned)
        for split in minislakh.SPLITS:
            songs = {t.song: names_in(t) for t in reversed(planned) if t.split == split}  # not the shorter copy
            assert songs
            for name in instruments.names():
                present = sum(name in held for held in songs.values())
                assert present >= (1 if len(songs) >= 3 else 0), (split, name)
                assert len(songs) < 3 or present < len(songs), (split, name)


def test_the_files_do_not_depend_on_the_number_of_workers(tmp_path):
    settings = minislakh.Settings(**TINY)
    for name, workers in (("one", 1), ("two", 2)):
        minislakh.make(tmp_path / name, settings, workers=workers)
    assert killing.snapshot(tmp_path / "one") == killing.snapshot(tmp_path / "two")


@pytest.mark.full
def test_killed_and_started_again_it_ends_in_the_same_files(tmp_path):
    imports = "from muscomp_lib import minislakh\nimport pretty_midi, pyloudnorm, tinysoundfont"
    work = "minislakh.make({folder!r}, minislakh.Settings(tracks=3, seconds=4.0), workers={workers})"
    lasts = killing.run(imports, work.format(folder=str(tmp_path / "calm"), workers=2))
    calm, folder = killing.snapshot(tmp_path / "calm"), tmp_path / "killed"

    def nothing_false():
        assert not folder.exists() or killing.whole_or_absent(folder, calm)

    again = work.format(folder=str(folder), workers=2)
    killing.run_and_kill(imports, again, lasts, times=3, after_each=nothing_false)
    assert killing.snapshot(folder) == calm


def test_two_runs_do_not_render_at_the_same_time(tmp_path, monkeypatch):
    def each(*_):
        with pytest.raises(BlockingIOError), locked(tmp_path / minislakh.MARKER, wait=False):
            pass

    monkeypatch.setattr(generate.parallel, "each", each)
    with pytest.raises(MidiError, match="no song makes a sound"):  # nothing is rendered
        minislakh.make(tmp_path, minislakh.Settings(**TINY))


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
    with pytest.raises(SettingError, match="must be a list of files"):
        minislakh.Settings(soundfonts="no_such.sf2")
    with pytest.raises(SettingError, match="slakh13"):
        minislakh.Settings(taxonomy="slakh13")


def test_in_families_each_song_draws_one_of_an_instruments_programs():
    basses = set()
    for track in minislakh.plan(minislakh.Settings(tracks=60, taxonomy="families")):
        named = [instruments.of_program(program, "families") for program in track.programs]
        basses.update(p for p, name in zip(track.programs, named, strict=True) if name == "Electric_Bass_pick")
        single = [name for name in named if name in ("Drums", "Electric_Bass_pick")]
        assert len(single) == len(set(single))
    assert len(basses) > 4
    assert basses <= set(range(32, 40))


def test_stems_draw_their_soundfonts(tmp_path):
    fonts = [tmp_path / f"{name}.sf2" for name in "abc"]
    for font in fonts:
        shutil.copy(synthesizer.soundfont_path(), font)
    made = minislakh.make(tmp_path / "slakh", minislakh.Settings(**TINY, soundfonts=fonts), workers=1)
    played = [{stem["plugin_name"] for stem in rendered_stems(track).values()} for track in made]
    assert set.union(*played) == {font.name for font in fonts}
    assert max(map(len, played)) > 1


# ---- instruments are data


@pytest.fixture
def taxonomy(tmp_path, monkeypatch):
    """Put one taxonomy, `mine`, in the place of the shipped ones."""

    def write(entries):
        monkeypatch.setattr(instruments, "TAXONOMY_FILE", tmp_path / "instruments.yaml")
        instruments.TAXONOMY_FILE.write_text(f"mine: {entries}\n")

    return write


@pytest.mark.parametrize("tracks", [3, 6, 24])
def test_a_taxonomy_of_drums_alone_can_be_planned(taxonomy, tracks):
    taxonomy("{Drum_Kit: {programs: [128]}}")
    planned = minislakh.plan(minislakh.Settings(tracks=tracks, taxonomy="mine"))
    assert len(planned) == tracks
    for track in planned:
        audible = [p for number, p in enumerate(track.programs) if number not in track.silent]
        assert audible.count(128) <= 1 and audible
    assert sum(128 in track.programs for track in planned) == tracks


def test_a_taxonomy_of_drums_alone_is_rendered_in_workers(taxonomy, tmp_path):
    taxonomy("{Drum_Kit: {programs: [128]}}")
    settings = minislakh.Settings(tracks=6, seconds=4.0, taxonomy="mine")
    made = minislakh.make(tmp_path / "slakh", settings, workers=2)
    assert all(rendered_stems(track) for track in made)


def test_an_instruments_name_changes_nothing_but_the_name(taxonomy, tmp_path):
    shipped = instruments.load()
    planned = minislakh.plan(minislakh.Settings(tracks=12))
    minislakh.make(tmp_path / "a", minislakh.Settings(**TINY), workers=1)
    entries = []
    for number, instrument in enumerate(shipped.values()):
        notes = "" if instrument.is_drums else f", range: [{instrument.lowest}, {instrument.highest}]"
        entries.append(f"Player_{number}: {{programs: {list(instrument.programs)}{notes}}}")
    taxonomy(f"{{{', '.join(entries)}}}")
    assert minislakh.plan(minislakh.Settings(tracks=12, taxonomy="mine")) == planned
    minislakh.make(tmp_path / "b", minislakh.Settings(**TINY, taxonomy="mine"), workers=1)
    a, b = (killing.snapshot(tmp_path / name) for name in "ab")
    marker = {path for path in a if str(path).endswith(minislakh.MARKER)}
    assert len(marker) == 1
    assert {path: a[path] for path in a.keys() - marker} == {path: b[path] for path in b.keys() - marker}
