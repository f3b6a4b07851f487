"""Stems with the MIDI files they were played from, written in milliseconds, for the tests of the transcriber."""

import numpy as np
import pandas as pd
import pretty_midi

from muscomp_lib import audio, catalogue, drive, instruments

RATE = 44100
SECONDS = 6.0
TRACKS = {"Track00001": "train", "Track00002": "train", "Track00003": "reserve", "Track00004": "validation",
          "Track00005": "test"}  # fmt: skip
NAMES = ["Electric_Bass_pick", "Violin", "Drums"]
LOWEST = {"Electric_Bass_pick": 36, "Violin": 67}


def write(folder):
    """Write stems, MIDI files and both tables under a new root, and return it."""
    root = drive.open_root(folder)
    stems, tracks = [], []
    for seed, (track, partition) in enumerate(TRACKS.items()):
        rows = [_stem(root, track, number, name, seed) for number, name in enumerate(NAMES)]
        mix = sum(audio.read(root.slakh / row["audio"])[0] for row in rows)
        audio.write(root.slakh / track / "mix.flac", audio.to_int16(mix), RATE)
        stems += rows
        tracks.append(_track(track, partition))
    catalogue.write(root, _table(stems, catalogue.STEM_COLUMNS), _table(tracks, catalogue.TRACK_COLUMNS, NAMES))
    return root


def notes(name, seed):
    """[(start, end, pitch, velocity)] of a part: a note each third of a second or so."""
    rng = np.random.default_rng([seed, NAMES.index(name)])
    starts = np.arange(0.2, SECONDS - 0.5, 0.35) + rng.uniform(0, 0.1, len(np.arange(0.2, SECONDS - 0.5, 0.35)))
    pitches = [
        36 + 2 * int(rng.integers(2)) if name == "Drums" else LOWEST[name] + int(rng.integers(12)) for _ in starts
    ]
    return [
        (float(start), float(start) + 0.25, pitch, int(rng.integers(60, 120)))
        for start, pitch in zip(starts, pitches, strict=True)
    ]


def sound(played, name):
    """The notes as decaying tones, drums as bursts of noise: shape (n_samples, 1)."""
    rng, out = np.random.default_rng(0), np.zeros(round(RATE * SECONDS), np.float32)
    for start, end, pitch, velocity in played:
        time = np.arange(round((end - start) * RATE)) / RATE
        hertz = 440 * 2 ** ((pitch - 69) / 12)
        wave = (
            rng.normal(size=len(time))
            if name == "Drums"
            else sum(0.6**k * np.sin(2 * np.pi * k * hertz * time) for k in (1, 2, 3))
        )
        first = round(start * RATE)
        out[first : first + len(time)] += 0.1 * velocity / 127 * np.exp(-6 * time) * wave
    return out[:, None]


def _stem(root, track, number, name, seed):
    played = notes(name, seed)
    stem = f"S{number:02d}"
    path, midi_path = f"{track}/stems/{stem}.flac", f"{track}/MIDI/{stem}.mid"
    audio.write(root.slakh / path, audio.to_int16(sound(played, name)), RATE)
    program = instruments.load()[name].programs[0]
    midi = pretty_midi.PrettyMIDI()
    part = pretty_midi.Instrument(program % 128, is_drum=name == "Drums")
    part.notes = [pretty_midi.Note(velocity, pitch, start, end) for start, end, pitch, velocity in played]
    midi.instruments.append(part)
    (root.slakh / midi_path).parent.mkdir(parents=True, exist_ok=True)
    midi.write(str(root.slakh / midi_path))
    return {"track": track, "stem": stem, "instrument": name, "program_num": program, "is_drum": name == "Drums",
            "audio": path, "midi": midi_path, "sample_rate": RATE, "channels": 1, "frames": round(RATE * SECONDS),
            "status": "ok"}  # fmt: skip


def _track(track, partition):
    known = {"track": track, "uuid": track, "partition": partition, "mix": f"{track}/mix.flac",
             "frames": round(RATE * SECONDS), "duration": SECONDS, "status": "ok"}  # fmt: skip
    return known | dict.fromkeys(NAMES, 1)


def _table(rows, columns, counts=()):
    table = pd.DataFrame(rows).reindex(columns=[*columns, *counts])
    kinds = {**columns, **dict.fromkeys(counts, catalogue.WHOLE)}
    for name, kind in kinds.items():
        table[name] = (table[name].astype(object).fillna("") if kind == catalogue.TEXT else table[name]).astype(kind)
    return table
