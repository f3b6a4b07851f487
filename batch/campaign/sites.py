"""Sites as data: what a cluster offers, what it would refuse, and what it charges. Used by `submit.py`.

A site is a YAML file in `sites/`, or anywhere; a new one is made by copying one.
"""

import difflib
from dataclasses import dataclass, fields
from pathlib import Path

from muscomp_lib.core.errors import MissingError, SettingError

from ..notebook_parameters import mapping, read_yaml

FOLDER = Path(__file__).parent / "sites"
SCHEDULERS = ("slurm", "none")
KEYS = {
    "scheduler", "root", "temporary", "cache", "transfer", "inodes_per_gb", "modules", "gpu_modules", "launcher",
    "array_size", "unit", "partitions", "gpu_types", "stages",
}  # fmt: skip
TRANSFER = {"host", "globus"}


@dataclass(frozen=True)
class Request:
    """What each job of a stage asks for.

    Attributes
    ----------
    partition : str, optional
    nodes : int
        With more than one, each has the cores, GPUs and memory that are asked for.
    cores : int, optional
        With GPUs, by default their share of the node's.
    gpus : str, optional
        "type:number".
    memory_gb : float, optional
        None: what the site gives unasked.
    hours : float, optional
        Wall time. None: twice what is estimated.
    jobs : int
        How many jobs share the stage.
    requeues : int
        How often a job whose time is up may put itself into the queue again.
    """

    partition: str | None = None
    nodes: int = 1
    cores: int | None = None
    gpus: str | None = None
    memory_gb: float | None = None
    hours: float | None = None
    jobs: int = 1
    requeues: int = 3

    @property
    def gpu_type(self):
        """The type of GPU; None without."""
        return self.gpus.rpartition(":")[0] if self.gpus else None

    @property
    def n_gpus(self):
        """The number of GPUs of a node."""
        return int(self.gpus.rpartition(":")[2]) if self.gpus else 0


