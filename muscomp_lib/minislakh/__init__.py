"""The small data set of notebook 01, composed and rendered in exactly Slakh's layout."""

from muscomp_lib.minislakh.generate import LINES, MARKER, RING_OUT, SPLITS, Settings, from_midi, make, plan

__all__ = ["LINES", "MARKER", "RING_OUT", "SPLITS", "Settings", "from_midi", "make", "plan"]
