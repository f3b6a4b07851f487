"""The settings of notebook 07, checked before anything is exported. The command and the batch runner use them, too."""

from muscomp_lib.core import files, names, settings
from muscomp_lib.core.settings import Field, is_path, number, optional, that
from muscomp_lib.export.formats import DEFAULT, FORMATS
from muscomp_lib.models import pretrained
from muscomp_lib.models.weights import CONFIG
from muscomp_lib.separation.settings import MODEL


def _listed(value):
    return [name.strip() for name in value.split(",")] if isinstance(value, str) else value


def _are_formats(value):
    listed = _listed(value)
    return isinstance(listed, (list, tuple)) and len(listed) > 0 and all(name in FORMATS for name in listed)


LIST = that(_are_formats, f"a list of some of {', '.join(FORMATS)}")
FOLDER = that(is_path, "a folder")


class Settings(settings.Settings):
    """What to export and where to. What a format needs is checked once it is written."""

    model: MODEL = Field(pretrained.NAME, description="What is exported: a model as in notebook 05, or a transcriber.")
    formats: optional(LIST, "all that can be written here, but litert_int8") = Field(
        None, description="The formats to write; in one text, separated by commas."
    )
    seconds: number(4, 600, unit="seconds") = Field(
        20.0, description="Length of the composed song with which each file is compared with the network."
    )
    out: optional(FOLDER, "exported/ under the root") = Field(None, description="Where the models' folders are made.")

    @property
    def chosen(self):
        """The names of the formats: list of str."""
        return list(DEFAULT if self.formats is None else dict.fromkeys(_listed(self.formats)))

    def folder(self, root):
        """Where this model's files go, under a `core.root.Root`."""
        path = files.absolute(str(self.model).replace(":", "_"))
        title = path.parent.name if path.name == CONFIG else path.name.removesuffix(".json")
        return files.absolute(self.out or root.exported) / names.as_folder(title)
