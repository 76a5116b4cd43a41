"""CSV (RFC 4180, with Unix line ends): a row a segment, or a row an event, of all tracks in one table.

`csv_table` is what every CSV of this package is written with.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO

from qclip_ffmpeg.emit.figures import PLACE, SEGMENT_FIGURES, decimal, segment_figures
from qclip_ffmpeg.track import Event, QualityTrack

PLACE_OF_ROW = ("source", *PLACE)
OF_EVENT = ("source", *Event.__struct_fields__)


def to_csv(tracks: Sequence[QualityTrack]) -> bytes:
    """A header and a row a segment. A cell without a value is empty; a track without segments has no row."""
    rows = []
    for track in tracks:
        for segment in track.segments:
            place = (
                track.source.name,
                segment.index,
                decimal(segment.start_s),
                decimal(segment.end_s),
                segment.start_pts,
            )
            rows.append({**dict(zip(PLACE_OF_ROW, place, strict=True)), **segment_figures(segment)})
    return csv_table(PLACE_OF_ROW + SEGMENT_FIGURES, rows)


def to_events_csv(tracks: Sequence[QualityTrack]) -> bytes:
    """A header and a row an event. A cell without a value is empty; a track without events has no row."""
    rows = []
    for track in tracks:
        for event in track.events:
            said = {name: getattr(event, name) for name in Event.__struct_fields__}
            numbers = {name: decimal(value) for name, value in said.items() if isinstance(value, float)}
            rows.append({"source": track.source.name, "kind": event.kind, "detail": event.detail or ""} | numbers)
    return csv_table(OF_EVENT, rows)


def csv_table(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> bytes:
    """A header and a line a row, UTF-8. What is None or missing is an empty cell; numbers read back as they are.

    Raises:
        ValueError: a row has what is no column.
    """
    text = StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
