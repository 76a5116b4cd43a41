"""How well scores agree with labels: what the field reports, each with a 95 % interval.

SROCC and KROCC say how well the order agrees; PLCC and RMSE are taken after a logistic that maps scores onto the scale
of the labels. Intervals come from drawing contents anew, see `bootstrap`.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import OptimizeWarning, curve_fit
from scipy.special import expit

from qclip_ffmpeg.emit.csv import csv_table
from qclip_ffmpeg.errors import UsageError
from qclip_ffmpeg.files import write_atomically
from qclip_ffmpeg.train.bootstrap import (
    AT_ONCE,
    RESAMPLES,
    Figure,
    Floats,
    Statistic,
    bootstrapped,
    draws,
    finite_or_none,
    ratio,
    weighted_kendall,
    weighted_pearson,
    weighted_spearman,
)

NOT_WORSE = 1e-3
"""By this share of the labels' standard deviation the logistic may miss more than a line and still count as fitted."""


class Figures(Struct, frozen=True):
    """Agreement of one set of scores with its labels."""

    clips: int
    contents: int
    srocc: Figure
    """Spearman's rank correlation, -1 to 1."""
    krocc: Figure
    """Kendall's rank correlation, tau-b, -1 to 1."""
    plcc: Figure
    """Pearson's correlation of the label with the fitted score, 0 to 1. It hides the sign, which `srocc` has."""
    rmse: Figure
    """Root mean square difference of the label and the fitted score, in units of the label; divided by N clips."""
    logistic_converged: bool
    """False: `plcc` and `rmse` are those of a straight line instead, see `fit_logistic`."""


class ContentFigures(Struct, frozen=True):
    """Agreement within one content; None where undefined."""

    content: str
    clips: int
    srocc: float | None
    krocc: float | None
    plcc: float | None
    """Of the score as it was given, without a logistic: a handful of encodes cannot fit one."""


class LogisticFit(Struct, frozen=True):
    """A monotone map from scores to labels. Call it with scores (N,) to have them on the scale of the labels, (N,)."""

    logistic: tuple[float, float, float, float] | None
    """(b1, b2, b3, b4) of (b1 - b2) / (1 + exp(-(x - b3) / |b4|)) + b2; None where the fit did not converge."""
    line: tuple[float, float]
    """(slope, offset) of the least-squares line; the map where there is no logistic."""

    @property
    def converged(self) -> bool:
        return self.logistic is not None

    def __call__(self, score: ArrayLike) -> Floats:
        x = np.asarray(score, dtype=np.float64)
        return self.line[0] * x + self.line[1] if self.logistic is None else logistic(x, *self.logistic)


def fit_logistic(score: ArrayLike, label: ArrayLike) -> LogisticFit:
    """Fit the four-parameter logistic that maps scores onto labels, by least squares.

    The function is that of VQEG's validation of full-reference models (FR-TV, final report, 2000, and phase II, 2003;
    ITU-T, tutorial "Objective perceptual assessment of video quality", 2004) in the form that no-reference work uses
    (Seshadrinathan et al., IEEE TIP 19(6), 2010): f(x) = (b1 - b2) / (1 + exp(-(x - b3) / |b4|)) + b2.
    It is monotone, and falls (b1 < b2) where the labels fall with the score.

    The fit has not converged if the solver gives up, if there are fewer than four clips, or if a straight line, which
    a very wide logistic is, misses the labels by less. Then the map is that line, and `converged` says so.

    Args:
        score: (N,).
        label: (N,).

    Raises:
        UsageError: the two differ in length, are empty, or hold a number that is not finite.
    """
    x, y = checked(score, label)
    if x.min() == x.max():
        return LogisticFit(None, (0.0, float(y.mean())))
    offset_x, scale_x = float(x.mean()), float(x.std())
    z = (x - offset_x) / scale_x
    slope = float((z * (y - y.mean())).mean() / scale_x)
    line = LogisticFit(None, (slope, float(y.mean() - slope * offset_x)))
    start = (y.max(), y.min(), 0.0, 1.0) if slope >= 0 else (y.min(), y.max(), 0.0, 1.0)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):  # about their covariance, which is not used
            warnings.simplefilter("ignore", OptimizeWarning)
            b1, b2, b3, b4 = (float(b) for b in curve_fit(logistic, z, y, p0=start, maxfev=10_000)[0])
    except (RuntimeError, TypeError):  # no convergence; fewer clips than parameters
        return line
    fit = LogisticFit((b1, b2, b3 * scale_x + offset_x, abs(b4) * scale_x), line.line)
    worse = rms(fit(x) - y) - rms(line(x) - y)
    return fit if worse <= NOT_WORSE * y.std() else line  # also where the fit holds NaN


