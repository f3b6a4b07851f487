"""Errors a person can act on. Each message quotes the bad value, says where it is, and what to do next."""


class MusCompError(Exception):
    """The family of all errors that Mus-Comp raises on purpose."""

    def _render_traceback_(self):
        """Tell IPython to show the message alone: a student needs the reason, not our call stack."""
        return [f"{type(self).__name__}: {self}"]


class SettingError(MusCompError, ValueError):
    """A setting is wrong (unknown name, impossible value): nothing was started."""


class MissingError(MusCompError, FileNotFoundError):
    """A file or folder that an earlier step should have made, or the user should have given, is not there."""

    def __str__(self):
        """The message as given: FileNotFoundError's own form is for operating system error numbers."""
        return str(self.args[0])


class AudioError(MusCompError):
    """An audio file cannot be read, or does not hold what it should."""


class MidiError(MusCompError):
    """A MIDI file cannot be read, or holds nothing that can be played."""


class SpleeterError(MusCompError):
    """The real Spleeter, run in its own environment, failed."""


class StoppedError(MusCompError):
    """Somebody has asked for an end, and what was done until then is saved."""


class DiskFullError(MusCompError, OSError):
    """There is no room left where a file should be written."""

    def __str__(self):
        """The message as given, without an operating system error number."""
        return str(self.args[0])


class UnreachableError(AudioError, OSError):
    """An audio file's disk kept failing while it was read: the file itself may be sound."""

    def __str__(self):
        """The message as given, without an operating system error number."""
        return str(self.args[0])


class MountLostError(MusCompError, OSError):
    """The data's disk is gone in the middle of a run: no file on it may be called missing."""

    def __str__(self):
        """The message as given, without an operating system error number."""
        return str(self.args[0])
