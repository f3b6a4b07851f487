"""A folder of stems as prepared songs: to train on one's own songs, MUSDB18 or MedleyDB. Used by notebook 03.

`stem_folders` finds the songs. Here every stem is decoded once and compared with the others, so that what would spoil a
training is named before it starts: stems of different lengths, a stem that is the mix or a copy of another, silence.
Then the songs are divided into partitions, an instrument that a song lacks is lent by another song of its partition, as
from the reserve in notebook 02, and each song is mixed from a recipe (mixing.py). Nothing is written to the folder.

A given mix is not used: the mix of a prepared song is the exact sum of its files, which a mastered one is not. How far
it is from the sum is reported. `tables/own_stems.csv` lists all songs.

Songs that share a stem's samples, or title, length and instruments, are versions of one song, and are never in two
partitions; so are those of a folder with one song in several forms.
"""

import hashlib
import logging
import os
import zlib
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd

from muscomp_lib import audio
from muscomp_lib.audio import quantise, reader
from muscomp_lib.core import parallel, remote_io
from muscomp_lib.core.errors import AudioError, DiskFullError, MissingError, SettingError
from muscomp_lib.core.file_cache import FileCache
from muscomp_lib.core.files import write_csv
from muscomp_lib.core.instruments import OTHER
from muscomp_lib.core.names import folded
from muscomp_lib.core.progress import bar, duration, size
from muscomp_lib.dataset import library, making, mixing, stem_folders
from muscomp_lib.dataset.lending import Lender, least_used
from muscomp_lib.slakh import index_tables, verify

READERS = 8  # threads that read headers
TOLERANCE = 0.1  # seconds that a stem may be shorter than the others ...
FADED_SECONDS, FADED = 0.05, 0.01  # ... and any more if its end is softer than its peak: its last notes are over
SAME = 0.999  # correlation from which a stem is a copy of another, at whatever level ...
SUM_OF_OTHERS = 0.99  # ... or a mix of others: a limiter leaves less alike than a copy is
GAIN_BOUND_DB = 12.0  # a lent instrument is brought to the song's loudness, within this bound
INCOMPLETE_DB = -6.0  # of a mix's difference from its stems' sum: a limiter makes -10 at most
SHOWN = 5  # songs in a message
EXAMINED = "stems 2"  # the kind of a song's results in the file cache
FLAC_SHARE = 0.6  # of 16-bit samples that music takes as FLAC, about
COLUMNS = ["track", "partition", "source", "minutes", "mix_difference_db", "filled", "note", "remark"]

log = logging.getLogger(__name__)


def table_path(root):
    """The path of the table of songs."""
    return root.tables / "own_stems.csv"


def overview(stems, instruments):
    """What a folder of stems holds, before any work: sentences.

    Parameters
    ----------
    stems : stem_folders.StemFolder
    instruments : list of str
        That become files of their own.
    """
    with ThreadPoolExecutor(READERS) as pool:
        headers = pool.map(lambda song: _seconds(stems.path, song), stems.songs)
        seconds = list(bar(headers, total=len(stems.songs), desc="songs"))
    songs, files = len(stems.songs), len(instruments) + 1
    needed = sum(seconds) * audio.SAMPLE_RATE * 2 * 2 * files * FLAC_SHARE
    counts = ", ".join(f"{name} ({count})" for name, count in stems.counts().items())
    return (
        f"{songs} song{'s' * (songs != 1)}, {duration(sum(seconds))} of music, in {stems.path}. As prepared songs with "
        f"{files} files each they take about {size(needed)}. Instruments, and in how many songs they are: {counts}."
    )


def _seconds(folder, song):
    """The length of a song by its first readable stem; 0 where there is none."""
    for stem in (stem for stems in song.stems.values() for stem in stems):
        try:
            return audio.info(folder / stem.path, stem.stream).duration
        except (AudioError, OSError):
            continue
    return 0.0


