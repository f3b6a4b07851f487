"""Which instrument a stem is, by the name of its file. Used by `stem_folders`.

File names are the instruments, with abbreviations written out: "01 Lead Vox.wav" is `Lead_Vocals`. What all names of a
song begin or end with is left out, as music programs put a project's name, its tempo or "bip" there; so are the tracks'
numbers before or behind it, and DI and Amp: "Bass DI.wav" and "Bass Amp.wav" are `Bass`. The microphones of a drum kit
are one instrument. A YAML file, by default `stems.yaml` in the folder, gives other names, and groups; the first
instrument with a fitting pattern counts:

    drums: ["*drum*", "*loop*"]
    vocals: ["*vox*", "*vocal*"]
    mix: [bounce]           # these are mixes
    ignore: ["*guide*"]     # these are left out, as clicks and metronomes always are
"""

import fnmatch
import itertools
import re
from collections import Counter
from typing import NamedTuple

from muscomp_lib.core import instruments, names, yaml_file
from muscomp_lib.core.errors import SettingError
from muscomp_lib.core.instruments import MIX, OTHER, VALID_NAME
from muscomp_lib.dataset.mixing import CHANNEL

IGNORE = "ignore"
MIXES = {  # words of which each names a mix ...
    *("mix", "mixture", "mixdown", "master", "premaster", "bounce", "print", "ref", "reference", "preview"),
    *("mixes", "mixtures", "mixdowns", "masters", "mixbus"),
    *("mezcla", "mixage", "missaggio", "mixagem"),
}
OF_MIXES = {  # ... beside these
    *("full", "stereo", "rough", "main", "final", "out", "output", "bus", "dry", "wet", "linear", "track"),
    *("mastered", "unmastered", "album", "cd", "version"),
}
MIX_NAMES = {  # without one of these words
    *("main", "stereo out", "main out", "output 1 2", "stereo bus", "2bus", "2 bus", "2track", "2 track", "2mix"),
    *("mastered", "unmastered", "unmasteredwav"),  # the last of Cambridge-MT
}
NO_MUSIC = {
    *("click", "click track", "clicktrack", "metronome", "metronome click", "count in", "talkback", "smpte", "ltc"),
}
RESIDUALS = {OTHER, "accompaniment", "instrumental"}  # as other separators call theirs, or no_vocals
SEPARATORS = "( _.#-"  # between a song's name and an instrument's
STRINGS = re.compile(r"\d+-String ")  # how many a guitar has, which is no track's number
TRACK_NUMBER = re.compile(r"(?:[ _.#-]+|[ _.#-]*\()(\d{1,3})\)?$")
FIRST_NUMBER = re.compile(rf"^\d+[{SEPARATORS}]+(?=\S)")
BEFORE = rf"(?:\d+[{SEPARATORS}]+)?"  # a title
EXPORTED = re.compile(  # what music programs add to a track's name where they write it to a file
    rf"(?i)(?:[\[{SEPARATORS}]+(?:(?:bip|bounced?|consolidated|glued|render(?:ed)?|freeze|frozen|flattened|cm|dup\d+)"
    r"[)\]]?(?:[ _.#-]*\(?\d+\)?)?|\(?stems?\)?|split_by_lalalai)"
    r"|[_.]\d\d-\d\d|[ _-]*\[?(?:\d\d){3,4}[ _-]\d{4,6}\]?|[ _-]*\[?\d{4}-\d\d-\d\d(?:[ _T]\d{4,6})?\]?)$"
)  # a clip's numbers in Pro Tools; times of the day in Live and REAPER
KARAOKE = re.compile(r"(?i)[ _]custom[ _]backing[ _]track\)")  # ends the names of Karaoke Version's files
RUN_ON = re.compile(r"(?<=[^\W\d_]{3})(?=\d)|(?<=[^\W\d_]{3}\d)(?=[A-Z])")  # ElecGtr1DI, Vox2
LEADING_ZEROS = re.compile(r"(?<=[^\W\d_]_)0+(?=[1-9]\d*$)")  # Vocals_01 is Vocals_1 in other songs
# What a signal came from; of several microphones, with its number.
SIGNAL = re.compile(rf"(?i)_(?:{'|'.join(instruments.SIGNALS)})(?:_\d+)?(?=_|$)")
VERSION = re.compile(r"[ _.(#-]+v?\d+\)?$")  # of a mix: "Mix (2)", "master_v3"
URMP = re.compile(r"(?:AuSep_\d+_([a-z]+)|AuMix|Vid)_\d\d_.+")  # AuSep_1_vn_01_Jupiter; the film has the mix
URMP_INSTRUMENTS = {
    "vn": "violin", "va": "viola", "vc": "cello", "db": "double_bass", "fl": "flute", "ob": "oboe", "cl": "clarinet",
    "sax": "saxophone", "bn": "bassoon", "tpt": "trumpet", "hn": "horn", "tbn": "trombone", "tba": "tuba", None: MIX,
}  # fmt: skip
MIN_COMMON = 2  # instruments that all songs of one folder have
MIN_SHARING = 3  # files of a song, from which on what all of them begin or end with is no instrument
KIT = {
    *("kick", "snare", "hihat", "hat", "hats", "tom", "toms", "overheads", "room", "rooms"),
    *("cymbal", "cymbals", "crash", "ride", "china", "splash"),
}
POSITIONS = {  # beside these: of a microphone, or of a part of the kit
    *("in", "out", "inside", "outside", "top", "bottom", "bot", "btm", "up", "down", "under", "over", "sub", "close"),
    *("near", "far", "mono", "stereo", "hi", "high", "mid", "side", "low", "floor", "rack"),
    *(*instruments.LEFT, *instruments.RIGHT),
    *("drum", "drums", "kit", "open", "closed", "rim", "trigger", "trig", "sample"),
}


