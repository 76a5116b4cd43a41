"""The JSON sidecar: QualityTrack <-> JSON, and its schema.

python -m qclip_ffmpeg.emit.sidecar          prints the JSON Schema
"""

import json
from collections.abc import Sequence
from pathlib import Path

from qclip_ffmpeg.emit.documents import Kind, written
from qclip_ffmpeg.track import SCHEMA_VERSION, SCORE_DECIMALS, QualityTrack

SIDECAR_SUFFIX = ".qclip.json"
TRACK = Kind(
    QualityTrack, "qclip-track", SCHEMA_VERSION, "quality track", "measure it again with qclip-probe --sidecar"
)


def to_json(tracks: QualityTrack | Sequence[QualityTrack]) -> bytes:
    """One track as an object, several as an array; indented UTF-8 with a final newline.

    The same tracks give the same bytes. Numbers that are not finite become null.
    """
    return written(tracks)


def from_json(data: bytes, name: str) -> QualityTrack:
    """Read one sidecar. Keys that are not known are ignored; older minor versions are read.

    Args:
        data: the file's bytes.
        name: what to call it in messages.

    Raises:
        InputError: not a quality track, one of a newer major version, or with a score that its model cannot give.
    """
    track = TRACK.read(data, name)
    check_scores(track, name)
    return track


def check_scores(track: QualityTrack, name: str) -> None:
    """Raises InputError where a score lies outside the range of its model, which the schema cannot say."""
    low, high = track.model.score_range
    rounding = 10**-SCORE_DECIMALS
    for segment in track.segments:
        if segment.score is not None and not low - rounding <= segment.score <= high + rounding:
            raise TRACK.refusal(
                name,
                f"segments[{segment.index}].score is {segment.score:g}, outside model.score_range "
                f"({low:g} to {high:g})",
            )


def sidecar_path(source: Path) -> Path:
    """Where the sidecar of a media file goes: <input>.qclip.json beside it."""
    return source.with_name(source.name + SIDECAR_SUFFIX)


def json_schema() -> dict[str, object]:
    """JSON Schema (2020-12) of one quality track, generated from the types in `track`."""
    return TRACK.json_schema()


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2))
