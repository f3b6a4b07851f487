"""Reading MIDI files, with the reason for those that cannot be used. Used by mini-Slakh and to train transcribers.

The libraries are too lenient in some things: mido accepts files of format 2, without tracks, or timed in film frames.
And too strict in others: one text event that is out of range stops mido, and pretty_midi looks for the tempo in the
first track only, for a note's end and program only in the note's own track, and for drums only on channel 10. So the
bytes are checked and written again first, and the notes are assembled here.
Standard: "Standard MIDI Files 1.0", MIDI Manufacturers Association, 1988; drums elsewhere than on channel 10: Yamaha's
XG (bank 127 or 126, or a system exclusive message), General MIDI 2 (bank 120; 121: none) and Roland's GS (a system
exclusive message).
"""

import io
import itertools
import struct
import warnings
from bisect import bisect_left, bisect_right
from collections import defaultdict
from pathlib import Path

from muscomp_lib.core.errors import MidiError, MissingError

HEADER = struct.Struct(">4sIHHH")  # "MThd", its length, format, number of tracks, division
CHUNK = struct.Struct(">4sI")
FRAMES = 0x8000  # this bit of the division: time is counted in film frames (SMPTE), not in beats
MAX_SECONDS = 20 * 60
MAX_TICKS = 9_000_000  # pretty_midi keeps a table of all, and refuses ten million: 8 minutes of a file by music21
RIFF, WRAPPING = b"RIFF", 256  # Windows' .rmi; bytes that may stand before any other's header: of MacBinary 128
OTHER_FILES = {  # by their first bytes
    b"\x1f\x8b": "compressed with gzip: unpack it",
    b"PK": "a zip archive: unpack it",
    b"SMF2": "a clip of MIDI 2.0: export it as a Standard MIDI File",
    b"BCF": "of Guitar Pro: export it as MIDI",
    b"\x18FICHIER GUITAR PRO": "of Guitar Pro: export it as MIDI",
    b"<": "a web page, or XML",
}

META, SYSEX = 0xFF, (0xF0, 0xF7)
END = bytes([META, 0x2F, 0])  # of a track
QUICKEST = 20_000  # microseconds of a beat, 3000 bpm: any quicker, a song has no length
USED = {  # meta events by type, and what their data must be
    0x03: lambda data: True,  # a track's name
    0x21: lambda data: len(data) == 1,  # its port, which has channels of its own
    0x51: lambda data: len(data) == 3 and int.from_bytes(data, "big") >= QUICKEST,  # tempo
    0x58: lambda data: len(data) == 4 and data[0] > 0 and data[1] < 8,  # time signature
    0x59: lambda data: (
        len(data) == 2 and (data[0] + 7) % 256 < 15 and data[1] < 2
    ),  # key signature: 7 flats to 7 sharps
}
N_DATA = {0x8: 2, 0x9: 2, 0xA: 2, 0xB: 2, 0xC: 1, 0xD: 1, 0xE: 2}  # data bytes of a channel's message, by status >> 4
SYSTEM = {0xF1: 1, 0xF2: 2, 0xF3: 1}  # data bytes of messages that belong into cables, not files; of others, none
NOTES = ("note_on", "note_off")
CONDUCTOR = ("set_tempo", "time_signature", "key_signature")
DRUM_CHANNEL = 9
STROKE = 8  # a drum that is ended at once sounds all the same: for one of so many parts of a beat
BANK, DATA, PEDAL, RESET = 0, 6, 64, 121  # numbers of controllers
PARAMETER, UNREGISTERED = (101, 100), (99, 98)  # ... that choose what DATA sets: one of the next two, or none of them
BEND_RANGE, TRANSPOSITION = (0, 0), (0, 2)
ALL_OFF = (120, *range(123, 128))  # controllers that end a channel's notes
HALF, BEND, SEMITONES = 64, 8192, 2  # of a controller; the furthest of a pitch wheel, and what it is by default
DRUM_BANKS, MELODIC_BANK = (120, 126, 127), 121  # General MIDI 2's 121 makes even channel 10 melodic
GS = (0x41, 0x42, 0x12, 0x40)  # bytes 0, 2, 3 and 4 of its messages; 1 is the device
XG_PART, XG_MODE = (0x43, 0x4C, 0x08), 0x07  # bytes 0, 2 and 3 of messages to a part, which is byte 4; byte 5


