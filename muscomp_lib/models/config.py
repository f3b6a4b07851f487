"""The training configuration: Spleeter's JSON file, read, checked and explained. Used by notebooks 03, 04 and 05.

The keys are Spleeter's own, so that `spleeter train -p` takes the file as it is, and one more, `muscomp`, which
Spleeter passes over. `KEYS` declares each key once: what it may hold, and what it means in plain words; reading,
checking and explaining all follow from it. Keys of nested objects are written with dots: `model.type`.
"""

import contextlib
import difflib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from muscomp_lib.core import instruments
from muscomp_lib.core.errors import MissingError, SettingError
from muscomp_lib.core.files import written_whole

SPLEETER_TYPES = ("unet.unet", "unet.softmax_unet")
MODEL_TYPES = (*SPLEETER_TYPES, "muscomp.shared_unet")
ACTIVATIONS = ("ELU", "ReLU", "LeakyReLU")
MASK_EXTENSIONS = ("zeros", "average")
ENGINES = ("muscomp", "spleeter")  # who trains and separates: this library, or the real Spleeter
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")  # Keras' names
OPTIMIZERS = ("Adam", "Adadelta", "SGD")
SPLEETER_FILTERS = (16, 32, 64, 128, 256, 512)  # of the six convolutions, unless conv_n_filters says otherwise
FRAME_MULTIPLE = 64  # six convolutions each halve frames and bins: what cannot be halved so often does not fit
OVERLAP = 4  # frame_length / frame_step: Spleeter's inverse STFT changes the level for any other ratio
SPLEETER_CHUNK = 20.0  # seconds: Spleeter cuts songs into chunks of this length for its cache
SPLEETER_SHUFFLED = 256  # examples that Spleeter's training keeps in memory, to draw from
FLOAT_BYTES = 4
GROUPS = ("model", "model.params", "muscomp")  # the keys that hold keys


def _text(value):
    return isinstance(value, str) and value.strip() != ""


def _whole(lowest, highest=math.inf):
    return lambda value: type(value) is int and lowest <= value <= highest


def _number(lowest, highest):
    return lambda value: type(value) in (int, float) and lowest < value <= highest


def _one_of(*choices):
    return lambda value: isinstance(value, str) and value in choices


def _names(value):
    return isinstance(value, list) and len(value) > 0 and all(map(_text, value)) and len(set(value)) == len(value)


def _filters(value):
    return isinstance(value, list) and 2 <= len(value) <= 6 and all(map(_whole(1), value))


@dataclass(frozen=True)
class Key:
    """One key: what it may hold (as a check and in words), and what it means, with {figures} filled in by `explain`.

    Each sentence of `more` follows where its figures are known: they need the user's tables, or a trial of training.
    """

    valid: Callable
    expected: str
    meaning: str
    needed: bool = True
    more: tuple = ()


_PATH = (_text, "a path")
_COUNT = (_whole(1), "a whole number from 1")
_FRAMES = (
    lambda value: _whole(1)(value) and value % FRAME_MULTIPLE == 0,
    f"a multiple of {FRAME_MULTIPLE}: the network halves it six times",
)
_CACHE = (lambda value: value is None or _text(value), "a path, or null for no cache")
_ACTIVATION = (_one_of(*ACTIVATIONS), f"one of {', '.join(ACTIVATIONS)}")
_ACTIVATION_MEANING = "The bend after each {}: without one, any number of layers could do no more than a single one."

