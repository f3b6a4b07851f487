"""Notebook 05, third part: listen to the separated instruments and mix them anew.

`Mixer` keeps two things apart: what is heard (`mix`, plain arrays) and the ipywidgets that set it, which look the same
in ipywidgets 7 (Colab) and 8. Sound goes to the browser compressed, one player at a time, because a notebook's output
breaks when it grows beyond a few megabytes.
"""

import io

import numpy as np
import soundfile

from muscomp_lib import audio, synthesizer
from muscomp_lib.errors import AudioError, SettingError

LOWEST_GAIN, HIGHEST_GAIN, GAIN_STEP = -40.0, 12.0, 1.0  # dB
SILENT = 1e-12  # power below which nothing sounds
SELECT = ("mute", "solo", "MIDI")
FORMATS = (("OGG", "VORBIS", "audio/ogg"), ("MP3", "MPEG_LAYER_III", "audio/mpeg"), ("FLAC", "PCM_16", "audio/flac"))
VORBIS_BLOCK = 65536  # samples: libsndfile's Vorbis encoder overruns its stack when given much more at a time


class Mixer:
    """A mixing desk in a notebook cell: mute, solo and gain of every instrument, and a player for the result.

    Parameters
    ----------
    stems : dict of str to np.ndarray, shape=(n_samples, n_channels), float
        {instrument: waveform}, all of one shape.
    sample_rate : int
        Hz.
    midi : pretty_midi.PrettyMIDI, optional
        A transcription, its tracks named like stems: a synthesizer can play them in their stems' place, as loud.

    Attributes
    ----------
    gains : dict of str to float
        dB, by source.
    muted, soloed : set of str
        While any source is soloed, only soloed ones sound. Muting wins over solo.
    as_midi : set of str
        Those whose transcription is heard.

    Raises
    ------
    AudioError
        When there are no stems or their shapes differ.
    """

    def __init__(self, stems, sample_rate, midi=None):
        shapes = {name: np.shape(waveform) for name, waveform in stems.items()}
        if len(set(shapes.values())) != 1 or len(next(iter(shapes.values()))) != 2:
            raise AudioError(f"A mixer needs stems of one shape (n_samples, n_channels); these have {shapes}.")
        self.sample_rate = sample_rate
        self._sources = dict(stems)
        self._tracks = {track.name: track for track in midi.instruments if track.name in stems} if midi else {}
        self._played = {}
        self.gains = dict.fromkeys(self._sources, 0.0)
        self.muted, self.soloed, self.as_midi = set(), set(), set()

    @property
    def names(self):
        """The sources, in order."""
        return list(self._sources)

    def set(self, name, gain=None, mute=None, solo=None, midi=None):
        """Change one source: gain in dB; mute, solo and midi True or False; what is not given stays."""
        if name not in self._sources:
            raise SettingError(f"There is no source {name!r} in this mixer; there is {', '.join(self._sources)}.")
        if gain is not None:
            if not np.isfinite(gain):
                raise SettingError(f"The gain of {name} is {gain!r}; give a number of dB, or mute it.")
            self.gains[name] = float(gain)
        if midi and name not in self._tracks:
            raise SettingError(f"Nothing of {name} was written down; there are notes of {', '.join(self._tracks)}.")
        for chosen, wanted in ((self.muted, mute), (self.soloed, solo), (self.as_midi, midi)):
            if wanted is not None:
                (chosen.add if wanted else chosen.discard)(name)

    def mix(self):
        """What is to be heard now: shape (n_samples, n_channels), float32; not limited to [-1, 1]."""
        total = np.zeros_like(next(iter(self._sources.values())), dtype=np.float32)
        for name in self._audible():
            total += audio.to_gain(self.gains[name]) * self._sound(name)
        return total

    def _sound(self, name):
        """A stem, or its transcription, played at its first use."""
        stem = self._sources[name]
        if name not in self.as_midi:
            return stem
        if name not in self._played:
            tones = synthesizer.render(self._tracks[name], len(stem) / self.sample_rate, self.sample_rate)
            tones *= np.sqrt(np.mean(stem**2) / max(np.mean(tones**2), SILENT))
            self._played[name] = audio.fit_channels(audio.fit_length(tones, len(stem)), stem.shape[1])
        return self._played[name]

    def _audible(self):
        return [n for n in self._sources if n not in self.muted and (not self.soloed or n in self.soloed)]

    def player(self, waveform=None):
        """An audio player (IPython.display.Audio) of `waveform`, or of the mix, compressed, softened where it clips."""
        from IPython.display import Audio

        waveform = self.mix() if waveform is None else waveform
        encoded, mimetype = compressed(waveform / max(1.0, float(np.abs(waveform).max(initial=0.0))), self.sample_rate)
        player = Audio(data=encoded)
        player.mimetype = mimetype
        return player

    def widget(self):
        """The desk as an ipywidgets widget: one row per source, a button, and the player under it."""
        import ipywidgets
        from IPython.display import clear_output, display

        rows = [self._row(ipywidgets, name) for name in self._sources]
        play = ipywidgets.Button(description="Play the mix", icon="play")
        heard = ipywidgets.Output()

        def show(_button):
            with heard:
                clear_output(wait=True)
                display(self.player())

        play.on_click(show)
        return ipywidgets.VBox([*rows, play, heard])

    def _row(self, ipywidgets, name):
        """One source's label, toggles and gain slider."""
        wide = ipywidgets.Layout(width="14em")
        toggles = [
            ipywidgets.ToggleButton(value=name in chosen, description=kind, layout=ipywidgets.Layout(width="5em"))
            for kind, chosen in zip(SELECT, (self.muted, self.soloed, self.as_midi), strict=True)
        ]
        toggles[-1].disabled = name not in self._tracks
        gain = ipywidgets.FloatSlider(
            value=self.gains[name], min=LOWEST_GAIN, max=HIGHEST_GAIN, step=GAIN_STEP, description="dB"
        )
        gain.observe(lambda change: self.set(name, gain=change["new"]), names="value")
        for kind, toggle in zip(SELECT, toggles, strict=True):
            toggle.observe(lambda change, kind=kind: self.set(name, **{kind.lower(): change["new"]}), names="value")
        return ipywidgets.HBox([ipywidgets.Label(name.replace("_", " "), layout=wide), *toggles, gain])

    def _ipython_display_(self):
        """Show the desk, and a player of the mix as it stands, which also works where widgets do not."""
        from IPython.display import display

        display(self.widget())
        display(self.player())


def compressed(waveform, sample_rate):
    """A waveform as a small audio file in memory, in the first of FORMATS that this libsndfile writes.

    Returns
    -------
    encoded : bytes
    mimetype : str
    """
    kind, subtype, mimetype = next(f for f in FORMATS if f[1] in soundfile.available_subtypes(f[0]))
    out = io.BytesIO()
    with soundfile.SoundFile(out, "w", sample_rate, waveform.shape[1], subtype, format=kind) as file:
        for start in range(0, len(waveform), VORBIS_BLOCK):
            file.write(waveform[start : start + VORBIS_BLOCK])
    return out.getvalue(), mimetype