def prepare(root, stems, settings, workers=None):
    """Write each song of a folder of stems as a prepared song. Songs that are up to date are kept.

    Parameters
    ----------
    root : Root
        Without songs of Slakh.
    stems : stem_folders.StemFolder
    settings : tables.Settings
        `instruments` become files, all others `other`. `seed`, `fill`, `validation_share`, `test_share`, `sample_rate`
        and `n_channels` are used, too.
    workers : int, optional
        Processes; None: one per processor core. Each holds a song decoded: about 1 GB for 20 stems of five minutes.

    Returns
    -------
    pd.DataFrame
        A row per song, as in `tables/own_stems.csv`: `track` (its name), `partition` ("" where it was left out),
        `source` (relative to the folder), `minutes`, `mix_difference_db` (the level of what a given mix and the sum of
        the stems differ by, relative to the mix, after the best gain; NaN without a mix), `filled` (instruments that
        another song lends), `note` (why it was left out, or ""), `remark` (what is unusual about it).

    Raises
    ------
    MissingError
        Fewer than two songs can be used.
    SettingError
        The root holds Slakh; all stems are one instrument, or no two songs have an instrument in common.
    MusCompError
        Another run is writing songs.
    DiskFullError
    """
    _refuse_slakh(root)
    _refuse_unnamed(stems)
    songs = {song.name: song for song in stems.songs}
    with library.writing(root):
        examined = _without_short(songs, _examine_all(root, stems, settings, workers), settings)
        usable = {name: examined[name] for name in songs if "problem" not in examined[name]}
        _require_two(stems.path, songs, examined, usable)
        partitions = _partitions(songs, usable, settings)
        recipes, filled = _recipes(songs, usable, partitions, settings)
        write_csv(table_path(root), _table(songs, examined, partitions, filled, {}))
        left_out = making.make_all(root, stems.path, recipes, workers)
    _warn_of_unlearned(usable, partitions, settings)
    _warn_of_incomplete(usable)
    table = _table(songs, examined, partitions, filled, left_out)
    write_csv(table_path(root), table)
    return table


def _refuse_slakh(root):
    _, tracks = index_tables.paths(root)
    found = next(root.prepared.glob(f"*/*/{mixing.RECIPE}"), None)
    if tracks.exists() or (found and not table_path(root).exists()):
        there = root.relative(tracks if tracks.exists() else found)
        raise SettingError(
            f"{root.path} holds Slakh ({there} is there), and a folder of stems has other instruments. Give another "
            "folder as root."
        )


def _refuse_unnamed(stems):
    """SettingError where there is one instrument, or each is in one song only: files' names are not understood."""
    counts, songs = stems.counts(), [song for song in stems.songs if song.stems]
    if len(counts) == 1:
        raise SettingError(
            f"All stems in {stems.path} are {next(iter(counts))}, and a network learns to separate it from something. "
            "Add the other stems, or their sum as other.wav: a mix is not used. If the files' names are not "
            "understood, name them in stems.yaml: docs/your_own_stems.md has an example."
        )
    if len(songs) > 1 and max(counts.values()) == 1:
        first, second = (f"{song.source or song.name}: {', '.join(list(song.stems)[:SHOWN])}" for song in songs[:2])
        raise SettingError(
            f"No two songs in {stems.path} have an instrument in common ({first}; {second}). Call the files of an "
            "instrument alike in all songs, or name them in stems.yaml: docs/your_own_stems.md has an example."
        )


def refuse_own_stems(root):
    """SettingError where the prepared songs are those of a folder of stems: notebook 02 would remove them."""
    if table_path(root).exists():
        raise SettingError(
            f"{root.path} holds the songs of a folder of stems ({root.relative(table_path(root))} is there). Notebooks "
            "01 and 02 are for Slakh: give another folder as root, or go on with notebook 03."
        )


def _require_two(folder, songs, examined, usable):
    if len(usable) >= 2:
        return
    left_out = [name for name in songs if name not in usable]
    reasons = "".join(f" {name}: {examined[name]['problem']}." for name in left_out[:SHOWN])
    reasons += f" And {len(left_out) - SHOWN} more." if len(left_out) > SHOWN else ""
    reasons += " If it holds more songs, give each a folder of its own." if len(songs) == 1 else ""
    raise MissingError(
        f"Of the {len(songs)} song(s) in {folder}, {len(usable)} can be used, and it takes two at least: one to learn "
        f"from, and one to validate with.{reasons}"
    )


