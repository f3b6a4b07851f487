import math

import pandas as pd
import pytest

from muscomp_lib import plots
from muscomp_lib.core import instruments
from muscomp_lib.core.errors import SettingError
from muscomp_lib.core.root import open_root
from muscomp_lib.slakh import index_tables

FINGER, PICK, FRETLESS, DRUMS, VIOLIN = 33, 34, 35, 128, 40
GM = {FINGER: "Electric Bass (finger)", PICK: "Electric Bass (pick)", FRETLESS: "Fretless Bass", VIOLIN: "Violin"}
HOUR = 3600  # seconds; the tables below are of stems of an hour, at one sample a second


def table(*stems):
    """A stems.csv of (track, program, patch) or (track, program, patch, status)."""
    rows = []
    for track, program, patch, *status in stems:
        blank = dict.fromkeys(index_tables.STEM_COLUMNS, "")
        known = {"track": track, "program_num": program, "plugin_name": patch, "status": (*status, "ok")[0]}
        rows.append(blank | known | {"midi_program_name": GM.get(program, "Drums"), "sample_rate": 1, "frames": HOUR})
    return pd.DataFrame(rows).astype({"program_num": "Int64", "sample_rate": "Int64", "frames": "Int64"})


def one(found, **where):
    for column, value in where.items():
        found = found[found[column] == value]
    assert len(found) == 1
    return found.iloc[0]


@pytest.fixture
def basses():
    """Ten stems rendered with two bass patches, one of them picked; and drums with a patch of their own."""
    fingered = [(f"Track{n:05}", FINGER, "bass_a") for n in range(6)]
    others = [("Track00006", FRETLESS, "bass_b"), ("Track00007", FRETLESS, "bass_b"), ("Track00008", FINGER, "bass_b")]
    return table(*fingered, *others, ("Track00009", PICK, "bass_a"), ("Track00009", DRUMS, "kit"))


@pytest.fixture
def written(tmp_path):
    """Write a table of one track with one cell changed; the root."""
    root = open_root(tmp_path)

    def write(change=lambda text: text, name="tracks.csv"):
        row = dict.fromkeys(index_tables.TRACK_COLUMNS, "") | {"track": "Track00001", "frames": 8820, "duration": 0.1}
        tracks = pd.DataFrame([row | {"Drums": 1}, row | {"track": "Track00002", "frames": None, "Drums": 0}])
        index_tables.write(root, table(("Track00001", PICK, "bass_a")).assign(is_drum=True), tracks)
        path = root.tables / name
        path.write_bytes(change(path.read_text(encoding="utf-8")).encode("latin-1"))
        return root

    return write


def test_a_table_is_read_as_it_was_written(written):
    stems, tracks = index_tables.read(written())
    kinds = {name: kind for name, kind in index_tables.STEM_COLUMNS.items() if kind != "str"}
    assert dict(stems[list(kinds)].dtypes.astype(str)) == kinds
    assert list(tracks["frames"].fillna(-1)) == [8820, -1] and tracks.loc[0, "duration"] == 0.1


def test_what_a_spreadsheet_adds_is_read_as_before(written):
    plain = index_tables.read(written())
    changed = index_tables.read(written(lambda text: text.replace("\n", "\r\n") + "\r\n"))
    (written().tables / "tracks.csv").write_text(
        (written().tables / "tracks.csv").read_text(encoding="utf-8"), encoding="utf-8-sig"
    )
    padded = index_tables.read(written(lambda text: "sep=,\n" + text.replace("\n", ",,\n") + ",,,\n"))
    for found in (changed, padded, index_tables.read(open_root(written().path))):
        for expected, table in zip(plain, found, strict=True):
            pd.testing.assert_frame_equal(expected, table)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Track00002", "../../x", r"tracks\.csv, line 3: '../../x' cannot be the name of a track, because"),
        ("Track00001", "/tmp/x", r"tracks\.csv, line 2: '/tmp/x' cannot be the name of a track"),
        ("Track00001", "", r"line 2: '' cannot be the name of a track, because it is empty"),
        (",Drums", ",<b>", r"tracks\.csv, line 1: '<b>' cannot be the name of an instrument"),
        (",Drums", ",note", "has a column twice"),
        ("8820", "many", r"tracks\.csv, line 2: frames = 'many.0' is not a whole number"),
        ("8820", "9" * 30, "frames = '999.* is not a whole number"),
        ("0.1", '"0,1"', "duration = '0,1' is not a number, such as 3.0"),
        ("0.1", "nan", "duration = 'nan' is not a number"),
        ("0.1", "0.1,", r"line 2: 11 cells, and 10 columns"),
        (",", ";", "has no column 'track'"),
        ("\nTrack00002,", "\n", r"line 3: 9 cells, and 10 columns"),
        ("Track00001", "Tr\u00e4ck", r"tracks\.csv is not UTF-8"),
        ("Track00001", '"Track', r"tracks\.csv, line"),
        ("Track00001", "Track\0", r"tracks\.csv has bytes of 0. It is in UTF-16, or damaged"),
        (",,,8820", ",,../../x.flac,8820", "'../../x.flac' cannot be the mix: it leads out"),
    ],
)
def test_a_cell_that_cannot_be_is_refused_with_its_line(written, old, new, message):
    with pytest.raises(SettingError, match=message):
        index_tables.read(written(lambda text: text.replace(old, new, 1) if old != "," else text.replace(old, new)))


