import numpy as np
import pytest
import soundfile
from fixtures.tiny_slakh import truncate

from muscomp_lib.core.errors import MountLostError
from muscomp_lib.core.file_cache import Journal
from muscomp_lib.core.root import open_root
from muscomp_lib.slakh import verify

RATE = 8000


def written(path, seconds, subtype="PCM_16"):
    """A file with one second per entry of `seconds`: the level of a tone."""
    tone = np.sin(np.arange(RATE) / 5)
    soundfile.write(path, np.concatenate([level * tone for level in seconds]), RATE, subtype=subtype)
    return path


def test_a_sound_is_heard_where_it_plays(tmp_path):
    assert verify.sound(written(tmp_path / "a.wav", [0, 0.5, 0.001, 0.1, 0])) == {"heard": "01010"}


@pytest.mark.parametrize("level", [0, 1e-5])
def test_a_file_in_which_nothing_sounds_is_silent(tmp_path, level):
    found = verify.sound(written(tmp_path / "a.wav", [level] * 3, "FLOAT"))
    assert found == {"heard": "000"} and verify.is_silent(found)


def test_samples_that_are_no_numbers_are_told_with_their_place(tmp_path):
    for number, wrong in enumerate((np.nan, np.inf)):
        waveform = np.zeros(3 * RATE, np.float32)
        waveform[2 * RATE + 5] = wrong
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, waveform, RATE, subtype="FLOAT")
        assert "frames" in verify.header(path), "a header does not tell"
        assert verify.sound(path)["problem"].endswith("no numbers, first in second 2. Use another copy.")


def test_a_file_damaged_in_its_middle_has_a_good_header_and_is_found_by_decoding_it(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 20 * RATE), RATE, subtype="PCM_16")
    held = bytearray(path.read_bytes())
    held[len(held) // 3 : len(held) // 2] = bytes(len(held) // 2 - len(held) // 3)
    path.write_bytes(held)
    assert verify.header(path)["frames"] == 20 * RATE
    assert "problem" in verify.sound(path)


def test_a_truncated_file_is_told_by_its_header_alone(tmp_path):
    path = written(tmp_path / "a.flac", [0.5] * 20)
    truncate(path)
    assert "cut short" in verify.header(path)["problem"]


def test_listening_goes_on_where_it_was_and_leaves_out_what_is_known(tmp_path, monkeypatch):
    root = open_root(tmp_path)
    for name in ("a.wav", "b.wav"):
        written(root.slakh / name, [0.5, 0])
    files = {name: ((root.slakh / name).stat(), 2 * RATE) for name in ("a.wav", "b.wav")}
    verify.listen(Journal(root), root.slakh, {"a.wav": files["a.wav"]}, workers=1)
    heard = []
    monkeypatch.setattr(verify, "_sound", lambda path: heard.append(path.name) or {"heard": "1"})
    journal = Journal(root)
    verify.listen(journal, root.slakh, files, workers=1)
    assert heard == ["b.wav"]
    assert journal.recall("a.wav", verify.seen(files["a.wav"][0]), verify.SOUND) == {"heard": "10"}


def test_a_lost_disk_is_not_taken_for_a_missing_file(tmp_path):
    root = open_root(tmp_path)
    path = written(root.slakh / "a.wav", [0.5])
    files = {"a.wav": (path.stat(), RATE)}
    path.unlink()  # the only thing in the folder: as when the disk was unmounted
    with pytest.raises(MountLostError, match="run the same again"):
        verify.listen(Journal(root), root.slakh, files, workers=1)
    assert Journal(root).recall("a.wav", verify.seen(files["a.wav"][0]), verify.SOUND) is None
