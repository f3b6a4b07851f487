"""The built wheel, away from the checkout: it separates a song and writes its notes with what is packed in it."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

PROJECT = Path(__file__).parents[1]
RATE = 44100  # Hz
PROGRAM = """
import json, sys
import muscomp_lib
from muscomp_lib import Separator, audio, transcribe, transcription
from muscomp_lib.spleeter import environment
from muscomp_lib.website.server import FILES

assert all((folder / name).is_file() for name, (folder, _) in FILES.items())
files = Separator().separate_file("song.wav", "separated")
stems = {name: audio.read(path)[0] for name, path in files.items()}
transcription.write(transcribe(stems, 44100), "song.mid")
print(json.dumps([muscomp_lib.__file__, sorted(files), environment.REQUIREMENTS.is_file()]))
"""


def environment_with(wheel, folder):
    """The Python of a new environment: the wheel, and the packages it depends on where this test has them from."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    [packages] = folder.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:  # what pip does with a wheel of Python alone, without looking for others
        archive.extractall(packages)
    (packages / "dependencies.pth").write_text("\n".join(path for path in sys.path if path.endswith("-packages")))
    return folder / "bin" / "python"


@pytest.mark.slow
@pytest.mark.full
def test_an_installed_wheel_separates_and_transcribes_away_from_the_checkout(tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "--no-deps", "-w", tmp_path]
    names = ["muscomp_lib", "pyproject.toml", "README.md", "LICENSE", "requirements.txt"]
    source = tmp_path / "source"  # a copy: setuptools leaves a build folder, and would pack what an older one holds
    source.mkdir()
    subprocess.run(["cp", "-r", *(PROJECT / name for name in names), source], check=True)
    subprocess.run([*command, source], check=True)
    python = environment_with(*tmp_path.glob("*.whl"), tmp_path / "environment")

    away = tmp_path / "away"
    away.mkdir()
    tone = 0.3 * np.sin(2 * np.pi * 110 * np.arange(4 * RATE) / RATE)
    soundfile.write(away / "song.wav", np.stack([tone, tone], axis=1), RATE)
    done = subprocess.run([python, "-I", "-c", PROGRAM], cwd=away, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr[-2000:]
    package, instruments, spleeter_pins = json.loads(done.stdout.splitlines()[-1])
    assert Path(package).is_relative_to(tmp_path / "environment")
    assert spleeter_pins
    assert len(instruments) == len(list((away / "separated").glob("*.flac"))) == 13
    assert (away / "song.mid").stat().st_size > 0
