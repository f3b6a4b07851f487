"""A campaign: the five notebooks as a chain of jobs, described by one YAML file. Used by `submit.py`.

Everything a campaign makes besides the data is in one folder, `runs/<name>/` under the root: a job script per stage,
the parameters, logs, and for each job its executed notebook and `metrics.json`. A job is done when its `metrics.json`
is ok; there is no other record.
"""

import contextlib
import json
import logging
import math
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from muscomp_lib import slakh
from muscomp_lib.core import settings, yaml_file
from muscomp_lib.core.errors import MissingError, SettingError
from muscomp_lib.core.files import absolute, make_folder, written_whole
from muscomp_lib.core.names import as_text, is_text
from muscomp_lib.core.root import Root, open_root
from muscomp_lib.core.settings import Field, Section, check, one_of, optional, suggestion, that, whole
from muscomp_lib.separation import songs
from muscomp_lib.training import strategy

from ..notebook_parameters import assign, defaults, from_content, mapping, ordered, step_of
from .copy_commands import WAYS
from .sites import LINE, Request, Site, read_site, without_blanks

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
STAGES = {  # in order: the notebook of each, and what it does
    "index": ("01", "checks every file of the data set"),
    "shards": ("02", "fills the songs, in parts"),
    "join": ("02", "makes what is missing, and writes the tables"),
    "tables": ("03", "writes the tables and the configuration to train from"),
    "train": ("04", "trains a network"),
    "songs": ("05", "separates and transcribes songs"),
}
SET_BY_CAMPAIGN = {  # parameters that a campaign sets itself, and the key that does
    "root": "root",
    "song": "songs",
    "shard": "jobs of the stage shards",
    "workers": "cores of the stage",
}
PARAMETERS, SONGS, METRICS = "parameters.yaml", "songs.txt", "metrics.json"
SONG_LISTS = "song_lists"  # a parameter file for each job of the stage songs
ESCAPES = {"\\": r"\\", "\n": r"\n", "\r": r"\r"}  # in the list of songs
JOBS, ESTIMATE = "jobs.json", "estimate.json"
FROZEN, SITE_FILE = "campaign.yaml", "site.yaml"  # the campaign and its site as they were submitted
BEFORE = ".before"  # of a script that was replaced
NAME = that(
    lambda value: isinstance(value, str) and re.fullmatch(r"\w[\w-]{0,99}", value, re.ASCII),
    "a text of letters, digits, - and _ only (digits alone in quotes)",
)
PATHS = that(
    lambda value: (
        bool(value) and all(isinstance(each, str) and each for each in (value if isinstance(value, list) else [value]))
    ),
    "a file or a folder, or a list of them",
)

log = logging.getLogger(__name__)


class Files(Section):
    """The section `files` of a campaign: where the data set comes from, and where results go."""

    way: one_of(*WAYS) = "rclone"
    source: optional(LINE, "none") = Field(None, alias="from", description="Where the data set is.")
    songs: optional(LINE, "none") = Field(None, description="Where songs to separate are.")
    results: optional(LINE, "none") = Field(None, description="Where results go.")
    to: optional(LINE, "the site's host") = Field(None, description="The root, as reached from where the commands run.")
    user: optional(LINE, "your own name") = Field(None, description="At the site's host.")
    md5: optional(LINE, "no check") = Field(None, description="Of an archive that is downloaded.")
    tracks: optional(whole(1), "any") = Field(None, description="How many the data set must have.")
    mbit_per_second: optional(settings.number(0.001, 1e6), "a guess") = None
    files_per_second: optional(settings.number(0.001, 1e6), "a guess") = None


class CampaignFile(Section):
    """The keys of a campaign's file. The entries of `stages` are `Request`s, `parameters` are the notebooks'."""

    name: NAME = Field(description="By default the file's name.")
    site: LINE = "local"
    root: optional(LINE, "the site's") = None
    account: optional(NAME, "your default account") = Field(None, description="The allocation that is charged.")
    budget: optional(settings.number(0), "no limit") = Field(None, description="In the site's unit.")
    notebooks: optional(LINE, "the project's own") = None
    songs: optional(PATHS, "one unseen song") = None
    parameters: dict = {}  # noqa: RUF012
    stages: dict = {}  # noqa: RUF012
    files: Files = Files()


