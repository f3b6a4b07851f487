"""Notebook 02: every song gets every instrument, from songs set aside."""

from muscomp_lib.reserve.fill import OUR_NOTE, Settings, check, fill, partition, realise, reserve_for

__all__ = ["OUR_NOTE", "Settings", "check", "fill", "partition", "realise", "reserve_for"]
