"""Which music belongs to whom: folders, music21's corpus, and files that are fetched with checksums."""

import functools
import hashlib
import http.server
import re
import threading
import unicodedata

import pytest
from fixtures import tiny_composers

from muscomp_lib.composers import corpora
from muscomp_lib.core.errors import MissingError, SettingError


@pytest.fixture
def folder(tmp_path):
    return tiny_composers.write(tmp_path / "music", works=2, pieces=1)


def test_a_folder_of_composers_and_works_is_found(folder):
    tiny_composers.write_piece(folder / "Scale" / "alone.mid", "Scale")
    tiny_composers.write_piece(folder / "Scale" / "_" / "single" / "1.mid", "Scale", seed=5)
    table = corpora.files(folder, unknown=["tri"], composers=["Scale", "chord"])
    assert table[~table["known"]]["composer"].unique().tolist() == ["Trill"]
    works = table[table["composer"] == "Scale"]["work"]
    assert sorted(works) == ["Scale/Op. 1", "Scale/Op. 2", "Scale/alone", "Scale/single"]
    assert all(path.is_file() for path in table["path"])


def test_versions_of_a_piece_are_one_work(tmp_path):
    for composer in ("Scale", "Trill"):
        for name in ("Help!", "Help!.1", "Help!.2", "Help! (1)", "Op.1", "Op.2"):
            tiny_composers.write_piece(tmp_path / composer / f"{name}.mid", composer)
    works = corpora.files(tmp_path).groupby("composer")["work"].agg(lambda its: sorted(set(its)))
    assert works["Scale"] == ["Scale/Help!", "Scale/Op.1", "Scale/Op.2"]


def test_folders_of_formats_are_no_works(tmp_path):
    for piece in ("Bach/kern/a.krn", "Bach/MIDI/b.mid", "Bach/midi/Suite/c.mid", "Liszt/d.mid"):
        (tmp_path / piece).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / piece).touch()
    assert set(corpora.files(tmp_path)["work"]) == {"Bach/a", "Bach/b", "Bach/Suite", "Liszt/d"}


def test_files_beside_composers_folders_are_named(folder, caplog):
    tiny_composers.write_piece(folder / "Unknown.mid", "Scale")
    assert "Unknown.mid" not in set(corpora.files(folder)["piece"])
    assert re.search(r"1 file\(s\) directly in .*, such as Unknown.mid, belong to no composer", caplog.text)


@pytest.mark.parametrize("asked", ["Dvořák", "dvorak", unicodedata.normalize("NFD", "Dvořák")])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_composers_are_found_however_accents_are_stored(tmp_path, asked, form):
    for composer in ("Bach", unicodedata.normalize(form, "Dvořák")):
        (tmp_path / composer).mkdir()
        (tmp_path / composer / "piece.mid").touch()
    table = corpora.files(tmp_path, composers=["Bach", asked])
    assert len(table) == 2


def test_a_composer_within_an_era_is_pointed_out(tmp_path):
    for piece in ("Baroque/Bach/a.mid", "Romantic/Brahms/b.mid"):
        (tmp_path / piece).parent.mkdir(parents=True)
        (tmp_path / piece).touch()
    with pytest.raises(SettingError, match=r"'bach' in .* It is in Baroque: give the folder that it lies directly in"):
        corpora.files(tmp_path, composers=["bach", "brahms"])


@pytest.mark.parametrize("folders", [("2004", "2006"), ("train", "Test"), ("Bach", "midi")])
def test_folders_that_are_no_composers_are_refused(tmp_path, folders):
    for name in folders:
        tiny_composers.write_piece(tmp_path / name / "Bach" / "a.mid", "Scale")
    with pytest.raises(SettingError, match=r"'(2004|2006|train|Test|midi)' in .* is no composer's, by its name"):
        corpora.files(tmp_path)


def test_maestros_table_has_composers_and_titles(tmp_path):
    pieces = {"2004/a.midi": ("Bach", "Fugue"), "2004/b.midi": ("Liszt", "Sonata"), "2018/c.midi": ("Bach", "Fugue")}
    for piece in (*pieces, "2018/unlisted.midi"):
        tiny_composers.write_piece(tmp_path / piece, "Scale")
    lines = [f'{composer},"{title}",train,2004,{piece}' for piece, (composer, title) in pieces.items()]
    header = "canonical_composer,canonical_title,split,year,midi_filename"
    (tmp_path / "maestro-v3.0.0.csv").write_text("\n".join([header, *lines]))
    table = corpora.files(tmp_path)
    works = {"2004/a.midi": "Bach/Fugue", "2018/c.midi": "Bach/Fugue", "2004/b.midi": "Liszt/Sonata"}
    assert dict(zip(table["piece"], table["work"], strict=True)) == works


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"composers": ["Scale"]}, "holds only 'Scale': there is nobody to tell apart"),
        ({"composers": []}, "holds nobody"),
        ({"composers": ["Skale", "Chord"]}, "no composer 'Skale' in .* Did you mean 'Scale'"),
        ({"composers": ["l", "Chord"]}, "'l' matches several composers of .*: Scale; Trill"),
        ({"composers": ["Scale", "Chord"], "unknown": ["Scale"]}, "Scale cannot be both"),
    ],
)
def test_wrong_composers_are_refused_with_words(folder, given, reason):
    with pytest.raises(SettingError, match=reason):
        corpora.files(folder, **given)


