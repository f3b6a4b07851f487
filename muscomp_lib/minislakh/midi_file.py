"""Reading MIDI files, with the reason for those that cannot be used. Used by mini-Slakh and to train transcribers.

The libraries are too lenient in some things: mido accepts files of format 2, without tracks, or timed in film frames.
And too strict in others: one text event that is out of range stops mido, and pretty_midi looks for the tempo in the
first track only, for a note's end and program only in the note's own track, and for drums only on channel 10. So the
bytes are checked first, and the notes are assembled here.
Standard: "Standard MIDI Files 1.0", MIDI Manufacturers Association, 1988; drums elsewhere than on channel 10: Yamaha's
XG (bank 127 or 126), General MIDI 2 (bank 120; 121: none) and Roland's GS (a system exclusive message).
"""

import io
import struct
import warnings
from collections import defaultdict
from pathlib import Path

from muscomp_lib.core.errors import MidiError, MissingError

HEADER = struct.Struct(">4sIHHH")  # "MThd", its length, format, number of tracks, division
CHUNK = struct.Struct(">4sI")
FRAMES = 0x8000  # this bit of the division: time is counted in film frames (SMPTE), not in beats
MAX_SECONDS = 20 * 60
MAX_TICKS = 9_000_000  # pretty_midi keeps a table of all, and refuses ten million: 8 minutes of a file by music21
WRAPPING = 256  # bytes that may stand before the header: of RIFF (Windows' .rmi) 20, of MacBinary 128

META, SYSEX = 0xFF, (0xF0, 0xF7)
IGNORED = 0x7F  # "for the sequencer"; mido loses the time of types that it does not know
USED = {  # meta events by type, and what their data must be
    0x03: lambda data: True,  # a track's name
    0x2F: lambda data: not data,  # its end
    0x51: lambda data: len(data) == 3 and any(data),  # tempo
    0x58: lambda data: len(data) == 4 and data[0] > 0 and data[1] < 8,  # time signature
    0x59: lambda data: (
        len(data) == 2 and (data[0] + 7) % 256 < 15 and data[1] < 2
    ),  # key signature: 7 flats to 7 sharps
}
N_DATA = {0x8: 2, 0x9: 2, 0xA: 2, 0xB: 2, 0xC: 1, 0xD: 1, 0xE: 2}  # data bytes of a channel's message
CONDUCTOR = ("set_tempo", "time_signature", "key_signature")
DRUM_CHANNEL = 9
BANK = 0  # the number of its controller
DRUM_BANKS, MELODIC_BANK = (120, 126, 127), 121  # General MIDI 2's 121 makes even channel 10 melodic
GS = (0x41, 0x42, 0x12, 0x40)  # bytes 0, 2, 3 and 4 of its messages; 1 is the device


def read(path):
    """Read a MIDI file of format 0 or 1.

    Chunks that are not tracks and meta events out of range are skipped, and so is what RIFF or MacBinary put before the
    header; notes that never end last until the end of their track.

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
        _check_contents(parsed, path)
        midi = _assembled(parsed)
    except MidiError:
        raise
    except Exception as error:  # parsers of foreign bytes raise anything; the file is at fault
        problem = "cannot be read" if getattr(error, "errno", None) else "is damaged"  # mido's OSErrors have no number
        raise _bad(path, f"it {problem} ({type(error).__name__}: {error})") from error
    if not midi.instruments:
        raise _bad(path, "its notes have no length")
    return midi


def _bad(path, reason):
    return MidiError(f"{path} cannot be used: {reason}. Give another MIDI file, or export it again.")


def _without_other_chunks(source, path):
    """The file's header and tracks only, with the header checked."""
    if not source:
        raise _bad(path, "it is empty")
    source = source[max(0, source[:WRAPPING].find(b"MThd")) :]
    if source[:4] != b"MThd":
        raise _bad(path, "it is not a MIDI file (it does not begin with MThd)")
    if len(source) < HEADER.size:
        raise _bad(path, f"it is cut short: {len(source)} bytes are less than a header")
    _, length, kind, n_tracks, division = HEADER.unpack_from(source)
    if kind not in (0, 1):
        raise _bad(path, f"it is of format {kind}; 0 and 1 are read")
    if n_tracks == 0:
        raise _bad(path, "its header declares zero tracks")
    if division == 0 or division & FRAMES:
        raise _bad(path, f"its time division is {division:#06x}; only ticks per beat, 1 to 32767, are read")
    tracks = _tracks(source, CHUNK.size + length, path)[:n_tracks]
    if len(tracks) < n_tracks:
        raise _bad(path, f"it is cut short: the header declares {n_tracks} tracks and {len(tracks)} MTrk are there")
    return HEADER.pack(b"MThd", HEADER.size - CHUNK.size, kind, n_tracks, division) + b"".join(tracks)


