import errno
import inspect
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from fixtures import slow_mount
from fixtures.killing import run, run_and_kill, snapshot, whole_or_absent
from fixtures.tiny_slakh import truncate, write_track

from muscomp_lib import audio, reserve, slakh
from muscomp_lib.core import instruments, remote_io
from muscomp_lib.core.errors import DiskFullError, MissingError, MountLostError, SettingError
from muscomp_lib.core.root import open_root
from muscomp_lib.slakh import index_tables, verify

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
) + "{}\nstems: {{S00: {{program_num: 128}}}}\n"  # fmt: skip
MERGE_BOMB = "a0: &a0 {k: v}\n" + "".join(
    f"a{n}: &a{n}\n  <<: [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
)
GUITAR = {"program": 30, "seconds": 1.0}
DRUMS = {"program": 128, "seconds": 1.0, "noise": True}
CHOIR = {"program": 52, "seconds": 1.0, "frequency": 330.0}


@pytest.fixture
def root(tmp_path):
    return open_root(tmp_path / "root")


def one(table, **where):
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_an_intact_track_is_indexed_as_it_is(root):
    write_track(root.slakh, "train", "Track00001", {"S00": GUITAR, "S01": DRUMS, "S02": CHOIR}, uuid="song")
    stems, tracks = slakh.index(root)
    assert list(stems.columns) == list(index_tables.STEM_COLUMNS)
    assert list(tracks.columns) == [*index_tables.TRACK_COLUMNS, *instruments.names()]
    assert list(stems["instrument"]) == ["Distortion_Guitar", "Drums", ""]
    assert list(stems["status"]) == ["ok"] * 3
    guitar = one(stems, stem="S00")
    assert guitar["audio"] == "train/Track00001/stems/S00.flac"
    assert guitar["midi"] == "train/Track00001/MIDI/S00.mid"
    assert (guitar["sample_rate"], guitar["channels"], guitar["frames"]) == (44100, 1, 44100)
    track = tracks.iloc[0]
    assert (track["uuid"], track["partition"], track["split"]) == ("song", "", "train")
    assert (track["mix"], track["duration"], track["status"]) == ("train/Track00001/mix.flac", 1.0, "ok")
    assert (track["Distortion_Guitar"], track["Drums"], track["Violin"]) == (1, 1, 0)


@pytest.mark.parametrize(
    "where, split",
    [
        ("train", "train"),
        ("slakh2100_flac_redux/omitted", "omitted"),
        ("slakh2100_flac_split2/validation", "validation"),
        ("", ""),
        ("babyslakh_16k", ""),
        ("Tracks", ""),
        ("Tracks_16k/TRAIN", "train"),
        ("val", "validation"),
        ("Omitted", "omitted"),
        ("test (1)", "test"),
        ("Copy of omitted", "omitted"),
        ("test-20240131T120000Z-001/test", "test"),
        ("validation-20240131T120000Z-1-002", "validation"),
        ("test/0001-0100", "test"),
        ("slakh2100_flac_redux/train (2)", "train"),
        ("train_16k", ""),
        ("slakh2100_flac_redux-20240131T120000Z-001/slakh2100_flac_redux/slakh2100_flac_redux/test", "test"),
    ],
)
def test_tracks_are_found_however_the_archive_was_unpacked(root, where, split):
    write_track(root.slakh, where, "Track00003", {"S00": GUITAR})
    stems, tracks = slakh.index(root)
    assert list(tracks["split"]) == [split]
    assert (root.slakh / stems.loc[0, "audio"]).is_file()


def test_a_track_in_two_places_counts_once_and_is_noted(root):
    write_track(root.slakh, "babyslakh_16k", "Track00001", {"S00": GUITAR})
    write_track(root.slakh, "slakh2100_flac_redux/train", "Track00001", {"S00": GUITAR})
    stems, tracks = slakh.index(root)
    assert len(stems) == len(tracks) == 1
    assert tracks.loc[0, "split"] == "train"
    assert "babyslakh_16k/Track00001" in tracks.loc[0, "note"]


