"""Rule-based composition: form, harmony and parts. Used by mini-Slakh.

A song is a style (`styles.yaml`), a key, a tempo and a list of bars; each bar has a chord and belongs to a section.
`compose` draws these from a seed, assigns every part a role (bass line, broken chords, melody, ...) that
`arrangement.py` turns into notes, lets parts rest in some sections, and varies timing and velocity a little.

Time is counted in sixteenths ("steps") and converted to seconds last.
"""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from muscomp_lib.core import instruments, yaml_file
from muscomp_lib.core.errors import SettingError
from muscomp_lib.minislakh import arrangement, players

STYLE_FILE = Path(__file__).with_name("styles.yaml")
GROOVE_FILE = Path(__file__).with_name("grooves.yaml")
STEPS_PER_BEAT = 4
MIN_SECONDS = 2.0  # of a song
TAIL = 1.2  # seconds that the last chord may ring beyond its bar line
MODES = {  # semitones above the tonic
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "lydian": (0, 2, 4, 6, 7, 9, 11),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "harmonic_minor": (0, 2, 3, 5, 7, 8, 11),
}
FORM = ("intro", "verse", "verse", "chorus", "verse", "chorus", "bridge", "chorus", "chorus")
SECTION_BARS = 4
SHORT_SONG = 8  # bars: in shorter songs every part plays throughout
PLAYS = {"intro": 0.6, "verse": 0.85, "chorus": 1.0, "bridge": 0.7}  # probability that a part plays in such a section
MIN_PLAYED = 0.65  # of the bars, for every part
LOUDNESS = {"intro": 72, "verse": 80, "chorus": 94, "bridge": 76}  # MIDI velocity
BEAT_ACCENT = 6
VELOCITY_SPREAD = 5.0
TIMING_SPREAD = 0.005  # seconds, standard deviation
DRUM_TIMING_SPREAD = 0.003
GAP = 0.004  # seconds between two notes of the same pitch, so that the first ends before the second starts
MIN_NOTE = 0.03  # seconds
# Cymbals that keep time in other songs, each with how often it takes the place of one in a groove.
EXCHANGED = {"open_hat": 0.35, "ride": 0.2, "crash": 0.15, "second_crash": 0.1, "closed_hat": 0.1, "second_ride": 0.05,
    "ride_bell": 0.05}  # fmt: skip
FASTEST_STROKES = 0.055  # seconds from one to the next, in a groove


@dataclass(frozen=True)
class Bar:
    """One bar: `start` in steps, its kind of section, its place in that section, and its chord.

    `chord` and `following` (the next bar's) are pitch classes, the root first.
    """

    start: int
    section: str
    place: int
    chord: tuple
    following: tuple
    closes_section: bool


@dataclass(frozen=True)
class Song:
    """A song without its parts. `bars` are followed by one more, the ending, on `home`, the tonic chord."""

    style: dict
    scale: tuple  # pitch classes, the tonic first
    tempo: float  # beats per minute
    bars: tuple
    home: tuple

    @property
    def steps_per_bar(self):
        """Sixteenths in a bar."""
        return self.style["beats"] * STEPS_PER_BEAT

    @property
    def seconds_per_step(self):
        """Length of a sixteenth."""
        return 60.0 / self.tempo / STEPS_PER_BEAT


@cache
def styles(more=False):
    """The styles by name, as in `styles.yaml`: those drawn for any song, or with `more` all."""
    return {name: style for name, style in yaml_file.read(STYLE_FILE).items() if more or not style.get("more")}


@cache
def grooves():
    """The grooves by name, as in `grooves.yaml`."""
    return yaml_file.read(GROOVE_FILE)


