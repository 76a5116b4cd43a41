"""WebVTT: a cue a segment and a cue an event, with their JSON in them, for players and for a track inside Matroska.

The JSON is that of the sidecar's `segments[]` and `events[]`, in one line. Cues of events are named "event-0" and on.
"""

import msgspec

from qclip_ffmpeg.emit.figures import clock_time
from qclip_ffmpeg.track import Event, QualityTrack, SegmentScore

HEADER = "WEBVTT\n\nNOTE Q-CLIP: a JSON object a cue, as segments[] and events[] of the sidecar\n"
CUE_MIN_S = 0.001  # WebVTT counts milliseconds, and a cue must not end where it starts


def to_webvtt(track: QualityTrack, offset_s: float = 0.0) -> bytes:
    """The cues of a track.

    Args:
        offset_s: when the first video frame is shown, on the clock that the cues are to be on.
    """
    named = [(str(segment.index), segment) for segment in track.segments]
    cues: list[tuple[str, SegmentScore | Event]] = [*named, *((f"event-{n}", e) for n, e in enumerate(track.events))]
    in_order = sorted(cues, key=lambda named: named[1].start_s)  # as the format asks; segments before events
    return (HEADER + "".join("\n" + cue(name, about, offset_s) for name, about in in_order)).encode()


def cue(name: str, about: SegmentScore | Event, offset_s: float) -> str:
    """One cue, with its identifier."""
    start_s = offset_s + about.start_s
    end_s = max(offset_s + about.end_s, start_s + CUE_MIN_S)
    span = f"{clock_time(start_s, 3)} --> {clock_time(end_s, 3)}"
    return f"{name}\n{span}\n{msgspec.json.encode(about).decode()}\n"
