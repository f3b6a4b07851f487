"""Notebook 05, second part: separated instruments in, one multi-track MIDI file out.

Each instrument is listened to alone: drums in `drum_transcription.py`, pitched instruments in
`pitch_transcription.py`. Here is what concerns the song: which stems hold music at all, the tempo, how loud each note
is, and the tracks with their General MIDI programs.
"""

import logging
from dataclasses import dataclass

import numpy as np
from tqdm.auto import tqdm

from muscomp_lib import audio, instruments
from muscomp_lib.drive import written_whole
from muscomp_lib.drum_transcription import drum_notes
from muscomp_lib.errors import AudioError, SettingError
from muscomp_lib.pitch_transcription import SAMPLE_RATE, many_voices, one_voice

SILENCE_DB = -70.0  # dBFS: no stem is music below this, however soft the song
LEVEL_BLOCK = 0.1  # seconds
DEFAULT_TEMPO = 120.0  # bpm: MIDI's own, for what has no beat
TYPICAL_TEMPO, TEMPO_SPREAD = 115.0, 0.9  # bpm and octaves: where people tap, all else being equal
RELATED = (1 / 2, 2 / 3, 3 / 4, 1, 4 / 3, 3 / 2, 2)  # tempi that the first estimate may stand for
BEAT_HOP = 512  # samples
TEMPO_SEARCH, TEMPO_STEPS = 0.04, 161  # the tempo is refined within 4 %, in steps of 0.05 %
TICKS_PER_BEAT = 480
LOUD_VELOCITY, VELOCITY_PER_DB = 100, 2.0  # of a stem's loud notes; a note 20 dB softer gets 60
VELOCITIES = (20, 127)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """How to transcribe.

    Attributes
    ----------
    taxonomy : str
        A block of `instruments.yaml`: programs, ranges and voices of the instruments.
    floor_db : float
        A stem this far below the loudest one is leakage, not music, and gets no track; dB, below 0.
    """

    taxonomy: str = instruments.DEFAULT_TAXONOMY
    floor_db: float = -30.0

    def __post_init__(self):
        instruments.load(self.taxonomy)
        if not (np.isfinite(self.floor_db) and self.floor_db < 0):
            raise SettingError(f"floor_db is {self.floor_db!r}; it must be a negative number of dB, such as -30.")


def transcribe(stems, sample_rate, settings=None):
    """Write down what the instruments play.

    Parameters
    ----------
    stems : dict of str to np.ndarray, shape=(n_samples, n_channels) or (n_samples,)
        {instrument: waveform}, as from `separation.Separator.separate`. `other` counts for tempo and loudness but gets
        no track. Samples that are not finite are taken for silence.
    sample_rate : int
        Hz.
    settings : Settings, optional

    Returns
    -------
    pretty_midi.PrettyMIDI
        One named track per instrument that has notes, in the taxonomy's order; the song's tempo.

    Raises
    ------
    SettingError, AudioError
        An instrument outside the taxonomy; a sample rate or a shape that cannot be.
    """
    settings = settings or Settings()
    taxonomy = instruments.load(settings.taxonomy)
    _check(stems, sample_rate, taxonomy)
    voices = {name: _voice(waveform, sample_rate) for name, waveform in stems.items()}
    midi = _empty_midi(_tempo(voices))
    for name in tqdm(_with_music(voices, settings.floor_db, taxonomy), desc="transcribing", disable=None):
        notes = _notes(voices[name], taxonomy[name])
        log.info("%s: %d notes", name, len(notes))
        if notes:
            midi.instruments.append(_track(taxonomy[name], notes))
    return midi


def write(midi, path):
    """Write a transcription (pretty_midi.PrettyMIDI) as a MIDI file; it appears whole or not at all."""
    with written_whole(path) as part:
        midi.write(str(part))


def _check(stems, sample_rate, taxonomy):
    if not sample_rate > 0:
        raise SettingError(f"The sample rate is {sample_rate!r}; give it in Hz, such as 44100.")
    for name, waveform in stems.items():
        if name not in taxonomy and name != instruments.OTHER:
            raise SettingError(f"{name!r} is no instrument of this taxonomy; it has {', '.join(taxonomy)}.")
        if np.ndim(waveform) not in (1, 2):
            raise AudioError(f"{name} has shape {np.shape(waveform)}; give (n_samples, n_channels).")


