"""A rung that lost what the rungs around it kept: bits above all, and score.

Scores of two encodes that are as good as each other differ by some points, since a model sees the preset. Bitrates of
a ladder encoded again move together: they are the surest sign that one rung got worse.
"""

import math
from collections.abc import Sequence
from itertools import combinations
from statistics import median
from typing import NamedTuple

from qclip_ffmpeg.emit.chart import worst_segments
from qclip_ffmpeg.gate.comparisons import both, by_codec, score_of
from qclip_ffmpeg.gate.noise import is_same
from qclip_ffmpeg.gate.rules import Found, Ladder, at_same_time, falls
from qclip_ffmpeg.ladder import Rung
from qclip_ffmpeg.policy import Rule

END_SLOPE = 0.5
"""How steeply a line through two rungs is followed beyond them."""
LEAST_POINTS_A_DOUBLING = 12.0
"""Scores flatten out at the top of a ladder, where bits are still worth something."""
LEAST_APART = 0.5
"""Doublings. Rungs closer than that say nothing of a slope: their scores differ by noise."""
SCORE_SHARE = 0.05
"""How much of a fall of the score counts beside the bits. A fall scatters by four times as many points as they do, so
that it weighs a sixteenth to a twentieth in a linear discriminant of equal and worse rungs (docs/experiments.md)."""
MOST_GROUPED = 10
AT_AN_END = 1.6
"""How much more a rung may lose that has others on one side alone: what is expected of it is less sure."""
BESIDE_ONE = 2.0
"""How much more where there is but one other rung: such pairs are further apart."""


class RateChange(NamedTuple):
    """A rung of the baseline on its rate-quality curve, and what became of it."""

    rung: Rung
    bitrate: float
    """Doublings: log2 of kbit/s."""
    change: float
    """Doublings: log2 of new over old."""
    score: float
    """In the baseline."""
    fall: float
    """Of the score since."""


class Lost(NamedTuple):
    """What a rung lost by itself."""

    point: RateChange
    expected: float
    """Change of the bitrate that the other rungs lead to expect, in doublings."""
    others_fell: float
    """Median fall of the others' scores."""
    bits: float
    """What the bits are worth that it lost besides, in score points."""
    limit: float
    """Of `points`."""

    @property
    def points(self) -> float:
        """Bits and score together, in score points."""
        return self.bits + SCORE_SHARE * (self.point.fall - self.others_fell)


def lone_drop(rule: Rule, rungs: Sequence[Rung], ladder: Ladder) -> list[Found]:
    """baseline.lone_drop: a rung lost bits that the rungs around it kept.

    Another preset or encoder moves the bitrates of all rungs, most alike where the rungs are alike. So a rung's change
    is held against what the rungs of its codec next to it went through. What is left is told in score points, by the
    slope of the baseline's own rate-quality curve: a tenth of the bits is much at the bottom of a ladder and little at
    its top. To that comes a share of what the rung's score fell more than the others' did.
    """
    assert rule.max is not None
    chosen = {rung.name for rung in rungs}
    found = []
    for points in held_together(ladder):
        for lost in lost_alone(points, rule.max):
            rung = lost.point.rung
            if rung.name in chosen:
                seconds = [s for _, s in falls(at_same_time(rung, ladder.baseline[rung.name]))]
                found.append(
                    Found(
                        subject=rung.name,
                        rungs=[rung.name],
                        value=lost.points,
                        message=told(lost),
                        limit=lost.limit,
                        bound="max",
                        failed=lost.points > lost.limit,
                        moments=seconds or worst_segments(rung.track),
                    )
                )
    return found


def held_together(ladder: Ladder) -> list[list[RateChange]]:
    """What became of the rungs of each codec that can be held against each other."""
    return [
        [point for rung in of_codec if (point := rate_change(rung, ladder.baseline[rung.name]))]
        for of_codec in by_codec([new for new, old in both(ladder.rungs, ladder) if is_same(new, old)])
    ]


def passed_over(rungs: Sequence[Rung], ladder: Ladder) -> dict[str, list[str]]:
    """Names of the rungs that `lone_drop` cannot judge, by the reason.

    Those that the baseline lacks are not among them: that they are not compared is said for all rules.
    """
    points = held_together(ladder)
    known = {point.rung.name for of_codec in points for point in of_codec}
    judged = {point.rung.name for of_codec in points if len(of_codec) > 1 for point in of_codec}
    found: dict[str, list[str]] = {}
    for new, old in both(rungs, ladder):
        if new.name in judged:
            continue
        if not is_same(new, old):
            why = "codec or size are not the baseline's"
        elif new.name not in known:
            why = "a bitrate was not measured"
        else:
            why = "no other rung of its codec to hold it against"
        found.setdefault(why, []).append(new.name)
    return found


