"""Notebook 05, second part: from separated instruments to one multi-track MIDI file.

Each instrument is transcribed by itself (`note_decoder.py`). This module does what concerns the whole song: which stems
hold more than bleed, the tempo map with bars and key (`beats.py`), the tracks with their General MIDI programs, and
quantising.
"""

import io
import logging
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import numpy as np

from muscomp_lib import audio
from muscomp_lib.core import instruments, settings
from muscomp_lib.core.errors import AudioError, SettingError
from muscomp_lib.core.files import written_whole
from muscomp_lib.core.progress import bar
from muscomp_lib.core.settings import Field
from muscomp_lib.models.config import targets
from muscomp_lib.transcription import beats, cqt
from muscomp_lib.transcription.choice import transcribable
from muscomp_lib.transcription.note_decoder import Transcriber, to_mono

KEPT_BYTES = 1 << 28  # 256 MB: a dozen stems of four minutes
SILENCE_DB = -70.0  # dBFS: a stem below this is silent, however soft the song
LEVEL_BLOCK = 0.1  # seconds
DEFAULT_TEMPO = 120.0  # bpm: MIDI's own, for a song without a beat
TICKS_PER_BEAT = 480
MADE_OF = Annotated[dict[str, list[str]], settings.Expected("{target: [instrument, ...]}")]
CHARSET = "utf8"  # of the tracks' names
MICROSECONDS_PER_MINUTE = 60e6
START_TOLERANCE = 0.02  # seconds: a first beat this early starts with the file
LEAD_IN_UNIT = 128  # the bar before the first beat is called after the nearest number of 128ths
GRIDS = {"1/4": 1, "1/8": 2, "1/8T": 3, "1/16": 4, "1/16T": 6, "1/32": 8}  # steps in a beat; T: triplets
SWING_RANGE, STRAIGHT = (0.4, 0.75), 0.54  # of a beat: where a swung second eighth may lie; up to this it is straight

log = logging.getLogger(__name__)


class Settings(settings.Settings):
    """How to transcribe."""

    taxonomy: instruments.Taxonomy = Field(
        instruments.DEFAULT_TAXONOMY, description="A block of instruments.yaml: programs, ranges and voices."
    )
    # At -20 dB, every instrument that played in 20 validation songs got a track, and two thirds of the others as well.
    floor_db: settings.number(below=0, unit="dB") = Field(
        -20.0, description="A stem this far below the loudest one is taken for bleed and gets no track."
    )
    quantise: settings.optional(settings.one_of(*GRIDS), "notes as played") = Field(
        None, description="Move notes to a grid, such as 1/16, or 1/8T for triplets. Swung eighths stay swung."
    )
    made_of: settings.optional(MADE_OF, "targets that are named like instruments") = Field(
        None, description="The instruments that each target of the separating model is made of."
    )

    @classmethod
    def of_model(cls, config, taxonomy=None, quantise=None):
        """The settings for what a model of this configuration separates; its taxonomy, unless one is given."""
        taxonomy = taxonomy or config["muscomp"]["taxonomy"] or instruments.DEFAULT_TAXONOMY
        return cls(taxonomy=taxonomy, quantise=quantise, made_of=targets(config))

    def choose(self, names):
        """As `transcribable`, with these settings."""
        return transcribable(names, self.taxonomy, self.made_of)


def transcribe(stems, sample_rate=None, settings=None, transcriber=None, progress=bar):
    """Transcribe a song's instruments, of which some minutes are in memory at a time.

    Parameters
    ----------
    stems : dict of str to np.ndarray, shape=(n_samples, n_channels) or (n_samples,), or Path
        {instrument: waveform or sound file}, as from `separation.Separator.separate` or `separate_file`. What is not
        `transcribable` counts for tempo and loudness but gets no track. NaN and infinite samples count as silence.
    sample_rate : int, optional
        Hz, of waveforms; files have their own.
    settings : Settings, optional
    transcriber : note_decoder.Transcriber, optional
        The pretrained one by default.
    progress : callable
        Called like tqdm for a bar over the instruments.

    Returns
    -------
    pretty_midi.PrettyMIDI
        A track with the stem's name for each that has notes, in the taxonomy's order; the song's tempo, bars and key.

    Raises
    ------
    SettingError, AudioError
        A wrong sample rate; a wrong shape.
    """
    settings = settings or Settings()
    _check(stems, sample_rate)
    known, reasons = settings.choose(stems)
    for name, reason in reasons.items():
        log.info("No notes of %s: %s.", name, reason)
    levels, song, monos = _levels(stems, sample_rate, progress)
    audible = _audible(levels, known, settings.floor_db)
    notes = _notes(stems, sample_rate, monos, audible, transcriber, progress)
    drums = [note for name in notes if known[name].is_drums for note in notes[name]]
    pitched = [note for name in notes if not known[name].is_drums for note in notes[name]]
    grid = beats.grid(song, pitched, drums)
    midi = _bars(grid, beats.key(pitched))
    midi.instruments += [_track(name, known[name], its) for name, its in notes.items() if its]
    if settings.quantise and grid:
        _quantise(midi, GRIDS[settings.quantise])
    for track in midi.instruments:
        track.notes = _apart(track.notes, midi)
    return midi


