"""Training examples from the tables of notebook 03. Used by 04.

One example is a short excerpt: the magnitudes of a mix and of each instrument in it. A batch consists of parts, of four
examples each, and every part is a function of the seed, the batch's number and its own, nothing else: training that was
killed resumes with the same examples as without the interruption, and where several machines train together, each makes
only its own parts, and the batch is the same as on one machine. With `remix`, most parts are new music: each instrument
of an example is drawn from another song and place, tuned a little higher or lower, filtered by a random equaliser, and
played at another level, so that a few songs make endless mixes and a few timbres cover many. The other parts, and
without `remix` all, are excerpts of the songs as they are, with the table's mix.

Where the instruments have no `other`, a mix may hold more than they do, and the network has to learn that: what remains
of the mix without them then becomes one more part of a remix, which is no target.
"""

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import scipy.fft

from muscomp_lib import audio
from muscomp_lib.audio import stft
from muscomp_lib.core import parallel
from muscomp_lib.dataset.waveform_cache import WaveformCache
from muscomp_lib.models.config import covers_mix

MIX, REST = "mix of the table", "rest of the mix"  # parts of a song besides its instruments
WORKERS = min(4, parallel.cores())  # threads that make batches while the network is busy
AHEAD = WORKERS + 2  # batches that are ready or in preparation
PART = 4  # examples that share their random draws, and are on one machine: the default batch is one part
GAIN_DB = 5.0  # standard deviation of an instrument's change of level in a remix
TOGETHER = 0.3  # share of parts that are not remixed: in songs, instruments play what belongs together
ABSENT = 0.4  # chance that an instrument is left out of a remix: most songs lack many
TUNING = 1.5  # semitones, at most, by which an instrument is tuned up or down
AUDIBLE = 1e-3  # full scale: an excerpt that stays below is silent
DRAWS = 4  # places tried, at most, to find one where the instrument plays: most parts rest for much of a song
EQ_DB = 4.0  # standard deviation of the equaliser
EQ_POINTS = 8  # its control points, evenly spread over the logarithm of frequency
USES = 2  # of each excerpt in a part, in different mixes: an STFT costs more than a sum


