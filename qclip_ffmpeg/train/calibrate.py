"""Raw scores of clips that a model was not trained on -> its calibration, its noise band and its domain.

Pure functions on arrays, so that a trainer can call them with predictions it has (out of fold: of each clip from a
model that did not see its content). `calibration_run` calls them with those of a whole model.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import lsq_linear
from torch import Tensor

from qclip_ffmpeg.calibration import Calibration, NoiseBand, map_raw, piece_of
from qclip_ffmpeg.domain import LARGEST_BYTES, Domain, DomainCard
from qclip_ffmpeg.errors import UsageError
from qclip_ffmpeg.train.bootstrap import RESAMPLES, Floats, bootstrapped, draws, weighted_spearman
from qclip_ffmpeg.train.heads import SMALLEST_SPREAD
from qclip_ffmpeg.train.metrics import checked, groups

FEWEST_CLIPS, FEWEST_CONTENTS = 30, 10
MOST_KNOTS, CLIPS_A_KNOT = 12, 20
SMOOTH = 0.01
"""Weight of the squared bends of the map (change of slope times length, score units) beside the squared errors, per
clip: only so much that knots with few clips stay in line. Held-out contents do not ask for more."""
LEAST_SLOPE = 0.05  # of the map, as a share of its mean slope
KNOTS_APART = 1e-3  # score units
FOLDS = 5
ERROR_REACH = 10.0  # score units; standard deviation of the weights that errors near a knot are averaged with
LABEL_APART = (1.0, 2.0, 5.0)
"""Score units; labels that differ by less are called equal. The first that leaves ENOUGH_PAIRS is taken: what the
labels differ by is taken out, so a wider one costs little, and few pairs cost much."""
ENOUGH_PAIRS = 200
SHARE_INSIDE = 0.95  # of the pairs, within the noise band
FLAGGED_AT_MOST = 0.005  # of the windows of held-out contents
MOST_DIRECTIONS, CLIPS_A_DIRECTION = 24, 10
FEWEST_DOMAIN_CLIPS, FEWEST_DOMAIN_CONTENTS = 200, 20
FEWEST_PAIRS, PAIRS_A_KNOT, MOST_BAND_KNOTS = 40, 100, 6


def fit_calibration(
    raw: ArrayLike,
    label: ArrayLike,
    content: Sequence[str],
    *,
    name: str,
    sampling: ArrayLike | None = None,
    score_range: tuple[float, float] = (0.0, 100.0),
) -> Calibration:
    """Fit the map from raw score to label, and measure the error it leaves on contents it was not fitted on.

    The map is piecewise linear between quantiles of the raw scores, fitted by least squares with every piece rising.
    The error comes from five folds of contents, each mapped by a fit to the others.

    Args:
        raw: (N,), of clips whose contents the model was not trained on.
        label: (N,), in units of the score.
        content: (N,), name of the source of each clip.
        name: says what it was fitted on, for example "vmaf-7000x150".
        sampling: (N,), standard error of each RAW score from the spread of its frames, if known: it is taken out of
            the error, since the probe adds that of each window itself.
        score_range: what a score can be.

    Raises:
        UsageError: too few clips or contents, or the labels do not rise with the raw score.
    """
    x, y = enough(raw, label, content)
    knots_x, knots_y = fitted_map(x, y, score_range)
    score, slope = cross_fitted(x, y, content, score_range)
    squared = (score - y) ** 2
    if sampling is not None:
        squared = squared - (slope * checked(sampling, y)[0]) ** 2
    near = np.exp(-0.5 * ((score - knots_y[:, None]) / ERROR_REACH) ** 2)  # (K, N)
    error = np.sqrt(np.maximum(near @ squared, 0) / near.sum(axis=1))
    return Calibration(
        id=name,
        raw=tuple(knots_x.tolist()),
        score=tuple(knots_y.tolist()),
        error=tuple(error.tolist()),
        clips=len(x),
        contents=len(set(content)),
    )


def cross_fitted(
    raw: Floats, label: Floats, content: Sequence[str], score_range: tuple[float, float] = (0.0, 100.0)
) -> tuple[Floats, Floats]:
    """Scores (N,) of raw scores (N,), each from a map fitted without its content, and the slope of that map there."""
    _, fold_of = folds(content)
    score, slope = np.empty_like(raw), np.empty_like(raw)
    for fold in range(FOLDS):
        out = fold_of == fold
        knots, at = fitted_map(raw[~out], label[~out], score_range)
        score[out] = map_raw(knots, at, raw[out], score_range)
        slope[out] = (np.diff(at) / np.diff(knots))[piece_of(knots, raw[out])]
    return score, slope


def check_enough(content: Sequence[str]) -> None:
    """Raises UsageError where the contents of clips are too few to calibrate on."""
    clips, contents = len(content), len(set(content))
    if clips < FEWEST_CLIPS or contents < FEWEST_CONTENTS:
        raise UsageError(
            f"{clips} clips of {contents} contents are too few to calibrate on; "
            f"give at least {FEWEST_CLIPS} of {FEWEST_CONTENTS}"
        )


def enough(raw: ArrayLike, label: ArrayLike, content: Sequence[str]) -> tuple[Floats, Floats]:
    """Raw scores and labels that something can be fitted on; UsageError where they cannot."""
    x, y = checked(raw, label, content)
    check_enough(content)
    if not weighted_spearman(x, y, np.ones((1, len(x))))[0] > 0:
        raise UsageError("the labels do not rise with the model's scores: there is nothing to calibrate")
    return x, y


def folds(content: Sequence[str], seed: int = 0) -> tuple[list[str], NDArray[np.intp]]:
    """Names of the contents, and the fold of each clip, (N,): a content is in one fold, and no fold is empty."""
    names, of_clip = np.unique(np.asarray(content), return_inverse=True)
    fold_of_content = np.random.default_rng(seed).permutation(len(names)) % FOLDS
    return names.tolist(), fold_of_content[of_clip]


def fitted_map(x: Floats, y: Floats, score_range: tuple[float, float]) -> tuple[Floats, Floats]:
    """Knots (K,), (K,) of a map from x to y that rises."""
    count = min(MOST_KNOTS, max(2, len(x) // CLIPS_A_KNOT))
    knots = np.unique(np.quantile(x, np.linspace(0, 1, count)))
    width = knots[-1] - knots[0]
    knots = knots[np.concatenate([[True], np.diff(knots) > 1e-6 * width])]
    if len(knots) < 2:
        raise UsageError("the model gives all clips one score: there is nothing to calibrate")
    low, high = score_range
    pieces = np.diff(knots) / width
    covered = (x[:, None] - knots[:-1]) / np.diff(knots)  # share of each piece below x; the end pieces go on
    inner = np.clip(covered, [-np.inf] + [0] * (len(pieces) - 1), [1] * (len(pieces) - 1) + [np.inf])
    bends = np.zeros((len(pieces) - 1, len(knots)))
    for i in range(len(pieces) - 1):
        bends[i, i + 1 : i + 3] = np.array([-1 / pieces[i], 1 / pieces[i + 1]]) * (pieces[i] + pieces[i + 1]) / 2
    rows = np.concatenate([np.column_stack([np.ones(len(x)), inner]), np.sqrt(SMOOTH * len(x)) * bends])
    least = LEAST_SLOPE * (high - low) * pieces
    target = np.concatenate([y, np.zeros(len(bends))])
    found = lsq_linear(rows, target, bounds=(np.concatenate([[-np.inf], least]), np.inf))
    steps = KNOTS_APART * np.arange(len(knots))
    return knots, np.clip(np.cumsum(found.x), low + steps, high - steps[::-1])


def noise_band(
    score: ArrayLike, label: ArrayLike, group: Sequence[str], *, source: str, cluster: Sequence[str] | None = None
) -> NoiseBand:
    """Measure how far apart the scores of two encodes of one content are that are equally good.

    A group counts by its encodes less one, its degrees of freedom, as ISO 5725-2 pools them: not by its pairs, of which
    there are many more where there are many encodes.

    Args:
        score: (N,), CALIBRATED, of clips whose contents neither the model nor the map was fitted on.
        label: (N,).
        group: (N,), what was compared with one reference at one display: pairs are formed within it.
        source: what it is measured on, for people.
        cluster: (N,), the content, where that is coarser than `group`; the interval draws these.

    Raises:
        UsageError: too few pairs or contents.
    """
    x, y = checked(score, label, group)
    cluster = group if cluster is None else cluster
    checked(x, y, cluster)
    for apart in LABEL_APART:
        first, second, weight = pairs_alike(y, group, apart)
        if len(first) >= ENOUGH_PAIRS:
            break
    names, of_pair = np.unique(np.asarray(cluster)[first], return_inverse=True)
    if len(first) < FEWEST_PAIRS or len(names) < FEWEST_CONTENTS:
        raise UsageError(
            f"{len(first)} pairs of encodes of one content with labels less than {apart:g} apart, of "
            f"{len(names)} contents, are too few for a noise band; give at least {FEWEST_PAIRS} of {FEWEST_CONTENTS}"
        )
    difference = np.abs((x[first] - x[second]) - (y[first] - y[second]))
    found = bootstrapped(
        lambda drawn: weighted_quantile(difference, drawn[:, of_pair] * weight, SHARE_INSIDE),
        draws(len(names), RESAMPLES, seed=0),
    )
    assert found.value is not None
    middle = (x[first] + x[second]) / 2
    at_score: list[float] = []
    at_band: list[float] = []
    knots = min(MOST_BAND_KNOTS, max(1, len(first) // PAIRS_A_KNOT))
    for part in np.array_split(np.argsort(middle, kind="stable"), knots):
        at = float(np.median(middle[part]))
        if not at_score or at > at_score[-1]:
            at_score.append(at)
            at_band.append(float(weighted_quantile(difference[part], weight[None, part], SHARE_INSIDE)[0]))
    return NoiseBand(
        band=max(found.value, KNOTS_APART),
        low=found.low,
        high=found.high,
        at_score=tuple(at_score),
        at_band=tuple(at_band),
        label_apart=apart,
        pairs=len(first),
        contents=len(names),
        source=source,
    )


def pairs_alike(label: Floats, group: Sequence[str], apart: float) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """Pairs of one group whose labels are less than `apart` apart: (P,), (P,) indices and (P,) weights.

    The weights of a group add up to its encodes that are in a pair, less one.
    """
    found_first, found_second, found_weight = [], [], []
    for _, members in groups(group):
        place = np.sort(members)
        a, b = np.triu_indices(len(place), k=1)
        alike = np.abs(label[place[a]] - label[place[b]]) < apart
        if alike.any():
            a, b = place[a[alike]], place[b[alike]]
            found_first.append(a)
            found_second.append(b)
            found_weight.append(np.full(len(a), (len(np.union1d(a, b)) - 1) / len(a)))
    if not found_first:
        nothing = np.zeros(0, dtype=np.intp)
        return nothing, nothing, np.zeros(0)
    return np.concatenate(found_first), np.concatenate(found_second), np.concatenate(found_weight)


def weighted_quantile(values: Floats, weights: Floats, share: float) -> Floats:
    """(N,), weights (R, N) -> (R,): the lowest value such that at least that share of the weight is at most it."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[:, order], axis=1)
    places = np.array([np.searchsorted(row, share * row[-1]) for row in reached])
    return np.where(reached[:, -1] > 0, values[order][np.minimum(places, len(values) - 1)], np.nan)


