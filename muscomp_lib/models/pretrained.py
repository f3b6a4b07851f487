"""The models that come with the project: one separates twelve instruments, one writes notes. Used by 04 and 05.

`weights/` beside this file holds the first and `weights/transcriber/` the second, in half precision, each with the
configuration it was trained with and a model card that says from what, for how long, how well it does and where it
fails. To make them anew:

    python batch/run.py all -f batch/params/weights.yaml -p root <folder>
    python -m muscomp_lib.models.pretrained <folder>
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np

from muscomp_lib.models import unet

NAME = "shipped"  # how these models are chosen in the notebooks
FOLDER = Path(__file__).with_name("weights")
TRANSCRIBER = FOLDER / "transcriber"
MADE = {"weights": FOLDER, "weights_notes": TRANSCRIBER}  # the models' names in weights.yaml
PLACES = {"train_csv": "tables/train.csv", "validation_csv": "tables/validation.csv", "model_dir": "models/weights",
          "training_cache": None, "validation_cache": None}  # fmt: skip


def ship(model_folder, folder):
    """Put a trained model of ours into the project, in half precision and without the places it was trained in.

    Parameters
    ----------
    model_folder, folder : str or Path
        Where it is, and where it goes.

    Raises
    ------
    MissingError, SettingError
        It is not there, or damaged.
    """
    model_folder, folder = Path(model_folder), Path(folder)
    weights = unet.read_arrays(model_folder / unet.WEIGHTS)
    config = json.loads((model_folder / unet.CONFIG).read_text(encoding="utf-8"))
    folder.mkdir(parents=True, exist_ok=True)
    told = {key: PLACES.get(key, value) for key, value in config.items()}
    (folder / unet.CONFIG).write_text(json.dumps(told, indent=4) + "\n", encoding="utf-8")
    unet.save_arrays(folder / unet.WEIGHTS, {name: array.astype(np.float16) for name, array in weights.items()})
    shutil.copyfile(model_folder / unet.HISTORY, folder / unet.HISTORY)


if __name__ == "__main__":
    for name, place in MADE.items():
        ship(Path(sys.argv[1]) / "models" / name, place)