class Shared(NamedTuple):
    """What the names of all files of a song begin and end with, or ""; and whether a track's number is behind each."""

    beginning: str
    ending: str
    numbered: bool = False


def shared(texts, title):
    """What all names of a song have in common besides instruments.

    Parameters
    ----------
    texts : list of str
        The names of the files of stems, without suffixes.
    title : str
        Of the song: the beginning, where they have no other.

    Returns
    -------
    Shared
        Neither is an instrument: of "Guitar clean", "Guitar lead" and "Guitar solo", none is a title.
    """
    texts = [_without_number(_track_name(text)) for text in texts]
    beginning = _beginning(texts) if len(texts) >= MIN_SHARING or _are_two_of_a_song(texts) else ""
    rests = [rest for text in texts if (rest := text.removeprefix(beginning))]  # a mix's name is no longer
    ending = _ending(rests) if len(rests) >= MIN_SHARING else ""
    numbered = len(rests) >= MIN_SHARING and _are_numbered([rest.removesuffix(ending) for rest in rests])
    return Shared(beginning or ("" if _are_instruments(_words(title)) else title), ending, numbered)


def _are_two_of_a_song(texts):
    """Whether a title stands before the instruments of two files: "Tune_vocals" and "Tune_instrumental"."""
    titles = {_title_and_instrument(text, ends=True)[::2] for text in texts}
    return len(texts) == len(titles) == 2 and len({title for title, _ in titles}) == 1


def alone(text, common):
    """A file's name without what the names of all files of its song share: `common`, a `Shared`."""
    before = rf"{BEFORE}{re.escape(common.beginning)}[{SEPARATORS}]+" if common.beginning else ""
    return re.sub(f"^{before}", "", text).removesuffix(common.ending).strip() or text


def begins_with(text, title):
    """Whether a file's name is a song's title, or begins with it, perhaps behind a track's number."""
    return re.match(rf"{BEFORE}{re.escape(title)}(?=$|[{SEPARATORS}])", text)


def is_instrument(text):
    """Whether a text is the name of a known instrument and nothing else: "Batterie", "Lead Vox", "Kick In", "other"."""
    plain = re.sub("(?i)^no[ _]", "", _without_number(text))
    words = _words(plain)
    is_kit = bool(set(words) & KIT) and set(words) <= KIT | POSITIONS
    return (
        plain.lower() in RESIDUALS
        or is_kit
        or _are_instruments(words)
        or any(instruments.find(plain, taxonomy) for taxonomy in instruments.taxonomies())
    )


