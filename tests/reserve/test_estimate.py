import pytest
from fixtures.songs_to_fill import prepared

from muscomp_lib import reserve
from muscomp_lib.reserve import estimate
from muscomp_lib.slakh import index_tables


def foretold(root, **changes):
    settings = reserve.Settings(workers=1, **changes)
    stems, tracks = index_tables.read(root)
    return estimate.forecast(root, stems, reserve.partition(tracks, settings), settings)


def test_what_is_foretold_is_about_what_is_made(root):
    expected = foretold(root)
    reserve.fill(root, reserve.Settings(workers=1))
    made = sum(path.stat().st_size for folder in prepared(root) for path in folder.glob("*.flac"))
    assert expected.songs == len(prepared(root))
    assert expected.gigabytes * 1e9 == pytest.approx(made, rel=0.6)
    assert expected.hours > 0 and expected.free > 0
    assert expected.music * 3600 == pytest.approx(expected.songs * 2.25, abs=expected.songs * 0.3)


def test_virtual_songs_take_no_room_and_one_channel_no_more_than_two(root):
    assert foretold(root, virtual=True).gigabytes == 0
    assert foretold(root, file_format="wav", channels=1).gigabytes == pytest.approx(
        foretold(root, file_format="wav").gigabytes / 2, rel=0.02
    )


def test_fewer_songs_take_less(root):
    assert foretold(root, limit=1).gigabytes < foretold(root).gigabytes


def test_it_is_told_in_plain_words_what_does_not_fit():
    enough = estimate.Forecast(songs=10, music=1.0, hours=0.5, gigabytes=2.0, free=5.0)
    assert str(enough).splitlines() == [
        "10 songs, 1.0 hours of music: about 30 min of work and 2.0 GB; 5.0 GB are free.",
        "All of Slakh2100 (2,100 tracks, 145 hours) would take about 72 h 30 min and 290 GB here.",
    ]
    assert "That does not fit: set virtual = True" in str(estimate.Forecast(10, 1.0, 0.5, 6.0, 5.0))


def test_a_data_set_without_songs_has_a_forecast_too(root):
    stems, tracks = index_tables.read(root)
    settings = reserve.Settings(workers=1)
    nothing = estimate.forecast(root, stems.assign(status="missing"), tracks, settings)
    assert (nothing.songs, nothing.gigabytes) == (0, 0)
