"""Notebook 04: what a network makes of one and the same example while it learns.

The masks of the three loudest instruments are kept in the model folder, `masks.npz`, at the first saving and then
whenever twice as many steps are done, and at the last, so that a long training keeps a dozen pictures at most.
"""

import numpy as np

from muscomp_lib.models import shared_unet, unet

FILE = "masks.npz"
SHOWN = 3  # instruments
STEP = "step_"
IDEAL = "ideal"
NAMES = "instruments"


class Watch:
    """Looks at a network when it is saved. Called with the step.

    Parameters
    ----------
    folder : Path
        The model's.
    model : keras.Model
        As it is trained.
    config : dict
    example : (np.ndarray, np.ndarray)
        A batch, as `dataset.Examples` makes it; its first example is looked at.
    """

    def __init__(self, folder, model, config, example):
        self._path, self._model = folder / FILE, model
        self._stride, self._last = config["save_checkpoints_steps"], config["train_max_steps"]
        self._mix, parts = example[0][:1], example[1][:1]
        loudest = np.sort(np.argsort(parts.sum(axis=(0, 1, 2, 3)))[::-1][:SHOWN])
        self._loudest, self._by_band = loudest, unet.hears_one_channel(config)
        names = np.array(config["instrument_list"])[loudest]
        self._known = {NAMES: names, IDEAL: self._shares(self._in_bands(parts))}

    def __call__(self, step):
        """Keep what it sees after so many steps, if that is a step to keep; what is later is of a run that was lost."""
        nth = step // self._stride
        if step != self._last and nth & (nth - 1):  # no power of two
            return
        kept = {name: mask for name, mask in self._read().items() if step_of(name) < step}
        seen = np.asarray(self._model(self._mix, training=False), np.float32)
        unet.save_arrays(self._path, self._known | kept | {f"{STEP}{step}": self._shares(seen)})

    def _read(self):
        found = unet.read_arrays(self._path) if self._path.exists() else {}
        return {name: mask for name, mask in found.items() if name.startswith(STEP)}

    def _in_bands(self, parts):
        return np.asarray(shared_unet.sums_in_bands(parts[:, :, :, 0])) if self._by_band else parts

    def _shares(self, amounts):
        """The share of each shown instrument: (1, T, bins, [channels,] all) to (T, bins, shown), 0 to 255."""
        amounts = amounts[0] if self._by_band else amounts[0].mean(axis=2)
        shares = amounts[..., self._loudest] / (amounts.sum(axis=-1, keepdims=True) + 1e-9)
        return np.round(255 * shares.clip(0, 1)).astype(np.uint8)


def step_of(name):
    """The step in the name of an array."""
    return int(name.removeprefix(STEP))


def read(folder):
    """What was kept.

    Returns
    -------
    names : list of str
        The instruments that were looked at.
    masks : dict of str to np.ndarray, shape=(n_frames, n_bins, n_instruments), float, 0 to 1
        By what a picture calls them: after how many steps, in order, and last the ideal. Bins are the network's own,
        bands for `muscomp.shared_unet`. Empty where nothing was kept.
    """
    if not (folder / FILE).exists():
        return [], {}
    found = unet.read_arrays(folder / FILE)
    steps = sorted((name for name in found if name.startswith(STEP)), key=step_of)
    titles = {name: f"after {step_of(name)} steps" for name in steps} | {IDEAL: "ideal"}
    return list(map(str, found[NAMES])), {title: found[name] / 255 for name, title in titles.items()}
