"""The job scripts of a campaign: text that a person can read, change, and give to sbatch. Used by `submit.py`."""

import os
import re
import sys
from pathlib import Path

from muscomp_lib.core import remote_io

from .. import run_lock
from .campaign import PARAMETERS, SONG_LISTS, STAGES
from .quoting import command, in_double_quotes, quoted

PROJECT = Path(__file__).resolve().parents[2]
SECONDS_TO_SAVE = 240  # from Slurm's USR1 to the time limit: the notebook saves, and Slurm reports the costs
SECONDS_TO_ANSWER = 60  # of these, for Slurm to report the costs
TOO_DEAR = 3  # exit status of `submit.py afford`, and of nothing else: one more run could exceed the budget
CACHE_FOLDER = "muscomp_cache"  # inside the site's cache folder
REPORT = "report"
REPORT_HOURS = 0.25
CHECK_HOURS = 1 / 12
PLAIN = re.compile(r"[\w@:.%-]+", re.ASCII)  # what sbatch takes without quotes

BEGIN = """
job=${SLURM_ARRAY_JOB_ID:-${SLURM_JOB_ID:-none}}
device="$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2> /dev/null | paste -s -d ';')"
echo "==== $(date '+%F %T') on ${SLURMD_NODENAME:-$(hostname)}: ${device:-no GPU}; job $job, \
run $((${SLURM_RESTART_COUNT:-0} + 1))"
"""

MODULES = """load() {  # some systems report a module that is not there, and go on
  module load "$1" && case ":${LOADEDMODULES:-}:" in *":$1:"* | *":$1/"*) return ;; esac
  echo "The module $1 cannot be loaded. Correct modules in the site's file." >&2
  exit 1
}"""

JOB = """
log_time() {{ echo "$1 $(date +%s) $job" >> "$out/times.log"; }}
leave() {{ log_time end; log_cache; exit "$1"; }}
log_cache() {{
  if [ -d "${{{cache}:-}}" ]; then
    echo "Copied to ${cache}: $(find "${cache}" -type f | wc -l) files, $(du -sh "${cache}" | cut -f 1)."
  fi
}}
stop() {{ kill -{stop_signal} "$run" 2> /dev/null; wait "$run"; }}  # the notebook saves its work
requeue() {{  # the time is nearly up: the same job waits in the queue again, and resumes later
  stop
  # Only these are counted: Slurm's own count has preemptions and lost nodes in it.
  if [ "$(grep -c "^requeue .* $job\\$" "$out/times.log")" -ge {requeues} ]; then
    echo "The time is up, after {requeues} requeues."
    leave 1
  fi
{afford}  echo "The time is nearly up. This job is requeued, to resume."
  log_time end
  log_time requeue
  log_cache
  # This element of an array only: SLURM_JOB_ID of one of them is the whole array's.
  scontrol requeue "$job${{SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}}"
  exit 1
}}
trap requeue USR1
trap 'stop; leave 143' TERM

mkdir -p "$out"
if [ -e "$out/{lock}" ]; then  # of a run that was killed: its last sign of life
  echo "end $(date -r "$out/{lock}" +%s) $job" >> "$out/times.log"
fi
log_time start
{workers}{launcher}"$python" "$project/batch/run.py" {notebook} \\
  -f "$campaign/{parameters}" -p root {root}{options} --out "$out" &
run=$!
wait "$run"
leave $?
"""

AFFORD = f"""  timeout {SECONDS_TO_ANSWER} {{submitter}} "$project/batch/submit.py" "$campaign" afford
  [ $? -eq {TOO_DEAR} ] && leave 1  # the reason is printed; where Slurm does not answer, the job goes on
"""

WORKERS = """stop_signal=USR1  # srun forwards it to its tasks, which save and stop; at TERM it would kill them
srun --nodes={nodes} --ntasks-per-node=1 --cpus-per-task="$SLURM_CPUS_ON_NODE" --export=ALL --kill-on-bad-exit=1 \\
  {launcher}"$python" "$project/batch/worker.py" {notebook} \\
  -f "$campaign/{parameters}" -p root {root}{gpus} --out "$out" &
run=$!
wait "$run" || leave $?
stop_signal=TERM  # now the notebook, on this node alone: the network is trained; it plots and scores it
"""


