"""What a campaign costs: seconds per track, step and song, times the site's rules. Used by `submit.py`.

Seconds come from earlier campaigns under the same root, on the same site and partition; where there are none yet, from
`seconds.yaml`, which says how they were measured. Costs are in the site's own unit, on Bridges-2 service units.
"""

import json
import math
import os
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import yaml

from muscomp_lib.core.errors import SettingError
from muscomp_lib.core.files import written_whole

SHIPPED = yaml.safe_load((Path(__file__).parent / "seconds.yaml").read_text(encoding="utf-8"))
MEASURED = "batch_seconds.json"  # in the root's journal
MARGIN = 2  # wall time asked for, over what is estimated
STEP_OF_HOURS = 0.25  # wall times are rounded up to quarters of an hour
HOUR = 3600  # seconds


@dataclass(frozen=True)
class Estimate:
    """What a stage is thought to take.

    Attributes
    ----------
    stage : campaign.Stage
    count : int
        Tracks, steps or songs, in all its jobs.
    unit : str
    per_unit : float
        Seconds for each; of one core where cores share the work.
    seconds : float
        Of each of its jobs.
    cost : float
        Of all its jobs.
    most : float
        The same if every job ran to its limit each time.
    origin : str
        Where `per_unit` comes from.
    """

    stage: object
    count: int
    unit: str
    per_unit: float
    seconds: float
    cost: float
    most: float
    origin: str


def amounts(campaign):
    """How much each stage has to do: {name: number of its units}."""
    tracks = campaign.tracks()
    steps = campaign.value("04", "train_max_steps") or campaign.value("03", "train_max_steps") or 1
    if campaign.value("04", "notes_model"):
        steps += campaign.value("04", "notes_steps") or 0
    here = dict.fromkeys((stage.name for stage in campaign.stages), tracks)
    return here | {"train": steps, "songs": max(1, len(campaign.songs))}


def estimate(campaign):
    """An `Estimate` for each stage, in order."""
    measured, todo = _measured(campaign), amounts(campaign)
    return [_estimate(campaign, stage, todo[stage.name], measured) for stage in campaign.stages]


def _estimate(campaign, stage, count, measured):
    shipped = SHIPPED["stages"][_work(campaign, stage)]
    found = measured.get(_place(campaign, stage), {}).get(_work(campaign, stage), {})
    per_unit = found.get("seconds", shipped["seconds"])
    seconds = SHIPPED["start"] + per_unit * _counted(stage, count) / stage.request.jobs / _sharing(campaign, stage)
    rate = campaign.site.units_per_hour(stage.request) * stage.request.jobs
    hours = stage.request.hours or _hours(campaign, stage, seconds)
    return Estimate(
        stage, count, shipped["unit"], per_unit, seconds, rate * seconds / HOUR,
        rate * hours * (1 + stage.request.requeues), found.get("origin", "shipped"),
    )  # fmt: skip


def _work(campaign, stage):
    """What a stage does: without shards, join makes the songs itself."""
    names = [each.name for each in campaign.stages]
    return "shards" if stage.name == "join" and "shards" not in names else stage.name


def _counted(stage, count):
    """How many units take time: of some stages not all."""
    return min(count, SHIPPED["stages"][stage.name].get("most", count))


def _sharing(campaign, stage):
    """How many cores share a stage's work."""
    shared = SHIPPED["stages"][stage.name].get("of_a_core")
    return (campaign.site.cores(stage.request) or os.cpu_count() or 1) if shared else 1


def _hours(campaign, stage, seconds):
    """The wall time to ask for where none is given: with a margin, and never more than the site allows."""
    hours = STEP_OF_HOURS * math.ceil(MARGIN * seconds / HOUR / STEP_OF_HOURS)
    return min(hours, campaign.site.longest(stage.request) or hours)


def with_hours(campaign, estimates):
    """The campaign with a wall time for every stage."""
    stages = [
        replace(each.stage, request=replace(each.stage.request, hours=_hours(campaign, each.stage, each.seconds)))
        if each.stage.request.hours is None
        else each.stage
        for each in estimates
    ]
    return replace(campaign, stages=stages)


def check_budget(campaign, estimates, used):
    """Refuse what would cost more than the campaign's budget.

    Parameters
    ----------
    campaign : Campaign
    estimates : list of Estimate
    used : float
        What it has cost so far.

    Raises
    ------
    SettingError
    """
    ahead = sum(left(campaign, each) for each in estimates)
    if campaign.budget is not None and used + ahead > campaign.budget:
        unit = campaign.site.data.get("unit", "credits")
        raise SettingError(
            f"What is left of {campaign.name} is estimated at {ahead:.1f} {unit}, {used:.1f} are used, and its budget "
            f"is {campaign.budget:g}. Raise budget in {campaign.file}, or ask for less."
        )


