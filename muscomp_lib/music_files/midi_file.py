"""Reading MIDI files, with the reason for those that cannot be used. Used by mini-Slakh, 01, 04 and 08.

The libraries are too lenient in some things: mido accepts files of format 2 and without tracks, and takes frames of a
film for parts of a beat.
And too strict in others: one text event that is out of range stops mido, and pretty_midi looks for the tempo in the
first track only, for a note's end and program only in the note's own track, and for drums only on channel 10. So the
bytes are checked and written again first, and the notes are assembled here.
Standard: "Standard MIDI Files 1.0", MIDI Manufacturers Association, 1988; drums elsewhere than on channel 10: Yamaha's
XG (bank 127 or 126, or a system exclusive message), General MIDI 2 (bank 120; 121: none) and Roland's GS (a system
exclusive message). Each of them has a message that resets all channels, as where songs were joined into one file.
"""

import io
import itertools
import struct
import warnings
from bisect import bisect_left, bisect_right
from collections import defaultdict
from pathlib import Path

from muscomp_lib.core import instruments
from muscomp_lib.core.errors import MidiError, MissingError

SUFFIXES = (".mid", ".midi", ".kar", ".rmi")
HEADER = struct.Struct(">4sIHHH")  # "MThd", its length, format, number of tracks, division
CHUNK = struct.Struct(">4sI")
FRAMES = 0x8000  # this bit of the division: time is counted in film frames (SMPTE), not in beats, whatever the tempo
# By the rate in the header: frames, and the microseconds that so many take; 29 stands for NTSC's 29.97.
FRAME_RATES = {24: (24, 1_000_000), 25: (25, 1_000_000), 29: (30, 1_001_000), 30: (30, 1_000_000)}
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
    b"version https://git-lfs": "a pointer of Git LFS: run git lfs pull in its repository",
}

