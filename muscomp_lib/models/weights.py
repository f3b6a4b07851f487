"""The files of a model folder, and weights as named arrays. Used by 04 and 05."""

import zipfile

import numpy as np

from muscomp_lib.core.errors import SettingError
from muscomp_lib.core.files import written_whole

CONFIG, WEIGHTS, HISTORY = "config.json", "weights.npz", "history.csv"  # the files of a model folder


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
    for weight in network.weights:
        shape = values[weight.path].shape if weight.path in values else None
        if shape != tuple(weight.shape):
            found = "is missing" if shape is None else f"has the shape {shape}"
            raise SettingError(
                f"{where} holds the weights of another network: {weight.path} {found}, and {tuple(weight.shape)} is "
                "needed. Use the config.json that it was trained with, or train it again."
            )
        weight.assign(values[weight.path].astype(np.float32))


def write_arrays(path, arrays):
    """Write named arrays to a `.npz` file; it appears whole or not at all, and equal arrays give equal bytes."""
    with written_whole(path) as part, part.open("wb") as file:
        np.savez(file, **arrays)


def read_arrays(path):
    """Named arrays from a `.npz` file: {str: np.ndarray}.

    Raises
    ------
    SettingError
        The file is damaged.
    """
    try:
        with np.load(path) as file:
            return dict(file)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise SettingError(
            f"{path} cannot be read ({error}). Train the model again: fresh=True in notebook 04."
        ) from error