def told(lost: Lost) -> str:
    """What was expected of a rung, and what came, for people."""
    was, now, expected = (2 ** (lost.point.bitrate + more) for more in (0.0, lost.point.change, lost.expected))
    return (
        f"{was:.0f} to {now:.0f} kbit/s where the rungs next to it lead to expect {expected:.0f}, "
        f"{lost.bits:.1f} points' worth; its score changed by {0 - lost.point.fall:+.1f}, the others' by "
        f"{0 - lost.others_fell:+.1f}; {lost.points:.2f} points lost by itself, {lost.limit:.2f} is allowed"
    )


def rate_change(new: Rung, old: Rung) -> RateChange | None:
    """None: one of the bitrates was not measured."""
    rates = [rung.track.source.video.bitrate_kbps if rung.track.source.video else None for rung in (old, new)]
    before, after = (rate if rate and math.isfinite(rate) and rate > 0 else None for rate in rates)
    if before is None or after is None:
        return None
    return RateChange(new, math.log2(before), math.log2(after / before), score_of(old), score_of(old) - score_of(new))


def lost_alone(points: Sequence[RateChange], most: float) -> list[Lost]:
    """What each rung of a codec lost by itself, and what it may lose.

    Rungs whose bitrate is odd, up or down, are nothing to hold others against: all are held against the largest group
    of rungs of which none is off by more than it may be beside the rest of it. So it takes more rungs that kept their
    bits than rungs that did not. Of several groups as large, as where either a rung lost or the one beside it gained,
    the one counts whose absent lost the most.
    """
    ordered = sorted(points, key=lambda point: point.bitrate)
    if len(ordered) > MOST_GROUPED:  # too many groups to look at; no ladder has as many rungs
        return beside(ordered, ordered, most)
    for count in range(len(ordered), 2, -1):
        groups = [list(group) for group in combinations(ordered, count)]
        alike = [group for group in groups if not any(off(lost) for lost in beside(group, group, most))]
        if alike:
            return max((beside(ordered, group, most) for group in alike), key=loss)
    pairs = [beside(ordered, list(pair), most) for pair in combinations(ordered, 2)]
    return min(pairs, key=lambda found: sum(abs(lost.points) for lost in found), default=[])


def beside(points: Sequence[RateChange], group: Sequence[RateChange], most: float) -> list[Lost]:
    """What each of some rungs lost beside the others of a group. Of one rung alone nothing is known."""
    others = [[other for other in group if other is not point] for point in points]
    return [lost_beside(point, rest, most) for point, rest in zip(points, others, strict=True) if rest]


def off(lost: Lost) -> bool:
    """Whether a rung is off by more than it may be, up or down."""
    return abs(lost.points) > lost.limit


def loss(found: Sequence[Lost]) -> float:
    """Score points lost by the rungs that lost more than they may."""
    return sum(lost.points for lost in found if lost.points > lost.limit)


def lost_beside(point: RateChange, others: Sequence[RateChange], most: float) -> Lost:
    """What a rung lost that others, by their bitrates, kept. One that was not encoded again has lost nothing."""
    lower = [other for other in others if other.bitrate <= point.bitrate]
    upper = [other for other in others if other.bitrate > point.bitrate]
    limit = most * (BESIDE_ONE if len(others) == 1 else 1 if lower and upper else AT_AN_END)
    if point.change == 0 and point.fall == 0:
        return Lost(point, expected=0.0, others_fell=0.0, bits=0.0, limit=limit)
    expected = expected_change(point, lower, upper)
    slope = points_a_doubling(lower[-1] if lower else point, upper[0] if upper else point)
    others_fell = median(other.fall for other in others)
    return Lost(point, expected, others_fell, (expected - point.change) * slope, limit)


def expected_change(point: RateChange, lower: Sequence[RateChange], upper: Sequence[RateChange]) -> float:
    """What became of the bitrate of a rung by what became of the others, in doublings.

    Between two rungs: on the line through them. Beyond the last one: on along the line of the last two, half as
    steeply and no further than the two are apart, which left the least of ladders that were encoded again with other
    presets (docs/experiments.md). With one other rung: as that one.

    Args:
        point: the rung.
        lower: the others of no higher bitrate, by bitrate.
        upper: the rest of the others, by bitrate.
    """
    if lower and upper:
        near, far, steepness = lower[-1], upper[0], 1.0
    else:
        outwards = [*reversed(lower), *upper]
        near, far, steepness = outwards[0], outwards[min(1, len(outwards) - 1)], END_SLOPE
    apart = far.bitrate - near.bitrate
    along = (point.bitrate - near.bitrate) / apart if apart else 0.0
    return near.change + steepness * max(along, -1.0) * (far.change - near.change)


def points_a_doubling(low: RateChange, high: RateChange) -> float:
    """Slope of the baseline's rate-quality curve between two rungs, in score points a doubling of the bitrate."""
    apart = max(high.bitrate - low.bitrate, LEAST_APART)
    return max((high.score - low.score) / apart, LEAST_POINTS_A_DOUBLING)
