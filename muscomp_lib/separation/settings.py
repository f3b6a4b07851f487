"""The settings of notebook 05, checked before anything is separated. Used by notebook 05 and the batch runner."""

from muscomp_lib.audio.formats import FORMATS
from muscomp_lib.core import instruments, settings
from muscomp_lib.core.settings import Field, flag, is_path, one_of, optional, that
from muscomp_lib.models import pretrained
from muscomp_lib.models.config import ENGINES
from muscomp_lib.separation.songs import SECONDS
from muscomp_lib.transcription import GRIDS


def _are_songs(value):
    return is_path(value) or (isinstance(value, list) and bool(value) and all(map(is_path, value)))


def _are_targets(value):
    names = value.split(",") if isinstance(value, str) else value
    return isinstance(names, (list, tuple)) and names and all(isinstance(n, str) and n.strip() for n in names)


MODEL = that(is_path, f"{pretrained.NAME!r}, the name of a model under models/, a path, or 'spleeter:4stems'")
TARGETS = that(_are_targets, 'a list of instruments, sums such as "A+B", or "accompaniment"')


class Settings(settings.Settings):
    """What to separate, with which models, and what to write. Instruments are checked once the model is known."""

    model: MODEL = Field(
        pretrained.NAME, description="The model that separates, Spleeter's .json, or a published one's name."
    )
    engine: one_of(*ENGINES) = Field("muscomp", description="This library, or the real Spleeter 2.4.2.")
    song: optional(that(_are_songs, "an audio file, a folder or a list"), "the first prepared test song") = Field(
        None, description="The audio file to separate, or a folder or a list of them."
    )
    outputs: optional(TARGETS, "one per instrument") = Field(
        None, description="The files to write; in one text, separated by commas."
    )
    file_format: one_of(*FORMATS) = Field("flac", description="The format of these files.")
    exact: flag() = Field(False, description="Make the files sum to the song exactly.")
    notes_model: optional(MODEL, "the pretrained one") = Field(
        pretrained.NAME, description="The model that transcribes the notes."
    )
    quantise: optional(one_of(*GRIDS), "notes as they were played") = Field(
        None, description="The grid that notes are moved to."
    )
    score: flag() = Field(False, description="Also write the notes as MusicXML.")
    taxonomy: optional(instruments.Taxonomy, "the model's") = Field(
        None, description="The taxonomy with the instruments' programs and ranges."
    )
    out: optional(that(is_path, "a folder"), "separated/ under the root") = Field(
        None, description="Where the songs' folders are made."
    )
    seconds: SECONDS = Field(None, description="Separate only this many seconds from the middle.")
