"""What benchmarks/judges.py measures, on models whose division is known."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import soundfile

JUDGES = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "judges.py"))
RATE = 22050  # Hz


class Model:
    """Puts fixed shares of the amplitude into each file."""

    def __init__(self, **shares):
        self.shares, self.instruments = shares, list(shares)

    def separate(self, waveform, sample_rate):
        return {name: share * np.repeat(waveform, 2, axis=1) for name, share in self.shares.items()}


def tone(path, pitch, seconds=3):
    time = np.arange(seconds * RATE) / RATE
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * pitch * time), RATE)


def figures(rows):
    return {row["judge"]: {name: value for name, value in row.items() if name not in ("judge", "of")} for row in rows}


def test_a_solos_energy_is_counted_in_its_right_files(tmp_path, monkeypatch):
    for name in ("bass", "kit", "voice"):
        tone(tmp_path / f"{name}.wav", 110)
    rights = {"bass": "Electric_Bass_pick", "kit": "Drums", "voice": "other or Drums"}
    lines = [f"{name}.wav\t{right}" for name, right in rights.items()]
    (tmp_path / "SOURCES.tsv").write_text("\n".join(["file\tright output", *lines]))
    monkeypatch.setattr("muscomp_lib.transcription.transcribe", lambda *_: type("Midi", (), {"instruments": []}))
    models = {"half": Model(Electric_Bass_pick=0.5, Drums=0.5, other=0.0), "faint": Model(
        Electric_Bass_pick=1.0, Drums=0.0, other=0.01)}  # fmt: skip
    found = figures(JUDGES["solos"](tmp_path, models, "slakh12"))
    right = {title.split(", ")[1].split(":")[0]: its for title, its in found.items() if ", " in title}
    assert right["the twelve"] == pytest.approx({"half": 0.5, "faint": 0.5}, abs=1e-3)
    assert right["without drums"] == pytest.approx({"half": 0.5, "faint": 1.0}, abs=1e-3)
    assert right["other"] == pytest.approx({"half": 0.5, "faint": 0.0}, abs=1e-3)
    assert found["a recorded solo: files above -25 dB"] == {"half": 2.0, "faint": 1.0}


def test_twins_that_are_divided_alike_agree(tmp_path):
    for name, pitch in {"slakh_a": 100, "flakh_a": 200, "slakh_alone": 300}.items():
        tone(tmp_path / f"{name}.wav", pitch)
    models = {"same": Model(My_Bass=0.5, Drums=0.5), "no bass": Model(Violin=1.0)}
    rows = JUDGES["twins"](tmp_path, models)
    assert [row["of"] for row in rows] == [1]  # no row of basses, as one model has none
    assert figures(rows)["Slakh and its FluidSynth twin: energy divided alike"] == pytest.approx(
        {"same": 1.0, "no bass": 1.0}, abs=1e-6
    )
    tone(tmp_path / "slakh_a.wav", 5000)
    above = figures(JUDGES["twins"](tmp_path, {"same": models["same"]}))["Slakh: energy of the bass file above 2 kHz"]
    assert above["same"] == pytest.approx(1.0, abs=0.01)


def test_without_twins_there_is_no_row(tmp_path):
    tone(tmp_path / "slakh_alone.wav", 300)
    assert JUDGES["twins"](tmp_path, {"any": Model(Bass=1.0)}) == []


class Crossover:
    """Divides at 1 kHz, or leaves everything in both files."""

    def __init__(self, divides):
        self.divides = divides

    def masks(self, waveform, sample_rate):
        low = np.arange(2049) < 1000 * 4096 / sample_rate if self.divides else np.ones(2049)
        files = {"Electric_Bass_pick": low, "other": 1 - low if self.divides else low, "Violin": 0 * low}
        n_frames = len(waveform) // 1024 + 8
        return {name: np.tile(mask.astype(np.float32), (n_frames, 1)) for name, mask in files.items()}

    def separate(self, waveform, sample_rate):
        spectrum, low = np.fft.rfft(waveform, axis=0), np.fft.rfftfreq(len(waveform), 1 / sample_rate)[:, None] < 1000
        bass, rest = (np.fft.irfft(spectrum * its, len(waveform), axis=0) for its in (low, ~low))
        return {"Electric_Bass_pick": bass, "other": rest, "Violin": 0 * rest} if self.divides else {
            "Electric_Bass_pick": waveform, "other": waveform, "Violin": 0 * waveform}  # fmt: skip


def test_parts_of_a_song_are_compared_with_their_files(tmp_path):
    tone(tmp_path / "bass.wav", 100, 4)
    tone(tmp_path / "fiddle.wav", 3000)  # a second shorter: the song ends with it
    lines = ["one\tbass.wav\tElectric_Bass_pick", "one\tfiddle.wav\tViolin or other"]
    (tmp_path / "SOURCES.tsv").write_text("\n".join(["song\tfile\tright output", *lines]))
    rows = JUDGES["multitracks"](tmp_path, {"divides": Crossover(True), "mix": Crossover(False)})
    assert {row["of"] for row in rows} == {2}
    closed, better, lands = (
        figures(rows)[f"parts of recorded songs: {what}"]
        for what in ("share of the gap closed", "SI-SDR improvement, dB", "energy in the right file")
    )
    assert closed["divides"] > 0.9 and closed["mix"] == pytest.approx(0.0, abs=1e-6)
    assert better["divides"] > 20 and better["mix"] == pytest.approx(0.0, abs=1e-6)
    assert lands == pytest.approx({"divides": 1.0, "mix": 0.5}, abs=1e-3)