def compose(seed, programs, seconds, style=None, with_grooves=False, exchanged=0.0):
    """Compose a song.

    Parameters
    ----------
    seed : int or sequence of int
        The same arguments give the same song.
    programs : sequence of int
        General MIDI programs, 128 for drums, one part each. A program given twice gets two different parts.
    seconds : float
        Length; the last chord ends a little before it.
    style : str, optional
        One of `styles(more=True)`; without it, one of `styles()` is drawn.
    with_grooves : bool
        Whether the drums play `grooves()` instead of the style's.
    exchanged : float
        The probability that a groove is played on other cymbals than it is written for.

    Returns
    -------
    pretty_midi.PrettyMIDI
        One named instrument per entry of `programs`, in that order; tempo, time signature and key are set.

    Raises
    ------
    SettingError
    """
    _check(programs, seconds, style)
    rng = np.random.default_rng(seed)
    name = style or str(rng.choice(list(styles())))
    song = _song(styles(more=True)[name], seconds, rng)
    if with_grooves:
        song = replace(song, style=song.style | {"drums": _draw_grooves(song, exchanged, rng)})
    midi = _empty_midi(song)
    roles = arrangement.assign_roles(programs, rng)
    sections = _sections(song)
    playing = [_bars_played(sections, len(song.bars), rng) for _ in programs]
    _avoid_solos(sections, playing)
    for number, (program, role) in enumerate(zip(programs, roles, strict=True)):
        events = arrangement.play(role, song, program, rng)
        events = [event for event in events if event.bar in playing[number] or event.bar == len(song.bars)]
        midi.instruments.append(_part(song, program, number, events, seconds, rng))
    return midi


def _check(programs, seconds, style):
    wrong = [p for p in programs if not 0 <= p <= instruments.DRUMS]
    if wrong or not len(programs):
        raise SettingError(
            f"programs {list(programs)} must be one or more whole numbers from 0 to 127, or 128 for drums."
        )
    if seconds < MIN_SECONDS:
        raise SettingError(f"A song of {seconds} s is too short: take {MIN_SECONDS:g} s or more.")
    if style is not None and style not in styles(more=True):
        raise SettingError(f"There is no style {style!r}; there are {', '.join(styles(more=True))}.")


def _song(style, seconds, rng):
    """Draw key, tempo, form and chords. The tempo is adjusted so that the ending falls where it should."""
    mode = MODES[str(rng.choice(style["modes"]))]
    tonic = int(rng.integers(12))
    scale = tuple((tonic + step) % 12 for step in mode)
    drawn = rng.uniform(*style["tempo"])
    music = max(seconds - TAIL, seconds / 2)
    n_bars = max(2, round(music * drawn / 60 / style["beats"]))  # the ending's bar is one of them
    tempo = n_bars * style["beats"] * 60 / music
    home = _chord(scale, 1, style["sevenths"])
    return Song(style, scale, tempo, _bars(style, scale, n_bars - 1, home, rng), home)


