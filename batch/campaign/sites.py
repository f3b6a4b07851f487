"""Sites as data: what a cluster offers, what it would refuse, and what it charges. Used by `submit.py`.

A site is a YAML file in `sites/`, or anywhere; a new one is made by copying one.
"""

import re
import shlex
from pathlib import Path

from muscomp_lib.core import yaml_file
from muscomp_lib.core.errors import MissingError, SettingError
from muscomp_lib.core.settings import (
    Field,
    Section,
    check,
    flag,
    number,
    one_of,
    optional,
    suggestion,
    that,
    whole,
)

from ..notebook_parameters import mapping

FOLDER = Path(__file__).parent / "sites"
LINE = that(
    lambda value: isinstance(value, str) and value.strip() != "" and value.isprintable() and value[0] != "-",
    "a text on a single line that does not begin with -",
)  # it goes into job scripts, where programs take what begins with - for an option
GPUS = that(
    lambda value: isinstance(value, str) and re.fullmatch(r"[\w.-]+:[1-9][0-9]{0,5}", value, re.ASCII),
    "type:number, such as h100-80:1",
)
SET_BY_SCRIPTS = (  # how jobs are stopped and found again, and what they are charged for
    *("array", "dependency", "job-name", "output", "open-mode", "signal", "requeue", "no-requeue"),
    *("account", "partition", "time", "nodes", "ntasks", "cpus-per-task", "cpus-per-gpu"),
    *("ntasks-per-core", "ntasks-per-gpu", "ntasks-per-node", "ntasks-per-socket", "tasks-per-node"),
    *("gpus", "gpus-per-node", "gpus-per-socket", "gpus-per-task", "gres", "mem", "mem-per-cpu", "mem-per-gpu"),
    *("exclusive", "mincpus", "core-spec", "thread-spec", "cores-per-socket", "extra-node-info", "sockets-per-node"),
    *("threads-per-core", "tres-per-job", "tres-per-node", "tres-per-socket", "tres-per-task"),
)


def _is_command(value):
    try:
        return isinstance(value, str) and value.isprintable() and shlex.split(value)
    except ValueError:  # a quotation mark is missing
        return False


def _are_options(value):
    """Whether a list has nothing but options of sbatch that no script sets itself, abbreviated or not."""
    lines = value if isinstance(value, list) else [None]
    return all(_is_command(line) and line.startswith("--") and _sets_nothing(shlex.split(line)) for line in lines)


def _sets_nothing(words):
    """Whether no word is an option that scripts set; a single - begins an option of one letter."""
    options = [word.partition("=")[0] for word in words if word.startswith("-")]
    return all(
        re.match(r"--[a-z]", option) and not any(name.startswith(option[2:]) for name in SET_BY_SCRIPTS)
        for option in options
    )


SBATCH = that(
    _are_options, f"a list of options of sbatch, such as [--mail-type=END], but none of {', '.join(SET_BY_SCRIPTS)}"
)
MAX_JOBS = 10_000  # of a stage
POSITIVE = optional(number(above=0), "no limit")
COUNT = optional(whole(1), "no limit")


COMMAND = that(_is_command, "a command on a single line")


class Request(Section):
    """What each job of a stage asks for: an entry under `stages`, in a campaign's file or a site's."""

    partition: optional(LINE, "the default") = None
    nodes: whole(1) = Field(1, description="Each of them has the cores, GPUs and memory that are asked for.")
    cores: optional(whole(1), "the GPUs' share") = None
    gpus: optional(GPUS, "no GPU") = Field(None, description="Type and number.")
    memory_gb: optional(number(above=0), "the site's default") = None
    hours: optional(number(above=0, unit="hours, such as 1.5 for 1:30,"), "twice the estimate") = Field(
        None, description="Wall time."
    )
    jobs: whole(1, MAX_JOBS) = Field(1, description="Jobs that share the stage.")
    songs_per_job: optional(whole(1), "a quarter of an hour of work") = Field(
        None, description="Of the stage songs: how many songs a job separates, with one start of the models."
    )
    at_once: optional(whole(1), "all") = Field(None, description="How many of its jobs run at the same time.")
    requeues: whole() = Field(3, description="How often a job whose time is up may requeue itself.")
    sbatch: SBATCH = Field([], description="Further options of sbatch, after the site's.")

    @property
    def gpu_type(self):
        """The type of GPU; None without."""
        return self.gpus.rpartition(":")[0] if self.gpus else None

    @property
    def n_gpus(self):
        """The number of GPUs of a node."""
        return int(self.gpus.rpartition(":")[2]) if self.gpus else 0


