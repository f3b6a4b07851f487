import pytest

from muscomp_lib.core import provenance


def test_a_result_matches_what_it_was_made_from_only(tmp_path):
    path = tmp_path / "made_from.txt"
    assert not provenance.matches(path, "é 1\n")
    provenance.write(path, "é 1\n")
    assert provenance.matches(path, "é 1\n") and not provenance.matches(path, "é 2\n")
    assert path.read_bytes() == "é 1\n".encode()


@pytest.mark.parametrize("content", [b"\xff\xfe", b"{"])
def test_a_damaged_note_matches_nothing(tmp_path, content):
    (tmp_path / "made_from.txt").write_bytes(content)
    assert not provenance.matches(tmp_path / "made_from.txt", "text")
