"""Notebook 05, third part: listen to the separated instruments and mix them anew.

`Mixer` keeps two things apart: what is heard (`mix`, plain arrays) and the ipywidgets that set it, which look the same
in ipywidgets 7 (Colab) and 8. Sound goes to the browser compressed, one player at a time, because a notebook's output
breaks when it grows beyond a few megabytes.
"""

import io

import numpy as np
import soundfile

from muscomp_lib import audio
from muscomp_lib.errors import AudioError, SettingError

LOWEST_GAIN, HIGHEST_GAIN, GAIN_STEP = -40.0, 12.0, 1.0  # dB
PREVIEW = "MIDI_preview"  # the transcription, played by simple tones
PREVIEW_PEAK = 0.3
SELECT = ("mute", "solo")
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
        A transcription: heard as one more source, muted at first.

    Attributes
    ----------
    gains : dict of str to float
        dB, by source.
    muted, soloed : set of str
        While any source is soloed, only soloed ones sound. Muting wins over solo.

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
        self.gains = dict.fromkeys(self._sources, 0.0)
        self.muted, self.soloed = set(), set()
        if midi is not None:
            self._sources[PREVIEW] = _preview(midi, sample_rate, next(iter(shapes.values())))
            self.gains[PREVIEW] = 0.0
            self.muted.add(PREVIEW)

    @property
    def names(self):
        """The sources, in order."""
        return list(self._sources)

    def set(self, name, gain=None, mute=None, solo=None):
        """Change one source: gain in dB, mute and solo True or False; what is not given stays."""
        if name not in self._sources:
            raise SettingError(f"There is no source {name!r} in this mixer; there is {', '.join(self._sources)}.")
        if gain is not None:
            if not np.isfinite(gain):
                raise SettingError(f"The gain of {name} is {gain!r}; give a number of dB, or mute it.")
            self.gains[name] = float(gain)
        for chosen, wanted in ((self.muted, mute), (self.soloed, solo)):
            if wanted is not None:
                (chosen.add if wanted else chosen.discard)(name)

    def mix(self):
        """What is to be heard now: shape (n_samples, n_channels), float32; not limited to [-1, 1]."""
        total = np.zeros_like(next(iter(self._sources.values())), dtype=np.float32)
        for name in self._audible():
            total += audio.to_gain(self.gains[name]) * self._sources[name]
        return total

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
        """One source's label, mute and solo toggles, and gain slider."""
        wide = ipywidgets.Layout(width="14em")
        toggles = [
            ipywidgets.ToggleButton(value=name in chosen, description=kind, layout=ipywidgets.Layout(width="5em"))
            for kind, chosen in zip(SELECT, (self.muted, self.soloed), strict=True)
        ]
        gain = ipywidgets.FloatSlider(
            value=self.gains[name], min=LOWEST_GAIN, max=HIGHEST_GAIN, step=GAIN_STEP, description="dB"
        )
        gain.observe(lambda change: self.set(name, gain=change["new"]), names="value")
        for kind, toggle in zip(SELECT, toggles, strict=True):
            toggle.observe(lambda change, kind=kind: self.set(name, **{kind: change["new"]}), names="value")
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


def _preview(midi, sample_rate, shape):
    """The transcription played by sine tones, as long and with as many channels as the stems."""
    tones = np.asarray(midi.synthesize(fs=sample_rate), np.float32).reshape(-1, 1) * PREVIEW_PEAK
    return audio.fit_channels(audio.fit_length(tones, shape[0]), shape[1])
