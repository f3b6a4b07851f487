"""The project as a whole: quick imports, names that exist, versions that fit Colab, commands that are listed."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from fixtures.colab_image import plain, published
from fixtures.needs import require
from packaging.requirements import Requirement

PROJECT = Path(__file__).parents[1]
READMES = sorted(
    path
    for path in PROJECT.glob("**/README.md")
    if not set(path.parts) & {".venv", ".venv-spleeter", "demo", "muscomp_root"}
)
HEAVY = {"tensorflow", "keras", "librosa", "numba", "pyloudnorm", "matplotlib.pyplot", "sklearn"}
PACKAGES = sorted(path.parent.name for path in (PROJECT / "muscomp_lib").glob("*/__init__.py"))
LAYERS = (  # each imports from itself and from those above it in this list
    {"core"},
    {"audio", "music_files"},
    {"models", "minislakh", "slakh", "dataset"},
    {"reserve", "tables", "training", "spleeter", "separation", "notation", "transcription", "composers", "timbre"},
    {"plots", "notebook", "export"},
    {"website"},
)
NOT_IN_COLAB = {
    "ai-edge-litert",
    "av",
    "papermill",
    "pretty_midi",
    "pyloudnorm",
    "mir_eval",
}  # what the setup cell adds there


def requirements(file):
    lines = [line.split("#")[0].strip() for line in (PROJECT / file).read_text().splitlines()]
    return {(found := Requirement(line)).name.lower(): found for line in lines if line}


def tracked():
    """The files under version control that are text."""
    require(shutil.which("git") and (PROJECT / ".git").exists(), "the list of files needs git and the repository")
    names = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        path = PROJECT / name
        if path.is_file() and path.suffix not in (".png", ".flac", ".mid", ".h5", ".npz", ".zip"):
            yield path, path.read_text(encoding="utf-8")


def test_importing_every_module_loads_no_network_library_and_nothing_slow():
    paths = (path.relative_to(PROJECT).with_suffix("") for path in (PROJECT / "muscomp_lib").glob("*/[a-z]*.py"))
    modules = sorted(".".join(path.parts) for path in paths)
    code = (
        "import importlib, json, sys\n"
        f"for name in {modules}: importlib.import_module(name)\n"
        "print(json.dumps(list(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert len(modules) > 50
    assert not HEAVY & set(json.loads(done.stdout))


def test_colabs_versions_satisfy_the_requirements():
    needed = requirements("requirements.txt")
    assert {name for name in needed if plain(name) not in published()} == NOT_IN_COLAB
    for name in set(needed) - NOT_IN_COLAB:
        version = published()[plain(name)]
        assert needed[name].specifier.contains(version), f"{needed[name]} would replace Colab's {version}"


@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_the_files_a_readme_names_exist(readme):
    text = readme.read_text(encoding="utf-8")
    linked = re.findall(r"\]\((?!https?:|#)([^)#]+)\)", text)
    named = re.findall(r"`([\w./-]+\.(?:py|ipynb|yaml|md|toml|txt))`", text)
    for name in linked + named:
        made_by_a_run = name.startswith(("demo/", "muscomp_root/", "<"))
        assert made_by_a_run or (readme.parent / name).exists() or (PROJECT / name).exists(), name


def test_the_readmes_of_batch_and_benchmarks_name_every_file():
    for folder in ("batch", "benchmarks"):
        text = (PROJECT / folder / "README.md").read_text(encoding="utf-8")
        files = [
            path
            for path in (PROJECT / folder).rglob("*.[py]*")
            if path.suffix in (".py", ".yaml") and path.name != "__init__.py"
        ]
        assert not [path.name for path in files if f"`{path.relative_to(PROJECT / folder).as_posix()}`" not in text]


def test_the_readme_of_the_tests_names_every_folder_and_fixture():
    tests = PROJECT / "tests"
    text = (tests / "README.md").read_text(encoding="utf-8")
    folders = [f"{path.name}/" for path in tests.iterdir() if path.is_dir() and any(path.glob("test_*.py"))]
    fixtures = [path.relative_to(tests).as_posix() for path in tests.glob("fixtures/*.py")]
    top = [path.name for path in tests.glob("*.py")]
    assert len(folders) > 10 and len(fixtures) > 10
    assert not [name for name in folders + fixtures + top if f"`{name}`" not in text]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_has_twelve_modules_at_most(package):
    modules = [path for path in (PROJECT / "muscomp_lib" / package).glob("*.py") if path.name != "__init__.py"]
    assert 0 < len(modules) <= 12


def test_packages_import_only_from_their_own_layer_and_those_below():
    layer = {package: number for number, packages in enumerate(LAYERS) for package in packages}
    assert set(layer) == set(PACKAGES)
    upwards = [
        f"{path.relative_to(PROJECT)} imports {package}"
        for path in (PROJECT / "muscomp_lib").glob("*/*.py")
        for package in imported_packages(path)
        if layer[package] > layer[path.parent.name]
    ]
    assert not upwards


def test_test_names_have_ten_words_at_most():
    long = [
        name
        for path in (PROJECT / "tests").rglob("test_*.py")
        for name in re.findall(r"^ *def (test_\w+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        if len(name.removeprefix("test_").split("_")) > 10
    ]
    assert not long


def imported_packages(path):
    """The packages of the library that a module imports, also inside its functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in getattr(node, "names", []) if isinstance(node, (ast.Import, ast.ImportFrom))]
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{name}" for name in names]
        for parts in (name.split(".") for name in names):
            if parts[0] == "muscomp_lib" and len(parts) > 1 and parts[1] in PACKAGES:
                yield parts[1]


def test_the_readme_of_the_layout_says_what_the_layout_declares():
    text = (PROJECT / "drive_layout" / "README.md").read_text(encoding="utf-8")
    declared = yaml.safe_load((PROJECT / "muscomp_lib" / "core" / "layout.yaml").read_text(encoding="utf-8"))
    assert re.findall(r"^- `(.+)/`: (.+)$", text, flags=re.MULTILINE) == [
        (entry["folder"], entry["holds"]) for entry in declared.values()
    ]


def test_no_file_names_a_path_of_somebodys_machine():
    personal = re.compile(r"(?<![\w.~}*])/(?:work|root|home|Users|jet|ocean)/\w")
    for path, text in tracked():
        assert not personal.search(text), path


def test_make_help_lists_every_target():
    require(shutil.which("make"), "make is not installed")
    targets = re.search(r"^\.PHONY: (.+)$", (PROJECT / "Makefile").read_text(), flags=re.MULTILINE)[1].split()
    shown = subprocess.run(["make", "help"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    assert re.findall(r"^make ([\w-]+)", shown, flags=re.MULTILINE) == targets
    assert {"setup", "demo", "test", "check", "lab", "clean"} <= set(targets)


def test_ci_calls_the_same_targets_as_everybody():
    script = PROJECT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert re.findall(r"^make [\w-]+", script.read_text(), flags=re.MULTILINE) == [
        "make check",
        "make test",
        "make test-all",
    ]
