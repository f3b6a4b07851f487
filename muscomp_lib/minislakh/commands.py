"""Engines that are commands, and read and write files: timidity and festival. Used by synthesizer.py.

`timidity` plays patches of the Gravis Ultrasound. `festival` sings, one note at a time; the Debian packages of its
voices bring what it needs.
"""

import copy
import itertools
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from muscomp_lib import audio

DRY = ("-EFreverb=0", "-EFchorus=0", "-EFdelay=0")
TIMIDITY = ("timidity", "-Ow", "--output-mono", "--preserve-silence", *DRY, "-A30")
TICKS = 960  # in a beat of half a second: how finely timidity is given the times of notes
NOTHING = "\n".join(f"{bank} 0\n" + "\n".join(f"undef {n}" for n in range(128)) for bank in ("bank", "drumset"))
FESTIVAL = ("text2wave", "-mode", "singing")
HEADER = """<?xml version="1.0"?>
<!DOCTYPE SINGING PUBLIC "-//SINGING//DTD SINGING mark up//EN" "Singing.v0_1.dtd" []>
"""
LYRICS = ("la", "love", "you", "me", "oh", "time", "way", "night", "go", "blue", "rain", "home")  # a syllable each
SHORTEST = 0.08  # seconds between notes that can be sung
LOWEST, HIGHEST = 36, 71  # MIDI pitches: beyond, festival 2.5 crashes


def check(engine):
    """Make sure that an engine's command is there; else ImportError."""
    command = {"timidity": TIMIDITY, "festival": FESTIVAL}[engine][0]
    if not shutil.which(command):
        raise ImportError(f"there is no command {command}")


def timidity(part, sample_rate, config):
    """All of a part, until it has faded away.

    Parameters
    ----------
    part : pretty_midi.Instrument
    sample_rate : int
        Hz.
    config : Path
        A configuration of timidity, which lists patches.

    Returns
    -------
    np.ndarray, shape=(n_samples, 1), float32
    """
    import pretty_midi

    alone = pretty_midi.PrettyMIDI(resolution=TICKS, initial_tempo=120)
    alone.instruments = [part]
    with tempfile.TemporaryDirectory() as folder:
        notes, sound, only = (Path(folder) / name for name in ("notes.mid", "sound.wav", "only.cfg"))
        alone.write(str(notes))
        only.write_text(f"{NOTHING}\nsource {config}\n")  # else the system's soundfont plays what the patches lack
        return _run([*TIMIDITY, "-c", only, "-s", str(sample_rate), "-o", sound, notes], sound)[0]


def festival(part, sample_rate, voice):
    """A part as a voice sings it: of notes together the highest, each until the next begins, in an octave it can reach.

    Parameters
    ----------
    part : pretty_midi.Instrument
    sample_rate : int
        Hz.
    voice : Path
        The file that defines the voice, and is called like it.

    Returns
    -------
    np.ndarray, shape=(n_samples, 1), float32
    """
    notes = _melody(part.notes)
    if not notes:
        return np.zeros((0, 1), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        song, sound = Path(folder) / "song.xml", Path(folder) / "sound.wav"
        song.write_text(_sheet(notes))
        waveform, rate = _run([*FESTIVAL, song, "-o", sound, "-eval", f"(voice_{voice.stem})"], sound)
    return audio.resample(waveform, rate, sample_rate)


COMMANDS = {"timidity": timidity, "festival": festival}


def _melody(notes):
    """The highest of notes that begin together, each cut where the next begins: copies, by time."""
    kept = []
    for note in sorted(notes, key=lambda note: (note.start, -note.pitch)):
        if kept and note.start < kept[-1].start + SHORTEST:
            continue
        if kept:
            kept[-1].end = min(kept[-1].end, note.start)
        kept.append(copy.copy(note))
    return [note for note in kept if note.end - note.start >= SHORTEST / 2]


def _sheet(notes):
    """Notes and lyrics as festival's singing mode reads them."""
    lines, now = [], 0.0
    for note, word in zip(notes, itertools.cycle(LYRICS), strict=False):
        if note.start > now:
            lines.append(f'<REST SECONDS="{note.start - now:.4f}"></REST>')
        hertz = audio.to_hertz(_singable(note.pitch))
        sung = f'<DURATION SECONDS="{note.end - note.start:.4f}">{word}</DURATION>'
        lines.append(f'<PITCH FREQ="{hertz:.2f}">{sung}</PITCH>')
        now = note.end
    return "\n".join([f'{HEADER}<SINGING BPM="60">', *lines, "</SINGING>\n"])


def _singable(pitch):
    """A pitch, by octaves between LOWEST and HIGHEST."""
    if pitch > HIGHEST:
        return HIGHEST - (HIGHEST - pitch) % 12
    return LOWEST + (pitch - LOWEST) % 12 if pitch < LOWEST else pitch


def _run(command, sound):
    """The waveform and the sample rate of the file `sound` that a command writes; RuntimeError where it does not."""
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode or not sound.is_file():
        raise RuntimeError(done.stderr.strip()[-200:] or f"{command[0]} writes nothing")
    return audio.read(sound)
