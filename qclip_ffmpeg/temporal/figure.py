"""The temporal figure of a track: how much of its time events leave whole."""

from collections.abc import Sequence

import msgspec

from qclip_ffmpeg.track import MEANT_EVENTS, SCORE_DECIMALS, Event, Pooled, SegmentScore

LEAST_S = 1.0
"""An event is noticed for so long: a dropped frame is an incident, not a 25th of a second."""


def with_temporal(
    pooled: Pooled, events: Sequence[Event], segments: Sequence[SegmentScore], score_range: tuple[float, float]
) -> Pooled:
    """Pooled figures with the temporal figure of the segments' events and its combination with the mean."""
    temporal = temporal_figure(events, segments)
    combined = None
    if temporal is not None and pooled.mean is not None and score_range == (0, 100):
        combined = round(pooled.mean * temporal / 100, SCORE_DECIMALS)
    return msgspec.structs.replace(pooled, temporal=temporal, mean_with_temporal=combined)


def temporal_figure(events: Sequence[Event], segments: Sequence[SegmentScore]) -> float | None:
    """0 to 100: 100 (1 - spoilt time / time). At every moment what is spoilt is the sum of the severities of the events
    then, 1 at most; each lasts LEAST_S at least. None without segments."""
    length_s = sum(s.end_s - s.start_s for s in segments)
    if length_s <= 0:
        return None
    until_s = segments[-1].end_s
    edges: list[tuple[float, float]] = []
    for event in events:
        if event.kind in MEANT_EVENTS or event.start_s >= until_s:
            continue
        edges.append((event.start_s, event.severity))
        edges.append((min(until_s, max(event.end_s, event.start_s + LEAST_S)), -event.severity))
    spoilt_s, level, before_s = 0.0, 0.0, 0.0
    for time_s, step in sorted(edges):
        spoilt_s += min(1.0, max(0.0, level)) * (time_s - before_s)
        level, before_s = level + step, time_s
    return round(100 * (1 - min(1.0, spoilt_s / length_s)), SCORE_DECIMALS)