def has_instrument(text):
    """Whether a text has a word of an instrument in it."""
    return bool(set(_words(text)) & _vocabulary())


def is_mix(text):
    """Whether a text is what a mix of all instruments is called: "Final Mix v3", "Master_Print", "2Bus"."""
    words = set(re.findall(r"[^\W\d_]+", VERSION.sub("", text).lower()))
    is_phrase = not MIX_NAMES.isdisjoint({_phrase(text), _phrase(VERSION.sub("", text))})
    is_phrase = is_phrase or {"stereo", "out"} <= words <= OF_MIXES  # Cubase's "Output - Stereo Out"
    return is_phrase or bool(MIXES & words and words <= MIXES | OF_MIXES)


def without_mix(text):
    """A file's name without what makes it a mix: of "Song (Final Mix)", "Song"."""
    for found in re.finditer(rf"[{SEPARATORS}]+", text):
        if found.start() and is_mix(text[found.end() :]):
            return text[: found.start()]
    return text


def _phrase(text):
    """The words and numbers of a text in lower case, with blanks between them."""
    return re.sub(r"[\W_]+", " ", text.lower()).strip()


def is_title(text):
    """Whether a text may be the name of a song: not an instrument's, a take's or a microphone's, as "Left" or "DI"."""
    words = set(_words(text))
    return not is_instrument(text) and not (words and words <= POSITIONS | instruments.NO_INSTRUMENTS)


def titles(texts):
    """The songs of one folder by their files' names, where each title stands before the same instruments.

    Parameters
    ----------
    texts : list of str
        The names of the files, without suffixes: "SongA_drums", "SongA_bass", "SongB_drums", "SongB_bass".

    Returns
    -------
    dict of str to tuple of str
        For each name its title, and the name without what follows its instrument, as in "SongA_drums_120bpm"; empty
        where the folder is one song, or it is not clear.
    """
    for ends, numbered in itertools.product((True, False), (True, False)):
        split = _with_unknown({text: _title_and_instrument(text, ends, numbered) for text in texts})
        if numbered and _are_repeated(split):
            continue  # of "Tune 01 Drums" and "Tune 02 Drums", the number is the title's
        found = {}
        for title, ending, instrument in split.values():
            found.setdefault((title, ending), set()).update({instrument} - {""})
        numbered = {_without_number(title): title for (title, _), held in found.items() if held}
        mixes = [key for key, held in found.items() if not held and key[0] in numbered]  # of "1_SongA_drums", "SongA"
        songs = [held for key, held in found.items() if key not in mixes]
        with_mix = {title for title, _, instrument in split.values() if not instrument}
        have_mixes = with_mix >= {title for title, _ in found} and sum(map(bool, songs)) > 1
        if len(songs) > 1 and (have_mixes or len(set.intersection(*songs)) >= MIN_COMMON):
            return {text: (numbered.get(title, title), text.removesuffix(ending)) for text, (title, ending, _) in
                    split.items()}  # fmt: skip
    return {}


def _with_unknown(split):
    """Parts of names, where what follows the title of another file is an instrument, known or not: "SongA_Riser"."""
    known = {title: ending for title, ending, instrument in split.values() if instrument}
    found = {}
    for text, parts in split.items():
        breaks = [each.start() for each in re.finditer(rf"[{SEPARATORS}]+", text) if text[: each.start()] in known]
        if parts[0] == text and breaks:
            title = text[: breaks[-1]]
            ending = known[title] if text.endswith(known[title]) else ""
            parts = title, ending, text[len(title) :].removesuffix(ending).lower()
        found[text] = parts
    return found


def _are_repeated(split):
    """Whether two files of a song are the same instrument, but for a number before it."""
    files = [(title, ending, _without_number(text[len(title) :].lstrip(SEPARATORS))) for text, (title, ending, _) in
             split.items()]  # fmt: skip
    return len(set(files)) < len(files)


