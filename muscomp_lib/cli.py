"""The command `muscomp`: its options, examples and exit status. commands.py does the work.

The options of `separate` are the settings of notebook 05 (separation/settings.py): name, meaning and range are declared
there only. So argparse is enough, which needs no package and no time; this module imports errors, and nothing else
until a command is known. A further command is an entry of COMMANDS, EXAMPLES and DECLARE here, and a function there.

Exit status: 0 all done, 1 a song failed, 2 wrong usage and nothing was started, 130 stopped by Ctrl-C.
"""

import argparse
import logging
import os
import re
import signal
import sys
import typing

import muscomp_lib
from muscomp_lib.core.errors import REFUSED, MissingError, MusCompError, SettingError

DONE, FAILED, STOPPED = 0, 1, 128 + signal.SIGINT
COMMANDS = {
    "separate": "separate songs into a file per instrument, and write their notes",
    "transcribe": "write the notes of recordings of single instruments",
    "train": "train a model on a folder of songs with their stems",
    "export": "write a model as files for phones, servers and other programs",
    "composer": "find who may have composed a score, or that none of the known did",
    "models": "list the models that can be chosen by name, with sizes and licences",
    "serve": "open a web page that separates songs, for this machine or for a class",
}

EXAMPLES = {
    "separate": """\
A song that is up to date is skipped, so that a run that was stopped goes on where it was.

  muscomp separate song.mp3                           a file per instrument and a MIDI file, in separated/song/
  muscomp separate album/ -o stems                    all songs of a folder, into stems/<song>/
  muscomp separate song.mp3 --outputs drums,rest      the drums, and everything else to drum along with
  muscomp separate song.mp3 --model spleeter:4stems   vocals, drums, bass, other: fetched at its first use
  muscomp separate song.mp3 --seconds 30              try half a minute from the middle
  muscomp separate song.mp3 --like note.wav           what sounds like a note of your instrument, and the rest
""",
    "transcribe": """\
A recording has to be called like its instrument: bass.wav. A whole song has to be separated first.

  muscomp transcribe separated/song                   all instruments of a separated song: separated/song/song.mid
  muscomp transcribe stems/ -o song.mid               any folder with bass.wav, drums.flac, ...
  muscomp transcribe take3.wav --instrument piano     one recording: take3.mid
""",
    "train": """\
A song is a folder with one file per instrument, called like it: my_songs/First song/Drums.wav. Two songs are the least.
Training that was stopped goes on where it was. docs/your_own_stems.md has more; notebooks 03 and 04 show each step.

  muscomp train my_songs --name mine                  from the pretrained weights, to muscomp_root/models/mine
  muscomp train my_songs --instruments Drums,Bass     these two, and everything else as other
  muscomp train my_songs --train-max-steps 20000 --from-scratch
  muscomp separate song.mp3 --model mine              uses it
""",
    "export": """\
Each file is run without Mus-Comp and compared with the network before it is kept. What is up to date is not made again.

  muscomp export shipped                              the pretrained model, to muscomp_root/exported/shipped
  muscomp export mine --formats litert_float16        one format of your own model
  muscomp export spleeter:2stems -o phone             a file per instrument, in phone/spleeter_2stems
""",
    "composer": """\
Notebook 08 trains a model; docs/composers.md says how far its answers can be trusted.

  muscomp composer piece.mid                          the composers by distance, and the nearest pieces
  muscomp composer folder/*.mxl --model romantics     several, with the model of that name
""",
    "models": """\
A model is chosen by its name: muscomp separate song.mp3 --model spleeter:4stems

  muscomp models                                      the pretrained ones, yours, and Spleeter's
  muscomp models --root project                       yours are those in project/models/
""",
    "serve": """\
Songs are dropped into the page, wait in a queue, and are played and downloaded there. A day later they are deleted.
docs/hosting.md has more: a class, a server of one's own, what it costs.

  muscomp serve                                       http://127.0.0.1:8000, for this machine only
  MUSCOMP_PASSWORD=... muscomp serve --host 0.0.0.0   for everybody in the room who knows the password
  muscomp serve --host 0.0.0.0 --open --workers 4     for everybody, four songs at a time
  muscomp serve --only-workers --queue postgresql://...  work for a site on another machine
""",
}


