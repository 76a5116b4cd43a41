"""open_video(): a file, URL or pipe -> Frames. With `opening`, `streams`, `pictures`, `contents` the only door to PyAV.

One pass, lazily: every frame is decoded once and leaves a small luma thumbnail; the conversion to R'G'B' happens only
for frames somebody asks `Frame.rgb()` of. Damage never raises once the first frame is out: what can be decoded is
handed on, frames concerned carry flags, and `VideoReader.damage` says what ended the stream early.
"""

import math
import os
from collections.abc import Callable, Generator, Iterator
from fractions import Fraction
from functools import partial

import av
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from qclip_ffmpeg.bitrate import CodedBytes
from qclip_ffmpeg.colour import MATRICES_NOT_CONVERTED
from qclip_ffmpeg.errors import InputError
from qclip_ffmpeg.frame import Frame, VideoInfo
from qclip_ffmpeg.inputs import InputOptions, VideoSource, spoken
from qclip_ffmpeg.opening import DEFAULT_FRAME_RATE, Opening, explain_open_error, opening_of
from qclip_ffmpeg.pictures import Converter
from qclip_ffmpeg.streams import describe, moving_streams, pick_stream, promised_length_s, stated_duration_s

MAX_PIXELS = 15360 * 8640  # a hostile header may claim any size; this is 16K UHD
SEEK_MARGINS_S = (0, 2, 10, 60)
GAP_FRAME_INTERVALS = 4
GAP_MIN_S = Fraction(1, 2)
CLOCK_RESTART_S = Fraction(1, 2)  # a step back of this much is a new clock, a smaller one is jitter


def open_video(
    source: VideoSource, options: InputOptions | None = None, cut_off: Callable[[], str | None] = lambda: None
) -> "VideoReader":
    """Open a video for one pass.

    Args:
        source: a path, a URL that FFmpeg can open (http, https, HLS playlists, ...), or "-" for standard input.
        options: what ffmpeg's own input options would say.
        cut_off: asked at the end for what cut the input off from outside, one sentence; None where nothing did.

    Returns:
        A context manager and iterator of Frame.

    Raises:
        UsageError: no such file, a folder, or options that contradict each other or the input.
        InputError: the input holds no video that can be decoded.
    """
    opening = opening_of(os.fspath(source), options or InputOptions())
    try:
        return VideoReader(opening, cut_off)
    except (av.FFmpegError, OSError) as error:
        raise explain_open_error(error, opening) from None


