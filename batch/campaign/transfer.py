"""Files in and out: what brings the data set to a site and the results home. Used by `submit.py`.

Nothing is moved here. What is printed is a bash script for the user's own tools and remotes, to be read, copied line by
line, or run. Every command may be given again and goes on where it was. Beside each stands how much it moves, how long
that takes at least, and the command that compares both sides. The commands themselves: copying.py.
"""

import contextlib
import os
import re
import shlex
from dataclasses import dataclass, fields, replace
from pathlib import Path, PurePosixPath

from muscomp_lib import slakh
from muscomp_lib.core.errors import MissingError, SettingError
from muscomp_lib.core.root import GB, SLAKH_GB

from . import copy_commands as copying
from . import cost_estimate as costs
from . import sites
from .campaign import path_of

PARTS = ("in", "home")
DATA_SET = "The data set"
MBIT_PER_SECOND = 100.0  # when the campaign gives no rate of its own: a guess, and printed as one
REMOTE_FILES_PER_SECOND = 2.0  # what Google Drive's limits let pass, "about", says rclone's manual (rclone.org/drive)
COLLECTION = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}:")  # as Globus names one
SLAKH_TRACKS = 2100
SLAKH_STEMS = SLAKH_TRACKS * 15836 // 1500  # 15,836 are rendered in the 1,500 tracks of the first training split


@dataclass(frozen=True)
class Plan:
    """The section `files` of a campaign.

    Attributes
    ----------
    way : str
        One of `copying.WAYS`.
    source, songs, results : str or None
        Where the data set, songs to separate, and results lie or go to, as the way's program writes it.
    to : str or None
        The root as it is reached from where the commands are given. None: through the site's host, or directly.
    user : str or None
        At the site's host.
    md5 : str or None
        Of an archive that is downloaded.
    tracks : int or None
        How many the data set must have.
    mbit_per_second, files_per_second : float or None
    """

    way: str = "rclone"
    source: str | None = None
    songs: str | None = None
    results: str | None = None
    to: str | None = None
    user: str | None = None
    md5: str | None = None
    tracks: int | None = None
    mbit_per_second: float | None = None
    files_per_second: float | None = None


@dataclass(frozen=True)
class Amount:
    """How much is moved: files, folders, bytes, and where the figures come from."""

    files: int
    folders: int
    size: float
    origin: str


@dataclass(frozen=True)
class Move:
    """One thing to be moved: a folder, or an archive.

    Attributes
    ----------
    part : str
        One of `PARTS`.
    title : str
    source, target : str
        As the way's program writes them.
    seen : Path or None
        What of it lies on this machine, to be counted.
    """

    part: str
    title: str
    source: str
    target: str
    seen: Path | None = None


WHOLE_SLAKH = Amount(
    3 * SLAKH_TRACKS + 2 * SLAKH_STEMS,  # metadata, mix and MIDI of a track; sound and MIDI of a stem
    3 * SLAKH_TRACKS,
    SLAKH_GB * GB,
    "about what the whole of Slakh2100 has",
)


def plan(campaign, way=None):
    """The section `files` of a campaign, checked; `way` wins over what it says.

    Raises
    ------
    SettingError
    """
    where = f"{campaign.file}, files"
    known = {"from" if field.name == "source" else field.name for field in fields(Plan)}
    for key in campaign.files:
        if key not in known:
            raise SettingError(f"{where}: there is no {key!r}. {sites.meant(key, known)}")
    given = {"source" if key == "from" else key: value for key, value in campaign.files.items()}
    made = Plan(**{**given, **({"way": way} if way else {})})
    if made.way not in copying.WAYS:
        raise SettingError(f"{where}: way is {made.way!r}. {sites.meant(made.way, copying.WAYS)}")
    for name in ("tracks", "mbit_per_second", "files_per_second"):
        value = getattr(made, name)
        if value is not None and not (type(value) in (int, float) and value > 0):
            raise SettingError(f"{where}: {name} is {value!r}; give a number above 0.")
    return made


