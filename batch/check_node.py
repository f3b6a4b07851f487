"""What a job will find on a node: environment, GPUs, the node's own disk, room under the root. For `submit.py check`.

python batch/check_node.py ROOT --gpus 1
"""

import argparse
import os
import platform
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from batch.device import DeviceError, device, require_gpus
from muscomp_lib.core import remote_io
from muscomp_lib.core.progress import size

LEAST_FREE = 20e9  # bytes under the root: prepared songs and models
LEAST_FILES = 20_000  # that may still be made there: the files of the prepared songs


def main(argv=None):
    """Print what there is, and what is amiss; the exit status."""
    parser = argparse.ArgumentParser(prog="batch/check_node.py", description="Check the node that this runs on.")
    parser.add_argument("root", type=Path)
    parser.add_argument("--gpus", type=int, default=0)
    args = parser.parse_args(argv)
    problems = list(check(args.root, args.gpus))
    print(*(f"PROBLEM: {each}" for each in problems), "All is well." if not problems else "", sep="\n")
    return min(1, len(problems))


def check(root, gpus):
    """Print what there is; yield what is amiss."""
    print(f"Python {platform.python_version()}, {sys.executable}; TensorFlow {_version('tensorflow')}")
    print(f"Device: {device()}")
    try:
        require_gpus(gpus)
        print(f"GPUs that networks can use: at least {gpus}")
    except DeviceError as error:
        yield str(error)
    folders = {"temporary files": tempfile.gettempdir(), "copies": os.environ.get(remote_io.CACHE), "the root": root}
    for name, folder in folders.items():
        if folder:
            yield from check_folder(name, Path(folder), is_root=name == "the root")
        else:
            print(f"No folder for {name}.")


def _version(package):
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # perhaps it is, under another name: whether networks run is tested apart
        return "not installed"


def check_folder(name, folder, is_root=False):
    """Print how much fits into a folder; yield what is amiss."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"1")
    except OSError as error:
        yield f"{folder}, for {name}, cannot be written to ({error.strerror or error})."
        return
    found = os.statvfs(folder)
    free, files = found.f_bavail * found.f_frsize, found.f_favail or None  # some file systems count no files
    print(f"For {name}: {folder}, {size(free)} free, room for {files if files else 'any number of'} files")
    if is_root and free < LEAST_FREE:
        yield f"Only {size(free)} are free under {folder}; a campaign on Slakh2100 takes {size(LEAST_FREE)} and more."
    if is_root and files and files < LEAST_FILES:
        yield f"Only {files} more files can be made under {folder}, and a campaign makes some {LEAST_FILES}."


if __name__ == "__main__":
    sys.exit(main())
