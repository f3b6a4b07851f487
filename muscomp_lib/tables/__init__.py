"""Notebook 03: the tables and the configuration to train from, in Spleeter's formats."""

from muscomp_lib.tables.check import activity
from muscomp_lib.tables.settings import Settings
from muscomp_lib.tables.write import PARTITIONS, config, write

__all__ = ["PARTITIONS", "Settings", "activity", "config", "write"]
