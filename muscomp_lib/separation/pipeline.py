"""One song on its way through a network, block by block. Used by `separation`.

A song goes through in blocks of a few segments, so that an hour takes no more memory than a minute: samples are brought
to the model's rate, analysed, masked, transformed back and brought to the song's rate again, and then the next block is
read. What is carried from block to block are the samples of frames that are not complete yet, the frames that the next
segment is heard in the light of, and the resamplers' memory, so the result is that of the whole song at once. Every
sample comes out one frame later than it went in.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, pairwise

import numpy as np

from muscomp_lib import audio
from muscomp_lib.audio import stft, stream
from muscomp_lib.core.progress import bar
from muscomp_lib.models import unet
from muscomp_lib.separation import inference

CHANNELS = 2  # of every separated instrument
WORKERS = min(8, os.cpu_count() or 1)  # threads that turn masks into sound


class Passage:
    """A song and what is to become of it.

    Parameters
    ----------
    config : dict
        The model's.
    network : callable
        As `inference.load` gives it.
    song : streams.Song
    planned : list of targets.Target
    progress : callable
        Called like tqdm for a bar that counts seconds of the song; whatever its `update` raises ends the passage.
    """

    def __init__(self, config, network, song, planned, progress=bar):
        self._config, self._network, self._song, self._progress = config, network, song, progress
        self._frame = {key: config[key] for key in ("frame_length", "frame_step")}
        self._alternating = song.channels > config["n_channels"]  # the network hears one channel after the other
        self._lines = [_Line(output, config, song) for output in planned]

    def run(self, use):
        """Take the song through.

        Parameters
        ----------
        use : callable
            `use(output, block)` gets the next samples of each output, shape (n_samples, 2), float32, at the song's rate
            and as many for each. It is called in several threads, but in order for any one output.

        Yields
        ------
        list
            For each block, what `use` returned for each output.
        """
        with ThreadPoolExecutor(WORKERS) as pool:
            for spectrogram, masks, ends_at in _one_ahead(self.masked()):

                def made(line, spectrogram=spectrogram, masks=masks, ends_at=ends_at):
                    mask = self.mask(masks, line.output.indices)
                    return use(line.output, line.next(spectrogram, mask, ends_at))

                yield list(pool.map(made, self._lines))

    def masked(self):
        """Analyse the song block by block.

        Yields
        ------
        spectrogram : np.ndarray, shape=(n_frames, n_bins, n_channels), complex64
        masks : inference.Masks
            For `mask`.
        ends_at : int or None
            With the last block, the song's length in samples.
        """
        for spectrogram, surrounded, ends_at in _surrounded(self._analysed(), self._network.context):
            yield spectrogram, self._network(self._heard(surrounded)), ends_at

    def _analysed(self):
        analyser = stft.Analyser(self._song.channels, **self._frame)
        for block, ends_at in self._blocks():
            yield analyser.feed(block), ends_at

    def _blocks(self):
        """The song at the model's rate in blocks of whole segments, and silence until its last sample is out."""
        rate = self._song.sample_rate
        size = inference.segments_at_once(self._config) * self._config["T"] * self._frame["frame_step"]
        to_model = stream.Resampler(rate, self._config["sample_rate"], self._song.channels)
        waiting, n_samples = np.zeros((0, self._song.channels), np.float32), 0
        total = round(self._song.frames / rate)
        with self._progress(total=total, unit=" s of sound", desc="separating") as progress:
            for block in self._song.blocks(size):
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

    def _heard(self, surrounded):
        """What the network is given: segments of T frames with their context, (n_segments, n_frames, F, n_channels).

        Channels are segments if it hears but one.
        """
        T, context = self._config["T"], self._network.context
        magnitude = np.abs(surrounded[:, : self._config["F"]])
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


class _Line:
    """One output on its way from mask to sound."""

    def __init__(self, output, config, song):
        self.output, self._config = output, config
        n_channels = song.channels if unet.hears_one_channel(config) else CHANNELS
        self._synthesiser = stft.Synthesiser(n_channels, config["frame_length"], config["frame_step"])
        self._to_song = ToSong(config["sample_rate"], song.sample_rate, n_channels)
        self._silence = config["frame_length"]  # samples in front of the song that are still to come

    def next(self, spectrogram, mask, ends_at):
        """The next samples, (n_samples, 2) at the song's rate; `ends_at` is the song's length if these are the last."""
        sound = np.concatenate([self._synthesiser.feed(part) for part in self._masked(spectrogram, mask)])
        begins, self._silence = self._silence, max(0, self._silence - len(sound))
        return self._to_song.next(sound[begins:], ends_at)

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


class ToSong:
    """Sound from the model's sample rate (Hz) to the song's, and cut at the song's end."""

    def __init__(self, model_rate, song_rate, n_channels):
        self._rates = model_rate, song_rate
        self._resampler = stream.Resampler(model_rate, song_rate, n_channels)
        self._taken = self._given = 0  # samples, at either rate

    def next(self, sound, ends_at):
        """The next samples, (n_samples, 2); `ends_at` is the song's length in samples if these are the last."""
        if ends_at is not None:
            model_rate, song_rate = self._rates
            sound = audio.fit_length(sound, round(ends_at * model_rate / song_rate) - self._taken)
        self._taken += len(sound)
        block = self._resampler.feed(sound, last=ends_at is not None)
        if ends_at is not None:
            block = audio.fit_length(block, ends_at - self._given)
        self._given += len(block)
        return audio.fit_channels(block, CHANNELS)


def _one_ahead(items):
    """The same items, each made in the background while the one before it is in use."""
    end = object()
    with ThreadPoolExecutor(1) as pool:
        upcoming = pool.submit(next, items, end)
        while (item := upcoming.result()) is not end:
            upcoming = pool.submit(next, items, end)
            yield item


def _surrounded(blocks, context):
    """Each spectrogram once more with `context` frames of its neighbours on either side, silence at the song's ends.

    Yields
    ------
    spectrogram, surrounded : np.ndarray, shape=(n_frames, n_bins, n_channels)
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
