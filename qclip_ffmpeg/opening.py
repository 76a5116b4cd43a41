"""How FFmpeg is made to open a source, and what to say where it does not. A part of `reader`'s door to PyAV."""

import errno
import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer

from qclip_ffmpeg.errors import InputError, QClipError, UsageError
from qclip_ffmpeg.inputs import STDIN, InputOptions, can_be_opened_again, displayed_name, ffmpeg_url, is_url, spoken
from qclip_ffmpeg.taps import follow

NETWORK_TIMEOUT_S = 30.0
DEFAULT_PIXEL_FORMAT = "yuv420p"
DEFAULT_FRAME_RATE = Fraction(25)  # what ffmpeg assumes for streams without times
PLAYLIST_MARK = b"#EXTM3U"
INDEX_FIRST = "an mp4 needs its index first to be piped: -movflags +faststart, or send -f nut"
INDEX_NEVER = (
    "an mp4 has no index before it is finished; write .ts, .mkv or .nut, or -movflags +frag_keyframe+empty_moov"
)


@dataclass(frozen=True, slots=True)
class Opening:
    """A source, ready to be opened: one that exists, with options that fit it."""

    source: str
    options: InputOptions
    url: str
    """What FFmpeg calls it."""
    idle_s: float | None = None
    """A file that is followed as it grows ends when it has not grown for so many seconds; None: nothing is followed."""
    patience_s: float | None = None
    """Nothing may arrive for so many seconds before it is given up; None: a pipe waits as long as its sender does."""

    @property
    def name(self) -> str:
        return displayed_name(self.source)

    @property
    def can_be_searched(self) -> bool:
        """Whether it can be opened again, and be read from anywhere."""
        return self.idle_s is None and can_be_opened_again(self.source)

    def open(self) -> InputContainer:
        """Open it. Raises what PyAV raises; `explain_open_error` has words for it."""
        if self.idle_s is None:
            return self._open(self.url)
        feed = follow(Path(self.source), self.idle_s)
        try:
            return self._open(f"pipe:{feed}")  # FFmpeg reads a duplicate of it
        finally:
            os.close(feed)

    def _open(self, url: str) -> InputContainer:
        return av.open(
            url,
            format=self.options.format,
            options=demuxer_options(self.source, self.options),
            metadata_errors="replace",  # old cameras write titles in any encoding
            timeout=self.patience_s,
        )

    def why_mp4_fails(self) -> str | None:
        """What an mp4 must be like to be read from this source; None where any will do."""
        if self.idle_s is not None:
            return INDEX_NEVER
        return INDEX_FIRST if self.source == STDIN else None


def opening_of(source: str, options: InputOptions) -> Opening:
    """Look at what is asked for, before anything is opened.

    Raises:
        UsageError: no such file, a folder, or options that contradict each other.
    """
    check_options(options)
    url = ffmpeg_url(source)
    if is_url(source):
        return Opening(source, options, url, patience_s=NETWORK_TIMEOUT_S)
    if options.idle_s is None or not Path(source).is_file():
        return Opening(source, options, url)
    if is_playlist(Path(source)):
        return Opening(source, options, url, patience_s=float(options.idle_s))
    return Opening(source, options, url, idle_s=float(options.idle_s))


def is_playlist(path: Path) -> bool:
    """Whether it is a file that names the files to read, as HLS does: FFmpeg itself looks for what is new in it."""
    try:
        with path.open("rb") as file:
            return file.read(len(PLAYLIST_MARK)) == PLAYLIST_MARK
    except OSError:
        return False  # opening it as a video will say why


def check_options(options: InputOptions) -> None:
    """Raises UsageError for an unknown format, or where -f rawvideo lacks what it needs or its options stand alone."""
    if options.format is not None:
        try:
            av.ContainerFormat(options.format, "r")
        except ValueError:
            raise UsageError(
                f"-f {options.format}: FFmpeg has no such input format; `ffmpeg -demuxers` lists them"
            ) from None
    if options.format == "rawvideo":
        if options.size_px is None:
            raise UsageError("-f rawvideo: a raw pipe carries no frame size; say it with -s WIDTHxHEIGHT")
        try:
            av.VideoFormat(options.pixel_format or DEFAULT_PIXEL_FORMAT)
        except ValueError:
            raise UsageError(
                f"-pix_fmt {options.pixel_format}: FFmpeg has no such format; `ffmpeg -pix_fmts` lists them"
            ) from None
    elif options.size_px or options.pixel_format:
        said = "-s" if options.size_px else "-pix_fmt"
        raise UsageError(f"{said} describes raw frames: add -f rawvideo, or leave it out and let the stream say it")


def demuxer_options(source: str, options: InputOptions) -> dict[str, str]:
    """What FFmpeg's demuxer has to be told: all of rawvideo; that a name is a name and no pattern of a still's."""
    if options.format != "rawvideo" or options.size_px is None:
        return {"pattern_type": "none"} if "%" in source else {}
    width_px, height_px = options.size_px
    return {
        "video_size": f"{width_px}x{height_px}",
        "pixel_format": options.pixel_format or DEFAULT_PIXEL_FORMAT,
        "framerate": str(options.frame_rate or DEFAULT_FRAME_RATE),
    }


def explain_open_error(error: Exception, opening: Opening) -> QClipError:
    """One line for a person: what, where, what next."""
    name = spoken(opening.name)
    if isinstance(error, av.error.EOFError):
        return InputError(f"{name}: is empty; nothing arrived to measure")
    if isinstance(error, av.error.ExitError):
        return InputError(f"{name}: did not answer within {opening.patience_s:g} s; check the address and the network")
    if isinstance(error, av.error.InvalidDataError):
        if opening.source == STDIN:
            return InputError(
                f"{name}: nothing arrived, or no video format recognised; say -f rawvideo -s WxH for raw frames, "
                "or send a format that describes itself (-f nut); an mp4 needs its index first (-movflags +faststart)"
            )
        next_step = INDEX_NEVER if opening.idle_s is not None else "check it with `ffmpeg -i`, or download it again"
        return InputError(f"{name}: is not a video that FFmpeg can read, or is cut off before its index; {next_step}")
    if isinstance(error, av.error.ProtocolNotFoundError):
        return UsageError(
            f"{name}: this FFmpeg build does not know the protocol; relay it: ffmpeg -i URL -c copy -f nut - |"
        )
    if isinstance(error, PermissionError):
        return InputError(f"{name}: permission denied; make the file readable")
    if isinstance(error, OSError) and error.errno == errno.EINVAL and opening.options.format == "rawvideo":
        return InputError(f"{name}: less than one raw frame arrived; check -s and -pix_fmt against the sender's")
    return InputError(
        f"{name}: cannot be opened ({getattr(error, 'strerror', None) or error}); check the address and the network"
    )
