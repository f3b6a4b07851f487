"""batch/run.py: small notebooks through papermill and real kernels."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import psutil
import pytest
import soundfile
from nbformat.v4 import new_code_cell, new_notebook

from batch import run

PROJECT = Path(__file__).parents[2]
RUN = PROJECT / "batch" / "run.py"
LIBRARY = "import sys\nfrom muscomp_lib.core import errors\nfrom muscomp_lib.notebook import summary"
FINISH = (
    "summary.finish([], {'seed': seed, 'rate': rate, 'where': os.getcwd(), 'python': sys.executable, 'root': root})"
)

# In short pieces: a signal that comes just before Python enters a long sleep does not end it.
WAIT = "for _ in range(3000): time.sleep(0.1)"


def notebook(path, parameters, *cells):
    """Write a notebook with a setup cell, a parameters cell and `cells`."""
    metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python"},
    }
    tagged = new_code_cell(parameters, metadata={"tags": ["parameters"]})
    made = new_notebook(
        metadata=metadata, cells=[new_code_cell(LIBRARY), tagged, *(new_code_cell(cell) for cell in cells)]
    )
    path.parent.mkdir(exist_ok=True)
    nbformat.write(made, path)
    return path


@pytest.fixture
def measuring(tmp_path):
    return notebook(tmp_path / "nb" / "01_measure.ipynb", "root = None\nseed = 0\nrate = 0.1", "import os", FINISH)


@pytest.fixture
def batch(tmp_path, monkeypatch):
    """Call the command in this process, with the notebooks of `tmp_path`/nb as the project's."""
    monkeypatch.setattr(run, "NOTEBOOKS", tmp_path / "nb")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MUSCOMP_ROOT", raising=False)
    return lambda *words: run.main(list(map(str, words)))


def command(*words, cwd, **env):
    """Run the command in a process of its own."""
    environment = {key: value for key, value in os.environ.items() if key != "MUSCOMP_ROOT"} | env
    return subprocess.run(
        [sys.executable, RUN, *map(str, words)],
        cwd=cwd, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored in the background
    )  # fmt: skip


def metrics(folder):
    return json.loads((folder / "metrics.json").read_text())


def song(path, seconds=1.0):
    soundfile.write(path, np.zeros(int(seconds * 8000)), 8000)
    return path


def test_an_executed_notebook_has_plain_players_instead_of_the_mixer(batch, tmp_path):
    stems = "{name: np.zeros((4410, 2), 'f4') for name in ('Violin', 'Drums')}"
    cell = f"import numpy as np\nfrom muscomp_lib.notebook.mixer import Mixer\nMixer({stems}, 44100)"
    path = notebook(tmp_path / "nb" / "05_listen.ipynb", "root = None", cell, "summary.finish([], {})")
    assert batch(path, "--out", tmp_path / "out") == 0
    executed = nbformat.read(tmp_path / "out" / "05_listen.ipynb", as_version=4)
    shown = [output["data"] for output in executed.cells[-2].outputs]
    assert sum("<audio" in data.get("text/html", "") for data in shown) == 3
    assert "widgets" not in executed.metadata


def test_a_run_leaves_the_executed_notebook_and_its_metrics(measuring, tmp_path):
    done = command(measuring, "-p", "seed", "7", "-p", "rate", "1e-4", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    runs = tmp_path / "muscomp_root" / "runs" / "01_measure"
    entry = metrics(runs)["01_measure"]
    assert entry["status"] == "ok" and entry["seconds"] > 0
    assert entry["metrics"] == {
        "seed": 7,
        "rate": 1e-4,
        "where": str(measuring.parent),
        "python": sys.executable,
        "root": str(tmp_path / "muscomp_root"),
    }
    executed = nbformat.read(runs / "01_measure.ipynb", as_version=4)
    assert executed.cells[-1].outputs


def test_the_kernel_is_the_callers_interpreter_despite_another_python3(measuring, tmp_path):
    spec = tmp_path / "jupyter" / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    argv = ["/nowhere/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec.write_text(json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"}))
    done = command(measuring, "--out", "out", cwd=tmp_path, JUPYTER_PATH=str(tmp_path / "jupyter"))
    assert done.returncode == 0, done.stderr
    assert metrics(tmp_path / "out")["01_measure"]["metrics"]["python"] == sys.executable


