"""Notebook 05's stage: choose a song, press a button, hear its instruments; then another song, with no cell run again.

What is wanted is done by a thread: while a notebook's cell runs no button is heeded, not Cancel and none of the
mixer. The models are loaded before and stay in memory.
"""

import logging
import os
import threading

from muscomp_lib import audio, transcription
from muscomp_lib.core.errors import MusCompError
from muscomp_lib.core.progress import HEADLESS, Telling
from muscomp_lib.notebook import mixer, upload
from muscomp_lib.separation import folder as batches
from muscomp_lib.separation import songs

LENGTHS = {"10 seconds": 10.0, "30 seconds": 30.0, "1 minute": 60.0, "the whole song": None}
FIRST_LENGTH = 30.0  # seconds
SEPARATED = "separated: "  # what a list calls a song that needs only to be opened
MOST_SEPARATED = 10  # of those, the last ones
SHOWN_EVERY = 0.2  # seconds
STYLE = """<style>
.muscomp-app button, .muscomp-app select, .muscomp-app label { font-size: 16px; }
.muscomp-app button, .muscomp-app select { height: 40px; line-height: 24px; }
.muscomp-app .muscomp-status { font-size: 16px; white-space: normal; overflow-wrap: anywhere; height: auto; }
</style>"""

log = logging.getLogger(__name__)


class CancelledError(Exception):
    """Whoever watches has pressed Cancel."""


class SeparationApp:
    """A song at the press of a button, in a notebook cell.

    Parameters
    ----------
    separator : separation.Separator
    transcriber : transcriber.Transcriber
    root : drive.Root
        Its `songs/` are offered, and take what is uploaded.
    out : Path
        Where the songs' folders are made, as by `batches.separate_all`.
    settings : transcription.Settings
    song : Path, optional
        What is chosen at first; else the first there is, or the composed example.
    seconds : float or None
        How much of a song is chosen at first, from its middle; None: all.

    Attributes
    ----------
    played : (Path, float or None) or None
        The song, and how many seconds of it, that were separated last.
    mixer : mixer.Mixer or None
        What is heard.
    """

    def __init__(self, separator, transcriber, root, out, settings, song=None, seconds=FIRST_LENGTH):
        self._separator, self._transcriber, self._settings = separator, transcriber, settings
        self._root, self._out, self._first, self._seconds = root, out, song, seconds
        self._cancelled, self._thread = threading.Event(), None
        self.played = self.mixer = None
        self._widgets = None

    @property
    def widget(self):
        """The stage as a widget (ipywidgets.VBox), made once."""
        return self._made()["all"]

    def _ipython_display_(self):
        from IPython.display import display

        if os.environ.get(HEADLESS):
            print("The stage needs somebody who looks; the cells below do the same, step by step.")
        else:
            display(self.widget)

    def wait(self):
        """Until nothing is being done."""
        if self._thread is not None:
            self._thread.join()

    # ------------------------------------------------------------------------------------------------- what is seen

    def _made(self):
        """All widgets by name; made when first asked for, because a notebook without a browser needs none."""
        if self._widgets is None:
            self._make()
        return self._widgets

    def _make(self):
        import ipywidgets as w

        its = self._widgets = _controls(self._seconds, self._take_in)
        its["go"].on_click(lambda _: self.separate())
        its["cancel"].on_click(lambda _: self._cancelled.set())
        rows = [("song", "upload"), ("length", "go", "cancel"), ("bar",), ("said",)]
        rows = [w.HBox([its[name] for name in row], layout=w.Layout(flex_flow="row wrap")) for row in rows]
        controls = w.VBox([w.HTML(STYLE), *rows])
        controls.add_class("muscomp-app")
        its["all"] = w.VBox([controls, its["mixer"]])
        self._offer(self._first)

    def _offer(self, chosen=None):
        """Fill the list of songs; `chosen` is the Path that will be selected."""
        offered = songs.available(self._root)
        if not offered and chosen is None:
            chosen = songs.compose_example(self._root)
        if chosen is not None and chosen not in offered.values():
            offered = {songs.title(chosen): chosen} | offered
        folders = sorted(self._out.glob(f"*/{batches.RECORD}"), key=lambda note: -note.stat().st_mtime)
        offered |= {f"{SEPARATED}{note.parent.name}": note.parent for note in folders[:MOST_SEPARATED]}
        self._widgets["song"].options = list(offered.items())
        self._widgets["song"].value = chosen or next(iter(offered.values()))

    def _say(self, text, share=None):
        """Tell what is going on, and how far it is, from 0 to 1."""
        self._widgets["said"].value = text
        self._widgets["bar"].layout.display = "none" if share is None else None
        self._widgets["bar"].value = share or 0.0

    def _take_in(self, name, share, content):
        """Put a song into the list when its last piece is here."""
        if content is None:
            return self._say(f"{name} is on its way: {share:.0%}", share)
        try:
            path = songs.import_upload(self._root, name, content)
        except (MusCompError, OSError) as error:
            return self._say(str(error))
        self._offer(path)
        return self._say(f"{path.name} is here. Press Separate.")

    # ------------------------------------------------------------------------------------------------- what is done

    def separate(self):
        """Separate what is chosen, write it down, and open it in the mixer; returns at once (`wait` waits)."""
        if self._thread is not None and self._thread.is_alive():
            return
        self._cancelled.clear()
        song, seconds = self._made()["song"].value, self._made()["length"].value
        self._thread = threading.Thread(target=self._work, args=(song, seconds), daemon=True)
        self._busy(True)
        self._thread.start()

    def _busy(self, busy):
        for name in ("song", "upload", "length", "go"):
            self._widgets[name].disabled = busy
        self._widgets["cancel"].disabled = not busy

    def _work(self, song, seconds):
        try:
            if song.is_dir():
                self._open(song)
            else:
                self._perform(song, seconds)
        except CancelledError:
            self._say("Cancelled. Nothing half-done was kept.")
        except (MusCompError, OSError) as error:
            self._say(str(error))
        except Exception as error:  # in a thread nobody else would tell
            log.exception("The stage could not separate %s", song)
            self._say(f"This went wrong: {type(error).__name__}: {error}. The log says where.")
        finally:
            self._busy(False)

    def _perform(self, song, seconds):
        """Separate and transcribe a song."""
        (song,), bar = songs.choose(song, self._root), self._bar
        (name,) = batches.folder_names([song], seconds)
        batches.separate_all(self._separator, [song], self._out, seconds=seconds, progress=bar)
        folder = self._out / name
        stems, sample_rate = _read(folder)
        midi = transcription.transcribe(stems, sample_rate, self._settings, self._transcriber, bar)
        transcription.write(midi, folder / f"{name}.mid")
        original, _ = songs.excerpt(song, seconds)
        self.played = song, seconds
        self._show(stems, sample_rate, midi, original, name)

    def _open(self, folder):
        """Show a song that was separated before; of the original there is what its parts add up to."""
        import pretty_midi

        stems, sample_rate = _read(folder)
        file = folder / f"{folder.name}.mid"
        midi = pretty_midi.PrettyMIDI(str(file)) if file.is_file() else None
        self._show(stems, sample_rate, midi, sum(stems.values()), folder.name)

    def _show(self, stems, sample_rate, midi, original, name):
        self._say("Sending the sound to the browser …", 1.0)
        desk = mixer.Mixer(stems, sample_rate, midi, original, name)
        before, self.mixer = self.mixer, desk
        self._widgets["mixer"].children = [desk.desk()]
        if before is not None:
            before.desk().close()
        desk.send_audio()
        found = sum(len(track.notes) for track in midi.instruments) if midi else 0
        self._say(f"{name}: {len(stems)} files and {found} notes, in {self._out.name}/{name}. Press Play.")

    def _bar(self, *args, **options):
        return _Bar(*args, **options, tell=self._tell, cancelled=self._cancelled)

    def _tell(self, bar):
        """Show how far a bar (tqdm) is."""
        share = min(1.0, bar.n / bar.total) if bar.total else 0.0
        left = bar.format_dict["elapsed"] * (1 - share) / share if share else None
        self._say(f"{bar.desc}: {share:.0%}" + ("" if left is None else f", {left:.0f} s left"), share)


