"""Notebook 01: what is in Slakh2100, and what is broken."""

from muscomp_lib.slakh.index import RENDERED_HERE, Settings, find_tracks, index, is_free

__all__ = ["RENDERED_HERE", "Settings", "find_tracks", "index", "is_free"]