def check_whole(campaign):
    """Refuse to begin with a data set that has fewer tracks than the campaign says it must have.

    Raises
    ------
    SettingError
    """
    wanted, found = plan(campaign).tracks, 0
    with contextlib.suppress(FileNotFoundError):  # of which MissingError is one
        found = len(slakh.find_tracks(campaign.root.slakh))
    if wanted and found < wanted:
        raise SettingError(
            f"{campaign.root.slakh} holds {found} tracks, and {campaign.file} says files: tracks: {wanted}. "
            f"Bring in the rest: {_command(campaign)} prints how. Or change tracks."
        )


def _command(campaign):
    return f"python batch/submit.py {shlex.quote(str(campaign.file))} files"


# ---- the script ----


def script(campaign, way=None, part=None):
    """The commands as lines of a bash script; `part` chooses one of `PARTS`.

    Raises
    ------
    SettingError, MissingError
        Nothing is said of where files come from or go to; a folder of this machine is not there.
    """
    made = plan(campaign, way)
    moves = [move for move in (*_bringing(campaign, made), *_fetching(campaign, made)) if part in (None, move.part)]
    if not moves:
        raise SettingError(
            f"{campaign.file}: a section files says where the data set comes from and the results go to, such as "
            'files: {way: rclone, from: "gdrive:slakh2100", results: "gdrive:Mus-Comp/results"}.'
        )
    lines = ["#!/bin/bash", *_where(campaign, made), "set -eo pipefail"]
    if made.way == "globus":
        lines += copying.collection(campaign.site)
    elif made.way == "rclone" and _host(campaign, made):
        lines += copying.remote(_host(campaign, made), made.user)
    for move in moves:
        lines += ["", f"# ---- {move.title} ----", *_told(campaign, made, move)]
        lines += copying.COMMANDS[made.way](move.source, move.target, made.md5)
    return lines


def _where(campaign, made):
    """Comments: on which machine the commands are given."""
    host, root = _host(campaign, made), made.to or campaign.root.path
    yield f"# Files of the campaign {campaign.name}, by {made.way}. Any command may be given again: it goes on."
    if made.way == "globus":
        yield "# Give them on any machine, after: pip install globus-cli, and: globus login. Globus does the rest."
    elif host:
        yield f"# Give them on your own machine: {campaign.site.name} takes files through {host} only."
    else:
        yield f"# Give them where {root} can be written to; on a cluster in a job: login nodes are not for this."


def _bringing(campaign, made):
    """What is brought in."""
    root, source = campaign.root, made.source
    if made.way == "download":
        source = source if source and "://" in source else copying.ZENODO
    for title, place, folder in ((DATA_SET, source, root.slakh), ("Songs", made.songs, root.songs)):
        if place and not (made.way == "download" and folder == root.songs):
            place, seen = _other_side(campaign, made, place)
            yield Move("in", title, place, _reached(campaign, made, folder), seen)


def _fetching(campaign, made):
    """What is brought home."""
    if not made.results or made.way == "download":
        return
    target, _ = _other_side(campaign, made, made.results, is_there=False)
    for folder in (campaign.folder, *_models(campaign), campaign.root.separated):
        inside = campaign.root.relative(folder)
        yield Move("home", f"Home: {inside}", _reached(campaign, made, folder), f"{target}/{inside}", folder)


def _models(campaign):
    """The folders of the networks that notebook 04 trains."""
    for name in (campaign.value("04", "config"), campaign.value("04", "notes_model")):
        if name:
            yield campaign.root.models / PurePosixPath(str(name)).name.removesuffix(".json")


def _host(campaign, made):
    """The machine that takes the site's files; None where the root is reached otherwise."""
    places = (made.source, made.songs, made.results)
    direct = made.to or made.way in ("download", "globus")
    if direct or (made.way == "rsync" and any(copying.is_remote(str(place)) for place in places if place)):
        return None  # rsync does not copy from one remote to another: it is given on the site
    return campaign.site.data.get("transfer", {}).get("host")


