"""A song's beats and notes as MIDI has them: the tempo map with its bars, notes on a grid, notes kept apart.

Used by notebook 05, through `transcribe.py`.
"""

import io
from fractions import Fraction

import numpy as np

DEFAULT_TEMPO = 120.0  # bpm: MIDI's own, for a song without a beat
TICKS_PER_BEAT = 480  # quarter notes
MOST_TICKS = 100_000_000  # of a file, a day; pretty_midi refuses ten million, three hours
CHARSET = "utf8"  # of the tracks' names
MICROSECONDS_PER_MINUTE = 60e6
START_TOLERANCE = 0.02  # seconds: a first beat this early starts with the file
LEAD_IN_UNIT = 128  # the bar before the first beat is called after the nearest number of 128ths
GRIDS = {"1/4": 1, "1/8": 2, "1/8T": 3, "1/16": 4, "1/16T": 6, "1/32": 8}  # steps in a beat; T: triplets
SWING_RANGE, STRAIGHT = (0.4, 0.75), 0.54  # of a beat: where a swung second eighth may lie; up to this it is straight


def empty(grid, key):
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
    midi = parsed(file)
    if key is not None:
        midi.key_signature_changes.append(pretty_midi.KeySignature(key, 0.0))
    return midi


def parsed(file):
    """A MIDI file (file-like) of any length as pretty_midi.PrettyMIDI."""
    import pretty_midi

    pretty_midi.pretty_midi.MAX_TICK = MOST_TICKS  # its way to set the limit
    return pretty_midi.PrettyMIDI(file, charset=CHARSET)


def _tempo_map(grid):
    """Tempo changes and time signatures: [(tick, message)] in order.

    What is before the first downbeat goes on at the song's tempo: a bar for what is shorter than a beat (the lead-in),
    then beats, of which those that do not fill a bar have one of their own (the pickup).
    """
    import mido

    period, ticks = 60 / grid.tempo, round(grid.quarters * TICKS_PER_BEAT)
    earlier = max(0, int((grid.times[0] + START_TOLERANCE) // period))
    lead = grid.times[0] - earlier * period
    lead = lead if lead > START_TOLERANCE else 0.0
    ahead = round(lead / period * ticks)
    edges = np.r_[lead + period * np.arange(earlier), grid.times]
    edges[0] = lead
    tempi = np.rint(np.diff(edges) / grid.quarters * 1e6).astype(int)  # microseconds per quarter note
    changes = np.flatnonzero(np.abs(np.diff(tempi)) > 1) + 1  # a microsecond is rounding
    pickup = (earlier + grid.downbeat) % grid.metre
    bars = [(0, pickup), (pickup, grid.metre)] if pickup else [(0, grid.metre)]
    bars += [(earlier + beat, metre) for beat, metre in grid.changes]
    of_beat = (3, 8) if grid.compound else (1, 8) if grid.eighths else (1, 4)
    signatures = [(ahead + beat * ticks, n_beats * of_beat[0], of_beat[1]) for beat, n_beats in bars]
    if ahead:
        bar = Fraction(max(1, round(lead / period * grid.quarters * LEAD_IN_UNIT / 4)), LEAD_IN_UNIT)
        signatures.insert(0, (0, bar.numerator, bar.denominator))
    starts = [(0, tempi[0]), *((ahead + beat * ticks, tempi[beat]) for beat in changes)]
    events = [(at, mido.MetaMessage("time_signature", numerator=n, denominator=unit)) for at, n, unit in signatures]
    events += [(int(at), mido.MetaMessage("set_tempo", tempo=int(tempo))) for at, tempo in starts]
    return sorted(events, key=lambda event: event[0])


def lead_in(midi):
    """The length of what comes before a transcription's first beat, in ticks: an int."""
    first, *later = midi.time_signature_changes or [None]
    if not later:
        return 0
    ahead = 4 * TICKS_PER_BEAT * Fraction(first.numerator, first.denominator)
    return int(midi.time_to_tick(later[0].time)) if ahead < ticks_of_beat(midi) else 0


def tempo(midi):
    """The tempo of most of a transcription in beats per minute, which are dotted quarters in 6/8, eighths in 7/8."""
    times, tempi = midi.get_tempo_changes()
    lasts = np.diff([*times, max(midi.get_end_time(), times[-1])])
    order = np.argsort(tempi)
    middle = np.searchsorted(np.cumsum(lasts[order]), lasts.sum() / 2)
    return float(tempi[order][middle]) * TICKS_PER_BEAT / ticks_of_beat(midi)


def ticks_of_beat(midi):
    """How many ticks a beat of a transcription lasts: an int."""
    for signature in midi.time_signature_changes[-1:]:  # not of the lead-in
        if signature.denominator == 8:
            return TICKS_PER_BEAT * 3 // 2 if signature.numerator % 3 == 0 else TICKS_PER_BEAT // 2
    return TICKS_PER_BEAT


def quantise(midi, steps):
    """Move all notes to a grid of `steps` in a beat, in place. Where eighths are swung, so is the grid."""
    notes, lead = [note for track in midi.instruments for note in track.notes], lead_in(midi)
    _tabulate(midi, notes)

    def to_beats(time):
        return (midi.time_to_tick(time) - lead) / TICKS_PER_BEAT

    starts = np.array([to_beats(note.start) for note in notes])
    swing = _swing(starts) if steps % 3 else 0.5  # swung notes lie on triplets anyway
    for note in notes:
        start, end = (_nearest(max(0.0, to_beats(time)), steps, swing) for time in (note.start, note.end))
        if end <= start:
            end = _nearest(start + 1 / steps, steps, swing)
        note.start, note.end = (midi.tick_to_time(lead + round(beat * TICKS_PER_BEAT)) for beat in (start, end))


def apart(notes, midi):
    """The notes of a track, of which no two of one pitch sound at once, in the ticks that a file counts in.

    A file cannot say which of two notes of one pitch ends: where one begins before the other's end, readers cut it to
    nothing. So a note ends where the next of its pitch begins, and of those that begin together one is left.
    """
    latest, kept = {}, []
    _tabulate(midi, notes)
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


def _tabulate(midi, notes):
    """Let pretty_midi make its table of ticks up to the last note once, not again for each note, which takes minutes.

    What lies behind the table is rounded in another way, so that a note of one tick may become one of none.
    """
    end = max((note.end for note in notes), default=0.0)
    midi.tick_to_time(int(midi.time_to_tick(end)) + 1)


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