def test_an_unknown_parameter_is_refused_before_anything_starts(measuring, batch, tmp_path, capsys):
    assert batch(measuring, "-p", "sed", "7") == 2
    printed = capsys.readouterr().err
    assert "'sed'" in printed and "Did you mean 'seed'? There is root, seed, rate." in printed
    assert not (tmp_path / "muscomp_root").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sed: 1", "'sed'"),
        ("'01': {sed: 1}", "section 01"),
        ("'07': {seed: 1}", "no notebook '07'"),
        ("- 1", "not lines of the form"),
        ("'01': 5", "not lines of the form"),
        ("a: [", "is not YAML"),
    ],
)
def test_a_wrong_parameter_file_is_refused_with_the_place(measuring, batch, tmp_path, capsys, text, message):
    (tmp_path / "given.yaml").write_text(text)
    assert batch("all", "-f", "given.yaml") == 2
    printed = capsys.readouterr().err
    assert message in printed and "given.yaml" in printed


def test_the_folder_for_results_may_be_no_file(measuring, batch, tmp_path, capsys):
    (tmp_path / "out").write_text("")
    assert batch(measuring, "--out", tmp_path / "out") == 2
    assert f"The folder {tmp_path / 'out'} cannot be used" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../../x", "..", "a/b", ".hidden"])
def test_a_runs_name_is_no_path(measuring, batch, capsys, name):
    assert batch(measuring, "--name", name) == 2
    assert f"--name: {name!r} cannot be the name of a run" in capsys.readouterr().err


def test_notebooks_and_files_of_others_are_not_replaced(measuring, batch, tmp_path, capsys):
    before = measuring.read_bytes()
    assert batch(measuring, "--out", measuring.parent) == 2
    assert f"{measuring} was not made by run.py" in capsys.readouterr().err
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "metrics.json").write_text('{"mine": 1}')
    assert batch(measuring, "--out", tmp_path / "out") == 2
    assert measuring.read_bytes() == before and (tmp_path / "out" / "metrics.json").read_text() == '{"mine": 1}'


def test_a_run_replaces_what_an_earlier_one_left(measuring, batch, tmp_path):
    for seed in (1, 2):
        assert batch(measuring, "--out", tmp_path / "out", "-p", "seed", seed) == 0
        assert metrics(tmp_path / "out")["01_measure"]["metrics"]["seed"] == seed


def test_a_missing_parameter_file_and_an_unknown_notebook_are_refused(measuring, batch, capsys):
    assert batch("01", "-f", "nowhere.yaml") == 2
    assert "nowhere.yaml" in capsys.readouterr().err
    assert batch("02") == 2
    assert "'02'" in (printed := capsys.readouterr().err) and "01_measure" in printed


def test_options_win_over_sections_and_sections_over_common_parameters(measuring, batch, tmp_path):
    notebook(tmp_path / "nb" / "02_other.ipynb", "seed = 0", "summary.finish([], {'seed': seed})")
    (tmp_path / "given.yaml").write_text("seed: 1\nrate: 0.5\n'02': {seed: 2}\n")
    assert batch("all", "-f", "given.yaml", "-p", "01.rate", "2.5", "--name", "mine") == 0
    found = metrics(tmp_path / "muscomp_root" / "runs" / "mine")
    assert (found["01_measure"]["metrics"]["seed"], found["01_measure"]["metrics"]["rate"]) == (1, 2.5)
    assert found["02_other"]["metrics"] == {"seed": 2}


