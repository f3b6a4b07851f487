"""The mixer and the app where they are used: a real JupyterLab in a real Chromium, and the audio that it plays.

Notebook 7 is made of the same parts: one test covers it.
"""

import io
import json
import re
import shutil
import wave
import zipfile
from pathlib import Path

import nbformat
import numpy as np
import pretty_midi
import pytest
from fixtures import laboratory
from playwright.sync_api import expect

from muscomp_lib.core.root import open_root
from muscomp_lib.notebook.mixer import PIECE, Mixer
from muscomp_lib.separation import songs

pytestmark = pytest.mark.slow

RATE = 22050  # Hz
SECONDS = 12.0
CLICKS = np.arange(0.25, SECONDS, 0.5)  # s, on both sides of the seam between two pieces of the sound
SONG = f"""
import numpy as np
import pretty_midi

RATE, SECONDS = {RATE}, {SECONDS}
times = np.arange(int(RATE * SECONDS)) / RATE
clicks = sum(np.exp(-(((times - at) * 4000) ** 2)) for at in np.arange(0.25, SECONDS, 0.5))
chord = sum(np.sin(2 * np.pi * pitch * times) for pitch in (330, 415, 494)) * (0.6 + 0.4 * np.cos(2 * times)) / 3
bass = np.sin(2 * np.pi * 110 * times)
stems = {{
    "Drums": 0.5 * np.stack([clicks, 0.5 * clicks], axis=1),
    "Violin": 0.3 * np.stack([chord, chord], axis=1),
    "Mirror": -0.3 * np.stack([chord, chord], axis=1),
    "Electric_Bass_pick": 0.3 * np.stack([bass, bass], axis=1),
}}
stems = {{name: stem.astype("f4") for name, stem in stems.items()}}
midi = pretty_midi.PrettyMIDI()
midi.instruments.append(pretty_midi.Instrument(34, name="Electric_Bass_pick"))
midi.instruments[0].notes += [pretty_midi.Note(100, 45, at, at + 0.4) for at in (1.0, 2.0, 3.0)]
midi.instruments[0].notes[1].likelihood = 0.25
midi.instruments.append(pretty_midi.Instrument(0, name="Piano"))  # no stem: E in two bars, A minor in one
triads = ((4.0, (64, 68, 71)), (6.0, (64, 68, 71)), (8.0, (69, 72, 76)))
midi.instruments[1].notes += [pretty_midi.Note(90, pitch, at, at + 1.9) for at, triad in triads for pitch in triad]
"""
CELLS = (
    f"from muscomp_lib.notebook.mixer import Mixer{SONG}",
    'mixer = Mixer(stems, RATE, midi, 0.5 * stems["Violin"], title="song", absent=["Mirror"])\nmixer',
    'print("soloed:", [name for name in mixer.names if mixer.settings[name]["solo"]])',
    'mixer.set("Violin", gain=-6, mute=True)',
    'slow = Mixer({"Alone": stems["Violin"]}, RATE)\ndisplay(slow.desk())',
    "slow.send_audio()",
    'Mixer({"Long": np.zeros((60 * RATE, 2), "f4")}, RATE)',
)
# Measures the level of everything that is connected to an audio output of the page.
METERS = """
window.meters = [];
const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (to, ...more) {
  if (to instanceof AudioDestinationNode && to.context instanceof AudioContext) {
    const meter = new AnalyserNode(to.context, { fftSize: 4096 });
    connect.call(this, meter);
    window.meters.push(meter);
  }
  return connect.call(this, to, ...more);
};
window.outputLevel = () => Math.max(0, ...window.meters.map((meter) => {
  if (meter.context.state !== "running") return 0;
  const samples = new Float32Array(meter.fftSize);
  meter.getFloatTimeDomainData(samples);
  return Math.sqrt(samples.reduce((sum, x) => sum + x * x, 0) / samples.length);
}));
"""
# So many seconds of the left channel of what a desk plays, which it begins to, if it does not play yet.
RECORD = """async ({ mixer }, seconds) => {
  if (!mixer.context) (mixer.play(), mixer.pause()); // which makes it
  const { context, graph } = mixer;
  const code = `registerProcessor("tape", class extends AudioWorkletProcessor {
    process([[samples]]) { if (samples) this.port.postMessage(samples); return true; }
  })`;
  window.tape ??= context.audioWorklet.addModule(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
  await window.tape;
  const tape = new AudioWorkletNode(context, "tape"), blocks = [];
  graph.out.connect(tape);
  if (!mixer.playing) mixer.toggle();
  return new Promise((done) => {
    tape.port.onmessage = ({ data }) => {
      blocks.push(...data);
      if (blocks.length < seconds * context.sampleRate) return;
      tape.port.onmessage = null;
      graph.out.disconnect(tape);
      done(blocks);
    };
  });
}"""