KEYS = {
    "train_csv": Key(*_PATH, "Table of the songs to learn from, one row per song, one column per instrument.",
                     more=("Yours has {n_songs} song(s), {music} of music.",)),
    "validation_csv": Key(*_PATH, "Table of songs that are never learned from; they show whether the network has "
                          "understood or only memorised.", more=("Yours has {n_unseen} song(s), {unseen} of music.",)),
    "model_dir": Key(*_PATH, "Folder for the trained network. Absolute, because Spleeter looks for relative ones "
                     "elsewhere and, finding nothing, separates with random weights."),
    "mix_name": Key(_text, "a name", "The column `<name>_path` of the tables holds the mix, what the network hears."),
    "instrument_list": Key(_names, "a list of different names",
                           "The {n_instruments} sounds to separate; each has its column `<name>_path`. `other` is all "
                           "that none of the others is."),
    "sample_rate": Key(_whole(8000, 192000), "a whole number of Hz from 8000 to 192000",
                       "Samples per second, in Hz. Sound up to half of it, {nyquist_khz:g} kHz, can be stored."),
    "frame_length": Key(lambda value: _whole(128)(value) and value.bit_count() == 1,
                        "a power of two from 128: Spleeter's masks fit no other",
                        "Samples looked at together for one column of the spectrogram: {window_ms:.0f} ms, which tells "
                        "pitches {bin_hz:.1f} Hz apart."),
    "frame_step": Key(*_COUNT, "Samples from one column to the next: {step_ms:.1f} ms."),
    "T": Key(*_FRAMES, "Columns the network looks at when it separates: {segment:.1f} s of sound."),
    "F": Key(*_FRAMES, "Frequency bins the network looks at: from 0 to {top_khz:.1f} kHz. Above, see mask_extension."),
    "n_channels": Key(_whole(1, 2), "1 or 2", "What the network hears at once: 2 is left and right, 1 is one channel "
                      "after the other."),
    "n_chunks_per_song": Key(*_COUNT, "Only for Spleeter's own training: how many chunks it cuts from each "
                             "song. They take {cache} of disk per song.", needed=False,
                             more=("That is {cache_of_all} for your {n_songs} song(s).",)),
    "separation_exponent": Key(_number(0, 10), "a number above 0, at most 10",
                               "An instrument's share of a point is its amount to this power, over the sum of all. 1 "
                               "shares out as the network says; 2 gives more to the strongest."),
    "mask_extension": Key(_one_of(*MASK_EXTENSIONS), f"one of {', '.join(MASK_EXTENSIONS)}",
                          "What happens above {top_khz:.1f} kHz: `zeros` leaves it out, so that the instruments sound "
                          "duller; `average` shares it out as the rest of that moment."),
    "learning_rate": Key(_number(0, 1), "a number above 0, at most 1",
                         "How far each step moves the weights. Too large and the loss jumps about, too small and "
                         "nothing happens."),
    "batch_size": Key(*_COUNT, "Examples per step, on all GPUs and machines together, which share them in fours: "
                      "{batch_seconds:.0f} s of sound, {batch} of spectrograms. Spleeter's training takes "
                      "whole segments, {spleeters_batch}, and keeps {shuffled} of them to draw from.",
                      more=("While it learns, the network takes {memory} of memory here.",)),
    "loss_type": Key(_one_of("L1_mask"), "L1_mask: Spleeter's other loss, weighted_L1_mask, fails",
                     "Only for Spleeter's own training: the difference of magnitudes that it makes small.",
                     needed=False),
    "optimizer": Key(_one_of(*OPTIMIZERS), f"one of {', '.join(OPTIMIZERS)}",
                     "Only for Spleeter's own training: how steps follow from the loss.", needed=False),
    "chunk_duration": Key(_number(0, 3600), "a number of seconds above 0, at most 3600",
                          "Only for Spleeter's own training: the length of its chunks, in seconds.", needed=False),
    "training_cache": Key(*_CACHE, "Only for Spleeter's own training: where it keeps its chunks, prepared.",
                          needed=False),
    "validation_cache": Key(*_CACHE, "The same for validation.", needed=False),
    "train_max_steps": Key(*_COUNT, "Training ends after this many steps: {heard_hours:.1f} h of sound heard.",
                           more=("All of your music is then heard {times_heard:.1f} times.",
                                 "A step takes {step}, so all of them take about {training} on this machine.")),
    "throttle_secs": Key(_whole(0), "a whole number of seconds from 0",
                         "Only for Spleeter's own training: the least time between two validations, in seconds."),
    "random_seed": Key(_whole(0, 2**31 - 1), "a whole number from 0",
                       "Where all chance starts: the same seed gives the same network."),
    "save_checkpoints_steps": Key(*_COUNT, "Steps between saves ({n_saves:.0f} in all): what a crash can cost.",
                                  more=("A save takes {save} of disk, and replaces the one before.",)),
    "save_summary_steps": Key(*_COUNT, "Steps between two points of the loss curve."),
    "model.type": Key(_one_of(*MODEL_TYPES), f"one of {', '.join(MODEL_TYPES)}", "The network: {network}.",
                      more=("Trained, it takes {weights} of disk.",)),
    "model.params.conv_activation": Key(*_ACTIVATION, _ACTIVATION_MEANING.format("convolution"), needed=False),
    "model.params.deconv_activation": Key(*_ACTIVATION, _ACTIVATION_MEANING.format("transposed convolution"),
                                          needed=False),
    "model.params.conv_n_filters": Key(_filters, "a list of 2 to 6 whole numbers from 1",
                                       "Patterns each convolution looks for. Twice as many can tell more apart, and "
                                       "take about four times the work.", needed=False),
    "muscomp.taxonomy": Key(lambda value: value is None or _text(value), "a taxonomy's name, or null for free names",
                            "Which General MIDI programs make up each instrument (instruments.yaml)."),
    "muscomp.crop_frames": Key(*_FRAMES, "Columns of one training example: {crop:.1f} s. Shorter than T, because a "
                               "network of this kind learns as much from several short ones."),
    "muscomp.precision": Key(_one_of(*PRECISIONS), f"one of {', '.join(PRECISIONS)}",
                             "What it computes in while it learns: 16-bit floats are faster where the processor or "
                             "GPU has circuits for them: mixed_float16 on NVIDIA's from V100 and T4 on, mixed_bfloat16 "
                             "on processors with AVX512_BF16. The weights stay 32-bit.",
                             needed=False),
    "muscomp.start_from": Key(lambda value: value is None or _text(value), "a model, or null for fresh weights",
                              "The model whose weights training starts from: its name, its folder, or `shipped`, the "
                              "one that comes with this project.", needed=False),
    "muscomp.remix": Key(lambda value: type(value) is bool, "true or false",
                         "If true, in most examples each instrument comes from another song and place: a few songs "
                         "then make endless mixes."),
}  # fmt: skip