def test_a_notebook_found_by_number_ignores_the_sections_of_others(measuring, batch, tmp_path):
    notebook(tmp_path / "nb" / "02_other.ipynb", "length = 0")
    (tmp_path / "given.yaml").write_text("'01': {seed: 3}\n'02': {length: 2}\n")
    assert batch("1", "-f", "given.yaml", "--out", tmp_path / "out") == 0
    assert metrics(tmp_path / "out")["01_measure"]["metrics"]["seed"] == 3


def test_a_relative_root_is_below_the_callers_folder(measuring, batch, tmp_path):
    assert batch("01", "-p", "root", "here/a b") == 0
    found = metrics(tmp_path / "here" / "a b" / "runs" / "01_measure")
    assert found["01_measure"]["metrics"]["root"] == str(tmp_path / "here" / "a b")


def test_our_errors_end_with_their_message_alone(tmp_path):
    raising = "raise errors.SettingError(\"There is no colour 'gren'.\")"
    raising = f"import logging\nlogging.getLogger('tornado.general').error('Traceback of a closed socket')\n{raising}"
    failing = notebook(tmp_path / "nb" / "01_fail.ipynb", "root = None", raising)
    done = command(failing, "--out", "out", cwd=tmp_path)
    where, message = done.stderr.splitlines()[-2:]
    assert done.returncode == 1
    assert message == "SettingError: There is no colour 'gren'."
    assert "01_fail failed in cell [4]" in where and str(tmp_path / "out" / "01_fail.ipynb") in where
    assert "Traceback" not in done.stderr
    assert metrics(tmp_path / "out")["01_fail"]["status"] == "failed"
    executed = nbformat.read(tmp_path / "out" / "01_fail.ipynb", as_version=4)
    assert any(output.output_type == "error" for cell in executed.cells for output in cell.get("outputs", []))


def test_other_errors_show_their_origin_and_nothing_runs_after_them(batch, tmp_path, capsys):
    notebook(tmp_path / "nb" / "01_fail.ipynb", "seed = 0", "1 / 0")
    notebook(tmp_path / "nb" / "02_other.ipynb", "seed = 0", "open('ran', 'w')")
    assert batch("all", "--out", tmp_path / "out") == 1
    printed = capsys.readouterr().err
    assert (
        printed.rstrip().endswith("ZeroDivisionError: division by zero")
        and "1 / 0" in printed
        and "\x1b" not in printed
    )
    assert list(metrics(tmp_path / "out")) == ["01_fail"] and not (tmp_path / "nb" / "ran").exists()


