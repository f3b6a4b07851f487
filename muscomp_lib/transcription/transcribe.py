"""Notebook 05, second part: from separated instruments to one multi-track MIDI file.

Each instrument is transcribed by itself (`note_decoder.py`). This module does what concerns the whole song: which stems
hold more than bleed, the tempo map with bars and key (`beats.py`), the tracks with their General MIDI programs, and
quantising.
"""

import contextlib
import io
import logging
import reprlib
from pathlib import Path
from typing import Annotated

import numpy as np

from muscomp_lib import audio
from muscomp_lib.core import instruments, settings
from muscomp_lib.core.errors import AudioError, MidiError, MissingError, SettingError
from muscomp_lib.core.files import written_whole
from muscomp_lib.core.progress import bar
from muscomp_lib.core.settings import Field
from muscomp_lib.models.config import targets
from muscomp_lib.notation import bars, beats
from muscomp_lib.notation.bars import CHARSET, GRIDS
from muscomp_lib.transcription import cqt
from muscomp_lib.transcription.choice import transcribable
from muscomp_lib.transcription.note_decoder import Transcriber, to_mono

KEPT_BYTES = 1 << 28  # 256 MB: a dozen stems of four minutes
SILENCE_DB = -70.0  # dBFS: a stem below this is silent, however soft the song
LEVEL_BLOCK = 0.1  # seconds
REST_DB = -50.0  # relative to a song's loudest block: below, the song rests, or has not begun
HIGHEST = 127  # MIDI's numbers have seven bits
LIKELY = 0.2  # likelihood of the notes that tempo, bars and key are found by; less likely ones may lie off the beat
N_CHANNELS = 15  # that pretty_midi gives to tracks in turn: one of 16 is for drums
MARK = (0x7D, *b"likelihoods")  # 7D: no manufacturer's number
MADE_OF = Annotated[dict[str, list[str]], settings.Expected("{target: [instrument, ...]}")]

log = logging.getLogger(__name__)


class Settings(settings.Settings):
    """How to transcribe."""

    taxonomy: instruments.Taxonomy = Field(
        instruments.DEFAULT_TAXONOMY, description="A block of instruments.yaml: programs, ranges and voices."
    )
    # At -20 dB, every instrument that played in 20 validation songs got a track, and two thirds of the others as well.
    floor_db: settings.number(below=0, unit="dB") = Field(
        -20.0, description="A stem this far below the loudest one is taken for bleed and gets no track."
    )
    quantise: settings.optional(settings.one_of(*GRIDS), "notes as played") = Field(
        None, description="Move notes to a grid, such as 1/16, or 1/8T for triplets. Swung eighths stay swung."
    )
    made_of: settings.optional(MADE_OF, "targets that are named like instruments") = Field(
        None, description="The instruments that each target of the separating model is made of."
    )

    @classmethod
    def of_model(cls, config, taxonomy=None, quantise=None):
        """The settings for what a model of this configuration separates; its taxonomy, unless one is given."""
        taxonomy = taxonomy or config["muscomp"]["taxonomy"] or instruments.DEFAULT_TAXONOMY
        return cls(taxonomy=taxonomy, quantise=quantise, made_of=targets(config))

    def choose(self, names):
        """As `transcribable`, with these settings."""
        return transcribable(names, self.taxonomy, self.made_of)


