"""What notebooks are made of beyond text: the mixer, the separation app, uploads, tables, exercises."""

from pathlib import Path

STATIC = Path(__file__).with_name("static")  # the widgets' JavaScript and CSS
