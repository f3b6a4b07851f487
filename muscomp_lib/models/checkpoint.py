"""Read and write Spleeter's checkpoints. Used by 04 and 05.

A Spleeter model is a folder with a TensorFlow checkpoint: `checkpoint`, a line of text that names the latest save, and
the save itself, `<name>.index` and `<name>.data-...`. Variables do not carry an instrument's name. They are numbered in
the order in which the networks were created, one U-Net per instrument:

    conv2d, conv2d_1, ...             7 per instrument: six convolutions of the encoder, and the last one, for the mask
    conv2d_transpose, ...             6 per instrument: the decoder
    batch_normalization, ...          12 per instrument: six of the encoder, the last one unused, and six of the decoder

So the order of `instrument_list` decides which weights belong to which instrument, and a checkpoint fits a
configuration only if the number of variables and all shapes do. That is checked here, because Spleeter itself
continues with random weights when it finds no checkpoint.

A save is two files. `<name>.index` is a sorted table (LevelDB's format: blocks of entries, each of which shares the
beginning of its key with the one before; the last 48 bytes tell where the block is that lists the blocks). Its keys are
variable names, its values protocol buffers with type, shape, file, first byte, size and checksum. `<name>.data-*` holds
the bytes themselves. TensorFlow, which takes seconds to import, is only needed to write them.
"""

import glob
import json
import re
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np

from muscomp_lib.core.errors import MissingError, SettingError
from muscomp_lib.core.files import write_text
from muscomp_lib.core.names import is_name
from muscomp_lib.models import registry
from muscomp_lib.models.config import find_model, read_json, write_config
from muscomp_lib.models.runtime import start_tensorflow
from muscomp_lib.models.weights import CONFIG, STATE, check_finite, check_order

ORDER = "# instruments: "  # begins a comment in that file: what the weights were trained for, in order
SPLEETER_CONFIG = "spleeter.json"  # what our `engine="spleeter"` gave to the real Spleeter, which trained here
STEP = "global_step"
FILTERS = (16, 32, 64, 128, 256, 512)  # of the six convolutions, unless conv_n_filters says otherwise
MASK_CHANNELS = 2  # the masks are for left and right, also where the input is one channel
ONE = "one"  # what the instrument is called in `SpleeterUnet.build_one`
DEPTH = 6  # convolutions of encoder and of decoder
NORMALISATION = {"gamma": 1.0, "beta": 0.0, "moving_mean": 0.0, "moving_variance": 1.0}  # and neutral values
MAGIC = 0xDB4775248B80FB57  # the last 8 bytes of a table
FOOTER, TRAILER = 48, 5  # bytes: at a table's end; after each block, its compression and its checksum
DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8", 19: "<f2"}  # by TensorFlow's number
MASK = 0xA282EAD8  # added to stored checksums
CRC_BITS = 32


class Checkpoint:
    """A Spleeter model's weights, checked against its configuration, read one instrument at a time.

    Parameters
    ----------
    folder : str or Path
        With the file `checkpoint` in it.
    config : dict
        As `config.read_config` returns it.

    Attributes
    ----------
    path : Path
        The save, without suffix.
    step : int
        Training steps done.

    Raises
    ------
    MissingError
        There is no checkpoint in the folder, or a part of it is missing.
    SettingError
        It is damaged, or belongs to another network: the first variable that does not fit is named.
    """

    def __init__(self, folder, config):
        self.path = latest(folder)
        try:
            self._file = TensorBundle(self.path)
        except (OSError, ValueError) as error:
            raise self._damaged(".index", error) from error
        self._config = config
        self._check()
        self.step = int(self._tensor(STEP)) if STEP in self._file.shapes else 0

    def weights(self, number):
        """The weights of one instrument by its number, by name in `SpleeterUnet.build_one`: {str: float32}."""
        return {ours: self._tensor(theirs) for ours, theirs, _ in _variables(self._config, number) if ours}

    def _check(self):
        shapes = self._file.shapes
        needed = [v for number in range(len(self._config["instrument_list"])) for v in _variables(self._config, number)]
        for _, theirs, shape in needed:
            if tuple(shapes.get(theirs, ())) != shape:
                found = f"has the shape {tuple(shapes[theirs])}" if theirs in shapes else "is missing"
                raise self._misfit(f"{theirs} {found}, and {shape} is needed")
        known = {theirs for _, theirs, _ in needed}
        if beyond := sorted(name for name in shapes if _NETWORK.fullmatch(name) and name not in known):
            raise self._misfit(f"{beyond[0]} is beyond the {len(self._config['instrument_list'])} instruments")
        check_order(_order(self.path.parent), self._config["instrument_list"], self.path)

    def _misfit(self, what):
        names = ", ".join(self._config["instrument_list"])
        return SettingError(
            f"{self.path} holds the weights of another network than its configuration describes: {what}. "
            f"Use the configuration that it was trained with; this one has {self._config['model']['type']} for {names}."
        )

    def _tensor(self, name):
        try:
            value = self._file.tensor(name)
        except (OSError, ValueError, OverflowError) as error:  # the last of a damaged size
            raise self._damaged(".data-*", error) from error
        check_finite({name: value}, self.path)
        return value

    def _damaged(self, kind, error):
        path = next(_parts(self.path, kind), self.path)
        return SettingError(f"{path} cannot be read ({_first_line(error)}). Copy the model's folder again.")


