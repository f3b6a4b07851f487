"""Rendering one part of a song with a software synthesizer. Used by mini-Slakh.

Every part gets a new synthesizer: a reused one would leak the tail of the previous part. Parts are mono, as Slakh's
stems are, and not clipped; the caller sets their level.

Seven engines: `tinysoundfont` is installed by pip; `fluidsynth` needs a system library. Both play any SoundFont 2 file,
by default the one that pretty_midi ships. `timidity` and `festival` are commands (commands.py). Three play
recordings, and need nothing installed: `hydrogen` the drum kits of the sequencer Hydrogen, `hits` those of a folder
with recordings of each drum, and `notes` a folder of an instrument's single notes, with their pitches in the files'
names, such as `Cs4.mp3`.
"""

import re
from functools import cache, lru_cache
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from muscomp_lib import audio
from muscomp_lib.core.errors import MissingError, SettingError
from muscomp_lib.core.settings import suggestion
from muscomp_lib.minislakh import commands

HYDROGEN, HITS, NOTES = "hydrogen", "hits", "notes"
KITS = (HYDROGEN, HITS)  # recordings of drums, which ring until their notes end
ENGINES = ("tinysoundfont", "fluidsynth", *KITS, NOTES, *commands.COMMANDS)
DEFAULT_SOUNDFONT = "TimGM6mb.sf2"  # ships in pretty_midi's package folder
DRUM_CHANNEL = 9  # the tenth channel, counted from 0: General MIDI's place for drums
DRUM_BANK = 128  # the bank SoundFont 2 files keep drum kits in
FLUIDSYNTH_GAIN = 0.6  # three times its default: it returns 16 bits, and a single note should use most of them
RING = 8.0  # seconds after which a recorded hit or note has faded away
RELEASE = 0.15  # seconds in which a recorded note fades away once it has ended
CHOKE = 0.05  # seconds in which a recorded hit does
HIT_LEVELS = {  # dB beside a kick: the peaks of General MIDI's drums, roughly the mean of FluidR3 and GeneralUser
    35: 0, 36: 0, 37: 1, 38: 2, 39: 2, 40: 2, 41: -3, 43: -2, 45: -1, 47: -1, 48: -2, 50: -3, 42: -9, 44: -11, 46: -10,
    49: -1, 57: -2, 51: -8, 59: -8, 53: -8, 52: -5, 55: -4,
}  # fmt: skip
OTHER_HITS_LEVEL = -2  # dB: of other percussion
ONSET = 0.02  # of its peak: what a recorded note begins with
PITCH = re.compile(  # C4 is middle C; what follows it is a layer of velocity, as in A3v8, or a dynamic, as in ab3mp
    r"(?:.*[ _-])?([A-Ga-g])([s#b]?\d)(?:v\d+|[mpf]+)?(?:[ _-].*)?\.(?:wav|flac|ogg|mp3)"
)
ON_DEMAND = {"synth.dynamic-sample-loading": 1}  # reads only the samples of one program: 13 times as fast with .sf3
INSTALL = {
    "tinysoundfont": "pip install --no-deps -r requirements-synthesis.txt (Python 3.13 builds it: have a C++ compiler)",
    "fluidsynth": "pip install pyfluidsynth, and the system library (Debian, Ubuntu: apt install libfluidsynth3)",
    **{command: f"on Debian and Ubuntu, apt install {command}" for command in commands.COMMANDS},
}