META, SYSEX = 0xFF, (0xF0, 0xF7)
END = bytes([META, 0x2F, 0])  # of a track
QUICKEST = 20_000  # microseconds of a beat, 3000 bpm: any quicker, a song has no length
TEMPO = 0x51
USED = {  # meta events by type, and what their data must be
    0x03: lambda data: True,  # a track's name
    0x21: lambda data: len(data) == 1,  # its port, which has channels of its own
    TEMPO: lambda data: len(data) == 3 and int.from_bytes(data, "big") >= QUICKEST,  # tempo
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
NAMES_IN = ("utf-8", "latin-1", "shift_jis")  # encodings of tracks' names, which files do not give
STROKE = 8  # a drum that is ended at once sounds all the same: for one of so many parts of a beat
BANK, DATA, PEDAL, SOSTENUTO, SOUND_OFF, RESET = 0, 6, 64, 66, 120, 121  # numbers of controllers
PARAMETER, UNREGISTERED = (101, 100), (99, 98)  # ... that choose what DATA sets: one of the next two, or none of them
BEND_RANGE, TUNING, TRANSPOSITION = (0, 0), (0, 1), (0, 2)
ALL_OFF = (SOUND_OFF, *range(123, 128))  # controllers that end a channel's notes
HALF, BEND, SEMITONES = 64, 8192, 2  # of a controller; the furthest of a pitch wheel, and what it is by default
DRUM_BANKS, MELODIC_BANK = (120, 126, 127), 121  # General MIDI 2's 121 makes even channel 10 melodic
EFFECTS_BANK, EFFECT = 64, 120  # XG's; the first of General MIDI's programs of effects
GS = (0x41, 0x42, 0x12, 0x40)  # bytes 0, 2, 3 and 4 of its messages; 1 is the device
SYSTEM_RESETS = (  # bytes 0 and 2 onwards of messages that set all channels back: GM, GM off, GM2, GS (two), XG (two)
    *((0x7E, 0x09, mode) for mode in (1, 2, 3)),
    *((*GS[:3], 0x40, 0, 0x7F), (*GS[:3], 0, 0, 0x7F)),
    *((0x43, 0x4C, 0, 0, last) for last in (0x7E, 0x7F)),
)
XG_PART, XG_MODE = (0x43, 0x4C, 0x08), 0x07  # bytes 0, 2 and 3 of messages to a part, which is byte 4; byte 5


def read(path, sounding=False):
    """Read a MIDI file of format 0 or 1, or 2 with one track. Where frames of a film give the time, beats are seconds.

    Chunks that are not tracks and meta events out of range are skipped, and so is what RIFF or MacBinary put before the
    header; notes that never end last until the next of their pitch, or the end of their track.

    Parameters
    ----------
    path : str or Path
    sounding : bool
        Give notes as they sound, not as they are played: they last while the sustain pedal or the sostenuto holds
        them, and have the pitch at which wheel and tuning hold them for longest, to the nearest semitone.

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
    if kind > 2 or (kind == 2 and n_tracks > 1):
        raise _bad(path, f"it is of format {kind}, with {n_tracks} tracks; 0, 1, and 2 with one track are read")
    if n_tracks == 0:
        raise _bad(path, "its header declares zero tracks")
    frames, per_frame = 256 - (division >> 8), division & 0xFF
    is_film = frames in FRAME_RATES and per_frame > 0
    if division == 0 or (division & FRAMES and not is_film):
        raise _bad(
            path,
            f"its time division is {division:#06x}; only ticks per beat, 1 to 32767, and per frame of a film "
            f"(SMPTE) at {', '.join(map(str, FRAME_RATES))} frames a second are read",
        )
    used = {kind: check for kind, check in USED.items() if kind != TEMPO} if is_film else USED
    tracks = _tracks(source, CHUNK.size + length, n_tracks, used, path)
    if len(tracks) < n_tracks:
        raise _bad(path, f"it is cut short: the header declares {n_tracks} tracks and {len(tracks)} MTrk are there")
    if is_film:
        n_frames, microseconds = FRAME_RATES[frames]
        division = n_frames * per_frame
        tempo = bytes([0, META, TEMPO, 3]) + microseconds.to_bytes(3, "big") + bytes([0]) + END
        tracks.append(CHUNK.pack(b"MTrk", len(tempo)) + tempo)
    return HEADER.pack(b"MThd", HEADER.size - CHUNK.size, 1, len(tracks), division) + b"".join(tracks)


def _tracks(source, position, n_tracks, used, path):
    """The MTrk chunks from `position` on, each with its chunk header; more than are declared where they are whole."""
    found, has_track = [], False
    while position + CHUNK.size <= len(source):
        name, length = CHUNK.unpack_from(source, position)
        start, end = position + CHUNK.size, position + CHUNK.size + length
        has_track = has_track or name == b"MTrk"
        if name == b"MTrk":
            track, end, has_end = _track(source, start, end, used)
            if len(found) >= n_tracks and (end > len(source) or not has_end):
                break
            if end > len(source):
                raise _bad(path, f"it is cut short: a track of {length} bytes ends {end - len(source)} bytes too early")
            found.append(CHUNK.pack(b"MTrk", len(track)) + track)
        position = end
    if not has_track:
        raise _bad(path, "it has no track (no MTrk)")
    return found


def _track(source, start, end, used):
    """As `_rewritten`, of a track that is declared to end at a place, and where the next chunk begins.

    Some programs write a wrong length, or pad tracks. There, a track ends with its last event.
    """
    track, _, has_end = _rewritten(source[start:end], used)
    if end == len(source) or _begins_chunk(source, end):
        return track, end, has_end
    whole, n_bytes, is_whole = _rewritten(source[start:], used)
    if not is_whole:
        return track, end, has_end
    end = start + n_bytes
    return whole, end if _begins_chunk(source, end) else max(end, source.find(b"MTrk", end)), True


def _begins_chunk(source, position):
    """Whether there is the name of a chunk."""
    return source[position : position + 4].isalnum()


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


def _rewritten(track, used):
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
            if _is_used(status, body, used):
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


def _is_used(status, body, used):
    """Whether an event is one of a channel, a system exclusive one, or a meta event that is used and as it must be."""
    if status != META:
        return status < SYSEX[0] or status in SYSEX
    _, begin = _variable_length(body, 1)
    return body[0] in used and used[body[0]](body[begin:])


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
    """[(tick, number of the track, message)] in the order of time: resets, what sets a note's sound, notes."""
    timed = []
    for number, track in enumerate(parsed.tracks):
        tick = 0
        for message in track:
            tick += message.time
            timed.append((tick, number, message))
    return sorted(timed, key=lambda item: (item[0], not _is_reset(item[2]), item[2].type in NOTES))


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
        Its track, and its program: the last one of its channel in its own track, else in any; without one, what its
        track's name means.
    is_drum : bool
    """
    programs, sounding = {}, defaultdict(dict)
    is_drum, named = _DrumChannels(messages), [_program_of_name(track.name) for track in parsed.tracks]
    for tick, number, message in messages:
        is_drum.update(message)
        if message.type == "program_change":
            programs[number, message.channel] = programs[message.channel] = is_drum.program(message)
        elif message.type == "note_on" and message.velocity > 0:
            is_hit = is_drum[message.channel]
            program = programs.get((number, message.channel), programs.get(message.channel))
            if program is None:
                program, is_hit = (0, True) if is_hit or named[number] == instruments.DRUMS else (named[number], False)
            found = tick, message, number, program, is_hit
            sounding[message.channel, message.note].setdefault(number, []).append(found)
        elif message.type in NOTES:
            yield from _ended(sounding[message.channel, message.note], number, tick, parsed)
        elif (is_reset := _is_reset(message)) or (message.type == "control_change" and message.control in ALL_OFF):
            ended = [parts for key, parts in sounding.items() if key[0] in _channels(message)]
            for part in itertools.chain.from_iterable(parts.values() for parts in ended):
                yield from _ended({number: part}, number, tick, parsed)
            if is_reset:
                programs.clear()
    for part in (part for parts in sounding.values() for part in parts.values()):
        yield from _never_ended(part, parsed)


def _program_of_name(name):
    """The program that a track's name means, or 0: music programs write no other, and put drums on channel 1."""
    raw = name.encode("latin-1", "replace")  # mido's reading of it
    found = (instruments.find(raw.decode(encoding, "ignore")) for encoding in NAMES_IN)
    return next((instrument.programs[0] for instrument in found if instrument), 0)


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
    """The notes of `_notes` as they sound: held by the pedals, and at the pitch to which the wheel bends them."""
    strikes = defaultdict(list)
    for start, _, message, *_ in sorted(notes, key=lambda note: note[0]):
        strikes[message.channel, message.note].append(start)
    shifts = _shifts(messages)
    sostenuto, pedal = (_presses(messages, controller) for controller in (SOSTENUTO, PEDAL))
    for start, end, message, number, program, is_drum in notes:
        if not is_drum:
            channel, again = message.channel, strikes[message.channel, message.note]
            pitch = message.note + _longest(shifts[channel], start, end)
            message = message.copy(note=min(max(pitch, 0), 127))
            down, up = _press(sostenuto[channel], end)
            held = up if start < down else end  # it holds the keys that are down when it is pressed
            held = _press(pedal[channel], held)[1]
            end = min([held, *again[bisect_left(again, end) :][:1]])
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


def _press(presses, tick):
    """The press of a pedal, (tick, until when), that lasts at a tick; without one, none: (tick + 1, tick)."""
    found = presses[max(0, bisect_right(presses, tick, key=_tick) - 1) :][:1]
    return next(((down, up) for down, up in found if down <= tick < up), (tick + 1, tick))


def _presses(messages, pedal):
    """The presses of a pedal: {channel: [(tick, until when)]}. What ends all sound divides one in two."""
    found, down = defaultdict(list), {}
    for tick, _, message in messages:
        is_control = message.type == "control_change"
        if not _is_reset(message) and not (is_control and message.control in (pedal, SOUND_OFF, RESET)):
            continue
        is_pressed = is_control and message.control == pedal and message.value >= HALF
        is_divided = is_control and message.control == SOUND_OFF
        for channel in _channels(message):
            if channel in down and not is_pressed:
                found[channel].append((down.pop(channel), tick))
                if is_divided:
                    down[channel] = tick + 1  # the notes that it ends at this tick are not held
            elif is_pressed:
                down.setdefault(channel, tick)
    for channel, tick in down.items():
        found[channel].append((tick, messages[-1][0]))
    return found


def _shifts(messages):
    """{channel: [(tick, by how many semitones wheel and tuning move its notes from there on)]}."""
    found = defaultdict(lambda: [(-1, 0)])
    usual = {"bend": 0.0, BEND_RANGE: SEMITONES, TUNING: HALF, TRANSPOSITION: HALF}
    state = defaultdict(lambda: usual | {PARAMETER: [127, 127]})
    for tick, _, message in messages:
        if _is_reset(message):
            state.clear()
            for channel in _channels(message):
                found[channel].append((tick, 0))
        if message.type not in ("pitchwheel", "control_change"):
            continue
        of = state[message.channel]
        if message.type == "pitchwheel":
            of["bend"] = message.pitch / BEND
        elif message.control in PARAMETER:
            of[PARAMETER][PARAMETER.index(message.control)] = message.value
        elif message.control in UNREGISTERED:
            of[PARAMETER] = [127, 127]
        elif message.control == DATA and tuple(of[PARAMETER]) in usual:
            of[tuple(of[PARAMETER])] = message.value
        elif message.control == RESET:
            of["bend"] = 0.0
        shift = round(of["bend"] * of[BEND_RANGE] + of[TUNING] / HALF - 1) + of[TRANSPOSITION] - HALF
        found[message.channel].append((tick, shift))
    return found


class _DrumChannels(dict):
    """{channel: whether it plays drums}, as messages go by."""

    def __init__(self, messages):
        super().__init__()
        self._reset(is_gs=any(m.type == "sysex" and _is_gs(m.data) for _, _, m in messages))

    def _reset(self, is_gs, is_xg=False):
        super().update({channel: channel == DRUM_CHANNEL for channel in range(16)})
        self._banks, self._set = {}, {}  # by channel; what a system exclusive message sets, whatever the bank
        self._is_gs, self._is_xg = is_gs, is_xg

    def program(self, message):
        """The program that a message chooses; of XG's sounds of animals, doors and the like, an effect."""
        return EFFECT if self._is_xg and self._banks.get(message.channel) == EFFECTS_BANK else message.program

    def update(self, message):
        """Take a message in."""
        if message.type == "control_change" and message.control == BANK:
            self._banks[message.channel] = message.value
        elif message.type == "program_change" and message.channel in self._banks and not self._is_gs:
            # In GS these banks are sounds of older devices.
            bank, usual = self._banks[message.channel], self._set.get(message.channel, message.channel == DRUM_CHANNEL)
            self[message.channel] = bank in DRUM_BANKS or (usual and bank != MELODIC_BANK)
        elif _is_reset(message):
            self._reset(is_gs=message.data[2] == GS[1], is_xg=message.data[0] == XG_PART[0])
        elif message.type == "sysex":
            self._is_gs = self._is_gs or _is_gs(message.data)
            given = _gs_drums(message.data) if _is_gs(message.data) else _xg_drums(message.data)
            self._set |= given
            super().update(given)


def _is_reset(message):
    """Whether a message sets all channels back to what they are without any: one of `SYSTEM_RESETS`."""
    if message.type != "sysex":
        return False
    return any((*message.data[:1], *message.data[2 : 1 + len(reset)]) == reset for reset in SYSTEM_RESETS)


def _channels(message):
    """Those that a message concerns."""
    return [message.channel] if hasattr(message, "channel") else range(16)


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
