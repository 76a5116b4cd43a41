"""A report of tracks as one HTML file: a chart to zoom in, the worst segments with their frames, and provenance.

The file needs nothing beside it and no network; its own policy (CSP) forbids it any. Everything that comes from a track
is escaped by the template engine. The chart is plain SVG that the page stretches, so that it is sharp at every width,
takes the page's light or dark colours, and shows without the script, which only zooms and reads out values.
"""

import hashlib
import math
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import msgspec
from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from qclip_ffmpeg.emit.chart import (
    LEVELS,
    TIME_STEPS_S,
    Span,
    band_name,
    caution,
    clock,
    happened,
    has_levels,
    headline,
    level_of,
    margin,
    runs,
    scored,
    shown_range,
    shown_span,
    spans,
    time_marks,
    worst_segments,
    zones,
)
from qclip_ffmpeg.emit.svg import Box
from qclip_ffmpeg.track import EVENTS, FLAGS, QualityTrack, SegmentScore

if TYPE_CHECKING:
    from qclip_ffmpeg.emit.gate_html import GateView
    from qclip_ffmpeg.stills import Still, Stills

MARKS = 6
"""Times written below the chart before it is zoomed."""
NOTHING = "\N{EN DASH}"
STATISTICS = ("mean", "stderr", "p5", "p10", "median", "min", "max", "stdev", "harmonic_mean", "noise_band", "temporal")
MOST_EVENTS = 200
"""Listed of a track."""


@dataclass(frozen=True, slots=True)
class Worst:
    """One of the worst segments."""

    rank: int
    segment: SegmentScore
    stills: "Sequence[Still]"


@dataclass(frozen=True, slots=True)
class Entry:
    """A track with what the page says and draws of it."""

    number: int
    """From 1: its colour and its links."""
    track: QualityTrack
    worst: list[Worst]
    no_stills: str | None
    """Why stills are missing."""
    lines: dict[str, str]
    """SVG paths by name: score, band, motion and the five levels."""


def to_html(tracks: Sequence[QualityTrack], stills: "Sequence[Stills]" = (), gate: "GateView | None" = None) -> bytes:
    """The report of one track, or of several in one chart with a section each.

    Args:
        tracks: MAX_TRACKS at most, one at least where there is no gate.
        stills: of the worst segments of each track; none when empty.
        gate: the verdict over them, which then comes first.
    """
    alone = len(tracks) == 1
    several = "Picture quality of {} videos".format
    entries = [
        entry(number, track, stills[number - 1] if stills else None, tracks) for number, track in enumerate(tracks, 1)
    ]
    span = shown_span(tracks)
    page = environment().get_template("page.html.jinja")
    return page.render(
        title=gate.title if gate else tracks[0].source.name if alone else several(len(tracks)),
        gate=gate,
        tool=gate.report.tool if gate else tracks[0].tool,
        alone=alone,
        measured=any(track.segments for track in tracks),
        entries=entries,
        zones=zones() if has_levels(tracks) else [],
        score_range=shown_range(tracks),
        span=span,
        marks=time_marks(span, MARKS),
        lanes=lanes(tracks),
        band=band_name(alone),
        caution=caution(tracks),
        statistics=STATISTICS,
        levels=LEVELS,
        flags=FLAGS,
        kinds=EVENTS,
        most_events=MOST_EVENTS,
        style=Markup(asset("style.css")),
        script=Markup(asset("script.js")),
        script_sha256=b64encode(hashlib.sha256(asset("script.js").encode()).digest()).decode(),
        data=script_data(tracks, span),
    ).encode("utf-8", "replace")


def entry(number: int, track: QualityTrack, found: "Stills | None", tracks: Sequence[QualityTrack]) -> Entry:
    """What there is to show of one of the tracks."""
    of_segment = found.of_segment if found else {}
    worst = [Worst(rank, s, of_segment.get(s.index, ())) for rank, s in enumerate(worst_segments(track), 1)]
    return Entry(number, track, worst, found.missing if found and worst else None, paths(track, tracks))


def paths(track: QualityTrack, tracks: Sequence[QualityTrack]) -> dict[str, str]:
    """The SVG paths of a track, to the scale of all of them."""
    times = shown_span(tracks)
    scores = Box(times, shown_range(tracks))
    motion = Box(times, (0, max([1.0, *(s.motion for t in tracks for s in t.segments)])))
    drawn = {"score": "", "band": "", "motion": "", **dict.fromkeys(LEVELS, "")}
    for run in runs(segment for _, segment in scored(track)):
        middle = [s.score or 0.0 for s in run]
        margins = [margin(track, s, len(tracks) == 1) for s in run]
        drawn["score"] += scores.line(run, middle)
        lows, highs = ([v + sign * m for v, m in zip(middle, margins, strict=True)] for sign in (-1, 1))
        drawn["band"] += scores.area(run, lows, highs) if any(margins) else ""
    for run in runs(track.segments):
        drawn["motion"] += motion.line(run, [s.motion for s in run])
    for run in runs(s for s in track.segments if s.levels):
        stacked = [list(accumulate((getattr(s.levels, level) for level in LEVELS), initial=0.0)) for s in run]
        for place, level in enumerate(LEVELS):
            lows, highs = ([sums[place + above] for sums in stacked] for above in (0, 1))
            drawn[level] += Box(times, (0, 1)).area(run, lows, highs)
    return drawn


def lanes(tracks: Sequence[QualityTrack]) -> dict[str, list[tuple[int, Span]]]:
    """By flag and kind of event: the numbers of the tracks and when."""
    found: dict[str, list[tuple[int, Span]]] = {}
    for number, track in enumerate(tracks, 1):
        for name, of_track in spans(track).items():
            found.setdefault(name, []).extend((number, span) for span in of_track)
    return dict(sorted(found.items()))


def script_data(tracks: Sequence[QualityTrack], span: Span) -> dict[str, Any]:
    """What the script reads values out of. It shows them as text, never as HTML."""
    return {
        "span": span,
        "steps": TIME_STEPS_S,
        "tracks": [[(s.start_s, s.end_s, s.score, s.motion, s.flags) for s in track.segments] for track in tracks],
    }


def asset(name: str) -> str:
    """One of the files that the page is made of."""
    return files("qclip_ffmpeg.emit").joinpath("report", name).read_text(encoding="utf-8")


@cache
def environment() -> Environment:
    """The template engine: it escapes whatever is put in, and stumbles over what is not there."""
    made = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(asset),
    )
    made.filters |= {
        "clock": clock,
        "decimal": lambda value: NOTHING if value is None or not math.isfinite(value) else f"{value:.1f}",
        "level": level_of,
        "headline": headline,
        "happened": happened,
        "share": lambda value, span: f"{(value - span[0]) / (span[1] - span[0]):.6f}",
        "base64": lambda data: b64encode(data).decode(),
        "facts": facts,
    }
    return made


def facts(record: msgspec.Struct | dict[str, Any], name: str = "") -> list[tuple[str, str]]:
    """(key, value) of everything a record holds, keys as in the sidecar: "video.codec", "h264"."""
    fields = msgspec.to_builtins(record) if isinstance(record, msgspec.Struct) else record
    found = []
    for key, value in fields.items():
        path = f"{name}.{key}" if name else key
        if isinstance(value, dict):
            found += facts(value, path)
        else:
            listed = ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
            found.append((path, NOTHING if listed is None else str(listed)))
    return found