def figures(
    score: ArrayLike, label: ArrayLike, content: Sequence[str], *, resamples: int = RESAMPLES, seed: int = 0
) -> Figures:
    """SROCC, KROCC, PLCC and RMSE with 95 % intervals, as the field reports them.

    A resample draws as many contents as there are, with replacement, each with all its clips. The logistic is fitted
    once, on all clips, and kept for the resamples: the intervals of PLCC and RMSE leave out what fitting it adds, which
    is little but for a few dozen clips. Resamples in which a figure is undefined are left out of its interval.

    Args:
        score: (N,), of any scale.
        label: (N,).
        content: (N,), name of the source of each clip.
        resamples: of the bootstrap.
        seed: of the bootstrap; the same input and seed give the same figures.

    Raises:
        UsageError: the three differ in length, are empty, or hold a number that is not finite.
    """
    x, y = checked(score, label, content)
    names, clusters = np.unique(np.asarray(content), return_inverse=True)
    fit = fit_logistic(x, y)
    fitted = fit(x)
    drawn = draws(len(names), resamples, seed)

    def figure(statistic: Statistic) -> Figure:
        return bootstrapped(lambda weights: statistic(weights[:, clusters]), drawn)

    return Figures(
        clips=len(x),
        contents=len(names),
        srocc=figure(lambda weights: weighted_spearman(x, y, weights)),
        krocc=figure(lambda weights: weighted_kendall(x, y, weights)),
        plcc=figure(lambda weights: weighted_pearson(fitted, y, weights)),
        rmse=figure(lambda weights: np.sqrt(weights @ (fitted - y) ** 2 / weights.sum(axis=1))),
        logistic_converged=fit.converged,
    )


def per_content(
    score: ArrayLike, label: ArrayLike, content: Sequence[str], *, at_least: int = 3
) -> list[ContentFigures]:
    """Correlations within each content that has `at_least` clips, in the order of the names.

    Whoever picks an encode of a ladder asks about these, not about the order of clips of different contents. Their
    mean and its interval: `mean_figure([row.srocc for row in rows])`.

    Args:
        score: (N,).
        label: (N,).
        content: (N,), name of the source of each clip.
        at_least: clips that a content must have; two always correlate perfectly.

    Raises:
        UsageError: the three differ in length, are empty, or hold a number that is not finite.
    """
    x, y = checked(score, label, content)
    rows = []
    for name, members in groups(content):
        if len(members) >= at_least:
            once = np.ones((1, len(members)))
            found = [
                finite_or_none(r(x[members], y[members], once)[0])
                for r in (weighted_spearman, weighted_kendall, weighted_pearson)
            ]
            rows.append(ContentFigures(name, len(members), *found))
    return rows


def mean_figure(values: Sequence[float | None], *, resamples: int = RESAMPLES, seed: int = 0) -> Figure:
    """Mean of one figure of several contents (None is left out) and its interval, from drawing contents."""
    defined = np.array([value for value in values if value is not None], dtype=np.float64)
    return bootstrapped(
        lambda weights: ratio(weights @ defined, weights.sum(axis=1)), draws(len(defined), resamples, seed)
    )


def pairs_ordered_right(score: ArrayLike, label: ArrayLike, content: Sequence[str], apart: float) -> tuple[int, int]:
    """(right, all) pairs within a content whose labels differ by at least `apart`.

    Right is what the score puts in the order of the labels; a tie of scores is not right. Pairs of equal labels are
    none.

    Args:
        score: (N,).
        label: (N,).
        content: (N,), name of the source of each clip.
        apart: in units of the label.

    Raises:
        UsageError: the three differ in length, are empty, or hold a number that is not finite.
    """
    counts = pairs_by_content(*checked(score, label, content), content, apart)
    return sum(right for _, right, _ in counts), sum(total for _, _, total in counts)