def transcribe(stems, sample_rate=None, settings=None, transcriber=None, progress=bar):
    """Transcribe a song's instruments, of which some minutes are in memory at a time.

    Parameters
    ----------
    stems : dict of str to np.ndarray, shape=(n_samples, n_channels) or (n_samples,), or Path
        {instrument: waveform or sound file}, as from `separation.Separator.separate` or `separate_file`. What is not
        `transcribable` counts for tempo and loudness but gets no track. NaN and infinite samples count as silence.
    sample_rate : int, optional
        Hz, of waveforms; files have their own.
    settings : Settings, optional
    transcriber : note_decoder.Transcriber, optional
        The pretrained one by default.
    progress : callable
        Called like tqdm for a bar over the instruments.

    Returns
    -------
    pretty_midi.PrettyMIDI
        A track with the stem's name for each that has notes, in the taxonomy's order; the song's tempo, bars and key.

    Raises
    ------
    SettingError, AudioError
        No dict; a wrong sample rate; a wrong shape.
    """
    settings = settings or Settings()
    _check(stems, sample_rate)
    known, reasons = settings.choose(stems)
    for name, reason in reasons.items():
        log.log(logging.INFO if known else logging.WARNING, "No notes of %s: %s.", name, reason)
    levels, song, monos = _levels(stems, sample_rate, progress)
    audible = _audible(levels, known, settings.floor_db)
    if tuning := cqt.tuning(song):
        log.info("The song is tuned %+.0f cents from A = 440 Hz. Its notes are the nearest ones.", 100 * tuning)
    notes = _notes(stems, sample_rate, monos, audible, transcriber, tuning, progress)
    sure = {name: [note for note in its if note.likelihood > LIKELY] for name, its in notes.items()}
    drums = [note for name in sure if known[name].is_drums for note in sure[name]]
    pitched = [note for name in sure if not known[name].is_drums for note in sure[name]]
    grid = beats.grid(song, pitched, drums)
    midi = bars.empty(grid, beats.key(pitched))
    midi.instruments += [_track(name, known[name], its) for name, its in notes.items() if its]
    if settings.quantise and grid:
        bars.quantise(midi, GRIDS[settings.quantise])
    elif settings.quantise and midi.instruments:
        log.warning("No beat was found: notes stay as played, not moved to %s.", settings.quantise)
    for track in midi.instruments:
        track.notes = bars.apart(track.notes, midi)
    return midi


def read(path):
    """Read a transcription that `write` wrote, and that another program may have changed.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    pretty_midi.PrettyMIDI
        Its notes have their `likelihood` if it is known.

    Raises
    ------
    MissingError, MidiError
        It is not there; it is damaged.
    """
    if not Path(path).is_file():
        raise MissingError(f"{path} is not there. Check the name and the folder.")
    try:
        file = _in_utf8(path)
        midi = bars.parsed(io.BytesIO(_content(file)))
    except Exception as error:  # parsers of foreign bytes raise anything
        reason = str(error) or "it breaks off"
        raise MidiError(
            f"{path} cannot be read as MIDI ({reason}). Delete it and transcribe again, or export it again."
        ) from error
    kept = {
        track.name: message.data[len(MARK) :]
        for track in file.tracks
        for message in track
        if message.type == "sequencer_specific" and tuple(message.data[: len(MARK)]) == MARK
    }
    for track in midi.instruments:
        found = instruments.find(track.name)
        track.is_drum = track.is_drum or bool(found and found.is_drums)  # music programs export drums on channel 1
        notes, likelihoods = _in_order(track, midi), kept.get(track.name, ())
        if len(notes) == len(likelihoods):  # else the file was edited elsewhere
            for note, likelihood in zip(notes, likelihoods, strict=True):
                note.likelihood = likelihood / HIGHEST
    return midi


def _in_utf8(path):
    """A MIDI file (mido.MidiFile) with its names in UTF-8: other programs write them in Latin-1."""
    import mido

    file = mido.MidiFile(path, charset="latin-1", clip=True)
    file.charset = CHARSET
    for message in (message for track in file.tracks for message in track if message.type == "track_name"):
        with contextlib.suppress(UnicodeDecodeError):
            message.name = message.name.encode("latin-1").decode(CHARSET)
    return file


def _content(file):
    """The bytes of a mido.MidiFile."""
    written = io.BytesIO()
    file.save(file=written)
    return written.getvalue()


