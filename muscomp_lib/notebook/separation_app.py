"""The app of notebook 05: choose a song, press a button, play its instruments; then another, without running a cell.

The work is done in a thread: while a cell runs, a notebook handles no widget events, so neither Cancel nor the mixer
would respond. The models are loaded beforehand and stay in memory; another model is loaded once it is chosen.
"""

import contextlib
import itertools
import logging
import os
import sys
import threading
import time
from functools import cached_property

from muscomp_lib import audio, transcription
from muscomp_lib.core import names
from muscomp_lib.core.errors import MusCompError
from muscomp_lib.core.progress import HEADLESS, UndrawnBar
from muscomp_lib.models import pretrained
from muscomp_lib.notebook import upload
from muscomp_lib.notebook.mixer import Mixer
from muscomp_lib.separation import Separator, available, folder, songs
from muscomp_lib.transcription import choice

WHOLE = 0.0  # not None, which a Dropdown shows as no choice
LENGTHS = {"10 seconds": 10.0, "30 seconds": 30.0, "1 minute": 60.0, "the whole song": WHOLE}
DEFAULT_LENGTH = 30.0  # seconds that are proposed of a song longer than SHORT
SHORT = 60.0  # seconds; a song that is no longer is separated whole
PARTS_OF_WORK = {"separate": 0.55, "transcribe": 0.3, "send": 0.15}  # shares of the progress bar: about those of time
NEEDS_WIDGETS = (
    "The app needs a notebook that shows widgets, such as JupyterLab, Notebook 7 or Colab. Here, the cells below do "
    "the same, step by step."
)
WIDGET_MIME = "application/vnd.jupyter.widget-view+json"
EVERYTHING = "every instrument"
SEPARATED = "separated: "  # label of a song that only has to be opened
MAX_SEPARATED = 10  # such songs in the list, the latest first
REFRESH = 0.2  # seconds between updates of the progress bar
STYLE = """<style>
.muscomp-app button, .muscomp-app select, .muscomp-app label { font-size: 16px; }
.muscomp-app button, .muscomp-app select { height: 40px; line-height: 24px; }
.muscomp-app .widget-dropdown { height: auto; }
.muscomp-app .muscomp-status, .muscomp-app .muscomp-about {
  font-size: 16px; white-space: normal; overflow-wrap: anywhere; height: auto;
}
</style>"""

log = logging.getLogger(__name__)


class CancelledError(Exception):
    """The user has pressed Cancel."""


