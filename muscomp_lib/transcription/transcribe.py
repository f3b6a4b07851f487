"""Notebook 05, second part: separated instruments in, one multi-track MIDI file out.

Each instrument is listened to alone, by a network that knows which one it hears (`transcriber.py`). Here is what
concerns the song: which stems hold music at all, what is kept of the notes, the tempo map with its bars and key
(`beats.py`), and the tracks with their General MIDI programs.
"""

import io
import logging
import re
from dataclasses import dataclass

import numpy as np

from muscomp_lib import audio
from muscomp_lib.core import instruments
from muscomp_lib.core.errors import AudioError, SettingError
from muscomp_lib.core.files import written_whole
from muscomp_lib.core.progress import bar
from muscomp_lib.transcription import beats, cqt
from muscomp_lib.transcription.note_decoder import Transcriber, heard

SILENCE_DB = -70.0  # dBFS: no stem is music below this, however soft the song
LEVEL_BLOCK = 0.1  # seconds
DEFAULT_TEMPO = 120.0  # bpm: MIDI's own, for what has no beat
TICKS_PER_BEAT = 480
MINUTE = 60e6  # microseconds, as MIDI counts
AT_ONCE = 0.02  # seconds: a song that begins so soon begins with a bar
GRIDS = {"1/4": 1, "1/8": 2, "1/8T": 3, "1/16": 4, "1/16T": 6, "1/32": 8}  # steps in a beat; T: triplets
READABLE = (4, 3)  # parts of a beat
SWING, STRAIGHT = (0.4, 0.75), 0.54  # of a beat: where the second of two swung eighths lies; above this they are swung

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """How to transcribe.

    Attributes
    ----------
    taxonomy : str
        A block of `instruments.yaml`: programs, ranges and voices of the instruments.
    floor_db : float
        A stem this far below the loudest one is leakage, not music, and gets no track; dB, below 0. At -20 all that
        played in 20 validation songs got one, and a third of what did not play got none.
    quantise : str or None
        Move notes to this grid: "1/16" for sixteenths, "1/8T" for triplets of eighths, ...; None leaves them where they
        were played. Swung eighths stay swung.
    """

    taxonomy: str = instruments.DEFAULT_TAXONOMY
    floor_db: float = -20.0
    quantise: str | None = None

    def __post_init__(self):
        instruments.load(self.taxonomy)
        if not (np.isfinite(self.floor_db) and self.floor_db < 0):
            raise SettingError(f"floor_db is {self.floor_db!r}; it must be a negative number of dB, such as -20.")
        if self.quantise is not None and self.quantise not in GRIDS:
            raise SettingError(f"quantise is {self.quantise!r}; choose one of {', '.join(GRIDS)}, or None.")


def transcribe(stems, sample_rate, settings=None, transcriber=None, progress=bar):
    """Write down what the instruments play.

    Parameters
    ----------
    stems : dict of str to np.ndarray, shape=(n_samples, n_channels) or (n_samples,)
        {instrument: waveform}, as from `separation.Separator.separate`. `other` counts for tempo and loudness but gets
        no track. Samples that are not finite are taken for silence.
    sample_rate : int
        Hz.
    settings : Settings, optional
    transcriber : transcriber.Transcriber, optional
        Without it, the one that comes with the project.
    progress : callable
        Called like tqdm for a bar over the instruments.

    Returns
    -------
    pretty_midi.PrettyMIDI
        One named track per instrument that has notes, in the taxonomy's order; the song's tempo, bars and key.

    Raises
    ------
    SettingError, AudioError
        An instrument outside the taxonomy; a sample rate or a shape that cannot be.
    """
    settings = settings or Settings()
    taxonomy = instruments.load(settings.taxonomy)
    _check(stems, sample_rate, taxonomy)
    voices = {name: heard(waveform, sample_rate) for name, waveform in stems.items()}
    playing = _with_music(voices, settings.floor_db, taxonomy)
    transcriber = transcriber or Transcriber()
    notes = {}
    for name in progress(playing, desc="transcribing", unit="instrument"):
        notes[name] = transcriber.notes(voices[name], taxonomy[name])
        log.info("%s: %d notes", name, len(notes[name]))
    grid = beats.grid(_sum(voices.values()), notes)
    midi = _bars(grid, beats.key(notes))
    for name, those in notes.items():
        if those:
            midi.instruments.append(_track(taxonomy[name], those))
    if settings.quantise and grid:
        _quantise(midi, GRIDS[settings.quantise])
    return midi