def write(midi, path):
    """Write a transcription (pretty_midi.PrettyMIDI) as a MIDI file; it appears whole or not at all.

    How likely the notes are, where that is known, is in an event of each track that is meant for one program only
    ("sequencer-specific") and that all others skip: `MARK`, and 127 times the likelihood for each note in order of
    start and pitch. More tracks than MIDI has channels go to further ports, or they would change each other's programs.
    """
    import mido

    written = io.BytesIO()
    midi.write(written)
    written.seek(0)
    file = mido.MidiFile(file=written, charset=CHARSET)
    for number, (track, instrument) in enumerate(zip(file.tracks[1:], midi.instruments, strict=True)):
        if number >= N_CHANNELS:
            track.insert(1, mido.MetaMessage("midi_port", port=number // N_CHANNELS))  # after the track's name
        likelihoods = [getattr(note, "likelihood", None) for note in _in_order(instrument, midi)]
        if None not in likelihoods:
            data = (*MARK, *(round(HIGHEST * likelihood) for likelihood in likelihoods))
            track.insert(1, mido.MetaMessage("sequencer_specific", data=data))
    with written_whole(path) as part:
        file.save(part)


def _in_order(track, midi):
    """The notes of a track as a file has them, which counts time in ticks."""
    return sorted(track.notes, key=lambda note: (midi.time_to_tick(note.start), note.pitch))


def _check(stems, sample_rate):
    if not isinstance(stems, dict):
        raise SettingError(
            'Recordings are transcribed by their instruments: give {"piano": "take3.wav"}, not '
            f"{reprlib.repr(stems)}. Separate a whole song first: Separator().separate_file."
        )
    waveforms = {name: stem for name, stem in stems.items() if not isinstance(stem, (str, Path))}
    for name, waveform in waveforms.items():
        audio.checked(waveform, sample_rate, name)
        if np.ndim(waveform) not in (1, 2):
            raise AudioError(f"{name} has shape {np.shape(waveform)}; give (n_samples, n_channels).")


def _levels(stems, sample_rate, progress):
    """What is known of the stems before they are transcribed.

    Returns
    -------
    levels : dict of str to float
        dBFS.
    song : np.ndarray, shape=(n_samples,), float32
        The sum of all, at `cqt.SAMPLE_RATE`.
    monos : dict of str to np.ndarray
        As many stems as fit in `KEPT_BYTES`, for `_notes`: to read them takes as long as their notes.
    """
    powers, song, monos, n_bytes = {}, np.zeros(0, np.float32), {}, 0
    for name in progress(stems, desc="measuring levels", unit="instrument"):
        mono = to_mono(stems[name], sample_rate)
        powers[name] = _powers(mono)
        n_bytes += mono.nbytes
        if n_bytes <= KEPT_BYTES:
            monos[name] = mono
        longer, shorter = (song, mono) if len(song) >= len(mono) else (mono.copy(), song)
        longer[: len(shorter)] += shorter
        song = longer
    return _loud_parts(powers), song, monos


def _audible(levels, known, floor_db):
    """Those of the known stems with more than bleed: {name: Instrument}."""
    floor = max(SILENCE_DB, max(levels.values(), default=SILENCE_DB) + floor_db)
    return {name: instrument for name, instrument in known.items() if levels[name] > floor}


def _notes(stems, sample_rate, monos, audible, transcriber, tuning, progress):
    """The notes of instruments, of which `monos` are read already, in a tuning (semitones): {name: list of Note}."""
    transcriber, notes = transcriber or Transcriber(), {}
    for name in progress(audible, desc="transcribing", unit="instrument"):
        mono = monos[name] if name in monos else to_mono(stems[name], sample_rate)
        notes[name] = transcriber.notes(mono, audible[name], tuning)
        log.info("%s: %d notes", name, len(notes[name]))
    return notes


def _powers(waveform):
    """The power of each block of a stem: shape (n_blocks,), float64."""
    size = round(LEVEL_BLOCK * cqt.SAMPLE_RATE)
    blocks = waveform[: len(waveform) // size * size].reshape(-1, size)
    return np.einsum("ij,ij->i", blocks, blocks, dtype=np.float64) / size  # makes no copy of the song


def _loud_parts(powers):
    """The level of each stem's loud parts in dBFS: the 95th percentile over blocks, so that rests do not count.

    Only blocks in which the song sounds are counted: silence before or after it would make short sounds, as of drums,
    softer than long ones. `powers` are the stems', as from `_powers`; of the result, too, names are the keys.
    """
    most = max(map(len, powers.values()), default=0)
    padded = {name: np.pad(its, (0, most - len(its))) for name, its in powers.items()}
    loudest = np.max([*padded.values(), np.zeros(most)], axis=0)
    sounds = loudest > loudest.max(initial=0.0) * 10 ** (REST_DB / 10)
    return {
        name: float(audio.to_db(np.sqrt(np.percentile(its[sounds], 95)))) if sounds.any() else -np.inf
        for name, its in padded.items()
    }


def _track(name, instrument, notes):
    """A MIDI track; drums are written to channel 10, as General MIDI has it."""
    import pretty_midi

    program = 0 if instrument.is_drums else instrument.programs[0]
    track = pretty_midi.Instrument(program, is_drum=instrument.is_drums, name=name)
    for note in notes:
        velocity = min(max(round(HIGHEST * note.velocity), 1), HIGHEST)
        track.notes.append(pretty_midi.Note(velocity, note.pitch, note.start, note.end))
        track.notes[-1].likelihood = note.likelihood
    return track
