"""batch/submit.py without a cluster: what it refuses, what it would submit and what that costs; a run without Slurm."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import yaml
from fixtures import tiny_campaign
from fixtures.needs import require
from fixtures.tiny_campaign import PROJECT, submit

from batch import check_node
from batch import submit as command
from batch.campaign import cost_estimate, job_scripts, slurm, status
from batch.campaign.campaign import read_campaign, write_campaign
from batch.campaign.sites import Request
from batch.notebook_parameters import from_file
from muscomp_lib.core.errors import MissingError, MusCompError, SettingError
from muscomp_lib.core.root import open_root

SITES = PROJECT / "batch" / "campaign" / "sites"


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """Read and check a campaign with what is given: (campaign, estimates)."""
    monkeypatch.delenv("MUSCOMP_ROOT", raising=False)

    def read(**given):
        stages = {"shards": {"jobs": 8}} if given.get("site", "bridges2") == "bridges2" else {}
        given = {"site": "bridges2", **given, "stages": {**stages, **given.get("stages", {})}}
        return command.load(tiny_campaign.write(tmp_path, **given))

    return read


def stage(campaign, name):
    return next(each for each in campaign.stages if each.name == name)


@pytest.mark.parametrize(
    ("name", "asked", "limit"),
    [
        ("train", {"hours": 49}, "49 hours requested, and bridges2 allows 48"),
        ("index", {"hours": 73}, "73 hours requested, and bridges2 allows 72"),
        ("train", {"gpus": "h100-80:5"}, "5 GPUs requested, and bridges2 allows 4"),
        ("train", {"partition": "GPU", "gpus": "h100-80:16"}, "16 GPUs requested, and bridges2 allows 8"),
        ("train", {"partition": "GPU", "gpus": "h100-80:4"}, "whole nodes of 8"),
        ("train", {"gpus": "a100:1"}, "no GPU type 'a100'"),
        ("train", {"partition": "RM-shared"}, "has no GPUs"),
        ("index", {"partition": "GPU-shared"}, "needs gpus"),
        ("index", {"cores": 65}, "65 cores requested, and bridges2 allows 64"),
        ("index", {"cores": 4, "memory_gb": 8.1}, "8100 MB of memory requested, and bridges2 allows 8000"),
        ("train", {"gpus": "v100-32:1", "memory_gb": 600}, "600000 MB of memory requested, and bridges2 allows 512000"),
        ("shards", {"jobs": 1001}, "1001 jobs in one array requested, and bridges2 allows 1000"),
        ("index", {"partition": "RM_shared"}, "Did you mean 'RM-shared'"),
        ("train", {"partition": "RM", "gpus": None, "nodes": 65}, "65 nodes requested, and bridges2 allows 64"),
        ("train", {"nodes": 2}, "2 nodes requested, and bridges2 allows 1"),
        ("train", {"partition": "GPU", "gpus": "h100-80:4", "nodes": 2}, "whole nodes of 8"),
        ("index", {"partition": "RM", "nodes": 2}, "only the stage train can use several nodes, not 2"),
        ("train", {"nodes": 0}, "nodes = 0 is not possible. It must be a whole number from 1"),
    ],
)
def test_a_request_past_a_limit_is_refused_with_that_limit(prepared, name, asked, limit):
    with pytest.raises(SettingError, match=limit) as refused:
        prepared(stages={name: asked})
    assert f"stages, {name}" in str(refused.value)


def test_without_a_scheduler_there_is_one_node(prepared):
    with pytest.raises(SettingError, match="2 nodes requested, and local is one machine"):
        prepared(site="local", stages={"train": {"nodes": 2}})


def test_a_campaign_that_would_restart_at_every_requeue_is_refused(prepared):
    with pytest.raises(SettingError, match="fresh would discard the training so far whenever a job is requeued"):
        prepared(parameters={"04": {"fresh": True}}, notebooks=None)
    prepared(parameters={"04": {"fresh": False}}, notebooks=None)


def test_gpus_and_nodes_that_cannot_share_a_batch_are_refused(prepared):
    nodes = {"stages": {"train": {"partition": "RM", "gpus": None, "nodes": 2}}, "notebooks": None}
    for asked in (nodes, {**nodes, "stages": {"train": {"gpus": "h100-80:2"}}}):
        with pytest.raises(SettingError, match="batch_size = 4 cannot be divided among 2"):
            prepared(**asked)
        prepared(**asked, parameters={"03": {"batch_size": 16}})
        prepared(**asked, parameters={"04": {"config": "made-by-hand"}})
    with pytest.raises(SettingError, match="the real Spleeter trains on one node, not 2"):
        prepared(**nodes, parameters={"04": {"engine": "spleeter"}})


def test_requests_at_the_limits_are_accepted(prepared):
    asked = {
        "index": {"cores": 64, "hours": 72, "memory_gb": 128},
        "shards": {"jobs": 1000},
        "train": {"partition": "GPU", "gpus": "h100-80:8", "hours": 48},
    }
    campaign, _ = prepared(stages=asked)
    assert stage(campaign, "train").request.n_gpus == 8


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"buget": 3}, "Did you mean 'budget'"),
        ({"budget": "much"}, "budget = 'much' is not possible"),
        ({"name": "two words"}, "name = 'two words' is not possible"),
        ({"site": "bridges3"}, "There is no site 'bridges3'"),
        ({"root": "$MUSCOMP_NOWHERE/root"}, "names a variable that is not set"),
        ({"stages": {"trian": {}}}, "Did you mean 'train'"),
        ({"site": "local", "stages": {"shards": 8}}, "stages, shards holds 8, not lines of the form name: value"),
        ({"stages": {"train": {"gpu": 1}}}, "Did you mean 'gpus'"),
        ({"stages": {"train": {"gpus": 2}}}, "It must be type:number"),
        (
            {"stages": {"train": {"hours": "1:00"}}},
            "'1:00' is not possible. It must be a number of hours, such as 1.5",
        ),
        ({"stages": {"tables": {"jobs": 2}}}, "only the stage shards can have several jobs, not 2"),
        ({"parameters": {"03": {"train_steps": 3}}}, "train_max_steps"),
        ({"parameters": {"shard": "1/2"}}, "jobs of the stage shards"),
        ({"songs": "nowhere.wav"}, "is not there"),
        ({"notebooks": "."}, "has no notebook 01, 02, 03, 04, 05"),
        ({"account": ["a", "b"]}, "account = .* is not possible. It must be a text of letters"),
        ({"account": "a\n#SBATCH --mail-type=ALL"}, "account = .* is not possible"),
        ({"root": "a\n#SBATCH --nodes=9"}, "root = .* is not possible. It must be a text on a single line"),
        ({"budget": float("nan")}, "budget = nan is not possible"),
        ({"files": {"user": "me\nrm"}}, "files.user = .* is not possible"),
        ({"parameters": {"03": {"name": 7}}}, "section 03: name = 7 is not possible"),
        ({"account": 123456}, r"account = 123456 .* \(digits alone in quotes\)"),
        ({"name": "x" * 101}, "name = 'xxx.* is not possible"),
        ({"root": "a\\b"}, "Slurm's logs cannot have"),
        ({"songs": "~nobody-of-this-name/a.wav"}, "is not a possible path"),
        ({"files": {"from": "-oProxyCommand=x:/y"}}, "files.from = .* does not begin with -"),
        ({"site": "local", "stages": {"shards": {"jobs": 10**9}}}, "jobs = 1000000000 is not possible"),
        ({"parameters": {"T": 64}, "notebooks": None}, "crop_frames = 128 is not possible. It must be at most T = 64"),
    ],
)
def test_an_error_in_the_file_is_reported_before_anything_starts(prepared, tmp_path, given, message):
    with pytest.raises((SettingError, MissingError), match=message):
        prepared(**given)
    assert not (tmp_path / "root").exists()


def test_dry_run_prints_scripts_and_estimate_and_writes_nothing(tmp_path):
    file = tiny_campaign.write(tmp_path, site="bridges2", account="abc", songs=None, stages={"shards": {"jobs": 8}})
    assert "#SBATCH" not in submit(file, "--dry-run")
    printed = submit(file, "--dry-run", "--scripts")
    assert printed.startswith("stage ")  # the estimate first
    for line in ("#SBATCH --array=1-8", "#SBATCH --gpus=h100-80:1", "#SBATCH --account=abc", "module load", "in all"):
        assert line in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["campaign.yaml", "notebooks"]


def test_a_percent_sign_in_the_root_is_not_slurms(prepared):
    campaign, _ = prepared(root="50%j off")
    for text in job_scripts.all_of(campaign).values():
        output = next(line for line in text.splitlines() if "--output" in line)
        assert "/50%%j off/runs/tiny/logs/" in output and "50%%j" not in text.replace(output, "")


def test_quotes_and_hashes_in_the_root_stay_in_its_path(prepared):
    campaign, _ = prepared(root='a "b # c')
    assert '/a \\"b # c/runs/tiny/logs/index-%j.log"\n' in job_scripts.job(campaign, campaign.stages[0])


@pytest.mark.parametrize(
    "change",
    [
        {"temporary": '"; touch pwned; "'},
        {"cache": "$(touch pwned)`touch pwned`${x:-$(touch pwned)}"},
        {"launcher": "true; touch pwned;"},
        {"modules": ["a; touch pwned", "$(touch pwned)"]},
    ],
)
def test_nothing_in_a_sites_file_runs_but_its_launcher(tmp_path, change):
    (tmp_path / "far.yaml").write_text(yaml.safe_dump({"scheduler": "none", **change}))
    campaign = read_campaign(tiny_campaign.write(tmp_path, site="far.yaml"))
    text = job_scripts.job(campaign, campaign.stages[0]).partition("mkdir -p")[0] + "exit"
    subprocess.run(["bash", "-c", f"module() {{ :; }}\n{text}"], cwd=tmp_path, check=False)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    "change",
    [{"transfer": {"host": "a\nb"}}, {"launcher": "a\nb"}, {"launcher": "a 'b"}, {"cache": "a\nb"}, {"unit": "a\nb"}],
)
def test_a_sites_values_are_checked_too(tmp_path, change):
    (tmp_path / "far.yaml").write_text(yaml.safe_dump({"scheduler": "none", **change}))
    with pytest.raises(SettingError, match=r"far\.yaml: .* is not possible"):
        read_campaign(tiny_campaign.write(tmp_path, site="far.yaml"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("account: a\naccount: b", "the key 'account' is there twice, in lines"),
        ("stages: {train: {hours: 1}, train: {hours: 2}}", "the key 'train' is there twice"),
        ("parameters: &a {x: *a}", "repeats what is not complete"),
        ("1: x", "there is no setting '1'"),
        ("stages: [train]", r"stages = .* is not possible. It must be a section of keys and values"),
        (f"songs: {'[' * 20000}", "this is not YAML"),
        (f"budget: 1{'0' * 400}", "a number has 401 digits"),
    ],
)
def test_yaml_that_cannot_be_is_refused(tmp_path, text, message):
    file = tiny_campaign.write(tmp_path)
    file.write_text(f"{file.read_text()}{text}\n")
    with pytest.raises(SettingError, match=message):
        read_campaign(file)


NAMES = [*(f"b{sign}c.wav" for sign in "\n\r\u2028\x85"), "a.wav", "back\\n.wav", os.fsdecode(b"Beyonc\xe9.wav")]


def test_a_line_break_in_a_name_is_no_second_song(prepared, tmp_path, caplog):
    (tmp_path / "songs").mkdir()
    for name in NAMES:
        soundfile.write(tmp_path / "songs" / "x", np.zeros(8), 8000, format="WAV")
        (tmp_path / "songs" / "x").rename(tmp_path / "songs" / name)
    campaign, _ = prepared(site="local", songs="songs")
    write_campaign(campaign, job_scripts.all_of(campaign))
    again, _ = prepared(site="local", songs="songs")
    assert again.songs == campaign.songs and {song.name for song in again.songs} == set(NAMES[:-1])
    assert "Beyonc\\udce9.wav is left out: notebooks are UTF-8" in caplog.text
    (given,) = from_file(again.folder / "song_lists" / "1.yaml")
    assert given.value == list(map(str, again.songs))


def test_an_account_with_a_leading_zero_keeps_it(prepared, tmp_path):
    prepared()
    file = tmp_path / "campaign.yaml"
    file.write_text(file.read_text() + "account: 0123456\n")
    campaign, _ = command.load(file)
    assert "#SBATCH --account=0123456\n" in job_scripts.job(campaign, campaign.stages[0])


def test_every_script_is_bash_in_the_order_of_stages(prepared, tmp_path):
    campaign, _ = prepared(root="a root's folder")
    texts = job_scripts.all_of(campaign)
    assert list(texts) == [
        "1_index.sh",
        "2_shards.sh",
        "3_join.sh",
        "4_tables.sh",
        "5_train.sh",
        "6_songs.sh",
        "7_report.sh",
    ]
    for text in texts.values():
        subprocess.run(["bash", "-n"], input=text, text=True, check=True)
        head = text.splitlines()
        first = next(i for i, line in enumerate(head) if not line.startswith("#"))
        assert not any(line.startswith("#SBATCH") for line in head[first:])  # sbatch stops reading there


def load_modules(campaign, loaded):
    """The beginning of a job's script where `module load` loads nothing, and says that all is well."""
    text = job_scripts.job(campaign, campaign.stages[0]).partition("log_time()")[0]
    environment = {**os.environ, "LOADEDMODULES": loaded}
    done = subprocess.run(
        ["bash", "-c", f"module() {{ :; }}\n{text}echo begun"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_module_that_is_not_there_stops_the_job(prepared):
    campaign, _ = prepared()
    assert load_modules(campaign, "gcc/13:anaconda3/2024.10-1")[0] == 0
    status, printed = load_modules(campaign, "gcc/13:anaconda3/2024.10")
    assert status == 1 and "The module anaconda3/2024.10-1 cannot be loaded" in printed and "begun" not in printed
    assert printed.startswith("==== 20") and "job none, run 1" in printed.splitlines()[0]


def test_further_options_go_to_sbatch_and_gpus_to_the_notebook(prepared):
    campaign, _ = prepared(stages={"train": {"sbatch": ["--mail-type=END", "--exclude=gpu1"]}})
    train = job_scripts.job(campaign, stage(campaign, "train"))
    assert "#SBATCH --mail-type=END\n#SBATCH --exclude=gpu1\n" in train and "--gpus 1 --out" in train
    charged = ("--time=9", "--tim 9", "--gres=gpu:8", "--mem-per-c=1", "--mail-type=END --nodes=9", "--requeue -N9")
    charged += ("--exclusive", "--exclusive=user", "--exclu", "--mincpus=64", "--threads-per-core=1")
    for option in (*charged, "--array=1-3", "mail", "--output x", "--comment=a\nb", "--comment='a"):
        with pytest.raises(SettingError, match=r"sbatch.* is not possible. It must be a list of options of sbatch"):
            prepared(stages={"train": {"sbatch": [option]}})


def test_a_job_copies_what_it_reads_to_the_nodes_disk(tmp_path):
    require(shutil.which("bash"), "job scripts need bash")
    (tmp_path / "far.yaml").write_text(yaml.safe_dump({"scheduler": "none", "cache": "$LOCAL"}))
    campaign = read_campaign(tiny_campaign.write(tmp_path, site="far.yaml"))
    text = job_scripts.job(campaign, campaign.stages[0])
    text = text.replace("trap requeue", 'mkdir "$MUSCOMP_CACHE"; touch "$MUSCOMP_CACHE/copy"; leave 0\ntrap requeue')
    (tmp_path / "disk").mkdir()
    (tmp_path / "root/runs/tiny/index").mkdir(parents=True)
    given = {"env": {**os.environ, "LOCAL": str(tmp_path / "disk")}, "capture_output": True, "text": True}
    printed = subprocess.run(["bash", "-c", text], **given, check=True).stdout
    assert f"Copied to {tmp_path}/disk/muscomp_cache: 1 files" in printed


def test_only_a_stage_on_several_nodes_starts_tasks_with_srun(prepared):
    asked = {"partition": "GPU", "gpus": "h100-80:8", "nodes": 3}
    parameters = {"03": {"batch_size": 96}}
    campaign, _ = prepared(stages={"train": asked}, parameters=parameters, notebooks=None)
    texts = job_scripts.all_of(campaign)
    assert [name for name, text in texts.items() if "srun" in text or "worker.py" in text] == ["5_train.sh"]
    train = texts["5_train.sh"]
    subprocess.run(["bash", "-n"], input=train, text=True, check=True)
    for line in ("#SBATCH --nodes=3", "#SBATCH --ntasks-per-node=1", "#SBATCH --gpus=h100-80:24"):
        assert f"{line}\n" in train
    assert "--ntasks=" not in train
    assert "srun --nodes=3 --ntasks-per-node=1 " in train and "--kill-on-bad-exit=1" in train
    assert "--export=ALL" in train, "else the tasks of a job with --export=NONE have no PYTHONPATH"
    assert train.index("worker.py") < train.index("run.py") and train.count(' --out "$out" &\n') == 2  # one writer


def test_each_notebook_uses_what_the_one_before_it_made(prepared):
    campaign, _ = prepared(parameters={"03": {"name": "mine"}})
    assert campaign.parameters["04"]["config"] == campaign.parameters["05"]["model"] == "mine"
    campaign, _ = prepared(parameters={"05": {"model": "shipped"}})
    assert campaign.parameters["04"]["config"] == "net"
    assert campaign.parameters["05"]["model"] == "shipped"


def test_what_writes_no_songs_is_not_shared_out(prepared):
    for given in ({"parameters": {"virtual": True}}, {"stages": {"shards": {"jobs": 1}}}):
        campaign, estimates = prepared(**given)
        assert [each.name for each in campaign.stages] == ["index", "join", "tables", "train", "songs"]
        assert estimates[1].per_unit == cost_estimate.DEFAULTS["stages"]["shards"]["seconds"]


def test_costs_follow_the_sites_rules(prepared):
    campaign, estimates = prepared(
        stages={
            "index": {"partition": "RM"},
            "tables": {"cores": 4},
            "train": {"partition": "GPU", "gpus": "h100-80:8"},
            "shards": {"jobs": 3, "cores": 2, "hours": 2, "requeues": 0},
        }
    )
    hour = {each.stage.name: each.cost * 3600 / each.seconds for each in estimates}
    assert hour["index"] == pytest.approx(128)  # a whole node, however many cores work
    assert hour["tables"] == pytest.approx(4)
    assert hour["train"] == pytest.approx(16)  # 8 GPUs at 2
    assert hour["shards"] == pytest.approx(3 * 2)
    assert estimates[1].most == pytest.approx(3 * 2 * 2)
    assert campaign.site.units_per_hour(Request(partition="GPU-shared", gpus="v100-32:2")) == 2
    assert campaign.site.units_per_hour(Request(partition="RM", nodes=3)) == 3 * 128
    assert campaign.site.units_per_hour(Request(partition="GPU", nodes=2, gpus="h100-80:8")) == 2 * 16


def test_the_estimate_grows_with_what_there_is_to_do(prepared):
    def seconds(**given):
        return {each.stage.name: each.seconds - cost_estimate.DEFAULTS["start"] for each in prepared(**given)[1]}

    once = seconds(parameters={"01": {"minislakh_tracks": 10}, "03": {"train_max_steps": 100}})
    more = seconds(parameters={"01": {"minislakh_tracks": 30}, "03": {"train_max_steps": 400}})
    many, all_tracks = (seconds(parameters={"minislakh_tracks": number})["tables"] for number in (60, 2100))
    assert many == all_tracks > more["tables"]  # it listens to some songs only
    for name, times in {"index": 3, "shards": 3, "join": 3, "tables": 3, "train": 4, "songs": 1}.items():
        assert more[name] == pytest.approx(times * once[name])


def test_estimates_scale_with_the_seconds_of_sound(prepared, tmp_path):
    folder = tmp_path / "root" / "slakh" / "train" / "Track00001"
    (folder / "stems").mkdir(parents=True)
    (folder / "metadata.yaml").touch()
    found = []
    for seconds in (24.0, 240.0):
        soundfile.write(folder / "mix.flac", np.zeros(int(seconds * 8000)), 8000)
        soundfile.write(tmp_path / "a.wav", np.zeros(int(seconds * 8000)), 8000)
        found.append({each.stage.name: each.per_unit for each in prepared(songs="a.wav")[1]})
    assert found[1] == pytest.approx(
        {"train": found[1]["train"]} | {name: 10 * x for name, x in found[0].items() if name != "train"}
    )
    assert found[1]["index"] == cost_estimate.DEFAULTS["stages"]["index"]["seconds"]
    step = {"batch_size": 8, "crop_frames": 128}
    many, few = (prepared(parameters={"03": {**step, "batch_size": n}}, notebooks=None)[1][4] for n in (8, 4))
    assert many.per_unit == pytest.approx(2 * few.per_unit)


def test_shards_are_no_more_than_the_work_is_worth(tmp_path, monkeypatch):
    monkeypatch.delenv("MUSCOMP_ROOT", raising=False)
    for tracks, jobs in ((4, None), (10_000, 5), (10**6, 8)):
        file = tiny_campaign.write(tmp_path, site="bridges2", parameters={"minislakh_tracks": tracks})
        campaign, _ = command.load(file)
        found = {each.name: each.request.jobs for each in campaign.stages}
        assert found.get("shards") == jobs


def test_the_tracks_that_lie_there_are_counted(prepared, tmp_path):
    for number in range(7):
        folder = tmp_path / "root" / "slakh" / "train" / f"Track{number:05}"
        (folder / "stems").mkdir(parents=True)
        (folder / "metadata.yaml").touch()
    assert prepared()[0].tracks() == 7
    assert prepared(parameters={"01": {"limit": 5}})[0].tracks() == 5


def test_a_budget_stops_what_would_exceed_it(tmp_path):
    file = tiny_campaign.write(tmp_path, site="bridges2", budget=0.1)
    assert "used: 0.00; budget: 0.1\n" in submit(file, status=2)
    assert "its budget is 0.1" in submit(file, "--dry-run", status=2)
    assert not (tmp_path / "root" / "runs").exists()


def test_what_finished_stages_took_is_the_next_estimate(prepared, tmp_path):
    given = {"stages": {"shards": {"jobs": 2, "cores": 4}}}
    campaign, before = prepared(**given)
    open_root(campaign.root.path)
    start = cost_estimate.DEFAULTS["start"]
    cost_estimate.save_durations(
        campaign,
        {"shards": 2 * start + 100, "train": start + 60, "tables": 2},
        {"shards": 2, "train": 1, "tables": 1},
        {"train": "NVIDIA H100"},
    )
    after = {each.stage.name: each for each in prepared(**given)[1]}
    assert after["shards"].per_unit == pytest.approx(100 * 4 / 4)  # seconds x cores / tracks
    assert after["shards"].seconds == pytest.approx(start + 50)
    assert after["train"].per_unit == pytest.approx(60 / 30)
    assert after["train"].origin.startswith("tiny, ") and after["train"].origin.endswith(", NVIDIA H100")
    cost_estimate.save_durations(campaign, {"train": start + 90}, {"train": 1}, {"train": "CPU, 4 cores"})
    assert prepared(**given)[1][4].per_unit == after["train"].per_unit  # a GPU was asked for: not its figure
    assert after["tables"].per_unit == before[3].per_unit  # over in a moment: it tells nothing
    elsewhere = {each.stage.name: each for each in prepared(stages={"train": {"gpus": "v100-32:1"}})[1]}
    assert elsewhere["train"].origin == "default"
    more = {each.stage.name: each for each in prepared(stages={"train": {"gpus": "h100-80:2"}})[1]}
    assert more["train"].origin == "default"


@pytest.mark.parametrize(
    "damage",
    [
        lambda found: [found],
        lambda found: {place: [] for place in found},
        lambda found: {place: dict.fromkeys(stages, 3.5) for place, stages in found.items()},
        lambda found: {p: {name: each | {"seconds": "2"} for name, each in s.items()} for p, s in found.items()},
        lambda found: {p: {name: each | {"audio": -1} for name, each in s.items()} for p, s in found.items()},
    ],
    ids=["a list", "stages", "entries", "seconds", "sound"],
)
def test_damaged_durations_of_earlier_runs_are_ignored(prepared, damage):
    campaign, before = prepared()
    start, file = cost_estimate.DEFAULTS["start"], open_root(campaign.root.path).journal / cost_estimate.MEASURED
    cost_estimate.save_durations(campaign, {"train": start + 60}, {"train": 1}, {"train": "NVIDIA H100"})
    file.write_text(json.dumps(damage(json.loads(file.read_text()))))
    assert prepared()[1] == before
    cost_estimate.save_durations(campaign, {"train": start + 60}, {"train": 1}, {"train": "NVIDIA H100"})
    assert prepared()[1] != before


def test_paths_among_parameters_are_relative_to_the_campaigns_file(prepared, tmp_path, monkeypatch):
    (tmp_path / "mine.json").touch()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    campaign, _ = prepared(parameters={"03": {"stems": "stems"}, "04": {"start_from": "mine.json"}}, notebooks=None)
    assert campaign.parameters["03"]["stems"] == str(tmp_path / "stems")
    assert campaign.parameters["04"]["start_from"] == str(tmp_path / "mine.json")


def test_wall_times_have_a_margin_and_keep_to_the_limit(prepared):
    campaign, estimates = prepared(parameters={"03": {"train_max_steps": 20000}})
    train = stage(campaign, "train").request.hours
    assert estimates[4].seconds * 1.9 < train * 3600 and train % 0.25 == 0
    campaign, _ = prepared(parameters={"03": {"train_max_steps": 50_000_000}})
    assert stage(campaign, "train").request.hours == 48


def test_other_parameters_under_the_same_name_are_refused(prepared):
    campaign, _ = prepared(parameters={"03": {"train_max_steps": 3}})
    write_campaign(campaign, {})
    campaign, _ = prepared(parameters={"03": {"train_max_steps": 4}})
    with pytest.raises(SettingError, match="train_max_steps was 3, is 4"):
        write_campaign(campaign, {})


def test_a_submitted_campaign_needs_only_its_folder(prepared, tmp_path, capsys):
    (tmp_path / "site.yaml").write_text((SITES / "local.yaml").read_text())
    (tmp_path / "a.wav").touch()
    given = {"site": "site.yaml", "songs": "a.wav", "stages": {"join": {"hours": 3}}, "budget": 7}
    campaign, _ = prepared(**given)
    write_campaign(campaign, job_scripts.all_of(campaign))
    shutil.move(tmp_path / "root", tmp_path / "moved")
    for gone in ("site.yaml", "a.wav", "campaign.yaml"):
        (tmp_path / gone).unlink()
    again, _ = command.load(tmp_path / "moved" / "runs" / "tiny")
    assert again.root.path == tmp_path / "moved" and again.songs == campaign.songs
    names = ("parameters", "budget", "account", "files")
    assert all(getattr(again, name) == getattr(campaign, name) for name in names)
    assert [each.request for each in again.stages] == [each.request for each in campaign.stages]
    assert command.main([str(again.folder), "status"]) == 1
    assert f"python batch/submit.py {again.folder} resume" in capsys.readouterr().out
    tiny_campaign.done(again.root.path, tmp_path / "notebooks", ("index", "join", "tables", "train", "songs/1"))
    before = (again.folder / "1_index.sh").read_text()
    assert command.main([str(again.folder), "resume"]) == 0
    assert f"Replaced: {again.folder / '1_index.sh'}" in capsys.readouterr().out
    assert (again.folder / "1_index.sh.before").read_text() == before and str(campaign.folder) in before
    assert f"campaign={again.folder}\n" in (again.folder / "1_index.sh").read_text()
    (again.folder / "1_index.sh").write_text(text := f"{(again.folder / '1_index.sh').read_text()}# mine\n")
    assert command.main([str(again.folder), "resume"]) == 0
    assert (again.folder / "1_index.sh").read_text() == text


def test_an_edit_for_the_next_run_changes_no_submitted_one(prepared, tmp_path, capsys):
    campaign, _ = prepared(site="local")
    write_campaign(campaign, job_scripts.all_of(campaign))
    tiny_campaign.write(tmp_path, site="nowhere", stages={"trian": {}})
    assert command.main([str(tmp_path / "campaign.yaml"), "status"]) == 1
    assert "0 of 5 stages done" in capsys.readouterr().out
    assert command.main([str(tmp_path / "campaign.yaml")]) == 2


def test_an_edited_script_is_kept_and_named_when_replaced(prepared, tmp_path):
    campaign, _ = prepared(site="local")
    scripts = job_scripts.all_of(campaign)
    assert write_campaign(campaign, scripts) == write_campaign(campaign, scripts) == []
    script = campaign.folder / "1_index.sh"
    script.write_text("mine")
    assert write_campaign(campaign, scripts) == ["1_index.sh"]
    assert (campaign.folder / "1_index.sh.before").read_text() == "mine" and script.read_text() == scripts["1_index.sh"]


def test_an_empty_data_set_is_refused_on_a_cluster(tmp_path):
    file = tiny_campaign.write(tmp_path, site="bridges2")
    content = yaml.safe_load(file.read_text())
    del content["parameters"]["minislakh_tracks"]
    file.write_text(yaml.safe_dump(content))
    printed = submit(file, "--dry-run", status=2)
    assert "slakh is empty, and notebook 01 would generate 4 small songs" in printed and "files prints how" in printed


# Slurm 22.05.8 recorded these runs: killed at their memory or time, cancelled, requeued, preempted, node lost.
SACCT = (PROJECT / "tests" / "fixtures" / "slurm" / "sacct.txt").read_text()


def test_all_runs_count_and_the_last_has_the_state():
    found = slurm.accounts(f"{SACCT}14_[4-6%2]|PENDING|0|2|00:00:00||500M\n")
    assert {f"{job}_{task}": (each.state, each.seconds) for (job, task), each in found.items()} == {
        **{"1_1": ("COMPLETED", 3), "1_2": ("CANCELLED", 5), "1_3": ("FAILED", 1), "1_4": ("FAILED", 0)},
        **{"1_5": ("CANCELLED", 29), "2_0": ("COMPLETED", 16), "3_0": ("TIMEOUT", 121), "4_0": ("COMPLETED", 20)},
        **{"5_0": ("COMPLETED", 22), "6_0": ("CANCELLED", 0), "14_1": ("COMPLETED", 27), "14_2": ("RUNNING", 24)},
        **{"14_3": ("COMPLETED", 27), "14_6": ("RUNNING", 25), "15_0": ("COMPLETED", 1), "18_0": ("RUNNING", 61)},
    }


def test_computed_time_and_memory_are_those_of_runs_that_ended():
    found = slurm.accounts(SACCT)
    requeued, two_nodes, over_memory, at_work = (found[key] for key in (("2", 0), ("5", 0), ("1", 3), ("14", 2)))
    assert (requeued.cpu_seconds, requeued.core_seconds) == (2, 16 * 4)
    assert two_nodes.core_seconds == 22 * 128 and two_nodes.memory_mb == pytest.approx(10972 * 1.024e-3)
    assert over_memory.memory_mb > over_memory.requested_mb == pytest.approx(100 * 1.048576)
    assert at_work.core_seconds == 9 * 2 and at_work.seconds == 24
    days = slurm.accounts("7|COMPLETED|9|8|1-02:03:04||4Gc\n7.batch|COMPLETED|9|8|1-02:03:04|1.50G|\n")["7", 0]
    assert days.cpu_seconds == 93784 and days.memory_mb == pytest.approx(1610.6, rel=1e-4) and days.requested_mb is None


def test_the_status_shows_what_slurm_recorded_of_each_stage(prepared, monkeypatch):
    """OUT_OF_MEMORY as sacct's manual spells it: the Slurm that recorded the other rows has no control groups."""
    records = "21_1|REQUEUED|100|16|10:00.500||30400M\n21_1.batch|CANCELLED|100|16|10:00.500|900000K|\n"
    records += "21_1|OUT_OF_MEMORY|50|16|05:00.000||30400M\n21_1.batch|OUT_OF_MEMORY|50|16|05:00|29000000K|\n"
    records += "21_2|CANCELLED by 1000|50|16|00:00.100||30400M\n"
    campaign, estimates = prepared(stages={"shards": {"jobs": 2}})
    write_campaign(campaign, {})
    status.record(campaign, [{"stage": "shards", "job": "21", "tasks": [1, 2]}], estimates)
    (campaign.out(campaign.stages[1], 2)).mkdir(parents=True)
    (campaign.out(campaign.stages[1], 2) / "times.log").write_text("start 100 21\n")
    monkeypatch.setattr(slurm, "queue", dict)
    monkeypatch.setattr(slurm, "_output", lambda *_: records)
    row = status.rows(campaign, estimates)[1]
    assert row.notes == ["shards 1 ran out of memory; request more memory_gb", "shards 2 was cancelled"]
    shown = dict(zip(status.columns(campaign), status.cells(campaign, row), strict=True))
    assert shown["cores busy"] == "28% of 16"  # 900 of 3200 seconds
    assert shown["memory"] == "29696 MB of 31877" and shown["SU used"] == f"{200 * 16 / 3600:.2f}"


def test_each_run_costs_what_it_requested(prepared, monkeypatch):
    campaign, estimates = prepared(stages={"train": {}})
    write_campaign(campaign, {})
    [train] = [stage for stage in campaign.stages if stage.name == "train"]
    sent = [{"stage": "train", "job": job, "tasks": [1]} for job in ("7", "8")]
    sent[0][status.RATE] = 100.0  # the second was sent by a version that did not record it
    status.record(campaign, sent, estimates)
    campaign.out(train, 1).mkdir(parents=True)
    (campaign.out(train, 1) / "times.log").write_text("start 100 7\nend 1900 7\nstart 2000 8\nend 5600 8\n")
    monkeypatch.setattr(slurm, "queue", dict)
    costs = {"logs": 50.0, "accounting": 25.0}
    for source, accounts in (("logs", None), ("accounting", {("7", 0): slurm.Account("FAILED", 900)})):
        monkeypatch.setattr(slurm, "accounting", lambda _, accounts=accounts: accounts)
        row = next(row for row in status.rows(campaign, estimates) if row.stage is train)
        own = 0 if accounts else campaign.site.units_per_hour(train.request)
        assert row.cost == pytest.approx(costs[source] + own) and row.seconds == (900 if accounts else 5400)


def test_only_so_many_jobs_of_an_array_run_at_once(prepared):
    campaign, _ = prepared(stages={"shards": {"jobs": 6, "at_once": 2}})
    assert "#SBATCH --array=1-6%2\n" in job_scripts.job(campaign, campaign.stages[1])


def test_each_partition_is_checked_for_five_minutes(prepared):
    campaign, _ = prepared(stages={"train": {"sbatch": ["--qos=debug"]}})
    scripts = job_scripts.checks(campaign)
    assert sorted(scripts) == ["check-GPU-shared-h100-80.sh", "check-RM-shared.sh"]
    for text in scripts.values():
        subprocess.run(["bash", "-n"], input=text, text=True, check=True)
        assert "--signal" not in text  # without a trap it would end the job
        assert "--time=00:05:00" in text and "check_node.py" in text and "load anaconda3" in text
    assert (
        "--gpus 1\n" in scripts["check-GPU-shared-h100-80.sh"]
        and "--qos=debug" in scripts["check-GPU-shared-h100-80.sh"]
    )


def test_a_node_without_room_or_gpu_is_reported(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(check_node, "require_gpus", lambda number: None)
    monkeypatch.setattr(check_node, "LEAST_FREE", 0)
    monkeypatch.setattr(check_node, "LEAST_FILES", 0)
    assert check_node.main([str(tmp_path / "root")]) == 0 and "All is well." in capsys.readouterr().out
    monkeypatch.setattr(check_node, "LEAST_FREE", 1e18)
    assert check_node.main([str(tmp_path / "root")]) == 1 and "PROBLEM: Only" in capsys.readouterr().out
    (tmp_path / "file").touch()
    assert check_node.main([str(tmp_path / "file" / "root")]) == 1
    assert "cannot be written to" in capsys.readouterr().out


def test_the_status_shows_how_busy_the_cores_were(prepared):
    campaign, estimates = prepared(site="local", stages={"index": {"cores": 4}})
    tiny_campaign.done(campaign.root.path, campaign.stages[0].notebook.parent, ["index"])
    entry = {"status": "ok", "seconds": 10, "cpu_seconds": 30, "device": "CPU, 4 cores"}
    (campaign.folder / "index" / "metrics.json").write_text(json.dumps({"01_index": entry}))
    row = status.rows(campaign, estimates)[0]
    assert {"75% of 4", "CPU, 4 cores"} <= set(status.cells(campaign, row))


def test_clocks_that_differ_give_no_negative_time(prepared):
    campaign, estimates = prepared(site="local")
    folder = campaign.out(stage(campaign, "index"), 1)
    folder.mkdir(parents=True)
    (folder / "times.log").write_text("start 1000 none\nend 990 none\nstart 1000 none\nend 1010 none\n")
    assert status.rows(campaign, estimates)[0].seconds == 10


def test_a_report_that_failed_is_a_row_with_its_reason(prepared):
    campaign, estimates = prepared(site="local")
    rows = status.rows(campaign, estimates)
    (campaign.folder / "logs").mkdir(parents=True)
    (campaign.folder / "logs" / "report-9.log").write_text("==== today on cpu1\nNo room left.\n")
    line = next(line for line in status.text(campaign, rows) if line.startswith("report"))
    assert "0/1" in line and "failed: No room left." in line
    (campaign.folder / "report.html").touch()
    assert any(line.split()[:3] == ["report", "1/1", "done"] for line in status.text(campaign, rows))


def test_two_commands_at_once_submit_a_campaign_once(prepared, monkeypatch):
    campaign, estimates = prepared()

    def write_beside_another(campaign, scripts):
        write_campaign(campaign, scripts)
        status.record(campaign, [{"stage": "index", "job": "9", "tasks": [1]}], estimates)
        return []

    monkeypatch.setattr(command, "write_campaign", write_beside_another)
    with pytest.raises(SettingError, match="tiny was submitted by another command at the same time"):
        command.submit(campaign, estimates)


@pytest.mark.parametrize("content", ["", "{}", "[{"])
def test_jobs_whose_list_is_damaged_are_not_submitted_again(prepared, content):
    campaign, estimates = prepared()
    campaign.folder.mkdir(parents=True)
    (campaign.folder / "jobs.json").write_text(content)
    with pytest.raises(MusCompError, match=r"jobs\.json, which lists the jobs .*cannot be read"):
        command.submit(campaign, estimates)


def test_a_report_that_waits_has_not_failed(prepared, monkeypatch):
    campaign, estimates = prepared()
    numbers = map(str, range(10, 99))
    monkeypatch.setattr(slurm, "submit", lambda *_, **__: next(numbers))
    command.submit(campaign, estimates)
    (campaign.folder / "report.html").touch()
    (campaign.folder / "logs" / "report-9.log").write_text("No room left.\n")
    command._submit_chain(campaign, estimates)
    assert not (campaign.folder / "report.html").exists()
    job = status.submissions(campaign.folder)[-1]["job"]
    for state, words in {"PENDING": "waiting", "RUNNING": "running", "FAILED": "failed: No room left."}.items():
        monkeypatch.setattr(slurm, "queue", lambda state=state: {(job, 0): slurm.Job(state)})
        assert words in status._report(campaign)


def test_the_budget_is_held_against_the_worst_case(prepared):
    campaign, estimates = prepared(budget=20.0, stages={"train": {"hours": 2, "requeues": 4}})
    train = estimates[4]
    assert train.most == pytest.approx(2 * 2 * 5) and train.cost < 1  # units an hour, hours, runs
    with pytest.raises(SettingError, match=r"In the worst case.*; 3.0 are used, and its budget is 20"):
        cost_estimate.check_budget(campaign, [train], 3.0)
    cost_estimate.check_budget(campaign, [train], 0.0)
    cost_estimate.check_one_more(campaign, [train.stage], 16.0)
    with pytest.raises(SettingError, match=r"16\.1 SU of the budget of 20 are used: there is not enough"):
        cost_estimate.check_one_more(campaign, [train.stage], 16.1)
    script = job_scripts.job(campaign, campaign.stages[0])
    assert script.index("afford") < script.index("scontrol requeue")


@pytest.mark.parametrize(("status", "goes_on"), [(0, True), (2, True), (124, True), (job_scripts.TOO_DEAR, False)])
def test_only_the_budget_keeps_a_job_from_requeueing(prepared, tmp_path, status, goes_on):
    campaign, _ = prepared(budget=20.0)
    done = time_is_up(campaign, tmp_path, status)
    assert done.returncode == 1 and ("requeued\n" in done.stdout) == goes_on


def time_is_up(campaign, folder, afford=0):
    """What the first stage's script prints when its time is up, in a job that may run once more if `afford` is 0."""
    text = job_scripts.job(campaign, campaign.stages[0])
    functions = text[text.index("log_time()") : text.index("trap requeue")]
    stand_ins = f"stop() {{ :; }}; timeout() {{ return {afford}; }}; scontrol() {{ echo requeued; }}"
    script = f"out={shlex.quote(str(folder))}; job=1\n{functions}{stand_ins}\nrequeue"
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)


def test_a_job_requeued_too_often_ends_with_a_message(prepared, tmp_path):
    campaign, _ = prepared(stages={"index": {"requeues": 2}})
    (tmp_path / "times.log").write_text("requeue 5 10\nrequeue 6 11\n")  # of other jobs
    for again in (True, True, False):
        done = time_is_up(campaign, tmp_path)
        assert done.returncode == 1 and ("requeued\n" in done.stdout) == again
        assert ("The time is up, after 2 requeues." in done.stdout) != again


def test_too_small_a_budget_has_its_own_exit_status(prepared, monkeypatch, capsys):
    campaign, estimates = prepared(budget=20.0)
    monkeypatch.setattr(command, "_used", lambda *_: 19.0)
    assert command.afford(campaign, estimates) == 0
    monkeypatch.setattr(command, "_used", lambda *_: 21.0)
    assert command.afford(campaign, estimates) == job_scripts.TOO_DEAR
    assert "there is not enough for another run" in capsys.readouterr().err


@pytest.mark.parametrize("error", [KeyboardInterrupt, MusCompError("sbatch failed: no such account")])
def test_half_a_chain_is_cancelled_however_submitting_ends(prepared, monkeypatch, error):
    campaign, estimates = prepared()
    answers, cancelled = iter(["11", "12"]), []

    def submit_two(*_, **__):
        number = next(answers, None)
        if number is None:
            raise error
        return number

    monkeypatch.setattr(slurm, "submit", submit_two)
    monkeypatch.setattr(slurm, "cancel", cancelled.extend)
    with pytest.raises(type(error) if isinstance(error, Exception) else error):
        command.submit(campaign, estimates)
    assert cancelled == ["11", "12"] and not status.submissions(campaign.folder)


@pytest.fixture
def ctrl_c():
    """Ctrl-C interrupts, also where the tests run in the background of a script, whose processes ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_loses_no_job_that_sbatch_accepts(prepared, tmp_path, monkeypatch, ctrl_c):
    campaign, estimates = prepared()
    for name, line in {"sbatch": "kill -INT $PPID; echo 11", "scancel": 'echo "$@" > "$0.log"'}.items():
        tool = tmp_path / name
        tool.write_text(f"#!/bin/sh\n{line}\n")
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(KeyboardInterrupt):
        command.submit(campaign, estimates)
    assert (tmp_path / "scancel.log").read_text() == "11\n" and not status.submissions(campaign.folder)


def test_songs_keep_their_numbers_when_others_are_added(prepared, tmp_path):
    album = tmp_path / "album"
    album.mkdir()
    (album / "m.wav").touch()
    each = {"songs": "album", "stages": {"songs": {"songs_per_job": 2}}}
    campaign, _ = prepared(**each)
    write_campaign(campaign, {})
    for name in "abc":
        (album / f"{name}.wav").touch()
    campaign, _ = prepared(songs="album", stages={"songs": {"songs_per_job": 9}})
    assert [song.name for song in campaign.songs] == ["m.wav", "a.wav", "b.wav", "c.wav"]
    songs = stage(campaign, "songs")
    assert songs.tasks == [1, 2]
    assert [[song.stem for song in campaign.songs_of(songs, task)] for task in songs.tasks] == [["m", "a"], ["b", "c"]]


def test_a_job_of_songs_is_done_with_all_of_them(prepared, tmp_path):
    album = tmp_path / "album"
    album.mkdir()
    for name in "ab":
        soundfile.write(album / f"{name}.wav", np.zeros(8), 8000)
    campaign, _ = prepared(site="local", songs="album")
    songs = stage(campaign, "songs")
    assert songs.tasks == [1] and len(campaign.songs_of(songs, 1)) == 2
    out = campaign.out(songs, 1)
    out.mkdir(parents=True)

    def after(listed, failed):
        counts = {"songs": {"listed": listed, "failed": failed}}
        entry = {songs.notebook.stem: {"status": "ok", "metrics": counts}}
        (out / "metrics.json").write_text(json.dumps(entry))
        return campaign.missing(songs), status.rows(campaign, cost_estimate.estimate(campaign))[-1]

    assert after(2, {})[0] == []
    missing, row = after(1, {})  # the second was added since
    assert missing == [1] and row.state == "not submitted" and not row.notes
    missing, row = after(2, {"b": "it is no audio"})
    assert missing == [1] and row.failed == [1] and row.notes == ["songs 1: b failed: it is no audio"]


def test_a_number_of_jobs_divides_the_songs(prepared, tmp_path):
    files = [str(tmp_path / f"{number}.wav") for number in range(7)]
    for file in files:
        soundfile.write(file, np.zeros(100), 8000)
    campaign, _ = prepared(songs=files, stages={"songs": {"jobs": 3}})
    assert [len(campaign.songs_of(stage(campaign, "songs"), task)) for task in (1, 2, 3)] == [3, 3, 1]
    assert len(stage(campaign, "songs").tasks) == 3
    command.write_campaign(campaign, {})
    assert stage(read_campaign(campaign.folder), "songs").request == stage(campaign, "songs").request


def test_a_job_gets_songs_for_a_quarter_of_an_hour(prepared, tmp_path):
    album = tmp_path / "album"
    album.mkdir()
    for number in range(200):
        soundfile.write(album / f"{number}.wav", np.zeros(8000 * 240), 8000)
    campaign, estimates = prepared(songs="album")
    songs = stage(campaign, "songs")
    assert 1 < songs.request.songs_per_job < 200 and len(songs.tasks) == -(-200 // songs.request.songs_per_job)
    assert estimates[-1].seconds == pytest.approx(900, rel=0.3)


def test_a_new_site_is_a_copy_of_one(prepared, tmp_path):
    data = yaml.safe_load((SITES / "bridges2.yaml").read_text())
    data["partitions"]["RM-shared"]["hours"] = 1
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(SettingError, match="mine allows 1 "):
        prepared(site="mine.yaml", stages={"index": {"hours": 2}})
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**data, "partition": {}}))
    with pytest.raises(SettingError, match="Did you mean 'partitions'"):
        prepared(site="mine.yaml")


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """Puts a command that runs a line of shell in the way of Slurm's."""

    def write(name, line):
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    return write


@pytest.mark.parametrize("printed", ["11", "11;cluster", "Welcome to the cluster\\n--> quota OK\\n11;cluster"])
def test_a_jobs_number_is_found_below_a_sites_greeting(tool, printed):
    tool("sbatch", f"printf '{printed}\\n'")
    assert slurm.submit("job.sh") == "11"


def test_variables_do_not_override_what_a_script_says(tool, tmp_path, monkeypatch):
    for name in ("SBATCH_PARTITION", "SBATCH_TIMELIMIT", "SBATCH_ARRAY_INX", "SBATCH_WAIT", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.setenv(name, "1")
    for name in ("SBATCH_ACCOUNT", "SBATCH_QOS", "SLURM_CONF"):
        monkeypatch.setenv(name, "/etc/kept")
    tool("sbatch", """env | grep -E '^(SBATCH|SLURM)_.*=(1|/etc/kept)$' > "$0.log"; echo "$*" >> "$0.log"; echo 11""")
    slurm.submit("job.sh", account="mine")
    *variables, words = (tmp_path / "sbatch.log").read_text().splitlines()
    assert {line.partition("=")[0] for line in variables} == {"SBATCH_ACCOUNT", "SBATCH_QOS", "SLURM_CONF"}
    assert "--account=mine job.sh" in words


def test_an_answer_without_a_number_is_quoted(tool):
    tool("sbatch", "echo Submitted for review")
    with pytest.raises(MusCompError, match="no job's number, but 'Submitted for review'"):
        slurm.submit("job.sh")


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        ("Invalid account or account/partition combination specified", "Correct account"),
        ("Requested time limit is invalid (missing or exceeds some limit)", "Request fewer hours"),
        ("Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)", "then resume"),
        ("Invalid generic resource (gres) specification", "Correct gpus"),
        ("Invalid job array specification", "smaller array_size"),
    ],
)
def test_what_slurm_refuses_comes_with_advice(tool, error, advice):
    tool("sbatch", f'echo "sbatch: error: Batch job submission failed: {error}" >&2; exit 1')
    with pytest.raises(MusCompError, match=f"sbatch failed: .*{advice}"):
        slurm.submit("job.sh")


def test_greetings_are_no_jobs(tool):
    tool("squeue", "echo 'Welcome | to the cluster'; echo '7_2|RUNNING|1:00|2:00|N/A|None'")
    tool("sacct", "echo Welcome; echo '7_2|COMPLETED|9|8|00:00:09||4G'")
    assert list(slurm.queue()) == list(slurm.accounting(["7"])) == [("7", 2)]


def test_without_slurm_the_command_says_what_to_do(tmp_path):
    file = tiny_campaign.write(tmp_path, site="bridges2")
    tools = tmp_path / "bin"
    tools.mkdir()
    printed = submit(file, status=2, env={"PATH": str(tools), "HOME": str(tmp_path), "PROJECT": str(tmp_path)})
    assert "There is no sbatch here" in printed and "site: local" in printed


def test_a_job_uses_no_more_cores_than_it_has():
    require(hasattr(os, "sched_setaffinity"), "this system gives every process all cores")
    code = (
        "import os; from muscomp_lib.core import parallel\n"
        "os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
        "print(parallel.cores(), parallel.each(abs, [-1, -2]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1 [1, 2]"


@pytest.mark.full
@pytest.mark.slow
def test_without_a_scheduler_stages_run_here_and_resume_after_failure(tmp_path):
    require(shutil.which("bash"), "job scripts need bash")
    file = tiny_campaign.write(tmp_path, stages={"shards": {"jobs": 2}})
    tables = tmp_path / "notebooks" / "03_tables.ipynb"
    whole = tables.read_text()
    tables.write_text(whole.replace("import sys", "1 / 0\\nimport sys", 1))
    printed = submit(file, status=1)
    assert "tables stopped: 03_tables failed in cell" in printed
    assert "ZeroDivisionError" in printed
    assert "Missing: tables; train; songs 1." in printed and "runs/tiny resume" in printed
    shards = [json.loads((tmp_path / "root/runs/tiny/shards" / str(n) / "metrics.json").read_text()) for n in (1, 2)]
    assert [shard["02_fill"]["metrics"]["given"]["shard"] for shard in shards] == ["1/2", "2/2"]
    tables.write_text(whole)
    assert "6 of 6 stages done" in submit(file, "resume")
    starts = (tmp_path / "root/runs/tiny/shards/1/times.log").read_text().count("start")
    assert starts == 1  # what is done is not done again
    page = (tmp_path / "root/runs/tiny/report.html").read_text()
    links = [f'href="{name}"' for name in ("train/04_train.html", "shards/2/02_fill.html")]
    assert all(link in page for link in links) and "Complete" in page
    executed = (tmp_path / "root/runs/tiny/train/04_train.html").read_text()
    assert executed.startswith("<!DOCTYPE html>") and "<pre>Written:</pre>" in executed
