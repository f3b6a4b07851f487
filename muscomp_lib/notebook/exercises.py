"""The exercises of notebooks 01 to 08: the right answer for the data at hand, hints, and why it is right.

A function takes what the notebook's cell gives to `exercise.check` after the answer.
"""

import math

import numpy as np

from muscomp_lib.notebook.exercise import exercise

INAUDIBLE_DB = 40.0  # below the signal
EQUAL_DB = 0.5  # mean scores that are closer are called equal
BITS = 16


# ---- 01: the data set


@exercise(
    "length of a stem",
    "`frames` counts samples, and `sample_rate` says how many of them there are in a second.",
    "Divide `frames` by `sample_rate`, in the table's first row.",
    why="A file holds samples; seconds follow from its sample rate.",
)
def _(stems):
    return stems["frames"].iloc[0] / stems["sample_rate"].iloc[0]


@exercise(
    "rarest instrument",
    "Each column is an instrument, and white is a gap.",
    "Count the coloured fields of each column; the bars of *How much is there?* show the same numbers.",
    why="Most songs will have to borrow it, from the few that have it.",
)
def _(coverage, names):
    fewest = coverage[coverage["instrument"].isin(names)].set_index("instrument")["tracks"]
    return list(fewest[fewest == fewest.min()].index)


@exercise(
    "damaged file",
    "What does each check read: the beginning of the file, its end, or all of it?",
    "`headers` reads the header and the last sample. Has your change touched either of them?",
    why="What a check does not read, it cannot find. Only decoding to the end reads everything.",
)
def _(noticed):
    finders = [name for name, result in noticed.items() if "problem" in result]
    return {0: "neither", 1: finders[0] if finders else "", 2: "both"}[len(finders)]


# ---- 02: filling


@exercise(
    "gain as a factor",
    "20 dB are a factor of 10, 6 dB about 2; a negative gain divides.",
    "The factor is 10 to the power of the gain over 20.",
    why="Decibels add where factors multiply.",
)
def _(synthesis):
    return 10 ** (_first_gain(synthesis) / 20)


def _first_gain(synthesis):
    return synthesis["gain_db"].iloc[0] if len(synthesis) else -12.0


@exercise(
    "copies",
    "Two tracks with the same `uuid` are the same song.",
    "Compare `len(tracks)` with the number of different values in `tracks['uuid']`.",
    why="Each of them could have put a test song into the training, had copies been separated.",
)
def _(tracks):
    return len(tracks) - tracks["uuid"].nunique()


@exercise(
    "rounding",
    "Round each part and add; then add the parts and round. Compare.",
    "With the values as given: 0.4 is rounded to 0, and the sum, 1.2, to 1.",
    why="With thirteen parts it is up to six steps, at every sample: a hiss that no mask explains.",
)
def _(parts):
    return abs(round(sum(parts)) - sum(map(round, parts)))


# ---- 03: the configuration


@exercise(
    "highest frequency",
    "Bins are `sample_rate / frame_length` apart. How many does the network get?",
    "`F` bins of `sample_rate / frame_length` Hz each; both are in the configuration above.",
    why="Above it there is mostly the hiss of cymbals, and every bin costs time.",
)
def _(config):
    return config["F"] * config["sample_rate"] / config["frame_length"]


@exercise(
    "six seconds",
    "How many seconds lie between the starts of two frames?",
    "6 seconds are 6 * `sample_rate` samples, and a frame starts every `frame_step` samples. Round up.",
    why="Examples that long hold whole phrases, and take that much more memory and time.",
)
def _(config):
    return math.ceil(6 * config["sample_rate"] / config["frame_step"])


@exercise(
    "twice the frames",
    "A convolution slides the same few weights over all of the picture.",
    "Does a larger picture need more weights, or only more steps with the same ones?",
    why="Convolutions do not care how large the picture is: memory and time double, the weights stay.",
)
def _(config):
    from muscomp_lib.models import registry

    doubled = {**config, "T": 2 * config["T"]}
    return registry.network(doubled).n_parameters() / registry.network(config).n_parameters()


# ---- 04: training


@exercise(
    "endless steps",
    "Try 0.9 and 1.1.",
    "The distance to the lowest loss is multiplied by 1 - 2 * `step` in each step. When is that -1?",
    why="Beyond it the loss grows with every step: that is how trainings end in NaN.",
)
def _():
    return 1.0


@exercise(
    "last mask",
    "What do all masks together divide?",
    "All masks sum to 1 at every point.",
    why="What one instrument does not get, another one does.",
)
def _():
    return 0.3