@pytest.mark.parametrize(
    ("given", "known"), [({"unknown": ["Tri"]}, ["Chord", "Scale"]), ({}, ["Chord", "Scale", "Trill"])]
)
def test_unknown_composers_are_left_out_of_all(folder, given, known):
    table = corpora.files(folder, **given)
    assert table[table["known"]]["composer"].unique().tolist() == known
    assert set(table["composer"]) == {"Chord", "Scale", "Trill"}


def test_default_composers_may_be_made_unknown():
    table = corpora.files(unknown=["mozart"], pieces_per_composer=1)
    assert table.set_index("composer")["known"].to_dict() == {
        **dict.fromkeys(["bach", "beethoven", "monteverdi", "palestrina"], True),
        "mozart": False,
    }


def test_scores_of_notation_programs_are_named(folder, caplog):
    for name in ("Weill/a.mscz", "Scale/b.SIB", "Scale/c.mei", "Scale/alone.mscz"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    tiny_composers.write_piece(folder / "Scale" / "alone.mid", "Scale")
    assert "Weill" not in set(corpora.files(folder)["composer"])
    assert re.search(r"3 score\(s\) in .* such as Scale/b\.SIB\. Export them as MusicXML", caplog.text)


def test_a_missing_or_empty_folder_is_refused(tmp_path):
    with pytest.raises(MissingError, match=r"is not a folder\. There is music21, lieder, quartets"):
        corpora.files(tmp_path / "music21s")
    with pytest.raises(MissingError, match=r"no folder with music .* It must hold one for each composer"):
        corpora.files(tmp_path)


def test_music21s_defaults_are_there_and_in_works():
    table = corpora.files(pieces_per_composer=40)
    counts = table.groupby("composer")["work"].nunique()
    assert counts["bach"] > 30 and 5 <= counts["mozart"] < 10
    assert not table["path"].map(lambda path: path.with_suffix("")).duplicated().any()


def test_the_defaults_of_fetched_corpora_are_listed(monkeypatch):
    monkeypatch.setattr(corpora, "_paths", lambda corpus, pieces: pieces)
    for corpus in corpora.REPOSITORIES:
        table = corpora.files(corpus)
        assert table["composer"].nunique() == sum(map(len, corpora.DEFAULTS[corpus]))


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def hosted(folder, tmp_path, monkeypatch):
    """A server of the folder as the corpus "quartets", whose index is that of the folder; its served folder."""
    served = tmp_path / "served" / corpora.REPOSITORIES["quartets"] / "scores"
    served.parent.mkdir(parents=True)
    folder.rename(served)
    lines = ["corpus,path,checksum"]
    for path in sorted(served.rglob("*.mid")):
        name = path.relative_to(served).as_posix()
        lines.append(f"quartets,{name},{hashlib.sha256(path.read_bytes()).hexdigest()[:32]}")
    (tmp_path / "index.csv").write_text("\n".join(lines))
    monkeypatch.setattr(corpora, "INDEX", tmp_path / "index.csv")
    monkeypatch.setattr(corpora, "DEFAULTS", {"quartets": (["Scale", "Chord"], ["Trill"])})
    monkeypatch.setenv("MUSCOMP_CACHE", str(tmp_path / "cache"))
    handler = functools.partial(_Handler, directory=tmp_path / "served")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("GITHUB_RAW_HOST", f"http://127.0.0.1:{server.server_address[1]}")
    yield served
    server.shutdown()
    server.server_close()


def test_scores_are_fetched_once_by_name(hosted, monkeypatch):
    table = corpora.files("quartets")
    assert len(table) == 6 and all(path.is_file() for path in table["path"])
    monkeypatch.setenv("GITHUB_RAW_HOST", "http://127.0.0.1:9")
    assert corpora.files("quartets").equals(table)


def test_a_damaged_download_is_not_kept(hosted):
    damaged = next(hosted.rglob("*.mid"))
    damaged.write_bytes(b"other")
    with pytest.raises(SettingError, match="is damaged or not the file that is listed"):
        corpora.files("quartets")
    kept = corpora.cache_folder() / "composers" / "quartets" / damaged.relative_to(hosted)
    assert not kept.exists()


def test_without_a_network_the_message_names_the_repository(hosted, monkeypatch):
    monkeypatch.setenv("GITHUB_RAW_HOST", "http://127.0.0.1:9")
    with pytest.raises(MissingError, match="clone OpenScore/StringQuartets from github"):
        corpora.files("quartets")