def test_macos_copies_of_attributes_are_no_tracks(root):
    folder = write_track(root.slakh, "babyslakh_16k", "Track00001", {"S00": GUITAR})
    for name in ("mix.flac", "stems/S00.flac"):
        (copy := root.slakh / "__MACOSX/babyslakh_16k/Track00001" / name).parent.mkdir(parents=True, exist_ok=True)
        for path in (copy, folder / name):
            path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7")
    stems, tracks = slakh.index(root)
    assert list(stems["status"]) == list(tracks["status"]) == ["ok"]
    assert tracks.loc[0, "note"] == ""


def test_file_names_in_capitals_are_found(root):
    folder = write_track(root.slakh, "train", "Track00001", {"S00": GUITAR}, suffix=".wav")
    (folder / "mix.wav").rename(folder / "Mix.WAV")
    (folder / "stems" / "S00.wav").rename(folder / "stems" / "s00.Wav")
    stems, tracks = slakh.index(root)
    assert (tracks.loc[0, "mix"], tracks.loc[0, "status"]) == ("train/Track00001/Mix.WAV", "ok")
    assert (stems.loc[0, "audio"], stems.loc[0, "status"]) == ("train/Track00001/stems/s00.Wav", "ok")


@pytest.mark.parametrize("folders", [{"stems": "Stems", "MIDI": "midi"}, {"metadata.yaml": "Metadata.yml"}])
def test_folders_and_metadata_in_other_case_are_found(root, folders):
    folder = write_track(root.slakh, "train", "track00001", {"S00": GUITAR})
    for name, other in folders.items():
        (folder / name).rename(folder / other)
    stem = slakh.index(root)[0].iloc[0]
    assert (stem["status"], stem["program_num"]) == ("ok", 30)
    assert all((root.slakh / stem[kind]).is_file() for kind in ("audio", "midi"))


def test_a_track_twice_but_for_case_counts_once(root):
    for name in ("Track00001", "track00001"):
        write_track(root.slakh, "train", name, {"S00": GUITAR})
    stems, tracks = slakh.index(root)
    assert len(stems) == len(tracks) == 1 and "a second track00001" in tracks.loc[0, "note"]


def test_a_stem_twice_but_for_case_counts_once(root):
    folder = write_track(root.slakh, "train", "Track00001", {"S00": GUITAR, "s00": GUITAR})
    (folder / "stems" / "s00.flac").unlink()  # another file on this disk, the same on many
    stems, _ = slakh.index(root)
    assert list(stems["status"]) == ["ok", "unreadable"]
    assert stems.loc[1, "note"] == "metadata.yaml gives its file to S00 too, which is used"


def test_files_that_the_metadata_do_not_list_are_noted(root):
    folder = write_track(root.slakh, "train", "Track00001", {"S00": GUITAR})
    for name in ("S00 (1).flac", "._S00.flac", "S07.flac"):
        (folder / "stems" / name).write_bytes((folder / "stems" / "S00.flac").read_bytes())
    row = slakh.index(root)[1].iloc[0]
    assert row["status"] == "ok" and row["note"] == "metadata.yaml lists no stem for S00 (1).flac, S07.flac: not used"


def test_copies_of_tracks_are_left_out_and_logged(root, caplog):
    for name in ("Track00001", "Track00001 (1)", "Copy of Track00001"):
        write_track(root.slakh, "train", name, {"S00": GUITAR})
    assert len(slakh.index(root)[1]) == 1
    assert [record.message.count("its name is that of a copy") for record in caplog.records] == [1, 1]


def test_metadata_may_have_keys_and_numbers_of_other_programs(root):
    folder = write_track(root.slakh, "train", "Track00001", {"S00": GUITAR, "S01": DRUMS}, uuid="song")
    text = (folder / "metadata.yaml").read_text()
    for old, new in {"UUID": "uuid", "stems": "Stems", "program_num: 30": "Program_Num: '30.0 '"}.items():
        text = text.replace(old, new)
    (folder / "metadata.yaml").write_text(text.replace("is_drum: false", "is_drum: 0.0"))
    stems, tracks = slakh.index(root)
    assert list(stems["instrument"]) == ["Distortion_Guitar", "Drums"] and tracks.loc[0, "uuid"] == "song"
    assert list(stems["is_drum"]) == [False, True]