def latest(folder):
    """The save that a model folder's file `checkpoint` names, in that folder: a path without suffix.

    Only its name is used, not the folder that it was written to: models are moved.

    Raises
    ------
    MissingError
    """
    state = Path(folder) / STATE
    if not state.is_file():
        saves = sorted(save.stem for save in Path(folder).glob("*.index"))
        remedy = "Give the folder that holds it: in a configuration it is model_dir."
        if saves:
            line = f'model_checkpoint_path: "{saves[-1]}"'
            remedy = f"Write it as text, with the name of a save that is there ({', '.join(saves)}): {line}"
        raise MissingError(f"{folder} holds no trained Spleeter model (the file {STATE!r} is missing). {remedy}")
    named = re.search(r'^model_checkpoint_path:\s*"(.+)"', _read_state(folder), re.M)
    name = re.split(r"[/\\]", named[1])[-1] if named else ""
    if not is_name(name):
        raise MissingError(f"{state} names no checkpoint. Copy the model's folder again.")
    path = Path(folder) / name
    absent = [kind for kind in (".index", ".data-*") if not any(_parts(path, kind))]
    if absent:
        raise MissingError(f"{path}{absent[0]} is not there, but {state} names it. Copy the model's folder again.")
    return path


def _parts(path, kind):
    """The files of a save, whose names end as `kind` says."""
    return path.parent.glob(f"{glob.escape(path.name)}{kind}")


def _read_state(folder):
    return (Path(folder) / STATE).read_text(encoding="utf-8", errors="replace")


def _order(folder):
    """The instruments of a folder's weights as JSON, by whoever wrote them; "" where that is not known."""
    if stored := re.search(rf"^{ORDER}(.+)$", _read_state(folder), re.M):
        return stored[1]
    given = folder / SPLEETER_CONFIG
    return json.dumps(read_json(given)["instrument_list"]) if given.is_file() else ""


def write(folder, config, values, step):
    """Write weights as a checkpoint that the real Spleeter loads: `model-<step>.*`, then `checkpoint`.

    Parameters
    ----------
    folder : Path
    config : dict
        Of a Spleeter network.
    values : mapping of str to np.ndarray
        As `weights.get_weights` returns them for the network of `config`.
    step : int
        Training steps done.

    Raises
    ------
    SettingError
        The network is not one of Spleeter's.
    """
    require_spleeter_network(config)
    start_tensorflow()
    import tensorflow as tf

    tensors = {STEP: np.array(step, np.int64)}
    for number, instrument in enumerate(config["instrument_list"]):
        for ours, theirs, shape in _variables(config, number):
            unused = np.full(shape, NORMALISATION.get(theirs.rpartition("/")[2]), np.float32)
            tensors[theirs] = values[ours.replace(ONE, instrument, 1)] if ours else unused
    names = sorted(tensors)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"model-{step}"
    tf.raw_ops.SaveV2(
        prefix=str(path),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.constant(tensors[name]) for name in names],
    )
    order = json.dumps(config["instrument_list"])  # last: until the state is there, the folder holds no model
    write_text(folder / STATE, f'model_checkpoint_path: "{path.name}"\n{ORDER}{order}\n')


