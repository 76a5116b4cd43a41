"""CSV (RFC 4180, with Unix line ends): a row a segment, or a row an event, of all tracks in one table."""

import csv
from collections.abc import Sequence
from io import StringIO

from qclip_ffmpeg.emit.figures import PLACE, SEGMENT_FIGURES, decimal, segment_figures
from qclip_ffmpeg.track import Event, QualityTrack

PLACE_OF_ROW = ("source", *PLACE)
OF_EVENT = ("source", *Event.__struct_fields__)


def to_csv(tracks: Sequence[QualityTrack]) -> bytes:
    """A header and a row a segment. A cell without a value is empty; a track without segments has no row."""
    text = StringIO()
    table = csv.DictWriter(text, PLACE_OF_ROW + SEGMENT_FIGURES, restval="", lineterminator="\n")
    table.writeheader()
    for track in tracks:
        for segment in track.segments:
            place = (
                track.source.name,
                segment.index,
                decimal(segment.start_s),
                decimal(segment.end_s),
                segment.start_pts,
            )
            table.writerow(dict(zip(PLACE_OF_ROW, place, strict=True)) | segment_figures(segment))
    return text.getvalue().encode()


def to_events_csv(tracks: Sequence[QualityTrack]) -> bytes:
    """A header and a row an event. A cell without a value is empty; a track without events has no row."""
    text = StringIO()
    table = csv.DictWriter(text, OF_EVENT, restval="", lineterminator="\n")
    table.writeheader()
    for track in tracks:
        for event in track.events:
            said = {name: getattr(event, name) for name in Event.__struct_fields__}
            numbers = {name: decimal(value) for name, value in said.items() if isinstance(value, float)}
            table.writerow({"source": track.source.name, "kind": event.kind, "detail": event.detail or ""} | numbers)
    return text.getvalue().encode()
