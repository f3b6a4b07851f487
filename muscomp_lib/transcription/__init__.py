"""Notebooks 04 and 05, second part: from the audio of instruments to notes."""

from muscomp_lib.notation.bars import GRIDS, TICKS_PER_BEAT, tempo
from muscomp_lib.notation.score import write_score
from muscomp_lib.transcription.choice import transcribable
from muscomp_lib.transcription.transcribe import (
    Settings,
    read,
    transcribe,
    write,
)

__all__ = [
    "GRIDS",
    "TICKS_PER_BEAT",
    "Settings",
    "read",
    "tempo",
    "transcribable",
    "transcribe",
    "write",
    "write_score",
]
