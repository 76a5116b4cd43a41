"""The verdict over a ladder as a section of the HTML report, above that of the rungs' tracks.

It has the verdict, the rungs in a table and as a rate-quality curve, and what rules are not met, with links to the
worst segments below. As in the report of tracks, all that comes from elsewhere is escaped by the template engine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qclip_ffmpeg.emit.chart import MAX_TRACKS, worst_segments, zones
from qclip_ffmpeg.emit.html import to_html
from qclip_ffmpeg.emit.ladder_chart import FULL_RANGE, LadderChart, ladder_chart
from qclip_ffmpeg.emit.names import one_line
from qclip_ffmpeg.emit.svg import HEIGHT, WIDTH, coordinate
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

LAST_MARK = 0.86
"""Share of the width up to which there is room for a bitrate beside its mark."""
ZONE_LEAST = 2
"""Score units of a level that must be in sight for its name."""
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
    """The ladder's chart as SVG paths and shares of the place that it is stretched to."""

    dots: Sequence[Dot]
    lines: Sequence[str]
    """Paths, one a codec and number of lines."""
    hulls: Sequence[str]
    baseline: Sequence[str]
    ends: Sequence[tuple[str, float, float]]
    """(codec, left, top) of the end of each hull, where there are several codecs."""
    marks: Sequence[tuple[float, str]]
    """(left, bitrate in kbit/s)."""
    scores: Sequence[float]
    """Highest, middle and lowest score."""
    zones: Sequence[tuple[str, float, float]]
    """(level, lower end, upper end) in per cent of the height."""


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
    """Score over bitrate; None where fewer than two rungs have both."""
    chart = ladder_chart(report)
    row_of = {row.rung.name: row for row in rows}
    dots = [
        Dot(row_of[dot.name], chart.x(dot.bitrate_kbps), 1 - chart.y(dot.score))
        for of_lines in chart.curves
        for dot in of_lines.dots
    ]
    if len(dots) < 2:
        return None
    low, high = chart.scores
    return Curve(
        dots=sorted(dots, key=lambda dot: dot.row.number),
        lines=[path(chart, [(dot.bitrate_kbps, dot.score) for dot in c.dots]) for c in chart.curves],
        hulls=[path(chart, line.points) for line in chart.hulls],
        baseline=[path(chart, line.points) for line in chart.baseline],
        ends=[
            (short(line.codec), chart.x(line.points[-1][0]), 1 - chart.y(line.points[-1][1]))
            for line in (chart.hulls if len(chart.hulls) > 1 else ())
        ],
        marks=[(left, figure(kbps)) for kbps in chart.rate_marks() if (left := chart.x(kbps)) <= LAST_MARK],
        scores=[high, (high + low) / 2, low],
        zones=[
            (level, 100 * chart.y(max(bottom, low)), 100 * chart.y(min(top, high)))
            for level, bottom, top in (zones() if scored_in_levels(report) else ())
            if min(top, high) - max(bottom, low) > ZONE_LEAST
        ],
    )


def scored_in_levels(report: GateReport) -> bool:
    """Whether scores are on the scale of the levels."""
    return report.model is None or report.model.score_range == FULL_RANGE


def path(chart: LadderChart, points: Sequence[tuple[float, float]]) -> str:
    """An SVG path through (kbps, score)."""
    places = (f"{coordinate(WIDTH * chart.x(x))} {coordinate(HEIGHT * (1 - chart.y(y)))}" for x, y in points)
    return "M" + "L".join(places)
