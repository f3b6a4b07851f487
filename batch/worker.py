"""One of the tasks that train the network of notebook 04 together, one on each node of a Slurm job.

    srun --ntasks-per-node=1 python batch/worker.py 04 -f my.yaml -p root /ocean/.../muscomp_root

A campaign whose stage `train` requests several nodes starts it (`campaign/job_scripts.py`), and then the notebook, on
one node, which finds the network trained. All tasks train in lockstep; the first one writes what notebook 04 would
write. On SIGUSR1 or SIGTERM all stop after the same step, with everything saved; restarted, they resume with the next.
"""

import argparse
import logging
import os
import signal
import sys
from contextlib import nullcontext

from batch import run_lock
from batch.device import require_gpus
from batch.notebook_parameters import add_options, assign, defaults, from_options, step_of
from batch.run import find_notebook
from muscomp_lib import training
from muscomp_lib.core import progress
from muscomp_lib.core.errors import REFUSED, MusCompError, SettingError, StoppedError
from muscomp_lib.core.files import absolute, make_folder
from muscomp_lib.core.root import open_root
from muscomp_lib.training import strategy

TRAINING = "04"
FAILED, STOPPED = 1, 143  # exit statuses
SIGNALS = (signal.SIGUSR1, signal.SIGTERM)

log = logging.getLogger("muscomp_lib")


def main(argv=None):
    """Run the command; the exit status."""
    for each in SIGNALS:
        signal.signal(each, _stop)
    try:
        args = arguments(argv)
        parameters = plan(args)
        if args.gpus:
            require_gpus(args.gpus)
        team = strategy.join()
        logging.basicConfig(format="%(message)s", stream=sys.stdout, level=logging.WARNING)
        log.setLevel(logging.INFO if team.is_chief else logging.ERROR)  # each line once, not once per task
        if team.is_chief:
            os.environ[progress.HEADLESS] = "1"  # progress as lines in the log; the other tasks show none
        log.info("%d tasks train together, on %d devices.", team.n_workers, team.n_replicas)
        with writer(args.out, team):
            training.train(**parameters)
    except (StoppedError, KeyboardInterrupt) as stop:
        log.info(str(stop) or "Stopped.")
        return STOPPED
    except MusCompError as error:
        _report(f"cannot start: {error}")
        return REFUSED
    except Exception as error:
        if not type(error).__module__.startswith("tensorflow"):
            raise
        _report(f"has to end: {_reason(error)} Restarted, the job resumes from the last checkpoint.")
        return FAILED
    return 0


def _report(text):
    print(f"Task {os.environ.get('SLURM_PROCID', 0)} {text}", file=sys.stderr, flush=True)


def _reason(error):
    """The first line of TensorFlow's message, without its traceback: most often, another task was lost."""
    if type(error).__name__ == "ResourceExhaustedError":
        return "there is not enough memory for its share of a batch. Use more nodes, or a smaller batch_size."
    where = (" ", "\t", "Graph execution error", "Detected at node")
    lines = [line for line in str(error).splitlines() if line and not line.startswith(where)]
    return f"{(lines or [type(error).__name__])[0].rstrip('.')}."


def _stop(*_):
    """Treat the first signal as Ctrl-C, at which training saves and stops; ignore any others."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    signal.raise_signal(signal.SIGINT)


def writer(folder, team):
    """Hold the run's folder as long as the first task trains; the others, which write nothing, wait for it in step."""
    return run_lock.hold(make_folder(absolute(folder, "--out: "))) if folder and team.is_chief else nullcontext()


def arguments(argv):
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="batch/worker.py", description="Train on several nodes, as one of them.")
    parser.add_argument("notebook", help="notebook 04: a number, a file name or a path")
    add_options(parser)
    parser.add_argument("--gpus", type=int, default=0, help="end unless this node has so many usable GPUs")
    parser.add_argument("--out", metavar="DIR", help="the run's folder, in which nothing else may be at work")
    return parser.parse_args(argv)


def plan(args):
    """The arguments for `training.train`.

    Raises
    ------
    SettingError, MissingError
        Another notebook, or an unknown parameter.
    """
    step = step_of(find_notebook(args.notebook))
    if step.number != TRAINING:
        raise SettingError(f"{step.name} trains no network. Give notebook {TRAINING}.")
    assign([step], from_options(args))
    parameters = {**defaults(step.notebook), **step.parameters}
    root = open_root(parameters["root"])
    chosen = {name: parameters[name] for name in ("fresh", "engine", "start_from")}
    return {"config": training.find_config(parameters["config"], root), "root": root, **chosen}


if __name__ == "__main__":
    sys.exit(main())