class _Bar(Telling):
    """A bar that calls `tell`; CancelledError ends what should go no further."""

    def __init__(self, *args, tell, cancelled, **options):
        self._tell, self._cancelled = tell, cancelled
        super().__init__(*args, **{**options, "disable": False, "mininterval": SHOWN_EVERY})

    def __iter__(self):
        for item in super().__iter__():
            self._check()
            yield item

    def update(self, n=1):
        """Count."""
        self._check()
        return super().update(n)

    def display(self, *_, **__):
        """Tell instead."""
        if not self._cancelled.is_set():
            self._tell(self)

    def _check(self):
        if self._cancelled.is_set():
            raise CancelledError


def _controls(seconds, arriving):
    """The widgets by name. `arriving` is called with what is uploaded (upload.button)."""
    import ipywidgets as w

    lengths = LENGTHS if seconds in LENGTHS.values() else LENGTHS | {f"{seconds:g} seconds": seconds}
    wide, button = w.Layout(width="36em", max_width="100%"), w.Layout(width="auto", min_width="11em")
    found = {
        "song": w.Dropdown(description="Song", options=[], layout=wide),
        "upload": upload.button("Upload a song …", "audio/*,video/*", arriving),
        "length": w.Dropdown(description="Length", options=lengths, value=seconds, layout=w.Layout(width="18em")),
        "go": w.Button(description="Separate", button_style="primary", icon="play", layout=button),
        "cancel": w.Button(description="Cancel", disabled=True, layout=w.Layout(width="auto")),
        "bar": w.FloatProgress(min=0.0, max=1.0, layout=w.Layout(width="100%", display="none")),
        "said": w.Label(value="Choose a song, or upload one, and press Separate."),
        "mixer": w.VBox([]),
    }
    found["said"].add_class("muscomp-status")
    return found


def _read(folder):
    """The stems of a separated song, and their sample rate in Hz."""
    read = {name: audio.read(file) for name, file in batches.files_of(folder).items()}
    return {name: waveform for name, (waveform, _) in read.items()}, next(iter(read.values()))[1]
