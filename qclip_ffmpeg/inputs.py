"""What a user says of an input: its name, and ffmpeg's own input options. Imports nothing heavy."""

import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from qclip_ffmpeg.colour import ColorMatrixOption, ColorRangeOption, TransferOption
from qclip_ffmpeg.errors import UsageError

STDIN = "-"
VideoSource = str | os.PathLike[str]
"""A path, a URL that FFmpeg opens, or "-" for standard input."""


@dataclass(frozen=True, slots=True)
class InputOptions:
    """What ffmpeg's input options say of a source; None leaves it to the stream."""

    format: str | None = None
    """-f: container format, needed for "rawvideo"."""
    size_px: tuple[int, int] | None = None
    """-s: (width, height) of raw frames."""
    frame_rate: Fraction | None = None
    """-r: Hz, of raw frames or of a stream without times."""
    pixel_format: str | None = None
    """-pix_fmt of raw frames."""
    color_matrix: ColorMatrixOption | None = None
    """-colorspace, when the stream does not say or says it wrong."""
    color_range: ColorRangeOption | None = None
    """-color_range, likewise."""
    transfer: TransferOption | None = None
    """-color_trc, likewise."""
    display_aspect_ratio: Fraction | None = None
    """-aspect: width over height of the whole picture, likewise."""
    start_s: Fraction = Fraction(0)
    """-ss: frames before it are not handed on; seconds after the first frame."""
    duration_s: Fraction | None = None
    """-t: frames at or after start_s + duration_s are not handed on."""
    threads: int = 2
    """Threads of the decoder. Does not change what is decoded."""
    idle_s: Fraction | None = None
    """A file may still grow: it ends when it has not grown for this long, in seconds. None: it is finished."""


def is_url(source: str) -> bool:
    """Whether FFmpeg is to take it for an address. A file that really has such a name wins."""
    return "://" in source and not exists(Path(source))


def exists(path: Path) -> bool:
    """Path.exists, where a name no file can have (too long, or with a NUL) does not exist."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def ffmpeg_url(source: str) -> str:
    """What to hand FFmpeg: a path is marked as a file, so that a colon in its name means nothing else."""
    if source == STDIN:
        return "pipe:0"
    if is_url(source):
        return source
    path = Path(source)
    if not exists(path):
        raise UsageError(f"{source}: no such file; check the path")
    if path.is_dir():
        raise UsageError(f"{source}: is a folder; name the video files in it")
    return f"file:{source}"


def can_be_opened_again(source: str) -> bool:
    """Whether opening it twice gives the same bytes: a file or a URL, but no pipe, named or not."""
    return is_url(source) or is_file(source)


def is_file(source: str) -> bool:
    """Whether it is a file, which can be read twice. "-" is standard input, whatever lies in the folder."""
    return source != STDIN and not is_url(source) and Path(source).is_file()


def displayed_name(source: str) -> str:
    """File name, "-", or the URL without user, password and query: reports are shared, secrets are not."""
    if not is_url(source):
        return source if source == STDIN else os.fsencode(Path(source).name).decode("utf-8", "replace")
    try:
        parts = urlsplit(source)
    except ValueError as error:
        raise UsageError(f"the address is not a URL: {error}; check it") from None
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def spoken(name: str) -> str:
    """What messages call an input of this displayed name."""
    return "standard input" if name == STDIN else name
