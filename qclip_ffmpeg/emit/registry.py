"""Every format a track can be written in, by the name that -of takes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from qclip_ffmpeg.emit.ass import to_ass
from qclip_ffmpeg.emit.csv import to_csv, to_events_csv
from qclip_ffmpeg.emit.ffmetadata import to_ffmetadata
from qclip_ffmpeg.emit.filtergraph import to_filtergraph
from qclip_ffmpeg.emit.lavfi import to_lavfi
from qclip_ffmpeg.emit.ndjson import to_ndjson
from qclip_ffmpeg.emit.prometheus import to_prometheus
from qclip_ffmpeg.emit.sidecar import to_json
from qclip_ffmpeg.emit.webvtt import to_webvtt
from qclip_ffmpeg.errors import UsageError
from qclip_ffmpeg.track import QualityTrack


@dataclass(frozen=True, slots=True)
class Format:
    """One output format. What it writes depends on the tracks alone: the same tracks give the same bytes."""

    name: str
    suffixes: tuple[str, ...]
    """File name endings that mean this format and no other; lower case."""
    one: Callable[[QualityTrack], bytes]
    """Writes the track of a single input."""
    several: Callable[[Sequence[QualityTrack]], bytes] | None = None
    """Writes the tracks of several inputs; None where the format describes one video only."""
    by_name: bool = False
    """Whether inputs are told apart by their names alone."""


FORMATS = {
    form.name: form
    for form in (
        Format("json", (".json",), to_json, to_json),
        Format("ndjson", (".ndjson", ".jsonl"), to_ndjson, lambda tracks: b"".join(map(to_ndjson, tracks))),
        Format("csv", (".csv",), lambda track: to_csv([track]), to_csv),
        Format("events", (".events",), lambda track: to_events_csv([track]), to_events_csv),
        Format("lavfi", (".lavfi",), to_lavfi),
        Format("ffmetadata", (".ffmeta", ".ffmetadata"), to_ffmetadata),
        Format("webvtt", (".vtt", ".webvtt"), to_webvtt),
        Format("ass", (".ass",), to_ass),
        Format("filtergraph", (".filtergraph",), to_filtergraph),
        Format("prometheus", (".prom",), lambda track: to_prometheus([track]), to_prometheus, by_name=True),
    )
}


def format_named(name: str) -> Format:
    """The format that -of NAME means.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in FORMATS:
        raise UsageError(f"-of {name}: no such output format; choose one of {', '.join(FORMATS)}")
    return FORMATS[name]


def format_of_file(path: Path) -> Format:
    """The format that a file's name ends in.

    Raises:
        UsageError: its ending means none.
    """
    for form in FORMATS.values():
        if path.suffix.lower() in form.suffixes:
            return form
    raise UsageError(
        f"-o {path}: its name does not say which format; add -of FORMAT ({', '.join(FORMATS)}); "
        "pictures are drawn with --plot and --html"
    )
