"""How songs are made to train on for real music: which parts, sounds, effects, mastering. Used by generate.py.

A production is an entry of productions.yaml. Without one, a song is composed for the instruments of the taxonomy, with
real Slakh's difficulties planted, and rendered dry.
"""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import AfterValidator

from muscomp_lib import audio
from muscomp_lib.core import instruments, settings, yaml_file
from muscomp_lib.core.errors import SettingError
from muscomp_lib.core.settings import Expected, number
from muscomp_lib.minislakh import effects, players, sources
from muscomp_lib.minislakh.effects import CHAIN, SPAN

PRODUCTION_FILE = Path(__file__).with_name("productions.yaml")
OTHERS = (*range(96), *range(104, 112))  # programs for parts outside the taxonomy: all but effects
VOICES = (52, 53, 54, 85)  # programs that a source of sound may sing
ONE_DRUM = (  # General MIDI drum notes of one drum, one cymbal, or a set: what is tuned together
    (35, 36), (37, 38, 39, 40), (41, 43, 45, 47, 48, 50), (42, 44, 46), (49, 57), (51, 53, 59), (52,), (55,),
)  # fmt: skip
MAX_OTHERS = 3  # parts outside the taxonomy in a song
MAX_LONE = 2  # parts of a song with the least of them


class Production(settings.Section):
    """An entry of productions.yaml, which explains each value."""

    midi: number(0, 1) = 0.0
    rearranged: number(0, 1) = 0.0
    lone: number(0, 1) = 0.0
    others: number(0, 1) = 0.0
    voices: number(0, 1) = 0.0
    grooves: settings.flag() = False
    exchanged: number(0, 1) = 0.0
    balance: number(0, 20) = 0.0
    tuning: number(0, 12) = 0.0
    drum_effects: CHAIN = settings.Field({})
    effects: CHAIN = settings.Field({})
    mastered: number(0, 1) = 0.0
    mastering: CHAIN = settings.Field({})
    limiter: SPAN = settings.Field([0, 0])
    noise: SPAN = settings.Field([-100, -100])


@cache
def load(name):
    """The production of a name.

    Raises
    ------
    SettingError
        There is none, or a value in the file is wrong.
    """
    everything = yaml_file.read(PRODUCTION_FILE)
    if name not in list(everything):
        known = settings.suggestion(name, everything)
        raise SettingError(f"There is no production {name!r} in {PRODUCTION_FILE.name}. {known}")
    return settings.check(Production, everything[name], PRODUCTION_FILE.name, f"{name}.")


Name = Annotated[str, AfterValidator(lambda name: load(name) and name), Expected("a production of productions.yaml")]


def from_files():
    """The names of productions that take songs from files: list of str."""
    return [name for name in yaml_file.read(PRODUCTION_FILE) if load(name).midi]


def others(taxonomy):
    """The programs outside a taxonomy."""
    return [program for program in OTHERS if not instruments.of_program(program, taxonomy)]


def draw_programs(production, programs, taxonomy, rng):
    """The programs of a song: some outside the taxonomy, in most, besides those drawn; one or two in all, in a few."""
    outside = [int(p) for p in rng.permutation(others(taxonomy))[: int(rng.integers(1, MAX_OTHERS + 1))]]
    if production.grooves and instruments.drums(taxonomy):
        programs = [*dict.fromkeys([*programs, instruments.DRUMS])]
    drawn = [*programs, *outside] if rng.random() < production.others else list(programs)
    voices = [program for program in VOICES if not instruments.of_program(program, taxonomy)]
    if voices and rng.random() < production.voices:
        drawn.append(int(rng.choice(voices)))
    if rng.random() < production.lone:
        drawn = [*programs, *outside[:1]]
        return [drawn[i] for i in rng.permutation(len(drawn))[: int(rng.integers(1, MAX_LONE + 1))]]
    return [drawn[i] for i in rng.permutation(len(drawn))]


def draw_sounds(production, midi, its_sources, rng):
    """How each part of a song is played: list of sources.Sound."""
    sounds = [sources.draw(part, its_sources, rng) for part in midi.instruments]
    if production is None:
        return sounds
    return [
        replace(
            sound,
            effects=(*sound.effects, *effects.draw(production.effects, rng, players.program_of(part))),
            level=float(rng.normal(0.0, production.balance)),
            drums=_draw_drums(production, rng) if part.is_drum else (),
        )
        for part, sound in zip(midi.instruments, sounds, strict=True)
    ]


def _draw_drums(production, rng):
    """As `sources.Sound.drums`; empty where kits are left as they are."""
    if not production.tuning and not production.drum_effects:
        return ()
    return tuple(
        (notes, float(rng.normal(0.0, production.tuning)), effects.draw(production.drum_effects, rng))
        for notes in ONE_DRUM
    )


@dataclass(frozen=True)
class Mastering:
    """What is done to all stems of a song alike, so that they still sum to the mix.

    Attributes
    ----------
    effects : tuple of (str, dict)
        As in effects.py.
    limited : float
        How far the limiter brings down the highest peak, dB.
    noise : float
        RMS of the noise, dB below a mix that peaks at full scale.
    noisy : int or None
        The stem that gets the noise: one outside the taxonomy.
    """

    effects: tuple
    limited: float
    noise: float
    noisy: int | None
    seed: int

    def gains(self, mix):
        """The limiter's curve for a mix, shape (n_samples, 1)."""
        return effects.limiter(mix, np.abs(mix).max() * audio.to_gain(-self.limited), audio.SAMPLE_RATE)

    def hiss(self, peak, n_samples):
        """The noise of a song whose mix peaks at `peak`, shape (n_samples, 1), float32."""
        level = np.float32(peak * audio.to_gain(self.noise))
        return level * np.random.default_rng(self.seed).standard_normal((n_samples, 1), np.float32)


def draw_mastering(production, midi, taxonomy, rng):
    """The mastering of a song; None where it has none."""
    if production is None or rng.random() >= production.mastered:
        return None
    outside = [
        number
        for number, part in enumerate(midi.instruments)
        if not instruments.of_program(players.program_of(part), taxonomy)
    ]
    return Mastering(
        effects.draw(production.mastering, rng),
        float(rng.uniform(*production.limiter)),
        float(rng.uniform(*production.noise)),
        outside[0] if outside else None,
        int(rng.integers(2**32)),
    )