@dataclass(frozen=True)
class Site:
    """A site as its file describes it.

    Attributes
    ----------
    name : str
    data : dict
        The file's content.
    """

    name: str
    data: dict

    @property
    def has_scheduler(self):
        """Whether jobs are submitted to Slurm; else they run here."""
        return self.data["scheduler"] == "slurm"

    def request(self, stage, given):
        """What a stage asks for: the site's own choice, overruled by what is given.

        Raises
        ------
        SettingError
            An unknown key, or a value that is no such thing.
        """
        known = [field.name for field in fields(Request)]
        for key in given:
            if key not in known:
                raise SettingError(f"stages, {stage}: there is no {key!r}. {meant(key, known)}")
        wanted = {**self.data.get("stages", {}).get(stage, {}), **given}
        for key in ("nodes", "cores", "jobs", "requeues"):
            lowest = 0 if key == "requeues" else 1
            if wanted.get(key) is not None and not (type(wanted[key]) is int and wanted[key] >= lowest):
                raise SettingError(f"stages, {stage}: {key} is {wanted[key]!r}; give a whole number from {lowest}.")
        for key in ("hours", "memory_gb"):
            if wanted.get(key) is not None and not (type(wanted[key]) in (int, float) and wanted[key] > 0):
                raise SettingError(f"stages, {stage}: {key} is {wanted[key]!r}; give a number above 0.")
        if wanted.get("gpus") is not None:
            kind, _, number = str(wanted["gpus"]).rpartition(":")
            if not (kind and number.isdigit() and int(number) >= 1):
                raise SettingError(f"stages, {stage}: gpus is {wanted['gpus']!r}; give type:number, such as h100-80:1.")
        return Request(**wanted)

    def partition(self, request):
        """The data of the request's partition; empty where there are none."""
        return self.data.get("partitions", {}).get(request.partition, {})

    def cores(self, request):
        """A job's cores on each node: as asked for, all where nodes are whole, or its GPUs' share; None: unknown."""
        partition, gpu = self.partition(request), self._gpu(request)
        if partition.get("whole_nodes"):
            return gpu["cores"] if gpu else partition["cores"]
        if request.cores is None and gpu:
            return max(1, gpu["cores"] * request.n_gpus // gpu["per_node"])
        return request.cores

    def units_per_hour(self, request):
        """What the site charges for one job in one hour; 0 where nothing is charged."""
        if request.gpus:
            return request.nodes * request.n_gpus * self._gpu(request).get("units_per_hour", 0)
        return request.nodes * (self.cores(request) or 0) * self.partition(request).get("units_per_core_hour", 0)

    def longest(self, request):
        """The wall-time limit in hours; None without."""
        return self.partition(request).get("hours")

    def _gpu(self, request):
        return self.data.get("gpu_types", {}).get(request.gpu_type, {})

    def check(self, stage, request):
        """Refuse what the site would refuse.

        Raises
        ------
        SettingError
            Names the limit that is passed.
        """
        if not self.has_scheduler:
            if request.nodes > 1:
                raise SettingError(f"stages, {stage}: {request.nodes} nodes asked for, and {self.name} is one machine.")
            return
        partitions, types = self.data["partitions"], self.data.get("gpu_types", {})
        if request.partition not in partitions:
            raise SettingError(
                f"stages, {stage}: {self.name} has no partition {request.partition!r}. "
                f"{meant(request.partition, partitions)}"
            )
        partition, gpu = self.partition(request), self._gpu(request)
        if request.gpus and not gpu:
            raise SettingError(
                f"stages, {stage}: {self.name} has no GPU type {request.gpu_type!r}. {meant(request.gpu_type, types)}"
            )
        if bool(partition.get("gpus")) != bool(request.gpus):
            wants = "has no GPUs" if request.gpus else f"wants gpus: type:number ({', '.join(types)})"
            raise SettingError(f"stages, {stage}: the partition {request.partition} of {self.name} {wants}.")
        for asked, limit, what in self._limits(request, partition, gpu):
            if asked is not None and limit is not None and asked > limit:
                raise SettingError(
                    f"stages, {stage}: {asked:g} {what} asked for, and {self.name} allows {limit:g} "
                    f"(partition {request.partition})."
                )
        if partition.get("whole_nodes") and request.n_gpus % partition.get("gpus", 1):
            raise SettingError(
                f"stages, {stage}: {request.n_gpus} GPUs asked for, and {request.partition} of {self.name} gives whole "
                f"nodes of {partition['gpus']}. Ask for {partition['gpus']}, or take a shared partition."
            )

    def _limits(self, request, partition, gpu):
        """(asked, limit, unit) for all that has a limit."""
        megabytes = request.memory_gb and 1000 * request.memory_gb
        per_core = partition.get("memory_mb_per_core")
        of_cores = per_core and per_core * (request.cores or 1)
        yield request.hours, partition.get("hours"), "hours"
        yield request.nodes, partition.get("nodes", None if partition.get("whole_nodes") else 1), "nodes"
        yield request.n_gpus, partition.get("gpus"), "GPUs"
        yield request.cores, gpu.get("cores", partition.get("cores")), "cores"
        yield megabytes, gpu.get("memory_mb", partition.get("memory_mb", of_cores)), "MB of memory"
        yield request.jobs, self.data.get("array_size"), "jobs in one array"


def read(name, folder=FOLDER):
    """The site of this name, or in this file.

    Parameters
    ----------
    name : str
        Of a file in `sites/`, without its suffix; or a path.
    folder : Path
        Where names are looked for.

    Raises
    ------
    SettingError, MissingError
        There is no such site; its file is wrong.
    """
    file = Path(name) if str(name).endswith((".yaml", ".yml")) else Path(folder) / f"{name}.yaml"
    if not file.is_file():
        known = sorted(path.stem for path in FOLDER.glob("*.yaml"))
        raise MissingError(
            f"There is no site {str(name)!r}. There are: {', '.join(known)}, or give a file of your own."
        )
    data = mapping(read_yaml(file, "The site"), file)
    if data.get("scheduler") not in SCHEDULERS:
        raise SettingError(f"{file} needs a line scheduler: with one of {', '.join(SCHEDULERS)}.")
    for key in data:
        if key not in KEYS:
            raise SettingError(f"{file}: there is no {key!r}. {meant(key, KEYS)}")
    for key in mapping(data.get("transfer"), f"{file}, transfer"):
        if key not in TRANSFER:
            raise SettingError(f"{file}, transfer: there is no {key!r}. {meant(key, TRANSFER)}")
    if data["scheduler"] == "slurm" and not data.get("partitions"):
        raise SettingError(f"{file} names no partitions.")
    return Site(file.stem, data)


def meant(word, known):
    """What may have been meant, and what there is: sentences for a message."""
    close = difflib.get_close_matches(str(word), list(map(str, known)))
    return f"{f'Did you mean {close[0]!r}? ' if close else ''}There is: {', '.join(sorted(map(str, known)))}."
