"""The settings of notebook 03."""

import re
from pathlib import Path

from pydantic import model_validator

from muscomp_lib import audio
from muscomp_lib.core import instruments, names, settings
from muscomp_lib.core.errors import SettingError
from muscomp_lib.core.instruments import RESIDUALS
from muscomp_lib.core.settings import (
    Field,
    field,
    flag,
    is_path,
    number,
    one_of,
    optional,
    suggestion,
    text,
    that,
    whole,
)
from muscomp_lib.models import registry
from muscomp_lib.models.config import Config, check_config
from muscomp_lib.models.layers import UnetParams
from muscomp_lib.spleeter import checks

FRAME_LENGTH, FRAME_STEP = 4096, 1024  # samples: Spleeter's spectrogram
REST = "rest"  # of `targets`: all instruments that no other target names
NAME = re.compile(r"[A-Za-z0-9][\w-]*", re.ASCII)  # of an instrument: a file, a column, and a name in TensorFlow


def _are_names(value):
    is_list = isinstance(value, list | tuple) and len(value) > 0
    return is_list and all(isinstance(name, str) and NAME.fullmatch(name) for name in value)


def _are_targets(value):
    return (
        isinstance(value, dict)
        and len(value) > 0
        and _are_names(list(value))
        and all(members == REST or _are_names(members) for members in value.values())
    )


