"""Scores, in MusicXML and Humdrum, as their notes sound. Used by mini-Slakh and by 08.

music21 parses them. What it refuses or misreads of the files that programs and people write is put right before: bars
that begin at other times in other parts, notes that are read and not played, zipped files, missing units.
"""

import contextlib
import html
import importlib.util
import itertools
import re
import zipfile
from bisect import bisect_left
from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree

from muscomp_lib.core import instruments
from muscomp_lib.core.errors import MidiError, MissingError
from muscomp_lib.core.names import in_full
from muscomp_lib.music_files import midi_file

HUMDRUM = ".krn"
SUFFIXES = (".mxl", ".xml", ".musicxml", HUMDRUM)
CORPUS = "music21"  # the package, which brings scores
LARGEST_SCORE = 32e6  # bytes, unzipped: a symphony takes a few million
METRE = re.compile(rb"(?:<beats>|\*M)([\s\d+]+)")  # of MusicXML, or Humdrum: "4", "3+2"
SOUNDING = re.compile(rb"""<sound\b[^>]*\btempo\s*=\s*["'](\d+(?:\.\d+)?)""")  # of MusicXML: quarters, as played
MARKED = re.compile(rb"<per-minute[^>]*>[^<\d]*(\d+(?:\.\d+)?)")  # what is printed, such as "ca. 75"
MOST_BEATS = 255  # of a bar: music21 takes 2 s over 255 summands, and minutes over some thousand beats
PIANOS = range(6)  # General MIDI's programs, with electric ones; scores count from 1
PIANO_NUMBERS = [str(program + 1) for program in PIANOS]
CONTAINER = "META-INF/container.xml"  # of a zipped MusicXML file: it lists the score first, then pictures and the like
ROOT_FILE = re.compile(rb"""<rootfile\b[^>]*\bfull-path\s*=\s*["']([^"']+)""")
ASIDE = re.compile(r"(^|/)(META-INF/|__MACOSX/|\.)")  # files of an archive that are no score
VELOCITY, SCORE_TEMPO = 84, 96.0  # of scores that give none
SLOWEST, QUICKEST = 5.0, 3000.0  # quarters per minute: what is beyond is no tempo
QUARTERS = {"whole": 4, "half": 2, "quarter": 1, "eighth": 1 / 2, "16th": 1 / 4, "32nd": 1 / 8}  # of types of notes
MOST_TIMES = 16  # that a passage is played: a file may ask for a million
SILENT = (  # elements of MusicXML that are read and make no sound: music21 refuses a score for one odd chord symbol
    *("harmony", "figured-bass", "lyric", "beam", "stem", "notehead", "staff-details", "print", "defaults", "credit"),
)
TIED_ON, TIED_BACK = ("start", "continue"), ("stop", "continue")  # of a tie's types


def read(path, repeats=False):
    """A score as pretty_midi.PrettyMIDI.

    Parts for drums are left out: those who read scores compare pitches, or give parts to other instruments.

    Parameters
    ----------
    path : str or Path
    repeats : bool
        Play what is repeated as often as it says.

    Raises
    ------
    MidiError, MissingError
        It cannot be read, or plays nothing.
    """
    try:
        midi = _score(path, _content(path), repeats)
    except MidiError:
        raise
    except Exception as error:  # music21 raises whatever a damaged file makes it stumble over
        raise MidiError(
            f"{path} cannot be read as music ({error}). Open it in a notation program, and export it again."
        ) from error
    if not any(part.notes for part in midi.instruments):
        raise MidiError(f"{path} holds no notes, or drums alone. Give a score with other instruments.")
    return midi


def corpus_folder():
    """Where music21's scores are, a folder for each composer; MissingError without them."""
    found = importlib.util.find_spec(CORPUS)
    if found is None:
        raise MissingError("The scores of music21 are not here. Install it: pip install music21")
    return Path(found.origin).parent / "corpus"


def _content(path):
    """The bytes of a score, unzipped.

    Raises
    ------
    MidiError
        It would fill the memory, as one that is zipped may, or has a metre that music21 cannot divide.
    """
    if not zipfile.is_zipfile(path):
        _check_size(path, Path(path).stat().st_size)
        content = Path(path).read_bytes()
    else:
        with zipfile.ZipFile(path) as archive:
            _check_size(path, sum(entry.file_size for entry in archive.infolist()))
            content = archive.read(_main_file(path, archive))
    searched = content.replace(b"\0", b"")  # in UTF-16, every other byte is zero
    beats = max((sum(map(int, re.findall(rb"\d+", metre))) for metre in METRE.findall(searched)), default=0)
    if beats > MOST_BEATS:
        raise MidiError(f"{path} has a bar of {beats} beats; {MOST_BEATS} are the most. Correct its time signature.")
    return content


