"""A ladder and what its rate-quality curve tells: hull, crossings, rungs to drop or move. Pure; nothing is read."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from statistics import fmean

from msgspec import Struct

from qclip_ffmpeg.bitrate import BITRATE_DECIMALS
from qclip_ffmpeg.track import SCORE_DECIMALS, QualityTrack
from qclip_ffmpeg.verdict import Analysis, Crossing, OffHull, Suggestion

LARGE_STEP = 12.0
"""Score units between rungs that leave room for one more: twice what VMAF's users take for a just noticeable step."""


class Rung(Struct, frozen=True, kw_only=True):
    """One step of a ladder: what was measured of it, and what it is meant to be."""

    name: str
    """Unique in its ladder."""
    track: QualityTrack
    declared_kbps: float | None = None
    """What the ladder's description, its manifest or the file's name says; None where they do not."""
    declared_height_px: int | None = None
    """Likewise."""

    @property
    def bitrate_kbps(self) -> float | None:
        """Of the video that was measured, else as declared: a rate-quality curve is of the bits that were spent."""
        video = self.track.source.video
        measured = video.bitrate_kbps if video else None
        return self.declared_kbps if measured is None else measured

    @property
    def codec(self) -> str | None:
        """FFmpeg's name of the codec; None where it could not be opened."""
        return self.track.source.video.codec if self.track.source.video else None

    @property
    def height_px(self) -> int | None:
        """Lines as stored, else as declared."""
        return self.track.source.video.height_px if self.track.source.video else self.declared_height_px

    @property
    def score(self) -> float | None:
        """pooled.mean; None where nothing was scored."""
        return self.track.pooled.mean


def in_order(rungs: Sequence[Rung]) -> list[Rung]:
    """Lowest rung first, by what they are meant to be: two files that were swapped must stand where they do not belong.

    By the declared bitrates where all rungs have one, else by declared lines where all have them; what is still equal
    or says nothing by the bitrate, the lines and the name.
    """
    by_rate = all(r.declared_kbps is not None for r in rungs)
    by_lines = all(r.declared_height_px is not None for r in rungs) and not by_rate

    def place(rung: Rung) -> tuple[float, float, float, str]:
        meant = rung.declared_kbps if by_rate else rung.declared_height_px if by_lines else 0
        return meant or 0, rung.bitrate_kbps or 0, rung.height_px or 0, rung.name

    return sorted(rungs, key=place)


def analyse(rungs: Sequence[Rung], baseline: Sequence[Rung] = ()) -> Analysis:
    """The ladder as a whole, and against the ladder of a baseline if there is one.

    Only rungs that have a bitrate and a score take part. Codecs are looked at apart: a device plays one of them.
    """
    found = [(codec, points_of(of_codec)) for codec, of_codec in by_codec(rungs).items()]
    rate, score, why = deltas(rungs, baseline) if baseline else (None, None, None)
    return Analysis(
        hull=[p.name for p in by_rate(point for _, points in found for point in hull(points))],
        off_hull=[OffHull(p.name, below) for _, points in found for p, below in off_hull(points)],
        crossings=[crossing for codec, points in found for crossing in crossings(codec, points)],
        suggestions=[suggestion for _, points in found for suggestion in suggestions(points)],
        bd_rate_percent=rate,
        bd_score=score,
        no_bd=why,
    )


def by_codec(rungs: Iterable[Rung]) -> dict[str, list[Rung]]:
    """The rungs of each codec, codecs by name."""
    found: dict[str, list[Rung]] = {}
    for rung in sorted(rungs, key=lambda r: r.codec or ""):
        found.setdefault(rung.codec or "", []).append(rung)
    return found


@dataclass(frozen=True, slots=True)
class RatePoint:
    """A rung as a point of a rate-quality curve."""

    name: str
    bitrate_kbps: float
    score: float
    height_px: int | None
    noise_band: float
    """Score difference up to which it is equal to another; 0 where it was not measured."""


def points_of(rungs: Iterable[Rung]) -> list[RatePoint]:
    """The rungs that have a bitrate and a score, by bitrate."""
    return by_rate(
        RatePoint(r.name, r.bitrate_kbps, r.score, r.height_px, r.track.pooled.noise_band or 0.0)
        for r in rungs
        if r.score is not None and math.isfinite(r.score) and r.bitrate_kbps is not None and r.bitrate_kbps > 0
    )


