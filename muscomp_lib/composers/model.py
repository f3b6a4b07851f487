"""A trained model: its folder, and the names it gives to a piece. Used by notebook 08 and the command `composer`.

The folder holds `config.json`, `history.csv`, `checkpoint.npz` and `weights.npz` as other models' do; `recognizer.npz`,
each composer's place in the embedding and the threshold; and `pieces.csv`, the pieces it was trained and validated on,
with their places.
"""

import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd

from muscomp_lib.composers import clips, collection, corpora, embedding, recognition, scores
from muscomp_lib.core.errors import MidiError, MissingError, SettingError
from muscomp_lib.core.files import write_csv
from muscomp_lib.models.weights import (
    CONFIG,
    REMEDY,
    WEIGHTS,
    get_weights,
    read_arrays,
    read_weights,
    set_weights,
    write_arrays,
    write_weights,
)
from muscomp_lib.training import loop

RECOGNIZER, PIECES = "recognizer.npz", "pieces.csv"
FILES = (RECOGNIZER, PIECES)
PIECE_COLUMNS = ["composer", "piece", "part"]
STRIDES = 4  # checkpoints of a training
NEAREST = 5  # pieces that an answer lists
NOT_STORED = ("corpus", "composers", "unknown", "pieces_per_composer", "song", "name")  # the clips' checksum covers it


def train(root, music, settings, fresh=False):
    """Train a model, or resume an interrupted training.

    Parameters
    ----------
    root : Root
    music : collection.Collection
    settings : Settings
    fresh : bool
        Discard an earlier training of this name.

    Returns
    -------
    Path
        The model folder.

    Raises
    ------
    SettingError
        Nobody can be tested; the folder has a training with other settings or other music.
    TrainingError, StoppedError
    """
    folder = root.models / settings.name
    training, validation = collection.divide(music.clips, settings.split, seed=settings.seed)
    config = settings.model_dump(exclude=set(NOT_STORED))
    config |= {"composers": music.names, "clips": sha256(music.examples.tobytes()).hexdigest()[:16]}

    def prepare():
        return lambda: _train(folder, music, settings, training, validation)

    return loop.start(folder, config, prepare, lambda folder: (folder / RECOGNIZER).exists(), fresh, _read, made=FILES)


def _read(path):
    """A model's `config.json`, which has no list of instruments as other models' have."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise SettingError(f"{path} cannot be read ({error}). {REMEDY}") from error


def _train(folder, music, settings, training, validation):
    network = untrained(music, settings)
    labels = music.clips["label"].to_numpy()
    batches = [
        embedding.Batches(music.examples[part], labels[part], settings.seed, augment=part is training)
        for part in (training, validation)
    ]
    embedding.fit(folder, network, *batches, settings.loss, settings.steps, max(1, settings.steps // STRIDES))
    write_weights(folder / WEIGHTS, get_weights(network), music.names)
    _write_recognizer(folder, network, music, training, validation)


def untrained(music, settings):
    """The network as it is before training: keras.Model."""
    import keras

    loop.make_deterministic()
    keras.utils.set_random_seed(settings.seed)
    return embedding.build(music.examples.shape[2], settings.features, len(music.names))


def _write_recognizer(folder, network, music, training, validation):
    """Write each composer's place, the threshold, and the pieces with theirs."""
    places, numbers = embedding.embed(network, music.examples[:, 0]), music.clips["piece"].to_numpy()
    labels = music.clips["label"].to_numpy()
    centres = recognition.centroids(places[training], labels[training], len(music.names))
    near = recognition.distances(places, centres)
    limit = recognition.threshold(recognition.by_piece(near[validation], numbers[validation])[1].min(axis=1))
    shown, means = recognition.by_piece(places, numbers)
    parts = np.select([training, validation], ["train", "validation"], "unknown")
    pieces = music.pieces.loc[shown].assign(part=[parts[numbers == number][0] for number in shown])
    write_csv(folder / PIECES, pieces[PIECE_COLUMNS])
    write_arrays(folder / RECOGNIZER, {"centroids": centres, "threshold": np.array(limit), "pieces": means})


