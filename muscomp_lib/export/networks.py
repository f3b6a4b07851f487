"""Trained models as they are exported: their weights by file, what a device needs, and how they are judged.

A figure is named as a column of the table: `largest_difference` of masks or likelihoods, from 0 to 1; `si_sdr_cost_db`
and `f1_cost`, how much worse the result is than the network's own; `agreement_db`, the SI-SDR of what is separated with
the file, against what the network separates.
"""

from functools import cached_property

import numpy as np
from scipy.special import expit

from muscomp_lib.audio import SAMPLE_RATE, stream
from muscomp_lib.core import instruments, names, provenance
from muscomp_lib.core.instruments import DEFAULT_TAXONOMY
from muscomp_lib.export import song
from muscomp_lib.models import registry
from muscomp_lib.models.config import find_model, read_json, targets
from muscomp_lib.models.weights import CONFIG, WEIGHTS, read_weights
from muscomp_lib.separation import metrics, panning
from muscomp_lib.separation.inference import Masks
from muscomp_lib.separation.pipeline import Pipeline
from muscomp_lib.separation.targets import plan
from muscomp_lib.transcription import cqt
from muscomp_lib.transcription import network as transcriber_network
from muscomp_lib.transcription.metrics import match_instrument
from muscomp_lib.transcription.note_decoder import BLOCK, Transcriber, to_mono

FIGURES = ("largest_difference", "si_sdr_cost_db", "f1_cost", "agreement_db")
MOST_DB = 150.0  # beyond what 32-bit floats resolve
SIGNAL = ("sample_rate", "frame_length", "frame_step", "n_channels", "T", "F", "separation_exponent", "mask_extension")


def find(path, seconds):
    """The trained model at a path, as from `pretrained.model_path`.

    Parameters
    ----------
    path : str or Path
    seconds : float
        Of the song that files are judged by.

    Returns
    -------
    Separation or Notes

    Raises
    ------
    MissingError, SettingError
        There is no finished model, it is damaged, or its weights belong to another.
    """
    config = path / CONFIG
    is_transcriber = config.is_file() and "model" not in read_json(config)
    return Notes(path, seconds) if is_transcriber else Separation(path, seconds)


class Separation:
    """A model that separates.

    Attributes
    ----------
    computation : models.runtime.Computation
    parts : dict of str to dict
        The weights of each file.
    checksum : str
        Of the weights.
    seconds : float
        Length of the song that files are judged by.
    seconds_per_window : float
        How much of it the network computes at a time.
    """

    def __init__(self, path, seconds):
        self._config, folder = find_model(path)
        self._network = registry.network(self._config)
        self.computation, self.parts = self._network.computation(), self._network.parts(folder)
        self.checksum = provenance.checksum(self._network.weights_file(folder))
        self.seconds_per_window = self._config["T"] * self._config["frame_step"] / self._config["sample_rate"]
        self.seconds = seconds

    def description(self):
        """What a device needs besides the weights, for JSON."""
        network = self._network
        known = {"separates": network.instruments, "type": network.type, "context": network.context}
        known |= {"softmax_outside": network.softmax_outside, "input": [1, *network.segment_shape]}
        known |= {"panning": panning.edges(self._config) if network.mono else []}
        return known | {key: self._config[key] for key in SIGNAL}

    @cached_property
    def windows(self):
        """The network's inputs for the song: a list of lists of one array, float32."""
        blocks = Pipeline(self._config, self._network, self._song, []).segments()
        return [[window[None]] for _, segments, _ in blocks for window in segments.astype(np.float32)]

    @cached_property
    def _stems(self):
        return song.rendered(self.seconds)

    @property
    def _song(self):
        return stream.Song(stream.InMemoryAudio(sum(stem.waveform for stem in self._stems), SAMPLE_RATE))

    @cached_property
    def _references(self):
        """The true waveforms of what the model separates, as far as they are known."""
        taxonomy = self._config["muscomp"]["taxonomy"] or DEFAULT_TAXONOMY
        made_of = targets(self._config) or {name: [name] for name in self._network.instruments}
        found = {}
        for name, members in made_of.items():
            known = [instruments.find(member, taxonomy) for member in members]
            sounds = [song.of(instrument, self._stems) for instrument in known if instrument]
            if len(sounds) == len(members) and all(sound is not None for sound in sounds):
                found[name] = sum(sounds)
        return found

    def figures(self, outputs, reference):
        """Compare what an exported model gives for the windows with what the network gives.

        Parameters
        ----------
        outputs, reference : list of np.ndarray
            Of each of `parts`, for all windows.

        Returns
        -------
        dict of str to float
            `si_sdr_cost_db` is NaN where the song has none of the model's instruments.
        """
        magnitude = np.concatenate([window for [window] in self.windows])
        powers, true_powers = (self._network.powers(each, magnitude) for each in (outputs, reference))
        masks, true_masks, numbers = Masks(powers), Masks(true_powers), range(len(powers))
        largest = max(float(np.abs(masks.of([n]) - true_masks.of([n])).max()) for n in numbers)
        separated, true = self._separated(powers), self._separated(true_powers)
        agreement = _mean(min(metrics.si_sdr(true[name], separated[name]), MOST_DB) for name in true)
        costs = [
            metrics.si_sdr(s, true[name]) - metrics.si_sdr(s, separated[name]) for name, s in self._references.items()
        ]
        return {
            "largest_difference": largest,
            "si_sdr_cost_db": round(_mean(costs), 6) + 0.0,
            "agreement_db": agreement,
        }

    def _separated(self, powers):
        separated = self._network.instruments
        pipeline = Pipeline(self._config, _Replayed(self._network, powers), self._song, plan(separated))
        blocks = zip(*pipeline.run(lambda _, block: block), strict=True)
        return {name: np.concatenate(parts) for name, parts in zip(separated, blocks, strict=True)}

    @property
    def file_names(self):
        """What each of `parts` is called as a file, without its suffix."""
        return [names.as_folder(name) for name in self.parts]

    @property
    def n_outputs(self):
        """How many numbers a run gives, of all files together."""
        n_channels = 1 if self._network.mono else self._config["n_channels"]
        return len(self._network.instruments) * self._config["T"] * self._config["F"] * n_channels


