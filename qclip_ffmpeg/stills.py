"""Stills: the frames that were scored, as small pictures for people, decoded once more from the file.

A measurement keeps no pictures, since nobody knows before its end which segments are the worst. Reading these few spans
again costs little beside scoring, and one frame at a time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from qclip_ffmpeg.errors import QClipError
from qclip_ffmpeg.frame import Frame, VideoInfo
from qclip_ffmpeg.inputs import InputOptions, is_file
from qclip_ffmpeg.pictures import jpeg
from qclip_ffmpeg.reader import open_video
from qclip_ffmpeg.track import TIME_DECIMALS, Area, FrameTime, SegmentScore
from qclip_ffmpeg.views import Display, on_screen, small_picture

LONG_SIDE_PX = 320
MOST_A_SEGMENT = 8
SLACK_S = Fraction(1, 1000)  # reported times are rounded


@dataclass(frozen=True, slots=True)
class Still:
    """One frame that was scored, without its black bars."""

    time_s: float
    """Seconds after the first video frame."""
    width_px: int
    height_px: int
    jpeg: bytes


@dataclass(frozen=True, slots=True)
class Stills:
    """Stills of one video."""

    of_segment: Mapping[int, Sequence[Still]] = field(default_factory=dict)
    """By the segment's index; a segment whose frames were not found again is not there."""
    missing: str | None = None
    """Why some or all are missing; None where none are."""


def stills(source: str, segments: Sequence[SegmentScore], options: InputOptions | None = None) -> Stills:
    """Stills of the scored frames of segments, MOST_A_SEGMENT of each at most. What cannot be read again is said.

    Args:
        source: as it was measured; only a file can be read again and hold the same frames.
        segments: of its track.
        options: as it was measured with.
    """
    if segments and not is_file(source):
        return Stills(missing="the scored frames are not shown, only a file can be read a second time")
    found = {}
    try:
        for segment in segments:
            if seen := stills_of(source, segment, options or InputOptions()):
                found[segment.index] = seen
    except QClipError as error:
        return Stills(found, f"scored frames are missing ({error})")
    lost = len(found) < sum(bool(segment.frames) for segment in segments)
    return Stills(found, "scored frames are missing, the file does not hold them at their time" if lost else None)


def stills_of(source: str, segment: SegmentScore, options: InputOptions) -> list[Still]:
    """The stills of one segment: those of its scored frames that the file still has at their time."""
    chosen = spread(segment.frames, MOST_A_SEGMENT)
    if not chosen:
        return []
    start_s, end_s = (Fraction(frame.time_s) for frame in (chosen[0], chosen[-1]))
    start_s = max(Fraction(0), start_s - SLACK_S)
    span = replace(options, start_s=start_s, duration_s=end_s + SLACK_S - start_s, idle_s=None)
    wanted = {(frame.pts, frame.time_s) for frame in chosen}
    with open_video(source, span) as video:
        return [
            still(frame, video.info, segment.active_picture_px)
            for frame in video
            if (frame.pts, round(float(frame.time_s), TIME_DECIMALS)) in wanted
        ]


def spread(frames: Sequence[FrameTime], most: int) -> list[FrameTime]:
    """At most `most` of the frames, evenly, the first and the last among them."""
    if len(frames) <= most:
        return list(frames)
    return [frames[n * (len(frames) - 1) // (most - 1)] for n in range(most)]


def still(frame: Frame, info: VideoInfo, area: Area | None) -> Still:
    """One frame, cut to `area`, with square pixels, LONG_SIDE_PX long."""
    whole = on_screen(frame.rgb(), info.transfer)
    _, height_px, width_px = whole.shape
    picture = whole[:, area.y : area.y + area.height, area.x : area.x + area.width] if area else whole
    part = Fraction(picture.shape[2], width_px), Fraction(picture.shape[1], height_px)
    shown_px = Display(None, None).shown_size_px(info, part)
    scale = LONG_SIDE_PX / max(shown_px)
    size_px = max(1, round(shown_px[0] * scale)), max(1, round(shown_px[1] * scale))
    time_s = round(float(frame.time_s), TIME_DECIMALS)
    return Still(time_s, *size_px, jpeg(small_picture(picture, size_px, info.transfer)))