def _check_size(path, size):
    if size > LARGEST_SCORE:
        raise MidiError(
            f"{path} holds {size / 1e6:.0f} MB of score; {LARGEST_SCORE / 1e6:.0f} MB are the most. Divide the piece."
        )


def _main_file(path, archive):
    """The score in a zipped one: what its container lists first, or else the first file that is named like a score."""
    names = archive.namelist()
    listed = ROOT_FILE.search(archive.read(CONTAINER).replace(b"\0", b"")) if CONTAINER in names else None
    wanted = html.unescape(listed[1].decode("utf-8", "replace")).replace("\\", "/") if listed else None
    others = [name for name in names if Path(name).suffix.lower() in SUFFIXES and not ASIDE.search(name)]
    found = [wanted] if wanted in names else others
    if not found:
        raise MidiError(f"{path} is an archive without a score. Export it again as compressed MusicXML.")
    return found[0]


def _score(path, content, repeats):
    """The notes of a score, at one tempo: music21's own MIDI writer stumbles over odd ones."""
    import music21
    import pretty_midi

    pianos = {}
    if Path(path).suffix.lower() == HUMDRUM:
        score = music21.converter.parse(path, format="humdrum", forceSource=True, storePickle=False)
    else:  # music21 decides by a file's name whether it is zipped, and takes any file of an archive
        xml = ElementTree.fromstring(content.strip())
        _prepare(xml)
        pianos, repeats = _pianos(xml), repeats and _times(xml) <= MOST_TIMES
        score = music21.converter.parseData(ElementTree.tostring(xml, "unicode"), format="musicxml")
    score.toSoundingPitch(inPlace=True)  # of a clarinet or a guitar, another is written
    tempo = _tempo(list(score.recurse().getElementsByClass("MetronomeMark")), content.replace(b"\0", b""))
    midi = pretty_midi.PrettyMIDI(resolution=480, initial_tempo=tempo)
    parts = list(getattr(score, "parts", None) or [score])
    for part, sounds in zip(parts, _played(parts, repeats), strict=True):
        if _is_drums(part):
            continue
        instrument = part.getInstrument(returnDefault=True)
        name = str(getattr(part, "partName", None) or "")
        program = _program(name) if instrument.midiProgram is None else instrument.midiProgram
        program = pianos.get(instrument.partId, program) if program in PIANOS else program
        name = name.encode("latin-1", "replace").decode("latin-1")  # as MIDI files are written
        midi.instruments.append(pretty_midi.Instrument(program, name=name))
        midi.instruments[-1].notes = [
            pretty_midi.Note(VELOCITY, pitch, start * 60 / tempo, end * 60 / tempo)
            for pitch, start, end in _notes(sounds)
        ]
    return midi


def _program(name):
    """The program that a part's name means, as "Violino II" or "Trompete in B"; of any other name, a piano's.

    music21 goes first: to it, a choir's "Bass" is a voice.
    """
    import music21

    with contextlib.suppress(music21.exceptions21.InstrumentException):
        return music21.instrument.fromString(in_full(name)).midiProgram or 0
    found = instruments.find(name)
    return found.programs[0] if found else 0


# ---- what music21 refuses or misreads in MusicXML ----


def _prepare(xml):
    """Write a MusicXML document as music21 reads it, in place: by parts, complete, and without what is not played."""
    for each in xml.iter():
        each.tag = each.tag.rpartition("}")[2]  # without its namespace
    if xml.tag == "score-timewise":
        _sort_by_parts(xml)
    _list_parts(xml)
    for part in xml.iter("part"):
        _complete(part)
        _silence(part)
    for parent in list(xml.iter()):
        for each in [child for child in parent if child.tag in SILENT]:
            parent.remove(each)


def _sort_by_parts(xml):
    """Turn bars that hold parts into parts that hold bars, in place."""
    xml.tag, parts = "score-partwise", {}
    for bar in xml.findall("measure"):
        xml.remove(bar)
        for part in bar:
            its = parts.setdefault(part.get("id"), ElementTree.Element("part", part.attrib))
            ElementTree.SubElement(its, "measure", bar.attrib).extend(part)
    xml.extend(parts.values())


def _list_parts(xml):
    """Add those of a document's parts to its list that it lacks, in place: music21 leaves them out."""
    listed = xml.find("part-list")
    if listed is None:
        xml.insert(0, listed := ElementTree.Element("part-list"))
    names = {part.get("id") for part in listed.iter("score-part")}
    for part in xml.findall("part"):
        if part.get("id") not in names:
            ElementTree.SubElement(ElementTree.SubElement(listed, "score-part", id=part.get("id", "")), "part-name")


