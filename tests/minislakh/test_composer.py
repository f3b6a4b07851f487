"""Composed songs: right parts, right length, playable notes, the same song from the same seed."""

import io
import itertools

import numpy as np
import pytest

from muscomp_lib.core import instruments
from muscomp_lib.core.errors import SettingError
from muscomp_lib.minislakh import arrangement, composer, players

THE_TWELVE = [instrument.programs[0] for instrument in instruments.load().values()]
OUTSIDE = [0, 12, 25, 33, 42, 47, 52, 65, 73, 81, 95, 99, 105, 115, 122]


def notes_of(midi):
    return [(n.pitch, n.velocity, n.start, n.end) for part in midi.instruments for n in part.notes]


@pytest.mark.parametrize("style", composer.styles(more=True))
def test_every_style_gives_each_program_a_part_of_playable_notes(style):
    programs = [*THE_TWELVE, *OUTSIDE]
    midi = composer.compose(3, programs, 40.0, style)
    assert [128 if part.is_drum else part.program for part in midi.instruments] == programs
    assert len({part.name for part in midi.instruments}) == len(programs)
    for program, part in zip(programs, midi.instruments, strict=True):
        assert part.notes
        assert all(0 <= n.start < n.end <= 40.0 and 1 <= n.velocity <= 127 for n in part.notes)
        if not part.is_drum:
            lowest, highest = players.of_program(program).lowest, players.of_program(program).highest
            assert all(lowest <= n.pitch <= highest for n in part.notes), part.name


@pytest.mark.parametrize("style", composer.styles(more=True))
def test_a_song_keeps_its_styles_tempo_and_metre(style):
    midi = composer.compose(1, [1, 34, 128], 40.0, style)
    slowest, fastest = composer.styles(more=True)[style]["tempo"]
    assert 0.95 * slowest <= midi.get_tempo_changes()[1][0] <= 1.05 * fastest
    assert midi.time_signature_changes[0].numerator == composer.styles(more=True)[style]["beats"]


@pytest.mark.parametrize("name", composer.grooves())
def test_every_groove_is_one_bar_of_known_drums(name):
    groove = composer.grooves()[name]
    assert set(groove) <= set(arrangement.KIT)
    assert len({len(pattern) for pattern in groove.values()}) == 1
    assert len(next(iter(groove.values()))) in (12, 16, 24, 32)
    assert set("".join(groove.values())) <= set("Xxo.")


ROLL, KICK = {"snare": "x" * 32}, {"kick": "x..............."}


def test_cymbals_of_a_groove_are_exchanged_for_others(monkeypatch):
    monkeypatch.setattr(
        composer, "grooves", lambda: {"beat": {"kick": "X...X...X...X...", "closed_hat": "x.x.x.x.x.x.x.x."}}
    )
    closed, played = arrangement.KIT["closed_hat"], {}
    for exchanged in (0.0, 1.0):
        songs = (composer.compose(seed, [34, 128], 20.0, "ballad", True, exchanged) for seed in range(8))
        played[exchanged] = [[note.pitch for note in song.instruments[1].notes] for song in songs]
    assert all(pitches.count(closed) > 20 for pitches in played[0.0])
    assert sum(closed in pitches for pitches in played[1.0]) < 4
    assert all(abs(len(new) - len(old)) < 9 for old, new in zip(played[0.0], played[1.0], strict=True))


def test_a_groove_in_thirty_seconds_is_played_in_time(monkeypatch):
    monkeypatch.setattr(composer, "grooves", lambda: {"roll": ROLL})
    midi = composer.compose(0, [34, 128], 20.0, "ballad", with_grooves=True)
    starts = [note.start for note in midi.instruments[1].notes if note.pitch == arrangement.KIT["snare"]]
    assert np.median(np.diff(starts)) == pytest.approx(60 / midi.get_tempo_changes()[1][0] / 8, abs=0.002)


def test_a_groove_too_fast_for_its_song_is_not_drawn(monkeypatch):
    monkeypatch.setattr(composer, "grooves", lambda: {"roll": ROLL, "kick": KICK})
    for seed in range(6):
        midi = composer.compose(seed, [34, 128], 20.0, "metal", with_grooves=True)
        starts = sorted(note.start for note in midi.instruments[1].notes if note.pitch == arrangement.KIT["snare"])
        assert len(starts) < 20  # of fills


