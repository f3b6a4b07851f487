"""Submit a whole campaign with one command: the notebooks as a chain of jobs, on a cluster or on this machine.

    python batch/submit.py campaign.yaml --dry-run
    python batch/submit.py campaign.yaml
    python batch/submit.py campaign.yaml status
    python batch/submit.py campaign.yaml resume
    python batch/submit.py campaign.yaml files

Once submitted, a campaign is found by its folder too: python batch/submit.py ROOT/runs/NAME status
docs/batch.md is the manual.
"""

import argparse
import contextlib
import os
import shlex
import signal
import subprocess
import sys

from batch.campaign import copy_commands, cost_estimate, html_report, job_scripts, slurm, status, transfer
from batch.campaign.campaign import BEFORE, read_campaign, submitted_folder, write_campaign
from muscomp_lib.core.errors import REFUSED, MusCompError, SettingError
from muscomp_lib.core.files import locked, make_folder

COMMANDS = ("submit", "status", "cancel", "resume", "report", "files", "check", "afford")
DONE, INCOMPLETE = 0, 1  # exit statuses


def main(argv=None):
    """Run the command; the exit status."""
    args = arguments(argv)
    try:
        if args.command == "files":
            return print_files(args.campaign, args.way, args.only)
        folder = submitted_folder(args.campaign) if args.command not in ("submit", "check") else None
        if args.command == "cancel":
            return cancel(folder)
        campaign, estimates = load(folder or args.campaign)
        command = {"status": print_status, "report": write_report, "afford": afford}.get(args.command)
        if command:
            return command(campaign, estimates)
        if args.command == "check":
            return check_nodes(campaign)
        if args.dry_run:
            return dry_run(campaign, estimates, args.scripts)
        return submit(campaign, estimates, is_new=folder is None)
    except MusCompError as error:
        print(error, file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        print("Stopped. The same command resumes.", file=sys.stderr)
        return 130


def arguments(argv):
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="batch/submit.py", description="Submit Mus-Comp's notebooks as a campaign.")
    add = parser.add_argument
    commands = "submit and resume: submit what is not done; status: print it; cancel: end its jobs; report: write it; "
    commands += "files: print the commands that copy files to the site and results home; "
    commands += "check: submit a job of five minutes to each partition, which looks for what could be missing; "
    commands += "afford: fail if one more run of a job could exceed the budget (jobs ask before they requeue)"
    add("campaign", help="the campaign's YAML file; of a submitted one its folder runs/NAME, too")
    add("command", nargs="?", choices=COMMANDS, default="submit", help=commands)
    add("--dry-run", action="store_true", help="print the estimate, and do nothing")
    add("--scripts", action="store_true", help="with --dry-run: print the job scripts as well")
    add("--way", choices=copy_commands.WAYS, help="files: the program to use, instead of the campaign's")
    add("--only", choices=transfer.PARTS, help="files: only the commands that copy to the site, or home")
    return parser.parse_args(argv)


def load(file):
    """The campaign, checked against its site's limits, and its estimates.

    Raises
    ------
    MusCompError
        What is wrong, or would be refused.
    """
    campaign = cost_estimate.with_jobs(read_campaign(file))
    campaign = cost_estimate.with_hours(campaign, cost_estimate.estimate(campaign))
    for stage in campaign.stages:
        campaign.site.check(stage.name, stage.request)
    return campaign, cost_estimate.estimate(campaign)


def dry_run(campaign, estimates, with_scripts=False):
    """Print the estimate, and the scripts where they are asked for."""
    print("\n".join(cost_estimate.table(campaign, estimates)))
    for name, text in job_scripts.all_of(campaign).items() if with_scripts else ():
        print(f"==== {campaign.folder / name}\n{text}")
    _check_data(campaign)
    _check_budget(campaign, estimates, status.rows(campaign, estimates))
    return DONE


def submit(campaign, estimates, is_new=True):
    """Submit what is not done, or run it here; the exit status. What is not new and not moved keeps its scripts."""
    before, rows = status.submissions(campaign.folder), status.rows(campaign, estimates)
    if any(row.running or row.waiting for row in rows):
        raise SettingError(
            f"{campaign.name} is under way: see its status. To submit it again, wait until it has ended, or cancel it."
        )
    _check_data(campaign)
    print("\n".join(cost_estimate.table(campaign, estimates)))
    _check_budget(campaign, estimates, rows)
    scripts = job_scripts.all_of(campaign) if is_new else job_scripts.moved(campaign)
    for name in write_campaign(campaign, scripts) if scripts else ():
        print(f"Replaced: {campaign.folder / name}. The one before is kept as {name}{BEFORE}.")
    if not any(campaign.missing(stage) for stage in campaign.stages):
        return write_report(campaign, estimates)
    if not campaign.site.has_scheduler:
        return _run_here(campaign, estimates)
    with locked(campaign.folder):
        if status.submissions(campaign.folder) != before:
            raise SettingError(f"{campaign.name} was submitted by another command at the same time: see its status.")
        return _submit_chain(campaign, estimates)


def print_files(file, way, part):
    """Print the commands that copy files, as a script; nothing is copied."""
    print("\n".join(transfer.script(read_campaign(file, songs_exist=False), way, part)))
    return DONE


