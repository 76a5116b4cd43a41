"""The figures of a track as text: the same names and the same digits in every text format."""

import math

from qclip_ffmpeg.track import NUMBERS, TIME_DECIMALS, Levels, Pooled, QualityTrack, SegmentScore

PLACE = ("index", "start_s", "end_s", "start_pts")
SEGMENT_FIGURES = (*(name for name in NUMBERS if name not in PLACE), "flags")
"""Names of what `segment_figures` can hold, in its order."""


def segment_figures(segment: SegmentScore) -> dict[str, str]:
    """What is known of a segment, times aside, under the sidecar's names; what is null there is left out here.

    The levels stand beside the score. Flags are separated by a space.
    """
    levels = {name: getattr(segment.levels, name, None) for name in Levels.__struct_fields__}
    numbers = {name: levels.get(name, getattr(segment, name, None)) for name in SEGMENT_FIGURES[:-1]}
    return known(numbers) | ({"flags": " ".join(segment.flags)} if segment.flags else {})


def events_between(track: QualityTrack, start_s: float, end_s: float) -> str:
    """The events that begin in a span, as text: "cut:1.2-1.24 freeze:2-3.5"; "" where none does."""
    begun = [event for event in track.events if start_s <= event.start_s < end_s]
    return " ".join(f"{event.kind}:{decimal(event.start_s)}-{decimal(event.end_s)}" for event in begun)


def pooled_figures(track: QualityTrack) -> dict[str, str]:
    """The pooled figures of a track that there are, under the sidecar's names."""
    return known({name: getattr(track.pooled, name) for name in Pooled.__struct_fields__})


def known(numbers: dict[str, float | None]) -> dict[str, str]:
    """The numbers that there are, as text. What is not finite is not there, as in the sidecar."""
    return {k: decimal(v) for k, v in numbers.items() if v is not None and math.isfinite(v)}


def decimal(value: float) -> str:
    """A number with as many decimals as it has, six at most, and never with an exponent."""
    return f"{round(value, TIME_DECIMALS) + 0.0:.{TIME_DECIMALS}f}".rstrip("0").rstrip(".")  # + 0.0: no -0


def clock_time(seconds: float, decimals: int) -> str:
    """HH:MM:SS with 2 (ASS) or 3 (WebVTT) decimals; times before 0 are 0."""
    units = max(0, round(seconds * 10**decimals))
    whole, rest = divmod(units, 10**decimals)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}.{rest:0{decimals}}"
