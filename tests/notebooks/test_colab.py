"""The notebooks as Colab runs them: its Python, the packages of its image, a Drive that has to be mounted.

The image is rebuilt from its published list of versions, as far as this project uses it. `/content` has to be the same
here, so this runs only where that folder can be made.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import papermill
import pytest
from fixtures import laboratory
from fixtures.colab_image import CONSTRAINTS, plain, published
from fixtures.needs import require
from packaging.requirements import Requirement
from playwright.sync_api import expect

from muscomp_lib.notebook import summary

PROJECT = Path(__file__).parents[2]
COLAB = PROJECT / "tests" / "fixtures" / "colab"
CONTENT = Path("/content")
DRIVE = CONTENT / "drive"
COPIED = ("notebooks", "muscomp_lib", "drive_layout", "requirements.txt", "requirements-synthesis.txt")
NOTEBOOKS = sorted(path.name for path in (PROJECT / "notebooks").glob("*.ipynb"))
ALWAYS_THERE = ["ipython", "notebook", "pip", "setuptools", "click", "tenacity"]  # beside what we ask for by name
ADDED = {"av", "papermill", "pretty_midi", "mido", "pyloudnorm", "mir_eval", "tinysoundfont"}  # and what these need
TINY = {
    "01": {"minislakh_tracks": 6, "minislakh_seconds": 14},
    "03": {"T": 64, "F": 512, "crop_frames": 64, "conv_n_filters": [4, 4, 8, 8, 8, 8], "batch_size": 1}
    | {"train_max_steps": 2, "save_checkpoints_steps": 1},
    "04": {"test_songs": 1, "notes_model": "notes", "notes_steps": 2},
    "06": {"songs": 2, "steps": 2, "filters": [4, 8]},
    "07": {"formats": ["litert_float32"], "seconds": 4.0},
    "08": {"pieces_per_composer": 2, "clips_per_piece": 1, "steps": 4},
}


def python_of_colab():
    """An interpreter of Colab's version, or None."""
    candidates = [shutil.which("python3.13"), *Path.home().glob(".pyenv/versions/3.13.*/bin/python")]
    for python in filter(None, candidates):
        if subprocess.run([python, "-c", "import ensurepip"], capture_output=True, check=False).returncode == 0:
            return python
    return None


