"""Transfers: the commands that copy the data set to a site and the results home. Used by `submit.py`.

Nothing is copied here. The output is a bash script for the user's own tools and remotes, to be read, copied line by
line, or run. Every command may be repeated and resumes. Comments give the amount of data, the minimal duration, and
the command that compares both sides. The commands themselves are in `copy_commands.py`.
"""

import os
import re
import shlex
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from muscomp_lib.core.errors import MissingError, SettingError
from muscomp_lib.core.progress import duration, size
from muscomp_lib.core.root import GB, SLAKH_GB, SLAKH_TRACKS

from . import copy_commands
from .campaign import path_of

PARTS = ("in", "home")
DATA_SET = "The data set"
MBIT_PER_SECOND = 100.0  # a guess, printed as such, where the campaign gives no rate
REMOTE_FILES_PER_SECOND = 2.0  # about Google Drive's limit, according to rclone's manual (rclone.org/drive)
COLLECTION = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}:")  # a Globus collection
SLAKH_STEMS = SLAKH_TRACKS * 15836 // 1500  # 15,836 are rendered in the 1,500 tracks of the first training split


@dataclass(frozen=True)
class Amount:
    """An amount of data, and where the figures come from."""

    files: int
    folders: int
    n_bytes: float
    origin: str


@dataclass(frozen=True)
class Move:
    """A folder, or an archive, to be copied.

    Attributes
    ----------
    part : str
        One of `PARTS`.
    title : str
    source, target : str
        As the way's program writes them.
    local : Path or None
        Where it is on this machine, to be counted.
    """

    part: str
    title: str
    source: str
    target: str
    local: Path | None = None


WHOLE_SLAKH = Amount(
    3 * SLAKH_TRACKS + 2 * SLAKH_STEMS,  # metadata, mix and MIDI of a track; audio and MIDI of a stem
    3 * SLAKH_TRACKS,
    SLAKH_GB * GB,
    "about the whole of Slakh2100",
)


def check_complete(campaign):
    """Refuse to start with a data set that has fewer tracks than the campaign requires, or, on a cluster, with none.

    Raises
    ------
    SettingError
    """
    required, found = campaign.files.tracks, campaign.tracks_on_disk()
    asked = {"minislakh_tracks", "stems"} & {name for each in campaign.parameters.values() for name in each}
    if campaign.site.has_scheduler and not found and not asked:
        raise SettingError(
            f"{campaign.root.slakh} is empty, and notebook 01 would generate "
            f"{campaign.value('01', 'minislakh_tracks')} small songs instead. Transfer the data set: python "
            f"batch/submit.py {shlex.quote(str(campaign.file))} files prints how. Or ask for the small one: "
            "minislakh_tracks under parameters."
        )
    if required and found < required:
        raise SettingError(
            f"{campaign.root.slakh} holds {found} tracks, and {campaign.file} says files: tracks: {required}. "
            f"Transfer the rest: python batch/submit.py {shlex.quote(str(campaign.file))} files prints how. Or change "
            "tracks."
        )


# ---- the script ----


def script(campaign, way=None, part=None):
    """The commands as lines of a bash script.

    Parameters
    ----------
    campaign : campaign.Campaign
    way : str, optional
        One of `copy_commands.WAYS`; it overrides the campaign's.
    part : str, optional
        One of `PARTS`; None: both.

    Raises
    ------
    SettingError, MissingError
        The campaign does not say where files come from or go to; a folder of this machine is missing.
    """
    files = campaign.files.model_copy(update={"way": way} if way else {})
    moves = [move for move in (*_moves_in(campaign, files), *_moves_home(campaign, files)) if part in (None, move.part)]
    if not moves:
        raise SettingError(
            f"{campaign.file}: a section files says where the data set comes from and the results go to, such as "
            'files: {way: rclone, from: "gdrive:slakh2100", results: "gdrive:Mus-Comp/results"}.'
        )
    lines = ["#!/bin/bash", *_where_to_run(campaign, files), "set -eo pipefail"]
    if files.way == "globus":
        lines += copy_commands.collection(campaign.site)
    elif files.way == "rclone" and _host(campaign, files):
        lines += copy_commands.remote(_host(campaign, files), files.user)
    for move in moves:
        lines += ["", f"# ---- {move.title} ----", *_amount_comments(campaign, files, move)]
        lines += copy_commands.COMMANDS[files.way](move.source, move.target, files.md5)
    return lines


def _where_to_run(campaign, files):
    """Comments: on which machine to run the commands."""
    host, root = _host(campaign, files), files.to or campaign.root.path
    yield f"# Files of the campaign {campaign.name}, by {files.way}. Any command may be repeated: it resumes."
    if files.way == "globus":
        yield "# Run them on any machine, after: pip install globus-cli, and: globus login. Globus does the rest."
    elif host:
        yield f"# Run them on your own machine: {campaign.site.name} takes files through {host} only."
    else:
        yield f"# Run them where {root} can be written to; on a cluster in a job: login nodes are not for this."


def _moves_in(campaign, files):
    """What is copied to the site."""
    root, source = campaign.root, files.source
    if files.way == "download":
        source = source if source and "://" in source else copy_commands.ZENODO
    for title, place, folder in ((DATA_SET, source, root.slakh), ("Songs", files.songs, root.songs)):
        if place and not (files.way == "download" and folder == root.songs):
            place, local = _other_side(campaign, files, place)
            yield Move("in", title, place, _site_side(campaign, files, folder), local)


