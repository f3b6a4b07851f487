"""The page of the website in a real Chromium: from a file that is chosen to the mixer that plays it."""

import io
import re
import time
import zipfile

import numpy as np
import pretty_midi
import pytest
import soundfile
from fixtures import laboratory, website
from playwright.sync_api import expect

pytestmark = pytest.mark.slow

LONG = 1000 * website.PATIENCE  # ms
MIN_TARGET = 24  # CSS pixels, WCAG 2.2, 2.5.8
SMALL_TARGETS = f"""() => [...document.querySelectorAll("button, a, select, summary, input")].filter((element) => {{
  const {{ width, height }} = element.getBoundingClientRect();
  const isTarget = element.checkVisibility() && !element.matches(".hidden, .chips input");
  return isTarget && (width < {MIN_TARGET} || height < {MIN_TARGET});
}}).map((element) => element.outerHTML.slice(0, 120))"""
LEVEL = """async (element) => {
  const samples = new Float32Array(element.mixer.master.fftSize);
  element.mixer.master.getFloatTimeDomainData(samples);
  return Math.sqrt(samples.reduce((sum, x) => sum + x * x, 0) / samples.length);
}"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with website.site(tmp_path_factory.mktemp("here") / "site", "--max-each", "50") as running:
        yield running


@pytest.fixture(scope="module")
def chromium():
    with laboratory.browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def song(tmp_path_factory):
    return website.write_song(tmp_path_factory.mktemp("songs") / "Tune.flac", 12.0)


@pytest.fixture
def page(chromium, site):
    """The page in a browser of its own, which must not complain: but of a song that is refused, or gone meanwhile."""
    usual = re.compile(r"(status of 400 .*|status of 404 .* \S+/api/songs/\S+)$")
    with chromium.new_context(viewport=laboratory.WINDOW) as context:
        page, wrong = context.new_page(), []

        def note(entry):
            if entry.type in ("error", "warning"):
                wrong.append(f"{entry.text} {entry.location['url']}")

        page.on("console", note)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(site.address)
        yield page
        assert not [text for text in wrong if not usual.search(text)]


@pytest.fixture(scope="module")
def ready(site, chromium, song):
    """A browser whose song is done: its storage, for other browsers."""
    with chromium.new_context() as context:
        page = context.new_page()
        page.goto(site.address)
        send(page, song)
        expect(line(page)).to_contain_text("Ready", timeout=LONG)
        return context.storage_state()


def opened(chromium, site, state, **options):
    """The page in a browser that has sent a song before."""
    context = chromium.new_context(storage_state=state, **options)
    page = context.new_page()
    page.goto(site.address)
    page.get_by_role("button", name="Play (space)").wait_for()
    expect(page.locator(".muscomp-mixer.complete")).to_be_visible()
    return page


def send(page, *paths):
    page.locator("#model option").first.wait_for(state="attached")
    page.locator("#files").set_input_files(list(paths))


def line(page):
    return page.locator("#songs .line").first


def until(holds):
    begin = time.monotonic()
    while not holds():
        assert time.monotonic() < begin + website.PATIENCE
        time.sleep(0.05)


def test_a_song_is_sent_played_and_taken_away(page, song):
    send(page, song)
    expect(line(page)).to_contain_text("%", timeout=LONG)
    desk = page.locator(".muscomp-mixer")
    desk.wait_for(timeout=LONG)
    page.get_by_role("button", name="Play (space)").click()
    until(lambda: desk.evaluate("(element) => element.mixer.position") > 0.5)
    expect(line(page)).to_contain_text("Ready", timeout=LONG)
    until(lambda: desk.evaluate("(element) => element.mixer.playing || element.mixer.at === 0"))
    notes = page.get_by_role("button", name="Play the MIDI notes of Electric Bass pick in place of its sound")
    expect(notes).to_be_visible()
    with page.expect_download() as taken:
        page.get_by_text("Download all (zip)").click()
    assert taken.value.suggested_filename == "Tune.zip"
    with zipfile.ZipFile(taken.value.path()) as archive:
        assert archive.testzip() is None
        assert pretty_midi.PrettyMIDI(io.BytesIO(archive.read("Tune/notes.mid"))).instruments


@pytest.mark.full
def test_a_silent_song_is_ready_without_notes(page, tmp_path):
    soundfile.write(tmp_path / "silence.wav", np.zeros((44100, 2)), 44100)
    send(page, tmp_path / "silence.wav")
    expect(line(page)).to_contain_text("Ready, but no notes were found in it. It will be deleted", timeout=LONG)


@pytest.mark.full
def test_mute_and_solo_change_what_is_heard_and_the_mix(chromium, site, ready):
    page = opened(chromium, site, ready)
    desk = page.locator(".muscomp-mixer")
    page.get_by_role("button", name="Solo Electric Bass pick", exact=True).click()
    page.get_by_role("button", name="Play (space)").click()
    until(lambda: desk.evaluate(LEVEL) > 0.01)
    page.get_by_role("button", name="Mute Electric Bass pick", exact=True).click()
    until(lambda: desk.evaluate(LEVEL) < 1e-4)
    with page.expect_download(timeout=LONG) as taken:
        page.get_by_text("Mix as set (FLAC)").click()
    assert not np.abs(soundfile.read(taken.value.path())[0]).any()
    page.reload()  # and the mixer is set as before
    expect(page.get_by_role("button", name="Mute Electric Bass pick", exact=True)).to_have_attribute(
        "aria-pressed", "true"
    )
    page.context.close()


@pytest.mark.full
def test_a_reload_finds_the_song_again(page, tmp_path):
    send(page, website.write_song(tmp_path / "Long.wav", 60.0))
    expect(line(page)).to_contain_text("Separating", timeout=LONG)
    page.reload()
    expect(page.locator("#songs .title")).to_have_text("Long")
    expect(line(page)).to_contain_text("left")
    page.get_by_role("button", name="Cancel Long").click()
    expect(page.locator("#message")).to_have_text("Long is deleted.")
    expect(page.locator("#songs li")).to_have_count(0)


@pytest.mark.full
def test_a_server_that_is_restarted_finishes_the_song(chromium, tmp_path):
    song = website.write_song(tmp_path / "Tune.wav", 12.0)
    with website.site(tmp_path / "site") as site:
        page = chromium.new_context().new_page()
        page.goto(site.address)
        send(page, song)
        expect(line(page)).to_contain_text("Separating", timeout=LONG)
    with website.site(tmp_path / "site", "--port", site.address.rpartition(":")[2]):
        expect(line(page)).to_contain_text("Ready", timeout=LONG)
        page.context.close()


@pytest.mark.full
def test_a_closed_tab_finds_the_song_again(chromium, site, ready):
    page = opened(chromium, site, ready)
    expect(page.locator("#player-title")).to_have_text("Tune")
    expect(page.locator("#facts")).to_contain_text("beats a minute")
    expect(page.locator("details.absent summary")).to_contain_text("Probably not in this song")
    page.context.close()


def goes_on_when_chosen_again(page, path, percent, blocked):
    """After a reload, the page says where sending stopped, and goes on there with the same file."""
    page.on("dialog", lambda dialog: dialog.accept())
    page.reload()
    expect(line(page)).to_have_text(f"Sending stopped at {percent} %. Choose the same file again to go on.")
    page.unroute(blocked)
    send(page, path)
    expect(line(page)).to_contain_text("left", timeout=LONG)


@pytest.mark.full
def test_an_upload_that_broke_off_goes_on(page, site, tmp_path):
    path = website.write_song(tmp_path / "Half.wav", 30.0)  # 2.6 MB
    page.route("**/sound?at=1000000", lambda route: None)  # the server is never reached
    send(page, path)
    expect(line(page)).to_have_text("Sending: 37 %")
    goes_on_when_chosen_again(page, path, 37, "**/sound?at=1000000")
    expect(page.locator("#songs li")).to_have_count(1)
    page.get_by_role("button", name="Cancel Half").click()


@pytest.mark.full
def test_a_whole_upload_is_taken_when_chosen_again(page, site, tmp_path):
    path = website.write_song(tmp_path / "Whole.wav", 30.0)
    page.route("**/sound?at=*", lambda route: None)
    send(page, path)
    expect(line(page)).to_have_text("Waiting to be sent")
    id_ = page.evaluate("JSON.parse(localStorage.getItem('muscomp-songs'))[0].id")
    (site.folder / "songs" / id_).mkdir()
    (site.folder / "songs" / id_ / "song.wav").write_bytes(path.read_bytes())  # and then the server was killed
    goes_on_when_chosen_again(page, path, 100, "**/sound?at=*")
    page.get_by_role("button", name="Cancel Whole").click()


@pytest.mark.full
def test_the_servers_reason_is_shown_while_it_is_asked_again(chromium, site, tmp_path):
    with chromium.new_context() as context:
        page = context.new_page()
        page.goto(site.address)
        page.route("**/sound?at=*", lambda route: route.fulfill(status=507, json={"error": "Its disk is full."}))
        send(page, website.write_song(tmp_path / "Patient.wav", 30.0))
        expect(page.locator("#message")).to_have_text("Its disk is full.")
        page.unroute("**/sound?at=*")
        expect(line(page)).to_contain_text("left", timeout=LONG)
        expect(page.locator("#message")).to_have_text("")
        page.get_by_role("button", name="Cancel Patient").click()


@pytest.mark.full
def test_a_mixer_that_could_not_be_opened_is_opened_later(chromium, site, ready):
    with chromium.new_context(storage_state=ready) as context:
        page = context.new_page()
        page.route("**/desk", lambda route: route.abort(), times=1)
        page.goto(site.address)
        page.get_by_role("button", name="Play (space)").wait_for()
        expect(page.locator("#message")).to_have_text("")


@pytest.mark.full
def test_several_songs_wait_for_each_other(page, tmp_path):
    send(page, *(website.write_song(tmp_path / f"{name}.wav", 20.0) for name in ("One", "Two", "Three")))
    expect(page.locator("#songs .line", has_text="before yours")).not_to_have_count(0, timeout=LONG)
    for name in ("One", "Two", "Three"):
        page.get_by_role("button", name=f"Cancel {name}").click()
    expect(page.locator("#songs li")).to_have_count(0)


@pytest.mark.full
def test_what_is_refused_is_explained(page, tmp_path):
    (tmp_path / "notes.txt").write_text("la")
    (tmp_path / "words.mp3").write_text("la la")
    send(page, tmp_path / "notes.txt")
    expect(page.locator("#message")).to_contain_text("notes.txt: This is not the name of a song. Send sound")
    send(page, tmp_path / "words.mp3")
    expect(line(page)).to_contain_text("This file", timeout=LONG)
    page.get_by_role("button", name="Delete words").click()


@pytest.mark.full
def test_all_files_that_are_refused_are_named(page, tmp_path):
    names = ["a.txt", "b.txt", "empty.wav", "c.txt", "d.txt"]
    for name in names:
        (tmp_path / name).write_text("" if name == "empty.wav" else "la")
    send(page, *(tmp_path / name for name in names))
    message = page.locator("#message")
    expect(message).to_contain_text("a.txt, b.txt, c.txt and 1 more: This is not the name of a song.")
    expect(message).to_contain_text("empty.wav: This is empty")


@pytest.mark.full
def test_a_folder_that_is_dropped_gives_its_songs(page, tmp_path):
    for name in ("cd1/10.wav", "cd1/9.wav", "cd2/1.FLAC", "cd1/._9.wav", "cover.jpg"):
        (tmp_path / "album" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "album" / name).write_text("no music")
    (tmp_path / "empty").mkdir()
    (tmp_path / "single.mp3").write_text("no music")
    page.locator("#model option").first.wait_for(state="attached")
    files = [str(tmp_path / name) for name in ("album", "empty", "single.mp3")]
    box, client = page.locator("#drop").bounding_box(), page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        place = {"x": box["x"] + 9, "y": box["y"] + 9}
        data = {"items": [], "files": files, "dragOperationsMask": 1}
        client.send("Input.dispatchDragEvent", {"type": kind, **place, "data": data})
    expect(page.locator("#songs .title")).to_have_text(["single", "1", "10", "9"], timeout=LONG)  # the latest first
    expect(page.locator("#message")).to_contain_text("empty: This is")


def test_a_file_that_vanishes_holds_up_no_other(page, tmp_path):
    gone, other = (website.write_song(tmp_path / f"{name}.wav", 30.0) for name in ("Gone", "Other"))
    page.route("**/sound?at=1000000", lambda route: (gone.unlink(missing_ok=True), route.continue_()), times=1)
    send(page, gone, other)
    expect(page.get_by_text("The file can no longer be read")).to_be_visible(timeout=LONG)
    expect(page.locator("#songs .line").first).to_contain_text("left", timeout=LONG)
    for name in ("Gone", "Other"):
        page.get_by_role("button", name=f"Cancel {name}").click()


@pytest.mark.full
def test_a_listener_listens_and_can_do_nothing_else(chromium, site, ready):
    owner = opened(chromium, site, ready)
    owner.context.grant_permissions(["clipboard-read", "clipboard-write"])
    owner.get_by_role("button", name="Share to listen").click()
    expect(owner.locator("#message")).to_contain_text("The link is copied")
    link = owner.evaluate("navigator.clipboard.readText()")
    with chromium.new_context() as context:
        page = context.new_page()
        page.goto(link)
        page.get_by_role("button", name="Play (space)").click(timeout=LONG)
        until(lambda: page.locator(".muscomp-mixer").evaluate("(element) => element.mixer.position") > 0.5)
        assert page.locator("#send, #zip, #mix, #stems, #share, #list").locator("visible=true").count() == 0
        page.goto(site.address)
        expect(page.locator("#send")).to_be_visible()
        expect(page.locator("#songs li")).to_have_count(0)
    owner.context.close()


@pytest.mark.full
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_everybody_can_use_it(chromium, site, ready, scheme, width):
    page = opened(chromium, site, ready, viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.locator("#options summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(SMALL_TARGETS) == []
    page.context.close()


@pytest.mark.full
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_to_complain_of(chromium, site, ready, scheme):
    page = opened(chromium, site, ready, color_scheme=scheme)
    page.locator("#options summary").click()
    assert laboratory.accessibility_faults(page) == []
    page.context.close()


@pytest.mark.full
def test_two_tabs_have_the_same_songs(page, song):
    other = page.context.new_page()
    other.goto(page.url)
    send(page, song)
    expect(other.locator("#songs .title")).to_have_text("Tune")
    other.get_by_role("button", name="Cancel Tune").click()
    expect(page.locator("#songs li")).to_have_count(0)


@pytest.mark.full
def test_it_can_be_used_by_keyboard_alone(chromium, site, ready):
    page = opened(chromium, site, ready)
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.ariaLabel") == "Play (space)":
            break
    page.keyboard.press("Enter")
    until(lambda: page.locator(".muscomp-mixer").evaluate("(element) => element.mixer.playing"))
    page.context.close()


@pytest.mark.full
def test_what_is_deleted_is_gone_for_everybody(page, site, song):
    send(page, song)
    expect(line(page)).to_contain_text("Ready", timeout=LONG)
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete Tune").click()
    expect(page.locator("#player")).to_be_hidden()
    page.reload()
    expect(page.locator("#send")).to_be_visible()
    expect(page.locator("#songs li")).to_have_count(0)


@pytest.mark.full
def test_four_minutes_take_little_memory(page, site, tmp_path):
    content = website.write_song(tmp_path / "Long.mp3", 240.0)
    send(page, content)
    expect(page.locator(".muscomp-mixer.complete")).to_be_visible(timeout=5 * LONG)
    desk = page.locator(".muscomp-mixer")
    for at in (5, 100, 200):
        desk.evaluate(f"(element) => element.mixer.play({at})")
        until(lambda at=at: desk.evaluate("(element) => element.mixer.position") > at + 0.3)
    held = desk.evaluate(
        "({ mixer }) => [...mixer.decoded.values()].flatMap(({ sounds }) => sounds ?? [])"
        ".reduce((sum, { length, numberOfChannels }) => sum + 4 * length * numberOfChannels, 0) / 1e6"
        " + mixer.files.flat().reduce((sum, { byteLength }) => sum + byteLength, 0) / 1e6"
    )
    assert held < 120  # MB of sound, of 550 MB
    page.get_by_role("button", name="Cancel Long").click()  # its notes would take longer than all of this
