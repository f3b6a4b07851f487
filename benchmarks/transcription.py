"""How well notes are found: our transcriber, basic-pitch and pYIN, on clean and on separated stems, and on whole songs.

    python -m venv peer
    peer/bin/pip install onnxruntime librosa mir_eval pretty_midi resampy scikit-learn "setuptools<81"
    peer/bin/pip install --no-deps basic-pitch==0.4.0
    python benchmarks/transcription.py --basic-pitch peer/bin/python

Songs are composed and rendered for the purpose, with seeds that no training uses, with TimGM6mb: a timbre that neither
our separator nor our transcriber was trained on. Printed are, per instrument and in the mean over instruments, the F1
of notes (onset within 50 ms; in brackets with their ends right as well), drums by drum, how fast each transcribes one
stem, and how far tempo, beats, bars and key are right. basic-pitch runs in an environment of its own, since its
packages are older ones; without `--basic-pitch` its columns are left out. pYIN follows one voice: it is asked only
where there is one.
"""

import argparse
import itertools
import json
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import results

from muscomp_lib import audio, minislakh, separation, slakh, transcription
from muscomp_lib.core import instruments
from muscomp_lib.core.root import open_root
from muscomp_lib.minislakh import synthesizer
from muscomp_lib.models import pretrained
from muscomp_lib.music_files import midi_file
from muscomp_lib.slakh import index_tables
from muscomp_lib.transcription import cqt, metrics, network
from muscomp_lib.transcription.note_decoder import Note, Transcriber, to_mono

PROJECT = Path(__file__).resolve().parents[1]


BINS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # of likelihoods
SEED = 1000  # of the songs
TRUTHS = ("beats", "downbeats")  # of a tune, in its JSON file
TAXONOMY = "families"
(DRUMS,) = instruments.drums(TAXONOMY)
PEER = """
import json, logging, sys, time, warnings
logging.disable(logging.WARNING); warnings.simplefilter("ignore")
from basic_pitch import ICASSP_2022_MODEL_PATH
from basic_pitch.inference import Model, predict
model = Model(ICASSP_2022_MODEL_PATH)
for path in json.load(open(sys.argv[1])):
    began = time.perf_counter()
    sys.stdout, shown = sys.stderr, sys.stdout
    _, _, notes = predict(path, model)
    sys.stdout = shown
    notes = [[float(n[0]), float(n[1]), int(n[2]), float(n[3])] for n in notes]
    print(json.dumps([notes, time.perf_counter() - began]), flush=True)
"""


def main():
    """Measure, print the tables, and write the results."""
    args = arguments()
    ours = Transcriber(args.model)
    with tempfile.TemporaryDirectory() as folder:
        songs = list(rendered(Path(folder), args))
        separator = separation.Separator()
        for song in songs:
            its = separator.separate(song["mix"], audio.SAMPLE_RATE)
            song["separated"] = {name: its[name] for name in song["notes"] if name in its}
        peer = Peer(args.basic_pitch, Path(folder))
        rows = []
        for where in ("clean", "separated"):
            its = table([row for song in songs for row in measure(song, where, ours, peer)])
            print(f"\n{where} stems, F1\n{its.round(2).to_string(na_rep='-')}")
            rows += [{"stems": where, "name": name} | row for name, row in its.to_dict("index").items()]
        mixes = whole_songs(songs, ours, peer)
        sure = by_likelihood(songs, ours)
        speed = times_realtime(songs, ours, peer) if args.speed else {}
    beats = measure_beats(songs, ours) | measure_tunes(args.tunes, separator, ours)
    titled = {"whole songs, F1": mixes, "times realtime": speed, "tempo, beats, bars, key": beats}
    for title, found in titled.items():
        print(f"\n{title}\n{pd.Series(found).round(2).to_string()}")
    print(f"\nright, by likelihood\n{pd.DataFrame(sure).T.round(2).to_string()}")
    results.write("transcription", rows, args, whole_songs=mixes, by_likelihood=sure, times_realtime=speed, beats=beats)


def arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--songs", type=int, default=16)
    parser.add_argument("--seconds", type=int, default=40, help="length of each song")
    parser.add_argument(
        "--model", default=pretrained.TRANSCRIBER, help="folder of the transcriber; otherwise the pretrained one"
    )
    parser.add_argument("--speed", action="store_true", help="also time both, which takes a quiet machine")
    parser.add_argument("--basic-pitch", metavar="PYTHON", help="the Python of an environment that has basic-pitch")
    parser.add_argument("--tunes", help="a folder of tunes by others: NAME.mid, and NAME.json with beats and downbeats")
    return parser.parse_args()


