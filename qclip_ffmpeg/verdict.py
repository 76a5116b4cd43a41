"""GateReport: what a gate found. The contract of the gate's JSON, and all that the other reports are made of.

Field order, names and units are what is written; the published JSON Schema is generated from these types. Readers
ignore keys they do not know; meanings never change within a major version.
"""

from collections.abc import Iterable
from typing import Annotated, Literal

from msgspec import Meta, Struct

from qclip_ffmpeg.track import Model, Pooled, Tool, described

REPORT_VERSION = "1.0"

Level = Literal["error", "warn"]
Status = Literal["passed", "failed", "not_measured"]
Bound = Literal["min", "max"]


class Moment(Struct, frozen=True):
    """A segment that explains a result."""

    start_s: Annotated[float, described("inclusive, seconds after the first video frame")]
    end_s: Annotated[float, described("exclusive")]
    score: Annotated[float | None, described("of the segment; null: it has none")]


class RungFigures(Struct, frozen=True, kw_only=True):
    """One rung of the ladder: what its file is and how it scored."""

    name: Annotated[str, described("what the ladder calls it, else its file's name; unique in the report")]
    source: Annotated[str, described("file or URL that was measured")]
    codec: Annotated[str | None, described("FFmpeg's name of the codec")]
    width_px: Annotated[int | None, described("columns as stored")]
    height_px: Annotated[int | None, described("lines as stored")]
    frame_rate: Annotated[str | None, described("Hz, as a fraction")]
    bitrate_kbps: Annotated[float | None, described("of the video stream; null where it is not known")]
    pooled: Pooled
    worst: Annotated[list[Moment], described("the segments with the lowest scores, lowest first, five at most")]
    complete: Annotated[bool, described("false: it broke off or was stopped; what was measured is no whole file")]
    baseline: Annotated[float | None, described("pooled.mean in the baseline; null: there is none")] = None
    change: Annotated[float | None, described("pooled.mean less that of the baseline")] = None
    baseline_kbps: Annotated[float | None, described("bitrate in the baseline; null: there is none")] = None


class Result(Struct, frozen=True, kw_only=True):
    """One rule, applied to one rung or to the ladder."""

    rule: Annotated[str, described('kind and figure, for example "pooled.p5", "segments.worst", "ladder.inversion"')]
    level: Annotated[Level, described("error: a breach fails the gate; warn: it is only told")]
    status: Annotated[
        Status, described("failed: the rule is broken; not_measured: there is no figure to hold against the limit")
    ]
    subject: Annotated[str, described('a rung, two rungs ("720p over 480p") or "ladder"')]
    rungs: Annotated[list[str], described("names of the rungs that it is about")]
    value: Annotated[float | None, described("the figure that was found; null: there is none")]
    bound: Annotated[Bound | None, described("whether the limit is the least or the most that is allowed")]
    limit: Annotated[float | None, described("the policy's limit, after the noise band was allowed for")]
    unit: Annotated[str, described('of value and limit: "score", "%", "s" or "px"; "" where they have none')]
    message: Annotated[str, described("what was found and what was asked for, one sentence without a rung's name")]
    moments: Annotated[list[Moment], described("the segments that explain a breach, worst first, five at most")] = []
    where: Annotated[str | None, described("line of the policy that made the rule: FILE:LINE")] = None


class OffHull(Struct, frozen=True):
    """A rung below the upper convex hull of the rate-quality points of its codec."""

    rung: str
    below: Annotated[float, described("score units between the hull at its bitrate and its score")]


class Crossing(Struct, frozen=True):
    """The bitrate from which more lines look better."""

    codec: str
    lower_height_px: int
    upper_height_px: int
    bitrate_kbps: Annotated[float, described("where the rate-quality curves of the two resolutions meet")]


class Suggestion(Struct, frozen=True):
    """What to do with a rung."""

    rung: str
    action: Literal["drop", "move"]
    reason: Annotated[str, described("one sentence")]
    bitrate_kbps: Annotated[float | None, described("where to move it to; null with drop")] = None


class Analysis(Struct, frozen=True, kw_only=True):
    """The ladder as a whole: its rate-quality curve. A list is empty where there are too few rungs with a bitrate."""

    hull: Annotated[
        list[str], described("rungs on the upper convex hull of score over bitrate, each codec's own, by bitrate")
    ]
    off_hull: list[OffHull]
    crossings: list[Crossing]
    suggestions: list[Suggestion]
    bd_rate_percent: Annotated[
        float | None,
        described("Bjontegaard delta: mean bitrate change against the baseline at equal score; null: none to be had"),
    ] = None
    bd_score: Annotated[
        float | None,
        described("Bjontegaard delta: mean score change against the baseline at equal bitrate; null: none to be had"),
    ] = None
    no_bd: Annotated[
        str | None,
        described("why a Bjontegaard delta is missing, one sentence; null: none is, or no baseline is there"),
    ] = None


class Compared(Struct, frozen=True):
    """The baseline that a ladder was held against."""

    source: Annotated[str, described("its file")]
    rungs: Annotated[int, described("how many rungs both ladders have")]


class GateReport(Struct, frozen=True, kw_only=True):
    """A policy and its verdict over one ladder."""

    schema: Literal["qclip-gate"]
    schema_version: str
    tool: Tool
    policy: Annotated[str, described("name of the preset or of the policy's file")]
    model: Annotated[Model | None, described("that scored all rungs")]
    display: Annotated[str | None, described('screen the scores are defined at, "WIDTHxHEIGHT" or "native"')]
    baseline: Compared | None
    passed: Annotated[bool, described("no rule of level error failed or could not be measured")]
    rungs: Annotated[list[RungFigures], described("lowest rung first")]
    results: Annotated[list[Result], described("every rule that was applied, in the policy's order")]
    analysis: Analysis | None
    warnings: Annotated[list[str], Meta(description="what a reader of the verdict should know, one sentence each")]


def passes(results: Iterable[Result]) -> bool:
    """What `GateReport.passed` says of the results."""
    return all(result.status == "passed" or result.level == "warn" for result in results)
