"""Notebook 05: hear the separated instruments side by side, and mix them anew.

`Mixer` holds the stems and what is set for each. In a browser it is a desk (`static/mixer.js`, an anywidget, so that
it works with ipywidgets 7 on Colab and with 8): every sound is decoded to memory and all start at one moment of one
clock, which is what keeps them together to the sample. It is a small module of our own on Web Audio, because we found
no player to bundle that does the three things at once: those on media elements let the stems drift apart, those for
MIDI fetch their sounds from another site, and those for stems show no notes.

Sound travels as Ogg Vorbis: of what libsndfile writes, it takes a third of Opus's time and half of MP3's for the same
size, and is decoded to exactly as many samples as went in. Chrome, Edge and Firefox play it; Safari from 18.4 on, and
the desk says so in an older one. It travels in pieces of some seconds, all stems of a piece together, so that one can
listen after the first, however long the song is, and each message stays near a megabyte.
"""

import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile

from muscomp_lib import audio
from muscomp_lib.core.errors import AudioError, SettingError
from muscomp_lib.core.progress import HEADLESS

STATIC = Path(__file__).with_name("static")
UNTOUCHED = {"gain": 0.0, "pan": 0.0, "mute": False, "solo": False, "midi": False}
HIGHEST_GAIN = 12.0  # dB
PIECE = 10.0  # seconds of all stems in one message: about a megabyte for twelve
LEAD = 4096  # samples before and after a piece that are encoded with it and cut off again: codecs blur edges
ROOM = 25e6  # bytes that all sounds together may take: the quality is as good as fits, and never above BEST
BEST, STEREO_RATE, MORE_RATE, MONO_SHARE = 0.5, 64e3, 160e3, 0.75  # Vorbis: a stereo sound takes 64 + 160 q kbit/s
VORBIS_BLOCK = 65536  # samples: libsndfile's Vorbis encoder overruns its stack when given much more at a time
RATES = (8000, 48000)  # Hz: slower and faster sound is resampled, which all browsers and Vorbis then take
SAME = 1e-4  # of full scale: channels that differ less are sent as one
SPARSE = 31  # every so many samples are looked at where all would take long


