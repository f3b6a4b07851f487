"""Notebook 05, second part: from beats and notes to MIDI's bars and to scores."""
