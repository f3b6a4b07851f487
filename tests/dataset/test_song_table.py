"""Tables that people write, by hand or with spreadsheets: read, or refused with the line, the column and the cell."""

import subprocess
import sys
import unicodedata

import numpy as np
import pytest
import soundfile

from muscomp_lib.core.errors import AudioError, MissingError, MusCompError, SettingError
from muscomp_lib.core.root import open_root
from muscomp_lib.dataset import song_table

RATE, SECONDS = 8000, 3.0
NAMES = ["bass", "drums", "other"]
CONFIG = {"mix_name": "mix", "instrument_list": NAMES, "sample_rate": RATE, "n_channels": 2}
HEADER = "mix_path,bass_path,drums_path,other_path,duration"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A root with songs `own/s0/` to `own/s3/` and `own/Käse/` of 3 seconds. Read only."""
    root = open_root(tmp_path_factory.mktemp("root"))
    for number, name in enumerate(["s0", "s1", "s2", "s3", "Käse"]):
        write_song(root, name, seed=number)
    return root


def write_song(root, name, seed=0, subtype="PCM_16", **changes):
    """A song of noise; `changes` replace a file's samples after the mix was made."""
    rng = np.random.default_rng(seed)
    parts = {part: rng.uniform(-0.2, 0.2, (round(RATE * SECONDS), 2)) for part in NAMES}
    parts["mix"] = sum(parts.values())
    folder = root.path / "own" / name
    folder.mkdir(parents=True)
    for part, waveform in (parts | changes).items():
        soundfile.write(folder / f"{part}.wav", waveform, RATE, subtype=subtype)


def row(name, duration="3.0"):
    return ",".join([*(f"own/{name}/{part}.wav" for part in ("mix", *NAMES)), duration])


def table(root, tmp_path, *rows, header=HEADER, encoding="utf-8", newline="\n"):
    path = tmp_path / "train.csv"
    path.write_bytes(newline.join([header, *rows, ""]).encode(encoding))
    return path


def read(root, path, **changes):
    return song_table.read_songs(root, path, CONFIG | changes)


READ = {
    "as it should be": {"rows": [row("s0"), row("s1")]},
    "a byte order mark and Windows' line ends": {"rows": [row("s0")], "encoding": "utf-8-sig", "newline": "\r\n"},
    "the line ends of old Macs": {"rows": [row("s0"), row("s1")], "newline": "\r"},
    "empty lines": {"rows": ["", row("s0"), "", row("s1")]},
    "rows that a spreadsheet emptied": {"rows": [row("s0"), ",,,,", "  ", row("s1"), ",,,,"]},
    "letters beyond ASCII": {"rows": [row("Käse")]},
    "quotation marks": {"rows": ['"' + row("s0").replace(",", '","') + '"']},
    "whole seconds": {"rows": [row("s0", "3")]},
    "another column": {"rows": [row("s0") + ",Bach"], "header": HEADER + ",composer"},
}


@pytest.mark.parametrize("case", READ)
def test_usual_tables_are_read(root, tmp_path, case):
    given = {"rows": [], **READ[case]}
    songs = read(root, table(root, tmp_path, *given.pop("rows"), **given))
    assert songs[0].mix == root.path / "own" / songs[0].track / "mix.wav"
    assert {song.n_samples for song in songs} == {round(RATE * SECONDS)}