class VideoReader:
    """An open video: iterate it once for its Frames. Close it, or use it as a context manager.

    Attributes:
        info: what is known of the stream. The size, colours and rotation are those of the first frame.
        damage: what ended the stream early, one sentence; None as long as nothing did.
        warnings: what was decided about the input that its owner should know, one sentence each.
    """

    info: VideoInfo
    damage: str | None
    warnings: list[str]

    def __init__(self, opening: Opening, cut_off: Callable[[], str | None]) -> None:
        self._opening = opening
        self._cut_off = cut_off
        self._options = opening.options
        self.warnings = []
        self._container = opening.open()
        try:
            self._start()
            self._prepare()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        """Stand before the first frame of a newly opened input."""
        self.damage = None
        self._lost_packet = False
        self._stream = pick_stream(self._container, self._opening.name)
        context = self._stream.codec_context
        context.thread_count = self._options.threads
        context.thread_type = "AUTO"
        # A stream that does not say where its chroma samples lie (a raw pipe cannot) has them as MPEG-2 does, left.
        context.options = {"max_pixels": str(MAX_PIXELS), "chroma_sample_location": "left"}
        self._decoded = self._decode()

    def _prepare(self) -> None:
        """Decode the first frame, describe the video by it, and go to where the measurement starts."""
        name = self._opening.name
        first = next(self._decoded, None)
        if first is None:
            why = self._cut_off() or self.damage or next(iter(self.warnings), "the stream is empty")
            of_mp4 = self._opening.why_mp4_fails() if "mp4" in self._container.format.name else None
            next_step = of_mp4 or "check that it is complete and that `ffmpeg -i` can play it"
            raise InputError(f"{spoken(name)}: not one frame could be decoded ({why}); {next_step}")
        self._origin = self._time_of(first)
        self.info = describe(self._container, self._stream, first, name, self._options, self._origin)
        self._nominal_s = 1 / (self.info.frame_rate or DEFAULT_FRAME_RATE)
        self._note_decisions(first)
        self._first: VideoFrame | None = first
        if self._options.start_s > 0 and self._origin is not None and self._opening.can_be_searched:
            self._seek(self._origin, self._origin + self._options.start_s)

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the input. Frames that were handed out stay usable."""
        self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        converter = Converter(self.info)
        start_s = self._options.start_s
        stop_s = None if self._options.duration_s is None else start_s + self._options.duration_s
        last_s: Fraction | None = None
        end_s: Fraction | None = None  # when the last frame leaves the screen
        previous: NDArray[np.float32] | None = None
        size_px = (self.info.width_px, self.info.height_px)
        index = 0
        for picture in self._pictures():
            coded_bytes = self._coded.take(self._shared(picture.pts))
            time_s, gap = self._presentation(picture, last_s, end_s)
            duration_s = stated_duration_s(picture) or self._nominal_s
            last_s, end_s = time_s, time_s + duration_s
            if stop_s is not None and time_s >= stop_s:
                break
            if time_s < start_s:
                continue
            thumbnail = converter.thumbnail(picture)
            flags = self._flags_of(picture)
            if gap and index > 0:
                flags.add("gap")
            if size_px != (picture.width, picture.height):
                size_px = (picture.width, picture.height)
                flags.add("resized")
                previous = None
            motion = 0.0 if previous is None else float(np.abs(thumbnail - previous).mean())
            previous = thumbnail
            yield Frame(
                index=index,
                time_s=time_s,
                duration_s=duration_s if stop_s is None else min(duration_s, stop_s - time_s),
                pts=self._stamp_of(picture),
                thumbnail=thumbnail,
                motion=motion,
                keyframe=bool(picture.key_frame),
                flags=frozenset(flags),
                convert=partial(converter.rgb, picture),
                coded_bytes=coded_bytes,
                read_lines=partial(converter.lines, picture),
            )
            index += 1
        self._check_length(end_s, stop_s)
        if index == 0:
            hint = "an earlier -ss" if stop_s is None else "an earlier -ss or a longer -t"
            why = f" ({self.damage})" if self.damage else ""
            raise InputError(f"{spoken(self.info.name)}: has no frame in the span to measure{why}; choose {hint}")

    def _flags_of(self, picture: VideoFrame) -> set[str]:
        """What the decoder says of one picture, and whether packets were lost just before it."""
        flags = set[str]()
        if picture.is_corrupt or self._lost_packet:
            self._lost_packet = False
            flags.add("corrupt")
        if picture.interlaced_frame:
            flags.add("interlaced")
        return flags

    def _pictures(self) -> Iterator[VideoFrame]:
        if self._first is not None:
            first, self._first = self._first, None
            yield first
        yield from self._decoded

    def _decode(self) -> Generator[VideoFrame, None, None]:
        """Every picture that can be decoded; a damaged packet costs itself only."""
        self._coded = CodedBytes()
        try:
            for packet in self._container.demux(self._stream):
                self._coded.add(self._shared(packet.pts), packet.size)
                try:
                    yield from packet.decode()
                except av.error.EOFError:
                    return
                except av.FFmpegError as error:
                    self._packet_lost(error)
        except IndexError:
            return  # PyAV 18 stumbles at the end over streams that appeared on the way; ours came before them
        except av.error.ExitError:
            self.damage = f"nothing arrived for {self._opening.patience_s:g} s"
        except (av.FFmpegError, OSError) as error:
            self.damage = f"the stream broke off ({error.strerror or error})"

    def _packet_lost(self, error: av.FFmpegError) -> None:
        if self._stream.codec_context.codec.name == "rawvideo":  # a raw packet fails only for being too short
            said = ": check that -s and -pix_fmt are the sender's" if self._options.format == "rawvideo" else ""
            self.damage = f"the last raw frame is incomplete{said}"
            return
        self._lost_packet = True
        message = f"a packet could not be decoded ({error.strerror})"
        if message not in self.warnings:
            self.warnings.append(message)

    def _seek(self, origin_s: Fraction, target_s: Fraction) -> None:
        """Go on from a key frame at or before target_s (both in the stream's own clock).

        Some demuxers land after the time they are asked for (mpegts guesses from the bit rate) or lose the time stamps:
        what was reached is looked at, and asked for again from further back. In the end the input is opened anew, and
        every frame before target_s is decoded and passed over.
        """
        for margin_s in SEEK_MARGINS_S:
            if target_s - margin_s <= origin_s:
                break
            try:
                self._container.seek(math.floor((target_s - margin_s) * av.time_base), backward=True)
            except (av.FFmpegError, OSError, OverflowError):
                break
            self._decoded = self._decode()
            self._first = next(self._decoded, None)
            reached_s = self._time_of(self._first) if self._first is not None else None
            if self._first is not None and self._first.key_frame and reached_s is not None and reached_s <= target_s:
                return
        self._container.close()
        self._container = self._opening.open()
        self._first = None
        self._start()

    def _stamp_of(self, picture: VideoFrame) -> int | None:
        """Raw presentation time stamp. AVI has none, only numbered packets: there the decoder's output order counts."""
        return picture.dts if self._container.format.name == "avi" else picture.pts

    def _shared(self, pts: int | None) -> int | None:
        """What a packet and its picture have in common. In AVI that is nothing: FFmpeg guesses the packets' pts."""
        return None if self._container.format.name == "avi" else pts

    def _time_of(self, picture: VideoFrame) -> Fraction | None:
        """Presentation time in the stream's own clock, in seconds; None without a time stamp."""
        stamp = self._stamp_of(picture)
        return None if stamp is None or picture.time_base is None else stamp * Fraction(picture.time_base)

    def _presentation(
        self, picture: VideoFrame, last_s: Fraction | None, end_s: Fraction | None
    ) -> tuple[Fraction, bool]:
        """(time relative to the first frame in s, whether time jumped before it). Times always increase.

        A jump is a step of half a second and four frame intervals beyond what the frame before was stated to last.
        """
        stamped_s = self._time_of(picture)
        if stamped_s is None or self._origin is None:
            return (Fraction(0) if last_s is None else last_s + self._nominal_s), False
        time_s = stamped_s - self._origin
        if last_s is None or end_s is None:
            return time_s, False
        if time_s > last_s:
            return time_s, time_s - end_s > max(GAP_MIN_S, GAP_FRAME_INTERVALS * self._nominal_s)
        if last_s - time_s > CLOCK_RESTART_S:  # joined recordings: from here on the clock counts anew
            self._origin -= last_s + self._nominal_s - time_s
        return last_s + self._nominal_s, True

    def _check_length(self, end_s: Fraction | None, stop_s: Fraction | None) -> None:
        """Note damage where less video came than the header promised, or than was asked for with -t."""
        if end_s is None or (stop_s is not None and end_s >= stop_s):
            return
        self.damage = self._cut_off() or self.damage
        if self.damage:
            return
        declared_s = promised_length_s(self._container, self._stream, self.info.start_s)
        if self._lost_packet:
            self.damage = "the last packets could not be decoded"
        if declared_s is None:
            return
        missing_s = (declared_s if stop_s is None else min(declared_s, stop_s)) - end_s
        if missing_s > max(Fraction(1), 3 * self._nominal_s):
            self.damage = f"{float(missing_s):.2f} s of the declared {float(declared_s):.2f} s are missing at the end"

    def _note_decisions(self, first: VideoFrame) -> None:
        info = self.info
        if self._opening.idle_s is not None:
            self.warnings.append(f"the file was followed until it had not grown for {self._opening.idle_s:g} s")
        if self._stamp_of(first) is None:
            rate = info.frame_rate or DEFAULT_FRAME_RATE
            self.warnings.append(f"the stream has no time stamps; {rate} frames a second were assumed (say -r RATE)")
        if info.transfer != "sdr":
            self.warnings.append(f"HDR ({info.transfer.upper()}) was mapped to SDR before scoring")
        if self._options.frame_rate and self._options.format != "rawvideo" and self._origin is not None:
            self.warnings.append("-r was not used: the stream has time stamps")
        if int(first.colorspace) in MATRICES_NOT_CONVERTED and info.color_matrix != "rgb":
            self.warnings.append(f"the stream's colour matrix is not supported; {info.color_matrix} was assumed")
        if (others := len(moving_streams(self._container)) - 1) > 0:
            size = f"{info.width_px}x{info.height_px}"
            self.warnings.append(
                f"stream {self._stream.index} ({size}) was measured; {others} other video streams were not"
            )
        if first.rotation % 90:
            self.warnings.append(f"rotation by {first.rotation} degrees was not applied")


def library_versions() -> dict[str, str]:
    """Versions of PyAV and of the FFmpeg libraries it carries, for provenance."""
    used = ("libavformat", "libavcodec", "libswscale")
    return {"av": av.__version__, **{name: ".".join(map(str, av.library_versions[name])) for name in used}}
