"""What each part plays: roles, and the notes they make of a song's chords. Used by the composer.

A role (bass line, broken chords, melody, ...) turns the bars of a song into events: notes with times in sixteenths.
players.yaml lists the roles of each program; most have several, so that no instrument is recognisable by its part.
"""

from dataclasses import dataclass

import numpy as np

from muscomp_lib.minislakh import players

BEAT = 4  # sixteenths
OCTAVE = 12  # semitones
STRUM_DELAY = 0.012  # seconds from string to string
PHRASE = (0, 1, 0, 2)  # the motifs of a four-bar phrase: a b a c
GHOST, ACCENT = -30, 12  # velocity
CRASH_LENGTH = 16  # sixteenths
KIT = {  # General MIDI drum notes
    "kick": 36, "side_stick": 37, "snare": 38, "closed_hat": 42, "open_hat": 46, "crash": 49, "ride": 51,
    "low_tom": 45, "mid_tom": 47, "high_tom": 50,
    "deep_kick": 35, "clap": 39, "high_snare": 40, "pedal_hat": 44, "floor_tom": 41, "high_floor_tom": 43,
    "high_mid_tom": 48, "china": 52, "ride_bell": 53, "splash": 55, "second_crash": 57, "second_ride": 59,
}  # fmt: skip
FILLS = (  # the last beats of a section, one drum per sixteenth
    ("snare", "snare", "high_tom", "high_tom", "mid_tom", "mid_tom", "low_tom", "low_tom"),
    ("snare", None, "snare", "snare"),
    ("high_tom", "mid_tom", "low_tom", "kick"),
    ("snare", None, "high_tom", None, "mid_tom", None, "low_tom", "low_tom"),
)
REGISTERS = {  # a role's preferred range, before the instrument's range moves it by octaves
    "bass": (28, 50), "block": (50, 74), "offbeat": (52, 76), "strum": (45, 72), "stabs": (54, 77), "pad": (48, 74),
    "power": (40, 60), "arpeggio": (48, 77), "melody": (60, 82), "counter": (55, 76), "long": (55, 79),
    "riff": (43, 64),
}  # fmt: skip
MIN_REGISTER = 17  # semitones: a register keeps at least this much when the range cuts it


@dataclass(frozen=True)
class Event:
    """A note: its bar, its start and length (sixteenths), MIDI pitch, `accent` (added to the velocity), `delay` (s)."""

    bar: int
    step: float
    length: float
    pitch: int
    accent: float = 0.0
    delay: float = 0.0


def assign_roles(programs, rng):
    """One role per program: one part has the melody if any can, the others share the remaining roles evenly.

    Returns
    -------
    list of str
    """
    able = [number for number, program in enumerate(programs) if "melody" in players.of_program(program).roles]
    lead = int(rng.choice(able)) if able else None
    taken = []
    for number, program in enumerate(programs):
        options = [role for role in players.of_program(program).roles if role != "melody"]
        least = min(taken.count(role) for role in options)
        role = "melody" if number == lead else str(rng.choice([r for r in options if taken.count(r) == least]))
        taken.append(role)
    return taken


def register(role, program):
    """Lowest and highest MIDI note of a role on an instrument: the role's register, moved by octaves to fit."""
    player = players.of_program(program)
    low, high = REGISTERS[role]
    while low < player.lowest and low + MIN_REGISTER < player.highest:
        low, high = low + OCTAVE, high + OCTAVE
    while high > player.highest and low - OCTAVE >= player.lowest:
        low, high = low - OCTAVE, high - OCTAVE
    return max(low, player.lowest), min(high, player.highest)


def play(role, song, program, rng):
    """The events of a part, the ending included.

    Parameters
    ----------
    role : str
        One of its player's roles.
    song : composer.Song
    program : int
    rng : np.random.Generator

    Returns
    -------
    list of Event
    """
    if role == "drums":
        return _drums(song, rng)
    low, high = register(role, program)
    tune = {"bass": _bass, "melody": _melody, "riff": _riff, "arpeggio": _arpeggio, "counter": _counter, "long": _long}
    if role in tune:
        return tune[role](song, low, high, rng) + _last_note(role, song, low, high)
    return _chords(role, song, low, high, rng)


def _notes_of(pattern):
    """The notes of a pattern as (step, length, character); `-` holds the previous note, `.` is a rest."""
    begins = [step for step, character in enumerate(pattern) if character not in "-."]
    ends = [next((s for s in range(b + 1, len(pattern)) if pattern[s] != "-"), len(pattern)) for b in begins]
    return [(begin, end - begin, pattern[begin]) for begin, end in zip(begins, ends, strict=True)]


def _pattern_per_section(song, name, rng):
    """One of the style's patterns for each kind of section, so that a section sounds the same when it returns."""
    options = song.style[name]
    return {kind: options[rng.integers(len(options))] for kind in sorted({bar.section for bar in song.bars})}


