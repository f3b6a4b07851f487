"""The files of a model folder, and weights as named arrays. Used by 04 and 05."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np

from muscomp_lib.core.errors import SettingError
from muscomp_lib.core.files import written_whole
from muscomp_lib.core.progress import size

CONFIG, WEIGHTS, HISTORY = "config.json", "weights.npz", "history.csv"  # the files of a model folder
STATE = "checkpoint"  # in a folder of Spleeter's: the file that names the latest save
MOST_COMPRESSED = 100  # how many times its size a `.npz` may unpack to
REMEDY = "Copy the model's folder again, or train it again: fresh=True in notebook 04."


def get_weights(network):
    """The weights of a Keras model by path, `layer/variable`: {str: np.ndarray, float32}."""
    return {weight.path: np.asarray(weight) for weight in network.weights}


def set_weights(network, values, where):
    """Assign weights to a Keras model.

    Parameters
    ----------
    network : keras.Model
    values : mapping of str to np.ndarray
        As `get_weights` returns them; float16 is converted.
    where : str or Path
        Their source, for the message.

    Raises
    ------
    SettingError
        They belong to another network: names the first weight that does not fit.
    """
    check_shapes({weight.path: weight.shape for weight in network.weights}, values, where)
    for weight in network.weights:
        weight.assign(values[weight.path].astype(np.float32))


def check_shapes(needed, values, where):
    """Make sure that weights fit a network.

    Parameters
    ----------
    needed : mapping of str to sequence of int
        The shape of each of the network's weights, by path.
    values, where
        As for `set_weights`.

    Raises
    ------
    SettingError
        Names the first weight that does not fit.
    """
    for name, shape in needed.items():
        found = values[name].shape if name in values else None
        if found != tuple(shape):
            found = "is missing" if found is None else f"has the shape {found}"
            raise SettingError(
                f"{where} holds the weights of another network: {name} {found}, and {tuple(shape)} is "
                "needed. Use the config.json that it was trained with, or train it again."
            )


def write_weights(path, values, instruments):
    """Write weights with the instruments they were trained for, in order: a comment of the `.npz`, which is a ZIP file.

    Parameters
    ----------
    path : Path
    values : mapping of str to np.ndarray
        As `get_weights` returns them.
    instruments : list of str

    Raises
    ------
    SettingError
        They are not finite.
    """
    check_finite(values, path)
    write_arrays(path, values, json.dumps(instruments).encode())


def read_weights(path, instruments):
    """Weights as `write_weights` wrote them: {str: np.ndarray}.

    Raises
    ------
    SettingError
        The file is damaged; the weights are not finite, or were trained for other instruments, or in another order.
        Files of earlier versions do not say for which.
    """
    values, comment = _read(path)
    check_order(comment.decode(errors="replace"), instruments, path)
    check_finite(values, path)
    return values


def check_order(stored, instruments, where):
    """Make sure that weights belong to these instruments.

    Parameters
    ----------
    stored : str
        The instruments that they were trained for, in order, as JSON; "" where that is not known.
    instruments : list of str
    where : str or Path

    Raises
    ------
    SettingError
    """
    if stored and stored != json.dumps(instruments):
        raise SettingError(
            f"{where} holds the weights of another network: it was trained for {stored[:1000]}, in this order, and "
            f"instrument_list is {json.dumps(instruments)}. Use the {CONFIG} that it was trained with."
        )


def check_finite(values, where):
    """Make sure that arrays hold numbers, neither NaN nor infinite: SettingError."""
    for name, value in values.items():
        if value.dtype.kind not in "fiu" or not np.isfinite(value).all():
            raise SettingError(f"{where}: {name} holds NaN, infinite or non-numeric values. {REMEDY}")


def write_arrays(path, arrays, comment=b""):
    """Write named arrays to a `.npz` file; it appears whole or not at all, and equal arrays give equal bytes."""
    with written_whole(path) as part:
        with part.open("wb") as file:
            np.savez(file, **arrays)
        if comment:
            with zipfile.ZipFile(part, "a") as archive:
                archive.comment = comment


def read_arrays(path):
    """Named arrays from a `.npz` file: {str: np.ndarray}.

    Raises
    ------
    SettingError
        The file is damaged.
    """
    return _read(path)[0]


def _read(path):
    """The arrays and the comment of a `.npz` file.

    A ZIP file has a checksum of each member, but only whoever reads a member to its end compares it: `np.load` does not
    where a damaged header says that the array is smaller.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if any(member.comment for member in archive.infolist()):
                raise ValueError("its list of arrays is damaged")  # a comment of wrong length swallows what follows it
            n_bytes = sum(member.file_size for member in archive.infolist())
            if n_bytes > MOST_COMPRESSED * Path(path).stat().st_size:
                raise ValueError(f"it would unpack to {size(n_bytes)}")
            members = ((name, io.BytesIO(archive.read(name))) for name in archive.namelist())
            return {
                name.removesuffix(".npy"): np.lib.format.read_array(member) for name, member in members
            }, archive.comment
    except Exception as error:  # a damaged archive raises anything from KeyError to NotImplementedError
        raise SettingError(f"{path} cannot be read ({error}). {REMEDY}") from error