@pytest.mark.parametrize(
    "entry",
    [
        {"program_num": 0},
        {"program_num": None},
        {"program_num": 1, "is_drum": "yes"},
        {"program_num": 0, "is_drum": 1.0},
        {"program_num": 0, "is_drum": "Y"},
        {"program_num": 0, "is_drum": None},
        {"program_num": 0, "is_drum": False},
    ],
)
def test_drums_are_drums_whatever_their_program(root, entry):
    write_track(root.slakh, "train", "Track00001", {"S00": {**DRUMS, "entry": entry}})
    stems, tracks = slakh.index(root)
    assert (stems.loc[0, "instrument"], stems.loc[0, "program_num"], stems.loc[0, "is_drum"]) == ("Drums", 128, True)
    assert tracks.loc[0, "Drums"] == 1


def test_a_file_is_trusted_and_the_flag_is_not(root):
    write_track(root.slakh, "", "Track00001", {"S00": {**GUITAR, "flag": False}}, suffix=".wav", rate=16000)
    stems, tracks = slakh.index(root)
    assert stems.loc[0, "status"] == "ok"
    assert stems.loc[0, "audio"].endswith("S00.wav")
    assert stems.loc[0, "sample_rate"] == 16000
    assert tracks.loc[0, "status"] == "ok"


def test_paths_follow_from_the_folder_and_not_from_audio_dir(root):
    write_track(root.slakh, "train", "Track00616", {"S00": GUITAR}, extra={"audio_dir": "Track99999/elsewhere"})
    stems, _ = slakh.index(root)
    assert stems.loc[0, "audio"] == "train/Track00616/stems/S00.flac"


@pytest.mark.parametrize(
    "stem, status, note",
    [
        ({"rendered": False}, "unrendered", "no sound"),
        ({"file": False}, "missing", "not there"),
        ({"truncated": True, "noise": True}, "unreadable", "cut short"),
        ({"seconds": 0}, "unreadable", "S01.flac"),
        ({"seconds": 0.5}, "unreadable", "does not fit its mix: 22050 samples"),
        ({"rate": 22050, "seconds": 2}, "unreadable", "at 22050 Hz"),
        ({"entry": {"program_num": "thirty"}}, "unreadable", "'thirty'"),
        ({"entry": {"program_num": 129}}, "unreadable", "129"),
        ({"entry": {"program_num": "27"}}, "ok", ""),
    ],
)
def test_a_broken_stem_gets_a_status_and_a_reason(root, stem, status, note):
    stems = {"S00": GUITAR, "S01": {"program": 27, "seconds": 1.0, **stem}}
    write_track(root.slakh, "train", "Track00001", stems)
    stems, tracks = slakh.index(root)
    found = one(stems, stem="S01")
    assert found["status"] == status
    assert note in found["note"]
    assert one(stems, stem="S00")["status"] == "ok"
    assert tracks.loc[0, "Electric_Guitar_clean"] == (1 if status == "ok" else 0)


def test_a_wav_without_samples_is_unreadable(root):
    write_track(root.slakh, "", "Track00001", {"S00": GUITAR, "S01": {**DRUMS, "seconds": 0}}, suffix=".wav")
    stems, _ = slakh.index(root)
    assert one(stems, stem="S01")["status"] == "unreadable"
    assert "no samples" in one(stems, stem="S01")["note"]


