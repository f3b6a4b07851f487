"""Which song belongs to which partition, and which reserve song fills which. Used by notebook 02.

fill.py explains the rules. All draws depend on the seed and the order of the tables alone.
"""

from collections import Counter

import numpy as np
import pandas as pd

from muscomp_lib.dataset.library import PARTITIONS
from muscomp_lib.slakh import index_tables

TRAIN, VALIDATION, TEST = PARTITIONS
RESERVE = "reserve"
PREPARED = PARTITIONS  # whose songs are made
ORDERS_TRIED = 10  # greedy choice can fail in a small data set; a larger one needs one order
MAX_RESERVED = 0.5  # share of the songs to choose from: train keeps at least the other half
MAX_OF_ONE = 1 / 3  # share of an instrument's stems: train needs examples too


def instrument_columns(tracks):
    """The instruments of a table of tracks, in order: all columns after the fixed ones."""
    return [name for name in tracks.columns if name not in index_tables.TRACK_COLUMNS]


def draw(tracks, settings):
    """Draw the partitions.

    Parameters
    ----------
    tracks : pd.DataFrame
        As in `tracks.csv`.
    settings : reserve.Settings

    Returns
    -------
    pd.DataFrame
        With the index of `tracks`: `partition`, "" for a track that is not used; and `fills`, the partition that a
        reserve track fills, "" for all others.
    """
    songs = _draw_songs(tracks, settings)
    drawn = songs.reindex(_song_of(tracks), fill_value="").set_index(tracks.index)
    return drawn.where(_usable(tracks), "")


def _usable(tracks):
    return (tracks["status"] == "ok") & (tracks["split"] != index_tables.OMITTED)


def _song_of(tracks):
    return tracks["uuid"].where(tracks["uuid"] != "", tracks["track"])


def _draw_songs(tracks, settings):
    """One row per song: its partition, and for a reserve song the partition it `fills`."""
    used = tracks[_usable(tracks)]
    by_song = used.groupby(_song_of(used))
    splits = by_song["split"].agg(set)
    songs = pd.DataFrame({"partition": TRAIN, "fills": ""}, index=splits.index)
    for name in (VALIDATION, TEST):  # test last: it takes precedence
        songs.loc[[name in found for found in splits], "partition"] = name
    rng = np.random.default_rng([settings.seed, 0])
    for name, share in ((TEST, settings.test_share), (VALIDATION, settings.validation_share)):
        if not (songs["partition"] == name).any():
            pool = songs.index[songs["partition"] == TRAIN]
            songs.loc[rng.permutation(pool)[: _count(share, len(songs), len(pool) - 1)], "partition"] = name
    if settings.fill:
        stems = by_song[instrument_columns(tracks)].sum().astype(int)
        for song, fills in _choose_reserve(songs["partition"], stems, settings).items():
            songs.loc[song] = RESERVE, fills
    return songs


def supply(tracks, settings):
    """How many stems of each instrument the reserve holds, and how many it lacks.

    Parameters
    ----------
    tracks : pd.DataFrame
        With `partition` drawn.
    settings : reserve.Settings

    Returns
    -------
    pd.DataFrame
        One row per instrument: `instrument`, its stems in `train` and in the `reserve`, and how many are `missing` from
        the requested `settings.reserve_stems`.
    """
    names = instrument_columns(tracks)
    stems = tracks.groupby("partition")[names].sum().reindex([TRAIN, RESERVE], fill_value=0).T.astype(int)
    missing = (settings.reserve_stems - stems[RESERVE]).clip(lower=0)
    return stems.assign(missing=missing).rename_axis("instrument").reset_index().rename_axis(columns=None)


def _count(share, n_songs, at_most):
    """The number of songs in a share: at least one if the share is not 0 and there are enough songs."""
    return max(0, min(max(1, round(share * n_songs)) if share else 0, at_most))


