"""Spleeter's checkpoints, in and out. Used by 04 and 05.

Spleeter keeps a model as a folder with a TensorFlow checkpoint: `checkpoint`, a line of text that names the latest
save, and the save itself, `<name>.index` and `<name>.data-...`. Its variables carry no instrument's name. They are
numbered through in the order in which the networks were created, one U-Net per instrument:

    conv2d, conv2d_1, ...             7 per instrument: six convolutions down, and the last one, which makes the mask
    conv2d_transpose, ...             6 per instrument: the way up
    batch_normalization, ...          12 per instrument: six down, of which nothing uses the last, and six up

So the order of `instrument_list` decides which weights are whose, and a checkpoint fits a configuration only when the
number of variables and all shapes do. That is checked here, because Spleeter itself goes on with random weights when it
finds no checkpoint.
"""

import glob
import re
from pathlib import Path

import numpy as np

from muscomp_lib.core.errors import MissingError, SettingError
from muscomp_lib.core.files import written_whole
from muscomp_lib.models import config as configs
from muscomp_lib.models import unet

STATE = "checkpoint"  # the file that names the latest save
STEP = "global_step"
DEPTH = 6  # convolutions down, and up
NORMALISATION = {"gamma": 1.0, "beta": 0.0, "moving_mean": 0.0, "moving_variance": 1.0}  # and what changes nothing


class Checkpoint:
    """A Spleeter model's weights, checked against its configuration, read one instrument at a time.

    Parameters
    ----------
    folder : str or Path
        With the file `checkpoint` in it.
    config : dict
        As `config.read` returns it.

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
        It is damaged, or not that of this network: the first variable that does not fit is named.
    """

    def __init__(self, folder, config):
        self.path = latest(folder)
        unet.start_tensorflow()
        import tensorflow as tf

        self._errors = tf.errors.OpError
        try:
            self._file = tf.train.load_checkpoint(str(self.path))
        except (tf.errors.OpError, ValueError) as error:
            raise self._damaged(error) from error
        self._config = config
        self._check()
        self.step = int(self._tensor(STEP)) if self._file.has_tensor(STEP) else 0

    def weights(self, number):
        """The weights of instrument `number` in `instrument_list`, by name in `unet.build_one`: {str: float32}."""
        return {ours: self._tensor(theirs) for ours, theirs, _ in _variables(self._config, number) if ours}

    def _check(self):
        shapes = self._file.get_variable_to_shape_map()
        needed = [v for number in range(len(self._config["instrument_list"])) for v in _variables(self._config, number)]
        for _, theirs, shape in needed:
            if tuple(shapes.get(theirs, ())) != shape:
                found = f"has the shape {tuple(shapes[theirs])}" if theirs in shapes else "is missing"
                raise self._misfit(f"{theirs} {found}, and {shape} is needed")
        known = {theirs for _, theirs, _ in needed}
        if beyond := sorted(name for name in shapes if _NETWORK.fullmatch(name) and name not in known):
            raise self._misfit(f"{beyond[0]} is beyond the {len(self._config['instrument_list'])} instruments")

    def _misfit(self, what):
        names = ", ".join(self._config["instrument_list"])
        return SettingError(
            f"{self.path} holds the weights of another network than its configuration describes: {what}. "
            f"Use the configuration that it was trained with; this one has {self._config['model']['type']} for {names}."
        )

    def _tensor(self, name):
        try:
            return self._file.get_tensor(name)
        except self._errors as error:
            raise self._damaged(error) from error

    def _damaged(self, error):
        return SettingError(f"{self.path} cannot be read ({_first_line(error)}). Copy the model's folder anew.")


def latest(folder):
    """The save that a model folder's file `checkpoint` names, in that folder: a path without suffix.

    Only its name counts, not the folder that stood there when it was written: models are moved.

    Raises
    ------
    MissingError
    """
    state = Path(folder) / STATE
    if not state.is_file():
        raise MissingError(f"{folder} holds no trained Spleeter model (the file {STATE!r} is missing).")
    named = re.search(r'^model_checkpoint_path:\s*"(.+)"', state.read_text(encoding="utf-8", errors="replace"), re.M)
    if named is None:
        raise MissingError(f"{state} names no checkpoint. Copy the model's folder anew.")
    path = Path(folder) / re.split(r"[/\\]", named[1])[-1]
    absent = [kind for kind in (".index", ".data-*") if not any(path.parent.glob(f"{glob.escape(path.name)}{kind}"))]
    if absent:
        raise MissingError(f"{path}{absent[0]} is not there, but {state} names it. Copy the model's folder anew.")
    return path


