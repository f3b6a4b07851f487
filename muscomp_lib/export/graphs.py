"""The graphs that are part of the project (models/litert.py): with them, usual models need no TensorFlow.

After a change of the networks, make them again, which takes a minute or two:

    python -m muscomp_lib.export.graphs
"""

from muscomp_lib.core.files import remove
from muscomp_lib.models import litert, pretrained, published
from muscomp_lib.models.config import read_config
from muscomp_lib.models.registry import network
from muscomp_lib.models.weights import CONFIG
from muscomp_lib.transcription.network import COMPACT
from muscomp_lib.transcription.note_decoder import Transcriber


def computations():
    """What everybody computes: {description: runtime.Computation}."""
    config = read_config(pretrained.FOLDER / CONFIG)
    names, notes = config["instrument_list"], Transcriber()
    found = {
        "the pretrained separator": network(config).computation(),
        "a separator without residual": network(config | {"instrument_list": names[:-1]}).computation(),
        "the pretrained network that takes a query": network(read_config(pretrained.QUERY / CONFIG)).computation(),
        "the pretrained transcriber": notes.computation(),
        "a compact transcriber": notes.computation(COMPACT),
    }
    for name, (instruments, model) in published.NETWORKS.items():
        for wide, n_bins in (("", published.BINS), (published.WIDE, published.WIDE_BINS)):
            changes = {"instrument_list": instruments, "model": model, "F": n_bins}
            found[f"{published.PREFIX}{name}{wide}"] = network(config | changes).computation()
    return found


def main():
    """Make all of them."""
    for path in litert.FOLDER.glob("*.zip"):
        remove(path)
    for description, computation in computations().items():
        path = litert.write_shipped(computation)
        print(f"{description}: {path.name}, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
