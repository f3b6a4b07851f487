"""What notebooks are made of beyond text: the mixer, the separation app, uploads, tables, exercises."""
