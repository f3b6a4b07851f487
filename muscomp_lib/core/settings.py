"""Settings that check themselves. Used by every stage, the configuration and the batch runner.

A setting is declared once, in a subclass of `Settings`: its name, type, range, default and meaning. From that follow
the check when the object is made, the message when a value is wrong, the words that explain it, and the check of a
notebook's parameters before a batch job is submitted.

    class Settings(settings.Settings):
        limit: optional(whole(1), "all") = Field(None, description="Index at most this many tracks.")

pydantic does the checking: strictly, so that neither "3" nor True passes for a number.
"""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic import Field as Field  # settings are declared with it

from muscomp_lib.core import names
from muscomp_lib.core.errors import SettingError

MOST_LISTED = 20  # names that a message lists beside the one that was meant


@dataclass(frozen=True)
class Expected:
    """What a setting may hold, in words: "a whole number from 1"."""

    words: str


class Section(BaseModel):
    """Keys and values of a file, such as a configuration: declared here, checked by `check`. Sections may be nested."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", arbitrary_types_allowed=True)


class Settings(Section):
    """The settings of a stage, checked when they are made.

    Raises
    ------
    SettingError
        Quotes the first wrong setting, its value, and what it may be.
    """

    def __init__(self, /, **values):
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _refusal(type(self), error, "") from None

    def replace(self, **changes):
        """The same settings with some changed, checked again."""
        return type(self)(**({name: getattr(self, name) for name in type(self).model_fields} | changes))


def check(model, values, where, prefix="", spell=repr):
    """Make sure that a mapping holds what `model` declares.

    Parameters
    ----------
    model : type of Section
    values : dict
        Nested where the model is.
    where : str or Path
        The file, for the message.
    prefix : str
        What the keys are part of there: `model.params.`.
    spell : callable
        How the file spells a value, for the message: `json.dumps`.

    Returns
    -------
    Section
        An object of `model` with these values.

    Raises
    ------
    SettingError
        Names the file, the key (`model.type`), its value and what it may be.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _refusal(model, error, f"{where}: ", prefix, spell) from None


def check_value(name, kind, value, where=""):
    """Make sure that one value is of a kind: a type made by the functions below, or of a model's field.

    Raises
    ------
    SettingError
    """
    try:
        TypeAdapter(kind, config=ConfigDict(strict=True, arbitrary_types_allowed=True)).validate_python(value)
    except ValidationError as error:
        found = error.errors()[0]
        if isinstance(_raised(found), SettingError):
            raise SettingError(f"{where}{_raised(found)}") from None
        words = f"{expected(kind) or _expected(found)}{_in_quotes(kind, value)}"
        raise SettingError(wrong(name, value, words, where)) from None


def _in_quotes(kind, value):
    """The end of a message about a number, true or false, where its text would be right."""
    if not isinstance(value, bool | int | float):
        return ""
    try:
        check_value("", kind, str(value))
    except SettingError:
        return ""
    return " (in quotes, where it looks like a number, true or false)"


def field(model, key):
    """The type of a model's field, with its range and meaning, to declare the same setting elsewhere.

    Parameters
    ----------
    model : type of Section
    key : str
        Dotted where models are nested: `muscomp.precision`.
    """
    declared = _field(model, key.split("."))
    return Annotated[(declared.annotation, *declared.metadata, Field(description=declared.description))]