def _complete(part):
    """Give a part the unit of its durations and the durations and staves of its notes where it lacks them, in place.

    Without a unit, music21 takes 10080 for a quarter; it skips a note without a duration, and puts one without a staff
    on all of them.
    """
    bar = part.find("measure")
    if bar is not None and part.find("measure/attributes/divisions") is None:
        attributes = ElementTree.Element("attributes")
        ElementTree.SubElement(attributes, "divisions").text = str(_divisions(part))
        bar.insert(0, attributes)
    for note in part.iter("note"):
        if note.find("duration") is None and note.find("grace") is None:
            ElementTree.SubElement(note, "duration").text = str(_written_quarters(note) * _unit(part))
    if part.find("measure/attributes/staves") is not None:
        for note in part.iter("note"):
            if note.find("staff") is None:
                ElementTree.SubElement(note, "staff").text = "1"


def _unit(part):
    """The duration of a quarter in a part that declares it."""
    return float(part.findtext("measure/attributes/divisions"))


def _written_quarters(note):
    """How long a note is as it is printed: a whole bar's rest, which has no type, is as long as a whole note."""
    quarters = QUARTERS.get(note.findtext("type", "whole").strip(), 1) * (2 - 0.5 ** len(note.findall("dot")))
    of, instead = (note.findtext(f"time-modification/{which}-notes", "1") for which in ("normal", "actual"))
    return quarters * int(of) / int(instead)


def _divisions(part):
    """The duration of a quarter in a part, by a note that names its own length; 1 where none does."""
    for note in part.iter("note"):
        quarters, duration = QUARTERS.get(note.findtext("type", "").strip()), note.findtext("duration")
        is_plain = note.find("dot") is None and note.find("time-modification") is None
        if quarters and duration and is_plain and float(duration) >= quarters:
            return round(float(duration) / quarters)
    return 1


def _silence(part):
    """Make rests of a part's cue notes, of slashes, of what is written for drums, and of a second staff of tablature.

    A player reads in cue notes what others play, and improvises where slashes are. Notes for drums, which may begin
    late in a percussionist's part, are places on the staff. Tablature below a staff has the notes of that staff.
    """
    signs = {(sign.text or "").strip() for sign in part.iterfind("measure/attributes/clef/sign")}
    has_staves = part.find("measure/attributes/staves") is not None
    unplayed, is_unplayed = {"percussion", "TAB"} if has_staves and signs > {"TAB"} else {"percussion"}, {}
    for bar in part.iter("measure"):
        for each in list(bar):
            for clef in each.findall("clef"):
                is_unplayed[clef.get("number", "1")] = clef.findtext("sign", "").strip() in unplayed
            is_read = each.find("cue") is not None or each.findtext("notehead", "").strip() == "slash"
            if each.tag == "note" and (is_read or is_unplayed.get(each.findtext("staff", "1").strip())):
                _make_rest(bar, each)


def _make_rest(bar, note):
    """Make a rest of a note, in place; one that takes no time of its own is removed."""
    if note.find("chord") is not None or note.find("grace") is not None:
        bar.remove(note)
        return
    for each in list(note):
        if each.tag in ("pitch", "unpitched", "tie", "notations"):
            note.remove(each)
    note.insert(0, ElementTree.Element("rest"))


def _times(xml):
    """How often a passage of a MusicXML document is played, at most."""
    marks = itertools.chain(xml.iter("repeat"), xml.iter("ending"))
    return max(
        (int(n) for mark in marks for n in re.findall(r"\d+", mark.get("times", mark.get("number", "")))), default=1
    )


def _pianos(xml):
    """{id: program} of the parts that MusicXML gives to a piano, of which music21 reads all programs as the first."""
    given = {
        part.get("id"): part.findtext("midi-instrument/midi-program", "").strip() for part in xml.iter("score-part")
    }
    return {name: int(program) - 1 for name, program in given.items() if program in PIANO_NUMBERS}


def _tempo(marks, content):
    """The first tempo of a score, in quarters per minute; music21 has no number of one that is marked "ca. 75"."""
    first, *later = [mark.getQuarterBPM() for mark in marks] or [None]
    beat = marks[0].referent.quarterLength if marks else 1.0
    texts = [
        float(match[1]) * unit
        for pattern, unit in ((SOUNDING, 1.0), (MARKED, beat))
        if (match := pattern.search(content))
    ]
    tempi = (tempo for tempo in (first, *texts, *later) if tempo and SLOWEST <= tempo <= QUICKEST)
    return float(next(tempi, SCORE_TEMPO))


