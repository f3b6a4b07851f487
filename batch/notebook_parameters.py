"""The parameters of headless runs: read from the command line and from files, checked, and given to the notebooks.

papermill only logs a warning for a parameter that a notebook does not have, and checks no value. Here an unknown name,
a wrong type and a value out of range are refused before anything starts.
"""

import ast
import contextlib
import importlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import papermill

from muscomp_lib.core import names, settings, yaml_file
from muscomp_lib.core.errors import SettingError
from muscomp_lib.core.files import absolute

# Parameters that are paths: taken literally, but for a variable before them; relative to the caller's folder, or to
# that of a campaign's file.
PATHS = ("root", "query", "song", "out", "stems", "stem_names")
MODELS = ("model", "config", "start_from")  # parameters that are a name of ours, or a path ...
NAMES_OR_PATHS = (*MODELS, "corpus", "minislakh_soundfonts", "minislakh_midi")  # ... or several
NONE = ("null", "None")  # how an option says that there is no path
DECLARATIONS = {  # per notebook: the classes that declare its parameters, and the prefixes of their names there
    "01": {"slakh.Settings": ("",), "minislakh.Settings": ("minislakh_", "")},
    "02": {"reserve.Settings": ("",)},
    "03": {"tables.Settings": ("",)},
    "04": {"training.Parameters": ("",)},
    "05": {"separation.Settings": ("",)},
    "06": {"timbre.Parameters": ("",)},
    "07": {"export.Settings": ("",)},
    "08": {"composers.Settings": ("",)},
}


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
    """A parameter as the user gave it: for the notebook `number`, or ("") for all that have it.

    What a file gives is for whichever notebooks are run with the file: `in_file`. Paths are relative to `folder`.
    """

    number: str
    name: str
    value: object
    source: str
    in_file: bool = False
    folder: str | Path = "."


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
        raise SettingError(
            f"{notebook} is not a notebook that can be run ({error}). Open it in Jupyter, and save it."
        ) from error


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


def add_options(parser):
    """Declare the options `-p` and `-f`, which give parameters."""
    words = "a parameter, its value in YAML; 05.NAME sets it in notebook 05 only"
    each = {"action": "append", "default": []}
    parser.add_argument("-p", dest="set", nargs=2, metavar=("NAME", "VALUE"), help=words, **each)
    parser.add_argument("-f", dest="files", metavar="FILE", help="a YAML file of parameters", **each)


def from_options(args):
    """The parameters that these options give; those of `-p` are last, and win."""
    given = [each for file in args.files for each in from_file(file)]
    return given + [from_option(name, text) for name, text in args.set]


def from_option(name, text):
    """The parameter that `-p NAME VALUE` gives: VALUE in YAML, `05.NAME` for one notebook."""
    number, _, bare = name.rpartition(".")
    value = text if bare in PATHS and text not in NONE else yaml_file.parse(text, f"-p {name}")
    return GivenParameter(number.zfill(2) if number else "", bare, value, f"-p {name}")


def from_file(file):
    """The parameters in a file: `name: value` for all notebooks that have it, `"05": {name: value}` for one.

    Raises
    ------
    MissingError, SettingError
        No such file; not YAML, or not of this form.
    """
    return from_content(yaml_file.read(file, "The parameter file"), file)


def from_content(content, source, folder="."):
    """The parameters in the content of such a file; `source` is its name in messages, its paths are in `folder`."""
    common, own, sections = [], [], {}
    for key, value in mapping(content, source).items():
        if re.fullmatch(r"\d\d?", key, re.ASCII):
            section, twin = f"{source}, section {key}", sections.setdefault(key.zfill(2), key)
            if twin != key:
                raise SettingError(f"{source}: sections {twin} and {key} are of the same notebook. Make them one.")
            entries = mapping(value, section).items()
            own += [GivenParameter(key.zfill(2), name, each, section, True, folder) for name, each in entries]
        else:
            common.append(GivenParameter("", key, value, source, True, folder))
    return common + own  # what is given for one notebook wins


def mapping(content, source):
    """`content`, which has to be lines of the form name: value; a number as a name becomes a text.

    Raises
    ------
    SettingError
    """
    if content is not None and not isinstance(content, dict):
        raise SettingError(f"{source} holds {content!r}, not lines of the form name: value.")
    found = {}
    for key, value in (content or {}).items():
        if str(key) in found:
            raise SettingError(f"{source}: the key {key} is there twice, once in quotes. Remove one of them.")
        found[str(key)] = value
    return found


# ---- checking ----


