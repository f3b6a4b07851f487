"""The form of the notebooks: what a student can rely on in each, and what papermill and Colab need."""

import ast
import re
from pathlib import Path

import nbformat
import papermill
import pytest

import muscomp_lib
from muscomp_lib import composers, export, separation
from muscomp_lib.core.errors import MissingError

PROJECT = Path(__file__).parents[2]
PATHS = sorted((PROJECT / "notebooks").glob("*.ipynb"))
LONGEST_DEFINITION = 5  # lines: what is longer belongs in the library
FORM_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}  # of Colab's fields; "raw": any literal
MOST_CODE_AT_ONCE = 3  # code cells between two pieces of prose

every_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def code_of(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def prose_of(notebook):
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def parsed(cell):
    """The syntax tree of a code cell, its IPython magics left out."""
    return ast.parse(re.sub(r"^(\s*)%.*", r"\1pass", cell.source, flags=re.MULTILINE))


def parameters_cell(notebook):
    found = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert len(found) == 1
    return found[0]


def test_the_notebooks_are_numbered_in_order():
    assert [path.name[:3] for path in PATHS] == ["01_", "02_", "03_", "04_", "05_", "06_", "07_", "08_"]


@every_notebook
def test_it_is_valid_and_carries_nothing_of_a_run(path):
    notebook = read(path)
    nbformat.validate(notebook)
    assert notebook.nbformat_minor >= 5
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3" and notebook.metadata.language_info.name == "python"
    for cell in code_of(notebook):
        assert not cell.outputs and cell.execution_count is None


@every_notebook
def test_it_has_one_title_and_says_what_is_learnt(path):
    notebook = read(path)
    assert notebook.cells[0].source.startswith("# ")
    assert len(re.findall(r"^# ", prose_of(notebook), flags=re.MULTILINE)) == 1
    assert "What you will learn" in prose_of(notebook)


@every_notebook
def test_its_parameters_are_literals_for_papermill_and_colabs_form(path):
    cell = parameters_cell(read(path))
    assert re.match(r"# ?@title Parameters\n", cell.source)
    names = []
    for line in cell.source.splitlines()[1:]:
        (statement,) = ast.parse(line).body
        names.append(statement.targets[0].id)
        field, _, comment = line.partition("  # @param ")[2].partition(" # ")
        assert comment, f"{names[-1]} has no comment"
        value = ast.literal_eval(statement.value)
        if field.startswith("["):
            assert value in ast.literal_eval(field)
        else:
            assert field == f'{{type:"{FORM_TYPES.get(type(value), "raw")}"}}'
    assert names[0] == "root"
    assert list(papermill.inspect_notebook(path)) == names


@every_notebook
def test_its_setup_cell_is_that_of_all_others(path):
    assert code_of(read(path))[0].source == code_of(read(PATHS[0]))[0].source


@every_notebook
def test_prose_leads_to_the_code(path):
    in_a_row = 0
    for cell in read(path).cells:
        in_a_row = in_a_row + 1 if cell.cell_type == "code" else 0
        assert in_a_row <= MOST_CODE_AT_ONCE, cell.source


@every_notebook
def test_it_defines_no_long_function(path):
    for cell in code_of(read(path)):
        for node in ast.walk(parsed(cell)):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                assert node.end_lineno - node.lineno < LONGEST_DEFINITION, node.name


@every_notebook
def test_it_ends_with_a_summary_and_names_the_next_notebook(path):
    last = ast.unparse(parsed(code_of(read(path))[-1]))
    assert last.startswith("summary.finish(")
    following = PATHS[PATHS.index(path) + 1 :]
    if following:
        assert f"next_notebook='{following[0].name}'" in last
    else:
        assert ".ipynb" not in last


@every_notebook
def test_the_modules_and_files_it_names_exist(path):
    notebook = read(path)
    names = set(re.findall(r"muscomp_lib/(\w+)\.(?:py|yaml)", prose_of(notebook)))
    for cell in code_of(notebook):
        for node in ast.walk(parsed(cell)):
            if isinstance(node, ast.ImportFrom) and node.module == "muscomp_lib":
                names |= {alias.name for alias in node.names}
    present = {file.stem for file in (PROJECT / "muscomp_lib").iterdir()} | set(muscomp_lib.__all__)
    assert names and names <= present
    assert set(re.findall(r"\b\w+\.ipynb", prose_of(notebook))) <= {other.name for other in PATHS}


@pytest.mark.parametrize(
    ("number", "settings"),
    [("05", separation.Settings), ("07", export.Settings), ("08", composers.Settings)],
)
def test_the_parameters_are_the_settings_with_their_defaults(number, settings):
    (path,) = (path for path in PATHS if path.name.startswith(number))
    found = {line.targets[0].id: ast.literal_eval(line.value) for line in parsed(parameters_cell(read(path))).body}
    assert found.pop("root") is None
    assert found == settings().model_dump() and list(found) == list(settings.model_fields)


@pytest.mark.parametrize(("number", "name"), [(6, "query"), (6, "song"), (8, "song")])
def test_files_of_ones_own_are_opened_before_the_training(tmp_path, number, name):
    _, imports, parameters, settings = (cell.source for cell in code_of(read(PATHS[number - 1]))[:4])
    given = f"root, {name} = {str(tmp_path)!r}, 'none.mid'"
    with pytest.raises(MissingError, match=r"none\.mid is not there"):
        exec("\n".join([imports, parameters, given, settings]), {})
