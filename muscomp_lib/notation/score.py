"""A transcription as a score, MusicXML, for notation programs. Used by notebook 05.

music21 turns MIDI into notation, but for drums: there every stroke lies on one line. Here each drum has its place on
the staff, its notehead and its sound, as drummers read them, and a stroke lasts until the next or to the end of its
beat, which saves rests. What hands play is the first voice, with stems up, and what feet play the second, with stems
down: each is read as a rhythm of its own. All parts end with the same bar, and each is
written as its player reads it: for a trumpet a tone higher. A pickup is an incomplete bar, of a beat where the notes
before the first one fill no whole one. The tempo is shown once, though each beat is played at its own.
"""

import copy
import io
import re
import warnings

import numpy as np

from muscomp_lib.core.files import write_text
from muscomp_lib.notation.bars import TICKS_PER_BEAT, apart, lead_in, tempo, ticks_of_beat

DIVISIONS = (4, 3)  # of a quarter: sixteenths and triplets of eighths
SIXTEENTH = TICKS_PER_BEAT // DIVISIONS[0]
DRUM_STAFF = {  # General MIDI's note of a drum: its line or space, and its notehead
    36: ("F4", "normal"),  # kick
    35: ("E4", "normal"),  # a second one
    44: ("D4", "x"),  # hi-hat, closed with the pedal
    45: ("A4", "normal"),  # toms, from low to high
    47: ("D5", "normal"),
    50: ("E5", "normal"),
    38: ("C5", "normal"),  # snare
    42: ("G5", "x"),  # hi-hat, closed and open
    46: ("G5", "circle-x"),
    51: ("F5", "x"),  # ride
    49: ("A5", "x"),  # crash
}
OTHER_DRUM = ("B4", "normal")
FEET = (35, 36, 44)
FEET_OF = "feet: "  # begins the name of the part that they are while music21 reads a file
NOTE = re.compile(r"<note\b.*?</note>", re.DOTALL)


def write_score(midi, path, title):
    """Write a transcription as MusicXML; it appears whole or not at all.

    Notes are moved to the nearest sixteenth or triplet of eighths, the finest that is readable.

    Parameters
    ----------
    midi : pretty_midi.PrettyMIDI
    path : str or Path
    title : str
        Of the score.
    """
    import music21

    score = music21.converter.parseData(_file(midi), format="midi", quantizePost=True, quarterLengthDivisors=DIVISIONS)
    score.metadata = music21.metadata.Metadata(title=_printable(title), composer=" ")
    for part in score.parts:
        _end_with_notes(part)
    for hands, feet in _kits(list(score.parts)):
        _add_feet(hands, feet)
        score.remove(feet)
    for part in score.parts:
        if not _write_drums(part):
            _separate_voices(part)
            _transpose(part)
    _fill_bars(score.parts)
    _write_pickup(score.parts)
    _write_tempo(score, midi)
    with warnings.catch_warnings():  # of a song without notes: it has a bar without a part
        warnings.simplefilter("ignore", music21.musicxml.xmlObjects.MusicXMLWarning)
        text = _with_drums(music21.musicxml.m21ToXml.GeneralObjectExporter(score).parse().decode())
    for number, name in enumerate(dict.fromkeys(re.findall(r'id="([PI][0-9a-f]{32})"', text))):
        text = text.replace(name, f"id{number}")  # music21 draws them at random; the same song must give the same file
    write_text(path, re.sub(r"\s*<encoding-date>.*?</encoding-date>", "", text))