@pytest.mark.parametrize(
    "defect, status, note",
    [
        ({"malformed_yaml": True}, "unreadable", "metadata.yaml, line"),
        ({"metadata": False}, "missing", "metadata.yaml is not there"),
        ({"extra": {"stems": ["S00"]}}, "unreadable", "does not list the stems"),
        ({"extra": {"stems": {}}}, "missing", "none of its stems"),
        ({"mix": False}, "missing", "mix: the file is not there (.flac or .wav)"),
        ({"truncated_mix": True}, "unreadable", "cut short"),
        ({"extra": {"UUID": None}}, "ok", "no UUID"),
        ({"extra": {"UUID": "None"}}, "ok", "no UUID"),
    ],
)
def test_a_broken_track_gets_a_status_and_others_are_indexed(root, defect, status, note):
    write_track(root.slakh, "train", "Track00001", {"S00": DRUMS}, **defect)
    write_track(root.slakh, "train", "Track00002", {"S00": DRUMS})
    _, tracks = slakh.index(root)
    assert list(tracks["status"]) == [status, "ok"]
    assert note in tracks.loc[0, "note"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- a\n- list\n",
        "\t",
        "stems: {S00: 5}\n",
        "a: 2024-99-99\n",
        b"\xff\xfe\x00",
        "[" * 5000,
        "- " * 50_000,
        'stems: {"\\ud800": x}',
        BOMB.format("UUID: *i"),
        MERGE_BOMB,
        "UUID: &a [*a]\nstems: {}",
        "stems: {S00: 1, S00: 2}",
        "a: b\n" * 250_000,
    ],
)
def test_metadata_of_any_kind_never_stop_the_run(root, text):
    folder = write_track(root.slakh, "train", "Track00001", {"S00": DRUMS})
    (folder / "metadata.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    _, tracks = slakh.index(root)
    assert tracks.loc[0, "status"] != "ok"


@pytest.mark.parametrize(
    ("change", "column", "value", "note"),
    [
        ({"UUID": "2024-13-45"}, "uuid", "2024-13-45", ""),
        ({"UUID": "12e45"}, "uuid", "12e45", ""),
        ({"UUID": "[a, b]"}, "uuid", "Track00001", "no UUID"),
        ({"overall_gain": "1" + "0" * 400}, "status", "ok", "no loudness from .* overall_gain 10000000000000000000..."),
        ({"overall_gain": ".nan"}, "status", "ok", "overall_gain .nan"),
        ({"overall_gain": "0"}, "status", "ok", "overall_gain 0"),
        ({"normalization_factor": "loud"}, "status", "ok", "normalization_factor loud"),
    ],
)
def test_values_that_cannot_be_leave_a_row_and_a_note(root, change, column, value, note):
    folder = write_track(root.slakh, "train", "Track00001", {"S00": DRUMS})
    text = (folder / "metadata.yaml").read_text()
    for key, given in change.items():
        text = re.sub(rf"^{key}: .*$", f"{key}: {given}", text, flags=re.MULTILINE)
    (folder / "metadata.yaml").write_text(text)
    row = slakh.index(root)[1].iloc[0]
    assert row[column] == value and re.search(note, row["note"])


def test_a_program_of_thousands_of_digits_is_noted(root):
    folder = write_track(root.slakh, "train", "Track00001", {"S00": DRUMS})
    text = (folder / "metadata.yaml").read_text()
    (folder / "metadata.yaml").write_text(text.replace("program_num: 128", f"program_num: {'9' * 5000}"))
    stems, tracks = slakh.index(root)
    assert stems.loc[0, "status"] == "unreadable" and "no program from 0 to 128 ('9999" in stems.loc[0, "note"]
    assert tracks.loc[0, "status"] == "missing" and len(stems.loc[0, "note"]) < 400


@pytest.mark.parametrize("what", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to(path)])
@pytest.mark.parametrize("name", ["metadata.yaml", "mix.flac", "stems/S00.flac"])
def test_what_is_no_file_gets_a_row_and_a_note(root, what, name):
    path = write_track(root.slakh, "train", "Track00001", {"S00": DRUMS}) / name
    write_track(root.slakh, "train", "Track00002", {"S00": DRUMS})
    path.unlink()
    what(path)
    _, tracks = slakh.index(root)
    assert tracks.loc[0, "status"] != "ok" and tracks.loc[0, "note"] and tracks.loc[1, "status"] == "ok"


def test_links_to_themselves_and_closed_folders_are_passed_over(root):
    write_track(root.slakh, "train", "Track00001", {"S00": DRUMS})
    for name in ("test", "train/Track00002", "train/Track00001/stems/S01.flac"):
        (root.slakh / name).symlink_to(root.slakh / name)
    assert list(slakh.index(root)[1]["status"]) == ["ok"]


@pytest.mark.parametrize("name", [os.fsdecode(b"tr\xe9in"), "tr\nain"])
def test_a_folder_that_no_table_can_name_is_noted(root, name):
    write_track(root.slakh, "plain", "Track00001", {"S00": DRUMS})
    (root.slakh / "plain").rename(root.slakh / name)
    write_track(root.slakh, "train", "Track00002", {"S00": DRUMS})
    _, tracks = slakh.index(root)
    assert list(tracks["status"]) == ["ok", "unreadable"]
    assert "rename that folder" in tracks.loc[1, "note"]


def test_odd_text_is_read_as_it_was_written(root):
    entry = {"plugin_name": "None", "midi_program_name": 'Gitarre, für "José"\nNA', "inst_class": "NA"}
    write_track(root.slakh, "train", "Track00001", {"S00": {**GUITAR, "entry": entry}})
    stems, _ = slakh.index(root)
    assert stems.loc[0, "plugin_name"] == "None"
    assert stems.loc[0, "inst_class"] == "NA"
    assert stems.loc[0, "midi_program_name"] == 'Gitarre, für "José" NA'
    assert stems["note"].tolist() == [""]


