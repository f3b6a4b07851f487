import io
import sys

import numpy as np
import pretty_midi
import pytest
import soundfile
import traitlets

from muscomp_lib import audio
from muscomp_lib.core.errors import AudioError, SettingError
from muscomp_lib.core.progress import HEADLESS
from muscomp_lib.notebook.mixer import LEAD, PEAK, PIECE, Mixer

RATE = 22050  # Hz


@pytest.fixture
def stems():
    rng = np.random.default_rng(0)
    return {name: rng.normal(scale=0.05, size=(RATE, 2)).astype(np.float32) for name in ("bass", "violin", "drums")}


@pytest.fixture
def midi():
    written = pretty_midi.PrettyMIDI()
    written.instruments.append(pretty_midi.Instrument(40, name="violin"))
    written.instruments[0].notes.append(pretty_midi.Note(100, 69, 0.2, 0.9))
    return written


def sound(file):
    return soundfile.read(io.BytesIO(file), dtype="float32", always_2d=True)


def test_untouched_the_mix_is_the_sum(stems):
    np.testing.assert_allclose(Mixer(stems, RATE).mix(), sum(stems.values()), atol=1e-6)


def test_mute_removes_solo_isolates_and_mute_overrides_solo(stems):
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


def test_gain_is_in_decibels_and_does_not_change_the_stems(stems):
    before = stems["bass"].copy()
    mixer = Mixer(stems, RATE)
    mixer.set("bass", solo=True, gain=-20)
    np.testing.assert_allclose(mixer.mix(), 0.1 * before, atol=1e-6)
    np.testing.assert_array_equal(stems["bass"], before)


def test_pan_attenuates_the_other_side_only(stems):
    mixer = Mixer(stems, RATE)
    mixer.set("bass", solo=True, pan=-0.5)
    np.testing.assert_allclose(mixer.mix(), stems["bass"] * [1.0, 0.5], atol=1e-6)
    mixer.set("bass", pan=1)
    np.testing.assert_allclose(mixer.mix(), stems["bass"] * [0.0, 1.0], atol=1e-6)


def test_mono_stems_play_on_both_sides_and_can_be_panned(stems):
    mixer = Mixer({name: stem[:, :1] for name, stem in stems.items()}, RATE)
    mixer.set("bass", solo=True, pan=1)
    np.testing.assert_allclose(mixer.mix(), stems["bass"][:, [0, 0]] * [0.0, 1.0], atol=1e-6)


def test_the_desk_and_python_share_their_settings(stems):
    mixer = Mixer(stems, RATE)
    desk = mixer.desk()
    mixer.set("bass", gain=-6)
    assert desk.settings["bass"]["gain"] == -6.0
    desk.settings = {**desk.settings, "drums": {**desk.settings["drums"], "solo": True}}
    np.testing.assert_allclose(mixer.mix(), stems["drums"], atol=1e-6)
    assert mixer.desk() is desk


def test_the_desk_gets_the_notes_and_the_midi_file(stems, midi):
    desk = Mixer(stems, RATE, midi).desk()
    assert desk.song["tracks"] == {"violin": {"program": 40, "drums": False, "notes": [[0.2, 0.9, 69, 100, 1.0]]}}
    assert pretty_midi.PrettyMIDI(io.BytesIO(desk.midi_file)).instruments[0].notes[0].pitch == 69
    assert Mixer(stems, RATE).desk().midi_file == b""


def test_the_desk_gets_a_chord_for_each_bar(midi):
    midi.instruments[0].notes += [pretty_midi.Note(100, pitch, 2.0, 4.0) for pitch in (57, 60, 64)]
    desk = Mixer({"violin": np.zeros((5 * RATE, 2), np.float32)}, RATE, midi).desk()
    assert (desk.song["bars"], desk.song["chords"]) == ([0, 2, 4], ["", "Am", ""])


def test_only_stems_with_notes_can_be_played_as_notes(stems, midi):
    mixer = Mixer(stems, RATE, midi)
    mixer.set("violin", midi=True)
    assert mixer.settings["violin"]["midi"]
    with pytest.raises(SettingError, match="bass has no notes in this MIDI file; violin has"):
        mixer.set("bass", midi=True)


def pieces_of(desk):
    return [getattr(desk, f"piece_{number}") for number in range(desk.song["pieces"])]