def _reached(campaign, made, folder):
    """A folder under the root, as the commands reach it."""
    inside, host = campaign.root.relative(folder), _host(campaign, made)
    if made.to:
        to = str(made.to) if copying.is_remote(str(made.to)) else str(path_of(made.to, campaign.file))
        return f"{to.rstrip('/')}/{inside}"
    if made.way == "globus":
        return f"$site:{folder}"
    if not host:
        return str(folder)
    if made.way == "rsync":
        return f"{f'{made.user}@' if made.user else ''}{host}:{folder}"
    return f"{copying.SITE}:{folder}"


def _other_side(campaign, made, place, is_there=True):
    """A place on the other side as commands take it, and the path on this machine where it can be looked at.

    A remote stays as it is, and so does a folder of another machine; one of this machine must be there.
    """
    place = str(place).rstrip("/")
    if made.way == "globus" and not COLLECTION.match(place):
        raise SettingError(f"{campaign.file}, files: Globus writes places as ID-of-a-collection:/path, not {place!r}.")
    if copying.is_remote(place):
        return place, None
    if _host(campaign, made):
        path = Path(place).expanduser()
        return place, path if path.exists() else None
    path = path_of(place, campaign.file)
    if is_there and not path.exists():
        raise MissingError(f"{campaign.file}, files: {str(path)!r} is not there. Remotes are written as name:path.")
    return str(path), path


# ---- how much, how long ----


def amount(folder):
    """How much a folder of this machine, or a file, holds: an `Amount`."""
    if folder.is_file():
        return Amount(1, 0, folder.stat().st_size, "as counted now")
    files, folders, size = 0, 1, 0
    for place, below, names in os.walk(folder):
        files, folders = files + len(names), folders + len(below)
        size += sum((Path(place) / name).lstat().st_size for name in names)
    return Amount(files, folders, size, "as counted now")


def _told(campaign, made, move):
    """Comments: how much is moved, how long that takes, and what of the quota."""
    known = amount(move.seen) if move.seen and move.seen.exists() else None
    if known is None and move.title == DATA_SET:
        known = WHOLE_SLAKH
    if known is None:
        yield "# How much this is cannot be seen from here." if move.part == "in" else "# This is not there yet."
        return
    if copying.is_archive(move.source):
        known = replace(known, files=1)
        yield f"# An archive of {known.size / GB:,.3g} GB ({known.origin}), and once more as much unpacked."
        yield f"# {_long(made, known, move.source)}"
        return
    yield f"# {known.files:,} files in {known.folders:,} folders, {known.size / GB:,.3g} GB ({known.origin})."
    yield f"# {_long(made, known, move.source)}"
    if move.part == "in" and campaign.site.data.get("inodes_per_gb"):
        yield f"# {_quota(campaign, known)}"


def _long(made, known, source):
    """How long it takes at least: bytes by the rate, and for rclone's remotes files by theirs."""
    rate = made.mbit_per_second or MBIT_PER_SECOND
    guess = "" if made.mbit_per_second else ", a guess: set mbit_per_second"
    text = f"At least {costs.duration(8 * known.size / (1e6 * rate))} at {rate:g} Mbit/s{guess}."
    pace = made.files_per_second or REMOTE_FILES_PER_SECOND
    if made.way == "rclone" and copying.is_remote(source) and known.files / pace > 8 * known.size / (1e6 * rate):
        text += f" From Google Drive rather {costs.duration(known.files / pace)}: about {pace:g} files a second."
    return text


def _quota(campaign, known):
    """What the quota must have room for, where it counts files as well."""
    per_gb, inodes = campaign.site.data["inodes_per_gb"], known.files + known.folders
    if inodes / per_gb <= known.size / GB:
        return f"{inodes:,} inodes: within the {per_gb:,} per GB of quota on {campaign.site.name}."
    return (
        f"Too many files for their size: {inodes:,} inodes need {inodes / per_gb:,.3g} GB of quota on "
        f"{campaign.site.name} ({per_gb:,} per GB)."
    )
