"""A campaign: the five notebooks as a chain of jobs, described by one YAML file. Used by `submit.py`.

Everything a campaign makes besides the data lies in one folder, `runs/<name>/` under the root: a job script per stage,
the parameters, logs, and for each job its executed notebook and `metrics.json`. These say what is done; nothing else
is remembered.
"""

import contextlib
import json
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from muscomp_lib import slakh
from muscomp_lib.core.errors import MissingError, SettingError
from muscomp_lib.core.files import written_whole
from muscomp_lib.core.root import Root, open_root
from muscomp_lib.separation import songs
from muscomp_lib.training import strategy

from ..notebook_parameters import assign, defaults, from_content, mapping, ordered, read_yaml, step_of
from . import sites

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
CHAIN = {  # stages in order: the notebook of each, and what it does
    "index": ("01", "looks at every file of the data set"),
    "shards": ("02", "fills the songs, in parts"),
    "join": ("02", "makes what is missing, and writes the tables"),
    "tables": ("03", "writes the lists and settings to train from"),
    "train": ("04", "trains a network"),
    "songs": ("05", "separates songs and writes them down"),
}
KEYS = {"name", "site", "root", "account", "budget", "notebooks", "songs", "parameters", "stages", "files"}
SET_HERE = {  # parameters that a campaign sets itself, and what says so
    "root": "root",
    "song": "songs",
    "shard": "jobs of the stage shards",
    "workers": "cores of the stage",
}
PARAMETERS, SONGS, METRICS = "parameters.yaml", "songs.txt", "metrics.json"
JOBS, ESTIMATE = "jobs.json", "estimate.json"


@dataclass(frozen=True)
class Stage:
    """One link of the chain.

    Attributes
    ----------
    name : str
        A key of `CHAIN`.
    notebook : Path
    request : sites.Request
    """

    name: str
    notebook: Path
    request: sites.Request

    @property
    def number(self):
        """Of its notebook: "02"."""
        return CHAIN[self.name][0]

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
    """A campaign as its file describes it.

    Attributes
    ----------
    name : str
    file : Path
    site : sites.Site
    root : drive.Root
    account, budget : str, float or None
        Who is charged, and how much at most.
    parameters : dict
        By number of the notebook.
    defaults : dict
        The notebooks' own, by number.
    songs : list of Path
        Empty: the song that notebook 05 chooses itself.
    stages : list of Stage
    files : dict
        The section that `transfer.py` reads.
    """

    name: str
    file: Path
    site: sites.Site
    root: Root
    account: str | None
    budget: float | None
    parameters: dict
    defaults: dict
    songs: list
    stages: list = field(default_factory=list)
    files: dict = field(default_factory=dict)

    @property
    def folder(self):
        """Where its scripts, logs and results lie."""
        return self.root.runs / self.name

    def out(self, stage, task):
        """Where a job's executed notebook and metrics lie."""
        return self.folder / stage.name / str(task) if stage.is_array else self.folder / stage.name

    def metrics(self, stage, task):
        """What a job left in its `metrics.json`; empty when it left nothing."""
        with contextlib.suppress(OSError, ValueError):
            noted = json.loads((self.out(stage, task) / METRICS).read_text(encoding="utf-8"))
            return noted.get(stage.notebook.stem, {})
        return {}

    def missing(self, stage):
        """The jobs of a stage that are not done."""
        return [task for task in stage.tasks if self.metrics(stage, task).get("status") != "ok"]

    def value(self, number, name):
        """A notebook's parameter: as given, else its own default; None where it has none."""
        return self.parameters[number].get(name, self.defaults[number].get(name))

    @property
    def is_virtual(self):
        """Whether notebook 02 writes no songs."""
        return bool(self.value("02", "virtual"))

    def tracks(self):
        """How many tracks the data set has: as it lies there, or as notebook 01 will make it."""
        found = 0
        with contextlib.suppress(FileNotFoundError):  # of which MissingError is one
            found = len(slakh.find_tracks(self.root.slakh))
        number, limit = found or self.value("01", "minislakh_tracks") or 1, self.value("01", "limit")
        return min(number, limit) if limit else number


def read(file, songs_are_here=True):
    """Read a campaign's file.

    Parameters
    ----------
    file : str or Path
    songs_are_here : bool
        False: its songs are passed over, because they may still have to be brought in.

    Returns
    -------
    Campaign

    Raises
    ------
    MissingError, SettingError, AudioError
        What is wrong in it, and where.
    """
    file = Path(file).expanduser().resolve()
    given = mapping(read_yaml(file, "The campaign file"), file)
    for key in given:
        if key not in KEYS:
            raise SettingError(f"{file}: there is no {key!r}. {sites.meant(key, KEYS)}")
    name = str(given.get("name") or file.stem)
    if not re.fullmatch(r"[\w-]+", name, re.ASCII):
        raise SettingError(f"{file}: name is {name!r}; give letters, digits, - and _ only.")
    budget = given.get("budget")
    if budget is not None and not (type(budget) in (int, float) and budget >= 0):
        raise SettingError(f"{file}: budget is {budget!r}; give a number.")
    site_name = str(given.get("site") or "local")
    site = sites.read(path_of(site_name, file) if site_name.endswith((".yaml", ".yml")) else site_name)
    own = os.environ.get("MUSCOMP_ROOT") or "muscomp_root"
    root = Root(path_of(given.get("root") or site.data.get("root") or own, file))
    notebooks = _notebooks(path_of(given.get("notebooks") or NOTEBOOKS, file))
    parameters = _parameters(notebooks, given.get("parameters"), file)
    campaign = Campaign(
        name, file, site, root, given.get("account"), budget, parameters,
        {number: defaults(step.notebook) for number, step in notebooks.items()},
        _songs(given.get("songs") if songs_are_here else None, file, root),
        files=mapping(given.get("files"), f"{file}, files"),
    )  # fmt: skip
    return _with_stages(campaign, notebooks, mapping(given.get("stages"), f"{file}, stages"))


