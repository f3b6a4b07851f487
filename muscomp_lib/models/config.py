"""The training configuration: Spleeter's JSON file, read, checked and explained. Used by notebooks 03, 04 and 05.

The keys are Spleeter's own, so that `spleeter train -p` takes the file as it is, and one more, `muscomp`, which
Spleeter ignores. `Config` declares each key once: its type, range and meaning; reading, checking and explaining follow
from it. In messages and explanations, keys of nested objects are written with dots: `model.type`.
"""

import contextlib
import json
import math
import os
from pathlib import Path, PureWindowsPath

from muscomp_lib.core import instruments, names, settings
from muscomp_lib.core.errors import MissingError, SettingError
from muscomp_lib.core.files import write_text
from muscomp_lib.core.progress import duration, size
from muscomp_lib.core.settings import (
    Field,
    Section,
    check_value,
    field,
    fields,
    flag,
    number,
    one_of,
    optional,
    suggestion,
    text,
    that,
    whole,
    wrong,
)
from muscomp_lib.models import published, registry
from muscomp_lib.models.weights import CONFIG, STATE, WEIGHTS

COMMENTS = ("_", "$", "//", "#")  # begin keys that are none, such as "_comment": JSON has no other way
TARGETS = "targets"  # the key of `muscomp` whose keys are names
MASK_EXTENSIONS = ("zeros", "average")
ENGINES = ("muscomp", "spleeter")  # who trains and separates: this library, or the real Spleeter
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")  # Keras' names
OPTIMIZERS = ("Adam", "Adadelta", "SGD")
MOST_FRAMES = 1 << 16  # and samples of a frame
FRAME_MULTIPLE = 64  # six convolutions each halve frames and bins: other sizes do not fit
SPLEETER_CHUNK = 20.0  # seconds: Spleeter cuts songs into chunks of this length for its cache
SPLEETER_SHUFFLED = 256  # examples that Spleeter's training keeps in memory, to draw from
FLOAT_BYTES = 4


def _names(value):
    return (
        isinstance(value, list)
        and len(value) > 0
        and all(isinstance(name, str) and name.strip() for name in value)
        and len({name.casefold() for name in value}) == len(value)
    )


def _are_targets(value):
    return isinstance(value, dict) and len(value) > 0 and all(map(_names, value.values()))


def _is_path(value):
    return isinstance(value, str) and value.strip() != "" and not any(map(names.is_control, value))


def _key(group, meaning, *more, default=...):
    """A key's meaning, with {figures} filled in by `explain`; a key with a `default` may be left out.

    Each sentence of `more` follows where its figures are known: they need the user's tables, or a trial of training.
    """
    return Field(default, description=meaning, json_schema_extra={"more": more, "group": group})


DATA, SOUND, NETWORK, TRAINING, SPLEETERS = GROUPS = "data", "sound", "network", "training", "Spleeter's training"

_PATH = that(_is_path, "a path")
_CACHE = that(lambda value: value is None or _is_path(value), "a path, or null for no cache")
_TARGETS = that(_are_targets, "an object of targets, each with a list of instruments")
_COUNT = whole(1, 10**9)
_FRAMES = that(
    lambda value: type(value) is int and 0 < value <= MOST_FRAMES and value % FRAME_MULTIPLE == 0,
    f"a multiple of {FRAME_MULTIPLE}, at most {MOST_FRAMES}: the network halves it six times",
)
_FRAME_LENGTH = that(
    lambda value: type(value) is int and 128 <= value <= MOST_FRAMES and value.bit_count() == 1,
    f"a power of two from 128 to {MOST_FRAMES}: Spleeter's masks fit no other",
)
_CHANNELS = that(lambda value: type(value) is int and value in (1, 2), "1 or 2")


class Model(Section):
    """The network. `params` depend on its type, which checks them (`Network.Params`)."""

    type: text("the type of a network") = _key(
        NETWORK, "The network: {network}.", "Trained, it takes {weights} of disk."
    )
    params: that(lambda value: isinstance(value, dict), "an object of keys and values: {...}") = _key(
        NETWORK, "", default=None
    )


