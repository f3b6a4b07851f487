"""Music to tell composers by: folders of scores, music21's corpus, and the OpenScore corpora by name. Used by 08.

In a folder, the first level is the composer and the next, if it is a folder, the work: movements of a quartet or songs
of a cycle stay together when the music is split. MAESTRO's folders are years: its table has composers and titles, of
which several people play one. OpenScore's scores (CC0, github.com/OpenScore) are fetched from a
commit, one by one, as far as they are wanted; `openscore.csv` lists them with their checksums.
"""

import csv
import logging
import os
import re
from pathlib import Path

import pandas as pd

from muscomp_lib.core import names, provenance
from muscomp_lib.core.errors import MissingError, SettingError
from muscomp_lib.core.files import absolute, cache_folder, files_below, written_whole
from muscomp_lib.core.parallel import evenly_spaced
from muscomp_lib.core.progress import bar
from muscomp_lib.core.settings import suggestion
from muscomp_lib.music_files import SUFFIXES, score_file

MUSIC21, LIEDER, QUARTETS = "music21", "lieder", "quartets"
REPOSITORIES = {  # of the corpora that are fetched: repository and commit
    LIEDER: "OpenScore/Lieder/bca122458de6da362abe62dd6aec62e25d7759b1",
    QUARTETS: "OpenScore/StringQuartets/2c723a5b7b4ea5420826116dfa912956c6a022c2",
}
HOST = {"GITHUB_RAW_HOST": "https://raw.githubusercontent.com"}
INDEX = Path(__file__).with_name("openscore.csv")  # corpus, path within `scores/`, checksum
TIMEOUT = (10, 60)  # seconds, to connect and between two blocks
DEFAULTS = {  # composers to tell apart, and those that stay unknown
    MUSIC21: (["bach", "beethoven", "monteverdi", "mozart", "palestrina"], ["haydn", "schumann_robert", "trecento"]),
    LIEDER: (
        [
            "Brahms, Johannes",
            "Hensel, Fanny",
            "Kinkel, Johanna",
            "Lang, Josephine",
            "Schubert, Franz",
            "Schumann, Robert",
        ],
        ["Chaminade", "Cornelius", "Faisst", "Franz, Robert", "Reichardt, Louise", "Wolf"],
    ),
    QUARTETS: (
        ["Haydn, Joseph", "Mozart, Wolfgang", "Beethoven, Ludwig"],
        ["Mayer", "Mendelssohn, Felix", "Saint-Georges"],
    ),
}
LARGEST = 130_000  # bytes, of music21's scores: a whole quartet in one file takes a minute to read
SINGLE = "_"  # OpenScore's folder of songs that belong to no cycle
OF_PROGRAMS = (
    *(".mscz", ".mscx", ".musx", ".mus", ".sib", ".dorico", ".enc", ".nwc", ".cap", ".capx"),
    *(".gp3", ".gp4", ".gp5", ".gpx", ".gp", ".ly", ".abc", ".mei"),
)
NO_COMPOSERS = {  # nor works: what folders are called for other reasons
    *(name for partition in names.PARTITIONS.values() for name in partition),
    *("data", "dataset", "music", "scores", "mid", "midi", "midis", "kern", "krn", "mxl", "xml", "musicxml"),
}
MAESTRO = ("midi_filename", "canonical_composer", "canonical_title")  # columns of its table
VERSION = re.compile(r"\.\d+$| ?\(\d+\)$")  # of a piece, behind its name: "Help!.1.mid" in Lakh's set, "Help! (1).mid"
WORK = {"bach": r"^bwv\d+", "palestrina": r"\d+"}  # in music21's file names: a cantata or a passion, a mass

log = logging.getLogger(__name__)