def share_of_pairs_right(
    score: ArrayLike,
    label: ArrayLike,
    content: Sequence[str],
    apart: float,
    *,
    cluster: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Figure:
    """Share (0 to 1) of the pairs of `pairs_ordered_right` that are right; undefined where there is no pair.

    Args:
        score: (N,).
        label: (N,).
        content: (N,), what pairs are formed within.
        apart: in units of the label.
        cluster: (N,), what the bootstrap draws, where that is coarser than `content` and holds each whole.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        UsageError: the lengths differ, are zero, or a number is not finite.
    """
    x, y = checked(score, label, content)
    if cluster is not None:
        checked(x, y, cluster)
    names, clusters = np.unique(np.asarray(content if cluster is None else cluster), return_inverse=True)
    right, total = np.zeros(len(names)), np.zeros(len(names))
    for members, r, t in pairs_by_content(x, y, content, apart):
        right[clusters[members[0]]] += r
        total[clusters[members[0]]] += t
    return bootstrapped(lambda weights: ratio(weights @ right, weights @ total), draws(len(names), resamples, seed))


def write_predictions(
    path: Path,
    names: Sequence[str],
    contents: Sequence[str],
    labels: ArrayLike,
    scores: ArrayLike,
    fitted: ArrayLike,
) -> None:
    """Write what every figure can be computed from again: a CSV (RFC 4180, UTF-8, \\n) of one line a clip.

    Columns: name, content, label, score, fitted (the score on the scale of the labels). Numbers are written so that
    they read back the same. The file appears whole or not at all.

    Raises:
        UsageError: the lengths differ, a number is not finite, or the file cannot be written.
    """
    y, x = checked(labels, scores, contents)
    rows = zip(names, contents, y.tolist(), x.tolist(), checked(fitted, y, names)[0].tolist(), strict=True)
    columns = ("name", "content", "label", "score", "fitted")
    write_atomically(path, csv_table(columns, (dict(zip(columns, row, strict=True)) for row in rows)))


def checked(score: ArrayLike, label: ArrayLike, names: Sequence[str] | None = None) -> tuple[Floats, Floats]:
    """Both as float64 (N,), N > 0, finite, and as many as the names."""
    x, y = np.asarray(score, dtype=np.float64), np.asarray(label, dtype=np.float64)
    lengths = [x.shape, y.shape] + ([] if names is None else [(len(names),)])
    if x.ndim != 1 or len(set(lengths)) > 1 or not len(x):
        raise UsageError(f"a score, a label and a content are needed for every clip, of one at least, not {lengths}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise UsageError("a score or a label is not a finite number; leave out clips that could not be scored")
    return x, y


def logistic(x: Floats, b1: float, b2: float, b3: float, b4: float) -> Floats:
    width = max(abs(b4), np.finfo(np.float64).tiny)
    with np.errstate(over="ignore"):  # a step: expit of infinity is 1
        return np.asarray((b1 - b2) * expit((x - b3) / width) + b2, dtype=np.float64)


def rms(x: Floats) -> float:
    return float(np.sqrt(np.mean(x**2)))


def groups(content: Sequence[str]) -> Iterator[tuple[str, NDArray[np.intp]]]:
    """(name, indices of its clips), in the order of the names."""
    names, inverse = np.unique(np.asarray(content), return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    for name, members in zip(names, np.split(order, np.cumsum(np.bincount(inverse))[:-1]), strict=True):
        yield str(name), members


def pairs_by_content(
    x: Floats, y: Floats, content: Sequence[str], apart: float
) -> list[tuple[NDArray[np.intp], int, int]]:
    """(indices of its clips, pairs in the right order, pairs) of each content."""
    counts = []
    for _, members in groups(content):
        right = total = 0
        for better in np.array_split(members, math.ceil(len(members) ** 2 / AT_ONCE)):
            dx, dy = (v[better][:, None] - v[members][None, :] for v in (x, y))
            counted = (dy >= apart) & (dy > 0)  # each pair once: the better clip first
            right += int((counted & (dx > 0)).sum())
            total += int(counted.sum())
        counts.append((members, right, total))
    return counts