def read(path):
    """Read and check a configuration, our own or anyone's for Spleeter.

    Returns
    -------
    dict
        As in the file. What Spleeter lets one leave out is there with Spleeter's value: `muscomp` then stands for
        free instrument names, whole segments and no remixing.

    Raises
    ------
    MissingError
        No such file.
    SettingError
        Not JSON, or something in it is wrong.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingError(f"{path} is not there. Notebook 03 writes a configuration: run that first.")
    try:
        config = json.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise SettingError(f"{path} is not a text file in UTF-8. Save it as one.") from error
    except (json.JSONDecodeError, RecursionError) as error:
        where = f", line {error.lineno}, column {error.colno}: {error.msg}" if hasattr(error, "lineno") else ""
        raise SettingError(f"{path} is not JSON{where}. Look for a missing comma or quotation mark there.") from error
    if isinstance(config, dict):
        config.setdefault("n_chunks_per_song", 2)
        config.setdefault("muscomp", {"taxonomy": None, "crop_frames": config.get("T"), "remix": False})
    check(config, path)
    return config


def write(path, config):
    """Check a configuration and write it; it appears whole or not at all."""
    check(config, path)
    with written_whole(path) as part:
        part.write_text(json.dumps(config, indent=4) + "\n", encoding="utf-8")


def check(config, where):
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
    if not isinstance(config, dict):
        raise SettingError(f"{where} holds {type(config).__name__}, not an object of keys and values: {{...}}.")
    flat = _flat(config, where)
    for key in flat:
        if key not in KEYS:
            close = difflib.get_close_matches(key, KEYS, n=1)
            hint = f"Do you mean {close[0]!r}?" if close else f"The keys are {', '.join(KEYS)}."
            raise SettingError(f"{where}: there is no key {key!r}. {hint}")
    absent = [key for key, declared in KEYS.items() if declared.needed and key not in flat]
    if absent:
        raise SettingError(f"{where} lacks {', '.join(map(repr, absent))}. Notebook 03 writes a complete one.")
    for key, value in flat.items():
        if not KEYS[key].valid(value):
            raise _wrong(where, key, value, KEYS[key].expected)
    _check_together(flat, where)


def _flat(config, where, prefix=""):
    """Keys of all levels as one dict, `model.type`."""
    flat = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if name not in GROUPS:
            flat[name] = value
        elif isinstance(value, dict):
            flat.update(_flat(value, where, f"{name}."))
        else:
            raise _wrong(where, name, value, "an object of keys and values: {...}")
    return flat


def _wrong(where, key, value, expected):
    return SettingError(f"{where}: {key} = {json.dumps(value)} is not possible. It must be {expected}.")


def _check_together(flat, where):
    """What one value demands of another."""
    demands = [
        ("frame_step", flat["frame_step"] <= flat["frame_length"],
         f"at most frame_length = {flat['frame_length']}, or samples between the frames are lost"),
        ("frame_step",
         flat["model.type"] in SPLEETER_TYPES or flat["frame_step"] * OVERLAP == flat["frame_length"],
         f"frame_length / {OVERLAP} = {flat['frame_length'] // OVERLAP}, or the inverse STFT changes the sound"),
        ("F", flat["F"] <= flat["frame_length"] // 2 + 1,
         f"at most frame_length / 2 + 1 = {flat['frame_length'] // 2 + 1}, the number of bins there are"),
        ("muscomp.precision",
         flat["model.type"] not in SPLEETER_TYPES or flat.get("muscomp.precision", "float32") == "float32",
         f"float32 for {flat['model.type']}"),
        ("muscomp.crop_frames", flat["muscomp.crop_frames"] <= flat["T"], f"at most T = {flat['T']}"),
        ("instrument_list", flat["mix_name"] not in flat["instrument_list"],
         f"without {flat['mix_name']!r}, which is the name of the mix"),
        ("model.params.conv_n_filters",
         flat["model.type"] not in SPLEETER_TYPES or len(flat.get("model.params.conv_n_filters", range(6))) == 6,
         f"a list of 6 whole numbers for {flat['model.type']}"),
    ]  # fmt: skip
    for key, holds, expected in demands:
        if not holds:
            raise _wrong(where, key, flat[key], expected)
    _check_instruments(flat["instrument_list"], flat["muscomp.taxonomy"], where)


def _check_instruments(names, taxonomy, where):
    if taxonomy is None:
        return
    known = [*instruments.names(taxonomy), instruments.OTHER]
    for name in names:
        if name not in known:
            raise SettingError(
                f"{where}: instrument_list names {name!r}, which taxonomy {taxonomy!r} does not have. "
                f"It has {', '.join(known)}."
            )


def check_engine(engine):
    """Raise SettingError unless there is an engine of this name."""
    if engine not in ENGINES:
        raise SettingError(f"engine = {engine!r} is not possible. It must be one of {', '.join(ENGINES)}.")


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
        Columns `key`, `value`, `meaning`.
    """
    flat = _flat(config, "the configuration")
    figures = _figures(flat)
    if tables is not None:
        figures |= _figures_of_music(flat, tables)
    if trial is not None:
        figures |= _figures_of_trial(flat, trial)
    rows = [(key, _short(value), _told(KEYS[key], figures)) for key, value in flat.items()]
    return pd.DataFrame(rows, columns=["key", "value", "meaning"])