class Own(Section):
    """The keys that are ours, not Spleeter's."""

    taxonomy: optional(text("a taxonomy's name"), "free names") = _key(
        DATA, "Which General MIDI programs make up each instrument (instruments.yaml)."
    )
    crop_frames: _FRAMES = _key(
        TRAINING,
        "Frames of one training example: {crop:.1f} s. Shorter than T, because several short examples teach a "
        "network of this kind as much.",
    )
    precision: one_of(*PRECISIONS) = _key(
        TRAINING,
        "The floats that training computes with: 16-bit floats are faster where the processor or GPU has circuits for "
        "them: mixed_float16 on NVIDIA's from V100 and T4 on, mixed_bfloat16 on processors with AVX512_BF16. Weights "
        "stay 32-bit.",
        default=None,
    )
    start_from: optional(_PATH, "fresh weights") = _key(
        TRAINING,
        "The model whose weights training starts from: its name, its folder, or `shipped`, the pretrained one.",
        default=None,
    )
    targets: optional(_TARGETS, "one per instrument") = _key(
        DATA, "Which instruments of the songs each target is the sum of.", default=None
    )
    remix: flag() = _key(
        TRAINING,
        "If true, most examples take each instrument from another song and place: a few songs then make endless mixes.",
    )


class Config(Section):
    """All keys, in the order of Spleeter's own files."""

    train_csv: _PATH = _key(
        DATA,
        "Table of the songs to train on, one row per song, one column per instrument.",
        "Yours has {n_songs} song(s), {music} of music.",
    )
    validation_csv: _PATH = _key(
        DATA,
        "Table of songs that are never trained on; they show whether the network generalises or only memorises.",
        "Yours has {n_unseen} song(s), {unseen} of music.",
    )
    model_dir: _PATH = _key(
        DATA,
        "Folder for the trained network. Absolute, because Spleeter looks for relative ones elsewhere and, finding "
        "nothing, separates with random weights.",
    )
    mix_name: text("a name") = _key(DATA, "The column `<name>_path` of the tables holds the mix, the network's input.")
    instrument_list: that(_names, "a list of different names") = _key(
        DATA,
        "The {n_instruments} instruments to separate; each has its column `<name>_path`. `other` is everything that "
        "none of the others is.",
    )
    sample_rate: whole(8000, 192000, "Hz") = _key(
        SOUND, "Samples per second, in Hz. Sound up to half of it, {nyquist_khz:g} kHz, can be stored."
    )
    frame_length: _FRAME_LENGTH = _key(
        SOUND,
        "Samples analysed together for one frame of the spectrogram: {window_ms:.0f} ms, which resolves pitches "
        "{bin_hz:.1f} Hz apart.",
    )
    frame_step: _COUNT = _key(SOUND, "Samples from one frame to the next: {step_ms:.1f} ms.")
    T: _FRAMES = _key(SOUND, "Frames of a segment, which the network separates at a time: {segment:.1f} s of sound.")
    F: _FRAMES = _key(
        SOUND, "Frequency bins of the network's input: 0 to {top_khz:.1f} kHz. Above, see mask_extension."
    )
    n_channels: _CHANNELS = _key(
        SOUND, "Channels of the network's input: 2 is left and right, 1 is one after the other."
    )
    n_chunks_per_song: _COUNT = _key(
        SPLEETERS,
        "Only for Spleeter's own training: how many chunks it cuts from each song. They take {cache} of disk per song.",
        "That is {cache_of_all} for your {n_songs} song(s).",
        default=None,
    )
    separation_exponent: number(above=0, highest=10) = _key(
        SOUND,
        "An instrument's share of a point is its amount to this power, over the sum of all. 1 divides as the network "
        "predicts; 2 gives more to the strongest.",
    )
    mask_extension: one_of(*MASK_EXTENSIONS) = _key(
        SOUND,
        "What happens above {top_khz:.1f} kHz: `zeros` leaves it out, so that the instruments sound duller; `average` "
        "divides it as the rest of that frame.",
    )
    learning_rate: number(above=0, highest=1) = _key(
        TRAINING,
        "How far each step moves the weights. Too large and the loss jumps about, too small and nothing happens.",
    )
    batch_size: _COUNT = _key(
        TRAINING,
        "Examples per step, on all GPUs and machines together, which share them in fours: {batch_seconds:.0f} s of "
        "sound, {batch} of spectrograms. Spleeter's training takes whole segments, {spleeters_batch}, and keeps "
        "{shuffled} of them to draw from.",
        "In training, the network takes {memory} of memory here.",
    )
    loss_type: that(lambda value: value == "L1_mask", "L1_mask: Spleeter's other loss, weighted_L1_mask, fails") = _key(
        SPLEETERS, "Only for Spleeter's own training: the difference of magnitudes that it minimises.", default=None
    )
    optimizer: one_of(*OPTIMIZERS) = _key(
        SPLEETERS, "Only for Spleeter's own training: how steps follow from the loss.", default=None
    )
    MWF: that(lambda value: value in (True, False), "true or false") = _key(
        SPLEETERS,
        "A key of earlier Spleeters: a Wiener filter after the masks. It changes nothing: the command line of Spleeter "
        "decides that now, and our engine has no such filter.",
        default=None,
    )
    chunk_duration: number(above=0, highest=3600, unit="seconds") = _key(
        SPLEETERS, "Only for Spleeter's own training: the length of its chunks, in seconds.", default=None
    )
    training_cache: _CACHE = _key(
        SPLEETERS, "Only for Spleeter's own training: where it keeps its chunks as spectrograms.", default=None
    )
    validation_cache: _CACHE = _key(SPLEETERS, "The same for validation.", default=None)
    train_max_steps: _COUNT = _key(
        TRAINING,
        "Training ends after this many steps: {hours:.1f} h of sound.",
        "That is {epochs:.1f} times all of your music.",
        "A step takes {step}, so all of them take about {training} on this machine.",
    )
    throttle_secs: whole(0, unit="seconds") = _key(
        SPLEETERS, "Only for Spleeter's own training: the least time between two validations, in seconds."
    )
    random_seed: whole(0, 2**31 - 1) = _key(TRAINING, "Random seed: the same seed gives the same network.")
    save_checkpoints_steps: _COUNT = _key(
        TRAINING,
        "Steps between checkpoints ({n_saves:.0f} in all): what a crash can cost.",
        "A checkpoint takes {save} of disk, and replaces the one before.",
    )
    save_summary_steps: _COUNT = _key(SPLEETERS, "Steps between two points of the loss curve.")
    model: Model
    muscomp: Own


