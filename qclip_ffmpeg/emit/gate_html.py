"""The verdict over a ladder as a section of the HTML report, above that of the rungs' tracks.

It has the verdict, the rungs in a table and as a rate-quality curve, and what rules are not met, with links to the
worst segments below. As in the report of tracks, all that comes from elsewhere is escaped by the template engine.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from qclip_ffmpeg.emit.chart import MAX_TRACKS, worst_segments
from qclip_ffmpeg.emit.html import to_html
from qclip_ffmpeg.emit.names import one_line
from qclip_ffmpeg.emit.svg import Box
from qclip_ffmpeg.emit.verdict_words import (
    broken,
    change_said,
    figure,
    full_stop,
    headline,
    ladder_notes,
    limit_said,
    moment_said,
    short,
    standings,
    tenth,
    video_said,
    warned,
    worst_said,
)
from qclip_ffmpeg.track import QualityTrack
from qclip_ffmpeg.verdict import GateReport, Moment, Result, RungFigures

if TYPE_CHECKING:
    from qclip_ffmpeg.stills import Stills

RATE_STEPS = (1, 2, 5)
"""Bitrates that are marked: these, times powers of ten."""
MARGIN = 0.06
"""Of the curve's width, to its left and right."""
LEAST_DECADES = 0.3
"""Of bitrate that the curve spans: as many as between 1 and 2."""
LAST_MARK = 0.92
"""Share of the width up to which there is room for a bitrate beside its mark."""
SAME_TIME_S = 1e-3
RUNG_COLUMNS = ("score", "change", "worst", "p5", "kbit/s", "video")
RULE_COLUMNS = ("verdict", "of", "rule", "found", "allowed", "what", "policy")


@dataclass(frozen=True, slots=True)
class Row:
    """A rung of the table."""

    number: int
    """From 1, the lowest rung."""
    rung: RungFigures
    colour: int | None
    """Number of its track below; None where it has no section."""
    verdict: str
    cells: Sequence[str]


@dataclass(frozen=True, slots=True)
class Link:
    """Some seconds of a rung, and where they are shown."""

    said: str
    target: str | None


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that is not met."""

    result: Result
    verdict: str
    said: str
    links: Sequence[Link]


@dataclass(frozen=True, slots=True)
class Dot:
    """A rung on the curve."""

    row: Row
    left: float
    """Share of the width, from the left."""
    top: float
    """Share of the height, from the top."""


@dataclass(frozen=True, slots=True)
class Curve:
    """The rate-quality curve, to be stretched to whatever place there is."""

    dots: Sequence[Dot]
    lines: Sequence[tuple[str, str, float, float]]
    """(codec, SVG path, left, top of its end) of each codec."""
    hull: str
    """SVG path through the rungs on the convex hull."""
    marks: Sequence[tuple[float, str]]
    """(left, bitrate)."""


@dataclass(frozen=True, slots=True)
class GateView:
    """What the section shows."""

    report: GateReport
    title: str
    headline: str
    rows: Sequence[Row]
    findings: Sequence[Finding]
    notes: Sequence[str]
    curve: Curve | None
    """None where fewer than two rungs have a bitrate and a score."""
    rung_columns: Sequence[str]
    rule_columns: Sequence[str]
    left_out: int
    """Rungs that have no section below."""
    results: Sequence[Sequence[str]]
    """Cells of the table of all results."""


def to_gate_html(
    report: GateReport, tracks: Mapping[str, QualityTrack], stills: "Mapping[str, Stills] | None" = None
) -> bytes:
    """The page: the verdict, then the report of the tracks of as many rungs as can be told apart by colour.

    Args:
        report: the verdict.
        tracks: by the name of their rung.
        stills: likewise, of the rungs that `shown_rungs` names.
    """
    shown = shown_rungs(report, tracks)
    found = [stills[name] for name in shown] if stills else []
    return to_html([tracks[name] for name in shown], found, view(report, tracks, shown))


def shown_rungs(report: GateReport, tracks: Mapping[str, QualityTrack]) -> list[str]:
    """Names of the rungs that get a section, in the ladder's order: MAX_TRACKS, those with broken rules first."""
    names = [rung.name for rung in report.rungs if rung.name in tracks]
    stands = standings(report)
    order = ("failed", "not_measured", "warned", "passed")
    chosen = sorted(names, key=lambda name: order.index(stands[name]))[:MAX_TRACKS]
    return [name for name in names if name in chosen]


def view(report: GateReport, tracks: Mapping[str, QualityTrack], shown: Sequence[str]) -> GateView:
    """All that the section says and draws."""
    numbers = {name: number for number, name in enumerate(shown, 1)}
    stands = standings(report)
    rows = [
        Row(number, rung, numbers.get(rung.name), said(stands[rung.name]), rung_cells(rung))
        for number, rung in enumerate(report.rungs, 1)
    ]
    findings = [finding(result, numbers, tracks) for result in (*broken(report), *warned(report))]
    return GateView(
        report,
        title=f"{one_line(report.policy)}: {'passed' if report.passed else 'failed'}",
        headline=headline(report),
        rows=rows,
        findings=findings,
        notes=ladder_notes(report),
        curve=curve(rows, report),
        rung_columns=RUNG_COLUMNS,
        rule_columns=RULE_COLUMNS,
        left_out=len(report.rungs) - len(shown),
        results=[result_cells(result) for result in report.results],
    )


