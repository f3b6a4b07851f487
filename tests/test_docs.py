"""The documentation: its snippets run as printed, its commands exist, its figures come from the results files."""

import functools
import json
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fixtures import tiny_spleeter

PROJECT = Path(__file__).parents[1]
DOCS = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
NOTEBOOKS = {path.name[:2]: path for path in (PROJECT / "notebooks").glob("*.ipynb")}
ELSEWHERE = {"spleeter"}  # commands of other programs
MEASURED = re.compile(r"\d\s?(?:dB|%|GFLOP|x faster|minutes|seconds|s)(?!\w)")
RATE = 44100  # Hz


def blocks(path, language):
    """The fenced blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def ids(path):
    return path.relative_to(PROJECT).as_posix()


@pytest.fixture
def lesson(tmp_path):
    """A folder with what the snippets name: a song, a Spleeter configuration, a model."""
    tones = [np.sin(2 * np.pi * pitch * np.arange(4 * RATE) / RATE) for pitch in (110, 330)]
    soundfile.write(tmp_path / "song.mp3", 0.3 * np.stack(tones, axis=1), RATE, format="MP3")
    config = tiny_spleeter.model(tmp_path / "my_model")
    (tmp_path / "2stems.json").write_text(config.read_text(encoding="utf-8"))
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("path", [path for path in DOCS if blocks(path, "python")], ids=ids)
def test_python_snippets_run_as_printed(path, lesson):
    code = "\n".join(blocks(path, "python"))
    done = subprocess.run([sys.executable, "-c", code], cwd=lesson, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    if path.name == "README.md":
        assert len(list((lesson / "separated").glob("*.flac"))) == 13
        assert (lesson / "separated" / "song.mid").stat().st_size > 0


COMMANDS = [
    (path, line) for path in DOCS for block in blocks(path, "sh") for line in block.splitlines() if line.strip()
]


@pytest.mark.parametrize(("path", "line"), COMMANDS, ids=[f"{ids(path)}: {line}" for path, line in COMMANDS])
def test_shell_commands_and_their_options_exist(path, line):
    command, *words = shlex.split(line, comments=True)
    if command == "make":
        targets = re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), flags=re.MULTILINE)
        assert {word for word in words if "=" not in word} <= set(targets)
    elif command == ".venv/bin/python":
        script, *options = words
        assert (PROJECT / script).is_file()
        assert_options_exist(script, options)
    elif command == ".venv/bin/muscomp":
        assert {word for word in words if word.startswith("-")} <= options_of("-m", "muscomp_lib", words[0])
    else:
        assert command in ELSEWHERE


def assert_options_exist(script, options):
    """Make sure that a script has the options, and the notebook that it runs the parameters."""
    assert {word for word in options if word.startswith("-")} <= options_of(script)
    if script == "batch/run.py":
        given = {name for flag, name in pairwise(options) if flag == "-p"}
        assert given <= parameters(options[0])


@functools.cache
def options_of(*script):
    """The options that the help of a script, or of a command of a module, names."""
    command = [sys.executable, *script, "--help"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    return set(re.findall(r"(?<!\w)--?[a-z][\w-]*", done.stdout))


def parameters(number):
    """The parameters of a notebook."""
    cells = json.loads(NOTEBOOKS[number].read_text(encoding="utf-8"))["cells"]
    [cell] = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    return set(re.findall(r"^(\w+) = ", "".join(cell["source"]), flags=re.MULTILINE))


def test_tables_are_those_of_the_results_files():
    command = [sys.executable, PROJECT / "benchmarks" / "tables.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", [PROJECT / "README.md", PROJECT / "docs" / "results.md"], ids=ids)
def test_no_measured_figure_is_typed(path):
    text = re.sub(r"<!-- table: .*?<!-- end -->", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert not MEASURED.findall(text)


def test_the_separation_benchmark_starts_without_our_packages():
    code = "import runpy, sys; sys.path.insert(0, '.'); runpy.run_path('separation.py')"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=PROJECT / "benchmarks", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_results_name_machine_and_date_but_no_host_or_path():
    files = list((PROJECT / "benchmarks" / "results").glob("*.json"))
    assert files
    for path in files:
        found = json.loads(path.read_text(encoding="utf-8"))
        assert found["machine"].keys() == {"cpu", "cores", "memory_gb", "system"}
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", found["date"]) and found["versions"]["python"] and found["rows"]
        assert "/" not in json.dumps(found["parameters"] | found["machine"])


def test_the_readme_has_a_thousand_words_at_most():
    assert len((PROJECT / "README.md").read_text(encoding="utf-8").split()) <= 1000


def test_the_manuals_are_all_listed():
    listed = (PROJECT / "docs" / "README.md").read_text(encoding="utf-8")
    assert not [path.name for path in (PROJECT / "docs").glob("*.md") if f"[{path.name}]" not in listed + "[README.md]"]