class Mixer:
    """A mixing desk in a notebook cell: mute, solo, gain and pan of every stem, all played in step.

    Parameters
    ----------
    stems : dict of str to np.ndarray, shape=(n_samples, n_channels), float
        {instrument: waveform}, all of one shape.
    sample_rate : int
        Hz.
    midi : pretty_midi.PrettyMIDI, optional
        A transcription, its tracks named like stems: shown under them, and played in their place where one asks.
    original : np.ndarray, shape=(n_samples, n_channels), float, optional
        The song the stems were made of, to compare with.
    title : str
        What downloads are called.

    Attributes
    ----------
    settings : dict of str to dict
        By stem: `gain` (dB), `pan` (-1 left to 1 right), `mute`, `solo`, `midi` (its notes are heard in its place).
        While any stem is soloed, only soloed ones sound. Muting wins over solo. It follows the browser's controls.

    Raises
    ------
    AudioError
        When there are no stems, their shapes differ, or the original has none.
    """

    def __init__(self, stems, sample_rate, midi=None, original=None, title="mix"):
        shapes = {name: np.shape(waveform) for name, waveform in stems.items()}
        if len(set(shapes.values())) != 1 or len(next(iter(shapes.values()))) != 2:
            raise AudioError(f"A mixer needs stems of one shape (n_samples, n_channels); these have {shapes}.")
        if original is not None and np.ndim(original) != 2:
            raise AudioError(f"The original has the shape {np.shape(original)}; it must be (n_samples, n_channels).")
        self.sample_rate, self.title = sample_rate, title
        self._stems, self._original, self._midi = dict(stems), original, midi
        self._tracks = {track.name: track for track in midi.instruments if track.name in stems} if midi else {}
        self.settings = {name: dict(UNTOUCHED) for name in stems}
        self._desk = None

    @property
    def names(self):
        """The stems, in order."""
        return list(self._stems)

    def set(self, name, gain=None, pan=None, mute=None, solo=None, midi=None):
        """Change one stem: gain in dB; pan from -1 to 1; mute, solo and midi True or False; what is not given stays.

        Raises
        ------
        SettingError
            For an unknown stem, an impossible value, or notes where none were written down.
        """
        if name not in self._stems:
            raise SettingError(f"There is no source {name!r} in this mixer; there is {', '.join(self._stems)}.")
        if gain is not None and not (np.isfinite(gain) and gain <= HIGHEST_GAIN):
            raise SettingError(f"The gain of {name} is {gain!r}; give dB up to {HIGHEST_GAIN:g}, or mute it.")
        if pan is not None and not -1 <= pan <= 1:
            raise SettingError(f"The pan of {name} is {pan!r}; give a number from -1, left, to 1, right.")
        if midi and name not in self._tracks:
            raise SettingError(f"Nothing of {name} was written down; there are notes of {', '.join(self._tracks)}.")
        numbers = {"gain": gain, "pan": pan}
        switches = {"mute": mute, "solo": solo, "midi": midi}
        changed = {key: float(value) for key, value in numbers.items() if value is not None}
        changed |= {key: bool(value) for key, value in switches.items() if value is not None}
        self.settings = {**self.settings, name: {**self.settings[name], **changed}}
        if self._desk is not None:
            self._desk.settings = self.settings

    def mix(self):
        """The stems as they are set now: shape (n_samples, 2), float32; not limited to [-1, 1].

        Always of the separated sound: notes are played in the browser only.
        """
        total = np.zeros((len(next(iter(self._stems.values()))), 2), np.float32)
        soloed = any(setting["solo"] for setting in self.settings.values())
        for name, stem in self._stems.items():
            setting = self.settings[name]
            if setting["mute"] or (soloed and not setting["solo"]):
                continue
            sides = np.minimum(1.0, [1.0 - setting["pan"], 1.0 + setting["pan"]])
            total += audio.fit_channels(stem, 2) * (audio.to_gain(setting["gain"]) * sides).astype(np.float32)
        return total

    def players(self):
        """Plain players (IPython.display.Audio) of the mix and of each stem: {name: player}."""
        from IPython.display import Audio

        def encode(waveform):
            return compressed(softened(for_browser(waveform, self.sample_rate)), browser_rate(self.sample_rate))

        sounds = {"mix": self.mix(), **self._stems}
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            players = {
                name: Audio(data=file) for name, file in zip(sounds, pool.map(encode, sounds.values()), strict=True)
            }
        for player in players.values():
            player.mimetype = "audio/ogg"
        return players

    def desk(self):
        """The desk as a widget, made once; it has no sound until `send_audio`.

        Raises
        ------
        ImportError
            When anywidget is not installed.
        """
        if self._desk is None:
            self._sounds = self._to_send()
            self._piece = round(PIECE * browser_rate(self.sample_rate))  # samples
            self._desk = _desk_class(self._n_pieces())(
                song=self._description(), midi_file=self._midi_file(), settings=self.settings
            )
            self._desk.observe(lambda change: setattr(self, "settings", change["new"]), "settings")
        return self._desk

    def send_audio(self):
        """Encode the sounds and hand them to the desk, from the song's beginning on."""
        missing = [number for number in range(self._n_pieces()) if not getattr(self._desk, f"piece_{number}")]
        pool = ThreadPoolExecutor(os.cpu_count())
        try:
            jobs = [[pool.submit(self._cut, sound, number) for sound in self._sounds] for number in missing]
            for number, parts in zip(missing, jobs, strict=True):
                setattr(self._desk, f"piece_{number}", [part.result() for part in parts])
        finally:
            pool.shutdown(cancel_futures=True)

    def _ipython_display_(self):
        """Show the desk and fill it, or plain players where nobody looks or anywidget is missing."""
        from IPython.display import HTML, display

        try:
            desk = None if os.environ.get(HEADLESS) else self.desk()
        except ImportError:
            desk = None
        if desk is not None:
            display(desk)
            return self.send_audio()
        for name, player in self.players().items():
            display(HTML(f"<b>{name.replace('_', ' ')}</b>"), player)
        return None

    def _to_send(self):
        """What the desk plays, stems first."""
        sounds = list(self._stems.values())
        if self._original is not None:
            sounds.append(audio.fit_length(self._original, len(sounds[0])))
        return [for_browser(waveform, self.sample_rate) for waveform in sounds]

    def _quality(self):
        """Vorbis's quality, 0 to BEST, at which all sounds fit into ROOM."""
        seconds = len(self._sounds[0]) / browser_rate(self.sample_rate)
        sounds = sum(1.0 if sound.shape[1] == 2 else MONO_SHARE for sound in self._sounds)
        fitting = 8 * ROOM / (sounds * max(seconds, 1.0))  # bit/s for a stereo sound
        return float(np.clip((fitting - STEREO_RATE) / MORE_RATE, 0.0, BEST))

    def _n_pieces(self):
        return -(-len(self._sounds[0]) // self._piece)

    def _cut(self, sound, number):
        """One piece of a sound, encoded, with LEAD samples more on both sides where there are any."""
        first = number * self._piece
        cut = sound[max(0, first - LEAD) : first + self._piece + LEAD]
        return compressed(cut, browser_rate(self.sample_rate), self._quality())

    def _description(self):
        """What the desk must know before the sound arrives."""
        return {
            "title": self.title,
            "names": self.names,
            "original": self._original is not None,
            "rate": browser_rate(self.sample_rate),
            "frames": len(self._sounds[0]),
            "piece": self._piece,
            "lead": LEAD,
            "pieces": self._n_pieces(),
            "channels": [sound.shape[1] for sound in self._sounds],
            "rms": [float(np.sqrt(np.mean(np.square(sound[::SPARSE])))) for sound in self._sounds],
            "tracks": {
                name: {
                    "program": track.program,
                    "drums": track.is_drum,
                    "notes": [[round(n.start, 4), round(n.end, 4), n.pitch, n.velocity] for n in track.notes],
                }
                for name, track in self._tracks.items()
            },
        }

    def _midi_file(self):
        file = io.BytesIO()
        if self._midi is not None:
            self._midi.write(file)
        return file.getvalue()


def _desk_class(n_pieces):
    """The widget's class, with a trait per piece of sound: one that changes is sent without the others."""
    import anywidget
    from traitlets import Bytes, Dict, List

    traits = {"song": Dict(), "midi_file": Bytes(), "settings": Dict()}
    traits |= {f"piece_{number}": List() for number in range(n_pieces)}
    files = {
        f"_{kind}": (STATIC / name).read_text("utf-8") for kind, name in (("esm", "mixer.js"), ("css", "mixer.css"))
    }
    return type("Desk", (anywidget.AnyWidget,), {**files, **{n: trait.tag(sync=True) for n, trait in traits.items()}})


def softened(waveform):
    """A waveform that goes beyond full scale turned down to it, instead of clipped."""
    return waveform / max(1.0, float(np.abs(waveform).max(initial=0.0)))


def browser_rate(sample_rate):
    """The nearest sample rate (Hz) that Vorbis and all browsers take."""
    return int(np.clip(sample_rate, *RATES))


def for_browser(waveform, sample_rate):
    """A waveform as a browser gets it: one channel where two are the same, never more than two, at `browser_rate`."""
    if waveform.shape[1] > 1:
        few = waveform[::SPARSE]
        waveform = waveform[:, : 1 if np.abs(few[:, 0] - few[:, 1]).max(initial=0.0) < SAME else 2]
    return audio.resample(waveform, sample_rate, browser_rate(sample_rate))


def compressed(waveform, sample_rate, quality=0.2):
    """A waveform as an Ogg Vorbis file in memory (bytes); the quality is from 0 to 1."""
    out = io.BytesIO()
    kind = {"format": "OGG", "subtype": "VORBIS", "compression_level": 1.0 - quality}
    with soundfile.SoundFile(out, "w", sample_rate, waveform.shape[1], **kind) as file:
        for start in range(0, len(waveform), VORBIS_BLOCK):
            file.write(np.ascontiguousarray(waveform[start : start + VORBIS_BLOCK], np.float32))
    return out.getvalue()
