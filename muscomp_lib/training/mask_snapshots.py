"""Notebook 04: how the masks of one example improve during training.

The masks of the three loudest instruments are kept in the model folder, `masks.npz`: at the first checkpoint, then
whenever the number of steps has doubled, and at the last, so that a long training keeps a dozen pictures at most.
"""

import logging

import numpy as np

from muscomp_lib.core.errors import SettingError
from muscomp_lib.models import registry
from muscomp_lib.models.weights import read_arrays, write_arrays

FILE = "masks.npz"
SHOWN = 3  # instruments
STEP = "step_"
IDEAL = "ideal"
NAMES = "instruments"

log = logging.getLogger(__name__)


class MaskSnapshotCallback:
    """Saves the masks of one example. Called with the step at each checkpoint.

    Parameters
    ----------
    folder : Path
        The model's.
    model : keras.Model
        As it is trained.
    config : dict
    example : (np.ndarray, np.ndarray)
        A batch, as `batches.Examples` makes it; its first example is used.
    """

    def __init__(self, folder, model, config, example):
        self._path, self._model = folder / FILE, model
        self._stride, self._last = config["save_checkpoints_steps"], config["train_max_steps"]
        self._mix, instruments = example[0][:1], example[1][:1]
        self._loudest = np.sort(np.argsort(instruments.sum(axis=(0, 1, 2, 3)))[::-1][:SHOWN])
        names = np.array(config["instrument_list"])[self._loudest]
        target = np.asarray(registry.network(config).target(instruments))
        self._constant = {NAMES: names, IDEAL: self._shares(target)}

    def __call__(self, step):
        """Save the masks after `step` steps if it is one to keep; later ones are of a run that was lost."""
        nth = step // self._stride
        if step != self._last and nth & (nth - 1):  # not a power of two
            return
        kept = {name: mask for name, mask in self._read().items() if step_of(name) < step}
        output = np.asarray(self._model(self._mix, training=False), np.float32)
        write_arrays(self._path, self._constant | kept | {f"{STEP}{step}": self._shares(output)})

    def _read(self):
        try:
            found = read_arrays(self._path) if self._path.exists() else {}
        except SettingError as error:  # it holds pictures, for which no training stops
            log.warning("%s The earlier masks are left out.", error)
            found = {}
        return {name: mask for name, mask in found.items() if name.startswith(STEP)}

    def _shares(self, amounts):
        """The share of each shown instrument: (1, T, bins, [channels,] all) to (T, bins, shown), uint8, 0 to 255."""
        amounts = amounts[0].mean(axis=2) if amounts.ndim == 5 else amounts[0]
        shares = amounts[..., self._loudest] / (amounts.sum(axis=-1, keepdims=True) + 1e-9)
        return np.round(255 * shares.clip(0, 1)).astype(np.uint8)


def step_of(name):
    """The step in the name of an array."""
    return int(name.removeprefix(STEP))


def read(folder):
    """The saved masks.

    Returns
    -------
    names : list of str
        The instruments shown.
    masks : dict of str to np.ndarray, shape=(n_frames, n_bins, n_instruments), float, 0 to 1
        By title: after how many steps, in order, and last the ideal. Bins are those of the training model's output:
        bands for `muscomp.shared_unet`. Empty where nothing was saved.
    """
    if not (folder / FILE).exists():
        return [], {}
    found = read_arrays(folder / FILE)
    steps = sorted((name for name in found if name.startswith(STEP)), key=step_of)
    titles = {name: f"after {step_of(name)} steps" for name in steps} | {IDEAL: "ideal"}
    return list(map(str, found[NAMES])), {title: found[name] / 255 for name, title in titles.items()}