def read(path, sounding=False):
    """Read a MIDI file of format 0 or 1.

    Chunks that are not tracks and meta events out of range are skipped, and so is what RIFF or MacBinary put before the
    header; notes that never end last until the next of their pitch, or the end of their track.

    Parameters
    ----------
    path : str or Path
    sounding : bool
        Give notes as they sound, not as they are played: they last while the sustain pedal holds them, and have the
        pitch at which wheel and tuning hold them for longest, to the nearest semitone.

    Returns
    -------
    pretty_midi.PrettyMIDI
        One instrument per MIDI track, channel and program with notes; without control changes.

    Raises
    ------
    MissingError
        When the file is not there.
    MidiError
        When it is not a MIDI file, is damaged, has no notes, or is too long; with the reason.
    """
    import mido

    path = Path(path)
    if not path.is_file():
        raise MissingError(f"{path} is not there. Check the name and the folder.")
    try:
        playable = _without_other_chunks(path.read_bytes(), path)
        parsed = mido.MidiFile(file=io.BytesIO(playable), clip=True)
        if not any(message.type == "note_on" and message.velocity > 0 for track in parsed.tracks for message in track):
            raise _bad(path, "it has no notes")
        midi = _assembled(_short_enough(parsed, path), sounding)
    except MidiError:
        raise
    except Exception as error:  # parsers of foreign bytes raise anything; the file is at fault
        problem = "cannot be read" if getattr(error, "errno", None) else "is damaged"  # mido's OSErrors have no number
        reason = str(error) or "a track breaks off inside an event"
        raise _bad(path, f"it {problem} ({type(error).__name__}: {reason})") from error
    if not midi.instruments:
        raise _bad(path, "its notes have no length")
    return midi


def _bad(path, reason):
    return MidiError(f"{path} cannot be used: {reason}. Give another MIDI file, or export it again.")


def _without_other_chunks(source, path):
    """The file's header and tracks only, with the header checked."""
    if not source:
        raise _bad(path, "it is empty")
    searched = source if source.startswith(RIFF) else source[:WRAPPING]
    source = source[max(0, searched.find(b"MThd")) :]
    if source[:4] != b"MThd":
        what = next((f", but is {what}" for begin, what in OTHER_FILES.items() if source.startswith(begin)), "")
        raise _bad(path, f"it is not a MIDI file (it does not begin with MThd{what})")
    if len(source) < HEADER.size:
        raise _bad(path, f"it is cut short: {len(source)} bytes are less than a header")
    _, length, kind, n_tracks, division = HEADER.unpack_from(source)
    if kind not in (0, 1):
        raise _bad(path, f"it is of format {kind}; 0 and 1 are read")
    if n_tracks == 0:
        raise _bad(path, "its header declares zero tracks")
    if division == 0 or division & FRAMES:
        what = ", frames of a film (SMPTE)" if division & FRAMES else ""
        raise _bad(path, f"its time division is {division:#06x}{what}; only ticks per beat, 1 to 32767, are read")
    tracks = _tracks(source, CHUNK.size + length, n_tracks, path)
    if len(tracks) < n_tracks:
        raise _bad(path, f"it is cut short: the header declares {n_tracks} tracks and {len(tracks)} MTrk are there")
    return HEADER.pack(b"MThd", HEADER.size - CHUNK.size, kind, n_tracks, division) + b"".join(tracks)


def _tracks(source, position, n_tracks, path):
    """The first MTrk chunks from `position` on, each with its chunk header; what follows them is of no interest."""
    found, has_track = [], False
    while position + CHUNK.size <= len(source) and len(found) < n_tracks:
        name, length = CHUNK.unpack_from(source, position)
        start, end = position + CHUNK.size, position + CHUNK.size + length
        has_track = has_track or name == b"MTrk"
        if name == b"MTrk":
            track, n_bytes, has_end = _rewritten(source[start:end])
            if end > len(source) and not has_end:
                raise _bad(path, f"it is cut short: a track of {length} bytes ends {end - len(source)} bytes too early")
            found.append(CHUNK.pack(b"MTrk", len(track)) + track)
            end = end if end <= len(source) else start + n_bytes  # a program that did not go back to fill in the length
        position = end
    if not has_track:
        raise _bad(path, "it has no track (no MTrk)")
    return found


