"""One track in Slakh's layout: stems and their mix as audio, MIDI files, `metadata.yaml`. Used by generate.py.

As in Slakh, every stem is brought to -13 LUFS, then one `overall_gain` for all of them lets the mix peak at -1 dBFS.
The mix is the exact sum of the stem files, in whole 16-bit numbers.

Data set that this follows: Manilow, Wichern, Seetharaman and Le Roux, "Cutting Music Source Separation Some Slakh",
WASPAA 2019.
"""

import copy
import tempfile

import numpy as np
import yaml

from muscomp_lib import audio
from muscomp_lib.audio.quantise import peak
from muscomp_lib.core.errors import MidiError
from muscomp_lib.core.files import written_whole
from muscomp_lib.minislakh import effects, players, sources, synthesizer

STEM_LOUDNESS = -13.0  # LUFS: Slakh's `normalization_factor`
EFFECTS_PEAK = 0.5  # full scale: of what goes into effects
HOLE = 2000  # bytes of a damaged file that are overwritten
NOT_RENDERED = "None"  # Slakh's `plugin_name` of such stems, a string


def write(folder, midi, seconds, uuid, silent=(), sounds=None, mastering=None, damage=None):
    """Render a track and write its folder, which appears only when complete.

    Parameters
    ----------
    folder : Path
        `<split>/TrackNNNNN`.
    midi : pretty_midi.PrettyMIDI
        Its instruments become the stems S00, S01, ...
    seconds : float
        Length of all audio files.
    uuid : str
        32 hexadecimal digits; equal for tracks of the same song.
    silent : collection of int
        Instruments to leave unrendered. So are those that make no sound.
    sounds : list of sources.Sound, optional
        How each instrument is played; without it, by the default engine with the default soundfont.
    mastering : productions.Mastering, optional
        What is done to all stems alike.
    damage : (str, int), optional
        One of `DAMAGE`, and the number of the instrument whose stem it is done to.

    Raises
    ------
    MidiError
        When no stem makes a sound.
    """
    with written_whole(folder, mark="metadata.yaml") as part, tempfile.TemporaryFile() as spool:
        (part / "MIDI").mkdir(parents=True)
        (part / "stems").mkdir()
        sounds = sounds or [sources.Sound()] * len(midi.instruments)
        loudness, loudest = _render(midi, seconds, set(silent), spool, sounds)
        if not loudness:
            raise MidiError(f"{folder.name}: no part makes a sound. Give other soundfonts, or other MIDI files.")
        if mastering:
            loudest = _master(mastering, list(loudness), spool, round(seconds * audio.SAMPLE_RATE))
        gain = audio.to_gain(audio.PEAK_DB) / loudest
        _write_audio(part, loudness, spool, round(seconds * audio.SAMPLE_RATE), gain)
        _write_midi(part, midi, loudness)
        metadata = _metadata(folder.name, midi, loudness, uuid, gain, sounds)
        what, number = damage or (None, None)
        if number in loudness:
            DAMAGE[what](part / "stems" / f"{_stem(number)}.flac", metadata)
        (part / "metadata.yaml").write_text(yaml.safe_dump(metadata))


def _stem(number):
    return f"S{number:02d}"


