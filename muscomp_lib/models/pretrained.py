"""The pretrained models: one separates twelve instruments, one transcribes them, one takes queries. Used by 04 to 07.

`weights/` beside this file holds the first, `weights/transcriber/` the second and `weights/query/` the third, in half
precision, each with the configuration it was trained with and a model card: training data, time, results and
limitations. benchmarks/timbre.py trains the third, and `export` copies it. To make the others again:

    python batch/run.py all -f batch/params/weights.yaml -p root <folder>
    python -m muscomp_lib.models.pretrained <folder>

and then as batch/params/more_music.yaml, recorded.yaml and drums.yaml describe, which train them on.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np

from muscomp_lib.core.errors import MissingError
from muscomp_lib.core.files import expanded
from muscomp_lib.core.progress import bar
from muscomp_lib.core.settings import suggestion
from muscomp_lib.models import published
from muscomp_lib.models.config import read_json
from muscomp_lib.models.weights import CONFIG, HISTORY, WEIGHTS, check_shapes, read_weights, write_weights

NAME = "shipped"  # how the notebooks call these models
FOLDER = Path(__file__).with_name("weights")
TRANSCRIBER = FOLDER / "transcriber"
QUERY = FOLDER / "query"  # separates what a query asks for (notebook 06)
TRAINED = {"weights": FOLDER, "weights_notes": TRANSCRIBER}  # the models' names in weights.yaml
TRAINED_SHARE = 0.7  # of 0.5 to 1.0, about the best for drums and for separation in sounds that nothing was trained on
PUBLIC_PATHS = {
    "train_csv": "tables/train.csv",
    "validation_csv": "tables/validation.csv",
    "model_dir": "models/weights",
    "training_cache": None,
    "validation_cache": None,
}


def model_path(model, root, progress=bar, others=published.NAMES):
    """The path of a model given by its path, its name under `models/`, the pretrained one's or a published one's.

    A published model is fetched first where it is not here, with `progress` as for `published.find`. `others` are the
    names that an unknown one is compared with, beside those under `models/`.

    Raises
    ------
    MissingError, SettingError
        There is no such model.
    """
    if model == NAME:
        return FOLDER
    if published.is_name(model):
        return published.find(model, progress)
    given = expanded(model, "model: ")
    named = root.models / str(model)
    if not named.exists() and not given.exists():
        own = sorted(place.parent.name for place in root.models.glob(f"*/{CONFIG}"))
        raise MissingError(
            f"There is no model {str(model)!r}: {given} is not there, and {root.models} has none of this name. "
            f"{suggestion(model, [NAME, *own, *others])}"
        )
    return named if named.exists() else given


def transcriber_path(model, root):
    """The folder of a transcriber, given as for `model_path`; None is the pretrained one."""
    return TRANSCRIBER if model in (None, NAME) else model_path(model, root, others=())


def export(model_folder, folder, started_from=None):
    """Copy a trained model into the project, in half precision and without the paths it was trained in.

    Parameters
    ----------
    model_folder, folder : str or Path
        The source and the destination.
    started_from : str or Path, optional
        The model that training started from. Its weights and the trained ones are then averaged, the latter with a
        weight of `TRAINED_SHARE`: what the first training gave is kept, and sounds unlike those of the second gain as
        well (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models").

    Raises
    ------
    MissingError, SettingError
        A model is not there, or damaged; the two are of different networks.
    """
    model_folder, folder = Path(model_folder), Path(folder)
    config = read_json(model_folder / CONFIG)
    weights = read_weights(model_folder / WEIGHTS, config["instrument_list"])
    if started_from:
        earlier = read_weights(Path(started_from) / WEIGHTS, config["instrument_list"])
        check_shapes({name: array.shape for name, array in weights.items()}, earlier, started_from)
        weights = {name: earlier[name] + TRAINED_SHARE * (array - earlier[name]) for name, array in weights.items()}
    folder.mkdir(parents=True, exist_ok=True)
    public = {key: PUBLIC_PATHS.get(key, value) for key, value in config.items()}
    public |= {key: Path(config[key]).name for key in ("start_from", "separator") if config.get(key)}
    if config.get("muscomp", {}).get("start_from"):
        public["muscomp"] = config["muscomp"] | {"start_from": Path(config["muscomp"]["start_from"]).name}
    (folder / CONFIG).write_text(json.dumps(public, indent=4) + "\n", encoding="utf-8")
    half = {name: array.astype(np.float16) for name, array in weights.items()}
    write_weights(folder / WEIGHTS, half, config["instrument_list"])
    shutil.copyfile(model_folder / HISTORY, folder / HISTORY)


if __name__ == "__main__":
    for name, place in TRAINED.items():
        export(Path(sys.argv[1]) / "models" / name, place)
