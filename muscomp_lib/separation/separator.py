"""Notebook 05, first part: a song in, one sound per instrument out.

The signal path is Spleeter's: the mix's spectrogram goes through the network in segments of T frames; the network's
amounts become masks that divide each point of the spectrogram; each mask times the mix's spectrogram, transformed back,
is one instrument. Phases are the mix's. pipeline.py separates a song of any length; targets.py plans the files;
audio/stream.py reads and writes them.
"""

import collections
import contextlib
import hashlib
import logging
import tempfile
from functools import cached_property
from pathlib import Path

import numpy as np

from muscomp_lib import audio
from muscomp_lib.audio import stft, stream
from muscomp_lib.core import names, provenance
from muscomp_lib.core.errors import SettingError
from muscomp_lib.core.progress import bar
from muscomp_lib.models import checkpoint, pretrained, registry
from muscomp_lib.models.config import check_engine, find_model
from muscomp_lib.separation import inference, songs, targets
from muscomp_lib.separation.pipeline import CHANNELS, Pipeline

BLOCK = 1 << 20  # samples that are taken from Spleeter's files at a time

log = logging.getLogger(__name__)


class Separator:
    """A trained model, ready to separate songs.

    Parameters
    ----------
    model : str or Path, optional
        Without it, the pretrained model (models/pretrained.py). Else a model folder, written by `training.train`
        or by Spleeter's own training; or a Spleeter configuration `.json`, whose `model_dir` holds the checkpoint (a
        relative one is relative to the configuration's folder); or a published model's name (models/published.py).
    query : str, Path or np.ndarray, optional
        For a model that separates what it is asked for: a recording of the instrument alone, or what `timbre.query`
        made of one. Without `model`, the pretrained one of these is used, and the outputs are `asked` and `rest`.
    engine : {"muscomp", "spleeter"}
        Who writes the files of `separate_file`: this library, or the real Spleeter, in its own environment. The result
        is the same, but Spleeter takes longer and holds the whole song in memory; it is there for comparison.

    Attributes
    ----------
    config : dict
    folder : Path
        Where the weights are.
    instruments : list of str
        In the order of the configuration; with `other` when the model has a residual.
    asked_by : str or None
        The name of the query's recording.

    Raises
    ------
    MissingError, SettingError
        There is no finished model, or its weights do not fit its configuration; the model takes no query.
    AudioError
        The query is none: silence, noise, too short.
    """

    def __init__(self, model=None, engine="muscomp", query=None):
        check_engine(engine)
        self.engine = engine
        self.config, self.folder = find_model(model or (pretrained.FOLDER if query is None else pretrained.QUERY))
        self.instruments = list(self.config["instrument_list"])
        self.takes_query = registry.network(self.config).takes_query
        self._query = self._described(query)
        self.asked_by = None if query is None else "a query"
        if isinstance(query, str | Path):
            self.asked_by = names.as_text(Path(query).stem)
        if not self.takes_query or query is not None:
            _ = self._network  # loaded now, so that what is wrong with it is reported now
        if engine == "spleeter":
            checkpoint.require_spleeter_network(self.config)

    @cached_property
    def _network(self):
        return inference.Predictor(self.config, self.folder, self._query)

    def _described(self, query):
        """A query as the network takes it."""
        if query is None:
            return None
        if not self.takes_query:
            raise SettingError(
                f"{self.folder.name} separates {', '.join(self.instruments)}, and takes no query. Leave the model out, "
                "or name one that was trained by notebook 06."
            )
        if isinstance(query, np.ndarray):
            return query
        from muscomp_lib.timbre import query as described

        return described(query, descriptor=self.config["model"]["params"]["descriptor"])

    @property
    def query_digest(self):
        """A checksum of the query; None without one."""
        return None if self._query is None else hashlib.sha256(self._query.tobytes()).hexdigest()

    @cached_property
    def identity(self):
        """What distinguishes this model from another, and from itself after more training, or used in another way."""
        network = registry.network(self.config)
        weights = network.weights_file(self.folder)
        version = {"file": weights.name, "checksum": provenance.checksum(weights)}
        asked = {} if self._query is None else {"query": self.query_digest}
        used = {"panning": True} if network.mono else {}
        return {"folder": self.folder.name, "engine": self.engine, "config": self.config} | version | asked | used

    def separate(self, waveform, sample_rate, query=None):
        """Separate a song held in memory.

        Parameters
        ----------
        waveform : np.ndarray, shape=(n_samples, n_channels), float in [-1, 1], or integer
            One channel or more; more than two are mixed down to two. Integers are scaled by the range of their type.
        sample_rate : int
            Hz.
        query : optional
            As for the class: what to separate in this song, by a model that takes queries.

        Returns
        -------
        dict of str to np.ndarray, shape=(n_samples, 2), float32
            By instrument, at the song's own rate and length.

        Raises
        ------
        AudioError, SettingError
            The waveform or its rate is none of a song.
        """
        if query is not None:
            model = self.folder if self.takes_query or self.folder != pretrained.FOLDER else None
            return Separator(model, self.engine, query).separate(waveform, sample_rate)
        song = stream.Song(stream.InMemoryAudio(waveform, sample_rate))
        pipeline = Pipeline(self.config, self._network, song, targets.plan(self.instruments))
        blocks = list(pipeline.run(lambda _, block: block))
        return {
            name: np.concatenate(parts) for name, parts in zip(self.instruments, zip(*blocks, strict=True), strict=True)
        }

    def masks(self, waveform, sample_rate):
        """The mask of each instrument, averaged over channels: {name: (n_frames, n_bins) float32 in [0, 1]}."""
        song = stream.Song(stream.InMemoryAudio(waveform, sample_rate))
        pipeline = Pipeline(self.config, self._network, song, [])
        found = {name: [] for name in self.instruments}
        for spectrogram, masks, _ in pipeline.masked():
            for number, parts in enumerate(found.values()):
                parts.append(pipeline.extended(pipeline.mask(masks, [number]), spectrogram.shape[1]).mean(axis=2))
        n_samples = round(song.frames * self.config["sample_rate"] / sample_rate)
        n_frames = stft.n_frames(n_samples, self.config["frame_length"], self.config["frame_step"])
        return {name: np.concatenate(parts)[:n_frames] for name, parts in found.items()}

    def separate_file(self, path, out_dir, wanted=None, file_format="flac", exact=False, seconds=None, progress=bar):
        """Separate an audio file of any length into `out_dir/<Instrument>.<suffix>`, at its own rate and length.

        Parameters
        ----------
        path : str or Path
        out_dir : str or Path
        wanted : list of str, optional
            The files to write: instruments, sums of instruments (`"Brass+Violin"`), `"accompaniment"` for all that is
            not named (targets.py). None: every instrument.
        file_format : str
            One of `audio.formats.FORMATS`.
        exact : bool
            Let `other` be what the rest leaves of the song, so that all files sum to it: exactly, sample by sample, in
            a FLAC or WAV format with at least as many bits as the song has.
        seconds : float, optional
            Only so many seconds, from the song's middle.
        progress : callable
            Called like tqdm for a bar. Whatever its `update` raises stops the separation and leaves no files; the real
            Spleeter has a bar of its own.

        Returns
        -------
        dict of str to Path
            By output. All files appear when the song is done, or none does.

        Raises
        ------
        MissingError, AudioError, SettingError, DiskFullError
        """
        planned = targets.plan(self.instruments, wanted, exact)
        stream.check_format(file_format)
        with stream.opened(path, songs.excerpt_start(path, seconds), seconds) as song, contextlib.ExitStack() as stack:
            stream.check_format(file_format, song.sample_rate)
            files = {}
            for output in planned:
                file = Path(out_dir) / f"{output.name}{stream.FORMATS[file_format].suffix}"
                writer = stream.Writer(file, file_format, song.sample_rate, CHANNELS, song.frames)
                files[output.name] = stack.enter_context(writer)
            self._write(song, planned, files, progress)
            for file in files.values():
                file.finish()
        for name, file in files.items():
            if file.limited:
                log.warning("%s: %d samples beyond full scale were limited; wav_float keeps them.", name, file.limited)
        return {name: file.path for name, file in files.items()}

    def _write(self, song, planned, files, progress):
        """Separate a song and write every block of every output, and last what remains of the song, if wanted."""
        remainders = [output for output in planned if output.is_residual]
        separated = [output for output in planned if not output.is_residual]
        song = _Buffered(song)

        def write(output, block):
            files[output.name].write(block)
            return files[output.name].as_stored(block) if remainders else block

        for blocks in self._pipeline(song, separated, progress).run(write):
            mix = song.take(len(blocks[0]))
            for output in remainders:
                files[output.name].write(files[output.name].as_stored(mix) - sum(blocks))

    def _pipeline(self, song, planned, progress):
        if self.engine == "spleeter":
            return _SpleeterPipeline(self.config, self.folder, song, planned)
        return Pipeline(self.config, self._network, song, planned, progress)


