"""What a picture of a ladder shows, from a GateReport alone: the same curves, hull and words in the PNG and the report.

Bitrates lie on a logarithmic axis, so that equal factors are equal steps.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from qclip_ffmpeg.emit.chart import Span
from qclip_ffmpeg.verdict import Analysis, GateReport, RungFigures

TICKS = (1, 2, 5)
"""Of each power of ten."""
HULL_STEPS = 24
SCORE_STEP = 10
RATE_ROOM = 1.35
"""Factor of the bitrate on either side of the rungs."""
RATE_LEAST = 10.0
"""Least factor of the bitrate from end to end."""
FULL_RANGE = (0.0, 100.0)


@dataclass(frozen=True, slots=True)
class Dot:
    """One rung."""

    name: str
    bitrate_kbps: float
    score: float
    margin: float
    """Half the noise band: rungs whose bands overlap count as equal. 0 where it is not known."""
    hull_score: float | None
    """What the hull has at its bitrate; None on the hull."""


@dataclass(frozen=True, slots=True)
class Curve:
    """The rungs of one codec and one number of lines, by bitrate."""

    codec: str
    height_px: int | None
    dots: tuple[Dot, ...]

    @property
    def label(self) -> str:
        """ "h264 1080p"."""
        return f"{self.codec} {self.height_px}p" if self.height_px else self.codec


@dataclass(frozen=True, slots=True)
class Line:
    """A line of one codec through (kbps, score)."""

    codec: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class LadderChart:
    """All that is drawn, and where. A ladder of which no rung has a bitrate and a score has no curve."""

    rates: Span
    """Left and right end in kbps."""
    scores: Span
    """Lower and upper end."""
    curves: tuple[Curve, ...]
    """By codec and lines."""
    hulls: tuple[Line, ...]
    """Of each codec; straight over the bitrate, so bent on this axis."""
    baseline: tuple[Line, ...]
    """Of each codec, through the rungs of the baseline that the ladder still has."""

    def x(self, bitrate_kbps: float) -> float:
        """0 at the left end, 1 at the right end."""
        low, high = map(math.log, self.rates)
        return (math.log(bitrate_kbps) - low) / (high - low)

    def y(self, score: float) -> float:
        """0 at the lower end, 1 at the upper end."""
        low, high = self.scores
        return (score - low) / (high - low)

    def rate_marks(self) -> list[float]:
        """Bitrates in kbps to mark: 1, 2 and 5 of each power of ten."""
        first, last = (math.floor(math.log10(end)) for end in self.rates)
        marks = [step * 10.0**power for power in range(first, last + 1) for step in TICKS]
        return [mark for mark in marks if self.rates[0] <= mark <= self.rates[1]]


def ladder_chart(report: GateReport) -> LadderChart:
    """The picture of a ladder: rungs with a bitrate and a score, and what the analysis found of them."""
    shown = [rung for rung in report.rungs if drawable(rung.bitrate_kbps, rung.pooled.mean)]
    hulls = tuple(hull_lines(shown, report.analysis)) if report.analysis else ()
    curves = tuple(curves_of(shown, report.analysis))
    baseline = tuple(baseline_lines(report.rungs))
    points = [(dot.bitrate_kbps, dot.score + side * dot.margin) for c in curves for dot in c.dots for side in (-1, 1)]
    points += [point for line in (*hulls, *baseline) for point in line.points]
    return LadderChart(
        rates=rate_span([kbps for kbps, _ in points]),
        scores=score_span([score for _, score in points], report.model.score_range if report.model else FULL_RANGE),
        curves=curves,
        hulls=hulls,
        baseline=baseline,
    )


def drawable(bitrate_kbps: float | None, score: float | None) -> bool:
    """Whether a rung has a place."""
    return bool(bitrate_kbps and math.isfinite(bitrate_kbps) and bitrate_kbps > 0) and score is not None


def curves_of(rungs: Sequence[RungFigures], analysis: Analysis | None) -> Iterable[Curve]:
    """The rungs, grouped."""
    below = {off.rung: off.below for off in analysis.off_hull} if analysis else {}
    grouped: dict[tuple[str, int], list[Dot]] = {}
    for rung in rungs:
        score, kbps = rung.pooled.mean or 0.0, rung.bitrate_kbps or 1.0
        hull_score = score + below[rung.name] if rung.name in below else None
        dot = Dot(rung.name, kbps, score, (rung.pooled.noise_band or 0) / 2, hull_score)
        grouped.setdefault((rung.codec or "", rung.height_px or 0), []).append(dot)
    for (codec, height_px), dots in sorted(grouped.items()):
        yield Curve(codec, height_px or None, tuple(sorted(dots, key=lambda d: (d.bitrate_kbps, d.name))))


def hull_lines(rungs: Sequence[RungFigures], analysis: Analysis) -> Iterable[Line]:
    """The hull of each codec, level from its last corner to the codec's highest bitrate."""
    place = {rung.name: (rung.bitrate_kbps or 1.0, rung.pooled.mean or 0.0) for rung in rungs}
    for codec in sorted({rung.codec or "" for rung in rungs}):
        of_codec = {rung.name for rung in rungs if (rung.codec or "") == codec}
        corners = [place[name] for name in analysis.hull if name in of_codec]
        if not corners:
            continue
        most_kbps = max(place[name][0] for name in of_codec)
        corners += [(most_kbps, corners[-1][1])] if most_kbps > corners[-1][0] else []
        points = [corners[0]]
        for (kbps, score), (next_kbps, next_score) in pairwise(corners):
            for step in range(1, HULL_STEPS + 1):
                share = step / HULL_STEPS
                points.append((kbps + share * (next_kbps - kbps), score + share * (next_score - score)))
        yield Line(codec, tuple(points))


