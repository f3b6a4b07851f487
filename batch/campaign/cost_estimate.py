"""What a campaign costs: seconds per track, step and song, times the site's rates. Used by `submit.py`.

They scale with the seconds of sound of a track, a step's examples and a song. They come from earlier campaigns under
the same root, on the same site and partition; where there are none yet, from `seconds.yaml`, which says how they were
measured. Costs are in the site's own unit, on Bridges-2 service units.
"""

import contextlib
import json
import math
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from muscomp_lib import audio
from muscomp_lib.core import parallel, yaml_file
from muscomp_lib.core.errors import MusCompError, SettingError
from muscomp_lib.core.files import write_text
from muscomp_lib.core.progress import duration

from .campaign import with_songs_per_job

DEFAULTS = yaml_file.read(Path(__file__).parent / "seconds.yaml")
MEASURED = "batch_seconds.json"  # in the root's journal folder
MARGIN = 2  # requested wall time over the estimated
SHARD_SECONDS = 900  # of work for each job that shares a stage: a shorter job would spend most of its time starting
LISTENED = 20  # tracks or songs whose lengths are looked up
HOURS_STEP = 0.25  # wall times are rounded up to quarters of an hour
HOUR = 3600  # seconds
FRAME_STEP = 1024  # samples from one frame of an example to the next


@dataclass(frozen=True)
class Estimate:
    """The estimated time and cost of a stage.

    Attributes
    ----------
    stage : campaign.Stage
    count : int
        Tracks, steps or songs, of all its jobs together.
    unit : str
    per_unit : float
        Seconds for each; on one core where cores share the work.
    seconds : float
        For each of its jobs.
    cost : float
        For all its jobs.
    most : float
        The same if every run of every job took all of its wall time.
    origin : str
        The campaign that `per_unit` was measured in, or "default".
    """

    stage: object
    count: int
    unit: str
    per_unit: float
    seconds: float
    cost: float
    most: float
    origin: str


def workload(campaign):
    """The number of units of work of each stage, by name."""
    tracks = campaign.tracks()
    steps = campaign.value("04", "train_max_steps") or campaign.value("03", "train_max_steps") or 1
    if campaign.value("04", "notes_model"):
        steps += campaign.value("04", "notes_steps") or 0
    units = dict.fromkeys((stage.name for stage in campaign.stages), tracks)
    return units | {"train": steps, "songs": max(1, len(campaign.songs))}


def estimate(campaign):
    """An `Estimate` for each stage, in order."""
    measured, units = _measured(campaign), workload(campaign)
    lengths = {unit: _audio(campaign, unit) for unit in {each["unit"] for each in DEFAULTS["stages"].values()}}
    return [_estimate(campaign, stage, units[stage.name], measured, lengths) for stage in campaign.stages]


def _estimate(campaign, stage, count, measured, lengths):
    default = DEFAULTS["stages"][_work(campaign, stage)]
    found = measured.get(_place(campaign, stage), {}).get(_work(campaign, stage), {})
    per_unit = _per_unit(found or default, lengths[default["unit"]], default["audio"])
    seconds = DEFAULTS["start"] + per_unit * _counted(stage, count) / stage.request.jobs / _cores(campaign, stage)
    rate = campaign.site.units_per_hour(stage.request) * stage.request.jobs
    hours = stage.request.hours or _hours(campaign, stage, seconds)
    return Estimate(
        stage, count, default["unit"], per_unit, seconds, rate * seconds / HOUR,
        rate * hours * (1 + stage.request.requeues), found.get("origin", "default"),
    )  # fmt: skip


def _per_unit(found, length, usual):
    """Seconds for one unit with so many seconds of sound, from those for another."""
    return found["seconds"] * (length or usual) / (found.get("audio") or usual)


def _audio(campaign, unit):
    """The seconds of sound of a unit of work, on average; None where it is not known."""
    if unit == "step":
        names = ("batch_size", "crop_frames", "sample_rate")
        batch_size, frames, rate = (campaign.value("03", name) for name in names)
        return batch_size * frames * FRAME_STEP / rate if batch_size and frames and rate else None
    if unit == "song":
        return _mean_length(campaign.songs) or campaign.value("01", "minislakh_seconds")
    mixes = [folder / "mix.flac" for folder in campaign.track_folders()[:LISTENED]]
    return _mean_length(mixes) or (None if mixes else campaign.value("01", "minislakh_seconds"))


