"""Prepared songs: how they are mixed, stored and read."""