def baseline_lines(rungs: Sequence[RungFigures]) -> Iterable[Line]:
    """What the rungs were, as far as the report says."""
    found: dict[str, list[tuple[float, float]]] = {}
    for rung in rungs:
        if drawable(rung.baseline_kbps, rung.baseline):
            found.setdefault(rung.codec or "", []).append((rung.baseline_kbps or 1.0, rung.baseline or 0.0))
    for codec, points in sorted(found.items()):
        yield Line(codec, tuple(sorted(points)))


def rate_span(rates_kbps: Sequence[float]) -> Span:
    """Room for all bitrates and a little beside them."""
    if not rates_kbps:
        return 100.0, 10_000.0
    low, high = min(rates_kbps) / RATE_ROOM, max(rates_kbps) * RATE_ROOM
    wider = math.sqrt(max(1.0, RATE_LEAST / (high / low)))
    return low / wider, high * wider


def score_span(scores: Sequence[float], score_range: Span) -> Span:
    """Room for all scores up to the next multiples of SCORE_STEP, within the model's range where that is 0 to 100."""
    if not scores:
        return score_range
    if score_range != FULL_RANGE:  # raw scores may be of any size
        room = 0.1 * (score_range[1] - score_range[0])
        return min(scores) - room, max(scores) + room
    low = SCORE_STEP * math.floor((min(scores) - 2) / SCORE_STEP)
    high = SCORE_STEP * math.ceil((max(scores) + 2) / SCORE_STEP)
    return max(float(low), FULL_RANGE[0]), min(float(high), FULL_RANGE[1])


def ladder_headline(report: GateReport) -> str:
    """The verdict and the change against the baseline in one line; the policy's name is as its owner wrote it."""
    count = len(report.rungs)
    said = ["passed" if report.passed else "failed", report.policy, f"{count} rung" + "s" * (count != 1)]
    analysis = report.analysis
    if analysis and analysis.bd_rate_percent is not None:
        said.append(f"BD-rate {analysis.bd_rate_percent:+.1f} %")
    if analysis and analysis.bd_score is not None:
        said.append(f"BD-score {analysis.bd_score:+.1f}")
    return " · ".join(said)


def crossing_words(report: GateReport) -> list[str]:
    """ "h264: 1080p looks better than 720p from 2000 kbps"."""
    crossings = report.analysis.crossings if report.analysis else []
    return [
        f"{c.codec}: {c.upper_height_px}p looks better than {c.lower_height_px}p from {c.bitrate_kbps:.0f} kbps"
        for c in crossings
    ]
