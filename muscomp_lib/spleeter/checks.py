"""Checks before Spleeter trains: what would make it fail late, or wait for ever. Used by engine.py.

Spleeter silently drops a song when one of its files is missing, is mono or is shorter than T frames; with no song
left it waits for ever. Songs of T frames or more always give an example: the chunks that Spleeter cuts are spread over
a song, and the last one of a short song is the whole song.
"""

import logging
import math

from muscomp_lib.core.errors import SettingError
from muscomp_lib.dataset import library
from muscomp_lib.dataset.song_table import read_songs
from muscomp_lib.models.config import SPLEETER_CHUNK

VALIDATION_CHUNK = 12.0  # seconds: Spleeter's, not to be set

log = logging.getLogger(__name__)


def check_settings(config):
    """Refuse settings with which Spleeter fails, now or at its first validation.

    Raises
    ------
    SettingError
    """
    if config.get("loss_type") == "weighted_L1_mask":
        raise SettingError("loss_type = 'weighted_L1_mask' makes Spleeter 2.4.2 fail. Use 'L1_mask'.")
    chunks = {"training": config.get("chunk_duration", SPLEETER_CHUNK), "validation": VALIDATION_CHUNK}
    for purpose, seconds in chunks.items():
        most = int((seconds * config["sample_rate"] - config["frame_length"]) // config["frame_step"])
        if config["T"] > most:
            raise SettingError(
                f"T = {config['T']} is not possible: Spleeter cuts songs into chunks of {seconds:g} s for {purpose}, "
                f"which have {most} frames. Make T smaller."
            )


def check_table(table, config, root):
    """Make sure that Spleeter can use every song of a table, and that some song is long enough for an example.

    Parameters
    ----------
    table : str or Path
    config : dict
    root : Root

    Returns
    -------
    list of song_table.Song

    Raises
    ------
    MissingError, SettingError, AudioError
        Of the first thing wrong: the table, the line and the file are named.
    """
    if library.Library(root).virtual:
        raise SettingError(
            "The songs are virtual, and Spleeter reads files only. Run notebook 02 with virtual = False, then notebook "
            "03, and train again."
        )
    songs = read_songs(root, table, config, for_spleeter=True)
    shortest = (config["T"] - 1) * config["frame_step"] + config["frame_length"]
    short = [song.line for song in songs if song.n_samples < shortest]
    needed = math.ceil(shortest / config["sample_rate"] * 100) / 100
    if len(short) == len(songs):
        raise SettingError(
            f"{table}: all {len(songs)} songs are shorter than {needed:.2f} s (T = {config['T']} frames), so that "
            "Spleeter would wait forever for an example. Give longer songs, or make T smaller in notebook 03."
        )
    if short:
        some = ", ".join(map(str, short[:5])) + (", ..." if len(short) > 5 else "")
        log.warning("%s: Spleeter skips %d songs shorter than %.2f s: lines %s.", table, len(short), needed, some)
    return songs