def balance(campaign, estimates, used):
    """What lies ahead, what is used, and the budget: one line."""
    ahead, unit = sum(left(campaign, each) for each in estimates), campaign.site.data.get("unit", "credits")
    budget = "none" if campaign.budget is None else f"{campaign.budget:g}"
    return f"{unit} still to be used: {ahead:.2f}; used: {used:.2f}; budget: {budget}"


def left(campaign, estimate):
    """What of an estimated cost lies ahead, by the number of jobs that are not done."""
    return estimate.cost * len(campaign.missing(estimate.stage)) / estimate.stage.request.jobs


def cost(campaign, stage, seconds):
    """What the site charges for so many seconds of one of a stage's jobs."""
    return campaign.site.units_per_hour(stage.request) * seconds / HOUR


# ---- what earlier runs took ----


def _file(campaign):
    return campaign.root.journal / MEASURED


def _measured(campaign):
    """What earlier runs took: {place: {stage: {"seconds": per unit, "origin": text}}}."""
    try:
        return json.loads(_file(campaign).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _place(campaign, stage):
    """Where the seconds of a stage are comparable: "bridges2/GPU-shared/h100-80", "bridges2/RM/2 nodes"."""
    request = stage.request
    many = [f"{n} {what}" for n, what in ((request.n_gpus, "GPUs"), (request.nodes, "nodes")) if n > 1]
    return "/".join(filter(None, (campaign.site.name, request.partition, request.gpu_type, *many)))


def remember(campaign, seconds, runs):
    """Keep what finished stages took, for the next estimate.

    Parameters
    ----------
    campaign : Campaign
    seconds : dict of str to float
        Of all jobs of a stage and all their runs together; finished stages only. What took but a moment is passed over.
    runs : dict of str to int
        How often a job of the stage has begun.
    """
    measured, todo, before = _measured(campaign), amounts(campaign), _measured(campaign)
    for stage in campaign.stages:
        if stage.name not in seconds:
            continue
        at_work = max(0.0, seconds[stage.name] - SHIPPED["start"] * runs[stage.name])
        if at_work < SHIPPED["start"] * runs[stage.name]:
            continue  # mostly starts: that tells nothing of more work
        per_unit = at_work * _sharing(campaign, stage) / _counted(stage, todo[stage.name])
        entry = {"seconds": round(per_unit, 4), "origin": f"{campaign.name}, {date.today()}"}
        measured.setdefault(_place(campaign, stage), {})[_work(campaign, stage)] = entry
    if measured != before:
        with written_whole(_file(campaign)) as part:
            part.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")


# ---- for people ----


def table(campaign, estimates):
    """The estimate as lines of text."""
    unit = campaign.site.data.get("unit", "credits")
    yield f"{'stage':8}{'jobs':>5}{'each for':>10}{'at most':>10}{unit:>10}{'at most':>10}  because"
    for each in estimates:
        request = each.stage.request
        limit = duration(request.hours * HOUR) if request.hours and campaign.site.has_scheduler else "-"
        todo = f"{each.count} {each.unit}{'s' * (each.count != 1)}, {each.per_unit:.3g} s each{_shared(campaign, each)}"
        figures = f"{duration(each.seconds):>10}{limit:>10}{each.cost:10.2f}{each.most:10.1f}"
        yield f"{each.stage.name:8}{request.jobs:5}{figures}  {todo} ({each.origin})"
    total, most = sum(each.cost for each in estimates), sum(each.most for each in estimates)
    yield f"{'in all':8}{'':25}{total:10.2f}{most:10.1f}"
    if any(each.origin == "shipped" for each in estimates):
        yield f"shipped: {SHIPPED['origin']}"
    for each in estimates:
        hours, requeues = each.stage.request.hours, each.stage.request.requeues
        if hours and campaign.site.has_scheduler and each.seconds > hours * HOUR * (1 + requeues):
            yield f"{each.stage.name} will hardly be done in {hours:g} hours and {requeues} returns to the queue."


def _shared(campaign, estimate):
    cores = _sharing(campaign, estimate.stage)
    return f" on one of {cores} cores" if cores > 1 else ""


def duration(seconds):
    """Hours and minutes, or minutes and seconds: "2:05 h", "3:10 min"."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d} h" if minutes >= 60 else f"{minutes}:{rest:02d} min"