def _title_and_instrument(text, ends, numbered=True):
    """The parts of "SongA_Lead Vox": title, what follows the instrument, and the instrument.

    Of a mix, "SongA" or "SongA_mix", the instrument is "". It `ends` the text, or something follows it, as in
    "SongA-vocals-C major-120bpm". Where it may be `numbered`, so is "SongA_01_Lead Vox".
    """
    breaks = list(re.finditer(rf"[{SEPARATORS}]+", text))
    for end in [len(text)] if ends else _instrument_ends(text, breaks):
        for found in (each for each in breaks if each.end() < end):
            title, rest = text[: found.start()], text[found.end() : end].strip("()")
            if FIRST_NUMBER.match(rest if not numbered else FIRST_NUMBER.sub("", rest)):
                continue  # of "Album_01_02_Bass", the title is "Album_01"
            if title and is_title(title) and (is_instrument(rest) or is_mix(rest)):
                instrument = "" if is_mix(rest) else _grouped(re.sub(r"\W+", "_", names.in_full(rest))).lower()
                return title, text[end:], instrument
    return text, "", ""


def _instrument_ends(text, breaks):
    """Where an instrument may end: a bracket's end, as in "SongA_(Vocals)_model_bs", goes before other breaks."""
    if found := KARAOKE.search(text):
        return [found.start()]
    brackets = [found.end() for found in re.finditer(rf"\)(?=[{SEPARATORS}])", text)]
    return [*brackets, *(found.start() for found in reversed(breaks))]


def without_instrument(text, instrument):
    """A file's name without the instrument that its folder is called after, before or behind it: "SongA (Drums)"."""
    name = re.escape(_without_number(instrument)).removesuffix("s") + "s?"
    pattern = rf"^{name}[{SEPARATORS}]+|[{SEPARATORS}]+{name}\)?$"
    return re.sub(pattern, "", text, flags=re.IGNORECASE) or text


def _are_numbered(texts):
    """Whether a music program put a track's number behind each: "Kick_01", "Bass_02"; "Gtr 1", "Gtr 2" are no such."""
    found = [TRACK_NUMBER.search(text) for text in texts]
    if not all(found):
        return False
    numbers, names_left = [match[1] for match in found], Counter(TRACK_NUMBER.sub("", text) for text in texts)
    are_tracks = len(set(numbers)) == len(numbers) or all(len(number) > 1 for number in numbers)
    repeated = [name for name, count in names_left.items() if count > 1]
    return are_tracks and len(names_left) > 1 and all(_are_instruments(_words(name)) for name in repeated)


def _beginning(texts):
    for end in range(len(texts[0]), 0, -1):
        title, rests = texts[0][:end], [text[end:] for text in texts]
        is_shared = all(text.startswith(title) for text in texts) and all(rest[:1] in SEPARATORS for rest in rests)
        if is_shared and any(map(_words, rests)) and _is_title(title, rests):  # numbers alone are no instruments
            return title
    return ""


def _is_title(text, rests):
    """Whether it does not end with an instrument, or instruments follow it everywhere: "Moonlight Ride_Drums"."""
    words = _words(text)
    named = [bool(set(_words(rest)) & _vocabulary()) for rest in rests if rest]
    return not _are_instruments(words[-1:]) or (all(named) and not _are_instruments(words))


def _ending(texts):
    for begin in range(1, len(texts[0])):
        ending = texts[0][begin:]
        is_shared = ending[0] in SEPARATORS and all(text.endswith(ending) for text in texts)
        names_left = any(_words(text.removesuffix(ending)) for text in texts)
        if is_shared and names_left and not _are_instruments(_words(ending)[:1]):
            return ending
    return ""


def _words(text):
    """The words of a name in full, in lower case, without numbers."""
    return re.findall(r"[^\W\d_]+", names.in_full(text).lower())


def _are_instruments(words):
    return bool(words) and set(words) <= _vocabulary()


def _vocabulary():
    return names.vocabulary() - {OTHER} | KIT | {"drum", "lead"}


