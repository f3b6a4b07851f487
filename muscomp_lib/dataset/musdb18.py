"""MUSDB18 as prepared songs: to train on its four stems instead of Slakh's instruments. Used by notebook 03.

MUSDB18 is 150 songs by real bands, 100 in `train` and 50 in `test`. It comes in two forms, which may be side by side:

    train/<song>.stem.mp4                                        MUSDB18: five AAC streams
    train/<song>/{mixture,drums,bass,other,vocals}.wav           MUSDB18-HQ

Of the songs in `train`, the 14 that the `musdb` package reserves are for validation. A root holds either Slakh or
MUSDB18: their instruments differ, and no network can be trained on both.

The given mixture is not used: AAC has changed it and each stem a little, so it is not their sum. Ours is.
"""

import json
import logging
import random
from pathlib import Path

import pandas as pd

from muscomp_lib import audio
from muscomp_lib.audio import reader
from muscomp_lib.audio.quantise import quantise_song
from muscomp_lib.core import parallel, provenance
from muscomp_lib.core.errors import AudioError, DiskFullError, MissingError, MusCompError, SettingError
from muscomp_lib.core.files import PART, clean_parts, remove_ours, written_whole
from muscomp_lib.dataset import library, mixing
from muscomp_lib.slakh import index_tables

INSTRUMENTS = ("vocals", "drums", "bass", "other")
STREAMS = ("mixture", "drums", "bass", "other", "vocals")  # in a .stem.mp4, in this order
SPLITS = ("train", "test")
STEM_SUFFIX = ".stem.mp4"
VALIDATION = (
    "Actions - One Minute Smile",
    "Clara Berry And Wooldog - Waltz For My Victims",
    "Johnny Lokke - Promises & Lies",
    "Patrick Talbot - A Reason To Leave",
    "Triviul - Angelsaint",
    "Alexander Ross - Goodbye Bolero",
    "Fergessen - Nos Palpitants",
    "Leaf - Summerghost",
    "Skelpolu - Human Mistakes",
    "Young Griffo - Pennies",
    "ANiMAL - Rockshow",
    "James May - On The Line",
    "Meaxic - Take A Step",
    "Traffic Experiment - Sirens",
)  # github.com/sigsep/sigsep-mus-db, musdb/configs/mus.yaml
VALIDATION_SHARE = 0.14  # of the train songs of a data set that has none of these
CHANNELS = 2
TOLERANCE = 0.1  # seconds that a stem may be shorter than the others
MADE_FROM = "musdb.json"  # in a prepared song's folder: the file or folder it was made from

log = logging.getLogger(__name__)


def prepare(root, folder, settings, workers=None):
    """Write each song of MUSDB18 as a prepared song: four instruments and their exact sum. Up-to-date songs are kept.

    Parameters
    ----------
    root : Root
        Without songs of Slakh.
    folder : str or Path
        With `train` and `test`. Read, never written to.
    settings : tables.Settings
        `seed` draws the validation songs, where none of the usual ones is there.
    workers : int, optional
        Processes; None: one per processor core. Each takes about 1 GB for a song of five minutes.

    Returns
    -------
    pd.DataFrame
        A row per song: `track` (its name), `partition`, `source` (relative to `folder`), `note` (why it was left out,
        or "").

    Raises
    ------
    MissingError
        No song in `folder`.
    SettingError
        The root holds Slakh.
    MusCompError
        Another run is writing songs.
    DiskFullError
    """
    folder = Path(folder).expanduser()
    _refuse_slakh(root)
    songs = _find(folder)
    partitions = _partitions(songs, settings.seed)
    places = {name: root.prepared / partitions[name] / name for name in songs}
    sources = {name: _readable(path.relative_to(folder).as_posix()) for name, (_, path) in songs.items()}
    with library.writing(root, root.prepared):
        _remove_stale(root, set(places.values()))
        jobs = [(path, places[name], sources[name]) for name, (_, path) in songs.items()]
        notes = parallel.each(_make, jobs, workers, desc="MUSDB18")
    if left_out := sum(map(bool, notes)):
        log.warning("%d of %d songs of MUSDB18 were left out; the column `note` says why", left_out, len(songs))
    rows = [(name, partitions[name], sources[name], note) for name, note in zip(songs, notes, strict=True)]
    return pd.DataFrame(rows, columns=["track", "partition", "source", "note"])


def _refuse_slakh(root):
    _, tracks = index_tables.paths(root)
    found = tracks if tracks.exists() else next(root.prepared.glob(f"*/*/{mixing.RECIPE}"), None)
    if found:
        raise SettingError(
            f"{root.path} holds Slakh ({root.relative(found)} is there), and MUSDB18 has other instruments. Give "
            "another folder as root."
        )