def fit_domain(features: NDArray[np.float32], content: Sequence[str], *, source: str) -> Domain:
    """Describe where the features of training clips lie, with a threshold from contents held out of the description.

    Args:
        features: (N, D), mean features of clips' frames, as `Scorer.features` gives them. All clips the model was
            trained or calibrated on: the more kinds of content, the better.
        content: (N,).
        source: what they are, for people.

    Returns:
        What goes into a checkpoint: `save_checkpoint(path, card, trained | domain.tensors())` with
        `Card(domain=domain.card, ...)`.

    Raises:
        UsageError: too few clips or contents, or features that are not finite.
    """
    clips, size = features.shape
    names, fold_of = folds(content)
    if clips != len(content) or not np.isfinite(features).all():
        raise UsageError("finite features and a content are needed for every clip")
    if clips < FEWEST_DOMAIN_CLIPS or len(names) < FEWEST_DOMAIN_CONTENTS:
        raise UsageError(
            f"{clips} clips of {len(names)} contents are too few to say what a model knows; "
            f"give at least {FEWEST_DOMAIN_CLIPS} of {FEWEST_DOMAIN_CONTENTS}"
        )
    by_size = LARGEST_BYTES // 4 // size - 3  # mean, scale and spread take less than three rows
    count = max(1, min(MOST_DIRECTIONS, by_size, size // 2, clips // CLIPS_A_DIRECTION))
    x = torch.from_numpy(features)
    along, beside = torch.zeros(clips), torch.zeros(clips)
    for fold in range(FOLDS):
        out = torch.from_numpy(fold_of == fold)
        along[out], beside[out] = parts_of(x[out], *principal(x[~out], count))
    mean, scale, directions, spread = principal(x, count)
    halves = torch.stack([along, beside]).square().mean(dim=1).mul(2).sqrt()
    spreads = torch.cat([spread * halves[0], halves[1:]])
    distance = ((along / halves[0]) ** 2 + (beside / halves[1]) ** 2).sqrt().double()
    threshold = float(torch.quantile(distance, 1 - FLAGGED_AT_MOST, interpolation="higher"))
    card = DomainCard(
        threshold=threshold,
        flagged=float((distance > threshold).double().mean()),
        clips=clips,
        contents=len(names),
        source=source,
    )
    return Domain(card, mean, scale, directions, spreads)


def principal(x: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of features (N, D): mean (D,), scale (D,), and directions (K, D) with the standard deviation along each, (K,)."""
    mean, scale = x.mean(dim=0), x.std(dim=0, correction=0) + SMALLEST_SPREAD
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _, singular, directions = torch.svd_lowrank((x - mean) / scale, q=min(count + 8, *x.shape), niter=4)
    spread = (singular[:count] / len(x) ** 0.5).clamp(min=SMALLEST_SPREAD)
    return mean, scale, directions[:, :count].T.contiguous(), spread


def parts_of(x: Tensor, mean: Tensor, scale: Tensor, directions: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
    """How far features (N, D) lie along the directions, in standard deviations, and beside them: (N,), (N,)."""
    z = (x - mean) / scale
    along = z @ directions.T
    beside = (z.square().sum(dim=1) - along.square().sum(dim=1)).clamp(min=0).sqrt()
    return (along / spread).square().sum(dim=1).sqrt(), beside