def fields(model, prefix=""):
    """All fields of a model by dotted key, those of nested models included: {str: pydantic.fields.FieldInfo}."""
    found = {}
    for name, declared in _by_key(model).items():
        if _is_model(declared.annotation):
            found |= fields(declared.annotation, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = declared
    return found


def expected(kind):
    """What a type made by the functions below may hold, in words; "" for any other type."""
    metadata = getattr(kind, "metadata", None) or getattr(kind, "__metadata__", ())
    return next((entry.words for entry in reversed(metadata) if isinstance(entry, Expected)), "")


# ---- kinds of values ----


def whole(lowest=0, highest=None, unit=""):
    """A whole number in a range, ends included."""
    return Annotated[int, Field(ge=lowest, le=highest), Expected(f"a whole number{_range(lowest, highest, unit)}")]


def number(lowest=None, highest=None, above=None, below=None, unit=""):
    """A finite number, ends included; `above` and `below` are not."""
    limits = [f"above {above:g}" if above is not None else "", f"below {below:g}" if below is not None else ""]
    if highest is not None and lowest is None:
        limits.append(f"at most {highest:g}")
        span = f" of {unit}" if unit else ""
    else:
        span = _range(lowest, highest, unit)
    words = f"a number{span}{' ' if any(limits) else ''}{', '.join(filter(None, limits))}"
    bounds = Field(ge=lowest, le=highest, gt=above, lt=below, allow_inf_nan=False)
    return Annotated[float, bounds, Expected(words)]


def one_of(*choices):
    """One of some words."""
    words = f"{', '.join(map(repr, choices[:-1]))} or {choices[-1]!r}" if len(choices) > 1 else repr(choices[0])
    return Annotated[Literal[choices], Expected(words)]


def flag():
    """True or False."""
    return Annotated[bool, Expected("True or False")]


def text(words="a text"):
    """A text that is not blank."""
    return that(lambda value: isinstance(value, str) and value.strip() != "" and "\0" not in value, words)


def name(words="a name without / or other characters that file names cannot have, and no device of Windows, as CON"):
    """A text that can be part of a path: names.py."""
    return that(names.is_name, words)


def optional(kind, none):
    """A kind of value, or None, which means `none`: "all"."""
    return Annotated[kind | None, Expected(f"{expected(kind)}, or None for {none}")]


def that(holds, words):
    """Any value for which `holds(value)` is true."""

    def check_it(value):
        if not holds(value):
            raise ValueError(words)
        return value

    return Annotated[Any, AfterValidator(check_it), Expected(words)]


def is_path(value):
    """Whether a value may be a path, or a name that stands for one: a text that is not blank."""
    return isinstance(value, str | Path) and str(value).strip() != ""


# ---- messages ----


def wrong(name, value, words, where="", spell=repr):
    """The message for a wrong value; `where` ends in ": "."""
    return f"{where}{name} = {spell(value)} is not possible. It must be {words}."


def suggestion(word, known):
    """What may have been meant, and what there is: sentences that end a message about an unknown name."""
    known = list(map(str, known))
    spelled = {name.lower(): name for name in known}
    close = difflib.get_close_matches(str(word).lower(), spelled, n=1)
    if close and len(known) > MOST_LISTED:
        return f"Did you mean {spelled[close[0]]!r}?"
    meant = f"Did you mean {spelled[close[0]]!r}? " if close else ""
    return f"{meant}There is {', '.join(known) or 'none'}."


def _refusal(model, error, where, prefix="", spell=repr):
    """The first thing that is wrong, as a SettingError: unknown names first, as they explain what is missing."""
    found = sorted(error.errors(), key=lambda entry: entry["type"] != "extra_forbidden")[0]
    if isinstance(_raised(found), SettingError):
        return _raised(found)
    path = [str(part) for part in found["loc"]]
    key = _declared(model, path)
    if not path:  # of no single setting: a validator of the whole model
        return SettingError(f"{where}{found.get('ctx', {}).get('error', found['msg'])}")
    name = prefix + ".".join(key or path)
    if found["type"] == "extra_forbidden":
        name = prefix + ".".join(path)
        return SettingError(f"{where}there is no setting {name!r}. {suggestion(name, fields(model, prefix))}")
    words = expected(_field(model, key)) if key else ""
    if found["type"] == "missing":
        return SettingError(f"{where}{name} is missing.{f' It must be {words}.' if words else ''}")
    words = words or _expected(found)
    return SettingError(wrong(name, found["input"], words, where, spell))


def _raised(found):
    """The exception that a check of ours raised: a SettingError is more specific than pydantic's message."""
    return found.get("ctx", {}).get("error")


def _declared(model, path):
    """The part of an error's path that names a field: what follows is inside of its value."""
    key = []
    for part in path:
        if not _is_model(model) or part not in _by_key(model):
            break
        key.append(part)
        model = _by_key(model)[part].annotation
    return key


def _field(model, key):
    for part in key[:-1]:
        model = _by_key(model)[part].annotation
    return _by_key(model)[key[-1]]


def _by_key(model):
    """A model's fields by their keys in a file: their aliases where the key is a keyword of Python, such as `from`."""
    return {declared.alias or name: declared for name, declared in model.model_fields.items()}


def _is_model(annotation):
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _expected(found):
    """What must be there, from pydantic's own message: "Input should be a valid string"."""
    if found["type"] in ("model_type", "dict_type"):
        return "a section of keys and values"
    reason = found["msg"][:1].lower() + found["msg"][1:]
    return reason.removeprefix("input should be ")


def _range(lowest, highest, unit):
    of = f" of {unit}" if unit else ""
    if lowest is None:
        return of
    lowest, highest = (f"{limit:g}" if isinstance(limit, float) else limit for limit in (lowest, highest))
    return f"{of} from {lowest}" + ("" if highest is None else f" to {highest}")