def _mean_length(files):
    """The mean duration of the first of some files, in seconds; None without one that can be read."""
    found = []
    for file in files[:LISTENED]:
        with contextlib.suppress(MusCompError, OSError):
            found.append(audio.info(file).duration)
    return sum(found) / len(found) if found else None


def with_jobs(campaign):
    """The campaign with as many shards as its work is worth, and no more than the site's choice; songs likewise.

    Where the campaign says how many, it stays; where one job is enough, `join` does it all.
    """
    campaign = _with_jobs_of_songs(campaign)
    stages = {stage.name: stage for stage in campaign.stages}
    shards = stages.get("shards")
    if shards is None or campaign.has_jobs:
        return campaign
    alone = replace(shards, request=shards.request.model_copy(update={"jobs": 1}))
    seconds = estimate(replace(campaign, stages=[alone]))[0].seconds - DEFAULTS["start"]
    jobs = min(shards.request.jobs, math.ceil(seconds / SHARD_SECONDS))
    stages["shards"] = replace(shards, request=shards.request.model_copy(update={"jobs": jobs}))
    if jobs <= 1:
        del stages["shards"]
    return replace(campaign, stages=list(stages.values()))


def _with_jobs_of_songs(campaign):
    songs = next(stage for stage in campaign.stages if stage.name == "songs")
    if songs.request.songs_per_job or not campaign.songs:
        return campaign
    seconds = estimate(with_songs_per_job(campaign, 1))[-1].seconds - DEFAULTS["start"]
    return with_songs_per_job(campaign, max(1, int(SHARD_SECONDS / max(seconds, 1))))


def _work(campaign, stage):
    """The stage whose durations apply: without shards, join makes the songs itself."""
    names = [each.name for each in campaign.stages]
    return "shards" if stage.name == "join" and "shards" not in names else stage.name


def _counted(stage, count):
    """The number of units that take time: some stages process only so many."""
    return min(count, DEFAULTS["stages"][stage.name].get("most", count))


def _cores(campaign, stage):
    """The number of cores that share a stage's work."""
    shared = DEFAULTS["stages"][stage.name].get("of_a_core")
    return (campaign.site.cores(stage.request) or parallel.cores()) if shared else 1


def _hours(campaign, stage, seconds):
    """The wall time to request where none is given: with a margin, and never more than the site allows."""
    hours = HOURS_STEP * math.ceil(MARGIN * seconds / HOUR / HOURS_STEP)
    return min(hours, campaign.site.longest(stage.request) or hours)


def with_hours(campaign, estimates):
    """The campaign with a wall time for every stage."""
    stages = [
        replace(
            each.stage,
            request=each.stage.request.model_copy(
                update={"hours": each.stage.request.hours or _hours(campaign, each.stage, each.seconds)}
            ),
        )
        for each in estimates
    ]
    return replace(campaign, stages=stages)


def check_budget(campaign, estimates, used):
    """Refuse what could cost more than the campaign's budget.

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
    worst = sum(_remaining(each, each.most, campaign) for each in estimates)
    if campaign.budget is not None and used + worst > campaign.budget:
        raise SettingError(
            f"In the worst case, with every job at work for all of its wall time and requeued as often as it may be, "
            f"the rest of {campaign.name} costs {worst:.1f} {campaign.site.unit}; {used:.1f} are used, and its budget "
            f"is {campaign.budget:g}. Raise budget in {campaign.file}, or request fewer hours or requeues."
        )


def check_one_more(campaign, stages, used):
    """Refuse one more run of a job of any of these stages if it could exceed the budget.

    Raises
    ------
    SettingError
    """
    run = max((campaign.site.units_per_hour(each.request) * each.request.hours for each in stages), default=0.0)
    if campaign.budget is not None and used + run > campaign.budget:
        raise SettingError(
            f"{used:.1f} {campaign.site.unit} of the budget of {campaign.budget:g} are used: there is not enough for "
            "another run of this job. Raise budget and submit again."
        )


def balance(campaign, estimates, used):
    """The remaining cost as estimated and in the worst case, what is used, and the budget: one line."""
    remaining, worst = (
        sum(_remaining(each, figure, campaign) for each, figure in figures)
        for figures in (((each, each.cost) for each in estimates), ((each, each.most) for each in estimates))
    )
    budget = "none" if campaign.budget is None else f"{campaign.budget:g}"
    return (
        f"{campaign.site.unit} still to be used: {remaining:.2f}, in the worst case {worst:.2f}; used: {used:.2f}; "
        f"budget: {budget}"
    )


def _remaining(estimate, figure, campaign):
    """The part of a cost that is not spent yet, by the number of jobs that are not done."""
    return figure * len(campaign.missing(estimate.stage)) / estimate.stage.request.jobs


# ---- durations of earlier runs ----


def _file(campaign):
    return campaign.root.journal / MEASURED


def _measured(campaign):
    """Durations of earlier runs: {place: {stage: {"seconds": per unit, "origin": text}}}, without damaged ones."""
    try:
        found = json.loads(_file(campaign).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    places = found.items() if isinstance(found, dict) else ()
    return {
        place: {name: each for name, each in stages.items() if _is_duration(each)}
        for place, stages in places
        if isinstance(stages, dict)
    }


def _is_duration(entry):
    """Whether an entry has seconds, and a length of sound where it has any, that can be computed with."""
    figures = [entry.get("seconds"), entry.get("audio", 1.0)] if isinstance(entry, dict) else [None]
    return all(type(each) in (int, float) and 0 < each < math.inf for each in figures)


def _place(campaign, stage):
    """Where a stage's durations are comparable: "bridges2/GPU-shared/h100-80", "bridges2/RM/2 nodes"."""
    request = stage.request
    many = [f"{n} {what}" for n, what in ((request.n_gpus, "GPUs"), (request.nodes, "nodes")) if n > 1]
    return "/".join(filter(None, (campaign.site.name, request.partition, request.gpu_type, *many)))


