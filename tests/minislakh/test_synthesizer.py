"""One part to sound: right pitch, right moment, exact length, the same every time."""

import sys

import numpy as np
import pretty_midi
import pytest
from fixtures.needs import require

from muscomp_lib.core import instruments
from muscomp_lib.core.errors import MissingError, SettingError
from muscomp_lib.minislakh import synthesizer

RATE = 44100
PITCHED = [i for i in instruments.load().values() if not i.is_drums]


def part_of(program, *notes):
    drums = program == instruments.DRUMS
    part = pretty_midi.Instrument(0 if drums else program, drums)
    part.notes = [pretty_midi.Note(100, pitch, start, end) for pitch, start, end in notes]
    return part


def cents_off(waveform, pitch):
    """How far the partials of a steady sound lie from those of `pitch`, in cents."""
    expected = pretty_midi.note_number_to_hz(pitch)
    n_fft = 1 << 20
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform)), n_fft))
    candidates = expected * 2 ** (np.arange(-90, 91, 1) / 1200)
    partials = np.arange(1, 6)
    strength = [spectrum[np.rint(f * partials * n_fft / RATE).astype(int)].sum() for f in candidates]
    return float(1200 * np.log2(candidates[int(np.argmax(strength))] / expected))


def onset(waveform):
    """The first sample (in seconds) that reaches a fiftieth of the peak: strings swell slowly."""
    return float(np.argmax(np.abs(waveform) > 0.02 * np.abs(waveform).max()) / RATE)


@pytest.mark.parametrize("instrument", PITCHED, ids=lambda i: i.name)
def test_each_instrument_sounds_at_the_right_pitch_and_moment(instrument):
    for pitch in {max(instrument.lowest + 5, 40), min(instrument.highest - 5, 81)}:
        waveform = synthesizer.render(part_of(instrument.programs[0], (pitch, 0.5, 1.9)), 2.0)[:, 0]
        assert abs(onset(waveform) - 0.5) < 0.015
        assert abs(cents_off(waveform[int(0.6 * RATE) : int(1.8 * RATE)], pitch)) < 30


@pytest.mark.parametrize("drum", [36, 38, 42, 46, 49, 51])
def test_drums_sound_at_the_right_moment(drum):
    waveform = synthesizer.render(part_of(128, (drum, 0.5, 0.6)), 1.5)[:, 0]
    assert abs(onset(waveform) - 0.5) < 0.015


@pytest.mark.parametrize(("seconds", "rate"), [(1.0, 44100), (0.777, 44100), (0.5, 22050)])
def test_the_waveform_has_exactly_the_asked_length(seconds, rate):
    waveform = synthesizer.render(part_of(1, (60, 0.1, 9.0), (64, 3.0, 4.0)), seconds, rate)
    assert waveform.shape == (round(seconds * rate), 1)
    assert waveform.dtype == np.float32
    assert np.abs(waveform[-100:]).max() > 0  # what still sounds is cut, not faded


def test_a_part_without_notes_is_silent():
    assert not synthesizer.render(part_of(1), 0.5).any()


def test_two_renderings_are_the_same_whatever_was_played_between():
    part = part_of(40, (70, 0.0, 0.4), (72, 0.5, 0.9))
    first = synthesizer.render(part, 1.0)
    synthesizer.render(part_of(30, (50, 0.0, 1.0)), 1.0)
    assert np.array_equal(first, synthesizer.render(part, 1.0))


def test_a_late_note_sounds_as_it_would_at_the_beginning():
    late = synthesizer.render(part_of(1, (60, 2.0, 2.5)), 5.0)
    early = synthesizer.render(part_of(1, (60, 0.0, 0.5)), 3.0)
    assert np.array_equal(late[2 * RATE :], early)


def test_a_note_ends_when_it_should():
    part = part_of(18, (60, 0.0, 0.5))
    assert np.abs(synthesizer.render(part, 2.0)[RATE:]).max() < 1e-3


def test_a_note_repeated_when_it_ends_sounds_again():
    twice = synthesizer.render(part_of(18, (60, 0.0, 0.5), (60, 0.5, 1.0)), 1.0)[:, 0]
    assert np.abs(twice[int(0.8 * RATE) : int(0.9 * RATE)]).max() > 0.5 * np.abs(twice[: RATE // 2]).max()


def test_an_unknown_engine_is_refused_with_those_there_are():
    with pytest.raises(SettingError, match=r"'winamp'.*tinysoundfont, fluidsynth"):
        synthesizer.render(part_of(1), 1.0, engine="winamp")


@pytest.mark.parametrize(("engine", "cure"), [("tinysoundfont", "--no-deps -r"), ("fluidsynth", "libfluidsynth3")])
def test_a_missing_engine_says_how_to_install_it(engine, cure, monkeypatch):
    monkeypatch.setitem(sys.modules, engine, None)
    with pytest.raises(SettingError, match=cure):
        synthesizer.render(part_of(1), 1.0, engine=engine)


def test_a_missing_or_broken_soundfont_is_refused(tmp_path):
    with pytest.raises(MissingError, match=r"no\.sf2"):
        synthesizer.render(part_of(1), 1.0, soundfont=tmp_path / "no.sf2")
    (tmp_path / "bad.sf2").write_bytes(b"not a soundfont")
    with pytest.raises(SettingError, match="cannot play program 1"):
        synthesizer.render(part_of(1), 1.0, soundfont=tmp_path / "bad.sf2")


def test_fluidsynth_plays_too_where_it_is_installed():
    try:
        synthesizer.check_engine("fluidsynth")
    except SettingError as missing:
        require(False, str(missing))
    waveform = synthesizer.render(part_of(1, (69, 0.5, 1.5)), 2.0, engine="fluidsynth")[:, 0]
    assert abs(onset(waveform) - 0.5) < 0.015
    assert abs(cents_off(waveform[int(0.6 * RATE) : int(1.4 * RATE)], 69)) < 30