def _printable(text):
    """A text without control characters, which XML has not."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


# ---- the MIDI file that music21 reads ----


def _file(midi):
    """The content of a MIDI file from the first beat on, or from the one before, with longer drum strokes: bytes."""
    import mido

    lead, midi = lead_in(midi), copy.deepcopy(midi)
    added = _pickup(midi, lead)
    midi.instruments = [part for track in midi.instruments for part in _by_limbs(track)]
    last = max((note.start for track in midi.instruments for note in track.notes), default=0.0)
    midi.time_signature_changes = [sign for sign in midi.time_signature_changes if sign.time <= last or not sign.time]
    for track in midi.instruments:
        track.name = _printable(track.name)
        _move_to_grid(track.notes, midi, lead, first=-(lead // SIXTEENTH) * SIXTEENTH if added else 0)
        track.notes = apart(track.notes, midi)
        if track.is_drum:
            _lengthen(track.notes, midi, lead)
    file = io.BytesIO()
    midi.write(file)
    if not lead:
        return file.getvalue()
    file.seek(0)
    whole = mido.MidiFile(file=file)
    for track in whole.tracks:
        left = lead - added
        for message in track:
            if left > 0 or message.time or message.type == "note_on":
                taken = min(left, message.time)
                message.time, left = message.time - taken, left - taken
    if not added:
        whole.tracks[0].remove(next(message for message in whole.tracks[0] if message.type == "time_signature"))
    file = io.BytesIO()
    whole.save(file=file)
    return file.getvalue()


def _pickup(midi, lead):
    """The ticks of a first beat for the notes before a transcription's first one, or 0; its bar's signature, in place.

    Where a pickup follows, that is a beat longer.
    """
    starts = [midi.time_to_tick(note.start) for track in midi.instruments for note in track.notes]
    if lead < SIXTEENTH or min(starts, default=lead) >= lead - SIXTEENTH / 2:
        return 0
    beat, (first, second, *later) = ticks_of_beat(midi), midi.time_signature_changes
    unit = 4 * TICKS_PER_BEAT // second.denominator
    first.numerator, first.denominator = beat // unit, second.denominator
    bars = [midi.time_to_tick(sign.time) for sign in (second, *later[:1])]
    if later and second.numerator < later[0].numerator and abs(bars[1] - bars[0] - second.numerator * unit) <= 1:
        first.numerator += second.numerator
        midi.time_signature_changes.remove(second)
        if first.numerator == later[0].numerator:
            midi.time_signature_changes.remove(later[0])
    return beat


def _move_to_grid(notes, midi, lead, first):
    """Move the starts of notes to sixteenths, or where they are nearer to triplets in a quarter to these, in place.

    What is played at once must begin at one tick, or each stroke of a chord of drums would last until the next. And
    music21 makes a chord of all that begins within less than a sixteenth, as the notes of a run do that is played. The
    grid's `first` point is in ticks from the first beat.
    """
    ticks = np.array([midi.time_to_tick(note.start) - lead for note in notes]).clip(first)
    quarters, divisions = ticks // TICKS_PER_BEAT, DIVISIONS if ticks_of_beat(midi) == TICKS_PER_BEAT else DIVISIONS[:1]
    for quarter in np.unique(quarters):
        its = quarters == quarter
        grids = [np.rint(ticks[its] * steps / TICKS_PER_BEAT) * TICKS_PER_BEAT / steps for steps in divisions]
        ticks[its] = min(grids, key=lambda moved: np.abs(moved - ticks[its]).sum())
    for tick, note in zip(ticks.tolist(), notes, strict=True):
        note.start = midi.tick_to_time(lead + tick)


def _by_limbs(track):
    """A track of drums as two, of what hands and feet play, where there are both; any other as it is."""
    if not track.is_drum:
        return [track]
    feet = type(track)(track.program, is_drum=True, name=FEET_OF + track.name)
    feet.notes = [note for note in track.notes if note.pitch in FEET]
    track.notes = [note for note in track.notes if note.pitch not in FEET]
    return [part for part in (track, feet) if part.notes]


def _lengthen(notes, midi, lead):
    """Let each stroke last until the next, or to the end of its beat, in place."""
    starts, beat = [int(midi.time_to_tick(note.start)) for note in notes], ticks_of_beat(midi)
    later = np.append(np.unique(starts), np.iinfo(int).max)
    for note, start, following in zip(notes, starts, later[np.searchsorted(later, starts, side="right")], strict=True):
        end = start + beat - (start - lead) % beat
        note.end = midi.tick_to_time(int(min(end, following)))


# ---- voices ----


def _separate_voices(part):
    """Put notes that overlap into voices, and divide those that outlast their bar.

    music21 does so only where notes begin together, and not with what is tied from the bar before.
    """
    from music21 import stream

    bars = list(part.getElementsByClass("Measure"))
    for number, bar in enumerate(bars, start=1):
        placed, length = _placed(bar), bar.barDuration.quarterLength
        for place, each in placed:
            if place < length < place + each.quarterLength:
                if number == len(bars):
                    part.append(stream.Measure(number=bar.number + 1))
                    bars.append(part.getElementsByClass("Measure").last())
                    bars[-1].rightBarline, bar.rightBarline = bar.rightBarline, None
                bars[number].insert(0, each.splitAtQuarterLength(length - place)[1])
        if placed:
            _voice(bar, placed)


def _placed(bar):
    """The notes of a bar, in all of its voices, with their places: [(quarters, note)], the highest first."""
    found = [(each.getOffsetInHierarchy(bar), each) for each in bar.recurse().notes]
    return sorted(found, key=lambda one: (one[0], -max(pitch.midi for pitch in one[1].pitches)))


def _voice(bar, placed):
    """Write a bar's notes in as many voices as they need, with rests between them."""
    from music21 import stream

    voices = []
    for place, each in placed:
        voice = next((voice for voice in voices if voice.highestTime <= place), None)
        if voice is None:
            voices.append(voice := stream.Voice(id=str(len(voices) + 1)))
        voice.insert(place, each)
    for each in [*bar.voices, *bar.notesAndRests]:
        bar.remove(each)
    for place, each in placed if len(voices) == 1 else ((0, voice) for voice in voices):
        bar.insert(place, each)
    bar.makeRests(fillGaps=True, inPlace=True, timeRangeFromBarDuration=True)


