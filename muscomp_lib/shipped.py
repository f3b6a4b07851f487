"""The model that comes with the project: weights that separate twelve instruments at once. Used by 04 and 05.

`weights/` beside this file holds them in half precision, with the configuration they were trained with and a model card
that says from what, for how long, how well they do and where they fail. To make them anew:

    python batch/run.py all -f batch/params/weights.yaml -p root <folder>
    python -m muscomp_lib.shipped <folder>/models/weights
"""

import shutil
import sys
from pathlib import Path

import numpy as np

from muscomp_lib import config as configs
from muscomp_lib import unet

NAME = "shipped"  # how this model is chosen in the notebooks
FOLDER = Path(__file__).with_name("weights")
PLACES = {"train_csv": "tables/train.csv", "validation_csv": "tables/validation.csv", "model_dir": "models/weights"}


def ship(model_folder, folder=FOLDER):
    """Put a trained model of ours into the project, in half precision and without the places it was trained in.

    Parameters
    ----------
    model_folder : str or Path
    folder : Path

    Raises
    ------
    MissingError, SettingError
        It is not there, or damaged.
    """
    config = configs.read(Path(model_folder) / unet.CONFIG)
    weights = unet.read_arrays(Path(model_folder) / unet.WEIGHTS)
    folder.mkdir(exist_ok=True)
    configs.write(folder / unet.CONFIG, config | PLACES | {"training_cache": None, "validation_cache": None})
    unet.save_arrays(folder / unet.WEIGHTS, {name: array.astype(np.float16) for name, array in weights.items()})
    shutil.copyfile(Path(model_folder) / unet.HISTORY, folder / unet.HISTORY)


if __name__ == "__main__":
    ship(sys.argv[1])