class _SpleeterPipeline:
    """As `Pipeline`, when the real Spleeter separates the song."""

    def __init__(self, config, folder, song, planned):
        self._config, self._folder, self._song, self._planned = config, folder, song, planned

    def run(self, use):
        """As `Pipeline.run`."""
        from muscomp_lib.spleeter import engine as spleeter_engine  # it needs what our own engine does not

        waveform = np.concatenate(list(self._song.blocks(BLOCK)))
        with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
            made = spleeter_engine.separate(self._config, self._folder, waveform, self._song.sample_rate, folder)
            files = [stack.enter_context(stream.opened(file)) for file in made.values()]
            rates = self._config["sample_rate"], self._song.sample_rate
            to_song = [stream.Resampler(*rates, CHANNELS) for _ in self._planned]
            parts = zip(*(file.blocks(BLOCK) for file in files), strict=True)
            left = files[0].frames
            for instruments in parts:
                left -= len(instruments[0])
                sums = [sum(instruments[number] for number in output.indices) for output in self._planned]
                ends_at = None if left else len(waveform)
                blocks = [line.feed(part, n_samples=ends_at) for line, part in zip(to_song, sums, strict=True)]
                yield [use(output, block) for output, block in zip(self._planned, blocks, strict=True)]


class _Buffered:
    """A song whose samples are kept until `take`: the remainder can be computed only after the outputs."""

    def __init__(self, song):
        self._song = song
        self.sample_rate, self.channels, self.frames = song.sample_rate, song.channels, song.frames
        self._kept = collections.deque()  # the song is read in another thread than the one that writes

    def blocks(self, size):
        """As `stream.Song.blocks`."""
        for block in self._song.blocks(size):
            self._kept.append(audio.fit_channels(block, CHANNELS))
            yield block

    def take(self, n_samples):
        """The next samples, (n_samples, 2)."""
        parts = [np.zeros((0, CHANNELS), np.float32)]
        while n_samples:
            block = self._kept.popleft()
            parts.append(block[:n_samples])
            if len(block) > n_samples:
                self._kept.appendleft(block[n_samples:])
            n_samples -= len(parts[-1])
        return np.concatenate(parts)
