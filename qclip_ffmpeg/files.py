"""Reading no more of a file than is wanted, and writing one without ever leaving half of it."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qclip_ffmpeg.errors import OutputError, UsageError

DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def make_folder(path: Path, said_by: str = "-o") -> None:
    """Make a folder and those it lies in, if they are missing.

    Raises:
        UsageError: it cannot be made; the message names what said it should be.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{path}: cannot be made ({error.strerror}); choose another {said_by}") from None


def read_up_to(path: Path, most_bytes: int) -> bytes:
    """What a file holds, one byte more than `most_bytes` at most: whoever asks can tell that it is too large.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(most_bytes + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{path}: cannot be read ({reason}); check the path") from None


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that its name holds either what it held before or all of `data`, even after a crash.

    Raises:
        UsageError: the folder is missing or cannot be written to.
        OutputError: the disk is full.
    """
    try:
        if path.exists() and not path.is_file():  # /dev/stdout, a named pipe: a rename would replace it
            path.write_bytes(data)
        else:
            replace_file(path.resolve(), data)  # a link stays a link: what it points to is replaced
    except OSError as error:
        raise not_written(path, error) from None


def not_written(path: Path, error: OSError) -> OutputError | UsageError:
    """The error to raise in place of `error`: a full disk is nobody's wrong usage."""
    kind = OutputError if error.errno in DISK_FULL else UsageError
    return kind(f"{path}: cannot be written ({error.strerror}); choose another place")


def check_writable(path: Path) -> None:
    """Find out whether a file can be made, by making one without a name in its folder.

    Raises:
        UsageError: it cannot.
        OutputError: the disk is full.
    """
    try:
        tempfile.TemporaryFile(dir=path.resolve().parent).close()
    except OSError as error:
        raise not_written(path, error) from None


def replace_file(path: Path, data: bytes) -> None:
    """Write a temporary file beside `path` and rename it; it is removed if anything goes wrong."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` to write to; it takes the name `path` at the end, or is removed on an error."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