def save_durations(campaign, seconds, runs, devices):
    """Save the durations of finished stages, for the next estimate.

    Parameters
    ----------
    campaign : Campaign
    seconds : dict of str to float
        Of all runs of all jobs of a stage; finished stages only. Those that took but a moment are skipped.
    runs : dict of str to int
        How often a job of the stage has started.
    devices : dict of str to str
        What they ran on. A stage that asked for a GPU and ran without one is skipped.
    """
    measured, units, before = _measured(campaign), workload(campaign), _measured(campaign)
    for stage in campaign.stages:
        device = devices.get(stage.name, "")
        if stage.name not in seconds or (stage.request.gpus and device.startswith("CPU")):
            continue
        starting = DEFAULTS["start"] * runs[stage.name]
        working = seconds[stage.name] - starting
        if working < starting:
            continue  # mostly start-up, from which nothing follows for more work
        per_unit = working * _cores(campaign, stage) / _counted(stage, units[stage.name])
        origin = ", ".join(filter(None, (campaign.name, str(date.today()), device)))
        entry = {"seconds": round(per_unit, 4), "origin": origin}
        length = _audio(campaign, DEFAULTS["stages"][stage.name]["unit"])
        entry |= {"audio": round(length, 2)} if length else {}
        measured.setdefault(_place(campaign, stage), {})[_work(campaign, stage)] = entry
    if measured != before:
        write_text(_file(campaign), json.dumps(measured, indent=2) + "\n")


# ---- for people ----


def table(campaign, estimates):
    """The estimate as lines of text."""
    yield f"{'stage':8}{'jobs':>5}{'each for':>13}{'at most':>13}{campaign.site.unit:>10}{'at most':>10}  because"
    for each in estimates:
        request = each.stage.request
        limit = duration(request.hours * HOUR) if request.hours and campaign.site.has_scheduler else "-"
        work = f"{each.count} {each.unit}{'s' * (each.count != 1)}, {each.per_unit:.3g} s each{_shared(campaign, each)}"
        figures = f"{duration(each.seconds):>13}{limit:>13}{each.cost:10.2f}{each.most:10.1f}"
        yield f"{each.stage.name:8}{request.jobs:5}{figures}  {work} ({each.origin})"
    total, most = sum(each.cost for each in estimates), sum(each.most for each in estimates)
    yield f"{'in all':8}{'':31}{total:10.2f}{most:10.1f}"
    if any(each.origin == "default" for each in estimates):
        yield f"default: {DEFAULTS['origin']}"
    for each in estimates:
        hours, requeues = each.stage.request.hours, each.stage.request.requeues
        if hours and campaign.site.has_scheduler and each.seconds > hours * HOUR * (1 + requeues):
            yield f"{each.stage.name} is unlikely to finish in {hours:g} hours and {requeues} requeues."


def _shared(campaign, estimate):
    cores = _cores(campaign, estimate.stage)
    return f" on one of {cores} cores" if cores > 1 else ""
