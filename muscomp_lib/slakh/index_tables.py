"""The two tables of the index, `stems.csv` and `tracks.csv`. Used by notebooks 01, 02 and 03.

Their columns are declared here, with the type of each: text (never missing; `""` for none), whole numbers (`Int64`,
missing as `<NA>`), numbers, and booleans. A table is read as it was written, under every version of pandas.
"""

import pandas as pd

from muscomp_lib.core import instruments
from muscomp_lib.core.files import written_whole
from muscomp_lib.core.root import required

TEXT, WHOLE, NUMBER, BOOLEAN = "str", "Int64", "float64", "bool"
STEM_COLUMNS = {
    "track": TEXT,
    "split": TEXT,  # Slakh's own folder; "" where there are none
    "stem": TEXT,
    "instrument": TEXT,  # "" when outside the taxonomy
    "program_num": WHOLE,
    "midi_program_name": TEXT,
    "inst_class": TEXT,
    "plugin_name": TEXT,
    "is_drum": BOOLEAN,
    "audio": TEXT,  # relative to slakh/, as is midi
    "midi": TEXT,
    "sample_rate": WHOLE,  # Hz
    "channels": WHOLE,
    "frames": WHOLE,  # samples per channel
    "status": TEXT,
    "note": TEXT,
}
TRACK_COLUMNS = {
    "track": TEXT,
    "split": TEXT,
    "uuid": TEXT,  # equal for two tracks of the same song
    "partition": TEXT,  # "" until notebook 02 has drawn it
    "mix": TEXT,  # relative to slakh/
    "frames": WHOLE,
    "duration": NUMBER,  # seconds
    "status": TEXT,
    "note": TEXT,
}  # and then one column per instrument: its number of ok stems
STATUSES = ("ok", "unrendered", "silent", "missing", "unreadable", "known_bad")
NO_PATCH = ("", "None")  # as `plugin_name`: unknown, and Slakh's word for a stem that was not rendered


def paths(root):
    """The paths of the tables of stems and of tracks."""
    return root.tables / "stems.csv", root.tables / "tracks.csv"


def write(root, stems, tracks):
    """Write both tables; the same tables give the same bytes.

    Parameters
    ----------
    root : Root
    stems, tracks : pd.DataFrame
        With the columns above.
    """
    for path, table in zip(paths(root), (stems, tracks), strict=True):
        write_csv(path, table)


def write_csv(path, table):
    """Write a table as CSV, without its index; a partly written file never appears under its name."""
    with written_whole(path) as part:
        table.to_csv(part, index=False, lineterminator="\n", encoding="utf-8")


def read(root):
    """Read both tables.

    Returns
    -------
    stems, tracks : pd.DataFrame

    Raises
    ------
    MissingError
        When notebook 01 has not run.
    """
    stems, tracks = (required(path, made_by="Notebook 01") for path in paths(root))
    return _read(stems, STEM_COLUMNS), _read(tracks, TRACK_COLUMNS)


def _read(path, columns):
    counts = {name: WHOLE for name in pd.read_csv(path, nrows=0, encoding="utf-8") if name not in columns}
    kinds = {**columns, **counts}
    blank = {name: [""] for name, kind in kinds.items() if kind in (WHOLE, NUMBER)}
    # "None" is a plugin's name in Slakh and "NA" may be anyone's: only an empty cell of a number column is missing.
    return pd.read_csv(path, dtype=kinds, keep_default_na=False, na_values=blank, encoding="utf-8")


def coverage(stems, tracks, taxonomy=instruments.DEFAULT_TAXONOMY):
    """How much audio there is of each instrument, counting stems with status ok.

    Returns
    -------
    pd.DataFrame
        One row per instrument and a last one, `other`, for all others: `instrument`, `stems`, `tracks` (that have it),
        `share` (of all tracks, 0 to 1), `hours`.
    """
    ok = _usable(stems)
    ok = ok.assign(instrument=ok["instrument"].replace("", instruments.OTHER))
    found = ok.groupby("instrument").agg(stems=("stem", "size"), tracks=("track", "nunique"), hours=("hours", "sum"))
    found = found.reindex([*instruments.names(taxonomy), instruments.OTHER])
    found = found.fillna(0).astype({"stems": int, "tracks": int})
    found.insert(2, "share", found["tracks"] / max(len(tracks), 1))
    return found.rename_axis("instrument").reset_index()


def _usable(stems):
    """The stems with status ok, with their `hours`."""
    ok = stems[stems["status"] == "ok"]
    return ok.assign(hours=(ok["frames"] / ok["sample_rate"] / 3600).astype(float))


def taxonomies(stems):
    """How much each taxonomy would cover, whichever of them the index was made with, counting stems with status ok.

    Parameters
    ----------
    stems : pd.DataFrame

    Returns
    -------
    pd.DataFrame
        One row per taxonomy and instrument, in the order of instruments.yaml: `taxonomy`, `instrument`, `stems`,
        `tracks` (that have it), `hours`.
    """
    ok = _usable(stems)
    rows = []
    for taxonomy in instruments.taxonomies():
        for name, instrument in instruments.load(taxonomy).items():
            its = ok[ok["program_num"].isin(instrument.programs)]
            amounts = {"stems": len(its), "tracks": its["track"].nunique(), "hours": float(its["hours"].sum())}
            rows.append({"taxonomy": taxonomy, "instrument": name, **amounts})
    return pd.DataFrame(rows)


def shared_patches(stems, taxonomy=instruments.DEFAULT_TAXONOMY):
    """Which instruments share their patches with other programs.

    A patch is one sound of a software instrument, Slakh's `plugin_name`. A network learns patches, not names: the
    smaller a name's share of its patches, the harder it is to distinguish from its neighbours.

    Parameters
    ----------
    stems : pd.DataFrame
    taxonomy : str

    Returns
    -------
    pd.DataFrame
        One row per instrument: `instrument`, `stems` (with status ok), `patches` they are rendered with, `shared` (how
        many of these also play programs outside the instrument), `share` (of all stems rendered with these patches, 0
        to 1; missing without stems), and `also` (the General MIDI names of those programs, the most frequent first).
    """
    ok = stems[(stems["status"] == "ok") & ~stems["plugin_name"].isin(NO_PATCH)]
    return pd.DataFrame([_patches_of(instrument, ok) for instrument in instruments.load(taxonomy).values()])


def _patches_of(instrument, ok):
    """One row of `shared_patches`."""
    inside = ok["program_num"].isin(instrument.programs)
    patches = set(ok.loc[inside, "plugin_name"])
    foreign = ok[~inside & ok["plugin_name"].isin(patches)]
    total = int(inside.sum()) + len(foreign)
    return {
        "instrument": instrument.name,
        "stems": int(inside.sum()),
        "patches": len(patches),
        "shared": foreign["plugin_name"].nunique(),
        "share": inside.sum() / total if total else float("nan"),
        "also": ", ".join(foreign["midi_program_name"].value_counts().index),
    }