def all_of(campaign):
    """The scripts of a campaign.

    Returns
    -------
    dict of str to str
        {file name: text}, in the order of the stages; on a site with a scheduler the report is the last.
    """
    scripts = {file_name(campaign, stage.name): job(campaign, stage) for stage in campaign.stages}
    if campaign.site.has_scheduler:
        scripts[file_name(campaign, REPORT)] = _report(campaign)
    return scripts


def moved(campaign):
    """The scripts of a campaign that are missing, or name folders other than the present ones, as after a move.

    Returns
    -------
    dict of str to str
        {file name: text as it should be}
    """
    return {name: text for name, text in all_of(campaign).items() if _folders(campaign.folder / name) != _set_in(text)}


def _folders(script):
    return _set_in(os.fsdecode(script.read_bytes())) if script.is_file() else None


def _set_in(text):
    return [line for line in text.splitlines() if line.startswith(("project=", "campaign="))]


def file_name(campaign, name):
    """The file name of a stage's script: "3_join.sh"."""
    names = [*(stage.name for stage in campaign.stages), REPORT]
    return f"{names.index(name) + 1}_{name}.sh"


def job(campaign, stage):
    """The script of a stage."""
    script, number = file_name(campaign, stage.name), stage.tasks[-1]
    lines = _sbatch_lines(campaign, stage.name, stage.request, stage.is_array, is_warned=True)
    lines += [f"# Campaign {campaign.name}, notebook {stage.number}: {STAGES[stage.name][1]}."]
    if stage.is_array:
        lines += [f"# By hand: sbatch {script}; one of them only: sbatch --array=1 {script}"]
        lines += [f"# Without a scheduler: bash {script} 1, for each number from 1 to {number}."]
    elif stage.request.nodes > 1:
        lines += [f"# By hand: sbatch {script}"]
    else:
        lines += [f"# By hand: sbatch {script}; without a scheduler: bash {script}"]
    lines += ["", *_variables(campaign), BEGIN.strip()]
    lines += ["task=${SLURM_ARRAY_TASK_ID:-${1:?which one?}}"] if stage.is_array else []
    lines += [f'out="$campaign/{stage.name}{"/$task" if stage.is_array else ""}"']
    lines += _environment(campaign, stage.request)
    options = "".join(f" \\\n  {option}" for option in _options(campaign, stage))
    words = {
        "cache": remote_io.CACHE,
        "lock": run_lock.FILE,
        "launcher": command(campaign.site.launcher),
        "notebook": quoted(stage.notebook),
        "parameters": PARAMETERS,
        "root": quoted(campaign.root.path),
        "afford": "" if campaign.budget is None else AFFORD.format(submitter=quoted(sys.executable)),
        "gpus": f" --gpus {stage.request.n_gpus}" if stage.request.gpus else "",
    }
    nodes, requeues = stage.request.nodes, stage.request.requeues
    workers, signal = (WORKERS.format(nodes=nodes, **words), '"$stop_signal"') if nodes > 1 else ("", "TERM")
    return "\n".join(lines) + JOB.format(
        requeues=requeues, options=options, workers=workers, stop_signal=signal, **words
    )


def checks(campaign):
    """A script for each kind of node that the campaign requests, which checks one for five minutes at most.

    Returns
    -------
    dict of str to str
        {file name: text}
    """
    scripts = {}
    for stage in campaign.stages:
        name = "-".join(filter(None, ("check", stage.request.partition, stage.request.gpu_type)))
        request = stage.request.model_copy(update={"hours": CHECK_HOURS, "jobs": 1, "nodes": 1})
        lines = [*_sbatch_lines(campaign, name, request), *_variables(campaign), BEGIN.strip()]
        launcher, gpus = command(campaign.site.launcher), request.n_gpus
        check = f'{launcher}"$python" "$project/batch/check_node.py" {quoted(campaign.root.path)} --gpus {gpus}'
        scripts.setdefault(f"{name}.sh", "\n".join([*lines, *_environment(campaign, request), check, ""]))
    return scripts


