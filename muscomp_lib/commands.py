"""What the command `muscomp` does, once its options are read (cli.py). Each function here is a command.

It takes the options as an argparse.Namespace, prints a line for each result, and returns whether all went well. Errors
of the usage are raised before any work.
"""

import logging
import os
import sys
import textwrap
from functools import partial
from pathlib import Path

from muscomp_lib import transcription
from muscomp_lib.core import instruments, progress
from muscomp_lib.core.errors import MidiError, MissingError, SettingError
from muscomp_lib.core.files import absolute, expanded
from muscomp_lib.core.root import Root, open_root
from muscomp_lib.dataset import stem_names
from muscomp_lib.models import pretrained
from muscomp_lib.separation import Separator, Settings, available, folder, songs, targets
from muscomp_lib.transcription import choice
from muscomp_lib.transcription.note_decoder import Transcriber

SEPARATED = "separated"  # where songs go, in the current folder
FINE_TUNING = {"name": "own", "learning_rate": 2e-4, "train_max_steps": 400}  # a tenth of the usual learning rate


def separate(args):
    """Separate songs, each into a folder of its own, and write their notes there."""
    settings, root, bar = _settings(args), _root(args), partial(progress.bar, leave=False)
    chosen = list(dict.fromkeys(path for song in args.songs for path in songs.choose(song, root)))
    like = None if args.like is None else expanded(args.like, "--like: ")
    model = None if like and settings.model == pretrained.NAME else pretrained.model_path(settings.model, root)
    separator = Separator(model, settings.engine, like)
    if separator.takes_query and not like:
        raise SettingError(
            f"--model {settings.model} separates what it is asked for: give a recording of it with --like."
        )
    targets.plan(separator.instruments, settings.outputs, settings.exact)
    then = _report if args.no_midi or like else _notes_writer(separator, settings, root, bar)
    made = folder.separate_all(
        separator, chosen, settings.out or SEPARATED, settings.outputs, settings.file_format, settings.exact,
        settings.seconds, bar, then,
    )  # fmt: skip
    n_failed = sum(song.status == "failed" for song in made)
    if n_failed:
        print(f"{n_failed} of {len(made)} songs failed.", file=sys.stderr)
    return not n_failed


def transcribe(args):
    """Transcribe a recording of an instrument, or a folder of them, into one MIDI file."""
    settings, root, path = _settings(args), _root(args), expanded(args.path)
    how = transcription.Settings.of_model(folder.config_of(path), settings.taxonomy, settings.quantise)
    transcriber = Transcriber(pretrained.transcriber_path(settings.notes_model, root))
    stems = _stems(path, args.instrument, root)
    reasons = _check_transcribable(path, stems, how)
    out = _midi_file(path, args.out)
    midi = transcription.transcribe(stems, None, how, transcriber)
    transcription.write(midi, out)
    if settings.score:
        transcription.write_score(midi, out.with_suffix(folder.SCORE), out.stem)
    progress.line(f"{out}: {choice.sentence(reasons, midi)}.")
    return True


def train(args):
    """Train a model on a folder of songs with their stems: what notebooks 03 and 04 do."""
    from muscomp_lib import tables, training
    from muscomp_lib.dataset import own_stems, stem_folders

    given = _given(args, tables.Settings)
    stems = stem_folders.find(args.stems, given.get("stem_names"))
    wanted = [name.strip() for name in given.get("instruments", "").split(",") if name.strip()]
    usual = FINE_TUNING | ({"learning_rate": 2e-3} if args.from_scratch else {})
    settings = tables.Settings(**(usual | given | {"instruments": stems.instruments(wanted)}))
    root = open_root(None if args.root is None else expanded(args.root, "--root: "))
    progress.line(own_stems.overview(stems, settings.instrument_names))
    prepared = own_stems.prepare(root, stems, settings)
    for song in prepared[prepared["note"] != ""].itertuples():
        progress.line(f"{song.track} is left out: {song.note}.")
    tables.write(root, settings)
    start_from = None if args.from_scratch else pretrained.NAME
    model = training.train(tables.config(root, settings), root, start_from=start_from)
    progress.line(f"{model} is trained. To use it: muscomp separate song.mp3 --model {model}")
    return True


def export(args):
    """Export a model: what notebook 07 does."""
    from muscomp_lib import export as exporting

    settings = exporting.Settings(**_given(args, exporting.Settings))
    table = exporting.write(_root(args), settings, partial(progress.bar, leave=False))
    for row in table.itertuples():
        progress.line(f"{row.format}: {row.note or f'{row.megabytes:.1f} MB, {row.status}'}.")
    progress.line(f"Written to {settings.folder(_root(args))}; README.md there explains the files.")
    return not (table["status"] == "refused").any()


