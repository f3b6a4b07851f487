"""The formats of sound files: which are read, and what those that are written can hold. Used by every stage."""

from dataclasses import dataclass, field

from muscomp_lib.core.errors import SettingError
from muscomp_lib.core.settings import suggestion

# Of files that are taken for songs; any that `reader` opens is read, whatever its suffix.
SUFFIXES = (
    ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aac", ".aif", ".aiff", ".aifc", ".caf", ".wv", ".wma",
    ".mka", ".mp4", ".mov", ".mkv", ".webm", ".w64", ".rf64", ".bwf", ".au", ".snd", ".tta", ".ac3", ".eac3", ".dts",
    ".mp2", ".m4b", ".m4v", ".3gp", ".3g2", ".avi", ".flv", ".mts", ".m2ts", ".weba", ".wmv", ".asf", ".ogv", ".spx",
    ".mpg", ".mpeg", ".mpa", ".ts", ".vob", ".f4v", ".m4r", ".ape", ".mpc", ".amr", ".dsf",
)  # fmt: skip
DATASET_SUFFIXES = (".flac", ".wav")  # of stems and prepared songs; of two files with one name, the first is taken
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)  # Hz
FLAC_HIGHEST_RATE = 655350  # Hz
FLAC_LEVEL = 0.5  # files as small as with the default, 0.625, in four fifths of its time (measured on stereo music)


@dataclass(frozen=True)
class Format:
    """A way to write sound: the file name's suffix, libsndfile's names, and what the format can hold.

    `bits` per sample is None where samples are not integers. `rates` (Hz): the only ones, or None where any up to
    `highest_rate` will do.
    """

    suffix: str
    container: str
    subtype: str
    bits: int | None = None
    rates: tuple | None = None
    highest_rate: int = (1 << 31) - 1
    options: dict = field(default_factory=dict)

    @property
    def limits(self):
        """Whether samples beyond full scale have to be limited."""
        return self.subtype != "FLOAT"


def _flac(bits):
    options = {"compression_level": FLAC_LEVEL}
    return Format(".flac", "FLAC", f"PCM_{bits}", bits, highest_rate=FLAC_HIGHEST_RATE, options=options)


# MP3: variable bit rate at the best quality, because silence, of which separated instruments have much, then costs
# nothing. Measured for 8 to 48 kHz, one and two channels, 1 sample to minutes: as many samples are read back as were
# written, and none is shifted, because libsndfile notes the encoder's delay in the file and removes it again.
FORMATS = {
    "flac": _flac(16),
    "flac24": _flac(24),
    "wav": Format(".wav", "WAV", "PCM_16", 16),
    "wav24": Format(".wav", "WAV", "PCM_24", 24),
    "wav_float": Format(".wav", "WAV", "FLOAT"),
    "mp3": Format(
        ".mp3",
        "MP3",
        "MPEG_LAYER_III",
        rates=MP3_RATES,
        options={"bitrate_mode": "VARIABLE", "compression_level": 0.0},
    ),
}


def check_format(name, sample_rate=None):
    """The format of a name, if it can be written.

    Parameters
    ----------
    name : str
        One of FORMATS.
    sample_rate : int, optional
        Hz.

    Returns
    -------
    Format

    Raises
    ------
    SettingError
        There is no such format; it cannot hold the sample rate.
    """
    if name not in FORMATS:
        raise SettingError(f"There is no format {name!r}. {suggestion(name, FORMATS)}")
    chosen = FORMATS[name]
    if sample_rate is None:
        return chosen
    if chosen.rates and sample_rate not in chosen.rates:
        raise SettingError(
            f"{name} cannot hold {sample_rate} Hz, only {', '.join(map(str, chosen.rates))}. Choose flac or wav."
        )
    if not 1 <= sample_rate <= chosen.highest_rate:
        raise SettingError(f"{name} cannot hold {sample_rate} Hz, only 1 to {chosen.highest_rate}. Choose wav.")
    return chosen