class Namer:
    """Names the instrument of a file, by the patterns of a file of names or by the file's own name.

    Parameters
    ----------
    path : Path or None
        The file of names.

    Raises
    ------
    SettingError
        It is wrong.
    """

    def __init__(self, path):
        self.path, self.patterns = path, {}
        for name, patterns in (_read_names(path) if path else {}).items():
            self.patterns[name] = [re.compile(fnmatch.translate(names.folded(pattern))) for pattern in patterns]
        self._used = set()

    def of(self, text, beginning="", ending="", numbered=False):
        """The instrument that a text names, `mix` or `ignore`; "" where it cannot be a name.

        What all files of the song share, as in `Shared`, is left out.
        """
        without = _track_name(text).removesuffix(ending)
        without = TRACK_NUMBER.sub("", without) if numbered else without
        plain = _plain(without, beginning)
        spellings = {names.folded(text), plain.lower(), plain.lower().replace("_", " ")}
        for name, patterns in self.patterns.items():
            if any(pattern.match(spelling) for pattern in patterns for spelling in spellings):
                self._used.add(name)
                return name
        if (found := URMP.fullmatch(text)) and found[1] in URMP_INSTRUMENTS:
            return URMP_INSTRUMENTS[found[1]]
        if is_mix(plain) or is_mix(without) or (beginning and beginning in (without, _without_number(without))):
            return MIX
        if _phrase(plain) in NO_MUSIC:
            return IGNORE
        spelled = re.sub(r"\W+", "_", names.in_full(RUN_ON.sub(" ", plain))).strip("_")
        spelled = LEADING_ZEROS.sub("", spelled)
        if names.is_device(spelled):
            return f"{spelled}_1"  # Windows allows no file called Aux.flac
        return _grouped(spelled) if VALID_NAME.fullmatch(spelled) else ""  # "Флейта 1" is no instrument "1"

    def check_used(self, texts):
        """SettingError unless the file of names fits any of the folder's files."""
        if self.patterns and not self._used:
            found = ", ".join(sorted(set(texts))[:10])
            raise SettingError(f"{self.path}: none of its patterns fits a file. The stems are called {found}.")


def _track_name(text):
    """A file's name without its channel, and without what its music program added."""
    text = CHANNEL.sub("", text)
    while found := EXPORTED.search(text):
        text = text[: found.start()]
    return text


def _plain(text, beginning):
    """A file's name without accents, and without the song's name or a track's number before it."""
    if beginning and (found := re.match(rf"{BEFORE}{re.escape(beginning)}(?=[{SEPARATORS}])", text, re.IGNORECASE)):
        text = text[found.end() :]
    return _without_number(names.without_accents(text).strip(SEPARATORS))


def _without_number(text):
    """A name without a track's number before it."""
    return text if STRINGS.match(names.in_full(text)) else FIRST_NUMBER.sub("", text)


def _grouped(name):
    """The drums, for a microphone of the kit; other instruments without what the signal came from."""
    name = SIGNAL.sub("", name)
    words = set(re.findall("[a-z]+", name.lower().replace("bass_drum", "kick")))
    return next(iter(instruments.drums())) if words & KIT and words <= KIT | POSITIONS else name


def _read_names(path):
    """The file of names: {instrument: [pattern]}."""
    found = yaml_file.read(path, "The file of names")
    if not isinstance(found, dict) or not found:
        raise SettingError(f"{path} holds no names. Write lines such as  drums: [kick*, snare*]")
    return {name: _patterns(path, name, value) for name, value in found.items()}


def _patterns(path, name, value):
    if not isinstance(name, str) or not VALID_NAME.fullmatch(name):
        raise SettingError(f"{path}: {name!r} cannot be an instrument's name. Use letters from a to z, digits and _.")
    patterns = [value] if isinstance(value, str) else value
    if isinstance(patterns, list) and patterns and all(isinstance(each, str) and each.strip() for each in patterns):
        return patterns
    raise SettingError(f'{path}, {name}: {value!r} is not a list of file names or patterns. Write [kick*, "*drum*"].')
