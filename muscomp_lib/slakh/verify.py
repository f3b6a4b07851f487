"""Looking at sound files of the data set: their header, and on demand every sample. Used by notebooks 01 and 02.

What is found is a dict that a journal can hold. Of a header: `frames` (samples per channel), `sample_rate` (Hz),
`channels`. Of a whole file, its sound: `heard`, one sign per second, "1" where it plays and "0" where it rests. Where a
file fails, `problem` says why instead, and `passing` is there when another try may succeed: the disk failed, not the
file.
"""

import numpy as np

from muscomp_lib import audio
from muscomp_lib.audio import reader
from muscomp_lib.core import parallel, remote_io
from muscomp_lib.core.errors import AudioError, DiskFullError

METADATA, HEADER, SOUND = "metadata", "header", "sound"  # kinds of what a journal remembers
HEARD_DB = -40.0  # dB below a file's loudest second: what is softer counts as a rest
SILENT_DB = -80.0  # dB below full scale: a file whose loudest second is softer than this is silent
BYTES_PER_SAMPLE = 2  # of 16 bit


def header(path):
    """Read a file's header and make sure that its last sample can be read."""
    return _found(_header, path)


def sound(path):
    """Decode a file to its end, in blocks of a second."""
    return _found(_sound, path)


def _found(look, path):
    """What `look` finds in a file, or its problem.

    Raises
    ------
    DiskFullError
    """
    try:
        return look(path)
    except DiskFullError:
        raise
    except OSError as error:  # also UnreachableError: the disk fails, and the file may be sound
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
            levels.append(_level(block))
    levels = np.array(levels)
    wrong = np.flatnonzero(~np.isfinite(levels))
    if len(wrong):
        raise AudioError(f"{path} holds samples that are no numbers, first in second {wrong[0]}. Use another copy.")
    loudest = levels.max(initial=0.0)
    heard = (levels > loudest * audio.to_gain(HEARD_DB)) & (loudest > audio.to_gain(SILENT_DB))
    return {"heard": "".join("01"[plays] for plays in heard.tolist())}


def _level(block):
    """Root of the mean square over all channels; not finite when a sample is not."""
    return float(np.sqrt(np.mean(np.square(block, dtype=np.float64))))


def is_silent(found):
    """Whether a file of which this was found can be read, and nothing in it sounds."""
    return "heard" in found and "1" not in found["heard"]


# ---- with a journal ----


def seen(stat):
    """The state of a file, for a journal, from its `os.stat_result`."""
    return stat.st_size, stat.st_mtime_ns


def remembered(journal, slakh, path, stat, kind, how):
    """What the journal knows of a file, else what `how` finds in it, which the journal then knows.

    Parameters
    ----------
    journal : journal.Journal
    slakh : Path
        The data set's folder.
    path : str
        Relative to it.
    stat : os.stat_result
    kind : str
        Of what is wanted.
    how : callable
        Gives it from the absolute path.

    Returns
    -------
    dict

    Raises
    ------
    MountLostError
        The file cannot be read because the disk is gone.
    """
    found = journal.recall(path, seen(stat), kind)
    return _noted(journal, slakh, path, stat, kind, how(slakh / path)) if found is None else found


def _noted(journal, slakh, path, stat, kind, found):
    if "passing" in found:
        remote_io.check_mounted(slakh)
    if "problem" in found:
        found = {**found, "problem": message(found["problem"], slakh)}
    journal.note(path, seen(stat), kind, found)
    return found


def message(error, slakh):
    """An error's message with paths relative to the data set: tables must not differ between machines."""
    return str(error).replace(f"{slakh}/", "")


def listen(journal, slakh, files, workers=None, desc="listening"):
    """Decode files to their end on all cores, those whose sound the journal does not know.

    Parameters
    ----------
    journal : journal.Journal
        Is told of every file as soon as it is through, so that a stopped run goes on where it was.
    slakh : Path
        The data set's folder.
    files : dict of str to (os.stat_result, int)
        Paths relative to `slakh`, and of each its stat and its number of samples, for the progress bar.
    workers : int, optional
        Processes; None: one per core.
    desc : str
        What the progress bar says.

    Raises
    ------
    MountLostError
    """
    left = [path for path, (stat, _) in files.items() if journal.recall(path, seen(stat), SOUND) is None]
    sizes = [files[path][1] * BYTES_PER_SAMPLE for path in left]

    def note(number, found):
        path = left[number]
        _noted(journal, slakh, path, files[path][0], SOUND, found)

    parallel.each(sound, [slakh / path for path in left], workers, desc=desc, sizes=sizes, done=note)
