"""MUSDB18's and MedleyDB's layouts, in small: two songs, asked for bass and vocals by the other song's."""

import numpy as np
import pytest
import yaml

from muscomp_lib import audio
from muscomp_lib.timbre import stems

RATE = 44100
SONGS = {"First": (82.4, 440.0), "Second": (98.0, 523.3)}  # Hz, of bass and vocals


def tone(f0):
    time = np.arange(3 * RATE) / RATE
    return np.float32(sum(np.sin(2 * np.pi * f0 * k * time) / k for k in (1, 2, 3, 4)) * 0.1)[:, None]


def musdb18(folder):
    for song, pitches in SONGS.items():
        (folder / "train" / song).mkdir(parents=True)
        for name, f0 in zip(("bass", "vocals"), pitches, strict=True):
            audio.write(folder / "train" / song / f"{name}.wav", tone(f0), RATE)


def medleydb(folder):
    for song, pitches in SONGS.items():
        place, listed = folder / f"A_{song}", {}
        (place / f"A_{song}_STEMS").mkdir(parents=True)
        for number, (name, f0) in enumerate(zip(("electric bass", "male singer"), pitches, strict=True), start=1):
            file = f"A_{song}_STEM_0{number}.wav"
            audio.write(place / f"A_{song}_STEMS" / file, tone(f0), RATE)
            listed[f"S0{number}"] = {"filename": file, "instrument": name}
        described = {"mix_filename": "none.wav", "stem_dir": f"A_{song}_STEMS", "stems": listed}
        (place / f"A_{song}_METADATA.yaml").write_text(yaml.safe_dump(described))


def test_a_silent_stem_is_no_query_and_stops_nothing(tmp_path):
    musdb18(tmp_path)
    audio.write(tmp_path / "train" / "Second" / "vocals.wav", 0 * tone(440.0), RATE)
    table = stems.ask_each(tmp_path).set_index(["song", "instrument"])
    assert "Second: the query is silent" in table.loc[("First", "vocals"), "note"]
    assert np.isfinite(table.loc[("First", "bass"), "nearer by, dB"])


@pytest.mark.parametrize("write", [musdb18, medleydb])
def test_each_instrument_is_asked_for_by_another_song(tmp_path, write):
    write(tmp_path)
    table = stems.ask_each(tmp_path)
    assert len(table) == 4 and table["instrument"].nunique() == 2
    assert not (table["song"] == table["query of"]).any()
    assert np.isfinite(table[["nearer by, dB", "level, dB"]]).all(axis=None)
    one = stems.ask_each(tmp_path, wanted=[table["instrument"][0]])
    assert list(one["song"]) == sorted(set(table["song"]))
