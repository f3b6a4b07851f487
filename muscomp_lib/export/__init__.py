"""Notebook 07: trained models as files that run without Mus-Comp, on phones and servers."""

from muscomp_lib.export.settings import Settings
from muscomp_lib.export.write import write

__all__ = ["Settings", "write"]