def write(folder, config, values, step):
    """Write weights as a checkpoint that the real Spleeter loads: `model-<step>.*`, then `checkpoint`.

    Parameters
    ----------
    folder : Path
    config : dict
        Of a Spleeter network.
    values : mapping of str to np.ndarray
        As `unet.weights` gives them for `unet.build(config)`.
    step : int
        Training steps done.

    Raises
    ------
    SettingError
        The network is not one of Spleeter's.
    """
    require_spleeters_network(config)
    unet.start_tensorflow()
    import tensorflow as tf

    tensors = {STEP: np.array(step, np.int64)}
    for number, instrument in enumerate(config["instrument_list"]):
        for ours, theirs, shape in _variables(config, number):
            unused = np.full(shape, NORMALISATION.get(theirs.rpartition("/")[2]), np.float32)
            tensors[theirs] = values[ours.replace(unet.ONE, instrument, 1)] if ours else unused
    names = sorted(tensors)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"model-{step}"
    tf.raw_ops.SaveV2(
        prefix=str(path),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.constant(tensors[name]) for name in names],
    )
    with written_whole(folder / STATE) as part:  # last: until it is there, the folder holds no model
        part.write_text(f'model_checkpoint_path: "{path.name}"\n', encoding="utf-8")


def export(model, folder):
    """Copy a trained model into a folder that the real Spleeter can use: its checkpoint and `config.json`.

    `spleeter separate -p <folder>/config.json song.wav` then gives what `Separator` gives. The path in the
    configuration is absolute; write it anew when the folder is moved.

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
    require_spleeters_network(config)
    checkpoint = Checkpoint(source, config)
    values = {}
    for number, instrument in enumerate(config["instrument_list"]):
        weights = checkpoint.weights(number)
        values |= {name.replace(unet.ONE, instrument, 1): value for name, value in weights.items()}
    folder = Path(folder).absolute()
    write(folder, config, values, checkpoint.step)
    configs.write(folder / unet.CONFIG, config | {"model_dir": str(folder)})
    return folder / unet.CONFIG


def find_model(model):
    """The configuration and the folder of a model.

    Parameters
    ----------
    model : str or Path
        A model folder, or a Spleeter configuration `.json`, whose `model_dir` is taken from the configuration's folder
        when it is relative.

    Returns
    -------
    config : dict
    folder : Path

    Raises
    ------
    MissingError, SettingError
    """
    path = Path(model)
    if path.is_dir():
        if not (path / unet.CONFIG).is_file():
            raise MissingError(f"{path} holds no finished model ({unet.CONFIG} is missing). Train it with notebook 04.")
        return configs.read(path / unet.CONFIG), path
    config = configs.read(path)
    return config, path.absolute().parent / config["model_dir"]


def require_spleeters_network(config):
    """Raise SettingError unless Spleeter has such a network, and can name its parts after these instruments."""
    kind = config["model"]["type"]
    if kind not in configs.SPLEETER_TYPES:
        raise SettingError(
            f"model.type {kind!r} is a network of our own, which Spleeter does not have. "
            f"Spleeter has {' and '.join(configs.SPLEETER_TYPES)}: choose one in notebook 03 and train it."
        )
    for name in config["instrument_list"]:
        if not re.fullmatch(r"[A-Za-z0-9.][A-Za-z0-9_./>-]*", name):
            raise SettingError(
                f"instrument {name!r}: in Spleeter a name has letters of the alphabet, digits, _ and - only."
            )


_NETWORK = re.compile(rf"(conv2d|conv2d_transpose|batch_normalization)(_\d+)?/(kernel|bias|{'|'.join(NORMALISATION)})")


def _variables(config, number):
    """The variables of instrument `number`, in order: (name in `unet.build_one` or None, Spleeter's name, shape)."""
    down = tuple(config["model"].get("params", {}).get("conv_n_filters", configs.SPLEETER_FILTERS))
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
    yield from _convolution("mask", f"conv2d{_number(number * (DEPTH + 1) + DEPTH)}", (4, 4, 1, unet.MASK_CHANNELS))


def _convolution(ours, theirs, shape, n_filters=None):
    yield f"{unet.ONE}_{ours}/kernel", f"{theirs}/kernel", shape
    yield f"{unet.ONE}_{ours}/bias", f"{theirs}/bias", (n_filters or shape[-1],)


def _normalisation(ours, number, n_filters):
    for name in NORMALISATION:
        theirs = f"batch_normalization{_number(number)}/{name}"
        yield ours and f"{unet.ONE}_{ours}_normalisation/{name}", theirs, (n_filters,)


def _number(number):
    return f"_{number}" if number else ""


def _first_line(error):
    return (str(error).splitlines() or ["unknown format"])[0][:200]