def _voice(waveform, sample_rate):
    """One channel at the transcriber's rate, all finite: shape (n_samples,), float32."""
    waveform = audio.to_float(np.asarray(waveform))
    if not waveform.size:
        return np.zeros(0, np.float32)
    waveform = np.nan_to_num(waveform.reshape(len(waveform), -1), posinf=0.0, neginf=0.0)
    return audio.resample(audio.fit_channels(waveform, 1), sample_rate, SAMPLE_RATE)[:, 0]


def _with_music(voices, floor_db, taxonomy):
    """The instruments, in order, that are loud enough to be more than leakage."""
    levels = {name: _level(voice) for name, voice in voices.items()}
    floor = max(SILENCE_DB, max(levels.values(), default=SILENCE_DB) + floor_db)
    return [name for name in taxonomy if levels.get(name, -np.inf) > floor]


def _level(voice):
    """Level of a stem where it is loud, in dBFS: the 95th percentile over blocks, so that pauses do not count."""
    size = round(LEVEL_BLOCK * SAMPLE_RATE)
    blocks = voice[: len(voice) // size * size].reshape(-1, size).astype(np.float64)
    if not len(blocks):
        return -np.inf
    return float(audio.to_db(np.percentile(np.sqrt((blocks**2).mean(axis=1)), 95)))


def _notes(voice, instrument):
    if instrument.is_drums:
        return drum_notes(voice)
    if instrument.one_voice:
        return one_voice(voice, instrument.lowest, instrument.highest)
    return many_voices(voice, instrument.lowest, instrument.highest, instrument.programs[0])


def _tempo(voices):
    """Beats per minute, of the drums when they play, otherwise of everything together."""
    import librosa

    drums = next((v for name, v in voices.items() if name == "Drums" and _level(v) > SILENCE_DB), None)
    song = drums if drums is not None else _sum(voices.values())
    if len(song) < 2 * SAMPLE_RATE or _level(song) < SILENCE_DB:
        return DEFAULT_TEMPO
    rise = librosa.onset.onset_strength(y=song, sr=SAMPLE_RATE, hop_length=BEAT_HOP)
    rough = float(librosa.feature.tempo(onset_envelope=rise, sr=SAMPLE_RATE, hop_length=BEAT_HOP)[0])
    if not rough > 0:
        return DEFAULT_TEMPO
    return round(max(_refined(rise, rough * ratio) for ratio in RELATED)[1], 2)


def _refined(rise, rough):
    """The tempo near `rough` that the onsets follow best through the whole song: (how well, tempo)."""
    times = np.arange(len(rise)) * BEAT_HOP / SAMPLE_RATE
    tempi = rough * np.linspace(1 - TEMPO_SEARCH, 1 + TEMPO_SEARCH, TEMPO_STEPS)
    centred = rise - rise.mean()
    following = sum(np.abs(np.exp(-2j * np.pi * np.outer(tempi / 60 * k, times)) @ centred) for k in (1, 2, 4))
    octaves = np.log2(tempi / TYPICAL_TEMPO)
    preferred = following * np.exp(-0.5 * (octaves / TEMPO_SPREAD) ** 2)
    best = int(np.argmax(preferred))
    return float(preferred[best]), float(tempi[best])


def _sum(voices):
    """Waveforms added up, as long as the longest."""
    voices = list(voices)
    total = np.zeros(max(map(len, voices), default=0), np.float32)
    for voice in voices:
        total[: len(voice)] += voice
    return total


def _empty_midi(tempo):
    import pretty_midi

    return pretty_midi.PrettyMIDI(initial_tempo=tempo, resolution=TICKS_PER_BEAT)


def _track(instrument, notes):
    """A named MIDI track; drums go to channel 10, which General MIDI keeps for them."""
    import pretty_midi

    program = 0 if instrument.is_drums else instrument.programs[0]
    track = pretty_midi.Instrument(program, is_drum=instrument.is_drums, name=instrument.name)
    loud = np.percentile([note.strength for note in notes], 90)
    for note in notes:
        velocity = round(LOUD_VELOCITY + VELOCITY_PER_DB * float(audio.to_db(note.strength / loud)))
        velocity = min(max(velocity, VELOCITIES[0]), VELOCITIES[1])
        track.notes.append(pretty_midi.Note(velocity, note.pitch, note.start, note.end))
    return track
