"""Songs made from their recipes, in `prepared/`: what is there is kept, what is missing is made, the rest removed.

Used by notebooks 02 and 03.
"""

from concurrent.futures import ThreadPoolExecutor

from muscomp_lib.core import parallel, provenance, remote_io
from muscomp_lib.core.errors import DiskFullError, MusCompError
from muscomp_lib.core.files import PART, clean_parts, remove
from muscomp_lib.core.progress import bar
from muscomp_lib.dataset import library, mixing
from muscomp_lib.slakh import verify

CHECKERS = 16  # threads that look at what is made: on a slow mount each look takes tenths of a second


def make_all(root, base, recipes, workers=None, mine=None):
    """Make the songs of all recipes that are not yet made, and remove songs that were made from others.

    The caller holds `library.writing`.

    Parameters
    ----------
    root : Root
    base : Path
        What the recipes' stems are relative to.
    recipes : dict of (str, str) to dict
        By partition and track, as described in mixing.py.
    workers : int, optional
        Processes; None: one per core.
    mine : list of (str, str), optional
        What this run has to make while others make the rest: no other song is made, replaced or removed.

    Returns
    -------
    dict of str to str
        {track: reason} for those that cannot be made.

    Raises
    ------
    DiskFullError, MountLostError
    """
    folders = {key: root.prepared.joinpath(*key) for key in recipes}
    if mine is None:
        _remove_stale(root, set(folders.values()))
    for key in mine or ():
        clean_parts(folders[key].parent, folders[key].name, alone=True)
    checksums = provenance.Checksums(root)
    keys = list(recipes) if mine is None else mine
    jobs = _not_made([(base, folders[key], recipes[key]) for key in keys], checksums)

    def store(number, result):
        problem, new = result
        checksums.add(new)
        if problem:  # a lost disk is no reason to leave songs out
            remote_io.check_mounted(base)

    sizes = [decoded_bytes(recipe) for _, _, recipe in jobs]
    results = parallel.each(_make, jobs, workers, desc="songs", sizes=sizes, done=store)
    return {job[1].name: problem for job, (problem, _) in zip(jobs, results, strict=True) if problem}


def decoded_bytes(recipe):
    """Bytes of audio that a song is mixed from, for the progress bar."""
    return recipe["frames"] * 2 * sum(len(part["stems"]) for part in recipe["files"].values())


def _remove_stale(root, wanted):
    """Remove what killed runs left, and songs made here that are no longer wanted; never what is not ours."""
    for name in library.PARTITIONS:
        for folder in (root.prepared / name).glob("[!.]*"):
            if folder not in wanted and (folder / mixing.RECIPE).exists():
                # Renamed in one step: a half-removed song must not pass for a complete one.
                folder.rename(folder.with_name(f"{PART}{folder.name}"))
        clean_parts(root.prepared / name, alone=True)


def _not_made(jobs, checksums):
    """The songs that are yet to be made, or to be made again. Threads, because a slow mount keeps each waiting."""
    with ThreadPoolExecutor(CHECKERS) as pool:
        made = pool.map(lambda job: mixing.is_made(*job, checksums), jobs)
        made = list(bar(made, total=len(jobs), unit="song", desc="checking what is made"))
    return [job for job, is_made in zip(jobs, made, strict=True) if not is_made]


def _make(job):
    """Make one song; returns why it cannot be made, or "", and the checksums of what was read and written."""
    base, folder, recipe = job
    try:
        return "", mixing.make(base, folder, recipe)
    except DiskFullError:
        raise
    except (MusCompError, OSError) as error:
        if (folder / mixing.RECIPE).exists():
            remove(folder)  # an older version, made from another recipe
        return verify.relative_message(error, base), {}