@exercise(
    "a tenth",
    "SI-SDR is the ratio of right to wrong energy, in decibels.",
    "The ratio is 10; its decibels are ten times its logarithm.",
    why="10 dB: you hear the instrument, and the others faintly behind it.",
)
def _():
    return 10.0


@exercise(
    "not punished",
    "*Scale-invariant* is what the first two letters of SI-SDR stand for.",
    "A factor, positive or negative, is put right before the error is measured. Which changes are a factor?",
    why="It judges the shape of the wave: a shift of a millisecond costs more than you hear, a wrong level nothing.",
)
def _(decibels):
    return {name for name, db in decibels.items() if db > INAUDIBLE_DB}


@exercise(
    "most improved",
    "Compare the bars: from the mix to the estimate.",
    "Sort `means` by `improvement`.",
    why="It is often the one whose spectrum is least like all others'.",
)
def _(means):
    return means["improvement"].idxmax()


@exercise(
    "known songs",
    "Which songs were the weights fitted to?",
    "Compare the two means that the cell prints; less than half a decibel apart is `equal`.",
    why="The difference is what a leak adds to a score. After few steps there is none yet: nothing is memorised.",
)
def _(known, unseen):
    if abs(known - unseen) < EQUAL_DB:
        return "equal"
    return "known" if known > unseen else "unseen"


# ---- 05: separation


@exercise(
    "swapped masks",
    "What did the masks sum to before? And after?",
    "A sum does not depend on the order of what is added.",
    why="The masks still sum to one, whoever gets which. So a right sum does not prove a right separation.",
)
def _(divided, mix):
    error = np.square(sum(divided.values()) - mix).sum() / max(np.square(mix).sum(), np.finfo(np.float32).tiny)
    return "yes" if error < 10 ** (-INAUDIBLE_DB / 10) else "no"


@exercise(
    "borrowed phase",
    "The magnitudes are the song's own: you recognise it. But SI-SDR compares waves.",
    "Above 0 dB, more of the energy is right than wrong. Do waves with other phases add up to the same wave?",
    why="That is why the estimate keeps the mix's phase, which at least is right wherever one instrument dominates.",
)
def _(db):
    return "above" if db > 0 else "below"


@exercise(
    "a hundredth",
    "-20 dB is a tenth of the amplitude.",
    "A hundredth is a tenth of a tenth: twice as many decibels.",
    why="At -40 dB an instrument is covered by the others.",
)
def _():
    return -40.0


@exercise(
    "F1",
    "F1 is twice the hits, divided by the number of true notes plus the number of transcribed ones.",
    "Hits are counted on both sides: true notes are hits and misses, transcribed ones hits and extras.",
    why="It is high only if little is missed *and* little is invented.",
)
def _(counts):
    return 2 * counts["hits"] / (counts["true"] + counts["transcribed"])


# ---- 07: export


@exercise(
    "megabytes",
    "16 bits are 2 bytes.",
    "Weights times 2 bytes; a megabyte is a million bytes.",
    why="The file is a little larger: it holds the graph, too.",
)
def _(n_weights):
    return n_weights * BITS / 8 / 1e6


@exercise(
    "seconds at a time",
    "A frame starts every 1024 samples.",
    "Frames times samples, over samples per second.",
    why="A phone has to wait that long before it can begin, or to compute with less context.",
)
def _():
    return 640 * 1024 / 44100


# ---- 06: timbre


@exercise(
    "harmonics of A5",
    "Harmonics are multiples of the pitch: 880, 1760, 2640 Hz, ...",
    "How often does 880 go into 11025?",
    why="A4 has twice as many. That is why a high note says less of its instrument.",
)
def _():
    return 12


@exercise(
    "share of amplitude",
    "20 dB are a factor of ten in amplitude, and of a hundred in energy.",
    "20 log10(share) = -20.",
    why="A tenth can still be noticed where the song rests, and is covered where it plays.",
)
def _():
    return 0.1


# ---- 08: who composed it


@exercise(
    "each composer equally",
    "First the share of each composer's pieces that got the right name.",
    "Then the mean of these shares: group the comparison of the two columns by `label`.",
    why="Where one composer has most of the pieces, always naming them looks good, but for this measure.",
)
def _(table):
    right = table["label"] == table["found"]
    return float(right.groupby(table["label"]).mean().mean())


@exercise(
    "smaller threshold",
    "Which pieces are rejected?",
    "Those that are farther away than the threshold, whoever wrote them.",
    why="A threshold cannot lower the one share without the other: that is what the curve shows.",
)
def _():
    return "both"
