"""WebVTT: a cue a segment, with the segment's JSON in it, for players' metadata tracks and for a track inside Matroska.

The JSON is that of the sidecar's `segments[]`, in one line.
"""

import msgspec

from qclip_ffmpeg.emit.figures import clock_time
from qclip_ffmpeg.track import QualityTrack, SegmentScore

HEADER = "WEBVTT\n\nNOTE Q-CLIP: a JSON object a cue, as segments[] of the sidecar\n"
CUE_MIN_S = 0.001  # WebVTT counts milliseconds, and a cue must not end where it starts


def to_webvtt(track: QualityTrack, offset_s: float = 0.0) -> bytes:
    """The cues of a track.

    Args:
        offset_s: when the first video frame is shown, on the clock that the cues are to be on.
    """
    return (HEADER + "".join("\n" + cue(segment, offset_s) for segment in track.segments)).encode()


def cue(segment: SegmentScore, offset_s: float) -> str:
    """One segment's cue; its identifier is the segment's index."""
    start_s = offset_s + segment.start_s
    end_s = max(offset_s + segment.end_s, start_s + CUE_MIN_S)
    span = f"{clock_time(start_s, 3)} --> {clock_time(end_s, 3)}"
    return f"{segment.index}\n{span}\n{msgspec.json.encode(segment).decode()}\n"
