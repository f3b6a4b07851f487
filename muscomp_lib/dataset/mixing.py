"""Mixing a song from its recipe: stems are read, shifted, scaled and summed. Used by notebook 02.

A recipe defines a song completely. A song that is made has it in its folder, as `recipe.json`:

    {"frames": 1764000, "sample_rate": 44100, "channels": 2, "format": "flac", "files": {"Violin": {"stems":
     ["train/Track00003/stems/S02.flac"], "offset": 441000, "gain_db": -1.5}, ..., "other": {"stems": [...]}}}

`frames` is the song's length in samples. Stems of one file are summed; with an `offset` (in samples, as `frames`) they
come from another song: they start there, and repeat from their start until the song is full. A file without stems is
silent. A sound track of a film is a stem, too: `song.stem.mp4#2` is its third. One gain for all files of a song keeps
its mix below -1 dBFS. Checksums of the stems (`made_from`) and of the song's own files (`made`) follow: a song is made
again when any of them has changed.

Every file is rounded to 16-bit integers first, and the mix is the sum of those integers: float sums would differ from
the sum of the rounded files by their rounding, and then no mask could reproduce the files exactly.

A sample depends on the recipe and its position alone. So a song need not be made: `Song.excerpt` mixes any part of it
on demand, with the samples that its file would have.
"""

import json
import re
from functools import cached_property
from pathlib import PurePosixPath

import numpy as np

from muscomp_lib import audio
from muscomp_lib.audio.formats import DATASET_SUFFIXES
from muscomp_lib.audio.quantise import INT16_SCALE, peak, song_gain
from muscomp_lib.audio.resampler import n_samples_at
from muscomp_lib.core import provenance, remote_io
from muscomp_lib.core.errors import AudioError
from muscomp_lib.core.files import written_whole
from muscomp_lib.core.instruments import LEFT, MIX, RIGHT

RECIPE = "recipe.json"
MADE_FROM, MADE = "made_from", "made"  # its keys with the checksums of the stems and of the song's files
FORMATS = tuple(suffix[1:] for suffix in DATASET_SUFFIXES)
BLOCK = 1 << 16  # samples mixed at once: few enough to stay in the processor's cache
READ_BLOCK = 1 << 22  # ... where stems are read for every block, which takes longer than mixing them
HALF_STEP = 0.5 / INT16_SCALE  # what is softer is rounded to silence
_SIDES = "|".join(sorted(LEFT | RIGHT))
CHANNEL = re.compile(  # ends the names of two files with one each: "Drums.L", "Drums (left) 1", "DrumsL", "L"
    rf"(?:^(?i:\(?(?:l|r|left|right)\)?)$|(?:(?i:[ ._-]+\(?(?:{_SIDES})\)?)"
    rf"|(?<=[a-z])(?:{_SIDES.title()}))(?=(?:[ ._-]*\d+)?(?:\.dup\d+)?$))"
)
SUFFIX = ".flac"  # of prepared songs, unless the settings name another format


class Stems:
    """The stems of a data set, at one sample rate.

    Parameters
    ----------
    slakh : Path
    sample_rate : int
        Hz.
    keep : bool
        Whether stems are decoded whole and kept, for a song that is mixed whole, or only the part that is needed.
    """

    def __init__(self, slakh, sample_rate, keep):
        self._slakh, self._sample_rate, self._keep = slakh, sample_rate, keep
        self._whole, self._infos = {}, {}

    def frames(self, paths):
        """Length of the longest of several stems, in samples at `sample_rate`."""
        infos = list(map(self._info, paths))
        return max((n_samples_at(self._sample_rate, info.frames, info.sample_rate) for info in infos), default=0)

    def sum(self, paths, start, frames):
        """`frames` samples of the sum of stems from sample `start` on, silence past their ends.

        Returns
        -------
        np.ndarray, shape=(frames, n_channels), float32
            Mono stays mono: Slakh's stems all are.

        Raises
        ------
        AudioError, MissingError
            When a stem cannot be read.
        """
        parts = [on_its_side(path, self._part(path, start, frames)) for path in paths]
        channels = max(part.shape[1] for part in parts)
        # 16-bit samples as float32 are added exactly, up to 256 stems.
        return sum(audio.fit_channels(audio.fit_length(audio.to_float(part), frames), channels) for part in parts)

    def _info(self, path):
        if path not in self._infos:
            file, track = file_of(path)
            self._infos[path] = audio.info(remote_io.local_copy(self._slakh / file), track)
        return self._infos[path]

    def _part(self, path, start, frames):
        info = self._info(path)
        if self._keep or info.sample_rate != self._sample_rate:  # a part cannot be resampled like the whole
            return self._decoded(path, info)[start : start + frames]
        start, wanted = min(start, info.frames), max(0, min(frames, info.frames - start))
        return self._read(path, info, start, wanted)[0]

    def _decoded(self, path, info):
        """A whole stem at `sample_rate`."""
        if path in self._whole:
            return self._whole[path]
        waveform, rate = self._read(path, info)
        if rate != self._sample_rate:
            waveform = audio.resample(waveform, rate, self._sample_rate)
        if self._keep:
            self._whole[path] = waveform
        return waveform

    def _read(self, path, info, start=0, frames=None):
        file, track = file_of(path)
        copy = remote_io.local_copy(self._slakh / file)
        return audio.read(copy, start, frames, _dtype(info, self._sample_rate), track)


