"""A data set in Slakh's exact layout, of a few seconds and in milliseconds, for the tests of every stage.

    write_track(slakh, "train", "Track00001", {"S00": dict(program=30), "S01": dict(program=128, noise=True)}, uuid="a")

Switches plant what real Slakh has and should not have. `split=""` puts the track directly into the folder, like
BabySlakh.
"""

import mido
import numpy as np
import pretty_midi
import soundfile
import yaml

RATE = 44100
DRUMS = 128
CLASSES = (  # Slakh's `inst_class` for each group of eight General MIDI programs
    "Piano", "Chromatic Percussion", "Organ", "Guitar", "Bass", "Strings", "Strings (continued)", "Brass", "Reed",
    "Pipe", "Synth Lead", "Synth Pad", "Synth Effects", "Ethnic", "Percussive", "Sound Effects", "Drums",
)  # fmt: skip
DEFAULT_STEMS = {"S00": {"program": 34, "frequency": 82.4}, "S01": {"program": 128, "noise": True}}


def sound(seconds=2.0, frequency=220.0, noise=False, level=0.1, rate=RATE):
    """A sine, or noise with the same seed for the same `frequency`; int16, shape (n_samples, 1)."""
    count = round(seconds * rate)
    if noise:
        wave = np.random.default_rng(int(frequency)).uniform(-1, 1, count)
    else:
        wave = np.sin(2 * np.pi * frequency * np.arange(count) / rate)
    return np.rint(wave * level * 32767).astype(np.int16)[:, None]


def write_track(
    slakh,
    split,
    track,
    stems=None,
    uuid=None,
    suffix=".flac",
    rate=RATE,
    mix=True,
    truncated_mix=False,
    malformed_yaml=False,
    metadata=True,
    extra=None,
):
    """Write one track and return its folder.

    Parameters
    ----------
    slakh : Path
    split, track : str
        `""` as split: no split folder.
    stems : dict of str to dict
        Per stem `program`, the arguments of `sound` (`seconds`, `frequency`, `noise`, `level`, `rate`), and defects:
        `rendered=False` (never rendered: no file, plugin "None"), `file=False` (rendered, but the file is not there),
        `truncated=True`, `flag=False` (`audio_rendered` is false although the file is there), `seconds=0`, and
        `entry={...}`, which replaces or adds keys of the stem's metadata (None removes one).
    uuid : str
        The same for two tracks: the same song. By default the track's own.
    suffix : {".flac", ".wav"}
    rate : int
        Sample rate in Hz of all files.
    mix, metadata : bool
        Whether mix and metadata.yaml are written.
    truncated_mix, malformed_yaml : bool
    extra : dict
        Replaces or adds keys of the track's metadata (None removes one).
    """
    folder = slakh / split / track
    for part in ("stems", "MIDI"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    stems = DEFAULT_STEMS if stems is None else stems
    audible = [_write_stem(folder, name, spec, suffix, rate) for name, spec in stems.items()]
    audible = [sound for sound in audible if sound is not None]
    if mix and audible:
        path = folder / f"mix{suffix}"
        soundfile.write(path, _sum(audible), rate, subtype="PCM_16")
        if truncated_mix:
            truncate(path)
    _write_midi(folder / "all_src.mid", stems)
    if metadata:
        text = yaml.safe_dump(_metadata(track, stems, uuid or f"uuid-of-{track}", extra or {}), sort_keys=True)
        (folder / "metadata.yaml").write_text(text + ("stems: [unclosed\n" if malformed_yaml else ""), encoding="utf-8")
    return folder


def _write_stem(folder, name, spec, suffix, rate):
    keys = {key: spec[key] for key in ("seconds", "frequency", "noise", "level", "rate") if key in spec}
    wave = sound(**{"rate": rate, **keys})
    _write_midi(folder / "MIDI" / f"{name}.mid", {name: spec})
    if not spec.get("rendered", True):
        return None
    if spec.get("file", True):
        path = folder / "stems" / f"{name}{suffix}"
        soundfile.write(path, wave, spec.get("rate", rate), subtype="PCM_16")
        if spec.get("truncated"):
            truncate(path)
    return wave


def _sum(waves):
    total = np.zeros((max(map(len, waves)), 1), np.int32)
    for wave in waves:
        total[: len(wave)] += wave
    assert np.abs(total).max(initial=0) < 32768, "the stems are too loud to be summed: lower `level`"
    return total.astype(np.int16)


def truncate(path):
    """Cut an audio file in half; a FLAC's header goes on promising the whole."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _write_midi(path, stems):
    song = mido.MidiFile(ticks_per_beat=220)
    for spec in stems.values():
        program = _program(spec)
        channel = 9 if program == DRUMS else 0
        song.tracks.append(mido.MidiTrack())
        if program != DRUMS:
            song.tracks[-1].append(mido.Message("program_change", channel=channel, program=program))
        song.tracks[-1].append(mido.Message("note_on", channel=channel, note=57, velocity=90))
        song.tracks[-1].append(mido.Message("note_off", channel=channel, note=57, time=440))
    song.save(path)


def _program(spec):
    return spec.get("program", 0)


def _metadata(track, stems, uuid, extra):
    whole = {
        "UUID": uuid,
        "audio_dir": f"{track}/stems",
        "lmd_midi_dir": f"lmd_matched/{uuid}.mid",
        "midi_dir": f"{track}/MIDI",
        "normalization_factor": -13.0,
        "normalized": True,
        "overall_gain": 0.5,
        "target_peak": -1.0,
        "stems": {name: _entry(spec) for name, spec in stems.items()},
    }
    return _changed(whole, extra)


def _entry(spec):
    program = _program(spec)
    rendered = spec.get("rendered", True)
    entry = {
        "audio_rendered": rendered and spec.get("flag", True),
        "inst_class": CLASSES[program // 8],
        "integrated_loudness": -20.0 if rendered else None,
        "is_drum": program == DRUMS,
        "midi_program_name": "Drums" if program == DRUMS else pretty_midi.program_to_instrument_name(program),
        "midi_saved": True,
        "plugin_name": f"patch_{program:03d}.nkm" if rendered else "None",
        "program_num": program,
    }
    return _changed(entry, spec.get("entry", {}))


def _changed(entry, changes):
    return {key: value for key, value in {**entry, **changes}.items() if value is not None}