def read(path):
    """Read a transcription that `write` wrote: pretty_midi.PrettyMIDI."""
    import pretty_midi

    return pretty_midi.PrettyMIDI(str(path), charset=CHARSET)


def write(midi, path):
    """Write a transcription (pretty_midi.PrettyMIDI) as a MIDI file; it appears whole or not at all."""
    with written_whole(path) as part:
        midi.write(str(part))


def tempo(midi):
    """The tempo of most of a transcription, in beats per minute: a float."""
    times, tempi = midi.get_tempo_changes()
    lasts = np.diff([*times, max(midi.get_end_time(), times[-1])])
    order = np.argsort(tempi)
    middle = np.searchsorted(np.cumsum(lasts[order]), lasts.sum() / 2)
    return float(tempi[order][middle])


def _check(stems, sample_rate):
    waveforms = {name: stem for name, stem in stems.items() if not isinstance(stem, (str, Path))}
    if waveforms and not (sample_rate and sample_rate > 0):
        raise SettingError(settings.wrong("sample_rate", sample_rate, "a number of Hz above 0, such as 44100"))
    for name, waveform in waveforms.items():
        if np.ndim(waveform) not in (1, 2):
            raise AudioError(f"{name} has shape {np.shape(waveform)}; give (n_samples, n_channels).")


def _levels(stems, sample_rate, progress):
    """What is known of the stems before they are transcribed.

    Returns
    -------
    levels : dict of str to float
        dBFS.
    song : np.ndarray, shape=(n_samples,), float32
        The sum of all, at `cqt.SAMPLE_RATE`.
    monos : dict of str to np.ndarray
        As many stems as fit in `KEPT_BYTES`, for `_notes`: to read them takes as long as their notes.
    """
    levels, song, monos, n_bytes = {}, np.zeros(0, np.float32), {}, 0
    for name in progress(stems, desc="measuring levels", unit="instrument"):
        mono = to_mono(stems[name], sample_rate)
        levels[name] = _level(mono)
        n_bytes += mono.nbytes
        if n_bytes <= KEPT_BYTES:
            monos[name] = mono
        longer, shorter = (song, mono) if len(song) >= len(mono) else (mono.copy(), song)
        longer[: len(shorter)] += shorter
        song = longer
    return levels, song, monos


def _audible(levels, known, floor_db):
    """Those of the known stems with more than bleed: {name: Instrument}."""
    floor = max(SILENCE_DB, max(levels.values(), default=SILENCE_DB) + floor_db)
    return {name: instrument for name, instrument in known.items() if levels[name] > floor}


def _notes(stems, sample_rate, monos, audible, transcriber, progress):
    """The notes of instruments, of which `monos` are read already: {name: list of Note}."""
    transcriber, notes = transcriber or Transcriber(), {}
    for name in progress(audible, desc="transcribing", unit="instrument"):
        mono = monos[name] if name in monos else to_mono(stems[name], sample_rate)
        notes[name] = transcriber.notes(mono, audible[name])
        log.info("%s: %d notes", name, len(notes[name]))
    return notes


