"""Where a head starts: a ridge regression of the label, written as level vectors or as a linear probe."""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from msgspec import Meta, Struct
from torch import Tensor

from qclip_ffmpeg.errors import UsageError
from qclip_ffmpeg.model import LevelHead, LinearHead, ModelConfig, StandardisedHead, Statistics
from qclip_ffmpeg.views import View

LEVEL_SPREAD = 25.0  # score units; how soft the levels are at the start
SMALLEST_SPREAD = 1e-3  # of a feature, so that one that never changes is not blown up
MEASURE_SHARE = 0.1
"""Variance of a measure as a share of that of all features: the penalty would else keep one number among thousands
from being used. Between 0.02 and 0.3 it makes no difference: docs/experiments.md."""


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
        if name != "display":
            spread = measures[:, place].std(correction=0) + SMALLEST_SPREAD
            head.measure_mean[place] = measures[:, place].mean()
            head.measure_scale[place] = spread / (MEASURE_SHARE * weights.sum()).sqrt()


@torch.no_grad()
def start_at_ridge(
    head: StandardisedHead,
    features: Tensor,
    label: Tensor,
    strength: float,
    measures: Tensor | None = None,
    spread: float = LEVEL_SPREAD,
) -> None:
    """Start a standardised head at a ridge regression.

    Args:
        head: five level vectors, or a linear probe.
        features: (N, D), as the model makes them.
        label: (N,), 0..100.
        strength: see `ridge`.
        measures: (N, M), where the head has any.
        spread: standard deviation of the levels in score units. A normal distribution around each level's score, all
            of one spread, has logits linear in the prediction: that makes the five vectors.
    """
    slope, offset = ridge(head.standardise(features, measures).double(), label.double(), strength)
    if isinstance(head, LevelHead):
        levels = head.level_scores
        head.level_vectors.copy_(levels[:, None] * slope.float() / spread**2)
        head.level_bias.copy_((levels * offset - levels**2 / 2) / spread**2)
    elif isinstance(head, LinearHead):
        head.slope.copy_(slope.float())
        head.offset.fill_(offset)
    else:
        raise TypeError(f"{type(head).__name__} cannot start at a ridge regression")


def ridge(x: Tensor, y: Tensor, strength: float) -> tuple[Tensor, float]:
    """Ridge regression, in the smaller of its two forms.

    Args:
        x: (N, I), of mean 0 each.
        y: (N,).
        strength: penalty as a thousandth of the sum of squares of `x`: of standardised features, per sample and per
            thousand features.

    Returns:
        Slope (I,), offset.
    """
    offset = y.mean()
    samples, inputs = x.shape
    penalty = strength / 1000 * x.square().sum() * torch.eye(min(samples, inputs), dtype=x.dtype, device=x.device)
    if samples <= inputs:
        return x.T @ torch.linalg.solve(x @ x.T + penalty, y - offset), float(offset)
    return torch.linalg.solve(x.T @ x + penalty, x.T @ (y - offset)), float(offset)