def render(part, seconds, sample_rate=44100, engine="tinysoundfont", soundfont=None, drum_bank=DRUM_BANK, hits=()):
    """Play one part.

    Parameters
    ----------
    part : pretty_midi.Instrument
        Its notes, times in seconds. Pitch bends and controllers are ignored.
    seconds : float
        Length; notes still sounding then are cut.
    sample_rate : int
        Hz.
    engine : {"tinysoundfont", "fluidsynth", "hydrogen", "hits", "notes", "timidity", "festival"}
        The second places notes to its blocks of 64 samples, timidity to half a millisecond, others to the sample.
    soundfont : str or Path, optional
        A SoundFont 2 file; pretty_midi's TimGM6mb.sf2 without it. For timidity, a configuration that lists patches; for
        festival, the file that defines a voice; for hydrogen, a `drumkit.xml`, whose instruments are the pitches; for
        hits, a folder; for notes, a folder, or a pattern of their files, such as `notes/*_forte.wav`.
    drum_bank : int
        The soundfont's bank of drum kits.
    hits : sequence of (str, sequence of int)
        For hits, files or patterns in the folder, each with the drum notes that it has recordings of.

    Returns
    -------
    np.ndarray, shape=(n_samples, 1), dtype=float32
        Silence for a part without notes; values may exceed 1.

    Raises
    ------
    SettingError
        For an engine that is unknown or not installed, or a file that is not a soundfont.
    MissingError
        When the soundfont is not there.
    """
    player = _player(engine)
    n_samples = round(seconds * sample_rate)
    if engine in (*commands.COMMANDS, *KITS, NOTES):
        source = soundfont_path(soundfont)
        played = _play_whole(player, part, sample_rate, (source, hits) if engine == HITS else source)
        return audio.fit_length(played, n_samples)
    waveform = np.zeros((n_samples, 1), np.float32)
    synth = player(part, sample_rate, soundfont_path(soundfont), drum_bank if part.is_drum else 0)
    first = round(min((note.start for note in part.notes), default=seconds) * sample_rate)
    position = min(first, n_samples)  # nothing sounds before the first note: what comes earlier takes no time
    for at, act in _events(part, sample_rate):
        at = min(at, n_samples)
        if at > position:
            waveform[position:at, 0] = synth.play(at - position)
            position = at
        if at < n_samples:
            act(synth)
    _ring_out(synth, waveform[position:], sample_rate)
    synth.close()
    return waveform


def _play_whole(player, part, sample_rate, source):
    try:
        return player(part, sample_rate, source)
    except RuntimeError as error:
        raise _unusable(source, part, error) from error


def _play_hydrogen(part, sample_rate, kit):
    """A part by a drum kit of Hydrogen: for each hit, the recording that is for its velocity."""

    def recorded(note, _):
        velocity = note.velocity / 127
        layers = _layers(kit, note.pitch)
        _, gain, path = min((max(low - velocity, velocity - high), gain, path) for low, high, gain, path in layers)
        return path, velocity * gain

    return _play_recorded(part, sample_rate, recorded)


def _play_hits(part, sample_rate, kit):
    """A part by recordings of each drum: for each hit one whose loudness among them is as its velocity is.

    Those next to it take turns with it, and all are brought to the level of the drum.
    """
    folder, hits = kit
    of_drum = {drum: folder / pattern for pattern, drums in hits for drum in drums}

    def recorded(note, number):
        ranked = _by_loudness(of_drum[note.pitch])
        rank = round(note.velocity / 127 * (len(ranked) - 1)) + number % 3 - 1
        loudness, path = ranked[min(max(rank, 0), len(ranked) - 1)]
        level = audio.to_gain(HIT_LEVELS.get(note.pitch, OTHER_HITS_LEVEL))
        return path, note.velocity / 127 * level / loudness

    return _play_recorded(part, sample_rate, recorded)


def _play_recorded(part, sample_rate, recorded):
    """A part of drums: `recorded(note, its number)` returns the file of a hit and its gain."""
    end = max((note.end for note in part.notes), default=0.0) + CHOKE
    waveform = np.zeros((round(end * sample_rate), 1), np.float32)
    for number, note in enumerate(part.notes):
        path, gain = recorded(note, number)
        hit = _held(_recording(path, sample_rate), note, CHOKE, sample_rate) * np.float32(gain)
        at = round(note.start * sample_rate)
        waveform[at : at + len(hit)] += hit[: len(waveform) - at]
    return waveform


def _held(waveform, note, fade, sample_rate):
    """A recording until its note ends, and fading away from there, for `fade` seconds."""
    held = round((note.end - note.start) * sample_rate)
    sound = waveform[: held + round(fade * sample_rate)].copy()
    sound[held:] *= np.linspace(1, 0, len(sound[held:]), dtype=np.float32)[:, None]
    return sound


@cache
def _by_loudness(pattern):
    """The recordings of a drum from soft to loud: list of (peak, path). Empty ones are left out.

    Raises
    ------
    SettingError
        There is none.
    """
    peaks = [(float(np.abs(_recording(path, audio.SAMPLE_RATE)).max(initial=0)), path) for path in matching(pattern)]
    if not any(peak for peak, _ in peaks):
        raise SettingError(f"{pattern} holds no recording of a drum. Correct the `hits` of this kit in sources.yaml.")
    return sorted((peak, path) for peak, path in peaks if peak)