# ---- notes of a score ----


def _is_drums(part):
    """Whether a part is for drums: where programs write these as notes with a pitch, it is the place on the staff."""
    import music21

    name = str(getattr(part, "partName", None) or "")
    named = instruments.find(name)
    if named and named.is_drums:
        return True
    for spelling in (name, in_full(name)):
        with contextlib.suppress(music21.exceptions21.InstrumentException):
            if isinstance(music21.instrument.fromString(spelling), music21.instrument.UnpitchedPercussion):
                return True
    clefs = list(part.recurse().getElementsByClass("Clef"))
    drum_channel = part.getInstrument(returnDefault=True).midiChannel == midi_file.DRUM_CHANNEL
    return drum_channel or (bool(clefs) and all(isinstance(clef, music21.clef.PercussionClef) for clef in clefs))


def _played(parts, repeats):
    """[[(quarter notes, sound)]] of parts, in the order of their bars as played, with or without repeats.

    A bar begins in all parts at once. Where one lacks rests, or rests for two bars, as some of Monteverdi's do, music21
    begins its next bar at another time than those of the others.
    """
    written = [[(Fraction(sound.offset), sound) for sound in part.flatten().notes] for part in parts]  # exact, for ties
    edges = [_edges(part) for part in parts]
    order = _order(parts[0]) if repeats else None
    is_as_written = order is None and all(its == edges[0] for its in edges)
    if is_as_written or len(edges[0]) == 1 or any(len(its) != len(edges[0]) for its in edges):
        return written
    bars = list(parts[0].getElementsByClass("Measure"))
    lengths = [_length(bar, place, written, edges) for place, bar in enumerate(bars)]
    order = order or range(len(lengths))
    return [_in_order(sounds, its, order, lengths) for sounds, its in zip(written, edges, strict=True)]


def _in_order(sounds, edges, order, lengths):
    """A part's sounds, bar for bar in an order."""
    starts = itertools.accumulate((lengths[place] for place in order), initial=0)
    bars = zip(starts, order, strict=False)
    return [(start + at, sound) for start, place in bars for at, sound in _in_bar(sounds, edges, place)]


def _in_bar(sounds, edges, place):
    """A part's sounds in the bar of a place: [(quarter notes from its beginning, sound)]."""
    begin, end = edges[place : place + 2]
    first, last = (bisect_left(sounds, edge, key=lambda sound: sound[0]) for edge in (begin, end))
    return [(offset - begin, sound) for offset, sound in sounds[first:last]]


def _length(bar, place, written, edges):
    """How long all parts take a bar, in quarter notes: up to the end of its notes, where they do not agree."""
    given = {its[place + 1] - its[place] for its in edges}
    if len(given) == 1:
        return given.pop()
    parts = zip(written, edges, strict=True)
    notes = (note for sounds, its in parts for note in _in_bar(sounds, its, place))
    ends = [at + Fraction(sound.quarterLength) for at, sound in notes]
    return max([*ends, min(max(given), Fraction(bar.barDuration.quarterLength))])


def _edges(part):
    """Where a part's bars begin, and the last one ends, in quarter notes."""
    bars = part.getElementsByClass("Measure")
    return [Fraction(edge) for edge in (*(bar.offset for bar in bars), part.highestTime)]


def _order(part):
    """The places of a part's bars as they are played; None without repeats, and where these are not clear."""
    from music21 import repeat

    bars = list(part.getElementsByClass("Measure"))
    for number, bar in enumerate(bars):
        bar.editorial.place = number
    try:
        expander = repeat.Expander(part)
        played = expander.process().getElementsByClass("Measure") if expander.isExpandable() else ()
        return [bar.editorial.place for bar in played] or None
    except Exception:  # music21 raises whatever makes it stumble
        return None


def _notes(sounds):
    """[pitch, start, end] in quarter notes of what is `_played`; tied ones are joined, where stripTies takes long.

    Some scores mark a tie at its first note only, some at its second.
    """
    found, last, going_on = [], {}, set()
    for start, sound in sounds:
        start, end = float(start), float(start + Fraction(sound.quarterLength))
        for each in getattr(sound, "notes", [sound]) if end > start else ():  # grace notes take no time
            for pitch in (pitch.midi for pitch in each.pitches):
                tie = each.tie.type if each.tie else ""
                tied = tie in TIED_BACK or pitch in going_on
                if tied and pitch in last and last[pitch][2] == start:
                    last[pitch][2] = end
                else:
                    last[pitch] = [pitch, start, end]
                    found.append(last[pitch])
                (going_on.add if tie in TIED_ON else going_on.discard)(pitch)
    return found