def test_a_kernel_that_dies_is_a_failure_that_says_so(batch, tmp_path, capsys):
    notebook(tmp_path / "nb" / "01_die.ipynb", "seed = 0", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    assert batch("01", "--out", tmp_path / "out") == 1
    assert "the kernel died" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_leaves_no_kernel_and_no_worker_behind(tmp_path, number):
    busy = (
        "import subprocess, os, time\n"
        "worker = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'], stderr=subprocess.DEVNULL)\n"
        "print(os.getpid(), worker.pid, file=open('pids', 'w'))\n"
        f"os.kill({{parent}}, {int(number)})\n"  # the notebook itself stops the command: no waiting, no race
        f"{WAIT}"
    )
    path = tmp_path / "nb" / "01_busy.ipynb"
    notebook(path, "parent = 0", busy.replace("{parent}", "os.getppid()"))
    done = command(path, "--out", "out", cwd=tmp_path)
    assert done.returncode == 128 + number
    assert done.stderr.splitlines()[-1].startswith("01_busy was stopped.")
    assert metrics(tmp_path / "out")["01_busy"]["status"] == "interrupted"
    pids = [int(pid) for pid in (path.parent / "pids").read_text().split()]
    assert wait_for_the_end(pids) == [], "processes outlived the run that started them"


def test_an_interrupted_cell_has_time_to_save(tmp_path):
    saving = (
        "import os, pathlib, time\n"
        "try:\n"
        f"    os.kill(os.getppid(), {int(signal.SIGTERM)})\n"
        f"    {WAIT}\n"
        "except KeyboardInterrupt:\n"
        "    time.sleep(4)\n"
        "    pathlib.Path('saved').touch()\n"
    )
    notebook(tmp_path / "nb" / "01_save.ipynb", "seed = 0", saving)
    assert command("nb/01_save.ipynb", "--out", "out", cwd=tmp_path).returncode == 128 + signal.SIGTERM
    assert (tmp_path / "nb/saved").exists()


def wait_for_the_end(pids, deadline=30):
    """Those of `pids` that still run at the deadline: a killed process ends soon, not at once."""
    for _ in range(deadline * 100):
        pids = [pid for pid in pids if runs(pid)]
        if not pids:
            break
        time.sleep(0.01)
    return pids


def runs(pid):
    """Whether the process has not ended; one whose exit status nobody has asked for yet has ended too."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_further_song_is_separated_and_the_table_printed(batch, tmp_path, capsys):
    measured = (
        "{'song': song or 'Track00001', 'beats_the_mix': None if song else 1, 'notes': {'Drums': 9, 'Violin': 2},"
        " 'si_sdr': None if song else {'Drums': {'mix': -3.21, 'estimate': 4.56}, 'Violin': {'mix': None,"
        " 'estimate': None}}}"
    )
    notebook(tmp_path / "nb" / "05_separate.ipynb", "root = None\nsong = None", f"summary.finish([], {measured})")
    other = song(tmp_path / "my: song.wav")
    assert batch("all", "--also-song", other.name) == 0
    printed = capsys.readouterr().out
    found = metrics(tmp_path / "muscomp_root" / "runs" / "all")
    assert list(found) == ["05_separate", "05_separate-2"]
    assert found["05_separate-2"]["metrics"]["song"] == str(other)
    assert ["Drums", "-3.2", "4.6", "9"] in [line.split() for line in printed.splitlines()]
    assert "beats the mix for 1 of 1 instruments" in printed
    assert str(tmp_path / "muscomp_root" / "separated") in printed


def test_a_songs_name_may_begin_with_a_dash(batch, tmp_path):
    notebook(tmp_path / "nb" / "05_separate.ipynb", "song = None", "assert song.endswith('-1 take.wav')")
    song(tmp_path / "-1 take.wav")
    assert batch("05", "-p", "song", "-1 take.wav", "--also-song", "-1 take.wav") == 0


@pytest.mark.parametrize("words", [["--also-song", "nope.wav"], ["-p", "05.song", "nope.wav"]])
def test_a_wrong_song_is_refused_before_anything_starts(batch, tmp_path, capsys, words):
    notebook(tmp_path / "nb" / "05_separate.ipynb", "song = None")
    assert batch("all", *words) == 2
    assert str(tmp_path / "nope.wav") in capsys.readouterr().err
    (tmp_path / "nope.wav").write_text("no sound")
    assert batch("all", *words) == 2
    assert "cannot be read as audio" in capsys.readouterr().err
    assert not (tmp_path / "muscomp_root").exists()


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        (["03"], "03_make_tables_and_config trains no network. Give notebook 04."),
        (["04", "-p", "confg", "x"], "Did you mean 'config'?"),
        (["04"], "Start this with srun, one task on each node"),
    ],
)
def test_what_cannot_train_on_several_nodes_is_refused(tmp_path, words, printed):
    worker = [sys.executable, PROJECT / "batch" / "worker.py", *words, "-p", "root", "data"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    done = subprocess.run(worker, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert printed in done.stderr and "Traceback" not in done.stderr


def test_no_grammar_of_web_addresses_is_compiled_at_start():
    code = "import runpy, sys; runpy.run_path(sys.argv[1]); sys.exit('rfc3987_syntax.syntax_helpers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code, RUN], check=False).returncode == 0