def transcribable(stems, taxonomy=instruments.DEFAULT_TAXONOMY):
    """The stems that `transcribe` takes: instruments of a taxonomy, with `other`; none if only `other` is left."""
    known = instruments.names(taxonomy)
    if not any(name in known for name in stems):
        return {}
    return {name: waveform for name, waveform in stems.items() if name in known or name == instruments.OTHER}


def write(midi, path):
    """Write a transcription (pretty_midi.PrettyMIDI) as a MIDI file; it appears whole or not at all."""
    with written_whole(path) as part:
        midi.write(str(part))


def write_score(midi, path, title):
    """Write a transcription as MusicXML, for programs that show notes on staves; it appears whole or not at all.

    Notes stand at the nearest sixteenth or triplet of eighths: nobody reads what is finer.

    Parameters
    ----------
    midi : pretty_midi.PrettyMIDI
    path : str or Path
    title : str
        What the score is called.
    """
    import music21

    file = io.BytesIO()
    midi.write(file)
    score = music21.converter.parseData(
        file.getvalue(), format="midi", quantizePost=True, quarterLengthDivisors=READABLE
    )
    score.metadata = music21.metadata.Metadata(title=title, composer=" ")
    text = music21.musicxml.m21ToXml.GeneralObjectExporter(score).parse().decode()
    for number, name in enumerate(dict.fromkeys(re.findall(r'id="([PI][0-9a-f]{32})"', text))):
        text = text.replace(name, f"id{number}")  # they are drawn at random, and the same song is to give the same file
    with written_whole(path) as part:
        part.write_text(re.sub(r"\s*<encoding-date>.*?</encoding-date>", "", text), encoding="utf-8")


def _check(stems, sample_rate, taxonomy):
    if not sample_rate > 0:
        raise SettingError(f"The sample rate is {sample_rate!r}; give it in Hz, such as 44100.")
    for name, waveform in stems.items():
        if name not in taxonomy and name != instruments.OTHER:
            raise SettingError(f"{name!r} is no instrument of this taxonomy; it has {', '.join(taxonomy)}.")
        if np.ndim(waveform) not in (1, 2):
            raise AudioError(f"{name} has shape {np.shape(waveform)}; give (n_samples, n_channels).")


def _with_music(voices, floor_db, taxonomy):
    """The instruments, in order, that are loud enough to be more than leakage."""
    levels = {name: _level(voice) for name, voice in voices.items()}
    floor = max(SILENCE_DB, max(levels.values(), default=SILENCE_DB) + floor_db)
    return [name for name in taxonomy if levels.get(name, -np.inf) > floor]