def test_the_pieces_joined_are_the_stems():
    seconds = 2.5 * PIECE
    times = np.arange(int(seconds * RATE)) / RATE
    tone = (0.3 * np.sin(2 * np.pi * 220 * times * (1 + times / 100))).astype(np.float32)
    stems = {"tone": np.stack([tone, 0.5 * tone], axis=1), "same": np.stack([tone, tone], axis=1)}
    mixer = Mixer(stems, RATE, original=stems["tone"])
    desk = mixer.desk()
    assert not any(pieces_of(desk)) and desk.song["pieces"] == 3
    mixer.send_audio()
    assert desk.song["channels"] == [2, 1, 2]
    step = desk.song["piece"]
    for index, wanted in enumerate((stems["tone"], stems["same"][:, :1], stems["tone"])):
        joined = []
        for number, files in enumerate(pieces_of(desk)):
            decoded, rate = sound(files[index])
            assert rate == RATE
            lead = min(number * step, LEAD)
            joined.append(decoded[lead : lead + min(step, len(wanted) - number * step)])
        joined = np.concatenate(joined)
        assert joined.shape == wanted.shape
        assert np.abs(joined - wanted).max() < 0.03


def test_each_piece_is_sent_once_on_its_own(stems):
    long = {name: np.tile(stem, (int(2 * PIECE), 1)) for name, stem in stems.items()}
    mixer = Mixer(long, RATE)
    sent = []
    mixer.desk().observe(lambda change: sent.append(change["name"]), traitlets.All)
    mixer.send_audio()
    mixer.send_audio()
    assert sent == ["piece_0", "piece_1"]


def test_files_are_played_like_the_waveforms_in_them(tmp_path, midi):
    rng = np.random.default_rng(0)
    stems = {name: rng.normal(scale=0.05, size=(int(2.5 * PIECE * RATE), 2)) for name in ("bass", "violin")}
    song = rng.normal(scale=0.05, size=(int(3.5 * PIECE * RATE), 2))
    for name, waveform in {**stems, "song": song}.items():
        audio.write(tmp_path / f"{name}.wav", waveform, RATE)
    read = {name: audio.read(tmp_path / f"{name}.wav")[0] for name in (*stems, "song")}
    original = read.pop("song")[int(PIECE * RATE) :]
    in_memory = Mixer(read, RATE, midi, original)
    on_disk = Mixer({n: tmp_path / f"{n}.wav" for n in stems}, RATE, midi, tmp_path / "song.wav", start=PIECE)
    for mixer in (in_memory, on_disk):
        mixer.desk()
        mixer.send_audio()
        mixer.set("bass", gain=-6, pan=0.5)
    assert in_memory.desk().song == on_disk.desk().song
    for whole, streamed in zip(pieces_of(in_memory.desk()), pieces_of(on_disk.desk()), strict=True):
        for file, same in zip(whole[:3], streamed[:3], strict=True):
            np.testing.assert_array_equal(sound(file)[0], sound(same)[0])
        assert whole[3:] == streamed[3:]
    np.testing.assert_allclose(on_disk.mix(), in_memory.mix(), atol=1e-6)


