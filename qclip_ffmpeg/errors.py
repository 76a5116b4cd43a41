"""The errors this package raises. Every message says what went wrong, where, and what to do next."""


class QClipError(Exception):
    """Something could not be measured. The commands print the message as one line and exit with `exit_code`."""

    exit_code = 1


class UsageError(QClipError):
    """The request itself cannot be met: a contradictory option, a missing file, an unknown model."""

    exit_code = 2


class InputError(QClipError):
    """The input cannot be read as video."""


class ModelError(QClipError):
    """A checkpoint is damaged, foreign, or does not fit its configuration."""


class OutputError(QClipError):
    """What was measured cannot be written where it was asked for, for a reason that no option could have foreseen."""


class CurveError(QClipError):
    """Two rate-quality curves have no mean difference that would mean anything."""


class FFmpegError(QClipError):
    """The `ffmpeg` program failed. The message carries the command and the last lines of its stderr.

    Attributes:
        reason: the first line of its stderr; with -v error the first complaint, for a message of one line.
    """

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason
