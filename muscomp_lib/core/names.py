"""What a name that comes from a file, a table or a person may be. Used wherever a name becomes part of a path.

A name is never a path: it is one component of one. `check` refuses what is not; `as_folder` makes a folder's name of a
song's title, which may hold anything a disk allows.
"""

import os
import re
import unicodedata
from functools import cache, lru_cache
from pathlib import Path

from muscomp_lib.core import yaml_file
from muscomp_lib.core.errors import SettingError
from muscomp_lib.core.files import MAX_NAME_BYTES

ABBREVIATIONS_FILE = Path(__file__).with_name("abbreviations.yaml")

INITIALS = {  # before an instrument in full: "E-Gitarre", "El. Bass", "A-Git"
    r"(?i)(?<![^\W_])el?[ ._-]{0,2}(?=(guitar|bass|piano)(?![^\W\d_]))": "electric",
    r"(?i)(?<![^\W_])a[._-]?(?=guitar(?![^\W\d_]))": "acoustic",
}
ITS_STRINGS = re.compile(  # "12 Str Gtr", once it is written in full: no string section
    r"(?i)(?<![^\W_])([4-9]|1\d|nylon|steel)[\W_]*strings?(?=[\W_]+([^\W\d_]+[\W_]+)?(guitar|bass|acoustic)(?![^\W\d_]))"
)
LIGATURES = str.maketrans(  # and other Latin letters that are no letter of ASCII with an accent
    {"ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D"}
)
FORBIDDEN = '/\\<>:"|?*'  # in paths, on Windows' and Google Drive's disks, and in HTML
DEVICES = ("con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10)))  # of Windows
CONTROL = ("Cc", "Cf", "Cs", "Zl", "Zp")  # Unicode categories: control, format, lone surrogates, line breaks
MAX_BYTES = MAX_NAME_BYTES - 64  # of a name: the rest is for suffixes, and for the names of temporary files
PARTITIONS = {  # what data sets call the folders of their partitions
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}


def check(name, what, where):
    """Make sure that a name is one component of a path, on any disk.

    Parameters
    ----------
    name : object
        Anything but a str is refused.
    what : str
        What it names, for the message: "track", "instrument".
    where : str or Path
        The file, with its row or key where that is known.

    Returns
    -------
    str
        The name.

    Raises
    ------
    SettingError
        It is empty, hidden ("." first), longer than file names may be, ends with a space or a dot, is a device of
        Windows, or has characters that separate paths, are invisible, or are forbidden on some disk.
    """
    if reason := _reason(name):
        article = "an" if what[0] in "aeiou" else "a"
        raise SettingError(f"{where}: {name!r} cannot be the name of {article} {what}, because {reason}. Rename it.")
    return name


def is_text(name):
    """Whether a file's name is UTF-8; Python spells what is not with lone surrogates."""
    return not any(unicodedata.category(character) == "Cs" for character in name)


def is_name(name):
    """Whether `check` would accept it."""
    return not _reason(name)


def is_control(character):
    """Whether a character is invisible, breaks a line or is half of one: no path of ours has such."""
    return unicodedata.category(character) in CONTROL


def _reason(name):
    """Why it is no name, or ""."""
    if not isinstance(name, str) or not name.strip():
        return "it is not a text" if not isinstance(name, str) else "it is empty"
    if wrong := next((c for c in name if c in FORBIDDEN or is_control(c)), None):
        return f"it contains {wrong!r}"
    if name[0] in ". " or name[-1] in ". ":
        return "it begins or ends with a dot or a space"
    if is_device(name):
        return "Windows reserves it for a device"
    if len(name.encode()) > MAX_BYTES:
        return f"it is longer than {MAX_BYTES} bytes"
    return ""


def is_device(name):
    """Whether Windows takes a file or folder of this name for a device, also one with a suffix."""
    return name.partition(".")[0].strip().lower() in DEVICES


def check_path(path, what, where):
    """Make sure that a path of a table lies inside the folder that it is relative to.

    Parameters
    ----------
    path : str
        With forward slashes; "" is none.
    what, where
        As for `check`.

    Returns
    -------
    str
        The path.

    Raises
    ------
    SettingError
        It is absolute, leads upwards, or has characters that break lines.
    """
    if path.startswith("/") or ".." in path.split("/") or any(map(is_control, path)):
        raise SettingError(f"{where}: {path!r} cannot be the {what}: it leads out of its folder. Correct it there.")
    return path


def as_folder(title, suffix=""):
    """A folder's name for a song's title: the title itself where it is possible, else the nearest that is.

    Parameters
    ----------
    title : str
        A file name without its suffix, possibly with bytes that are not UTF-8 (as `os.fsdecode` returns them).
    suffix : str
        Kept whole behind it: of a title that is too long, less is kept.

    Returns
    -------
    str
        One component of a path, not hidden, at most `MAX_NAME_BYTES` bytes.
    """
    name = title.replace("/", "_").replace("\0", "_")
    if not name.strip() or name[0] == "." or is_device(name):
        name = f"_{name}"
    while len(os.fsencode(name + suffix)) > MAX_NAME_BYTES:
        name = name[:-1]
    return name + suffix


def partition(folder):
    """The partition that a folder's name means, in any case of letters: a key of `PARTITIONS`; "" for none."""
    return next((name for name, spellings in PARTITIONS.items() if folder.lower() in spellings), "")


def folded(name):
    """What names have in common that are the same on some disks: case, and the form of accents."""
    return unicodedata.normalize("NFC", name).casefold()


def without_accents(text):
    """A text without what stands above or below its letters, and with two letters for a ligature."""
    apart = unicodedata.normalize("NFKD", text.translate(LIGATURES))
    return "".join(sign for sign in apart if not unicodedata.combining(sign))


@lru_cache(maxsize=4096)  # each is asked for several times
def in_full(name):
    """A name of instruments with its abbreviations written out, in English: "ElecGtr 2" is "Electric Guitar 2"."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", unicodedata.normalize("NFC", name))
    for pattern, words in _phrases().items():
        apart = pattern.sub(lambda found, words=words: _in_case_of(found[0], words), apart)
    full = re.sub(r"[^\W\d_]+", lambda word: _in_full(word[0]), apart)
    for pattern, adjective in INITIALS.items():
        full = re.sub(pattern, lambda found, word=adjective: _in_case_of(found[0], word) + " ", full)
    return ITS_STRINGS.sub(r"\1-String", full)


def _in_full(word):
    full = _abbreviations().get(without_accents(word).lower(), word)
    return _in_case_of(word, full) if full != word else full


def _in_case_of(word, other):
    return other.title() if word[0].isupper() else other


@cache
def _abbreviations():
    listed = yaml_file.read(ABBREVIATIONS_FILE).items()
    return {without_accents(short): full for full, spellings in listed for short in spellings}


@cache
def _phrases():
    """The abbreviations of several words: {compiled pattern: what they stand for}."""
    several = {short: full for short, full in _abbreviations().items() if " " in short}
    between = {short: short.replace(" ", r"[\W_]+") for short in several}
    return {re.compile(rf"(?i)(?<![^\W\d_]){between[short]}(?![^\W\d_])"): full for short, full in several.items()}


@cache
def vocabulary():
    """The words that abbreviations stand for: frozenset of str in lower case."""
    return frozenset(word for full in yaml_file.read(ABBREVIATIONS_FILE) for word in full.split())


def as_text(name):
    """A file's name as text for tables and browsers: bytes that are not UTF-8 become escapes."""
    return name.encode("utf-8", "backslashreplace").decode()