@dataclass(frozen=True)
class Stage:
    """A step of the campaign.

    Attributes
    ----------
    name : str
        A key of `STAGES`.
    notebook : Path
    request : Request
    """

    name: str
    notebook: Path
    request: Request

    @property
    def number(self):
        """Its notebook's number: "02"."""
        return STAGES[self.name][0]

    @property
    def is_array(self):
        """Whether it is an array of jobs, however few."""
        return self.name in ("shards", "songs")

    @property
    def tasks(self):
        """The numbers of its jobs, from 1."""
        return list(range(1, self.request.jobs + 1))


@dataclass(frozen=True)
class Campaign:
    """A campaign, read and checked.

    Attributes
    ----------
    name : str
    file : Path
    site : Site
    root : Root
    account, budget : str, float or None
        Who is charged, and how much at most.
    parameters : dict
        By number of the notebook.
    defaults : dict
        The notebooks' own, by number.
    songs : list of Path
        Empty: the song that notebook 05 chooses itself.
    files : Files
    has_jobs : bool
        Whether the file says how many jobs share the stage shards.
    stages : list of Stage
    """

    name: str
    file: Path
    site: Site
    root: Root
    account: str | None
    budget: float | None
    parameters: dict
    defaults: dict
    songs: list
    files: Files
    has_jobs: bool = False
    stages: list = field(default_factory=list)

    @property
    def folder(self):
        """The folder of its scripts, logs and results."""
        return self.root.runs / self.name

    def out(self, stage, task):
        """The folder of a job's executed notebook and metrics."""
        return self.folder / stage.name / str(task) if stage.is_array else self.folder / stage.name

    def metrics(self, stage, task):
        """A job's entry in its `metrics.json`; empty when there is none."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            entries = json.loads((self.out(stage, task) / METRICS).read_text(encoding="utf-8"))
            return dict(entries.get(stage.notebook.stem, {}))
        return {}

    def songs_of(self, stage, task):
        """The songs that a job of the stage songs separates."""
        each = stage.request.songs_per_job or 1
        return self.songs[(task - 1) * each : task * each]

    def failed_songs(self, stage, task):
        """The songs of a job that failed, and why: {name: reason}."""
        return (self._song_counts(stage, task) or {}).get("failed", {})

    def _song_counts(self, stage, task):
        """What notebook 05 counted; None in the metrics of an earlier version."""
        return (self.metrics(stage, task).get("metrics") or {}).get("songs") if stage.name == "songs" else None

    def is_done(self, stage, task):
        """Whether a job is done; one of the stage songs, with all of its songs, to which some may have been added."""
        counts = self._song_counts(stage, task)
        whole = not counts or (not counts["failed"] and counts["listed"] >= len(self.songs_of(stage, task)))
        return self.metrics(stage, task).get("status") == "ok" and whole

    def missing(self, stage):
        """The jobs of a stage that are not done."""
        return [task for task in stage.tasks if not self.is_done(stage, task)]

    def value(self, number, name):
        """A notebook's parameter: as given, else its own default; None where it has none."""
        return self.parameters[number].get(name, self.defaults[number].get(name))

    @property
    def is_virtual(self):
        """Whether notebook 02 writes no songs."""
        return bool(self.value("02", "virtual"))

    def tracks(self):
        """The number of tracks of the data set: as it is on disk, or as notebook 01 will make it."""
        n_tracks, limit = self.tracks_on_disk() or self.value("01", "minislakh_tracks") or 1, self.value("01", "limit")
        return min(n_tracks, limit) if limit else n_tracks

    def tracks_on_disk(self):
        """The number of tracks under the root's slakh/."""
        return len(self.track_folders())

    def track_folders(self):
        """The tracks under the root's slakh/."""
        try:
            return [place.folder for place in slakh.find_tracks(self.root.slakh)]
        except FileNotFoundError:  # of which MissingError is one
            return []