@dataclass
class Answer:
    """What a model finds of a piece.

    Attributes
    ----------
    name : str
        The nearest composer, or `recognition.NONE`.
    composers : pd.DataFrame
        `composer`, `distance`: the nearest first.
    nearest : pd.DataFrame
        `composer`, `piece`, `part`, `distance`: the pieces that are nearest.
    """

    name: str
    composers: pd.DataFrame
    nearest: pd.DataFrame


class Recognizer:
    """A trained model.

    Parameters
    ----------
    folder : Path

    Attributes
    ----------
    names : list of str
        The composers it knows.
    threshold : float
        The largest distance of a piece that gets a name.

    Raises
    ------
    MissingError, SettingError
        There is no such model, or it is damaged.
    """

    def __init__(self, folder):
        self.folder = folder = Path(folder)
        if not (folder / RECOGNIZER).is_file():
            raise MissingError(
                f"{folder} is not a trained model for composers. Train one with notebook 08, or give --model its name."
            )
        self.config = _read(folder / CONFIG)
        try:
            self.names, self.seconds = self.config["composers"], float(self.config["clip_seconds"])
            features, self._n_clips = self.config["features"], max(8, int(self.config["clips_per_piece"]))
            stored = read_arrays(folder / RECOGNIZER)
            self.centroids, self.threshold = stored["centroids"], float(stored["threshold"])
            self._places = stored["pieces"]
            self._pieces = pd.read_csv(folder / PIECES, usecols=PIECE_COLUMNS, dtype=str, keep_default_na=False)
            if len(self._pieces) != len(self._places):
                raise ValueError(f"{PIECES} has {len(self._pieces)} rows, and {RECOGNIZER} {len(self._places)} places")
        except (KeyError, ValueError, TypeError, OSError) as error:  # pandas' errors are ValueErrors
            raise SettingError(f"{folder} is damaged ({type(error).__name__}: {error}). {REMEDY}") from error
        n_frames = int(self.seconds * clips.FRAMES_PER_SECOND)
        self.network = embedding.build(n_frames, features, len(self.names))
        set_weights(self.network, read_weights(folder / WEIGHTS, self.names), folder / WEIGHTS)

    def places(self, examples):
        """The embeddings of clips (n, n_frames, n_bins): shape (n, SIZE)."""
        return embedding.embed(self.network, examples)

    def distances(self, examples):
        """How far clips are from each composer: shape (n, n_composers)."""
        return recognition.distances(self.places(examples), self.centroids)

    def recognize(self, path):
        """The composers of a piece by distance, and its nearest pieces.

        Raises
        ------
        MissingError, SettingError, MidiError
            The file is not there, is no score, cannot be read, or has too few notes.
        """
        notes, status, note = _examined(path)
        cut = clips.cut(notes, self.seconds, self._n_clips) if status == "ok" else []
        if not cut:
            raise MidiError(note if str(path) in note else f"{path}: {note or 'it has too few notes at a time.'}")
        places = self.places(np.stack([clips.examples(clip, self.seconds) for clip in cut]))
        found = recognition.distances(places, self.centroids).mean(axis=0)
        name, table = recognition.answer(self.names, found, self.threshold)
        apart = np.linalg.norm(self._places - places.mean(axis=0), axis=1)
        nearest = self._pieces.assign(distance=apart).sort_values("distance", ignore_index=True).head(NEAREST)
        return Answer(name, table, nearest)


def _examined(path):
    if Path(path).is_dir():
        raise SettingError(f"{path} is a folder. Give the files in it: {path}/*.mid")
    if not Path(path).is_file():
        raise MissingError(f"{path} is not there. Check the name and the folder.")
    if Path(path).suffix.lower() not in corpora.SUFFIXES:
        raise SettingError(
            f"{path} is neither a MIDI file nor a score ({', '.join(corpora.SUFFIXES)}). Export a notation program's "
            "file as MusicXML. Write a recording's notes first: muscomp transcribe, or muscomp separate for a song."
        )
    return scores.examine(path)