def _transpose(part):
    """Write a part as its player reads it, in place: for a clarinet a tone higher, for a contrabass an octave.

    Guitars and bass guitars stay as they sound, though they are read an octave higher: music21 does not know that.
    """
    *of_name, its = part.recurse().getElementsByClass("Instrument") or [None]
    if its is None:
        return
    name = part.partName
    for guess in of_name:  # music21 takes one from the track's name, and one from its program
        guess.activeSite.remove(guess)
    its.partName = name
    part.atSoundingPitch = True
    part.toWrittenPitch(inPlace=True)


# ---- bars and tempo ----


def _end_with_notes(part):
    """Remove what comes after the bar of a part's last note, in place: there, music21 changes the metre too early."""
    bars = list(part.getElementsByClass("Measure"))
    while len(bars) > 1 and not bars[-1].recurse().notes:
        part.remove(bars.pop())
    part.removeByClass("TimeSignature")  # those of bars are within them


def _fill_bars(parts):
    """Give all parts the bars of the longest, so that they end together, in place."""
    from music21 import bar, note, stream

    all_bars = [list(part.getElementsByClass("Measure")) for part in parts]
    longest = max(all_bars, key=len, default=[])
    for part, its in zip(parts, all_bars, strict=True):
        for like in longest[len(its) :]:
            rest = stream.Measure([note.Rest(like.barDuration.quarterLength)], number=like.number)
            rest.timeSignature = copy.deepcopy(like.timeSignature)
            part.insert(like.offset, rest)
        for number, each in enumerate(part.getElementsByClass("Measure"), start=1):
            each.rightBarline = bar.Barline("final") if number == len(longest) else None


def _write_pickup(parts):
    """Write a first bar that is shorter than the others as an incomplete one of theirs, without a number, in place."""
    from music21.stream.enums import ShowNumber

    for part in parts:
        bars = list(part.getElementsByClass("Measure"))
        metre = bars[1].timeSignature if len(bars) > 1 else None
        missing = metre.barDuration.quarterLength - bars[0].barDuration.quarterLength if metre else 0
        if missing > 0:
            bars[1].timeSignature, bars[0].timeSignature = None, metre
            bars[0].paddingLeft, bars[0].showNumber = missing, ShowNumber.NEVER
            for number, each in enumerate(bars):
                each.number = number


def _write_tempo(score, midi):
    """Show the song's tempo once, in its own beats; the tempo of each beat, which varies, is for playing only."""
    from music21 import duration

    marks = [mark for mark in score.recurse().getElementsByClass("MetronomeMark") if not mark.numberImplicit]
    beat = duration.Duration(ticks_of_beat(midi) / TICKS_PER_BEAT)
    for mark in marks[:1]:
        mark.numberSounding, mark.referent = mark.number / beat.quarterLength, beat
        mark.number = round(tempo(midi))
    for mark in marks[1:]:
        mark.numberImplicit = True


