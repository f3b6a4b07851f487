"""The small data set of notebook 01, composed and rendered in exactly Slakh's layout."""

from muscomp_lib.minislakh.generate import MARKER, SPLITS, Settings, make, plan

__all__ = ["MARKER", "SPLITS", "Settings", "make", "plan"]