def _short_enough(parsed, path):
    """The parsed file, without what is behind its last note if it is too long: some end with their project, later.

    Raises
    ------
    MidiError
        Its music is too long.
    """
    import mido

    if parsed.length <= MAX_SECONDS:  # mido copies each message to compute it
        return parsed
    last = max(tick for tick, _, message in _timed(parsed) if message.type in NOTES)
    ticks = [itertools.accumulate(message.time for message in track) for track in parsed.tracks]
    tracks = [track[: bisect_right(list(its), last)] for track, its in zip(parsed.tracks, ticks, strict=True)]
    parsed = mido.MidiFile(ticks_per_beat=parsed.ticks_per_beat, tracks=tracks)
    if parsed.length > MAX_SECONDS:
        raise _bad(path, f"it lasts {parsed.length / 60:.0f} minutes; up to {MAX_SECONDS // 60} are read")
    return parsed


def _rewritten(track):
    """A track's events up to its end as mido takes them: each with its status, none that is not used or out of range.

    Returns
    -------
    content : bytes
    n_bytes : int
        How many bytes of the track these were.
    has_end : bool
        Whether the last one says that the track ends.
    """
    content, position, running, waited, has_end = bytearray(), 0, 0, 0, False
    try:
        while position < len(track) and not has_end:
            delta, status, start, end = _event(track, position, running)
            body, position, waited = track[start:end], end, waited + delta
            running = status if status < SYSEX[0] else running
            has_end = status == META and body[0] == END[1]
            if _is_used(status, body):
                content += _in_sevens(waited) + bytes([status]) + body
                waited = 0
    except (IndexError, KeyError):
        return bytes(content) + track[position:], len(track), False  # mido names what is wrong
    return bytes(content) + _in_sevens(waited) + END, position, has_end


def _event(track, position, running):
    """The event at a position: (its delta time, its status, where what follows the status begins and ends).

    Raises
    ------
    IndexError, KeyError
        It is not whole; no status was before it, of which it could be another one.
    """
    delta, position = _variable_length(track, position)
    has_status = track[position] >= 0x80
    status, start = track[position] if has_status else running, position + has_status
    if status == META or status in SYSEX:
        length, end = _variable_length(track, start + (status == META))
        end += length
    else:
        end = start + (SYSTEM.get(status, 0) if status > SYSEX[0] else N_DATA[status >> 4])
    if end > len(track):
        raise IndexError
    return delta, status, start, end


def _is_used(status, body):
    """Whether an event is one of a channel, a system exclusive one, or a meta event that is used and as it must be."""
    if status != META:
        return status < SYSEX[0] or status in SYSEX
    _, begin = _variable_length(body, 1)
    return body[0] in USED and USED[body[0]](body[begin:])


def _in_sevens(value):
    """A number in groups of seven bits, as `_variable_length` reads it."""
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.insert(0, value & 0x7F | 0x80)
    return bytes(groups)


def _variable_length(track, position):
    """A number in groups of seven bits, and the position after it."""
    value = 0
    while True:
        value, byte, position = value << 7 | track[position] & 0x7F, track[position], position + 1
        if byte < 0x80:
            return value, position


def _assembled(parsed, sounding):
    """The parsed file's notes, each with the program, drums and end that any of its tracks gives it."""
    import pretty_midi

    _limit_ticks(parsed)
    messages = _timed(parsed)
    midi = _conducted(parsed, messages)
    midi.tick_to_time(messages[-1][0])  # or pretty_midi computes its table again for each tick behind the last one
    parts = {}
    for start, end, message, number, program, is_drum in _played(parsed, messages, sounding):
        key = number, message.channel, program, is_drum
        if key not in parts:
            parts[key] = pretty_midi.Instrument(program, is_drum, parsed.tracks[number].name)
        times = midi.tick_to_time(start), midi.tick_to_time(end)
        parts[key].notes.append(pretty_midi.Note(message.velocity, message.note, *times))
    midi.instruments = [parts[key] for key in sorted(parts, key=lambda key: (key[0], key[1]))]
    return midi


def _played(parsed, messages, sounding):
    """The notes of all ports, as `_notes` or `_sounding` has them."""
    for of_port in _by_port(messages):
        notes = list(_notes(parsed, of_port))
        yield from _sounding(notes, of_port) if sounding else notes


def _by_port(messages):
    """The messages of each port with notes. What a track sets that has neither port nor notes is so on all."""
    given = {number: message.port for _, number, message in reversed(messages) if message.type == "midi_port"}
    with_notes = {number: given.get(number, 0) for _, number, message in messages if message.type in NOTES}
    of_track, ports = given | with_notes, sorted(set(with_notes.values()))
    if len(ports) == 1:
        return [messages]
    return [[each for each in messages if each[2].is_meta or of_track.get(each[1], port) == port] for port in ports]


