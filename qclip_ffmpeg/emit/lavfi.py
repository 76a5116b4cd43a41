"""What FFmpeg's `metadata=mode=print` would print, had a filter measured: lavfi.qclip.* keys, a block a segment.

frame and pts are those of the first frame of the segment; frames are counted from where the measurement started, as
FFmpeg counts them after -ss.
"""

import math
from fractions import Fraction

from qclip_ffmpeg.emit.figures import decimal, events_between, segment_figures
from qclip_ffmpeg.track import QualityTrack, SegmentScore

PREFIX = "lavfi.qclip."


def to_lavfi(track: QualityTrack) -> bytes:
    """The blocks of a track; nothing at all where it has no segments."""
    time_base = Fraction(track.source.video.time_base) if track.source.video else None
    lines: list[str] = []
    frame = 0
    for segment in track.segments:
        lines += block(segment, frame, time_base, events_between(track, segment.start_s, segment.end_s))
        frame += segment.frame_count
    return "".join(line + "\n" for line in lines).encode()


def block(segment: SegmentScore, frame: int, time_base: Fraction | None, events: str) -> list[str]:
    """The lines of one segment, whose first frame has the number `frame` and stamps in units of `time_base` seconds.

    events: those that begin in it, as `figures.events_between` says them.
    """
    pts = "NOPTS" if segment.start_pts is None else str(segment.start_pts)
    time = "NOPTS" if segment.start_pts is None or time_base is None else printed_time(segment.start_pts * time_base)
    span = {"start_s": decimal(segment.start_s), "end_s": decimal(segment.end_s)}
    values = segment_figures(segment) | span | ({"events": events} if events else {})
    return [f"frame:{frame:<4} pts:{pts:<7} pts_time:{time}", *(f"{PREFIX}{key}={values[key]}" for key in values)]


def printed_time(seconds: Fraction) -> str:
    """Seconds as FFmpeg's av_ts2timestr prints them: six significant decimals, zeros at the end left out."""
    value = float(seconds)
    decimals = 5 - math.floor(math.log10(abs(value))) if 0 < abs(value) < 1 else 6
    return f"{value:.{decimals}f}".rstrip("0").rstrip(".")