def read_campaign(file, songs_exist=True):
    """Read a campaign's file, or the campaign that was submitted into a folder `runs/NAME`.

    Parameters
    ----------
    file : str or Path
    songs_exist : bool
        False: its songs are ignored, because they may still have to be transferred.

    Returns
    -------
    Campaign

    Raises
    ------
    MissingError, SettingError, AudioError
        What is wrong in it, and where.
    """
    if frozen := (file := absolute(file)).is_dir():
        file = file / FROZEN
    content = mapping(yaml_file.read(file, "The campaign file"), file)
    given = check(CampaignFile, {"name": file.stem, **without_blanks(CampaignFile, content)}, file)
    site = read_site(path_of(given.site, file) if given.site.endswith((".yaml", ".yml")) else given.site)
    root = Root(path_of(given.root or site.root or os.environ.get("MUSCOMP_ROOT") or "muscomp_root", file))
    _check_root(root.path, site, file)
    notebooks = _notebooks(path_of(given.notebooks or NOTEBOOKS, file))
    campaign = Campaign(
        name=given.name,
        file=file,
        site=site,
        root=root,
        account=given.account,
        budget=given.budget,
        parameters=_parameters(notebooks, given.parameters, file),
        defaults={number: defaults(step.notebook) for number, step in notebooks.items()},
        songs=_songs(given.songs if songs_exist else None, file, root),
        files=given.files,
        has_jobs="jobs" in mapping(given.stages.get("shards"), f"{file}, stages, shards"),
    )
    return _with_stages(campaign, notebooks, given.stages, _listed(campaign) if frozen else _listed_songs(campaign))


def submitted_folder(file):
    """The folder of the campaign that was submitted from this file; None if none was.

    Only the name and the root are taken from the file: it may have been edited for another run.

    Parameters
    ----------
    file : str or Path
        A campaign's file, or the folder itself.

    Raises
    ------
    MissingError, SettingError
        The folder is none of a campaign; the file cannot be read, or its root is not possible.
    """
    file = absolute(file)
    if file.is_dir():
        if not (file / FROZEN).is_file():
            raise MissingError(f"{file} is not the folder of a submitted campaign: it has no {FROZEN}.")
        return file
    content = mapping(yaml_file.read(file, "The campaign file"), file)
    site, root = str(content.get("site") or "local"), content.get("root") or os.environ.get("MUSCOMP_ROOT")
    if not content.get("root"):
        site = path_of(site, file) if site.endswith((".yaml", ".yml")) else site
        root = read_site(site).root or root or "muscomp_root"
    folder = Root(path_of(root, file)).runs / str(content.get("name") or file.stem)
    return folder if (folder / FROZEN).is_file() else None


def path_of(text, file):
    """A path in a campaign's file: relative to the file, variables such as $PROJECT expanded.

    Raises
    ------
    SettingError
        It names a variable that is not set, or is not possible.
    """
    path = os.path.expandvars(str(text))
    if "$" in path:
        raise SettingError(f"{file}: {text} names a variable that is not set here. Set it, or write the path out.")
    return absolute(path, f"{file}: ", file.parent)


def _check_root(path, site, file):
    """Refuse a root that no script can name, wherever it comes from: the file, the environment, the file's folder."""
    if not str(path).isprintable():
        raise SettingError(f"{file}: root = {str(path)!r} is not possible. It must be a path on a single line.")
    if site.has_scheduler and "\\" in str(path):
        raise SettingError(
            f"{file}: root = {str(path)!r} is not possible: Slurm's logs cannot have \\ in their paths. Rename it."
        )


def _notebooks(folder):
    """A step for each notebook, by number."""
    steps = {step.number: step for step in map(step_of, ordered(folder))}
    missing = sorted({number for number, _ in STAGES.values()} - steps.keys())
    if missing:
        raise MissingError(f"{folder} has no notebook {', '.join(missing)}. Give the folder that holds all of them.")
    return steps