def find_model(model):
    """The configuration and the folder of a model.

    Parameters
    ----------
    model : str or Path
        A model folder, or a Spleeter configuration `.json`, whose `model_dir` is relative to the configuration's folder
        unless it is absolute; or the name of a model that Spleeter's authors published (published.NAMES), or the folder
        of that name that Spleeter unpacked it to. What only training needs may be missing from the configuration.

    Returns
    -------
    config : dict
    folder : Path

    Raises
    ------
    MissingError, SettingError
    """
    path = published.find(model) if published.is_name(model) else Path(model)
    if path.suffix.lower() == ".json" and not path.is_dir():
        config = _completed(published.UNUSED | read_json(path), path)
        return config, _weights_folder(path.absolute().parent, config["model_dir"])
    if (path / CONFIG).is_file():
        return _completed(published.UNUSED | read_json(path / CONFIG), path / CONFIG), path
    if path.name in published.FOLDERS and (path / STATE).is_file():
        return _completed(published.configuration(path.name), path), path
    raise MissingError(_why_no_model(path))


def _weights_folder(beside, model_dir):
    """The folder with the weights of a configuration in the folder `beside`.

    Spleeter takes a relative `model_dir` from the current folder to train, and from its folder of pretrained models to
    separate. Models are moved to other machines, with paths of the one that they were trained on: there the folder's
    name counts, beside the configuration or around it.
    """
    name = PureWindowsPath(model_dir).name  # it takes / and \ apart
    pretrained = Path(os.environ.get("MODEL_PATH") or "pretrained_models").absolute()
    own = [beside / model_dir, Path(model_dir).absolute(), pretrained / model_dir]
    moved = [beside / name, beside.parent / name] if name else []
    found = (folder for folder in own + moved if any((folder / file).is_file() for file in (STATE, WEIGHTS)))
    return next(found, own[0])


