"""Where heads start: a ridge regression."""

import numpy as np
import pytest
import torch

from qclip_ffmpeg.model import LevelHead, LinearHead
from qclip_ffmpeg.train.heads import ridge, standardise, start_at_ridge


def test_ridge_finds_the_slope_and_shrinks_it() -> None:
    x = torch.tensor([[-1.0], [0.0], [1.0]], dtype=torch.float64)
    slope, offset = ridge(x, 50 + 10 * x[:, 0], strength=0.3)
    assert offset == 50
    # closed form: sum(x y) / (sum(x^2) + penalty), penalty = 0.3 thousandths of sum(x^2)
    assert slope.tolist() == pytest.approx([20 / (2 + 0.3 * 2 / 1000)])


def test_both_forms_of_ridge_agree() -> None:
    """More samples than features, and fewer."""
    rng = np.random.default_rng(0)
    x, y = torch.from_numpy(rng.normal(size=(30, 12))), torch.from_numpy(rng.normal(size=30))
    penalty = 0.5 * x.square().sum() / 1000
    expected = torch.linalg.solve(x.T @ x + penalty * torch.eye(12, dtype=x.dtype), x.T @ (y - y.mean()))
    assert torch.allclose(ridge(x, y, 0.5)[0], expected)
    wide, few = x.T.contiguous(), y[:12]
    penalty = 0.5 * wide.square().sum() / 1000
    expected = torch.linalg.solve(wide.T @ wide + penalty * torch.eye(30, dtype=x.dtype), wide.T @ (few - few.mean()))
    assert torch.allclose(ridge(wide, few, 0.5)[0], expected)


@pytest.mark.parametrize("head_type", [LevelHead, LinearHead])
def test_a_head_starts_at_the_regression(head_type: type[LevelHead] | type[LinearHead]) -> None:
    """Level vectors rank as the regression does; a linear probe is it. A feature that never changes does no harm."""
    rng = np.random.default_rng(1)
    label = torch.from_numpy(rng.uniform(5, 95, 80)).float()
    features = torch.from_numpy(
        3 + np.outer((label - 50) / 30, rng.normal(size=20)) + rng.normal(size=(80, 20))
    ).float()
    features[:, 7] = 2.0
    head = head_type(20)
    standardise(head, features)
    start_at_ridge(head, features, label, 0.3)
    slope, offset = ridge(head.standardise(features).double(), label.double(), 0.3)
    predicted = head.standardise(features).double() @ slope + offset
    levels, score = head(features)
    assert torch.equal(score.argsort(), predicted.argsort())
    assert torch.allclose(levels.sum(dim=1), torch.ones(80))
    if isinstance(head, LinearHead):
        assert torch.allclose(score.double(), predicted, atol=1e-3)
    else:
        assert torch.allclose(score.double(), predicted, atol=12)  # softer at the ends of the scale
