"""Sound that libsndfile does not read, or not to its end, through PyAV: MP3, OGG, m4a, films. Used by `reader`.

PyAV's wheels carry FFmpeg's libraries. Here they get one open file and open nothing else, and only formats are let in
that hold their sound themselves: a playlist that calls itself a song is refused, whatever it names.
"""

import contextlib
from itertools import chain, groupby

import numpy as np

# What songs come in, by FFmpeg's names.
FORMATS = (
    "aac", "ac3", "aiff", "amr", "ape", "asf", "au", "avi", "caf", "dsf", "dts", "eac3", "flac", "flv", "matroska",
    "mov", "mp3", "mpc", "mpc8", "mpeg", "mpegts", "ogg", "tta", "w64", "wav", "wv",
)  # fmt: skip
OPTIONS = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "none"}
BUFFER = 1 << 16  # bytes read at once
SEEKABLE = ("flac", "alac", "pcm")  # codecs whose frames give the same samples wherever decoding begins
MANY = 8  # planes
OPUS = ("opus", "libopus")  # its decoders
WORTH_SEEKING = 10  # seconds; what is shorter is decoded and dropped


class LibavError(Exception):
    """The file is not in a format that is let in, or has no sound that can be decoded."""


class LibavFile:
    """One sound track of an open Python file, to be read forwards. Its interface is that of `soundfile.SoundFile`.

    Attributes
    ----------
    samplerate, channels : int
        Of the first decoded frame: headers may differ (AAC with spectral band replication has half the rate there).
    frames, estimate : int or None
        Samples per channel by the header of this track, and of the whole file, or its bit rate.
    format : str
        FFmpeg's name.
    sixteen_bit : bool
        Whether every sample is a 16-bit integer.
    decoded, damaged : int
        How many packets so far could be decoded, and could not. The latter are left out.
    stopped : bool
        Whether the last of these ended it: what follows could not be read.
    converted : bool
        Whether the sample rate, the channels or the kind of samples has changed so far, as in songs that were joined.
        What follows is converted to the form of the first frame.

    Parameters
    ----------
    file : file object
        With `read`, `seek` and `tell`. It stays open.
    track : int
        Which of its sound tracks, from 0.

    Raises
    ------
    LibavError
    """

    def __init__(self, file, track):
        self.decoded, self.damaged, self.stopped, self._untouched = 0, 0, False, True
        self.converted = False
        self._container = _container(file)
        try:
            self._stream = _stream(self._container, track)
            first = self._restart()
            if first is None:
                raise LibavError("none of its sound can be decoded")
        except BaseException:
            self.close()
            raise
        self._first, self._form = first, _form(first)
        self.samplerate, self.channels, sample_format = self._form
        self.sixteen_bit = sample_format in ("s16", "s16p")
        self.format = self._container.format.name
        self._start = first.pts
        duration, whole = self._stream.duration, self._container.duration  # in units of its own, and microseconds
        self.frames = duration and round(duration * self._stream.time_base * self.samplerate)
        self.estimate = whole and whole * self.samplerate // 1_000_000

    def close(self):
        """Release what FFmpeg holds."""
        self._container.close()

    def _restart(self):
        """Decode from where the container stands; returns the first frame, which is kept, or None."""
        from av import AudioFifo

        decoded, self._fifo = self._decode(), AudioFifo()
        first = next(decoded, None)
        self._frames = self._in_one_form(decoded if first is None else chain([first], decoded))
        return first

    def _in_one_form(self, frames):
        from av import AudioResampler

        for form, alike in groupby(frames, _form):
            if form == self._form:
                yield from alike
                continue
            self.converted = True
            resampler = AudioResampler(self._first.format, self._first.layout, self.samplerate)
            for frame in chain(alike, [None]):  # at the end, what the resampler still holds
                for converted in resampler.resample(frame and _with_layout(frame, self._first.layout)):
                    converted.time_base = self._first.time_base  # the queue takes no other
                    yield converted

    def _decode(self):
        import av

        try:
            for packet in self._packets():
                try:
                    frames = packet.decode()
                except av.FFmpegError:
                    self.damaged += 1
                    continue
                self.decoded += 1
                yield from (frame for frame in frames if frame.samples)
        except av.FFmpegError:
            self.damaged, self.stopped = self.damaged + 1, True

    def _packets(self):
        """The packets of the track, with Opus decoded afresh where another song was joined to the first.

        There the times begin again, from the second packet on. The state of the first song would distort the next.
        """
        packets = self._container.demux(self._stream)
        if self._stream.codec_context.codec.name not in OPUS:
            yield from packets
            return
        held = next(packets, None)
        for packet in packets:
            if None not in (packet.pts, held.pts) and packet.pts < held.pts:
                self._stream.codec_context.flush_buffers()
            yield held
            held = packet
        if held is not None:
            yield held

    def _queue(self, frame):
        frame.pts = None  # else those of damaged files stop it
        self._fifo.write(frame)

    def read(self, frames, dtype="float32"):
        """The next samples, fewer at the end: shape (n_samples, n_channels)."""
        self._untouched = False
        while self._fifo.samples < frames and (frame := next(self._frames, None)):
            self._queue(frame)
        block = self._fifo.read(frames, partial=True) if frames else None
        return np.zeros((0, self.channels), dtype) if block is None else _samples(block, dtype)

    def skip(self, frames):
        """Drop the next samples; returns how many, fewer at the end.

        Raises
        ------
        LibavError
        """
        missing = frames - (self._seek(frames) if self._untouched and frames > WORTH_SEEKING * self.samplerate else 0)
        missing -= len(self.read(min(missing, self._fifo.samples)))
        while missing and (frame := next(self._frames, None)):
            if frame.samples > missing:
                self._queue(frame)
                self._fifo.read(missing)
            missing -= min(missing, frame.samples)
        return frames - missing

    def _seek(self, frames):
        """Go on by at most so many samples where that is exact; returns by how many."""
        stream = self._stream
        exact = stream.codec_context.name.startswith(SEEKABLE) and stream.time_base * self.samplerate == 1
        if not exact or self._start is None:
            return 0
        for target in (frames, 0):
            passed = self._passed_by_seeking(target)
            if passed is not None and 0 <= passed <= frames:
                return passed
        raise LibavError("it cannot be read from its beginning again")

    def _passed_by_seeking(self, target):
        import av

        try:
            self._container.seek(self._start + target, stream=self._stream)
        except av.FFmpegError:
            return None
        first = self._restart()
        return None if first is None or first.pts is None else first.pts - self._start