class SeparationApp:
    """Separates, transcribes and plays songs at the press of a button, in a notebook cell.

    Parameters
    ----------
    separator : separation.Separator
    transcriber : note_decoder.Transcriber
    root : core.root.Root
        The songs in its `songs/` are offered, and uploads are written there.
    out : Path
        Where the songs' folders are made, as by `folder.separate_all`.
    settings : transcription.Settings
    song : Path, optional
        The song selected at first; else the first available, or the composed example.
    seconds : float, optional
        The length selected at first, an excerpt from the middle. None: the whole of a short song, else half a minute.
    model : str
        What the separator's model is called in the list of models.

    Attributes
    ----------
    separator : separation.Separator
    settings : transcription.Settings
        Of the model that is chosen.
    latest : (Path, float or None) or None
        The song separated last, and its length in seconds.
    mixer : mixer.Mixer or None
        The mixer that is shown.
    """

    def __init__(self, separator, transcriber, root, out, settings, song=None, seconds=None, model=pretrained.NAME):
        self.separator, self._transcriber, self.settings, self._model = separator, transcriber, settings, str(model)
        self._root, self._out, self._first, self._seconds = root, out, song, seconds
        self._cancelled, self._thread = threading.Event(), None
        self._work = (0.0, 1.0, time.monotonic())  # part of the bar that is being filled, and when all began
        self._done = 0.0  # share of all the work
        self.latest = self.mixer = None

    def _ipython_display_(self):
        from IPython.display import display

        if os.environ.get(HEADLESS):
            print(NEEDS_WIDGETS)
        elif "google.colab" in sys.modules:  # it has widgets, and displays them in its own way
            display(self._controls["app"])
        else:
            view = {"version_major": 2, "version_minor": 0, "model_id": self._controls["app"].model_id}
            display({WIDGET_MIME: view, "text/plain": NEEDS_WIDGETS}, raw=True)

    # ---- controls ----

    @cached_property
    def _controls(self):
        """All widgets by name; made on first use, as a notebook without a browser needs none."""
        controls = _make_controls(self._seconds, self._on_upload)
        controls["separate"].on_click(lambda _: self.separate())
        controls["cancel"].on_click(lambda _: self._cancelled.set())
        controls["song"].observe(lambda change: self._choose_length(controls["length"], change["new"]), "value")
        controls["model"].observe(lambda change: self._describe_model(controls["about"], change["new"]), "value")
        self._list_songs(controls["song"], self._first)
        self._list_models(controls["model"])
        self._list_queries(controls["like"])
        return controls

    def _choose_length(self, dropdown, song):
        """Select the whole song if it is short."""
        if self._seconds is None and song is not None and song.is_file():
            with contextlib.suppress(MusCompError, OSError):  # reported once it is to be separated
                dropdown.value = WHOLE if audio.info(song).duration <= SHORT else DEFAULT_LENGTH

    def _describe_model(self, label, name):
        """Show what the chosen model was trained on."""
        about = {
            model.name: model.trained_on for model in available.models(self._root) if model.makes == available.STEMS
        }
        label.value = f"Trained on {about[name]}." if about.get(name) else ""

    def _list_models(self, dropdown):
        """Fill the list of models; the one that is loaded is selected."""
        listed = available.separators(self._root)
        if self._model not in listed.values():
            listed = {self._model: self._model} | listed
        dropdown.options = list(listed.items())
        dropdown.value = self._model

    def _list_songs(self, dropdown, selected=None):
        """Fill the list of songs; `selected` is the Path that will be selected."""
        listed = songs.available(self._root)
        if not listed and selected is None:
            selected = songs.compose_example(self._root)
        if selected is not None and selected not in listed.values():
            listed = {names.as_text(songs.title(selected)): selected} | listed
        separated = itertools.islice(folder.separated(self._out), MAX_SEPARATED)
        listed |= {f"{SEPARATED}{names.as_text(path.name)}": path for path in separated}
        dropdown.options = list(listed.items())
        dropdown.value = selected or next(iter(listed.values()))

    def _list_queries(self, dropdown):
        """Fill the list of recordings that can be asked by: the songs, among which an uploaded note is one."""
        listed = songs.available(self._root)
        dropdown.options = [(EVERYTHING, ""), *((f"what sounds like {name}", path) for name, path in listed.items())]
        dropdown.value = ""

    def _show_status(self, text, progress=None):
        """Show a line of text, and a progress bar from 0 to 1 if there is progress."""
        self._controls["status"].value = names.as_text(text)
        self._controls["bar"].layout.display = "none" if progress is None else None
        self._controls["bar"].value = progress or 0.0

    def _begin(self, part):
        """Begin a part of the work: its bars fill its share of the progress bar."""
        parts = list(PARTS_OF_WORK)
        before = sum(PARTS_OF_WORK[name] for name in parts[: parts.index(part)])
        self._work = (before, before + PARTS_OF_WORK[part], self._work[2])

    def _show_progress(self, bar):
        """Show how much of all the work is done, from the state of a tqdm bar of its current part."""
        begin, end, began = self._work
        progress = begin + (end - begin) * (min(1.0, bar.n / bar.total) if bar.total else 0.0)
        progress = self._done = max(self._done, progress)  # a part may have several bars
        left = (time.monotonic() - began) * (1 - progress) / progress if progress else None
        remaining = "" if left is None else f", {left:.0f} s left"
        self._show_status(f"{bar.desc}: {progress:.0%}{remaining}", progress)

    def _on_upload(self, name, progress, content):
        """Add an uploaded song to the list once its last chunk has arrived."""
        if content is None:
            return self._show_status(f"Uploading {name}: {progress:.0%}", progress)
        try:
            path = songs.import_upload(self._root, name, content)
        except (MusCompError, OSError) as error:
            self._close_mixer()  # it would pass for the refused song's
            return self._show_status(str(error))
        self._list_songs(self._controls["song"], path)
        self._list_queries(self._controls["like"])
        return self._show_status(f"{path.name} is uploaded. Press Separate.")

    def _set_busy(self, busy):
        for name in ("song", "upload", "model", "like", "length", "separate"):
            self._controls[name].disabled = busy
        self._controls["cancel"].disabled = not busy

    # ---- work ----

    def separate(self):
        """Separate and transcribe the selected song and open it in the mixer; returns at once."""
        if self._thread is not None and self._thread.is_alive():
            return
        self._cancelled.clear()
        chosen = (self._controls[name].value for name in ("song", "length", "model", "like"))
        song, seconds, model, like = chosen
        self._thread = threading.Thread(target=self._run, args=(song, seconds or None, model, like), daemon=True)
        self._set_busy(True)
        self._thread.start()

    def _run(self, song, seconds, model, like):
        """What the thread does: every error ends up in the status line."""
        self._work, self._done = (0.0, 1.0, time.monotonic()), 0.0
        try:
            if song.is_dir():
                self._open(song)
            elif like:
                (like,) = songs.choose(like, self._root)  # a virtual song is written to disk
                self._separate(song, seconds, Separator(query=like))
            else:
                self._load(model)
                self._separate(song, seconds, self.separator)
        except CancelledError:
            self._show_status("Cancelled. No incomplete files were kept.")
        except (MusCompError, OSError) as error:
            self._close_mixer()
            self._show_status(str(error))
        except Exception as error:  # a thread's exceptions are reported nowhere else
            self._close_mixer()
            log.exception("The app could not separate %s", song)
            self._show_status(f"Unexpected error: {type(error).__name__}: {error}. The log has the details.")
        finally:
            self._set_busy(False)

    def _load(self, model):
        """Load the chosen model if it is another; one that is not here is fetched first."""
        if model == self._model:
            return
        self._show_status(f"Loading the model {model} …", 0.0)
        separator = Separator(pretrained.model_path(model, self._root, self._bar), self.separator.engine)
        settings = transcription.Settings.of_model(separator.config, quantise=self.settings.quantise)
        self._model, self.separator, self.settings = model, separator, settings
        self._list_models(self._controls["model"])  # what was fetched is here now

    def _separate(self, song, seconds, separator):
        (song,), bar = songs.choose(song, self._root), self._bar
        self._begin("separate")
        (made,) = folder.separate_all(separator, [song], self._out, seconds=seconds, progress=bar)
        self._begin("transcribe")
        folder.write_notes(self._out / made.song, self.settings, self._transcriber, progress=bar)
        self.latest = song, seconds
        self._open(self._out / made.song)

    def _open(self, place):
        """Show a separated song in the mixer."""
        files, midi = folder.files_of(place), folder.midi_of(place)
        self._begin("send")
        sample_rate, (song, seconds) = audio.info(next(iter(files.values()))).sample_rate, folder.song_of(place)
        start = songs.excerpt_start(song, seconds) if song else 0.0
        known, reasons = self.settings.choose(files)
        absent = choice.absent(known, midi) if midi else []
        mixer = Mixer(files, sample_rate, midi, song, names.as_text(place.name), start, absent)
        self._close_mixer()
        self.mixer = mixer
        self._controls["mixer"].children = [mixer.desk()]
        mixer.send_audio(self._bar)
        notes, name = choice.sentence(reasons, midi), place.name
        self._show_status(f"{self._out.name}/{name}: {len(files)} files, {notes}. Press Play.")

    def _close_mixer(self):
        previous, self.mixer = self.mixer, None
        self._controls["mixer"].children = []
        if previous is not None:
            previous.desk().close()

    def _bar(self, *args, **options):
        return _StatusBar(*args, **options, show=self._show_progress, cancelled=self._cancelled)