@pytest.mark.parametrize("seconds", [2.0, 8.0, 40.0])
def test_a_song_ends_on_the_tonic_near_its_length(seconds):
    midi = composer.compose(5, [34, 48, 128], seconds, "pop")
    bass = midi.instruments[0].notes
    ends = max(n.end for n in bass)
    assert seconds - 1.5 <= ends <= seconds
    assert bass[-1].pitch % 12 == midi.key_signature_changes[0].key_number % 12


def test_the_seed_determines_the_song():
    def file(seed):
        written = io.BytesIO()
        composer.compose(seed, [1, 27, 40, 128], 20.0).write(written)
        return written.getvalue()

    assert file([0, 7]) == file([0, 7])
    assert file([0, 7]) != file([0, 8])


def test_a_program_given_twice_gets_two_different_parts():
    first, second, _ = composer.compose(2, [27, 27, 34], 30.0).instruments
    assert [n.pitch for n in first.notes] != [n.pitch for n in second.notes]


def test_every_part_plays_in_most_of_the_song():
    rests = 0
    for seed in range(8):
        midi = composer.compose(seed, [34, 1, 48, 128, 30], 60.0, "rock")
        for part in midi.instruments:
            played = {int(n.start // 2) for n in part.notes}
            rests += len(played) < 26
            assert len(played) >= 15, part.name
    assert rests


@pytest.mark.parametrize("program", [1, 18, 24, 27, 40, 61, 48, 9, 30])
def test_an_instrument_takes_more_than_one_role(program):
    rng = np.random.default_rng(0)
    company = [34, program, 2, 128]
    assert len({arrangement.assign_roles(company, rng)[1] for _ in range(40)}) >= 2


@pytest.mark.parametrize("program", [34, 40])
def test_one_voice_instruments_never_play_two_notes_at_once(program):
    for seed in range(10):
        notes = composer.compose(seed, [program, 1], 30.0).instruments[0].notes
        assert all(a.end <= b.start for a, b in itertools.pairwise(notes))


def test_a_repeated_note_ends_before_it_starts_again():
    for seed in range(5):
        for part in composer.compose(seed, THE_TWELVE, 30.0).instruments:
            for pitch in {n.pitch for n in part.notes}:
                same = [n for n in part.notes if n.pitch == pitch]
                assert all(a.end < b.start for a, b in itertools.pairwise(same))


def test_drums_use_the_general_midi_kit_and_play_fills():
    drums = composer.compose(0, [128], 40.0, "rock").instruments[0]
    used = {n.pitch for n in drums.notes}
    assert {36, 38, 42, 46, 49, 51} <= used <= set(arrangement.KIT.values())


def test_playing_is_a_little_uneven():
    midi = composer.compose(0, [128, 1], 30.0, "rock")
    kicks = np.array([n.start for n in midi.instruments[0].notes if n.pitch == 36])
    step = 60 / midi.get_tempo_changes()[1][0] / 4
    late = kicks - np.round(kicks / step) * step
    assert 0.001 < late.std() < 0.008


@pytest.mark.parametrize(
    ("programs", "seconds", "style", "message"),
    [
        ([200], 20.0, None, "200"),
        ([], 20.0, None, "programs"),
        ([1], 1.0, None, "1.0 s"),
        ([1], 20.0, "polka", "waltz"),
    ],
)
def test_what_cannot_be_composed_is_refused_with_the_reason(programs, seconds, style, message):
    with pytest.raises(SettingError, match=message):
        composer.compose(0, programs, seconds, style)


def test_the_shipped_taxonomies_ranges_are_those_of_the_players():
    for instrument in instruments.load().values():
        player = players.of_program(instrument.programs[0])
        assert (player.lowest, player.highest) == (instrument.lowest, instrument.highest)
        assert player.one_voice == instrument.one_voice


def test_every_program_has_a_player_with_known_roles():
    for program in range(129):
        player = players.of_program(program)
        assert player.roles and player.inst_class and player.name
        assert program == 128 or player.lowest < player.highest
        assert set(player.roles) <= {*arrangement.REGISTERS, "drums"}