def _find(folder):
    """All songs by name, sorted: {name: (split, path)}. Of a song in both forms, MUSDB18-HQ is taken."""
    found = {}
    for split in SPLITS:
        entries = list((folder / split).glob("[!.]*")) if (folder / split).is_dir() else []
        stems = [path for path in entries if path.name.endswith(STEM_SUFFIX)]
        found |= {_readable(path.name.removesuffix(STEM_SUFFIX)): (split, path) for path in stems}
        whole = [path for path in entries if any((path / f"{name}.wav").is_file() for name in STREAMS)]
        found |= {_readable(path.name): (split, path) for path in whole}
    if not found:
        raise MissingError(
            f"There is no song of MUSDB18 in {folder}. Give the folder that holds `train` and `test`, with "
            f"<song>{STEM_SUFFIX} or <song>/vocals.wav and so on in them."
        )
    return dict(sorted(found.items()))


def _readable(name):
    """A file's name as text for tables: bytes that are not UTF-8 become question marks."""
    return name.encode("utf-8", "replace").decode()


def _partitions(songs, seed):
    """Which partition each song belongs to: {name: partition}."""
    train = [name for name, (split, _) in songs.items() if split == "train"]
    validation = set(VALIDATION).intersection(train)
    if not validation and len(train) > 1:
        validation = random.Random(seed).sample(train, max(1, round(VALIDATION_SHARE * len(train))))
    return {name: "validation" if name in validation else split for name, (split, _) in songs.items()}


def _remove_stale(root, wanted):
    """Remove what killed runs left, and songs made here that have moved or are gone from the data set."""
    for place in _made(root):
        if place not in wanted:  # hidden in one step: half a song must not be taken for a whole one
            place.rename(place.with_name(f"{PART}{place.name}"))
    for split in (*SPLITS, "validation"):
        clean_parts(root.prepared / split)


def _made(root):
    return [path.parent for path in root.prepared.glob(f"[!.]*/[!.]*/{MADE_FROM}")]


# ---- one song ----


def _make(job):
    """Make one song, unless it is up to date; returns why it cannot be made, or ""."""
    path, place, source = job
    try:
        before = _record(place)
        made_from = {"source": source, "files": _identities(path, before.get("files", {}))}
        if before == made_from | {"made": _checksums(place)}:
            return ""
        _write(place, quantise_song(_stems(path)), made_from)
    except DiskFullError:
        raise
    except (MusCompError, OSError) as error:
        if (place / MADE_FROM).exists():  # an older version, made from another download
            remove_ours(place, MADE_FROM)
        return str(error)
    return ""


def _record(place):
    """What a song was made from, and the checksums of its files; empty where that cannot be read."""
    try:
        record = json.loads((place / MADE_FROM).read_text(encoding="utf-8"))
        return record if isinstance(record["files"], dict) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _identities(path, known):
    """The identity of each of a song's files, which tell a new download from the old one."""
    files = [path] if path.is_file() else sorted(path.glob("*.wav"))
    return {_readable(file.name): provenance.identity(file, known.get(_readable(file.name))) for file in files}


def _checksums(place):
    files = sorted(place.glob(f"*{mixing.SUFFIX}"))
    return {file.name: provenance.checksum(file) for file in files}


def _write(place, files, made_from):
    with written_whole(place, mark=MADE_FROM) as part:
        part.mkdir()
        for name, waveform in files.items():
            audio.write(part / f"{name}{mixing.SUFFIX}", waveform, audio.SAMPLE_RATE)
        provenance.write(part / MADE_FROM, json.dumps(made_from | {"made": _checksums(part)}) + "\n")


def _stems(path):
    """The four instruments at 44.1 kHz: {name: float32, shape (n_samples, 2)}, equally long.

    Raises
    ------
    AudioError, MissingError
        Something of the song is missing or cannot be decoded to its end.
    """
    stems = {name: _stem(path, name) for name in INSTRUMENTS}
    lengths = {name: len(waveform) for name, waveform in stems.items()}
    longest = max(lengths.values())
    if longest - min(lengths.values()) > TOLERANCE * audio.SAMPLE_RATE:
        raise AudioError(f"{path}: the stems differ in length, in samples: {lengths}. Use another copy of it.")
    return {name: audio.fit_length(waveform, longest) for name, waveform in stems.items()}


def _stem(path, name):
    """A stem: a file of its own, or a stream of a .stem.mp4."""
    file, track = (path, STREAMS.index(name)) if path.is_file() else (path / f"{name}.wav", 0)
    with reader.opened(file, whole=True, track=track) as source:
        waveform = source.read_all()
        if source.non_finite or source.damaged:
            raise AudioError(f"{path}: {name} holds NaN or infinite samples, or damaged ones. Use another copy of it.")
        return audio.fit_channels(audio.resample(waveform, source.sample_rate, audio.SAMPLE_RATE), CHANNELS)