def file_of(stem):
    """The file of a stem in a recipe, and the number of its sound track there: (str, int)."""
    match = re.fullmatch(r"(.+\.m(?:p4|4a))#(\d+)", stem, re.DOTALL | re.IGNORECASE)
    return (match[1], int(match[2])) if match else (stem, 0)


def on_its_side(stem, waveform):
    """A stem's waveform, (n_samples, n_channels); as stereo where it is one of two channels, as Drums.L.wav is."""
    side = CHANNEL.search(PurePosixPath(stem).stem)
    if not side or waveform.shape[1] > 1:
        return waveform
    silence = np.zeros_like(waveform)
    is_left = side[0].strip(" ._-()").lower() in LEFT
    return np.hstack([waveform, silence] if is_left else [silence, waveform])


def _dtype(info, sample_rate):
    """The smallest type that holds a stem's samples without loss."""
    return "int16" if info.sixteen_bit and info.sample_rate == sample_rate else "float32"


class Song:
    """A song that is mixed from its recipe.

    Parameters
    ----------
    slakh : Path
        The data set, which the recipe's stems are relative to.
    recipe : dict
        As above, and possibly `gain`, the factor for all files; else it is computed when it is first needed.
    keep : bool
        As in `Stems`.
    """

    def __init__(self, slakh, recipe, keep=False):
        self.frames, self.sample_rate, self.channels = (recipe[key] for key in ("frames", "sample_rate", "channels"))
        self.files = recipe["files"]
        self._stems = Stems(slakh, self.sample_rate, keep)
        self._block = BLOCK if keep else READ_BLOCK
        self._given_gain = recipe.get("gain")

    def excerpt(self, name, start=0, frames=None):
        """A part of the file `name`.

        Parameters
        ----------
        name : str
            Of a file in the recipe, or `mix`.
        start, frames : int
            First sample and number of samples; None goes to the end.

        Returns
        -------
        np.ndarray, shape=(n_samples, channels), int16

        Raises
        ------
        AudioError, MissingError
            When a stem cannot be read.
        """
        end = self.frames if frames is None else min(start + frames, self.frames)
        excerpt = np.zeros((max(0, end - start), self.channels), np.int16)
        for first in range(start, end, self._block):
            frames = min(self._block, end - first)
            excerpt[first - start :][:frames] = (
                self._mix(first, frames) if name == MIX else self._file(name, first, frames)
            )
        return excerpt

    def check(self, name):
        """Make sure that the stems of a file, or of all for `mix`, can be opened; AudioError, MissingError if not."""
        for part in self.files.values() if name == MIX else [self.files[name]]:
            self._stems.frames(part["stems"])

    def _mix(self, start, frames):
        return sum(self._file(name, start, frames).astype(np.int32) for name in self.files)

    def _file(self, name, start, frames):
        """A block of a file: int16, shape (frames, 1 or channels)."""
        if not self.files[name]["stems"]:
            return np.zeros((frames, 1), np.int16)
        return audio.to_int16(self._unscaled(name, start, frames) * self.gain)

    def _unscaled(self, name, start, frames):
        """A block of a file with stems before the song's gain: float32, shape (frames, 1 or channels)."""
        part = self.files[name]
        if "offset" not in part:
            sound = self._stems.sum(part["stems"], start, frames)
        else:
            sound = self._looped(part["stems"], part["offset"] + start, frames)
            sound *= np.float32(audio.to_gain(part["gain_db"]))
        return sound if sound.shape[1] == 1 else audio.fit_channels(sound, self.channels)

    def _looped(self, paths, start, frames):
        """`frames` samples of the sum of stems from `start` on, repeated from its start at its end."""
        length, pieces = self._stems.frames(paths), []
        while frames > 0:
            first = start % length
            pieces.append(self._stems.sum(paths, first, min(frames, length - first)))
            start, frames = start + len(pieces[-1]), frames - len(pieces[-1])
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    @cached_property
    def gain(self):
        """The factor, at most 1, that keeps all files and their mix at or below -1 dBFS: np.float32.

        Raises
        ------
        AudioError
            The mix would be silent, or a stem cannot be read.
        """
        if self._given_gain is not None:
            return np.float32(self._given_gain)
        loudest = loudest_mix = 0.0
        nonempty = [name for name, part in self.files.items() if part["stems"]]
        for start in range(0, self.frames, self._block):
            sounds = [self._unscaled(name, start, min(self._block, self.frames - start)) for name in nonempty]
            loudest_mix = max(loudest_mix, peak(sum(sounds))) if sounds else 0.0
            loudest = max(loudest, loudest_mix, *map(peak, sounds))
        if loudest_mix < HALF_STEP:
            raise AudioError("its mix is silent throughout: nothing could be learnt from it")
        return song_gain(loudest, len(self.files))


