import json

import pandas as pd
import pytest

from muscomp_lib import training
from muscomp_lib.core import instruments, settings
from muscomp_lib.core.errors import MissingError, SettingError
from muscomp_lib.models import config
from muscomp_lib.models.config import check_config, explain, read_config, write_config

SPLEETER_KEYS = [
    "train_csv", "validation_csv", "model_dir", "mix_name", "instrument_list", "sample_rate", "frame_length",
    "frame_step", "T", "F", "n_channels", "n_chunks_per_song", "separation_exponent", "mask_extension",
    "learning_rate", "batch_size", "training_cache", "validation_cache", "train_max_steps", "throttle_secs",
    "random_seed", "save_checkpoints_steps", "save_summary_steps", "model",
]  # fmt: skip


SELDOM = {
    "loss_type",
    "optimizer",
    "MWF",
    "chunk_duration",
    "muscomp.start_from",
    "muscomp.targets",
}  # known, and usually left out
ACTIVATIONS = {"model.params.conv_activation", "model.params.deconv_activation"}


def good(**changes):
    """A configuration that is in order, with `changes` by dotted key; `...` as value takes the key out."""
    made = {
        "train_csv": "/data/train.csv",
        "validation_csv": "/data/validation.csv",
        "model_dir": "/data/models/a",
        "mix_name": "mix",
        "instrument_list": [*instruments.names(), "other"],
        "sample_rate": 44100,
        "frame_length": 4096,
        "frame_step": 1024,
        "T": 512,
        "F": 1024,
        "n_channels": 2,
        "n_chunks_per_song": 40,
        "separation_exponent": 2,
        "mask_extension": "zeros",
        "learning_rate": 1e-4,
        "batch_size": 4,
        "training_cache": "cache/training",
        "validation_cache": "cache/validation",
        "train_max_steps": 200000,
        "throttle_secs": 1800,
        "random_seed": 3,
        "save_checkpoints_steps": 1000,
        "save_summary_steps": 5,
        "model": {"type": "unet.unet", "params": {"conv_activation": "ELU", "deconv_activation": "ELU"}},
        "muscomp": {"taxonomy": "slakh12", "crop_frames": 128, "remix": True, "precision": "float32"},
    }
    for dotted, value in changes.items():
        *groups, key = dotted.split("__")
        at = made
        for group in groups:
            at = at[group]
        at[key] = value
        if value is ...:
            del at[key]
    return made


def meaning(of, tables=None, trial=None, **changes):
    return explain(good(**changes), tables, trial).set_index("key").loc[of, "meaning"]


def test_what_is_written_is_read_back(tmp_path):
    write_config(tmp_path / "a.json", good())
    assert read_config(tmp_path / "a.json") == good()


def test_the_file_has_spleeters_keys_and_one_of_ours(tmp_path):
    write_config(tmp_path / "a.json", good())
    assert list(json.loads((tmp_path / "a.json").read_text())) == [*SPLEETER_KEYS, "muscomp"]


@pytest.mark.parametrize(
    "changes",
    [
        {"instrument_list": ["vocals", "accompaniment"], "F": 1536, "model__params": {}, "n_chunks_per_song": ...},
        {"instrument_list": ["vocals", "drums", "bass", "other"], "n_chunks_per_song": ...},
        {"instrument_list": ["vocals", "piano", "drums", "bass", "other"], "model__type": "unet.softmax_unet"},
    ],
    ids=["2stems-16kHz", "4stems", "5stems"],
)
def test_spleeters_own_configurations_read_with_free_names(tmp_path, changes):
    path = tmp_path / "spleeter.json"
    path.write_text(json.dumps(good(**changes, muscomp=...)))
    found = read_config(path)
    assert found["muscomp"] == {"taxonomy": None, "crop_frames": 512, "remix": False}
    assert found["n_chunks_per_song"] == (2 if "n_chunks_per_song" in changes else 40)
    assert found["instrument_list"] == changes["instrument_list"]


@pytest.mark.parametrize("key", [key for key in SPLEETER_KEYS if key not in ("n_chunks_per_song", "model")])
def test_each_key_refuses_invalid_values_and_names_valid_ones(key):
    bad = {"cache": 5, "csv": ""}.get(key.split("_")[-1], [None])
    with pytest.raises(SettingError) as refused:
        check_config(good(**{key: bad}), "my.json")
    expected = settings.expected(settings.field(config.Config, key))
    assert f"my.json: {key} = {json.dumps(bad)} is not possible. It must be {expected}." == str(refused.value)


