"""Run one notebook, or the five in order, without a browser: on a laptop, in a batch job, for the demo.

    python batch/run.py 03 -p seed 7
    python batch/run.py all -f batch/params/demo.yaml -p root demo

papermill runs the notebooks as they are. This command adds what papermill lacks: a misspelled parameter or a wrong
value is refused before anything starts, the kernel is the interpreter that runs this command, metrics are collected,
and a failure ends with the reason as the last lines and a non-zero exit status. docs/batch.md is the manual.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import re
import signal
import sys
import tempfile
import time
from pathlib import Path

import batch  # noqa: F401  # isort: skip  # before nbformat: it makes that start faster

import nbformat
import papermill
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

from batch import run_lock
from batch.device import DeviceError, device, require_gpus
from batch.notebook_parameters import Step, add_options, assign, escaped, from_options, ordered, resolved, step_of
from muscomp_lib import audio
from muscomp_lib.cli import with_dashed_files
from muscomp_lib.core import names, progress
from muscomp_lib.core.errors import REFUSED, MusCompError, SettingError, StoppedError
from muscomp_lib.core.files import absolute, make_folder, write_text
from muscomp_lib.core.root import open_root
from muscomp_lib.core.settings import suggestion
from muscomp_lib.notebook.summary import collect

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
ALL, LAST = "all", "05"  # the five in order; later notebooks lead further
METRICS = "metrics.json"
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
SECONDS_TO_SAVE = 100  # how long a notebook that is to stop may take to save its work
SHUTDOWN_SECONDS = 1  # how long an idle kernel may take to end: it has nothing to lose
MAX_SOCKET_FOLDER = 90  # characters: systems allow 104 for a Unix socket's path, file name included
ANSI_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class CurrentInterpreterManager(AsyncKernelManager):
    """Starts kernels with the interpreter that runs this command, whatever kernel the user has named python3."""

    @property
    def kernel_spec(self):
        """What ipykernel would install for `sys.executable`, for a headless notebook."""
        # No reports of messages that arrive while it stops: neither its own nor those of its sockets.
        sockets = json.dumps({"loggers": {"tornado.general": {"level": "CRITICAL"}}})
        quiet = ["--IPKernelApp.log_level=CRITICAL", f"--IPKernelApp.logging_config={sockets}"]
        return KernelSpec(**{**get_kernel_dict(quiet), "env": {progress.HEADLESS: "1"}})

    async def shutdown_kernel(self, now=False, restart=False):
        """End the kernel, but not before the running cell has saved its work.

        An idle kernel gets no more time: ipykernel would first end its children, and wait half a minute for the one
        (multiprocessing's resource tracker) that every pool of processes leaves behind and that ignores SIGTERM.
        """
        await self.interrupt_kernel()
        client = self.client()
        client.start_channels()
        with contextlib.suppress(RuntimeError):  # it is dead, or its time is up
            await client.wait_for_ready(SECONDS_TO_SAVE)
        client.stop_channels()
        await super().shutdown_kernel(now=now, restart=restart)


def main(argv=None):
    """Run the command; the exit status."""
    args = arguments(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # hide TensorFlow's start-up messages
    try:
        with _stop_on_signals():
            steps, root = plan(args)
            folder = _folder(args, steps, root)
            with run_lock.hold(folder):
                return run(steps, folder, root, args.gpus)
    except MusCompError as error:
        print(error, file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt as stop:
        return _exit_status(stop)


def arguments(argv):
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="batch/run.py", description="Run Mus-Comp's notebooks without a browser.")
    add = parser.add_argument
    add("notebook", help="path, file name or number (03) of a notebook, or: all, for 01 to 05")
    add_options(parser)
    add("--also-song", metavar="PATH", action="append", default=[], help="at the end, separate this song as well")
    add("--name", help="name of the run: results go to <root>/runs/NAME")
    add("--out", metavar="DIR", help="folder for the results, instead of <root>/runs/NAME")
    add("--gpus", type=int, default=0, metavar="N", help="start nothing unless networks can use N GPUs")
    return parser.parse_args(with_dashed_files(sys.argv[1:] if argv is None else map(str, argv)))


def plan(args):
    """Work out what to run with which parameters, and refuse what cannot work.

    Returns
    -------
    steps : list of Step
    root : Root

    Raises
    ------
    SettingError, MissingError, AudioError
        An unknown notebook or parameter; a wrong value; a missing file; a song that cannot be read.
    """
    in_order = [path for path in ordered(NOTEBOOKS) if path.name[:2] <= LAST]
    steps = [step_of(path) for path in (in_order if args.notebook == ALL else [find_notebook(args.notebook)])]
    assign(steps, from_options(args))
    steps += _song_steps(steps, args.also_song)
    for song in (step.parameters.get("song") for step in steps):  # one of a list fails alone
        if song and not isinstance(song, list) and not Path(song).is_dir():
            audio.info(song)
    root = open_root(next((step.parameters["root"] for step in steps if step.parameters.get("root")), None))
    for step in steps:
        if "root" in step.valid and not step.parameters.get("root"):
            step.parameters["root"] = resolved("root", str(root.path))
    return steps, root


def _folder(args, steps, root):
    """The folder for the results; SettingError where it holds files of others under the names of ours."""
    name = ALL if args.notebook == ALL else steps[0].name
    if args.name:
        name = names.check(args.name, "run", "--name")
    folder = make_folder(absolute(args.out, "--out: ") if args.out else root.runs / name)
    for path in (folder / METRICS, *(_target(step, folder) for step in steps)):
        if path.exists() and not _is_ours(path, steps):
            raise SettingError(
                f"{path} was not made by {Path(__file__).name}, and would be replaced. Give another folder as --out."
            )
    return folder


def _target(step, folder):
    return folder / f"{step.name}.ipynb"


def _is_ours(path, steps):
    """Whether a file is the metrics or the executed notebook of an earlier run, and none of the notebooks to run."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if path.name == METRICS:
            return all("status" in entry for entry in content.values())
        return "papermill" in content["metadata"] and not any(path.samefile(step.notebook) for step in steps)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def find_notebook(name):
    """The notebook with this path, file name or number.

    Raises
    ------
    SettingError
    """
    if Path(name).is_file():
        return Path(name).resolve()
    known = ordered(NOTEBOOKS)
    for path in known:
        if name in (path.name, path.stem) or name.zfill(2) == path.name[:2]:
            return path
    raise SettingError(f"There is no notebook {name!r}. {suggestion(name, [*(path.stem for path in known), ALL])}")


def _song_steps(steps, songs):
    """A further step of the notebook that separates songs for each further song."""
    separating = next((step for step in steps if "song" in step.valid), None)
    if songs and separating is None:
        raise SettingError(f"--also-song {songs[0]}: {steps[0].name} has no parameter 'song'.")
    more = []
    for number, song in enumerate(songs, start=2):
        parameters = {**separating.parameters, "song": resolved("song", song)}
        more.append(Step(separating.notebook, f"{separating.name}-{number}", separating.valid, parameters))
    return more


def run(steps, folder, root, gpus=0):
    """Run the steps in order until one fails, the first only if `gpus` can be used; the exit status."""
    metrics_file, results = folder / METRICS, {}
    targets = {step.name: _target(step, folder) for step in steps}
    for stale in (metrics_file, *targets.values()):  # of an earlier run with this name
        stale.unlink(missing_ok=True)
    for number, step in enumerate(steps, start=1):
        place = f"[{number}/{len(steps)}] {step.name}"
        print(f"{place} ...", flush=True)
        entry, status = execute(step, targets[step.name], gpus)
        results[step.name] = entry
        write_text(metrics_file, json.dumps(results, indent=2) + "\n")
        print(f"{place}: {entry['status']}, {entry['seconds']:.1f} s", flush=True)
        if status:
            print(entry["note"], file=sys.stderr)
            return status
    print("\n".join(summary(results, folder, root)))
    return 0


def execute(step, target, gpus=0):
    """Run one notebook, if so many GPUs can be used, with the executed copy saved as `target`.

    Returns
    -------
    entry : dict
        For metrics.json: status ("ok", "failed" or "interrupted"), seconds, memory_mb, cpu_seconds, device,
        note, metrics.
    status : int
        The exit status.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    started, state, note, status = time.monotonic(), "ok", "", 0
    cpu_before = sum(os.times()[2:4])  # of all processes that have ended
    try:
        if gpus:
            require_gpus(gpus)
        _run_notebook(step, target)
    except DeviceError as error:
        state, status, note = "failed", REFUSED, str(error)
    except PapermillExecutionError as error:
        state, status = "failed", 1
        shown = ANSI_COLOURS.sub("", "\n".join(error.traceback)) or f"{error.ename}: {error.evalue}"
        note = f"{step.name} failed in cell [{error.exec_count}]. The notebook so far: {target}\n{shown}"
    except DeadKernelError:
        state, status = "failed", 1
        note = f"{step.name}: the kernel died, most often out of memory. The notebook so far: {target}"
    except KeyboardInterrupt as stop:
        state, status = "interrupted", _exit_status(stop)
        note = f"{step.name} was stopped. {_stop_message(target)}The notebook so far: {target}"
    entry = {"status": state, "seconds": round(time.monotonic() - started, 1), "memory_mb": peak_memory()}
    entry |= {"cpu_seconds": round(sum(os.times()[2:4]) - cpu_before, 1), "device": device(), "note": note}
    return {**entry, "metrics": collect(nbformat.read(target, as_version=4)) if target.exists() else {}}, status


def _stop_message(target):
    """The message of the interrupted cell, which knows what of its work is saved, or else a general one."""
    cells = nbformat.read(target, as_version=4).cells if target.exists() else []
    for output in (output for cell in cells for output in cell.get("outputs", [])):
        if output.output_type == "error" and output.ename == StoppedError.__name__:
            return f"{output.evalue} "
    return "Run the same command again to resume. "


def peak_memory():
    """Peak memory in MB of the largest process of any notebook so far; None where the system does not report it."""
    if not sys.platform.startswith("linux"):
        return None
    import resource  # not available on Windows

    return round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6)


def _run_notebook(step, target):
    with tempfile.TemporaryDirectory(prefix="muscomp-", ignore_cleanup_errors=True) as folder:
        papermill.execute_notebook(
            escaped(step.notebook),
            escaped(target),
            step.parameters,
            cwd=step.notebook.parent,
            progress_bar=sys.stderr.isatty(),
            stderr_file=sys.stderr,  # warnings and progress (muscomp_lib/core/progress.py)
            kernel_manager_class=CurrentInterpreterManager,
            config=_kernel_config(folder),
        )


def _kernel_config(folder):
    """Connect command and kernel through sockets in `folder`: kernels started together can collide on ports."""
    fits = os.name == "posix" and len(folder) < MAX_SOCKET_FOLDER
    file = str(Path(folder) / "k.json")
    kernel = {"connection_file": file, "transport": "ipc" if fits else "tcp", "shutdown_wait_time": SHUTDOWN_SECONDS}
    return Config(CurrentInterpreterManager=kernel)


@contextlib.contextmanager
def _stop_on_signals():
    """Turn the first signal to stop into a KeyboardInterrupt, so that the kernel ends before this command does."""

    def stop(number, frame):
        for each in before:
            signal.signal(each, signal.SIG_IGN)  # a second Ctrl-C must not leave the kernel behind
        for name in ("asyncio", "papermill", "traitlets"):  # no reports of the interrupted cell and its kernel's end
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:  # between two tasks of the loop: interrupting one of them would interrupt the kernel's shutdown too
            asyncio.get_running_loop().call_soon_threadsafe(interrupt, number)
        except RuntimeError:  # there is no loop
            interrupt(number)

    def interrupt(number):
        raise KeyboardInterrupt(number)

    before = {each: signal.getsignal(each) for each in SIGNALS}
    before = {each: handler for each, handler in before.items() if handler is not signal.SIG_IGN}  # nohup ignores
    for each in before:
        signal.signal(each, stop)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _exit_status(stop):
    """The exit status of a process ended by a signal: 130 for Ctrl-C, 143 for SIGTERM."""
    return 128 + (stop.args[0] if stop.args else signal.SIGINT)


def summary(results, folder, root):
    """Durations, what notebook 05 measured, and where the results are: lines of text."""
    width = max(map(len, results))
    yield f"\n{'notebook':{width}}  seconds"
    for name, entry in results.items():
        yield f"{name:{width}}{entry['seconds']:9.1f}"
    yield f"{'total':{width}}{sum(entry['seconds'] for entry in results.values()):9.1f}"
    for entry in results.values():
        if "notes" in entry["metrics"]:
            yield from _score_table(entry["metrics"])
    yield f"\nSeparated songs:       {root.separated}\nTrained models:        {root.models}"
    yield f"Executed notebooks:    {folder}"


def _score_table(metrics):
    scores, notes = metrics.get("si_sdr") or {}, metrics["notes"]
    yield f"\n{metrics['song']}: SI-SDR in dB where the true instruments are known, and notes found"
    yield f"{'instrument':24}{'mix':>8}{'estimate':>10}{'notes':>7}"
    for name in dict.fromkeys([*notes, *scores]):
        mix, estimate = (_decibels(scores.get(name, {}).get(of)) for of in ("mix", "estimate"))
        yield f"{name:24}{mix:>8}{estimate:>10}{notes.get(name, '-'):>7}"
    if metrics.get("beats_the_mix") is not None:
        scored = sum(score["estimate"] is not None for score in scores.values())
        yield f"The estimate beats the mix for {metrics['beats_the_mix']} of {scored} instruments."


def _decibels(value):
    return "-" if value is None else f"{value:.1f}"


if __name__ == "__main__":
    sys.exit(main())