@pytest.fixture(scope="module")
def errors():
    return []


@pytest.fixture(scope="module")
def chromium():
    with laboratory.browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def page(tmp_path_factory, chromium, errors):
    folder = tmp_path_factory.mktemp("lab")
    laboratory.write_notebook(folder / "song.ipynb", *CELLS)
    laboratory.write_notebook(folder / "again.ipynb", *CELLS[:2])
    with laboratory.jupyterlab(folder) as address:
        page = chromium.new_page(viewport=laboratory.WINDOW)
        page.add_init_script(METERS)
        page.on("console", lambda entry: errors.append(entry.text) if entry.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        laboratory.open_notebook(page, address, "song.ipynb")
        laboratory.run_cell(page, 0)
        laboratory.run_cell(page, 1)
        expect(page.locator(".muscomp-mixer.complete")).to_be_visible(timeout=1000 * laboratory.PATIENCE)
        errors.clear()  # JupyterLab's own, while it started
        yield page


@pytest.fixture
def desk(page, errors):
    """The first desk, paused and with default settings; afterwards the console must have no errors."""
    desk = page.locator(".muscomp-mixer").first
    in_desk(desk, "m.pause(), m.setLoop(null), m.setOriginal(false), m.setSpeed(1), m.setCountIn(false), m.seek(0)")
    desk.get_by_role("button", name="Reset all gains").click()
    desk.locator("details.absent").evaluate("(element) => (element.open = true)")
    yield desk
    assert not errors


def in_desk(desk, code):
    """The value of some JavaScript in which `m` is the desk's engine."""
    return desk.evaluate(f"async (element) => {{ const m = element.mixer; return {code}; }}")


def until(page, condition):
    page.wait_for_function(condition, timeout=30_000)


def mixdown(desk):
    """The browser's mixdown with the current settings: shape (n_samples, 2)."""
    code = "m.mixdown().then((mix) => [0, 1].map((side) => Array.from(mix.getChannelData(side))))"
    return np.array(in_desk(desk, code), np.float32).T


@pytest.fixture(scope="module")
def song():
    """The notebook's stems and MIDI, made again here."""
    made = {}
    exec(SONG, made)
    return made


def press(desk, name):
    desk.get_by_role("button", name=name, exact=True).click()


@pytest.mark.full
def test_it_plays_and_the_audio_clock_advances(page, desk):
    press(desk, "Play (space)")
    until(page, "document.querySelector('.muscomp-mixer').mixer.position > 0.5")
    assert in_desk(desk, "m.context.currentTime") > 0.5
    assert page.evaluate("outputLevel()") > 0.05
    press(desk, "Pause (space)")
    assert in_desk(desk, "m.playing") is False
    until(page, "outputLevel() === 0")


@pytest.mark.full
def test_playback_follows_mute_and_solo_and_mute_overrides_solo(page, desk):
    press(desk, "Solo Electric Bass pick")
    press(desk, "Play (space)")
    until(page, "Math.abs(outputLevel() - 0.3 * Math.SQRT1_2) < 0.03")
    press(desk, "Mute Electric Bass pick")
    until(page, "outputLevel() < 1e-4")
    press(desk, "Solo Electric Bass pick")
    press(desk, "Mute Electric Bass pick")
    press(desk, "Mute Drums")
    until(page, "Math.abs(outputLevel() - 0.3 * Math.SQRT1_2) < 0.03")  # violin and mirror are each other's opposite


# Start all sources again, as when more of the song has arrived, and return the pause in s that this leaves in the song:
# none, unless the machine is so busy that the new sources are late. (`currentTime` may advance between two lines.)
RESTART = "((offset) => (m.restart(), offset + m.startedAt - m.from))(m.from - m.startedAt)"


@pytest.mark.full
def test_stems_stay_in_sync_to_the_sample(page, desk):
    press(desk, "Solo Violin")
    press(desk, "Play (space)")
    until(page, "outputLevel() > 0.05")
    press(desk, "Solo Mirror")
    until(page, "outputLevel() < 0.002")  # they only cancel when each sample meets its opposite
    in_desk(desk, "m.seek(9.5)")  # and over the seam between two pieces
    until(page, "document.querySelector('.muscomp-mixer').mixer.position > 10.2")
    assert page.evaluate("outputLevel()") < 0.002
    for _ in range(5):
        pause = in_desk(desk, RESTART)
        assert pause >= -0.5 / RATE  # nothing is skipped
        at = in_desk(desk, "m.from")
        until(page, f"document.querySelector('.muscomp-mixer').mixer.position > {at + 0.2}")
        assert page.evaluate("outputLevel()") < 0.002
        if pause < 0.5 / RATE:
            return
    raise AssertionError("each of five restarts left a pause")


@pytest.mark.full
def test_its_mixdown_is_pythons_mix_sample_for_sample(desk, song):
    mixer = Mixer(song["stems"], RATE)
    changes = {"Drums": {"pan": 0.5}, "Violin": {"gain": -6.0, "pan": -1.0}, "Mirror": {"mute": True}}
    for name, change in changes.items():
        mixer.set(name, **change)
        in_desk(desk, f"m.set({name!r}, {json.dumps(change)})")
    wanted, made = mixer.mix(), mixdown(desk)
    assert made.shape == wanted.shape
    error = np.abs(made - wanted)
    assert np.sqrt((error**2).mean()) < 0.05 * np.sqrt((wanted**2).mean())
    seam = round(PIECE * RATE)
    assert error[seam - 50 : seam + 50].max() < 2 * error.max(axis=1)[RATE : 9 * RATE].max()


@pytest.mark.full
def test_clicks_keep_their_times_on_both_sides_of_a_seam(desk):
    in_desk(desk, "m.set('Drums', {solo: true})")
    made = mixdown(desk)[:, 0]
    for at in np.round(CLICKS * RATE).astype(int):
        assert abs(np.abs(made[at - 200 : at + 200]).argmax() - 200) <= 1


@pytest.mark.full
def test_notes_replace_the_audio_at_its_times_and_loudness(page, desk):
    for name in ("Play the MIDI notes of Electric Bass pick in place of its sound", "Solo Electric Bass pick"):
        press(desk, name)
    made = mixdown(desk)[:, 0]
    assert not made[: round(0.99 * RATE)].any() and not made[4 * RATE :].any()
    assert made[round(1.1 * RATE) : round(1.3 * RATE)].std() > 0.1
    assert np.sqrt((made**2).mean()) == pytest.approx(0.3 * np.sqrt(0.5), rel=0.05)
    spectrum = np.abs(np.fft.rfft(made[RATE : round(1.4 * RATE)]))
    assert np.fft.rfftfreq(round(0.4 * RATE), 1 / RATE)[spectrum.argmax()] == pytest.approx(110, abs=5)
    press(desk, "Play (space)")
    until(page, "outputLevel() > 0.1")
    until(page, "document.querySelector('.muscomp-mixer').mixer.position > 4.5")
    assert page.evaluate("outputLevel()") < 1e-4
    expect(desk.get_by_role("button", name="Play the MIDI notes of Violin in place of its sound")).to_be_disabled()


@pytest.mark.full
def test_the_original_can_be_played_instead(page, desk):
    press(desk, "Solo Electric Bass pick")
    press(desk, "Play (space)")
    until(page, "Math.abs(outputLevel() - 0.3 * Math.SQRT1_2) < 0.03")
    press(desk, "Play the original (O)")
    until(page, "outputLevel() < 0.12 && outputLevel() > 0.01")  # half the violin
    press(desk, "Play the remix (O)")
    until(page, "Math.abs(outputLevel() - 0.3 * Math.SQRT1_2) < 0.03")


@pytest.mark.full
def test_a_click_jumps_there_and_a_drag_loops(page, desk):
    lane = desk.locator(".lane .wave").first.bounding_box()
    x, y = (lambda share: lane["x"] + share * lane["width"]), lane["y"] + 5
    page.mouse.click(x(0.5), y)
    assert in_desk(desk, "m.position") == pytest.approx(6.0, abs=0.05)
    page.keyboard.down("Alt")  # else it would be a whole bar
    page.mouse.move(x(0.25), y)
    page.mouse.down()
    page.mouse.move(x(0.28), y)
    page.mouse.move(x(0.30), y)
    page.mouse.up()
    page.keyboard.up("Alt")
    assert in_desk(desk, "m.loop") == pytest.approx([3.0, 3.6], abs=0.05)
    press(desk, "Play (space)")
    begun = in_desk(desk, "m.context.currentTime")
    until(page, f"document.querySelector('.muscomp-mixer').mixer.context.currentTime > {begun + 1.5}")
    assert 2.9 < in_desk(desk, "m.position") < 3.7
    desk.focus()
    page.keyboard.press("Escape")
    until(page, "document.querySelector('.muscomp-mixer').mixer.position > 3.8")


@pytest.mark.full
def test_the_keyboard_controls_it_and_not_jupyterlab(page, desk):
    desk.focus()
    page.keyboard.press("Space")
    assert in_desk(desk, "m.playing") is True
    page.keyboard.press("Space")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert in_desk(desk, "m.position") == pytest.approx(5.0)
    page.keyboard.press("]")
    assert in_desk(desk, "m.loop") == pytest.approx([0.0, 5.0])
    desk.get_by_role("slider", name="Gain of Drums").focus()
    for key in ("m", "s", "ArrowLeft"):
        page.keyboard.press(key)
    setting = in_desk(desk, "m.settings.Drums")
    assert (setting["mute"], setting["solo"], setting["gain"]) == (True, True, -1)
    assert page.locator(".jp-NotebookPanel .jp-CodeCell").count() == len(CELLS)


@pytest.mark.full
def test_a_screen_reader_finds_every_control_by_name(desk):
    read = desk.aria_snapshot()
    named = ["Play (space)", "Mute Violin"], ["Gain of Violin", "Pan of Drums", "Position in the song"], ["Drums"]
    for role, names in zip(("button", "slider", "group"), named, strict=True):
        assert not [name for name in names if f'{role} "{name}"' not in read]
    assert 'img "Piano roll of Electric Bass pick: 3 notes, 1 of them unsure (thin and grey)"' in read
    assert desk.locator("button:not([aria-label]), input:not([aria-label])").count() == 0


@pytest.mark.full
def test_an_unlikely_note_is_thin_and_grey(desk):
    roll = desk.get_by_role("img", name="Piano roll of Electric Bass pick")
    sure, unlikely, as_sure = roll.evaluate(
        """(e, shares) => {
            const { width, height } = e, rows = [...Array(height).keys()];
            const { data } = e.getContext("2d").getImageData(0, 0, width, height);
            const pixels = (x) => rows.map((y) => [...data.slice(4 * (y * width + x), 4 * (y * width + x + 1))]);
            return shares.map((share) => pixels(Math.round(share * width)).filter((pixel) => pixel[3]));
        }""",
        [at / SECONDS for at in (1.2, 2.2, 3.2)],
    )
    assert sure == as_sure and 0 < len(unlikely) < 0.7 * len(sure)
    assert all(max(pixel[:3]) - min(pixel[:3]) < 20 for pixel in unlikely) and max(sure[0][:3]) - min(sure[0][:3]) > 50


@pytest.mark.full
def test_the_download_holds_the_mix_the_stems_and_the_midi(page, desk, tmp_path):
    with page.expect_download() as waiting:
        press(desk, "Download the mix, all stems and the MIDI file (zip)")
    waiting.value.save_as(tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as packed:
        assert packed.testzip() is None
        names = ["song.wav", *(f"{name}.wav" for name in ("Drums", "Violin", "Mirror", "Electric_Bass_pick"))]
        assert packed.namelist() == [*names, "song.mid"]
        for name in names:
            with wave.open(io.BytesIO(packed.read(name))) as sound:
                assert (sound.getframerate(), sound.getnframes()) == (RATE, round(SECONDS * RATE))
        notes = pretty_midi.PrettyMIDI(io.BytesIO(packed.read("song.mid"))).instruments[0].notes
    assert [(note.pitch, round(note.start, 2)) for note in notes] == [(45, 1.0), (45, 2.0), (45, 3.0)]


@pytest.mark.full
def test_settings_are_shared_by_the_browser_and_python(page, desk):
    press(desk, "Solo Drums")
    laboratory.run_cell(page, 2)
    expect(page.locator("text=soloed: ['Drums']")).to_be_visible()
    laboratory.run_cell(page, 3)
    expect(desk.get_by_role("button", name="Mute Violin")).to_have_attribute("aria-pressed", "true")
    assert desk.get_by_role("slider", name="Gain of Violin").input_value() == "-6"


@pytest.mark.full
def test_play_waits_for_the_audio_and_pauses_other_mixers(page, desk):
    laboratory.run_cell(page, 4)
    other = page.locator(".muscomp-mixer").nth(1)
    press(desk, "Play (space)")
    press(other, "Play (space)")
    expect(other.get_by_role("status")).to_have_text("Waiting for the audio …")
    assert (in_desk(other, "m.playing"), in_desk(desk, "m.playing")) == (False, True)
    laboratory.run_cell(page, 5)
    until(page, "document.querySelectorAll('.muscomp-mixer')[1].mixer.position > 0.1")
    expect(desk.get_by_role("button", name="Play (space)", exact=True)).to_be_visible()
    assert (in_desk(other, "m.playing"), in_desk(desk, "m.playing")) == (True, False)


@pytest.mark.full
def test_only_pieces_near_the_playhead_stay_decoded(page, desk):
    laboratory.run_cell(page, 6)
    long = page.locator(".muscomp-mixer.complete").last
    expect(long).to_have_attribute("aria-label", "Mixer: mix")
    for at in (0, 30, 55, 10, 41):
        in_desk(long, f"m.play({at})")
        page.wait_for_function(f"[...document.querySelectorAll('.muscomp-mixer')].at(-1).mixer.position > {at} + 0.2")
    assert in_desk(long, "[m.song.pieces, m.decoded.size]") == [12, 3]
    assert in_desk(long, "m.sources.length") <= 2
    in_desk(long, "m.pause()")


@pytest.mark.full
def test_axe_finds_nothing_to_complain_of_in_the_mixer(page, desk):
    assert laboratory.accessibility_faults(page, ".muscomp-mixer[aria-label='Mixer: song']") == []


@pytest.mark.full
def test_loops_are_whole_bars_and_rare_stems_are_folded(page, desk):
    lane = desk.get_by_role("img", name="Waveform of Violin")
    box = lane.bounding_box()
    page.mouse.move(box["x"] + 0.20 * box["width"], box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.45 * box["width"], box["y"] + 5, steps=4)
    page.mouse.up()
    assert in_desk(desk, "m.loop") == [2.0, 6.0]  # of 12 s in bars of 2 s
    in_desk(desk, "(m.setLoop(null), m.seek(4.5))")
    expect(desk.locator(".time")).to_contain_text("bar 3")
    folded = desk.locator("details.absent")
    assert folded.locator("summary").inner_text() == "Probably not in this song: Mirror"
    folded.locator("summary").click()
    expect(desk.get_by_role("img", name="Waveform of Mirror")).to_be_hidden()
    folded.locator("summary").click()
    expect(desk.get_by_role("img", name="Waveform of Mirror")).to_be_visible()


@pytest.mark.full
def test_chords_stand_where_they_begin_and_beside_the_time(page, desk):
    names, row = desk.locator(".chords > span"), desk.locator(".chords").bounding_box()
    shown = [name for name in names.all() if name.inner_text()]
    begins = [(name.bounding_box()["x"] - row["x"]) / row["width"] * SECONDS for name in shown]
    assert [name.inner_text() for name in shown] == ["E", "Am"]  # once for two equal bars; nothing where none is clear
    assert begins == pytest.approx([4.0, 8.0], abs=0.05)
    for at, beside in ((2.5, "bar 2"), (6.5, "bar 4, E"), (8.5, "bar 5, Am")):
        in_desk(desk, f"m.seek({at})")
        expect(desk.locator(".time")).to_have_text(re.compile(rf", {beside}$"))


@pytest.mark.full
def test_the_metronome_sounds_and_is_in_no_file(page, desk):
    for name in ("Drums", "Violin", "Mirror", "Electric Bass pick"):
        press(desk, f"Mute {name}")
    for loop in ("[2, 4]", "[1, 11]"):  # one that sources repeat themselves, and a longer one
        in_desk(desk, f"m.setLoop({loop})")
        press(desk, "Play (space)")
        until(page, "document.querySelector('.muscomp-mixer').mixer.position > 2.6")
        assert page.evaluate("outputLevel()") < 1e-4
        press(desk, "Metronome on the beats that were found")
        until(page, "outputLevel() > 0.01")
        press(desk, "Metronome on the beats that were found")
        until(page, "outputLevel() < 1e-4")
        press(desk, "Pause (space)")
    press(desk, "Metronome on the beats that were found")
    assert np.abs(mixdown(desk)).max() < 1e-6
    press(desk, "Metronome on the beats that were found")


def recorded(desk, seconds):
    return np.array(desk.evaluate(RECORD, seconds))


def click_times(sound):
    """Where the clicks of a recording are, in seconds."""
    sizes, reach = np.abs(sound), round(0.02 * RATE)
    loud = np.flatnonzero(sizes > 0.2)
    return np.array([at for at in loud if sizes[at] == sizes[max(0, at - reach) : at + reach].max()]) / RATE


@pytest.mark.full
@pytest.mark.parametrize("speed", [0.75, 0.5])
def test_slower_playback_keeps_pitch_and_sync(page, desk, speed):
    desk.get_by_role("combobox", name="Speed").select_option(str(speed))
    press(desk, "Solo Electric Bass pick")
    in_desk(desk, "m.play(3.5)")  # and over the seam between two pieces
    until(page, "outputLevel() > 0.1")
    sound = recorded(desk, 4)
    spectrum = np.log(np.abs(np.fft.rfft(sound * np.hanning(len(sound)))))
    left, top, right = spectrum[spectrum.argmax() - 1 : spectrum.argmax() + 2]
    peak = spectrum.argmax() + 0.5 * (left - right) / (left - 2 * top + right)
    assert 1200 * np.log2(peak * RATE / len(sound) / 110) == pytest.approx(0, abs=2)  # cents
    assert sound.std() == pytest.approx(0.3 * np.sqrt(0.5), rel=0.03)
    press(desk, "Solo Electric Bass pick")
    press(desk, "Solo Violin")
    press(desk, "Solo Mirror")
    until(page, "outputLevel() < 0.002")  # each sample meets its opposite
    press(desk, "Solo Violin")
    press(desk, "Solo Mirror")
    press(desk, "Solo Drums")
    in_desk(desk, "(m.pause(), m.seek(0))")  # or a click at the old position is recorded as well
    intervals = np.diff(click_times(recorded(desk, 3.5)))
    assert len(intervals) >= 2 and intervals == pytest.approx(0.5 / speed, abs=0.025)


@pytest.mark.full
def test_a_bar_is_counted_in_at_the_chosen_speed(page, desk):
    for name in ("Violin", "Mirror", "Electric Bass pick"):
        press(desk, f"Mute {name}")
    desk.focus()
    for key in ("c", "-", "-"):
        page.keyboard.press(key)
    assert in_desk(desk, "[m.countsIn, m.speed]") == [True, 0.5]
    in_desk(desk, "m.seek(4)")
    found = click_times(recorded(desk, 5))  # four beats of half a second, twice as long, and then the drums
    assert found - found[0] == pytest.approx([0, 1, 2, 3, 4.5], abs=0.025)
    press(desk, "Pause (space)")
    press(desk, "Count a bar in before playing (C)")
    in_desk(desk, "m.seek(4)")
    assert click_times(recorded(desk, 1))[0] > 0.4


@pytest.mark.full
@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (1024, 768)])
def test_a_presenter_fills_the_screen_and_solos_by_key(page, desk, width, height):
    page.set_viewport_size({"width": width, "height": height})
    desk.get_by_role("button", name="Fill the screen").click()
    until(page, "() => document.fullscreenElement !== null")
    sizes = desk.evaluate("(e) => [e.scrollWidth, e.clientWidth, e.scrollHeight, e.clientHeight]")
    assert sizes[0] <= sizes[1] and sizes[2] <= sizes[3]
    assert desk.locator(".play").evaluate("(e) => parseFloat(getComputedStyle(e).fontSize)") >= 20
    soloed = "m.song.names.filter((name) => m.settings[name].solo)"
    found = []
    for _ in range(4):
        page.keyboard.press("n")
        found.append(in_desk(desk, soloed))
    assert found == [["Drums"], ["Violin"], ["Electric_Bass_pick"], []]
    page.keyboard.press("f")
    until(page, "() => document.fullscreenElement === null")
    page.set_viewport_size(laboratory.WINDOW)