def by_rate(points: Iterable[RatePoint]) -> list[RatePoint]:
    return sorted(points, key=lambda p: (p.bitrate_kbps, -p.score, p.name))


def hull(points: Sequence[RatePoint]) -> list[RatePoint]:
    """The corners of the upper convex hull of score over bitrate, by bitrate, up to the highest score.

    points: of one codec, by bitrate. Whoever switches between two encodes gets what lies on the line between them; so
    an encode below it is worth less than its neighbours. Beyond the highest score the hull is level: no corner there.
    A. M. Andrew's monotone chain (Information Processing Letters 9(5), 1979).
    """
    corners: list[RatePoint] = []
    for point in points:
        if corners and point.score <= corners[-1].score:
            continue  # it costs more and is no better
        while len(corners) > 1 and slope(corners[-2], corners[-1]) <= slope(corners[-1], point):
            corners.pop()
        corners.append(point)
    return corners


def slope(left: RatePoint, right: RatePoint) -> float:
    """Score a kbps."""
    return (right.score - left.score) / (right.bitrate_kbps - left.bitrate_kbps)


def hull_score(corners: Sequence[RatePoint], bitrate_kbps: float) -> float:
    """The score of the hull at a bitrate no lower than its first corner's."""
    for left, right in pairwise(corners):
        if bitrate_kbps <= right.bitrate_kbps:
            return left.score + slope(left, right) * (bitrate_kbps - left.bitrate_kbps)
    return corners[-1].score


def off_hull(points: Sequence[RatePoint]) -> list[tuple[RatePoint, float]]:
    """(point, score units below the hull) of all that are not on it. points: of one codec, by bitrate."""
    corners = hull(points)
    found = [(p, round(hull_score(corners, p.bitrate_kbps) - p.score, SCORE_DECIMALS)) for p in points]
    return [(p, below) for p, below in found if below > 0]


def crossings(codec: str, points: Sequence[RatePoint]) -> list[Crossing]:
    """Where the curve of one number of lines meets that of the next larger one and leaves it behind.

    Curves are straight between rungs, score over the logarithm of the bitrate. Two that have no bitrate in common, or
    do not cross in it, have no crossing: nothing is extrapolated.
    """
    curves: dict[int, list[RatePoint]] = {}
    for point in points:
        if point.height_px is not None:
            curves.setdefault(point.height_px, []).append(point)
    found = []
    for lower, upper in pairwise(sorted(curves)):
        if (met := meeting(curves[lower], curves[upper])) is not None:
            found.append(Crossing(codec, lower, upper, round(met, BITRATE_DECIMALS)))
    return found


def meeting(lower: Sequence[RatePoint], upper: Sequence[RatePoint]) -> float | None:
    """The highest bitrate in kbps at which `upper` rises above `lower`; None where it does not in what both cover."""
    low = max(lower[0].bitrate_kbps, upper[0].bitrate_kbps)
    high = min(lower[-1].bitrate_kbps, upper[-1].bitrate_kbps)
    ends = sorted({p.bitrate_kbps for p in (*lower, *upper) if low <= p.bitrate_kbps <= high})
    gains = [curve_score(upper, rate) - curve_score(lower, rate) for rate in ends]
    met = None
    for (left, before), (right, after) in pairwise(zip(ends, gains, strict=True)):
        if before <= 0 < after:
            share = -before / (after - before)
            met = left * (right / left) ** share
        elif after <= 0:
            met = None
    return met


def curve_score(points: Sequence[RatePoint], bitrate_kbps: float) -> float:
    """The score of a curve at a bitrate that it covers: straight over the logarithm of the bitrate."""
    for left, right in pairwise(points):
        if left.bitrate_kbps <= bitrate_kbps <= right.bitrate_kbps and left.bitrate_kbps < right.bitrate_kbps:
            span = math.log(right.bitrate_kbps / left.bitrate_kbps)
            return left.score + (right.score - left.score) * math.log(bitrate_kbps / left.bitrate_kbps) / span
    return points[-1].score