def _pitches(pitch_classes, low, high):
    return [pitch for pitch in range(low, high + 1) if pitch % OCTAVE in pitch_classes]


def _nearest(pitches, target):
    return min(pitches, key=lambda pitch: (abs(pitch - target), pitch))


def _voicing(chord, low, high, centre):
    """The chord in close position, in the inversion whose middle lies nearest to `centre`."""
    tones = _pitches(chord, low, high)
    stacks = [tones[i : i + len(chord)] for i in range(max(1, len(tones) - len(chord) + 1))]
    return min(stacks, key=lambda stack: (abs(np.mean(stack) - centre), stack[0]))


def _power_chord(chord, low):
    """Root, fifth and octave, the root as low as it goes."""
    root = low + (chord[0] - low) % OCTAVE
    return [root, root + 7, root + OCTAVE]


def _chords(role, song, low, high, rng):
    """Chords in a rhythm: block, off-beat, strummed, stabs, power chords; or pads, which last a bar."""
    whole_bar = ["x" + "-" * (song.steps_per_bar - 1)]
    patterns = None if role == "pad" else _pattern_per_section(song, role, rng)
    centre, events = (low + high) / 2, []
    ending = len(song.bars) * song.steps_per_bar
    bars = [(bar.start, bar.chord, patterns[bar.section] if patterns else whole_bar[0]) for bar in song.bars]
    for number, (start, chord, pattern) in enumerate([*bars, (ending, song.home, whole_bar[0])]):
        stack = _power_chord(chord, low) if role == "power" else _voicing(chord, low, high, centre)
        centre = 0.7 * np.mean(stack) + 0.3 * (low + high) / 2  # follow the last chord without drifting away
        for strum, (step, length, _) in enumerate(_notes_of(pattern)):
            strings = stack if strum % 2 == 0 else stack[::-1]
            held = length - 0.2 if role != "stabs" else min(length, 2) * 0.8
            for string, pitch in enumerate(strings):
                delay = string * STRUM_DELAY if role == "strum" else 0.0
                events.append(Event(number, start + step, held, pitch, -3.0 * (len(stack) > 3), delay))
    return events


def _arpeggio(song, low, high, rng):
    """Broken chords: up, down, or up and down through the chord, one and a half octaves wide."""
    spacing = song.style["arpeggio"] * (1 if rng.random() < 0.7 else 2)
    shape = int(rng.integers(3))
    held = spacing * (1.0 if rng.random() < 0.5 else 1.8)
    events, centre = [], (low + high) / 2
    for number, bar in enumerate(song.bars):
        stack = _voicing(bar.chord, low, high, centre)
        centre = 0.7 * np.mean(stack) + 0.3 * (low + high) / 2
        up = [*stack, *(pitch + OCTAVE for pitch in stack[:2] if pitch + OCTAVE <= high)]
        order = (up, up[::-1], up + up[-2:0:-1])[shape]
        for index, step in enumerate(range(0, song.steps_per_bar, spacing)):
            events.append(Event(number, bar.start + step, held, order[index % len(order)]))
    return events


def _bass(song, low, high, rng):
    """A bass line from the style's patterns, its root as low as it goes."""
    patterns = _pattern_per_section(song, "bass", rng)
    events = []
    for number, bar in enumerate(song.bars):
        root = low + (bar.chord[0] - low) % OCTAVE
        following = low + (bar.following[0] - low) % OCTAVE
        third, fifth = (root + (bar.chord[i] - bar.chord[0]) % OCTAVE for i in (1, 2))
        below = max(pitch for pitch in range(following - 3, following) if pitch % OCTAVE in song.scale)
        approach = below if below >= low else following + 2
        tones = {"R": root, "T": third, "F": fifth, "O": root + OCTAVE, "A": approach}
        for step, length, character in _notes_of(patterns[bar.section]):
            pitch = tones[character] if tones[character] <= high else tones[character] - OCTAVE
            events.append(Event(number, bar.start + step, length * 0.92, pitch, 6.0 if step == 0 else 0.0))
    return events


def _motif(song, rng):
    """A bar of melody without its pitch: its rhythm, and scale steps up or down from the first note."""
    options = song.style["melody"]
    rhythm = _notes_of(options[rng.integers(len(options))])
    moves = rng.choice([-2, -1, -1, 1, 1, 2, 0], len(rhythm) - 1)
    return rhythm, np.concatenate([[0], np.cumsum(moves)])