@cache
def _layers(kit, number):
    """The recordings of a kit's instrument: tuples of lowest and highest velocity (0 to 1), gain, file."""
    instruments = ElementTree.parse(kit).getroot().findall(".//{*}instrument")
    if not 0 <= number < len(instruments):
        raise SettingError(
            f"The drum kit {kit} has instruments 0 to {len(instruments) - 1}, and no {number}. Correct the drum_keys "
            "of this kit in sources.yaml."
        )
    instrument = instruments[number]
    loud = float(instrument.findtext("{*}volume") or 1)
    found = []
    for layer in instrument.findall(".//{*}layer") or [instrument]:  # in old kits, an instrument is its only layer
        low, high, gain = (float(layer.findtext(f"{{*}}{name}") or 1) for name in ("min", "max", "gain"))
        found.append((low, high, gain * loud, kit.parent / layer.findtext("{*}filename")))
    return found


def _play_notes(part, sample_rate, folder):
    """A part by recordings of single notes: for each note one that is nearest in pitch, played faster or slower.

    Where there are several of a pitch, they take turns.
    """
    recorded = recordings(folder)
    end = max((note.end for note in part.notes), default=0.0) + RELEASE
    waveform = np.zeros((round(end * sample_rate), 1), np.float32)
    for number, note in enumerate(part.notes):
        pitch = min(recorded, key=lambda known, note=note: abs(known - note.pitch))
        path = recorded[pitch][number % len(recorded[pitch])]
        sound = _note(path, round(sample_rate * 2 ** ((pitch - note.pitch) / 12)))
        sound, at = (
            _held(sound, note, RELEASE, sample_rate) * np.float32(note.velocity / 127),
            round(note.start * sample_rate),
        )
        waveform[at : at + len(sound)] += sound[: len(waveform) - at]
    return waveform


@cache
def recordings(folder):
    """The recorded notes in a folder or below it, or of a pattern: {MIDI note number: list of paths}.

    Raises
    ------
    SettingError
        There are none.
    """
    from pretty_midi import note_name_to_number

    notes = {}
    for path in sorted(Path(folder).rglob("*") if Path(folder).is_dir() else matching(folder)):
        match = PITCH.fullmatch(path.name)
        if match and path.stat().st_size:  # a download may have left an empty file
            name = match[1].upper() + match[2].replace("s", "#")
            notes.setdefault(note_name_to_number(name), []).append(path)
    if not notes:
        raise SettingError(f"{folder} holds no recorded notes. Name each file by its pitch: A3.wav, Cs4.mp3, Eb4.flac.")
    return notes


def matching(path):
    """What there is of a path, whose last part may be a pattern: list of Path."""
    path = Path(path)
    return [path] if path.exists() else sorted(path.parent.glob(path.name))


def _note(path, sample_rate):
    """A recorded note from its onset on."""
    waveform = _recording(path, sample_rate)
    level = np.abs(waveform)
    return waveform[np.argmax(level >= ONSET * level.max(initial=0)) :]


@lru_cache(maxsize=128)  # of 1.4 MB at most
def _recording(path, sample_rate):
    """A recorded hit or note, shape (n_samples, 1), float32."""
    waveform, rate = audio.read(path)
    return audio.resample(audio.fit_channels(waveform[: round(RING * rate)], 1), rate, sample_rate)


def _ring_out(synth, waveform, block):
    """Play the rest of a part into `waveform`, until a whole `block` of samples is silent."""
    for position in range(0, len(waveform), block):
        played = synth.play(min(block, len(waveform) - position))
        waveform[position : position + block, 0] = played
        if not played.any():
            return


def soundfont_path(soundfont=None):
    """The soundfont file to use: the one given, or pretty_midi's.

    Raises
    ------
    MissingError
    """
    if soundfont is None:
        import pretty_midi

        return Path(pretty_midi.__file__).with_name(DEFAULT_SOUNDFONT)
    if not matching(soundfont):
        raise MissingError(f"The soundfont {soundfont} is not there. Check the path, or leave it out for our default.")
    return Path(soundfont)