def _why_no_model(path):
    """What is wrong with a path that is no model, and what to do."""
    if not path.exists():
        return f"There is no model {path}: nothing is there. `muscomp models` lists those that have a name."
    if path.is_file():
        if any((path.parent / file).is_file() for file in (CONFIG, STATE)):
            return f"{path} is one file of a model. Give its folder: {path.parent}."
        return (
            f"{path} is no model. Give a model's folder, a Spleeter configuration (.json) or a name. Unpack an archive "
            "first; models of other programs cannot be used."
        )
    if (path / STATE).is_file():
        return (
            f"{path} holds Spleeter's weights, but not what network they are of ({CONFIG} is missing). Give the .json "
            f"that they were trained with, with this folder as its model_dir, or copy it to {path / CONFIG}."
        )
    inside = sorted(config.parent for config in path.glob(f"*/{CONFIG}"))
    where = f"Give a folder in it: {', '.join(map(str, inside[:3]))}." if inside else "Train it with notebook 04."
    return f"{path} holds no finished model ({CONFIG} is missing). {where}"


def read_config(path):
    """Read and check a configuration, our own or anyone's for Spleeter.

    Returns
    -------
    dict
        As in the file, completed with Spleeter's values for what may be left out: without `muscomp`, instrument names
        are free, and examples are whole segments of songs as they are.

    Raises
    ------
    MissingError
        There is no such file.
    SettingError
        It is not JSON, or a value in it is wrong.
    """
    return _completed(read_json(path), path)


def _completed(config, where):
    """A configuration with what may be left out, checked: a dict. `where` is its file, for the message."""
    if "model" not in config:
        raise SettingError(f"{where}: model is missing. A transcriber is chosen as notes_model, not as model.")
    config.setdefault("n_chunks_per_song", 2)
    config.setdefault("muscomp", {"taxonomy": None, "crop_frames": config.get("T"), "remix": False})
    check_config(config, where)
    return config


def read_json(path):
    """A JSON file with one object, without comments, of which the instruments are checked and nothing else: a dict.

    Raises
    ------
    MissingError
        There is no such file.
    SettingError
        It is not JSON in UTF-8, or not one object; a key is there twice; an instrument's name is not possible.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingError(f"{path} is not there. Notebook 03 writes a configuration: run that first.")
    try:
        config = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_unique)
    except UnicodeDecodeError as error:
        raise SettingError(f"{path} is not a text file in UTF-8. Save it as one.") from error
    except (ValueError, RecursionError) as error:
        where = (
            f", line {error.lineno}, column {error.colno}: {error.msg}" if hasattr(error, "lineno") else f": {error}"
        )
        raise SettingError(
            f"{path} is not JSON{where}. Look there for a comma or a quotation mark that is missing, a comma before a "
            "bracket that closes, or a comment."
        ) from error
    if not isinstance(config, dict):
        raise SettingError(f"{path} holds {type(config).__name__}, not an object of keys and values: {{...}}.")
    check_value("instrument_list", field(Config, "instrument_list"), config.get("instrument_list"), f"{path}: ")
    _check_names(config["instrument_list"], path)
    return config


def _unique(pairs):
    """A JSON object as a dict, without comments, and without the silent loss of a key that is there twice."""
    pairs = [(key, value) for key, value in pairs if not key.startswith(COMMENTS)]
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(
            f"the key {next(key for key, _ in pairs if [k for k, _ in pairs].count(key) > 1)!r} is there twice"
        )
    return found


def write_config(path, config):
    """Check a configuration and write it; it appears whole or not at all."""
    check_config(config, path)
    write_text(path, json.dumps(config, indent=4) + "\n")


def check_config(config, where):
    """Make sure that a configuration can be used.

    Parameters
    ----------
    config : dict
    where : str or Path
        The file, for the message.

    Raises
    ------
    SettingError
        Names the key, its value and the valid ones.
    """
    settings.check(Config, config, where, spell=json.dumps)
    _check_names([*config["instrument_list"], config["mix_name"]], where)
    _check_targets(config, where)
    network = _network_type(config["model"]["type"], where)
    settings.check(network.Params, config["model"].get("params", {}), where, "model.params.", json.dumps)
    flat = _flat(config)
    for key, holds, words in [*_demands(flat), *network.demands(flat)]:
        if not holds:
            raise SettingError(wrong(key, flat[key], words, f"{where}: ", json.dumps))
    members = [name for listed in (targets(config) or {}).values() for name in listed]
    _check_instruments(members or flat["instrument_list"], flat["muscomp.taxonomy"], where)


def _check_names(listed, where):
    """Instruments become files and folders: SettingError for what cannot be one."""
    for name in listed:
        names.check(name, "instrument", where)


def _check_targets(config, where):
    found = targets(config)
    if found is None:
        return
    if list(found) != config["instrument_list"]:
        raise SettingError(
            f"{where}: muscomp.targets names {', '.join(found)}, and instrument_list other targets: "
            f"{', '.join(config['instrument_list'])}. They must be the same, in the same order."
        )
    members = [name for listed in found.values() for name in listed]
    _check_names(members, where)
    if repeated := next((name for name in members if members.count(name) > 1), None):
        raise SettingError(f"{where}: muscomp.targets names {repeated!r} more than once. Leave it in one target.")


def targets(config):
    """The instruments of each target: {target: [instrument]}; None where each target is one instrument."""
    return config.get("muscomp", {}).get(TARGETS)


def covers_mix(config):
    """Whether a configuration's targets are all that there is in a mix: one of them has `other`."""
    found = targets(config)
    return instruments.OTHER in (config["instrument_list"] if found is None else [n for m in found.values() for n in m])