def export(model, folder):
    """Copy a trained model into a folder that the real Spleeter can use: its checkpoint and `config.json`.

    `spleeter separate -p <folder>/config.json song.wav` then gives the same result as `Separator`. The path in the
    configuration is absolute: export again when the folder is moved.

    Parameters
    ----------
    model : str or Path
        A model folder, or a Spleeter configuration `.json`.
    folder : str or Path

    Returns
    -------
    Path
        The configuration.
    """
    config, source = find_model(model)
    require_spleeter_network(config)
    folder, values = Path(folder).absolute(), registry.network(config).read_weights(source)
    write(folder, config, values, Checkpoint(source, config).step)
    write_config(folder / CONFIG, config | {"model_dir": str(folder)})
    return folder / CONFIG


def require_spleeter_network(config):
    """Raise SettingError unless Spleeter has such a network, and can name its layers after these instruments."""
    kind = config["model"]["type"]
    if not registry.network_type(kind).spleeter:
        known = [name for name in registry.types() if registry.network_type(name).spleeter]
        raise SettingError(
            f"model.type {kind!r} is a network of our own, which Spleeter does not have. "
            f"Spleeter has {' and '.join(known)}: choose one in notebook 03 and train it."
        )
    for name in config["instrument_list"]:
        if not re.fullmatch(r"[A-Za-z0-9.][A-Za-z0-9_./>-]*", name):
            raise SettingError(
                f"instrument {name!r}: a name in Spleeter has only letters from a to z, digits, _ and -."
            )


_NETWORK = re.compile(rf"(conv2d|conv2d_transpose|batch_normalization)(_\d+)?/(kernel|bias|{'|'.join(NORMALISATION)})")


def _variables(config, number):
    """The variables of instrument `number`, in order: (name in `build_one` or None, Spleeter's name, shape)."""
    down = tuple(config["model"].get("params", {}).get("conv_n_filters", FILTERS))
    up = (*reversed(down[:-1]), 1)
    inputs = (config["n_channels"], *down[:-1])
    for i, (n_inputs, n_filters) in enumerate(zip(inputs, down, strict=True)):
        yield from _convolution(f"down{i}", f"conv2d{_number(number * (DEPTH + 1) + i)}", (5, 5, n_inputs, n_filters))
        ours = f"down{i}" if i < DEPTH - 1 else None
        yield from _normalisation(ours, number * 2 * DEPTH + i, n_filters)
    inputs = (down[-1], *(2 * n_filters for n_filters in up[:-1]))
    for i, (n_inputs, n_filters) in enumerate(zip(inputs, up, strict=True)):
        theirs = f"conv2d_transpose{_number(number * DEPTH + i)}"
        yield from _convolution(f"up{i}", theirs, (5, 5, n_filters, n_inputs), n_filters)
        yield from _normalisation(f"up{i}", number * 2 * DEPTH + DEPTH + i, n_filters)
    yield from _convolution("mask", f"conv2d{_number(number * (DEPTH + 1) + DEPTH)}", (4, 4, 1, MASK_CHANNELS))


def _convolution(ours, theirs, shape, n_filters=None):
    yield f"{ONE}_{ours}/kernel", f"{theirs}/kernel", shape
    yield f"{ONE}_{ours}/bias", f"{theirs}/bias", (n_filters or shape[-1],)


def _normalisation(ours, number, n_filters):
    for name in NORMALISATION:
        theirs = f"batch_normalization{_number(number)}/{name}"
        yield ours and f"{ONE}_{ours}_normalisation/{name}", theirs, (n_filters,)


def _number(number):
    return f"_{number}" if number else ""


def _first_line(error):
    return (str(error).splitlines() or ["unknown format"])[0][:200]


class Entry(NamedTuple):
    """One variable: its type, shape, and where its bytes are."""

    dtype: str
    shape: tuple
    shard: int
    begin: int
    size: int
    checksum: int


