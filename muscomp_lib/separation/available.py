"""The models that can be chosen by name: the pretrained ones, one's own, and Spleeter's. Used by 05 and the command."""

from dataclasses import dataclass

from muscomp_lib.core.errors import MusCompError
from muscomp_lib.core.progress import size
from muscomp_lib.models import pretrained, published, registry
from muscomp_lib.models.config import read_json
from muscomp_lib.models.weights import CONFIG, WEIGHTS

STEMS, NOTES, ASKED = "stems", "notes", "what a query asks for"  # what a model makes
COLUMNS = ["name", "makes", "instruments", "where", "licence", "trained on"]
TRAINED_ON = {  # by what a pretrained model makes, and whose another is
    STEMS: "synthesizers and recorded notes: of a real song, expect a first impression, best of drums and bass",
    NOTES: "synthesizers and recorded notes",
    ASKED: "synthesizers only",
    "own": "what its training was given, {steps} steps",
    "published": "real songs, by Spleeter's authors",
}


@dataclass(frozen=True)
class Model:
    """A model that can be chosen.

    Attributes
    ----------
    name : str
        What `model` or `notes_model` is set to.
    makes : str
        STEMS, NOTES or ASKED.
    instruments : list of str
    where : str
        "here", or how much there is to fetch.
    licence : str
        "" of one's own.
    trained_on : str
        And what to expect of it.
    """

    name: str
    makes: str
    instruments: list
    where: str = "here"
    licence: str = ""
    trained_on: str = ""


def models(root):
    """All models that can be chosen by name, in the order of a list: list of Model.

    What lies under `models/` of a root and is no trained model is left out, as one whose training has not ended.
    """
    ours = (pretrained.FOLDER, pretrained.TRANSCRIBER, pretrained.QUERY)
    found = [_model(pretrained.NAME, folder, "MIT") for folder in ours]
    folders = sorted(root.models.iterdir()) if root.models.is_dir() else []
    found += [_model(folder.name, folder) for folder in folders if (folder / CONFIG).is_file()]
    return [*filter(None, found), *map(_published, published.NAMES)]


def separators(root):
    """Those that separate: {label: name}."""
    return {label: model.name for label, model in labelled(root)}


def labelled(root):
    """Those that separate, with what a list calls them: [(label, Model)]."""
    return [(_label(model), model) for model in models(root) if model.makes == STEMS]


def table(root):
    """All of them as a table: pd.DataFrame with COLUMNS."""
    import pandas as pd  # half a second, and 40 MB, which a list does not need

    rows = [(m.name, m.makes, ", ".join(m.instruments), m.where, m.licence, m.trained_on) for m in models(root)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _model(name, folder, licence=""):
    try:
        config = read_json(folder / CONFIG)
        makes = _made_by(config)
        if not _weights_file(config, folder).is_file():  # it is in training, or that was interrupted
            return None
    except (MusCompError, KeyError, TypeError):
        return None
    steps = config.get("train_max_steps", config.get("steps", "?"))
    trained_on = TRAINED_ON[makes if licence else "own"].format(steps=steps)
    return Model(name, makes, config["instrument_list"], licence=licence, trained_on=trained_on)


def _made_by(config):
    if "model" not in config:
        return NOTES
    return ASKED if registry.network_type(config["model"]["type"]).takes_query else STEMS


def _weights_file(config, folder):
    return folder / WEIGHTS if "model" not in config else registry.network(config).weights_file(folder)


def _published(name):
    where = "here" if published.is_here(name) else f"fetched at its first use, about {size(published.n_bytes(name))}"
    return Model(name, STEMS, published.instruments(name), where, published.LICENCE, TRAINED_ON["published"])


def _label(model):
    """A model in a list: its name, and what it costs to have it."""
    return model.name if model.where == "here" else f"{model.name} ({model.where}; licence {model.licence})"