def _level(voice):
    """Level of a stem where it is loud, in dBFS: the 95th percentile over blocks, so that pauses do not count."""
    size = round(LEVEL_BLOCK * cqt.SAMPLE_RATE)
    blocks = voice[: len(voice) // size * size].reshape(-1, size).astype(np.float64)
    if not len(blocks):
        return -np.inf
    return float(audio.to_db(np.percentile(np.sqrt((blocks**2).mean(axis=1)), 95)))


def _sum(voices):
    """Waveforms added up, as long as the longest."""
    voices = list(voices)
    total = np.zeros(max(map(len, voices), default=0), np.float32)
    for voice in voices:
        total[: len(voice)] += voice
    return total


def _bars(grid, key):
    """A MIDI file without notes: its tempo map, time signatures and key.

    The first bar's first beat lies where it is heard, so what is before it becomes whole beats of their own length, and
    a bar of its own when they do not fill the usual one.
    """
    import mido
    import pretty_midi

    events = _tempo_map(grid) if grid else [(0, mido.MetaMessage("set_tempo", tempo=round(MINUTE / DEFAULT_TEMPO)))]
    track, now = mido.MidiTrack(), 0
    for beat, message in events:
        track.append(message.copy(time=(beat - now) * TICKS_PER_BEAT))
        now = beat
    track.append(mido.MetaMessage("end_of_track", time=0))
    file = io.BytesIO()
    mido.MidiFile(type=1, ticks_per_beat=TICKS_PER_BEAT, tracks=[track]).save(file=file)
    file.seek(0)
    midi = pretty_midi.PrettyMIDI(file)
    if key is not None:
        midi.key_signature_changes.append(pretty_midi.KeySignature(key, 0.0))
    return midi


def _tempo_map(grid):
    """Tempo changes and time signatures: [(beat, message)] in order."""
    import mido

    first = grid.times[grid.downbeat]
    before = grid.downbeat + round(grid.times[0] * grid.tempo / 60)
    before = max(before, int(first > AT_ONCE))
    pickup = before % grid.metre
    edges = np.r_[np.linspace(0.0, first, before + 1)[:-1], grid.times[grid.downbeat :]]
    tempi = np.rint(np.diff(edges) * 1e6).astype(int)  # microseconds per beat
    changes = [0, *(np.flatnonzero(np.abs(np.diff(tempi)) > 1) + 1)]  # a microsecond is rounding
    events = [(int(beat), 1, mido.MetaMessage("set_tempo", tempo=int(tempi[beat]))) for beat in changes]
    bars = [(0, pickup), (pickup, grid.metre)] if pickup else [(0, grid.metre)]
    events += [(beat, 0, mido.MetaMessage("time_signature", numerator=n, denominator=4)) for beat, n in bars]
    return [(beat, message) for beat, _, message in sorted(events, key=lambda event: event[:2])]


def _track(instrument, notes):
    """A named MIDI track; drums go to channel 10, which General MIDI keeps for them."""
    import pretty_midi

    program = 0 if instrument.is_drums else instrument.programs[0]
    track = pretty_midi.Instrument(program, is_drum=instrument.is_drums, name=instrument.name)
    for note in notes:
        velocity = min(max(round(127 * note.velocity), 1), 127)
        track.notes.append(pretty_midi.Note(velocity, note.pitch, note.start, note.end))
    return track


def _quantise(midi, steps):
    """Move all notes to a grid of `steps` in a beat, in place. Where eighths are swung, so is the grid."""
    notes = [note for track in midi.instruments for note in track.notes]
    played = np.array([midi.time_to_tick(note.start) for note in notes]) / TICKS_PER_BEAT
    swing = _swing(played) if steps % 3 else 0.5  # triplets are where swung notes lie anyway
    for note in notes:
        start, end = (
            _nearest(midi.time_to_tick(time) / TICKS_PER_BEAT, steps, swing) for time in (note.start, note.end)
        )
        if end <= start:
            end = _nearest(start + 1 / steps, steps, swing)
        note.start, note.end = (midi.tick_to_time(round(beat * TICKS_PER_BEAT)) for beat in (start, end))


def _swing(starts):
    """Where in a beat the second of two eighths lies: 0.5 when they are played straight."""
    within = starts % 1
    second = within[(within > SWING[0]) & (within < SWING[1])]
    middle = float(np.median(second)) if len(second) else 0.5
    return middle if middle > STRAIGHT else 0.5


def _nearest(beat, steps, swing):
    """The beat's nearest place on the grid."""
    straight = np.interp(beat % 1, [0, swing, 1], [0, 0.5, 1])
    return beat // 1 + float(np.interp(round(straight * steps) / steps, [0, 0.5, 1], [0, swing, 1]))