def _options(campaign, stage):
    """Parameters that are this job's own, and so not in the parameter file."""
    if stage.name == "shards":
        yield f'-p 02.shard "$task/{stage.request.jobs}"'
    if stage.request.gpus:
        yield f"--gpus {stage.request.n_gpus}"
    if stage.name == "songs" and campaign.songs:
        yield f'-f "$campaign/{SONG_LISTS}/$task.yaml"'
    cores = campaign.site.cores(stage.request)
    if cores and "workers" in campaign.defaults[stage.number]:
        yield f"-p {stage.number}.workers {cores}"


def _sbatch_lines(campaign, name, request, is_array=False, is_warned=False):
    """The lines that sbatch reads. Only a job with a trap is warned before its time is up: the signal ends others."""
    site, cores = campaign.site, campaign.site.cores(request)
    if not site.has_scheduler:
        return ["#!/bin/bash"]
    logs = str(campaign.folder / "logs").replace("%", "%%")
    log = f"{logs}/{name}-%A_%a.log" if is_array else f"{logs}/{name}-%j.log"
    whole = site.partition(request).whole_nodes
    tasks = {"ntasks": 1} if request.nodes == 1 else {"ntasks-per-node": 1}
    options = {
        "job-name": f"{campaign.name}-{name}",
        "account": campaign.account,
        "partition": request.partition,
        "nodes": request.nodes,
        **tasks,
        "cpus-per-task": None if whole else cores,
        "gpus": request.gpus and f"{request.gpu_type}:{request.nodes * request.n_gpus}",
        "mem": request.memory_gb and f"{round(1000 * request.memory_gb)}M",
        "time": _wall_time(request.hours),
        "array": f"1-{request.jobs}{at_once(request)}" if is_array else None,
        "output": log,
        "open-mode": "append",  # else a requeued job would truncate its own log
        "signal": f"B:USR1@{SECONDS_TO_SAVE}" if is_warned else None,
    }
    given = {option: str(value) for option, value in options.items() if value is not None}
    words = {option: value if PLAIN.fullmatch(value) else in_double_quotes(value) for option, value in given.items()}
    lines = [f"--{option}={word}" for option, word in words.items()] + ["--requeue", *site.sbatch, *request.sbatch]
    return ["#!/bin/bash", *(f"#SBATCH {line}" for line in lines)]


def at_once(request):
    """The end of an array's list of jobs: "%4" where only so many may run at the same time."""
    return f"%{request.at_once}" if request.at_once else ""


def _wall_time(hours):
    minutes = max(1, int(hours * 60))  # rounded down, to stay within a site's limit
    return f"{minutes // 60:02d}:{minutes % 60:02d}:00"


def _variables(campaign):
    yield f"project={quoted(PROJECT)}"
    yield f"campaign={quoted(campaign.folder)}"
    yield 'export PYTHONPATH="$project${PYTHONPATH:+:$PYTHONPATH}"'
    yield f"python={quoted(campaign.site.python or sys.executable, variables=True)}"


def _environment(campaign, request, is_report=False):
    site = campaign.site
    modules = site.modules + (site.gpu_modules if request.gpus else [])
    if modules and not is_report:
        yield MODULES
    load = "module load" if is_report else "load"  # the report tries without those that cannot be loaded
    yield from (f"{load} {quoted(module)}" for module in modules)
    for name, folder, inside in (("TMPDIR", site.temporary, ""), (remote_io.CACHE, site.cache, f"/{CACHE_FOLDER}")):
        if folder:
            place, value = (quoted(path, variables=True) for path in (folder, folder + inside))
            yield f"if [ -d {place} ]; then export {name}={value}; fi"


def _report(campaign):
    """The script that runs last, however the others ended."""
    request = campaign.site.request(REPORT, {})
    request = request.model_copy(update={"hours": request.hours or REPORT_HOURS})
    lines = _sbatch_lines(campaign, REPORT, request)
    lines += [f"# Campaign {campaign.name}: prints what is done and what is missing, and writes the report.", ""]
    lines += [*_variables(campaign), BEGIN.strip(), *_environment(campaign, request, is_report=True), ""]
    submitter = quoted(sys.executable)  # without the launcher: a container has none of Slurm's commands
    return "\n".join([*lines, f'{submitter} "$project/batch/submit.py" "$campaign" report']) + "\n"