def _tracks(source, position, path):
    """The MTrk chunks from `position` on, each with its chunk header."""
    found, has_track = [], False
    while position + CHUNK.size <= len(source):
        name, length = CHUNK.unpack_from(source, position)
        end = position + CHUNK.size + length
        has_track = has_track or name == b"MTrk"
        if name == b"MTrk" and end > len(source):
            raise _bad(path, f"it is cut short: a track of {length} bytes ends {end - len(source)} bytes too early")
        if name == b"MTrk":
            found.append(
                source[position : position + CHUNK.size] + _without_bad_metas(source[position + CHUNK.size : end])
            )
        position = end
    if not has_track:
        raise _bad(path, "it has no track (no MTrk)")
    return found


def _check_contents(parsed, path):
    notes = (message.type == "note_on" and message.velocity > 0 for track in parsed.tracks for message in track)
    if not any(notes):
        raise _bad(path, "it has no notes")
    if parsed.length > MAX_SECONDS:
        raise _bad(path, f"it lasts {parsed.length / 60:.0f} minutes; up to {MAX_SECONDS // 60} are read")


def _without_bad_metas(track):
    """A track's bytes, in which the meta events that are not used, or are out of range, have a type without meaning."""
    track, position, running = bytearray(track), 0, 0
    try:
        while position < len(track):
            _, position = _variable_length(track, position)
            status = track[position]
            if status < 0x80:  # running status: the last one is meant
                position += N_DATA[running >> 4]
                continue
            position += 1
            if status < SYSEX[0]:
                running, position = status, position + N_DATA[status >> 4]
                continue
            kind = position
            length, position = _variable_length(track, position + (status == META))
            if status == META and not USED.get(track[kind], _unused)(track[position : position + length]):
                track[kind] = IGNORED
            position += length
    except (IndexError, KeyError):
        pass  # mido names what is wrong
    return bytes(track)


def _unused(_):
    return False


def _variable_length(track, position):
    """A number in groups of seven bits, and the position after it."""
    value = 0
    while True:
        value, byte, position = value << 7 | track[position] & 0x7F, track[position], position + 1
        if byte < 0x80:
            return value, position


def _assembled(parsed):
    """The parsed file's notes, each with the program, drums and end that any of its tracks gives it."""
    import pretty_midi

    _limit_ticks(parsed)
    messages = _timed(parsed)
    midi = _conducted(parsed, messages)
    midi.tick_to_time(messages[-1][0])  # or pretty_midi computes its table again for each tick behind the last one
    parts = {}
    for start, end, message, number, program, is_drum in _notes(parsed, messages):
        key = number, message.channel, program, is_drum
        if key not in parts:
            parts[key] = pretty_midi.Instrument(program, is_drum, parsed.tracks[number].name)
        times = midi.tick_to_time(start), midi.tick_to_time(end)
        parts[key].notes.append(pretty_midi.Note(message.velocity, message.note, *times))
    midi.instruments = [parts[key] for key in sorted(parts, key=lambda key: (key[0], key[1]))]
    return midi


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
    return sorted(timed, key=lambda item: (item[0], item[2].type in ("note_on", "note_off")))


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
        elif message.type in ("note_on", "note_off"):
            yield from _ended(sounding[message.channel, message.note], number, tick)
    ends = [_length(track) for track in parsed.tracks]  # of notes that lack a note-off
    for start, message, number, *found in (note for key in sounding.values() for part in key.values() for note in part):
        end = ends[number] if ends[number] > start else start + parsed.ticks_per_beat
        yield start, end, message, number, *found


def _ended(sounding, number, tick):
    """The notes of one pitch, by track, that a note-off ends; one of no length is dropped."""
    part = sounding.get(number) or next((other for other in sounding.values() if other), [])
    before = [note for note in part if note[0] < tick]
    for start, *found in before:
        yield start, tick, *found
    part[:] = [note for note in part if note[0] == tick] if before else []


class _DrumChannels(dict):
    """{channel: whether it plays drums}, as messages go by."""

    def __init__(self, messages):
        super().__init__({channel: channel == DRUM_CHANNEL for channel in range(16)})
        self._banks, self._is_gs = {}, any(m.type == "sysex" and _is_gs(m.data) for _, _, m in messages)

    def update(self, message):
        """Take a message in."""
        if message.type == "control_change" and message.control == BANK:
            self._banks[message.channel] = message.value
        elif message.type == "program_change" and message.channel in self._banks and not self._is_gs:
            # In GS these banks are sounds of older devices.
            bank = self._banks[message.channel]
            self[message.channel] = bank in DRUM_BANKS or (message.channel == DRUM_CHANNEL and bank != MELODIC_BANK)
        elif message.type == "sysex" and _is_gs(message.data):
            super().update(_gs_drums(message.data))


def _is_gs(data):
    return (data[0], *data[2:5]) == GS if len(data) > 4 else False


def _gs_drums(data):
    """{channel: whether it plays drums} if a GS message says so: address 1x 15, where x = 0 is channel 10."""
    if len(data) < 8 or data[5] >> 4 != 1 or data[6] != 0x15:
        return {}
    block = data[5] & 0x0F
    channel = DRUM_CHANNEL if block == 0 else block - 1 if block <= DRUM_CHANNEL else block
    return {channel: data[7] > 0}