# ---- the files ----


def is_made(slakh, folder, recipe, checksums):
    """Whether `folder` holds all files of exactly this recipe, undamaged, made from the stems as they are now.

    A stem that is not there any more does not count: without it the song could not be made again.

    Parameters
    ----------
    slakh, folder, recipe
        As for `make`.
    checksums : provenance.Checksums
    """
    try:
        found = read_recipe(folder)
        made_from, made = found.pop(MADE_FROM), found.pop(MADE)
        return (
            _text(found) == _text(recipe)
            and made.keys() == {f"{name}.{recipe['format']}" for name in (*recipe["files"], MIX)}
            and all(checksums.of(folder / name) == known for name, known in made.items())
            and all(checksums.of(slakh / path) in (known, None) for path, known in made_from.items())
        )
    except (OSError, ValueError, KeyError, AttributeError, TypeError):  # no recipe, or a damaged one
        return False


def read_recipe(folder):
    """The recipe a song was made from, with the checksums of its stems and files."""
    return json.loads((folder / RECIPE).read_text(encoding="utf-8"))


def _text(recipe):
    return json.dumps(recipe, indent=1) + "\n"


def make(slakh, folder, recipe):
    """Make a song's folder with one file per entry of the recipe, and their mix.

    Parameters
    ----------
    slakh : Path
        The data set, which the recipe's stems are relative to.
    folder : Path
        Appears complete or not at all; an older one is replaced.
    recipe : dict
        As above.

    Returns
    -------
    dict
        The checksums of the stems and of the song's files, as `provenance.Checksums.new`.

    Raises
    ------
    AudioError, MissingError
        When a stem cannot be read to its end, or the mix would be silent.
    DiskFullError
    """
    checksums = provenance.Checksums()
    made_from = stem_checksums(slakh, recipe, checksums)
    with written_whole(folder, mark=RECIPE) as part:
        part.mkdir()
        _write_files(part, Song(slakh, recipe, keep=True), recipe["format"])
        made = {file.name: checksums.of(file) for file in sorted(part.iterdir())}
        provenance.write(part / RECIPE, _text(recipe | {MADE_FROM: made_from, MADE: made}))
    checksums.move(part, folder)
    return checksums.new


def stem_checksums(slakh, recipe, checksums):
    """The checksum of each stem of a recipe: {path: checksum}. They are to be read before the stems are."""
    paths = sorted({file_of(stem)[0] for part in recipe["files"].values() for stem in part["stems"]})
    return {path: checksums.of(slakh / path, remote_io.local_copy(slakh / path)) for path in paths}


def _write_files(folder, song, file_format):
    _ = song.gain  # a silent song is refused before anything is written
    mix = np.zeros((song.frames, song.channels), np.int16)  # the gain keeps it in range
    for name in song.files:
        waveform = song.excerpt(name)
        mix += waveform
        audio.write(folder / f"{name}.{file_format}", waveform, song.sample_rate)
    audio.write(folder / f"{MIX}.{file_format}", mix, song.sample_rate)


def check(folder, recipe):
    """Verify a song's files: rate, channels and length of the recipe, the mix the exact sum, no peak above -1 dBFS.

    Returns
    -------
    dict
        `seconds`, `peak_db`, and `note`: what is wrong, or "".
    """
    form = (recipe["frames"], recipe["channels"])
    total, loudest = np.zeros(form, np.int32), 0
    for name in (*recipe["files"], MIX):
        try:
            waveform, sample_rate = audio.read(folder / f"{name}.{recipe['format']}", dtype="int16")
        except (AudioError, OSError) as error:
            return _verdict(0, 0, str(error))
        if (waveform.shape, sample_rate) != (form, recipe["sample_rate"]):
            wrong = f"{waveform.shape[0]} samples, {waveform.shape[1]} channels, {sample_rate} Hz"
            return _verdict(0, 0, f"{name}: {wrong}, unlike its recipe")
        loudest = max(loudest, int(peak(waveform.astype(np.int32))))
        total += waveform if name != MIX else -waveform.astype(np.int32)
    wrong = ["the mix is not the sum of the other files"] if total.any() else []
    if loudest > audio.to_gain(audio.PEAK_DB) * audio.INT16_SCALE:
        wrong.append("a peak above -1 dBFS")
    return _verdict(recipe["frames"] / recipe["sample_rate"], loudest, "; ".join(wrong))


def _verdict(seconds, loudest, note):
    return {
        "seconds": round(seconds, 3),
        "peak_db": round(float(audio.to_db(loudest / audio.INT16_SCALE)), 2),
        "note": note,
    }