def _container(file):
    try:
        import av  # slow to import, and some formats only need it
    except ImportError:
        raise LibavError("the package av, which decodes it, is not installed: `pip install av`") from None
    try:
        return av.open(file, options=OPTIONS, buffer_size=BUFFER, metadata_errors="replace")
    except av.FFmpegError as error:
        raise LibavError("its format is unknown, or one that only refers to other files") from error


def _stream(container, track):
    streams = container.streams.audio
    if track >= len(streams):
        raise LibavError(f"it has {len(streams)} sound tracks")
    if streams[track].codec_context is None:
        raise LibavError("there is no decoder for it")
    return streams[track]


def _form(frame):
    return frame.sample_rate, frame.layout.nb_channels, frame.format.name


def _with_layout(frame, layout):
    """A frame with one channel copied to all, or several averaged to one: FFmpeg changes their level by 3 dB."""
    from av import AudioFrame

    samples = _samples(frame, "float32").T
    if len(samples) == layout.nb_channels or min(len(samples), layout.nb_channels) > 1:
        frame.pts = None
        return frame
    samples = np.repeat(samples.mean(axis=0, keepdims=True), layout.nb_channels, axis=0)
    made = AudioFrame.from_ndarray(np.ascontiguousarray(samples), "fltp", layout.name)
    made.sample_rate = frame.sample_rate
    return made


def _packed(frame):
    """A frame in one plane: in that of eight and more, PyAV reads on after the last, and crashes."""
    from av import AudioResampler

    form = frame.format.packed.name
    return AudioResampler(format=form, layout=frame.layout.name, rate=frame.sample_rate).resample(frame)[0]


def _samples(frame, dtype):
    """A frame's samples: shape (n_samples, n_channels)."""
    if frame.format.is_planar and frame.layout.nb_channels >= MANY:
        frame = _packed(frame)
    samples = frame.to_ndarray()
    samples = samples.T if frame.format.is_planar else samples.reshape(frame.samples, -1)
    if samples.dtype == dtype or samples.dtype.kind == "f":
        return samples.astype(dtype, copy=False)
    if samples.dtype.kind == "u":
        samples = samples.astype(np.int16) - 128
        return samples.astype(np.float32) / np.float32(128)
    return samples.astype(np.float32) * np.float32(2.0 ** (1 - 8 * samples.dtype.itemsize))


def seconds(file, track=0):
    """How long a sound track is, without decoding it: a little longer where the encoder padded it.

    Returns
    -------
    Fraction

    Raises
    ------
    LibavError
    """
    import av

    container, ticks = _container(file), 0
    try:
        stream = _stream(container, track)
        with contextlib.suppress(av.FFmpegError):  # what is left of it is not decoded either
            for packet in container.demux(stream):
                ticks += packet.duration or 0
        return ticks * stream.time_base
    finally:
        container.close()