def _parameters(notebooks, given, file):
    """The parameters of each notebook, checked; each uses what the one before it has made."""
    given = from_content(given, f"{file}, parameters", file.parent)
    for each in given:
        if each.name in SET_BY_CAMPAIGN:
            key = SET_BY_CAMPAIGN[each.name]
            raise SettingError(f"{each.source}: a campaign sets {each.name} itself. Remove it, and set {key} instead.")
        if each.name == "fresh" and each.value:
            raise SettingError(
                f"{each.source}: fresh would discard the training so far whenever a job is requeued. Give the model "
                "another name instead: name of notebook 03."
            )
    assign(list(notebooks.values()), given)
    found = {number: dict(step.parameters) for number, step in notebooks.items()}
    made = found["03"].get("name")
    for number, name in (("04", "config"), ("05", "model")):
        made = found[number].get(name) or made or defaults(notebooks["04"].notebook).get("config")
        if name in notebooks[number].valid and made:
            found[number][name] = made
    if "verify" in notebooks["01"].valid:  # so that no shard has to decode the reserve itself
        found["01"].setdefault("verify", "full")
    return found


def _songs(given, file, root):
    """The songs to separate, from files and folders; those that no notebook can name are left out."""
    given = [given] if isinstance(given, str) else given or []
    found = [song.resolve() for each in given for song in songs.choose(path_of(each, file), root)]
    for song in found:
        if not is_text(str(song)):
            log.warning("%s is left out: notebooks are UTF-8, and its name is not. Rename it.", as_text(str(song)))
    return [song for song in found if is_text(str(song))]


def _with_stages(campaign, notebooks, given, listed):
    """The campaign with its songs in order and its stages."""
    for stage in given:
        if stage not in STAGES:
            raise SettingError(f"{campaign.file}, stages: there is no stage {stage!r}. {suggestion(stage, STAGES)}")
    stages = []
    for name, (number, _) in STAGES.items():
        source = f"{campaign.file}, stages, {name}"
        request = campaign.site.request(name, mapping(given.get(name), source), source)
        if name == "songs":
            before = _songs_per_job_before(campaign)
            if before and request.songs_per_job not in (None, before):
                log.warning("songs_per_job stays %d: the jobs of %s keep their songs.", before, campaign.name)
            jobs = mapping(given.get(name), source).get("jobs")
            each = jobs and math.ceil(len(listed) / jobs)
            request = _in_jobs(request, len(listed), before or request.songs_per_job or each or None)
        elif name != "shards" and request.jobs != 1:
            raise SettingError(
                f"{source}: only the stage shards can have several jobs, not {request.jobs}. Remove jobs."
            )
        if name != "train" and request.nodes != 1:
            raise SettingError(
                f"{source}: only the stage train can use several nodes, not {request.nodes}. Remove nodes."
            )
        if name == "train":
            _check_batch_size(campaign, request)
        stages.append(Stage(name, notebooks[number].notebook, request))
    if campaign.is_virtual or stages[1].request.jobs == 1:
        del stages[1]  # nothing to divide: the stage join does it all
    return replace(campaign, songs=listed, stages=stages)


def _in_jobs(request, n_songs, songs_per_job):
    jobs = max(1, math.ceil(n_songs / (songs_per_job or 1)))
    return request.model_copy(update={"jobs": jobs, "songs_per_job": songs_per_job})


def _songs_per_job_before(campaign):
    """The number at submission, so that jobs keep their songs; None for a campaign that was not submitted."""
    file = campaign.folder / FROZEN
    if not file.is_file() or not _listed(campaign):
        return None
    stages = mapping(mapping(yaml_file.read(file), file).get("stages"), file)
    return mapping(stages.get("songs"), file).get("songs_per_job") or 1


def with_songs_per_job(campaign, songs_per_job):
    """The campaign with so many songs in each job of the stage songs."""
    stages = [
        replace(stage, request=_in_jobs(stage.request, len(campaign.songs), songs_per_job))
        if stage.name == "songs"
        else stage
        for stage in campaign.stages
    ]
    return replace(campaign, stages=stages)


def _check_batch_size(campaign, request):
    """Refuse now what training would refuse: GPUs or nodes among which a batch cannot be divided evenly."""
    made = campaign.value("03", "name") or campaign.defaults["04"].get("config")
    batch_size = campaign.value("03", "batch_size")
    if campaign.value("04", "engine") == "spleeter":
        if request.nodes > 1:
            raise SettingError(
                f"{campaign.file}, stages, train: the real Spleeter trains on one node, not {request.nodes}."
            )
    elif batch_size and campaign.value("04", "config") == made:
        strategy.check(batch_size, request.nodes * max(1, request.n_gpus))


