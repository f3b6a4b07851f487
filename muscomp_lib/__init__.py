"""Mus-Comp: one song in, twelve instruments and a MIDI file out, and every step of the way open to study.

One module per notebook: `slakh` (01), `reserve` (02), `tables` (03), `training` with `unet` and `dataset` (04),
`separation`, `transcription` and `mixer` (05). The rooms they share: `instruments`, `drive`, `audio`, `evaluation`,
`plots`, `errors`. `minislakh`, with `composer` and `synthesizer`, makes a small data set in Slakh's exact layout.

Importing this package is quick: TensorFlow is loaded when a network is first built, not before.
"""

__version__ = "0.1.0"