@pytest.mark.parametrize(
    "key, value, says",
    [
        ("T", 500, "a multiple of 64"),
        ("F", 2112, r"at most frame_length / 2 \+ 1 = 2049"),
        ("frame_step", 4097, "at most frame_length = 4096"),
        ("frame_length", 3000, "a power of two"),
        ("n_channels", 3, "must be 1 or 2"),
        ("loss_type", "weighted_L1_mask", "L1_mask: .*fails"),
        ("optimizer", "RMSprop", "'Adam', 'Adadelta' or 'SGD'"),
        ("batch_size", 2.5, "a whole number from 1"),
        ("batch_size", True, "a whole number from 1"),
        ("learning_rate", float("nan"), "a number above 0"),
        ("learning_rate", 0, "a number above 0"),
        ("mask_extension", "average ", "'zeros' or 'average'"),
        ("instrument_list", ["Drums", "Drums"], "different names"),
        ("instrument_list", [], "different names"),
        ("instrument_list", ["Drums", "mix"], "without 'mix'"),
        ("instrument_list", ["Drums", "Tuba"], "'Tuba'.*'slakh12' does not have.*Violin.*other"),
        ("model__type", "unet.blstm", "one of .*muscomp.shared_unet.*unet.unet, unet.softmax_unet"),
        ("model__params", [], "an object"),
        ("model__params__conv_activation", "relu", "'ELU', 'ReLU' or 'LeakyReLU'"),
        ("model__params__conv_n_filters", [16, 32], "6 whole numbers for unet.unet"),
        ("model__params__conv_n_filters", [16, 32, 0, 1, 1, 1], "whole numbers from 1"),
        ("model__params__n_filters", [16], "no setting 'model.params.n_filters'.*'model.params.conv_n_filters'"),
        ("muscomp__crop_frames", 576, "at most T = 512"),
        ("muscomp__remix", "yes", "True or False"),
        ("muscomp__precision", "half", "'float32', 'mixed_bfloat16' or 'mixed_float16'"),
        ("muscomp__precision", "mixed_bfloat16", "'float32' for unet.unet"),
        ("muscomp__taxonomy", "orchestra", "my.json: There is no taxonomy 'orchestra'"),
        ("model", "unet.unet", 'my.json: model = "unet.unet" is not possible. It must be a section of keys and values'),
        ("learning_rat", 1e-3, "no setting 'learning_rat'. Did you mean 'learning_rate'"),
        ("learning_rate", ..., "learning_rate is missing"),
        ("muscomp__remix", ..., "muscomp.remix is missing"),
    ],
)
def test_a_mistake_is_reported_with_key_value_and_remedy(key, value, says):
    with pytest.raises(SettingError, match=says):
        check_config(good(**{key: value}), "my.json")


def test_only_spleeters_networks_allow_level_changing_frame_steps():
    check_config(good(frame_step=512), "my.json")
    with pytest.raises(SettingError, match="frame_length / 4 = 1024"):
        check_config(good(frame_step=512, model__type="muscomp.shared_unet"), "my.json")


def test_the_shared_network_may_have_fewer_convolutions():
    check_config(good(model__type="muscomp.shared_unet", model__params__conv_n_filters=[8, 16, 32]), "my.json")


@pytest.mark.parametrize(
    "text, says",
    [
        ("{,", "line 1, column 2"),
        ("[1]", "holds list"),
        ("[" * 100000, "not JSON"),
        ('{"T": 512,\n}', "line [12], column .* a comma before"),
        ("// x\n{}", "line 1, column 1: .*a comment"),
    ],
)
def test_a_file_without_a_json_object_is_refused_with_location(tmp_path, text, says):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(SettingError, match=says):
        read_config(tmp_path / "a.json")


def test_another_encoding_is_refused_but_a_byte_order_mark_accepted(tmp_path):
    (tmp_path / "a.json").write_bytes(json.dumps(good()).encode("utf-16"))
    with pytest.raises(SettingError, match="UTF-8"):
        read_config(tmp_path / "a.json")
    (tmp_path / "a.json").write_bytes(json.dumps(good()).encode("utf-8-sig"))
    assert read_config(tmp_path / "a.json") == good()


@pytest.mark.parametrize("name", ["../../x", "<img src=x>", "a/b", "C:x", "..", " ", "a\nb", "\ud800", "x" * 255])
def test_an_instrument_that_cannot_be_a_file_is_refused(tmp_path, name):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(good(instrument_list=["Drums", name], muscomp__taxonomy=None)))
    with pytest.raises(SettingError, match=r"config\.json: .*(cannot be the name of an instrument|different names)"):
        read_config(path)


@pytest.mark.parametrize("name", ["nul", "COM1", "Aux.left"])
def test_an_instrument_that_windows_cannot_store_is_refused(name):
    with pytest.raises(SettingError, match=f"'{name}' cannot be the name of an instrument, because Windows"):
        check_config(good(instrument_list=["Drums", name], muscomp__taxonomy=None), "my.json")


@pytest.mark.parametrize("key", ["model_dir", "train_csv", "training_cache"])
def test_a_path_with_invisible_characters_is_refused(key):
    with pytest.raises(SettingError, match="must be a path"):
        check_config(good(**{key: "models/\0x"}), "my.json")


def test_a_key_that_is_there_twice_is_refused(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(good())[:-1] + ', "T": 64}')
    with pytest.raises(SettingError, match="the key 'T' is there twice"):
        read_config(tmp_path / "a.json")


