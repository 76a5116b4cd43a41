"""NDJSON: a line of what is known before the first score, a line a segment, a line of what is known at the end.

The three kinds of lines are written by three functions, so that a track can be written while it is measured. A line
says what it is by its "type"; its other keys are the sidecar's. Lines of several tracks follow each other.
"""

import msgspec

from qclip_ffmpeg.track import QualityTrack, SegmentScore

HEADER_FIELDS = ("schema", "schema_version", "tool", "source", "model", "settings")
SUMMARY_FIELDS = ("pooled", "events", "warnings", "complete", "timing")


def header(track: QualityTrack) -> bytes:
    """The first line: which input, model and settings. Needs no segment of the track."""
    return line("header", track, HEADER_FIELDS)


def segment(scored: SegmentScore) -> bytes:
    """The line of one segment."""
    return line("segment", scored, SegmentScore.__struct_fields__)


def end(track: QualityTrack) -> bytes:
    """The last line: pooled figures, warnings, and whether the track is complete."""
    return line("summary", track, SUMMARY_FIELDS)


def line(kind: str, values: msgspec.Struct, fields: tuple[str, ...]) -> bytes:
    """Some fields of a struct as a JSON object of one line. Fields that are unset are left out."""
    known = {name: value for name in fields if (value := getattr(values, name)) is not msgspec.UNSET}
    return msgspec.json.encode({"type": kind} | known) + b"\n"


def to_ndjson(track: QualityTrack) -> bytes:
    """All lines of a whole track."""
    return b"".join([header(track), *(segment(scored) for scored in track.segments), end(track)])