class TensorBundle:
    """A save.

    Parameters
    ----------
    path : Path
        Without suffix.

    Attributes
    ----------
    shapes : dict of str to tuple of int
        By variable.

    Raises
    ------
    ValueError, OSError
        It cannot be read: damaged, cut short, or with types or features that no Spleeter model has.
    """

    def __init__(self, path):
        self._path = path
        try:
            found = dict(_table(path.with_name(f"{path.name}.index").read_bytes()))
            self._n_shards = _message(found.pop(b"")).get(1, 1)
            self._entries = {name.decode(): _entry(value) for name, value in found.items()}
        except (IndexError, KeyError, TypeError, struct.error) as error:
            raise ValueError(f"damaged: {type(error).__name__} {error}") from error
        self.shapes = {name: entry.shape for name, entry in self._entries.items()}

    def tensor(self, name):
        """The value of a variable: np.ndarray. ValueError, OSError, KeyError as for the class."""
        entry = self._entries[name]
        part = self._path.with_name(f"{self._path.name}.data-{entry.shard:05d}-of-{self._n_shards:05d}")
        with Path(part).open("rb") as file:
            file.seek(entry.begin)
            content = bytearray(file.read(entry.size))  # so that the array can be changed
        if len(content) != entry.size or _checksum(bytes(content)) != entry.checksum:
            raise ValueError(f"{name} is damaged or cut short: its checksum does not match")
        return np.frombuffer(content, entry.dtype).reshape(entry.shape)


def _table(content):
    """The (key, value) pairs of a table, bytes."""
    if len(content) < FOOTER or int.from_bytes(content[-8:], "little") != MAGIC:
        raise ValueError("not a TensorFlow checkpoint, or cut short")
    at = len(content) - FOOTER
    for _ in range(2):  # the first handle is of a block about filters, which there are none of
        begin, at = _varint(content, at)
        size, at = _varint(content, at)
    for _, handle in _block(content, begin, size):
        begin, at = _varint(handle, 0)
        yield from _block(content, begin, _varint(handle, at)[0])


def _block(content, begin, size):
    """The (key, value) pairs of a block."""
    block, trailer = content[begin : begin + size], content[begin + size : begin + size + TRAILER]
    if len(trailer) < TRAILER or _checksum(block + trailer[:1]) != _uint32(trailer[1:]):
        raise ValueError("damaged: a block's checksum does not match")
    if trailer[0]:
        raise ValueError("its table is compressed")
    end = size - 4 * (1 + _uint32(block[-4:]))  # behind the entries are the places of those with whole keys
    at, key = 0, b""
    while at < end:
        shared, at = _varint(block, at)
        n_key, at = _varint(block, at)
        n_value, at = _varint(block, at)
        key = key[:shared] + block[at : at + n_key]
        yield key, block[at + n_key : at + n_key + n_value]
        at += n_key + n_value


def _entry(content):
    """A BundleEntryProto; what is left out is zero."""
    found = _message(content)
    if 7 in found or found[1] not in DTYPES:
        raise ValueError("it holds variables of a type that no Spleeter model has")
    sizes = [_message(value).get(1, 0) for number, value in _fields(found.get(2, b"")) if number == 2]
    return Entry(DTYPES[found[1]], tuple(sizes), *(found.get(number, 0) for number in (3, 4, 5, 6)))


def _message(content):
    """The fields of a protocol buffer by number; of repeated ones the last."""
    return dict(_fields(content))


def _fields(content):
    """The (number, value) pairs of a protocol buffer: int or bytes."""
    at = 0
    while at < len(content):
        tag, at = _varint(content, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(content, at)
        elif kind == 2:
            size, at = _varint(content, at)
            value, at = content[at : at + size], at + size
        elif kind == 5:
            value, at = _uint32(content[at : at + 4]), at + 4
        else:
            raise ValueError(f"damaged: a field of kind {kind}")
        yield tag >> 3, value


def _varint(content, at):
    """A number in groups of 7 bits, the lowest first, and the place after it."""
    value = shift = 0
    while True:
        byte = content[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _uint32(content):
    return struct.unpack("<I", content)[0]


def _checksum(content):
    """The CRC-32C of bytes as TensorFlow stores it: rotated, plus a constant."""
    import google_crc32c  # only Spleeter's models need it

    found = google_crc32c.value(content)
    return (((found >> 15) | (found << (CRC_BITS - 15))) + MASK) % (1 << CRC_BITS)
