"""The two tables of the index, `stems.csv` and `tracks.csv`. Used by notebooks 01, 02 and 03.

Their columns are declared here, with the type of each: text (never missing; `""` for none), whole numbers (`Int64`,
missing as `<NA>`), numbers, and booleans. A table is read as it was written, under every version of pandas.
"""

import csv
import io
import math
from collections import Counter

import pandas as pd

from muscomp_lib.core import instruments, names, remote_io
from muscomp_lib.core.errors import MissingError, SettingError
from muscomp_lib.core.files import write_csv
from muscomp_lib.core.root import required
from muscomp_lib.core.settings import suggestion

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
    "octave": WHOLE,  # by how many octaves it sounds above its notes; missing where unknown (octaves.py)
    "status": TEXT,
    "note": TEXT,
}
ADDED = ("octave",)  # columns that tables of earlier versions lack: missing throughout
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
OMITTED = "omitted"  # Slakh's split of copies
STATUSES = ("ok", "unrendered", "silent", "missing", "unreadable", "known_bad")
_MADE = "Save it as UTF-8 with commas between cells, or run its notebook again."
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


def read(root):
    """Read both tables.

    Returns
    -------
    stems, tracks : pd.DataFrame

    Raises
    ------
    MissingError
        When notebook 01 has not run.
    SettingError
        A cell that cannot be; a track or an instrument whose name is not one, a path out of the data set.
    """
    stems, tracks = (required(path, made_by="Notebook 01") for path in paths(root))
    return (
        read_csv(stems, STEM_COLUMNS, names_in=("track",), paths_in=("audio", "midi")),
        read_csv(tracks, TRACK_COLUMNS, others=WHOLE, names_in=("track",), paths_in=("mix",)),
    )


# ---- reading what people may have changed ----


def read_csv(path, columns, others=None, names_in=(), paths_in=()):
    """Read a table, each column as its type.

    Parameters
    ----------
    path : Path
    columns : dict of str to str
        The type of each.
    others : str, optional
        The type of all further columns, which are instruments; None: there must be none.
    names_in, paths_in : sequence of str
        Columns whose cells are names, and paths that stay inside their folder.

    Returns
    -------
    pd.DataFrame

    Raises
    ------
    SettingError
        Names the file, the line, the column and the cell.
    """
    header, *rows = _cells(path)
    kinds = _kinds(path, header, columns, others)
    table = pd.DataFrame([cells for _, cells in rows], columns=header, dtype="str")
    for check, checked in ((names.check, names_in), (names.check_path, paths_in)):
        for name in checked:
            for number, cell in table[name].drop_duplicates().items():
                check(cell, name, f"{path}, line {rows[number][0]}")
    lines = [line for line, _ in rows]
    typed = {name: _typed(table[name], kind, lines, path) for name, kind in kinds.items()}
    return pd.DataFrame(typed | {name: _blank(columns[name], len(rows)) for name in columns if name not in kinds})


def _blank(kind, n_rows):
    return pd.Series([None] * n_rows, dtype=kind)


def _cells(path):
    """The header's cells, and (line, cells) of each row, without the note and the blanks that spreadsheets add."""
    try:
        text = remote_io.retried(path.read_bytes).decode("utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        if "\0" in text:
            raise SettingError(f"{path} has bytes of 0. It is in UTF-16, or damaged. {_MADE}")
        header, rows = next(reader, []), []
        if header and header[0].lower().startswith("sep="):
            header = next(reader, [])
        width, line = max((n for n, cell in enumerate(header, start=1) if cell), default=0), reader.line_num + 1
        for cells in reader:
            if any(cells) and (len(cells) < width or any(cells[width:])):
                raise SettingError(f"{path}, line {line}: {len(cells)} cells, and {width} columns. {_MADE}")
            rows += [(line, cells[:width])] if any(cells) else []
            line = reader.line_num + 1
    except UnicodeDecodeError as error:
        raise SettingError(f"{path} is not UTF-8 (byte {error.start}). {_MADE}") from error
    except csv.Error as error:
        raise SettingError(f"{path}, line {reader.line_num}: {error}. {_MADE}") from error
    return [header[:width], *rows]


def _kinds(path, header, columns, others):
    """The type of each column, in the order of the file."""
    if absent := [name for name in columns if name not in header and name not in ADDED]:
        raise SettingError(f"{path} has no column {absent[0]!r}. {suggestion(absent[0], header)} {_MADE}")
    further = [name for name in header if name not in columns]
    for name in further:
        names.check(name, "instrument", f"{path}, line 1")
    if (further and others is None) or len(set(header)) < len(header):
        raise SettingError(f"{path} has a column twice, or one too many: {', '.join(header)}. {_MADE}")
    return {name: columns.get(name, others) for name in header}


def _typed(cells, kind, lines, where):
    """A column as its type. Numbers are parsed by Python: pandas may be off by the last bit."""
    convert, words = CELLS[kind]
    found = []
    for line, cell in zip(lines, cells, strict=True):
        try:
            found.append(convert(cell))
        except ValueError as error:
            raise SettingError(f"{where}, line {line}: {cells.name} = {cell!r} is not {words}.") from error
    return pd.Series(found, dtype=kind)


def _whole(cell):
    number = int(cell.removesuffix(".0"))  # pandas writes 34.0 where other rows are blank
    if abs(number) >= 2**63:
        raise ValueError(cell)
    return number


def _finite(cell):
    number = float(cell) if cell else math.nan
    if cell and not math.isfinite(number):
        raise ValueError(cell)
    return number


def _boolean(cell):
    if cell.lower() not in ("true", "false"):  # spreadsheets write TRUE
        raise ValueError(cell)
    return cell.lower() == "true"


CELLS = {  # how a cell of each type is read, and what it must be
    TEXT: (str, "a text"),
    WHOLE: (lambda cell: _whole(cell) if cell else None, "a whole number"),
    "int64": (_whole, "a whole number"),
    NUMBER: (_finite, "a number, such as 3.0"),
    BOOLEAN: (_boolean, "True or False"),
}


def require_usable(root, tracks):
    """Make sure that some track can be used.

    Raises
    ------
    MissingError
        None can; it gives the most frequent reason.
    """
    if (tracks["status"] == "ok").any():
        return
    (note, count), *_ = Counter(tracks["note"]).most_common(1)
    raise MissingError(
        f"None of the {len(tracks)} track(s) in {root.slakh} can be used. The reason for {count} of them: {note}. "
        f"{paths(root)[1].name} lists the reasons for all. Correct or complete the data set, and run notebook 01 again."
    )


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


def octaves(stems):
    """How many stems sound octaves away from their notes, of those that were compared with them (octaves.py).

    Returns
    -------
    pd.DataFrame
        One row per instrument of which a stem was compared: `instrument`, `compared`, `below`, `above`.
    """
    known = stems[stems["octave"].notna()]
    known = known.assign(below=known["octave"] < 0, above=known["octave"] > 0)
    found = known.groupby("instrument").agg(compared=("stem", "size"), below=("below", "sum"), above=("above", "sum"))
    return found.astype(int).reset_index()


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