def path_of(text, file):
    """A path of a campaign's file: relative to the file, variables such as $PROJECT filled in.

    Raises
    ------
    SettingError
        It names a variable that is not set.
    """
    path = Path(os.path.expandvars(str(text))).expanduser()
    if "$" in str(path):
        raise SettingError(f"{file}: {text} names a variable that is not set here. Set it, or write the path out.")
    return (file.parent / path).resolve()


def _notebooks(folder):
    """A step for each notebook, by number."""
    steps = {step.number: step for step in map(step_of, ordered(folder))}
    lacking = sorted({number for number, _ in CHAIN.values()} - steps.keys())
    if lacking:
        raise MissingError(f"{folder} has no notebook {', '.join(lacking)}.")
    return steps


def _parameters(notebooks, given, file):
    """The parameters of each notebook, checked; each takes up what the one before it has made."""
    givens = from_content(given, f"{file}, parameters")
    for each in givens:
        if each.name in SET_HERE:
            raise SettingError(f"{each.source}: {each.name} is set by the campaign: see its {SET_HERE[each.name]}.")
        if each.name == "fresh" and each.value:
            raise SettingError(
                f"{each.source}: fresh would throw away what is learnt whenever a job comes back from the queue. Give "
                "what is to be trained another name instead: name of notebook 03."
            )
    assign(list(notebooks.values()), givens)
    found = {number: dict(step.parameters) for number, step in notebooks.items()}
    made = found["03"].get("name")
    for number, name in (("04", "config"), ("05", "model")):
        made = found[number].get(name) or made or defaults(notebooks["04"].notebook).get("config")
        if name in notebooks[number].valid and made:
            found[number][name] = made
    if "verify" in notebooks["01"].valid:  # so that no shard has to listen to the reserve
        found["01"].setdefault("verify", "full")
    return found


def _songs(given, file, root):
    """The songs to separate, from files and folders."""
    given = [given] if isinstance(given, str) else given or []
    return [song.resolve() for each in given for song in songs.choose(path_of(each, file), root)]


def _with_stages(campaign, notebooks, given):
    for stage in given:
        if stage not in CHAIN:
            raise SettingError(f"{campaign.file}, stages: there is no {stage!r}. {sites.meant(stage, CHAIN)}")
    stages, listed = [], _listed_songs(campaign)
    for name, (number, _) in CHAIN.items():
        source = f"{campaign.file}, stages, {name}"
        request = campaign.site.request(name, mapping(given.get(name), source))
        if name == "songs":
            request = replace(request, jobs=max(1, len(listed)))
        elif name != "shards" and request.jobs != 1:
            raise SettingError(f"{source}: only shards can be divided; jobs is {request.jobs}.")
        if name != "train" and request.nodes != 1:
            raise SettingError(f"{source}: only train can use several nodes; nodes is {request.nodes}.")
        if name == "train":
            _check_shares(campaign, request)
        stages.append(Stage(name, notebooks[number].notebook, request))
    if campaign.is_virtual or stages[1].request.jobs == 1:
        del stages[1]  # there is nothing to share out: what follows does it
    return replace(campaign, songs=listed, stages=stages)


def _check_shares(campaign, request):
    """Refuse now what training would refuse: GPUs or nodes that cannot share the batch that 03 writes down."""
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
    """All songs, those listed before first and in their order: a job keeps its song when others are added."""
    file = campaign.folder / SONGS
    listed = file.read_text(encoding="utf-8").splitlines() if file.is_file() and campaign.songs else []
    return list(dict.fromkeys([*map(Path, listed), *campaign.songs]))


def write(campaign, scripts):
    """Write the campaign's folder: scripts, parameters and the list of songs.

    Parameters
    ----------
    campaign : Campaign
    scripts : dict of str to str
        File names and contents.

    Raises
    ------
    SettingError
        It was begun with other parameters.
    """
    open_root(campaign.root.path)
    (campaign.folder / "logs").mkdir(parents=True, exist_ok=True)  # Slurm makes no folder, and fails without a word
    _same_parameters(campaign)
    texts = {
        **scripts,
        PARAMETERS: yaml.safe_dump(campaign.parameters, sort_keys=False),
        SONGS: "".join(f"{song}\n" for song in campaign.songs),
    }
    for name, text in texts.items():
        with written_whole(campaign.folder / name) as part:
            part.write_text(text, encoding="utf-8")
            part.chmod(0o755 if name.endswith(".sh") else 0o644)


def _same_parameters(campaign):
    file = campaign.folder / PARAMETERS
    if not file.is_file():
        return
    begun = yaml.safe_load(file.read_text(encoding="utf-8"))
    names = [(number, name) for number in begun for name in {**begun[number], **campaign.parameters[number]}]
    changes = [
        f"{number}.{name}: {begun[number].get(name)!r} then, {campaign.parameters[number].get(name)!r} now"
        for number, name in names
        if begun[number].get(name) != campaign.parameters[number].get(name)
    ]
    if changes:
        raise SettingError(
            f"{campaign.folder} was begun with other parameters ({'; '.join(changes)}). Give the campaign another name."
        )