class Partition(Section):
    """An entry under `partitions` of a site: limits of a job, in hours, cores, GPUs and MB."""

    cores: COUNT = Field(None, description="Of a job at most; of each node, where nodes are whole.")
    gpus: COUNT = None
    nodes: COUNT = None
    hours: POSITIVE = None
    memory_mb: POSITIVE = Field(None, description="Of a node.")
    memory_mb_per_core: POSITIVE = None
    whole_nodes: flag() = False
    units_per_core_hour: number(0) = 0


class GpuType(Section):
    """An entry under `gpu_types` of a site: what a node with these GPUs has, and what an hour of one costs."""

    cores: whole(1)
    per_node: whole(1)
    memory_mb: POSITIVE = None
    units_per_hour: number(0) = 0


class Transfer(Section):
    """The section `transfer` of a site."""

    host: optional(LINE, "none") = Field(None, description="The machine that takes files.")
    globus: optional(LINE, "none") = Field(None, description="The name of the site's Globus collection.")


class Site(Section):
    """A site as its file describes it; `partitions`, `gpu_types` and `stages` hold objects of the classes above."""

    name: LINE = Field(description="By default the file's name.")
    scheduler: one_of("slurm", "none")
    root: optional(LINE, "$MUSCOMP_ROOT") = None
    temporary: optional(LINE, "the system's") = None
    cache: optional(LINE, "no copies") = None
    transfer: Transfer = Transfer()
    inodes_per_gb: COUNT = None
    modules: list[LINE] = []  # noqa: RUF012
    gpu_modules: list[LINE] = []  # noqa: RUF012
    sbatch: SBATCH = []  # noqa: RUF012
    python: optional(LINE, "the one that submits") = Field(None, description="The interpreter of the jobs.")
    launcher: optional(COMMAND, "none") = Field(None, description="A command to put before python.")
    array_size: COUNT = None
    unit: LINE = "credits"
    partitions: dict = {}  # noqa: RUF012
    gpu_types: dict = {}  # noqa: RUF012
    stages: dict = {}  # noqa: RUF012

    @property
    def has_scheduler(self):
        """Whether jobs are submitted to Slurm; else they run here."""
        return self.scheduler == "slurm"

    def request(self, stage, given, where=""):
        """What a stage asks for: the site's own choice, overridden by what is given.

        Parameters
        ----------
        stage : str
        given : dict
        where : str
            Where it is given, for messages.

        Raises
        ------
        SettingError
            An unknown key, or a wrong value.
        """
        return check(Request, {**self.stages.get(stage, {}), **given}, where)

    def partition(self, request):
        """The request's partition; one without limits where the site has none."""
        return self.partitions.get(request.partition, Partition())

    def cores(self, request):
        """A job's cores on each node: as asked for, all where nodes are whole, or its GPUs' share; None: unknown."""
        partition, gpu = self.partition(request), self.gpu_types.get(request.gpu_type)
        if partition.whole_nodes:
            return gpu.cores if gpu else partition.cores
        if request.cores is None and gpu:
            return max(1, gpu.cores * request.n_gpus // gpu.per_node)
        return request.cores

    def units_per_hour(self, request):
        """What the site charges for one job in one hour; 0 where nothing is charged."""
        if request.gpus:
            gpu = self.gpu_types.get(request.gpu_type)
            return request.nodes * request.n_gpus * gpu.units_per_hour if gpu else 0
        return request.nodes * (self.cores(request) or 0) * self.partition(request).units_per_core_hour

    def longest(self, request):
        """The wall-time limit in hours; None without."""
        return self.partition(request).hours

    def check(self, stage, request):
        """Refuse what the site would refuse.

        Raises
        ------
        SettingError
            Names the limit that is exceeded.
        """
        where = f"stages, {stage}: "
        if not self.has_scheduler:
            if request.nodes > 1:
                raise SettingError(
                    f"{where}{request.nodes} nodes requested, and {self.name} is one machine. Request one node."
                )
            return
        self._check_names(where, request)
        partition = self.partition(request)
        for requested, limit, what in self._limits(request):
            if requested is not None and limit is not None and requested > limit:
                raise SettingError(
                    f"{where}{requested:g} {what} requested, and {self.name} allows {limit:g} "
                    f"(partition {request.partition}). Request less."
                )
        if partition.whole_nodes and request.n_gpus % (partition.gpus or 1):
            raise SettingError(
                f"{where}{request.n_gpus} GPUs requested, and {request.partition} of {self.name} allocates whole nodes "
                f"of {partition.gpus}. Request {partition.gpus}, or choose a shared partition."
            )

    def _check_names(self, where, request):
        """Refuse a partition or a GPU type that the site does not have, or that do not go together."""
        for name, known, what in (
            (request.partition, self.partitions, "partition"),
            (request.gpu_type, {None: None} | self.gpu_types, "GPU type"),
        ):
            if name not in known:
                meant = suggestion(name, filter(None, known))
                raise SettingError(f"{where}{self.name} has no {what} {name!r}. {meant}")
        if bool(self.partition(request).gpus) != bool(request.gpus):
            problem = "has no GPUs" if request.gpus else f"needs gpus: type:number ({', '.join(self.gpu_types)})"
            raise SettingError(f"{where}the partition {request.partition} of {self.name} {problem}.")

    def _limits(self, request):
        """(requested, limit, unit) for everything that has a limit."""
        partition, gpu = self.partition(request), self.gpu_types.get(request.gpu_type)
        of_cores = partition.memory_mb_per_core and partition.memory_mb_per_core * (request.cores or 1)
        yield request.hours, partition.hours, "hours"
        yield request.nodes, partition.nodes or (None if partition.whole_nodes else 1), "nodes"
        yield request.n_gpus, partition.gpus, "GPUs"
        yield request.cores, gpu.cores if gpu else partition.cores, "cores"
        memory = (gpu.memory_mb if gpu else None) or partition.memory_mb or of_cores
        yield request.memory_gb and 1000 * request.memory_gb, memory, "MB of memory"
        yield request.jobs, self.array_size, "jobs in one array"


def read_site(name):
    """The site of this name, or in this file.

    Parameters
    ----------
    name : str
        Of a file in `sites/`, without its suffix; or a path.

    Raises
    ------
    SettingError, MissingError
        There is no such site; its file is wrong.
    """
    file = Path(name) if str(name).endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not file.is_file():
        known = suggestion(name, sorted(path.stem for path in FOLDER.glob("*.yaml")))
        raise MissingError(f"There is no site {str(name)!r}. {known} Or give a file of your own.")
    data = mapping(yaml_file.read(file, "The site"), file)
    for section, model in (("partitions", Partition), ("gpu_types", GpuType), ("stages", Request)):
        entries = mapping(data.get(section), f"{file}, {section}")
        for key, entry in entries.items():
            where = f"{file}, {section}, {key}"
            checked = check(model, mapping(entry, where), where)
            entries[key] = mapping(entry, where) if model is Request else checked
        data[section] = entries
    site = check(Site, {"name": file.stem, **without_blanks(Site, data)}, file)
    if site.has_scheduler and not site.partitions:
        raise SettingError(f"{file} lists no partitions. Add them, as in {FOLDER / 'bridges2.yaml'}.")
    return site


def without_blanks(model, content):
    """A file's content without those keys of `model` that are left blank, so that their defaults apply."""
    return {key: value for key, value in content.items() if value is not None or key not in model.model_fields}