def _bars(style, scale, n_bars, home, rng):
    """The song's form: sections of four bars, cut to length, each kind with its own chord progression."""
    form = ("verse", "chorus") if n_bars < SHORT_SONG else FORM
    progressions = {kind: _progression(style, kind, rng) for kind in sorted(set(form))}
    kinds = [form[min(bar // SECTION_BARS, len(form) - 1)] for bar in range(n_bars)]
    degrees = [progressions[kind][bar % SECTION_BARS] for bar, kind in enumerate(kinds)]
    chords = [_chord(scale, degree, style["sevenths"]) for degree in degrees] + [home]
    steps = style["beats"] * STEPS_PER_BEAT
    return tuple(
        Bar(bar * steps, kind, bar % SECTION_BARS, chords[bar], chords[bar + 1], bar % SECTION_BARS == SECTION_BARS - 1)
        for bar, kind in enumerate(kinds)
    )


def _progression(style, kind, rng):
    options = style["progressions"]["chorus" if kind in ("chorus", "bridge") else "verse"]
    return options[rng.integers(len(options))]


def _chord(scale, degree, sevenths):
    """The chord on a degree of the scale: stacked thirds, as pitch classes, the root first."""
    return tuple(scale[(degree - 1 + third) % 7] for third in (0, 2, 4, 6)[: 4 if sevenths else 3])


def _draw_grooves(song, exchanged, rng):
    """A groove for the song's verses and one for its choruses: of its metre, and not too fast to be played."""
    bar = song.steps_per_bar * song.seconds_per_step
    lengths = {name: len(next(iter(groove.values()))) for name, groove in grooves().items()}
    able = [n for n, length in lengths.items() if not length % song.steps_per_bar and bar / length >= FASTEST_STROKES]
    drawn = {kind: grooves()[str(rng.choice(able))] for kind in ("verse", "chorus")}
    if not exchanged:  # without a draw, so that other productions compose what they did before
        return drawn
    return {kind: _on_other_cymbals(g, rng) if rng.random() < exchanged else g for kind, g in drawn.items()}


def _on_other_cymbals(groove, rng):
    """A groove with each of its cymbals exchanged for another."""
    mine = [drum for drum in groove if drum in EXCHANGED]
    others = rng.choice(list(EXCHANGED), len(mine), replace=False, p=list(EXCHANGED.values()))
    return {drum: pattern for drum, pattern in groove.items() if drum not in mine} | {
        str(other): groove[drum] for drum, other in zip(mine, others, strict=True)
    }


def _empty_midi(song):
    import pretty_midi

    midi = pretty_midi.PrettyMIDI(resolution=480, initial_tempo=song.tempo)
    midi.time_signature_changes.append(pretty_midi.TimeSignature(song.style["beats"], 4, 0.0))
    minor = (song.scale[2] - song.scale[0]) % 12 == 3
    midi.key_signature_changes.append(pretty_midi.KeySignature(song.scale[0] + (12 if minor else 0), 0.0))
    return midi


def _sections(song):
    """The sections as (kind, set of bar numbers), in order."""
    sections = []
    for number, bar in enumerate(song.bars):
        if bar.place == 0:
            sections.append((bar.section, set()))
        sections[-1][1].add(number)
    return sections


def _bars_played(sections, n_bars, rng):
    """The bars in which one part plays: whole sections, more of them in the chorus, most of the song in all."""
    if n_bars < SHORT_SONG:
        return set(range(n_bars))
    playing = {index for index, (kind, _) in enumerate(sections) if rng.random() < PLAYS[kind]}
    resting = [index for index in rng.permutation(len(sections)) if index not in playing]
    while sum(len(sections[index][1]) for index in playing) < MIN_PLAYED * n_bars:
        playing.add(resting.pop())
    return set().union(*(sections[index][1] for index in playing))


def _avoid_solos(sections, playing):
    """Add the first two parts to sections in which fewer than two play."""
    for _, bars in sections:
        if sum(bars <= part for part in playing) < 2:
            for part in playing[:2]:
                part |= bars


def _part(song, program, number, events, seconds, rng):
    """A pretty_midi part from a role's events: seconds instead of steps, with slightly varied timing and velocity."""
    import pretty_midi

    player, is_drum = players.of_program(program), program == instruments.DRUMS
    part = pretty_midi.Instrument(0 if is_drum else int(program), is_drum, f"{player.name} {number + 1}")
    late = rng.normal(0.0, DRUM_TIMING_SPREAD if is_drum else TIMING_SPREAD, len(events))
    louder = rng.normal(0.0, VELOCITY_SPREAD, len(events))
    for event, delay, accent in zip(events, late, louder, strict=True):
        start = max(0.0, _seconds(song, event.step) + event.delay + float(np.clip(delay, -0.012, 0.012)))
        end = min(_seconds(song, event.step + event.length), seconds)
        velocity = int(np.clip(round(_loudness(song, event) + accent), 25, 122))
        if end - start >= MIN_NOTE:
            part.notes.append(pretty_midi.Note(velocity, int(event.pitch), start, end))
    separate(part.notes, player.one_voice)
    return part


def _seconds(song, step):
    """The time of a step in seconds: in a swung style every second eighth is delayed."""
    beat, within = divmod(step, STEPS_PER_BEAT)
    half = STEPS_PER_BEAT / 2
    swung = np.interp(within, [0, half, STEPS_PER_BEAT], [0, half * (1 + song.style["swing"]), STEPS_PER_BEAT])
    return float(beat * STEPS_PER_BEAT + swung) * song.seconds_per_step


def _loudness(song, event):
    section = song.bars[min(event.bar, len(song.bars) - 1)].section
    on_beat = BEAT_ACCENT if event.step % STEPS_PER_BEAT == 0 else 0
    return LOUDNESS[section] + on_beat + event.accent


def separate(notes, one_voice):
    """Cut notes that reach into the next one of their pitch (of any pitch, for an instrument with one voice)."""
    notes.sort(key=lambda note: (note.start, note.pitch))
    latest = {}
    for note in notes:
        before = latest.get(0 if one_voice else note.pitch)
        if before is not None and before.end > note.start - GAP:
            before.end = note.start - GAP
        latest[0 if one_voice else note.pitch] = note
    notes[:] = [note for note in notes if note.end - note.start >= MIN_NOTE / 2]
