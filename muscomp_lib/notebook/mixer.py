"""The mixer of notebook 05 and of the website: plays the separated instruments together, and mixes them.

`Mixer` holds the stems and their settings. In a browser it is a mixing desk (`static/mixer.js`, an anywidget, which
works with ipywidgets 7 on Colab and with 8): all stems are decoded near the playhead, piece by piece, and each piece is
started at its sample of one clock, which keeps the stems in sync to the sample. It is a small player of our own on Web
Audio, as no existing one has all we need: those on media elements let the stems drift apart, those for MIDI load their
sounds from another site, and those for stems show no notes.

Audio is sent as Ogg Vorbis: of the codecs libsndfile writes, it takes a third of Opus's time and half of MP3's at the
same size, and decodes to exactly as many samples as went in. Chrome, Edge and Firefox play it, and Safari from 18.4;
elsewhere the desk shows a message. It is sent in pieces of some seconds, each with all stems, so that playback can
start after the first piece, however long the song is, and each message stays below a megabyte. Of stems that are files,
only the piece that is being sent is in memory.
"""

import io
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import numpy as np
import soundfile

from muscomp_lib import audio
from muscomp_lib.audio.waveform_file import WaveformFile
from muscomp_lib.core import parallel
from muscomp_lib.core.errors import AudioError, SettingError
from muscomp_lib.core.progress import HEADLESS
from muscomp_lib.core.settings import check_value, flag, number, suggestion
from muscomp_lib.notation import chords
from muscomp_lib.notebook import STATIC

DEFAULTS = {"gain": 0.0, "pan": 0.0, "mute": False, "solo": False, "midi": False}
MAX_GAIN = 12.0  # dB
KINDS = {"gain": number(highest=MAX_GAIN, unit="dB"), "pan": number(-1, 1)}
KINDS |= dict.fromkeys(("mute", "solo", "midi"), flag())
PIECE = 5.0  # seconds of all stems in one message, and decoded at once in the browser: 25 MB for thirteen
PEAK = 256  # samples per point of a drawn waveform; pieces are whole multiples of it
LEAD = 4096  # samples before and after a piece, encoded with it and cut off again: codecs blur the edges
MAX_BYTES = 25e6  # of all audio together: the quality is as high as fits, up to MAX_QUALITY
MAX_QUALITY = 0.5
BASE_RATE, RATE_PER_QUALITY, MONO_SHARE = 64e3, 160e3, 0.75  # Vorbis stereo takes 64 + 160 q kbit/s; mono, 3/4
VORBIS_BLOCK = 65536  # samples: libsndfile's Vorbis encoder overruns its stack if given many more at once
RATES = (8000, 48000)  # Hz, supported by Vorbis and all browsers: audio outside this range is resampled
MONO_TOLERANCE = 1e-4  # of full scale: channels that differ less are sent as one
DECIMATION = 31  # only every 31st sample is checked where all would take too long
MAX_PLAYERS_SECONDS = 600.0  # longer songs get no plain players: these are stored in the notebook


