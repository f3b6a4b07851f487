import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from muscomp_lib.core.file_cache import Journal
from muscomp_lib.core.root import open_root

PROJECT = Path(__file__).parents[2]
NOW, LATER = (100, 5), (100, 6)  # size in bytes, time of change in nanoseconds


@pytest.fixture
def root(tmp_path):
    return open_root(tmp_path)


def test_what_was_found_is_known_to_the_next_run_as_long_as_the_file_stays_as_it_is(root):
    Journal(root).note("a/S00.flac", NOW, "header", {"frames": 7})
    journal = Journal(root)
    assert journal.recall("a/S00.flac", NOW, "header") == {"frames": 7}
    assert journal.recall("a/S00.flac", LATER, "header") is None
    assert journal.recall("a/S00.flac", NOW, "sound") is None
    assert journal.recall("b/S00.flac", NOW, "header") is None


def test_what_may_pass_is_forgotten_with_the_run(root):
    journal = Journal(root)
    journal.note("S00.flac", NOW, "header", {"problem": "Input/output error", "passing": True})
    journal.note("S01.flac", NOW, "header", {"problem": "cut short"})
    assert "problem" in journal.recall("S00.flac", NOW, "header")
    journal.compact()
    assert Journal(root).recall("S00.flac", NOW, "header") is None
    assert Journal(root).recall("S01.flac", NOW, "header") == {"problem": "cut short"}


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9, 0.99])
def test_a_line_that_was_cut_off_spoils_no_other(root, keep):
    Journal(root).note("S00.flac", NOW, "header", {"frames": 7})
    (path,) = root.journal.iterdir()
    line = json.dumps({"path": "S01.flac", "seen": NOW, "kind": "header", "found": {"frames": 8}})
    with path.open("a") as file:
        file.write(line[: int(len(line) * keep)])
    Journal(root).note("S02.flac", NOW, "header", {"frames": 9})  # the same process: the same file
    journal = Journal(root)
    known = [journal.recall(f"S0{n}.flac", NOW, "header") for n in range(3)]
    assert known == [{"frames": 7}, None, {"frames": 9}]


def test_processes_write_side_by_side_and_compacting_keeps_all(root):
    code = "import sys; from muscomp_lib.core.root import open_root; from muscomp_lib.core.file_cache import Journal\n"
    code += "journal = Journal(open_root(sys.argv[1]))\n"
    code += "for n in range(200): journal.note(f'{sys.argv[2]}/{n}', (n, n), 'header', {'frames': n})"
    command = [sys.executable, "-c", code, str(root.path)]
    running = [subprocess.Popen([*command, name], cwd=PROJECT, env={**os.environ}) for name in "abc"]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert len(list(root.journal.iterdir())) == 3
    Journal(root).compact()
    assert [path.name for path in root.journal.iterdir()] == ["journal.jsonl"]
    journal = Journal(root)
    assert all(journal.recall(f"{name}/{n}", (n, n), "header") == {"frames": n} for name in "abc" for n in range(200))


def test_the_latest_word_counts(root):
    Journal(root).note("S00.flac", NOW, "header", {"frames": 7})
    Journal(root).compact()
    Journal(root).note("S00.flac", LATER, "header", {"frames": 8})
    assert Journal(root).recall("S00.flac", LATER, "header") == {"frames": 8}