@pytest.mark.full
def test_running_the_cell_again_leaves_nothing_playing(page, desk):
    press(desk, "Play (space)")
    until(page, "outputLevel() > 0.05")
    page.evaluate("window.before = document.querySelector('.muscomp-mixer').mixer")
    laboratory.run_cell(page, 1)
    until(page, "document.querySelector('.muscomp-mixer')?.mixer !== before")
    until(page, "before.context.state === 'closed'")
    assert page.evaluate("outputLevel()") == 0
    assert page.evaluate("before.playing || before.sources.length > 0") is False


@pytest.mark.full
def test_it_plays_in_notebook_7_too(page, chromium):
    address = page.url.split("/lab/")[0]
    other = chromium.new_page(viewport=laboratory.WINDOW)
    other.add_init_script(METERS)
    laboratory.open_notebook(other, address, "again.ipynb", front="notebooks")
    laboratory.run_cell(other, 0)
    laboratory.run_cell(other, 1)
    desk = other.locator(".muscomp-mixer.complete")
    expect(desk).to_be_visible(timeout=1000 * laboratory.PATIENCE)
    press(desk, "Play (space)")
    until(other, "outputLevel() > 0.05")
    desk.get_by_role("button", name="Mute Drums").focus()
    other.keyboard.press("s")
    assert in_desk(desk, "m.settings.Drums.solo") is True
    assert other.locator(".jp-NotebookPanel .jp-CodeCell").count() == 2
    other.close()


NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "05_separate_and_transcribe.ipynb"
RECORDING = Path(__file__).parents[3] / "shared" / "data" / "real_audio" / "helland_Remember.mp3"
BIG = 12_000_000  # bytes: more than a server takes in one message


@pytest.fixture(scope="module")
def notebook_05(tmp_path_factory, chromium):
    """The notebook run as far as the app, and the console's errors since then: (page, errors, root)."""
    folder, errors = tmp_path_factory.mktemp("05"), []
    shutil.copy(NOTEBOOK, folder)
    root = open_root(folder / "root")
    with laboratory.jupyterlab(folder, MUSCOMP_ROOT=str(root.path)) as address:
        page = chromium.new_page(viewport=laboratory.WINDOW)
        page.add_init_script(METERS)
        page.on("pageerror", lambda error: errors.append(str(error)))
        laboratory.open_notebook(page, address, NOTEBOOK.name)
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        cells = nbformat.read(NOTEBOOK, as_version=4).cells
        laboratory.step_through(page, 1 + next(i for i, cell in enumerate(cells) if cell.id == "app"))
        expect(page.locator(".muscomp-app")).to_be_visible(timeout=1000 * laboratory.PATIENCE)
        yield page, errors, root


def separated(page, name):
    """Press Separate; the app's mixer once all its audio has arrived."""
    page.get_by_role("button", name="Separate").click()
    desk = page.locator(".muscomp-mixer.complete").first
    expect(page.locator(".muscomp-status")).to_contain_text(f"{name}: 13 files", timeout=1000 * laboratory.PATIENCE)
    expect(desk).to_be_visible()
    return desk


