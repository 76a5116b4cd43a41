"""Where heads start: a ridge regression, linear or quadratic."""

import numpy as np
import pytest
import torch

from qclip_ffmpeg.heads import LevelHead, LinearHead
from qclip_ffmpeg.train.heads import quadratic_ridge, ridge, standardise, start_at_ridge


def test_ridge_finds_the_slope_and_shrinks_it() -> None:
    x = torch.tensor([[-1.0], [0.0], [1.0]], dtype=torch.float64)
    slope, offset = ridge(x, 50 + 10 * x[:, 0], 0.3, torch.ones(3))
    assert offset == 50
    # closed form: sum(x y) / (sum(x^2) + penalty), penalty = 0.3 thousandths of sum(x^2)
    assert slope.tolist() == pytest.approx([20 / (2 + 0.3 * 2 / 1000)])


def test_both_forms_of_ridge_agree() -> None:
    """More samples than features, and fewer."""
    rng = np.random.default_rng(0)
    x, y = torch.from_numpy(rng.normal(size=(30, 12))), torch.from_numpy(rng.normal(size=30))
    weight = torch.from_numpy(rng.uniform(0.5, 3, size=30))
    penalty = 0.5 * x.square().sum() / 1000
    expected = torch.linalg.solve(
        x.T @ weight.diag() @ x + penalty * torch.eye(12, dtype=x.dtype), x.T @ (weight * (y - y.mean()))
    )
    assert torch.allclose(ridge(x, y, 0.5, weight)[0], expected)
    wide, few, weight = x.T.contiguous(), y[:12], weight[:12]
    penalty = 0.5 * wide.square().sum() / 1000
    expected = torch.linalg.solve(
        wide.T @ weight.diag() @ wide + penalty * torch.eye(30, dtype=x.dtype), wide.T @ (weight * (few - few.mean()))
    )
    assert torch.allclose(ridge(wide, few, 0.5, weight)[0], expected)


def test_a_quadratic_ridge_is_the_regression_on_all_products() -> None:
    """Written out for two inputs: the kernel's features are x, x1^2, x2^2 and sqrt(2) x1 x2, scaled."""
    rng = np.random.default_rng(2)
    x = torch.from_numpy(rng.normal(size=(40, 2)))
    y = 3 + x[:, 0] - 2 * x[:, 0] * x[:, 1] + x[:, 1] ** 2
    weight = torch.from_numpy(rng.uniform(0.5, 3, size=40))
    form = quadratic_ridge(torch.cat([x, torch.zeros(40, 1)], dim=1), y, 0.2, weight, 2)
    size = x.square().sum() / 40
    products = torch.stack([x[:, 0] ** 2, x[:, 1] ** 2, 2**0.5 * x[:, 0] * x[:, 1]], dim=1) / size
    features = torch.cat([x / size.sqrt(), products], dim=1)
    penalty = 0.2 / 1000 * 40 * torch.eye(5, dtype=x.dtype)
    slope = torch.linalg.solve(features.T @ weight.diag() @ features + penalty, features.T @ (weight * (y - y.mean())))
    predicted = form.offset + x @ form.slope[:2] + (x @ form.directions[:, :2].T).square() @ form.signs
    assert torch.allclose(predicted, features @ slope + y.mean())


def test_the_largest_squares_are_kept_first() -> None:
    rng = np.random.default_rng(3)
    x = torch.from_numpy(rng.normal(size=(200, 6)))
    y = 10 * x[:, 2] ** 2 - 3 * x[:, 4] ** 2
    form = quadratic_ridge(x, y, 0.01, torch.ones(200, dtype=x.dtype), 2)
    assert form.signs.tolist() == [1, -1]
    assert form.directions.abs().argmax(dim=1).tolist() == [2, 4]
    again = quadratic_ridge(x, y, 0.01, torch.ones(200, dtype=x.dtype), 2)
    assert torch.equal(again.directions, form.directions)


def test_a_head_with_squares_sees_what_products_say() -> None:
    """No straight line tells these labels; the start of the head does."""
    rng = np.random.default_rng(4)
    features = torch.from_numpy(rng.normal(size=(300, 8))).float()
    label = (50 + 12 * features[:, 1] * features[:, 5]).clamp(0, 100)
    for squares, least in ((0, -0.2), (2, 0.9)):
        head = LevelHead(8, squares=squares)
        standardise(head, features)
        start_at_ridge(head, features, label, 1.0)
        found = float(np.corrcoef(head(features)[1].detach().numpy(), label.numpy())[0, 1])
        assert least < found < (0.5 if not squares else 1)


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
    slope, offset = ridge(head.standardise(features).double(), label.double(), 0.3, torch.ones(80).double())
    predicted = head.standardise(features).double() @ slope + offset
    levels, score = head(features)
    assert torch.equal(score.argsort(), predicted.argsort())
    assert torch.allclose(levels.sum(dim=1), torch.ones(80))
    if isinstance(head, LinearHead):
        assert torch.allclose(score.double(), predicted, atol=1e-3)
    else:
        assert torch.allclose(score.double(), predicted, atol=12)  # softer at the ends of the scale
