"""The losses: the authors' numbers, the formula by hand, and what happens where a correlation is undefined."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from qclip_ffmpeg.train.losses import RANK_WEIGHT, SMALLEST_STD, plcc_loss, rank_loss

GOLDEN = json.loads((Path(__file__).parent / "golden" / "official_losses.json").read_text())
"""Made with the authors' code from a batch drawn at random; float32."""

Loss = Callable[[Tensor, Tensor], Tensor]
LOSSES = [plcc_loss, rank_loss]


def batch(count: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    target = 100 * torch.rand(count, generator=generator, dtype=dtype)
    prediction = target + 20 * torch.randn(count, generator=generator, dtype=dtype)
    return prediction.requires_grad_(), target


def test_the_authors_numbers() -> None:
    prediction, target = torch.tensor(GOLDEN["prediction"]), torch.tensor(GOLDEN["target"])
    plcc, rank = plcc_loss(prediction, target), rank_loss(prediction, target)
    assert plcc.item() == pytest.approx(GOLDEN["plcc_loss"], abs=1e-6)
    assert rank.item() == pytest.approx(GOLDEN["rank_loss"], abs=1e-6)
    assert (plcc + RANK_WEIGHT * rank).item() == pytest.approx(GOLDEN["total"], abs=1e-6)


def test_plcc_loss_is_a_function_of_the_correlation() -> None:
    prediction, target = batch(50)
    r = torch.corrcoef(torch.stack([prediction, target]))[0, 1].item()
    assert plcc_loss(prediction, target).item() == pytest.approx((1 - r) / 4 + (1 - r**2) / 8)


def test_rank_loss_by_hand() -> None:
    prediction = torch.tensor([1.0, 3.0, 2.0, 2.0])
    target = torch.tensor([10.0, 20.0, 30.0, 30.0])
    # wrong: 20 against each 30, by 1, in both directions; the tied 30s ask for nothing
    assert rank_loss(prediction, target).item() == pytest.approx(4 * 1 / (4 * 3) / (1 + 1))


@pytest.mark.parametrize("loss", LOSSES)
def test_right_and_wrong(loss: Loss) -> None:
    _, target = batch(20)
    assert loss(target, target).item() == pytest.approx(0, abs=1e-12)
    assert loss(-target, target) > 0.3
    assert loss(target.neg().exp(), target) > loss(target.sqrt(), target)


def test_the_worst_plcc_loss() -> None:
    _, target = batch(20)
    assert plcc_loss(-target, target).item() == pytest.approx(0.5)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_scale_of_the_labels_is_nothing_to_them(loss: Loss) -> None:
    prediction, target = batch(20)
    assert loss(prediction, target).item() == pytest.approx(loss(prediction, 1 + target / 25).item())


def test_the_scale_of_the_scores_is_nothing_to_plcc_loss() -> None:
    prediction, target = batch(20)
    assert plcc_loss(prediction, target).item() == pytest.approx(plcc_loss(7 - 3 * -prediction, target).item())


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_are_those_of_the_value(loss: Loss) -> None:
    assert torch.autograd.gradcheck(loss, batch(8))


@pytest.mark.parametrize("loss", LOSSES)
def test_a_step_downhill_helps(loss: Loss) -> None:
    prediction, target = batch(20)
    before = loss(prediction, target)
    (slope,) = torch.autograd.grad(before, prediction)
    assert loss(prediction - slope, target) < before


CONSTANT = [0.0, 0.1, 73.3, -5.7]


@pytest.mark.parametrize("count", [1, 2, 3, 17])
@pytest.mark.parametrize("value", CONSTANT)
@pytest.mark.parametrize(
    ("constant", "plcc"), [({"prediction"}, 1 / 4), ({"target"}, 1 / 8), ({"prediction", "target"}, 0)]
)
def test_where_nothing_varies(count: int, value: float, constant: set[str], plcc: float) -> None:
    """Finite, gradients too; the rank loss has neither a cost nor a slope."""
    prediction, target = batch(count, dtype=torch.float32)
    if "prediction" in constant:
        prediction = torch.full((count,), value, requires_grad=True)
    if "target" in constant:
        target = torch.full((count,), value)
    loss = plcc_loss(prediction, target)
    assert loss.item() == pytest.approx(plcc if count > 1 else 0, abs=1e-6)
    (slope,) = torch.autograd.grad(loss, prediction)
    assert slope.isfinite().all()
    assert slope.abs().max() <= 1.001 / (2 * SMALLEST_STD * count)
    loss = rank_loss(prediction, target)
    assert loss.item() == 0
    assert torch.autograd.grad(loss, prediction)[0].eq(0).all()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(loss: Loss, dtype: torch.dtype) -> None:
    """SMALLEST_STD is zero in half precision: a constant batch would give NaN."""
    prediction, target = batch(20)
    half = prediction.to(dtype), target.to(dtype)
    assert loss(*half).dtype == torch.float32
    assert loss(*half).item() == pytest.approx(loss(half[0].double(), half[1].double()).item(), rel=1e-5)
    assert math.isfinite(loss(torch.ones(4, dtype=dtype), torch.ones(4, dtype=dtype)))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("shapes", [((4, 1), (4,)), ((4,), (5,)), ((4, 1), (4, 1)), ((), ()), ((0,), (0,))])
def test_other_shapes_are_refused(loss: Loss, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    """(B, 1) against (B,) would quietly become (B, B)."""
    with pytest.raises(ValueError, match=r"takes \(B,\) twice"):
        loss(torch.ones(shapes[0]), torch.ones(shapes[1]))