def rendered(folder, args):
    """Songs: the mix, the clean stems and the true notes by instrument, and the score with tempo, bars and key."""
    root = open_root(folder)
    settings = {"tracks": args.songs, "seconds": float(args.seconds), "seed": SEED, "taxonomy": TAXONOMY}
    minislakh.make(root.slakh, minislakh.Settings(**settings))
    slakh.index(root, slakh.Settings(taxonomy=TAXONOMY))
    stems, tracks = index_tables.read(root)
    for row in tracks.itertuples():
        its = stems[(stems["track"] == row.track) & (stems["status"] == "ok") & (stems["instrument"] != "")]
        clean, notes = {}, {}
        for path, midi, name in zip(its["audio"], its["midi"], its["instrument"], strict=True):
            clean[name] = clean.get(name, 0) + audio.read(root.slakh / path)[0]
            notes.setdefault(name, []).extend(notes_of(midi_file.read(root.slakh / midi)))
        mix, _ = audio.read(root.slakh / row.mix)
        score = midi_file.read((root.slakh / row.mix).with_name("all_src.mid"))
        yield {"mix": mix, "clean": clean, "notes": notes, "score": score}


def notes_of(midi):
    """All notes of a pretty_midi.PrettyMIDI."""
    return [Note(n.start, n.end, n.pitch, n.velocity / 127) for part in midi.instruments for n in part.notes]


class Peer:
    """basic-pitch, in its own environment; nothing where that is not given."""

    def __init__(self, python, folder):
        self.python, self.folder = python, folder

    def notes(self, waveforms, sample_rate):
        """For each waveform, its notes and the seconds it took."""
        paths = [self.folder / f"peer-{number}.wav" for number in range(len(waveforms))]
        for path, waveform in zip(paths, waveforms, strict=True):
            audio.write(path, audio.to_int16(waveform), sample_rate)
        listed = self.folder / "peer.json"
        listed.write_text(json.dumps([str(path) for path in paths]))
        done = subprocess.run([self.python, "-c", PEER, listed], capture_output=True, text=True, check=True)
        rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
        return [([Note(*note) for note in notes], seconds) for notes, seconds in rows]


def measure(song, where, ours, peer):
    """F1 of one song's instruments: rows of instrument (or drum), way, F1, F1 with ends."""
    taxonomy = instruments.load(TAXONOMY)
    pitched = [name for name in song["notes"] if name != DRUMS]
    found = {"ours": {name: ours.notes(mono(song[where][name]), taxonomy[name]) for name in song["notes"]}}
    if peer.python:
        those = peer.notes([song[where][name] for name in pitched], audio.SAMPLE_RATE)
        found["basic-pitch"] = {name: notes for name, (notes, _) in zip(pitched, those, strict=True)}
    found["pYIN"] = {name: pyin(song[where][name], taxonomy[name]) for name in pitched if taxonomy[name].one_voice}
    for way, by_name in found.items():
        for name, notes in by_name.items():
            if name == DRUMS:
                true, those = metrics.by_drum(song["notes"][name]), metrics.by_drum(notes)
                for drum in true:
                    yield drum, way, metrics.match(true[drum], those[drum]), None
            else:
                true = song["notes"][name]
                yield name, way, metrics.match(true, notes), metrics.match(true, notes, offsets=True)


def mono(waveform):
    """As the transcriber takes it."""
    return to_mono(waveform, audio.SAMPLE_RATE)


def pyin(waveform, instrument):
    """The pitch that pYIN finds, cut into notes where it changes or stops."""
    import librosa

    voice = mono(waveform)
    low, high = librosa.midi_to_hz(instrument.lowest), librosa.midi_to_hz(instrument.highest)
    f0, voiced, sure = librosa.pyin(voice, fmin=low, fmax=high, sr=cqt.SAMPLE_RATE, hop_length=512)
    pitch = np.where(voiced, np.rint(librosa.hz_to_midi(np.nan_to_num(f0, nan=low))), 0).astype(int)
    edges = np.flatnonzero(np.diff(pitch, prepend=0, append=0))
    frame = 512 / cqt.SAMPLE_RATE
    return [
        Note(begin * frame, end * frame, int(pitch[begin]), float(sure[begin]))
        for begin, end in itertools.pairwise(edges)
        if pitch[begin] and end - begin > 2
    ]


def f1(matches):
    """F1 of several matches together; nan where there was nothing to find."""
    counts = [[len(part) for part in match] for match in matches if match]
    hits, misses, extras = np.sum(counts, axis=0) if counts else (0, 0, 0)
    return 2 * hits / (2 * hits + misses + extras) if hits + misses else np.nan


def table(rows):
    """F1 by instrument and drum, and the means over instruments and over drums."""
    matches = pd.DataFrame(rows, columns=["name", "way", "onsets", "with ends"])
    scores = matches.groupby(["name", "way"]).agg(f1).unstack().dropna(axis=1, how="all")
    scores.columns = [f"{way}, {what}" for what, way in scores.columns]
    pitched = scores.reindex([name for name in instruments.names(TAXONOMY) if name in scores.index])
    drums = scores.reindex([name for name in network.DRUM_PITCHES if name in scores.index])
    pitched.loc["mean of the instruments"] = pitched.mean()
    drums.loc["mean of the drums"] = drums.mean()
    return pd.concat([pitched, drums])