class Mixer:
    """A mixing desk in a notebook cell: mute, solo, gain and pan for every stem, all played in sync.

    Parameters
    ----------
    stems : dict of str to np.ndarray, shape=(n_samples, n_channels), float, or Path
        {instrument: waveform}, all of one shape; or the paths of sound files, which are read when they are sent.
    sample_rate : int
        Hz.
    midi : pretty_midi.PrettyMIDI, optional
        A transcription whose tracks are named like stems: shown below them, and played in their place on request.
    original : np.ndarray, shape=(n_samples, n_channels), float, or Path, optional
        The song the stems were separated from, for comparison.
    start : float
        Seconds: where in the original's file the stems begin.
    title : str
        File name of downloads.
    absent : collection of str
        Stems that hold hardly anything: they are folded away.

    Attributes
    ----------
    settings : dict of str to dict
        By stem: `gain` (dB), `pan` (-1 left to 1 right), `mute`, `solo`, `midi` (its notes are played in its place).
        While any stem is soloed, only soloed ones are heard. Mute overrides solo. Follows the controls in the browser.

    Raises
    ------
    AudioError
        There are no stems, their shapes differ, or the original is not two-dimensional; a file cannot be read.
    """

    def __init__(self, stems, sample_rate, midi=None, original=None, title="mix", start=0.0, absent=()):
        stems = {name: _opened(stem) for name, stem in stems.items()}
        if isinstance(original, (str, Path)):
            original = WaveformFile(original, sample_rate, start, len(next(iter(stems.values()), ())))
        shapes = {name: np.shape(waveform) for name, waveform in stems.items()}
        if len(set(shapes.values())) != 1 or len(next(iter(shapes.values()))) != 2:
            raise AudioError(f"The stems of a mixer must have one shape (n_samples, n_channels); these have {shapes}.")
        if original is not None and len(np.shape(original)) != 2:
            raise AudioError(f"The original has shape {np.shape(original)}; it must be (n_samples, n_channels).")
        self.sample_rate, self.title, self._absent = sample_rate, title, list(absent)
        self._stems, self._original, self._midi = dict(stems), original, midi
        self._tracks = {track.name: track for track in midi.instruments if track.name in stems} if midi else {}
        self.settings = {name: dict(DEFAULTS) for name in stems}
        self._desk = None

    @property
    def names(self):
        """The stems' names, in order."""
        return list(self._stems)

    def set(self, name, gain=None, pan=None, mute=None, solo=None, midi=None):
        """Change the settings of one stem: gain in dB; pan from -1 to 1; mute, solo and midi True or False.

        Raises
        ------
        SettingError
            The stem is unknown, a value is impossible, or the stem has no notes.
        """
        if name not in self._stems:
            raise SettingError(f"There is no stem {name!r} in this mixer. {suggestion(name, self._stems)}")
        given = {"gain": gain, "pan": pan, "mute": mute, "solo": solo, "midi": midi}
        given = {key: value for key, value in given.items() if value is not None}
        for key, value in given.items():
            check_value(f"{key} of {name}", KINDS[key], value)
        if midi and name not in self._tracks:
            raise SettingError(f"{name} has no notes in this MIDI file; {', '.join(self._tracks) or 'no stem'} has.")
        changed = {key: type(DEFAULTS[key])(value) for key, value in given.items()}  # whole numbers are numbers, too
        self.settings = {**self.settings, name: {**self.settings[name], **changed}}
        if self._desk is not None:
            self._desk.settings = self.settings

    def mix(self):
        """The mix with the current settings: shape (n_samples, 2), float32; not limited to [-1, 1].

        Always of the separated audio: notes are played only in the browser.
        """
        return self.mix_of(slice(None))

    def mix_of(self, part):
        """As `mix`, of a slice of the samples."""
        total = np.zeros((len(range(*part.indices(len(next(iter(self._stems.values())))))), 2), np.float32)
        for name, gains in self._gains().items():
            total += audio.fit_channels(self._stems[name][part], 2) * gains
        return total

    def _gains(self):
        """By what the left and right channels of each audible stem are multiplied: {name: (2,) float32}."""
        soloed = any(setting["solo"] for setting in self.settings.values())
        found = {}
        for name, setting in self.settings.items():
            if not setting["mute"] and (setting["solo"] or not soloed):
                sides = np.minimum(1.0, [1.0 - setting["pan"], 1.0 + setting["pan"]])
                found[name] = (audio.to_gain(setting["gain"]) * sides).astype(np.float32)
        return found

    def players(self):
        """Plain players (IPython.display.Audio) of the mix and of each stem: {name: player}."""
        from IPython.display import Audio

        def encode(waveform):
            return encode_vorbis(normalized(for_browser(waveform, self.sample_rate)), browser_rate(self.sample_rate))

        waveforms = {"mix": self.mix(), **self._stems}
        with ThreadPoolExecutor(parallel.cores()) as pool:
            files = pool.map(lambda waveform: encode(waveform[:]), waveforms.values())
            players = {name: Audio(data=file) for name, file in zip(waveforms, files, strict=True)}
        for player in players.values():
            player.mimetype = "audio/ogg"
        return players

    def desk(self):
        """The desk as a widget, made on first use; it has no audio until `send_audio`.

        Raises
        ------
        ImportError
            anywidget is not installed.
        """
        if self._desk is None:
            self._desk = _desk_class(self.n_pieces)(
                song=self.description(), midi_file=self._midi_file(), settings=self.settings
            )
            self._desk.observe(lambda change: setattr(self, "settings", change["new"]), "settings")
        return self._desk

    def send_audio(self, progress=None):
        """Encode the audio and send it to the desk, starting with the song's beginning; `progress` is like tqdm."""
        missing = [number for number in range(self.n_pieces) if not getattr(self._desk, f"piece_{number}")]
        pieces = self.pieces(missing)
        for k, piece in progress(pieces, desc="sending to the browser", total=len(missing)) if progress else pieces:
            setattr(self._desk, f"piece_{k}", piece)

    def pieces(self, numbers):
        """Encode pieces of the audio, as `static/mixer.js` takes them.

        Yields
        ------
        number : int
        piece : list of bytes
            A file for each stem, and for the original; then what is drawn of all of them, and their energies.
        """
        with ThreadPoolExecutor(parallel.cores()) as pool:
            for k in numbers:
                encoded = list(pool.map(lambda waveform, k=k: self._encode_piece(waveform, k), self._waveforms))
                drawn = (b"".join(parts) for parts in zip(*(drawing for _, drawing in encoded), strict=True))
                yield k, [*(file for file, _ in encoded), *drawn]

    def _ipython_display_(self):
        """Show the desk and send its audio, or show plain players without a browser or anywidget."""
        from IPython.display import HTML, display

        try:
            desk = None if os.environ.get(HEADLESS) else self.desk()
        except ImportError:
            desk = None
        if desk is not None:
            display(desk)
            return self.send_audio()
        seconds = len(next(iter(self._stems.values()))) / self.sample_rate
        if seconds > MAX_PLAYERS_SECONDS:
            text = f"{seconds / 60:.0f} minutes are too long for players in a notebook: play the stems' files."
            return display(HTML(text))
        for name, player in self.players().items():
            display(HTML(f"<b>{name.replace('_', ' ')}</b>"), player)
        return None

    @cached_property
    def _waveforms(self):
        """What the desk plays, at its rate, stems first."""
        waveforms = list(self._stems.values())
        if isinstance(self._original, WaveformFile):
            waveforms.append(self._original)
        elif self._original is not None:
            waveforms.append(audio.fit_length(self._original, len(waveforms[0])))
        rate = browser_rate(self.sample_rate)
        return [
            waveform.at(rate) if isinstance(waveform, WaveformFile) else for_browser(waveform, self.sample_rate)
            for waveform in waveforms
        ]

    def _quality(self):
        """The Vorbis quality, 0 to MAX_QUALITY, at which all audio fits into MAX_BYTES."""
        seconds = len(self._waveforms[0]) / browser_rate(self.sample_rate)
        stereo_count = sum(1.0 if waveform.shape[1] == 2 else MONO_SHARE for waveform in self._waveforms)
        bit_rate = 8 * MAX_BYTES / (stereo_count * max(seconds, 1.0))  # of one stereo waveform
        return float(np.clip((bit_rate - BASE_RATE) / RATE_PER_QUALITY, 0.0, MAX_QUALITY))

    @property
    def _piece(self):
        """The length of a piece, in samples."""
        return -(-round(PIECE * browser_rate(self.sample_rate)) // PEAK) * PEAK

    @property
    def n_pieces(self):
        """How many pieces the audio is sent in."""
        return -(-len(self._waveforms[0]) // self._piece)

    def _encode_piece(self, waveform, number):
        """One piece of a waveform as a file, with up to LEAD extra samples on both sides; and what is drawn of it.

        Returns
        -------
        file : bytes
        drawing : (bytes, bytes)
            A uint8 per PEAK samples, 255 times the root of their peak; and a float32, the sum of the samples' squares.
        """
        first = number * self._piece
        begin = max(0, first - LEAD)
        piece = _fewest_channels(waveform[begin : first + self._piece + LEAD])
        sizes = np.abs(piece[first - begin :][: self._piece]).max(axis=1)
        peaks = np.sqrt(np.append(sizes, np.zeros(-len(sizes) % PEAK)).reshape(-1, PEAK).max(axis=1).clip(0, 1))
        squares = np.float32(np.square(piece[first - begin :][: self._piece]).mean(axis=1).sum())
        file = encode_vorbis(piece, browser_rate(self.sample_rate), self._quality())
        return file, (np.ceil(255 * peaks).astype(np.uint8).tobytes(), squares.tobytes())

    def description(self):
        """What the desk needs to know before the audio arrives, for JSON: a dict."""
        bars, seconds = self._times("get_downbeats"), len(self._waveforms[0]) / browser_rate(self.sample_rate)
        return {
            "title": self.title,
            "names": self.names,
            "original": self._original is not None,
            "rate": browser_rate(self.sample_rate),
            "frames": len(self._waveforms[0]),
            "piece": self._piece,
            "lead": LEAD,
            "pieces": self.n_pieces,
            "channels": [waveform.shape[1] for waveform in self._waveforms],
            "peak": PEAK,
            "absent": self._absent,
            "bars": bars,
            "chords": chords.of_bars(self._midi, bars, seconds) if bars else [],
            "beats": self._times("get_beats"),
            "tracks": {
                name: {
                    "program": int(track.program),
                    "drums": track.is_drum,
                    "notes": [_note(note) for note in track.notes],
                }
                for name, track in self._tracks.items()
            },
        }

    def _times(self, kind):
        """Where the beats or bars of the transcription begin, in seconds; after its last note they go on as before."""
        found = getattr(self._midi, kind)().tolist() if self._tracks else []
        seconds = len(self._waveforms[0]) / browser_rate(self.sample_rate)
        if len(found) > 1:
            found += np.arange(2 * found[-1] - found[-2], seconds, found[-1] - found[-2]).tolist()
        return [round(time, 3) for time in found if time < seconds]

    def _midi_file(self):
        file = io.BytesIO()
        if self._midi is not None:
            self._midi.write(file)
        return file.getvalue()


def _desk_class(n_pieces):
    """The widget's class, with one trait per piece of audio, so that each is sent on its own."""
    import anywidget
    from traitlets import Bytes, Dict, List

    traits = {"song": Dict(), "midi_file": Bytes(), "settings": Dict()}
    traits |= {f"piece_{number}": List() for number in range(n_pieces)}
    files = {
        f"_{kind}": (STATIC / name).read_text("utf-8") for kind, name in (("esm", "mixer.js"), ("css", "mixer.css"))
    }
    return type("Desk", (anywidget.AnyWidget,), {**files, **{n: trait.tag(sync=True) for n, trait in traits.items()}})


def _note(note):
    """Of a pretty_midi.Note: start, end, pitch, velocity and likelihood, which is 1 where it is unknown."""
    times, likelihood = (round(float(time), 4) for time in (note.start, note.end)), getattr(note, "likelihood", 1.0)
    return [*times, int(note.pitch), int(note.velocity), round(likelihood, 2)]


def normalized(waveform):
    """A waveform scaled down to full scale if it exceeds it, instead of clipped."""
    return waveform / max(1.0, float(np.abs(waveform).max(initial=0.0)))


def browser_rate(sample_rate):
    """The nearest sample rate (Hz) that Vorbis and all browsers support."""
    return int(np.clip(sample_rate, *RATES))


def for_browser(waveform, sample_rate):
    """A waveform as sent to a browser: at `browser_rate`, with two channels, or one if they are equal."""
    return audio.resample(_fewest_channels(waveform), sample_rate, browser_rate(sample_rate))


def _fewest_channels(waveform):
    if waveform.shape[1] == 1:
        return waveform
    some = waveform[::DECIMATION]
    is_mono = np.abs(some[:, 0] - some[:, 1]).max(initial=0.0) < MONO_TOLERANCE
    return waveform[:, : 1 if is_mono else 2]


def _opened(stem):
    return WaveformFile(stem) if isinstance(stem, (str, Path)) else stem


def encode_vorbis(waveform, sample_rate, quality=0.2):
    """A waveform as an Ogg Vorbis file (bytes); the quality is from 0 to 1."""
    out = io.BytesIO()
    kind = {"format": "OGG", "subtype": "VORBIS", "compression_level": 1.0 - quality}
    with soundfile.SoundFile(out, "w", sample_rate, waveform.shape[1], **kind) as file:
        for start in range(0, len(waveform), VORBIS_BLOCK):
            file.write(np.ascontiguousarray(waveform[start : start + VORBIS_BLOCK], np.float32))
    return out.getvalue()
