"""Whether stems sound in the octave of their notes. Used by notebook 01, where it decodes all files.

A MIDI file lists keys, and the patch decides what they sound like: with several of Slakh's bass patches, notes sound an
octave below what is written. So some notes of each stem that sound alone are compared with the stem's sound. The pitch
of each is the first high peak of the normalized square difference function (McLeod and Wyvill 2005). An octave counts
where nearly all notes agree on it; otherwise it is unknown, since a wrong correction is worse than none. It remains
unknown of drums, of stems that play nothing but chords or short notes, and of organs: many have a stop that sounds an
octave below the key, and it is the key that is transcribed.
"""

from collections import Counter

import numpy as np
import scipy.fft

from muscomp_lib import audio
from muscomp_lib.audio import reader
from muscomp_lib.core import parallel
from muscomp_lib.core.errors import MidiError, MissingError
from muscomp_lib.music_files import midi_file
from muscomp_lib.slakh import verify

OCTAVE = "octave"  # the kind of results in the cache, and the column of the table
ORGANS = range(16, 20)  # General MIDI programs
N_NOTES, FEWEST, MAJORITY = 8, 3, 0.75  # notes of a stem, at most; how many, and what share of them, have to agree
SHORTEST, LONGEST = 0.2, 0.5  # seconds: of notes that are compared, and what is read of each
ATTACK = 0.1  # seconds left out of a note: it has no pitch yet, and some patches are as late
TOUCHING = 0.01  # seconds by which notes may overlap that sound one after the other
REACH, TOLERANCE = 2, 1 / 3  # octaves either way of what is written; semitones that a note may be out of tune
LOWEST, HIGHEST = 25.0, 8000.0  # Hz
QUIET = 1e-3  # a note whose peak is below is taken to be silent
CLEAR, HIGH_PEAK = 0.8, 0.85  # the function at its highest peak, at least; what share of that the first high one has


def add(stems, files, source, compare=False, workers=None):
    """Add `octave` to rows of stems.csv: by how many octaves a stem sounds above its notes; None where unknown.

    Parameters
    ----------
    stems : list of dict
        As from `track.rows`.
    files : dict of str to os.stat_result
        The sound and MIDI files, by their path relative to the data set.
    source : track.Source
    compare : bool
        Compare stems that are not in the cache for the present state of their sound and their MIDI file.
    workers : int, optional
        Processes; None: one per core.

    Raises
    ------
    MountLostError
    """
    jobs = {}
    for stem in filter(_comparable, stems):
        paths = stem["audio"], stem["midi"]
        state = tuple(number for path in paths for number in verify.file_state(files[path]))
        jobs[stem["audio"]] = state, tuple(source.slakh / path for path in paths)
    if compare:
        verify.read_all(source.cache, source.slakh, OCTAVE, of_stem, jobs, workers, "comparing notes")
    for stem in stems:
        state, _ = jobs.get(stem["audio"], (None, None))
        stem[OCTAVE] = (source.cache.get(stem["audio"], state, OCTAVE) or {}).get(OCTAVE) if state else None


def _comparable(stem):
    plays = stem["status"] == "ok" and stem["instrument"] and stem["midi"]
    return plays and not stem["is_drum"] and stem["program_num"] not in ORGANS


def of_stem(paths):
    """Compare a stem's sound with its notes.

    Parameters
    ----------
    paths : (Path, Path)
        The sound, and the MIDI file.

    Returns
    -------
    dict
        `octave`: by how many octaves it sounds above its notes, from -2 to 2; None where that is not clear.
        Instead of it `problem`, where the sound cannot be read.
    """
    return verify.result(_of_stem, paths)


def _of_stem(paths):
    sound, midi = paths
    try:
        notes = solo_notes(note for track in midi_file.read(midi).instruments for note in track.notes)
    except (MidiError, MissingError):
        return {OCTAVE: None}
    votes = []
    with reader.opened(sound) as source:
        rate, position = source.sample_rate, 0
        for note in notes if len(notes) >= FEWEST else ():
            first, last = (round(time * rate) for time in (note.start + ATTACK, min(note.end, note.start + LONGEST)))
            if last > source.frames:
                break
            source.skip(first - position)
            excerpt = audio.mono(source.read_all(last - first))[:, 0]
            position = first + len(excerpt)
            votes.append(_octaves_above(excerpt.astype(np.float64), rate, note.pitch))
    octave, n_votes = Counter(votes).most_common(1)[0] if votes else (None, 0)
    return {OCTAVE: octave if n_votes >= max(FEWEST, MAJORITY * len(votes)) else None}


def solo_notes(notes):
    """Some notes, spread over the stem, that are long enough and sound alone: list of pretty_midi.Note."""
    notes = sorted(notes, key=lambda note: (note.start, note.end))
    ends = np.maximum.accumulate([0.0, *(note.end for note in notes)])
    starts = [*(note.start for note in notes[1:]), np.inf]
    alone = [
        note
        for note, before, after in zip(notes, ends, starts, strict=False)
        if note.end - note.start >= SHORTEST and before <= note.start + TOUCHING and note.end - TOUCHING <= after
    ]
    return parallel.evenly_spaced(alone, N_NOTES)


def _octaves_above(sound, rate, written):
    """By how many octaves a note sounds above its MIDI pitch; None where it has no pitch, or is another note."""
    hertz = audio.to_hertz(written)
    widest = 2 ** (REACH + 1 / 12)
    found = pitch(sound, rate, max(LOWEST, hertz / widest), min(HIGHEST, hertz * widest))
    if not found:
        return None
    octaves = np.log2(found / hertz)
    return round(octaves) if abs(octaves - round(octaves)) * 12 <= TOLERANCE else None


def pitch(sound, rate, lowest, highest):
    """The pitch of one note.

    Parameters
    ----------
    sound : np.ndarray, shape=(n_samples,), float64
    rate : int
        Hz.
    lowest, highest : float
        Hz, between which it is looked for.

    Returns
    -------
    float or None
        Hz; None where nothing repeats, and of silence.
    """
    if np.abs(sound).max(initial=0.0) < QUIET:
        return None
    repeats = _self_similarity(sound - sound.mean(), min(int(rate / lowest) + 2, 2 * len(sound) // 3))
    unlike = np.flatnonzero(repeats < 0)  # before it, all sounds resemble themselves
    first = max(2, int(rate / highest), int(unlike[0]) if len(unlike) else len(repeats))
    middle = repeats[first:-1]
    peaks = first + np.flatnonzero((middle >= repeats[first - 1 : -2]) & (middle > repeats[first + 1 :]))
    if not len(peaks) or repeats[peaks].max() < CLEAR:
        return None
    at = peaks[repeats[peaks] >= HIGH_PEAK * repeats[peaks].max()][0]
    before, here, after = repeats[at - 1 : at + 2]
    return float(rate / (at + 0.5 * (before - after) / (before - 2 * here + after)))


def _self_similarity(sound, longest):
    """The normalized square difference function at lags up to `longest` samples: 1 where the sound repeats exactly."""
    size = scipy.fft.next_fast_len(len(sound) + longest + 1, real=True)
    products = scipy.fft.irfft(np.abs(scipy.fft.rfft(sound, size)) ** 2, size)[: longest + 1]
    energy, lags = np.cumsum(np.r_[0.0, sound**2]), np.arange(longest + 1)
    return 2 * products / np.maximum(energy[len(sound) - lags] + energy[-1] - energy[lags], 1e-12)
