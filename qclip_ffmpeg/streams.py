"""Which stream of a container is measured, and what is known of it. A part of `reader`'s door to PyAV."""

import re
from fractions import Fraction

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from qclip_ffmpeg.colour import color_matrix, color_range, transfer_of
from qclip_ffmpeg.errors import InputError
from qclip_ffmpeg.frame import VideoInfo
from qclip_ffmpeg.inputs import InputOptions, spoken
from qclip_ffmpeg.pictures import is_mirrored

TEXT_CODECS = {"ansi", "bintext", "xbin", "idf"}  # FFmpeg draws any *.txt, *.nfo or *.bin as a text screen
# PyAV 18 frees the metadata of these decoders' side data (the name of an ICC profile) twice: it must not be looked at.
SIDE_DATA_WITH_METADATA = {"png", "apng"}
FORMATS_STATING_LENGTH = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "flv", "asf", "hls"}


def moving_streams(container: InputContainer) -> list[VideoStream]:
    """The video streams, cover art left out."""
    return [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]


def pick_stream(container: InputContainer, name: str) -> VideoStream:
    """FFmpeg's best video stream, cover art left out."""
    streams = moving_streams(container)
    if not streams:
        kinds = ", ".join(sorted({s.type for s in container.streams})) or "no streams"
        raise InputError(f"{spoken(name)}: has no video stream (found {kinds}); give a file with video in it")
    best = container.streams.best("video")
    chosen = next((s for s in streams if s is best), streams[0])
    if chosen.codec_context.codec.name in TEXT_CODECS:
        raise InputError(f"{spoken(name)}: is text or data, not a video; check it with `ffmpeg -i`")
    return chosen


def stated_duration_s(picture: VideoFrame) -> Fraction | None:
    """How long the container says the picture is shown, in seconds; None where it does not say."""
    if not picture.duration or picture.time_base is None:
        return None
    return picture.duration * Fraction(picture.time_base)


def promised_length_s(container: InputContainer, stream: VideoStream, start_s: Fraction | None) -> Fraction | None:
    """Length of the video as the file's header states it, in seconds; None where FFmpeg would only estimate it."""
    if container.format.name not in FORMATS_STATING_LENGTH:
        return None
    if stream.duration and stream.time_base:
        return stream.duration * stream.time_base
    matroska_offset_s = max(start_s or 0, 0) if container.format.name == "matroska,webm" else 0  # it states the end
    if stated := re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", stream.metadata.get("DURATION", "")):
        return 3600 * int(stated[1]) + 60 * int(stated[2]) + Fraction(stated[3]) - matroska_offset_s
    alone = len(container.streams) == 1 or container.format.name == "hls"  # else another stream may be longer
    if container.duration and alone:
        return Fraction(container.duration, av.time_base) - matroska_offset_s
    return None


def describe(
    container: InputContainer,
    stream: VideoStream,
    first: VideoFrame,
    name: str,
    options: InputOptions,
    start_s: Fraction | None,
) -> VideoInfo:
    """VideoInfo from the stream, its first picture and what the user said."""
    rate = stream.average_rate or stream.guessed_rate
    if options.frame_rate and (options.format == "rawvideo" or start_s is None):
        rate = options.frame_rate
    time_base = stream.time_base or Fraction(1, 90000)
    duration_s = stream.duration * time_base if stream.duration else None
    if duration_s is None and container.duration:
        duration_s = Fraction(container.duration, av.time_base)
    stored_aspect = Fraction(stream.sample_aspect_ratio or 1) or Fraction(1)
    if options.display_aspect_ratio:
        stored_aspect = options.display_aspect_ratio * first.height / first.width
    transfer = transfer_of(int(first.color_trc), options.transfer)
    return VideoInfo(
        name=name,
        container=container.format.name,
        codec=stream.codec_context.codec.canonical_name,
        decoder=stream.codec_context.codec.name,
        width_px=first.width,
        height_px=first.height,
        pixel_format=first.format.name,
        frame_rate=Fraction(rate) if rate else None,
        time_base=Fraction(time_base),
        start_s=start_s,
        duration_s=duration_s,
        sample_aspect_ratio=stored_aspect,
        rotation_deg=first.rotation % 360 if first.rotation % 90 == 0 else 0,
        mirrored=stream.codec_context.codec.name not in SIDE_DATA_WITH_METADATA and is_mirrored(first),
        color_matrix=color_matrix(
            int(first.colorspace), first.format.is_rgb, first.width, first.height, transfer, options.color_matrix
        ),
        color_range=color_range(int(first.color_range), first.format.is_rgb, first.format.name, options.color_range),
        transfer=transfer,
    )
