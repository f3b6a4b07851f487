import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from muscomp_lib.core.file_cache import FileCache
from muscomp_lib.core.root import open_root

PROJECT = Path(__file__).parents[2]
NOW, LATER = (100, 5), (100, 6)  # size in bytes, time of change in nanoseconds


@pytest.fixture
def root(tmp_path):
    return open_root(tmp_path)


def test_results_are_kept_until_the_file_changes(root):
    FileCache(root).put("a/S00.flac", NOW, "header", {"frames": 7})
    cache = FileCache(root)
    assert cache.get("a/S00.flac", NOW, "header") == {"frames": 7}
    assert cache.get("a/S00.flac", LATER, "header") is None
    assert cache.get("a/S00.flac", NOW, "sound") is None
    assert cache.get("b/S00.flac", NOW, "header") is None


def test_errors_that_may_pass_are_kept_for_one_run_only(root):
    cache = FileCache(root)
    cache.put("S00.flac", NOW, "header", {"problem": "Input/output error", "passing": True})
    cache.put("S01.flac", NOW, "header", {"problem": "cut short"})
    assert "problem" in cache.get("S00.flac", NOW, "header")
    cache.compact()
    assert FileCache(root).get("S00.flac", NOW, "header") is None
    assert FileCache(root).get("S01.flac", NOW, "header") == {"problem": "cut short"}


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9, 0.99])
def test_an_incomplete_line_is_ignored(root, keep):
    FileCache(root).put("S00.flac", NOW, "header", {"frames": 7})
    (path,) = root.journal.iterdir()
    line = json.dumps({"path": "S01.flac", "seen": NOW, "kind": "header", "found": {"frames": 8}})
    with path.open("a") as file:
        file.write(line[: int(len(line) * keep)])
    FileCache(root).put("S02.flac", NOW, "header", {"frames": 9})  # the same process: the same file
    cache = FileCache(root)
    known = [cache.get(f"S0{n}.flac", NOW, "header") for n in range(3)]
    assert known == [{"frames": 7}, None, {"frames": 9}]


def test_processes_write_concurrently_and_compacting_keeps_all(root):
    code = (
        "import sys\nfrom muscomp_lib.core.root import open_root\nfrom muscomp_lib.core.file_cache import FileCache\n"
    )
    code += "cache = FileCache(open_root(sys.argv[1]))\n"
    code += "for n in range(200): cache.put(f'{sys.argv[2]}/{n}', (n, n), 'header', {'frames': n})"
    command = [sys.executable, "-c", code, str(root.path)]
    running = [subprocess.Popen([*command, name], cwd=PROJECT, env={**os.environ}) for name in "abc"]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert len(list(root.journal.iterdir())) == 3
    FileCache(root).compact()
    assert [path.name for path in root.journal.iterdir()] == ["journal.jsonl"]
    cache = FileCache(root)
    assert all(cache.get(f"{name}/{n}", (n, n), "header") == {"frames": n} for name in "abc" for n in range(200))


def test_the_latest_result_counts(root):
    FileCache(root).put("S00.flac", NOW, "header", {"frames": 7})
    FileCache(root).compact()
    FileCache(root).put("S00.flac", LATER, "header", {"frames": 8})
    assert FileCache(root).get("S00.flac", LATER, "header") == {"frames": 8}
