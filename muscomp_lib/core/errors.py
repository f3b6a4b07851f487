"""Errors a person can act on. Each message quotes the bad value, says where it is, and what to do next."""

REFUSED = 2  # exit status of a process that a wrong setting ended: nothing was started


class MusCompError(Exception):
    """The family of all errors that Mus-Comp raises on purpose."""

    def __str__(self):
        """The message as given, also where OSError would put an error number before it."""
        return str(self.args[0]) if self.args else ""

    def _render_traceback_(self):
        """Make IPython show the message alone: a student needs the reason, not our call stack."""
        return [f"{type(self).__name__}: {self}"]


class SettingError(MusCompError, ValueError):
    """A setting is wrong (unknown name, impossible value): nothing was started."""


class MissingError(MusCompError, FileNotFoundError):
    """A file or folder is missing that an earlier step makes, or the user names."""


class AudioError(MusCompError):
    """An audio file cannot be read, or its content is not as it should be."""


class MidiError(MusCompError):
    """A MIDI file cannot be read, or has no notes."""


class SpleeterError(MusCompError):
    """The real Spleeter, run in its own environment, failed."""


class StoppedError(MusCompError):
    """The run was asked to stop, and its state is saved."""


class TrainingError(MusCompError):
    """Training went wrong: its loss is not a number, or it is zero, because there is only silence."""


class DiskFullError(MusCompError, OSError):
    """The disk is full."""


class UnreachableError(AudioError, OSError):
    """An audio file's disk kept failing while it was read: the file itself may be intact."""


class MountLostError(MusCompError, OSError):
    """The data's disk was lost in the middle of a run: its files are not missing."""