def files(corpus=MUSIC21, composers=None, unknown=None, pieces_per_composer=None):
    """The pieces of some composers, by name; of a corpus that is fetched, also the files.

    Parameters
    ----------
    corpus : str or Path
        "music21", "lieder", "quartets", or a folder with one of `<composer>/<piece>.mid` or `<composer>/<work>/...`, or
        MAESTRO's.
    composers, unknown : list of str, optional
        Those to tell apart, and those whom no answer fits. A part of a name is enough. None: the corpus' defaults; of a
        folder, all of its composers, and none; in both cases without those that the other one names.
    pieces_per_composer : int, optional
        At most, spread evenly over each composer's files.

    Returns
    -------
    pd.DataFrame
        Columns `composer`, `known`, `work`, `piece`, `path`.

    Raises
    ------
    MissingError
        No such folder, or no music in it; the corpus is not here and cannot be fetched.
    SettingError
        An unknown composer; one who is to be known and unknown; fewer than two to tell apart; folders whose names are
        no composers'.
    """
    titles = _maestro(corpus)
    listed = _listed(corpus, titles)
    wanted, others = DEFAULTS.get(str(corpus), (sorted(listed), []))
    known = [_find(name, listed, corpus) for name in (wanted if composers is None else composers)]
    strange = [_find(name, listed, corpus) for name in (others if unknown is None else unknown)]
    known, strange = (  # what is named counts, and not the default that it is in, too
        [name for name in ours if given is not None or name not in theirs]
        for given, ours, theirs in ((composers, known, strange), (unknown, strange, known))
    )
    _check(known, strange)
    if composers is None and str(corpus) not in DEFAULTS:
        _check_are_composers(known, corpus)
    rows = []
    for name in dict.fromkeys([*known, *strange]):
        stems = {Path(piece).stem for piece in listed[name]}
        for piece in evenly_spaced(listed[name], pieces_per_composer):
            work = titles[piece][1] if piece in titles else _work(corpus, name, piece, stems)
            rows.append((_title(name), name in known, f"{_title(name)}/{work}", piece))
    table = pd.DataFrame(rows, columns=["composer", "known", "work", "piece"])
    return table.assign(path=_paths(corpus, list(table["piece"])))


def _maestro(corpus):
    """{piece: (composer, title)} by MAESTRO's table; of other folders, nothing."""
    for table in () if str(corpus) in DEFAULTS else sorted(_folder(corpus).glob("maestro*.csv")):
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if set(MAESTRO) <= set(rows.fieldnames or ()):
                return {piece: its for piece, *its in ([row[name] for name in MAESTRO] for row in rows)}
    return {}


def _listed(corpus, titles):
    """The pieces of each composer, as paths within the corpus: {composer: list of str}. `titles` as from `_maestro`."""
    if str(corpus) in REPOSITORIES:
        pieces = [row["path"] for row in _index(corpus)]
    else:
        folder = _folder(corpus)
        found = files_below(folder, SUFFIXES)
        if str(corpus) == MUSIC21:
            found = [path for path in found if path.stat().st_size <= LARGEST]
        else:
            _warn_of_others(folder, found)
        encoded = {path.with_suffix(""): path for path in reversed(found)}  # one of several files of the same piece
        pieces = [path.relative_to(folder).as_posix() for path in sorted(encoded.values())]
    if titles:
        composers = {piece: titles[piece][0] for piece in pieces if piece in titles}
    else:
        composers = {piece: piece.split("/")[0] for piece in pieces if "/" in piece}
    loose = [piece for piece in pieces if "/" not in piece and not titles]
    if loose and str(corpus) not in DEFAULTS:
        log.warning(
            "%d file(s) directly in %s, such as %s, belong to no composer and are left out. Move them into a folder "
            "for each composer.", len(loose), corpus, loose[0],
        )  # fmt: skip
    listed = {}
    for piece, composer in composers.items():
        listed.setdefault(composer, []).append(piece)
    if not listed:
        raise MissingError(
            f"There is no folder with music in {corpus}. It must hold one for each composer, with files that end in "
            f"{', '.join(SUFFIXES)}."
        )
    return listed


def _warn_of_others(folder, found):
    """Name the scores that only their own program reads, and that are not there in another format, too."""
    here = {path.with_suffix("") for path in found}
    others = [path for path in files_below(folder, OF_PROGRAMS) if path.with_suffix("") not in here]
    if others:
        log.warning(
            "%d score(s) in %s are not read, such as %s. Export them as MusicXML or MIDI in their program: files that "
            "end in %s are.", len(others), folder, others[0].relative_to(folder), ", ".join(SUFFIXES),
        )  # fmt: skip


def _folder(corpus):
    if str(corpus) == MUSIC21:
        return score_file.corpus_folder()
    folder = absolute(corpus, "corpus: ")
    if not folder.is_dir():
        raise MissingError(
            f"corpus = {str(corpus)!r} is not a folder. {suggestion(corpus, DEFAULTS)} Or give a folder."
        )
    return folder


def _title(name):
    return name.replace("_", " ")


def _plain(name):
    """A title without case and accents, which disks store in several forms: Dvořák is found as Dvorak, too."""
    return names.without_accents(_title(name)).casefold()


