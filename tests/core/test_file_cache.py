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


@pytest.mark.parametrize(
    "line",
    [
        "[" * 100_000,
        "[]",
        "5",
        "\0",
        '{"path": 1, "kind": "a", "seen": [1], "found": {}}',
        '{"path": "S01.flac", "kind": "header", "seen": [100, 5], "found": 3}',
        '{"path": ["a"], "kind": []}',
    ],
)
def test_lines_of_other_kinds_are_ignored(root, line):
    FileCache(root).put("S00.flac", NOW, "header", {"frames": 7})
    with next(root.journal.iterdir()).open("a") as file:
        file.write(f"{line}\n")
    cache = FileCache(root)
    cache.compact()
    assert cache.get("S00.flac", NOW, "header") == {"frames": 7} and cache.get("S01.flac", NOW, "header") is None


def test_files_of_others_are_neither_read_nor_removed(root):
    os.mkfifo(root.journal / "machine-1.jsonl")
    (root.journal / "machine-2.jsonl").symlink_to(root.journal / "machine-2.jsonl")
    (root.journal / "mine.jsonl").write_text("my notes")
    FileCache(root).put("S00.flac", NOW, "header", {"frames": 7})
    FileCache(root).compact()
    names = ["journal.jsonl", "machine-1.jsonl", "machine-2.jsonl", "mine.jsonl"]
    assert sorted(path.name for path in root.journal.iterdir()) == names


@pytest.mark.parametrize("error", [PermissionError(13, "not yours"), FileNotFoundError(2, "compacted meanwhile")])
def test_a_file_that_cannot_be_read_is_ignored(root, monkeypatch, error):
    FileCache(root).put("S00.flac", NOW, "header", {"frames": 7})
    lost = root.journal / "machine-1.jsonl"
    lost.write_text("")
    read, remove = Path.read_text, Path.unlink

    def unless_lost(call):
        def with_error(path, *words, **how):
            if path == lost:
                raise error
            return call(path, *words, **how)

        return with_error

    monkeypatch.setattr(Path, "read_text", unless_lost(read))
    monkeypatch.setattr(Path, "unlink", unless_lost(remove))
    cache = FileCache(root)
    cache.put("S01.flac", NOW, "header", {"frames": 8})
    cache.compact()
    assert FileCache(root).get("S00.flac", NOW, "header") == {"frames": 7}


def test_a_full_disk_is_one_error_and_keeps_whole_lines(root):
    code = (
        "import resource, signal, sys\n"
        "from muscomp_lib.core.errors import DiskFullError\n"
        "from muscomp_lib.core.file_cache import FileCache\n"
        "from muscomp_lib.core.root import open_root\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))\n"
        "cache = FileCache(open_root(sys.argv[1]))\n"
        "try:\n    for n in range(20): cache.put(str(n), (n, n), 'header', {'frames': n})\n"
        "except DiskFullError: sys.exit(7)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(root.path)], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 7 and done.stderr == ""
    assert FileCache(root).get("4", (4, 4), "header") == {"frames": 4}


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