class _Replayed:
    """In the place of a network in a pipeline: what has been computed for its windows, in order."""

    def __init__(self, network, powers):
        self.mono, self.context = network.mono, network.context
        self._powers, self._begin = powers, 0

    def __call__(self, magnitude):
        begin, self._begin = self._begin, self._begin + len(magnitude)
        return Masks([power[begin : self._begin] for power in self._powers])


class Notes:
    """As `Separation`, of a model that transcribes."""

    def __init__(self, path, seconds):
        self._transcriber, self.seconds = Transcriber(path), seconds
        self.computation = self._transcriber.computation()
        self.parts = {"network": read_weights(path / WEIGHTS, self._transcriber.instruments)}
        self.checksum = self._transcriber.identity["checksum"]
        self.seconds_per_window = BLOCK * cqt.FRAME_SECONDS

    def description(self):
        """As `Separation.description`."""
        levels, instrument = self.computation.shapes
        known = {"transcribes": self._transcriber.instruments, "type": self.computation.name}
        known |= {"sample_rate": cqt.SAMPLE_RATE, "frame_seconds": cqt.FRAME_SECONDS, "lowest_pitch": cqt.LOWEST_PITCH}
        known |= {"T": BLOCK, "context": transcriber_network.CONTEXT, "input": [1, *levels]}
        return known | {"input_instrument": [1, *instrument]}

    @cached_property
    def windows(self):
        """The network's inputs, levels and instrument, for all instruments of the song."""
        found = []

        def keep(levels, instrument):
            found.append([levels.astype(np.float32), instrument.astype(np.float32)])
            return np.zeros((1, levels.shape[1], cqt.N_PITCHES, 3), np.float32)

        self._notes(keep)
        return found

    file_names = ("network",)

    @property
    def n_outputs(self):
        """As `Separation.n_outputs`."""
        return 3 * cqt.N_PITCHES * self.computation.shapes[0][0]

    def figures(self, outputs, reference):
        """As `Separation.figures`."""
        [log_odds], [true_log_odds] = outputs, reference
        largest = float(np.abs(expit(log_odds) - expit(true_log_odds)).max())
        f1, true_f1 = (self._f1(each) for each in (log_odds, true_log_odds))
        return {"largest_difference": largest, "f1_cost": true_f1 - f1}

    def _f1(self, log_odds):
        replayed = iter(log_odds[:, None])
        found = self._notes(lambda *_: next(replayed))
        matched = (match_instrument(true, notes, instrument.is_drums) for instrument, true, notes in found)
        return _mean(each.f1 for each in matched)

    def _notes(self, run):
        """Transcribe the song's instruments with a function in the network's place: (Instrument, true notes, notes)."""
        self._transcriber.__dict__["_network"] = run  # a cached property's value
        known = [(instruments.of_program(stem.program), stem) for stem in song.rendered(self.seconds)]
        loaded = instruments.load()
        return [
            (loaded[name], stem.notes, self._transcriber.notes(to_mono(stem.waveform, SAMPLE_RATE), loaded[name]))
            for name, stem in known
        ]


def _mean(values):
    """The mean of those values that are finite; NaN where none is."""
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")