def _level(waveform):
    """The level of a stem's loud parts in dBFS: the 95th percentile over blocks, so that rests do not count."""
    size = round(LEVEL_BLOCK * cqt.SAMPLE_RATE)
    blocks = waveform[: len(waveform) // size * size].reshape(-1, size)
    if not len(blocks):
        return -np.inf
    powers = np.einsum("ij,ij->i", blocks, blocks, dtype=np.float64) / size  # makes no copy of the song
    return float(audio.to_db(np.percentile(np.sqrt(powers), 95)))


def _bars(grid, key):
    """A MIDI file without notes: its tempo map, time signatures and key."""
    import mido
    import pretty_midi

    default = mido.MetaMessage("set_tempo", tempo=round(MICROSECONDS_PER_MINUTE / DEFAULT_TEMPO))
    track, now = mido.MidiTrack(), 0
    for tick, message in _tempo_map(grid) if grid else [(0, default)]:
        track.append(message.copy(time=tick - now))
        now = tick
    track.append(mido.MetaMessage("end_of_track", time=0))
    file = io.BytesIO()
    mido.MidiFile(type=1, ticks_per_beat=TICKS_PER_BEAT, tracks=[track]).save(file=file)
    file.seek(0)
    midi = pretty_midi.PrettyMIDI(file, charset=CHARSET)
    if key is not None:
        midi.key_signature_changes.append(pretty_midi.KeySignature(key, 0.0))
    return midi


def _tempo_map(grid):
    """Tempo changes and time signatures: [(tick, message)] in order.

    What is before the first downbeat goes on at the song's tempo: a bar for what is shorter than a beat (the lead-in),
    then beats, of which those that do not fill a bar have one of their own (the pickup).
    """
    period = 60 / grid.tempo
    earlier, lead = divmod(grid.times[0] + START_TOLERANCE, period)
    lead = max(0.0, lead - START_TOLERANCE)
    lead = lead if lead > START_TOLERANCE else 0.0
    lead_ticks = round(lead / period * TICKS_PER_BEAT)
    edges = np.r_[lead + period * np.arange(earlier), grid.times]
    edges[0] = lead
    tempi = np.rint(np.diff(edges) * 1e6).astype(int)  # microseconds per beat
    changes = [0, *(np.flatnonzero(np.abs(np.diff(tempi)) > 1) + 1)]  # a microsecond is rounding
    events = [(lead_ticks + beat * TICKS_PER_BEAT, 1, _set_tempo(tempi[beat])) for beat in changes]
    pickup = (int(earlier) + grid.downbeat) % grid.metre
    bars = [(0, pickup), (pickup, grid.metre)] if pickup else [(0, grid.metre)]
    events += [(lead_ticks + beat * TICKS_PER_BEAT, 0, _time_signature(n, 4)) for beat, n in bars]
    if lead_ticks:
        exactly = round(lead * 1e6 * TICKS_PER_BEAT / lead_ticks)
        events += [(0, 1, _set_tempo(tempi[0] if abs(exactly - tempi[0]) <= 1 else exactly))]
        bar = Fraction(max(1, round(lead / period * LEAD_IN_UNIT / 4)), LEAD_IN_UNIT)
        events += [(0, 0, _time_signature(bar.numerator, bar.denominator))]
    return [(int(tick), message) for tick, _, message in sorted(events, key=lambda event: event[:2])]


def _set_tempo(microseconds):
    import mido

    return mido.MetaMessage("set_tempo", tempo=int(microseconds))


def _time_signature(numerator, denominator):
    import mido

    return mido.MetaMessage("time_signature", numerator=int(numerator), denominator=denominator)


def lead_in(midi):
    """The length of what comes before a transcription's first beat, in ticks: an int."""
    first, *later = midi.time_signature_changes or [None]
    return int(midi.time_to_tick(later[0].time)) if later and 4 * first.numerator < first.denominator else 0


def _track(name, instrument, notes):
    """A MIDI track; drums are written to channel 10, as General MIDI has it."""
    import pretty_midi

    program = 0 if instrument.is_drums else instrument.programs[0]
    track = pretty_midi.Instrument(program, is_drum=instrument.is_drums, name=name)
    for note in notes:
        velocity = min(max(round(127 * note.velocity), 1), 127)
        track.notes.append(pretty_midi.Note(velocity, note.pitch, note.start, note.end))
    return track


def _quantise(midi, steps):
    """Move all notes to a grid of `steps` in a beat, in place. Where eighths are swung, so is the grid."""
    notes, lead = [note for track in midi.instruments for note in track.notes], lead_in(midi)

    def to_beats(time):
        return (midi.time_to_tick(time) - lead) / TICKS_PER_BEAT

    starts = np.array([to_beats(note.start) for note in notes])
    swing = _swing(starts) if steps % 3 else 0.5  # swung notes lie on triplets anyway
    for note in notes:
        start, end = (_nearest(max(0.0, to_beats(time)), steps, swing) for time in (note.start, note.end))
        if end <= start:
            end = _nearest(start + 1 / steps, steps, swing)
        note.start, note.end = (midi.tick_to_time(lead + round(beat * TICKS_PER_BEAT)) for beat in (start, end))


def _apart(notes, midi):
    """The notes of a track, of which no two of one pitch sound at once, in the ticks that a file counts in.

    A file cannot say which of two notes of one pitch ends: where one begins before the other's end, readers cut it to
    nothing. So a note ends where the next of its pitch begins, and of those that begin together one is left.
    """
    latest, kept = {}, []
    for note in sorted(notes, key=lambda note: (note.start, note.pitch)):
        start, before = int(midi.time_to_tick(note.start)), latest.get(note.pitch)
        if before is not None and midi.time_to_tick(before.start) == start:
            before.velocity, before.end = max(before.velocity, note.velocity), max(before.end, note.end)
            continue
        if before is not None and midi.time_to_tick(before.end) >= start:
            before.end = note.start
        note.end = max(note.end, midi.tick_to_time(start + 1))
        latest[note.pitch] = note
        kept.append(note)
    return kept


def _swing(starts):
    """Where in a beat the second of two eighths lies, from starts in beats: 0.5 when they are straight."""
    within = starts % 1
    second = within[(within > SWING_RANGE[0]) & (within < SWING_RANGE[1])]
    middle = float(np.median(second)) if len(second) else 0.5
    return middle if middle > STRAIGHT else 0.5


def _nearest(beat, steps, swing):
    """The nearest point of the grid, in beats."""
    straight = np.interp(beat % 1, [0, swing, 1], [0, 0.5, 1])
    return beat // 1 + float(np.interp(round(straight * steps) / steps, [0, 0.5, 1], [0, swing, 1]))
