"""A rung that lost what the rungs around it kept: bits above all, and score.

Scores of two encodes that are as good as each other differ by some points, since a model sees the preset. Bitrates of
a ladder encoded again move together: they are the surest sign that one rung got worse.
"""

import math
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from qclip_ffmpeg.emit.chart import worst_segments
from qclip_ffmpeg.gate_comparisons import both, by_codec, score_of
from qclip_ffmpeg.gate_noise import is_same
from qclip_ffmpeg.gate_rules import Found, Ladder, at_same_time, falls, measure
from qclip_ffmpeg.ladder import Rung
from qclip_ffmpeg.policy import Rule

END_SLOPE = 0.5
LEAST_POINTS_A_DOUBLING = 12.0
"""Scores flatten out at the top of a ladder, where VMAF still rises by 10 to 16 a doubling."""
SCORE_SHARE = 0.05
"""How much of a fall of the score counts beside the bits: as much as it helps to tell 56 rungs that got worse from 400
that did not (Fisher's discriminant is about that: a fall of the score has a fourfold standard deviation)."""
BESIDE_ONE = 1.5
"""How much more is allowed where there is but one other rung to compare with: such pairs are further apart."""


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
    for of_codec in by_codec([new for new, old in both(ladder.rungs, ladder) if is_same(new, old)]):
        points = [point for rung in of_codec if (point := rate_point(rung, ladder.baseline[rung.name]))]
        for rung, lost, fell, value, limit in lost_alone(points, rule.max):
            if rung.name not in chosen:
                continue
            old = ladder.baseline[rung.name]
            message = (
                f"its bitrate went from {old.bitrate_kbps:.0f} to {rung.bitrate_kbps:.0f} kbit/s, "
                f"{measure(100 * abs(1 - 2**-lost), '%')} {'less' if lost >= 0 else 'more'} than the rungs next to it "
                f"lead to expect, and its score fell {abs(fell):.1f} {'more' if fell >= 0 else 'less'} than theirs: "
                f"{abs(value):.1f} points {'lost' if value >= 0 else 'won'} by itself; {limit:.1f} is allowed"
            )
            moments = [segment for _, segment in falls(at_same_time(rung, old))] or worst_segments(rung.track)
            found.append(Found(rung.name, [rung.name], value, message, limit, "max", value > limit, moments))
    return found


class RateChange(NamedTuple):
    """A rung of the baseline on its rate-quality curve, and what became of its bitrate."""

    rung: Rung
    bitrate: float
    """Doublings: log2 of kbit/s."""
    change: float
    """Doublings: log2 of new over old."""
    score: float
    """In the baseline."""
    fall: float
    """Of the score since."""


def rate_point(new: Rung, old: Rung) -> RateChange | None:
    """None: one of the bitrates was not measured."""
    rates = [rung.track.source.video.bitrate_kbps if rung.track.source.video else None for rung in (old, new)]
    before, after = (rate if rate and math.isfinite(rate) and rate > 0 else None for rate in rates)
    if before is None or after is None:
        return None
    return RateChange(new, math.log2(before), math.log2(after / before), score_of(old), score_of(old) - score_of(new))


class Lost(NamedTuple):
    """What a rung lost by itself."""

    rung: Rung
    doublings: float
    """Of its bitrate."""
    fell: float
    """How much more than the median of the others its score fell."""
    points: float
    """Both together, in score points."""
    limit: float


def lost_alone(points: Sequence[RateChange], most: float) -> list[Lost]:
    """What each rung of a codec lost by itself, and what it may lose.

    The worst rung is looked at first. Once it is beyond the limit the others are looked at without it: else a rung
    beside it would seem to have kept, and one further off to have lost, what it did not.
    """
    left, said = list(points), dict[str, Lost]()
    while len(left) > 1:
        limit = most * (BESIDE_ONE if len(left) == 2 else 1)
        for at, point in enumerate(left):
            lost = expected_change(left, at) - point.change
            fell = point.fall - median(other.fall for other in left if other is not point)
            value = lost * points_a_doubling(left, at) + SCORE_SHARE * fell
            said[point.rung.name] = Lost(point.rung, lost, fell, value, limit)
        worst = max(left, key=lambda point: said[point.rung.name].points)
        if said[worst.rung.name].points <= limit:
            break
        left.remove(worst)
    return list(said.values())


def expected_change(points: Sequence[RateChange], at: int) -> float:
    """What became of the bitrate of a rung by what became of the others: between two rungs on the line through them.

    Beyond the last one the line is followed half as steeply, which left the least of ladders that were encoded again
    with other presets (docs/gate.md). With one other rung it is that one's.
    """
    if len(points) == 2:
        return points[1 - at].change
    inside = 0 < at < len(points) - 1
    near, far = (points[at - 1], points[at + 1]) if inside else (points[1], points[2]) if at == 0 else points[-2:-4:-1]
    apart = far.bitrate - near.bitrate
    along = (points[at].bitrate - near.bitrate) / apart if apart else 0.5
    return near.change + min(max(along, -1.0), 1.0) * (1 if inside else END_SLOPE) * (far.change - near.change)


def points_a_doubling(points: Sequence[RateChange], at: int) -> float:
    """Slope of the baseline's rate-quality curve at a rung, between the rungs next to it: score points a doubling."""
    low, high = points[max(at - 1, 0)], points[min(at + 1, len(points) - 1)]
    apart = high.bitrate - low.bitrate
    return max((high.score - low.score) / apart if apart else 0.0, LEAST_POINTS_A_DOUBLING)