class Settings(settings.Settings):
    """The parameters of notebook 03. Those named as a key of the configuration are that key (models/config.py)."""

    name: that(
        lambda value: names.is_name(value) and re.fullmatch(r"\w[\w.-]*", value),
        f"a name of letters, digits, '_', '-' and '.', no device of Windows (CON), of at most {names.MAX_BYTES} bytes",
    ) = Field("shared_unet", description="Of this configuration, and of the model that notebook 04 trains with it.")
    taxonomy: text("a taxonomy's name") = Field(
        instruments.DEFAULT_TAXONOMY, description="Which programs make up an instrument, as in notebooks 01 and 02."
    )
    residual: one_of(*RESIDUALS) = Field(
        "target", description='"target": separate `other` too; "drop": do not. As in notebook 02.'
    )
    model_type: field(Config, "model.type") = "muscomp.shared_unet"
    conv_n_filters: optional(field(UnetParams, "conv_n_filters"), "the network's own") = Field(
        None, description="Filters of each convolution, a list; None: the network's own."
    )
    T: field(Config, "T") = 512
    F: field(Config, "F") = 1024
    crop_frames: field(Config, "muscomp.crop_frames") = 128
    remix: field(Config, "muscomp.remix") = True
    precision: field(Config, "muscomp.precision") = "float32"
    batch_size: field(Config, "batch_size") = 4
    learning_rate: field(Config, "learning_rate") = 2e-3
    train_max_steps: field(Config, "train_max_steps") = 1000
    save_checkpoints_steps: field(Config, "save_checkpoints_steps") = 100
    save_summary_steps: field(Config, "save_summary_steps") = 10
    n_chunks_per_song: field(Config, "n_chunks_per_song") = 4
    separation_exponent: field(Config, "separation_exponent") = 1
    mask_extension: field(Config, "mask_extension") = "average"
    seed: field(Config, "random_seed") = 0
    sample_rate: field(Config, "sample_rate") = audio.SAMPLE_RATE
    n_channels: field(Config, "n_channels") = 2
    sum_checks: optional(whole(0), "all") = Field(
        20, description="Songs per partition whose instruments must sum to the mix, sample by sample; None: all."
    )
    stems: optional(that(is_path, "a folder"), "Slakh's songs, from notebook 02") = Field(
        None, description="A folder of songs with their stems, to train on instead of Slakh."
    )
    stem_names: optional(that(is_path, "a YAML file"), "`stems.yaml` in that folder, if it is there") = Field(
        None, description="Which of the stems' files are which instrument."
    )
    instruments: optional(that(_are_names, "a list of names of a-z, digits, '_' and '-'"), "all there are") = Field(
        None, description="The instruments of the prepared songs, where they are not the taxonomy's."
    )
    fill: flag() = Field(True, description="Whether songs get the instruments they lack from each other.")
    validation_share: number(0, 0.5) = Field(
        0.15, description="Share of the songs for validation, if their folder has no such split; one at least."
    )
    test_share: number(0, 0.5) = Field(0.15, description="Share of the songs for test, likewise.")
    targets: optional(
        that(_are_targets, 'names with lists of instruments or "rest": {"Drums": ["Drums"], "accompaniment": "rest"}'),
        "one per instrument",
    ) = Field(None, description="What the network separates, where that is not each instrument on its own.")
    time_steps: whole(0) = Field(3, description="Training steps to time on this machine; 0: none.")

    @model_validator(mode="after")
    def _check_configuration(self):
        self._check_targets()
        config = self.configuration(Path(), Path())
        check_config(config, "The parameters of notebook 03")
        if self.for_spleeter:
            checks.check_settings(config)
        return self

    def _check_targets(self):
        members = [name for listed in (self.targets or {}).values() if listed != REST for name in listed]
        for name in members:
            if name not in self.instrument_names:
                raise SettingError(
                    f"targets name {name!r}, which is no instrument here. {suggestion(name, self.instrument_names)}"
                )
            if members.count(name) > 1:
                raise SettingError(f"targets name {name!r} more than once. An instrument belongs to one target.")
        rests = [name for name, listed in (self.targets or {}).items() if listed == REST]
        if len(rests) > 1:
            raise SettingError(f"targets: {' and '.join(rests)} are both {REST!r}. Only one can be.")
        if rests and set(members) >= set(self.instrument_names):
            raise SettingError(f"targets: every instrument is named, which leaves nothing for {rests[0]!r}: omit it.")

    @property
    def instrument_list(self):
        """What the network separates, in order."""
        return list(self.target_instruments or self.instrument_names)

    @property
    def target_instruments(self):
        """The instruments of each target, as `muscomp.targets` of a configuration: {target: [instrument]} or None."""
        if self.targets is None:
            return None
        named = {name for listed in self.targets.values() if listed != REST for name in listed}
        rest = [name for name in self.instrument_names if name not in named]
        return {target: rest if listed == REST else list(listed) for target, listed in self.targets.items()}

    @property
    def instrument_names(self):
        """The instruments of the prepared songs, in order."""
        if self.instruments is not None:
            return list(self.instruments)
        return instruments.names(self.taxonomy) + ([instruments.OTHER] if self.residual == "target" else [])

    @property
    def for_spleeter(self):
        """Whether the real Spleeter can train this network too."""
        return registry.network_type(self.model_type).spleeter

    @property
    def shortest(self):
        """Samples that a song needs to give one training example."""
        return self.crop_frames * FRAME_STEP + FRAME_LENGTH

    @property
    def shortest_for_spleeter(self):
        """Samples that a song needs so that Spleeter does not skip it."""
        return (self.T - 1) * FRAME_STEP + FRAME_LENGTH

    def configuration(self, tables, model):
        """The configuration, with the tables in one folder and the model in another: a dict."""
        params = {} if self.conv_n_filters is None else {"conv_n_filters": list(self.conv_n_filters)}
        same = ("sample_rate", "T", "F", "n_channels", "n_chunks_per_song", "separation_exponent", "mask_extension")
        steps = ("train_max_steps", "save_checkpoints_steps", "save_summary_steps", "learning_rate", "batch_size")
        own = {key: getattr(self, key) for key in ("crop_frames", "remix", "precision")}
        targets = {} if self.targets is None else {"targets": self.target_instruments}
        given = {
            "train_csv": str(tables / "train.csv"),
            "validation_csv": str(tables / "validation.csv"),
            "model_dir": str(model),
            "mix_name": instruments.MIX,
            "instrument_list": self.instrument_list,
            "frame_length": FRAME_LENGTH,
            "frame_step": FRAME_STEP,
            "training_cache": str(model / "cache" / "training"),
            "validation_cache": str(model / "cache" / "validation"),
            "throttle_secs": 300,
            "random_seed": self.seed,
            "model": {"type": self.model_type, "params": params},
            "muscomp": {"taxonomy": None if self.instruments is not None else self.taxonomy, **own, **targets},
            **{key: getattr(self, key) for key in (*same, *steps)},
        }
        return {key: given[key] for key in Config.model_fields if key in given}  # in Spleeter's order
