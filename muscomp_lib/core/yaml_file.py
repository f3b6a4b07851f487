"""YAML that comes from people and data sets: read within bounds, and written so that it reads back. Used everywhere.

Values mean what they look like, as in YAML 1.2: `1e-4` is a number, and `on`, `1:30`, `0123` and `2024-05-01` are
texts, of which YAML 1.1 would make True, 90, 83 and a date. `None` is null, because that is what notebooks call it. A
key that is there twice is refused.

A few hundred bytes can stand for millions of values, as aliases may be nested; such a file is refused before it takes
memory. So the values are made from PyYAML's events here, not by its constructors.
"""

import re
from pathlib import Path

import yaml

from muscomp_lib.core.errors import MissingError, SettingError
from muscomp_lib.core.files import PRINTED_QUOTES

MAX_BYTES = 1_000_000  # of a file; Slakh's metadata have a hundredth of it
MAX_VALUES = 100_000  # in a file, those that an alias repeats included
CHARACTERS = 100  # of a text count as one more value
MAX_DEPTH = 40  # lists and mappings within each other
MAX_DIGITS = 300  # of a number; a float holds 308
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the compiled one is ten times as fast, where it exists
SPACES = {  # which YAML does not take for spaces: pasted from web pages and word processors
    "\N{NO-BREAK SPACE}": "a non-breaking space",
    "\N{NARROW NO-BREAK SPACE}": "a non-breaking space",
    "\N{IDEOGRAPHIC SPACE}": "a full-width space",
    "\N{ZERO WIDTH SPACE}": "an invisible space",
    "\N{ZERO WIDTH NO-BREAK SPACE}": "an invisible space",
}
SIGNS = (
    SPACES | dict.fromkeys(PRINTED_QUOTES, "a printed quotation mark") | {"\N{FULLWIDTH COLON}": "a full-width colon"}
)
STANDARD = "tag:yaml.org,2002:"
NULL = re.compile(r"~|null|Null|NULL|")
KINDS = {
    "null": (rf"{NULL.pattern}|None", lambda text: None),
    "bool": (r"true|True|TRUE|false|False|FALSE", lambda text: text.lower() == "true"),
    "int": (r"[-+]?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+|0o[0-7]+", lambda text: int(text, 0)),
    "float": (
        r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        lambda text: float(re.sub(r"\.(?=[infa])", "", text.lower())),
    ),
}
KINDS = {kind: (re.compile(pattern), convert) for kind, (pattern, convert) in KINDS.items()}


class Dumper(yaml.SafeDumper):
    """Writes a text in quotes wherever YAML 1.1 or the rules above would read something else."""


for _kind, (_pattern, _) in KINDS.items():
    Dumper.add_implicit_resolver(f"{STANDARD}{_kind}", re.compile(rf"(?:{_pattern.pattern})$"), None)


