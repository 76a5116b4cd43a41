"""Bjontegaard deltas between two rate-quality curves.

The mean difference of bitrate at equal score (BD-rate), or of score at equal bitrate (BD-PSNR, with a score for the
PSNR), over what both curves cover, with the bitrate on a logarithmic axis:
* G. Bjontegaard, "Calculation of average PSNR differences between RD-curves", ITU-T SG16 VCEG-M33, 2001;
  "Improvements of the BD-PSNR model", VCEG-AI11, 2008.
* One cubic through all points overshoots, so today's curves are piecewise. "pchip": the common test conditions of HEVC
  and VVC (JCTVC-L1100; ITU-T HSTP-VID-WPOM, 2020). "akima": closest to densely sampled curves in C. Herglotz et al.,
  "Beyond Bjontegaard: Limits of Video Compression Performance Comparisons", ICIP 2022.
* What can go wrong: N. Barman, M. Martini, Y. Reznik, "Bjontegaard Delta (BD): A Tutorial Overview of the Metric,
  Evolution, Challenges, and Recommendations", arXiv 2401.04039, 2024.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from qclip_ffmpeg.errors import CurveError

Method = Literal["akima", "pchip"]

MIN_POINTS = 4  # the number that all of the documents above work with
MIN_OVERLAP = 0.5
"""Least part of the joint range that both curves must cover. Ours: the reference implementation warns below 0.75."""


class Point(NamedTuple):
    """One encode."""

    bitrate_kbps: float
    score: float


def bd_rate(anchor: Sequence[Point], test: Sequence[Point], method: Method = "akima") -> float:
    """Mean change of the bitrate from `anchor` to `test` at equal score, in percent; below 0: `test` needs less.

    Points that another one beats are left out, see `pareto`.

    Raises:
        CurveError: too few points are left, or the curves have too few scores in common.
    """
    mean = mean_difference(
        [(p.score, math.log10(p.bitrate_kbps)) for p in pareto(anchor)],
        [(p.score, math.log10(p.bitrate_kbps)) for p in pareto(test)],
        method,
        "scores",
    )
    return (10**mean - 1) * 100


def bd_score(anchor: Sequence[Point], test: Sequence[Point], method: Method = "akima") -> float:
    """Mean change of the score from `anchor` to `test` at equal bitrate; above 0: `test` is better.

    Points that another one beats are left out, see `pareto`.

    Raises:
        CurveError: too few points are left, or the curves have too few bitrates in common.
    """
    return mean_difference(
        [(math.log10(p.bitrate_kbps), p.score) for p in pareto(anchor)],
        [(math.log10(p.bitrate_kbps), p.score) for p in pareto(test)],
        method,
        "bitrates",
    )


def pareto(points: Iterable[Point]) -> list[Point]:
    """The points that no other one beats, by bitrate: both coordinates rise from each to the next.

    A point beats another one that takes as many bits or more and scores no more. Interpolating the bitrate over the
    score needs scores that rise, and a player would not choose such a rung.
    """
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (p.bitrate_kbps, -p.score)):
        if not best or point.score > best[-1].score:
            best.append(point)
    return best


def mean_difference(
    anchor: Sequence[tuple[float, float]], test: Sequence[tuple[float, float]], method: Method, of: str
) -> float:
    """Mean of test(x) - anchor(x) over the x that both cover. Points are (x, y), x rising; `of`: what x are."""
    from scipy.interpolate import Akima1DInterpolator, PchipInterpolator

    check_points(anchor, test, of)
    low, high = max(anchor[0][0], test[0][0]), min(anchor[-1][0], test[-1][0])
    interpolator = {"akima": Akima1DInterpolator, "pchip": PchipInterpolator}[method]
    areas = [
        float(interpolator([x for x, _ in points], [y for _, y in points]).integrate(low, high))
        for points in (anchor, test)
    ]
    return (areas[1] - areas[0]) / (high - low)


def check_points(anchor: Sequence[tuple[float, float]], test: Sequence[tuple[float, float]], of: str) -> None:
    """Raises CurveError where a mean difference would mean nothing."""
    fewest = min(len(anchor), len(test))
    if fewest < MIN_POINTS:
        raise CurveError(
            f"a Bjontegaard delta needs {MIN_POINTS} rungs of each ladder that score more than all cheaper ones; one "
            f"has {fewest}"
        )
    common = min(anchor[-1][0], test[-1][0]) - max(anchor[0][0], test[0][0])
    overlap = common / (max(anchor[-1][0], test[-1][0]) - min(anchor[0][0], test[0][0]))
    if overlap < MIN_OVERLAP:
        raise CurveError(
            f"the ladders have only {max(overlap, 0):.0%} of their {of} in common; a Bjontegaard delta needs "
            f"{MIN_OVERLAP:.0%}"
        )
