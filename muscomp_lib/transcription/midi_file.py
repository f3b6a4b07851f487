"""Reading MIDI files, with the reason for those that cannot be used. Used by training and benchmarks of transcription.

The libraries are too lenient: mido accepts files of format 2, without tracks, or timed in film frames, and pretty_midi
silently drops notes that never end. So the bytes are checked first, and such notes are ended.
Standard: "Standard MIDI Files 1.0", MIDI Manufacturers Association, 1988.
"""

import io
import struct
import warnings
from pathlib import Path

from muscomp_lib.core.errors import MidiError, MissingError

HEADER = struct.Struct(">4sIHHH")  # "MThd", its length, format, number of tracks, division
CHUNK = struct.Struct(">4sI")
FRAMES = 0x8000  # this bit of the division: time is counted in film frames (SMPTE), not in beats
MAX_SECONDS = 20 * 60


def read(path):
    """Read a MIDI file of format 0 or 1.

    Chunks that are not tracks are skipped, as the standard requires; notes that never end last until the end of their
    track.

    Returns
    -------
    pretty_midi.PrettyMIDI
        One instrument per MIDI track, channel and program with notes.

    Raises
    ------
    MissingError
        When the file is not there.
    MidiError
        When it is not a MIDI file, is damaged, has no notes, or is too long; with the reason.
    """
    import mido
    import pretty_midi

    path = Path(path)
    if not path.is_file():
        raise MissingError(f"{path} is not there. Check the name and the folder.")
    source = path.read_bytes()
    playable = _without_other_chunks(source, path)
    try:
        parsed = mido.MidiFile(file=io.BytesIO(playable), clip=True)
        _check_contents(parsed, path)
        for track in parsed.tracks:
            _end_stuck_notes(track, parsed.ticks_per_beat)
        repaired = io.BytesIO()
        parsed.save(file=repaired)
        repaired.seek(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pretty_midi.PrettyMIDI(repaired)
    except MidiError:
        raise
    except Exception as error:  # parsers of foreign bytes raise anything; the file is at fault
        raise _bad(path, f"it is damaged ({type(error).__name__}: {error})") from error


def _bad(path, reason):
    return MidiError(f"{path} cannot be used: {reason}. Give another MIDI file, or export it again.")


def _without_other_chunks(source, path):
    """The file's header and tracks only, with the header checked."""
    if not source:
        raise _bad(path, "it is empty")
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
            found.append(source[position:end])
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


def _end_stuck_notes(track, ticks_per_beat):
    """End, at the end of `track`, the notes that lack a note-off; one that starts right there gets a beat."""
    import mido

    now, sounding = 0, {}
    for message in track:
        now += message.time
        if message.type == "note_on" and message.velocity > 0:
            sounding[message.channel, message.note] = now
        elif message.type in ("note_on", "note_off"):
            sounding.pop((message.channel, message.note), None)
    if not sounding:
        return
    rest = track.pop().time if track[-1].type == "end_of_track" else 0
    if max(sounding.values()) == now:
        rest += ticks_per_beat
    for channel, note in sounding:
        track.append(mido.Message("note_off", channel=channel, note=note, time=rest))
        rest = 0
    track.append(mido.MetaMessage("end_of_track", time=0))
