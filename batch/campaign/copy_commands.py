"""The commands that copy a folder and compare both sides: of rclone, rsync, Globus and curl. Used by transfer.py.

Each of the four functions takes a place to copy from and one to copy to, as its program writes them, and gives lines of
a bash script that stops at the first error (`set -eo pipefail`).
"""

import shlex
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from muscomp_lib.core.errors import SettingError

ARCHIVES = (".tar.gz", ".tgz", ".tar")
ZENODO = "https://zenodo.org/records/4599666/files/slakh2100_flac_redux.tar.gz"  # Slakh2100, and its checksum there
ZENODO_MD5 = "f4b71b6c45ac9b506f59788456b3f0c4"
SITE = "muscomp"  # what rclone calls a site's host in these commands
LEFT_BY_RCLONE = "*.????????.partial"  # what killed runs of rclone leave, since its version 1.63
# rclone compares only sizes where the two sides have no kind of checksum in common, and calls that a match.
REALLY_COMPARED = "2>&1 | awk '{ print } /could not be checked/ { bad = 1 } END { exit bad }'"


def is_remote(place):
    """Whether a place is on another machine, or is a program's name for one: `name:path`."""
    return ":" in place.partition("/")[0]


def _quoted(place):
    """A place for bash: `~` and the variable for the site's collection are left for it to fill in."""
    for open_to_bash in ("~/", "$site:"):
        if place.startswith(open_to_bash):
            return open_to_bash + shlex.quote(place.removeprefix(open_to_bash))
    return shlex.quote(place)


def _rclone(source, target, md5):
    """By rclone: `copy` passes over what is there, and copies what is new, changed or half there."""
    ours, theirs = _quoted(source), _quoted(target)
    through_sftp = any(place.startswith(f"{SITE}:") for place in (source, target))
    if is_archive(source):
        yield "# What is whole is passed over; of one large file, rclone begins anew where rsync or curl go on."
    yield f"rclone copy --stats 30s --stats-one-line --stats-log-level NOTICE {ours} {theirs}"
    if through_sftp:
        yield "# Compares byte by byte, because that host adds up no checksums: all is read once more, over the net."
        yield "# Remove there what differs, and copy again."
    else:
        yield "# Compares checksums. What differs is copied anew by the command above with: --checksum"
        yield "# If it says that hashes could not be checked, give it with --download: both sides are read again then."
    compare = f"rclone check --one-way --differ - --missing-on-dst - {'--download ' if through_sftp else ''}".strip()
    yield f"{compare} {ours} {theirs} {REALLY_COMPARED}"
    yield "# Removes what runs that were killed have left."
    yield f"rclone delete --include '{LEFT_BY_RCLONE}' {theirs}"
    yield from _unpacked(source, target)


def remote(host, user):
    """What tells rclone of a site's host. Such a host runs no programs, not even one that adds up checksums."""
    settings = {"type": "sftp", "host": host, "user": user, "shell_type": "none", "disable_hashcheck": "true"}
    for name, value in settings.items():
        if value:
            yield f"export RCLONE_CONFIG_{SITE.upper()}_{name.upper()}={shlex.quote(value)}"
    yield f"# For this: give ssh {host} once before, so that its key is known."
    yield f"export RCLONE_CONFIG_{SITE.upper()}_KNOWN_HOSTS_FILE=~/.ssh/known_hosts"


def _rsync(source, target, md5):
    """By rsync: half a file is kept in a folder beside, and gone on with."""
    end = "" if is_archive(source) else "/"
    ours, theirs = _quoted(f"{source}{end}"), _quoted(f"{target}/")
    yield _made(target)
    yield f"rsync --recursive --times --partial-dir=.rsync-partial --info=progress2 {ours} {theirs}"
    yield "# Compares checksums, which each side adds up. What differs is copied anew by this command with: --checksum"
    yield f"differing=$(rsync --recursive --checksum --dry-run --out-format=%n {ours} {theirs})"
    yield 'test -z "$differing" || { echo "These differ: $differing"; false; }'
    yield from _unpacked(source, target)


def _made(target):
    """The command that makes a folder, which rsync would do only one deep."""
    host, _, folder = target.partition(":")
    if not is_remote(target):
        return f"mkdir -p {_quoted(target)}"
    wanted = [str(path) for path in (PurePosixPath(folder).parent, PurePosixPath(folder))]
    lines = " ".join(shlex.quote(f'-mkdir "{path}"') for path in wanted)
    return f"printf '%s\\n' {lines} | sftp {shlex.quote(host)}  # that a folder is there already is no harm"


def _globus(source, target, md5):
    """By Globus, which compares checksums, tries again and goes on by itself, also when this machine is off."""
    recursive = "" if is_archive(source) else "--recursive "
    end = f"/{_name(source)}" if is_archive(source) else ""
    yield f"globus transfer {recursive}--sync-level checksum --verify-checksum --label muscomp \\"
    yield f"  {_quoted(source)} {_quoted(target + end)}"
    yield "# It prints a task ID: globus task show ID says how it stands. The same command again, once that has ended,"
    yield "# compares checksums and moves only what differs."
    yield from _unpacked(source, target)


def collection(site):
    """The command that finds a site's collection, by the name in its file.

    Parameters
    ----------
    site : sites.Site

    Raises
    ------
    SettingError
        Its file names none.
    """
    name = site.data.get("transfer", {}).get("globus")
    if not name:
        raise SettingError(
            f"The site {site.name} names no Globus collection: add a line transfer: {{globus: its name}} to its file."
        )
    wanted = f"DATA[?display_name=='{name}'].id | [0]"
    yield f"site=$(globus endpoint search {shlex.quote(name)} --jmespath {shlex.quote(wanted)} --format unix)"


def _download(source, target, md5):
    """By curl, which goes on in the middle of the archive; a whole one is not fetched again."""
    archive = f"{target}/{PurePosixPath(urlsplit(source).path).name}"
    md5 = md5 or (ZENODO_MD5 if source == ZENODO else None)
    fetch = f"curl --fail --location --continue-at - --output {_quoted(archive)} {shlex.quote(source)}"
    yield f"mkdir -p {_quoted(target)}"
    if md5:
        check = f"echo {shlex.quote(f'{md5}  {archive}')} | md5sum --check"
        yield f"{check} --status 2> /dev/null || {fetch}"
        yield check
    else:
        yield f"{fetch}  # with md5 in the section files, it is checked as well"
    yield from _unpacked(archive, target)


def is_archive(source):
    """Whether a place is an archive, to be unpacked where it arrives."""
    return source.endswith(ARCHIVES)


def _name(source):
    return PurePosixPath(source.rpartition(":")[2]).name


def _unpacked(source, target):
    """What unpacks an archive: commands where it lies on a disk that bash sees, else comments."""
    if not is_archive(source):
        return
    folder = target.partition(":")[2] if is_remote(target) else target
    archive = f"{folder}/{_name(source)}"
    unpack, away = f"tar -xf {_quoted(archive)} -C {_quoted(folder)}", f"rm {_quoted(archive)}"
    yield f"# Then, on the site, in a job: {unpack}" if is_remote(target) else unpack
    yield f"# Once notebook 01 has looked at the tracks, the archive may go: {away}"


COMMANDS = {"rclone": _rclone, "rsync": _rsync, "globus": _globus, "download": _download}
WAYS = tuple(COMMANDS)
