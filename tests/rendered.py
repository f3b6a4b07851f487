"""Notes as sound, played by a synthesizer with sounds that the shipped networks have never learnt from."""

import pretty_midi

from muscomp_lib import audio, instruments, synthesizer

RATE = audio.SAMPLE_RATE  # Hz


def rendered(name, notes, seconds=4.0, taxonomy="families"):
    """A part as sound.

    Parameters
    ----------
    name : str
        An instrument.
    notes : list of (pitch, start, length) or (pitch, start, length, velocity)

    Returns
    -------
    np.ndarray, shape=(n_samples, 1), float32
    """
    instrument = instruments.load(taxonomy)[name]
    part = pretty_midi.Instrument(instrument.programs[0] % 128, is_drum=instrument.is_drums)
    for pitch, start, length, *velocity in notes:
        part.notes.append(pretty_midi.Note(*velocity or (100,), pitch, start, start + length))
    return synthesizer.render(part, seconds, RATE)