def _moves_home(campaign, files):
    """What is copied home."""
    if not files.results or files.way == "download":
        return
    target, _ = _other_side(campaign, files, files.results, must_exist=False)
    for folder in (campaign.folder, *_models(campaign), campaign.root.separated):
        inside = campaign.root.relative(folder)
        yield Move("home", f"Home: {inside}", _site_side(campaign, files, folder), f"{target}/{inside}", folder)


def _models(campaign):
    """The folders of the networks that notebook 04 trains."""
    for name in (campaign.value("04", "config"), campaign.value("04", "notes_model")):
        if name:
            yield campaign.root.models / PurePosixPath(str(name)).name.removesuffix(".json")


def _host(campaign, files):
    """The machine that takes the site's files; None where the root is accessible otherwise."""
    places = (files.source, files.songs, files.results)
    direct = files.to or files.way in ("download", "globus")
    if direct or (files.way == "rsync" and any(copy_commands.is_remote(str(place)) for place in places if place)):
        return None  # rsync does not copy from one remote to another, so it runs on the site
    return campaign.site.transfer.host


def _site_side(campaign, files, folder):
    """A folder under the root, as the commands name it."""
    inside, host = campaign.root.relative(folder), _host(campaign, files)
    if files.to:
        to = str(files.to) if copy_commands.is_remote(str(files.to)) else str(path_of(files.to, campaign.file))
        return f"{to.rstrip('/')}/{inside}"
    if files.way == "globus":
        return f"$site:{folder}"
    if not host:
        return str(folder)
    if files.way == "rsync":
        return f"{f'{files.user}@' if files.user else ''}{host}:{folder}"
    return f"{copy_commands.SITE}:{folder}"


def _other_side(campaign, files, place, must_exist=True):
    """A place on the other side as the commands name it, and its path on this machine, if it has one.

    A remote is left as it is, and so is a folder of another machine; one of this machine must exist.
    """
    place = str(place).rstrip("/")
    if files.way == "globus" and not COLLECTION.match(place):
        raise SettingError(f"{campaign.file}, files: Globus writes places as ID-of-a-collection:/path, not {place!r}.")
    if copy_commands.is_remote(place):
        return place, None
    if _host(campaign, files):
        path = Path(place).expanduser()
        return place, path if path.exists() else None
    path = path_of(place, campaign.file)
    if must_exist and not path.exists():
        raise MissingError(f"{campaign.file}, files: {str(path)!r} is not there. Remotes are written as name:path.")
    return str(path), path


# ---- amounts and durations ----


def amount(folder):
    """The `Amount` of data in a file or a folder of this machine."""
    if folder.is_file():
        return Amount(1, 0, folder.stat().st_size, "as counted now")
    files, folders, n_bytes = 0, 1, 0
    for place, below, names in os.walk(folder):
        files, folders = files + len(names), folders + len(below)
        n_bytes += sum((Path(place) / name).lstat().st_size for name in names)
    return Amount(files, folders, n_bytes, "as counted now")


def _amount_comments(campaign, files, move):
    """Comments: the amount of data, the duration, and the share of the quota."""
    known = amount(move.local) if move.local and move.local.exists() else None
    if known is None and move.title == DATA_SET:
        known = WHOLE_SLAKH
    if known is None:
        yield "# The amount cannot be determined from here." if move.part == "in" else "# This does not exist yet."
        return
    if copy_commands.is_archive(move.source):
        known = replace(known, files=1)
        yield f"# An archive of {size(known.n_bytes)} ({known.origin}), and the same again unpacked."
        yield f"# {_duration_text(files, known, move.source)}"
        return
    yield f"# {known.files:,} files in {known.folders:,} folders, {size(known.n_bytes)} ({known.origin})."
    yield f"# {_duration_text(files, known, move.source)}"
    if move.part == "in" and campaign.site.inodes_per_gb:
        yield f"# {_quota(campaign, known)}"


def _duration_text(files, known, source):
    """The minimal duration: bytes at the rate, and for rclone's remotes files at theirs."""
    rate = files.mbit_per_second or MBIT_PER_SECOND
    guess = "" if files.mbit_per_second else ", a guess: set mbit_per_second"
    seconds = 8 * known.n_bytes / (1e6 * rate)
    text = f"At least {duration(seconds)} at {rate:g} Mbit/s{guess}."
    pace = files.files_per_second or REMOTE_FILES_PER_SECOND
    if files.way == "rclone" and copy_commands.is_remote(source) and known.files / pace > seconds:
        text += f" From Google Drive more likely {duration(known.files / pace)}: about {pace:g} files a second."
    return text


def _quota(campaign, known):
    """The quota needed, where it counts files as well."""
    per_gb, inodes = campaign.site.inodes_per_gb, known.files + known.folders
    if inodes / per_gb <= known.n_bytes / GB:
        return f"{inodes:,} inodes: within the {per_gb:,} per GB of quota on {campaign.site.name}."
    return (
        f"Many small files: {inodes:,} inodes need {inodes / per_gb:,.3g} GB of quota on "
        f"{campaign.site.name} ({per_gb:,} per GB)."
    )