def _network_type(name, where):
    if name not in registry.types():
        words = f"one of {', '.join(registry.types())}"
        raise SettingError(wrong("model.type", name, words, f"{where}: ", json.dumps))
    return registry.network_type(name)


def _flat(config, prefix=""):
    """Keys of all levels as one dict: `model.type`."""
    flat = {}
    for key, value in config.items():
        if isinstance(value, dict) and key != TARGETS:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _demands(flat):
    """What one value demands of another: (key, whether it holds, what the value must be)."""
    return [
        (
            "frame_step",
            flat["frame_step"] <= flat["frame_length"],
            f"at most frame_length = {flat['frame_length']}, or samples between the frames are lost",
        ),
        (
            "F",
            flat["F"] <= flat["frame_length"] // 2 + 1,
            f"at most frame_length / 2 + 1 = {flat['frame_length'] // 2 + 1}, the number of bins there are",
        ),
        ("muscomp.crop_frames", flat["muscomp.crop_frames"] <= flat["T"], f"at most T = {flat['T']}"),
        (
            "instrument_list",
            flat["mix_name"] not in flat["instrument_list"],
            f"without {flat['mix_name']!r}, which is the name of the mix",
        ),
    ]


def _check_instruments(listed, taxonomy, where):
    if taxonomy is None:
        return
    check_value("muscomp.taxonomy", instruments.Taxonomy, taxonomy, f"{where}: ")
    known = [*instruments.names(taxonomy), instruments.OTHER]
    for name in listed:
        if name not in known:
            raise SettingError(
                f"{where}: instrument_list names {name!r}, which taxonomy {taxonomy!r} does not have. "
                f"{suggestion(name, known)}"
            )


def check_engine(engine):
    """Raise SettingError unless there is an engine of this name."""
    settings.check_value("engine", one_of(*ENGINES), engine)


def explain(config, tables=None, trial=None):
    """What each key of a configuration means, with the figures that follow from its value.

    Parameters
    ----------
    config : dict
    tables : dict of str to pd.DataFrame, optional
        The tables by partition, as `tables.write` gives them, for figures about the user's own music.
    trial : training.Trial, optional
        What a few steps took on this machine.

    Returns
    -------
    pd.DataFrame
        Columns `group`, `key`, `value`, `meaning`, group by group. Paths are shortened to their last two parts.
    """
    import pandas as pd  # half a second, which a model's configuration does not need

    flat, network = _flat(config), registry.network(config)
    figures = _figures(flat, network)
    if tables is not None:
        figures |= _figures_of_music(flat, tables)
    if trial is not None:
        figures |= _figures_of_trial(flat, trial)
    declared = fields(Config) | fields(network.Params, "model.params.")
    rows = [
        (_group(declared[key]), key, _short(value), _meaning(declared[key], figures)) for key, value in flat.items()
    ]
    rows.sort(key=lambda row: GROUPS.index(row[0]))
    return pd.DataFrame(rows, columns=["group", "key", "value", "meaning"])


