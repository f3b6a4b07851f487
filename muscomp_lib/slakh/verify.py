"""Checking sound files of the data set: their header, and on demand every sample. Used by notebooks 01 and 02.

A result is a dict that the file cache can store. Of a header: `frames` (samples per channel), `sample_rate` (Hz),
`channels`. Of a decoded file: `heard`, its activity, one character per second, "1" where it plays and "0" where it
rests. Where a file fails, `problem` says why, and `passing` is set when another try may succeed: the disk failed, not
the file.
"""

import numpy as np

from muscomp_lib import audio
from muscomp_lib.audio import reader
from muscomp_lib.core import parallel, remote_io
from muscomp_lib.core.errors import AudioError, DiskFullError

METADATA, HEADER, SOUND = "metadata, drums by class", "header", "sound"  # kinds of results in the cache
ACTIVITY = "heard"  # the key in caches on disk
ACTIVE_DB = -40.0  # dB below a file's loudest second: what is softer counts as a rest
SILENT_DB = -80.0  # dB below full scale: a file whose loudest second is softer than this is silent
BYTES_PER_SAMPLE = 2  # of 16 bit


def read_header(path):
    """Read a file's header and make sure that its last sample can be read."""
    return result(_header, path)


def decode(path):
    """Decode a file to its end, in blocks of a second, and find where it plays."""
    return result(_sound, path)


def result(read, path):
    """What `read` returns for a file, or for several, or the problem.

    Raises
    ------
    DiskFullError
    """
    try:
        return read(path)
    except DiskFullError:
        raise
    except OSError as error:  # also UnreachableError: the disk fails, and the file may be intact
        return {"problem": str(error), "passing": True}
    except AudioError as error:
        return {"problem": str(error)}


def _header(path):
    info = audio.info(path)
    return {"frames": info.frames, "sample_rate": info.sample_rate, "channels": info.channels}


def _sound(path):
    levels = []
    with reader.opened(path) as source:
        while len(block := source.read(source.sample_rate)):
            if source.non_finite:
                raise AudioError(
                    f"{path} holds NaN or infinite samples, first in second {len(levels)}. Use another copy."
                )
            levels.append(_level(block))
    return {ACTIVITY: "".join("01"[plays] for plays in active(np.array(levels)).tolist())}


def active(levels):
    """In which seconds a sound plays, from the level of each second: np.ndarray of bool, shape (n_seconds,)."""
    loudest = levels.max(initial=0.0)
    return (levels > loudest * audio.to_gain(ACTIVE_DB)) & (loudest > audio.to_gain(SILENT_DB))


def _level(block):
    """Root of the mean square over all channels."""
    return float(np.sqrt(np.mean(np.square(block, dtype=np.float64))))


def is_silent(result):
    """Whether a file with this result can be read and is silent throughout."""
    return ACTIVITY in result and "1" not in result[ACTIVITY]


# ---- with the cache ----


def file_state(stat):
    """What the cache compares to detect a changed file, from its `os.stat_result`."""
    return stat.st_size, stat.st_mtime_ns


def cached(cache, slakh, path, stat, kind, read):
    """The cached result for a file, else what `read` returns, which is then cached.

    Parameters
    ----------
    cache : file_cache.FileCache
    slakh : Path
        The data set's folder.
    path : str
        Relative to it.
    stat : os.stat_result
    kind : str
        `METADATA`, `HEADER` or `SOUND`.
    read : callable
        Takes the absolute path.

    Returns
    -------
    dict

    Raises
    ------
    MountLostError
        The file cannot be read because the disk is gone.
    """
    result = cache.get(path, file_state(stat), kind)
    return _store(cache, slakh, path, file_state(stat), kind, read(slakh / path)) if result is None else result


def _store(cache, slakh, path, state, kind, result):
    if "passing" in result:
        remote_io.check_mounted(slakh)
    if "problem" in result:
        result = {**result, "problem": relative_message(result["problem"], slakh)}
    cache.put(path, state, kind, result)
    return result


def relative_message(error, slakh):
    """An error's message with paths relative to the data set: tables must not differ between machines."""
    return str(error).replace(f"{slakh}/", "")


def decode_all(cache, slakh, files, workers=None, desc="decoding"):
    """Decode on all cores the files whose activity is not cached.

    Parameters
    ----------
    cache : file_cache.FileCache
        Stores each result at once, so that a run that was stopped continues where it was.
    slakh : Path
        The data set's folder.
    files : dict of str to (os.stat_result, int)
        Paths relative to `slakh`, and of each its stat and its number of samples, for the progress bar.
    workers : int, optional
        Processes; None: one per core.
    desc : str
        Label of the progress bar.

    Raises
    ------
    MountLostError
    """
    jobs = {path: (file_state(stat), slakh / path) for path, (stat, _) in files.items()}
    sizes = {path: n_samples * BYTES_PER_SAMPLE for path, (_, n_samples) in files.items()}
    read_all(cache, slakh, SOUND, decode, jobs, workers, desc, sizes)


def read_all(cache, slakh, kind, read, jobs, workers, desc, sizes=None):
    """Read on all cores what is not cached; each result is cached at once.

    Parameters
    ----------
    cache, slakh, workers, desc
        As for `decode_all`.
    kind : str
        What is read.
    read : callable
        As `parallel.each` takes it; returns a dict.
    jobs : dict of str to (tuple of int, object)
        By path relative to `slakh`: the state for which the result counts, and what `read` takes.
    sizes : dict of str to int, optional
        Bytes of each, for the progress bar.

    Raises
    ------
    MountLostError
    """
    left = [path for path, (state, _) in jobs.items() if cache.get(path, state, kind) is None]

    def store(number, result):
        _store(cache, slakh, left[number], jobs[left[number]][0], kind, result)

    sizes = sizes and [sizes[path] for path in left]
    parallel.each(read, [jobs[path][1] for path in left], workers, desc=desc, sizes=sizes, done=store)