def suggestions(points: Sequence[RatePoint]) -> list[Suggestion]:
    """What to do with rungs that are not worth their bits. points: of one codec, by bitrate.

    A rung that is no better than the last worthwhile one below it, within the noise, is to be dropped; or, where the
    others leave a large step, to be moved into the middle of it. One that is better than that, and yet below the hull
    by more than the noise, is to be moved to where the hull has its score.
    """
    kept: list[RatePoint] = []
    spare: list[tuple[RatePoint, RatePoint]] = []
    for point in points:
        if kept and point.score - kept[-1].score <= noise_between(point, kept[-1]):
            spare.append((point, kept[-1]))
        else:
            kept.append(point)
    steps = large_steps(kept)
    found = []
    for (point, below), step in zip_longest(spare, steps[: len(spare)]):
        reason = no_better(point, below)
        if step is None:
            found.append(Suggestion(point.name, "drop", reason))
        else:
            middle_kbps, left, right = step
            gap = f"from {left.name} to {right.name} the score rises by {right.score - left.score:.1f}"
            found.append(Suggestion(point.name, "move", f"{reason}, while {gap}", middle_kbps))
    corners = hull(points)
    for point, below_hull in off_hull(points):
        if point in kept and below_hull > point.noise_band:
            there = rate_of(corners, point.score)
            reason = (
                f"its score is {below_hull:.1f} below the line between better rungs, which has it at {there:.0f} kbps"
            )
            found.append(Suggestion(point.name, "move", reason, there))
    return found


def noise_between(one: RatePoint, other: RatePoint) -> float:
    """Score difference up to which two rungs are equal."""
    return max(one.noise_band, other.noise_band)


def no_better(point: RatePoint, below: RatePoint) -> str:
    """What a rung costs and brings more than one below it, in words."""
    gain, noise = point.score - below.score, noise_between(point, below)
    said = f"{point.bitrate_kbps / below.bitrate_kbps - 1:.0%} more bits than {below.name} for {gain:+.1f}"
    return f"{said}, within the noise of {noise:.1f}" if abs(gain) <= noise else said


def large_steps(kept: Sequence[RatePoint]) -> list[tuple[float, RatePoint, RatePoint]]:
    """(bitrate in kbps of the middle score, left, right) of steps of more than LARGE_STEP, largest first."""
    steps = sorted(pairwise(kept), key=lambda pair: pair[0].score - pair[1].score)
    return [
        (round(math.sqrt(left.bitrate_kbps * right.bitrate_kbps), BITRATE_DECIMALS), left, right)
        for left, right in steps
        if right.score - left.score > LARGE_STEP
    ]


def rate_of(corners: Sequence[RatePoint], score: float) -> float:
    """The bitrate in kbps at which the hull reaches a score that it has."""
    for left, right in pairwise(corners):
        if left.score <= score <= right.score:
            return round(left.bitrate_kbps + (score - left.score) / slope(left, right), BITRATE_DECIMALS)
    return corners[0].bitrate_kbps


def deltas(rungs: Sequence[Rung], baseline: Sequence[Rung]) -> tuple[float | None, float | None, str | None]:
    """(BD-rate in percent, BD-score, why one is missing) of a ladder against another.

    Where both have the same codecs, the means over the codecs, each against itself; else of all rungs together.
    """
    from qclip_ffmpeg.curves import Point, bd_rate, bd_score
    from qclip_ffmpeg.errors import CurveError

    ours, theirs = by_codec(rungs), by_codec(baseline)
    pairs = [(ours[c], theirs[c]) for c in ours] if ours.keys() == theirs.keys() else [(rungs, baseline)]
    curves = [tuple([Point(p.bitrate_kbps, p.score) for p in points_of(some)] for some in pair[::-1]) for pair in pairs]
    values: list[float | None] = []
    reasons: list[str] = []
    for delta, decimals in ((bd_rate, BITRATE_DECIMALS), (bd_score, SCORE_DECIMALS)):
        try:
            values.append(round(fmean(delta(anchor, test) for anchor, test in curves), decimals))
        except CurveError as error:
            values.append(None)
            reasons.append(str(error))
    return values[0], values[1], reasons[0] if reasons else None