def n_parts(batch_size):
    """The number of parts of a batch."""
    return -(-batch_size // PART)


def n_samples(config):
    """The length of an example of a training configuration, in samples."""
    return (config["muscomp"]["crop_frames"] - 1) * config["frame_step"] + config["frame_length"]


def octaves(n_bins):
    """Where each bin lies from the lowest to the highest, by octaves, 0 to 1: shape (n_bins,)."""
    return np.log2(1 + np.arange(n_bins)) / np.log2(n_bins)


class Examples:
    """Batches of training examples by number.

    Parameters
    ----------
    songs : list of Song
    config : dict
        A training configuration.
    n_channels : int
        1 averages all channels: enough for a network with one mask for all channels.
    remix : bool
    """

    def __init__(self, songs, config, n_channels, remix):
        self.songs, self.config, self.n_channels, self.remix = songs, config, n_channels, remix
        self.n_frames = config["muscomp"]["crop_frames"]
        self.n_samples = n_samples(config)
        self._parts = range(n_parts(config["batch_size"]))
        self._waveforms = WaveformCache()
        self._octaves = octaves(config["F"])

    def share(self, worker, n_workers):
        """These examples for one of several workers, which makes only its share of each batch: equal, and in order.

        Parameters
        ----------
        worker, n_workers : int
            From 0. The number of parts in a batch must be a multiple of `n_workers`.
        """
        share, each = copy.copy(self), len(self._parts) // n_workers
        share._parts = self._parts[worker * each : (worker + 1) * each]
        return share

    def batch(self, number):
        """Batch `number`, or this worker's share of it.

        Returns
        -------
        mix : np.ndarray, shape=(batch, T, F, n_channels), float32
            Magnitudes.
        instruments : np.ndarray, shape=(batch, T, F, n_channels, n_instruments), float32
        """
        parts = [self._part(number, part) for part in self._parts]
        return tuple(np.concatenate(each) for each in zip(*parts, strict=True))

    def _part(self, number, part):
        """One part of a batch; the last part has the remaining examples."""
        rng = np.random.default_rng([self.config["random_seed"], number, part])
        size = min(PART, self.config["batch_size"] - part * PART)
        shape = (size, self.n_frames, self.config["F"], self.n_channels)
        names = self.config["instrument_list"]
        mix, instruments = np.zeros(shape, np.complex64), np.zeros((*shape, len(names)), np.float32)
        remix = self.remix and rng.random() >= TOGETHER
        places = [] if remix else [self._random_place(rng) for _ in mix]
        for which, name in enumerate(names):
            for example, sound in self._remixed(name, size, rng) if remix else self._unmixed(name, places):
                mix[example] += sound
                instruments[example, ..., which] = np.abs(sound)
        if remix and not covers_mix(self.config):
            for example, sound in self._remixed(REST, size, rng):
                mix[example] += sound
        if not remix:
            for example, sound in self._unmixed(MIX, places):
                mix[example] = sound
        return np.abs(mix), instruments

    def _unmixed(self, name, places):
        """One instrument in each example: (number of the example, spectrogram)."""
        frame = self.config["frame_length"], self.config["frame_step"]
        for example, (song, start) in enumerate(places):
            yield example, self._spectrogram(self._excerpt(song, name, start, self.n_samples), *frame)

    def _remixed(self, name, size, rng):
        """One instrument in those of `size` examples that get it: (number of the example, spectrogram)."""
        drawn = [self._random_excerpt(name, rng) for _ in range(-(-size // USES))]
        order = np.concatenate([rng.permutation(len(drawn)) for _ in range(USES)])[:size]
        for example, which in enumerate(order):
            equaliser = np.interp(self._octaves, np.linspace(0, 1, EQ_POINTS), rng.normal(0.0, EQ_DB, EQ_POINTS))
            gain = audio.to_gain(rng.normal(0.0, GAIN_DB) + equaliser).astype(np.float32)
            if rng.random() >= ABSENT:
                yield example, drawn[which] * gain[:, None]

    def _random_excerpt(self, name, rng):
        """The spectrogram of a random excerpt of an instrument, played a little faster or slower, and so tuned.

        Frames of more samples than usual, treated as if they had the usual length, are the same sound sped up.
        """
        length, step = self.config["frame_length"], self.config["frame_step"]
        tuned_length = scipy.fft.next_fast_len(round(length * 2 ** (rng.uniform(-TUNING, TUNING) / 12)))
        tuned_step = round(tuned_length * step / length)
        for _ in range(DRAWS):
            song, start = self._random_place(rng)
            excerpt = self._excerpt(song, name, start, (self.n_frames - 1) * tuned_step + tuned_length)
            if np.abs(excerpt).max() > AUDIBLE:
                break
        return self._spectrogram(excerpt, tuned_length, tuned_step)

    def _random_place(self, rng):
        song = self.songs[rng.integers(len(self.songs))]
        return song, int(rng.integers(max(1, song.n_samples - self.n_samples + 1)))

    def _excerpt(self, song, name, start, n_samples):
        """An instrument, the mix, or what the mix has beyond the instruments: (n_samples, n_channels), float32."""
        mix = self._waveforms.excerpt(song.mix, start, n_samples, self.n_channels) if name in (MIX, REST) else None
        if name == MIX:
            return mix
        if name == REST:
            return mix - sum(self._excerpt(song, each, start, n_samples) for each in self.config["instrument_list"])
        return self._waveforms.excerpt(song.files[name], start, n_samples, self.n_channels)

    def _spectrogram(self, waveform, frame_length, frame_step):
        """Shape (T, F, n_channels), complex64; short frames lack the highest bins, which are silent then."""
        whole = stft.frames_to_spectrogram(waveform, frame_length, frame_step)[: self.n_frames, : self.config["F"]]
        return audio.fit_length(whole.swapaxes(0, 1), self.config["F"]).swapaxes(0, 1)


def prefetch(examples, numbers):
    """Yield `examples.batch(n)` for each of `numbers`, computed in the background a few steps ahead."""
    numbers = list(numbers)
    with ThreadPoolExecutor(WORKERS) as pool:
        waiting = [pool.submit(examples.batch, number) for number in numbers[:AHEAD]]
        for upcoming in [*numbers[AHEAD:], *[None] * AHEAD]:
            if not waiting:
                return
            batch = waiting.pop(0).result()
            if upcoming is not None:
                waiting.append(pool.submit(examples.batch, upcoming))
            yield batch