def whole_songs(songs, ours, peer):
    """F1 of a whole song's pitched notes, whoever plays them."""
    taxonomy = instruments.load(TAXONOMY)
    ways = {"ours, separated first": []}
    for song in songs:
        true = [note for name, its in song["notes"].items() if name != DRUMS for note in its]
        found = [
            n for name, w in song["separated"].items() if name != DRUMS for n in ours.notes(mono(w), taxonomy[name])
        ]
        ways["ours, separated first"].append(metrics.match(true, sorted(found)))
        if peer.python:
            [(those, _)] = peer.notes([song["mix"]], audio.SAMPLE_RATE)
            ways.setdefault("basic-pitch, on the mix", []).append(metrics.match(true, sorted(those)))
    return {way: f1(matches) for way, matches in ways.items()}


def by_likelihood(songs, ours):
    """Of the notes in separated stems, the share that is right, by the likelihood that the network gives them."""
    taxonomy, rows = instruments.load(TAXONOMY), []
    for song in songs:
        for name, stem in song["separated"].items():
            notes = ours.notes(mono(stem), taxonomy[name])
            hits = metrics.match_instrument(song["notes"][name], notes, name == DRUMS).hits
            right = {number for _, number in hits}
            rows += [(note.likelihood, number in right) for number, note in enumerate(notes)]
    notes = pd.DataFrame(rows, columns=["likelihood", "right"])
    groups = notes.groupby(pd.cut(notes["likelihood"], BINS), observed=True)["right"].agg(["mean", "size"])
    return {f"{of.left:.1f} to {of.right:.1f}": {"right": right, "notes": n} for of, right, n in groups.itertuples()}


def times_realtime(songs, ours, peer):
    """How many seconds of one stem are transcribed in a second, the median of three runs."""
    taxonomy = instruments.load(TAXONOMY)
    name = next(name for name in songs[0]["clean"] if name != DRUMS)
    stem = np.concatenate([song["clean"][name] for song in songs if name in song["clean"]])[: 60 * audio.SAMPLE_RATE]
    taken = {"ours": []}
    for _ in range(3):
        began = time.perf_counter()
        ours.notes(mono(stem), taxonomy[name])
        taken["ours"].append(time.perf_counter() - began)
    if peer.python:
        taken["basic-pitch"] = [seconds for _, seconds in peer.notes([stem] * 3, audio.SAMPLE_RATE)]
    return {way: len(stem) / audio.SAMPLE_RATE / np.median(seconds) for way, seconds in taken.items()}


def measure_beats(songs, ours):
    """How far tempo, beats, bars and key are right, from separated stems."""
    import mir_eval

    rows = []
    for song in songs:
        midi = transcription.transcribe(
            song["separated"], audio.SAMPLE_RATE, transcription.Settings(taxonomy=TAXONOMY), ours
        )
        score, end = song["score"], len(song["mix"]) / audio.SAMPLE_RATE - 2.0  # the last notes ring on without a beat
        true, found = (np.array([t for t in m.get_beats() if t < end]) for m in (score, midi))
        bars, downbeats = (np.array([t for t in m.get_downbeats() if t < end]) for m in (score, midi))
        tempo = np.median(60 / np.diff(found)) / score.get_tempo_changes()[1][0]
        keys = [m.key_signature_changes[0].key_number if m.key_signature_changes else None for m in (score, midi)]
        rows.append(
            {
                "songs with the tempo within 1 %": abs(tempo - 1) < 0.01,
                "songs with the right key": keys[0] == keys[1],
                "beats, F1": mir_eval.beat.f_measure(true, found),
                "first beats of bars, F1": mir_eval.beat.f_measure(bars, downbeats),
            }
        )
    return pd.DataFrame(rows).astype(float).mean().to_dict()


def measure_tunes(folder, separator, ours):
    """How far the beats and bars of tunes by others are right in the file that is written; nothing without a folder."""
    import mir_eval

    rows = []
    for path in sorted(Path(folder).glob("*.json")) if folder else []:
        truth = json.loads(path.read_text())
        if "beats" not in truth:
            continue
        mix = tune(midi_file.read(path.with_suffix(".mid")))
        with tempfile.TemporaryDirectory() as out:
            stems = separator.separate(mix, audio.SAMPLE_RATE)
            written = Path(out) / "tune.mid"
            settings = transcription.Settings(taxonomy=TAXONOMY)
            transcription.write(transcription.transcribe(stems, audio.SAMPLE_RATE, settings, ours), written)
            midi = transcription.read(written)
        first, last = truth["beats"][0] - 0.2, truth["beats"][-1] + 0.2
        found = [np.array([t for t in times if first < t < last]) for times in (midi.get_beats(), midi.get_downbeats())]
        rows.append([mir_eval.beat.f_measure(np.array(truth[n]), f) for n, f in zip(TRUTHS, found, strict=True)])
        print(path.stem, *np.round(rows[-1], 2))
    means = np.mean(rows, axis=0) if rows else []
    return dict(zip((f"{len(rows)} tunes by others: {what}, F1" for what in ("beats", "bars")), means, strict=False))


def tune(midi):
    """The sound of a MIDI file: shape (n_samples, 1), float32."""
    parts = [synthesizer.render(part, midi.get_end_time() + 1.0) for part in midi.instruments if part.notes]
    return sum(parts) / (1.2 * np.abs(sum(parts)).max())


if __name__ == "__main__":
    main()