def main(argv=None):
    """Run the command; its exit status."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # hides TensorFlow's start-up messages
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that it, too, leaves nothing half-written
    sys.stdout.reconfigure(errors="backslashreplace")  # a song's name may have what a terminal cannot print
    argv = sys.argv[1:] if argv is None else list(map(str, argv))
    try:
        status = _run(_parsed(argv))
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # whoever reads the output, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing more is to be written at exit
        return FAILED
    except KeyboardInterrupt:
        print("Stopped. What is finished is kept; run the same command again to go on.", file=sys.stderr)
        return STOPPED


def _run(args):
    """Run a command; an error becomes one line: of the usage, or of the only song."""
    try:
        from muscomp_lib import commands

        return DONE if getattr(commands, args.command)(args) else FAILED
    except MusCompError as error:
        print(error, file=sys.stderr)
        return REFUSED if isinstance(error, (SettingError, MissingError)) else FAILED
    except OSError as error:  # of a disk: without permission, unplugged, a mount that is gone
        if error.filename is None:
            raise
        print(f"{error.filename}: {error.strerror}. Check its permissions and its disk.", file=sys.stderr)
        return FAILED


def _parsed(argv):
    """The options that are given; argparse would name what it does not know without its command."""
    parser = _parser(argv)
    args, unknown = parser.parse_known_args(with_dashed_files(argv))
    if unknown:
        parser.error(f"{args.command} does not take {' '.join(unknown)!r}. See muscomp {args.command} --help.")
    return args


def with_dashed_files(argv):
    """Options with the files in them whose names begin with a dash as paths, which are not taken for options."""
    return [f"./{text}" if DASHED.match(text) and os.path.lexists(text) else text for text in argv]


def _parser(argv):
    """The parser; the options of a command are declared only if it is the one that is given, as they take imports."""
    form = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    text = "Separate songs into their instruments, and write their notes."
    epilog = "examples:\n  muscomp separate song.mp3\n  muscomp separate --help"
    parser = argparse.ArgumentParser(prog="muscomp", description=text, epilog=epilog, **form)
    parser.add_argument("--version", action="version", version=f"muscomp {muscomp_lib.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        description = f"{summary[0].upper()}{summary[1:]}.\n{EXAMPLES[name]}"
        command = commands.add_parser(name, help=summary, description=description, **form)
        command.set_defaults(command=name)
        if argv[:1] == [name]:
            DECLARE[name](command)
    return parser


# ---- options ----
COMPUTED = re.compile(r": \{.*(?=\.$)")  # ends a description, of what only a whole configuration knows
DASHED = re.compile(r"-(?!.$|-[a-z-]+$)")  # may be a file's name, as shells write it out for *; no option is like it
NUMBERS = (int, float)  # of the options that are no texts
ALSO = {"file_format": ("--format",)}  # other names of settings' options


def _declare_separate(command):
    command.add_argument("songs", nargs="+", metavar="SONG", help="An audio file, a film, or a folder of them.")
    _add_settings(command, without=("song", "out"))
    command.add_argument("-o", "--out", metavar="DIR", help="Where the songs' folders are made. Default: separated.")
    command.add_argument("--no-midi", action="store_true", help="Separate only.")
    command.add_argument(
        "--like", metavar="FILE", help="A recording of one instrument alone: separate what sounds like it."
    )
    _add_root(command)


def _declare_transcribe(command):
    command.add_argument("path", metavar="FILE_OR_FOLDER", help="An instrument's recording, or a folder of them.")
    command.add_argument("-o", "--out", metavar="FILE.mid", help="The file to write, even if it is there already.")
    command.add_argument("--instrument", metavar="NAME", help="The instrument of FILE. Default: its file name.")
    _add_settings(command, only=("notes_model", "quantise", "score", "taxonomy"))
    _add_root(command)


def _declare_train(command):
    from muscomp_lib.commands import FINE_TUNING
    from muscomp_lib.tables import Settings

    command.add_argument("stems", metavar="FOLDER", help="The songs, each a folder with a sound file per instrument.")
    only = ("name", "stem_names", "instruments", "train_max_steps", "seed")
    _add_settings(command, only=only, declared=Settings, usual=FINE_TUNING)
    command.add_argument("--from-scratch", action="store_true", help="Do not start from the pretrained weights.")
    command.add_argument(
        "--root", metavar="DIR", help="The folder for songs, tables and models. Default: muscomp_root."
    )


def _declare_export(command):
    from muscomp_lib.export import Settings

    command.add_argument("model", metavar="MODEL", help="A name, a folder or a Spleeter configuration.")
    _add_settings(command, without=("model", "out"), declared=Settings)
    command.add_argument("-o", "--out", metavar="DIR", help="Where its folder is made. Default: exported, in the root.")
    _add_root(command)


def _declare_composer(command):
    command.add_argument("files", nargs="+", metavar="FILE", help="A MIDI file or a score.")
    command.add_argument("--model", metavar="NAME", default="composers", help="A name or a folder. Default: composers.")
    _add_root(command)


def _declare_serve(command):
    from muscomp_lib.website.settings import Settings

    _add_settings(command, declared=Settings)
    _add_root(command)


def _add_settings(command, without=(), only=None, declared=None, usual=()):
    """Declare an option for each setting of notebook 05, or of others; those not given are left out of the result.

    `usual` holds defaults of the command that are not those of the settings.
    """
    from muscomp_lib.core.settings import expected
    from muscomp_lib.separation import Settings

    for name, field in (declared or Settings).model_fields.items():
        if name in without or (only and name not in only):
            continue
        options = {"dest": name, "default": argparse.SUPPRESS}
        if isinstance(field.default, bool):
            options |= {"action": "store_true", "help": field.description}
        else:
            words, _, none = expected(field).partition(", or None for ")
            default = dict(usual).get(name, field.default)
            about = COMPUTED.sub("", field.description)
            text = f"{about} It is {words}. Default: {none if default in (None, '') else default}."
            options |= {"metavar": name.rpartition("_")[2].upper(), "help": text.replace("%", "%%")}
        parts = (field.annotation, *typing.get_args(field.annotation))
        for kind in {getattr(part, "__origin__", part) for part in parts}.intersection(NUMBERS):
            options["type"] = _reader(kind, words)
        command.add_argument(f"--{name.replace('_', '-')}", *ALSO.get(name, ()), **options)


def _reader(kind, words):
    """What reads an option's number; `words` say what it may be."""

    def read(text):
        try:
            return kind(text)
        except ValueError:
            point = " Write a decimal with a point: 1.5." if "," in text and kind is float else ""
            raise argparse.ArgumentTypeError(f"{text!r} is not possible. It must be {words}.{point}") from None

    return read


def _add_root(command):
    text = "The folder whose models/ holds your own models. Default: $MUSCOMP_ROOT, or muscomp_root."
    command.add_argument("--root", metavar="DIR", help=text)


DECLARE = {
    "separate": _declare_separate,
    "transcribe": _declare_transcribe,
    "train": _declare_train,
    "export": _declare_export,
    "composer": _declare_composer,
    "models": _add_root,
    "serve": _declare_serve,
}
