"""The settings of notebook 08, checked before anything is read. The batch runner uses them, too."""

from muscomp_lib.composers import collection, corpora, embedding
from muscomp_lib.core import settings
from muscomp_lib.core.settings import Field, is_path, number, one_of, optional, that, whole


def _listed(value):
    return [name.strip() for name in value.split(";")] if isinstance(value, str) else value


def _are_names(value):
    listed = _listed(value)
    return isinstance(listed, (list, tuple)) and all(isinstance(name, str) and name.strip() for name in listed)


NAMES = that(_are_names, "a list of composers")
CORPUS = that(is_path, f"{', '.join(map(repr, corpora.DEFAULTS))}, or a folder with a folder for each composer")


class Settings(settings.Settings):
    """Which composers to tell apart, by which clips, and how the network is trained."""

    corpus: CORPUS = Field(corpora.MUSIC21, description="Where the music is from.")
    composers: optional(NAMES, "the corpus' defaults; of a folder, all") = Field(
        None, description="Those to tell apart; in one text, separated by semicolons."
    )
    unknown: optional(NAMES, "the corpus' defaults; of a folder, none") = Field(
        None, description="Those whom the network never meets; in one text, separated by semicolons."
    )
    pieces_per_composer: optional(whole(1), "all") = Field(24, description="How many pieces of each are read at most.")
    clip_seconds: number(4, 120, unit="seconds") = Field(20.0, description="Length of a clip.")
    clips_per_piece: whole(1, 50) = Field(3, description="How many clips of each piece.")
    split: one_of(collection.WORK, collection.CLIP) = Field(
        collection.WORK, description="What is not divided between training and validation."
    )
    features: one_of(*embedding.FEATURES) = Field(
        embedding.ROLL, description="What the network is given: the sound, the notes, or both."
    )
    loss: one_of(*embedding.LOSSES) = Field(
        embedding.BOTH, description="What is minimized; both: cross-entropy, then the triplet loss."
    )
    steps: whole(2) = Field(300, description="Training steps in all.")
    seed: whole(0) = Field(0, description="Random seed of the division, the weights and the batches.")
    name: settings.name() = Field("composers", description="The model's folder under models/.")
    song: optional(that(is_path, "a MIDI file or a score"), "a piece held out") = Field(
        None, description="A piece of your own to find the composer of."
    )

    def files(self):
        """The pieces: as `corpora.files`."""
        return corpora.files(self.corpus, _listed(self.composers), _listed(self.unknown), self.pieces_per_composer)

    def collection(self, workers=None):
        """The clips of these pieces: a `collection.Collection`."""
        return collection.make(self.files(), self.clip_seconds, self.clips_per_piece, self.seed, workers)
