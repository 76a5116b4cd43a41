"""CSV (RFC 4180, with Unix line ends): a row a segment, of all tracks in one table."""

import csv
from collections.abc import Sequence
from io import StringIO

from qclip_ffmpeg.emit.figures import PLACE, SEGMENT_FIGURES, decimal, segment_figures
from qclip_ffmpeg.track import QualityTrack

PLACE_OF_ROW = ("source", *PLACE)


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
