"""Where a head starts: a ridge regression of the label, written as level vectors or as a linear probe."""

import torch
from torch import Tensor

from qclip_ffmpeg.model import LevelHead, LinearHead, StandardisedHead

LEVEL_SPREAD = 25.0  # score units; how soft the levels are at the start
SMALLEST_SPREAD = 1e-3  # of a feature, so that one that never changes is not blown up


@torch.no_grad()
def standardise(head: StandardisedHead, features: Tensor) -> None:
    """Take the mean and the spread of the training features, (N, D), out of what a head sees."""
    head.mean.copy_(features.mean(dim=0))
    head.scale.copy_(features.std(dim=0, correction=0) + SMALLEST_SPREAD)


@torch.no_grad()
def start_at_ridge(
    head: StandardisedHead, features: Tensor, label: Tensor, strength: float, spread: float = LEVEL_SPREAD
) -> None:
    """Start a standardised head at a ridge regression.

    Args:
        head: five level vectors, or a linear probe.
        features: (N, D), as the model makes them.
        label: (N,), 0..100.
        strength: penalty per sample and per thousand features.
        spread: standard deviation of the levels in score units. A normal distribution around each level's score, all
            of one spread, has logits linear in the prediction: that makes the five vectors.
    """
    slope, offset = ridge(head.standardise(features).double(), label.double(), strength)
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
    """Ridge regression, in the smaller of its two forms: x (N, D) standardised, y (N,) -> slope (D,), offset."""
    offset = y.mean()
    samples, features = x.shape
    penalty = strength * samples * features / 1000 * torch.eye(min(samples, features), dtype=x.dtype, device=x.device)
    if samples <= features:
        return x.T @ torch.linalg.solve(x @ x.T + penalty, y - offset), float(offset)
    return torch.linalg.solve(x.T @ x + penalty, x.T @ (y - offset)), float(offset)
