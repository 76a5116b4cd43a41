"""The two losses that Q-CLIP is trained with: linear correlation and order, of one batch.

Q-CLIP (Mi et al., arXiv 2508.06092) minimises `plcc_loss + RANK_WEIGHT * rank_loss`, as DOVER (Wu et al., ICCV 2023)
and FAST-VQA (Wu et al., ECCV 2022) did. Written anew from the formulas; tests hold them to numbers that the authors'
code gives. Both look at a batch as a whole, neither at the scale or the offset of its scores, so that any label scale
will do, and the score's own scale is left to something else.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

RANK_WEIGHT = 0.3
"""Weight of `rank_loss` beside `plcc_loss` in Q-CLIP."""
SMALLEST_STD = 1e-8
"""Added to a standard deviation before dividing by it."""


def plcc_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """How far two batches are from a rising line: 0 where they correlate perfectly, 0.5 where they fall together.

    With p and t standardised by the standard deviation of the population (not the sample) and r = mean(p t):
    (mean((p - t)^2) + mean((r p - t)^2)) / 8, which is (1 - r) / 4 + (1 - r^2) / 8.

    A constant batch, a single clip among them, is standardised to zeros: the loss is 1/4 where only the prediction is
    constant, 1/8 where only the target is, 0 where both are. Everything stays finite, but the gradient is as steep as
    1 / std: for a constant prediction it reaches 1 / (2 SMALLEST_STD B) = 5e7 / B, so clip it or do not start there.

    Args:
        prediction: (B,), of any scale.
        target: (B,), of any scale.

    Returns:
        A scalar, 0 to 0.5; in float32 where the inputs have half precision.

    Raises:
        ValueError: the shapes are not (B,) twice.
    """
    prediction, target = _pair(prediction, target)
    p, t = _standardised(prediction), _standardised(target)
    r = (p * t).mean()
    return (F.mse_loss(p, t) + F.mse_loss(r * p, t)) / 8


def rank_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """How far the pairs of a batch are in the wrong order: 0 where no pair is.

    A pair costs the difference of its predictions if that goes against its targets, and nothing otherwise; targets
    that are equal ask for nothing. Mean over the ordered pairs, divided by 1 + the dearest one, which keeps the loss
    below 1 for any scale of scores; the gradient flows through that divisor too, as in the authors' code.

    A constant prediction or target, a single clip among them, costs nothing and has no slope: pairs that are tied in
    the prediction are left to `plcc_loss`.

    Args:
        prediction: (B,).
        target: (B,), of any scale.

    Returns:
        A scalar, 0 to 1 exclusive; in float32 where the inputs have half precision.

    Raises:
        ValueError: the shapes are not (B,) twice.
    """
    prediction, target = _pair(prediction, target)
    count = len(prediction)
    difference = prediction[:, None] - prediction[None, :]  # (B, B)
    asked = torch.sign(target[:, None] - target[None, :])
    cost = torch.relu(-difference * asked)
    return cost.sum() / max(1, count * (count - 1)) / (1 + cost.max())


def _pair(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Both in at least float32. Shapes are checked, since (B, 1) against (B,) would quietly become (B, B)."""
    if prediction.ndim != 1 or prediction.shape != target.shape or not len(prediction):
        raise ValueError(f"a loss takes (B,) twice, not {tuple(prediction.shape)} and {tuple(target.shape)}")
    dtype = torch.promote_types(prediction.dtype, torch.float32)
    return prediction.to(dtype), target.to(dtype)


def _standardised(x: Tensor) -> Tensor:
    """(B,) -> (B,) of mean 0 and standard deviation 1; zeros if it is constant."""
    std, mean = torch.std_mean(x, correction=0)
    return (x - mean) / (std + SMALLEST_STD)
