"""Writes the mix of a song's files as the mixer is set. A process of its own, so that the server stays small.

    python -m muscomp_lib.website.mix FOLDER OUT.flac SETTINGS

SETTINGS are JSON: {stem: {gain, pan, mute, solo}}, as `notebook.mixer.Mixer.set` takes them.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from muscomp_lib import audio
from muscomp_lib.audio import stream
from muscomp_lib.core.errors import REFUSED, MusCompError
from muscomp_lib.core.files import PART
from muscomp_lib.notebook.mixer import Mixer

BLOCK = 1 << 18  # samples that are mixed at a time: 2 MB for each stem
NICE = 5  # behind the server, before the workers: somebody is waiting


def write(files, path, settings):
    """Write a mix as 24-bit FLAC, at the rate and length of its files; lowered where it would exceed full scale.

    Parameters
    ----------
    files : dict of str to Path
    path : Path
    settings : dict of str to dict
        Stems that are not named keep the defaults.

    Raises
    ------
    SettingError, DiskFullError
    """
    info = audio.info(next(iter(files.values())))
    mixer = Mixer(files, info.sample_rate)
    for name, values in settings.items():
        mixer.set(name, **values)
    blocks = [slice(start, min(start + BLOCK, info.frames)) for start in range(0, info.frames, BLOCK)]
    with tempfile.TemporaryFile(dir=path.parent) as floats:
        peak = 1.0
        for block in blocks:
            mix = mixer.mix_of(block)
            peak = max(peak, float(np.abs(mix).max(initial=0.0)))
            mix.tofile(floats)
        floats.seek(0)
        with stream.Writer(path, "flac24", info.sample_rate, 2, info.frames) as file:
            for block in blocks:
                mix = np.fromfile(floats, np.float32, 2 * (block.stop - block.start)).reshape(-1, 2)
                file.write(mix / np.float32(peak))


def main(folder, path, settings):
    """Write the mix of the FLAC files of a folder."""
    os.nice(NICE)
    files = {file.stem: file for file in sorted(Path(folder).glob("*.flac")) if not file.name.startswith(PART)}
    try:
        write(files, Path(path), json.loads(settings))
    except MusCompError as error:
        print(error, file=sys.stderr)
        sys.exit(REFUSED)


if __name__ == "__main__":
    main(*sys.argv[1:])