def test_each_piece_comes_with_the_peaks_and_energy_to_draw(stems):
    mixer = Mixer({"loud": 0.5 * np.sign(stems["bass"]), "soft": 0.02 * np.sign(stems["bass"])}, RATE)
    mixer.desk()
    mixer.send_audio()
    *_, peaks, energies = mixer.desk().piece_0
    peaks = np.frombuffer(peaks, np.uint8).reshape(2, -1)
    assert peaks.shape[1] == -(-RATE // PEAK)
    np.testing.assert_allclose((peaks / 255.0) ** 2, np.repeat([[0.5], [0.02]], peaks.shape[1], axis=1), atol=0.01)
    np.testing.assert_allclose(np.frombuffer(energies, "<f4"), [0.25 * RATE, 0.0004 * RATE], rtol=1e-3)


def test_a_long_song_gets_a_sentence_in_place_of_players(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(HEADLESS, "1")
    monkeypatch.setattr("muscomp_lib.notebook.mixer.MAX_PLAYERS_SECONDS", 0.5)
    Mixer({"bass": np.zeros((RATE, 2), np.float32)}, RATE)._ipython_display_()
    assert capsys.readouterr().out.count("HTML") == 1


@pytest.mark.parametrize("lag", [0, 300], ids=["mono", "stereo"])
def test_twelve_stems_of_four_minutes_stay_below_25_megabytes(lag):
    rng = np.random.default_rng(0)
    times = np.arange(4 * 44100) / 44100
    part = sum(np.sin(2 * np.pi * 110 * k * times + k) / k for k in range(1, 9)) * (1 + np.sin(8 * times))
    part = (0.1 * part + rng.normal(scale=0.003, size=part.shape)).astype(np.float32)
    part[3 * 44100 :] = 0
    part = np.stack([part, np.roll(part, lag)], axis=1)
    four_minutes = np.broadcast_to(part, (60, *part.shape)).reshape(-1, 2)
    mixer = Mixer({f"part {number}": four_minutes for number in range(12)}, 44100)
    assert mixer.desk().song["channels"] == [2 if lag else 1] * 12
    assert 12 * mixer.desk().song["pieces"] * len(mixer._encode_piece(four_minutes, 3)[0]) < 25e6


@pytest.mark.parametrize(("rate", "sent"), [(4000, 8000), (44100, 44100), (96000, 48000)])
def test_sample_rates_outside_the_browsers_range_are_resampled(rate, sent):
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(2 * rate) / rate)[:, None].astype(np.float32)
    mixer = Mixer({"tone": tone}, rate)
    desk = mixer.desk()
    mixer.send_audio()
    assert (desk.song["rate"], desk.song["frames"]) == (sent, 2 * sent)
    decoded, found = sound(desk.piece_0[0])
    assert found == sent
    assert np.abs(np.fft.rfft(decoded[:, 0])).argmax() == pytest.approx(880, abs=2)


def test_without_anywidget_plain_players_play_the_same_audio(stems, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    mixer = Mixer(stems, RATE)
    mixer._ipython_display_()
    assert capsys.readouterr().out.count("Audio") == 4
    players = mixer.players()
    assert list(players) == ["mix", *stems]
    decoded, rate = sound(players["violin"].data)
    assert rate == RATE and decoded.shape == stems["violin"].shape
    assert decoded.std() == pytest.approx(stems["violin"].std(), rel=0.3)
    assert "audio/ogg" in players["mix"]._repr_html_()


def test_without_a_browser_there_are_plain_players_and_no_desk(stems, monkeypatch, capsys):
    monkeypatch.setenv(HEADLESS, "1")
    mixer = Mixer(stems, RATE)
    mixer._ipython_display_()
    assert capsys.readouterr().out.count("Audio") == 4
    assert mixer._desk is None


def test_in_a_notebook_the_desk_is_shown_with_audio(stems, monkeypatch, capsys):
    monkeypatch.delenv(HEADLESS, raising=False)
    mixer = Mixer(stems, RATE)
    mixer._ipython_display_()
    assert "Desk" in capsys.readouterr().out
    assert all(pieces_of(mixer.desk()))


def test_a_mix_beyond_full_scale_is_scaled_not_clipped(stems):
    players = Mixer({name: 10 * waveform for name, waveform in stems.items()}, RATE).players()
    decoded, _ = sound(players["mix"].data)
    assert (np.abs(decoded) > 0.99).mean() < 0.001


def test_impossible_stems_and_settings_are_refused(stems):
    with pytest.raises(AudioError, match="one shape"):
        Mixer({**stems, "violin": stems["violin"][:-1]}, RATE)
    with pytest.raises(AudioError, match="one shape"):
        Mixer({}, RATE)
    with pytest.raises(AudioError, match=r"original has shape \(22050,\)"):
        Mixer(stems, RATE, original=stems["bass"][:, 0])
    with pytest.raises(SettingError, match=r"'tuba'.*bass, violin, drums"):
        Mixer(stems, RATE).set("tuba", mute=True)
    with pytest.raises(SettingError, match=r"gain of bass = nan is not possible.*a number of dB at most 12"):
        Mixer(stems, RATE).set("bass", gain=float("nan"))
    with pytest.raises(SettingError, match=r"pan of bass = 2 is not possible\. It must be a number from -1 to 1"):
        Mixer(stems, RATE).set("bass", pan=2)