@pytest.mark.full
def test_the_app_offers_a_song_and_one_press_plays_it(notebook_05):
    page, errors, _ = notebook_05
    desk = separated(page, "Composed example")
    press(desk, "Solo Drums")
    press(desk, "Play (space)")
    until(page, "outputLevel() > 0.01")
    press(desk, "Mute Drums")
    until(page, "outputLevel() < 1e-4")
    assert not errors


@pytest.mark.full
def test_an_uploaded_song_of_any_size_replaces_the_playing_one(notebook_05):
    page, errors, root = notebook_05
    waveform = np.random.default_rng(0).integers(-3000, 3000, (BIG // 4, 2), np.int16)
    with wave.open(str(root.path / "Noise.wav"), "wb") as file:
        file.setparams((2, 2, 44100, 0, "NONE", ""))
        file.writeframes(waveform.tobytes())
    recording = RECORDING if RECORDING.exists() else songs.compose_example(root)
    for path in (root.path / "Noise.wav", recording):
        with page.expect_file_chooser() as chooser:
            page.get_by_role("button", name="Upload a song").click()
        chooser.value.set_files(path)
        expect(page.locator(".muscomp-status")).to_contain_text(f"{path.name} is uploaded", timeout=60_000)
        assert (root.songs / path.name).read_bytes() == path.read_bytes()
    page.get_by_role("combobox", name="Length").select_option("10 seconds")
    desk = separated(page, f"{recording.stem}_10s")
    assert page.locator(".muscomp-mixer").count() == 1 and page.evaluate("outputLevel()") == 0
    press(desk, "Play (space)")
    until(page, "outputLevel() > 0.01")
    assert not errors


@pytest.mark.full
def test_the_lesson_continues_with_the_apps_last_song(notebook_05):
    page, errors, _ = notebook_05
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run Selected Cell and All Below").click()
    last = page.locator(".jp-NotebookPanel .jp-CodeCell").last
    expect(last).to_contain_text("Written:", timeout=1000 * laboratory.PATIENCE)
    expect(last).to_contain_text("_10s")
    assert page.locator(".jp-NotebookPanel .jp-OutputArea-output[data-mime-type*=stderr]").count() == 0
    assert page.locator(".muscomp-mixer").count() == 2
    assert not errors