def _limit_ticks(parsed):
    """Count a parsed file's time in fewer ticks per beat, in place, where there are more than `MAX_TICKS`."""
    before, last = parsed.ticks_per_beat, max(_length(track) for track in parsed.tracks)
    if last <= MAX_TICKS:
        return
    parsed.ticks_per_beat = max(1, before * MAX_TICKS // last)
    for track in parsed.tracks:
        tick, done = 0, 0
        for message in track:
            tick += message.time
            message.time = round(tick * parsed.ticks_per_beat / before) - done
            done += message.time


def _length(track):
    return sum(message.time for message in track)


def _timed(parsed):
    """[(tick, number of the track, message)] in the order of time: what sets a note's sound comes before the note."""
    timed = []
    for number, track in enumerate(parsed.tracks):
        tick = 0
        for message in track:
            tick += message.time
            timed.append((tick, number, message))
    return sorted(timed, key=lambda item: (item[0], item[2].type in NOTES))


def _conducted(parsed, messages):
    """A pretty_midi.PrettyMIDI without notes, with the tempo, time and key signatures of all tracks."""
    import mido
    import pretty_midi

    track, last = mido.MidiTrack(), 0
    for tick, _, message in messages:
        if message.type in CONDUCTOR:
            track.append(message.copy(time=tick - last))
            last = tick
    conductor = io.BytesIO()
    mido.MidiFile(ticks_per_beat=parsed.ticks_per_beat, tracks=[track]).save(file=conductor)
    conductor.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pretty_midi.PrettyMIDI(conductor)


def _notes(parsed, messages):
    """All notes, each with what any of its tracks says of it.

    An end ends all notes of its pitch that began before, as in synthesizers: those of its own track, else of any.

    Yields
    ------
    start, end : int
        Ticks.
    message : mido.Message
        The note_on.
    number, program : int
        Its track, and its program: the last one of its channel in its own track, else in any.
    is_drum : bool
    """
    programs, sounding = {}, defaultdict(dict)
    is_drum = _DrumChannels(messages)
    for tick, number, message in messages:
        is_drum.update(message)
        if message.type == "program_change":
            programs[number, message.channel] = programs[message.channel] = message.program
        elif message.type == "note_on" and message.velocity > 0:
            program = programs.get((number, message.channel), programs.get(message.channel, 0))
            found = tick, message, number, program, is_drum[message.channel]
            sounding[message.channel, message.note].setdefault(number, []).append(found)
        elif message.type in NOTES:
            yield from _ended(sounding[message.channel, message.note], number, tick, parsed)
        elif message.type == "control_change" and message.control in ALL_OFF:
            of_channel = [parts for key, parts in sounding.items() if key[0] == message.channel]
            for part in itertools.chain.from_iterable(parts.values() for parts in of_channel):
                yield from _ended({number: part}, number, tick, parsed)
    for part in (part for parts in sounding.values() for part in parts.values()):
        yield from _never_ended(part, parsed)


def _never_ended(part, parsed):
    """The notes of one pitch and track that lack a note-off: each lasts until the next, the last to its track's end."""
    for (start, message, number, *found), following in itertools.zip_longest(part, part[1:]):
        end = following[0] if following else _length(parsed.tracks[number])
        yield start, end if end > start else start + parsed.ticks_per_beat, message, number, *found


def _ended(sounding, number, tick, parsed):
    """The notes of one pitch, by track, that a note-off ends; of those of no length, only drums are kept."""
    part = sounding.get(number) or next((other for other in sounding.values() if other), [])
    before = [note for note in part if note[0] < tick]
    for start, *found in before:
        yield start, tick, *found
    for start, *found, is_drum in part if not before else ():
        if is_drum:
            yield start, start + max(1, parsed.ticks_per_beat // STROKE), *found, is_drum
    part[:] = [note for note in part if note[0] == tick] if before else []


def _sounding(notes, messages):
    """The notes of `_notes` as they sound: held by the pedal, and at the pitch to which the wheel bends them."""
    strikes = defaultdict(list)
    for start, _, message, *_ in sorted(notes, key=lambda note: note[0]):
        strikes[message.channel, message.note].append(start)
    pedals, shifts = _pedals(messages), _shifts(messages)
    for start, end, message, number, program, is_drum in notes:
        if not is_drum:
            again = strikes[message.channel, message.note]
            pitch = message.note + _longest(shifts[message.channel], start, end)
            message = message.copy(note=min(max(pitch, 0), 127))
            end = min([_last(pedals[message.channel], end)[1] or end, *again[bisect_left(again, end) :][:1]])
        yield start, end, message, number, program, is_drum


def _last(changes, tick):
    """The last of some changes, (tick, value), that is not after a tick."""
    return changes[bisect_right(changes, tick, key=_tick) - 1]


def _longest(changes, start, end):
    """The value that changes, (tick, value), have for longest between two ticks: guitarists slide into notes."""
    later = changes[bisect_right(changes, start, key=_tick) : bisect_left(changes, end, key=_tick)]
    ticks, values = zip((start, _last(changes, start)[1]), *later, strict=True)
    lasts = defaultdict(int)
    for value, since, until in zip(values, ticks, (*ticks[1:], end), strict=True):
        lasts[value] += until - since
    return max(lasts, key=lasts.get)


def _tick(change):
    return change[0]


def _pedals(messages):
    """{channel: [(tick, until when the pedal is held from there on, or 0)]}."""
    found = defaultdict(lambda: [(-1, 0)])
    for tick, _, message in reversed(messages):
        if message.type == "control_change" and message.control in (PEDAL, RESET):
            is_down = message.control == PEDAL and message.value >= HALF
            later = found[message.channel]
            until = (later[-1][1] or later[-1][0]) if len(later) > 1 else messages[-1][0]
            later.append((tick, until if is_down else 0))
    return defaultdict(lambda: [(-1, 0)], {channel: sorted(changes) for channel, changes in found.items()})


def _shifts(messages):
    """{channel: [(tick, by how many semitones wheel and tuning move its notes from there on)]}."""
    found = defaultdict(lambda: [(-1, 0)])
    state = defaultdict(lambda: {"bend": 0.0, BEND_RANGE: SEMITONES, TRANSPOSITION: HALF, PARAMETER: [127, 127]})
    for tick, _, message in messages:
        if message.type not in ("pitchwheel", "control_change"):
            continue
        of = state[message.channel]
        if message.type == "pitchwheel":
            of["bend"] = message.pitch / BEND
        elif message.control in PARAMETER:
            of[PARAMETER][PARAMETER.index(message.control)] = message.value
        elif message.control in UNREGISTERED:
            of[PARAMETER] = [127, 127]
        elif message.control == DATA and tuple(of[PARAMETER]) in (BEND_RANGE, TRANSPOSITION):
            of[tuple(of[PARAMETER])] = message.value
        elif message.control == RESET:
            of["bend"] = 0.0
        shift = round(of["bend"] * of[BEND_RANGE]) + of[TRANSPOSITION] - HALF
        found[message.channel].append((tick, shift))
    return found


class _DrumChannels(dict):
    """{channel: whether it plays drums}, as messages go by."""

    def __init__(self, messages):
        super().__init__({channel: channel == DRUM_CHANNEL for channel in range(16)})
        self._banks, self._set = {}, {}  # by channel; what a system exclusive message sets, whatever the bank
        self._is_gs = any(m.type == "sysex" and _is_gs(m.data) for _, _, m in messages)

    def update(self, message):
        """Take a message in."""
        if message.type == "control_change" and message.control == BANK:
            self._banks[message.channel] = message.value
        elif message.type == "program_change" and message.channel in self._banks and not self._is_gs:
            # In GS these banks are sounds of older devices.
            bank, usual = self._banks[message.channel], self._set.get(message.channel, message.channel == DRUM_CHANNEL)
            self[message.channel] = bank in DRUM_BANKS or (usual and bank != MELODIC_BANK)
        elif message.type == "sysex":
            given = _gs_drums(message.data) if _is_gs(message.data) else _xg_drums(message.data)
            self._set |= given
            super().update(given)


def _is_gs(data):
    return (data[0], *data[2:5]) == GS if len(data) > 4 else False


def _gs_drums(data):
    """{channel: whether it plays drums} if a GS message says so: address 1x 15, where x = 0 is channel 10."""
    if len(data) < 8 or data[5] >> 4 != 1 or data[6] != 0x15:
        return {}
    block = data[5] & 0x0F
    channel = DRUM_CHANNEL if block == 0 else block - 1 if block <= DRUM_CHANNEL else block
    return {channel: data[7] > 0}


def _xg_drums(data):
    """{channel: whether it plays drums} if an XG message gives the mode of a part, which has the channel's number."""
    if len(data) < 7 or (data[0], *data[2:4]) != XG_PART or data[5] != XG_MODE or data[4] > 15:
        return {}
    return {data[4]: data[6] > 0}