def composer(args):
    """Find the composers of scores: what notebook 08 does with a piece of one's own."""
    from muscomp_lib.composers import Recognizer

    named = _root(args).models / args.model  # a folder stays one: joined to an absolute path, the root is left out
    given = absolute(args.model, "--model: ")
    model, n_failed = Recognizer(given if given.is_dir() and not named.is_dir() else named), 0
    for file in args.files:
        try:
            answer = model.recognize(file)
        except (MidiError, MissingError, SettingError) as error:
            print(error, file=sys.stderr)
            n_failed += 1
            continue
        far = ", ".join(f"{row.composer} {row.distance:.2f}" for row in answer.composers.itertuples())
        near = "; ".join(f"{row.piece} {row.distance:.2f}" for row in answer.nearest.head(3).itertuples())
        progress.line(f"{file}: {answer.name}. Distances: {far}; threshold {model.threshold:.2f}. Nearest: {near}.")
    return not n_failed


def models(args):
    """List the models that can be chosen by name."""
    for model in available.models(_root(args)):
        licence = f"; licence {model.licence}" if model.licence else ""
        print(f"{model.name}: makes {model.makes}; {model.where}{licence}")
        print(textwrap.fill(", ".join(model.instruments), 100, initial_indent="    ", subsequent_indent="    "))
    return True


def serve(args):
    """Run the website until it is stopped."""
    from muscomp_lib.website import site
    from muscomp_lib.website.settings import Settings as SiteSettings

    settings = SiteSettings(**_given(args, SiteSettings))
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING, force=True)
    workers = f"{settings.n_workers} worker{'s' * (settings.n_workers != 1)}"
    if settings.only_workers:
        site.work(settings, _root(args), partial(_announce, f"{workers} for the site in ", "; Ctrl-C stops."))
    else:
        site.serve(settings, _root(args), partial(_announce, "Open ", f" ({workers}); Ctrl-C stops it."))
    return True


def _announce(before, after, what):
    print(f"{before}{what}{after}", flush=True)


def _settings(args):
    """The settings of notebook 05 that the options give."""
    return Settings(**_given(args, Settings))


def _given(args, declared):
    """The options that are a setting of a class, by name."""
    return {name: value for name, value in vars(args).items() if name in declared.model_fields}


def _root(args):
    """The root folder; unlike a notebook, a command makes none."""
    if args.root is not None and not expanded(args.root, "--root: ").is_dir():
        raise MissingError(f"--root: the folder {args.root} is not there. Check the path.")
    return Root(absolute(args.root or os.environ.get("MUSCOMP_ROOT") or "muscomp_root"))


def _notes_writer(separator, settings, root, bar):
    """What follows a song's separation."""
    transcriber = Transcriber(pretrained.transcriber_path(settings.notes_model, root))
    how = transcription.Settings.of_model(separator.config, settings.taxonomy, settings.quantise)

    def write(place):
        folder.write_notes(place, how, transcriber, settings.score, bar)
        _report(place, how)

    return write


def _report(place, how=None):
    """Print what there is of a song; with the settings of its transcription, also its notes."""
    files = folder.files_of(place)
    notes = f", {choice.sentence(how.choose(files)[1], folder.midi_of(place))}" if how else ""
    progress.line(f"{place}: {len(files)} file{'s' * (len(files) != 1)}{notes}.")


def _stems(path, instrument, root):
    """The recordings to transcribe: {instrument, as the file is called: Path}."""
    if path.is_dir() and instrument:
        raise SettingError(f"--instrument is for one file, and {path} is a folder. Name its files after instruments.")
    if path.is_dir() and (path / folder.RECORD).is_file():
        return folder.files_of(path)
    files = songs.choose(path, root)
    if not path.is_dir():
        return {instrument or path.stem: path}
    files = [file for file in files if file.stem.lower() != instruments.MIX]
    common = stem_names.shared([file.stem for file in files], path.resolve().name)
    found = {stem_names.alone(file.stem, common): file for file in files}
    if len(found) < len(files):
        raise SettingError(f"{path} has two files whose names differ only in their suffix. Move one of them away.")
    return found


def _check_transcribable(path, stems, how):
    """Why some of the recordings are not transcribed, by name; SettingError if none is."""
    known, reasons = how.choose(stems)
    if known:
        return reasons
    why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    raise SettingError(
        f"{path} cannot be transcribed ({why}). Name files after instruments, or give one with --instrument: "
        f"{', '.join(instruments.known(how.taxonomy))}. Separate a whole song first."
    )


def _midi_file(path, out):
    """The file to write. Only a file that the user names, or that belongs to a separated song, is replaced."""
    if out:
        if Path(out).suffix.lower() not in (".mid", ".midi"):
            raise SettingError(f"-o {out} is not the name of a MIDI file. Give one that ends in .mid.")
        return expanded(out, "-o: ")
    path = path.resolve()
    file = folder.named_file(path, folder.MIDI) if path.is_dir() else path.with_suffix(folder.MIDI)
    if file.exists() and not (path / folder.RECORD).is_file():
        raise SettingError(f"{file} is there already. Give -o {file.name} to replace it, or another name.")
    return file