def test_what_is_read_back_is_what_was_returned(root):
    write_track(root.slakh, "train", "Track00001", {"S00": GUITAR, "S01": {**DRUMS, "file": False}})
    stems, tracks = slakh.index(root)
    read_stems, read_tracks = index_tables.read(root)
    pd.testing.assert_frame_equal(read_stems, stems)
    pd.testing.assert_frame_equal(read_tracks, tracks)
    assert str(stems["frames"].dtype) == str(tracks["Drums"].dtype) == "Int64"
    assert stems["frames"].isna().tolist() == [False, True]
    index_tables.write(root, stems, tracks)
    pd.testing.assert_frame_equal(index_tables.read(root)[0], stems)


UUIDS = {  # of Slakh's own tracks
    "Track00357": "2dfc2e66f4cace81c83f18e2d2f12f74",
    "Track01876": "0f12ae105c1dc821c287b74632748b4e",
}


def test_slakhs_own_bad_stems_are_marked_by_uuid(root):
    write_track(root.slakh, "train", "Track00357", {"S03": GUITAR, "S04": DRUMS}, uuid=UUIDS["Track00357"])
    stems = {"S00": GUITAR, "S01": {**DRUMS, "file": False}}
    write_track(root.slakh, "train", "Track01876", stems, uuid=UUIDS["Track01876"])
    stems, tracks = slakh.index(root)
    noise = one(stems, track="Track00357", stem="S03")
    assert (noise["status"], noise["note"]) == ("known_bad", "white noise instead of the instrument")
    assert one(stems, track="Track00357", stem="S04")["status"] == "ok"
    assert tracks.loc[0, "Distortion_Guitar"] == 0
    absent = one(stems, track="Track01876", stem="S01")
    assert absent["status"] == "missing"
    assert "known: absent from the release" in absent["note"]


@pytest.mark.parametrize("track, stem", [("Track00357", "S03"), ("Track01876", "S01")])
def test_another_data_sets_track_of_the_same_number_is_ok(root, track, stem):
    write_track(root.slakh, "", track, {stem: GUITAR}, suffix=".wav", rate=16000, uuid="0" * 32)
    stems, tracks = slakh.index(root)
    assert (stems.loc[0, "status"], stems.loc[0, "note"]) == ("ok", "")
    assert tracks.loc[0, "Distortion_Guitar"] == 1
    stem_file = next((root.slakh / track / "stems").iterdir())
    stem_file.unlink()
    assert "known" not in slakh.index(root)[0].loc[0, "note"]


def test_a_copy_of_a_known_bad_song_is_ok(root):
    write_track(root.slakh, "train", "Track00358", {"S03": GUITAR}, uuid=UUIDS["Track00357"])
    assert slakh.index(root)[0].loc[0, "status"] == "ok"


def test_a_stem_that_exists_is_not_called_absent(root):
    write_track(root.slakh, "train", "Track01876", {"S01": GUITAR}, uuid=UUIDS["Track01876"])
    stems, _ = slakh.index(root)
    assert (stems.loc[0, "status"], stems.loc[0, "note"]) == ("ok", "")


def test_every_known_defect_names_a_track_by_its_uuid():
    defects = inspect.getmodule(slakh.index)._known_defects()
    assert {kind: len(entries) for kind, entries in defects.items()} == {"known_bad": 14, "absent": 11}
    for track, uuid, stem in [key for entries in defects.values() for key in entries]:
        assert re.fullmatch(r"Track\d{5}", track) and re.fullmatch(r"[0-9a-f]{32}", uuid)
        assert re.fullmatch(r"S\d\d", stem)


FULL = slakh.Settings(verify="full", workers=1)


@pytest.fixture
def opened(monkeypatch):
    """The files that are opened from now on."""
    names = []
    monkeypatch.setattr(audio, "info", lambda path, real=audio.info: names.append(path.name) or real(path))
    monkeypatch.setattr(
        remote_io, "read_text", lambda path, real=remote_io.read_text: names.append(path.name) or real(path)
    )
    return names