def said(standing: str) -> str:
    """A standing in words."""
    return standing.replace("_", " ")


def rung_cells(rung: RungFigures) -> list[str]:
    """What the table says of a rung, under the titles of RUNG_COLUMNS."""
    return [
        tenth(rung.pooled.mean),
        change_said(rung),
        worst_said(rung),
        tenth(rung.pooled.p5),
        figure(rung.bitrate_kbps, decimals=0),
        video_said(rung),
    ]


def result_cells(result: Result) -> list[str]:
    """What the table says of a result, under the titles of RULE_COLUMNS."""
    return [
        said(outcome(result)),
        one_line(result.subject),
        one_line(result.rule),
        figure(result.value, result.unit),
        limit_said(result),
        one_line(result.message),
        one_line(result.where or ""),
    ]


def outcome(result: Result) -> str:
    """A result as the standing of a rung that has no other."""
    return "warned" if result.level == "warn" and result.status != "passed" else result.status


def finding(result: Result, numbers: Mapping[str, int], tracks: Mapping[str, QualityTrack]) -> Finding:
    """A rule that is not met, with links to the sections of its rungs."""
    shown = [name for name in result.rungs if name in numbers]
    links = [Link(moment_said(moment), target(moment, shown, numbers, tracks)) for moment in result.moments]
    return Finding(result, said(outcome(result)), one_line(full_stop(result.message)), links)


def target(
    moment: Moment, names: Sequence[str], numbers: Mapping[str, int], tracks: Mapping[str, QualityTrack]
) -> str | None:
    """Where the page shows a moment of some rungs: among the worst segments of one, else its section; None: nowhere."""
    for name in names:
        for rank, segment in enumerate(worst_segments(tracks[name]), 1):
            if segment.score == moment.score and abs(segment.start_s - moment.start_s) < SAME_TIME_S:
                return f"#video-{numbers[name]}-worst-{rank}"
    return f"#video-{numbers[names[0]]}" if names else None


def curve(rows: Sequence[Row], report: GateReport) -> Curve | None:
    """Score over the logarithm of the bitrate, a line a codec."""
    drawn = [row for row in rows if rate_of(row.rung) is not None and score_of(row.rung) is not None]
    if len(drawn) < 2:
        return None
    drawn.sort(key=lambda row: (row.rung.codec or "", rate_of(row.rung)))
    rates = [math.log10(rate_of(row.rung) or 1) for row in drawn]
    middle, half = (min(rates) + max(rates)) / 2, max(max(rates) - min(rates), LEAST_DECADES) * (0.5 + MARGIN)
    span = (middle - half, middle + half)
    low, high = report.model.score_range if report.model else (0.0, 100.0)
    box = Box(span, (low, high))

    def place(row: Row) -> tuple[float, float]:
        share = (math.log10(rate_of(row.rung) or 1) - span[0]) / (span[1] - span[0])
        return share, min(1.0, max(0.0, (high - (score_of(row.rung) or 0)) / (high - low)))

    def path(through: Sequence[Row]) -> str:
        points = (f"{box.x(math.log10(rate_of(r.rung) or 1))} {box.y(score_of(r.rung) or 0)}" for r in through)
        return "M" + "L".join(points) if len(through) > 1 else ""

    codecs = [(codec, list(rows)) for codec, rows in groupby(drawn, key=lambda row: row.rung.codec or "")]
    corners = set(report.analysis.hull) if report.analysis else set()
    return Curve(
        dots=[Dot(row, *place(row)) for row in sorted(drawn, key=lambda row: row.number)],
        lines=[(short(codec), path(rows), *place(rows[-1])) for codec, rows in codecs],
        hull="".join(path([row for row in rows if row.rung.name in corners]) for _, rows in codecs),
        marks=rate_marks(span),
    )


def rate_of(rung: RungFigures) -> float | None:
    """The bitrate in kbit/s, where it can stand on a logarithmic axis."""
    rate = rung.bitrate_kbps
    return rate if rate is not None and math.isfinite(rate) and rate > 0 else None


def score_of(rung: RungFigures) -> float | None:
    """The mean score."""
    mean = rung.pooled.mean
    return mean if mean is not None and math.isfinite(mean) else None


def rate_marks(span: tuple[float, float]) -> list[tuple[float, str]]:
    """(share of the width, bitrate) of the marks within a span of log10 kbit/s; of many decades only the powers."""
    decades = range(math.floor(span[0]), math.ceil(span[1]) + 1)
    steps = RATE_STEPS if len(decades) <= 4 else RATE_STEPS[:1]
    logs = [decade + math.log10(step) for decade in decades for step in steps]
    return [
        ((log - span[0]) / (span[1] - span[0]), f"{10**log:,.4g}" if log < 0 else f"{round(10**log):,}")
        for log in logs
        if 0 <= (log - span[0]) / (span[1] - span[0]) <= LAST_MARK
    ]