def read(path, what="The file"):
    """The content of a file.

    Parameters
    ----------
    path : str or Path
    what : str
        What it is, for the message when it is missing: "The campaign file".

    Returns
    -------
    dict, list, str, int, float, bool or None

    Raises
    ------
    MissingError, SettingError
        No such file; not UTF-8, or not YAML as `parse` takes it.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingError(f"{what} {path} is not there. Check the name and the folder.")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SettingError(f"{path} is not UTF-8 ({error.reason} at byte {error.start}). Save it as UTF-8.") from error
    except OSError as error:
        raise SettingError(f"{path} cannot be read ({error.strerror}). Check its permissions.") from error
    return parse(text, path)


def parse(text, where, as_text=False):
    """The content of a text.

    Parameters
    ----------
    text : str
    where : str or Path
        Where it is, for messages.
    as_text : bool
        Leave numbers and words such as `true` as they are written; only null is None.

    Returns
    -------
    dict, list, str, int, float, bool or None
        What an alias repeats is the same object.

    Raises
    ------
    SettingError
        Not YAML; a key twice; too much of anything (the constants above). It names the line.
    """
    if len(text) > MAX_BYTES:
        raise SettingError(f"{where} is longer than {MAX_BYTES:,} characters, the most that is read. Shorten it.")
    try:
        return _Reader(text, where, as_text).document()
    except SettingError:
        raise
    except (yaml.YAMLError, ValueError) as error:  # the latter for impossible characters
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        _check_signs(text, where, mark.line if mark else 0)
        raise SettingError(
            f"{where}{place}: this is not YAML: {problem}. Correct it there: indent with spaces, not tabs, and put a "
            "text with signs such as * or \\ in single quotes."
        ) from error


def _check_signs(text, where, line):
    """Refuse a text that is not YAML for a sign that looks like another, in the line of the error or the one before."""
    if "\0" in text:
        raise SettingError(f"{where}: this is not YAML: it holds NUL characters, as damaged copies do. Copy it again.")
    lines = text.splitlines()
    for number in range(line, max(-1, line - 2), -1):
        if sign := next((sign for sign in (lines[number] if number < len(lines) else "") if sign in SIGNS), None):
            raise SettingError(
                f"{where}, line {number + 1}: this is not YAML, perhaps for {SIGNS[sign]} (U+{ord(sign):04X}). Type a "
                "plain one there."
            )


def dump(content):
    """Text of which `parse` makes `content` again."""
    return yaml.dump(content, Dumper=Dumper, sort_keys=False)


class _Reader:
    """Makes the values of a document from its events."""

    def __init__(self, text, where, as_text):
        self._events = yaml.parse(text, LOADER)
        self._text, self._where, self._as_text = text, where, as_text
        self._anchors, self._n_values = {}, 0

    def document(self):
        next(self._events)  # the stream's start
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return None
        value = self._value(next(self._events), 0)
        next(self._events)
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise self._refusal(after, "a second document begins with '---'. Leave one.")
        return value

    def _value(self, event, depth):
        if isinstance(event, yaml.AliasEvent):
            return self._repeated(event)
        if depth > MAX_DEPTH:
            raise self._refusal(event, f"lists and mappings are nested more than {MAX_DEPTH} deep.")
        before = self._n_values
        self._count(event, 1 + len(getattr(event, "value", "")) // CHARACTERS)
        make = {yaml.SequenceStartEvent: self._list, yaml.MappingStartEvent: self._mapping}.get(type(event))
        value = make(event, depth + 1) if make else self._scalar(event)
        if event.anchor:
            self._anchors[event.anchor] = value, self._n_values - before
        return value

    def _count(self, event, more):
        self._n_values += more
        if self._n_values > MAX_VALUES:
            raise self._refusal(event, f"these are more than {MAX_VALUES:,} values, with those that aliases repeat.")

    def _repeated(self, event):
        if event.anchor not in self._anchors:
            raise self._refusal(
                event,
                f"*{event.anchor} repeats what is not complete there: write it out, or put a text with * in quotes.",
            )
        value, n_values = self._anchors[event.anchor]
        self._count(event, n_values)
        return value

    def _list(self, start, depth):
        self._check_tag(start, "seq")
        found = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            found.append(self._value(event, depth))
        return found

    def _mapping(self, start, depth):
        self._check_tag(start, "map")
        found, merged, lines = {}, {}, {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._value(event, depth)
            following = next(self._events)
            if start.flow_style and ":" not in self._text[event.end_mark.index : following.start_mark.index]:
                written = getattr(event, "value", key)
                raise self._refusal(
                    event,
                    f"no value for {written!r}. Write a decimal with a point, 1.5, and a text with a comma in quotes.",
                )
            value = self._value(following, depth)
            if key == "<<" and event.implicit[0]:  # not in quotes
                merged = self._merged(event, value) | merged
                continue
            if isinstance(key, dict | list):
                raise self._refusal(event, "a key has to be a word or a number.")
            if key in lines:
                first, line = lines[key], event.start_mark.line + 1
                raise SettingError(
                    f"{self._where}: the key {key!r} is there twice, in lines {first} and {line}. Remove one of them."
                )
            found[key], lines[key] = value, event.start_mark.line + 1
        return merged | found if merged else found

    def _merged(self, event, value):
        """What `<<: *name`, or a list of these, adds to a mapping; the first of several counts."""
        parts = value if isinstance(value, list) else [value]
        if not all(isinstance(part, dict) for part in parts):
            raise self._refusal(event, "<< adds the keys of a mapping, and its value is none.")
        return {key: each for part in reversed(parts) for key, each in part.items()}

    def _scalar(self, event):
        self._check_tag(event, "str")
        text = event.value
        if not event.implicit[0]:  # in quotes, or marked as text
            return text
        if self._as_text:
            return None if NULL.fullmatch(text) else text
        if text and (sign := next((each for each in (text[0], text[-1]) if each in SPACES), None)):
            raise self._refusal(event, f"{text!r} begins or ends with {SPACES[sign]} (U+{ord(sign):04X}). Remove it.")
        if len(text) > 1 and text[0] in PRINTED_QUOTES and text[-1] in PRINTED_QUOTES:
            raise self._refusal(
                event, f"{text} is in printed quotation marks, which are letters here. Type plain ones."
            )
        for pattern, convert in KINDS.values():
            if pattern.fullmatch(text):
                if len(text) > MAX_DIGITS:
                    raise self._refusal(event, f"a number has {len(text):,} digits, more than {MAX_DIGITS}.")
                return convert(text)
        return text

    def _check_tag(self, event, kind):
        if event.tag not in (None, "!", f"{STANDARD}{kind}"):
            raise self._refusal(event, f"the tag {event.tag!r} is not possible. Remove it.")

    def _refusal(self, event, problem):
        return SettingError(f"{self._where}, line {event.start_mark.line + 1}: {problem}")
