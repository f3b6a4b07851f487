"""The parameters of headless runs: read from the command line and from files, checked, and given to the notebooks.

papermill only logs a warning for a parameter that a notebook does not have, and runs with the default. Here it is
refused before anything starts.
"""

import ast
import contextlib
import difflib
import re
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import papermill
import yaml

from muscomp_lib.core.errors import MissingError, SettingError

PATHS = ("root", "song", "out", "musdb")  # parameters that are paths: taken literally, relative to the caller's folder


class Loader(yaml.SafeLoader):
    """YAML that reads 1e-4 as a number, as YAML 1.2 does; PyYAML would want 1.0e-4."""


Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?\d+[eE][-+]?\d+$"), list("-+0123456789"))


@dataclass
class Step:
    """One notebook to run.

    Attributes
    ----------
    notebook : Path
    name : str
        What the executed copy is called.
    valid : tuple of str
        The names in the notebook's `parameters` cell.
    parameters : dict
        What is set, by name; the notebook's own defaults stand for the rest.
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
class Given:
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
    """The defaults of a notebook's parameters, by name, as far as they are plain values."""
    found = {}
    for name, entry in papermill.inspect_notebook(escaped(notebook)).items():
        with contextlib.suppress(ValueError, SyntaxError):
            found[name] = ast.literal_eval(entry["default"])
    return found


def escaped(path):
    """`path` for papermill, which would fill in {names} in it."""
    return str(path).replace("{", "{{").replace("}", "}}")


def ordered(folder):
    """The numbered notebooks of a folder, in order."""
    return sorted(folder.glob("[0-9][0-9]_*.ipynb"))


def from_option(name, text):
    """The parameter that `-p NAME VALUE` gives: VALUE in YAML, `05.NAME` for one notebook."""
    number, _, bare = name.rpartition(".")
    value = text if bare in PATHS and text != "null" else _parsed(text, f"-p {name}")
    return Given(number.zfill(2) if number else "", bare, value, f"-p {name}")


def from_file(file):
    """The parameters that a file gives: `name: value` for all notebooks that have it, `"05": {name: value}` for one.

    Raises
    ------
    MissingError, SettingError
        No such file; not YAML, or not of this form.
    """
    return from_content(read_yaml(file, "The parameter file"), file)


def from_content(content, source):
    """The parameters that such a file's content gives; `source` is what a message calls it."""
    common, own = [], []
    for key, value in mapping(content, source).items():
        if re.fullmatch(r"\d\d?", str(key)):
            section = f"{source}, section {key}"
            own += [Given(str(key).zfill(2), str(n), v, section) for n, v in mapping(value, section).items()]
        else:
            common.append(Given("", str(key), value, source))
    return common + own  # what is given for one notebook wins


def read_yaml(file, what):
    """The content of a YAML file; `what` is what a message calls it.

    Raises
    ------
    MissingError, SettingError
        No such file; not YAML.
    """
    if not Path(file).is_file():
        raise MissingError(f"{what} {file} is not there.")
    return _parsed(Path(file).read_text(encoding="utf-8"), file)


def _parsed(text, source):
    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
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


def assign(steps, givens):
    """Put each given parameter into the steps that take it, later ones over earlier ones.

    What is given for a notebook that is there but not run now is passed over.

    Raises
    ------
    SettingError
        When no step takes it.
    """
    siblings = {path.name[:2] for path in ordered(steps[0].notebook.parent)}
    for given in givens:
        chosen = [step for step in steps if given.number in ("", step.number)]
        takers = [step for step in chosen if given.name in step.valid]
        if not takers and (chosen or given.number not in siblings):
            raise SettingError(_unknown(given, chosen))
        for step in takers:
            step.parameters[given.name] = resolved(given.name, given.value)


def resolved(name, value):
    """`value`, made absolute when `name` is a path."""
    return str(Path(str(value)).expanduser().resolve()) if name in PATHS and value else value


def _unknown(given, chosen):
    if not chosen:
        return f"{given.source}: there is no notebook {given.number!r}."
    valid = list(dict.fromkeys(name for step in chosen for name in step.valid))
    close = difflib.get_close_matches(given.name, valid)
    meant = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    where = chosen[0].notebook.name if len(chosen) == 1 else "any notebook"
    return (
        f"{given.source}: there is no parameter {given.name!r} in {where}.{meant} Valid: {', '.join(valid) or 'none'}."
    )
