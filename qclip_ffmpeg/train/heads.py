"""Where a head starts: a ridge regression of the label, linear or quadratic, as level vectors or as a linear probe."""

from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

import numpy as np
import torch
from msgspec import Meta, Struct
from numpy.typing import NDArray
from torch import Tensor

from qclip_ffmpeg.errors import UsageError
from qclip_ffmpeg.heads import LevelHead, LinearHead, Measure, StandardisedHead
from qclip_ffmpeg.model import ModelConfig, Statistics
from qclip_ffmpeg.views import View

LEVEL_SPREAD = 25.0  # score units; how soft the levels are at the start
SMALLEST_SPREAD = 1e-3  # of a feature, so that one that never changes is not blown up
MEASURE_SHARES: dict[Measure, float] = {"motion": 0.1, "enlargement": 0.03}
"""Variance of a measure as a share of that of all features: the penalty would else keep one number among thousands from
being used. Of "motion" 0.02 to 0.3 make no difference; more of "enlargement" tells contents apart a little better, and
encodes of one content a little worse: docs/experiments.md."""


class Emphasis(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Features that a ridge regression holds back less than others."""

    view: View
    exit_block: int
    statistic: Literal["class", "mean", "std"]
    weight: Annotated[float, Meta(gt=0, le=1e6)]
    """Their variance; that of others is 1."""


def feature_weights(config: ModelConfig, width: int, emphasis: Sequence[Emphasis]) -> Tensor:
    """Variance that each feature is given, (D,).

    Args:
        config: of the model, read by statistics.
        width: of the tower's tokens.
        emphasis: where it is not 1.

    Raises:
        UsageError: the model has no such features.
    """
    readout = config.readout
    if not isinstance(readout, Statistics):
        raise UsageError('[optimiser] emphasis: needs [model] readout "statistics"')
    weights = torch.ones(len(config.views), len(readout.exit_blocks), len(readout.statistics), width)
    for one in emphasis:
        try:
            place = (
                config.views.index(one.view),
                readout.exit_blocks.index(one.exit_block),
                readout.statistics.index(one.statistic),
            )
        except ValueError:
            raise UsageError(
                f"[optimiser] emphasis: the model does not read the {one.statistic} of block {one.exit_block} "
                f'of view "{one.view}"'
            ) from None
        weights[place] = one.weight
    return weights.flatten()


@torch.no_grad()
def standardise(
    head: StandardisedHead, features: Tensor, measures: Tensor | None = None, weights: Tensor | None = None
) -> None:
    """Take the mean and the spread of the training clips out of what a head sees.

    Args:
        head: to be set.
        features: (N, D).
        measures: (N, M), where the head has any. "display" multiplies features and is left as it is.
        weights: (D,), the variance that features are left with; 1 when None.
    """
    weights = torch.ones_like(head.scale) if weights is None else weights.to(head.scale)
    head.mean.copy_(features.mean(dim=0))
    head.scale.copy_((features.std(dim=0, correction=0) + SMALLEST_SPREAD) / weights.sqrt())
    if measures is None:
        return
    for place, name in enumerate(head.measures):
        if name in MEASURE_SHARES:
            spread = measures[:, place].std(correction=0) + SMALLEST_SPREAD
            head.measure_mean[place] = measures[:, place].mean()
            head.measure_scale[place] = spread / (MEASURE_SHARES[name] * weights.sum()).sqrt()


@torch.no_grad()
def start_at_ridge(
    head: StandardisedHead,
    features: Tensor,
    label: Tensor,
    strength: float,
    measures: Tensor | None = None,
    weight: Tensor | None = None,
    spread: float = LEVEL_SPREAD,
) -> None:
    """Start a standardised head at a ridge regression.

    Args:
        head: five level vectors, or a linear probe; its directions, if any, are set.
        features: (N, D), as the model makes them.
        label: (N,), 0..100.
        strength: see `ridge`.
        measures: (N, M), where the head has any.
        weight: (N,), of each sample's squared error; 1 when None.
        spread: standard deviation of the levels in score units. A normal distribution around each level's score, all
            of one spread, has logits linear in the prediction: that makes the five vectors.
    """
    x = head.standardise(features, measures).double()
    weight = torch.ones_like(label) if weight is None else weight
    if head.directions is None:
        slope, offset = ridge(x, label.double(), strength, weight.double())
    else:
        form = quadratic_ridge(x, label.double(), strength, weight.double(), len(head.directions))
        head.directions.copy_(form.directions)
        slope, offset = torch.cat([form.slope, form.signs]), form.offset
    if isinstance(head, LevelHead):
        levels = head.level_scores
        head.level_vectors.copy_(levels[:, None] * slope.float() / spread**2)
        head.level_bias.copy_((levels * offset - levels**2 / 2) / spread**2)
    elif isinstance(head, LinearHead):
        head.slope.copy_(slope.float())
        head.offset.fill_(offset)
    else:
        raise TypeError(f"{type(head).__name__} cannot start at a ridge regression")


def ridge(x: Tensor, y: Tensor, strength: float, weight: Tensor) -> tuple[Tensor, float]:
    """Ridge regression, in the smaller of its two forms.

    Args:
        x: (N, I), of mean 0 each.
        y: (N,).
        strength: penalty as a thousandth of the sum of squares of `x`: of standardised features, per sample and per
            thousand features.
        weight: (N,), of each sample's squared error.

    Returns:
        Slope (I,), offset.
    """
    offset = y.mean()
    samples, inputs = x.shape
    penalty = strength / 1000 * x.square().sum()
    if samples <= inputs:
        return x.T @ torch.linalg.solve(x @ x.T + torch.diag(penalty / weight), y - offset), float(offset)
    weighted = x * weight.unsqueeze(1)
    inner = weighted.T @ x + penalty * torch.eye(inputs, dtype=x.dtype, device=x.device)
    return torch.linalg.solve(inner, weighted.T @ (y - offset)), float(offset)


class QuadraticForm(NamedTuple):
    """f(x) = offset + slope . x + sum over q of signs[q] * (directions[q] . x)^2."""

    slope: Tensor
    """(I,)."""
    offset: float
    signs: Tensor
    """(Q,), 1 or -1."""
    directions: Tensor
    """(Q, I)."""


def quadratic_ridge(x: Tensor, y: Tensor, strength: float, weight: Tensor, rank: int) -> QuadraticForm:
    """Kernel ridge regression with the kernel k(a, b) = s + s^2, s = a . b / mean |x|^2, its form cut to a low rank.

    The kernel's features are all inputs and all products of two (Saunders, Gammerman and Vovk, "Ridge regression
    learning algorithm in dual variables", ICML 1998). What it finds is a slope and a symmetric matrix, of which the
    eigenvectors with the largest eigenvalues are kept.

    Args:
        x: (N, I), of mean 0 each, N > 1.
        y: (N,).
        strength: as of `ridge`; the penalty is that of `x` alone.
        weight: (N,), of each sample's squared error.
        rank: Q, below I.
    """
    from scipy.sparse.linalg import LinearOperator, eigsh

    offset = y.mean()
    samples, inputs = x.shape
    size = x.square().sum() / samples
    similarity = x @ x.T / size
    kernel = similarity + similarity.square()
    dual = torch.linalg.solve(kernel + torch.diag(strength / 1000 * samples / weight), y - offset)  # (N,)
    rows, of_rows = x.cpu().numpy(), dual.cpu().numpy()

    def times(vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """The matrix is the sum of dual[n] x[n] x[n]^T, too large to be written down."""
        found: NDArray[np.float64] = rows.T @ (of_rows * (rows @ vector.ravel()))
        return found

    matrix = LinearOperator((inputs, inputs), matvec=times, dtype=np.float64)
    values, vectors = eigsh(matrix, k=rank, which="LM", v0=np.ones(inputs))  # from ones: the same every time
    largest_first = np.argsort(-np.abs(values))
    values, vectors = values[largest_first], vectors[:, largest_first]
    directions = torch.from_numpy(vectors * np.sqrt(np.abs(values))).T / size
    return QuadraticForm(x.T @ dual / size, float(offset), torch.from_numpy(np.sign(values)).to(x), directions.to(x))