def test_every_taxonomy_is_counted_whichever_the_index_was_made_with(basses):
    assert set(basses["instrument"]) == {""}
    found = index_tables.taxonomies(basses)
    assert list(found.columns) == ["taxonomy", "instrument", "stems", "tracks", "hours"]
    expected = [(taxonomy, name) for taxonomy in instruments.taxonomies() for name in instruments.names(taxonomy)]
    assert list(zip(found["taxonomy"], found["instrument"], strict=True)) == expected
    assert list(one(found, taxonomy="slakh12", instrument="Electric_Bass_pick")[2:]) == [1, 1, 1.0]
    assert list(one(found, taxonomy="families", instrument="Electric_Bass_pick")[2:]) == [10, 10, 10.0]
    assert list(one(found, taxonomy="families", instrument="Violin")[2:]) == [0, 0, 0.0]


def test_two_stems_of_an_instrument_count_as_one_track(basses):
    more = table(("Track00000", DRUMS, "kit"), ("Track00000", DRUMS, "kit"), ("Track00001", DRUMS, "kit", "silent"))
    found = index_tables.taxonomies(pd.concat([basses, more]))
    assert list(one(found, taxonomy="slakh12", instrument="Drums")[2:]) == [3, 2, 3.0]


def test_a_taxonomy_that_a_student_adds_is_counted_too(basses, tmp_path, monkeypatch):
    monkeypatch.setattr(instruments, "TAXONOMY_FILE", tmp_path / "instruments.yaml")
    instruments.TAXONOMY_FILE.write_text("mine:\n  Fretless: {programs: [35], range: [28, 67]}\n", encoding="utf-8")
    assert index_tables.taxonomies(basses).to_dict("records") == [
        {"taxonomy": "mine", "instrument": "Fretless", "stems": 2, "tracks": 2, "hours": 2.0}
    ]


def test_a_shared_patch_shows_the_share_of_the_name(basses):
    found = index_tables.shared_patches(basses)
    assert list(found["instrument"]) == instruments.names()
    pick = one(found, instrument="Electric_Bass_pick")
    assert (pick["stems"], pick["patches"], pick["shared"], pick["also"]) == (1, 1, 1, "Electric Bass (finger)")
    assert pick["share"] == pytest.approx(1 / 7)
    drums = one(found, instrument="Drums")
    assert (drums["patches"], drums["shared"], drums["share"], drums["also"]) == (1, 0, 1.0, "")


def test_a_family_owns_what_its_members_share(basses):
    pooled = one(index_tables.shared_patches(basses, "families"), instrument="Electric_Bass_pick")
    assert (pooled["stems"], pooled["patches"], pooled["shared"], pooled["share"]) == (10, 2, 0, 1.0)


def test_the_programs_that_share_most_are_named_first(basses):
    more = table(*[("Track00010", FRETLESS, "bass_a")] * 7)
    pick = one(index_tables.shared_patches(pd.concat([basses, more])), instrument="Electric_Bass_pick")
    assert pick["also"] == "Fretless Bass, Electric Bass (finger)"


def test_unrendered_and_broken_stems_share_no_patch():
    unknown = [("Track00001", PICK, ""), ("Track00001", FINGER, ""), ("Track00001", PICK, "None")]
    broken = [("Track00001", FINGER, "bass_a", "missing"), ("Track00001", PICK, "bass_a")]
    pick = one(index_tables.shared_patches(table(*unknown, *broken)), instrument="Electric_Bass_pick")
    assert (pick["stems"], pick["patches"], pick["shared"], pick["share"]) == (1, 1, 0, 1.0)


def test_an_instrument_without_stems_has_no_share(basses):
    violin = one(index_tables.shared_patches(basses), instrument="Violin")
    assert (violin["stems"], violin["patches"]) == (0, 0) and math.isnan(violin["share"])
    assert len(index_tables.shared_patches(basses.head(0))) == len(instruments.names())


def test_what_is_written_is_what_is_read(basses, tmp_path):
    root = open_root(tmp_path)
    tracks = pd.DataFrame(
        [{**dict.fromkeys(index_tables.TRACK_COLUMNS, ""), "track": "NA", "frames": None, "Drums": 1}]
    )
    index_tables.write(root, basses.assign(plugin_name="None", is_drum=False), tracks.assign(duration=float("nan")))
    stems, tracks = index_tables.read(root)
    assert set(stems["plugin_name"]) == {"None"} and tracks.loc[0, "track"] == "NA"
    assert tracks.loc[0, "frames"] is pd.NA and tracks.loc[0, "Drums"] == 1


def test_the_picture_has_a_bar_for_each_taxonomys_instruments(tmp_path, monkeypatch, basses):
    monkeypatch.setattr(instruments, "TAXONOMY_FILE", tmp_path / "instruments.yaml")
    pick, fretless = "Pick: {programs: [34], range: [28, 67]}", "Fretless: {programs: [35], range: [28, 67]}"
    text = f"one:\n  {pick}\n  {fretless}\ntwo:\n  {fretless}\n"
    instruments.TAXONOMY_FILE.write_text(text, encoding="utf-8")
    (axes,) = plots.taxonomies(index_tables.taxonomies(basses)).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["Pick", "Fretless"]
    assert [[bar.get_width() for bar in bars] for bars in axes.containers] == [[1, 2], [2]]
    centres = [[bar.get_y() + bar.get_height() / 2 for bar in bars] for bars in axes.containers]
    assert centres[0][1] < 1 < centres[1][0]
    assert [label.get_text() for label in axes.get_legend().get_texts()] == ["one", "two"]
