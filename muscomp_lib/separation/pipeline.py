"""A song through a network, block by block. Used by `separator`.

A song is processed in blocks of a few segments, so that an hour takes no more memory than a minute: samples are
resampled to the model's rate, analysed, masked, synthesised and resampled to the song's rate; then the next block is
read. The state between blocks is the samples of incomplete frames, the frames that are the next segment's context, and
the resamplers' filters, so the result is that of the whole song at once. The delay is one frame.
"""

from concurrent.futures import ThreadPoolExecutor
from itertools import chain, pairwise

import numpy as np

from muscomp_lib import audio
from muscomp_lib.audio import stft, stream
from muscomp_lib.core import parallel
from muscomp_lib.core.progress import bar
from muscomp_lib.separation import inference, panning

CHANNELS = 2  # of every separated instrument
WORKERS = min(8, parallel.cores())  # threads that synthesise outputs


class Pipeline:
    """A song, a network, and the outputs to separate.

    Parameters
    ----------
    config : dict
        The model's.
    network : inference.Predictor
    song : stream.Song
    planned : list of targets.Target
    progress : callable
        Called like tqdm for a bar that counts seconds of the song; whatever its `update` raises stops the pipeline.
    """

    def __init__(self, config, network, song, planned, progress=bar):
        self._config, self._network, self._song, self._progress = config, network, song, progress
        self._frame = {key: config[key] for key in ("frame_length", "frame_step")}
        self._alternating = song.channels > config["n_channels"]  # the network takes one channel after the other
        self._tracks = [_OutputTrack(output, config, song, network.mono) for output in planned]

    def run(self, use):
        """Separate the song.

        Parameters
        ----------
        use : callable
            `use(output, block)` gets the next samples of each output, shape (n_samples, 2), float32, at the song's rate
            and the same number for each. It is called in several threads, but in order for any one output.

        Yields
        ------
        list
            For each block, what `use` returned for each output.
        """
        with ThreadPoolExecutor(WORKERS) as pool:
            for spectrogram, masks, ends_at in _prefetch(self.masked()):

                def run_track(track, spectrogram=spectrogram, masks=masks, ends_at=ends_at):
                    mask = self.mask(masks, track.output.indices)
                    return use(track.output, track.next(spectrogram, mask, ends_at))

                yield list(pool.map(run_track, self._tracks))

    def masked(self):
        """Analyse the song block by block, and divide it.

        Yields
        ------
        spectrogram : np.ndarray, shape=(n_frames, n_bins, n_channels), complex64
        masks : inference.Masks
            For `mask`.
        ends_at : int or None
            With the last block, the song's length in samples.
        """
        placed = None
        for spectrogram, segments, ends_at in self.segments():
            masks = self._network(segments)
            if self._network.mono and self._song.channels == CHANNELS:
                placed = placed or panning.Panning(self._config, len(masks.powers))
                mix = spectrogram[:, : self._config["F"]]
                masks = inference.Masks(placed(mix.reshape(-1, self._config["T"], *mix.shape[1:]), masks.powers))
            yield spectrogram, masks, ends_at

    def segments(self):
        """Analyse the song block by block, for a network.

        Yields
        ------
        spectrogram : np.ndarray, shape=(n_frames, n_bins, n_channels), complex64
        segments : np.ndarray, shape=(n_segments, context + T + context, F, n_channels), float32
            Magnitudes.
        ends_at : int or None
            With the last block, the song's length in samples.
        """
        for spectrogram, extended, ends_at in _with_context(self._analysed(), self._network.context):
            yield spectrogram, self._segments(extended), ends_at

    def _analysed(self):
        analyser = stft.Analyser(self._song.channels, **self._frame)
        for block, ends_at in self._blocks():
            yield analyser.feed(block), ends_at

    def _blocks(self):
        """The song at the model's rate in blocks of whole segments, then silence until its last sample is out."""
        rate = self._song.sample_rate
        size = inference.segments_at_once(self._config) * self._config["T"] * self._frame["frame_step"]
        to_model = stream.Resampler(rate, self._config["sample_rate"], self._song.channels)
        waiting, n_samples = np.zeros((0, self._song.channels), np.float32), 0
        total = round(self._song.frames / rate)
        with self._progress(total=total, unit=" s of sound", desc="separating") as progress:
            for block in self._song.blocks(max(1, size * rate // self._config["sample_rate"])):
                n_samples += len(block)
                waiting = np.concatenate([waiting, to_model.feed(block)])
                while len(waiting) >= size:
                    yield waiting[:size], None
                    waiting = waiting[size:]
                    progress.update(min(n_samples // rate, total) - progress.n)
            waiting = np.concatenate([waiting, to_model.feed(waiting[:0], last=True)])
            n_blocks = -(-(len(waiting) + self._frame["frame_length"]) // size)
            waiting = audio.fit_length(waiting, n_blocks * size)
            for number in range(n_blocks):
                yield waiting[number * size : (number + 1) * size], n_samples if number == n_blocks - 1 else None
            progress.update(total - progress.n)

    def _segments(self, extended):
        """The network's input: segments of T frames with their context, (n_segments, n_frames, F, n_channels).

        Channels are segments if it takes but one.
        """
        T, context = self._config["T"], self._network.context
        magnitude = np.abs(extended[:, : self._config["F"]])
        windows = np.lib.stride_tricks.sliding_window_view(magnitude, T + 2 * context, axis=0)[::T]
        magnitude = np.moveaxis(windows, 3, 1)
        if self._alternating:
            return np.concatenate([magnitude[..., :1], magnitude[..., 1:]])
        return np.repeat(magnitude, self._config["n_channels"] // magnitude.shape[3], axis=3)

    def mask(self, masks, numbers):
        """The mask of some instruments together, up to F: (n_frames, F, n_channels or 1), float32."""
        mask = masks.of(numbers)
        if not self._alternating:
            return mask
        left, right = np.split(mask, 2)
        return np.concatenate([left[..., :1], right[..., -1:]], axis=2)

    def extended(self, mask, n_bins):
        """A mask up to the highest bin: above F it is zero, or the frame's mean, as `mask_extension` says."""
        return np.concatenate([mask, np.repeat(_above(mask, self._config), n_bins - mask.shape[1], axis=1)], axis=1)


class _OutputTrack:
    """One output, from mask to waveform."""

    def __init__(self, output, config, song, mono):
        self.output, self._config = output, config
        n_channels = song.channels if mono else CHANNELS
        self._synthesiser = stft.Synthesiser(n_channels, config["frame_length"], config["frame_step"])
        self._to_song = stream.Resampler(config["sample_rate"], song.sample_rate, n_channels)
        self._silence = config["frame_length"]  # samples before the song that are still to be dropped

    def next(self, spectrogram, mask, ends_at):
        """The next samples, (n_samples, 2) at the song's rate; `ends_at` is the song's length if these are the last."""
        sound = np.concatenate([self._synthesiser.feed(part) for part in self._masked(spectrogram, mask)])
        begins, self._silence = self._silence, max(0, self._silence - len(sound))
        return audio.fit_channels(self._to_song.feed(sound[begins:], n_samples=ends_at), CHANNELS)

    def _masked(self, spectrogram, mask):
        """The spectrogram times the mask, a segment at a time: smaller arrays are faster."""
        T, F = self._config["T"], self._config["F"]
        for start in range(0, len(mask), T):
            mix, share = spectrogram[start : start + T], mask[start : start + T]
            n_channels = max(mix.shape[2], share.shape[2])
            part = np.empty((T, n_channels, mix.shape[1]), np.complex64).swapaxes(1, 2)  # the layout of the inverse FFT
            np.multiply(mix[:, :F], share, out=part[:, :F])
            np.multiply(mix[:, F:], _above(share, self._config), out=part[:, F:])
            yield part


def _prefetch(items):
    """The same items, each computed in the background while the one before it is in use."""
    end = object()
    with ThreadPoolExecutor(1) as pool:
        upcoming = pool.submit(next, items, end)
        while (item := upcoming.result()) is not end:
            upcoming = pool.submit(next, items, end)
            yield item


def _with_context(blocks, context):
    """Each spectrogram, and the same with `context` frames of its neighbours on either side, silence at the ends.

    Yields
    ------
    spectrogram, extended : np.ndarray, shape=(n_frames, n_bins, n_channels)
    ends_at : int or None
    """
    before = None
    for (spectrogram, ends_at), following in pairwise(chain(blocks, [(None, None)])):
        silence = np.zeros_like(spectrogram[:context])
        after = silence if following[0] is None else following[0][:context]
        yield spectrogram, np.concatenate([silence if before is None else before, spectrogram, after]), ends_at
        before = spectrogram[len(spectrogram) - context :]


def _above(mask, config):
    """The mask's value in all bins above F: (n_frames, 1, n_channels)."""
    if config["mask_extension"] == "average":
        return mask.mean(axis=1, keepdims=True)
    return np.zeros_like(mask[:, :1])