def _told(key, figures):
    sentences = [key.meaning.format(**figures)]
    for sentence in key.more:
        with contextlib.suppress(KeyError):  # nothing is known about the user's music or machine
            sentences.append(sentence.format(**figures))
    return " ".join(sentences)


def _short(value):
    return ", ".join(map(str, value)) if isinstance(value, list) else json.dumps(value).strip('"')


def _figures(flat):
    """The numbers that make a configuration concrete: seconds, Hz, bytes, parameters."""
    rate, step = flat["sample_rate"], flat["frame_step"]
    n_instruments = len(flat["instrument_list"])
    crop, batch = flat["muscomp.crop_frames"] * step / rate, flat["batch_size"]
    heard = flat["n_channels"] if flat["model.type"] in SPLEETER_TYPES else 1  # ours listens to the average of channels
    return {
        "n_instruments": n_instruments,
        "nyquist_khz": rate / 2000,
        "window_ms": 1000 * flat["frame_length"] / rate,
        "step_ms": 1000 * step / rate,
        "bin_hz": rate / flat["frame_length"],
        "top_khz": flat["F"] * rate / flat["frame_length"] / 1000,
        "segment": flat["T"] * step / rate,
        "crop": crop,
        "batch_seconds": batch * crop,
        "batch": size(batch * flat["muscomp.crop_frames"] * _values_per_frame(flat, heard) * FLOAT_BYTES),
        "spleeters_batch": size(batch * flat["T"] * _values_per_frame(flat) * FLOAT_BYTES),
        "shuffled": size(SPLEETER_SHUFFLED * flat["T"] * _values_per_frame(flat)),
        "cache": size(_cached_seconds(flat) * _cache_per_second(flat)),
        "heard_hours": flat["train_max_steps"] * batch * crop / 3600,
        "n_saves": math.ceil(flat["train_max_steps"] / flat["save_checkpoints_steps"]),
        "network": _network(flat, n_instruments),
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
        "times_heard": times,
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


def duration(seconds):
    """Seconds in words: `0.25 s`, `45 s`, `12 min`, `1 h 20 min`, `3 days 4 h`."""
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} days {minutes % 1440 // 60} h"


def size(n_bytes):
    """Bytes in words: `23 MB`, `1.4 TB`."""
    for unit in ("kB", "MB", "GB"):
        n_bytes /= 1000
        if n_bytes < 999.5:
            return f"{n_bytes:.1f} {unit}" if n_bytes < 9.95 else f"{n_bytes:.0f} {unit}"
    return f"{n_bytes / 1000:.1f} TB"


def _network(flat, n_instruments):
    if flat["model.type"] not in SPLEETER_TYPES:
        return "our own, one U-Net for all instruments that divides each point of the spectrogram among them"
    each = parameters(flat.get("model.params.conv_n_filters", SPLEETER_FILTERS), flat["n_channels"])
    return (
        f"Spleeter's, one U-Net per instrument, {each / 1e6:.1f} million parameters each and "
        f"{n_instruments * each / 1e6:.0f} million in all, {n_instruments * each * 4 / 1e9:.2f} GB"
    )


def parameters(filters=SPLEETER_FILTERS, n_channels=2):
    """How many numbers one of Spleeter's U-Nets learns or keeps, from the filters of its convolutions."""
    down = list(zip((n_channels, *filters[:-1]), filters, strict=True))
    up = list(zip((filters[-1], *(2 * n for n in reversed(filters[:-1]))), (*reversed(filters[:-1]), 1), strict=True))
    layers = sum(25 * n_in * n_out + n_out for n_in, n_out in down + up)  # kernels of 5 x 5
    normalisation = sum(4 * n_out for _, n_out in down + up)
    return layers + normalisation + 16 * n_channels + n_channels  # and the mask: a kernel of 4 x 4
