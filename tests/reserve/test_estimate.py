import pytest
from fixtures.songs_to_fill import prepared

from muscomp_lib import reserve
from muscomp_lib.reserve import estimate
from muscomp_lib.slakh import index_tables


def estimated(root, **changes):
    settings = reserve.Settings(workers=1, **changes)
    stems, tracks = index_tables.read(root)
    return estimate.forecast(root, stems, reserve.partition(tracks, settings), settings)


def test_the_estimate_is_about_right(root):
    expected = estimated(root)
    reserve.fill(root, reserve.Settings(workers=1))
    made = sum(path.stat().st_size for folder in prepared(root) for path in folder.glob("*.flac"))
    assert expected.songs == len(prepared(root))
    assert expected.n_bytes == pytest.approx(made, rel=0.6)
    assert expected.work > 0 and expected.free > 0
    assert expected.music == pytest.approx(expected.songs * 2.25, abs=expected.songs * 0.3)


def test_virtual_songs_take_no_room_and_mono_half(root):
    assert estimated(root, virtual=True).n_bytes == 0
    assert estimated(root, file_format="wav", channels=1).n_bytes == pytest.approx(
        estimated(root, file_format="wav").n_bytes / 2, rel=0.02
    )


def test_fewer_songs_take_less(root):
    assert estimated(root, limit=1).n_bytes < estimated(root).n_bytes


def test_an_estimate_in_words_warns_where_it_does_not_fit():
    enough = estimate.Forecast(songs=10, music=3600, work=1800, n_bytes=2e9, free=5e9)
    assert str(enough).splitlines() == [
        "10 songs, 1 h 0 min of music: about 30 min of work and 2.0 GB; 5.0 GB are free.",
        "All of Slakh2100 (2,100 tracks, 145 hours) would take about 3 days 0 h and 290 GB here.",
    ]
    assert "That does not fit: set virtual = True" in str(estimate.Forecast(10, 3600, 1800, 6e9, 5e9))


def test_a_data_set_without_songs_has_a_forecast_too(root):
    stems, tracks = index_tables.read(root)
    settings = reserve.Settings(workers=1)
    nothing = estimate.forecast(root, stems.assign(status="missing"), tracks, settings)
    assert (nothing.songs, nothing.n_bytes) == (0, 0)