def test_a_second_run_opens_only_what_has_changed(root, opened):
    for number in (1, 2):
        folder = write_track(root.slakh, "train", f"Track0000{number}", {"S00": GUITAR, "S01": DRUMS})
    before = slakh.index(root)
    assert sorted(opened) == sorted(["S00.flac", "S01.flac", "mix.flac", "metadata.yaml"] * 2)
    opened.clear()
    for again, table in zip(slakh.index(root), before, strict=True):
        pd.testing.assert_frame_equal(again, table)
    assert opened == []
    truncate(folder / "stems" / "S01.flac")
    stems, _ = slakh.index(root)
    assert opened == ["S01.flac"]
    assert one(stems, track="Track00002", stem="S01")["status"] == "unreadable"
    opened.clear()
    assert one(slakh.index(root, slakh.Settings(taxonomy="families"))[0], track="Track00001", stem="S00") is not None
    assert opened == [], "another taxonomy needs no other look at the files"


def test_decoding_finds_what_headers_do_not_show(root):
    folder = write_track(
        root.slakh, "", "Track00001", {f"S0{n}": {**GUITAR, "seconds": 4.0} for n in range(4)}, suffix=".wav"
    )
    wave = audio.read(folder / "stems" / "S01.wav")[0]
    wave[-5:] = np.nan
    soundfile.write(folder / "stems" / "S01.wav", wave, 44100, subtype="FLOAT")
    soundfile.write(folder / "stems" / "S02.wav", np.zeros_like(wave), 44100, subtype="PCM_16")
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, len(wave))
    soundfile.write(folder / "stems" / "S03.flac", noise, 44100, subtype="PCM_16")
    (folder / "stems" / "S03.wav").unlink()
    held = bytearray((folder / "stems" / "S03.flac").read_bytes())
    held[len(held) // 3 : len(held) // 2] = bytes(len(held) // 2 - len(held) // 3)
    (folder / "stems" / "S03.flac").write_bytes(held)
    assert set(slakh.index(root)[0]["status"]) == {"ok"}
    stems, tracks = slakh.index(root, FULL)
    assert list(stems["status"]) == ["ok", "unreadable", "silent", "unreadable"]
    assert "NaN or infinite samples, first in second 3" in stems.loc[1, "note"]
    assert tracks.loc[0, "Distortion_Guitar"] == 1
    again, _ = slakh.index(root)
    assert list(again["status"]) == list(stems["status"]), "what was found is not forgotten"


def test_a_stopped_full_check_resumes(root, monkeypatch):
    for number in range(5):
        write_track(root.slakh, "train", f"Track0000{number}", {"S00": GUITAR})
    decoded, real = [], verify._sound

    def stop_after_four(path):
        if len(decoded) == 4:
            raise KeyboardInterrupt
        decoded.append(path)
        return real(path)

    monkeypatch.setattr(verify, "_sound", stop_after_four)
    with pytest.raises(KeyboardInterrupt):
        slakh.index(root, FULL)
    monkeypatch.setattr(verify, "_sound", lambda path: decoded.append(path) or real(path))
    stems, _ = slakh.index(root, FULL)
    assert len(decoded) == len(set(decoded)) == 10
    assert (stems["status"] == "ok").all()


def test_two_workers_find_the_same_as_one(tmp_path):
    made = []
    for workers in (1, 2):
        root = open_root(tmp_path / str(workers))
        for number in range(3):
            spec = {**DRUMS, "frequency": number, "truncated": number == 1}
            write_track(root.slakh, "train", f"Track0000{number}", {"S00": GUITAR, "S01": spec})
        slakh.index(root, slakh.Settings(verify="full", workers=workers))
        made.append(snapshot(root.tables))
    assert made[0] == made[1]


@pytest.mark.parametrize("names", [("S00", "S 00;1"), ("S00", "Gitarre ü")])
def test_hostile_stem_names_are_reported_or_accepted(root, names):
    write_track(root.slakh, "train", "Track00001", dict.fromkeys(names, GUITAR))
    stems, tracks = slakh.index(root)
    statuses = dict(zip(stems["stem"], stems["status"], strict=True))
    assert statuses["S00"] == "ok"
    assert statuses[names[1]] == ("unreadable" if ";" in names[1] else "ok")
    assert tracks.loc[0, "status"] == "ok"


def test_a_lost_disk_does_not_mark_files_as_missing(root, monkeypatch):
    for number in range(3):
        write_track(root.slakh, "train", f"Track0000{number}", {"S00": GUITAR})
    slakh.index(root)
    before = snapshot(root.tables)
    monkeypatch.setattr(remote_io, "PAUSES", ())
    places = slakh.find_tracks(root.slakh)
    monkeypatch.setattr(inspect.getmodule(slakh.index), "find_tracks", lambda slakh: places)
    root.slakh.rename(root.path / "gone")
    root.slakh.mkdir()  # as an unmounted disk leaves it
    with pytest.raises(MountLostError, match="run the same again"):
        slakh.index(root)
    assert snapshot(root.tables) == before


def test_no_track_at_all_says_where_the_data_must_lie(root):
    (root.slakh / "train" / "Notes").mkdir(parents=True)
    with pytest.raises(MissingError, match=r"no track in .*slakh, which holds train.*Zenodo record 4599666"):
        slakh.index(root)


def test_only_a_folder_without_foreign_tracks_is_free(root):
    (root.slakh / "README.md").write_text("what goes here")
    assert slakh.is_free(root.slakh)
    (root.slakh / "slakh2100.tar.gz").write_bytes(bytes(1_000_001))
    assert not slakh.is_free(root.slakh)
    (root.slakh / "slakh2100.tar.gz").unlink()
    (root.slakh / "a/b/c/Track00001").mkdir(parents=True)  # too deep to be found
    assert not slakh.is_free(root.slakh)
    write_track(root.slakh, "slakh2100_flac_redux/train", "Track00001", {"S00": DRUMS})
    assert not slakh.is_free(root.slakh)
    (root.slakh / slakh.RENDERED_HERE).write_text("null")  # collected from MIDI files
    assert not slakh.is_free(root.slakh)
    (root.slakh / slakh.RENDERED_HERE).write_text("{}")
    assert slakh.is_free(root.slakh)


def test_a_data_set_without_usable_tracks_is_refused(root):
    write_track(root.slakh, "train", "Track00001", {"S00": DRUMS})
    index_tables.require_usable(root, slakh.index(root)[1])
    for name in ("Track00001", "Track00002"):
        write_track(root.slakh, "train", name, {"S00": DRUMS}, metadata=False)
        (root.slakh / "train" / name / "metadata.yaml").unlink(missing_ok=True)
    says = r"None of the 2 track.* in .*slakh can be used. The reason for 2 of them: metadata.yaml is not there\."
    tracks = slakh.index(root)[1]
    for refuses in (lambda: index_tables.require_usable(root, tracks), lambda: reserve.fill(root)):
        with pytest.raises(MissingError, match=says):
            refuses()


def test_a_limit_is_spread_over_the_data_set(root):
    for number in range(6):
        write_track(root.slakh, "train" if number < 4 else "test", f"Track0000{number}", {"S00": DRUMS})
    _, tracks = slakh.index(root, slakh.Settings(limit=3))
    assert list(tracks["track"]) == ["Track00000", "Track00002", "Track00005"]


@pytest.mark.parametrize(
    "settings",
    [{"limit": 0}, {"limit": "3"}, {"limit": True}, {"taxonomy": "slakh13"}, {"verify": "all"}, {"workers": 0}],
)
def test_a_wrong_setting_is_refused_at_once(settings):
    with pytest.raises(SettingError, match=repr(next(iter(settings.values())))):
        slakh.Settings(**settings)


def test_a_taxonomy_decides_which_stem_is_which_instrument(root):
    write_track(root.slakh, "train", "Track00001", {"S00": {**GUITAR, "program": 29}})
    assert slakh.index(root)[0].loc[0, "instrument"] == ""
    assert slakh.index(root, slakh.Settings(taxonomy="families"))[0].loc[0, "instrument"] == "Distortion_Guitar"


def test_coverage_counts_stems_that_are_ok(root):
    stems = {"S00": GUITAR, "S01": {**GUITAR, "frequency": 110.0}, "S02": CHOIR, "S03": {**DRUMS, "file": False}}
    write_track(root.slakh, "train", "Track00001", stems)
    write_track(root.slakh, "train", "Track00002", {"S00": GUITAR})
    found = index_tables.coverage(*slakh.index(root)).set_index("instrument")
    assert list(found.index) == [*instruments.names(), "other"]
    guitar = found.loc["Distortion_Guitar"]
    assert (guitar["stems"], guitar["tracks"], guitar["share"]) == (3, 2, 1.0)
    assert guitar["hours"] == pytest.approx(3 / 3600)
    assert found.loc["other", "stems"] == 1
    assert found.loc["Drums", "stems"] == 0


def test_the_tables_do_not_depend_on_where_the_root_lies(tmp_path):
    made = []
    for name in ("here", "there"):
        root = open_root(tmp_path / name)
        folder = write_track(root.slakh, "train", "Track00001", {"S00": GUITAR, "S01": DRUMS})
        truncate(folder / "stems" / "S01.flac")
        (folder / "stems" / "S00.flac").write_bytes(b"")
        slakh.index(root)
        made.append(snapshot(root.tables))
    assert made[0] == made[1]


def test_after_any_kill_and_restart_the_tables_are_the_same(tmp_path):
    whole, killed = (open_root(tmp_path / name) for name in ("whole", "killed"))
    for number in range(60):
        write_track(whole.slakh, "train", f"Track{number:05d}", {"S00": {**GUITAR, "seconds": 0.1}})
    killed.slakh.rmdir()
    killed.slakh.symlink_to(whole.slakh)
    imports = "from muscomp_lib.core.root import open_root\nfrom muscomp_lib import slakh"
    lasts = run(imports, f"slakh.index(open_root({str(whole.path)!r}))")
    made = snapshot(whole.tables)

    def check():
        assert whole_or_absent(killed.tables, made)

    run_and_kill(imports, f"slakh.index(open_root({str(killed.path)!r}))", lasts, after_each=check)
    assert len(made) == 2
    assert snapshot(killed.tables) == made


def test_a_full_disk_leaves_the_old_tables_whole(root, monkeypatch):
    write_track(root.slakh, "train", "Track00001", {"S00": DRUMS})
    slakh.index(root)
    before = snapshot(root.tables)
    write_track(root.slakh, "train", "Track00002", {"S00": DRUMS})

    def run_out_of_room(table, path, **options):
        path.write_text("track,spl")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", run_out_of_room)
    with pytest.raises(DiskFullError, match=r"stems\.csv"):
        slakh.index(root)
    assert snapshot(root.tables) == before


# ---- over a mount like Google Drive ----


@pytest.fixture
def on_drive(root, tmp_path):
    """A data set of 24 tracks behind a mount where opening takes time and one call in fifty fails."""
    behind = tmp_path / "behind"
    for number in range(24):
        stems = {"S00": {**GUITAR, "seconds": 0.1}, "S01": {**DRUMS, "seconds": 0.1}}
        write_track(behind, "train", f"Track{number:05d}", stems)
    slow_mount.require_mounting()
    with slow_mount.mounted(behind, root.slakh, open_seconds=0.05, fail_share=0.02, seed=1) as mounted:
        yield mounted


def test_a_slow_failing_mount_is_read_in_parallel_and_right(root, on_drive, tmp_path):
    made = slakh.index(root)
    assert on_drive.counts()["most_at_once"] >= 8
    assert on_drive.counts()["failed"] > 0, "the mount must have failed now and then"
    plain = open_root(tmp_path / "plain")
    plain.slakh.rmdir()
    plain.slakh.symlink_to(tmp_path / "behind")
    for table, expected in zip(made, slakh.index(plain), strict=True):
        pd.testing.assert_frame_equal(table, expected)


def test_a_full_check_resumes_after_the_mount_is_lost(root, on_drive, monkeypatch):
    monkeypatch.setattr(remote_io, "PAUSES", (0,) * 6)
    slakh.index(root)
    decoded, real = [], verify._sound

    def lose_after_ten(path):
        if len(decoded) == 10:
            on_drive.lose()
        decoded.append(path)
        return real(path)

    monkeypatch.setattr(verify, "_sound", lose_after_ten)
    with pytest.raises(MountLostError, match="run the same again"):
        slakh.index(root, FULL)
    on_drive.start()
    monkeypatch.setattr(verify, "_sound", lambda path: decoded.append(path) or real(path))
    stems, tracks = slakh.index(root, FULL)
    assert (stems["status"] == "ok").all() and (tracks["status"] == "ok").all()
    assert 72 <= len(decoded) <= 72 + 2, "what was decoded before is not decoded again"
