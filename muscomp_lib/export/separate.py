"""Separates a song with an exported network alone: SONG_separated/, in the current folder, gets a file per instrument.

python separate.py SONG.wav [litert_float32 | litert_float16 | litert_int8 | onnx]
"""

import json
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile

HERE = Path(__file__).parent
SIDE = 0.5**0.5  # ITU-R BS.775: the centre and the surrounds in a stereo mix, without the low-frequency channel
DOWNMIX = {"L": (1, 0), "R": (0, 1), "C": (SIDE, SIDE), "Cs": (SIDE, SIDE), "LFE": (0, 0)}
DOWNMIX |= {"Ls": (SIDE, 0), "Rs": (0, SIDE), "Lrs": (SIDE, 0), "Rrs": (0, SIDE)}
CHANNELS = ("L R C", "L R Ls Rs", "L R C Ls Rs", "L R C LFE Ls Rs", "L R C LFE Cs Ls Rs", "L R C LFE Lrs Rrs Ls Rs")
STEPS, SPREAD, SILENCE = 2, 0.005, 1e-20  # of `placed`; of a direction's power; power that is none
OVERLAP = 1.5  # what the squared windows of overlapping frames sum to


def load(path):
    """A file as a function from magnitudes to what the network computes."""
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path)
        return lambda x: session.run(None, {session.get_inputs()[0].name: x})[0]
    from ai_edge_litert.interpreter import Interpreter

    network = Interpreter(str(path))
    network.allocate_tensors()
    x_index, y_index = (each[0]["index"] for each in (network.get_input_details(), network.get_output_details()))
    return lambda x: (network.set_tensor(x_index, x), network.invoke(), network.get_tensor(y_index))[2]


def masks(networks, x, config):
    """The share of each instrument in magnitudes of shape (1, n_frames, F, n_channels)."""
    amounts = np.concatenate([y.reshape(-1, *y.shape[-3:]) for y in (network(x) for network in networks)])
    if config["softmax_outside"]:
        amounts = np.exp(amounts - amounts.max(axis=0))
        amounts = amounts / amounts.sum(axis=0) * x[0]
    powers = amounts ** config["separation_exponent"] + 1e-10 / len(amounts)
    return (powers / powers.sum(axis=0))[..., : x.shape[3]]


def placed(masks, mix, bands, seen, thin):
    """The masks of a stereo segment, raised where both channels fit what `seen` knows of an instrument's directions."""
    power = np.abs(mix) ** 2
    total = power.sum(axis=2) + SILENCE
    points = [np.ones_like(total), power[..., 0] / total, (mix[..., 0] * mix[..., 1].conj()).real / total]
    before, found = seen.copy(), masks
    for _ in range(STEPS):
        amount = found[:, ::thin, :, 0] ** 2 * np.sqrt(total[::thin])
        found = masks.copy()
        for at, (begin, end) in enumerate(bands):
            bins = slice(begin, end)
            for number, each in enumerate(points):
                sums = (amount[:, :, bins] * each[::thin, bins]).sum(axis=(1, 2))
                seen[:, at, number] = before[:, at, number] + sums
            left, both = (seen[:, at, 1:] / seen[:, at, :1]).T[..., None, None]
            right, left = 1 - left + SPREAD, left + SPREAD
            distance = left + (right - left) * points[1][:, bins] - 2 * both * points[2][:, bins]
            found[:, :, bins, 0] *= (left * right - both**2) / distance**2
        found /= found.sum(axis=0)
    return found


def stereo(sound):
    """Two channels; three to eight, in the usual order of WAV and FLAC, are mixed down to them."""
    if sound.shape[1] <= 2:
        return sound[:, [0, -1]]
    if sound.shape[1] > 2 + len(CHANNELS):
        sys.exit(f"The song has {sound.shape[1]} channels. Mix it down to stereo.")
    gains = np.array([DOWNMIX[name] for name in CHANNELS[sound.shape[1] - 3].split()], np.float32)
    return sound @ (gains / gains.sum(axis=0))


def files(config, chosen):
    """The network's files in a format, or in the first that runs without TensorFlow."""
    runnable = [name for name in config["files"] if name != "saved_model"]
    if not runnable or chosen not in (None, *runnable):
        listed = ", ".join(runnable) or "none"
        sys.exit(f"The formats here that this can run: {listed}, not {chosen}. Export again to have another.")
    return [HERE / (chosen or runnable[0]) / file for file in config["files"][chosen or runnable[0]]]


def read(song, config):
    """A song, which has the network's sample rate."""
    try:
        sound, rate = soundfile.read(song, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        sys.exit(f"{error} Give a WAV or FLAC file that is there.")
    if rate != config["sample_rate"]:
        sys.exit(f"{song} has {rate} Hz. Resample it to {config['sample_rate']} Hz.")
    return stereo(sound) if config["n_channels"] == 2 else stereo(sound).mean(axis=1, keepdims=True)


def main(song, chosen=None):
    """Separate a song of the network's sample rate."""
    config = json.loads((HERE / "config.json").read_text(encoding="utf-8"))
    length, step, T, F, context = (config[key] for key in ("frame_length", "frame_step", "T", "F", "context"))
    sound = read(song, config)
    networks = [load(path) for path in files(config, chosen)]

    hann = np.hanning(length + 1)[:-1].astype(np.float32)
    n_frames = -(-(len(sound) + length) // (step * T)) * T  # whole segments
    padded = np.pad(sound, ((length, n_frames * step - len(sound)), (0, 0)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, length, axis=0)[: n_frames * step : step]
    spectra = np.fft.rfft(frames * hann).astype(np.complex64).swapaxes(1, 2)  # (n_frames, n_bins, n_channels)
    magnitude = np.pad(np.abs(spectra[:, :F]), ((context, context), (0, 0), (0, 0)))

    stems = np.zeros((len(config["separates"]), *padded.shape), np.float32)
    bands = list(pairwise(config["panning"]))  # none for a network with a mask for each channel
    seen = np.full((len(stems), len(bands), 3), SILENCE) * [1, 0.5, 0]
    for start in range(0, n_frames, T):
        shares = masks(networks, magnitude[None, start : start + T + 2 * context], config)
        if bands:
            shares = placed(shares, spectra[start : start + T, :F], bands, seen, length // step)
        for stem, mask in zip(stems, shares, strict=True):
            above = mask.mean(axis=1, keepdims=True) * (config["mask_extension"] == "average")
            mask = np.concatenate([mask, np.repeat(above, spectra.shape[1] - F, axis=1)], axis=1)
            waves = np.fft.irfft((spectra[start : start + T] * mask).swapaxes(1, 2)) * hann / OVERLAP
            for frame, wave in enumerate(waves, start):
                stem[frame * step : frame * step + length] += wave.T
    folder = Path(f"{Path(song).stem}_separated")
    folder.mkdir(exist_ok=True)
    for name, stem in zip(config["separates"], stems, strict=True):
        soundfile.write(
            folder / f"{name}.wav", stem[length : length + len(sound)], config["sample_rate"], subtype="FLOAT"
        )


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) in (2, 3) else sys.exit(__doc__)