def test_keys_that_are_comments_are_left_out(tmp_path):
    comments = '"_comment": "mine", "_comment": "again", "//": 1, "$schema": "x", '
    text = json.dumps(good()).replace("{", "{" + comments)
    (tmp_path / "a.json").write_text(text)
    assert text.count("_comment") > 2 and read_config(tmp_path / "a.json") == good()


def test_a_number_of_thousands_of_digits_is_refused(tmp_path):
    text = json.dumps(good(batch_size=0))
    for digits in ("9" * 400, "9" * 5000):
        (tmp_path / "a.json").write_text(text.replace('"batch_size": 0', f'"batch_size": {digits}'))
        with pytest.raises(SettingError, match=r"batch_size = 9+ is not possible|is not JSON: Exceeds"):
            read_config(tmp_path / "a.json")


def test_a_missing_file_says_which_notebook_writes_it(tmp_path):
    with pytest.raises(MissingError, match="Notebook 03"):
        read_config(tmp_path / "a.json")


def test_a_wrong_configuration_is_not_written(tmp_path):
    with pytest.raises(SettingError):
        write_config(tmp_path / "a.json", good(batch_size=0))
    assert list(tmp_path.iterdir()) == []


def test_every_key_is_explained_with_figures_from_its_value():
    explained = explain(good())
    assert set(explained["key"]) == set(settings.fields(config.Config)) - {"model.params", *SELDOM} | ACTIVATIONS
    assert not explained["meaning"].str.contains("[{}]").any()
    groups = explained["group"].drop_duplicates().tolist()
    assert groups == ["data", "sound", "network", "training", "Spleeter's training"]
    assert explained["group"].ne(explained["group"].shift()).sum() == len(groups)
    assert "11.9 s" in meaning("T")
    assert "11.0 kHz" in meaning("F")
    assert "16.5 kHz" in meaning("F", F=1536)
    assert "93 ms" in meaning("frame_length")
    assert "10.8 Hz" in meaning("frame_length")
    assert "23.2 ms" in meaning("frame_step")
    assert "3.0 s" in meaning("muscomp.crop_frames")
    assert "12 s of sound" in meaning("batch_size")
    assert "660.5 h" in meaning("train_max_steps")
    assert "200 in all" in meaning("save_checkpoints_steps")


def test_the_size_of_spleeters_networks_is_told():
    told = meaning("model.type", instrument_list=instruments.names())
    assert "9.8 million" in told
    assert "118 million" in told
    assert "0.47 GB" in told


def test_spleeters_cache_is_foretold():
    told = meaning("n_chunks_per_song", instrument_list=instruments.names(), n_chunks_per_song=1)
    assert "23 MB of disk per song" in told  # 23.7 MB were measured
    music = {"train": songs([240.0] * 1500), "validation": songs([240.0])}
    told = meaning("n_chunks_per_song", music, instrument_list=instruments.names())
    assert "That is 1.4 TB for your 1500 song(s)" in told
    music["train"] = songs([10.0] * 1500)  # a chunk is not longer than its song
    told = meaning("n_chunks_per_song", music, instrument_list=instruments.names())
    assert "That is 688 GB for your 1500 song(s)" in told


def songs(durations):
    """A table of notebook 03, as far as it matters here."""
    return pd.DataFrame({"duration": durations})


def test_the_users_own_music_is_told():
    music = {"train": songs([600.0, 3000.0]), "validation": songs([90.0])}
    assert "2 song(s), 1 h 0 min of music" in meaning("train_csv", music)
    assert "1 song(s), 2 min of music" in meaning("validation_csv", music)
    assert "That is 660.5 times" in meaning("train_max_steps", music)
    assert "That is 2.0 times" in meaning("train_max_steps", music, train_max_steps=303, batch_size=8)


def test_what_a_trial_took_becomes_the_time_of_the_training():
    trial = training.Trial(step_seconds=0.24, weights_bytes=2_300_000, save_bytes=9_200_000, memory_bytes=3_100_000_000)
    assert "A step takes 0.24 s, so all of them take about 13 h 20 min on this" in meaning(
        "train_max_steps", None, trial
    )
    assert "it takes 2.3 MB of disk" in meaning("model.type", None, trial)
    assert "A checkpoint takes 9.2 MB" in meaning("save_checkpoints_steps", None, trial)
    assert "3.1 GB of memory" in meaning("batch_size", None, trial)
    silent = training.Trial(step_seconds=1.0, weights_bytes=1, save_bytes=1, memory_bytes=None)
    assert "of memory" not in meaning("batch_size", None, silent)
    assert "2 days 8 h" in meaning("train_max_steps", None, silent)


def test_the_memory_of_a_batch_counts_what_the_network_hears():
    assert "12 s of sound, 59 MB of spectrograms" in meaning("batch_size")  # 13 instruments, mix, two channels
    assert "29 MB of spectrograms" in meaning("batch_size", model__type="muscomp.shared_unet")
    assert "whole segments, 235 MB, and keeps 3.8 GB" in meaning("batch_size")
