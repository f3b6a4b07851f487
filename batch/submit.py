"""Submit a whole campaign with one command: the notebooks as a chain of jobs, on a cluster or on this machine.

    python batch/submit.py campaign.yaml --dry-run
    python batch/submit.py campaign.yaml
    python batch/submit.py campaign.yaml status
    python batch/submit.py campaign.yaml resume
    python batch/submit.py campaign.yaml files

README.md beside this file is the manual.
"""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

from batch.campaign import campaign as campaigns
from batch.campaign import copy_commands as copying
from batch.campaign import cost_estimate as costs
from batch.campaign import html_report as pages
from batch.campaign import job_scripts as scripts
from batch.campaign import slurm, transfer
from batch.campaign import status as overview
from muscomp_lib.core.errors import MusCompError, SettingError

PROJECT = Path(__file__).resolve().parents[1]


COMMANDS = ("submit", "status", "cancel", "resume", "report", "files")
DONE, INCOMPLETE, REFUSED = 0, 1, 2  # exit statuses


def main(argv=None):
    """Run the command; the exit status."""
    args = arguments(argv)
    try:
        if args.command == "files":
            return files(args.campaign, args.way, args.only)
        campaign, estimates = prepared(args.campaign)
        command = {"status": status, "cancel": cancel, "report": report}.get(args.command)
        if command:
            return command(campaign, estimates)
        return dry_run(campaign, estimates) if args.dry_run else submit(campaign, estimates)
    except MusCompError as error:
        print(error, file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        print("Stopped. The same command goes on.", file=sys.stderr)
        return 130


def arguments(argv):
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="batch/submit.py", description="Submit Mus-Comp's notebooks as a campaign.")
    parser.add_argument("campaign", help="the campaign's YAML file")
    told = "submit and resume: submit what is not done; status: how it stands; cancel: end its jobs; report: write it; "
    told += "files: print the commands that bring files in and results home"
    parser.add_argument("command", nargs="?", choices=COMMANDS, default="submit", help=told)
    parser.add_argument("--dry-run", action="store_true", help="print the scripts and the estimate, and do nothing")
    parser.add_argument("--way", choices=copying.WAYS, help="files: by this, whatever the campaign says")
    parser.add_argument("--only", choices=transfer.PARTS, help="files: only the commands that bring in, or home")
    return parser.parse_args(argv)


def prepared(file):
    """The campaign, checked against its site's limits, and its estimates.

    Raises
    ------
    MusCompError
        What is wrong, or would be refused.
    """
    campaign = campaigns.read(file)
    campaign = costs.with_hours(campaign, costs.estimate(campaign))
    for stage in campaign.stages:
        campaign.site.check(stage.name, stage.request)
    return campaign, costs.estimate(campaign)


def dry_run(campaign, estimates):
    """Print the scripts and the estimate."""
    for name, text in scripts.all_of(campaign).items():
        print(f"==== {campaign.folder / name}\n{text}")
    print("\n".join(costs.table(campaign, estimates)))
    _weigh(campaign, estimates, overview.rows(campaign, estimates))
    return DONE


def submit(campaign, estimates):
    """Submit what is not done, or run it here; the exit status."""
    found = overview.rows(campaign, estimates)
    if any(row.running or row.waiting for row in found):
        raise SettingError(
            f"{campaign.name} is under way: see its status. To submit it anew, wait for its end, or cancel it first."
        )
    if campaign.missing(campaign.stages[0]):  # after that, the tracks may be deleted
        transfer.check_whole(campaign)
    print("\n".join(costs.table(campaign, estimates)))
    _weigh(campaign, estimates, found)
    campaigns.write(campaign, scripts.all_of(campaign))
    if not any(campaign.missing(stage) for stage in campaign.stages):
        return report(campaign, estimates)
    return (_submit_chain if campaign.site.has_scheduler else _run_here)(campaign, estimates)


def files(file, way, part):
    """Print the commands that move files, as a script; nothing is moved."""
    print("\n".join(transfer.script(campaigns.read(file, songs_are_here=False), way, part)))
    return DONE


def _weigh(campaign, estimates, found):
    used = sum(costs.cost(campaign, row.stage, row.seconds) for row in found)
    print(costs.balance(campaign, estimates, used))
    costs.check_budget(campaign, estimates, used)


def _submit_chain(campaign, estimates):
    """Submit each stage to begin when the one before it has ended well, and the report after all."""
    entries, last = [], ()
    try:
        for stage in campaign.stages:
            missing = campaign.missing(stage)
            if missing:
                script = campaign.folder / scripts.file_name(campaign, stage.name)
                job = slurm.submit(script, last, tasks=missing if stage.is_array else None)
                entries.append({"stage": stage.name, "job": job, "tasks": missing})
                print(f"{stage.name}: job {job}{f', {len(missing)} of them' if stage.is_array else ''}")
                last = (job,)
        script = campaign.folder / scripts.file_name(campaign, scripts.REPORT)
        job = slurm.submit(script, [entry["job"] for entry in entries], kind="afterany")
        entries.append({"stage": scripts.REPORT, "job": job, "tasks": [1]})
    except MusCompError:
        if entries:  # half a chain is of no use
            slurm.cancel([entry["job"] for entry in entries])
        raise
    overview.note(campaign, entries, estimates)
    print(f"Scripts, logs and results: {campaign.folder}")
    print(f"See: python batch/submit.py {shlex.quote(str(campaign.file))} status")
    return DONE


def _run_here(campaign, estimates):
    """Run what is not done, one job after the other, until one fails."""
    overview.note(campaign, [], estimates)
    for stage in campaign.stages:
        for task in campaign.missing(stage):
            script = campaign.folder / scripts.file_name(campaign, stage.name)
            if subprocess.run(["bash", script, str(task)], check=False).returncode:
                return report(campaign, estimates)
    return report(campaign, estimates)


def status(campaign, estimates):
    """Print how the campaign stands; the exit status says whether it is complete."""
    found = overview.rows(campaign, estimates)
    print("\n".join(overview.text(campaign, found)))
    overview.finished(campaign, found)
    return DONE if all(row.is_done for row in found) else INCOMPLETE


def report(campaign, estimates):
    """Write the report, and print how the campaign stands; the exit status says whether it is complete."""
    pages.write(campaign, overview.rows(campaign, estimates))
    return status(campaign, estimates)


def cancel(campaign, estimates):
    """End all jobs of the campaign, waiting or running."""
    if not campaign.site.has_scheduler:
        raise SettingError(f"{campaign.name} runs without a scheduler: stop it where it runs, with Ctrl-C.")
    known = slurm.queue()
    submitted = {entry["job"] for entry in overview.submissions(campaign)}
    ours = sorted({number for (number, _), job in known.items() if job.is_waiting or job.is_running} & submitted)
    if ours:
        slurm.cancel(ours)
    print(f"Cancelled: {', '.join(ours) or 'nothing; no job was left'}. What is done is kept: resume goes on.")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