def _warn_of_incomplete(usable):
    differences = {name: found["mix_difference_db"] for name, found in usable.items()}
    if wrong := {name: level for name, level in differences.items() if level is not None and level > INCOMPLETE_DB}:
        name, level = next(iter(wrong.items()))
        log.warning(
            "%d of %d songs differ from their mix by more than a master does (%s: %g dB): are stems missing? What "
            "the stems do not have, the network does not learn to leave out.", len(wrong), len(usable), name, level,
        )  # fmt: skip


def _warn_of_unlearned(usable, partitions, settings):
    there = {name for song, found in usable.items() if partitions[song] == "train" for name in found["instruments"]}
    if absent := [name for name in settings.instrument_names if name not in there and name != OTHER]:
        log.warning("no song that is trained on has %s: leave it out with `instruments`", ", ".join(absent))


def _table(songs, examined, partitions, filled, left_out):
    rows = []
    for name, song in songs.items():
        found = examined[name]
        note = found.get("problem") or left_out.get(name, "")
        partition = "" if note else partitions[name]
        minutes = round(found.get("seconds", 0) / 60, 2)
        lent = "" if note else ", ".join(filled[name])
        difference = found.get("mix_difference_db")
        rows.append((name, partition, song.source, minutes, difference, lent, note, found.get("remark", "")))
    return pd.DataFrame(rows, columns=COLUMNS).astype({"mix_difference_db": "float64"})


# ---- each song on its own ----


def _without_short(songs, examined, settings):
    """The results of `_examine` with a problem for songs that give no example; those to test with need not."""
    shortest, short = settings.shortest / settings.sample_rate, {}
    for name, found in examined.items():
        if songs[name].partition != "test" and found.get("seconds", shortest) < shortest:
            words = f"it lasts {found['seconds']:.1f} s, and a training example takes {shortest:.1f} s (crop_frames)"
            short[name] = {"problem": words}
    return examined | short


def _examine_all(root, stems, settings, workers):
    """The result of `_examine` for each song, by name. It is cached for as long as the song's files stay the same."""
    cache, jobs = FileCache(root), {}
    found = {song.name: {"problem": song.note} for song in stems.songs if song.note}
    for song in stems.songs:
        if not song.note:
            state = _state(stems.path, song, settings.sample_rate)
            found[song.name] = cache.get(song.source, state, EXAMINED)
            if found[song.name] is None:
                jobs[song.name] = (stems.path, song, settings.sample_rate), state

    examined = list(jobs)

    def store(number, result):
        name = examined[number]
        if "problem" in result:
            remote_io.check_mounted(stems.path)
        found[name] = result
        cache.put(jobs[name][0][1].source, jobs[name][1], EXAMINED, result)

    parallel.each(_examine, [job for job, _ in jobs.values()], workers, desc="reading the stems", done=store)
    return found


def _state(folder, song, sample_rate):
    """The state of a song's files, which differs in another version of them, for the cache."""
    files = []
    for stem in (*(stem for stems in song.stems.values() for stem in stems), *song.mixes):
        try:
            status = remote_io.retried(os.stat, folder / stem.path)
            files.append((*stem, status.st_size, status.st_mtime_ns))
        except OSError:
            files.append(stem)
    return zlib.crc32(repr((sorted(song.stems.items()), sample_rate)).encode()), zlib.crc32(repr(files).encode())


def _examine(job):
    """Decode a song's stems and compare them.

    Returns
    -------
    dict
        `problem`: why the song cannot be used. Else `seconds`; `loudness` of the sum, in LUFS; `mix_difference_db`;
        `remark`; and for each instrument that is not silent, `active`: a character per second, "1" where it plays, and
        `sounds`: a hash of its samples.
    """
    folder, song, sample_rate = job
    try:
        return _compared(song, *_decoded(folder, song, sample_rate), sample_rate)
    except DiskFullError:
        raise
    except (AudioError, OSError) as error:
        return {"problem": verify.relative_message(error, folder).rstrip(".")}


