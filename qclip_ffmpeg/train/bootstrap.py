"""Figures of drawn samples: a 95 % interval comes from drawing contents anew, and drawn clips count as weights.

Encodes of one content succeed and fail together, so that a hundred of them say less than a hundred contents would: a
cluster bootstrap (Field and Welsh, JRSS B 69, 2007).
"""

import math
from collections.abc import Callable

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

INTERVAL = (2.5, 97.5)
"""Percentiles of the resamples that bound an interval."""
RESAMPLES = 1000
AT_ONCE = 2**22
"""Elements of the largest temporary array."""

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]
"""(R, N) how often each of N things was drawn in each of R resamples -> (R,) figures, NaN where undefined."""


class Figure(Struct, frozen=True):
    """A figure and the interval that holds it."""

    value: float | None
    """None where it is undefined: a correlation with something that never changes."""
    low: float | None
    """2.5th percentile of the resamples; None where there is no value, or one content and so nothing to draw from."""
    high: float | None
    """97.5th percentile."""

    def __str__(self) -> str:
        return f"{self}"

    def __format__(self, number: str) -> str:
        """f"{figure:.1f}" is "8.4 [7.8, 9.0]": each number in the format that is asked for, three decimals if none."""
        number = number or ".3f"
        if self.value is None:
            return "undefined"
        interval = "" if self.low is None or self.high is None else f" [{self.low:{number}}, {self.high:{number}}]"
        return f"{self.value:{number}}{interval}"


def draws(count: int, resamples: int, seed: int) -> Floats:
    """How often each of `count` things was drawn, (1 + resamples, count); the first row holds each once."""
    if count < 2:
        return np.ones((1, count))
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    return np.concatenate([np.ones((1, count)), drawn])


def bootstrapped(statistic: Statistic, drawn: Floats) -> Figure:
    """The figure of the first row of `drawn`, and percentiles of the other rows."""
    all_found = statistic(drawn)
    value, found = finite_or_none(all_found[0]), all_found[1:][np.isfinite(all_found[1:])]
    if value is None or not len(found):
        return Figure(value, None, None)
    low, high = np.percentile(found, INTERVAL)
    return Figure(value, float(low), float(high))


def finite_or_none(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None


def ratio(part: Floats, whole: Floats) -> Floats:
    """part / whole, NaN where whole is zero."""
    return np.divide(part, whole, out=np.full_like(whole, np.nan), where=whole > 0)


# The correlations of a sample in which clip i occurs weights[r, i] times; equal to those of the sample written out.


def weighted_pearson(x: Floats, y: Floats, weights: Floats) -> Floats:
    """x and y (N,) or (R, N), weights (R, N) -> (R,)."""
    total = weights.sum(axis=1, keepdims=True)
    dx, dy = (v - (weights * v).sum(axis=1, keepdims=True) / total for v in (x, y))
    covariance, var_x, var_y = ((weights * a * b).sum(axis=1) for a, b in ((dx, dy), (dx, dx), (dy, dy)))
    # What is left of a constant is rounding, some 1e-16 of its size, squared.
    floor_x, floor_y = (1e-26 * (weights * v**2).sum(axis=1) for v in (x, y))
    defined = (var_x > floor_x) & (var_y > floor_y)
    r = ratio(covariance, np.where(defined, np.sqrt(var_x * var_y), 0))
    return np.clip(r, -1, 1)


def weighted_spearman(x: Floats, y: Floats, weights: Floats) -> Floats:
    """x and y (N,), weights (R, N) -> (R,)."""
    blocks = np.array_split(weights, math.ceil(weights.size / AT_ONCE))
    return np.concatenate(
        [weighted_pearson(weighted_ranks(x, block), weighted_ranks(y, block), block) for block in blocks]
    )


def weighted_ranks(x: Floats, weights: Floats) -> Floats:
    """x (N,), weights (R, N) -> ranks (R, N) in the sample written out, ties sharing their mean rank."""
    values, place = np.unique(x, return_inverse=True)
    count = counts_of_values(place, len(values), weights)
    ranks: Floats = (np.cumsum(count, axis=1) - (count - 1) / 2)[:, place]
    return ranks


def counts_of_values(place: NDArray[np.intp], values: int, weights: Floats) -> Floats:
    """Weights of equal values added: place (N,), weights (R, N) -> (R, values)."""
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(values))
    return np.asarray(np.add.reduceat(weights[:, order], starts, axis=1))


def weighted_kendall(x: Floats, y: Floats, weights: Floats) -> Floats:
    """x and y (N,), weights (R, N) -> (R,). Tau-b: concordant less discordant pairs, over those not tied."""
    agree = np.zeros(len(weights))
    single = weights.astype(np.float32)  # counts of pairs a clip are whole and below 2^24: exact
    for columns in np.array_split(np.arange(len(x)), math.ceil(len(x) ** 2 / AT_ONCE)):
        sign = np.sign(x[:, None] - x[columns]) * np.sign(y[:, None] - y[columns])
        agree += (weights[:, columns] * (single @ sign.astype(np.float32))).sum(axis=1)
    pairs_x, pairs_y = (pairs_untied(v, weights) for v in (x, y))
    return ratio(agree / 2, np.sqrt(pairs_x * pairs_y))


def pairs_untied(x: Floats, weights: Floats) -> Floats:
    """Pairs of the sample written out whose values differ: x (N,), weights (R, N) -> (R,)."""
    values, place = np.unique(x, return_inverse=True)
    count = counts_of_values(place, len(values), weights)
    return np.asarray((count.sum(axis=1) ** 2 - (count**2).sum(axis=1)) / 2)
