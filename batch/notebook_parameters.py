"""The parameters of headless runs: read from the command line and from files, checked, and given to the notebooks.

papermill only logs a warning for a parameter that a notebook does not have, and checks no value. Here an unknown name,
a wrong type and a value out of range are refused before anything starts.
"""

import ast
import contextlib
import importlib
import re
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import papermill
import yaml

from muscomp_lib.core import settings
from muscomp_lib.core.errors import MissingError, SettingError

PATHS = ("root", "song", "out", "musdb")  # parameters that are paths: taken literally, relative to the caller's folder
NONE = ("null", "None")  # how an option says that there is no path
DECLARATIONS = {  # per notebook: the classes that declare its parameters, and the prefix of their names there
    "01": (("slakh.Settings", ""), ("minislakh.Settings", "minislakh_"), ("minislakh.Settings", "")),
    "02": (("reserve.Settings", ""),),
    "03": (("tables.Settings", ""),),
    "04": (("training.Parameters", ""),),
    "05": (("separation.Settings", ""),),
}


class Loader(yaml.SafeLoader):
    """YAML whose plain words and numbers mean what they look like.

    As in YAML 1.2, `1e-4` is a number, and `1:30`, `0123` and `2024-05-01` are texts: YAML 1.1 would make 90, 83 and a
    date of them. `None` is null, because that is what the notebooks call it.
    """

    yaml_implicit_resolvers = {}  # noqa: RUF012


for tag, pattern, first in (
    ("bool", r"yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF", "yYnNtTfFoO"),
    ("int", r"[-+]?(0|[1-9][0-9_]*)|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?([0-9][0-9_]*)?\.[0-9]+([eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*\.([eE][-+]?[0-9]+)?"
        r"|[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+0123456789.",
    ),
    ("null", r"~|null|Null|NULL|None|", ["~", "n", "N", ""]),
    ("merge", "<<", "<"),
):
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(rf"(?:{pattern})$"), list(first))


@dataclass
class Step:
    """One notebook to run.

    Attributes
    ----------
    notebook : Path
    name : str
        File name of the executed copy, without its suffix.
    valid : tuple of str
        The names in the notebook's `parameters` cell.
    parameters : dict
        What is set, by name; the notebook's own defaults apply to the rest.
    """

    notebook: Path
    name: str
    valid: tuple
    parameters: dict = field(default_factory=dict)

    @property
    def number(self):
        """Its place in the order: "03"."""
        return self.notebook.name[:2]


@dataclass(frozen=True)
class GivenParameter:
    """A parameter as the user gave it: for the notebook `number`, or ("") for all that have it."""

    number: str
    name: str
    value: object
    source: str


def step_of(notebook):
    """A step without parameters.

    Raises
    ------
    SettingError
        When the file is not a notebook.
    """
    try:
        return Step(notebook, notebook.stem, tuple(papermill.inspect_notebook(escaped(notebook))))
    except (ValueError, AttributeError, nbformat.ValidationError) as error:
        raise SettingError(f"{notebook} is not a notebook that can be run ({error}).") from error


def defaults(notebook):
    """The defaults of a notebook's parameters, by name, as far as they are literals."""
    found = {}
    for name, entry in papermill.inspect_notebook(escaped(notebook)).items():
        with contextlib.suppress(ValueError, SyntaxError):
            found[name] = ast.literal_eval(entry["default"])
    return found


def escaped(path):
    """`path` for papermill, which would otherwise fill in {names} in it."""
    return str(path).replace("{", "{{").replace("}", "}}")


def ordered(folder):
    """The numbered notebooks of a folder, in order."""
    return sorted(folder.glob("[0-9][0-9]_*.ipynb"))


# ---- reading ----


def from_option(name, text):
    """The parameter that `-p NAME VALUE` gives: VALUE in YAML, `05.NAME` for one notebook."""
    number, _, bare = name.rpartition(".")
    value = text if bare in PATHS and text not in NONE else _parsed(text, f"-p {name}")
    return GivenParameter(number.zfill(2) if number else "", bare, value, f"-p {name}")


def from_file(file):
    """The parameters in a file: `name: value` for all notebooks that have it, `"05": {name: value}` for one.

    Raises
    ------
    MissingError, SettingError
        No such file; not YAML, or not of this form.
    """
    return from_content(read_yaml(file, "The parameter file"), file)


def from_content(content, source):
    """The parameters in the content of such a file; `source` is its name in messages."""
    common, own = [], []
    for key, value in mapping(content, source).items():
        if re.fullmatch(r"\d\d?", str(key)):
            section = f"{source}, section {key}"
            own += [GivenParameter(str(key).zfill(2), str(n), v, section) for n, v in mapping(value, section).items()]
        else:
            common.append(GivenParameter("", str(key), value, source))
    return common + own  # what is given for one notebook wins


def read_yaml(file, what):
    """The content of a YAML file; `what` is its description in messages.

    Raises
    ------
    MissingError, SettingError
        No such file; not YAML.
    """
    if not Path(file).is_file():
        raise MissingError(f"{what} {file} is not there.")
    try:
        return _parsed(Path(file).read_text(encoding="utf-8-sig"), file)
    except UnicodeDecodeError as error:
        raise SettingError(f"{file} is not UTF-8 ({error}). Save it with that encoding.") from error


def _parsed(text, source):
    try:
        return yaml.load(text, Loader)
    except (yaml.YAMLError, ValueError) as error:
        raise SettingError(f"{source} is not YAML: {' '.join(str(error).split())}") from error


def mapping(content, source):
    """`content`, which has to be lines of the form name: value.

    Raises
    ------
    SettingError
    """
    if not isinstance(content or {}, dict):
        raise SettingError(f"{source} holds {content!r}, not lines of the form name: value.")
    return content or {}


# ---- checking ----


def assign(steps, given):
    """Put each given parameter into the steps that have it, later ones over earlier ones.

    A parameter for a notebook that exists but is not run now is skipped.

    Raises
    ------
    SettingError
        No step has the parameter; a value of a wrong type or out of range.
    """
    siblings = {path.name[:2] for path in ordered(steps[0].notebook.parent)}
    for each in given:
        chosen = [step for step in steps if each.number in ("", step.number)]
        takers = [step for step in chosen if each.name in step.valid]
        if not takers and (chosen or each.number not in siblings):
            raise SettingError(_unknown(each, chosen))
        for step in takers:
            kind = declaration(step.number, each.name)
            if kind is not None:
                settings.check_value(each.name, kind, each.value, f"{each.source}: ")
            step.parameters[each.name] = resolved(each.name, each.value)


def declaration(number, name):
    """The type, range and meaning of a notebook's parameter, from the settings of its stage; None where undeclared."""
    if name in PATHS:
        return settings.optional(settings.text("a path"), "the default")
    for path, prefix in DECLARATIONS.get(number, ()):
        package, _, declared = path.partition(".")
        model = getattr(importlib.import_module(f"muscomp_lib.{package}"), declared)
        key = name.removeprefix(prefix)
        if name.startswith(prefix) and key in settings.fields(model):
            return settings.field(model, key)
    return None


def resolved(name, value):
    """`value`, made absolute when `name` is a path."""
    return str(Path(value).expanduser().resolve()) if name in PATHS and value else value


def _unknown(given, chosen):
    if not chosen:
        return f"{given.source}: there is no notebook {given.number!r}."
    valid = dict.fromkeys(name for step in chosen for name in step.valid)
    where = chosen[0].notebook.name if len(chosen) == 1 else "any notebook"
    meant = settings.suggestion(given.name, valid)
    return f"{given.source}: there is no parameter {given.name!r} in {where}. {meant}"
