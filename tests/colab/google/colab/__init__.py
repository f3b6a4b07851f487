"""Stands in for Colab's own package: imported before a notebook runs, as there."""