def check_nodes(campaign):
    """Submit the jobs that check a node of each partition, or check this machine."""
    make_folder(campaign.folder / "logs")
    for name, text in job_scripts.checks(campaign).items():
        script = campaign.folder / name
        script.write_bytes(os.fsencode(text))
        if not campaign.site.has_scheduler:
            return subprocess.run(["bash", script], check=False).returncode
        job = slurm.submit(script, account=campaign.account)
        print(f"{script.stem}: job {job}. Its log: {campaign.folder / 'logs' / f'{script.stem}-{job}.log'}")
    return DONE


def _check_data(campaign):
    if campaign.missing(campaign.stages[0]):  # after that stage, the tracks may be deleted
        transfer.check_complete(campaign)


def _check_budget(campaign, estimates, rows):
    used = _used(rows)
    print(cost_estimate.balance(campaign, estimates, used))
    cost_estimate.check_budget(campaign, estimates, used)


def _used(rows):
    return sum(row.cost for row in rows)


def afford(campaign, estimates):
    """Refuse one more run of the jobs that are running if it could exceed the budget; the exit status says so."""
    rows = status.rows(campaign, estimates)
    try:
        cost_estimate.check_one_more(campaign, [row.stage for row in rows if row.running], _used(rows))
    except SettingError as error:
        print(error, file=sys.stderr)
        return job_scripts.TOO_DEAR
    return DONE


def _submit_chain(campaign, estimates):
    """Submit each stage to start when the one before it has succeeded, and the report after all."""
    entries, last = [], ()
    with _kept_signals() as signals:
        try:
            for stage in campaign.stages:
                missing = campaign.missing(stage)
                if missing:
                    script = campaign.folder / job_scripts.file_name(campaign, stage.name)
                    tasks = missing if stage.is_array else None
                    most = job_scripts.at_once(stage.request)
                    job = slurm.submit(script, last, tasks=tasks, at_once=most, account=campaign.account)
                    rate = campaign.site.units_per_hour(stage.request)  # a later submission may request something else
                    entries.append({"stage": stage.name, "job": job, "tasks": missing, status.RATE: rate})
                    print(f"{stage.name}: job {job}{f', {len(missing)} of them' if stage.is_array else ''}")
                    last = (job,)
                _stop_at(signals)
            script = campaign.folder / job_scripts.file_name(campaign, job_scripts.REPORT)
            jobs = [entry["job"] for entry in entries]
            job = slurm.submit(script, jobs, kind="afterany", account=campaign.account)
            entries.append({"stage": job_scripts.REPORT, "job": job, "tasks": [1]})
            _stop_at(signals)
            (campaign.folder / status.REPORT).unlink(missing_ok=True)  # of an earlier chain
            status.record(campaign, entries, estimates)
        except BaseException:  # Ctrl-C too: half a chain is of no use, and nobody can cancel what is not recorded
            if entries:
                slurm.cancel([entry["job"] for entry in entries])
            raise
    print(f"Scripts, logs and results: {campaign.folder}")
    print(f"Status: python batch/submit.py {shlex.quote(str(campaign.folder))} status")
    return DONE


@contextlib.contextmanager
def _kept_signals():
    """Keep Ctrl-C and signals of a lost connection in a list: they would lose a job that sbatch just accepts."""
    kept, numbers = [], (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {each: signal.getsignal(each) for each in numbers if signal.getsignal(each) is not signal.SIG_IGN}
    for each in before:
        signal.signal(each, lambda number, _: kept.append(number))
    try:
        yield kept
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _stop_at(signals):
    if signals:
        raise KeyboardInterrupt


def _run_here(campaign, estimates):
    """Run what is not done, one job after the other, until one fails."""
    status.record(campaign, [], estimates)
    for stage in campaign.stages:
        for task in campaign.missing(stage):
            script = campaign.folder / job_scripts.file_name(campaign, stage.name)
            if subprocess.run(["bash", script, str(task)], check=False).returncode:
                return write_report(campaign, estimates)
    return write_report(campaign, estimates)


def print_status(campaign, estimates):
    """Print the campaign's status; the exit status says whether it is complete."""
    rows = status.rows(campaign, estimates)
    print("\n".join(status.text(campaign, rows)))
    status.save_durations(campaign, rows)
    return DONE if all(row.is_done for row in rows) else INCOMPLETE


def write_report(campaign, estimates):
    """Write the report and print the campaign's status; the exit status says whether it is complete."""
    html_report.write(campaign, status.rows(campaign, estimates))
    return print_status(campaign, estimates)


def cancel(folder):
    """End all jobs of the campaign in this folder, waiting or running."""
    submitted = {entry["job"] for entry in status.submissions(folder)} if folder else set()
    if not submitted:
        raise SettingError("No job was submitted. Without a scheduler, a campaign ends where it runs, with Ctrl-C.")
    active = {number for (number, _), job in slurm.queue().items() if job.is_waiting or job.is_running}
    ours = sorted(active & submitted)
    if ours:
        status.record_cancelled(folder, ours)
        slurm.cancel(ours)
    print(f"Cancelled: {', '.join(ours) or 'nothing; no job was left'}. Finished work is kept: resume continues.")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