def check_engine(engine):
    """Make sure that `engine` is known and installed.

    Raises
    ------
    SettingError
    """
    _player(engine)


def _player(engine):
    if engine not in ENGINES:
        raise SettingError(f"There is no engine {engine!r}. {suggestion(engine, ENGINES)}")
    try:
        if engine == "tinysoundfont":
            import tinysoundfont  # noqa: F401
        elif engine == "fluidsynth":
            import fluidsynth  # noqa: F401
        elif engine not in (*KITS, NOTES):
            commands.check(engine)
    except (ImportError, AttributeError, OSError) as error:  # pyfluidsynth without its library: any of the three
        raise SettingError(
            f"The engine {engine!r} cannot be loaded ({error}). Install it: {INSTALL[engine]}"
        ) from error
    of_recordings = {HYDROGEN: _play_hydrogen, HITS: _play_hits, NOTES: _play_notes}
    return {"tinysoundfont": _TinySoundFont, "fluidsynth": _FluidSynth, **of_recordings, **commands.COMMANDS}[engine]


def _events(part, sample_rate):
    """The events of a part in order: (sample, action on a player).

    At the same sample, notes end before others start: a repeated note is played again.
    """
    notes = sorted(part.notes, key=lambda note: -note.start)
    events = [(n.end, 0, lambda synth, n=n: synth.off(n.pitch)) for n in notes]
    events += [(n.start, 1, lambda synth, n=n: synth.on(n.pitch, n.velocity)) for n in part.notes]
    timed = [(round(time * sample_rate), order, act) for time, order, act in events]
    return [(at, act) for at, _, act in sorted(timed, key=lambda event: event[:2])]


class _TinySoundFont:
    """One tinysoundfont synthesizer on one channel."""

    def __init__(self, part, sample_rate, soundfont, bank):
        import tinysoundfont

        self.channel = DRUM_CHANNEL if part.is_drum else 0
        self.synth = tinysoundfont.Synth(samplerate=sample_rate)
        try:
            self.synth.sfload(str(soundfont))
            self.synth.program_change(self.channel, int(part.program), bool(part.is_drum))
        except (RuntimeError, tinysoundfont.SoundFontException) as error:
            raise _unusable(soundfont, part, error) from error

    def on(self, pitch, velocity):
        self.synth.noteon(self.channel, int(pitch), int(velocity))

    def off(self, pitch):
        self.synth.noteoff(self.channel, int(pitch))

    def play(self, n_samples):
        """The next `n_samples`, both sides averaged, shape (n_samples,)."""
        return _mono(np.frombuffer(self.synth.generate_simple(n_samples), np.float32))

    def close(self):
        """Nothing to free: memory goes with the object."""


class _FluidSynth:
    """One FluidSynth synthesizer on one channel."""

    def __init__(self, part, sample_rate, soundfont, bank):
        import fluidsynth

        self.channel = DRUM_CHANNEL if part.is_drum else 0
        self.synth = fluidsynth.Synth(FLUIDSYNTH_GAIN, float(sample_rate), **ON_DEMAND)
        loaded = self.synth.sfload(str(soundfont))
        if loaded == -1 or self.synth.program_select(self.channel, loaded, bank, int(part.program)) == -1:
            self.close()
            raise _unusable(soundfont, part, "FluidSynth rejects it")

    def on(self, pitch, velocity):
        self.synth.noteon(self.channel, int(pitch), int(velocity))

    def off(self, pitch):
        self.synth.noteoff(self.channel, int(pitch))

    def play(self, n_samples):
        """The next `n_samples`, both sides averaged, shape (n_samples,)."""
        int16 = np.asarray(self.synth.get_samples(n_samples), np.float32)
        return _mono(int16 / audio.INT16_SCALE)

    def close(self):
        """Free the C library's memory."""
        self.synth.delete()


def _mono(interleaved):
    """Both sides averaged, shape (n_samples,), float32."""
    return (interleaved[::2] + interleaved[1::2]) * np.float32(0.5)


def _unusable(soundfont, part, reason):
    sound = "a drum kit" if part.is_drum else f"program {part.program}"
    return SettingError(f"{soundfont} cannot play {sound} ({reason}). Give a General MIDI .sf2 file as soundfont.")