def _cut(stem, metadata):
    """As after a download that was interrupted."""
    content = stem.read_bytes()
    stem.write_bytes(content[: len(content) // 2])


def _overwrite(stem, metadata):
    """As on a failing disk: the header and the end can be read, the middle cannot."""
    content = bytearray(stem.read_bytes())
    middle = slice(len(content) // 2, len(content) // 2 + HOLE)
    content[middle] = bytes(len(content[middle]))
    stem.write_bytes(content)


def _lose(stem, metadata):
    stem.unlink()


def _deny(stem, metadata):
    """As in BabySlakh, and in Slakh's Track00616: no stem is marked as rendered, and the folder does not exist."""
    metadata["audio_dir"] = "Track/stems"
    for entry in metadata["stems"].values():
        entry["audio_rendered"] = False


DAMAGE = {"cut short": _cut, "overwritten": _overwrite, "lost": _lose, "wrong metadata": _deny}


def _render(midi, seconds, silent, spool, sounds):
    """Render the stems into the open file `spool`, one after the other, each at -13 LUFS and its sound's level.

    On disk, because a song may have a hundred parts.

    Returns
    -------
    loudness : dict of int to float
        Of each audible stem before that, in LUFS.
    peak : float
        Of their sum, or of the loudest stem if that is higher.
    """
    loudness, loudest, mix = {}, 0.0, np.zeros(1, np.float32)
    for number, part in enumerate(midi.instruments):
        if number in silent or not part.notes:
            continue
        waveform = _play(part, seconds, sounds[number])
        measured = _loudness(waveform)
        if not np.isfinite(measured):
            continue
        waveform *= np.float32(audio.to_gain(STEM_LOUDNESS + sounds[number].level - measured))
        spool.write(waveform.tobytes())
        loudness[number], mix = measured, mix + waveform
        loudest = max(loudest, peak(waveform))
    return loudness, max(loudest, peak(mix))


def _play(part, seconds, sound):
    """A part as its sound plays it, shape (n_samples, 1)."""
    waveform = _play_drums(part, seconds, sound) if sound.drums else _synthesize(part, seconds, sound)
    return _through(sound.effects, waveform)


def _through(its_effects, waveform):
    """A waveform through effects. What they do depends on the level, so its peak is fixed for them."""
    loudest = peak(waveform)
    if not its_effects or not loudest:
        return waveform
    gain = np.float32(EFFECTS_PEAK / loudest)
    return effects.apply(its_effects, waveform * gain, audio.SAMPLE_RATE) / gain


def _synthesize(part, seconds, sound, speed=1.0):
    """A part without effects. One whose times were multiplied with `speed` is played so much faster, and higher."""
    part, source = sources.on_keys(part, sound), sound.source
    waveform = synthesizer.render(
        part, seconds * speed, round(audio.SAMPLE_RATE / speed), source.engine, source.file, source.drum_bank,
        source.hits,
    )  # fmt: skip
    return audio.fit_length(waveform, round(seconds * audio.SAMPLE_RATE))


def _play_drums(part, seconds, sound):
    """A part of drums, each tuned and with effects of its own; those that `sound.drums` leaves out are as they are."""
    waveform = np.zeros((round(seconds * audio.SAMPLE_RATE), 1), np.float32)
    left_out = {note.pitch for note in part.notes}.difference(*(notes for notes, _, _ in sound.drums))
    for notes, semitones, its_effects in (*sound.drums, (left_out, 0.0, ())):
        alone, speed = copy.copy(part), 2 ** (semitones / 12)
        alone.notes = [copy.copy(note) for note in part.notes if note.pitch in notes]
        for note in alone.notes:
            note.start, note.end = note.start * speed, note.end * speed
        if alone.notes:
            waveform += _through(its_effects, _synthesize(alone, seconds, sound, speed))
    return waveform


def _master(mastering, numbers, spool, n_samples):
    """Master the stems in `spool`: each on its own, but all alike; returns the peak of their sum and of the loudest."""
    stems = np.frombuffer(_content(spool), np.float32).reshape(len(numbers), n_samples, 1).copy()
    for stem in stems:
        stem[:] = effects.apply(mastering.effects, stem, audio.SAMPLE_RATE)
    mix = stems.sum(axis=0)
    if mastering.noisy in numbers:
        stems[numbers.index(mastering.noisy)] += mastering.hiss(peak(mix), n_samples)
    stems *= mastering.gains(stems.sum(axis=0))
    spool.seek(0)
    spool.write(stems.tobytes())
    return max(peak(stems), peak(stems.sum(axis=0)))


def _content(spool):
    spool.seek(0)
    return spool.read()


def _loudness(waveform):
    """Loudness (LUFS) of a stem, measured where it plays: the silence around it does not count, but takes time.

    The span begins on a multiple of a tenth of a second, so that the blocks it is measured in stay the same.
    """
    active = waveform[:, 0] != 0
    if not active.any():
        return -np.inf
    margin, step = audio.SAMPLE_RATE, audio.SAMPLE_RATE // 10
    first = max(0, int(active.argmax()) - margin) // step * step
    last = len(active) - int(active[::-1].argmax())
    return audio.loudness(waveform[first : last + margin], audio.SAMPLE_RATE)


def _write_audio(part, loudness, spool, n_samples, gain):
    """Write the stems as 16-bit files, and the sum of what was written as the mix."""
    mix = np.zeros((n_samples, 1), np.int32)
    spool.seek(0)
    for number in loudness:
        waveform = np.frombuffer(spool.read(n_samples * 4), np.float32).reshape(-1, 1)
        stem = audio.to_int16(waveform * np.float32(gain))
        audio.write(part / "stems" / f"{_stem(number)}.flac", stem, audio.SAMPLE_RATE)
        mix += stem
    audio.write(part / "mix.flac", mix.astype(np.int16), audio.SAMPLE_RATE)


def _write_midi(part, midi, rendered):
    """Write the song's MIDI file, and one of the same tempo for each rendered stem."""
    midi.write(str(part / "all_src.mid"))
    for number in rendered:
        alone = copy.copy(midi)  # shares the tempo map
        alone.instruments = [midi.instruments[number]]
        alone.write(str(part / "MIDI" / f"{_stem(number)}.mid"))


def _metadata(track, midi, loudness, uuid, gain, sounds):
    stems = {
        _stem(number): _stem_metadata(part, loudness.get(number), sounds[number].source.name)
        for number, part in enumerate(midi.instruments)
    }
    return {
        "UUID": uuid,
        "audio_dir": f"{track}/stems",
        "lmd_midi_dir": f"{track}/all_src.mid",
        "midi_dir": f"{track}/MIDI",
        "normalization_factor": STEM_LOUDNESS,
        "normalized": True,
        "overall_gain": float(gain),
        "stems": stems,
        "target_peak": audio.PEAK_DB,
    }


def _stem_metadata(part, loudness, plugin):
    """A stem's entry. `loudness` is None for one that was not rendered: Slakh then leaves the key out."""
    program = players.program_of(part)
    player, rendered = players.of_program(program), loudness is not None
    entry = {
        "audio_rendered": rendered,
        "inst_class": player.inst_class,
        "integrated_loudness": loudness,
        "is_drum": bool(part.is_drum),
        "midi_program_name": player.name,
        "midi_saved": rendered,
        "plugin_name": plugin if rendered else NOT_RENDERED,
        "program_num": program,
    }
    return entry if rendered else {key: value for key, value in entry.items() if key != "integrated_loudness"}
