"""The commands that copy a folder and compare both sides: of rclone, rsync, Globus and curl. Used by `transfer.py`.

Each of the four functions takes a place to copy from and one to copy to, as its program writes them, and yields lines
of a bash script that stops at the first error (`set -eo pipefail`).
"""

from pathlib import PurePosixPath
from urllib.parse import urlsplit

from muscomp_lib.core.errors import SettingError

from .quoting import in_double_quotes, quoted

ARCHIVES = (".tar.gz", ".tgz", ".tar")
ZENODO = "https://zenodo.org/records/4599666/files/slakh2100_flac_redux.tar.gz"  # Slakh2100, and its checksum there
ZENODO_MD5 = "f4b71b6c45ac9b506f59788456b3f0c4"
SITE = "muscomp"  # rclone's name for a site's host in these commands
RCLONE_PARTIAL = "*.????????.partial"  # left by killed runs of rclone, since its version 1.63
# rclone compares only sizes where the two sides have no kind of checksum in common, and reports a match.
FAIL_IF_UNCOMPARED = "2>&1 | awk '{ print } /could not be checked/ { bad = 1 } END { exit bad }'"


def is_remote(place):
    """Whether a place is on another machine, or is a program's name for one: `name:path`."""
    return ":" in place.partition("/")[0]


def _quoted(place):
    """A place quoted for bash, which still expands `~` and the variable for the site's collection."""
    for expanded in ("~/", "$site:"):
        if place.startswith(expanded):
            return expanded + quoted(place.removeprefix(expanded))
    return quoted(place)


def _rclone(source, target, md5):
    """By rclone: `copy` skips what is there, and copies what is new, changed or incomplete."""
    start, end = _quoted(source), _quoted(target)
    through_sftp = any(place.startswith(f"{SITE}:") for place in (source, target))
    if is_archive(source):
        yield "# Complete files are skipped; an incomplete one starts over with rclone, where rsync and curl continue."
    yield f"rclone copy --stats 30s --stats-one-line --stats-log-level NOTICE {start} {end}"
    if through_sftp:
        yield "# Compares byte by byte, because that host computes no checksums: everything is read again."
        yield "# Remove what differs there, and copy again."
    else:
        yield "# Compares checksums. To copy again what differs, add to the command above: --checksum"
        yield "# If it reports that hashes could not be checked, add: --download (both sides are then read again)"
    compare = f"rclone check --one-way --differ - --missing-on-dst - {'--download ' if through_sftp else ''}".strip()
    yield f"{compare} {start} {end} {FAIL_IF_UNCOMPARED}"
    yield "# Removes what killed runs have left."
    yield f"rclone delete --include '{RCLONE_PARTIAL}' {end}"
    yield from _unpacked(source, target)


def remote(host, user):
    """The settings that define a site's host for rclone. Such a host runs no programs, so it computes no checksums."""
    settings = {"type": "sftp", "host": host, "user": user, "shell_type": "none", "disable_hashcheck": "true"}
    for name, value in settings.items():
        if value:
            yield f"export RCLONE_CONFIG_{SITE.upper()}_{name.upper()}={quoted(value)}"
    yield f"# Before this, connect once with: ssh {host}, so that its key is known."
    yield f"export RCLONE_CONFIG_{SITE.upper()}_KNOWN_HOSTS_FILE=~/.ssh/known_hosts"


def _rsync(source, target, md5):
    """By rsync: an incomplete file is kept in a folder beside it, and continued."""
    slash = "" if is_archive(source) else "/"
    start, end = _quoted(f"{source}{slash}"), _quoted(f"{target}/")
    yield _make_folder(target)
    yield f"rsync --recursive --times --partial-dir=.rsync-partial --info=progress2 {start} {end}"
    yield "# Compares checksums of both sides. To copy again what differs, add to the command above: --checksum"
    yield f"differing=$(rsync --recursive --checksum --dry-run --out-format=%n {start} {end})"
    yield 'test -z "$differing" || { echo "These differ: $differing"; false; }'
    yield from _unpacked(source, target)


def _make_folder(target):
    """The command that makes a folder and its parent; rsync would make only one level."""
    host, _, folder = target.partition(":")
    if not is_remote(target):
        return f"mkdir -p {_quoted(target)}"
    wanted = [str(path) for path in (PurePosixPath(folder).parent, PurePosixPath(folder))]
    lines = " ".join(quoted(f"-mkdir {in_double_quotes(path)}") for path in wanted)
    return f"printf '%s\\n' {lines} | sftp {quoted(host)}  # existing folders are no problem"


def _globus(source, target, md5):
    """By Globus, which compares checksums and resumes by itself, also when this machine is off."""
    recursive = "" if is_archive(source) else "--recursive "
    end = f"/{_name(source)}" if is_archive(source) else ""
    yield f"globus transfer {recursive}--sync-level checksum --verify-checksum --label muscomp \\"
    yield f"  {_quoted(source)} {_quoted(target + end)}"
    yield "# It prints a task ID; globus task show ID prints its status. The same command again, once that has ended,"
    yield "# compares checksums and moves only what differs."
    yield from _unpacked(source, target)


def collection(site):
    """The command that finds a site's collection by the name in its file.

    Parameters
    ----------
    site : Site

    Raises
    ------
    SettingError
        Its file names none.
    """
    name = site.transfer.globus
    if not name:
        raise SettingError(
            f"The site {site.name} names no Globus collection: add a line transfer: {{globus: its name}} to its file."
        )
    wanted = f"DATA[?display_name=='{name}'].id | [0]"
    yield f"site=$(globus endpoint search {quoted(name)} --jmespath {quoted(wanted)} --format unix)"


def _download(source, target, md5):
    """By curl, which continues in the middle of the archive; a complete one is not fetched again."""
    archive = f"{target}/{PurePosixPath(urlsplit(source).path).name}"
    md5 = md5 or (ZENODO_MD5 if source == ZENODO else None)
    fetch = f"curl --fail --location --continue-at - --output {_quoted(archive)} {quoted(source)}"
    yield f"mkdir -p {_quoted(target)}"
    if md5:
        check = f"echo {quoted(f'{md5}  {archive}')} | md5sum --check"
        yield f"{check} --status 2> /dev/null || {fetch}"
        yield check
    else:
        yield f"{fetch}  # with md5 in the section files, it is verified as well"
    yield from _unpacked(archive, target)


def is_archive(source):
    """Whether a place is an archive, to be unpacked at the target."""
    return source.endswith(ARCHIVES)


def _name(source):
    return PurePosixPath(source.rpartition(":")[2]).name


def _unpacked(source, target):
    """How to unpack an archive: commands where it is on a local disk, else comments."""
    if not is_archive(source):
        return
    folder = target.partition(":")[2] if is_remote(target) else target
    archive = f"{folder}/{_name(source)}"
    unpack, away = f"tar -xf {_quoted(archive)} -C {_quoted(folder)}", f"rm {_quoted(archive)}"
    yield f"# Then, on the site, in a job: {unpack}" if is_remote(target) else unpack
    yield f"# Once notebook 01 has indexed the tracks, the archive may be deleted: {away}"


COMMANDS = {"rclone": _rclone, "rsync": _rsync, "globus": _globus, "download": _download}
WAYS = tuple(COMMANDS)