def _melody(song, low, high, rng):
    """Motifs that return (a b a c) on the chords of each phrase, higher in the chorus."""
    kinds = sorted({bar.section for bar in song.bars})
    motifs = {kind: [_motif(song, rng) for _ in range(max(PHRASE) + 1)] for kind in kinds}
    scale = _pitches(song.scale, low, high)
    events = []
    for number, bar in enumerate(song.bars):
        rhythm, contour = motifs[bar.section][PHRASE[bar.place % len(PHRASE)]]
        chord_tones = _pitches(bar.chord, low, high)
        centre = low + (high - low) * (0.6 if bar.section == "chorus" else 0.4)
        first = scale.index(_nearest([p for p in chord_tones if p in scale] or scale, centre))
        for (step, length, _), move in zip(rhythm, contour, strict=True):
            pitch = scale[int(np.clip(first + move, 0, len(scale) - 1))]
            if step % (2 * BEAT) == 0 or length > BEAT:  # accented and long notes are chord tones
                pitch = _nearest(chord_tones, pitch)
            events.append(Event(number, bar.start + step, length * 0.95, pitch, 8.0))
    return events


def _riff(song, low, high, rng):
    """A short figure on the chord's root, the same in every bar of a section."""
    patterns = _pattern_per_section(song, "power", rng)
    figures = {kind: rng.choice([0, 0, 3, 5, 7, 10, 12], song.steps_per_bar) for kind in sorted(patterns)}
    events = []
    for number, bar in enumerate(song.bars):
        root = low + (bar.chord[0] - low) % OCTAVE
        near = _pitches(song.scale, low, high)
        for index, (step, length, _) in enumerate(_notes_of(patterns[bar.section])):
            interval = 0 if index == 0 else figures[bar.section][index]
            pitch = _nearest(near, root + interval) if interval else root
            events.append(Event(number, bar.start + step, length * 0.9, pitch, 2.0))
    return events


def _counter(song, low, high, rng):
    """A second voice: thirds and sevenths held for half a bar, with an occasional run into the next chord."""
    half = song.steps_per_bar // 2
    scale = _pitches(song.scale, low, high)
    runs = rng.random(len(song.bars)) < 0.4
    target, events = (low + high) / 2 + rng.uniform(-4, 4), []
    for number, bar in enumerate(song.bars):
        guide = _nearest(_pitches(bar.chord[1:], low, high), target)
        answer = _nearest([p for p in _pitches(bar.chord, low, high) if p != guide], guide + rng.choice([-3, 3]))
        events.append(Event(number, bar.start, half * 0.95, guide))
        if runs[number]:
            start = scale.index(_nearest(scale, answer))
            steps = np.clip(start + np.arange(half // 2) * rng.choice([-1, 1]), 0, len(scale) - 1)
            run = [scale[index] for index in steps]
            events += [Event(number, bar.start + half + 2 * i, 1.8, pitch, -4.0) for i, pitch in enumerate(run)]
        else:
            events.append(Event(number, bar.start + half, half * 0.95, answer, -2.0))
        target = 0.6 * answer + 0.4 * (low + high) / 2
    return events


def _long(song, low, high, rng):
    """One note a bar, moving as little as it can."""
    target, events = (low + high) / 2 + rng.uniform(-5, 5), []
    for number, bar in enumerate(song.bars):
        pitch = _nearest(_pitches(bar.chord, low, high), target + rng.uniform(-2, 2))
        events.append(Event(number, bar.start, song.steps_per_bar - 0.3, pitch))
        target = 0.7 * pitch + 0.3 * (low + high) / 2
    return events


def _last_note(role, song, low, high):
    """The ending of a single line: the tonic (or, for upper voices, a tone of its chord) held for a bar."""
    tones = _pitches(song.home[:1] if role in ("bass", "melody", "riff") else song.home, low, high)
    pitch = tones[0] if role in ("bass", "riff") else _nearest(tones, (low + high) / 2)
    return [Event(len(song.bars), len(song.bars) * song.steps_per_bar, song.steps_per_bar - 0.2, pitch, 4.0)]


def _drums(song, rng):
    """A groove per section, a fill before the next one, a crash on its first beat, and a final hit."""
    fill = FILLS[rng.integers(len(FILLS))]
    events = []
    for number, bar in enumerate(song.bars):
        groove = song.style["drums"]["chorus" if bar.section in ("chorus", "bridge") else "verse"]
        until = song.steps_per_bar - (len(fill) if bar.closes_section else 0)
        events += [
            Event(number, bar.start + step, 1.0, KIT[drum], {"X": ACCENT, "x": 0, "o": GHOST}[hit])
            for drum, pattern in groove.items()
            for step, hit in zip(np.linspace(0, song.steps_per_bar, len(pattern), endpoint=False), pattern, strict=True)
            if hit != "." and step < until
        ]
        if bar.closes_section:
            hits = [(step, drum) for step, drum in enumerate(fill) if drum]
            events += [Event(number, bar.start + until + s, 1.0, KIT[drum], 2.0 * s) for s, drum in hits]
        if bar.place == 0:
            events.append(Event(number, bar.start, CRASH_LENGTH, KIT["crash"], ACCENT))
    end = len(song.bars) * song.steps_per_bar
    return events + [Event(len(song.bars), end, CRASH_LENGTH, KIT[drum], ACCENT) for drum in ("kick", "crash")]