def _decoded(folder, song, sample_rate):
    """The sum of all stems, each instrument's waveform in one channel, and the first mix or None; equally long.

    Last, by how many seconds stems end before the longest: {path: seconds}.
    """
    stems = {stem: _read(folder, stem, sample_rate) for stems in song.stems.values() for stem in stems}
    longest, ends = max(map(len, stems.values())), {}
    for stem, waveform in stems.items():
        if longest - len(waveform) <= TOLERANCE * sample_rate:
            continue
        ends[stem.path] = (longest - len(waveform)) / sample_rate
        if quantise.peak(waveform[-round(FADED_SECONDS * sample_rate) :]) >= FADED * quantise.peak(waveform):
            raise AudioError(
                f"{stem.path} lasts {len(waveform) / sample_rate:.2f} s, the longest stem of the song "
                f"{longest / sample_rate:.2f} s. Export all stems from the same start to the same end"
            )
    total, waveforms = np.zeros((longest, 2), np.float32), {}
    for name, files in song.stems.items():
        waveform = sum(audio.fit_length(stems.pop(stem), longest) for stem in files)
        total += waveform
        waveforms[name] = audio.mono(waveform)[:, 0]
    mix = audio.fit_length(_read(folder, song.mixes[0], sample_rate), longest) if song.mixes else None
    return total, waveforms, mix, ends


def _read(folder, stem, sample_rate):
    """A stem as stereo: float32, shape (n_samples, 2)."""
    with reader.opened(remote_io.local_copy(folder / stem.path), whole=True, track=stem.stream) as source:
        waveform = source.read_all()
        if source.non_finite or source.damaged:
            raise AudioError(f"{stem.path} holds NaN or infinite samples, or damaged ones. Use another copy of it")
        if source.channels > 2:
            raise AudioError(f"{stem.path} has {source.channels} channels. Export all stems in stereo")
        waveform = audio.resample(waveform, source.sample_rate, sample_rate)
        return audio.fit_channels(mixing.on_its_side(stem.path, waveform), 2)


def _compared(song, total, waveforms, mix, ends, sample_rate):
    active = {name: _active(waveform, sample_rate) for name, waveform in waveforms.items()}
    playing = [name for name, plays in active.items() if any(plays)]
    if not playing or quantise.peak(total) < mixing.HALF_STEP:
        return {"problem": "all of its stems are silent"}
    if problem := _copies({name: waveforms[name] for name in playing}):
        return {"problem": problem}
    silent = [name for name in waveforms if name not in playing]
    loudness = audio.loudness(total, sample_rate)
    return {
        "seconds": round(len(total) / sample_rate, 3),
        "loudness": round(loudness, 2) if np.isfinite(loudness) else None,
        "mix_difference_db": None if mix is None else _difference_db(mix, total),
        "remark": _remark(silent, ends),
        "instruments": {
            name: {
                "active": "".join("01"[plays] for plays in active[name]),
                "sounds": hashlib.sha256(audio.to_int16(waveforms[name]).tobytes()).hexdigest()[:16],
            }
            for name in playing
        },
    }


def _remark(silent, ends):
    """What is unusual about a song, or ""."""
    found = [f"silent throughout: {', '.join(silent)}"] if silent else []
    found += [f"{path} ends {seconds:.1f} s before the others" for path, seconds in ends.items()]
    return "; ".join(found)