def _choose_reserve(partitions, stems, settings):
    """{song: partition it fills}, from the order of the songs that leaves the fewest gaps."""
    pool, tries = partitions.index[partitions == TRAIN], []
    for number in range(ORDERS_TRIED):
        order = np.random.default_rng([settings.seed, 1, number]).permutation(pool)
        tries.append(_Reserve(partitions, stems, order))
        if not tries[-1].needs:
            break
    best = min(tries, key=lambda tried: sum(tried.needs.values()))
    best.supply(settings.reserve_stems)
    best.top_up(round(settings.reserve_share * len(pool)))
    return best.chosen


class _Reserve:
    """Chooses reserve songs one by one; `chosen` is {song: partition it fills}.

    First, each partition that lacks an instrument in some song gets a reserve song that has it, the rarest instrument
    first; `supply` continues until there are enough stems of each instrument, again the rarest first; `top_up` then
    adds songs up to the requested share, balanced over instruments, for the partition with most songs per reserve song.
    Train always keeps a song of each instrument it has.
    """

    def __init__(self, partitions, stems, order):
        self.stems, self.has = stems, stems > 0
        has = self.has
        self.free = list(order)  # songs that may still be chosen
        self.sizes = {name: int((partitions == name).sum()) for name in PREPARED}
        self.chosen = {}
        # {(partition, instrument): how many of its songs lack it}, as long as no reserve song has it
        lacks = {(name, instrument): int((~has.loc[partitions == name, instrument]).sum())
                 for name in PREPARED for instrument in has}  # fmt: skip
        self.lacks = {need: count for need, count in lacks.items() if count}
        self.needs = dict(self.lacks)
        self.at_most = int(MAX_RESERVED * len(order))
        self._cover()

    def _spare(self):
        """The free songs that train can do without."""
        free = self.has.loc[self.free]
        last = free.columns[free.sum() == 1]  # instruments that only one of them still has
        return free.index[~free[last].any(axis=1)]

    def _cover(self):
        while len(self.chosen) < self.at_most:
            spare = self.has.loc[self._spare()]
            supply = spare.sum()
            possible = [need for need in self.needs if supply[need[1]]]
            if not possible:
                return
            name, instrument = min(possible, key=lambda need: supply[need[1]])
            wanted = [i for partition, i in possible if partition == name]
            self._take(spare.loc[spare[instrument], wanted].sum(axis=1).idxmax(), name)

    def supply(self, wanted):
        """Choose songs until there are `wanted` stems of each instrument, up to a third of all its stems."""
        most = self.stems.loc[[*self.free, *self.chosen]].sum() * MAX_OF_ONE
        while len(self.chosen) < self.at_most:
            spare = self._spare()
            given, left = self.stems.loc[list(self.chosen)].sum(), self.stems.loc[spare].sum()
            short = left.index[(given < wanted) & (given + 1 <= most) & (left > 0)]
            if not len(short):
                return
            instrument = left[short].idxmin()
            able = spare[self.has.loc[spare, instrument]]
            self._take(self.has.loc[able, short].sum(axis=1).idxmax(), self._neediest(instrument))

    def _neediest(self, instrument):
        """The partition with most gaps of an instrument per reserve song that can fill them."""
        able = Counter(fills for song, fills in self.chosen.items() if self.has.loc[song, instrument])
        return max(PREPARED, key=lambda name: self.lacks.get((name, instrument), 0) / (1 + able[name]))

    def top_up(self, wanted):
        """Choose songs up to `wanted`, so that the reserve has about the same share of every instrument."""
        everything = self.stems.loc[[*self.free, *self.chosen]].sum()
        target = (everything * wanted / max(1, len(self.free) + len(self.chosen))).clip(lower=1)
        while len(self.chosen) < wanted and len(spare := self._spare()):
            given = Counter(self.chosen.values())
            name = max(PREPARED, key=lambda name: self.sizes[name] / (1 + given[name]))
            already = self.has.loc[[song for song, fills in self.chosen.items() if fills == name]].sum()
            short = 1 - self.stems.loc[list(self.chosen)].sum() / target  # negative: more than the share
            worth = short.where(short < 0, short / (1 + already))
            self._take((self.has.loc[spare] * worth).sum(axis=1).idxmax(), name)

    def _take(self, song, name):
        self.chosen[song] = name
        self.free.remove(song)
        for instrument in self.has.columns[self.has.loc[song]]:
            self.needs.pop((name, instrument), None)