def _listed_songs(campaign):
    """All songs, those listed earlier first, in their order: a job keeps its song when others are added."""
    return list(dict.fromkeys([*(_listed(campaign) if campaign.songs else []), *campaign.songs]))


def _listed(campaign):
    """The songs that were listed when the campaign was submitted."""
    file = campaign.folder / SONGS
    lines = os.fsdecode(file.read_bytes()).split("\n")[:-1] if file.is_file() else []
    return [Path(_unescaped(line)) for line in lines]


def _escaped(song):
    """A path as one line of the list of songs, as bash's `printf %b` reads it: line breaks and backslashes escaped."""
    return re.sub(r"[\\\n\r]", lambda match: ESCAPES[match[0]], str(song))


def _unescaped(line):
    signs = {escape: sign for sign, escape in ESCAPES.items()}
    return re.sub(r"\\[\\nr]", lambda match: signs[match[0]], line)


def write_campaign(campaign, scripts):
    """Write the campaign's folder: scripts, parameters, the list of songs, and the campaign as it is now.

    Parameters
    ----------
    campaign : Campaign
    scripts : dict of str to str
        File names and contents.

    Returns
    -------
    list of str
        Scripts that were there and differ, as when they were edited by hand; they are kept under another name.

    Raises
    ------
    SettingError
        It was started with other parameters.
    """
    open_root(campaign.root.path)
    make_folder(campaign.folder / "logs")  # Slurm makes no folder, and fails without a message
    make_folder(campaign.folder / SONG_LISTS)
    _check_unchanged(campaign)
    replaced = [name for name, text in scripts.items() if _differs(campaign.folder / name, text)]
    for name in replaced:
        (campaign.folder / name).replace(campaign.folder / f"{name}{BEFORE}")
    texts = {
        **scripts,
        PARAMETERS: yaml_file.dump(campaign.parameters),
        SONGS: "".join(f"{_escaped(song)}\n" for song in campaign.songs),
        **_song_lists(campaign),
        SITE_FILE: yaml_file.dump(campaign.site.model_dump()),
        FROZEN: yaml_file.dump(_frozen(campaign)),  # the last: the mark that all is there
    }
    for name, text in texts.items():
        with written_whole(campaign.folder / name) as part:
            part.write_bytes(os.fsencode(text))  # paths may have bytes that are not UTF-8
            part.chmod(0o755 if name.endswith(".sh") else 0o644)
    return replaced


def _song_lists(campaign):
    """A parameter file for each job of the stage songs, where songs are given: {file name: text}."""
    stage = next(stage for stage in campaign.stages if stage.name == "songs")
    lists = {task: campaign.songs_of(stage, task) for task in stage.tasks if campaign.songs}
    return {
        f"{SONG_LISTS}/{task}.yaml": yaml_file.dump({stage.number: {"song": [str(song) for song in its]}})
        for task, its in lists.items()
    }


def _differs(file, text):
    return file.is_file() and file.read_bytes() != os.fsencode(text)


def _frozen(campaign):
    """The campaign as a file in its own folder: complete, and with no path outside, so that it can be moved."""
    own = campaign.stages[0].notebook.parent
    stages = {stage.name: stage.request.model_dump() for stage in campaign.stages}
    return {
        "name": campaign.name,
        "site": SITE_FILE,
        "root": os.path.relpath(campaign.root.path, campaign.folder),
        "account": campaign.account,
        "budget": campaign.budget,
        "notebooks": None if own == NOTEBOOKS else str(own),
        "parameters": campaign.parameters,
        "stages": {"shards": {"jobs": 1}} | stages,  # where there are no shards, join makes all songs
        "files": campaign.files.model_dump(by_alias=True),
    }


def _check_unchanged(campaign):
    file = campaign.folder / PARAMETERS
    if not file.is_file():
        return
    changes = []
    for number, before in mapping(yaml_file.read(file), file).items():
        before, now = mapping(before, file), campaign.parameters.get(number, {})
        changes += [
            f"{number}.{name} was {before.get(name)!r}, is {now.get(name)!r}"
            for name in {**before, **now}
            if before.get(name) != now.get(name)
        ]
    if changes:
        raise SettingError(
            f"{campaign.folder} was started with other parameters ({'; '.join(changes)}). Give the campaign a new name."
        )