def versions(python):
    """The installed packages: {name: version}."""
    done = subprocess.run([python, "-m", "pip", "list", "--format=json"], capture_output=True, text=True, check=True)
    return {plain(entry["name"]): entry["version"] for entry in json.loads(done.stdout)}


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """The interpreter of an environment with that part of Colab's image which this project uses."""
    python = python_of_colab()
    require(python, "Python 3.13, which Colab has, is not installed")
    require(shutil.which("g++"), "a C++ compiler, which Colab has, is not installed")
    folder = tmp_path_factory.mktemp("image")
    subprocess.run([python, "-m", "venv", folder], check=True)
    lines = [line.split("#")[0].strip() for line in (PROJECT / "requirements.txt").read_text().splitlines()]
    names = [Requirement(line).name for line in lines if line]
    there = [name for name in names if plain(name) in published()]
    install = [folder / "bin" / "pip", "install", "-q", "--no-compile", "-c", CONSTRAINTS, *there, *ALWAYS_THERE]
    subprocess.run(install, check=True)
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def colab(image, tmp_path_factory):
    """Runs a notebook there: `run(name, **parameters)` gives the executed notebook."""
    require(not CONTENT.exists() and os.access("/", os.W_OK), f"{CONTENT} cannot be made here, or is there already")
    folder = tmp_path_factory.mktemp("colab")
    (folder / "profile" / "profile_default" / "startup").mkdir(parents=True)
    (folder / "profile" / "profile_default" / "startup" / "colab.py").write_text("import google.colab\n")
    kernel = folder / "jupyter" / "kernels" / "colab"
    kernel.mkdir(parents=True)
    argv = [str(image), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    variables = {"PYTHONPATH": str(COLAB), "IPYTHONDIR": str(folder / "profile"), "CUDA_VISIBLE_DEVICES": "-1"}
    variables |= {"DRIVE_STAND_IN": str(CONTENT / "not mounted")}
    spec = {"argv": argv, "env": variables, "language": "python", "display_name": "Colab"}
    (kernel / "kernel.json").write_text(json.dumps(spec))
    try:
        project = CONTENT / "not mounted" / "MyDrive" / "Mus-Comp"
        project.mkdir(parents=True)
        for name in COPIED:
            copy = shutil.copytree if (PROJECT / name).is_dir() else shutil.copy
            copy(PROJECT / name, project / name)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("JUPYTER_PATH", str(folder / "jupyter"))
            patch.delenv("MUSCOMP_ROOT", raising=False)
            yield lambda name, **parameters: run(folder, name, parameters)
    finally:
        shutil.rmtree(CONTENT, ignore_errors=True)


def run(folder, name, parameters):
    where = folder / name
    return papermill.execute_notebook(
        PROJECT / "notebooks" / name, where, parameters, kernel_name="colab", cwd=CONTENT, progress_bar=False
    )


@pytest.fixture(scope="module")
def before(image):
    return versions(image)


@pytest.fixture(scope="module")
def first_run(colab, before):
    return {name: colab(name, **TINY.get(name[:2], {})) for name in NOTEBOOKS}


@pytest.mark.full
@pytest.mark.slow
def test_the_setup_cell_only_adds_what_colab_lacks(first_run, before, image):
    after = versions(image)
    assert {name: after.get(name) for name in before} == before
    assert set(after) - set(before) >= ADDED
    listed = published()
    assert {name: version for name, version in after.items() if listed.get(name, version) != version} == {}


@pytest.mark.full
@pytest.mark.slow
def test_all_run_there_and_leave_everything_on_the_drive(first_run):
    assert all(summary.collect(notebook) for notebook in first_run.values())
    root = DRIVE / "MyDrive" / "muscomp_root"
    (song,) = root.glob("separated/*")
    assert len(list(song.glob("*.flac"))) == 13 and len(list(song.glob("*.mid"))) == 1
    assert (root / "models" / "shared_unet" / "weights.npz").is_file()
    assert {path.name for path in CONTENT.iterdir()} <= {"drive", "muscomp_cache"}


@pytest.mark.full
@pytest.mark.slow
def test_its_widgets_are_those_of_ipywidgets_7(first_run, before):
    assert before["ipywidgets"].startswith("7.")
    for source in ("app", "mixer.Mixer("):
        cells = (cell for cell in first_run[NOTEBOOKS[4]].cells if cell.cell_type == "code")
        (cell,) = (cell for cell in cells if cell.source.splitlines()[-1].startswith(source))
        assert "application/vnd.jupyter.widget-view+json" in cell.outputs[0].data


MIXER = """import numpy as np
from muscomp_lib.mixer import Mixer
tone = 0.3 * np.sin(np.arange(44100)[:, None] / [20, 20]).astype("f4")
Mixer({"Violin": tone, "Drums": -tone}, 22050)"""
UPLOAD = """from ipywidgets import Label, VBox
from muscomp_lib import upload
def arriving(name, share, content):
    answer.value = f"{name}: {share:.0%}" if content is None else f"{name} is here, {len(content)} bytes"
answer = Label("nothing yet")
VBox([upload.button("Send", "audio/*", arriving), answer])"""


@pytest.mark.full
@pytest.mark.slow
def test_mixer_and_upload_work_in_a_browser_with_ipywidgets_7(image, first_run, tmp_path):
    laboratory.write_notebook(tmp_path / "widgets.ipynb", MIXER, UPLOAD)
    (tmp_path / "song.wav").write_bytes(bytes(5_000_000))  # in three pieces
    with laboratory.classic_notebook(tmp_path, image) as address, laboratory.browser() as browser:
        page = browser.new_page(viewport=laboratory.WINDOW)
        page.goto(f"{address}/notebooks/widgets.ipynb", timeout=1000 * laboratory.PATIENCE)
        page.wait_for_function("window.Jupyter?.notebook?.kernel?.info_reply?.language_info", timeout=60_000)
        page.evaluate("Jupyter.notebook.execute_cells([0, 1])")
        desk = page.locator(".muscomp-mixer.complete")
        expect(desk).to_be_visible(timeout=60_000)
        desk.get_by_role("button", name="Solo Violin").click()
        desk.get_by_role("button", name="Play (space)", exact=True).click()
        page.wait_for_function("document.querySelector('.muscomp-mixer').mixer.level('Violin') > 0.2", timeout=30_000)
        with page.expect_file_chooser() as chooser:
            page.get_by_role("button", name="Send").click()
        chooser.value.set_files(tmp_path / "song.wav")
        expect(page.get_by_text("song.wav is here, 5000000 bytes")).to_be_visible(timeout=30_000)


@pytest.mark.full
@pytest.mark.slow
def test_after_a_lost_runtime_the_next_resumes_from_drive(colab, first_run):
    root = DRIVE / "MyDrive" / "muscomp_root"
    made = {path: path.stat().st_mtime_ns for path in root.rglob("*.flac")}
    made |= {path: path.stat().st_mtime_ns for path in root.glob("models/*/weights.npz")}
    shutil.rmtree(CONTENT / "muscomp_cache", ignore_errors=True)
    DRIVE.rename(CONTENT / "not mounted")
    for name in NOTEBOOKS[:5]:
        colab(name, **TINY.get(name[:2], {}))
    assert len(made) > 13 and {path: path.stat().st_mtime_ns for path in made} == made
