"""How well a model separates prepared songs, whose instruments are known. Used by notebook 04."""

import pandas as pd

from muscomp_lib.dataset import library
from muscomp_lib.separation import metrics


def score_songs(separator, songs):
    """Separate prepared songs and score every instrument.

    Parameters
    ----------
    separator : Separator
    songs : list of dataset.song_table.Song
        With the paths of the mix and of each instrument the model separates.

    Returns
    -------
    pandas.DataFrame
        `song` (the track's name), then the columns of `metrics.score`; one row per song and instrument.

    Raises
    ------
    AudioError, MissingError
        A file of a song is missing or cannot be read.
    """
    return pd.concat([_score_song(separator, song) for song in songs], ignore_index=True)


def _score_song(separator, song):
    mix, sample_rate = library.read(song.mix)
    references = {name: library.read(song.files[name])[0] for name in separator.instruments}
    table = metrics.score(references, separator.separate(mix, sample_rate), mix)
    table.insert(0, "song", song.track)
    return table
