"""The network types: one class each, found by `model.type` of a configuration. Used by 03, 04 and 05.

A type is a subclass of `Network` in any module of this package; defining it registers it. To add one, write
`models/<name>.py` with a class that has a `type` and a method `predict_amounts`: the base class trains, saves, loads
and separates with it. All other modules use this class, and none asks for a type's name.
"""

import importlib
import pkgutil
from functools import cache

import numpy as np

from muscomp_lib.core.errors import MissingError, SettingError
from muscomp_lib.core.settings import Section
from muscomp_lib.models import layers, weights
from muscomp_lib.models.runtime import Computation, start_tensorflow
from muscomp_lib.models.runtime import load as load_computation
from muscomp_lib.models.runtime import precision as dtype_policy

OVERLAP = 4  # frame_length / frame_step: with another ratio the inverse STFT changes the level

_TYPES = {}


class Network:
    """A network type, for one configuration.

    All networks take magnitudes, shape (batch, T, F, n_channels), and give an amount per instrument, shape (batch, T,
    F, n_channels or 1, n_instruments), not negative: T is the number of STFT frames, F the number of bins from 0 Hz up.

    Parameters
    ----------
    config : dict
        As `config.read_config` returns it.

    Attributes
    ----------
    type : str
        Its name in `model.type`: "muscomp.shared_unet".
    mono : bool
        One mask for all channels, so that training on mono loses nothing.
    context : int
        Frames that it is given on either side of a segment of T frames when it separates.
    spleeter : bool
        Whether the real Spleeter has this network.
    instrument_axes : dict of str to int
        The weights of a last layer that all instruments share, by path, and their axis of instruments; empty where
        there is none.
    takes_query : bool
        Whether it separates what a query asks for (query_unet.py): `load` then takes one.
    softmax_outside : bool
        Whether `powers` divides the magnitudes by a softmax of what is computed, which are then no amounts.
    Params : type of Section
        The keys of `model.params`.
    """

    type = None
    mono = False
    context = 0
    spleeter = False
    instrument_axes = {}  # noqa: RUF012 - read only
    takes_query = False
    softmax_outside = False
    Params = Section

    def __init__(self, config):
        self.config = config
        self.instruments = config["instrument_list"]
        self.params = config["model"].get("params", {})

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        if cls.__dict__.get("type"):
            _TYPES[cls.type] = cls

    # ---- the layers ----

    def predict_amounts(self, magnitude):
        """The network itself.

        Parameters
        ----------
        magnitude : Keras tensor, shape=(batch, T, F, n_channels)

        Returns
        -------
        Keras tensor, shape=(batch, T, F, n_channels or 1, n_instruments)
        """
        raise NotImplementedError

    def build(self, precision="float32", n_channels=None):
        """The Keras model with fresh weights, which depend on `random_seed` alone.

        Parameters
        ----------
        precision : str
            Keras dtype policy of the computation; weights are float32 with any.
        n_channels : int, optional
            Of the input; the configuration's by default.
        """
        start_tensorflow()
        import keras

        keras.utils.set_random_seed(self.config["random_seed"])
        magnitude = self.input(n_channels)
        with dtype_policy(precision):
            amounts = self.predict_amounts(magnitude)
        return keras.Model(magnitude, amounts, name=self.type.replace(".", "_"))

    def input(self, n_channels=None):
        """The model's input: a Keras tensor, shape=(batch, None, F, n_channels)."""
        import keras

        return keras.Input((None, self.config["F"], n_channels or self.config["n_channels"]), name="magnitude")

    # ---- training ----

    @property
    def training_channels(self):
        """Channels of a training example."""
        return 1 if self.mono else self.config["n_channels"]

    def training_model(self, precision="float32"):
        """The Keras model as it is trained: its output goes into `loss`."""
        return self.build(precision, self.training_channels)

    def target(self, instruments):
        """True magnitudes, (batch, T, F, n_channels, n_instruments), in the form of the training model's output."""
        return instruments

    def loss(self, instruments, output):
        """The loss of a training step, a scalar.

        Parameters
        ----------
        instruments : shape=(batch, T, F, n_channels, n_instruments), float32
            True magnitudes.
        output : Keras tensor
            Of the training model.
        """
        return layers.magnitude_distance(self.target(instruments), output)

    # ---- weights on disk ----

    def weights_file(self, folder):
        """The file by which a finished model is recognised: its path in the model folder.

        Raises
        ------
        MissingError
        """
        path = folder / weights.WEIGHTS
        if not path.is_file():
            raise MissingError(f"{folder} holds no finished model ({path.name} is missing). Train it with notebook 04.")
        return path

    def is_finished(self, folder):
        """Whether the folder holds the weights of the last training step."""
        return (folder / weights.WEIGHTS).exists()

    def read_weights(self, folder):
        """The weights in a model folder, by path in the Keras model: {str: np.ndarray}.

        Raises
        ------
        MissingError, SettingError
        """
        return weights.read_weights(self.weights_file(folder), self.instruments)

    def write_weights(self, folder, values, step):
        """Write finished weights after so many steps; they appear whole or not at all."""
        weights.write_weights(folder / weights.WEIGHTS, values, self.instruments)

    # ---- separation ----

    def load(self, folder):
        """Load the weights of a model folder, ready for separation.

        Parameters
        ----------
        folder : Path

        Returns
        -------
        callable
            From magnitudes, shape (n_segments, context + T + context, F, n_channels), float32, to a list of arrays, one
            per instrument, shape (n_segments, T, F, n_channels or 1), float32: amounts to the power of
            `separation_exponent`.

        Raises
        ------
        MissingError, SettingError
            The folder holds no finished model; its weights do not fit its configuration.
        """
        run = load_computation(self.computation(), self.read_weights(folder), self.weights_file(folder))
        return lambda magnitude: self.powers([run(magnitude)], magnitude)

    def parts(self, folder):
        """The weights in a model folder as `computation` takes them: {what it is called: {str: np.ndarray}}.

        Raises
        ------
        MissingError, SettingError
        """
        return {"network": self.read_weights(folder)}

    def powers(self, outputs, magnitude):
        """What `load`'s function returns, from what `computation` gives with the weights of each of `parts`."""
        (amounts,) = outputs
        return [self._power(part) for part in np.moveaxis(amounts, 1, 0)]

    def computation(self):
        """What `load`'s function computes, but for the power: amounts, shape (n_segments, n_instruments, T, F, ..)."""

        def call(model, magnitude):
            from keras import ops

            return ops.moveaxis(model(magnitude, training=False)[:, self.context :][:, : self.config["T"]], -1, 1)

        key = [self._key(), len(self.instruments)]
        return Computation(self.type, key, self._modules(), (self.segment_shape,), self.build, call, self.constants)

    def constants(self, values):
        """The weights, {str: np.ndarray}, with those that `load`'s function does not use as they are (runtime.py)."""
        return values

    def _key(self):
        """The part of the configuration that decides what is computed."""
        return {key: self.config[key] for key in ("model", "T", "F", "n_channels")}

    def _modules(self):
        """The modules whose code builds the network."""
        return (*(cls.__module__ for cls in type(self).__mro__ if cls is not object), layers.__name__)

    @property
    def segment_shape(self):
        """Of a segment with its context: (n_frames, F, n_channels)."""
        return self.config["T"] + 2 * self.context, self.config["F"], self.config["n_channels"]

    def _power(self, amounts):
        exponent = self.config["separation_exponent"]
        return amounts if exponent == 1 else amounts**exponent

    # ---- for people ----

    def description(self):
        """What it is and how large, as a part of a sentence."""
        return f"{self.type}, {self.n_parameters() / 1e6:.1f} million parameters"

    def n_parameters(self):
        """How many numbers its weights are."""
        return sum(int(np.prod(weight.shape)) for weight in self.build().weights)

    @classmethod
    def demands(cls, config):
        """What the type demands of a configuration.

        Parameters
        ----------
        config : dict
            By dotted key: `model.params.conv_n_filters`.

        Returns
        -------
        list of (str, bool, str)
            The key, whether its value is possible, and what it must be.
        """
        length, step = config["frame_length"], config["frame_step"]
        words = f"frame_length / {OVERLAP} = {length // OVERLAP}, or the inverse STFT changes the sound"
        return [("frame_step", step * OVERLAP == length, words)]


@cache
def _load_all():
    from muscomp_lib import models

    for module in pkgutil.iter_modules(models.__path__, "muscomp_lib.models."):
        importlib.import_module(module.name)


def types():
    """The names of all network types."""
    _load_all()
    return tuple(_TYPES)


def network_type(name):
    """The class of a type.

    Raises
    ------
    SettingError
        There is no such type.
    """
    if name not in types():
        raise SettingError(f"model.type = {name!r} is not a network. Choose one of: {', '.join(types())}.")
    return _TYPES[name]


def network(config):
    """The network that a configuration describes."""
    return network_type(config["model"]["type"])(config)
