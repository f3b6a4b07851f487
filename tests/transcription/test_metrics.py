import numpy as np
import pytest
from fixtures import tiny_notes

from muscomp_lib.transcription import metrics
from muscomp_lib.transcription.metrics import match, match_instrument
from muscomp_lib.transcription.note_decoder import Note

TRUE = [Note(0.0, 0.5, 60, 1.0), Note(1.0, 2.0, 64, 1.0), Note(1.0, 2.0, 67, 1.0)]


def shifted(seconds, pitch=0, longer=0.0):
    return [Note(n.start + seconds, n.end + seconds + longer, n.pitch + pitch, 0.5) for n in TRUE]


@pytest.mark.parametrize(
    ("found", "f1"),
    [(TRUE, 1.0), (shifted(0.045), 1.0), (shifted(0.055), 0.0), (shifted(0, pitch=1), 0.0), (TRUE[:2], 0.8), ([], 0.0)],
)
def test_f1_counts_pitch_and_onset_within_fifty_milliseconds(found, f1):
    assert match(TRUE, found).f1 == pytest.approx(f1)


def test_with_offsets_a_hit_must_end_right_too():
    assert match(TRUE, shifted(0, longer=0.5), offsets=True).f1 == 0.0
    assert match(TRUE, shifted(0, longer=0.05), offsets=True).f1 == 1.0


def test_a_true_note_counts_once_and_the_rest_are_extras():
    matched = match(TRUE, [TRUE[0], TRUE[0], Note(3.0, 3.1, 60, 1.0)])
    assert (len(matched.hits), matched.misses, len(matched.extras)) == (1, [1, 2], 2)
    assert matched.f1 == pytest.approx(2 / 6)


def test_f1_is_nan_without_any_notes():
    assert np.isnan(match([], []).f1) and match([], TRUE).f1 == 0.0


def test_similar_drums_count_as_the_same():
    def struck(*pitches):
        return [Note(0.5 * k, 0.5 * k + 0.1, pitch, 1.0) for k, pitch in enumerate(pitches)]

    assert match_instrument(struck(35, 40, 44), struck(36, 38, 42), is_drums=True).f1 == 1.0
    assert match_instrument(struck(36, 56), struck(36), is_drums=True).f1 == 1.0, "nobody writes a cowbell"
    assert match_instrument(struck(36), struck(38), is_drums=True).f1 == 0.0


def test_true_notes_of_an_excerpt_count_from_its_start(tmp_path):
    root = tiny_notes.write(tmp_path)
    played = tiny_notes.notes("Violin", 4)
    whole = metrics.true_notes(root, "Track00005")["Violin"]
    assert [note.pitch for note in whole] == [pitch for _, _, pitch, _ in played]
    part = metrics.true_notes(root, "Track00005", 2.0, 2.0)["Violin"]
    assert [n.start + 2 for n in part] == pytest.approx([s for s, *_ in played if 2 <= s < 4], abs=2e-3)


def test_songs_outside_the_data_set_have_no_true_notes(tmp_path):
    assert metrics.true_notes(tiny_notes.open_root(tmp_path / "empty"), "Any song") == {}
    root = tiny_notes.write(tmp_path / "full")
    assert metrics.true_notes(root, "My own song") == {}
    for file in (root.slakh / "Track00005" / "MIDI").iterdir():
        file.unlink()
    assert metrics.true_notes(root, "Track00005") == {}
