"""Which of a song's files are transcribed, as which instruments, and why the others are not. Used by notebook 05.

Models name what they separate as they like: `Drums`, `drums`, `accompaniment`. A file is transcribed if its name means
an instrument (`core/instruments.find`), and one only.
"""

from muscomp_lib.core import instruments
from muscomp_lib.core.instruments import OTHER, PLUS, UNNAMED

NOTHING = "it is silent, or too soft to be more than bleed, or no notes were found"
COLUMNS = ["file", "transcribed as", "notes", "why not"]


def transcribable(names, taxonomy=instruments.DEFAULT_TAXONOMY, made_of=None):
    """Which files are transcribed.

    Parameters
    ----------
    names : iterable of str
        Of the files: instruments, sums such as `Drums+Violin`, whatever a model separates.
    taxonomy : str
        Where names are looked up first.
    made_of : dict of str to list of str, optional
        The instruments that a model's target is made of, where it is not named like the only one.

    Returns
    -------
    known : dict of str to Instrument
        What each of these is transcribed as; those of the taxonomy first, in its order.
    reasons : dict of str to str
        Why each of the others is not.
    """
    known, reasons = {}, {}
    for name in names:
        parts = (made_of or {}).get(name, [name])
        instrument = instruments.find(parts[0], taxonomy) if len(parts) == 1 else None
        if instrument:
            known[name] = instrument
        else:
            reasons[name] = _reason(name, parts)
    order = instruments.names(taxonomy)
    places = {name: order.index(i.name) if i.name in order else len(order) for name, i in known.items()}
    return {name: known[name] for name in sorted(known, key=places.get)}, reasons


def _reason(name, parts):
    if len(parts) > 1:
        return f"it is the sum of {', '.join(parts)}"
    if name.lower() == OTHER:
        return "it is what the other files leave of the song"
    if name.lower() in UNNAMED or PLUS in name:
        return "it is a sum of instruments"
    return f"{instruments.TAXONOMY_FILE.name} has no instrument of this name"


def table(known, reasons, midi=None):
    """What became of each file: pd.DataFrame with COLUMNS, one row per file.

    Parameters
    ----------
    known, reasons
        As from `transcribable`.
    midi : pretty_midi.PrettyMIDI, optional
        The transcription; without it, there are zero notes.
    """
    import pandas as pd  # half a second, which transcribing does not need

    counts = {track.name: len(track.notes) for track in midi.instruments} if midi else {}
    rows = [
        (name, instrument.name, counts.get(name, 0), "" if name in counts else NOTHING)
        for name, instrument in known.items()
    ]
    rows += [(name, "", 0, reason) for name, reason in reasons.items()]
    return pd.DataFrame(rows, columns=COLUMNS)


def absent(known, midi=None):
    """Which of the files that can be transcribed are probably not in the song, as they have no notes: list of str."""
    played = {track.name for track in midi.instruments if track.notes} if midi else set()
    return [name for name in known if name not in played]


def sentence(reasons, midi=None):
    """The same in words: how many notes there are, and of which files there are none, and why."""
    n_notes = sum(len(track.notes) for track in midi.instruments) if midi else 0
    found = f"{n_notes} note{'s' * (n_notes != 1)}" if midi else "no notes, and so no MIDI file"
    by_reason = {reason: [n for n in reasons if reasons[n] == reason] for reason in reasons.values()}
    left = "; ".join(f"{', '.join(names)} ({reason})" for reason, names in by_reason.items())
    return f"{found}. Not transcribed: {left}" if left else found
