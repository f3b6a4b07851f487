import numpy as np

from muscomp_lib import audio
from muscomp_lib.dataset.song_table import Song
from muscomp_lib.separation import score_songs


class Halves:
    """A separator that gives each of two instruments half of the mix."""

    instruments = ("bass", "violin")

    def separate(self, waveform, sample_rate):
        return dict.fromkeys(self.instruments, 0.5 * waveform)


def test_each_instrument_of_each_song_is_scored(tmp_path):
    songs = []
    for number, track in enumerate(("Track1", "Track2")):
        parts = np.random.default_rng(number).integers(-2000, 2000, (2, 5000, 2), np.int16)
        files = {name: tmp_path / track / f"{name}.wav" for name in ("bass", "violin", "mix")}
        for path, waveform in zip(files.values(), (*parts, parts.sum(axis=0, dtype=np.int16)), strict=True):
            audio.write(path, waveform, 44100)
        songs.append(Song(track, files.pop("mix"), files, 5000))
    table = score_songs(Halves(), songs)
    assert table[["song", "instrument"]].to_numpy().tolist() == [
        [track, name] for track in ("Track1", "Track2") for name in Halves.instruments
    ]
    assert table["improvement"].abs().max() < 1e-9 and table["si_sdr_mix"].abs().max() < 1