def assign(steps, given):
    """Put each given parameter into the steps that have it, later ones over earlier ones.

    A parameter for a notebook that exists but is not run now is skipped, and so is one that a file gives to all.

    Raises
    ------
    SettingError
        No step has the parameter; a value of a wrong type or out of range, or that does not go with the others.
    """
    folder = steps[0].notebook.parent
    for each in given:
        chosen = [step for step in steps if each.number in ("", step.number)]
        takers = [step for step in chosen if each.name in step.valid]
        if not takers and not _is_for_others(each, chosen, folder):
            raise SettingError(_unknown(each, chosen))
        for step in takers:
            kind = declaration(step.number, each.name)
            if kind is not None:
                settings.check_value(each.name, kind, each.value, f"{each.source}: ")
            step.parameters[each.name] = resolved(each.name, each.value, f"{each.source}: ", each.folder)
    for step in steps:
        _check_together(step)


def _check_together(step):
    """Make the settings that the notebook will make, so that values that exclude each other are refused now."""
    values = defaults(step.notebook) | step.parameters
    for path, prefixes in DECLARATIONS.get(step.number, {}).items():
        given = {key: _name_of(key, prefixes, values) for key in settings.fields(_declared(path))}
        try:
            _declared(path)(**{key: values[name] for key, name in given.items() if name})
        except SettingError as error:
            raise SettingError(f"{step.notebook.name}: {error}") from error


def _name_of(key, prefixes, names):
    """What a setting is called among a notebook's parameters; None where it is not one of them."""
    return next((f"{prefix}{key}" for prefix in prefixes if f"{prefix}{key}" in names), None)


def _declared(path):
    """The class that a path such as "reserve.Settings" names."""
    package, _, name = path.partition(".")
    return getattr(importlib.import_module(f"muscomp_lib.{package}"), name)


def declaration(number, name):
    """The type, range and meaning of a notebook's parameter, from the settings of its stage; None where undeclared."""
    if name in PATHS and name != "song":
        return settings.optional(settings.text("a path"), "the default")
    for path, prefixes in DECLARATIONS.get(number, {}).items():
        for key in settings.fields(_declared(path)):
            if _name_of(key, prefixes, [name]):
                return settings.field(_declared(path), key)
    return None


def resolved(name, value, where="", folder="."):
    """`value`, made absolute when `name` is a path, or each of a list; SettingError where it cannot be one."""
    if isinstance(value, list):
        return [resolved(name, each, where, folder) for each in value]
    if not value or not (name in PATHS or _is_path_here(name, value, where, folder)):
        return value
    path = str(absolute(_expanded(name, str(value), where), where, folder))
    if not names.is_text(path):
        raise SettingError(f"{where}{name} = {path!a} is not possible: notebooks are UTF-8, and it is not. Rename it.")
    return path


def _is_path_here(name, value, where, folder):
    """Whether a name or a path is a path that is there; a model called by a single word is one of the root's."""
    if name not in NAMES_OR_PATHS or not isinstance(value, str) or (name in MODELS and not re.search(r"[/.~$]", value)):
        return False
    return absolute(_expanded(name, value, where), where, folder).exists()


def _expanded(name, path, where):
    """A path with the value of the variable that it begins with: shells expand `$PROJECT/root`, files do not."""
    expanded = os.path.expandvars(path) if path.startswith("$") else path
    if expanded.startswith("$"):
        raise SettingError(
            f"{where}{name} = {path!r} begins with a variable that is not set here. Set it, or write the path out."
        )
    return expanded


def _is_for_others(given, chosen, folder):
    """Whether a parameter that no notebook of those chosen takes is for others in their folder."""
    if given.number:
        return not chosen and any(path.name.startswith(given.number) for path in ordered(folder))
    return given.in_file and bool(_owners(given.name, folder))


def _unknown(given, chosen):
    if not chosen:
        return f"{given.source}: there is no notebook {given.number!r}."
    valid = dict.fromkeys(name for step in chosen for name in step.valid)
    where = chosen[0].notebook.name if len(chosen) == 1 else "any notebook"
    if not valid:
        return f"{given.source}: {where} takes no parameters. Give the cell that sets them the tag 'parameters'."
    owners = _owners(given.name, chosen[0].notebook.parent)
    meant = f"It is one of {' and '.join(owners)}." if owners else settings.suggestion(given.name, valid)
    return f"{given.source}: there is no parameter {given.name!r} in {where}. {meant}"


def _owners(name, folder):
    """The numbers of a folder's notebooks that have a parameter."""
    return [step.number for step in map(step_of, ordered(folder)) if name in step.valid]