def _group(declared):
    return (declared.json_schema_extra or {}).get("group", NETWORK)


def _meaning(declared, figures):
    sentences = [declared.description.format(**figures)]
    for sentence in (declared.json_schema_extra or {}).get("more", ()):
        with contextlib.suppress(KeyError):  # nothing is known about the user's music or machine
            sentences.append(sentence.format(**figures))
    return " ".join(sentences)


def _short(value):
    if isinstance(value, str) and Path(value).is_absolute():
        return str(Path("…", *Path(value).parts[-2:]))
    return ", ".join(map(str, value)) if isinstance(value, list) else json.dumps(value).strip('"')


def _figures(flat, network):
    """The numbers that make a configuration concrete: seconds, Hz, bytes, parameters."""
    rate, step = flat["sample_rate"], flat["frame_step"]
    crop, batch = flat["muscomp.crop_frames"] * step / rate, flat["batch_size"]
    return {
        "n_instruments": len(flat["instrument_list"]),
        "nyquist_khz": rate / 2000,
        "window_ms": 1000 * flat["frame_length"] / rate,
        "step_ms": 1000 * step / rate,
        "bin_hz": rate / flat["frame_length"],
        "top_khz": flat["F"] * rate / flat["frame_length"] / 1000,
        "segment": flat["T"] * step / rate,
        "crop": crop,
        "batch_seconds": batch * crop,
        "batch": size(
            batch * flat["muscomp.crop_frames"] * _values_per_frame(flat, network.training_channels) * FLOAT_BYTES
        ),
        "spleeters_batch": size(batch * flat["T"] * _values_per_frame(flat) * FLOAT_BYTES),
        "shuffled": size(SPLEETER_SHUFFLED * flat["T"] * _values_per_frame(flat)),
        "cache": size(_cached_seconds(flat) * _cache_per_second(flat)),
        "hours": flat["train_max_steps"] * batch * crop / 3600,
        "n_saves": math.ceil(flat["train_max_steps"] / flat["save_checkpoints_steps"]),
        "network": network.description(),
    }


def _figures_of_music(flat, tables):
    music, unseen = tables["train"]["duration"], tables["validation"]["duration"]
    crop = flat["muscomp.crop_frames"] * flat["frame_step"] / flat["sample_rate"]
    times = flat["train_max_steps"] * flat["batch_size"] * crop / music.sum()
    cached = sum(_cached_seconds(flat, song) for song in music)
    return {
        "n_songs": len(music),
        "music": duration(music.sum()),
        "n_unseen": len(unseen),
        "unseen": duration(unseen.sum()),
        "epochs": times,
        "cache_of_all": size(cached * _cache_per_second(flat)),
    }


def _figures_of_trial(flat, trial):
    known = {
        "step": duration(trial.step_seconds),
        "training": duration(flat["train_max_steps"] * trial.step_seconds),
        "weights": size(trial.weights_bytes),
        "save": size(trial.save_bytes),
    }
    return known if trial.memory_bytes is None else known | {"memory": size(trial.memory_bytes)}


def _values_per_frame(flat, n_channels=None):
    """Values of a frame's spectrograms, those of the mix included."""
    return (len(flat["instrument_list"]) + 1) * flat["F"] * (n_channels or flat["n_channels"])


def _cached_seconds(flat, song=math.inf):
    """Seconds that Spleeter caches of a song of so many seconds."""
    return flat.get("n_chunks_per_song", 1) * min(flat.get("chunk_duration", SPLEETER_CHUNK), song)


def _cache_per_second(flat):
    """Bytes: Spleeter keeps a value of its spectrograms in one."""
    return flat["sample_rate"] / flat["frame_step"] * _values_per_frame(flat)