REFUSED = {
    "backslashes": ([row("s0").replace("/", "\\")], r"line 2, mix_path: .*own.*s0.*'/'"),
    "a home folder": ([row("s0").replace("own", "~")], r"line 2, mix_path: .*~ and variables are not expanded"),
    "a drive of Windows": ([row("s0").replace("own", "C:/own")], r"line 2, mix_path: C:/own.* is a Windows path"),
    "an address": ([row("s0").replace("own", "gs://own")], r"line 2, mix_path: gs://own/s0/mix.wav is an address"),
    "a space before a path": ([row("s0").replace(",", ", ")], r"line 2, bass_path: ' own.*begins or ends with a space"),
    "an end of text": ([row("s0\0")], r"line 2, mix_path: 'own/s0\\x00/mix.wav'"),
    "a clock's duration": ([row("s0"), row("s1", "0:03")], r"line 3, duration: '0:03' is not a number of seconds"),
    "a quoted comma": ([row("s0"), row("s1", '"3,0"')], r"line 3, duration: '3,0'.*with a point"),
    "a comma": ([row("s0"), row("s1", "3,0")], r"line 3: 6 cells for 5 columns. Write 3\.0"),
    "milliseconds": ([row("s0", "3000")], r"line 2, duration: own/s0/mix.wav lasts 3\.00 s, not 3000. Write 3\.000"),
    "milliseconds in one line": ([row("s0"), row("s1"), row("s2", "3000")], r"line 4, duration.*3\.00 s, not 3000"),
    "no number": ([row("s0"), row("s1", "nan")], r"line 3, duration: 'nan'"),
    "infinity": ([row("s0", "inf")], r"line 2, duration: 'inf'"),
    "a huge number": ([row("s0", "1e999")], r"line 2, duration: .*3\.00 s, not 1e999"),
    "digits of another script": ([row("s0", "٣")], r"line 2, duration: '٣'"),
    "a negative duration": ([row("s0"), row("s1", "-3")], r"line 3, duration: '-3'"),
    "a blank cell": ([row("s0"), row("s1").replace("own/s1/bass.wav", "")], r"line 3: no value for 'bass_path'"),
    "another case of letters": ([row("s0"), row("s1").replace("drums", "Drums")],
                                r"line 3, drums_path: .*Drums\.wav is not there.*Did you mean 'drums\.wav'"),
    "a path from elsewhere": ([row("s0").replace("own/", "")], r"line 2, mix_path: .*relative to the root"),
    "a name too long for a disk": ([row("s" * 300)], r"line 2, mix_path: the name sss"),
    "a folder": ([row("s0").replace("/bass.wav", "")], r"line 2, bass_path: .*own/s0"),
    "a text": ([row("s0").replace("bass.wav", "../../../train.csv")], r"line 2, bass_path"),
    "an open quotation mark": ([row("s0"), '"' + row("s1")], r"line 3: .*quotation mark"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_mistake_is_refused_with_line_column_and_cell(root, tmp_path, case):
    rows, says = REFUSED[case]
    with pytest.raises(MusCompError, match=rf"train\.csv, {says}"):
        read(root, table(root, tmp_path, *rows))


def test_other_separators_and_encodings_are_named(root, tmp_path):
    with pytest.raises(SettingError, match=r"line 1: cells are separated by ';'.*CSV UTF-8"):
        read(root, table(root, tmp_path, row("s0").replace(",", ";"), header=HEADER.replace(",", ";")))
    with pytest.raises(SettingError, match=r"line 2: b'\\xe4' is not UTF-8.*CSV UTF-8"):
        read(root, table(root, tmp_path, row("Käse"), encoding="cp1252"))
    with pytest.raises(SettingError, match=r"line 1: b'\\xff' is not UTF-8"):
        read(root, table(root, tmp_path, row("s0"), encoding="utf-16"))
    with pytest.raises(SettingError, match=r"line 1: there are bytes of 0\. It is in UTF-16, or damaged.*CSV UTF-8"):
        read(root, table(root, tmp_path, row("s0"), encoding="utf-16-le"))


def test_there_may_be_no_songs_to_test_with(tmp_path):
    for text, has_songs in (("mix_path,duration\n", False), ("", False), ("mix_path,duration\nmix.wav,3.0\n", True)):
        (tmp_path / "test.csv").write_text(text)
        assert song_table.has_songs(tmp_path / "test.csv") == has_songs
    assert not song_table.has_songs(tmp_path / "none.csv")


def test_a_spreadsheets_note_of_its_separator_is_named(root, tmp_path):
    with pytest.raises(SettingError, match=r"line 1: sep=, is a note for a spreadsheet\. Remove this line"):
        read(root, table(root, tmp_path, HEADER, row("s0"), header="sep=,"))


def test_accents_in_another_form_are_named(tmp_path):
    root = open_root(tmp_path / "root")
    write_song(root, unicodedata.normalize("NFD", "Käse"))
    with pytest.raises(MusCompError, match=r"line 2, mix_path: .* accents stored in another form"):
        read(root, table(root, tmp_path, row(unicodedata.normalize("NFC", "Käse"))))


def test_a_wrong_header_is_named(root, tmp_path):
    with pytest.raises(SettingError, match=r"no column 'drums_path'. Did you mean 'Drums_path'"):
        read(root, table(root, tmp_path, row("s0"), header=HEADER.replace("drums", "Drums")))
    with pytest.raises(SettingError, match=r"2 columns 'bass_path'"):
        read(root, table(root, tmp_path, row("s0"), header=HEADER.replace("drums", "bass")))


def test_files_that_do_not_fit_together_are_refused(tmp_path):
    root = open_root(tmp_path / "root")
    write_song(root, "short", bass=np.zeros((100, 2)))
    write_song(root, "slow")
    soundfile.write(root.path / "own" / "slow" / "drums.wav", np.zeros((round(RATE * SECONDS), 2)), RATE // 2)
    write_song(root, "missing")
    (root.path / "own" / "missing" / "mix.wav").unlink()
    with pytest.raises(AudioError, match=r"line 2: own/short/bass\.wav has 100 samples, its mix 24000"):
        read(root, table(root, tmp_path, row("short")))
    with pytest.raises(AudioError, match=r"line 2: own/slow/drums\.wav has 4000 Hz .* not 8000 Hz.*sample_rate = 4000"):
        read(root, table(root, tmp_path, row("slow")))
    with pytest.raises(MissingError, match=r"line 2, mix_path: .*missing/mix\.wav is not there.*bass\.wav"):
        read(root, table(root, tmp_path, row("missing")))


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "DOUBLE"])
def test_sums_within_rounding_are_accepted_silently(tmp_path, caplog, subtype):
    root = open_root(tmp_path / "root")
    write_song(root, "song", subtype=subtype)
    assert read(root, table(root, tmp_path, row("song")))
    assert not caplog.records


def test_another_songs_mix_is_warned_of_with_its_line(tmp_path, caplog):
    root = open_root(tmp_path / "root")
    write_song(root, "right")
    write_song(root, "wrong", mix=np.random.default_rng(9).uniform(-0.3, 0.3, (round(RATE * SECONDS), 2)))
    path = table(root, tmp_path, row("right"), row("wrong"))
    read(root, path)
    (warned,) = caplog.messages
    assert "train.csv, line 3, mix_path: " in warned and "do not sum to its mix" in warned
    read(root, path, instrument_list=["bass", "drums"])  # what is not `other` may be in the mix alone
    assert len(caplog.messages) == 1


def test_one_file_in_two_columns_is_warned_of(root, tmp_path, caplog):
    copied = [row(name).replace("drums.wav", "mix.wav") for name in ("s1", "s2")]
    read(root, table(root, tmp_path, row("s0"), *copied), instrument_list=["bass", "drums"])
    (warned,) = caplog.messages
    assert "train.csv, line 3: mix_path and drums_path are the same file, and likewise in 1 more lines." in warned


def test_a_song_that_is_there_twice_is_warned_of(root, tmp_path, caplog):
    read(root, table(root, tmp_path, row("s0"), row("s1")))
    assert not caplog.messages
    assert len(read(root, table(root, tmp_path, *map(row, ("s0", "s1", "s0", "s0"))))) == 4
    (warned,) = caplog.messages
    assert "train.csv, line 4: the mix own/s0/mix.wav is in line 2, too, and likewise in 1 more lines." in warned


def test_songs_of_both_tables_are_warned_of(root, tmp_path, caplog):
    first, second = (read(root, table(root, tmp_path, *map(row, names))) for names in (("s0", "s1"), ("s1", "s2")))
    song_table.warn_of_shared_songs(first[:1], second)
    assert not caplog.messages
    song_table.warn_of_shared_songs(first, second)
    assert "1 of 2 validation songs are trained on too" in caplog.text


def test_mono_and_absolute_paths_are_refused_for_spleeter_only(tmp_path):
    root = open_root(tmp_path / "root")
    write_song(root, "song", bass=np.zeros(round(RATE * SECONDS)))
    mono, absolute = row("song"), row("song").replace("own/", f"{root.path}/own/")
    for its_row, says in ((mono, r"song/bass\.wav has 8000 Hz and 1 channel"), (absolute, r"mix_path: .*relative")):
        path = table(root, tmp_path, its_row)
        assert len(read(root, path)) == 1
        with pytest.raises(MusCompError, match=says):
            song_table.read_songs(root, path, CONFIG, for_spleeter=True)


def test_emptied_rows_are_refused_for_spleeter_with_their_line(root, tmp_path):
    path = table(root, tmp_path, row("s0"), ",,,,")
    assert len(read(root, path)) == 1
    with pytest.raises(SettingError, match=r"line 3: no value for 'mix_path'\. Fill it in, remove the line"):
        song_table.read_songs(root, path, CONFIG | {"n_channels": 2}, for_spleeter=True)


def test_a_table_is_checked_without_tensorflow(root, tmp_path):
    path = table(root, tmp_path, row("s0", "0:03"))
    code = f"""
import sys
from muscomp_lib import open_root
from muscomp_lib.training.train import examples
config = {CONFIG} | {{"model": {{"type": "muscomp.shared_unet"}}, "muscomp": {{"remix": True}},
    "train_csv": {str(path)!r}, "validation_csv": {str(path)!r}, "model_dir": "m"}}
try:
    examples(config, open_root({str(root.path)!r}))
except Exception as error:
    print(type(error).__name__, "tensorflow" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "SettingError False\n"