def _find(name, listed, corpus):
    """The composer that a name, or a part of one, means."""
    asked = _plain(str(name))
    titles = {folder: _plain(folder) for folder in listed}
    found = [folder for folder, title in titles.items() if title == asked]
    found = found or [folder for folder, title in titles.items() if asked in title]
    if len(found) == 1:
        return found[0]
    if found:
        matches = "; ".join(map(_title, found))
        raise SettingError(f"{name!r} matches several composers of {corpus}: {matches}. Give the full name of one.")
    inside = [piece for pieces in listed.values() for piece in pieces if asked in map(_plain, piece.split("/")[1:-1])]
    where = f"It is in {inside[0].split('/')[0]}: give the folder that it lies directly in. " if inside else ""
    raise SettingError(f"There is no composer {name!r} in {corpus}. {where}{suggestion(name, map(_title, listed))}")


def _check(known, strange):
    both = set(known) & set(strange)
    if both:
        raise SettingError(f"{_title(min(both))} cannot be both in composers and in unknown. Leave one of them out.")
    if len(set(known)) < 2:
        held = f"only {_title(known[0])!r}" if known else "nobody"
        raise SettingError(
            f"composers holds {held}: there is nobody to tell apart. Name two composers at least; "
            "in a folder of your own, each folder directly in it is one."
        )


def _check_are_composers(found, corpus):
    """Refuse to tell years, partitions and formats apart: a network learns these well, and nothing of composers."""
    wrong = [name for name in found if name.isdecimal() or name.casefold() in NO_COMPOSERS]
    if wrong:
        raise SettingError(
            f"The folder {wrong[0]!r} in {corpus} is no composer's, by its name. Sort the files into a folder for each "
            "composer, or set composers to the folders that are."
        )


def _work(corpus, composer, piece, stems):
    """The work that a piece belongs to; `stems` are the names of all files of its composer."""
    *folders, name = piece.split("/")[1:]
    parts = [*(folder for folder in folders if folder.casefold() not in NO_COMPOSERS), name]
    if len(parts) > 1:
        return parts[0] if parts[0] != SINGLE else "/".join(parts[1:2])
    stem = Path(parts[0]).stem
    if (first := VERSION.sub("", stem)) in stems:
        return first
    found = re.search(WORK[composer], stem) if str(corpus) == MUSIC21 and composer in WORK else None
    return found[0] if found else stem


# ---- fetching ----


def _index(corpus):
    with INDEX.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["corpus"] == str(corpus)]


def _paths(corpus, pieces):
    """Where the pieces are; those of a corpus that is fetched are, as far as they are not here."""
    if str(corpus) not in REPOSITORIES:
        return [_folder(corpus) / piece for piece in pieces]
    place = cache_folder() / "composers" / str(corpus)
    checksums = {row["path"]: row["checksum"] for row in _index(corpus)}
    missing = [piece for piece in pieces if not _is_here(place / piece, checksums[piece])]
    if missing:
        _fetch(str(corpus), place, {piece: checksums[piece] for piece in missing})
    return [place / piece for piece in pieces]


def _is_here(path, checksum):
    return path.is_file() and provenance.checksum(path) == checksum


def _fetch(corpus, place, checksums):
    """Fetch files of a corpus; what has arrived is kept when the network fails."""
    import requests  # it takes long to import, and is needed once

    host = os.environ.get("GITHUB_RAW_HOST", HOST["GITHUB_RAW_HOST"])
    with requests.Session() as session, bar(total=len(checksums), desc=f"fetching {corpus}") as counted:
        for piece, checksum in checksums.items():
            url = f"{host}/{REPOSITORIES[corpus]}/scores/{requests.utils.quote(piece)}"
            try:
                response = session.get(url, timeout=TIMEOUT)
                response.raise_for_status()
            except requests.RequestException as error:
                raise MissingError(_unreachable(corpus, error)) from error
            with written_whole(place / piece) as part:
                part.write_bytes(response.content)
                if provenance.checksum(part) != checksum:
                    raise SettingError(f"{url} is damaged or not the file that is listed. Run this again.")
            counted.update()


def _unreachable(corpus, error):
    repository = REPOSITORIES[corpus].rpartition("/")[0]
    return (
        f"{corpus} is not here and cannot be fetched ({' '.join(str(error).split())}). Run this again where there is a "
        f"network; what has arrived is kept. Or clone {repository} from github.com: its folder scores/ is a corpus."
    )