def _active(waveform, sample_rate):
    """In which seconds a waveform of shape (n_samples,) plays: list of bool."""
    n_seconds = -(-len(waveform) // sample_rate)
    seconds = np.pad(waveform, (0, n_seconds * sample_rate - len(waveform))).reshape(n_seconds, sample_rate)
    return verify.active(np.sqrt(np.mean(np.square(seconds, dtype=np.float64), axis=1))).tolist()


def _copies(waveforms):
    """A sentence on an instrument that is a copy of another, or the sum of others; "" if there is none."""
    names = list(waveforms)
    products = np.array([[np.dot(waveforms[name], waveforms[other]) for other in names] for name in names], np.float64)
    for number, name in enumerate(names):
        for other in range(number):
            if abs(_correlation(products, number, [other])) > SAME:
                return f"{name} is a copy of {names[other]}. Take one of them out, or name both alike in stems.yaml"
    for number, name in enumerate(names):
        if summands := _summands(products, number):
            if len(summands) == len(names) - 1:
                return f"{name} is the sum of all others. Call it mix, or take it out"
            parts = ", ".join(names[each] for each in summands)
            return f"{name} is the sum of {parts}. Take it out, or write ignore: [{name}] into stems.yaml"
    return ""


def _summands(products, number):
    """The instruments that one is the sum of, as an accompaniment beside its parts is; [] if it is none.

    `products` holds the dot product of each instrument with each, which tell the gains at which the others make it up.
    """
    others = [each for each in range(len(products)) if each != number]
    gains = np.linalg.lstsq(products[np.ix_(others, others)], products[others, number], rcond=1e-6)[0]
    for chosen in (others, [each for each, gain in zip(others, gains, strict=True) if gain > 0.5]):
        if len(chosen) > 1 and _correlation(products, number, chosen) > SUM_OF_OTHERS:
            return chosen
    return []


def _correlation(products, number, chosen):
    """How much an instrument is like the sum of the chosen ones, by the dot product of each instrument with each."""
    norm = np.sqrt(max(0, products[number, number] * products[np.ix_(chosen, chosen)].sum()))
    return float(products[number, chosen].sum() / norm) if norm > 0 else 0.0


def _difference_db(mix, total):
    """The level of the difference between a mix and the sum of its stems at the best gain: dB relative to the mix."""
    power = float(np.sum(np.square(total, dtype=np.float64)))
    gain = float(np.sum(mix.astype(np.float64) * total)) / power
    level = np.linalg.norm(mix)
    # What 16 bits cannot hold is no difference: -96 dB of full scale.
    return round(float(audio.to_db(max(np.linalg.norm(mix - gain * total) / level, 1e-5))), 1) if level else None


# ---- all songs together ----


def _partitions(songs, usable, settings):
    """The partition of each usable song: {name: partition}. What the folder says is kept, the rest is drawn."""
    groups = _versions(songs, usable)
    partitions = {}
    for group in groups:
        given = {songs[name].partition for name in group}
        found = next((name for name in ("test", "validation", "train") if name in given), "")  # test goes first
        partitions |= dict.fromkeys(group, found)
    rng, has = np.random.default_rng([settings.seed, 0]), set(partitions.values())
    wanted = [("validation", settings.validation_share)] if "validation" not in has else []
    if "test" not in has and "" in has and len(groups) > 2 and settings.test_share:
        wanted.append(("test", settings.test_share))
    for left, (partition, share) in zip(range(len(wanted), 0, -1), wanted, strict=True):
        pool = [group for group in groups if partitions[group[0]] in ("", "train")]
        count = max(0, min(max(1, round(share * len(groups))), len(pool) - left))  # one song at least is trained on
        for number in rng.permutation(len(pool))[:count]:
            partitions |= dict.fromkeys(pool[number], partition)
    return {name: partition or "train" for name, partition in partitions.items()}


def _versions(songs, usable):
    """The songs in groups that are versions of one song: [[name]].

    They share the samples of an instrument; or length, instruments and title, as where two programs separated it, or
    the folder around them.
    """
    group_of, owner, several_times = {}, {}, _folders_of_versions(songs, usable)
    several = len({folded(songs[name].title) for name in usable}) > 1
    for name, found in usable.items():
        group_of[name] = [name]
        shared = [instrument["sounds"] for instrument in found["instruments"].values()]
        if several:  # else each song's folder is in one of its own
            shared.append((folded(songs[name].title), _form(found)))
        shared += several_times & _folders(songs[name])
        shared.append((stem_folders.folder_of(songs[name]), found["seconds"]))  # Song/Stems and Song/Multitrack
        for key in shared:
            other = owner.setdefault(key, name)
            if group_of[other] is not group_of[name]:
                group_of[other].extend(group_of[name])
                group_of |= dict.fromkeys(group_of[name], group_of[other])
    return list({id(group): group for group in group_of.values()}.values())


def _folders_of_versions(songs, usable):
    """The folders that hold one song several times, as Song/24 bit and Song/16 bit, or Song/Close and Song/Room do.

    All in it have one length and the same instruments, which says nothing where all songs have; and another folder
    holds some of the same name.
    """
    held, uses = defaultdict(set), Counter(folded(songs[name].title) for name in usable)
    for name in usable:
        for place in _folders(songs[name]):
            held[place].add(name)
    return {
        place
        for place, names in held.items()
        if len(names) > 1
        and len({_form(usable[name]) for name in names}) == 1
        and any(uses[folded(songs[name].title)] > 1 for name in names)
        and len({_form(found) for found in usable.values()}) > 1
    }


def _folders(song):
    """The folder of a song, and the one around it, but for the folder of stems itself."""
    place = stem_folders.folder_of(song)
    return {str(place), str(place.parent)} - {"."}


def _form(found):
    """The length and the instruments of a song."""
    return found["seconds"], *sorted(found["instruments"])


def _recipes(songs, usable, partitions, settings):
    """How each song's files are mixed: {(partition, name): recipe}; and what others lend: {name: [instrument]}."""
    names = [name for name in settings.instrument_names if name != OTHER]
    lenders, used, recipes, filled = _lenders(songs, usable, names, settings.sample_rate), Counter(), {}, {}
    for number, (name, found) in enumerate(usable.items()):
        song, frames = songs[name], round(found["seconds"] * settings.sample_rate)
        files, filled[name] = {}, []
        for place, instrument in enumerate(names):
            files[instrument] = {"stems": _listed(song.stems.get(instrument, ()))}
            able = [each for each in lenders[instrument] if partitions[each.track] == partitions[name]]
            if settings.fill and instrument not in found["instruments"] and able:
                rng = np.random.default_rng([settings.seed, 2, number, place])
                lender = least_used(able, instrument, used, rng)
                offset = lender.draw_offset(frames, settings.sample_rate, rng)
                gain_db = _gain_db(found["loudness"], usable[lender.track]["loudness"])
                files[instrument] = {"stems": lender.stems, "offset": offset, "gain_db": gain_db}
                filled[name].append(instrument)
        rest = [stem for instrument, stems in song.stems.items() if instrument not in names for stem in stems]
        if OTHER in settings.instrument_names or rest:
            files[OTHER] = {"stems": _listed(rest)}
        form = {"sample_rate": settings.sample_rate, "channels": settings.n_channels, "format": mixing.SUFFIX[1:]}
        recipes[partitions[name], name] = {"frames": frames, **form, "files": files}
    return recipes, filled


def _lenders(songs, usable, names, sample_rate):
    """Which songs can lend each instrument: {instrument: [Lender]}."""
    lenders = {name: [] for name in names}
    for track, found in usable.items():
        for name in set(names) & set(found["instruments"]):
            active = np.array([second == "1" for second in found["instruments"][name]["active"]])
            stems, frames = _listed(songs[track].stems[name]), round(found["seconds"] * sample_rate)
            lenders[name].append(Lender(track, stems, frames, active))
    return lenders


def _listed(stems):
    """Stems as a recipe lists them."""
    return [f"{stem.path}#{stem.stream}" if stem.stream else stem.path for stem in stems]


def _gain_db(loudness, lenders_loudness):
    """By how many dB a song is louder than another, within bounds; 0 where that is unknown."""
    if loudness is None or lenders_loudness is None:
        return 0.0
    return round(float(np.clip(loudness - lenders_loudness, -GAIN_BOUND_DB, GAIN_BOUND_DB)), 2)
