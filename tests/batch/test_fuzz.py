"""Odd parameters, campaigns and sites: each is taken or refused by an error of the family, and runs no command."""

import functools
import os
import subprocess

import papermill
import pytest
from fixtures import tiny_campaign
from fixtures.tiny_campaign import PROJECT
from hypothesis import given, settings
from hypothesis import strategies as st

from batch import notebook_parameters
from batch.campaign import job_scripts, transfer
from batch.campaign.campaign import CampaignFile, Files
from batch.campaign.sites import Request, Site
from batch.notebook_parameters import assign, from_file, from_option, ordered, step_of
from batch.submit import load
from muscomp_lib.core.errors import MusCompError

SETTINGS = {"derandomize": True, "deadline": None}
FACTOR = int(os.environ.get("MUSCOMP_FUZZ", "1"))
ODD = ["", "~", "None", "on", "nan", ".nan", ".inf", "1e400", "9" * 5000, "007", "0:30", "20,000", "1_000", "-1", "0"]
ODD += ["2024-13-45", "[a, b]", "{a: 1}", "[[[[]]]]", "*x", "&x [*x]", "'a\n\nb'", '"a\\nb"', '"\\0"', "!!set {a}"]
ODD += ["../../x", "~nobody/x", "$(touch pwned)", "`touch pwned`", "'\"; touch pwned; \"'", "-x", "%j", "a\\b", "$HOME"]
VALUES = st.sampled_from(ODD) | st.text(max_size=20) | st.floats().map(str) | st.integers().map(str)
CAMPAIGN_KEYS = [declared.alias or key for key, declared in CampaignFile.model_fields.items()]
CAMPAIGN_KEYS += [f"files.{declared.alias or key}" for key, declared in Files.model_fields.items()]
CAMPAIGN_KEYS += [f"stages.{stage}.{key}" for stage in ("shards", "train") for key in Request.model_fields]
STAGES = ("index", "shards", "join", "tables", "train", "songs", "report")
SITE_KEYS = [*Site.model_fields, "transfer.host", "transfer.globus", "partitions.RM.cores", "stages.index.cores"]


def _bytes(text):
    return text.encode("utf-8", "surrogatepass")


def _nested(key, value):
    """Lines of YAML that give a key such as files.to, its value as it is."""
    *above, last = key.split(".")
    lines = [f"{'  ' * depth}{part}:" for depth, part in enumerate(above)]
    return "\n".join([*lines, f"{'  ' * len(above)}{last}: {value}", ""])


@pytest.fixture(scope="module", autouse=True)
def inspected_once():
    """Inspecting a notebook takes longer than everything else."""
    inspect = papermill.inspect_notebook
    notebook_parameters.papermill.inspect_notebook = functools.cache(inspect)
    yield
    notebook_parameters.papermill.inspect_notebook = inspect


@pytest.fixture(scope="module")
def campaign_file(tmp_path_factory):
    return tiny_campaign.write(tmp_path_factory.mktemp("odd") / "work")


@settings(**SETTINGS, max_examples=150 * FACTOR)
@given(data=st.data(), value=VALUES)
def test_any_value_of_a_parameter_is_taken_or_refused(data, value):
    step = step_of(data.draw(st.sampled_from(ordered(PROJECT / "notebooks")[:5])))
    name = data.draw(st.sampled_from(step.valid))
    try:
        assign([step], [from_option(name, value)])
    except MusCompError:
        return
    kind = notebook_parameters.declaration(step.number, name)
    assert kind is not None and name in step.parameters


@settings(**SETTINGS, max_examples=200 * FACTOR)
@given(content=st.binary(max_size=60) | st.lists(VALUES, max_size=8).map(lambda parts: _bytes("\n".join(parts))))
def test_a_parameter_file_of_any_bytes_is_read_or_refused(campaign_file, content):
    file = campaign_file.with_name("given.yaml")
    file.write_bytes(content)
    try:
        found = from_file(file)
    except MusCompError:
        return
    assert all(isinstance(each.name, str) for each in found)


@settings(**SETTINGS, max_examples=200 * FACTOR)
@given(key=st.sampled_from(CAMPAIGN_KEYS), value=VALUES)
def test_no_value_of_a_campaign_runs_a_command(campaign_file, key, value):
    given = "" if key == "site" else "site: bridges2\nroot: root\n"
    _check(campaign_file, f"name: tiny\nnotebooks: notebooks\n{given if key != 'root' else given[:15]}", key, value)


@settings(**SETTINGS, max_examples=100 * FACTOR)
@given(key=st.sampled_from(SITE_KEYS), value=VALUES)
def test_no_value_of_a_site_runs_a_command(campaign_file, key, value):
    site = "" if key == "scheduler" else "scheduler: slurm\n"
    site += "" if key.startswith("partitions") else "partitions: {RM: {cores: 8}}\n"
    of_all = "{partition: RM, cores: 1}"
    site += "" if key.startswith("stages") else f"stages: {{{', '.join(f'{each}: {of_all}' for each in STAGES)}}}\n"
    campaign_file.with_name("far.yaml").write_bytes(_bytes(site + _nested(key, value)))
    _check(campaign_file, "notebooks: notebooks\nsite: far.yaml\nroot: root\n", "budget", "1")


def _check(file, text, key, value):
    """Read a campaign; where it is taken, its scripts are bash, and each option of sbatch is there once."""
    text = "".join(line for line in text.splitlines(keepends=True) if not line.startswith(f"{key}:"))
    file.write_bytes(_bytes(text + _nested(key, value)))
    before = sorted(file.parent.parent.rglob("*"))
    try:
        campaign, _ = load(file)
        scripts = [*job_scripts.all_of(campaign).values()]
        if campaign.files.source or campaign.files.results:
            scripts.append("\n".join(transfer.script(campaign)))
    except MusCompError:
        return
    for script in scripts:
        options = [line.partition("=")[0] for line in script.splitlines() if line.startswith("#SBATCH")]
        assert len(options) == len(set(options)) and not any("pwned" in option for option in options)
        head = script.partition("mkdir -p")[0] if "run.py" in script else ""
        code = f"module() {{ :; }}\n{head}\nexit"
        subprocess.run(["bash", "-n", "-c", script, "x", "1"], check=True, capture_output=True)
        subprocess.run(["bash", "-c", code, "x", "1"], cwd=file.parent, check=False, capture_output=True)
    assert sorted(file.parent.parent.rglob("*")) == before