class _StatusBar(UndrawnBar):
    """A tqdm bar that calls `show(bar)`, and raises CancelledError once cancelled."""

    def __init__(self, *args, show, cancelled, **options):
        self._show, self._cancelled = show, cancelled
        super().__init__(*args, **{**options, "disable": False, "mininterval": REFRESH})

    def __iter__(self):
        for item in super().__iter__():
            self._check()
            yield item

    def update(self, n=1):
        """Count."""
        self._check()
        return super().update(n)

    def display(self, *_, **__):
        """Show instead of printing."""
        if not self._cancelled.is_set():
            self._show(self)

    def _check(self):
        if self._cancelled.is_set():
            raise CancelledError


def _make_controls(seconds, on_upload):
    """The widgets by name, `app` with all of them laid out. `on_upload` is called with uploads (upload.button)."""
    import ipywidgets as w

    seconds = DEFAULT_LENGTH if seconds is None else seconds
    lengths = LENGTHS if seconds in LENGTHS.values() else LENGTHS | {f"{seconds:g} seconds": seconds}
    wide, button = w.Layout(width="36em", max_width="100%"), w.Layout(width="auto", min_width="11em")
    made = {
        "song": w.Dropdown(description="Song", options=[], layout=wide),
        "upload": upload.button("Upload a song …", "audio/*,video/*", on_upload),
        "model": w.Dropdown(description="Model", options=[], layout=wide),
        "about": w.Label(value=""),
        "like": w.Dropdown(description="What", options=[(EVERYTHING, "")], layout=wide),
        "length": w.Dropdown(description="Length", options=lengths, value=seconds, layout=w.Layout(width="20em")),
        "separate": w.Button(description="Separate", button_style="primary", icon="play", layout=button),
        "cancel": w.Button(description="Cancel", disabled=True, layout=w.Layout(width="auto")),
        "bar": w.FloatProgress(min=0.0, max=1.0, layout=w.Layout(width="100%", display="none")),
        "status": w.Label(value="Choose or upload a song, and press Separate."),
        "mixer": w.VBox([]),
    }
    made["status"].add_class("muscomp-status")
    made["about"].add_class("muscomp-about")
    rows = [
        ("song", "upload"),
        ("model",),
        ("about",),
        ("like",),
        ("length", "separate", "cancel"),
        ("bar",),
        ("status",),
    ]
    rows = [w.HBox([made[name] for name in row], layout=w.Layout(flex_flow="row wrap")) for row in rows]
    controls = w.VBox([w.HTML(STYLE), *rows])
    controls.add_class("muscomp-app")
    return made | {"app": w.VBox([controls, made["mixer"]])}
