"""docs/your_own_stems.md followed as written: a folder of songs becomes a model, files and notes."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from muscomp_lib import audio

PROJECT = Path(__file__).parents[2]
PAGE = PROJECT / "docs" / "your_own_stems.md"
RATE = 48000  # Hz
COMMANDS = {"train": ["--train-max-steps", "1"], "separate": []}
SMALL = {
    "03": {"time_steps": 0, "crop_frames": 64, "train_max_steps": 2, "save_checkpoints_steps": 2},
    "04": {"test_songs": 1},
    "05": {},
}  # what is smaller than on the page


def commands():
    """The commands of the page's first section, as lists of words, and of the line on groups."""
    sections = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [
        [shlex.split(line) for line in block.splitlines()]
        for section in sections
        for block in re.findall(r"^```sh\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
        if "my_songs" in block
    ]


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """The folder of someone who followed the page with four songs of 24 bit and 48 kHz."""
    folder = tmp_path_factory.mktemp("musician")
    rng = np.random.default_rng(0)
    for number in range(4):
        stems = {"Drums": rng.normal(0, 0.05, 4 * RATE), "Bass": tone(55 + number), "Vocals": tone(440 + 7 * number)}
        if number == 1:
            del stems["Vocals"]  # one stem is missing
        total = sum(stems.values())
        stems["Mix"] = np.tanh(3 * total) / 2 if number == 2 else total  # one mix was limited
        place = folder / "my_songs" / f"Song {number}"
        place.mkdir(parents=True)
        for name, sound in stems.items():
            soundfile.write(place / f"{name}.wav", np.stack([sound, sound], axis=1), RATE, subtype="PCM_24")
    soundfile.write(folder / "song.mp3", total, RATE, format="MP3")
    command, notebooks, groups = commands()
    for words in [*command, *notebooks, *groups]:
        follow(folder, words)
    return folder


def tone(pitch):
    time = np.arange(4 * RATE) / RATE
    return 0.1 * np.sin(2 * np.pi * pitch * time) * (np.sin(pitch * time) > 0)


def follow(folder, words):
    if words[0] == ".venv/bin/muscomp":
        program, smaller = ["-m", "muscomp_lib"], COMMANDS[words[1]]
        return succeed([sys.executable, *program, *words[1:], *smaller], folder)
    assert words[0] == ".venv/bin/python"
    smaller = [word for name, value in SMALL[words[2]].items() for word in ("-p", name, json.dumps(value))]
    return succeed([sys.executable, PROJECT / words[1], *words[2:], *smaller], folder)


def succeed(command, folder):
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.full
def test_own_songs_become_a_model_that_separates(followed):
    made = (followed / "my_root" / "tables" / "own_stems.csv").read_text().splitlines()
    assert len(made) == 5
    assert {path.stem for path in (followed / "separated" / "song").glob("*.flac")} == {"Bass", "Drums", "Vocals"}
    config = json.loads((followed / "my_root" / "models" / "ours" / "config.json").read_text())
    assert config["instrument_list"] == ["Bass", "Drums", "Vocals"]
    separated = followed / "my_root" / "separated" / "song"
    files = {path.stem: audio.read(path) for path in separated.glob("*.flac")}
    assert set(files) == {"Bass", "Drums", "Vocals"}
    mix, rate = audio.read(followed / "song.mp3")
    total = sum(waveform for waveform, _ in files.values())
    assert {found for _, found in files.values()} == {rate}
    assert np.abs(total.mean(axis=1) - mix.mean(axis=1)).max() < 0.01


@pytest.mark.full
def test_groups_are_configured_without_preparing_again(followed):
    config = json.loads((followed / "my_root" / "configs" / "drums.json").read_text())
    assert config["muscomp"]["targets"] == {"Drums": ["Drums"], "accompaniment": ["Bass", "Vocals"]}
