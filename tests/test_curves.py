"""Bjontegaard deltas, held against a published implementation on its own examples, and against arithmetic."""

import itertools

import bjontegaard
import numpy as np
import pytest

from qclip_ffmpeg.curves import Method, Point, bd_rate, bd_score, pareto
from qclip_ffmpeg.errors import CurveError

Curve = list[Point]


def curve(rates_kbps: list[float], scores: list[float]) -> Curve:
    return [Point(rate, score) for rate, score in zip(rates_kbps, scores, strict=True)]


# The data of README.md ("Basic example") and example_usage.py of github.com/FAU-LMS/bjontegaard, measured with libx265.
EXAMPLES = [
    (
        curve([9487.76, 4593.60, 2486.44, 1358.24], [40.037, 38.615, 36.845, 34.851]),
        curve([9787.80, 4469.00, 2451.52, 1356.24], [40.121, 38.651, 36.970, 34.987]),
    ),
    (
        curve([82472.76, 26875.24, 9487.76, 4593.6], [43.825, 41.404, 40.037, 38.615]),
        curve([99896.96, 33952.04, 9787.8, 4469.0], [44.731, 41.875, 40.121, 38.651]),
    ),
    (
        curve([82472.76, 26875.24, 9487.76, 4593.6, 3600, 2900], [43.825, 41.404, 40.037, 38.615, 36.5, 35.1]),
        curve([99896.96, 33952.04, 9787.8, 4469.0, 4040, 3300], [44.731, 41.875, 40.121, 38.651, 37, 36.5]),
    ),
]
# (example, method): (bd_rate in percent, bd_psnr in dB) as version 1.3.0 of that package prints them.
PUBLISHED: dict[tuple[int, Method], tuple[float, float]] = {
    (0, "akima"): (-4.425245156997493, 0.11940927028529469),
    (0, "pchip"): (-4.417485350589045, 0.11969278542479489),
    (1, "akima"): (-4.0857609404152395, 0.08990284924945707),
    (1, "pchip"): (-4.47218200276197, 0.08887484704747745),
    (2, "akima"): (-2.52692018696532, 0.050889305024889205),
    (2, "pchip"): (-2.9528024116427964, 0.08953590194998828),
}
METHODS: tuple[Method, ...] = ("akima", "pchip")


@pytest.mark.parametrize(("example", "method"), PUBLISHED)
def test_the_published_examples(example: int, method: Method) -> None:
    anchor, test = EXAMPLES[example]
    assert bd_rate(anchor, test, method) == pytest.approx(PUBLISHED[example, method][0], abs=1e-6)
    assert bd_score(anchor, test, method) == pytest.approx(PUBLISHED[example, method][1], abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(20))
def test_the_published_implementation_on_ladders_of_ours(method: Method, seed: int) -> None:
    """Random concave ladders of 4 to 9 rungs; the other package itself, not its numbers."""
    rng = np.random.default_rng(seed)

    def ladder() -> Curve:
        rates = np.array([300, *np.sort(rng.uniform(300, 9000, rng.integers(2, 8))), 9000]) * rng.uniform(0.8, 1.2)
        scores = 18 * np.log(rates / rng.uniform(30, 60)) + np.cumsum(rng.uniform(0, 1, rates.size))
        return curve(rates.tolist(), scores.tolist())

    anchor, test = ladder(), ladder()
    arguments = [[p[axis] for p in some] for some in (anchor, test) for axis in (0, 1)]
    options = {"method": method, "require_matching_points": False, "min_overlap": 0}
    assert bd_rate(anchor, test, method) == pytest.approx(bjontegaard.bd_rate(*arguments, **options), abs=1e-6)
    assert bd_score(anchor, test, method) == pytest.approx(bjontegaard.bd_psnr(*arguments, **options), abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_ladder_at_half_the_bitrate_has_half_the_rate(method: Method) -> None:
    anchor = curve([400, 900, 2000, 4500, 8000], [40, 58, 74, 86, 93])
    test = [Point(p.bitrate_kbps / 2, p.score) for p in anchor]
    assert bd_rate(anchor, test, method) == pytest.approx(-50)
    assert bd_rate(test, anchor, method) == pytest.approx(100)


@pytest.mark.parametrize("method", METHODS)
def test_a_ladder_that_scores_two_more_scores_two_more(method: Method) -> None:
    anchor = curve([400, 900, 2000, 4500, 8000], [40, 58, 74, 86, 93])
    test = [Point(p.bitrate_kbps, p.score + 2) for p in anchor]
    assert bd_score(anchor, test, method) == pytest.approx(2)
    assert bd_score(anchor, anchor, method) == 0
    assert bd_rate(anchor, anchor, method) == 0


def test_the_order_of_the_rungs_does_not_matter() -> None:
    anchor, test = EXAMPLES[0]
    found = {(bd_rate(list(a), test), bd_score(list(a), test)) for a in itertools.permutations(anchor)}
    assert len(found) == 1


def test_points_that_others_beat_are_left_out() -> None:
    """Dearer and no better, as dear and worse, or there twice."""
    good = curve([400, 900, 2000, 4500], [40, 58, 74, 86])
    beaten = curve([500, 900, 4500, 6000], [39, 50, 86, 86])
    assert pareto(beaten + good) == good
    test = [Point(p.bitrate_kbps * 1.1, p.score) for p in good]
    assert bd_rate(good + beaten, test) == bd_rate(good, test)


def test_too_few_rungs_are_refused() -> None:
    """Four that rise; a fourth that is beaten is none."""
    four, three = EXAMPLES[0][0], EXAMPLES[0][1][:3]
    for delta in (bd_rate, bd_score):
        with pytest.raises(CurveError, match=r"needs 4 rungs of each ladder .* one has 3$"):
            delta(four, three)
        with pytest.raises(CurveError, match=r"one has 3$"):
            delta(four, [*three, Point(20_000, 35)])
        with pytest.raises(CurveError, match=r"one has 0$"):
            delta([], four)


def test_ladders_with_little_in_common_are_refused() -> None:
    anchor = curve([400, 900, 2000, 4000], [40, 50, 60, 70])
    apart = [Point(p.bitrate_kbps * 100, p.score + 50) for p in anchor]
    barely = [Point(p.bitrate_kbps, p.score + 25) for p in anchor]
    with pytest.raises(CurveError, match="only 0% of their bitrates in common"):
        bd_score(anchor, apart)
    with pytest.raises(CurveError, match="only 9% of their scores in common"):
        bd_rate(anchor, barely)
    assert bd_score(anchor, barely) == pytest.approx(25), "their bitrates are the same"