# ---- drums ----


def _kits(parts):
    """The parts of hands and of feet that `_by_limbs` made of one: [(part, part)]; feet alone get their name back."""
    kits = []
    for before, part in zip([None, *parts], parts, strict=False):
        if (part.partName or "").startswith(FEET_OF):
            part.partName = part.partName.removeprefix(FEET_OF)
            if before is not None and before.partName == part.partName:
                kits.append((before, part))
    return kits


def _add_feet(hands, feet):
    """Make the part of the feet the second voice of the hands'."""
    from music21 import stream

    upper, lower = ({bar.number: bar for bar in part.getElementsByClass("Measure")} for part in (hands, feet))
    for number, bar in lower.items():
        if number not in upper:  # the hands have ended
            hands.getElementsByClass("Measure").last().rightBarline = None
            upper[number] = stream.Measure(number=number)
            upper[number].timeSignature, upper[number].rightBarline = bar.timeSignature, bar.rightBarline
            hands.insert(bar.offset, upper[number])
    for number, bar in upper.items():
        _add_voice(bar, lower.get(number))


def _add_voice(bar, feet):
    """Make a bar of hands two voices, the second of a bar of feet or None; one without strokes hides its rest."""
    from music21 import note, stream

    length, voices = bar.barDuration.quarterLength, []
    for number, (of, stem) in enumerate([(bar, "up"), (feet, "down")], start=1):
        voice, played = stream.Voice(id=str(number)), list(of.notesAndRests) if of else []
        for each in played:
            place = each.offset
            of.remove(each)
            voice.insert(place, each)
        if not played:
            voice.insert(0, note.Rest(length))
        for stroke in voice.notes:
            stroke.stemDirection = stem
        voices.append(voice)
    hidden = [voice for voice in voices if not voice.notes]
    for rest in [rest for voice in hidden[len(hidden) == len(voices) :] for rest in voice]:
        rest.style.hideObjectOnPrint = True
    for voice in voices:
        bar.insert(0, voice)


def _write_drums(part):
    """Give each stroke of a part its drum's place and notehead, and the part its drums' sounds; whether it has any."""
    from music21 import clef, note

    sounds = {}
    for found in part.recurse().notes:
        for stroke in [found] if isinstance(found, note.Unpitched) else getattr(found, "notes", []):
            if not isinstance(stroke, note.Unpitched):
                return False
            drum = stroke.storedInstrument.percMapPitch
            place, stroke.notehead = DRUM_STAFF.get(drum, OTHER_DRUM)
            stroke.displayStep, stroke.displayOctave = place[0], int(place[1])
            sounds.setdefault(drum, stroke.storedInstrument).partName = part.partName
    if sounds:
        first = part.recurse().getElementsByClass("Measure").first() or part
        first.removeByClass(clef.Clef)
        first.insert(0, clef.PercussionClef())
        for sound in sounds.values():
            first.insert(0, sound)
    return bool(sounds)


def _with_drums(text):
    """MusicXML with General MIDI's channel for drums, and with its own sound for each stroke of a chord."""
    text = re.sub(r"<midi-channel>\d+(</midi-channel>\s*<midi-unpitched>)", r"<midi-channel>10\1", text)
    listed = re.findall(r'<midi-instrument id="(\w+)">\s*<midi-channel>10<[^>]*>\s*<midi-unpitched>(\d+)<', text)
    sounds = {DRUM_STAFF.get(int(number) - 1, OTHER_DRUM): name for name, number in listed}  # counted from 1

    def named(note):
        place = re.search(r"<display-step>(.)</display-step>\s*<display-octave>(\d)<", note[0])
        head = re.search(r"<notehead[^>]*>([^<]*)<", note[0])
        sound = place and sounds.get((place[1] + place[2], head[1] if head else "normal"))
        return re.sub(r'<instrument id="\w+"', f'<instrument id="{sound}"', note[0]) if sound else note[0]

    return NOTE.sub(named, text) if sounds else text
