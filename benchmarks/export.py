"""What exported networks take and cost, in every format: size, differences, speed, start, memory.

    python benchmarks/export.py

The pretrained models are exported as notebook 07 does it (muscomp_lib/export/write.py). SavedModel runs on TensorFlow,
and so is what the other formats are to be compared with.
"""

import argparse
import tempfile

import results

from muscomp_lib import export
from muscomp_lib.core.root import open_root
from muscomp_lib.export.formats import FORMATS
from muscomp_lib.models import pretrained

MODELS = {"separator": pretrained.FOLDER, "transcriber": pretrained.TRANSCRIBER}


def main():
    """Measure, print the table, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="of the song that each file is compared with")
    args, rows = parser.parse_args(), []
    with tempfile.TemporaryDirectory() as folder:
        for name, model in MODELS.items():
            settings = export.Settings(model=str(model), formats=list(FORMATS), seconds=args.seconds)
            table = export.write(open_root(folder), settings)
            print(f"\n{name}\n{table.to_string(index=False)}")
            rows += [{"model": name} | row for row in table.to_dict("records")]
    results.write("export", rows, args)


if __name__ == "__main__":
    main()
