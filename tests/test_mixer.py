import io

import ipywidgets
import numpy as np
import pretty_midi
import pytest
import soundfile

from muscomp_lib.errors import AudioError, SettingError
from muscomp_lib.mixer import Mixer, compressed

RATE = 22050  # Hz


@pytest.fixture
def stems():
    rng = np.random.default_rng(0)
    return {name: rng.normal(scale=0.05, size=(RATE, 2)).astype(np.float32) for name in ("bass", "violin", "drums")}


def descendants(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from descendants(child)


def test_untouched_the_mix_is_the_sum(stems):
    np.testing.assert_allclose(Mixer(stems, RATE).mix(), sum(stems.values()), atol=1e-6)


def test_mute_takes_out_solo_leaves_alone_and_mute_wins(stems):
    mixer = Mixer(stems, RATE)
    mixer.set("bass", mute=True)
    np.testing.assert_allclose(mixer.mix(), stems["violin"] + stems["drums"], atol=1e-6)
    mixer.set("violin", solo=True)
    np.testing.assert_allclose(mixer.mix(), stems["violin"], atol=1e-6)
    mixer.set("bass", solo=True)
    np.testing.assert_allclose(mixer.mix(), stems["violin"], atol=1e-6)
    mixer.set("violin", solo=False)
    mixer.set("bass", solo=False, mute=False)
    np.testing.assert_allclose(mixer.mix(), sum(stems.values()), atol=1e-6)


def test_gain_is_in_decibels_and_leaves_the_stems_as_they_are(stems):
    before = stems["bass"].copy()
    mixer = Mixer(stems, RATE)
    mixer.set("bass", solo=True, gain=-20)
    np.testing.assert_allclose(mixer.mix(), 0.1 * before, atol=1e-6)
    np.testing.assert_array_equal(stems["bass"], before)


def test_the_widgets_move_the_mix(stems):
    mixer = Mixer(stems, RATE)
    tree = list(descendants(mixer.widget()))
    sliders = [w for w in tree if isinstance(w, ipywidgets.FloatSlider)]
    toggles = [w for w in tree if isinstance(w, ipywidgets.ToggleButton)]
    assert len(sliders) == 3
    assert [t.description for t in toggles[:3]] == ["mute", "solo", "MIDI"]
    sliders[1].value = 6
    toggles[0].value = True
    toggles[7].value = True
    assert (mixer.gains["violin"], mixer.muted, mixer.soloed) == (6.0, {"bass"}, {"drums"})


@pytest.fixture
def midi():
    written = pretty_midi.PrettyMIDI()
    written.instruments.append(pretty_midi.Instrument(40, name="violin"))
    written.instruments[0].notes.append(pretty_midi.Note(100, 69, 0.2, 0.9))
    return written


def test_a_transcription_is_heard_in_its_stems_place_and_as_loud(stems, midi):
    mixer = Mixer(stems, RATE, midi)
    np.testing.assert_allclose(mixer.mix(), sum(stems.values()), atol=1e-6)
    mixer.set("violin", midi=True, solo=True)
    heard = mixer.mix()
    assert heard.shape == (RATE, 2) and not heard[: RATE // 6].any()
    assert np.mean(heard**2) == pytest.approx(np.mean(stems["violin"] ** 2), rel=0.01)
    peak = np.abs(np.fft.rfft(heard[:, 0])).argmax()
    assert min(peak % 440, -peak % 440) < 8, "an A, or its overtones"
    mixer.set("violin", midi=False)
    np.testing.assert_allclose(mixer.mix(), stems["violin"], atol=1e-6)


def test_what_was_not_written_down_has_no_midi_to_switch_to(stems, midi):
    mixer = Mixer(stems, RATE, midi)
    toggles = [w for w in descendants(mixer.widget()) if getattr(w, "description", "") == "MIDI"]
    assert [toggle.disabled for toggle in toggles] == [True, False, True]
    toggles[1].value = True
    assert mixer.as_midi == {"violin"}
    with pytest.raises(SettingError, match="Nothing of bass was written down; there are notes of violin"):
        mixer.set("bass", midi=True)
    assert Mixer(stems, RATE, pretty_midi.PrettyMIDI()).as_midi == set()


def test_a_part_without_notes_is_silent_as_midi(stems, midi):
    midi.instruments[0].notes = []
    mixer = Mixer(stems, RATE, midi)
    mixer.set("violin", midi=True, solo=True)
    assert not mixer.mix().any()


def test_a_minute_of_sound_stays_below_two_megabytes_and_sounds_the_same():
    rng = np.random.default_rng(0)
    minute = (0.1 * np.sin(np.arange(60 * 44100) / 20)[:, None] + rng.normal(scale=0.02, size=(60 * 44100, 2))).astype(
        "f4"
    )
    encoded, mimetype = compressed(minute, 44100)
    assert len(encoded) < 2e6
    assert mimetype in ("audio/ogg", "audio/mpeg", "audio/flac")
    decoded, rate = soundfile.read(io.BytesIO(encoded))
    assert (rate, decoded.shape[1]) == (44100, 2)
    assert len(decoded) == pytest.approx(len(minute), abs=5000)
    assert np.sqrt((decoded**2).mean()) == pytest.approx(np.sqrt((minute**2).mean()), rel=0.2)


def test_a_mix_beyond_full_scale_is_turned_down_not_clipped(stems):
    player = Mixer({name: 10 * waveform for name, waveform in stems.items()}, RATE).player()
    decoded, _ = soundfile.read(io.BytesIO(player.data))
    assert (np.abs(decoded) > 0.99).mean() < 0.001


def test_it_shows_itself_without_a_frontend(stems, capsys):
    Mixer(stems, RATE)._ipython_display_()
    assert "Audio" in capsys.readouterr().out


def test_what_cannot_be_mixed_is_refused(stems):
    with pytest.raises(AudioError, match="one shape"):
        Mixer({**stems, "violin": stems["violin"][:-1]}, RATE)
    with pytest.raises(AudioError, match="one shape"):
        Mixer({}, RATE)
    with pytest.raises(SettingError, match=r"'tuba'.*bass, violin, drums"):
        Mixer(stems, RATE).set("tuba", mute=True)
    with pytest.raises(SettingError, match="gain of bass is nan"):
        Mixer(stems, RATE).set("bass", gain=float("nan"))
