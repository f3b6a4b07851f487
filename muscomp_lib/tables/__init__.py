"""Notebook 03: the tables and the configuration to train from, in Spleeter's formats."""

from muscomp_lib.tables.write import PARTITIONS, Settings, activity, config, write

__all__ = ["PARTITIONS", "Settings", "activity", "config", "write"]
