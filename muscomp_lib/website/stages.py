"""What is done with one song of the website: it is separated, prepared for the mixer, and transcribed, in this order.

Stems are in the mixer before their notes are there. What a worker that was killed has finished is not done again.
"""

from muscomp_lib import audio, transcription
from muscomp_lib.core.errors import AudioError
from muscomp_lib.core.progress import UndrawnBar
from muscomp_lib.models import pretrained
from muscomp_lib.notebook.mixer import Mixer
from muscomp_lib.separation import Separator, folder, songs
from muscomp_lib.transcription import choice
from muscomp_lib.transcription.note_decoder import Transcriber

# What the bars of each part of the work are called, what the page says, and its share of the time (measured on a song
# of a minute, 13 stems).
OPENING, LOADING, ENCODING, SCORE = "opening", "fetching", "encoding", "engraving"
PARTS = {
    OPENING: ("Opening the song", 0.3),
    LOADING: ("Loading the model", 0.3),
    "separating": ("Separating the instruments", 5.3),
    ENCODING: ("Preparing the mixer", 7.9),
    "measuring levels": ("Finding out who plays", 2.0),
    "transcribing": ("Writing down the notes", 11.0),
    SCORE: ("Writing the score", 2.0),
}
KEYS = ["C", "D♭", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B"]  # major
MINOR_KEYS = ["C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "G♯", "A", "B♭", "B"]


class StopError(Exception):
    """The song was deleted, or another worker has it."""


class Progress:
    """How far a song is: `stage` in words, `share` of the work that is done, and the `facts` about it so far.

    `bar` is called like tqdm. Once `stopped`, the next step raises StopError.
    """

    def __init__(self):
        self.stage, self.share, self.facts, self.stopped = "", 0.0, {}, False

    def begin(self, part, within=0.0):
        """Note that a part of the work has begun, or is partly done."""
        if self.stopped:
            raise StopError
        if part in PARTS:
            before = list(PARTS)[: list(PARTS).index(part)]
            done = sum(PARTS[name][1] for name in before) + within * PARTS[part][1]
            self.share = done / sum(weight for _, weight in PARTS.values())
        self.stage = PARTS.get(part, PARTS[LOADING])[0]

    def bar(self, *args, **options):
        """A bar like tqdm's."""
        return _Bar(*args, **options, progress=self)


class _Bar(UndrawnBar):
    def __init__(self, *args, progress, **options):
        self._progress = progress
        super().__init__(*args, **{**options, "disable": False, "mininterval": 0.2})

    def __iter__(self):
        for number, item in enumerate(super().__iter__()):
            self._show(number)  # tqdm itself counts only so often
            yield item

    def update(self, n=1):
        super().update(n)
        self._show(self.n)

    def _show(self, number):
        self._progress.begin(self.desc, min(1.0, number / self.total) if self.total else 0.0)


class Models:
    """The models of a worker: the one that was used last stays loaded.

    Parameters
    ----------
    root : core.root.Root
        With the user's own.
    """

    def __init__(self, root):
        self._root, self._name, self._separator, self.transcriber = root, None, None, None

    def load(self, name, progress):
        """The model of this name, a Separator; the transcriber is loaded with the first."""
        if name != self._name:
            self._separator = Separator(pretrained.model_path(name, self._root, progress))
            self._name = name
        if self.transcriber is None:
            self.transcriber = Transcriber(pretrained.transcriber_path(None, self._root))
        return self._separator


def work(entry, place, models, max_minutes, progress):
    """Do all that is to be done with a song.

    Parameters
    ----------
    entry : queue.Entry
    place : songs.SongFolder
    models : Models
    max_minutes : float
        Of the song.
    progress : Progress

    Raises
    ------
    MusCompError
        The song cannot be read, or is too long; a file cannot be written.
    StopError
    """
    options = entry.options
    progress.begin(OPENING)
    check_length(place.upload, max_minutes, options["seconds"])
    progress.begin(LOADING)
    separator = models.load(options["model"], progress.bar)
    folder.separate_all(
        separator, [place.upload], place.separated, _outputs(options, separator), seconds=options["seconds"],
        progress=limited(progress, max_minutes, separator.config),
    )  # fmt: skip
    files = folder.files_of(place.stems)
    _prepare_mixer(entry, place, files, progress)
    how = transcription.Settings.of_model(separator.config)
    folder.write_notes(place.stems, how, models.transcriber, progress=progress.bar)
    midi = folder.midi_of(place.stems)
    progress.facts |= _facts_of(midi, how.choose(files)[0])
    if midi is not None:
        place.write_desk(_mixer(entry, place, files, midi, progress.facts["absent"]).description())
        progress.facts["notes"] = True
        progress.begin(SCORE)
        transcription.write_score(midi, folder.named_file(place.stems, folder.SCORE), entry.title)


def check_length(path, max_minutes, excerpt=None):
    """Refuse a song that is too long by its header, unless only an excerpt of so many seconds is wanted; AudioError."""
    seconds = audio.info(path).duration
    if min(seconds, excerpt or seconds) > 60 * max_minutes:
        raise AudioError(
            f"This song lasts {seconds / 60:.0f} minutes, and {max_minutes:g} are the most. Shorten it, or choose a "
            "minute from its middle."
        )


def limited(progress, max_minutes, config):
    """Bars that end the work on a song longer than `max_minutes`, whatever its header promised.

    Each step of a separation is one segment, or more.
    """
    segment = config["T"] * config["frame_step"] / config["sample_rate"]  # seconds
    most = 60 * max_minutes / segment + 2  # the last step, and silence behind it

    class Limited(_Bar):
        steps = 0

        def update(self, n=1):
            self.steps += 1
            if self.steps > most:
                raise AudioError(
                    f"This song is longer than its header says, and than {max_minutes:g} minutes. Shorten it."
                )
            super().update(n)

    return lambda *args, **options: Limited(*args, **options, progress=progress)


def _outputs(options, separator):
    """The files to write: those to keep, and the rest in one; None for all, also where the rest is one instrument."""
    keep = options["keep"]
    return None if not keep or len(keep) >= len(separator.instruments) - 1 else [*keep, "rest"]


def _mixer(entry, place, files, midi=None, absent=()):
    seconds = entry.options["seconds"]
    start = songs.excerpt_start(place.upload, seconds)
    sample_rate = audio.info(next(iter(files.values()))).sample_rate
    return Mixer(files, sample_rate, midi, place.upload, entry.title, start, absent)


def _prepare_mixer(entry, place, files, progress):
    """Write the pieces of sound that the mixer plays; those that are there are kept."""
    mixer = _mixer(entry, place, files)
    description = mixer.description()
    progress.facts |= {"stems": list(files), "seconds": description["frames"] / description["rate"], "desk": True}
    place.write_desk(description)
    progress.facts["pieces"] = place.n_pieces()
    missing = range(progress.facts["pieces"], mixer.n_pieces)
    for number, piece in progress.bar(mixer.pieces(missing), desc=ENCODING, total=len(missing)):
        place.write_piece(number, piece)
        progress.facts["pieces"] = number + 1


def _facts_of(midi, known):
    """What the page says of a song: tempo, key, and which instruments it probably does not have."""
    facts = {"absent": choice.absent(known, midi)}
    if len(facts["absent"]) == len(known):
        return facts
    keys = [key_name(change.key_number) for change in midi.key_signature_changes[:1]]
    return facts | {"tempo": round(transcription.tempo(midi)), "key": next(iter(keys), None)}


def key_name(number):
    """A key in pretty_midi's numbering, in words: "D♭ major"."""
    return f"{KEYS[number]} major" if number < 12 else f"{MINOR_KEYS[number - 12]} minor"
